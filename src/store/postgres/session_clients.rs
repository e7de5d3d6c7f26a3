//! At which clients sessions have signed their people in.

use tokio_postgres::Row;

use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::store::{SessionClient, SessionId};

/// Adds the row of a session and a client, or writes it anew.
pub(super) async fn join(database: &Database, client: &SessionClient, limit: u64) -> Result<(), Fault> {
    let upsert = "INSERT INTO session_clients (session_id, client_id, subject, scope, resource, authorization_details,
                                      claims, expires_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8
         WHERE holds('session_clients') < $9
            OR EXISTS (SELECT FROM session_clients WHERE session_id = $1 AND client_id = $2)
         ON CONFLICT (session_id, client_id) DO UPDATE SET
           subject = excluded.subject, scope = excluded.scope, resource = excluded.resource,
           authorization_details = excluded.authorization_details, claims = excluded.claims,
           expires_at = excluded.expires_at
         RETURNING 1";
    let joined = database
        .changes(
            upsert,
            &[
                &client.session,
                &client.client_id,
                &client.subject,
                &client.scopes,
                &client.resource,
                &client.details,
                &client.claims,
                &client.expires_at,
                &bound(limit),
            ],
        )
        .await?;
    if joined { Ok(()) } else { Err(Fault::Full) }
}

/// The row of a session and a client, while it lasts.
pub(super) async fn read(
    database: &Database,
    session: SessionId,
    client: &ClientId,
    now: Timestamp,
) -> Result<Option<SessionClient>, Fault> {
    let select = "SELECT session_id, client_id, subject, scope, resource, authorization_details, claims, expires_at
         FROM session_clients WHERE session_id = $1 AND client_id = $2 AND expires_at > $3";
    database.read_one(select, &[&session, client, &now]).await?.as_ref().map(from_row).transpose()
}

/// Takes out the rows of a session, at most `limit` of them.
pub(super) async fn leave(
    database: &Database,
    session: SessionId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<SessionClient>, Fault> {
    let delete = "DELETE FROM session_clients WHERE (session_id, client_id) IN (
           SELECT session_id, client_id FROM session_clients WHERE session_id = $1
           ORDER BY session_id, client_id LIMIT $2)
         RETURNING session_id, client_id, subject, scope, resource, authorization_details, claims, expires_at";
    let rows = database.write(delete, &[&session, &i64::from(limit)]).await?;
    living(&rows, now)
}

/// Takes out the rows of a person, at most `limit` of them.
pub(super) async fn leave_all_of(
    database: &Database,
    subject: &Subject,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<SessionClient>, Fault> {
    let delete = "DELETE FROM session_clients WHERE (session_id, client_id) IN (
           SELECT session_id, client_id FROM session_clients WHERE subject = $1
           ORDER BY session_id, client_id LIMIT $2)
         RETURNING session_id, client_id, subject, scope, resource, authorization_details, claims, expires_at";
    let rows = database.write(delete, &[subject, &i64::from(limit)]).await?;
    living(&rows, now)
}

/// Those whose time is not over, by session and client.
fn living(rows: &[Row], now: Timestamp) -> Result<Vec<SessionClient>, Fault> {
    let mut taken = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    taken.retain(|client| now < client.expires_at);
    taken.sort_by(|one, other| (one.session.0, &one.client_id).cmp(&(other.session.0, &other.client_id)));
    Ok(taken)
}

/// Reads a row.
fn from_row(row: &Row) -> Result<SessionClient, Fault> {
    Ok(SessionClient {
        session: row.try_get("session_id")?,
        client_id: row.try_get("client_id")?,
        subject: row.try_get("subject")?,
        scopes: row.try_get("scope")?,
        resource: row.try_get("resource")?,
        details: row.try_get("authorization_details")?,
        claims: row.try_get("claims")?,
        expires_at: row.try_get("expires_at")?,
    })
}
