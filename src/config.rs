//! The configuration: what the YAML file may say, and what of it is true.
//!
//! A file becomes a tree whose nodes know their places, the tree becomes a `File` of what may be said, and that becomes
//! [`Config`], which is valid by construction. Whatever is wrong on the way is collected, and everything is reported at
//! once, with place, snippet and help.
//!
//! Invariant: no string in a [`Config`] is left unparsed, and no secret stands in the file: secrets are given by path.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::authz::{self, Condition, ResourceSettings, Rule};
use crate::certificate::{Authorities, CertificateSubject};
use crate::fetch::{FetchLimits, Reach, Roots};
use crate::grpc::{Access, GateListener};
use crate::ident::IssuerName;
use crate::identity::{OidcSettings, ProxyHeaders};
use crate::issuers::{IssuerSettings, KeySource};
use crate::jose::Algorithm;
use crate::keys::KeySchedule;
use crate::oauth;
use crate::oauth::workload::Platform;
use crate::replay::RedisSettings;
use crate::secret::seal::{KeyRing, RootKey};
use crate::store::{Limits, PostgresSettings};
use crate::telemetry::LogFilter;
use crate::token::TokenProfile;
use crate::uri::Origin;
use crate::web::{Branding, TlsFiles};

mod authorization_server;
mod branding;
mod check;
mod client;
mod client_certificate;
mod client_openid;
mod client_requests;
mod credential;
mod detail_types;
mod document;
mod duration;
mod fapi;
mod file;
mod given;
mod issuer;
mod listen_address;
mod login;
mod mistake;
mod named_file;
mod protected_resource;
mod reference;
mod registration;
mod replay;
mod rule;
mod store;
mod tree;
mod upstream;
mod words;
mod workload_issuer;

pub use document::{Document, FILE_LIMIT};
pub use duration::{Delay, DelayFault};
pub use mistake::{Mistake, Mistakes, Placed};
pub use reference::{markdown, schema};

/// A configuration in which nothing is wrong.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What is logged.
    pub log: LogFilter,
    /// One in how many allowed requests is logged at `info`; without a number none is.
    pub one_logged_in: Option<NonZeroU32>,
    /// Where state is kept.
    pub store: Store,
    /// How much state is kept at most.
    pub limits: Limits,
    /// Where used proofs are remembered.
    pub replay: Replay,
    /// The keys of the nonces of a gate that issues nothing, the newest first; empty if it draws one itself.
    pub nonce_keys: Vec<RootKey>,
    /// Whose certificates count where others are asked.
    pub roots: Roots,
    /// The authorization server, if this process is one.
    pub authorization_server: Option<AuthorizationServer>,
    /// Other authorization servers whose tokens count at protected resources.
    pub issuers: Vec<IssuerSettings>,
    /// What the gate protects; empty if this process is none.
    pub protected_resources: Vec<ResourceSettings>,
    /// SHA-256 of the text that says so, with what the command line says otherwise; not of the files that it names.
    pub digest: [u8; 32],
}

impl Config {
    /// Reads and judges a file.
    ///
    /// # Errors
    /// All [`Mistakes`] at once.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        Document::read(path)?.check()
    }

    /// What the tokens of each issuer look like at the gate: of those that the file names, and of its own server.
    #[must_use]
    pub fn token_profiles(&self) -> Vec<(IssuerName, TokenProfile)> {
        let others = self.issuers.iter().map(|issuer| (issuer.name.clone(), issuer.profile.clone()));
        let own = self.authorization_server.as_ref().map(|server| server.settings.own_tokens());
        others.chain(own).collect()
    }

    /// What else must be so for the configuration to mean what it says, which nobody can see from here; a sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let note = |resource: &ResourceSettings, rule: &Rule, header: &str| {
            format!(
                "`when` of the rule for `{}` at {} reads the header `{header}`, which Envoy sends only if `allowed_headers` of its \
                 ext_authz filter has it; else no request seems to have it",
                rule.path,
                resource.audience.as_str()
            )
        };
        let of_rule = |resource, rule: &Rule| match &rule.access {
            authz::Access::Anyone => Vec::new(),
            authz::Access::Token(wanted) => {
                let headers = wanted.condition.iter().flat_map(Condition::headers);
                headers.map(|header| note(resource, rule, header)).collect()
            }
        };
        let rules = self.protected_resources.iter().flat_map(|one| one.rules.iter().map(move |rule| (one, rule)));
        let unnamed = self.protected_resources.iter().filter(|resource| {
            matches!(&resource.upstream.authorization, authz::UpstreamAuthorization::Internal(tokens) if tokens.keys.is_none())
        });
        // With a store there are keys that every process knows.
        let unnamed = unnamed.filter(|_| self.authorization_server.is_none());
        let unnamed = unnamed.map(|resource| {
            format!(
                "`upstream.internal_jwt` of {} has no `key_file`, and there is no store: each process signs with a key of its own, and another one after a \
                 restart, so a service must fetch the keys again when it meets an unknown `kid`, and all of them from one process",
                resource.audience.as_str()
            )
        });
        unnamed.chain(rules.flat_map(|(resource, rule)| of_rule(resource, rule))).collect()
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// The authorization server's own HTTP.
    pub public: PublicListener,
    /// Where Envoy asks. Not empty if there are protected resources.
    pub ext_authz: Vec<GateListener>,
    /// Health.
    pub admin: SocketAddr,
    /// Our own API.
    pub admin_api: Option<AdminApi>,
}

/// The door of our own API.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminApi {
    /// A Unix socket.
    Socket {
        /// Where it is.
        path: PathBuf,
        /// Who may connect.
        access: Access,
    },
    /// A port, for those with certificates.
    Port {
        /// Where it listens.
        address: SocketAddr,
        /// What it encrypts with.
        tls: TlsFiles,
        /// Who vouches for certificates.
        authorities: Authorities,
        /// Whom a certificate must name: one of these.
        clients: Vec<CertificateSubject>,
    },
}

/// The listener of the authorization server.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicListener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether they tell of the certificates of clients.
    pub forwarded_certificates: bool,
    /// What it encrypts with.
    pub tls: Option<TlsFiles>,
}

/// How a process ends that is told to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shutdown {
    /// How long requests are still served.
    pub delay: Duration,
    /// How long those in flight may then take.
    pub deadline: Duration,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// In memory.
    Memory,
    /// In an SQLite file.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
    /// In a PostgreSQL database.
    Postgres(PostgresSettings),
}

impl Store {
    /// What the configuration calls it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// How old what a gate knows of revocations may be, where other processes revoke too.
    #[must_use]
    pub fn revocations_stale(&self) -> Option<Duration> {
        match self {
            Self::Memory | Self::Sqlite { .. } => None,
            Self::Postgres(settings) => Some(settings.revocations_stale),
        }
    }
}

/// Where used proofs are remembered.
#[derive(Clone, Debug, PartialEq)]
pub enum Replay {
    /// In the memory of this process.
    Local {
        /// How many at most.
        entries: usize,
    },
    /// In a Redis that replicas share.
    Redis(RedisSettings),
}

/// Everything about the authorization server.
#[derive(Debug)]
pub struct AuthorizationServer {
    /// What its rules need.
    pub settings: oauth::Settings,
    /// How people sign in; there if a client uses `authorization_code`.
    pub login: Option<Login>,
    /// The keys that sign access tokens.
    pub signing: Signing,
    /// What the pages look like.
    pub branding: Branding,
    /// How documents of clients are fetched.
    pub client_documents: ClientDocuments,
    /// The platforms whose word counts about who a workload is.
    pub workload_issuers: Vec<WorkloadIssuer>,
    /// The origin of the issuer, if the gate answers for its metadata and its keys.
    pub metadata_at_gate: Option<Origin>,
}

/// A platform that vouches for workloads.
#[derive(Debug, PartialEq)]
pub struct WorkloadIssuer {
    /// Which one.
    pub platform: Platform,
    /// Where its keys are.
    pub keys: KeySource,
    /// The authorities of its server, in PEM, beside those of this machine.
    pub authorities: Vec<u8>,
    /// What is shown to that server.
    pub token_file: Option<PathBuf>,
    /// What its word may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// How long its word may be good.
    pub longest: Duration,
}

/// How documents of clients are fetched.
#[derive(Clone, Copy, Debug)]
pub struct ClientDocuments {
    /// Which addresses may be asked, wherever nothing else is said.
    pub reach: Reach,
    /// How long a fetch may take.
    pub timeout: Duration,
}

/// How people sign in.
#[derive(Debug)]
pub enum Login {
    /// With a password.
    Local {
        /// The file with the users.
        users_file: PathBuf,
    },
    /// At an authorization endpoint that exists already; `settings.external_login` says where.
    External,
    /// At an upstream OpenID provider.
    Oidc {
        /// What there is to know about it.
        settings: Arc<OidcSettings>,
        /// What a request to it may cost.
        limits: FetchLimits,
    },
    /// At a proxy in front.
    Header(ProxyHeaders),
}

/// The keys that sign access tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Signing {
    /// What new keys sign with, and how long they live.
    pub schedule: KeySchedule,
    /// What private keys are sealed under in the store; there if the store outlives the process.
    pub encryption_key: Option<KeyRing>,
}
