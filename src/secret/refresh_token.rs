//! Refresh tokens: opaque to clients, and made so that one row a grant is enough.
//!
//! On the wire: `tgr_` and 96 characters of base64url over handle (16 bytes), number (8), secret (32) and tag (16). The
//! handle finds the grant, the number says which token of the grant this is, the secret is the credential. The tag, a MAC
//! under a key of the grant, lets us recognise any token that we ever issued for it although only two hashes are kept;
//! without it, whoever learns a handle could forge "an old token" and end somebody's grant.
//!
//! A successor is derived from its predecessor's secret and a random seed in the grant: while the grant holds the seed,
//! the same old token gives the same successor, after a crash, on another replica, a week later, and no answer is stored.
//! Neither the old token nor a copy of the store yields it alone.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::seal::mac;
use super::{NotOurs, base64url, from_base64url, sha256};
use crate::entropy::Entropy;

const PREFIX: &str = "tgr_";
const LENGTH: usize = 16 + 8 + 32 + 16;

/// A refresh token (RFC 6749 §1.5).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RefreshToken {
    handle: [u8; 16],
    n: u64,
    secret: [u8; 32],
    tag: [u8; 16],
}

impl RefreshToken {
    /// The first token of a grant.
    #[must_use]
    pub fn first(handle: [u8; 16], tag_key: &[u8; 32], entropy: &dyn Entropy) -> Self {
        Self::with_secret(handle, 0, entropy.draw(), tag_key)
    }

    /// The token with number `n` that follows this one, derived with `seed`.
    #[must_use]
    pub fn successor(&self, n: u64, seed: &[u8; 32], tag_key: &[u8; 32]) -> Self {
        let secret =
            mac(&self.secret, &[b"tollgate refresh successor", &self.handle, &n.to_be_bytes(), seed.as_slice()]);
        Self::with_secret(self.handle, n, secret, tag_key)
    }

    fn with_secret(handle: [u8; 16], n: u64, secret: [u8; 32], tag_key: &[u8; 32]) -> Self {
        let tag = tag(tag_key, n, &secret);
        Self { handle, n, secret, tag }
    }

    /// The grant it belongs to.
    #[must_use]
    pub fn handle(&self) -> [u8; 16] {
        self.handle
    }

    /// Which token of its grant it is.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// SHA-256 of the secret: what stores keep.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.secret)
    }

    /// Whether we made it for the grant with this key.
    #[must_use]
    pub fn is_genuine(&self, tag_key: &[u8; 32]) -> bool {
        tag(tag_key, self.n, &self.secret).ct_eq(&self.tag).into()
    }

    /// Whether its secret is the one with this hash.
    #[must_use]
    pub fn is_hashed_as(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }

    /// The token as it goes to its owner, and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&self.handle);
        bytes.extend_from_slice(&self.n.to_be_bytes());
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.tag);
        format!("{PREFIX}{}", base64url(&bytes))
    }
}

fn tag(tag_key: &[u8; 32], n: u64, secret: &[u8; 32]) -> [u8; 16] {
    let mac = mac(tag_key, &[&n.to_be_bytes(), secret]);
    *mac.first_chunk().expect("32 bytes begin with 16")
}

impl FromStr for RefreshToken {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let encoded = text.strip_prefix(PREFIX).filter(|encoded| encoded.len() == LENGTH / 3 * 4).ok_or(NotOurs)?;
        let bytes = from_base64url(encoded).ok_or(NotOurs)?;
        let (handle, rest) = bytes.split_first_chunk().ok_or(NotOurs)?;
        let (n, rest) = rest.split_first_chunk().ok_or(NotOurs)?;
        let (secret, rest) = rest.split_first_chunk().ok_or(NotOurs)?;
        let tag = rest.try_into().map_err(|_| NotOurs)?;
        Ok(Self { handle: *handle, n: u64::from_be_bytes(*n), secret: *secret, tag })
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_token_reads_back_and_its_successor_is_always_the_same() {
        let key = [3; 32];
        let first = RefreshToken::first([1; 16], &key, &SystemEntropy);
        let text = first.reveal();
        assert_eq!(text.len(), 4 + 96);
        let again: RefreshToken = text.parse().expect("our own token");
        assert!(again.is_genuine(&key) && again.is_hashed_as(&first.hash()));
        assert_eq!(first.successor(1, &[9; 32], &key).reveal(), again.successor(1, &[9; 32], &key).reveal());
        assert_ne!(first.successor(1, &[8; 32], &key).reveal(), again.successor(1, &[9; 32], &key).reveal());
    }

    #[test]
    fn one_changed_character_makes_it_foreign() {
        let key = [3; 32];
        let text = RefreshToken::first([1; 16], &key, &SystemEntropy).reveal();
        for at in 4 + 22..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            let genuine = changed.parse::<RefreshToken>().is_ok_and(|token| token.is_genuine(&key));
            assert!(!genuine, "character {at}");
        }
    }
}
