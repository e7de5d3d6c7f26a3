//! Judges where used proofs are remembered.

use super::check::Judge;
use super::file::{RedisReplayFile, ReplayFile};
use super::given::Given;
use super::mistake::{Mistake, Place};
use super::{Replay, Store, named_file};
use crate::replay::{
    DEFAULT_ANSWER_WITHIN, DEFAULT_CONNECT_WITHIN, DEFAULT_ENTRIES, DEFAULT_KEY_PREFIX, RedisSettings, RedisUrl,
};
use crate::secret::seal::RootKey;

/// How many proofs a local guard may be told to remember: about 3 GiB.
const MOST_ENTRIES: usize = 50_000_000;

/// How many nodes of a cluster may be named.
const MOST_NODES: usize = 64;

/// The longest beginning of keys, in characters: each remembered proof has it.
const PREFIX_LIMIT: usize = 64;

/// Where used proofs are remembered. `None` only if there are mistakes.
pub(super) fn judge(judge: &mut Judge<'_>, given: Option<&Given<ReplayFile>>) -> Option<Replay> {
    let entries = match given.map(|given| &given.value) {
        None => None,
        Some(ReplayFile::Local(local)) => local.value.entries.as_ref(),
        Some(ReplayFile::Redis(redis)) => return self::redis(judge, redis).map(Replay::Redis),
    };
    let Some(entries) = entries else { return Some(Replay::Local { entries: DEFAULT_ENTRIES }) };
    if !(1..=MOST_ENTRIES).contains(&entries.value) {
        judge.report(Mistake::about(&entries.place, format!("must be from 1 to {MOST_ENTRIES}")));
    }
    Some(Replay::Local { entries: entries.value })
}

/// Replicas that would not know of each other's proofs are an error, unless somebody has said in words that it is meant.
pub(super) fn check_replicas(
    judge: &mut Judge<'_>,
    given: Option<&Given<ReplayFile>>,
    (store, place): (&Store, &Place),
) {
    let several = match store {
        Store::Memory | Store::Sqlite { .. } => false, // one process serves from it
        Store::Postgres(_) => true,
    };
    if several && !is_said(given) {
        let place = given.map_or(place, |given| &given.place);
        let fault = "leaves each replica with a memory of its own: a proof would pass once at each";
        judge.report(Mistake::about(place, fault).help(
            "share it with `replay: { redis: … }`, or say what is meant: `replay: { local: { replicas: only_one } }`",
        ));
    }
}

/// Whether it is said how several processes know of each other's proofs: they share them, or somebody means it otherwise.
fn is_said(given: Option<&Given<ReplayFile>>) -> bool {
    match given.map(|given| &given.value) {
        None => false,
        Some(ReplayFile::Local(local)) => local.value.replicas.is_some() || local.place.lost("replicas"),
        Some(ReplayFile::Redis(_)) => true,
    }
}

/// The keys of nonces that gates share, the newest first; none if each draws its own.
///
/// A nonce of its own keeps proofs that were made for one gate out of the others. Where they take each other's nonces, they
/// must know of each other's proofs, unless somebody has said in words that they do not.
pub(super) fn nonce_keys(
    judge: &mut Judge<'_>,
    given: Option<&Given<String>>,
    (replay, issues): (Option<&Given<ReplayFile>>, bool),
) -> Vec<RootKey> {
    let Some(given) = given else { return Vec::new() };
    if issues {
        let fault =
            "is for gates without `authorization_server`: beside one, nonces are made under secrets in its store";
        judge.report(Mistake::about(&given.place, fault).help("take it out"));
    } else if !is_said(replay) {
        let fault =
            "has gates take each other's nonces, and each has a memory of its own: a proof would pass once at each";
        judge.report(Mistake::about(&given.place, fault).help(
            "share it with `replay: { redis: … }`, or say what is meant: \
             `replay: { local: { replicas: each_takes_a_proof_once } }`",
        ));
    }
    named_file::keys(judge, given).unwrap_or_default()
}

fn redis(judge: &mut Judge<'_>, given: &Given<RedisReplayFile>) -> Option<RedisSettings> {
    let RedisReplayFile { url_file, cluster, key_prefix, certificate_authorities, answer_within, connect_within } =
        &given.value;
    let cluster = cluster.as_ref().is_some_and(|cluster| cluster.value);
    let nodes = judge.required(&given.place, "url_file", url_file.as_ref());
    let nodes = nodes.and_then(|file| self::nodes(judge, file, cluster));
    let certificates = certificate_authorities.as_ref().map(|file| named_file::authorities_pem(judge, file));
    let prefix = key_prefix.as_ref().map_or(DEFAULT_KEY_PREFIX, |prefix| &prefix.value);
    if let Some(given) = key_prefix.as_ref().filter(|given| !is_prefix(&given.value)) {
        let fault = format!("must be 1 to {PREFIX_LIMIT} letters, digits, `:`, `-`, `_`, `.`, `{{` or `}}`");
        judge.report(Mistake::about(&given.place, fault));
    }
    let authorities = match certificates {
        None => None,
        Some(pem) => Some(pem?),
    };
    Some(RedisSettings {
        nodes: nodes?,
        cluster,
        key_prefix: prefix.to_owned(),
        authorities,
        answer_within: answer_within.as_ref().map_or(DEFAULT_ANSWER_WITHIN, |wait| wait.value.0.0),
        connect_within: connect_within.as_ref().map_or(DEFAULT_CONNECT_WITHIN, |wait| wait.value.0.0),
    })
}

fn is_prefix(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.{}".contains(&byte);
    (1..=PREFIX_LIMIT).contains(&text.len()) && text.bytes().all(plain)
}

/// Reads the URLs, one a line.
fn nodes(judge: &mut Judge<'_>, given: &Given<String>, cluster: bool) -> Option<Vec<RedisUrl>> {
    let text = named_file::lines(judge, given)?;
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut report = |fault: &str, help: &str| {
        judge.report(Mistake::about(&given.place, fault).help(help));
        None
    };
    let example = "one such as rediss://user:password@redis.example.com:6379/0";
    if lines.is_empty() {
        return report("names a file without a URL", example);
    }
    if lines.len() > MOST_NODES || (lines.len() > 1 && !cluster) {
        return report("names a file with more than one URL", "for a cluster, say `cluster: true` beside it");
    }
    let mut nodes = Vec::with_capacity(lines.len());
    for line in lines {
        match line.parse::<RedisUrl>() {
            Ok(url) if cluster && url.is_socket() => {
                return report("names a file with the socket of a cluster", "name its nodes by host and port");
            }
            Ok(url) if cluster && url.database() != 0 => {
                return report("names a file with a database of a cluster", "a cluster has one: leave the path out");
            }
            Ok(url) => nodes.push(url),
            // Not the URL itself: it holds a password.
            Err(fault) => return report(&format!("names a file with {fault}"), example),
        }
    }
    Some(nodes)
}
