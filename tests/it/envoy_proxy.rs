//! The stories of `check.rs` again, through the real Envoy: the recommended one, and a careless one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tollgate::authz::Denial;
use tollgate::clock::{Clock, SystemClock};
use tollgate::dpop::ProofFault;
use tollgate::token::TokenFault;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

use crate::check::{Ask, rows};
use crate::client::CLIENT_CREDENTIALS;
use crate::envoy::{Envoy, Reply, eventually};
use crate::gate::{API, FRESH, Gate, Holder, NONCE_LIFE, Trouble, fresh_id, proof_claims};
use crate::interop::repository;
use crate::manifests::objects;
use crate::sidecar::Sidecar;
use crate::upstream::{Upstream, field, fields};

/// A gate, an API, an Envoy between them, and a client.
pub struct World {
    pub gate: Gate,
    pub upstream: Upstream,
    pub envoy: Envoy,
    ada: Holder,
}

impl World {
    async fn start() -> Self {
        Self::with(Gate::start().await).await
    }

    async fn with(gate: Gate) -> Self {
        let upstream = Upstream::start().await;
        let envoy = Envoy::recommended(&gate.socket, upstream.port).await;
        let ada = Holder::new("tv");
        Self { gate, upstream, envoy, ada }
    }

    pub async fn careless() -> Self {
        let gate = Gate::start().await;
        let upstream = Upstream::start().await;
        let envoy = Envoy::careless(&gate.socket, upstream.port).await;
        let ada = Holder::new("tv");
        Self { gate, upstream, envoy, ada }
    }

    /// With the recommended configuration, but for these changes.
    pub async fn changed(changes: &[(&str, &str)]) -> Self {
        let gate = Gate::start().await;
        let upstream = Upstream::start().await;
        let socket = gate.socket.to_string_lossy().into_owned();
        let changes = [&[("/run/tollgate/authz.sock", &*socket)], changes].concat();
        let folder = gate.share_folder();
        let envoy = Envoy::of_file("envoy.yaml", upstream.port, folder.path(), &changes).await;
        let ada = Holder::new("tv");
        Self { gate, upstream, envoy, ada }
    }

    /// With the fragments that a mesh puts into its proxies.
    async fn meshed(filter: &Value, cluster: &Value) -> Self {
        let gate = Gate::start().await;
        let upstream = Upstream::start().await;
        let envoy = Envoy::with_fragments(filter, cluster, &gate.socket, upstream.port).await;
        let ada = Holder::new("tv");
        Self { gate, upstream, envoy, ada }
    }

    pub fn ask(&self) -> Ask {
        Ask::good(&self.gate, &self.ada)
    }

    /// The headers of the request, but for its host.
    pub fn fields(&self, ask: &Ask) -> Vec<(&'static str, Vec<u8>)> {
        ask.fields(&self.gate, &self.ada)
    }

    /// The request as it goes over the wire.
    pub fn wire(&self, ask: &Ask) -> Vec<u8> {
        let mut wire = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", ask.method, ask.target, ask.host).into_bytes();
        for (name, value) in self.fields(ask) {
            wire.extend_from_slice(name.as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(&value);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"\r\n");
        wire
    }

    pub async fn send(&self, ask: &Ask) -> Reply {
        self.envoy.send(&self.wire(ask)).await
    }

    /// Fails unless the request was answered by somebody in front of the API.
    #[track_caller]
    pub fn nothing_arrived(&self, why: &str) {
        let seen = self.upstream.take();
        assert!(seen.is_empty(), "{why}: the API was reached:\n{}", seen.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_request_reaches_the_api_with_its_identity_and_without_credentials() {
    let world = World::start().await;
    let reply = world.send(&world.ask()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let [head] = &world.upstream.take()[..] else { panic!("{reply:?}") };
    assert!(head.starts_with("GET /orders/7?x=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(fields(head, "x-auth-subject"), ["ada"]);
    assert_eq!(fields(head, "x-auth-client"), ["tv"]);
    assert_eq!(fields(head, "x-auth-scope"), ["orders:read"]);
    for name in ["dpop", "authorization", "x-auth-team"] {
        assert_eq!(fields(head, name), Vec::<&str>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_request_stays_outside() {
    // What Envoy answers by itself, or cleans up before it asks.
    let by_envoy: BTreeMap<&str, u16> = [
        ("other_resource_named", 200), // only the proxy's own configuration can name one
        ("two_hosts_and_a_name", 404),
        ("other_host", 404),
        ("two_hosts", 404),
        ("host_with_userinfo", 404),
        ("host_with_other_port", 404),
        ("no_host", 404),
        ("connect", 400),
        ("no_method", 400),
        ("lower_case_method", 400),
        ("no_rule_for_this_method", 400),
        ("no_path", 400),
        ("absolute_form", 404),
        // Resolved before the gate is asked: requests for /orders/7, and signed as such.
        ("dot_segment", 200),
        ("parameter", 200),
        ("encoded_slash", 400),
        ("connection_names", 403), // an upgrade, and none is configured
    ]
    .into();
    let world = World::start().await;
    for row in rows() {
        let mut ask = world.ask();
        (row.spoil)(&mut ask, &world.gate);
        if row.name == "connection_names" {
            ask.headers.push(("upgrade", b"websocket".to_vec()));
        }
        let reply = world.send(&ask).await;
        let expected = by_envoy.get(row.name).copied().unwrap_or(row.denial.status());
        assert_eq!(reply.status, expected, "{}: {reply:?}", row.name);
        if expected == 200 {
            world.upstream.take();
        } else {
            world.nothing_arrived(row.name);
        }
        if let (None, Some(error)) = (by_envoy.get(row.name), row.denial.error()) {
            let [challenge] = reply.headers("www-authenticate")[..] else { panic!("{}: {reply:?}", row.name) };
            assert!(challenge.starts_with(&format!(r#"DPoP error="{}""#, error.as_str())), "{}: {reply:?}", row.name);
        }
    }
}

/// The filters and clusters of Envoy in the shapes for meshes.
fn fragments() -> [(Value, Value); 2] {
    let shape = |name: &str| {
        let text = std::fs::read_to_string(repository("k8s/mesh").join(name)).expect("a shape");
        objects(&text).remove(0)
    };
    let istio = shape("istio-envoyfilter.yaml");
    let patch = |number: usize| istio["spec"]["configPatches"][number]["patch"]["value"].clone();
    let kuma = shape("kuma.yaml");
    let modification = |number: usize, kind: &str| {
        let value = &kuma["spec"]["default"]["appendModifications"][number][kind]["value"];
        objects(value.as_str().expect("a text")).remove(0)
    };
    [(patch(1), patch(0)), (modification(1, "httpFilter"), modification(0, "cluster"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_useless_without_its_key() {
    a_stolen_token_is_useless_in(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_useless_in_a_mesh_and_nothing_passes_without_the_gate() {
    for (filter, cluster) in fragments() {
        a_stolen_token_is_useless_in(World::meshed(&filter, &cluster).await).await;
        let mut world = World::meshed(&filter, &cluster).await;
        let ask = world.ask();
        let wire = world.wire(&ask);
        world.gate = Gate::start().await;
        let reply = world.envoy.send(&wire).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        world.nothing_arrived("no gate");
    }
}

async fn a_stolen_token_is_useless_in(world: World) {
    let token = world.gate.token(&world.ada, "orders:read");
    let thief = Holder::new("thief");
    let now = world.gate.now();
    let uri = format!("{API}/orders/7");
    let with = |scheme: &str, proof: Option<String>| {
        let mut ask = world.ask();
        ask.authorization = Some(vec![format!("{scheme} {token}").into_bytes()]);
        ask.proofs = Some(proof.into_iter().map(String::into_bytes).collect());
        ask
    };
    for (ask, error) in [
        (with("DPoP", None), "invalid_dpop_proof"),
        (with("Bearer", None), "invalid_token"),
        (with("DPoP", Some(thief.proof("GET", &uri, &token, now))), "invalid_token"),
        (with("Bearer", Some(thief.proof("GET", &uri, &token, now))), "invalid_token"),
    ] {
        let reply = world.send(&ask).await;
        assert_eq!(reply.status, 401);
        assert!(reply.header("www-authenticate").is_some_and(|line| line.contains(error)), "{reply:?}");
        world.nothing_arrived(error);
    }
    let reply = world.send(&with("DPoP", Some(world.ada.proof("GET", &uri, &token, now)))).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_copies_of_a_request_exactly_one_passes() {
    let world = Arc::new(World::start().await);
    let request = world.wire(&world.ask());
    let barrier = Arc::new(Barrier::new(64));
    let copies: Vec<_> = (0..64)
        .map(|_| {
            let (world, request, barrier) = (world.clone(), request.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                let reply = world.envoy.send(&request).await;
                (reply.status, reply.header("www-authenticate").unwrap_or_default().to_owned())
            })
        })
        .collect();
    let mut passed = 0;
    for copy in copies {
        match copy.await.expect("no panic") {
            (200, _) => passed += 1,
            (401, challenge) => assert!(challenge.contains("invalid_dpop_proof"), "{challenge}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((passed, world.upstream.take().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_makes_its_round_trip_and_is_renewed_on_success() {
    let gate = Gate::start().await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::recommended_for(FRESH, &gate.socket, upstream.port).await;
    let ada = Holder::new("tv");
    let world = World { gate, upstream, envoy, ada };
    let first = world.send(&world.ask().at(FRESH)).await;
    assert_eq!(first.status, 401);
    assert!(first.header("www-authenticate").is_some_and(|line| line.contains("use_dpop_nonce")), "{first:?}");
    let [nonce] = first.headers("dpop-nonce")[..] else { panic!("{first:?}") };
    world.nothing_arrived("without a nonce");

    let with_nonce = |world: &World| {
        let mut ask = world.ask().at(FRESH);
        ask.proof_claims["nonce"] = nonce.into();
        ask
    };
    let second = world.send(&with_nonce(&world)).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.headers("dpop-nonce"), ["of-the-upstream"]);
    world.gate.clock.advance(NONCE_LIFE / 2);
    let third = world.send(&with_nonce(&world)).await;
    assert_eq!(third.status, 200);
    let [renewed] = third.headers("dpop-nonce")[..] else { panic!("{third:?}") };
    assert!(renewed != nonce && renewed != "of-the-upstream", "{third:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_gate_sets_identity_headers() {
    let spoofed = ["x-auth-subject", "X-AUTH-SUBJECT", "x-auth-team", "X-Auth-Scope", "x-auth-client"];
    let world = World::start().await;
    for target in ["/orders/7?x=1", "/public/a"] {
        let mut ask = world.ask();
        ask.target = target.to_owned();
        ask.headers.extend(spoofed.iter().flat_map(|name| [(*name, b"evil".to_vec()), (*name, b"evil2".to_vec())]));
        assert_eq!(world.send(&ask).await.status, 200);
        let [head] = &world.upstream.take()[..] else { panic!("one request") };
        assert!(!head.contains("evil"), "{head}");
        let public = target.starts_with("/public");
        assert_eq!(fields(head, "x-auth-subject").len(), usize::from(!public), "{head}");
    }
    let mut ask = world.ask();
    ask.headers.push(("x_auth_subject", b"evil".to_vec()));
    assert_eq!(world.send(&ask).await.status, 400);
    world.nothing_arrived("an underscore");

    // Without any help by Envoy.
    let world = World::careless().await;
    for target in ["/orders/7?x=1", "/public/a"] {
        let mut ask = world.ask();
        ask.target = target.to_owned();
        let underscored = ["x_auth_subject", "x-auth_subject", "X_Auth-Subject", "x_auth_team", "x_auth_scope"];
        let spoofed = spoofed.iter().chain(&underscored);
        ask.headers.extend(spoofed.flat_map(|name| [(*name, b"evil".to_vec()), (*name, b"evil2".to_vec())]));
        let reply = world.send(&ask).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let [head] = &world.upstream.take()[..] else { panic!("one request") };
        assert!(!head.contains("evil"), "{head}");
        assert!(field(head, "dpop").is_none() && field(head, "authorization").is_none(), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_slips_past_its_rule() {
    let tricks = [
        "/public/../admin",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/.;/../admin",
        "/public;/../admin",
        "/public/%2e%2e/admin",
        "/public/%2E%2e/admin",
        "/public/.%2e/admin",
        "/public/%2e%2e;/admin",
        "/public/..%3b/admin",
        "/public/a;%2e%2e/admin",
        "/public/..%2fadmin",
        "/public%2f..%2fadmin",
        "/public/..%5cadmin",
        "/public/..\\admin",
        "/public\\..\\admin",
        "/public//../admin",
        "/public/a/..//../admin",
        "//admin",
        "//public/../admin",
        "/public/%252e%252e/admin",
        "/public/..%c0%af/admin",
        "/public/%00/../admin",
        "/public/a%00",
        "/public/a%0d%0aX:%20y",
        "/public/a%3f/../../admin",
        "/public/a%zz",
        "/public/a#/../../admin",
        "/public/./../admin",
        "/./admin",
        "/%61dmin",
        "/ADMIN",
        "/admin/",
        "/public/a?/../../admin",
        "http://evil.example.com/admin",
        "http://api.example.com/admin",
        "*",
        "admin",
    ];
    for world in [World::start().await, World::careless().await] {
        for target in tricks {
            let request = format!("GET {target} HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n");
            let reply = world.envoy.send(request.as_bytes()).await;
            for head in world.upstream.take() {
                let arrived = head.split(' ').nth(1).expect("a target");
                let path = arrived.split('?').next().expect("a path");
                let clear = !path.contains("..") && !path.contains("//") && !path.contains([';', '\\', '%', '#']);
                assert!(path.starts_with("/public/") && clear, "{target} arrived as {arrived}: {reply:?}");
            }
            assert!((200..500).contains(&reply.status), "{target}: {reply:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_header_takes_nothing_away() {
    for world in [World::start().await, World::careless().await] {
        // Envoy removes what it names, before it asks: the credentials are gone.
        let mut ask = world.ask();
        ask.headers.push(("connection", b"dpop, authorization, close".to_vec()));
        let reply = world.send(&ask).await;
        assert_eq!(reply.status, 401);
        assert!(reply.header("www-authenticate").is_some_and(|line| !line.contains("error=")), "{reply:?}");
        world.nothing_arrived("no credentials were left");

        let mut ask = world.ask();
        ask.headers.push(("connection", b"x-auth-subject, close".to_vec()));
        assert_eq!(world.send(&ask).await.status, 200);
        let [head] = &world.upstream.take()[..] else { panic!("one request") };
        assert_eq!(fields(head, "x-auth-subject"), ["ada"]);

        // In an upgrade it would survive to the next hop.
        let mut ask = world.ask();
        ask.headers.push(("connection", b"Upgrade, x-auth-subject".to_vec()));
        ask.headers.push(("upgrade", b"websocket".to_vec()));
        let reply = world.send(&ask).await;
        assert!(matches!(reply.status, 400 | 403), "{reply:?}");
        world.nothing_arrived("an upgrade that names an identity header");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_cross_origin_callers_can_read_a_denial() {
    let world = World::start().await;
    let mut ask = world.ask();
    ask.method = "POST".to_owned();
    ask.target = "/shop.Orders/List".to_owned();
    ask.headers = vec![("content-type", b"application/grpc".to_vec()), ("content-length", b"0".to_vec())];
    for (authorization, status, message) in [
        (vec![], "16", Denial::CredentialsMissing.description()),
        (vec![b"DPoP a".to_vec(), b"DPoP b".to_vec()], "16", Denial::CredentialsRepeated.description()),
    ] {
        ask.authorization = Some(authorization);
        let reply = world.send(&ask).await;
        assert_eq!((reply.status, reply.header("grpc-status")), (200, Some(status)), "{reply:?}");
        let said = reply.header("grpc-message").expect("a message").replace("%20", " ");
        assert_eq!(said, message);
        assert!(reply.header("www-authenticate").is_some());
        world.nothing_arrived("a gRPC call");
    }

    let preflight = "OPTIONS /orders/7 HTTP/1.1\r\nhost: api.example.com\r\norigin: https://app.example.com\r\n\
                     access-control-request-method: GET\r\nconnection: close\r\n\r\n";
    let reply = world.envoy.send(preflight.as_bytes()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-headers"), Some("authorization, content-type, dpop"));
    let mut ask = world.ask();
    ask.authorization = Some(vec![]);
    ask.headers = vec![("origin", b"https://app.example.com".to_vec())];
    let reply = world.send(&ask).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example.com"));
    let exposed = reply.header("access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
    assert!(exposed.contains("www-authenticate") && exposed.contains("dpop-nonce"), "{reply:?}");
    world.nothing_arrived("neither a preflight nor a denial");
}

/// An API that speaks gRPC: every call succeeds and says nothing, but for the headers that came with it.
pub struct Shop {
    pub port: u16,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Shop {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |call: http::Request<Incoming>| {
                    kept.lock().expect("no test panics with the lock").push(call.headers().clone());
                    let answer = http::Response::builder().header("content-type", "application/grpc");
                    let answer = answer.header("grpc-status", "0").body(Empty::<Bytes>::new());
                    async move { answer }
                });
                tokio::spawn(async move {
                    let served = Builder::new(TokioExecutor::new());
                    let _ = served.serve_connection(TokioIo::new(connection), service).await;
                });
            }
        });
        Self { port, seen }
    }

    pub fn take(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut *self.seen.lock().expect("no test panics with the lock"))
    }
}

/// A client that speaks HTTP/2 to Envoy.
async fn http2(port: u16) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("a URL");
    endpoint.origin("http://api.example.com".parse().expect("an origin")).connect().await.expect("a connection")
}

/// Sends a request over HTTP/2.
async fn call(client: &Channel, gate: &Gate, holder: &Holder, ask: &Ask) -> http::Response<tonic::body::Body> {
    let mut request = http::Request::builder().method(ask.method.as_str()).uri(ask.target.as_str());
    for (name, value) in ask.fields(gate, holder) {
        request = request.header(name, value);
    }
    let request = request.body(tonic::body::Body::empty()).expect("a request");
    client.clone().oneshot(request).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_same_passes_and_the_same_does_not() {
    let world = World::start().await;
    let client = http2(world.envoy.port).await;
    let send = async |ask: &Ask| call(&client, &world.gate, &world.ada, ask).await;
    let good = world.ask();
    assert_eq!(send(&good).await.status(), 200);
    let [head] = &world.upstream.take()[..] else { panic!("one request") };
    assert_eq!(fields(head, "x-auth-subject"), ["ada"]);
    assert_eq!((field(head, "dpop"), field(head, "authorization")), (None, None));

    let replayed = send(&good).await;
    assert_eq!(replayed.status(), 401);
    let challenge = replayed.headers()["www-authenticate"].to_str().expect("text");
    assert!(challenge.starts_with(r#"DPoP error="invalid_dpop_proof""#), "{challenge}");
    let mut anonymous = world.ask();
    anonymous.authorization = Some(vec![]);
    assert_eq!(send(&anonymous).await.status(), 401);
    // HTTP/1 has Envoy refuse it; here it arrives, and is another method than GET (RFC 9110 §9.1).
    let mut lower = world.ask();
    lower.method = "get".to_owned();
    lower.proof_claims["htm"] = "get".into();
    assert_eq!(send(&lower).await.status(), 403);
    world.nothing_arrived("none of these may pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_pass_and_are_denied_in_their_own_terms() {
    let gate = Gate::start().await;
    let (shop, ada) = (Shop::start().await, Holder::new("tv"));
    let envoy = Envoy::recommended(&gate.socket, shop.port).await;
    let client = http2(envoy.port).await;
    let ask = || {
        let mut ask = Ask::good(&gate, &ada);
        ask.method = "POST".to_owned();
        ask.target = "/shop.Orders/List".to_owned();
        ask.proof_claims["htm"] = "POST".into();
        ask.proof_claims["htu"] = format!("{API}/shop.Orders/List").into();
        ask.headers = vec![("content-type", b"application/grpc".to_vec()), ("te", b"trailers".to_vec())];
        ask
    };
    let allowed = call(&client, &gate, &ada, &ask()).await;
    assert_eq!((allowed.status().as_u16(), &allowed.headers()["grpc-status"]), (200, &HeaderValue::from_static("0")));
    let [seen] = &shop.take()[..] else { panic!("one call") };
    assert_eq!(seen["x-auth-subject"], "ada");
    assert!(!seen.contains_key("authorization") && !seen.contains_key("dpop"), "{seen:?}");

    let mut anonymous = ask();
    anonymous.authorization = Some(vec![]);
    let mut narrow = ask();
    narrow.token_claims["scope"] = "profile".into();
    for (ask, status, denial) in
        [(anonymous, "16", Denial::CredentialsMissing), (narrow, "7", Denial::ScopeInsufficient)]
    {
        let denied = call(&client, &gate, &ada, &ask).await;
        assert_eq!((denied.status().as_u16(), denied.headers()["grpc-status"].to_str().ok()), (200, Some(status)));
        let message = denied.headers()["grpc-message"].to_str().expect("text").replace("%20", " ");
        assert_eq!(message, denial.description());
        assert!(denied.headers().contains_key("www-authenticate"), "{denied:?}");
    }
    assert_eq!(shop.take().len(), 0, "a denied call arrived");
}

#[tokio::test]
async fn the_authorization_server_is_reached_by_its_own_host_and_without_the_gate() {
    let world = crate::world::World::start().await;
    let port = world.issuer.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let envoy = Envoy::before_issuer(port).await;
    let metadata = "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: auth.example.com\r\n\r\n";
    let reply = envoy.send(metadata.as_bytes()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains(&format!("\"issuer\":\"{}\"", world.issuer)), "{reply:?}");

    let backend = world.client("backend");
    let (form, authorization, _) = backend.bearer_request(world.clock.now(), &CLIENT_CREDENTIALS).into_parts();
    let request = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: auth.example.com\r\nauthorization: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        authorization.expect("Basic credentials"),
        form.len()
    );
    let reply = envoy.send(request.as_bytes()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("\"access_token\""), "{reply:?}");

    let elsewhere = metadata.replace("auth.example.com", "api.example.com");
    assert_eq!(envoy.send(elsewhere.as_bytes()).await.status, 503, "without a gate nothing passes to the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_has_its_body_and_head_has_none() {
    let world = World::start().await;
    let mut ask = world.ask();
    ask.authorization = Some(vec![]);
    let reply = world.send(&ask).await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(reply.body.contains("credentials_missing"), "{reply:?}");
    ask.method = "HEAD".to_owned();
    let head = world.send(&ask).await;
    assert_eq!((head.status, head.body.as_str()), (401, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_tells_why_and_holds_no_credentials() {
    let world = World::start().await;
    let good = world.ask();
    let sent = String::from_utf8(world.wire(&good)).expect("ASCII");
    assert_eq!(world.envoy.send(sent.as_bytes()).await.status, 200);
    assert_eq!(world.envoy.send(sent.as_bytes()).await.status, 401);
    let log = world.envoy.access_log(2).await;
    for text in
        [r#""reason":"allowed""#, r#""reason":"proof_replayed""#, r#""rule":"/orders/**""#, r#""client_id":"tv""#]
    {
        assert!(log.contains(text), "{text} is not in {log}");
    }
    for value in ["authorization", "dpop"].into_iter().flat_map(|name| fields(&sent, name)) {
        for part in value.trim_start_matches("DPoP ").split('.') {
            assert!(!log.contains(part), "{log}");
        }
    }
    assert!(!log.contains("x=1"), "a query is in {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_those_of_the_gate() {
    let world = World::start().await;
    let ask = world.ask();
    world.gate.clock.advance(Duration::from_secs(61));
    assert_eq!(world.send(&ask).await.status, 401, "a stale proof");
    let mut fresh = ask.clone();
    fresh.proof_claims["iat"] = world.gate.now().into();
    fresh.proof_claims["jti"] = fresh_id().into();
    assert_eq!(world.send(&fresh).await.status, 200);
    world.gate.clock.advance(Duration::from_mins(5));
    let reply = world.send(&fresh).await;
    assert!(reply.body.contains(TokenFault::Expired.description()), "{reply:?}");
    assert!(!reply.body.contains(ProofFault::Stale.description()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_behind_the_gate_is_503_even_where_failures_are_let_through() {
    for trouble in [Trouble::NoKeys, Trouble::NoGuard] {
        let gate = Gate::with(trouble).await;
        let upstream = Upstream::start().await;
        let ada = Holder::new("tv");
        let envoy = Envoy::careless(&gate.socket, upstream.port).await;
        let world = World { gate, upstream, envoy, ada };
        let reply = world.send(&world.ask()).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{reply:?}");
        assert_eq!(reply.header("www-authenticate"), None);
        world.nothing_arrived("an outage");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_gate_nothing_passes_and_a_successor_takes_over() {
    let mut world = World::start().await;
    assert_eq!(world.send(&world.ask()).await.status, 200);

    // A second process binds the same name, then the first one ends: no request is lost.
    let folder = world.gate.share_folder();
    let successor = Gate::at(Trouble::Nothing, &world.gate.socket, folder).await;
    let predecessor = std::mem::replace(&mut world.gate, successor);
    predecessor.stop().await;
    let request = world.wire(&world.ask());
    assert_eq!(world.envoy.send(&request).await.status, 200);
    world.upstream.take();

    let request = world.wire(&world.ask());
    let World { gate, upstream, envoy, .. } = world;
    gate.stop().await;
    for _ in 0..2 {
        let reply = envoy.send(&request).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(upstream.take().is_empty(), "the API was reached without the gate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gate_lets_nothing_pass_and_comes_back() {
    let mut sidecar = Sidecar::start().await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::recommended(&sidecar.socket, upstream.port).await;
    let robot = Holder::new("robot");
    let token = sidecar.token(&robot).await;
    assert_eq!(envoy.send(&Sidecar::request(&robot, &token)).await.status, 200);
    assert_eq!(upstream.take().len(), 1);

    let public = b"GET /healthz HTTP/1.1\r\nhost: api.example.com\r\n\r\n";
    sidecar.kill().await;
    for request in [Sidecar::request(&robot, &token), public.to_vec()] {
        let reply = envoy.send(&request).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(upstream.take().is_empty(), "the API was reached without the gate");
    }

    sidecar.restart().await;
    let token = sidecar.token(&robot).await;
    eventually("the gate answers again", async || {
        let mut reply = envoy.send(&Sidecar::request(&robot, &token)).await;
        if let Some(nonce) = reply.header("dpop-nonce").filter(|_| reply.status == 401) {
            // A gate whose memory is new asks for a nonce at first.
            let mut claims = proof_claims("GET", &format!("{API}/orders/7"), &token, SystemClock.now().seconds());
            claims["nonce"] = nonce.into();
            let proof = robot.key.sign_with(&robot.proof_header(), &claims);
            let request = format!(
                "GET /orders/7 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
            );
            reply = envoy.send(request.as_bytes()).await;
        }
        (reply.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_gate_lets_nothing_pass_and_spends_no_proof_too_late() {
    let sidecar = Sidecar::start().await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::recommended(&sidecar.socket, upstream.port).await;
    let robot = Holder::new("robot");
    let token = sidecar.token(&robot).await;
    assert_eq!(envoy.send(&Sidecar::request(&robot, &token)).await.status, 200);
    upstream.take();

    sidecar.stop().await;
    let late = Sidecar::request(&robot, &token);
    let reply = envoy.send(&late).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(upstream.take().is_empty(), "the API was reached without the gate");

    sidecar.go_on().await;
    eventually("the gate answers again", async || {
        let reply = envoy.send(&Sidecar::request(&robot, &token)).await;
        (reply.status == 200).then_some(())
    })
    .await;
    // The question that nobody waited for has not spent its proof.
    assert_eq!(envoy.send(&late).await.status, 200);
}
