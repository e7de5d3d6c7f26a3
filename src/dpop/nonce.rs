//! Server-provided nonces (RFC 9449 §8, §9), without a memory.
//!
//! A nonce is the time at which it was made and an HMAC over it: every replica that shares the secrets judges it alike,
//! and it outlives a restart, and the secret that it was made under while that counts. The authorization server and each resource derive keys of their own, so that a nonce of one
//! is worth nothing at another.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::rotation::RotatingKey;
use crate::secret::seal::RootKey;
use crate::secret::{base64url, from_base64url};
use subtle::ConstantTimeEq as _;

/// A nonce as it goes out in `DPoP-Nonce`: 32 characters of base64url.
pub type NonceText = String;

/// How long nonces live unless somebody says otherwise.
pub const NONCE_LIFE: Duration = Duration::from_mins(5);

const TAG: usize = 16;

/// Makes and judges the nonces of one party.
#[derive(Clone, Debug)]
pub struct Nonces {
    key: RotatingKey,
    life: Duration,
}

impl Nonces {
    /// Nonces under a key of their own, good for `life` after they were made.
    #[must_use]
    pub fn new(key: RotatingKey, life: Duration) -> Self {
        Self { key, life }
    }

    /// How long a nonce is accepted.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.life
    }

    /// A nonce made at `now`.
    #[must_use]
    pub fn issue(&self, now: Timestamp) -> NonceText {
        let time = now.millis().to_be_bytes();
        let mut bytes = time.to_vec();
        bytes.extend_from_slice(&tag(self.key.at(now).newest(), time));
        base64url(&bytes)
    }

    /// When `nonce` was made, if we made it and its life is not over.
    #[must_use]
    pub fn accept(&self, nonce: &str, now: Timestamp) -> Option<Timestamp> {
        let made = self.made(nonce, now)?;
        let alive = now <= made + self.life && made <= now + MAX_SKEW;
        alive.then_some(made)
    }

    /// Whether a client should be given a fresh nonce with its answer: its own is past half of its life (RFC 9449 §8.2).
    #[must_use]
    pub fn is_ageing(&self, made: Timestamp, now: Timestamp) -> bool {
        now.since(made) * 2 >= self.life
    }

    fn made(&self, nonce: &str, now: Timestamp) -> Option<Timestamp> {
        let bytes = from_base64url(nonce).filter(|bytes| bytes.len() == 8 + TAG)?;
        let (time, given) = bytes.split_first_chunk::<8>()?;
        let genuine = self.key.at(now).iter().any(|key| tag(key, *time).ct_eq(given).into());
        genuine.then(|| Timestamp::from_millis(i64::from_be_bytes(*time)))
    }
}

fn tag(key: &RootKey, time: [u8; 8]) -> [u8; TAG] {
    let mac = key.mac(&[b"dpop-nonce", &time]);
    *mac.first_chunk().expect("32 bytes begin with 16")
}

/// How far the clock of another replica that made a nonce may be ahead of ours.
const MAX_SKEW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::rotation::RotatingSecret;

    fn nonces(purpose: &str) -> Nonces {
        Nonces::new(RotatingSecret::from(RootKey::from_bytes([1; 32])).derive(purpose), Duration::from_mins(5))
    }

    #[test]
    fn a_nonce_lives_for_its_life_and_for_its_party_only() {
        let now = Timestamp::from_seconds(1_760_000_000);
        let nonce = nonces("as").issue(now);
        assert_eq!(nonces("as").accept(&nonce, now + Duration::from_mins(5)), Some(now));
        assert_eq!(nonces("as").accept(&nonce, now + Duration::from_secs(301)), None);
        assert_eq!(nonces("rs").accept(&nonce, now), None);
        assert_eq!(nonces("as").accept("", now), None);
        assert_eq!(nonces("as").accept(&nonce.to_lowercase(), now), None);
    }
}
