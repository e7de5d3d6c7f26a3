//! A canary: a listener on this machine that nobody has any business with. Whatever callers say, it hears nothing.

use serde_json::json;
use tollgate::clock::Clock as _;
use tollgate::fetch::Reach;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::Refusal;

use crate::browser::Browser;
use crate::client::{AUTHORIZATION_REQUEST, CLIENT_CREDENTIALS, Client, Credential, code_request};
use crate::client_document::documented;
use crate::documents::{Documents, Reply};
use crate::registration::{self, public, register, request};
use crate::request_object::object_claims;
use crate::world::World;

/// A world that is as open to strangers as it can be, and the canary.
async fn world() -> (World, Documents) {
    let canary = Documents::start().await;
    canary.put("/", Reply::json(&json!({ "keys": [] })));
    let world = World::start_with(|settings| {
        registration::with_token(settings);
        documented(settings, Reach::Public, None);
    })
    .await;
    (world, canary)
}

/// Ways to spell the canary's address, and others that are nobody's business: with `{port}` in the place of its port.
const ADDRESSES: [&str; 20] = [
    "http://127.0.0.1:{port}/keys",
    "https://127.0.0.1:{port}/keys",
    "http://localhost:{port}/keys",
    "https://localhost:{port}/keys",
    "https://LOCALHOST:{port}/keys",
    "https://localhost.:{port}/keys",
    "http://[::1]:{port}/keys",
    "https://[::1]:{port}/keys",
    "https://[::ffff:127.0.0.1]:{port}/keys",
    "https://[::ffff:7f00:1]:{port}/keys",
    "https://2130706433:{port}/keys",
    "https://0x7f000001:{port}/keys",
    "https://0x7f.1:{port}/keys",
    "https://0177.0.0.1:{port}/keys",
    "https://127.1:{port}/keys",
    "https://0.0.0.0:{port}/keys",
    "https://public.example@127.0.0.1:{port}/keys",
    "https://public.example:80@localhost:{port}/keys",
    "https://10.0.0.1:{port}/keys",
    "https://169.254.169.254:{port}/latest/meta-data",
];

fn addresses(canary: &Documents) -> Vec<String> {
    let port = canary.origin.rsplit(':').next().expect("a port");
    ADDRESSES.iter().map(|address| address.replace("{port}", port)).collect()
}

#[tokio::test]
async fn no_header_of_a_jwt_makes_us_connect() {
    let (world, canary) = world().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let stranger = SigningKey::generate(Algorithm::Es256).expect("a key");
    for address in addresses(&canary) {
        for header in [
            json!({ "jku": address }),
            json!({ "x5u": address }),
            json!({ "x5c": [address] }),
            json!({ "jwk": { "kty": "EC", "crv": "P-256", "x": address, "y": address, "x5u": address } }),
            json!({ "jku": address, "kid": address, "jwk": stranger.proof_jwk() }),
        ] {
            let signed = |typ: &str, claims: &serde_json::Value| {
                let mut all = json!({ "typ": typ, "alg": "ES256" });
                for (name, value) in header.as_object().expect("an object") {
                    all[name] = value.clone();
                }
                stranger.sign_with(&all, claims)
            };
            let assertion = signed("client-authentication+jwt", &web.assertion_claims(now));
            let call = web.request(now, &CLIENT_CREDENTIALS).assertion(&assertion);
            call.send().await.expect(401, "invalid_client");
            let object = signed("oauth-authz-req+jwt", &object_claims(&world, &web));
            web.push(now, &[("request", &object)]).send().await.expect(400, "invalid_request_object");
            // One with a key of its own in it may be good: that is all that a proof needs.
            let proof = signed("dpop+jwt", &web.proof_claims(now));
            web.request(now, &CLIENT_CREDENTIALS).proof(&proof).send().await;
        }
    }
    assert_eq!(canary.shelf().connections, 0);
}

#[tokio::test]
async fn no_parameter_makes_us_connect() {
    let (world, canary) = world().await;
    let (spa, web, now) = (world.client("spa"), world.client("web"), world.clock.now());
    for address in addresses(&canary) {
        for name in ["request_uri", "jwks_uri", "logo_uri", "sector_identifier_uri", "resource", "redirect_uri", "iss"]
        {
            let changes = [(name, address.as_str())];
            Browser::new(&world.issuer).open(&request("spa", &changes)).await;
            spa.push(now, &AUTHORIZATION_REQUEST).with(name, &address).send().await;
            web.request(now, &CLIENT_CREDENTIALS).with(name, &address).send().await;
        }
        let uri = format!("request_uri={address}&client_id=spa");
        Browser::new(&world.issuer).open(&format!("/oauth/authorize?{uri}")).await;
    }
    assert_eq!(canary.shelf().connections, 0);
}

#[tokio::test]
async fn no_registration_makes_us_connect() {
    let (world, canary) = world().await;
    for address in addresses(&canary) {
        let mut metadata = public();
        for name in ["logo_uri", "client_uri", "tos_uri", "policy_uri", "sector_identifier_uri", "initiate_login_uri"] {
            metadata[name] = address.clone().into();
        }
        metadata["request_uris"] = json!([address]);
        register(&world, &metadata).await.expect(201, "");
        metadata["jwks_uri"] = address.clone().into();
        let keyed = register(&world, &metadata).await;
        assert!([201, 400].contains(&keyed.status), "{address}: {keyed:?}");
        metadata["software_statement"] = format!("e30.e30.{address}").into();
        register(&world, &metadata).await.expect(400, "unapproved_software_statement");

        // What names a host by a name that resolves to this machine is only found out when its keys are needed.
        let key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let metadata = json!({
            "grant_types": ["client_credentials"], "response_types": [],
            "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": address,
        });
        let registered = register(&world, &metadata).await;
        if registered.status == 201 {
            let client = Client::new(&world.issuer, registered.text("client_id"), Credential::Key(Box::new(key)));
            let call = client.request(world.clock.now(), &CLIENT_CREDENTIALS);
            call.send().await.expect(503, "temporarily_unavailable");
        } else {
            registered.expect(400, "invalid_client_metadata");
        }
    }
    assert_eq!(canary.shelf().connections, 0);
}

#[tokio::test]
async fn no_client_id_makes_us_connect() {
    let (world, canary) = world().await;
    for address in addresses(&canary) {
        world.clock.advance(std::time::Duration::from_mins(2));
        let page = Browser::new(&world.issuer).open(&request(&address, &[])).await;
        let refusals = [Refusal::AuthorizeClientUnknown, Refusal::ClientDocumentUnfit];
        let refused = page.status == 400 && refusals.iter().any(|refusal| page.has(refusal.name()));
        // Not every resolver knows a name with a dot behind it: then nobody can tell.
        let unresolved = page.status == 503 && address.contains("localhost.:");
        assert!(refused || unresolved, "{address}: {page:?}");
        let client = Client::new(&world.issuer, &address, Credential::None);
        let now = world.clock.now();
        for call in [client.request(now, &code_request("tgc_x")), client.push(now, &AUTHORIZATION_REQUEST)] {
            let answer = call.send().await;
            let expected = if refused { (401, "invalid_client") } else { (503, "temporarily_unavailable") };
            assert_eq!((answer.status, answer.error()), expected, "{address}: {answer:?}");
        }
    }
    assert_eq!(canary.shelf().connections, 0);
}

#[tokio::test]
async fn a_document_that_may_be_fetched_leads_nowhere_else() {
    let canary = Documents::start().await;
    let documents = Documents::start().await;
    let world = World::start_with(|settings| documented(settings, Reach::Anywhere, None)).await;
    for status in [301, 302, 303, 307, 308] {
        let place = format!("/{status}");
        documents.put(&place, Reply::status(status).with(&format!("location: {}", canary.url("/"))));
        let page = Browser::new(&world.issuer).open(&request(&documents.url(&place), &[])).await;
        assert!(page.has(Refusal::ClientDocumentUnfit.name()), "{page:?}");
    }
    let id = documents.url("/client");
    let document = json!({
        "client_id": id, "redirect_uris": ["https://app.example/cb"], "logo_uri": canary.url("/logo"),
        "client_uri": canary.url("/"), "jwks_uri": canary.url("/keys"), "tos_uri": canary.url("/tos"),
        "policy_uri": canary.url("/policy"), "sector_identifier_uri": canary.url("/sector"),
    });
    documents.put("/client", Reply::json(&document));
    let page = Browser::new(&world.issuer).open(&request(&id, &[])).await;
    assert!(page.has("name=\"password\""), "{page:?}");
    assert_eq!(canary.shelf().connections, 0);
}
