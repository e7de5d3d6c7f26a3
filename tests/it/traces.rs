//! Traces: what a collector gets, whose trace it is in, and what is in no span.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tollgate::clock::{Clock as _, SystemClock};

use crate::client::{CLIENT_CREDENTIALS, Client, http};
use crate::collector::{Collector, attribute, hex};
use crate::envoy::Envoy;
use crate::manifests::objects;
use crate::process::{Installation, Process, run};
use crate::upstream::{Upstream, fields};
use crate::world::SECRET;

/// The trace of a caller, and the span in it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// What spans of questions are called.
const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";

/// Envoy's other tracer, whose headers are those of B3.
const ZIPKIN: &str = r#"
provider:
  name: envoy.tracers.zipkin
  typed_config:
    "@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
    collector_cluster: collector
    collector_endpoint: /api/v2/spans
    collector_endpoint_version: HTTP_JSON
    shared_span_context: false
"#;

/// A request that the gate lets pass, in the trace of these headers, and its token and proof.
async fn good(client: &Client, tracing: &str) -> (Vec<u8>, [String; 2]) {
    let request = [CLIENT_CREDENTIALS[0], ("resource", "https://api.example.com"), ("scope", "orders:read")];
    let answer = client.request(SystemClock.now(), &request).send().await.expect_tokens();
    let token = answer.text("access_token").to_owned();
    let proof = client.resource_proof("GET", "https://api.example.com/orders/1", &token, SystemClock.now());
    let wire = format!(
        "GET /orders/1?hidden=query HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\
         {tracing}\r\n"
    );
    (wire.into_bytes(), [token, proof])
}

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// The tracing of Envoy, as the book says it is set up.
fn tracing_of_the_book() -> String {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let book = std::fs::read_to_string(book).expect("the book");
    let (_, block) = book.split_once("```yaml\ntracing:\n").expect("the tracing of Envoy");
    block.split("```").next().expect("its end").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_of_the_gate_joins_the_trace_of_envoy() {
    let (collector, installation, upstream) = (Collector::start().await, Installation::new(), Upstream::start().await);
    let _process = collector.serving(&installation).await;
    let tracing = objects(&tracing_of_the_book()).remove(0);
    let envoy = Envoy::tracing(tracing, collector.port, &installation.socket(), upstream.port).await;
    let client = installation.client("bound");
    let (wire, [token, proof]) = good(&client, &format!("traceparent: {}\r\n", traceparent())).await;
    assert_eq!([envoy.send(&wire).await.status, envoy.send(&wire).await.status], [200, 401]);

    let checks = collector.named("tollgate", CHECK, 2).await;
    for (span, outcome, reason) in [(&checks[0], "allowed", "allowed"), (&checks[1], "denied", "proof_replayed")] {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_ne!(hex(&span.parent_span_id), CALLER, "Envoy is in between");
        assert_eq!(attribute(span, "tollgate.outcome").as_deref(), Some(outcome));
        assert_eq!(attribute(span, "tollgate.reason").as_deref(), Some(reason));
        assert_eq!(attribute(span, "tollgate.resource").as_deref(), Some("https://api.example.com"));
        assert_eq!(attribute(span, "tollgate.client_id").as_deref(), Some("bound"));
        assert_eq!(span.status.as_ref().map_or(0, |status| status.code), 0, "a denial is no error");
    }
    for check in &checks {
        collector.until_it_has_span("envoy", &check.parent_span_id).await;
    }
    let heads = upstream.take();
    let [head] = &heads[..] else { panic!("one request has arrived: {heads:?}") };
    assert!(head.contains(&format!("traceparent: 00-{TRACE}-")), "{head}");
    for secret in [token, proof] {
        assert!(!collector.everything().contains(&secret), "a span holds {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_of_the_gate_joins_a_trace_that_envoy_passes_on_by_b3() {
    let (collector, installation, upstream) = (Collector::start().await, Installation::new(), Upstream::start().await);
    let _process = collector.serving(&installation).await;
    let tracing = objects(ZIPKIN).remove(0);
    let envoy = Envoy::tracing(tracing, collector.port, &installation.socket(), upstream.port).await;
    let b3 = format!("x-b3-traceid: {TRACE}\r\nx-b3-spanid: {CALLER}\r\nx-b3-sampled: 1\r\n");
    let (wire, _) = good(&installation.client("bound"), &b3).await;
    assert_eq!(envoy.send(&wire).await.status, 200);
    let checks = collector.named("tollgate", CHECK, 1).await;
    assert_eq!(hex(&checks[0].trace_id), TRACE);
    collector.until_it_holds(&format!(r#""id":"{}""#, hex(&checks[0].parent_span_id))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anybody_says_of_a_trace_is_a_link_and_no_span_holds_a_secret() {
    let (collector, installation, upstream) = (Collector::start().await, Installation::new(), Upstream::start().await);
    let process = collector.serving(&installation).await;
    let envoy = Envoy::recommended(&installation.socket(), upstream.port).await; // which does not trace
    let client = installation.client("bound");
    // Who says that nothing is to be recorded does not keep himself out of the record.
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let tracing = format!("traceparent: {unsampled}\r\ntracestate: hidden=state\r\nbaggage: hidden=baggage\r\n");
    let (wire, [token, proof]) = good(&client, &tracing).await;
    assert_eq!(envoy.send(&wire).await.status, 200);
    let get = |path: &str| {
        let request = http().get(format!("{}{path}", installation.issuer));
        request.header("traceparent", &unsampled).header("tracestate", "hidden=state").send()
    };
    get("/oauth/authorize?client_id=hidden").await.expect("an answer");
    get("/.well-known/oauth-authorization-server").await.expect("an answer");

    let checks = collector.named("tollgate", CHECK, 1).await;
    let authorize = collector.named("tollgate", "GET /oauth/authorize", 1).await;
    for span in [&checks[0], &authorize[0]] {
        assert!(span.parent_span_id.is_empty(), "{span:?}");
        assert_ne!(hex(&span.trace_id), TRACE);
        let [link] = &span.links[..] else { panic!("{span:?}") };
        assert_eq!((hex(&link.trace_id), hex(&link.span_id)), (TRACE.to_owned(), CALLER.to_owned()));
    }
    let tokens = collector.named("tollgate", "POST /oauth/token", 1).await;
    assert_eq!(attribute(&tokens[0], "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(&tokens[0], "http.route").as_deref(), Some("/oauth/token"));
    assert!(tokens[0].parent_span_id.is_empty() && tokens[0].links.is_empty());
    collector.named("tollgate", "GET /.well-known", 1).await;
    assert_eq!(collector.sender("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));

    // The last spans come with the end.
    get("/secret-path").await.expect("an answer");
    process.signal("TERM").await;
    let (status, said) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    collector.named("tollgate", "GET other", 1).await;
    let everything = collector.everything();
    for secret in [&*token, &proof, "hidden", "secret-path", SECRET] {
        assert!(!everything.contains(secret), "a span holds {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_does_not_trace_hands_on_what_callers_say_of_their_traces_byte_for_byte() {
    let (collector, installation, upstream) = (Collector::start().await, Installation::new(), Upstream::start().await);
    let _process = collector.serving(&installation).await;
    let envoy = Envoy::recommended(&installation.socket(), upstream.port).await;
    let client = installation.client("bound");
    let future = format!("cc-{TRACE}-{CALLER}-ff-what-a-later-version-adds");
    for (parents, states) in [
        (&[&*traceparent()][..], &["shop=00f067aa0ba902b7,other=t61rcWkgMzE"][..]),
        (&[&*format!("00-{TRACE}-{CALLER}-00")], &["a@b=!\"#$%&'()*+-./:;<>?@[]^_`{|}~ x", "second=line"]),
        (&[&*future], &[",,  odd = spaces ,\t,"]),
        (&["00-nonsense", &*traceparent()], &["no-value", ""]),
        (&[], &["without=a-parent"]),
    ] {
        let line = |name: &'static str| move |value: &&str| format!("{name}: {value}\r\n");
        let lines: String =
            parents.iter().map(line("traceparent")).chain(states.iter().map(line("tracestate"))).collect();
        let (wire, _) = good(&client, &lines).await;
        assert_eq!(envoy.send(&wire).await.status, 200, "{lines}");
        let [head] = &upstream.take()[..] else { panic!("one request: {lines}") };
        assert_eq!(fields(head, "traceparent"), parents, "{head}");
        assert_eq!(fields(head, "tracestate"), states.iter().map(|state| state.trim()).collect::<Vec<_>>(), "{head}");
    }
    assert_eq!(collector.named("tollgate", CHECK, 5).await.len(), 5, "each has a span of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_envoy_that_traces_tells_the_api_is_its_own_word() {
    let (collector, installation, upstream) = (Collector::start().await, Installation::new(), Upstream::start().await);
    let _process = collector.serving(&installation).await;
    let tracing = objects(&tracing_of_the_book()).remove(0);
    let envoy = Envoy::tracing(tracing, collector.port, &installation.socket(), upstream.port).await;
    let state = "shop=00f067aa0ba902b7,other=t61rcWkgMzE";
    let lines = format!("traceparent: {}\r\ntracestate: {state}\r\n", traceparent());
    let (wire, _) = good(&installation.client("bound"), &lines).await;
    assert_eq!(envoy.send(&wire).await.status, 200);
    let [head] = &upstream.take()[..] else { panic!("one request") };
    let [parent] = fields(head, "traceparent")[..] else { panic!("one line: {head}") };
    let parts: Vec<_> = parent.split('-').collect();
    let [version, trace, span, sampled] = parts[..] else { panic!("{parent}") };
    assert_eq!((version, trace, sampled), ("00", TRACE, "01"));
    assert_eq!(fields(head, "tracestate"), [state], "{head}");
    // The span is one of Envoy's, and none of ours.
    let id: Vec<u8> = (0..8).map(|at| u8::from_str_radix(&span[2 * at..2 * at + 2], 16).expect("digits")).collect();
    collector.until_it_has_span("envoy", &id).await;
    let checks = collector.named("tollgate", CHECK, 1).await;
    assert!(span != CALLER && span != hex(&checks[0].span_id), "{parent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_through_a_trusted_proxy_join_its_trace_or_stay_unrecorded_with_it() {
    let (collector, installation) = (Collector::start().await, Installation::new());
    let trusted = "listen.public.trusted_proxies=[\"127.0.0.1\"]";
    let _process = Process::start(collector.traced(&installation, &["--set", trusted])).await;
    let get = |path: &str, header: (&str, String)| {
        http().get(format!("{}{path}", installation.issuer)).header(header.0, header.1).send()
    };
    get("/activate", ("traceparent", format!("00-{TRACE}-{CALLER}-00"))).await.expect("an answer");
    get("/oauth/jwks", ("traceparent", traceparent())).await.expect("an answer");
    get("/oauth/userinfo", ("b3", format!("{TRACE}-{CALLER}-1"))).await.expect("an answer");
    for name in ["GET /oauth/jwks", "GET /oauth/userinfo"] {
        let [span] = &collector.named("tollgate", name, 1).await[..] else { panic!("one span") };
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), CALLER.to_owned()));
        assert!(span.links.is_empty());
    }
    assert!(!collector.everything().contains("/activate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variables_of_the_standard_say_where_to_and_what() {
    let (collector, installation) = (Collector::start().await, Installation::new());
    let mut command = collector.traced(&installation, &[]);
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    command.env("OTEL_SERVICE_NAME", "gate-of-the-shop");
    command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop");
    let process = Process::start(command).await;
    http().get(format!("{}/oauth/jwks", installation.issuer)).send().await.expect("an answer");
    collector.named("gate-of-the-shop", "GET /oauth/jwks", 1).await;
    assert_eq!(collector.sender("deployment.environment.name").as_deref(), Some("test"));
    assert!(collector.has_header("content-type", "application/grpc"));
    assert!(collector.has_header("x-tenant", "shop"));
    process.signal("TERM").await;
    let (status, said) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_encrypted_to_a_collector_that_somebody_vouches_for_who_counts() {
    let installation = Installation::new();
    let write = |name: &str, pem: String| {
        std::fs::write(installation.path(name), pem).expect("a file");
        installation.path(name)
    };
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (server, client) = (made("localhost"), made("tollgate"));
    let authority = write("ca.pem", server.cert.pem());
    let (certificate, key) =
        (write("gate.pem", client.cert.pem()), write("gate.key", client.signing_key.serialize_pem()));
    let mut callers = RootCertStore::empty();
    callers.add(client.cert.der().clone()).expect("a certificate");
    let callers = WebPkiClientVerifier::builder(Arc::new(callers)).build().expect("a verifier");
    let own_key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).expect("a key");
    let tls = ServerConfig::builder().with_client_cert_verifier(callers);
    let tls = tls.with_single_cert(vec![server.cert.der().clone()], own_key).expect("a certificate and its key");
    let collector = Collector::over_tls(tls).await;
    let command = |protocol: &str, arguments: &[&str]| {
        let mut command = collector.traced(&installation, arguments);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://localhost:{}", collector.port));
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).env("OTEL_SERVICE_NAME", protocol);
        command.env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate).env("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key);
        command
    };
    let jwks = format!("{}/oauth/jwks", installation.issuer);
    for protocol in ["grpc", "http/protobuf"] {
        let mut by_variable = command(protocol, &[]);
        by_variable.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority);
        let by_file = command(protocol, &["--set", "tls.roots=\"ca.pem\""]);
        for (number, command) in [by_variable, by_file].into_iter().enumerate() {
            let process = Process::start(command).await;
            http().get(&jwks).send().await.expect("an answer");
            collector.named(protocol, "GET /oauth/jwks", number + 1).await;
            process.kill().await;
        }

        // Nobody whom this machine trusts has signed its certificate; and it wants to see one of ours.
        let mut unknown = command(protocol, &[]);
        unknown.env("OTEL_SERVICE_NAME", "unknown");
        let mut anonymous = command(protocol, &[]);
        anonymous.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority).env("OTEL_SERVICE_NAME", "unknown");
        anonymous.env_remove("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE").env_remove("OTEL_EXPORTER_OTLP_CLIENT_KEY");
        for command in [unknown, anonymous] {
            let process = Process::start(command).await;
            http().get(&jwks).send().await.expect("an answer");
            process.until_it_says("spans are dropped: the collector does not take them").await;
            process.kill().await;
        }
    }
    assert!(!collector.everything().contains("unknown"));

    // What cannot be right is said at the start.
    for (name, value, complaint) in [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "nowhere.pem", "cannot read `nowhere.pem`"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "", "must be set both or not at all"),
    ] {
        let output = run(command("grpc", &[]).env(name, value)).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(complaint), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_the_environment_turns_it_off() {
    for (name, value) in
        [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")]
    {
        let (collector, installation) = (Collector::start().await, Installation::new());
        let mut command = collector.traced(&installation, &[]);
        command.env(name, value);
        let process = Process::start(command).await;
        installation.client("backend").request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
        process.signal("TERM").await;
        assert_eq!(process.ended().await.0.code(), Some(0));
        assert_eq!(collector.everything(), "", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_collector_that_is_away_or_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let taker = std::thread::spawn(move || silent.accept().map(|(mut connection, _)| connection.read(&mut [0; 16])));
    for (port, protocol) in [(9, "http/protobuf"), (9, "grpc"), (port, "http/protobuf")] {
        let installation = Installation::new();
        let mut command = installation.serve(&[]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"));
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        command.env("OTEL_BSP_SCHEDULE_DELAY", "20").env("OTEL_BSP_MAX_QUEUE_SIZE", "8");
        let process = Process::start(command).await;
        for _ in 0..40 {
            let client = installation.client("backend");
            client.request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
        }
        if port == 9 {
            process.until_it_says("spans are dropped: the collector does not take them").await;
        }
        process.signal("TERM").await;
        let (status, said) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.matches("spans are dropped").count() <= 1, "said once, and not for every batch: {said}");
    }
    taker.join().expect("no panic").expect("a connection").expect("bytes");
}
