//! What a guard in memory has forgotten after a restart.

use std::time::Duration;

use super::VerifiedProof;
use crate::clock::Timestamp;

/// Keeps out proofs that an earlier life of this installation may have accepted.
///
/// A proof that could be one of those passes only with a nonce made since the start, which no earlier life gave out: its
/// maker is alive, and asking again costs it nothing (`use_dpop_nonce`). All other proofs pass, so the fence is gone
/// seconds after a restart.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// The latest moment at which a proof that an earlier life saw can have been made.
    seen_until: Option<Timestamp>,
    started: Timestamp,
}

impl Fence {
    /// The fence of a life that began at `started`. Proofs that an earlier one may have accepted were made no later than
    /// `seen_until` ([`LastAlive::proofs_until`](crate::store::LastAlive::proofs_until)); without an earlier life there
    /// is no fence.
    #[must_use]
    pub fn after(seen_until: Option<Timestamp>, started: Timestamp) -> Self {
        Self { seen_until, started }
    }

    /// The fence of a gate that has no store, and so does not know of earlier lives: one may have accepted proofs up to this
    /// moment, those included that were made ahead of our clock by up to `skew`.
    #[must_use]
    pub fn without_store(started: Timestamp, skew: Duration) -> Self {
        Self { seen_until: Some(started + skew), started }
    }

    /// Whether no earlier life can have accepted `proof`.
    #[must_use]
    pub fn admits(&self, proof: &VerifiedProof) -> bool {
        self.clears(proof.made(), proof.nonce_made())
    }

    /// The rule, on when the proof was made and when its nonce was.
    fn clears(&self, made: Timestamp, nonce_made: Option<Timestamp>) -> bool {
        let unseen = self.seen_until.is_none_or(|until| made > until);
        unseen || nonce_made.is_some_and(|nonce_made| nonce_made >= self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_gate_without_a_store_fences_all_that_an_earlier_life_can_have_accepted() {
        let fence = Fence::without_store(at(2), Duration::from_secs(10));
        assert!(!fence.clears(at(-60), None));
        assert!(!fence.clears(at(12), None));
        assert!(fence.clears(at(12) + Duration::from_millis(1), None));
        assert!(fence.clears(at(3), Some(at(2))));
    }
}
