//! A million grants.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::runtime::Runtime;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::store::{GrantHandle, Limits, SqliteStore, Store};

use crate::IN_FLIGHT;
use crate::footprint::measure_starts;
use crate::installation::{folder, free_address, write_configuration};
use crate::parallel::for_each;
use crate::report::{Budget, Report, Row};
use crate::rounds::as_f64;
use crate::store::{begin, rate};

/// So many grants, each of another person.
const GRANTS: usize = 1_000_000;

const ROUNDS: usize = 5;

/// Fills a file, then measures what it takes, how fast a start is with it, and rotations of grants in the midst of it.
pub(crate) fn measure(report: &mut Report, runtime: &Runtime) {
    let (folder, key) = (folder(), SigningKey::generate(Algorithm::Es256).expect("a key"));
    let database = folder.path().join("tollgate.db");
    let limits = Limits { grants: 2 * GRANTS as u64, codes: 2 * GRANTS as u64, ..Limits::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&database, limits).expect("a store"));
    let began = Instant::now();
    let grants = runtime.block_on(fill(&store));
    let filled = began.elapsed().as_secs_f64();

    let some: Vec<_> = grants.iter().copied().step_by(GRANTS / IN_FLIGHT).take(IN_FLIGHT).collect();
    let rotations = rate(&store, &some, runtime, drop);
    drop(store);
    let bytes = std::fs::metadata(&database).expect("the file").len() / GRANTS as u64;

    let admin = free_address();
    let config = write_configuration(folder.path(), free_address(), admin, &key);
    let names = ["grants: start to ready with a million", "grants: resident memory with a million"];
    measure_starts(report, runtime, (names, ROUNDS), || (config.clone(), admin, ()));
    report.row(Row {
        name: "grants: rotation among a million, at the store",
        measured: format!("{rotations:.0}/s"),
        floor: String::new(),
        judged: rotations,
        budget: Budget::AtLeast(5_000.0),
    });
    report.note(&format!(
        "{bytes} bytes of file for a grant and the code it came from; {:.0} of both were made a second",
        as_f64(GRANTS) / filled
    ));
}

/// Begins the grants.
async fn fill(store: &Arc<dyn Store>) -> Vec<GrantHandle> {
    let handles = Arc::new(Mutex::new(Vec::with_capacity(GRANTS)));
    for_each(0..GRANTS, |n| {
        let (store, handles) = (Arc::clone(store), Arc::clone(&handles));
        async move {
            let handle = begin(&*store, &format!("person-{n}")).await;
            handles.lock().expect("nobody panics with it").push(handle);
        }
    })
    .await;
    Arc::into_inner(handles).expect("all are done").into_inner().expect("nobody panics with it")
}
