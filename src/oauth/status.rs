//! Status lists: which of our tokens are over before their time, for gates that cannot ask the store
//! (draft-ietf-oauth-status-list-20).
//!
//! A grant has one place in the lists, which is part of its handle, so all its access tokens have it and one bit ends them.
//! A token without a grant has a place of its own; so has one that was got in exchange, which is over with the grant and when
//! it is revoked itself, beside that of the grant. Places are leased from the store in blocks, and handed out in an order
//! that nobody can foresee; a block is leased again when whatever was issued with its places is over, and what still has a
//! place keeps it.
//!
//! A gate may ask to be told when a list becomes another one (`Prefer: wait`, RFC 7240 §4.3): it has a list, names it by its
//! tag, and is answered as soon as there is another. What one replica has ended, the others tell as well, as soon as they have
//! read it. All have the same tag for the same list, so it does not matter which of them is asked.
//!
//! Invariant: no two tokens share a place that do not end together, whatever crashes; a place that nobody has looks like one
//! whose token is good.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::grant::Authorization;
use super::metadata::{STATUS_LIST, STATUS_LIST_AGGREGATION};
use super::{AuthorizationServer, Error};
use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::secret::{base64url, sha256};
use crate::store::{GrantHandle, NEWS_EVERY, STATUS_BLOCK, Unavailable, Waiter};
use crate::token::{PackedList, STATUS_LIST_TYPE, STATUS_LISTS, Status, StatusIndex, StatusListClaims};

/// How long a block of places is leased.
const LEASE: Duration = Duration::from_mins(10);

/// How far clocks of replicas may differ, and how long a grant may take from its place to the disk.
const MARGIN: Duration = Duration::from_mins(2);

/// How often a list is made anew at most in which nothing has changed: many gates may ask. One in which something has is
/// made every [`NEWS_EVERY`] at most.
const MADE_EVERY: Duration = Duration::from_secs(1);

/// How old what is known to have ended may be, for a list to be made of it.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// What an operator decides about status lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusLists {
    /// `ttl`: how old a list becomes at a gate before that fetches a newer one.
    pub ttl: Duration,
    /// How long a list counts that nobody can fetch again: `exp`.
    pub life: Duration,
    /// How many requests from one address may wait for another list, an IPv6 address counting as its /64.
    pub waiting_per_address: usize,
}

/// The places that this process may hand out, and the lists that it has made.
#[derive(Default)]
pub(super) struct Places {
    leased: Mutex<Leased>,
    made: Mutex<BTreeMap<u32, Made>>,
}

/// Places of which nobody else hands out any.
#[derive(Default)]
struct Leased {
    free: Vec<StatusIndex>,
    until: Timestamp,
}

/// A list that was made a moment ago.
struct Made {
    at: Timestamp,
    /// How often the list had become another one by then.
    changes: u64,
    list: PublishedList,
}

/// A status list, as everybody may have it.
#[derive(Clone, Debug)]
pub struct PublishedList {
    /// The list, signed.
    pub text: String,
    /// What is in it, and for how long it is believed: as good as the list itself for who has it. For `ETag`.
    pub tag: String,
    /// How long it may be kept.
    pub ttl: Duration,
}

impl Places {
    /// A place that nobody has, if there is one at hand.
    fn take(&self, now: Timestamp) -> Option<StatusIndex> {
        let mut leased = lock(&self.leased);
        if now < leased.until { leased.free.pop() } else { None }
    }

    /// Whether there are places at hand.
    fn has_some(&self, now: Timestamp) -> bool {
        let leased = lock(&self.leased);
        now < leased.until && !leased.free.is_empty()
    }

    /// Adds what was leased until then. What is left of an earlier lease may be handed out no longer than that one.
    fn add(&self, free: Vec<StatusIndex>, until: Timestamp, now: Timestamp) {
        let mut leased = lock(&self.leased);
        if now >= leased.until || leased.free.is_empty() {
            *leased = Leased { free, until };
        } else {
            leased.free.extend(free);
            leased.until = leased.until.min(until);
        }
    }
}

impl Made {
    /// Whether it may be told still.
    fn is_good(&self, changes: u64, now: Timestamp) -> bool {
        let time = if self.changes == changes { MADE_EVERY } else { NEWS_EVERY };
        now >= self.at && now < self.at + time
    }
}

/// No change is left half-made, so a poisoned lock is as good as a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AuthorizationServer {
    /// Sees to it that there are places at hand: before anything is spent for a token that needs one.
    pub(super) async fn lease_places(&self, now: Timestamp) -> Result<(), Unavailable> {
        if self.settings.status_lists.is_none() || self.places.has_some(now) {
            return Ok(());
        }
        let until = now + LEASE;
        let over = until + self.settings.lifetimes.access_token + self.settings.dpop.window.skew + MARGIN;
        let block = self.store.lease_status_block(now, over).await?;
        let free = block.free();
        if free.is_empty() {
            return Err(Unavailable::Full);
        }
        self.places.add(shuffled(free, &*self.entropy), until, now);
        Ok(())
    }

    /// A place that nobody has; `None` where there are no lists.
    async fn place(&self, now: Timestamp) -> Result<Option<StatusIndex>, Unavailable> {
        if self.settings.status_lists.is_none() {
            return Ok(None);
        }
        if let Some(place) = self.places.take(now) {
            return Ok(Some(place));
        }
        self.lease_places(now).await?; // others have taken all since
        self.places.take(now).map(Some).ok_or(Unavailable::Full)
    }

    /// The handle of a grant that begins, with a place in it if there are lists.
    pub(super) async fn grant_handle(&self, now: Timestamp) -> Result<GrantHandle, Unavailable> {
        let drawn = GrantHandle(self.entropy.draw());
        Ok(self.place(now).await?.map_or(drawn, |place| drawn.at(place)))
    }

    /// The `status` claim of the access token for this.
    ///
    /// A grant that began before there were lists has no place. What is got in exchange for its token has one all the same, by
    /// which it can be revoked itself; but not in `status_list`, which would promise that it ends with the grant.
    pub(super) async fn status(
        &self,
        authorization: &Authorization,
        now: Timestamp,
    ) -> Result<Option<Status>, Unavailable> {
        if self.settings.status_lists.is_none() {
            return Ok(None);
        }
        let (place, of_token_alone) = match (authorization.grant, &authorization.delegation) {
            (Some(grant), None) => (grant.place(), None),
            (Some(grant), Some(_)) => (grant.place(), self.place(now).await?),
            (None, _) => (self.place(now).await?, None),
        };
        Ok(Status::at(place, of_token_alone, |place| self.list_url(place.list())))
    }

    fn list_url(&self, list: u32) -> String {
        format!("{}{list}", self.settings.url(STATUS_LIST))
    }

    /// A status list, signed (§5.1); `None` if there is none of that number.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is not known what has ended elsewhere, or nothing can be signed.
    pub fn status_list(&self, number: &str, now: Timestamp) -> Result<Option<PublishedList>, Error> {
        let Some(list) = list_number(number) else { return Ok(None) };
        Ok(self.made(list, 0, now)?.map(|(list, _)| list))
    }

    /// Waits until a list is none of those that somebody has, or for ever; not at all if there is no such list.
    ///
    /// What was revoked before somebody began to wait may be known to another replica only, which has told it. So a list that
    /// differs counts only if the store was read since: it could be an older one.
    ///
    /// # Errors
    /// As [`Self::status_list`], and if the store does not answer.
    pub async fn status_list_news(
        &self,
        number: &str,
        has: impl Fn(&str) -> bool,
        clock: &dyn Clock,
    ) -> Result<(), Error> {
        let Some(list) = list_number(number) else { return Ok(()) };
        let (mut is_current, mut at_least) = (false, 0);
        loop {
            let Some((made, changes)) = self.made(list, at_least, clock.now())? else { return Ok(()) };
            if has(&made.tag) {
                is_current = true;
                let Some(changes) = self.endings.changed(list, changes).await else { return Ok(()) };
                at_least = changes;
            } else if is_current {
                return Ok(());
            } else {
                self.endings.read_anew().await?;
                (is_current, at_least) = (true, self.endings.changes(list));
            }
        }
    }

    /// Somebody at an address who waits for a list to become another one; `None` if too many do, there or anywhere.
    #[must_use]
    pub fn status_list_waiter(&self, address: IpAddr) -> Option<Waiter> {
        self.endings.waiter(address, self.settings.status_lists?.waiting_per_address)
    }

    /// A list with so many changes at least, and how many it has; `None` where there are no lists.
    fn made(&self, list: u32, at_least: u64, now: Timestamp) -> Result<Option<(PublishedList, u64)>, Error> {
        let Some(StatusLists { ttl, life, .. }) = self.settings.status_lists else { return Ok(None) };
        let changes = self.endings.changes(list); // before what is in the list: never after
        let mut made = lock(&self.places.made);
        if let Some(made) = made.get(&list).filter(|made| made.changes >= at_least && made.is_good(changes, now)) {
            return Ok(Some((made.list.clone(), made.changes)));
        }
        // When it was true (§5.1): what others have ended since is not in it, and gates know one that is newer by this.
        let issued = self.endings.known_at(now, KNOWN_FOR).ok_or(Unavailable::Down)?.min(now);
        let (url, aggregation) = (self.list_url(list), self.settings.url(STATUS_LIST_AGGREGATION));
        let packed = PackedList::new(self.endings.places(list, now), &aggregation);
        // Who revalidates a list by its tag keeps its `exp`, which must not come too soon.
        let period = now.seconds() / i64::try_from(life.as_secs() / 2).unwrap_or(i64::MAX).max(1);
        let tag = base64url(&sha256(format!("{period} {}", packed.places()).as_bytes())[..12]);
        let claims = StatusListClaims {
            sub: &url,
            iat: issued.seconds(),
            exp: (now + life).seconds(),
            ttl: ttl.as_secs().max(1),
            status_list: packed,
        };
        let text = self.keys.signer(now)?.sign(STATUS_LIST_TYPE, &claims);
        let published = PublishedList { text, tag, ttl };
        made.insert(list, Made { at: now, changes, list: published.clone() });
        Ok(Some((published, changes)))
    }

    /// All status lists (§9.3); `None` where there are none.
    #[must_use]
    pub fn status_lists(&self) -> Option<Value> {
        self.settings.status_lists?;
        let all: Vec<_> = (0..STATUS_LISTS).map(|list| self.list_url(list)).collect();
        Some(json!({ "status_lists": all }))
    }
}

/// The number of a list, if there is one of that number.
fn list_number(number: &str) -> Option<u32> {
    number.parse().ok().filter(|list: &u32| *list < STATUS_LISTS && list.to_string() == number)
}

/// The same places in an order that nobody can foresee: a place must not tell when its token was issued.
fn shuffled(mut places: Vec<StatusIndex>, entropy: &dyn Entropy) -> Vec<StatusIndex> {
    const BYTES: usize = STATUS_BLOCK as usize * 4;
    let drawn = entropy.draw::<BYTES>();
    for (last, bytes) in (1..places.len()).rev().zip(drawn.chunks_exact(4)) {
        let number = bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        places.swap(last, number % (last + 1));
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::entropy::SystemEntropy;

    fn places(numbers: std::ops::Range<u32>) -> Vec<StatusIndex> {
        numbers.map(|number| StatusIndex::new(number).expect("a place")).collect()
    }

    #[test]
    fn each_place_is_handed_out_once_and_not_in_its_order() {
        let all = places(0..STATUS_BLOCK);
        let shuffled = shuffled(all.clone(), &SystemEntropy);
        assert_ne!(shuffled, all);
        assert_eq!(shuffled.into_iter().collect::<BTreeSet<_>>(), all.into_iter().collect());
    }

    #[test]
    fn nothing_is_handed_out_when_its_lease_is_over() {
        let (pool, at) = (Places::default(), Timestamp::from_seconds);
        pool.add(places(0..2), at(100), at(0));
        pool.add(places(8..9), at(150), at(50));
        assert!(pool.take(at(99)).is_some() && pool.has_some(at(99)));
        assert!(!pool.has_some(at(100)) && pool.take(at(100)).is_none());
        pool.add(places(16..17), at(200), at(100));
        assert_eq!(pool.take(at(199)).map(StatusIndex::number), Some(16), "what was left of the first is gone");
        assert!(pool.take(at(199)).is_none());
    }
}
