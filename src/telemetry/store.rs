//! A store whose calls are counted and timed, by what was asked of it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Histogram;
use super::metrics::label;
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::replay::{ReplayKey, Seen};
use crate::secret::{
    AccessTokenKind, BrowserKind, CodeKind, DeviceCodeKind, Digest, RequestUriKind, SessionKind, UserCodeKind,
};
use crate::store::{
    AccessTokenRecord, Begun, ClientRecord, CodeRecord, Decision, DeviceRecord, Ended, EndedBy, Grant, GrantHandle,
    GrantQuery, KeyRecord, LastAlive, PersonRecord, Polled, Pushed, PushedRequest, Recorded, Redeemed, Rescheduled,
    Rotated, Rotation, SessionClient, SessionId, SessionRecord, SomeEnded, StatusBlock, Store, TokenName,
    TransactionId, Unavailable,
};

/// From a tenth of a millisecond, in which only memory answers, to five seconds, when nobody waits any more.
const SECONDS: &[f64] = &[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// How long calls of the store took. Clones count together.
#[derive(Clone, Debug)]
pub struct StoreMetrics(Arc<Verbs>);

/// Asks another store, and counts its answers.
pub struct CountedStore {
    store: Arc<dyn Store>,
    metrics: StoreMetrics,
}

/// How a call of the store ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// It has answered, whatever it said.
    Answered,
    /// A bound was reached.
    Full,
    /// It did not answer.
    Unavailable,
    /// Whoever asked waits no more, so nobody knows.
    Abandoned,
}

/// The calls of one verb, by their outcomes.
#[derive(Debug)]
struct Calls([Histogram; Outcome::ALL.len()]);

/// A call that goes on; it counts itself when it is over, however that comes.
struct Call<'a> {
    calls: &'a Calls,
    began: Instant,
    outcome: Outcome,
}

impl Outcome {
    /// All of them, in the order in which they are declared.
    const ALL: [Self; 4] = [Self::Answered, Self::Full, Self::Unavailable, Self::Abandoned];

    /// The value of the label.
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Calls {
    fn new() -> Self {
        Self(Outcome::ALL.map(|_| Histogram::new(SECONDS)))
    }

    fn series(&self, verb: &'static str) -> impl Iterator<Item = (&'static str, Outcome, &Histogram)> {
        Outcome::ALL.into_iter().zip(&self.0).map(move |(outcome, histogram)| (verb, outcome, histogram))
    }

    fn begin(&self) -> Call<'_> {
        Call { calls: self, began: Instant::now(), outcome: Outcome::Abandoned }
    }
}

impl Call<'_> {
    fn end<T>(mut self, answer: Result<T, Unavailable>) -> Result<T, Unavailable> {
        self.outcome = match answer {
            Ok(_) => Outcome::Answered,
            Err(Unavailable::Full) => Outcome::Full,
            Err(Unavailable::Down | Unavailable::Late) => Outcome::Unavailable,
        };
        answer
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.0[self.outcome as usize].observe(self.began.elapsed());
    }
}

impl CountedStore {
    /// Counts the calls of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: StoreMetrics) -> Self {
        Self { store, metrics }
    }
}

impl StoreMetrics {
    /// Counts nothing yet.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self(Arc::new(Verbs::new()));
        registry.register_with_unit(
            "tollgate_store_call_duration",
            "Calls of the store, by its verbs; `full` is a bound that was reached, `abandoned` a call whose answer nobody waited for",
            Unit::Seconds,
            metrics.clone(),
        );
        metrics
    }

    /// The series in which something was counted. The others would be most of them, and would say nothing.
    fn series(&self) -> impl Iterator<Item = (&'static str, Outcome, &Histogram)> {
        let series = self.0.named().into_iter().flat_map(|(verb, calls)| calls.series(verb));
        series.filter(|(_, _, histogram)| !histogram.is_empty())
    }
}

impl EncodeMetric for StoreMetrics {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (verb, outcome, histogram) in self.series() {
            let labels = [label("operation", verb), label("outcome", outcome.name())];
            histogram.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }

    /// As in a process that has no store.
    fn is_empty(&self) -> bool {
        self.series().next().is_none()
    }
}

/// Writes down what is counted of each verb, and the store that does so. The compiler misses a verb that is not listed.
macro_rules! counted {
    ($($verb:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        /// The calls of every verb of the store: all of them there from the start, so that to count is to add.
        #[derive(Debug)]
        struct Verbs {
            $($verb: Calls,)*
        }

        impl Verbs {
            fn new() -> Self {
                Self { $($verb: Calls::new(),)* }
            }

            fn named(&self) -> impl IntoIterator<Item = (&'static str, &Calls)> {
                [$((stringify!($verb), &self.$verb),)*]
            }
        }

        #[async_trait]
        impl Store for CountedStore {
            $(async fn $verb(&self, $($argument: $kind),*) -> Result<$answer, Unavailable> {
                let call = self.metrics.0.$verb.begin();
                call.end(self.store.$verb($($argument),*).await)
            })*
        }
    };
}

counted! {
    push_request(request: &PushedRequest, now: Timestamp) -> Pushed;
    pushed_request(request_uri: Digest<RequestUriKind>) -> Option<PushedRequest>;
    answer_pushed_request(transaction: TransactionId) -> bool;
    end_transaction(transaction: TransactionId, expires_at: Timestamp) -> Recorded;
    record_code(code: &CodeRecord) -> Recorded;
    code(code: Digest<CodeKind>) -> Option<CodeRecord>;
    redeem_code(code: Digest<CodeKind>, grant: &Grant, now: Timestamp) -> Redeemed;
    take_code(code: Digest<CodeKind>, now: Timestamp) -> bool;
    record_device(device: &DeviceRecord) -> Begun;
    device(code: Digest<DeviceCodeKind>) -> Option<DeviceRecord>;
    poll_device(code: Digest<DeviceCodeKind>, client: &ClientId, now: Timestamp) -> Polled;
    claim_device(user_code: Digest<UserCodeKind>, browser: Digest<BrowserKind>, now: Timestamp) -> Option<DeviceRecord>;
    decide_device(
        code: Digest<DeviceCodeKind>, browser: Digest<BrowserKind>, decision: &Decision, now: Timestamp
    ) -> bool;
    pending_devices(after: Option<Digest<DeviceCodeKind>>, now: Timestamp, limit: u32) -> Vec<DeviceRecord>;
    decline_device(code: Digest<DeviceCodeKind>, now: Timestamp) -> bool;
    redeem_device(code: Digest<DeviceCodeKind>, grant: &Grant, now: Timestamp) -> bool;
    grant(handle: GrantHandle) -> Option<Grant>;
    rotate(rotation: &Rotation) -> Rotated;
    extend_grant(handle: GrantHandle, idle_expires_at: Timestamp, now: Timestamp) -> ();
    end_grant(handle: GrantHandle, why: EndedBy, now: Timestamp) -> ();
    grants_of(subject: &Subject, now: Timestamp, limit: u32) -> Vec<Grant>;
    list_grants(query: &GrantQuery, now: Timestamp, limit: u32) -> Vec<Grant>;
    end_grants_of_client(client: &ClientId, why: EndedBy, now: Timestamp) -> u64;
    end_grants_of(subject: &Subject, why: EndedBy, now: Timestamp) -> u64;
    end_some_grants(query: &GrantQuery, why: EndedBy, now: Timestamp, limit: u32) -> SomeEnded;
    register_client(client: &ClientRecord) -> ();
    registered_client(id: &ClientId) -> Option<ClientRecord>;
    registered_clients(after: Option<&ClientId>, limit: u32) -> Vec<ClientRecord>;
    update_client(client: &ClientRecord) -> bool;
    delete_client(id: &ClientId, now: Timestamp) -> Option<u64>;
    spend_assertion(key: ReplayKey, expires: Timestamp, now: Timestamp) -> Seen;
    revoke_token(token: TokenName, expires: Timestamp, now: Timestamp) -> ();
    ended_since(since: Timestamp, now: Timestamp) -> Ended;
    is_token_revoked(token: TokenName) -> bool;
    lease_status_block(now: Timestamp, over: Timestamp) -> StatusBlock;
    check_room_for_access_token() -> ();
    record_access_token(token: &AccessTokenRecord) -> ();
    access_token(handle: Digest<AccessTokenKind>) -> Option<AccessTokenRecord>;
    open_session(session: &SessionRecord) -> ();
    session(token: Digest<SessionKind>, now: Timestamp) -> Option<SessionRecord>;
    extend_session(token: Digest<SessionKind>, idle_expires_at: Timestamp) -> ();
    sessions_of(subject: &Subject, now: Timestamp, limit: u32) -> Vec<SessionRecord>;
    end_session(token: Digest<SessionKind>) -> ();
    end_sessions_of(subject: &Subject) -> ();
    join_session(client: &SessionClient) -> ();
    session_client(session: SessionId, client: &ClientId, now: Timestamp) -> Option<SessionClient>;
    leave_session(session: SessionId, now: Timestamp, limit: u32) -> Vec<SessionClient>;
    leave_sessions_of(subject: &Subject, now: Timestamp, limit: u32) -> Vec<SessionClient>;
    remember_person(person: &PersonRecord) -> bool;
    person(subject: &Subject) -> Option<PersonRecord>;
    disable_person(subject: &Subject, now: Timestamp) -> ();
    enable_person(subject: &Subject) -> ();
    signing_keys() -> Vec<KeyRecord>;
    add_signing_key(key: &KeyRecord, rescheduled: &[Rescheduled]) -> bool;
    reschedule_signing_key(read: &KeyRecord, next: &KeyRecord) -> bool;
    reseal_signing_key(read: &KeyRecord, next: &KeyRecord) -> bool;
    root_key(sealed: &[u8]) -> Vec<u8>;
    reseal_root_key(read: &[u8], sealed: &[u8]) -> bool;
    last_alive() -> Option<LastAlive>;
    note_alive(alive: LastAlive) -> ();
    sweep(now: Timestamp, limit: u32) -> u32;
}
