//! Token exchange (RFC 8693): the orders API, called by ada's app, calls the files API on her behalf.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::oauth::Refusal;
use tollgate::oauth::client::{ExchangePolicy, GrantType};

use crate::client::{CLIENT_CREDENTIALS, Client, TokenCall, claims, code_request};
use crate::token_endpoint::OF_TOKEN_EXCHANGE;
use crate::world::World;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ORDERS: &str = "https://api.example.com";
const FILES: &str = "https://files.example.com";

/// A world in which `backend` answers for the orders API and may call the files API, and `bound` answers for the files API and
/// may call the orders API.
async fn world() -> World {
    World::start_with(|settings| {
        for client in &mut settings.clients {
            let (from, to) = match client.id.as_str() {
                "backend" => (ORDERS, FILES),
                "bound" => (FILES, ORDERS),
                _ => continue,
            };
            let audience = |text: &str| vec![text.parse().expect("a resource")];
            client.exchange = Some(ExchangePolicy { from: audience(from), to: audience(to) });
            client.grant_types.push(GrantType::TokenExchange);
        }
    })
    .await
}

/// What ada's app got for the orders API.
async fn adas_token(world: &World) -> String {
    let app = world.client("spa");
    let code = world.code(&app).await;
    let tokens = app.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    tokens.text("access_token").to_owned()
}

fn exchange<'a>(world: &World, client: &'a Client, token: &str) -> TokenCall<'a> {
    let parameters = [("grant_type", GRANT), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];
    client.request(world.clock.now(), &parameters)
}

#[tokio::test]
async fn a_service_acts_for_who_has_called_it_and_says_so() {
    let world = world().await;
    let token = adas_token(&world).await;
    world.clock.advance(Duration::from_mins(2));
    let backend = world.client("backend");
    let answer = exchange(&world, &backend, &token).with("scope", "orders:read").send().await.expect_tokens();
    assert_eq!(answer.text("issued_token_type"), ACCESS_TOKEN);
    assert_eq!(answer.text("token_type"), "DPoP");
    assert_eq!((&answer.body["refresh_token"], &answer.body["id_token"]), (&Value::Null, &Value::Null));

    let (old, new) = (claims(&token), claims(answer.text("access_token")));
    assert_eq!((&new["sub"], &new["aud"], &new["client_id"]), (&json!("ada"), &json!(FILES), &json!("backend")));
    assert_eq!(new["act"], json!({ "sub": "backend" }));
    assert_eq!(new["scope"], "orders:read");
    assert_eq!(new["auth_time"], old["auth_time"]);
    assert_eq!(new["cnf"]["jkt"], backend.key.kid(), "the new token is bound to the key of the service");
    assert_eq!(new["exp"], old["exp"], "it ends no later");
    assert_eq!(answer.body["expires_in"], 180);

    // The files API calls on: the chain is kept, the last one first.
    let bound = world.client("bound");
    let next = exchange(&world, &bound, answer.text("access_token")).send().await.expect_tokens();
    let next = claims(next.text("access_token"));
    assert_eq!(next["act"], json!({ "sub": "bound", "act": { "sub": "backend" } }));
    assert_eq!((&next["sub"], &next["aud"]), (&json!("ada"), &json!(ORDERS)));
}

#[tokio::test]
async fn what_is_exchanged_never_grows_and_never_circles() {
    let world = world().await;
    let (backend, bound) = (world.client("backend"), world.client("bound"));
    let mut token = adas_token(&world).await;
    // `bound` may not do what `orders:write` allows, and so nobody behind it may.
    exchange(&world, &backend, &token).with("scope", "orders:read admin").send().await.expect(400, "invalid_scope");
    for client in [&backend, &bound] {
        token = exchange(&world, client, &token).send().await.expect_tokens().text("access_token").to_owned();
    }
    assert_eq!(claims(&token)["scope"], "orders:read");
    for client in [&backend, &bound] {
        token = exchange(&world, client, &token).send().await.expect_tokens().text("access_token").to_owned();
    }
    exchange(&world, &backend, &token).send().await.expect(400, "invalid_request");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::SubjectTokenInvalid.name()));
}

#[tokio::test]
async fn every_other_exchange_is_refused() {
    let world = world().await;
    let backend = world.client("backend");
    let token = adas_token(&world).await;
    let foreign = exchange(&world, &backend, &token).send().await.expect_tokens().text("access_token").to_owned();
    let good = || exchange(&world, &backend, &token);
    let poster = world.client("poster");
    let mut met = BTreeSet::new();
    for (call, error, refusal) in [
        (good().without("subject_token"), "invalid_request", Refusal::SubjectTokenMissing),
        (good().without("subject_token_type"), "invalid_request", Refusal::SubjectTokenTypeUnsupported),
        (
            good().with("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
            "invalid_request",
            Refusal::SubjectTokenTypeUnsupported,
        ),
        (good().with("actor_token", &token), "invalid_request", Refusal::ActorTokenUnsupported),
        (good().with("actor_token_type", ACCESS_TOKEN), "invalid_request", Refusal::ActorTokenUnsupported),
        (
            good().with("requested_token_type", "urn:ietf:params:oauth:token-type:id_token"),
            "invalid_request",
            Refusal::RequestedTokenTypeUnsupported,
        ),
        (good().with("subject_token", &format!("{token}x")), "invalid_request", Refusal::SubjectTokenInvalid),
        (good().with("subject_token", "x"), "invalid_request", Refusal::SubjectTokenInvalid),
        (good().with("subject_token", &foreign), "invalid_request", Refusal::SubjectTokenForOthers),
        (good().with("resource", ORDERS), "invalid_target", Refusal::ResourceUnknown),
        (good().with("audience", "https://evil.example"), "invalid_target", Refusal::ResourceUnknown),
        (good().with("resource", FILES).with("audience", ORDERS), "invalid_target", Refusal::ResourceUnknown),
        (exchange(&world, &poster, &token), "unauthorized_client", Refusal::GrantTypeNotAllowed),
    ] {
        call.send().await.expect(400, error);
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
        met.insert(refusal.name());
    }
    let missed: Vec<_> =
        OF_TOKEN_EXCHANGE.iter().map(|refusal| refusal.name()).filter(|name| !met.contains(name)).collect();
    assert!(missed.is_empty(), "no request reaches {missed:?}");

    good().with("audience", FILES).and("audience", FILES).send().await.expect_tokens();
    world.disable("ada");
    good().send().await.expect(400, "invalid_request");
    world.enable("ada");
    world.clock.advance(Duration::from_secs(311));
    good().send().await.expect(400, "invalid_request");
}

#[tokio::test]
async fn a_client_that_speaks_for_itself_can_be_acted_for_as_well() {
    let world = world().await;
    let web = world.client("web");
    let own = web.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let backend = world.client("backend");
    let answer = exchange(&world, &backend, own.text("access_token")).send().await.expect_tokens();
    let claims = claims(answer.text("access_token"));
    assert_eq!(
        (&claims["sub"], &claims["act"]["sub"], &claims["auth_time"]),
        (&json!("web"), &json!("backend"), &Value::Null)
    );
}
