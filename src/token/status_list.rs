//! Token Status List (draft-ietf-oauth-status-list-20): which tokens are over before their time, a few bits each.
//!
//! A token names its place in a list. Whoever holds the list, and refreshes it now and then, needs to ask nobody.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use super::{KeyLookup, KeysFault};
use crate::clock::Timestamp;
use crate::jose::{Algorithm, Json, Jws, Members};
use crate::secret::{base64url, from_base64url};
use crate::unavailable::Unavailable;

/// The `typ` of a list (§5.1).
pub const STATUS_LIST_TYPE: &str = "statuslist+jwt";

/// The media type of a list (§8.1).
pub const STATUS_LIST_MEDIA_TYPE: &str = "application/statuslist+jwt";

/// How many places a list of ours has: all lists are equally long, whatever is in them.
pub const STATUS_LIST_LENGTH: u32 = 1 << 20;

/// How many lists of ours there are.
pub const STATUS_LISTS: u32 = 16;

/// The longest list of anybody that is looked at, in bytes: as it comes, and unpacked.
pub const STATUS_LIST_LIMITS: (usize, usize) = (4 * 1024 * 1024, 16 * 1024 * 1024);

/// A place in the lists of this issuer, all lists together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StatusIndex(u32);

impl StatusIndex {
    /// How many places there are in all lists.
    pub const COUNT: u32 = STATUS_LISTS * STATUS_LIST_LENGTH;

    /// The place of that number, if there is one.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its list.
    #[must_use]
    pub fn list(self) -> u32 {
        self.0 / STATUS_LIST_LENGTH
    }

    /// Where it is in that list: `idx`.
    #[must_use]
    pub fn place(self) -> u32 {
        self.0 % STATUS_LIST_LENGTH
    }

    /// The place that a token of ours names; its signature was verified.
    #[must_use]
    pub fn of_own(named: StatusReference<'_>) -> Option<Self> {
        let list: u32 = named.uri.rsplit('/').next()?.parse().ok().filter(|list| *list < STATUS_LISTS)?;
        let place = u32::try_from(named.idx).ok().filter(|place| *place < STATUS_LIST_LENGTH)?;
        Some(Self(list * STATUS_LIST_LENGTH + place))
    }
}

/// The member of `status` that names the place which a token has for itself, beside that of its grant.
///
/// A token that was got in exchange is over when the grant of the subject token is, and when it is revoked itself: two places.
/// `status_list` has room for one (§6.2), which is that of the grant, so that a gate of anybody's refuses the token when the
/// grant ends. The other one is in a member of `status` beside it: whoever does not know that ignores it (§6.1: `status` is
/// like `cnf`, and others may define members). What was not done instead:
///
/// - the place of its own in `status_list`, and that of the grant read from `grant_id`: only our gates would refuse the token
///   when the grant ends, which happens far more often than that such a token is revoked;
/// - one place that is marked in both cases: a grant would have to know the places of all that was got for its tokens, with a
///   row for each exchange, which writes none now.
const OF_TOKEN_ALONE: &str = "tollgate_status_list";

/// The `status` claim of a token (§6.1).
#[derive(Debug, Serialize)]
pub struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    status_list: Option<StatusAt>,
    /// [`OF_TOKEN_ALONE`].
    #[serde(rename = "tollgate_status_list", skip_serializing_if = "Option::is_none")]
    of_token_alone: Option<StatusAt>,
}

/// The `status_list` in it (§6.2).
#[derive(Debug, Serialize)]
struct StatusAt {
    idx: u32,
    uri: String,
}

impl Status {
    /// These places, in lists at the URLs that `uri` gives: that at which everybody looks, and beside it the one which a token
    /// of a grant has for itself. `None` if there is neither.
    #[must_use]
    pub fn at(
        place: Option<StatusIndex>,
        of_token_alone: Option<StatusIndex>,
        uri: impl Fn(StatusIndex) -> String,
    ) -> Option<Self> {
        let at = |index: StatusIndex| StatusAt { idx: index.place(), uri: uri(index) };
        let (status_list, of_token_alone) = (place.map(at), of_token_alone.map(at));
        let is_empty = status_list.is_none() && of_token_alone.is_none();
        (!is_empty).then_some(Self { status_list, of_token_alone })
    }
}

/// Where the status of somebody's token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusReference<'a> {
    /// The list.
    pub uri: &'a str,
    /// The place in it.
    pub idx: u64,
}

/// A status that names no place: the token may have been revoked, and nobody can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusUnreadable;

impl<'a> StatusReference<'a> {
    /// The one that claims hold; `None` if they hold none, or a status of another kind (§6.1).
    ///
    /// # Errors
    /// [`StatusUnreadable`].
    pub fn of(claims: &'a Members) -> Result<Option<Self>, StatusUnreadable> {
        Self::member(claims, "status_list")
    }

    /// The place that a token of a grant has for itself, which the same issuer tells of in the same way; `None` if it has none.
    ///
    /// # Errors
    /// [`StatusUnreadable`].
    pub fn of_token_alone(claims: &'a Members) -> Result<Option<Self>, StatusUnreadable> {
        Self::member(claims, OF_TOKEN_ALONE)
    }

    fn member(claims: &'a Members, name: &str) -> Result<Option<Self>, StatusUnreadable> {
        let Some(status) = claims.get("status") else { return Ok(None) };
        let Some(at) = status.as_object().ok_or(StatusUnreadable)?.get(name) else { return Ok(None) };
        let uri = at.get("uri").and_then(Json::as_str).ok_or(StatusUnreadable)?;
        let idx = at.get("idx").and_then(Json::as_u64).ok_or(StatusUnreadable)?;
        Ok(Some(Self { uri, idx }))
    }
}

/// What a list of ours says (§5.1).
#[derive(Debug, Serialize)]
pub struct StatusListClaims<'a> {
    /// Its own URL.
    pub sub: &'a str,
    /// When it was true, in seconds since the epoch.
    pub iat: i64,
    /// When it stops being believed, in seconds since the epoch.
    pub exp: i64,
    /// After how many seconds there is a newer one.
    pub ttl: u64,
    /// The list.
    pub status_list: PackedList<'a>,
}

/// A list, packed (§4.2).
#[derive(Debug, Serialize)]
pub struct PackedList<'a> {
    bits: u8,
    lst: String,
    aggregation_uri: &'a str,
}

impl<'a> PackedList<'a> {
    /// The list in which these places are INVALID and all others VALID (§7.1); `aggregation_uri` tells of the others.
    #[must_use]
    pub fn new(invalid: impl IntoIterator<Item = StatusIndex>, aggregation_uri: &'a str) -> Self {
        let mut bytes = vec![0; STATUS_LIST_LENGTH as usize / 8];
        let mut marked = 0;
        for index in invalid {
            bytes[index.place() as usize / 8] |= 1 << (index.place() % 8); // §4.1: from the least significant bit on
            marked += 1;
        }
        let level = if marked < CROWDED { Compression::new(4) } else { Compression::fast() };
        Self { bits: 1, lst: base64url(&packed(&bytes, level)), aggregation_uri }
    }

    /// The places, packed: equal if the places are.
    #[must_use]
    pub fn places(&self) -> &str {
        &self.lst
    }
}

/// From how many places on there is so little to find that looking for it takes twenty times as long and saves nothing: the
/// bits are nearly random. In a list with fewer, it saves a third in a millisecond; the levels above take ten times as long.
const CROWDED: u32 = STATUS_LIST_LENGTH / 50;

/// DEFLATE in the ZLIB format (§4.1, RFC 1950).
fn packed(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), level);
    let all = encoder.write_all(bytes).and_then(|()| encoder.finish());
    all.expect("memory takes what is written to it")
}

/// Why a text is not a list that counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusListFault {
    /// It is none, is not for this URL, is over, or is signed by somebody else.
    Unfit,
    /// Its key is not at hand, and there may be newer ones: [`Renew::renew`](super::Renew), then read it again.
    KeysOutdated,
    /// There are no keys.
    Unavailable(Unavailable),
}

/// The status of tokens, verified and unpacked.
#[derive(Debug)]
pub struct StatusList {
    bits: u8,
    bytes: Vec<u8>,
    issued: Timestamp,
    expires: Option<Timestamp>,
    ttl: Option<Duration>,
}

impl StatusList {
    /// Verifies the list that tokens call `uri`, byte for byte (§8.3).
    ///
    /// # Errors
    /// [`StatusListFault`].
    pub fn verify(
        text: &str,
        uri: &str,
        (keys, algorithms, skew): (&dyn KeyLookup, &[Algorithm], Duration),
        now: Timestamp,
    ) -> Result<Self, StatusListFault> {
        const UNFIT: StatusListFault = StatusListFault::Unfit;
        let (longest, unpacked) = STATUS_LIST_LIMITS;
        let jws = Jws::parse(text, longest).map_err(|_| UNFIT)?;
        let typ = jws.header_text("typ").map_err(|_| UNFIT)?.unwrap_or_default();
        let is_list = typ.eq_ignore_ascii_case(STATUS_LIST_TYPE) || typ.eq_ignore_ascii_case(STATUS_LIST_MEDIA_TYPE);
        let algorithm = jws.algorithm(algorithms).filter(|_| is_list).ok_or(UNFIT)?;
        let kid = jws.header_text("kid").map_err(|_| UNFIT)?;
        let keys = keys.keys(kid, now).map_err(|fault| match fault {
            KeysFault::Outdated => StatusListFault::KeysOutdated,
            KeysFault::Unavailable(cause) => StatusListFault::Unavailable(cause),
        })?;
        if !keys.iter().any(|key| jws.verify(algorithm, key).is_ok()) {
            return Err(UNFIT);
        }
        let issued = jws.time("iat").map_err(|_| UNFIT)?.filter(|at| *at <= now + skew).ok_or(UNFIT)?;
        let expires = jws.time("exp").map_err(|_| UNFIT)?;
        if jws.text("sub").map_err(|_| UNFIT)? != Some(uri) || expires.is_some_and(|at| now >= at) {
            return Err(UNFIT);
        }
        let ttl = match jws.claims().get("ttl") {
            None => None,
            Some(ttl) => Some(Duration::from_secs(ttl.as_u64().filter(|ttl| *ttl > 0).ok_or(UNFIT)?)),
        };
        let list = jws.claims().get("status_list").and_then(Json::as_object).ok_or(UNFIT)?;
        let bits = list.get("bits").and_then(Json::as_u64).filter(|bits| [1, 2, 4, 8].contains(bits)).ok_or(UNFIT)?;
        let lst = list.get("lst").and_then(Json::as_str).and_then(from_base64url).ok_or(UNFIT)?;
        let bytes = unpack(&lst, unpacked).ok_or(UNFIT)?;
        Ok(Self { bits: u8::try_from(bits).map_err(|_| UNFIT)?, bytes, issued, expires, ttl })
    }

    /// The status at a place: 0 is VALID (§7.1). `None` if the list is not that long.
    #[must_use]
    pub fn status(&self, idx: u64) -> Option<u8> {
        let bit = idx.checked_mul(self.bits.into())?;
        let byte = self.bytes.get(usize::try_from(bit / 8).ok()?)?;
        let mask = u8::MAX >> (8 - self.bits);
        Some((byte >> (bit % 8)) & mask)
    }

    /// Whether it is still believed.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// When it was true.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// After what time there is a newer one, if it says so.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }
}

/// Unpacks what becomes at most `limit` bytes long: a few kilobytes may stand for gigabytes.
fn unpack(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed).take(limit as u64 + 1).read_to_end(&mut bytes).ok()?;
    bytes.shrink_to_fit();
    (bytes.len() <= limit).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(bits: u8, bytes: Vec<u8>) -> StatusList {
        StatusList { bits, bytes, issued: Timestamp::from_seconds(0), expires: None, ttl: None }
    }

    #[test]
    fn the_example_of_the_draft_is_read_from_the_least_significant_bit_on() {
        // §4.1: sixteen tokens, one bit each, and twelve of two bits.
        let one = list(1, vec![0xb9, 0xa3]);
        let said: Vec<_> = (0..16).map(|idx| one.status(idx).expect("a place")).collect();
        assert_eq!(said, [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]);
        assert_eq!(one.status(16), None);
        let two = list(2, vec![0xc9, 0x44, 0xf9]);
        let said: Vec<_> = (0..12).map(|idx| two.status(idx).expect("a place")).collect();
        assert_eq!(said, [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
        assert_eq!(two.status(u64::MAX), None);
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same_places_and_to_no_more_than_the_limit() {
        let places = [0, 7, 8, 4_711, STATUS_LIST_LENGTH - 1, STATUS_LIST_LENGTH + 7];
        let places = places.map(|number| StatusIndex::new(number).expect("a place"));
        let packed = PackedList::new(places, "https://auth.example.com/oauth/status");
        let lst = from_base64url(&packed.lst).expect("base64url");
        assert!(lst.len() < 400, "a list with little in it is short: {}", lst.len());
        let bytes = unpack(&lst, STATUS_LIST_LENGTH as usize / 8).expect("a list");
        let read = list(1, bytes);
        for place in places {
            assert_eq!(read.status(place.place().into()), Some(1), "{place:?}");
        }
        assert_eq!(read.status(9), Some(0));
        assert_eq!(unpack(&lst, STATUS_LIST_LENGTH as usize / 8 - 1), None);
    }

    #[test]
    fn a_status_that_cannot_be_read_is_not_taken_for_none() {
        let of =
            |claims: Json| StatusReference::of(claims.as_object().expect("an object")).map(|found| found.is_some());
        let at = |idx: Json, uri: Json| json!({ "status": { "status_list": { "idx": idx, "uri": uri } } });
        assert_eq!(of(json!({})), Ok(false));
        assert_eq!(of(json!({ "status": { "other": {} } })), Ok(false));
        assert_eq!(of(at(json!(3), json!("https://a.example/1"))), Ok(true));
        for broken in
            [at(json!(-1), json!("u")), at(json!("3"), json!("u")), at(json!(3), json!(null)), json!({ "status": 1 })]
        {
            assert_eq!(of(broken), Err(StatusUnreadable));
        }
    }
}
