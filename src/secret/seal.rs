//! Authenticated encryption for what we store or hand out and want back unchanged, and keyed hashes.
//!
//! AES-256-GCM with a random 96-bit nonce in front of the ciphertext. Every use has a key of its own, derived from one
//! root with HMAC-SHA-256 and the name of the use, so that a sealed form never opens as a sealed signing key.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Something sealed did not open: another key, another use, or changed on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("was not sealed under this key for this use")]
pub struct Unsealable;

/// 256 bits from which keys are derived.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootKey([u8; 32]);

impl PartialEq for RootKey {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl RootKey {
    /// A root key from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be sealed under another key and stored.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one use. Different names give independent keys.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        Self(mac(&self.0, &[b"tollgate key", purpose.as_bytes()]))
    }

    /// Encrypts and authenticates `plaintext`; `context` must be the same when it is opened.
    #[must_use]
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let key = self.aead();
        let mut body = plaintext.to_vec();
        let nonce =
            key.seal_in_place_append_tag(Aad::from(context), &mut body).expect("AES-256-GCM seals any short text");
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut body);
        sealed
    }

    /// Decrypts what [`RootKey::seal`] made.
    ///
    /// # Errors
    /// [`Unsealable`] when it was made under another key or context, or changed since.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (nonce, body) = sealed.split_at_checked(aws_lc_rs::aead::NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut body = body.to_vec();
        let length = self.aead().open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| Unsealable)?.len();
        body.truncate(length);
        Ok(body)
    }

    /// HMAC-SHA-256 over length-prefixed parts.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.0, parts)
    }

    fn aead(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0).expect("256 bits are a key for AES-256-GCM")
    }
}

/// Keys for one use, of which the newest seals and each opens: one can take the place of another while what that has sealed
/// is still there.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRing {
    newest: RootKey,
    earlier: Vec<RootKey>,
}

impl KeyRing {
    /// `newest` seals; `earlier` open, too.
    #[must_use]
    pub fn new(newest: RootKey, earlier: Vec<RootKey>) -> Self {
        Self { newest, earlier }
    }

    /// The keys for one use.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        let earlier = self.earlier.iter().map(|key| key.derive(purpose)).collect();
        Self { newest: self.newest.derive(purpose), earlier }
    }

    /// The key that seals.
    #[must_use]
    pub fn newest(&self) -> &RootKey {
        &self.newest
    }

    /// Every key, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &RootKey> {
        std::iter::once(&self.newest).chain(&self.earlier)
    }

    /// Encrypts as [`RootKey::seal`] does, under the newest key.
    #[must_use]
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.newest.seal(context, plaintext)
    }

    /// Decrypts what [`RootKey::seal`] made under any of the keys.
    ///
    /// # Errors
    /// [`Unsealable`] when it was made under none of them, or changed since.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        self.iter().find_map(|key| key.open(context, sealed).ok()).ok_or(Unsealable)
    }
}

/// One key, and no earlier ones.
impl From<RootKey> for KeyRing {
    fn from(newest: RootKey) -> Self {
        Self::new(newest, Vec::new())
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// HMAC-SHA-256 (RFC 2104) under `key` over parts, each preceded by its length.
#[must_use]
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let tag = context.sign();
    tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_use() {
        let root = RootKey::from_bytes([7; 32]);
        let forms = root.derive("forms");
        let sealed = forms.seal(b"context", b"text");
        assert_eq!(forms.open(b"context", &sealed), Ok(b"text".to_vec()));
        assert_eq!(forms.open(b"other", &sealed), Err(Unsealable));
        assert_eq!(root.derive("keys").open(b"context", &sealed), Err(Unsealable));
        let mut changed = sealed;
        changed[13] ^= 1;
        assert_eq!(forms.open(b"context", &changed), Err(Unsealable));
        assert_eq!(forms.open(b"context", b"short"), Err(Unsealable));
    }

    #[test]
    fn a_ring_opens_what_any_of_its_keys_has_sealed_and_seals_under_the_newest() {
        let [old, new, other] = [1, 2, 3].map(|byte| RootKey::from_bytes([byte; 32]));
        let ring = KeyRing::new(new.clone(), vec![old.clone()]).derive("forms");
        for key in [&old, &new] {
            assert_eq!(ring.open(b"", &key.derive("forms").seal(b"", b"text")), Ok(b"text".to_vec()));
        }
        assert_eq!(ring.open(b"", &other.derive("forms").seal(b"", b"text")), Err(Unsealable));
        let sealed = ring.seal(b"", b"text");
        assert!(new.derive("forms").open(b"", &sealed).is_ok());
        assert!(old.derive("forms").open(b"", &sealed).is_err());
    }
}
