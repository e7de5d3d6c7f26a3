//! The rules of a resource: which paths and methods need what.

use std::fmt;
use std::str::FromStr;

use super::mcp::{Call, CallPattern};
use super::path::is_ambiguous;
use super::requirement::Requirements;
use crate::uri::normalize_path;

/// Who may send a request that a rule matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Anybody, with or without credentials.
    Anyone,
    /// Who holds a token for this resource that allows and says what is asked for.
    Token(Requirements),
}

/// The only method in which MCP servers are called.
const CALLING: &str = "POST";

/// One rule. The first one that matches decides, in the order of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Which paths it is about.
    pub path: PathPattern,
    /// Which methods it is about; none means every method that the gate lets through at all.
    pub methods: Vec<Method>,
    /// Which calls of an MCP server it is about; none means whatever such rules leave.
    pub mcp: Option<CallPattern>,
    /// What it asks for.
    pub access: Access,
}

impl Rule {
    /// Whether the rule is about this method, compared byte by byte (RFC 9110 §9.1), and this normal path.
    pub(super) fn matches(&self, method: &str, path: &str) -> bool {
        let calls = self.mcp.is_none() || method == CALLING;
        let of_method = self.methods.is_empty() || self.methods.iter().any(|one| one.as_str() == method);
        calls && of_method && self.path.matches(path)
    }

    /// Whether the rule is about this call. Without a word about calls it is about those that are declared only: whoever could
    /// leave out the declaration would choose his rule.
    pub(super) fn is_about(&self, call: &Call) -> bool {
        match &self.mcp {
            Some(pattern) => pattern.matches(call),
            None => *call != Call::Undeclared,
        }
    }

    /// Whether the rule matches every request that `later` matches: behind this one, `later` would never be asked.
    #[must_use]
    pub fn covers(&self, later: &Self) -> bool {
        let has = |method: &str| self.methods.is_empty() || self.methods.iter().any(|one| one.as_str() == method);
        let every_method = match &later.mcp {
            Some(_) => has(CALLING),
            None if later.methods.is_empty() => self.methods.is_empty(),
            None => later.methods.iter().all(|method| has(method.as_str())),
        };
        let every_call = match (&self.mcp, &later.mcp) {
            (None, None) => true,
            (None, Some(later)) => *later != CallPattern::Undeclared,
            (Some(_), None) => false,
            (Some(call), Some(later)) => call.covers(later),
        };
        every_method && every_call && self.path.covers(&later.path)
    }
}

/// In the words of the configuration.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path {}", self.path)?;
        if !self.methods.is_empty() {
            let methods: Vec<_> = self.methods.iter().map(Method::as_str).collect();
            write!(f, ", methods {}", methods.join(" "))?;
        }
        if let Some(call) = &self.mcp {
            write!(f, "{call}")?;
        }
        if self.access == Access::Anyone { f.write_str(", allow anyone") } else { Ok(()) }
    }
}

/// Why a text is no path pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternFault {
    /// It does not begin with a slash.
    #[error("must begin with /")]
    NotAbsolute,
    /// A wildcard stands beside other characters, or `**` is not the last segment.
    #[error("* must be a whole segment, and ** the last one")]
    Wildcard,
    /// It could never match, because requests for such a path are refused: dot segments, `//`, `;`, encoded delimiters.
    #[error("must not have dot segments, //, ;, \\ or encoded delimiters: requests for such paths are refused")]
    Ambiguous,
    /// It could never match, because requests are matched in normal form.
    #[error("must be in the normal form of RFC 3986: upper-case %HH, unreserved characters not encoded, no query")]
    NotNormal,
}

/// A pattern over the segments of a path: `/a` that path, `/a/*` one more segment, `/a/**` the path and all below it.
///
/// Compared with the normal form of a path, byte by byte; a trailing slash matters but under `/**`.
#[derive(Clone, Eq, PartialEq)]
pub struct PathPattern {
    /// As it was written.
    text: String,
    /// What stands between the slashes.
    segments: Vec<Segment>,
}

/// One place in a pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    /// This text.
    Literal(String),
    /// Any text but none.
    One,
    /// Whatever follows, be it nothing.
    Rest,
}

impl PathPattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path in normal form matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut actual = path.split('/').skip(1);
        for segment in &self.segments {
            let matches = match (segment, actual.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(expected), Some(actual)) => expected == actual,
                (Segment::One, Some(actual)) => !actual.is_empty(),
                (Segment::Literal(_) | Segment::One, None) => false,
            };
            if !matches {
                return false;
            }
        }
        actual.next().is_none()
    }

    /// Whether every path that `other` matches matches here too.
    fn covers(&self, other: &Self) -> bool {
        let mut others = other.segments.iter();
        for segment in &self.segments {
            let covers = match (segment, others.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(wanted), Some(Segment::Literal(given))) => wanted == given,
                (Segment::One, Some(Segment::Literal(given))) => !given.is_empty(),
                (Segment::One, Some(Segment::One)) => true,
                (Segment::Literal(_), Some(Segment::One))
                | (Segment::Literal(_) | Segment::One, Some(Segment::Rest) | None) => false,
            };
            if !covers {
                return false;
            }
        }
        others.next().is_none()
    }
}

impl FromStr for PathPattern {
    type Err = PatternFault;

    fn from_str(text: &str) -> Result<Self, PatternFault> {
        if !text.starts_with('/') {
            return Err(PatternFault::NotAbsolute);
        }
        if is_ambiguous(text) {
            return Err(PatternFault::Ambiguous);
        }
        if text.contains('?') || normalize_path(text).as_deref() != Ok(text) {
            return Err(PatternFault::NotNormal);
        }
        let segments: Vec<_> = text.split('/').skip(1).map(segment).collect::<Result<_, _>>()?;
        let inner = segments.split_last().map_or(&[][..], |(_, inner)| inner);
        if inner.contains(&Segment::Rest) {
            return Err(PatternFault::Wildcard);
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

/// Reads what stands between two slashes.
fn segment(text: &str) -> Result<Segment, PatternFault> {
    match text {
        "*" => Ok(Segment::One),
        "**" => Ok(Segment::Rest),
        text if text.contains('*') => Err(PatternFault::Wildcard),
        text => Ok(Segment::Literal(text.to_owned())),
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathPattern({})", self.text)
    }
}

/// A text that is no method for a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a method name such as GET; TRACE and CONNECT are always refused")]
pub struct MethodFault;

/// A request method, case-sensitive (RFC 9110 §9.1). TRACE and CONNECT cannot be named: no rule lets them through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Method(String);

impl Method {
    /// The method as it stands in a request.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Method {
    type Err = MethodFault;

    fn from_str(text: &str) -> Result<Self, MethodFault> {
        if is_passable_method(text) { Ok(Self(text.to_owned())) } else { Err(MethodFault) }
    }
}

/// Whether a method is a token (RFC 9110 §5.6.2) and neither TRACE, which would show an upstream's view of the request
/// to its sender, nor CONNECT, which has no path to judge.
pub(super) fn is_passable_method(method: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let tunnel = method.eq_ignore_ascii_case("TRACE") || method.eq_ignore_ascii_case("CONNECT");
    (1..=32).contains(&method.len()) && method.bytes().all(token) && !tunnel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments() {
        for (pattern, matching, others) in [
            ("/", &["/"][..], &["/a"][..]),
            ("/a", &["/a"], &["/", "/a/", "/a/b", "/ab", "/A"]),
            ("/a/", &["/a/"], &["/a", "/a/b"]),
            ("/a/*", &["/a/b", "/a/b.c"], &["/a", "/a/", "/a/b/", "/a/b/c", "/b/b"]),
            ("/a/*/c", &["/a/b/c"], &["/a/c", "/a//c", "/a/b/d"]),
            ("/a/**", &["/a", "/a/", "/a/b", "/a/b/c/"], &["/", "/ab", "/b/a"]),
            ("/**", &["/", "/a", "/a/b/"], &[]),
        ] {
            let pattern: PathPattern = pattern.parse().expect("a pattern");
            for path in matching {
                assert!(pattern.matches(path), "{pattern} should match {path}");
            }
            for path in others {
                assert!(!pattern.matches(path), "{pattern} should not match {path}");
            }
        }
    }

    #[test]
    fn a_rule_covers_what_it_would_always_be_asked_before() {
        for (earlier, later, expected) in [
            ("/**", "/a", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/*/c", true),
            ("/a/**", "/a/b/**", true),
            ("/a/**", "/a/**", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/*", true),
            ("/a", "/a", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/**", false),
            ("/a/*", "/a/b/c", false),
            ("/a/b", "/a/*", false),
            ("/a/**", "/**", false),
            ("/a/**", "/ab", false),
            ("/a", "/a/**", false),
        ] {
            let pattern = |text: &str| text.parse::<PathPattern>().expect("a pattern");
            assert_eq!(pattern(earlier).covers(&pattern(later)), expected, "{earlier} before {later}");
        }
        for (earlier, later, expected) in [
            (&[][..], &["GET"][..], true),
            (&[], &[], true),
            (&["GET", "POST"], &["POST"], true),
            (&["GET"], &["GET", "POST"], false),
            (&["GET"], &[], false),
        ] {
            let rule = |methods: &[&str]| Rule {
                path: "/a".parse().expect("a pattern"),
                methods: methods.iter().map(|method| method.parse().expect("a method")).collect(),
                mcp: None,
                access: Access::Anyone,
            };
            assert_eq!(rule(earlier).covers(&rule(later)), expected, "{earlier:?} before {later:?}");
        }
        let call = CallPattern::Declared { method: None, name: Some("delete_*".parse().expect("a pattern")) };
        for (earlier, later, expected) in [
            ((&[][..], None), (&[][..], Some(call.clone())), true),
            ((&["POST"], None), (&[], Some(call.clone())), true),
            ((&["GET"], None), (&[], Some(call.clone())), false),
            ((&[], None), (&[], Some(CallPattern::Undeclared)), false),
            ((&[], Some(call.clone())), (&["POST"], Some(call.clone())), true),
            ((&[], Some(call.clone())), (&["POST"], None), false),
            ((&[], Some(call.clone())), (&[], Some(CallPattern::Undeclared)), false),
        ] {
            let rule = |(methods, mcp): &(&[&str], Option<CallPattern>)| Rule {
                path: "/a".parse().expect("a pattern"),
                methods: methods.iter().map(|method| method.parse().expect("a method")).collect(),
                mcp: mcp.clone(),
                access: Access::Anyone,
            };
            assert_eq!(rule(&earlier).covers(&rule(&later)), expected, "{earlier:?} before {later:?}");
        }
    }

    #[test]
    fn patterns_that_could_never_match_are_refused() {
        for (text, fault) in [
            ("", PatternFault::NotAbsolute),
            ("a", PatternFault::NotAbsolute),
            ("/a*", PatternFault::Wildcard),
            ("/**/a", PatternFault::Wildcard),
            ("/a/***", PatternFault::Wildcard),
            ("/a/../b", PatternFault::Ambiguous),
            ("/a;x", PatternFault::Ambiguous),
            ("//a", PatternFault::Ambiguous),
            ("/a%2Fb", PatternFault::Ambiguous),
            ("/a?b", PatternFault::NotNormal),
            ("/%61", PatternFault::NotNormal),
            ("/caf%c3%a9", PatternFault::NotNormal),
            ("/a b", PatternFault::NotNormal),
        ] {
            assert_eq!(text.parse::<PathPattern>(), Err(fault), "{text}");
        }
    }

    #[test]
    fn methods_are_tokens_and_no_tunnels() {
        for bad in ["", "TRACE", "trace", "CONNECT", "GET ", "GE\tT", "GÉT"] {
            assert!(bad.parse::<Method>().is_err(), "{bad}");
        }
        assert!("PATCH".parse::<Method>().is_ok());
    }
}
