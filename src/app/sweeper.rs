//! The sweeping of what is over: beside everything else that goes on behind requests, so that nothing of that waits for it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Timestamp, pause};
use crate::store::Store;

/// How long nothing is swept when nothing is due any more, and up to a tenth longer: replicas take turns.
const PAUSE: Duration = Duration::from_secs(10);

/// How many records one batch removes at most, so that nobody waits long for the writer.
const BATCH: u32 = 500;

/// How far the wall clock may move against the monotonic one before sweeping stops: a clock that jumped ahead would have
/// everything swept at once.
const CLOCK_JUMP: Duration = Duration::from_mins(1);

/// How long a clock that jumped must go on steadily before what it says is believed. Clocks that are set by the network are
/// put right sooner.
const BELIEVED_AFTER: Duration = Duration::from_mins(10);

/// Sweeps the store of an installation.
pub(super) struct Sweeper {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Sweeper {
    /// Sweeps until `stopped` resolves.
    pub(super) async fn run(self, stopped: impl Future<Output = ()>) {
        let sweeping = async {
            let mut steadiness = Steadiness::of(self.read());
            loop {
                self.sweep(&mut steadiness).await;
                pause(PAUSE + PAUSE / 1_000 * below_a_hundred()).await;
            }
        };
        tokio::select! {
            () = stopped => {}
            () = sweeping => {}
        }
    }

    /// Sweeps batch after batch until nothing is due any more, however much comes meanwhile. After each, others have the
    /// store for as long as it took.
    async fn sweep(&self, steadiness: &mut Steadiness) {
        loop {
            let reading @ (began, now) = self.read();
            match steadiness.judge(reading) {
                Belief::Steady => {}
                Belief::Jumped => {
                    let minutes = BELIEVED_AFTER.as_secs() / 60;
                    tracing::warn!("the clock jumped: nothing is swept until it was steady for {minutes} minutes");
                    return;
                }
                Belief::Doubted => return,
            }
            match self.store.sweep(now, BATCH).await {
                Ok(removed) if removed >= BATCH => pause(began.elapsed().min(PAUSE)).await,
                Ok(_) | Err(_) => return, // done, or the store said itself what is wrong
            }
        }
    }

    /// Reads both clocks.
    fn read(&self) -> Reading {
        (Instant::now(), self.clock.now())
    }
}

/// What the monotonic clock and the wall clock said at one moment.
type Reading = (Instant, Timestamp);

/// Whether the wall clock has gone as the monotonic one has.
struct Steadiness {
    believed: Reading,
    /// When the wall clock was first found to have jumped to where it is now.
    jumped: Option<Reading>,
}

/// What is to be made of a reading.
#[derive(Debug, Eq, PartialEq)]
enum Belief {
    /// The wall clock has gone as the monotonic one has, or goes so again.
    Steady,
    /// It has just been found to have jumped.
    Jumped,
    /// It jumped not long ago.
    Doubted,
}

impl Steadiness {
    fn of(believed: Reading) -> Self {
        Self { believed, jumped: None }
    }

    fn judge(&mut self, reading: Reading) -> Belief {
        let has_settled = |jumped: Reading| agree(jumped, reading) && reading.0 - jumped.0 >= BELIEVED_AFTER;
        if agree(self.believed, reading) || self.jumped.is_some_and(has_settled) {
            *self = Self::of(reading);
            return Belief::Steady;
        }
        if self.jumped.is_some_and(|jumped| agree(jumped, reading)) {
            return Belief::Doubted;
        }
        self.jumped = Some(reading);
        Belief::Jumped
    }
}

/// Whether as much time has passed between two readings on both clocks.
fn agree(earlier: Reading, later: Reading) -> bool {
    let expected = earlier.1 + (later.0 - earlier.0);
    later.1.since(expected) <= CLOCK_JUMP && expected.since(later.1) <= CLOCK_JUMP
}

/// A number below a hundred that differs between processes.
fn below_a_hundred() -> u32 {
    u32::try_from(RandomState::new().hash_one(0) % 100).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_is_believed_when_it_came_back_or_was_steady_for_a_while() {
        let start = (Instant::now(), Timestamp::from_seconds(1_000_000));
        let after = |minutes: u32, ahead: i64| {
            let passed = Duration::from_mins(minutes.into());
            (start.0 + passed, Timestamp::from_seconds(start.1.seconds() + ahead) + passed)
        };
        let mut steadiness = Steadiness::of(start);
        for (minutes, ahead, belief) in [
            (1, 0, Belief::Steady),
            (2, 59, Belief::Steady),
            (3, 7_200, Belief::Jumped), // two hours ahead
            (4, 7_200, Belief::Doubted),
            (12, 7_200, Belief::Doubted),
            (12, 60, Belief::Steady), // and back
            (13, -7_200, Belief::Jumped),
            (14, 7_200, Belief::Jumped),
            (23, 7_200, Belief::Doubted),
            (24, 7_200, Belief::Steady), // it means it
            (25, 7_200, Belief::Steady),
            (26, 0, Belief::Jumped),
        ] {
            assert_eq!(steadiness.judge(after(minutes, ahead)), belief, "after {minutes} minutes, {ahead} s ahead");
        }
    }
}
