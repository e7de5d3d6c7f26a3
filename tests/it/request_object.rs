//! Request objects: authorization requests that the client has signed, through the browser and pushed.

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::client::{ClientAuthentication, RequestRules};
use tollgate::oauth::{Profile, Refusal, Settings};

use crate::browser::{Browser, Page};
use crate::client::{AUTHORIZATION_REQUEST, Client, Credential};
use crate::world::World;

const MINUTE: i64 = 60;

/// The claims of a good request object.
pub fn object_claims(world: &World, client: &Client) -> Value {
    let now = world.clock.now().seconds();
    let mut claims = json!({
        "iss": client.id, "aud": client.issuer, "client_id": client.id, "jti": client.fresh(),
        "iat": now, "nbf": now, "exp": now + 5 * MINUTE,
    });
    for (name, value) in AUTHORIZATION_REQUEST {
        claims[name] = value.into();
    }
    claims
}

/// Signs a request object with the registered key of a client.
pub fn sign_object(client: &Client, claims: &Value) -> String {
    match &client.credential {
        Credential::Key(key) => key.sign("oauth-authz-req+jwt", claims),
        Credential::None | Credential::Basic(_) | Credential::Post(_) => panic!("{} has no key", client.id),
    }
}

/// The path that a browser opens with a request object, and these parameters beside it.
fn path(object: &str, beside: &[(&str, &str)]) -> String {
    let parameters = beside.iter().copied().chain([("request", object)]);
    format!("/oauth/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
}

async fn open(world: &World, path: &str) -> Page {
    Browser::new(&world.issuer).open(path).await
}

#[tokio::test]
async fn a_signed_request_counts_and_nothing_beside_it() {
    let world = World::start().await;
    let web = world.client("web");
    let mut claims = object_claims(&world, &web);
    claims["max_age"] = 3_600.into();
    claims["resource"] = json!(["https://files.example.com"]);
    let object = sign_object(&web, &claims);
    let beside = [
        ("client_id", "web"),
        ("scope", "admin"),
        ("state", "another"),
        ("state", "and another"),
        ("redirect_uri", "https://evil.example"),
        ("response_type", "token"),
    ];
    let page = Browser::new(&world.issuer).approve(&path(&object, &beside), "ada", "ada").await;
    assert!(page.header("location").starts_with("https://app.example/cb?code="), "{page:?}");
    assert_eq!(page.parameter("state").as_deref(), Some("s&t=a te"));
    let code: tollgate::secret::AuthorizationCode = page.code().parse().expect("a code");
    let record = world.store.code(code.digest()).await.expect("an answer").expect("a record");
    assert_eq!(record.scopes.to_string(), "orders:read");
    assert_eq!(record.resource.as_str(), "https://files.example.com");

    // What the object does not say is not taken from beside it.
    claims.as_object_mut().expect("an object").remove("state");
    let page = open(&world, &path(&sign_object(&web, &claims), &beside)).await;
    let page = Browser::new(&world.issuer).submit(&page, &[]).await;
    assert_eq!(page.status, 403, "a browser of its own");
    let page = Browser::new(&world.issuer).approve(&path(&sign_object(&web, &claims), &beside), "ada", "ada").await;
    assert_eq!(page.parameter("state"), None);
}

#[tokio::test]
async fn a_signed_request_may_be_pushed() {
    let world = World::start().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let claims = object_claims(&world, &web);
    let object = sign_object(&web, &claims);
    let pushed = web.push(now, &[("request", &object), ("scope", "admin"), ("state", "another")]).send().await;
    let path = web.pushed_path(&pushed.expect(201, ""));
    let page = Browser::new(&world.issuer).approve(&path, "ada", "ada").await;
    assert_eq!(page.parameter("state").as_deref(), Some("s&t=a te"));
    // The form need hold nothing but what the client authenticates with (RFC 9126 §3).
    web.push(now, &[("request", &object)]).without("client_id").send().await.expect(201, "");

    // A proof binds the code, also if the object says nothing of a key.
    let proof = web.proof_at(crate::client::PAR, now);
    let pushed = web.push(now, &[("request", &object)]).proof(&proof).send().await.expect(201, "");
    let code = Browser::new(&world.issuer).approve(&web.pushed_path(&pushed), "ada", "ada").await.code();
    let thief = world.client("web");
    thief.request(now, &crate::client::code_request(&code)).send().await.expect(400, "invalid_grant");
    web.request(now, &crate::client::code_request(&code)).send().await.expect_tokens();
    let mut claims = claims;
    claims["dpop_jkt"] = thief.key.public().thumbprint().to_string().into();
    let proof = web.proof_at(crate::client::PAR, now);
    let two_keys = web.push(now, &[("request", &sign_object(&web, &claims))]).proof(&proof);
    two_keys.send().await.expect(400, "invalid_dpop_proof");
}

/// Changes the claims of a good object.
type Change = fn(&mut Value, i64);

fn without(claims: &mut Value, name: &str) {
    claims.as_object_mut().expect("an object").remove(name);
}

const WRONG: &[(&str, Change, &str, Refusal)] = &[
    ("iss", |claims, _| claims["iss"] = "spa".into(), "invalid_request_object", Refusal::RequestObjectPartyWrong),
    ("no iss", |claims, _| without(claims, "iss"), "invalid_request_object", Refusal::RequestObjectPartyWrong),
    ("sub", |claims, _| claims["sub"] = "web".into(), "invalid_request_object", Refusal::RequestObjectPartyWrong),
    (
        "id",
        |claims, _| claims["client_id"] = "spa".into(),
        "invalid_request_object",
        Refusal::RequestObjectClientMismatch,
    ),
    ("no id", |claims, _| without(claims, "client_id"), "invalid_request_object", Refusal::RequestObjectClientMismatch),
    (
        "aud",
        |claims, _| claims["aud"] = "https://x".into(),
        "invalid_request_object",
        Refusal::RequestObjectAudienceWrong,
    ),
    ("no aud", |claims, _| without(claims, "aud"), "invalid_request_object", Refusal::RequestObjectAudienceWrong),
    ("auds", |claims, _| claims["aud"] = json!([]), "invalid_request_object", Refusal::RequestObjectAudienceWrong),
    (
        "aud of two types",
        |claims, _| claims["aud"] = json!([claims["aud"], 1]),
        "invalid_request_object",
        Refusal::RequestObjectAudienceWrong,
    ),
    ("no exp", |claims, _| without(claims, "exp"), "invalid_request_object", Refusal::RequestObjectTimeWrong),
    ("no nbf", |claims, _| without(claims, "nbf"), "invalid_request_object", Refusal::RequestObjectTimeWrong),
    ("exp", |claims, now| claims["exp"] = now.into(), "invalid_request_object", Refusal::RequestObjectTimeWrong),
    ("text", |claims, _| claims["exp"] = "soon".into(), "invalid_request_object", Refusal::RequestObjectTimeWrong),
    (
        "exp long after nbf",
        |claims, now| claims["exp"] = (now + 60 * MINUTE + 1).into(),
        "invalid_request_object",
        Refusal::RequestObjectTimeWrong,
    ),
    (
        "nbf long ago",
        |claims, now| claims["nbf"] = (now - 60 * MINUTE - 1).into(),
        "invalid_request_object",
        Refusal::RequestObjectTimeWrong,
    ),
    ("nbf", |claims, now| claims["nbf"] = (now + 11).into(), "invalid_request_object", Refusal::RequestObjectTimeWrong),
    ("iat", |claims, now| claims["iat"] = (now + 61).into(), "invalid_request_object", Refusal::RequestObjectTimeWrong),
    ("request", |claims, _| claims["request"] = "x".into(), "invalid_request_object", Refusal::RequestObjectNested),
    ("uri", |claims, _| claims["request_uri"] = "x".into(), "invalid_request_object", Refusal::RequestObjectNested),
    ("null", |claims, _| claims["state"] = Value::Null, "invalid_request_object", Refusal::RequestObjectMalformed),
    (
        "resource",
        |claims, _| claims["resource"] = json!([{}]),
        "invalid_request_object",
        Refusal::RequestObjectMalformed,
    ),
];

/// Sends objects that are in doubt, pushed and through the browser. `web` must have its key only, and sign with ES256.
pub async fn send_wrong_objects(world: &World) {
    let (web, spa) = (world.client("web"), world.client("spa"));
    let now = world.clock.now();
    let refused = async |object: &str, case: &str, error: &str, refusal: Refusal| {
        let answer = web.push(now, &[("request", object)]).send().await;
        assert_eq!((answer.status, answer.error()), (400, error), "{case}: {answer:?}");
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()), "{case}");
        let page =
            open(world, &path(object, &[("client_id", "web"), ("redirect_uri", "https://app.example/cb")])).await;
        assert_eq!((page.status, page.header("location")), (400, ""), "{case}: {page:?}");
        assert!(page.has(refusal.name()), "{case}: {page:?}");
    };
    for (case, change, error, refusal) in WRONG {
        let mut claims = object_claims(world, &web);
        change(&mut claims, now.seconds());
        refused(&sign_object(&web, &claims), case, error, *refusal).await;
    }

    let claims = object_claims(world, &web);
    let Credential::Key(own) = &web.credential else { panic!("web has a key") };
    let code = "invalid_request_object";
    for typ in ["client-authentication+jwt", "at+jwt", "dpop+jwt", "jwt; x"] {
        refused(&own.sign(typ, &claims), typ, code, Refusal::RequestObjectMalformed).await;
    }
    let header = |change: Value| {
        let mut header = json!({ "typ": "oauth-authz-req+jwt", "alg": "ES256", "kid": own.kid() });
        change.as_object().expect("an object").iter().for_each(|(name, value)| header[name] = value.clone());
        own.sign_with(&header, &claims)
    };
    refused(&header(json!({ "crit": ["exp"] })), "crit", code, Refusal::RequestObjectMalformed).await;
    refused(&header(json!({ "alg": "none" })), "none", code, Refusal::RequestObjectSignatureWrong).await;
    refused(&header(json!({ "alg": "HS256" })), "HS256", code, Refusal::RequestObjectSignatureWrong).await;
    refused(&header(json!({ "alg": "es256" })), "es256", code, Refusal::RequestObjectSignatureWrong).await;
    refused(&header(json!({ "kid": "another" })), "kid", code, Refusal::RequestObjectSignatureWrong).await;
    let stranger = SigningKey::generate(Algorithm::Es256).expect("a key");
    let foreign = json!({ "typ": "JWT", "alg": "ES256", "jwk": stranger.proof_jwk() });
    refused(&stranger.sign_with(&foreign, &claims), "jwk", code, Refusal::RequestObjectSignatureWrong).await;
    let good = own.sign("JWT", &claims);
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    for (case, object) in [
        ("unsigned", format!("{signed}.")),
        ("five parts", format!("a.b.{good}")),
        ("no JWT", "e30".to_owned()),
        ("too long", format!("{}.{signature}", "a".repeat(16 * 1024))),
    ] {
        let answer = web.push(now, &[("request", &object)]).send().await;
        assert_eq!(answer.status, 400, "{case}: {answer:?}");
        if case != "too long" {
            refused(&object, case, code, Refusal::RequestObjectMalformed).await;
        }
    }
    let other = path(&good, &[("client_id", "spa")]);
    assert!(open(world, &other).await.has(Refusal::RequestObjectSignatureWrong.name()), "spa has no keys");
    assert!(open(world, &path(&good, &[])).await.has(Refusal::AuthorizeClientUnknown.name()));
    let twice = format!("{}&request=x", path(&good, &[("client_id", "web")]));
    assert!(open(world, &twice).await.has(Refusal::ParameterRepeated.name()));
    let both = path(&good, &[("client_id", "web"), ("request_uri", "https://evil.example")]);
    assert!(open(world, &both).await.has(Refusal::RequestAmbiguous.name()));
    spa.push(now, &[("request", &good)]).send().await.expect(400, code);
}

#[tokio::test]
async fn an_object_in_doubt_is_refused_and_redirects_nowhere() {
    send_wrong_objects(&World::start().await).await;
}

#[tokio::test]
async fn an_object_is_good_within_its_hour() {
    let world = World::start().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let rows: [Change; 6] = [
        |claims, now| claims["nbf"] = (now + 10).into(),
        |claims, now| claims["nbf"] = (now - 55 * MINUTE).into(),
        |claims, now| claims["exp"] = (now + 60 * MINUTE).into(),
        |claims, _| claims["aud"] = json!(["https://another.example", claims["aud"]]),
        |claims, _| without(claims, "jti"),
        |claims, _| claims["sub"] = "ada".into(),
    ];
    for (number, change) in rows.iter().enumerate() {
        let mut claims = object_claims(&world, &web);
        change(&mut claims, now.seconds());
        let answer = web.push(now, &[("request", &sign_object(&web, &claims))]).send().await;
        assert_eq!(answer.status, 201, "row {number}: {answer:?}");
    }
    let Credential::Key(key) = &web.credential else { panic!("web has a key") };
    let claims = object_claims(&world, &web);
    for typ in ["JWT", "jwt", "application/oauth-authz-req+jwt"] {
        web.push(now, &[("request", &key.sign(typ, &claims))]).send().await.expect(201, "");
    }
    let untyped = key.sign_with(&json!({ "alg": "ES256" }), &claims);
    web.push(now, &[("request", &untyped)]).send().await.expect(201, "");
}

#[tokio::test]
async fn what_an_object_asks_for_is_judged_as_any_request_is() {
    let world = World::start().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let rows: [(&str, Value, &str); 6] = [
        ("response_type", "token".into(), "unsupported_response_type"),
        ("scope", "admin".into(), "invalid_scope"),
        ("resource", json!(["https://api.example.com", "https://b.example"]), "invalid_target"),
        ("code_challenge_method", "plain".into(), "invalid_request"),
        ("max_age", (-1).into(), "invalid_request"),
        ("prompt", true.into(), "invalid_request"),
    ];
    for (name, value, error) in rows {
        let mut claims = object_claims(&world, &web);
        claims[name] = value;
        let object = sign_object(&web, &claims);
        let page = open(&world, &path(&object, &[("client_id", "web")])).await;
        assert_eq!(page.parameter("error").as_deref(), Some(error), "{name}");
        assert_eq!(page.parameter("state").as_deref(), Some("s&t=a te"));
        web.push(now, &[("request", &object)]).send().await.expect(400, error);
    }
    let mut claims = object_claims(&world, &web);
    claims["redirect_uri"] = "https://evil.example".into();
    let page = open(&world, &path(&sign_object(&web, &claims), &[("client_id", "web")])).await;
    assert!(page.has(Refusal::RedirectUriUnregistered.name()), "{page:?}");
}

/// Lets a client sign its requests, as the configuration would.
pub fn signs_requests(settings: &mut Settings, id: &str, rules: RequestRules) {
    let client = settings.clients.iter_mut().find(|client| client.id.as_str() == id).expect("the client");
    client.requests = rules;
}

#[tokio::test]
async fn a_client_that_signs_its_requests_sends_no_others() {
    let rules = || RequestRules { signed_only: true, ..RequestRules::default() };
    let world = World::start_with(|settings| signs_requests(settings, "web", rules())).await;
    let (web, now) = (world.client("web"), world.clock.now());
    web.push(now, &AUTHORIZATION_REQUEST).send().await.expect(400, "invalid_request");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::RequestObjectRequired.name()));
    let plain = AUTHORIZATION_REQUEST.iter().chain([&("client_id", "web")]);
    let plain = form_urlencoded::Serializer::new(String::new()).extend_pairs(plain).finish();
    let page = open(&world, &format!("/oauth/authorize?{plain}")).await;
    assert_eq!(page.parameter("error").as_deref(), Some("invalid_request"));
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::RequestObjectRequired.name()));

    let object = sign_object(&web, &object_claims(&world, &web));
    assert!(open(&world, &path(&object, &[("client_id", "web")])).await.has("name=\"password\""));
    let pushed = web.push(now, &[("request", &object)]).send().await.expect(201, "");
    assert!(open(&world, &web.pushed_path(&pushed)).await.has("name=\"password\""));
}

#[tokio::test]
async fn the_registered_algorithm_and_the_profile_bind_objects() {
    let key = SigningKey::generate(Algorithm::Rs256).expect("a key");
    let pss = SigningKey::from_pkcs8(Algorithm::Ps256, &key.to_pkcs8().expect("PKCS #8")).expect("the same key");
    for (profile, registered, rs256, ps256) in [
        (Profile::Default, None, 201, 201),
        (Profile::Default, Some(Algorithm::Ps256), 400, 201),
        (Profile::Default, Some(Algorithm::Es256), 400, 400),
        (Profile::Fapi2, None, 400, 201),
    ] {
        let public = key.public().clone();
        let world = World::start_with(|settings| {
            let rules = RequestRules { object_algorithm: registered, ..RequestRules::default() };
            signs_requests(settings, "web", rules);
            let client = settings.clients.iter_mut().find(|client| client.id.as_str() == "web").expect("the client");
            client.profile = profile;
            client.authentication = ClientAuthentication::PrivateKeyJwt { keys: vec![public].into(), algorithm: None };
        })
        .await;
        let (web, now) = (world.client("web"), world.clock.now());
        for (signer, status) in [(&key, rs256), (&pss, ps256)] {
            let object = signer.sign("oauth-authz-req+jwt", &object_claims(&world, &web));
            let assertion = pss.sign("client-authentication+jwt", &web.assertion_claims(now));
            let answer = web.push(now, &[("request", &object)]).assertion(&assertion).send().await;
            assert_eq!(answer.status, status, "{profile:?} {registered:?} {signer:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_client_with_a_secret_may_have_keys_for_its_requests() {
    let key = SigningKey::generate(Algorithm::Ed25519).expect("a key");
    let rules = RequestRules { object_keys: Some(vec![key.public().clone()].into()), ..RequestRules::default() };
    let world = World::start_with(|settings| signs_requests(settings, "backend", rules)).await;
    let (backend, now) = (world.client("backend"), world.clock.now());
    let object = key.sign("oauth-authz-req+jwt", &object_claims(&world, &backend));
    backend.push(now, &[("request", &object)]).send().await.expect(201, "");
    assert!(open(&world, &path(&object, &[("client_id", "backend")])).await.has("name=\"password\""));
}

#[tokio::test]
async fn a_request_object_is_no_assertion_and_an_assertion_no_request_object() {
    let world = World::start().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let Credential::Key(key) = &web.credential else { panic!("web has a key") };
    let mut claims = object_claims(&world, &web);
    claims["sub"] = "ada".into();
    for typ in ["oauth-authz-req+jwt", "JWT"] {
        let object = key.sign(typ, &claims);
        web.push(now, &[]).without("client_id").assertion(&object).send().await.expect(401, "invalid_client");
    }
    let mut claims = object_claims(&world, &web);
    claims["sub"] = "web".into();
    let assertion = key.sign("JWT", &claims);
    web.push(now, &[("request", &assertion)]).send().await.expect(400, "invalid_request_object");
}
