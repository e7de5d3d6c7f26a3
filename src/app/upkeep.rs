//! What goes on behind requests: notes of life, the schedule of the keys, and the sweeping of what is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::audit;
use crate::cache::Tokens;
use crate::clock::{Clock, Timestamp};
use crate::current::Current;
use crate::keys::{KeyState, SigningKeys};
use crate::store::{ALIVE_EVERY, KeyRecord, LastAlive, Store};
use crate::web::Tls;

/// How often what is over is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often the certificate of the public listener is read again.
const CERTIFICATES_EVERY: Duration = Duration::from_mins(1);

/// How many records one batch removes at most, so that nobody waits long for the writer.
const SWEEP_BATCH: u32 = 500;

/// How many batches one round removes at most.
const SWEEP_BATCHES: u32 = 20;

/// How far the wall clock may move against the monotonic one before sweeping stops: a clock that jumped ahead would have
/// everything swept at once.
const CLOCK_JUMP: Duration = Duration::from_mins(1);

/// The background work of an installation.
pub(super) struct Upkeep {
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<SigningKeys>,
    /// How often the keys are looked after.
    pub(super) keys_every: Duration,
    /// The tokens that the gate has verified: forgotten when a key that may have signed them is withdrawn.
    pub(super) tokens: Arc<Current<Tokens>>,
    pub(super) clock: Arc<dyn Clock>,
    /// Whether the last note of life could be written: readiness depends on it.
    pub(super) takes_writes: Arc<AtomicBool>,
    /// What the public listener shows: read again, since certificates are renewed.
    pub(super) tls: Option<Tls>,
}

impl Upkeep {
    /// Works until `stopped` resolves, then notes that this life ended in good order.
    pub(super) async fn run(self, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        let mut alive = ticks(ALIVE_EVERY);
        let mut keys = ticks(self.keys_every);
        let mut sweep = ticks(SWEEP_EVERY);
        let mut certificates = ticks(CERTIFICATES_EVERY);
        let mut began = (Instant::now(), self.clock.now());
        let mut known = self.keys.records();
        loop {
            tokio::select! {
                () = &mut stopped => break,
                _ = alive.tick() => self.note_alive(false).await,
                _ = keys.tick() => self.look_after_keys(&mut known).await,
                () = self.keys.changed() => self.look_after_keys(&mut known).await,
                _ = sweep.tick() => self.sweep(&mut began).await,
                _ = certificates.tick() => self.reload_certificate().await,
            }
        }
        self.note_alive(true).await;
    }

    async fn note_alive(&self, stopped: bool) {
        let alive = LastAlive { at: self.clock.now(), stopped };
        let written = self.store.note_alive(alive).await.is_ok();
        self.takes_writes.store(written, Ordering::Relaxed);
        if !written {
            tracing::warn!("a note of life could not be written");
        }
    }

    async fn reload_certificate(&self) {
        let Some(tls) = self.tls.clone() else { return };
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(true)) => tracing::info!("the public listener shows a new certificate"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => tracing::error!(%error, "the certificate could not be read again; the old one stays"),
        }
    }

    /// Keeps the schedule, and tells of keys that were withdrawn since the last time, by whomever. `known` are those that
    /// there were then.
    async fn look_after_keys(&self, known: &mut Vec<KeyRecord>) {
        let now = self.clock.now();
        if let Err(error) = self.keys.maintain(now).await {
            tracing::error!(%error, "the signing keys could not be looked after; they stay as they were");
        }
        let held = self.keys.records();
        let before = std::mem::replace(known, held);
        let is_published = |kid: &str| known.iter().any(|key| key.kid == kid && key.state(now) != KeyState::Dropped);
        let was_to_stay = |key: &&KeyRecord| key.state(now) != KeyState::Dropped;
        let withdrawn: Vec<_> = before.iter().filter(was_to_stay).filter(|key| !is_published(&key.kid)).collect();
        for KeyRecord { kid, .. } in &withdrawn {
            tracing::warn!(
                target: audit::TARGET,
                event = audit::KEY_WITHDRAWN,
                kid,
                "a signing key was withdrawn: what it signed is refused from now on"
            );
        }
        if !withdrawn.is_empty() {
            self.tokens.get().forget_all();
        }
    }

    async fn sweep(&self, began: &mut (Instant, Timestamp)) {
        let now = self.clock.now();
        if has_jumped(*began, now) {
            tracing::warn!("the clock jumped: nothing is swept in this round");
            *began = (Instant::now(), now);
            return;
        }
        for _ in 0..SWEEP_BATCHES {
            match self.store.sweep(now, SWEEP_BATCH).await {
                Ok(removed) if removed == SWEEP_BATCH => tokio::task::yield_now().await,
                Ok(_) | Err(_) => return, // done, or the store said itself what is wrong
            }
        }
    }
}

/// Whether the wall clock moved against the monotonic one since both were read.
fn has_jumped((instant, timestamp): (Instant, Timestamp), now: Timestamp) -> bool {
    let expected = timestamp + instant.elapsed();
    now.since(expected) > CLOCK_JUMP || expected.since(now) > CLOCK_JUMP
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
