//! Places in status lists: leased in blocks, and part of the names of what ends with them, so that no row holds them.

use super::{GrantHandle, TokenName};
use crate::jose::Json;
use crate::secret::sha256;
use crate::token::{StatusIndex, StatusReference, VerifiedToken};

/// How many places one block has.
pub const STATUS_BLOCK: u32 = 4_096;

/// How many blocks there are.
pub const STATUS_BLOCKS: u32 = StatusIndex::COUNT / STATUS_BLOCK;

/// How many blocks in which little is left are passed over before a new one is begun.
pub(super) const BLOCKS_TRIED: usize = 8;

/// What handles with a place end in. One that was drawn without a place has these bytes once in four thousand million times.
const PLACED: [u8; 4] = *b"stat";

/// What names of tokens with a place begin with; a hash does so once in four thousand million times.
const NAMED: [u8; 4] = [0; 4];

/// Places that were leased.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusBlock {
    /// The number of the block.
    pub number: u32,
    /// The places in it that grants still have.
    pub used: Vec<StatusIndex>,
}

impl StatusBlock {
    /// A block that was leased, where these are the handles of grants that have a place in it.
    pub(super) fn new(number: u32, handles: impl IntoIterator<Item = GrantHandle>) -> Self {
        Self { number, used: handles.into_iter().filter_map(GrantHandle::place).collect() }
    }

    /// Whether there is so little left in it that another one had better be begun.
    pub(super) fn is_crowded(&self) -> bool {
        self.used.len() as u64 > u64::from(STATUS_BLOCK / 2)
    }

    /// The one of these in which most is left.
    pub(super) fn roomiest(blocks: Vec<Self>) -> Option<Self> {
        blocks.into_iter().min_by_key(|block| block.used.len())
    }

    /// The first handle that has a place in a block of this number, and the first one behind those.
    pub(super) fn bounds(number: u32) -> ([u8; 16], [u8; 16]) {
        let bound = |number: u32| {
            let mut handle = [0; 16];
            handle[..4].copy_from_slice(&(number * STATUS_BLOCK).to_be_bytes());
            handle
        };
        (bound(number), bound(number + 1))
    }

    /// The places in it that nobody has.
    #[must_use]
    pub fn free(&self) -> Vec<StatusIndex> {
        let first = self.number * STATUS_BLOCK;
        let used: std::collections::HashSet<_> = self.used.iter().copied().collect();
        (first..first + STATUS_BLOCK).filter_map(StatusIndex::new).filter(|place| !used.contains(place)).collect()
    }
}

impl GrantHandle {
    /// A handle with this place, and as much of this one as there is room for: 64 random bits.
    #[must_use]
    pub fn at(self, place: StatusIndex) -> Self {
        let mut handle = self.0;
        handle[..4].copy_from_slice(&place.number().to_be_bytes());
        handle[12..].copy_from_slice(&PLACED);
        Self(handle)
    }

    /// The place of its tokens, if it began where there were status lists.
    #[must_use]
    pub fn place(self) -> Option<StatusIndex> {
        let (place, mark) = (self.0.first_chunk()?, self.0.last_chunk()?);
        StatusIndex::new(u32::from_be_bytes(*place)).filter(|_| *mark == PLACED)
    }
}

impl TokenName {
    /// The name by which a token of ours is revoked. If it has a place in a status list for itself, that is part of it.
    #[must_use]
    pub fn of(token: &VerifiedToken) -> Self {
        let jti = token.claims().get("jti").and_then(Json::as_str).unwrap_or_default();
        let mut name = sha256(jti.as_bytes());
        // The place of a grant is not one of a token: one that was got in exchange does not end the others.
        let named = match GrantHandle::of(token) {
            None => StatusReference::of(token.claims()),
            Some(_) => StatusReference::of_token_alone(token.claims()),
        };
        if let Ok(Some(named)) = named
            && let Some(place) = StatusIndex::of_own(named)
        {
            name[..4].copy_from_slice(&NAMED);
            name[4..8].copy_from_slice(&place.number().to_be_bytes());
        }
        Self(name)
    }

    /// The place that its token has for itself.
    #[must_use]
    pub fn place(self) -> Option<StatusIndex> {
        let (mark, rest) = self.0.split_first_chunk()?;
        StatusIndex::new(u32::from_be_bytes(*rest.first_chunk()?)).filter(|_| *mark == NAMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_keeps_its_place_and_one_without_has_none() {
        let place = StatusIndex::new(4_711).expect("a place");
        let handle = GrantHandle([7; 16]).at(place);
        assert_eq!(handle.place(), Some(place));
        assert_eq!(handle.0[4..12], [7; 8]);
        assert_eq!(GrantHandle([7; 16]).place(), None);
        assert_eq!(GrantHandle([0; 16]).place(), None);
        let (first, behind) = StatusBlock::bounds(1);
        assert!(first <= handle.0 && handle.0 < behind);
    }

    #[test]
    fn a_block_gives_what_grants_have_not() {
        let used = GrantHandle([7; 16]).at(StatusIndex::new(STATUS_BLOCK + 1).expect("a place"));
        let block = StatusBlock::new(1, [used, GrantHandle([9; 16])]);
        let free = block.free();
        assert_eq!(free.len(), STATUS_BLOCK as usize - 1);
        assert!(!free.iter().any(|place| Some(*place) == used.place()));
        assert!(!block.is_crowded());
    }
}
