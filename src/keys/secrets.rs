//! The secret beside each key, under which nonces, forms and cookies are made while that key signs, and which opens them as
//! long as it is published. Tokens for upstreams are signed with a key that is derived from it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Held, KeysError};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::jose::SigningKey;
use crate::secret::rotation::Term;
use crate::secret::seal::{KeyRing, RootKey};
use crate::store::KeyRecord;

/// What the keys are derived for that secrets are sealed under.
pub(super) const SECRETS: &str = "secrets of signing keys";

/// What a key is derived for with which tokens for upstreams are signed.
const UPSTREAM: &str = "tokens for upstreams";

/// Draws the secret beside the key of this name; sealed for it, so that it opens beside no other.
pub(super) fn draw(kid: &str, sealing: &KeyRing, entropy: &dyn Entropy) -> Vec<u8> {
    let secret = Zeroizing::new(entropy.draw::<32>());
    sealing.seal(kid.as_bytes(), &*secret)
}

/// Opens the secret of a record. One of an earlier version has none: then it is the root key, as it was in that version, so
/// that what that one has made or makes beside us counts here, and ours there.
pub(super) fn open(record: &KeyRecord, sealing: &KeyRing, root: &RootKey) -> Result<RootKey, KeysError> {
    let Some(sealed) = &record.secret else { return Ok(root.clone()) };
    let wrong = |_| KeysError::WrongEncryptionKey(format!("the secret beside the signing key `{}`", record.kid));
    let secret = sealing.open(record.kid.as_bytes(), sealed).map(Zeroizing::new).map_err(wrong)?;
    let bytes = <[u8; 32]>::try_from(secret.as_slice()).map_err(|_| KeysError::Damaged(record.kid.clone()))?;
    Ok(RootKey::from_bytes(bytes))
}

/// The key for tokens for upstreams that belongs to a secret. It is nowhere but here: who has the secret can derive it.
pub(super) fn upstream_key(secret: &RootKey) -> Result<SigningKey, KeysError> {
    SigningKey::derived(&secret.derive(UPSTREAM)).map_err(|_| KeysError::NotMade)
}

/// What a secret is for at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecretState {
    /// Makes nothing yet; opens what a replica has made whose clock is ahead.
    Announced,
    /// Makes what is new, and opens it.
    Making,
    /// Opens what it has made.
    Opening,
}

impl SecretState {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Making => "making",
            Self::Opening => "opening",
        }
    }
}

/// Where a secret stands; everything but the secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecretStanding {
    /// That of the key beside it: later ones have higher numbers.
    pub generation: u64,
    /// What it is for.
    pub state: SecretState,
    /// When it was drawn; `None` if it is the root key, which was used before there were such secrets.
    pub drawn_at: Option<Timestamp>,
    /// From when on it makes what is new, until a later one does.
    pub from: Timestamp,
    /// Until when what it has made counts.
    pub until: Timestamp,
}

impl SecretStanding {
    /// The secrets beside these keys that count at `now`; `records` are all that there are, by generation. The one that makes
    /// what is new is that of [`KeysNow::newest`](crate::secret::rotation::KeysNow::newest).
    pub(super) fn of(records: &[KeyRecord], now: Timestamp) -> Vec<Self> {
        let counting: Vec<_> = records.iter().filter(|record| now < record.drop_at).collect();
        let making = counting.iter().rposition(|record| record.sign_from <= now).unwrap_or_default();
        let standing = |(place, record): (usize, &&KeyRecord)| Self {
            generation: record.generation,
            state: match () {
                () if place == making => SecretState::Making,
                () if now < record.sign_from => SecretState::Announced,
                () => SecretState::Opening,
            },
            drawn_at: record.secret.is_some().then_some(record.published_at),
            from: record.sign_from,
            until: record.drop_at,
        };
        counting.iter().enumerate().map(standing).collect()
    }
}

impl Held {
    /// The secret, and the time that it has from the schedule of its key.
    pub(super) fn term(&self) -> Term {
        self.while_published(self.secret.clone())
    }

    /// The key for tokens for upstreams, and the same time.
    pub(super) fn upstream_term(&self) -> Result<Term<Arc<SigningKey>>, KeysError> {
        upstream_key(&self.secret).map(|key| self.while_published(Arc::new(key)))
    }

    fn while_published<K>(&self, key: K) -> Term<K> {
        Term { key, from: self.record.sign_from, until: self.record.drop_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::Algorithm;
    use crate::secret::rotation::RotatingSecret;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// A key that is published, signs, retires and is dropped at these moments; its secret is its number.
    fn record(generation: u8, [published_at, sign_from, retire_at, drop_at]: [i64; 4]) -> KeyRecord {
        KeyRecord {
            generation: generation.into(),
            kid: generation.to_string(),
            algorithm: Algorithm::Es256,
            sealed: Vec::new(),
            secret: (generation > 0).then(|| vec![generation]),
            published_at: at(published_at),
            sign_from: at(sign_from),
            retire_at: at(retire_at),
            drop_at: at(drop_at),
        }
    }

    #[test]
    fn the_report_says_what_is_done() {
        // The first one is the root key; the last one is withdrawn while it is announced.
        let keys = [
            record(0, [0, 0, 20, 30]),
            record(1, [10, 20, 40, 50]),
            record(2, [30, 40, 60, 70]),
            record(3, [42, 60, 45, 45]),
        ];
        let secret = |generation: u8| RootKey::from_bytes([generation; 32]);
        let term = |record: &KeyRecord| Term {
            key: secret(u8::try_from(record.generation).expect("few")),
            from: record.sign_from,
            until: record.drop_at,
        };
        let secrets = RotatingSecret::from(secret(9));
        secrets.replace(keys.iter().map(term).collect());
        for now in 0..70 {
            let standing = SecretStanding::of(&keys, at(now));
            let making: Vec<_> = standing.iter().filter(|secret| secret.state == SecretState::Making).collect();
            let [making] = *making else { panic!("at {now}: {standing:?}") };
            let expected = secret(u8::try_from(making.generation).expect("few")).derive("forms");
            assert_eq!(*secrets.derive("forms").at(at(now)).newest(), expected, "at {now}");
            assert_eq!(standing.len(), secrets.derive("forms").at(at(now)).iter().count(), "at {now}");
            assert_eq!(
                making.drawn_at,
                (making.generation > 0).then_some(keys[usize::try_from(making.generation).expect("few")].published_at)
            );
        }
        let states = |now| SecretStanding::of(&keys, at(now)).iter().map(|secret| secret.state).collect::<Vec<_>>();
        assert_eq!(states(43), [SecretState::Opening, SecretState::Making, SecretState::Announced]);
        assert_eq!(states(46), [SecretState::Opening, SecretState::Making]);
        assert_eq!(states(70), []);
    }
}
