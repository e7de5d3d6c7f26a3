//! Several processes for real: two issuers on one PostgreSQL, three gates without a store, each behind an Envoy of its own,
//! and one Redis for all. What is spent or ended anywhere is so everywhere, whoever dies, stands still or is cut off.

use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::secret::{base64url, sha256};
use tollgate::store::{Limits, Store};

use crate::client::{Answer, Client, REVOKE, code_request, refresh_request};
use crate::cluster::SHARED;
use crate::envoy::{Envoy, Reply, eventually};
use crate::line::Line;
use crate::process::{Installation, Process, program};
use crate::redis::Redis;
use crate::upstream::Upstream;
use crate::world::{free_port, record_code};

const GATES: usize = 3;

/// How soon three gates refuse what was revoked, on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(1);

/// So many tries has a machine that is busy with other tests until they do.
const TRIES: usize = 15;

/// Two issuers and three gates.
pub struct Fleet {
    installation: Installation,
    store: std::sync::Arc<dyn Store>,
    issuers: Vec<Option<Process>>,
    ports: Vec<u16>,
    /// Between the gates and the issuers.
    balancer: Line,
    gates: Vec<Gate>,
    redis: Redis,
    upstream: Upstream,
}

/// A gate, and the Envoy that asks it.
struct Gate {
    folder: TempDir,
    process: Option<Process>,
    /// Between it and Redis.
    line: Line,
    envoy: Envoy,
}

impl Gate {
    async fn start(issuer: &str, (redis, stale): (u16, &str), upstream: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("authz.sock");
        let line = Line::to(redis).await;
        let configuration = format!(
            r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "unix:{}" }} ] }}
shutdown: {{ delay: 0s }}
replay: {{ redis: {{ url_file: redis.url, answer_within: 1s }} }}
issuers: [ {{ issuer: "{issuer}", timeout: 1s, status_list_stale: {stale} }} ]
protected_resources:
  - resource: https://api.example.com
    authorization_servers: ["{issuer}"]
    rules: [ {{ path: "/orders/**", scope: "orders:read" }} ]
"#,
            socket.display()
        );
        std::fs::write(folder.path().join("tollgate.yaml"), configuration).expect("a file");
        std::fs::write(folder.path().join("redis.url"), format!("redis://127.0.0.1:{}", line.port)).expect("a file");
        let process = Some(Self::spawn(&folder).await);
        let envoy = Envoy::for_other_issuer(&socket, upstream, 0).await;
        Self { folder, process, line, envoy }
    }

    async fn spawn(folder: &TempDir) -> Process {
        let mut command = program();
        command.arg("serve").arg("--config").arg(folder.path().join("tollgate.yaml"));
        Process::start(command).await
    }

    async fn send(&self, token: &str, proof: &str) -> Reply {
        let request = format!(
            "GET /orders/7 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
        );
        self.envoy.send(request.as_bytes()).await
    }

    /// Calls the API with a fresh proof.
    async fn call(&self, client: &Client, token: &str) -> u16 {
        self.send(token, &proof(client, token)).await.status
    }

    async fn until_it_answers(&self, client: &Client, token: &str, status: u16) {
        let what = format!("the gate answers {status}");
        eventually(&what, async || (self.call(client, token).await == status).then_some(())).await;
    }
}

/// A proof for the one request that is made here.
fn proof(client: &Client, token: &str) -> String {
    let (now, ath) = (SystemClock.now().seconds(), base64url(&sha256(token.as_bytes())));
    let url = "https://api.example.com/orders/7";
    let claims = serde_json::json!({ "jti": client.fresh(), "htm": "GET", "htu": url, "iat": now, "ath": ath });
    client.sign_proof(&claims)
}

impl Fleet {
    /// Starts everything, and waits until requests pass at every gate. `ttl` is that of the lists, `stale` how long gates go on
    /// with old ones.
    async fn start((ttl, stale): (&str, &str)) -> (Self, Client, String) {
        let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
        let installation = Installation::on_postgres(&shared.new_schema().await);
        let redis = Redis::start().await;
        std::fs::write(installation.path("redis.url"), redis.url()).expect("a file");
        let lists = format!("authorization_server.status_lists={{\"ttl\":\"{ttl}\"}}");
        std::fs::write(installation.path("lists"), lists).expect("a file");
        let store = installation.open_store(Limits::default()).await;
        let ports = vec![free_port(), free_port()];
        let front = installation.issuer.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let balancer = Line::from(front, ports.clone()).await;
        let upstream = Upstream::start().await;
        let mut fleet = Self {
            installation,
            store,
            issuers: vec![None, None],
            ports,
            balancer,
            gates: Vec::new(),
            redis,
            upstream,
        };
        for number in 0..2 {
            fleet.start_issuer(number).await;
        }
        for _ in 0..GATES {
            let (issuer, upstream) = (&fleet.installation.issuer, fleet.upstream.port);
            fleet.gates.push(Gate::start(issuer, (fleet.redis.port, stale), upstream).await);
        }
        fleet.redis_has_been_there().await;
        let [client, _] = fleet.client("spa");
        let tokens = fleet.tokens(&client).await;
        let token = tokens.text("access_token").to_owned();
        for gate in &fleet.gates {
            gate.until_it_answers(&client, &token, 200).await;
        }
        (fleet, client, token)
    }

    async fn start_issuer(&mut self, number: usize) {
        let port = self.ports[number];
        let socket = self.installation.path(&format!("authz-{port}.sock"));
        let lists = std::fs::read_to_string(self.installation.path("lists")).expect("a setting");
        let settings = [
            format!("listen.public.address=\"127.0.0.1:{port}\""),
            format!("listen.ext_authz=[{{\"address\":\"unix:{}\"}}]", socket.display()),
            "replay={\"redis\":{\"url_file\":\"redis.url\",\"answer_within\":\"1s\"}}".to_owned(),
            lists,
        ];
        let arguments: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        self.issuers[number] = Some(self.installation.start(&arguments).await);
    }

    /// Makes it as if Redis had been there for a minute: nobody needs a nonce because of what it may have forgotten.
    async fn redis_has_been_there(&self) {
        let then = (SystemClock.now().millis() - 60_000).to_string();
        for key in self.redis.ask::<Vec<String>>(&["KEYS", "tollgate:memory:*"]).await {
            self.redis.ask::<()>(&["SET", &key, &then, "KEEPTTL"]).await;
        }
    }

    /// A client at each of the issuers, with the same key.
    fn client(&self, id: &str) -> [Client; 2] {
        self.installation.client_at_each(id, [self.ports[0], self.ports[1]])
    }

    async fn code(&self, client: &Client) -> String {
        record_code(&*self.store, SystemClock.now(), &client.id, None).await
    }

    /// Tokens of ada.
    async fn tokens(&self, client: &Client) -> Answer {
        let code = self.code(client).await;
        ask(client, &code_request(&code)).await.expect_tokens()
    }

    /// Revokes a grant at the issuer of this client; gives how long it took these gates to refuse its token.
    async fn revoke(&self, client: &Client, tokens: &Answer, gates: &[usize]) -> Duration {
        let (token, refresh_token) = (tokens.text("access_token"), tokens.text("refresh_token"));
        for gate in gates {
            assert_eq!(self.gates[*gate].call(client, token).await, 200);
        }
        client.about(REVOKE, refresh_token, SystemClock.now()).send().await.expect(200, "");
        let revoked = Instant::now();
        for gate in gates {
            self.gates[*gate].until_it_answers(client, token, 401).await;
        }
        revoked.elapsed()
    }
}

/// Sends a token request, again with a nonce if one is asked for.
async fn ask(client: &Client, parameters: &[(&str, &str)]) -> Answer {
    let now = SystemClock.now();
    let answer = client.request(now, parameters).send().await;
    if answer.error() != "use_dpop_nonce" {
        return answer;
    }
    let mut claims = client.proof_claims(now);
    claims["nonce"] = Value::from(answer.header("dpop-nonce").expect("a nonce"));
    client.request(now, parameters).proof(&client.sign_proof(&claims)).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spent_or_ended_anywhere_is_so_everywhere() {
    let (fleet, one, token) = Fleet::start(("10s", "1m")).await;
    let other = one.twin(fleet.client("spa")[1].http.clone());

    // A code at both issuers at once.
    for _ in 0..5 {
        let code = fleet.code(&one).await;
        let request = code_request(&code);
        let (first, second) = tokio::join!(ask(&one, &request), ask(&other, &request));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400], "{first:?} {second:?}");
    }

    // A proof at one gate after the other, and at all of them at once.
    let used = proof(&one, &token);
    let statuses = async |proof: &str| {
        let mut statuses = Vec::new();
        for gate in &fleet.gates {
            statuses.push(gate.send(&token, proof).await.status);
        }
        statuses
    };
    assert_eq!(statuses(&used).await, [200, 401, 401]);
    for _ in 0..5 {
        let proof = proof(&one, &token);
        let [a, b, c] = [0, 1, 2].map(|number: usize| fleet.gates[number].send(&token, &proof));
        let (a, b, c) = tokio::join!(a, b, c);
        let passed = [a, b, c].iter().filter(|reply| reply.status == 200).count();
        assert_eq!(passed, 1);
    }
    // And one for a token request at both issuers.
    let proof = one.proof(SystemClock.now());
    let code = fleet.code(&one).await;
    one.request(SystemClock.now(), &code_request(&code)).proof(&proof).send().await.expect_tokens();
    let code = fleet.code(&one).await;
    let again = other.request(SystemClock.now(), &code_request(&code)).proof(&proof).send().await;
    again.expect(400, "invalid_dpop_proof");

    // A grant that was refreshed at one and revoked at the other.
    for (issuer, elsewhere) in [(&one, &other), (&other, &one)] {
        let tokens = fleet.tokens(issuer).await;
        let next = ask(elsewhere, &refresh_request(tokens.text("refresh_token"))).await.expect_tokens();
        let took = fleet.revoke(issuer, &next, &[0, 1, 2]).await;
        println!("refused at three gates after {took:?}");
        assert_eq!(fleet.gates[0].call(&one, tokens.text("access_token")).await, 401);
        ask(elsewhere, &refresh_request(next.text("refresh_token"))).await.expect(400, "invalid_grant");
    }
    let mut took = Vec::new();
    while !took.iter().any(|took| *took < SOON) {
        assert!(took.len() < TRIES, "{took:?}");
        let tokens = fleet.tokens(&one).await;
        took.push(fleet.revoke(&one, &tokens, &[0, 1, 2]).await);
    }
    for gate in &fleet.gates {
        assert_eq!(gate.call(&one, &token).await, 200, "another grant is as good as before");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dies_takes_nothing_along() {
    let (mut fleet, one, token) = Fleet::start(("10s", "1m")).await;
    let other = one.twin(fleet.client("spa")[1].http.clone());
    let tokens = fleet.tokens(&one).await;
    let used = proof(&one, &token);
    assert_eq!(fleet.gates[0].send(&token, &used).await.status, 200);
    fleet.issuers[0].take().expect("it runs").kill().await;
    fleet.gates[0].process.take().expect("it runs").kill().await;

    assert_eq!(fleet.gates[0].call(&one, &token).await, 503);
    let next = ask(&other, &refresh_request(tokens.text("refresh_token"))).await.expect_tokens();
    let took = fleet.revoke(&other, &next, &[1, 2]).await;
    println!("refused at two gates after {took:?}");

    let process = Gate::spawn(&fleet.gates[0].folder).await;
    fleet.gates[0].process = Some(process);
    fleet.gates[0].until_it_answers(&one, &token, 200).await;
    assert_eq!(fleet.gates[0].call(&one, next.text("access_token")).await, 401);
    assert_eq!(fleet.gates[0].send(&token, &used).await.status, 401);
    fleet.start_issuer(0).await;
    ask(&one, &refresh_request(next.text("refresh_token"))).await.expect(400, "invalid_grant");
    let more = fleet.tokens(&one).await;
    fleet.revoke(&one, &more, &[0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_still_holds_up_nobody_and_catches_up() {
    let (fleet, one, token) = Fleet::start(("2s", "1m")).await;
    let other = one.twin(fleet.client("spa")[1].http.clone());
    let tokens = fleet.tokens(&one).await;
    let (issuer, gate) = (fleet.issuers[0].as_ref().expect("it runs"), &fleet.gates[0]);
    issuer.signal("STOP").await;
    gate.process.as_ref().expect("it runs").signal("STOP").await;

    assert_eq!(gate.call(&one, &token).await, 503, "Envoy waits no longer than it is told to");
    let next = ask(&other, &refresh_request(tokens.text("refresh_token"))).await.expect_tokens();
    // A gate that was waiting at the one that stands still asks again, by the `ttl`.
    fleet.revoke(&other, &next, &[1, 2]).await;

    gate.process.as_ref().expect("it runs").signal("CONT").await;
    gate.until_it_answers(&one, next.text("access_token"), 401).await;
    gate.until_it_answers(&one, &token, 200).await;
    issuer.signal("CONT").await;
    ask(&one, &refresh_request(next.text("refresh_token"))).await.expect(400, "invalid_grant");
    let more = fleet.tokens(&one).await;
    fleet.revoke(&one, &more, &[0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_lets_nobody_pass_and_recovers() {
    let (fleet, one, token) = Fleet::start(("2s", "3s")).await;
    let used = proof(&one, &token);
    assert_eq!(fleet.gates[1].send(&token, &used).await.status, 200);

    // A gate cannot reach Redis: nobody knows which proofs are used. The others go on.
    fleet.gates[0].line.cut();
    fleet.gates[0].until_it_answers(&one, &token, 503).await;
    for gate in &fleet.gates[1..] {
        assert_eq!(gate.call(&one, &token).await, 200);
    }
    fleet.gates[0].line.mend();
    fleet.gates[0].until_it_answers(&one, &token, 200).await;
    assert_eq!(fleet.gates[0].send(&token, &used).await.status, 401);

    // No gate can reach an issuer: for three seconds the lists count, and then nobody knows what was revoked.
    let tokens = fleet.tokens(&one).await;
    fleet.balancer.cut();
    one.about(REVOKE, tokens.text("refresh_token"), SystemClock.now()).send().await.expect(200, "");
    for gate in &fleet.gates {
        assert_eq!(gate.call(&one, &token).await, 200);
    }
    for gate in &fleet.gates {
        gate.until_it_answers(&one, &token, 503).await;
    }
    fleet.balancer.mend();
    for gate in &fleet.gates {
        gate.until_it_answers(&one, &token, 200).await;
        assert_eq!(gate.call(&one, tokens.text("access_token")).await, 401);
    }
}
