//! The bounds of tables: `holds('table') < $n` in the statement that adds a record. Of those who add the last ones at the
//! same moment, each may miss the others, so that a table may hold a few more than its bound.

/// A bound, for a statement.
pub(super) fn bound(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
