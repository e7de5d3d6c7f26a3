//! Documents for everybody, such as metadata and key sets: what is in them, and what is said with them, whichever door hands
//! them out.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::secret::{base64url, sha256};

/// The headers of our answers that scripts of other origins may read, besides those that they may read anyway.
pub const EXPOSED_HEADERS: &str = "dpop-nonce, www-authenticate, retry-after";

/// A JSON document that anybody may read, and may keep for a while.
#[derive(Clone, Debug)]
pub struct PublicDocument {
    body: String,
    media_type: &'static str,
    keep_for: Duration,
    /// Names the bytes of the body: 16 characters of base64url.
    tag: String,
}

impl PublicDocument {
    /// What is to be said, and for how long that may be kept.
    #[must_use]
    pub fn new(document: &impl Serialize, keep_for: Duration) -> Self {
        let body = serde_json::to_string(document).expect("our documents are plain JSON");
        let tag = base64url(&sha256(body.as_bytes())[..12]);
        Self { body, media_type: "application/json", keep_for, tag }
    }

    /// The same, of a media type that is more than JSON.
    #[must_use]
    pub fn of_type(self, media_type: &'static str) -> Self {
        Self { media_type, ..self }
    }

    /// What it says, in JSON.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Whether the caller has this very one: `lines` are those of `If-None-Match`, of which a tag is compared weakly (RFC 9110
    /// §13.1.2). The answer is 304 then, without the body.
    pub fn is_known<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> bool {
        is_known(&self.tag, lines)
    }

    /// What is said with it: the same with 304, but for what is about the body (RFC 9110 §15.4.5).
    #[must_use]
    pub fn headers(&self, known: bool) -> Vec<(&'static str, String)> {
        let of_body = [("content-type", self.media_type), ("x-content-type-options", "nosniff")];
        let of_body = of_body.into_iter().filter(|_| !known).map(|(name, value)| (name, value.to_owned()));
        of_body
            .chain([
                ("etag", format!("\"{}\"", self.tag)),
                ("access-control-allow-origin", "*".to_owned()),
                ("access-control-expose-headers", EXPOSED_HEADERS.to_owned()),
                ("cache-control", format!("public, max-age={}", self.keep_for.as_secs())),
            ])
            .collect()
    }
}

/// Whether a tag is among those in the lines of `If-None-Match`, compared weakly, or every tag is: `*` (RFC 9110 §13.1.2).
pub fn is_known<'a>(tag: &str, lines: impl IntoIterator<Item = &'a str>) -> bool {
    lines.into_iter().any(|line| line.trim() == "*" || tags(line).any(|known| known == tag))
}

/// The tags in a list, without `W/` and quotes, up to what is none. There may be commas in a tag (RFC 9110 §8.8.3).
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let next = rest.trim_start_matches([',', ' ', '\t']);
        let (tag, after) = next.strip_prefix("W/").unwrap_or(next).strip_prefix('"')?.split_once('"')?;
        rest = after;
        Some(tag)
    })
}

/// What a CORS preflight is told, with 204, where scripts of any origin may use these methods.
#[must_use]
pub fn preflight(methods: &'static str) -> [(&'static str, &'static str); 4] {
    [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", methods),
        ("access-control-allow-headers", "authorization, content-type, dpop"),
        ("access-control-max-age", "600"),
    ]
}

/// Who has documents for everybody.
pub trait PublicDocuments: Send + Sync {
    /// The document at a path, as it is now; `None` if there is none.
    fn document(&self, path: &str, now: Timestamp) -> Option<PublicDocument>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_known_by_its_tag_in_a_list_or_as_whatever_there_is() {
        for (lines, known) in [
            (&[r#""tag""#][..], true),
            (&[r#"W/"tag""#], true),
            (&[r#""other", W/"tag""#], true),
            (&[r#",  "other",,"tag" ,"#], true),
            (&[r#""other""#, r#""tag""#], true),
            (&["*"], true),
            (&[" * "], true),
            (&[], false),
            (&[""], false),
            (&[r#""""#], false),
            (&[r#""other""#], false),
            (&["tag"], false),
            (&[r#"w/"tag""#], false),
            (&[r#""tag"#], false),
            (&[r#""a,tag,b""#], false),
            (&[r#""a,b", "tag""#], true),
            (&[r#""*""#], false),
        ] {
            assert_eq!(is_known("tag", lines.iter().copied()), known, "{lines:?}");
        }
    }
}
