//! Authorization transactions that ended without a code.

use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::store::{Recorded, TransactionId};

/// Ends a transaction and answers the pushed request that began it, unless it gave a code or was ended before. A trigger,
/// `answer_once`, keeps it out where it was.
pub(super) async fn end(
    database: &Database,
    transaction: TransactionId,
    expires_at: Timestamp,
    limit: u64,
) -> Result<Recorded, Fault> {
    let insert = "WITH answered AS (
           UPDATE pushed_requests SET spent = true, parameters = ''
           WHERE transaction_id = $1 AND NOT spent AND holds('ended_transactions') < $3 RETURNING 1)
         INSERT INTO ended_transactions (transaction_id, expires_at)
         SELECT $1, $2
         WHERE holds('ended_transactions') < $3
           AND (EXISTS (SELECT FROM answered) OR NOT EXISTS (SELECT FROM pushed_requests WHERE transaction_id = $1))
         RETURNING 1";
    if database.changes(insert, &[&transaction, &expires_at, &bound(limit)]).await? {
        return Ok(Recorded::First);
    }
    let answered = "SELECT 1 WHERE EXISTS (SELECT FROM codes WHERE transaction_id = $1)
         OR EXISTS (SELECT FROM ended_transactions WHERE transaction_id = $1)
         OR EXISTS (SELECT FROM pushed_requests WHERE transaction_id = $1 AND spent)";
    let answered = database.finds(answered, &[&transaction]).await?;
    if answered { Ok(Recorded::TransactionSpent) } else { Err(Fault::Full) }
}
