//! Since when a Redis remembers.
//!
//! A memory has a name: a hash over what tells one life of one node from every other. Each node says in its `INFO` which
//! process it is (`run_id`), whose writes it has (`master_replid`, new when a replica takes over), and how often it was
//! flushed. Whoever finds a memory with a new name writes beside it when he did, in the one key `…memory:NAME`, and all
//! replicas read the same moment from there. That key goes when the memory is flushed, and a minute after the last
//! replica has looked: then nobody knows whether proofs were spent elsewhere meanwhile.
//!
//! A connection to one node ends with its process, so a restart and a failover are noticed before the next check. A
//! flush, and a failover within a cluster, are noticed at the next look, at most a second later, if no check fails before.

use redis::{Cmd, RedisError, Value};

use super::connection::Connection;
use crate::clock::Timestamp;
use crate::secret::{base64url, sha256};

/// How long the moment at which a memory began is kept after the last look, in milliseconds.
const KEPT: u64 = 60_000;

/// Why a Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemoryFault {
    /// It does not answer, or says no.
    #[error("{0}")]
    Redis(#[from] RedisError),
    /// It would drop live keys to make room, and so re-open replay.
    #[error("its `maxmemory-policy` is `{0}`: set it to `noeviction`, or it drops proofs that must not be used again")]
    Evicts(String),
    /// It is a replica, to which nothing can be written.
    #[error("it is a replica: name the node that takes writes")]
    Replica,
    /// It does not say who it is.
    #[error("its `INFO` does not say who it is")]
    Nameless,
}

/// What the keys of memories begin with.
pub(super) fn key_prefix(prefix: &str) -> String {
    format!("{prefix}memory:")
}

/// Looks at the memory behind a connection and tells when it began. Never later than `now`: the clock of another replica
/// may be ahead.
pub(super) async fn look(
    connection: &mut Connection,
    key_prefix: &str,
    now: Timestamp,
) -> Result<Timestamp, MemoryFault> {
    let reports = connection.reports().await?;
    let key = format!("{key_prefix}{}", name(&reports)?);
    let mut note = redis::cmd("SET");
    note.arg(&key).arg(now.millis()).arg("NX").arg("PX").arg(KEPT);
    connection.ask(&note).await?;
    let noted = connection.ask(Cmd::new().arg("GET").arg(&key)).await?;
    connection.ask(Cmd::new().arg("PEXPIRE").arg(&key).arg(KEPT)).await?;
    let began = match noted {
        Value::BulkString(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
        _ => None, // gone in this moment: flushed
    };
    Ok(began.map_or(now, Timestamp::from_millis).min(now))
}

/// The name of a memory, from what its nodes say.
fn name(reports: &[String]) -> Result<String, MemoryFault> {
    let mut lives = Vec::with_capacity(reports.len());
    for report in reports {
        let field = |name: &str| {
            let mut lines = report.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(field, _)| *field == name).map(|(_, value)| value.trim())
        };
        if field("role").is_some_and(|role| role != "master") {
            return Err(MemoryFault::Replica);
        }
        let bounded = field("maxmemory").is_none_or(|limit| limit != "0");
        if let Some(policy) = field("maxmemory_policy").filter(|policy| bounded && *policy != "noeviction") {
            return Err(MemoryFault::Evicts(policy.to_owned()));
        }
        let (Some(process), Some(history)) = (field("run_id"), field("master_replid")) else {
            return Err(MemoryFault::Nameless);
        };
        let flushed = |name| field(name).and_then(|calls| calls.split(',').next()).unwrap_or("calls=0");
        lives.push(format!("{process} {history} {} {}", flushed("cmdstat_flushall"), flushed("cmdstat_flushdb")));
    }
    if lives.is_empty() {
        return Err(MemoryFault::Nameless);
    }
    lives.sort_unstable(); // the nodes of a cluster answer in any order
    Ok(base64url(&sha256(lives.join("\n").as_bytes())[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: &[(&str, &str)]) -> String {
        let mut text =
            "# Server\r\nrun_id:aa\r\n# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Replication\r\n\
                        role:master\r\nmaster_replid:bb\r\n# Commandstats\r\ncmdstat_set:calls=7,usec=9\r\n"
                .to_owned();
        for (from, to) in change {
            text = text.replace(from, to);
        }
        text
    }

    #[test]
    fn a_memory_is_another_one_after_a_restart_a_failover_and_a_flush() {
        let name = |change: &[(&str, &str)]| name(&[report(change)]).expect("a name");
        assert_eq!(name(&[]), name(&[("set:calls=7", "set:calls=8")]));
        let flushed = ("cmdstat_set", "cmdstat_flushall:calls=1,usec=4\r\ncmdstat_set");
        for change in [("run_id:aa", "run_id:ab"), ("replid:bb", "replid:bc"), flushed] {
            assert_ne!(name(&[]), name(&[change]), "{change:?}");
        }
    }

    #[test]
    fn the_nodes_of_a_cluster_may_answer_in_any_order() {
        let (one, other) = (report(&[]), report(&[("run_id:aa", "run_id:cc")]));
        let name = |reports: &[String]| name(reports).expect("a name");
        assert_eq!(name(&[one.clone(), other.clone()]), name(&[other.clone(), one.clone()]));
        assert_ne!(name(&[one.clone(), other]), name(&[one]));
    }

    #[test]
    fn a_redis_that_forgets_by_itself_is_refused() {
        let evicts = report(&[("maxmemory:0", "maxmemory:1048576"), ("noeviction", "volatile-lru")]);
        assert!(matches!(name(&[evicts]), Err(MemoryFault::Evicts(policy)) if policy == "volatile-lru"));
        assert!(name(&[report(&[("noeviction", "volatile-lru")])]).is_ok(), "without a limit nothing is dropped");
        assert!(matches!(name(&[report(&[("role:master", "role:slave")])]), Err(MemoryFault::Replica)));
        assert!(matches!(name(&[String::new()]), Err(MemoryFault::Nameless)));
        assert!(matches!(name(&[]), Err(MemoryFault::Nameless)));
    }
}
