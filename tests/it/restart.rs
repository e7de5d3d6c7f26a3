//! A restart re-opens nothing: what a guard in memory forgot is behind the fence, and the rest is in the store.

use std::time::Duration;

use serde_json::json;
use tollgate::clock::Clock as _;
use tollgate::dpop::ProofFault;
use tollgate::oauth::NonceMode;
use tollgate::secret::{base64url, sha256};

use crate::client::{Answer, CLIENT_CREDENTIALS, Client, code_request, refresh_request};
use crate::proxy::Proxy;
use crate::world::{End, World};

const ORDERS: &str = "https://api.example.com/orders/7";

/// How long the fence stands: as far ahead as a proof may be dated, and after a kill as long as a life may go unnoted.
const ENDS: [(End, Duration); 2] = [(End::Stopped, Duration::from_secs(10)), (End::Killed, Duration::from_secs(15))];

fn with_nonce(client: &Client, world: &World, nonce: &str) -> String {
    let mut claims = client.proof_claims(world.clock.now());
    claims["nonce"] = json!(nonce);
    client.sign_proof(&claims)
}

async fn token(client: &Client, world: &World, proof: &str) -> Answer {
    client.request(world.clock.now(), &CLIENT_CREDENTIALS).proof(proof).send().await
}

#[tokio::test]
async fn a_proof_of_an_earlier_life_is_not_used_again_at_the_token_endpoint() {
    for mode in [NonceMode::Optional, NonceMode::Required, NonceMode::Off] {
        for (end, fence) in ENDS {
            let world = World::start_with(|settings| settings.dpop.nonce = mode).await;
            let backend = world.client("backend");
            let plain = backend.proof(world.clock.now());
            let answer = token(&backend, &world, &plain).await;
            let old_nonce = answer.header("dpop-nonce").unwrap_or("no nonces here").to_owned();
            let used = if mode == NonceMode::Required { with_nonce(&backend, &world, &old_nonce) } else { plain };
            if mode == NonceMode::Required {
                answer.expect(400, "use_dpop_nonce");
                token(&backend, &world, &used).await.expect_tokens();
            } else {
                answer.expect_tokens();
            }

            world.clock.advance(Duration::from_millis(1)); // a nonce tells which life it is of by its millisecond
            let world = world.restart_with(end, |settings| settings.dpop.nonce = mode).await;
            let backend = backend.reconnected();
            let answer = token(&backend, &world, &used).await.expect(400, "use_dpop_nonce");
            assert_eq!(world.events.last("refusal").as_deref(), Some(ProofFault::BeforeRestart.name()));
            let nonce = answer.header("dpop-nonce").expect("a nonce").to_owned();
            if mode != NonceMode::Off {
                let old = with_nonce(&backend, &world, &old_nonce);
                token(&backend, &world, &old).await.expect(400, "use_dpop_nonce");
            }
            // Whoever asks again passes, once.
            let cured = with_nonce(&backend, &world, &nonce);
            token(&backend, &world, &cured).await.expect_tokens();
            token(&backend, &world, &cured).await.expect(400, "invalid_dpop_proof");

            world.clock.advance(fence + Duration::from_secs(1)); // a proof tells its second only
            if mode != NonceMode::Required {
                token(&backend, &world, &backend.proof(world.clock.now())).await.expect_tokens();
            }
            let answer = token(&backend, &world, &used).await;
            answer.expect(400, "use_dpop_nonce");
        }
    }
}

#[tokio::test]
async fn a_proof_of_an_earlier_life_is_not_used_again_at_the_gate() {
    for (end, fence) in ENDS {
        let world = World::start().await;
        let backend = world.client("backend");
        let now = world.clock.now();
        let tokens = backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
        let token = tokens.text("access_token").to_owned();
        let used = backend.resource_proof("GET", ORDERS, &token, now);
        let mut proxy = Proxy::over_tcp(world.addresses.gate[0]).await;
        assert_eq!(proxy.get("/orders/7", Some(&token), Some(&used)).await.status, 200);

        let world = world.restart(end).await;
        let mut proxy = Proxy::over_tcp(world.addresses.gate[0]).await;
        let verdict = proxy.get("/orders/7", Some(&token), Some(&used)).await;
        assert_eq!(verdict.status, 401, "{verdict:?}");
        assert!(
            verdict.header("www-authenticate").is_some_and(|value| value.contains("use_dpop_nonce")),
            "{verdict:?}"
        );
        let nonce = verdict.header("dpop-nonce").expect("a nonce");
        let cured = backend.sign_proof(&json!({
            "jti": backend.fresh(), "htm": "GET", "htu": ORDERS, "iat": now.seconds(),
            "ath": base64url(&sha256(token.as_bytes())), "nonce": nonce,
        }));
        assert_eq!(proxy.get("/orders/7", Some(&token), Some(&cured)).await.status, 200);
        assert_eq!(proxy.get("/orders/7", Some(&token), Some(&cured)).await.status, 401);

        world.clock.advance(fence + Duration::from_secs(1));
        let fresh = backend.resource_proof("GET", ORDERS, &token, world.clock.now());
        assert_eq!(proxy.get("/orders/7", Some(&token), Some(&fresh)).await.status, 200);
        assert_eq!(proxy.get("/orders/7", Some(&token), Some(&used)).await.status, 401);
    }
}

#[tokio::test]
async fn what_was_spent_before_a_restart_stays_spent_and_what_was_given_stays_good() {
    let world = World::start().await;
    let (spa, web) = (world.client("spa"), world.client("web"));
    let now = world.clock.now();
    let (spent, fresh) = (world.code(&spa).await, world.code(&spa).await);
    let tokens = spa.request(now, &code_request(&spent)).send().await.expect_tokens();
    let first = tokens.text("refresh_token").to_owned();
    let second = spa.request(now, &refresh_request(&first)).send().await.expect_tokens();
    let assertion = web.sign_assertion(&web.assertion_claims(now));
    web.request(now, &CLIENT_CREDENTIALS).assertion(&assertion).send().await.expect_tokens();

    let world = world.restart(End::Killed).await;
    let (spa, web) = (spa.reconnected(), web.reconnected());
    world.clock.advance(Duration::from_secs(17)); // behind the fence
    let now = world.clock.now();
    let again = web.request(now, &CLIENT_CREDENTIALS).assertion(&assertion).send().await;
    again.expect(401, "invalid_client");
    let repeated = spa.request(now, &refresh_request(&first)).send().await.expect_tokens();
    assert_eq!(repeated.text("refresh_token"), second.text("refresh_token"));
    spa.request(now, &code_request(&fresh)).send().await.expect_tokens();
    spa.request(now, &code_request(&spent)).send().await.expect(400, "invalid_grant");
    let ended = spa.request(now, &refresh_request(second.text("refresh_token"))).send().await;
    ended.expect(400, "invalid_grant");
}
