//! Devices that wait for a person.

use std::net::IpAddr;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, named_params};

use super::limit::within;
use super::{Fault, grants};
use crate::clock::Timestamp;
use crate::ident::{Acr, ClientId, Subject};
use crate::secret::{BrowserKind, DeviceCodeKind, Digest, UserCodeKind};
use crate::store::record::UnknownName;
use crate::store::{Begun, Decision, DeviceRecord, Grant, Limits, Pace, Polled};

/// Adds the row of a device, unless another one has its user code.
pub(super) fn record(connection: &Connection, device: &DeviceRecord, limit: u64) -> Result<Begun, Fault> {
    let (decision, subject, auth_time, acr) = decision_columns(device.decision.as_ref());
    let mut insert = connection.prepare_cached(
        "INSERT INTO devices (digest, user_code, client_id, scope, resource, dpop_jkt, address, created_at, expires_at,
                              interval, next_poll, claimed_by, decision, subject, auth_time, acr)
         VALUES (:digest, :user_code, :client_id, :scope, :resource, :dpop_jkt, :address, :created_at, :expires_at,
                 :interval, :next_poll, :claimed_by, :decision, :subject, :auth_time, :acr)
         ON CONFLICT (user_code) DO NOTHING",
    )?;
    let inserted = insert.execute(named_params! {
        ":digest": device.digest,
        ":user_code": device.user_code,
        ":client_id": device.client_id,
        ":scope": device.scopes,
        ":resource": device.resource,
        ":dpop_jkt": device.dpop_jkt,
        ":address": device.address.to_string(),
        ":created_at": device.created_at,
        ":expires_at": device.expires_at,
        ":interval": interval_column(device.pace.interval),
        ":next_poll": device.pace.next_poll,
        ":claimed_by": device.claimed_by,
        ":decision": decision,
        ":subject": subject,
        ":auth_time": auth_time,
        ":acr": acr,
    })?;
    if inserted == 0 {
        return Ok(Begun::UserCodeTaken);
    }
    within(connection, "devices", limit)?;
    Ok(Begun::First)
}

/// The device of that code, decided on or not.
pub(super) fn read(connection: &Connection, code: Digest<DeviceCodeKind>) -> Result<Option<DeviceRecord>, Fault> {
    find(connection, "SELECT * FROM devices WHERE digest = :digest", named_params! { ":digest": code })
}

/// Counts a poll. The rule is [`Pace::poll`]; the transaction of the caller keeps others out meanwhile.
pub(super) fn poll(
    connection: &Connection,
    code: Digest<DeviceCodeKind>,
    client: &ClientId,
    now: Timestamp,
) -> Result<Polled, Fault> {
    let ours = |device: &DeviceRecord| device.client_id == *client && device.is_pending(now);
    let Some(mut device) = read(connection, code)?.filter(ours) else { return Ok(Polled::NotPending) };
    let in_time = device.pace.poll(now);
    let mut update = connection
        .prepare_cached("UPDATE devices SET interval = :interval, next_poll = :next_poll WHERE digest = :digest")?;
    update.execute(named_params! {
        ":interval": interval_column(device.pace.interval),
        ":next_poll": device.pace.next_poll,
        ":digest": code,
    })?;
    Ok(Polled::of(in_time))
}

/// Claims a pending device for a browser. The condition of the update is the lock.
pub(super) fn claim(
    connection: &Connection,
    user_code: Digest<UserCodeKind>,
    browser: Digest<BrowserKind>,
    now: Timestamp,
) -> Result<Option<DeviceRecord>, Fault> {
    let statement = "UPDATE devices SET claimed_by = :browser
         WHERE user_code = :user_code AND decision IS NULL AND expires_at > :now
           AND (claimed_by IS NULL OR claimed_by = :browser)
         RETURNING *";
    find(connection, statement, named_params! { ":browser": browser, ":user_code": user_code, ":now": now })
}

/// Records the decision of the browser that has claimed the device, if there is none yet.
pub(super) fn decide(
    connection: &Connection,
    code: Digest<DeviceCodeKind>,
    browser: Digest<BrowserKind>,
    decision: &Decision,
    now: Timestamp,
) -> Result<bool, Fault> {
    let (decision, subject, auth_time, acr) = decision_columns(Some(decision));
    let mut update = connection.prepare_cached(
        "UPDATE devices SET decision = :decision, subject = :subject, auth_time = :auth_time, acr = :acr
         WHERE digest = :digest AND claimed_by = :browser AND decision IS NULL AND expires_at > :now",
    )?;
    let updated = update.execute(named_params! {
        ":decision": decision,
        ":subject": subject,
        ":auth_time": auth_time,
        ":acr": acr,
        ":digest": code,
        ":browser": browser,
        ":now": now,
    })?;
    Ok(updated == 1)
}

/// The pending devices behind that of a digest, by their digests.
pub(super) fn pending(
    connection: &Connection,
    after: Option<Digest<DeviceCodeKind>>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<DeviceRecord>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT * FROM devices WHERE digest > :after AND decision IS NULL AND expires_at > :now
         ORDER BY digest LIMIT :limit",
    )?;
    let after: &[u8] = after.as_ref().map_or(&[], |after| after.as_bytes());
    let rows = select.query_map(named_params! { ":after": after, ":now": now, ":limit": limit }, from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Turns a pending device away, whoever has claimed it.
pub(super) fn decline(connection: &Connection, code: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Fault> {
    let (decision, ..) = decision_columns(Some(&Decision::Decline));
    let mut update = connection.prepare_cached(
        "UPDATE devices SET decision = :decision WHERE digest = :digest AND decision IS NULL AND expires_at > :now",
    )?;
    Ok(update.execute(named_params! { ":decision": decision, ":digest": code, ":now": now })? == 1)
}

/// Removes an approved device and adds the row of its grant, in the transaction of the caller.
pub(super) fn redeem(
    connection: &Connection,
    code: Digest<DeviceCodeKind>,
    grant: &Grant,
    limits: &Limits,
    now: Timestamp,
) -> Result<bool, Fault> {
    let mut delete = connection
        .prepare_cached("DELETE FROM devices WHERE digest = :digest AND decision = 'approve' AND expires_at > :now")?;
    if delete.execute(named_params! { ":digest": code, ":now": now })? == 0 {
        return Ok(false);
    }
    grants::record(connection, grant, limits, now)?;
    Ok(true)
}

/// The one row that a statement gives, if it gives one.
fn find(connection: &Connection, statement: &str, parameters: impl Params) -> Result<Option<DeviceRecord>, Fault> {
    let mut statement = connection.prepare_cached(statement)?;
    Ok(statement.query_one(parameters, from_row).optional()?)
}

/// Reads a row. What this version does not know is a fault, never a guess.
fn from_row(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    Ok(DeviceRecord {
        digest: row.get("digest")?,
        user_code: row.get("user_code")?,
        client_id: row.get("client_id")?,
        scopes: row.get("scope")?,
        resource: row.get("resource")?,
        dpop_jkt: row.get("dpop_jkt")?,
        address: address(row)?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        pace: Pace {
            interval: Duration::from_millis(row.get::<_, i64>("interval")?.unsigned_abs()),
            next_poll: row.get("next_poll")?,
        },
        claimed_by: row.get("claimed_by")?,
        decision: decision(row)?,
    })
}

fn address(row: &Row<'_>) -> rusqlite::Result<IpAddr> {
    let column = row.as_ref().column_index("address")?;
    let text: String = row.get(column)?;
    text.parse().map_err(|fault| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(fault)))
}

/// The decision that four columns hold.
fn decision(row: &Row<'_>) -> rusqlite::Result<Option<Decision>> {
    let column = row.as_ref().column_index("decision")?;
    let name: Option<String> = row.get(column)?;
    match name.as_deref() {
        None => Ok(None),
        Some("approve") => {
            let (subject, auth_time, acr) = (row.get("subject")?, row.get("auth_time")?, row.get("acr")?);
            Ok(Some(Decision::Approve { subject, auth_time, acr }))
        }
        Some("decline") => Ok(Some(Decision::Decline)),
        Some(_) => Err(rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(UnknownName))),
    }
}

/// The four columns of a decision.
fn decision_columns(
    decision: Option<&Decision>,
) -> (Option<&'static str>, Option<&Subject>, Option<Timestamp>, Option<&Acr>) {
    match decision {
        None => (None, None, None, None),
        Some(Decision::Approve { subject, auth_time, acr }) => {
            (Some("approve"), Some(subject), Some(*auth_time), acr.as_ref())
        }
        Some(Decision::Decline) => (Some("decline"), None, None, None),
    }
}

fn interval_column(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)
}
