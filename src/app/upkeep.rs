//! What goes on behind requests: notes of life, the schedule of the keys, and certificates that are renewed. What is over is
//! swept beside that, by `sweeper.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::audit;
use crate::cache::Tokens;
use crate::clock::Clock;
use crate::current::Current;
use crate::keys::{KeyState, SigningKeys};
use crate::store::{ALIVE_EVERY, KeyRecord, LastAlive, Store};
use crate::web::Tls;

/// How often the certificates of the listeners are read again.
const CERTIFICATES_EVERY: Duration = Duration::from_mins(1);

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
    /// What the listeners show: read again, since certificates are renewed.
    pub(super) tls: Vec<Tls>,
}

impl Upkeep {
    /// Works until `stopped` resolves, then notes that this life ended in good order.
    pub(super) async fn run(self, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        let mut alive = ticks(ALIVE_EVERY);
        let mut keys = ticks(self.keys_every);
        let mut certificates = ticks(CERTIFICATES_EVERY);
        let mut known = self.keys.records();
        loop {
            tokio::select! {
                () = &mut stopped => break,
                _ = alive.tick() => self.note_alive(false).await,
                _ = keys.tick() => self.look_after_keys(&mut known).await,
                () = self.keys.changed() => self.look_after_keys(&mut known).await,
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
        for tls in &self.tls {
            let tls = tls.clone();
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(true)) => tracing::info!("a listener shows a new certificate"),
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(error)) => tracing::error!(%error, "a certificate could not be read again; the old one stays"),
            }
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
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
