//! How often somebody may try to sign in.
//!
//! Invariant: an attempt is counted before the password is looked at, and only one that succeeded is taken back.

use std::net::IpAddr;
use std::time::Duration;

use crate::throttle::{Bucket, Limit, network};

/// For one name from one address: what somebody needs who mistypes.
const PER_NAME_AND_ADDRESS: Limit = Limit { burst: 10, interval: Duration::from_secs(30) };

/// For one address, which many people behind one proxy may share.
const PER_ADDRESS: Limit = Limit { burst: 60, interval: Duration::from_secs(2) };

/// For one name from anywhere: against guessing from many addresses, and far above the limit of one address, lest a
/// stranger lock somebody out by guessing.
const PER_NAME: Limit = Limit { burst: 100, interval: Duration::from_secs(30) };

/// The buckets of a name and an address.
pub(super) fn buckets(username: &str, address: IpAddr) -> [Bucket; 3] {
    let (name, network) = (username.as_bytes(), network(address));
    [
        Bucket::of(&[b"address", &network], PER_ADDRESS),
        Bucket::of(&[b"name and address", name, &network], PER_NAME_AND_ADDRESS),
        Bucket::of(&[b"name", name], PER_NAME),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::throttle::{Counted, Throttle};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn ten_mistakes_are_free_and_one_more_takes_half_a_minute() {
        let attempts = Throttle::default();
        let now = Timestamp::from_seconds(1_000);
        let ada = buckets("ada", HERE);
        for _ in 0..10 {
            assert_eq!(attempts.count(&ada, now), Ok(Counted::Free));
        }
        let wait = Duration::from_secs(30);
        assert_eq!(attempts.count(&ada, now), Ok(Counted::TooMany { retry_after: wait }));
        assert_eq!(attempts.count(&buckets("bob", HERE), now), Ok(Counted::Free));
        assert_eq!(attempts.count(&buckets("ada", address(1)), now), Ok(Counted::Free), "a stranger locks nobody out");
        assert_eq!(attempts.count(&ada, now + wait), Ok(Counted::Free));
        assert_eq!(attempts.count(&ada, now + wait), Ok(Counted::TooMany { retry_after: wait }));
    }

    #[test]
    fn who_signs_in_is_never_slowed_down() {
        let attempts = Throttle::default();
        let ada = buckets("ada", HERE);
        for _ in 0..1_000 {
            assert_eq!(attempts.count(&ada, Timestamp::from_seconds(1_000)), Ok(Counted::Free));
            attempts.take_back(&ada);
        }
    }

    #[test]
    fn one_name_cannot_be_guessed_from_many_addresses_nor_many_names_from_one() {
        let attempts = Throttle::default();
        let now = Timestamp::from_seconds(1_000);
        let free = |username: &str, address| attempts.count(&buckets(username, address), now) == Ok(Counted::Free);
        assert_eq!((0..=255).filter(|n| free("ada", address(*n))).count(), 100);
        assert_eq!((0..256).filter(|n| free(&n.to_string(), HERE)).count(), 60);
    }
}
