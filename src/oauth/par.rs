//! The pushed authorization request endpoint (RFC 9126 §2), in this order:
//!
//! 1. limits, content type, repeated parameters (the door and [`Parameters`](super::Parameters));
//! 2. the proof, if there is one, without a memory;
//! 3. client authentication, which spends an assertion;
//! 4. no `request_uri`; the request object, if there is one (RFC 9101);
//! 5. everything that the authorization endpoint asks of a request (`authorize.rs`, steps 3 to 8);
//! 6. the key (RFC 9449 §10.1);
//! 7. how often this client has pushed from this address;
//! 8. the proof's `jti`;
//! 9. the record.
//!
//! What is recorded is a form of what was judged, so the authorization endpoint judges it once more when a browser comes:
//! an operator may have changed what the client may ask for meanwhile.
//!
//! Invariant: a `request_uri` opens the pages as often as its browser loads them, and is answered once: with a code, or
//! with an error.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::authorize::Way;
use super::client::Client;
use super::client_authentication::{self, AuthenticatedClient};
use super::clients::Asker;
use super::grant::Exchange;
use super::metadata::PUSHED_AUTHORIZATION_REQUEST;
use super::token::Occasion;
use super::{AuthorizationServer, Error, Refusal, TokenRequest};
use crate::clock::Timestamp;
use crate::dpop::{NonceText, VerifiedProof};
use crate::ident::ClientId;
use crate::jose::Thumbprint;
use crate::secret::RequestUri;
use crate::store::{Pushed, PushedRequest, TransactionId};
use crate::throttle::{Bucket, Counted, Limit, network};

/// For one public client from one address. Anybody can push in its name: what a person starts by hand.
const PUBLIC: Limit = Limit { burst: 60, interval: Duration::from_secs(1) };

/// For one confidential client from one address: what all the people at a large site start.
const CONFIDENTIAL: Limit = Limit { burst: 2_000, interval: Duration::from_millis(5) };

/// The most that is recorded of one request, in bytes, encoded as a form.
const RECORD_LIMIT: usize = 16 * 1024;

/// The body of a successful answer (RFC 9126 §2.2).
#[derive(Serialize)]
pub struct PushedResponse {
    request_uri: String,
    expires_in: u64,
}

/// The answer, and the nonce to send along (RFC 9449 §8, §8.2).
pub struct PushAnswer {
    /// What the client gets.
    pub result: Result<PushedResponse, Error>,
    /// `DPoP-Nonce`.
    pub nonce: Option<NonceText>,
    /// The client, once it is authenticated; for the event.
    pub client: Option<ClientId>,
}

impl AuthorizationServer {
    /// Answers a pushed authorization request.
    pub async fn push(&self, request: TokenRequest<'_>, now: Timestamp) -> PushAnswer {
        let proof = self.verify_proof(
            request.proofs,
            &Occasion::post(&self.pushed_request_endpoint(), PUSHED_AUTHORIZATION_REQUEST),
            now,
        );
        let offered = self.offer_nonce(proof.as_ref().ok().and_then(Option::as_ref), now);
        let mut client = None;
        let result = match proof {
            Ok(proof) => self.take_push(&request, proof.as_ref(), now, &mut client).await,
            Err(refusal) => Err(refusal.into()),
        };
        let nonce = self.demanded_nonce(&result, now).or(offered);
        PushAnswer { result, nonce, client }
    }

    async fn take_push(
        &self,
        request: &TokenRequest<'_>,
        proof: Option<&VerifiedProof>,
        now: Timestamp,
        authenticated: &mut Option<ClientId>,
    ) -> Result<PushedResponse, Error> {
        let client = self.authenticate(request.credentials(), now).await?;
        *authenticated = Some(client.id.clone());
        let parameters = self.judge_push(request, &client, proof, now).await?;
        if let Counted::TooMany { retry_after } = self.tally.pushes.count(&[bucket(&client, request.address)], now)? {
            return Err(Error::Throttled { retry_after });
        }
        self.spend(&Exchange { client: &client, proof, certificate: request.certificate, now }).await?;
        let (request_uri, lifetime) = (RequestUri::draw(&*self.entropy), self.settings.lifetimes.pushed_request);
        let record = PushedRequest {
            digest: request_uri.digest(),
            transaction: TransactionId(self.entropy.draw()),
            client_id: client.id.clone(),
            parameters,
            expires_at: now + lifetime,
            spent: false,
        };
        match self.store.push_request(&record, now).await? {
            Pushed::First => Ok(PushedResponse { request_uri: request_uri.reveal(), expires_in: lifetime.as_secs() }),
            Pushed::TooMany => Err(Error::Throttled { retry_after: lifetime }), // RFC 9126 §2.3
        }
    }

    /// Judges a request as the authorization endpoint would, and gives the form to record.
    async fn judge_push(
        &self,
        &TokenRequest { parameters: sent, address, .. }: &TokenRequest<'_>,
        client: &AuthenticatedClient,
        proof: Option<&VerifiedProof>,
        now: Timestamp,
    ) -> Result<String, Error> {
        if sent.get("request_uri").is_some() {
            return Err(Refusal::RequestUriPushed.into()); // RFC 9126 §2.1
        }
        let (mut parameters, way) = match sent.get("request") {
            Some(object) => (self.open_request_object(object, client, now).await?, Way::Signed),
            None => (sent.clone(), Way::Plain),
        };
        client.check_signed(way)?;
        for name in client_authentication::CREDENTIALS {
            parameters.remove(name);
        }
        let destination = self.destination(&parameters, &[], Asker::at(address, now)).await?;
        if parameters.get("redirect_uri").is_none() && client.profile.is_fapi() {
            return Err(Refusal::RedirectUriMissing.into());
        }
        self.judge(&parameters, &[], &destination, now)?;
        if let Some(key) = bound_key(parameters.get("dpop_jkt"), proof)? {
            parameters.set("dpop_jkt", key.to_string());
        }
        let form = parameters.to_form();
        if form.len() <= RECORD_LIMIT { Ok(form) } else { Err(Refusal::FormTooLarge.into()) }
    }
}

/// The key that a request binds its code to. A proof and `dpop_jkt` must agree (RFC 9449 §10.1).
pub(super) fn bound_key(dpop_jkt: Option<&str>, proof: Option<&VerifiedProof>) -> Result<Option<Thumbprint>, Refusal> {
    let named: Option<Thumbprint> = dpop_jkt.map(str::parse).transpose().map_err(|_| Refusal::JktMalformed)?;
    match (named, proof.map(VerifiedProof::key)) {
        (Some(named), Some(proven)) if named != proven => Err(Refusal::JktMismatch),
        (named, proven) => Ok(named.or(proven)),
    }
}

fn bucket(client: &Client, address: IpAddr) -> Bucket {
    let limit = if client.is_public() { PUBLIC } else { CONFIDENTIAL };
    Bucket::of(&[client.id.as_str().as_bytes(), &network(address)], limit)
}
