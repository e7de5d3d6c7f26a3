//! A Redis that dies, hangs, forgets or does not let us in: 503, then recovery without a restart, and no proof passes
//! twice.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::entropy::SystemEntropy;
use tollgate::replay::{RedisReplayGuard, RedisSettings, ReplayGuard, ReplayKey, Seen};
use tollgate::secret::sha256;
use tollgate::store::{Limits, MemoryStore, Unavailable};

use crate::client::CLIENT_CREDENTIALS;
use crate::redis::{Cluster, Redis, until};
use crate::world::{TestClock, World, free_port};

/// How long the fence stands: as far ahead as a proof may be dated, and the second that a proof tells.
const FENCE: Duration = Duration::from_secs(11);

fn key(number: u64) -> ReplayKey {
    ReplayKey::from_bytes(sha256(&number.to_be_bytes()))
}

async fn guard(settings: RedisSettings) -> Arc<RedisReplayGuard> {
    Arc::new(RedisReplayGuard::start(settings, Arc::new(SystemClock), &SystemEntropy).await.expect("a guard"))
}

/// Spends a key for a minute.
async fn spend(guard: &RedisReplayGuard, number: u64) -> Result<Seen, Unavailable> {
    let now = SystemClock.now();
    guard.spend(key(number), now + Duration::from_mins(1), now).await
}

async fn until_it_answers(guard: &RedisReplayGuard) {
    until("the guard answers", || async { guard.is_ready() }).await;
}

/// Callers who spend new keys, each of them twice, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<HashMap<u64, usize>>>,
    refused: Arc<AtomicU64>,
}

impl Load {
    fn on(guard: &Arc<RedisReplayGuard>) -> Self {
        let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let number = Arc::new(AtomicU64::new(1_000_000));
        let caller = |_| {
            let (guard, stop) = (Arc::clone(guard), Arc::clone(&stop));
            let (refused, number) = (Arc::clone(&refused), Arc::clone(&number));
            tokio::spawn(async move {
                let mut firsts = HashMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..2 {
                        match spend(&guard, number).await {
                            Ok(Seen::First) => *firsts.entry(number).or_default() += 1,
                            Ok(Seen::Replayed) => {}
                            Err(_) => {
                                refused.fetch_add(1, Ordering::Relaxed);
                                tokio::task::yield_now().await;
                            }
                        }
                    }
                }
                firsts
            })
        };
        let callers = (0..16).map(caller).collect();
        Self { stop, callers, refused }
    }

    /// How often each key was the first, for those that ever were.
    async fn end(self) -> HashMap<u64, usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut firsts = HashMap::new();
        for caller in self.callers {
            firsts.extend(caller.await.expect("no panic"));
        }
        firsts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_under_load_is_an_outage_and_then_none() {
    let redis = Redis::start().await;
    let guard = guard(RedisSettings { answer_within: Duration::from_millis(200), ..redis.settings() }).await;
    let load = Load::on(&guard);
    until("something was spent", || async { spend(&guard, 1).await == Ok(Seen::Replayed) }).await;
    let began = guard.memory_began();
    redis.pause().await;
    until("the outage is noticed", || async { !guard.is_ready() }).await;
    let asked = Instant::now();
    assert_eq!(spend(&guard, 2).await, Err(Unavailable::Down));
    assert!(asked.elapsed() < Duration::from_millis(150), "nobody waits for what does not answer");
    redis.resume().await;
    until_it_answers(&guard).await;
    until("new keys are spent", || async { spend(&guard, 3).await == Ok(Seen::Replayed) }).await;
    let refused = load.refused.load(Ordering::Relaxed);
    let firsts = load.end().await;
    assert!(refused > 0);
    assert!(firsts.values().all(|times| *times == 1), "a key was the first twice");
    assert_eq!(guard.memory_began(), began, "it has forgotten nothing");
    assert_eq!(spend(&guard, 1).await, Ok(Seen::Replayed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_under_load_comes_back_with_a_fence() {
    let mut redis = Redis::start().await;
    let guard = guard(redis.settings()).await;
    let began = guard.memory_began().expect("it answers");
    let load = Load::on(&guard);
    until("something was spent", || async { spend(&guard, 1).await == Ok(Seen::Replayed) }).await;
    redis.kill().await;
    until("the outage is noticed", || async { !guard.is_ready() }).await;
    assert_eq!(spend(&guard, 1).await, Err(Unavailable::Down));
    let spent_by_then = SystemClock.now();
    redis.revive().await;
    until_it_answers(&guard).await;
    // The key was forgotten. Whoever asks knows since when this memory is one, before it answers.
    let again = guard.memory_began().expect("it answers");
    assert!(again >= spent_by_then && again > began);
    load.end().await;
}

#[tokio::test]
async fn a_flush_is_noticed() {
    let redis = Redis::start().await;
    let guard = guard(redis.settings()).await;
    let began = guard.memory_began().expect("it answers");
    for command in ["FLUSHALL", "FLUSHDB"] {
        let before = guard.memory_began();
        redis.ask::<()>(&[command]).await;
        until("the flush is noticed", || async { guard.memory_began() > before }).await;
    }
    assert!(guard.memory_began() > Some(began));
    assert!(guard.is_ready());
}

#[tokio::test]
async fn replicas_agree_when_the_memory_began_and_one_that_starts_later_needs_no_fence() {
    let redis = Redis::start().await;
    let one = guard(redis.settings()).await;
    assert_eq!(spend(&one, 1).await, Ok(Seen::First));
    let other = guard(redis.settings()).await;
    assert_eq!(other.memory_began(), one.memory_began());
    assert_eq!(spend(&other, 1).await, Ok(Seen::Replayed));
    drop(one);
    let restarted = guard(redis.settings()).await;
    assert_eq!(restarted.memory_began(), other.memory_began());
}

#[tokio::test]
async fn a_key_is_gone_when_it_expires_and_not_before() {
    let redis = Redis::start().await;
    let guard = guard(redis.settings()).await;
    let now = SystemClock.now();
    let expires = now + Duration::from_millis(300);
    let spent = Instant::now();
    assert_eq!(guard.spend(key(1), expires, now).await, Ok(Seen::First));
    until("the key is gone", || async { guard.spend(key(1), expires, now).await == Ok(Seen::First) }).await;
    assert!(spent.elapsed() >= Duration::from_millis(300));
    // Even a proof that is over by now is remembered, if only for a moment: never is the lifetime zero or less.
    assert_eq!(guard.spend(key(2), Timestamp::from_seconds(0), now).await, Ok(Seen::First));
}

#[tokio::test]
async fn keys_have_their_prefix_and_their_lifetime() {
    let redis = Redis::start().await;
    let guard = guard(RedisSettings { key_prefix: "edge:".to_owned(), ..redis.settings() }).await;
    assert_eq!(spend(&guard, 1).await, Ok(Seen::First));
    for name in redis.ask::<Vec<String>>(&["KEYS", "*"]).await {
        assert!(name.starts_with("edge:"), "{name}");
        let left: u64 = redis.ask(&["PTTL", &name]).await;
        assert!((1..=60_001).contains(&left), "{name} has {left} ms left");
    }
}

#[tokio::test]
async fn a_redis_that_drops_keys_to_make_room_is_refused() {
    let redis = Redis::with(&["--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru"]).await;
    let guard = guard(redis.settings()).await;
    assert_eq!(spend(&guard, 1).await, Err(Unavailable::Down));
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    until_it_answers(&guard).await;
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(spend(&guard, 1).await, Err(Unavailable::Full));
}

#[tokio::test]
async fn a_user_needs_what_the_reference_says_and_no_more() {
    let redis = Redis::start().await;
    let rights = ["reset", "on", ">gate-secret", "~tollgate:*", "+set", "+get", "+pexpire", "+info", "+ping"];
    redis.ask::<()>(&[&["ACL", "SETUSER", "gate"], &rights[..]].concat()).await;
    redis.ask::<()>(&["ACL", "SETUSER", "default", "off"]).await;
    let named = |password: &str| {
        let url = format!("redis://gate:{password}@127.0.0.1:{}", redis.port);
        RedisSettings { nodes: vec![url.parse().expect("a URL")], ..redis.settings() }
    };
    let guard = guard(named("gate-secret")).await;
    assert_eq!(spend(&guard, 1).await, Ok(Seen::First));
    assert_eq!(spend(&guard, 1).await, Ok(Seen::Replayed));
    let stranger = self::guard(named("guessed")).await;
    assert_eq!(spend(&stranger, 2).await, Err(Unavailable::Down));
}

#[tokio::test]
async fn in_a_cluster_it_needs_a_little_more() {
    let cluster = Cluster::start().await;
    let rights = ["reset", "on", ">gate-secret", "~tollgate:*", "+set", "+get", "+pexpire", "+info", "+ping"];
    let nodes = cluster.nodes.iter().map(|node| {
        let url = format!("redis://gate:gate-secret@127.0.0.1:{}", node.port);
        url.parse().expect("a URL")
    });
    let settings = RedisSettings { nodes: nodes.collect(), ..cluster.settings() };
    for node in &cluster.nodes {
        let more = ["+cluster|slots", "+readonly", "+asking"];
        node.ask::<()>(&[&["ACL", "SETUSER", "gate"], &rights[..], &more].concat()).await;
        node.ask::<()>(&["ACL", "SETUSER", "default", "off"]).await;
    }
    let guard = guard(settings).await;
    for number in 0..32 {
        assert_eq!(spend(&guard, number).await, Ok(Seen::First));
        assert_eq!(spend(&guard, number).await, Ok(Seen::Replayed));
    }
}

#[tokio::test]
async fn over_tls_only_who_is_vouched_for_is_asked() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("server.pem"), cert.pem()).expect("a file");
    fs::write(folder.path().join("server.key"), signing_key.serialize_pem()).expect("a file");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let port = free_port().to_string();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let arguments = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let redis = Redis::with(&[&arguments[..], &["--tls-auth-clients", "no"]].concat()).await;
    let url = format!("rediss://localhost:{port}");
    let settings = |authorities: Option<String>| RedisSettings {
        nodes: vec![url.parse().expect("a URL")],
        authorities,
        ..redis.settings()
    };
    let guard = guard(settings(Some(cert.pem()))).await;
    assert_eq!(spend(&guard, 1).await, Ok(Seen::First));
    assert_eq!(spend(&guard, 1).await, Ok(Seen::Replayed));
    let nobody_vouches = self::guard(settings(None)).await;
    assert_eq!(spend(&nobody_vouches, 2).await, Err(Unavailable::Down));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_one_of_its_nodes_is_an_outage_and_then_none() {
    let mut cluster = Cluster::start().await;
    let guard = guard(cluster.settings()).await;
    let began = guard.memory_began().expect("it answers");
    let load = Load::on(&guard);
    for number in 0..64 {
        assert_eq!(spend(&guard, number).await, Ok(Seen::First));
    }
    cluster.nodes[1].pause().await;
    until("the outage is noticed", || async { !guard.is_ready() }).await;
    assert_eq!(spend(&guard, 100).await, Err(Unavailable::Down));
    cluster.nodes[1].resume().await;
    until_it_answers(&guard).await;
    until("every key is known", || async {
        for number in 0..64 {
            match spend(&guard, number).await {
                Ok(Seen::Replayed) => {}
                Ok(Seen::First) => panic!("key {number} was the first twice"),
                Err(_) => return false,
            }
        }
        true
    })
    .await;
    let firsts = load.end().await;
    assert!(firsts.values().all(|times| *times == 1), "a key was the first twice");

    cluster.nodes[2].kill().await;
    until("the outage is noticed", || async { !guard.is_ready() }).await;
    cluster.nodes[2].revive().await;
    until_it_answers(&guard).await;
    assert!(guard.memory_began() > Some(began), "one of its nodes has forgotten");
}

#[tokio::test]
async fn at_the_door_an_outage_is_503_and_what_was_forgotten_needs_a_nonce() {
    let mut redis = Redis::start().await;
    let clock = Arc::new(TestClock::default());
    let guard = RedisReplayGuard::start(redis.settings(), clock.clone(), &SystemEntropy).await;
    let guard = Arc::new(guard.expect("a guard"));
    let store = Arc::new(MemoryStore::new(Limits::default()));
    let world = World::start_guarded(store, Some(guard.clone()), |_| {}).await;
    let pass = |time: Duration| {
        clock.advance(time);
        world.clock.advance(time);
    };
    let backend = world.client("backend");
    let send = async |proof: &str| backend.request(world.clock.now(), &CLIENT_CREDENTIALS).proof(proof).send().await;
    let with_nonce = |nonce: &str| {
        let mut claims = backend.proof_claims(world.clock.now());
        claims["nonce"] = json!(nonce);
        backend.sign_proof(&claims)
    };

    // Nobody knows what was spent before the first look.
    let first = send(&backend.proof(world.clock.now())).await.expect(400, "use_dpop_nonce");
    send(&with_nonce(first.header("dpop-nonce").expect("a nonce"))).await.expect_tokens();
    pass(FENCE);
    let used = backend.proof(world.clock.now());
    send(&used).await.expect_tokens();
    send(&used).await.expect(400, "invalid_dpop_proof");

    redis.kill().await;
    until("the outage is answered", || async { send(&backend.proof(world.clock.now())).await.status == 503 }).await;
    let health = reqwest::get(format!("http://{}/readyz", world.addresses.admin)).await.expect("an answer");
    assert_eq!(health.status(), 503);
    assert!(health.text().await.expect("text").contains("replay guard"));
    let stays = reqwest::get(format!("http://{}/readyz?exclude=replay-guard", world.addresses.admin)).await;
    assert_eq!(stays.expect("an answer").status(), 200);
    assert_eq!(send(&used).await.status, 503);

    pass(Duration::from_millis(1)); // a nonce tells which memory it is younger than by its millisecond
    redis.revive().await;
    until("the guard answers", || async { guard.is_ready() }).await;
    let forgotten = send(&used).await.expect(400, "use_dpop_nonce");
    send(&with_nonce(forgotten.header("dpop-nonce").expect("a nonce"))).await.expect_tokens();
    let old = with_nonce(first.header("dpop-nonce").expect("a nonce"));
    send(&old).await.expect(400, "use_dpop_nonce");
    pass(FENCE);
    send(&backend.proof(world.clock.now())).await.expect_tokens();
    send(&used).await.expect(400, "use_dpop_nonce");
}
