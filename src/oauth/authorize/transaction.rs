//! A validated authorization request on its way through the pages.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::destination::Destination;
use super::request::{AuthorizationRequest, Prompt};
use super::response::ResponseMode;
use super::submission::Way;
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::ident::Acr;
use crate::oauth::clients::Asker;
use crate::oauth::pkce::CodeChallenge;
use crate::oauth::{AuthorizationServer, Client, Error, Parameters, Refusal};
use crate::secret::rotation::KeysNow;
use crate::secret::{BrowserToken, Digest, SessionKind, base64url, from_base64url};
use crate::store::TransactionId;
use crate::token::AuthorizationDetails;

/// A validated authorization request that waits for a person.
///
/// It is not stored but travels in a hidden field, sealed under a key of ours and for one browser: what comes back
/// unsealed is what was sealed.
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    pub(super) destination: Destination,
    pub(super) request: AuthorizationRequest,
    /// Whether a pushed request began it, which is answered with it.
    pub(super) is_pushed: bool,
    pub(super) begun_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// The session of the person to whom the consent page is shown.
    pub(super) session: Option<Digest<SessionKind>>,
}

/// What is sealed, in JSON. `state` is encoded once more, since JSON would make six bytes of one.
#[derive(Deserialize, Serialize)]
pub(super) struct Sealed {
    id: [u8; 16],
    client_id: String,
    redirect_uri: String,
    state: Option<String>,
    response_mode: String,
    is_pushed: bool,
    challenge: Option<[u8; 32]>,
    dpop_jkt: Option<String>,
    /// Encoded like `state`.
    nonce: Option<String>,
    scope: String,
    resource: String,
    /// Encoded like `state`, if there are any.
    details: Option<String>,
    sign_in: SealedSignIn,
    claims: String,
    wanted_subject: Option<String>,
    begun_at: i64,
    expires_at: i64,
    session: Option<[u8; 32]>,
}

/// What is asked of a sign-in.
#[derive(Deserialize, Serialize)]
struct SealedSignIn {
    /// Whether one is asked for, whoever is signed in.
    asks: bool,
    /// In seconds.
    max_age: Option<u64>,
    dated: bool,
    acr_values: Vec<String>,
    acr_essential: bool,
}

impl SealedSignIn {
    fn of(request: &AuthorizationRequest) -> Self {
        Self {
            asks: request.prompt == Prompt::SignIn,
            max_age: request.max_age.map(|age| age.as_secs()),
            dated: request.dated,
            acr_values: request.acr_values.iter().map(ToString::to_string).collect(),
            acr_essential: request.acr_essential,
        }
    }

    fn acr_values(&self) -> Option<Vec<Acr>> {
        self.acr_values.iter().map(|acr| acr.parse().ok()).collect()
    }
}

impl Transaction {
    pub(super) fn begin(
        destination: Destination,
        (request, way): (AuthorizationRequest, Way),
        (begun_at, expires_at): (Timestamp, Timestamp),
        entropy: &dyn Entropy,
    ) -> Self {
        let id = way.pushed().unwrap_or_else(|| TransactionId(entropy.draw()));
        Self { id, destination, request, is_pushed: way.pushed().is_some(), begun_at, expires_at, session: None }
    }

    /// Seals the transaction; `context` is the browser that it is for.
    pub(super) fn seal(&self, key: &KeysNow, context: &[u8]) -> String {
        let json = serde_json::to_vec(&self.sealed()).expect("strings and numbers are plain JSON");
        base64url(&key.seal(context, &json))
    }

    /// What is to be sealed.
    pub(super) fn sealed(&self) -> Sealed {
        let Self { id, destination, request, is_pushed, begun_at, expires_at, session } = self;
        Sealed {
            id: id.0,
            client_id: destination.client.id.to_string(),
            redirect_uri: destination.redirect_uri.as_str().to_owned(),
            state: destination.state.as_ref().map(|state| base64url(state.as_bytes())),
            response_mode: destination.response_mode.name().to_owned(),
            is_pushed: *is_pushed,
            challenge: request.challenge.map(|challenge| *challenge.as_bytes()),
            dpop_jkt: request.dpop_jkt.map(|key| key.to_string()),
            nonce: request.nonce.as_ref().map(|nonce| base64url(nonce.as_bytes())),
            scope: request.scopes.to_string(),
            resource: request.resource.to_string(),
            details: Some(&request.details)
                .filter(|details| !details.is_empty())
                .map(|details| base64url(details.to_string().as_bytes())),
            sign_in: SealedSignIn::of(request),
            claims: request.claims.to_string(),
            wanted_subject: request.wanted_subject.clone(),
            begun_at: begun_at.millis(),
            expires_at: expires_at.millis(),
            session: session.map(|session| *session.as_bytes()),
        }
    }
}

impl AuthorizationServer {
    /// Opens the transaction in a form, if it is one of this browser and its time is not over.
    ///
    /// The client, its redirect URI, scopes and the resource are looked up again: an operator may have changed them meanwhile.
    pub(super) async fn transaction(
        &self,
        form: &Parameters,
        (browser, address): (&BrowserToken, IpAddr),
        now: Timestamp,
    ) -> Result<Transaction, Error> {
        let (key, context) = (self.forms.transactions().at(now), browser.digest());
        let text = form.get("transaction").ok_or(Refusal::TransactionUnknown)?;
        self.open_transaction(text, (&key, context.as_bytes()), Asker::at(address, now)).await
    }

    /// Opens a transaction that was sealed under a key, and with a context.
    pub(super) async fn open_transaction(
        &self,
        text: &str,
        (key, context): (&KeysNow, &[u8]),
        asker: Asker,
    ) -> Result<Transaction, Error> {
        let json = from_base64url(text).and_then(|bytes| key.open(context, &bytes).ok());
        let sealed = json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or(Refusal::TransactionUnknown)?;
        self.resume(&sealed, asker).await
    }

    /// Goes on with a transaction that was sealed, if its time is not over.
    pub(super) async fn resume(&self, sealed: &Sealed, asker: Asker) -> Result<Transaction, Error> {
        if asker.now >= Timestamp::from_millis(sealed.expires_at) {
            return Err(Refusal::TransactionUnknown.into());
        }
        let client = self.client_here(&sealed.client_id, asker).await?;
        let transaction = client.and_then(|client| self.unsealed(sealed, &client));
        Ok(transaction.ok_or(Refusal::TransactionUnknown)?)
    }

    fn unsealed(&self, sealed: &Sealed, client: &Arc<Client>) -> Option<Transaction> {
        let text = |encoded: &str| String::from_utf8(from_base64url(encoded)?).ok();
        let state = match &sealed.state {
            Some(state) => Some(text(state)?),
            None => None,
        };
        let nonce = match &sealed.nonce {
            Some(nonce) => Some(text(nonce)?),
            None => None,
        };
        let details = match &sealed.details {
            Some(details) => text(details)?.parse().ok()?,
            None => AuthorizationDetails::default(),
        };
        let redirect_uri = sealed.redirect_uri.parse().ok()?;
        let response_mode = ResponseMode::named(&sealed.response_mode)?;
        let request = AuthorizationRequest {
            challenge: sealed.challenge.map(CodeChallenge::from_bytes),
            dpop_jkt: sealed.dpop_jkt.as_ref().map(|key| key.parse()).transpose().ok()?,
            nonce,
            scopes: sealed.scope.parse().ok()?,
            resource: sealed.resource.parse().ok()?,
            details,
            prompt: if sealed.sign_in.asks { Prompt::SignIn } else { Prompt::AsNeeded },
            max_age: sealed.sign_in.max_age.map(Duration::from_secs),
            dated: sealed.sign_in.dated,
            acr_values: sealed.sign_in.acr_values()?,
            acr_essential: sealed.sign_in.acr_essential,
            claims: sealed.claims.parse().ok()?,
            wanted_subject: sealed.wanted_subject.clone(),
        };
        let allowed = client.may_redirect_to(&redirect_uri)
            && request.scopes.is_within(&client.scopes)
            && request.resource.iter().all(|one| self.settings.resources.contains(&one));
        allowed.then(|| Transaction {
            id: TransactionId(sealed.id),
            destination: Destination { client: Arc::clone(client), redirect_uri, state, response_mode },
            request,
            is_pushed: sealed.is_pushed,
            begun_at: Timestamp::from_millis(sealed.begun_at),
            expires_at: Timestamp::from_millis(sealed.expires_at),
            session: sealed.session.map(Digest::from_bytes),
        })
    }
}
