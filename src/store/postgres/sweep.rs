//! Removing what nothing living depends on.

use std::time::Duration;

use super::database::{Database, Fault};
use crate::clock::Timestamp;

/// How far our clock may be ahead of the database's. What a clock that jumped ahead takes for over may live.
const AHEAD: Duration = Duration::from_mins(1);

/// How long the last sign of life of a process is kept. What it may have seen was over long ago.
const LIFE_KEPT: Duration = Duration::from_hours(24);

/// Removes rows that ended before `$1`: a while ago, so that replays of their codes are still recognised for that
/// long, a pushed request is not answered twice, and devices are told that theirs have expired. Each statement finds its
/// rows by one index, and passes over those that somebody is just about to change.
const KEPT: &[&str] = &[
    "DELETE FROM codes WHERE digest IN (
       SELECT digest FROM codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM pushed_requests WHERE digest IN (
       SELECT digest FROM pushed_requests WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM devices WHERE digest IN (
       SELECT digest FROM devices WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM grants WHERE handle IN (
       SELECT handle FROM grants WHERE due < $1 AND least(idle_expires_at, expires_at, ended_at) < $1
       ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED)",
];

/// Removes rows whose time is over. People who are disabled stay: forgotten, they could sign in again. The
/// newest signing key stays, so that generations never repeat.
const OVER: &[&str] = &[
    "DELETE FROM sessions WHERE digest IN (
       SELECT digest FROM sessions WHERE due < $1 AND least(idle_expires_at, expires_at) < $1
       ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM session_clients WHERE (session_id, client_id) IN (
       SELECT session_id, client_id FROM session_clients WHERE expires_at < $1
       ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM people WHERE subject IN (
       SELECT subject FROM people WHERE needed_until < $1 AND NOT disabled
       ORDER BY needed_until LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM ended_transactions WHERE transaction_id IN (
       SELECT transaction_id FROM ended_transactions WHERE expires_at < $1
       ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM assertions WHERE key IN (
       SELECT key FROM assertions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM revocations WHERE token IN (
       SELECT token FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM access_tokens WHERE digest IN (
       SELECT digest FROM access_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM signing_keys WHERE generation IN (
       SELECT generation FROM signing_keys
       WHERE drop_at < $1 AND generation < (SELECT max(generation) FROM signing_keys) LIMIT $2)",
];

/// Lets one process at a time sweep, and gives the time of the database.
const LEAD: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended('tollgate sweeper of ' || current_schema(), 0)),
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Removes at most `limit` rows, and gives how many it removed: none if another process sweeps, or if our clock is ahead.
pub(super) async fn sweep(database: &Database, now: Timestamp, kept: Duration, limit: u32) -> Result<u32, Fault> {
    let steps = async |transaction: &deadpool_postgres::Transaction<'_>| {
        let lead = transaction.query_one(&transaction.prepare_cached(LEAD).await?, &[]).await?;
        let (leads, database_now): (bool, Timestamp) = (lead.try_get(0)?, lead.try_get(1)?);
        if !leads {
            return Ok(0);
        }
        if now > database_now + AHEAD {
            tracing::warn!("the clock is ahead of the database's: nothing is swept in this round");
            return Ok(0);
        }
        let mut left = limit;
        for (statements, before) in [(KEPT, now.before(kept)), (OVER, now)] {
            for statement in statements {
                let delete = transaction.prepare_cached(statement).await?;
                let removed = transaction.execute(&delete, &[&before, &i64::from(left)]).await?;
                left = left.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX));
            }
        }
        let lives = transaction.prepare_cached("DELETE FROM lives WHERE at < $1").await?;
        transaction.execute(&lives, &[&now.before(LIFE_KEPT)]).await?;
        Ok(limit - left)
    };
    database.transact(steps).await
}
