//! Preflight requests of browsers (Fetch, "CORS protocol"), which never have credentials.

use super::{Headers, Rule, Single};

/// Whether this is a preflight for a request that some rule is about: OPTIONS with one `Origin` and one
/// `Access-Control-Request-Method`, and without anything by which a browser says who asks. Anything else is no preflight,
/// whatever it looks like.
pub(super) fn is_preflight(method: &str, path: &str, headers: &Headers<'_>, rules: &[Rule]) -> bool {
    const CREDENTIALS: [&str; 3] = ["authorization", "dpop", "cookie"];
    let one = |name| match headers.single(name) {
        Single::One(value) => std::str::from_utf8(value).ok().filter(|value| !value.is_empty()),
        Single::Absent | Single::Several => None,
    };
    let Some(wanted) = one("access-control-request-method") else { return false };
    method == "OPTIONS"
        && one("origin").is_some()
        && !CREDENTIALS.iter().any(|name| headers.contains(name))
        && rules.iter().any(|rule| rule.matches(wanted, path))
}
