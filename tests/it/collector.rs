//! A collector of spans: OTLP over HTTP and over gRPC, and what Envoy sends to a Zipkin.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

use crate::process::{Installation, Process};
use crate::redis::until;

/// The length of what stands before a message of gRPC.
const GRPC_PREFIX: usize = 5;

/// Keeps every span, and everything that came with them.
#[derive(Clone)]
pub struct Collector {
    pub port: u16,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<(Resource, Span)>,
    /// As it came over the wire.
    bytes: Vec<u8>,
    headers: Vec<HeaderMap>,
}

/// The attributes of who sent a span.
type Resource = Vec<KeyValue>;

impl Collector {
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// One that is spoken to over TLS only.
    pub async fn over_tls(mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let collector = Self { port, taken: Arc::default() };
        let taker = collector.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (taker, tls) = (taker.clone(), tls.clone());
                let service = service_fn(move |request| taker.clone().take(request));
                tokio::spawn(async move {
                    let served = Builder::new(TokioExecutor::new());
                    let Some(tls) = tls else {
                        let _ = served.serve_connection(TokioIo::new(connection), service).await;
                        return;
                    };
                    if let Ok(connection) = tls.accept(connection).await {
                        let _ = served.serve_connection(TokioIo::new(connection), service).await;
                    }
                });
            }
        });
        collector
    }

    async fn take(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let grpc = head.uri.path().ends_with("/Export");
        let message = if grpc { body.get(GRPC_PREFIX..).unwrap_or_default() } else { &body };
        let otlp = grpc || head.uri.path() == "/v1/traces";
        let batch = ExportTraceServiceRequest::decode(if otlp { message } else { &[] }).expect("spans");
        {
            let mut taken = self.taken.lock().expect("no test panics with the lock");
            taken.bytes.extend_from_slice(&body);
            taken.headers.push(head.headers);
            for sent in batch.resource_spans {
                let resource = sent.resource.map(|resource| resource.attributes).unwrap_or_default();
                let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
                taken.spans.extend(spans.map(|span| (resource.clone(), span)));
            }
        }
        let answer = if grpc { Bytes::from_static(&[0; GRPC_PREFIX]) } else { Bytes::new() };
        let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
        let answer = Full::new(answer).map_err(|never| match never {});
        let answer = if grpc { answer.with_trailers(async { Some(Ok(trailers)) }).boxed() } else { answer.boxed() };
        let kind = if grpc { "application/grpc" } else { "application/x-protobuf" };
        Ok(Response::builder().header("content-type", kind).body(answer).expect("an answer"))
    }

    /// The spans of this sender.
    fn of(&self, service: &str) -> Vec<Span> {
        let taken = self.taken.lock().expect("no test panics with the lock");
        let of_service = |resource: &Resource| find(resource, "service.name").as_deref() == Some(service);
        taken.spans.iter().filter(|(resource, _)| of_service(resource)).map(|(_, span)| span.clone()).collect()
    }

    /// The spans of this sender and name, once there are as many.
    pub async fn named(&self, service: &str, name: &str, number: usize) -> Vec<Span> {
        let named = || self.of(service).into_iter().filter(|span| span.name == name).collect::<Vec<_>>();
        until(&format!("{number} spans `{name}` of {service}"), || async { named().len() >= number }).await;
        named()
    }

    /// Waits for one span of this sender.
    pub async fn until_it_has_span(&self, service: &str, id: &[u8]) {
        let there = || self.of(service).iter().any(|span| span.span_id == id);
        until(&format!("a span {} of {service}", hex(id)), || async { there() }).await;
    }

    /// Waits until something has come that holds `text`.
    pub async fn until_it_holds(&self, text: &str) {
        until(&format!("the collector gets `{text}`"), || async { self.everything().contains(text) }).await;
    }

    /// Everything that has come, as text.
    pub fn everything(&self) -> String {
        String::from_utf8_lossy(&self.taken.lock().expect("no test panics with the lock").bytes).into_owned()
    }

    /// An attribute of whoever has sent something.
    pub fn sender(&self, name: &str) -> Option<String> {
        let taken = self.taken.lock().expect("no test panics with the lock");
        taken.spans.iter().find_map(|(resource, _)| find(resource, name))
    }

    /// Whether something has come with this header.
    pub fn has_header(&self, name: &str, value: &str) -> bool {
        let taken = self.taken.lock().expect("no test panics with the lock");
        taken.headers.iter().any(|headers| headers.get(name).is_some_and(|there| there == value))
    }

    /// The command that serves, and sends spans here.
    pub fn traced(&self, installation: &Installation, arguments: &[&str]) -> Command {
        let mut command = installation.serve(arguments);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", self.port));
        command.env("OTEL_BSP_SCHEDULE_DELAY", "20");
        command
    }

    /// A process that sends its spans here.
    pub async fn serving(&self, installation: &Installation) -> Process {
        Process::start(self.traced(installation, &[])).await
    }
}

/// An attribute of a span.
pub fn attribute(span: &Span, name: &str) -> Option<String> {
    find(&span.attributes, name)
}

fn find(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A name of a trace or a span, as headers have it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
