//! A whole server in this process, with a clock that tests set and every event in reach.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::app::{Addresses, App, AppError, Seams, Stop};
use tollgate::clock::{Clock, Timestamp};
use tollgate::config::{self, AdminApi, Config, Document};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::grpc::Access;
use tollgate::ident::Subject;
use tollgate::identity::{Attempt, Authentication, Login, Passwords, People, Person};
use tollgate::jose::{Algorithm, SigningKey, Thumbprint};
use tollgate::oauth::Settings;
use tollgate::replay::ReplayGuard;
use tollgate::secret::{AuthorizationCode, DeviceCode, Digest, base64url, sha256};
use tollgate::store::{CodeRecord, Decision, Limits, MemoryStore, Recorded, Store, TransactionId, Unavailable};
use tollgate::telemetry::Feed;
use tollgate::token::{AuthorizationDetails, RequestedClaims};
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::client::{CHALLENGE, Client, Credential};

/// A clock that tests set. It begins in October 2025 and stands still.
pub struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_760_000_000_000))
    }
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).expect("a short time"), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Every event of a world: what `refusal`, `denial` and `outcome` fields said, and all of it as text.
#[derive(Clone, Default)]
pub struct Events {
    /// Those for auditors, for who watches them.
    pub feed: Feed,
    said: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    /// A subscriber that hears nothing. While there is only one, tracing judges a place that speaks for the first time by
    /// the thread that happens to be there; if that is another test's, the place stays silent for this one too.
    _second: Option<Dispatch>,
}

impl Events {
    /// The last value of a field.
    pub fn last(&self, field: &str) -> Option<String> {
        let events = self.said.lock().expect("no test panics with the lock");
        events.iter().rev().find_map(|event| event.get(field).cloned())
    }

    /// Every value of a field.
    pub fn all(&self, field: &str) -> BTreeSet<String> {
        let events = self.said.lock().expect("no test panics with the lock");
        events.iter().filter_map(|event| event.get(field).cloned()).collect()
    }

    /// The events of a target, each with its level.
    pub fn of(&self, target: &str) -> Vec<BTreeMap<String, String>> {
        let events = self.said.lock().expect("no test panics with the lock");
        events.iter().filter(|event| event["target"] == target).cloned().collect()
    }

    /// Everything that was said, one event a line.
    pub fn text(&self) -> String {
        let events = self.said.lock().expect("no test panics with the lock");
        events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>().join("\n")
    }
}

impl<S: tracing::Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Fields(BTreeMap<String, String>);
        impl Visit for Fields {
            fn record_str(&mut self, field: &Field, value: &str) {
                self.0.insert(field.name().to_owned(), value.to_owned());
            }

            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name().to_owned(), format!("{value:?}"));
            }
        }
        let about = event.metadata();
        let level = about.level().as_str().to_ascii_lowercase();
        let mut fields =
            Fields(BTreeMap::from([("target".to_owned(), about.target().to_owned()), ("level".to_owned(), level)]));
        event.record(&mut fields);
        self.said.lock().expect("no test panics with the lock").push(fields.0);
    }
}

impl Events {
    /// Listens to everything that this thread says from now on: to a whole world, in a runtime of one thread.
    pub fn listen() -> (Self, DefaultGuard) {
        let events = Self { _second: Some(Dispatch::new(tracing_subscriber::registry())), ..Self::default() };
        let guard = tracing::subscriber::set_default(
            tracing_subscriber::registry().with(events.clone()).with(events.feed.clone()),
        );
        (events, guard)
    }
}

/// A port of this machine that nobody listens on, and that nobody else here is told. It lies below those that the system
/// gives to outgoing connections, so that none of them is there first.
pub fn free_port() -> u16 {
    static COUNTER: AtomicU16 = AtomicU16::new(0);
    let base = std::process::id().wrapping_mul(97);
    loop {
        let offset = base.wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed).into()) % 20_000;
        let port = 10_000 + u16::try_from(offset).expect("below 20,000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// People, ada, bob and any number of guests, whose password is their name turned around, and who can be locked out and let in again.
#[derive(Default)]
pub struct TestPeople {
    disabled: Mutex<HashSet<String>>,
}

impl TestPeople {
    /// New people, as a server asks them.
    pub fn seams() -> (Login, Arc<dyn People>) {
        Arc::<Self>::default().as_seams()
    }

    fn as_seams(self: Arc<Self>) -> (Login, Arc<dyn People>) {
        (Login::Password(Arc::clone(&self) as Arc<_>), self)
    }

    fn find(&self, name: &str) -> Option<Person> {
        let disabled = self.disabled.lock().expect("no test panics with the lock").contains(name);
        let known = (["ada", "bob"].contains(&name) || name.starts_with("guest")) && !disabled;
        known.then(|| Person {
            subject: name.parse().expect("a name"),
            name: name.to_owned(),
            email: Some(format!("{name}@example.com")),
            claims: [("given_name".to_owned(), name.into()), ("shoe_size".to_owned(), 38.into())].into_iter().collect(),
        })
    }
}

#[async_trait]
impl Passwords for TestPeople {
    async fn authenticate(&self, attempt: Attempt<'_>) -> Result<Authentication, Unavailable> {
        let backwards: String = attempt.username.chars().rev().collect();
        let person = self.find(attempt.username).filter(|_| attempt.password == backwards);
        Ok(person.map_or(Authentication::Unknown, Authentication::Known))
    }
}

#[async_trait]
impl People for TestPeople {
    async fn person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable> {
        Ok(self.find(subject.as_str()))
    }
}

/// The secret of every client that has one.
pub const SECRET: &str = "a-secret-of-forty-three-characters-for-tests";

/// A server with its clients: public `spa`, `web` with a key, `backend` and `poster` with secrets, `bound` that must bring
/// a proof, `legacy` that need not, and the device `tv`. Its gate protects `https://api.example.com`.
pub struct World {
    pub issuer: String,
    pub clock: Arc<TestClock>,
    pub store: Arc<dyn Store>,
    pub events: Events,
    /// Where health is, and the gate.
    pub addresses: Addresses,
    people: Arc<TestPeople>,
    web_key: Vec<u8>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), AppError>>,
    listening: Option<tracing::subscriber::DefaultGuard>,
    /// Where the socket of our own API is, if people sign in elsewhere.
    _folder: TempDir,
}

/// How a life of a world ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It is told to stop, and notes that it did.
    Stopped,
    /// It is gone from one moment to the next.
    Killed,
}

impl World {
    /// A world in memory.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A world in memory whose settings were changed.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_on(Arc::new(MemoryStore::new(Limits::default())), change).await
    }

    /// A world on a store.
    pub async fn start_on(store: Arc<dyn Store>, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_guarded(store, None, change).await
    }

    /// A world on a store, with a replay guard in the place of its own.
    pub async fn start_guarded(
        store: Arc<dyn Store>,
        guard: Option<Arc<dyn ReplayGuard>>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let issuer = format!("http://127.0.0.1:{}", free_port());
        let web_key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let web_key = web_key.to_pkcs8().expect("PKCS #8").to_vec();
        Self::live(issuer, (Arc::default(), store, Arc::default()), (guard, None), web_key, change).await
    }

    /// A world in memory whose people sign in elsewhere.
    pub async fn start_with_login(login: config::Login, change: impl FnOnce(&mut Settings)) -> Self {
        let issuer = format!("http://127.0.0.1:{}", free_port());
        let web_key = SigningKey::generate(Algorithm::Es256).expect("a key").to_pkcs8().expect("PKCS #8").to_vec();
        let store = Arc::new(MemoryStore::new(Limits::default()));
        Self::live(issuer, (Arc::default(), store, Arc::default()), (None, Some(login)), web_key, change).await
    }

    /// Ends this life and begins another one, at the same address, with the same state, clock and people.
    pub async fn restart(self, end: End) -> Self {
        self.restart_with(end, |_| {}).await
    }

    /// The same, with changed settings.
    pub async fn restart_with(mut self, end: End, change: impl FnOnce(&mut Settings)) -> Self {
        match end {
            End::Stopped => {
                drop(self.stop.take());
                (&mut self.served).await.expect("no panic").expect("a clean end");
            }
            End::Killed => {
                self.served.abort();
                assert!((&mut self.served).await.is_err_and(|error| error.is_cancelled()));
            }
        }
        drop(self.listening.take()); // or it would take the place of the next one when it is dropped
        let seams = (Arc::clone(&self.clock), Arc::clone(&self.store), Arc::clone(&self.people));
        Self::live(self.issuer.clone(), seams, (None, None), self.web_key.clone(), change).await
    }

    async fn live(
        issuer: String,
        (clock, store, people): (Arc<TestClock>, Arc<dyn Store>, Arc<TestPeople>),
        (guard, login): (Option<Arc<dyn ReplayGuard>>, Option<config::Login>),
        web_key: Vec<u8>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let (events, listening) = Events::listen();
        let key = SigningKey::from_pkcs8(Algorithm::Es256, &web_key).expect("the key");
        let mut config = configuration(&issuer, &key);
        let server = config.authorization_server.as_mut().expect("an authorization server");
        change(&mut server.settings);
        let external = server.settings.external_login.is_some();
        let folder = tempfile::tempdir().expect("a folder");
        let login = if external { Some(config::Login::External) } else { login };
        let people_are_ours = login.is_none();
        config.listen.admin_api =
            Some(AdminApi::Socket { path: folder.path().join("admin.sock"), access: Access::Owner });
        if login.is_some() {
            // Whoever stands in front says for whom it asks; whose word counts about who signed in is another matter.
            config.listen.public.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
            config.authorization_server.as_mut().expect("an authorization server").login = login;
        }
        let seams = Seams {
            feed: events.feed.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            store: Some(Arc::clone(&store)),
            guard,
            people: people_are_ours.then(|| Arc::clone(&people).as_seams()),
            ..Seams::default()
        };
        let app = Box::pin(App::start(config, seams)).await.expect("a start");
        let addresses = app.addresses().expect("addresses");
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(app.run(async {
            let _ = stopped.await;
            Stop::AtOnce
        }));
        let (stop, listening) = (Some(stop), Some(listening));
        Self { issuer, clock, store, events, addresses, people, web_key, stop, served, listening, _folder: folder }
    }

    /// A client with a DPoP key of its own; a second one of the same name is a thief, or a second device.
    pub fn client(&self, id: &str) -> Client {
        let credential = match id {
            "web" => {
                Credential::Key(Box::new(SigningKey::from_pkcs8(Algorithm::Es256, &self.web_key).expect("the key")))
            }
            "backend" | "bound" => Credential::Basic(SECRET.to_owned()),
            "poster" => Credential::Post(SECRET.to_owned()),
            _ => Credential::None,
        };
        Client::new(&self.issuer, id, credential)
    }

    pub fn disable(&self, person: &str) {
        self.people.disabled.lock().expect("no test panics with the lock").insert(person.to_owned());
    }

    pub fn enable(&self, person: &str) {
        self.people.disabled.lock().expect("no test panics with the lock").remove(person);
    }

    /// A code that ada approved for a client just now; `authorize.rs` gets them through the browser.
    pub async fn code(&self, client: &Client) -> String {
        self.approved(client, None).await
    }

    /// The same, bound to a key by `dpop_jkt`.
    pub async fn code_bound_to(&self, client: &Client, key: &SigningKey) -> String {
        self.approved(client, Some(key.public().thumbprint())).await
    }

    /// What ada, or bob, has decided about a device just now; `device.rs` does it through the browser.
    pub async fn decide(&self, device_code: &str, decision: &Decision) {
        decide(&*self.store, self.clock.now(), device_code, decision).await;
    }

    /// The same: to let it in.
    pub async fn let_in(&self, device_code: &str, person: &str) {
        let approve =
            Decision::Approve { subject: person.parse().expect("a name"), auth_time: self.clock.now(), acr: None };
        self.decide(device_code, &approve).await;
    }

    async fn approved(&self, client: &Client, dpop_jkt: Option<Thumbprint>) -> String {
        record_code(&*self.store, self.clock.now(), &client.id, dpop_jkt).await
    }
}

/// Records what somebody has decided about a device just now.
pub async fn decide(store: &dyn Store, now: Timestamp, device_code: &str, decision: &Decision) {
    let code = device_code.parse::<DeviceCode>().expect("a device code").digest();
    let device = store.device(code).await.expect("an answer").expect("a device");
    let browser = Digest::from_bytes([1; 32]);
    let claimed = store.claim_device(device.user_code, browser, now).await.expect("an answer");
    assert!(claimed.is_some(), "the device is pending");
    assert_eq!(store.decide_device(code, browser, decision, now).await, Ok(true));
}

/// Records a code that ada approved for a client just now.
pub async fn record_code(store: &dyn Store, now: Timestamp, client: &str, dpop_jkt: Option<Thumbprint>) -> String {
    let entropy: &dyn Entropy = &SystemEntropy;
    let code = AuthorizationCode::draw(entropy);
    let challenge = tollgate::secret::from_base64url(CHALLENGE).expect("base64url");
    let record = CodeRecord {
        digest: code.digest(),
        transaction: TransactionId(entropy.draw()),
        client_id: client.parse().expect("a name"),
        redirect_uri: "https://app.example/cb".to_owned(),
        challenge: Some(challenge.try_into().expect("32 bytes")),
        subject: "ada".parse().expect("a name"),
        auth_time: now,
        acr: None,
        scopes: "orders:read orders:write".parse().expect("scopes"),
        resource: "https://api.example.com".parse().expect("a resource"),
        details: AuthorizationDetails::default(),
        dpop_jkt,
        nonce: None,
        claims: RequestedClaims::default(),
        session: None,
        expires_at: now + Duration::from_mins(1),
        spent_for: None,
    };
    assert_eq!(store.record_code(&record).await, Ok(Recorded::First));
    code.reveal()
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// The configuration of a world.
pub fn configuration(issuer: &str, web_key: &SigningKey) -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("users.yaml"), "users: []").expect("a file"); // `TestPeople` take their place
    std::fs::write(folder.path().join("kek"), ENCRYPTION_KEY).expect("a file");
    let document = Document::parse("world.yaml", &configuration_text(issuer, web_key), folder.path())
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.to_terminal()));
    document.check().unwrap_or_else(|mistakes| panic!("{}", mistakes.to_terminal()))
}

/// What `encryption_key_file` of a world holds.
pub const ENCRYPTION_KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n";

/// The file of a world; it names `users.yaml` and `kek`.
pub fn configuration_text(issuer: &str, web_key: &SigningKey) -> String {
    let address = issuer.strip_prefix("http://").expect("plain http");
    let secret = format!("sha256:{}", base64url(&sha256(SECRET.as_bytes())));
    let jwk = web_key.published_jwk();
    format!(
        r#"
listen: {{ public: {{ address: "{address}" }}, admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
shutdown: {{ delay: 0s, deadline: 5s }}
store: {{ memory: {{}} }}
authorization_server:
  issuer: "{issuer}"
  login: {{ local: {{ users_file: users.yaml }} }}
  signing: {{ encryption_key_file: kek }}
  resources: ["https://files.example.com"]
  scopes: {{ "orders:read": "Read your orders", "orders:write": "Change your orders", admin: "Everything" }}
  clients:
    - client_id: spa
      client_name: Single-page application
      token_endpoint_auth_method: none
      grant_types: [authorization_code, refresh_token]
      redirect_uris: ["https://app.example/cb", "http://127.0.0.1/cb"]
      scope: "orders:read orders:write"
    - client_id: web
      client_name: Web application
      token_endpoint_auth_method: private_key_jwt
      grant_types: [authorization_code, refresh_token, client_credentials, "urn:ietf:params:oauth:grant-type:device_code"]
      redirect_uris: ["https://app.example/cb", "http://127.0.0.1/cb"]
      jwks: {{ keys: [{jwk}] }}
      scope: "orders:read orders:write"
    - client_id: backend
      client_name: Backend
      client_secret_hash: "{secret}"
      grant_types: [authorization_code, refresh_token, client_credentials]
      redirect_uris: ["https://app.example/cb"]
      refresh_token_rotation: never
      scope: "orders:read orders:write"
    - client_id: poster
      client_name: Poster
      token_endpoint_auth_method: client_secret_post
      client_secret_hash: "{secret}"
      grant_types: [client_credentials]
      scope: "orders:read"
    - client_id: bound
      client_name: Bound
      client_secret_hash: "{secret}"
      grant_types: [client_credentials]
      dpop_bound_access_tokens: true
      scope: "orders:read"
    - client_id: legacy
      client_name: Legacy
      token_endpoint_auth_method: none
      grant_types: [authorization_code, refresh_token]
      redirect_uris: ["https://app.example/cb"]
      scope: "orders:read orders:write"
    - client_id: tv
      client_name: Living-room <TV>
      token_endpoint_auth_method: none
      grant_types: ["urn:ietf:params:oauth:grant-type:device_code", refresh_token]
      scope: "orders:read orders:write"
protected_resources:
  - resource: https://api.example.com
    rules: [ {{ path: "/orders/**", scope: "orders:read" }} ]
"#
    )
}
