//! Times as people say them: one number and one unit.

use std::time::Duration;

/// A unit of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 365 * DAY;

/// A time that has passed, in the largest unit of which there is one; rounded down, and not more exact than a minute.
pub(super) fn rounded(time: Duration) -> (u64, Unit) {
    match time.as_secs() {
        seconds @ 0..HOUR => (seconds / MINUTE, Unit::Minute),
        seconds @ HOUR..DAY => (seconds / HOUR, Unit::Hour),
        seconds @ DAY..MONTH => (seconds / DAY, Unit::Day),
        seconds @ MONTH..YEAR => (seconds / MONTH, Unit::Month),
        seconds => (seconds / YEAR, Unit::Year),
    }
}

/// A time to wait, in whole seconds, or minutes if it is longer than one; never too short.
pub(super) fn wait(time: Duration) -> (u64, Unit) {
    match time.as_secs() + 1 {
        seconds @ 0..=MINUTE => (seconds, Unit::Second),
        seconds => (seconds.div_ceil(MINUTE), Unit::Minute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded() {
        for (seconds, wanted) in [
            (0, (0, Unit::Minute)),
            (59, (0, Unit::Minute)),
            (60, (1, Unit::Minute)),
            (3_599, (59, Unit::Minute)),
            (3_600, (1, Unit::Hour)),
            (86_399, (23, Unit::Hour)),
            (86_400, (1, Unit::Day)),
            (2_591_999, (29, Unit::Day)),
            (2_592_000, (1, Unit::Month)),
            (31_535_999, (12, Unit::Month)),
            (63_072_000, (2, Unit::Year)),
        ] {
            assert_eq!(rounded(Duration::from_secs(seconds)), wanted, "{seconds} s");
        }
        for (millis, wanted) in [
            (0, (1, Unit::Second)),
            (59_999, (60, Unit::Second)),
            (60_000, (2, Unit::Minute)),
            (900_000, (16, Unit::Minute)),
        ] {
            assert_eq!(wait(Duration::from_millis(millis)), wanted, "{millis} ms");
        }
    }
}
