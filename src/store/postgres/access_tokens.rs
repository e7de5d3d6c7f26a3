//! Access tokens that are handles.

use super::database::{Database, Fault};
use super::limit::bound;
use crate::secret::{AccessTokenKind, Digest};
use crate::store::AccessTokenRecord;

/// Fails if there are `limit` or more.
pub(super) async fn check_room(database: &Database, limit: u64) -> Result<(), Fault> {
    let room = database.finds("SELECT 1 WHERE holds('access_tokens') < $1", &[&bound(limit)]).await?;
    if room { Ok(()) } else { Err(Fault::Full) }
}

/// Adds a row.
pub(super) async fn record(database: &Database, token: &AccessTokenRecord) -> Result<(), Fault> {
    let insert = "INSERT INTO access_tokens (digest, claims, expires_at) VALUES ($1, $2, $3)";
    database.write(insert, &[&token.digest, &token.claims, &token.expires_at]).await.map(drop)
}

/// The token of that handle.
pub(super) async fn read(
    database: &Database,
    digest: Digest<AccessTokenKind>,
) -> Result<Option<AccessTokenRecord>, Fault> {
    let select = "SELECT claims, expires_at FROM access_tokens WHERE digest = $1";
    let Some(row) = database.read_one(select, &[&digest]).await? else { return Ok(None) };
    Ok(Some(AccessTokenRecord { digest, claims: row.try_get(0)?, expires_at: row.try_get(1)? }))
}
