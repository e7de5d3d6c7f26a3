//! What a request to an MCP server calls, as its headers say (Model Context Protocol, revision 2026-07-28, "Standard Request
//! Headers"). Nobody reads the body here: that it says the same, the server checks.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Denial, Headers, Single};

/// The first revision in which requests say in headers what they call, and servers refuse those whose body says otherwise.
const FIRST_REVISION: &str = "2026-07-28";

/// Methods that are always about something with a name: `params.name`, `params.uri` or `params.taskId`.
const NAMED: [&str; 6] = ["tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/update", "tasks/cancel"];

/// What a POST to an MCP server says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Call {
    /// This is called.
    Declared {
        /// The method of JSON-RPC.
        method: CallMethod,
        /// Of the tool, the prompt, the resource or the task.
        name: Option<String>,
    },
    /// Nothing: the client keeps an older revision, in which there are no such headers. Those that it sends all the same are no
    /// one's word, for its server does not look at them.
    Undeclared,
}

impl Call {
    /// Reads the headers. A revision that is not the date of one, and a call that is declared badly, is an error.
    pub(super) fn read(headers: &Headers<'_>) -> Result<Self, Denial> {
        let text = |name: &str| match headers.single(name) {
            Single::Absent => Ok(None),
            Single::One(value) => std::str::from_utf8(value).map(Some).map_err(|_| Denial::McpCallMalformed),
            Single::Several => Err(Denial::McpCallMalformed),
        };
        match text("mcp-protocol-version")? {
            None => return Ok(Self::Undeclared),
            Some(revision) if !is_date(revision) => return Err(Denial::McpCallMalformed),
            Some(revision) if revision < FIRST_REVISION => return Ok(Self::Undeclared),
            Some(_) => {}
        }
        let method = text("mcp-method")?.and_then(|method| method.parse().ok());
        let method: CallMethod = method.ok_or(Denial::McpCallMalformed)?;
        let name = name(headers)?;
        if name.is_none() && NAMED.contains(&method.0.as_str()) {
            return Err(Denial::McpCallMalformed);
        }
        Ok(Self::Declared { method, name })
    }
}

/// Whether a text has the form of a revision, which are compared as texts.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let dash = |place: usize| place == 4 || place == 7;
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(place, byte)| if dash(place) { *byte == b'-' } else { byte.is_ascii_digit() })
}

/// A text that is no method of JSON-RPC that a rule could be about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a method such as tools/call: letters, digits and / _ - . $")]
pub struct CallMethodFault;

/// A method of JSON-RPC, as MCP has them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallMethod(String);

impl FromStr for CallMethod {
    type Err = CallMethodFault;

    fn from_str(text: &str) -> Result<Self, CallMethodFault> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.$".contains(&byte);
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(CallMethodFault) }
    }
}

impl fmt::Display for CallMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is called: as it stands there, or, where it would be no header, in base64 (`=?base64?...?=`, in this case only).
fn name(headers: &Headers<'_>) -> Result<Option<String>, Denial> {
    let mut values = headers.all("mcp-name");
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => std::str::from_utf8(value).map_err(|_| Denial::McpCallMalformed)?,
        (Some(_), Some(_)) => return Err(Denial::McpCallMalformed),
    };
    let encoded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let name = match encoded {
        Some(encoded) => STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
        None => Some(value.to_owned()).filter(|value| !value.is_empty() && value.is_ascii()),
    };
    name.map(Some).ok_or(Denial::McpCallMalformed)
}

/// Which calls a rule is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CallPattern {
    /// Those that are declared so.
    Declared {
        /// The method; any if none.
        method: Option<CallMethod>,
        /// The name; any, or none, if none.
        name: Option<NamePattern>,
    },
    /// Those of older clients, which declare nothing.
    Undeclared,
}

impl CallPattern {
    /// Whether the rule is about this call.
    pub(super) fn matches(&self, call: &Call) -> bool {
        match (self, call) {
            (Self::Undeclared, Call::Undeclared) => true,
            (Self::Declared { method, name }, Call::Declared { method: called, name: given }) => {
                method.as_ref().is_none_or(|method| method == called)
                    && name.as_ref().is_none_or(|name| given.as_deref().is_some_and(|given| name.matches(given)))
            }
            (Self::Undeclared, Call::Declared { .. }) | (Self::Declared { .. }, Call::Undeclared) => false,
        }
    }

    /// Whether every call that `other` matches matches here too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undeclared, Self::Undeclared) => true,
            (Self::Declared { method, name }, Self::Declared { method: other_method, name: other_name }) => {
                let method = method.as_ref().is_none_or(|method| other_method.as_ref() == Some(method));
                let within = |name: &NamePattern| other_name.as_ref().is_some_and(|other| name.covers(other));
                method && name.as_ref().is_none_or(within)
            }
            (Self::Undeclared, Self::Declared { .. }) | (Self::Declared { .. }, Self::Undeclared) => false,
        }
    }
}

/// In the words of the configuration.
impl fmt::Display for CallPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Declared { method, name } = self else { return f.write_str(", mcp undeclared") };
        f.write_str(", mcp")?;
        if let Some(method) = method {
            write!(f, " method {method}")?;
        }
        name.as_ref().map_or(Ok(()), |name| write!(f, " name {name}"))
    }
}

/// A text that is no pattern for names.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a name, or its beginning and * at the end")]
pub struct NameFault;

/// A name, or all that begin so (`delete_*`). Compared byte by byte.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamePattern {
    /// Without the star.
    text: String,
    /// Whether more may follow.
    open: bool,
}

impl NamePattern {
    fn matches(&self, name: &str) -> bool {
        if self.open { name.starts_with(&self.text) } else { name == self.text }
    }

    fn covers(&self, other: &Self) -> bool {
        if self.open { other.text.starts_with(&self.text) } else { self == other }
    }
}

impl FromStr for NamePattern {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        let (text, open) = text.strip_suffix('*').map_or((text, false), |begin| (begin, true));
        if text.contains('*') || (text.is_empty() && !open) {
            return Err(NameFault);
        }
        Ok(Self { text: text.to_owned(), open })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<Call, Denial> {
        Call::read(&headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect())
    }

    fn declared(method: &str, name: Option<&str>) -> Call {
        Call::Declared { method: method.parse().expect("a method"), name: name.map(str::to_owned) }
    }

    #[test]
    fn a_call_is_what_the_headers_of_its_revision_say() {
        let revision = ("MCP-Protocol-Version", FIRST_REVISION);
        let call = ("mcp-method", "tools/call");
        for (headers, expected) in [
            (&[revision, call, ("mcp-name", "echo")][..], Ok(declared("tools/call", Some("echo")))),
            (&[("mcp-protocol-version", "2027-01-01"), ("mcp-method", "tools/list")], Ok(declared("tools/list", None))),
            (&[revision, call, ("mcp-name", "a, b")], Ok(declared("tools/call", Some("a, b")))),
            (&[revision, call, ("mcp-name", "=?base64?w6k=?=")], Ok(declared("tools/call", Some("é")))),
            (&[revision, call, ("mcp-name", "=?BASE64?w6k=?=")], Ok(declared("tools/call", Some("=?BASE64?w6k=?=")))),
            (&[], Ok(Call::Undeclared)),
            (&[("mcp-protocol-version", "2025-11-25"), call, ("mcp-name", "echo")], Ok(Call::Undeclared)),
            (&[call, ("mcp-name", "echo")], Ok(Call::Undeclared)),
        ] {
            assert_eq!(read(headers), expected, "{headers:?}");
        }
        for headers in [
            &[revision][..],
            &[revision, call],
            &[revision, ("mcp-method", "")],
            &[revision, ("mcp-method", "tools/list,tools/call"), ("mcp-name", "echo")],
            &[revision, call, call, ("mcp-name", "echo")],
            &[revision, call, ("mcp-name", "")],
            &[revision, call, ("mcp-name", "é")],
            &[revision, call, ("mcp-name", "a"), ("mcp-name", "b")],
            &[revision, call, ("mcp-name", "=?base64?w6k?=")],
            &[revision, call, ("mcp-name", "=?base64?_w==?=")],
            &[revision, call, ("mcp-name", "=?base64?/w==?=")],
            &[revision, revision, call, ("mcp-name", "echo")],
            &[("mcp-protocol-version", "latest"), call, ("mcp-name", "echo")],
            &[("mcp-protocol-version", "2026-7-28"), call, ("mcp-name", "echo")],
        ] {
            assert_eq!(read(headers), Err(Denial::McpCallMalformed), "{headers:?}");
        }
    }

    #[test]
    fn patterns_match_calls_and_cover_patterns() {
        let pattern = |method: Option<&str>, name: Option<&str>| CallPattern::Declared {
            method: method.map(|method| method.parse().expect("a method")),
            name: name.map(|name| name.parse().expect("a pattern")),
        };
        let delete = declared("tools/call", Some("delete_order"));
        let list = declared("tools/list", None);
        for (pattern, matches_delete, matches_list) in [
            (pattern(None, None), true, true),
            (pattern(Some("tools/call"), None), true, false),
            (pattern(Some("tools/call"), Some("delete_*")), true, false),
            (pattern(None, Some("*")), true, false),
            (pattern(Some("tools/call"), Some("delete_")), false, false),
            (pattern(Some("Tools/Call"), None), false, false),
            (CallPattern::Undeclared, false, false),
        ] {
            assert_eq!((pattern.matches(&delete), pattern.matches(&list)), (matches_delete, matches_list), "{pattern}");
            assert!(pattern.covers(&pattern));
        }
        assert!(pattern(None, None).covers(&pattern(Some("tools/call"), Some("a"))));
        assert!(pattern(None, Some("a*")).covers(&pattern(None, Some("ab*"))));
        assert!(!pattern(None, Some("a")).covers(&pattern(None, Some("a*"))));
        assert!(!pattern(Some("tools/call"), None).covers(&pattern(None, Some("a"))));
        assert!(!pattern(None, None).covers(&CallPattern::Undeclared));
        for bad in ["", "a*b", "**"] {
            assert_eq!(bad.parse::<NamePattern>(), Err(NameFault), "{bad}");
        }
    }
}
