//! The HTTP door itself: whoever says nothing, or too much, costs nobody else anything.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tollgate::web::{Door, Limits, Received, Response, Site};

use crate::world::World;

/// A site that answers everything with nothing.
struct Empty;

#[async_trait]
impl Site for Empty {
    async fn answer(&self, _: Received) -> Response {
        Response::default()
    }
}

/// A door whose patience is short.
async fn impatient() -> std::net::SocketAddr {
    let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
    let door = Door::bind(([127, 0, 0, 1], 0).into(), limits).await.expect("a port");
    let address = door.address().expect("an address");
    tokio::spawn(door.serve(Arc::new(Empty), std::future::pending()));
    address
}

#[tokio::test]
async fn who_says_nothing_or_never_ends_is_shut_out() {
    let address = impatient().await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n\r\n", "GET / HT", "GET /livez HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(beginning.as_bytes()).await.expect("a beginning");
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "still open after {beginning:?}");
    }
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_form_that_is_too_large_gets_a_page_where_people_are() {
    let world = World::start().await;
    let http = crate::client::http();
    for (path, content_type) in [("/oauth/authorize", "text/html; charset=utf-8"), ("/oauth/token", "application/json")]
    {
        let form = [("state", "x".repeat(70_000))];
        let answer = http.post(format!("{}{path}", world.issuer)).form(&form).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 413);
        assert_eq!(answer.headers()["content-type"], content_type);
    }
}

#[tokio::test]
async fn a_document_that_the_caller_has_is_not_sent_again() {
    let world = World::start().await;
    let http = crate::client::http();
    for path in ["/oauth/jwks", "/.well-known/oauth-authorization-server"] {
        let url = format!("{}{path}", world.issuer);
        let first = http.get(&url).send().await.expect("an answer");
        assert_eq!(first.status().as_u16(), 200);
        let tag = first.headers()["etag"].clone();
        let second = http.get(&url).header("if-none-match", tag).send().await.expect("an answer");
        assert_eq!((second.status().as_u16(), second.text().await.expect("a body").as_str()), (304, ""));
    }
}
