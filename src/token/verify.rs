//! What a resource server checks of an access token (RFC 9068 §4).

use std::time::Duration;

use super::ACCESS_TOKEN_TYPE;
use crate::certificate::CertificateThumbprint;
use crate::clock::Timestamp;
use crate::ident::{Audience, ClientId, Issuer, Subject};
use crate::jose::{Algorithm, Json, Jws, Members, PublicKey, Thumbprint, optional_text, optional_time, required_text};
use crate::scope::Scopes;
use crate::unavailable::Unavailable;

/// The longest access token accepted, in bytes.
pub const TOKEN_LIMIT: usize = 16 * 1024;

/// Where the keys of an issuer come from. Never waits: keys are fetched behind the scenes.
pub trait KeyLookup: Send + Sync {
    /// Calls `with` for each key that may verify: those with this `kid`, or all of them when the token names none.
    ///
    /// # Errors
    /// [`Unavailable`] when there are no keys to ask, or none fresh enough.
    fn keys(&self, kid: Option<&str>, now: Timestamp) -> Result<Vec<PublicKey>, Unavailable>;
}

/// What a token must be.
#[derive(Debug)]
pub struct TokenExpectation<'a> {
    /// `iss`, byte for byte.
    pub issuer: &'a Issuer,
    /// One of these must be in `aud`.
    pub audiences: &'a [Audience],
    /// What it may be signed with.
    pub algorithms: &'a [Algorithm],
    /// How far clocks may be apart.
    pub skew: Duration,
}

/// Why a token was refused. Every one of them is `invalid_token` (RFC 9068 §4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenFault {
    /// Not a compact JWS of two JSON objects, longer than [`TOKEN_LIMIT`], or with a critical extension; nor a handle.
    Malformed,
    /// `typ` is not `at+jwt` (RFC 9068 §4).
    TypeWrong,
    /// `alg` is not one that this issuer signs with.
    AlgorithmRefused,
    /// No access token has this handle, or not any more.
    HandleUnknown,
    /// No key of the issuer has this `kid`.
    KeyUnknown,
    /// The signature does not verify.
    SignatureWrong,
    /// A required claim is missing or of the wrong type (RFC 9068 §2.2).
    ClaimMissing,
    /// `iss` is another issuer.
    IssuerWrong,
    /// `aud` does not hold this resource.
    AudienceWrong,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies in the future.
    Early,
    /// `cnf` asks for a proof that we do not know: it is not for us to ignore (RFC 7800 §3.1).
    ConfirmationUnknown,
}

impl TokenFault {
    /// Every fault.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::TypeWrong,
        Self::AlgorithmRefused,
        Self::HandleUnknown,
        Self::KeyUnknown,
        Self::SignatureWrong,
        Self::ClaimMissing,
        Self::IssuerWrong,
        Self::AudienceWrong,
        Self::Expired,
        Self::Early,
        Self::ConfirmationUnknown,
    ];

    /// The name in logs, metrics, Envoy's metadata and `tollgate explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::TypeWrong => "token_type_wrong",
            Self::AlgorithmRefused => "token_algorithm_refused",
            Self::HandleUnknown => "token_handle_unknown",
            Self::KeyUnknown => "token_key_unknown",
            Self::SignatureWrong => "token_signature_wrong",
            Self::ClaimMissing => "token_claim_missing",
            Self::IssuerWrong => "token_issuer_wrong",
            Self::AudienceWrong => "token_audience_wrong",
            Self::Expired => "token_expired",
            Self::Early => "token_early",
            Self::ConfirmationUnknown => "token_confirmation_unknown",
        }
    }

    /// The `error_description`: names the mistake in the characters of RFC 6749 §5.2.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Malformed => "the access token is not a well-formed JWT",
            Self::TypeWrong => "the access token typ is not at+jwt",
            Self::AlgorithmRefused => "the access token alg is not accepted",
            Self::HandleUnknown => "there is no such access token, or not any more",
            Self::KeyUnknown => "the access token was not signed with a current key of its issuer",
            Self::SignatureWrong => "the access token signature does not verify",
            Self::ClaimMissing => {
                "the access token lacks iss, sub, aud, client_id or exp, or a claim has the wrong type"
            }
            Self::IssuerWrong => "the access token is from another issuer",
            Self::AudienceWrong => "the access token is for another resource",
            Self::Expired => "the access token has expired",
            Self::Early => "the access token is from the future",
            Self::ConfirmationUnknown => "the access token is bound in a way that is not supported here",
        }
    }
}

/// An access token that passed every check but those that concern its request.
#[must_use]
#[derive(Debug)]
pub struct VerifiedToken {
    subject: Subject,
    client_id: ClientId,
    scopes: Scopes,
    expires: Timestamp,
    confirmation: Confirmed,
    claims: Members,
}

/// What the bearer of a token must prove: what `cnf` holds (RFC 7800 §3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Confirmed {
    key: Option<Thumbprint>,
    certificate: Option<CertificateThumbprint>,
}

impl VerifiedToken {
    /// Whom it speaks for.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whom it was issued to.
    pub fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    /// What it allows.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Its `exp`.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The key it is bound to (RFC 9449 §6.1).
    pub fn key(&self) -> Option<Thumbprint> {
        self.confirmation.key
    }

    /// The certificate it is bound to (RFC 8705 §3.1).
    pub fn certificate(&self) -> Option<CertificateThumbprint> {
        self.confirmation.certificate
    }

    /// Everything it says.
    pub fn claims(&self) -> &Members {
        &self.claims
    }

    /// Whether its time is over; a verified token may be kept until then.
    pub fn is_expired(&self, now: Timestamp, skew: Duration) -> bool {
        now >= self.expires + skew
    }
}

/// What can come of verifying a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VerifyError {
    /// The token is at fault.
    Refused(TokenFault),
    /// We could not tell.
    Unavailable(Unavailable),
}

impl From<TokenFault> for VerifyError {
    fn from(fault: TokenFault) -> Self {
        Self::Refused(fault)
    }
}

impl From<Unavailable> for VerifyError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// Verifies an access token against one issuer and one resource.
///
/// # Errors
/// [`VerifyError::Refused`] with the check that failed, or [`VerifyError::Unavailable`] when there are no keys to ask.
pub fn verify(
    text: &str,
    expected: &TokenExpectation<'_>,
    keys: &dyn KeyLookup,
    now: Timestamp,
) -> Result<VerifiedToken, VerifyError> {
    let jws = Jws::parse(text, TOKEN_LIMIT).map_err(|_| TokenFault::Malformed)?;
    let typ = jws.header_text("typ").map_err(|_| TokenFault::TypeWrong)?.unwrap_or_default();
    let short = typ.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/")).map_or(typ, |_| &typ[12..]);
    if !short.eq_ignore_ascii_case(ACCESS_TOKEN_TYPE) {
        return Err(TokenFault::TypeWrong.into());
    }
    let algorithm = jws.algorithm(expected.algorithms).ok_or(TokenFault::AlgorithmRefused)?;
    let kid = jws.header_text("kid").map_err(|_| TokenFault::KeyUnknown)?;
    let candidates: Vec<_> = keys.keys(kid, now)?.into_iter().filter(|key| key.fits(algorithm)).collect();
    match candidates.as_slice() {
        [key] => jws.verify(algorithm, key).map_err(|_| TokenFault::SignatureWrong)?,
        [] | [_, ..] => return Err(TokenFault::KeyUnknown.into()), // ambiguous means no (OpenID Connect Core §10.1)
    }
    judge(jws.into_claims(), expected, now).map_err(VerifyError::Refused)
}

/// Judges claims of which it is known that the issuer has said them, be it by a signature or by its own record.
///
/// # Errors
/// The check that failed.
pub fn judge(claims: Members, expected: &TokenExpectation<'_>, now: Timestamp) -> Result<VerifiedToken, TokenFault> {
    let missing = |_| TokenFault::ClaimMissing;
    let required = |name| required_text(&claims, name).map_err(missing);
    if required("iss")? != expected.issuer.as_str() {
        return Err(TokenFault::IssuerWrong);
    }
    if !names(claims.get("aud"), expected.audiences)? {
        return Err(TokenFault::AudienceWrong);
    }
    let expires = optional_time(&claims, "exp").map_err(missing)?.ok_or(TokenFault::ClaimMissing)?;
    if now >= expires + expected.skew {
        return Err(TokenFault::Expired);
    }
    for claim in ["nbf", "iat"] {
        if optional_time(&claims, claim).map_err(missing)?.is_some_and(|begins| begins > now + expected.skew) {
            return Err(TokenFault::Early);
        }
    }
    let subject = required("sub")?.parse().map_err(|_| TokenFault::ClaimMissing)?;
    let client_id = required("client_id")?.parse().map_err(|_| TokenFault::ClaimMissing)?;
    let scopes = optional_text(&claims, "scope").map_err(missing)?.unwrap_or_default();
    let scopes = scopes.parse().map_err(|_| TokenFault::ClaimMissing)?;
    let confirmation = confirmation(claims.get("cnf"))?;
    Ok(VerifiedToken { subject, client_id, scopes, expires, confirmation, claims })
}

/// Whether `aud`, a string or an array of strings (RFC 7519 §4.1.3), holds one of `audiences`.
fn names(aud: Option<&Json>, audiences: &[Audience]) -> Result<bool, TokenFault> {
    let is_ours = |one: &str| audiences.iter().any(|audience| audience.as_str() == one);
    match aud {
        Some(Json::String(one)) => Ok(is_ours(one)),
        Some(Json::Array(many)) => Ok(many.iter().any(|one| one.as_str().is_some_and(is_ours))),
        None | Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) => Err(TokenFault::ClaimMissing),
    }
}

/// Reads `cnf`: absent, or `jkt` or `x5t#S256` or both, and nothing that we do not know.
fn confirmation(cnf: Option<&Json>) -> Result<Confirmed, TokenFault> {
    let mut confirmed = Confirmed::default();
    let Some(cnf) = cnf else { return Ok(confirmed) };
    let members = cnf.as_object().filter(|members| !members.is_empty()).ok_or(TokenFault::ConfirmationUnknown)?;
    for (name, value) in members {
        let text = value.as_str().ok_or(TokenFault::ConfirmationUnknown)?;
        match name.as_str() {
            "jkt" => confirmed.key = Some(text.parse().map_err(|_| TokenFault::ConfirmationUnknown)?),
            "x5t#S256" => confirmed.certificate = Some(text.parse().map_err(|_| TokenFault::ConfirmationUnknown)?),
            _ => return Err(TokenFault::ConfirmationUnknown),
        }
    }
    Ok(confirmed)
}
