//! People whom somebody else vouches for.

use super::column::{AnyText, ReadText};
use super::database::{Database, Fault};
use super::limit::bound;
use crate::clock::Timestamp;
use crate::ident::Subject;
use crate::jose::{self, Json, Members};
use crate::store::PersonRecord;
use crate::store::record::UnknownName;

/// Adds the row of a person, or takes over what is newer, unless they are disabled.
pub(super) async fn remember(database: &Database, person: &PersonRecord, limit: u64) -> Result<bool, Fault> {
    let insert = "INSERT INTO people (subject, name, email, claims, disabled, last_seen, needed_until)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE holds('people') < $8 OR EXISTS (SELECT FROM people WHERE subject = $1)
         ON CONFLICT (subject) DO UPDATE SET
           name = excluded.name, email = excluded.email, claims = excluded.claims, last_seen = excluded.last_seen,
           needed_until = greatest(people.needed_until, excluded.needed_until)
         WHERE NOT people.disabled RETURNING 1";
    if add(database, insert, person, limit).await? {
        return Ok(true);
    }
    let known = database.finds("SELECT 1 FROM people WHERE subject = $1", &[&person.subject]).await?;
    if known { Ok(false) } else { Err(Fault::Full) }
}

/// The person of that subject, disabled or not.
pub(super) async fn read(database: &Database, subject: &Subject) -> Result<Option<PersonRecord>, Fault> {
    let select =
        "SELECT subject, name, email, claims, disabled, last_seen, needed_until FROM people WHERE subject = $1";
    let Some(row) = database.read_one(select, &[subject]).await? else { return Ok(None) };
    let claims: &str = row.try_get("claims")?;
    Ok(Some(PersonRecord {
        subject: row.try_get("subject")?,
        name: row.try_get::<_, ReadText>("name")?.0,
        email: row.try_get::<_, Option<ReadText>>("email")?.map(|email| email.0),
        claims: jose::object(claims.as_bytes()).map_err(|_| UnknownName)?,
        disabled: row.try_get("disabled")?,
        last_seen: row.try_get("last_seen")?,
        needed_until: row.try_get("needed_until")?,
    }))
}

/// Disables a person, and adds the row of one whom nobody has seen.
pub(super) async fn disable(database: &Database, subject: &Subject, now: Timestamp, limit: u64) -> Result<(), Fault> {
    let insert = "INSERT INTO people (subject, name, email, claims, disabled, last_seen, needed_until)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE holds('people') < $8 OR EXISTS (SELECT FROM people WHERE subject = $1)
         ON CONFLICT (subject) DO UPDATE SET disabled = true RETURNING 1";
    let disabled = add(database, insert, &PersonRecord::unseen(subject, now), limit).await?;
    if disabled { Ok(()) } else { Err(Fault::Full) }
}

/// Enables a person.
pub(super) async fn enable(database: &Database, subject: &Subject) -> Result<(), Fault> {
    database.write("UPDATE people SET disabled = false WHERE subject = $1", &[subject]).await.map(drop)
}

async fn add(database: &Database, insert: &str, person: &PersonRecord, limit: u64) -> Result<bool, Fault> {
    database
        .changes(
            insert,
            &[
                &person.subject,
                &AnyText(&person.name),
                &person.email.as_deref().map(AnyText),
                &claims_column(&person.claims),
                &person.disabled,
                &person.last_seen,
                &person.needed_until,
                &bound(limit),
            ],
        )
        .await
}

fn claims_column(claims: &Members) -> String {
    Json::Object(claims.clone()).to_string()
}
