//! What the upstream gets to see: identity headers that nobody but the gate can set, and no credentials it could replay.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::upstream_token::{UpstreamIssuer, UpstreamTokens};
use super::{Answer, Request};
use crate::clock::Timestamp;
use crate::jose::{Json, Members};
use crate::token::VerifiedToken;

/// Dashes beyond this many would need too many spellings removed: each may be an underscore.
const DASH_LIMIT: usize = 5;

/// The longest identity header value; a longer one counts as no value.
pub const VALUE_LIMIT: usize = 4 * 1024;

/// The longest header with many claims.
pub const CLAIMS_LIMIT: usize = 8 * 1024;

/// What becomes of the client's `Authorization` header. The `DPoP` header is always removed: it is spent.
#[derive(Clone, Debug)]
pub enum UpstreamAuthorization {
    /// It is removed.
    Remove,
    /// It becomes `Bearer` with the verified token, for upstreams that read its claims.
    Bearer,
    /// It stays as the client sent it, verified or not.
    Keep,
    /// It becomes `Bearer` with a token of ours for this upstream alone.
    Internal(UpstreamTokens),
}

/// What the upstream of a resource gets to see.
#[derive(Clone, Debug)]
pub struct UpstreamView {
    /// What becomes of `Authorization`.
    pub authorization: UpstreamAuthorization,
    /// Headers that carry claims. Each is set or removed in every request that passes.
    pub headers: Vec<IdentityHeader>,
    /// The header that carries many claims at once, if there is one. It too is set or removed.
    pub claims: Option<ClaimsHeader>,
    /// Headers that carry claims elsewhere, and are never there here: each is removed from every request that passes.
    pub withheld: Vec<IdentityHeader>,
}

/// A header that carries claims of the verified token as one JSON object, in ASCII.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimsHeader {
    /// In lower case.
    name: IdentityHeader,
    /// Which claims; none for all of them.
    claims: Vec<String>,
}

impl ClaimsHeader {
    /// A header of that lower-case name for those claims, or for all if there are none.
    ///
    /// # Errors
    /// A [`HeaderFault`].
    pub fn new(name: &str, claims: Vec<String>) -> Result<Self, HeaderFault> {
        Ok(Self { name: IdentityHeader::new(name, "*")?, claims })
    }

    /// The name of the header, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.name()
    }

    /// The object, unless it is longer than a header may be.
    fn value(&self, claims: &Members) -> Option<String> {
        let chosen = |name: &String| self.claims.is_empty() || self.claims.contains(name);
        let chosen: BTreeMap<_, _> = claims.iter().filter(|(name, _)| chosen(name)).collect();
        let value = ascii(&serde_json::to_string(&chosen).ok()?);
        (value.len() <= CLAIMS_LIMIT && value.bytes().all(is_sendable)).then_some(value)
    }
}

/// JSON in ASCII: what is not ASCII stands in strings only, where it can be escaped (RFC 8259 §7).
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(escaped, "\\u{unit:04x}").expect("a string takes any text");
            }
        }
    }
    escaped
}

/// Why a header cannot carry a claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderFault {
    /// Not a lower-case token with dashes (RFC 9110 §5.1). An underscore would make two spellings of one variable in
    /// upstreams that turn headers into variables.
    #[error("must be 1 to 64 lower-case letters, digits and dashes")]
    Malformed,
    /// A header that means something to proxies or that the gate manages itself.
    #[error(
        "is reserved: authorization, dpop, cookie, host, content-length, hop-by-hop, proxy-* and x-envoy-* headers"
    )]
    Reserved,
    /// More dashes than the gate can remove all spellings for.
    #[error("has more than five dashes")]
    TooManyDashes,
    /// The claim has no name.
    #[error("must name a claim")]
    ClaimMissing,
}

/// A header that carries a claim of the verified token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentityHeader {
    /// In lower case.
    name: String,
    /// In the token.
    claim: String,
}

impl IdentityHeader {
    /// A header of that lower-case name for that claim.
    ///
    /// # Errors
    /// A [`HeaderFault`].
    pub fn new(name: &str, claim: &str) -> Result<Self, HeaderFault> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(HeaderFault::Malformed);
        }
        if is_reserved(name) {
            return Err(HeaderFault::Reserved);
        }
        if name.matches('-').count() > DASH_LIMIT {
            return Err(HeaderFault::TooManyDashes);
        }
        if claim.is_empty() {
            return Err(HeaderFault::ClaimMissing);
        }
        Ok(Self { name: name.to_owned(), claim: claim.to_owned() })
    }

    /// The name of the header, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the claim.
    #[must_use]
    pub fn claim(&self) -> &str {
        &self.claim
    }

    /// The other spellings that an upstream may take for this header: every mix of dashes and underscores.
    fn twins(&self) -> Vec<String> {
        let mut spellings = vec![String::new()];
        for character in self.name.chars() {
            let underscored: Vec<_> =
                spellings.iter().filter(|_| character == '-').map(|spelling| format!("{spelling}_")).collect();
            for spelling in &mut spellings {
                spelling.push(character);
            }
            spellings.extend(underscored);
        }
        spellings.retain(|spelling| *spelling != self.name);
        spellings
    }
}

/// Whether a header means something to proxies, or is ours to manage.
fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 14] = [
        "authorization",
        "dpop",
        "cookie",
        "host",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "content-length",
        "content-type",
        "upgrade",
        "expect",
        "date",
    ];
    RESERVED.contains(&name) || name.starts_with("proxy-") || name.starts_with("x-envoy-")
}

/// The changes to a request that passes. No name is in both lists: a proxy that removes last would undo the other.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct UpstreamChanges {
    /// Headers to set, overwriting what the client sent under that name.
    pub set: Vec<(String, String)>,
    /// Headers to remove, however often they occur.
    pub remove: Vec<String>,
}

/// An [`UpstreamView`] with what is the same for every request worked out.
#[derive(Debug)]
pub(super) struct PreparedView {
    /// What the operator wants.
    view: UpstreamView,
    /// Makes tokens for it, if it is to get them.
    issuer: Option<UpstreamIssuer>,
    /// What is removed from every request.
    always_removed: Vec<String>,
}

impl PreparedView {
    /// Works it out.
    pub(super) fn new(mut view: UpstreamView, origin: &str) -> Self {
        // One header for two claims: the first one stands. Else the second might remove what the first has set.
        let mut seen = Vec::new();
        view.headers.retain(|header| {
            let new = !seen.contains(&header.name);
            seen.push(header.name.clone());
            new
        });
        let mut always_removed = vec!["dpop".to_owned()];
        always_removed.extend(view.headers.iter().flat_map(IdentityHeader::twins));
        always_removed.extend(view.claims.iter().flat_map(|header| header.name.twins()));
        let set_here = |name: &str| {
            seen.iter().any(|one| one == name) || view.claims.as_ref().is_some_and(|header| header.name() == name)
        };
        let withheld = view.withheld.iter().filter(|header| !set_here(header.name()));
        always_removed.extend(withheld.flat_map(|header| header.twins().into_iter().chain([header.name().to_owned()])));
        let issuer = match &view.authorization {
            UpstreamAuthorization::Internal(settings) => UpstreamIssuer::new(settings, origin),
            UpstreamAuthorization::Remove | UpstreamAuthorization::Bearer | UpstreamAuthorization::Keep => None,
        };
        Self { view, issuer, always_removed }
    }

    /// The keys that its tokens are verified with, if this is a request for them.
    pub(super) fn keys(&self, request: &Request<'_>, path: &str, now: Timestamp) -> Option<Answer> {
        self.issuer.as_ref()?.keys(request, path, now)
    }

    /// The token that the upstream gets instead of this one.
    pub(super) fn internal(&self, token: &VerifiedToken, now: Timestamp) -> Option<Arc<str>> {
        self.issuer.as_ref().map(|issuer| issuer.token(token, now))
    }

    /// The changes for a request with these claims and this token for the upstream, or with neither.
    pub(super) fn changes(&self, claims: Option<&Members>, token: Option<&str>) -> UpstreamChanges {
        let mut changes = UpstreamChanges {
            set: Vec::with_capacity(self.view.headers.len() + 1),
            remove: Vec::with_capacity(self.always_removed.len() + self.view.headers.len() + 1),
        };
        changes.remove.extend_from_slice(&self.always_removed);
        for header in &self.view.headers {
            match claims.and_then(|claims| claims.get(&header.claim)).and_then(header_value) {
                Some(value) => changes.set.push((header.name.clone(), value)),
                None => changes.remove.push(header.name.clone()),
            }
        }
        if let Some(header) = &self.view.claims {
            match claims.and_then(|claims| header.value(claims)) {
                Some(value) => changes.set.push((header.name().to_owned(), value)),
                None => changes.remove.push(header.name().to_owned()),
            }
        }
        match (&self.view.authorization, token) {
            (UpstreamAuthorization::Keep, _) => {}
            (UpstreamAuthorization::Bearer | UpstreamAuthorization::Internal(_), Some(token)) => {
                changes.set.push(("authorization".to_owned(), format!("Bearer {token}")));
            }
            // A token that nobody verified must not look like one that was.
            (UpstreamAuthorization::Bearer | UpstreamAuthorization::Internal(_), None)
            | (UpstreamAuthorization::Remove, _) => {
                changes.remove.push("authorization".to_owned());
            }
        }
        changes
    }

    /// Whether a change needs the text of the token.
    pub(super) fn wants_token(&self) -> bool {
        matches!(self.view.authorization, UpstreamAuthorization::Bearer)
    }
}

/// A claim as a header value. What has no unmistakable form as visible ASCII has none: the header is then removed.
///
/// Strings, numbers and truth values stand as they are; an array of strings without commas is joined with commas.
fn header_value(claim: &Json) -> Option<String> {
    let value = match claim {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        Json::Array(items) => {
            let items: Option<Vec<_>> =
                items.iter().map(|item| item.as_str().filter(|item| !item.contains(','))).collect();
            items?.join(",")
        }
        Json::Null | Json::Object(_) => return None,
    };
    let trimmed = value.trim_matches(' ') == value;
    let sendable = trimmed && (1..=VALUE_LIMIT).contains(&value.len()) && value.bytes().all(is_sendable);
    sendable.then_some(value)
}

/// Visible ASCII or a space: a line break in a value would be a second header (RFC 9110 §5.5).
pub(super) fn is_sendable(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(authorization: UpstreamAuthorization) -> PreparedView {
        let header = |name, claim| IdentityHeader::new(name, claim).expect("a header");
        let headers = vec![header("x-auth-subject", "sub"), header("x-auth-name", "name")];
        let claims =
            Some(ClaimsHeader::new("x-auth-claims", vec!["sub".to_owned(), "team".to_owned()]).expect("a header"));
        let withheld = vec![header("x-auth-issuer", "iss"), header("x-auth-name", "other")];
        PreparedView::new(UpstreamView { authorization, headers, claims, withheld }, "https://api.example.com")
    }

    #[test]
    fn reserved_and_malformed_names_are_refused() {
        for (name, fault) in [
            ("", HeaderFault::Malformed),
            ("X-Auth", HeaderFault::Malformed),
            ("x_auth", HeaderFault::Malformed),
            (":path", HeaderFault::Malformed),
            ("x auth", HeaderFault::Malformed),
            ("host", HeaderFault::Reserved),
            ("dpop", HeaderFault::Reserved),
            ("authorization", HeaderFault::Reserved),
            ("transfer-encoding", HeaderFault::Reserved),
            ("proxy-authorization", HeaderFault::Reserved),
            ("x-envoy-auth", HeaderFault::Reserved),
            ("a-b-c-d-e-f-g", HeaderFault::TooManyDashes),
        ] {
            assert_eq!(IdentityHeader::new(name, "sub"), Err(fault), "{name}");
        }
        assert_eq!(IdentityHeader::new("x-auth", ""), Err(HeaderFault::ClaimMissing));
    }

    #[test]
    fn identity_headers_are_set_or_removed_in_every_spelling() {
        let claims = json!({ "sub": "ada", "name": "Ada\r\nx: y" });
        let changes = view(UpstreamAuthorization::Remove).changes(claims.as_object(), Some("t"));
        let claims = ("x-auth-claims".to_owned(), r#"{"sub":"ada"}"#.to_owned());
        assert_eq!(changes.set, [("x-auth-subject".to_owned(), "ada".to_owned()), claims]);
        for name in [
            "dpop",
            "authorization",
            "x_auth_claims",
            "x-auth-name",
            "x_auth_name",
            "x-auth_name",
            "x_auth-name",
            "x_auth_subject",
            "x-auth-issuer",
            "x_auth_issuer",
            "x-auth_issuer",
        ] {
            assert!(changes.remove.iter().any(|removed| removed == name), "{name}");
        }
        assert!(!changes.remove.iter().any(|removed| removed == "x-auth-subject"));
        let named = json!({ "name": "Ada" });
        let changes = view(UpstreamAuthorization::Remove).changes(named.as_object(), None);
        assert!(changes.set.contains(&("x-auth-name".to_owned(), "Ada".to_owned())));
        assert!(!changes.remove.iter().any(|removed| removed == "x-auth-name"), "what is set is not withheld");
    }

    #[test]
    fn an_unverified_token_never_becomes_a_bearer() {
        let bearer = view(UpstreamAuthorization::Bearer);
        assert!(bearer.changes(None, None).remove.contains(&"authorization".to_owned()));
        let verified = bearer.changes(None, Some("t"));
        assert!(verified.set.contains(&("authorization".to_owned(), "Bearer t".to_owned())));
        let kept = view(UpstreamAuthorization::Keep).changes(None, Some("t"));
        assert!(!kept.remove.contains(&"authorization".to_owned()) && kept.set.is_empty());
    }

    #[test]
    fn many_claims_are_one_object_in_ascii_or_none() {
        let header = ClaimsHeader::new("x-auth-claims", Vec::new()).expect("a header");
        for (claims, value) in [
            (json!({}), Some("{}".to_owned())),
            (json!({ "sub": "ada", "n": 1, "l": ["a"] }), Some(r#"{"l":["a"],"n":1,"sub":"ada"}"#.to_owned())),
            (
                json!({ "name": "Zoë 🎉\r\nx: y\u{7f}" }),
                Some(r#"{"name":"Zo\u00eb \ud83c\udf89\r\nx: y\u007f"}"#.to_owned()),
            ),
            (json!({ "long": "x".repeat(9_000) }), None),
        ] {
            let object = claims.as_object().expect("an object");
            let found = header.value(object);
            assert_eq!(found, value);
            let back = found.map(|text| serde_json::from_str::<Json>(&text).expect("JSON"));
            assert!(back.is_none_or(|back| back == claims));
        }
    }

    #[test]
    fn claims_have_one_form_or_none() {
        for (claim, value) in [
            (json!("ada lovelace"), Some("ada lovelace")),
            (json!(7), Some("7")),
            (json!(true), Some("true")),
            (json!(["a", "b"]), Some("a,b")),
            (json!(["a,b"]), None),
            (json!(["a", 1]), None),
            (json!([]), None),
            (json!(""), None),
            (json!(" a"), None),
            (json!("é"), None),
            (json!("a\tb"), None),
            (json!(null), None),
            (json!({ "a": 1 }), None),
        ] {
            assert_eq!(header_value(&claim).as_deref(), value, "{claim}");
        }
    }
}
