//! What can be wrong with a proof.

/// Why a proof was refused: one variant a check of RFC 9449 §4.3, in its order.
///
/// Both doors embed it and give it their own status; neither needs to know the other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProofFault {
    /// A proof was due and none came (RFC 9449 §5.2, §7.1).
    Missing,
    /// Check 1: more than one `DPoP` header, or several proofs joined by a comma.
    Repeated,
    /// Longer than [`PROOF_LIMIT`](super::PROOF_LIMIT).
    TooLong,
    /// Check 2: not a single well-formed JWT, or one with a critical extension.
    Malformed,
    /// Check 3: a required claim is missing, empty, too long or of the wrong type.
    ClaimMissing,
    /// Check 4: `typ` is not `dpop+jwt`.
    TypeWrong,
    /// Check 5: `alg` is not an asymmetric algorithm that we accept.
    AlgorithmRefused,
    /// Check 6: the signature does not verify with the key in the proof.
    SignatureWrong,
    /// Check 7: `jwk` is missing, not a public key, holds a private member, or is unsafe.
    KeyRefused,
    /// Check 8: `htm` is not the method of the request.
    MethodMismatch,
    /// Check 9: `htu` is not the URI of the request.
    TargetMismatch,
    /// Check 10: a nonce is required and none was sent.
    NonceMissing,
    /// Check 10: the nonce is not one of ours, or too old.
    NonceStale,
    /// Check 11: made too long ago.
    Stale,
    /// Check 11: made in the future.
    Early,
    /// Past its own `exp`, or before its own `nbf` (RFC 7519 §4.1.4, §4.1.5).
    OutsideOwnLimits,
    /// Check 12: `ath` is missing or not the hash of the access token.
    TokenHashMismatch,
    /// RFC 9449 §11.1: this proof was used before.
    Replayed,
    /// RFC 9449 §11.1: the proof could have been used before our last restart; a nonce will tell.
    BeforeRestart,
}

/// What a client can do about a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remedy {
    /// Make another proof: `invalid_dpop_proof`.
    AnotherProof,
    /// Make another proof with the nonce that comes along: `use_dpop_nonce`.
    FreshNonce,
}

impl ProofFault {
    /// Every fault.
    pub const ALL: [Self; 19] = [
        Self::Missing,
        Self::Repeated,
        Self::TooLong,
        Self::Malformed,
        Self::ClaimMissing,
        Self::TypeWrong,
        Self::AlgorithmRefused,
        Self::SignatureWrong,
        Self::KeyRefused,
        Self::MethodMismatch,
        Self::TargetMismatch,
        Self::NonceMissing,
        Self::NonceStale,
        Self::Stale,
        Self::Early,
        Self::OutsideOwnLimits,
        Self::TokenHashMismatch,
        Self::Replayed,
        Self::BeforeRestart,
    ];

    /// What the client can do.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::NonceMissing | Self::NonceStale | Self::BeforeRestart => Remedy::FreshNonce,
            Self::Missing
            | Self::Repeated
            | Self::TooLong
            | Self::Malformed
            | Self::ClaimMissing
            | Self::TypeWrong
            | Self::AlgorithmRefused
            | Self::SignatureWrong
            | Self::KeyRefused
            | Self::MethodMismatch
            | Self::TargetMismatch
            | Self::Stale
            | Self::Early
            | Self::OutsideOwnLimits
            | Self::TokenHashMismatch
            | Self::Replayed => Remedy::AnotherProof,
        }
    }

    /// The name in logs, metrics, Envoy's metadata and `tollgate explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "proof_missing",
            Self::Repeated => "proof_repeated",
            Self::TooLong => "proof_too_long",
            Self::Malformed => "proof_malformed",
            Self::ClaimMissing => "proof_claim_missing",
            Self::TypeWrong => "proof_type_wrong",
            Self::AlgorithmRefused => "proof_algorithm_refused",
            Self::SignatureWrong => "proof_signature_wrong",
            Self::KeyRefused => "proof_key_refused",
            Self::MethodMismatch => "proof_method_mismatch",
            Self::TargetMismatch => "proof_target_mismatch",
            Self::NonceMissing => "proof_nonce_missing",
            Self::NonceStale => "proof_nonce_stale",
            Self::Stale => "proof_stale",
            Self::Early => "proof_early",
            Self::OutsideOwnLimits => "proof_outside_own_limits",
            Self::TokenHashMismatch => "proof_token_hash_mismatch",
            Self::Replayed => "proof_replayed",
            Self::BeforeRestart => "proof_before_restart",
        }
    }

    /// The `error_description`: names the mistake in the characters of RFC 6749 §5.2.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Missing => "DPoP proof required",
            Self::Repeated => "more than one DPoP proof",
            Self::TooLong => "DPoP proof longer than 8 KiB",
            Self::Malformed => "DPoP proof is not a single well-formed JWT",
            Self::ClaimMissing => "DPoP proof lacks jti, htm, htu, iat or ath, or one of them has the wrong type",
            Self::TypeWrong => "DPoP proof typ is not dpop+jwt",
            Self::AlgorithmRefused => "DPoP proof alg is not one of those in dpop_signing_alg_values_supported",
            Self::SignatureWrong => "DPoP proof signature does not verify with its jwk",
            Self::KeyRefused => "DPoP proof jwk is missing or not a safe public key",
            Self::MethodMismatch => "DPoP proof htm is not the request method",
            Self::TargetMismatch => "DPoP proof htu is not the request URI",
            Self::NonceMissing => "DPoP proof lacks the nonce that this server requires",
            Self::NonceStale => "DPoP proof nonce is stale or not from this server",
            Self::Stale => "DPoP proof is too old",
            Self::Early => "DPoP proof is from the future",
            Self::OutsideOwnLimits => "DPoP proof is past its own exp or before its own nbf",
            Self::TokenHashMismatch => "DPoP proof ath is not the hash of the access token",
            Self::Replayed => "DPoP proof was used before",
            Self::BeforeRestart => "DPoP proof dates from before a restart of this server; repeat it with the nonce",
        }
    }
}
