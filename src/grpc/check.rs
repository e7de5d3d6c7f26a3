//! `envoy.service.auth.v3.Authorization/Check`: from a proxy's question to the [`Enforcer`] and back.
//!
//! Invariant: this is the only place that builds a `CheckResponse`, always from a [`Decision`]; an empty one would be an
//! allow. Every question is answered, never with a gRPC error: that would leave the verdict to the proxy's settings for
//! failures.

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{BoolValue, Struct, Value};
use envoy_types::pb::google::rpc;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request as Call, Response, Status};
use tracing::{debug, info, warn};

use super::question::{Question, QuestionCodec};
use super::samples::Samples;
use super::time::Time;
use super::{Never, span};
use crate::authz::{
    Answer, Caller, Context, Decision, Denial, Denied, Enforcer, Finding, Headers, Observed, Outage, Permit, Request,
    Resolved, Unresolved, Unspent,
};
use crate::clock::{Clock, Timestamp};
use crate::current::Current;
use crate::replay::ReplayGuard;
use crate::telemetry::{GateMetrics, Traces};
use crate::unavailable::Unavailable;

/// The context extension by which a route names its resource.
const RESOURCE_EXTENSION: &str = "resource";

/// The namespace of route metadata where a route may name it as well.
const METADATA_NAMESPACE: &str = "tollgate";

/// What no resource is called.
const NO_RESOURCE: &str = "";

/// The path of the one method.
const CHECK_PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Answers `Check` calls.
#[derive(Clone)]
pub struct CheckService {
    /// What calls are answered with; each keeps what was there when it came.
    counter: Arc<Current<Counter>>,
}

/// Where calls are answered, and decisions counted.
#[derive(Clone)]
struct Counter {
    /// What it takes to answer.
    gate: Arc<Gate>,
    /// Where decisions are counted.
    metrics: Option<Arc<GateMetrics>>,
    /// Where they have spans.
    traces: Option<Arc<Traces>>,
    /// Which of the allowed requests are logged for all to see, if any are.
    samples: Option<Arc<Samples>>,
}

/// What it takes to answer.
struct Gate {
    /// Holds the rules.
    enforcer: Enforcer,
    /// Says whether a proof is new.
    guard: Arc<dyn ReplayGuard>,
    /// Read once a question.
    clock: Arc<dyn Clock>,
}

impl CheckService {
    /// A service that asks `enforcer`, and then `guard` whether a proof is new.
    #[must_use]
    pub fn new(enforcer: Enforcer, guard: Arc<dyn ReplayGuard>, clock: Arc<dyn Clock>) -> Self {
        let gate = Arc::new(Gate { enforcer, guard, clock });
        Self::at(Counter { gate, metrics: None, traces: None, samples: None })
    }

    /// The same service, whose decisions are counted.
    #[must_use]
    pub fn counted_by(self, metrics: Arc<GateMetrics>) -> Self {
        let before = self.counter.get();
        Self::at(Counter { metrics: Some(metrics), ..Counter::clone(&before) })
    }

    /// The same service, whose decisions have spans, if there are any.
    #[must_use]
    pub fn traced_by(self, traces: Option<Arc<Traces>>) -> Self {
        let before = self.counter.get();
        Self::at(Counter { traces, ..Counter::clone(&before) })
    }

    /// The same service, which logs one in so many allowed requests at `info`; none, if there is no number.
    #[must_use]
    pub fn sampled(self, one_in: Option<NonZeroU32>) -> Self {
        let before = self.counter.get();
        let samples = one_in.map(|one_in| Arc::new(Samples::new(one_in)));
        Self::at(Counter { samples, ..Counter::clone(&before) })
    }

    fn at(counter: Counter) -> Self {
        Self { counter: Arc::new(Current::new(Arc::new(counter))) }
    }

    /// Answers as `other` does, from the next call on; so do all clones.
    pub fn replace(&self, other: &Self) {
        self.counter.replace(other.counter.get());
    }
}

impl NamedService for CheckService {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl tower::Service<http::Request<Body>> for CheckService {
    type Response = http::Response<Body>;
    type Error = Never;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Never>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: http::Request<Body>) -> Self::Future {
        let arrived = Instant::now();
        let counter = self.counter.get();
        Box::pin(async move {
            if call.uri().path() != CHECK_PATH {
                return Ok(Status::new(Code::Unimplemented, "no such method").into_http());
            }
            let time = Time::new(arrived, call.headers().get("grpc-timeout").map(http::HeaderValue::as_bytes));
            let visit = Visit { counter, time };
            Ok(Grpc::new(QuestionCodec).unary(visit, call).await)
        })
    }
}

/// One call.
struct Visit {
    /// Where it is answered.
    counter: Arc<Counter>,
    /// How long that may take.
    time: Time,
}

impl UnaryService<Question> for Visit {
    type Response = CheckResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<CheckResponse>, Status>> + Send>>;

    fn call(&mut self, call: Call<Question>) -> Self::Future {
        let (counter, time) = (Arc::clone(&self.counter), self.time);
        Box::pin(async move {
            let gate = &counter.gate;
            let now = gate.clock.now();
            let (metadata, _, question) = call.into_parts();
            let http = match &question {
                Question::Check(check) => check.attributes.as_ref().and_then(read),
                Question::Malformed | Question::TooLarge => None,
            };
            let span = counter.traces.as_ref().map(|traces| span::begin(traces, &metadata, http.as_ref()));
            let caller = http.as_ref().map(|request| Caller::of(&request.headers)).unwrap_or_default();
            let decision = match (&question, &http) {
                (_, Some(request)) => gate.decide(request, now, time).await.in_force(),
                (Question::TooLarge, None) => Decision::Deny(Denied::from(Denial::CheckTooLarge)),
                (Question::Malformed | Question::Check(_), None) => {
                    Decision::Deny(Denied::from(Denial::CheckMalformed))
                }
            };
            let took = time.arrived.elapsed();
            if let Some(metrics) = &counter.metrics {
                metrics.decided(&decision, took);
            }
            if let Some(span) = span {
                span::end(span, &decision);
            }
            report(&decision, http.as_ref(), took, counter.samples.as_deref());
            Ok(Response::new(respond(&decision, caller)))
        })
    }
}

impl Gate {
    /// Decides about a request, and spends its proof last.
    async fn decide(&self, request: &Request<'_>, now: Timestamp, time: Time) -> Decision {
        let mut finding = self.enforcer.decide(request, now);
        for _ in 0..RENEWALS {
            let Finding::KeysWanted(wanted, _) = &finding else { break };
            if tokio::time::timeout_at(time.to_ask(), wanted.renew(now)).await.is_err() {
                break;
            }
            finding = self.enforcer.decide(request, now);
        }
        let finding = match finding {
            Finding::Unresolved(unresolved, context) => match resolve(unresolved, now, time).await {
                Ok(resolved) => self.enforcer.decide_resolved(request, resolved, now),
                Err(cause) => Finding::Settled(Decision::Unavailable(Outage::new(cause, context))),
            },
            finding @ (Finding::Settled(_) | Finding::Unspent(_) | Finding::KeysWanted(..)) => finding,
        };
        match finding {
            Finding::Settled(decision) => decision,
            Finding::Unspent(unspent) => self.spend(unspent, now, time).await,
            // One question is enough for one request: whoever has still no answer does not pass.
            Finding::Unresolved(_, context) | Finding::KeysWanted(_, context) => {
                Decision::Unavailable(Outage::new(Unavailable::Down, context))
            }
        }
    }

    /// Asks the guard, unless nobody waits for its answer.
    async fn spend(&self, unspent: Unspent, now: Timestamp, time: Time) -> Decision {
        // To spend a proof for an answer that nobody waits for would only make the client's next try a replay. A proxy that
        // gave up has reset the call; yielding once lets the connection notice, which ends this future right here. That
        // helps where the deadline, counted from arrival, cannot: after this process was stopped for a while.
        tokio::task::yield_now().await;
        if time.is_over() {
            return unspent.settle(Err(Unavailable::Late));
        }
        let (key, expires) = (unspent.key(), unspent.expires());
        let answer = match self.guard.spend_now(key, expires, now) {
            Some(answer) => answer,
            None => self.guard.spend(key, expires, now).await,
        };
        unspent.settle(answer)
    }
}

/// Asks what a token stands for, for as long as somebody waits for the answer.
async fn resolve(unresolved: Unresolved, now: Timestamp, time: Time) -> Result<Resolved, Unavailable> {
    let answer = tokio::time::timeout_at(time.to_ask(), unresolved.resolve(now)).await;
    answer.unwrap_or(Err(Unavailable::Late))
}

/// How often one request waits for what others must say: for the keys of its issuer, and for its status list.
const RENEWALS: u32 = 2;

/// The name of the resource that the proxy's own configuration gives: in a context extension, or in the metadata of the
/// route. What it says in both places must be the same; if not, it is a name that no resource has.
fn named_resource(attributes: &AttributeContext) -> Option<&str> {
    let extension = attributes.context_extensions.get(RESOURCE_EXTENSION).map(String::as_str);
    let metadata = attributes.route_metadata_context.as_ref();
    let value = metadata.and_then(|all| all.filter_metadata.get(METADATA_NAMESPACE)?.fields.get(RESOURCE_EXTENSION));
    let route = value.map(|value| match &value.kind {
        Some(Kind::StringValue(name)) => name.as_str(),
        _ => NO_RESOURCE,
    });
    match (extension, route) {
        (Some(extension), Some(route)) if extension != route => Some(NO_RESOURCE),
        (Some(name), _) | (None, Some(name)) => Some(name),
        (None, None) => None,
    }
}

/// Finds the HTTP request in a question; both of Envoy's encodings of headers are read.
fn read(attributes: &AttributeContext) -> Option<Request<'_>> {
    let http = attributes.request.as_ref()?.http.as_ref()?;
    Some(Request {
        resource: named_resource(attributes),
        method: &http.method,
        host: &http.host,
        target: &http.path,
        headers: headers(http),
        certificate: attributes.source.as_ref().map(|peer| peer.certificate.as_str()).filter(|pem| !pem.is_empty()),
    })
}

/// With `encode_raw_headers` there is a list with bytes, else a map with text; whichever is filled counts, and a name that
/// is in both occurs twice.
fn headers(http: &HttpRequest) -> Headers<'_> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        (header.key.as_str(), value)
    });
    let plain = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    raw.chain(plain).collect()
}

/// Turns a decision into Envoy's terms.
fn respond(decision: &Decision, caller: Caller) -> CheckResponse {
    let (code, response) = match decision {
        Decision::Allow(permit) => (Code::Ok, HttpResponse::OkResponse(allow(permit))),
        Decision::Deny(denied) => {
            let answer = denied.answer(caller);
            let code = if answer.status == 401 { Code::Unauthenticated } else { Code::PermissionDenied };
            (code, HttpResponse::DeniedResponse(deny(answer)))
        }
        // What Envoy calls a denial is an answer of our own, whatever its status.
        Decision::Describe(described) => {
            (Code::PermissionDenied, HttpResponse::DeniedResponse(deny(described.answer().clone())))
        }
        // Not `error_response`: `failure_mode_allow` would let the request pass.
        Decision::Unavailable(outage) => (Code::Unavailable, HttpResponse::DeniedResponse(deny(outage.answer(caller)))),
    };
    CheckResponse {
        status: Some(rpc::Status { code: code as i32, ..rpc::Status::default() }),
        dynamic_metadata: Some(metadata(decision)),
        http_response: Some(response),
    }
}

/// An allow: what the upstream is to see, and a nonce for the client.
fn allow(permit: &Permit) -> OkHttpResponse {
    let changes = permit.changes();
    OkHttpResponse {
        headers: changes.set.into_iter().map(|(name, value)| overwrite(name, value)).collect(),
        headers_to_remove: changes.remove,
        response_headers_to_add: permit
            .nonce()
            .map(|nonce| overwrite("dpop-nonce".to_owned(), nonce.to_owned()))
            .into_iter()
            .chain(permit.exposes_nonce().then(expose_nonce))
            .collect(),
        ..OkHttpResponse::default()
    }
}

/// Lets a script read the nonce, beside whatever the service lets it read.
#[expect(deprecated, reason = "Envoy up to 1.40 looks at nothing else")]
fn expose_nonce() -> HeaderValueOption {
    let (key, value) = ("access-control-expose-headers".to_owned(), "DPoP-Nonce".to_owned());
    HeaderValueOption {
        header: Some(HeaderValue { key, value, ..HeaderValue::default() }),
        append: Some(BoolValue { value: true }), // which, on answers, adds a header that is not there
        append_action: HeaderAppendAction::AppendIfExistsOrAdd as i32,
        ..HeaderValueOption::default()
    }
}

/// A denial, or an outage in its form.
fn deny(answer: Answer) -> DeniedHttpResponse {
    DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(answer.status) }),
        headers: answer.headers.into_iter().map(|(name, value)| overwrite(name.to_owned(), value)).collect(),
        body: answer.body,
    }
}

/// A header that replaces what is there. Both switches are set: Envoy up to 1.40 looks at `append` only, later versions
/// at `append_action`, whose zero value means to append.
#[expect(deprecated, reason = "Envoy up to 1.40 looks at nothing else")]
fn overwrite(key: String, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key, value, ..HeaderValue::default() }), // `raw_value` is ignored here
        append: Some(BoolValue { value: false }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..HeaderValueOption::default()
    }
}

/// What Envoy's access log may show, on every outcome.
fn metadata(decision: &Decision) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let mut fields = HashMap::with_capacity(7);
    fields.insert("reason".to_owned(), text(decision.reason()));
    let context = decision.context();
    let key = context.key().map(|key| key.to_string());
    for (name, value) in [
        ("resource", context.resource()),
        ("rule", context.rule()),
        ("client_id", context.client_id()),
        ("subject", context.subject()),
        ("jkt", key.as_deref()),
        ("would_be", would_be(decision)),
    ] {
        if let Some(value) = value {
            fields.insert(name.to_owned(), text(value));
        }
    }
    Struct { fields }
}

/// What would have become of a request that passes only because its resource is observed.
fn would_be(decision: &Decision) -> Option<&'static str> {
    match decision {
        Decision::Allow(permit) => permit.would_be().map(Observed::name),
        Decision::Deny(_) | Decision::Describe(_) | Decision::Unavailable(_) => None,
    }
}

/// Writes the one event of a request. No path, no query and no credentials: the rule says where it went.
fn report(decision: &Decision, request: Option<&Request<'_>>, took: Duration, samples: Option<&Samples>) {
    let context: &Context = decision.context();
    let request_id = request.and_then(|request| request_id(&request.headers));
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let (resource, rule, client) = (context.resource(), context.rule(), context.client_id());
    if let Some(denial) = would_be(decision) {
        info!(
            rpc = "check",
            outcome = "observed",
            denial,
            resource,
            rule,
            client.id = client,
            request.id = request_id,
            duration_us,
            "request let through, though it breaks a rule: {denial}"
        );
        return;
    }
    match decision {
        Decision::Allow(_) => {
            macro_rules! allowed {
                ($level:ident) => {
                    $level!(
                        rpc = "check",
                        outcome = "allowed",
                        resource,
                        rule,
                        client.id = client,
                        request.id = request_id,
                        duration_us,
                        "request allowed"
                    )
                };
            }
            if samples.is_some_and(Samples::takes_next) { allowed!(info) } else { allowed!(debug) }
        }
        Decision::Deny(denied) => {
            let denial = denied.denial().name();
            info!(
                rpc = "check",
                outcome = "denied",
                denial,
                resource,
                rule,
                client.id = client,
                request.id = request_id,
                duration_us,
                "request denied: {denial}"
            );
        }
        Decision::Describe(_) => debug!(
            rpc = "check",
            outcome = "described",
            resource,
            request.id = request_id,
            duration_us,
            "metadata given"
        ),
        Decision::Unavailable(outage) => {
            let cause = outage.cause();
            warn!(
                rpc = "check",
                outcome = "unavailable",
                resource,
                rule,
                client.id = client,
                request.id = request_id,
                duration_us,
                "request could not be checked: {cause}"
            );
        }
    }
}

/// The proxy's id of a request, if it is one that may stand in a log.
fn request_id<'a>(headers: &Headers<'a>) -> Option<&'a str> {
    let id = headers.all("x-request-id").next().and_then(|id| std::str::from_utf8(id).ok())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    ((1..=64).contains(&id.len()) && id.bytes().all(plain)).then_some(id)
}
