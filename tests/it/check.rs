//! `Check` calls made by hand over the socket: every reason to deny, and what an allow carries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption, Metadata};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as AttributeRequest};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use serde_json::{Value as Json, json};
use tokio::net::UnixStream;
use tollgate::authz::Denial;
use tollgate::dpop::ProofFault;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{base64url, sha256};
use tollgate::token::TokenFault;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tower::Service as _;

use crate::gate::{API, BEARER, FRESH, Gate, Holder, MIXED, NONCE_LIFE, Trouble, fresh_id};
use crate::world::Events;

/// What a proxy asks about: a good request by default, which a row of a table then spoils.
#[derive(Clone)]
pub struct Ask {
    pub method: String,
    pub host: String,
    pub target: String,
    pub resource: Option<String>,
    pub token_header: Json,
    pub token_claims: Json,
    pub proof_header: Json,
    pub proof_claims: Json,
    /// The scheme in front of the token.
    pub scheme: &'static str,
    /// `Authorization` values instead of the token.
    pub authorization: Option<Vec<Vec<u8>>>,
    /// `DPoP` values instead of the proof.
    pub proofs: Option<Vec<Vec<u8>>>,
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

/// `ath` of the token that is sent.
const RIGHT_HASH: &str = "(the hash of the token)";

impl Ask {
    pub fn good(gate: &Gate, holder: &Holder) -> Self {
        let claims = gate.token_claims(holder);
        Self {
            method: "GET".to_owned(),
            host: "api.example.com".to_owned(),
            target: "/orders/7?x=1".to_owned(),
            resource: None,
            token_header: json!({ "typ": "at+jwt", "alg": "ES256", "kid": gate.issuer.kid() }),
            token_claims: claims,
            proof_header: holder.proof_header(),
            proof_claims: json!({
                "jti": fresh_id(), "htm": "GET", "htu": format!("{API}/orders/7"), "iat": gate.now(), "ath": RIGHT_HASH,
            }),
            scheme: "DPoP ",
            authorization: None,
            proofs: None,
            headers: Vec::new(),
        }
    }

    /// The same request at another resource.
    pub fn at(mut self, resource: &str) -> Self {
        self.host = resource.replace("https://", "");
        self.token_claims["aud"] = resource.into();
        self.proof_claims["htu"] = format!("{resource}/orders/7").into();
        self
    }

    pub fn token(&self, gate: &Gate) -> String {
        gate.issuer.sign_with(&self.token_header, &self.token_claims)
    }

    pub fn fields(&self, gate: &Gate, holder: &Holder) -> Vec<(&'static str, Vec<u8>)> {
        let token = self.token(gate);
        let credentials = || vec![format!("{}{token}", self.scheme).into_bytes()];
        let proof = || {
            let mut claims = self.proof_claims.clone();
            if claims["ath"] == RIGHT_HASH {
                let after_scheme = |value: &Vec<u8>| value.split(|byte| *byte == b' ').nth(1).map(<[u8]>::to_vec);
                let sent = self.authorization.iter().flatten().find_map(after_scheme);
                claims["ath"] = base64url(&sha256(sent.as_deref().unwrap_or(token.as_bytes()))).into();
            }
            vec![holder.key.sign_with(&self.proof_header, &claims).into_bytes()]
        };
        let credentials = self.authorization.clone().unwrap_or_else(credentials);
        let proofs = self.proofs.clone().unwrap_or_else(proof);
        let credentials = credentials.into_iter().map(|value| ("authorization", value));
        let proofs = proofs.into_iter().map(|value| ("dpop", value));
        credentials.chain(proofs).chain(self.headers.clone()).collect()
    }

    /// As Envoy asks with `encode_raw_headers`.
    pub fn raw(&self, gate: &Gate, holder: &Holder) -> CheckRequest {
        let value = |(key, value): (&str, Vec<u8>)| HeaderValue {
            key: key.to_owned(),
            raw_value: value,
            ..HeaderValue::default()
        };
        let headers = self.fields(gate, holder).into_iter().map(value).collect();
        self.question(HttpRequest { header_map: Some(HeaderMap { headers }), ..HttpRequest::default() })
    }

    /// As Envoy asks without it: a map, repeated fields joined by commas.
    fn mapped(&self, gate: &Gate, holder: &Holder) -> CheckRequest {
        let mut headers: HashMap<String, String> = HashMap::new();
        for (key, value) in self.fields(gate, holder) {
            let value: String =
                value.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '!' }).collect();
            headers.entry(key.to_owned()).and_modify(|joined| *joined = format!("{joined},{value}")).or_insert(value);
        }
        self.question(HttpRequest { headers, ..HttpRequest::default() })
    }

    fn question(&self, http: HttpRequest) -> CheckRequest {
        let http = HttpRequest {
            method: self.method.clone(),
            host: self.host.clone(),
            path: self.target.clone(),
            scheme: "http".to_owned(),
            ..http
        };
        let context_extensions = self.resource.iter().map(|name| ("resource".to_owned(), name.clone())).collect();
        question(Some(AttributeContext {
            request: Some(AttributeRequest { http: Some(http), time: None }),
            context_extensions,
            ..AttributeContext::default()
        }))
    }
}

fn question(attributes: Option<AttributeContext>) -> CheckRequest {
    CheckRequest { attributes }
}

/// What came back.
#[derive(Debug)]
pub struct Verdict {
    /// 200 for an allow.
    pub status: i32,
    headers: Vec<(String, String)>,
    removed: Vec<String>,
    response_headers: Vec<(String, String)>,
    pub body: String,
    metadata: BTreeMap<String, String>,
}

impl Verdict {
    fn of(response: CheckResponse) -> Self {
        let code = response.status.expect("a status").code;
        let metadata = response.dynamic_metadata.expect("metadata").fields.into_iter().map(|(name, value)| {
            let Some(Kind::StringValue(value)) = value.kind else { panic!("{name} is no text") };
            (name, value)
        });
        let metadata = metadata.collect();
        match response.http_response.expect("an HTTP response") {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(code, 0);
                let (headers, response_headers) = (plain(ok.headers), plain(ok.response_headers_to_add));
                let body = String::new();
                Self { status: 200, headers, removed: ok.headers_to_remove, response_headers, body, metadata }
            }
            HttpResponse::DeniedResponse(denied) => {
                assert_ne!(code, 0, "a denial with code 0 is an allow");
                let status = denied.status.expect("a status").code;
                let (headers, body) = (plain(denied.headers), denied.body);
                Self { status, headers, removed: Vec::new(), response_headers: Vec::new(), body, metadata }
            }
            HttpResponse::ErrorResponse(_) => panic!("an error response would open the gate with failure_mode_allow"),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} occurs twice");
        value
    }

    pub fn challenges(&self) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == "www-authenticate").map(|(_, value)| value.as_str()).collect()
    }

    pub fn reason(&self) -> &str {
        &self.metadata["reason"]
    }
}

/// Names and values, after a look at the switches: an appended header would stand beside the client's own.
#[expect(deprecated, reason = "Envoy up to 1.40 looks at nothing else")]
fn plain(options: Vec<HeaderValueOption>) -> Vec<(String, String)> {
    let each = options.into_iter().map(|option| {
        assert_eq!(option.append.map(|append| append.value), Some(false));
        assert_eq!(option.append_action, 2, "OVERWRITE_IF_EXISTS_OR_ADD");
        let header = option.header.expect("a header");
        assert!(header.raw_value.is_empty(), "Envoy ignores raw_value here");
        assert!(header.value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{header:?}");
        (header.key, header.value)
    });
    each.collect()
}

/// A proxy's connection to a gate.
#[derive(Clone)]
pub struct Proxy(AuthorizationClient<Channel>);

async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://gate");
    endpoint.connect_with_connector(tower::service_fn(connect)).await.expect("a connection")
}

impl Proxy {
    pub async fn to(gate: &Gate) -> Self {
        Self(AuthorizationClient::new(channel(&gate.socket).await))
    }

    /// The same to a gate on a port.
    pub async fn at(gate: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{gate}")).expect("a URL");
        Self(AuthorizationClient::new(endpoint.connect().await.expect("a connection")))
    }

    /// The same to a gate at a socket.
    pub async fn over_socket(socket: &Path) -> Self {
        Self(AuthorizationClient::new(channel(socket).await))
    }

    /// Asks about a GET request with these headers.
    pub async fn ask(&mut self, host: &str, target: &str, headers: &[(&str, &str)]) -> Verdict {
        self.send("GET", host, target, headers).await
    }

    /// Asks about a request with these headers.
    pub async fn send(&mut self, method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Verdict {
        let value = |(key, value): &(&str, &str)| HeaderValue {
            key: (*key).to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        };
        let http = HttpRequest {
            method: method.to_owned(),
            host: host.to_owned(),
            path: target.to_owned(),
            header_map: Some(HeaderMap { headers: headers.iter().map(value).collect() }),
            ..HttpRequest::default()
        };
        let request = Some(AttributeRequest { http: Some(http), time: None });
        self.check(question(Some(AttributeContext { request, ..AttributeContext::default() }))).await
    }

    pub async fn check(&mut self, question: CheckRequest) -> Verdict {
        Verdict::of(self.0.check(question).await.expect("never a gRPC error").into_inner())
    }
}

/// Changes a request.
type Spoil = fn(&mut Ask, &Gate);

/// One way to spoil a request, and what it is denied for.
pub struct Row {
    pub name: &'static str,
    pub spoil: Spoil,
    pub denial: Denial,
}

macro_rules! rows {
    ($($name:ident: $spoil:expr => $denial:expr;)*) => {
        vec![$(Row { name: stringify!($name), spoil: $spoil, denial: $denial }),*]
    };
}

/// Every way in which one request can be wrong; what needs a history or an outage has tests of its own below.
pub fn rows() -> Vec<Row> {
    use Denial::{Proof, Token};
    rows! {
        other_resource_named: |ask, _| ask.resource = Some("https://other.example.com".into()) => Denial::ResourceUnknown;
        other_host: |ask, _| ask.host = "evil.example.com".into() => Denial::HostUnknown;
        two_hosts: |ask, _| ask.host = "api.example.com,evil.example.com".into() => Denial::HostUnknown;
        host_with_userinfo: |ask, _| ask.host = "api.example.com@evil".into() => Denial::HostUnknown;
        host_with_other_port: |ask, _| ask.host = "api.example.com:8443".into() => Denial::HostUnknown;
        no_host: |ask, _| ask.host = String::new() => Denial::HostUnknown;
        two_hosts_and_a_name: |ask, _| {
            ask.resource = Some(API.into());
            ask.host = "a,b".into();
        } => Denial::HostUnknown;
        trace: |ask, _| ask.method = "TRACE".into() => Denial::MethodRefused;
        connect: |ask, _| ask.method = "CONNECT".into() => Denial::MethodRefused;
        no_method: |ask, _| ask.method = String::new() => Denial::MethodRefused;
        long_path: |ask, _| ask.target = format!("/{}", "a".repeat(9_000)) => Denial::PathTooLong;
        no_path: |ask, _| ask.target = String::new() => Denial::PathMalformed;
        absolute_form: |ask, _| ask.target = "http://evil/orders".into() => Denial::PathMalformed;
        broken_escape: |ask, _| ask.target = "/orders/%zz".into() => Denial::PathMalformed;
        dot_segment: |ask, _| ask.target = "/public/../orders/7".into() => Denial::PathAmbiguous;
        parameter: |ask, _| ask.target = "/public/..;/orders/7".into() => Denial::PathAmbiguous;
        encoded_slash: |ask, _| ask.target = "/public%2f..%2forders".into() => Denial::PathAmbiguous;
        connection_names: |ask, _| {
            ask.headers.push(("connection", b"Upgrade, x-auth-subject".to_vec()));
        } => Denial::ConnectionNamesHeaders;
        no_rule: |ask, _| ask.target = "/admin".into() => Denial::NoRule;
        no_rule_in_this_case: |ask, _| ask.target = "/Orders/7".into() => Denial::NoRule;
        no_rule_for_this_method: |ask, _| ask.method = "get".into() => Denial::NoRule;
        nothing: |ask, _| ask.authorization = Some(vec![]) => Denial::CredentialsMissing;
        basic: |ask, _| ask.authorization = Some(vec![b"Basic dTpw".to_vec()]) => Denial::CredentialsMissing;
        token_in_the_query: |ask, gate| {
            ask.target = format!("/orders/7?access_token={}", ask.token(gate));
            ask.authorization = Some(vec![]);
        } => Denial::CredentialsMissing;
        two_tokens: |ask, gate| {
            let token = ask.token(gate);
            ask.authorization = Some(vec![format!("DPoP {token},Bearer {token}").into_bytes()]);
        } => Denial::CredentialsRepeated;
        two_authorizations: |ask, _| {
            ask.authorization = Some(vec![b"DPoP a".to_vec(), b"DPoP b".to_vec()]);
        } => Denial::CredentialsRepeated;
        no_token: |ask, _| ask.authorization = Some(vec![b"DPoP ".to_vec()]) => Denial::CredentialsMalformed;
        text_behind_the_token: |ask, _| {
            ask.authorization = Some(vec![b"DPoP a b".to_vec()]);
        } => Denial::CredentialsMalformed;
        bytes: |ask, _| ask.authorization = Some(vec![b"DPoP \xff\xfe".to_vec()]) => Denial::CredentialsMalformed;
        huge_token: |ask, _| {
            ask.authorization = Some(vec![[b"DPoP ".as_slice(), &[b'a'; 20_000]].concat()]);
        } => Denial::CredentialsTooLong;
        bound_as_bearer: |ask, _| ask.scheme = "Bearer " => Denial::BoundTokenAsBearer;
        bound_as_bearer_without_proof: |ask, _| {
            ask.scheme = "Bearer ";
            ask.proofs = Some(vec![]);
        } => Denial::BoundTokenAsBearer;
        unbound_as_bearer: |ask, _| {
            ask.scheme = "Bearer ";
            remove(&mut ask.token_claims, "cnf");
        } => Denial::BearerRefused;
        unbound_as_dpop: |ask, _| remove(&mut ask.token_claims, "cnf") => Denial::UnboundTokenAsDpop;
        other_key: |ask, _| {
            ask.token_claims["cnf"]["jkt"] = Holder::new("somebody else").thumbprint().into();
        } => Denial::KeyMismatch;
        scope_missing: |ask, _| ask.token_claims["scope"] = "profile".into() => Denial::ScopeInsufficient;
        no_scope: |ask, _| remove(&mut ask.token_claims, "scope") => Denial::ScopeInsufficient;

        garbage_token: |ask, _| ask.authorization = Some(vec![b"DPoP garbage".to_vec()]) => Token(TokenFault::Malformed);
        broken_handle: |ask, _| {
            ask.authorization = Some(vec![format!("DPoP tga_{}", "A".repeat(44)).into_bytes()]);
        } => Token(TokenFault::Malformed);
        handle_and_a_jwt: |ask, gate| {
            let token = ask.token(gate);
            ask.authorization = Some(vec![format!("DPoP tga_{token}").into_bytes()]);
        } => Token(TokenFault::Malformed);
        unknown_handle: |ask, _| {
            ask.authorization = Some(vec![format!("DPoP tga_{}", "A".repeat(43)).into_bytes()]);
        } => Token(TokenFault::HandleUnknown);
        critical_token: |ask, _| ask.token_header["crit"] = json!(["exp"]) => Token(TokenFault::Malformed);
        other_kind_of_jwt: |ask, _| ask.token_header["typ"] = "JWT".into() => Token(TokenFault::TypeWrong);
        proof_as_token: |ask, _| ask.token_header["typ"] = "dpop+jwt".into() => Token(TokenFault::TypeWrong);
        unsigned_token: |ask, _| ask.token_header["alg"] = "none".into() => Token(TokenFault::AlgorithmRefused);
        hmac_token: |ask, _| ask.token_header["alg"] = "HS256".into() => Token(TokenFault::AlgorithmRefused);
        unknown_kid: |ask, _| ask.token_header["kid"] = "another".into() => Token(TokenFault::KeyUnknown);
        other_algorithm: |ask, _| ask.token_header["alg"] = "PS256".into() => Token(TokenFault::KeyUnknown);
        forged_token: |ask, _| {
            let forger = SigningKey::generate(Algorithm::Es256).expect("a key");
            let token = forger.sign_with(&ask.token_header, &ask.token_claims);
            ask.authorization = Some(vec![format!("DPoP {token}").into_bytes()]);
        } => Token(TokenFault::SignatureWrong);
        no_expiry: |ask, _| remove(&mut ask.token_claims, "exp") => Token(TokenFault::ClaimMissing);
        no_subject: |ask, _| remove(&mut ask.token_claims, "sub") => Token(TokenFault::ClaimMissing);
        no_audience: |ask, _| remove(&mut ask.token_claims, "aud") => Token(TokenFault::ClaimMissing);
        expiry_as_text: |ask, _| ask.token_claims["exp"] = "9999999999".into() => Token(TokenFault::ClaimMissing);
        other_issuer: |ask, _| ask.token_claims["iss"] = "https://evil.example.com".into() => Token(TokenFault::IssuerWrong);
        other_audience: |ask, _| ask.token_claims["aud"] = MIXED.into() => Token(TokenFault::AudienceWrong);
        other_audiences: |ask, _| ask.token_claims["aud"] = json!([MIXED, FRESH]) => Token(TokenFault::AudienceWrong);
        expired: |ask, gate| ask.token_claims["exp"] = (gate.now() - 10).into() => Token(TokenFault::Expired);
        not_yet: |ask, gate| ask.token_claims["nbf"] = (gate.now() + 60).into() => Token(TokenFault::Early);
        bound_otherwise: |ask, _| ask.token_claims["cnf"] = json!({ "x5t#S256": "x" }) => Token(TokenFault::ConfirmationUnknown);
        bound_twice: |ask, _| ask.token_claims["cnf"]["kid"] = "x".into() => Token(TokenFault::ConfirmationUnknown);

        no_proof: |ask, _| ask.proofs = Some(vec![]) => Proof(ProofFault::Missing);
        two_proofs: |ask, _| ask.proofs = Some(vec![b"p1".to_vec(), b"p2".to_vec()]) => Proof(ProofFault::Repeated);
        joined_proofs: |ask, _| ask.proofs = Some(vec![b"p1,p2".to_vec()]) => Proof(ProofFault::Repeated);
        an_empty_and_a_real_proof: |ask, _| {
            ask.proofs = Some(vec![Vec::new(), b"p2".to_vec()]);
        } => Proof(ProofFault::Repeated);
        long_proof: |ask, _| ask.proof_claims["x"] = "a".repeat(9_000).into() => Proof(ProofFault::TooLong);
        no_jwt: |ask, _| ask.proofs = Some(vec![b"proof".to_vec()]) => Proof(ProofFault::Malformed);
        empty_proof: |ask, _| ask.proofs = Some(vec![Vec::new()]) => Proof(ProofFault::Malformed);
        proof_of_bytes: |ask, _| ask.proofs = Some(vec![b"\xff.\xfe.\xfd".to_vec()]) => Proof(ProofFault::Malformed);
        critical_proof: |ask, _| ask.proof_header["crit"] = json!(["exp"]) => Proof(ProofFault::Malformed);
        no_jti: |ask, _| remove(&mut ask.proof_claims, "jti") => Proof(ProofFault::ClaimMissing);
        empty_jti: |ask, _| ask.proof_claims["jti"] = "".into() => Proof(ProofFault::ClaimMissing);
        long_jti: |ask, _| ask.proof_claims["jti"] = "j".repeat(257).into() => Proof(ProofFault::ClaimMissing);
        no_htm: |ask, _| remove(&mut ask.proof_claims, "htm") => Proof(ProofFault::ClaimMissing);
        no_htu: |ask, _| remove(&mut ask.proof_claims, "htu") => Proof(ProofFault::ClaimMissing);
        no_iat: |ask, _| remove(&mut ask.proof_claims, "iat") => Proof(ProofFault::ClaimMissing);
        no_ath: |ask, _| remove(&mut ask.proof_claims, "ath") => Proof(ProofFault::ClaimMissing);
        iat_as_text: |ask, _| ask.proof_claims["iat"] = "1760000000".into() => Proof(ProofFault::ClaimMissing);
        no_typ: |ask, _| remove(&mut ask.proof_header, "typ") => Proof(ProofFault::TypeWrong);
        upper_case_typ: |ask, _| ask.proof_header["typ"] = "DPOP+JWT".into() => Proof(ProofFault::TypeWrong);
        media_typ: |ask, _| ask.proof_header["typ"] = "application/dpop+jwt".into() => Proof(ProofFault::TypeWrong);
        unsigned_proof: |ask, _| ask.proof_header["alg"] = "none".into() => Proof(ProofFault::AlgorithmRefused);
        rs256_proof: |ask, _| ask.proof_header["alg"] = "RS256".into() => Proof(ProofFault::AlgorithmRefused);
        no_alg: |ask, _| remove(&mut ask.proof_header, "alg") => Proof(ProofFault::AlgorithmRefused);
        changed_proof: |ask, _| {
            ask.proof_header["jwk"] = Holder::new("somebody else").key.proof_jwk();
        } => Proof(ProofFault::SignatureWrong);
        no_jwk: |ask, _| remove(&mut ask.proof_header, "jwk") => Proof(ProofFault::KeyRefused);
        private_jwk: |ask, _| ask.proof_header["jwk"]["d"] = Json::Null => Proof(ProofFault::KeyRefused);
        symmetric_jwk: |ask, _| ask.proof_header["jwk"] = json!({ "kty": "oct" }) => Proof(ProofFault::KeyRefused);
        other_method: |ask, _| ask.proof_claims["htm"] = "POST".into() => Proof(ProofFault::MethodMismatch);
        lower_method: |ask, _| ask.proof_claims["htm"] = "get".into() => Proof(ProofFault::MethodMismatch);
        other_path: |ask, _| ask.proof_claims["htu"] = format!("{API}/orders/8").into() => Proof(ProofFault::TargetMismatch);
        one_slash_more: |ask, _| ask.proof_claims["htu"] = format!("{API}/orders/7/").into() => Proof(ProofFault::TargetMismatch);
        over_http: |ask, _| ask.proof_claims["htu"] = "http://api.example.com/orders/7".into() => Proof(ProofFault::TargetMismatch);
        other_host_signed: |ask, _| ask.proof_claims["htu"] = "https://evil/orders/7".into() => Proof(ProofFault::TargetMismatch);
        userinfo_signed: |ask, _| {
            ask.proof_claims["htu"] = "https://u@api.example.com/orders/7".into();
        } => Proof(ProofFault::TargetMismatch);
        relative: |ask, _| ask.proof_claims["htu"] = "/orders/7".into() => Proof(ProofFault::TargetMismatch);
        an_hour_old: |ask, gate| ask.proof_claims["iat"] = (gate.now() - 3_600).into() => Proof(ProofFault::Stale);
        a_second_too_old: |ask, gate| ask.proof_claims["iat"] = (gate.now() - 61).into() => Proof(ProofFault::Stale);
        past_its_exp: |ask, gate| ask.proof_claims["exp"] = (gate.now() - 60).into() => Proof(ProofFault::OutsideOwnLimits);
        from_the_future: |ask, gate| ask.proof_claims["iat"] = (gate.now() + 3_600).into() => Proof(ProofFault::Early);
        a_second_too_young: |ask, gate| ask.proof_claims["iat"] = (gate.now() + 11).into() => Proof(ProofFault::Early);
        hash_of_another_token: |ask, _| {
            ask.proof_claims["ath"] = base64url(&sha256(b"another")).into();
        } => Proof(ProofFault::TokenHashMismatch);
        padded_hash: |ask, gate| {
            let token = ask.token(gate);
            ask.authorization = Some(vec![format!("DPoP {token}").into_bytes()]);
            ask.proof_claims["ath"] = format!("{}=", base64url(&sha256(token.as_bytes()))).into();
        } => Proof(ProofFault::TokenHashMismatch);
    }
}

fn remove(json: &mut Json, member: &str) {
    json.as_object_mut().expect("an object").remove(member).expect("the member is there");
}

#[tokio::test]
async fn every_wrong_request_is_denied_for_its_own_reason_in_both_encodings() {
    let (events, _listening) = Events::listen();
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    for Row { name, spoil, denial } in rows() {
        let mut ask = Ask::good(&gate, &holder);
        spoil(&mut ask, &gate);
        for question in [ask.raw(&gate, &holder), ask.mapped(&gate, &holder)] {
            let verdict = proxy.check(question).await;
            assert_eq!(verdict.reason(), denial.name(), "{name}: {verdict:?}");
            assert_eq!(verdict.status, i32::from(denial.status()), "{name}");
            assert_eq!(events.last("denial").as_deref(), Some(denial.name()), "{name}");
            assert_denial(&verdict, denial);
        }
    }
    assert!(gate.guard.is_empty(), "a request that was refused has spent its proof");
}

/// What is the same for every denial.
#[track_caller]
fn assert_denial(verdict: &Verdict, denial: Denial) {
    assert_eq!(verdict.header("cache-control"), Some("no-store"));
    assert_eq!(verdict.header("content-type"), Some("application/json"));
    let body: Json = serde_json::from_str(&verdict.body).expect("a JSON body");
    assert_eq!(body["error_description"], denial.description());
    let challenges = verdict.challenges();
    match denial.error() {
        None if denial == Denial::CredentialsMissing => {
            assert_eq!(challenges, [r#"DPoP scope="orders:read", algs="ES256 PS256 EdDSA Ed25519""#]);
        }
        None => assert_eq!(challenges, Vec::<&str>::new()),
        Some(error) => {
            let (error, text) = (error.as_str(), denial.description());
            assert_eq!(body["error"], error);
            let scope = if denial == Denial::ScopeInsufficient { r#", scope="orders:read""# } else { "" };
            let expected =
                format!(r#"DPoP error="{error}", error_description="{text}"{scope}, algs="ES256 PS256 EdDSA Ed25519""#);
            assert_eq!(challenges, [expected]);
        }
    }
}

#[tokio::test]
async fn a_good_request_passes_in_every_spelling_that_means_the_same() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let spellings: [(&str, Spoil); 18] = [
        ("as it is", |_, _| {}),
        ("resource named", |ask, _| ask.resource = Some(API.into())),
        ("host rewritten, resource named", |ask, _| {
            ask.resource = Some(API.into());
            ask.host = "orders.internal:8080".into();
        }),
        ("host in capitals with dot and port", |ask, _| ask.host = "API.example.com.:443".into()),
        ("scheme in lower case", |ask, _| ask.scheme = "dpop  "),
        ("htu with query and fragment", |ask, _| ask.proof_claims["htu"] = format!("{API}/orders/7?y=2#f").into()),
        ("htu in capitals with port", |ask, _| ask.proof_claims["htu"] = "HTTPS://API.EXAMPLE.COM:443/orders/7".into()),
        ("htu encoded", |ask, _| ask.proof_claims["htu"] = format!("{API}/%6frders/./7").into()),
        ("bar signed raw", |ask, _| {
            ask.target = "/orders/a%7Cb".into();
            ask.proof_claims["htu"] = format!("{API}/orders/a|b").into();
        }),
        ("ten seconds old", |ask, gate| ask.proof_claims["iat"] = (gate.now() - 10).into()),
        ("ten seconds ahead", |ask, gate| ask.proof_claims["iat"] = (gate.now() + 10).into()),
        ("a fraction", |ask, gate| {
            ask.proof_claims["iat"] = json!(f64::from(i32::try_from(gate.now()).unwrap()) + 0.5);
        }),
        ("exp and nbf in the proof", |ask, gate| {
            ask.proof_claims["exp"] = (gate.now() + 300).into();
            ask.proof_claims["nbf"] = gate.now().into();
        }),
        ("unknown members", |ask, _| {
            ask.proof_claims["x"] = json!({ "y": 1 });
            ask.proof_header["z"] = 1.into();
            ask.proof_header["jwk"]["kid"] = "k".into();
        }),
        ("several audiences", |ask, _| ask.token_claims["aud"] = json!([MIXED, API])),
        ("a nonce that nobody asked for", |ask, _| ask.proof_claims["nonce"] = "whatever".into()),
        ("token a few seconds young", |ask, gate| ask.token_claims["nbf"] = (gate.now() + 8).into()),
        ("a connection that names nothing", |ask, _| ask.headers.push(("connection", b"keep-alive".to_vec()))),
    ];
    for (name, change) in spellings {
        for encode in [Ask::raw, Ask::mapped] {
            let mut ask = Ask::good(&gate, &holder);
            change(&mut ask, &gate);
            let verdict = proxy.check(encode(&ask, &gate, &holder)).await;
            assert_eq!((verdict.status, verdict.reason()), (200, "allowed"), "{name}: {verdict:?}");
        }
    }
}

#[tokio::test]
async fn an_allow_shows_the_upstream_who_it_is_and_no_credentials() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let verdict = proxy.check(Ask::good(&gate, &holder).raw(&gate, &holder)).await;
    assert_eq!(verdict.header("x-auth-subject"), Some("ada"));
    assert_eq!(verdict.header("x-auth-client"), Some("tv"));
    assert_eq!(verdict.header("x-auth-scope"), Some("orders:read"));
    assert_eq!(verdict.headers.len(), 3);
    for name in ["authorization", "dpop", "x-auth-team", "x_auth_team", "x_auth_subject", "x-auth_client"] {
        assert!(verdict.removed.iter().any(|removed| removed == name), "{name} is not removed");
    }
    for (name, _) in &verdict.headers {
        assert!(!verdict.removed.contains(name), "{name} is set and removed: Envoy removes last");
    }
    let metadata: Vec<_> = verdict.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let key = holder.thumbprint();
    let expected = [
        ("client_id", "tv"),
        ("jkt", key.as_str()),
        ("reason", "allowed"),
        ("resource", API),
        ("rule", "/orders/**"),
        ("subject", "ada"),
    ];
    assert_eq!(metadata, expected);
    assert!(verdict.response_headers.is_empty());
}

#[tokio::test]
async fn what_is_for_anyone_needs_nothing_and_carries_no_identity() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let mut ask = Ask::good(&gate, &holder);
    ask.target = "/public/a".into();
    for authorization in [None, Some(vec![]), Some(vec![b"a, b".to_vec()])] {
        ask.authorization = authorization;
        let verdict = proxy.check(ask.raw(&gate, &holder)).await;
        assert_eq!(verdict.status, 200);
        assert!(verdict.headers.is_empty(), "{verdict:?}");
        for name in ["authorization", "dpop", "x-auth-subject", "x_auth_subject", "x-auth-scope", "x-auth-client"] {
            assert!(verdict.removed.iter().any(|removed| removed == name), "{name} is not removed");
        }
    }
    ask.method = "TRACE".into();
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), "method_refused");
}

#[tokio::test]
async fn a_rule_is_chosen_by_method_and_order() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    for (method, path, scope, reason) in [
        ("POST", "/orders/7", "orders:write", "allowed"),
        ("POST", "/orders/7", "orders:read", "scope_insufficient"),
        ("HEAD", "/orders/7", "orders:read", "allowed"),
        ("DELETE", "/orders/7", "orders:read orders:write", "no_rule"),
        ("POST", "/healthz", "orders:read", "no_rule"),
        ("PATCH", "/me", "profile", "allowed"),
        ("GET", "/orders", "orders:read", "allowed"),
        ("GET", "/ordersx", "orders:read", "no_rule"),
    ] {
        let mut ask = Ask::good(&gate, &holder);
        ask.method = method.into();
        ask.target = path.into();
        ask.token_claims["scope"] = scope.into();
        ask.proof_claims["htm"] = method.into();
        ask.proof_claims["htu"] = format!("{API}{path}").into();
        assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), reason, "{method} {path} with {scope}");
    }
}

#[tokio::test]
async fn a_proof_passes_once_however_its_uri_is_spelled() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let mut ask = Ask::good(&gate, &holder);
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), "allowed");
    let again = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!(again.reason(), ProofFault::Replayed.name());
    assert_denial(&again, Denial::Proof(ProofFault::Replayed));

    ask.proof_claims["htu"] = "HTTPS://api.example.com:443/orders/./7?z".into();
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), ProofFault::Replayed.name());
    // To the end of its life, dated ahead or not.
    ask.proof_claims["jti"] = fresh_id().into();
    ask.proof_claims["iat"] = (gate.now() + 10).into();
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), "allowed");
    gate.clock.advance(Duration::from_secs(70));
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), ProofFault::Replayed.name());
    gate.clock.advance(Duration::from_secs(1));
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), ProofFault::Stale.name());
    // The `jti` of one client means nothing to another.
    let other = Holder::new("phone");
    let mut theirs = Ask::good(&gate, &other);
    theirs.proof_claims["jti"] = ask.proof_claims["jti"].clone();
    assert_eq!(proxy.check(theirs.raw(&gate, &other)).await.reason(), "allowed");
}

#[tokio::test]
async fn a_cached_token_still_expires_and_is_still_judged() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let mut ask = Ask::good(&gate, &holder);
    let token = ask.token(&gate);
    ask.authorization = Some(vec![format!("DPoP {token}").into_bytes()]);
    let mut next = |gate: &Gate| {
        ask.proof_claims["jti"] = fresh_id().into();
        ask.proof_claims["iat"] = gate.now().into();
        ask.proof_claims["ath"] = base64url(&sha256(token.as_bytes())).into();
        ask.clone()
    };
    for _ in 0..3 {
        assert_eq!(proxy.check(next(&gate).raw(&gate, &holder)).await.reason(), "allowed");
    }
    let mut elsewhere = next(&gate);
    elsewhere.host = "mixed.example.com".into();
    elsewhere.proof_claims["htu"] = format!("{MIXED}/orders/7").into();
    assert_eq!(proxy.check(elsewhere.raw(&gate, &holder)).await.reason(), TokenFault::AudienceWrong.name());
    let thief = Holder::new("thief");
    let mut stolen = next(&gate);
    stolen.proof_header = thief.proof_header();
    assert_eq!(proxy.check(stolen.raw(&gate, &thief)).await.reason(), Denial::KeyMismatch.name());
    gate.clock.advance(Duration::from_secs(309));
    assert_eq!(proxy.check(next(&gate).raw(&gate, &holder)).await.reason(), "allowed", "within the skew");
    gate.clock.advance(Duration::from_secs(1));
    assert_eq!(proxy.check(next(&gate).raw(&gate, &holder)).await.reason(), TokenFault::Expired.name());
}

#[tokio::test]
async fn a_nonce_is_demanded_given_and_renewed() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let ask = Ask::good(&gate, &holder).at(FRESH);
    let missing = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!((missing.status, missing.reason()), (401, ProofFault::NonceMissing.name()));
    assert!(missing.challenges()[0].starts_with(r#"DPoP error="use_dpop_nonce", "#), "{missing:?}");
    let nonce = missing.header("dpop-nonce").expect("a nonce").to_owned();

    let mut ask = Ask::good(&gate, &holder).at(FRESH);
    ask.proof_claims["nonce"] = nonce.clone().into();
    ask.proof_claims["iat"] = (gate.now() - 86_400).into(); // with a nonce the client's clock does not matter
    let young = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!(young.reason(), "allowed");
    assert!(young.response_headers.is_empty());
    // This resource keeps the credentials for its upstream.
    assert!(!young.removed.contains(&"authorization".to_owned()) && young.removed.contains(&"dpop".to_owned()));

    gate.clock.advance(NONCE_LIFE / 2);
    let mut ask = Ask::good(&gate, &holder).at(FRESH);
    ask.proof_claims["nonce"] = nonce.clone().into();
    let ageing = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!(ageing.reason(), "allowed");
    let [(name, renewed)] = &ageing.response_headers[..] else { panic!("{ageing:?}") };
    assert!(name == "dpop-nonce" && *renewed != nonce);

    gate.clock.advance(NONCE_LIFE / 2 + Duration::from_secs(1));
    for stale in [nonce.as_str(), "made-up"] {
        let mut ask = Ask::good(&gate, &holder).at(FRESH);
        ask.proof_claims["nonce"] = stale.into();
        let verdict = proxy.check(ask.raw(&gate, &holder)).await;
        assert_eq!(verdict.reason(), ProofFault::NonceStale.name());
        assert!(verdict.header("dpop-nonce").is_some());
    }
}

#[tokio::test]
async fn after_a_restart_old_proofs_need_a_nonce() {
    let gate = Gate::with(Trouble::JustRestarted).await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let first = proxy.check(Ask::good(&gate, &holder).raw(&gate, &holder)).await;
    assert_eq!(first.reason(), ProofFault::BeforeRestart.name());
    let mut ask = Ask::good(&gate, &holder);
    ask.proof_claims["nonce"] = first.header("dpop-nonce").expect("a nonce").into();
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), "allowed");
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), ProofFault::Replayed.name());
    gate.clock.advance(Duration::from_secs(20));
    let later = Ask::good(&gate, &holder);
    assert_eq!(proxy.check(later.raw(&gate, &holder)).await.reason(), "allowed");
}

#[tokio::test]
async fn schemes_are_offered_and_faulted_as_the_resource_has_them() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let unbound = |resource: &str| {
        let mut ask = Ask::good(&gate, &holder).at(resource);
        remove(&mut ask.token_claims, "cnf");
        ask.scheme = "Bearer ";
        ask.proofs = Some(vec![]);
        ask
    };
    // Both schemes: an unbound token passes and is handed on, a bound one needs its proof.
    let mut ask = unbound(MIXED);
    let token = ask.token(&gate);
    ask.authorization = Some(vec![format!("Bearer {token}").into_bytes()]);
    let verdict = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!(verdict.header("authorization"), Some(format!("Bearer {token}").as_str()));
    let ask = Ask::good(&gate, &holder).at(MIXED);
    let verdict = proxy.check(ask.raw(&gate, &holder)).await;
    assert!(verdict.header("authorization").is_some_and(|value| value.starts_with("Bearer eyJ")), "{verdict:?}");
    let mut ask = Ask::good(&gate, &holder).at(MIXED);
    ask.scheme = "bearer ";
    let verdict = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!(verdict.reason(), Denial::BoundTokenAsBearer.name());
    let [dpop, bearer] = verdict.challenges()[..] else { panic!("{verdict:?}") };
    assert_eq!(dpop, r#"DPoP algs="ES256 PS256 EdDSA Ed25519""#);
    assert!(
        bearer.starts_with(r#"Bearer error="invalid_token", "#) && bearer.ends_with(&format!(r#"realm="{MIXED}""#))
    );
    let mut ask = Ask::good(&gate, &holder).at(MIXED);
    ask.authorization = Some(vec![b"DPoP a".to_vec(), b"Bearer b".to_vec()]);
    let verdict = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!(verdict.status, 400);
    assert_eq!(verdict.challenges().len(), 2);
    assert!(verdict.challenges().iter().all(|line| line.contains(r#"error="invalid_request""#)), "{verdict:?}");

    // Bearer only: the scheme is not offered, and a bound token is no bearer token.
    assert_eq!(proxy.check(unbound(BEARER).raw(&gate, &holder)).await.reason(), "allowed");
    let verdict = proxy.check(Ask::good(&gate, &holder).at(BEARER).raw(&gate, &holder)).await;
    assert_eq!(verdict.reason(), Denial::CredentialsMissing.name());
    assert_eq!(verdict.challenges(), [format!(r#"Bearer scope="orders:read", realm="{BEARER}""#)]);
    let mut ask = Ask::good(&gate, &holder).at(BEARER);
    ask.scheme = "Bearer ";
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), Denial::BoundTokenAsBearer.name());
}

#[tokio::test]
async fn a_question_that_says_nothing_is_denied_and_so_is_one_that_says_too_much() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let empty = AttributeContext::default();
    let no_http = AttributeContext { request: Some(AttributeRequest::default()), ..AttributeContext::default() };
    for attributes in [None, Some(empty), Some(no_http)] {
        let verdict = proxy.check(question(attributes)).await;
        assert_eq!((verdict.status, verdict.reason()), (400, Denial::CheckMalformed.name()));
        assert!(!verdict.body.is_empty());
    }
    let blank = AttributeRequest { http: Some(HttpRequest::default()), time: None };
    let blank = AttributeContext { request: Some(blank), ..AttributeContext::default() };
    assert_eq!(proxy.check(question(Some(blank))).await.reason(), Denial::HostUnknown.name());
    let holder = Holder::new("tv");
    let mut huge = Ask::good(&gate, &holder);
    huge.headers.push(("x-huge", vec![b'a'; 200_000]));
    let verdict = proxy.check(huge.raw(&gate, &holder)).await;
    assert_eq!((verdict.status, verdict.reason()), (431, Denial::CheckTooLarge.name()));
    // The connection lives.
    let good = Ask::good(&gate, &holder);
    assert_eq!(proxy.check(good.raw(&gate, &holder)).await.reason(), "allowed");
}

#[tokio::test]
async fn bytes_that_are_no_question_are_denied() {
    let gate = Gate::start().await;
    let channel = channel(&gate.socket).await;
    for bytes in [b"\xff\xff\xff".as_slice(), b"\x0a\x05abc", b"\x0a\x02\x22\xff", b"\x0a\x00garbage"] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("a connection");
        let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
        let call = tonic::Request::new(bytes.to_vec());
        let answer = client.unary(call, path, bytes_codec::Plain).await.expect("never a gRPC error");
        let verdict = Verdict::of(answer.into_inner());
        assert_eq!(verdict.reason(), Denial::CheckMalformed.name());
    }
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("a connection");
    let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Other");
    let answer = client.unary(tonic::Request::new(Vec::new()), path, bytes_codec::Plain).await;
    assert_eq!(answer.expect_err("no such method").code(), tonic::Code::Unimplemented);
}

/// Sends any bytes as a message.
mod bytes_codec {
    use bytes::BufMut as _;
    use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
    use prost::Message as _;
    use tonic::Status;
    use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

    #[derive(Clone, Copy)]
    pub struct Plain;

    impl Codec for Plain {
        type Encode = Vec<u8>;
        type Decode = CheckResponse;
        type Encoder = Self;
        type Decoder = Self;

        fn encoder(&mut self) -> Self {
            *self
        }

        fn decoder(&mut self) -> Self {
            *self
        }
    }

    impl Encoder for Plain {
        type Item = Vec<u8>;
        type Error = Status;

        fn encode(&mut self, item: Vec<u8>, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
            bytes.put_slice(&item);
            Ok(())
        }
    }

    impl Decoder for Plain {
        type Item = CheckResponse;
        type Error = Status;

        fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<CheckResponse>, Status> {
            CheckResponse::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
        }
    }
}

#[tokio::test]
async fn an_outage_is_no_refusal_and_no_allow() {
    for trouble in [Trouble::NoKeys, Trouble::NoGuard, Trouble::NoLookup] {
        let gate = Gate::with(trouble).await;
        let mut proxy = Proxy::to(&gate).await;
        let holder = Holder::new("tv");
        let mut ask = Ask::good(&gate, &holder);
        if trouble == Trouble::NoLookup {
            ask.authorization = Some(vec![format!("DPoP tga_{}", "A".repeat(43)).into_bytes()]);
        }
        let verdict = proxy.check(ask.raw(&gate, &holder)).await;
        assert_eq!((verdict.status, verdict.reason()), (503, "unavailable"));
        assert_eq!(verdict.header("retry-after"), Some("1"));
        assert_eq!(verdict.challenges(), Vec::<&str>::new());
        assert_eq!(verdict.metadata.get("rule").map(String::as_str), Some("/orders/**"));
        let mut ask = Ask::good(&gate, &holder);
        ask.target = "/public/a".into();
        assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), "allowed", "what asks nobody still works");
    }
}

#[tokio::test]
async fn a_proof_is_not_spent_when_nobody_waits_for_the_answer() {
    let (events, _listening) = Events::listen();
    let gate = Gate::start().await;
    let holder = Holder::new("tv");
    let question = Ask::good(&gate, &holder).raw(&gate, &holder);
    // Asked without the server around it, which would cut the call off by itself.
    let mut service = gate.service.clone();
    for timeout in ["0m", "1n"] {
        let call = http::Request::post("/envoy.service.auth.v3.Authorization/Check")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout)
            .body(tonic::body::Body::new(Full::new(frame(&question))))
            .expect("a request");
        let answer =
            service.call(call).await.expect("an answer").into_body().collect().await.expect("a body").to_bytes();
        let verdict = Verdict::of(CheckResponse::decode(&answer[5..]).expect("an answer"));
        assert_eq!((verdict.status, verdict.reason()), (503, "unavailable"));
        let said = events.last("message").unwrap_or_default();
        assert!(said.contains("the time for an answer was over"), "no dependency is to blame: {said}");
    }
    assert!(gate.guard.is_empty());
    let verdict = Proxy::to(&gate).await.check(question).await;
    assert_eq!(verdict.reason(), "allowed", "the same proof is still good");
}

/// A message as gRPC frames it: not compressed, and its length.
fn frame(message: &CheckRequest) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message");
    [[0].as_slice(), &length.to_be_bytes(), &message].concat().into()
}

#[tokio::test]
async fn grpc_callers_get_a_sentence_and_a_status_that_fits() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let mut ask = Ask::good(&gate, &holder);
        ask.headers.push(("content-type", content_type.into()));
        ask.authorization = Some(vec![b"DPoP a".to_vec(), b"DPoP b".to_vec()]);
        let verdict = proxy.check(ask.raw(&gate, &holder)).await;
        assert_eq!(verdict.body, Denial::CredentialsRepeated.description());
        assert_eq!(verdict.header("grpc-status"), Some("16"));
        ask.target = "/a;b".into();
        assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.header("grpc-status"), Some("3"));
        ask.target = "/orders/7".into();
        ask.authorization = Some(vec![]);
        let verdict = proxy.check(ask.raw(&gate, &holder)).await;
        assert_eq!(verdict.header("grpc-status"), None, "Envoy translates 401 itself");
        assert_eq!(verdict.challenges().len(), 1);
    }
    let mut ask = Ask::good(&gate, &holder);
    ask.headers.push(("content-type", b"application/grpc;x=1".to_vec()));
    ask.authorization = Some(vec![]);
    assert!(proxy.check(ask.raw(&gate, &holder)).await.body.starts_with('{'));
}

#[tokio::test]
async fn scripts_of_other_origins_may_read_the_challenge() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let mut ask = Ask::good(&gate, &holder).at(FRESH);
    ask.headers.push(("origin", b"https://app.example.com".to_vec()));
    let verdict = proxy.check(ask.raw(&gate, &holder)).await;
    assert_eq!(verdict.header("access-control-expose-headers"), Some("WWW-Authenticate, DPoP-Nonce"));
}

#[tokio::test]
async fn no_event_holds_credentials_or_a_query() {
    let (events, _listening) = Events::listen();
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let mut ask = Ask::good(&gate, &holder);
    ask.target = "/orders/7?secret=in-the-query".into();
    ask.headers.push(("x-request-id", b"req-1".to_vec()));
    let fields = ask.fields(&gate, &holder);
    for _ in 0..2 {
        let _ = proxy.check(ask.raw(&gate, &holder)).await;
    }
    let text = events.text();
    assert!(text.contains("request allowed") && text.contains("proof_replayed") && text.contains("req-1"), "{text}");
    assert!(!text.contains("in-the-query"), "{text}");
    for (_, value) in fields.iter().take(2) {
        let value = String::from_utf8(value.clone()).unwrap();
        for part in value.trim_start_matches("DPoP ").split('.') {
            assert!(!text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn health_tells_of_serving_and_draining() {
    let gate = Gate::start().await;
    let mut health = HealthClient::new(channel(&gate.socket).await);
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.expect("an answer");
        assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32, "{service:?}");
    }
    let unknown = health.check(HealthCheckRequest { service: "other".to_owned() }).await;
    assert_eq!(unknown.expect_err("unknown").code(), tonic::Code::NotFound);

    let mut watches = Vec::new();
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        let watch = health.watch(HealthCheckRequest { service: service.to_owned() }).await.expect("a stream");
        let mut watch = watch.into_inner();
        let first = watch.message().await.expect("a message").expect("a first one");
        assert_eq!(first.status, ServingStatus::Serving as i32, "{service:?}");
        watches.push(watch);
    }
    let told = Instant::now();
    let folder = gate.stop().await;
    assert!(told.elapsed() < Duration::from_secs(5), "the watches held up the end: {:?}", told.elapsed());
    for mut watch in watches {
        let last = watch.message().await.expect("a message").expect("a last one");
        assert_eq!(last.status, ServingStatus::NotServing as i32);
        assert_eq!(watch.message().await.expect("the end of the stream"), None);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "the socket file is gone");
}

#[tokio::test]
async fn a_route_names_its_resource_in_its_metadata_too_and_in_one_voice() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let holder = Holder::new("tv");
    let text = |name: &str| Some(Kind::StringValue(name.to_owned()));
    for (extension, route, reason) in [
        (None, text(API), "allowed"),
        (Some(API), text(API), "allowed"),
        (Some(API), text(FRESH), "resource_unknown"),
        (Some(FRESH), text(API), "resource_unknown"),
        (None, text("https://other.example.com"), "resource_unknown"),
        (None, Some(Kind::BoolValue(true)), "resource_unknown"),
        (None, None, "resource_unknown"),
    ] {
        let mut ask = Ask::good(&gate, &holder);
        ask.host = "orders.internal".to_owned();
        ask.resource = extension.map(str::to_owned);
        let mut question = ask.raw(&gate, &holder);
        let fields = [("resource".to_owned(), Value { kind: route.clone() })].into();
        let filter_metadata = [("tollgate".to_owned(), Struct { fields })].into();
        let attributes = question.attributes.as_mut().expect("attributes");
        attributes.route_metadata_context = Some(Metadata { filter_metadata, ..Metadata::default() });
        assert_eq!(proxy.check(question).await.reason(), reason, "{extension:?} {route:?}");
    }
}

#[tokio::test]
async fn a_socket_and_a_port_are_one_gate() {
    let gate = Gate::start().await;
    let holder = Holder::new("tv");
    let question = Ask::good(&gate, &holder).raw(&gate, &holder);
    let endpoint = Endpoint::from_shared(format!("http://{}", gate.tcp)).expect("an address");
    let mut over_tcp = Proxy(AuthorizationClient::new(endpoint.connect().await.expect("a connection")));
    assert_eq!(over_tcp.check(question.clone()).await.reason(), "allowed");
    assert_eq!(Proxy::to(&gate).await.check(question).await.reason(), ProofFault::Replayed.name());
}

/// Reads the tables of this file: which denials they reach.
#[test]
fn the_tables_reach_every_denial() {
    let elsewhere = [
        Denial::DetailsInsufficient, // `gate_rules.rs`, and the next five
        Denial::ClaimRefused,
        Denial::AuthenticationTooWeak,
        Denial::AuthenticationTooOld,
        Denial::ConditionFalse,
        Denial::ConditionInconclusive,
        Denial::CertificateMismatch, // `mutual_tls.rs`
        Denial::McpCallMalformed,    // `shapes/mcp.rs`
        Denial::CheckMalformed,
        Denial::CheckTooLarge,
        Denial::Token(TokenFault::Revoked), // `ended.rs`
        Denial::Proof(ProofFault::NonceMissing),
        Denial::Proof(ProofFault::NonceStale),
        Denial::Proof(ProofFault::Replayed),
        Denial::Proof(ProofFault::BeforeRestart),
    ];
    let reached: BTreeSet<_> = rows().iter().map(|row| row.denial).chain(elsewhere).map(Denial::name).collect();
    let missing: Vec<_> = Denial::all().map(Denial::name).filter(|name| !reached.contains(name)).collect();
    assert!(missing.is_empty(), "no row reaches {missing:?}");
}
