//! An API that does nothing but show what reaches it, byte for byte, and speaks `WebSocket`.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Answers every request with 200 and the head that arrived, and remembers it.
pub struct Upstream {
    pub port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let upstream = Self { port, seen: seen.clone() };
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, seen.clone()));
            }
        });
        upstream
    }

    /// The heads of all requests that arrived since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("no test panics with the lock"))
    }
}

async fn serve(mut connection: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut connection, &mut buffer).await? {
        let length = field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        while buffer.len() < length {
            if connection.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..length);
        seen.lock().expect("no test panics with the lock").push(head.clone());
        if field(&head, "upgrade") == Some("websocket") {
            // From here on it says again what it hears.
            let opened = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
            connection.write_all(opened).await?;
            let (mut hears, mut says) = connection.split();
            return tokio::io::copy(&mut hears, &mut says).await.map(|_| ());
        }
        let body = if head.starts_with("HEAD ") { "" } else { &head };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndpop-nonce: of-the-upstream\r\ncontent-length: {}\r\n\r\n{body}",
            head.len()
        );
        connection.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Reads up to the empty line; what follows stays in `buffer`.
pub async fn read_head(connection: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.drain(..end + 4).map(char::from).collect();
            return Ok(Some(head));
        }
        if connection.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The value of a header in a head; the names are in lower case when they come from Envoy.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    fields(head, name).first().copied()
}

/// Every value of a header in a head.
pub fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}
