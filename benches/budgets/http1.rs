//! As little of an HTTP/1.1 client as will do, so that the load generator leaves the machine to the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A connection that is kept alive.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Insists on success.
    pub(crate) fn expect_ok(self) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.body
    }
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4_096) })
    }

    /// Sends a request and reads its answer, which must tell its length.
    pub(crate) async fn exchange(&mut self, request: &str) -> std::io::Result<Answer> {
        self.stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        loop {
            let read = self.stream.read_buf(&mut self.received).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = whole(&self.received) {
                return Ok(answer);
            }
        }
    }
}

/// The answer, once all of it was received.
fn whole(received: &[u8]) -> Option<Answer> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).expect("a head in ASCII");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
    let body = received.get(end + 4..end + 4 + length)?;
    Some(Answer { status: status.parse().expect("a status code"), body: body.to_vec() })
}

/// Keeps the connections busy for a while with what `request` makes, and gives how many answers came; all of them must be
/// good. `n` is the connection's number.
pub(crate) async fn keep_busy(
    connections: Vec<Connection>,
    turn: Duration,
    request: Arc<dyn Fn(usize) -> String + Send + Sync>,
) -> (Vec<Connection>, usize) {
    let end = Instant::now() + turn;
    let mut tasks = JoinSet::new();
    for (n, mut connection) in connections.into_iter().enumerate() {
        let request = Arc::clone(&request);
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                connection.exchange(&request(n)).await.expect("an answer").expect_ok();
                count += 1;
            }
            (connection, count)
        });
    }
    tasks.join_all().await.into_iter().fold((Vec::new(), 0), |(mut connections, total), (connection, count)| {
        connections.push(connection);
        (connections, total + count)
    })
}
