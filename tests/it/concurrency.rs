//! Sixty-four at once: what may be used once is used once, and honest callers never harm each other.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::Barrier;
use tollgate::clock::Clock as _;
use tollgate::oauth::Refusal;
use tollgate::secret::RefreshToken;
use tollgate::store::{EndedBy, GrantHandle, Limits, MemoryStore, SqliteStore, Store, Unavailable};

use crate::client::{Answer, CLIENT_CREDENTIALS, Client, claims, code_request, refresh_request};
use crate::tap::{Tap, TappedStore};
use crate::world::World;

/// So many callers at once.
const CALLERS: usize = 64;

/// A world on one of the stores.
struct Setting {
    world: World,
    _directory: Option<TempDir>,
}

async fn memory() -> Setting {
    Setting { world: World::start().await, _directory: None }
}

async fn sqlite() -> Setting {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&directory.path().join("tollgate.db"), Limits::default()).expect("a store");
    Setting { world: World::start_on(Arc::new(store), |_| {}).await, _directory: Some(directory) }
}

/// Runs each case in a world of each kind.
macro_rules! on_every_store {
    ($($case:ident)*) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case(&super::memory().await.world).await;
            })*
        }

        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let setting = super::sqlite().await;
                super::$case(&setting.world).await;
            })*
        }
    };
}

on_every_store! {
    of_many_redemptions_of_a_code_one_is_answered_and_its_grant_ends
    many_refreshes_of_a_bound_public_client_give_one_successor
    many_refreshes_of_a_confidential_client_give_one_successor
    many_refreshes_of_an_unbound_client_give_one_successor
    a_client_that_does_not_rotate_refreshes_many_times_at_once
    after_the_end_of_a_grant_no_refresh_succeeds
    of_many_uses_of_a_proof_one_passes
    of_many_uses_of_an_assertion_one_passes
}

/// Lets [`CALLERS`] requests loose at the same moment, each over a connection of its own.
async fn at_once<F>(request: impl Fn(usize) -> F) -> Vec<Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(CALLERS));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (barrier, request) = (Arc::clone(&barrier), request(caller));
            tokio::spawn(async move {
                barrier.wait().await;
                request.await
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(CALLERS);
    for caller in callers {
        answers.push(caller.await.expect("no panic"));
    }
    answers
}

/// Asserts that one answer is a success and that all others are the same refusal, word for word; gives the success.
#[track_caller]
fn the_only_success(answers: Vec<Answer>, status: u16, error: &str) -> Answer {
    let (mut successes, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    let bodies: HashSet<_> = refusals.iter().map(|refusal| refusal.body.to_string()).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    for refusal in refusals {
        refusal.expect(status, error);
    }
    assert_eq!(successes.len(), 1, "{successes:?}");
    successes.remove(0)
}

/// Asserts that all answers hold one and the same refresh token, and each an access token of its own.
#[track_caller]
fn the_only_refresh_token(answers: Vec<Answer>) -> String {
    let answers: Vec<_> = answers.into_iter().map(Answer::expect_tokens).collect();
    let refresh_tokens: HashSet<_> = answers.iter().map(|answer| answer.text("refresh_token")).collect();
    assert_eq!(refresh_tokens.len(), 1);
    let jti = |answer: &Answer| claims(answer.text("access_token"))["jti"].to_string();
    assert_eq!(answers.iter().map(jti).collect::<HashSet<_>>().len(), CALLERS);
    answers[0].text("refresh_token").to_owned()
}

/// Redeems a code that ada approved for the client.
async fn first_refresh_token(world: &World, client: &Client) -> String {
    let code = world.code(client).await;
    let tokens = client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    tokens.text("refresh_token").to_owned()
}

/// The same, without a proof.
async fn first_unbound_refresh_token(world: &World, client: &Client) -> String {
    let code = world.code(client).await;
    let tokens = client.bearer_request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    assert_eq!(tokens.text("token_type"), "Bearer");
    tokens.text("refresh_token").to_owned()
}

async fn of_many_redemptions_of_a_code_one_is_answered_and_its_grant_ends(world: &World) {
    let (spa, now) = (Arc::new(world.client("spa")), world.clock.now());
    let code = world.code(&spa).await;
    let answers = at_once(|_| {
        let (spa, code) = (Arc::clone(&spa), code.clone());
        async move { spa.request(now, &code_request(&code)).send().await }
    })
    .await;
    let tokens = the_only_success(answers, 400, "invalid_grant");
    // RFC 6749 §4.1.2: whoever was second may be the thief, or the first one was.
    let refresh = spa.request(now, &refresh_request(tokens.text("refresh_token"))).send().await;
    refresh.expect(400, "invalid_grant");
}

async fn many_refreshes_of_a_bound_public_client_give_one_successor(world: &World) {
    let (spa, now) = (Arc::new(world.client("spa")), world.clock.now());
    let mut token = first_refresh_token(world, &spa).await;
    for _ in 0..3 {
        let answers = at_once(|_| {
            let (spa, token) = (Arc::clone(&spa), token.clone());
            async move { spa.request(now, &refresh_request(&token)).send().await }
        })
        .await;
        let successor = the_only_refresh_token(answers);
        assert_ne!(successor, token);
        token = successor;
    }
    spa.request(now, &refresh_request(&token)).send().await.expect_tokens();
}

async fn many_refreshes_of_a_confidential_client_give_one_successor(world: &World) {
    let now = world.clock.now();
    let token = first_refresh_token(world, &world.client("web")).await;
    let answers = at_once(|_| {
        let (web, token) = (world.client("web"), token.clone()); // each with a new DPoP key
        async move { web.request(now, &refresh_request(&token)).send().await }
    })
    .await;
    let successor = the_only_refresh_token(answers);
    assert_ne!(successor, token);
    world.client("web").request(now, &refresh_request(&successor)).send().await.expect_tokens();
}

async fn many_refreshes_of_an_unbound_client_give_one_successor(world: &World) {
    let (legacy, now) = (Arc::new(world.client("legacy")), world.clock.now());
    let token = first_unbound_refresh_token(world, &legacy).await;
    let answers = at_once(|_| {
        let (legacy, token) = (Arc::clone(&legacy), token.clone());
        async move { legacy.bearer_request(now, &refresh_request(&token)).send().await }
    })
    .await;
    let successor = the_only_refresh_token(answers);
    legacy.bearer_request(now, &refresh_request(&successor)).send().await.expect_tokens();
}

async fn a_client_that_does_not_rotate_refreshes_many_times_at_once(world: &World) {
    let token = first_refresh_token(world, &world.client("backend")).await;
    for _ in 0..2 {
        let now = world.clock.now();
        let answers = at_once(|_| {
            let (backend, token) = (world.client("backend"), token.clone());
            async move { backend.request(now, &refresh_request(&token)).send().await }
        })
        .await;
        assert_eq!(the_only_refresh_token(answers), token);
        world.clock.advance(Duration::from_secs(30));
    }
}

async fn after_the_end_of_a_grant_no_refresh_succeeds(world: &World) {
    let (spa, now) = (Arc::new(world.client("spa")), world.clock.now());
    for _ in 0..8 {
        let token = first_refresh_token(world, &spa).await;
        let handle = GrantHandle(token.parse::<RefreshToken>().expect("a refresh token").handle());
        let answers = at_once(|caller| {
            let (spa, token, store) = (Arc::clone(&spa), token.clone(), Arc::clone(&world.store));
            async move {
                if caller == CALLERS / 2 {
                    store.end_grant(handle, EndedBy::Revoked, now).await.expect("a store");
                }
                spa.request(now, &refresh_request(&token)).send().await
            }
        })
        .await;
        let mut given = HashSet::from([token]);
        for answer in answers {
            match answer.status {
                200 => drop(given.insert(answer.text("refresh_token").to_owned())),
                _ => drop(answer.expect(400, "invalid_grant")),
            }
        }
        assert!(given.len() <= 2, "one successor at most");
        for token in given {
            spa.request(now, &refresh_request(&token)).send().await.expect(400, "invalid_grant");
        }
    }
}

async fn of_many_uses_of_a_proof_one_passes(world: &World) {
    let (backend, now) = (Arc::new(world.client("backend")), world.clock.now());
    let proof = backend.proof(now);
    let answers = at_once(|_| {
        let (backend, proof) = (Arc::clone(&backend), proof.clone());
        async move { backend.request(now, &CLIENT_CREDENTIALS).proof(&proof).send().await }
    })
    .await;
    the_only_success(answers, 400, "invalid_dpop_proof");
}

async fn of_many_uses_of_an_assertion_one_passes(world: &World) {
    let (web, now) = (Arc::new(world.client("web")), world.clock.now());
    let assertion = web.sign_assertion(&web.assertion_claims(now));
    let answers = at_once(|_| {
        let (web, assertion) = (Arc::clone(&web), assertion.clone());
        async move { web.request(now, &CLIENT_CREDENTIALS).assertion(&assertion).send().await }
    })
    .await;
    the_only_success(answers, 401, "invalid_client");
}

#[tokio::test]
async fn an_unbound_token_repeats_for_ten_seconds_and_is_replaced_later() {
    let world = World::start().await;
    let legacy = world.client("legacy");
    let first = first_unbound_refresh_token(&world, &legacy).await;
    let refresh = async |token: &str| legacy.bearer_request(world.clock.now(), &refresh_request(token)).send().await;
    let second = refresh(&first).await.expect_tokens().text("refresh_token").to_owned();
    world.clock.advance(Duration::from_secs(10));
    let again = refresh(&first).await.expect_tokens();
    assert_eq!(again.text("refresh_token"), second);
    assert_eq!(world.events.last("outcome").as_deref(), Some("repeated"));

    world.clock.advance(Duration::from_millis(1));
    let replaced = refresh(&first).await.expect_tokens();
    assert_ne!(replaced.text("refresh_token"), second);
    assert_eq!(world.events.last("outcome").as_deref(), Some("replaced"));
    // Two parties hold a token now: whoever presents the loser's proves it, and nobody goes on.
    refresh(&second).await.expect(400, "invalid_grant");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::RefreshTokenForked.name()));
    for token in [first.as_str(), &second, replaced.text("refresh_token")] {
        refresh(token).await.expect(400, "invalid_grant");
        assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::GrantEnded.name()));
    }
}

/// Holds up one rotation, from when it is about to be written.
struct HoldUp {
    armed: AtomicBool,
    reached: Barrier,
    go_on: Barrier,
}

impl Default for HoldUp {
    fn default() -> Self {
        Self { armed: AtomicBool::new(true), reached: Barrier::new(2), go_on: Barrier::new(2) }
    }
}

#[async_trait]
impl Tap for HoldUp {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        if call == "rotate" && self.armed.swap(false, Ordering::SeqCst) {
            self.reached.wait().await;
            self.go_on.wait().await;
        }
        Ok(())
    }
}

/// A caller presents the first token of a grant and has read the grant; before it writes, `rotations` others go past.
/// Gives what the slow caller is answered, and the newest token.
async fn overtaken_by(rotations: usize) -> (World, Arc<Client>, Answer, String) {
    let hold_up = Arc::new(HoldUp::default());
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
    let world = World::start_on(Arc::new(TappedStore { inner, tap: hold_up.clone() }), |_| {}).await;
    let (spa, now) = (Arc::new(world.client("spa")), world.clock.now());
    let mut token = first_refresh_token(&world, &spa).await;
    let slow = tokio::spawn({
        let (spa, token) = (Arc::clone(&spa), token.clone());
        async move { spa.request(now, &refresh_request(&token)).send().await }
    });
    hold_up.reached.wait().await;
    for _ in 0..rotations {
        let answer = spa.request(now, &refresh_request(&token)).send().await.expect_tokens();
        answer.text("refresh_token").clone_into(&mut token);
    }
    hold_up.go_on.wait().await;
    let slow = slow.await.expect("no panic");
    (world, spa, slow, token)
}

#[tokio::test]
async fn a_slow_caller_overtaken_by_two_rotations_is_refused_and_the_grant_lives() {
    let (world, spa, slow, newest) = overtaken_by(2).await;
    slow.expect(400, "invalid_grant");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::RefreshTokenOvertaken.name()));
    spa.request(world.clock.now(), &refresh_request(&newest)).send().await.expect_tokens();
}

#[tokio::test]
async fn a_slow_caller_without_a_proof_gets_nothing_once_a_fast_one_has_bound_the_grant() {
    let hold_up = Arc::new(HoldUp::default());
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
    let world = World::start_on(Arc::new(TappedStore { inner, tap: hold_up.clone() }), |_| {}).await;
    let (legacy, now) = (Arc::new(world.client("legacy")), world.clock.now());
    let token = first_unbound_refresh_token(&world, &legacy).await;
    let slow = tokio::spawn({
        let (legacy, token) = (Arc::clone(&legacy), token.clone());
        async move { legacy.bearer_request(now, &refresh_request(&token)).send().await }
    });
    hold_up.reached.wait().await;
    let fast = legacy.request(now, &refresh_request(&token)).send().await.expect_tokens();
    hold_up.go_on.wait().await;
    slow.await.expect("no panic").expect(400, "invalid_dpop_proof");
    let next = legacy.request(now, &refresh_request(fast.text("refresh_token"))).send().await.expect_tokens();
    assert_eq!(next.text("token_type"), "DPoP");
}

#[tokio::test]
async fn a_slow_caller_overtaken_by_one_rotation_gets_what_the_fast_one_got() {
    let (world, _, slow, newest) = overtaken_by(1).await;
    assert_eq!(slow.expect_tokens().text("refresh_token"), newest);
    assert_eq!(world.events.last("outcome").as_deref(), Some("repeated"));
}
