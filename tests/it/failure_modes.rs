//! What becomes of requests while the gate dies, hangs, crawls and comes back, and while strangers flood it: through the
//! real Envoy, to the real process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;
use tollgate::clock::{Clock as _, SystemClock};

use crate::check::Proxy;
use crate::client::{CLIENT_CREDENTIALS, Client};
use crate::envoy::{Connection, Envoy, Reply, exchange};
use crate::gate::{Holder, proof_claims};
use crate::process::Installation;
use crate::redis::until;
use crate::sidecar::Sidecar;
use crate::upstream::{Upstream, fields};

/// What strangers ask for, and must never get.
const FORBIDDEN: &str = "/orders/666";

const STRANGER: &[u8] = b"GET /orders/666 HTTP/1.1\r\nhost: api.example.com\r\nx-auth-subject: evil\r\n\r\n";

/// People with a token and strangers, who all send one request after the other until they are told to stop.
struct Load {
    answers: Arc<Answers>,
    senders: JoinSet<()>,
}

/// What was answered.
#[derive(Default)]
struct Answers {
    /// Good requests that passed.
    passed: AtomicUsize,
    /// Good requests that were answered 503.
    away: AtomicUsize,
    /// Strangers who were refused.
    refused: AtomicUsize,
    /// Strangers who were answered 503.
    unanswered: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// A few of each.
    fn start(envoy: &Envoy, client: &Arc<Client>, token: &str) -> Self {
        let mut load = Self { answers: Arc::default(), senders: JoinSet::new() };
        for _ in 0..4 {
            load.senders.spawn(honest(envoy.port, Arc::clone(client), token.to_owned(), Arc::clone(&load.answers)));
            load.strangers(envoy, 1);
        }
        load
    }

    fn strangers(&mut self, envoy: &Envoy, number: usize) {
        for _ in 0..number {
            self.senders.spawn(stranger(envoy.port, Arc::clone(&self.answers)));
        }
    }

    /// Waits until so many more of these answers have come.
    async fn more(&self, number: usize, what: &str, of: impl Fn(&Answers) -> &AtomicUsize) {
        let count = || of(&self.answers).load(Ordering::Relaxed);
        let enough = count() + number;
        until(&format!("{number} more that {what}"), || async { count() >= enough }).await;
    }

    /// Waits until good requests pass and strangers are refused.
    async fn is_well(&self) {
        self.more(8, "pass", |answers| &answers.passed).await;
        self.more(8, "are refused", |answers| &answers.refused).await;
    }

    /// Waits until nobody gets anything but 503.
    async fn is_away(&self) {
        self.more(4, "are told to come back", |answers| &answers.away).await;
        self.more(4, "are not answered by the gate", |answers| &answers.unanswered).await;
    }

    /// Ends, and fails if somebody got an answer that he should not have got.
    async fn end(mut self) -> Arc<Answers> {
        self.answers.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("no wrong answer");
        }
        self.answers
    }
}

/// Sends good requests, and takes up the nonce that a gate asks for whose memory is new.
async fn honest(port: u16, client: Arc<Client>, token: String, answers: Arc<Answers>) {
    let mut nonce = None;
    while !answers.over.load(Ordering::Relaxed) {
        let reply = exchange(port, &good(&client, &token, nonce.as_deref())).await.expect("an answer");
        match reply.status {
            200 => answers.passed.fetch_add(1, Ordering::Relaxed),
            503 => answers.away.fetch_add(1, Ordering::Relaxed),
            401 if asks_for_nonce(&reply) => 0,
            _ => panic!("a good request: {reply:?}"),
        };
        nonce = reply.header("dpop-nonce").filter(|nonce| *nonce != "of-the-upstream").map(str::to_owned).or(nonce);
    }
}

fn asks_for_nonce(reply: &Reply) -> bool {
    reply.header("www-authenticate").is_some_and(|line| line.contains("use_dpop_nonce"))
}

/// A good request, ready for the wire.
fn good(client: &Client, token: &str, nonce: Option<&str>) -> Vec<u8> {
    let mut claims = proof_claims("GET", "https://api.example.com/orders/7", token, SystemClock.now().seconds());
    if let Some(nonce) = nonce {
        claims["nonce"] = json!(nonce);
    }
    let proof = client.sign_proof(&claims);
    let head = "GET /orders/7 HTTP/1.1\r\nhost: api.example.com\r\n";
    format!("{head}authorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n").into_bytes()
}

/// Sends requests without credentials, over one connection.
async fn stranger(port: u16, answers: Arc<Answers>) {
    let mut connection = Connection::open(port).await.expect("a connection");
    while !answers.over.load(Ordering::Relaxed) {
        let reply = connection.ask(STRANGER).await.expect("an answer");
        match reply.status {
            401 => answers.refused.fetch_add(1, Ordering::Relaxed),
            503 => answers.unanswered.fetch_add(1, Ordering::Relaxed),
            _ => panic!("a stranger: {reply:?}"),
        };
    }
}

async fn token(client: &Client) -> String {
    let request = [CLIENT_CREDENTIALS[0], ("resource", "https://api.example.com"), ("scope", "orders:read")];
    let answer = client.request(SystemClock.now(), &request).send().await.expect_tokens();
    answer.text("access_token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_gate_that_dies_hangs_and_crawls_lets_no_stranger_in_and_is_back_by_itself() {
    let installation = Installation::new();
    let mut process = installation.start(&[]).await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::recommended(&installation.socket(), upstream.port).await;
    let client = Arc::new(installation.client("bound"));
    let load = Load::start(&envoy, &client, &token(&client).await);
    load.is_well().await;

    // Killed, and started again.
    process.kill().await;
    load.is_away().await;
    process = installation.start(&[]).await;
    load.is_well().await;

    // Hung, for longer than Envoy waits.
    process.signal("STOP").await;
    load.is_away().await;
    process.signal("CONT").await;
    load.is_well().await;

    // Slow: again and again it stands still, and goes on before Envoy has lost its patience.
    for _ in 0..10 {
        process.signal("STOP").await;
        process.signal("CONT").await;
        load.more(1, "pass", |answers| &answers.passed).await;
    }
    load.is_well().await;

    // Told to stop, and started again when it has ended.
    process.signal("TERM").await;
    assert_eq!(process.ended().await.0.code(), Some(0));
    load.is_away().await;
    let _process = installation.start(&[]).await;
    load.is_well().await;

    load.end().await;
    let heads = upstream.take();
    assert!(heads.iter().all(|head| !head.contains(FORBIDDEN)), "a stranger came through");
    assert!(heads.iter().all(|head| fields(head, "x-auth-subject") != ["evil"]), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_failures_are_let_through_an_absent_gate_is_an_open_door() {
    let mut sidecar = Sidecar::start().await;
    let upstream = Upstream::start().await;
    let socket = sidecar.socket.to_string_lossy().into_owned();
    let open = [("failure_mode_allow: false", "failure_mode_allow: true"), ("/run/tollgate/authz.sock", &*socket)];
    let folder = tempfile::tempdir().expect("a folder");
    let recommended = Envoy::of_file("envoy.yaml", upstream.port, folder.path(), &open).await;
    let careless = Envoy::careless(&sidecar.socket, upstream.port).await;
    for envoy in [&recommended, &careless] {
        assert_eq!(envoy.send(STRANGER).await.status, 401, "a denial is never let through");
    }
    assert!(upstream.take().is_empty());

    sidecar.stop().await;
    assert_eq!(recommended.send(STRANGER).await.status, 200, "it hangs");
    sidecar.go_on().await;
    sidecar.kill().await;
    upstream.take();

    // Strangers come in, and only the strip in front keeps them from saying who they are.
    assert_eq!(recommended.send(STRANGER).await.status, 200);
    let [head] = &upstream.take()[..] else { panic!("one request") };
    assert_eq!(fields(head, "x-auth-subject"), Vec::<&str>::new(), "{head}");
    assert_eq!(careless.send(STRANGER).await.status, 200);
    let [head] = &upstream.take()[..] else { panic!("one request") };
    assert_eq!(fields(head, "x-auth-subject"), ["evil"], "{head}");
    // The credentials of everybody else arrive as well: nobody has taken them away.
    let robot = Holder::new("robot");
    assert_eq!(recommended.send(&Sidecar::request(&robot, "a-token")).await.status, 200);
    let [head] = &upstream.take()[..] else { panic!("one request") };
    assert_eq!(fields(head, "authorization"), ["DPoP a-token"], "{head}");
    let statistics = format!("{}/stats?filter=tollgate.failure_mode_allowed", recommended.admin_url());
    let statistics = reqwest::get(statistics).await.expect("an answer").text().await.expect("a text");
    assert!(statistics.contains("http.ingress.ext_authz.tollgate.failure_mode_allowed: 3"), "{statistics}");

    sidecar.restart().await;
    for envoy in [&recommended, &careless] {
        until("the door is shut again", || async { envoy.send(STRANGER).await.status == 401 }).await;
    }
}

/// Sends good requests one after the other in the midst of a flood; prints how it went, for docs/performance.md. Nearly all
/// must pass.
async fn good_pass_in_a_flood(what: &str, load: &Load, mut good_passes: impl AsyncFnMut() -> bool) {
    const GOOD: usize = 200;
    load.more(640, "are refused", |answers| &answers.refused).await;
    let strangers = || load.answers.refused.load(Ordering::Relaxed);
    let (before, began) = (strangers(), Instant::now());
    let (mut passed, mut took) = (0, Vec::new());
    for _ in 0..GOOD {
        let asked = Instant::now();
        passed += usize::from(good_passes().await);
        took.push(asked.elapsed());
    }
    let (number, all) = (strangers() - before, began.elapsed());
    took.sort_unstable();
    let rate = number * 1000 / usize::try_from(all.as_millis()).expect("a short time").max(1);
    let (half, most) = (took[GOOD / 2], took[GOOD * 95 / 100]);
    println!(
        "{what}: {rate} strangers a second; {passed} of {GOOD} good requests pass, half in {half:.1?}, 95 % in {most:.1?}"
    );
    assert!(passed * 100 >= GOOD * 95, "{passed} of {GOOD}, beside {number} strangers");
    assert!(number >= GOOD, "{number} strangers are no flood");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_leaves_room_for_good_requests() {
    let installation = Installation::new();
    let _process = installation.start(&[]).await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::recommended(&installation.socket(), upstream.port).await;
    let client = Arc::new(installation.client("bound"));
    let token = token(&client).await;
    let mut load = Load { answers: Arc::default(), senders: JoinSet::new() };
    load.strangers(&envoy, 64);
    let good_passes =
        async || exchange(envoy.port, &good(&client, &token, None)).await.expect("an answer").status == 200;
    good_pass_in_a_flood("through Envoy", &load, good_passes).await;
    load.end().await;
    assert!(upstream.take().iter().all(|head| !head.contains(FORBIDDEN)));
}

/// Asks the gate about requests without credentials, as an Envoy does to which strangers send them.
async fn stranger_at_the_door(mut proxy: Proxy, answers: Arc<Answers>) {
    while !answers.over.load(Ordering::Relaxed) {
        assert_eq!(proxy.ask("api.example.com", FORBIDDEN, &[]).await.status, 401);
        answers.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// The same without Envoy, which takes longer for a request than the gate.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_the_door_of_the_gate_leaves_room_for_good_requests() {
    let installation = Installation::new();
    let _process = installation.start(&[]).await;
    let client = installation.client("bound");
    let token = token(&client).await;
    let mut load = Load { answers: Arc::default(), senders: JoinSet::new() };
    let mut honest = Proxy::over_socket(&installation.socket()).await;
    for _ in 0..2 {
        let proxy = Proxy::over_socket(&installation.socket()).await;
        for _ in 0..32 {
            load.senders.spawn(stranger_at_the_door(proxy.clone(), Arc::clone(&load.answers)));
        }
    }
    let good_passes = async || {
        let proof = client.resource_proof("GET", "https://api.example.com/orders/7", &token, SystemClock.now());
        let authorization = format!("DPoP {token}");
        let headers = [("authorization", &*authorization), ("dpop", &*proof)];
        honest.ask("api.example.com", "/orders/7", &headers).await.status == 200
    };
    good_pass_in_a_flood("at the door of the gate", &load, good_passes).await;
    load.end().await;
}
