//! Processes that are a gate only, each behind the real Envoy: one takes tokens of npm `oidc-provider`, one those of another
//! Tollgate.

use std::fs;

use serde_json::{Value, json};
use tollgate::clock::{Clock, SystemClock};
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{base64url, sha256};

use crate::client::{CLIENT_CREDENTIALS, Client};
use crate::envoy::{Envoy, Reply, eventually};
use crate::example::Example;
use crate::interop::{node, repository};
use crate::process::{Installation, run};
use crate::upstream::{Upstream, field};
use crate::world::free_port;

const API: &str = "https://api.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_oidc_provider_pass_with_their_key_and_are_refused_for_each_single_defect() {
    let port = free_port();
    let (resource, issuer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()));
    let names = [(API, &*resource), ("https://login.example.com/realms/acme", &issuer)];
    let gate = Example::start("gate-only.yaml", &names).await;
    let upstream = Upstream::start().await;
    let _envoy = Envoy::for_other_issuer(&gate.socket, upstream.port, port).await;
    let mut command = node("other-issuer.mjs");
    command
        .current_dir(repository("tests/interop"))
        .env("ISSUER", &issuer)
        .env("RESOURCE", &resource)
        .kill_on_drop(true);
    let output = run(&mut command).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}\nthe gate said:\n{}", gate.log());
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 6, "{said}");
    println!("{said}");
}

/// A gate beside an API, and the server that issues its tokens.
struct Sidecar {
    installation: Installation,
    gate: Example,
    envoy: Envoy,
    upstream: Upstream,
    client: Client,
}

impl Sidecar {
    async fn start() -> Self {
        let installation = Installation::new();
        let gate = Example::start("sidecar.yaml", &[("https://auth.example.com", &*installation.issuer)]).await;
        let upstream = Upstream::start().await;
        let envoy = Envoy::for_other_issuer(&gate.socket, upstream.port, 0).await;
        let client = installation.client("bound");
        Self { installation, gate, envoy, upstream, client }
    }

    async fn token(&self) -> String {
        let now = SystemClock.now();
        self.client.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens().text("access_token").to_owned()
    }

    fn proof(&self, token: &str, nonce: Option<&str>) -> String {
        let (now, ath) = (SystemClock.now().seconds(), base64url(&sha256(token.as_bytes())));
        let mut claims = json!({ "jti": self.client.fresh(), "htm": "GET", "htu": format!("{API}/orders/7"), "iat": now, "ath": ath });
        if let Some(nonce) = nonce {
            claims["nonce"] = Value::from(nonce);
        }
        self.client.sign_proof(&claims)
    }

    async fn send(&self, token: &str, proof: &str) -> Reply {
        let request = format!(
            "GET /orders/7 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
        );
        self.envoy.send(request.as_bytes()).await
    }

    /// Calls the API as a client does: with the nonce that it is told to use.
    async fn call(&self, token: &str) -> Reply {
        let first = self.send(token, &self.proof(token, None)).await;
        match first.header("dpop-nonce").filter(|_| first.status == 401) {
            Some(nonce) => self.send(token, &self.proof(token, Some(nonce))).await,
            None => first,
        }
    }

    /// Calls until the gate has fetched the keys.
    async fn call_until_it_passes(&self, token: &str) {
        eventually("the gate learns the keys", async || (self.call(token).await.status == 200).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_takes_the_tokens_of_a_tollgate_elsewhere_and_outlives_it() {
    let mut story = Sidecar::start().await;
    let stranger = SigningKey::generate(Algorithm::Es256).expect("a key");
    let claims =
        json!({ "iss": story.installation.issuer, "sub": "x", "aud": API, "client_id": "x", "exp": 4_000_000_000_u32 });
    let forged = stranger.sign("at+jwt", &claims);
    let reply = story.call(&forged).await;
    assert_eq!((reply.status, reply.header("www-authenticate")), (503, None), "{reply:?}");

    let issuer = story.installation.start(&[]).await;
    let token = story.token().await;
    story.call_until_it_passes(&token).await;
    let heads = story.upstream.take();
    let head = heads.last().expect("a request");
    assert_eq!(field(head, "x-auth-client"), Some("bound"));
    assert_eq!((field(head, "authorization"), field(head, "dpop")), (None, None));
    let reply = story.call(&forged).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    let reply = story
        .envoy
        .send(
            format!("GET /orders/7 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: Bearer {token}\r\n\r\n")
                .as_bytes(),
        )
        .await;
    assert_eq!(reply.status, 401, "{reply:?}");

    // The issuer dies: what it has signed is good for as long as it says.
    issuer.kill().await;
    let nonce = story.send(&token, &story.proof(&token, None)).await;
    let nonce = nonce.header("dpop-nonce").expect("a nonce").to_owned();
    let proof = story.proof(&token, Some(&nonce));
    assert_eq!(story.send(&token, &proof).await.status, 200);
    assert_eq!(story.send(&token, &proof).await.status, 401);

    // The gate dies too: another life knows no keys, and nothing that was spent is good again.
    story.gate.restart().await;
    let reply = story.send(&token, &proof).await;
    assert_eq!((reply.status, reply.header("www-authenticate")), (503, None), "{reply:?}");
    let issuer = story.installation.start(&[]).await;
    story.call_until_it_passes(&token).await;
    let reply = story.send(&token, &proof).await;
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    assert!(reply.status == 401 && challenge.contains("use_dpop_nonce"), "{reply:?}");
    issuer.kill().await;
}

/// The configuration for other issuers is the recommended one without what belongs to the authorization server.
#[test]
fn the_configurations_of_envoy_differ_in_the_authorization_server_only() {
    let text = |name: &str| {
        let text = fs::read_to_string(repository("envoy").join(name)).expect("a configuration");
        text.split_once("\nadmin:\n").expect("a head and a body").1.to_owned()
    };
    let without = |text: &str, from: &str, to: &str| {
        let (before, rest) = text.split_once(from).expect("the first line");
        let (_, after) = rest.split_once(to).expect("the line after");
        format!("{before}{to}{after}")
    };
    let recommended = text("envoy.yaml");
    let host = "                    # The authorization server, when clients reach it through this Envoy.";
    let recommended = without(&recommended, host, "          # Uncomment to end TLS here.");
    let recommended = without(&recommended, "    - name: tollgate_public\n", "    - name: api\n");
    assert!(recommended == text("other-issuer.yaml"), "envoy/other-issuer.yaml is to be brought up to date");
}
