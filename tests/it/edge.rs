//! Revocation at the edge, measured: how soon gates refuse what was revoked, and what status lists cost. `make edge` prints
//! what docs/scaling.md says; without it there is one gate (`TOLLGATE_EDGE_GATES` says how many).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::jose::{Algorithm, PublicKey, SigningKey};
use tollgate::secret::sha256;
use tollgate::store::{Endings, GrantHandle};
use tollgate::token::{
    KeyLookup, KeysFault, PackedList, Renew, STATUS_LIST_LENGTH, STATUS_LIST_TYPE, StatusIndex, StatusList,
    StatusListClaims,
};

use crate::check::Proxy;
use crate::client::{CLIENT_CREDENTIALS, Client, REVOKE};
use crate::cluster::SHARED;
use crate::process::{Installation, Process, program};
use crate::world::free_port;

/// How soon half of the gates refuse on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(1);

/// So many tries has a machine that is busy with other tests until they do: who is told by the `ttl` of ten seconds, or by
/// asking every now and then, is not as soon as that so often.
const TRIES: usize = 15;

/// How many gates there are in each turn, and how often a token is revoked.
fn turns() -> (Vec<usize>, usize) {
    #[expect(clippy::disallowed_methods, reason = "`make edge` says how many")]
    let asked = std::env::var("TOLLGATE_EDGE_GATES").ok();
    match asked {
        None => (vec![1], 1),
        Some(text) => (text.split(',').map(|number| number.parse().expect("a number")).collect(), 10),
    }
}

/// A gate without a store, in a process of its own, that takes tokens of this issuer from whoever has them: no proof costs
/// anything while the time is taken.
struct Gate {
    folder: TempDir,
    process: Process,
}

impl Gate {
    async fn start(issuer: String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = format!(
            r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "unix:{}" }} ] }}
issuers: [ {{ issuer: "{issuer}", timeout: 5s }} ]
protected_resources:
  - resource: https://api.example.com
    authorization_servers: ["{issuer}"]
    dpop: off
    rules: [ {{ path: "/orders/**", scope: "orders:read" }} ]
"#,
            folder.path().join("authz.sock").display()
        );
        std::fs::write(folder.path().join("tollgate.yaml"), configuration).expect("a file");
        let mut command = program();
        command.arg("serve").arg("--config").arg(folder.path().join("tollgate.yaml"));
        Self { process: Process::start(command).await, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("authz.sock")
    }
}

async fn ask(proxy: &mut Proxy, token: &str) -> i32 {
    let authorization = format!("Bearer {token}");
    proxy.ask("api.example.com", "/orders/7", &[("authorization", &*authorization)]).await.status
}

/// Asks every so often until the answer is this one; gives when it was.
async fn answers(proxy: &mut Proxy, token: &str, (status, every): (i32, Duration)) -> Instant {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if ask(proxy, token).await == status {
            return Instant::now();
        }
    }
}

/// Revokes a token of this client at its issuer; gives after what time each of the gates has refused it.
async fn refused_after(client: &Client, gates: &[Gate]) -> Vec<Duration> {
    let every = Duration::from_millis(4 + gates.len() as u64);
    let own = client.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let token: Arc<str> = own.text("access_token").into();
    let mut waiting = JoinSet::new();
    let (revoked, _) = tokio::sync::watch::channel(None::<Instant>);
    let ready = Arc::new(tokio::sync::Barrier::new(gates.len() + 1));
    for gate in gates {
        let (token, mut revoked, ready) = (Arc::clone(&token), revoked.subscribe(), Arc::clone(&ready));
        let mut proxy = Proxy::over_socket(&gate.socket()).await;
        waiting.spawn(async move {
            answers(&mut proxy, &token, (200, Duration::from_millis(50))).await; // it may have to fetch keys and list
            ready.wait().await;
            let refused = answers(&mut proxy, &token, (401, every)).await;
            let revoked = revoked.wait_for(Option::is_some).await.expect("a moment").expect("it is there");
            refused.saturating_duration_since(revoked)
        });
    }
    ready.wait().await;
    client.about(REVOKE, &token, SystemClock.now()).without_proof().send().await.expect(200, "");
    revoked.send_replace(Some(Instant::now()));
    waiting.join_all().await
}

async fn measure(what: &str, installation: &Installation, client: &Client) {
    let (turns, rounds) = turns();
    for number in turns {
        let mut gates = Vec::new();
        while gates.len() < number {
            let next = (gates.len()..number.min(gates.len() + 4)).map(|_| Gate::start(installation.issuer.clone()));
            gates.extend(next.collect::<JoinSet<_>>().join_all().await);
        }
        refused_after(client, &gates).await; // gates have yet to begin to wait
        let mut tries = 0;
        let (half, most) = loop {
            let mut took = Vec::new();
            for _ in 0..rounds {
                took.extend(refused_after(client, &gates).await);
            }
            took.sort_unstable();
            let (half, most) = (took[took.len() / 2], took[took.len() - 1]);
            tries += 1;
            if half < SOON {
                break (half, most);
            }
            assert!(tries < TRIES, "{half:?}");
        };
        let resident = gates.iter().map(|gate| gate.process.resident_kib()).sum::<usize>() / number / 1024;
        let (half_ms, most_ms) = (half.as_millis(), most.as_millis());
        println!("{what}, {number} gates: half refuse after {half_ms} ms, all after {most_ms} ms; {resident} MiB each");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_refuse_soon_what_was_revoked_where_they_wait() {
    let installation = Installation::new();
    let _issuer = installation.start(&["--set", "authorization_server.status_lists={}"]).await;
    measure("revoked where they wait", &installation, &installation.client("backend")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_refuse_soon_what_was_revoked_at_another_replica() {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    let installation = Installation::on_postgres(&shared.new_schema().await);
    let lists = "authorization_server.status_lists={}";
    let _issuer = installation.start(&["--set", lists]).await;
    let (port, socket) = (free_port(), installation.path("other.sock"));
    let address = format!("listen.public.address=\"127.0.0.1:{port}\"");
    let socket = format!("listen.ext_authz=[{{\"address\":\"unix:{}\"}}]", socket.display());
    let _other = installation.start(&["--set", lists, "--set", &address, "--set", &socket]).await;
    let there = reqwest::Proxy::all(format!("http://127.0.0.1:{port}")).expect("a URL");
    let client = installation.client("backend");
    let client = client.connected_by(reqwest::Client::builder().proxy(there).build().expect("a client"));
    measure("revoked at another replica", &installation, &client).await;
}

/// The key of an issuer.
struct Key(PublicKey);

impl KeyLookup for Key {
    fn keys(&self, _: Option<&str>, _: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
        Ok(vec![self.0.clone()])
    }
}

#[async_trait]
impl Renew for Key {
    async fn renew(&self, _: Timestamp) {}
}

/// So many places in a list, here and there.
fn somewhere(number: usize) -> BTreeSet<u32> {
    let mut places = BTreeSet::new();
    for drawn in 0_u32.. {
        if places.len() == number {
            break;
        }
        let digest = sha256(&drawn.to_be_bytes());
        places.insert(u32::from_be_bytes(*digest.first_chunk().expect("32 bytes")) % STATUS_LIST_LENGTH);
    }
    places
}

/// A million tokens that live have places in one list, some of which are revoked.
#[test]
fn a_list_of_a_million_tokens_is_small() {
    const URL: &str = "https://auth.example.com/oauth/status/0";
    let signing = SigningKey::generate(Algorithm::Es256).expect("a key");
    let jwk = tollgate::jose::object(signing.published_jwk().to_string().as_bytes()).expect("a JWK");
    let key = Key(PublicKey::from_jwk(&jwk).expect("a key"));
    let now = Timestamp::from_seconds(1_760_000_000);
    for (revoked, most) in [(0, 1_500), (1_000, 6_000), (10_000, 50_000), (100_000, 200_000)] {
        let endings = Endings::new(Duration::from_mins(5));
        let places = somewhere(revoked);
        for (number, place) in places.iter().enumerate() {
            let mut handle = [0; 16];
            handle[..8].copy_from_slice(&(number as u64).to_be_bytes());
            endings.note_grant(GrantHandle(handle).at(StatusIndex::new(*place).expect("a place")), now);
        }
        let began = Instant::now();
        let claims = StatusListClaims {
            sub: URL,
            iat: now.seconds(),
            exp: now.seconds() + 300,
            ttl: 10,
            status_list: PackedList::new(endings.places(0, now), "https://auth.example.com/oauth/status"),
        };
        let list = signing.sign(STATUS_LIST_TYPE, &claims);
        let (made, began) = (began.elapsed(), Instant::now());
        let read = StatusList::verify(&list, URL, (&key, &[Algorithm::Es256], Duration::ZERO), now).expect("a list");
        let verified = began.elapsed();
        assert!(places.iter().all(|place| read.status(u64::from(*place)) == Some(1)));
        println!("{revoked} of 1,048,576 revoked: {} bytes, made in {made:.1?}, read in {verified:.1?}", list.len());
        assert!(list.len() < most);
    }
}
