//! What has ended before its time, in memory: so that a gate beside the store need not ask it about every request.
//!
//! Read from the store at the start and every second; what this process ends itself is noted as soon as it is on disk.
//!
//! Invariant: never waits; and forgets an ending only when every access token that it ended has expired.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::{GrantHandle, Store, TokenName, Unavailable};
use crate::clock::Timestamp;
use crate::secret::from_base64url;
use crate::token::{Revocations, RevocationsFault, StatusIndex, VerifiedToken};

/// How often endings are read from the store: those that another process has written, or of which nobody waited for the
/// answer, are known so much later.
pub const ENDINGS_EVERY: Duration = Duration::from_secs(1);

/// How far back each reading looks: clocks of processes may differ, and what was begun earlier may be written later.
const OVERLAP: Duration = Duration::from_secs(30);

/// How often what everybody would refuse by its time alone is forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// What a store knows to have ended in some time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ended {
    /// Grants, with when they ended.
    pub grants: Vec<(GrantHandle, Timestamp)>,
    /// Access tokens that were revoked by name, with the last moment at which anybody may take them.
    pub tokens: Vec<(TokenName, Timestamp)>,
}

/// Grants that have ended and access tokens that were revoked, while their access tokens would be good otherwise.
///
/// Holds no more than the store does: at most [`Limits::grants`](super::Limits::grants) and
/// [`Limits::revocations`](super::Limits::revocations), 24 and 40 bytes each.
pub struct Endings {
    /// How long after the end of a grant its access tokens may live.
    kept: Duration,
    grants: Until<GrantHandle>,
    tokens: Until<TokenName>,
    /// When the store was read last.
    read_at: Mutex<Option<Timestamp>>,
}

impl Endings {
    /// Nothing has ended yet. `kept` is how long after the end of a grant its access tokens may live.
    #[must_use]
    pub fn new(kept: Duration) -> Self {
        Self { kept, grants: Until::default(), tokens: Until::default(), read_at: Mutex::default() }
    }

    /// Reads what has ended since this was last done.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer; the next reading looks as far back.
    pub async fn read(&self, store: &dyn Store, now: Timestamp) -> Result<(), Unavailable> {
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        let since = read_at.map_or_else(|| now.before(self.kept), |at| at.before(OVERLAP));
        self.read_since(store, since).await?;
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.grants.forget(now);
        self.tokens.forget(now);
        Ok(())
    }

    /// Reads what has ended since a moment.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn read_since(&self, store: &dyn Store, since: Timestamp) -> Result<(), Unavailable> {
        let Ended { grants, tokens } = store.ended_since(since).await?;
        self.grants.note(grants.into_iter().map(|(grant, ended)| (grant, ended + self.kept)));
        self.tokens.note(tokens);
        Ok(())
    }

    /// Whether the store was read within that time.
    #[must_use]
    pub fn are_known(&self, now: Timestamp, within: Duration) -> bool {
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        read_at.is_some_and(|at| now.since(at) <= within)
    }

    /// The places in one status list whose tokens have ended.
    #[must_use]
    pub fn places(&self, list: u32) -> Vec<StatusIndex> {
        let mut places = self.grants.all(|grant| grant.place());
        places.extend(self.tokens.all(|token| token.place()));
        places.retain(|place| place.list() == list);
        places
    }

    /// Notes a grant that has just ended.
    pub fn note_grant(&self, grant: GrantHandle, now: Timestamp) {
        self.grants.note([(grant, now + self.kept)]);
    }

    /// Notes an access token that was just revoked by name, and would be good until `expires`.
    pub fn note_token(&self, token: TokenName, expires: Timestamp) {
        self.tokens.note([(token, expires)]);
    }
}

impl Revocations for Endings {
    fn is_revoked(&self, token: &VerifiedToken, _: Timestamp) -> Result<bool, RevocationsFault> {
        Ok(GrantHandle::of(token).is_some_and(|grant| self.grants.holds(&grant))
            || (!self.tokens.is_empty() && self.tokens.holds(&TokenName::of(token))))
    }
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

    /// What each key gives.
    fn all<T>(&self, of: impl Fn(&K) -> Option<T>) -> Vec<T> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).keys().filter_map(of).collect()
    }

    fn note(&self, endings: impl IntoIterator<Item = (K, Timestamp)>) {
        let mut endings = endings.into_iter().peekable();
        if endings.peek().is_some() {
            self.held.write().unwrap_or_else(PoisonError::into_inner).extend(endings);
        }
    }

    /// Forgets what does not matter any more, but not every time: each key is looked at.
    fn forget(&self, now: Timestamp) {
        let mut forgot_at = self.forgot_at.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *forgot_at + FORGET_EVERY {
            self.held.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until >= now);
            *forgot_at = now;
        }
    }
}
