//! Spending proofs: in this process, and in a Redis of this machine, which shares the processors.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::replay::{
    DEFAULT_ANSWER_WITHIN, DEFAULT_CONNECT_WITHIN, DEFAULT_ENTRIES, DEFAULT_KEY_PREFIX, LocalReplayGuard,
    RedisReplayGuard, RedisSettings, ReplayGuard, ReplayKey, Seen,
};
use tollgate::secret::base64url;

use crate::installation::{eventually, folder};
use crate::process::{Process, cpu_of_all};
use crate::report::{Budget, Report, Row};
use crate::rounds::{as_f64, median, median_by_round, take_turns};
use crate::{IN_FLIGHT, TURN};

const ROUNDS: usize = 3;

/// How long a proof is remembered.
const LIFE: Duration = Duration::from_secs(LIFE_SECONDS);
const LIFE_SECONDS: u64 = 70;

/// A Redis that keeps nothing on disk.
pub(crate) struct Redis {
    _process: Process,
    folder: TempDir,
    /// Where it is.
    url: String,
}

impl Redis {
    /// Starts one on a socket.
    pub(crate) async fn start(program: &Path) -> Self {
        let folder = folder();
        let socket = folder.path().join("redis.sock").to_string_lossy().into_owned();
        let arguments = ["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", &socket];
        let process = Process::start(program, &arguments, &folder.path().join("redis.log"));
        eventually(async || tokio::net::UnixStream::connect(&socket).await.is_ok()).await;
        Self { _process: process, folder, url: format!("unix://{socket}") }
    }

    /// The settings by which an installation uses it, and asks for nonces for a second only.
    pub(crate) fn settings(&self) -> [String; 2] {
        let file = self.folder.path().join("redis.url");
        std::fs::write(&file, &self.url).expect("a file");
        [
            format!("replay={{\"redis\":{{\"url_file\":\"{}\"}}}}", file.display()),
            "authorization_server.dpop={\"clock_skew\":\"1s\"}".to_owned(),
        ]
    }
}

/// Measures how many proofs a second the guard of this process spends.
pub(crate) fn measure(report: &mut Report, runtime: &Runtime) {
    let [rates] = take_turns(
        ROUNDS,
        [&mut || {
            let guard: Arc<dyn ReplayGuard> = Arc::new(LocalReplayGuard::new(8 * DEFAULT_ENTRIES));
            runtime.block_on(spend(&guard))
        }],
    );
    report.row(Row {
        name: "replay: proofs spent in this process",
        measured: format!("{:.0}/s", median(&rates)),
        floor: String::new(),
        judged: median(&rates),
        budget: Budget::AtLeast(500_000.0),
    });
}

/// Compares the shared guard with bare `SET NX PX` on one connection.
pub(crate) fn measure_redis(report: &mut Report, runtime: &Runtime, program: &Path) {
    let redis = runtime.block_on(Redis::start(program));
    let settings = RedisSettings {
        nodes: vec![redis.url.parse().expect("a URL")],
        cluster: false,
        key_prefix: DEFAULT_KEY_PREFIX.to_owned(),
        authorities: None,
        answer_within: DEFAULT_ANSWER_WITHIN,
        connect_within: DEFAULT_CONNECT_WITHIN,
    };
    let guard = runtime.block_on(RedisReplayGuard::start(settings, Arc::new(SystemClock), &SystemEntropy));
    let guard: Arc<dyn ReplayGuard> = Arc::new(guard.expect("a guard"));
    let client = Client::open(redis.url.as_str()).expect("a URL");
    let connection = runtime.block_on(client.get_multiplexed_async_connection()).expect("a connection");
    let mut in_redis = Vec::new();
    let [bare, spent] = take_turns(
        ROUNDS,
        [&mut || runtime.block_on(set(&connection)), &mut || {
            let before = cpu_of_all("redis-server");
            let rate = runtime.block_on(spend(&guard));
            let used = cpu_of_all("redis-server").saturating_sub(before);
            in_redis.push(used.as_secs_f64() * 1e6 / (rate * TURN.as_secs_f64()));
            rate
        }],
    );
    report.row(Row {
        name: "replay: proofs spent in Redis",
        measured: format!("{:.0}/s", median(&spent)),
        floor: format!("{:.0}/s", median(&bare)),
        judged: median_by_round(ROUNDS, |n| spent[n] / bare[n]),
        budget: Budget::AtLeast(0.8),
    });
    report.note(&format!("floor: bare SET NX PX on one connection; {:.1} us of CPU each in Redis", median(&in_redis)));
}

/// How many new proofs a second a guard takes from all callers.
async fn spend(guard: &Arc<dyn ReplayGuard>) -> f64 {
    let guard = Arc::clone(guard);
    counted(move || {
        let guard = Arc::clone(&guard);
        async move {
            let (key, now) = (ReplayKey::from_bytes(fresh()), SystemClock.now());
            let answer = match guard.spend_now(key, now + LIFE, now) {
                Some(answer) => answer,
                None => guard.spend(key, now + LIFE, now).await,
            };
            assert_eq!(answer, Ok(Seen::First), "a new proof is new");
        }
    })
    .await
}

/// How many new keys a second are set from all callers.
async fn set(connection: &MultiplexedConnection) -> f64 {
    let connection = connection.clone();
    counted(move || {
        let mut connection = connection.clone();
        async move {
            let key = format!("bare:{}", base64url(&fresh()));
            let mut set = Cmd::new();
            set.arg("SET").arg(key).arg("1").arg("NX").arg("PX").arg(LIFE_SECONDS * 1_000);
            let () = set.query_async(&mut connection).await.expect("an answer");
        }
    })
    .await
}

/// How often a second all callers together do something.
async fn counted<Work>(work: impl Fn() -> Work + Clone + Send + 'static) -> f64
where
    Work: Future<Output = ()> + Send,
{
    let end = Instant::now() + TURN;
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let work = work.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                work().await;
                count += 1;
            }
            count
        });
    }
    as_f64(tasks.join_all().await.into_iter().sum()) / TURN.as_secs_f64()
}

fn fresh() -> [u8; 32] {
    let entropy: &dyn Entropy = &SystemEntropy;
    entropy.draw()
}
