//! A document of somebody else's that is kept at hand.
//!
//! | the document at hand | then |
//! |---|---|
//! | is fresh | it is used |
//! | is older | it is used, and fetched again behind the scenes, by one at a time |
//! | is older than [`STALE`], or there is none | who asks waits for a fetch, all for the same one |
//! | lacks what is looked for | it is fetched again, but not more often than every [`COOL_DOWN`] |
//!
//! A fetch that failed is repeated after a second, and after twice as long each time, up to [`RETRY_LIMIT`]. Nobody waits
//! longer than a fetch may take.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{FetchFault, FetchUrl, Fetcher};
use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

/// How long a document is fresh, whatever it says of itself: at least and at most.
const FRESH: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(1));

/// How long a document is used that cannot be fetched again.
pub const STALE: Duration = Duration::from_hours(24);

/// The shortest time between two fetches.
pub const COOL_DOWN: Duration = Duration::from_secs(10);

/// The longest time between two fetches that fail.
pub const RETRY_LIMIT: Duration = Duration::from_secs(32);

/// A document of somebody else's that is kept at hand.
pub struct Kept<T> {
    /// Where it comes from, for the log.
    name: String,
    source: Source<T>,
    /// Told of the old document and the new one that takes its place.
    replaced: Option<Replaced<T>>,
    held: Mutex<Held<T>>,
    flight: tokio::sync::Mutex<()>,
}

/// Gets a document.
type Source<T> = Box<dyn Fn(Timestamp) -> Getting<T> + Send + Sync>;

/// A document on its way.
pub type Getting<T> = Pin<Box<dyn Future<Output = Result<Got<T>, FetchFault>> + Send>>;

/// Hears of changes.
type Replaced<T> = Box<dyn Fn(&T, &T) + Send + Sync>;

/// A document that has come.
pub struct Got<T> {
    /// What it says.
    pub content: T,
    /// How long it is fresh.
    pub fresh: Duration,
}

impl<T> Got<T> {
    /// A document that says of itself how long it is fresh; it is believed within limits.
    #[must_use]
    pub fn with_max_age(content: T, max_age: Option<Duration>) -> Self {
        let (least, most) = FRESH;
        Self { content, fresh: max_age.unwrap_or(least).clamp(least, most) }
    }
}

/// What is at hand.
struct Held<T> {
    document: Option<Document<T>>,
    /// When it was last tried to fetch it.
    tried_at: Option<Timestamp>,
    /// Whether that goes on still.
    trying: bool,
    /// How often it failed since it last did not.
    failures: u32,
}

/// A document, and how old it is.
struct Document<T> {
    content: Arc<T>,
    fetched_at: Timestamp,
    fresh_until: Timestamp,
    /// When it is fetched again behind the scenes, so that nobody ever meets one that is not fresh.
    refresh_at: Timestamp,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// Keeps the document at `url`, as far as `parse` understands it. Nothing is fetched yet.
    #[must_use]
    pub fn new(
        url: &FetchUrl,
        fetcher: Fetcher,
        parse: impl Fn(&[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (name, url, parse) = (url.as_str().to_owned(), url.clone(), Arc::new(parse));
        Self::from_source(name, None, move |_| {
            let (url, fetcher, parse) = (url.clone(), fetcher.clone(), Arc::clone(&parse));
            Box::pin(async move {
                let fetched = fetcher.get(&url).await?;
                let content = parse(&fetched.body).ok_or(FetchFault::Unfit)?;
                Ok(Got::with_max_age(content, fetched.max_age))
            })
        })
    }

    /// Keeps a document that `source` gets, and tells `replaced` of each change. Nothing is fetched yet.
    #[must_use]
    pub fn from_source(
        name: String,
        replaced: Option<Replaced<T>>,
        source: impl Fn(Timestamp) -> Getting<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let held = Mutex::new(Held { document: None, tried_at: None, trying: false, failures: 0 });
        Arc::new(Self { name, source: Box::new(source), replaced, held, flight: tokio::sync::Mutex::default() })
    }

    /// Where the document comes from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The document at hand, if it is not stale. Never waits.
    #[must_use]
    pub fn at_hand(&self, now: Timestamp) -> Option<Arc<T>> {
        self.held().usable(now).map(|document| Arc::clone(&document.content))
    }

    /// Whether it makes sense to wait for a newer document: one is on its way, or may be asked for.
    #[must_use]
    pub fn may_be_renewed(&self, now: Timestamp) -> bool {
        let held = self.held();
        held.trying || held.may_try(now)
    }

    /// Whether the document could not be fetched when it was last tried.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.held().failures > 0
    }

    /// The document, as fresh as the table above says.
    ///
    /// # Errors
    /// [`Unavailable`] if there is none that is fresh enough.
    pub async fn get(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, Unavailable> {
        let at_hand = {
            let held = self.held();
            held.usable(now).map(|document| (Arc::clone(&document.content), now < document.fresh_until))
        };
        match at_hand {
            Some((content, true)) => Ok(content),
            Some((content, false)) => {
                drop(self.fetch_behind(now));
                Ok(content)
            }
            None => {
                self.fetch_behind(now).await.map_err(|_| Unavailable::Down)?;
                self.at_hand(now).ok_or(Unavailable::Down)
            }
        }
    }

    /// The document at hand, which was found to lack something, or a newer one if it may be fetched again by now.
    ///
    /// # Errors
    /// [`Unavailable`] if there is none that is fresh enough.
    pub async fn get_newer(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, Unavailable> {
        self.renew(now).await;
        self.get(now).await
    }

    /// Waits until the document was fetched again, if it may be by now.
    pub async fn renew(self: &Arc<Self>, now: Timestamp) {
        if self.may_be_renewed(now) {
            let _ = self.fetch_behind(now).await;
        }
    }

    /// Fetches the document behind the scenes, if there is none or if it will not be fresh for much longer.
    pub fn look_after(self: &Arc<Self>, now: Timestamp) {
        let due = {
            let held = self.held();
            let due = held.document.as_ref().is_none_or(|document| now >= document.refresh_at);
            due && !held.trying && held.may_try(now)
        };
        if due {
            drop(self.fetch_behind(now));
        }
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
            if !held.may_try(now) {
                return;
            }
            held.tried_at = Some(now);
            held.trying = true;
        }
        let got = (self.source)(now).await;
        let mut held = self.held();
        held.trying = false;
        match got {
            Ok(got) => {
                held.failures = 0;
                let document = Document::new(got, now);
                if let (Some(replaced), Some(old)) = (&self.replaced, &held.document) {
                    replaced(&old.content, &document.content);
                }
                held.document = Some(document);
            }
            Err(fault) => {
                held.failures = held.failures.saturating_add(1);
                let stale = held.usable(now).is_some();
                drop(held);
                tracing::warn!(url = self.name, %fault, stale, "a document could not be fetched: {fault}");
            }
        }
    }
}

impl<T> Document<T> {
    fn new(got: Got<T>, now: Timestamp) -> Self {
        // Processes that began together need not ask together: the millisecond is as good as chance.
        let sixteenths = 11 + u32::try_from(now.millis().rem_euclid(4)).unwrap_or(0);
        Self {
            content: Arc::new(got.content),
            fetched_at: now,
            fresh_until: now + got.fresh,
            refresh_at: now + got.fresh * sixteenths / 16,
        }
    }
}

impl<T> Held<T> {
    /// The document, if it is not stale.
    fn usable(&self, now: Timestamp) -> Option<&Document<T>> {
        self.document.as_ref().filter(|document| now < document.fetched_at + STALE)
    }

    /// Whether it may be fetched by now.
    fn may_try(&self, now: Timestamp) -> bool {
        let pause = match self.failures {
            0 => COOL_DOWN,
            failures => Duration::from_secs(1 << (failures - 1).min(5)).min(RETRY_LIMIT),
        };
        self.tried_at.is_none_or(|tried_at| now >= tried_at + pause)
    }
}
