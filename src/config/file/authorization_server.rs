//! What the file may say about the authorization server.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::super::words::WordsFile;
use super::client::ClientFile;
use super::client_documents::ClientDocumentsFile;
use super::login::LoginFile;
use super::protected_resource::ResourceUri;
use super::registration::{MetadataDocumentsFile, RegistrationFile};
use super::workload_issuer::WorkloadIssuerFile;
use crate::ident::{Acr, Issuer};
use crate::scope::Scope;
use crate::web::Colour;

/// The authorization server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AuthorizationServerFile {
    /// The issuer identifier (RFC 8414 §2): the https URL under which clients reach the server, byte for byte, without a
    /// trailing slash. http on loopback only.
    #[schemars(required)]
    pub(in crate::config) issuer: Option<Given<Parsed<Issuer>>>,
    /// The set of rules that every client must keep. A client may have a stricter one.
    #[schemars(extend("default" = "default"))]
    pub(in crate::config) profile: Option<Given<Profile>>,
    /// Whether every client must push its authorization requests (RFC 9126 §5).
    #[schemars(extend("default" = false))]
    pub(in crate::config) require_pushed_authorization_requests: Option<Given<bool>>,
    /// How people sign in. Required if a client uses `authorization_code`.
    pub(in crate::config) login: Option<Given<LoginFile>>,
    /// How long things live.
    pub(in crate::config) tokens: Option<Given<TokensFile>>,
    /// The keys that sign access tokens.
    pub(in crate::config) signing: Option<Given<SigningFile>>,
    /// About DPoP proofs (RFC 9449), here and at the gate.
    pub(in crate::config) dpop: Option<Given<DpopFile>>,
    /// How often clients may ask, at the endpoints at which they authenticate. At more, 429 with `Retry-After`.
    pub(in crate::config) rate_limits: Option<Given<RateLimitsFile>>,
    /// The scopes that exist, each with 1 to 200 characters for the people who are asked to grant it: for everybody, or
    /// by language, `{ en: "Read your orders", de: "Ihre Bestellungen lesen" }`. The first one counts where a language is
    /// missing.
    pub(in crate::config) scopes: Option<Given<BTreeMap<Parsed<Scope>, Given<WordsFile>>>>,
    /// The origin, such as `https://mtls.auth.example.com`, at which clients that show certificates find the endpoints, if it is
    /// another than the issuer's (RFC 8705 §5): a name for the same listener, or a proxy that asks for certificates. Paths are
    /// those of the issuer, and a DPoP proof may be made for either address. Default: none.
    pub(in crate::config) mtls_origin: Option<Given<String>>,
    /// Whether the gate of this process answers for the metadata and the key set, too: to requests for them at the host of the
    /// issuer that Envoy asks it about, whatever resource their route belongs to. Then Envoy needs no route to this server for
    /// them, but a route that is checked. Its `max_denied_response_body_bytes` must have room for them.
    #[schemars(extend("default" = false))]
    pub(in crate::config) metadata_at_gate: Option<Given<bool>>,
    /// How well people can be recognised where they sign in (`acr`), for clients to read in the metadata.
    pub(in crate::config) acr_values_supported: Option<Given<Vec<Given<Parsed<Acr>>>>>,
    /// What clients may ask for in detail (RFC 9396), by the `type` of the objects in `authorization_details`.
    pub(in crate::config) authorization_details_types: Option<Given<BTreeMap<String, Given<DetailTypeFile>>>>,
    /// Resources, besides those under `protected_resources`, that tokens may be issued for (RFC 8707): absolute http(s)
    /// URIs without a fragment. The first resource of all is the audience of tokens whose request names none. If there
    /// is no resource at all, the issuer is the only one.
    pub(in crate::config) resources: Option<Given<Vec<Given<Parsed<ResourceUri>>>>>,
    /// The platforms whose word counts about who a workload is, so that it needs no secret to be a client.
    pub(in crate::config) workload_issuers: Option<Given<Vec<Given<WorkloadIssuerFile>>>>,
    /// The registered clients, by the metadata of RFC 7591.
    pub(in crate::config) clients: Option<Given<Vec<Given<ClientFile>>>>,
    /// Clients whose `client_id` is the URL of a document about them. Default: off.
    pub(in crate::config) client_id_metadata_documents: Option<Given<MetadataDocumentsFile>>,
    /// Status lists, by which gates without this store learn which access tokens were revoked. Default: off.
    pub(in crate::config) status_lists: Option<Given<StatusListsFile>>,
    /// Dynamic registration of clients. Default: off.
    pub(in crate::config) registration: Option<Given<RegistrationFile>>,
    /// How documents are fetched that clients keep elsewhere.
    pub(in crate::config) client_documents: Option<Given<ClientDocumentsFile>>,
    /// What the pages for people look like.
    pub(in crate::config) branding: Option<Given<BrandingFile>>,
}

/// Token Status Lists, at `/oauth/status/0` and so on: access tokens that are JWTs name their places in them (`status`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct StatusListsFile {
    /// How old a list becomes before gates fetch a newer one, and so how much later they know that a token was revoked; from
    /// 1s to 15m.
    #[schemars(extend("default" = "10s"))]
    pub(in crate::config) ttl: Option<Given<Lifetime>>,
    /// How long a list counts at gates that cannot fetch a newer one, if they allow as much; at least `ttl`, at most 24h.
    #[schemars(extend("default" = "5m"))]
    pub(in crate::config) lifetime: Option<Given<Lifetime>>,
    /// How many requests from one address may wait at a process for a list to change, of 2,048 in all. Who asks beyond that
    /// fetches lists by their `ttl`. Behind a proxy that `listen.public.trusted_proxies` does not name, everybody has the
    /// address of the proxy.
    #[schemars(extend("default" = 256))]
    pub(in crate::config) waiting_per_address: Option<Given<u32>>,
}

/// What the pages for people look like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct BrandingFile {
    /// What stands above every page and in its title; 1 to 200 characters.
    pub(in crate::config) name: Option<Given<String>>,
    /// A file with the picture beside the name: PNG, WebP or SVG, at most 64 KiB, shown up to 144 by 40 pixels large.
    pub(in crate::config) logo_file: Option<Given<String>>,
    /// The colour of buttons and links.
    pub(in crate::config) accent_color: Option<Given<AccentColourFile>>,
}

/// The colour of buttons and links, as `"#rrggbb"`. It must be readable as text: a contrast of 4.5 to what is behind it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AccentColourFile {
    /// On light pages, whose background is white.
    #[schemars(extend("default" = "#1d4fd8"))]
    pub(in crate::config) light: Option<Given<Parsed<Colour>>>,
    /// On dark pages, whose background is nearly black.
    #[schemars(extend("default" = "#8fb2ff"))]
    pub(in crate::config) dark: Option<Given<Parsed<Colour>>>,
}

/// How often clients may ask, from 1 to 1000000. Ten seconds' worth of requests may come at once, and a minute's worth of wrong
/// secrets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RateLimitsFile {
    /// Requests a second of one client.
    #[schemars(extend("default" = 2_000))]
    pub(in crate::config) client: Option<Given<u32>>,
    /// Requests a second from one address. Behind a proxy that `listen.public.trusted_proxies` does not name, everybody has
    /// the address of the proxy.
    #[schemars(extend("default" = 2_000))]
    pub(in crate::config) address: Option<Given<u32>>,
    /// Wrong secrets a minute for one client from one address.
    #[schemars(extend("default" = 60))]
    pub(in crate::config) wrong_secrets: Option<Given<u32>>,
}

/// A type of `authorization_details`. Objects may have the members that are described here, `identifier`, which is a text,
/// and `locations`, which are resources; any other is refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DetailTypeFile {
    /// What it allows, for the people who are asked to grant it: 1 to 200 characters, or a map of such by language, as in
    /// `scopes`. They are shown the members too.
    #[schemars(required)]
    pub(in crate::config) description: Option<Given<WordsFile>>,
    /// The values that `actions` may have. Default: there are no `actions`.
    pub(in crate::config) actions: Option<Given<Vec<Given<String>>>>,
    /// The values that `datatypes` may have. Default: there are no `datatypes`.
    pub(in crate::config) datatypes: Option<Given<Vec<Given<String>>>>,
    /// The values that `privileges` may have. Default: there are no `privileges`.
    pub(in crate::config) privileges: Option<Given<Vec<Given<String>>>>,
    /// Other members that there may be, of any JSON type. The resource must judge their values.
    pub(in crate::config) fields: Option<Given<Vec<Given<String>>>>,
    /// The members that there must be.
    pub(in crate::config) required: Option<Given<Vec<Given<String>>>>,
}

/// A set of rules that clients must keep.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Profile {
    /// RFC 9700 and RFC 9449.
    Default,
    /// FAPI 2.0 Security Profile: authorization requests are pushed, clients authenticate with a key or a certificate, tokens
    /// are bound to one, refresh tokens stay the same, and nothing is signed with `RS256`.
    Fapi2,
}

/// How long things live.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokensFile {
    /// Access tokens. Short, as a gate without this store may not know that one was revoked before it ends.
    #[schemars(extend("default" = "5m"))]
    pub(in crate::config) access_token: Option<Given<Lifetime>>,
    /// Grants, counted from approval: afterwards the person is asked again, whatever was refreshed.
    #[schemars(extend("default" = "30d"))]
    pub(in crate::config) refresh_token: Option<Given<Lifetime>>,
    /// Grants that nobody refreshes. At most `refresh_token`.
    #[schemars(extend("default" = "14d"))]
    pub(in crate::config) refresh_token_idle: Option<Given<Lifetime>>,
    /// Authorization codes. At most 60 seconds.
    #[schemars(extend("default" = "60s"))]
    pub(in crate::config) authorization_code: Option<Given<Lifetime>>,
    /// Device codes and user codes: how long a device waits for a person. At most 15 minutes.
    #[schemars(extend("default" = "10m"))]
    pub(in crate::config) device_code: Option<Given<Lifetime>>,
    /// `request_uri` of pushed authorization requests: until the browser brings it. At most 9 minutes.
    #[schemars(extend("default" = "90s"))]
    pub(in crate::config) pushed_request: Option<Given<Lifetime>>,
    /// Sign-in and consent: from the authorization request to its answer.
    #[schemars(extend("default" = "10m"))]
    pub(in crate::config) transaction: Option<Given<Lifetime>>,
    /// Browser sessions: how long a person stays signed in.
    #[schemars(extend("default" = "8h"))]
    pub(in crate::config) session: Option<Given<Lifetime>>,
    /// Browser sessions that nobody uses. At most `session`.
    #[schemars(extend("default" = "2h"))]
    pub(in crate::config) session_idle: Option<Given<Lifetime>>,
}

/// The keys that sign access tokens. They change by themselves: announced, then signing, then kept for verification.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SigningFile {
    /// What new keys sign with.
    #[schemars(extend("default" = "ES256"))]
    pub(in crate::config) algorithm: Option<Given<SigningAlgorithm>>,
    /// How long a key is published before it signs, so that whoever caches the key set knows it in time. At most `sign`.
    #[schemars(extend("default" = "14d"))]
    pub(in crate::config) announce: Option<Given<Lifetime>>,
    /// How long a key signs.
    #[schemars(extend("default" = "90d"))]
    pub(in crate::config) sign: Option<Given<Lifetime>>,
    /// How long a key stays published after it signed. At least `tokens.access_token`.
    #[schemars(extend("default" = "14d"))]
    pub(in crate::config) retain: Option<Given<Lifetime>>,
    /// A file with 32 random bytes in base64 (`openssl rand -base64 32`) under which private keys are encrypted in the
    /// store. Required with `store.sqlite`; whoever loses it loses the keys.
    pub(in crate::config) encryption_key_file: Option<Given<String>>,
    /// Files with further such keys, under which what is in the store may be encrypted still, or soon: while another key takes
    /// the place of `encryption_key_file`, until `tollgate keys rewrap` was run. Default: none.
    pub(in crate::config) decryption_key_files: Option<Given<Vec<Given<String>>>>,
}

/// A signature algorithm by its JOSE name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
pub(in crate::config) enum SigningAlgorithm {
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
pub(in crate::config) struct DpopFile {
    /// Whether proofs at the token endpoint carry a nonce of the server (RFC 9449 §8).
    #[schemars(extend("default" = "optional"))]
    pub(in crate::config) nonce: Option<Given<ServerNonce>>,
    /// How long a nonce is good, here and at the gate.
    #[schemars(extend("default" = "5m"))]
    pub(in crate::config) nonce_lifetime: Option<Given<Lifetime>>,
    /// How long after its `iat` a proof is accepted, here and at the gate. At most 5 minutes.
    #[schemars(extend("default" = "60s"))]
    pub(in crate::config) proof_lifetime: Option<Given<Lifetime>>,
    /// How far ahead of our clock the `iat` of a proof may lie, here and at the gate. At most 60 seconds.
    #[schemars(extend("default" = "10s"))]
    pub(in crate::config) clock_skew: Option<Given<Lifetime>>,
    /// Whether every client must bring a proof, `dpop_bound_access_tokens` or not.
    #[schemars(extend("default" = false))]
    pub(in crate::config) required: Option<Given<bool>>,
}

/// Whether proofs at the token endpoint carry a nonce.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ServerNonce {
    /// Never.
    Off,
    /// A nonce is judged if it is there, and offered to whoever sends a proof.
    Optional,
    /// No proof passes without one.
    Required,
}
