//! How our values stand in columns: names as text, digests as bytes, times as milliseconds.

use std::error::Error;
use std::str::FromStr;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::clock::Timestamp;
use crate::ident::{Acr, Audience, ClientId, Resources, Subject};
use crate::jose::{ASSERTION_ALGORITHMS, Algorithm, Thumbprint};
use crate::scope::Scopes;
use crate::secret::{Digest, Kind};
use crate::store::record::UnknownName;
use crate::store::{EndedBy, GrantHandle, SessionId, TransactionId};
use crate::token::{AuthorizationDetails, RequestedClaims};

/// What the driver takes for a fault.
type Fault = Box<dyn Error + Sync + Send>;

/// A fixed number of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<const N: usize>(pub(super) [u8; N]);

/// Text that may hold any character: a text column does not take all.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyText<'a>(pub(super) &'a str);

/// Text that was stored as [`AnyText`].
#[derive(Debug)]
pub(super) struct ReadText(pub(super) String);

/// A type that stands in a column of type `$sql`, with its two ways. What an unknown version wrote is a fault, not a guess.
macro_rules! column {
    (impl[$($generic:tt)*] $name:ty as $sql:ident, $to:expr, $from:expr) => {
        impl<$($generic)*> ToSql for $name {
            fn to_sql(&self, sql: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
                let to: fn(&$name, &Type, &mut BytesMut) -> Result<IsNull, Fault> = $to;
                to(self, sql, out)
            }

            fn accepts(sql: &Type) -> bool {
                *sql == Type::$sql
            }

            to_sql_checked!();
        }

        impl<'a, $($generic)*> FromSql<'a> for $name {
            fn from_sql(sql: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                let from: fn(&Type, &'a [u8]) -> Result<$name, Fault> = $from;
                from(sql, raw)
            }

            fn accepts(sql: &Type) -> bool {
                *sql == Type::$sql
            }
        }
    };
}

/// Writes text.
fn text(value: &str, sql: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
    value.to_sql(sql, out)
}

/// Reads text of a type that checks its grammar.
fn parse<T: FromStr<Err: Error + Send + Sync + 'static>>(sql: &Type, raw: &[u8]) -> Result<T, Fault> {
    Ok(<&str>::from_sql(sql, raw)?.parse()?)
}

/// Writes bytes.
fn bytes(value: &[u8], sql: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
    value.to_sql(sql, out)
}

/// Reads so many bytes.
fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], Fault> {
    Ok(raw.try_into()?)
}

column!(impl[] Acr as TEXT, |value, sql, out| text(value.as_str(), sql, out), parse);
column!(impl[] ClientId as TEXT, |value, sql, out| text(value.as_str(), sql, out), parse);
column!(impl[] Subject as TEXT, |value, sql, out| text(value.as_str(), sql, out), parse);
column!(impl[] Audience as TEXT, |value, sql, out| text(value.as_str(), sql, out), parse);
column!(impl[] Resources as TEXT, |value, sql, out| text(value.as_str(), sql, out), parse);
column!(impl[] Scopes as TEXT, |value, sql, out| text(&value.to_string(), sql, out), parse);
column!(impl[] AuthorizationDetails as TEXT, |value, sql, out| text(&value.to_string(), sql, out), parse);
column!(impl[] RequestedClaims as TEXT, |value, sql, out| text(&value.to_string(), sql, out), parse);
column!(impl[] EndedBy as TEXT, |value, sql, out| text(value.name(), sql, out), parse);
column!(impl[] Algorithm as TEXT, |value, sql, out| text(value.name(), sql, out), |sql, raw| {
    let known = Self::among(ASSERTION_ALGORITHMS, <&str>::from_sql(sql, raw)?); // which are all that there are
    known.ok_or_else(|| UnknownName.into())
});
column!(impl[] Timestamp as INT8, |value, sql, out| value.millis().to_sql(sql, out), |sql, raw| {
    i64::from_sql(sql, raw).map(Self::from_millis)
});
column!(impl[] GrantHandle as BYTEA, |value, sql, out| bytes(&value.0, sql, out), |_, raw| fixed(raw).map(Self));
column!(impl[] TransactionId as BYTEA, |value, sql, out| bytes(&value.0, sql, out), |_, raw| fixed(raw).map(Self));
column!(impl[] SessionId as BYTEA, |value, sql, out| bytes(&value.0, sql, out), |_, raw| fixed(raw).map(Self));
column!(impl[] Thumbprint as BYTEA, |value, sql, out| bytes(value.as_bytes(), sql, out), |_, raw| {
    fixed(raw).map(Self::from_bytes)
});
column!(impl[K: Kind] Digest<K> as BYTEA, |value, sql, out| bytes(value.as_bytes(), sql, out), |_, raw| {
    fixed(raw).map(Self::from_bytes)
});
column!(impl[const N: usize] Bytes<N> as BYTEA, |value, sql, out| bytes(&value.0, sql, out), |_, raw| {
    fixed(raw).map(Self)
});

impl ToSql for AnyText<'_> {
    fn to_sql(&self, sql: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        bytes(self.0.as_bytes(), sql, out)
    }

    fn accepts(sql: &Type) -> bool {
        *sql == Type::BYTEA
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for ReadText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(sql: &Type) -> bool {
        *sql == Type::BYTEA
    }
}
