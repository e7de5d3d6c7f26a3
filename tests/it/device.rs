//! Devices, from the device authorization endpoint to their tokens, and the person with a browser in between.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tollgate::clock::Clock as _;
use tollgate::oauth::Refusal;
use tollgate::store::{Limits, MemoryStore};

use crate::browser::{Browser, Page};
use crate::client::{Answer, Client, DEVICE_AUTHORIZATION, claims, poll_request, refresh_request};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// A device that has begun to wait.
struct Device<'w> {
    world: &'w World,
    client: Client,
    code: String,
    user_code: String,
}

impl<'w> Device<'w> {
    async fn begin(world: &'w World) -> Self {
        Self::begin_with(world, &[]).await
    }

    async fn begin_with(world: &'w World, parameters: &[(&str, &str)]) -> Self {
        let client = world.client("tv");
        let answer = client.device_request(world.clock.now(), parameters).send().await.expect(200, "");
        let (code, user_code) = (answer.text("device_code").to_owned(), answer.text("user_code").to_owned());
        Self { world, client, code, user_code }
    }

    async fn poll(&self) -> Answer {
        self.client.request(self.world.clock.now(), &poll_request(&self.code)).send().await
    }

    async fn wait_and_poll(&self, seconds: u64) -> Answer {
        self.world.clock.advance(SECOND * u32::try_from(seconds).expect("a short time"));
        self.poll().await
    }
}

fn browser(world: &World) -> Browser {
    Browser::new(&world.issuer)
}

/// What connects from another address of this machine.
fn http_from(last: u8) -> reqwest::Client {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.local_address(IpAddr::from([127, 0, 0, last])).build().expect("a client")
}

/// Enters a code, signing in if asked to, up to the page that answers.
async fn enter(browser: &mut Browser, user_code: &str, person: &str) -> Page {
    let page = browser.open("/activate").await;
    let page = browser.submit(&page, &[("user_code", user_code)]).await;
    sign_in(browser, page, person).await
}

/// Follows a page to the sign-in page, if there is one, and signs in.
async fn sign_in(browser: &mut Browser, page: Page, person: &str) -> Page {
    let page = browser.follow(page).await;
    if !page.has("name=\"password\"") {
        return page;
    }
    let password: String = person.chars().rev().collect();
    let page = browser.submit(&page, &[("username", person), ("password", &password)]).await;
    browser.follow(page).await
}

#[track_caller]
fn assert_asks(page: &Page, device: &Device<'_>) {
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.has(&device.user_code) && page.has("value=\"approve\"") && page.has("value=\"deny\""), "{page:?}");
}

#[track_caller]
fn assert_not_found(page: &Page, status: u16) {
    assert_eq!(page.status, status, "{page:?}");
    assert!(page.has("role=\"alert\"") && page.has("name=\"user_code\"") && !page.has("approve"), "{page:?}");
}

#[tokio::test]
async fn devices_begin_with_two_codes() {
    let world = World::start().await;
    let now = world.clock.now();
    let (mut device_codes, mut user_codes) = (HashSet::new(), HashSet::new());
    for client in [world.client("tv"), world.client("web")] {
        for _ in 0..8 {
            let answer = client.device_request(now, &[("scope", "orders:read")]).send().await.expect(200, "");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!((&answer.body["expires_in"], &answer.body["interval"]), (&600.into(), &5.into()));
            let user_code = answer.text("user_code");
            let (left, right) = user_code.split_once('-').expect("a dash");
            let letters = |half: &str| half.len() == 4 && half.chars().all(|c| "BCDFGHJKLMNPQRSTVWXZ".contains(c));
            assert!(letters(left) && letters(right), "{user_code}");
            let uri = format!("{}/activate", world.issuer);
            assert_eq!(answer.text("verification_uri"), uri);
            assert_eq!(answer.text("verification_uri_complete"), format!("{uri}?user_code={user_code}"));
            let device_code = answer.text("device_code");
            assert!(device_code.starts_with("tgd_") && device_code.len() == 47, "256 bits behind a prefix");
            assert!(device_codes.insert(device_code.to_owned()) && user_codes.insert(user_code.to_owned()));
        }
    }
    let log = world.events.text();
    assert!(device_codes.iter().chain(&user_codes).all(|code| !log.contains(code)), "a code is in the log");
}

#[tokio::test]
async fn what_is_wrong_with_a_device_authorization_request_is_said() {
    let world = World::start().await;
    let now = world.clock.now();
    let (tv, web, spa) = (world.client("tv"), world.client("web"), world.client("spa"));
    let refused = async |call: crate::client::TokenCall<'_>, status, error, refusal: Refusal| {
        let answer = call.send().await.expect(status, error);
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    };
    let not_allowed = spa.device_request(now, &[]);
    refused(not_allowed, 400, "unauthorized_client", Refusal::GrantTypeNotAllowed).await;
    let unknown = tv.device_request(now, &[]).with("client_id", "nobody");
    refused(unknown, 401, "invalid_client", Refusal::ClientAuthenticationFailed).await;
    let nameless = tv.device_request(now, &[]).without("client_id");
    refused(nameless, 401, "invalid_client", Refusal::ClientMissing).await;
    let unauthenticated = web.device_request(now, &[]).without("client_assertion").without("client_assertion_type");
    let unauthenticated = unauthenticated.with("client_id", "web");
    refused(unauthenticated, 401, "invalid_client", Refusal::ClientMethodMismatch).await;
    let twice = tv.device_request(now, &[("scope", "orders:read")]).and("scope", "orders:write");
    refused(twice, 400, "invalid_request", Refusal::ParameterRepeated).await;
    for (scope, refusal) in [("orders:read  x", Refusal::ScopeMalformed), ("admin", Refusal::ScopeNotAllowed)] {
        refused(tv.device_request(now, &[("scope", scope)]), 400, "invalid_scope", refusal).await;
    }
    let elsewhere = tv.device_request(now, &[("resource", "https://evil.example")]);
    refused(elsewhere, 400, "invalid_target", Refusal::ResourceUnknown).await;
    let malformed = tv.device_request(now, &[("dpop_jkt", "x")]);
    refused(malformed, 400, "invalid_request", Refusal::JktMalformed).await;
    let other = world.client("tv").key.kid().to_owned();
    let two_keys = tv.device_request(now, &[("dpop_jkt", &other)]).proof(&tv.device_proof(now));
    refused(two_keys, 400, "invalid_dpop_proof", Refusal::JktMismatch).await;
    let for_the_token_endpoint = tv.device_request(now, &[]).proof(&tv.proof(now));
    let elsewhere = Refusal::Proof(tollgate::dpop::ProofFault::TargetMismatch);
    refused(for_the_token_endpoint, 400, "invalid_dpop_proof", elsewhere).await;

    let url = format!("{}{DEVICE_AUTHORIZATION}", world.issuer);
    let json = tv.http.post(&url).json(&serde_json::json!({ "client_id": "tv" }));
    crate::client::answer(json).await.expect(400, "invalid_request");
    let query = tv.http.post(format!("{url}?client_id=tv")).form(&[("client_id", "tv")]);
    crate::client::answer(query).await.expect(400, "invalid_request");
    let get = crate::client::answer(tv.http.get(&url)).await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn the_metadata_names_the_endpoint_and_the_grant() {
    let world = World::start().await;
    let url = format!("{}/.well-known/oauth-authorization-server", world.issuer);
    let metadata = crate::client::answer(crate::client::http().get(url)).await;
    assert_eq!(metadata.text("device_authorization_endpoint"), format!("{}{DEVICE_AUTHORIZATION}", world.issuer));
    let grants = metadata.body["grant_types_supported"].as_array().expect("a list");
    assert!(grants.contains(&"urn:ietf:params:oauth:grant-type:device_code".into()));
}

#[tokio::test]
async fn a_person_lets_a_device_in_from_a_typed_code() {
    let world = World::start().await;
    let device = Device::begin_with(&world, &[("scope", "orders:read")]).await;
    device.poll().await.expect(400, "authorization_pending");
    let mut browser = browser(&world);
    world.clock.advance(SECOND * 125);

    let page = browser.open("/activate").await;
    assert!(page.has("inputmode=\"text\"") && page.has("autocapitalize=\"characters\""), "{page:?}");
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    let page = browser.submit(&page, &[("user_code", &device.user_code)]).await;
    let request = page.location();
    assert!(request.as_str().starts_with(&format!("{}/oauth/authorize?", world.issuer)), "{request}");
    let parameter = |name: &str| request.query_pairs().any(|(each, value)| each == name && !value.is_empty());
    assert!(parameter("state") && parameter("code_challenge"), "{request}");
    assert!(!request.as_str().contains(&device.user_code[..4]), "the code is in the URL: {request}");
    assert!(!browser.cookies["tollgate_errand"].contains(&device.user_code[..4]), "the code is in a cookie");

    let question = sign_in(&mut browser, page, "ada").await;
    assert_asks(&question, &device);
    for shown in [
        "Living-room &#60;TV&#62;",
        "Read your orders",
        "2 minutes ago",
        "127.0.0.1",
        "<strong>ada</strong>",
        "decline",
    ] {
        assert!(question.has(shown), "{shown} in {question:?}");
    }
    assert!(!question.has("Change your orders") && !question.has("<TV>"), "{question:?}");
    assert!(!browser.cookies.contains_key("tollgate_errand"));
    device.poll().await.expect(400, "authorization_pending"); // nothing was granted by all the pages so far

    let done = browser.submit(&question, &[("decision", "approve")]).await;
    assert_eq!(done.status, 200);
    assert!(done.has("All set") && done.has("Return to your device"), "{done:?}");
    let tokens = device.poll().await.expect_tokens();
    let access_token = claims(tokens.text("access_token"));
    assert_eq!(access_token["sub"], "ada");
    assert_eq!(access_token["client_id"], "tv");
    assert_eq!(access_token["scope"], "orders:read");
    assert_eq!(access_token["aud"], "https://api.example.com");
    assert_eq!(access_token["cnf"]["jkt"], device.client.key.kid());
    assert_eq!(access_token["auth_time"], world.clock.now().seconds());
    device.poll().await.expect(400, "invalid_grant");

    // The refresh token of a public client is bound to the key of the poll (RFC 9449 §5).
    let refresh = refresh_request(tokens.text("refresh_token"));
    world.client("tv").request(world.clock.now(), &refresh).send().await.expect(400, "invalid_grant");
    device.client.request(world.clock.now(), &refresh).send().await.expect_tokens();

    let log = world.events.text();
    for secret in [&device.user_code, &device.code, &browser.cookies["tollgate_session"]] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn the_link_of_a_device_fills_the_code_in_and_grants_nothing() {
    let world = World::start().await;
    let (device, mut browser) = (Device::begin(&world).await, browser(&world));
    let link = format!("/activate?user_code={}", device.user_code);
    let page = browser.open(&link).await;
    assert_eq!((page.status, page.field("user_code")), (200, device.user_code.clone()));
    let page = browser.submit(&page, &[("user_code", &page.field("user_code"))]).await;
    assert_asks(&sign_in(&mut browser, page, "ada").await, &device);

    // Somebody who is signed in sees the same two pages.
    let page = browser.open(&link).await;
    let page = browser.submit(&page, &[("user_code", &page.field("user_code"))]).await;
    let question = browser.follow(page).await;
    assert_asks(&question, &device);
    device.poll().await.expect(400, "authorization_pending");
    browser.submit(&question, &[("decision", "approve")]).await;
    device.poll().await.expect_tokens();

    let page = browser.open("/activate?user_code=%22%3E%3Cscript%3E").await;
    assert!(page.field("user_code") == "\"><script>" && !page.has("<script>"), "{page:?}");
}

#[tokio::test]
async fn codes_are_read_as_people_type_them() {
    let world = World::start().await;
    let mut browser = browser(&world);
    let device = Device::begin(&world).await;
    let plain = device.user_code.replace('-', "");
    let spaced: String = plain.to_lowercase().chars().flat_map(|letter| [letter, ' ']).collect();
    for typed in [plain.to_lowercase(), plain.clone(), spaced, format!(" {}.{} ", &plain[..4], &plain[4..])] {
        assert_asks(&enter(&mut browser, &typed, "ada").await, &device);
    }
    for malformed in ["", "A", "1234-5678", &plain[..7], &format!("{plain}B")] {
        let page = enter(&mut browser, malformed, "ada").await;
        assert_not_found(&page, 400);
        assert!(page.has("eight letters"), "{page:?}");
    }
}

#[tokio::test]
async fn a_person_declines() {
    let world = World::start().await;
    let (device, mut browser) = (Device::begin(&world).await, browser(&world));
    let question = enter(&mut browser, &device.user_code, "ada").await;
    let done = browser.submit(&question, &[("decision", "deny")]).await;
    assert!(done.status == 200 && done.has("Declined"), "{done:?}");
    for _ in 0..2 {
        device.wait_and_poll(5).await.expect(400, "access_denied");
    }
    device.wait_and_poll(600).await.expect(400, "expired_token");
}

#[tokio::test]
async fn a_device_that_polls_too_soon_slows_down_for_good() {
    let world = World::start().await;
    let device = Device::begin(&world).await;
    device.poll().await.expect(400, "authorization_pending");
    device.wait_and_poll(1).await.expect(400, "slow_down"); // 10 s from now on
    device.wait_and_poll(5).await.expect(400, "slow_down"); // 15 s
    device.wait_and_poll(15).await.expect(400, "authorization_pending");
    device.wait_and_poll(10).await.expect(400, "slow_down"); // 20 s
    device.wait_and_poll(20).await.expect(400, "authorization_pending");
    // Another device is not slowed down by this one.
    Device::begin(&world).await.poll().await.expect(400, "authorization_pending");
    // With a decision there are tokens at any pace.
    world.let_in(&device.code, "ada").await;
    device.poll().await.expect_tokens();
}

#[tokio::test]
async fn a_poll_that_lacks_a_nonce_or_replays_a_proof_is_not_counted() {
    let world = World::start_with(|settings| settings.dpop.nonce = tollgate::oauth::NonceMode::Required).await;
    let device = Device::begin(&world).await;
    let now = world.clock.now();
    let without = device.poll().await.expect(400, "use_dpop_nonce");
    let nonce = without.header("dpop-nonce").expect("a nonce");
    let mut claims = device.client.proof_claims(now);
    claims["nonce"] = nonce.into();
    let proof = device.client.sign_proof(&claims);
    let poll = || device.client.bearer_request(now, &poll_request(&device.code)).proof(&proof);
    poll().send().await.expect(400, "authorization_pending");
    poll().send().await.expect(400, "invalid_dpop_proof");
    world.clock.advance(SECOND * 5);
    claims["jti"] = device.client.fresh().into();
    let proof = device.client.sign_proof(&claims);
    let poll = device.client.bearer_request(now, &poll_request(&device.code)).proof(&proof);
    poll.send().await.expect(400, "authorization_pending");
}

#[tokio::test]
async fn codes_expire() {
    let world = World::start().await;
    let (device, mut browser) = (Device::begin(&world).await, browser(&world));
    let question = enter(&mut browser, &device.user_code, "ada").await;
    world.clock.advance(SECOND * 600);
    let late = browser.submit(&question, &[("decision", "approve")]).await;
    assert_eq!((late.status, late.has("page has expired")), (400, true), "{late:?}");
    device.poll().await.expect(400, "expired_token");
    assert_not_found(&enter(&mut browser, &device.user_code, "ada").await, 400);

    // They are forgotten after a while.
    world.clock.advance(SECOND * 601);
    assert_eq!(world.store.sweep(world.clock.now(), 100).await.map(|swept| swept >= 1), Ok(true));
    device.poll().await.expect(400, "invalid_grant");
}

#[tokio::test]
async fn the_key_of_the_successful_poll_counts_unless_another_was_named() {
    let world = World::start().await;
    let now = world.clock.now();
    let device = Device::begin(&world).await;
    device.poll().await.expect(400, "authorization_pending");
    world.let_in(&device.code, "ada").await;
    let other = world.client("tv");
    let tokens = other.request(now, &poll_request(&device.code)).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["cnf"]["jkt"], other.key.kid());

    let tv = world.client("tv");
    let jkt = tv.key.kid().to_owned();
    let named = tv.device_request(now, &[("dpop_jkt", &jkt)]).send().await.expect(200, "");
    let proven = tv.device_request(now, &[]).proof(&tv.device_proof(now)).send().await.expect(200, "");
    let both = tv.device_request(now, &[("dpop_jkt", &jkt)]).proof(&tv.device_proof(now)).send().await.expect(200, "");
    for begun in [named, proven, both] {
        let code = begun.text("device_code");
        world.let_in(code, "ada").await;
        other.request(now, &poll_request(code)).send().await.expect(400, "invalid_grant");
        tv.bearer_request(now, &poll_request(code)).send().await.expect(400, "invalid_dpop_proof");
        tv.request(now, &poll_request(code)).send().await.expect_tokens();
    }

    // A confidential client without proofs gets bearer tokens, as with every other grant.
    let web = world.client("web");
    let begun = web.device_request(now, &[]).send().await.expect(200, "");
    world.let_in(begun.text("device_code"), "ada").await;
    let tokens = web.bearer_request(now, &poll_request(begun.text("device_code"))).send().await.expect_tokens();
    assert_eq!(tokens.text("token_type"), "Bearer");
}

#[tokio::test]
async fn another_client_changes_nothing() {
    let world = World::start().await;
    let device = Device::begin(&world).await;
    let web = world.client("web");
    for _ in 0..3 {
        web.request(world.clock.now(), &poll_request(&device.code)).send().await.expect(400, "invalid_grant");
    }
    device.poll().await.expect(400, "authorization_pending");
    world.let_in(&device.code, "ada").await;
    web.request(world.clock.now(), &poll_request(&device.code)).send().await.expect(400, "invalid_grant");
    device.poll().await.expect_tokens();
}

#[tokio::test]
async fn who_was_disabled_since_the_approval_gets_no_tokens() {
    let world = World::start().await;
    let (device, mut browser) = (Device::begin(&world).await, browser(&world));
    let question = enter(&mut browser, &device.user_code, "ada").await;
    browser.submit(&question, &[("decision", "approve")]).await;
    world.disable("ada");
    device.poll().await.expect(400, "access_denied");
    let other = Device::begin(&world).await;
    assert!(enter(&mut browser, &other.user_code, "ada").await.has("name=\"password\""), "ada may not sign in");
}

#[tokio::test]
async fn only_the_browser_that_entered_the_code_decides() {
    let world = World::start().await;
    let device = Device::begin(&world).await;
    let (mut first, mut second) = (browser(&world), browser(&world));
    let question = enter(&mut first, &device.user_code, "ada").await;
    assert_asks(&question, &device);

    // Another browser, even with the same person, finds no device under a code that was entered elsewhere.
    for person in ["ada", "bob"] {
        let mut other = browser(&world);
        assert_not_found(&enter(&mut other, &device.user_code, person).await, 400);
    }
    // Nor can it post the form of the first one: neither as it is nor with a CSRF token of its own.
    let own = second.open("/activate").await.field("csrf_token");
    sign_in_at(&mut second, &world, "bob").await;
    let stolen = second.submit(&question, &[("decision", "approve")]).await;
    assert_eq!(stolen.status, 403, "{stolen:?}");
    let stolen = second.submit(&question, &[("decision", "approve"), ("csrf_token", &own)]).await;
    assert_eq!(stolen.status, 400, "{stolen:?}");
    // Nor can a page elsewhere, or the same browser after it has signed out.
    let mut cross_site = Browser { origin: Some("https://evil.example".to_owned()), ..first.clone() };
    assert_eq!(cross_site.submit(&question, &[("decision", "approve")]).await.status, 403);
    let page = cross_site.open("/activate").await;
    assert_eq!(cross_site.submit(&page, &[("user_code", &device.user_code)]).await.status, 403);
    let mut signed_out = first.clone();
    signed_out.cookies.remove("tollgate_session");
    assert_eq!(signed_out.submit(&question, &[("decision", "approve")]).await.status, 400);
    device.poll().await.expect(400, "authorization_pending");

    for wrong in ["", "yes"] {
        assert_eq!(first.submit(&question, &[("decision", wrong)]).await.status, 400);
    }
    assert!(first.submit(&question, &[("decision", "approve")]).await.has("All set"));
    // The first decision counts, and the code is used up.
    for decision in ["approve", "deny"] {
        let again = first.submit(&question, &[("decision", decision)]).await;
        assert_eq!((again.status, again.has("answered already")), (400, true), "{again:?}");
    }
    assert_not_found(&enter(&mut first, &device.user_code, "ada").await, 400);
    device.poll().await.expect_tokens();
}

/// Signs in by way of a device of its own.
async fn sign_in_at(browser: &mut Browser, world: &World, person: &str) {
    let device = Device::begin(world).await;
    assert_asks(&enter(browser, &device.user_code, person).await, &device);
}

#[tokio::test]
async fn not_you_lets_somebody_else_decide() {
    let world = World::start().await;
    let (device, mut browser) = (Device::begin(&world).await, browser(&world));
    let adas = enter(&mut browser, &device.user_code, "ada").await;
    let page = browser.submit(&adas, &[("decision", "switch")]).await;
    assert!(!browser.cookies.contains_key("tollgate_session"));
    let bobs = sign_in(&mut browser, page, "bob").await;
    assert_asks(&bobs, &device);
    let stale = browser.submit(&adas, &[("decision", "approve")]).await;
    assert_eq!(stale.status, 400, "the page was shown to ada: {stale:?}");
    browser.submit(&bobs, &[("decision", "approve")]).await;
    assert_eq!(claims(device.poll().await.expect_tokens().text("access_token"))["sub"], "bob");
}

#[tokio::test]
async fn a_sign_in_that_was_not_ours_or_took_too_long_asks_again() {
    let world = World::start().await;
    let device = Device::begin(&world).await;
    let mut browser = browser(&world);
    let page = browser.open("/activate").await;
    let before = browser.submit(&page, &[("user_code", &device.user_code)]).await;
    let sign_in_page = browser.follow(before).await;
    let callback = browser.submit(&sign_in_page, &[("username", "ada"), ("password", "ada")]).await;
    let path = callback.header("location").strip_prefix(&world.issuer).expect("our callback").to_owned();
    assert!(path.starts_with("/activate/callback?code=tgc_"), "{path}");
    let changed = |name: &str| {
        let (head, tail) = path.split_once(&format!("{name}=")).expect("the parameter");
        let rest = tail.split_once('&').map_or(String::new(), |(_, rest)| format!("&{rest}"));
        format!("{head}{name}=x{rest}")
    };
    for wrong in [changed("state"), changed("iss"), changed("code"), "/activate/callback".to_owned()] {
        assert_not_found(&browser.clone().open(&wrong).await, 400);
    }
    let mut other = Browser { cookies: crate::browser::Browser::new(&world.issuer).cookies, ..browser.clone() };
    assert_not_found(&other.open(&path).await, 400);
    let mut stranger = self::browser(&world);
    stranger.open("/activate").await;
    stranger.cookies.insert("tollgate_errand".to_owned(), browser.cookies["tollgate_errand"].clone());
    assert_not_found(&stranger.open(&path).await, 400);
    // Nothing of this has spent the code; the answer does, once.
    let again = browser.clone();
    assert_asks(&browser.open(&path).await, &device);
    assert_not_found(&again.clone().open(&path).await, 400);

    // The code opens nothing else.
    let page = enter_only(&mut browser, &device.user_code).await;
    let code = page.parameter("code").expect("a code");
    let tv = world.client("tv");
    let foreign = crate::client::code_request(&code);
    world.client("spa").request(world.clock.now(), &foreign).send().await.expect(400, "invalid_grant");
    let ours = tv.request(world.clock.now(), &foreign).with("client_id", "tollgate-activation");
    ours.send().await.expect(401, "invalid_client");

    let page = browser.open("/activate").await;
    let page = browser.submit(&page, &[("user_code", &device.user_code)]).await;
    world.clock.advance(SECOND * 600);
    assert_not_found(&sign_in(&mut browser, page, "ada").await, 400);
}

/// Enters a code in a browser that is signed in, and stops before the callback.
async fn enter_only(browser: &mut Browser, user_code: &str) -> Page {
    let page = browser.open("/activate").await;
    let page = browser.submit(&page, &[("user_code", user_code)]).await;
    let path = page.header("location").strip_prefix(&browser.issuer).expect("our endpoint").to_owned();
    browser.open(&path).await
}

#[tokio::test]
async fn unknown_expired_used_and_declined_codes_look_alike() {
    let world = World::start().await;
    let mut ada = browser(&world);
    let (used, declined, expired) =
        (Device::begin(&world).await, Device::begin(&world).await, Device::begin(&world).await);
    for (device, decision) in [(&used, "approve"), (&declined, "deny")] {
        let question = enter(&mut ada, &device.user_code, "ada").await;
        ada.submit(&question, &[("decision", decision)]).await;
    }
    let mut pages = vec![
        enter(&mut ada, &used.user_code, "ada").await,
        enter(&mut ada, &declined.user_code, "ada").await,
        enter(&mut ada, "BBBB-BBBB", "ada").await,
    ];
    used.poll().await.expect_tokens();
    pages.push(enter(&mut ada, &used.user_code, "ada").await);
    world.clock.advance(SECOND * 600);
    pages.push(enter(&mut ada, &expired.user_code, "ada").await);
    let text = |page: &Page| (page.status, page.html.clone());
    assert!(pages.iter().all(|page| text(page) == text(&pages[0])), "{pages:?}");
    assert_not_found(&pages[0], 400);
}

#[tokio::test]
async fn guessing_ends_after_five_wrong_codes() {
    let world = World::start().await;
    let mut ada = browser(&world);
    for _ in 0..3 {
        assert_not_found(&enter(&mut ada, "BBBB-BBBB", "ada").await, 400);
    }
    // A right code resets nothing and costs nothing.
    for _ in 0..3 {
        sign_in_at(&mut ada, &world, "ada").await;
    }
    for _ in 0..2 {
        assert_not_found(&enter(&mut ada, "BBBB-BBBB", "ada").await, 400);
    }
    let device = Device::begin(&world).await;
    let locked = enter(&mut ada, &device.user_code, "ada").await;
    assert_not_found(&locked, 429);
    assert_eq!(locked.header("retry-after"), "901");
    assert!(locked.has("Try again in 16 minutes"), "{locked:?}");
    // Not in another browser, not as another person in the same browser.
    assert_not_found(&enter(&mut browser(&world), &device.user_code, "ada").await, 429);
    ada.cookies.remove("tollgate_session");
    assert_not_found(&enter(&mut ada, &device.user_code, "bob").await, 429);
    // Somebody else elsewhere is not locked out.
    assert_asks(&enter(&mut browser(&world), &device.user_code, "bob").await, &device);

    world.clock.advance(SECOND * 901);
    sign_in_at(&mut ada, &world, "ada").await;
}

#[tokio::test]
async fn a_thousand_wrong_codes_from_everywhere_are_locked_and_lock_out_nobody_else() {
    let world = World::start().await;
    let device = Device::begin(&world).await;
    let mut guests = Vec::new();
    for number in 0..100 {
        let mut guest = Browser { http: http_from(2 + number), ..browser(&world) };
        let page = guest.open("/activate").await;
        guests.push((guest, page, format!("guest{number}")));
    }
    let mut answers = [0, 0];
    for _ in 0..10 {
        for (guest, page, name) in &mut guests {
            let entered = guest.submit(page, &[("user_code", "BBBB-BBBB")]).await;
            let page = sign_in(guest, entered, name).await;
            match page.status {
                400 => answers[0] += 1,
                429 => answers[1] += usize::from(page.header("retry-after").parse::<u64>().is_ok()),
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(answers, [100, 900]);
    // Whoever has not been wrong is still heard; whoever is, is not heard again.
    let mut bob = Browser { http: http_from(200), ..browser(&world) };
    assert_asks(&enter(&mut bob, &device.user_code, "bob").await, &device);
    let other = Device::begin(&world).await;
    assert_not_found(&enter(&mut bob, "BBBB-BBBB", "bob").await, 400);
    assert_not_found(&enter(&mut bob, &other.user_code, "bob").await, 429);
}

#[tokio::test]
async fn devices_begin_at_a_limited_rate() {
    let world = World::start().await;
    let (tv, web, now) = (world.client("tv"), world.client("web"), world.clock.now());
    for _ in 0..100 {
        tv.device_request(now, &[]).send().await.expect(200, "");
    }
    let slowed = tv.device_request(now, &[]).send().await.expect(429, "slow_down");
    assert_eq!(slowed.header("retry-after"), Some("4"));
    assert_eq!(world.events.last("outcome").as_deref(), Some("throttled"));
    web.device_request(now, &[]).send().await.expect(200, "");
    world.clock.advance(SECOND * 4);
    tv.device_request(world.clock.now(), &[]).send().await.expect(200, "");
}

#[tokio::test]
async fn no_more_devices_wait_than_there_is_room_for() {
    let store = MemoryStore::new(Limits { devices: 3, ..Limits::default() });
    let world = World::start_on(Arc::new(store), |_| {}).await;
    let device = Device::begin(&world).await;
    let (tv, now) = (world.client("tv"), world.clock.now());
    for _ in 0..2 {
        tv.device_request(now, &[]).send().await.expect(200, "");
    }
    let full = tv.device_request(now, &[]).send().await.expect(503, "temporarily_unavailable");
    assert!(full.header("retry-after").is_some());
    world.let_in(&device.code, "ada").await;
    device.poll().await.expect_tokens();
    tv.device_request(now, &[]).send().await.expect(200, ""); // a code that was used makes room at once
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_polls_at_once_one_gets_tokens() {
    let world = World::start().await;
    let device = Device::begin(&world).await;
    world.let_in(&device.code, "ada").await;
    let (barrier, now) = (Arc::new(Barrier::new(50)), world.clock.now());
    let polls: Vec<_> = (0..50)
        .map(|_| {
            let (client, barrier, code) = (world.client("tv"), Arc::clone(&barrier), device.code.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                client.request(now, &poll_request(&code)).send().await
            })
        })
        .collect();
    let mut tokens = 0;
    for poll in polls {
        let answer = poll.await.expect("a task that does not panic");
        if answer.status == 200 { tokens += 1 } else { drop(answer.expect(400, "invalid_grant")) }
    }
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn codes_of_one_kind_are_refused_where_another_belongs() {
    let world = World::start().await;
    let device = Device::begin(&world).await;
    let now = world.clock.now();
    let authorization_code = world.code(&world.client("spa")).await;
    for wrong in [&device.user_code, &authorization_code] {
        device.client.request(now, &poll_request(wrong)).send().await.expect(400, "invalid_grant");
    }
    let spa = world.client("spa");
    spa.request(now, &crate::client::code_request(&device.code)).send().await.expect(400, "invalid_grant");
    let refresh = refresh_request(&device.code);
    device.client.request(now, &refresh).send().await.expect(400, "invalid_grant");
    assert_not_found(&enter(&mut browser(&world), &device.code, "ada").await, 400);
}

#[tokio::test]
async fn pages_take_the_methods_that_they_are_for() {
    let world = World::start().await;
    for (method, path, allow) in [
        ("PUT", "/activate", "GET, HEAD, POST"),
        ("POST", "/activate/callback", "GET"),
        ("HEAD", "/activate/callback", "GET"),
        ("PUT", DEVICE_AUTHORIZATION, "POST"),
    ] {
        let method = method.parse::<reqwest::Method>().expect("a method");
        let request = crate::client::http().request(method.clone(), format!("{}{path}", world.issuer));
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 405, "{method} {path}");
        assert_eq!(response.headers()["allow"], allow);
    }
    let page = browser(&world).open("/activate?user_code=a&user_code=b").await;
    assert_eq!(page.status, 400);
}
