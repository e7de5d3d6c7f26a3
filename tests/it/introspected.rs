//! Opaque tokens of others at the gate, which asks their issuer what they stand for (RFC 7662).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate::authz::{Decision, Denial, Enforcer, Finding, OpaqueTokens, Request, TokenIssuer};
use tollgate::cache::Tokens;
use tollgate::clock::{Clock, Timestamp};
use tollgate::dpop::{Fence, ProofFault, ProofKey, ProofKeys, parse_key};
use tollgate::jose::Thumbprint;
use tollgate::oauth::Settings;
use tollgate::token::{AccessTokenFormat, Said, TokenLookup};
use tollgate::unavailable::Unavailable;

use crate::check::{Proxy, Verdict};
use crate::client::{Client, REVOKE, code_request};
use crate::gate::{self, Holder, proof_claims};
use crate::other_issuers::serve;
use crate::provider::{Conduct, Provider};
use crate::world::{SECRET, TestClock, World};

const API: &str = "https://api.example.com";
const TOKEN: &str = "an-opaque.token-of-acme";

/// What a gate of these tests needs to leave its fence behind.
const A_WHILE: Duration = Duration::from_secs(11);

/// A gate without a store that asks `issuer` about what is no JWT.
fn configuration(issuer: &str, endpoint: &str, dpop: &str) -> String {
    format!(
        r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
issuers:
  - issuer: "{issuer}"
    timeout: 1s
    introspection: {{ endpoint: "{issuer}{endpoint}", client_id: backend, client_secret_file: secret, cache: 20s }}
protected_resources:
  - resource: {API}
    authorization_servers: ["{issuer}"]
    dpop: {dpop}
    rules: [ {{ path: /orders/*, scope: "orders:read" }} ]
"#
    )
}

/// A gate, and Acme, whose tokens say nothing.
struct Story {
    acme: Provider,
    clock: Arc<TestClock>,
    ada: Holder,
    proxy: Proxy,
    _gate: JoinSet<()>,
}

impl Story {
    async fn start(dpop: &str) -> Self {
        Self::start_with(dpop, "client_secret_file: secret").await
    }

    /// The same, where the gate authenticates in that way.
    async fn start_with(dpop: &str, credential: &str) -> Self {
        let clock = Arc::new(TestClock::default());
        let acme = Provider::start(clock.now()).await;
        let text = configuration(&acme.issuer, "/introspect", dpop);
        let (gate, proxy) = serve(&text.replace("client_secret_file: secret", credential), &clock).await;
        clock.advance(A_WHILE);
        let story = Self { acme, clock, ada: Holder::new("app"), proxy, _gate: gate };
        story.says(story.good());
        story
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// What Acme says about a good token of ada.
    fn good(&self) -> Value {
        json!({
            "active": true, "token_type": "DPoP", "iss": self.acme.issuer, "sub": "ada", "aud": API, "client_id": "app",
            "scope": "orders:read", "exp": self.now() + 300, "cnf": { "jkt": self.ada.thumbprint() },
        })
    }

    fn says(&self, answer: Value) {
        self.acme.script().introspection = (200, answer);
    }

    async fn call(&mut self, token: &str) -> Verdict {
        let claims = proof_claims("GET", &format!("{API}/orders/7"), token, self.now());
        let proof = self.ada.key.sign_with(&self.ada.proof_header(), &claims);
        let authorization = format!("DPoP {token}");
        self.proxy
            .ask("api.example.com", "/orders/7", &[("authorization", authorization.as_str()), ("dpop", proof.as_str())])
            .await
    }

    async fn call_as_bearer(&mut self, token: &str) -> Verdict {
        let authorization = format!("Bearer {token}");
        self.proxy.ask("api.example.com", "/orders/7", &[("authorization", authorization.as_str())]).await
    }

    /// What Acme was asked.
    fn questions(&self) -> Vec<(String, String)> {
        let asked = |(head, _): &&(String, String)| head.starts_with("POST /introspect ");
        self.acme.script().requests.iter().filter(asked).cloned().collect()
    }
}

#[tokio::test]
async fn an_opaque_token_counts_as_its_issuer_says_and_with_the_key_it_is_bound_to() {
    let mut story = Story::start("required").await;
    let verdict = story.call(TOKEN).await;
    assert_eq!((verdict.status, verdict.header("x-auth-subject")), (200, Some("ada")), "{verdict:?}");
    let questions = story.questions();
    let [(head, body)] = questions.as_slice() else { panic!("{questions:?}") };
    assert!(head.to_ascii_lowercase().contains("authorization: basic "), "{head}");
    assert_eq!(body, &format!("token={TOKEN}&token_type_hint=access_token"));

    assert_eq!(story.call_as_bearer(TOKEN).await.reason(), "bound_token_as_bearer");
    story.ada = Holder::new("thief");
    assert_eq!(story.call(TOKEN).await.reason(), "key_mismatch");
    assert_eq!(story.questions().len(), 1, "the answer is known for a while");
}

#[tokio::test]
async fn a_gate_shows_the_assertion_that_its_platform_renews_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let renew = |assertion: &str| std::fs::write(&file, format!("{assertion}\n")).expect("a file");
    renew("the.first.one");
    let credential = format!("client_assertion_file: {}", file.display());
    let mut story = Story::start_with("required", &credential).await;
    assert_eq!(story.call(TOKEN).await.status, 200);
    renew("the.second.one");
    story.clock.advance(Duration::from_secs(20));
    assert_eq!(story.call(TOKEN).await.status, 200);
    let questions = story.questions();
    assert_eq!(questions.len(), 2);
    for ((head, body), assertion) in questions.iter().zip(["the.first.one", "the.second.one"]) {
        assert!(!head.to_ascii_lowercase().contains("authorization:"), "{head}");
        let bearer = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let said = format!("&client_id=backend&client_assertion_type={bearer}&client_assertion={assertion}");
        assert!(body.ends_with(&said), "{body}");
    }
    std::fs::remove_file(&file).expect("a file");
    story.clock.advance(Duration::from_secs(20));
    let verdict = story.call(TOKEN).await;
    assert_eq!((verdict.status, verdict.reason()), (503, "unavailable"), "{verdict:?}");
}

#[tokio::test]
async fn an_answer_counts_for_a_while_and_then_it_is_asked_again() {
    let mut story = Story::start("required").await;
    assert_eq!(story.call(TOKEN).await.status, 200);
    story.says(json!({ "active": false }));
    story.clock.advance(Duration::from_secs(19));
    assert_eq!(story.call(TOKEN).await.status, 200, "what is known counts for twenty seconds");
    story.clock.advance(Duration::from_secs(1));
    let verdict = story.call(TOKEN).await;
    assert_eq!((verdict.status, verdict.reason()), (401, "token_handle_unknown"), "{verdict:?}");
    // A refusal counts as well, for half as long.
    story.says(story.good());
    story.clock.advance(Duration::from_secs(9));
    assert_eq!(story.call(TOKEN).await.status, 401);
    story.clock.advance(Duration::from_secs(1));
    let mut soon_over = story.good();
    soon_over["exp"] = (story.now() + 5).into();
    story.says(soon_over);
    assert_eq!(story.call(TOKEN).await.status, 200);
    assert_eq!(story.questions().len(), 3);
    // No answer counts for longer than the token itself.
    story.clock.advance(Duration::from_secs(5));
    story.says(json!({ "active": false }));
    assert_eq!(story.call(TOKEN).await.status, 401);
}

#[tokio::test]
async fn what_is_no_good_access_token_is_refused_whatever_is_said_of_it() {
    type Spoil = fn(&mut Value);
    let rows: [(&str, Spoil); 13] = [
        ("token_handle_unknown", |answer| *answer = json!({ "active": false, "sub": "ada" })),
        ("token_handle_unknown", |answer| answer["active"] = false.into()),
        ("token_handle_unknown", |answer| answer["token_type"] = "refresh_token".into()),
        ("token_handle_unknown", |answer| answer["token_use"] = "refresh_token".into()),
        ("token_handle_unknown", |answer| answer["typ"] = "Refresh".into()),
        ("token_handle_unknown", |answer| drop(answer.as_object_mut().expect("an object").remove("cnf"))),
        ("token_issuer_wrong", |answer| answer["iss"] = "https://evil.example".into()),
        ("token_audience_wrong", |answer| answer["aud"] = "https://other.example".into()),
        ("token_claim_missing", |answer| drop(answer.as_object_mut().expect("an object").remove("aud"))),
        ("token_claim_missing", |answer| drop(answer.as_object_mut().expect("an object").remove("client_id"))),
        ("token_handle_unknown", |answer| answer["exp"] = 1.into()),
        ("token_confirmation_unknown", |answer| answer["cnf"]["kid"] = "x".into()),
        ("scope_insufficient", |answer| answer["scope"] = "orders".into()),
    ];
    let mut story = Story::start("required").await;
    for (number, (reason, spoil)) in rows.into_iter().enumerate() {
        let mut answer = story.good();
        spoil(&mut answer);
        story.says(answer);
        let verdict = story.call(&format!("token-{number}")).await;
        assert_eq!(verdict.reason(), reason, "{number}: {verdict:?}");
    }
    // A JWT is none of that, and a broken handle of ours is sent to nobody.
    let asked = story.questions().len();
    assert_eq!(story.call("a.b.c").await.reason(), "token_malformed");
    assert_eq!(story.call("tga_x").await.reason(), "token_malformed");
    assert_eq!(story.questions().len(), asked);
}

#[tokio::test]
async fn a_token_that_is_over_is_not_asked_about_in_every_request_though_it_is_called_active() {
    let mut story = Story::start("required").await;
    let mut over = story.good();
    over["exp"] = story.now().into();
    story.says(over);
    for _ in 0..3 {
        assert_eq!(story.call(TOKEN).await.reason(), "token_handle_unknown");
    }
    assert_eq!(story.questions().len(), 1);
}

#[tokio::test]
async fn nobody_is_asked_for_one_who_could_not_pass_with_a_good_token_either() {
    let mut story = Story::start("required").await;
    let now = story.now();
    let claims = |token: &str, uri: &str| proof_claims("GET", &format!("{API}{uri}"), token, now);
    let signed = |claims: &Value| story.ada.key.sign_with(&story.ada.proof_header(), claims);
    let (good, other) = (signed(&claims(TOKEN, "/orders/7")), signed(&claims(TOKEN, "/orders/8")));
    let (signed_part, _) = good.rsplit_once('.').expect("a signature");
    let (_, signature) = other.rsplit_once('.').expect("a signature");
    let forged = format!("{signed_part}.{signature}");
    let mut old = claims(TOKEN, "/orders/7");
    old["iat"] = (now - 100).into();
    let rows = [
        ("proof_malformed", "x".to_owned()),
        ("proof_token_hash_mismatch", signed(&claims("another", "/orders/7"))),
        ("proof_target_mismatch", signed(&claims(TOKEN, "/orders/8"))),
        ("proof_stale", signed(&old)),
        ("proof_signature_wrong", forged),
    ];
    for (reason, proof) in rows {
        let headers = [("authorization", format!("DPoP {TOKEN}")), ("dpop", proof)];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(story.proxy.ask("api.example.com", "/orders/7", &headers).await.reason(), reason);
    }
    assert_eq!(story.call_as_bearer(TOKEN).await.reason(), "bearer_refused", "whatever it stands for");
    assert_eq!(story.questions().len(), 0);
}

/// Calls every token good that is bound to this key.
struct Binds(Thumbprint);

#[async_trait]
impl TokenLookup for Binds {
    async fn look_up(&self, _: &str, prover: Option<Thumbprint>, now: Timestamp) -> Result<Option<Said>, Unavailable> {
        assert_eq!(prover, Some(self.0), "the proof was verified before anybody was asked");
        let claims = json!({
            "iss": gate::ISSUER, "sub": "ada", "aud": gate::API, "client_id": "app", "scope": "orders:read orders:write", "jti": "1",
            "iat": now.seconds(), "exp": now.seconds() + 300, "cnf": { "jkt": self.0.to_string() },
        });
        Ok(Some(Said { claims: claims.as_object().expect("an object").clone(), until: None }))
    }
}

/// Counts how many proofs are verified: the key of each is wanted.
#[derive(Default)]
struct Verified(AtomicU32);

impl ProofKeys for Verified {
    fn key(&self, encoded_header: &str) -> Result<Arc<ProofKey>, ProofFault> {
        self.0.fetch_add(1, Ordering::Relaxed);
        parse_key(encoded_header).map(Arc::new)
    }
}

/// What a proxy asks about a request with this token and proof.
fn question<'a>(method: &'a str, target: &'a str, authorization: &'a str, proof: &'a str) -> Request<'a> {
    let headers = [("authorization", authorization), ("dpop", proof)].map(|(name, value)| (name, value.as_bytes()));
    let headers = headers.into_iter().collect();
    Request { resource: None, method, host: "api.example.com", target, headers, certificate: None }
}

#[tokio::test]
async fn a_proof_is_verified_once_before_the_issuer_is_asked_and_counts_for_that_request_alone() {
    let (clock, ada, thief) = (Arc::new(TestClock::default()), Holder::new("app"), Holder::new("thief"));
    let now = clock.now();
    let opaque = OpaqueTokens::Introspected(Arc::new(Binds(ada.key.public().thumbprint())));
    let issuer = TokenIssuer { opaque, ..gate::own_issuer(Arc::new(gate::Keys(Vec::new()))) };
    let verified = Arc::new(Verified::default());
    let tokens = Arc::new(Tokens::new(1_000, clock));
    let fence = Fence::after(None, now);
    let enforcer = Enforcer::new(gate::resources(), &[Arc::new(issuer)], tokens.clone(), verified.clone(), fence);
    let proof = |holder: &Holder| holder.proof("GET", "https://api.example.com/orders/7", "opaque", now.seconds());
    let (good, stolen) = (proof(&ada), proof(&thief));
    for (method, target, token, proof, verifications, denial) in [
        ("GET", "/orders/7", "DPoP opaque", &good, 1, None),
        // What was verified for one request is not believed of another.
        ("POST", "/orders/7", "DPoP opaque", &good, 2, Some(Denial::Proof(ProofFault::MethodMismatch))),
        ("GET", "/orders/8", "DPoP opaque", &good, 2, Some(Denial::Proof(ProofFault::TargetMismatch))),
        ("GET", "/orders/7", "DPoP other", &good, 2, Some(Denial::Proof(ProofFault::TokenHashMismatch))),
        ("GET", "/orders/7", "DPoP opaque", &stolen, 2, Some(Denial::KeyMismatch)),
    ] {
        verified.0.store(0, Ordering::Relaxed);
        tokens.forget_all();
        let asked = enforcer.decide(&question("GET", "/orders/7", "DPoP opaque", &good), now);
        let Finding::Unresolved(unresolved, _) = asked else { panic!("the issuer must be asked: {asked:?}") };
        let resolved = unresolved.resolve(now).await.expect("an answer");
        let found = enforcer.decide_resolved(&question(method, target, token, proof), resolved, now);
        let denied = match &found {
            Finding::Unspent(_) => None,
            Finding::Settled(Decision::Deny(denied)) => Some(denied.denial()),
            other => panic!("{method} {target}: {other:?}"),
        };
        assert_eq!((denied, verified.0.load(Ordering::Relaxed)), (denial, verifications), "{method} {target} {token}");
    }
}

#[tokio::test]
async fn strangers_with_tokens_that_they_made_up_keep_out_nobody_who_is_known() {
    let mut story = Story::start("allowed").await;
    assert_eq!(story.call("known").await.status, 200);
    story.says(json!({ "active": false }));
    let ada = std::mem::replace(&mut story.ada, Holder::new("stranger"));
    let (mut refused, mut unasked) = (0, 0);
    for number in 0..150 {
        // Keys cost a stranger nothing.
        story.ada = Holder::new("stranger");
        let token = format!("made-up-{number}");
        let verdict = if number % 2 == 0 { story.call(&token).await } else { story.call_as_bearer(&token).await };
        match (verdict.status, verdict.reason()) {
            (401, "token_handle_unknown") => refused += 1,
            (503, "unavailable") => unasked += 1,
            _ => panic!("{verdict:?}"),
        }
    }
    assert_eq!((refused, unasked, story.questions().len()), (100, 50, 101));
    assert_eq!(story.call("made-up-0").await.reason(), "token_handle_unknown", "it is known to be none");

    story.ada = ada;
    story.says(story.good());
    assert_eq!(story.call("known").await.status, 200);
    assert_eq!(story.call("new-and-of-a-key-that-is-known").await.status, 200);
    story.clock.advance(Duration::from_millis(20));
    assert_eq!(story.call_as_bearer("new").await.reason(), "bound_token_as_bearer", "there is room for one more");
    assert_eq!(story.questions().len(), 103);
}

#[tokio::test]
async fn a_token_that_the_issuer_cannot_stomach_is_no_outage_for_others() {
    let mut story = Story::start("required").await;
    for status in [400, 413, 414, 422, 431] {
        story.acme.script().introspection = (status, json!({}));
        assert_eq!(story.call("odd").await.status, 503);
        story.says(story.good());
        assert_eq!(story.call(&format!("good-{status}")).await.status, 200);
    }
}

#[tokio::test]
async fn the_service_gets_one_token_of_its_own_for_as_long_as_an_answer_counts() {
    let clock = Arc::new(TestClock::default());
    let acme = Provider::start(clock.now()).await;
    let upstream = "    upstream: { authorization: internal_jwt, internal_jwt: { audience: orders, lifetime: 1m } }\n";
    let configuration = configuration(&acme.issuer, "/introspect", "required") + upstream;
    let (gate, proxy) = serve(&configuration, &clock).await;
    clock.advance(A_WHILE);
    let mut story = Story { acme, clock, ada: Holder::new("app"), proxy, _gate: gate };
    story.says(story.good());
    let mut told = Vec::new();
    for wait in [0, 19, 1] {
        story.clock.advance(Duration::from_secs(wait));
        let verdict = story.call(TOKEN).await;
        let authorization = verdict.header("authorization").expect("a token for the service");
        assert!(authorization.starts_with("Bearer "), "{verdict:?}");
        told.push(authorization.to_owned());
    }
    assert_eq!(told[0], told[1], "ECDSA signs no two tokens alike");
    assert_ne!(told[0], told[2], "what is asked again is told again");
    assert_eq!(story.questions().len(), 2);
}

#[tokio::test]
async fn an_answer_may_leave_out_what_goes_without_saying() {
    let mut story = Story::start("allowed").await;
    story.says(json!({ "active": true, "aud": [API], "client_id": "batch", "scope": "orders:read" }));
    let verdict = story.call_as_bearer(TOKEN).await;
    assert_eq!((verdict.status, verdict.header("x-auth-subject")), (200, Some("batch")), "{verdict:?}");
    story.clock.advance(Duration::from_secs(20));
    story.says(json!({ "active": false }));
    assert_eq!(story.call_as_bearer(TOKEN).await.status, 401);
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_an_outage_and_no_refusal() {
    let mut story = Story::start("required").await;
    assert_eq!(story.call("known").await.status, 200);
    let down = |verdict: Verdict| {
        assert_eq!((verdict.status, verdict.reason()), (503, "unavailable"), "{verdict:?}");
        assert!(verdict.header("retry-after").is_some());
    };
    for answer in [(401, json!({ "error": "invalid_client" })), (500, json!({})), (200, json!({})), (200, json!([]))] {
        story.acme.script().introspection = answer;
        down(story.call(TOKEN).await);
        story.clock.advance(Duration::from_secs(1)); // until then nobody is asked
    }
    for conduct in [Conduct::Failing, Conduct::Redirecting, Conduct::Flooding, Conduct::Silent] {
        story.acme.script().conduct = conduct;
        down(story.call(TOKEN).await);
        story.clock.advance(Duration::from_secs(1));
    }
    let asked = story.questions().len();
    down(story.call(TOKEN).await);
    down(story.call(TOKEN).await);
    assert_eq!(story.questions().len(), asked + 1, "one that does not answer is not asked in every request");
    assert_eq!(story.call("known").await.status, 200, "what is known still counts");

    story.clock.advance(Duration::from_secs(1));
    story.acme.script().conduct = Conduct::Proper;
    story.says(story.good());
    assert_eq!(story.call(TOKEN).await.status, 200);
}

/// Calls the orders API through a gate that is not beside the issuer.
async fn call(proxy: &mut Proxy, client: &Client, token: &str, world: &World) -> i32 {
    let proof = client.resource_proof("GET", &format!("{API}/orders/7"), token, world.clock.now());
    let authorization = format!("DPoP {token}");
    let headers = [("authorization", authorization.as_str()), ("dpop", proof.as_str())];
    proxy.ask("api.example.com", "/orders/7", &headers).await.status
}

#[tokio::test]
async fn a_gate_without_the_store_knows_our_own_handles_by_asking() {
    let world = World::start_with(|settings: &mut Settings| {
        for client in &mut settings.clients {
            client.access_token_format = AccessTokenFormat::Opaque;
            if client.id.as_str() == "backend" {
                client.introspects = vec![API.parse().expect("a resource")];
            }
        }
    })
    .await;
    let (_gate, mut proxy) = serve(&configuration(&world.issuer, "/oauth/introspect", "required"), &world.clock).await;
    world.clock.advance(A_WHILE);
    let spa = world.client("spa");
    let code = world.code(&spa).await;
    let tokens = spa.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    let token = tokens.text("access_token");
    assert_eq!(call(&mut proxy, &spa, token, &world).await, 200);
    assert_eq!(call(&mut proxy, &world.client("spa"), token, &world).await, 401, "of a thief");
    spa.about(REVOKE, token, world.clock.now()).into_request().send().await.expect("an answer");
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(call(&mut proxy, &spa, token, &world).await, 401);
    assert!(!world.events.text().contains(SECRET));
}
