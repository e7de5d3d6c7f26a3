//! When a key is announced, signs, is retired and is dropped.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::jose::{Algorithm, SigningKey};
use crate::store::KeyRecord;

/// How often [`SigningKeys::maintain`](super::SigningKeys::maintain) is due at most.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// How often [`SigningKeys::maintain`](super::SigningKeys::maintain) is due at least.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);

/// The life that new keys are given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeySchedule {
    /// What new keys sign with.
    pub algorithm: Algorithm,
    /// How long a key is published before it signs: at least as long as anybody downstream caches the key set.
    pub announce: Duration,
    /// How long a key signs.
    pub sign: Duration,
    /// How long a key is published after it signed: at least as long as its last tokens live.
    pub retain: Duration,
}

impl KeySchedule {
    /// How often the keys should be looked after so that the next one is announced in time.
    #[must_use]
    pub fn interval(&self) -> Duration {
        (self.announce.min(self.sign) / 4).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
    }

    /// The record of `key` and its secret, both sealed; published at `now` and signing from `sign_from`.
    pub(super) fn record(
        &self,
        generation: u64,
        (key, sealed, secret): (&SigningKey, Vec<u8>, Vec<u8>),
        now: Timestamp,
        sign_from: Timestamp,
    ) -> KeyRecord {
        let retire_at = sign_from + self.sign;
        KeyRecord {
            generation,
            kid: key.kid().to_owned(),
            algorithm: key.algorithm(),
            sealed,
            secret: Some(secret),
            published_at: now,
            sign_from,
            retire_at,
            drop_at: retire_at + self.retain,
        }
    }

    /// When a key that is published at `now` signs, and the schedule that the keys before it then have; `None` if it is
    /// not time for one. `keys` are all that there are, by generation.
    ///
    /// Until the new key signs, and no longer, the one before it does. Where none signs any more, as at the first start,
    /// the new one signs at once: no cache knows a better one.
    pub(super) fn succeed(&self, keys: &[KeyRecord], succession: Succession, now: Timestamp) -> Option<Succeeded> {
        let announced = now + self.announce;
        // A newer one may have been withdrawn before its time.
        let newest = keys.iter().rev().find(|key| now < key.retire_at);
        let sign_from = match (succession, newest) {
            (Succession::Emergency, _) | (_, None) => now,
            (Succession::Asked, Some(_)) => announced,
            (Succession::Due, Some(newest)) if announced + self.interval() < newest.retire_at => return None,
            (Succession::Due, Some(newest)) => announced.max(newest.retire_at),
        };
        let until = |key: &KeyRecord, retire_at, drop_at| KeyRecord { retire_at, drop_at, ..key.clone() };
        let rescheduled = match succession {
            Succession::Emergency => keys.iter().map(|key| key.withdrawn(now)).collect(),
            Succession::Due | Succession::Asked => {
                let is_newest = |key: &KeyRecord| newest.is_some_and(|newest| newest.generation == key.generation);
                let affected = keys.iter().filter(|key| is_newest(key) || key.retire_at > sign_from);
                affected.map(|key| until(key, sign_from, sign_from + self.retain)).collect()
            }
        };
        Some(Succeeded { sign_from, rescheduled })
    }
}

/// Why there is to be another key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Succession {
    /// The newest one is about to retire.
    Due,
    /// Somebody asked for it.
    Asked,
    /// The others are no longer to be trusted.
    Emergency,
}

/// The schedule of a new key and of those before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Succeeded {
    /// When the new key signs.
    pub(super) sign_from: Timestamp,
    /// The earlier keys whose schedule changes.
    pub(super) rescheduled: Vec<KeyRecord>,
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyState {
    /// Published, so that caches learn it; does not sign yet.
    Announced,
    /// Signs.
    Signing,
    /// Signs no more; still published, for the tokens that it signed.
    Retired,
    /// Not published any more.
    Dropped,
}

impl KeyState {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Signing => "signing",
            Self::Retired => "retired",
            Self::Dropped => "dropped",
        }
    }
}

impl KeyRecord {
    /// The state that follows from the schedule and the time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        if now >= self.drop_at {
            KeyState::Dropped
        } else if now >= self.retire_at {
            KeyState::Retired
        } else if now >= self.sign_from {
            KeyState::Signing
        } else {
            KeyState::Announced
        }
    }

    /// The record after the key has left the set.
    pub(super) fn withdrawn(&self, now: Timestamp) -> Self {
        Self { retire_at: self.retire_at.min(now), drop_at: self.drop_at.min(now), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const SCHEDULE: KeySchedule = KeySchedule {
        algorithm: Algorithm::Es256,
        announce: Duration::from_hours(14 * 24),
        sign: Duration::from_hours(90 * 24),
        retain: Duration::from_hours(14 * 24),
    };

    fn day(day: u32) -> Timestamp {
        Timestamp::from_seconds(1_760_000_000) + DAY * day
    }

    fn key(generation: u64, published: u32, sign: u32, retire: u32) -> KeyRecord {
        KeyRecord {
            generation,
            kid: generation.to_string(),
            algorithm: Algorithm::Es256,
            sealed: Vec::new(),
            secret: None,
            published_at: day(published),
            sign_from: day(sign),
            retire_at: day(retire),
            drop_at: day(retire + 14),
        }
    }

    #[test]
    fn the_first_key_signs_at_once() {
        let first = SCHEDULE.succeed(&[], Succession::Due, day(0)).expect("it is due");
        assert_eq!(first, Succeeded { sign_from: day(0), rescheduled: vec![] });
    }

    #[test]
    fn the_next_key_is_announced_in_time_and_takes_over_without_a_gap() {
        let keys = [key(0, 0, 0, 90)];
        assert_eq!(SCHEDULE.succeed(&keys, Succession::Due, day(75)), None);
        let next = SCHEDULE.succeed(&keys, Succession::Due, day(76)).expect("it is due");
        assert_eq!(next, Succeeded { sign_from: day(90), rescheduled: vec![key(0, 0, 0, 90)] });
    }

    #[test]
    fn a_key_that_is_announced_late_is_announced_for_long_enough_all_the_same() {
        let next = SCHEDULE.succeed(&[key(0, 0, 0, 90)], Succession::Due, day(85)).expect("it is due");
        assert_eq!(next, Succeeded { sign_from: day(99), rescheduled: vec![key(0, 0, 0, 99)] });
    }

    #[test]
    fn after_a_long_absence_a_new_key_signs_at_once() {
        let next = SCHEDULE.succeed(&[key(0, 0, 0, 90)], Succession::Due, day(95)).expect("it is due");
        assert_eq!(next, Succeeded { sign_from: day(95), rescheduled: vec![] });
    }

    #[test]
    fn a_rotation_shortens_the_keys_before_it() {
        let keys = [key(0, 0, 0, 90), key(1, 76, 90, 180)];
        let next = SCHEDULE.succeed(&keys, Succession::Asked, day(80)).expect("it was asked for");
        assert_eq!(next, Succeeded { sign_from: day(94), rescheduled: vec![key(1, 76, 90, 94)] });
        let next = SCHEDULE.succeed(&keys[..1], Succession::Asked, day(10)).expect("it was asked for");
        assert_eq!(next, Succeeded { sign_from: day(24), rescheduled: vec![key(0, 0, 0, 24)] });
    }

    #[test]
    fn in_an_emergency_the_others_leave_the_set_now() {
        let keys = [key(0, 0, 0, 90), key(1, 76, 90, 180)];
        let next = SCHEDULE.succeed(&keys, Succession::Emergency, day(80)).expect("it was asked for");
        assert_eq!(next.sign_from, day(80));
        assert_eq!(next.rescheduled.len(), 2);
        assert!(next.rescheduled.iter().all(|key| key.state(day(80)) == KeyState::Dropped));
    }

    #[test]
    fn after_the_next_key_was_withdrawn_another_one_is_announced() {
        let withdrawn = key(1, 76, 90, 180).withdrawn(day(80));
        assert_eq!(withdrawn.state(day(80)), KeyState::Dropped);
        let next = SCHEDULE.succeed(&[key(0, 0, 0, 90), withdrawn], Succession::Due, day(80)).expect("it is due");
        assert_eq!(next, Succeeded { sign_from: day(94), rescheduled: vec![key(0, 0, 0, 94)] });
    }

    #[test]
    fn the_state_follows_from_the_time() {
        let key = key(1, 76, 90, 180);
        let states = [89, 90, 179, 180, 193, 194].map(|n| key.state(day(n)));
        let [announced, signing, still, retired, kept, dropped] = states;
        assert_eq!((announced, signing, still), (KeyState::Announced, KeyState::Signing, KeyState::Signing));
        assert_eq!((retired, kept, dropped), (KeyState::Retired, KeyState::Retired, KeyState::Dropped));
    }
}
