//! Authorization transactions that ended without a code.

use rusqlite::{Connection, named_params};

use super::limit::within;
use super::{Fault, pushed_requests};
use crate::clock::Timestamp;
use crate::store::{Recorded, TransactionId};

/// Ends a transaction and answers the pushed request that began it, unless it gave a code or was ended before.
pub(super) fn end(
    connection: &Connection,
    transaction: TransactionId,
    expires_at: Timestamp,
    limit: u64,
) -> Result<Recorded, Fault> {
    let mut gave_a_code = connection.prepare_cached("SELECT 1 FROM codes WHERE transaction_id = :id")?;
    if gave_a_code.exists(named_params! { ":id": transaction })? || is_ended(connection, transaction)? {
        return Ok(Recorded::TransactionSpent);
    }
    let mut insert =
        connection.prepare_cached("INSERT INTO ended_transactions (id, expires_at) VALUES (:id, :expires_at)")?;
    insert.execute(named_params! { ":id": transaction, ":expires_at": expires_at })?;
    within(connection, "ended_transactions", limit)?;
    pushed_requests::spend(connection, transaction)?;
    Ok(Recorded::First)
}

/// Whether a transaction was ended without a code, here or by an answer to the pushed request that began it.
pub(super) fn is_ended(connection: &Connection, transaction: TransactionId) -> Result<bool, Fault> {
    let mut select = connection.prepare_cached("SELECT 1 FROM ended_transactions WHERE id = :id")?;
    Ok(select.exists(named_params! { ":id": transaction })? || pushed_requests::is_spent(connection, transaction)?)
}
