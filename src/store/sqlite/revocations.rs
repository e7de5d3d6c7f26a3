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
    expires: Timestamp,
    limit: u64,
) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO revocations (token, expires_at) VALUES (:token, :expires) ON CONFLICT (token) DO NOTHING",
    )?;
    if insert.execute(named_params! { ":token": name, ":expires": expires })? == 0 {
        return Ok(());
    }
    within(connection, "revocations", limit)
}

/// Whether a name is there.
pub(super) fn holds(connection: &Connection, TokenName(name): TokenName) -> Result<bool, Fault> {
    let mut select = connection.prepare_cached("SELECT 1 FROM revocations WHERE token = ?1")?;
    Ok(select.exists([name])?)
}
