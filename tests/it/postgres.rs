//! The store in a PostgreSQL database: what the conformance suite does not ask.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::store::{
    EndedBy, Endings, Grant, LastAlive, Limits, PostgresError, PostgresSettings, PostgresStore, Redeemed,
    SenderConstraint, Store, TokenName, Unavailable,
};

use crate::client::{CLIENT_CREDENTIALS, code_request, poll_request, refresh_request};
use crate::cluster::{self, Cluster, SHARED, execute, settings};
use crate::crash::grant;
use crate::line::Line;
use crate::outage::is_upkeep;
use crate::tap::{Tap, TappedStore};
use crate::world::{World, record_code};

/// Notes the calls of requests.
#[derive(Default)]
struct Calls(Mutex<Vec<&'static str>>);

#[async_trait]
impl Tap for Calls {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        if !is_upkeep(call) {
            self.0.lock().expect("no test panics with the lock").push(call);
        }
        Ok(())
    }
}

impl Calls {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().expect("no test panics with the lock"))
    }
}

/// Each call is one statement, but for a poll, which is two (docs/scaling.md).
#[tokio::test]
async fn requests_take_as_few_statements_as_is_said() {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    let store = PostgresStore::open(&settings(&shared.new_schema().await), Limits::default()).await.expect("a store");
    let calls = Arc::new(Calls::default());
    let tapped = TappedStore { inner: Arc::new(store), tap: Arc::clone(&calls) as Arc<dyn Tap> };
    let world = World::start_on(Arc::new(tapped), |_| {}).await;
    let (spa, web, tv) = (world.client("spa"), world.client("web"), world.client("tv"));
    let now = world.clock.now();

    let code = world.code(&spa).await;
    calls.take();
    let tokens = spa.request(now, &code_request(&code)).send().await.expect_tokens();
    assert_eq!(calls.take(), ["code", "redeem_code"]);
    let next = spa.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();
    assert_eq!(calls.take(), ["grant", "rotate"]);
    spa.request(now, &refresh_request(next.text("refresh_token"))).send().await.expect_tokens();
    assert_eq!(calls.take(), ["grant", "rotate"]);
    web.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    assert_eq!(calls.take(), ["spend_assertion"]);

    let device = tv.device_request(now, &[]).send().await;
    calls.take();
    let poll = async || tv.request(now, &poll_request(device.text("device_code"))).send().await;
    poll().await.expect(400, "authorization_pending");
    assert_eq!(calls.take(), ["device", "poll_device"]);
    world.let_in(device.text("device_code"), "ada").await;
    calls.take();
    poll().await.expect_tokens();
    assert_eq!(calls.take(), ["device", "redeem_device"]);
}

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

/// A grant that has just begun.
async fn begin(store: &dyn Store, now: Timestamp) -> Grant {
    let code = record_code(store, now, "spa", None).await;
    let code = code.parse::<tollgate::secret::AuthorizationCode>().expect("a code").digest();
    let record = store.code(code).await.expect("a store").expect("the code");
    let (_, grant) = grant(&record, SenderConstraint::None);
    assert_eq!(store.redeem_code(code, &grant, now).await, Ok(Redeemed::First));
    grant
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_this_version_does_not_understand_is_an_outage() {
    let (stores, url) = replicas(1).await;
    let store = &stores[0];
    let now = SystemClock.now();
    let grant = begin(&**store, now).await;
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
    let role =
        "DROP ROLE IF EXISTS hasty; CREATE ROLE hasty SUPERUSER LOGIN; ALTER ROLE hasty SET synchronous_commit = off;
         CREATE TABLE watched (said text); CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO watched VALUES (concat_ws(' ', current_setting('synchronous_commit'),
           current_setting('transaction_isolation'), current_setting('statement_timeout'))); RETURN NULL; END $$;";
    execute(&url, role).await;
    let hasty = url.replace("user=postgres", "user=hasty");
    let store = PostgresStore::open(&settings(&hasty), Limits::default()).await.expect("a store");
    execute(&url, "CREATE TRIGGER watch AFTER INSERT ON lives FOR EACH ROW EXECUTE FUNCTION watch()").await;
    assert_eq!(store.note_alive(LastAlive { at: SystemClock.now(), stopped: false }).await, Ok(()));
    let said = "DO $$ BEGIN IF (SELECT said FROM watched) <> 'on read committed 5s' THEN
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
    assert_eq!(stores[0].sweep(now + Duration::from_secs(90), 10).await, Ok(0));

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
    settings.answer_within = Duration::from_millis(300);
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

/// A server that hangs, or a network that loses everything, keeps connections open, takes new ones and answers on none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_falls_silent_gives_way_to_another() {
    let (_, url) = replicas(1).await;
    let (port, (_, options)) = (SHARED.port, url.split_once(" user=").expect("a user"));
    let line = Line::to(port).await;
    let both = format!("host=127.0.0.1,127.0.0.1 port={},{port} user={options}", line.port);
    let mut settings = settings(&both);
    (settings.connect_within, settings.answer_within) = (Duration::from_millis(300), Duration::from_millis(300));
    let store = Arc::new(PostgresStore::open(&settings, Limits::default()).await.expect("a store"));
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.last_alive().await }); // over connections of their own
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));

    line.cut();
    let alive = LastAlive { at: SystemClock.now(), stopped: false };
    assert_eq!(store.note_alive(alive).await, Err(Unavailable::Down));
    assert_eq!(store.note_alive(alive).await, Ok(()));
    let (swept, read) = tokio::join!(store.sweep(alive.at, 10), store.last_alive());
    assert_eq!((swept, read), (Ok(0), Ok(Some(alive))));
}

/// Ending very many grants takes longer than one statement may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_very_many_grants_goes_step_by_step() {
    const MORE: u64 = 2_500;
    let (stores, url) = replicas(1).await;
    let store = &stores[0];
    let now = SystemClock.now();
    let grant = begin(&**store, now).await;
    // One statement may end so many.
    let many = format!(
        "DO $$ DECLARE names text; BEGIN
           SELECT string_agg(quote_ident(column_name), ', ') INTO names FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name = 'grants' AND is_generated = 'NEVER'
               AND column_name <> 'handle';
           EXECUTE format('INSERT INTO grants (handle, %1$s) SELECT decode(lpad(to_hex(n), 32, ''0''), ''hex''), %1$s
             FROM grants, generate_series(1, {MORE}) AS n', names);
         END $$;
         CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF (SELECT count(*) FROM changed) > 500 THEN RAISE 'that would take too long'; END IF;
           RETURN NULL;
         END $$;
         CREATE TRIGGER judge AFTER UPDATE ON grants REFERENCING NEW TABLE AS changed
           FOR EACH STATEMENT EXECUTE FUNCTION judge();"
    );
    execute(&url, &many).await;
    let ended = store.end_grants_of_client(&grant.client_id, EndedBy::Administrator, now).await;
    assert_eq!(ended, Ok(MORE + 1));
    assert_eq!(store.end_grants_of(&grant.subject, EndedBy::Administrator, now).await, Ok(0));
}

/// Whoever ends something may have been stopped for a while before it wrote, or its clock may be behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_ends_whose_clock_is_behind_is_found() {
    let (stores, _) = replicas(1).await;
    let store = &stores[0];
    let now = SystemClock.now();
    let grant = begin(&**store, now).await;
    let (behind, name) = (now.before(Duration::from_mins(10)), TokenName([7; 32]));
    assert_eq!(store.end_grant(grant.handle, EndedBy::Revoked, behind).await, Ok(()));
    assert_eq!(store.revoke_token(name, now + Duration::from_mins(5), behind).await, Ok(()));

    // So is it by somebody whose own clock is ahead.
    for ahead in [Duration::ZERO, Duration::from_hours(1)] {
        let now = SystemClock.now() + ahead;
        let ended = store.ended_since(now.before(Duration::from_secs(30)), now).await.expect("a store");
        let when = ended.grants.iter().find(|(handle, _)| *handle == grant.handle).map(|(_, when)| *when);
        assert!(when.is_some_and(|when| when > now.before(ahead + Duration::from_mins(1))), "{ended:?}");
        assert!(ended.tokens.iter().any(|(token, _)| *token == name), "{ended:?}");
    }
}

/// A commit waits for a synchronous standby for as long as that is away: others see what it has written only then, with the
/// time at which it was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_seen_long_after_it_was_written_is_found() {
    let (stores, url) = replicas(1).await;
    // One who is not told when the transactions of others began.
    let stranger = "CREATE ROLE stranger; DO $$ BEGIN EXECUTE format('
           GRANT ALL ON SCHEMA %1$I TO stranger; GRANT ALL ON ALL TABLES IN SCHEMA %1$I TO stranger', current_schema()); END $$";
    execute(&url, stranger).await;
    let stranger = url.trim_end_matches('\'').to_owned() + " -c role=stranger'";
    let stranger = PostgresStore::open(&settings(&stranger), Limits::default()).await.expect("a store");
    let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);

    // The name of a token at place 5 of list 0, which somebody revokes, and whose commit waits.
    let now = SystemClock.now();
    let (revoked_at, expires_at) =
        (now.before(Duration::from_mins(2)).millis(), (now + Duration::from_mins(2)).millis());
    let written = format!(
        "BEGIN;
         INSERT INTO revocations (token, revoked_at, expires_at)
           VALUES (decode('0000000000000005' || repeat('07', 24), 'hex'), {revoked_at}, {expires_at});
         UPDATE revocations SET noted_at = noted_at - 60000"
    );
    writer.batch_execute(&written).await.expect("statements that are right");
    let ended = stores[0].ended_since(now, now).await.expect("a store");
    assert!(ended.unfinished.is_some(), "{ended:?}");
    let endings = Endings::shared(Duration::from_mins(5), Duration::from_mins(1));
    let known = || endings.places(0, now).iter().map(|place| place.number()).collect::<Vec<_>>();
    assert_eq!((endings.read(&stranger, now).await, known()), (Ok(()), vec![]));
    writer.batch_execute("COMMIT").await.expect("a commit");
    assert_eq!((endings.read(&stranger, now + Duration::from_secs(1)).await, known()), (Ok(()), vec![5]));
    drop(writer);
    connection.await.expect("no panic").expect("a clean end");
}

/// Another machine's database is asked over TLS, and only if it is the one that it should be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_elsewhere_shows_its_certificate() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = certificate.self_signed(&key).expect("a certificate").pem();
    let folder = tempfile::tempdir().expect("a folder");
    let (own, foreign) = (folder.path().join("own.pem"), folder.path().join("foreign.pem"));
    std::fs::write(&own, &certificate).expect("a file");
    let stranger = rcgen::KeyPair::generate().expect("a key");
    let stranger = rcgen::CertificateParams::default().self_signed(&stranger).expect("a certificate").pem();
    std::fs::write(&foreign, stranger).expect("a file");

    let start = move || Cluster::start_with_tls(&certificate, &key.serialize_pem());
    let server = tokio::task::spawn_blocking(start).await.expect("a server");
    let url = |mode: &str| format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode={mode}", server.port);
    let open = async |mode: &str, authorities: Option<&std::path::PathBuf>| {
        let settings = PostgresSettings { authorities: authorities.cloned(), ..settings(&url(mode)) };
        PostgresStore::open(&settings, Limits::default()).await.map(drop)
    };
    open("require", Some(&own)).await.expect("it is the one");
    for (mode, authorities) in [("require", Some(&foreign)), ("require", None), ("disable", Some(&own))] {
        let refused = open(mode, authorities).await.expect_err("it is not, or not over TLS");
        assert!(matches!(refused, PostgresError::Unreachable { .. }), "{mode} {authorities:?}: {refused}");
    }
}
