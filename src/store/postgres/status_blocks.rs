//! Blocks of places in status lists.

use tokio_postgres::Row;

use super::column::Bytes;
use super::database::{Database, Fault};
use crate::clock::Timestamp;
use crate::store::status::BLOCKS_TRIED;
use crate::store::{GrantHandle, STATUS_BLOCKS, StatusBlock};

/// Leases the block whose lease was over first, or a new one. Each statement leases by itself: a lease whose answer is lost
/// is a block that nobody uses for a while.
pub(super) async fn lease(database: &Database, now: Timestamp, over: Timestamp) -> Result<StatusBlock, Fault> {
    let again = "UPDATE status_blocks SET over = $2
         WHERE block = (SELECT block FROM status_blocks WHERE over < $1 ORDER BY over, block LIMIT 1
                        FOR UPDATE SKIP LOCKED)
         RETURNING block";
    let mut crowded = Vec::new();
    while crowded.len() < BLOCKS_TRIED
        && let Some(row) = database.write(again, &[&now, &over]).await?.pop()
    {
        let block = with_grants(database, number(&row)?).await?;
        if !block.is_crowded() {
            return Ok(block);
        }
        crowded.push(block);
    }
    let begin = "INSERT INTO status_blocks (block, over)
         SELECT number, $1 FROM (SELECT nextval('status_blocks_begun') AS number) AS next
         WHERE number < $2 RETURNING block";
    match database.write(begin, &[&over, &i64::from(STATUS_BLOCKS)]).await?.pop() {
        Some(row) => Ok(StatusBlock::new(number(&row)?, [])),
        None => StatusBlock::roomiest(crowded).ok_or(Fault::Full),
    }
}

fn number(row: &Row) -> Result<u32, Fault> {
    u32::try_from(row.try_get::<_, i64>("block")?).map_err(|_| Fault::Full)
}

/// A block, and the places in it that grants have: their handles are next to each other.
async fn with_grants(database: &Database, number: u32) -> Result<StatusBlock, Fault> {
    let (first, behind) = StatusBlock::bounds(number);
    let select = "SELECT handle FROM grants WHERE handle >= $1 AND handle < $2";
    let rows = database.read(select, &[&Bytes(first), &Bytes(behind)]).await?;
    let handles = rows.iter().map(|row| row.try_get::<_, GrantHandle>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(StatusBlock::new(number, handles))
}
