//! Revocation (RFC 7009): a client gives up what it was given.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use tollgate::clock::Clock as _;
use tollgate::oauth::Refusal;
use tollgate::oauth::client::{ExchangePolicy, GrantType};
use tollgate::store::{Limits, MemoryStore, Unavailable};

use crate::client::{
    Answer, CLIENT_CREDENTIALS, Client, REVOKE, TokenCall, answer, code_request, http, refresh_request,
};
use crate::introspect::{adas_tokens, told, world};
use crate::tap::{Tap, TappedStore};
use crate::world::{End, World};

/// Which calls of a store there were, but for those behind the scenes, and which of them are to fail.
#[derive(Default)]
pub struct Calls {
    seen: Mutex<Vec<&'static str>>,
    failing: Mutex<Option<&'static str>>,
}

impl Calls {
    pub fn forget(&self) {
        self.seen.lock().expect("no test panics with the lock").clear();
    }

    pub fn all(&self) -> Vec<&'static str> {
        self.seen.lock().expect("no test panics with the lock").clone()
    }

    fn fail(&self, call: Option<&'static str>) {
        *self.failing.lock().expect("no test panics with the lock") = call;
    }
}

#[async_trait]
impl Tap for Calls {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        if !["sweep", "note_alive", "ended_since", "signing_keys", "last_alive", "root_key", "add_signing_key"]
            .contains(&call)
        {
            self.seen.lock().expect("no test panics with the lock").push(call);
        }
        let failing = *self.failing.lock().expect("no test panics with the lock");
        if failing == Some(call) { Err(Unavailable::Down) } else { Ok(()) }
    }
}

/// Revokes a token; whatever it is, the answer is the same.
async fn revoke(world: &World, client: &Client, token: &str) {
    let response = client.about(REVOKE, token, world.clock.now()).into_request().send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(response.text().await.expect("a body"), "");
}

async fn refresh(world: &World, client: &Client, tokens: &Answer) -> Answer {
    client.request(world.clock.now(), &refresh_request(tokens.text("refresh_token"))).send().await
}

#[tokio::test]
async fn a_refresh_token_takes_its_whole_grant_along() {
    let world = world().await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let kept = adas_tokens(&world, &spa).await;
    for old in [false, true] {
        let first = adas_tokens(&world, &spa).await;
        let second = refresh(&world, &spa, &first).await.expect_tokens();
        let third = refresh(&world, &spa, &second).await.expect_tokens();
        assert_eq!(told(&world, &backend, third.text("access_token")).await["active"], true);
        // Whichever of the tokens the client has found again: it says that it is done.
        revoke(&world, &spa, if old { &first } else { &third }.text("refresh_token")).await;
        assert_eq!(world.events.last("outcome").as_deref(), Some("grant_ended"));
        for tokens in [&first, &second, &third] {
            refresh(&world, &spa, tokens).await.expect(400, "invalid_grant");
            assert_eq!(told(&world, &backend, tokens.text("access_token")).await, json!({ "active": false }));
        }
        revoke(&world, &spa, third.text("refresh_token")).await; // once more is no mistake
    }
    refresh(&world, &spa, &kept).await.expect_tokens();
}

#[tokio::test]
async fn an_access_token_takes_its_whole_grant_along() {
    let world = world().await;
    let (web, backend) = (world.client("web"), world.client("backend"));
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let tokens = adas_tokens(&world, &web).await;
        let call = web.about(REVOKE, tokens.text("access_token"), world.clock.now());
        let response = call.with("token_type_hint", hint).proof("x").into_request().send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(told(&world, &backend, tokens.text("access_token")).await, json!({ "active": false }));
        refresh(&world, &web, &tokens).await.expect(400, "invalid_grant");
    }
}

#[tokio::test]
async fn an_access_token_without_a_grant_ends_alone_and_stays_ended() {
    let world = world().await;
    let backend = world.client("backend");
    let own = async || backend.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let (one, other) = (own().await, own().await);
    revoke(&world, &backend, one.text("access_token")).await;
    assert_eq!(world.events.last("outcome").as_deref(), Some("token_revoked"));
    assert_eq!(told(&world, &backend, one.text("access_token")).await, json!({ "active": false }));
    assert_eq!(told(&world, &backend, other.text("access_token")).await["active"], true);
    let world = world.restart(End::Killed).await;
    let backend = backend.reconnected();
    assert_eq!(told(&world, &backend, one.text("access_token")).await, json!({ "active": false }));
    assert_eq!(told(&world, &backend, other.text("access_token")).await["active"], true);
}

#[tokio::test]
async fn what_a_service_got_in_exchange_is_its_own_to_revoke_and_the_grant_is_not() {
    let world = World::start_with(|settings| {
        for client in &mut settings.clients {
            if client.id.as_str() == "backend" {
                let audience = |text: &str| vec![text.parse().expect("a resource")];
                let (from, to) = (audience("https://api.example.com"), audience("https://files.example.com"));
                client.introspects.clone_from(&from);
                client.exchange = Some(ExchangePolicy { from, to });
                client.grant_types.push(GrantType::TokenExchange);
            }
        }
    })
    .await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let tokens = adas_tokens(&world, &spa).await;
    let exchange = [
        ("grant_type", GrantType::TokenExchange.name()),
        ("subject_token", tokens.text("access_token")),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let exchanged = backend.request(world.clock.now(), &exchange).send().await.expect_tokens();
    revoke(&world, &backend, exchanged.text("access_token")).await;
    assert_eq!(told(&world, &backend, exchanged.text("access_token")).await, json!({ "active": false }));
    assert_eq!(told(&world, &backend, tokens.text("access_token")).await["active"], true);
    refresh(&world, &spa, &tokens).await.expect_tokens();
}

#[tokio::test]
async fn what_is_not_the_clients_own_stays_as_it_is() {
    let world = world().await;
    let (spa, web, backend) = (world.client("spa"), world.client("web"), world.client("backend"));
    let tokens = adas_tokens(&world, &spa).await;
    for (client, token) in [
        (&web, tokens.text("refresh_token")),
        (&web, tokens.text("access_token")),
        (&world.client("legacy"), tokens.text("refresh_token")),
        (&backend, tokens.text("access_token")), // it may look, and not touch
    ] {
        revoke(&world, client, token).await;
        assert_eq!(world.events.last("outcome").as_deref(), Some("foreign"));
    }
    // Whoever learns a handle cannot end a grant with a token of his own making.
    let mut forged = tokens.text("refresh_token").to_owned();
    forged.replace_range(60..64, "AAAA");
    for token in ["x", &forged, &format!("tgr_{}", "A".repeat(96)), &"x".repeat(15_000)] {
        revoke(&world, &spa, token).await;
        assert_eq!(world.events.last("outcome").as_deref(), Some("unknown"));
    }
    assert_eq!(told(&world, &backend, tokens.text("access_token")).await["active"], true);
    refresh(&world, &spa, &tokens).await.expect_tokens();
}

#[tokio::test]
async fn whoever_does_not_say_who_he_is_revokes_nothing() {
    let world = world().await;
    let (spa, web) = (world.client("spa"), world.client("web"));
    let tokens = adas_tokens(&world, &web).await;
    let token = tokens.text("refresh_token");
    let nobody = || TokenCall::anonymous(&spa, REVOKE).with("token", token);
    for (call, status, error, refusal) in [
        (nobody(), 401, "invalid_client", Refusal::ClientMissing),
        (nobody().with("client_id", "web"), 401, "invalid_client", Refusal::ClientMethodMismatch),
        (nobody().with("client_id", "nobody"), 401, "invalid_client", Refusal::ClientAuthenticationFailed),
        (nobody().basic("backend", "wrong"), 401, "invalid_client", Refusal::ClientAuthenticationFailed),
        (nobody().without("token").with("client_id", "spa"), 400, "invalid_request", Refusal::TokenMissing),
        (nobody().with("client_id", "spa").and("token", "x"), 400, "invalid_request", Refusal::ParameterRepeated),
        (
            nobody().with("client_id", "spa").and("token_type_hint", "x").and("token_type_hint", "y"),
            400,
            "invalid_request",
            Refusal::ParameterRepeated,
        ),
    ] {
        call.send().await.expect(status, error);
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
    }
    refresh(&world, &web, &tokens).await.expect_tokens();
    let got = answer(http().get(format!("{}{REVOKE}?token=x", world.issuer))).await;
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn what_could_not_be_revoked_is_not_said_to_be() {
    let tap = Arc::new(Calls::default());
    let inner = Arc::new(MemoryStore::new(Limits { revocations: 1, ..Limits::default() }));
    let store = TappedStore { inner, tap: Arc::clone(&tap) as Arc<dyn Tap> };
    let world = World::start_on(Arc::new(store), |_| {}).await;
    let backend = world.client("backend");
    let tokens = adas_tokens(&world, &backend).await;
    let own = async || backend.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let (one, other) = (own().await, own().await);
    let unavailable = async |path: &'static str, token: &str| {
        let answer = backend.about(path, token, world.clock.now()).send().await;
        let answer = answer.expect(503, "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
    };
    for (call, token) in [
        ("grant", tokens.text("refresh_token")),
        ("grant", tokens.text("access_token")),
        ("end_grant", tokens.text("refresh_token")),
        ("end_grant", tokens.text("access_token")),
        ("revoke_token", one.text("access_token")),
    ] {
        tap.fail(Some(call));
        unavailable(REVOKE, token).await;
    }
    for (call, token) in [
        ("grant", tokens.text("refresh_token")),
        ("grant", tokens.text("access_token")),
        ("is_token_revoked", one.text("access_token")),
    ] {
        tap.fail(Some(call));
        unavailable(crate::client::INTROSPECT, token).await;
    }
    tap.fail(None);
    assert_eq!(told(&world, &backend, tokens.text("access_token")).await["active"], true, "nothing has happened");
    revoke(&world, &backend, one.text("access_token")).await;
    unavailable(REVOKE, other.text("access_token")).await; // there is room for one
    refresh(&world, &backend, &tokens).await.expect_tokens();
}

#[tokio::test]
async fn of_a_refresh_and_a_revocation_at_once_nothing_is_left() {
    let world = world().await;
    let (spa, backend) = (Arc::new(world.client("spa")), world.client("backend"));
    for _ in 0..8 {
        let code = world.code(&spa).await;
        let tokens = spa.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
        let (now, token) = (world.clock.now(), tokens.text("refresh_token"));
        let refreshes = eight_refreshes(&spa, token, now);
        revoke(&world, &spa, token).await;
        for answer in refreshes {
            let answer = answer.await.expect("no panic");
            if answer.status == 200 {
                assert_eq!(told(&world, &backend, answer.text("access_token")).await, json!({ "active": false }));
                refresh(&world, &spa, &answer).await.expect(400, "invalid_grant");
            } else {
                answer.expect(400, "invalid_grant");
            }
        }
    }
}

/// Eight refreshes under way.
fn eight_refreshes(
    client: &Arc<Client>,
    token: &str,
    now: tollgate::clock::Timestamp,
) -> Vec<tokio::task::JoinHandle<Answer>> {
    let refresh = || {
        let (client, token) = (Arc::clone(client), token.to_owned());
        tokio::spawn(async move { client.request(now, &refresh_request(&token)).send().await })
    };
    (0..8).map(|_| refresh()).collect()
}
