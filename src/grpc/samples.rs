//! Which of many decisions alike are told of where all of them would be too many.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes the first of what it is shown, and then one in so many.
pub(super) struct Samples {
    one_in: NonZeroU32,
    shown: AtomicU64,
}

impl Samples {
    /// Nothing was shown yet.
    pub(super) fn new(one_in: NonZeroU32) -> Self {
        Self { one_in, shown: AtomicU64::new(0) }
    }

    /// Whether the next one is taken.
    pub(super) fn takes_next(&self) -> bool {
        self.shown.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.one_in.get().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_taken_and_then_one_in_so_many() {
        for (one_in, expected) in [(1, [0, 1, 2, 3].as_slice()), (2, &[0, 2]), (3, &[0, 3]), (u32::MAX, &[0])] {
            let samples = Samples::new(NonZeroU32::new(one_in).expect("not zero"));
            let taken: Vec<_> = (0..4).filter(|_| samples.takes_next()).collect();
            assert_eq!(taken, expected, "one in {one_in}");
        }
    }
}
