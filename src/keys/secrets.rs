//! The secret beside each key, under which nonces, forms and cookies are made while that key signs, and which opens them as
//! long as it is published. Tokens for upstreams are signed with a key that is derived from it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Held, KeysError};
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
