//! Signing keys.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::database::{Database, Fault};
use crate::store::{KeyRecord, Rescheduled};

const SELECT: &str = "SELECT generation, kid, algorithm, sealed, secret, published_at, sign_from, retire_at, drop_at
     FROM signing_keys ORDER BY generation";

/// All keys, by generation.
pub(super) async fn read(database: &Database) -> Result<Vec<KeyRecord>, Fault> {
    database.read(SELECT, &[]).await?.iter().map(from_row).collect()
}

/// Adds a key and reschedules earlier ones, unless its generation exists or one of those is not as it was read.
pub(super) async fn add(database: &Database, key: &KeyRecord, rescheduled: &[Rescheduled]) -> Result<bool, Fault> {
    let steps = async |transaction: &Transaction<'_>| {
        // Locked, so that whoever changes one of them comes before this or after it.
        let held = transaction.query(&format!("{SELECT} FOR UPDATE"), &[]).await?;
        let held: Vec<_> = held.iter().map(from_row).collect::<Result<_, _>>()?;
        let is_as_read = |earlier: &Rescheduled| held.contains(&earlier.read);
        if !rescheduled.iter().all(is_as_read) || !insert(transaction, key).await? {
            return Ok(false);
        }
        for Rescheduled { next, .. } in rescheduled {
            let update = "UPDATE signing_keys SET published_at = $1, sign_from = $2, retire_at = $3, drop_at = $4
                 WHERE generation = $5";
            let KeyRecord { published_at, sign_from, retire_at, drop_at, .. } = next;
            let generation = next.generation.cast_signed();
            transaction.execute(update, &[published_at, sign_from, retire_at, drop_at, &generation]).await?;
        }
        Ok(true)
    };
    database.transact(steps).await
}

/// Adds a key, unless its generation exists: then nothing is changed.
async fn insert(transaction: &Transaction<'_>, key: &KeyRecord) -> Result<bool, Fault> {
    let insert = "INSERT INTO signing_keys
           (generation, kid, algorithm, sealed, secret, published_at, sign_from, retire_at, drop_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (generation) DO NOTHING";
    let added = transaction
        .execute(
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
            ],
        )
        .await?;
    Ok(added == 1)
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
