//! The introspection endpoint (RFC 7662), with signed answers for who wants them (RFC 9701), in this order:
//!
//! 1. limits, content type, repeated parameters (the door and [`Parameters`](super::Parameters)), and that there is a token;
//! 2. client authentication, which spends an assertion; public clients are turned away (§2.1);
//! 3. the token: signature, time, whether it or its grant was revoked, whether who it speaks for is still there;
//! 4. whether this client may know.
//!
//! | the token is | and the client is | it may know |
//! |---|---|---|
//! | an access token | whom it was issued to | yes |
//! | an access token | the server of the resource that it is for (`introspects`) | yes |
//! | a refresh token | whom it was issued to, and no resource server, which could take it for an access token | yes |
//! | any | any other | no |
//!
//! Whether the client may know is asked last, so that what is none of its business takes as long as what was revoked.
//!
//! Invariant: nothing is written, and whatever is not active, or not for this client to know, is answered with exactly
//! `{"active":false}` (§2.2).

use serde_json::{Map, Value, json};

use super::client_authentication::AuthenticatedClient;
use super::grant::refresh_token;
use super::{AuthorizationServer, Error, Refusal, TokenRequest};
use crate::clock::Timestamp;
use crate::ident::ClientId;
use crate::secret::RefreshToken;
use crate::store::{GrantHandle, Unavailable};
use crate::token::VerifiedToken;

/// The `typ` of a signed answer (RFC 9701 §5).
const SIGNED_TYPE: &str = "token-introspection+jwt";

/// The claims of an access token that are told (RFC 7662 §2.2; RFC 8693 §4.1; RFC 9449 §6.2; RFC 9470 §6.2).
const TOLD: [&str; 14] = [
    "iss",
    "sub",
    "aud",
    "client_id",
    "scope",
    "authorization_details", // RFC 9396 §9.2
    "iat",
    "nbf",
    "exp",
    "jti",
    "auth_time",
    "acr",
    "act",
    "cnf",
];

/// The form in which an answer is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnswerForm {
    /// JSON (RFC 7662 §2.2).
    Json,
    /// A signed JWT (RFC 9701 §4).
    SignedJwt,
}

/// What a client is told about a token.
pub enum Introspection {
    /// The document.
    Json(Value),
    /// The document, signed for the client.
    SignedJwt(String),
}

/// The answer, and who asked.
pub struct IntrospectionAnswer {
    /// What the client is told.
    pub result: Result<Introspection, Error>,
    /// The client, once it is authenticated; for the event.
    pub client: Option<ClientId>,
}

impl AuthorizationServer {
    /// Answers an introspection request.
    pub async fn introspect(&self, request: TokenRequest<'_>, form: AnswerForm, now: Timestamp) -> IntrospectionAnswer {
        let mut client = None;
        let result = self.introspect_for(&request, form, now, &mut client).await;
        IntrospectionAnswer { result, client }
    }

    async fn introspect_for(
        &self,
        request: &TokenRequest<'_>,
        form: AnswerForm,
        now: Timestamp,
        authenticated: &mut Option<ClientId>,
    ) -> Result<Introspection, Error> {
        let token = request.parameters.get("token").ok_or(Refusal::TokenMissing)?;
        let client = self.authenticate(request.credentials(), now).await.map_err(|error| match (error, form) {
            (Error::Refused(Refusal::ClientMissing), AnswerForm::SignedJwt) => {
                Refusal::IntrospectionCallerMissing.into()
            }
            (error, _) => error,
        })?;
        *authenticated = Some(client.id.clone());
        if client.is_public() {
            return Err(Refusal::IntrospectionByPublicClient.into());
        }
        let told = match token.parse() {
            Ok(token) => self.refresh_token_for(&token, &client, now).await?,
            Err(_) => self.access_token_for(token, &client, now).await?,
        };
        let document = told.map_or_else(|| json!({ "active": false }), Value::Object);
        match form {
            AnswerForm::Json => Ok(Introspection::Json(document)),
            AnswerForm::SignedJwt => {
                let claims = json!({
                    "iss": self.settings.issuer.as_str(),
                    "aud": client.id.as_str(),
                    "iat": now.seconds(),
                    "token_introspection": document,
                });
                Ok(Introspection::SignedJwt(self.keys.signer(now)?.sign(SIGNED_TYPE, &claims)))
            }
        }
    }

    /// What an access token says, if it is good and this client may know.
    async fn access_token_for(
        &self,
        text: &str,
        client: &AuthenticatedClient,
        now: Timestamp,
    ) -> Result<Option<Map<String, Value>>, Unavailable> {
        let Ok(token) = self.verify_own_token(text, &self.settings.resources, now).await? else { return Ok(None) };
        let is_good = self.is_good(&token, &self.origin(&token).await?).await? && now < token.expires();
        Ok((is_good && may_know(client, &token)).then(|| about_access_token(&token)))
    }

    /// What there is to say about a refresh token, if it is good and this client may know.
    async fn refresh_token_for(
        &self,
        token: &RefreshToken,
        client: &AuthenticatedClient,
        now: Timestamp,
    ) -> Result<Option<Map<String, Value>>, Unavailable> {
        let Some(grant) = self.store.grant(GrantHandle(token.handle())).await? else { return Ok(None) };
        let is_good = refresh_token::would_refresh(&grant, token) && grant.is_live(now);
        let has_subject = self.check_person(&grant.subject).await?.is_some();
        let may_know = grant.client_id == client.id && client.introspects.is_empty();
        if !(is_good && has_subject && may_know) {
            return Ok(None);
        }
        let about = json!({
            "active": true,
            "iss": self.settings.issuer.as_str(),
            "sub": self.subject_at(client, &grant.subject).as_str(),
            "client_id": grant.client_id.as_str(),
            "scope": grant.scopes.to_string(),
            "iat": grant.created_at.seconds(),
            "exp": grant.expires_at.min(grant.idle_expires_at).seconds(),
        });
        Ok(about.as_object().cloned())
    }
}

fn may_know(client: &AuthenticatedClient, token: &VerifiedToken) -> bool {
    let audience = token.claims().get("aud").and_then(Value::as_str);
    *token.client_id() == client.id || client.introspects.iter().any(|resource| audience == Some(resource.as_str()))
}

fn about_access_token(token: &VerifiedToken) -> Map<String, Value> {
    let token_type = if token.key().is_some() { "DPoP" } else { "Bearer" }; // RFC 9449 §6.2
    let mut about = Map::new();
    about.insert("active".to_owned(), true.into());
    about.insert("token_type".to_owned(), token_type.into());
    about.extend(TOLD.into_iter().filter_map(|name| Some((name.to_owned(), token.claims().get(name)?.clone()))));
    about
}
