//! The schema, brought up to date by whoever starts first.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use refinery::{Migration, Runner};

use super::connect::PostgresError;
use super::database::cause;
use super::settings::PostgresUrl;

/// Every change of the schema, in order. Each only adds: two versions of the program may run side by side.
const MIGRATIONS: &[(&str, &str)] = &[
    ("V1__state", include_str!("migrations/V1__state.sql")),
    ("V2__endings", include_str!("migrations/V2__endings.sql")),
    ("V3__clients", include_str!("migrations/V3__clients.sql")),
    ("V5__status_blocks", include_str!("migrations/V5__status_blocks.sql")),
    ("V6__secrets", include_str!("migrations/V6__secrets.sql")),
];

/// How long to wait for another replica that brings the schema up to date.
const PATIENCE: Duration = Duration::from_mins(1);

/// Applies what is missing of [`MIGRATIONS`], one replica at a time; leaves a database alone that is ahead of them.
pub(super) async fn migrate(connection: &mut ClientWrapper, url: &PostgresUrl) -> Result<(), PostgresError> {
    let failed = |cause| PostgresError::Schema { url: url.clone(), cause };
    let no = |error: tokio_postgres::Error| failed(cause(&error));
    let migrations: Result<Vec<_>, _> = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect();
    let runner = Runner::new(&migrations.map_err(|error| failed(error.to_string()))?);
    let known = runner.get_migrations().iter().map(Migration::version).max().unwrap_or_default();

    // Held by the session until it is let go of: each migration is a transaction of its own. A migration that others are in
    // the way of gives up, since whoever comes after it would wait for it.
    let waiting = PATIENCE.as_millis();
    let begin = format!("SET statement_timeout = {waiting}; {}; SET lock_timeout = '5s'", lock("pg_advisory_lock"));
    connection.batch_execute(&begin).await.map_err(no)?;
    let found = version(connection).await.map_err(no)?;
    let outcome = if found > known {
        Err(PostgresError::Newer { url: url.clone(), found, known })
    } else {
        runner.run_async(&mut **connection).await.map(drop).map_err(|error| failed(reason(&error)))
    };
    // What every connection is told first stays in force.
    let end = format!("SET lock_timeout = 0; {}", lock("pg_advisory_unlock"));
    connection.batch_execute(&end).await.map_err(no)?;
    outcome
}

/// A call of a function for the advisory lock of this installation. A database may hold one in each of its schemas.
fn lock(function: &str) -> String {
    format!("SELECT {function}(hashtextextended('tollgate migrations of ' || current_schema(), 0))")
}

/// The number of the newest migration that was applied; 0 if none was.
async fn version(connection: &ClientWrapper) -> Result<i32, tokio_postgres::Error> {
    let exists = connection.query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]).await?;
    if !exists.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    connection.query_one(newest, &[]).await?.try_get(0)
}

/// What the driver said below the words of the migrations.
fn reason(error: &refinery::Error) -> String {
    let driver = std::error::Error::source(error).and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
    driver.map_or_else(|| error.to_string(), cause)
}

/// Text is stored as we have it, or not at all.
pub(super) async fn check_encoding(connection: &ClientWrapper, url: &PostgresUrl) -> Result<(), PostgresError> {
    let found = setting(connection, "server_encoding").await.map_err(|error| unreachable(url, &error))?;
    if found == "UTF8" { Ok(()) } else { Err(PostgresError::Encoding { url: url.clone(), found }) }
}

/// Says so if the server is set to lose what it has acknowledged.
pub(super) async fn warn_of_risks(connection: &ClientWrapper, url: &PostgresUrl) {
    for name in ["fsync", "full_page_writes"] {
        if setting(connection, name).await.is_ok_and(|value| value == "off") {
            tracing::warn!(database = %url, setting = name, "the database may lose what it has acknowledged: `{name}` is off");
        }
    }
}

async fn setting(connection: &ClientWrapper, name: &str) -> Result<String, tokio_postgres::Error> {
    connection.query_one("SELECT current_setting($1)", &[&name]).await?.try_get(0)
}

fn unreachable(url: &PostgresUrl, error: &tokio_postgres::Error) -> PostgresError {
    PostgresError::Unreachable { url: url.clone(), cause: cause(error) }
}
