//! Single use of DPoP proofs (RFC 9449 §11.1).

use std::fmt;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

mod local;
mod redis;

pub use local::{DEFAULT_ENTRIES, LocalReplayGuard};
pub use redis::{
    DEFAULT_ANSWER_WITHIN, DEFAULT_CONNECT_WITHIN, DEFAULT_KEY_PREFIX, REDIS_WAITING, RedisFault, RedisReplayGuard,
    RedisSettings, RedisUrl, RedisUrlFault,
};

/// What tells one proof from every other: a SHA-256.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct ReplayKey([u8; 32]);

impl ReplayKey {
    /// A key from its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ReplayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayKey(..)")
    }
}

/// The answer of a guard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Seen {
    /// Nobody spent this key before; nobody will again.
    First,
    /// Somebody did.
    Replayed,
}

/// Remembers which proofs were used.
#[async_trait]
pub trait ReplayGuard: Send + Sync {
    /// Inserts `key` until `expires` if it is absent, in one atomic step.
    ///
    /// # Errors
    /// [`Unavailable`] when the guard cannot tell, be it down or full. It never guesses, and it never forgets early.
    async fn spend(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable>;

    /// The same without waiting, for guards that need not wait: the path of a `Check` then has no allocation for a
    /// future. `None` sends the caller to [`spend`](Self::spend).
    fn spend_now(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Option<Result<Seen, Unavailable>> {
        let _ = (key, expires, now);
        None
    }

    /// How many keys are remembered, and how many may be; `None` if somebody else keeps them.
    fn occupancy(&self) -> Option<(usize, usize)> {
        None
    }

    /// Whether it outlives this process and is asked by others too. Callers of one that does not keep out themselves what
    /// earlier lives may have seen.
    fn is_shared(&self) -> bool {
        false
    }

    /// When the memory of a shared guard began, as far as that is known: what was spent before may be forgotten, and a
    /// fence keeps it out.
    fn memory_began(&self) -> Option<Timestamp> {
        None
    }

    /// Whether it could tell now.
    fn is_ready(&self) -> bool {
        true
    }
}
