//! What a person has consented to in a session, for requests that must not ask (OpenID Connect Core §3.1.2.1 `prompt=none`).
//!
//! Invariant: it counts for a client that authenticates, since anybody can pretend to be another one (RFC 8252 §8.6); for the
//! same person in the same session; and for no more than was approved last.

use super::destination::Destination;
use super::request::AuthorizationRequest;
use super::session::SignedIn;
use super::transaction::Transaction;
use super::{AuthorizationServer, Client, Error};
use crate::clock::Timestamp;
use crate::oauth::standard_claims;
use crate::scope::Scopes;
use crate::store::SessionClient;

impl AuthorizationServer {
    /// Whether whoever is signed in has approved all that a request asks for.
    pub(super) async fn has_consented(
        &self,
        by: &SignedIn,
        destination: &Destination,
        request: &AuthorizationRequest,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(session) = by.id.filter(|_| !destination.client.is_public()) else { return Ok(false) };
        let noted = self.store.session_client(session, &destination.client.id, now).await?;
        Ok(noted.is_some_and(|noted| noted.subject == by.person.subject && noted.covers(request)))
    }

    /// Notes what somebody approves, before there is a code for it.
    pub(super) async fn note_consent(
        &self,
        transaction: &Transaction,
        by: &SignedIn,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (destination, request) = (&transaction.destination, &transaction.request);
        let Some(session) = by.id.filter(|_| is_worth_noting(&destination.client)) else { return Ok(()) };
        if self.has_consented(by, destination, request, now).await? {
            return Ok(());
        }
        let client = SessionClient {
            session,
            client_id: destination.client.id.clone(),
            subject: by.person.subject.clone(),
            scopes: request.scopes.clone(),
            resource: request.resource.clone(),
            details: request.details.clone(),
            claims: request.claims.clone(),
            expires_at: now + self.settings.lifetimes.session,
        };
        Ok(self.store.join_session(&client).await?)
    }
}

/// Whether what is noted of a client is ever read.
fn is_worth_noting(client: &Client) -> bool {
    !client.is_public() || client.openid.backchannel_logout.is_some()
}

impl SessionClient {
    fn covers(&self, request: &AuthorizationRequest) -> bool {
        request.scopes.is_within(&self.scopes)
            && request.resource.is_within(&self.resource)
            && request.details.is_within(&self.details)
            && request.claims.is_within(&self.claims)
    }
}

impl AuthorizationRequest {
    /// The scopes that a person is shown: those that are asked for, and those that cover claims that are.
    pub(super) fn scopes_shown(&self) -> Scopes {
        let by_claims = self.claims.names().filter_map(standard_claims::scope_of);
        let by_claims: Scopes = by_claims.filter_map(|scope| scope.parse().ok()).collect();
        self.scopes.iter().chain(by_claims.iter()).cloned().collect()
    }
}
