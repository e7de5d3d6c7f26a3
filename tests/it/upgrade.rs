//! Stores that earlier versions have written: opened, brought up to date and used, while such a version goes on beside.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use refinery::{Migration, Runner};
use rusqlite::Connection;
use tokio_postgres::NoTls;
use tollgate::replay::Seen;
use tollgate::store::{
    Begun, CodeRecord, Grant, GrantOrigin, KeyRecord, LastAlive, Limits, PostgresStore, Pushed, PushedRequest,
    Recorded, Redeemed, Rotated, SessionClient, SessionId, SessionRecord, SqliteStore, Store, TokenName, TransactionId,
};

use crate::cluster::{SHARED, settings};
use crate::store::{
    DAY, SECOND, access_token, assertion, begin, bytes, client, code, device, grant, key, now, person, pushed,
    rotation, session, session_client,
};

/// Reads the migrations of a kind of store, in order.
fn migrations(kind: &str) -> Vec<Migration> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store").join(kind).join("migrations");
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let migration = |path: std::path::PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        Migration::unapplied(&name, &fs::read_to_string(&path).expect("a file")).expect("a migration")
    };
    let mut migrations: Vec<_> = files.map(migration).collect();
    migrations.sort();
    migrations
}

/// A database as an earlier version has it, and what that version does.
struct Earlier {
    database: Database,
    /// The columns that it knows of each table.
    columns: BTreeMap<String, Vec<String>>,
}

enum Database {
    Sqlite(Connection),
    /// With the schema in which the records are that are copied.
    Postgres(tokio_postgres::Client, String),
}

impl Database {
    async fn execute(&self, statements: &str) {
        match self {
            Self::Sqlite(connection) => connection.execute_batch(statements).expect("statements"),
            Self::Postgres(client, _) => client.batch_execute(statements).await.expect("statements"),
        }
    }

    /// The first column of what a query finds, which is text.
    async fn texts(&self, query: &str) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => {
                let mut query = connection.prepare(query).expect("a query");
                let rows = query.query_map([], |row| row.get(0)).expect("rows");
                rows.collect::<Result<_, _>>().expect("texts")
            }
            Self::Postgres(client, _) => {
                client.query(query, &[]).await.expect("rows").iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Queries for the tables, and for the columns of one that are written.
    async fn columns(&self) -> BTreeMap<String, Vec<String>> {
        let tables = match self {
            Self::Sqlite(_) => "SELECT name FROM main.sqlite_schema WHERE type = 'table'",
            Self::Postgres(..) => {
                "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()"
            }
        };
        let mut columns = BTreeMap::new();
        for table in self.texts(tables).await {
            let query = match self {
                Self::Sqlite(_) => format!("SELECT name FROM pragma_table_info('{table}')"),
                Self::Postgres(..) => format!(
                    "SELECT column_name::text FROM information_schema.columns
                     WHERE table_schema = current_schema() AND table_name = '{table}' AND is_generated = 'NEVER'"
                ),
            };
            columns.insert(table, self.texts(&query).await);
        }
        columns.retain(|table, _| !table.starts_with("sqlite_"));
        columns.retain(|table, _| !["held", "refinery_schema_history"].contains(&table.as_str()));
        columns
    }
}

impl Earlier {
    async fn of(database: Database) -> Self {
        Self { columns: database.columns().await, database }
    }

    /// Writes the records of another store as far as it knows what they consist of.
    async fn write(&self) {
        for (table, columns) in &self.columns {
            let columns = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            let insert = match &self.database {
                Database::Sqlite(_) => {
                    format!("INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM reference.{table}")
                }
                Database::Postgres(_, reference) => {
                    let select = format!("SELECT {columns} FROM {reference}.{table}");
                    format!("INSERT INTO {table} ({columns}) {select} ON CONFLICT DO NOTHING")
                }
            };
            self.database.execute(&insert).await;
        }
    }

    /// Reads all that is there, and finds as much as is counted.
    async fn counts(&self) {
        for table in self.database.texts("SELECT DISTINCT records_of FROM held").await {
            let off = format!(
                "SELECT CAST(sum(number) - (SELECT count(*) FROM {table}) AS text) FROM held WHERE records_of = '{table}'"
            );
            assert_eq!(self.database.texts(&off).await, ["0"], "{table}");
        }
    }
}

/// A code that the first schema can express, and so on.
fn plain_code(number: u64) -> CodeRecord {
    CodeRecord { acr: None, nonce: None, ..code(number) }
}

fn plain_grant(number: u64) -> Grant {
    Grant { acr: None, origin: GrantOrigin::Unknown, ..grant(number) }
}

fn plain_session(number: u64) -> SessionRecord {
    SessionRecord { id: SessionId(bytes(number)), acr: None, ..session(number) } // called by its digest
}

fn plain_key(number: u64) -> KeyRecord {
    KeyRecord { secret: None, ..key(number) }
}

/// One that belongs to no code here.
fn request(number: u64) -> PushedRequest {
    pushed(number + 500)
}

fn at_client(number: u64) -> SessionClient {
    session_client(number, "web")
}

/// A transaction that ends without a code.
const fn ended(number: u64) -> TransactionId {
    let mut id = [9; 16];
    id[0] = number.to_le_bytes()[0];
    TransactionId(id)
}

/// Records one of each kind.
async fn fill(store: &dyn Store, number: u64) {
    assert_eq!(store.record_code(&plain_code(number)).await, Ok(Recorded::First));
    begin(store, &plain_grant(number)).await;
    assert_eq!(store.open_session(&plain_session(number)).await, Ok(()));
    assert_eq!(store.add_signing_key(&plain_key(number), &[]).await, Ok(true));
    assert_eq!(store.spend_assertion(assertion(number), now() + DAY, now()).await, Ok(Seen::First));
    assert_eq!(store.record_device(&device(number)).await, Ok(Begun::First));
    assert_eq!(store.remember_person(&person(number)).await, Ok(true));
    assert_eq!(store.revoke_token(TokenName(bytes(number)), now() + DAY, now()).await, Ok(()));
    assert_eq!(store.end_transaction(ended(number), now() + DAY).await, Ok(Recorded::First));
    assert_eq!(store.push_request(&request(number), now()).await, Ok(Pushed::First));
    assert_eq!(store.record_access_token(&access_token(number)).await, Ok(()));
    assert_eq!(store.join_session(&at_client(number)).await, Ok(()));
    assert_eq!(store.register_client(&client(number)).await, Ok(()));
    store.root_key(&[1; 48]).await.expect("an answer");
    assert_eq!(store.note_alive(LastAlive { at: now(), stopped: false }).await, Ok(()));
}

/// What is read of each kind, by the table that it is in.
async fn read(store: &dyn Store, number: u64) -> BTreeMap<&'static str, String> {
    let keys = store.signing_keys().await.expect("an answer");
    let at_client = at_client(number);
    let at_client = store.session_client(at_client.session, &at_client.client_id, now()).await;
    BTreeMap::from([
        ("codes", format!("{:?}", store.code(plain_code(number).digest).await)),
        ("grants", format!("{:?}", store.grant(plain_grant(number).handle).await)),
        ("sessions", format!("{:?}", store.session(plain_session(number).digest, now()).await)),
        ("signing_keys", format!("{:?}", keys.iter().find(|key| key.generation == number))),
        ("devices", format!("{:?}", store.device(device(number).digest).await)),
        ("people", format!("{:?}", store.person(&person(number).subject).await)),
        ("revocations", format!("{:?}", store.is_token_revoked(TokenName(bytes(number))).await)),
        ("pushed_requests", format!("{:?}", store.pushed_request(request(number).digest).await)),
        ("access_tokens", format!("{:?}", store.access_token(access_token(number).digest).await)),
        ("session_clients", format!("{at_client:?}")),
        ("clients", format!("{:?}", store.registered_client(&client(number).id).await)),
    ])
}

/// A store of this version finds what an earlier one has written before and writes beside it, and works with it; and the
/// earlier one can go on. `version` is the schema of that one, and `overlooked` what it leaves at a default that says less
/// than was derived from other columns when the schema was brought up to date.
async fn goes_on(
    (reference, earlier): (&dyn Store, &Earlier),
    store: Arc<dyn Store>,
    (version, overlooked): (i32, &[(&str, i32)]),
) {
    let overlooked = |table: &str| overlooked.iter().any(|(there, until)| *there == table && version < *until);
    let is_as_written = async |number: u64, beside: bool| {
        let (written, found) = (read(reference, number).await, read(&*store, number).await);
        let nothing = read(&*store, 77).await;
        for (table, found) in &found {
            let known = earlier.columns.contains_key(*table);
            if !(beside && overlooked(table)) {
                assert_eq!(found, if known { &written[table] } else { &nothing[table] }, "{version}: {table}");
            }
        }
    };
    is_as_written(1, false).await;
    assert_eq!(store.root_key(&[2; 48]).await, Ok(vec![1; 48]));
    assert_eq!(store.last_alive().await, Ok(Some(LastAlive { at: now(), stopped: false })));
    earlier.counts().await;

    // The earlier version goes on writing, and this one too.
    fill(reference, 2).await;
    earlier.write().await;
    is_as_written(2, true).await;
    fill(&*store, 3).await;
    is_as_written(1, false).await;
    earlier.counts().await;

    for number in [1, 2] {
        let code = plain_code(number);
        let begun = plain_grant(number + 10);
        assert_eq!(store.redeem_code(code.digest, &begun, now()).await, Ok(Redeemed::First), "{version}");
        assert_eq!(store.redeem_code(code.digest, &begun, now()).await, Ok(Redeemed::Replayed(begun.handle)));
        assert_eq!(store.rotate(&rotation(&plain_grant(number), 1)).await, Ok(Rotated::Moved), "{version}");
        assert_eq!(store.spend_assertion(assertion(number), now() + DAY, now()).await, Ok(Seen::Replayed));
        if earlier.columns.contains_key("ended_transactions") {
            assert_eq!(store.end_transaction(ended(number), now() + DAY).await, Ok(Recorded::TransactionSpent));
        }
    }
    store.lease_status_block(now(), now() + DAY).await.expect("a block");
    assert_eq!(
        store.sweep(now() + SECOND * 5, 1_000).await.map(|swept| swept > 0),
        Ok(true),
        "an access token at least"
    );
    earlier.counts().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_each_earlier_schema_is_taken_over_while_it_is_used() {
    // A session ended when its time was over, until it could be idle; and a grant was used when it was rotated last.
    let overlooked = [("sessions", 4), ("grants", 5)];
    let migrations = migrations("sqlite");
    assert!(migrations.len() >= 16, "{migrations:?}");
    for known in 1..=migrations.len() {
        let version = migrations[known - 1].version();
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("tollgate.db"), folder.path().join("reference.db"));
        let reference = SqliteStore::open(&other, Limits::default()).expect("a store");
        fill(&reference, 1).await;
        let mut connection = Connection::open(&path).expect("a file");
        connection
            .execute_batch("PRAGMA application_id = 1413955924; PRAGMA journal_mode = wal; PRAGMA busy_timeout = 5000")
            .expect("settings");
        Runner::new(&migrations[..known]).run(&mut connection).expect("migrations");
        let earlier = Earlier::of(Database::Sqlite(connection)).await;
        earlier.database.execute(&format!("ATTACH '{}' AS reference", other.display())).await;
        earlier.write().await;
        for _ in 0..2 {
            let store = SqliteStore::open(&path, Limits::default()).expect("a store");
            drop(store); // and what is up to date is left as it is
        }
        let store = Arc::new(SqliteStore::open(&path, Limits::default()).expect("a store"));
        goes_on((&reference, &earlier), store, (version, &overlooked)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_each_earlier_schema_is_taken_over_while_it_is_used() {
    let migrations = migrations("postgres");
    assert!(migrations.len() >= 6, "{migrations:?}");
    for known in 1..=migrations.len() {
        let version = migrations[known - 1].version();
        let (reference, elsewhere) = crate::cluster::store(Limits::default()).await;
        fill(&reference, 1).await;
        let there = elsewhere.rsplit_once('=').expect("a schema").1.trim_end_matches('\'').to_owned();
        let url = SHARED.new_schema().await;
        let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a connection");
        tokio::spawn(connection);
        Runner::new(&migrations[..known]).run_async(&mut client).await.expect("migrations");
        let earlier = Earlier::of(Database::Postgres(client, there)).await;
        earlier.write().await;
        let store = PostgresStore::open(&settings(&url), Limits::default()).await.expect("a store");
        goes_on((&reference, &earlier), Arc::new(store), (version, &[])).await;
    }
}
