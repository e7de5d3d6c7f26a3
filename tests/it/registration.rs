//! Dynamic registration (RFC 7591) and its management (RFC 7592), through the door.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::fetch::Reach;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::client::GrantType;
use tollgate::oauth::{ClientPolicy, Profile, Refusal, Registration, RegistrationAccess, Settings};
use tollgate::secret::ClientSecretHash;
use tollgate::store::{Limits, MemoryStore};

use crate::browser::{Browser, Page};
use crate::client::{
    Answer, CHALLENGE, CLIENT_CREDENTIALS, Client, Credential, answer, code_request, http, refresh_request,
};
use crate::documents::{Documents, Reply};
use crate::ended;
use crate::world::{End, World};

/// The initial access token.
const TOKEN: &str = "an-initial-access-token-of-forty-characters";

const CALLBACK: &str = "https://app.example/cb";

/// What registered clients may have.
pub fn policy(reach: Reach) -> ClientPolicy {
    ClientPolicy {
        grant_types: vec![
            GrantType::AuthorizationCode,
            GrantType::RefreshToken,
            GrantType::ClientCredentials,
            GrantType::DeviceCode,
        ],
        scopes: "orders:read orders:write openid".parse().expect("scopes"),
        profile: Profile::Default,
        reach,
    }
}

/// Lets whoever has the token register clients.
pub fn with_token(settings: &mut Settings) {
    let access = RegistrationAccess::Token(ClientSecretHash::of(TOKEN));
    let unused = Duration::from_hours(24);
    settings.registration = Some(Registration { access, policy: policy(Reach::Public), unused });
}

/// Lets everybody register clients.
pub fn open(settings: &mut Settings) {
    let policy = ClientPolicy {
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        ..policy(Reach::Public)
    };
    let unused = Duration::from_hours(24);
    settings.registration = Some(Registration { access: RegistrationAccess::Open, policy, unused });
}

/// What a stock client of an agent registers.
pub fn public() -> Value {
    json!({
        "client_name": "Inspector",
        "redirect_uris": [CALLBACK, "http://127.0.0.1:6274/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "client_uri": "https://inspector.example",
    })
}

/// The same with other members; `null` takes one out.
fn with(mut metadata: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        metadata[name] = value.clone();
    }
    metadata
}

fn url(world: &World) -> String {
    format!("{}/oauth/register", world.issuer)
}

pub async fn register(world: &World, metadata: &Value) -> Answer {
    answer(http().post(url(world)).bearer_auth(TOKEN).json(metadata)).await
}

pub async fn manage(method: reqwest::Method, registered: &Value, body: Option<&Value>) -> Answer {
    let uri = registered["registration_client_uri"].as_str().expect("a URL");
    let token = registered["registration_access_token"].as_str().expect("a token");
    let request = http().request(method, uri).bearer_auth(token);
    answer(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

async fn read(registered: &Value) -> Answer {
    manage(reqwest::Method::GET, registered, None).await
}

pub async fn delete(registered: &Value) -> Answer {
    manage(reqwest::Method::DELETE, registered, None).await
}

fn client(world: &World, registered: &Value, credential: Credential) -> Client {
    Client::new(&world.issuer, registered["client_id"].as_str().expect("a name"), credential)
}

/// An authorization request of a client.
pub fn request(client_id: &str, changes: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", CALLBACK),
        ("state", "s"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    parameters.extend(changes);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("/oauth/authorize?{query}")
}

/// Signs ada in, up to the consent page.
pub async fn consent(browser: &mut Browser, path: &str) -> Page {
    let page = browser.open(path).await;
    assert!(page.has("name=\"password\""), "{page:?}");
    browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await
}

#[tokio::test]
async fn an_agent_registers_itself_signs_a_person_in_and_refreshes() {
    let world = World::start_with(open).await;
    let metadata = answer(http().get(format!("{}/.well-known/oauth-authorization-server", world.issuer))).await;
    assert_eq!(metadata.text("registration_endpoint"), url(&world));
    let registered = answer(http().post(url(&world)).json(&public())).await.expect(201, "");
    for (header, value) in [("cache-control", "no-store"), ("pragma", "no-cache"), ("content-type", "application/json")]
    {
        assert_eq!(registered.header(header), Some(value));
    }
    let body = &registered.body;
    assert_eq!(body["client_name"], "Inspector");
    assert_eq!(body["redirect_uris"], json!([CALLBACK, "http://127.0.0.1:6274/cb"]));
    assert_eq!(body["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(body["response_types"], json!(["code"]));
    assert_eq!(body["token_endpoint_auth_method"], "none");
    assert_eq!(body["scope"], "openid orders:read orders:write");
    assert_eq!(body["client_id_issued_at"], world.clock.now().seconds());
    assert_eq!(body["registration_client_uri"], format!("{}/{}", url(&world), registered.text("client_id")));
    assert!(body.get("client_secret").is_none() && body.get("client_uri").is_none(), "{body}");

    let agent = client(&world, body, Credential::None);
    let mut browser = Browser::new(&world.issuer);
    let page = consent(&mut browser, &request(&agent.id, &[("scope", "orders:read")])).await;
    assert!(page.has("Inspector") && page.has("Nobody has checked"), "people are told what it is: {page:?}");
    let code = browser.submit(&page, &[("decision", "approve")]).await.code();
    let now = world.clock.now();
    let tokens = agent.request(now, &code_request(&code)).send().await.expect_tokens();
    let next = agent.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();
    assert_ne!(next.text("refresh_token"), tokens.text("refresh_token"), "those of public clients rotate");
}

#[tokio::test]
async fn each_method_authenticates_as_it_was_registered() {
    let world = World::start_with(with_token).await;
    let now = world.clock.now();
    let base =
        json!({ "grant_types": ["client_credentials"], "response_types": [], "scope": "orders:read unheard-of" });
    // RFC 7591 §2: nothing said is `client_secret_basic`.
    let registered = register(&world, &base).await.expect(201, "");
    assert_eq!(registered.text("token_endpoint_auth_method"), "client_secret_basic");
    assert_eq!(registered.body["client_secret_expires_at"], 0);
    assert_eq!(registered.text("scope"), "orders:read", "what it may not have is left out");
    let secret = registered.text("client_secret").to_owned();
    let basic = client(&world, &registered.body, Credential::Basic(secret.clone()));
    basic.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let wrong = client(&world, &registered.body, Credential::Basic(format!("{secret}x")));
    wrong.request(now, &CLIENT_CREDENTIALS).send().await.expect(401, "invalid_client");
    let post = client(&world, &registered.body, Credential::Post(secret));
    post.request(now, &CLIENT_CREDENTIALS).send().await.expect(401, "invalid_client");

    let registered =
        register(&world, &with(base.clone(), &json!({ "token_endpoint_auth_method": "client_secret_post" })))
            .await
            .expect(201, "");
    let post = client(&world, &registered.body, Credential::Post(registered.text("client_secret").to_owned()));
    post.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();

    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    let jwks = json!({ "keys": [key.published_jwk()] });
    let by_key = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks });
    let registered = register(&world, &with(base, &by_key)).await.expect(201, "");
    assert_eq!(registered.body["jwks"], jwks);
    let keyed = client(&world, &registered.body, Credential::Key(Box::new(key)));
    keyed.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
}

#[tokio::test]
async fn a_registered_client_may_publish_its_keys() {
    let documents = Documents::start().await;
    let world = World::start_with(|settings| {
        with_token(settings);
        settings.registration.as_mut().expect("registration").policy.reach = Reach::Anywhere;
    })
    .await;
    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    documents.put("/keys", Reply::json(&json!({ "keys": [key.published_jwk()] })));
    let metadata = json!({
        "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": documents.url("/keys"),
    });
    let registered = register(&world, &metadata).await.expect(201, "");
    assert_eq!(registered.text("jwks_uri"), documents.url("/keys"));
    assert_eq!(documents.shelf().connections, 0, "nothing is fetched before it is needed");
    let keyed = client(&world, &registered.body, Credential::Key(Box::new(key)));
    keyed.request(world.clock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
}

#[tokio::test]
async fn a_client_manages_its_registration() {
    let world = World::start_with(with_token).await;
    let metadata = with(public(), &json!({ "token_endpoint_auth_method": "client_secret_basic" }));
    let registered = register(&world, &metadata).await.expect(201, "").body;
    let told = read(&registered).await.expect(200, "").body;
    let mut expected = registered.clone();
    expected.as_object_mut().expect("an object").retain(|name, _| !name.starts_with("client_secret"));
    assert_eq!(told, expected, "of the secret there is only a hash");

    // An update replaces everything: what is left out is gone, and the secret stays.
    let update = json!({
        "client_id": registered["client_id"], "client_secret": registered["client_secret"],
        "client_name": "Renamed", "redirect_uris": [CALLBACK], "scope": "orders:read",
        "dpop_bound_access_tokens": true, "token_endpoint_auth_method": "client_secret_basic",
    });
    let updated = manage(reqwest::Method::PUT, &registered, Some(&update)).await.expect(200, "").body;
    assert_eq!(updated["client_name"], "Renamed");
    assert_eq!(updated["grant_types"], json!(["authorization_code"]));
    assert_eq!(updated["redirect_uris"], json!([CALLBACK]));
    assert_eq!(updated["client_secret"], registered["client_secret"]);
    assert_eq!(updated["client_id_issued_at"], registered["client_id_issued_at"]);
    let secret = registered["client_secret"].as_str().expect("a secret").to_owned();
    let basic = client(&world, &updated, Credential::Basic(secret));
    let code = world.code(&basic).await;
    let now = world.clock.now();
    basic.bearer_request(now, &code_request(&code)).send().await.expect(400, "invalid_dpop_proof");
    basic.request(now, &code_request(&code)).send().await.expect_tokens();

    // To another method, and back: then it gets another secret.
    let none = with(update.clone(), &json!({ "client_secret": null, "token_endpoint_auth_method": "none" }));
    let updated = manage(reqwest::Method::PUT, &registered, Some(&none)).await.expect(200, "").body;
    assert!(updated.get("client_secret").is_none(), "{updated}");
    let again = with(none, &json!({ "token_endpoint_auth_method": "client_secret_post" }));
    let updated = manage(reqwest::Method::PUT, &registered, Some(&again)).await.expect(200, "").body;
    assert!(
        updated["client_secret"].is_string() && updated["client_secret"] != registered["client_secret"],
        "{updated}"
    );
}

#[tokio::test]
async fn a_deleted_client_is_gone_at_once_with_all_that_it_was_granted() {
    let world = World::start_with(with_token).await;
    let registered = register(&world, &public()).await.expect(201, "").body;
    let agent = client(&world, &registered, Credential::None);
    let now = world.clock.now();
    let tokens = agent.request(now, &code_request(&world.code(&agent).await)).send().await.expect_tokens();
    assert_eq!(ended::call(&world, &agent, &tokens).await, 200);
    let code = world.code(&agent).await;
    let deleted = delete(&registered).await;
    assert_eq!((deleted.status, &deleted.body), (204, &Value::Null));
    assert_eq!(world.events.last("grants").as_deref(), Some("1"));

    agent.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect(401, "invalid_client");
    agent.request(now, &code_request(&code)).send().await.expect(401, "invalid_client");
    let backend = world.client("backend");
    let about = backend.about(crate::client::INTROSPECT, tokens.text("access_token"), now).send().await;
    assert_eq!(about.body["active"], false, "{about:?}");
    assert_eq!(ended::call(&world, &agent, &tokens).await, 401);
    let page = Browser::new(&world.issuer).open(&request(&agent.id, &[])).await;
    assert!(page.has(Refusal::AuthorizeClientUnknown.name()), "{page:?}");
    // RFC 7592 §2: 401 for a client that is no more.
    for gone in [read(&registered).await, delete(&registered).await] {
        gone.expect(401, "invalid_token");
    }
}

#[tokio::test]
async fn registrations_outlive_a_restart_and_end_with_the_setting() {
    let world = World::start_with(with_token).await;
    let registered = register(&world, &public()).await.expect(201, "").body;
    let world = world.restart_with(End::Stopped, with_token).await;
    read(&registered).await.expect(200, "");
    let path = request(registered["client_id"].as_str().expect("a name"), &[]);
    assert!(Browser::new(&world.issuer).open(&path).await.has("name=\"password\""));

    // What the operator lets such clients have is asked each time.
    let world = world
        .restart_with(End::Stopped, |settings| {
            with_token(settings);
            let policy = &mut settings.registration.as_mut().expect("registration").policy;
            policy.scopes = "orders:read".parse().expect("scopes");
        })
        .await;
    let page = Browser::new(&world.issuer).open(&format!("{path}&scope=orders%3Awrite")).await;
    assert!(page.has(Refusal::ScopeNotAllowed.name()), "{page:?}");
    let world = world
        .restart_with(End::Stopped, |settings| {
            with_token(settings);
            settings.registration.as_mut().expect("registration").policy.profile = Profile::Fapi2;
        })
        .await;
    assert!(Browser::new(&world.issuer).open(&path).await.has(Refusal::AuthorizeClientUnknown.name()));
    let world = world.restart(End::Stopped).await;
    assert!(Browser::new(&world.issuer).open(&path).await.has(Refusal::AuthorizeClientUnknown.name()));
    assert_eq!(register(&world, &public()).await.status, 404, "it is off unless the operator says so");
    assert_eq!(read(&registered).await.status, 404);
}

#[tokio::test]
async fn every_rule_of_registrations_has_a_request_that_breaks_it() {
    let world = World::start_with(with_token).await;
    let mut reached = BTreeSet::new();
    let mut refused = |answer: Answer, status: u16, error: &str, refusal: Refusal| {
        let named = world.events.last("refusal");
        assert_eq!(named.as_deref(), Some(refusal.name()), "{answer:?}");
        let answer = answer.expect(status, error);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        reached.insert(refusal.name());
    };
    let metadata = |changes: Value| with(public(), &changes);
    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    let keys = json!({ "keys": [key.published_jwk()] });
    let mut private = key.published_jwk();
    private["d"] = "AAAA".into();
    let long = "x".repeat(201);
    let wrong_metadata = "invalid_client_metadata";
    for (changes, error, refusal) in [
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri", Refusal::MetadataRedirectUriWrong),
        (json!({ "redirect_uris": null }), "invalid_redirect_uri", Refusal::MetadataRedirectUriWrong),
        (json!({ "redirect_uris": CALLBACK }), "invalid_redirect_uri", Refusal::MetadataRedirectUriWrong),
        (
            json!({ "redirect_uris": ["http://app.example/cb"] }),
            "invalid_redirect_uri",
            Refusal::MetadataRedirectUriWrong,
        ),
        (
            json!({ "redirect_uris": ["https://app.example/cb#x"] }),
            "invalid_redirect_uri",
            Refusal::MetadataRedirectUriWrong,
        ),
        (
            json!({ "redirect_uris": ["javascript:alert(1)"] }),
            "invalid_redirect_uri",
            Refusal::MetadataRedirectUriWrong,
        ),
        (json!({ "redirect_uris": ["data:text/html,x"] }), "invalid_redirect_uri", Refusal::MetadataRedirectUriWrong),
        (json!({ "redirect_uris": vec![CALLBACK; 21] }), "invalid_redirect_uri", Refusal::MetadataRedirectUriWrong),
        (json!({ "post_logout_redirect_uris": ["x"] }), "invalid_redirect_uri", Refusal::MetadataRedirectUriWrong),
        (json!({ "token_endpoint_auth_method": "client_secret_jwt" }), wrong_metadata, Refusal::MetadataMethodWrong),
        (json!({ "token_endpoint_auth_method": "tls_client_auth" }), wrong_metadata, Refusal::MetadataMethodWrong),
        (json!({ "token_endpoint_auth_method": 1 }), wrong_metadata, Refusal::MetadataMalformed),
        (json!({ "client_name": long }), wrong_metadata, Refusal::MetadataMalformed),
        (json!({ "client_name": "two\nlines" }), wrong_metadata, Refusal::MetadataMalformed),
        (json!({ "client_name": "" }), wrong_metadata, Refusal::MetadataMalformed),
        (json!({ "grant_types": "authorization_code" }), wrong_metadata, Refusal::MetadataMalformed),
        (json!({ "dpop_bound_access_tokens": "true" }), wrong_metadata, Refusal::MetadataMalformed),
        (
            json!({ "grant_types": ["implicit"], "response_types": ["token"] }),
            wrong_metadata,
            Refusal::MetadataGrantsWrong,
        ),
        (json!({ "grant_types": [] }), wrong_metadata, Refusal::MetadataGrantsWrong),
        (
            json!({ "grant_types": ["refresh_token"], "response_types": [] }),
            wrong_metadata,
            Refusal::MetadataGrantsWrong,
        ),
        (json!({ "response_types": [] }), wrong_metadata, Refusal::MetadataGrantsWrong),
        (json!({ "response_types": ["token"] }), wrong_metadata, Refusal::MetadataGrantsWrong),
        (
            json!({ "grant_types": ["client_credentials"], "response_types": [] }),
            wrong_metadata,
            Refusal::MetadataGrantsWrong,
        ),
        (json!({ "scope": "admin" }), wrong_metadata, Refusal::MetadataScopeWrong),
        (json!({ "scope": "a\"b" }), wrong_metadata, Refusal::MetadataScopeWrong),
        (json!({ "jwks": keys, "jwks_uri": "https://keys.example/" }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "jwks": { "keys": [private] } }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "jwks": { "keys": [] } }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "jwks": [] }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "token_endpoint_auth_method": "private_key_jwt" }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "require_signed_request_object": true }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "jwks": keys, "request_object_signing_alg": "PS256" }), wrong_metadata, Refusal::MetadataKeysWrong),
        (
            json!({ "jwks": keys, "token_endpoint_auth_signing_alg": "HS256" }),
            wrong_metadata,
            Refusal::MetadataKeysWrong,
        ),
        (json!({ "jwks_uri": "http://keys.example/" }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "jwks_uri": "https://10.0.0.1/" }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "jwks_uri": "http://127.0.0.1/" }), wrong_metadata, Refusal::MetadataKeysWrong),
        (json!({ "jwks_uri": 7 }), wrong_metadata, Refusal::MetadataKeysWrong),
        (
            json!({ "software_statement": "e30.e30.x" }),
            "unapproved_software_statement",
            Refusal::SoftwareStatementUnapproved,
        ),
    ] {
        refused(register(&world, &metadata(changes)).await, 400, error, refusal);
    }
    let post = || http().post(url(&world)).bearer_auth(TOKEN);
    let text = public().to_string();
    let typed = |kind: &'static str, body: String| post().header("content-type", kind).body(body);
    for call in [
        post().body(text.clone()),
        typed("application/x-www-form-urlencoded", text.clone()),
        typed("application/json", "[]".to_owned()),
        typed("application/json", "{".to_owned()),
        typed("application/json", r#"{"scope":"a","scope":"b"}"#.to_owned()),
        typed("application/json", format!("{text}{}", " ".repeat(16 * 1024))),
    ] {
        refused(answer(call).await, 400, wrong_metadata, Refusal::RegistrationMalformed);
    }
    answer(typed("application/json; charset=utf-8", text.clone())).await.expect(201, "");

    // The tokens: the initial one here, and that of this very client there.
    let (first, second) = (register(&world, &public()).await.body, register(&world, &public()).await.body);
    let bare = answer(http().post(url(&world)).json(&public())).await;
    assert_eq!(bare.header("www-authenticate"), Some("Bearer realm=\"registration\""));
    refused(bare, 401, "invalid_token", Refusal::RegistrationTokenMissing);
    let crossed = json!({
        "registration_client_uri": first["registration_client_uri"],
        "registration_access_token": second["registration_access_token"],
    });
    let unheard = json!({
        "registration_client_uri": format!("{}/reg-unheard-of", url(&world)),
        "registration_access_token": first["registration_access_token"],
    });
    let initial = json!({
        "registration_client_uri": first["registration_client_uri"], "registration_access_token": TOKEN,
    });
    for registered in [&crossed, &unheard, &initial] {
        for method in [reqwest::Method::GET, reqwest::Method::PUT, reqwest::Method::DELETE] {
            let answer = manage(method, registered, Some(&public())).await;
            let challenge = answer.header("www-authenticate").expect("a challenge");
            assert!(challenge.starts_with("Bearer realm=\"registration\", error=\"invalid_token\""), "{challenge}");
            refused(answer, 401, "invalid_token", Refusal::RegistrationTokenInvalid);
        }
    }
    for wrong in ["Bearer x", "Basic x", "Bearer", "DPoP x"] {
        let call = http().post(url(&world)).header("authorization", wrong).json(&public());
        refused(answer(call).await, 401, "invalid_token", Refusal::RegistrationTokenInvalid);
    }
    read(&first).await.expect(200, "");
    read(&second).await.expect(200, "");

    for changes in [
        json!({ "client_id": null }),
        json!({ "client_id": second["client_id"] }),
        json!({ "client_secret": "of-my-own-choice" }),
        json!({ "registration_access_token": first["registration_access_token"] }),
        json!({ "client_id_issued_at": 1 }),
    ] {
        let update = with(metadata(json!({ "client_id": first["client_id"] })), &changes);
        let answer = manage(reqwest::Method::PUT, &first, Some(&update)).await;
        refused(answer, 400, wrong_metadata, Refusal::RegistrationUpdateWrong);
    }
    let update = metadata(json!({ "client_id": first["client_id"], "redirect_uris": ["x"] }));
    let answer = manage(reqwest::Method::PUT, &first, Some(&update)).await;
    refused(answer, 400, "invalid_redirect_uri", Refusal::MetadataRedirectUriWrong);
    assert_eq!(read(&first).await.body["redirect_uris"], public()["redirect_uris"], "nothing was changed");

    let all: BTreeSet<_> = Refusal::OF_REGISTRATIONS.iter().map(|refusal| refusal.name()).collect();
    assert_eq!(reached, all);
}

#[tokio::test]
async fn under_fapi_registered_clients_keep_its_rules_too() {
    let world = World::start_with(|settings| {
        with_token(settings);
        settings.registration.as_mut().expect("registration").policy.profile = Profile::Fapi2;
    })
    .await;
    for method in ["none", "client_secret_basic", "client_secret_post"] {
        let metadata = with(public(), &json!({ "token_endpoint_auth_method": method }));
        register(&world, &metadata).await.expect(400, "invalid_client_metadata");
    }
    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    let metadata = with(
        public(),
        &json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key.published_jwk()] } }),
    );
    let rs256 = with(metadata.clone(), &json!({ "token_endpoint_auth_signing_alg": "RS256" }));
    register(&world, &rs256).await.expect(400, "invalid_client_metadata");
    let registered = register(&world, &metadata).await.expect(201, "");
    assert_eq!(registered.body["dpop_bound_access_tokens"], true);
    let page = Browser::new(&world.issuer).open(&request(registered.text("client_id"), &[])).await;
    assert!(page.has(Refusal::PushedRequestRequired.name()), "{page:?}");
}

#[tokio::test]
async fn a_client_that_has_registered_itself_redirects_nobody_by_a_link() {
    let world = World::start_with(open).await;
    let registered = register(&world, &public()).await.expect(201, "");
    let id = registered.text("client_id");
    for (changes, refusal) in [
        ([("scope", "admin")], Refusal::ScopeNotAllowed),
        ([("response_type", "token")], Refusal::ResponseTypeUnsupported),
        ([("prompt", "none")], Refusal::LoginRequired),
    ] {
        let page = Browser::new(&world.issuer).open(&request(id, &changes)).await;
        assert_eq!(page.status, 400, "RFC 9700 §4.11.2: {page:?}");
        assert!(page.has(refusal.name()), "{page:?}");
    }
    // What a person has decided is told.
    let mut browser = Browser::new(&world.issuer);
    let page = consent(&mut browser, &request(id, &[])).await;
    let back = browser.submit(&page, &[("decision", "deny")]).await;
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn an_open_registration_is_bounded() {
    let store = std::sync::Arc::new(MemoryStore::new(Limits { clients: 22, ..Limits::default() }));
    let world = World::start_on(store, open).await;
    for _ in 0..20 {
        register(&world, &public()).await.expect(201, "");
    }
    let throttled = register(&world, &public()).await.expect(429, "slow_down");
    assert!(throttled.header("retry-after").is_some());
    for _ in 0..2 {
        world.clock.advance(Duration::from_mins(1));
        register(&world, &public()).await.expect(201, "");
    }
    world.clock.advance(Duration::from_mins(1));
    register(&world, &public()).await.expect(503, "temporarily_unavailable");

    // Whom nobody has let in is forgotten, and makes room.
    world.clock.advance(Duration::from_hours(25));
    while world.store.sweep(world.clock.now(), 500).await.expect("an answer") > 0 {}
    register(&world, &public()).await.expect(201, "");
}

#[tokio::test]
async fn scripts_of_other_origins_may_register() {
    let world = World::start_with(open).await;
    let registered = register(&world, &public()).await.expect(201, "").body;
    assert_eq!(read(&registered).await.header("access-control-allow-origin"), Some("*"));
    let uri = registered["registration_client_uri"].as_str().expect("a URL").to_owned();
    for (url, methods) in [(url(&world), "POST"), (uri, "GET, PUT, DELETE")] {
        let response = http().request(reqwest::Method::OPTIONS, &url).send().await.expect("an answer");
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()["access-control-allow-methods"], methods);
        let wrong = answer(http().patch(&url)).await;
        assert_eq!((wrong.status, wrong.header("allow")), (405, Some(methods)));
    }
    assert_eq!(answer(http().post(format!("{}s", url(&world)))).await.status, 404);
}
