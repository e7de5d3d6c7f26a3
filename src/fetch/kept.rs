//! A document of somebody else's that is kept at hand.
//!
//! | the document at hand | then |
//! |---|---|
//! | is fresh | it is used |
//! | is older | it is used, and fetched again behind the scenes, by one at a time |
//! | is older than [`Keeping::stale`], or there is none | who asks waits for a fetch, all for the same one |
//! | lacks what is looked for | it is fetched again, but for that reason not more often than every [`COOL_DOWN`] |
//!
//! A fetch that failed is not repeated for [`COOL_DOWN`] either. Nobody waits longer than a fetch may take, and nobody for
//! two: what was fetched for a request is not fetched once more for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{FetchFault, FetchUrl, Fetcher};
use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

/// The shortest time between two fetches because something is lacking, and after one that failed.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// For how long a document is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// How long it is fresh, whatever it says of itself: at least and at most.
    pub fresh: (Duration, Duration),
    /// How long it is used that cannot be fetched again.
    pub stale: Duration,
}

impl Default for Keeping {
    /// Fresh for five minutes to an hour, used for a day.
    fn default() -> Self {
        Self { fresh: (Duration::from_mins(5), Duration::from_hours(1)), stale: Duration::from_hours(24) }
    }
}

/// A document of somebody else's that is kept at hand.
pub struct Kept<T> {
    url: FetchUrl,
    fetcher: Fetcher,
    parse: Parse<T>,
    keeping: Keeping,
    held: Mutex<Held<T>>,
    flight: tokio::sync::Mutex<()>,
}

/// Understands a body, or not.
type Parse<T> = Box<dyn Fn(&[u8]) -> Option<T> + Send + Sync>;

/// What is at hand.
struct Held<T> {
    document: Option<Document<T>>,
    /// When and why the last fetch failed, if it did.
    failed: Option<(Timestamp, FetchFault)>,
    /// When it was last fetched because it lacked something.
    lacked_at: Option<Timestamp>,
}

/// Why a document is fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    /// It is not fresh, or not there.
    Old,
    /// It lacks what is looked for.
    Lacking,
}

/// A document, and how old it is.
struct Document<T> {
    content: Arc<T>,
    fetched_at: Timestamp,
    fresh_until: Timestamp,
    stale_from: Timestamp,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// Keeps the document at `url`, as far as `parse` understands it. Nothing is fetched yet.
    #[must_use]
    pub fn new(
        url: FetchUrl,
        fetcher: Fetcher,
        parse: impl Fn(&[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::for_as_long_as(Keeping::default(), url, fetcher, parse)
    }

    /// The same, for other times.
    #[must_use]
    pub fn for_as_long_as(
        keeping: Keeping,
        url: FetchUrl,
        fetcher: Fetcher,
        parse: impl Fn(&[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let held = Mutex::new(Held { document: None, failed: None, lacked_at: None });
        let (parse, flight) = (Box::new(parse), tokio::sync::Mutex::default());
        Arc::new(Self { url, fetcher, parse, keeping, held, flight })
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
                drop(self.fetch_behind(Why::Old, now));
                Ok(content)
            }
            None => {
                self.fetch_behind(Why::Old, now).await.map_err(|_| Unavailable::Down)?;
                self.held().usable(now).map(|(content, _)| content).ok_or(Unavailable::Down)
            }
        }
    }

    /// The document at hand, if it is fresh.
    #[must_use]
    pub fn fresh(&self, now: Timestamp) -> Option<Arc<T>> {
        self.held().usable(now).filter(|(_, is_fresh)| *is_fresh).map(|(content, _)| content)
    }

    /// The document, and if there is none, why.
    ///
    /// # Errors
    /// The [`FetchFault`] of the last fetch.
    pub async fn get_or_fault(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, FetchFault> {
        self.get(now).await.map_err(|_| self.held().failed.map_or(FetchFault::NoAnswer, |(_, fault)| fault))
    }

    /// The document at hand, which was found to lack something, or a newer one if it may be fetched again by now.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody can tell what the document holds now: the last fetch failed.
    pub async fn get_newer(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, Unavailable> {
        self.fetch_behind(Why::Lacking, now).await.map_err(|_| Unavailable::Down)?;
        let held = self.held();
        let content = held.usable(now).filter(|_| held.failed.is_none());
        content.map(|(content, _)| content).ok_or(Unavailable::Down)
    }

    /// Fetches the document in a task of its own: who asked may go away, the others still wait for it.
    fn fetch_behind(self: &Arc<Self>, why: Why, now: Timestamp) -> JoinHandle<()> {
        let this = Arc::clone(self);
        tokio::spawn(async move { this.fetch(why, now).await })
    }

    /// No change is left half-made, so a poisoned lock is as good as a whole one.
    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the document, one at a time: who has waited finds what another one fetched, or that it cannot be.
    async fn fetch(&self, why: Why, now: Timestamp) {
        let _one = self.flight.lock().await;
        {
            let mut held = self.held();
            let recently = |at: Option<Timestamp>| at.is_some_and(|at| now < at + COOL_DOWN);
            let needless = match why {
                Why::Old => held.usable(now).is_some_and(|(_, is_fresh)| is_fresh),
                Why::Lacking => recently(held.lacked_at) || held.is_at_least_as_new_as(now),
            };
            if needless || recently(held.failed.map(|(at, _)| at)) {
                return;
            }
            if why == Why::Lacking {
                held.lacked_at = Some(now);
            }
        }
        let fetched = self.fetched(now).await;
        let mut held = self.held();
        match fetched {
            Ok(document) => (held.document, held.failed) = (Some(document), None),
            Err(fault) => {
                held.failed = Some((now, fault));
                let stale = held.usable(now).is_some();
                tracing::warn!(url = self.url.as_str(), %fault, stale, "a document could not be fetched: {fault}");
            }
        }
    }

    async fn fetched(&self, now: Timestamp) -> Result<Document<T>, FetchFault> {
        let fetched = self.fetcher.get(&self.url).await?;
        let content = Arc::new((self.parse)(&fetched.body).ok_or(FetchFault::Unfit)?);
        let (least, most) = self.keeping.fresh;
        let fresh = fetched.max_age.unwrap_or(least).clamp(least, most);
        let stale_from = now + fresh.max(self.keeping.stale);
        Ok(Document { content, fetched_at: now, fresh_until: now + fresh, stale_from })
    }
}

impl<T> Held<T> {
    /// The document, if it is not stale, and whether it is fresh.
    fn usable(&self, now: Timestamp) -> Option<(Arc<T>, bool)> {
        let document = self.document.as_ref().filter(|document| now < document.stale_from)?;
        Some((Arc::clone(&document.content), now < document.fresh_until))
    }

    /// Whether the document was fetched for this very request, or after it came.
    fn is_at_least_as_new_as(&self, now: Timestamp) -> bool {
        self.document.as_ref().is_some_and(|document| document.fetched_at >= now)
    }
}
