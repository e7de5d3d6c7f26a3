//! What a resource server checks of an access token (RFC 9068 §4).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::keys::{KeyLookup, KeysFault};
use super::profile::TokenProfile;
use super::status_list::StatusReference;
use crate::certificate::CertificateThumbprint;
use crate::clock::Timestamp;
use crate::ident::{Audience, ClientId, Subject};
use crate::jose::{Json, Jws, Members, Thumbprint, optional_time, required_text};
use crate::scope::Scopes;
use crate::unavailable::Unavailable;

/// The longest access token accepted, in bytes.
pub const TOKEN_LIMIT: usize = 16 * 1024;

/// What a token must be.
#[derive(Debug)]
pub struct TokenExpectation<'a> {
    /// `iss`, byte for byte.
    pub issuer: &'a str,
    /// One of these must be in `aud`.
    pub audiences: &'a [Audience],
    /// What the tokens of this issuer look like.
    pub profile: &'a TokenProfile,
}

/// Why a token was refused. Every one of them is `invalid_token` (RFC 9068 §4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenFault {
    /// Not a compact JWS of two JSON objects, longer than [`TOKEN_LIMIT`], or with a critical extension; nor a handle.
    Malformed,
    /// `typ` is not `at+jwt` (RFC 9068 §4), or the token is of another kind where its issuer writes no such `typ`.
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
    /// It was revoked, or what it belongs to has ended (RFC 7009 §2.1).
    Revoked,
    /// `cnf` asks for a proof that we do not know: it is not for us to ignore (RFC 7800 §3.1).
    ConfirmationUnknown,
}

impl TokenFault {
    /// Every fault.
    pub const ALL: [Self; 13] = [
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
        Self::Revoked,
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
            Self::Revoked => "token_revoked",
            Self::ConfirmationUnknown => "token_confirmation_unknown",
        }
    }

    /// The `error_description`: names the mistake in the characters of RFC 6749 §5.2.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Malformed => "the access token is not a well-formed JWT",
            Self::TypeWrong => "the access token is not of the type at+jwt",
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
            Self::Revoked => "the access token was revoked, or what it belongs to has ended",
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
    /// Until when it counts that somebody has said so, if it does not say so itself.
    said_until: Option<Timestamp>,
    confirmation: Confirmed,
    claims: Members,
    told: Mutex<Option<Told>>,
}

/// What an upstream was told about a token, and until when it is told the same.
struct Told {
    text: Arc<str>,
    until: Timestamp,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({})", self.until)
    }
}

/// What the bearer of a token must prove: what `cnf` holds (RFC 7800 §3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Confirmed {
    key: Option<Thumbprint>,
    certificate: Option<CertificateThumbprint>,
}

impl VerifiedToken {
    /// Who issued it.
    pub fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Json::as_str).unwrap_or_default()
    }

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

    /// The same token, of which somebody says that it counts until then.
    pub(crate) fn said_until(self, until: Option<Timestamp>) -> Self {
        Self { said_until: until, ..self }
    }

    /// Until when what is known about it counts; times of its own may end it before.
    pub(crate) fn counts_until(&self) -> Timestamp {
        self.said_until.unwrap_or(self.expires)
    }

    /// Whether it was asked for long enough ago to be asked again.
    pub(crate) fn is_outdated(&self, now: Timestamp) -> bool {
        self.said_until.is_some_and(|until| now >= until)
    }

    /// Whether somebody else has said what it stands for, for a while: it was not verified with a key.
    pub(crate) fn is_hearsay(&self) -> bool {
        self.said_until.is_some()
    }

    /// The key it is bound to (RFC 9449 §6.1).
    pub fn key(&self) -> Option<Thumbprint> {
        self.confirmation.key
    }

    /// The certificate it is bound to (RFC 8705 §3.1).
    pub fn certificate(&self) -> Option<CertificateThumbprint> {
        self.confirmation.certificate
    }

    /// Everything it says; `sub`, `client_id` and `scope` in the form of RFC 9068, wherever its issuer puts them.
    pub fn claims(&self) -> &Members {
        &self.claims
    }

    /// What an upstream is told about it: what it was told before, or what `make` makes, with the time from which it is to be
    /// made anew. It is forgotten with the token.
    pub(crate) fn told_upstream(&self, now: Timestamp, make: impl FnOnce() -> (Arc<str>, Timestamp)) -> Arc<str> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = told.as_ref().filter(|told| now < told.until) {
            return Arc::clone(&told.text);
        }
        let (text, until) = make();
        *told = Some(Told { text: Arc::clone(&text), until });
        text
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
    /// We cannot tell with the keys at hand, and there may be newer ones: [`Renew::renew`](super::Renew).
    KeysOutdated,
}

impl From<TokenFault> for VerifyError {
    fn from(fault: TokenFault) -> Self {
        Self::Refused(fault)
    }
}

impl From<KeysFault> for VerifyError {
    fn from(fault: KeysFault) -> Self {
        match fault {
            KeysFault::Unavailable(unavailable) => Self::Unavailable(unavailable),
            KeysFault::Outdated => Self::KeysOutdated,
        }
    }
}

/// Whom a token names as its issuer, before anything of it is verified: for whoever must choose among issuers.
///
/// # Errors
/// [`TokenFault::Malformed`], [`TokenFault::ClaimMissing`].
pub fn claimed_issuer(text: &str) -> Result<String, TokenFault> {
    let jws = Jws::parse(text, TOKEN_LIMIT).map_err(|_| TokenFault::Malformed)?;
    jws.required_text("iss").map(str::to_owned).map_err(|_| TokenFault::ClaimMissing)
}

/// Verifies an access token against one issuer and one resource.
///
/// # Errors
/// [`VerifyError::Refused`] with the check that failed, [`VerifyError::Unavailable`] when there are no keys to ask, or
/// [`VerifyError::KeysOutdated`] when it takes newer ones.
pub fn verify(
    text: &str,
    expected: &TokenExpectation<'_>,
    keys: &dyn KeyLookup,
    now: Timestamp,
) -> Result<VerifiedToken, VerifyError> {
    let jws = Jws::parse(text, TOKEN_LIMIT).map_err(|_| TokenFault::Malformed)?;
    let profile = expected.profile;
    profile.types.check(&jws)?;
    let algorithm = jws.algorithm(&profile.algorithms).ok_or(TokenFault::AlgorithmRefused)?;
    let kid = jws.header_text("kid").map_err(|_| TokenFault::KeyUnknown)?;
    let candidates: Vec<_> = keys.keys(kid, now)?.into_iter().filter(|key| key.fits(algorithm)).collect();
    match candidates.as_slice() {
        [key] => jws.verify(algorithm, key).map_err(|_| TokenFault::SignatureWrong)?,
        [] | [_, ..] => return Err(TokenFault::KeyUnknown.into()), // ambiguous means no (OpenID Connect Core §10.1)
    }
    let token = judge(jws.into_claims(), expected, now)?;
    // One that is unreadable is left to whoever reads the lists.
    if profile.requires_status && matches!(StatusReference::of(token.claims()), Ok(None)) {
        return Err(TokenFault::ClaimMissing.into());
    }
    Ok(token)
}

/// Judges claims of which it is known that the issuer has said them, be it by a signature or by its own record.
///
/// # Errors
/// The check that failed.
pub fn judge(
    mut claims: Members,
    expected: &TokenExpectation<'_>,
    now: Timestamp,
) -> Result<VerifiedToken, TokenFault> {
    let (missing, profile) = (|_| TokenFault::ClaimMissing, expected.profile);
    if required_text(&claims, "iss").map_err(missing)? != expected.issuer {
        return Err(TokenFault::IssuerWrong);
    }
    if !names(claims.get("aud"), expected.audiences)? {
        return Err(TokenFault::AudienceWrong);
    }
    let expires = optional_time(&claims, "exp").map_err(missing)?.ok_or(TokenFault::ClaimMissing)?;
    if now >= expires + profile.skew {
        return Err(TokenFault::Expired);
    }
    for claim in ["nbf", "iat"] {
        if optional_time(&claims, claim).map_err(missing)?.is_some_and(|begins| begins > now + profile.skew) {
            return Err(TokenFault::Early);
        }
    }
    let confirmation = confirmation(claims.get("cnf"))?;
    let (subject, client_id, scopes) = profile.claims.normalize(&mut claims)?;
    Ok(VerifiedToken {
        subject,
        client_id,
        scopes,
        expires,
        said_until: None,
        confirmation,
        claims,
        told: Mutex::default(),
    })
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
