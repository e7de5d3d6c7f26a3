//! Signature algorithms by their JOSE names (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864).

use std::fmt;

/// A signature algorithm that we verify or make. There is no `none` and no HMAC to choose.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4).
    Es256,
    /// RSASSA-PSS with SHA-256 (RFC 7518 §3.5).
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3): for clients that know nothing better; never in a proof.
    Rs256,
    /// Ed25519 under its older, ambiguous name (RFC 8037 §3.1).
    EdDsa,
    /// Ed25519 (RFC 9864 §2.2).
    Ed25519,
}

/// What a DPoP proof may be signed with; ES256 first, as nearly every client sends it.
pub const PROOF_ALGORITHMS: &[Algorithm] = &[Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa, Algorithm::Ed25519];

/// What a client assertion may be signed with.
pub const ASSERTION_ALGORITHMS: &[Algorithm] =
    &[Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa, Algorithm::Ed25519, Algorithm::Rs256];

impl Algorithm {
    /// The name in `alg`, case-sensitive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The algorithm of that name, if it is one of `allowed`.
    #[must_use]
    pub fn among(allowed: &[Self], name: &str) -> Option<Self> {
        allowed.iter().copied().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
