//! Clients that have registered themselves.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::Fault;
use super::limit::within;
use crate::ident::ClientId;
use crate::secret::ClientSecretHash;
use crate::store::ClientRecord;

/// Adds the row of a client.
pub(super) fn register(connection: &Connection, client: &ClientRecord, limit: u64) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO clients (client_id, metadata, secret, registration_token, registered_at, disposable_from)
         VALUES (:client_id, :metadata, :secret, :registration_token, :registered_at, :disposable_from)",
    )?;
    insert.execute(named_params! {
        ":client_id": client.id,
        ":metadata": client.metadata,
        ":secret": client.secret.as_ref().map(ClientSecretHash::as_bytes),
        ":registration_token": client.registration_token,
        ":registered_at": client.registered_at,
        ":disposable_from": client.disposable_from,
    })?;
    within(connection, "clients", limit)
}

/// The client of that name.
pub(super) fn read(connection: &Connection, id: &ClientId) -> Result<Option<ClientRecord>, Fault> {
    let mut select = connection.prepare_cached("SELECT * FROM clients WHERE client_id = ?1")?;
    Ok(select.query_one([id], from_row).optional()?)
}

/// The clients behind that of a name, by their names.
pub(super) fn list(connection: &Connection, after: Option<&ClientId>, limit: u32) -> Result<Vec<ClientRecord>, Fault> {
    let mut select =
        connection.prepare_cached("SELECT * FROM clients WHERE client_id > :after ORDER BY client_id LIMIT :limit")?;
    let after = after.map_or("", ClientId::as_str);
    let rows = select.query_map(named_params! { ":after": after, ":limit": limit }, from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Replaces what a client has registered, and its secret.
pub(super) fn update(connection: &Connection, client: &ClientRecord) -> Result<bool, Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE clients SET metadata = :metadata, secret = :secret, disposable_from = :disposable_from
         WHERE client_id = :client_id",
    )?;
    let updated = update.execute(named_params! {
        ":metadata": client.metadata,
        ":secret": client.secret.as_ref().map(ClientSecretHash::as_bytes),
        ":disposable_from": client.disposable_from,
        ":client_id": client.id,
    })?;
    Ok(updated == 1)
}

/// Removes a client; whether there was one.
pub(super) fn delete(connection: &Connection, id: &ClientId) -> Result<bool, Fault> {
    let mut delete = connection.prepare_cached("DELETE FROM clients WHERE client_id = ?1")?;
    Ok(delete.execute([id])? == 1)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ClientRecord> {
    let secret: Option<[u8; 32]> = row.get("secret")?;
    Ok(ClientRecord {
        id: row.get("client_id")?,
        metadata: row.get("metadata")?,
        secret: secret.map(ClientSecretHash::from_bytes),
        registration_token: row.get("registration_token")?,
        registered_at: row.get("registered_at")?,
        disposable_from: row.get("disposable_from")?,
    })
}
