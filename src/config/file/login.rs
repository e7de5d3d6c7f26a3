//! What the file may say about how people sign in.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::authorization_server::SigningAlgorithm;
use super::client::AuthMethod;
use crate::ident::ClientId;
use crate::identity::{Network, UpstreamIssuer};
use crate::oauth::ExternalEndpoint;
use crate::scope::Scopes;

/// How people sign in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum LoginFile {
    /// With a password that this server knows the Argon2id hash of.
    Local(Given<LocalLoginFile>),
    /// At an upstream OpenID provider. This server is a client of it, with the redirect URI `ISSUER/login/callback`.
    Oidc(Box<Given<OidcLoginFile>>),
    /// At a proxy in front, such as oauth2-proxy, which says in headers who it is.
    Header(Box<Given<HeaderLoginFile>>),
    /// At an authorization endpoint that exists already. It drives Tollgate through `tollgate.admin.v1`, and requires
    /// `listen.admin.grpc`.
    External(Given<ExternalLoginFile>),
}

/// Sign-in at an authorization endpoint that exists already.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ExternalLoginFile {
    /// Its URL: https, or http on loopback. The metadata names it, and browsers that come to ours are sent there.
    #[schemars(required)]
    pub(in crate::config) authorization_endpoint: Option<Given<Parsed<ExternalEndpoint>>>,
}

/// Sign-in at an upstream OpenID provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OidcLoginFile {
    /// Its issuer identifier, byte for byte: https, or http on loopback. The rest comes from its discovery document.
    #[schemars(required)]
    pub(in crate::config) issuer: Option<Given<Parsed<UpstreamIssuer>>>,
    /// What this server is called there.
    #[schemars(required)]
    pub(in crate::config) client_id: Option<Given<Parsed<ClientId>>>,
    /// How this server authenticates there: `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`. Default:
    /// as the files below allow.
    pub(in crate::config) token_endpoint_auth_method: Option<Given<AuthMethod>>,
    /// A file with the secret, for `client_secret_basic` (the default with it) and `client_secret_post`.
    pub(in crate::config) client_secret_file: Option<Given<String>>,
    /// A file with the private key, in PEM (PKCS #8), for `private_key_jwt`. The `kid` of its assertions is the thumbprint of
    /// the key (RFC 7638).
    pub(in crate::config) client_key_file: Option<Given<String>>,
    /// What `client_key_file` signs with.
    #[schemars(extend("default" = "ES256"))]
    pub(in crate::config) token_endpoint_auth_signing_alg: Option<Given<SigningAlgorithm>>,
    /// The scopes that are asked for there, separated by spaces; `openid` must be among them.
    #[schemars(extend("default" = "openid profile email"))]
    pub(in crate::config) scopes: Option<Given<Parsed<Scopes>>>,
    /// Where the claims about a person are, in the ID token or else at UserInfo.
    pub(in crate::config) claims: Option<Given<ClaimNamesFile>>,
    /// How long one request to the provider may take. At most 30 seconds.
    #[schemars(extend("default" = "5s"))]
    pub(in crate::config) timeout: Option<Given<Lifetime>>,
}

/// Where the claims about a person are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClaimNamesFile {
    /// What names the person for good: it becomes the `sub` of their tokens. `email` counts only with `email_verified`.
    #[schemars(extend("default" = "sub"))]
    pub(in crate::config) subject: Option<Given<String>>,
    /// What they are called.
    #[schemars(extend("default" = "name"))]
    pub(in crate::config) name: Option<Given<String>>,
    /// Their e-mail address.
    #[schemars(extend("default" = "email"))]
    pub(in crate::config) email: Option<Given<String>>,
}

/// Sign-in at a proxy in front. It must remove these headers from what its callers send: whoever sets them is whoever he
/// likes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HeaderLoginFile {
    /// The header that names the person for good: it becomes the `sub` of their tokens.
    #[schemars(required)]
    pub(in crate::config) subject: Option<Given<Parsed<HeaderWord>>>,
    /// The header with what they are called. Default: as `subject` says.
    pub(in crate::config) name: Option<Given<Parsed<HeaderWord>>>,
    /// The header with their e-mail address.
    pub(in crate::config) email: Option<Given<Parsed<HeaderWord>>>,
    /// The header that says how well they were recognised (`acr`).
    pub(in crate::config) acr: Option<Given<Parsed<HeaderWord>>>,
    /// The header that says when they signed in, in seconds since 1970. Without it no request with `max_age` or
    /// `prompt=login` can be met.
    pub(in crate::config) auth_time: Option<Given<Parsed<HeaderWord>>>,
    /// The addresses and networks of the proxy; headers from elsewhere do not count.
    #[schemars(extend("default" = ["127.0.0.0/8", "::1"]))]
    pub(in crate::config) from: Option<Given<Vec<Given<Parsed<Network>>>>>,
}

/// Sign-in with a password.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LocalLoginFile {
    /// A YAML file with `users`: `username`, `password_hash` (from `tollgate hash-password`), `subject` and so on.
    #[schemars(required)]
    pub(in crate::config) users_file: Option<Given<String>>,
}

/// The name of a header, in lower case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(in crate::config) struct HeaderWord(pub(in crate::config) String);

/// A text that is no name of a header that a proxy may speak in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be the name of a header that nothing else uses, such as x-forwarded-user")]
pub(in crate::config) struct HeaderWordFault;

impl FromStr for HeaderWord {
    type Err = HeaderWordFault;

    fn from_str(text: &str) -> Result<Self, HeaderWordFault> {
        const TAKEN: [&str; 8] =
            ["authorization", "connection", "content-type", "cookie", "dpop", "host", "origin", "transfer-encoding"];
        let name = http::HeaderName::try_from(text).map_err(|_| HeaderWordFault)?;
        if TAKEN.contains(&name.as_str()) { Err(HeaderWordFault) } else { Ok(Self(name.as_str().to_owned())) }
    }
}
