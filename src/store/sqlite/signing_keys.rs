//! Signing keys.

use rusqlite::{Connection, Row, named_params};

use super::Fault;
use crate::store::KeyRecord;

/// All keys, by generation.
pub(super) fn read(connection: &Connection) -> Result<Vec<KeyRecord>, Fault> {
    let mut select = connection.prepare_cached("SELECT * FROM signing_keys ORDER BY generation")?;
    let keys: rusqlite::Result<Vec<_>> = select.query_map([], from_row)?.collect();
    Ok(keys?)
}

/// Adds a key and reschedules earlier ones, unless its generation exists.
pub(super) fn add(connection: &Connection, key: &KeyRecord, rescheduled: &[KeyRecord]) -> Result<bool, Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO signing_keys (generation, kid, algorithm, sealed, secret, published_at, sign_from, retire_at, drop_at)
         VALUES (:generation, :kid, :algorithm, :sealed, :secret, :published_at, :sign_from, :retire_at, :drop_at)
         ON CONFLICT (generation) DO NOTHING",
    )?;
    let inserted = insert.execute(named_params! {
        ":generation": key.generation.cast_signed(),
        ":kid": key.kid,
        ":algorithm": key.algorithm,
        ":sealed": key.sealed,
        ":secret": key.secret,
        ":published_at": key.published_at,
        ":sign_from": key.sign_from,
        ":retire_at": key.retire_at,
        ":drop_at": key.drop_at,
    })?;
    if inserted == 0 {
        return Ok(false);
    }
    rescheduled.iter().try_for_each(|earlier| reschedule(connection, earlier))?;
    Ok(true)
}

/// Puts the schedule of `key` in the row of its generation.
fn reschedule(connection: &Connection, key: &KeyRecord) -> Result<(), Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE signing_keys SET published_at = :published_at, sign_from = :sign_from, retire_at = :retire_at,
                                 drop_at = :drop_at
         WHERE generation = :generation",
    )?;
    update.execute(named_params! {
        ":published_at": key.published_at,
        ":sign_from": key.sign_from,
        ":retire_at": key.retire_at,
        ":drop_at": key.drop_at,
        ":generation": key.generation.cast_signed(),
    })?;
    Ok(())
}

/// Puts another schedule of a key in place, if it has the one that was read.
pub(super) fn replace_schedule(connection: &Connection, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE signing_keys SET published_at = :published_at, sign_from = :sign_from, retire_at = :retire_at,
                                 drop_at = :drop_at
         WHERE generation = :generation AND kid = :kid AND published_at = :read_published_at
           AND sign_from = :read_sign_from AND retire_at = :read_retire_at AND drop_at = :read_drop_at",
    )?;
    let updated = update.execute(named_params! {
        ":published_at": next.published_at,
        ":sign_from": next.sign_from,
        ":retire_at": next.retire_at,
        ":drop_at": next.drop_at,
        ":generation": read.generation.cast_signed(),
        ":kid": read.kid,
        ":read_published_at": read.published_at,
        ":read_sign_from": read.sign_from,
        ":read_retire_at": read.retire_at,
        ":read_drop_at": read.drop_at,
    })?;
    Ok(updated == 1)
}

/// Puts other seals of a key and its secret in place, if they have those that were read.
pub(super) fn reseal(connection: &Connection, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE signing_keys SET sealed = :sealed, secret = :secret
         WHERE generation = :generation AND kid = :kid AND sealed = :read_sealed AND secret IS :read_secret",
    )?;
    let updated = update.execute(named_params! {
        ":sealed": next.sealed,
        ":secret": next.secret,
        ":generation": read.generation.cast_signed(),
        ":kid": read.kid,
        ":read_sealed": read.sealed,
        ":read_secret": read.secret,
    })?;
    Ok(updated == 1)
}

/// Reads a row.
fn from_row(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    Ok(KeyRecord {
        generation: row.get::<_, i64>("generation")?.cast_unsigned(),
        kid: row.get("kid")?,
        algorithm: row.get("algorithm")?,
        sealed: row.get("sealed")?,
        secret: row.get("secret")?,
        published_at: row.get("published_at")?,
        sign_from: row.get("sign_from")?,
        retire_at: row.get("retire_at")?,
        drop_at: row.get("drop_at")?,
    })
}
