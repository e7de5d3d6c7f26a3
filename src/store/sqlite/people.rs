//! People whom somebody else vouches for.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::Fault;
use super::limit::within;
use crate::clock::Timestamp;
use crate::ident::Subject;
use crate::jose::{self, Json, Members};
use crate::store::PersonRecord;

/// Adds the row of a person, or takes over what is newer, unless they are disabled.
pub(super) fn remember(connection: &Connection, person: &PersonRecord, limit: u64) -> Result<bool, Fault> {
    let Some(mut known) = read(connection, &person.subject)? else {
        return insert(connection, person, limit).map(|()| true);
    };
    if known.disabled {
        return Ok(false);
    }
    known.update(person);
    let mut update = connection.prepare_cached(
        "UPDATE people SET name = :name, email = :email, claims = :claims, last_seen = :last_seen,
                           needed_until = :needed_until
         WHERE subject = :subject",
    )?;
    update.execute(named_params! {
        ":name": known.name,
        ":email": known.email,
        ":claims": claims_column(&known.claims),
        ":last_seen": known.last_seen,
        ":needed_until": known.needed_until,
        ":subject": known.subject,
    })?;
    Ok(true)
}

/// The person of that subject, disabled or not.
pub(super) fn read(connection: &Connection, subject: &Subject) -> Result<Option<PersonRecord>, Fault> {
    let mut select = connection.prepare_cached("SELECT * FROM people WHERE subject = :subject")?;
    Ok(select.query_one(named_params! { ":subject": subject }, from_row).optional()?)
}

/// Disables a person, and adds the row of one whom nobody has seen.
pub(super) fn disable(connection: &Connection, subject: &Subject, now: Timestamp, limit: u64) -> Result<(), Fault> {
    let mut update = connection.prepare_cached("UPDATE people SET disabled = 1 WHERE subject = :subject")?;
    match update.execute(named_params! { ":subject": subject })? {
        0 => insert(connection, &PersonRecord::unseen(subject, now), limit),
        _ => Ok(()),
    }
}

/// Enables a person.
pub(super) fn enable(connection: &Connection, subject: &Subject) -> Result<(), Fault> {
    let mut update = connection.prepare_cached("UPDATE people SET disabled = 0 WHERE subject = :subject")?;
    update.execute(named_params! { ":subject": subject })?;
    Ok(())
}

fn insert(connection: &Connection, person: &PersonRecord, limit: u64) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO people (subject, name, email, claims, disabled, last_seen, needed_until)
         VALUES (:subject, :name, :email, :claims, :disabled, :last_seen, :needed_until)",
    )?;
    insert.execute(named_params! {
        ":subject": person.subject,
        ":name": person.name,
        ":email": person.email,
        ":claims": claims_column(&person.claims),
        ":disabled": person.disabled,
        ":last_seen": person.last_seen,
        ":needed_until": person.needed_until,
    })?;
    within(connection, "people", limit)
}

/// Reads a row.
fn from_row(row: &Row<'_>) -> rusqlite::Result<PersonRecord> {
    Ok(PersonRecord {
        subject: row.get("subject")?,
        name: row.get("name")?,
        email: row.get("email")?,
        claims: claims(row)?,
        disabled: row.get("disabled")?,
        last_seen: row.get("last_seen")?,
        needed_until: row.get("needed_until")?,
    })
}

fn claims(row: &Row<'_>) -> rusqlite::Result<Members> {
    let column = row.as_ref().column_index("claims")?;
    let text: String = row.get(column)?;
    jose::object(text.as_bytes())
        .map_err(|fault| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(fault)))
}

fn claims_column(claims: &Members) -> String {
    Json::Object(claims.clone()).to_string()
}
