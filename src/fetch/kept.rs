//! A document of somebody else's that is kept at hand.
//!
//! | the document at hand | then |
//! |---|---|
//! | is fresh | it is used |
//! | is older | it is used, and fetched again behind the scenes, by one at a time |
//! | is older than [`Keeping::stale`], or there is none | who asks waits for a fetch, all for the same one |
//! | lacks what is looked for | it is fetched again, but for that reason not more often than every [`COOL_DOWN`] |
//!
//! A fetch that failed is repeated after a second, and after twice as long each time, up to [`COOL_DOWN`]. Nobody waits
//! longer than a fetch may take, and nobody for two: what was fetched for a request is not fetched once more for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{FetchFault, FetchUrl, Fetcher};
use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

/// The shortest time between two fetches because something is lacking, and the longest after one that failed.
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
    /// Where it comes from, for the log.
    name: String,
    keeping: Keeping,
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
    /// How long it is fresh, as it says of itself; it is believed within limits.
    pub max_age: Option<Duration>,
}

/// What is at hand.
struct Held<T> {
    document: Option<Document<T>>,
    /// Whether it is being fetched.
    trying: bool,
    /// When the last fetch failed, if it did, how often in a row that was so, and why.
    failed: Option<(Timestamp, u32, FetchFault)>,
    /// When it was last fetched because it lacked something.
    lacked_at: Option<Timestamp>,
    /// How often it was fetched, and how often that failed.
    fetched: u64,
    not_fetched: u64,
}

/// Why a document is fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    /// It is not fresh, or not there.
    Old,
    /// It will not be fresh for much longer, or is not there.
    Ageing,
    /// It lacks what is looked for.
    Lacking,
}

/// A document, and how old it is.
struct Document<T> {
    content: Arc<T>,
    fetched_at: Timestamp,
    fresh_for: Duration,
    /// When it is fetched again behind the scenes, where somebody looks after it.
    ageing_from: Timestamp,
    fresh_until: Timestamp,
    stale_from: Timestamp,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// Keeps the document at `url`, as far as `parse` understands it. Nothing is fetched yet.
    #[must_use]
    pub fn new(
        url: &FetchUrl,
        fetcher: Fetcher,
        parse: impl Fn(&[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::for_as_long_as(Keeping::default(), url, fetcher, parse)
    }

    /// The same, for other times.
    #[must_use]
    pub fn for_as_long_as(
        keeping: Keeping,
        url: &FetchUrl,
        fetcher: Fetcher,
        parse: impl Fn(&[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (name, url, parse) = (url.as_str().to_owned(), url.clone(), Arc::new(parse));
        Self::from_source(name, keeping, None, move |_| {
            let (url, fetcher, parse) = (url.clone(), fetcher.clone(), Arc::clone(&parse));
            Box::pin(async move {
                let fetched = fetcher.get(&url).await?;
                let content = parse(&fetched.body).ok_or(FetchFault::Unfit)?;
                Ok(Got { content, max_age: fetched.max_age })
            })
        })
    }

    /// Keeps a document that `source` gets, and tells `replaced` of each change. Nothing is fetched yet.
    #[must_use]
    pub fn from_source(
        name: String,
        keeping: Keeping,
        replaced: Option<Replaced<T>>,
        source: impl Fn(Timestamp) -> Getting<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let held = Mutex::new(Held {
            document: None,
            trying: false,
            failed: None,
            lacked_at: None,
            fetched: 0,
            not_fetched: 0,
        });
        let (source, flight) = (Box::new(source), tokio::sync::Mutex::default());
        Arc::new(Self { name, keeping, source, replaced, held, flight })
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
        held.trying || held.may_fetch(held.why_renew(now), now)
    }

    /// When the document was fetched last, be it stale by now; `None` if it never was.
    #[must_use]
    pub fn fetched_at(&self) -> Option<Timestamp> {
        self.held().document.as_ref().map(|document| document.fetched_at)
    }

    /// How often it was fetched, and how often that failed.
    #[must_use]
    pub fn fetches(&self) -> (u64, u64) {
        let held = self.held();
        (held.fetched, held.not_fetched)
    }

    /// Whether the document could not be fetched when it was last tried.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.held().failed.is_some()
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
                drop(self.fetch_behind(Why::Old, now));
                Ok(content)
            }
            None => {
                self.fetch_behind(Why::Old, now).await.map_err(|_| Unavailable::Down)?;
                self.at_hand(now).ok_or(Unavailable::Down)
            }
        }
    }

    /// The document, and if there is none, why.
    ///
    /// # Errors
    /// The [`FetchFault`] of the last fetch.
    pub async fn get_or_fault(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, FetchFault> {
        self.get(now).await.map_err(|_| self.held().failed.map_or(FetchFault::NoAnswer, |(.., fault)| fault))
    }

    /// The document at hand, which was found to lack something, or a newer one if it may be fetched again by now.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody can tell what the document holds now: the last fetch failed.
    pub async fn get_newer(self: &Arc<Self>, now: Timestamp) -> Result<Arc<T>, Unavailable> {
        self.fetch_behind(Why::Lacking, now).await.map_err(|_| Unavailable::Down)?;
        let held = self.held();
        let document = held.usable(now).filter(|_| held.failed.is_none());
        document.map(|document| Arc::clone(&document.content)).ok_or(Unavailable::Down)
    }

    /// Waits until the document was fetched again, be it that there is none or that it lacks something; if it may be.
    pub async fn renew(self: &Arc<Self>, now: Timestamp) {
        let why = self.held().why_renew(now);
        let _ = self.fetch_behind(why, now).await;
    }

    /// Waits until the document was fetched again, whatever its age: somebody knows that it may be another one.
    pub async fn fetch_again(self: &Arc<Self>, now: Timestamp) {
        {
            let mut held = self.held();
            held.failed = None;
            if let Some(document) = &mut held.document {
                document.ageing_from = document.ageing_from.min(now);
            }
        }
        let _ = self.fetch_behind(Why::Ageing, now).await;
    }

    /// Fetches the document behind the scenes, if there is none or if it will not be fresh for much longer.
    pub fn look_after(self: &Arc<Self>, now: Timestamp) {
        let due = {
            let held = self.held();
            !held.trying && held.may_fetch(Why::Ageing, now)
        };
        if due {
            drop(self.fetch_behind(Why::Ageing, now));
        }
    }

    /// Puts a document in the place of the one at hand that came by other ways.
    pub fn replace(&self, got: Got<T>, now: Timestamp) {
        self.take(&mut self.held(), got, now);
    }

    /// Notes that a document is what its source would give now, if it is still the one at hand.
    pub fn confirm(&self, content: &Arc<T>, now: Timestamp) {
        let mut held = self.held();
        if let Some(document) = held.document.as_mut().filter(|document| Arc::ptr_eq(&document.content, content)) {
            *document = Document::fresh_from(now, Arc::clone(content), document.fresh_for, self.keeping);
            held.failed = None;
        }
    }

    /// Fetches the document in a task of its own: who asked may go away, the others still wait for it.
    fn fetch_behind(self: &Arc<Self>, why: Why, now: Timestamp) -> JoinHandle<()> {
        let this = Arc::clone(self);
        tokio::spawn(async move { this.fetch(why, now).await })
    }

    /// Takes a document that has come.
    fn take(&self, held: &mut Held<T>, got: Got<T>, now: Timestamp) {
        let document = Document::new(got, self.keeping, now);
        if let (Some(replaced), Some(old)) = (&self.replaced, &held.document) {
            replaced(&old.content, &document.content);
        }
        (held.document, held.failed) = (Some(document), None);
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
            if !held.may_fetch(why, now) {
                return;
            }
            held.trying = true;
            if why == Why::Lacking {
                held.lacked_at = Some(now);
            }
        }
        let got = (self.source)(now).await;
        let mut held = self.held();
        held.trying = false;
        match got {
            Ok(got) => {
                held.fetched += 1;
                self.take(&mut held, got, now);
            }
            Err(fault) => {
                held.not_fetched += 1;
                let failures = held.failed.map_or(1, |(_, failures, _)| failures.saturating_add(1));
                held.failed = Some((now, failures, fault));
                let stale = held.usable(now).is_some();
                drop(held);
                tracing::warn!(url = self.name, %fault, stale, "a document could not be fetched: {fault}");
            }
        }
    }
}

impl<T> Document<T> {
    fn new(got: Got<T>, keeping: Keeping, now: Timestamp) -> Self {
        let (least, most) = keeping.fresh;
        let fresh = got.max_age.unwrap_or(least).clamp(least, most);
        Self::fresh_from(now, Arc::new(got.content), fresh, keeping)
    }

    fn fresh_from(now: Timestamp, content: Arc<T>, fresh: Duration, keeping: Keeping) -> Self {
        // Processes that began together need not ask together: the millisecond is as good as chance.
        let sixteenths = 11 + u32::try_from(now.millis().rem_euclid(4)).unwrap_or(0);
        Self {
            content,
            fetched_at: now,
            fresh_for: fresh,
            ageing_from: now + fresh * sixteenths / 16,
            fresh_until: now + fresh,
            stale_from: now + fresh.max(keeping.stale),
        }
    }
}

impl<T> Held<T> {
    /// The document, if it is not stale.
    fn usable(&self, now: Timestamp) -> Option<&Document<T>> {
        self.document.as_ref().filter(|document| now < document.stale_from)
    }

    /// Why somebody would have the document fetched who found what is at hand wanting.
    fn why_renew(&self, now: Timestamp) -> Why {
        if self.usable(now).is_some() { Why::Lacking } else { Why::Old }
    }

    /// Whether the document may be fetched by now, for this reason.
    fn may_fetch(&self, why: Why, now: Timestamp) -> bool {
        let document = self.usable(now);
        let needless = match why {
            Why::Old => document.is_some_and(|document| now < document.fresh_until),
            Why::Ageing => document.is_some_and(|document| now < document.ageing_from),
            Why::Lacking => {
                // It was fetched for this very request, or after it came; or for another one a moment ago.
                document.is_some_and(|document| document.fetched_at >= now)
                    || self.lacked_at.is_some_and(|at| now < at + COOL_DOWN)
            }
        };
        let failed_recently = self.failed.is_some_and(|(at, failures, _)| {
            now < at + Duration::from_secs(1 << failures.saturating_sub(1).min(5)).min(COOL_DOWN)
        });
        !needless && !failed_recently
    }
}
