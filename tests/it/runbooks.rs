//! The runbooks, staged: what each describes happens to the real program, the commands of the page are typed, and what the
//! page says of signs, behaviour and end is looked for.

use std::fs;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::secret::from_base64url;
use tollgate::store::Limits;

use crate::client::{Answer, CLIENT_CREDENTIALS, Client, http, refresh_request};
use crate::cluster::SHARED;
use crate::envoy::{Envoy, Reply, exchange};
use crate::interop::repository;
use crate::process::{Installation, Process, run};
use crate::redis::{Redis, until};
use crate::upstream::Upstream;
use crate::world::record_code;

/// One runbook.
struct Runbook(String);

impl Runbook {
    fn named(heading: &str) -> Self {
        let page = fs::read_to_string(repository("docs/runbooks.md")).expect("the page");
        let rest = page.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no runbook {heading}"));
        Self(rest.split("\n## ").next().expect("a section").replace('\n', " "))
    }

    /// Something that the page promises, so that nobody looks for what it does not say.
    #[track_caller]
    fn says<'t>(&self, text: &'t str) -> &'t str {
        assert!(self.0.contains(text), "the runbook does not say `{text}`:\n{}", self.0);
        text
    }

    /// Types a command of the page where the installation is.
    async fn type_in(&self, command: &str, installation: &Installation) -> String {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().expect("a folder");
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", self.says(command)]).current_dir(installation.folder.path());
        shell.env("PATH", format!("{}:/usr/bin:/bin", program.display())).kill_on_drop(true);
        let output = run(&mut shell).await;
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// The program, behind Envoy, with an API.
struct Staged {
    installation: Installation,
    process: Process,
    envoy: Envoy,
    _upstream: Upstream,
}

impl Staged {
    /// Starts an installation with other texts in its file.
    async fn with(installation: Installation, changes: &[(&str, &str)]) -> Self {
        change(&installation, changes);
        let process = installation.start(&[]).await;
        let upstream = Upstream::start().await;
        let envoy = Envoy::recommended(&installation.socket(), upstream.port).await;
        Self { installation, process, envoy, _upstream: upstream }
    }

    async fn token(&self, client: &Client, now: Timestamp) -> Answer {
        let parameters = [CLIENT_CREDENTIALS[0], ("resource", "https://api.example.com"), ("scope", "orders:read")];
        client.request(now, &parameters).send().await
    }

    /// The status that the API, or the gate before it, answers.
    async fn call(&self, client: &Client, token: &str, now: Timestamp) -> u16 {
        self.asked(client, token, now, None).await.status
    }

    /// What the API, or the gate before it, answers to a proof with a nonce or without.
    async fn asked(&self, client: &Client, token: &str, now: Timestamp, nonce: Option<&str>) -> Reply {
        let proof = client.resource_proof("GET", "https://api.example.com/orders/1", token, now);
        let mut claims = crate::client::claims(&proof);
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let proof = client.sign_proof(&claims);
        let request = format!(
            "GET /orders/1 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
        );
        exchange(self.envoy.port, request.as_bytes()).await.expect("an answer")
    }

    async fn readiness(&self) -> (u16, String) {
        let answer = http().get(format!("http://{}/readyz", self.process.admin)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// The sum of the series of a metric that have this label.
    async fn counted(&self, metric: &str, label: &str) -> f64 {
        let answer = http().get(format!("http://{}/metrics", self.process.admin)).send().await.expect("an answer");
        let text = answer.text().await.expect("a text");
        let lines = text.lines().filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Changes texts in the configuration of an installation.
fn change(installation: &Installation, changes: &[(&str, &str)]) {
    let path = installation.path("tollgate.yaml");
    let mut text = fs::read_to_string(&path).expect("the configuration");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    fs::write(path, text).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_known_to_others() {
    let runbook = Runbook::named("A signing key is known to others");
    // Keys that live for seconds are looked after each second: the page says what the usual ones take.
    let staged = Staged::with(
        Installation::new(),
        &[
            ("store: { memory: {} }", "store: { sqlite: { path: tollgate.db } }"),
            ("encryption_key_file: kek", "encryption_key_file: kek, announce: 4s"),
        ],
    )
    .await;
    let client = staged.installation.client("bound");
    let stolen = staged.token(&client, SystemClock.now()).await.expect_tokens().text("access_token").to_owned();
    assert_eq!(staged.call(&client, &stolen, SystemClock.now()).await, 200);

    runbook.type_in("tollgate keys rotate --now --config tollgate.yaml", &staged.installation).await;
    staged.process.until_it_says(runbook.says("key.withdrawn")).await;
    let denied = || async { staged.call(&client, &stolen, SystemClock.now()).await == 401 };
    until("what the old key has signed is refused", denied).await;
    let denial = runbook.says("tollgate_checks_total{denial=\"token_key_unknown\"}");
    let (metric, label) = denial.trim_end_matches('}').split_once('{').expect("a label");
    assert!(staged.counted(metric, label).await >= 1.0);

    runbook.says("a new one signs at once");
    let fresh = staged.token(&client, SystemClock.now()).await.expect_tokens().text("access_token").to_owned();
    assert_eq!(staged.call(&client, &fresh, SystemClock.now()).await, 200);
    runbook.says("`tollgate keys list` shows the new key only, `/oauth/jwks` of every replica too");
    let listed = runbook.type_in("tollgate keys list --config tollgate.yaml", &staged.installation).await;
    let jwks = http().get(format!("{}/oauth/jwks", staged.installation.issuer)).send().await.expect("an answer");
    let jwks: serde_json::Value = jwks.json().await.expect("JSON");
    let kids: Vec<_> = jwks["keys"].as_array().expect("keys").iter().filter_map(|key| key["kid"].as_str()).collect();
    assert!(kids.iter().all(|kid| listed.contains(kid)), "{kids:?}\n{listed}");
    let header = from_base64url(stolen.split('.').next().expect("a JWT")).expect("base64url");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    let old = header["kid"].as_str().expect("a kid");
    assert!(!listed.contains(old) && !kids.contains(&old), "{old}\n{listed}");
}

/// A way to a database that can be cut and mended.
struct Way {
    port: u16,
    open: watch::Sender<bool>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("an address").port();
        let open = watch::Sender::new(true);
        let state = open.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port: here, open }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_does_not_answer() {
    let runbook = Runbook::named("The database does not answer");
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    let way = Way::to(shared.port).await;
    let url = shared.new_schema().await;
    let (_, options) = url.split_once(" user=").expect("a user");
    let url = format!("host=127.0.0.1 port={} user={options}", way.port);
    let installation = Installation::on_postgres(&url);
    let store = installation.open_store(Limits::default()).await;
    let staged = Staged::with(installation, &[]).await;
    let (client, spa) = (staged.installation.client("bound"), staged.installation.client("spa"));
    let token = staged.token(&client, SystemClock.now()).await.expect_tokens().text("access_token").to_owned();
    let code = record_code(&*store, SystemClock.now(), "spa", None).await;
    let tokens = spa.request(SystemClock.now(), &crate::client::code_request(&code)).send().await.expect_tokens();
    drop(store);

    way.open.send_replace(false);
    let refresh = refresh_request(tokens.text("refresh_token"));
    let refreshed = || async { spa.request(SystemClock.now(), &refresh).send().await };
    until("tokens are answered 503", || async { refreshed().await.status == 503 }).await;
    runbook.says("`/readyz` says 503 with `store`");
    until("readiness fails", || async { staged.readiness().await.0 == 503 }).await;
    assert!(staged.readiness().await.1.contains("store"));
    staged.process.until_it_says(runbook.says("the store did not do")).await;
    let unavailable = runbook.says("tollgate_token_requests_total{outcome=\"unavailable\"}");
    let (metric, label) = unavailable.trim_end_matches('}').split_once('{').expect("a label");
    assert!(staged.counted(metric, label).await >= 1.0);
    runbook.says("JWTs are checked as before");
    assert_eq!(staged.call(&client, &token, SystemClock.now()).await, 200);

    runbook.says("It connects again by itself");
    way.open.send_replace(true);
    until("readiness is back", || async { staged.readiness().await.0 == 200 }).await;
    runbook.says("Clients lose nothing");
    until("the same refresh token is good", || async { refreshed().await.status == 200 }).await;
    staged.token(&client, SystemClock.now()).await.expect_tokens();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replay_store_does_not_answer() {
    let runbook = Runbook::named("The replay store does not answer");
    let mut redis = Redis::start().await;
    let installation = Installation::new();
    fs::write(installation.path("redis-url"), redis.url()).expect("a file");
    let settings = "store: { memory: {} }\nreplay: { redis: { url_file: redis-url } }";
    let public = (
        "    rules: [ { path: \"/orders/**\"",
        "    rules: [ { path: /orders/public, allow: anyone }, { path: \"/orders/**\"",
    );
    let staged = Staged::with(installation, &[("store: { memory: {} }", settings), public]).await;
    let client = staged.installation.client("bound");
    // As good clients do, who ask again with the nonce that they are given.
    let asked = async || {
        let answer = staged.token(&client, SystemClock.now()).await;
        let Some(nonce) = answer.header("dpop-nonce").filter(|_| answer.status == 400) else { return answer.status };
        let mut claims = client.proof_claims(SystemClock.now());
        claims["nonce"] = nonce.into();
        let proof = client.sign_proof(&claims);
        client.request(SystemClock.now(), &CLIENT_CREDENTIALS).proof(&proof).send().await.status
    };
    until("tokens are given", || async { asked().await == 200 }).await;

    redis.kill().await;
    runbook.says("answers 503 for whatever needs a proof");
    until("proofs are answered 503", || async { asked().await == 503 }).await;
    runbook.says("`/readyz` says 503 with `replay guard`");
    until("readiness fails", || async { staged.readiness().await.0 == 503 }).await;
    assert!(staged.readiness().await.1.contains("replay guard"));
    staged.process.until_it_says(runbook.says("the replay guard lost its Redis")).await;
    runbook.says("Rules with `allow: anyone` and bearer tokens, where allowed, go on");
    let public = "GET /orders/public HTTP/1.1\r\nhost: api.example.com\r\n\r\n";
    assert_eq!(exchange(staged.envoy.port, public.as_bytes()).await.expect("an answer").status, 200);
    let backend = staged.installation.client("backend");
    backend.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();

    redis.revive().await;
    runbook.says("Over**: `/readyz` says 200");
    until("readiness is back", || async { staged.readiness().await.0 == 200 }).await;
    runbook.says("For a minute some clients are told `use_dpop_nonce` (`proof_before_restart`)");
    runbook.says("good clients ask again by themselves");
    until("tokens are given again", || async { asked().await == 200 }).await;
    assert!(staged.counted("tollgate_refusals_total", "proof_before_restart").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_is_wrong() {
    let runbook = Runbook::named("A clock is wrong");
    let staged = Staged::with(Installation::new(), &[]).await;
    let client = staged.installation.client("bound");
    let token = staged.token(&client, SystemClock.now()).await.expect_tokens().text("access_token").to_owned();
    let apart = Duration::from_mins(10);
    let ahead = || SystemClock.now() + apart;
    let behind = || Timestamp::from_millis(SystemClock.now().millis() - 600_000);

    runbook.says("refuses what is more than `dpop.clock_skew` (10 s) ahead or older than `dpop.proof_lifetime` (60 s)");
    for (now, fault) in [(ahead(), "proof_early"), (behind(), "proof_stale")] {
        assert_eq!(staged.call(&client, &token, now).await, 401);
        assert!(staged.counted(runbook.says("tollgate_checks_total"), runbook.says(fault)).await >= 1.0, "{fault}");
    }

    runbook.says("The token endpoint asks such clients for a nonce instead (`proof_nonce_missing`)");
    let asked = staged.token(&client, ahead()).await.expect(400, "use_dpop_nonce");
    assert!(staged.counted(runbook.says("tollgate_refusals_total"), "proof_nonce_missing").await >= 1.0);
    runbook.says("The nonce then carries our time, and `iat` is not judged");
    let mut claims = client.proof_claims(ahead());
    claims["nonce"] = asked.header("dpop-nonce").expect("a nonce").into();
    let proof = client.sign_proof(&claims);
    client.request(SystemClock.now(), &CLIENT_CREDENTIALS).proof(&proof).send().await.expect_tokens();

    runbook.says("Clients whose clocks you cannot set: `nonce: required` at the resource");
    let resource = "  - resource: https://api.example.com\n";
    change(&staged.installation, &[(resource, &format!("{resource}    nonce: required\n"))]);
    staged.process.signal("HUP").await;
    until("nonces are asked for", || async { staged.call(&client, &token, SystemClock.now()).await == 401 }).await;
    let asked = staged.asked(&client, &token, ahead(), None).await;
    let nonce = asked.header("dpop-nonce").expect("a nonce");
    assert_eq!(staged.asked(&client, &token, ahead(), Some(nonce)).await.status, 200);
}
