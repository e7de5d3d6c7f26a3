//! What the file may say about clients.

use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::authorization_server::{Profile, SigningAlgorithm};
use super::protected_resource::ResourceUri;
use super::workload_issuer::{ServiceAccountFile, SpiffeIdFile};
use crate::certificate::DistinguishedName;
use crate::fetch::FetchUrl;
use crate::ident::{Acr, ClientId};
use crate::jose::Members;
use crate::oauth::client::GrantType;
use crate::scope::Scopes;
use crate::secret::ClientSecretHash;
use crate::token::AccessTokenFormat;
use crate::uri::RedirectUri;

/// A registered client (RFC 7591 §2).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClientFile {
    /// The identifier: 1 to 512 printable ASCII characters.
    #[schemars(required)]
    pub(in crate::config) client_id: Option<Given<Parsed<ClientId>>>,
    /// What people are shown: 1 to 200 characters. Default: the `client_id`.
    pub(in crate::config) client_name: Option<Given<String>>,
    /// How the client authenticates.
    #[schemars(extend("default" = "client_secret_basic"))]
    pub(in crate::config) token_endpoint_auth_method: Option<Given<AuthMethod>>,
    /// For `private_key_jwt`: the only algorithm of its assertions. Default: any that its keys allow.
    pub(in crate::config) token_endpoint_auth_signing_alg: Option<Given<SigningAlgorithm>>,
    /// For `private_key_jwt`, and for request objects: the public keys (RFC 7517 §5). For `self_signed_tls_client_auth`: the certificates, each as the
    /// first of the `x5c` of a key (RFC 8705 §2.2.2); for a key without `x5c` any certificate that certifies it.
    pub(in crate::config) jwks: Option<Given<KeySetFile>>,
    /// Instead of `jwks`: where the client publishes these keys (https, or http on loopback). They are fetched when they are
    /// needed, kept for five minutes to an hour as `Cache-Control` says, and fetched again for an unknown `kid`. Not for
    /// `self_signed_tls_client_auth`.
    pub(in crate::config) jwks_uri: Option<Given<Parsed<FetchUrl>>>,
    /// For `client_secret_basic` and `client_secret_post`: a file with the secret, at least 32 characters.
    pub(in crate::config) client_secret_file: Option<Given<String>>,
    /// Instead of `client_secret_file`: `sha256:` and the hash of the secret in base64url without padding.
    pub(in crate::config) client_secret_hash: Option<Given<Parsed<SecretHash>>>,
    /// For `tls_client_auth`: the distinguished name of the certificate, in the form of RFC 4514.
    pub(in crate::config) tls_client_auth_subject_dn: Option<Given<Parsed<DistinguishedName>>>,
    /// For `tls_client_auth`: a DNS name of the certificate.
    pub(in crate::config) tls_client_auth_san_dns: Option<Given<String>>,
    /// For `tls_client_auth`: a URI of the certificate, such as a SPIFFE ID.
    pub(in crate::config) tls_client_auth_san_uri: Option<Given<String>>,
    /// For `tls_client_auth`: an IP address of the certificate.
    pub(in crate::config) tls_client_auth_san_ip: Option<Given<Parsed<IpAddr>>>,
    /// For `tls_client_auth`: an e-mail address of the certificate.
    pub(in crate::config) tls_client_auth_san_email: Option<Given<String>>,
    /// The grants that the client may use.
    #[schemars(extend("default" = ["authorization_code"]))]
    pub(in crate::config) grant_types: Option<Given<Vec<Given<GrantTypeWord>>>>,
    /// Where answers to authorization requests go: https, a private-use scheme with a dot in it, or http on loopback,
    /// whose port the client may choose. Required for `authorization_code`. Compared exactly.
    pub(in crate::config) redirect_uris: Option<Given<Vec<Given<Parsed<RedirectUri>>>>>,
    /// Where a browser may go after its person has signed out on behalf of the client (OpenID Connect RP-Initiated Logout).
    /// Compared exactly.
    pub(in crate::config) post_logout_redirect_uris: Option<Given<Vec<Given<Parsed<RedirectUri>>>>>,
    /// The scopes that the client may ask for, separated by spaces; each must be one of `scopes`. Default: none.
    pub(in crate::config) scope: Option<Given<Parsed<Scopes>>>,
    /// Whether the client must bring a DPoP proof (RFC 9449 §5.2): it then gets no token that a thief could use.
    #[schemars(extend("default" = false))]
    pub(in crate::config) dpop_bound_access_tokens: Option<Given<bool>>,
    /// Whether access tokens are bound to the certificate of the client's connection (RFC 8705 §3) when it brings no DPoP
    /// proof; without a certificate it gets none.
    #[schemars(extend("default" = false))]
    pub(in crate::config) tls_client_certificate_bound_access_tokens: Option<Given<bool>>,
    /// Whether the client must push its authorization requests (RFC 9126 §6).
    #[schemars(extend("default" = false))]
    pub(in crate::config) require_pushed_authorization_requests: Option<Given<bool>>,
    /// Whether the client must sign its authorization requests (RFC 9101 §10.5), with a key in `jwks`.
    #[schemars(extend("default" = false))]
    pub(in crate::config) require_signed_request_object: Option<Given<bool>>,
    /// The only algorithm of its request objects. Default: any that its keys allow.
    pub(in crate::config) request_object_signing_alg: Option<Given<SigningAlgorithm>>,
    /// What authorization responses are signed with that the client asks for with `response_mode=jwt` (JARM). It must be
    /// `signing.algorithm`, and is so by default.
    pub(in crate::config) authorization_signed_response_alg: Option<Given<SigningAlgorithm>>,
    /// Whether its authorization requests must have a PKCE challenge (RFC 7636). `false` only for a client that authenticates,
    /// uses nonces and cannot do it (RFC 9700 §2.1.1).
    #[schemars(extend("default" = true))]
    pub(in crate::config) require_pkce: Option<Given<bool>>,
    /// The age that a sign-in may have if a request has no `max_age`. Default: any.
    pub(in crate::config) default_max_age: Option<Given<Lifetime>>,
    /// How well people should be recognised if a request has no `acr_values`. Default: anyhow.
    pub(in crate::config) default_acr_values: Option<Given<Vec<Given<Parsed<Acr>>>>>,
    /// What the client knows people as (OpenID Connect Core §8): `public` is the same `sub` as for other clients, `pairwise` one
    /// that only the clients of its sector are told, in its access tokens too.
    #[schemars(extend("default" = "public"))]
    pub(in crate::config) subject_type: Option<Given<SubjectTypeWord>>,
    /// For `pairwise`: the https URL whose host is the sector. Default: the host of the redirect URIs, which must be one. It
    /// is not fetched: that the client belongs there is your word.
    pub(in crate::config) sector_identifier_uri: Option<Given<Parsed<RedirectUri>>>,
    /// Where the client hears that a session has ended in which its person had signed in there (OpenID Connect Back-Channel
    /// Logout 1.0): an https URL, or http on loopback. It is told in the background, up to four times within half a minute;
    /// what is under way when the server crashes is lost. `client_documents.private_addresses` counts for it too.
    pub(in crate::config) backchannel_logout_uri: Option<Given<Parsed<FetchUrl>>>,
    /// Whether it must be told which session that is (`sid`), and otherwise nothing.
    #[schemars(extend("default" = false))]
    pub(in crate::config) backchannel_logout_session_required: Option<Given<bool>>,
    /// Whether an upstream provider or a proxy must say when the person signed in. ID tokens have `auth_time` in any case, but
    /// otherwise one that does not say is taken to have asked just now.
    #[schemars(extend("default" = false))]
    pub(in crate::config) require_auth_time: Option<Given<bool>>,
    /// The types of `authorization_details` that the client may ask for; each must be one of the server's. Default: none.
    pub(in crate::config) authorization_details_types: Option<Given<Vec<Given<String>>>>,
    /// The set of rules that the client must keep. Default: that of the server.
    pub(in crate::config) profile: Option<Given<Profile>>,
    /// Whether each refresh gives a new refresh token. Default under `profile: fapi2`: `never`.
    #[schemars(extend("default" = "always"))]
    pub(in crate::config) refresh_token_rotation: Option<Given<RotationWord>>,
    /// The form of its access tokens. Those for a resource with `access_token_format: opaque` are handles in any case.
    #[schemars(extend("default" = "jwt"))]
    pub(in crate::config) access_token_format: Option<Given<AccessTokenFormatWord>>,
    /// The resources that the client is the server of: it may ask whether the access tokens that it is called with are good
    /// (RFC 7662). Any client that authenticates may ask about its own tokens. Default: none.
    pub(in crate::config) introspects: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
    /// The service account of Kubernetes that the client is.
    pub(in crate::config) service_account: Option<Given<ServiceAccountFile>>,
    /// The SPIFFE workload that the client is, such as `spiffe://example.org/ns/shop/sa/billing`.
    pub(in crate::config) spiffe_id: Option<SpiffeIdFile>,
    /// For `urn:ietf:params:oauth:grant-type:token-exchange`: on whose behalf the client may act, and where.
    pub(in crate::config) token_exchange: Option<Given<TokenExchangeFile>>,
}

/// On whose behalf a client may act, and where (RFC 8693).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenExchangeFile {
    /// The resources that the client is the server of: it exchanges the access tokens that it is called with.
    #[schemars(required)]
    pub(in crate::config) from: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
    /// The resources that it may call. The new token allows no more than the old one, for no longer, and names the client as
    /// the actor.
    #[schemars(required)]
    pub(in crate::config) to: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
}

/// How a client authenticates.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AuthMethod {
    /// Not at all: a public client, such as an app or a single-page application.
    None,
    /// With a secret in the `Authorization` header (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// With a secret in the body (RFC 6749 §2.3.1).
    ClientSecretPost,
    /// With an assertion signed by its key (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// With a TLS certificate for which an authority vouches (RFC 8705 §2.1).
    TlsClientAuth,
    /// With a TLS certificate that is registered (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
    /// With a JWT-SVID of SPIFFE (draft-ietf-oauth-spiffe-client-auth). Needs `spiffe_id`, and a proof or a certificate.
    SpiffeJwt,
    /// With a projected service-account token of Kubernetes. Needs `service_account`, and a proof or a certificate.
    #[serde(rename = "urn:tollgate:client-auth:kubernetes-service-account")]
    Kubernetes,
}

impl AuthMethod {
    /// The name of the method.
    pub(in crate::config) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::SpiffeJwt => crate::oauth::workload::SPIFFE_JWT,
            Self::Kubernetes => crate::oauth::workload::KUBERNETES,
        }
    }
}

/// A grant.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
pub(in crate::config) enum GrantTypeWord {
    /// RFC 6749 §4.1, with PKCE.
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// RFC 6749 §6.
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// RFC 6749 §4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 8628: for devices without a browser or a keyboard.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
    /// RFC 8693: for services that call others on behalf of who has called them. Needs `token_exchange`.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

impl GrantTypeWord {
    /// The grant type as the rules know it.
    pub(in crate::config) const fn grant(self) -> GrantType {
        match self {
            Self::AuthorizationCode => GrantType::AuthorizationCode,
            Self::RefreshToken => GrantType::RefreshToken,
            Self::ClientCredentials => GrantType::ClientCredentials,
            Self::DeviceCode => GrantType::DeviceCode,
            Self::TokenExchange => GrantType::TokenExchange,
        }
    }
}

/// Whether each refresh gives a new refresh token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RotationWord {
    /// Yes; the previous one works until its successor was used.
    Always,
    /// No. Only for clients that authenticate (RFC 9700 §2.2.2).
    Never,
}

/// The form of access tokens.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AccessTokenFormatWord {
    /// A JWT (RFC 9068): who receives it judges it alone.
    Jwt,
    /// A handle of 47 characters that says nothing: the gate of this server looks it up, others ask at the introspection
    /// endpoint (RFC 7662). Each is kept until it expires, see `store.*.limits.access_tokens`.
    Opaque,
}

impl AccessTokenFormatWord {
    /// The format as the rules know it.
    pub(in crate::config) const fn format(self) -> AccessTokenFormat {
        match self {
            Self::Jwt => AccessTokenFormat::Jwt,
            Self::Opaque => AccessTokenFormat::Opaque,
        }
    }
}

/// What clients know people as.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SubjectTypeWord {
    /// The same `sub` for every client.
    Public,
    /// One for each sector.
    Pairwise,
}

/// Public keys (RFC 7517 §5).
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::config) struct KeySetFile {
    /// The keys. Private members are refused.
    pub(in crate::config) keys: Option<Given<Vec<Given<Members>>>>,
}

/// `client_secret_hash`.
#[derive(Clone, Debug)]
pub(in crate::config) struct SecretHash(pub(in crate::config) ClientSecretHash);

/// A text that is no `client_secret_hash`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be `sha256:` and 43 characters of base64url")]
pub(in crate::config) struct SecretHashFault;

impl FromStr for SecretHash {
    type Err = SecretHashFault;

    fn from_str(text: &str) -> Result<Self, SecretHashFault> {
        ClientSecretHash::parse(text).map(Self).ok_or(SecretHashFault)
    }
}
