//! Removing what nothing living depends on.

use std::time::Duration;

use rusqlite::{Connection, named_params};

use super::Fault;
use crate::clock::Timestamp;
use crate::store::shares::Shares;

/// The statements that remove one kind of record. Each finds its rows by one index.
struct Kind {
    /// Whether they stay for a while after their end: so that replays of codes are still recognised for that long, a pushed
    /// request is not answered twice, and devices are told that theirs have expired.
    kept: bool,
    statements: &'static [&'static str],
}

const fn kept(statements: &'static [&'static str]) -> Kind {
    Kind { kept: true, statements }
}

const fn over(statements: &'static [&'static str]) -> Kind {
    Kind { kept: false, statements }
}

/// Every kind. People who are disabled stay: forgotten, they could sign in again. The newest signing key stays, so that
/// generations never repeat. Clients go that have registered themselves and of which nothing has come.
const KINDS: &[Kind] = &[
    kept(&["DELETE FROM codes WHERE digest IN (SELECT digest FROM codes WHERE expires_at < :before LIMIT :limit)"]),
    kept(&["DELETE FROM pushed_requests WHERE digest IN (
         SELECT digest FROM pushed_requests WHERE expires_at < :before LIMIT :limit)"]),
    kept(&["DELETE FROM devices WHERE digest IN (SELECT digest FROM devices WHERE expires_at < :before LIMIT :limit)"]),
    kept(&[
        "DELETE FROM grants WHERE handle IN (SELECT handle FROM grants WHERE ended_at < :before LIMIT :limit)",
        "DELETE FROM grants WHERE handle IN (SELECT handle FROM grants WHERE idle_expires_at < :before LIMIT :limit)",
        "DELETE FROM grants WHERE handle IN (SELECT handle FROM grants WHERE expires_at < :before LIMIT :limit)",
    ]),
    over(&[
        "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE expires_at < :before LIMIT :limit)",
        "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE idle_expires_at < :before LIMIT :limit)",
    ]),
    over(&["DELETE FROM session_clients WHERE (session_id, client_id) IN (
         SELECT session_id, client_id FROM session_clients WHERE expires_at < :before LIMIT :limit)"]),
    over(&["DELETE FROM people WHERE subject IN (
         SELECT subject FROM people WHERE needed_until < :before AND disabled = 0 LIMIT :limit)"]),
    over(&["DELETE FROM ended_transactions WHERE id IN (
         SELECT id FROM ended_transactions WHERE expires_at < :before LIMIT :limit)"]),
    over(&[
        "DELETE FROM assertions WHERE rowid IN (SELECT rowid FROM assertions WHERE expires_at < :before LIMIT :limit)",
    ]),
    over(&["DELETE FROM revocations WHERE token IN (
         SELECT token FROM revocations WHERE expires_at < :before LIMIT :limit)"]),
    over(&["DELETE FROM access_tokens WHERE rowid IN (
         SELECT rowid FROM access_tokens WHERE expires_at < :before LIMIT :limit)"]),
    over(&["DELETE FROM signing_keys WHERE generation IN (
         SELECT generation FROM signing_keys
         WHERE drop_at < :before AND generation < (SELECT max(generation) FROM signing_keys) LIMIT :limit)"]),
    over(&["DELETE FROM clients WHERE client_id IN (
         SELECT client_id FROM clients WHERE disposable_from < :before
           AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.client_id) LIMIT :limit)"]),
];

/// Removes at most `limit` rows, and gives how many it removed.
pub(super) fn sweep(connection: &Connection, now: Timestamp, kept: Duration, limit: u32) -> Result<u32, Fault> {
    let mut shares = Shares::of(limit, KINDS.len());
    while let Some(next @ (kind, share)) = shares.deal() {
        let Kind { kept: is_kept, statements } = &KINDS[kind];
        let before = if *is_kept { now.before(kept) } else { now };
        let mut left = share;
        for statement in *statements {
            let mut delete = connection.prepare_cached(statement)?;
            let removed = delete.execute(named_params! { ":before": before, ":limit": left })?;
            left = left.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX));
        }
        shares.took(next, share - left);
    }
    Ok(shares.removed())
}
