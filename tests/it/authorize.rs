//! The authorization endpoint and its pages through their door, as a browser meets them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, Params, PasswordHasher as _};
use tollgate::cache::{NoClientDocuments, NoKeySets};
use tollgate::clock::Clock as _;
use tollgate::courier::NoCourier;
use tollgate::dpop::{Fence, ProofFault, ProofKey, ProofKeys, Window, parse_key};
use tollgate::entropy::SystemEntropy;
use tollgate::identity::{LocalUsers, Login};
use tollgate::jose::Algorithm;
use tollgate::keys::{KeySchedule, SigningKeys};
use tollgate::oauth::client::{
    ClientAuthentication, ClientOrigin, GrantType, OpenIdRules, Profile, RefreshTokenRotation, RequestRules,
};
use tollgate::oauth::{
    AuthorizationServer, Client, Dependencies, DpopSettings, Lifetimes, NonceMode, RateLimits, Refusal, Settings,
};
use tollgate::replay::LocalReplayGuard;
use tollgate::secret::seal::RootKey;
use tollgate::secret::{AuthorizationCode, base64url};
use tollgate::store::{CodeRecord, Endings, Limits as StoreLimits, MemoryStore, Store};
use tollgate::token::AccessTokenFormat;
use tollgate::web::{AuthorizationSite, Branding, Door, Limits};

use crate::browser::{Browser, Page};
use crate::client::{CHALLENGE, VERIFIER, answer};
use crate::token_endpoint::OF_THE_AUTHORIZATION_ENDPOINT;
use crate::world::{Events, TestClock, free_port};

const CALLBACK: &str = "https://app.example/callback?fixed=1";
/// Where `app` wants people after they have signed out.
const BYE: &str = "https://app.example/bye";
const PASSWORD: &str = "correct horse battery staple";

/// An authorization server behind its door.
struct Issuer {
    /// The issuer identifier.
    url: String,
    /// Where its door really is.
    origin: String,
    clock: Arc<TestClock>,
    store: Arc<MemoryStore>,
    events: Events,
    _listening: tracing::subscriber::DefaultGuard,
    door: tokio::task::JoinHandle<()>,
}

/// Remembers no keys.
struct EveryTime;

impl ProofKeys for EveryTime {
    fn key(&self, encoded_header: &str) -> Result<Arc<ProofKey>, ProofFault> {
        parse_key(encoded_header).map(Arc::new)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// A value that is written as it goes over the wire.
fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a well-formed value")
}

fn client(id: &str, name: &str, redirect_uris: &[&str], grant_types: &[GrantType]) -> Client {
    Client {
        id: parsed(id),
        name: name.to_owned(),
        origin: ClientOrigin::Operator,
        authentication: ClientAuthentication::None,
        grant_types: grant_types.to_vec(),
        redirect_uris: redirect_uris.iter().map(|uri| parsed(uri)).collect(),
        post_logout_redirect_uris: vec![parsed(BYE)],
        scopes: parsed("openid orders:read orders:write"),
        dpop_bound_access_tokens: false,
        certificate_bound_access_tokens: false,
        rotation: RefreshTokenRotation::Always,
        requests: RequestRules::default(),
        openid: OpenIdRules::default(),
        profile: Profile::Default,
        introspects: Vec::new(),
        access_token_format: AccessTokenFormat::Jwt,
        exchange: None,
    }
}

fn users() -> LocalUsers {
    let cheap = Params::new(8, 1, 1, None).expect("parameters");
    let cheap = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
    let hash = cheap.hash_password(PASSWORD.as_bytes()).expect("a hash");
    let row = |username, subject, name, disabled| {
        format!(
            "- {{ username: {username}, password_hash: \"{hash}\", subject: {subject}, name: \"{name}\", disabled: {disabled} }}\n"
        )
    };
    let ada = row("ada", "0b6f", "Ada <script>", false);
    parsed(&format!("users:\n{ada}{}{}", row("bob", "0b70", "Bob", false), row("eve", "0b71", "Eve", true)))
}

fn settings(url: &str) -> Settings {
    let code = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let minutes = Duration::from_mins;
    Settings {
        issuer: parsed(url),
        clients: vec![
            client("app", "App <script>alert(1)</script>", &[CALLBACK], &code),
            client("native", "Native", &["http://127.0.0.1/cb", "com.example.app:/cb"], &code),
            client("batch", "Batch", &[CALLBACK], &[GrantType::ClientCredentials]),
        ],
        scopes: BTreeMap::from([
            (parsed("openid"), "Know who you are".into()),
            (parsed("orders:read"), "Read <b>your</b> orders".into()),
            (parsed("orders:write"), "Change your orders".into()),
            (parsed("admin"), "Everything".into()),
        ]),
        resources: vec![parsed("https://api.example.com")],
        opaque_resources: Vec::new(),
        details: BTreeMap::new(),
        lifetimes: Lifetimes {
            access_token: minutes(5),
            refresh_token: minutes(60),
            refresh_token_idle: minutes(30),
            authorization_code: minutes(1),
            device_code: minutes(10),
            pushed_request: minutes(1),
            transaction: minutes(10),
            session: minutes(480),
            session_idle: minutes(480),
        },
        require_pushed_requests: false,
        status_lists: None,
        profile: Profile::Default,
        registration: None,
        client_id_documents: None,
        rate_limits: RateLimits::default(),
        mtls_origin: None,
        mutual_tls: false,
        acr_values: Vec::new(),
        external_login: None,
        client_authorities: None,
        dpop: DpopSettings {
            nonce: NonceMode::Optional,
            nonce_life: minutes(2),
            window: Window { lifetime: minutes(1), skew: Duration::from_secs(10) },
            required: false,
        },
    }
}

impl Issuer {
    async fn start() -> Self {
        Self::start_as(str::to_owned).await
    }

    /// Starts an issuer that is called something else than its address.
    async fn start_as(name: impl FnOnce(&str) -> String) -> Self {
        let (events, listening) = Events::listen();
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let url = name(&origin);
        let clock = Arc::new(TestClock::default());
        let store = Arc::new(MemoryStore::new(StoreLimits::default()));
        let day = Duration::from_hours(24);
        let schedule = KeySchedule { algorithm: Algorithm::Es256, announce: day, sign: day, retain: day };
        let (root, people) = (RootKey::from_bytes([7; 32]), Arc::new(users()));
        let keys = SigningKeys::open(
            Arc::clone(&store) as Arc<_>,
            root.into(),
            schedule,
            Arc::new(SystemEntropy),
            clock.now(),
        )
        .await
        .expect("keys");
        let server = AuthorizationServer::new(
            settings(&url),
            Dependencies {
                store: Arc::clone(&store) as Arc<dyn Store>,
                endings: Arc::new(Endings::new(day)),
                guard: Arc::new(LocalReplayGuard::new(1_000)),
                fence: Fence::after(None, clock.now()),
                keys: Arc::new(keys),
                login: Login::Password(Arc::clone(&people) as Arc<_>),
                people,
                proof_keys: Arc::new(EveryTime),
                published_keys: Arc::new(NoKeySets),
                client_documents: Arc::new(NoClientDocuments),
                workload_issuers: Vec::new(),
                notices: Arc::new(NoCourier),
                entropy: Arc::new(SystemEntropy),
                tally: Arc::default(),
            },
        );
        let site = AuthorizationSite::new(Arc::new(server), Arc::clone(&clock) as Arc<_>, Branding::default());
        let door = Door::bind(([127, 0, 0, 1], port).into(), Limits::default()).await.expect("a free port");
        let door = tokio::spawn(door.serve(Arc::new(site), std::future::pending()));
        Self { url, origin, clock, store, events, _listening: listening, door }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.origin)
    }

    /// What the store has for a code.
    async fn record(&self, page: &Page) -> CodeRecord {
        let code: AuthorizationCode = page.code().parse().expect("a code of ours");
        self.store.code(code.digest()).await.expect("a store").expect("a code that was recorded")
    }

    /// An ID token of whoever is signed in with this browser, for `app`.
    async fn id_token(&self, browser: &mut Browser) -> String {
        let consent = browser.open(&request(&[("scope", "openid")])).await;
        let back = browser.submit(&consent, &[("decision", "approve")]).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "app"),
            ("code", &back.code()),
            ("code_verifier", VERIFIER),
        ];
        let request = crate::client::http().post(format!("{}/oauth/token", self.url)).form(&form);
        answer(request).await.expect_tokens().text("id_token").to_owned()
    }

    /// A browser whose person has signed in and sees the consent page.
    async fn at_consent(&self) -> (Browser, Page) {
        let mut browser = self.browser();
        let page = browser.open(&request(&[])).await;
        let page = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
        assert!(page.has("value=\"approve\""), "{page:?}");
        (browser, page)
    }
}

/// A good authorization request, with changes: a parameter without a value is left out.
fn request(changes: &[(&str, &str)]) -> String {
    let good = [
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", CALLBACK),
        ("scope", "orders:read"),
        ("state", "s&t=a te"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let kept = good.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let all = kept.chain(changes.iter().filter(|(_, value)| !value.is_empty()));
    format!("/oauth/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish())
}

#[track_caller]
fn assert_page_headers(page: &Page) {
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!page.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{page:?}");
}

#[track_caller]
fn assert_refused(issuer: &Issuer, page: &Page, status: u16, refusal: Refusal) {
    assert_eq!(page.status, status, "{page:?}");
    assert_eq!(page.header("location"), "");
    assert_page_headers(page);
    assert_eq!(issuer.events.last("refusal").as_deref(), Some(refusal.name()));
}

#[tokio::test]
async fn a_request_without_a_trusted_redirect_uri_ends_on_a_page() {
    send_requests_that_end_on_a_page(&Issuer::start().await).await;
}

async fn send_requests_that_end_on_a_page(issuer: &Issuer) {
    let twice = |name: &str, value: &str| format!("{}&{name}={value}", request(&[]));
    let rows = [
        (request(&[("client_id", "")]), Refusal::AuthorizeClientUnknown),
        (request(&[("client_id", "nobody")]), Refusal::AuthorizeClientUnknown),
        (request(&[("client_id", "<script>")]), Refusal::AuthorizeClientUnknown),
        (request(&[("redirect_uri", "https://evil.example/<script>")]), Refusal::RedirectUriUnregistered),
        (request(&[("redirect_uri", "https://app.example/callback")]), Refusal::RedirectUriUnregistered),
        (request(&[("redirect_uri", "https://APP.example/callback?fixed=1")]), Refusal::RedirectUriUnregistered),
        (request(&[("redirect_uri", "https://app.example:443/callback?fixed=1")]), Refusal::RedirectUriUnregistered),
        (request(&[("redirect_uri", "https://app.example/callback?fixed=1#f")]), Refusal::RedirectUriUnregistered),
        (request(&[("client_id", "native"), ("redirect_uri", "")]), Refusal::RedirectUriUnregistered),
        (
            request(&[("client_id", "native"), ("redirect_uri", "http://localhost:1/cb")]),
            Refusal::RedirectUriUnregistered,
        ),
        (twice("client_id", "app"), Refusal::ParameterRepeated),
        (twice("redirect_uri", CALLBACK), Refusal::ParameterRepeated),
        (format!("{}&x=%ff", request(&[])), Refusal::FormMalformed),
        (request(&[("x", &"y".repeat(20_000))]), Refusal::FormTooLarge),
    ];
    for (path, refusal) in rows {
        let page = issuer.browser().open(&path).await;
        assert_refused(issuer, &page, 400, refusal);
        assert!(!page.has("<script>"), "{page:?}");
    }
}

/// Changes to a good request, the error and the refusal that they meet.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Refusal);

#[tokio::test]
async fn every_other_mistake_goes_back_to_the_client() {
    send_requests_that_go_back(&Issuer::start().await).await;
}

async fn send_requests_that_go_back(issuer: &Issuer) {
    let long = "s".repeat(2_049);
    let rows: &[Row<'_>] = &[
        (&[("request_uri", "urn:x")], "request_uri_not_supported", Refusal::RequestUriUnsupported),
        (&[("response_type", "")], "invalid_request", Refusal::ResponseTypeMissing),
        (&[("response_type", "token")], "unsupported_response_type", Refusal::ResponseTypeUnsupported),
        (&[("response_type", "id_token")], "unsupported_response_type", Refusal::ResponseTypeUnsupported),
        (&[("response_type", "code token")], "unsupported_response_type", Refusal::ResponseTypeUnsupported),
        (&[("response_type", "none")], "unsupported_response_type", Refusal::ResponseTypeUnsupported),
        (&[("response_mode", "fragment")], "invalid_request", Refusal::ResponseModeUnsupported),
        (&[("client_id", "batch")], "unauthorized_client", Refusal::AuthorizeNotAllowed),
        (&[("code_challenge", "")], "invalid_request", Refusal::ChallengeMissing),
        (&[("code_challenge_method", "")], "invalid_request", Refusal::ChallengeMethodUnsupported),
        (&[("code_challenge_method", "plain")], "invalid_request", Refusal::ChallengeMethodUnsupported),
        (&[("code_challenge", "too-short")], "invalid_request", Refusal::ChallengeMalformed),
        (&[("dpop_jkt", "x")], "invalid_request", Refusal::JktMalformed),
        (&[("scope", "orders:read  orders:write")], "invalid_scope", Refusal::ScopeMalformed),
        (&[("scope", "orders\"read")], "invalid_scope", Refusal::ScopeMalformed),
        (&[("scope", "orders:read unknown")], "invalid_scope", Refusal::ScopeNotAllowed),
        (&[("scope", "admin")], "invalid_scope", Refusal::ScopeNotAllowed),
        (&[("resource", "https://evil.example")], "invalid_target", Refusal::ResourceUnknown),
        (&[("prompt", "none login")], "invalid_request", Refusal::PromptUnsupported),
        (&[("prompt", "create")], "invalid_request", Refusal::PromptUnsupported),
        (&[("max_age", "-1")], "invalid_request", Refusal::MaxAgeMalformed),
        (&[("acr_values", "a  b")], "invalid_request", Refusal::AcrValuesMalformed),
        (&[("max_age", "+1")], "invalid_request", Refusal::MaxAgeMalformed),
        (&[("prompt", "none")], "login_required", Refusal::LoginRequired),
        (&[("state", &long)], "invalid_request", Refusal::StateTooLong),
        (&[("nonce", &long[..513])], "invalid_request", Refusal::RequestNonceTooLong),
    ];
    for (changes, error, refusal) in rows {
        let page = issuer.browser().open(&request(changes)).await;
        assert!(page.header("location").starts_with("https://app.example/callback?fixed=1&error="), "{page:?}");
        assert_eq!(page.parameter("error").as_deref(), Some(*error), "{changes:?}");
        assert_eq!(page.parameter("error_description").as_deref(), Some(refusal.description()));
        let state = changes.iter().find(|(name, _)| *name == "state").map_or("s&t=a te", |(_, value)| value);
        assert_eq!(page.parameter("state").as_deref(), Some(state));
        assert_eq!(page.parameter("iss").as_deref(), Some(issuer.url.as_str()));
        assert_eq!(page.parameter("code"), None);
        assert_eq!(page.location().fragment(), None);
        assert_eq!(issuer.events.last("refusal").as_deref(), Some(refusal.name()), "{changes:?}");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
    let page = issuer.browser().open(&format!("{}&scope=orders:write", request(&[]))).await;
    assert_eq!(page.parameter("error").as_deref(), Some("invalid_request"));
    assert_eq!(issuer.events.last("refusal").as_deref(), Some(Refusal::ParameterRepeated.name()));
    let page = issuer.browser().open(&format!("{}&state=other", request(&[]))).await;
    assert_eq!((page.parameter("error").as_deref(), page.parameter("state")), (Some("invalid_request"), None));
}

#[tokio::test]
async fn a_person_signs_in_approves_and_the_client_gets_a_code() {
    let issuer = Issuer::start().await;
    let mut browser = issuer.browser();
    let key = base64url(&[9; 32]);
    let wanted = request(&[("extra", "foobar"), ("dpop_jkt", &key), ("login_hint", "a\"><da")]);
    let sign_in = browser.open(&wanted).await;
    assert_eq!(sign_in.status, 200);
    assert_page_headers(&sign_in);
    assert!(sign_in.header("content-security-policy").contains("form-action 'self'"));
    assert_eq!(sign_in.field("username"), "a\"><da");
    assert!(sign_in.has("App &#60;script&#62;alert(1)&#60;/script&#62;"), "{sign_in:?}");

    let consent = browser.submit(&sign_in, &[("username", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(consent.status, 200);
    assert_page_headers(&consent);
    // Browsers apply `form-action` to the redirect that answers a form.
    assert!(!consent.header("content-security-policy").contains("form-action"));
    for shown in ["Read &#60;b&#62;your&#60;/b&#62; orders", "Ada &#60;script&#62;", "https://app.example"] {
        assert!(consent.has(shown), "{shown} in {consent:?}");
    }
    assert!(!consent.has("Change your orders") && !consent.has("<script>"));

    let back = browser.submit(&consent, &[("decision", "approve")]).await;
    assert!(back.header("location").starts_with("https://app.example/callback?fixed=1&code=tgc_"), "{back:?}");
    assert_eq!(back.parameter("state").as_deref(), Some("s&t=a te"));
    assert_eq!(back.parameter("iss").as_deref(), Some(issuer.url.as_str()));
    assert_eq!(back.header("cache-control"), "no-store");
    let record = issuer.record(&back).await;
    assert_eq!(record.client_id.as_str(), "app");
    assert_eq!(record.redirect_uri, CALLBACK);
    assert_eq!(record.subject.as_str(), "0b6f");
    assert_eq!(record.auth_time, issuer.clock.now());
    assert_eq!(record.scopes.to_string(), "orders:read");
    assert_eq!(record.resource.as_str(), "https://api.example.com");
    assert_eq!(record.dpop_jkt.map(|key| key.to_string()), Some(key));
    assert_eq!(record.expires_at, issuer.clock.now() + Duration::from_mins(1));
    assert_eq!(base64url(&record.challenge.expect("a challenge")), CHALLENGE);

    let log = issuer.events.text();
    for secret in [PASSWORD, &back.code(), &browser.cookies["tollgate_session"], &browser.cookies["tollgate_browser"]] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn who_is_signed_in_is_asked_for_consent_only_and_every_time() {
    let issuer = Issuer::start().await;
    let (mut browser, _) = issuer.at_consent().await;
    for _ in 0..2 {
        let page = browser.approve(&request(&[]), "nobody", "nothing").await;
        assert_eq!(issuer.record(&page).await.subject.as_str(), "0b6f");
    }
    let page = browser.open(&request(&[("prompt", "none")])).await;
    assert_eq!(page.parameter("error").as_deref(), Some("consent_required"));

    let again = [("prompt", "login"), ("prompt", "login consent"), ("max_age", "0")];
    for change in again {
        assert!(browser.open(&request(&[change])).await.has("name=\"password\""), "{change:?}");
    }
    assert!(!browser.open(&request(&[("max_age", "60")])).await.has("name=\"password\""));
    issuer.clock.advance(Duration::from_secs(61));
    assert!(browser.open(&request(&[("max_age", "60")])).await.has("name=\"password\""));
    let none = browser.open(&request(&[("max_age", "60"), ("prompt", "none")])).await;
    assert_eq!(none.parameter("error").as_deref(), Some("login_required"));
    assert!(!browser.open(&request(&[("prompt", "consent")])).await.has("name=\"password\""));
    issuer.clock.advance(Duration::from_hours(8));
    assert!(browser.open(&request(&[])).await.has("name=\"password\""), "the session is over");
}

#[tokio::test]
async fn a_person_declines() {
    let issuer = Issuer::start().await;
    let (mut browser, consent) = issuer.at_consent().await;
    let back = browser.submit(&consent, &[("decision", "deny")]).await;
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(back.parameter("state").as_deref(), Some("s&t=a te"));
    assert_eq!(back.parameter("iss").as_deref(), Some(issuer.url.as_str()));
    assert_eq!(back.parameter("code"), None);
    let page = browser.submit(&consent, &[("decision", "maybe")]).await;
    assert_refused(&issuer, &page, 400, Refusal::DecisionMissing);
}

#[tokio::test]
async fn every_refusal_that_the_token_endpoint_has_not_is_met_here() {
    let issuer = Issuer::start().await;
    send_requests_that_end_on_a_page(&issuer).await;
    send_requests_that_go_back(&issuer).await;
    send_sign_outs_that_end_on_a_page(&issuer).await;
    let (mut browser, consent) = issuer.at_consent().await;
    browser.open(&request(&[("prompt", "none")])).await;
    for fields in [
        &[("decision", "maybe")][..],
        &[("decision", "approve"), ("csrf_token", "forged")],
        &[("decision", "approve"), ("transaction", "made up")],
        &[("decision", "deny")],
        &[("decision", "approve")],
        &[("decision", "approve")], // spent by the one before
    ] {
        browser.submit(&consent, fields).await;
    }
    let met = issuer.events.all("refusal");
    let missed: Vec<_> = OF_THE_AUTHORIZATION_ENDPOINT
        .iter()
        .map(|refusal| refusal.name())
        .filter(|name| !met.contains(*name))
        .collect();
    assert!(missed.is_empty(), "no request reaches {missed:?}");
}

#[tokio::test]
async fn authorization_requests_may_be_posted() {
    let issuer = Issuer::start().await;
    let mut browser = issuer.browser();
    let form = request(&[]);
    let form = form.split_once('?').expect("a query").1;
    let pairs: Vec<_> = form_urlencoded::parse(form.as_bytes()).collect();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    let page = browser.post("/oauth/authorize", &pairs).await;
    assert!(page.has("name=\"password\""), "{page:?}");
    let page = browser.post("/oauth/authorize?client_id=app", &pairs).await;
    assert_refused(&issuer, &page, 400, Refusal::ParameterRepeated);
    let url = format!("{}/oauth/authorize", issuer.url);
    for request in [crate::client::http().post(&url).body("x"), crate::client::http().post(&url).json(&pairs)] {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    }
    for (method, path, allow) in [
        ("PUT", "/oauth/authorize", "GET, HEAD, POST"),
        ("OPTIONS", "/oauth/authorize", "GET, HEAD, POST"),
        ("GET", "/login", "POST"),
        ("GET", "/consent", "POST"),
        ("DELETE", "/logout", "GET, HEAD, POST"),
    ] {
        let request = crate::client::http().request(parsed(method), format!("{}{path}", issuer.url));
        let response = request.header("origin", "https://evil.example").send().await.expect("an answer");
        assert_eq!(response.status(), 405, "{method} {path}");
        assert_eq!(response.headers()["allow"], allow);
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(!response.headers().contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_from_nothing() {
    let issuer = Issuer::start().await;
    let mut browser = issuer.browser();
    let page = browser.open(&request(&[])).await;
    let mut texts = Vec::new();
    for (username, password) in [("ada", "wrong"), ("nobody", PASSWORD), ("eve", PASSWORD), ("ada", ""), ("", "")] {
        let again = browser.submit(&page, &[("username", username), ("password", password)]).await;
        assert_eq!(again.status, 403);
        assert_page_headers(&again);
        assert!(again.has("role=\"alert\"") && !again.has(PASSWORD));
        assert_eq!(again.field("username"), username);
        assert!(!browser.cookies.contains_key("tollgate_session"));
        texts.push(again.html.split("<form").next().unwrap_or_default().to_owned());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1);
    let again = browser.submit(&page, &[("username", "ada"), ("password", "wrong")]).await;
    let consent = browser.submit(&again, &[("username", "ada"), ("password", PASSWORD)]).await;
    assert!(consent.has("value=\"approve\""));
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let issuer = Issuer::start().await;
    let mut browser = issuer.browser();
    let page = browser.open(&request(&[])).await;
    for _ in 0..10 {
        assert_eq!(browser.submit(&page, &[("username", "ada"), ("password", "wrong")]).await.status, 403);
    }
    let slowed = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
    assert_eq!((slowed.status, slowed.header("retry-after")), (429, "31"));
    assert_page_headers(&slowed);
    assert_eq!(browser.submit(&page, &[("username", "bob"), ("password", PASSWORD)]).await.status, 200);
    issuer.clock.advance(Duration::from_secs(31));
    assert_eq!(browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await.status, 200);
}

#[tokio::test]
async fn forms_count_only_from_our_pages_in_the_same_browser() {
    let issuer = Issuer::start().await;
    let (browser, consent) = issuer.at_consent().await;
    let (other, others) = issuer.at_consent().await;
    let decision = ("decision", "approve");
    let field = |page: &Page, name: &str| {
        page.form().1.into_iter().find(|(each, _)| each == name).map(|(_, value)| value).expect("the field")
    };

    for origin in ["https://evil.example", "http://127.0.0.1:1", "x"] {
        let mut cross_site = Browser { origin: Some(origin.to_owned()), ..browser.clone() };
        assert_refused(&issuer, &cross_site.submit(&consent, &[decision]).await, 403, Refusal::CrossSiteForm);
    }
    for fetch_site in ["cross-site", "same-site"] {
        let mut cross_site = Browser { fetch_site: Some(fetch_site.to_owned()), ..browser.clone() };
        assert_refused(&issuer, &cross_site.submit(&consent, &[decision]).await, 403, Refusal::CrossSiteForm);
    }
    let foreign_token = field(&others, "csrf_token");
    for token in ["", "x", &foreign_token] {
        let page = browser.clone().submit(&consent, &[decision, ("csrf_token", token)]).await;
        assert_refused(&issuer, &page, 403, Refusal::CrossSiteForm);
    }
    let mut bare = Browser { cookies: BTreeMap::new(), ..browser.clone() };
    assert_refused(&issuer, &bare.submit(&consent, &[decision]).await, 403, Refusal::CrossSiteForm);
    for path in ["/login", "/consent", "/logout"] {
        assert_refused(&issuer, &browser.clone().post(path, &[decision]).await, 403, Refusal::CrossSiteForm);
    }
    assert_refused(&issuer, &other.clone().submit(&consent, &[decision]).await, 403, Refusal::CrossSiteForm);

    let foreign = field(&others, "transaction");
    let genuine = field(&consent, "transaction");
    for transaction in ["", "AAAA", &foreign, &genuine[1..], &genuine.replace('A', "B")] {
        let page = browser.clone().submit(&consent, &[decision, ("transaction", transaction)]).await;
        assert_refused(&issuer, &page, 400, Refusal::TransactionUnknown);
    }

    for origin in [None, Some("null".to_owned()), Some(issuer.url.clone())] {
        let (browser, consent) = issuer.at_consent().await;
        let mut ours = Browser { origin, fetch_site: None, ..browser };
        let page = ours.submit(&consent, &[("decision", "deny")]).await;
        assert_eq!(page.parameter("error").as_deref(), Some("access_denied"));
        let again = ours.submit(&consent, &[decision]).await;
        assert_refused(&issuer, &again, 400, Refusal::TransactionSpent);
    }
}

#[tokio::test]
async fn who_has_declined_cannot_go_back_and_approve() {
    let issuer = Issuer::start().await;
    let (mut browser, consent) = issuer.at_consent().await;
    let declined = browser.submit(&consent, &[("decision", "deny")]).await;
    assert_eq!(declined.parameter("error").as_deref(), Some("access_denied"));
    for decision in ["approve", "deny"] {
        let again = browser.submit(&consent, &[("decision", decision)]).await;
        assert_refused(&issuer, &again, 400, Refusal::TransactionSpent);
    }
}

#[tokio::test]
async fn only_what_the_transaction_says_is_believed() {
    let issuer = Issuer::start().await;
    let (mut browser, consent) = issuer.at_consent().await;
    let forged = [
        ("decision", "approve"),
        ("client_id", "native"),
        ("scope", "admin"),
        ("redirect_uri", "https://evil.example"),
        ("state", "other"),
        ("subject", "0b70"),
    ];
    let back = browser.submit(&consent, &forged).await;
    assert!(back.header("location").starts_with("https://app.example/callback?fixed=1&code="), "{back:?}");
    let record = issuer.record(&back).await;
    assert_eq!((record.client_id.as_str(), record.subject.as_str()), ("app", "0b6f"));
    assert_eq!(record.scopes.to_string(), "orders:read");
}

#[tokio::test]
async fn a_transaction_gives_one_code_however_often_it_is_posted() {
    let issuer = Issuer::start().await;
    let (browser, consent) = issuer.at_consent().await;
    let post = |_| {
        let (mut browser, consent) = (browser.clone(), &consent);
        async move { browser.submit(consent, &[("decision", "approve")]).await }
    };
    let pages = futures_of((0..16).map(post)).await;
    assert_eq!(pages.iter().filter(|page| page.status == 303).count(), 1);
    assert_eq!(pages.iter().filter(|page| page.status == 400).count(), 15);
    assert_refused(
        &issuer,
        &browser.clone().submit(&consent, &[("decision", "approve")]).await,
        400,
        Refusal::TransactionSpent,
    );
}

/// Runs futures side by side.
async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *output = Some(value),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    waiting.into_iter().map(|(_, output)| output.expect("every future is ready")).collect()
}

#[tokio::test]
async fn a_page_that_waited_too_long_or_lost_its_person_decides_nothing() {
    let issuer = Issuer::start().await;
    let decision = [("decision", "approve")];
    let (mut browser, consent) = issuer.at_consent().await;
    issuer.clock.advance(Duration::from_mins(10));
    assert_refused(&issuer, &browser.submit(&consent, &decision).await, 400, Refusal::TransactionUnknown);

    // Somebody else signs in with the same browser meanwhile: the page was not shown to them.
    let consent = browser.open(&request(&[])).await;
    let mut tab = browser.clone();
    let sign_in = tab.open(&request(&[("prompt", "login")])).await;
    let bobs = tab.submit(&sign_in, &[("username", "bob"), ("password", PASSWORD)]).await;
    assert!(bobs.has("Bob"));
    assert_ne!(browser.cookies["tollgate_session"], tab.cookies["tollgate_session"], "the session was not rotated");
    assert_refused(&issuer, &tab.clone().submit(&consent, &decision).await, 400, Refusal::TransactionUnknown);
    assert_refused(&issuer, &browser.submit(&consent, &decision).await, 400, Refusal::TransactionUnknown);
    assert_eq!(issuer.record(&tab.submit(&bobs, &decision).await).await.subject.as_str(), "0b70");
}

#[tokio::test]
async fn not_you_asks_who_it_is() {
    let issuer = Issuer::start().await;
    let (mut browser, consent) = issuer.at_consent().await;
    let old = browser.clone();
    let sign_in = browser.submit(&consent, &[("decision", "switch")]).await;
    assert!(sign_in.has("name=\"password\"") && !browser.cookies.contains_key("tollgate_session"));
    let consent_of_ada = old.clone().submit(&consent, &[("decision", "approve")]).await;
    assert_refused(&issuer, &consent_of_ada, 400, Refusal::TransactionUnknown);
    let consent = browser.submit(&sign_in, &[("username", "bob"), ("password", PASSWORD)]).await;
    let back = browser.submit(&consent, &[("decision", "approve")]).await;
    assert_eq!(issuer.record(&back).await.subject.as_str(), "0b70");
    assert_eq!(back.parameter("state").as_deref(), Some("s&t=a te"));
}

#[tokio::test]
async fn people_sign_out() {
    let issuer = Issuer::start().await;
    let (mut browser, consent) = issuer.at_consent().await;
    let old = browser.clone();
    let page = browser.open("/logout").await;
    assert_page_headers(&page);
    let page = browser.submit(&page, &[]).await;
    assert_eq!(page.status, 200);
    assert_page_headers(&page);
    assert!(!browser.cookies.contains_key("tollgate_session"));
    let decided = old.clone().submit(&consent, &[("decision", "approve")]).await;
    assert_refused(&issuer, &decided, 400, Refusal::TransactionUnknown);
    assert!(old.clone().open(&request(&[])).await.has("name=\"password\""));
}

/// The path at which a client asks for a sign-out.
fn logout(parameters: &[(&str, &str)]) -> String {
    format!("/logout?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
}

#[tokio::test]
async fn a_client_signs_people_out_and_gets_them_back() {
    let issuer = Issuer::start().await;
    let (mut browser, _) = issuer.at_consent().await;
    let hint = issuer.id_token(&mut browser).await;
    let good =
        [("id_token_hint", hint.as_str()), ("client_id", "app"), ("post_logout_redirect_uri", BYE), ("state", "s&t")];
    issuer.clock.advance(Duration::from_mins(6)); // the hint has expired, which does not matter
    let page = browser.open(&logout(&good)).await;
    assert_page_headers(&page);
    assert!(!page.header("content-security-policy").contains("form-action"), "the answer of the form is a redirect");
    let posted = issuer.browser().post("/logout", &good).await;
    assert_eq!((posted.status, posted.header("location")), (303, format!("{}{}", issuer.url, logout(&good)).as_str()));
    let stranger = issuer.browser().submit(&page, &[]).await;
    assert_refused(&issuer, &stranger, 403, Refusal::CrossSiteForm);
    let back = browser.submit(&page, &[]).await;
    assert_eq!((back.status, back.header("location")), (303, "https://app.example/bye?state=s%26t"));
    assert!(!browser.cookies.contains_key("tollgate_session"));
    // Nobody is signed in any more: there is nothing to ask about.
    let again = browser.open(&logout(&good)).await;
    assert_eq!(again.header("location"), "https://app.example/bye?state=s%26t");
}

#[tokio::test]
async fn a_sign_out_never_leads_to_where_no_client_has_registered_it() {
    send_sign_outs_that_end_on_a_page(&Issuer::start().await).await;
}

async fn send_sign_outs_that_end_on_a_page(issuer: &Issuer) {
    let (mut browser, _) = issuer.at_consent().await;
    let hint = issuer.id_token(&mut browser).await;
    let unsigned = format!("{}.AAAA", hint.rsplit_once('.').expect("a JWT").0);
    for (parameters, refusal) in [
        (vec![("post_logout_redirect_uri", BYE)], Refusal::PostLogoutRedirectUriUnregistered),
        (vec![("post_logout_redirect_uri", BYE), ("client_id", "app")], Refusal::PostLogoutRedirectUriUnregistered),
        (
            vec![("post_logout_redirect_uri", "https://evil.example/"), ("id_token_hint", &hint)],
            Refusal::PostLogoutRedirectUriUnregistered,
        ),
        (
            vec![("post_logout_redirect_uri", CALLBACK), ("id_token_hint", &hint)],
            Refusal::PostLogoutRedirectUriUnregistered,
        ),
        (vec![("post_logout_redirect_uri", BYE), ("id_token_hint", &unsigned)], Refusal::IdTokenHintInvalid),
        (vec![("post_logout_redirect_uri", BYE), ("id_token_hint", "x")], Refusal::IdTokenHintInvalid),
        (vec![("id_token_hint", &hint), ("client_id", "native")], Refusal::IdTokenHintInvalid),
    ] {
        assert_refused(issuer, &browser.open(&logout(&parameters)).await, 400, refusal);
    }
    let page = browser.open(&logout(&[("id_token_hint", &hint)])).await;
    assert_eq!(browser.submit(&page, &[]).await.status, 200, "without a URI a page says that it is done");
}

#[tokio::test]
async fn state_comes_back_byte_for_byte() {
    let issuer = Issuer::start().await;
    let (mut browser, _) = issuer.at_consent().await;
    let longest = "\u{1}\"&+%\r\n<é".chars().cycle().take(2_040).collect::<String>();
    let longest = longest.chars().take_while({
        let mut length = 0;
        move |character| {
            length += character.len_utf8();
            length <= 2_048
        }
    });
    for state in ["x".repeat(2_048), longest.collect(), "\u{0}".repeat(2_048), "<script>".to_owned()] {
        let consent = browser.open(&request(&[("state", &state)])).await;
        assert!(!consent.has("<script>"));
        let back = browser.submit(&consent, &[("decision", "approve")]).await;
        assert_eq!(back.parameter("state"), Some(state));
    }
    let without = browser.approve(&request(&[("state", "")]), "", "").await;
    assert_eq!(without.parameter("state"), None);
}

#[tokio::test]
async fn redirect_uris_of_native_apps_work() {
    let issuer = Issuer::start().await;
    let (mut browser, _) = issuer.at_consent().await;
    for (uri, destination) in
        [("http://127.0.0.1:49152/cb", "http://127.0.0.1:49152"), ("com.example.app:/cb", "com.example.app")]
    {
        let consent = browser.open(&request(&[("client_id", "native"), ("redirect_uri", uri)])).await;
        assert!(consent.has(&format!("<strong>{destination}</strong>")), "{consent:?}");
        let back = browser.submit(&consent, &[("decision", "approve")]).await;
        assert!(back.header("location").starts_with(&format!("{uri}?code=")), "{back:?}");
        assert_eq!(issuer.record(&back).await.redirect_uri, uri);
    }
    let only = browser.open(&request(&[("redirect_uri", ""), ("scope", "")])).await;
    assert!(only.has("Change your orders"), "no scope means all that the client is registered for");
    let back = browser.submit(&only, &[("decision", "approve")]).await;
    assert_eq!(issuer.record(&back).await.redirect_uri, CALLBACK);
}

#[tokio::test]
async fn an_issuer_with_a_path_has_its_pages_below_it() {
    let issuer = Issuer::start_as(|origin| format!("{origin}/t1")).await;
    let mut browser = issuer.browser();
    let page = browser.open(&format!("/t1{}", request(&[]))).await;
    let consent = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
    let back = browser.submit(&consent, &[("decision", "approve")]).await;
    assert_eq!(back.parameter("iss"), Some(issuer.url.clone()));
    assert_eq!(browser.open(&request(&[])).await.status, 404);
}

#[tokio::test]
async fn over_https_cookies_are_for_this_host_and_https_only() {
    let issuer = Issuer::start_as(|_| "https://auth.example.com".to_owned()).await;
    let mut browser = issuer.browser();
    let page = browser.open(&request(&[])).await;
    assert_page_headers(&page);
    assert_eq!(page.header("strict-transport-security"), "max-age=31536000");
    let (name, attributes) = page.header("set-cookie").split_once('=').expect("a cookie");
    assert_eq!(name, "__Host-tollgate_browser");
    assert!(attributes.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{attributes}");

    browser.origin = Some("https://auth.example.com".to_owned());
    let consent = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
    assert!(consent.header("set-cookie").starts_with("__Host-tollgate_session=tgs_"), "{consent:?}");
    let unprefixed =
        browser.cookies.iter().map(|(name, value)| (name.trim_start_matches("__Host-").to_owned(), value.clone()));
    let mut other = Browser { cookies: unprefixed.collect(), ..browser.clone() };
    assert_refused(&issuer, &other.submit(&consent, &[("decision", "approve")]).await, 403, Refusal::CrossSiteForm);
    let back = browser.submit(&consent, &[("decision", "approve")]).await;
    assert_eq!(back.parameter("iss").as_deref(), Some("https://auth.example.com"));
    assert_eq!(back.header("strict-transport-security"), "max-age=31536000");
}
