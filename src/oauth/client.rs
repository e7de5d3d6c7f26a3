//! Registered clients, by the metadata of RFC 7591 §2.

use std::time::Duration;

use crate::certificate::{CertificateSubject, CertificateThumbprint, ClientCertificate};
use crate::fetch::{FetchUrl, Reach};
use crate::ident::{Acr, Audience, ClientId};
use crate::jose::{ASSERTION_ALGORITHMS, Algorithm, PROOF_ALGORITHMS, PublicKey, Thumbprint};
use crate::scope::Scopes;
use crate::secret::ClientSecretHash;
use crate::token::AccessTokenFormat;
use crate::uri::RedirectUri;

use super::workload::Workload;

/// A grant type that we know (RFC 6749 §1.3, §6).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum GrantType {
    /// RFC 6749 §4.1.
    AuthorizationCode,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 8628 §3.4.
    DeviceCode,
    /// RFC 8693 §2.1.
    TokenExchange,
}

impl GrantType {
    /// Every grant type.
    pub const ALL: [Self; 5] =
        [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials, Self::DeviceCode, Self::TokenExchange];

    /// The value of `grant_type`, case-sensitive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    /// Whether a person approves it: it begins a grant, which may have refresh tokens.
    #[must_use]
    pub const fn asks_a_person(self) -> bool {
        match self {
            Self::AuthorizationCode | Self::DeviceCode => true,
            Self::RefreshToken | Self::ClientCredentials | Self::TokenExchange => false,
        }
    }

    /// Whether only clients may use it that authenticate: whoever gets tokens for itself, or acts for others, must be known
    /// (RFC 6749 §4.4).
    #[must_use]
    pub const fn needs_authentication(self) -> bool {
        match self {
            Self::ClientCredentials | Self::TokenExchange => true,
            Self::AuthorizationCode | Self::RefreshToken | Self::DeviceCode => false,
        }
    }

    /// The grant type of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }
}

/// How a client authenticates, with what is needed to check it (RFC 7591 §2 `token_endpoint_auth_method`).
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// `none`: a public client, identified by its `client_id` only.
    None,
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    SecretBasic(ClientSecretHash),
    /// `client_secret_post` (RFC 6749 §2.3.1).
    SecretPost(ClientSecretHash),
    /// `private_key_jwt` (OpenID Connect Core §9, RFC 7523 §2.2).
    PrivateKeyJwt {
        /// The public keys of the client.
        keys: ClientKeys,
        /// `token_endpoint_auth_signing_alg`: the only algorithm it may use, if it registered one.
        algorithm: Option<Algorithm>,
    },
    /// `tls_client_auth` (RFC 8705 §2.1): a certificate with this subject, for which an authority vouches.
    TlsClientAuth(CertificateSubject),
    /// `self_signed_tls_client_auth` (RFC 8705 §2.2): one of these certificates, whoever signed it.
    SelfSignedTlsClientAuth(RegisteredCertificates),
    /// `spiffe_jwt`, or our own name for service accounts of Kubernetes: what the platform of this workload says.
    Workload(Workload),
}

/// Where the public keys of a client are. It has `jwks` or `jwks_uri`, never both (RFC 7591 §2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientKeys {
    /// `jwks`: these.
    Registered(Vec<PublicKey>),
    /// `jwks_uri`: where the client publishes them, and may change them.
    Published(KeysAt),
}

impl From<Vec<PublicKey>> for ClientKeys {
    fn from(keys: Vec<PublicKey>) -> Self {
        Self::Registered(keys)
    }
}

/// Where a client publishes its keys.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KeysAt {
    /// `jwks_uri`.
    pub url: FetchUrl,
    /// Which addresses may be asked for it.
    pub reach: Reach,
}

/// The certificates of a client, by its `jwks` (RFC 8705 §2.2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegisteredCertificates {
    /// The first of each `x5c`.
    pub certificates: Vec<CertificateThumbprint>,
    /// Keys without `x5c`: any certificate for one of them will do.
    pub keys: Vec<Thumbprint>,
}

impl RegisteredCertificates {
    /// Whether this certificate is one of them.
    #[must_use]
    pub fn hold(&self, certificate: &ClientCertificate) -> bool {
        self.certificates.contains(&certificate.thumbprint())
            || (!self.keys.is_empty() && certificate.key().is_some_and(|key| self.keys.contains(&key)))
    }
}

impl ClientAuthentication {
    /// The name of the method.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SecretBasic(_) => "client_secret_basic",
            Self::SecretPost(_) => "client_secret_post",
            Self::PrivateKeyJwt { .. } => "private_key_jwt",
            Self::TlsClientAuth(_) => "tls_client_auth",
            Self::SelfSignedTlsClientAuth(_) => "self_signed_tls_client_auth",
            Self::Workload(workload) => workload.method(),
        }
    }
}

/// What a client may exchange tokens from and to (RFC 8693): the operator's word about who may act for others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExchangePolicy {
    /// The resources for which the client answers: tokens for them are what it is called with.
    pub from: Vec<Audience>,
    /// The resources that it may call for whoever has called it.
    pub to: Vec<Audience>,
}

/// Whether the refresh tokens of a client change with every use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefreshTokenRotation {
    /// Every refresh gives a successor.
    Always,
    /// The refresh token stays the same; only for clients that authenticate (RFC 9700 §2.2.2).
    Never,
}

/// The set of rules that a client must keep.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// RFC 9700 and RFC 9449.
    #[default]
    Default,
    /// FAPI 2.0: pushed requests, tokens bound to a key or a certificate, and authentication by one of them, always.
    Fapi2,
}

impl Profile {
    /// Whether it is FAPI 2.0.
    #[must_use]
    pub const fn is_fapi(self) -> bool {
        match self {
            Self::Default => false,
            Self::Fapi2 => true,
        }
    }

    /// What assertions and request objects may be signed with: in FAPI 2.0 (§5.4.1) just what proofs may.
    #[must_use]
    pub const fn assertion_algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Default => ASSERTION_ALGORITHMS,
            Self::Fapi2 => PROOF_ALGORITHMS,
        }
    }
}

/// How the authorization requests of a client must come.
#[derive(Clone, Debug, Default)]
pub struct RequestRules {
    /// `require_pushed_authorization_requests` (RFC 9126 §6).
    pub pushed_only: bool,
    /// `require_signed_request_object` (RFC 9101 §10.5).
    pub signed_only: bool,
    /// `request_object_signing_alg`: the only algorithm of request objects, if it registered one.
    pub object_algorithm: Option<Algorithm>,
    /// `authorization_details_types` (RFC 9396 §10): what it may ask for in detail.
    pub detail_types: Vec<String>,
    /// The keys of request objects, for a client that does not authenticate with keys. `None`: it signs none.
    pub object_keys: Option<ClientKeys>,
    /// Whether a request may lack a PKCE challenge: only for a client that authenticates (RFC 9700 §2.1.1).
    pub pkce_optional: bool,
}

/// What a client has said about the people whom it signs in (OpenID Connect Dynamic Client Registration 1.0 §2).
#[derive(Clone, Debug, Default)]
pub struct OpenIdRules {
    /// `default_max_age`: counts if a request has no `max_age`.
    pub default_max_age: Option<Duration>,
    /// `default_acr_values`: count if a request says nothing about it.
    pub default_acr_values: Vec<Acr>,
    /// `require_auth_time`: whoever signs people in must say when.
    pub require_auth_time: bool,
    /// `subject_type`.
    pub subject_type: SubjectType,
    /// `backchannel_logout_uri` and what belongs to it.
    pub backchannel_logout: Option<BackchannelLogout>,
}

/// Where a client hears that a session is over (OpenID Connect Back-Channel Logout 1.0 §2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackchannelLogout {
    /// `backchannel_logout_uri`.
    pub url: FetchUrl,
    /// Which addresses it may have.
    pub reach: Reach,
    /// `backchannel_logout_session_required`: the client must be told which session it is.
    pub session_required: bool,
}

/// What a client knows people as (OpenID Connect Core §8).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum SubjectType {
    /// By the same name as every other client that is told it.
    #[default]
    Public,
    /// By a name of their own for the clients of one sector: no others can tell that it is the same person.
    Pairwise {
        /// The host of `sector_identifier_uri`, or that of the redirect URIs (§8.1).
        sector: String,
    },
}

/// Who says what a client is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientOrigin {
    /// The operator.
    Operator,
    /// The client itself, when it registered (RFC 7591).
    Registration,
    /// The client itself, in a document at its `client_id` (draft-ietf-oauth-client-id-metadata-document).
    Document,
}

/// A registered client. Its name in places where only one can be meant: RFC 7591 §2.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: ClientId,
    /// `client_name`: what people are shown.
    pub name: String,
    /// Who says all this.
    pub origin: ClientOrigin,
    /// `token_endpoint_auth_method` and what belongs to it.
    pub authentication: ClientAuthentication,
    /// `grant_types`.
    pub grant_types: Vec<GrantType>,
    /// `redirect_uris`.
    pub redirect_uris: Vec<RedirectUri>,
    /// `post_logout_redirect_uris` (OpenID Connect RP-Initiated Logout 1.0 §3.1).
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// `scope`: what it may ask for.
    pub scopes: Scopes,
    /// `dpop_bound_access_tokens` (RFC 9449 §5.2): no token without a proof.
    pub dpop_bound_access_tokens: bool,
    /// `tls_client_certificate_bound_access_tokens` (RFC 8705 §3.4): no token without a certificate or a proof.
    pub certificate_bound_access_tokens: bool,
    /// `refresh_token_rotation`.
    pub rotation: RefreshTokenRotation,
    /// How its authorization requests must come.
    pub requests: RequestRules,
    /// What it has said about the people whom it signs in.
    pub openid: OpenIdRules,
    /// The rules that it must keep.
    pub profile: Profile,
    /// `introspects`: the resources that it is the server of; it may ask about tokens for them (RFC 7662 §2.1).
    pub introspects: Vec<Audience>,
    /// `access_token_format`: whether its access tokens are handles, whatever they are for.
    pub access_token_format: AccessTokenFormat,
    /// `token_exchange`; there if the client may use that grant.
    pub exchange: Option<ExchangePolicy>,
}

impl Client {
    /// Whether the client cannot keep a secret and has none (RFC 6749 §2.1).
    #[must_use]
    pub fn is_public(&self) -> bool {
        matches!(self.authentication, ClientAuthentication::None)
    }

    /// The keys that may sign the client's request objects.
    #[must_use]
    pub fn request_object_keys(&self) -> Option<&ClientKeys> {
        match &self.authentication {
            ClientAuthentication::PrivateKeyJwt { keys, .. } => Some(keys),
            ClientAuthentication::None
            | ClientAuthentication::SecretBasic(_)
            | ClientAuthentication::SecretPost(_)
            | ClientAuthentication::TlsClientAuth(_)
            | ClientAuthentication::SelfSignedTlsClientAuth(_)
            | ClientAuthentication::Workload(_) => self.requests.object_keys.as_ref(),
        }
    }

    /// Whether the client publishes its keys elsewhere.
    #[must_use]
    pub fn publishes_keys(&self) -> bool {
        matches!(self.request_object_keys(), Some(ClientKeys::Published(_)))
    }

    /// Whether a request of the client may use this redirect URI: a registered one, byte for byte; for a public client
    /// on a loopback address with any port, since a native app takes what it gets (RFC 8252 §7.3, RFC 9700 §4.1.3).
    #[must_use]
    pub fn may_redirect_to(&self, requested: &RedirectUri) -> bool {
        self.redirect_uris.iter().any(|registered| {
            registered == requested || (self.is_public() && registered.is_same_loopback_but_for_the_port(requested))
        })
    }

    /// Whether the client has a use for a certificate.
    #[must_use]
    pub fn uses_certificates(&self) -> bool {
        self.certificate_bound_access_tokens
            || match self.authentication {
                ClientAuthentication::TlsClientAuth(_) | ClientAuthentication::SelfSignedTlsClientAuth(_) => true,
                ClientAuthentication::None
                | ClientAuthentication::SecretBasic(_)
                | ClientAuthentication::SecretPost(_)
                | ClientAuthentication::PrivateKeyJwt { .. }
                | ClientAuthentication::Workload(_) => false,
            }
    }

    /// The host of the document in which the client says what it is, if it does so there.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match self.origin {
            ClientOrigin::Document => self.id.as_str().parse().ok().map(|url: FetchUrl| url.host().to_owned()),
            ClientOrigin::Operator | ClientOrigin::Registration => None,
        }
    }

    /// Whether the operator knows the client: its name is its own, and its redirect URIs lead where they should.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        match self.origin {
            ClientOrigin::Operator => true,
            ClientOrigin::Registration | ClientOrigin::Document => false,
        }
    }

    /// Whether the client may use a grant type.
    #[must_use]
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }
}
