//! Scripts of other origins (Fetch §3.2): what a browser lets them do with us.

use std::collections::BTreeSet;

use http::Method;
use reqwest::header::HeaderMap;
use tollgate::clock::Clock as _;

use crate::client::{CLIENT_CREDENTIALS, INTROSPECT, REVOKE, code_request, http};
use crate::world::World;

const ORIGIN: &str = "https://app.example";

/// The words in a list of a header, in small letters.
fn words(headers: &HeaderMap, name: &str) -> BTreeSet<String> {
    let value = headers.get(name).map_or("", |value| value.to_str().expect("ASCII"));
    value.split(',').map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty()).collect()
}

/// Whether a browser that was told this lets a script go on with a request of a method and with headers.
async fn may(world: &World, method: &Method, path: &str, headers: &[&str]) -> bool {
    let preflight = http().request(Method::OPTIONS, format!("{}{path}", world.issuer));
    let preflight = preflight.header("origin", ORIGIN).header("access-control-request-method", method.as_str());
    let answer = preflight.header("access-control-request-headers", headers.join(",")).send().await.expect("an answer");
    let told = answer.headers();
    let allowed = words(told, "access-control-allow-headers");
    // `*` never stands for Authorization, and never goes with cookies.
    let origin = told.get("access-control-allow-origin").is_some_and(|origin| origin == "*");
    assert!(!told.contains_key("access-control-allow-credentials"));
    answer.status().is_success()
        && origin
        && words(told, "access-control-allow-methods").contains(&method.as_str().to_ascii_lowercase())
        && headers.iter().all(|header| allowed.contains(*header))
}

#[tokio::test]
async fn scripts_may_use_what_a_single_page_application_needs_and_nothing_else() {
    let world = World::start().await;
    let headers = ["authorization", "content-type", "dpop"];
    for (method, path) in [
        (Method::POST, "/oauth/token"),
        (Method::POST, REVOKE),
        (Method::POST, "/oauth/par"),
        (Method::GET, "/oauth/userinfo"),
        (Method::POST, "/oauth/userinfo"),
        (Method::GET, "/oauth/jwks"),
        (Method::GET, "/.well-known/oauth-authorization-server"),
        (Method::GET, "/.well-known/openid-configuration"),
    ] {
        assert!(may(&world, &method, path, &headers).await, "{method} {path}");
        assert!(!may(&world, &Method::DELETE, path, &headers).await, "{path}");
        assert!(!may(&world, &method, path, &["cookie-of-mine"]).await, "{path}");
    }
    for path in ["/oauth/authorize", "/login", "/consent", "/logout", "/activate", "/activate/callback", INTROSPECT] {
        for method in [Method::GET, Method::POST] {
            assert!(!may(&world, &method, path, &[]).await, "{method} {path}");
            let answer = http().request(method, format!("{}{path}", world.issuer)).header("origin", ORIGIN);
            let answer = answer.send().await.expect("an answer");
            let opened = answer.headers().keys().find(|name| name.as_str().starts_with("access-control"));
            assert_eq!(opened, None, "{path}");
        }
    }
}

#[tokio::test]
async fn a_script_reads_answers_errors_nonces_and_how_long_to_wait() {
    let world = World::start_with(|settings| settings.rate_limits.client = 1).await;
    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let code = world.code(&spa).await;
    let now = world.clock.now();
    let mut answers = vec![
        spa.request(now, &code_request(&code)).send().await,
        spa.request(now, &code_request(&code)).send().await.expect(400, "invalid_grant"),
        spa.request(now, &CLIENT_CREDENTIALS).basic("spa", "x").send().await.expect(401, "invalid_client"),
    ];
    for _ in 0..10 {
        backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    }
    answers.push(backend.request(now, &CLIENT_CREDENTIALS).send().await.expect(429, "slow_down"));
    for answer in answers {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
        let exposed = words(&answer.headers, "access-control-expose-headers");
        for header in ["dpop-nonce", "www-authenticate", "retry-after"] {
            assert!(exposed.contains(header), "{answer:?}");
        }
    }
}
