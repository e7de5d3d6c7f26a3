//! How often clients may ask, at all endpoints at which they authenticate.
//!
//! | what is counted | in whose name | to keep |
//! |---|---|---|
//! | every request | its address | one neighbour from using up what all need |
//! | every authenticated request | its client | one client from the same, wherever it asks from |
//! | every secret that is wrong | the client named and the address, together | guessers away (RFC 6749 §2.3.1), without a way to keep a client out from elsewhere |
//!
//! A signature and a certificate cannot be guessed, so who fails to show one is counted as any request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::clock::Timestamp;
use crate::ident::ClientId;
use crate::throttle::{Bucket, Counted, Limit, Throttle, network};

/// How much of a rate may come at once, in seconds of it.
const BURST_SECONDS: u32 = 10;

/// How often clients may ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimits {
    /// Requests a second of one client. Not 0; 2,000 by default.
    pub client: u32,
    /// Requests a second from one address, an IPv6 address counting as its /64. Not 0; 2,000 by default.
    pub address: u32,
    /// Wrong secrets a minute for one client from one address. Not 0; 60 by default.
    pub wrong_secrets: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { client: 2_000, address: 2_000, wrong_secrets: 60 }
    }
}

/// What was tried so far. It outlives a configuration, which forgives nobody.
#[derive(Default)]
pub struct Tally {
    /// Requests of clients and addresses.
    requests: Throttle,
    /// Wrong secrets of clients.
    wrong_secrets: Throttle,
    /// Device authorization requests.
    pub(super) device_requests: Throttle,
    /// Wrong user codes.
    pub(super) guesses: Throttle,
    /// Pushed authorization requests.
    pub(super) pushes: Throttle,
    /// Registrations of clients.
    pub(super) registrations: Throttle,
    /// Fetches of documents of clients.
    pub(super) fetches: Throttle,
}

/// The requests of clients, counted.
pub(super) struct Rates {
    limits: RateLimits,
    tally: Arc<Tally>,
}

impl Rates {
    /// Counts on from `tally`.
    pub(super) fn new(limits: RateLimits, tally: Arc<Tally>) -> Self {
        Self { limits, tally }
    }

    /// Counts a request from an address, before anything about it is known.
    pub(super) fn count_address(&self, address: IpAddr, now: Timestamp) -> Result<(), Error> {
        let bucket = Bucket::of(&[b"address", &network(address)], per_second(self.limits.address));
        free(self.tally.requests.count(&[bucket], now)?)
    }

    /// Counts a request of a client that was authenticated.
    pub(super) fn count_client(&self, client: &ClientId, now: Timestamp) -> Result<(), Error> {
        let bucket = Bucket::of(&[b"client", client.as_str().as_bytes()], per_second(self.limits.client));
        free(self.tally.requests.count(&[bucket], now)?)
    }

    /// Counts a secret before it is looked at; one that is right is [taken back](Self::take_back).
    pub(super) fn count_secret(&self, client: &str, address: IpAddr, now: Timestamp) -> Result<(), Error> {
        free(self.tally.wrong_secrets.count(&[self.secrets_of(client, address)], now)?)
    }

    /// Takes back a secret that was right.
    pub(super) fn take_back(&self, client: &str, address: IpAddr) {
        self.tally.wrong_secrets.take_back(&[self.secrets_of(client, address)]);
    }

    fn secrets_of(&self, client: &str, address: IpAddr) -> Bucket {
        let limit = Limit {
            burst: self.limits.wrong_secrets,
            interval: Duration::from_mins(1) / self.limits.wrong_secrets.max(1),
        };
        Bucket::of(&[client.as_bytes(), &network(address)], limit)
    }
}

fn per_second(rate: u32) -> Limit {
    Limit { burst: rate.saturating_mul(BURST_SECONDS), interval: Duration::from_secs(1) / rate.max(1) }
}

fn free(counted: Counted) -> Result<(), Error> {
    match counted {
        Counted::Free => Ok(()),
        Counted::TooMany { retry_after } => Err(Error::Throttled { retry_after }),
    }
}
