//! Authorization codes.

use tokio_postgres::Row;

use super::column::{AnyText, Bytes, ReadText};
use super::database::{Database, Fault};
use super::grants::{self, insert_grant};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::secret::{CodeKind, Digest};
use crate::store::{CodeRecord, Grant, GrantHandle, Limits, Recorded, Redeemed};

/// Adds the row of a code and answers the pushed request that began its transaction, unless the transaction gave a code or
/// was ended before. A trigger, `answer_once`, keeps the code out where it was.
pub(super) async fn record(database: &Database, code: &CodeRecord, limit: u64) -> Result<Recorded, Fault> {
    let insert = "WITH answered AS (
           UPDATE pushed_requests SET spent = true, parameters = ''
           WHERE transaction_id = $2 AND NOT spent AND holds('codes') < $18
             AND NOT EXISTS (SELECT FROM codes WHERE transaction_id = $2)
             AND NOT EXISTS (SELECT FROM ended_transactions WHERE transaction_id = $2)
           RETURNING 1)
         INSERT INTO codes (digest, transaction_id, client_id, redirect_uri, challenge, subject, auth_time, acr, scope,
                            resource, authorization_details, dpop_jkt, nonce, claims, session_id, expires_at,
                            spent_for)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
         WHERE holds('codes') < $18
           AND (EXISTS (SELECT FROM answered) OR NOT EXISTS (SELECT FROM pushed_requests WHERE transaction_id = $2))
         RETURNING 1";
    let inserted = database
        .changes(
            insert,
            &[
                &code.digest,
                &code.transaction,
                &code.client_id,
                &code.redirect_uri,
                &code.challenge.map(Bytes),
                &code.subject,
                &code.auth_time,
                &code.acr,
                &code.scopes,
                &code.resource,
                &code.details,
                &code.dpop_jkt,
                &code.nonce.as_deref().map(AnyText),
                &code.claims,
                &code.session,
                &code.expires_at,
                &code.spent_for,
                &bound(limit),
            ],
        )
        .await?;
    if inserted {
        return Ok(Recorded::First);
    }
    let answered = "SELECT 1 WHERE EXISTS (SELECT FROM codes WHERE transaction_id = $1)
         OR EXISTS (SELECT FROM ended_transactions WHERE transaction_id = $1)
         OR EXISTS (SELECT FROM pushed_requests WHERE transaction_id = $1 AND spent)";
    let answered = database.finds(answered, &[&code.transaction]).await?;
    if answered { Ok(Recorded::TransactionSpent) } else { Err(Fault::Full) }
}

/// The code of that digest, spent or not.
pub(super) async fn read(database: &Database, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Fault> {
    let select = "SELECT digest, transaction_id, client_id, redirect_uri, challenge, subject, auth_time, acr, scope,
                         resource, authorization_details, dpop_jkt, nonce, claims, session_id, expires_at,
                         spent_for
         FROM codes WHERE digest = $1";
    database.read_one(select, &[&code]).await?.as_ref().map(from_row).transpose()
}

/// Spends a code and adds the row of its grant, in one statement. The condition of the update is the lock: it decides who
/// is first.
pub(super) async fn redeem(
    database: &Database,
    code: Digest<CodeKind>,
    grant: &Grant,
    limits: &Limits,
    now: Timestamp,
) -> Result<Redeemed, Fault> {
    let redeem = insert_grant!(
        "UPDATE codes SET spent_for = $1
         WHERE digest = $31 AND spent_for IS NULL AND expires_at > $30 AND holds('grants') < $28 RETURNING 1"
    );
    if grants::record(database, redeem, grant, limits, now, &code).await? {
        return Ok(Redeemed::First);
    }
    let found = database.read_one("SELECT spent_for, expires_at FROM codes WHERE digest = $1", &[&code]).await?;
    let Some(found) = found else { return Ok(Redeemed::Unknown) };
    let (spent_for, expires_at): (Option<GrantHandle>, Timestamp) = (found.try_get(0)?, found.try_get(1)?);
    match spent_for {
        Some(earlier) => Ok(Redeemed::Replayed(earlier)),
        None if now >= expires_at => Ok(Redeemed::Unknown),
        None => Err(Fault::Full),
    }
}

/// Removes a code that is neither spent nor over.
pub(super) async fn take(database: &Database, code: Digest<CodeKind>, now: Timestamp) -> Result<bool, Fault> {
    let delete = "DELETE FROM codes WHERE digest = $1 AND spent_for IS NULL AND expires_at > $2 RETURNING 1";
    database.changes(delete, &[&code, &now]).await
}

/// Reads a row.
fn from_row(row: &Row) -> Result<CodeRecord, Fault> {
    Ok(CodeRecord {
        digest: row.try_get("digest")?,
        transaction: row.try_get("transaction_id")?,
        client_id: row.try_get("client_id")?,
        redirect_uri: row.try_get("redirect_uri")?,
        challenge: row.try_get::<_, Option<Bytes<32>>>("challenge")?.map(|challenge| challenge.0),
        subject: row.try_get("subject")?,
        auth_time: row.try_get("auth_time")?,
        acr: row.try_get("acr")?,
        scopes: row.try_get("scope")?,
        resource: row.try_get("resource")?,
        details: row.try_get("authorization_details")?,
        dpop_jkt: row.try_get("dpop_jkt")?,
        nonce: row.try_get::<_, Option<ReadText>>("nonce")?.map(|nonce| nonce.0),
        claims: row.try_get("claims")?,
        session: row.try_get("session_id")?,
        expires_at: row.try_get("expires_at")?,
        spent_for: row.try_get("spent_for")?,
    })
}
