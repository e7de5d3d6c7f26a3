//! Grants, one row each, of which the refresh tokens are columns.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::column::Bytes;
use super::database::{Database, Fault};
use super::limit::bound;
use crate::certificate::CertificateThumbprint;
use crate::clock::Timestamp;
use crate::ident::Subject;
use crate::jose::Thumbprint;
use crate::store::record::UnknownName;
use crate::store::{
    EndedBy, Grant, GrantHandle, GrantOrigin, GrantQuery, Limits, Previous, RefreshState, Rotated, Rotation,
    SenderConstraint, SomeEnded,
};

/// The statement that adds the row of a grant if `$spending`, which gives one row or none, gives one; and ends the oldest
/// ones of the person at the client that are one too many with it. It gives a row if it did so.
///
/// The grant is `$1` to `$27`; `$28` how many grants there may be, `$29` how many of the person at the client beside it,
/// `$30` the time, `$31` what it is spent for.
macro_rules! insert_grant {
    ($spending:literal) => {
        concat!(
            "WITH spent AS (",
            $spending,
            "), added AS (
               INSERT INTO grants (handle, client_id, subject, scope, resource, authorization_details, claims,
                                   session_id, origin, origin_address, auth_time, acr, sender_constraint, bound_key, tag_key, current_n,
                                   current_hash, previous_n, previous_hash, seed, rotated_at, created_at, used_at,
                                   idle_expires_at, expires_at, ended_at, ended_by)
               SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                      $22, $23, $24, $25, $26, $27
               FROM spent RETURNING handle, subject, client_id)
             SELECT supersede(handle, subject, client_id, $29, $30) FROM added"
        )
    };
}
pub(super) use insert_grant;

/// Runs a statement of [`insert_grant`] for what is spent; whether it added the grant.
pub(super) async fn record(
    database: &Database,
    statement: &str,
    grant: &Grant,
    limits: &Limits,
    now: Timestamp,
    spent: &(dyn ToSql + Sync),
) -> Result<bool, Fault> {
    let (sender_constraint, bound_key) = constraint_columns(grant.sender_constraint);
    let (origin, origin_address) = origin_columns(grant.origin);
    let previous = PreviousColumns::of(&grant.refresh);
    database
        .changes(
            statement,
            &[
                &grant.handle,
                &grant.client_id,
                &grant.subject,
                &grant.scopes,
                &grant.resource,
                &grant.details,
                &grant.claims,
                &grant.session,
                &origin,
                &origin_address,
                &grant.auth_time,
                &grant.acr,
                &sender_constraint,
                &bound_key,
                &Bytes(grant.refresh.tag_key),
                &grant.refresh.current_n.cast_signed(),
                &Bytes(grant.refresh.current_hash),
                &previous.n,
                &previous.hash,
                &previous.seed,
                &previous.rotated_at,
                &grant.created_at,
                &grant.used_at,
                &grant.idle_expires_at,
                &grant.expires_at,
                &grant.ended.map(|(at, _)| at),
                &grant.ended.map(|(_, why)| why),
                &bound(limits.grants),
                &bound(limits.others_per_person()),
                &now,
                spent,
            ],
        )
        .await
}

/// The grant of that handle.
pub(super) async fn read(database: &Database, handle: GrantHandle) -> Result<Option<Grant>, Fault> {
    let select = concat!(select_grants!(), " WHERE handle = $1");
    database.read_one(select, &[&handle]).await?.as_ref().map(from_row).transpose()
}

/// Moves the refresh tokens on and binds them, if the row is as the caller read it. The condition is the lock.
pub(super) async fn rotate(database: &Database, rotation: &Rotation) -> Result<Rotated, Fault> {
    let previous = PreviousColumns::of(&rotation.next);
    let (sender_constraint, bound_key) = constraint_columns(rotation.sender_constraint);
    let update = "UPDATE grants SET current_n = $1, current_hash = $2, previous_n = $3, previous_hash = $4, seed = $5,
                          rotated_at = $6, sender_constraint = $7, bound_key = $8, used_at = $9, idle_expires_at = $10
         WHERE handle = $11 AND current_n = $12 AND current_hash = $13 AND ended_at IS NULL RETURNING 1";
    let moved = database
        .changes(
            update,
            &[
                &rotation.next.current_n.cast_signed(),
                &Bytes(rotation.next.current_hash),
                &previous.n,
                &previous.hash,
                &previous.seed,
                &previous.rotated_at,
                &sender_constraint,
                &bound_key,
                &rotation.used_at,
                &rotation.idle_expires_at,
                &rotation.handle,
                &rotation.read_n.cast_signed(),
                &Bytes(rotation.read_hash),
            ],
        )
        .await?;
    Ok(if moved { Rotated::Moved } else { Rotated::Overtaken })
}

/// Slides the idle limit.
pub(super) async fn extend(
    database: &Database,
    handle: GrantHandle,
    idle_expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), Fault> {
    let update = "UPDATE grants SET used_at = $1, idle_expires_at = $2 WHERE handle = $3 AND ended_at IS NULL";
    database.write(update, &[&now, &idle_expires_at, &handle]).await.map(drop)
}

/// Ends a grant that has not ended.
pub(super) async fn end(database: &Database, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<(), Fault> {
    let update = "UPDATE grants SET ended_at = $1, ended_by = $2 WHERE handle = $3 AND ended_at IS NULL";
    database.write(update, &[&now, &why, &handle]).await.map(drop)
}

/// The live grants of a person, the newest first.
pub(super) async fn of(
    database: &Database,
    subject: &Subject,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Grant>, Fault> {
    let select = concat!(
        select_grants!(),
        " WHERE subject = $1 AND ended_at IS NULL AND expires_at > $2 AND idle_expires_at > $2
          ORDER BY created_at DESC, handle DESC LIMIT $3"
    );
    let rows = database.read(select, &[subject, &now, &i64::from(limit)]).await?;
    rows.iter().map(from_row).collect()
}

/// The live grants that a query asks for, by their handles. Each kind of query has a statement of its own, so that each has
/// the plan that fits.
pub(super) async fn list(
    database: &Database,
    query: &GrantQuery,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Grant>, Fault> {
    const LIVE: &str = "handle > $1 AND ended_at IS NULL AND expires_at > $2 AND idle_expires_at > $2";
    let of = match (&query.subject, &query.client_id) {
        (None, None) => "",
        (Some(_), None) => "AND subject = $4",
        (None, Some(_)) => "AND client_id = $4",
        (Some(_), Some(_)) => "AND subject = $4 AND client_id = $5",
    };
    let select = format!("{} WHERE {LIVE} {of} ORDER BY handle LIMIT $3", select_grants!());
    let (after, limit) = (query.after.map_or_else(Vec::new, |after| after.0.to_vec()), i64::from(limit));
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&after, &now, &limit];
    parameters.extend(query.subject.as_ref().map(|subject| subject as &(dyn ToSql + Sync)));
    parameters.extend(query.client_id.as_ref().map(|client| client as &(dyn ToSql + Sync)));
    database.read(&select, &parameters).await?.iter().map(from_row).collect()
}

/// Ends the first of the live grants that a query asks for.
pub(super) async fn end_page(
    database: &Database,
    query: &GrantQuery,
    (why, now): (EndedBy, Timestamp),
    limit: u32,
) -> Result<SomeEnded, Fault> {
    let update =
        "UPDATE grants SET ended_at = $1, ended_by = $2 WHERE handle = ANY($3) AND ended_at IS NULL RETURNING 1";
    let page = list(database, query, now, limit).await?;
    if page.is_empty() {
        return Ok(SomeEnded::of(&page, limit, 0));
    }
    let handles: Vec<_> = page.iter().map(|grant| grant.handle).collect();
    let ended = database.write(update, &[&now, &why, &handles]).await?.len() as u64;
    Ok(SomeEnded::of(&page, limit, ended))
}

/// The grants that have ended since a moment, or within so many milliseconds by the clock of the database; each with when,
/// by the clock that was ahead.
pub(super) async fn ended_since(
    database: &Database,
    (since, within): (Timestamp, i64),
) -> Result<Vec<(GrantHandle, Timestamp)>, Fault> {
    let select = "SELECT handle, greatest(ended_at, noted_at) FROM grants
         WHERE ended_at >= $1 OR noted_at > (extract(epoch FROM now()) * 1000)::bigint - $2";
    let rows = database.read(select, &[&since, &within]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The columns of a grant, by name: a later version may add some.
macro_rules! select_grants {
    () => {
        "SELECT handle, client_id, subject, scope, resource, authorization_details, claims, session_id, origin,
                origin_address, auth_time, acr, sender_constraint, bound_key, tag_key, current_n, current_hash, previous_n, previous_hash, seed,
                rotated_at, created_at, used_at, idle_expires_at, expires_at, ended_at, ended_by
         FROM grants"
    };
}
use select_grants;

/// Reads a row. What this version does not know is a fault, never a guess.
fn from_row(row: &Row) -> Result<Grant, Fault> {
    let bound = row.try_get::<_, Option<Bytes<32>>>("bound_key")?.map(|bound| bound.0);
    let sender_constraint = constraint(row.try_get("sender_constraint")?, bound).ok_or(UnknownName)?;
    let n: Option<i64> = row.try_get("previous_n")?;
    let previous = n.map(|n| previous(row, n)).transpose()?;
    let ended = match row.try_get("ended_at")? {
        Some(at) => Some((at, row.try_get("ended_by")?)),
        None => None,
    };
    Ok(Grant {
        handle: row.try_get("handle")?,
        client_id: row.try_get("client_id")?,
        subject: row.try_get("subject")?,
        scopes: row.try_get("scope")?,
        resource: row.try_get("resource")?,
        details: row.try_get("authorization_details")?,
        claims: row.try_get("claims")?,
        session: row.try_get("session_id")?,
        origin: origin(row.try_get("origin")?, row.try_get("origin_address")?).ok_or(UnknownName)?,
        auth_time: row.try_get("auth_time")?,
        acr: row.try_get("acr")?,
        sender_constraint,
        refresh: RefreshState {
            tag_key: row.try_get::<_, Bytes<32>>("tag_key")?.0,
            current_n: row.try_get::<_, i64>("current_n")?.cast_unsigned(),
            current_hash: row.try_get::<_, Bytes<32>>("current_hash")?.0,
            previous,
        },
        created_at: row.try_get("created_at")?,
        used_at: row.try_get("used_at")?,
        idle_expires_at: row.try_get("idle_expires_at")?,
        expires_at: row.try_get("expires_at")?,
        ended,
    })
}

/// Reads the columns of the token before the current one, whose number is `n`.
fn previous(row: &Row, n: i64) -> Result<Previous, Fault> {
    Ok(Previous {
        n: n.cast_unsigned(),
        hash: row.try_get::<_, Bytes<32>>("previous_hash")?.0,
        seed: row.try_get::<_, Bytes<32>>("seed")?.0,
        rotated_at_millis: row.try_get("rotated_at")?,
    })
}

/// The columns of the token before the current one.
struct PreviousColumns {
    n: Option<i64>,
    hash: Option<Bytes<32>>,
    seed: Option<Bytes<32>>,
    rotated_at: Option<i64>,
}

impl PreviousColumns {
    fn of(refresh: &RefreshState) -> Self {
        let previous = refresh.previous.as_ref();
        Self {
            n: previous.map(|previous| previous.n.cast_signed()),
            hash: previous.map(|previous| Bytes(previous.hash)),
            seed: previous.map(|previous| Bytes(previous.seed)),
            rotated_at: previous.map(|previous| previous.rotated_at_millis),
        }
    }
}

/// The two columns of an origin.
fn origin_columns(origin: GrantOrigin) -> (Option<&'static str>, Option<String>) {
    match origin {
        GrantOrigin::Browser => (Some("browser"), None),
        GrantOrigin::Device { address } => (Some("device"), Some(address.to_string())),
        GrantOrigin::Unknown => (None, None),
    }
}

/// The origin that two columns hold.
fn origin(name: Option<&str>, address: Option<&str>) -> Option<GrantOrigin> {
    match (name, address) {
        (None, None) => Some(GrantOrigin::Unknown),
        (Some("browser"), None) => Some(GrantOrigin::Browser),
        (Some("device"), Some(address)) => Some(GrantOrigin::Device { address: address.parse().ok()? }),
        (_, _) => None,
    }
}

/// The two columns of a constraint.
fn constraint_columns(constraint: SenderConstraint) -> (&'static str, Option<Bytes<32>>) {
    match constraint {
        SenderConstraint::None => ("none", None),
        SenderConstraint::Dpop => ("dpop", None),
        SenderConstraint::DpopKey(key) => ("dpop_key", Some(Bytes(*key.as_bytes()))),
        SenderConstraint::Certificate => ("certificate", None),
        SenderConstraint::ThisCertificate(certificate) => ("this_certificate", Some(Bytes(*certificate.as_bytes()))),
    }
}

/// The constraint that two columns hold. One that this version does not know is not taken for none.
fn constraint(name: &str, bound: Option<[u8; 32]>) -> Option<SenderConstraint> {
    match (name, bound) {
        ("none", None) => Some(SenderConstraint::None),
        ("dpop", None) => Some(SenderConstraint::Dpop),
        ("dpop_key", Some(key)) => Some(SenderConstraint::DpopKey(Thumbprint::from_bytes(key))),
        ("certificate", None) => Some(SenderConstraint::Certificate),
        ("this_certificate", Some(certificate)) => {
            Some(SenderConstraint::ThisCertificate(CertificateThumbprint::from_bytes(certificate)))
        }
        _ => None,
    }
}
