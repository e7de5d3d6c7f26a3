//! Rotations at the stores themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::secret::AuthorizationCode;
use tollgate::store::{
    Grant, GrantHandle, GrantOrigin, Limits, PostgresStore, Previous, Recorded, Redeemed, RefreshState, Rotated,
    Rotation, SenderConstraint, SqliteStore, Store,
};
use tollgate::token::{AuthorizationDetails, RequestedClaims};

use crate::cluster::{Cluster, settings};
use crate::installation::{API, code_record, folder};
use crate::process::cpu_of_all;
use crate::report::{Budget, Report, Row};
use crate::rounds::{as_f64, median, take_turns, us_each};
use crate::{IN_FLIGHT, TURN};

const ROUNDS: usize = 3;

/// Measures durable rotations, each of which reads its grant first.
pub(crate) fn measure(report: &mut Report, runtime: &Runtime) {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("tollgate.db"), Limits::default()).expect("a store");
    let store = Arc::new(store) as Arc<dyn Store>;
    let grants = runtime.block_on(sixty_four(&store));
    let rate = rate(&store, &grants, runtime, drop);
    report.row(Row {
        name: "refresh: rotation, SQLite, at the store",
        measured: format!("{rate:.0}/s"),
        floor: String::new(),
        judged: rate,
        budget: Budget::AtLeast(5_000.0),
    });
}

/// The same on a PostgreSQL server of our own, over its socket. It shares the processors.
pub(crate) fn measure_postgres(report: &mut Report, runtime: &Runtime) {
    let server = Cluster::start("");
    let settings = settings(&server.url("public"));
    let store = runtime.block_on(PostgresStore::open(&settings, Limits::default())).expect("a store");
    let store = Arc::new(store) as Arc<dyn Store>;
    let grants = runtime.block_on(sixty_four(&store));
    let (mut in_postgres, mut before) = (Vec::new(), cpu_of_all("postgres"));
    let rate = rate(&store, &grants, runtime, |count| {
        let now = cpu_of_all("postgres");
        in_postgres.push(us_each(now.saturating_sub(before), count));
        before = now;
    });
    report.note(&format!(
        "refresh: rotation, PostgreSQL, at the store: {rate:.0}/s, two statements each; {:.0} us of CPU in PostgreSQL",
        median(&in_postgres)
    ));
}

/// A grant for each caller.
async fn sixty_four(store: &Arc<dyn Store>) -> Vec<GrantHandle> {
    let mut grants = Vec::with_capacity(IN_FLIGHT);
    for _ in 0..IN_FLIGHT {
        grants.push(begin(&**store, "0b6f").await);
    }
    grants
}

/// How many rotations a second a store does for callers who have one of these grants each. `after` is told after each
/// round how many there were.
pub(crate) fn rate(
    store: &Arc<dyn Store>,
    grants: &[GrantHandle],
    runtime: &Runtime,
    mut after: impl FnMut(usize),
) -> f64 {
    let [rates] = take_turns(
        ROUNDS,
        [&mut || {
            let count = runtime.block_on(keep_rotating(store, grants));
            after(count);
            as_f64(count) / TURN.as_secs_f64()
        }],
    );
    median(&rates)
}

async fn keep_rotating(store: &Arc<dyn Store>, grants: &[GrantHandle]) -> usize {
    let end = Instant::now() + TURN;
    let mut tasks = JoinSet::new();
    for handle in grants.iter().copied() {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                let grant = store.grant(handle).await.expect("a store").expect("the grant");
                assert_eq!(store.rotate(&rotation(&grant)).await, Ok(Rotated::Moved));
                count += 1;
            }
            count
        });
    }
    tasks.join_all().await.into_iter().sum()
}

fn rotation(grant: &Grant) -> Rotation {
    let entropy: &dyn Entropy = &SystemEntropy;
    let (read_n, read_hash) = (grant.refresh.current_n, grant.refresh.current_hash);
    let rotated_at_millis = SystemClock.now().millis();
    let previous = Previous { n: read_n, hash: read_hash, seed: entropy.draw(), rotated_at_millis };
    let next = RefreshState {
        tag_key: grant.refresh.tag_key,
        current_n: read_n + 1,
        current_hash: entropy.draw(),
        previous: Some(previous),
    };
    Rotation {
        handle: grant.handle,
        read_n,
        read_hash,
        next,
        sender_constraint: grant.sender_constraint,
        used_at: grant.used_at,
        idle_expires_at: grant.idle_expires_at,
    }
}

/// Puts a grant into the store in the one way there is: a code is redeemed for it.
pub(crate) async fn begin(store: &dyn Store, subject: &str) -> GrantHandle {
    let (entropy, now): (&dyn Entropy, _) = (&SystemEntropy, SystemClock.now());
    let handle = GrantHandle(entropy.draw());
    let code = AuthorizationCode::draw(entropy);
    let record = code_record(&code, now + Duration::from_mins(1));
    assert_eq!(store.record_code(&record).await, Ok(Recorded::First));
    let grant = grant(handle, subject, now);
    assert_eq!(store.redeem_code(code.digest(), &grant, now).await, Ok(Redeemed::First));
    handle
}

fn grant(handle: GrantHandle, subject: &str, now: Timestamp) -> Grant {
    const DAY: Duration = Duration::from_hours(24);
    let entropy: &dyn Entropy = &SystemEntropy;
    Grant {
        handle,
        client_id: "shop".parse().expect("a name"),
        subject: subject.parse().expect("a name"),
        scopes: "orders:read".parse().expect("scopes"),
        resource: API.parse().expect("a resource"),
        details: AuthorizationDetails::default(),
        claims: RequestedClaims::default(),
        session: None,
        origin: GrantOrigin::Browser,
        auth_time: now,
        acr: None,
        sender_constraint: SenderConstraint::Dpop,
        refresh: RefreshState { tag_key: entropy.draw(), current_n: 0, current_hash: entropy.draw(), previous: None },
        created_at: now,
        used_at: now,
        idle_expires_at: now + DAY * 7,
        expires_at: now + DAY * 30,
        ended: None,
    }
}
