//! The status lists of another issuer, kept at hand (draft-ietf-oauth-status-list-20 §8.3).
//!
//! | the list that a token names | then |
//! |---|---|
//! | is at hand and younger than its `ttl` | it tells |
//! | is older | it tells, and is fetched again behind the scenes, at two thirds of its `ttl` already |
//! | was not named before | the request waits for it, as all do that name it meanwhile |
//! | could not be fetched again for [`IssuerSettings::status_list_stale`](super::IssuerSettings), or past its `exp` | 503: nobody can tell |
//!
//! A token may name two places, of which either ends it: its grant's, and its own.
//!
//! An issuer that lets others wait for news (RFC 7240 §4.3, `Preference-Applied: wait`) is asked so, all the time, by one
//! request for each list: see [`waiting`]. What that brings takes the place of the list at hand. What is above holds whatever
//! becomes of that request.
//!
//! Invariant: whoever judges a token never waits for the network; a list counts only if the issuer of the token has signed it,
//! and never gives way to an older one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp};
use crate::fetch::{
    FetchFault, FetchLimits, FetchUrl, Fetched, Fetcher, FetcherFault, Got, Keeping, Kept, Reach, Roots,
};
use crate::ident::IssuerName;
use crate::jose::Algorithm;
use crate::token::{
    KeyLookup, Renew, Revocations, RevocationsFault, STATUS_LIST_LIMITS, STATUS_LIST_MEDIA_TYPE, StatusList,
    StatusListFault, StatusReference, VerifiedToken,
};
use crate::unavailable::Unavailable;

mod waiting;

use waiting::{LONGEST_WAIT, Waiting};

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
struct List {
    kept: Arc<Kept<Copied>>,
    origin: Arc<Origin>,
    waiting: Mutex<Waiting>,
}

/// A list, as it came.
struct Copied {
    list: StatusList,
    /// By what name its issuer knows it.
    tag: Option<String>,
    /// Whether its issuer lets others wait for the next one.
    waits: bool,
}

/// Where a list comes from.
struct Origin {
    source: Arc<Source>,
    url: FetchUrl,
    /// What tokens call it, and what it must call itself (§8.3): equal to that by code point, in whatever form it is written.
    uri: String,
    near: bool,
    /// When the newest that has come was true.
    newest: AtomicI64,
}

impl StatusLists {
    /// The lists of this issuer, whose keys these are. Nothing is fetched yet.
    ///
    /// # Errors
    /// [`FetcherFault`].
    pub fn new(
        issuer: IssuerName,
        (keys, algorithms, skew): (Arc<dyn KeyLookup>, Vec<Algorithm>, Duration),
        (time, stale): (Duration, Duration),
        roots: &Roots,
    ) -> Result<Self, FetcherFault> {
        let limits = FetchLimits { time, size: STATUS_LIST_LIMITS.0 };
        let fetcher =
            |reach| Fetcher::new(reach, limits, roots).map(|fetcher| fetcher.accepting(STATUS_LIST_MEDIA_TYPE));
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
        Some(self.held.get_with(uri.to_owned(), || Arc::new(self.keep(uri, url, near))))
    }

    fn keep(&self, uri: &str, url: FetchUrl, near: bool) -> List {
        let keeping = Keeping { fresh: FRESH, stale: self.stale };
        let name = url.as_str().to_owned();
        let (source, uri, newest) = (Arc::clone(&self.source), uri.to_owned(), AtomicI64::new(i64::MIN));
        let origin = Origin { source, url, uri, near, newest };
        let origin = Arc::new(origin);
        let source = Arc::clone(&origin);
        let kept = Kept::from_source(name, keeping, None, move |now| {
            let origin = Arc::clone(&source);
            Box::pin(async move {
                // Nothing is known, so nobody is made to wait; but the issuer says whether it would let us.
                let fetched = origin.ask(None, LONGEST_WAIT).await?.ok_or(FetchFault::Unfit)?;
                origin.take(fetched, now).await
            })
        });
        List { kept, origin, waiting: Mutex::default() }
    }
}

impl Origin {
    /// Asks for a list other than the one of that tag; `None` if there was none for as long as that.
    async fn ask(&self, known: Option<&str>, wait: Duration) -> Result<Option<Fetched>, FetchFault> {
        let fetcher = if self.near { &self.source.near } else { &self.source.far };
        fetcher.get_other(&self.url, known, wait).await
    }

    /// Takes a list that has come.
    async fn take(&self, Fetched { body, tag, waits, .. }: Fetched, now: Timestamp) -> Result<Got<Copied>, FetchFault> {
        let list = self.source.verify(&self.uri, &body, now).await?;
        let issued = list.issued().seconds();
        if self.newest.fetch_max(issued, Ordering::Relaxed) > issued {
            return Err(FetchFault::Unfit); // somebody keeps an old one, in which what was revoked since is good
        }
        let max_age = Some(list.ttl().unwrap_or(TTL));
        Ok(Got { content: Copied { list, tag, waits }, max_age })
    }
}

impl Source {
    async fn verify(&self, uri: &str, body: &[u8], now: Timestamp) -> Result<StatusList, FetchFault> {
        let text = std::str::from_utf8(body).map_err(|_| FetchFault::Unfit)?;
        let verify = || StatusList::verify(text, uri, (&*self.keys, &self.algorithms, self.skew), now);
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
        self.kept.renew(now).await;
    }
}

/// Two lists that a token names, of which neither is at hand.
struct Both(Arc<dyn Renew>, Arc<dyn Renew>);

#[async_trait]
impl Renew for Both {
    async fn renew(&self, now: Timestamp) {
        tokio::join!(self.0.renew(now), self.1.renew(now));
    }
}

impl Revocations for StatusLists {
    fn is_revoked(&self, token: &VerifiedToken, now: Timestamp) -> Result<bool, RevocationsFault> {
        use RevocationsFault::{Outdated, Unavailable};
        let claims = token.claims();
        let named = (StatusReference::of(claims), StatusReference::of_token_alone(claims));
        let (Ok(first), Ok(other)) = named else { return Ok(true) };
        match (self.is_marked(first, now), self.is_marked(other, now)) {
            (Ok(true), _) | (_, Ok(true)) => Ok(true),
            (Ok(false), other) => other,
            (first, Ok(false)) => first,
            (Err(Unavailable(cause)), _) | (_, Err(Unavailable(cause))) => Err(Unavailable(cause)),
            (Err(Outdated(first)), Err(Outdated(other))) => Err(Outdated(Arc::new(Both(first, other)))),
        }
    }
}

impl StatusLists {
    /// Whether its list says of a place that a token is over; it does not if none is named: its issuer need not tell.
    fn is_marked(&self, named: Option<StatusReference<'_>>, now: Timestamp) -> Result<bool, RevocationsFault> {
        let Some(named) = named else { return Ok(false) };
        let list = self.list(named.uri).ok_or(Unavailable::Down)?;
        match list.kept.at_hand(now).filter(|held| held.list.is_good(now)) {
            // §8.3: what is beyond the end of the list must be refused, and so is what is suspended.
            Some(held) => Ok(held.list.status(named.idx) != Some(0)),
            None if list.kept.may_be_renewed(now) => Err(RevocationsFault::Outdated(list)),
            None => Err(Unavailable::Down.into()),
        }
    }

    /// Whose lists they are.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// When the one of them was fetched, or was last said to be the newest, for which that is longest ago; `None` if there is
    /// none.
    #[must_use]
    pub fn known_since(&self) -> Option<Timestamp> {
        self.held.iter().filter_map(|(_, list)| list.kept.fetched_at()).min()
    }

    /// Fetches behind the scenes what will not be fresh for much longer, and waits for news where that is possible: among
    /// `waits`.
    pub fn look_after(&self, clock: &Arc<dyn Clock>, waits: &mut JoinSet<()>) {
        let now = clock.now();
        for (_, list) in &self.held {
            list.kept.look_after(now);
            if list.begins_to_wait(now) {
                waits.spawn(waiting::wait(Arc::downgrade(&list), Arc::clone(clock)));
            }
        }
    }
}
