//! Sessions of browsers.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::Fault;
use super::limit::within;
use crate::clock::Timestamp;
use crate::ident::Subject;
use crate::secret::{Digest, SessionKind};
use crate::store::{SessionId, SessionRecord};

/// Adds the row of a session.
pub(super) fn open(connection: &Connection, session: &SessionRecord, limit: u64) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO sessions (digest, id, subject, auth_time, acr, idle_expires_at, expires_at)
         VALUES (:digest, :id, :subject, :auth_time, :acr, :idle_expires_at, :expires_at)",
    )?;
    insert.execute(named_params! {
        ":digest": session.digest,
        ":id": session.id,
        ":subject": session.subject,
        ":auth_time": session.auth_time,
        ":acr": session.acr,
        ":idle_expires_at": session.idle_expires_at,
        ":expires_at": session.expires_at,
    })?;
    within(connection, "sessions", limit)
}

/// The session of that digest, while it lasts.
pub(super) fn read(
    connection: &Connection,
    token: Digest<SessionKind>,
    now: Timestamp,
) -> Result<Option<SessionRecord>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT * FROM sessions WHERE digest = :digest AND idle_expires_at > :now AND expires_at > :now",
    )?;
    Ok(select.query_one(named_params! { ":digest": token, ":now": now }, from_row).optional()?)
}

/// The sessions of a person that last, those first whose person signed in last.
pub(super) fn of(
    connection: &Connection,
    subject: &Subject,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<SessionRecord>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT * FROM sessions WHERE subject = :subject AND idle_expires_at > :now AND expires_at > :now
         ORDER BY auth_time DESC, digest DESC LIMIT :limit",
    )?;
    let rows = select.query_map(named_params! { ":subject": subject, ":now": now, ":limit": limit }, from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Slides the idle limit.
pub(super) fn extend(
    connection: &Connection,
    token: Digest<SessionKind>,
    idle_expires_at: Timestamp,
) -> Result<(), Fault> {
    let mut update =
        connection.prepare_cached("UPDATE sessions SET idle_expires_at = :idle_expires_at WHERE digest = :digest")?;
    update.execute(named_params! { ":idle_expires_at": idle_expires_at, ":digest": token })?;
    Ok(())
}

/// Removes a session.
pub(super) fn end(connection: &Connection, token: Digest<SessionKind>) -> Result<(), Fault> {
    let mut delete = connection.prepare_cached("DELETE FROM sessions WHERE digest = :digest")?;
    delete.execute(named_params! { ":digest": token })?;
    Ok(())
}

/// Removes all sessions of a person.
pub(super) fn end_of(connection: &Connection, subject: &Subject) -> Result<(), Fault> {
    let mut delete = connection.prepare_cached("DELETE FROM sessions WHERE subject = :subject")?;
    delete.execute(named_params! { ":subject": subject })?;
    Ok(())
}

/// Reads a row.
fn from_row(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    let digest: Digest<SessionKind> = row.get("digest")?;
    let id: Option<SessionId> = row.get("id")?;
    Ok(SessionRecord {
        digest,
        id: id.unwrap_or_else(|| SessionId::of(digest)),
        subject: row.get("subject")?,
        auth_time: row.get("auth_time")?,
        acr: row.get("acr")?,
        idle_expires_at: row.get("idle_expires_at")?,
        expires_at: row.get("expires_at")?,
    })
}
