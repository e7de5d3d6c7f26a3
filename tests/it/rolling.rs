//! A rolling restart: two replicas, which issue tokens and check them, are replaced by two others while clients go on.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tollgate::clock::{Clock as _, SystemClock};

use crate::client::{Answer, CLIENT_CREDENTIALS, Client};
use crate::cluster::SHARED;
use crate::envoy::{Envoy, exchange};
use crate::process::{Installation, Process};
use crate::redis::{Redis, until};
use crate::upstream::Upstream;
use crate::world::free_port;

/// What a Service of Kubernetes does: each new connection goes to the next of its endpoints; those that are there stay.
struct Service {
    port: u16,
    endpoints: Arc<Mutex<Vec<u16>>>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let endpoints = Arc::<Mutex<Vec<u16>>>::default();
        let known = Arc::clone(&endpoints);
        tokio::spawn(async move {
            for turn in 0_usize.. {
                let Ok((mut near, _)) = listener.accept().await else { return };
                let to = {
                    let known = known.lock().expect("no test panics with the lock");
                    known[turn % known.len()]
                };
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.expect("an endpoint that is there");
                    let _ = copy_bidirectional(&mut near, &mut far).await; // either may go as it likes
                });
            }
        });
        Self { port, endpoints }
    }

    fn lead_to(&self, endpoints: &[u16]) {
        *self.endpoints.lock().expect("no test panics with the lock") = endpoints.to_vec();
    }
}

/// One process, and where its doors are.
struct Replica {
    process: Process,
    public: u16,
    gate: u16,
}

/// Everything, with its two Services and an Envoy.
struct Fleet {
    installation: Installation,
    issuers: Service,
    gates: Service,
    envoy: Envoy,
    _upstream: Upstream,
    _redis: Redis,
}

impl Fleet {
    async fn new() -> Self {
        let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
        let installation = Installation::on_postgres(&shared.new_schema().await);
        let redis = Redis::start().await;
        fs::write(installation.path("redis-url"), redis.url()).expect("a file");
        let (issuers, gates, upstream) = (Service::start().await, Service::start().await, Upstream::start().await);
        let envoy = Envoy::asking_service(gates.port, upstream.port).await;
        Self { installation, issuers, gates, envoy, _upstream: upstream, _redis: redis }
    }

    async fn bring_up(&self) -> Replica {
        let (public, gate) = (free_port(), free_port());
        let settings = [
            format!("listen.public.address=\"127.0.0.1:{public}\""),
            format!("listen.ext_authz=[{{\"address\":\"127.0.0.1:{gate}\"}}]"),
            "replay={\"redis\":{\"url_file\":\"redis-url\"}}".to_owned(),
            "shutdown={\"delay\":\"2s\",\"deadline\":\"10s\"}".to_owned(),
        ];
        let arguments: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let process = self.installation.start(&arguments).await;
        until("a replica is ready", || async { readiness(&process).await == 200 }).await;
        Replica { process, public, gate }
    }

    fn lead_to(&self, replicas: &[&Replica]) {
        self.issuers.lead_to(&replicas.iter().map(|replica| replica.public).collect::<Vec<_>>());
        self.gates.lead_to(&replicas.iter().map(|replica| replica.gate).collect::<Vec<_>>());
    }

    /// A client that comes through the Service, with a new connection for each request.
    fn client(&self) -> Client {
        let service = reqwest::Proxy::all(format!("http://127.0.0.1:{}", self.issuers.port)).expect("a URL");
        let http = reqwest::Client::builder().proxy(service).pool_max_idle_per_host(0).build().expect("a client");
        self.installation.client("bound").connected_by(http)
    }
}

async fn readiness(process: &Process) -> u16 {
    reqwest::get(format!("http://{}/readyz", process.admin)).await.expect("an answer").status().as_u16()
}

/// A token, as clients get one: with the nonce that they are asked for, once.
pub async fn token(client: &Client) -> Answer {
    let parameters = [CLIENT_CREDENTIALS[0], ("resource", "https://api.example.com"), ("scope", "orders:read")];
    let answer = client.request(SystemClock.now(), &parameters).send().await;
    let Some(nonce) = answer.header("dpop-nonce").filter(|_| answer.status == 400) else { return answer };
    let mut claims = client.proof_claims(SystemClock.now());
    claims["nonce"] = json!(nonce);
    let proof = client.sign_proof(&claims);
    client.request(SystemClock.now(), &parameters).proof(&proof).send().await
}

/// Calls the API, as clients do.
pub async fn call(envoy: u16, client: &Client, token: &str) -> u16 {
    let url = "https://api.example.com/orders/1";
    let ask = async |nonce: Option<&str>| {
        let mut claims = crate::client::claims(&client.resource_proof("GET", url, token, SystemClock.now()));
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        let proof = client.sign_proof(&claims);
        let request = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
        );
        exchange(envoy, request.as_bytes()).await.expect("an answer")
    };
    let answer = ask(None).await;
    match answer.header("dpop-nonce") {
        Some(nonce) if answer.status == 401 => ask(Some(nonce)).await.status,
        _ => answer.status,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_replaced_one_after_the_other_and_no_request_is_lost() {
    let fleet = Arc::new(Fleet::new().await);
    let mut replicas = vec![fleet.bring_up().await, fleet.bring_up().await];
    fleet.lead_to(&replicas.iter().collect::<Vec<_>>());
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let work = |_| {
        let (fleet, over, answered) = (Arc::clone(&fleet), Arc::clone(&over), Arc::clone(&answered));
        tokio::spawn(async move {
            let client = fleet.client();
            while !over.load(Ordering::Relaxed) {
                let tokens = token(&client).await.expect_tokens();
                let status = call(fleet.envoy.port, &client, tokens.text("access_token")).await;
                assert_eq!(status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let workers: Vec<_> = (0..4).map(work).collect();
    let more = async || {
        let before = answered.load(Ordering::Relaxed);
        until("clients are answered", || async { answered.load(Ordering::Relaxed) > before + 8 }).await;
    };
    more().await;
    for _ in 0..2 {
        replicas.push(fleet.bring_up().await);
        fleet.lead_to(&replicas.iter().collect::<Vec<_>>());
        more().await;
        let old = replicas.remove(0);
        old.process.signal("TERM").await;
        // The Service learns of it by a probe, while requests still come.
        until("readiness fails", || async { readiness(&old.process).await == 503 }).await;
        more().await;
        fleet.lead_to(&replicas.iter().collect::<Vec<_>>());
        let (status, said) = old.process.ended().await;
        assert_eq!(status.code(), Some(0), "{said}");
        more().await;
    }
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("no request was lost");
    }
}
