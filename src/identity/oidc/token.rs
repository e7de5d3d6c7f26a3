//! The token request to a provider (OpenID Connect Core §3.1.3).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::metadata::Metadata;
use super::{OidcClient, OidcProvider, unreachable};
use crate::clock::Timestamp;
use crate::identity::{UpstreamAnswer, UpstreamError, UpstreamFault};
use crate::jose::{Json, SigningKey, object};
use crate::secret::base64url;
use crate::unavailable::Unavailable;

/// How long an assertion of ours is good.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(1);

/// `client_assertion_type` of a JWT (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The errors of RFC 6749 §5.2, which may stand in our log. What else a provider writes may not.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// What a code turned into.
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: String,
}

/// What a client assertion says (RFC 7523 §3). Its audience is the issuer alone: were it the endpoint that a document
/// names, a provider could have us sign in somewhere in its name.
#[derive(Serialize)]
struct AssertionClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: i64,
    exp: i64,
}

impl OidcProvider {
    /// Redeems a code (OpenID Connect Core §3.1.3.1).
    pub(super) async fn redeem(
        &self,
        metadata: &Metadata,
        code: &str,
        answer: &UpstreamAnswer<'_>,
        now: Timestamp,
    ) -> Result<Tokens, UpstreamError> {
        let client_id = self.settings.client_id.as_str();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", answer.redirect_uri),
            ("code_verifier", answer.verifier),
        ];
        let (assertion, mut authorization) = (self.assertion(now), None);
        match &self.settings.client {
            OidcClient::None | OidcClient::Key(_) => form.push(("client_id", client_id)),
            OidcClient::Basic(secret) => authorization = Some(basic(client_id, secret.expose_secret())),
            OidcClient::Post(secret) => {
                form.extend([("client_id", client_id), ("client_secret", secret.expose_secret())]);
            }
        }
        if let Some(assertion) = &assertion {
            form.extend([("client_assertion_type", JWT_BEARER), ("client_assertion", assertion.as_str())]);
        }
        let endpoint = &metadata.token_endpoint;
        let fetched = self.fetcher.post(endpoint, &form, authorization.as_deref()).await;
        let fetched = fetched.map_err(|fault| unreachable(endpoint, fault))?;
        match fetched.status {
            200 => read(&fetched.body),
            status @ (500.. | 429) => {
                tracing::error!(status, "the token endpoint of the upstream provider does not work");
                Err(Unavailable::Down.into())
            }
            status => {
                let error = error(&fetched.body);
                tracing::warn!(status, error, "the upstream provider refused a code");
                Err(UpstreamFault::CodeRefused.into())
            }
        }
    }

    /// A client assertion, if this server has a key there.
    fn assertion(&self, now: Timestamp) -> Option<String> {
        let OidcClient::Key(key) = &self.settings.client else { return None };
        let client_id = self.settings.client_id.as_str();
        let claims = AssertionClaims {
            iss: client_id,
            sub: client_id,
            aud: self.settings.issuer.as_str(),
            jti: base64url(&self.entropy.draw::<16>()),
            iat: now.seconds(),
            exp: (now + ASSERTION_LIFETIME).seconds(),
        };
        Some(SigningKey::sign(key, "JWT", &claims))
    }
}

/// The header of `client_secret_basic`: both parts are form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret))))
}

/// Reads a token response (OpenID Connect Core §3.1.3.3).
fn read(body: &[u8]) -> Result<Tokens, UpstreamError> {
    let response = object(body).map_err(|_| UpstreamFault::TokenResponseMalformed)?;
    let text = |name: &str| response.get(name).and_then(Json::as_str).map(str::to_owned);
    let tokens = text("id_token").zip(text("access_token"));
    let (id_token, access_token) = tokens.ok_or(UpstreamFault::TokenResponseMalformed)?;
    Ok(Tokens { id_token, access_token })
}

/// The `error` of an answer, if it is one that documents define.
fn error(body: &[u8]) -> Option<&'static str> {
    let answer = object(body).ok()?;
    let error = answer.get("error")?.as_str()?;
    ERRORS.into_iter().find(|known| *known == error)
}
