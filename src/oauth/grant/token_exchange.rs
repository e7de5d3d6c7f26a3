//! Token exchange (RFC 8693): a service that was called with a token asks for one of its own, to call on behalf of the same
//! subject.
//!
//! | rule | where |
//! |---|---|
//! | the client authenticates, and the operator has said for which resource it answers and which ones it may call | [`ExchangePolicy`] |
//! | the subject token is one of ours, good now, and for a resource for which the client answers | §2.1 |
//! | the new token is for a resource that it may call, for no longer, and allows no more | §2.1, §5 |
//! | it ends with the grant of the subject token, if that has one | |
//! | it names the client as the actor, before those who acted earlier | §4.1 |
//!
//! It is always delegation and never impersonation: whoever is called sees who calls. A proof beside the request binds the new
//! token. It is not asked to be one by the key of the subject token: the client has received that token as the server that it
//! was meant for, and has no such key.
//!
//! Invariant: only a confidential client exchanges, and nothing is spent but its own assertion and proof.

use serde_json::{Value, json};

use super::{Authorization, Exchange};
use crate::clock::Timestamp;
use crate::ident::Audience;
use crate::jose::Members;
use crate::oauth::client::ExchangePolicy;
use crate::oauth::params::Parameters;
use crate::oauth::{AuthorizationServer, Error, Refusal};
use crate::scope::Scopes;
use crate::store::GrantHandle;
use crate::token::{AuthorizationDetails, TokenFault, VerifiedToken};

/// The type of the tokens that we take and give (RFC 8693 §3).
pub(in crate::oauth) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The same token, by its form (RFC 8693 §3).
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How many actors a token names at most: a longer chain is a loop.
const ACTORS: usize = 4;

/// A token request of this grant.
pub(in crate::oauth) struct Request<'a> {
    subject_token: &'a str,
    parameters: &'a Parameters,
}

/// Who acts for the subject of a token (RFC 8693 §4.1).
#[derive(Clone, Debug)]
pub(in crate::oauth) struct Delegation {
    /// The `act` claim.
    pub(in crate::oauth) act: Value,
    /// When the subject token ends: the new one ends no later.
    pub(in crate::oauth) until: Timestamp,
}

/// Reads the parameters.
pub(in crate::oauth) fn parse(parameters: &Parameters) -> Result<Request<'_>, Refusal> {
    let subject_token = parameters.get("subject_token").ok_or(Refusal::SubjectTokenMissing)?;
    if !matches!(parameters.get("subject_token_type"), Some(ACCESS_TOKEN | JWT)) {
        return Err(Refusal::SubjectTokenTypeUnsupported);
    }
    if parameters.get("actor_token").is_some() || parameters.get("actor_token_type").is_some() {
        return Err(Refusal::ActorTokenUnsupported);
    }
    if !matches!(parameters.get("requested_token_type"), None | Some(ACCESS_TOKEN | JWT)) {
        return Err(Refusal::RequestedTokenTypeUnsupported);
    }
    Ok(Request { subject_token, parameters })
}

impl Request<'_> {
    /// Judges the subject token and the target, then spends the proof.
    pub(in crate::oauth) async fn redeem(
        self,
        exchange: &Exchange<'_>,
        server: &AuthorizationServer,
    ) -> Result<Authorization, Error> {
        AuthorizationServer::refuse_details(self.parameters)?;
        let policy = exchange.client.exchange.as_ref().filter(|_| !exchange.client.is_public());
        let policy = policy.ok_or(Refusal::GrantTypeNotAllowed)?;
        let token = server.verify_own_token(self.subject_token, &policy.from, exchange.now).await?;
        let token = token.map_err(|fault| match fault {
            TokenFault::AudienceWrong => Refusal::SubjectTokenForOthers,
            _ => Refusal::SubjectTokenInvalid,
        })?;
        let origin = server.origin(&token).await?;
        if !server.is_good(&token, &origin).await? {
            return Err(Refusal::SubjectTokenInvalid.into());
        }
        let resource = self.target(policy)?;
        let allowed: Scopes =
            token.scopes().iter().filter(|scope| exchange.client.scopes.contains(scope)).cloned().collect();
        let scopes = server.narrowed(self.parameters.get("scope"), &allowed, exchange.client)?;
        let delegation = delegation(&token, exchange)?;

        server.spend(exchange).await?;
        Ok(Authorization {
            client_id: exchange.client.id.clone(),
            subject: origin.subject(&token).clone(),
            scopes,
            resource,
            details: AuthorizationDetails::default(), // they do not travel on
            auth_time: token.claims().get("auth_time").and_then(Value::as_i64).map(Timestamp::from_seconds),
            acr: token.claims().get("acr").and_then(Value::as_str).and_then(|acr| acr.parse().ok()),
            binding: exchange.binding(),
            nonce: None,
            told: Members::new(),
            session: None,
            refresh_token: None, // RFC 8693 §2.2.1: typically not issued; the next call brings another subject token
            grant: GrantHandle::of(&token),
            delegation: Some(delegation),
            outcome: "exchanged",
        })
    }

    /// What the new token is for: one resource that the client may call, by `resource` or `audience` (RFC 8693 §2.1).
    fn target(&self, policy: &ExchangePolicy) -> Result<Audience, Refusal> {
        let mut named = self.parameters.all("resource").chain(self.parameters.all("audience"));
        let one = match (named.next(), policy.to.as_slice()) {
            (Some(one), _) => policy.to.iter().find(|audience| audience.as_str() == one),
            (None, [only]) => Some(only),
            (None, [] | [_, _, ..]) => None,
        };
        let one = one.ok_or(Refusal::ResourceUnknown)?;
        if named.all(|other| other == one.as_str()) { Ok(one.clone()) } else { Err(Refusal::ResourceUnknown) }
    }
}

/// The client, in front of those who acted before it.
fn delegation(token: &VerifiedToken, exchange: &Exchange<'_>) -> Result<Delegation, Refusal> {
    let earlier = token.claims().get("act");
    let mut actors = 1;
    let mut next = earlier;
    while let Some(actor) = next {
        actors += 1;
        next = actor.get("act");
    }
    if actors > ACTORS {
        return Err(Refusal::SubjectTokenInvalid);
    }
    let mut act = json!({ "sub": exchange.client.id.as_str() });
    if let Some(earlier) = earlier {
        act["act"] = earlier.clone();
    }
    Ok(Delegation { act, until: token.expires() })
}
