//! Verifying the ID token of a provider, in the order of OpenID Connect Core §3.1.3.7.

use std::time::Duration;

use subtle::ConstantTimeEq as _;

use super::UpstreamIssuer;
use crate::clock::Timestamp;
use crate::ident::ClientId;
use crate::identity::UpstreamFault;
use crate::jose::{ASSERTION_ALGORITHMS, Algorithm, Json, Jws, Members, PublicKey};

/// The longest ID token, in bytes.
const LIMIT: usize = 32 * 1024;

/// How far the clocks of two servers may be apart.
pub(super) const SKEW: Duration = Duration::from_secs(30);

/// How long ago an ID token may have been made: it was fetched a moment ago.
const AGE_LIMIT: Duration = Duration::from_mins(10);

/// What an ID token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a UpstreamIssuer,
    pub(super) client_id: &'a ClientId,
    pub(super) nonce: &'a str,
    pub(super) access_token: &'a str,
    pub(super) now: Timestamp,
}

/// An ID token that passed every check.
pub(super) struct IdToken {
    pub(super) subject: String,
    pub(super) auth_time: Option<Timestamp>,
    pub(super) claims: Members,
}

/// Verifies an ID token.
pub(super) fn verify(text: &str, keys: &[PublicKey], expected: &Expected<'_>) -> Result<IdToken, UpstreamFault> {
    let jws = Jws::parse(text, LIMIT).map_err(|_| UpstreamFault::IdTokenMalformed)?;
    let algorithm = check_header(&jws)?;
    check_signature(&jws, algorithm, keys)?;
    if jws.required_text("iss").ok() != Some(expected.issuer.as_str()) {
        return Err(UpstreamFault::IdTokenIssuer);
    }
    check_audience(&jws, expected.client_id)?;
    check_times(&jws, expected.now)?;
    let nonce = jws.required_text("nonce").map_err(|_| UpstreamFault::IdTokenNonce)?;
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(UpstreamFault::IdTokenNonce);
    }
    let hash = jws.text("at_hash").map_err(|_| UpstreamFault::IdTokenAccessTokenHash)?;
    if hash.is_some_and(|hash| hash != algorithm.left_half_of_hash(expected.access_token)) {
        return Err(UpstreamFault::IdTokenAccessTokenHash);
    }
    let auth_time = jws.time("auth_time").map_err(|_| UpstreamFault::IdTokenTime)?;
    if auth_time.is_some_and(|auth_time| auth_time > expected.now + SKEW) {
        return Err(UpstreamFault::IdTokenTime);
    }
    let subject = jws.required_text("sub").map_err(|_| UpstreamFault::ClaimsUnfit)?.to_owned();
    let auth_time = auth_time.map(|auth_time| auth_time.min(expected.now));
    Ok(IdToken { subject, auth_time, claims: jws.into_claims() })
}

/// The algorithm, which is one of ours and so neither `none` nor symmetric (RFC 8725 §3.1), of an ID token and no other
/// kind of JWT (§3.11).
fn check_header(jws: &Jws<'_>) -> Result<Algorithm, UpstreamFault> {
    let typ = jws.header_text("typ").map_err(|_| UpstreamFault::IdTokenMalformed)?;
    if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(UpstreamFault::IdTokenMalformed);
    }
    jws.algorithm(ASSERTION_ALGORITHMS).ok_or(UpstreamFault::IdTokenAlgorithm)
}

/// The signature, by the key that the header names, or any that fits if it names none.
fn check_signature(jws: &Jws<'_>, algorithm: Algorithm, keys: &[PublicKey]) -> Result<(), UpstreamFault> {
    let kid = jws.header_text("kid").map_err(|_| UpstreamFault::IdTokenMalformed)?;
    let named = |key: &&PublicKey| kid.is_none() || key.kid() == kid;
    let mut candidates = keys.iter().filter(|key| key.fits(algorithm)).filter(named);
    let verified = candidates.any(|key| jws.verify(algorithm, key).is_ok());
    if verified { Ok(()) } else { Err(UpstreamFault::IdTokenSignature) }
}

/// `aud` is this client and nobody else: others could have been given the token too (OpenID Connect Core §3.1.3.7-3).
fn check_audience(jws: &Jws<'_>, client_id: &ClientId) -> Result<(), UpstreamFault> {
    let ours = match jws.claims().get("aud") {
        Some(Json::String(aud)) => aud == client_id.as_str(),
        Some(Json::Array(all)) => matches!(all.as_slice(), [Json::String(aud)] if aud == client_id.as_str()),
        Some(_) | None => false,
    };
    if !ours {
        return Err(UpstreamFault::IdTokenAudience);
    }
    let azp = jws.text("azp").map_err(|_| UpstreamFault::IdTokenAuthorizedParty)?;
    if azp.is_none_or(|azp| azp == client_id.as_str()) { Ok(()) } else { Err(UpstreamFault::IdTokenAuthorizedParty) }
}

fn check_times(jws: &Jws<'_>, now: Timestamp) -> Result<(), UpstreamFault> {
    let time = |name: &str| jws.time(name).map_err(|_| UpstreamFault::IdTokenTime);
    let expires = time("exp")?.ok_or(UpstreamFault::IdTokenTime)?;
    let issued = time("iat")?.ok_or(UpstreamFault::IdTokenTime)?;
    let over = now >= expires + SKEW || now.since(issued) > AGE_LIMIT;
    let ahead = issued > now + SKEW || time("nbf")?.is_some_and(|begins| begins > now + SKEW);
    if over || ahead { Err(UpstreamFault::IdTokenTime) } else { Ok(()) }
}
