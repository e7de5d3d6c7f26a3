//! Removing what nothing living depends on.

use std::time::Duration;

use super::database::{Database, Fault};
use crate::clock::Timestamp;
use crate::store::shares::Shares;

/// How far our clock may differ from the database's. What a clock that jumped ahead takes for over may live.
const AHEAD: Duration = Duration::from_mins(1);

/// How long the last sign of life of a process is kept. What it may have seen was over long ago.
const LIFE_KEPT: Duration = Duration::from_hours(24);

/// The statement that removes one kind of record.
struct Kind {
    /// Whether they stay for a while after their end: so that replays of codes are still recognised for that long, a pushed
    /// request is not answered twice, and devices are told that theirs have expired.
    kept: bool,
    statement: &'static str,
}

const fn kept(statement: &'static str) -> Kind {
    Kind { kept: true, statement }
}

const fn over(statement: &'static str) -> Kind {
    Kind { kept: false, statement }
}

/// Every kind. Each statement finds the rows that ended before `$1` by one index, and passes over those that somebody is
/// just about to change. People who are disabled stay: forgotten, they could sign in again. The newest signing key stays, so
/// that generations never repeat. Clients go that have registered themselves and of which nothing has come.
const KINDS: &[Kind] = &[
    kept(
        "DELETE FROM codes WHERE digest IN (
           SELECT digest FROM codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    kept(
        "DELETE FROM pushed_requests WHERE digest IN (
           SELECT digest FROM pushed_requests WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    kept(
        "DELETE FROM devices WHERE digest IN (
           SELECT digest FROM devices WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    kept(
        "DELETE FROM grants WHERE handle IN (
           SELECT handle FROM grants WHERE due < $1 AND least(idle_expires_at, expires_at, ended_at) < $1
           ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM sessions WHERE digest IN (
           SELECT digest FROM sessions WHERE due < $1 AND least(idle_expires_at, expires_at) < $1
           ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM session_clients WHERE (session_id, client_id) IN (
           SELECT session_id, client_id FROM session_clients WHERE expires_at < $1
           ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM people WHERE subject IN (
           SELECT subject FROM people WHERE needed_until < $1 AND NOT disabled
           ORDER BY needed_until LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM ended_transactions WHERE transaction_id IN (
           SELECT transaction_id FROM ended_transactions WHERE expires_at < $1
           ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM assertions WHERE key IN (
           SELECT key FROM assertions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM revocations WHERE token IN (
           SELECT token FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM access_tokens WHERE digest IN (
           SELECT digest FROM access_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
    over(
        "DELETE FROM signing_keys WHERE generation IN (
           SELECT generation FROM signing_keys
           WHERE drop_at < $1 AND generation < (SELECT max(generation) FROM signing_keys) LIMIT $2)",
    ),
    over(
        "DELETE FROM clients WHERE client_id IN (
           SELECT client_id FROM clients WHERE disposable_from < $1
             AND NOT EXISTS (SELECT FROM grants WHERE grants.client_id = clients.client_id)
           ORDER BY disposable_from LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ),
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
        if database_now > now + AHEAD {
            tracing::warn!("the clock is behind the database's: what it takes for good may be over");
        }
        let mut shares = Shares::of(limit, KINDS.len());
        while let Some(next @ (kind, share)) = shares.deal() {
            let Kind { kept: is_kept, statement } = &KINDS[kind];
            let before = if *is_kept { now.before(kept) } else { now };
            let delete = transaction.prepare_cached(statement).await?;
            let removed = transaction.execute(&delete, &[&before, &i64::from(share)]).await?;
            let removed = u32::try_from(removed).unwrap_or(u32::MAX).min(share);
            shares.took(next, removed);
        }
        let lives = transaction.prepare_cached("DELETE FROM lives WHERE at < $1").await?;
        transaction.execute(&lives, &[&now.before(LIFE_KEPT)]).await?;
        Ok(shares.removed())
    };
    database.transact(steps).await
}
