//! Grants, one row each, of which the refresh tokens are columns.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, named_params};

use super::Fault;
use super::limit::within;
use crate::certificate::CertificateThumbprint;
use crate::clock::Timestamp;
use crate::ident::Subject;
use crate::jose::Thumbprint;
use crate::store::record::UnknownName;
use crate::store::{
    EndedBy, Grant, GrantHandle, GrantOrigin, GrantQuery, Limits, Previous, RefreshState, Rotated, Rotation,
    SenderConstraint,
};

/// Adds the row of a grant, and ends the oldest ones of the person at the client that are one too many with it.
pub(super) fn record(connection: &Connection, grant: &Grant, limits: &Limits, now: Timestamp) -> Result<(), Fault> {
    let (sender_constraint, bound_key) = constraint_columns(grant.sender_constraint);
    let (origin, origin_address) = origin_columns(grant.origin);
    let previous = grant.refresh.previous.as_ref();
    let mut insert = connection.prepare_cached(
        "INSERT INTO grants (handle, client_id, subject, scope, resource, authorization_details, claims, session_id,
                             origin, origin_address, auth_time, acr, sender_constraint, bound_key, tag_key, current_n, current_hash, previous_n, previous_hash, seed, rotated_at,
                             created_at, used_at, idle_expires_at, expires_at, ended_at, ended_by)
         VALUES (:handle, :client_id, :subject, :scope, :resource, :details, :claims, :session, :origin, :origin_address, :auth_time, :acr,
                 :sender_constraint, :bound_key,
                 :tag_key, :current_n, :current_hash, :previous_n, :previous_hash, :seed, :rotated_at,
                 :created_at, :used_at, :idle_expires_at, :expires_at, :ended_at, :ended_by)",
    )?;
    insert.execute(named_params! {
        ":handle": grant.handle,
        ":client_id": grant.client_id,
        ":subject": grant.subject,
        ":scope": grant.scopes,
        ":resource": grant.resource,
        ":details": grant.details,
        ":claims": grant.claims,
        ":session": grant.session,
        ":origin": origin,
        ":origin_address": origin_address,
        ":auth_time": grant.auth_time,
        ":acr": grant.acr,
        ":sender_constraint": sender_constraint,
        ":bound_key": bound_key,
        ":tag_key": grant.refresh.tag_key,
        ":current_n": grant.refresh.current_n.cast_signed(),
        ":current_hash": grant.refresh.current_hash,
        ":previous_n": previous.map(|previous| previous.n.cast_signed()),
        ":previous_hash": previous.map(|previous| previous.hash),
        ":seed": previous.map(|previous| previous.seed),
        ":rotated_at": previous.map(|previous| previous.rotated_at_millis),
        ":created_at": grant.created_at,
        ":used_at": grant.used_at,
        ":idle_expires_at": grant.idle_expires_at,
        ":expires_at": grant.expires_at,
        ":ended_at": grant.ended.map(|(at, _)| at),
        ":ended_by": grant.ended.map(|(_, why)| why),
    })?;
    within(connection, "grants", limits.grants)?;
    supersede(connection, grant, limits.others_per_person(), now)
}

/// Ends all but the newest `others` live grants of the person at the client, `newest` not counted. One index gives them
/// by age.
fn supersede(connection: &Connection, newest: &Grant, others: u64, now: Timestamp) -> Result<(), Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE grants SET ended_at = :now, ended_by = :why WHERE handle IN (
           SELECT handle FROM grants
           WHERE subject = :subject AND client_id = :client_id AND ended_at IS NULL
             AND expires_at > :now AND idle_expires_at > :now AND handle <> :newest
           ORDER BY created_at DESC, handle DESC LIMIT -1 OFFSET :others)",
    )?;
    update.execute(named_params! {
        ":now": now,
        ":why": EndedBy::Superseded,
        ":subject": newest.subject,
        ":client_id": newest.client_id,
        ":newest": newest.handle,
        ":others": i64::try_from(others).unwrap_or(i64::MAX),
    })?;
    Ok(())
}

/// The grant of that handle.
pub(super) fn read(connection: &Connection, handle: GrantHandle) -> Result<Option<Grant>, Fault> {
    let mut select = connection.prepare_cached("SELECT * FROM grants WHERE handle = :handle")?;
    Ok(select.query_one(named_params! { ":handle": handle }, from_row).optional()?)
}

/// Moves the refresh tokens on and binds them, if the row is as the caller read it. The condition is the lock.
pub(super) fn rotate(connection: &Connection, rotation: &Rotation) -> Result<Rotated, Fault> {
    let next = &rotation.next;
    let previous = next.previous.as_ref();
    let (sender_constraint, bound_key) = constraint_columns(rotation.sender_constraint);
    let mut update = connection.prepare_cached(
        "UPDATE grants SET current_n = :current_n, current_hash = :current_hash, previous_n = :previous_n,
                           previous_hash = :previous_hash, seed = :seed, rotated_at = :rotated_at,
                           sender_constraint = :sender_constraint, bound_key = :bound_key,
                           used_at = :used_at, idle_expires_at = :idle_expires_at
         WHERE handle = :handle AND current_n = :read_n AND current_hash = :read_hash AND ended_at IS NULL",
    )?;
    let updated = update.execute(named_params! {
        ":current_n": next.current_n.cast_signed(),
        ":current_hash": next.current_hash,
        ":previous_n": previous.map(|previous| previous.n.cast_signed()),
        ":previous_hash": previous.map(|previous| previous.hash),
        ":seed": previous.map(|previous| previous.seed),
        ":rotated_at": previous.map(|previous| previous.rotated_at_millis),
        ":sender_constraint": sender_constraint,
        ":bound_key": bound_key,
        ":used_at": rotation.used_at,
        ":idle_expires_at": rotation.idle_expires_at,
        ":handle": rotation.handle,
        ":read_n": rotation.read_n.cast_signed(),
        ":read_hash": rotation.read_hash,
    })?;
    Ok(if updated == 1 { Rotated::Moved } else { Rotated::Overtaken })
}

/// Slides the idle limit.
pub(super) fn extend(
    connection: &Connection,
    handle: GrantHandle,
    idle_expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE grants SET used_at = :now, idle_expires_at = :idle_expires_at
         WHERE handle = :handle AND ended_at IS NULL",
    )?;
    update.execute(named_params! { ":now": now, ":idle_expires_at": idle_expires_at, ":handle": handle })?;
    Ok(())
}

/// Ends a grant that has not ended; whether it did.
pub(super) fn end(connection: &Connection, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<bool, Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE grants SET ended_at = :now, ended_by = :why WHERE handle = :handle AND ended_at IS NULL",
    )?;
    Ok(update.execute(named_params! { ":now": now, ":why": why, ":handle": handle })? == 1)
}

/// The live grants of a person, the newest first.
pub(super) fn of(connection: &Connection, subject: &Subject, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT * FROM grants
         WHERE subject = :subject AND ended_at IS NULL AND expires_at > :now AND idle_expires_at > :now
         ORDER BY created_at DESC, handle DESC LIMIT :limit",
    )?;
    let rows = select.query_map(named_params! { ":subject": subject, ":now": now, ":limit": limit }, from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The live grants that a query asks for, by their handles. Each kind of query has a statement of its own, so that each has
/// the index that fits.
pub(super) fn list(
    connection: &Connection,
    query: &GrantQuery,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Grant>, Fault> {
    let of = match (&query.subject, &query.client_id) {
        (None, None) => "",
        (Some(_), None) => "subject = :subject AND",
        (None, Some(_)) => "client_id = :client_id AND",
        (Some(_), Some(_)) => "subject = :subject AND client_id = :client_id AND",
    };
    let mut select = connection.prepare_cached(&format!(
        "SELECT * FROM grants
         WHERE {of} handle > :after AND ended_at IS NULL AND expires_at > :now AND idle_expires_at > :now
         ORDER BY handle LIMIT :limit"
    ))?;
    let after: &[u8] = query.after.as_ref().map_or(&[], |after| &after.0);
    let mut parameters: Vec<(&str, &dyn ToSql)> = vec![(":after", &after), (":now", &now), (":limit", &limit)];
    parameters.extend(query.subject.as_ref().map(|subject| (":subject", subject as &dyn ToSql)));
    parameters.extend(query.client_id.as_ref().map(|client| (":client_id", client as &dyn ToSql)));
    let rows = select.query_map(&*parameters, from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ends those of several grants that have not ended, and gives how many.
pub(super) fn end_each(
    connection: &Connection,
    handles: &[GrantHandle],
    why: EndedBy,
    now: Timestamp,
) -> Result<u64, Fault> {
    let mut ended = 0;
    for handle in handles {
        ended += u64::from(end(connection, *handle, why, now)?);
    }
    Ok(ended)
}

/// The grants that have ended since a moment, each with when.
pub(super) fn ended_since(connection: &Connection, since: Timestamp) -> Result<Vec<(GrantHandle, Timestamp)>, Fault> {
    let mut select = connection.prepare_cached("SELECT handle, ended_at FROM grants WHERE ended_at >= ?1")?;
    let rows = select.query_map([since], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reads a row. What this version does not know is a fault, never a guess.
fn from_row(row: &Row<'_>) -> rusqlite::Result<Grant> {
    let column = row.as_ref().column_index("sender_constraint")?;
    let unknown = || rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(UnknownName));
    let name: String = row.get(column)?;
    let sender_constraint = constraint(&name, row.get("bound_key")?).ok_or_else(unknown)?;
    let n: Option<i64> = row.get("previous_n")?;
    let previous = n.map(|n| previous(row, n)).transpose()?;
    let ended = match row.get("ended_at")? {
        Some(at) => Some((at, row.get("ended_by")?)),
        None => None,
    };
    Ok(Grant {
        handle: row.get("handle")?,
        client_id: row.get("client_id")?,
        subject: row.get("subject")?,
        scopes: row.get("scope")?,
        resource: row.get("resource")?,
        details: row.get("authorization_details")?,
        claims: row.get("claims")?,
        session: row.get("session_id")?,
        origin: origin(row)?,
        auth_time: row.get("auth_time")?,
        acr: row.get("acr")?,
        sender_constraint,
        refresh: RefreshState {
            tag_key: row.get("tag_key")?,
            current_n: row.get::<_, i64>("current_n")?.cast_unsigned(),
            current_hash: row.get("current_hash")?,
            previous,
        },
        created_at: row.get("created_at")?,
        used_at: row.get("used_at")?,
        idle_expires_at: row.get("idle_expires_at")?,
        expires_at: row.get("expires_at")?,
        ended,
    })
}

/// Reads the columns of the token before the current one, whose number is `n`.
fn previous(row: &Row<'_>, n: i64) -> rusqlite::Result<Previous> {
    Ok(Previous {
        n: n.cast_unsigned(),
        hash: row.get("previous_hash")?,
        seed: row.get("seed")?,
        rotated_at_millis: row.get("rotated_at")?,
    })
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
fn origin(row: &Row<'_>) -> rusqlite::Result<GrantOrigin> {
    let column = row.as_ref().column_index("origin")?;
    let unknown = || rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(UnknownName));
    let (name, address): (Option<String>, Option<String>) = (row.get(column)?, row.get("origin_address")?);
    match (name.as_deref(), address) {
        (None, None) => Ok(GrantOrigin::Unknown),
        (Some("browser"), None) => Ok(GrantOrigin::Browser),
        (Some("device"), Some(address)) => Ok(GrantOrigin::Device { address: address.parse().map_err(|_| unknown())? }),
        (_, _) => Err(unknown()),
    }
}

/// The two columns of a constraint.
fn constraint_columns(constraint: SenderConstraint) -> (&'static str, Option<[u8; 32]>) {
    match constraint {
        SenderConstraint::None => ("none", None),
        SenderConstraint::Dpop => ("dpop", None),
        SenderConstraint::DpopKey(key) => ("dpop_key", Some(*key.as_bytes())),
        SenderConstraint::Certificate => ("certificate", None),
        SenderConstraint::ThisCertificate(certificate) => ("this_certificate", Some(*certificate.as_bytes())),
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
