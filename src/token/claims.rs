//! The claims of an access token (RFC 9068 §2.2), as we write them.

use serde::Serialize;

use super::{AuthorizationDetails, Status};
use crate::certificate::CertificateThumbprint;
use crate::jose::{Json, Thumbprint};

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
    /// What it allows in detail (RFC 9396 §9.1).
    #[serde(skip_serializing_if = "AuthorizationDetails::is_empty")]
    pub authorization_details: AuthorizationDetails,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
    /// Its own name.
    pub jti: String,
    /// The grant with which it ends, in base64url; a client that speaks for itself has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// When the person signed in; a client that speaks for itself has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How well that person was recognised, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<&'a str>,
    /// Who acts for the subject (RFC 8693 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<&'a Json>,
    /// Where it is told whether it was revoked (draft-ietf-oauth-status-list-20 §6.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What its bearer must prove (RFC 7800).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

/// What a token that we issue is bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Binding {
    /// The key of DPoP proofs (RFC 9449 §6).
    Key(Thumbprint),
    /// The certificate of connections (RFC 8705 §3).
    Certificate(CertificateThumbprint),
}

/// The `cnf` claim (RFC 7800 §3.1).
#[derive(Debug, Serialize)]
pub enum Confirmation {
    /// The thumbprint of the client's key (RFC 9449 §6.1).
    #[serde(rename = "jkt")]
    Key(String),
    /// The thumbprint of the client's certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    Certificate(String),
}

impl From<Binding> for Confirmation {
    fn from(binding: Binding) -> Self {
        match binding {
            Binding::Key(key) => Self::Key(key.to_string()),
            Binding::Certificate(certificate) => Self::Certificate(certificate.to_string()),
        }
    }
}
