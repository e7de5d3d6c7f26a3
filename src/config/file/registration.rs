//! What the file may say about clients that are not written down in it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::client::{GrantTypeWord, SecretHash};
use crate::scope::Scopes;

/// Clients whose `client_id` is the URL of a document about them (Client ID Metadata Documents); off unless it is here. They
/// authenticate with `none` or `private_key_jwt`, sign people in, and get refresh tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct MetadataDocumentsFile {
    /// The scopes that these clients may ask for, separated by spaces; each must be one of `scopes`.
    #[schemars(required)]
    pub(in crate::config) scope: Option<Given<Parsed<Scopes>>>,
    /// The hosts at which documents may be, by name, such as `app.example.com`. Default: any that is not private
    /// (`client_documents`).
    pub(in crate::config) hosts: Option<Given<Vec<Given<String>>>>,
}

/// Dynamic registration (RFC 7591, RFC 7592) at `/oauth/register`; off unless it is here. Who may register is said by exactly
/// one of `initial_access_token_file`, `initial_access_token_hash` and `open`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RegistrationFile {
    /// A file with the initial access token, at least 32 characters: whoever has it may register clients.
    pub(in crate::config) initial_access_token_file: Option<Given<String>>,
    /// Instead of the file: `sha256:` and the hash of the token in base64url without padding.
    pub(in crate::config) initial_access_token_hash: Option<Given<Parsed<SecretHash>>>,
    /// Whether everybody may register clients: 20 at once from one address, then one a minute. Such clients get tokens for
    /// people only, who are told that nobody has checked the client.
    #[schemars(extend("default" = false))]
    pub(in crate::config) open: Option<Given<bool>>,
    /// The scopes that these clients may ask for, separated by spaces; each must be one of `scopes`.
    #[schemars(required)]
    pub(in crate::config) scope: Option<Given<Parsed<Scopes>>>,
    /// The grants that they may use. `client_credentials` and the device grant are only for who has an initial access token;
    /// token exchange for nobody.
    #[schemars(extend("default" = ["authorization_code", "refresh_token"]))]
    pub(in crate::config) grant_types: Option<Given<Vec<Given<GrantTypeWord>>>>,
    /// With `open`: how long a client is kept that has no grant. At most `365d`.
    #[schemars(extend("default" = "7d"))]
    pub(in crate::config) forget_unused: Option<Given<Lifetime>>,
}
