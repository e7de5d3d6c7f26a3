//! Where the keys of an issuer come from.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::jose::PublicKey;
use crate::unavailable::Unavailable;

/// Why there are no keys to verify with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeysFault {
    /// There are none to ask, or none fresh enough, and it was tried to get them.
    Unavailable(Unavailable),
    /// Those at hand will not do, and there may be newer ones: [`Renew::renew`], then ask again.
    Outdated,
}

impl From<Unavailable> for KeysFault {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// Something that is kept at hand, and may be had again from where it is made.
#[async_trait]
pub trait Renew: Send + Sync {
    /// Waits until a newer one is at hand, or could not be had. In bounded time, and with bounded work however often it is
    /// called.
    async fn renew(&self, now: Timestamp) {
        let _ = now;
    }
}

/// Where the keys of an issuer come from.
pub trait KeyLookup: Renew {
    /// The keys that may verify: those with this `kid`, or all of them when the token names none. Never waits. That there is
    /// no such key is an answer: none.
    ///
    /// # Errors
    /// [`KeysFault`].
    fn keys(&self, kid: Option<&str>, now: Timestamp) -> Result<Vec<PublicKey>, KeysFault>;

    /// Whether what was verified with these keys earlier still counts.
    ///
    /// # Errors
    /// [`KeysFault`] if nobody can tell whether it does.
    fn check_fresh(&self, now: Timestamp) -> Result<(), KeysFault> {
        let _ = now;
        Ok(())
    }
}
