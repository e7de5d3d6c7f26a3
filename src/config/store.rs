//! Judges where state is kept, and how much of it.

use std::time::Duration;

use super::Store;
use super::check::Judge;
use super::file::{PostgresFile, StoreFile};
use super::given::Given;
use super::mistake::Mistake;
use super::named_file;
use crate::store::{Limits, PostgresSettings, PostgresUrl};

/// How many records of one kind a store may be told to keep.
const MOST_RECORDS: u64 = 1_000_000_000;

/// How many connections a process may have.
const MOST_CONNECTIONS: usize = 500;

/// How long a request may wait for a database.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How long a gate may go by what it knows of revocations.
const LONGEST_STALE: Duration = Duration::from_hours(1);

/// Where state is kept. `None` only if there are mistakes.
pub(super) fn judge(judge: &mut Judge<'_>, given: Option<&Given<StoreFile>>) -> Option<Store> {
    let Some(given) = given else { return Some(Store::Sqlite { path: "/var/lib/tollgate/tollgate.db".into() }) };
    match &given.value {
        StoreFile::Memory(_) => Some(Store::Memory),
        StoreFile::Sqlite(given) => {
            let path = judge.required(&given.place, "path", given.value.path.as_ref())?;
            Some(Store::Sqlite { path: judge.path(&path.value) })
        }
        StoreFile::Postgres(given) => postgres(judge, given).map(Store::Postgres),
    }
}

/// How much is kept at most.
pub(super) fn limits(judge: &mut Judge<'_>, given: Option<&Given<StoreFile>>) -> Limits {
    let default = Limits::default();
    let limits = match given.map(|given| &given.value) {
        Some(StoreFile::Memory(given)) => given.value.limits.as_ref(),
        Some(StoreFile::Sqlite(given)) => given.value.limits.as_ref(),
        Some(StoreFile::Postgres(given)) => given.value.limits.as_ref(),
        None => None,
    };
    let Some(Given { value: file, .. }) = limits else { return default };
    let mut limit = |given: &Option<Given<u64>>, default| {
        let Some(given) = given else { return default };
        if !(1..=MOST_RECORDS).contains(&given.value) {
            judge.report(Mistake::about(&given.place, format!("must be from 1 to {MOST_RECORDS}")));
        }
        given.value
    };
    Limits {
        codes: limit(&file.codes, default.codes),
        grants: limit(&file.grants, default.grants),
        grants_per_person: limit(&file.grants_per_person, default.grants_per_person),
        devices: limit(&file.devices, default.devices),
        pushed_requests: limit(&file.pushed_requests, default.pushed_requests),
        pushed_requests_per_client: limit(&file.pushed_requests_per_client, default.pushed_requests_per_client),
        clients: limit(&file.clients, default.clients),
        sessions: limit(&file.sessions, default.sessions),
        session_clients: limit(&file.session_clients, default.session_clients),
        people: limit(&file.people, default.people),
        assertions: limit(&file.assertions, default.assertions),
        revocations: limit(&file.revocations, default.revocations),
        access_tokens: limit(&file.access_tokens, default.access_tokens),
        kept: default.kept,
    }
}

fn postgres(judge: &mut Judge<'_>, given: &Given<PostgresFile>) -> Option<PostgresSettings> {
    let file = &given.value;
    let url = judge.required(&given.place, "url_file", file.url_file.as_ref());
    let url = url.and_then(|given| postgres_url(judge, given));
    let authorities = match &file.certificate_authorities {
        Some(given) => named_file::authorities(judge, given).map(|_| Some(judge.path(&given.value))),
        None => Some(None),
    };
    let connections = file.connections.as_ref().map_or(PostgresSettings::CONNECTIONS, |given| given.value);
    if let Some(given) = file.connections.as_ref().filter(|given| !(1..=MOST_CONNECTIONS).contains(&given.value)) {
        judge.report(Mistake::about(&given.place, format!("must be from 1 to {MOST_CONNECTIONS}")));
    }
    let longest = Some(LONGEST_WAIT);
    let connect_within = judge.duration(file.connect_within.as_ref(), PostgresSettings::CONNECT_WITHIN, longest);
    let answer_within = judge.duration(file.answer_within.as_ref(), PostgresSettings::ANSWER_WITHIN, longest);
    let stale = Some(LONGEST_STALE);
    let stale = judge.duration(file.revocations_stale.as_ref(), PostgresSettings::REVOCATIONS_STALE, stale);
    Some(PostgresSettings {
        url: url?,
        authorities: authorities?,
        connections,
        connect_within,
        answer_within,
        revocations_stale: stale,
    })
}

/// Reads a connection URL, of which nothing is quoted: it may hold a password.
fn postgres_url(judge: &mut Judge<'_>, given: &Given<String>) -> Option<PostgresUrl> {
    let text = named_file::postgres_url(judge, given)?;
    match text.trim().parse() {
        Ok(url) => Some(url),
        Err(fault) => {
            judge.report(Mistake::about(&given.place, format!("names a file whose text {fault}")));
            None
        }
    }
}
