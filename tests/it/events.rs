//! The events for auditors, each driven once, against `docs/events.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tollgate::audit;
use tollgate::clock::Clock as _;

use crate::browser::Browser;
use crate::client::{
    AUTHORIZATION_REQUEST, CLIENT_CREDENTIALS, INTROSPECT, REVOKE, TokenCall, code_request, http, poll_request,
    refresh_request,
};
use crate::introspect::adas_tokens;
use crate::process::{Installation, eventually, program, run};
use crate::registration;
use crate::world::World;

const DOCUMENT: &str = include_str!("../../docs/events.md");

/// What an event is said to look like.
#[derive(Debug, Default, Eq, PartialEq)]
struct Shape {
    level: String,
    fields: BTreeSet<String>,
}

fn documented() -> BTreeMap<String, Shape> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [event, level, _, fields] = cells.as_slice() else { panic!("{row}") };
        let fields = fields.trim_matches([' ', '|']).split(", ").map(|field| field.trim_matches('`').to_owned());
        (event.trim_matches('`').to_owned(), Shape { level: (*level).to_owned(), fields: fields.collect() })
    })
    .collect()
}

#[test]
fn every_event_is_documented() {
    let names: Vec<_> = documented().into_keys().collect();
    let mut expected = audit::ALL.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// What was said, by event: the fields that an event ever had.
fn said(world: &World) -> BTreeMap<String, Shape> {
    let mut said: BTreeMap<String, Shape> = BTreeMap::new();
    for event in world.events.of(audit::TARGET) {
        let shape = said.entry(event["event"].clone()).or_default();
        shape.level.clone_from(&event["level"]);
        let of_log = ["event", "level", "target", "message"];
        shape.fields.extend(event.into_keys().filter(|field| !of_log.contains(&field.as_str())));
    }
    said
}

/// Asserts that an event says what is documented; other files reach those that need more than a client and a browser.
#[track_caller]
pub fn assert_shape(world: &World, event: &str) {
    assert_eq!(said(world).get(event), documented().get(event), "{event}");
}

/// Gets and gives up tokens, rightly and wrongly.
async fn clients(world: &World) {
    let (spa, web, backend, tv) =
        (world.client("spa"), world.client("web"), world.client("backend"), world.client("tv"));
    let now = world.clock.now();
    let tokens = adas_tokens(world, &spa).await;
    spa.request(now, &code_request("tgc_x")).send().await.expect(400, "invalid_grant");
    web.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect(400, "invalid_grant");
    spa.about(REVOKE, tokens.text("refresh_token"), now).send().await.expect(200, "");
    let own = backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    backend.about(REVOKE, own.text("access_token"), now).send().await.expect(200, "");
    for path in [REVOKE, INTROSPECT] {
        backend.about(path, "x", now).without("token").send().await.expect(400, "invalid_request");
        let nobody = TokenCall::anonymous(&spa, path).with("token", "x");
        nobody.send().await.expect(401, "invalid_client");
    }
    http().get(format!("{}/oauth/userinfo", world.issuer)).send().await.expect("an answer");
    web.push(now, &AUTHORIZATION_REQUEST).send().await.expect(201, "");
    web.push(now, &AUTHORIZATION_REQUEST)
        .with("response_type", "token")
        .send()
        .await
        .expect(400, "unsupported_response_type");
    tv.device_request(now, &[("scope", "admin")]).send().await.expect(400, "invalid_scope");
    for _ in 0..=20 {
        backend.request(now, &CLIENT_CREDENTIALS).send().await;
    }
}

/// Registers a client, wrongly and rightly, changes and ends it.
async fn registrations(world: &World) {
    registration::register(world, &Value::Null).await.expect(400, "invalid_client_metadata");
    let registered = registration::register(world, &registration::public()).await.expect(201, "").body;
    let mut update = registration::public();
    update["client_id"] = registered["client_id"].clone();
    registration::manage(reqwest::Method::PUT, &registered, Some(&update)).await.expect(200, "");
    registration::delete(&registered).await.expect(204, "");
}

/// Signs in, approves and declines.
async fn people(world: &World) {
    let (tv, now) = (world.client("tv"), world.clock.now());
    for decision in ["approve", "deny"] {
        let begun = tv.device_request(now, &[]).send().await.expect(200, "");
        let mut browser = Browser::new(&world.issuer);
        let page = browser.open("/activate").await;
        let page = browser.submit(&page, &[("user_code", begun.text("user_code"))]).await;
        let page = browser.follow(page).await;
        let page = browser.submit(&page, &[("username", "ada"), ("password", "not it")]).await;
        let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
        let page = browser.follow(page).await;
        let page = browser.submit(&page, &[("decision", decision)]).await;
        assert_eq!(page.status, 200, "{page:?}");
        tv.request(now, &poll_request(begun.text("device_code"))).send().await;
    }
    let mut browser = Browser::new(&world.issuer);
    for _ in 0..20 {
        let page = browser.open("/activate").await;
        let page = browser.submit(&page, &[("user_code", "BBBB-BBBB")]).await;
        let page = browser.follow(page).await;
        if page.has("name=\"password\"") {
            let page = browser.submit(&page, &[("username", "bob"), ("password", "bob")]).await;
            browser.follow(page).await;
        }
    }
    let page = browser.open("/oauth/authorize?client_id=nobody").await;
    assert_eq!(page.status, 400);
}

#[tokio::test]
async fn every_event_is_said_and_says_what_is_documented() {
    let world = World::start_with(|settings| {
        settings.rate_limits.client = 2;
        registration::with_token(settings);
    })
    .await;
    clients(&world).await;
    registrations(&world).await;
    people(&world).await;
    let mut expected = documented();
    expected.remove(audit::KEY_WITHDRAWN); // below
    for event in [audit::SESSION_ENDED, audit::LOGOUT_DELIVERED, audit::LOGOUT_UNDELIVERED] {
        expected.remove(event); // `backchannel_logout.rs`
    }
    expected.remove(audit::ADMIN_CALLED); // `external.rs`
    expected.remove(audit::ADMIN_ACTED); // `admin.rs`
    let said = said(&world);
    for (event, shape) in &expected {
        assert_eq!(said.get(event), Some(shape), "{event}");
    }
    assert_eq!(said.len(), expected.len(), "{:?}", said.keys());
    for name in ["ada", "bob"] {
        let refused =
            world.events.of(audit::TARGET).into_iter().filter(|event| event["event"] == audit::SIGN_IN_REFUSED);
        assert!(
            refused.flat_map(BTreeMap::into_values).all(|value| value != name),
            "who may have typed a password there"
        );
    }
}

#[tokio::test]
async fn a_key_that_is_withdrawn_is_in_the_log_of_the_program() {
    let installation = Installation::new();
    let config = installation.path("tollgate.yaml");
    let text = std::fs::read_to_string(&config).expect("a file");
    let store = format!("store: {{ sqlite: {{ path: {} }} }}", installation.database().display());
    let signing = "signing: { announce: 2s, encryption_key_file: kek }"; // looked after as often as may be
    let text = text.replace("store: { memory: {} }", &store).replace("signing: { encryption_key_file: kek }", signing);
    std::fs::write(&config, text).expect("a file");
    let process = installation.start(&[]).await;
    let kids = async || {
        let jwks = http().get(format!("{}/oauth/jwks", installation.issuer)).send().await.expect("an answer");
        let jwks: Value = jwks.json().await.expect("JSON");
        jwks["keys"].as_array().expect("keys").iter().map(|key| key["kid"].to_string()).collect::<Vec<_>>()
    };
    let before = kids().await;
    let mut rotate = program();
    rotate.args(["keys", "rotate", "--now", "--config"]).arg(&config);
    let output = run(&mut rotate).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually("the server learns of the new key", async {
        while kids().await.iter().any(|kid| before.contains(kid)) {}
    })
    .await;
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_key = |name: &str, kid: &str| {
        events.iter().any(|event| {
            event["target"] == audit::TARGET && event["event"] == name && event["kid"].to_string().as_str() == kid
        })
    };
    assert!(of_key(audit::KEY_LEARNED, &before[0]) && of_key(audit::KEY_WITHDRAWN, &before[0]), "{log}");
    assert!(last_learned(&events) != before[0], "{log}");
}

/// The key that was learned last.
fn last_learned(events: &[Value]) -> String {
    let learned = events.iter().rfind(|event| event["event"] == audit::KEY_LEARNED);
    learned.expect("a key")["kid"].to_string()
}
