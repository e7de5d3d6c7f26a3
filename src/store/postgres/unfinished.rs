//! Transactions that have written something and are not over: nobody sees yet what they have written.

use std::time::Duration;

use super::database::{Database, Fault};

/// For how long the one of them has gone on that began first; `None` if there is none.
///
/// A statement is over within its time limit, and then its transaction commits. That waits, if there is a synchronous standby,
/// until the standby has it: for as long as that one is away, whatever becomes of the caller, and no time limit of the server
/// counts for it (`statement_timeout` ends before the commit). What was written then has the time at which it was written, and
/// is seen by others when the wait is over. All the while the transaction has its number (`backend_xid`).
///
/// Of a session of another role it is not told when its transaction began: that one is taken to have begun long ago.
pub(super) async fn longest(database: &Database) -> Result<Option<Duration>, Fault> {
    let select =
        "SELECT (extract(epoch FROM clock_timestamp() - min(coalesce(xact_start, to_timestamp(0)))) * 1000)::bigint
         FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL";
    let Some(row) = database.read_one(select, &[]).await? else { return Ok(None) };
    let millis: Option<i64> = row.try_get(0)?;
    Ok(millis.map(|millis| Duration::from_millis(millis.max(0).cast_unsigned())))
}
