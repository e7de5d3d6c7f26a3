//! How often something may be tried: a bounded table of leaky buckets.
//!
//! Invariant: a try is counted before its outcome is known, so that parallel tries cannot overshoot; who finds that it
//! was no failure takes that one back. No number of callers makes the table grow without end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::sha256_parts;
use crate::unavailable::Unavailable;

/// How many buckets a table keeps; about 100 bytes each.
pub(crate) const CAPACITY: usize = 100_000;

/// How many tries are free at once, and how long one more takes to come back.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) burst: u32,
    pub(crate) interval: Duration,
}

impl Limit {
    /// How full a bucket may be for one more try to fit.
    fn room(self) -> Duration {
        self.interval * (self.burst - 1)
    }
}

/// A bucket, with its limit.
#[derive(Clone, Copy)]
pub(crate) struct Bucket {
    key: [u8; 32],
    limit: Limit,
}

impl Bucket {
    /// The bucket of what `parts` name; the first part says what is limited.
    pub(crate) fn of(parts: &[&[u8]], limit: Limit) -> Self {
        Self { key: sha256_parts(parts), limit }
    }
}

/// The bytes that stand for an address in the name of a bucket. An IPv6 address counts as its /64, which one subscriber
/// has to himself.
pub(crate) fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

/// What became of a try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Counted {
    /// It may go on.
    Free,
    /// There were too many; nothing was counted.
    TooMany {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// Tries that were not taken back.
///
/// A bucket is the time at which it is empty again; once that is past, the bucket need not be kept.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<[u8; 32], Moment>>);

/// Since the epoch; finer than a [`Timestamp`], so that many tries a millisecond can be told from few.
type Moment = Duration;

impl Throttle {
    /// Counts a try in its own buckets, unless one of them is full.
    pub(crate) fn count(&self, own: &[Bucket], now: Timestamp) -> Result<Counted, Unavailable> {
        self.count_in(own, None, now)
    }

    /// Counts a try in its own buckets and in one that it shares with everybody. When only that one is full, whoever has
    /// nothing in buckets of his own still has one try: a stranger who fills it locks out nobody else.
    pub(crate) fn count_shared(&self, own: &[Bucket], shared: Bucket, now: Timestamp) -> Result<Counted, Unavailable> {
        self.count_in(own, Some(shared), now)
    }

    fn count_in(&self, own: &[Bucket], shared: Option<Bucket>, now: Timestamp) -> Result<Counted, Unavailable> {
        let now = now.since(Timestamp::default());
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let filled =
            |bucket: &Bucket| table.get(&bucket.key).map_or(Duration::ZERO, |empty_at| empty_at.saturating_sub(now));
        let newcomer = own.iter().all(|bucket| filled(bucket).is_zero());
        for bucket in own.iter().chain(shared.iter().filter(|_| !newcomer)) {
            let (filled, room) = (filled(bucket), bucket.limit.room());
            if filled > room {
                return Ok(Counted::TooMany { retry_after: filled.saturating_sub(room) });
            }
        }
        let buckets = own.len() + usize::from(shared.is_some());
        if table.len() + buckets > CAPACITY {
            table.retain(|_, empty_at| *empty_at > now);
            if table.len() + buckets > CAPACITY {
                return Err(Unavailable::Full);
            }
        }
        for Bucket { key, limit } in own.iter().chain(&shared) {
            let empty_at = table.entry(*key).or_insert(now);
            // A shared bucket that newcomers went on filling is full, not fuller.
            *empty_at = (*empty_at).max(now).min(now + limit.room()) + limit.interval;
        }
        Ok(Counted::Free)
    }

    /// Takes a try back.
    pub(crate) fn take_back(&self, buckets: &[Bucket]) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Bucket { key, limit } in buckets {
            if let Some(empty_at) = table.get_mut(key) {
                *empty_at = empty_at.saturating_sub(limit.interval);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { burst: 3, interval: Duration::from_secs(10) };

    fn bucket(name: &str) -> Bucket {
        Bucket::of(&[b"test", name.as_bytes()], LIMIT)
    }

    #[test]
    fn a_full_table_refuses_until_buckets_are_empty() {
        let throttle = Throttle::default();
        let now = Timestamp::from_seconds(1_000);
        let own = |n: usize| [bucket(&n.to_string())];
        assert!((0..CAPACITY).all(|n| throttle.count(&own(n), now) == Ok(Counted::Free)));
        assert_eq!(throttle.count(&own(CAPACITY), now), Err(Unavailable::Full));
        assert_eq!(throttle.count(&own(CAPACITY), now + Duration::from_secs(11)), Ok(Counted::Free));
    }

    #[test]
    fn who_has_failed_waits_for_everybody_and_who_has_not_has_one_try() {
        let throttle = Throttle::default();
        let now = Timestamp::from_seconds(1_000);
        let shared = bucket("everybody");
        let count = |name: &str, now| throttle.count_shared(&[bucket(name)], shared, now);
        for name in ["a", "b", "c", "d"] {
            assert_eq!(count(name, now), Ok(Counted::Free));
        }
        let wait = Duration::from_secs(10);
        assert_eq!(count("a", now), Ok(Counted::TooMany { retry_after: wait }));
        assert_eq!(count("e", now), Ok(Counted::Free));
        throttle.take_back(&[bucket("e"), shared]);
        assert_eq!(count("a", now), Ok(Counted::Free), "what was taken back makes room");
        assert_eq!(count("a", now + wait), Ok(Counted::Free));
        assert_eq!(count("a", now + wait), Ok(Counted::TooMany { retry_after: wait }));
    }
}
