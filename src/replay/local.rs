//! A replay guard in the memory of this process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;

use super::{ReplayGuard, ReplayKey, Seen};
use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

/// So many locks that 64 threads rarely meet.
const SHARDS: usize = 64;

/// How many spent keys a guard remembers by default: a minute and a quarter of 13,000 proofs a second, in about 56 MiB.
pub const DEFAULT_ENTRIES: usize = 1_000_000;

/// Remembers spent keys in memory, in shards, up to a limit. Full means [`Unavailable`]: dropping a live key would
/// re-open replay. A restart forgets; the fence of the callers covers that.
pub struct LocalReplayGuard {
    shards: Vec<Mutex<Shard>>,
    entries_per_shard: usize,
}

#[derive(Default)]
struct Shard {
    /// The first half of each key, which is enough to tell keys apart, since they are hashes, with the second in which it
    /// expires.
    spent: HashMap<[u8; 16], i64>,
    /// The second in which expired keys were dropped last.
    swept: i64,
}

impl LocalReplayGuard {
    /// A guard that remembers `entries` keys at most.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, entries_per_shard: entries.div_ceil(SHARDS).max(1) }
    }

    /// How many keys are remembered, expired ones that were not swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).spent.len()).sum()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn spend(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        let bytes = key.as_bytes();
        let half: [u8; 16] = *bytes.first_chunk().expect("32 bytes begin with 16");
        let shard = &self.shards[usize::from(bytes[31]) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.forget(now);
        if shard.spent.contains_key(&half) {
            return Ok(Seen::Replayed);
        }
        if shard.spent.len() >= self.entries_per_shard {
            return Err(Unavailable::Full);
        }
        shard.spent.insert(half, expires.seconds() + 1); // rounded up: never forget early
        Ok(Seen::First)
    }
}

impl Shard {
    /// Drops what expired, once a second: to look at every key then costs less than an index by time, which would hold each
    /// key a second time.
    fn forget(&mut self, now: Timestamp) {
        let second = now.seconds();
        if second > self.swept {
            self.spent.retain(|_, expires| *expires >= second);
            self.swept = second;
        }
    }
}

#[async_trait]
impl ReplayGuard for LocalReplayGuard {
    async fn spend(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        Self::spend(self, key, expires, now)
    }

    fn spend_now(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Option<Result<Seen, Unavailable>> {
        Some(Self::spend(self, key, expires, now))
    }

    fn occupancy(&self) -> Option<(usize, usize)> {
        Some((self.len(), self.entries_per_shard * SHARDS))
    }
}
