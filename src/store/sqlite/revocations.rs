//! Access tokens that were revoked by name.

use rusqlite::{Connection, named_params};

use super::Fault;
use super::limit::within;
use crate::clock::Timestamp;
use crate::store::TokenName;

/// Adds a name, unless it is there.
pub(super) fn record(
    connection: &Connection,
    TokenName(name): TokenName,
    (now, expires): (Timestamp, Timestamp),
    limit: u64,
) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO revocations (token, revoked_at, expires_at) VALUES (:token, :now, :expires)
         ON CONFLICT (token) DO NOTHING",
    )?;
    if insert.execute(named_params! { ":token": name, ":now": now, ":expires": expires })? == 0 {
        return Ok(());
    }
    within(connection, "revocations", limit)
}

/// Whether a name is there.
pub(super) fn holds(connection: &Connection, TokenName(name): TokenName) -> Result<bool, Fault> {
    let mut select = connection.prepare_cached("SELECT 1 FROM revocations WHERE token = ?1")?;
    Ok(select.exists([name])?)
}

/// The names that were added since a moment, each with its end.
pub(super) fn recorded_since(connection: &Connection, since: Timestamp) -> Result<Vec<(TokenName, Timestamp)>, Fault> {
    let mut select = connection.prepare_cached("SELECT token, expires_at FROM revocations WHERE revoked_at >= ?1")?;
    let rows = select.query_map([since], |row| Ok((TokenName(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
