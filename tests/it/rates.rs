//! How often clients may ask: 429 with `Retry-After` (RFC 6585 §4), and for nobody but who asks too often.

use std::time::Duration;

use tollgate::clock::Clock as _;

use crate::client::{Answer, CLIENT_CREDENTIALS, Client, DEVICE_AUTHORIZATION, INTROSPECT, REVOKE, TokenCall, answer};
use crate::process::Installation;
use crate::world::{SECRET, World};

const PATHS: [&str; 5] = ["/oauth/token", REVOKE, INTROSPECT, DEVICE_AUTHORIZATION, "/oauth/par"];

/// A request that is good enough to be counted.
fn call<'a>(world: &World, client: &'a Client, path: &'static str) -> TokenCall<'a> {
    client.about(path, "x", world.clock.now()).with("grant_type", "client_credentials")
}

#[track_caller]
fn one_too_many(answer: &Answer, wait: &str) {
    assert_eq!((answer.status, answer.error()), (429, "slow_down"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some(wait));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_client_that_asks_too_often_waits_and_no_other_does() {
    for path in PATHS {
        let world = World::start_with(|settings| settings.rate_limits.client = 2).await;
        let (web, backend) = (world.client("web"), world.client("backend"));
        for n in 0..20 {
            let answer = call(&world, &web, PATHS[n % PATHS.len()]).send().await;
            assert_ne!(answer.status, 429, "all endpoints count together, ten seconds' worth at once");
        }
        // What was refused has not spent the assertion.
        let assertion = web.sign_assertion(&web.assertion_claims(world.clock.now()));
        let again =
            || TokenCall::anonymous(&web, path).with("token", "x").with("grant_type", "x").assertion(&assertion);
        one_too_many(&again().send().await, "1");
        assert_eq!(world.events.last("outcome").as_deref(), Some("throttled"));
        assert_ne!(call(&world, &backend, path).send().await.status, 429, "{path}");
        world.clock.advance(Duration::from_millis(500));
        assert!(![401, 429].contains(&again().send().await.status), "{path}");
        one_too_many(&call(&world, &web, path).send().await, "1");
    }
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits_whoever_it_says_it_is() {
    let world = World::start_with(|settings| settings.rate_limits.address = 1).await;
    let backend = world.client("backend");
    for n in 0..10 {
        let anybody = format!("client-{n}");
        let answer = TokenCall::anonymous(&backend, "/oauth/token").with("grant_type", "x").with("client_id", &anybody);
        answer.send().await.expect(401, "invalid_client");
    }
    one_too_many(&call(&world, &backend, INTROSPECT).send().await, "2");
    // Nobody has said that this header could be believed.
    let forwarded = call(&world, &backend, INTROSPECT).into_request().header("x-forwarded-for", "198.51.100.7");
    one_too_many(&answer(forwarded).await, "2");
    world.clock.advance(Duration::from_secs(1));
    call(&world, &backend, INTROSPECT).send().await.expect_tokens();
}

#[tokio::test]
async fn who_guesses_the_secret_of_a_client_soon_waits() {
    let world = World::start_with(|settings| settings.rate_limits.wrong_secrets = 3).await;
    let (backend, poster) = (world.client("backend"), world.client("poster"));
    let guess = |n: usize| {
        let guess = TokenCall::anonymous(&backend, PATHS[n % PATHS.len()]).with("token", "x").with("grant_type", "x");
        guess.basic("backend", &format!("guess-{n}"))
    };
    for n in 0..3 {
        for _ in 0..3 {
            // Secrets that are right are not counted.
            assert_ne!(call(&world, &backend, REVOKE).send().await.status, 429);
        }
        guess(n).send().await.expect(401, "invalid_client");
    }
    one_too_many(&guess(3).send().await, "21");
    one_too_many(&call(&world, &backend, REVOKE).send().await, "21"); // a right guess, from there, would not be told
    let other = TokenCall::anonymous(&poster, REVOKE).with("token", "x").with("client_id", "poster");
    let answer = other.with("client_secret", SECRET).into_request().send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "another client is not locked out");
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(call(&world, &backend, REVOKE).send().await.status, 200);
    // Neither an unknown client nor one that has no secret can be told from it.
    for id in ["nobody", "web"] {
        let guess = || TokenCall::anonymous(&backend, REVOKE).with("token", "x").basic(id, "guess");
        for _ in 0..3 {
            guess().send().await.expect(401, "invalid_client");
        }
        one_too_many(&guess().send().await, "21");
    }
    // Nor is a client kept out whose signatures somebody else cannot make.
    let web = world.client("web");
    web.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
}

#[tokio::test]
async fn behind_a_trusted_proxy_everybody_has_an_address_of_his_own() {
    let installation = Installation::new();
    let trusted = "listen.public.trusted_proxies=[\"127.0.0.0/8\"]";
    let process =
        installation.start(&["--set", trusted, "--set", "authorization_server.rate_limits.wrong_secrets=1"]).await;
    let backend = installation.client("backend");
    let guess = async |forwarded: &str| {
        let call = TokenCall::anonymous(&backend, INTROSPECT).with("token", "x").basic("backend", "guess");
        answer(call.into_request().header("x-forwarded-for", forwarded)).await.status
    };
    assert_eq!(guess("198.51.100.7").await, 401);
    assert_eq!(guess("198.51.100.7").await, 429);
    assert_eq!(guess("203.0.113.1, 198.51.100.7").await, 429, "what a caller writes himself stands to the left");
    assert_eq!(guess("198.51.100.7, 203.0.113.2").await, 401);
    process.signal("TERM").await;
    process.ended().await;
}
