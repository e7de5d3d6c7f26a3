//! The `jti` of client assertions.

use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::replay::{ReplayKey, Seen};

/// Adds a key, or renews one whose time is over.
pub(super) async fn spend(
    database: &Database,
    key: ReplayKey,
    expires: Timestamp,
    limit: u64,
    now: Timestamp,
) -> Result<Seen, Fault> {
    let key = key.as_bytes().as_slice();
    let insert = "INSERT INTO assertions (key, expires_at)
         SELECT $1, $2 WHERE holds('assertions') < $3 OR EXISTS (SELECT FROM assertions WHERE key = $1)
         ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE assertions.expires_at < $4
         RETURNING 1";
    if database.changes(insert, &[&key, &expires, &bound(limit), &now]).await? {
        return Ok(Seen::First);
    }
    let known = database.finds("SELECT 1 FROM assertions WHERE key = $1", &[&key]).await?;
    if known { Ok(Seen::Replayed) } else { Err(Fault::Full) }
}
