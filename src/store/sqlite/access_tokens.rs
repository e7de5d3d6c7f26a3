//! Access tokens that are handles.

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::Fault;
use super::limit::within;
use crate::secret::{AccessTokenKind, Digest};
use crate::store::AccessTokenRecord;

/// Fails if there are `limit` or more.
pub(super) fn check_room(connection: &Connection, limit: u64) -> Result<(), Fault> {
    match limit.checked_sub(1) {
        Some(others) => within(connection, "access_tokens", others),
        None => Err(Fault::Full),
    }
}

/// Adds a row.
pub(super) fn record(connection: &Connection, token: &AccessTokenRecord) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO access_tokens (digest, claims, expires_at) VALUES (:digest, :claims, :expires_at)",
    )?;
    insert.execute(named_params! {
        ":digest": token.digest,
        ":claims": token.claims,
        ":expires_at": token.expires_at,
    })?;
    Ok(())
}

/// The token of that handle.
pub(super) fn read(
    connection: &Connection,
    digest: Digest<AccessTokenKind>,
) -> Result<Option<AccessTokenRecord>, Fault> {
    let mut select = connection.prepare_cached("SELECT claims, expires_at FROM access_tokens WHERE digest = ?1")?;
    let token = select
        .query_one([digest], |row| Ok(AccessTokenRecord { digest, claims: row.get(0)?, expires_at: row.get(1)? }));
    Ok(token.optional()?)
}
