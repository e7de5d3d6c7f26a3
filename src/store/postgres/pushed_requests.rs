//! Pushed authorization requests.

use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::secret::{Digest, RequestUriKind};
use crate::store::{Limits, Pushed, PushedRequest, TransactionId};

/// Adds the row of a request, unless as many of its client wait already as may. One index holds just these.
pub(super) async fn record(
    database: &Database,
    request: &PushedRequest,
    limits: &Limits,
    now: Timestamp,
) -> Result<Pushed, Fault> {
    let insert = "WITH waiting AS (
           SELECT count(*) AS number FROM pushed_requests WHERE client_id = $3 AND expires_at > $7 AND NOT spent),
         added AS (
           INSERT INTO pushed_requests (digest, transaction_id, client_id, parameters, expires_at, spent)
           SELECT $1, $2, $3, $4, $5, $6 FROM waiting
           WHERE waiting.number < $8 AND holds('pushed_requests') < $9 RETURNING 1)
         SELECT EXISTS (SELECT FROM added), waiting.number < $8 FROM waiting";
    let rows = database
        .write(
            insert,
            &[
                &request.digest,
                &request.transaction,
                &request.client_id,
                &request.parameters,
                &request.expires_at,
                &request.spent,
                &now,
                &bound(limits.pushed_requests_per_client),
                &bound(limits.pushed_requests),
            ],
        )
        .await?;
    let row = rows.first().ok_or(Fault::Contended)?;
    match (row.try_get(0)?, row.try_get(1)?) {
        (true, _) => Ok(Pushed::First),
        (false, false) => Ok(Pushed::TooMany),
        (false, true) => Err(Fault::Full),
    }
}

/// The request of that `request_uri`, answered or not.
pub(super) async fn read(
    database: &Database,
    request_uri: Digest<RequestUriKind>,
) -> Result<Option<PushedRequest>, Fault> {
    let select = "SELECT digest, transaction_id, client_id, parameters, expires_at, spent
         FROM pushed_requests WHERE digest = $1";
    let Some(row) = database.read_one(select, &[&request_uri]).await? else { return Ok(None) };
    Ok(Some(PushedRequest {
        digest: row.try_get("digest")?,
        transaction: row.try_get("transaction_id")?,
        client_id: row.try_get("client_id")?,
        parameters: row.try_get("parameters")?,
        expires_at: row.try_get("expires_at")?,
        spent: row.try_get("spent")?,
    }))
}

/// Marks the request of a transaction as answered; `false` if it was before, or there is none. The condition of the update
/// is the lock.
pub(super) async fn spend(database: &Database, transaction: TransactionId) -> Result<bool, Fault> {
    let update = "UPDATE pushed_requests SET spent = true, parameters = ''
         WHERE transaction_id = $1 AND NOT spent RETURNING 1";
    database.changes(update, &[&transaction]).await
}
