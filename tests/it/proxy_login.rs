//! Sign-in at a proxy in front, which says in headers who it is.

use std::time::Duration;

use tollgate::clock::Clock as _;
use tollgate::config::Login;
use tollgate::identity::{Network, ProxyHeaders};
use tollgate::oauth::Refusal;

use crate::browser::Browser;
use crate::client::{CHALLENGE, claims, code_request, refresh_request};
use crate::world::World;

async fn world(from: &[Network]) -> World {
    let word = |name: &str| Some(name.to_owned());
    let headers = ProxyHeaders {
        subject: "x-forwarded-user".to_owned(),
        name: word("x-forwarded-name"),
        email: word("x-forwarded-email"),
        acr: word("x-forwarded-acr"),
        auth_time: word("x-forwarded-auth-time"),
        from: from.to_vec(),
    };
    World::start_with_login(Login::Header(headers), |_| {}).await
}

/// A browser behind a proxy that says this.
fn behind(world: &World, headers: &[(&'static str, &str)]) -> Browser {
    let mut browser = Browser::new(&world.issuer);
    say(&mut browser, headers);
    browser
}

fn say(browser: &mut Browser, headers: &[(&'static str, &str)]) {
    browser.said = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
}

const ADA: (&str, &str) = ("x-forwarded-user", "ada");

fn request(more: &str) -> String {
    format!(
        "/oauth/authorize?response_type=code&client_id=spa&redirect_uri=https://app.example/cb&code_challenge={CHALLENGE}\
         &code_challenge_method=S256{more}"
    )
}

#[tokio::test]
async fn the_proxy_says_who_it_is_and_the_person_consents_here() {
    let world = world(&Network::LOOPBACK).await;
    let mut browser = behind(&world, &[ADA, ("x-forwarded-name", "Ada L."), ("x-forwarded-email", "ada@acme.example")]);
    let consent = browser.open(&request("")).await;
    assert!(consent.has("<strong>Ada L.</strong>") && !consent.has("value=\"switch\""), "{consent:?}");
    let code = browser.submit(&consent, &[("decision", "approve")]).await.code();
    assert!(!browser.cookies.contains_key("tollgate_session"), "the session is the proxy's");
    let (spa, now) = (world.client("spa"), world.clock.now());
    let tokens = spa.request(now, &code_request(&code)).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["sub"], "ada");

    // Tokens are refreshed without a browser, as long as the person may have them.
    let refreshed = spa.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();
    assert_eq!(world.store.disable_person(&"ada".parse().expect("a subject"), now).await, Ok(()));
    spa.request(now, &refresh_request(refreshed.text("refresh_token"))).send().await.expect(400, "invalid_grant");
    let back = browser.open(&request("")).await;
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::PersonDisabled.name()));
}

#[tokio::test]
async fn headers_from_anywhere_else_do_not_count() {
    let world = world(&["192.0.2.0/24".parse().expect("a network")]).await;
    let page = behind(&world, &[ADA]).open(&request("")).await;
    assert_eq!((page.status, world.events.last("refusal").as_deref()), (403, Some(Refusal::ProxyAbsent.name())));
    let none = behind(&world, &[ADA]).open(&request("&prompt=none")).await;
    assert_eq!(none.parameter("error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn a_header_that_is_missing_repeated_or_malformed_lets_nobody_in() {
    let world = world(&Network::LOOPBACK).await;
    let page = behind(&world, &[]).open(&request("")).await;
    assert_eq!((page.status, world.events.last("refusal").as_deref()), (403, Some(Refusal::ProxyAbsent.name())));
    for headers in [
        &[ADA, ("x-forwarded-user", "bob")][..],
        &[ADA, ADA],
        &[("x-forwarded-user", "")],
        &[("x-forwarded-user", "  ")],
        &[("x-forwarded-user", "web")], // the name of a client
        &[ADA, ("x-forwarded-auth-time", "yesterday")],
        &[ADA, ("x-forwarded-email", "")],
        &[ADA, ("x-forwarded-acr", "a"), ("x-forwarded-acr", "b")],
    ] {
        let page = behind(&world, headers).open(&request("")).await;
        let refusal = world.events.last("refusal");
        assert_eq!((page.status, refusal.as_deref()), (400, Some("proxy_header_malformed")), "{headers:?}");
    }
    // Names are not case-sensitive, so neither spelling gets past the other.
    let page = behind(&world, &[ADA, ("X-Forwarded-USER", "bob")]).open(&request("")).await;
    assert_eq!(page.status, 400);
}

#[tokio::test]
async fn another_person_in_the_header_is_another_session() {
    let world = world(&Network::LOOPBACK).await;
    let mut browser = behind(&world, &[ADA]);
    let consent = browser.open(&request("")).await;
    for headers in [&[("x-forwarded-user", "bob")][..], &[ADA, ("x-forwarded-auth-time", "1759999999")], &[]] {
        say(&mut browser, headers);
        let page = browser.submit(&consent, &[("decision", "approve")]).await;
        let refusal = world.events.last("refusal");
        assert_eq!((page.status, refusal.as_deref()), (400, Some("transaction_unknown")), "{headers:?}");
    }
    say(&mut browser, &[ADA]);
    assert_eq!(browser.submit(&consent, &[("decision", "switch")]).await.status, 400, "the proxy decides who it is");
    browser.submit(&consent, &[("decision", "approve")]).await.code();
}

#[tokio::test]
async fn a_fresh_or_stronger_sign_in_must_be_shown_by_the_proxy() {
    let world = world(&Network::LOOPBACK).await;
    let now = world.clock.now().seconds();
    let error = async |headers: &[(&'static str, &str)], more: &str| {
        let page = behind(&world, headers).open(&request(more)).await;
        if page.status == 303 { page.parameter("error") } else { None }
    };
    let signed_in = |ago: i64| (now - ago).to_string();
    let (recent, old) = (signed_in(30), signed_in(120));
    let at = |time| [ADA, ("x-forwarded-auth-time", time)];
    let required = Some("login_required".to_owned());
    for (more, limit) in [("&prompt=login", true), ("&max_age=60", true), ("&max_age=300", false)] {
        assert_eq!(error(&[ADA], more).await, required, "{more}");
        assert_eq!(error(&at(&recent), more).await, None, "{more}");
        assert_eq!(error(&at(&old), more).await, required.clone().filter(|_| limit), "{more}");
    }
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::ReauthenticationMissing.name()));
    assert_eq!(error(&at(&recent), "&prompt=select_account").await, required);

    let acr = |acr| [ADA, ("x-forwarded-acr", acr)];
    assert_eq!(error(&acr("urn:mfa"), "&acr_values=urn:phr+urn:mfa").await, None);
    let unmet = Some("unmet_authentication_requirements".to_owned());
    assert_eq!(error(&acr("urn:password"), "&acr_values=urn:mfa").await, unmet);
    assert_eq!(error(&[ADA], "&acr_values=urn:mfa").await, None, "who says nothing of it is not asked");
}

#[tokio::test]
async fn a_device_is_let_in_by_whom_the_proxy_names() {
    let world = world(&Network::LOOPBACK).await;
    let tv = world.client("tv");
    let started = tv.device_request(world.clock.now(), &[]).send().await.expect_tokens();
    let mut browser = behind(&world, &[ADA]);
    let page = browser.open(&format!("/activate?user_code={}", started.text("user_code"))).await;
    let page = browser.submit(&page, &[("user_code", started.text("user_code"))]).await;
    let page = browser.follow(page).await;
    assert!(page.has("<strong>ada</strong>") && !page.has("value=\"switch\""), "{page:?}");
    assert_eq!(browser.submit(&page, &[("decision", "approve")]).await.status, 200);
    world.clock.advance(Duration::from_secs(5));
    let poll = crate::client::poll_request(started.text("device_code"));
    tv.request(world.clock.now(), &poll).send().await.expect_tokens();
}
