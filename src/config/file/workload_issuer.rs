//! What the file may say about platforms that vouch for workloads.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::{OtherIssuer, SigningAlgorithm};
use crate::fetch::FetchUrl;
use crate::oauth::workload::{SpiffeId, TrustDomain};

/// A platform whose word counts about who a workload is. What it makes is good for whoever has it until it expires, so clients
/// that authenticate with it get no token without a proof or a certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WorkloadIssuerFile {
    /// A Kubernetes cluster, by projected service-account tokens. Their `audience` must be the issuer of this server.
    Kubernetes(Given<KubernetesFile>),
    /// A SPIFFE trust domain, by JWT-SVIDs.
    Spiffe(Given<SpiffeFile>),
}

/// A Kubernetes cluster.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct KubernetesFile {
    /// What the cluster calls itself in `iss`, byte for byte: `--service-account-issuer` of its API server.
    #[schemars(required)]
    pub(in crate::config) issuer: Option<Given<Parsed<OtherIssuer>>>,
    /// Where its keys are, such as `https://kubernetes.default.svc/openid/v1/jwks`. Default: where its metadata says.
    pub(in crate::config) jwks_uri: Option<Given<Parsed<FetchUrl>>>,
    /// A file with its keys (`kubectl get --raw /openid/v1/jwks`), instead of `jwks_uri`. It is read again every half minute.
    pub(in crate::config) jwks_file: Option<Given<String>>,
    /// A file with the authorities that have signed its certificate, in PEM, beside those of this machine.
    pub(in crate::config) ca_file: Option<Given<String>>,
    /// A file with a token that is shown at `jwks_uri`. It is read for each request.
    pub(in crate::config) token_file: Option<Given<String>>,
    /// What its tokens may be signed with.
    #[schemars(extend("default" = ["RS256", "ES256"]))]
    pub(in crate::config) algorithms: Option<Given<Vec<Given<SigningAlgorithm>>>>,
    /// How long its tokens may be good, from `iat` to `exp`: `expirationSeconds` of the projected volume. At most 24h.
    #[schemars(extend("default" = "1h"))]
    pub(in crate::config) max_lifetime: Option<Given<Lifetime>>,
}

/// A SPIFFE trust domain.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SpiffeFile {
    /// Its name, such as `example.org`.
    #[schemars(required)]
    pub(in crate::config) trust_domain: Option<Given<Parsed<TrustDomain>>>,
    /// Where its bundle is: an https URL, or http on loopback. Exactly one of this and `bundle_file`.
    pub(in crate::config) bundle_uri: Option<Given<Parsed<FetchUrl>>>,
    /// A file with its bundle, as a JWK set. It is read again every half minute.
    pub(in crate::config) bundle_file: Option<Given<String>>,
    /// A file with the authorities that have signed the certificate of `bundle_uri`, in PEM, beside those of this machine.
    pub(in crate::config) ca_file: Option<Given<String>>,
    /// What its JWT-SVIDs may be signed with.
    #[schemars(extend("default" = ["ES256", "RS256", "PS256"]))]
    pub(in crate::config) algorithms: Option<Given<Vec<Given<SigningAlgorithm>>>>,
    /// How long its JWT-SVIDs may be good. At most 24h.
    #[schemars(extend("default" = "1h"))]
    pub(in crate::config) max_lifetime: Option<Given<Lifetime>>,
}

/// A service account of Kubernetes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ServiceAccountFile {
    /// The issuer of its cluster, as under `workload_issuers`.
    #[schemars(required)]
    pub(in crate::config) issuer: Option<Given<Parsed<OtherIssuer>>>,
    /// Its namespace.
    #[schemars(required)]
    pub(in crate::config) namespace: Option<Given<String>>,
    /// Its name.
    #[schemars(required)]
    pub(in crate::config) name: Option<Given<String>>,
    /// Its `uid`. Without it, a service account that is made again under its name is the same.
    pub(in crate::config) uid: Option<Given<String>>,
}

/// A SPIFFE ID of a client.
pub(in crate::config) type SpiffeIdFile = Given<Parsed<SpiffeId>>;
