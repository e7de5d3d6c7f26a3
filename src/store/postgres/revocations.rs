//! Access tokens that were revoked by name.

use super::column::Bytes;
use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::store::TokenName;

/// Adds a name, unless it is there.
pub(super) async fn record(
    database: &Database,
    TokenName(name): TokenName,
    expires: Timestamp,
    limit: u64,
) -> Result<(), Fault> {
    let insert = "INSERT INTO revocations (token, expires_at) SELECT $1, $2 WHERE holds('revocations') < $3
         ON CONFLICT (token) DO NOTHING RETURNING 1";
    if database.changes(insert, &[&Bytes(name), &expires, &bound(limit)]).await? {
        return Ok(());
    }
    if holds(database, TokenName(name)).await? { Ok(()) } else { Err(Fault::Full) }
}

/// Whether a name is there.
pub(super) async fn holds(database: &Database, TokenName(name): TokenName) -> Result<bool, Fault> {
    database.finds("SELECT 1 FROM revocations WHERE token = $1", &[&Bytes(name)]).await
}
