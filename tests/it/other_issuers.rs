//! A gate that issues nothing: tokens of other issuers, who are found by discovery, come late, change keys and go away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate::app::{App, Seams};
use tollgate::clock::Clock;
use tollgate::config::Document;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{base64url, sha256};
use tollgate::token::{PackedList, STATUS_LIST_TYPE, StatusListClaims};

use crate::check::{Proxy, Verdict};
use crate::envoy::eventually;
use crate::gate::{Holder, proof_claims};
use crate::provider::{Conduct, Provider};
use crate::world::{Events, SECRET, TestClock};

/// What a gate of these tests needs to leave its fence behind, and to be allowed a fetch again.
const A_WHILE: Duration = Duration::from_secs(11);

/// A gate, two issuers, and somebody who holds a key.
struct Story {
    acme: Provider,
    other: Provider,
    clock: Arc<TestClock>,
    ada: Holder,
    events: Events,
    _listening: tracing::subscriber::DefaultGuard,
    gate: JoinSet<()>,
    proxy: Proxy,
}

/// `api` takes the tokens of Acme, `both` those of the other issuer too, and `legacy` tokens as older servers write them.
fn configuration(acme: &str, other: &str) -> String {
    format!(
        r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
issuers:
  - {{ issuer: "{acme}", timeout: 1s }}
  - {{ issuer: "{other}", typ: JWT, algorithms: [ES256], claims: {{ scope: roles }}, timeout: 1s }}
protected_resources:
  - resource: https://api.example
    authorization_servers: ["{acme}"]
    rules: [ {{ path: /orders/*, scope: "orders:read" }}, {{ path: /me, allow: authenticated }} ]
  - resource: https://both.example
    authorization_servers: ["{acme}", "{other}"]
    audiences: [orders, "https://both.example"]
    dpop: allowed
    rules: [ {{ path: "/**", scope: "orders:read" }} ]
"#
    )
}

impl Story {
    async fn start() -> Self {
        let clock = Arc::new(TestClock::default());
        let story = Self::begin(clock, Conduct::Proper).await;
        eventually("the keys are fetched", async || (story.fetches() > 0).then_some(())).await;
        story.clock.advance(A_WHILE);
        story
    }

    /// A gate that has just begun, with an issuer that behaves like this.
    async fn begin(clock: Arc<TestClock>, conduct: Conduct) -> Self {
        let (acme, other) = (Provider::start(clock.now()).await, Provider::start(clock.now()).await);
        acme.script().conduct = conduct;
        let (events, listening) = Events::listen();
        let (gate, proxy) = serve(&configuration(&acme.issuer, &other.issuer), &clock).await;
        Self { acme, other, clock, ada: Holder::new("app"), events, _listening: listening, gate, proxy }
    }

    /// Ends this life of the gate at once, and begins another.
    async fn restart(&mut self) {
        self.gate.shutdown().await;
        (self.gate, self.proxy) = serve(&configuration(&self.acme.issuer, &self.other.issuer), &self.clock).await;
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// What Acme says in a token for this resource that is bound to ada's key.
    fn claims(&self, resource: &str) -> Value {
        json!({
            "iss": self.acme.issuer, "sub": "ada", "aud": resource, "client_id": "app", "scope": "orders:read orders:write",
            "jti": "1", "iat": self.now(), "exp": self.now() + 300, "cnf": { "jkt": self.ada.thumbprint() },
        })
    }

    /// A good token of Acme.
    fn token(&self, resource: &str) -> String {
        self.acme.script().key.sign("at+jwt", &self.claims(resource))
    }

    /// Asks about a request of ada with this token and a fresh proof.
    async fn ask(&mut self, resource: &str, token: &str) -> Verdict {
        self.ask_with(resource, token, &[]).await
    }

    /// The same with more claims in the proof.
    async fn ask_with(&mut self, resource: &str, token: &str, more: &[(&str, &str)]) -> Verdict {
        let mut claims = proof_claims("GET", &format!("{resource}/orders/7"), token, self.now());
        for (name, value) in more {
            claims[*name] = (*value).into();
        }
        let proof = self.ada.key.sign_with(&self.ada.proof_header(), &claims);
        self.send(resource, &format!("DPoP {token}"), Some(&proof)).await
    }

    async fn send(&mut self, resource: &str, authorization: &str, proof: Option<&str>) -> Verdict {
        let headers: Vec<_> =
            [("authorization", authorization)].into_iter().chain(proof.map(|proof| ("dpop", proof))).collect();
        self.proxy.ask(resource.trim_start_matches("https://"), "/orders/7", &headers).await
    }

    /// How often the keys of Acme were fetched.
    fn fetches(&self) -> usize {
        self.acme.script().requests.iter().filter(|(head, _)| head.starts_with("GET /jwks ")).count()
    }

    /// Acme signs with a new key from now on, and publishes these.
    fn rotate(&self, publish: impl FnOnce(&SigningKey, &SigningKey) -> Vec<Value>) {
        let new = SigningKey::generate(Algorithm::Es256).expect("a key");
        let mut script = self.acme.script();
        script.published = publish(&script.key, &new);
        script.key = new;
    }
}

/// Serves until the set is dropped.
pub async fn serve(text: &str, clock: &Arc<TestClock>) -> (JoinSet<()>, Proxy) {
    let (life, gate) = serve_at(text, clock).await;
    (life, Proxy::at(gate).await)
}

/// The same, and where its gate is.
pub async fn serve_at(text: &str, clock: &Arc<TestClock>) -> (JoinSet<()>, SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let config = Document::parse("tollgate.yaml", text, folder.path()).and_then(Document::check);
    let config = config.unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
    let seams = Seams { clock: Arc::clone(clock) as Arc<dyn Clock>, ..Seams::default() };
    let app = App::start(config, seams).await.expect("a start");
    let gate = app.addresses().expect("addresses").gate[0];
    let mut life = JoinSet::new();
    life.spawn(async move { app.run(std::future::pending()).await.expect("it serves") });
    (life, gate)
}

/// Spoils the header or the claims of a token; is told the time.
type Spoil = fn(&mut Value, &mut Value, i64);

const API: &str = "https://api.example";
const BOTH: &str = "https://both.example";

#[tokio::test]
async fn a_status_list_goes_by_the_name_that_tokens_give_it_in_whatever_form() {
    let mut story = Story::start().await;
    // Without a path, as nobody writes a URL who fetches it.
    let uri = story.acme.issuer.clone();
    let revoked = [tollgate::token::StatusIndex::new(0).expect("a place")];
    let list = PackedList::new(revoked, &uri);
    let now = story.now();
    let claims = StatusListClaims { sub: &uri, iat: now, exp: now + 600, ttl: 60, status_list: list };
    let claims = serde_json::to_value(&claims).expect("claims");
    let list = story.acme.script().key.sign(STATUS_LIST_TYPE, &claims);
    story.acme.script().status_lists.insert("/".to_owned(), list);
    for (idx, expected) in [(1, (200, "allowed")), (0, (401, "token_revoked"))] {
        let mut claims = story.claims(API);
        claims["status"] = json!({ "status_list": { "idx": idx, "uri": uri } });
        let token = story.acme.script().key.sign("at+jwt", &claims);
        let verdict = story.ask(API, &token).await;
        assert_eq!((verdict.status, verdict.reason()), expected, "{idx}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_token_with_a_place_of_its_own_beside_that_of_its_grant_is_over_at_either() {
    let mut story = Story::start().await;
    // Two lists at two URLs of one server: neither is at hand when the first token comes.
    let now = story.now();
    let uri = |list: &str| format!("{}{list}", story.acme.issuer);
    let (grants, tokens) = (uri("/grants"), uri("/tokens"));
    for uri in [&grants, &tokens] {
        let list = PackedList::new(tollgate::token::StatusIndex::new(0), uri);
        let claims = StatusListClaims { sub: uri, iat: now, exp: now + 600, ttl: 60, status_list: list };
        let claims = serde_json::to_value(&claims).expect("claims");
        let list = story.acme.script().key.sign(STATUS_LIST_TYPE, &claims);
        story.acme.script().status_lists.insert(uri.trim_start_matches(&story.acme.issuer).to_owned(), list);
    }
    let at = |uri: &str, idx: i32| json!({ "idx": idx, "uri": uri });
    let (good, refused) = ((200, "allowed"), (401, "token_revoked"));
    for (status, expected) in [
        (json!({ "status_list": at(&grants, 1), "tollgate_status_list": at(&tokens, 1) }), good),
        (json!({ "status_list": at(&grants, 1), "tollgate_status_list": at(&tokens, 0) }), refused),
        (json!({ "status_list": at(&grants, 0), "tollgate_status_list": at(&tokens, 1) }), refused),
        (json!({ "tollgate_status_list": at(&tokens, 0) }), refused),
        (json!({ "status_list": at(&grants, 0), "tollgate_status_list": at(&uri("/none"), 1) }), refused),
        (json!({ "status_list": at(&grants, 1), "tollgate_status_list": at(&grants, -1) }), refused),
        (json!({ "status_list": at(&grants, 1), "tollgate_status_list": at(&uri("/none"), 1) }), (503, "unavailable")),
    ] {
        let mut claims = story.claims(API);
        claims["status"] = status;
        let token = story.acme.script().key.sign("at+jwt", &claims);
        let verdict = story.ask(API, &token).await;
        assert_eq!((verdict.status, verdict.reason()), expected, "{}: {verdict:?}", claims["status"]);
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_passes_with_the_key_it_is_bound_to() {
    let mut story = Story::start().await;
    let token = story.token(API);
    let verdict = story.ask(API, &token).await;
    assert_eq!((verdict.status, verdict.reason()), (200, "allowed"), "{verdict:?}");
    assert_eq!(verdict.header("x-auth-subject"), Some("ada"));
    assert_eq!(verdict.header("x-auth-client"), Some("app"));
    assert_eq!(verdict.header("x-auth-scope"), Some("orders:read orders:write"));
    assert_eq!(verdict.header("x-auth-issuer"), None); // there is only one
}

#[tokio::test]
async fn a_token_of_another_issuer_is_refused_for_each_single_defect() {
    let mut story = Story::start().await;
    let acme = story.acme.issuer.clone();
    let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": story.acme.script().key.kid() });
    let rows: [(&str, Spoil); 20] = [
        ("token_type_wrong", |header, _, _| header["typ"] = "JWT".into()),
        ("token_type_wrong", |header, _, _| drop(header.as_object_mut().expect("an object").remove("typ"))),
        ("token_algorithm_refused", |header, _, _| header["alg"] = "none".into()),
        ("token_algorithm_refused", |header, _, _| header["alg"] = "HS256".into()),
        ("token_key_unknown", |header, _, _| header["alg"] = "RS256".into()),
        ("token_key_unknown", |header, _, _| header["kid"] = "another".into()),
        ("token_issuer_wrong", |_, claims, _| claims["iss"] = "https://evil.example".into()),
        ("token_issuer_wrong", |_, claims, _| {
            claims["iss"] = format!("{}/", claims["iss"].as_str().expect("a text")).into();
        }),
        ("token_audience_wrong", |_, claims, _| claims["aud"] = BOTH.into()),
        ("token_audience_wrong", |_, claims, _| claims["aud"] = json!(["https://api.example/", "orders"])),
        ("token_expired", |_, claims, now| claims["exp"] = (now - 10).into()),
        ("token_claim_missing", |_, claims, now| claims["exp"] = (now + 300).to_string().into()),
        ("token_early", |_, claims, now| claims["nbf"] = (now + 11).into()),
        ("token_claim_missing", |_, claims, _| claims["sub"] = 7.into()),
        ("token_claim_missing", |_, claims, _| drop(claims.as_object_mut().expect("an object").remove("client_id"))),
        ("token_confirmation_unknown", |_, claims, _| claims["cnf"]["x5t"] = "AQAB".into()),
        ("token_confirmation_unknown", |_, claims, _| claims["cnf"] = json!({ "kid": "1" })),
        ("certificate_mismatch", |_, claims, _| claims["cnf"]["x5t#S256"] = base64url(&[7; 32]).into()),
        ("unbound_token_as_dpop", |_, claims, _| drop(claims.as_object_mut().expect("an object").remove("cnf"))),
        ("scope_insufficient", |_, claims, _| claims["scope"] = "orders:write".into()),
    ];
    for (reason, spoil) in rows {
        let (mut header, mut claims) = (header.clone(), story.claims(API));
        spoil(&mut header, &mut claims, story.now());
        let token = story.acme.script().key.sign_with(&header, &claims);
        let verdict = story.ask(API, &token).await;
        assert_eq!(verdict.reason(), reason, "{header} {claims}");
        story.clock.advance(A_WHILE); // an unknown key may be asked for again
    }
    let token = story.token(API);
    let forged = SigningKey::generate(Algorithm::Es256).expect("a key").sign_with(&header, &story.claims(API));
    assert_eq!(story.ask(API, &forged).await.reason(), "token_signature_wrong");
    assert_eq!(story.send(API, &format!("Bearer {token}"), None).await.reason(), "bound_token_as_bearer");
    assert_eq!(story.send(API, &format!("DPoP {token}"), None).await.reason(), "proof_missing");
    let thief = Holder::new("thief").proof("GET", &format!("{API}/orders/7"), &token, story.now());
    assert_eq!(story.send(API, &format!("DPoP {token}"), Some(&thief)).await.reason(), "key_mismatch");
    let proof = story.ada.proof("GET", &format!("{API}/orders/7"), &token, story.now());
    assert_eq!(story.send(API, &format!("DPoP {token}"), Some(&proof)).await.reason(), "allowed");
    assert_eq!(story.send(API, &format!("DPoP {token}"), Some(&proof)).await.reason(), "proof_replayed");
    assert!(!story.events.text().contains(&token), "{acme}");
}

#[tokio::test]
async fn each_issuer_counts_only_where_it_is_named_and_for_itself_only() {
    let mut story = Story::start().await;
    // Both publish a key under one name.
    let (acme, other) = (story.acme.script().key.published_jwk(), story.other.script().key.published_jwk());
    let named = |mut jwk: Value| {
        jwk["kid"] = "1".into();
        vec![jwk]
    };
    story.acme.script().published = named(acme);
    story.other.script().published = named(other);
    let sign = |provider: &Provider, typ: &str, claims: &Value| {
        let header = json!({ "typ": typ, "alg": "ES256", "kid": "1" });
        provider.script().key.sign_with(&header, claims)
    };
    let claims_of = |story: &Story, provider: &Provider, aud: &str| {
        let mut claims = story.claims(aud);
        claims["iss"] = provider.issuer.clone().into();
        claims["azp"] = "portal".into();
        claims.as_object_mut().expect("an object").remove("client_id");
        claims["roles"] = json!(["orders:read", "staff"]);
        claims
    };
    let ours = sign(&story.acme, "at+jwt", &claims_of(&story, &story.acme, BOTH));
    let theirs = sign(&story.other, "JWT", &claims_of(&story, &story.other, "orders"));
    for (token, issuer, scope) in [
        (&ours, &story.acme.issuer.clone(), "orders:read orders:write"),
        (&theirs, &story.other.issuer.clone(), "orders:read staff"),
    ] {
        let verdict = story.ask(BOTH, token).await;
        assert_eq!(verdict.reason(), "allowed", "{issuer}");
        assert_eq!(verdict.header("x-auth-client"), Some("portal"));
        assert_eq!(verdict.header("x-auth-scope"), Some(scope));
        assert_eq!(verdict.header("x-auth-issuer"), Some(issuer.as_str()));
    }
    // What is fine there is not fine here.
    let for_api = sign(&story.other, "at+jwt", &claims_of(&story, &story.other, API));
    assert_eq!(story.ask(API, &for_api).await.reason(), "token_signature_wrong");
    // Neither may speak in the name of the other.
    let in_their_name = sign(&story.acme, "at+jwt", &claims_of(&story, &story.other, BOTH));
    assert_eq!(story.ask(BOTH, &in_their_name).await.reason(), "token_signature_wrong");
    let in_our_name = sign(&story.other, "at+jwt", &claims_of(&story, &story.acme, BOTH));
    assert_eq!(story.ask(BOTH, &in_our_name).await.reason(), "token_signature_wrong");
    // Each keeps its own rules: Acme writes `at+jwt`, and the other one no ID tokens that would count.
    let untyped = sign(&story.acme, "JWT", &claims_of(&story, &story.acme, BOTH));
    assert_eq!(story.ask(BOTH, &untyped).await.reason(), "token_type_wrong");
    for (claim, kind) in [
        ("at_hash", "AAAA"),
        ("typ", "ID"),
        ("typ", "Refresh"),
        ("typ", "Offline"),
        ("token_use", "id"),
        ("token_use", "refresh_token"),
    ] {
        let mut other_kind = claims_of(&story, &story.other, "orders");
        other_kind[claim] = kind.into();
        let other_kind = sign(&story.other, "JWT", &other_kind);
        assert_eq!(story.ask(BOTH, &other_kind).await.reason(), "token_type_wrong", "{claim}: {kind}");
    }
    for (claim, kind) in [("typ", "Bearer"), ("typ", "DPoP"), ("token_use", "access")] {
        let mut access = claims_of(&story, &story.other, "orders");
        access[claim] = kind.into();
        let access = sign(&story.other, "JWT", &access);
        assert_eq!(story.ask(BOTH, &access).await.reason(), "allowed", "{claim}: {kind}");
    }
    let mut nobody = claims_of(&story, &story.other, "orders");
    nobody["iss"] = "https://nobody.example".into();
    let nobody = sign(&story.other, "JWT", &nobody);
    assert_eq!(story.ask(BOTH, &nobody).await.reason(), "token_issuer_wrong");
    assert_eq!(story.ask(BOTH, "a.b.c").await.reason(), "token_malformed");
}

#[tokio::test]
async fn a_gate_starts_without_its_issuer_and_an_outage_is_503() {
    for conduct in [Conduct::Failing, Conduct::Silent, Conduct::Redirecting, Conduct::Flooding] {
        let mut story = Story::begin(Arc::default(), conduct).await;
        story.clock.advance(A_WHILE);
        let token = story.token(API);
        for _ in 0..2 {
            let verdict = story.ask(API, &token).await;
            assert_eq!((verdict.status, verdict.reason()), (503, "unavailable"), "{conduct:?}");
            assert_eq!(verdict.header("retry-after"), Some("1"));
            assert!(verdict.header("www-authenticate").is_none(), "{conduct:?}");
        }
        story.acme.script().conduct = Conduct::Proper;
        story.clock.advance(A_WHILE);
        assert_eq!(story.ask(API, &token).await.reason(), "allowed", "{conduct:?}");
    }
}

#[tokio::test]
async fn metadata_of_somebody_else_is_not_believed() {
    let mut story = Story::begin(Arc::default(), Conduct::Failing).await;
    {
        let mut script = story.acme.script();
        script.conduct = Conduct::Proper;
        script.metadata["issuer"] = "https://evil.example".into();
    }
    story.clock.advance(A_WHILE);
    let token = story.token(API);
    assert_eq!(story.ask(API, &token).await.reason(), "unavailable");
    assert_eq!(story.fetches(), 0);
    assert!(story.events.text().contains("the document is not what it should be"));
}

#[tokio::test]
async fn a_new_key_counts_within_seconds_and_a_withdrawn_one_no_longer() {
    let mut story = Story::start().await;
    let old = story.token(API);
    assert_eq!(story.ask(API, &old).await.reason(), "allowed");
    // An issuer that signs with a new key at once: those who hold the set learn of it when they meet it.
    story.rotate(|old, new| vec![old.published_jwk(), new.published_jwk()]);
    let new = story.token(API);
    assert_eq!(story.ask(API, &new).await.reason(), "allowed");
    assert_eq!(story.ask(API, &old).await.reason(), "allowed");
    let fetches = story.fetches();
    story.rotate(|_, new| vec![new.published_jwk()]);
    let newest = story.token(API);
    assert_eq!(story.ask(API, &newest).await.reason(), "token_key_unknown"); // asked a moment ago
    assert_eq!(story.fetches(), fetches);
    story.clock.advance(A_WHILE);
    assert_eq!(story.ask(API, &newest).await.reason(), "allowed");
    // What was verified before the withdrawal is judged anew.
    for withdrawn in [&old, &new] {
        assert_eq!(story.ask(API, withdrawn).await.reason(), "token_key_unknown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_key_names_cost_the_issuer_one_fetch() {
    let mut story = Story::start().await;
    let good = story.token(API);
    assert_eq!(story.ask(API, &good).await.reason(), "allowed");
    story.clock.advance(A_WHILE);
    let before = story.fetches();
    let mut asked = JoinSet::new();
    for number in 0..50 {
        let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": format!("forged-{number}") });
        let token = SigningKey::generate(Algorithm::Es256).expect("a key").sign_with(&header, &story.claims(API));
        let proof = story.ada.proof("GET", &format!("{API}/orders/7"), &token, story.now());
        let mut proxy = story.proxy.clone();
        asked.spawn(async move {
            let headers = [("authorization", &*format!("DPoP {token}")), ("dpop", &proof)];
            proxy.ask("api.example", "/orders/7", &headers).await.reason().to_owned()
        });
    }
    while let Some(reason) = asked.join_next().await {
        assert_eq!(reason.expect("no panic"), "token_key_unknown");
    }
    assert_eq!(story.fetches(), before + 1);
    // While the issuer cannot be asked, nobody knows whether there is such a key.
    story.clock.advance(A_WHILE);
    story.acme.script().conduct = Conduct::Failing;
    let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "forged" });
    let forged = SigningKey::generate(Algorithm::Es256).expect("a key").sign_with(&header, &story.claims(API));
    for _ in 0..2 {
        assert_eq!(story.ask(API, &forged).await.reason(), "unavailable");
    }
    assert_eq!(story.ask(API, &good).await.reason(), "allowed");
}

#[tokio::test]
async fn keys_outlive_an_outage_for_a_day_and_no_longer() {
    let mut story = Story::start().await;
    let mut claims = story.claims(API);
    claims["exp"] = (story.now() + 3 * 86_400).into();
    let token = story.acme.script().key.sign("at+jwt", &claims);
    assert_eq!(story.ask(API, &token).await.reason(), "allowed");
    story.acme.script().conduct = Conduct::Failing;
    story.clock.advance(Duration::from_hours(23));
    assert_eq!(story.ask(API, &token).await.reason(), "allowed");
    let unseen = story.token(API);
    assert_eq!(story.ask(API, &unseen).await.reason(), "allowed");
    story.clock.advance(Duration::from_mins(61));
    for token in [&token, &story.token(API)] {
        assert_eq!(story.ask(API, token).await.reason(), "unavailable"); // the first was verified before
    }
    story.acme.script().conduct = Conduct::Proper;
    story.clock.advance(A_WHILE);
    assert_eq!(story.ask(API, &token).await.reason(), "allowed");
}

#[tokio::test]
async fn what_an_earlier_life_may_have_seen_needs_a_nonce() {
    let mut story = Story::start().await;
    let token = story.token(API);
    let ahead = story.now() + 10; // as early as a proof may be
    let mut claims = proof_claims("GET", &format!("{API}/orders/7"), &token, ahead);
    claims["ath"] = base64url(&sha256(token.as_bytes())).into();
    let proof = story.ada.key.sign_with(&story.ada.proof_header(), &claims);
    assert_eq!(story.send(API, &format!("DPoP {token}"), Some(&proof)).await.reason(), "allowed");
    story.restart().await;
    let replayed = story.send(API, &format!("DPoP {token}"), Some(&proof)).await;
    assert_eq!((replayed.status, replayed.reason()), (401, "proof_before_restart"));
    let nonce = replayed.header("dpop-nonce").expect("a nonce").to_owned();
    assert_eq!(story.ask_with(API, &token, &[("nonce", &nonce)]).await.reason(), "allowed");
    story.clock.advance(Duration::from_secs(11));
    assert_eq!(story.ask(API, &token).await.reason(), "allowed"); // the fence is gone
    assert_eq!(story.send(API, &format!("DPoP {token}"), Some(&proof)).await.reason(), "proof_before_restart");
}

#[tokio::test]
async fn an_issuer_may_have_to_say_where_its_tokens_are_revoked() {
    let mut story = Story::start().await;
    let token = story.token(API);
    assert_eq!(story.ask(API, &token).await.reason(), "allowed");
    let strict = configuration(&story.acme.issuer, &story.other.issuer);
    let strict = strict.replacen("timeout: 1s", "timeout: 1s, require_status: true", 1);
    story.gate.shutdown().await;
    (story.gate, story.proxy) = serve(&strict, &story.clock).await;
    story.clock.advance(A_WHILE);
    let verdict = story.ask(API, &token).await;
    assert_eq!((verdict.status, verdict.reason()), (401, "token_claim_missing"));

    // One that names a place is judged by its list, which is not to be had here.
    let mut claims = story.claims(API);
    let list = format!("{}/lists/1", story.acme.issuer.trim_end_matches('/'));
    claims["status"] = json!({ "status_list": { "idx": 7, "uri": list } });
    let placed = story.acme.script().key.sign("at+jwt", &claims);
    assert_eq!(story.ask(API, &placed).await.status, 503);
}
