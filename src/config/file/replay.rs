//! What the file may say about where used proofs are remembered.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::duration::Wait;
use crate::config::given::{Given, Parsed};

/// Where used DPoP proofs are remembered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ReplayFile {
    /// In the memory of this process. Protects one replica only.
    Local(Box<Given<LocalReplayFile>>),
    /// In a Redis or Valkey that all replicas share. While it does not answer, what needs a proof is answered 503.
    Redis(Box<Given<RedisReplayFile>>),
}

/// Used proofs in memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LocalReplayFile {
    /// How many proofs are remembered at most, from 1 to 50000000; about 64 bytes each. When full, requests are answered
    /// 503 until proofs expire: none is ever forgotten early.
    #[schemars(extend("default" = 1_000_000))]
    pub(in crate::config) entries: Option<Given<usize>>,
    /// Must be said beside `store: { postgres: … }`, from which several replicas may serve, and beside `nonce_keys_file`, with
    /// which several gates take the same nonces: each has a memory of its own.
    pub(in crate::config) replicas: Option<Given<ReplicasWord>>,
}

/// What memories of their own mean for the replicas of an installation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ReplicasWord {
    /// There is one replica, and never a second one.
    OnlyOne,
    /// There are several, and whoever sees a proof may use it once at each of the others while it is fresh. Not what RFC 9449
    /// §11.1 asks for.
    EachTakesAProofOnce,
}

/// Used proofs in a Redis 6 or newer, or a Valkey. Its `maxmemory-policy` must be `noeviction`. What it forgets (it restarts,
/// a replica takes over, it is flushed) is noticed: proofs that were made before need a nonce then.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RedisReplayFile {
    /// A file with its URL: `redis://`, `rediss://` for TLS, or `unix://` with the path of a socket, as in
    /// `rediss://user:password@redis.example.com:6379/0`. For a cluster several, one a line: the other nodes are found. Its
    /// user needs `+set +get +pexpire +info +ping` on the keys of `key_prefix`, and `+cluster|slots +readonly +asking` for
    /// a cluster.
    #[schemars(required)]
    pub(in crate::config) url_file: Option<Given<String>>,
    /// Whether it is a cluster.
    #[schemars(extend("default" = false))]
    pub(in crate::config) cluster: Option<Given<bool>>,
    /// What its keys begin with: 1 to 64 of letters, digits, and `:` `-` `_` `.` `{` `}`.
    #[schemars(extend("default" = "tollgate:"))]
    pub(in crate::config) key_prefix: Option<Given<String>>,
    /// A file with the certificates of the authorities that may vouch for it, in PEM. Default: those of the system.
    pub(in crate::config) certificate_authorities: Option<Given<String>>,
    /// How long a request waits for its answer, `"1ms"` to `"30s"`. Keep it below the `timeout` of
    /// Envoy's filter, or Envoy gives up first.
    #[schemars(extend("default" = "200ms"))]
    pub(in crate::config) answer_within: Option<Given<Parsed<Wait>>>,
    /// How long an attempt to connect may take, `"1ms"` to `"30s"`.
    #[schemars(extend("default" = "2s"))]
    pub(in crate::config) connect_within: Option<Given<Parsed<Wait>>>,
}
