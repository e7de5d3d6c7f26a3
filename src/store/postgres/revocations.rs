//! Access tokens that were revoked by name.

use tokio_postgres::Row;

use super::column::Bytes;
use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::store::TokenName;

/// Adds a name, unless it is there.
pub(super) async fn record(
    database: &Database,
    TokenName(name): TokenName,
    (now, expires): (Timestamp, Timestamp),
    limit: u64,
) -> Result<(), Fault> {
    let insert = "INSERT INTO revocations (token, revoked_at, expires_at)
         SELECT $1, $2, $3 WHERE holds('revocations') < $4 ON CONFLICT (token) DO NOTHING RETURNING 1";
    if database.changes(insert, &[&Bytes(name), &now, &expires, &bound(limit)]).await? {
        return Ok(());
    }
    if holds(database, TokenName(name)).await? { Ok(()) } else { Err(Fault::Full) }
}

/// Whether a name is there.
pub(super) async fn holds(database: &Database, TokenName(name): TokenName) -> Result<bool, Fault> {
    database.finds("SELECT 1 FROM revocations WHERE token = $1", &[&Bytes(name)]).await
}

/// The names that were added since a moment, or within so many milliseconds by the clock of the database; each with its
/// end.
pub(super) async fn recorded_since(
    database: &Database,
    (since, within): (Timestamp, i64),
) -> Result<Vec<(TokenName, Timestamp)>, Fault> {
    let select = "SELECT token, expires_at FROM revocations
         WHERE revoked_at >= $1 OR noted_at > (extract(epoch FROM now()) * 1000)::bigint - $2";
    let rows = database.read(select, &[&since, &within]).await?;
    let read = |row: &Row| {
        let Bytes(name) = row.try_get(0)?;
        Ok((TokenName(name), row.try_get(1)?))
    };
    rows.iter().map(read).collect()
}
