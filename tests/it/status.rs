//! Status lists: a gate that has no store learns what was revoked, from a list and in time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate::clock::{Clock as _, Timestamp};
use tollgate::oauth::client::{ExchangePolicy, GrantType};
use tollgate::oauth::{Settings, StatusLists};
use tollgate::store::{NEWS_WAITERS_PER_ADDRESS, STATUS_BLOCK};
use tollgate::token::STATUS_LISTS;

use crate::check::{Proxy, Verdict};
use crate::client::{Answer, CLIENT_CREDENTIALS, Client, REVOKE, claims, code_request, http, refresh_request};
use crate::envoy::eventually;
use crate::other_issuers::serve;
use crate::process::Installation;
use crate::world::{End, TestClock, World};

const ORDERS: &str = "https://api.example.com/orders/7";

/// How old lists become at gates.
const TTL: Duration = Duration::from_secs(10);

pub fn with_lists(settings: &mut Settings) {
    let (life, waiting_per_address) = (Duration::from_mins(5), NEWS_WAITERS_PER_ADDRESS);
    settings.status_lists = Some(StatusLists { ttl: TTL, life, waiting_per_address });
}

/// The same, where `bound` exchanges the tokens that it is called with for others that it may call with.
fn with_lists_and_exchange(settings: &mut Settings) {
    with_lists(settings);
    for client in settings.clients.iter_mut().filter(|client| client.id.as_str() == "bound") {
        let orders = || vec!["https://api.example.com".parse().expect("a resource")];
        client.exchange = Some(ExchangePolicy { from: orders(), to: orders() });
        client.grant_types.push(GrantType::TokenExchange);
    }
}

/// Where a gate of anybody's looks.
const LIST: &str = "status_list";

/// Where a gate of ours looks, too: the place that a token has for itself.
const LIST_OF_TOKEN: &str = "tollgate_status_list";

fn url_of(token: &str) -> String {
    claims(token)["status"][LIST]["uri"].as_str().expect("a place in a list").to_owned()
}

fn place(token: &str) -> (String, u64) {
    place_in(LIST, token)
}

fn place_in(named: &str, token: &str) -> (String, u64) {
    let at = &claims(token)["status"][named];
    (at["uri"].as_str().expect("a list").to_owned(), at["idx"].as_u64().expect("a place in it"))
}

/// What the list says at the place of a token.
async fn status(token: &str) -> bool {
    status_at(place(token)).await
}

async fn status_at((url, idx): (String, u64)) -> bool {
    let list = http().get(&url).send().await.expect("an answer");
    assert_eq!(list.headers()["content-type"], "application/statuslist+jwt");
    let said = claims(&list.text().await.expect("a list"));
    assert_eq!(said["sub"], url);
    let lst = said["status_list"]["lst"].as_str().expect("a list");
    let packed = tollgate::secret::from_base64url(lst).expect("base64url");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&*packed), &mut bytes).expect("zlib");
    assert_eq!(bytes.len(), 131_072, "every list is as long as any");
    bytes[usize::try_from(idx / 8).expect("few")] >> (idx % 8) & 1 == 1
}

async fn adas_tokens(world: &World, client: &Client) -> Answer {
    let code = world.code(client).await;
    client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens()
}

async fn refresh(world: &World, client: &Client, tokens: &Answer) -> Answer {
    client.request(world.clock.now(), &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens()
}

async fn own_token(world: &World, client: &Client) -> String {
    let answer = client.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    answer.text("access_token").to_owned()
}

/// What a client got in exchange for a token.
async fn exchanged(world: &World, client: &Client, token: &str) -> String {
    let exchange = [
        ("grant_type", GrantType::TokenExchange.name()),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let answer = client.request(world.clock.now(), &exchange).send().await.expect_tokens();
    answer.text("access_token").to_owned()
}

async fn revoke(world: &World, client: &Client, token: &str) {
    client.about(REVOKE, token, world.clock.now()).send().await.expect(200, "");
}

#[tokio::test]
async fn a_grant_has_one_place_whatever_is_refreshed_and_one_bit_ends_it() {
    let world = World::start_with(with_lists).await;
    let (spa, bound) = (world.client("spa"), world.client("bound"));
    let first = adas_tokens(&world, &spa).await;
    let next = refresh(&world, &spa, &first).await;
    let other = adas_tokens(&world, &spa).await;
    let own = own_token(&world, &bound).await;
    let access = |tokens: &Answer| tokens.text("access_token").to_owned();
    assert_eq!(place(&access(&first)), place(&access(&next)));
    let places = [place(&access(&first)), place(&access(&other)), place(&own), place(&own_token(&world, &bound).await)];
    assert!((0..4).all(|one| (0..one).all(|other| places[one] != places[other])), "{places:?}");
    for token in [&access(&first), &access(&next), &access(&other), &own] {
        assert!(!status(token).await);
    }

    revoke(&world, &spa, next.text("refresh_token")).await;
    world.clock.advance(Duration::from_secs(1));
    assert!(status(&access(&first)).await && status(&access(&next)).await);
    assert!(!status(&access(&other)).await && !status(&own).await);
    revoke(&world, &bound, &own).await;
    world.clock.advance(Duration::from_secs(1));
    assert!(status(&own).await && !status(&access(&other)).await);

    // Another life knows what ended in an earlier one, and hands out none of its places.
    let world = world.restart_with(End::Killed, with_lists).await;
    assert!(status(&own).await && status(&access(&first)).await && !status(&access(&other)).await);
    world.clock.advance(Duration::from_secs(30)); // the fence is behind us
    let later = own_token(&world, &world.client("bound")).await;
    assert!(!places.contains(&place(&later)));
}

#[tokio::test]
async fn what_was_got_in_exchange_has_a_place_of_its_own_beside_that_of_the_grant() {
    let world = World::start_with(with_lists_and_exchange).await;
    let (spa, bound) = (world.client("spa"), world.client("bound"));
    let tokens = adas_tokens(&world, &spa).await;
    let adas = tokens.text("access_token");
    let (one, other) = (exchanged(&world, &bound, adas).await, exchanged(&world, &bound, adas).await);
    let next = exchanged(&world, &bound, &one).await;
    let own = |token: &str| place_in(LIST_OF_TOKEN, token);
    assert_eq!(claims(adas)["status"].get(LIST_OF_TOKEN), None, "it is revoked with its grant");
    let got = [&one, &other, &next];
    assert!(got.iter().all(|token| place(token) == place(adas)), "for whoever knows no other place");
    let places = [place(adas), own(&one), own(&other), own(&next)];
    assert!((0..4).all(|one| (0..one).all(|other| places[one] != places[other])), "{places:?}");

    revoke(&world, &bound, &one).await;
    world.clock.advance(Duration::from_secs(1));
    assert!(status_at(own(&one)).await);
    for good in [place(adas), own(&other), own(&next)] {
        assert!(!status_at(good).await);
    }
    // Another life says the same, and gives nobody a place that somebody has.
    let world = world.restart_with(End::Killed, with_lists_and_exchange).await;
    assert!(status_at(own(&one)).await && !status_at(place(adas)).await && !status_at(own(&other)).await);
    world.clock.advance(Duration::from_secs(15)); // the fence is behind us
    let (spa, bound) = (spa.reconnected(), bound.reconnected());
    assert!(!places.contains(&own(&exchanged(&world, &bound, adas).await)));

    revoke(&world, &spa, adas).await;
    world.clock.advance(Duration::from_secs(1));
    assert!(status(&other).await && !status_at(own(&other)).await, "gates of anybody's refuse it, too");
}

#[tokio::test]
async fn a_place_is_not_handed_out_again_while_what_was_got_in_exchange_with_it_is_good() {
    let world = World::start_with(with_lists_and_exchange).await;
    let (spa, bound) = (world.client("spa"), world.client("bound"));
    let adas = adas_tokens(&world, &spa).await;
    let life = Duration::from_secs(adas.body["expires_in"].as_u64().expect("a time"));
    // The places of the first lease are handed out for as long as that; what is got at its last moment lives on.
    world.clock.advance(Duration::from_secs(599));
    let adas = refresh(&world, &spa, &adas).await;
    let token = exchanged(&world, &bound, adas.text("access_token")).await;
    let taken = place_in(LIST_OF_TOKEN, &token);
    world.clock.advance(life.saturating_sub(Duration::from_secs(1)));
    let later = place(&own_token(&world, &bound).await);
    let block = |(url, idx): &(String, u64)| (url.clone(), idx / u64::from(STATUS_BLOCK));
    assert_ne!(block(&later), block(&taken), "from another lease");
}

#[tokio::test]
async fn the_lists_are_found_and_may_be_kept_for_their_ttl() {
    let world = World::start_with(with_lists).await;
    let get = async |url: &str| http().get(url).send().await.expect("an answer");
    let discovery = format!("{}/.well-known/oauth-authorization-server", world.issuer);
    let metadata: Value = get(&discovery).await.json().await.expect("metadata");
    let aggregation = metadata["status_list_aggregation_endpoint"].as_str().expect("a URL").to_owned();
    let names: Value = get(&aggregation).await.json().await.expect("names");
    let names = names["status_lists"].as_array().expect("a list").clone();
    assert_eq!(names.len(), STATUS_LISTS as usize);
    let url = url_of(&own_token(&world, &world.client("bound")).await);
    assert!(names.contains(&url.as_str().into()), "{url}");

    let list = get(&url).await;
    assert_eq!(list.headers()["cache-control"], "public, max-age=10");
    let (tag, text) = (list.headers()["etag"].clone(), list.text().await.expect("a list"));
    let said = claims(&text);
    let now = world.clock.now().seconds();
    assert_eq!(json!([said["iat"], said["exp"], said["ttl"]]), json!([now, now + 300, 10]));
    assert_eq!(said["status_list"]["bits"], 1);
    assert_eq!(said["status_list"]["aggregation_uri"], aggregation.as_str());
    assert!(text.len() < 2_000, "a list with little in it is short: {}", text.len());
    let again = http().get(&url).header("if-none-match", tag).send().await.expect("an answer");
    assert_eq!(again.status().as_u16(), 304);
    for none in ["16", "01", "-1", "x", "", "0/"] {
        let answer = get(&format!("{aggregation}/{none}")).await;
        assert_eq!(answer.status().as_u16(), 404, "{none}");
    }
}

/// Asks for a list as somebody who has it by that tag and would wait for another one.
fn ask_for_news(url: &str, tag: &str, wait: &str) -> reqwest::RequestBuilder {
    http().get(url).header("if-none-match", tag).header("prefer", wait).timeout(Duration::from_mins(1))
}

fn header<'a>(answer: &'a reqwest::Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
}

#[tokio::test]
async fn who_waits_for_another_list_is_told_at_once_and_who_does_not_is_not_made_to() {
    let world = World::start_with(with_lists).await;
    let bound = world.client("bound");
    let token = own_token(&world, &bound).await;
    let url = url_of(&token);
    let first = http().get(&url).header("prefer", "respond-async, wait=30").send().await.expect("an answer");
    assert_eq!((first.status().as_u16(), header(&first, "preference-applied")), (200, "wait=30"));
    assert_eq!((header(&first, "cache-control"), header(&first, "vary")), ("private, max-age=10", "prefer"));
    let tag = header(&first, "etag").to_owned();

    // Nothing happens: it is said so when the time is over, and not before.
    let asked = Instant::now();
    let nothing = ask_for_news(&url, &tag, "wait=1").send().await.expect("an answer");
    assert_eq!((nothing.status().as_u16(), header(&nothing, "preference-applied")), (304, "wait=1"));
    assert!(asked.elapsed() >= Duration::from_secs(1));
    let long = ask_for_news(&url, "\"another\"", "Wait = \"86400\"; x=y").send().await.expect("an answer");
    assert_eq!((long.status().as_u16(), header(&long, "preference-applied")), (200, "wait=30"), "no longer than that");

    // Whoever cannot be understood, or does not ask for it, does not wait.
    for none in ["", "wait", "wait=x", "wait=-1", "wait=0", "waiting=5", "respond-async"] {
        let answer = ask_for_news(&url, &tag, none).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), header(&answer, "preference-applied")), (304, ""), "{none}");
    }

    let waiting = tokio::spawn(ask_for_news(&url, &tag, "wait=30").send());
    revoke(&world, &bound, &token).await;
    let asked = Instant::now();
    let told = waiting.await.expect("no panic").expect("an answer");
    assert!(told.status() == 200 && header(&told, "etag") != tag && asked.elapsed() < Duration::from_secs(20));
    assert!(status(&token).await);
    let (tag, iat) = (header(&told, "etag").to_owned(), claims(&told.text().await.expect("a list"))["iat"].clone());
    // The tag is that of what the list says, until its time is half over.
    world.clock.advance(Duration::from_secs(2));
    let again = ask_for_news(&url, &tag, "").send().await.expect("an answer");
    assert_eq!(again.status().as_u16(), 304);
    world.clock.advance(Duration::from_secs(150));
    eventually("it is known what has ended since", async || {
        let later = ask_for_news(&url, &tag, "").send().await.ok().filter(|later| later.status() == 200)?;
        (claims(&later.text().await.ok()?)["iat"].as_i64()? >= iat.as_i64()? + 152).then_some(())
    })
    .await;
}

/// Whether somebody who asks for a list now could wait for another one.
async fn may_wait(request: &reqwest::RequestBuilder) -> bool {
    let request = request.try_clone().expect("no body").header("prefer", "wait=30");
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "everybody gets the list");
    header(&answer, "preference-applied") == "wait=30"
}

/// Two wait at an address, and a third may not until they have gone; somebody elsewhere may all the time.
async fn takes_all_places_but_those_of_others(
    tag: &str,
    here: &reqwest::RequestBuilder,
    elsewhere: &reqwest::RequestBuilder,
) {
    assert!(may_wait(here).await);
    let wait = || here.try_clone().expect("no body").header("if-none-match", tag).header("prefer", "wait=30").send();
    let waiting = [tokio::spawn(wait()), tokio::spawn(wait())];
    eventually("two wait", async || (!may_wait(here).await).then_some(())).await;
    assert!(may_wait(elsewhere).await);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("nobody waits any longer", async || may_wait(here).await.then_some(())).await;
}

#[tokio::test]
async fn who_waits_too_often_at_one_address_keeps_nobody_elsewhere_from_waiting() {
    let installation = Installation::new();
    let (lists, trusted) = ("{\"waiting_per_address\":2}", "listen.public.trusted_proxies=[\"127.0.0.9/32\"]");
    let lists = format!("authorization_server.status_lists={lists}");
    let process = installation.start(&["--set", &lists, "--set", trusted]).await;
    let url = format!("{}/oauth/status/0", installation.issuer);
    let tag = header(&http().get(&url).send().await.expect("an answer"), "etag").to_owned();
    let at = |address: [u8; 4]| {
        let client = reqwest::Client::builder().local_address(IpAddr::from(address)).build().expect("a client");
        client.get(&url)
    };
    takes_all_places_but_those_of_others(&tag, &at([127, 0, 0, 2]), &at([127, 0, 0, 3])).await;
    let behind = |address: &str| at([127, 0, 0, 9]).header("x-forwarded-for", address);
    takes_all_places_but_those_of_others(&tag, &behind("198.51.100.7"), &behind("198.51.100.8")).await;
    process.signal("TERM").await;
    process.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_may_wait_for_news_does_not_wait_for_the_ttl() {
    let world = World::start_with(with_lists).await;
    let clock = Arc::clone(&world.clock);
    let (_serving, mut gate) = serve(&gate(&world.issuer), &clock).await;
    clock.advance(Duration::from_secs(11));
    let bound = world.client("bound");
    for _ in 0..3 {
        let token = own_token(&world, &bound).await;
        assert_eq!(call(&mut gate, &bound, &token, clock.now()).await.status, 200);
        revoke(&world, &bound, &token).await;
        eventually_refuses(&mut gate, &bound, &token, &clock).await; // and no time passes by its clock
    }
}

#[tokio::test]
async fn who_waits_does_not_keep_the_server_from_ending() {
    let installation = Installation::new();
    // The tag of a list changes twice in its lifetime, by the clock of the wall.
    let lists = "authorization_server.status_lists={\"lifetime\":\"24h\"}";
    let process = installation.start(&["--set", lists]).await;
    let url = format!("{}/oauth/status/0", installation.issuer);
    let first = http().get(&url).send().await.expect("an answer");
    let tag = header(&first, "etag").to_owned();
    let waiting = tokio::spawn(ask_for_news(&url, &tag, "wait=30").send());
    let waits = ask_for_news(&url, &tag, "wait=1").send().await.expect("an answer"); // a second later that one waits, too
    assert_eq!(waits.status().as_u16(), 304);
    let told = Instant::now();
    process.signal("TERM").await;
    let answer = waiting.await.expect("no panic").expect("an answer");
    assert_eq!((answer.status().as_u16(), header(&answer, "preference-applied")), (304, "wait=30"));
    let (status, said) = process.ended().await;
    assert!(status.success() && !said.contains("requests were still in flight"), "{said}");
    assert!(told.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn without_lists_there_is_none_and_tokens_name_none() {
    let world = World::start().await;
    let token = own_token(&world, &world.client("bound")).await;
    assert_eq!(claims(&token).get("status"), None);
    let answer = http().get(format!("{}/oauth/status/0", world.issuer)).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 404);
}

/// A gate of its own, which has no store, for the tokens of this issuer.
fn gate(issuer: &str) -> String {
    format!(
        r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
issuers: [ {{ issuer: "{issuer}", timeout: 1s }} ]
protected_resources:
  - resource: https://api.example.com
    authorization_servers: ["{issuer}"]
    rules: [ {{ path: "/orders/**", scope: "orders:read" }} ]
"#
    )
}

async fn call(gate: &mut Proxy, client: &Client, token: &str, now: Timestamp) -> Verdict {
    let proof = client.resource_proof("GET", ORDERS, token, now);
    let headers = [("authorization", &*format!("DPoP {token}")), ("dpop", &*proof)];
    gate.ask("api.example.com", "/orders/7", &headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_without_a_store_refuses_what_was_revoked_and_does_not_open_when_it_cannot_know() {
    let world = World::start_with(with_lists).await;
    let clock = Arc::clone(&world.clock);
    let (_serving, mut gate) = serve(&gate(&world.issuer), &clock).await;
    clock.advance(Duration::from_secs(11)); // the fence of the gate is behind us
    let (spa, bound) = (world.client("spa"), world.client("bound"));
    let tokens = adas_tokens(&world, &spa).await;
    let adas = tokens.text("access_token");
    let (own, another) = (own_token(&world, &bound).await, own_token(&world, &bound).await);
    // The first request waits for keys and list.
    assert_eq!(call(&mut gate, &spa, adas, clock.now()).await.status, 200);
    assert_eq!(call(&mut gate, &bound, &own, clock.now()).await.status, 200);

    revoke(&world, &spa, tokens.text("refresh_token")).await;
    revoke(&world, &bound, &own).await;
    clock.advance(TTL);
    eventually_refuses(&mut gate, &spa, adas, &clock).await;
    let refused = call(&mut gate, &bound, &own, clock.now()).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some_and(|text| text.contains("invalid_token")), "{refused:?}");
    assert_eq!(call(&mut gate, &bound, &another, clock.now()).await.status, 200, "another is as good as before");

    // The issuer is gone. Its list counts for a minute, and then nobody can tell.
    let issuer = world.issuer.clone();
    drop(world);
    eventually("the issuer is gone", async || http().get(&issuer).send().await.err()).await;
    clock.advance(Duration::from_secs(45));
    assert_eq!(call(&mut gate, &bound, &another, clock.now()).await.status, 200);
    clock.advance(Duration::from_secs(16));
    assert_eq!(call(&mut gate, &bound, &another, clock.now()).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_without_a_store_refuses_what_was_got_in_exchange_when_it_or_the_grant_ends() {
    let world = World::start_with(with_lists_and_exchange).await;
    let clock = Arc::clone(&world.clock);
    let (_serving, mut gate) = serve(&gate(&world.issuer), &clock).await;
    clock.advance(Duration::from_secs(11)); // the fence of the gate is behind us
    let (spa, bound) = (world.client("spa"), world.client("bound"));
    let tokens = adas_tokens(&world, &spa).await;
    let adas = tokens.text("access_token");
    let (one, other) = (exchanged(&world, &bound, adas).await, exchanged(&world, &bound, adas).await);
    for (client, token) in [(&bound, &*one), (&bound, &*other), (&spa, adas)] {
        assert_eq!(call(&mut gate, client, token, clock.now()).await.status, 200);
    }

    revoke(&world, &bound, &one).await;
    eventually_refuses(&mut gate, &bound, &one, &clock).await;
    let refused = call(&mut gate, &bound, &one, clock.now()).await;
    assert!(refused.header("www-authenticate").is_some_and(|text| text.contains("invalid_token")), "{refused:?}");
    for (client, token) in [(&bound, &*other), (&spa, adas)] {
        assert_eq!(call(&mut gate, client, token, clock.now()).await.status, 200, "it ends alone");
    }
    revoke(&world, &spa, tokens.text("refresh_token")).await;
    eventually_refuses(&mut gate, &bound, &other, &clock).await;
    assert_eq!(call(&mut gate, &spa, adas, clock.now()).await.status, 401);
}

async fn eventually_refuses(gate: &mut Proxy, client: &Client, token: &str, clock: &TestClock) {
    for _ in 0..6_000 {
        if call(gate, client, token, clock.now()).await.status == 401 {
            return;
        }
    }
    panic!("the gate does not learn that the token was revoked");
}
