//! At which clients sessions have signed their people in.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::Fault;
use super::limit::within;
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::store::{SessionClient, SessionId};

/// Adds the row of a session and a client, or writes it anew.
pub(super) fn join(connection: &Connection, client: &SessionClient, limit: u64) -> Result<(), Fault> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO session_clients (session_id, client_id, subject, scope, resource, authorization_details, claims,
                                      expires_at)
         VALUES (:session, :client_id, :subject, :scope, :resource, :details, :claims, :expires_at)
         ON CONFLICT (session_id, client_id) DO UPDATE SET
           subject = excluded.subject, scope = excluded.scope, resource = excluded.resource,
           authorization_details = excluded.authorization_details, claims = excluded.claims,
           expires_at = excluded.expires_at",
    )?;
    upsert.execute(named_params! {
        ":session": client.session,
        ":client_id": client.client_id,
        ":subject": client.subject,
        ":scope": client.scopes,
        ":resource": client.resource,
        ":details": client.details,
        ":claims": client.claims,
        ":expires_at": client.expires_at,
    })?;
    within(connection, "session_clients", limit)
}

/// The row of a session and a client, while it lasts.
pub(super) fn read(
    connection: &Connection,
    session: SessionId,
    client: &ClientId,
    now: Timestamp,
) -> Result<Option<SessionClient>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT * FROM session_clients WHERE session_id = :session AND client_id = :client_id AND expires_at > :now",
    )?;
    let row = named_params! { ":session": session, ":client_id": client, ":now": now };
    Ok(select.query_one(row, from_row).optional()?)
}

/// Takes out the rows of a session, at most `limit` of them.
pub(super) fn leave(
    connection: &Connection,
    session: SessionId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<SessionClient>, Fault> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM session_clients WHERE (session_id, client_id) IN (
           SELECT session_id, client_id FROM session_clients WHERE session_id = :session LIMIT :limit) RETURNING *",
    )?;
    let rows = delete.query_map(named_params! { ":session": session, ":limit": limit }, from_row)?;
    Ok(living(rows.collect::<Result<_, _>>()?, now))
}

/// Takes out the rows of a person, at most `limit` of them.
pub(super) fn leave_all_of(
    connection: &Connection,
    subject: &Subject,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<SessionClient>, Fault> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM session_clients WHERE (session_id, client_id) IN (
           SELECT session_id, client_id FROM session_clients WHERE subject = :subject LIMIT :limit) RETURNING *",
    )?;
    let rows = delete.query_map(named_params! { ":subject": subject, ":limit": limit }, from_row)?;
    Ok(living(rows.collect::<Result<_, _>>()?, now))
}

/// Those whose time is not over.
fn living(mut taken: Vec<SessionClient>, now: Timestamp) -> Vec<SessionClient> {
    taken.retain(|client| now < client.expires_at);
    taken
}

/// Reads a row.
fn from_row(row: &Row<'_>) -> rusqlite::Result<SessionClient> {
    Ok(SessionClient {
        session: row.get("session_id")?,
        client_id: row.get("client_id")?,
        subject: row.get("subject")?,
        scopes: row.get("scope")?,
        resource: row.get("resource")?,
        details: row.get("authorization_details")?,
        claims: row.get("claims")?,
        expires_at: row.get("expires_at")?,
    })
}
