//! A web server of somebody else's, which counts who connects, and answers what the test has put at its paths.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::upstream::{field, read_head};

/// The server.
pub struct Documents {
    /// Where it is, without a trailing slash.
    pub origin: String,
    shelf: Arc<Mutex<Shelf>>,
}

/// What it answers, and what it was asked.
#[derive(Default)]
pub struct Shelf {
    answers: HashMap<String, Reply>,
    /// How many connections were made.
    pub connections: usize,
    /// The paths that were asked for.
    pub asked: Vec<String>,
    /// The bodies that came, with the paths.
    pub posted: Vec<(String, String)>,
}

/// An answer.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Reply {
    /// A JSON document.
    pub fn json(document: &Value) -> Self {
        Self { status: 200, headers: "content-type: application/json\r\n".to_owned(), body: document.to_string() }
    }

    /// Nothing but a status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: String::new(), body: String::new() }
    }

    /// The same with another header line.
    pub fn with(mut self, header: &str) -> Self {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }
}

impl Documents {
    /// Starts a server that has nothing.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://127.0.0.1:{}", listener.local_addr().expect("an address").port());
        let shelf = Arc::<Mutex<Shelf>>::default();
        let shared = Arc::clone(&shelf);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                shared.lock().expect("no test panics with the lock").connections += 1;
                tokio::spawn(serve(connection, Arc::clone(&shared)));
            }
        });
        Self { origin, shelf }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Puts an answer at a path.
    pub fn put(&self, path: &str, reply: Reply) {
        self.shelf().answers.insert(path.to_owned(), reply);
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.shelf().asked.iter().filter(|asked| *asked == path).count()
    }

    /// What it answers, and what it was asked.
    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no test panics with the lock")
    }
}

async fn serve(mut connection: TcpStream, shelf: Arc<Mutex<Shelf>>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut connection, &mut buffer).await? {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        while buffer.len() < length {
            if connection.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body: String = buffer.drain(..length).map(char::from).collect();
        let reply = {
            let mut shelf = shelf.lock().expect("no test panics with the lock");
            let reply = shelf.answers.get(&path).cloned().unwrap_or_else(|| Reply::status(404));
            if !body.is_empty() {
                shelf.posted.push((path.clone(), body));
            }
            shelf.asked.push(path);
            reply
        };
        let Reply { status, headers, body } = reply;
        let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
        connection.write_all(format!("{head}{body}").as_bytes()).await?;
    }
    Ok(())
}
