//! Authorization codes.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::limit::within;
use super::{Fault, ended_transactions, grants, pushed_requests};
use crate::clock::Timestamp;
use crate::secret::{CodeKind, Digest};
use crate::store::{CodeRecord, Grant, GrantHandle, Limits, Recorded, Redeemed};

/// Adds the row of a code and answers the pushed request that began its transaction, unless the transaction gave a code or
/// was ended before.
pub(super) fn record(connection: &Connection, code: &CodeRecord, limit: u64) -> Result<Recorded, Fault> {
    if ended_transactions::is_ended(connection, code.transaction)? {
        return Ok(Recorded::TransactionSpent);
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO codes (digest, transaction_id, client_id, redirect_uri, challenge, subject, auth_time, acr, scope,
                            resource, authorization_details, dpop_jkt, nonce, claims, session_id, expires_at, spent_for)
         VALUES (:digest, :transaction_id, :client_id, :redirect_uri, :challenge, :subject, :auth_time, :acr, :scope,
                 :resource, :details, :dpop_jkt, :nonce, :claims, :session, :expires_at, :spent_for)
         ON CONFLICT (transaction_id) DO NOTHING",
    )?;
    let inserted = insert.execute(named_params! {
        ":digest": code.digest,
        ":transaction_id": code.transaction,
        ":client_id": code.client_id,
        ":redirect_uri": code.redirect_uri,
        ":challenge": code.challenge.as_ref().map_or(&[][..], |challenge| challenge),
        ":subject": code.subject,
        ":auth_time": code.auth_time,
        ":acr": code.acr,
        ":scope": code.scopes,
        ":resource": code.resource,
        ":details": code.details,
        ":dpop_jkt": code.dpop_jkt,
        ":nonce": code.nonce,
        ":claims": code.claims,
        ":session": code.session,
        ":expires_at": code.expires_at,
        ":spent_for": code.spent_for,
    })?;
    if inserted == 0 {
        return Ok(Recorded::TransactionSpent);
    }
    within(connection, "codes", limit)?;
    pushed_requests::spend(connection, code.transaction)?;
    Ok(Recorded::First)
}

/// The code of that digest, spent or not.
pub(super) fn read(connection: &Connection, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Fault> {
    let mut select = connection.prepare_cached("SELECT * FROM codes WHERE digest = :digest")?;
    Ok(select.query_one(named_params! { ":digest": code }, from_row).optional()?)
}

/// Spends a code and adds the row of its grant, in the transaction of the caller. The condition of the update is the
/// lock: it decides who is first.
pub(super) fn redeem(
    connection: &Connection,
    code: Digest<CodeKind>,
    grant: &Grant,
    limits: &Limits,
    now: Timestamp,
) -> Result<Redeemed, Fault> {
    let mut spend = connection.prepare_cached(
        "UPDATE codes SET spent_for = :grant WHERE digest = :digest AND spent_for IS NULL AND expires_at > :now",
    )?;
    if spend.execute(named_params! { ":grant": grant.handle, ":digest": code, ":now": now })? == 1 {
        grants::record(connection, grant, limits, now)?;
        return Ok(Redeemed::First);
    }
    let mut select = connection.prepare_cached("SELECT spent_for FROM codes WHERE digest = :digest")?;
    let spent_for = select.query_one(named_params! { ":digest": code }, |row| row.get(0)).optional()?.flatten();
    Ok(spent_for.map_or(Redeemed::Unknown, |earlier: GrantHandle| Redeemed::Replayed(earlier)))
}

/// Removes a code that is neither spent nor over.
pub(super) fn take(connection: &Connection, code: Digest<CodeKind>, now: Timestamp) -> Result<bool, Fault> {
    let mut delete = connection
        .prepare_cached("DELETE FROM codes WHERE digest = :digest AND spent_for IS NULL AND expires_at > :now")?;
    Ok(delete.execute(named_params! { ":digest": code, ":now": now })? == 1)
}

/// Reads a row.
fn from_row(row: &Row<'_>) -> rusqlite::Result<CodeRecord> {
    Ok(CodeRecord {
        digest: row.get("digest")?,
        transaction: row.get("transaction_id")?,
        client_id: row.get("client_id")?,
        redirect_uri: row.get("redirect_uri")?,
        challenge: challenge(row)?,
        subject: row.get("subject")?,
        auth_time: row.get("auth_time")?,
        acr: row.get("acr")?,
        scopes: row.get("scope")?,
        resource: row.get("resource")?,
        details: row.get("authorization_details")?,
        dpop_jkt: row.get("dpop_jkt")?,
        nonce: row.get("nonce")?,
        claims: row.get("claims")?,
        session: row.get("session_id")?,
        expires_at: row.get("expires_at")?,
        spent_for: row.get("spent_for")?,
    })
}

/// Reads the column of a challenge, which is empty if there is none.
fn challenge(row: &Row<'_>) -> rusqlite::Result<Option<[u8; 32]>> {
    let column = row.as_ref().column_index("challenge")?;
    if row.get_ref(column)?.as_blob().is_ok_and(<[u8]>::is_empty) { Ok(None) } else { row.get(column).map(Some) }
}
