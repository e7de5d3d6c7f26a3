//! Access tokens that are handles: to their clients, to resource servers and at the gate they are what JWTs are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::oauth::Settings;
use tollgate::oauth::client::{ExchangePolicy, GrantType};
use tollgate::secret::AuthorizationCode;
use tollgate::store::{Limits, MemoryStore, SqliteStore, Store, Unavailable};
use tollgate::token::AccessTokenFormat;

use crate::client::{
    Answer, CLIENT_CREDENTIALS, Client, INTROSPECT, REVOKE, answer, claims, code_request, http, refresh_request,
};
use crate::proxy::{Proxy, Verdict};
use crate::tap::{Tap, TappedStore};
use crate::world::{End, World};

const ORDERS: &str = "https://api.example.com/orders/7";

/// Everybody gets handles, and `backend` may ask about them, and exchange them.
fn opaque(settings: &mut Settings) {
    for client in &mut settings.clients {
        client.access_token_format = AccessTokenFormat::Opaque;
        if client.id.as_str() == "backend" {
            let audience = |text: &str| vec![text.parse().expect("a resource")];
            client.introspects = audience("https://api.example.com");
            let to = audience("https://files.example.com");
            client.exchange = Some(ExchangePolicy { from: client.introspects.clone(), to });
            client.grant_types.push(GrantType::TokenExchange);
        }
    }
}

/// Only tokens for the orders API are handles, whoever asks.
fn opaque_orders(settings: &mut Settings) {
    settings.opaque_resources = vec!["https://api.example.com".parse().expect("a resource")];
}

async fn adas_tokens(world: &World, client: &Client) -> Answer {
    let code = world.code(client).await;
    client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens()
}

async fn told(world: &World, client: &Client, token: &str) -> Value {
    client.about(INTROSPECT, token, world.clock.now()).send().await.expect_tokens().body
}

/// Calls the orders API with a token, and a fresh proof by this client.
async fn call(world: &World, client: &Client, token: &str) -> Verdict {
    let proof = client.resource_proof("GET", ORDERS, token, world.clock.now());
    Proxy::over_tcp(world.addresses.gate[0]).await.get("/orders/7", Some(token), Some(&proof)).await
}

#[tokio::test]
async fn a_handle_says_nothing_and_opens_what_a_jwt_would() {
    let world = World::start_with(opaque).await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let tokens = adas_tokens(&world, &spa).await;
    let token = tokens.text("access_token");
    assert_eq!((token.len(), &token[..4]), (47, "tga_"));
    assert_eq!((tokens.text("token_type"), &tokens.body["expires_in"]), ("DPoP", &json!(300)));

    let verdict = call(&world, &spa, token).await;
    assert_eq!((verdict.status, verdict.header("x-auth-subject")), (200, Some("ada")), "{verdict:?}");
    assert_eq!(verdict.header("x-auth-scope"), Some("orders:read orders:write"));
    assert_eq!(call(&world, &spa, token).await.status, 200, "once more, from the cache");
    assert_eq!(call(&world, &world.client("spa"), token).await.status, 401, "of a thief with a key of his own");

    let said = told(&world, &backend, token).await;
    let now = world.clock.now().seconds();
    assert_eq!((&said["active"], &said["token_type"], &said["sub"]), (&json!(true), &json!("DPoP"), &json!("ada")));
    assert_eq!((&said["cnf"]["jkt"], &said["exp"]), (&json!(spa.key.kid()), &json!(now + 300)));

    let exchange = [
        ("grant_type", GrantType::TokenExchange.name()),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let exchanged = backend.request(world.clock.now(), &exchange).send().await.expect_tokens();
    let said = told(&world, &backend, exchanged.text("access_token")).await;
    assert_eq!((&said["sub"], &said["act"]["sub"]), (&json!("ada"), &json!("backend")));
}

#[tokio::test]
async fn the_client_or_the_resource_decides_on_the_form() {
    let world = World::start_with(opaque_orders).await;
    let backend = world.client("backend");
    let own = async |resource: &str| {
        let form = [("grant_type", "client_credentials"), ("resource", resource)];
        backend.request(world.clock.now(), &form).send().await.expect_tokens().text("access_token").to_owned()
    };
    assert!(own("https://api.example.com").await.starts_with("tga_"));
    assert_eq!(claims(&own("https://files.example.com").await)["aud"], "https://files.example.com");
    let verdict = call(&world, &backend, &own("https://api.example.com").await).await;
    assert_eq!((verdict.status, verdict.header("x-auth-client")), (200, Some("backend")), "{verdict:?}");
}

#[tokio::test]
async fn a_handle_is_judged_at_the_gate_as_a_jwt_is() {
    let world = World::start_with(opaque).await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let unbound = backend.bearer_request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let for_files = [("grant_type", "client_credentials"), ("resource", "https://files.example.com")];
    let for_files = backend.request(world.clock.now(), &for_files).send().await.expect_tokens();
    let token = adas_tokens(&world, &spa).await.text("access_token").to_owned();
    let altered = format!("{}{}", &token[..46], if token.ends_with('A') { 'E' } else { 'A' });
    for (token, reason) in [
        (unbound.text("access_token"), "unbound_token_as_dpop"),
        (for_files.text("access_token"), "token_audience_wrong"),
        (&altered, "token_handle_unknown"),
        (&token[..46], "token_malformed"),
        (&format!("{token}."), "token_malformed"),
        (&format!("x.{token}.x"), "token_malformed"),
    ] {
        assert_eq!(call(&world, &backend, token).await.status, 401, "{reason}");
        assert_eq!(world.events.last("denial").as_deref(), Some(reason));
    }
    world.clock.advance(Duration::from_secs(309));
    assert_eq!(call(&world, &spa, &token).await.status, 200, "clocks may differ by ten seconds");
    world.clock.advance(Duration::from_secs(1));
    for from in ["the cache", "the store"] {
        assert_eq!(call(&world, &spa, &token).await.status, 401, "from {from}");
        assert_eq!(world.events.last("denial").as_deref(), Some("token_expired"));
    }
}

#[tokio::test]
async fn a_handle_is_revoked_as_a_jwt_is_and_outlives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&directory.path().join("tollgate.db"), Limits::default()).expect("a store");
    let world = World::start_on(Arc::new(store), opaque).await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let (kept, revoked) = (adas_tokens(&world, &spa).await, adas_tokens(&world, &spa).await);
    let own = async || backend.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let (kept_own, revoked_own) = (own().await, own().await);
    for (client, token) in [(&spa, revoked.text("access_token")), (&backend, revoked_own.text("access_token"))] {
        assert_eq!(told(&world, &backend, token).await["active"], true);
        let response = client.about(REVOKE, token, world.clock.now()).into_request().send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(told(&world, &backend, token).await, json!({ "active": false }));
    }
    let refresh = refresh_request(revoked.text("refresh_token"));
    spa.request(world.clock.now(), &refresh).send().await.expect(400, "invalid_grant");

    let world = world.restart_with(End::Killed, opaque).await;
    let (spa, backend) = (spa.reconnected(), backend.reconnected());
    for (client, tokens, is_active) in
        [(&spa, &kept, true), (&spa, &revoked, false), (&backend, &kept_own, true), (&backend, &revoked_own, false)]
    {
        let token = tokens.text("access_token");
        assert_eq!(told(&world, &backend, token).await["active"], is_active);
        if is_active {
            world.clock.advance(Duration::from_secs(16)); // past the fence
            assert_eq!(call(&world, client, token).await.status, 200);
        }
    }
}

#[tokio::test]
async fn userinfo_takes_a_handle() {
    let world = World::start_with(|settings| {
        opaque(settings);
        for client in &mut settings.clients {
            client.scopes = "openid profile orders:read orders:write".parse().expect("scopes");
        }
    })
    .await;
    let tv = world.client("tv");
    let asked = tv.device_request(world.clock.now(), &[("scope", "openid profile")]).send().await.expect_tokens();
    world.let_in(asked.text("device_code"), "ada").await;
    let poll = crate::client::poll_request(asked.text("device_code"));
    let tokens = tv.bearer_request(world.clock.now(), &poll).send().await.expect_tokens();
    let url = format!("{}/oauth/userinfo", world.issuer);
    let request = http().get(url).header("authorization", format!("Bearer {}", tokens.text("access_token")));
    let said = answer(request).await.expect_tokens();
    assert_eq!((&said.body["sub"], &said.body["name"]), (&json!("ada"), &json!("ada")));
}

/// Fails what concerns handles, and counts how often they are looked up.
#[derive(Default)]
struct Handles {
    down: AtomicBool,
    lookups: AtomicU32,
}

#[async_trait]
impl Tap for Handles {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        if !["check_room_for_access_token", "record_access_token", "access_token"].contains(&call) {
            return Ok(());
        }
        if call == "access_token" {
            self.lookups.fetch_add(1, Ordering::SeqCst);
        }
        if self.down.load(Ordering::SeqCst) { Err(Unavailable::Down) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_an_outage_at_the_gate_too() {
    let tap = Arc::new(Handles::default());
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
    let store = TappedStore { inner, tap: Arc::clone(&tap) as Arc<dyn Tap> };
    let world = World::start_on(Arc::new(store), opaque).await;
    let spa = world.client("spa");
    let (first, second) = (adas_tokens(&world, &spa).await, adas_tokens(&world, &spa).await);
    let (first, second) = (first.text("access_token"), second.text("access_token"));
    assert_eq!(call(&world, &spa, first).await.status, 200);
    assert_eq!(tap.lookups.load(Ordering::SeqCst), 1);

    tap.down.store(true, Ordering::SeqCst);
    let verdict = call(&world, &spa, second).await;
    assert_eq!((verdict.status, verdict.header("www-authenticate")), (503, None), "{verdict:?}");
    assert_eq!(call(&world, &spa, first).await.status, 200, "it is known what this one says");
    assert_eq!(tap.lookups.load(Ordering::SeqCst), 2);
    // Nothing is spent for a token that cannot be recorded.
    let code = world.code(&spa).await;
    let now = world.clock.now();
    assert_eq!(spa.request(now, &code_request(&code)).send().await.status, 503);
    tap.down.store(false, Ordering::SeqCst);
    spa.request(now, &code_request(&code)).send().await.expect_tokens();
    assert_eq!(call(&world, &spa, second).await.status, 200);
}

#[tokio::test]
async fn the_store_is_not_asked_for_one_who_could_not_pass_and_once_about_what_is_no_handle() {
    let tap = Arc::new(Handles::default());
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
    let store = TappedStore { inner, tap: Arc::clone(&tap) as Arc<dyn Tap> };
    let world = World::start_on(Arc::new(store), opaque).await;
    let (spa, lookups) = (world.client("spa"), || tap.lookups.load(Ordering::SeqCst));
    let token = adas_tokens(&world, &spa).await.text("access_token").to_owned();
    let altered = format!("{}{}", &token[..46], if token.ends_with('A') { 'E' } else { 'A' });
    let proof = spa.resource_proof("GET", ORDERS, &token, world.clock.now());
    let mut proxy = Proxy::over_tcp(world.addresses.gate[0]).await;
    assert_eq!(proxy.get("/orders/7", Some(&altered), Some(&proof)).await.status, 401, "a proof for another token");
    assert_eq!(lookups(), 0);
    for _ in 0..3 {
        assert_eq!(call(&world, &spa, &altered).await.status, 401);
        assert_eq!(world.events.last("denial").as_deref(), Some("token_handle_unknown"));
    }
    assert_eq!(lookups(), 1);
}

#[tokio::test]
async fn a_full_store_costs_nobody_a_code() {
    let store = Arc::new(MemoryStore::new(Limits { access_tokens: 1, ..Limits::default() }));
    let world = World::start_on(store, opaque).await;
    let spa = world.client("spa");
    adas_tokens(&world, &spa).await;
    let code = world.code(&spa).await;
    assert_eq!(spa.request(world.clock.now(), &code_request(&code)).send().await.status, 503);
    let digest = code.parse::<AuthorizationCode>().expect("a code").digest();
    assert_eq!(world.store.code(digest).await.expect("an answer").expect("the code").spent_for, None);
}
