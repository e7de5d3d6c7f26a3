//! What the file may say.
//!
//! Nothing is required at this level and nothing is judged but the form of single values: what must be there, and what
//! fits together, is for [`check`](super::check). The comments on the fields are the reference that operators read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::duration::Lifetime;
use super::given::{Given, Parsed};
use super::listen_address::{ProxyNetwork, TcpAddress};
use super::words::WordsFile;
use crate::authz::{Method, PathPattern};
use crate::certificate::DistinguishedName;
use crate::grpc::ListenAddress;
use crate::ident::{ClientId, Issuer};
use crate::identity::{Network, UpstreamIssuer};
use crate::jose::Members;
use crate::oauth::ExternalEndpoint;
use crate::scope::{Scope, Scopes};
use crate::secret::ClientSecretHash;
use crate::uri::RedirectUri;
use crate::web::Colour;

/// The configuration of Tollgate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tollgate configuration", rename = "tollgate")]
pub(super) struct File {
    /// Where Tollgate listens.
    pub(super) listen: Option<Given<ListenFile>>,
    /// Where grants, codes, sessions and signing keys are kept. Exactly one of `memory` and `sqlite`.
    #[schemars(extend("default" = { "sqlite": { "path": "/var/lib/tollgate/tollgate.db" } }))]
    pub(super) store: Option<Given<StoreFile>>,
    /// Where used DPoP proofs are remembered, so that none is used twice (RFC 9449 §11.1).
    pub(super) replay: Option<Given<ReplayFile>>,
    /// The authorization server: issues tokens.
    pub(super) authorization_server: Option<Given<AuthorizationServerFile>>,
    /// The resources that the gate protects. A request for any other host is denied.
    pub(super) protected_resources: Option<Given<Vec<Given<ResourceFile>>>>,
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
    /// Speaks TLS: 1.3, and 1.2 with the suites that FAPI 2.0 allows.
    pub(super) tls: Option<Given<TlsFile>>,
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
}

/// Health, and our own API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminFile {
    /// IP address and port. Port 0 takes a free one.
    #[schemars(extend("default" = "127.0.0.1:9090"))]
    pub(super) address: Option<Given<Parsed<TcpAddress>>>,
    /// Where an external login, or a user directory, calls `tollgate.admin.v1` over gRPC: `unix:` and the path of a socket,
    /// such as `unix:/run/tollgate/admin.sock`. Whoever may connect can sign anybody in. Nowhere if it is absent.
    pub(super) grpc: Option<Given<Parsed<ListenAddress>>>,
    /// Who may connect to that socket.
    #[schemars(extend("default" = "owner"))]
    pub(super) grpc_access: Option<Given<SocketAccess>>,
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

/// Where grants, codes, sessions and signing keys are kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoreFile {
    /// In the memory of the process: gone when it ends. For development and tests.
    Memory(Given<MemoryFile>),
    /// In an SQLite file, durably: an acknowledged answer is on disk.
    Sqlite(Given<SqliteFile>),
}

/// A store in memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryFile {
    /// How much is kept at most.
    pub(super) limits: Option<Given<LimitsFile>>,
}

/// A store in an SQLite file, from which one process serves at a time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SqliteFile {
    /// The database file, relative to the directory of this one; its own directory must exist. Created with mode 0600.
    #[schemars(required)]
    pub(super) path: Option<Given<String>>,
    /// How much is kept at most.
    pub(super) limits: Option<Given<LimitsFile>>,
}

/// How much is kept at most. At a limit new records are turned away with 503: live ones are dropped for none but
/// `grants_per_person`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    /// Authorization codes, those that were used in the last minutes included.
    #[schemars(extend("default" = 200_000))]
    pub(super) codes: Option<Given<u64>>,
    /// Grants: about half a kilobyte each.
    #[schemars(extend("default" = 1_000_000))]
    pub(super) grants: Option<Given<u64>>,
    /// Live grants of one person at one client: sign-ins of a browser, devices. At one more, the oldest ends.
    #[schemars(extend("default" = 100))]
    pub(super) grants_per_person: Option<Given<u64>>,
    /// Devices that wait for a person. The chance that somebody guesses a user code of anybody grows with it.
    #[schemars(extend("default" = 3_000))]
    pub(super) devices: Option<Given<u64>>,
    /// Pushed authorization requests, those that were answered in the last minutes included.
    #[schemars(extend("default" = 200_000))]
    pub(super) pushed_requests: Option<Given<u64>>,
    /// Pushed authorization requests of one client that wait for their browsers. At one more, it is told to slow down.
    #[schemars(extend("default" = 20_000))]
    pub(super) pushed_requests_per_client: Option<Given<u64>>,
    /// Browser sessions.
    #[schemars(extend("default" = 1_000_000))]
    pub(super) sessions: Option<Given<u64>>,
    /// People whom somebody else vouches for (every `login` but `local`), those who are disabled included.
    #[schemars(extend("default" = 1_000_000))]
    pub(super) people: Option<Given<u64>>,
    /// Used client assertions.
    #[schemars(extend("default" = 1_000_000))]
    pub(super) assertions: Option<Given<u64>>,
    /// Revoked access tokens of clients that speak for themselves, until they expire.
    #[schemars(extend("default" = 1_000_000))]
    pub(super) revocations: Option<Given<u64>>,
}

/// Where used DPoP proofs are remembered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplayFile {
    /// In the memory of this process. Protects one replica only.
    Local(Given<LocalReplayFile>),
}

/// Used proofs in memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalReplayFile {
    /// How many proofs are remembered at most, from 1 to 50000000; about 64 bytes each. When full, requests are answered
    /// 503 until proofs expire: none is ever forgotten early.
    #[schemars(extend("default" = 1_000_000))]
    pub(super) entries: Option<Given<usize>>,
}

/// The authorization server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorizationServerFile {
    /// The issuer identifier (RFC 8414 §2): the https URL under which clients reach the server, byte for byte, without a
    /// trailing slash. http on loopback only.
    #[schemars(required)]
    pub(super) issuer: Option<Given<Parsed<Issuer>>>,
    /// The set of rules that every client must keep. A client may have a stricter one.
    #[schemars(extend("default" = "default"))]
    pub(super) profile: Option<Given<Profile>>,
    /// Whether every client must push its authorization requests (RFC 9126 §5).
    #[schemars(extend("default" = false))]
    pub(super) require_pushed_authorization_requests: Option<Given<bool>>,
    /// How people sign in. Required if a client uses `authorization_code`.
    pub(super) login: Option<Given<LoginFile>>,
    /// How long things live.
    pub(super) tokens: Option<Given<TokensFile>>,
    /// The keys that sign access tokens.
    pub(super) signing: Option<Given<SigningFile>>,
    /// About DPoP proofs (RFC 9449), here and at the gate.
    pub(super) dpop: Option<Given<DpopFile>>,
    /// How often clients may ask, at the endpoints at which they authenticate. At more, 429 with `Retry-After`.
    pub(super) rate_limits: Option<Given<RateLimitsFile>>,
    /// The scopes that exist, each with 1 to 200 characters for the people who are asked to grant it: for everybody, or
    /// by language, `{ en: "Read your orders", de: "Ihre Bestellungen lesen" }`. The first one counts where a language is
    /// missing.
    pub(super) scopes: Option<Given<BTreeMap<Parsed<Scope>, Given<WordsFile>>>>,
    /// What clients may ask for in detail (RFC 9396), by the `type` of the objects in `authorization_details`.
    pub(super) authorization_details_types: Option<Given<BTreeMap<String, Given<DetailTypeFile>>>>,
    /// Resources, besides those under `protected_resources`, that tokens may be issued for (RFC 8707): absolute http(s)
    /// URIs without a fragment. The first resource of all is the audience of tokens whose request names none. If there
    /// is no resource at all, the issuer is the only one.
    pub(super) resources: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
    /// The registered clients, by the metadata of RFC 7591.
    pub(super) clients: Option<Given<Vec<Given<ClientFile>>>>,
    /// What the pages for people look like.
    pub(super) branding: Option<Given<BrandingFile>>,
}

/// What the pages for people look like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BrandingFile {
    /// What stands above every page and in its title; 1 to 200 characters.
    pub(super) name: Option<Given<String>>,
    /// A file with the picture beside the name: PNG, WebP or SVG, at most 64 KiB, shown up to 144 by 40 pixels large.
    pub(super) logo_file: Option<Given<String>>,
    /// The colour of buttons and links.
    pub(super) accent_color: Option<Given<AccentColourFile>>,
}

/// The colour of buttons and links, as `"#rrggbb"`. It must be readable as text: a contrast of 4.5 to what is behind it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccentColourFile {
    /// On light pages, whose background is white.
    #[schemars(extend("default" = "#1d4fd8"))]
    pub(super) light: Option<Given<Parsed<Colour>>>,
    /// On dark pages, whose background is nearly black.
    #[schemars(extend("default" = "#8fb2ff"))]
    pub(super) dark: Option<Given<Parsed<Colour>>>,
}

/// How often clients may ask, from 1 to 1000000. Ten seconds' worth of requests may come at once, and a minute's worth of wrong
/// secrets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimitsFile {
    /// Requests a second of one client.
    #[schemars(extend("default" = 2_000))]
    pub(super) client: Option<Given<u32>>,
    /// Requests a second from one address. Behind a proxy that `listen.public.trusted_proxies` does not name, everybody has
    /// the address of the proxy.
    #[schemars(extend("default" = 2_000))]
    pub(super) address: Option<Given<u32>>,
    /// Wrong secrets a minute for one client from one address.
    #[schemars(extend("default" = 60))]
    pub(super) wrong_secrets: Option<Given<u32>>,
}

/// A type of `authorization_details`. Objects may have the members that are described here, `identifier`, which is a text,
/// and `locations`, which are resources; any other is refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DetailTypeFile {
    /// What it allows, for the people who are asked to grant it: 1 to 200 characters, or a map of such by language, as in
    /// `scopes`. They are shown the members too.
    #[schemars(required)]
    pub(super) description: Option<Given<WordsFile>>,
    /// The values that `actions` may have. Default: there are no `actions`.
    pub(super) actions: Option<Given<Vec<Given<String>>>>,
    /// The values that `datatypes` may have. Default: there are no `datatypes`.
    pub(super) datatypes: Option<Given<Vec<Given<String>>>>,
    /// The values that `privileges` may have. Default: there are no `privileges`.
    pub(super) privileges: Option<Given<Vec<Given<String>>>>,
    /// Other members that there may be, of any JSON type. The resource must judge their values.
    pub(super) fields: Option<Given<Vec<Given<String>>>>,
    /// The members that there must be.
    pub(super) required: Option<Given<Vec<Given<String>>>>,
}

/// A set of rules that clients must keep.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Profile {
    /// RFC 9700 and RFC 9449.
    Default,
    /// FAPI 2.0 Security Profile: authorization requests are pushed, clients authenticate with a key or a certificate, tokens
    /// are bound to one, refresh tokens stay the same, and nothing is signed with `RS256`.
    Fapi2,
}

/// How people sign in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LoginFile {
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
pub(super) struct ExternalLoginFile {
    /// Its URL: https, or http on loopback. The metadata names it, and browsers that come to ours are sent there.
    #[schemars(required)]
    pub(super) authorization_endpoint: Option<Given<Parsed<ExternalEndpoint>>>,
}

/// Sign-in at an upstream OpenID provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OidcLoginFile {
    /// Its issuer identifier, byte for byte: https, or http on loopback. The rest comes from its discovery document.
    #[schemars(required)]
    pub(super) issuer: Option<Given<Parsed<UpstreamIssuer>>>,
    /// What this server is called there.
    #[schemars(required)]
    pub(super) client_id: Option<Given<Parsed<ClientId>>>,
    /// How this server authenticates there: `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`. Default:
    /// as the files below allow.
    pub(super) token_endpoint_auth_method: Option<Given<AuthMethod>>,
    /// A file with the secret, for `client_secret_basic` (the default with it) and `client_secret_post`.
    pub(super) client_secret_file: Option<Given<String>>,
    /// A file with the private key, in PEM (PKCS #8), for `private_key_jwt`. The `kid` of its assertions is the thumbprint of
    /// the key (RFC 7638).
    pub(super) client_key_file: Option<Given<String>>,
    /// What `client_key_file` signs with.
    #[schemars(extend("default" = "ES256"))]
    pub(super) token_endpoint_auth_signing_alg: Option<Given<SigningAlgorithm>>,
    /// The scopes that are asked for there, separated by spaces; `openid` must be among them.
    #[schemars(extend("default" = "openid profile email"))]
    pub(super) scopes: Option<Given<Parsed<Scopes>>>,
    /// Where the claims about a person are, in the ID token or else at UserInfo.
    pub(super) claims: Option<Given<ClaimNamesFile>>,
    /// How long one request to the provider may take. At most 30 seconds.
    #[schemars(extend("default" = "5s"))]
    pub(super) timeout: Option<Given<Lifetime>>,
}

/// Where the claims about a person are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimNamesFile {
    /// What names the person for good: it becomes the `sub` of their tokens. `email` counts only with `email_verified`.
    #[schemars(extend("default" = "sub"))]
    pub(super) subject: Option<Given<String>>,
    /// What they are called.
    #[schemars(extend("default" = "name"))]
    pub(super) name: Option<Given<String>>,
    /// Their e-mail address.
    #[schemars(extend("default" = "email"))]
    pub(super) email: Option<Given<String>>,
}

/// Sign-in at a proxy in front. It must remove these headers from what its callers send: whoever sets them is whoever he
/// likes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLoginFile {
    /// The header that names the person for good: it becomes the `sub` of their tokens.
    #[schemars(required)]
    pub(super) subject: Option<Given<Parsed<HeaderWord>>>,
    /// The header with what they are called. Default: as `subject` says.
    pub(super) name: Option<Given<Parsed<HeaderWord>>>,
    /// The header with their e-mail address.
    pub(super) email: Option<Given<Parsed<HeaderWord>>>,
    /// The header that says how well they were recognised (`acr`).
    pub(super) acr: Option<Given<Parsed<HeaderWord>>>,
    /// The header that says when they signed in, in seconds since 1970. Without it no request with `max_age` or
    /// `prompt=login` can be met.
    pub(super) auth_time: Option<Given<Parsed<HeaderWord>>>,
    /// The addresses and networks of the proxy; headers from elsewhere do not count.
    #[schemars(extend("default" = ["127.0.0.0/8", "::1"]))]
    pub(super) from: Option<Given<Vec<Given<Parsed<Network>>>>>,
}

/// Sign-in with a password.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalLoginFile {
    /// A YAML file with `users`: `username`, `password_hash` (from `tollgate hash-password`), `subject` and so on.
    #[schemars(required)]
    pub(super) users_file: Option<Given<String>>,
}

/// How long things live.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokensFile {
    /// Access tokens. Short, as the gate does not see that one was revoked before it ends.
    #[schemars(extend("default" = "5m"))]
    pub(super) access_token: Option<Given<Lifetime>>,
    /// Grants, counted from approval: afterwards the person is asked again, whatever was refreshed.
    #[schemars(extend("default" = "30d"))]
    pub(super) refresh_token: Option<Given<Lifetime>>,
    /// Grants that nobody refreshes. At most `refresh_token`.
    #[schemars(extend("default" = "14d"))]
    pub(super) refresh_token_idle: Option<Given<Lifetime>>,
    /// Authorization codes. At most 60 seconds.
    #[schemars(extend("default" = "60s"))]
    pub(super) authorization_code: Option<Given<Lifetime>>,
    /// Device codes and user codes: how long a device waits for a person. At most 15 minutes.
    #[schemars(extend("default" = "10m"))]
    pub(super) device_code: Option<Given<Lifetime>>,
    /// `request_uri` of pushed authorization requests: until the browser brings it. At most 9 minutes.
    #[schemars(extend("default" = "90s"))]
    pub(super) pushed_request: Option<Given<Lifetime>>,
    /// Sign-in and consent: from the authorization request to its answer.
    #[schemars(extend("default" = "10m"))]
    pub(super) transaction: Option<Given<Lifetime>>,
    /// Browser sessions: how long a person stays signed in.
    #[schemars(extend("default" = "8h"))]
    pub(super) session: Option<Given<Lifetime>>,
    /// Browser sessions that nobody uses. At most `session`.
    #[schemars(extend("default" = "2h"))]
    pub(super) session_idle: Option<Given<Lifetime>>,
}

/// The keys that sign access tokens. They change by themselves: announced, then signing, then kept for verification.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SigningFile {
    /// What new keys sign with.
    #[schemars(extend("default" = "ES256"))]
    pub(super) algorithm: Option<Given<SigningAlgorithm>>,
    /// How long a key is published before it signs, so that whoever caches the key set knows it in time. At most `sign`.
    #[schemars(extend("default" = "14d"))]
    pub(super) announce: Option<Given<Lifetime>>,
    /// How long a key signs.
    #[schemars(extend("default" = "90d"))]
    pub(super) sign: Option<Given<Lifetime>>,
    /// How long a key stays published after it signed. At least `tokens.access_token`.
    #[schemars(extend("default" = "14d"))]
    pub(super) retain: Option<Given<Lifetime>>,
    /// A file with 32 random bytes in base64 (`openssl rand -base64 32`) under which private keys are encrypted in the
    /// store. Required with `store.sqlite`; whoever loses it loses the keys.
    pub(super) encryption_key_file: Option<Given<String>>,
}

/// A signature algorithm by its JOSE name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
pub(super) enum SigningAlgorithm {
    /// ECDSA with P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519 under the name that most libraries know.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// Ed25519 under the name of RFC 9864.
    Ed25519,
    /// RSA-PSS, 2048 bits.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSA PKCS #1 v1.5, 2048 bits.
    #[serde(rename = "RS256")]
    Rs256,
}

/// About DPoP proofs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DpopFile {
    /// Whether proofs at the token endpoint carry a nonce of the server (RFC 9449 §8).
    #[schemars(extend("default" = "optional"))]
    pub(super) nonce: Option<Given<ServerNonce>>,
    /// How long a nonce is good, here and at the gate.
    #[schemars(extend("default" = "5m"))]
    pub(super) nonce_lifetime: Option<Given<Lifetime>>,
    /// How long after its `iat` a proof is accepted, here and at the gate. At most 5 minutes.
    #[schemars(extend("default" = "60s"))]
    pub(super) proof_lifetime: Option<Given<Lifetime>>,
    /// How far ahead of our clock the `iat` of a proof may lie, here and at the gate. At most 60 seconds.
    #[schemars(extend("default" = "10s"))]
    pub(super) clock_skew: Option<Given<Lifetime>>,
    /// Whether every client must bring a proof, `dpop_bound_access_tokens` or not.
    #[schemars(extend("default" = false))]
    pub(super) required: Option<Given<bool>>,
}

/// Whether proofs at the token endpoint carry a nonce.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ServerNonce {
    /// Never.
    Off,
    /// A nonce is judged if it is there, and offered to whoever sends a proof.
    Optional,
    /// No proof passes without one.
    Required,
}

/// A registered client (RFC 7591 §2).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientFile {
    /// The identifier: 1 to 512 printable ASCII characters.
    #[schemars(required)]
    pub(super) client_id: Option<Given<Parsed<ClientId>>>,
    /// What people are shown: 1 to 200 characters. Default: the `client_id`.
    pub(super) client_name: Option<Given<String>>,
    /// How the client authenticates.
    #[schemars(extend("default" = "client_secret_basic"))]
    pub(super) token_endpoint_auth_method: Option<Given<AuthMethod>>,
    /// For `private_key_jwt`: the only algorithm of its assertions. Default: any that its keys allow.
    pub(super) token_endpoint_auth_signing_alg: Option<Given<SigningAlgorithm>>,
    /// For `private_key_jwt`, and for request objects: the public keys (RFC 7517 §5). For `self_signed_tls_client_auth`: the certificates, each as the
    /// first of the `x5c` of a key (RFC 8705 §2.2.2); for a key without `x5c` any certificate that certifies it.
    pub(super) jwks: Option<Given<KeySetFile>>,
    /// For `client_secret_basic` and `client_secret_post`: a file with the secret, at least 32 characters.
    pub(super) client_secret_file: Option<Given<String>>,
    /// Instead of `client_secret_file`: `sha256:` and the hash of the secret in base64url without padding.
    pub(super) client_secret_hash: Option<Given<Parsed<SecretHash>>>,
    /// For `tls_client_auth`: the distinguished name of the certificate, in the form of RFC 4514.
    pub(super) tls_client_auth_subject_dn: Option<Given<Parsed<DistinguishedName>>>,
    /// For `tls_client_auth`: a DNS name of the certificate.
    pub(super) tls_client_auth_san_dns: Option<Given<String>>,
    /// For `tls_client_auth`: a URI of the certificate, such as a SPIFFE ID.
    pub(super) tls_client_auth_san_uri: Option<Given<String>>,
    /// For `tls_client_auth`: an IP address of the certificate.
    pub(super) tls_client_auth_san_ip: Option<Given<Parsed<IpAddr>>>,
    /// For `tls_client_auth`: an e-mail address of the certificate.
    pub(super) tls_client_auth_san_email: Option<Given<String>>,
    /// The grants that the client may use.
    #[schemars(extend("default" = ["authorization_code"]))]
    pub(super) grant_types: Option<Given<Vec<Given<GrantTypeWord>>>>,
    /// Where answers to authorization requests go: https, a private-use scheme with a dot in it, or http on loopback,
    /// whose port the client may choose. Required for `authorization_code`. Compared exactly.
    pub(super) redirect_uris: Option<Given<Vec<Given<Parsed<RedirectUri>>>>>,
    /// Where a browser may go after its person has signed out on behalf of the client (OpenID Connect RP-Initiated Logout).
    /// Compared exactly.
    pub(super) post_logout_redirect_uris: Option<Given<Vec<Given<Parsed<RedirectUri>>>>>,
    /// The scopes that the client may ask for, separated by spaces; each must be one of `scopes`. Default: none.
    pub(super) scope: Option<Given<Parsed<Scopes>>>,
    /// Whether the client must bring a DPoP proof (RFC 9449 §5.2): it then gets no token that a thief could use.
    #[schemars(extend("default" = false))]
    pub(super) dpop_bound_access_tokens: Option<Given<bool>>,
    /// Whether access tokens are bound to the certificate of the client's connection (RFC 8705 §3) when it brings no DPoP
    /// proof; without a certificate it gets none.
    #[schemars(extend("default" = false))]
    pub(super) tls_client_certificate_bound_access_tokens: Option<Given<bool>>,
    /// Whether the client must push its authorization requests (RFC 9126 §6).
    #[schemars(extend("default" = false))]
    pub(super) require_pushed_authorization_requests: Option<Given<bool>>,
    /// Whether the client must sign its authorization requests (RFC 9101 §10.5), with a key in `jwks`.
    #[schemars(extend("default" = false))]
    pub(super) require_signed_request_object: Option<Given<bool>>,
    /// The only algorithm of its request objects. Default: any that its keys allow.
    pub(super) request_object_signing_alg: Option<Given<SigningAlgorithm>>,
    /// What authorization responses are signed with that the client asks for with `response_mode=jwt` (JARM). It must be
    /// `signing.algorithm`, and is so by default.
    pub(super) authorization_signed_response_alg: Option<Given<SigningAlgorithm>>,
    /// The types of `authorization_details` that the client may ask for; each must be one of the server's. Default: none.
    pub(super) authorization_details_types: Option<Given<Vec<Given<String>>>>,
    /// The set of rules that the client must keep. Default: that of the server.
    pub(super) profile: Option<Given<Profile>>,
    /// Whether each refresh gives a new refresh token. Default under `profile: fapi2`: `never`.
    #[schemars(extend("default" = "always"))]
    pub(super) refresh_token_rotation: Option<Given<RotationWord>>,
    /// The resources that the client is the server of: it may ask whether the access tokens that it is called with are good
    /// (RFC 7662). Any client that authenticates may ask about its own tokens. Default: none.
    pub(super) introspects: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
    /// For `urn:ietf:params:oauth:grant-type:token-exchange`: on whose behalf the client may act, and where.
    pub(super) token_exchange: Option<Given<TokenExchangeFile>>,
}

/// On whose behalf a client may act, and where (RFC 8693).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenExchangeFile {
    /// The resources that the client is the server of: it exchanges the access tokens that it is called with.
    #[schemars(required)]
    pub(super) from: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
    /// The resources that it may call. The new token allows no more than the old one, for no longer, and names the client as
    /// the actor.
    #[schemars(required)]
    pub(super) to: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
}

/// How a client authenticates.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuthMethod {
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
}

impl AuthMethod {
    /// The name of the method.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
        }
    }
}

/// A grant.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
pub(super) enum GrantTypeWord {
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

/// Whether each refresh gives a new refresh token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum RotationWord {
    /// Yes; the previous one works until its successor was used.
    Always,
    /// No. Only for clients that authenticate (RFC 9700 §2.2.2).
    Never,
}

/// Public keys (RFC 7517 §5).
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct KeySetFile {
    /// The keys. Private members are refused.
    pub(super) keys: Option<Given<Vec<Given<Members>>>>,
}

/// A resource that the gate protects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceFile {
    /// The identifier: an absolute http(s) URI without a fragment. It is the audience of tokens, and scheme, host and
    /// port are what clients reach the resource under: the `htu` of proofs must begin with them. Requests find their
    /// resource by host and port, so no two resources may have the same.
    #[schemars(required)]
    pub(super) resource: Option<Given<Parsed<ResourceUri>>>,
    /// Whose tokens count. This version knows `self` only: the `authorization_server` of this file.
    #[schemars(extend("default" = ["self"]))]
    pub(super) authorization_servers: Option<Given<Vec<Given<String>>>>,
    /// Whether tokens must be bound to a key.
    #[schemars(extend("default" = "required"))]
    pub(super) dpop: Option<Given<DpopWord>>,
    /// Whether proofs must carry a nonce of the gate (RFC 9449 §9).
    #[schemars(extend("default" = "off"))]
    pub(super) nonce: Option<Given<GateNonceWord>>,
    /// What the protected service gets to see.
    pub(super) upstream: Option<Given<UpstreamFile>>,
    /// Who may do what. The first rule that matches decides; a request that none matches is denied. A rule whose requests
    /// all go to an earlier one is a mistake.
    #[schemars(required)]
    pub(super) rules: Option<Given<Vec<Given<RuleFile>>>>,
}

/// Whether tokens must be bound to a key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum DpopWord {
    /// Only DPoP-bound tokens, with a proof.
    Required,
    /// DPoP-bound tokens with a proof, and tokens that are bound to the client's certificate (RFC 8705), which Envoy must
    /// hand on: `include_peer_certificate`.
    OrCertificate,
    /// DPoP-bound tokens with a proof, and plain bearer tokens. A stolen bearer token works for the thief.
    Allowed,
    /// Plain bearer tokens only.
    Off,
}

/// Whether proofs must carry a nonce of the gate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum GateNonceWord {
    /// No.
    Off,
    /// Yes: proofs made ahead of time are worthless.
    Required,
}

/// What the protected service gets to see.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamFile {
    /// What becomes of the `Authorization` header. `DPoP` is always removed.
    #[schemars(extend("default" = "remove"))]
    pub(super) authorization: Option<Given<UpstreamAuthorizationWord>>,
    /// Headers that tell the service who is asking, each with the claim it holds. What the caller sent under these names
    /// is always removed.
    #[schemars(extend("default" = { "x-auth-subject": "sub", "x-auth-client": "client_id", "x-auth-scope": "scope" }))]
    pub(super) headers: Option<Given<BTreeMap<String, Given<String>>>>,
}

/// What becomes of the `Authorization` header.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum UpstreamAuthorizationWord {
    /// It is removed.
    Remove,
    /// The token is passed on as a plain bearer token.
    Bearer,
    /// It is passed on as it came.
    Keep,
}

/// Who may send a kind of request. Exactly one of `scope` and `allow`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// The path: `/a` itself, `/a/*` one segment more, `/a/**` it and everything below.
    #[schemars(required)]
    pub(super) path: Option<Given<Parsed<PathPattern>>>,
    /// The methods. Default: all. `TRACE` and `CONNECT` are always refused.
    pub(super) methods: Option<Given<Vec<Given<Parsed<Method>>>>>,
    /// The scopes that a token must have, separated by spaces; all of them.
    pub(super) scope: Option<Given<Parsed<Scopes>>>,
    /// Who may come without a particular scope.
    pub(super) allow: Option<Given<AllowWord>>,
}

/// Who may come without a particular scope.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum AllowWord {
    /// Anybody, without a token.
    Anyone,
    /// Whoever has a valid token for this resource.
    Authenticated,
}

/// The name of a header, in lower case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct HeaderWord(pub(super) String);

/// A text that is no name of a header that a proxy may speak in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be the name of a header that nothing else uses, such as x-forwarded-user")]
pub(super) struct HeaderWordFault;

impl FromStr for HeaderWord {
    type Err = HeaderWordFault;

    fn from_str(text: &str) -> Result<Self, HeaderWordFault> {
        const TAKEN: [&str; 8] =
            ["authorization", "connection", "content-type", "cookie", "dpop", "host", "origin", "transfer-encoding"];
        let name = http::HeaderName::try_from(text).map_err(|_| HeaderWordFault)?;
        if TAKEN.contains(&name.as_str()) { Err(HeaderWordFault) } else { Ok(Self(name.as_str().to_owned())) }
    }
}

/// `client_secret_hash`.
#[derive(Clone, Debug)]
pub(super) struct SecretHash(pub(super) ClientSecretHash);

/// A text that is no `client_secret_hash`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be `sha256:` and 43 characters of base64url")]
pub(super) struct SecretHashFault;

impl FromStr for SecretHash {
    type Err = SecretHashFault;

    fn from_str(text: &str) -> Result<Self, SecretHashFault> {
        ClientSecretHash::parse(text).map(Self).ok_or(SecretHashFault)
    }
}

/// A resource identifier, which is an audience and has an origin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ResourceUri {
    /// What `aud` holds.
    pub(super) audience: crate::ident::Audience,
    /// Where it is reached.
    pub(super) origin: crate::uri::Origin,
}

impl FromStr for ResourceUri {
    type Err = crate::uri::UriFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { audience: crate::uri::resource_indicator(text)?, origin: text.parse()? })
    }
}
