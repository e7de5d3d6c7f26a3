//! An issuer that does not answer in time: through the real Envoy, whose own patience is longer or shorter than that of the
//! gate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tollgate::clock::Clock as _;

use crate::check::Ask;
use crate::envoy::{Envoy, Reply, eventually};
use crate::gate::{Gate, Holder, SLOWNESS, Trouble};
use crate::other_issuers::serve_at;
use crate::provider::{Conduct, Provider};
use crate::upstream::{Upstream, field};
use crate::world::TestClock;

const API: &str = "https://api.example.com";

/// What a gate of these tests needs to leave its fence behind, and to be allowed a fetch again.
const A_WHILE: Duration = Duration::from_secs(11);

/// Longest that the gate waits for others, of however many it must learn something.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// An Envoy with so much patience, a gate, an API, and an issuer that answers as the test says.
struct Story {
    acme: Provider,
    clock: Arc<TestClock>,
    ada: Holder,
    envoy: Envoy,
    upstream: Upstream,
    _gate: JoinSet<()>,
}

impl Story {
    async fn start(patience: &str, timeout: &str, conduct: Conduct) -> Self {
        let clock = Arc::new(TestClock::default());
        let acme = Provider::start(clock.now()).await;
        acme.script().conduct = conduct;
        let (issuer, endpoint) = (&acme.issuer, format!("{}/introspect", acme.issuer));
        let text = format!(
            r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
issuers:
  - issuer: "{issuer}"
    timeout: {timeout}
    introspection: {{ endpoint: "{endpoint}", client_id: backend, client_secret_file: secret }}
protected_resources:
  - resource: {API}
    authorization_servers: ["{issuer}"]
    rules: [ {{ path: /orders/*, scope: "orders:read" }} ]
"#
        );
        let (gate, address) = serve_at(&text, &clock).await;
        let upstream = Upstream::start().await;
        let envoy = Envoy::waiting(patience, address.port(), upstream.port).await;
        clock.advance(A_WHILE);
        let story = Self { acme, clock, ada: Holder::new("app"), envoy, upstream, _gate: gate };
        story.acme.script().introspection = (200, story.claims());
        story
    }

    /// What Acme says of a good token, whether in it or when it is asked.
    fn claims(&self) -> serde_json::Value {
        let now = self.clock.now().seconds();
        json!({
            "active": true, "token_type": "DPoP", "iss": self.acme.issuer, "sub": "ada", "aud": API, "client_id": "app",
            "scope": "orders:read", "iat": now, "exp": now + 300, "jti": "1", "cnf": { "jkt": self.ada.thumbprint() },
        })
    }

    /// A request with this token and a proof of its own.
    fn request(&self, token: &str) -> Vec<u8> {
        let proof = self.ada.proof("GET", &format!("{API}/orders/7"), token, self.clock.now().seconds());
        let head = "GET /orders/7 HTTP/1.1\r\nhost: api.example.com";
        format!("{head}\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n").into_bytes()
    }

    /// Sends what must not pass: whoever answers, it is 503, and nothing reaches the API.
    async fn send_in_vain(&self, request: &[u8]) -> Reply {
        let reply = self.envoy.send(request).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (503, None), "{reply:?}");
        assert!(self.upstream.take().is_empty(), "the API was reached");
        reply
    }

    /// Sends it until the gate has the word. A machine that is busy may be late with an answer, and then Envoy has given up.
    async fn is_answered_by_the_gate(&self, request: &[u8]) {
        let by_gate = async || is_of_gate(&self.send_in_vain(request).await).then_some(());
        eventually("the gate answers before Envoy gives up", by_gate).await;
    }

    /// The issuer answers again: the very same request passes, since none of those in vain has spent its proof, and once only.
    async fn is_well(&self, request: &[u8]) {
        self.acme.script().conduct = Conduct::Proper;
        self.clock.advance(A_WHILE);
        eventually("the request passes", async || {
            let reply = self.envoy.send(request).await;
            assert!([200, 503].contains(&reply.status), "{reply:?}");
            (reply.status == 200).then_some(())
        })
        .await;
        let seen = self.upstream.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(field(&seen[0], "x-auth-subject"), Some("ada"));
        assert_eq!(self.envoy.send(request).await.status, 401);
        assert!(self.upstream.take().is_empty(), "a replay reached the API");
    }
}

/// Whether the gate has answered 503, and not Envoy in its place.
fn is_of_gate(reply: &Reply) -> bool {
    reply.header("retry-after") == Some("1") && reply.body.contains("temporarily_unavailable")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_waits_less_than_the_gate_is_answered_before_it_gives_up() {
    let story = Story::start("0.5s", "30s", Conduct::Silent).await;
    let request = story.request("an-opaque-token");
    story.is_answered_by_the_gate(&request).await;
    story.is_well(&request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_waits_longer_is_answered_when_the_gate_has_waited_long_enough() {
    let story = Story::start("20s", "30s", Conduct::Silent).await;
    let request = story.request("an-opaque-token");
    let asked = Instant::now();
    let reply = story.send_in_vain(&request).await;
    let took = asked.elapsed();
    assert!(is_of_gate(&reply), "{reply:?}");
    assert!((LOOKUP_LIMIT..Duration::from_secs(20)).contains(&took), "{took:?}");
    story.is_well(&request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_come_in_time_are_the_same_outage() {
    let story = Story::start("0.5s", "1s", Conduct::Silent).await;
    let token = story.acme.script().key.sign("at+jwt", &story.claims());
    let request = story.request(&token);
    story.is_answered_by_the_gate(&request).await;
    story.is_well(&request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_waits_of_one_request_have_one_end_together() {
    assert!(SLOWNESS < LOOKUP_LIMIT && LOOKUP_LIMIT < 2 * SLOWNESS, "each alone would not be too long");
    let (gate, upstream, ada) = (Gate::with(Trouble::SlowIssuer).await, Upstream::start().await, Holder::new("tv"));
    let envoy = Envoy::waiting("20s", gate.tcp.port(), upstream.port).await;
    let token = Ask::good(&gate, &ada).token(&gate);
    let proof = ada.proof("GET", &format!("{API}/orders/7"), &token, gate.now());
    let head = "GET /orders/7 HTTP/1.1\r\nhost: api.example.com";
    let request = format!("{head}\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n");
    let late = envoy.send(request.as_bytes()).await;
    assert!(late.status == 503 && is_of_gate(&late), "{late:?}");
    assert!(upstream.take().is_empty(), "the API was reached");
    // The keys are there by now, its proof is not spent, and to wait for the list alone is not too long.
    let reply = envoy.send(request.as_bytes()).await;
    assert_eq!((reply.status, upstream.take().len()), (200, 1), "{reply:?}");
}
