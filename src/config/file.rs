//! What the file may say.
//!
//! Nothing is required at this level and nothing is judged but the form of single values: what must be there, and what
//! fits together, is for [`check`](super::check). The comments on the fields are the reference that operators read.

use schemars::JsonSchema;
use serde::Deserialize;

use super::duration::{Delay, Lifetime};
use super::given::{Given, Parsed};
use super::listen_address::{ProxyNetwork, TcpAddress};
use crate::certificate::CertificateSubject;
use crate::grpc::ListenAddress;
use crate::telemetry::LogFilter;

mod authorization_server;
mod client;
mod client_documents;
mod issuer;
mod login;
mod protected_resource;
mod registration;
mod replay;
mod store;
mod workload_issuer;

pub(super) use authorization_server::{
    AuthorizationServerFile, BrandingFile, DetailTypeFile, DpopFile, Profile, RateLimitsFile, ServerNonce,
    SigningAlgorithm, SigningFile, StatusListsFile, TokensFile,
};
pub(super) use client::{AuthMethod, ClientFile, GrantTypeWord, KeySetFile, RotationWord, SubjectTypeWord};
pub(super) use client_documents::{ClientDocumentsFile, PrivateAddresses};
pub(super) use issuer::{IntrospectionFile, IssuerFile, OtherIssuer, TokenClaimsFile, TokenTypeWord};
pub(super) use login::{ClaimNamesFile, HeaderLoginFile, HeaderWord, LoginFile, OidcLoginFile};
pub(super) use protected_resource::{
    AllowWord, CallFile, CertificateSourceWord, ClaimsHeaderFile, DetailFile, DpopWord, EnforcementWord, GateNonceWord,
    InternalJwtFile, MetadataFile, PreflightWord, ResourceFile, ResourceUri, RuleFile, UpstreamAuthorizationWord,
    UpstreamFile,
};
pub(super) use registration::RegistrationFile;
pub(super) use replay::{RedisReplayFile, ReplayFile};
pub(super) use store::{PostgresFile, StoreFile};
pub(super) use workload_issuer::{KubernetesFile, SpiffeFile, WorkloadIssuerFile};

/// The configuration of Tollgate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tollgate configuration", rename = "tollgate")]
pub(super) struct File {
    /// Where Tollgate listens.
    pub(super) listen: Option<Given<ListenFile>>,
    /// How a process ends that is told to (SIGTERM).
    pub(super) shutdown: Option<Given<ShutdownFile>>,
    /// What is logged.
    pub(super) log: Option<Given<LogFile>>,
    /// Where grants, codes, sessions and signing keys are kept. Exactly one of `memory`, `sqlite` and
    /// `postgres`.
    #[schemars(extend("default" = { "sqlite": { "path": "/var/lib/tollgate/tollgate.db" } }))]
    pub(super) store: Option<Given<StoreFile>>,
    /// Where used DPoP proofs are remembered, so that none is used twice (RFC 9449 §11.1).
    pub(super) replay: Option<Given<ReplayFile>>,
    /// A file with the keys under which a gate without `authorization_server` makes its nonces: one to four lines of 32 bytes in
    /// base64. The first makes new ones, and all count. Gates with the same file take each other's nonces, so they must share
    /// `replay` too, or say that each takes a proof once. What is put on its first line counts from the next reload on.
    /// Default: a key that each process draws when it starts.
    #[serde(rename = "nonce_keys_file")]
    pub(super) nonce_keys: Option<Given<String>>,
    /// Whose certificates count where others are asked over https.
    pub(super) tls: Option<Given<OutwardTlsFile>>,
    /// The authorization server: issues tokens.
    pub(super) authorization_server: Option<Given<AuthorizationServerFile>>,
    /// Other authorization servers whose tokens count at protected resources, where the defaults do not fit them.
    pub(super) issuers: Option<Given<Vec<Given<IssuerFile>>>>,
    /// The resources that the gate protects. A request for any other host is denied.
    pub(super) protected_resources: Option<Given<Vec<Given<ResourceFile>>>>,
}

/// How a process ends that is told to (SIGTERM): readiness fails at once, requests are served for `delay` longer, then no new
/// ones are taken, and those in flight end within `deadline`. At SIGINT there is no delay.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShutdownFile {
    /// How long requests are still served, so that whoever sends them learns that they should go elsewhere; at most 5m. `0s`
    /// where nobody asks any more, as in a sidecar that is stopped after its proxy.
    #[schemars(extend("default" = "5s"))]
    pub(super) delay: Option<Given<Parsed<Delay>>>,
    /// How long requests in flight may then take before they are cut off; at most 10m. Whoever stops the process should wait
    /// longer than both together (`terminationGracePeriodSeconds`).
    #[schemars(extend("default" = "20s"))]
    pub(super) deadline: Option<Given<Lifetime>>,
}

/// What is logged. It may be changed while Tollgate serves; `filter` not if `--log` or `TOLLGATE_LOG` is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFile {
    /// `error`, `warn`, `info`, `debug`, or directives such as `info,tollgate::web=debug`.
    #[schemars(extend("default" = "info"))]
    pub(super) filter: Option<Given<Parsed<LogFilter>>>,
    /// One in so many requests that pass is logged at `info`, from 1 to 1000000; the first one is. The others are logged at
    /// `debug`, as all are if it is left out.
    pub(super) allowed: Option<Given<u32>>,
}

/// Whose certificates count where others are asked over https: for keys, documents and status lists, about tokens, at an upstream
/// provider, when clients are told of logouts, and when spans are sent, unless `OTEL_EXPORTER_OTLP_CERTIFICATE` names others. Databases
/// and a Redis have settings of their own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutwardTlsFile {
    /// A file with authorities, in PEM, which count instead of those that this machine trusts. Default: those that it does.
    pub(super) roots: Option<Given<String>>,
}

/// Where Tollgate listens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenFile {
    /// The authorization server's own HTTP. Unless it has `tls`, put Envoy or another TLS proxy before it.
    pub(super) public: Option<Given<PublicFile>>,
    /// Where Envoy asks (`envoy.service.auth.v3.Authorization` over gRPC). Several at once are fine.
    #[schemars(extend("default" = [{ "address": "unix:/run/tollgate/authz.sock" }]))]
    pub(super) ext_authz: Option<Given<Vec<Given<ExtAuthzFile>>>>,
    /// Health, and our own API. Keep it from the public.
    pub(super) admin: Option<Given<AdminFile>>,
}

/// The authorization server's own HTTP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublicFile {
    /// IP address and port. Port 0 takes a free one.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub(super) address: Option<Given<Parsed<TcpAddress>>>,
    /// The networks of the proxies, such as `10.0.0.0/8` or `127.0.0.1`, whose `X-Forwarded-For` tells who has asked: for rate
    /// limits, and for people who approve a device. Nothing else is ever read from such a header. Default: none.
    pub(super) trusted_proxies: Option<Given<Vec<Given<Parsed<ProxyNetwork>>>>>,
    /// Where a proxy ends TLS: the certificates of clients come in its `X-Forwarded-Client-Cert` (RFC 8705 §6.5). Counts from
    /// `trusted_proxies` only, which must replace what their callers send: `forward_client_cert_details: SANITIZE_SET` with
    /// `set_current_client_cert_details: { cert: true, chain: true }` in Envoy.
    pub(super) forwarded_certificates: Option<Given<ForwardedCertificatesFile>>,
    /// Speaks TLS: 1.3, and 1.2 with the suites that FAPI 2.0 allows.
    pub(super) tls: Option<Given<TlsFile>>,
}

/// Certificates of clients that a proxy tells of.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForwardedCertificatesFile {
    /// A file with the certificates of the authorities that may vouch for clients of `tls_client_auth`, in PEM.
    pub(super) client_ca: Option<Given<String>>,
}

/// Speaks TLS. Certificate and key are read again every minute, so they may be renewed in place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFile {
    /// A file with the certificate and those that lead from it to an authority, in PEM.
    #[schemars(required)]
    pub(super) certificate: Option<Given<String>>,
    /// A file with the private key of the certificate, in PEM.
    #[schemars(required)]
    pub(super) private_key: Option<Given<String>>,
    /// A file with the certificates of the authorities that may vouch for clients of `tls_client_auth`, in PEM. Clients
    /// are asked for a certificate if one of them has a use for it.
    pub(super) client_ca: Option<Given<String>>,
}

/// Where Envoy asks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtAuthzFile {
    /// `unix:` and the path of a socket (at most 107 bytes; relative to the directory of the file), or IP address and
    /// port. Whoever reaches it can ask, and use up proofs that he has seen: prefer a socket, or stay on loopback.
    #[schemars(required)]
    pub(super) address: Option<Given<Parsed<ListenAddress>>>,
    /// The mode of the socket.
    #[schemars(extend("default" = "0660"))]
    pub(super) mode: Option<Given<SocketMode>>,
}

/// The mode of a socket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
pub(super) enum SocketMode {
    /// The user whom Tollgate runs as.
    #[serde(rename = "0600")]
    Owner,
    /// That user, and the group that the socket gets from its directory or from Tollgate.
    #[serde(rename = "0660")]
    Group,
    /// Whoever can reach its directory: for a directory that only Envoy shares, as an injected sidecar has it.
    #[serde(rename = "0666")]
    Everybody,
}

/// Health, and our own API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminFile {
    /// IP address and port. Port 0 takes a free one.
    #[schemars(extend("default" = "127.0.0.1:9090"))]
    pub(super) address: Option<Given<Parsed<TcpAddress>>>,
    /// Where `tollgate admin`, an external login and a user directory call `tollgate.admin.v1` over gRPC: `unix:` and the path
    /// of a socket, such as `unix:/run/tollgate/admin.sock`, or, with `grpc_tls`, an IP address and a port. Whoever may connect
    /// can end anything, and with `login: external` sign anybody in. Nowhere if it is absent.
    pub(super) grpc: Option<Given<Parsed<ListenAddress>>>,
    /// Who may connect to that socket.
    #[schemars(extend("default" = "owner"))]
    pub(super) grpc_access: Option<Given<SocketAccess>>,
    /// What `grpc` at an IP address and a port needs: TLS with certificates on both sides.
    pub(super) grpc_tls: Option<Given<AdminTlsFile>>,
}

/// TLS on which both sides show certificates. Its own is read again every minute, so it may be renewed in place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminTlsFile {
    /// A file with the certificate and those that lead from it to an authority, in PEM.
    #[schemars(required)]
    pub(super) certificate: Option<Given<String>>,
    /// A file with the private key of the certificate, in PEM.
    #[schemars(required)]
    pub(super) private_key: Option<Given<String>>,
    /// A file with the certificates of the authorities that vouch for those who call, in PEM.
    #[schemars(required)]
    pub(super) client_ca: Option<Given<String>>,
    /// Who may call: the certificate must name one of these, such as `dns:ops.example.com`, `uri:spiffe://example.com/ops`,
    /// `email:ada@example.com`, `ip:192.0.2.7`, or `dn:CN=ops,O=Example` for its subject.
    #[schemars(required)]
    pub(super) clients: Option<Given<Vec<Given<Parsed<CertificateSubject>>>>>,
}

/// Who may connect to a socket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum SocketAccess {
    /// The user whom Tollgate runs as (mode 0600).
    Owner,
    /// That user, and the group that the socket gets from its directory or from Tollgate (mode 0660).
    Group,
}
