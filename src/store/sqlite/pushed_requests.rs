//! Pushed authorization requests.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::Fault;
use super::limit::within;
use crate::clock::Timestamp;
use crate::ident::ClientId;
use crate::secret::{Digest, RequestUriKind};
use crate::store::{Limits, Pushed, PushedRequest, TransactionId};

/// Adds the row of a request, unless as many of its client wait already as may.
pub(super) fn record(
    connection: &Connection,
    request: &PushedRequest,
    limits: &Limits,
    now: Timestamp,
) -> Result<Pushed, Fault> {
    if waiting(connection, &request.client_id, now)? >= limits.pushed_requests_per_client {
        return Ok(Pushed::TooMany);
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO pushed_requests (digest, transaction_id, client_id, parameters, expires_at, spent)
         VALUES (:digest, :transaction_id, :client_id, :parameters, :expires_at, :spent)",
    )?;
    insert.execute(named_params! {
        ":digest": request.digest,
        ":transaction_id": request.transaction,
        ":client_id": request.client_id,
        ":parameters": request.parameters,
        ":expires_at": request.expires_at,
        ":spent": request.spent,
    })?;
    within(connection, "pushed_requests", limits.pushed_requests)?;
    Ok(Pushed::First)
}

/// How many requests of a client wait. One index holds just these.
fn waiting(connection: &Connection, client: &ClientId, now: Timestamp) -> Result<u64, Fault> {
    let mut count = connection.prepare_cached(
        "SELECT count(*) FROM pushed_requests WHERE client_id = :client_id AND expires_at > :now AND spent = 0",
    )?;
    let number: i64 = count.query_one(named_params! { ":client_id": client, ":now": now }, |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

/// The request of that `request_uri`, answered or not.
pub(super) fn read(
    connection: &Connection,
    request_uri: Digest<RequestUriKind>,
) -> Result<Option<PushedRequest>, Fault> {
    let mut select = connection.prepare_cached("SELECT * FROM pushed_requests WHERE digest = :digest")?;
    Ok(select.query_one(named_params! { ":digest": request_uri }, from_row).optional()?)
}

/// Marks the request of a transaction as answered; `false` if it was before, or there is none. The condition of the update
/// is the lock.
pub(super) fn spend(connection: &Connection, transaction: TransactionId) -> Result<bool, Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE pushed_requests SET spent = 1, parameters = '' WHERE transaction_id = :transaction_id AND spent = 0",
    )?;
    Ok(update.execute(named_params! { ":transaction_id": transaction })? == 1)
}

/// Whether the request of a transaction was answered.
pub(super) fn is_spent(connection: &Connection, transaction: TransactionId) -> Result<bool, Fault> {
    let mut select =
        connection.prepare_cached("SELECT spent FROM pushed_requests WHERE transaction_id = :transaction_id")?;
    let spent = select.query_one(named_params! { ":transaction_id": transaction }, |row| row.get(0)).optional()?;
    Ok(spent.unwrap_or(false))
}

/// Reads a row.
fn from_row(row: &Row<'_>) -> rusqlite::Result<PushedRequest> {
    Ok(PushedRequest {
        digest: row.get("digest")?,
        transaction: row.get("transaction_id")?,
        client_id: row.get("client_id")?,
        parameters: row.get("parameters")?,
        expires_at: row.get("expires_at")?,
        spent: row.get("spent")?,
    })
}
