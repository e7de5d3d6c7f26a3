//! `Check` over a Unix socket: CPU time a request in the process that answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress, address};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::always_allow::Authorizer;
use crate::client::Client;
use crate::floor::Floor;
use crate::installation::{API, Installation, ORDER};
use crate::process::Process;
use crate::report::{Budget, Report, Row};
use crate::rounds::{median, median_by_round, take_turns, us_each};
use crate::{IN_FLIGHT, TURN};

const ROUNDS: usize = 5;

/// Compares Tollgate with an authorizer that always allows, plus one verification.
pub(crate) fn measure(report: &mut Report, floor: &Floor, tollgate: &Installation, runtime: &Runtime) {
    let allow = runtime.block_on(Authorizer::start());
    let to_tollgate = runtime.block_on(channel(&tollgate.socket));
    let to_allow = runtime.block_on(channel(&allow.folder.path().join("authz.sock")));
    let question = Arc::new(Question::new(tollgate));
    let turn = |channel: &Channel, process: &Process| {
        let before = process.cpu();
        let count = runtime.block_on(keep_asking(channel, &question));
        us_each(process.cpu().saturating_sub(before), count)
    };
    let [allowed, verified, decided] = take_turns(
        ROUNDS,
        [&mut || turn(&to_allow, &allow.process), &mut || floor.verification(), &mut || {
            turn(&to_tollgate, &tollgate.process)
        }],
    );
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

/// A proxy's connection.
async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://tollgate_authz");
    endpoint.connect_with_connector(tower::service_fn(connect)).await.expect("a connection")
}

/// Asks for a while, as many questions at once as one worker of a busy proxy has; all must be allowed.
async fn keep_asking(channel: &Channel, question: &Arc<Question>) -> usize {
    let end = Instant::now() + TURN;
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let mut client = AuthorizationClient::new(channel.clone());
        let question = Arc::clone(question);
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                let answer = client.check(question.fresh()).await.expect("never a gRPC error").into_inner();
                let code = answer.status.map(|status| status.code);
                assert_eq!(code, Some(0), "a good request was denied: {:?}", answer.dynamic_metadata);
                count += 1;
            }
            count
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// A question as Envoy puts it with `envoy/envoy.yaml`, but for the proof.
struct Question {
    template: CheckRequest,
    caller: Arc<Client>,
    token: String,
}

impl Question {
    fn new(tollgate: &Installation) -> Self {
        let token = tollgate.token.clone();
        let raw = |(name, value): (&str, &str)| HeaderValue {
            key: name.to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        };
        let headers = [
            (":authority", "api.example.com"),
            (":method", "GET"),
            (":path", ORDER),
            (":scheme", "https"),
            ("authorization", &format!("DPoP {token}")),
            ("x-envoy-external-address", "192.0.2.1"),
            ("x-request-id", "5a1f3e0c-7d0b-4c1d-9f37-0d6c1b8e2a54"),
        ];
        let http = HttpRequest {
            id: "8347918239182738911".to_owned(),
            method: "GET".to_owned(),
            header_map: Some(HeaderMap { headers: headers.map(raw).to_vec() }),
            path: ORDER.to_owned(),
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
        let template = CheckRequest { attributes: Some(attributes) };
        Self { template, caller: Arc::clone(&tollgate.caller), token }
    }

    /// The question with a proof that nobody has seen.
    fn fresh(&self) -> CheckRequest {
        let proof = self.caller.proof("GET", &format!("{API}{ORDER}"), &self.token);
        let proof = HeaderValue { key: "dpop".to_owned(), raw_value: proof.into(), ..HeaderValue::default() };
        let mut question = self.template.clone();
        let http = question.attributes.as_mut().and_then(|attributes| attributes.request.as_mut()?.http.as_mut());
        let headers = http.and_then(|http| http.header_map.as_mut()).expect("the template has headers");
        headers.headers.push(proof);
        question
    }
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
