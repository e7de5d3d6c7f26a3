//! The store in a PostgreSQL database: what the conformance suite does not ask.

use std::sync::Arc;

use tokio::task::JoinSet;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::store::{
    LastAlive, Limits, PostgresError, PostgresStore, Redeemed, SenderConstraint, Store, Unavailable,
};

use crate::cluster::{self, SHARED, execute, settings};
use crate::crash::grant;
use crate::world::record_code;

/// Stores of several processes on one database.
async fn replicas(count: usize) -> (Vec<Arc<PostgresStore>>, String) {
    let (first, url) = cluster::store(Limits::default()).await;
    let mut stores = vec![Arc::new(first)];
    while stores.len() < count {
        stores.push(Arc::new(PostgresStore::open(&settings(&url), Limits::default()).await.expect("a store")));
    }
    (stores, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_is_made_ready_by_one_of_many_that_start() {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    let url = shared.new_schema().await;
    let mut starts = JoinSet::new();
    for _ in 0..5 {
        let settings = settings(&url);
        starts.spawn(async move { PostgresStore::open(&settings, Limits::default()).await.map(drop) });
    }
    for started in starts.join_all().await {
        started.expect("a store");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_ahead_is_left_alone() {
    let (_, url) = replicas(1).await;
    execute(&url, "INSERT INTO refinery_schema_history VALUES (1000, 'later', '2030-01-01T00:00:00Z', '1')").await;
    let refused = PostgresStore::open(&settings(&url), Limits::default()).await.map(drop);
    let refused = refused.expect_err("it is newer");
    assert!(matches!(refused, PostgresError::Newer { found: 1000, .. }), "{refused:?}");
    assert!(refused.to_string().contains("run the newer version"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_is_said() {
    let nowhere = "postgresql://tollgate:a-secret@127.0.0.1:1/tollgate";
    let refused = PostgresStore::open(&settings(nowhere), Limits::default()).await.map(drop).expect_err("nobody there");
    let said = refused.to_string();
    assert!(said.contains("tollgate on 127.0.0.1") && !said.contains("a-secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_this_version_does_not_understand_is_an_outage() {
    let (stores, url) = replicas(1).await;
    let store = &stores[0];
    let now = SystemClock.now();
    let code = record_code(&**store, now, "spa", None).await;
    let code = code.parse::<tollgate::secret::AuthorizationCode>().expect("a code").digest();
    let record = store.code(code).await.expect("a store").expect("the code");
    let (_, grant) = grant(&record, SenderConstraint::None);
    assert_eq!(store.redeem_code(code, &grant, now).await, Ok(Redeemed::First));
    for change in ["sender_constraint = 'mtls'", "sender_constraint = 'none', ended_at = 1, ended_by = 'whim'"] {
        execute(&url, &format!("UPDATE grants SET {change}")).await;
        assert_eq!(store.grant(grant.handle).await, Err(Unavailable::Down), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_character_is_kept() {
    let (stores, _) = replicas(1).await;
    let store = &stores[0];
    let code = record_code(&**store, SystemClock.now(), "spa", None).await;
    let code = code.parse::<tollgate::secret::AuthorizationCode>().expect("a code").digest();
    let mut record = store.code(code).await.expect("a store").expect("the code");
    record.digest = tollgate::secret::Digest::from_bytes([1; 32]);
    record.transaction = tollgate::store::TransactionId([1; 16]);
    record.nonce = Some("\0 \u{1f511}".to_owned());
    assert_eq!(store.record_code(&record).await, Ok(tollgate::store::Recorded::First));
    assert_eq!(store.code(record.digest).await, Ok(Some(record)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_on_disk_whatever_the_database_is_set_to() {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    let url = shared.new_schema().await;
    // A role whose sessions do not wait for the disk, unless they are told to.
    let role = "DROP ROLE IF EXISTS hasty; CREATE ROLE hasty SUPERUSER LOGIN; ALTER ROLE hasty SET synchronous_commit = off;
         CREATE TABLE watched (said text); CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO watched VALUES (current_setting('synchronous_commit') || ' ' || current_setting('transaction_isolation'));
         RETURN NULL; END $$;";
    execute(&url, role).await;
    let hasty = url.replace("user=postgres", "user=hasty");
    let store = PostgresStore::open(&settings(&hasty), Limits::default()).await.expect("a store");
    execute(&url, "CREATE TRIGGER watch AFTER INSERT ON lives FOR EACH ROW EXECUTE FUNCTION watch()").await;
    assert_eq!(store.note_alive(LastAlive { at: SystemClock.now(), stopped: false }).await, Ok(()));
    let said = "DO $$ BEGIN IF (SELECT said FROM watched) <> 'on read committed' THEN
         RAISE '%', (SELECT said FROM watched); END IF; END $$";
    execute(&url, said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_has_stopped_when_all_its_processes_have() {
    let (stores, url) = replicas(2).await;
    let at = SystemClock.now();
    let note = async |replica: usize, stopped| stores[replica].note_alive(LastAlive { at, stopped }).await;
    for (replica, stopped, all) in [(0, false, false), (1, false, false), (0, true, false), (1, true, true)] {
        assert_eq!(note(replica, stopped).await, Ok(()));
        assert_eq!(stores[0].last_alive().await, Ok(Some(LastAlive { at, stopped: all })));
    }
    // A life that nothing was heard of for a day is over.
    execute(
        &url,
        "UPDATE lives SET at = at - 90000000, stopped = false WHERE life = (SELECT min(life::text)::uuid FROM lives)",
    )
    .await;
    assert_eq!(stores[0].last_alive().await, Ok(Some(LastAlive { at, stopped: false })));
    assert_eq!(stores[0].sweep(at, 10).await, Ok(0));
    assert_eq!(stores[0].last_alive().await, Ok(Some(LastAlive { at, stopped: true })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_swept_by_a_clock_that_is_ahead_nor_by_two_at_once() {
    let (stores, url) = replicas(2).await;
    let now = SystemClock.now();
    execute(&url, &format!("INSERT INTO revocations VALUES ('a', {}), ('b', {0})", now.millis() - 1)).await;
    assert_eq!(stores[0].sweep(now + std::time::Duration::from_secs(90), 10).await, Ok(0));

    // Somebody else is at it, in a transaction that lasts.
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let lead = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('tollgate sweeper of ' || current_schema(), 0))";
    client.batch_execute(lead).await.expect("a lock");
    assert_eq!(stores[0].sweep(now, 10).await, Ok(0));
    client.batch_execute("COMMIT").await.expect("an end");
    assert_eq!(stores[1].sweep(now, 1).await, Ok(1));
    assert_eq!(stores[0].sweep(now, 10).await, Ok(1));
    drop(client);
    connection.await.expect("no panic").expect("a clean end");
}

/// What others hold is waited for no longer than it was said, and the caller is told that it was not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_others_hold_is_an_outage_after_a_while() {
    let (_, url) = replicas(1).await;
    let mut settings = settings(&url);
    settings.answer_within = std::time::Duration::from_millis(300);
    let store = PostgresStore::open(&settings, Limits::default()).await.expect("a store");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE lives IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    let alive = LastAlive { at: SystemClock.now(), stopped: false };
    assert_eq!(store.note_alive(alive).await, Err(Unavailable::Down));
    client.batch_execute("COMMIT").await.expect("an end");
    assert_eq!(store.last_alive().await, Ok(None));
    assert_eq!(store.note_alive(alive).await, Ok(()));
    drop(client);
    connection.await.expect("no panic").expect("a clean end");
}
