//! A replay guard whose answers are counted.

use std::sync::Arc;

use async_trait::async_trait;

use super::metrics::ReplayMetrics;
use crate::clock::Timestamp;
use crate::replay::{ReplayGuard, ReplayKey, Seen};
use crate::unavailable::Unavailable;

/// Asks another guard, and counts what it says.
pub struct CountedGuard {
    guard: Arc<dyn ReplayGuard>,
    metrics: ReplayMetrics,
}

impl CountedGuard {
    /// Counts the answers of `guard`.
    #[must_use]
    pub fn new(guard: Arc<dyn ReplayGuard>, metrics: ReplayMetrics) -> Self {
        Self { guard, metrics }
    }

    fn count(&self, answer: Result<Seen, Unavailable>) -> Result<Seen, Unavailable> {
        let counter = match answer {
            Ok(Seen::First) => &self.metrics.first,
            Ok(Seen::Replayed) => &self.metrics.replayed,
            Err(_) => &self.metrics.unavailable,
        };
        counter.inc();
        answer
    }
}

#[async_trait]
impl ReplayGuard for CountedGuard {
    async fn spend(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        self.count(self.guard.spend(key, expires, now).await)
    }

    fn spend_now(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Option<Result<Seen, Unavailable>> {
        self.guard.spend_now(key, expires, now).map(|answer| self.count(answer))
    }

    fn occupancy(&self) -> Option<(usize, usize)> {
        self.guard.occupancy()
    }

    fn is_shared(&self) -> bool {
        self.guard.is_shared()
    }

    fn memory_began(&self) -> Option<Timestamp> {
        self.guard.memory_began()
    }

    fn is_ready(&self) -> bool {
        self.guard.is_ready()
    }
}
