//! Devices that wait for a person.

use std::time::Duration;

use tokio_postgres::Row;

use super::database::{Database, Fault};
use super::grants::{self, insert_grant};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::ident::{Acr, ClientId, Subject};
use crate::secret::{BrowserKind, DeviceCodeKind, Digest, UserCodeKind};
use crate::store::record::UnknownName;
use crate::store::{Begun, Decision, DeviceRecord, Grant, Limits, Pace, Polled};

/// How often a poll that meets others of the same device is counted anew before it is given up.
const POLLS: u32 = 5;

/// Adds the row of a device, unless another one has its user code.
pub(super) async fn record(database: &Database, device: &DeviceRecord, limit: u64) -> Result<Begun, Fault> {
    let (decision, subject, auth_time, acr) = decision_columns(device.decision.as_ref());
    let insert = "INSERT INTO devices (digest, user_code, client_id, scope, resource, dpop_jkt, address, created_at,
                              expires_at, poll_interval, next_poll, claimed_by, decision, subject, auth_time, acr)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16 WHERE holds('devices') < $17
         ON CONFLICT (user_code) DO NOTHING RETURNING 1";
    let inserted = database
        .changes(
            insert,
            &[
                &device.digest,
                &device.user_code,
                &device.client_id,
                &device.scopes,
                &device.resource,
                &device.dpop_jkt,
                &device.address.to_string(),
                &device.created_at,
                &device.expires_at,
                &interval_column(device.pace.interval),
                &device.pace.next_poll,
                &device.claimed_by,
                &decision,
                &subject,
                &auth_time,
                &acr,
                &bound(limit),
            ],
        )
        .await?;
    if inserted {
        return Ok(Begun::First);
    }
    let taken = database.finds("SELECT 1 FROM devices WHERE user_code = $1", &[&device.user_code]).await?;
    if taken { Ok(Begun::UserCodeTaken) } else { Err(Fault::Full) }
}

/// The device of that code, decided on or not.
pub(super) async fn read(database: &Database, code: Digest<DeviceCodeKind>) -> Result<Option<DeviceRecord>, Fault> {
    let select = "SELECT digest, user_code, client_id, scope, resource, dpop_jkt, address, created_at, expires_at,
                         poll_interval, next_poll, claimed_by, decision, subject, auth_time, acr
         FROM devices WHERE digest = $1";
    database.read_one(select, &[&code]).await?.as_ref().map(from_row).transpose()
}

/// Counts a poll. The rule is [`Pace::poll`]; a poll that others have overtaken is judged again.
pub(super) async fn poll(
    database: &Database,
    code: Digest<DeviceCodeKind>,
    client: &ClientId,
    now: Timestamp,
) -> Result<Polled, Fault> {
    let update = "UPDATE devices SET poll_interval = $1, next_poll = $2
         WHERE digest = $3 AND poll_interval = $4 AND next_poll = $5 AND decision IS NULL RETURNING 1";
    for _ in 0..POLLS {
        let ours = |device: &DeviceRecord| device.client_id == *client && device.is_pending(now);
        let Some(device) = read(database, code).await?.filter(ours) else { return Ok(Polled::NotPending) };
        let (before, mut pace) = (device.pace, device.pace);
        let in_time = pace.poll(now);
        let (interval, interval_before) = (interval_column(pace.interval), interval_column(before.interval));
        let as_read =
            database.changes(update, &[&interval, &pace.next_poll, &code, &interval_before, &before.next_poll]).await?;
        if as_read {
            return Ok(Polled::of(in_time));
        }
    }
    Err(Fault::Contended)
}

/// Claims a pending device for a browser. The condition of the update is the lock.
pub(super) async fn claim(
    database: &Database,
    user_code: Digest<UserCodeKind>,
    browser: Digest<BrowserKind>,
    now: Timestamp,
) -> Result<Option<DeviceRecord>, Fault> {
    let update = "UPDATE devices SET claimed_by = $1
         WHERE user_code = $2 AND decision IS NULL AND expires_at > $3 AND (claimed_by IS NULL OR claimed_by = $1)
         RETURNING digest, user_code, client_id, scope, resource, dpop_jkt, address, created_at, expires_at,
                   poll_interval, next_poll, claimed_by, decision, subject, auth_time, acr";
    let rows = database.write(update, &[&browser, &user_code, &now]).await?;
    rows.first().map(from_row).transpose()
}

/// Records the decision of the browser that has claimed the device, if there is none yet.
pub(super) async fn decide(
    database: &Database,
    code: Digest<DeviceCodeKind>,
    browser: Digest<BrowserKind>,
    decision: &Decision,
    now: Timestamp,
) -> Result<bool, Fault> {
    let (decision, subject, auth_time, acr) = decision_columns(Some(decision));
    let update = "UPDATE devices SET decision = $1, subject = $2, auth_time = $3, acr = $4
         WHERE digest = $5 AND claimed_by = $6 AND decision IS NULL AND expires_at > $7 RETURNING 1";
    database.changes(update, &[&decision, &subject, &auth_time, &acr, &code, &browser, &now]).await
}

/// The pending devices behind that of a digest, by their digests.
pub(super) async fn pending(
    database: &Database,
    after: Option<Digest<DeviceCodeKind>>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<DeviceRecord>, Fault> {
    let select = "SELECT digest, user_code, client_id, scope, resource, dpop_jkt, address, created_at, expires_at,
                         poll_interval, next_poll, claimed_by, decision, subject, auth_time, acr
         FROM devices WHERE digest > $1 AND decision IS NULL AND expires_at > $2 ORDER BY digest LIMIT $3";
    let after = after.map_or_else(Vec::new, |after| after.as_bytes().to_vec());
    database.read(select, &[&after, &now, &i64::from(limit)]).await?.iter().map(from_row).collect()
}

/// Turns a pending device away, whoever has claimed it.
pub(super) async fn decline(database: &Database, code: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Fault> {
    let (decision, ..) = decision_columns(Some(&Decision::Decline));
    let update =
        "UPDATE devices SET decision = $1 WHERE digest = $2 AND decision IS NULL AND expires_at > $3 RETURNING 1";
    database.changes(update, &[&decision, &code, &now]).await
}

/// Removes an approved device and adds the row of its grant, in one statement.
pub(super) async fn redeem(
    database: &Database,
    code: Digest<DeviceCodeKind>,
    grant: &Grant,
    limits: &Limits,
    now: Timestamp,
) -> Result<bool, Fault> {
    let redeem = insert_grant!(
        "DELETE FROM devices
         WHERE digest = $31 AND decision = 'approve' AND expires_at > $30 AND holds('grants') < $28 RETURNING 1"
    );
    if grants::record(database, redeem, grant, limits, now, &code).await? {
        return Ok(true);
    }
    let approved = "SELECT 1 FROM devices WHERE digest = $1 AND decision = 'approve' AND expires_at > $2";
    if database.finds(approved, &[&code, &now]).await? { Err(Fault::Full) } else { Ok(false) }
}

/// Reads a row. What this version does not know is a fault, never a guess.
fn from_row(row: &Row) -> Result<DeviceRecord, Fault> {
    let address: &str = row.try_get("address")?;
    Ok(DeviceRecord {
        digest: row.try_get("digest")?,
        user_code: row.try_get("user_code")?,
        client_id: row.try_get("client_id")?,
        scopes: row.try_get("scope")?,
        resource: row.try_get("resource")?,
        dpop_jkt: row.try_get("dpop_jkt")?,
        address: address.parse().map_err(|_| UnknownName)?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        pace: Pace {
            interval: Duration::from_millis(row.try_get::<_, i64>("poll_interval")?.unsigned_abs()),
            next_poll: row.try_get("next_poll")?,
        },
        claimed_by: row.try_get("claimed_by")?,
        decision: decision(row)?,
    })
}

/// The decision that four columns hold.
fn decision(row: &Row) -> Result<Option<Decision>, Fault> {
    match row.try_get("decision")? {
        None => Ok(None),
        Some("approve") => {
            let (subject, auth_time) = (row.try_get("subject")?, row.try_get("auth_time")?);
            Ok(Some(Decision::Approve { subject, auth_time, acr: row.try_get("acr")? }))
        }
        Some("decline") => Ok(Some(Decision::Decline)),
        Some(_) => Err(UnknownName.into()),
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
