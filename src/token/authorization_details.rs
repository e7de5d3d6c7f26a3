//! What is granted in detail (RFC 9396): objects, each of a type that says what its members mean.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::jose::{Json, Members, array};

/// The longest text that is taken, in bytes: it travels in a hidden field and in every access token.
const TEXT_LIMIT: usize = 4 * 1024;

/// The most objects in one request.
const COUNT_LIMIT: usize = 8;

/// The members that are lists of strings for every type (RFC 9396 §2.2).
pub const LISTS: [&str; 4] = ["locations", "actions", "datatypes", "privileges"];

/// `authorization_details` (RFC 9396 §2): objects with a `type`, whose list members are lists of strings.
#[derive(Clone, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AuthorizationDetails(Vec<Members>);

/// A text that is none: no JSON array of objects with a `type`, a member of the wrong JSON type, or too much of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a JSON array of at most 8 objects with a `type`, in at most 4 KiB")]
pub struct DetailsFault;

impl AuthorizationDetails {
    /// Whether nothing is granted in detail.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The objects, each with its type.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Members)> {
        self.0.iter().map(|detail| (type_of(detail), detail))
    }

    /// Those that `keep` wants.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str, &Members) -> bool) -> Self {
        Self(self.0.iter().filter(|detail| keep(type_of(detail), detail)).cloned().collect())
    }

    /// Whether every object allows no more than one of `granted`.
    #[must_use]
    pub fn is_within(&self, granted: &Self) -> bool {
        self.0.iter().all(|detail| granted.0.iter().any(|granted| narrows(detail, granted)))
    }

    /// What of it is for a resource: objects that name no location, or this one (RFC 9396 §9.1).
    #[must_use]
    pub fn at(&self, location: &str) -> Self {
        self.filtered(|_, detail| match detail.get("locations") {
            Some(Json::Array(locations)) => locations.iter().any(|each| each == location),
            Some(_) | None => true,
        })
    }
}

/// A list may become shorter, but neither vanish nor become empty, which may mean "all"; any other member stays as it is.
fn narrows(detail: &Members, granted: &Members) -> bool {
    let same_members = detail.len() == granted.len() && detail.keys().all(|name| granted.contains_key(name));
    let narrower = |(name, value): (&String, &Json)| match (granted.get(name), value) {
        (Some(Json::Array(all)), Json::Array(some)) if LISTS.contains(&name.as_str()) => {
            some.iter().all(|each| all.contains(each)) && some.is_empty() == all.is_empty()
        }
        (Some(granted), value) => granted == value,
        (None, _) => false,
    };
    same_members && detail.iter().all(narrower)
}

fn type_of(detail: &Members) -> &str {
    detail.get("type").and_then(Json::as_str).unwrap_or_default()
}

/// RFC 9396 §2.2: the types of the members that every type has.
fn is_well_formed(detail: &Members) -> bool {
    let is_strings = |value: &Json| value.as_array().is_some_and(|all| all.iter().all(Json::is_string));
    !type_of(detail).is_empty()
        && LISTS.iter().all(|name| detail.get(*name).is_none_or(is_strings))
        && detail.get("identifier").is_none_or(Json::is_string)
}

impl FromStr for AuthorizationDetails {
    type Err = DetailsFault;

    fn from_str(text: &str) -> Result<Self, DetailsFault> {
        if text.len() > TEXT_LIMIT {
            return Err(DetailsFault);
        }
        let items = array(text.as_bytes()).map_err(|_| DetailsFault)?;
        if items.len() > COUNT_LIMIT {
            return Err(DetailsFault);
        }
        let object = |item| match item {
            Json::Object(detail) if is_well_formed(&detail) => Ok(detail),
            Json::Object(_) | Json::Array(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
                Err(DetailsFault)
            }
        };
        items.into_iter().map(object).collect::<Result<_, _>>().map(Self)
    }
}

/// In JSON.
impl fmt::Display for AuthorizationDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

/// Types only: the rest may be about somebody's account.
impl fmt::Debug for AuthorizationDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(text: &str) -> AuthorizationDetails {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn only_typed_objects_pass() {
        let many = format!("[{}]", [r#"{"type":"a"}"#; 9].join(","));
        let long = format!(r#"[{{"type":"a","x":"{}"}}]"#, "x".repeat(4_096));
        for bad in [
            "",
            "{}",
            r#"{"type":"a"}"#,
            "[1]",
            "[{}]",
            r#"[{"type":1}]"#,
            r#"[{"type":""}]"#,
            r#"[{"type":"a","type":"b"}]"#,
            r#"[{"type":"a","actions":"read"}]"#,
            r#"[{"type":"a","locations":[1]}]"#,
            r#"[{"type":"a","identifier":1}]"#,
            r#"[{"type":"a"}] x"#,
            &many,
            &long,
        ] {
            assert_eq!(bad.parse::<AuthorizationDetails>(), Err(DetailsFault), "{bad}");
        }
        assert!(details("[]").is_empty());
        let text = r#"[{"actions":["read"],"amount":{"value":1.5},"type":"a"}]"#;
        assert_eq!(details(text).to_string(), text);
    }

    #[test]
    fn nothing_widens() {
        let granted = details(r#"[{"type":"a","actions":["read","write"],"x":{"y":1}},{"type":"b","privileges":[]}]"#);
        for (asked, within) in [
            ("[]", true),
            (r#"[{"type":"a","actions":["read"],"x":{"y":1}}]"#, true),
            (r#"[{"x":{"y":1},"type":"a","actions":["write","read"]},{"type":"b","privileges":[]}]"#, true),
            (r#"[{"type":"a","actions":["read","delete"],"x":{"y":1}}]"#, false),
            (r#"[{"type":"a","actions":[],"x":{"y":1}}]"#, false),
            (r#"[{"type":"a","x":{"y":1}}]"#, false),
            (r#"[{"type":"a","actions":["read"],"x":{"y":2}}]"#, false),
            (r#"[{"type":"a","actions":["read"]}]"#, false),
            (r#"[{"type":"a","actions":["read"],"x":{"y":1},"z":1}]"#, false),
            (r#"[{"type":"b","privileges":["admin"]}]"#, false),
            (r#"[{"type":"c"}]"#, false),
        ] {
            assert_eq!(details(asked).is_within(&granted), within, "{asked}");
        }
    }

    #[test]
    fn a_resource_is_told_what_is_for_it() {
        let all =
            details(r#"[{"type":"a","locations":["https://a"]},{"type":"b","locations":["https://b"]},{"type":"c"}]"#);
        let types: Vec<_> = all.at("https://a").iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(types, ["a", "c"]);
    }
}
