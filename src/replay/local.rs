//! A replay guard in the memory of this process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

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
///
/// A key is forgotten when it has expired by both clocks. By the wall clock alone one that jumps ahead and comes back
/// would forget keys that live; by the monotonic one alone, one that is set back would bring proofs to life that are forgotten.
pub struct LocalReplayGuard {
    shards: Vec<Mutex<Shard>>,
    entries_per_shard: usize,
    /// How long it has been there, by a clock that never jumps.
    elapsed: Box<dyn Fn() -> Duration + Send + Sync>,
}

#[derive(Default)]
struct Shard {
    /// The first half of each key, which is enough to tell keys apart, since they are hashes.
    spent: HashMap<[u8; 16], Over>,
    /// The second of the monotonic clock in which expired keys were dropped last.
    swept: u32,
}

/// The second in which a key expires, by either clock.
struct Over {
    wall: u32,
    monotonic: u32,
}

impl LocalReplayGuard {
    /// A guard that remembers `entries` keys at most.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let began = Instant::now();
        Self::timed_by(entries, move || began.elapsed())
    }

    /// The same with another monotonic clock, which begins with it.
    #[must_use]
    pub fn timed_by(entries: usize, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, entries_per_shard: entries.div_ceil(SHARDS).max(1), elapsed: Box::new(elapsed) }
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
        let elapsed = (self.elapsed)().as_secs();
        shard.forget(now, seconds(elapsed));
        if shard.spent.contains_key(&half) {
            return Ok(Seen::Replayed);
        }
        if shard.spent.len() >= self.entries_per_shard {
            return Err(Unavailable::Full);
        }
        // Rounded up: never forget early.
        let wall = u64::try_from(expires.seconds() + 1).unwrap_or_default();
        let monotonic = elapsed + expires.since(now).as_secs() + 2;
        shard.spent.insert(half, Over { wall: seconds(wall), monotonic: seconds(monotonic) });
        Ok(Seen::First)
    }
}

impl Shard {
    /// Drops what expired, once a second: to look at every key then costs less than an index by time, which would hold each
    /// key a second time.
    fn forget(&mut self, now: Timestamp, elapsed: u32) {
        if elapsed > self.swept {
            let wall = seconds(u64::try_from(now.seconds()).unwrap_or_default());
            self.spent.retain(|_, over| over.wall >= wall || over.monotonic >= elapsed);
            self.swept = elapsed;
        }
    }
}

/// A time in 32 bits, which are enough until 2106; later is for ever.
fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
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
