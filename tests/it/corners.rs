//! Requests that few clients send, through the real Envoy: with the configuration that lets them pass at all.

use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tollgate::authz::Denial;

use crate::check::Ask;
use crate::envoy::Envoy;
use crate::envoy_proxy::{Shop, World};
use crate::gate::{API, Gate, Holder};
use crate::upstream::{field, fields, read_head};

/// A place in the recommended configuration, and what is to stand there.
type Change<'a> = (&'a str, &'a str);

const OLD_HTTP: Change<'_> = (
    "codec_type: AUTO\n",
    "codec_type: AUTO\n                http_protocol_options: { accept_http_10: true, default_host_for_http_10: api.example.com }\n",
);

const WEB_SOCKETS: Change<'_> =
    ("codec_type: AUTO\n", "codec_type: AUTO\n                upgrade_configs: [{ upgrade_type: websocket }]\n");

const GRPC_WEB: Change<'_> = (
    "http_filters:\n",
    r#"http_filters:
                  - name: envoy.filters.http.grpc_web
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb }
"#,
);

const TUNNELS: Change<'_> = (
    "                      routes:\n                        # Path parameters",
    r"                      routes:
                        - match: { connect_matcher: {} }
                          route: { cluster: api, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] }
                        # Path parameters",
);

/// A request to open a WebSocket, over which bytes go as they are.
fn web_socket(world: &World) -> Ask {
    let mut ask = world.ask();
    ask.headers = vec![
        ("connection", b"Upgrade".to_vec()),
        ("upgrade", b"websocket".to_vec()),
        ("sec-websocket-version", b"13".to_vec()),
        ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==".to_vec()),
    ];
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_opens_for_good_credentials_and_for_nothing_else() {
    let world = World::changed(&[WEB_SOCKETS]).await;
    let good = world.wire(&web_socket(&world));
    let mut connection = TcpStream::connect(("127.0.0.1", world.envoy.port)).await.expect("a connection");
    connection.write_all(&good).await.expect("a request");
    let mut buffer = Vec::new();
    let head = read_head(&mut connection, &mut buffer).await.expect("an answer").expect("a head");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    connection.write_all(b"both ways").await.expect("an open stream");
    let mut echo = [0; 9];
    connection.read_exact(&mut echo).await.expect("an open stream");
    assert_eq!(&echo, b"both ways");
    let [arrived] = &world.upstream.take()[..] else { panic!("one request") };
    assert_eq!(fields(arrived, "x-auth-subject"), ["ada"]);
    assert!(field(arrived, "dpop").is_none() && field(arrived, "authorization").is_none(), "{arrived}");

    let mut anonymous = web_socket(&world);
    anonymous.authorization = Some(vec![]);
    let mut in_the_query = web_socket(&world);
    in_the_query.authorization = Some(vec![]);
    in_the_query.target = format!("/orders/7?access_token={}", in_the_query.token(&world.gate));
    let mut greedy = web_socket(&world);
    greedy.headers[0].1 = b"Upgrade, x-auth-subject".to_vec();
    for (wire, status) in [
        (good, 401), // again
        (world.wire(&anonymous), 401),
        (world.wire(&in_the_query), 401),
        (world.wire(&greedy), Denial::ConnectionNamesHeaders.status()),
    ] {
        let reply = world.envoy.send(&wire).await;
        assert_eq!(reply.status, status, "{reply:?}");
        world.nothing_arrived("no web socket");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_calls_pass_and_are_denied_in_their_own_terms() {
    let (gate, shop, ada) = (Gate::start().await, Shop::start().await, Holder::new("tv"));
    let socket = gate.socket.to_string_lossy().into_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let changes = [("/run/tollgate/authz.sock", &*socket), GRPC_WEB];
    let envoy = Envoy::of_file("envoy.yaml", shop.port, folder.path(), &changes).await;
    let wire = |authorized: bool| {
        let mut ask = Ask::good(&gate, &ada);
        ask.proof_claims["htm"] = "POST".into();
        ask.proof_claims["htu"] = format!("{API}/shop.Orders/List").into();
        ask.headers = vec![
            ("content-type", b"application/grpc-web+proto".to_vec()),
            ("content-length", b"5".to_vec()),
            ("connection", b"close".to_vec()),
        ];
        if !authorized {
            ask.authorization = Some(vec![]);
        }
        let mut wire = b"POST /shop.Orders/List HTTP/1.1\r\nhost: api.example.com\r\n".to_vec();
        for (name, value) in ask.fields(&gate, &ada) {
            wire.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        [wire, b"\r\n\0\0\0\0\0".to_vec()].concat()
    };
    let allowed = envoy.send(&wire(true)).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    let [seen] = &shop.take()[..] else { panic!("one call") };
    assert_eq!(seen["x-auth-subject"], "ada");
    assert_eq!(seen["content-type"], HeaderValue::from_static("application/grpc"));
    let denied = envoy.send(&wire(false)).await;
    assert_eq!((denied.status, denied.header("grpc-status")), (401, Some("16")), "{denied:?}");
    assert!(denied.header("www-authenticate").is_some(), "{denied:?}");
    assert!(shop.take().is_empty(), "a denied call arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_http_is_not_spoken_and_where_it_is_the_same_rules_hold() {
    let world = World::changed(&[]).await;
    let old = |world: &World, ask: &Ask, host: &str| {
        let wire = String::from_utf8(world.wire(ask)).expect("ASCII");
        wire.replace("HTTP/1.1", "HTTP/1.0").replace("host: api.example.com\r\n", host).into_bytes()
    };
    let reply = world.envoy.send(&old(&world, &world.ask(), "host: api.example.com\r\n")).await;
    assert_eq!(reply.status, 426, "{reply:?}");
    world.nothing_arrived("HTTP/1.0");

    let world = World::changed(&[OLD_HTTP]).await;
    for host in ["host: api.example.com\r\n", ""] {
        let good = old(&world, &world.ask(), host);
        assert_eq!(world.envoy.send(&good).await.status, 200);
        assert_eq!(world.upstream.take().len(), 1);
        let mut anonymous = world.ask();
        anonymous.authorization = Some(vec![]);
        for wire in [good, old(&world, &anonymous, host)] {
            let reply = world.envoy.send(&wire).await;
            assert_eq!(reply.status, 401, "{reply:?}");
            world.nothing_arrived("HTTP/1.0");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_has_no_path_and_is_denied() {
    let world = World::changed(&[TUNNELS]).await;
    let mut ask = world.ask();
    (ask.method, ask.target, ask.host) =
        ("CONNECT".to_owned(), "api.example.com:443".to_owned(), "api.example.com:443".to_owned());
    ask.proof_claims["htm"] = "CONNECT".into();
    let reply = world.envoy.send(&world.wire(&ask)).await;
    assert_eq!(reply.status, Denial::MethodRefused.status(), "{reply:?}");
    world.nothing_arrived("a tunnel");
    let log = world.envoy.access_log(1).await;
    assert!(log.contains("ext_authz_denied") && log.contains(Denial::MethodRefused.name()), "the gate is asked: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_methods_are_judged_by_rules_as_any_other_and_trace_never_passes() {
    let world = World::changed(&[]).await;
    for method in ["QUERY", "PROPFIND", "TRACE", "DELETE"] {
        let mut ask = world.ask();
        ask.method = method.to_owned();
        ask.proof_claims["htm"] = method.into();
        ask.headers = vec![("content-type", b"application/sql".to_vec()), ("content-length", b"0".to_vec())];
        let reply = world.send(&ask).await;
        let denial = if method == "TRACE" { Denial::MethodRefused } else { Denial::NoRule };
        assert_eq!(reply.status, denial.status(), "{method}: {reply:?}");
        assert!(reply.body.contains(denial.name()), "{method}: {reply:?}");
        world.nothing_arrived(method);
    }
    let mut head = world.ask();
    head.method = "HEAD".to_owned();
    head.proof_claims["htm"] = "HEAD".into();
    let reply = world.send(&head).await;
    let denied = !matches!(reply.status, 200);
    assert_eq!(denied, world.upstream.take().is_empty(), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_strange_bytes_are_refused_in_both_encodings_of_headers() {
    for world in [World::changed(&[]).await, World::careless().await] {
        let good = world.ask();
        let proof = |bytes: &[u8]| {
            let mut ask = world.ask();
            ask.proofs = Some(vec![bytes.to_vec()]);
            ask
        };
        let authorization = |bytes: &[u8]| {
            let mut ask = world.ask();
            ask.authorization = Some(vec![bytes.to_vec()]);
            ask
        };
        let token = good.token(&world.gate);
        let spoiled = [format!("DPoP {token}").as_bytes(), b"\xff"].concat();
        for (what, ask) in [
            ("a proof of bytes", proof(b"\xff.\xfe.\xfd")),
            ("two proofs in one line", proof(b"a.b.c,d.e.f")),
            ("a token of bytes", authorization(b"DPoP \xff\xfe")),
            ("a good token and a byte", authorization(&spoiled)),
            ("two tokens in one line", authorization(format!("DPoP {token}, DPoP {token}").as_bytes())),
            ("a large proof", proof(&vec![b'a'; 20_000])),
            ("a large token", authorization(&[b"DPoP ".as_slice(), &vec![b'a'; 40_000]].concat())),
        ] {
            let reply = world.send(&ask).await;
            assert!(matches!(reply.status, 400 | 401 | 431), "{what}: {reply:?}");
            world.nothing_arrived(what);
        }
        // What nobody judges may be of any bytes.
        let mut strange = world.ask();
        strange.headers = vec![("x-note", b"caf\xe9".to_vec())];
        assert_eq!(world.send(&strange).await.status, 200);
        let mut many = world.ask();
        many.headers = vec![("x-note", b"a".to_vec()); 120];
        assert_eq!(world.send(&many).await.status, 431);
        world.upstream.take();
    }
}
