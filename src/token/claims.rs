//! The claims of an access token (RFC 9068 §2.2), as we write them.

use serde::Serialize;

use crate::jose::Thumbprint;

/// The `typ` of an access token (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// What an access token says.
#[derive(Debug, Serialize)]
pub struct AccessTokenClaims<'a> {
    /// Who issued it.
    pub iss: &'a str,
    /// Whom it speaks for: a person, or for `client_credentials` the client itself.
    pub sub: &'a str,
    /// The one resource it is for.
    pub aud: &'a str,
    /// Whom it was issued to.
    pub client_id: &'a str,
    /// What it allows.
    pub scope: String,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
    /// Its own name.
    pub jti: String,
    /// When the person signed in; a client that speaks for itself has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// What its bearer must prove (RFC 7800).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

/// The `cnf` claim with `jkt` (RFC 9449 §6.1).
#[derive(Debug, Serialize)]
pub struct Confirmation {
    /// The thumbprint of the client's key.
    pub jkt: String,
}

impl From<Thumbprint> for Confirmation {
    fn from(key: Thumbprint) -> Self {
        Self { jkt: key.to_string() }
    }
}
