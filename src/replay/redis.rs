//! A replay guard that replicas share: Redis or Valkey, one node or a cluster.
//!
//! A check is one `SET key mark NX PX lifetime` over a connection that all checks share. What cannot be told is
//! [`Unavailable`]: no connection, no answer in time, a connection that was lost while we waited. The proof may have been
//! spent then, so its client makes another one, as it does for every request.
//!
//! Redis can forget: it restarts, a replica that lags takes its place, somebody flushes it. [`memory`] says how that is
//! noticed, and [`memory_began`](ReplayGuard::memory_began) tells the fence, which keeps out what may have been forgotten.
//!
//! Invariant: the fence knows of a new memory before the first check is sent to it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, Value};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{ReplayGuard, ReplayKey, Seen};
use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::secret::base64url;
use crate::unavailable::Unavailable;

mod connection;
mod link;
mod memory;

use connection::Target;
use link::Link;

/// What keys begin with by default.
pub const DEFAULT_KEY_PREFIX: &str = "tollgate:";

/// How long a check waits for its answer by default: less than Envoy waits for us (`envoy/envoy.yaml`).
pub const DEFAULT_ANSWER_WITHIN: Duration = Duration::from_millis(200);

/// How long an attempt to connect may take by default.
pub const DEFAULT_CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How many checks may wait to be written to a node; further ones wait for them, and no longer than for an answer.
pub const REDIS_WAITING: usize = 1_024;

/// Where a Redis is, and who we are there: `redis://`, `rediss://` for TLS, or `unix://` with the path of a socket. Prints
/// without user and password.
#[derive(Clone)]
pub struct RedisUrl(ConnectionInfo);

/// Why a text is no URL of a Redis.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RedisUrlFault {
    /// It cannot be read, or has another scheme.
    #[error("no URL such as rediss://user:password@host:6379/0")]
    Malformed,
    /// `#insecure` would have us talk to anybody.
    #[error("a URL that turns off the check of the certificate")]
    Insecure,
}

impl FromStr for RedisUrl {
    type Err = RedisUrlFault;

    fn from_str(text: &str) -> Result<Self, RedisUrlFault> {
        let info = text.into_connection_info().map_err(|_| RedisUrlFault::Malformed)?;
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => Err(RedisUrlFault::Insecure),
            _ => Ok(Self(info)),
        }
    }
}

impl RedisUrl {
    /// Whether it is a socket of this machine.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        matches!(self.0.addr(), ConnectionAddr::Unix(_))
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.0.redis_settings().db()
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (self.0.redis_settings(), other.0.redis_settings());
        let same_user = (one.username(), one.password(), one.db()) == (two.username(), two.password(), two.db());
        self.0.addr() == other.0.addr() && same_user
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.0.addr())
    }
}

/// What there is to know about a Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisSettings {
    /// The one node, or some nodes of the cluster, from which the others are found.
    pub nodes: Vec<RedisUrl>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// What all keys begin with.
    pub key_prefix: String,
    /// The certificates of the authorities that may vouch for it, in PEM; those of the system if there are none.
    pub authorities: Option<String>,
    /// How long a check waits for its answer.
    pub answer_within: Duration,
    /// How long an attempt to connect may take.
    pub connect_within: Duration,
}

/// Settings with which no connection can be made, whoever answers.
#[derive(Debug, thiserror::Error)]
#[error("the settings of the Redis cannot be used")]
pub struct RedisFault(#[source] RedisError);

/// Remembers spent keys in a Redis, and keeps a connection to it for as long as it lives.
pub struct RedisReplayGuard {
    link: Arc<Link>,
    key_prefix: String,
    answer_within: Duration,
    /// Whether checks may be sent twice: the client of a cluster follows slots that move.
    cluster: bool,
    /// What the marks of this guard begin with: nobody else's do.
    life: String,
    /// How many marks it has made.
    marks: AtomicU64,
    upkeep: AbortHandle,
}

impl RedisReplayGuard {
    /// A guard whose first attempt to connect is over, well or not: who answers later is used from then on. In a runtime.
    ///
    /// # Errors
    /// [`RedisFault`] for settings that can never be right. A Redis that does not answer is none.
    pub async fn start(
        settings: RedisSettings,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, RedisFault> {
        let target = Target::new(&settings).map_err(RedisFault)?;
        let link = Arc::new(Link::default());
        let keeper = link::Keeper::new(Arc::clone(&link), target, memory::key_prefix(&settings.key_prefix), clock);
        let upkeep = tokio::spawn(keeper.run()).abort_handle();
        link.first_attempt().await;
        Ok(Self {
            link,
            key_prefix: settings.key_prefix,
            answer_within: settings.answer_within,
            cluster: settings.cluster,
            life: base64url(&entropy.draw::<12>()),
            marks: AtomicU64::new(0),
            upkeep,
        })
    }

    /// A value that no other check writes: the one who finds it knows that it was he who wrote it.
    fn mark(&self) -> String {
        format!("{}.{}", self.life, self.marks.fetch_add(1, Ordering::Relaxed))
    }

    /// Spends a key on one connection.
    async fn spend_on(
        &self,
        mut connection: connection::Connection,
        key: ReplayKey,
        lifetime: u64,
    ) -> Result<Seen, RedisError> {
        let name = format!("{}{}", self.key_prefix, base64url(key.as_bytes()));
        let mark = self.mark();
        let mut set = redis::cmd("SET");
        set.arg(&name).arg(&mark).arg("NX").arg("PX").arg(lifetime);
        match connection.ask(&set).await? {
            Value::Okay => Ok(Seen::First),
            // The client of a cluster may have sent it twice: a mark of ours was written by the first of the two.
            Value::Nil if self.cluster => {
                let found = connection.ask(Cmd::new().arg("GET").arg(&name)).await?;
                Ok(if found == Value::BulkString(mark.into_bytes()) { Seen::First } else { Seen::Replayed })
            }
            Value::Nil => Ok(Seen::Replayed),
            _ => Err((redis::ErrorKind::UnexpectedReturnType, "neither OK nor nil").into()),
        }
    }
}

impl Drop for RedisReplayGuard {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

#[async_trait]
impl ReplayGuard for RedisReplayGuard {
    async fn spend(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        let Some((connection, generation)) = self.link.connection() else { return Err(Unavailable::Down) };
        match timeout(self.answer_within, self.spend_on(connection, key, lifetime(expires, now))).await {
            Ok(Ok(seen)) => Ok(seen),
            // It has no memory left for another key, and still answers.
            Ok(Err(error)) if error.code() == Some("OOM") => {
                tracing::warn!("the Redis of the replay guard is full: raise its `maxmemory`");
                Err(Unavailable::Full)
            }
            Ok(Err(error)) => {
                self.link.give_up(generation, &error.to_string());
                Err(Unavailable::Down)
            }
            Err(_) => {
                self.link.give_up(generation, "no answer in time");
                Err(Unavailable::Down)
            }
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn memory_began(&self) -> Option<Timestamp> {
        self.link.memory_began()
    }

    fn is_ready(&self) -> bool {
        self.link.connection().is_some()
    }
}

/// How long a key must be remembered, in milliseconds; Redis counts from when it writes it, so never for less.
fn lifetime(expires: Timestamp, now: Timestamp) -> u64 {
    // One more, since a key is gone in the millisecond in which its lifetime ends.
    u64::try_from(expires.since(now).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_ends_after_the_proof_and_is_never_zero() {
        let now = Timestamp::from_millis(1_760_000_000_500);
        assert_eq!(lifetime(now + Duration::from_millis(69_999), now), 70_000);
        assert_eq!(lifetime(now, now), 1);
        assert_eq!(lifetime(now.before(Duration::from_secs(5)), now), 1);
    }

    #[test]
    fn urls_print_without_what_they_keep_secret() {
        let url: RedisUrl = "rediss://gate:s3cret@redis.example.com:6380/2".parse().expect("a URL");
        assert_eq!(format!("{url:?}"), "RedisUrl(redis.example.com:6380)");
        assert_eq!(url.database(), 2);
        for (text, fault) in [
            ("redis.example.com", RedisUrlFault::Malformed),
            ("https://redis.example.com", RedisUrlFault::Malformed),
            ("rediss://redis.example.com/#insecure", RedisUrlFault::Insecure),
        ] {
            assert_eq!(text.parse::<RedisUrl>().err(), Some(fault), "{text}");
        }
    }
}
