//! Requests over HTTP/2 that no library sends: frames written by hand (RFC 9113, RFC 7541), to the real Envoy.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::check::rows;
use crate::envoy_proxy::World;
use crate::gate_rules::{Behind, Story};
use crate::upstream::{field, fields};

/// What came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Came {
    /// An answer with this status, or with one that is none of 200 and 400.
    Status(Option<u16>),
    /// The stream was reset, or the connection ended.
    Nothing,
}

/// A field that no table is asked about (RFC 7541 §6.2.2).
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(length) if length < 127 => block.push(length),
            _ => {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).expect("seven bits"));
            }
        }
        block.extend_from_slice(text);
    }
}

/// A frame on a stream (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The status at the start of a header block; its two most frequent values are in the static table (RFC 7541 Appendix A).
fn status(mut block: &[u8]) -> Option<u16> {
    while let Some((first, rest)) = block.split_first().filter(|(first, _)| *first & 0xe0 == 0x20) {
        // The table changes its size, which is no field (§6.3).
        let more = if first & 0x1f == 0x1f { rest.iter().take_while(|byte| **byte & 128 != 0).count() + 1 } else { 0 };
        block = &rest[more..];
    }
    match block.first() {
        Some(0x88) => Some(200),
        Some(0x8c) => Some(400),
        _ => None,
    }
}

/// A connection with one request, of these fields, on its first stream.
struct Stream(TcpStream);

/// The end of the fields of a request (RFC 9113 §6.2), and that of the request.
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

impl Stream {
    async fn open(port: u16, fields: &[(&str, Vec<u8>)], flags: u8) -> Self {
        let mut block = Vec::new();
        for (name, value) in fields {
            literal(&mut block, name.as_bytes(), value);
        }
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let settings = frame(4, 0, 0, &[]);
        let wire = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, frame(1, flags, 1, &block)].concat();
        connection.write_all(&wire).await.expect("a request");
        Self(connection)
    }

    /// The kind and the payload of the next frame.
    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("a length")];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], payload))
    }

    async fn came(&mut self) -> Came {
        loop {
            match self.read().await {
                Some((1, payload)) => return Came::Status(status(&payload)),
                Some((3 | 7, _)) | None => return Came::Nothing,
                Some(_) => {}
            }
        }
    }

    /// Sends data, and reads as much.
    async fn echo(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        self.0.write_all(&frame(0, 0, 1, data)).await.ok()?;
        let mut heard = Vec::new();
        while heard.len() < data.len() {
            match self.read().await? {
                (0, payload) => heard.extend(payload),
                (3 | 7, _) => return None,
                _ => {}
            }
        }
        Some(heard)
    }
}

/// Sends a request of these fields, the only one of its connection.
pub async fn send(port: u16, fields: &[(&str, Vec<u8>)]) -> Came {
    Stream::open(port, fields, END_HEADERS | END_STREAM).await.came().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_path_or_with_an_odd_one_gets_nowhere() {
    for world in [World::changed(&[]).await, World::careless().await] {
        let request = |paths: &[&str], htu: Option<&str>| {
            let mut ask = world.ask();
            if let Some(htu) = htu {
                ask.proof_claims["htu"] = htu.into();
            }
            let mut fields = vec![(":method", b"GET".to_vec()), (":scheme", b"http".to_vec())];
            fields.push((":authority", b"api.example.com".to_vec()));
            fields.extend(paths.iter().map(|path| (":path", path.as_bytes().to_vec())));
            fields.extend(world.fields(&ask));
            fields
        };
        assert_eq!(send(world.envoy.port, &request(&["/orders/7"], None)).await, Came::Status(Some(200)));
        assert_eq!(world.upstream.take().len(), 1, "frames of ours are understood");
        for paths in [
            &[][..],
            &[""],
            &["*"],
            &["?x=1"],
            &["orders/7"],
            &["http://api.example.com/orders/7"],
            &["/orders/7", "/orders/8"],
            &["/orders/7", ""],
        ] {
            for htu in [None, Some("https://api.example.com/"), Some("https://api.example.com")] {
                let came = send(world.envoy.port, &request(paths, htu)).await;
                assert_ne!(came, Came::Status(Some(200)), "{paths:?} {htu:?}");
                world.nothing_arrived(&format!("{paths:?} {htu:?}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_request_stays_outside_over_http2_too() {
    // What Envoy does not pass on, or resolves before it asks: requests for /orders/7, and signed as such.
    let harmless = ["other_resource_named", "dot_segment", "parameter"];
    let world = World::changed(&[]).await;
    for row in rows() {
        let mut ask = world.ask();
        (row.spoil)(&mut ask, &world.gate);
        let mut fields = vec![
            (":method", ask.method.clone().into_bytes()),
            (":scheme", b"http".to_vec()),
            (":authority", ask.host.clone().into_bytes()),
            (":path", ask.target.clone().into_bytes()),
        ];
        fields.extend(world.fields(&ask));
        let came = send(world.envoy.port, &fields).await;
        let passes = harmless.contains(&row.name);
        assert_eq!(came == Came::Status(Some(200)), passes, "{}: {came:?}", row.name);
        assert_eq!(world.upstream.take().len(), usize::from(passes), "{}: {came:?}", row.name);
    }
}

/// Envoy makes an upgrade of it (RFC 8441 §4): the gate, and so the proof, has to do with GET.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_over_http2_opens_for_good_credentials_and_for_nothing_else() {
    const SOCKETS: (&str, &str) = (
        "http2_protocol_options:\n                  max_concurrent_streams",
        "upgrade_configs: [{ upgrade_type: websocket }]\n                http2_protocol_options:\n                  \
         allow_connect: true\n                  max_concurrent_streams",
    );
    let request = |world: &World, change: fn(&mut crate::check::Ask)| {
        let mut ask = world.ask();
        change(&mut ask);
        let pseudo = [
            (":method", b"CONNECT".to_vec()),
            (":protocol", b"websocket".to_vec()),
            (":scheme", b"http".to_vec()),
            (":authority", b"api.example.com".to_vec()),
            (":path", b"/orders/7".to_vec()),
        ];
        let version = ("sec-websocket-version", b"13".to_vec());
        pseudo.into_iter().chain(world.fields(&ask)).chain([version]).collect::<Vec<_>>()
    };
    let world = World::changed(&[SOCKETS]).await;
    let good = request(&world, |_| ());
    let mut stream = Stream::open(world.envoy.port, &good, END_HEADERS).await;
    assert_eq!(stream.came().await, Came::Status(Some(200)));
    assert_eq!(stream.echo(b"both ways").await.as_deref(), Some(&b"both ways"[..]));
    let [arrived] = &world.upstream.take()[..] else { panic!("one request") };
    assert_eq!((field(arrived, "upgrade"), fields(arrived, "x-auth-subject")), (Some("websocket"), vec!["ada"]));
    assert!(field(arrived, "dpop").is_none() && field(arrived, "authorization").is_none(), "{arrived}");

    for (what, bad) in [
        ("the same again", good),
        ("no credentials", request(&world, |ask| ask.authorization = Some(vec![]))),
        ("no proof", request(&world, |ask| ask.proofs = Some(vec![]))),
        ("a proof for a tunnel", request(&world, |ask| ask.proof_claims["htm"] = "CONNECT".into())),
        ("another folder", request(&world, |ask| ask.proof_claims["htu"] = "https://api.example.com/admin".into())),
    ] {
        let came = Stream::open(world.envoy.port, &bad, END_HEADERS).await.came().await;
        assert_ne!(came, Came::Status(Some(200)), "{what}");
        world.nothing_arrived(what);
    }
    // Nobody opens one, with whatever credentials, where no upgrade was configured.
    let world = World::changed(&[]).await;
    let came = Stream::open(world.envoy.port, &request(&world, |_| ()), END_HEADERS).await.came().await;
    assert_ne!(came, Came::Status(Some(200)));
    world.nothing_arrived("no web sockets here");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_real_preflight_passes_as_one_over_http2() {
    let resource = r#"
    cors_preflight: pass
    rules: [ { path: /orders/*, methods: [GET], scope: "orders:read" } ]
"#;
    let story = Story::start(resource).await;
    let behind = Behind::envoy(&story).await;
    // From an origin that Envoy knows nothing of, so that Envoy asks.
    let (origin, get) = (("origin", "https://elsewhere.example"), ("access-control-request-method", "GET"));
    for (method, path, more, passes) in [
        ("OPTIONS", "/orders/7", &[origin, get][..], true),
        ("OPTIONS", "/orders/7", &[origin, ("access-control-request-method", "PUT")], false),
        ("OPTIONS", "/other", &[origin, get], false),
        ("OPTIONS", "/orders/7", &[get], false),
        ("OPTIONS", "/orders/7", &[origin], false),
        ("OPTIONS", "/orders/7", &[origin, origin, get], false),
        ("OPTIONS", "/orders/7", &[origin, get, get], false),
        ("OPTIONS", "/orders/7", &[origin, get, ("authorization", "Bearer a")], false),
        // A cookie in one piece, and in two (RFC 9113 §8.2.3).
        ("OPTIONS", "/orders/7", &[origin, get, ("cookie", "session=1")], false),
        ("OPTIONS", "/orders/7", &[origin, get, ("cookie", "a=1"), ("cookie", "b=2")], false),
        ("GET", "/orders/7", &[origin, get], false),
    ] {
        let pseudo = [(":method", method), (":scheme", "http"), (":authority", "api.example.com"), (":path", path)];
        let sent = pseudo.iter().chain(more).map(|(name, value)| (*name, value.as_bytes().to_vec()));
        let came = send(behind.envoy.port, &sent.collect::<Vec<_>>()).await;
        assert_eq!(came == Came::Status(Some(200)), passes, "{method} {path} {more:?}: {came:?}");
        assert_eq!(behind.upstream.take().len(), usize::from(passes), "{method} {path} {more:?}");
    }
}
