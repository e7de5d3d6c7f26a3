//! Clients hear that a session is over (OpenID Connect Back-Channel Logout 1.0).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollgate::audit;
use tollgate::clock::Clock as _;
use tollgate::fetch::Reach;
use tollgate::jose::{Jws, PublicKey, object};
use tollgate::oauth::client::BackchannelLogout;
use tollgate::token::TOKEN_LIMIT;

use crate::browser::Browser;
use crate::client::{AUTHORIZATION_REQUEST, Client, answer, claims, code_request};
use crate::documents::{Documents, Reply};
use crate::events::assert_shape;
use crate::process::eventually;
use crate::world::World;

/// Two clients that want to hear of it, each at a path of its own, and their server.
async fn world() -> (World, Documents) {
    let documents = Documents::start().await;
    let url = |id: &str| documents.url(&format!("/{id}")).parse().expect("a URL");
    let world =
        World::start_with(|settings| {
            for client in &mut settings.clients {
                client.scopes = "openid orders:read".parse().expect("scopes");
                let id = client.id.as_str().to_owned();
                client.openid.backchannel_logout = ["backend", "spa"].contains(&id.as_str()).then(|| {
                    BackchannelLogout { url: url(&id), reach: Reach::Anywhere, session_required: id == "spa" }
                });
            }
        })
        .await;
    for path in ["/backend", "/spa"] {
        documents.put(path, Reply::status(200));
    }
    (world, documents)
}

/// Signs somebody in at a client; gives the claims of the ID token.
async fn sign_in(world: &World, client: &Client, browser: &mut Browser, name: &str) -> Value {
    let query = AUTHORIZATION_REQUEST.iter().filter(|(name, _)| *name != "scope").copied();
    let query = query.chain([("client_id", client.id.as_str()), ("scope", "openid")]);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let page = browser.approve(&format!("/oauth/authorize?{query}"), name, name).await;
    let code = page.code();
    let tokens = client.bearer_request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    claims(tokens.text("id_token"))
}

async fn sign_out(browser: &mut Browser) {
    let page = browser.open("/logout").await;
    let page = browser.submit(&page, &[]).await;
    assert_eq!(page.status, 200, "{page:?}");
}

/// Waits until so many posts have come, and gives the logout tokens by path.
async fn posts(documents: &Documents, number: usize) -> Vec<(String, String)> {
    eventually("the posts", async {
        while documents.shelf().posted.len() < number {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let posted = documents.shelf().posted.clone();
    assert_eq!(posted.len(), number, "{posted:?}");
    let token = |body: &str| body.strip_prefix("logout_token=").expect("a logout token").to_owned();
    posted.into_iter().map(|(path, body)| (path, token(&body))).collect()
}

/// Waits for an event, and gives the field of the last one.
async fn heard(world: &World, event: &str) {
    eventually(event, async {
        while !world.events.of(audit::TARGET).iter().any(|said| said["event"] == event) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_clients_of_a_session_hear_that_its_person_has_signed_out() {
    let (world, documents) = world().await;
    let (backend, spa, legacy) = (world.client("backend"), world.client("spa"), world.client("legacy"));
    let mut browser = Browser::new(&world.issuer);
    let at_backend = sign_in(&world, &backend, &mut browser, "ada").await;
    let at_spa = sign_in(&world, &spa, &mut browser, "ada").await;
    sign_in(&world, &legacy, &mut browser, "ada").await;
    let mut elsewhere = Browser::new(&world.issuer);
    sign_in(&world, &backend, &mut elsewhere, "ada").await;
    sign_out(&mut browser).await;

    let now = world.clock.now().seconds();
    let jwks = answer(crate::client::http().get(format!("{}/oauth/jwks", world.issuer))).await.body;
    let key = PublicKey::from_jwk(&object(jwks["keys"][0].to_string().as_bytes()).expect("JSON")).expect("a key");
    let posted = posts(&documents, 2).await;
    for (path, id_token) in [("/backend", &at_backend), ("/spa", &at_spa)] {
        let (_, token) = posted.iter().find(|(to, _)| to == path).expect("a token for each");
        let jws = Jws::parse(token, TOKEN_LIMIT).expect("a JWT");
        jws.verify(tollgate::jose::Algorithm::Es256, &key).expect("signed by the published key");
        assert_eq!(jws.header_text("typ"), Ok(Some("logout+jwt")));
        let mut said = claims(token);
        assert!(said["jti"].as_str().is_some_and(|jti| jti.len() >= 16));
        said["jti"] = Value::Null;
        assert_eq!(
            said,
            json!({
                "iss": world.issuer, "sub": "ada", "aud": path.trim_start_matches('/'), "iat": now, "exp": now + 120, "jti": null,
                "sid": id_token["sid"], "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
            })
        );
        // It is no ID token, and no access token.
        let hint = browser.open(&format!("/logout?id_token_hint={token}")).await;
        assert_eq!(hint.status, 400, "{hint:?}");
    }
    heard(&world, audit::LOGOUT_DELIVERED).await;
    assert_shape(&world, audit::SESSION_ENDED);
    assert_shape(&world, audit::LOGOUT_DELIVERED);
    // Nobody is told twice, and the other browser goes on.
    sign_out(&mut browser).await;
    sign_out(&mut elsewhere).await;
    posts(&documents, 3).await;
}

#[tokio::test]
async fn whoever_ends_a_session_its_clients_hear_of_it() {
    let (world, documents) = world().await;
    let backend = world.client("backend");
    let mut browser = Browser::new(&world.issuer);
    sign_in(&world, &backend, &mut browser, "ada").await;
    let query = |prompt: &str| {
        let query = AUTHORIZATION_REQUEST.iter().copied().chain([("client_id", "backend"), ("prompt", prompt)]);
        form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish()
    };
    // The same person signs in again, which ends nothing; then another one does.
    for name in ["ada", "bob"] {
        let page = browser.open(&format!("/oauth/authorize?{}", query("login"))).await;
        browser.submit(&page, &[("username", name), ("password", name)]).await;
    }
    let posted = posts(&documents, 1).await;
    assert_eq!(claims(&posted[0].1)["sub"], "ada");
    // Bob chooses another account.
    sign_in(&world, &backend, &mut browser, "bob").await;
    let page = browser.open(&format!("/oauth/authorize?{}", query("consent"))).await;
    browser.submit(&page, &[("decision", "switch")]).await;
    let posted = posts(&documents, 2).await;
    assert_eq!(claims(&posted[1].1)["sub"], "bob");
    // Ada signs out everywhere.
    let mut elsewhere = Browser::new(&world.issuer);
    let one = sign_in(&world, &backend, &mut browser, "ada").await;
    let other = sign_in(&world, &backend, &mut elsewhere, "ada").await;
    let page = elsewhere.open("/account").await;
    let page = elsewhere.follow(page).await;
    let (_, hidden) = page.form();
    let form: Vec<_> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let form: Vec<_> = form.into_iter().chain([("decision", "sign_out_everywhere")]).collect();
    let page = elsewhere.post("/account", &form).await;
    assert_eq!(page.status, 200, "{page:?}");
    let posted = posts(&documents, 4).await;
    let sids: BTreeSet<_> = posted[2..].iter().map(|(_, token)| claims(token)["sid"].to_string()).collect();
    assert_eq!(sids, BTreeSet::from([one["sid"].to_string(), other["sid"].to_string()]));
    let why = world.events.of(audit::TARGET).into_iter().filter(|event| event["event"] == audit::SESSION_ENDED);
    let why: Vec<_> = why.map(|event| event["by"].clone()).collect();
    assert_eq!(why, ["other_person", "account_switched", "signed_out_everywhere"]);
}

#[tokio::test]
async fn a_client_that_cannot_take_it_now_is_told_again_and_one_that_refuses_is_not() {
    let (world, documents) = world().await;
    let (backend, spa) = (world.client("backend"), world.client("spa"));
    documents.put("/backend", Reply::status(503));
    documents.put("/spa", Reply::status(400));
    let mut browser = Browser::new(&world.issuer);
    sign_in(&world, &backend, &mut browser, "ada").await;
    sign_in(&world, &spa, &mut browser, "ada").await;
    sign_out(&mut browser).await;
    heard(&world, audit::LOGOUT_UNDELIVERED).await;
    assert_shape(&world, audit::LOGOUT_UNDELIVERED);
    documents.put("/backend", Reply::status(204));
    heard(&world, audit::LOGOUT_DELIVERED).await;
    let delivered = world.events.of(audit::TARGET).into_iter().find(|event| event["event"] == audit::LOGOUT_DELIVERED);
    assert_eq!(delivered.expect("an event")["attempts"], "2");
    assert_eq!((documents.asked("/backend"), documents.asked("/spa")), (2, 1));
}

#[tokio::test]
async fn discovery_says_that_clients_are_told() {
    let (world, _) = world().await;
    let document =
        answer(crate::client::http().get(format!("{}/.well-known/openid-configuration", world.issuer))).await;
    assert_eq!(document.body["backchannel_logout_supported"], true);
    assert_eq!(document.body["backchannel_logout_session_supported"], true);
}
