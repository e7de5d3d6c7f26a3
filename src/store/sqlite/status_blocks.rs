//! Blocks of places in status lists.

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::Fault;
use crate::clock::Timestamp;
use crate::store::status::BLOCKS_TRIED;
use crate::store::{GrantHandle, STATUS_BLOCKS, StatusBlock};

/// Leases the block whose lease was over first, or a new one.
pub(super) fn lease(connection: &Connection, now: Timestamp, over: Timestamp) -> Result<StatusBlock, Fault> {
    let mut again = connection.prepare_cached(
        "UPDATE status_blocks SET over = :over
         WHERE block = (SELECT block FROM status_blocks WHERE over < :now ORDER BY over, block LIMIT 1)
         RETURNING block",
    )?;
    let mut crowded = Vec::new();
    while crowded.len() < BLOCKS_TRIED
        && let Some(number) =
            again.query_one(named_params! { ":now": now, ":over": over }, |row| row.get(0)).optional()?
    {
        let block = with_grants(connection, number)?;
        if !block.is_crowded() {
            return Ok(block);
        }
        crowded.push(block);
    }
    let mut begin = connection.prepare_cached(
        "INSERT INTO status_blocks (block, over)
         SELECT number, :over FROM (SELECT coalesce(max(block) + 1, 0) AS number FROM status_blocks)
         WHERE number < :blocks RETURNING block",
    )?;
    let begun =
        begin.query_one(named_params! { ":over": over, ":blocks": STATUS_BLOCKS }, |row| row.get(0)).optional()?;
    begun.map(|number| StatusBlock::new(number, [])).or_else(|| StatusBlock::roomiest(crowded)).ok_or(Fault::Full)
}

/// A block, and the places in it that grants have: their handles are next to each other.
fn with_grants(connection: &Connection, number: u32) -> Result<StatusBlock, Fault> {
    let (first, behind) = StatusBlock::bounds(number);
    let mut select = connection.prepare_cached("SELECT handle FROM grants WHERE handle >= ?1 AND handle < ?2")?;
    let handles = select.query_map([first, behind], |row| row.get(0).map(GrantHandle))?;
    Ok(StatusBlock::new(number, handles.collect::<Result<Vec<_>, _>>()?))
}
