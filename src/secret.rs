//! Secrets: opaque values that we hand out, the digests under which they are stored, and sealing.
//!
//! Invariant: a secret has no `Display` and no `Serialize`, its `Debug` is redacted, it is zeroized when dropped and it
//! is compared in constant time or not at all. A dump of the store opens nothing: it holds digests.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::entropy::Entropy;

mod refresh_token;
pub mod rotation;
pub mod seal;
mod user_code;

pub use refresh_token::RefreshToken;
pub use user_code::{UserCode, UserCodeFault};

/// Encodes bytes as base64url without padding (RFC 4648 §5).
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes canonical base64url: no padding, no white space, trailing bits zero.
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-512 of `bytes`.
#[must_use]
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    Sha512::digest(bytes).into()
}

/// SHA-256 over parts, each preceded by its length, so that no two lists of parts hash alike.
#[must_use]
pub fn sha256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A value that is not one of our opaque secrets: wrong prefix, length or alphabet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a value that this server issues")]
pub struct NotOurs;

/// What an opaque secret is for; its prefix keeps the kinds apart (a code is never a session).
pub trait Kind: Send + Sync + 'static {
    /// What every value of this kind begins with.
    const PREFIX: &'static str;
}

/// 256 random bits behind a type prefix; on the wire prefix + 43 characters of base64url.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Opaque<K: Kind> {
    bytes: [u8; 32],
    #[zeroize(skip)]
    kind: PhantomData<K>,
}

impl<K: Kind> Opaque<K> {
    /// Draws a fresh secret.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self { bytes: entropy.draw(), kind: PhantomData }
    }

    /// The secret as it goes to its owner, and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}{}", K::PREFIX, base64url(&self.bytes))
    }

    /// What stores know it by.
    #[must_use]
    pub fn digest(&self) -> Digest<K> {
        Digest { hash: sha256(&self.bytes), kind: PhantomData }
    }
}

/// Refuses malformed input before any lookup.
impl<K: Kind> FromStr for Opaque<K> {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let encoded = text.strip_prefix(K::PREFIX).ok_or(NotOurs)?;
        let bytes = from_base64url(encoded).and_then(|bytes| bytes.try_into().ok()).ok_or(NotOurs)?;
        Ok(Self { bytes, kind: PhantomData })
    }
}

impl<K: Kind> fmt::Debug for Opaque<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", K::PREFIX)
    }
}

/// SHA-256 of an opaque secret: what stores are keyed by.
pub struct Digest<K: Kind> {
    hash: [u8; 32],
    kind: PhantomData<K>,
}

impl<K: Kind> Digest<K> {
    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.hash
    }

    /// A digest that a store has kept.
    #[must_use]
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self { hash, kind: PhantomData }
    }
}

impl<K: Kind> Clone for Digest<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Kind> Copy for Digest<K> {}

impl<K: Kind> Eq for Digest<K> {}

impl<K: Kind> PartialEq for Digest<K> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl<K: Kind> std::hash::Hash for Digest<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// Prints the first eight hexadecimal digits: enough to correlate, useless to anybody else.
impl<K: Kind> fmt::Debug for Digest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:02x}{:02x}{:02x}{:02x}", K::PREFIX, self.hash[0], self.hash[1], self.hash[2], self.hash[3])
    }
}

/// Marks an authorization code.
#[derive(Debug)]
pub enum CodeKind {}

impl Kind for CodeKind {
    const PREFIX: &'static str = "tgc_";
}

/// An authorization code (RFC 6749 §1.3.1).
pub type AuthorizationCode = Opaque<CodeKind>;

/// Marks an access token that is a handle.
#[derive(Debug)]
pub enum AccessTokenKind {}

impl Kind for AccessTokenKind {
    const PREFIX: &'static str = "tga_";
}

/// An access token that says nothing by itself (RFC 6749 §1.4): a handle, of which the store knows what it means.
pub type OpaqueAccessToken = Opaque<AccessTokenKind>;

/// Marks a browser session.
#[derive(Debug)]
pub enum SessionKind {}

impl Kind for SessionKind {
    const PREFIX: &'static str = "tgs_";
}

/// The secret in the cookie of a signed-in browser.
pub type SessionToken = Opaque<SessionKind>;

/// Marks a browser, signed in or not.
#[derive(Debug)]
pub enum BrowserKind {}

impl Kind for BrowserKind {
    const PREFIX: &'static str = "tgb_";
}

/// The secret in the cookie that ties the forms on our pages to the browser they were made for.
pub type BrowserToken = Opaque<BrowserKind>;

/// Marks the name of a pushed authorization request.
#[derive(Debug)]
pub enum RequestUriKind {}

impl Kind for RequestUriKind {
    const PREFIX: &'static str = "urn:ietf:params:oauth:request_uri:";
}

/// The `request_uri` of a pushed authorization request (RFC 9126 §2.2).
pub type RequestUri = Opaque<RequestUriKind>;

/// Marks a device code.
#[derive(Debug)]
pub enum DeviceCodeKind {}

impl Kind for DeviceCodeKind {
    const PREFIX: &'static str = "tgd_";
}

/// A device code (RFC 8628 §3.2): for machines, so it is as long as any other secret (§5.2).
pub type DeviceCode = Opaque<DeviceCodeKind>;

/// Marks a user code.
#[derive(Debug)]
pub enum UserCodeKind {}

impl Kind for UserCodeKind {
    const PREFIX: &'static str = "user code ";
}

/// Marks a registration access token.
#[derive(Debug)]
pub enum RegistrationTokenKind {}

impl Kind for RegistrationTokenKind {
    const PREFIX: &'static str = "tgm_";
}

/// A registration access token (RFC 7592 §3): what a client manages its registration with.
pub type RegistrationToken = Opaque<RegistrationTokenKind>;

/// SHA-256 of a client secret. Client secrets are long and random, so one hash is enough; slow hashes are for the
/// passwords of people.
#[derive(Clone, Eq, PartialEq)]
pub struct ClientSecretHash([u8; 32]);

impl ClientSecretHash {
    /// Hashes a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(sha256(secret.as_bytes()))
    }

    /// Reads `sha256:` followed by base64url, the form of `client_secret_hash`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = from_base64url(text.strip_prefix("sha256:")?)?;
        bytes.try_into().ok().map(Self)
    }

    /// A hash that a store has kept.
    #[must_use]
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `secret` is the one that was hashed; in constant time.
    #[must_use]
    pub fn matches(&self, secret: &str) -> bool {
        self.0.ct_eq(&sha256(secret.as_bytes())).into()
    }
}

impl fmt::Debug for ClientSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecretHash(..)")
    }
}
