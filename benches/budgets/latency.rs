//! How long token requests and checks take while nothing else goes on, and while the store is swept and copied and a new
//! key begins to sign. A database of PostgreSQL is copied by its own tools, `tollgate backup` is for the file: there it is swept
//! and the key changes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::interval;
use tollgate::clock::{Clock as _, SystemClock};

use crate::check::{Question, channel};
use crate::cluster::Cluster;
use crate::installation::{Installation, Setup, TOLLGATE};
use crate::report::{Budget, Report, Row};
use crate::rounds::{as_f64, median, median_by_round, take_turns};
use crate::token_endpoint::{Session, begin};

const ROUNDS: usize = 3;

/// How long a round lasts: the store is swept once in it.
const ROUND: Duration = Duration::from_secs(10);

/// Clients of each kind, and how often each of them asks: half of what two processors can do.
const CLIENTS: usize = 16;
const EVERY: Duration = Duration::from_millis(25);

/// Codes whose time is over: more than one sweep removes.
const OLD_CODES: usize = 100_000;

/// How often a new key is announced, and the file copied.
const DISTURBED_EVERY: Duration = Duration::from_secs(2);

/// Measures both where the state is in a file.
pub(crate) fn measure(report: &mut Report, runtime: &Runtime) {
    let names =
        ["latency: p99 of a refresh, store swept and copied", "latency: p99 of a check, store swept and copied"];
    compare(report, runtime, names, [None, None]);
}

/// The same with the state in PostgreSQL: two servers of this machine, which share the processors with everything else.
pub(crate) fn measure_on_postgres(report: &mut Report, runtime: &Runtime) {
    let names = ["latency: p99 of a refresh, PostgreSQL swept", "latency: p99 of a check, PostgreSQL swept"];
    let (quiet, busy) = (Cluster::start(""), Cluster::start(""));
    compare(report, runtime, names, [Some(&quiet.url("public")), Some(&busy.url("public"))]);
    report.note("nothing is copied there: `tollgate backup` is for the file, PostgreSQL has its own tools");
}

/// Compares an installation that is left alone with one that is not; each has a database of its own, or a file.
fn compare(report: &mut Report, runtime: &Runtime, names: [&'static str; 2], databases: [Option<&str>; 2]) {
    let start = |setup| runtime.block_on(Installation::start_as(setup));
    let mut quiet = start(Setup { postgres: databases[0], ..Setup::default() });
    let mut busy = start(Setup {
        postgres: databases[1],
        edit: ("encryption_key_file: kek", "encryption_key_file: kek, announce: 4s"),
        old_codes: OLD_CODES,
        ..Setup::default()
    });
    let is_copied = databases[1].is_none();
    let (mut quiet_checks, mut busy_checks) = (Vec::new(), Vec::new());
    let [quiet_tokens, busy_tokens] = take_turns(
        ROUNDS,
        [
            &mut || {
                let (token, check) = runtime.block_on(load(&mut quiet));
                quiet_checks.push(check);
                token
            },
            &mut || {
                let work = runtime.spawn(disturb(busy.config.clone(), is_copied));
                let (token, check) = runtime.block_on(load(&mut busy));
                assert!(!work.is_finished(), "it copies and rotates");
                work.abort();
                busy_checks.push(check);
                token
            },
        ],
    );
    for (name, [quiet, busy]) in names.into_iter().zip([[quiet_tokens, busy_tokens], [quiet_checks, busy_checks]]) {
        report.row(Row {
            name,
            measured: format!("{:.2} ms", median(&busy)),
            floor: format!("{:.2} ms", median(&quiet)),
            judged: median_by_round(ROUNDS, |n| busy[n] / quiet[n]),
            budget: Budget::AtMost(2.0),
        });
    }
    report.note(&format!(
        "floor: with nothing beside it; {:.0} refreshes and as many checks a second",
        as_f64(CLIENTS) / EVERY.as_secs_f64()
    ));
}

/// Announces keys without end, and copies the store if it is a file, in processes of their own.
async fn disturb(config: PathBuf, is_copied: bool) {
    let mut ticks = interval(DISTURBED_EVERY);
    loop {
        ticks.tick().await;
        tollgate(&config, &["keys", "rotate"]).await;
        if !is_copied {
            continue;
        }
        let copy = config.with_file_name(format!("copy-{}.db", SystemClock.now().millis()));
        tollgate(&config, &["backup", "--to", &copy.to_string_lossy()]).await;
        std::fs::remove_file(&copy).expect("the copy");
    }
}

async fn tollgate(config: &Path, arguments: &[&str]) {
    let mut command = Command::new(TOLLGATE);
    command.args(arguments).arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    assert!(command.status().await.expect("it starts").success(), "{arguments:?}");
}

/// Asks at a steady rate; gives the 99th percentiles of a refresh and of a check, in milliseconds.
async fn load(tollgate: &mut Installation) -> (f64, f64) {
    let end = Instant::now() + ROUND;
    let mut refreshes = JoinSet::new();
    for mut session in begin(tollgate, CLIENTS).await {
        refreshes.spawn(async move {
            paced(end, &mut session, async |session: &mut Session| session.refresh().await).await
        });
    }
    let channel = channel(&tollgate.socket).await;
    let question = Arc::new(Question::new(tollgate));
    let mut checks = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, question) = (AuthorizationClient::new(channel.clone()), Arc::clone(&question));
        checks.spawn(async move {
            paced(end, &mut (client, question), async |(client, question): &mut (_, Arc<Question>)| {
                question.ask(client).await;
            })
            .await
        });
    }
    (p99(refreshes.join_all().await.concat()), p99(checks.join_all().await.concat()))
}

/// How long each took from when it was due, in milliseconds: one that waits for the one before it has waited.
async fn paced<S>(end: Instant, state: &mut S, mut ask: impl AsyncFnMut(&mut S)) -> Vec<f64> {
    let mut ticks = interval(EVERY);
    let mut took = Vec::new();
    while Instant::now() < end {
        let due = ticks.tick().await;
        ask(state).await;
        took.push(due.elapsed().as_secs_f64() * 1e3);
    }
    took
}

fn p99(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}
