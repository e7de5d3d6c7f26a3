//! The session of a browser: how long it lasts, and when a person must sign in again.

use std::time::Duration;

use crate::browser::{Browser, Page};
use crate::client::CHALLENGE;
use crate::world::World;

const SESSION: &str = "tollgate_session";

/// A world whose sessions last eight hours, and two if nobody uses them.
async fn world() -> World {
    World::start_with(|settings| {
        settings.lifetimes.session = Duration::from_hours(8);
        settings.lifetimes.session_idle = Duration::from_hours(2);
    })
    .await
}

fn request(more: &str) -> String {
    format!(
        "/oauth/authorize?response_type=code&client_id=spa&redirect_uri=https://app.example/cb&code_challenge={CHALLENGE}\
         &code_challenge_method=S256{more}"
    )
}

/// A browser in which ada has signed in.
async fn signed_in(world: &World) -> Browser {
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&request("")).await;
    assert!(browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await.has("value=\"approve\""));
    browser
}

fn asks_for_a_password(page: &Page) -> bool {
    page.has("name=\"password\"")
}

#[tokio::test]
async fn a_session_that_nobody_uses_is_over_after_two_hours() {
    let world = world().await;
    let mut browser = signed_in(&world).await;
    world.clock.advance(Duration::from_secs(2 * 3_600 - 1));
    assert!(!asks_for_a_password(&browser.open(&request("")).await), "a use, which counts");
    world.clock.advance(Duration::from_secs(2 * 3_600 - 1));
    assert!(!asks_for_a_password(&browser.open(&request("")).await));
    world.clock.advance(Duration::from_hours(2));
    assert!(asks_for_a_password(&browser.open(&request("")).await));
    let none = browser.open(&request("&prompt=none")).await;
    assert_eq!(none.parameter("error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn a_session_is_over_after_eight_hours_however_much_it_is_used() {
    let world = world().await;
    let mut browser = signed_in(&world).await;
    for _ in 0..7 {
        world.clock.advance(Duration::from_hours(1));
        assert!(!asks_for_a_password(&browser.open(&request("")).await));
    }
    world.clock.advance(Duration::from_secs(3_599));
    assert!(!asks_for_a_password(&browser.open(&request("")).await));
    world.clock.advance(Duration::from_secs(1));
    assert!(asks_for_a_password(&browser.open(&request("")).await));
}

#[tokio::test]
async fn who_signs_in_again_gets_another_session_and_the_old_one_is_over() {
    let world = world().await;
    let mut browser = signed_in(&world).await;
    let mut left_behind = browser.clone();
    for prompt in ["login", "select_account", "login consent", "consent login select_account"] {
        let before = browser.cookies[SESSION].clone();
        let page = browser.open(&request(&format!("&prompt={}", prompt.replace(' ', "+")))).await;
        assert!(asks_for_a_password(&page), "{prompt}");
        browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
        assert_ne!(browser.cookies[SESSION], before, "{prompt}");
    }
    assert!(asks_for_a_password(&left_behind.open(&request("")).await), "the name that it had is worth nothing");
}

#[tokio::test]
async fn a_hint_is_only_a_hint_and_a_class_that_nobody_knows_is_no_error() {
    let world = world().await;
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&request("&login_hint=ada&acr_values=urn:mfa")).await;
    assert_eq!(page.field("username"), "ada");
    let page = browser.submit(&page, &[("username", "bob"), ("password", "bob")]).await;
    assert!(page.has("<strong>bob</strong>"), "{page:?}");
    assert!(
        browser.open(&request("&acr_values=urn:mfa")).await.has("value=\"approve\""),
        "OpenID Connect Core §5.5.1.1"
    );
}
