//! How often somebody may try to sign in: a bounded table of leaky buckets.
//!
//! Invariant: an attempt is counted before the password is looked at, so that parallel attempts cannot overshoot, and
//! only one that succeeded is taken back. No number of addresses and names makes the table grow without end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::sha256_parts;
use crate::store::Unavailable;

/// How many buckets are kept; about 100 bytes each.
const CAPACITY: usize = 100_000;

/// How many attempts are free at once, and how long one more takes to come back.
#[derive(Clone, Copy)]
struct Limit {
    burst: u32,
    interval: Duration,
}

/// For one name from one address: what somebody needs who mistypes.
const PER_NAME_AND_ADDRESS: Limit = Limit { burst: 10, interval: Duration::from_secs(30) };

/// For one address, which many people behind one proxy may share.
const PER_ADDRESS: Limit = Limit { burst: 60, interval: Duration::from_secs(2) };

/// For one name from anywhere: against guessing from many addresses, and far above the limit of one address, lest a
/// stranger lock somebody out by guessing.
const PER_NAME: Limit = Limit { burst: 100, interval: Duration::from_secs(30) };

type Key = [u8; 32];

/// The buckets that an attempt draws from.
pub(super) struct Buckets([(Key, Limit); 3]);

impl Buckets {
    /// The buckets of a name and an address. An IPv6 address counts as its /64, which one subscriber has to himself.
    pub(super) fn of(username: &str, address: IpAddr) -> Self {
        let name = username.as_bytes();
        let network = match address.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets()[..8].to_vec(),
        };
        Self([
            (sha256_parts(&[b"address", &network]), PER_ADDRESS),
            (sha256_parts(&[b"name and address", name, &network]), PER_NAME_AND_ADDRESS),
            (sha256_parts(&[b"name", name]), PER_NAME),
        ])
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(super) enum Counted {
    /// It may go on.
    Free,
    /// There were too many; nothing was counted.
    TooMany { retry_after: Duration },
}

/// Attempts that were not taken back.
///
/// A bucket is the time at which it is empty again; once that is past, the bucket need not be kept.
#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<Key, Timestamp>>);

impl Attempts {
    /// Counts an attempt, unless one of its buckets is full.
    pub(super) fn count(&self, buckets: &Buckets, now: Timestamp) -> Result<Counted, Unavailable> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in &buckets.0 {
            let filled = table.get(key).map_or(Duration::ZERO, |empty_at| empty_at.since(now));
            let free = limit.interval * (limit.burst - 1);
            if filled > free {
                return Ok(Counted::TooMany { retry_after: filled.saturating_sub(free) });
            }
        }
        if table.len() + buckets.0.len() > CAPACITY {
            table.retain(|_, empty_at| *empty_at > now);
            if table.len() + buckets.0.len() > CAPACITY {
                return Err(Unavailable::Full);
            }
        }
        for (key, limit) in &buckets.0 {
            let empty_at = table.entry(*key).or_insert(now);
            *empty_at = (*empty_at).max(now) + limit.interval;
        }
        Ok(Counted::Free)
    }

    /// Takes an attempt back: it succeeded.
    pub(super) fn take_back(&self, buckets: &Buckets) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in &buckets.0 {
            if let Some(empty_at) = table.get_mut(key) {
                *empty_at = empty_at.before(limit.interval);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn ten_mistakes_are_free_and_one_more_takes_half_a_minute() {
        let attempts = Attempts::default();
        let now = Timestamp::from_seconds(1_000);
        let ada = Buckets::of("ada", HERE);
        for _ in 0..10 {
            assert_eq!(attempts.count(&ada, now), Ok(Counted::Free));
        }
        let wait = Duration::from_secs(30);
        assert_eq!(attempts.count(&ada, now), Ok(Counted::TooMany { retry_after: wait }));
        assert_eq!(attempts.count(&Buckets::of("bob", HERE), now), Ok(Counted::Free));
        assert_eq!(
            attempts.count(&Buckets::of("ada", address(1)), now),
            Ok(Counted::Free),
            "a stranger locks nobody out"
        );
        assert_eq!(attempts.count(&ada, now + wait), Ok(Counted::Free));
        assert_eq!(attempts.count(&ada, now + wait), Ok(Counted::TooMany { retry_after: wait }));
    }

    #[test]
    fn who_signs_in_is_never_slowed_down() {
        let attempts = Attempts::default();
        let ada = Buckets::of("ada", HERE);
        for _ in 0..1_000 {
            assert_eq!(attempts.count(&ada, Timestamp::from_seconds(1_000)), Ok(Counted::Free));
            attempts.take_back(&ada);
        }
    }

    #[test]
    fn one_name_cannot_be_guessed_from_many_addresses_nor_many_names_from_one() {
        let attempts = Attempts::default();
        let now = Timestamp::from_seconds(1_000);
        let spread =
            (0..=255).filter(|n| attempts.count(&Buckets::of("ada", address(*n)), now) == Ok(Counted::Free)).count();
        assert_eq!(spread, 100);
        let names =
            (0..256).filter(|n| attempts.count(&Buckets::of(&n.to_string(), HERE), now) == Ok(Counted::Free)).count();
        assert_eq!(names, 60);
    }

    #[test]
    fn a_full_table_refuses_until_buckets_are_empty() {
        let attempts = Attempts::default();
        let now = Timestamp::from_seconds(1_000);
        let buckets = |n: u32| Buckets::of(&n.to_string(), IpAddr::from(n.to_be_bytes()));
        let counted = (0..200_000).take_while(|n| attempts.count(&buckets(*n), now) == Ok(Counted::Free)).count();
        assert_eq!(counted, CAPACITY / 3);
        assert_eq!(attempts.count(&buckets(u32::MAX), now), Err(Unavailable::Full));
        assert_eq!(attempts.count(&buckets(u32::MAX), now + Duration::from_secs(31)), Ok(Counted::Free));
    }
}
