//! The `jti` of client assertions.

use rusqlite::{Connection, named_params};

use super::Fault;
use super::limit::within;
use crate::clock::Timestamp;
use crate::replay::{ReplayKey, Seen};

/// Adds a key, or renews one whose time is over.
pub(super) fn spend(
    connection: &Connection,
    key: ReplayKey,
    expires: Timestamp,
    limit: u64,
    now: Timestamp,
) -> Result<Seen, Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO assertions (key, expires_at) VALUES (:key, :expires)
         ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at < :now",
    )?;
    if insert.execute(named_params! { ":key": key.as_bytes(), ":expires": expires, ":now": now })? == 0 {
        return Ok(Seen::Replayed);
    }
    within(connection, "assertions", limit)?;
    Ok(Seen::First)
}
