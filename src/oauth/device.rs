//! The device authorization endpoint (RFC 8628 §3.1, §3.2), in this order:
//!
//! 1. limits, content type, repeated parameters (the door and [`Parameters`](super::Parameters));
//! 2. the proof, if there is one, without a memory;
//! 3. client authentication, which spends an assertion;
//! 4. whether the client may use the grant; scope, resource, key;
//! 5. how often this client has asked from this address;
//! 6. the proof's `jti`;
//! 7. the record.
//!
//! Choice: a proof at this endpoint, or `dpop_jkt`, binds the device code to a key, as both do for authorization codes (RFC
//! 9449 §10, §10.1). RFC 9449 does not speak of this endpoint; without either the key of the poll that gets the tokens
//! counts.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::client::{Client, GrantType};
use super::grant::Exchange;
use super::metadata::ACTIVATE;
use super::par::bound_key;
use super::token::Occasion;
use super::{AuthorizationServer, Error, Refusal, TokenRequest};
use crate::clock::Timestamp;
use crate::dpop::{NonceText, VerifiedProof};
use crate::ident::ClientId;
use crate::secret::{DeviceCode, UserCode};
use crate::store::{Begun, DeviceRecord, Pace, Unavailable};
use crate::throttle::{Bucket, Counted, Limit, network};

/// The time between two polls to begin with (RFC 8628 §3.2 `interval`).
const INTERVAL: Duration = Duration::from_secs(5);

/// How often a user code is drawn before the store counts as full: with a few thousand of 20⁸ taken, the second draw
/// fails once in 10¹³ times.
const DRAWS: u32 = 4;

/// For one client from one address: many devices behind one router that all begin at once after a power cut.
const PER_CLIENT_AND_ADDRESS: Limit = Limit { burst: 100, interval: Duration::from_secs(3) };

/// For one address: what any number of clients there may do together, lest one address fill the store.
const PER_ADDRESS: Limit = Limit { burst: 200, interval: Duration::from_secs(3) };

/// The body of a successful answer (RFC 8628 §3.2). It holds codes and has no `Debug`.
#[derive(Serialize)]
pub struct DeviceAuthorizationResponse {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

/// The answer, and the nonce to send along (RFC 9449 §8, §8.2).
pub struct DeviceAnswer {
    /// What the device gets.
    pub result: Result<DeviceAuthorizationResponse, Error>,
    /// `DPoP-Nonce`.
    pub nonce: Option<NonceText>,
    /// The client, once it is authenticated; for the event.
    pub client: Option<ClientId>,
}

impl AuthorizationServer {
    /// Answers a device authorization request, which came from `address`.
    pub async fn authorize_device(&self, request: TokenRequest<'_>, address: IpAddr, now: Timestamp) -> DeviceAnswer {
        let proof = self.verify_proof(request.proofs, &Occasion::post(&self.device_authorization_endpoint()), now);
        let offered = self.offer_nonce(proof.as_ref().ok().and_then(Option::as_ref), now);
        let mut client = None;
        let result = match proof {
            Ok(proof) => self.begin_device(&request, proof.as_ref(), (address, now), &mut client).await,
            Err(refusal) => Err(refusal.into()),
        };
        let nonce = self.demanded_nonce(&result, now).or(offered);
        DeviceAnswer { result, nonce, client }
    }

    async fn begin_device(
        &self,
        request: &TokenRequest<'_>,
        proof: Option<&VerifiedProof>,
        (address, now): (IpAddr, Timestamp),
        authenticated: &mut Option<ClientId>,
    ) -> Result<DeviceAuthorizationResponse, Error> {
        let parameters = request.parameters;
        let client = self.authenticate(request.credentials(), now).await?;
        *authenticated = Some(client.id.clone());
        if !client.may_use(GrantType::DeviceCode) {
            return Err(Refusal::GrantTypeNotAllowed.into());
        }
        let scopes = self.requested_scopes(parameters, &client)?;
        let resource = self.resource(parameters)?;
        Self::refuse_details(parameters)?;
        let dpop_jkt = bound_key(parameters.get("dpop_jkt"), proof)?;
        if let Counted::TooMany { retry_after } = self.tally.device_requests.count(&buckets(&client, address), now)? {
            return Err(Error::Throttled { retry_after });
        }
        self.spend(&Exchange { client: &client, proof, certificate: request.certificate, now }).await?;
        let lifetime = self.settings.lifetimes.device_code;
        for _ in 0..DRAWS {
            let (code, user_code) = (DeviceCode::draw(&*self.entropy), UserCode::draw(&*self.entropy));
            let record = DeviceRecord {
                digest: code.digest(),
                user_code: user_code.digest(&self.user_codes),
                client_id: client.id.clone(),
                scopes: scopes.clone(),
                resource: resource.clone(),
                dpop_jkt,
                address,
                created_at: now,
                expires_at: now + lifetime,
                pace: Pace { interval: INTERVAL, next_poll: now },
                claimed_by: None,
                decision: None,
            };
            match self.store.record_device(&record).await? {
                Begun::First => return Ok(self.begun(&code, &user_code, lifetime)),
                Begun::UserCodeTaken => {}
            }
        }
        Err(Unavailable::Full.into())
    }

    /// RFC 8628 §3.2. The plain address holds no code, since people type it; §3.3.1 is for QR codes.
    fn begun(&self, code: &DeviceCode, user_code: &UserCode, lifetime: Duration) -> DeviceAuthorizationResponse {
        let verification_uri = self.settings.url(ACTIVATE);
        let user_code = user_code.shown();
        DeviceAuthorizationResponse {
            device_code: code.reveal(),
            verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
            verification_uri,
            user_code,
            expires_in: lifetime.as_secs(),
            interval: INTERVAL.as_secs(),
        }
    }
}

fn buckets(client: &Client, address: IpAddr) -> [Bucket; 2] {
    let network = network(address);
    [
        Bucket::of(&[b"client and address", client.id.as_str().as_bytes(), &network], PER_CLIENT_AND_ADDRESS),
        Bucket::of(&[b"address", &network], PER_ADDRESS),
    ]
}
