//! What has ended before its time, in memory: so that a gate beside the store need not ask it about every request.
//!
//! Read from the store at the start and every second, five times as often while somebody waits for news; what this process
//! ends itself is noted as soon as it is on disk.
//!
//! Where several processes share a store, what was not read for too long does not count: a token that another one may have
//! revoked meanwhile is not let through.
//!
//! Invariant: never waits; and forgets an ending only when every access token that it ended has expired.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::{GrantHandle, Store, TokenName, Unavailable};
use crate::clock::{Clock, Timestamp};
use crate::secret::from_base64url;
use crate::token::{Revocations, RevocationsFault, StatusIndex, VerifiedToken};

mod news;
mod waiters;

pub use news::NEWS_EVERY;
use news::News;
pub use waiters::{NEWS_WAITERS, NEWS_WAITERS_PER_ADDRESS, Waiter};

/// How often endings are read from the store: those that another process has written, or of which nobody waited for the
/// answer, are known so much later.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How far back each reading looks, behind what was unfinished at the last one: what was begun earlier may be written later.
const OVERLAP: Duration = Duration::from_secs(30);

/// How far back the readings between those look: most of what they would find is known.
const SHORT_OVERLAP: Duration = Duration::from_secs(2);

/// How often what everybody would refuse by its time alone is forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// What a store knows to have ended in some time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ended {
    /// Grants, with when they ended: by the clock of who ended them or that of the store, whichever is ahead.
    pub grants: Vec<(GrantHandle, Timestamp)>,
    /// Access tokens that were revoked by name, with the last moment at which anybody may take them.
    pub tokens: Vec<(TokenName, Timestamp)>,
    /// For how long at most somebody was writing, when that was read, what could not be read yet; `None` if nobody was, or if
    /// such a thing is always read by the time at which it can be.
    pub unfinished: Option<Duration>,
}

/// Grants that have ended and access tokens that were revoked, while their access tokens would be good otherwise.
///
/// Holds no more than the store does: at most [`Limits::grants`](super::Limits::grants) and
/// [`Limits::revocations`](super::Limits::revocations), 24 and 40 bytes each.
pub struct Endings {
    /// How long after the end of a grant its access tokens may live.
    kept: Duration,
    /// How long ago the store may have been read last for anything to be known, where others end what we do not hear of.
    stale: Option<Duration>,
    grants: Until<GrantHandle>,
    tokens: Until<TokenName>,
    readings: Mutex<Readings>,
    news: News,
}

/// What was read so far.
#[derive(Clone, Copy, Debug, Default)]
struct Readings {
    /// When the store was read last.
    last: Option<Timestamp>,
    /// Everything that was written before that is known, but for [`OVERLAP`]; if the store was ever read as far back as that.
    complete: Option<Timestamp>,
}

/// How far back a reading looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    /// As far as there may be something that is not known.
    Back,
    /// A moment: for those that others have just ended.
    Shortly,
}

impl Readings {
    /// From when on what has ended is to be read; `None` if nothing was read before.
    fn since(&self, look: Look) -> Option<Timestamp> {
        match look {
            Look::Back => self.complete.map(|complete| complete.before(OVERLAP)),
            Look::Shortly => self.last.map(|last| last.before(SHORT_OVERLAP)),
        }
    }

    /// It was read at `now`, when something had been unfinished for so long.
    fn note(&mut self, look: Look, unfinished: Duration, now: Timestamp) {
        self.last = Some(now);
        match look {
            Look::Back => self.complete = Some(now.before(unfinished)),
            Look::Shortly => {} // a later reading looks back as far as if there had not been this one
        }
    }
}

impl Endings {
    /// Nothing has ended yet. `kept` is how long after the end of a grant its access tokens may live.
    #[must_use]
    pub fn new(kept: Duration) -> Self {
        Self {
            kept,
            stale: None,
            grants: Until::default(),
            tokens: Until::default(),
            readings: Mutex::default(),
            news: News::default(),
        }
    }

    /// The same where other processes end things too: nothing is known any more when the store was not read for `stale`.
    #[must_use]
    pub fn shared(kept: Duration, stale: Duration) -> Self {
        Self { stale: Some(stale), ..Self::new(kept) }
    }

    /// Reads what has ended for as long as it is polled. Somebody must, or nothing is known that others have ended.
    pub async fn follow(&self, store: &dyn Store, clock: &dyn Clock) {
        let (mut last, mut last_whole) = (Instant::now(), Instant::now());
        loop {
            self.news.reading_is_due(READ_EVERY, last).await;
            last = Instant::now();
            let whole = last.duration_since(last_whole) >= READ_EVERY;
            if whole {
                last_whole = last;
            }
            self.news.reading_begins();
            let look = if whole { Look::Back } else { Look::Shortly };
            let read = self.read_back(look, store, clock.now()).await;
            self.news.reading_ended(read.is_ok());
            if whole && read.is_err() {
                // It has said so itself; what this process ends, the gate knows anyway.
                tracing::warn!("what ends elsewhere is not known at the gate until the store answers again");
            }
        }
    }

    /// Reads what has ended since this was last done.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer; the next reading looks as far back.
    pub async fn read(&self, store: &dyn Store, now: Timestamp) -> Result<(), Unavailable> {
        self.read_back(Look::Back, store, now).await
    }

    async fn read_back(&self, look: Look, store: &dyn Store, now: Timestamp) -> Result<(), Unavailable> {
        let since = self.readings().since(look).unwrap_or_else(|| now.before(self.kept));
        let unfinished = self.take(store, since, now).await?.unwrap_or_default();
        // Whatever ended longer ago than that ended nothing that would be good now.
        self.readings().note(look, unfinished.min(self.kept), now);
        self.grants.forget(now);
        self.tokens.forget(now);
        Ok(())
    }

    /// Reads what has ended since a moment, as it is now.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn read_since(&self, store: &dyn Store, since: Timestamp, now: Timestamp) -> Result<(), Unavailable> {
        self.take(store, since, now).await.map(drop)
    }

    /// The same; gives for how long something was unfinished.
    async fn take(&self, store: &dyn Store, since: Timestamp, now: Timestamp) -> Result<Option<Duration>, Unavailable> {
        let Ended { grants, tokens, unfinished } = store.ended_since(since, now).await?;
        self.note_grants(grants.into_iter().map(|(grant, ended)| (grant, ended + self.kept)));
        self.note_tokens(tokens);
        Ok(unfinished)
    }

    /// No change is left half-made, so a poisoned lock is as good as a whole one.
    fn readings(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the store was read last, if that was within that time.
    #[must_use]
    pub fn known_at(&self, now: Timestamp, within: Duration) -> Option<Timestamp> {
        self.readings().last.filter(|at| now.since(*at) <= within)
    }

    /// The places in one status list whose tokens had ended, and would be good otherwise, when this minute began or have
    /// since. Processes that know of the same endings give the same places, whenever each of them forgets.
    #[must_use]
    pub fn places(&self, list: u32, now: Timestamp) -> Vec<StatusIndex> {
        let mut places = self.grants.all_until(minute_of(now), |grant| grant.place());
        places.extend(self.tokens.all_until(minute_of(now), |token| token.place()));
        places.retain(|place| place.list() == list);
        places
    }

    /// Notes a grant that has just ended.
    pub fn note_grant(&self, grant: GrantHandle, now: Timestamp) {
        self.note_grants([(grant, now + self.kept)]);
    }

    /// Notes an access token that was just revoked by name, and would be good until `expires`.
    pub fn note_token(&self, token: TokenName, expires: Timestamp) {
        self.note_tokens([(token, expires)]);
    }

    fn note_grants(&self, ended: impl IntoIterator<Item = (GrantHandle, Timestamp)>) {
        self.news.tell(self.grants.note(ended).into_iter().filter_map(GrantHandle::place));
    }

    fn note_tokens(&self, revoked: impl IntoIterator<Item = (TokenName, Timestamp)>) {
        self.news.tell(self.tokens.note(revoked).into_iter().filter_map(TokenName::place));
    }
}

/// For those who wait for news.
impl Endings {
    /// A place to wait at for somebody at an address, where so many may wait at most; `None` if too many do, or nobody shall.
    #[must_use]
    pub fn waiter(&self, address: IpAddr, per_address: usize) -> Option<Waiter> {
        self.news.waiter(address, per_address)
    }

    /// How often a status list has become another one.
    #[must_use]
    pub fn changes(&self, list: u32) -> u64 {
        self.news.changes(list)
    }

    /// Resolves a moment after a list has become another one than it was after so many changes, and gives how many there
    /// were by then; the moment is [`NEWS_EVERY`], in which more may come. `None` if nobody shall wait any longer.
    pub async fn changed(&self, list: u32, changes: u64) -> Option<u64> {
        self.news.changed(list, changes).await
    }

    /// Resolves when the store was read anew: then it is known what had ended anywhere when this was called.
    ///
    /// # Errors
    /// [`Unavailable`] if the store did not answer.
    pub async fn read_anew(&self) -> Result<(), Unavailable> {
        self.news.read_anew().await
    }

    /// Lets everybody go who waits, as this process is about to end.
    pub fn let_go(&self) {
        self.news.end();
    }
}

impl Revocations for Endings {
    fn is_revoked(&self, token: &VerifiedToken, now: Timestamp) -> Result<bool, RevocationsFault> {
        if self.stale.is_some_and(|stale| self.known_at(now, stale).is_none()) {
            return Err(Unavailable::Down.into());
        }
        Ok(GrantHandle::of(token).is_some_and(|grant| self.grants.holds(&grant))
            || (!self.tokens.is_empty() && self.tokens.holds(&TokenName::of(token))))
    }
}

/// When the minute of that moment began.
fn minute_of(now: Timestamp) -> Timestamp {
    Timestamp::from_seconds(now.seconds() - now.seconds().rem_euclid(60))
}

impl GrantHandle {
    /// The grant with which a token of ours ends, if it has one.
    #[must_use]
    pub fn of(token: &VerifiedToken) -> Option<Self> {
        let handle = from_base64url(token.claims().get("grant_id")?.as_str()?)?;
        handle.try_into().ok().map(Self)
    }
}

/// Keys, each with the last moment at which it matters.
struct Until<K> {
    held: RwLock<HashMap<K, Timestamp>>,
    /// When keys were forgotten last.
    forgot_at: Mutex<Timestamp>,
}

impl<K> Default for Until<K> {
    fn default() -> Self {
        Self { held: RwLock::default(), forgot_at: Mutex::default() }
    }
}

impl<K: Eq + Hash> Until<K> {
    fn holds(&self, key: &K) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    fn is_empty(&self) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What each key gives that matters at that moment.
    fn all_until<T>(&self, moment: Timestamp, of: impl Fn(&K) -> Option<T>) -> Vec<T> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().filter(|(_, until)| **until >= moment).filter_map(|(key, _)| of(key)).collect()
    }

    /// Notes keys; gives those that were not known.
    fn note(&self, endings: impl IntoIterator<Item = (K, Timestamp)>) -> Vec<K>
    where
        K: Copy,
    {
        let mut endings = endings.into_iter().peekable();
        if endings.peek().is_none() {
            return Vec::new();
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        endings.filter_map(|(key, until)| held.insert(key, until).is_none().then_some(key)).collect()
    }

    /// Forgets what did not matter any more when this minute began, but not every time: each key is looked at.
    fn forget(&self, now: Timestamp) {
        let mut forgot_at = self.forgot_at.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *forgot_at + FORGET_EVERY {
            self.held.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until >= minute_of(now));
            *forgot_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_reading_looks_back_behind_what_was_unfinished_at_the_last_one() {
        let (mut readings, nothing) = (Readings::default(), Duration::ZERO);
        assert_eq!((readings.since(Look::Back), readings.since(Look::Shortly)), (None, None));
        readings.note(Look::Back, nothing, at(1_000));
        assert_eq!((readings.since(Look::Back), readings.since(Look::Shortly)), (Some(at(970)), Some(at(998))));

        // Somebody has been writing for a minute, and is over by the next reading.
        readings.note(Look::Back, Duration::from_mins(1), at(1_001));
        readings.note(Look::Shortly, nothing, at(1_002));
        assert_eq!((readings.since(Look::Back), readings.since(Look::Shortly)), (Some(at(911)), Some(at(1_000))));
        readings.note(Look::Back, nothing, at(1_002));
        assert_eq!(readings.since(Look::Back), Some(at(972)));
    }
}
