//! OpenID Connect: ID tokens and UserInfo.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::jose::{Jws, PublicKey};
use tollgate::oauth::Refusal;
use tollgate::secret::{AuthorizationCode, base64url, sha256};
use tollgate::store::{CodeRecord, Recorded, TransactionId};
use tollgate::token::{AuthorizationDetails, RequestedClaims, TOKEN_LIMIT};

use crate::client::{
    Answer, CHALLENGE, CLIENT_CREDENTIALS, Client, answer, claims, code_request, poll_request, refresh_request,
};
use crate::token_endpoint::OF_USERINFO;
use crate::world::World;

/// A world in which every client may ask who somebody is.
async fn world() -> World {
    World::start_with(|settings| {
        for client in &mut settings.clients {
            client.scopes = "openid profile email orders:read orders:write".parse().expect("scopes");
        }
    })
    .await
}

/// A code with which ada has granted these scopes, for a request with this nonce.
async fn code(world: &World, client: &Client, scopes: &str, nonce: Option<&str>) -> String {
    let entropy: &dyn Entropy = &SystemEntropy;
    let code = AuthorizationCode::draw(entropy);
    let challenge = tollgate::secret::from_base64url(CHALLENGE).expect("base64url");
    let now = world.clock.now();
    let record = CodeRecord {
        digest: code.digest(),
        transaction: TransactionId(entropy.draw()),
        client_id: client.id.parse().expect("a name"),
        redirect_uri: "https://app.example/cb".to_owned(),
        challenge: Some(challenge.try_into().expect("32 bytes")),
        subject: "ada".parse().expect("a name"),
        auth_time: now,
        acr: None,
        scopes: scopes.parse().expect("scopes"),
        resource: "https://api.example.com".parse().expect("a resource"),
        details: AuthorizationDetails::default(),
        dpop_jkt: None,
        nonce: nonce.map(str::to_owned),
        claims: RequestedClaims::default(),
        session: None,
        expires_at: now + Duration::from_mins(1),
        spent_for: None,
    };
    assert_eq!(world.store.record_code(&record).await, Ok(Recorded::First));
    code.reveal()
}

/// Tokens of ada for these scopes.
async fn tokens(world: &World, client: &Client, scopes: &str) -> Answer {
    let code = code(world, client, scopes, None).await;
    client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens()
}

/// A UserInfo request in the making.
fn userinfo(client: &Client, method: &Method, scheme: &str, token: &str) -> reqwest::RequestBuilder {
    let url = format!("{}/oauth/userinfo", client.issuer);
    client.http.request(method.clone(), url).header("authorization", format!("{scheme} {token}"))
}

/// The same with a good proof.
fn proven(world: &World, client: &Client, method: &Method, token: &str) -> reqwest::RequestBuilder {
    let url = format!("{}/oauth/userinfo", client.issuer);
    let proof = client.resource_proof(method.as_str(), &url, token, world.clock.now());
    userinfo(client, method, "DPoP", token).header("dpop", proof)
}

#[tokio::test]
async fn an_id_token_tells_the_client_who_signed_in_and_for_which_request() {
    let world = world().await;
    let client = world.client("spa");
    let code = code(&world, &client, "openid orders:read", Some("n-0S6_WzA2Mj é")).await;
    let signed_in = world.clock.now().seconds();
    world.clock.advance(Duration::from_secs(30));
    let now = world.clock.now();
    let answer = client.request(now, &code_request(&code)).send().await.expect_tokens();

    let id_token = answer.text("id_token");
    let jws = Jws::parse(id_token, TOKEN_LIMIT).expect("a JWT");
    let jwks = reqwest::get(format!("{}/oauth/jwks", world.issuer)).await.expect("an answer");
    let jwks: Value = jwks.json().await.expect("JSON");
    let key = PublicKey::from_jwk(jwks["keys"][0].as_object().expect("a key")).expect("a key");
    assert_eq!(jws.header_text("kid"), Ok(key.kid()));
    jws.verify(tollgate::jose::Algorithm::Es256, &key).expect("signed by the published key");

    let at_hash = base64url(&sha256(answer.text("access_token").as_bytes())[..16]);
    assert_eq!(
        claims(id_token),
        json!({
            "iss": world.issuer, "sub": "ada", "aud": "spa", "nonce": "n-0S6_WzA2Mj é", "at_hash": at_hash,
            "auth_time": signed_in, "iat": now.seconds(), "exp": now.seconds() + 300,
        })
    );

    // OpenID Connect Core §12.2: a refresh tells of the same sign-in, for no request.
    world.clock.advance(Duration::from_mins(4));
    let refresh = refresh_request(answer.text("refresh_token"));
    let refreshed = client.request(world.clock.now(), &refresh).send().await.expect_tokens();
    let again = claims(refreshed.text("id_token"));
    assert_eq!((again["sub"].as_str(), again["auth_time"].as_i64()), (Some("ada"), Some(signed_in)));
    assert_eq!(again["nonce"], Value::Null);
}

#[tokio::test]
async fn who_does_not_ask_gets_no_id_token_and_neither_does_a_client_for_itself() {
    let world = world().await;
    let client = world.client("spa");
    let answer = tokens(&world, &client, "orders:read profile").await;
    assert_eq!(answer.body["id_token"], Value::Null);
    let backend = world.client("backend");
    let own = backend.request(world.clock.now(), &CLIENT_CREDENTIALS).with("scope", "openid");
    assert_eq!(own.send().await.expect_tokens().body["id_token"], Value::Null);
    // A refresh that is narrowed to less says nothing about the person either.
    let answer = tokens(&world, &client, "openid orders:read").await;
    let refresh = client.request(world.clock.now(), &refresh_request(answer.text("refresh_token")));
    assert_eq!(refresh.with("scope", "orders:read").send().await.expect_tokens().body["id_token"], Value::Null);
}

#[tokio::test]
async fn a_device_learns_who_let_it_in() {
    let world = world().await;
    let tv = world.client("tv");
    let begun = tv.device_request(world.clock.now(), &[("scope", "openid")]).send().await.expect_tokens();
    world.let_in(begun.text("device_code"), "bob").await;
    let answer = tv.request(world.clock.now(), &poll_request(begun.text("device_code"))).send().await.expect_tokens();
    assert_eq!(claims(answer.text("id_token"))["sub"], "bob");
}

#[tokio::test]
async fn userinfo_tells_what_the_scopes_allow() {
    let world = world().await;
    let client = world.client("spa");
    for (scopes, expected) in [
        ("openid", json!({ "sub": "ada" })),
        ("openid email", json!({ "sub": "ada", "email": "ada@example.com" })),
        // What OpenID Connect does not list, such as a shoe size, is not told.
        ("openid profile orders:read", json!({ "sub": "ada", "name": "ada", "given_name": "ada" })),
    ] {
        let token = tokens(&world, &client, scopes).await.text("access_token").to_owned();
        for method in [Method::GET, Method::POST] {
            let answer = answer(proven(&world, &client, &method, &token)).await;
            assert_eq!((answer.status, &answer.body), (200, &expected), "{method} {scopes}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        }
    }
    // A bearer token does for clients that are allowed bearer tokens.
    let legacy = world.client("legacy");
    let code = code(&world, &legacy, "openid", None).await;
    let answer_ = legacy.bearer_request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    let told = answer(userinfo(&legacy, &Method::GET, "bearer", answer_.text("access_token"))).await;
    assert_eq!((told.status, told.body), (200, json!({ "sub": "ada" })));
}

#[tokio::test]
async fn userinfo_refuses_what_any_resource_server_refuses() {
    let world = world().await;
    let (client, thief) = (world.client("spa"), world.client("spa"));
    let token = tokens(&world, &client, "openid").await.text("access_token").to_owned();
    let url = format!("{}/oauth/userinfo", world.issuer);
    let now = world.clock.now();
    let get = Method::GET;
    let (legacy, backend) = (world.client("legacy"), world.client("backend"));
    let unbound = code(&world, &legacy, "openid", None).await;
    let unbound = legacy.bearer_request(now, &code_request(&unbound)).send().await.expect_tokens();
    let unbound = unbound.text("access_token").to_owned();
    let own = backend.bearer_request(now, &CLIENT_CREDENTIALS).with("scope", "openid");
    let own = own.send().await.expect_tokens();
    let narrow = tokens(&world, &client, "orders:read").await.text("access_token").to_owned();
    let spent = client.resource_proof("GET", &url, &token, now);
    assert_eq!(answer(userinfo(&client, &get, "DPoP", &token).header("dpop", &spent)).await.status, 200);

    let missing = client.http.get(&url);
    let other_scheme = userinfo(&client, &get, "Basic", "abc");
    let twice = proven(&world, &client, &get, &token).header("authorization", format!("DPoP {token}"));
    let mut met = BTreeSet::new();
    for (request, status, error, refusal) in [
        (missing, 401, "invalid_token", Refusal::AccessTokenMissing),
        (other_scheme, 401, "invalid_token", Refusal::AccessTokenMissing),
        (twice, 400, "invalid_request", Refusal::AccessTokenMalformed),
        (client.http.get(&url).header("authorization", "DPoP"), 400, "invalid_request", Refusal::AccessTokenMalformed),
        (proven(&world, &client, &get, &format!("{token}x")), 401, "invalid_token", Refusal::AccessTokenInvalid),
        (
            userinfo(&client, &get, "Bearer", own.text("access_token")),
            401,
            "invalid_token",
            Refusal::AccessTokenInvalid,
        ),
        (userinfo(&client, &get, "Bearer", &token), 401, "invalid_token", Refusal::AccessTokenBindingWrong),
        (proven(&world, &client, &get, &unbound), 401, "invalid_token", Refusal::AccessTokenBindingWrong),
        (proven(&world, &thief, &get, &token), 401, "invalid_token", Refusal::AccessTokenBindingWrong),
        (proven(&world, &client, &get, &narrow), 403, "insufficient_scope", Refusal::AccessTokenScopeMissing),
        (
            userinfo(&client, &get, "DPoP", &token),
            401,
            "invalid_dpop_proof",
            Refusal::Proof(tollgate::dpop::ProofFault::Missing),
        ),
        (
            userinfo(&client, &get, "DPoP", &token).header("dpop", &spent),
            401,
            "invalid_dpop_proof",
            Refusal::Proof(tollgate::dpop::ProofFault::Replayed),
        ),
        (
            userinfo(&client, &Method::POST, "DPoP", &token)
                .header("dpop", client.resource_proof("GET", &url, &token, now)),
            401,
            "invalid_dpop_proof",
            Refusal::Proof(tollgate::dpop::ProofFault::MethodMismatch),
        ),
    ] {
        let answer = answer(request).await.expect(status, error);
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
        let challenges: Vec<_> =
            answer.headers.get_all("www-authenticate").iter().map(|one| one.to_str().expect("text")).collect();
        assert!(challenges.len() == 2 && challenges[0].starts_with("DPoP algs=\""), "{challenges:?}");
        let named = refusal != Refusal::AccessTokenMissing;
        assert!(challenges.iter().all(|one| one.contains(&format!("error=\"{error}\"")) == named), "{challenges:?}");
        met.insert(refusal.name());
    }
    let missed: Vec<_> = OF_USERINFO.iter().map(|refusal| refusal.name()).filter(|name| !met.contains(name)).collect();
    assert!(missed.is_empty(), "no request reaches {missed:?}");

    // Nobody is told about somebody who may no longer sign in, and nothing outlives its token.
    world.disable("ada");
    answer(proven(&world, &client, &get, &token)).await.expect(401, "invalid_token");
    world.enable("ada");
    assert_eq!(answer(proven(&world, &client, &get, &token)).await.status, 200);
    world.clock.advance(Duration::from_secs(311));
    answer(proven(&world, &client, &get, &token)).await.expect(401, "invalid_token");
}

#[tokio::test]
async fn discovery_offers_openid_where_a_client_may_ask_for_it() {
    let metadata = async |world: &World| -> Value {
        let url = format!("{}/.well-known/openid-configuration", world.issuer);
        reqwest::get(url).await.expect("an answer").json().await.expect("JSON")
    };
    let openid = world().await;
    let document = metadata(&openid).await;
    assert_eq!(document["userinfo_endpoint"], format!("{}/oauth/userinfo", openid.issuer));
    assert_eq!(document["subject_types_supported"], json!(["public", "pairwise"]));
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let scopes = document["scopes_supported"].as_array().expect("scopes");
    assert!(scopes.contains(&"openid".into()) && scopes.contains(&"orders:read".into()));
    drop(openid);
    let plain = World::start().await;
    let document = metadata(&plain).await;
    assert_eq!(document["userinfo_endpoint"], Value::Null);
    assert!(!document["scopes_supported"].as_array().expect("scopes").contains(&"openid".into()));
}
