//! A client: speaks HTTP, holds its own DPoP key, knows no internals of the server.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tollgate::clock::Timestamp;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{base64url, sha256};

use crate::openapi::check_answer;

/// A verifier of RFC 7636 §4.1, and its challenge.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The parameters of a request for a token of the client's own.
pub const CLIENT_CREDENTIALS: [(&str, &str); 1] = [("grant_type", "client_credentials")];

/// The parameters that redeem a code of [`World::code`](crate::world::World::code).
pub fn code_request(code: &str) -> [(&'static str, &str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "https://app.example/cb"),
        ("code_verifier", VERIFIER),
    ]
}

/// The path of the introspection endpoint.
pub const INTROSPECT: &str = "/oauth/introspect";

/// The path of the revocation endpoint.
pub const REVOKE: &str = "/oauth/revoke";

/// The path of the device authorization endpoint.
pub const DEVICE_AUTHORIZATION: &str = "/oauth/device_authorization";

/// The path of the pushed authorization request endpoint.
pub const PAR: &str = "/oauth/par";

/// The parameters of an authorization request that nothing is wrong with, but for `client_id`.
pub const AUTHORIZATION_REQUEST: [(&str, &str); 6] = [
    ("response_type", "code"),
    ("redirect_uri", "https://app.example/cb"),
    ("scope", "orders:read"),
    ("state", "s&t=a te"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

/// The parameters with which a device polls.
pub fn poll_request(device_code: &str) -> [(&'static str, &str); 2] {
    [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", device_code)]
}

/// The parameters that refresh.
pub fn refresh_request(token: &str) -> [(&'static str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token)]
}

/// How a client authenticates.
pub enum Credential {
    None,
    Basic(String),
    Post(String),
    Key(Box<SigningKey>),
}

pub struct Client {
    pub id: String,
    pub issuer: String,
    pub credential: Credential,
    pub key: SigningKey,
    pub http: reqwest::Client,
    counter: AtomicU64,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    pub fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    #[track_caller]
    pub fn expect(self, status: u16, error: &str) -> Self {
        assert_eq!((self.status, self.error()), (status, error), "{self:?}");
        self
    }

    #[track_caller]
    pub fn expect_tokens(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        self
    }
}

pub fn http() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

impl Client {
    pub fn new(issuer: &str, id: &str, credential: Credential) -> Self {
        Self {
            id: id.to_owned(),
            issuer: issuer.to_owned(),
            credential,
            key: SigningKey::generate(Algorithm::Es256).expect("a key"),
            http: http(),
            counter: AtomicU64::new(0),
        }
    }

    /// The same client with new connections: the server has restarted.
    pub fn reconnected(self) -> Self {
        Self { http: http(), ..self }
    }

    /// The same client with connections that it shares with others.
    pub fn connected_by(self, http: reqwest::Client) -> Self {
        Self { http, ..self }
    }

    /// The same client, with the same key, elsewhere.
    pub fn twin(&self, http: reqwest::Client) -> Self {
        let private = self.key.to_pkcs8().expect("PKCS #8");
        let key = SigningKey::from_pkcs8(self.key.algorithm(), &private).expect("the key");
        let credential = match &self.credential {
            Credential::None => Credential::None,
            Credential::Basic(secret) => Credential::Basic(secret.clone()),
            Credential::Post(secret) => Credential::Post(secret.clone()),
            Credential::Key(key) => {
                let private = key.to_pkcs8().expect("PKCS #8");
                Credential::Key(Box::new(SigningKey::from_pkcs8(key.algorithm(), &private).expect("the key")))
            }
        };
        let (id, issuer, counter) = (self.id.clone(), self.issuer.clone(), AtomicU64::new(1 << 32));
        Self { id, issuer, credential, key, http, counter }
    }

    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.issuer)
    }

    /// A name that was never used before.
    pub fn fresh(&self) -> String {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{}-{n}-{}", self.id, self.key.kid())
    }

    /// The claims of a proof for the token endpoint.
    pub fn proof_claims(&self, now: Timestamp) -> Value {
        json!({ "jti": self.fresh(), "htm": "POST", "htu": self.token_url(), "iat": now.seconds() })
    }

    pub fn proof_header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.key.algorithm().name(), "jwk": self.key.proof_jwk() })
    }

    pub fn sign_proof(&self, claims: &Value) -> String {
        self.key.sign_with(&self.proof_header(), claims)
    }

    /// A good proof for the token endpoint.
    pub fn proof(&self, now: Timestamp) -> String {
        self.sign_proof(&self.proof_claims(now))
    }

    /// A good proof for a resource.
    pub fn resource_proof(&self, method: &str, url: &str, token: &str, now: Timestamp) -> String {
        let ath = base64url(&sha256(token.as_bytes()));
        self.sign_proof(&json!({ "jti": self.fresh(), "htm": method, "htu": url, "iat": now.seconds(), "ath": ath }))
    }

    /// The claims of a client assertion.
    pub fn assertion_claims(&self, now: Timestamp) -> Value {
        let now = now.seconds();
        json!({ "iss": self.id, "sub": self.id, "aud": self.issuer, "jti": self.fresh(), "iat": now, "exp": now + 60 })
    }

    /// Signs an assertion with the client's registered key.
    pub fn sign_assertion(&self, claims: &Value) -> String {
        match &self.credential {
            Credential::Key(key) => key.sign("client-authentication+jwt", claims),
            Credential::None | Credential::Basic(_) | Credential::Post(_) => panic!("{} has no key", self.id),
        }
    }

    /// A token request with the client's authentication, a good proof, and these parameters.
    pub fn request(&self, now: Timestamp, parameters: &[(&str, &str)]) -> TokenCall<'_> {
        let mut call = self.bare_request(parameters);
        call.proofs.push(self.proof(now));
        self.authenticate(call, now)
    }

    /// The same without a proof.
    pub fn bearer_request(&self, now: Timestamp, parameters: &[(&str, &str)]) -> TokenCall<'_> {
        self.authenticate(self.bare_request(parameters), now)
    }

    /// A token request with these parameters and nothing else.
    pub fn bare_request(&self, parameters: &[(&str, &str)]) -> TokenCall<'_> {
        let form = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TokenCall { client: self, path: "/oauth/token", form, authorization: Vec::new(), proofs: Vec::new() }
    }

    /// A device authorization request with the client's authentication and these parameters.
    pub fn device_request(&self, now: Timestamp, parameters: &[(&str, &str)]) -> TokenCall<'_> {
        TokenCall { path: DEVICE_AUTHORIZATION, ..self.bearer_request(now, parameters) }
    }

    /// A pushed authorization request with the client's authentication and these parameters.
    pub fn push(&self, now: Timestamp, parameters: &[(&str, &str)]) -> TokenCall<'_> {
        TokenCall { path: PAR, ..self.bearer_request(now, parameters).with("client_id", &self.id) }
    }

    /// The path that a browser opens with a pushed request.
    pub fn pushed_path(&self, pushed: &Answer) -> String {
        let parameters = [("client_id", self.id.as_str()), ("request_uri", pushed.text("request_uri"))];
        format!(
            "/oauth/authorize?{}",
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
        )
    }

    /// A request about a token, at the introspection or the revocation endpoint, with the client's authentication.
    pub fn about(&self, path: &'static str, token: &str, now: Timestamp) -> TokenCall<'_> {
        TokenCall { path, ..self.bearer_request(now, &[("token", token)]) }
    }

    /// A good proof for a device authorization request.
    pub fn device_proof(&self, now: Timestamp) -> String {
        self.proof_at(DEVICE_AUTHORIZATION, now)
    }

    /// A good proof for an endpoint.
    pub fn proof_at(&self, path: &str, now: Timestamp) -> String {
        let htu = format!("{}{path}", self.issuer);
        self.sign_proof(&json!({ "jti": self.fresh(), "htm": "POST", "htu": htu, "iat": now.seconds() }))
    }

    fn authenticate<'a>(&self, call: TokenCall<'a>, now: Timestamp) -> TokenCall<'a> {
        match &self.credential {
            Credential::None => call.with("client_id", &self.id),
            Credential::Basic(secret) => call.basic(&self.id, secret),
            Credential::Post(secret) => call.with("client_id", &self.id).with("client_secret", secret),
            Credential::Key(_) => call.assertion(&self.sign_assertion(&self.assertion_claims(now))),
        }
    }
}

/// A token request in the making.
pub struct TokenCall<'a> {
    client: &'a Client,
    path: &'static str,
    form: Vec<(String, String)>,
    authorization: Vec<String>,
    pub proofs: Vec<String>,
}

impl<'a> TokenCall<'a> {
    /// A request of somebody who does not say who he is.
    pub fn anonymous(client: &'a Client, path: &'static str) -> Self {
        TokenCall { path, ..client.bare_request(&[]) }
    }
}

impl TokenCall<'_> {
    /// Sets a parameter, replacing an earlier one.
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut call = self.without(name);
        call.form.push((name.to_owned(), value.to_owned()));
        call
    }

    /// Adds a parameter, whether or not there is one of that name.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.form.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.form.retain(|(each, _)| each != name);
        self
    }

    /// Sends it to another endpoint.
    pub fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    pub fn basic(mut self, id: &str, secret: &str) -> Self {
        use base64::Engine as _;
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        self.authorization.push(format!("Basic {credentials}"));
        self
    }

    pub fn authorization(mut self, value: &str) -> Self {
        self.authorization.push(value.to_owned());
        self
    }

    pub fn assertion(self, assertion: &str) -> Self {
        self.with("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .with("client_assertion", assertion)
    }

    /// Replaces the proof.
    pub fn proof(mut self, proof: &str) -> Self {
        self.proofs = vec![proof.to_owned()];
        self
    }

    pub fn without_proof(self) -> Self {
        Self { proofs: Vec::new(), ..self }
    }

    pub fn and_proof(mut self, proof: &str) -> Self {
        self.proofs.push(proof.to_owned());
        self
    }

    /// Its form, its `Authorization` header and its proofs, for whoever sends it in a way of their own.
    pub fn into_parts(self) -> (String, Option<String>, Vec<String>) {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.form).finish();
        (form, self.authorization.into_iter().next(), self.proofs)
    }

    /// The request itself, for whoever adds headers of his own.
    pub fn into_request(self) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.client.issuer, self.path);
        let mut request = self.client.http.post(url).form(&self.form);
        for value in &self.authorization {
            request = request.header("authorization", value);
        }
        for proof in &self.proofs {
            request = request.header("dpop", proof);
        }
        request
    }

    pub async fn send(self) -> Answer {
        answer(self.into_request()).await
    }
}

/// Sends a request and reads a JSON answer; `null` stands for a body that is none.
pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    try_answer(request).await.expect("an answer")
}

/// The same of a server that may die meanwhile: `None` if no whole answer came back.
pub async fn try_answer(request: reqwest::RequestBuilder) -> Option<Answer> {
    let (http, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = http.execute(request).await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    let body = response.text().await.ok()?;
    check_answer(&method, &path, status, content_type, &body);
    Some(Answer { status, headers, body: serde_json::from_str(&body).unwrap_or(Value::Null) })
}

/// The claims of a JWT, unverified.
pub fn claims(jwt: &str) -> Value {
    let payload = jwt.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&tollgate::secret::from_base64url(payload).expect("base64url")).expect("JSON")
}
