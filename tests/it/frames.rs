//! Requests over HTTP/2 that no library sends: frames written by hand (RFC 9113, RFC 7541), to the real Envoy.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::envoy_proxy::World;

/// What came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Came {
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

/// Sends a request of these fields, the only one of its connection.
async fn send(port: u16, fields: &[(&str, Vec<u8>)]) -> Came {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name.as_bytes(), value);
    }
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let (settings, end) = (frame(4, 0, 0, &[]), 1 | 4); // of the stream, and of its fields
    let wire = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, frame(1, end, 1, &block)].concat();
    connection.write_all(&wire).await.expect("a request");
    loop {
        let mut head = [0; 9];
        if connection.read_exact(&mut head).await.is_err() {
            return Came::Nothing;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("a length")];
        if connection.read_exact(&mut payload).await.is_err() {
            return Came::Nothing;
        }
        match head[3] {
            1 => return Came::Status(status(&payload)),
            3 | 7 => return Came::Nothing,
            _ => {}
        }
    }
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
