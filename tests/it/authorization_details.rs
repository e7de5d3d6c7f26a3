//! Rich authorization requests (RFC 9396): from the request, by whichever way it comes, to what the token says.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::oauth::{DetailType, Refusal, Settings};

use crate::browser::Browser;
use crate::client::{
    AUTHORIZATION_REQUEST, CLIENT_CREDENTIALS, Client, DEVICE_AUTHORIZATION, TokenCall, answer, claims, code_request,
    poll_request, refresh_request,
};
use crate::request_object::{object_claims, sign_object};
use crate::world::{End, World};

const API: &str = "https://api.example.com";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// `payment` for most clients, and `statement` for nobody.
pub fn configure(settings: &mut Settings) {
    let payment = DetailType {
        description: "Make a <payment>".into(),
        values: BTreeMap::from([("actions", texts(&["initiate", "status"]))]),
        fields: texts(&["amount", "creditor"]),
        required: texts(&["amount"]),
    };
    let statement = DetailType {
        description: "Read statements".into(),
        values: BTreeMap::new(),
        fields: Vec::new(),
        required: Vec::new(),
    };
    settings.details = BTreeMap::from([("payment".to_owned(), payment), ("statement".to_owned(), statement)]);
    for client in settings.clients.iter_mut().filter(|client| client.id.as_str() != "backend") {
        client.requests.detail_types = texts(&["payment"]);
    }
}

fn payment() -> Value {
    json!({
        "type": "payment", "actions": ["initiate", "status"], "locations": [API],
        "amount": { "currency": "EUR", "value": "12.50" }, "creditor": "<b>Ada</b>",
    })
}

fn path(client: &Client, details: &str) -> String {
    let more = [("client_id", client.id.as_str()), ("authorization_details", details)];
    let all = AUTHORIZATION_REQUEST.iter().chain(&more);
    format!("/oauth/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish())
}

/// What a code of a client becomes, with these parameters more.
async fn redeemed(world: &World, client: &Client, code: &str, more: &[(&str, &str)]) -> crate::client::Answer {
    let mut call = client.request(world.clock.now(), &code_request(code));
    for (name, value) in more {
        call = call.with(name, value);
    }
    call.send().await
}

#[tokio::test]
async fn what_a_person_approved_in_detail_is_in_the_token() {
    let world = World::start_with(configure).await;
    let (web, now) = (world.client("web"), world.clock.now());
    let elsewhere = json!({ "type": "payment", "locations": ["https://files.example.com"], "amount": 1 });
    let details = json!([payment(), elsewhere]);
    let text = details.to_string();
    let mut object = object_claims(&world, &web);
    object["authorization_details"] = details.clone();
    let object = sign_object(&web, &object);
    let pushed = web.push(now, &AUTHORIZATION_REQUEST).with("authorization_details", &text).send().await;
    let signed = web.push(now, &[("request", &object)]).send().await;
    for path in [path(&web, &text), web.pushed_path(&pushed.expect(201, "")), web.pushed_path(&signed.expect(201, ""))]
    {
        let mut browser = Browser::new(&world.issuer);
        let page = browser.open(&path).await;
        let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
        for shown in [
            "Make a &#60;payment&#62;",
            "initiate, status",
            "currency: EUR, value: 12.50",
            "&#60;b&#62;Ada&#60;/b&#62;",
        ] {
            assert!(page.has(shown), "{shown} in {page:?}");
        }
        let code = browser.submit(&page, &[("decision", "approve")]).await.code();
        let tokens = redeemed(&world, &web, &code, &[]).await.expect_tokens();
        assert_eq!(tokens.body["authorization_details"], details, "the client is told all of it");
        let claims = claims(tokens.text("access_token"));
        assert_eq!(claims["authorization_details"], json!([payment()]), "the resource what is for it");
        assert_eq!(claims["scope"], "orders:read");
        let asked = web.bearer_request(now, &[("token", tokens.text("access_token"))]).at("/oauth/introspect");
        let told = asked.send().await.expect(200, "");
        assert_eq!(told.body["authorization_details"], json!([payment()]), "{told:?}");
        let account = browser.open("/account").await;
        let shown = ["Make a &#60;payment&#62;", "currency: EUR, value: 12.50"];
        assert!(shown.iter().all(|shown| account.has(shown)), "{account:?}");
    }
    let url = format!("{}/.well-known/oauth-authorization-server", world.issuer);
    let metadata = answer(crate::client::http().get(url)).await;
    assert_eq!(metadata.body["authorization_details_types_supported"], json!(["payment", "statement"]));
}

#[tokio::test]
async fn a_request_without_details_gets_none() {
    let world = World::start_with(configure).await;
    let spa = world.client("spa");
    let code = world.code(&spa).await;
    let tokens = redeemed(&world, &spa, &code, &[]).await.expect_tokens();
    assert_eq!(tokens.body["authorization_details"], Value::Null);
    assert_eq!(claims(tokens.text("access_token"))["authorization_details"], Value::Null);
}

#[tokio::test]
async fn what_is_unknown_or_not_allowed_is_refused_everywhere() {
    let world = World::start_with(configure).await;
    let (web, backend, now) = (world.client("web"), world.client("backend"), world.clock.now());
    let changed = |change: fn(&mut Value)| {
        let mut detail = payment();
        change(&mut detail);
        json!([detail]).to_string()
    };
    let rows = [
        ("{}".to_owned(), Refusal::DetailsMalformed),
        ("x".to_owned(), Refusal::DetailsMalformed),
        ("[{\"amount\":1}]".to_owned(), Refusal::DetailsMalformed),
        (changed(|detail| detail["actions"] = "initiate".into()), Refusal::DetailsMalformed),
        (changed(|detail| detail["creditor"] = "x".repeat(4_096).into()), Refusal::DetailsMalformed),
        (changed(|detail| detail["type"] = "unknown".into()), Refusal::DetailTypeNotAllowed),
        (changed(|detail| detail["type"] = "statement".into()), Refusal::DetailTypeNotAllowed),
        (changed(|detail| detail["actions"] = json!(["initiate", "cancel"])), Refusal::DetailNotAllowed),
        (changed(|detail| detail["privileges"] = json!(["admin"])), Refusal::DetailNotAllowed),
        (changed(|detail| detail["locations"] = json!(["https://evil.example"])), Refusal::DetailNotAllowed),
        (changed(|detail| detail["extra"] = true.into()), Refusal::DetailNotAllowed),
        (
            changed(|detail| drop(detail.as_object_mut().expect("an object").remove("amount"))),
            Refusal::DetailNotAllowed,
        ),
    ];
    let error = "invalid_authorization_details";
    let refused = async |call: TokenCall<'_>, refusal: Refusal| {
        call.send().await.expect(400, error);
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
    };
    for (details, refusal) in &rows {
        let page = Browser::new(&world.issuer).open(&path(&web, details)).await;
        assert_eq!(page.parameter("error").as_deref(), Some(error), "{details}");
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
        let pushed = web.push(now, &AUTHORIZATION_REQUEST).with("authorization_details", details);
        refused(pushed, *refusal).await;
        let own = web.request(now, &CLIENT_CREDENTIALS).with("authorization_details", details);
        refused(own, *refusal).await;
    }
    let good = json!([payment()]).to_string();
    let not_its = backend.push(now, &AUTHORIZATION_REQUEST).with("authorization_details", &good);
    refused(not_its, Refusal::DetailTypeNotAllowed).await;
    // Where they mean nothing they are not ignored.
    let tv = world.client("tv");
    let device = tv.device_request(now, &[("authorization_details", &good)]).at(DEVICE_AUTHORIZATION);
    refused(device, Refusal::DetailTypeNotAllowed).await;
}

#[tokio::test]
async fn a_token_request_narrows_and_never_widens() {
    let world = World::start_with(configure).await;
    let (spa, now) = (world.client("spa"), world.clock.now());
    let granted = json!([payment()]);
    let mut less = payment();
    less["actions"] = json!(["status"]);
    let (less, mut more) = (json!([less]), payment());
    more["amount"]["value"] = "1000000".into();
    let more = json!([more]).to_string();
    let approve = async || {
        let path = path(&spa, &granted.to_string());
        Browser::new(&world.issuer).approve(&path, "ada", "ada").await.code()
    };
    let code = approve().await;
    let widened = redeemed(&world, &spa, &code, &[("authorization_details", &more)]).await;
    widened.expect(400, "invalid_authorization_details");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::DetailsNotGranted.name()));
    let tokens = redeemed(&world, &spa, &code, &[("authorization_details", &less.to_string())]).await.expect_tokens();
    assert_eq!(tokens.body["authorization_details"], less);

    // The refresh token keeps what was granted.
    let refresh = refresh_request(tokens.text("refresh_token"));
    let widened = spa.request(now, &refresh).with("authorization_details", &more).send().await;
    widened.expect(400, "invalid_authorization_details");
    let tokens = spa.request(now, &refresh).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["authorization_details"], granted);
    let none = refresh_request(tokens.text("refresh_token"));
    let tokens = spa.request(now, &none).with("authorization_details", "[]").send().await.expect_tokens();
    assert_eq!(tokens.body["authorization_details"], Value::Null);

    // What the operator has taken back since is granted no more.
    let refresh = refresh_request(tokens.text("refresh_token")).map(|(name, value)| (name, value.to_owned()));
    let world = world.restart_with(End::Stopped, |settings| settings.details.clear()).await;
    let spa = spa.reconnected();
    let refresh = refresh.each_ref().map(|(name, value)| (*name, value.as_str()));
    world.clock.advance(Duration::from_mins(1)); // so that no proof could have been seen before
    let tokens = spa.request(world.clock.now(), &refresh).send().await.expect_tokens();
    assert_eq!(tokens.body["authorization_details"], Value::Null);
}

#[tokio::test]
async fn a_client_may_ask_for_itself() {
    let world = World::start_with(configure).await;
    let web = world.client("web");
    let call = web.request(world.clock.now(), &CLIENT_CREDENTIALS);
    let details = json!([payment()]);
    let tokens = call.with("authorization_details", &details.to_string()).send().await.expect_tokens();
    assert_eq!(tokens.body["authorization_details"], details);
    assert_eq!(claims(tokens.text("access_token"))["authorization_details"], details);
}

#[tokio::test]
async fn a_device_gets_none() {
    let world = World::start_with(configure).await;
    let (tv, now) = (world.client("tv"), world.clock.now());
    let begun = tv.device_request(now, &[]).send().await.expect(200, "");
    world.let_in(begun.text("device_code"), "ada").await;
    let tokens = tv.request(now, &poll_request(begun.text("device_code"))).send().await.expect_tokens();
    assert_eq!(tokens.body["authorization_details"], Value::Null);
}
