//! Every call of the store and the guard fails in turn: 503, never a refusal and never a success; then all is well again,
//! without a restart, and nothing was lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;
use tollgate::clock::{Clock as _, Timestamp};
use tollgate::replay::{LocalReplayGuard, ReplayGuard, ReplayKey, Seen};
use tollgate::store::{Limits, MemoryStore, Store, Unavailable};

use crate::browser::{Browser, Page};
use crate::client::{
    AUTHORIZATION_REQUEST, Answer, CHALLENGE, CLIENT_CREDENTIALS, Client, PAR, answer, code_request, http,
    poll_request, refresh_request,
};
use crate::process::eventually;
use crate::proxy::Proxy;
use crate::tap::{Tap, TappedStore};
use crate::world::World;

/// How a call fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failure {
    /// It is not done.
    Refused,
    /// It is done, but nobody learns of it.
    AnswerLost,
}

/// Fails one call of the store that serves a request, by its number; counts and names them all.
#[derive(Default)]
struct Breaker {
    calls: Mutex<Vec<&'static str>>,
    fails: Mutex<Option<(usize, Failure)>>,
    all: AtomicBool,
}

impl Breaker {
    /// Begins to count again, and fails the call with this number.
    fn arm(&self, fails: Option<(usize, Failure)>) {
        self.calls.lock().expect("no test panics with the lock").clear();
        *self.fails.lock().expect("no test panics with the lock") = fails;
    }

    fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().expect("no test panics with the lock").clone()
    }

    fn fails_now(&self, failure: Failure) -> Result<(), Unavailable> {
        let count = self.calls.lock().expect("no test panics with the lock").len();
        let armed = *self.fails.lock().expect("no test panics with the lock");
        if armed == Some((count, failure)) { Err(Unavailable::Down) } else { Ok(()) }
    }
}

/// What goes on behind requests is no part of them.
pub fn is_upkeep(call: &str) -> bool {
    matches!(
        call,
        "note_alive" | "ended_since" | "sweep" | "signing_keys" | "add_signing_key" | "root_key" | "last_alive"
    )
}

#[async_trait]
impl Tap for Breaker {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        if self.all.load(Ordering::SeqCst) {
            return Err(Unavailable::Down);
        }
        if is_upkeep(call) {
            return Ok(());
        }
        self.calls.lock().expect("no test panics with the lock").push(call);
        self.fails_now(Failure::Refused)
    }

    async fn after(&self, call: &'static str) -> Result<(), Unavailable> {
        if is_upkeep(call) { Ok(()) } else { self.fails_now(Failure::AnswerLost) }
    }
}

/// A guard that can be down or full.
struct FaultyGuard {
    inner: LocalReplayGuard,
    fault: Mutex<Option<Unavailable>>,
    asked: AtomicUsize,
}

impl Default for FaultyGuard {
    fn default() -> Self {
        Self { inner: LocalReplayGuard::new(10_000), fault: Mutex::default(), asked: AtomicUsize::new(0) }
    }
}

impl FaultyGuard {
    fn fail(&self, fault: Option<Unavailable>) {
        *self.fault.lock().expect("no test panics with the lock") = fault;
    }
}

#[async_trait]
impl ReplayGuard for FaultyGuard {
    async fn spend(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().expect("no test panics with the lock");
        match fault {
            Some(fault) => Err(fault),
            None => ReplayGuard::spend(&self.inner, key, expires, now).await,
        }
    }
}

/// A world whose dependencies can fail.
struct Fragile {
    world: World,
    breaker: Arc<Breaker>,
    guard: Arc<FaultyGuard>,
}

impl Fragile {
    async fn start() -> Self {
        let (breaker, guard) = (Arc::new(Breaker::default()), Arc::new(FaultyGuard::default()));
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
        let store = Arc::new(TappedStore { inner, tap: Arc::clone(&breaker) as Arc<dyn Tap> });
        let world = World::start_guarded(store, Some(Arc::clone(&guard) as Arc<dyn ReplayGuard>), |_| {}).await;
        Self { world, breaker, guard }
    }
}

#[track_caller]
fn assert_unavailable(answer: Answer) {
    let answer = answer.expect(503, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[track_caller]
fn assert_unavailable_page(page: &Page) {
    assert_eq!(page.status, 503, "{page:?}");
    assert!(page.header("retry-after").parse::<u32>().is_ok(), "{page:?}");
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    assert_eq!(page.header("location"), "");
}

async fn first_refresh_token(world: &World, client: &Client) -> String {
    let code = world.code(client).await;
    let tokens = client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    tokens.text("refresh_token").to_owned()
}

#[tokio::test]
async fn a_code_outlives_every_failure_before_it_is_spent() {
    let Fragile { world, breaker, .. } = Fragile::start().await;
    for id in ["spa", "web"] {
        let client = world.client(id);
        let redeem = async |code: &str| client.request(world.clock.now(), &code_request(code)).send().await;
        let code = world.code(&client).await;
        breaker.arm(None);
        redeem(&code).await.expect_tokens();
        let calls = breaker.calls();
        assert_eq!(calls.last(), Some(&"redeem_code"));
        for number in 1..=calls.len() {
            let code = world.code(&client).await;
            breaker.arm(Some((number, Failure::Refused)));
            assert_unavailable(redeem(&code).await);
            breaker.arm(None);
            let tokens = redeem(&code).await.expect_tokens();
            let refresh = refresh_request(tokens.text("refresh_token"));
            client.request(world.clock.now(), &refresh).send().await.expect_tokens();
        }
        // Whether it was spent is in doubt: 503 now, and at the next try the code is used.
        let code = world.code(&client).await;
        breaker.arm(Some((calls.len(), Failure::AnswerLost)));
        assert_unavailable(redeem(&code).await);
        breaker.arm(None);
        redeem(&code).await.expect(400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_device_code_outlives_every_failure_before_it_is_spent() {
    let Fragile { world, breaker, .. } = Fragile::start().await;
    let tv = world.client("tv");
    let poll = async |code: &str| tv.request(world.clock.now(), &poll_request(code)).send().await;
    let begin = async || tv.device_request(world.clock.now(), &[]).send().await;
    breaker.arm(Some((1, Failure::Refused)));
    assert_unavailable(begin().await);
    breaker.arm(None);
    let code = begin().await.text("device_code").to_owned();
    for number in 1..=2 {
        breaker.arm(Some((number, Failure::Refused)));
        assert_unavailable(poll(&code).await); // neither pending nor over
        assert_eq!(breaker.calls(), ["device", "poll_device"][..number]);
    }
    breaker.arm(None);
    poll(&code).await.expect(400, "authorization_pending");

    for number in 1..=2 {
        let code = begin().await.text("device_code").to_owned();
        world.let_in(&code, "ada").await;
        breaker.arm(Some((number, Failure::Refused)));
        assert_unavailable(poll(&code).await);
        assert_eq!(breaker.calls(), ["device", "redeem_device"][..number]);
        breaker.arm(None);
        poll(&code).await.expect_tokens();
    }
    // Whether it was spent is in doubt: 503 now, and at the next try the code is used.
    world.let_in(&code, "ada").await;
    breaker.arm(Some((2, Failure::AnswerLost)));
    assert_unavailable(poll(&code).await);
    breaker.arm(None);
    poll(&code).await.expect(400, "invalid_grant");
}

#[tokio::test]
async fn a_person_whose_device_cannot_be_found_or_recorded_is_told_to_try_again() {
    let Fragile { world, breaker, .. } = Fragile::start().await;
    let begun = world.client("tv").device_request(world.clock.now(), &[]).send().await.expect(200, "");
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open("/activate").await;
    let page = browser.submit(&page, &[("user_code", begun.text("user_code"))]).await;
    let page = browser.follow(page).await;
    let back = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
    let callback = back.header("location").strip_prefix(&world.issuer).expect("our callback").to_owned();
    breaker.arm(None);
    let question = browser.clone().open(&callback).await;
    assert!(question.has("value=\"approve\""), "{question:?}");
    assert_eq!(breaker.calls(), ["code", "take_code", "session", "claim_device"]);
    for (number, call) in [(1, "session"), (2, "decide_device")] {
        breaker.arm(Some((number, Failure::Refused)));
        let page = browser.submit(&question, &[("decision", "approve")]).await;
        assert_eq!(breaker.calls().last(), Some(&call));
        assert_unavailable_page(&page);
    }
    breaker.arm(None);
    assert!(browser.submit(&question, &[("decision", "approve")]).await.has("All set"));
}

#[tokio::test]
async fn a_refresh_token_outlives_every_failure() {
    let Fragile { world, breaker, .. } = Fragile::start().await;
    for id in ["spa", "web", "backend"] {
        let client = world.client(id);
        let refresh = async |token: &str| client.request(world.clock.now(), &refresh_request(token)).send().await;
        let mut token = first_refresh_token(&world, &client).await;
        breaker.arm(None);
        token = refresh(&token).await.expect_tokens().text("refresh_token").to_owned();
        let calls = breaker.calls();
        for number in 1..=calls.len() {
            for failure in [Failure::Refused, Failure::AnswerLost] {
                breaker.arm(Some((number, failure)));
                assert_unavailable(refresh(&token).await);
                breaker.arm(None);
                token = refresh(&token).await.expect_tokens().text("refresh_token").to_owned();
            }
        }
    }
}

#[tokio::test]
async fn an_end_that_could_not_be_written_is_no_refusal() {
    let Fragile { world, breaker, .. } = Fragile::start().await;
    let spa = world.client("spa");
    let refresh = async |token: &str| spa.request(world.clock.now(), &refresh_request(token)).send().await;
    // A fork.
    let first = first_refresh_token(&world, &spa).await;
    let second = refresh(&first).await.expect_tokens().text("refresh_token").to_owned();
    let third = refresh(&second).await.expect_tokens().text("refresh_token").to_owned();
    breaker.arm(Some((2, Failure::Refused)));
    assert_unavailable(refresh(&first).await);
    assert_eq!(breaker.calls(), ["grant", "end_grant"]);
    breaker.arm(None);
    refresh(&first).await.expect(400, "invalid_grant");
    refresh(&third).await.expect(400, "invalid_grant");
    // A replayed code.
    let code = world.code(&spa).await;
    let redeem = async || spa.request(world.clock.now(), &code_request(&code)).send().await;
    let tokens = redeem().await.expect_tokens();
    breaker.arm(Some((4, Failure::Refused)));
    assert_unavailable(redeem().await);
    assert_eq!(breaker.calls(), ["code", "redeem_code", "grant", "end_grant"]);
    breaker.arm(None);
    redeem().await.expect(400, "invalid_grant");
    refresh(tokens.text("refresh_token")).await.expect(400, "invalid_grant");
    // A person who may no longer sign in.
    let token = first_refresh_token(&world, &spa).await;
    world.disable("ada");
    breaker.arm(Some((2, Failure::Refused)));
    assert_unavailable(refresh(&token).await);
    breaker.arm(None);
    refresh(&token).await.expect(400, "invalid_grant");
}

#[tokio::test]
async fn without_a_guard_no_proof_passes_and_nothing_is_spent() {
    let Fragile { world, guard, .. } = Fragile::start().await;
    let (spa, backend, now) = (world.client("spa"), world.client("backend"), world.clock.now());
    let code = world.code(&spa).await;
    let token = first_refresh_token(&world, &spa).await;
    let proof = backend.proof(now);
    for fault in [Unavailable::Down, Unavailable::Full] {
        guard.fail(Some(fault));
        assert_unavailable(spa.request(now, &code_request(&code)).send().await);
        assert_unavailable(spa.request(now, &refresh_request(&token)).send().await);
        assert_unavailable(backend.request(now, &CLIENT_CREDENTIALS).proof(&proof).send().await);
        // What is refused anyway asks no guard.
        let asked = guard.asked.load(Ordering::SeqCst);
        let wrong = spa.request(now, &code_request(&code)).with("code_verifier", CHALLENGE);
        wrong.send().await.expect(400, "invalid_grant");
        assert_eq!(guard.asked.load(Ordering::SeqCst), asked);
        // Nothing of a bearer request needs one.
        backend.bearer_request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    }
    guard.fail(None);
    backend.request(now, &CLIENT_CREDENTIALS).proof(&proof).send().await.expect_tokens();
    let tokens = spa.request(now, &code_request(&code)).send().await.expect_tokens();
    spa.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();
    spa.request(now, &refresh_request(&token)).send().await.expect_tokens();
}

const AUTHORIZE: &str = "/oauth/authorize?response_type=code&client_id=spa&redirect_uri=https%3A%2F%2Fapp.example%2Fcb\
    &scope=orders%3Aread&state=s&code_challenge_method=S256&code_challenge=";

#[tokio::test]
async fn people_are_told_to_come_back_and_then_go_on_where_they_were() {
    let Fragile { world, breaker, .. } = Fragile::start().await;
    let path = format!("{AUTHORIZE}{CHALLENGE}");
    let mut browser = Browser::new(&world.issuer);
    let sign_in = browser.open(&path).await;
    let credentials = [("username", "ada"), ("password", "ada")];

    breaker.arm(Some((1, Failure::Refused)));
    assert_unavailable_page(&browser.submit(&sign_in, &credentials).await);
    assert_eq!(breaker.calls(), ["open_session"]);
    breaker.arm(None);
    let consent = browser.submit(&sign_in, &credentials).await;
    assert!(consent.has("value=\"approve\""), "{consent:?}");

    breaker.arm(Some((1, Failure::Refused)));
    assert_unavailable_page(&browser.clone().open(&path).await);
    assert_eq!(breaker.calls(), ["session"]);
    for (number, call) in [(1, "session"), (2, "record_code")] {
        breaker.arm(Some((number, Failure::Refused)));
        assert_unavailable_page(&browser.submit(&consent, &[("decision", "approve")]).await);
        assert_eq!(breaker.calls().last(), Some(&call));
    }
    breaker.arm(None);
    let back = browser.submit(&consent, &[("decision", "approve")]).await;
    let spa = world.client("spa");
    let tokens = spa.request(world.clock.now(), &code_request(&back.code())).send().await;
    tokens.expect_tokens();

    let page = browser.open("/logout").await;
    let calls = ["session", "leave_session", "end_session"];
    for number in 1..=calls.len() {
        breaker.arm(Some((number, Failure::Refused)));
        assert_unavailable_page(&browser.submit(&page, &[]).await);
        assert_eq!(breaker.calls(), calls[..number]);
    }
    breaker.arm(None);
    assert_eq!(browser.submit(&page, &[]).await.status, 200);
}

#[tokio::test]
async fn a_pushed_request_outlives_every_failure_before_it_is_answered() {
    let Fragile { world, breaker, guard } = Fragile::start().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let push = async || web.push(now, &AUTHORIZATION_REQUEST).proof(&web.proof_at(PAR, now)).send().await;
    for (number, call) in [(1, "spend_assertion"), (2, "push_request")] {
        breaker.arm(Some((number, Failure::Refused)));
        assert_unavailable(push().await);
        assert_eq!(breaker.calls().last(), Some(&call));
    }
    breaker.arm(None);
    guard.fail(Some(Unavailable::Down));
    assert_unavailable(push().await);
    guard.fail(None);

    for (decision, calls) in [
        ("approve", ["session", "session_client", "join_session", "record_code"].as_slice()),
        ("deny", &["session", "end_transaction"]),
    ] {
        let path = web.pushed_path(&push().await.expect(201, ""));
        let mut browser = Browser::new(&world.issuer);
        breaker.arm(Some((1, Failure::Refused)));
        assert_unavailable_page(&browser.open(&path).await);
        assert_eq!(breaker.calls(), ["pushed_request"]);
        breaker.arm(None);
        let page = browser.open(&path).await;
        let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
        for number in 1..=calls.len() {
            breaker.arm(Some((number, Failure::Refused)));
            assert_unavailable_page(&browser.submit(&page, &[("decision", decision)]).await);
            assert_eq!(breaker.calls(), calls[..number]);
        }
        breaker.arm(None);
        let back = browser.submit(&page, &[("decision", decision)]).await;
        assert_eq!(back.parameter("code").is_some(), decision == "approve");
        assert_eq!(browser.open(&path).await.status, 400, "it is answered");
    }
}

#[tokio::test]
async fn the_gate_answers_an_outage_as_one_and_lets_nobody_in() {
    let Fragile { world, guard, breaker } = Fragile::start().await;
    let (backend, now) = (world.client("backend"), world.clock.now());
    let tokens = backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let token = tokens.text("access_token");
    let mut proxy = Proxy::over_tcp(world.addresses.gate[0]).await;
    let proof = backend.resource_proof("GET", "https://api.example.com/orders/7", token, now);
    for fault in [Unavailable::Down, Unavailable::Full] {
        guard.fail(Some(fault));
        let verdict = proxy.get("/orders/7", Some(token), Some(&proof)).await;
        assert_eq!(verdict.status, 503, "{verdict:?}");
        assert!(verdict.header("retry-after").is_some(), "{verdict:?}");
        assert_eq!(verdict.header("www-authenticate"), None);
    }
    guard.fail(None);
    // Keys are in memory: the gate does not need the store to decide.
    breaker.all.store(true, Ordering::SeqCst);
    assert_eq!(proxy.get("/orders/7", Some(token), Some(&proof)).await.status, 200);
    assert_eq!(proxy.get("/orders/7", Some(token), Some(&proof)).await.status, 401);
}

/// A disk that may be full: notes of life are the only writes while nobody asks for anything.
struct Disk {
    full: AtomicBool,
    tried: watch::Sender<u32>,
}

#[async_trait]
impl Tap for Disk {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        if call != "note_alive" {
            return Ok(());
        }
        self.tried.send_modify(|times| *times += 1);
        if self.full.load(Ordering::SeqCst) { Err(Unavailable::Down) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_store_that_takes_no_writes_is_not_ready_until_it_does() {
    let disk = Arc::new(Disk { full: AtomicBool::new(false), tried: watch::Sender::new(0) });
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
    let world = World::start_on(Arc::new(TappedStore { inner, tap: Arc::clone(&disk) as Arc<dyn Tap> }), |_| {}).await;
    for full in [true, false] {
        let mut tried = disk.tried.subscribe();
        disk.full.store(full, Ordering::SeqCst);
        eventually("a note of life", tried.changed()).await.expect("the disk is there");
        let ready = answer(http().get(format!("http://{}/readyz", world.addresses.admin))).await;
        assert_eq!(ready.status, if full { 503 } else { 200 }, "{ready:?}");
        assert_eq!(ready.body["missing"], if full { serde_json::json!(["store"]) } else { serde_json::json!([]) });
    }
}

#[tokio::test]
async fn readiness_follows_the_store_and_liveness_does_not() {
    let Fragile { world, breaker, .. } = Fragile::start().await;
    let health = async |path: &str| answer(http().get(format!("http://{}{path}", world.addresses.admin))).await;
    for down in [false, true, false] {
        breaker.all.store(down, Ordering::SeqCst);
        let ready = health("/readyz").await;
        assert_eq!(ready.status, if down { 503 } else { 200 }, "{ready:?}");
        assert_eq!(ready.body["missing"], if down { serde_json::json!(["store"]) } else { serde_json::json!([]) });
        assert_eq!(health("/livez").await.status, 200);
        // Replicas that share it stay where they are: what needs no store is served.
        let stays = health("/readyz?exclude=store&exclude=replay-guard&verbose").await;
        assert_eq!(stays.status, 200, "{stays:?}");
        assert!(!stays.body.to_string().contains("store"), "{stays:?}");
        assert_eq!(health("/readyz?exclude=replay-guard").await.status, ready.status);
    }
}
