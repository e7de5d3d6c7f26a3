//! The token request (RFC 6749 §3.2) with a proof (RFC 9449 §5).

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    ClientError, Credential, Identity, Reply, ServerMetadata, Talk, Target, Transport, now, prove, random, short,
};
use crate::clock::Timestamp;
use crate::jose::SigningKey;

/// How long a client assertion is good.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(1);

/// What a token response is taken to last when it does not say.
const UNSAID_LIFETIME: Duration = Duration::from_mins(1);

/// Whether a token needs its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) enum Binding {
    /// `token_type` DPoP.
    Dpop,
    /// `token_type` Bearer: whoever has it may use it.
    Bearer,
}

impl Binding {
    /// The scheme of the `Authorization` header.
    pub(in crate::cli) const fn scheme(self) -> &'static str {
        match self {
            Self::Dpop => "DPoP",
            Self::Bearer => "Bearer",
        }
    }
}

/// A token that was issued.
pub(in crate::cli) struct Token {
    /// The access token.
    pub(in crate::cli) access: SecretString,
    /// Whether it needs its key.
    pub(in crate::cli) binding: Binding,
    /// When it ends.
    pub(in crate::cli) expires: Timestamp,
    /// The refresh token, if there is one.
    pub(in crate::cli) refresh: Option<SecretString>,
}

/// What a token is asked for with.
pub(in crate::cli) enum TokenGrant<'a> {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §4.1.3 with RFC 7636 §4.5.
    AuthorizationCode {
        /// The code.
        code: &'a str,
        /// Where it came to.
        redirect_uri: &'a str,
        /// The verifier.
        verifier: &'a str,
    },
    /// RFC 6749 §6.
    RefreshToken(&'a SecretString),
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: SecretString,
    token_type: String,
    expires_in: Option<u64>,
    refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct ErrorResponse {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// A client at the token endpoint of a server.
pub(in crate::cli) struct TokenClient<'a> {
    /// How requests are sent.
    pub(in crate::cli) transport: &'a Transport,
    /// The server.
    pub(in crate::cli) server: &'a ServerMetadata,
    /// The client.
    pub(in crate::cli) identity: &'a Identity,
    /// `scope`, if any is asked for.
    pub(in crate::cli) scope: Option<&'a str>,
    /// `resource`, if one is named.
    pub(in crate::cli) resource: Option<&'a str>,
    /// Who tells what happens.
    pub(in crate::cli) talk: Talk,
}

impl TokenClient<'_> {
    /// Asks for a token bound to `key`; a second time if the server wants a nonce (RFC 9449 §8).
    pub(in crate::cli) async fn token(&self, grant: &TokenGrant<'_>, key: &SigningKey) -> Result<Token, ClientError> {
        let first = self.ask(grant, key, None).await?;
        let (reply, retried) = match (wants_nonce(&first), first.nonce()) {
            (true, Some(nonce)) => (self.ask(grant, key, Some(&nonce)).await?, " (after use_dpop_nonce)"),
            (true, None) | (false, Some(_) | None) => (first, ""),
        };
        let request = format!("POST {}", self.server.token_endpoint.path());
        if !reply.status.is_success() {
            let error = self.refusal(&reply);
            self.talk.sent("token", &request, &format!("{}{retried}", reply.status.as_u16()));
            return Err(error);
        }
        let token = self.read(&reply)?;
        let life = token.expires.since(now()).as_secs();
        let key = if token.binding == Binding::Dpop {
            format!(", key {}", short(key.public().thumbprint()))
        } else {
            String::new()
        };
        let outcome = format!("{} {}, {life} s{key}{retried}", reply.status.as_u16(), token.binding.scheme());
        self.talk.sent("token", &request, &outcome);
        Ok(token)
    }

    /// Sends one token request with a new proof and, if the client has a key, a new assertion.
    pub(in crate::cli) async fn ask(
        &self,
        grant: &TokenGrant<'_>,
        key: &SigningKey,
        nonce: Option<&str>,
    ) -> Result<Reply, ClientError> {
        let url = &self.server.token_endpoint;
        let proof = prove(key, &Target { method: &Method::POST, url, token: None, nonce });
        let request = self.transport.request(Method::POST, url).header("dpop", proof);
        Transport::fetch(self.fill(request, grant), url).await
    }

    fn fill(&self, mut request: RequestBuilder, grant: &TokenGrant<'_>) -> RequestBuilder {
        let mut form: Vec<(&str, &str)> = match grant {
            TokenGrant::ClientCredentials => vec![("grant_type", "client_credentials")],
            TokenGrant::AuthorizationCode { code, redirect_uri, verifier } => vec![
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", redirect_uri),
                ("code_verifier", verifier),
            ],
            TokenGrant::RefreshToken(token) => {
                vec![("grant_type", "refresh_token"), ("refresh_token", token.expose_secret())]
            }
        };
        // The scope of a code was asked for in the authorization request.
        if let (TokenGrant::ClientCredentials, Some(scope)) = (grant, self.scope) {
            form.push(("scope", scope));
        }
        form.extend(self.resource.map(|resource| ("resource", resource)));
        let client_id = self.identity.client_id.as_str();
        let assertion;
        match &self.identity.credential {
            Credential::None => form.push(("client_id", client_id)),
            Credential::Secret(secret) if self.takes("client_secret_basic") => {
                request = request.basic_auth(form_encode(client_id), Some(form_encode(secret.expose_secret())));
            }
            Credential::Secret(secret) => {
                form.extend([("client_id", client_id), ("client_secret", secret.expose_secret())]);
            }
            Credential::Key(key) => {
                assertion = self.assertion(key);
                form.extend([
                    ("client_id", client_id),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", &assertion),
                ]);
            }
        }
        request.form(&form)
    }

    fn takes(&self, method: &str) -> bool {
        self.server.token_endpoint_auth_methods_supported.iter().any(|supported| supported == method)
    }

    /// RFC 7523 §3; `aud` is the issuer, as draft-ietf-oauth-rfc7523bis wants it.
    fn assertion(&self, key: &SigningKey) -> String {
        let (client_id, now) = (&self.identity.client_id, now());
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": self.server.issuer, "jti": random(),
            "iat": now.seconds(), "exp": (now + ASSERTION_LIFETIME).seconds(),
        });
        key.sign_with(&json!({ "typ": "JWT", "alg": key.algorithm().name() }), &claims)
    }

    /// Reads a token response.
    pub(in crate::cli) fn read(&self, reply: &Reply) -> Result<Token, ClientError> {
        let wrong = |what| ClientError::Answer(self.server.token_endpoint.to_string(), what);
        let response: TokenResponse =
            serde_json::from_slice(&reply.body).map_err(|_| wrong("not a token response of RFC 6749"))?;
        let binding = match response.token_type.to_ascii_lowercase().as_str() {
            "dpop" => Binding::Dpop,
            "bearer" => Binding::Bearer,
            _ => return Err(wrong("a token type that this client does not know")),
        };
        let life = response.expires_in.map_or(UNSAID_LIFETIME, Duration::from_secs);
        Ok(Token { access: response.access_token, binding, expires: now() + life, refresh: response.refresh_token })
    }

    fn refusal(&self, reply: &Reply) -> ClientError {
        let endpoint = self.server.token_endpoint.to_string();
        match serde_json::from_slice::<ErrorResponse>(&reply.body) {
            Ok(ErrorResponse { error, error_description }) => {
                ClientError::Refused { endpoint, error, description: error_description }
            }
            Err(_) => ClientError::Answer(endpoint, "neither a token response nor an error of RFC 6749"),
        }
    }
}

/// RFC 9449 §8: the request is good but for its nonce.
fn wants_nonce(reply: &Reply) -> bool {
    let error = serde_json::from_slice::<ErrorResponse>(&reply.body).map(|response| response.error);
    reply.status.as_u16() == 400 && error.is_ok_and(|error| error == "use_dpop_nonce")
}

/// RFC 6749 §2.3.1: both halves of Basic credentials are form-encoded first.
fn form_encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The path of a URL as people are shown it.
pub(in crate::cli) fn shown(method: &Method, url: &Url) -> String {
    format!("{method} {}", url.path())
}
