//! Request objects: authorization requests that a client has signed (RFC 9101, FAPI 2.0 Message Signing §5.3).
//!
//! Invariant: what stands beside a request object is not read but for `client_id`, and an object that is in doubt says
//! nothing, not even where a refusal may go.
//!
//! Choice: RFC 9101 leaves it to the server how long an object is good; it must say so with `nbf` and `exp`, an hour apart at
//! most, whatever the profile of its client. So a request that leaks is worth nothing the next day.
//!
//! An object may come again: browsers reload pages. What it asks for is protected by its state, its challenge and the
//! person who is asked, so its `jti` is not remembered.

use std::time::Duration;

use super::client::Client;
use super::{AuthorizationServer, Error, Parameters, Refusal};
use crate::clock::Timestamp;
use crate::ident::Issuer;
use crate::jose::{Algorithm, Json, Jws, PublicKey};

/// The longest request object accepted, in bytes: what a parameter may hold.
const OBJECT_LIMIT: usize = 16 * 1024;

/// How far back `nbf` may lie, and how long after it `exp` (FAPI 2.0 Message Signing §5.3.1).
const LIFETIME_LIMIT: Duration = Duration::from_hours(1);

/// How far ahead `nbf` and `iat` may lie (FAPI 2.0 §5.3.2.1-13 wants 10 s accepted and more than 60 s refused).
const SKEW: Duration = Duration::from_secs(10);

/// Claims of JWTs that are no parameters (RFC 7519 §4.1).
const NO_PARAMETERS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// A request object that was read; its signature is not verified yet.
pub(super) struct RequestObject<'a> {
    jws: Jws<'a>,
}

impl<'a> RequestObject<'a> {
    /// Reads a request object.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let jws = Jws::parse(text, OBJECT_LIMIT).map_err(|_| Refusal::RequestObjectMalformed)?;
        Ok(Self { jws })
    }

    /// The key that it names.
    pub(super) fn kid(&self) -> Option<&str> {
        self.jws.header_text("kid").ok().flatten()
    }

    /// Everything that can be judged without the keys of the client.
    pub(super) fn check_claims(&self, client: &Client, issuer: &Issuer, now: Timestamp) -> Result<(), Refusal> {
        check_type(&self.jws)?;
        check_parties(&self.jws, client, issuer)?;
        check_times(&self.jws, now)?;
        if self.jws.claims().contains_key("request") || self.jws.claims().contains_key("request_uri") {
            return Err(Refusal::RequestObjectNested);
        }
        Ok(())
    }

    /// By one of the client's keys: that with the `kid` of the header, or any that fits if it has none (RFC 9101 §6.2).
    /// `jwk`, `jku` and `x5u` in the header are not looked at.
    pub(super) fn check_signature(&self, client: &Client, keys: &[PublicKey]) -> Result<(), Refusal> {
        let wrong = Refusal::RequestObjectSignatureWrong;
        let registered = client.requests.object_algorithm;
        let algorithm = self.jws.algorithm(client.profile.assertion_algorithms()).ok_or(wrong)?;
        if registered.is_some_and(|registered: Algorithm| registered != algorithm) {
            return Err(wrong);
        }
        let kid = self.jws.header_text("kid").map_err(|_| wrong)?;
        let keys = keys.iter().filter(|key| key.fits(algorithm));
        let mut named = keys.filter(|key| kid.is_none() || key.kid().is_none() || key.kid() == kid);
        if named.any(|key| self.jws.verify(algorithm, key).is_ok()) { Ok(()) } else { Err(wrong) }
    }

    /// The parameters in it.
    pub(super) fn parameters(&self) -> Result<Parameters, Refusal> {
        parameters(&self.jws)
    }
}

impl AuthorizationServer {
    /// The parameters in a request object of a client. Its claims are judged first, since its signature may take a look at
    /// keys that are elsewhere; none of them counts until that is verified.
    ///
    /// # Errors
    /// A [`Refusal`] of request objects, or `Unavailable`.
    pub(super) async fn open_request_object(
        &self,
        object: &str,
        client: &Client,
        now: Timestamp,
    ) -> Result<Parameters, Error> {
        let object = RequestObject::parse(object)?;
        let keys = client.request_object_keys().ok_or(Refusal::RequestObjectSignatureWrong)?;
        object.check_claims(client, &self.settings.issuer, now)?;
        self.verify_with(keys, object.kid(), now, |keys| object.check_signature(client, keys)).await?;
        Ok(object.parameters()?)
    }
}

/// Refuses the types of other tokens: no client assertion, proof or access token becomes a request (RFC 8725 §3.11).
/// `JWT` and no type at all are what most clients send.
fn check_type(jws: &Jws<'_>) -> Result<(), Refusal> {
    let typ = jws.header_text("typ").map_err(|_| Refusal::RequestObjectMalformed)?;
    let known = ["JWT", "oauth-authz-req+jwt", "application/oauth-authz-req+jwt"];
    let known = typ.is_none_or(|typ| known.iter().any(|known| typ.eq_ignore_ascii_case(known)));
    if known { Ok(()) } else { Err(Refusal::RequestObjectMalformed) }
}

/// RFC 9101 §4: `iss` and `client_id` are the client, `aud` is this server, alone or among others. §10.8: an object whose
/// `sub` is the client could be used as its assertion.
fn check_parties(jws: &Jws<'_>, client: &Client, issuer: &Issuer) -> Result<(), Refusal> {
    let id = client.id.as_str();
    if jws.required_text("iss").ok() != Some(id) || jws.claims().get("sub").is_some_and(|sub| sub == id) {
        return Err(Refusal::RequestObjectPartyWrong);
    }
    if jws.required_text("client_id").ok() != Some(id) {
        return Err(Refusal::RequestObjectClientMismatch);
    }
    let ours = |aud: &Json| aud == issuer.as_str();
    match jws.claims().get("aud") {
        Some(aud @ Json::String(_)) if ours(aud) => Ok(()),
        Some(Json::Array(all)) if all.iter().all(Json::is_string) && all.iter().any(ours) => Ok(()),
        Some(_) | None => Err(Refusal::RequestObjectAudienceWrong),
    }
}

/// FAPI 2.0 Message Signing §5.3.1: `nbf` and `exp` are there, `nbf` not much more than an hour ago, and `exp` at most an
/// hour after it.
fn check_times(jws: &Jws<'_>, now: Timestamp) -> Result<(), Refusal> {
    let wrong = Refusal::RequestObjectTimeWrong;
    let time = |claim| jws.time(claim).map_err(|_| wrong);
    let (begins, expires) = (time("nbf")?.ok_or(wrong)?, time("exp")?.ok_or(wrong)?);
    let begun = begins <= now + SKEW && now <= begins + LIFETIME_LIMIT;
    let lasts = now < expires && expires <= begins + LIFETIME_LIMIT;
    let issued = time("iat")?.is_none_or(|issued| issued <= now + SKEW);
    if begun && lasts && issued { Ok(()) } else { Err(wrong) }
}

/// The claims as parameters (RFC 9101 §4): text as it is, numbers and booleans as they are written, anything else in JSON;
/// `resource` may be several (RFC 8707 §2).
fn parameters(jws: &Jws<'_>) -> Result<Parameters, Refusal> {
    let claims = jws.claims().iter().filter(|(name, _)| !NO_PARAMETERS.contains(&name.as_str()));
    let mut pairs = Vec::new();
    for (name, value) in claims {
        match value {
            Json::Array(values) if name == "resource" => {
                for value in values {
                    pairs.push((name.clone(), text(value)?));
                }
            }
            Json::Array(_) | Json::Object(_) => pairs.push((name.clone(), value.to_string())),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => pairs.push((name.clone(), text(value)?)),
        }
    }
    Parameters::from_pairs(pairs)
}

fn text(value: &Json) -> Result<String, Refusal> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Bool(_) | Json::Number(_) => Ok(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => Err(Refusal::RequestObjectMalformed),
    }
}
