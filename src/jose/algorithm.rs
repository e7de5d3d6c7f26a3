//! Signature algorithms by their JOSE names (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864).

use std::fmt;

use crate::secret::{base64url, sha256, sha512};

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

    /// The left half of the hash of a text, with the hash that the algorithm uses: `at_hash` (OpenID Connect Core §3.1.3.6).
    #[must_use]
    pub fn left_half_of_hash(self, text: &str) -> String {
        match self {
            Self::Es256 | Self::Ps256 | Self::Rs256 => base64url(&sha256(text.as_bytes())[..16]),
            Self::EdDsa | Self::Ed25519 => base64url(&sha512(text.as_bytes())[..32]),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        // OpenID Connect Core Appendix A.4.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(Algorithm::Rs256.left_half_of_hash(token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(Algorithm::EdDsa.left_half_of_hash(token).len(), 43);
    }
}
