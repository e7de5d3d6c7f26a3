//! Clients that publish their keys (`jwks_uri`): in good order, changing, dead, and lying.

use std::time::Duration;

use serde_json::json;
use tollgate::clock::Clock as _;
use tollgate::fetch::Reach;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::client::{ClientAuthentication, ClientKeys, KeysAt, RequestRules};
use tollgate::oauth::{RateLimits, Refusal, Settings};

use crate::browser::Browser;
use crate::client::{Answer, CLIENT_CREDENTIALS, Client, Credential};
use crate::documents::{Documents, Reply};
use crate::request_object::{object_claims, sign_object, signs_requests};
use crate::world::World;

/// Where the client `web` publishes its keys.
const KEYS: &str = "/web/keys";

/// A world whose client `web` publishes its keys.
struct Story {
    world: World,
    documents: Documents,
}

fn new_key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).expect("a key")
}

impl Story {
    async fn begin() -> Self {
        Self::begin_with(Reach::Anywhere, |_| {}).await
    }

    async fn begin_with(reach: Reach, change: impl FnOnce(&mut Settings)) -> Self {
        let documents = Documents::start().await;
        let url = documents.url(KEYS).parse().expect("a URL");
        let world = World::start_with(|settings| {
            let web = settings.clients.iter_mut().find(|client| client.id.as_str() == "web").expect("the client");
            let keys = ClientKeys::Published(KeysAt { url, reach });
            web.authentication = ClientAuthentication::PrivateKeyJwt { keys, algorithm: None };
            change(settings);
        })
        .await;
        Self { world, documents }
    }

    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.published_jwk()).collect();
        self.documents.put(KEYS, Reply::json(&json!({ "keys": keys })));
    }

    /// The client with this key.
    fn web(&self, key: SigningKey) -> Client {
        Client::new(&self.world.issuer, "web", Credential::Key(Box::new(key)))
    }

    async fn ask(&self, client: &Client) -> Answer {
        client.request(self.world.clock.now(), &CLIENT_CREDENTIALS).send().await
    }

    fn fetched(&self) -> usize {
        self.documents.asked(KEYS)
    }
}

#[tokio::test]
async fn published_keys_are_fetched_once_and_again_for_an_unknown_kid() {
    let story = Story::begin().await;
    let (old, new) = (new_key(), new_key());
    story.publish(&[&old]);
    let (old, new) = (story.web(old), story.web(new));
    for _ in 0..3 {
        story.ask(&old).await.expect_tokens();
    }
    assert_eq!(story.fetched(), 1);

    // The client changes its key: the first assertion by the new one has it found, and the old one is refused.
    let Credential::Key(key) = &new.credential else { panic!("it has a key") };
    story.publish(&[key]);
    story.world.clock.advance(Duration::from_secs(1));
    story.ask(&new).await.expect_tokens();
    assert_eq!(story.fetched(), 2);
    story.ask(&old).await.expect(401, "invalid_client");
    assert_eq!(story.world.events.last("refusal").as_deref(), Some(Refusal::AssertionSignatureWrong.name()));

    // Made-up names do not have us ask again and again.
    for _ in 0..3 {
        story.ask(&story.web(new_key())).await.expect(401, "invalid_client");
    }
    assert_eq!(story.fetched(), 2);
    story.world.clock.advance(Duration::from_secs(11));
    story.ask(&story.web(new_key())).await.expect(401, "invalid_client");
    assert_eq!(story.fetched(), 3);
    story.ask(&new).await.expect_tokens();
}

#[tokio::test]
async fn many_that_ask_at_once_have_the_keys_fetched_once() {
    let story = Story::begin().await;
    let key = new_key();
    story.publish(&[&key]);
    let web = story.web(key);
    let all = futures_of(20, || story.ask(&web)).await;
    assert!(all.iter().all(|answer| answer.status == 200), "{all:?}");
    assert_eq!(story.fetched(), 1);
}

/// Runs a request many times at once.
async fn futures_of<F: Future<Output = Answer>>(count: usize, request: impl Fn() -> F) -> Vec<Answer> {
    let mut running: Vec<_> = (0..count).map(|_| Box::pin(request())).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|context| {
        running.retain_mut(|request| match request.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_an_outage_and_never_a_wrong_client() {
    let story = Story::begin().await;
    let key = new_key();
    let private = json!({ "keys": [{ "kty": "EC", "d": "x", "crv": "P-256", "x": "x", "y": "y" }] });
    let long = Reply { body: " ".repeat(64 * 1024 + 1), ..Reply::json(&json!({ "keys": [] })) };
    let web = story.web(key);
    for (reply, what) in [
        (Reply::status(404), "not there"),
        (Reply::status(500), "broken"),
        (Reply::status(302).with(&format!("location: {}", story.documents.url("/elsewhere"))), "a redirect"),
        (Reply { body: "<html>".to_owned(), ..Reply::json(&json!({})) }, "no JSON"),
        (Reply::json(&json!([])), "no set"),
        (Reply::json(&private), "a private key"),
        (long, "too long"),
    ] {
        story.documents.put(KEYS, reply);
        story.world.clock.advance(Duration::from_secs(11));
        let before = story.fetched();
        for _ in 0..3 {
            let answer = story.ask(&web).await.expect(503, "temporarily_unavailable");
            assert!(answer.header("retry-after").is_some(), "{what}: {answer:?}");
        }
        assert_eq!(story.fetched(), before + 1, "{what}: it is not asked again at once");
    }
    assert_eq!(story.documents.asked("/elsewhere"), 0);

    // Nothing was spent, and once it is there again all is well.
    let Credential::Key(key) = &web.credential else { panic!("it has a key") };
    story.publish(&[key]);
    story.ask(&web).await.expect(503, "temporarily_unavailable");
    story.world.clock.advance(Duration::from_secs(11));
    story.ask(&web).await.expect_tokens();

    // A set that is at hand bridges an outage; whether there is a new key by now nobody knows.
    story.documents.put(KEYS, Reply::status(500));
    story.world.clock.advance(Duration::from_mins(70));
    story.ask(&web).await.expect_tokens();
    story.world.clock.advance(Duration::from_secs(11));
    story.ask(&story.web(new_key())).await.expect(503, "temporarily_unavailable");
    story.ask(&web).await.expect_tokens();
    story.world.clock.advance(Duration::from_hours(1));
    story.ask(&web).await.expect(503, "temporarily_unavailable");
}

#[tokio::test]
async fn nothing_is_fetched_for_what_is_refused_anyway() {
    let few = RateLimits { address: 1, ..RateLimits::default() };
    let story = Story::begin_with(Reach::Anywhere, |settings| settings.rate_limits = few).await;
    let key = new_key();
    story.publish(&[&key]);
    let (web, now) = (story.web(key), story.world.clock.now());
    for (claim, value) in
        [("aud", json!("https://other.example")), ("exp", json!(now.seconds())), ("iss", json!("spa"))]
    {
        let mut claims = web.assertion_claims(now);
        claims[claim] = value;
        let call = web.bearer_request(now, &CLIENT_CREDENTIALS).assertion(&web.sign_assertion(&claims));
        call.send().await.expect(401, "invalid_client");
    }
    web.request(now, &CLIENT_CREDENTIALS).proof("nonsense").send().await.expect(400, "invalid_dpop_proof");
    for _ in 0..10 {
        web.request(now, &CLIENT_CREDENTIALS).with("client_assertion", "a.b.c").send().await;
    }
    story.ask(&web).await.expect(429, "slow_down");
    assert_eq!(story.documents.shelf().connections, 0);
}

#[tokio::test]
async fn private_addresses_are_not_asked_unless_the_operator_allows_it() {
    let story = Story::begin_with(Reach::Public, |_| {}).await;
    let key = new_key();
    story.publish(&[&key]);
    story.ask(&story.web(key)).await.expect(503, "temporarily_unavailable");
    assert_eq!(story.documents.shelf().connections, 0);
}

#[tokio::test]
async fn request_objects_are_verified_with_published_keys() {
    let story = Story::begin().await;
    let key = new_key();
    let (web, now) = (story.web(key), story.world.clock.now());
    let world = &story.world;
    let object = sign_object(&web, &object_claims(world, &web));
    let path = |object: &str| {
        let mut query = form_urlencoded::Serializer::new("/oauth/authorize?".to_owned());
        query.append_pair("client_id", "web").append_pair("request", object).finish()
    };
    // What is wrong with it anyway is said without the keys; with what is right, they must be had.
    let mut late = object_claims(world, &web);
    late["exp"] = now.seconds().into();
    let page = Browser::new(&world.issuer).open(&path(&sign_object(&web, &late))).await;
    assert!(page.has(Refusal::RequestObjectTimeWrong.name()), "{page:?}");
    assert_eq!(story.fetched(), 0);
    let page = Browser::new(&world.issuer).open(&path(&object)).await;
    assert_eq!((page.status, story.fetched()), (503, 1), "{page:?}");

    let Credential::Key(key) = &web.credential else { panic!("it has a key") };
    story.publish(&[key]);
    world.clock.advance(Duration::from_secs(11));
    assert!(Browser::new(&world.issuer).open(&path(&object)).await.has("name=\"password\""));
    web.push(world.clock.now(), &[("request", &object)]).send().await.expect(201, "");
    let foreign = story.web(new_key());
    let foreign = sign_object(&foreign, &object_claims(world, &foreign));
    let page = Browser::new(&world.issuer).open(&path(&foreign)).await;
    assert!(page.has(Refusal::RequestObjectSignatureWrong.name()), "{page:?}");
}

#[tokio::test]
async fn a_client_with_a_secret_may_publish_keys_for_its_requests() {
    let documents = Documents::start().await;
    let key = new_key();
    documents.put(KEYS, Reply::json(&json!({ "keys": [key.published_jwk()] })));
    let at = KeysAt { url: documents.url(KEYS).parse().expect("a URL"), reach: Reach::Anywhere };
    let rules = RequestRules { object_keys: Some(ClientKeys::Published(at)), ..RequestRules::default() };
    let world = World::start_with(|settings| signs_requests(settings, "backend", rules)).await;
    let (backend, now) = (world.client("backend"), world.clock.now());
    let object = key.sign("oauth-authz-req+jwt", &object_claims(&world, &backend));
    backend.push(now, &[("request", &object)]).send().await.expect(201, "");
}
