//! Introspection (RFC 7662): the orders API asks whether what it was called with is good.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::jose::{Algorithm, Jws, PublicKey, SigningKey};
use tollgate::oauth::Refusal;
use tollgate::oauth::client::{ExchangePolicy, GrantType};
use tollgate::secret::RefreshToken;
use tollgate::store::{EndedBy, GrantHandle, Limits, MemoryStore};
use tollgate::token::TOKEN_LIMIT;

use crate::client::{
    Answer, CLIENT_CREDENTIALS, Client, INTROSPECT, TokenCall, answer, claims, code_request, http, refresh_request,
};
use crate::world::{SECRET, World};

const ORDERS: &str = "https://api.example.com";
const FILES: &str = "https://files.example.com";
const SIGNED: &str = "application/token-introspection+jwt";

/// A world in which `backend` is the server of the orders API, and `poster` that of the files API.
pub async fn world() -> World {
    World::start_with(|settings| {
        for client in &mut settings.clients {
            let resource = match client.id.as_str() {
                "backend" => ORDERS,
                "poster" => FILES,
                _ => continue,
            };
            client.introspects = vec![resource.parse().expect("a resource")];
        }
    })
    .await
}

/// Tokens with which ada's app may call the orders API.
pub async fn adas_tokens(world: &World, client: &Client) -> Answer {
    let code = world.code(client).await;
    client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens()
}

/// What a client is told about a token.
pub async fn told(world: &World, client: &Client, token: &str) -> Value {
    let answer = client.about(INTROSPECT, token, world.clock.now()).send().await.expect_tokens();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), None, "it is for servers");
    answer.body
}

fn inactive() -> Value {
    json!({ "active": false })
}

#[tokio::test]
async fn the_server_of_a_resource_learns_what_a_token_for_it_says() {
    let world = world().await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let token = adas_tokens(&world, &spa).await.text("access_token").to_owned();
    let said = claims(&token);
    let expected = json!({
        "active": true, "token_type": "DPoP", "iss": world.issuer, "sub": "ada", "aud": ORDERS, "client_id": "spa",
        "scope": "orders:read orders:write", "iat": said["iat"], "exp": said["exp"], "jti": said["jti"],
        "auth_time": said["auth_time"], "cnf": { "jkt": spa.key.kid() },
    });
    assert_eq!(told(&world, &backend, &token).await, expected);

    // Hints and proofs change nothing (RFC 7662 §2.1, RFC 9449 §6.2).
    for hint in ["access_token", "refresh_token", "pat", ""] {
        let call = backend.about(INTROSPECT, &token, world.clock.now()).with("token_type_hint", hint).proof("x");
        assert_eq!(call.send().await.expect_tokens().body, expected, "{hint}");
    }
    // A client may ask about its own tokens.
    let web = world.client("web");
    let own = web.bearer_request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let own = told(&world, &web, own.text("access_token")).await;
    assert_eq!((&own["active"], &own["token_type"], &own["sub"]), (&json!(true), &json!("Bearer"), &json!("web")));
    assert_eq!((&own["cnf"], &own["auth_time"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn whatever_is_not_good_or_not_for_the_caller_looks_alike() {
    let world = world().await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let token = adas_tokens(&world, &spa).await.text("access_token").to_owned();
    let body = claims(&token);
    let stranger = SigningKey::generate(Algorithm::Es256).expect("a key");
    let text = backend.about(INTROSPECT, "x", world.clock.now()).into_request().send().await.expect("an answer");
    assert_eq!(text.text().await.expect("a body"), r#"{"active":false}"#);
    for (what, token) in [
        ("garbage", "x".to_owned()),
        ("long", "x".repeat(15_000)),
        ("altered", format!("{}x", &token[..token.len() - 1])),
        ("by another issuer", stranger.sign("at+jwt", &body)),
        ("another kind of JWT", stranger.sign("token-introspection+jwt", &body)),
        ("a refresh token that never was", format!("tgr_{}", "A".repeat(96))),
    ] {
        assert_eq!(told(&world, &backend, &token).await, inactive(), "{what}");
    }
    assert_eq!(told(&world, &world.client("poster"), &token).await, inactive(), "for another resource");
    assert_eq!(told(&world, &world.client("web"), &token).await, inactive(), "for another client");

    world.disable("ada");
    assert_eq!(told(&world, &backend, &token).await, inactive(), "of somebody who may no longer sign in");
    world.enable("ada");
    assert_eq!(told(&world, &backend, &token).await["active"], true);
    world.clock.advance(Duration::from_secs(299));
    assert_eq!(told(&world, &backend, &token).await["active"], true);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(told(&world, &backend, &token).await, inactive(), "expired, with no second more");
}

#[tokio::test]
async fn an_access_token_ends_with_its_grant() {
    let world = world().await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let tokens = adas_tokens(&world, &spa).await;
    let refresh = refresh_request(tokens.text("refresh_token"));
    let refreshed = spa.request(world.clock.now(), &refresh).send().await.expect_tokens();
    let access = [tokens.text("access_token"), refreshed.text("access_token")];
    for token in access {
        assert_eq!(told(&world, &backend, token).await["active"], true);
    }
    let handle = tokens.text("refresh_token").parse::<RefreshToken>().expect("ours").handle();
    world.store.end_grant(GrantHandle(handle), EndedBy::UserDisabled, world.clock.now()).await.expect("an answer");
    for token in access {
        assert_eq!(told(&world, &backend, token).await, inactive());
    }

    // A code that comes twice ends what it gave (RFC 6749 §4.1.2).
    let code = world.code(&spa).await;
    let tokens = spa.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    assert_eq!(told(&world, &backend, tokens.text("access_token")).await["active"], true);
    spa.request(world.clock.now(), &code_request(&code)).send().await.expect(400, "invalid_grant");
    assert_eq!(told(&world, &backend, tokens.text("access_token")).await, inactive());
}

#[tokio::test]
async fn what_a_service_got_in_exchange_ends_with_the_grant_of_the_person() {
    let world = World::start_with(|settings| {
        for client in &mut settings.clients {
            if client.id.as_str() == "backend" {
                let audience = |text: &str| vec![text.parse().expect("a resource")];
                client.exchange = Some(ExchangePolicy { from: audience(ORDERS), to: audience(FILES) });
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
    let about = told(&world, &backend, exchanged.text("access_token")).await;
    assert_eq!((&about["sub"], &about["act"]), (&json!("ada"), &json!({ "sub": "backend" })));

    let handle = tokens.text("refresh_token").parse::<RefreshToken>().expect("ours").handle();
    world.store.end_grant(GrantHandle(handle), EndedBy::Revoked, world.clock.now()).await.expect("an answer");
    assert_eq!(told(&world, &backend, exchanged.text("access_token")).await, inactive());
    backend.request(world.clock.now(), &exchange).send().await.expect(400, "invalid_request");
}

#[tokio::test]
async fn a_refresh_token_is_known_to_its_client_only_and_never_to_a_resource_server() {
    let world = world().await;
    let (web, backend) = (world.client("web"), world.client("backend"));
    let tokens = adas_tokens(&world, &web).await;
    let first = tokens.text("refresh_token").to_owned();
    let about = told(&world, &web, &first).await;
    let expected = json!({
        "active": true, "iss": world.issuer, "sub": "ada", "client_id": "web", "scope": "orders:read orders:write",
        "iat": world.clock.now().seconds(), "exp": world.clock.now().seconds() + 14 * 86_400,
    });
    assert_eq!(about, expected);
    assert_eq!(told(&world, &backend, &first).await, inactive());
    assert_eq!(told(&world, &world.client("bound"), &first).await, inactive());
    // A client that is a resource server too could take its own refresh token for an access token.
    let own = adas_tokens(&world, &backend).await;
    assert_eq!(told(&world, &backend, own.text("refresh_token")).await, inactive());

    // To ask is not to use: the old token is still there after its successor was asked about, and no fork is made of it.
    let refresh = |token: &str| web.request(world.clock.now(), &refresh_request(token)).send();
    let second = refresh(&first).await.expect_tokens().text("refresh_token").to_owned();
    assert_eq!(told(&world, &web, &second).await["active"], true);
    assert_eq!(told(&world, &web, &first).await["active"], true);
    let third = refresh(&second).await.expect_tokens().text("refresh_token").to_owned();
    assert_eq!(told(&world, &web, &first).await, inactive(), "older than the one before");
    assert_eq!(told(&world, &web, &third).await["active"], true, "and nothing came of it");
}

#[tokio::test]
async fn a_signed_answer_is_for_its_caller_and_for_nothing_else() {
    let world = world().await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let token = adas_tokens(&world, &spa).await.text("access_token").to_owned();
    let signed = async |token: &str, accept: &str| {
        let call = backend.about(INTROSPECT, token, world.clock.now());
        let response = call.into_request().header("accept", accept).send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        let content_type = response.headers()["content-type"].to_str().expect("ASCII").to_owned();
        (content_type, response.text().await.expect("a body"))
    };
    let (content_type, text) = signed(&token, SIGNED).await;
    assert_eq!(content_type, SIGNED);
    let jws = Jws::parse(&text, TOKEN_LIMIT).expect("a JWT");
    assert_eq!(jws.header_text("typ"), Ok(Some("token-introspection+jwt")));
    let keys: Value =
        http().get(format!("{}/oauth/jwks", world.issuer)).send().await.expect("an answer").json().await.expect("JSON");
    let key = PublicKey::from_jwk(keys["keys"][0].as_object().expect("a key")).expect("a key");
    jws.verify(Algorithm::Es256, &key).expect("signed by the published key");
    let document = told(&world, &backend, &token).await;
    let now = world.clock.now().seconds();
    let expected = json!({ "iss": world.issuer, "aud": "backend", "iat": now, "token_introspection": document });
    assert_eq!(claims(&text), expected);
    assert_eq!(claims(&signed("x", SIGNED).await.1)["token_introspection"], inactive());
    assert_eq!(told(&world, &backend, &text).await, inactive(), "it is no access token");

    for (accept, expected) in [
        ("application/json, Application/Token-Introspection+JWT;q=0.5", SIGNED),
        ("application/token-introspection+jwt; q=0.000", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("application/jwt", "application/json"),
    ] {
        assert_eq!(signed(&token, accept).await.0, expected, "{accept}");
    }
}

#[tokio::test]
async fn nobody_else_is_told_anything() {
    let world = world().await;
    let (spa, backend, web) = (world.client("spa"), world.client("backend"), world.client("web"));
    let now = world.clock.now();
    let good = || backend.about(INTROSPECT, "x", now);
    let nobody = || TokenCall::anonymous(&spa, INTROSPECT).with("token", "x");
    for (call, status, error, refusal) in [
        (nobody(), 401, "invalid_client", Refusal::ClientMissing),
        (nobody().with("client_id", "spa"), 401, "invalid_client", Refusal::IntrospectionByPublicClient),
        (nobody().with("client_id", "nobody"), 401, "invalid_client", Refusal::ClientAuthenticationFailed),
        (nobody().basic("backend", "wrong"), 401, "invalid_client", Refusal::ClientAuthenticationFailed),
        (nobody().authorization("Bearer x"), 401, "invalid_client", Refusal::BasicMalformed),
        (nobody().assertion("x"), 401, "invalid_client", Refusal::AssertionMalformed),
        (good().without("token"), 400, "invalid_request", Refusal::TokenMissing),
        (good().with("token", ""), 400, "invalid_request", Refusal::TokenMissing),
        (good().and("token", "x"), 400, "invalid_request", Refusal::ParameterRepeated),
        (good().with("client_secret", SECRET), 400, "invalid_request", Refusal::ClientAuthenticationRepeated),
    ] {
        let answer = call.send().await.expect(status, error);
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
    }
    // RFC 9701 §5: whom a signed answer is for must be known; without credentials 400, with wrong ones 401.
    let signed = |call: TokenCall<'_>| answer(call.into_request().header("accept", SIGNED));
    signed(nobody()).await.expect(400, "invalid_request");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::IntrospectionCallerMissing.name()));
    signed(nobody().basic("backend", "wrong")).await.expect(401, "invalid_client");

    // An assertion is good once, wherever it was used.
    let assertion = web.sign_assertion(&web.assertion_claims(now));
    let once = || nobody().assertion(&assertion);
    assert_eq!(once().send().await.expect_tokens().body, inactive());
    once().send().await.expect(401, "invalid_client");

    let url = format!("{}{INTROSPECT}", world.issuer);
    let got = answer(http().get(format!("{url}?token=x"))).await;
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    answer(http().post(format!("{url}?token=x")).form(&[("client_id", "spa")])).await.expect(400, "invalid_request");
    answer(http().post(&url).json(&json!({ "token": "x" }))).await.expect(400, "invalid_request");
}

#[tokio::test]
async fn to_ask_writes_nothing() {
    let store = Arc::new(MemoryStore::new(Limits { revocations: 1, ..Limits::default() }));
    let tap = Arc::new(crate::revoke::Calls::default());
    let tapped = crate::tap::TappedStore { inner: store, tap: Arc::clone(&tap) as Arc<dyn crate::tap::Tap> };
    let world = World::start_on(Arc::new(tapped), |_| {}).await;
    let backend = world.client("backend");
    let tokens = adas_tokens(&world, &backend).await;
    tap.forget();
    told(&world, &backend, tokens.text("access_token")).await;
    told(&world, &backend, tokens.text("refresh_token")).await;
    let own = backend.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    told(&world, &backend, own.text("access_token")).await;
    assert_eq!(tap.all(), ["grant", "grant", "is_token_revoked"]);
}
