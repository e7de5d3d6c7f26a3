//! What the file may say about where state is kept.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::duration::Lifetime;
use crate::config::given::Given;

/// Where grants, codes, sessions and signing keys are kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum StoreFile {
    /// In the memory of the process: gone when it ends. For development and tests.
    Memory(Given<MemoryFile>),
    /// In an SQLite file, durably: an acknowledged answer is on disk.
    Sqlite(Given<SqliteFile>),
    /// In a PostgreSQL database, durably, for replicas: many processes may serve from it.
    Postgres(Box<Given<PostgresFile>>),
}

/// A store in memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct MemoryFile {
    /// How much is kept at most.
    pub(in crate::config) limits: Option<Given<LimitsFile>>,
}

/// A store in an SQLite file, from which one process serves at a time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SqliteFile {
    /// The database file, relative to the directory of this one; its own directory must exist. Created with mode 0600.
    #[schemars(required)]
    pub(in crate::config) path: Option<Given<String>>,
    /// How much is kept at most.
    pub(in crate::config) limits: Option<Given<LimitsFile>>,
}

/// A store in a PostgreSQL database, 13 or newer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PostgresFile {
    /// A file with its connection URL, such as `postgresql://tollgate:password@db1,db2/tollgate`: of several hosts, the one
    /// that takes writes is used. Unless all are on this machine, or it says `sslmode=disable`, connections are
    /// encrypted, and certificate and name are checked. Its user must own the database, or a schema that `search_path`
    /// names.
    #[schemars(required)]
    pub(in crate::config) url_file: Option<Given<String>>,
    /// A file with the certificates of the authorities that may vouch for it, in PEM. Default: those of the system.
    pub(in crate::config) certificate_authorities: Option<Given<String>>,
    /// How many connections each process has at most, from 1 to 500.
    #[schemars(extend("default" = 16))]
    pub(in crate::config) connections: Option<Given<usize>>,
    /// How long a request waits for a connection, and an attempt to connect to one host may take, at most a minute.
    #[schemars(extend("default" = "3s"))]
    pub(in crate::config) connect_within: Option<Given<Lifetime>>,
    /// How long an answer may take, at most a minute.
    #[schemars(extend("default" = "5s"))]
    pub(in crate::config) answer_within: Option<Given<Lifetime>>,
    /// How long the gate of a process goes by what it knows when it cannot read what the other processes have revoked; then it
    /// answers 503 to tokens of this server. At most an hour.
    #[schemars(extend("default" = "1m"))]
    pub(in crate::config) revocations_stale: Option<Given<Lifetime>>,
    /// How much is kept at most.
    pub(in crate::config) limits: Option<Given<LimitsFile>>,
}

/// How much is kept at most. At a limit new records are turned away with 503: live ones are dropped for none but
/// `grants_per_person`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LimitsFile {
    /// Authorization codes, those that were used in the last minutes included.
    #[schemars(extend("default" = 200_000))]
    pub(in crate::config) codes: Option<Given<u64>>,
    /// Grants: about half a kilobyte each.
    #[schemars(extend("default" = 1_000_000))]
    pub(in crate::config) grants: Option<Given<u64>>,
    /// Live grants of one person at one client: sign-ins of a browser, devices. At one more, the oldest ends.
    #[schemars(extend("default" = 100))]
    pub(in crate::config) grants_per_person: Option<Given<u64>>,
    /// Devices that wait for a person. The chance that somebody guesses a user code of anybody grows with it.
    #[schemars(extend("default" = 3_000))]
    pub(in crate::config) devices: Option<Given<u64>>,
    /// Pushed authorization requests, those that were answered in the last minutes included.
    #[schemars(extend("default" = 200_000))]
    pub(in crate::config) pushed_requests: Option<Given<u64>>,
    /// Pushed authorization requests of one client that wait for their browsers. At one more, it is told to slow down.
    #[schemars(extend("default" = 20_000))]
    pub(in crate::config) pushed_requests_per_client: Option<Given<u64>>,
    /// Clients that have registered themselves (`registration`).
    #[schemars(extend("default" = 10_000))]
    pub(in crate::config) clients: Option<Given<u64>>,
    /// Browser sessions.
    #[schemars(extend("default" = 1_000_000))]
    pub(in crate::config) sessions: Option<Given<u64>>,
    /// Clients at which sessions have signed their people in, all sessions together.
    #[schemars(extend("default" = 2_000_000))]
    pub(in crate::config) session_clients: Option<Given<u64>>,
    /// People whom somebody else vouches for (every `login` but `local`), those who are disabled included.
    #[schemars(extend("default" = 1_000_000))]
    pub(in crate::config) people: Option<Given<u64>>,
    /// Used client assertions.
    #[schemars(extend("default" = 1_000_000))]
    pub(in crate::config) assertions: Option<Given<u64>>,
    /// Revoked access tokens of clients that speak for themselves, until they expire.
    #[schemars(extend("default" = 1_000_000))]
    pub(in crate::config) revocations: Option<Given<u64>>,
    /// Access tokens with `access_token_format: opaque`, until they expire: about 600 bytes each.
    #[schemars(extend("default" = 1_000_000))]
    pub(in crate::config) access_tokens: Option<Given<u64>>,
}
