//! Clients that have registered themselves.

use tokio_postgres::Row;

use super::column::Bytes;
use super::database::{Database, Fault};
use super::limit::bound;
use crate::ident::ClientId;
use crate::secret::ClientSecretHash;
use crate::store::ClientRecord;

/// Adds the row of a client.
pub(super) async fn register(database: &Database, client: &ClientRecord, limit: u64) -> Result<(), Fault> {
    let insert = "INSERT INTO clients (client_id, metadata, secret, registration_token, registered_at, disposable_from)
         SELECT $1, $2, $3, $4, $5, $6 WHERE holds('clients') < $7 RETURNING 1";
    let registered = database
        .changes(
            insert,
            &[
                &client.id,
                &client.metadata,
                &secret(client),
                &client.registration_token,
                &client.registered_at,
                &client.disposable_from,
                &bound(limit),
            ],
        )
        .await?;
    if registered { Ok(()) } else { Err(Fault::Full) }
}

/// The client of that name.
pub(super) async fn read(database: &Database, id: &ClientId) -> Result<Option<ClientRecord>, Fault> {
    let select = "SELECT client_id, metadata, secret, registration_token, registered_at, disposable_from
         FROM clients WHERE client_id = $1";
    database.read_one(select, &[id]).await?.as_ref().map(from_row).transpose()
}

/// The clients behind that of a name, by their names: in the order of their bytes, whatever the language of the database.
pub(super) async fn list(
    database: &Database,
    after: Option<&ClientId>,
    limit: u32,
) -> Result<Vec<ClientRecord>, Fault> {
    let select = "SELECT client_id, metadata, secret, registration_token, registered_at, disposable_from
         FROM clients WHERE client_id COLLATE \"C\" > $1 ORDER BY client_id COLLATE \"C\" LIMIT $2";
    let after = after.map_or("", ClientId::as_str);
    database.read(select, &[&after, &i64::from(limit)]).await?.iter().map(from_row).collect()
}

/// Replaces what a client has registered, and its secret.
pub(super) async fn update(database: &Database, client: &ClientRecord) -> Result<bool, Fault> {
    let update = "UPDATE clients SET metadata = $1, secret = $2, disposable_from = $3 WHERE client_id = $4 RETURNING 1";
    database.changes(update, &[&client.metadata, &secret(client), &client.disposable_from, &client.id]).await
}

/// Removes a client; whether there was one.
pub(super) async fn delete(database: &Database, id: &ClientId) -> Result<bool, Fault> {
    database.changes("DELETE FROM clients WHERE client_id = $1 RETURNING 1", &[id]).await
}

fn secret(client: &ClientRecord) -> Option<Bytes<32>> {
    client.secret.as_ref().map(|hash| Bytes(*hash.as_bytes()))
}

/// Reads a row.
fn from_row(row: &Row) -> Result<ClientRecord, Fault> {
    let secret: Option<Bytes<32>> = row.try_get("secret")?;
    Ok(ClientRecord {
        id: row.try_get("client_id")?,
        metadata: row.try_get("metadata")?,
        secret: secret.map(|Bytes(hash)| ClientSecretHash::from_bytes(hash)),
        registration_token: row.try_get("registration_token")?,
        registered_at: row.try_get("registered_at")?,
        disposable_from: row.try_get("disposable_from")?,
    })
}
