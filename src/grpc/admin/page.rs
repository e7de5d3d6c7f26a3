//! Lists, page by page.

use tonic::Status;

use crate::secret::{base64url, from_base64url};

/// How many items a page has if nobody says.
const DEFAULT_SIZE: u32 = 100;

/// How many items a page has at most.
const LARGEST: u32 = 1_000;

/// How many items were asked for.
pub(super) fn size(asked: u32) -> u32 {
    if asked == 0 { DEFAULT_SIZE } else { asked.min(LARGEST) }
}

/// What to ask the page behind these items with: the cursor of the last one, and nothing if no more can be there.
pub(super) fn next<T>(items: &[T], size: u32, cursor: impl Fn(&T) -> String) -> String {
    let full = u32::try_from(items.len()).is_ok_and(|number| number >= size);
    items.last().filter(|_| full).map(cursor).unwrap_or_default()
}

/// A name of so many bytes, as base64url.
pub(super) fn name<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_base64url(text)?.try_into().ok()
}

/// The same as the token of a page, which may be empty.
pub(super) fn behind<const N: usize>(token: &str) -> Result<Option<[u8; N]>, Status> {
    match (token, name(token)) {
        ("", _) => Ok(None),
        (_, Some(bytes)) => Ok(Some(bytes)),
        (_, None) => Err(Status::invalid_argument("page_token is not one that a list has given")),
    }
}

/// Bytes as such a name.
pub(super) fn named(bytes: &[u8]) -> String {
    base64url(bytes)
}
