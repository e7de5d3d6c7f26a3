//! What an OpenID Connect authentication request may ask for, through the pages: the person, the claims, the sign-in.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::oauth::Refusal;
use tollgate::oauth::client::{OpenIdRules, SubjectType};

use crate::browser::{Browser, Page};
use crate::client::{
    AUTHORIZATION_REQUEST, Answer, CLIENT_CREDENTIALS, Client, INTROSPECT, answer, claims, code_request,
    refresh_request,
};
use crate::world::World;

/// A world whose clients may know everything about a person; `backend` may go without PKCE.
async fn world() -> World {
    World::start_with(|settings| {
        for client in &mut settings.clients {
            client.scopes = "openid profile email orders:read".parse().expect("scopes");
            client.requests.pkce_optional = client.id.as_str() == "backend";
        }
    })
    .await
}

/// An authorization request of a client with changes; a parameter without a value is left out.
fn request(client: &str, changes: &[(&str, &str)]) -> String {
    let good = AUTHORIZATION_REQUEST.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let all = good.chain(changes.iter().filter(|(_, value)| !value.is_empty())).copied().chain([("client_id", client)]);
    format!("/oauth/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish())
}

/// A browser in which somebody has signed in at a client, and the tokens that it got.
async fn signed_in(world: &World, client: &Client, name: &str, changes: &[(&str, &str)]) -> (Browser, Answer) {
    let mut browser = Browser::new(&world.issuer);
    let answer = approved(world, client, &mut browser, name, changes).await;
    (browser, answer)
}

async fn approved(
    world: &World,
    client: &Client,
    browser: &mut Browser,
    name: &str,
    changes: &[(&str, &str)],
) -> Answer {
    let backwards: String = name.chars().rev().collect();
    let page = browser.approve(&request(&client.id, changes), name, &backwards).await;
    let code = page.code();
    let without_pkce = changes.contains(&("code_challenge", ""));
    let call = client.bearer_request(world.clock.now(), &code_request(&code));
    let call = if without_pkce { call.without("code_verifier") } else { call };
    call.send().await.expect_tokens()
}

#[track_caller]
fn assert_answered(page: &Page, error: &str, refusal: Refusal) {
    assert_eq!(page.parameter("error").as_deref(), Some(error), "{page:?}");
    assert_eq!(page.parameter("error_description").as_deref(), Some(refusal.description()));
}

#[tokio::test]
async fn nobody_is_asked_twice_if_the_request_forbids_it() {
    let world = world().await;
    let backend = world.client("backend");
    let openid = ("scope", "openid email");
    let (mut browser, first) = signed_in(&world, &backend, "ada", &[openid]).await;
    let silent = [openid, ("prompt", "none")];
    let page = browser.open(&request("backend", &silent)).await;
    let again = backend.bearer_request(world.clock.now(), &code_request(&page.code())).send().await.expect_tokens();
    let (one, other) = (claims(first.text("id_token")), claims(again.text("id_token")));
    assert_eq!((one["sub"].as_str(), &one["sid"]), (Some("ada"), &other["sid"]), "the same session");
    assert!(one["sid"].is_string());

    // Less is approved too; more, another resource, and claims that nobody approved are not.
    assert!(!browser.open(&request("backend", &[("scope", "openid"), ("prompt", "none")])).await.code().is_empty());
    for more in [
        [("scope", "openid email orders:read"), ("claims", "")],
        [openid, ("resource", "https://files.example.com")],
        [openid, ("claims", r#"{"id_token":{"given_name":null}}"#)],
    ] {
        let page = browser.open(&request("backend", &[more[0], more[1], ("prompt", "none")])).await;
        assert_answered(&page, "consent_required", Refusal::ConsentRequired);
    }
    // Whoever may be asked is asked; and anybody can pretend to be a client that does not authenticate.
    assert!(browser.open(&request("backend", &[openid])).await.has("value=\"approve\""));
    let spa = world.client("spa");
    approved(&world, &spa, &mut browser, "ada", &[openid]).await;
    assert_answered(&browser.open(&request("spa", &silent)).await, "consent_required", Refusal::ConsentRequired);
    // In another session everybody is asked again.
    let mut elsewhere = Browser::new(&world.issuer);
    approved(&world, &spa, &mut elsewhere, "ada", &[openid]).await;
    assert_answered(&elsewhere.open(&request("backend", &silent)).await, "consent_required", Refusal::ConsentRequired);
}

#[tokio::test]
async fn a_session_keeps_its_name_when_the_same_person_signs_in_again() {
    let world = world().await;
    let backend = world.client("backend");
    let (mut browser, first) = signed_in(&world, &backend, "ada", &[("scope", "openid")]).await;
    let sid = |answer: &Answer| claims(answer.text("id_token"))["sid"].clone();
    let again = browser.open(&request("backend", &[("scope", "openid"), ("prompt", "login")])).await;
    assert!(again.has("name=\"password\""));
    let page = browser.submit(&again, &[("username", "ada"), ("password", "ada")]).await;
    let page = browser.submit(&page, &[("decision", "approve")]).await;
    let second = backend.bearer_request(world.clock.now(), &code_request(&page.code())).send().await.expect_tokens();
    assert_eq!(sid(&first), sid(&second));
    let refreshed = backend.bearer_request(world.clock.now(), &refresh_request(second.text("refresh_token")));
    assert_eq!(sid(&refreshed.send().await.expect_tokens()), sid(&first));
    // Another client, another person and another browser see another name.
    let spa = approved(&world, &world.client("spa"), &mut browser, "ada", &[("scope", "openid")]).await;
    let (_, elsewhere) = signed_in(&world, &backend, "ada", &[("scope", "openid")]).await;
    let again = browser.open(&request("backend", &[("scope", "openid"), ("prompt", "login")])).await;
    let page = browser.submit(&again, &[("username", "bob"), ("password", "bob")]).await;
    let page = browser.submit(&page, &[("decision", "approve")]).await;
    let bob = backend.bearer_request(world.clock.now(), &code_request(&page.code())).send().await.expect_tokens();
    for other in [spa, elsewhere, bob] {
        assert_ne!(sid(&other), sid(&first));
    }
}

#[tokio::test]
async fn claims_are_told_where_they_were_asked_for() {
    let world = world().await;
    let backend = world.client("backend");
    let asked = r#"{"userinfo":{"email":{"essential":true},"shoe_size":null,"phone_number":null},
                    "id_token":{"given_name":null,"auth_time":{"essential":true},"x":{"value":1}}}"#;
    let mut browser = Browser::new(&world.issuer);
    let path = request("backend", &[("scope", "openid"), ("claims", asked)]);
    let page = browser.open(&path).await;
    let consent = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
    for words in ["Know who you are", "Know your name", "Know your e-mail address"] {
        assert!(consent.has(words), "{words} in {consent:?}");
    }
    let code = browser.submit(&consent, &[("decision", "approve")]).await.code();
    let tokens = backend.bearer_request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    let id_token = claims(tokens.text("id_token"));
    assert_eq!((&id_token["given_name"], &id_token["email"]), (&json!("ada"), &Value::Null));
    assert_eq!(id_token["auth_time"], world.clock.now().seconds());
    let userinfo = |token: &str| {
        let request = backend.http.get(format!("{}/oauth/userinfo", world.issuer));
        request.header("authorization", format!("Bearer {token}"))
    };
    let told = answer(userinfo(tokens.text("access_token"))).await;
    assert_eq!((told.status, told.body), (200, json!({ "sub": "ada", "email": "ada@example.com" })));
    // It stays so when the grant is refreshed.
    let refresh = backend.bearer_request(world.clock.now(), &refresh_request(tokens.text("refresh_token")));
    let refreshed = refresh.send().await.expect_tokens();
    assert_eq!(claims(refreshed.text("id_token"))["given_name"], "ada");
    let told = answer(userinfo(refreshed.text("access_token"))).await;
    assert_eq!(told.body["email"], "ada@example.com");

    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(8_192));
    for wrong in [
        "x",
        "[]",
        r#"{"userinfo":[]}"#,
        r#"{"id_token":{"email":true}}"#,
        r#"{"id_token":{"acr":{"essential":1}}}"#,
        &long,
    ] {
        let page = browser.open(&request("backend", &[("scope", "openid"), ("claims", wrong)])).await;
        assert_answered(&page, "invalid_request", Refusal::ClaimsMalformed);
    }
}

#[tokio::test]
async fn a_request_may_say_who_it_must_be() {
    let world = world().await;
    let backend = world.client("backend");
    let (mut browser, tokens) = signed_in(&world, &backend, "ada", &[("scope", "openid")]).await;
    let hint = tokens.text("id_token").to_owned();
    world.clock.advance(Duration::from_mins(30)); // it has expired, which does not matter
    let wanted = [("scope", "openid"), ("id_token_hint", hint.as_str())];
    let silent = [wanted[0], wanted[1], ("prompt", "none")];
    assert!(!browser.open(&request("backend", &silent)).await.code().is_empty());

    // Somebody else is signed in, or signs in.
    let (mut other, _) = signed_in(&world, &backend, "bob", &[("scope", "openid")]).await;
    assert_answered(&other.open(&request("backend", &silent)).await, "login_required", Refusal::LoginRequired);
    let page = other.open(&request("backend", &wanted)).await;
    assert!(page.has("name=\"password\""), "{page:?}");
    let back = other.submit(&page, &[("username", "guest"), ("password", "tseug")]).await;
    assert_answered(&back, "login_required", Refusal::SubjectMismatch);
    let page = other.open(&request("backend", &wanted)).await;
    let consent = other.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
    assert!(consent.has("value=\"approve\""), "{consent:?}");

    // The same by `claims`; both must agree.
    let by_claims = |name: &str| format!(r#"{{"id_token":{{"sub":{{"value":"{name}"}}}}}}"#);
    let bob = by_claims("bob");
    let page = browser.open(&request("backend", &[("scope", "openid"), ("claims", &bob), ("prompt", "none")])).await;
    assert_answered(&page, "login_required", Refusal::LoginRequired);
    let page = browser.open(&request("backend", &[wanted[0], wanted[1], ("claims", &bob)])).await;
    assert_answered(&page, "login_required", Refusal::SubjectMismatch);
    // A hint that is none of ours, not for this client, or very old says nothing.
    for (client, hint) in [("spa", hint.as_str()), ("backend", "x"), ("backend", tokens.text("access_token"))] {
        let page = browser.open(&request(client, &[("scope", "openid"), ("id_token_hint", hint)])).await;
        assert_answered(&page, "invalid_request", Refusal::IdTokenHintInvalid);
    }
}

#[tokio::test]
async fn an_essential_class_of_sign_in_is_met_or_an_error() {
    let world = world().await;
    let mut browser = Browser::new(&world.issuer);
    let essential = r#"{"id_token":{"acr":{"essential":true,"values":["urn:mfa"]}}}"#;
    let page = browser.open(&request("backend", &[("scope", "openid"), ("claims", essential)])).await;
    assert_answered(&page, "unmet_authentication_requirements", Refusal::AcrUnmet);
    // Without being essential it is a wish.
    let wish = r#"{"id_token":{"acr":{"values":["urn:mfa"]}}}"#;
    let page = browser.open(&request("backend", &[("scope", "openid"), ("claims", wish)])).await;
    assert!(page.has("name=\"password\""), "{page:?}");
}

#[tokio::test]
async fn a_client_may_be_registered_with_what_its_requests_leave_out() {
    let world = World::start_with(|settings| {
        for client in &mut settings.clients {
            client.scopes = "openid".parse().expect("a scope");
            client.openid = OpenIdRules { default_max_age: Some(Duration::from_mins(5)), ..OpenIdRules::default() };
        }
    })
    .await;
    let backend = world.client("backend");
    let (mut browser, _) = signed_in(&world, &backend, "ada", &[("scope", "openid")]).await;
    world.clock.advance(Duration::from_mins(6));
    assert!(browser.open(&request("backend", &[("scope", "openid")])).await.has("name=\"password\""));
    let page = browser.open(&request("backend", &[("scope", "openid"), ("max_age", "600")])).await;
    assert!(page.has("value=\"approve\""), "{page:?}");
}

#[tokio::test]
async fn a_client_that_authenticates_may_be_let_go_without_pkce() {
    let world = world().await;
    let backend = world.client("backend");
    let without = [("scope", "openid"), ("code_challenge", ""), ("code_challenge_method", "")];
    signed_in(&world, &backend, "ada", &without).await;
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&request("spa", &without)).await;
    assert_answered(&page, "invalid_request", Refusal::ChallengeMissing);
    // Whoever sends a challenge is held to it, and a verifier without one shows that it was taken out on the way.
    let page = browser.approve(&request("backend", &[("scope", "openid")]), "ada", "ada").await;
    let code = page.code();
    let call = backend.bearer_request(world.clock.now(), &code_request(&code)).without("code_verifier");
    call.send().await.expect(400, "invalid_grant");
    let page = browser.approve(&request("backend", &without), "ada", "ada").await;
    let code = page.code();
    let call = backend.bearer_request(world.clock.now(), &code_request(&code));
    call.send().await.expect(400, "invalid_grant");
}

#[tokio::test]
async fn a_bearer_token_may_stand_in_the_form_of_a_userinfo_request() {
    let world = world().await;
    let backend = world.client("backend");
    let (_, tokens) = signed_in(&world, &backend, "ada", &[("scope", "openid")]).await;
    let post = || backend.http.post(format!("{}/oauth/userinfo", world.issuer));
    let token = tokens.text("access_token");
    let told = answer(post().form(&[("access_token", token)])).await;
    assert_eq!((told.status, &told.body), (200, &json!({ "sub": "ada" })));
    let both = post().form(&[("access_token", token)]).header("authorization", format!("Bearer {token}"));
    answer(both).await.expect(400, "invalid_request");
    answer(post().form(&[("access_token", "x")])).await.expect(401, "invalid_token");
    answer(post().json(&json!({ "access_token": token }))).await.expect(400, "invalid_request");
    let in_query = backend.http.get(format!("{}/oauth/userinfo?access_token={token}", world.issuer));
    answer(in_query).await.expect(401, "invalid_token");
}

#[tokio::test]
async fn clients_of_different_sectors_know_a_person_by_different_names() {
    let world = World::start_with(|settings| {
        for client in &mut settings.clients {
            client.scopes = "openid orders:read".parse().expect("scopes");
            let sector = match client.id.as_str() {
                "backend" | "web" => "one.example",
                "spa" => "other.example",
                _ => continue,
            };
            client.openid.subject_type = SubjectType::Pairwise { sector: sector.to_owned() };
        }
    })
    .await;
    let openid = [("scope", "openid orders:read")];
    let (backend, web, spa, legacy) =
        (world.client("backend"), world.client("web"), world.client("spa"), world.client("legacy"));
    let (mut browser, tokens) = signed_in(&world, &backend, "ada", &openid).await;
    let of_web = approved(&world, &web, &mut browser, "ada", &openid).await;
    let of_spa = approved(&world, &spa, &mut browser, "ada", &openid).await;
    let of_legacy = approved(&world, &legacy, &mut browser, "ada", &openid).await;
    let sub = |answer: &Answer| claims(answer.text("id_token"))["sub"].as_str().expect("a subject").to_owned();
    assert_eq!(sub(&tokens), sub(&of_web), "one sector");
    assert_eq!(sub(&of_legacy), "ada", "public");
    assert_ne!(sub(&tokens), sub(&of_spa));
    assert!(![sub(&tokens), sub(&of_spa)].contains(&"ada".to_owned()));

    // In the access token, at UserInfo, at introspection and after a refresh it is the same name.
    let name = sub(&tokens);
    let token = tokens.text("access_token");
    assert_eq!(claims(token)["sub"], name);
    let userinfo = backend.http.get(format!("{}/oauth/userinfo", world.issuer));
    let told = answer(userinfo.header("authorization", format!("Bearer {token}"))).await;
    assert_eq!(told.body, json!({ "sub": name }));
    let now = world.clock.now();
    for token in [token, tokens.text("refresh_token")] {
        let about = backend.about(INTROSPECT, token, now).send().await.expect_tokens();
        assert_eq!((&about.body["active"], &about.body["sub"]), (&json!(true), &json!(name)), "{about:?}");
    }
    let refresh = refresh_request(tokens.text("refresh_token"));
    let refreshed = backend.bearer_request(now, &refresh).send().await.expect_tokens();
    assert_eq!((sub(&refreshed), claims(refreshed.text("access_token"))["sub"].as_str()), (name.clone(), Some(&*name)));
    // A client that speaks for itself has its own name.
    let own = backend.bearer_request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    assert_eq!(claims(own.text("access_token"))["sub"], "backend");

    // It comes back in a hint.
    let hint = [("scope", "openid orders:read"), ("id_token_hint", tokens.text("id_token")), ("prompt", "none")];
    assert!(!browser.open(&request("backend", &hint)).await.code().is_empty());
    let (mut bob, _) = signed_in(&world, &backend, "bob", &openid).await;
    assert_answered(&bob.open(&request("backend", &hint)).await, "login_required", Refusal::LoginRequired);
    // And who may no longer sign in is told of nowhere.
    world.disable("ada");
    let about = backend.about(INTROSPECT, token, now).send().await.expect_tokens();
    assert_eq!(about.body, json!({ "active": false }));
}

#[tokio::test]
async fn a_grant_may_be_for_several_resources_and_each_token_for_one() {
    let world = world().await;
    let backend = world.client("backend");
    let (api, files) = ("https://api.example.com", "https://files.example.com");
    let mut browser = Browser::new(&world.issuer);
    // A slash more is the same resource.
    let path = format!("{}&resource={files}/&resource={api}&resource={files}", request("backend", &[]));
    let page = browser.approve(&path, "ada", "ada").await;
    let now = world.clock.now();
    let code = page.code();
    let call = || backend.bearer_request(now, &code_request(&code));
    call().with("resource", "https://other.example").send().await.expect(400, "invalid_target");
    call().and("resource", api).and("resource", files).send().await.expect(400, "invalid_target");
    let tokens = call().with("resource", api).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["aud"], api);
    // A refresh picks another one; without a word it is the first that was asked for.
    let refresh = refresh_request(tokens.text("refresh_token"));
    for (named, aud) in [(Some(files), files), (Some(api), api), (None, files)] {
        let call = backend.bearer_request(now, &refresh);
        let call = if let Some(named) = named { call.with("resource", named) } else { call };
        assert_eq!(claims(call.send().await.expect_tokens().text("access_token"))["aud"], aud);
    }
    let outside = backend.bearer_request(now, &refresh).with("resource", "https://other.example");
    outside.send().await.expect(400, "invalid_target");
    // One that nobody knows spoils the request.
    let path = format!("{}&resource={files}&resource=https://evil.example", request("backend", &[]));
    assert_answered(&browser.open(&path).await, "invalid_target", Refusal::ResourceUnknown);
}

#[tokio::test]
async fn endpoints_for_certificates_may_have_another_address_and_proofs_may_name_either() {
    let world = World::start_with(|settings| {
        settings.mutual_tls = true;
        settings.mtls_origin = Some("https://mtls.example.com".parse().expect("an origin"));
    })
    .await;
    let document =
        answer(crate::client::http().get(format!("{}/.well-known/oauth-authorization-server", world.issuer)));
    let aliases = document.await.body["mtls_endpoint_aliases"].clone();
    assert_eq!(aliases["token_endpoint"], "https://mtls.example.com/oauth/token");
    assert_eq!(aliases["pushed_authorization_request_endpoint"], "https://mtls.example.com/oauth/par");
    assert_eq!(aliases["authorization_endpoint"], Value::Null);
    let (backend, now) = (world.client("backend"), world.clock.now());
    let proof = |htu: &str| {
        let mut claims = backend.proof_claims(now);
        claims["htu"] = htu.into();
        backend.sign_proof(&claims)
    };
    for htu in ["https://mtls.example.com/oauth/token", &backend.token_url()] {
        backend.request(now, &CLIENT_CREDENTIALS).proof(&proof(htu)).send().await.expect_tokens();
    }
    for htu in ["https://mtls.example.com/oauth/par", "https://other.example.com/oauth/token"] {
        let call = backend.request(now, &CLIENT_CREDENTIALS).proof(&proof(htu));
        call.send().await.expect(400, "invalid_dpop_proof");
    }
}
