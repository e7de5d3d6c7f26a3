//! Several processes on one PostgreSQL database: what one has done, the others know; one that is gone, or sleeps, stops
//! nobody; and the database itself may fail over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio::time::interval;
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::secret::{AuthorizationCode, base64url, from_base64url, sha256};
use tollgate::store::{Decision, Limits, Store};

use crate::client::{
    Answer, CLIENT_CREDENTIALS, Client, DEVICE_AUTHORIZATION, INTROSPECT, REVOKE, answer, code_request, poll_request,
    refresh_request,
};
use crate::cluster::{Cluster, SHARED};
use crate::line::Line;
use crate::process::{Installation, Process, eventually, program, run};
use crate::proxy::Proxy;
use crate::redis::until;
use crate::world::{decide, free_port, record_code};

/// Two processes of one installation, and its store.
pub struct Replicas {
    pub installation: Installation,
    processes: Vec<Process>,
    pub ports: Vec<u16>,
    store: Arc<dyn Store>,
}

impl Replicas {
    async fn start() -> Self {
        Self::start_on(new_installation().await).await
    }

    pub async fn start_on(installation: Installation) -> Self {
        let mut replicas = Self {
            store: installation.open_store(Limits::default()).await,
            installation,
            processes: Vec::new(),
            ports: Vec::new(),
        };
        for _ in 0..2 {
            let port = free_port();
            let socket = replicas.installation.path(&format!("authz-{port}.sock"));
            let arguments = [
                "--set".to_owned(),
                format!("listen.public.address=\"127.0.0.1:{port}\""),
                "--set".to_owned(),
                format!("listen.ext_authz=[{{\"address\":\"unix:{}\"}}]", socket.display()),
            ];
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            replicas.processes.push(replicas.installation.start(&arguments).await);
            replicas.ports.push(port);
        }
        replicas
    }

    /// A client at each of the processes, with the same key. All its requests go there, as a load balancer may send them.
    pub fn client(&self, id: &str) -> [Client; 2] {
        self.installation.client_at_each(id, [self.ports[0], self.ports[1]])
    }

    async fn code(&self, client: &str) -> String {
        record_code(&*self.store, SystemClock.now(), client, None).await
    }
}

/// One on a PostgreSQL database of its own.
pub async fn new_installation() -> Installation {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    Installation::on_postgres(&shared.new_schema().await)
}

async fn redeem(client: &Client, code: &str) -> Answer {
    ask(client, &code_request(code)).await
}

async fn refresh(client: &Client, token: &str) -> Answer {
    ask(client, &refresh_request(token)).await
}

/// Sends a token request, again with a nonce if one is asked for: a process that has just begun does not know which proofs
/// the others have seen.
async fn ask(client: &Client, parameters: &[(&str, &str)]) -> Answer {
    let now = SystemClock.now();
    let answer = client.request(now, parameters).send().await;
    if answer.error() != "use_dpop_nonce" {
        return answer;
    }
    let mut claims = client.proof_claims(now);
    claims["nonce"] = answer.header("dpop-nonce").expect("a nonce").into();
    client.request(now, parameters).proof(&client.sign_proof(&claims)).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_has_done_the_other_knows() {
    let replicas = Replicas::start().await;
    let [one, other] = replicas.client("spa");

    // A code is spent for both, and what came of it is good at both.
    let code = replicas.code("spa").await;
    let tokens = redeem(&one, &code).await.expect_tokens();
    let next = refresh(&other, tokens.text("refresh_token")).await.expect_tokens();
    let after = refresh(&one, next.text("refresh_token")).await.expect_tokens();

    // So is what was signed, and a nonce.
    let [_, resource_server] = replicas.client("backend");
    let own = resource_server.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await;
    let [asker, _] = replicas.client("backend");
    let known = asker.about(INTROSPECT, own.expect_tokens().text("access_token"), SystemClock.now()).send().await;
    assert_eq!(known.body["active"], true, "{known:?}");
    let nonce = after.header("dpop-nonce").expect("a nonce").to_owned();
    let mut claims = other.proof_claims(SystemClock.now());
    claims["nonce"] = nonce.into();
    let with_nonce = other.request(SystemClock.now(), &refresh_request(after.text("refresh_token")));
    let last = with_nonce.proof(&other.sign_proof(&claims)).send().await.expect_tokens();

    // Whoever revokes at one has revoked at both.
    one.about(REVOKE, last.text("refresh_token"), SystemClock.now()).send().await.expect(200, "");
    refresh(&other, last.text("refresh_token")).await.expect(400, "invalid_grant");

    // A code that comes twice ends its grant, wherever it comes.
    let code = replicas.code("spa").await;
    let tokens = redeem(&one, &code).await.expect_tokens();
    redeem(&other, &code).await.expect(400, "invalid_grant");
    refresh(&one, tokens.text("refresh_token")).await.expect(400, "invalid_grant");

    // An assertion is good once.
    let [one, other] = replicas.client("web");
    let assertion = one.sign_assertion(&one.assertion_claims(SystemClock.now()));
    let with = |client: &Client| client.bare_request(&CLIENT_CREDENTIALS).assertion(&assertion).into_request();
    let first = answer(with(&one)).await;
    first.expect_tokens();
    answer(with(&other)).await.expect(401, "invalid_client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_may_ask_one_replica_and_poll_another() {
    let replicas = Replicas::start().await;
    let [one, other] = replicas.client("tv");
    let device = one.device_request(SystemClock.now(), &[("scope", "orders:read")]).send().await;
    assert_eq!(device.status, 200, "{DEVICE_AUTHORIZATION}: {device:?}");
    let code = device.text("device_code");
    let poll = async |client: &Client| ask(client, &poll_request(code)).await;
    poll(&other).await.expect(400, "authorization_pending");
    poll(&one).await.expect(400, "slow_down");
    let now = SystemClock.now();
    let approve = Decision::Approve { subject: "ada".parse().expect("a name"), auth_time: now, acr: None };
    decide(&*replicas.store, now, code, &approve).await;
    let tokens = poll(&other).await.expect_tokens();
    poll(&one).await.expect(400, "invalid_grant");
    refresh(&one, tokens.text("refresh_token")).await.expect_tokens();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_code_at_both_replicas_at_once_one_redemption_counts() {
    let replicas = Replicas::start().await;
    let clients = replicas.client("spa").map(Arc::new);
    for _ in 0..20 {
        let code = replicas.code("spa").await;
        let barrier = Arc::new(Barrier::new(2));
        let mut both = JoinSet::new();
        for client in &clients {
            let (client, code, barrier) = (Arc::clone(client), code.clone(), Arc::clone(&barrier));
            both.spawn(async move {
                barrier.wait().await;
                redeem(&client, &code).await.status
            });
        }
        let mut answers = both.join_all().await;
        answers.sort_unstable();
        assert_eq!(answers, [200, 400]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_sleeps_stops_nobody_and_wakes_to_the_truth() {
    let replicas = Replicas::start().await;
    let [sleeper, other] = replicas.client("spa");
    let codes = [replicas.code("spa").await, replicas.code("spa").await];
    let tokens = redeem(&sleeper, &codes[0]).await.expect_tokens();

    replicas.processes[0].signal("STOP").await;
    let late = tokio::spawn({
        let request = sleeper.request(SystemClock.now(), &code_request(&codes[1])).into_request();
        answer(request)
    });
    let redeemed = redeem(&other, &codes[1]).await.expect_tokens();
    let next = refresh(&other, tokens.text("refresh_token")).await.expect_tokens();
    let next = refresh(&other, next.text("refresh_token")).await.expect_tokens();
    assert!(!late.is_finished());

    replicas.processes[0].signal("CONT").await;
    eventually("the answer of the sleeper", late).await.expect("no panic").expect(400, "invalid_grant");
    refresh(&other, redeemed.text("refresh_token")).await.expect(400, "invalid_grant"); // its code came twice
    refresh(&sleeper, next.text("refresh_token")).await.expect_tokens();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_killed_leaves_everything_to_the_other() {
    let mut replicas = Replicas::start().await;
    let [doomed, other] = replicas.client("spa").map(Arc::new);
    let mut codes = Vec::new();
    for _ in 0..100 {
        codes.push(replicas.code("spa").await);
    }
    let mut tasks = JoinSet::new();
    for code in codes {
        let doomed = Arc::clone(&doomed);
        tasks.spawn(async move {
            let request = doomed.request(SystemClock.now(), &code_request(&code)).into_request();
            let answer = request.send().await.ok().filter(|answer| answer.status() == 200);
            let given = match answer {
                Some(answer) => answer.json::<serde_json::Value>().await.ok(),
                None => None,
            };
            (code, given.map(|body| body["refresh_token"].as_str().expect("a token").to_owned()))
        });
    }
    let mut held = vec![tasks.join_next().await.expect("tasks").expect("no panic")];
    replicas.processes.remove(0).kill().await;
    held.extend(eventually("the end of all requests", tasks.join_all()).await);
    let given = held.iter().filter(|(_, given)| given.is_some()).count();
    assert!((1..100).contains(&given), "{given} of 100 were answered");
    for (code, given) in held {
        // What was acknowledged holds; what was not is spent once at most.
        if let Some(given) = given {
            refresh(&other, &given).await.expect_tokens();
            redeem(&other, &code).await.expect(400, "invalid_grant");
        } else if redeem(&other, &code).await.status == 200 {
            redeem(&other, &code).await.expect(400, "invalid_grant");
        }
    }
}

/// What one replica says about the keys of both, and what its gate says about tokens.
struct Observer {
    client: Client,
    gate: Proxy,
}

impl Observer {
    /// The names of the keys that it publishes.
    async fn keys(&self) -> BTreeSet<String> {
        let set = answer(self.client.http.get(format!("{}/oauth/jwks", self.client.issuer))).await.body;
        let keys = set["keys"].as_array().expect("a list").iter();
        keys.map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
    }

    /// What its gate answers to a token that comes with a new proof; `None` for an allow.
    async fn refuses(&mut self, token: &str) -> Option<String> {
        let url = "https://api.example.com/orders/7";
        let now = SystemClock.now();
        let mut verdict = self.gate.get("/orders/7", Some(token), Some(&self.proof(url, token, None, now))).await;
        if let Some(nonce) = verdict.header("dpop-nonce").filter(|_| verdict.status == 401).map(str::to_owned) {
            verdict = self.gate.get("/orders/7", Some(token), Some(&self.proof(url, token, Some(&nonce), now))).await;
        }
        (verdict.status != 200).then(|| format!("{verdict:?}"))
    }

    fn proof(&self, url: &str, token: &str, nonce: Option<&str>, now: Timestamp) -> String {
        let ath = base64url(&sha256(token.as_bytes()));
        let mut claims =
            json!({ "jti": self.client.fresh(), "htm": "GET", "htu": url, "iat": now.seconds(), "ath": ath });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        self.client.sign_proof(&claims)
    }
}

/// The name of the key that signed a token.
pub fn signer(token: &str) -> String {
    let header = from_base64url(token.split('.').next().expect("a header")).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}

/// Runs `tollgate keys rotate`; gives the name of the newest key, and what it says beside the keys.
pub async fn rotate(installation: &Installation, more: &[&str]) -> (String, String) {
    let mut command = program();
    command.args(["keys", "rotate", "--output", "json", "--config"]).arg(installation.with_its_store()).args(more);
    let output = run(&mut command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let keys: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let newest = keys["keys"].as_array().and_then(|keys| keys.last()).expect("a key");
    (newest["kid"].as_str().expect("a kid").to_owned(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_knows_the_next_key_before_another_signs_with_it() {
    let installation = new_installation().await;
    let path = installation.path("tollgate.yaml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let text = text.replace("encryption_key_file: kek", "encryption_key_file: kek, announce: 6s");
    assert!(text.contains("announce: 6s"));
    std::fs::write(&path, text).expect("a file");
    let replicas = Replicas::start_on(installation).await;
    let [client, other] = replicas.client("backend");
    let gate = replicas.installation.path(&format!("authz-{}.sock", replicas.ports[1]));
    let mut other = Observer { client: other, gate: Proxy::over_socket(&gate).await };
    let token = async || ask(&client, &CLIENT_CREDENTIALS).await.expect_tokens().text("access_token").to_owned();

    // Before each token the other replica knows its key, and its gate lets it pass.
    let (next, _) = rotate(&replicas.installation, &[]).await;
    let (mut signed_by_old, mut ticks) = (0, interval(Duration::from_millis(50)));
    eventually("a token by the next key", async {
        loop {
            let known = other.keys().await;
            let token = token().await;
            assert!(known.contains(&signer(&token)), "{} is not in {known:?}", signer(&token));
            assert_eq!(other.refuses(&token).await, None);
            if signer(&token) == next {
                break;
            }
            signed_by_old += 1;
            ticks.tick().await;
        }
    })
    .await;
    assert!(signed_by_old > 0, "it was announced first");
    let token_before = token().await;

    // In an emergency nobody is asked first, and whoever rotates is told so.
    let (emergency, said) = rotate(&replicas.installation, &["--now"]).await;
    for warning in
        ["the tokens signed before are withdrawn", "That is not instant", "trusts the old key for up to 30 s"]
    {
        assert!(said.contains(warning), "{said}");
    }
    eventually("the end of the other keys", async {
        while other.keys().await != BTreeSet::from([emergency.clone()]) {
            ticks.tick().await;
        }
    })
    .await;
    assert!(other.refuses(&token_before).await.is_some_and(|verdict| verdict.contains("invalid_token")));
    eventually("a token by the new key", async {
        while signer(&token().await) != emergency {
            ticks.tick().await;
        }
    })
    .await;
    assert_eq!(other.refuses(&token().await).await, None);
}

/// A gate that cannot read what others have revoked lets nothing through that they may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_hears_nothing_of_the_others_stops_letting_through() {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    let line = Line::to(shared.port).await;
    let url = shared.new_schema().await;
    let (_, options) = url.split_once(" user=").expect("a user");
    let installation = Installation::on_postgres(&format!("host=127.0.0.1 port={} user={options}", line.port));
    let settings =
        "{\"postgres\":{\"url_file\":\"database.url\",\"answer_within\":\"1s\",\"revocations_stale\":\"5s\"}}";
    let process = installation.start(&["--set", &format!("store={settings}")]).await;
    let gate = Proxy::over_socket(&installation.socket()).await;
    let mut gate = Observer { client: installation.client("backend"), gate };
    let token = ask(&gate.client, &CLIENT_CREDENTIALS).await.expect_tokens().text("access_token").to_owned();
    assert_eq!(gate.refuses(&token).await, None);

    let mut ticks = interval(Duration::from_millis(50));
    line.cut();
    eventually("an outage", async {
        while !gate.refuses(&token).await.is_some_and(|verdict| verdict.contains("503")) {
            ticks.tick().await;
        }
    })
    .await;
    line.mend();
    eventually("the end of it", async {
        while gate.refuses(&token).await.is_some() {
            ticks.tick().await;
        }
    })
    .await;
    drop(process);
}

/// A primary, its synchronous standby, and the URL of the two.
async fn primary_and_standby() -> (Cluster, Cluster, String) {
    let (primary, standby) = tokio::task::spawn_blocking(|| {
        let primary = Cluster::start("");
        let standby = Cluster::standby_of(&primary);
        (primary, standby)
    })
    .await
    .expect("servers");
    primary.tell("public", "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    primary.tell("public", "SELECT pg_reload_conf()").await;
    let url = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres dbname=postgres target_session_attrs=read-write",
        primary.port, standby.port
    );
    (primary, standby, url)
}

/// A primary dies in the middle of a thousand redemptions, and its synchronous standby takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_and_spends_nothing_twice() {
    const CODES: usize = 1_000;
    let (primary, standby, url) = primary_and_standby().await;
    let installation = Installation::on_postgres(&url);
    let store = installation.open_store(Limits::default()).await;
    let process = installation.start_roomy().await;
    let client = Arc::new(
        installation
            .client("spa")
            .connected_by(reqwest::Client::builder().http2_prior_knowledge().build().expect("a client")),
    );
    let mut codes = JoinSet::new();
    for _ in 0..CODES {
        let store = Arc::clone(&store);
        codes.spawn(async move { record_code(&*store, SystemClock.now(), "spa", None).await });
    }
    let codes = codes.join_all().await;
    let nobodys = AuthorizationCode::draw(&SystemEntropy as &dyn Entropy).reveal();

    // Every second one is sent when the primary is about to die.
    let (late, _) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for (number, code) in codes.into_iter().enumerate() {
        let (client, mut late) = (Arc::clone(&client), late.subscribe());
        tasks.spawn(async move {
            if number % 2 == 1 {
                late.wait_for(|late| *late).await.expect("a sender");
            }
            let answer = redeem(&client, &code).await;
            assert!([200, 503].contains(&answer.status), "{answer:?}");
            let given = (answer.status == 200).then(|| answer.text("refresh_token").to_owned());
            (code, given)
        });
    }
    let mut held = Vec::new();
    while held.len() < CODES / 4 {
        held.push(tasks.join_next().await.expect("tasks").expect("no panic"));
    }
    let doomed = primary.processes();
    late.send_replace(true);
    let standby = tokio::task::spawn_blocking(move || {
        primary.kill(&doomed);
        standby.promote();
        standby
    });
    held.extend(eventually("the end of all requests", tasks.join_all()).await);
    let standby = standby.await.expect("a promotion");
    let given = held.iter().filter(|(_, given)| given.is_some()).count();
    assert!((CODES / 5..CODES).contains(&given), "{given} of {CODES} were answered: that is not the middle");

    // The same process serves again.
    let mut ticks = interval(Duration::from_millis(50));
    eventually("an answer that is no outage", async {
        while redeem(&client, &nobodys).await.status == 503 {
            ticks.tick().await;
        }
    })
    .await;
    let (mut again, mut refused) = (0, 0);
    for (code, given) in held {
        if let Some(given) = given {
            refresh(&client, &given).await.expect_tokens();
            redeem(&client, &code).await.expect(400, "invalid_grant");
            continue;
        }
        let answer = redeem(&client, &code).await;
        if answer.status == 200 {
            again += 1;
            redeem(&client, &code).await.expect(400, "invalid_grant");
        } else {
            refused += 1; // it was committed, and nobody was told
            answer.expect(400, "invalid_grant");
        }
    }
    assert_eq!(given + again + refused, CODES);
    drop((standby, process));
}

/// A primary that hangs keeps its connections and takes new ones: they are given up, and its standby is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_gives_way_to_its_standby() {
    let (primary, standby, url) = primary_and_standby().await;
    let installation = Installation::on_postgres(&url);
    let store = installation.open_store(Limits::default()).await;
    let quick =
        "store={\"postgres\":{\"url_file\":\"database.url\",\"connect_within\":\"1s\",\"answer_within\":\"1s\"}}";
    let process = installation.start(&["--set", quick]).await;
    let client = installation.client("spa");
    let code = record_code(&*store, SystemClock.now(), "spa", None).await;
    drop(store);
    let tokens = redeem(&client, &code).await.expect_tokens();

    let frozen = primary.freeze();
    let refreshed = async || refresh(&client, tokens.text("refresh_token")).await;
    refreshed().await.expect(503, "temporarily_unavailable");
    let standby = tokio::task::spawn_blocking(move || {
        standby.promote();
        standby
    });
    let standby = standby.await.expect("a promotion");
    until("a refresh by the same process", || async { refreshed().await.status == 200 }).await;
    drop((frozen, standby, process));
}
