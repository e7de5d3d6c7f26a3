//! The page at which people see what they have allowed, and end it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tollgate::clock::Clock as _;
use tollgate::oauth::{GRANTS_SHOWN, Refusal};
use tollgate::store::{Limits, MemoryStore, Unavailable};

use crate::browser::{Browser, Page};
use crate::client::{Client, code_request, poll_request, refresh_request};
use crate::tap::{Tap, TappedStore};
use crate::world::World;

const DAY: Duration = Duration::from_hours(24);

/// Opens the account page, signing in if asked to.
pub async fn open(browser: &mut Browser, person: &str) -> Page {
    let page = browser.open("/account").await;
    let page = browser.follow(page).await;
    if !page.has("name=\"password\"") {
        return page;
    }
    let password: String = person.chars().rev().collect();
    let page = browser.submit(&page, &[("username", person), ("password", &password)]).await;
    browser.follow(page).await
}

/// Has ada let a client in; gives its refresh token.
async fn allow(world: &World, client: &Client) -> String {
    let code = world.code(client).await;
    let tokens = client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    tokens.text("refresh_token").to_owned()
}

/// Has ada let a device in; gives its refresh token.
async fn allow_device(world: &World) -> (Client, String) {
    let device = world.client("tv");
    let now = world.clock.now();
    let begun = device.device_request(now, &[("scope", "orders:read")]).send().await.expect(200, "");
    world.let_in(begun.text("device_code"), "ada").await;
    let tokens = device.request(now, &poll_request(begun.text("device_code"))).send().await.expect_tokens();
    let token = tokens.text("refresh_token").to_owned();
    (device, token)
}

/// The part of the account page that is about the first grant.
fn first_grant(page: &Page) -> &str {
    page.html.split("<h3").nth(1).expect("a grant").split("</form>").next().expect("a form")
}

/// Ends the first grant that a page shows.
async fn end_first(browser: &mut Browser, page: &Page) -> Page {
    browser.submit(page, &[("decision", "end")]).await
}

/// Signs out everywhere, with what is to happen besides.
pub async fn sign_out_everywhere(browser: &mut Browser, page: &Page, besides: &[(&str, &str)]) -> Page {
    let (transaction, csrf_token) = (page.field("transaction"), page.field("csrf_token"));
    let own = [("transaction", transaction.as_str()), ("csrf_token", &csrf_token), ("decision", "sign_out_everywhere")];
    browser.post("/account", &[&own, besides].concat()).await
}

#[tokio::test]
async fn a_person_sees_what_has_access() {
    let world = World::start().await;
    let mut browser = Browser::new(&world.issuer);
    let empty = open(&mut browser, "ada").await;
    assert!(empty.status == 200 && empty.has("Nothing has access"), "{empty:?}");

    let spa = world.client("spa");
    let token = allow(&world, &spa).await;
    world.clock.advance(DAY * 3);
    spa.request(world.clock.now(), &refresh_request(&token)).send().await.expect_tokens();
    allow_device(&world).await;
    world.clock.advance(Duration::from_hours(2));

    let page = open(&mut browser, "ada").await;
    assert!(page.status == 200 && !page.has("Nothing has access"), "{page:?}");
    let device = first_grant(&page);
    for shown in ["Living-room &#60;TV&#62;", "Device", "127.0.0.1", "2 hours ago", "Read your orders"] {
        assert!(device.contains(shown), "{shown} in {device}");
    }
    assert!(!device.contains("Change your orders"), "{device}");
    let browser_client = page.html.split("<h3").nth(2).expect("a second grant");
    for shown in ["Single-page application", "in a browser", "Allowed 3 days ago", "Last used 2 hours ago"] {
        assert!(browser_client.contains(shown), "{shown} in {browser_client}");
    }
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(page.header("cache-control"), "no-store");

    let others = open(&mut Browser::new(&world.issuer), "bob").await;
    assert!(others.has("Nothing has access"), "{others:?}");
}

#[tokio::test]
async fn a_person_ends_a_grant() {
    let world = World::start().await;
    let spa = world.client("spa");
    let token = allow(&world, &spa).await;
    let (tv, device_token) = allow_device(&world).await;
    let mut browser = Browser::new(&world.issuer);
    let page = open(&mut browser, "ada").await;

    let after = end_first(&mut browser, &page).await;
    assert!(after.status == 200 && after.has("role=\"status\""), "{after:?}");
    assert!(!after.has("<h3 id=\"client-2\">"), "{after:?}");
    let again = end_first(&mut browser, &page).await;
    assert!(again.status == 200 && again.has("had ended already"), "{again:?}");

    let now = world.clock.now();
    let (ended, lives) = if first_grant(&after).contains("Single-page") {
        ((&tv, &device_token), (&spa, &token))
    } else {
        ((&spa, &token), (&tv, &device_token))
    };
    ended.0.request(now, &refresh_request(ended.1)).send().await.expect(400, "invalid_grant");
    lives.0.request(now, &refresh_request(lives.1)).send().await.expect_tokens();
}

#[tokio::test]
async fn nobody_ends_the_grants_of_others() {
    let world = World::start().await;
    let spa = world.client("spa");
    let token = allow(&world, &spa).await;
    let (mut ada, mut bob) = (Browser::new(&world.issuer), Browser::new(&world.issuer));
    let page = open(&mut ada, "ada").await;
    let foreign = page.field("grant");

    // Bob has a page of his own, and knows the name of the grant.
    let own = open(&mut bob, "bob").await;
    let (transaction, csrf_token) = (own.field("transaction"), own.field("csrf_token"));
    let forged =
        [("transaction", transaction.as_str()), ("csrf_token", &csrf_token), ("decision", "end"), ("grant", &foreign)];
    let page_of_bob = bob.post("/account", &forged).await;
    assert!(page_of_bob.has("had ended already"), "{page_of_bob:?}");

    // The page of ada, in the browser of somebody else, without its token, after signing out, and after another sign-in.
    let refused = async |browser: &mut Browser, fields: &[(&str, &str)], status, refusal: Refusal| {
        let answer = browser.submit(&page, fields).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
    };
    refused(&mut bob, &[("decision", "end")], 403, Refusal::CrossSiteForm).await;
    refused(&mut ada, &[("decision", "end"), ("csrf_token", "x")], 403, Refusal::CrossSiteForm).await;
    refused(&mut ada, &[("decision", "end"), ("transaction", "x")], 400, Refusal::TransactionUnknown).await;
    refused(&mut ada, &[("decision", "x")], 400, Refusal::DecisionMissing).await;
    let session = ada.cookies.remove("tollgate_session").expect("a session");
    refused(&mut ada, &[("decision", "end")], 400, Refusal::TransactionUnknown).await;
    open(&mut ada, "bob").await;
    refused(&mut ada, &[("decision", "end")], 400, Refusal::TransactionUnknown).await;
    ada.cookies.insert("tollgate_session".to_owned(), session);
    world.disable("ada");
    refused(&mut ada, &[("decision", "end")], 400, Refusal::TransactionUnknown).await;
    world.enable("ada");

    let now = world.clock.now();
    spa.request(now, &refresh_request(&token)).send().await.expect_tokens();
}

#[tokio::test]
async fn a_person_signs_out_everywhere() {
    let world = World::start().await;
    let spa = world.client("spa");
    let token = allow(&world, &spa).await;
    let (mut here, mut there, mut bob) =
        (Browser::new(&world.issuer), Browser::new(&world.issuer), Browser::new(&world.issuer));
    let page = open(&mut here, "ada").await;
    open(&mut there, "ada").await;
    open(&mut bob, "bob").await;

    let done = sign_out_everywhere(&mut here, &page, &[]).await;
    assert!(done.has("You are signed out") && !here.cookies.contains_key("tollgate_session"), "{done:?}");
    assert_eq!(there.open("/account").await.status, 303, "the other session is over too");
    assert_eq!(bob.open("/account").await.status, 200, "bob's is not");
    let now = world.clock.now();
    let refreshed = spa.request(now, &refresh_request(&token)).send().await.expect_tokens();

    let page = open(&mut here, "ada").await;
    sign_out_everywhere(&mut here, &page, &[("end_grants", "yes")]).await;
    let refresh = refreshed.text("refresh_token").to_owned();
    spa.request(now, &refresh_request(&refresh)).send().await.expect(400, "invalid_grant");
}

#[tokio::test]
async fn the_page_is_bounded() {
    let limits = Limits { grants_per_person: 1_000, ..Limits::default() };
    let world = World::start_on(Arc::new(MemoryStore::new(limits)), |_| {}).await;
    let spa = world.client("spa");
    for _ in 0..=GRANTS_SHOWN {
        allow(&world, &spa).await;
    }
    let page = open(&mut Browser::new(&world.issuer), "ada").await;
    assert_eq!(page.html.matches("<h3").count(), GRANTS_SHOWN as usize);
    assert!(page.has("There are older ones"));
}

#[tokio::test]
async fn a_sign_in_that_was_not_asked_for_leads_nowhere() {
    let world = World::start().await;
    let (mut browser, mut thief) = (Browser::new(&world.issuer), Browser::new(&world.issuer));
    let page = browser.open("/account").await;
    let page = browser.follow(page).await;
    let back = browser
        .submit(&page, &[("username", "ada"), ("password", "ada".chars().rev().collect::<String>().as_str())])
        .await;
    let callback = back.header("location").strip_prefix(&world.issuer).expect("our own page").to_owned();
    assert!(callback.starts_with("/account/callback?"), "{callback}");

    thief.open("/account").await;
    let stolen = thief.open(&callback).await;
    assert_eq!((stolen.status, world.events.last("refusal").as_deref()), (400, Some("transaction_unknown")));
    let other_state = callback.replace("state=", "state=x");
    assert_eq!(browser.open(&other_state).await.status, 400);
    let page = browser.open(&callback).await;
    assert_eq!(page.header("location"), format!("{}/account", world.issuer));
    assert_eq!(browser.open(&callback).await.status, 400, "the code was spent");
    assert_eq!(browser.open("/account").await.status, 200, "which harms nobody");
}

#[tokio::test]
async fn a_store_that_is_down_is_no_empty_account() {
    /// Fails one call.
    struct Down(&'static str);

    #[async_trait]
    impl Tap for Down {
        async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
            if call == self.0 { Err(Unavailable::Down) } else { Ok(()) }
        }
    }

    for call in ["grants_of", "end_grants_of", "end_sessions_of"] {
        let inner = Arc::new(MemoryStore::new(Limits::default()));
        let world = World::start_on(Arc::new(TappedStore { inner, tap: Arc::new(Down(call)) }), |_| {}).await;
        let mut browser = Browser::new(&world.issuer);
        let mut page = open(&mut browser, "ada").await;
        if call != "grants_of" {
            page = sign_out_everywhere(&mut browser, &page, &[("end_grants", "yes")]).await;
        }
        assert_eq!((page.status, page.header("retry-after")), (503, "2"), "{call}: {page:?}");
        assert!(browser.cookies.contains_key("tollgate_session"), "{call}");
    }
}
