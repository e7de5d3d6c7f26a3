//! Grants: one file a grant type, each with the parameters it reads and the rules from top to bottom.

use std::time::Duration;

use crate::certificate::{CertificateThumbprint, ClientCertificate};
use crate::clock::Timestamp;
use crate::dpop::{ProofFault, VerifiedProof};
use crate::ident::{Acr, Audience, ClientId, Resources, Subject};
use crate::jose::{Members, Thumbprint};
use crate::scope::{Scope, Scopes};
use crate::secret::RefreshToken;
use crate::store::{Grant, GrantHandle, GrantOrigin, RefreshState, SenderConstraint, SessionId};
use crate::token::{AuthorizationDetails, Binding, RequestedClaims};
use crate::unavailable::Unavailable;

use super::client::GrantType;
use super::client_authentication::AuthenticatedClient;
use super::{AuthorizationServer, Client, Error, Parameters, Refusal};

pub(super) mod authorization_code;
pub(super) mod client_credentials;
pub(super) mod device_code;
pub(super) mod refresh_token;
pub(super) mod token_exchange;

use token_exchange::Delegation;

/// What every grant is redeemed with.
pub(super) struct Exchange<'a> {
    /// Who asks.
    pub(super) client: &'a AuthenticatedClient,
    /// The proof beside the request, not spent yet.
    pub(super) proof: Option<&'a VerifiedProof>,
    /// The certificate of the connection.
    pub(super) certificate: Option<&'a ClientCertificate>,
    /// The time of the request.
    pub(super) now: Timestamp,
}

impl Exchange<'_> {
    /// The key of the proof.
    fn key(&self) -> Option<Thumbprint> {
        self.proof.map(VerifiedProof::key)
    }

    /// The certificate of the connection, as tokens and grants name it.
    fn certificate(&self) -> Option<CertificateThumbprint> {
        self.certificate.map(ClientCertificate::thumbprint)
    }

    /// What access tokens will be bound to: the key of the proof, if there is one; or else, for a client that is
    /// registered so, the certificate (RFC 8705 §3).
    fn binding(&self) -> Option<Binding> {
        let certificate = self.certificate().filter(|_| self.client.certificate_bound_access_tokens);
        self.key().map(Binding::Key).or(certificate.map(Binding::Certificate))
    }

    /// What a grant that begins here is bound to (RFC 9449 §5): a public client's refresh token to the key itself, a
    /// confidential client's only to there being a proof, since its authentication stands in for the key. For
    /// certificates the same (RFC 8705 §4).
    fn sender_constraint(&self) -> SenderConstraint {
        match (self.binding(), self.client.is_public()) {
            (None, _) => SenderConstraint::None,
            (Some(Binding::Key(key)), true) => SenderConstraint::DpopKey(key),
            (Some(Binding::Key(_)), false) => SenderConstraint::Dpop,
            (Some(Binding::Certificate(certificate)), true) => SenderConstraint::ThisCertificate(certificate),
            (Some(Binding::Certificate(_)), false) => SenderConstraint::Certificate,
        }
    }
}

/// What a person has approved, and a grant begins with.
struct Approval {
    subject: Subject,
    auth_time: Timestamp,
    acr: Option<Acr>,
    scopes: Scopes,
    resource: Resources,
    details: AuthorizationDetails,
    claims: RequestedClaims,
    session: Option<SessionId>,
    origin: GrantOrigin,
}

/// A grant that was redeemed: the only thing that [`AuthorizationServer::issue`] takes.
///
/// A private constructor and no `Clone`: it is made by `redeem` of a grant, after whatever had to be spent was spent.
#[must_use]
pub(super) struct Authorization {
    pub(super) client_id: ClientId,
    pub(super) subject: Subject,
    pub(super) scopes: Scopes,
    pub(super) resource: Audience,
    pub(super) details: AuthorizationDetails,
    pub(super) auth_time: Option<Timestamp>,
    pub(super) acr: Option<Acr>,
    pub(super) binding: Option<Binding>,
    /// `nonce` of the authorization request, to go into the ID token.
    pub(super) nonce: Option<String>,
    /// What the ID token says about the person beside who it is.
    pub(super) told: Members,
    /// The session in which it was approved.
    pub(super) session: Option<SessionId>,
    pub(super) refresh_token: Option<RefreshToken>,
    /// The grant with which the access token ends.
    pub(super) grant: Option<GrantHandle>,
    /// Who acts for the subject, if it is not the subject itself.
    pub(super) delegation: Option<Delegation>,
    /// How it came about, for the event: `issued`, or what became of a refresh token.
    pub(super) outcome: &'static str,
}

/// How far ahead of our clock a proof may be dated at most (FAPI 2.0 §5.3.2.1-13), even with a nonce.
const FAPI_SKEW: Duration = Duration::from_mins(1);

impl AuthorizationServer {
    /// Spends the proof of a request, after everything else about it was found right.
    pub(super) async fn spend(&self, exchange: &Exchange<'_>) -> Result<(), Error> {
        let horizon = exchange.now + FAPI_SKEW;
        if exchange.client.profile.is_fapi() && exchange.proof.is_some_and(|proof| proof.issued_at() > horizon) {
            return Err(Refusal::Proof(ProofFault::Early).into());
        }
        self.spend_proof(exchange.proof, exchange.now).await
    }

    /// Spends a proof, if there is one.
    pub(super) async fn spend_proof(&self, proof: Option<&VerifiedProof>, now: Timestamp) -> Result<(), Error> {
        use crate::replay::Seen;
        let Some(proof) = proof else { return Ok(()) };
        let expires = proof.acceptable_until() + self.settings.dpop.window.skew;
        match self.guard.spend(proof.replay_key(), expires, now).await? {
            // A shared guard has forgotten since the fence was asked: perhaps this proof too.
            Seen::First if !self.fence.admits(proof) => Err(Unavailable::Down.into()),
            Seen::First => Ok(()),
            Seen::Replayed => Err(Refusal::Proof(ProofFault::Replayed).into()),
        }
    }

    /// The grant that begins with an approval, and its first refresh token.
    async fn begin_grant(
        &self,
        approval: Approval,
        exchange: &Exchange<'_>,
    ) -> Result<(Grant, RefreshToken), Unavailable> {
        let handle = self.grant_handle(exchange.now).await?;
        let tag_key = self.entropy.draw();
        let token = RefreshToken::first(handle.0, &tag_key, &*self.entropy);
        let lifetimes = &self.settings.lifetimes;
        // Without refresh tokens a grant is only as good as its one access token, and need not be kept any longer.
        let refreshes = exchange.client.may_use(GrantType::RefreshToken);
        let lifetime = if refreshes { lifetimes.refresh_token } else { lifetimes.access_token };
        let expires_at = exchange.now + lifetime;
        let grant = Grant {
            handle,
            client_id: exchange.client.id.clone(),
            subject: approval.subject,
            scopes: approval.scopes,
            resource: approval.resource,
            details: approval.details,
            claims: approval.claims,
            session: approval.session,
            origin: approval.origin,
            auth_time: approval.auth_time,
            acr: approval.acr,
            sender_constraint: exchange.sender_constraint(),
            refresh: RefreshState { tag_key, current_n: 0, current_hash: token.hash(), previous: None },
            created_at: exchange.now,
            used_at: exchange.now,
            idle_expires_at: expires_at.min(exchange.now + lifetimes.refresh_token_idle),
            expires_at,
            ended: None,
        };
        Ok((grant, token))
    }

    /// The scopes of a request that may narrow `granted` and never widen it (RFC 6749 §3.3, §6). What the operator has
    /// taken from the client, or from everybody, since it was granted is granted no more.
    fn narrowed(&self, requested: Option<&str>, granted: &Scopes, client: &Client) -> Result<Scopes, Refusal> {
        let holds = |scope: &&Scope| self.settings.scopes.contains_key(*scope) && client.scopes.contains(scope);
        let granted: Scopes = granted.iter().filter(holds).cloned().collect();
        let Some(requested) = requested else { return Ok(granted) };
        let requested: Scopes = requested.parse().map_err(|_| Refusal::ScopeMalformed)?;
        if requested.is_within(&granted) { Ok(requested) } else { Err(Refusal::ScopeNotAllowed) }
    }

    /// The resource of a request for what was granted (RFC 8707 §2.2): the one that it names of those that were granted, or
    /// else the first of them, as long as there is such a resource.
    fn granted_resource(&self, parameters: &Parameters, granted: &Resources) -> Result<Audience, Refusal> {
        let granted: Vec<_> = granted.iter().filter(|one| self.settings.resources.contains(one)).collect();
        parameters.resource(&granted, granted.first().ok_or(Refusal::ResourceUnknown)?)
    }
}
