//! The rules of the gate: who may pass to a protected resource (RFC 6750, RFC 9068 §4, RFC 9449 §7).
//!
//! A proxy asks about one request at a time. [`Enforcer::decide`] finds the resource, the rule, the token and the proof,
//! in that order, cheap checks before costly ones, and without waiting for anything. What a token that is a handle stands
//! for is asked by the caller, who then has the request decided again, once; so are newer keys of an issuer, where those at
//! hand are not enough to judge a token. Nobody is asked on behalf of a request whose proof is no good. What is left to ask, whether the proof is new, is asked by the caller too, last of
//! all, so that only a request that is right in every other respect can fill the memory of the guard.
//!
//! | step | may end in |
//! |---|---|
//! | documents of our authorization server, if they are answered here | that document |
//! | resource, by the proxy's configuration or the host | `ResourceUnknown`, `HostUnknown` |
//! | method, path, `Connection` | `MethodRefused`, `Path…`, `ConnectionNamesHeaders` |
//! | metadata of a resource there (RFC 9728), keys for its upstream | that document, if it has any |
//! | resource, by the path, where several have the host | `NoRule` |
//! | preflight, if it is to pass | an allow for anyone |
//! | rule | `McpCallMalformed`, `NoRule`, or an allow for anyone |
//! | credentials | `Credentials…` |
//! | proof there at all | `Proof(Missing)`, `Proof(Repeated)` |
//! | what must hold before anybody is asked what a token stands for | `Proof(…)`, `BearerRefused` |
//! | token | `Token(…)`, `CertificateMismatch`, `BoundTokenAsBearer`, `BearerRefused`, `UnboundTokenAsDpop` |
//! | proof | `Proof(…)`, `KeyMismatch` |
//! | what the rule asks of the token | `ScopeInsufficient`, `DetailsInsufficient`, `ClaimRefused`, `AuthenticationTo…`, `Condition…` |
//! | guard | `Proof(Replayed)` |
//!
//! Invariant: what does not match is denied, and nothing but a [`Permit`] lets a request pass.
//! The origin that clients sign for comes from configuration, and so does what is missing from the path; `Host` and the path
//! only choose among resources. Of what proxies forward
//! nothing is read but the certificate of a client, where the operator says that it is to be found there.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::certificate::{CertificateThumbprint, FORWARDED_CERTIFICATE, forwarded_certificate};
use crate::clock::Timestamp;
use crate::dpop::{self, Expected, Fence, Htu, NonceRule, Nonces, ProofFault, ProofKeys, Remedy, VerifiedProof};
use crate::ident::Audience;
use crate::secret::sha256_parts;
use crate::token::{
    self, Form, KeyLookup, Renew, RevocationsFault, Said, TokenExpectation, TokenFault, VerifiedToken, VerifyError,
};
use crate::unavailable::Unavailable;

mod challenge;
mod condition;
mod credentials;
mod decision;
mod denial;
mod headers;
mod issuer_documents;
mod lookup;
mod mcp;
mod metadata;
mod path;
mod policy;
mod preflight;
mod requirement;
mod resource;
mod route;
mod trial;
mod upstream;
mod upstream_token;

pub use challenge::{Answer, Caller};
pub use condition::{CONDITION_LIMIT, Condition, ConditionFault};
pub use credentials::Scheme;
pub use decision::{Context, Decision, Denied, Finding, KeysWanted, Observed, Outage, Permit, Unspent};
pub use denial::{ChallengeError, Denial};
pub use headers::{Headers, Single};
pub use issuer_documents::IssuerDocuments;
pub use lookup::{Resolved, Unresolved};
pub use mcp::{CallMethod, CallMethodFault, CallPattern, NameFault, NamePattern};
pub use metadata::{Described, ResourceMetadata};
pub use path::{PathPrefix, PrefixFault};
pub use policy::{Access, Method, MethodFault, PathPattern, PatternFault, Rule};
pub use requirement::{ClaimRequirement, DetailRequirement, Requirements};
pub use resource::{
    AcceptedIssuer, CertificateSource, DpopRequirement, Enforcement, GateNonce, OpaqueTokens, Preflight,
    ResourceSettings, TokenIssuer,
};
pub use trial::{Outcome, Profiles, Trial, attempt};
pub use upstream::{
    CLAIMS_LIMIT, ClaimsHeader, HeaderFault, IdentityHeader, UpstreamAuthorization, UpstreamChanges, UpstreamView,
    VALUE_LIMIT,
};
pub use upstream_token::{UpstreamKeys, UpstreamTokens};

use credentials::Credentials;
use lookup::Proven;
use metadata::PreparedMetadata;
use requirement::Circumstances;
use route::Route;
use upstream::PreparedView;

/// One request, as the proxy describes it.
#[derive(Debug)]
pub struct Request<'a> {
    /// The resource that the proxy's own configuration names for this route, by its audience.
    pub resource: Option<&'a str>,
    /// The method, byte for byte.
    pub method: &'a str,
    /// The authority that the client asked for.
    pub host: &'a str,
    /// Path and query, before any rewriting.
    pub target: &'a str,
    /// The headers.
    pub headers: Headers<'a>,
    /// The certificate that the client has shown to the proxy, in PEM and percent-encoded.
    pub certificate: Option<&'a str>,
}

/// What a token is remembered by: SHA-256 over the token and whom it was verified for.
pub type TokenKey = [u8; 32];

/// A place where verified tokens may be found again until they expire. A cache, never a verdict: times, scopes and
/// bindings are judged anew in every request.
pub trait TokenCache: Send + Sync {
    /// How often everything was forgotten: asked before a token is verified, and told when it is kept. A token that was
    /// verified with a key that is withdrawn meanwhile must not be found again.
    fn generation(&self) -> u64;

    /// The token that was kept under this key, if it still is.
    fn find(&self, key: &TokenKey) -> Option<Arc<VerifiedToken>>;

    /// Keeps a token whose every check has passed, until everything that is as old as `generation` is forgotten.
    fn keep(&self, key: TokenKey, token: Arc<VerifiedToken>, generation: u64);
}

/// A protected resource, ready to be asked about.
pub(crate) struct Resource {
    /// What the operator says.
    settings: ResourceSettings,
    /// Who issues its tokens, each with what must be in `aud` of them.
    issuers: Vec<(Arc<TokenIssuer>, Vec<Audience>)>,
    /// Its own nonces: those of others are worth nothing here.
    nonces: Nonces,
    /// What its upstream gets to see.
    view: PreparedView,
    /// What clients are told about it, if anything.
    metadata: Option<PreparedMetadata>,
}

impl Resource {
    /// Whether everything passes.
    fn is_observed(&self) -> bool {
        self.settings.enforcement == Enforcement::Observe
    }

    /// The one of its issuers that has this name.
    fn issuer(&self, name: &str) -> Result<&(Arc<TokenIssuer>, Vec<Audience>), Denial> {
        let named = |(issuer, _): &&(Arc<TokenIssuer>, Vec<Audience>)| issuer.name.as_str() == name;
        self.issuers.iter().find(named).ok_or(Denial::Token(TokenFault::IssuerWrong))
    }

    /// Refuses a token that was revoked, if its issuer lets us know.
    fn check_revoked(&self, token: &VerifiedToken, now: Timestamp) -> Result<(), Stop> {
        let (issuer, _) = self.issuer(token.issuer())?;
        let Some(revocations) = &issuer.revocations else { return Ok(()) };
        match revocations.is_revoked(token, now) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Denial::Token(TokenFault::Revoked).into()),
            Err(RevocationsFault::Unavailable(cause)) => Err(Stop::Unavailable(cause)),
            Err(RevocationsFault::Outdated(list)) => Err(Stop::KeysOutdated(list)),
        }
    }

    /// Judges a good token by what the rule asks for.
    fn check(
        &self,
        token: &VerifiedToken,
        wanted: &Requirements,
        (request, path): (&Request<'_>, &str),
        now: Timestamp,
    ) -> Result<(), Denial> {
        let skew = self.issuer(token.issuer())?.0.profile.skew;
        wanted.check(token, Circumstances { request, path, resource: self.settings.audience.as_str(), now, skew })
    }

    /// Whose token this would be. Where there are several issuers a JWT must say it itself. Nothing is believed for that: it
    /// is verified with the keys of whom it names, and for nobody else.
    fn issuer_of(&self, token: Form<'_>) -> Result<&(Arc<TokenIssuer>, Vec<Audience>), Denial> {
        let introspected = || {
            let asks = |issuer: &TokenIssuer| matches!(issuer.opaque, OpaqueTokens::Introspected(_));
            self.issuers.iter().find(|(issuer, _)| asks(issuer))
        };
        let found = match (token, self.issuers.as_slice()) {
            (Form::Jwt(_), [only]) => Ok(only),
            (Form::Jwt(text), [] | [_, ..]) => {
                return self.issuer(&token::claimed_issuer(text).map_err(Denial::Token)?);
            }
            (Form::Handle(_), issuers) => {
                let ours = |issuer: &TokenIssuer| matches!(issuer.opaque, OpaqueTokens::Handles(_));
                let ours = issuers.iter().find(|(issuer, _)| ours(issuer));
                ours.or_else(introspected).ok_or(TokenFault::HandleUnknown)
            }
            (Form::Opaque(_), _) => introspected().ok_or(TokenFault::Malformed),
        };
        found.map_err(Denial::Token)
    }
}

/// Decides about requests.
pub struct Enforcer {
    /// In the order of the file, those of one origin together.
    origins: Vec<Vec<Arc<Resource>>>,
    /// Tokens that were verified before.
    tokens: Arc<dyn TokenCache>,
    /// Keys that came with earlier proofs.
    proof_keys: Arc<dyn ProofKeys>,
    /// Keeps out what an earlier life may have seen.
    fence: Fence,
    /// What is answered for the authorization server.
    documents: Option<IssuerDocuments>,
}

/// What ends a judgement early.
enum Stop {
    /// A rule said no.
    Refused(Denial),
    /// We could not tell.
    Unavailable(Unavailable),
    /// We cannot tell with the keys or the status list at hand; here are newer ones.
    KeysOutdated(Arc<dyn Renew>),
    /// Somebody must be asked first.
    Unresolved(Unresolved),
    /// It was for us: a document is asked for that the gate itself answers.
    Described(Answer),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

impl From<ProofFault> for Stop {
    fn from(fault: ProofFault) -> Self {
        Self::Refused(Denial::Proof(fault))
    }
}

impl Stop {
    /// A token could not be verified with these keys.
    fn at_token(error: VerifyError, keys: &Arc<dyn KeyLookup>) -> Self {
        match error {
            VerifyError::Refused(fault) => Self::Refused(Denial::Token(fault)),
            VerifyError::Unavailable(cause) => Self::Unavailable(cause),
            VerifyError::KeysOutdated => Self::KeysOutdated(Arc::clone(keys) as Arc<dyn Renew>),
        }
    }
}

/// What a request that broke no rule still needs.
enum Cleared<'a> {
    /// Nothing: the rule is for anyone.
    Anyone,
    /// Nothing: an unbound token was enough.
    Bearer(Credentials<'a>),
    /// Its proof must be new.
    Bound(Credentials<'a>, VerifiedProof),
}

impl Enforcer {
    /// An enforcer for these resources, each with nonces of its own.
    ///
    /// `issuers` are those that the resources name. No two origins may be named by one host, and no two resources of one origin
    /// have the same paths: one of them would be found for both. The configuration refuses them.
    #[must_use]
    pub fn new(
        resources: Vec<(ResourceSettings, Nonces)>,
        issuers: &[Arc<TokenIssuer>],
        tokens: Arc<dyn TokenCache>,
        proof_keys: Arc<dyn ProofKeys>,
        fence: Fence,
    ) -> Self {
        let prepare = |(settings, nonces): (ResourceSettings, Nonces)| {
            let view = PreparedView::new(settings.upstream.clone(), &settings.origin.to_string());
            let accepted = settings.issuers.iter().filter_map(|accepted| {
                let issuer = issuers.iter().find(|issuer| issuer.name == accepted.name)?;
                Some((Arc::clone(issuer), accepted.audiences.clone()))
            });
            let issuers = accepted.collect();
            let metadata = PreparedMetadata::new(&settings);
            Arc::new(Resource { settings, issuers, nonces, view, metadata })
        };
        let mut origins: Vec<Vec<Arc<Resource>>> = Vec::new();
        for resource in resources.into_iter().map(prepare) {
            let beside = |there: &&mut Vec<Arc<Resource>>| {
                there.iter().any(|one| one.settings.origin == resource.settings.origin)
            };
            match origins.iter_mut().find(beside) {
                Some(there) => there.push(resource),
                None => origins.push(vec![resource]),
            }
        }
        Self { origins, tokens, proof_keys, fence, documents: None }
    }

    /// The same enforcer, which answers for these documents too, if there are any.
    #[must_use]
    pub fn describing(self, documents: Option<IssuerDocuments>) -> Self {
        Self { documents, ..self }
    }

    /// Decides about a request, but for whether its proof is new. Does not wait and does not log.
    pub fn decide(&self, request: &Request<'_>, now: Timestamp) -> Finding {
        self.decide_with(request, None, now)
    }

    /// Decides about a request again, now that it is known what its token stands for.
    pub fn decide_resolved(&self, request: &Request<'_>, resolved: Resolved, now: Timestamp) -> Finding {
        self.decide_with(request, Some(resolved), now)
    }

    fn decide_with(&self, request: &Request<'_>, resolved: Option<Resolved>, now: Timestamp) -> Finding {
        let mut context = Context { now, ..Context::default() };
        match self.judge(request, resolved, now, &mut context) {
            Ok(cleared) => finding(cleared, context, &self.fence, now),
            Err(Stop::Refused(denial)) => Finding::Settled(Decision::Deny(denied(denial, context, now))),
            Err(Stop::Unavailable(cause)) => Finding::Settled(Decision::Unavailable(Outage { cause, context })),
            Err(Stop::Described(answer)) => Finding::Settled(Decision::Describe(Described { context, answer })),
            Err(Stop::KeysOutdated(keys)) => Finding::KeysWanted(KeysWanted(keys), context),
            Err(Stop::Unresolved(unresolved)) => Finding::Unresolved(unresolved, context),
        }
    }

    /// The steps of the table above; notes in `context` how far it got.
    fn judge<'a>(
        &self,
        request: &Request<'a>,
        mut resolved: Option<Resolved>,
        now: Timestamp,
        context: &mut Context,
    ) -> Result<Cleared<'a>, Stop> {
        let Route { resource, path, rule } = self.route(request, context)?;
        let resource = &*resource;
        let Some(Access::Token(wanted)) = rule.map(|rule| &resource.settings.rules[rule].access) else {
            return Ok(Cleared::Anyone);
        };

        let credentials = Credentials::read(&request.headers)?;
        context.scheme = Some(credentials.scheme);
        let proof = match (credentials.scheme, resource.settings.dpop) {
            (Scheme::Dpop, DpopRequirement::Required | DpopRequirement::OrCertificate | DpopRequirement::Allowed) => {
                Some(credentials::proof(&request.headers)?)
            }
            // A scheme that is not offered counts as none.
            (Scheme::Dpop, DpopRequirement::Off) => return Err(Denial::CredentialsMissing.into()),
            (Scheme::Bearer, _) => None,
        };
        let signed = resource.settings.stripped.before(&path);
        let of = |proof: &str| {
            let (audience, token) = (resource.settings.audience.as_str(), credentials.token);
            sha256_parts(&[audience, token, request.method, &signed, proof].map(str::as_bytes))
        };
        let verified = |proof: &str| -> Result<VerifiedProof, Stop> {
            let target = Htu::at(&resource.settings.origin, &signed).map_err(|_| Denial::PathMalformed)?;
            Ok(self.proof(resource, proof, request.method, &target, credentials.token, now)?)
        };
        let proven = resolved.as_mut().and_then(|resolved| resolved.proven.take());
        let token = match self.token(resource, credentials.token, resolved, now) {
            // Anybody can make up a token: nobody is asked on behalf of one who could not pass with a good one either.
            Err(Stop::Unresolved(unresolved)) => {
                let proven = match proof {
                    Some(proof) => Some(Box::new(Proven { of: of(proof), proof: verified(proof)? })),
                    None => check_bearer_may_ask(resource, request.certificate).map(|()| None)?,
                };
                return Err(Stop::Unresolved(Unresolved { proven, ..unresolved }));
            }
            token => context.token.insert(token?),
        };
        resource.check_revoked(token, now)?;
        check_certificate(token, resource.settings.certificates, request)?;
        let Some(proof) = proof else {
            check_bearer(token, resource)?;
            resource.check(token, wanted, (request, &path), now)?;
            return Ok(Cleared::Bearer(credentials));
        };
        let bound_to = token.key().ok_or(Denial::UnboundTokenAsDpop)?;
        let proof = match proven.filter(|proven| proven.of == of(proof)) {
            Some(proven) => proven.proof,
            None => verified(proof)?,
        };
        context.proof_age = Some(now.since(proof.made()));
        if proof.key() != bound_to {
            return Err(Denial::KeyMismatch.into());
        }
        resource.check(token, wanted, (request, &path), now)?;
        Ok(Cleared::Bound(credentials, proof))
    }

    /// Verifies a token, or finds it verified. A handle is not known until somebody was asked what it stands for.
    fn token(
        &self,
        resource: &Resource,
        text: &str,
        resolved: Option<Resolved>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, Stop> {
        let key = sha256_parts(&[resource.settings.audience.as_str().as_bytes(), text.as_bytes()]);
        if let Some(token) = self.tokens.find(&key).filter(|token| !token.is_outdated(now)) {
            let (issuer, _) = resource.issuer(token.issuer())?;
            if !token.is_hearsay() {
                issuer.keys.check_fresh(now).map_err(|fault| Stop::at_token(fault.into(), &issuer.keys))?;
            }
            return if token.is_expired(now, issuer.profile.skew) {
                Err(Denial::Token(TokenFault::Expired).into())
            } else {
                Ok(token)
            };
        }
        let form = Form::of(text).map_err(Denial::Token)?;
        let (issuer, audiences) = resource.issuer_of(form)?;
        let expected = TokenExpectation { issuer: issuer.name.as_str(), audiences, profile: &issuer.profile };
        let generation = self.tokens.generation();
        let lookup = match (form, &issuer.opaque) {
            (Form::Handle(_) | Form::Opaque(_), OpaqueTokens::Handles(lookup) | OpaqueTokens::Introspected(lookup)) => {
                lookup
            }
            (Form::Jwt(_), _) | (Form::Handle(_) | Form::Opaque(_), OpaqueTokens::None) => {
                let verified = token::verify(text, &expected, &*issuer.keys, now);
                let token = Arc::new(verified.map_err(|error| Stop::at_token(error, &issuer.keys))?);
                self.tokens.keep(key, Arc::clone(&token), generation);
                return Ok(token);
            }
        };
        let Some(Resolved { answer, .. }) = resolved.filter(|resolved| resolved.key == key) else {
            let (lookup, token) = (Arc::clone(lookup), Zeroizing::new(text.to_owned()));
            return Err(Stop::Unresolved(Unresolved { lookup, token, proven: None, key }));
        };
        let Said { claims, until } = answer.ok_or(Denial::Token(TokenFault::HandleUnknown))?;
        let token = token::judge(claims, &expected, now).map_err(Denial::Token)?;
        let token = Arc::new(token.said_until(until));
        self.tokens.keep(key, Arc::clone(&token), generation);
        Ok(token)
    }

    /// Verifies a proof (RFC 9449 §4.3), behind the fence if it is older than this life of the process.
    fn proof(
        &self,
        resource: &Resource,
        proof: &str,
        method: &str,
        target: &Htu<'_>,
        token: &str,
        now: Timestamp,
    ) -> Result<VerifiedProof, ProofFault> {
        let verify = |nonce: NonceRule<'_>| {
            let window = resource.settings.window;
            let expected = Expected { method, target, access_token: Some(token), window, nonce };
            dpop::verify(proof, &expected, &*self.proof_keys, now)
        };
        let verified = match resource.settings.nonce {
            GateNonce::Off => verify(NonceRule::Off)?,
            GateNonce::Required => verify(NonceRule::Required(&resource.nonces))?,
        };
        let passes = |proof: VerifiedProof| {
            if self.fence.admits(&proof) { Ok(proof) } else { Err(ProofFault::BeforeRestart) }
        };
        match (passes(verified), resource.settings.nonce) {
            (Err(ProofFault::BeforeRestart), GateNonce::Off) => {
                // Until the fence is gone a nonce that this life has made shows that the proof is younger than it.
                passes(verify(NonceRule::Optional(&resource.nonces))?)
            }
            (outcome, GateNonce::Off | GateNonce::Required) => outcome,
        }
    }
}

/// A token that is bound to a certificate counts on connections with that certificate only (RFC 8705 §3), however else it
/// is bound and presented.
fn check_certificate(token: &VerifiedToken, source: CertificateSource, request: &Request<'_>) -> Result<(), Denial> {
    let Some(bound) = token.certificate() else { return Ok(()) };
    let shown = match source {
        CertificateSource::Connection => request.certificate.and_then(CertificateThumbprint::of_percent_encoded),
        CertificateSource::Header => forwarded_certificate(request.headers.all(FORWARDED_CERTIFICATE))
            .map(|certificate| certificate.thumbprint()),
    };
    if shown == Some(bound) { Ok(()) } else { Err(Denial::CertificateMismatch) }
}

/// A bearer token must not be bound to a key (RFC 9449 §7.2), and be welcome.
fn check_bearer(token: &VerifiedToken, resource: &Resource) -> Result<(), Denial> {
    match (token.key(), token.certificate(), resource.settings.dpop) {
        (Some(_), _, _) => Err(Denial::BoundTokenAsBearer),
        (None, None, DpopRequirement::Required | DpopRequirement::OrCertificate)
        | (None, Some(_), DpopRequirement::Required) => Err(Denial::BearerRefused),
        (None, Some(_), DpopRequirement::OrCertificate)
        | (None, _, DpopRequirement::Allowed | DpopRequirement::Off) => Ok(()),
    }
}

/// Refuses a bearer token that is not welcome whatever it stands for, so that nobody need be asked about it.
fn check_bearer_may_ask(resource: &Resource, shown: Option<&str>) -> Result<(), Denial> {
    match (resource.settings.dpop, shown) {
        (DpopRequirement::Required, _) | (DpopRequirement::OrCertificate, None) => Err(Denial::BearerRefused),
        (DpopRequirement::OrCertificate, Some(_)) | (DpopRequirement::Allowed | DpopRequirement::Off, _) => Ok(()),
    }
}

/// Refuses a `Connection` that names other headers: in an upgrade it survives to the next hop, which would drop the
/// identity headers that it names (RFC 9110 §7.6.1).
fn check_connection(headers: &Headers<'_>) -> Result<(), Denial> {
    const OPTIONS: [&[u8]; 5] = [b"", b"upgrade", b"keep-alive", b"close", b"te"];
    let known = |option: &[u8]| OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(option.trim_ascii()));
    let mut options = headers.all("connection").flat_map(|value| value.split(|byte| *byte == b','));
    if options.all(known) { Ok(()) } else { Err(Denial::ConnectionNamesHeaders) }
}

/// Puts together what a request that broke no rule has found out.
fn finding(cleared: Cleared<'_>, context: Context, fence: &Fence, now: Timestamp) -> Finding {
    let resource = context.resource.clone();
    let passed_on = |credentials: Credentials<'_>| {
        let wanted = resource.as_ref().is_some_and(|resource| resource.view.wants_token());
        wanted.then(|| Zeroizing::new(credentials.token.to_owned()))
    };
    match cleared {
        Cleared::Anyone => Finding::Settled(Decision::Allow(Permit::new(context, None, None))),
        Cleared::Bearer(credentials) => {
            Finding::Settled(Decision::Allow(Permit::new(context, passed_on(credentials), None)))
        }
        Cleared::Bound(credentials, proof) => {
            let nonce = resource.as_ref().and_then(|resource| fresh_nonce(resource, &proof, now));
            let skew = resource.as_ref().map(|resource| resource.settings.window.skew).unwrap_or_default();
            // The clocks of replicas that share a guard may differ by the skew.
            let expires = proof.acceptable_until() + skew;
            let permit = Permit::new(context, passed_on(credentials), nonce);
            Finding::Unspent(Unspent::new(permit, proof, expires, fence.clone()))
        }
    }
}

/// A nonce for the next request, when the one in this proof is past half of its life (RFC 9449 §8.2).
fn fresh_nonce(resource: &Resource, proof: &VerifiedProof, now: Timestamp) -> Option<dpop::NonceText> {
    let made = proof.nonce_made()?;
    resource.nonces.is_ageing(made, now).then(|| resource.nonces.issue(now))
}

/// A denial with the nonce that repairs it, if one does.
fn denied(denial: Denial, context: Context, now: Timestamp) -> Denied {
    let wants_nonce = matches!(denial, Denial::Proof(fault) if fault.remedy() == Remedy::FreshNonce);
    let resource = context.resource.as_ref().filter(|_| wants_nonce);
    let nonce = resource.map(|resource| resource.nonces.issue(now));
    Denied { denial, context, nonce }
}
