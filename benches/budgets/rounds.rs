//! Taking turns, and what comes out of it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Lets each contender have one turn a round, and gives what each of them measured, round by round.
pub(crate) fn take_turns<const N: usize>(rounds: usize, contenders: [&mut dyn FnMut() -> f64; N]) -> [Vec<f64>; N] {
    let mut contenders = contenders;
    let mut figures = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
            figures.push(contender());
        }
    }
    figures
}

/// The middle of some figures: a round that somebody else disturbed has no say.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The median of a figure that is computed from those of one round at a time, so that what slows down a whole round
/// slows down both sides.
pub(crate) fn median_by_round(rounds: usize, figure: impl Fn(usize) -> f64) -> f64 {
    median(&(0..rounds).map(figure).collect::<Vec<_>>())
}

/// The CPU time of this thread for one of `count` repetitions, in microseconds.
pub(crate) fn cpu_us_each(count: usize, mut repeated: impl FnMut(usize)) -> f64 {
    let before = thread_cpu();
    for n in 0..count {
        repeated(n);
    }
    us_each(thread_cpu().saturating_sub(before), count)
}

/// A duration shared among `count`, in microseconds.
pub(crate) fn us_each(total: Duration, count: usize) -> f64 {
    total.as_secs_f64() * 1e6 / as_f64(count)
}

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a CPU clock does not go below zero")
}
