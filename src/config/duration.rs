//! Durations as they are written in a configuration: `5m`, `60s`, `14d`, `1h30m`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A duration of whole seconds, from one second to ten years.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Lifetime(pub(super) Duration);

/// A text that is no duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum LifetimeFault {
    /// Not numbers with units, largest unit first.
    #[error("must be a duration such as \"60s\", \"5m\", \"1h30m\" or \"14d\"")]
    Malformed,
    /// Absence means off; zero never does.
    #[error("must be at least \"1s\"")]
    Zero,
    /// More than ten years.
    #[error("must be at most \"3650d\"")]
    TooLong,
}

/// The units, largest first, in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Ten years, in seconds.
const LONGEST: u64 = 3_650 * 86_400;

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Lifetime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"60s\", \"5m\", \"1h30m\" or \"14d\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Lifetime, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Lifetime {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$" })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl FromStr for Lifetime {
    type Err = LifetimeFault;

    fn from_str(text: &str) -> Result<Self, LifetimeFault> {
        let mut rest = text;
        let mut seconds = 0_u64;
        for (unit, size) in UNITS {
            let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            let Some(after) = rest[digits..].strip_prefix(unit) else { continue };
            let number: u64 = rest[..digits].parse().map_err(|_| LifetimeFault::Malformed)?;
            seconds = seconds.saturating_add(number.saturating_mul(size));
            rest = after;
        }
        match seconds {
            _ if text.is_empty() || !rest.is_empty() => Err(LifetimeFault::Malformed),
            0 => Err(LifetimeFault::Zero),
            1..=LONGEST => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(LifetimeFault::TooLong),
        }
    }
}

/// How long to wait for somebody, from one millisecond to 30 seconds: `200ms`, `2s`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Wait(pub(super) Duration);

/// A text that is no wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be \"1ms\" to \"30s\": a whole number with ms or s")]
pub(super) struct WaitFault;

impl FromStr for Wait {
    type Err = WaitFault;

    fn from_str(text: &str) -> Result<Self, WaitFault> {
        let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(number), _) => (number, 1),
            (None, Some(number)) => (number, 1_000),
            (None, None) => return Err(WaitFault),
        };
        let digits = (1..=5).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = if digits { number.parse().map_err(|_| WaitFault)? } else { return Err(WaitFault) };
        match number * unit {
            millis @ 1..=30_000 => Ok(Self(Duration::from_millis(millis))),
            _ => Err(WaitFault),
        }
    }
}

/// How long something goes on that need not: like `Lifetime`, up to five minutes, and `0s`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delay(pub Duration);

/// A text that is no delay.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be \"0s\" to \"5m\"")]
pub struct DelayFault;

/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_mins(5);

impl FromStr for Delay {
    type Err = DelayFault;

    fn from_str(text: &str) -> Result<Self, DelayFault> {
        match text.parse() {
            Ok(Lifetime(delay)) if delay <= LONGEST_DELAY => Ok(Self(delay)),
            Err(LifetimeFault::Zero) => Ok(Self(Duration::ZERO)),
            Ok(_) | Err(_) => Err(DelayFault),
        }
    }
}

/// Writes a duration the way it is read.
pub(super) fn written(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    let mut out = String::new();
    for (unit, size) in UNITS {
        if seconds >= size {
            let _ = write!(out, "{}{unit}", seconds / size);
            seconds %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in
            [("1s", 1), ("60s", 60), ("5m", 300), ("1h30m", 5_400), ("14d", 1_209_600), ("1d1s", 86_401)]
        {
            assert_eq!(text.parse(), Ok(Lifetime(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!(written(Duration::from_mins(90)), "1h30m");
    }

    #[test]
    fn waits_may_be_shorter_than_a_second() {
        for (text, millis) in [("1ms", 1), ("200ms", 200), ("2s", 2_000), ("30s", 30_000), ("30000ms", 30_000)] {
            assert_eq!(text.parse(), Ok(Wait(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "ms", "0ms", "0s", "1m", "31s", "30001ms", "1.5s", "-1s", "1 s", "99999999s", "+1s"] {
            assert_eq!(text.parse::<Wait>(), Err(WaitFault), "{text}");
        }
    }

    #[test]
    fn delays_may_be_none() {
        for (text, seconds) in [("0s", 0), ("0m", 0), ("5s", 5), ("1m30s", 90), ("5m", 300)] {
            assert_eq!(text.parse(), Ok(Delay(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "0", "5", "5m1s", "1h", "-1s", "500ms"] {
            assert_eq!(text.parse::<Delay>(), Err(DelayFault), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for (text, fault) in [
            ("", LifetimeFault::Malformed),
            ("5", LifetimeFault::Malformed),
            ("m", LifetimeFault::Malformed),
            ("5 m", LifetimeFault::Malformed),
            ("5M", LifetimeFault::Malformed),
            ("-5m", LifetimeFault::Malformed),
            ("1.5h", LifetimeFault::Malformed),
            ("30m1h", LifetimeFault::Malformed),
            ("1m1m", LifetimeFault::Malformed),
            ("500ms", LifetimeFault::Malformed),
            ("99999999999999999999999d", LifetimeFault::Malformed),
            ("0s", LifetimeFault::Zero),
            ("3651d", LifetimeFault::TooLong),
            ("9999999999999999999d", LifetimeFault::TooLong),
        ] {
            assert_eq!(text.parse::<Lifetime>(), Err(fault), "{text}");
        }
    }
}
