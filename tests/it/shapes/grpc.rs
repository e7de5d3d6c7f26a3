//! `envoy/grpc.yaml` with `examples/grpc.yaml`: a service and clients made with tonic.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tower::Service;

use super::{API, Caller, Seen};
use crate::envoy::{Envoy, eventually};
use crate::example::Example;
use crate::process::{Installation, Process};

/// A service that knows nothing of tokens: tells which order, for whom, and what was left of the credentials.
#[derive(Clone)]
struct Orders;

impl Orders {
    /// Serves on a port of its own.
    async fn serve() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (health, reports) = tonic_health::server::health_reporter();
        health.set_serving::<Self>().await;
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let reports = reports.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let request = request.map(Body::new);
                    if request.uri().path().starts_with("/grpc.health.v1.Health/") {
                        reports.clone().call(request)
                    } else {
                        Self.call(request)
                    }
                });
                let served = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(served.serve_connection(TokioIo::new(connection), service));
            }
        });
        port
    }

    fn describe(order: &str, metadata: &MetadataMap) -> String {
        let said = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
        format!("{order} {} {} {}", said("x-auth-client"), said("authorization"), said("dpop"))
    }
}

impl tonic::server::NamedService for Orders {
    const NAME: &'static str = "shop.v1.Orders";
}

impl tonic::server::UnaryService<String> for Orders {
    type Response = String;
    type Future = BoxFuture<Response<String>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let text = Self::describe(request.get_ref(), request.metadata());
        Box::pin(async { Ok(Response::new(text)) })
    }
}

/// Three messages, each like the only one.
#[derive(Clone)]
struct Watch;

impl tonic::server::ServerStreamingService<String> for Watch {
    type Response = String;
    type ResponseStream = std::pin::Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let text = Orders::describe(request.get_ref(), request.metadata());
        let stream = tokio_stream::iter([Ok(text.clone()), Ok(text.clone()), Ok(text)]);
        Box::pin(async { Ok(Response::new(Box::pin(stream) as Self::ResponseStream)) })
    }
}

impl Service<http::Request<Body>> for Orders {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut call = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(match request.uri().path() {
                "/shop.v1.Orders/Watch" => call.server_streaming(Watch, request).await,
                _ => call.unary(Orders, request).await,
            })
        })
    }
}

/// A service behind the gate, the issuer of its tokens, and a client.
struct World {
    issuer: Option<Process>,
    gate: Example,
    envoy: Envoy,
    channel: Channel,
    caller: Caller,
    _installation: Installation,
}

impl World {
    async fn start() -> Self {
        let installation = Installation::new();
        let issuer = installation.start(&[]).await;
        let gate = Example::start("grpc.yaml", &[("https://auth.example.com", &installation.issuer)]).await;
        let changes = [("/run/tollgate/authz.sock", &*gate.socket.to_string_lossy())];
        let envoy = Envoy::of_file("grpc.yaml", Orders::serve().await, gate.folder.path(), &changes).await;
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", envoy.port)).expect("a URL");
        let origin = "http://api.example.com".parse().expect("an origin");
        let channel = endpoint.origin(origin).connect().await.expect("a connection");
        let caller = Caller::with_token(installation.client("bound")).await;
        let mut world = Self { issuer: Some(issuer), gate, envoy, channel, caller, _installation: installation };
        world.learn_the_nonce().await;
        world
    }

    /// A gate that has just begun wants a nonce, and tells it in the metadata of its refusal.
    async fn learn_the_nonce(&mut self) {
        let nonce = eventually("the gate learns the keys, and tells a nonce", async || {
            let denied = self.call("Get", &self.authorization(), Some(&self.proof("Get"))).await.err()?;
            denied.metadata().get("dpop-nonce").and_then(|nonce| nonce.to_str().ok()).map(str::to_owned)
        })
        .await;
        self.caller.nonce = Some(nonce);
    }

    fn url(method: &str) -> String {
        format!("{API}/shop.v1.Orders/{method}")
    }

    fn authorization(&self) -> String {
        self.caller.authorization()
    }

    /// A proof for a method.
    fn proof(&self, method: &str) -> String {
        self.caller.proof("POST", &Self::url(method))
    }

    /// Calls a method about order 7.
    async fn call(&self, method: &str, authorization: &str, proof: Option<&str>) -> Result<String, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.expect("a connection");
        let path = PathAndQuery::try_from(format!("/shop.v1.Orders/{method}")).expect("a path");
        let request = request(authorization, proof);
        client.unary(request, path, ProstCodec::<String, String>::default()).await.map(Response::into_inner)
    }
}

fn request(authorization: &str, proof: Option<&str>) -> Request<String> {
    let mut request = Request::new("7".to_owned());
    let headers = [("authorization", Some(authorization)), ("dpop", proof)];
    for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        if !value.is_empty() {
            request.metadata_mut().insert(name, value.parse().expect("ASCII"));
        }
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_pass_and_a_denial_is_a_status_with_its_reason() {
    let world = World::start().await;
    let (token, proof) = (world.authorization(), world.proof("Get"));
    assert_eq!(world.call("Get", &token, Some(&proof)).await.expect("it passes"), "7 bound - -");

    let bearer = token.replace("DPoP", "Bearer");
    let stolen = world.caller.stolen("POST", &World::url("Get"));
    let (other, delete, fetch) =
        (world.proof("List"), world.proof("Delete"), world.caller.proof("GET", &World::url("Get")));
    for (method, authorization, proof, code, message, error) in [
        ("Get", "", None, Code::Unauthenticated, "required", None),
        ("Get", &*bearer, None, Code::Unauthenticated, "bound", Some("invalid_token")),
        ("Get", &token, None, Code::Unauthenticated, "proof", Some("invalid_dpop_proof")),
        ("Get", &token, Some(&*proof), Code::Unauthenticated, "used", Some("invalid_dpop_proof")), // a second time
        ("Get", &token, Some(&stolen), Code::Unauthenticated, "key", Some("invalid_token")),
        ("Get", &token, Some(&other), Code::Unauthenticated, "URI", Some("invalid_dpop_proof")),
        ("Get", &token, Some(&fetch), Code::Unauthenticated, "method", Some("invalid_dpop_proof")),
        ("Get", "DPoP a, DPoP b", None, Code::Unauthenticated, "", Some("invalid_request")),
        ("Delete", &token, Some(&delete), Code::PermissionDenied, "scope", Some("insufficient_scope")),
    ] {
        let denied = world.call(method, authorization, proof).await.expect_err("a denial");
        assert_eq!(denied.code(), code, "{denied:?}");
        assert!(denied.message().contains(message) && denied.message().is_ascii(), "{message}: {denied:?}");
        let challenge =
            denied.metadata().get("www-authenticate").and_then(|line| line.to_str().ok()).expect("a challenge");
        let said = challenge.split("error=\"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(said, error, "{denied:?}");
    }
    // What no rule names is denied, with whatever token.
    let mut client = tonic::client::Grpc::new(world.channel.clone());
    client.ready().await.expect("a connection");
    let path = PathAndQuery::from_static("/shop.v1.Admin/Drop");
    let unnamed = client.unary(request(&token, Some(&proof)), path, ProstCodec::<String, String>::default()).await;
    assert_eq!(unnamed.expect_err("a denial").code(), Code::PermissionDenied);

    let health = HealthClient::new(world.channel.clone()).check(HealthCheckRequest::default()).await;
    assert_eq!(health.expect("anybody may ask").into_inner().status, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_checked_when_it_opens_and_browsers_read_a_denial() {
    let mut world = World::start().await;
    let token = world.authorization();
    let watch = async |world: &World, proof: &str| {
        let mut client = tonic::client::Grpc::new(world.channel.clone());
        client.ready().await.expect("a connection");
        let path = PathAndQuery::from_static("/shop.v1.Orders/Watch");
        let codec = ProstCodec::<String, String>::default();
        client.server_streaming(request(&token, Some(proof)), path, codec).await
    };
    let proof = world.proof("Watch");
    let mut stream = watch(&world, &proof).await.expect("it passes").into_inner();
    let mut seen = Vec::new();
    while let Some(message) = stream.message().await.expect("no error") {
        seen.push(message);
    }
    assert_eq!(seen, ["7 bound - -"; 3]);
    assert_eq!(watch(&world, &proof).await.expect_err("a replay").code(), Code::Unauthenticated);

    // gRPC-Web: a message of one text field in a frame.
    let http = reqwest::Client::builder().build().expect("a client");
    let frame = [&[0, 0, 0, 0, 3, 10, 1][..], b"7"].concat();
    let send = |proof: Option<String>| {
        let url = format!("http://127.0.0.1:{}/shop.v1.Orders/Get", world.envoy.port);
        let request =
            http.post(url).header("host", "api.example.com").header("content-type", "application/grpc-web+proto");
        let request =
            request.header("origin", "https://app.example.com").header("authorization", &token).body(frame.clone());
        Seen::of(proof.into_iter().fold(request, |request, proof| request.header("dpop", proof)))
    };
    let passed = send(Some(world.proof("Get"))).await;
    assert_eq!(passed.status, 200, "{passed:?}");
    assert!(passed.body.contains("7 bound - -") && passed.body.contains("grpc-status:0"), "{passed:?}");
    let denied = send(None).await;
    assert_eq!(
        (denied.refusal(), &denied.headers["grpc-status"]),
        ((401, Some("invalid_dpop_proof")), &"16".parse().expect("text"))
    );
    let exposed = denied.headers["access-control-expose-headers"].to_str().expect("text");
    assert!(exposed.contains("grpc-status") && exposed.contains("www-authenticate"), "{exposed}");

    // What is not gRPC to Envoy is no call to the service, be the credentials right or not.
    let odd = http
        .post(format!("http://127.0.0.1:{}/shop.v1.Orders/Get", world.envoy.port))
        .header("host", "api.example.com");
    let odd = odd.header("content-type", "application/grpc;x=1").header("authorization", &token);
    assert_eq!(Seen::of(odd.header("dpop", world.proof("Get"))).await.status, 415);

    // The issuer is away: what it signed is good. The gate is away: nothing is.
    world.issuer.take().expect("it runs").kill().await;
    assert!(world.call("Get", &token, Some(&world.proof("Get"))).await.is_ok());
    world.gate.kill().await;
    let denied = world.call("Get", &token, Some(&world.proof("Get"))).await.expect_err("an outage");
    assert_eq!(denied.code(), Code::Unavailable, "{denied:?}");
}
