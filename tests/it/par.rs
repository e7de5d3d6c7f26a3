//! Pushed authorization requests: from the client that pushes to the browser that comes with the `request_uri`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tollgate::clock::Clock as _;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::client::{RefreshTokenRotation, RequestRules};
use tollgate::oauth::{NonceMode, Profile, Refusal, Settings};
use tollgate::store::Limits;

use crate::browser::{Browser, Page};
use crate::client::{
    AUTHORIZATION_REQUEST, Answer, Client, PAR, TokenCall, answer, claims, code_request, refresh_request,
};
use crate::request_object::{send_wrong_objects, signs_requests};
use crate::token_endpoint::OF_PUSHED_AND_SIGNED_REQUESTS;
use crate::world::{End, World};

const SECOND: Duration = Duration::from_secs(1);

fn browser(world: &World) -> Browser {
    Browser::new(&world.issuer)
}

/// A good request, pushed by its client.
fn good<'c>(world: &World, client: &'c Client) -> TokenCall<'c> {
    client.push(world.clock.now(), &AUTHORIZATION_REQUEST)
}

/// Pushes a good request; gives the path that the browser opens.
async fn pushed(world: &World, client: &Client) -> String {
    client.pushed_path(&good(world, client).send().await.expect(201, ""))
}

/// Signs ada in, if she is asked to, up to the page that asks for her consent.
async fn at_consent(browser: &mut Browser, path: &str) -> Page {
    let mut page = browser.open(path).await;
    if page.has("name=\"password\"") {
        page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
    }
    assert!(page.has("value=\"approve\""), "{page:?}");
    page
}

#[track_caller]
fn assert_refused(world: &World, page: &Page, refusal: Refusal) {
    assert_eq!((page.status, page.header("location")), (400, ""), "{page:?}");
    assert!(page.has(refusal.name()), "{page:?}");
    assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
}

/// Lets a client keep `profile: fapi2`, as the configuration would.
fn under_fapi(settings: &mut Settings, id: &str) {
    let client = settings.clients.iter_mut().find(|client| client.id.as_str() == id).expect("the client");
    client.profile = Profile::Fapi2;
    client.dpop_bound_access_tokens = true;
    client.rotation = RefreshTokenRotation::Never;
}

#[tokio::test]
async fn a_pushed_request_becomes_a_code() {
    let world = World::start().await;
    let mut request_uris = BTreeSet::new();
    for id in ["spa", "web", "backend"] {
        let client = world.client(id);
        let answer = good(&world, &client).send().await.expect(201, "");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.body["expires_in"], 90);
        assert_eq!(answer.body.as_object().map(serde_json::Map::len), Some(2), "{answer:?}");
        let reference = answer.text("request_uri");
        let random = reference.strip_prefix("urn:ietf:params:oauth:request_uri:").expect("a URN");
        assert_eq!(random.len(), 43, "256 bits");
        assert!(request_uris.insert(reference.to_owned()));

        // What stands beside `client_id` and `request_uri` is not read (RFC 9126 §4).
        let path = format!("{}&redirect_uri=https://evil.example&state=x&state=y", client.pushed_path(&answer));
        let page = browser(&world).approve(&path, "ada", "ada").await;
        assert!(page.header("location").starts_with("https://app.example/cb?code="), "{page:?}");
        assert_eq!(page.parameter("state").as_deref(), Some("s&t=a te"));
        assert_eq!(page.parameter("iss").as_deref(), Some(world.issuer.as_str()));
        let code = page.code();
        let tokens = client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
        assert_eq!(tokens.text("scope"), "orders:read");
    }
    let log = world.events.text();
    for reference in request_uris {
        assert!(!log.contains(&reference[reference.len() - 43..]), "a request_uri is in the log");
    }
}

#[tokio::test]
async fn the_metadata_says_so() {
    for (required, fapi) in [(false, false), (true, false), (true, true)] {
        let world = World::start_with(|settings| {
            settings.require_pushed_requests = required;
            settings.profile = if fapi { Profile::Fapi2 } else { Profile::Default };
        })
        .await;
        let url = format!("{}/.well-known/oauth-authorization-server", world.issuer);
        let metadata = answer(crate::client::http().get(url)).await.body;
        assert_eq!(metadata["pushed_authorization_request_endpoint"], format!("{}{PAR}", world.issuer));
        assert_eq!(metadata["require_pushed_authorization_requests"], required);
        assert_eq!(metadata["request_parameter_supported"], true);
        assert_eq!(metadata["request_uri_parameter_supported"], false);
        assert_eq!(
            metadata["response_modes_supported"],
            json!(["query", "query.jwt", "jwt", "form_post", "form_post.jwt"])
        );
        assert_eq!(metadata["authorization_signing_alg_values_supported"], json!(["ES256"]));
        let algorithms = if fapi {
            json!(["ES256", "PS256", "EdDSA", "Ed25519"])
        } else {
            json!(["ES256", "PS256", "EdDSA", "Ed25519", "RS256"])
        };
        assert_eq!(metadata["request_object_signing_alg_values_supported"], algorithms);
        assert_eq!(metadata["token_endpoint_auth_signing_alg_values_supported"], algorithms);
        let methods = if fapi {
            json!(["private_key_jwt"])
        } else {
            json!(["private_key_jwt", "client_secret_basic", "client_secret_post", "none"])
        };
        assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_pushed_request_is_said_to_its_client() {
    push_wrong_requests(&World::start().await).await;
}

async fn push_wrong_requests(world: &World) {
    let (spa, web, backend) = (world.client("spa"), world.client("web"), world.client("backend"));
    let poster = world.client("poster");
    let now = world.clock.now();
    let good = || good(world, &spa);
    let refused = async |call: TokenCall<'_>, status: u16, error: &str, refusal: Refusal| {
        let answer = call.send().await.expect(status, error);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(world.events.last("refusal").as_deref(), Some(refusal.name()));
    };
    let unauthenticated =
        web.push(now, &AUTHORIZATION_REQUEST).without("client_assertion").without("client_assertion_type");
    refused(unauthenticated, 401, "invalid_client", Refusal::ClientMethodMismatch).await;
    let unnamed = good().without("client_id");
    refused(unnamed, 401, "invalid_client", Refusal::ClientMissing).await;
    let nobody = good().with("client_id", "nobody");
    refused(nobody, 401, "invalid_client", Refusal::ClientAuthenticationFailed).await;
    let wrong_secret = backend.bare_request(&AUTHORIZATION_REQUEST).at(PAR).basic("backend", "wrong");
    refused(wrong_secret, 401, "invalid_client", Refusal::ClientAuthenticationFailed).await;
    let unnamed = backend.push(now, &AUTHORIZATION_REQUEST).without("client_id");
    refused(unnamed, 400, "invalid_request", Refusal::AuthorizeClientUnknown).await;
    let other = backend.push(now, &AUTHORIZATION_REQUEST).with("client_id", "spa");
    refused(other, 400, "invalid_request", Refusal::ClientIdMismatch).await;
    refused(good().and("scope", "orders:read"), 400, "invalid_request", Refusal::ParameterRepeated).await;

    for reference in ["urn:ietf:params:oauth:request_uri:x", "https://evil.example/request"] {
        let nested = good().with("request_uri", reference);
        refused(nested, 400, "invalid_request", Refusal::RequestUriPushed).await;
    }
    for uri in ["https://evil.example/cb", "http://app.example/cb", "https://app.example/cb#f"] {
        let elsewhere = good().with("redirect_uri", uri);
        refused(elsewhere, 400, "invalid_request", Refusal::RedirectUriUnregistered).await;
    }
    refused(good().without("redirect_uri"), 400, "invalid_request", Refusal::RedirectUriUnregistered).await;
    let unsaid = web.push(now, &AUTHORIZATION_REQUEST).without("redirect_uri");
    refused(unsaid, 400, "invalid_request", Refusal::RedirectUriUnregistered).await;
    refused(poster.push(now, &AUTHORIZATION_REQUEST), 400, "invalid_request", Refusal::RedirectUriUnregistered).await;

    for (name, value, error, refusal) in [
        ("response_type", "token", "unsupported_response_type", Refusal::ResponseTypeUnsupported),
        ("response_type", "code id_token", "unsupported_response_type", Refusal::ResponseTypeUnsupported),
        ("response_type", "", "invalid_request", Refusal::ResponseTypeMissing),
        ("response_mode", "fragment.jwt", "invalid_request", Refusal::ResponseModeUnsupported),
        ("code_challenge", "", "invalid_request", Refusal::ChallengeMissing),
        ("code_challenge_method", "plain", "invalid_request", Refusal::ChallengeMethodUnsupported),
        ("code_challenge_method", "", "invalid_request", Refusal::ChallengeMethodUnsupported),
        ("scope", "admin", "invalid_scope", Refusal::ScopeNotAllowed),
        ("resource", "https://evil.example", "invalid_target", Refusal::ResourceUnknown),
        ("dpop_jkt", "x", "invalid_request", Refusal::JktMalformed),
        ("prompt", "maybe", "invalid_request", Refusal::PromptUnsupported),
        ("max_age", "-1", "invalid_request", Refusal::MaxAgeMalformed),
    ] {
        refused(good().with(name, value), 400, error, refusal).await;
    }
    let long = "s".repeat(2_049);
    refused(good().with("state", &long), 400, "invalid_request", Refusal::StateTooLong).await;
    let long = "x".repeat(15_000);
    let bulky = good().with("x", &long).with("y", &long);
    refused(bulky, 400, "invalid_request", Refusal::FormTooLarge).await;

    for method in ["GET", "PUT", "DELETE"] {
        let url = format!("{}{PAR}", world.issuer);
        let answer = answer(spa.http.request(method.parse().expect("a method"), url)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    let large = good().with("x", &"x".repeat(1024 * 1024)).send().await;
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn every_refusal_of_pushed_and_signed_requests_is_met() {
    let signed = RequestRules { signed_only: true, ..RequestRules::default() };
    let world = World::start_with(|settings| {
        signs_requests(settings, "tv", signed);
        for client in settings.clients.iter_mut().filter(|client| client.id.as_str() == "legacy") {
            client.profile = Profile::Fapi2;
        }
    })
    .await;
    push_wrong_requests(&world).await;
    send_wrong_objects(&world).await;
    let (legacy, tv, now) = (world.client("legacy"), world.client("tv"), world.clock.now());
    legacy.push(now, &AUTHORIZATION_REQUEST).without("redirect_uri").send().await.expect(400, "invalid_request");
    tv.push(now, &AUTHORIZATION_REQUEST).send().await.expect(400, "invalid_request");
    let uri = "request_uri=urn:ietf:params:oauth:request_uri:x";
    browser(&world).open(&format!("/oauth/authorize?client_id=legacy&{uri}")).await;
    browser(&world).open("/oauth/authorize?client_id=legacy&redirect_uri=https://app.example/cb").await;
    let met = world.events.all("refusal");
    let all = OF_PUSHED_AND_SIGNED_REQUESTS.iter().map(|refusal| refusal.name());
    let missed: Vec<_> = all.filter(|name| !met.contains(*name)).collect();
    assert!(missed.is_empty(), "no request reaches {missed:?}");
}

#[tokio::test]
async fn no_credential_is_recorded() {
    let world = World::start().await;
    for id in ["spa", "web", "backend"] {
        let client = world.client(id);
        let answer = good(&world, &client).send().await.expect(201, "");
        let reference: tollgate::secret::RequestUri = answer.text("request_uri").parse().expect("one of ours");
        let record = world.store.pushed_request(reference.digest()).await.expect("an answer").expect("a record");
        let recorded: BTreeSet<_> =
            form_urlencoded::parse(record.parameters.as_bytes()).map(|(name, _)| name.into_owned()).collect();
        let sent = AUTHORIZATION_REQUEST.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(recorded, sent.chain(["client_id".to_owned()]).collect());
    }
}

#[tokio::test]
async fn a_request_uri_belongs_to_its_client_and_lasts_its_time() {
    let world = World::start().await;
    let (spa, web) = (world.client("spa"), world.client("web"));
    let answer = good(&world, &spa).send().await.expect(201, "");
    let path = spa.pushed_path(&answer);
    let mut browser = browser(&world);
    assert_refused(&world, &browser.open(&web.pushed_path(&answer)).await, Refusal::PushedRequestUnknown);
    for mangled in [format!("{path}x"), path[..path.len() - 1].to_owned()] {
        assert_refused(&world, &browser.open(&mangled).await, Refusal::PushedRequestUnknown);
    }
    let made_up = path.replace(&path[path.len() - 43..], &"A".repeat(43));
    assert_refused(&world, &browser.open(&made_up).await, Refusal::PushedRequestUnknown);
    let nobody = path.replace("client_id=spa", "client_id=nobody");
    assert_refused(&world, &browser.open(&nobody).await, Refusal::AuthorizeClientUnknown);
    let bare = path.replace("client_id=spa&", "");
    assert_refused(&world, &browser.open(&bare).await, Refusal::AuthorizeClientUnknown);
    assert_refused(&world, &browser.open(&format!("{path}&client_id=spa")).await, Refusal::ParameterRepeated);
    assert_refused(&world, &browser.open(&format!("{path}&request=e30")).await, Refusal::RequestAmbiguous);
    let foreign = path.replace("urn%3Aietf", "URN%3Aietf");
    assert_refused(&world, &browser.open(&foreign).await, Refusal::RedirectUriUnregistered);

    assert!(browser.open(&path).await.has("name=\"password\""), "none of these has harmed it");
    world.clock.advance(SECOND * 89);
    let page = at_consent(&mut browser, &path).await;
    world.clock.advance(SECOND);
    assert_refused(&world, &browser.open(&path).await, Refusal::PushedRequestUnknown);
    world.clock.advance(SECOND * 500);
    let page = browser.submit(&page, &[("decision", "approve")]).await;
    assert!(!page.code().is_empty(), "who has begun in time may take his time");
}

#[tokio::test]
async fn a_request_uri_is_answered_once_and_loaded_as_often_as_need_be() {
    let world = World::start().await;
    let spa = world.client("spa");
    for (first, second) in [("approve", "deny"), ("deny", "approve"), ("approve", "approve"), ("deny", "deny")] {
        let path = pushed(&world, &spa).await;
        let (mut one, mut other) = (browser(&world), browser(&world));
        one.open(&path).await;
        let page = at_consent(&mut one, &path).await;
        let others = at_consent(&mut other, &path).await;
        let back = one.submit(&page, &[("decision", first)]).await;
        assert_eq!(back.parameter("error").as_deref(), (first == "deny").then_some("access_denied"));
        assert_eq!(back.parameter("state").as_deref(), Some("s&t=a te"));
        assert_refused(&world, &one.submit(&page, &[("decision", second)]).await, Refusal::TransactionSpent);
        assert_refused(&world, &other.submit(&others, &[("decision", second)]).await, Refusal::TransactionSpent);
        assert_refused(&world, &one.open(&path).await, Refusal::PushedRequestUnknown);
    }
}

#[tokio::test]
async fn a_request_that_wants_nobody_to_be_asked_is_answered_at_once() {
    let world = World::start().await;
    let spa = world.client("spa");
    let answer = good(&world, &spa).with("prompt", "none").send().await.expect(201, "");
    let mut browser = browser(&world);
    let page = browser.open(&spa.pushed_path(&answer)).await;
    assert_eq!(page.parameter("error").as_deref(), Some("login_required"));
    assert_refused(&world, &browser.open(&spa.pushed_path(&answer)).await, Refusal::PushedRequestUnknown);
}

#[tokio::test]
async fn what_an_operator_has_taken_back_since_is_not_granted() {
    let world = World::start().await;
    let spa = world.client("spa");
    let path = pushed(&world, &spa).await;
    let world = world.restart_with(End::Stopped, |settings| {
        for client in settings.clients.iter_mut().filter(|client| client.id.as_str() == "spa") {
            client.scopes = "orders:write".parse().expect("scopes");
        }
    });
    let world = world.await;
    let page = browser(&world).open(&path).await;
    assert_eq!(page.parameter("error").as_deref(), Some("invalid_scope"));
}

/// Who must push: a change of the settings, who must after it, and who need not.
type Demand = (fn(&mut Settings), &'static [&'static str], &'static [&'static str]);

#[tokio::test]
async fn whoever_must_push_may_not_come_otherwise() {
    let plain = |id: &str| {
        let parameters = AUTHORIZATION_REQUEST.iter().chain([&("client_id", id)]).copied().collect::<Vec<_>>();
        format!(
            "/oauth/authorize?{}",
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
        )
    };
    let changes: [Demand; 3] = [
        (|settings| settings.require_pushed_requests = true, &["spa", "web", "backend"], &[]),
        (|settings| under_fapi(settings, "web"), &["web"], &["spa", "backend"]),
        (
            |settings| {
                for client in settings.clients.iter_mut().filter(|client| client.id.as_str() == "spa") {
                    client.requests.pushed_only = true;
                }
            },
            &["spa"],
            &["web", "backend"],
        ),
    ];
    for (change, must, need_not) in changes {
        let world = World::start_with(change).await;
        for id in must {
            let page = browser(&world).open(&plain(id)).await;
            assert_eq!(page.parameter("error").as_deref(), Some("invalid_request"));
            assert_eq!(page.parameter("iss").as_deref(), Some(world.issuer.as_str()));
            assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::PushedRequestRequired.name()));
            let client = world.client(id);
            assert!(browser(&world).open(&pushed(&world, &client).await).await.has("name=\"password\""));
        }
        for id in need_not {
            assert!(browser(&world).open(&plain(id)).await.has("name=\"password\""));
        }
        // The pages for devices are a client that need not.
        let mut browser = browser(&world);
        let page = browser.open("/activate").await;
        let page = browser.submit(&page, &[("user_code", "BCDF-GHJK")]).await;
        assert!(browser.follow(page).await.has("name=\"password\""));
    }
}

#[tokio::test]
async fn a_proof_or_a_thumbprint_binds_the_code_to_a_key() {
    let world = World::start().await;
    let now = world.clock.now();
    for id in ["spa", "web"] {
        let (client, thief) = (world.client(id), world.client(id));
        let jkt = client.key.public().thumbprint().to_string();
        let proof = || client.proof_at(PAR, now);
        let calls = [
            good(&world, &client).proof(&proof()),
            good(&world, &client).with("dpop_jkt", &jkt),
            good(&world, &client).with("dpop_jkt", &jkt).proof(&proof()),
        ];
        for call in calls {
            let answer = call.send().await.expect(201, "");
            let code = browser(&world).approve(&client.pushed_path(&answer), "ada", "ada").await.code();
            client.bearer_request(now, &code_request(&code)).send().await.expect(400, "invalid_dpop_proof");
            thief.request(now, &code_request(&code)).send().await.expect(400, "invalid_grant");
            let tokens = client.request(now, &code_request(&code)).send().await.expect_tokens();
            assert_eq!(claims(tokens.text("access_token"))["cnf"]["jkt"], jkt);
        }
        let two_keys = good(&world, &client).with("dpop_jkt", &jkt).proof(&thief.proof_at(PAR, now));
        two_keys.send().await.expect(400, "invalid_dpop_proof");
        assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::JktMismatch.name()));
        let elsewhere = good(&world, &client).proof(&client.proof(now));
        elsewhere.send().await.expect(400, "invalid_dpop_proof");
        let proof = proof();
        good(&world, &client).proof(&proof).send().await.expect(201, "");
        good(&world, &client).proof(&proof).send().await.expect(400, "invalid_dpop_proof");
    }
}

#[tokio::test]
async fn a_missing_nonce_costs_nothing() {
    let world = World::start_with(|settings| settings.dpop.nonce = NonceMode::Required).await;
    let (web, now) = (world.client("web"), world.clock.now());
    let assertion = web.sign_assertion(&web.assertion_claims(now));
    let call = || good(&world, &web).assertion(&assertion);
    let answer = call().proof(&web.proof_at(PAR, now)).send().await.expect(400, "use_dpop_nonce");
    let nonce = answer.header("dpop-nonce").expect("a nonce");
    let htu = format!("{}{PAR}", world.issuer);
    let claims = json!({ "jti": web.fresh(), "htm": "POST", "htu": htu, "iat": now.seconds(), "nonce": nonce });
    call().proof(&web.sign_proof(&claims)).send().await.expect(201, "");
    // The assertion is spent now, here and at the token endpoint.
    let again = web.request(now, &crate::client::CLIENT_CREDENTIALS).assertion(&assertion);
    let claims =
        json!({ "jti": web.fresh(), "htm": "POST", "htu": web.token_url(), "iat": now.seconds(), "nonce": nonce });
    again.proof(&web.sign_proof(&claims)).send().await.expect(401, "invalid_client");
}

#[tokio::test]
async fn a_client_that_pushes_very_often_is_slowed_down() {
    let world = World::start().await;
    let (spa, web) = (world.client("spa"), world.client("web"));
    for _ in 0..60 {
        good(&world, &spa).send().await.expect(201, "");
    }
    let answer = good(&world, &spa).send().await.expect(429, "slow_down");
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(world.events.last("outcome").as_deref(), Some("throttled"));
    good(&world, &web).send().await.expect(201, "");
    world.clock.advance(SECOND);
    good(&world, &spa).send().await.expect(201, "");
}

#[tokio::test]
async fn a_client_with_very_many_requests_that_wait_is_told_to_wait_too() {
    let limits = Limits { pushed_requests_per_client: 2, ..Limits::default() };
    let store = std::sync::Arc::new(tollgate::store::MemoryStore::new(limits));
    let world = World::start_on(store, |_| {}).await;
    let web = world.client("web");
    for _ in 0..2 {
        good(&world, &web).send().await.expect(201, "");
    }
    let answer: Answer = good(&world, &web).send().await.expect(429, "slow_down");
    assert_eq!(answer.header("retry-after"), Some("91"));
    world.clock.advance(SECOND * 90);
    good(&world, &web).send().await.expect(201, "");
}

#[tokio::test]
async fn a_client_under_fapi_keeps_its_rules() {
    let world = World::start_with(|settings| {
        under_fapi(settings, "web");
        for client in settings.clients.iter_mut().filter(|client| client.id.as_str() == "web") {
            client.redirect_uris.truncate(1);
        }
    })
    .await;
    let (web, now) = (world.client("web"), world.clock.now());
    good(&world, &web).without("redirect_uri").send().await.expect(400, "invalid_request");
    assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::RedirectUriMissing.name()));

    let code = browser(&world).approve(&pushed(&world, &web).await, "ada", "ada").await.code();
    web.bearer_request(now, &code_request(&code)).send().await.expect(400, "invalid_dpop_proof");
    let tokens = web.request(now, &code_request(&code)).send().await.expect_tokens();
    let refresh = tokens.text("refresh_token").to_owned();
    for _ in 0..2 {
        world.clock.advance(SECOND * 30);
        let now = world.clock.now();
        let tokens = world.client("web").request(now, &refresh_request(&refresh)).send().await.expect_tokens();
        assert_eq!(tokens.text("refresh_token"), refresh, "it stays the same");
        web.bearer_request(now, &refresh_request(&refresh)).send().await.expect(400, "invalid_dpop_proof");
    }
}

#[tokio::test]
async fn a_client_under_fapi_signs_nothing_with_rs256() {
    let key = SigningKey::generate(Algorithm::Rs256).expect("a key");
    for (profile, status) in [(Profile::Default, 201), (Profile::Fapi2, 401)] {
        let public = key.public().clone();
        let world = World::start_with(|settings| {
            let client = settings.clients.iter_mut().find(|client| client.id.as_str() == "web").expect("the client");
            client.profile = profile;
            client.authentication = tollgate::oauth::client::ClientAuthentication::PrivateKeyJwt {
                keys: vec![public].into(),
                algorithm: None,
            };
        })
        .await;
        let (web, now) = (world.client("web"), world.clock.now());
        let assertion = key.sign("client-authentication+jwt", &web.assertion_claims(now));
        assert_eq!(good(&world, &web).assertion(&assertion).send().await.status, status);
    }
}
