//! Workloads that authenticate with what their platform has made: service accounts of Kubernetes and SPIFFE workloads.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tollgate::app::{App, Seams};
use tollgate::clock::Clock;
use tollgate::config::Document;
use tollgate::jose::{Algorithm, SigningKey};

use crate::client::{Answer, CLIENT_CREDENTIALS, Client, Credential, claims};
use crate::provider::{Conduct, Provider};
use crate::world::{Events, TestClock, free_port};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// An authorization server, a cluster, a trust domain whose bundle is a file, and two workloads that are clients.
struct Story {
    issuer: String,
    cluster: Provider,
    spire: SigningKey,
    clock: Arc<TestClock>,
    events: Events,
    _listening: tracing::subscriber::DefaultGuard,
    _served: JoinSet<()>,
    folder: TempDir,
}

fn configuration(issuer: &str, cluster: &str) -> String {
    let address = issuer.trim_start_matches("http://");
    format!(
        r#"
listen: {{ public: {{ address: "{address}" }}, admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
store: {{ memory: {{}} }}
authorization_server:
  issuer: "{issuer}"
  scopes: {{ "orders:read": "Read orders" }}
  workload_issuers:
    - kubernetes: {{ issuer: "{cluster}", algorithms: [ES256] }}
    - spiffe: {{ trust_domain: example.org, bundle_file: bundle.json }}
  clients:
    - client_id: billing
      token_endpoint_auth_method: "urn:tollgate:client-auth:kubernetes-service-account"
      service_account: {{ issuer: "{cluster}", namespace: shop, name: billing }}
      grant_types: [client_credentials]
      scope: "orders:read"
    - client_id: reports
      token_endpoint_auth_method: spiffe_jwt
      spiffe_id: spiffe://example.org/ns/shop/sa/reports
      grant_types: [client_credentials]
      scope: "orders:read"
    - client_id: system:serviceaccount:shop:web
      token_endpoint_auth_method: client_secret_post
      client_secret_hash: "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      grant_types: [client_credentials]
"#
    )
}

impl Story {
    async fn start() -> Self {
        let clock = Arc::new(TestClock::default());
        let cluster = Provider::start(clock.now()).await;
        let spire = SigningKey::generate(Algorithm::Es256).expect("a key");
        let issuer = format!("http://127.0.0.1:{}", free_port());
        let folder = tempfile::tempdir().expect("a folder");
        let mut for_tokens = spire.published_jwk();
        for_tokens["use"] = "jwt-svid".into();
        let mut for_certificates = SigningKey::generate(Algorithm::Es256).expect("a key").published_jwk();
        for_certificates["use"] = "x509-svid".into();
        let bundle =
            json!({ "keys": [for_certificates, for_tokens], "spiffe_sequence": 1, "spiffe_refresh_hint": 300 });
        fs::write(folder.path().join("bundle.json"), bundle.to_string()).expect("a file");
        let (events, listening) = Events::listen();
        let text = configuration(&issuer, &cluster.issuer);
        let config = Document::parse("tollgate.yaml", &text, folder.path()).and_then(Document::check);
        let config = config.unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
        let seams = Seams { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Seams::default() };
        let app = App::start(config, seams).await.expect("a start");
        let mut served = JoinSet::new();
        served.spawn(async move { app.run(std::future::pending()).await.expect("it serves") });
        Self { issuer, cluster, spire, clock, events, _listening: listening, _served: served, folder }
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// What the cluster says in a projected token of the service account.
    fn token(&self) -> Value {
        json!({
            "iss": self.cluster.issuer, "sub": "system:serviceaccount:shop:billing", "aud": [self.issuer], "jti": "same",
            "iat": self.now(), "nbf": self.now(), "exp": self.now() + 3_600,
            "kubernetes.io": {
                "namespace": "shop",
                "serviceaccount": { "name": "billing", "uid": "4d5ac0c9-8a4f-4a63-9c2f-0b6d6b4b1d11" },
                "pod": { "name": "billing-0", "uid": "0" },
            },
        })
    }

    fn signed(&self, claims: &Value) -> String {
        let script = self.cluster.script();
        script.key.sign_with(&json!({ "alg": "ES256", "kid": script.key.kid() }), claims)
    }

    /// What SPIRE says in a JWT-SVID.
    fn svid(&self) -> Value {
        json!({ "sub": "spiffe://example.org/ns/shop/sa/reports", "aud": [self.issuer], "exp": self.now() + 300 })
    }

    fn svid_signed(&self, claims: &Value) -> String {
        self.spire.sign_with(&json!({ "alg": "ES256", "kid": self.spire.kid(), "typ": "JWT" }), claims)
    }

    /// Asks for a token with a proof and this assertion.
    async fn ask(&self, kind: &str, assertion: &str, more: &[(&str, &str)]) -> Answer {
        let workload = Client::new(&self.issuer, "workload", Credential::None);
        let now = self.clock.now();
        let mut call = workload.bare_request(&CLIENT_CREDENTIALS).proof(&workload.proof(now));
        for (name, value) in [("client_assertion_type", kind), ("client_assertion", assertion)].iter().chain(more) {
            call = call.and(name, value);
        }
        call.send().await
    }
}

/// Spoils what a platform says; is told the time and our issuer.
type Spoil = fn(&mut Value, i64, &str);

#[tokio::test]
async fn a_service_account_gets_tokens_that_are_bound_to_its_key_and_needs_no_secret() {
    let story = Story::start().await;
    let assertion = story.signed(&story.token());
    for _ in 0..2 {
        let answer = story.ask(JWT_BEARER, &assertion, &[]).await.expect_tokens();
        assert_eq!(answer.text("token_type"), "DPoP");
        let token = claims(answer.text("access_token"));
        assert_eq!((&token["sub"], &token["client_id"]), (&json!("billing"), &json!("billing")));
    }
    story.ask(JWT_BEARER, &assertion, &[("client_id", "billing")]).await.expect_tokens();
    story.ask(JWT_BEARER, &assertion, &[("client_id", "reports")]).await.expect(400, "invalid_request");

    // Whoever has stolen it gets nothing without a key.
    let workload = Client::new(&story.issuer, "workload", Credential::None);
    let bare = workload.bare_request(&CLIENT_CREDENTIALS).and("client_assertion_type", JWT_BEARER);
    bare.and("client_assertion", &assertion).send().await.expect(400, "invalid_dpop_proof");
    assert!(!story.events.text().contains(&assertion));
}

#[tokio::test]
async fn a_service_account_token_is_refused_for_each_single_defect() {
    let story = Story::start().await;
    let rows: [(&str, Spoil); 20] = [
        ("assertion_party_wrong", |token, _, _| token["iss"] = "https://evil.example".into()),
        ("assertion_party_wrong", |token, _, _| drop(token.as_object_mut().expect("an object").remove("iss"))),
        ("assertion_audience_wrong", |token, _, _| token["aud"] = json!(["https://kubernetes.default.svc"])),
        ("assertion_audience_wrong", |token, _, issuer| {
            token["aud"] = json!([issuer, "https://kubernetes.default.svc"]);
        }),
        ("assertion_audience_wrong", |token, _, issuer| token["aud"] = json!([format!("{issuer}/oauth/token")])),
        ("assertion_audience_wrong", |token, _, _| token["aud"] = json!([])),
        ("assertion_party_wrong", |token, _, _| token["sub"] = "system:serviceaccount:shop:admin".into()),
        ("assertion_party_wrong", |token, _, _| token["sub"] = "system:serviceaccount:default:billing".into()),
        ("assertion_party_wrong", |token, _, _| token["sub"] = "system:node:billing".into()),
        ("assertion_party_wrong", |token, _, _| token["sub"] = "system:serviceaccount:shop:billing:x".into()),
        ("assertion_party_wrong", |token, _, _| token["kubernetes.io"] = Value::Null),
        ("assertion_party_wrong", |token, _, _| token["kubernetes.io"]["namespace"] = "default".into()),
        ("assertion_party_wrong", |token, _, _| token["kubernetes.io"]["serviceaccount"]["name"] = "admin".into()),
        ("assertion_time_wrong", |token, now, _| token["exp"] = now.into()),
        ("assertion_time_wrong", |token, now, _| token["exp"] = (now + 3_611).into()),
        ("assertion_time_wrong", |token, now, _| token["iat"] = (now - 3_600).into()),
        ("assertion_time_wrong", |token, now, _| token["iat"] = (now + 11).into()),
        ("assertion_time_wrong", |token, now, _| token["nbf"] = (now + 11).into()),
        ("assertion_time_wrong", |token, _, _| drop(token.as_object_mut().expect("an object").remove("iat"))),
        ("client_authentication_failed", |token, _, _| {
            token["sub"] = "system:serviceaccount:shop:web".into();
            token["kubernetes.io"]["serviceaccount"]["name"] = "web".into();
        }),
    ];
    for (refusal, spoil) in rows {
        let mut token = story.token();
        spoil(&mut token, story.now(), &story.issuer);
        story.ask(JWT_BEARER, &story.signed(&token), &[]).await.expect(401, "invalid_client");
        assert_eq!(story.events.last("refusal").as_deref(), Some(refusal), "{token}");
    }
    let header = json!({ "alg": "ES256", "kid": story.cluster.script().key.kid() });
    let typed = story.cluster.script().key.sign("at+jwt", &story.token());
    let stranger = SigningKey::generate(Algorithm::Es256).expect("a key");
    for (refusal, assertion) in [
        ("assertion_signature_wrong", stranger.sign_with(&header, &story.token())),
        ("assertion_signature_wrong", stranger.sign("JWT", &story.token())),
        ("assertion_malformed", typed),
        ("assertion_malformed", "a.b.c".to_owned()),
    ] {
        story.ask(JWT_BEARER, &assertion, &[]).await.expect(401, "invalid_client");
        assert_eq!(story.events.last("refusal").as_deref(), Some(refusal));
    }
    // It is no JWT-SVID, and no bearer of anything else.
    story.ask(JWT_SPIFFE, &story.signed(&story.token()), &[]).await.expect(401, "invalid_client");
    let both = [("client_secret", "x"), ("client_id", "billing")];
    story.ask(JWT_BEARER, &story.signed(&story.token()), &both).await.expect(400, "invalid_request");
}

#[tokio::test]
async fn while_a_cluster_cannot_be_asked_its_workloads_are_told_to_come_back() {
    let story = Story::start().await;
    story.ask(JWT_BEARER, &story.signed(&story.token()), &[]).await.expect_tokens();
    story.clock.advance(Duration::from_secs(11));
    story.cluster.script().conduct = Conduct::Failing;
    story.ask(JWT_BEARER, &story.signed(&story.token()), &[]).await.expect_tokens();
    let new = SigningKey::generate(Algorithm::Es256).expect("a key");
    let assertion = new.sign_with(&json!({ "alg": "ES256", "kid": new.kid() }), &story.token());
    story.ask(JWT_BEARER, &assertion, &[]).await.expect(503, "temporarily_unavailable");
    {
        let mut script = story.cluster.script();
        script.conduct = Conduct::Proper;
        script.published.push(new.published_jwk());
    }
    story.clock.advance(Duration::from_secs(11));
    story.ask(JWT_BEARER, &assertion, &[]).await.expect_tokens();
}

#[tokio::test]
async fn a_spiffe_workload_gets_tokens_and_is_refused_for_each_single_defect() {
    let story = Story::start().await;
    for more in [&[][..], &[("client_id", "reports")]] {
        let answer = story.ask(JWT_SPIFFE, &story.svid_signed(&story.svid()), more).await.expect_tokens();
        assert_eq!(claims(answer.text("access_token"))["client_id"], "reports");
    }
    let rows: [(&str, Spoil); 10] = [
        ("assertion_party_wrong", |svid, _, _| svid["sub"] = "spiffe://evil.example/ns/shop/sa/reports".into()),
        ("assertion_party_wrong", |svid, _, _| svid["sub"] = "reports".into()),
        ("assertion_party_wrong", |svid, _, _| svid["sub"] = "spiffe://example.org/ns/shop/../shop/sa/reports".into()),
        ("client_authentication_failed", |svid, _, _| svid["sub"] = "spiffe://example.org/ns/shop/sa/reports-2".into()),
        ("client_authentication_failed", |svid, _, _| svid["sub"] = "spiffe://example.org/ns/shop".into()),
        ("assertion_audience_wrong", |svid, _, issuer| svid["aud"] = json!([issuer, "other"])),
        ("assertion_audience_wrong", |svid, _, _| svid["aud"] = "other".into()),
        ("assertion_time_wrong", |svid, now, _| svid["exp"] = now.into()),
        ("assertion_time_wrong", |svid, now, _| svid["exp"] = (now + 3_611).into()),
        ("assertion_time_wrong", |svid, _, _| drop(svid.as_object_mut().expect("an object").remove("exp"))),
    ];
    for (refusal, spoil) in rows {
        let mut svid = story.svid();
        spoil(&mut svid, story.now(), &story.issuer);
        story.ask(JWT_SPIFFE, &story.svid_signed(&svid), &[]).await.expect(401, "invalid_client");
        assert_eq!(story.events.last("refusal").as_deref(), Some(refusal), "{svid}");
    }
    // An ordinary assertion is none of those, nor the other way round; the keys are not the same.
    story.ask(JWT_BEARER, &story.svid_signed(&story.svid()), &[]).await.expect(401, "invalid_client");
    let of_the_cluster = story.signed(&story.svid());
    story.ask(JWT_SPIFFE, &of_the_cluster, &[]).await.expect(401, "invalid_client");
    assert_eq!(story.events.last("refusal").as_deref(), Some("assertion_signature_wrong"));

    // A bundle that is replaced is read again, and a key that is not in it any more counts no longer.
    let new = SigningKey::generate(Algorithm::Es256).expect("a key");
    let mut jwk = new.published_jwk();
    jwk["use"] = "jwt-svid".into();
    fs::write(story.folder.path().join("bundle.json"), json!({ "keys": [jwk] }).to_string()).expect("a file");
    story.clock.advance(Duration::from_secs(31));
    let renewed = new.sign_with(&json!({ "alg": "ES256", "kid": new.kid() }), &story.svid());
    story.ask(JWT_SPIFFE, &renewed, &[]).await.expect_tokens();
    story.ask(JWT_SPIFFE, &story.svid_signed(&story.svid()), &[]).await.expect(401, "invalid_client");
}

#[tokio::test]
async fn the_metadata_names_how_workloads_authenticate() {
    let story = Story::start().await;
    let url = format!("{}/.well-known/oauth-authorization-server", story.issuer);
    let document: Value = crate::client::http().get(url).send().await.expect("an answer").json().await.expect("JSON");
    for endpoint in ["token", "revocation", "introspection"] {
        let methods =
            document[format!("{endpoint}_endpoint_auth_methods_supported")].as_array().expect("a list").clone();
        for method in ["spiffe_jwt", "urn:tollgate:client-auth:kubernetes-service-account"] {
            assert!(methods.contains(&json!(method)), "{endpoint}: {methods:?}");
        }
    }
}
