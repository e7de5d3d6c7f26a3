//! The token request (RFC 6749 §3.2) with a proof (RFC 9449 §5).

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    ClientError, Credential, Identity, Party, Reply, ServerMetadata, Talk, Target, Transport, legible, now, prove,
    random, short,
};
use crate::clock::Timestamp;
use crate::jose::SigningKey;

/// How long a client assertion is good.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(1);

/// What a token response is taken to last when it does not say.
const UNSAID_LIFETIME: Duration = Duration::from_mins(1);

/// `grant_type` of a device (RFC 8628 §3.4).
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

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
    /// RFC 8628 §3.4.
    DeviceCode(&'a SecretString),
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

impl<'a> TokenClient<'a> {
    /// A party at its server.
    pub(in crate::cli) fn new(
        party: &'a Party,
        server: &'a ServerMetadata,
        transport: &'a Transport,
        talk: Talk,
    ) -> Self {
        let (scope, resource) = (party.scope.as_deref(), party.resource.as_deref());
        Self { transport, server, identity: &party.identity, scope, resource, talk }
    }

    /// Asks for a token bound to `key`; a second time if the server wants a nonce (RFC 9449 §8).
    pub(in crate::cli) async fn token(&self, grant: &TokenGrant<'_>, key: &SigningKey) -> Result<Token, ClientError> {
        let first = self.ask(grant, key, None).await?;
        let (reply, retried) = match (wants_nonce(&first), first.nonce()) {
            (true, Some(nonce)) => (self.ask(grant, key, Some(&nonce)).await?, " (after use_dpop_nonce)"),
            (true, None) | (false, Some(_) | None) => (first, ""),
        };
        let request = format!("POST {}", self.server.token_endpoint.path());
        if !reply.status.is_success() {
            let error = refusal(&self.server.token_endpoint, &reply);
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
        Transport::fetch(self.authenticate(request, self.form(grant)), url).await
    }

    /// Sends a form to another endpoint of the server than that for tokens.
    pub(super) async fn post(&self, url: &Url, form: Vec<(&str, &str)>) -> Result<Reply, ClientError> {
        Transport::fetch(self.authenticate(self.transport.request(Method::POST, url), form), url).await
    }

    /// Tells the server that a token is of no more use (RFC 7009 §2.1): its refresh token, which takes the rest along, if
    /// there is one. `false` if the server has no endpoint for that.
    pub(in crate::cli) async fn revoke(&self, token: &Token) -> Result<bool, ClientError> {
        let Some(endpoint) = &self.server.revocation_endpoint else { return Ok(false) };
        let (token, hint) = match &token.refresh {
            Some(refresh) => (refresh, "refresh_token"),
            None => (&token.access, "access_token"),
        };
        let form = vec![("token", token.expose_secret()), ("token_type_hint", hint)];
        let reply = self.post(endpoint, form).await?;
        self.talk.sent("revoke", &shown(&Method::POST, endpoint), reply.status.as_str());
        if reply.status.is_success() { Ok(true) } else { Err(refusal(endpoint, &reply)) }
    }

    fn form<'f>(&'f self, grant: &TokenGrant<'f>) -> Vec<(&'f str, &'f str)> {
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
            TokenGrant::DeviceCode(code) => {
                vec![("grant_type", DEVICE_CODE), ("device_code", code.expose_secret())]
            }
        };
        // The scope of all others was asked for when they began.
        if let (TokenGrant::ClientCredentials, Some(scope)) = (grant, self.scope) {
            form.push(("scope", scope));
        }
        form.extend(self.resource.map(|resource| ("resource", resource)));
        form
    }

    /// Adds who the client is (RFC 6749 §2.3).
    fn authenticate(&self, mut request: RequestBuilder, form: Vec<(&str, &str)>) -> RequestBuilder {
        let client_id = self.identity.client_id.as_str();
        let assertion;
        let mut form = form; // a binding of its own, as short-lived as the assertion in it
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
        // RFC 6749 Appendix A.12: what a header cannot carry, and a terminal should not, is no token.
        let visible = |token: &SecretString| token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        if !visible(&response.access_token) || response.access_token.expose_secret().is_empty() {
            return Err(wrong("an access token that is none"));
        }
        let life = response.expires_in.map_or(UNSAID_LIFETIME, Duration::from_secs);
        Ok(Token { access: response.access_token, binding, expires: now() + life, refresh: response.refresh_token })
    }
}

/// Why an endpoint refused (RFC 6749 §5.2), in characters that a terminal shows as they are.
pub(super) fn refusal(url: &Url, reply: &Reply) -> ClientError {
    let endpoint = url.to_string();
    match serde_json::from_slice::<ErrorResponse>(&reply.body) {
        Ok(ErrorResponse { error, error_description }) => {
            ClientError::Refused { endpoint, error: legible(&error), description: legible(&error_description) }
        }
        Err(_) => ClientError::Answer(endpoint, "neither what was asked for nor an error of RFC 6749"),
    }
}

/// RFC 9449 §8: the request is good but for its nonce.
pub(super) fn wants_nonce(reply: &Reply) -> bool {
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
