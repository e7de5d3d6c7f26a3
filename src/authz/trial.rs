//! What the rules say of a request that nobody sends: for operators who ask why. Token and proof are taken to be good.

use std::sync::Arc;
use std::time::Duration;

use super::requirement::Circumstances;
use super::route::Route;
use super::{Access, Context, Denied, Enforcer, Request, Requirements, ResourceSettings, Stop, TokenCache, TokenKey};
use super::{Answer, Caller, Denial, denied};
use crate::clock::Timestamp;
use crate::dpop::{Fence, Nonces, ProofFault, ProofKey, ProofKeys, parse_key};
use crate::ident::Audience;
use crate::jose::{Json, Members};
use crate::secret::rotation::RotatingSecret;
use crate::secret::seal::RootKey;
use crate::token::{self, TokenExpectation, TokenFault, TokenProfile, VerifiedToken};

/// What the rules say.
#[derive(Debug)]
pub struct Trial {
    /// The resource, if there is one for the request.
    pub resource: Option<String>,
    /// Whether what is denied there passes all the same.
    pub observed: bool,
    /// The path in normal form, if it has one.
    pub path: Option<String>,
    /// The rule that decides, by its place among the rules and in words.
    pub rule: Option<(usize, String)>,
    /// What it asks of tokens, in words.
    pub asks: Vec<String>,
    /// What becomes of the request.
    pub outcome: Outcome,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It passes, whoever sends it.
    Anyone,
    /// It passes as a preflight, without credentials.
    Preflight,
    /// The gate itself answers it.
    Described,
    /// It passes with a good token that says this, and with the proof that the token needs.
    Passes,
    /// It does not pass.
    Denied(Denial, Answer),
}

/// Tries a request on these resources, for somebody with a good token with these claims, or with none.
///
/// # Errors
/// What is wrong with the claims, so that no token could say them.
pub fn attempt(
    resources: Vec<ResourceSettings>,
    request: &Request<'_>,
    claims: Option<&Members>,
    now: Timestamp,
) -> Result<Trial, TokenFault> {
    let secret = RotatingSecret::from(RootKey::from_bytes([0; 32])); // its nonces go nowhere
    let nonces = || Nonces::new(secret.derive("trial"), Duration::from_secs(1));
    let resources = resources.into_iter().map(|resource| (resource, nonces())).collect();
    let nothing = Arc::new(Nothing);
    let enforcer = Enforcer::new(resources, &[], nothing.clone(), nothing, Fence::after(None, now));
    let mut context = Context { now, ..Context::default() };
    let routed = enforcer.route(request, &mut context);
    let path = routed.as_ref().ok().map(|route| route.path.clone().into_owned());
    let judged = match routed {
        Ok(route) => judge(&route, request, claims, now)?,
        Err(Stop::Refused(denial)) => Err(denial),
        // Without tokens there is nobody to wait for, and what else stops a request is its being for us.
        Err(Stop::Described(_) | Stop::Unavailable(_) | Stop::KeysOutdated(_) | Stop::Unresolved(_)) => {
            Ok(Outcome::Described)
        }
    };
    let resource = context.resource().map(str::to_owned);
    let observed = context.resource.as_ref().is_some_and(|resource| resource.is_observed());
    let rule = context.rule.zip(context.matched()).map(|(place, rule)| (place, rule.to_string()));
    let asks = context.requirements().map(Requirements::in_words).unwrap_or_default();
    let outcome = judged.unwrap_or_else(|denial| {
        let told: Denied = denied(denial, context, now);
        Outcome::Denied(denial, told.answer(Caller::of(&request.headers)))
    });
    Ok(Trial { resource, observed, path, rule, asks, outcome })
}

fn judge(
    route: &Route<'_>,
    request: &Request<'_>,
    claims: Option<&Members>,
    now: Timestamp,
) -> Result<Result<Outcome, Denial>, TokenFault> {
    let settings = &route.resource.settings;
    let Some(rule) = route.rule else { return Ok(Ok(Outcome::Preflight)) };
    let Access::Token(wanted) = &settings.rules[rule].access else { return Ok(Ok(Outcome::Anyone)) };
    let Some(claims) = claims else { return Ok(Err(Denial::CredentialsMissing)) };
    let token = token_with(claims, settings, now)?;
    let at = Circumstances {
        request,
        path: &route.path,
        resource: settings.audience.as_str(),
        now,
        skew: settings.window.skew,
    };
    Ok(wanted.check(&token, at).map(|()| Outcome::Passes))
}

/// A good token for this resource that says this: what every token says is added where it is missing.
fn token_with(claims: &Members, settings: &ResourceSettings, now: Timestamp) -> Result<VerifiedToken, TokenFault> {
    let issuer = settings.issuers.first().ok_or(TokenFault::IssuerWrong)?;
    let mut claims = claims.clone();
    let audience = issuer.audiences.first().map(Audience::as_str).unwrap_or_default();
    for (name, value) in [
        ("iss", Json::from(issuer.name.as_str())),
        ("aud", audience.into()),
        ("sub", "somebody".into()),
        ("client_id", "some-client".into()),
        ("exp", (now.seconds() + 60).into()),
    ] {
        claims.entry(name).or_insert(value);
    }
    let profile = TokenProfile::rfc9068(Vec::new(), settings.window.skew);
    let expected = TokenExpectation { issuer: issuer.name.as_str(), audiences: &issuer.audiences, profile: &profile };
    token::judge(claims, &expected, now)
}

/// Remembers nothing.
struct Nothing;

impl TokenCache for Nothing {
    fn generation(&self) -> u64 {
        0
    }

    fn find(&self, _: &TokenKey) -> Option<Arc<VerifiedToken>> {
        None
    }

    fn keep(&self, _: TokenKey, _: Arc<VerifiedToken>, _: u64) {}
}

impl ProofKeys for Nothing {
    fn key(&self, encoded_header: &str) -> Result<Arc<ProofKey>, ProofFault> {
        parse_key(encoded_header).map(Arc::new)
    }
}
