//! The answer to one request, and how far it can be found without waiting.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::credentials::Scheme;
use super::metadata::Described;
use super::policy::{Access, Rule};
use super::requirement::Requirements;
use super::{Denial, Resource, Unresolved, UpstreamChanges};
use crate::clock::Timestamp;
use crate::dpop::{Fence, NonceText, ProofFault, VerifiedProof};
use crate::jose::Thumbprint;
use crate::replay::{ReplayKey, Seen};
use crate::token::{Renew, VerifiedToken};
use crate::unavailable::Unavailable;

/// What is known about a request by the time it is decided; for logs, metrics and the proxy's metadata.
#[derive(Default)]
pub struct Context {
    /// What was asked for.
    pub(super) resource: Option<Arc<Resource>>,
    /// When it was asked for.
    pub(super) now: Timestamp,
    /// Whose script asks for it, by the place among the origins that may read our answers.
    pub(super) origin: Option<usize>,
    /// Which of its rules matched.
    pub(super) rule: Option<usize>,
    /// How a token was presented.
    pub(super) scheme: Option<Scheme>,
    /// The token, once it is verified.
    pub(super) token: Option<Arc<VerifiedToken>>,
    /// How old its proof was, if that was good.
    pub(super) proof_age: Option<Duration>,
}

impl Context {
    /// The audience of the resource that was asked for.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_ref().map(|resource| resource.settings.audience.as_str())
    }

    /// The path pattern of the rule that matched.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.matched().map(|rule| rule.path.as_str())
    }

    /// The client of the verified token.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.client_id().as_str())
    }

    /// The subject of the verified token.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.subject().as_str())
    }

    /// The key that the verified token is bound to.
    #[must_use]
    pub fn key(&self) -> Option<Thumbprint> {
        self.token.as_ref().and_then(|token| token.key())
    }

    /// The age of the proof, once it is verified; by our clock alone if it has a nonce of ours.
    #[must_use]
    pub fn proof_age(&self) -> Option<Duration> {
        self.proof_age
    }

    /// What an answer of ours says about who may read it (Fetch, "CORS protocol"); nothing, where others say that.
    pub(super) fn cors(&self) -> impl Iterator<Item = (&'static str, String)> {
        let origins =
            self.resource.as_ref().map(|resource| resource.settings.cors_origins.as_slice()).unwrap_or_default();
        let allowed = self.origin.and_then(|place| origins.get(place));
        let vary = (!origins.is_empty()).then(|| ("vary", "origin".to_owned()));
        vary.into_iter().chain(allowed.map(|origin| ("access-control-allow-origin", origin.to_string())))
    }

    /// The rule that matched.
    pub(super) fn matched(&self) -> Option<&Rule> {
        self.resource.as_ref()?.settings.rules.get(self.rule?)
    }

    /// The scopes that the rule asks for, as they stand in a challenge.
    pub(super) fn wanted_scopes(&self) -> Option<String> {
        let scopes = self.requirements()?.wanted_scopes();
        (!scopes.is_empty()).then(|| scopes.to_string())
    }

    /// What the rule asks of tokens.
    pub(super) fn requirements(&self) -> Option<&Requirements> {
        match &self.matched()?.access {
            Access::Token(requirements) => Some(requirements),
            Access::Anyone => None,
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("resource", &self.resource())
            .field("rule", &self.rule())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

/// The answer to one request. Without a `Default` on purpose: Envoy takes an answer that says nothing for an allow.
#[must_use]
#[derive(Debug)]
pub enum Decision {
    /// The request may pass.
    Allow(Permit),
    /// A rule said no.
    Deny(Denied),
    /// It goes no further, for it was asked of the gate itself.
    Describe(Described),
    /// Neither: something that we depend on did not answer. 503, whatever the proxy does about failures.
    Unavailable(Outage),
}

impl Decision {
    /// The stable name of the reason: `allowed`, the name of the [`Denial`], `described`, or `unavailable`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allowed",
            Self::Deny(denied) => denied.denial.name(),
            Self::Describe(_) => "described",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// What becomes of the request: at a resource that is only observed, whatever does not pass passes, as somebody about
    /// whom nothing is known.
    pub fn in_force(self) -> Self {
        let is_observed = self.context().resource.as_ref().is_some_and(|resource| resource.is_observed());
        match self {
            Self::Deny(Denied { denial, context, .. }) if is_observed => {
                Self::Allow(Permit::observed(context, Observed::Denied(denial)))
            }
            Self::Unavailable(Outage { cause, context }) if is_observed => {
                Self::Allow(Permit::observed(context, Observed::Unavailable(cause)))
            }
            Self::Allow(_) | Self::Deny(_) | Self::Describe(_) | Self::Unavailable(_) => self,
        }
    }

    /// What is known about the request.
    #[must_use]
    pub fn context(&self) -> &Context {
        match self {
            Self::Allow(permit) => &permit.context,
            Self::Deny(denied) => &denied.context,
            Self::Describe(described) => &described.context,
            Self::Unavailable(outage) => &outage.context,
        }
    }
}

/// How far [`Enforcer::decide`](super::Enforcer::decide) got without waiting for anything.
#[must_use]
#[derive(Debug)]
pub enum Finding {
    /// The last word.
    Settled(Decision),
    /// Every rule holds if this proof is new: ask the guard, then [`Unspent::settle`].
    Unspent(Unspent),
    /// The token says nothing by itself: [`Unresolved::resolve`], then
    /// [`Enforcer::decide_resolved`](super::Enforcer::decide_resolved).
    Unresolved(Unresolved, Context),
    /// It takes newer keys, or a newer status list, of an issuer to tell: [`KeysWanted::renew`], then decide once more.
    KeysWanted(KeysWanted, Context),
}

/// The keys of an issuer that has signed a token, perhaps, with one that is not at hand; or the list of those that it has
/// revoked.
#[must_use]
pub struct KeysWanted(pub(super) Arc<dyn Renew>);

impl KeysWanted {
    /// Waits until newer ones are at hand, or could not be had.
    pub async fn renew(&self, now: Timestamp) {
        self.0.renew(now).await;
    }
}

impl fmt::Debug for KeysWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysWanted(..)")
    }
}

/// Leave to pass. Only the enforcer makes one, after every rule held.
#[must_use]
pub struct Permit {
    /// What is known about the request.
    context: Context,
    /// The text of the token, where the upstream is to get it.
    token: Option<Zeroizing<String>>,
    /// For the next request of this client.
    nonce: Option<NonceText>,
    /// What would have become of it, if it passes only because nothing is enforced.
    observed: Option<Observed>,
}

impl Permit {
    /// For a request that broke no rule.
    pub(super) fn new(context: Context, token: Option<Zeroizing<String>>, nonce: Option<NonceText>) -> Self {
        Self { context, token, nonce, observed: None }
    }

    /// For a request that does not pass, and is let through all the same.
    fn observed(context: Context, observed: Observed) -> Self {
        Self { context, token: None, nonce: None, observed: Some(observed) }
    }

    /// What would have become of the request if the rules were enforced, unless it would have passed.
    #[must_use]
    pub fn would_be(&self) -> Option<Observed> {
        self.observed
    }

    /// The changes that make the request what the upstream may see.
    #[must_use]
    pub fn changes(&self) -> UpstreamChanges {
        // The token of a request that does not pass may be anybody's: nothing it says is told.
        let token = self.context.token.as_ref().filter(|_| self.observed.is_none());
        let claims = token.map(|token| token.claims());
        let Some(resource) = &self.context.resource else { return UpstreamChanges::default() };
        let internal = token.and_then(|token| resource.view.internal(token, self.context.now));
        let passed_on = internal.as_deref().or(self.token.as_ref().map(|token| token.as_str()));
        resource.view.changes(claims, passed_on)
    }

    /// A fresh nonce to go out with the answer, when the client's own is ageing (RFC 9449 §8.2, §9).
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// Whether a script must be let read that nonce, which it can read of an answer of the service only if we say so.
    #[must_use]
    pub fn exposes_nonce(&self) -> bool {
        self.nonce.is_some() && self.context.origin.is_some()
    }
}

/// What would have become of a request at a resource that is only observed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Observed {
    /// It would have been denied.
    Denied(Denial),
    /// It could not have been checked.
    Unavailable(Unavailable),
}

impl Observed {
    /// The name of the denial, or `unavailable`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.name(),
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", self.context)
    }
}

/// A permit that counts if its proof was never used before.
#[must_use]
pub struct Unspent {
    /// What the request gets.
    permit: Permit,
    /// The proof.
    proof: VerifiedProof,
    /// When it can be forgotten.
    expires: Timestamp,
    /// Keeps out what the guard may have forgotten.
    fence: Fence,
}

impl Unspent {
    /// For a request that broke no rule and has a proof.
    pub(super) fn new(permit: Permit, proof: VerifiedProof, expires: Timestamp, fence: Fence) -> Self {
        Self { permit, proof, expires, fence }
    }

    /// What the guard is to remember.
    pub fn key(&self) -> ReplayKey {
        self.proof.replay_key()
    }

    /// Until when the guard must remember it: the proof is no longer acceptable then, on any replica's clock.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Turns the guard's answer into the last word; the permit inside cannot be had in any other way.
    pub fn settle(self, answer: Result<Seen, Unavailable>) -> Decision {
        let context = self.permit.context;
        match answer {
            // A shared guard has forgotten since the fence was asked: perhaps this proof too.
            Ok(Seen::First) if !self.fence.admits(&self.proof) => {
                Decision::Unavailable(Outage { cause: Unavailable::Down, context })
            }
            Ok(Seen::First) => Decision::Allow(Permit { context, ..self.permit }),
            Ok(Seen::Replayed) => {
                Decision::Deny(Denied { denial: Denial::Proof(ProofFault::Replayed), context, nonce: None })
            }
            Err(cause) => Decision::Unavailable(Outage { cause, context }),
        }
    }
}

impl fmt::Debug for Unspent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unspent({:?})", self.permit.context)
    }
}

/// A denial, and what its challenge must name.
#[must_use]
pub struct Denied {
    /// The rule that said no.
    pub(super) denial: Denial,
    /// What is known about the request.
    pub(super) context: Context,
    /// The nonce that repairs it.
    pub(super) nonce: Option<NonceText>,
}

impl Denied {
    /// The rule that said no.
    #[must_use]
    pub fn denial(&self) -> Denial {
        self.denial
    }
}

/// A denial about which nothing else is known, such as that of a question that could not be read.
impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, context: Context::default(), nonce: None }
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Denied({:?}, {:?})", self.denial, self.context)
    }
}

/// A question that could not be answered.
#[must_use]
#[derive(Debug)]
pub struct Outage {
    /// What did not answer.
    pub(super) cause: Unavailable,
    /// What is known about the request.
    pub(super) context: Context,
}

impl Outage {
    /// A question that could not be answered for this cause.
    pub fn new(cause: Unavailable, context: Context) -> Self {
        Self { cause, context }
    }

    /// What did not answer.
    #[must_use]
    pub fn cause(&self) -> Unavailable {
        self.cause
    }
}
