//! What an installation has one of: its root key and its last sign of life, which is that of all its processes.

use super::database::{Database, Fault};
use crate::store::LastAlive;

/// The sealed root key: `sealed`, unless there is one. An update that changes nothing sees what somebody else has put
/// there just now; a select would not.
pub(super) async fn root_key(database: &Database, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
    let insert = "INSERT INTO root_key (one, sealed) VALUES (1, $1)
         ON CONFLICT (one) DO UPDATE SET sealed = root_key.sealed RETURNING sealed";
    let rows = database.write(insert, &[&sealed]).await?;
    Ok(rows.first().ok_or(Fault::Contended)?.try_get(0)?)
}

/// Puts another seal of the root key in place, if it has the one that was read.
pub(super) async fn reseal_root_key(database: &Database, read: &[u8], sealed: &[u8]) -> Result<bool, Fault> {
    database.changes("UPDATE root_key SET sealed = $1 WHERE sealed = $2 RETURNING 1", &[&sealed, &read]).await
}

/// A name for this process among those that serve from the database, or did.
pub(super) async fn begin_life(database: &Database) -> Result<String, Fault> {
    let rows = database.read("SELECT gen_random_uuid()::text", &[]).await?;
    Ok(rows.first().ok_or(Fault::Contended)?.try_get(0)?)
}

/// The last sign of life of any process. It was a stop in good order if that is how all have ended.
pub(super) async fn last_alive(database: &Database) -> Result<Option<LastAlive>, Fault> {
    let select = "SELECT max(at), bool_and(stopped) FROM lives HAVING count(*) > 0";
    let Some(row) = database.read_one(select, &[]).await? else { return Ok(None) };
    Ok(Some(LastAlive { at: row.try_get(0)?, stopped: row.try_get(1)? }))
}

/// Overwrites the last sign of life of one process.
pub(super) async fn note_alive(database: &Database, life: &str, alive: LastAlive) -> Result<(), Fault> {
    let insert = "INSERT INTO lives (life, at, stopped) VALUES ($1::text::uuid, $2, $3)
         ON CONFLICT (life) DO UPDATE SET at = excluded.at, stopped = excluded.stopped";
    database.write(insert, &[&life, &alive.at, &alive.stopped]).await.map(drop)
}
