//! What rules may ask of tokens, and what clients are told that bring too little.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tollgate::clock::Clock;
use tollgate::jose::{Algorithm, Jws, PublicKey};

use crate::check::{Proxy, Verdict};
use crate::envoy::{Envoy, Reply, eventually};
use crate::gate::{Holder, proof_claims};
use crate::other_issuers::serve;
use crate::provider::Provider;
use crate::upstream::{Upstream, fields};
use crate::world::{Events, TestClock};

pub const API: &str = "https://api.example.com";

/// A gate with one resource, the issuer of its tokens, and somebody who holds a key.
pub struct Story {
    pub acme: Provider,
    pub clock: Arc<TestClock>,
    pub ada: Holder,
    pub events: Events,
    pub proxy: Proxy,
    pub socket: PathBuf,
    _folder: TempDir,
    _listening: tracing::subscriber::DefaultGuard,
    _gate: JoinSet<()>,
}

impl Story {
    /// `resource` is what the configuration says of it, but for its name and issuer.
    pub async fn start(resource: &str) -> Self {
        let clock = Arc::new(TestClock::default());
        let acme = Provider::start(clock.now()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("authz.sock");
        let text = format!(
            r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }}, {{ address: "unix:{}" }} ] }}
protected_resources:
  - resource: {API}
    authorization_servers: ["{}"]
{resource}"#,
            socket.display(),
            acme.issuer
        );
        let (events, listening) = Events::listen();
        let (gate, proxy) = serve(&text, &clock).await;
        let fetched = || acme.script().requests.iter().any(|(head, _)| head.starts_with("GET /jwks "));
        eventually("the keys are fetched", async || fetched().then_some(())).await;
        // The fence is behind us.
        clock.advance(Duration::from_mins(1));
        let ada = Holder::new("app");
        Self { acme, clock, ada, events, proxy, socket, _folder: folder, _listening: listening, _gate: gate }
    }

    pub fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// A good token that says these things too.
    pub fn token(&self, more: &Value) -> String {
        let now = self.now();
        let mut claims = json!({
            "iss": self.acme.issuer, "sub": "ada", "aud": API, "client_id": "app", "scope": "orders:read", "jti": "1",
            "iat": now, "exp": now + 3_600, "cnf": { "jkt": self.ada.thumbprint() },
        });
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        self.acme.script().key.sign("at+jwt", &claims)
    }

    /// The two headers of a request with this token and a fresh proof.
    pub fn credentials(&self, method: &str, path: &str, token: &str) -> [(&'static str, String); 2] {
        let proof = self.ada.proof(method, &format!("{API}{path}"), token, self.now());
        [("authorization", format!("DPoP {token}")), ("dpop", proof)]
    }

    pub async fn get(&mut self, path: &str, token: &str) -> Verdict {
        let credentials = self.credentials("GET", path, token);
        let headers = credentials.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.proxy.ask("api.example.com", path, &headers).await
    }
}

/// The real Envoy before a story, and an API behind it.
pub struct Behind {
    pub envoy: Envoy,
    pub upstream: Upstream,
}

impl Behind {
    pub async fn envoy(story: &Story) -> Self {
        let upstream = Upstream::start().await;
        Self { envoy: Envoy::recommended(&story.socket, upstream.port).await, upstream }
    }

    /// The same, which sends the gate these headers too.
    pub async fn sending(headers: &[&str], story: &Story) -> Self {
        let upstream = Upstream::start().await;
        Self { envoy: Envoy::sending(headers, &story.socket, upstream.port).await, upstream }
    }

    /// A GET request with these headers, and what of it reached the API.
    pub async fn get(&self, path: &str, headers: &[(&str, String)]) -> (Reply, Option<String>) {
        self.send("GET", path, headers).await
    }

    /// The same with any method.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, String)]) -> (Reply, Option<String>) {
        let mut wire = format!("{method} {path} HTTP/1.1\r\nhost: api.example.com\r\n");
        wire.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        wire.push_str("\r\n");
        let reply = self.envoy.send(wire.as_bytes()).await;
        (reply, self.upstream.take().pop())
    }
}

const RULES: &str = r#"
    metadata: {}
    rules:
      - { path: /any, any_scope: ["orders:admin", "orders:read orders:audit"], scope: "orders:see" }
      - { path: /mfa, acr: ["urn:hardware", "urn:mfa"], scope: "orders:read" }
      - { path: /recent, max_age: 5m, acr: ["urn:mfa"], allow: authenticated }
      - { path: /team, claims: { department: [ops, dev], level: 2, roles: owner } }
      - { path: /pay, authorization_details: [ { type: payment, actions: [initiate] }, { type: account } ] }
"#;

#[tokio::test]
async fn a_token_must_meet_all_that_its_rule_asks_for() {
    let mut story = Story::start(RULES).await;
    let now = story.now();
    let team = |department: Value, level: Value, roles: Value| json!({ "department": department, "level": level, "roles": roles });
    let pay = |details: Value| json!({ "authorization_details": details });
    let payment = json!({ "type": "payment", "actions": ["initiate"], "locations": [API] });
    for (path, claims, reason) in [
        ("/any", json!({ "scope": "orders:see orders:admin" }), "allowed"),
        ("/any", json!({ "scope": "orders:see orders:read orders:audit" }), "allowed"),
        ("/any", json!({ "scope": "orders:see orders:read" }), "scope_insufficient"),
        ("/any", json!({ "scope": "orders:admin" }), "scope_insufficient"),
        ("/mfa", json!({ "acr": "urn:mfa" }), "allowed"),
        ("/mfa", json!({ "acr": "urn:hardware" }), "allowed"),
        ("/mfa", json!({ "acr": "urn:password" }), "authentication_too_weak"),
        ("/mfa", json!({ "acr": ["urn:mfa"] }), "authentication_too_weak"),
        ("/mfa", json!({}), "authentication_too_weak"),
        ("/mfa", json!({ "scope": "profile" }), "scope_insufficient"),
        ("/recent", json!({ "acr": "urn:mfa", "auth_time": now - 300 }), "allowed"),
        ("/recent", json!({ "acr": "urn:mfa", "auth_time": now - 311 }), "authentication_too_old"),
        ("/recent", json!({ "acr": "urn:mfa", "auth_time": now + 60 }), "authentication_too_old"),
        ("/recent", json!({ "acr": "urn:mfa", "auth_time": "now" }), "authentication_too_old"),
        ("/recent", json!({ "acr": "urn:mfa" }), "authentication_too_old"),
        ("/team", team("ops".into(), 2.into(), json!(["guest", "owner"])), "allowed"),
        ("/team", team("dev".into(), 2.into(), "owner".into()), "allowed"),
        ("/team", team("hr".into(), 2.into(), "owner".into()), "claim_refused"),
        ("/team", team("ops".into(), "2".into(), "owner".into()), "claim_refused"),
        ("/team", team("ops".into(), 2.into(), json!([])), "claim_refused"),
        ("/team", json!({ "department": "ops", "level": 2 }), "claim_refused"),
        ("/pay", pay(json!([payment, { "type": "account" }])), "allowed"),
        ("/pay", pay(json!([payment])), "authorization_details_insufficient"),
        ("/pay", json!({}), "authorization_details_insufficient"),
    ] {
        let token = story.token(&claims);
        let verdict = story.get(path, &token).await;
        assert_eq!(verdict.reason(), reason, "{path} {claims}: {verdict:?}");
        assert_eq!(verdict.header("x-auth-subject"), (reason == "allowed").then_some("ada"), "{path} {claims}");
        let status = match reason {
            "allowed" => 200,
            "authentication_too_weak" | "authentication_too_old" => 401,
            _ => 403,
        };
        assert_eq!(verdict.status, status, "{path} {claims}");
    }
}

#[tokio::test]
async fn who_must_sign_in_again_is_told_how_and_others_are_not() {
    let mut story = Story::start(RULES).await;
    let metadata = r#"resource_metadata="https://api.example.com/.well-known/oauth-protected-resource""#;
    let behind = format!(r#"algs="ES256 PS256 EdDSA Ed25519", {metadata}"#);
    let step_up = |text: &str, rest: &str| {
        format!(r#"DPoP error="insufficient_user_authentication", error_description="{text}", {rest}, {behind}"#)
    };
    let (weak, old) = ("a stronger authentication is required", "a more recent authentication is required");
    for (path, claims, challenge) in [
        ("/mfa", json!({}), step_up(weak, r#"scope="orders:read", acr_values="urn:hardware urn:mfa""#)),
        ("/recent", json!({ "acr": "urn:mfa" }), step_up(old, r#"acr_values="urn:mfa", max_age="300""#)),
        (
            "/any",
            json!({}),
            format!(
                r#"DPoP error="insufficient_scope", error_description="the token lacks a scope that is required here", scope="orders:admin orders:see", {behind}"#
            ),
        ),
    ] {
        let token = story.token(&claims);
        assert_eq!(story.get(path, &token).await.challenges(), [challenge], "{path}");
    }
    // RFC 9470 §8: nothing about it to somebody whose token is not good.
    let expired = story.token(&json!({ "exp": story.now() - 60 }));
    let verdict = story.get("/recent", &expired).await;
    assert_eq!(verdict.reason(), "token_expired");
    assert!(!verdict.challenges()[0].contains("max_age"), "{verdict:?}");
    assert_eq!(story.events.last("denial").as_deref(), Some("token_expired"));
    // What no sign-in repairs has no challenge.
    let token = story.token(&json!({}));
    let verdict = story.get("/team", &token).await;
    assert_eq!((verdict.status, verdict.challenges().len()), (403, 0), "{verdict:?}");

    let document = story.proxy.ask("api.example.com", "/.well-known/oauth-protected-resource", &[]).await;
    let document: Value = serde_json::from_str(&document.body).expect("JSON");
    assert_eq!(document["authorization_details_types_supported"], json!(["account", "payment"]));
    assert_eq!(document["scopes_supported"], json!(["orders:admin", "orders:read", "orders:see"]));
}

#[tokio::test]
async fn a_condition_that_cannot_be_evaluated_is_not_met() {
    let rules = r#"
    rules:
      - { path: /ops, when: "claims.department == 'ops' && request.headers['x-tenant'] == claims.tenant" }
"#;
    let mut story = Story::start(rules).await;
    for (claims, tenant, reason) in [
        (json!({ "department": "ops", "tenant": "acme" }), Some("acme"), "allowed"),
        (json!({ "department": "ops", "tenant": "acme" }), Some("other"), "condition_false"),
        (json!({ "department": "hr", "tenant": "acme" }), Some("acme"), "condition_false"),
        (json!({ "department": "ops" }), Some("acme"), "condition_inconclusive"),
        (json!({ "department": "ops", "tenant": "acme" }), None, "condition_inconclusive"),
        (json!({}), Some("acme"), "condition_inconclusive"),
    ] {
        let token = story.token(&claims);
        let credentials = story.credentials("GET", "/ops", &token);
        let headers = credentials.each_ref().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = headers.into_iter().chain(tenant.map(|tenant| ("x-tenant", tenant))).collect();
        let verdict = story.proxy.ask("api.example.com", "/ops", &headers).await;
        assert_eq!(verdict.reason(), reason, "{claims} {tenant:?}: {verdict:?}");
        assert_eq!(verdict.status, if reason == "allowed" { 200 } else { 403 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_sees_the_headers_that_envoy_is_told_to_send_if_they_are_single() {
    let rules = r#"
    rules:
      - { path: /tenant, when: "request.headers['x-tenant'] == claims.tenant && request.host == 'api.example.com'" }
      - { path: /role, when: "request.headers['x-role'] != 'admin'" }
      - { path: /guest, when: "!('x-role' in request.headers)" }
"#;
    let story = Story::start(rules).await;
    let token = story.token(&json!({ "tenant": "acme" }));
    let told = Behind::sending(&["x-tenant", "x-role"], &story).await;
    let untold = Behind::envoy(&story).await;
    for (behind, path, headers, error) in [
        (&told, "/tenant", &[("x-tenant", "acme")][..], None),
        (&told, "/tenant", &[("x-tenant", "other")], Some("condition_false")),
        (&told, "/tenant", &[], Some("condition_inconclusive")),
        (&told, "/tenant", &[("x-tenant", "acme"), ("x-tenant", "acme")], Some("condition_inconclusive")),
        (&told, "/role", &[("x-role", "guest")], None),
        (&told, "/role", &[("x-role", "guest"), ("x-role", "admin")], Some("condition_inconclusive")),
        (&told, "/role", &[("x-role", "admin"), ("X-Role", "")], Some("condition_inconclusive")),
        (&told, "/role", &[("x-role", "guest,admin")], Some("condition_inconclusive")),
        (&told, "/guest", &[], None),
        (&told, "/guest", &[("x-role", "admin")], Some("condition_false")),
        (&told, "/guest", &[("x-role", ""), ("x-role", "")], Some("condition_inconclusive")),
        // What nobody sends is not there: what `tollgate validate` and the log warn of.
        (&untold, "/tenant", &[("x-tenant", "acme")], Some("condition_inconclusive")),
        (&untold, "/guest", &[("x-role", "admin")], None),
    ] {
        let credentials = story.credentials("GET", path, &token);
        let more = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let (reply, arrived) = behind.get(path, &credentials.into_iter().chain(more).collect::<Vec<_>>()).await;
        let expected = if error.is_none() { 200 } else { 403 };
        assert_eq!((reply.status, arrived.is_some()), (expected, error.is_none()), "{path} {headers:?}: {reply:?}");
        assert!(error.is_none_or(|error| reply.body.contains(error)), "{path} {headers:?}: {reply:?}");
    }
}

#[tokio::test]
async fn what_is_only_observed_passes_and_says_nothing_of_who_it_is() {
    let rules = r#"
    enforcement: observe
    rules: [ { path: /orders/*, scope: "orders:read" } ]
"#;
    let story = Story::start(rules).await;
    let behind = Behind::envoy(&story).await;
    let good = story.token(&json!({}));
    let narrow = story.token(&json!({ "scope": "profile" }));
    let expired = story.token(&json!({ "exp": story.now() - 60 }));
    let proven = |token: &str| story.credentials("GET", "/orders/7", token).to_vec();
    let bearer = vec![("authorization", format!("Bearer {good}"))];
    let once = proven(&good);
    for (headers, would_be) in [
        (once.clone(), None),
        (once, Some("proof_replayed")),
        (vec![], Some("credentials_missing")),
        (bearer, Some("bound_token_as_bearer")),
        (proven(&narrow), Some("scope_insufficient")),
        (proven(&expired), Some("token_expired")),
    ] {
        let spoofed = [("x-auth-subject", "evil".to_owned()), ("x-auth-scope", "admin".to_owned())];
        let headers: Vec<_> = headers.into_iter().chain(spoofed).collect();
        let (reply, arrived) = behind.get("/orders/7", &headers).await;
        assert_eq!(reply.status, 200, "{would_be:?}: {reply:?}");
        let arrived = arrived.expect("it passed");
        let subject = if would_be.is_none() { vec!["ada"] } else { vec![] };
        assert_eq!(fields(&arrived, "x-auth-subject"), subject, "{would_be:?}: {arrived}");
        assert!(!arrived.contains("evil") && !arrived.contains("admin"), "{arrived}");
        assert!(fields(&arrived, "authorization").is_empty(), "{arrived}");
        if let Some(denial) = would_be {
            assert_eq!(story.events.last("denial").as_deref(), Some(denial));
        }
    }
    // Whoever asks for another host is not observed, and does not pass.
    let verdict = story.proxy.clone().ask("other.example.com", "/orders/7", &[]).await;
    assert_eq!(verdict.reason(), "host_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_hands_the_step_up_on_and_keeps_the_request() {
    let story = Story::start(RULES).await;
    let behind = Behind::envoy(&story).await;
    let get = async |auth_time: i64| {
        let token = story.token(&json!({ "acr": "urn:mfa", "auth_time": auth_time }));
        behind.get("/recent", &story.credentials("GET", "/recent", &token)).await
    };
    let (reply, arrived) = get(story.now() - 400).await;
    assert_eq!((reply.status, arrived), (401, None), "{reply:?}");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains(r#"error="insufficient_user_authentication""#), "{challenge}");
    assert!(challenge.contains(r#"acr_values="urn:mfa", max_age="300""#), "{challenge}");
    let (reply, arrived) = get(story.now() - 10).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(arrived.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_a_token_of_its_own_that_it_can_verify() {
    let resource = r#"
    upstream:
      authorization: internal_jwt
      claims_header: { name: x-auth-claims, claims: [sub, name, missing] }
      internal_jwt: { audience: orders, lifetime: 30s, claims: [name] }
    rules: [ { path: /orders/*, scope: "orders:read" }, { path: /public, allow: anyone } ]
"#;
    let story = Story::start(resource).await;
    let behind = Behind::envoy(&story).await;
    let token = story.token(&json!({ "name": "Zoë", "acr": "urn:mfa", "secret": "not for the service" }));
    let get = async || {
        let mut headers = story.credentials("GET", "/orders/7", &token).to_vec();
        headers.push(("x-auth-claims", "{\"sub\":\"evil\"}".to_owned()));
        let (reply, arrived) = behind.get("/orders/7", &headers).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        arrived.expect("it passed")
    };
    let arrived = get().await;
    assert_eq!(fields(&arrived, "x-auth-claims"), [r#"{"name":"Zo\u00eb","sub":"ada"}"#]);
    let [authorization] = fields(&arrived, "authorization")[..] else { panic!("{arrived}") };
    let internal = authorization.strip_prefix("Bearer ").expect("a bearer token").to_owned();
    assert!(!arrived.contains(&token), "{arrived}");

    let (reply, reached) = behind.get("/.well-known/tollgate/jwks.json", &[]).await;
    assert_eq!((reply.status, reached), (200, None), "{reply:?}");
    let keys: Value = serde_json::from_str(&reply.body).expect("JSON");
    let key = PublicKey::from_jwk(keys["keys"][0].as_object().expect("a key")).expect("a public key");
    let jws = Jws::parse(&internal, 4_096).expect("a JWS");
    jws.verify(Algorithm::Es256, &key).expect("the signature of the gate");
    assert_eq!(jws.header()["typ"], "upstream+jwt");
    let now = story.now();
    let expected = json!({
        "iss": format!("{API}/.well-known/tollgate"), "aud": "orders", "sub": "ada", "client_id": "app", "scope": "orders:read",
        "acr": "urn:mfa", "name": "Zoë", "sub_iss": story.acme.issuer, "iat": now, "exp": now + 30,
    });
    assert_eq!(Value::Object(jws.claims().clone()), expected);

    // The same one while it is young, then another; it is worth nothing at the gate itself.
    assert!(get().await.contains(&internal));
    story.clock.advance(Duration::from_secs(15));
    assert!(!get().await.contains(&internal));
    let (reply, _) = behind.get("/orders/7", &[("authorization", format!("Bearer {internal}"))]).await;
    assert_eq!(reply.status, 401);
    // Who has shown nothing gets nothing, and what he has sent does not arrive.
    let (_, arrived) = behind.get("/public", &[("authorization", format!("Bearer {internal}"))]).await;
    let arrived = arrived.expect("it passed");
    assert!(fields(&arrived, "authorization").is_empty() && fields(&arrived, "x-auth-claims").is_empty(), "{arrived}");
}

#[tokio::test]
async fn the_keys_of_other_times_and_other_replicas_are_published_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["old", "new"] {
        let key = rcgen::KeyPair::generate().expect("a key");
        std::fs::write(folder.path().join(name), key.serialize_pem()).expect("a file");
    }
    let published = async |own: &str, others: &[&str]| {
        let file = |name: &str| format!("\"{}\"", folder.path().join(name).display());
        let others: Vec<_> = others.iter().map(|name| file(name)).collect();
        let resource = format!(
            r"
    upstream:
      authorization: internal_jwt
      internal_jwt: {{ key_file: {}, other_key_files: [{}] }}
    rules: [ {{ path: /orders/*, allow: authenticated }} ]
",
            file(own),
            others.join(", ")
        );
        let mut story = Story::start(&resource).await;
        let answer = story.proxy.ask("api.example.com", "/.well-known/tollgate/jwks.json", &[]).await;
        let keys: Value = serde_json::from_str(&answer.body).expect("JSON");
        let keys = keys["keys"].as_array().expect("keys").iter();
        keys.map(|key| key["kid"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let (before, after) = (published("old", &["new", "old"]).await, published("new", &["old"]).await);
    assert_eq!(before.len(), 2, "{before:?}");
    assert_eq!(after, before.iter().rev().cloned().collect::<Vec<_>>(), "that which signs comes first");
    assert_eq!(published("new", &[]).await, after[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_a_named_origin_reads_refusals_and_nonces() {
    let resource = r#"
    nonce: required
    cors_origins: ["https://app.example.com", "http://localhost:3000"]
    rules: [ { path: /orders/*, scope: "orders:read" } ]
"#;
    let story = Story::start(resource).await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_cors(&story.socket, upstream.port).await;
    let behind = Behind { envoy, upstream };
    let app = ("origin", "https://app.example.com".to_owned());
    for (origins, allowed) in [
        (&["https://app.example.com"][..], Some("https://app.example.com")),
        (&["http://localhost:3000"], Some("http://localhost:3000")),
        (&["https://app.example.com:443"], None),
        (&["https://elsewhere.example"], None),
        (&["https://app.example.com", "https://elsewhere.example"], None),
        (&["null"], None),
        (&[], None),
    ] {
        let headers: Vec<_> = origins.iter().map(|origin| ("origin", (*origin).to_owned())).collect();
        let (reply, _) = behind.get("/orders/7", &headers).await;
        assert_eq!(reply.status, 401, "{origins:?}: {reply:?}");
        assert_eq!(reply.header("access-control-allow-origin"), allowed, "{origins:?}: {reply:?}");
        assert_eq!(reply.header("vary"), Some("origin"), "{origins:?}: {reply:?}");
    }

    let token = story.token(&json!({}));
    let claims = |nonce: Option<&str>| {
        let mut claims = proof_claims("GET", &format!("{API}/orders/7"), &token, story.now());
        claims["nonce"] = nonce.into();
        let proof = story.ada.key.sign_with(&story.ada.proof_header(), &claims);
        [app.clone(), ("authorization", format!("DPoP {token}")), ("dpop", proof)]
    };
    let (reply, _) = behind.get("/orders/7", &claims(Some("made-up"))).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, Some("https://app.example.com")));
    let exposed = reply.header("access-control-expose-headers").expect("what may be read").to_owned();
    assert!(exposed.contains("DPoP-Nonce") && exposed.contains("WWW-Authenticate"), "{exposed}");
    let nonce = reply.header("dpop-nonce").expect("a nonce").to_owned();
    let (reply, _) = behind.get("/orders/7", &claims(Some(&nonce))).await;
    assert_eq!((reply.status, reply.header("access-control-expose-headers")), (200, None), "{reply:?}");
    story.clock.advance(Duration::from_mins(3));
    let (reply, _) = behind.get("/orders/7", &claims(Some(&nonce))).await;
    assert_eq!((reply.status, reply.header("access-control-expose-headers")), (200, Some("DPoP-Nonce")), "{reply:?}");
    assert!(reply.header("dpop-nonce").is_some_and(|fresh| fresh != nonce), "{reply:?}");
}

#[tokio::test]
async fn only_a_real_preflight_passes_as_one() {
    let resource = r#"
    cors_preflight: pass
    rules: [ { path: /orders/*, methods: [GET], scope: "orders:read" } ]
"#;
    let mut story = Story::start(resource).await;
    let origin = ("origin", "https://app.example.com");
    let get = ("access-control-request-method", "GET");
    let (put, token) = (("access-control-request-method", "PUT"), ("authorization", "Bearer a"));
    let cookie = ("cookie", "session=1");
    for (method, path, headers, reason) in [
        ("OPTIONS", "/orders/7", &[origin, get][..], "allowed"),
        ("OPTIONS", "/orders/7", &[origin, put], "no_rule"),
        ("OPTIONS", "/other", &[origin, get], "no_rule"),
        ("OPTIONS", "/orders/7", &[get], "no_rule"),
        ("OPTIONS", "/orders/7", &[origin], "no_rule"),
        ("OPTIONS", "/orders/7", &[origin, origin, get], "no_rule"),
        ("OPTIONS", "/orders/7", &[origin, get, put], "no_rule"),
        ("OPTIONS", "/orders/7", &[origin, get, token], "no_rule"),
        ("OPTIONS", "/orders/7", &[origin, get, cookie], "no_rule"),
        ("GET", "/orders/7", &[origin, get], "credentials_missing"),
    ] {
        let verdict = story.proxy.send(method, "api.example.com", path, headers).await;
        assert_eq!(verdict.reason(), reason, "{method} {path} {headers:?}");
    }
    // From an origin that Envoy knows nothing of, so that Envoy asks.
    let behind = Behind::envoy(&story).await;
    let origin = ("origin", "https://elsewhere.example".to_owned());
    let preflight = [origin, ("access-control-request-method", "GET".to_owned())];
    for (more, passes) in [(None, true), (Some(cookie), false), (Some(token), false)] {
        let more = more.map(|(name, value)| (name, value.to_owned()));
        let headers: Vec<_> = preflight.iter().cloned().chain(more).collect();
        let (reply, arrived) = behind.send("OPTIONS", "/orders/7", &headers).await;
        assert_eq!(arrived.is_some(), passes, "{headers:?}: {reply:?}");
        assert_eq!(reply.status == 403, !passes, "{headers:?}: {reply:?}");
    }
}
