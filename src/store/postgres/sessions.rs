//! Sessions of browsers.

use tokio_postgres::Row;

use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::ident::Subject;
use crate::secret::{Digest, SessionKind};
use crate::store::SessionRecord;

/// Adds the row of a session.
pub(super) async fn open(database: &Database, session: &SessionRecord, limit: u64) -> Result<(), Fault> {
    let insert = "INSERT INTO sessions (digest, id, subject, auth_time, acr, idle_expires_at, expires_at)
         SELECT $1, $2, $3, $4, $5, $6, $7 WHERE holds('sessions') < $8 RETURNING 1";
    let opened = database
        .changes(
            insert,
            &[
                &session.digest,
                &session.id,
                &session.subject,
                &session.auth_time,
                &session.acr,
                &session.idle_expires_at,
                &session.expires_at,
                &bound(limit),
            ],
        )
        .await?;
    if opened { Ok(()) } else { Err(Fault::Full) }
}

/// The session of that digest, while it lasts.
pub(super) async fn read(
    database: &Database,
    token: Digest<SessionKind>,
    now: Timestamp,
) -> Result<Option<SessionRecord>, Fault> {
    let select = "SELECT digest, id, subject, auth_time, acr, idle_expires_at, expires_at
         FROM sessions WHERE digest = $1 AND idle_expires_at > $2 AND expires_at > $2";
    database.read_one(select, &[&token, &now]).await?.as_ref().map(from_row).transpose()
}

/// The sessions of a person that last, those first whose person signed in last.
pub(super) async fn of(
    database: &Database,
    subject: &Subject,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<SessionRecord>, Fault> {
    let select = "SELECT digest, id, subject, auth_time, acr, idle_expires_at, expires_at
         FROM sessions WHERE subject = $1 AND idle_expires_at > $2 AND expires_at > $2
         ORDER BY auth_time DESC, digest DESC LIMIT $3";
    database.read(select, &[subject, &now, &i64::from(limit)]).await?.iter().map(from_row).collect()
}

/// Slides the idle limit.
pub(super) async fn extend(
    database: &Database,
    token: Digest<SessionKind>,
    idle_expires_at: Timestamp,
) -> Result<(), Fault> {
    let update = "UPDATE sessions SET idle_expires_at = $1 WHERE digest = $2";
    database.write(update, &[&idle_expires_at, &token]).await.map(drop)
}

/// Removes a session.
pub(super) async fn end(database: &Database, token: Digest<SessionKind>) -> Result<(), Fault> {
    database.write("DELETE FROM sessions WHERE digest = $1", &[&token]).await.map(drop)
}

/// Removes all sessions of a person.
pub(super) async fn end_of(database: &Database, subject: &Subject) -> Result<(), Fault> {
    database.write("DELETE FROM sessions WHERE subject = $1", &[subject]).await.map(drop)
}

/// Reads a row.
fn from_row(row: &Row) -> Result<SessionRecord, Fault> {
    Ok(SessionRecord {
        digest: row.try_get("digest")?,
        id: row.try_get("id")?,
        subject: row.try_get("subject")?,
        auth_time: row.try_get("auth_time")?,
        acr: row.try_get("acr")?,
        idle_expires_at: row.try_get("idle_expires_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}
