//! `make bench`: what Tollgate costs, each figure beside a floor taken in the same run, against the budgets that are
//! written down. See docs/performance.md for how to read the table.
//!
//! Contenders take turns, round after round, so that a noisy machine is unfair to none of them. A missed budget is said
//! and not an error: machines differ. Only what does not work ends the run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

mod always_allow;
mod check;
mod client;
#[path = "../../tests/it/cluster.rs"]
#[expect(dead_code, unreachable_pub, reason = "tests do more with it")]
mod cluster;
mod decide;
mod documents;
mod envoy;
mod floor;
mod footprint;
mod growth;
mod http1;
mod installation;
mod latency;
mod parallel;
mod process;
mod replay;
mod report;
mod rounds;
mod store;
mod token_endpoint;

/// What [`cluster`] takes from elsewhere where it comes from.
mod world {
    /// A port that nobody listens on now.
    pub(crate) fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.local_addr().expect("an address").port()
    }
}

use floor::Floor;
use installation::Installation;
use report::Report;

/// How many requests are under way at once: what a busy proxy, or a busy population of clients, keeps a server at.
const IN_FLIGHT: usize = 64;

/// How long one contender is under load before the next one takes its turn.
const TURN: Duration = Duration::from_millis(1_500);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).filter(|argument| argument != OsStr::new("--bench"));
    match (arguments.next(), arguments.next()) {
        (None, _) => compare(None),
        (Some(verb), Some(socket)) if verb == always_allow::VERB => always_allow::serve(Path::new(&socket)),
        (Some(verb), Some(entries)) if verb == footprint::VERB => footprint::remember(&entries.to_string_lossy()),
        (Some(only), _) => compare(Some(&only.to_string_lossy())),
    }
    ExitCode::SUCCESS
}

/// Measures every row, or those whose name begins with `only`, and prints the table.
fn compare(only: Option<&str>) {
    let wanted = |row: &str| only.is_none_or(|only| row.starts_with(only));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut report = Report::begin();
    let floor = Floor::new();
    if wanted("decide") {
        decide::measure(&mut report, &floor);
    }
    if wanted("idle") {
        footprint::measure(&mut report, &runtime);
    }
    let redis = std::env::var_os("REDIS_BIN").map(PathBuf::from);
    if ["check", "envoy", "client_credentials", "refresh"].into_iter().any(wanted) {
        let mut installation = runtime.block_on(Installation::start());
        if wanted("check") {
            check::measure(&mut report, &floor, &installation, &runtime);
            check::measure_more(&mut report, &floor, &runtime, redis.as_deref());
        }
        if wanted("envoy") {
            match std::env::var_os("ENVOY_BIN") {
                Some(envoy) => envoy::measure(&mut report, &floor, &installation, &runtime, Path::new(&envoy)),
                None => report.note("through Envoy: left out, because ENVOY_BIN names no Envoy; `make bench` sets it"),
            }
        }
        if wanted("client_credentials") {
            token_endpoint::measure_client_credentials(&mut report, &floor, &installation, &runtime);
        }
        if wanted("refresh") {
            token_endpoint::measure_refresh(&mut report, &mut installation, &runtime);
        }
    }
    if wanted("refresh") {
        store::measure(&mut report, &runtime);
        match std::env::var_os("POSTGRES_BIN") {
            Some(_) => {
                store::measure_postgres(&mut report, &runtime);
                token_endpoint::measure_refresh_on_postgres(&mut report, &runtime);
            }
            None => report
                .note("refresh: rotation, PostgreSQL: left out, because POSTGRES_BIN names none; `make bench` sets it"),
        }
    }
    if wanted("redemption") {
        token_endpoint::measure_redemption(&mut report, &runtime);
    }
    if wanted("replay") {
        replay::measure(&mut report, &runtime);
        match &redis {
            Some(redis) => replay::measure_redis(&mut report, &runtime, redis),
            None => report.note("replay: in Redis: left out, because REDIS_BIN names none; `make bench` sets it"),
        }
    }
    if wanted("documents") {
        documents::measure(&report, &runtime);
    }
    if wanted("latency") {
        latency::measure(&mut report, &runtime);
        match std::env::var_os("POSTGRES_BIN") {
            Some(_) => latency::measure_on_postgres(&mut report, &runtime),
            None => report.note("latency: PostgreSQL: left out, because POSTGRES_BIN names none; `make bench` sets it"),
        }
    }
    if wanted("grants") {
        growth::measure(&mut report, &runtime);
    }
    report.end();
}
