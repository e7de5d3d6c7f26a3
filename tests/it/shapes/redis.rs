//! `envoy/redis.yaml` with `examples/redis.yaml`: two Envoys, each with the same two gates, which share a Redis.

use tokio::task::JoinSet;

use super::{Caller, Seen};
use crate::envoy::{Envoy, eventually};
use crate::example::Example;
use crate::process::{Installation, Process};
use crate::redis::Redis;
use crate::upstream::Upstream;

/// Everything that stands between a client and an API, twice, but for the Redis.
struct World {
    redis: Redis,
    gates: [Example; 2],
    envoys: [Envoy; 2],
    caller: Caller,
    http: reqwest::Client,
    upstream: Upstream,
    _issuer: Process,
    _installation: Installation,
}

const ORDER: &str = "https://api.example.com/orders/7";

impl World {
    async fn start() -> Self {
        let installation = Installation::new();
        let issuer = installation.start(&[]).await;
        let redis = Redis::with(&["--maxmemory-policy", "noeviction"]).await;
        let url = installation.path("redis.url");
        std::fs::write(&url, redis.url()).expect("a file");
        let names = [
            ("https://auth.example.com", &*installation.issuer),
            ("secrets/redis", &*url.to_string_lossy()),
            // A machine that is busy with other tests is no outage.
            ("answer_within: 100ms", "answer_within: 1s"),
        ];
        let gates = [Example::start("redis.yaml", &names).await, Example::start("redis.yaml", &names).await];
        let upstream = Upstream::start().await;
        let [one, two] = gates.each_ref().map(|gate| gate.socket.to_string_lossy().into_owned());
        let changes = [("/run/tollgate/one.sock", &*one), ("/run/tollgate/two.sock", &*two)];
        let folder = installation.folder.path();
        let envoys = [
            Envoy::of_file("redis.yaml", upstream.port, folder, &changes).await,
            Envoy::of_file("redis.yaml", upstream.port, folder, &changes).await,
        ];
        let caller = Caller::with_token(installation.client("bound")).await;
        let http = reqwest::Client::builder().build().expect("a client");
        let world = Self { redis, gates, envoys, caller, http, upstream, _issuer: issuer, _installation: installation };
        // The Redis is new: for its first seconds nobody can know what was spent before.
        eventually("each gate lets a proof without a nonce pass", async || {
            for _ in 0..4 {
                (world.fresh(0).await.status == 200).then_some(())?;
            }
            Some(())
        })
        .await;
        world.upstream.take();
        world
    }

    /// A request through one of the Envoys.
    fn request(&self, envoy: usize, proof: &str) -> reqwest::RequestBuilder {
        let request = self.http.get(format!("http://127.0.0.1:{}/orders/7", self.envoys[envoy].port));
        request
            .header("host", "api.example.com")
            .header("authorization", self.caller.authorization())
            .header("dpop", proof)
    }

    async fn fresh(&self, envoy: usize) -> Seen {
        Seen::of(self.request(envoy, &self.caller.proof("GET", ORDER))).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_passes_once_whichever_gate_is_asked_and_whoever_is_away() {
    let mut world = World::start().await;
    let proof = world.caller.proof("GET", ORDER);
    let mut attempts = JoinSet::new();
    for attempt in 0..24 {
        attempts.spawn(Seen::of(world.request(attempt % 2, &proof)));
    }
    let seen = attempts.join_all().await;
    let passed = seen.iter().filter(|seen| seen.status == 200).count();
    let replayed = seen.iter().filter(|seen| seen.refusal() == (401, Some("invalid_dpop_proof"))).count();
    assert_eq!((passed, replayed), (1, 23), "{seen:?}");
    assert_eq!(world.upstream.take().len(), 1);
    let stolen = Seen::of(world.request(0, &world.caller.stolen("GET", ORDER))).await;
    assert_eq!(stolen.refusal(), (401, Some("invalid_token")));
    let bare = Seen::of(
        world.http.get(format!("http://127.0.0.1:{}/orders/7", world.envoys[1].port)).header("host", "api.example.com"),
    );
    assert_eq!(bare.await.refusal(), (401, None));

    // One gate is away: the other one answers in its place, and knows what both have seen.
    world.gates[0].kill().await;
    for attempt in 0..6 {
        assert_eq!(world.fresh(attempt % 2).await.status, 200);
        let again = Seen::of(world.request(attempt % 2, &proof)).await;
        assert_eq!(again.refusal(), (401, Some("invalid_dpop_proof")));
    }
    // It is back, and has forgotten nothing.
    world.gates[0].revive().await;
    world.gates[1].kill().await;
    eventually("the gate knows the keys of the issuer", async || (world.fresh(0).await.status == 200).then_some(()))
        .await;
    let again = Seen::of(world.request(0, &proof)).await;
    assert_eq!(again.refusal(), (401, Some("invalid_dpop_proof")));

    // Without the Redis nobody can tell what was used, and what needs no proof passes.
    world.redis.kill().await;
    world.upstream.take();
    let outage = world.fresh(1).await;
    assert_eq!((outage.status.as_u16(), outage.headers.contains_key("retry-after")), (503, true), "{outage:?}");
    assert!(world.upstream.take().is_empty());
    let open =
        world.http.get(format!("http://127.0.0.1:{}/healthz", world.envoys[1].port)).header("host", "api.example.com");
    assert_eq!(Seen::of(open).await.status, 200);
}
