//! What goes on behind requests: notes of life, the schedule of the keys, and the sweeping of what is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::{Clock, Timestamp};
use crate::keys::SigningKeys;
use crate::store::{ALIVE_EVERY, LastAlive, Store};

/// How often what is over is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How many records one batch removes at most, so that nobody waits long for the writer.
const SWEEP_BATCH: u32 = 500;

/// How many batches one round removes at most.
const SWEEP_BATCHES: u32 = 20;

/// How far the wall clock may move against the monotonic one before sweeping stops: a clock that jumped ahead would have
/// everything swept at once.
const CLOCK_JUMP: Duration = Duration::from_mins(1);

/// The background work of an installation.
pub(super) struct Upkeep {
    store: Arc<dyn Store>,
    keys: (Arc<SigningKeys>, Duration),
    clock: Arc<dyn Clock>,
    began: (Instant, Timestamp),
}

impl Upkeep {
    /// The upkeep of a store, and of keys that are to be looked after that often.
    pub(super) fn new(store: Arc<dyn Store>, keys: (Arc<SigningKeys>, Duration), clock: Arc<dyn Clock>) -> Self {
        let began = (Instant::now(), clock.now());
        Self { store, keys, clock, began }
    }

    /// Works until `stopped` resolves, then notes that this life ended in good order.
    pub(super) async fn run(mut self, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        let mut alive = ticks(ALIVE_EVERY);
        let mut keys = ticks(self.keys.1);
        let mut sweep = ticks(SWEEP_EVERY);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                _ = alive.tick() => self.note_alive(false).await,
                _ = keys.tick() => self.look_after_keys().await,
                _ = sweep.tick() => self.sweep().await,
            }
        }
        self.note_alive(true).await;
    }

    async fn note_alive(&self, stopped: bool) {
        let alive = LastAlive { at: self.clock.now(), stopped };
        if self.store.note_alive(alive).await.is_err() {
            tracing::warn!(
                "a note of life could not be written; after a crash, proofs of the last seconds are fenced off longer"
            );
        }
    }

    async fn look_after_keys(&self) {
        if let Err(error) = self.keys.0.maintain(self.clock.now()).await {
            tracing::error!(%error, "the signing keys could not be looked after; they stay as they were");
        }
    }

    async fn sweep(&mut self) {
        let now = self.clock.now();
        if self.clock_jumped(now) {
            tracing::warn!("the clock jumped: nothing is swept in this round");
            self.began = (Instant::now(), now);
            return;
        }
        for _ in 0..SWEEP_BATCHES {
            match self.store.sweep(now, SWEEP_BATCH).await {
                Ok(removed) if removed == SWEEP_BATCH => tokio::task::yield_now().await,
                Ok(_) | Err(_) => return, // done, or the store said itself what is wrong
            }
        }
    }

    fn clock_jumped(&self, now: Timestamp) -> bool {
        let (instant, timestamp) = self.began;
        let expected = timestamp + instant.elapsed();
        now.since(expected) > CLOCK_JUMP || expected.since(now) > CLOCK_JUMP
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
