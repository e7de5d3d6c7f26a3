//! The documents in which clients say what they are, by `client_id`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;

use crate::clock::Timestamp;
use crate::fetch::{FetchFault, FetchLimits, FetchUrl, Fetcher, FetcherFault, Keeping, Kept, Roots};
use crate::ident::ClientId;
use crate::oauth::{Client, ClientDocuments, ClientPolicy, DOCUMENT_LIMIT, client_in};

/// How long a document is kept that nobody asks for.
const IDLE: Duration = Duration::from_hours(1);

/// A document that cannot be fetched again counts no longer than it is fresh: who has lost a host must not be a client.
const KEEPING: Keeping = Keeping { fresh: (Duration::from_mins(5), Duration::from_hours(1)), stale: Duration::ZERO };

/// The documents of clients, fetched when they are needed.
pub struct KnownClientDocuments {
    documents: Cache<ClientId, Arc<Kept<Client>>>,
    fetcher: Fetcher,
    policy: ClientPolicy,
}

impl KnownClientDocuments {
    /// How many documents are kept; one takes up to 10 KiB.
    pub const CAPACITY: u64 = 10_000;

    /// Knows no documents yet; a fetch may take `timeout`.
    ///
    /// # Errors
    /// [`FetcherFault`].
    pub fn new(policy: ClientPolicy, timeout: Duration, roots: &Roots) -> Result<Self, FetcherFault> {
        let limits = FetchLimits { time: timeout, size: DOCUMENT_LIMIT };
        let fetcher = Fetcher::new(policy.reach, limits, roots)?.for_json_only();
        let documents = Cache::builder().max_capacity(Self::CAPACITY).time_to_idle(IDLE).build();
        Ok(Self { documents, fetcher, policy })
    }
}

#[async_trait]
impl ClientDocuments for KnownClientDocuments {
    fn at_hand(&self, id: &ClientId, now: Timestamp) -> Option<Arc<Client>> {
        self.documents.get(id)?.at_hand(now)
    }

    async fn client(&self, id: &ClientId, url: &FetchUrl, now: Timestamp) -> Result<Arc<Client>, FetchFault> {
        let kept = self.documents.get_with_by_ref(id, || {
            let (id, policy) = (id.clone(), self.policy.clone());
            let parse = move |body: &[u8]| client_in(body, &id, &policy);
            Kept::for_as_long_as(KEEPING, url, self.fetcher.clone(), parse)
        });
        kept.get_or_fault(now).await
    }
}

/// For a server that takes no such clients.
pub struct NoClientDocuments;

#[async_trait]
impl ClientDocuments for NoClientDocuments {
    fn at_hand(&self, _: &ClientId, _: Timestamp) -> Option<Arc<Client>> {
        None
    }

    async fn client(&self, _: &ClientId, _: &FetchUrl, _: Timestamp) -> Result<Arc<Client>, FetchFault> {
        Err(FetchFault::Unfit)
    }
}
