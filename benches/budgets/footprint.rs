//! Memory, and how fast a start is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::replay::{DEFAULT_ENTRIES, LocalReplayGuard, ReplayGuard as _, ReplayKey, Seen};

use crate::installation::{folder, free_address, ready, serve, write_configuration};
use crate::process::resident_kib;
use crate::report::{Budget, Report, Row};
use crate::rounds::{as_f64, median, take_turns};

/// The hidden argument by which this program becomes one that remembers proofs and tells what that takes.
pub(crate) const VERB: &str = "remember";

const ROUNDS: usize = 7;

/// How much of a key the guard keeps, in bytes.
const KEY: f64 = 16.0;

/// The seconds over which the expiries of remembered proofs are spread: the life of a proof, and the skew on both sides.
const SPREAD: usize = 80;

/// Measures start, idle memory, and what a remembered `jti` takes.
pub(crate) fn measure(report: &mut Report, runtime: &Runtime) {
    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    let names = ["idle: start to ready, a new installation", "idle: resident memory"];
    measure_starts(report, runtime, (names, ROUNDS), || {
        let (folder, admin) = (folder(), free_address());
        let config = write_configuration(folder.path(), free_address(), admin, &key);
        (config, admin, folder)
    });
    let each = bytes_each(DEFAULT_ENTRIES - DEFAULT_ENTRIES / 20);
    report.row(Row {
        name: "idle: a remembered jti",
        measured: format!("{each:.0} B"),
        floor: String::new(),
        judged: each,
        budget: Budget::AtMost(64.0 + KEY),
    });
}

/// Measures how long a process takes to be ready, and its memory then. `prepare` gives the configuration of each start, the
/// address of its administration, and what has to stay for as long as it runs.
pub(crate) fn measure_starts<T>(
    report: &mut Report,
    runtime: &Runtime,
    ([start, memory], rounds): ([&'static str; 2], usize),
    mut prepare: impl FnMut() -> (PathBuf, SocketAddr, T),
) {
    let mut resident = Vec::new();
    let [starts] = take_turns(
        rounds,
        [&mut || {
            let (config, admin, _stays) = prepare();
            let began = Instant::now();
            let process = serve(&config, &[]);
            runtime.block_on(ready(admin));
            let took = began.elapsed();
            resident.push(as_f64(process.resident_kib()) / 1024.0);
            took.as_secs_f64() * 1e3
        }],
    );
    report.row(Row {
        name: start,
        measured: format!("{:.0} ms", median(&starts)),
        floor: String::new(),
        judged: median(&starts),
        budget: Budget::AtMost(100.0),
    });
    report.row(Row {
        name: memory,
        measured: format!("{:.1} MiB", median(&resident)),
        floor: String::new(),
        judged: median(&resident),
        budget: Budget::AtMost(30.0),
    });
}

/// Asks a process of its own, whose memory nothing else disturbs.
fn bytes_each(entries: usize) -> f64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).args([VERB, &entries.to_string()]).output().expect("it starts");
    let kib: usize = String::from_utf8_lossy(&output.stdout).trim().parse().expect("it prints a number");
    as_f64(kib) * 1024.0 / as_f64(entries)
}

/// Remembers that many proofs, whose ages are spread as in service, and prints how much larger this process has become.
pub(crate) fn remember(entries: &str) {
    let entries: usize = entries.parse().expect("a number");
    let (entropy, now): (&dyn Entropy, _) = (&SystemEntropy, SystemClock.now());
    let guard = LocalReplayGuard::new(DEFAULT_ENTRIES);
    let before = resident_kib("self");
    for n in 0..entries {
        let second = u64::try_from(n * SPREAD / entries).expect("a small number");
        let key = ReplayKey::from_bytes(entropy.draw());
        let answer = guard.spend_now(key, now + Duration::from_secs(1 + second), now);
        assert_eq!(answer, Some(Ok(Seen::First)), "a new proof is new");
    }
    println!("{}", resident_kib("self") - before);
}
