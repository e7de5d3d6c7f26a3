//! Signing keys.

use tokio_postgres::Row;

use super::database::{Database, Fault};
use crate::clock::Timestamp;
use crate::store::KeyRecord;

/// All keys, by generation.
pub(super) async fn read(database: &Database) -> Result<Vec<KeyRecord>, Fault> {
    let select = "SELECT generation, kid, algorithm, sealed, secret, published_at, sign_from, retire_at, drop_at
         FROM signing_keys ORDER BY generation";
    database.read(select, &[]).await?.iter().map(from_row).collect()
}

/// Adds a key and reschedules earlier ones, unless its generation exists.
pub(super) async fn add(database: &Database, key: &KeyRecord, rescheduled: &[KeyRecord]) -> Result<bool, Fault> {
    let insert = "WITH added AS (
           INSERT INTO signing_keys
             (generation, kid, algorithm, sealed, secret, published_at, sign_from, retire_at, drop_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (generation) DO NOTHING RETURNING 1),
         moved AS (
           UPDATE signing_keys SET published_at = earlier.published_at, sign_from = earlier.sign_from,
                                   retire_at = earlier.retire_at, drop_at = earlier.drop_at
           FROM unnest($10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
                  AS earlier (generation, published_at, sign_from, retire_at, drop_at), added
           WHERE signing_keys.generation = earlier.generation)
         SELECT 1 FROM added";
    let times = |time: fn(&KeyRecord) -> Timestamp| rescheduled.iter().map(time).collect::<Vec<_>>();
    database
        .changes(
            insert,
            &[
                &key.generation.cast_signed(),
                &key.kid,
                &key.algorithm,
                &key.sealed,
                &key.secret,
                &key.published_at,
                &key.sign_from,
                &key.retire_at,
                &key.drop_at,
                &rescheduled.iter().map(|key| key.generation.cast_signed()).collect::<Vec<_>>(),
                &times(|key| key.published_at),
                &times(|key| key.sign_from),
                &times(|key| key.retire_at),
                &times(|key| key.drop_at),
            ],
        )
        .await
}

/// Puts another schedule of a key in place, if it has the one that was read.
pub(super) async fn reschedule(database: &Database, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Fault> {
    let update = "UPDATE signing_keys SET published_at = $1, sign_from = $2, retire_at = $3, drop_at = $4
         WHERE generation = $5 AND kid = $6 AND published_at = $7 AND sign_from = $8 AND retire_at = $9
           AND drop_at = $10 RETURNING 1";
    database
        .changes(
            update,
            &[
                &next.published_at,
                &next.sign_from,
                &next.retire_at,
                &next.drop_at,
                &read.generation.cast_signed(),
                &read.kid,
                &read.published_at,
                &read.sign_from,
                &read.retire_at,
                &read.drop_at,
            ],
        )
        .await
}

/// Puts other seals of a key and its secret in place, if they have those that were read.
pub(super) async fn reseal(database: &Database, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Fault> {
    let update = "UPDATE signing_keys SET sealed = $1, secret = $2
         WHERE generation = $3 AND kid = $4 AND sealed = $5 AND secret IS NOT DISTINCT FROM $6 RETURNING 1";
    let generation = read.generation.cast_signed();
    database.changes(update, &[&next.sealed, &next.secret, &generation, &read.kid, &read.sealed, &read.secret]).await
}

/// Reads a row.
fn from_row(row: &Row) -> Result<KeyRecord, Fault> {
    Ok(KeyRecord {
        generation: row.try_get::<_, i64>("generation")?.cast_unsigned(),
        kid: row.try_get("kid")?,
        algorithm: row.try_get("algorithm")?,
        sealed: row.try_get("sealed")?,
        secret: row.try_get("secret")?,
        published_at: row.try_get("published_at")?,
        sign_from: row.try_get("sign_from")?,
        retire_at: row.try_get("retire_at")?,
        drop_at: row.try_get("drop_at")?,
    })
}
