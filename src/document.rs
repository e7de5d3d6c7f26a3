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
        Self { body, keep_for, tag }
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
        let of_body = [("content-type", "application/json"), ("x-content-type-options", "nosniff")];
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

/// Whether a tag is among those in the lines of `If-None-Match`, compared weakly (RFC 9110 §13.1.2).
pub fn is_known<'a>(tag: &str, lines: impl IntoIterator<Item = &'a str>) -> bool {
    let mut known = lines.into_iter().flat_map(|line| line.split(',')).map(str::trim);
    known.any(|known| known.trim_start_matches("W/").trim_matches('"') == tag)
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
