//! The checks of RFC 9449 §4.3, cheap ones first, the signature last.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Htu, Nonces, ProofFault};
use crate::clock::Timestamp;
use crate::jose::{Algorithm, Json, Jws, JwsFault, PROOF_ALGORITHMS, PublicKey, Thumbprint};
use crate::replay::ReplayKey;
use crate::secret::{base64url, sha256, sha256_parts};

/// The longest proof accepted, in bytes.
pub const PROOF_LIMIT: usize = 8 * 1024;

/// The longest `jti` accepted, in bytes.
const JTI_LIMIT: usize = 256;

/// How old and how young a proof may be (RFC 9449 §11.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// How long after its `iat` a proof is accepted.
    pub lifetime: Duration,
    /// How far ahead of our clock an `iat` may lie (FAPI 2.0 §5.3.2.1-13 wants ten seconds).
    pub skew: Duration,
}

/// Whether nonces are in force.
#[derive(Clone, Copy, Debug)]
pub enum NonceRule<'a> {
    /// We never give any: a nonce in a proof is ignored.
    Off,
    /// One is judged if it is there.
    Optional(&'a Nonces),
    /// No proof passes without one.
    Required(&'a Nonces),
}

/// What a request demands of its proof.
#[derive(Debug)]
pub struct Expected<'a> {
    /// The method of the request, byte for byte.
    pub method: &'a str,
    /// The URI of the request.
    pub target: &'a Htu<'a>,
    /// The access token beside the proof; `None` at the authorization server, where `ath` is ignored.
    pub access_token: Option<&'a str>,
    /// The age that is accepted without a nonce.
    pub window: Window,
    /// Whether nonces are in force.
    pub nonce: NonceRule<'a>,
}

/// The key in a proof, with the algorithm that the proof names.
#[derive(Clone, Debug)]
pub struct ProofKey {
    algorithm: Algorithm,
    key: PublicKey,
}

/// A place where the keys of proofs may be found again by the encoded header in which they came: a client sends the same
/// header with every proof, and reading it costs as much as everything else but the signature. A cache, never a verdict.
pub trait ProofKeys: Send + Sync {
    /// The key that `encoded_header` holds, read with [`parse_key`] unless it is known.
    ///
    /// # Errors
    /// The fault of [`parse_key`].
    fn key(&self, encoded_header: &str) -> Result<Arc<ProofKey>, ProofFault>;
}

/// A DPoP proof that passed every check of RFC 9449 §4.3 that needs no memory.
///
/// Only [`verify`] makes one. It may still be a replay: before anything is issued or allowed for it, its
/// [`replay_key`](Self::replay_key) is spent at a [`ReplayGuard`](crate::replay::ReplayGuard).
#[must_use]
pub struct VerifiedProof {
    key: Thumbprint,
    replay_key: ReplayKey,
    issued_at: Timestamp,
    acceptable_until: Timestamp,
    nonce_made: Option<Timestamp>,
}

impl VerifiedProof {
    /// The thumbprint of the key that made the proof.
    pub fn key(&self) -> Thumbprint {
        self.key
    }

    /// What tells this proof from every other: a hash over key, method, normalised `htu` and `jti` (RFC 9449 §11.1).
    pub fn replay_key(&self) -> ReplayKey {
        self.replay_key
    }

    /// When the proof was made by the client's clock, which may be wrong.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// When the proof was made: by our clock if it has a nonce of ours, else by the client's.
    pub fn made(&self) -> Timestamp {
        self.nonce_made.unwrap_or(self.issued_at)
    }

    /// When the nonce in the proof was made, if there is one.
    pub fn nonce_made(&self) -> Option<Timestamp> {
        self.nonce_made
    }

    /// The last moment at which this proof could pass; a guard must remember it for longer.
    pub fn acceptable_until(&self) -> Timestamp {
        self.acceptable_until
    }
}

impl fmt::Debug for VerifiedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedProof(by {})", self.key)
    }
}

/// Reads the header of a proof: `typ` (check 4), `alg` (check 5) and `jwk` (check 7).
///
/// # Errors
/// The fault of the check that failed.
pub fn parse_key(encoded_header: &str) -> Result<ProofKey, ProofFault> {
    let header = Jws::header_of(encoded_header).map_err(|_| ProofFault::Malformed)?;
    if header.get("typ").and_then(Json::as_str) != Some("dpop+jwt") {
        return Err(ProofFault::TypeWrong);
    }
    let name = header.get("alg").and_then(Json::as_str).ok_or(ProofFault::AlgorithmRefused)?;
    let algorithm = Algorithm::among(PROOF_ALGORITHMS, name).ok_or(ProofFault::AlgorithmRefused)?;
    let jwk = header.get("jwk").and_then(Json::as_object).ok_or(ProofFault::KeyRefused)?;
    let key = PublicKey::from_jwk(jwk).map_err(|_| ProofFault::KeyRefused)?;
    if key.fits(algorithm) { Ok(ProofKey { algorithm, key }) } else { Err(ProofFault::KeyRefused) }
}

/// Verifies one proof against a request; `keys` may remember the key.
///
/// # Errors
/// A [`ProofFault`] that names the check of RFC 9449 §4.3 that failed.
pub fn verify(
    proof: &str,
    expected: &Expected<'_>,
    keys: &dyn ProofKeys,
    now: Timestamp,
) -> Result<VerifiedProof, ProofFault> {
    if proof.len() > PROOF_LIMIT {
        return Err(ProofFault::TooLong);
    }
    if proof.contains(',') {
        return Err(ProofFault::Repeated); // several headers, joined on the way (RFC 9110 §5.3)
    }
    let encoded_header = proof.split('.').next().unwrap_or_default();
    let key = keys.key(encoded_header)?;
    let jws = Jws::parse_claims(proof, PROOF_LIMIT).map_err(|fault| match fault {
        JwsFault::TooLong => ProofFault::TooLong,
        JwsFault::Malformed | JwsFault::Critical => ProofFault::Malformed,
    })?;

    let jti = jws.required_text("jti").map_err(missing)?;
    if jti.len() > JTI_LIMIT {
        return Err(ProofFault::ClaimMissing);
    }
    if jws.required_text("htm").map_err(missing)? != expected.method {
        return Err(ProofFault::MethodMismatch);
    }
    let htu = Htu::parse(jws.required_text("htu").map_err(missing)?).map_err(|_| ProofFault::TargetMismatch)?;
    if htu != *expected.target {
        return Err(ProofFault::TargetMismatch);
    }
    let issued_at = jws.time("iat").map_err(missing)?.ok_or(ProofFault::ClaimMissing)?;
    if let Some(token) = expected.access_token {
        check_token_hash(jws.required_text("ath").map_err(missing)?, token)?;
    }
    let nonce_made = check_nonce(&jws, expected.nonce, now)?;
    let acceptable_until = match (nonce_made, expected.nonce) {
        (Some(made), NonceRule::Optional(nonces) | NonceRule::Required(nonces)) => made + nonces.life(),
        (Some(_), NonceRule::Off) | (None, _) => check_age(issued_at, expected.window, now)?,
    };
    check_own_limits(&jws, expected.window, now)?;

    jws.verify(key.algorithm, &key.key).map_err(|_| ProofFault::SignatureWrong)?;
    let thumbprint = key.key.thumbprint();
    let replay_key = ReplayKey::from_bytes(sha256_parts(&[
        thumbprint.as_bytes(),
        expected.method.as_bytes(),
        htu.to_string().as_bytes(),
        jti.as_bytes(),
    ]));
    Ok(VerifiedProof { key: thumbprint, replay_key, issued_at, acceptable_until, nonce_made })
}

fn missing(_: crate::jose::JsonFault) -> ProofFault {
    ProofFault::ClaimMissing
}

/// Check 12: `ath` is the base64url of the SHA-256 of the token, without padding (RFC 9449 §4.2).
fn check_token_hash(ath: &str, token: &str) -> Result<(), ProofFault> {
    if ath == base64url(&sha256(token.as_bytes())) { Ok(()) } else { Err(ProofFault::TokenHashMismatch) }
}

/// Check 10. `Some` is the moment at which a nonce that is in force was made: then the client's clock does not matter
/// (RFC 9449 §11.1).
fn check_nonce(jws: &Jws<'_>, rule: NonceRule<'_>, now: Timestamp) -> Result<Option<Timestamp>, ProofFault> {
    let nonce = jws.text("nonce").map_err(missing)?;
    match (rule, nonce) {
        (NonceRule::Off, _) | (NonceRule::Optional(_), None) => Ok(None),
        (NonceRule::Required(_), None) => Err(ProofFault::NonceMissing),
        (NonceRule::Optional(nonces) | NonceRule::Required(nonces), Some(nonce)) => {
            nonces.accept(nonce, now).map(Some).ok_or(ProofFault::NonceStale)
        }
    }
}

/// Check 11, both ends included; gives the last moment at which the proof passes.
fn check_age(issued_at: Timestamp, window: Window, now: Timestamp) -> Result<Timestamp, ProofFault> {
    if issued_at > now + window.skew {
        return Err(ProofFault::Early);
    }
    let until = issued_at + window.lifetime;
    if now > until { Err(ProofFault::Stale) } else { Ok(until) }
}

/// `exp` and `nbf` mean nothing in RFC 9449, but who sends them means them (RFC 7519 §4.1.4, §4.1.5). A nonce does not
/// cure them: the client's own word is against it.
fn check_own_limits(jws: &Jws<'_>, window: Window, now: Timestamp) -> Result<(), ProofFault> {
    let expired = jws.time("exp").map_err(missing)?.is_some_and(|expires| now > expires + window.skew);
    let early = jws.time("nbf").map_err(missing)?.is_some_and(|begins| begins > now + window.skew);
    if expired || early { Err(ProofFault::OutsideOwnLimits) } else { Ok(()) }
}
