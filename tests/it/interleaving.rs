//! The promise of refresh tokens: a client that keeps one copy of its tokens never meets a fork, whatever is lost, doubled
//! or cut off, in whichever order the steps of its requests happen.
//!
//! The client sends what its copy holds, several requests at a time, and puts an answer into the copy only if that still
//! holds the token which the request was made with. A request takes effect from its first read of the grant on; every
//! call of the store after that is a step of its own, and the steps of all requests mix at random.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tollgate::cache::{KnownProofKeys, NoClientDocuments, NoKeySets};
use tollgate::clock::Clock as _;
use tollgate::courier::NoCourier;
use tollgate::dpop::Fence;
use tollgate::entropy::SystemEntropy;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::keys::{KeySchedule, SigningKeys};
use tollgate::oauth::{AuthorizationServer, Dependencies, Error, Parameters, Refusal, TokenAnswer, TokenRequest};
use tollgate::replay::LocalReplayGuard;
use tollgate::secret::RefreshToken;
use tollgate::secret::seal::RootKey;
use tollgate::store::{EndedBy, Endings, GrantHandle, Limits, MemoryStore, SqliteStore, Store, Unavailable};

use crate::client::{Client, Credential, code_request, refresh_request};
use crate::tap::{Tap, TappedStore};
use crate::world::{SECRET, TestClock, TestPeople, configuration, record_code};

const ISSUER: &str = "http://127.0.0.1:1";

/// Lets one call of the store through at a time.
#[derive(Default)]
struct Turnstile {
    open: AtomicBool,
    waited_at: AtomicBool,
    passed: Mutex<&'static str>,
}

#[async_trait]
impl Tap for Turnstile {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        std::future::poll_fn(|_| {
            if self.open.swap(false, Ordering::SeqCst) {
                *self.passed.lock().expect("no test panics with the lock") = call;
                return Poll::Ready(Ok(()));
            }
            self.waited_at.store(true, Ordering::SeqCst);
            Poll::Pending
        })
        .await
    }
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Event {
    /// The client sends what its copy holds.
    Send,
    /// A request goes on by one step.
    Step(Index),
    /// A request begins its next step, and then its connection breaks: nobody knows whether the step was done.
    Cut(Index),
    /// An answer arrives.
    Deliver(Index),
    /// An answer does not.
    Lose(Index),
    /// Some seconds pass.
    Wait(u8),
    /// The process is gone, and with it every request under way; a new one opens the same store.
    Restart,
    /// The grant is revoked.
    Revoke,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => Just(Event::Send),
        12 => any::<Index>().prop_map(Event::Step),
        2 => any::<Index>().prop_map(Event::Cut),
        6 => any::<Index>().prop_map(Event::Deliver),
        2 => any::<Index>().prop_map(Event::Lose),
        2 => (1_u8..40).prop_map(Event::Wait),
        1 => Just(Event::Restart),
    ];
    // A revocation comes late, or there would be little to see.
    (prop::collection::vec(event, 1..60), prop::option::weighted(0.3, prop::collection::vec(any::<Index>(), 0..12)))
        .prop_map(|(mut events, revocation)| {
            if let Some(steps) = revocation {
                events.push(Event::Revoke);
                events.extend(steps.into_iter().map(Event::Step));
            }
            events
        })
}

/// A request under way.
struct Caller {
    presented: String,
    request: Pin<Box<dyn Future<Output = TokenAnswer>>>,
}

/// What a request was answered: a refresh token, or why there is none.
struct Answered {
    presented: String,
    result: Result<String, Refusal>,
}

/// Where state is between two lives.
enum Medium {
    Memory(Arc<dyn Store>),
    File(TempDir),
}

impl Medium {
    fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::clone(store),
            Self::File(directory) => {
                let path = directory.path().join("tollgate.db");
                Arc::new(SqliteStore::open(&path, Limits::default()).expect("a store"))
            }
        }
    }
}

/// One client, one grant, and whichever server lives now.
struct Story<'a> {
    runtime: &'a Runtime,
    keys: Arc<SigningKeys>,
    clock: TestClock,
    medium: Medium,
    turnstile: Arc<Turnstile>,
    /// The server of this life, and its store without the turnstile.
    life: Option<(Arc<AuthorizationServer>, Arc<dyn Store>)>,
    client: Client,
    bound: bool,
    copy: String,
    handle: GrantHandle,
    revoked: bool,
    under_way: Vec<Caller>,
    on_the_way_back: Vec<Answered>,
}

impl<'a> Story<'a> {
    fn begin(runtime: &'a Runtime, keys: Arc<SigningKeys>, medium: Medium, client: &str, bound: bool) -> Self {
        let credential = if client == "backend" { Credential::Basic(SECRET.to_owned()) } else { Credential::None };
        let mut story = Self {
            runtime,
            keys,
            clock: TestClock::default(),
            medium,
            turnstile: Arc::default(),
            life: None,
            client: Client::new(ISSUER, client, credential),
            bound,
            copy: String::new(),
            handle: GrantHandle([0; 16]),
            revoked: false,
            under_way: Vec::new(),
            on_the_way_back: Vec::new(),
        };
        story.restart();
        let (_, store) = story.life.as_ref().expect("a life");
        let code = runtime.block_on(record_code(&**store, story.clock.now(), client, None));
        let mut caller = story.call(&code_request(&code));
        let answer = loop {
            if let Some(answer) = story.step(&mut caller) {
                break answer;
            }
        };
        story.copy = refresh_token(answer).expect("a first refresh token");
        story.handle = GrantHandle(story.copy.parse::<RefreshToken>().expect("a refresh token").handle());
        story
    }

    /// Begins a life; everything under way is gone with the one before.
    fn restart(&mut self) {
        self.under_way.clear();
        self.on_the_way_back.clear();
        drop(self.life.take());
        let store = self.medium.open();
        let tapped = TappedStore { inner: Arc::clone(&store), tap: Arc::clone(&self.turnstile) as Arc<dyn Tap> };
        let unused = SigningKey::generate(Algorithm::Es256).expect("a key");
        let settings = configuration(ISSUER, &unused).authorization_server.expect("an authorization server").settings;
        let (login, people) = TestPeople::seams();
        let dependencies = Dependencies {
            store: Arc::new(tapped),
            endings: Arc::new(Endings::new(Duration::from_mins(10))),
            guard: Arc::new(LocalReplayGuard::new(10_000)),
            fence: Fence::after(None, self.clock.now()),
            keys: Arc::clone(&self.keys),
            login,
            people,
            proof_keys: Arc::new(KnownProofKeys::new(10)),
            published_keys: Arc::new(NoKeySets),
            client_documents: Arc::new(NoClientDocuments),
            workload_issuers: Vec::new(),
            notices: Arc::new(NoCourier),
            entropy: Arc::new(SystemEntropy),
            tally: Arc::default(),
        };
        self.life = Some((Arc::new(AuthorizationServer::new(settings, dependencies)), store));
    }

    /// A request that has not begun yet.
    fn call(&self, parameters: &[(&str, &str)]) -> Caller {
        let now = self.clock.now();
        let call =
            if self.bound { self.client.request(now, parameters) } else { self.client.bearer_request(now, parameters) };
        let (form, authorization, proofs) = call.into_parts();
        let (server, _) = self.life.as_ref().expect("a life");
        let server = Arc::clone(server);
        let request = async move {
            let parameters = Parameters::parse(&form).expect("a form");
            let proofs: Vec<_> = proofs.iter().map(String::as_str).collect();
            let authorization = authorization.as_deref();
            server
                .token(
                    TokenRequest {
                        parameters: &parameters,
                        authorization,
                        proofs: &proofs,
                        certificate: None,
                        address: [127, 0, 0, 1].into(),
                    },
                    now,
                )
                .await
        };
        Caller { presented: self.copy.clone(), request: Box::pin(request) }
    }

    /// Lets a request through one call of the store.
    fn step(&self, caller: &mut Caller) -> Option<TokenAnswer> {
        let turnstile = &*self.turnstile;
        turnstile.waited_at.store(false, Ordering::SeqCst);
        turnstile.open.store(true, Ordering::SeqCst);
        let answer =
            self.runtime.block_on(std::future::poll_fn(|context| match caller.request.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if turnstile.waited_at.load(Ordering::SeqCst) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }));
        turnstile.open.store(false, Ordering::SeqCst);
        answer
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Send => {
                let mut caller = self.call(&refresh_request(&self.copy));
                *self.turnstile.passed.lock().expect("no test panics with the lock") = "";
                loop {
                    if let Some(answer) = self.step(&mut caller) {
                        self.answered(caller.presented, answer);
                        return;
                    }
                    if *self.turnstile.passed.lock().expect("no test panics with the lock") == "grant" {
                        self.under_way.push(caller);
                        return;
                    }
                }
            }
            Event::Step(which) => {
                if let Some(mut caller) = take(&mut self.under_way, *which) {
                    match self.step(&mut caller) {
                        Some(answer) => self.answered(caller.presented, answer),
                        None => self.under_way.push(caller),
                    }
                }
            }
            Event::Cut(which) => {
                if let Some(mut caller) = take(&mut self.under_way, *which) {
                    self.turnstile.open.store(true, Ordering::SeqCst);
                    let poll = std::future::poll_fn(|context| Poll::Ready(caller.request.as_mut().poll(context)));
                    drop(self.runtime.block_on(poll));
                    self.turnstile.open.store(false, Ordering::SeqCst);
                }
            }
            Event::Deliver(which) => {
                if let Some(answer) = take(&mut self.on_the_way_back, *which) {
                    self.delivered(answer);
                }
            }
            Event::Lose(which) => drop(take(&mut self.on_the_way_back, *which)),
            Event::Wait(seconds) => {
                if !self.bound {
                    // An answer that is slower than the ten seconds for which an unbound token repeats counts as lost.
                    self.under_way.clear();
                    self.on_the_way_back.clear();
                }
                self.clock.advance(Duration::from_secs(u64::from(*seconds)));
            }
            Event::Restart => self.restart(),
            Event::Revoke => {
                let (_, store) = self.life.as_ref().expect("a life");
                let revoked = store.end_grant(self.handle, EndedBy::Revoked, self.clock.now());
                self.runtime.block_on(revoked).expect("a store");
                self.revoked = true;
            }
        }
    }

    fn answered(&mut self, presented: String, answer: TokenAnswer) {
        let result = refresh_token(answer);
        match &result {
            Ok(_) => {}
            Err(Refusal::RefreshTokenOvertaken) => assert_ne!(presented, self.copy, "the newest token was overtaken"),
            Err(refusal) => assert!(self.revoked && *refusal == Refusal::GrantEnded, "{refusal:?}"),
        }
        self.on_the_way_back.push(Answered { presented, result });
    }

    fn delivered(&mut self, answer: Answered) {
        if let Ok(token) = answer.result
            && self.copy == answer.presented
        {
            self.copy = token;
        }
    }

    /// Whatever is under way comes to its end; then the client goes on with what it has, unless its grant was revoked.
    fn end(mut self) {
        while !self.under_way.is_empty() {
            let mut caller = self.under_way.remove(0);
            match self.step(&mut caller) {
                Some(answer) => self.answered(caller.presented, answer),
                None => self.under_way.push(caller),
            }
        }
        while let Some(answer) = self.on_the_way_back.pop() {
            self.delivered(answer);
        }
        for _ in 0..2 {
            let mut caller = self.call(&refresh_request(&self.copy));
            let answer = loop {
                if let Some(answer) = self.step(&mut caller) {
                    break answer;
                }
            };
            match refresh_token(answer) {
                Ok(token) if !self.revoked => self.copy = token,
                Err(Refusal::GrantEnded) if self.revoked => {}
                other => panic!("{:?} (revoked: {})", other.map(|_| "a refresh token"), self.revoked),
            }
        }
    }
}

fn take<T>(from: &mut Vec<T>, which: Index) -> Option<T> {
    if from.is_empty() { None } else { Some(from.remove(which.index(from.len()))) }
}

fn refresh_token(answer: TokenAnswer) -> Result<String, Refusal> {
    match answer.result {
        Ok(body) => {
            let body = serde_json::to_value(&body).expect("plain JSON");
            Ok(body["refresh_token"].as_str().expect("a refresh token").to_owned())
        }
        Err(Error::Refused(refusal)) => Err(refusal),
        Err(Error::Throttled { .. } | Error::Unavailable(_)) => panic!("nothing was down"),
    }
}

/// The clients that the promise is made to, and whether their tokens are bound.
const CLIENTS: [(&str, bool); 3] = [("spa", true), ("legacy", false), ("backend", true)];

fn tell(cases: u32, medium: impl Fn() -> Medium) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let day = Duration::from_hours(24);
    let schedule = KeySchedule { algorithm: Algorithm::Es256, announce: day, sign: day * 90, retain: day };
    let store = Arc::new(MemoryStore::new(Limits::default()));
    let root = RootKey::from_bytes([7; 32]);
    let keys = SigningKeys::open(store, root.into(), schedule, Arc::new(SystemEntropy), TestClock::default().now());
    let keys = Arc::new(runtime.block_on(keys).expect("keys"));
    proptest!(ProptestConfig::with_cases(cases), |(events in events(), who in 0..CLIENTS.len())| {
        let (client, bound) = CLIENTS[who];
        let mut story = Story::begin(&runtime, Arc::clone(&keys), medium(), client, bound);
        for event in &events {
            story.happens(event);
        }
        story.end();
    });
}

#[test]
fn one_copy_never_meets_a_fork_in_memory() {
    tell(120, || Medium::Memory(Arc::new(MemoryStore::new(Limits::default()))));
}

#[test]
fn one_copy_never_meets_a_fork_on_a_file() {
    tell(24, || Medium::File(tempfile::tempdir().expect("a directory")));
}
