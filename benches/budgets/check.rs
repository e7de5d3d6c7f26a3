//! `Check` over a Unix socket: CPU time a request in the process that answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress, address};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::always_allow::Authorizer;
use crate::client::Client;
use crate::floor::Floor;
use crate::installation::{API, Installation, ORDER, Setup};
use crate::replay::Redis;
use crate::report::{Budget, Report, Row};
use crate::rounds::{median, median_by_round, take_turns, us_each};
use crate::{IN_FLIGHT, TURN};

const ROUNDS: usize = 5;

/// Compares Tollgate with an authorizer that always allows, plus one verification.
pub(crate) fn measure(report: &mut Report, floor: &Floor, tollgate: &Installation, runtime: &Runtime) {
    let allow = runtime.block_on(Contender::always_allow(tollgate));
    let plain = runtime.block_on(Contender::new(tollgate, Question::new(tollgate)));
    let [allowed, verified, decided] =
        take_turns(ROUNDS, [&mut || allow.turn(runtime), &mut || floor.verification(), &mut || plain.turn(runtime)]);
    let (least, decided_us) = (median(&allowed) + median(&verified), median(&decided));
    report.row(Row {
        name: "check: over a Unix socket, CPU a request",
        measured: format!("{decided_us:.1} us"),
        floor: format!("{least:.1} us"),
        judged: median_by_round(ROUNDS, |n| decided[n] / (allowed[n] + verified[n])),
        budget: Budget::AtMost(1.3),
    });
    report.note(&format!("floor: always-allow {:.1} us + verification {:.1} us", median(&allowed), median(&verified)));
}

/// The same for what a resource may ask for beside: a token for the upstream, a proof that a Redis remembers; and the
/// metadata of the resource, which needs no verification.
pub(crate) fn measure_more(report: &mut Report, floor: &Floor, runtime: &Runtime, redis: Option<&Path>) {
    let server = redis.map(|program| runtime.block_on(Redis::start(program)));
    let shared: Vec<_> = server.iter().flat_map(Redis::settings).collect();
    let start = |setup: Setup<'_>| runtime.block_on(Installation::start_as(setup));
    let (with_redis, with_jwt) = (
        start(Setup { settings: &shared, ..Setup::default() }),
        start(Setup {
            edit: ("    rules:", "    upstream: { authorization: internal_jwt }\n    rules:"),
            ..Setup::default()
        }),
    );
    let allow = runtime.block_on(Contender::always_allow(&with_jwt));
    let ask = |tollgate, question| runtime.block_on(Contender::new(tollgate, question));
    let jwt = ask(&with_jwt, Question::new(&with_jwt));
    let metadata = ask(&with_jwt, Question::metadata());
    let remembered = ask(&with_redis, Question::new(&with_redis));
    let [allowed, verified, jwt, remembered, metadata] = take_turns(
        ROUNDS,
        [
            &mut || allow.turn(runtime),
            &mut || floor.verification(),
            &mut || jwt.turn(runtime),
            &mut || remembered.turn(runtime),
            &mut || metadata.turn(runtime),
        ],
    );
    let mut row = |name, figures: &[f64], floor: &dyn Fn(usize) -> f64, budget| {
        report.row(Row {
            name,
            measured: format!("{:.1} us", median(figures)),
            floor: format!("{:.1} us", median_by_round(ROUNDS, floor)),
            judged: median_by_round(ROUNDS, |n| figures[n] / floor(n)),
            budget: Budget::AtMost(budget),
        });
    };
    let checked = |n: usize| allowed[n] + verified[n];
    row("check: with a token for the upstream", &jwt, &checked, 1.4);
    if server.is_some() {
        row("check: with the proof spent in Redis", &remembered, &checked, 1.8);
    }
    row("check: metadata of the resource", &metadata, &|n| allowed[n], 2.0);
    if server.is_none() {
        report
            .note("check: with the proof spent in Redis: left out, because REDIS_BIN names none; `make bench` sets it");
    }
}

/// A process that answers, and what it is asked.
struct Contender<'a> {
    process: ProcessOf<'a>,
    channel: Channel,
    question: Arc<Question>,
}

/// Whose process it is.
enum ProcessOf<'a> {
    Tollgate(&'a Installation),
    AlwaysAllow(Authorizer),
}

impl<'a> Contender<'a> {
    async fn new(tollgate: &'a Installation, question: Question) -> Self {
        let channel = channel(&tollgate.socket).await;
        Self { process: ProcessOf::Tollgate(tollgate), channel, question: Arc::new(question) }
    }

    /// The authorizer that is asked what an installation is asked.
    async fn always_allow(tollgate: &Installation) -> Self {
        let authorizer = Authorizer::start().await;
        let channel = channel(&authorizer.folder.path().join("authz.sock")).await;
        let question = Arc::new(Question::new(tollgate));
        Self { process: ProcessOf::AlwaysAllow(authorizer), channel, question }
    }

    /// The CPU time of its process for a request, after a turn of asking.
    fn turn(&self, runtime: &Runtime) -> f64 {
        let process = match &self.process {
            ProcessOf::Tollgate(tollgate) => &tollgate.process,
            ProcessOf::AlwaysAllow(authorizer) => &authorizer.process,
        };
        let before = process.cpu();
        let count = runtime.block_on(keep_asking(&self.channel, &self.question));
        us_each(process.cpu().saturating_sub(before), count)
    }
}

/// A proxy's connection.
pub(crate) async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://tollgate_authz");
    endpoint.connect_with_connector(tower::service_fn(connect)).await.expect("a connection")
}

/// Asks for a while, as many questions at once as one worker of a busy proxy has; all must be answered well.
async fn keep_asking(channel: &Channel, question: &Arc<Question>) -> usize {
    let end = Instant::now() + TURN;
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let mut client = AuthorizationClient::new(channel.clone());
        let question = Arc::clone(question);
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                question.ask(&mut client).await;
                count += 1;
            }
            count
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// A question as Envoy puts it with `envoy/envoy.yaml`, but for the proof.
pub(crate) struct Question {
    template: CheckRequest,
    /// Who calls with which token; `None` if nobody has to.
    caller: Option<(Arc<Client>, String)>,
}

impl Question {
    /// A request with a token.
    pub(crate) fn new(tollgate: &Installation) -> Self {
        let template = template(ORDER, &[("authorization", &format!("DPoP {}", tollgate.token))]);
        Self { template, caller: Some((Arc::clone(&tollgate.caller), tollgate.token.clone())) }
    }

    /// A request for the metadata of the resource (RFC 9728 §3.1), which anybody may read.
    fn metadata() -> Self {
        Self { template: template("/.well-known/oauth-protected-resource", &[]), caller: None }
    }

    /// Asks once, with a proof that nobody has seen.
    pub(crate) async fn ask(&self, client: &mut AuthorizationClient<Channel>) {
        let answer = client.check(self.fresh()).await.expect("never a gRPC error").into_inner();
        let denied = match &answer.http_response {
            Some(HttpResponse::DeniedResponse(denied)) => denied.status.as_ref().map(|status| status.code),
            Some(HttpResponse::OkResponse(_) | HttpResponse::ErrorResponse(_)) | None => None,
        };
        let allowed = answer.status.as_ref().is_some_and(|status| status.code == 0);
        let is_good = if self.caller.is_some() { allowed } else { denied == Some(200) };
        assert!(is_good, "a good request was denied: {denied:?} {:?}", answer.dynamic_metadata);
    }

    fn fresh(&self) -> CheckRequest {
        let mut question = self.template.clone();
        let Some((caller, token)) = &self.caller else { return question };
        let proof = caller.proof("GET", &format!("{API}{ORDER}"), token);
        let proof = HeaderValue { key: "dpop".to_owned(), raw_value: proof.into(), ..HeaderValue::default() };
        let http = question.attributes.as_mut().and_then(|attributes| attributes.request.as_mut()?.http.as_mut());
        let headers = http.and_then(|http| http.header_map.as_mut()).expect("the template has headers");
        headers.headers.push(proof);
        question
    }
}

/// A request for a path of the API, with these headers beside those that every request has.
fn template(path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let raw = |(name, value): &(&str, &str)| HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let common = [
        (":authority", "api.example.com"),
        (":method", "GET"),
        (":path", path),
        (":scheme", "https"),
        ("x-envoy-external-address", "192.0.2.1"),
        ("x-request-id", "5a1f3e0c-7d0b-4c1d-9f37-0d6c1b8e2a54"),
    ];
    let http = HttpRequest {
        id: "8347918239182738911".to_owned(),
        method: "GET".to_owned(),
        header_map: Some(HeaderMap { headers: common.iter().chain(headers).map(raw).collect() }),
        path: path.to_owned(),
        host: "api.example.com".to_owned(),
        scheme: "https".to_owned(),
        size: -1,
        protocol: "HTTP/1.1".to_owned(),
        ..HttpRequest::default()
    };
    let attributes = AttributeContext {
        source: Some(peer("192.0.2.1", 41_000)),
        destination: Some(peer("192.0.2.2", 443)),
        request: Some(Request { http: Some(http), ..Request::default() }),
        context_extensions: [("resource".to_owned(), API.to_owned())].into(),
        ..AttributeContext::default()
    };
    CheckRequest { attributes: Some(attributes) }
}

fn peer(address: &str, port: u32) -> Peer {
    let address = SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    let address = Address { address: Some(address::Address::SocketAddress(address)) };
    Peer { address: Some(address), ..Peer::default() }
}
