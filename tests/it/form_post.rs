//! Authorization responses that the browser posts to the client (OAuth 2.0 Form Post Response Mode).

use serde_json::Value;
use tollgate::clock::Clock as _;
use tollgate::oauth::Refusal;
use tollgate::secret::{base64url, sha256};

use crate::browser::{Browser, Page};
use crate::client::{AUTHORIZATION_REQUEST, answer, claims, code_request};
use crate::world::World;

fn path(id: &str, changes: &[(&str, &str)]) -> String {
    let kept = AUTHORIZATION_REQUEST.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let client = ("client_id", id);
    let all = kept.chain(changes).chain([&client]);
    format!("/oauth/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish())
}

/// The value of a field of the form that a page is.
#[track_caller]
fn field(page: &Page, name: &str) -> Option<String> {
    let (action, fields) = page.form();
    assert_eq!((page.status, action.as_str()), (200, "https://app.example/cb"), "{page:?}");
    fields.into_iter().find(|(each, _)| each == name).map(|(_, value)| value)
}

#[tokio::test]
async fn a_code_travels_in_a_form() {
    let world = World::start().await;
    let client = world.client("spa");
    let mut browser = Browser::new(&world.issuer);
    let hostile = [("response_mode", "form_post"), ("state", "\"><script>alert(1)</script>")];
    let page = browser.approve(&path("spa", &hostile), "ada", "ada").await;
    assert_eq!(field(&page, "state").as_deref(), Some(hostile[1].1));
    assert_eq!(field(&page, "iss").as_deref(), Some(world.issuer.as_str()));
    let code = field(&page, "code").expect("a code");
    client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();

    // One button, and one line that presses it, which its hash admits; whatever `state` holds, it is text.
    assert!(page.has("<button type=\"submit\">") && !page.has("<script>alert"), "{page:?}");
    let script = page.html.split("<script>").nth(1).and_then(|rest| rest.split("</script>").next()).expect("a script");
    let hash = sha256(script.as_bytes());
    let policy = page.header("content-security-policy");
    let admitted = policy.split("script-src 'sha256-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a hash");
    assert_eq!(admitted.trim_end_matches('=').replace('+', "-").replace('/', "_"), base64url(&hash));
    assert!(!policy.contains("form-action") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_refusal_travels_in_a_form_and_both_may_be_signed() {
    let world = World::start().await;
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&path("spa", &[("response_mode", "form_post"), ("scope", "admin")])).await;
    assert_eq!(field(&page, "error").as_deref(), Some("invalid_scope"));
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::ScopeNotAllowed.name()));
    let page = browser.approve(&path("spa", &[("response_mode", "form_post.jwt")]), "ada", "ada").await;
    assert_eq!((field(&page, "code"), field(&page, "state")), (None, None), "all of it is signed");
    let response = claims(&field(&page, "response").expect("a response"));
    assert_eq!((&response["iss"], &response["aud"]), (&world.issuer.as_str().into(), &Value::from("spa")));
    assert!(response["code"].is_string());
}

#[tokio::test]
async fn only_a_website_is_posted_to() {
    let world = World::start_with(|settings| {
        for client in &mut settings.clients {
            client.redirect_uris = vec!["com.example.app:/cb".parse().expect("a URI")];
        }
    })
    .await;
    let native = [("response_mode", "form_post"), ("redirect_uri", "com.example.app:/cb")];
    let page = Browser::new(&world.issuer).open(&path("spa", &native)).await;
    assert!(page.header("location").starts_with("com.example.app:/cb?error=invalid_request&"), "{page:?}");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::ResponseModeUnsupported.name()));
    let document =
        answer(crate::client::http().get(format!("{}/.well-known/openid-configuration", world.issuer))).await;
    let modes = document.body["response_modes_supported"].as_array().expect("modes").clone();
    assert!(modes.contains(&"form_post".into()) && modes.contains(&"form_post.jwt".into()), "{modes:?}");
}
