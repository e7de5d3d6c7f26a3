//! Signed authorization responses (JARM), as a client reads them.

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::jose::{Algorithm, Jws, PublicKey, object};
use tollgate::oauth::Refusal;

use crate::browser::{Browser, Page};
use crate::client::{AUTHORIZATION_REQUEST, answer, code_request};
use crate::request_object::{object_claims, sign_object};
use crate::world::World;

fn path(id: &str, changes: &[(&str, &str)]) -> String {
    let kept = AUTHORIZATION_REQUEST.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let client = ("client_id", id);
    let all = kept.chain(changes).chain([&client]);
    format!("/oauth/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish())
}

/// Verifies a response as its client does: signature, issuer, audience and time.
async fn verified(world: &World, client: &str, page: &Page) -> Value {
    let location = page.location();
    let parameters: Vec<_> = location.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(parameters, ["response"], "all of it is signed");
    let response = page.parameter("response").expect("a response");
    let jwks = answer(crate::client::http().get(format!("{}/oauth/jwks", world.issuer))).await.body;
    let jws = Jws::parse(&response, 16 * 1024).expect("a JWT");
    let kid = jws.header_text("kid").expect("text");
    let jwk = jwks["keys"].as_array().expect("keys").iter().find(|jwk| jwk["kid"].as_str() == kid).expect("the key");
    let key = PublicKey::from_jwk(&object(jwk.to_string().as_bytes()).expect("JSON")).expect("a key");
    assert_eq!(jws.algorithm(&[Algorithm::Es256]), Some(Algorithm::Es256));
    assert_eq!(jws.verify(Algorithm::Es256, &key), Ok(()));
    assert_eq!(jws.header_text("typ"), Ok(Some("JWT")), "no access token");
    let claims = Value::Object(jws.into_claims());
    assert_eq!(claims["iss"], world.issuer);
    assert_eq!(claims["aud"], client);
    let lasts = claims["exp"].as_i64().expect("a time") - world.clock.now().seconds();
    assert!((1..=600).contains(&lasts), "{claims}");
    claims
}

#[tokio::test]
async fn a_code_travels_in_a_signed_response() {
    let world = World::start().await;
    for mode in ["jwt", "query.jwt"] {
        let client = world.client("spa");
        let page = Browser::new(&world.issuer).approve(&path("spa", &[("response_mode", mode)]), "ada", "ada").await;
        assert!(page.header("location").starts_with("https://app.example/cb?response="), "{page:?}");
        let claims = verified(&world, "spa", &page).await;
        assert_eq!(claims["state"], "s&t=a te");
        assert_eq!(claims["error"], Value::Null);
        let code = claims["code"].as_str().expect("a code");
        client.request(world.clock.now(), &code_request(code)).send().await.expect_tokens();
    }
}

#[tokio::test]
async fn a_refusal_travels_in_a_signed_response() {
    let world = World::start().await;
    let mode = ("response_mode", "jwt");
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&path("spa", &[mode, ("scope", "admin"), ("state", "é\"x")])).await;
    let claims = verified(&world, "spa", &page).await;
    assert_eq!(claims["error"], "invalid_scope");
    assert_eq!(claims["error_description"], Refusal::ScopeNotAllowed.description());
    assert_eq!((&claims["state"], &claims["code"]), (&json!("é\"x"), &Value::Null));

    let page = browser.open(&path("spa", &[mode])).await;
    let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
    let page = browser.submit(&page, &[("decision", "deny")]).await;
    assert_eq!(verified(&world, "spa", &page).await["error"], "access_denied");
}

#[tokio::test]
async fn a_response_mode_may_be_pushed_and_signed() {
    let world = World::start().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let mut claims = object_claims(&world, &web);
    claims["response_mode"] = "jwt".into();
    let pushed = web.push(now, &[("request", &sign_object(&web, &claims))]).send().await.expect(201, "");
    let page = Browser::new(&world.issuer).approve(&web.pushed_path(&pushed), "ada", "ada").await;
    assert!(verified(&world, "web", &page).await["code"].is_string());
}

#[tokio::test]
async fn a_response_mode_that_we_have_not_is_answered_in_the_ordinary_way() {
    let world = World::start().await;
    let mut browser = Browser::new(&world.issuer);
    for mode in ["fragment", "fragment.jwt", "FORM_POST", "JWT", "query jwt"] {
        let page = browser.open(&path("spa", &[("response_mode", mode)])).await;
        assert_eq!(page.parameter("error").as_deref(), Some("invalid_request"), "{mode}");
        assert_eq!(page.parameter("iss").as_deref(), Some(world.issuer.as_str()));
    }
    let page = browser.open(&format!("{}&response_mode=query", path("spa", &[("response_mode", "jwt")]))).await;
    assert_eq!(page.parameter("error").as_deref(), Some("invalid_request"), "which of them?");
}

#[tokio::test]
async fn a_signed_response_is_no_access_token() {
    let world = World::start().await;
    let page = Browser::new(&world.issuer).approve(&path("spa", &[("response_mode", "jwt")]), "ada", "ada").await;
    let response = page.parameter("response").expect("a response");
    let gate = *world.addresses.gate.first().expect("a gate");
    let mut proxy = crate::proxy::Proxy::over_tcp(gate).await;
    let client = world.client("spa");
    let proof = client.resource_proof("GET", "https://api.example.com/orders/1", &response, world.clock.now());
    assert_eq!(proxy.get("/orders/1", Some(&response), Some(&proof)).await.status, 401);
}
