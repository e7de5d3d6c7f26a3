//! The status lists of another issuer, kept at hand (draft-ietf-oauth-status-list-20 §8.3).
//!
//! | the list that a token names | then |
//! |---|---|
//! | is at hand and younger than its `ttl` | it tells |
//! | is older | it tells, and is fetched again behind the scenes, at two thirds of its `ttl` already |
//! | was not named before | the request waits for it, as all do that name it meanwhile |
//! | could not be fetched again for [`IssuerSettings::status_list_stale`](super::IssuerSettings), or past its `exp` | 503: nobody can tell |
//!
//! Invariant: whoever judges a token never waits for the network; a list counts only if the issuer of the token has signed it,
//! and never gives way to an older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;

use crate::clock::Timestamp;
use crate::fetch::{FetchFault, FetchLimits, FetchUrl, Fetcher, FetcherFault, Got, Keeping, Kept, Reach};
use crate::ident::IssuerName;
use crate::jose::Algorithm;
use crate::token::{
    KeyLookup, Renew, Revocations, RevocationsFault, STATUS_LIST_LIMITS, STATUS_LIST_MEDIA_TYPE, StatusList,
    StatusListFault, StatusReference, VerifiedToken,
};
use crate::unavailable::Unavailable;

/// How many lists of one issuer are kept.
pub const LISTS_KEPT: u64 = 64;

/// How long a list is kept that no token names.
const UNUSED: Duration = Duration::from_mins(30);

/// How long a list is fresh that does not say so.
const TTL: Duration = Duration::from_secs(30);

/// How long a list is fresh, whatever it says: at least and at most.
const FRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(15));

/// The status lists of one issuer.
pub struct StatusLists {
    issuer: IssuerName,
    source: Arc<Source>,
    /// By their URLs.
    held: Cache<String, Arc<List>>,
    stale: Duration,
}

/// Where lists come from, and who must have signed them.
struct Source {
    keys: Arc<dyn KeyLookup>,
    algorithms: Vec<Algorithm>,
    skew: Duration,
    /// For lists at the issuer itself, which the operator has named.
    near: Fetcher,
    /// For lists elsewhere.
    far: Fetcher,
}

/// A list, at hand or on its way.
struct List(Arc<Kept<StatusList>>);

impl StatusLists {
    /// The lists of this issuer, whose keys these are. Nothing is fetched yet.
    ///
    /// # Errors
    /// [`FetcherFault`].
    pub fn new(
        issuer: IssuerName,
        (keys, algorithms, skew): (Arc<dyn KeyLookup>, Vec<Algorithm>, Duration),
        (time, stale): (Duration, Duration),
    ) -> Result<Self, FetcherFault> {
        let limits = FetchLimits { time, size: STATUS_LIST_LIMITS.0 };
        let fetcher = |reach| Fetcher::new(reach, limits).map(|fetcher| fetcher.accepting(STATUS_LIST_MEDIA_TYPE));
        let (near, far) = (fetcher(Reach::Anywhere)?, fetcher(Reach::Public)?);
        let held = Cache::builder().max_capacity(LISTS_KEPT).time_to_idle(UNUSED).build();
        let source = Arc::new(Source { keys, algorithms, skew, near, far });
        Ok(Self { issuer, source, held, stale })
    }

    /// The list at that URL; `None` if nothing may be fetched there.
    fn list(&self, uri: &str) -> Option<Arc<List>> {
        if let Some(list) = self.held.get(uri) {
            return Some(list);
        }
        let url: FetchUrl = uri.parse().ok()?;
        let issuer: Option<FetchUrl> = self.issuer.as_str().parse().ok();
        let near =
            issuer.is_some_and(|issuer| issuer.authority() == url.authority() && issuer.is_plain() == url.is_plain());
        if !near && !url.may_be_within(Reach::Public) {
            return None;
        }
        Some(self.held.get_with(uri.to_owned(), || Arc::new(List(self.keep(url, near)))))
    }

    fn keep(&self, url: FetchUrl, near: bool) -> Arc<Kept<StatusList>> {
        let (source, newest) = (Arc::clone(&self.source), Arc::new(AtomicI64::new(i64::MIN)));
        let keeping = Keeping { fresh: FRESH, stale: self.stale };
        Kept::from_source(url.as_str().to_owned(), keeping, None, move |now| {
            let (source, url, newest) = (Arc::clone(&source), url.clone(), Arc::clone(&newest));
            Box::pin(async move {
                let list = source.fetch((&url, near), now).await?;
                let issued = list.issued().seconds();
                if newest.fetch_max(issued, Ordering::Relaxed) > issued {
                    return Err(FetchFault::Unfit); // somebody keeps an old one, in which what was revoked since is good
                }
                let max_age = Some(list.ttl().unwrap_or(TTL));
                Ok(Got { content: list, max_age })
            })
        })
    }
}

impl Source {
    async fn fetch(&self, (url, near): (&FetchUrl, bool), now: Timestamp) -> Result<StatusList, FetchFault> {
        let fetched = if near { self.near.get(url).await? } else { self.far.get(url).await? };
        let text = std::str::from_utf8(&fetched.body).map_err(|_| FetchFault::Unfit)?;
        let verify = || StatusList::verify(text, url.as_str(), (&*self.keys, &self.algorithms, self.skew), now);
        let verified = match verify() {
            Err(StatusListFault::KeysOutdated) => {
                self.keys.renew(now).await;
                verify()
            }
            verified => verified,
        };
        verified.map_err(|fault| match fault {
            StatusListFault::Unfit => FetchFault::Unfit,
            StatusListFault::KeysOutdated | StatusListFault::Unavailable(_) => FetchFault::NoAnswer,
        })
    }
}

#[async_trait]
impl Renew for List {
    async fn renew(&self, now: Timestamp) {
        self.0.renew(now).await;
    }
}

impl Revocations for StatusLists {
    fn is_revoked(&self, token: &VerifiedToken, now: Timestamp) -> Result<bool, RevocationsFault> {
        let named = match StatusReference::of(token.claims()) {
            Ok(Some(named)) => named,
            Ok(None) => return Ok(false), // its issuer tells nothing of it
            Err(_) => return Ok(true),
        };
        let list = self.list(named.uri).ok_or(Unavailable::Down)?;
        match list.0.at_hand(now).filter(|held| held.is_good(now)) {
            // §8.3: what is beyond the end of the list must be refused, and so is what is suspended.
            Some(held) => Ok(held.status(named.idx) != Some(0)),
            None if list.0.may_be_renewed(now) => Err(RevocationsFault::Outdated(list)),
            None => Err(Unavailable::Down.into()),
        }
    }
}

impl StatusLists {
    /// Fetches behind the scenes what will not be fresh for much longer.
    pub fn look_after(&self, now: Timestamp) {
        for (_, list) in &self.held {
            list.0.look_after(now);
        }
    }
}
