//! Clients whose `client_id` is the URL of a document about them (Client ID Metadata Documents).

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::fetch::Reach;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::client::GrantType;
use tollgate::oauth::{ClientIdDocuments, ClientPolicy, Refusal, Settings};

use crate::browser::{Browser, Page};
use crate::client::{Client, Credential, answer, code_request, http, refresh_request};
use crate::documents::{Documents, Reply};
use crate::registration::{consent, policy, request};
use crate::world::World;

const PLACE: &str = "/client.json";

/// A world that takes such clients, and one of them.
struct Story {
    world: World,
    documents: Documents,
}

/// Lets clients be what their documents say.
pub fn documented(settings: &mut Settings, reach: Reach, hosts: Option<Vec<String>>) {
    let grant_types = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
    let policy = ClientPolicy { grant_types, ..policy(reach) };
    settings.client_id_documents = Some(ClientIdDocuments { policy, hosts });
}

impl Story {
    async fn begin() -> Self {
        Self::begin_with(Reach::Anywhere, None).await
    }

    async fn begin_with(reach: Reach, hosts: Option<Vec<String>>) -> Self {
        let documents = Documents::start().await;
        let world = World::start_with(|settings| documented(settings, reach, hosts)).await;
        Self { world, documents }
    }

    fn id(&self) -> String {
        self.documents.url(PLACE)
    }

    /// A document in which nothing is wrong.
    fn document(&self) -> Value {
        json!({
            "client_id": self.id(),
            "client_name": "Travelling agent",
            "redirect_uris": ["https://app.example/cb", "http://127.0.0.1/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
            "logo_uri": self.documents.url("/logo"),
        })
    }

    fn put(&self, document: &Value) {
        self.documents.put(PLACE, Reply::json(document));
    }

    fn fetched(&self) -> usize {
        self.documents.asked(PLACE)
    }

    async fn open(&self) -> Page {
        Browser::new(&self.world.issuer).open(&request(&self.id(), &[])).await
    }

    /// Asks with a client that there is not any more, or not yet.
    #[track_caller]
    fn refused(page: &Page, refusal: Refusal) {
        assert_eq!(page.status, 400, "{page:?}");
        assert!(page.has(refusal.name()), "{page:?}");
    }
}

#[tokio::test]
async fn an_agent_that_nobody_has_registered_signs_a_person_in() {
    let story = Story::begin().await;
    story.put(&story.document());
    let world = &story.world;
    let metadata = answer(http().get(format!("{}/.well-known/oauth-authorization-server", world.issuer))).await;
    assert_eq!(metadata.body["client_id_metadata_document_supported"], true);

    let mut browser = Browser::new(&world.issuer);
    let page = consent(&mut browser, &request(&story.id(), &[("scope", "orders:read")])).await;
    assert!(page.has("Travelling agent") && page.has("<strong>127.0.0.1</strong>"), "whose it is: {page:?}");
    assert!(!page.has("a program on this device"), "{page:?}");
    let code = browser.submit(&page, &[("decision", "approve")]).await.code();
    let agent = Client::new(&world.issuer, &story.id(), Credential::None);
    let now = world.clock.now();
    let tokens = agent.request(now, &code_request(&code)).send().await.expect_tokens();
    let next = agent.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();
    assert_ne!(next.text("refresh_token"), tokens.text("refresh_token"));
    assert_eq!(story.fetched(), 1, "the document was at hand");
    assert_eq!(story.documents.asked("/logo"), 0);
    agent.push(now, &crate::client::AUTHORIZATION_REQUEST).send().await.expect(201, "");

    // A program on the person's own machine could be any program.
    let local = request(&story.id(), &[("redirect_uri", "http://127.0.0.1:7777/cb")]);
    let mut browser = Browser::new(&world.issuer);
    let page = consent(&mut browser, &local).await;
    assert!(page.has("a program on this device") && page.has("http://127.0.0.1:7777"), "{page:?}");
}

#[tokio::test]
async fn a_document_may_have_keys_and_then_they_are_needed() {
    let story = Story::begin().await;
    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    let mut document = story.document();
    document["token_endpoint_auth_method"] = "private_key_jwt".into();
    document["jwks"] = json!({ "keys": [key.published_jwk()] });
    story.put(&document);
    let world = &story.world;
    let now = world.clock.now();
    let mut browser = Browser::new(&world.issuer);
    let page = consent(&mut browser, &request(&story.id(), &[])).await;
    let code = browser.submit(&page, &[("decision", "approve")]).await.code();
    let bare = Client::new(&world.issuer, &story.id(), Credential::None);
    bare.request(now, &code_request(&code)).send().await.expect(401, "invalid_client");
    let agent = Client::new(&world.issuer, &story.id(), Credential::Key(Box::new(key)));
    agent.request(now, &code_request(&code)).send().await.expect_tokens();
}

#[tokio::test]
async fn a_document_that_is_not_as_it_should_be_is_no_client() {
    let story = Story::begin().await;
    let good = story.document();
    let with = |name: &str, value: Value| {
        let mut document = good.clone();
        document[name] = value;
        Reply::json(&document)
    };
    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    let mut private = key.published_jwk();
    private["d"] = "AAAA".into();
    for (what, reply) in [
        ("another client_id", with("client_id", format!("{}x", story.id()).into())),
        ("no client_id", with("client_id", Value::Null)),
        ("a secret", with("client_secret", "x".repeat(43).into())),
        ("a secret's time", with("client_secret_expires_at", 0.into())),
        ("a symmetric method", with("token_endpoint_auth_method", "client_secret_basic".into())),
        ("an unknown method", with("token_endpoint_auth_method", "client_secret_jwt".into())),
        ("no redirect URI", with("redirect_uris", json!([]))),
        ("another grant", with("grant_types", json!(["client_credentials"]))),
        ("a private key", with("jwks", json!({ "keys": [private] }))),
        ("too long", with("client_uri", "x".repeat(5 * 1024).into())),
        ("no JSON", Reply { body: "<html>".to_owned(), ..Reply::json(&good) }),
        ("no media type", Reply { headers: String::new(), ..Reply::json(&good) }),
        ("another media type", Reply { headers: "content-type: text/html\r\n".to_owned(), ..Reply::json(&good) }),
        ("a redirect", Reply::status(302).with(&format!("location: {}", story.documents.url("/moved")))),
        ("not there", Reply::status(404)),
        ("201", Reply { status: 201, ..Reply::json(&good) }),
    ] {
        story.documents.put(PLACE, reply);
        story.documents.put("/moved", Reply::json(&good));
        story.world.clock.advance(Duration::from_secs(11));
        Story::refused(&story.open().await, Refusal::ClientDocumentUnfit);
        let agent = Client::new(&story.world.issuer, &story.id(), Credential::None);
        let refused = agent.request(story.world.clock.now(), &code_request("tgc_x")).send().await;
        assert_eq!((refused.status, refused.error()), (401, "invalid_client"), "{what}");
        assert_eq!(story.world.events.last("refusal").as_deref(), Some(Refusal::ClientDocumentUnfit.name()), "{what}");
    }
    assert_eq!(story.documents.asked("/moved"), 0);
    // Nothing of this was kept.
    story.documents.put(
        PLACE,
        Reply { headers: "content-type: application/cimd+json; charset=utf-8\r\n".to_owned(), ..Reply::json(&good) },
    );
    story.world.clock.advance(Duration::from_secs(11));
    assert!(story.open().await.has("name=\"password\""));
}

#[tokio::test]
async fn a_document_that_cannot_be_had_is_an_outage() {
    let story = Story::begin().await;
    story.documents.put(PLACE, Reply::status(500));
    assert_eq!(story.open().await.status, 503);
    let agent = Client::new(&story.world.issuer, &story.id(), Credential::None);
    let call = agent.request(story.world.clock.now(), &code_request("tgc_x"));
    call.send().await.expect(503, "temporarily_unavailable");
    assert_eq!(story.fetched(), 1, "it is not asked again at once");

    // A document counts while it is fresh, and not a moment longer.
    story.put(&story.document());
    story.world.clock.advance(Duration::from_secs(11));
    assert!(story.open().await.has("name=\"password\""));
    story.documents.put(PLACE, Reply::status(500));
    story.world.clock.advance(Duration::from_mins(4));
    assert!(story.open().await.has("name=\"password\""));
    story.world.clock.advance(Duration::from_mins(2));
    assert_eq!(story.open().await.status, 503);
}

#[tokio::test]
async fn a_document_that_changes_counts_as_it_is_then() {
    let story = Story::begin().await;
    story.put(&story.document());
    let mut browser = Browser::new(&story.world.issuer);
    let page = consent(&mut browser, &request(&story.id(), &[])).await;
    let mut moved = story.document();
    moved["redirect_uris"] = json!(["https://moved.example/cb"]);
    story.put(&moved);
    story.world.clock.advance(Duration::from_mins(6));
    let back = browser.submit(&page, &[("decision", "approve")]).await;
    Story::refused(&back, Refusal::TransactionUnknown);
    Story::refused(&story.open().await, Refusal::RedirectUriUnregistered);
}

#[tokio::test]
async fn an_address_and_a_host_have_so_many_documents_fetched() {
    let story = Story::begin().await;
    for number in 0..25 {
        let id = story.documents.url(&format!("/{number}"));
        let page = Browser::new(&story.world.issuer).open(&request(&id, &[])).await;
        assert_eq!(page.status, if number < 20 { 400 } else { 503 }, "{number}: {page:?}");
    }
    assert_eq!(story.documents.shelf().asked.len(), 20);
    let agent = Client::new(&story.world.issuer, &story.id(), Credential::None);
    let throttled =
        agent.request(story.world.clock.now(), &code_request("tgc_x")).send().await.expect(429, "slow_down");
    assert!(throttled.header("retry-after").is_some());
    story.world.clock.advance(Duration::from_secs(3));
    Story::refused(&story.open().await, Refusal::ClientDocumentUnfit);
}

#[tokio::test]
async fn such_clients_are_off_unless_the_operator_says_so_and_where() {
    let documents = Documents::start().await;
    let path = request(&documents.url(PLACE), &[]);
    let world = World::start().await;
    Story::refused(&Browser::new(&world.issuer).open(&path).await, Refusal::AuthorizeClientUnknown);
    let elsewhere = Story::begin_with(Reach::Anywhere, Some(vec!["app.example".to_owned()])).await;
    Story::refused(&elsewhere.open().await, Refusal::AuthorizeClientUnknown);
    assert_eq!(elsewhere.documents.shelf().connections, 0);
    let here = Story::begin_with(Reach::Anywhere, Some(vec!["127.0.0.1".to_owned()])).await;
    here.put(&here.document());
    assert!(here.open().await.has("name=\"password\""));
    assert_eq!(documents.shelf().connections, 0);
}
