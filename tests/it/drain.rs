//! How the program leaves when others send it requests: it says so, serves on until they have heard of it, and loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate::clock::{Clock as _, SystemClock};

use crate::client::{CLIENT_CREDENTIALS, answer, http};
use crate::envoy::{Envoy, exchange};
use crate::process::{Installation, Process, program, run};
use crate::redis::until;
use crate::upstream::Upstream;

impl Process {
    /// What `/readyz` says, with everything.
    async fn readiness(&self) -> (u16, serde_json::Value) {
        let answer = answer(http().get(format!("http://{}/readyz?verbose", self.admin))).await;
        (answer.status, answer.body)
    }
}

/// Whether a gate serves, as probes and proxies ask.
async fn healthcheck(installation: &Installation, arguments: &[&str]) -> bool {
    let gate = format!("unix:{}", installation.socket().display());
    run(program().arg("healthcheck").args(arguments).arg(gate)).await.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_serves_until_everybody_has_heard_of_it() {
    let installation = Arc::new(Installation::new());
    let process = installation.start(&["--set", "shutdown={delay: 3s, deadline: 10s}"]).await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::recommended(&installation.socket(), upstream.port).await;
    let (status, ready) = process.readiness().await;
    assert_eq!((status, &ready["missing"]), (200, &json!([])));
    let needs =
        ["store", "replay guard", "signing keys", "time to go on"].map(|name| json!({ "name": name, "there": true }));
    assert_eq!(ready["needs"], json!(needs));
    assert!(healthcheck(&installation, &[]).await);

    // Clients at the token endpoint and at Envoy, each with new connections, who go on until they hear of the end.
    let (heard, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let port = envoy.port;
    let caller = |_| {
        let (installation, heard, answered) = (Arc::clone(&installation), Arc::clone(&heard), Arc::clone(&answered));
        tokio::spawn(async move {
            while !heard.load(Ordering::Relaxed) {
                let client = installation.client("bound");
                let request =
                    [CLIENT_CREDENTIALS[0], ("resource", "https://api.example.com"), ("scope", "orders:read")];
                let answer = client.request(SystemClock.now(), &request).send().await.expect_tokens();
                let token = answer.text("access_token");
                let proof = client.resource_proof("GET", "https://api.example.com/orders/1", token, SystemClock.now());
                let request = format!(
                    "GET /orders/1 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
                );
                assert_eq!(exchange(port, request.as_bytes()).await.expect("an answer").status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let callers: Vec<_> = (0..3).map(caller).collect();
    until("clients are answered", || async { answered.load(Ordering::Relaxed) > 3 }).await;
    let told = Instant::now();
    process.signal("TERM").await;
    until("readiness fails", || async { process.readiness().await.0 == 503 }).await;
    assert_eq!(process.readiness().await.1["missing"], json!(["time to go on"]));
    assert_eq!(answer(http().get(format!("http://{}/livez", process.admin))).await.status, 200);
    assert!(!healthcheck(&installation, &[]).await, "the gate still calls itself ready");
    assert!(healthcheck(&installation, &["--live"]).await);
    let before = answered.load(Ordering::Relaxed);
    until("clients are answered all the same", || async { answered.load(Ordering::Relaxed) > before + 3 }).await;
    heard.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no request was lost");
    }
    let (status, said) = process.ended().await;
    assert!(told.elapsed() >= Duration::from_secs(3), "it did not wait");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("requests are served for 3 s more"), "{said}");
}

#[tokio::test]
async fn a_person_at_the_terminal_does_not_wait_for_a_balancer() {
    let installation = Installation::new();
    let process = installation.start(&["--set", "shutdown.delay=\"1m\""]).await;
    let told = Instant::now();
    process.signal("INT").await;
    let (status, said) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(told.elapsed() < Duration::from_secs(30), "{said}");
}

#[tokio::test]
async fn who_says_it_twice_means_at_once() {
    let installation = Installation::new();
    let process = installation.start(&["--set", "shutdown.delay=\"1m\""]).await;
    process.signal("TERM").await;
    until("readiness fails", || async { process.readiness().await.0 == 503 }).await;
    process.signal("TERM").await;
    let (status, said) = process.ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
}

#[tokio::test]
async fn a_gate_is_ready_once_it_knows_the_keys_of_its_issuers() {
    let installation = Installation::new();
    let issuer = "http://127.0.0.1:9"; // nobody is there
    let resource = format!("protected_resources.0.authorization_servers=[self, \"{issuer}\"]");
    let process = installation.start(&["--set", &resource]).await;
    let (status, ready) = process.readiness().await;
    assert_eq!((status, &ready["missing"]), (503, &json!([format!("keys of {issuer}")])));
    assert!(!healthcheck(&installation, &[]).await, "whoever asks the gate itself is told the same");
    assert!(healthcheck(&installation, &["--live"]).await);
}
