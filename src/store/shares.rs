//! How one batch of the sweeper is dealt out, so that no kind of record makes the others wait until it is done.

use std::collections::VecDeque;

/// Deals out what one batch may remove: as much to each kind of record, and what some do not need to the others.
pub(super) struct Shares {
    /// How much may be removed.
    limit: u32,
    /// What of that is left.
    left: u32,
    /// How much of each kind in this turn.
    share: u32,
    /// The kinds that are asked in this turn.
    waiting: VecDeque<usize>,
    /// Those of which there may be more: they are asked once more.
    more: VecDeque<usize>,
}

impl Shares {
    /// A batch of at most `limit` records of so many kinds.
    pub(super) fn of(limit: u32, kinds: usize) -> Self {
        Self { limit, left: limit, share: 0, waiting: VecDeque::new(), more: (0..kinds).collect() }
    }

    /// The number of the kind that is asked next, and how many of its records may go; `None` at the end of the batch.
    pub(super) fn deal(&mut self) -> Option<(usize, u32)> {
        if self.waiting.is_empty() {
            self.waiting = std::mem::take(&mut self.more);
            let kinds = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
            self.share = self.left.checked_div(kinds)?.max(1);
        }
        let share = self.share.min(self.left);
        if share == 0 { None } else { self.waiting.pop_front().map(|kind| (kind, share)) }
    }

    /// Notes how many records of a kind have gone, of those that might.
    pub(super) fn took(&mut self, (kind, share): (usize, u32), removed: u32) {
        self.left = self.left.saturating_sub(removed);
        if removed >= share {
            self.more.push_back(kind);
        }
    }

    /// How many have gone.
    pub(super) fn removed(&self) -> u32 {
        self.limit - self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_share_and_what_is_over_goes_to_those_that_have_more() {
        for (limit, had, left) in [
            (0, vec![5, 5], vec![5, 5]),
            (10, vec![2, 0, 3], vec![0, 0, 0]),
            (10, vec![100, 0, 1, 100], vec![95, 0, 0, 96]),
            (500, vec![0; 13], vec![0; 13]),
            (3, vec![9; 5], vec![8, 8, 8, 9, 9]),
        ] {
            let (mut held, mut shares) = (had.clone(), Shares::of(limit, had.len()));
            while let Some(next @ (kind, share)) = shares.deal() {
                let goes = share.min(held[kind]);
                held[kind] -= goes;
                shares.took(next, goes);
            }
            assert_eq!(held, left, "{limit} of {had:?}");
            assert_eq!(shares.removed(), limit.min(had.iter().sum()));
        }
    }
}
