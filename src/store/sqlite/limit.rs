//! The bounds of tables.

use rusqlite::Connection;

use super::Fault;

/// Fails the call that has just added a record to a table that was full; the writer then takes the record out again.
pub(super) fn within(connection: &Connection, table: &str, limit: u64) -> Result<(), Fault> {
    let mut count = connection.prepare_cached("SELECT number FROM held WHERE records_of = ?1")?;
    let number: i64 = count.query_one([table], |row| row.get(0))?;
    if u64::try_from(number).is_ok_and(|number| number <= limit) { Ok(()) } else { Err(Fault::Full) }
}
