//! The key sets that clients publish, by URL.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;

use crate::clock::Timestamp;
use crate::fetch::{FetchLimits, Fetcher, FetcherFault, Keeping, Kept, Reach, Roots};
use crate::jose::{self, PublicKey};
use crate::oauth::PublishedKeys;
use crate::oauth::client::KeysAt;
use crate::unavailable::Unavailable;

/// How long a key set is kept that nobody asks for.
const IDLE: Duration = Duration::from_hours(6);

/// A client that has lost a key takes it out of its set, so a set that cannot be fetched again is not used for long.
const KEEPING: Keeping =
    Keeping { fresh: (Duration::from_mins(5), Duration::from_hours(1)), stale: Duration::from_hours(2) };

/// The key sets that clients publish, fetched when they are needed.
pub struct ClientKeySets {
    sets: Cache<KeysAt, Arc<Kept<Vec<PublicKey>>>>,
    /// Asks the public Internet only.
    public: Fetcher,
    /// Asks whom the operator has named.
    anywhere: Fetcher,
}

impl ClientKeySets {
    /// How many key sets are kept; one of a few keys takes about 2 KiB.
    pub const CAPACITY: u64 = 10_000;

    /// The longest key set, in bytes.
    pub const SIZE: usize = 64 * 1024;

    /// Knows no keys yet; a fetch may take `timeout`.
    ///
    /// # Errors
    /// [`FetcherFault`].
    pub fn new(timeout: Duration, roots: &Roots) -> Result<Self, FetcherFault> {
        let limits = FetchLimits { time: timeout, size: Self::SIZE };
        Ok(Self {
            sets: Cache::builder().max_capacity(Self::CAPACITY).time_to_idle(IDLE).build(),
            public: Fetcher::new(Reach::Public, limits, roots)?,
            anywhere: Fetcher::new(Reach::Anywhere, limits, roots)?,
        })
    }

    fn set(&self, at: &KeysAt) -> Arc<Kept<Vec<PublicKey>>> {
        self.sets.get_with_by_ref(at, || {
            let fetcher = match at.reach {
                Reach::Public => &self.public,
                Reach::Anywhere => &self.anywhere,
            };
            Kept::for_as_long_as(KEEPING, &at.url, fetcher.clone(), parse)
        })
    }
}

#[async_trait]
impl PublishedKeys for ClientKeySets {
    async fn keys(&self, at: &KeysAt, now: Timestamp) -> Result<Arc<Vec<PublicKey>>, Unavailable> {
        self.set(at).get(now).await
    }

    async fn newer_keys(&self, at: &KeysAt, now: Timestamp) -> Result<Arc<Vec<PublicKey>>, Unavailable> {
        self.set(at).get_newer(now).await
    }
}

/// For a server none of whose clients publishes keys.
pub struct NoKeySets;

#[async_trait]
impl PublishedKeys for NoKeySets {
    async fn keys(&self, _: &KeysAt, _: Timestamp) -> Result<Arc<Vec<PublicKey>>, Unavailable> {
        Err(Unavailable::Down)
    }

    async fn newer_keys(&self, _: &KeysAt, _: Timestamp) -> Result<Arc<Vec<PublicKey>>, Unavailable> {
        Err(Unavailable::Down)
    }
}

/// A set with a private key in it is no set that we use: whoever published it must hear of it.
fn parse(body: &[u8]) -> Option<Vec<PublicKey>> {
    jose::key_set(&jose::object(body).ok()?).ok()
}
