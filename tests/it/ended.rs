//! What has ended is over at the gate with the next request, whatever the form of its tokens, and stays so.

use std::sync::Arc;
use std::time::Duration;

use tollgate::clock::Clock as _;
use tollgate::oauth::Settings;
use tollgate::oauth::client::{ExchangePolicy, GrantType};
use tollgate::store::{Limits, MemoryStore, SqliteStore, Store};
use tollgate::token::AccessTokenFormat;

use crate::account;
use crate::browser::Browser;
use crate::client::{Answer, CLIENT_CREDENTIALS, Client, REVOKE, code_request, refresh_request};
use crate::process::eventually;
use crate::proxy::Proxy;
use crate::world::{End, World};

const ORDERS: &str = "https://api.example.com/orders/7";

/// Calls the orders API, and gives the status.
pub async fn call(world: &World, client: &Client, tokens: &Answer) -> i32 {
    let token = tokens.text("access_token");
    let proof = client.resource_proof("GET", ORDERS, token, world.clock.now());
    Proxy::over_tcp(world.addresses.gate[0]).await.get("/orders/7", Some(token), Some(&proof)).await.status
}

async fn adas_tokens(world: &World, client: &Client) -> Answer {
    let code = world.code(client).await;
    redeem(world, client, &code).await.expect_tokens()
}

async fn redeem(world: &World, client: &Client, code: &str) -> Answer {
    client.request(world.clock.now(), &code_request(code)).send().await
}

async fn refresh(world: &World, client: &Client, tokens: &Answer) -> Answer {
    client.request(world.clock.now(), &refresh_request(tokens.text("refresh_token"))).send().await
}

async fn revoke(world: &World, client: &Client, token: &str) {
    let call = client.about(REVOKE, token, world.clock.now()).into_request();
    assert_eq!(call.send().await.expect("an answer").status().as_u16(), 200);
}

/// How a grant ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    RefreshTokenRevoked,
    AccessTokenRevoked,
    CodeReplayed,
    RefreshTokenForked,
    EndedAtTheAccount,
    SignedOutEverywhere,
    PersonDisabled,
}

const ENDINGS: [Ending; 7] = [
    Ending::RefreshTokenRevoked,
    Ending::AccessTokenRevoked,
    Ending::CodeReplayed,
    Ending::RefreshTokenForked,
    Ending::EndedAtTheAccount,
    Ending::SignedOutEverywhere,
    Ending::PersonDisabled,
];

/// Lets ada's application in and ends that; gives a token of it that was good until then.
async fn end(world: &World, spa: &Client, ending: Ending) -> Answer {
    let code = world.code(spa).await;
    let tokens = redeem(world, spa, &code).await.expect_tokens();
    assert_eq!(call(world, spa, &tokens).await, 200, "{ending:?}");
    match ending {
        Ending::RefreshTokenRevoked => revoke(world, spa, tokens.text("refresh_token")).await,
        Ending::AccessTokenRevoked => revoke(world, spa, tokens.text("access_token")).await,
        Ending::CodeReplayed => drop(redeem(world, spa, &code).await.expect(400, "invalid_grant")),
        Ending::RefreshTokenForked => {
            let next = refresh(world, spa, &tokens).await.expect_tokens();
            refresh(world, spa, &next).await.expect_tokens();
            refresh(world, spa, &tokens).await.expect(400, "invalid_grant");
            assert_eq!(call(world, spa, &next).await, 401, "every token of the grant");
        }
        Ending::EndedAtTheAccount | Ending::SignedOutEverywhere => {
            let mut browser = Browser::new(&world.issuer);
            let page = account::open(&mut browser, "ada").await;
            if matches!(ending, Ending::EndedAtTheAccount) {
                browser.submit(&page, &[("decision", "end")]).await;
            } else {
                account::sign_out_everywhere(&mut browser, &page, &[("end_grants", "yes")]).await;
            }
        }
        Ending::PersonDisabled => {
            world.disable("ada");
            refresh(world, spa, &tokens).await.expect(400, "invalid_grant");
            world.enable("ada");
        }
    }
    tokens
}

fn handles(settings: &mut Settings) {
    for client in &mut settings.clients {
        client.access_token_format = AccessTokenFormat::Opaque;
    }
}

#[tokio::test]
async fn a_grant_that_ends_takes_its_access_tokens_along() {
    for format in [AccessTokenFormat::Jwt, AccessTokenFormat::Opaque] {
        let change = |settings: &mut Settings| {
            if format == AccessTokenFormat::Opaque {
                handles(settings);
            }
        };
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&directory.path().join("tollgate.db"), Limits::default()).expect("a store");
        let world = World::start_on(Arc::new(store), change).await;
        let spa = world.client("spa");
        let mut ended = Vec::new();
        for ending in ENDINGS {
            let tokens = end(&world, &spa, ending).await;
            assert_eq!(call(&world, &spa, &tokens).await, 401, "{format:?}, {ending:?}");
            assert_eq!(world.events.last("denial").as_deref(), Some("token_revoked"), "{format:?}, {ending:?}");
            ended.push(tokens);
        }
        let kept = adas_tokens(&world, &spa).await;

        let world = world.restart_with(End::Killed, change).await;
        let spa = spa.reconnected();
        world.clock.advance(Duration::from_secs(16)); // past the fence for proofs
        assert_eq!(call(&world, &spa, &kept).await, 200);
        for (tokens, ending) in ended.iter().zip(ENDINGS) {
            assert_eq!(call(&world, &spa, tokens).await, 401, "{format:?}, {ending:?}, after a restart");
            assert_eq!(world.events.last("denial").as_deref(), Some("token_revoked"), "{format:?}, {ending:?}");
        }
        // Longer than anything is remembered, with the clock of the client's tokens.
        world.clock.advance(Duration::from_secs(294));
        assert_eq!(call(&world, &spa, &kept).await, 401);
        assert_eq!(world.events.last("denial").as_deref(), Some("token_expired"));
    }
}

#[tokio::test]
async fn a_token_of_its_own_ends_alone_and_stays_ended() {
    for change in [handles as fn(&mut Settings), |_| {}] {
        let world = World::start_with(change).await;
        let backend = world.client("backend");
        let own = async || backend.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
        let (revoked, kept) = (own().await, own().await);
        assert_eq!(call(&world, &backend, &revoked).await, 200);
        revoke(&world, &backend, revoked.text("access_token")).await;
        assert_eq!((call(&world, &backend, &revoked).await, call(&world, &backend, &kept).await), (401, 200));

        let world = world.restart_with(End::Stopped, change).await;
        let backend = backend.reconnected();
        world.clock.advance(Duration::from_secs(16));
        assert_eq!((call(&world, &backend, &revoked).await, call(&world, &backend, &kept).await), (401, 200));
    }
}

#[tokio::test]
async fn what_a_service_got_in_exchange_ends_with_the_grant_it_came_from() {
    let world = World::start_with(|settings| {
        for client in &mut settings.clients {
            if client.id.as_str() == "backend" {
                let from = vec!["https://api.example.com".parse().expect("a resource")];
                client.exchange = Some(ExchangePolicy { to: from.clone(), from });
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
    assert_eq!(call(&world, &backend, &exchanged).await, 200);
    revoke(&world, &spa, tokens.text("refresh_token")).await;
    assert_eq!(call(&world, &backend, &exchanged).await, 401);
}

#[tokio::test]
async fn what_another_process_ends_is_over_within_moments() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits { grants_per_person: 1, ..Limits::default() }));
    let world = World::start_on(Arc::clone(&store), |_| {}).await;
    let spa = world.client("spa");
    // Nobody has named this one: its person has one grant too many at the client.
    let oldest = adas_tokens(&world, &spa).await;
    let newest = adas_tokens(&world, &spa).await;
    let over = async {
        while call(&world, &spa, &oldest).await != 401 {
            tokio::task::yield_now().await;
        }
    };
    eventually("the oldest grant is over at the gate", over).await;
    assert_eq!(call(&world, &spa, &newest).await, 200);
}
