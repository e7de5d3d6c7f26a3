//! What an installation has one of: its root key and its last sign of life.

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::Fault;
use crate::store::LastAlive;

/// The sealed root key: `sealed`, unless there is one.
pub(super) fn root_key(connection: &Connection, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut insert =
        connection.prepare_cached("INSERT INTO root_key (only, sealed) VALUES (1, :sealed) ON CONFLICT DO NOTHING")?;
    insert.execute(named_params! { ":sealed": sealed })?;
    let mut select = connection.prepare_cached("SELECT sealed FROM root_key")?;
    Ok(select.query_one([], |row| row.get(0))?)
}

/// Puts another seal of the root key in place, if it has the one that was read.
pub(super) fn reseal_root_key(connection: &Connection, read: &[u8], sealed: &[u8]) -> Result<bool, Fault> {
    let mut update = connection.prepare_cached("UPDATE root_key SET sealed = :sealed WHERE sealed = :read")?;
    Ok(update.execute(named_params! { ":sealed": sealed, ":read": read })? == 1)
}

/// The last sign of life.
pub(super) fn last_alive(connection: &Connection) -> Result<Option<LastAlive>, Fault> {
    let mut select = connection.prepare_cached("SELECT at, stopped FROM last_alive")?;
    let alive = select.query_one([], |row| Ok(LastAlive { at: row.get(0)?, stopped: row.get(1)? }));
    Ok(alive.optional()?)
}

/// Overwrites the last sign of life.
pub(super) fn note_alive(connection: &Connection, alive: LastAlive) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO last_alive (only, at, stopped) VALUES (1, :at, :stopped)
         ON CONFLICT DO UPDATE SET at = excluded.at, stopped = excluded.stopped",
    )?;
    insert.execute(named_params! { ":at": alive.at, ":stopped": alive.stopped })?;
    Ok(())
}
