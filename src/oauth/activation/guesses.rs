//! How often somebody may enter a user code that is none (RFC 8628 §5.1).
//!
//! | limit | wrong codes at once | then one every | in the 15 minutes that a code lives at most |
//! |---|---|---|---|
//! | of a browser | 5 | 15 min | 5 |
//! | of a person | 5 | 15 min | 5 |
//! | of an address | 60 | 30 s | 90 |
//! | of everybody | 60 | 20 s | 105 |
//!
//! A code is one of 20⁸ = 2.56·10¹⁰. So a person hits a given code with a chance of 5 / 2.56·10¹⁰, which is less than
//! 2⁻³². With as many devices waiting as the store holds by default, 3,000, everybody together hits any of them with
//! 105 · 3,000 / 2.56·10¹⁰ = 1.2·10⁻⁵, which is less than 2⁻¹⁶. Somebody who succeeds has let a stranger's device into an
//! account of his own.
//!
//! Only who has signed in can guess. Once everybody's limit is reached, those who have not been wrong themselves have one
//! try left: otherwise a few accounts could lock out all devices. That adds one guess a person, not more.
//!
//! Invariant: a guess is counted before it is looked up; one that is right is taken back, and takes back no other.

use std::net::IpAddr;
use std::time::Duration;

use crate::ident::Subject;
use crate::secret::BrowserToken;
use crate::throttle::{Bucket, Limit, network};

const PER_BROWSER: Limit = Limit { burst: 5, interval: Duration::from_mins(15) };
const PER_PERSON: Limit = Limit { burst: 5, interval: Duration::from_mins(15) };
const PER_ADDRESS: Limit = Limit { burst: 60, interval: Duration::from_secs(30) };
const OVERALL: Limit = Limit { burst: 60, interval: Duration::from_secs(20) };

/// The buckets of whoever enters a code.
pub(super) fn own(browser: &BrowserToken, person: &Subject, address: IpAddr) -> [Bucket; 3] {
    [
        Bucket::of(&[b"browser", browser.digest().as_bytes()], PER_BROWSER),
        Bucket::of(&[b"person", person.as_str().as_bytes()], PER_PERSON),
        Bucket::of(&[b"address", &network(address)], PER_ADDRESS),
    ]
}

/// The bucket of everybody.
pub(super) fn overall() -> Bucket {
    Bucket::of(&[b"overall"], OVERALL)
}
