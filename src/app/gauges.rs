//! What is measured when somebody asks for the metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::ident::IssuerName;
use crate::issuers::{Asked, IssuerKeys, ListsLookedAfter, LookedAfter, Questions, StatusLists};
use crate::keys::{KeyState, SecretState, SigningKeys};
use crate::replay::ReplayGuard;
use crate::store::Endings;
use crate::telemetry::{Metrics, Standing};

/// Adds those that every process has.
pub(super) fn of_process(metrics: &mut Metrics, guard: &Arc<dyn ReplayGuard>, clock: &dyn Clock) {
    let began = seconds(clock.now());
    let start = Box::new(move || vec![(Vec::new(), began)]);
    metrics.gauge_in_seconds("process_start_time", "When this process began, in Unix time", start);

    let asked = Arc::clone(guard);
    let remembered =
        Box::new(move || asked.occupancy().map(|(entries, _)| (Vec::new(), count(entries))).into_iter().collect());
    metrics.gauge("tollgate_replay_entries", "Spent proofs that are remembered in this process", remembered);
    let guard = Arc::clone(guard);
    let limit = Box::new(move || guard.occupancy().map(|(_, limit)| (Vec::new(), count(limit))).into_iter().collect());
    metrics.gauge("tollgate_replay_entries_limit", "How many may be", limit);
}

/// Adds those of the configuration in force.
pub(super) fn of_configuration(metrics: &mut Metrics, standing: &Arc<Standing>) {
    let facts = Arc::clone(standing);
    let hash = Box::new(move || vec![(vec![("hash", facts.facts().digest.into())], 1.0)]);
    let help = "The configuration in force: the first digits of its SHA-256";
    metrics.gauge("tollgate_config_hash", help, hash);
    let facts = Arc::clone(standing);
    let successful = Box::new(move || vec![(Vec::new(), if facts.facts().refused.is_none() { 1.0 } else { 0.0 })]);
    let help = "1 if the configuration in force is the last one that was to be, else 0";
    metrics.gauge("tollgate_config_last_reload_successful", help, successful);
    let facts = Arc::clone(standing);
    let since = Box::new(move || vec![(Vec::new(), seconds(facts.facts().since))]);
    let help = "Since when the configuration is in force, in Unix time";
    metrics.gauge_in_seconds("tollgate_config_last_reload_success_timestamp", help, since);
}

/// Adds those of other issuers, whichever there are when somebody asks.
pub(super) fn of_issuers(metrics: &mut Metrics, issuers: &LookedAfter, clock: &Arc<dyn Clock>) {
    let (known, clock) = (Arc::clone(issuers), Arc::clone(clock));
    let began = clock.now();
    let ages = Box::new(move || {
        let (issuers, now) = (known.get(), clock.now());
        let age = |issuer: &Arc<IssuerKeys>| {
            let age = now.since(issuer.fetched_at().unwrap_or(began)).as_secs_f64();
            (vec![("issuer", issuer.name().to_owned().into())], age)
        };
        issuers.iter().map(age).collect()
    });
    let help = "How long ago the keys of another issuer were fetched; since the start, if they never were";
    metrics.gauge_in_seconds("tollgate_issuer_keys_age", help, ages);
    let known = Arc::clone(issuers);
    let fetches = Box::new(move || {
        let issuers = known.get();
        let of = |issuer: &Arc<IssuerKeys>| {
            let (fetched, failed) = issuer.fetches();
            [("fetched", fetched), ("failed", failed)].map(|(outcome, number)| {
                let labels = vec![("issuer", issuer.name().to_owned().into()), ("outcome", outcome.into())];
                (labels, count(usize::try_from(number).unwrap_or(usize::MAX)))
            })
        };
        issuers.iter().flat_map(of).collect()
    });
    metrics.counter("tollgate_issuer_fetches", "Fetches of the keys of other issuers", fetches);
}

/// Adds those of the status lists of other issuers, whichever there are when somebody asks.
pub(super) fn of_status_lists(metrics: &mut Metrics, lists: &ListsLookedAfter, clock: &Arc<dyn Clock>) {
    let (lists, clock) = (Arc::clone(lists), Arc::clone(clock));
    let ages = Box::new(move || {
        let (lists, now) = (lists.get(), clock.now());
        let age = |lists: &Arc<StatusLists>| {
            let age = now.since(lists.known_since().unwrap_or(now)).as_secs_f64();
            (vec![("issuer", lists.issuer().to_owned().into())], age)
        };
        lists.iter().map(age).collect()
    });
    let help =
        "How long ago the oldest status list of another issuer that is kept was fetched, or confirmed; 0 if none is";
    metrics.gauge_in_seconds("tollgate_status_list_age", help, ages);
}

/// Adds that of what a gate beside the store knows to have ended.
pub(super) fn of_endings(metrics: &mut Metrics, endings: &Arc<Endings>, clock: &Arc<dyn Clock>) {
    let (endings, clock) = (Arc::clone(endings), Arc::clone(clock));
    let age = Box::new(move || {
        let now = clock.now();
        let read_at = endings.known_at(now, Duration::MAX);
        read_at.map(|at| (Vec::new(), now.since(at).as_secs_f64())).into_iter().collect()
    });
    let help = "How long ago what has ended and was revoked was read from the store, for the gate in this process";
    metrics.gauge_in_seconds("tollgate_revocations_age", help, age);
}

/// Adds those of questions about opaque tokens, whoever is asked when somebody wants to know.
pub(super) fn of_questions(metrics: &mut Metrics, asked: &Asked) {
    let known = Arc::clone(asked);
    let outcomes = Box::new(move || {
        let of = |(issuer, questions): &(IssuerName, Arc<Questions>)| {
            let issuer = issuer.to_string();
            questions.counts().map(|(outcome, number)| {
                let labels = vec![("issuer", issuer.clone().into()), ("outcome", outcome.into())];
                (labels, count(usize::try_from(number).unwrap_or(usize::MAX)))
            })
        };
        known.get().iter().flat_map(of).collect()
    });
    let help = "Questions of the gate what an opaque token stands for: asked (`good`, `refused`, `failed`), `remembered`, or not \
                asked, as the issuer did not answer a moment ago (`paused`) or strangers have asked too much (`too_many`)";
    metrics.counter("tollgate_token_questions", help, outcomes);
    let known = Arc::clone(asked);
    let waiting = Box::new(move || {
        let of = |(issuer, questions): &(IssuerName, Arc<Questions>)| {
            (vec![("issuer", issuer.to_string().into())], count(questions.waiting()))
        };
        known.get().iter().map(of).collect()
    });
    metrics.gauge("tollgate_token_questions_waiting", "Those that wait for their turn to be asked", waiting);
}

/// Adds those of the signing keys, and of the secrets that take turns with them.
pub(super) fn of_keys(metrics: &mut Metrics, keys: &Arc<SigningKeys>, clock: &Arc<dyn Clock>) {
    let (held, time) = (Arc::clone(keys), Arc::clone(clock));
    let states = Box::new(move || {
        let now = time.now();
        let states = held.records().into_iter().map(|record| record.state(now)).collect::<Vec<_>>();
        let number = |state| count(states.iter().filter(|each| **each == state).count());
        let named =
            [(KeyState::Announced, "announced"), (KeyState::Signing, "signing"), (KeyState::Retired, "retired")];
        named.map(|(state, name)| (vec![("state", name.into())], number(state))).into()
    });
    metrics.gauge("tollgate_signing_keys", "Signing keys that are published", states);

    let (held, time) = (Arc::clone(keys), Arc::clone(clock));
    let signs = Box::new(move || {
        let now = time.now();
        let signing = held.records().into_iter().rev().find(|record| record.state(now) == KeyState::Signing);
        signing.map(|record| (Vec::new(), seconds(record.sign_from))).into_iter().collect()
    });
    let help = "From when on the key has signed that signs now, in Unix time";
    metrics.gauge_in_seconds("tollgate_signing_key_sign_timestamp", help, signs);

    let (held, time) = (Arc::clone(keys), Arc::clone(clock));
    let age = Box::new(move || {
        let now = time.now();
        let making = held.secrets_standing(now).into_iter().find(|secret| secret.state == SecretState::Making);
        let drawn_at = making.and_then(|secret| secret.drawn_at);
        drawn_at.map(|drawn_at| (Vec::new(), now.since(drawn_at).as_secs_f64())).into_iter().collect()
    });
    let help = "How long ago the secret was drawn under which nonces, forms and cookies are made; none while that is the root key, \
                until the first rotation after an upgrade from a version without such secrets";
    metrics.gauge_in_seconds("tollgate_secret_age", help, age);

    let (keys, clock) = (Arc::clone(keys), Arc::clone(clock));
    let retires = Box::new(move || {
        let now = clock.now();
        let signing = keys.records().into_iter().rev().find(|record| record.state(now) == KeyState::Signing);
        signing.map(|record| (Vec::new(), seconds(record.retire_at))).into_iter().collect()
    });
    let help = "Until when the key signs that signs now, in Unix time";
    metrics.gauge_in_seconds("tollgate_signing_key_retire_timestamp", help, retires);
}

/// A time in Unix seconds.
fn seconds(at: Timestamp) -> f64 {
    count(usize::try_from(at.seconds()).unwrap_or_default())
}

/// A number as metrics have it; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
fn count(number: usize) -> f64 {
    number as f64
}
