//! A document of somebody else's that is kept at hand.
//!
//! | the document at hand | then |
//! |---|---|
//! | is fresh | it is used |
//! | is older | it is used, and fetched again behind the scenes, by one at a time |
//! | is older than [`STALE`], or there is none | who asks waits for a fetch, all for the same one |
//! | lacks what is looked for | it is fetched again, but not more often than every [`COOL_DOWN`] |
//!
//! A fetch that failed is not repeated for [`COOL_DOWN`] either. Nobody waits longer than a fetch may take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{FetchFault, FetchUrl, Fetcher};
use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

/// How long a document is fresh, whatever it says of itself: at least and at most.
const FRESH: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(1));

/// How long a document is used that cannot be fetched again.
const STALE: Duration = Duration::from_hours(24);

/// The shortest time between two fetches.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// A document of somebody else's that is kept at hand.
pub struct Kept<T> {
    url: FetchUrl,
    fetcher: Fetcher,
    parse: Parse<T>,
    held: Mutex<Held<T>>,
    flight: tokio::sync::Mutex<()>,
}

/// Understands a body, or not.
type Parse<T> = Box<dyn Fn(&[u8]) -> Option<T> + Send + Sync>;

/// What is at hand.
struct Held<T> {
    document: Option<Document<T>>,
    /// When it was last tried to fetch it.
    tried_at: Option<Timestamp>,
}

/// A document, and how old it is.
struct Document<T> {
    content: Arc<T>,
    fetched_at: Timestamp,
    fresh_until: Timestamp,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// Keeps the document at `url`, as far as `parse` understands it. Nothing is fetched yet.
    #[must_use]
    pub fn new(
        url: FetchUrl,
        fetcher: Fetcher,
        parse: impl Fn(&[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let held = Mutex::new(Held { document: None, tried_at: None });
        Arc::new(Self { url, fetcher, parse: Box::new(parse), held, flight: tokio::sync::Mutex::default() })
    }

    /// Where the document is.
    #[must_use]
    pub fn url(&self) -> &FetchUrl {
        &self.url
    }

    /// The document, as fresh as the table above says.
    ///
    /// # Errors
    /// [`Unavailable`] if there is none that is fresh enough.
    pub async fn get(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, Unavailable> {
        let at_hand = self.held().usable(now);
        match at_hand {
            Some((content, true)) => Ok(content),
            Some((content, false)) => {
                drop(self.fetch_behind(now));
                Ok(content)
            }
            None => {
                self.fetch_behind(now).await.map_err(|_| Unavailable::Down)?;
                self.held().usable(now).map(|(content, _)| content).ok_or(Unavailable::Down)
            }
        }
    }

    /// The document at hand, which was found to lack something, or a newer one if it may be fetched again by now.
    ///
    /// # Errors
    /// [`Unavailable`] if there is none that is fresh enough.
    pub async fn get_newer(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, Unavailable> {
        self.fetch_behind(now).await.map_err(|_| Unavailable::Down)?;
        self.get(now).await
    }

    /// Fetches the document in a task of its own: who asked may go away, the others still wait for it.
    fn fetch_behind(self: &Arc<Self>, now: Timestamp) -> JoinHandle<()> {
        let this = Arc::clone(self);
        tokio::spawn(async move { this.fetch(now).await })
    }

    /// No change is left half-made, so a poisoned lock is as good as a whole one.
    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the document, one at a time: who has waited finds that it was tried just now.
    async fn fetch(&self, now: Timestamp) {
        let _one = self.flight.lock().await;
        {
            let mut held = self.held();
            if held.tried_at.is_some_and(|tried_at| now < tried_at + COOL_DOWN) {
                return;
            }
            held.tried_at = Some(now);
        }
        match self.fetched(now).await {
            Ok(document) => self.held().document = Some(document),
            Err(fault) => {
                let stale = self.held().usable(now).is_some();
                tracing::warn!(url = self.url.as_str(), %fault, stale, "a document could not be fetched: {fault}");
            }
        }
    }

    async fn fetched(&self, now: Timestamp) -> Result<Document<T>, FetchFault> {
        let fetched = self.fetcher.get(&self.url).await?;
        let content = Arc::new((self.parse)(&fetched.body).ok_or(FetchFault::Unfit)?);
        let (least, most) = FRESH;
        let fresh = fetched.max_age.unwrap_or(least).clamp(least, most);
        Ok(Document { content, fetched_at: now, fresh_until: now + fresh })
    }
}

impl<T> Held<T> {
    /// The document, if it is not stale, and whether it is fresh.
    fn usable(&self, now: Timestamp) -> Option<(Arc<T>, bool)> {
        let document = self.document.as_ref().filter(|document| now < document.fetched_at + STALE)?;
        Some((Arc::clone(&document.content), now < document.fresh_until))
    }
}
