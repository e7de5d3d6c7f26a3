//! How long one `Check` may take: for as long as its proxy waits, and never long for others.

use std::time::{Duration, Instant};

/// How long a `Check` waits at most for what others must say, all in all, from its arrival on: what a token stands for, newer
/// keys of its issuer, its status list. Less, if the proxy's own time is over before.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// What is left of that time for the answer to get there: who waits longer is answered by the proxy, and not by us.
const ANSWER_TIME: Duration = Duration::from_millis(25);

/// How long one call may take.
#[derive(Clone, Copy)]
pub(super) struct Time {
    /// When the head of the call was read.
    pub(super) arrived: Instant,
    /// When the proxy stops waiting.
    deadline: Option<Instant>,
}

impl Time {
    /// For a call that has arrived, with the value of its `grpc-timeout`.
    pub(super) fn new(arrived: Instant, timeout: Option<&[u8]>) -> Self {
        Self::within(arrived, timeout.and_then(self::timeout))
    }

    fn within(arrived: Instant, timeout: Option<Duration>) -> Self {
        Self { arrived, deadline: timeout.and_then(|timeout| arrived.checked_add(timeout)) }
    }

    /// Whether nobody waits any more.
    pub(super) fn is_over(self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// When to stop waiting for others: one point for however many of them must be asked.
    pub(super) fn to_ask(self) -> tokio::time::Instant {
        let latest = self.arrived + LOOKUP_LIMIT;
        // A deadline lies behind the arrival, so there is a point before it.
        let before = |deadline: Instant| deadline.checked_sub(ANSWER_TIME).unwrap_or(self.arrived);
        self.deadline.map_or(latest, before).min(latest).into()
    }
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_hours(amount)),
        b'M' => Some(Duration::from_mins(amount)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_and_however_often_there_is_one_end_to_it() {
        let arrived = Instant::now();
        let millis = |millis| Some(Duration::from_millis(millis));
        for (timeout, waits) in [
            (None, LOOKUP_LIMIT),
            (millis(60_000), LOOKUP_LIMIT),
            (Some(Duration::MAX), LOOKUP_LIMIT),
            (millis(2_010), Duration::from_millis(1_985)),
            (millis(250), Duration::from_millis(225)),
        ] {
            let time = Time::within(arrived, timeout);
            assert_eq!(time.to_ask().into_std(), arrived + waits, "{timeout:?}");
        }
        assert!(Time::within(arrived, millis(10)).to_ask().into_std() <= arrived, "there is no time to ask");
        assert!(Time::within(arrived, millis(0)).is_over() && !Time::within(arrived, None).is_over());
    }

    #[test]
    fn timeouts_have_digits_and_a_unit() {
        for (text, expected) in [
            ("250m", Some(Duration::from_millis(250))),
            ("1S", Some(Duration::from_secs(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("m", None),
            ("250", None),
            ("123456789m", None),
            ("-1m", None),
            ("1x", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        }
    }
}
