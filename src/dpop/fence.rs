//! What a guard has forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::VerifiedProof;
use crate::clock::Timestamp;
use crate::replay::ReplayGuard;

/// Keeps out proofs that may have been accepted before the memory of the guard began: by an earlier life of this
/// installation, or before a shared guard forgot.
///
/// A proof that could be one of those passes only with a nonce made since, which nobody gave out before: its maker is
/// alive, and asking again costs it nothing (`use_dpop_nonce`). All other proofs pass, so the fence is gone seconds after
/// a restart.
#[derive(Clone)]
pub struct Fence(Past);

/// What is known about the time before.
#[derive(Clone)]
enum Past {
    /// That of a guard whose memory begins with this life.
    Life {
        /// The latest moment at which a proof that an earlier life saw can have been made.
        seen_until: Option<Timestamp>,
        started: Timestamp,
    },
    /// That of a guard that outlives this life, and may forget during it.
    Shared {
        guard: Arc<dyn ReplayGuard>,
        /// How far clocks of clients may be ahead of ours.
        skew: Duration,
    },
}

impl Fence {
    /// The fence of a life that began at `started`. Proofs that an earlier one may have accepted were made no later than
    /// `seen_until` ([`LastAlive::proofs_until`](crate::store::LastAlive::proofs_until)); without an earlier life there
    /// is no fence.
    #[must_use]
    pub fn after(seen_until: Option<Timestamp>, started: Timestamp) -> Self {
        Self(Past::Life { seen_until, started })
    }

    /// The fence of a gate that has no store, and so does not know of earlier lives: one may have accepted proofs up to this
    /// moment, those included that were made ahead of our clock by up to `skew`.
    #[must_use]
    pub fn without_store(started: Timestamp, skew: Duration) -> Self {
        Self::after(Some(started + skew), started)
    }

    /// The fence of a guard that knows itself when its memory began; proofs may be dated ahead by `skew`. The clocks of
    /// the replicas that share it are taken to agree: one that is ahead gives out nonces that look younger.
    #[must_use]
    pub fn shared(guard: Arc<dyn ReplayGuard>, skew: Duration) -> Self {
        Self(Past::Shared { guard, skew })
    }

    /// Whether nobody can have accepted `proof` before the memory of the guard began. With a shared guard the answer may
    /// change while the guard is asked, so it is asked for before and after.
    #[must_use]
    pub fn admits(&self, proof: &VerifiedProof) -> bool {
        self.clears(proof.made(), proof.nonce_made())
    }

    /// The rule, on when the proof was made and when its nonce was.
    fn clears(&self, made: Timestamp, nonce_made: Option<Timestamp>) -> bool {
        let (seen_until, since) = match &self.0 {
            Past::Life { seen_until, started } => (*seen_until, Some(*started)),
            Past::Shared { guard, skew } => {
                let began = guard.memory_began();
                (began.map(|began| began + *skew), began)
            }
        };
        let unseen = seen_until.is_none_or(|until| made > until);
        unseen || nonce_made.is_some_and(|nonce_made| since.is_some_and(|since| nonce_made >= since))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::replay::{ReplayKey, Seen};
    use crate::unavailable::Unavailable;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_760_000_000 + seconds)
    }

    #[test]
    fn a_fresh_installation_has_no_fence() {
        let fence = Fence::after(None, at(0));
        assert!(fence.clears(at(-60), None));
    }

    #[test]
    fn what_an_earlier_life_may_have_seen_stays_out() {
        let fence = Fence::after(Some(at(15)), at(2));
        assert!(!fence.clears(at(-60), None));
        assert!(!fence.clears(at(15), None));
        assert!(fence.clears(at(15) + Duration::from_millis(1), None));
    }

    #[test]
    fn a_nonce_of_this_life_passes_the_fence_and_an_older_one_does_not() {
        let fence = Fence::after(Some(at(15)), at(2));
        assert!(fence.clears(at(2), Some(at(2))));
        assert!(!fence.clears(at(1), Some(at(1))));
    }

    #[test]
    fn a_shared_guard_raises_the_fence_when_it_forgets() {
        struct Guard(AtomicI64);
        #[async_trait]
        impl ReplayGuard for Guard {
            async fn spend(&self, _: ReplayKey, _: Timestamp, _: Timestamp) -> Result<Seen, Unavailable> {
                Ok(Seen::First)
            }

            fn memory_began(&self) -> Option<Timestamp> {
                Some(Timestamp::from_millis(self.0.load(Ordering::Relaxed)))
            }
        }
        let guard = Arc::new(Guard(AtomicI64::new(at(-900).millis())));
        let fence = Fence::shared(guard.clone(), Duration::from_secs(10));
        assert!(fence.clears(at(0), None), "the memory is older than the proof");
        guard.0.store(at(2).millis(), Ordering::Relaxed);
        assert!(!fence.clears(at(0), None));
        assert!(!fence.clears(at(12), None), "it may be dated ahead");
        assert!(fence.clears(at(13), None));
        assert!(!fence.clears(at(1), Some(at(1))));
        assert!(fence.clears(at(2), Some(at(2))));
    }

    #[test]
    fn a_gate_without_a_store_fences_all_that_an_earlier_life_can_have_accepted() {
        let fence = Fence::without_store(at(2), Duration::from_secs(10));
        assert!(!fence.clears(at(-60), None));
        assert!(!fence.clears(at(12), None));
        assert!(fence.clears(at(12) + Duration::from_millis(1), None));
        assert!(fence.clears(at(3), Some(at(2))));
    }
}
