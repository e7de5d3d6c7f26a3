//! Who waits to hear that a status list has become another one, and how the store is read for them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::waiters::{Waiter, Waiters};
use crate::clock;
use crate::token::{STATUS_LISTS, StatusIndex};
use crate::unavailable::Unavailable;

/// How much later news is told, so that what ends together is told together. No list is made more often.
pub const NEWS_EVERY: Duration = Duration::from_millis(100);

/// How often the store is read while somebody waits: what another process has written is known so much later.
const READ_SOON: Duration = Duration::from_millis(200);

/// What there is to hear.
#[derive(Default)]
pub(super) struct News {
    told: watch::Sender<Told>,
    readings: watch::Sender<Readings>,
    /// Somebody wants the store to be read at once.
    asked: Notify,
    waiters: Arc<Waiters>,
}

/// What was told so far.
#[derive(Clone, Copy, Default)]
struct Told {
    /// How often each list has become another one.
    changes: [u64; STATUS_LISTS as usize],
    /// Whether nobody shall wait any longer.
    over: bool,
}

/// How often the store was read.
#[derive(Clone, Copy, Default)]
struct Readings {
    begun: u64,
    ended: u64,
    /// Whether it answered the last time.
    answered: bool,
}

impl News {
    /// Tells that these places have become invalid.
    pub(super) fn tell(&self, places: impl IntoIterator<Item = StatusIndex>) {
        let mut places = places.into_iter().peekable();
        if places.peek().is_some() {
            self.told.send_modify(|told| {
                for place in places {
                    told.changes[place.list() as usize] += 1;
                }
            });
        }
    }

    /// How often a list has become another one.
    pub(super) fn changes(&self, list: u32) -> u64 {
        self.told.borrow().changes[list as usize]
    }

    /// A place to wait at for somebody at an address, where so many may wait at most; `None` if too many do, or nobody shall.
    pub(super) fn waiter(&self, address: IpAddr, per_address: usize) -> Option<Waiter> {
        if self.told.borrow().over {
            return None;
        }
        let waiter = self.waiters.place(address, per_address)?;
        if self.waiters.count() == 1 {
            self.asked.notify_one(); // the first in a while: readings were far between
        }
        Some(waiter)
    }

    /// Resolves a moment after the list has become another one than it was after so many changes; gives how many there were
    /// by then. `None` if nobody shall wait any longer.
    pub(super) async fn changed(&self, list: u32, changes: u64) -> Option<u64> {
        let mut told = self.told.subscribe();
        let of = |told: &Told| told.changes[list as usize];
        let changes = of(&*told.wait_for(|told| told.over || of(told) != changes).await.ok()?);
        // Nobody who waits is shown a list that was made before this, so none is made more often.
        let _ = timeout(NEWS_EVERY, told.wait_for(|told| told.over)).await;
        (!told.borrow().over).then_some(changes)
    }

    /// Lets everybody go who waits.
    pub(super) fn end(&self) {
        self.told.send_modify(|told| told.over = true);
    }

    /// Resolves when the store was read, from a moment after this was called on.
    ///
    /// # Errors
    /// [`Unavailable`] if it did not answer.
    pub(super) async fn read_anew(&self) -> Result<(), Unavailable> {
        let mut readings = self.readings.subscribe();
        let next = readings.borrow().begun + 1;
        self.asked.notify_one();
        let read = readings.wait_for(|readings| readings.ended >= next).await.map_err(|_| Unavailable::Down)?;
        if read.answered { Ok(()) } else { Err(Unavailable::Down) }
    }

    /// Resolves when the store is to be read again: after `every`, or sooner if somebody waits, but never sooner than
    /// [`NEWS_EVERY`] after the last time.
    pub(super) async fn reading_is_due(&self, every: Duration, last: Instant) {
        let waited_for = self.waiters.count() > 0;
        let pause = if waited_for { every.min(READ_SOON) } else { every };
        let _ = timeout(pause, self.asked.notified()).await;
        let rest = NEWS_EVERY.saturating_sub(last.elapsed());
        clock::pause(rest).await;
    }

    /// Notes that the store is being read.
    pub(super) fn reading_begins(&self) {
        self.readings.send_modify(|readings| readings.begun += 1);
    }

    /// Notes that it was read, and whether it answered.
    pub(super) fn reading_ended(&self, answered: bool) {
        self.readings.send_modify(|readings| {
            readings.ended = readings.begun;
            readings.answered = answered;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use super::*;
    use crate::token::STATUS_LIST_LENGTH;

    fn place(number: u32) -> StatusIndex {
        StatusIndex::new(number).expect("a place")
    }

    /// Whether something has not come about yet.
    async fn is_open<T>(what: Pin<&mut impl Future<Output = T>>) -> bool {
        tokio::select! {
            biased;
            _ = what => false,
            () = std::future::ready(()) => true,
        }
    }

    #[tokio::test]
    async fn who_waits_hears_of_one_list_and_what_comes_at_once_is_heard_once() {
        let news = News::default();
        let mut first = pin!(news.changed(0, news.changes(0)));
        news.tell([place(STATUS_LIST_LENGTH)]); // of another list
        assert!(is_open(first.as_mut()).await);
        news.tell([place(1)]);
        news.tell([place(2)]);
        assert!(is_open(first.as_mut()).await, "more may come");
        assert_eq!((first.await, news.changes(0)), (Some(2), 2));
        let mut second = pin!(news.changed(0, 2));
        assert!(is_open(second.as_mut()).await);
        news.end();
        assert_eq!(second.await, None);
        assert!(news.waiter([192, 0, 2, 1].into(), 1).is_none());
    }

    #[tokio::test]
    async fn a_reading_that_had_begun_before_does_not_count() {
        let news = News::default();
        news.reading_begins();
        let mut anew = pin!(news.read_anew());
        assert!(is_open(anew.as_mut()).await);
        news.reading_ended(true);
        assert!(is_open(anew.as_mut()).await);
        let last = Instant::now();
        news.reading_is_due(Duration::from_secs(9), last).await;
        let waited = last.elapsed();
        assert!(
            waited >= NEWS_EVERY && waited < Duration::from_secs(9),
            "asked for, and not before its time: {waited:?}"
        );
        news.reading_begins();
        news.reading_ended(false);
        assert_eq!(anew.await, Err(Unavailable::Down));
    }
}
