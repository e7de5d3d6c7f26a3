//! The path that policy is asked about, refused when two parsers could read it differently.
//!
//! The upstream is served the bytes that we see, and may resolve what a proxy in front of it left alone: dot segments,
//! `..;`, encoded slashes, empty segments. A policy that matched one reading while the upstream serves the other protects
//! nothing, so such paths are refused before any rule looks at them (CVE-2021-29492 and its kin).
//!
//! Choice: such paths are refused at every resource, and no setting lets one of them pass (RFC 3986 §3.3 leaves path
//! parameters and empty segments to whoever serves the path). The gate cannot see how the upstream reads them, and one
//! such switch, left on for the sake of one client, would undo what rules and paths of resources decide.

use std::borrow::Cow;
use std::str::FromStr;

use super::Denial;
use crate::uri::{URI_LIMIT, normalize_path};

/// A text that no path begins with which requests may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a path such as /shop, in the normal form of RFC 3986 and without a slash at its end")]
pub struct PrefixFault;

/// A path and all that is below it, by whole segments; the default is every path. Compared with normal forms, byte by byte.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// This path, which is in normal form, and all below it. A slash at its end makes no difference.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self(path.trim_end_matches('/').to_owned())
    }

    /// Whether a path in normal form is one of these.
    pub(super) fn covers(&self, path: &str) -> bool {
        self.rest(path).is_some()
    }

    /// How much of a path it fixes.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// What somebody sees of these paths from whom `stripped` is taken off; `None` if they see none of them.
    #[must_use]
    pub fn behind(&self, stripped: &Self) -> Option<Self> {
        match stripped.rest(&self.0) {
            Some(rest) => Some(Self(rest.to_owned())),
            None => self.covers(&stripped.0).then(Self::default),
        }
    }

    /// The path from which this was taken off.
    pub(super) fn before<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if self.0.is_empty() { Cow::Borrowed(path) } else { Cow::Owned(format!("{}{path}", self.0)) }
    }

    /// What follows behind it, which is nothing or begins with a slash.
    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.0.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for PathPrefix {
    type Err = PrefixFault;

    fn from_str(text: &str) -> Result<Self, PrefixFault> {
        let normal = normal_path(text).is_ok_and(|path| path == text);
        if normal && !text.ends_with('/') { Ok(Self(text.to_owned())) } else { Err(PrefixFault) }
    }
}

/// Finds the unambiguous normal form of the path in a request target; the query is not looked at.
///
/// # Errors
/// [`Denial::PathTooLong`], [`Denial::PathMalformed`] or [`Denial::PathAmbiguous`].
pub(super) fn normal_path(target: &str) -> Result<Cow<'_, str>, Denial> {
    if target.len() > URI_LIMIT {
        return Err(Denial::PathTooLong);
    }
    let path = target.split('?').next().unwrap_or_default();
    // An empty path (CONNECT), an asterisk and the absolute form match no rule.
    if !path.starts_with('/') {
        return Err(Denial::PathMalformed);
    }
    if is_ambiguous(path) {
        return Err(Denial::PathAmbiguous);
    }
    normalize_path(path).map_err(|_| Denial::PathMalformed)
}

/// Whether `path` holds anything that parsers are known to disagree about.
pub(super) fn is_ambiguous(path: &str) -> bool {
    if path.contains(['\\', ';', '#']) || path.contains("//") {
        return true;
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return true;
    }
    path.contains('%') && (encodes_delimiter(path) || changes_again(path))
}

/// Whether an encoded octet would be a delimiter or a control to whoever decodes it.
fn encodes_delimiter(path: &str) -> bool {
    encoded_octets(path).any(|octet| matches!(octet, 0x00..=0x1f | 0x7f | b'/' | b'\\' | b'.' | b';' | b'?' | b'#'))
}

/// Whether a path once decoded is another one to whoever decodes again: it holds escapes still, however their own octets
/// were encoded (`%25%32%65`), or is no UTF-8, of which a lenient decoder reads the overlong `%c0%af` as a slash.
fn changes_again(path: &str) -> bool {
    percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_or(true, |decoded| encoded_octets(&decoded).next().is_some())
}

/// Each encoded octet. Malformed escapes are left to [`normalize_path`].
fn encoded_octets(path: &str) -> impl Iterator<Item = u8> {
    path.match_indices('%').filter_map(|(index, _)| hex_octet(&path.as_bytes()[index + 1..]))
}

/// Reads two hexadecimal digits.
fn hex_octet(text: &[u8]) -> Option<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    u8::try_from(digit(text.first())? * 16 + digit(text.get(1))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_take_their_normal_form() {
        for (target, normal) in [
            ("/", "/"),
            ("/orders", "/orders"),
            ("/orders/?x=/../admin", "/orders/"),
            ("/%61%7euser", "/a~user"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a|b", "/a%7Cb"),
            ("/100%25", "/100%25"),
            ("/a+b%20c,d=e:f@g!$&'()*", "/a+b%20c,d=e:f@g!$&'()*"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
        ] {
            assert_eq!(normal_path(target).as_deref(), Ok(normal), "{target}");
        }
    }

    #[test]
    fn paths_that_two_parsers_could_read_differently_are_refused() {
        for target in [
            "/public/../admin",
            "/public/..;/admin",
            "/public/%2e%2e;/admin",
            "/a;x=1/b",
            "/a%3Bb",
            "/.",
            "/a/..",
            "/./a",
            "/%2e/a",
            "/a/%2E%2E/b",
            "/a/.%2e/b",
            "/a%2eb",
            "//a",
            "/a//b",
            "/a//",
            "/a%2Fb",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0aX",
            "/a%7f",
            "/a%3fb",
            "/a#f",
            "/a%23f",
            "/a%252e",
            "/a%25%32%65",
            "/a%2525",
            "/a%c0%af",
            "/a%ff",
        ] {
            assert_eq!(normal_path(target), Err(Denial::PathAmbiguous), "{target}");
        }
    }

    #[test]
    fn prefixes_are_whole_segments_in_normal_form() {
        let prefix = |text: &str| text.parse::<PathPrefix>().expect("a prefix");
        for (path, covered) in
            [("/a/b", true), ("/a/b/", true), ("/a/b/c", true), ("/a/bc", false), ("/a", false), ("/A/b", false)]
        {
            assert_eq!(prefix("/a/b").covers(path), covered, "{path}");
            assert!(PathPrefix::of("/").covers(path) && PathPrefix::default().covers(path), "{path}");
        }
        for bad in ["", "/", "/a/", "a", "/a?b", "/a/../b", "/a;b", "//a", "/%61", "/a b"] {
            assert_eq!(bad.parse::<PathPrefix>(), Err(PrefixFault), "{bad}");
        }
        for (whole, stripped, seen) in [
            ("/a/b", "/a", Some("/b")),
            ("/a", "/a", Some("")),
            ("", "/a", Some("")),
            ("/a", "/a/b", Some("")),
            ("/ab", "/a", None),
            ("/b", "/a", None),
        ] {
            let seen = seen.map(PathPrefix::of);
            assert_eq!(PathPrefix::of(whole).behind(&prefix(stripped)), seen, "{whole} behind {stripped}");
        }
        assert_eq!(prefix("/a").before("/b"), "/a/b");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for target in ["", "*", "?q", "a", "http://api.example.com/a", "/a%", "/a%zz", "/a b", "/a\u{7f}", "/a\0"] {
            assert_eq!(normal_path(target), Err(Denial::PathMalformed), "{target:?}");
        }
        assert_eq!(normal_path(&format!("/{}", "a".repeat(URI_LIMIT))), Err(Denial::PathTooLong));
    }
}
