//! Keys that change under load, through the real Envoy: no good token is refused, and no forged or withdrawn one passes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tollgate::clock::Clock as _;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::from_base64url;

use crate::client::claims;
use crate::envoy::{Envoy, exchange};
use crate::gate::{API, Holder};
use crate::gate_rules::{Behind, Story};
use crate::redis::until;
use crate::replicas::{Replicas, new_installation, rotate, signer};
use crate::rolling::{call, token};
use crate::upstream::Upstream;
use crate::world::TestClock;

/// So many callers at once.
const CALLERS: usize = 4;

/// Callers who go on until told to stop. Each does the same round again and again, and fails at a wrong answer.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// `round` is told its number, of which no two are the same for one caller.
    fn start<F: Future<Output = ()> + Send>(round: impl Fn(usize) -> F + Clone + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let caller = |number| {
            let (stop, rounds, round) = (Arc::clone(&stop), Arc::clone(&rounds), round.clone());
            let going_on = async move {
                for turn in number.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    round(turn).await;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            };
            tokio::spawn(going_on)
        };
        let callers = (0..CALLERS).map(caller).collect();
        Self { stop, rounds, callers }
    }

    /// Waits until each caller, on the average, has done two more rounds.
    async fn goes_on(&self) {
        let enough = self.rounds.load(Ordering::Relaxed) + 2 * CALLERS;
        until("callers are answered", || async { self.rounds.load(Ordering::Relaxed) >= enough || self.has_failed() })
            .await;
    }

    fn has_failed(&self) -> bool {
        self.callers.iter().any(JoinHandle::is_finished)
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.expect("every answer was right");
        }
    }
}

/// The same token by somebody else's key, under the name of the key that has signed it.
fn forged(token: &str) -> String {
    let header = from_base64url(token.split('.').next().expect("a header")).expect("base64url");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    SigningKey::generate(Algorithm::Es256).expect("a key").sign_with(&header, &claims(token))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_keys_change_under_load_and_no_verdict_is_wrong() {
    let installation = new_installation().await;
    let path = installation.path("tollgate.yaml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let announced = text.replace("encryption_key_file: kek", "encryption_key_file: kek, announce: 10s");
    assert_ne!(text, announced);
    std::fs::write(&path, announced).expect("a file");
    let replicas = Replicas::start_on(installation).await;
    let upstream = Upstream::start().await;
    let mut envoys = Vec::new();
    for port in &replicas.ports {
        let socket = replicas.installation.path(&format!("authz-{port}.sock"));
        envoys.push(Envoy::recommended(&socket, upstream.port).await);
    }
    let envoys = [envoys[0].port, envoys[1].port];
    let clients = replicas.client("bound").map(Arc::new);

    // Each token comes from one replica and is judged by both, beside one from before all rotations and a forged one.
    let first: Arc<str> = token(&clients[0]).await.expect_tokens().text("access_token").into();
    let signers = Arc::new(Mutex::new(BTreeSet::new()));
    let signed = Arc::clone(&signers);
    let load = Load::start(move |turn| {
        let (client, signed, first) = (Arc::clone(&clients[turn % 2]), Arc::clone(&signed), Arc::clone(&first));
        async move {
            let answer = token(&client).await.expect_tokens();
            let new = answer.text("access_token");
            let forged = forged(new);
            for envoy in envoys {
                for (token, expected) in [(new, 200), (&*first, 200), (&*forged, 401)] {
                    assert_eq!(call(envoy, &client, token).await, expected, "{} at {envoy}", signer(token));
                }
            }
            signed.lock().expect("no test panics with the lock").insert(signer(new));
        }
    });
    load.goes_on().await;
    let has_signed = |kid: &str| signers.lock().expect("no test panics with the lock").contains(kid);
    for _ in 0..2 {
        let (next, _) = rotate(&replicas.installation, &[]).await;
        until("tokens of the next key are judged", || async { has_signed(&next) || load.has_failed() }).await;
        load.goes_on().await;
    }
    load.end().await;
    assert_eq!(signers.lock().expect("no test panics with the lock").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_another_issuer_change_under_load_and_no_verdict_is_wrong() {
    let story = Story::start("    rules: [ { path: \"/orders/**\", scope: \"orders:read\" } ]").await;
    let behind = Behind::envoy(&story).await;
    let holder = Arc::new(Holder::new("app"));
    let bound = json!({ "cnf": { "jkt": holder.thumbprint() } });
    let mut tokens: Vec<Arc<str>> = vec![story.token(&bound).into()];
    let signed = Arc::new(Mutex::new([tokens[0].clone(), tokens[0].clone()]));

    // Callers have a token by the newest key, one by the key before, and a forged one.
    let (known, caller, envoy, clock) =
        (Arc::clone(&signed), Arc::clone(&holder), behind.envoy.port, Arc::clone(&story.clock));
    let load = Load::start(move |_| {
        let (holder, clock) = (Arc::clone(&caller), Arc::clone(&clock));
        let [newest, before] = known.lock().expect("no test panics with the lock").clone();
        async move {
            for (token, expected) in [(&*newest, 200), (&*before, 200), (&*forged(&newest), 401)] {
                assert_eq!(ask(envoy, &holder, token, &clock).await, expected, "{}", signer(token));
            }
        }
    });
    load.goes_on().await;
    for _ in 0..5 {
        // It signs with a new key from one moment to the next. Keys are published for two more rounds, and then are not.
        story.clock.advance(Duration::from_secs(11)); // or the gate would not ask again so soon
        {
            let mut script = story.acme.script();
            script.key = SigningKey::generate(Algorithm::Es256).expect("a key");
            let published = script.key.published_jwk();
            script.published.push(published);
            let old = script.published.len().saturating_sub(3);
            script.published.drain(..old);
        }
        tokens.push(story.token(&bound).into());
        let newest = tokens.len() - 1;
        *signed.lock().expect("no test panics with the lock") =
            [newest, newest - 1].map(|number| tokens[number].clone());
        load.goes_on().await;
        if let Some(withdrawn) = newest.checked_sub(3) {
            assert_eq!(ask(envoy, &holder, &tokens[withdrawn], &story.clock).await, 401);
        }
    }
    load.end().await;
    let fetches = story.acme.script().requests.iter().filter(|(head, _)| head.starts_with("GET /jwks ")).count();
    assert_eq!(fetches, 6, "one at the start, and one for each new key");
}

/// Asks Envoy with a token and a new proof.
async fn ask(envoy: u16, holder: &Holder, token: &str, clock: &TestClock) -> u16 {
    let proof = holder.proof("GET", &format!("{API}/orders/1"), token, clock.now().seconds());
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
    );
    exchange(envoy, request.as_bytes()).await.expect("an answer").status
}
