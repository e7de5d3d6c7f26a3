//! JSON objects from people we do not trust: bounded depth, no duplicate members, and a member of the wrong type is a
//! fault, never an absence.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
pub use serde_json::Value as Json;

use crate::clock::Timestamp;

/// How deep objects and arrays may nest.
const DEPTH_LIMIT: u8 = 8;

/// The members of an object.
pub type Members = serde_json::Map<String, Json>;

/// Why bytes are not a JSON object that we take, or a member not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JsonFault {
    /// Not JSON, not UTF-8, a duplicate member, or nested too deep.
    #[error("not a well-formed JSON object without duplicate members")]
    Malformed,
    /// A member that must be there is not.
    #[error("a required member is missing")]
    Missing,
    /// A member has another JSON type than it must have.
    #[error("a member has the wrong type")]
    WrongType,
}

/// Parses one JSON object.
///
/// # Errors
/// [`JsonFault::Malformed`] for anything else: arrays, trailing text, a byte-order mark, duplicate members (RFC 7515 §4
/// lets a receiver refuse them), objects nested deeper than eight levels.
pub fn object(bytes: &[u8]) -> Result<Members, JsonFault> {
    match value(bytes)? {
        Json::Object(members) => Ok(members),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => Err(JsonFault::Malformed),
    }
}

/// Parses one JSON array, as strictly as [`object`].
///
/// # Errors
/// [`JsonFault::Malformed`] for anything else.
pub fn array(bytes: &[u8]) -> Result<Vec<Json>, JsonFault> {
    match value(bytes)? {
        Json::Array(items) => Ok(items),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => Err(JsonFault::Malformed),
    }
}

fn value(bytes: &[u8]) -> Result<Json, JsonFault> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(|_| JsonFault::Malformed)?;
    deserializer.end().map_err(|_| JsonFault::Malformed)?;
    Ok(value)
}

/// Reads a string member; `None` if it is absent.
///
/// # Errors
/// [`JsonFault::WrongType`].
pub fn optional_text<'a>(members: &'a Members, name: &str) -> Result<Option<&'a str>, JsonFault> {
    match members.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            Err(JsonFault::WrongType)
        }
    }
}

/// Reads a string member that must be there and not be empty.
///
/// # Errors
/// [`JsonFault::Missing`], [`JsonFault::WrongType`].
pub fn required_text<'a>(members: &'a Members, name: &str) -> Result<&'a str, JsonFault> {
    optional_text(members, name)?.filter(|text| !text.is_empty()).ok_or(JsonFault::Missing)
}

/// Reads a `NumericDate` (RFC 7519 §2): a finite JSON number from 0 to 2^53, a fraction allowed; `None` if it is absent.
///
/// # Errors
/// [`JsonFault::WrongType`], also for numbers out of range.
pub fn optional_time(members: &Members, name: &str) -> Result<Option<Timestamp>, JsonFault> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    match members.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => {
            let seconds = number.as_f64().filter(|seconds| (0.0..=LIMIT).contains(seconds));
            let seconds = seconds.ok_or(JsonFault::WrongType)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the range was checked, and a fraction of a millisecond is nothing"
            )]
            Ok(Some(Timestamp::from_millis((seconds * 1_000.0) as i64)))
        }
        Some(Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_)) => {
            Err(JsonFault::WrongType)
        }
    }
}

/// Deserializes any JSON value, refusing what [`object`] refuses.
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: de::Error>(&self) -> Result<Self, E> {
        if self.depth == DEPTH_LIMIT {
            return Err(E::custom("nested too deep"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self.deeper()?)? {
            out.push(item);
        }
        Ok(Json::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut out = Members::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.deeper()?)?;
            if out.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Json::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_objects_pass() {
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            "{} x",
            "\u{feff}{}",
            "{\"a\":1e400}",
            "{\"a\":[[[[[[[[[1]]]]]]]]]}",
        ] {
            assert_eq!(object(bad.as_bytes()), Err(JsonFault::Malformed), "{bad}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(JsonFault::Malformed));
        assert!(object(b" {\"a\":{\"b\":[1,2.5,null,true]}} ").is_ok());
    }

    #[test]
    fn times_are_numbers_within_bounds() {
        for (text, time) in [
            ("{\"iat\":1760000000}", Ok(Some(Timestamp::from_seconds(1_760_000_000)))),
            ("{\"iat\":1.5}", Ok(Some(Timestamp::from_millis(1_500)))),
            ("{}", Ok(None)),
            ("{\"iat\":null}", Err(JsonFault::WrongType)),
            ("{\"iat\":\"1\"}", Err(JsonFault::WrongType)),
            ("{\"iat\":-1}", Err(JsonFault::WrongType)),
            ("{\"iat\":1e308}", Err(JsonFault::WrongType)),
            ("{\"iat\":9223372036854775808}", Err(JsonFault::WrongType)),
        ] {
            let members = object(text.as_bytes()).expect("a JSON object");
            assert_eq!(optional_time(&members, "iat"), time, "{text}");
        }
    }
}
