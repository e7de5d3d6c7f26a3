//! What the rules say of a request that nobody sends: for operators who ask why. Token and proof are taken to be good.

use std::sync::Arc;
use std::time::Duration;

use super::requirement::Circumstances;
use super::route::Route;
use super::{
    AcceptedIssuer, Access, Context, Denied, Enforcer, Request, Requirements, ResourceSettings, Stop, TokenCache,
    TokenKey,
};
use super::{Answer, Caller, Denial, IssuerDocuments, denied};
use crate::clock::Timestamp;
use crate::dpop::{Fence, Nonces, ProofFault, ProofKey, ProofKeys, parse_key};
use crate::ident::{Audience, IssuerName};
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
    /// The gate itself answers it: with a document of the resource, or, if there is no resource, of the authorization server.
    Described,
    /// It passes with a good token that says this, and with the proof that the token needs.
    Passes,
    /// It does not pass.
    Denied(Denial, Answer),
}

/// Whose tokens look like what.
pub type Profiles = [(IssuerName, TokenProfile)];

/// Tries a request on these resources, for somebody with a good token with these claims, or with none. `documents` are those
/// that are answered for the authorization server. Claims without `iss` are taken to be of the first issuer of the resource, and
/// `profiles` tell what the tokens of each look like.
///
/// # Errors
/// What is wrong with the claims, so that no token could say them.
pub fn attempt(
    (resources, documents): (Vec<ResourceSettings>, Option<IssuerDocuments>),
    request: &Request<'_>,
    (claims, profiles): (Option<&Members>, &Profiles),
    now: Timestamp,
) -> Result<Trial, TokenFault> {
    let secret = RotatingSecret::from(RootKey::from_bytes([0; 32])); // its nonces go nowhere
    let nonces = || Nonces::new(secret.derive("trial"), Duration::from_secs(1));
    let resources = resources.into_iter().map(|resource| (resource, nonces())).collect();
    let nothing = Arc::new(Nothing);
    let enforcer = Enforcer::new(resources, &[], nothing.clone(), nothing, Fence::after(None, now));
    let enforcer = enforcer.describing(documents);
    let mut context = Context { now, ..Context::default() };
    let routed = enforcer.route(request, &mut context);
    let path = routed.as_ref().ok().map(|route| route.path.clone().into_owned());
    let judged = match routed {
        Ok(route) => judge(&route, request, (claims, profiles), now)?,
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
    (claims, profiles): (Option<&Members>, &Profiles),
    now: Timestamp,
) -> Result<Result<Outcome, Denial>, TokenFault> {
    let settings = &route.resource.settings;
    let Some(rule) = route.rule else { return Ok(Ok(Outcome::Preflight)) };
    let Access::Token(wanted) = &settings.rules[rule].access else { return Ok(Ok(Outcome::Anyone)) };
    let Some(claims) = claims else { return Ok(Err(Denial::CredentialsMissing)) };
    let issuer = issuer_of(claims, settings)?;
    let of_issuer = profiles.iter().find(|(name, _)| *name == issuer.name);
    let (_, profile) = of_issuer.ok_or(TokenFault::IssuerWrong)?;
    let token = token_with(claims, (issuer, profile), now)?;
    let (path, resource) = (&route.path, settings.audience.as_str());
    let at = Circumstances { request, path, resource, now, skew: profile.skew };
    Ok(wanted.check(&token, at).map(|()| Outcome::Passes))
}

/// Who has issued a token that says this.
fn issuer_of<'a>(claims: &Members, settings: &'a ResourceSettings) -> Result<&'a AcceptedIssuer, TokenFault> {
    let named = |issuer: &&AcceptedIssuer| claims.get("iss").is_none_or(|iss| iss == issuer.name.as_str());
    settings.issuers.iter().find(named).ok_or(TokenFault::IssuerWrong)
}

/// A good token of this issuer that says this: what every token says is added where it is missing, under the names that the
/// issuer has for it.
fn token_with(
    claims: &Members,
    (issuer, profile): (&AcceptedIssuer, &TokenProfile),
    now: Timestamp,
) -> Result<VerifiedToken, TokenFault> {
    let mut claims = claims.clone();
    let names = &profile.claims;
    let audience = issuer.audiences.first().map(Audience::as_str).unwrap_or_default();
    for (name, value) in [
        ("iss", Json::from(issuer.name.as_str())),
        ("aud", audience.into()),
        (names.subject.as_str(), "somebody".into()),
        ("exp", (now.seconds() + 60).into()),
    ] {
        claims.entry(name).or_insert(value);
    }
    if let Some(name) =
        names.client_id.first().filter(|_| !names.client_id.iter().any(|name| claims.contains_key(name)))
    {
        claims.insert(name.clone(), "some-client".into());
    }
    let expected = TokenExpectation { issuer: issuer.name.as_str(), audiences: &issuer.audiences, profile };
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
