//! Listening, limits and draining (RFC 9112, RFC 9113).

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::io::{AsyncReadExt as _, Chain, Join};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::request::{self, Refused};
use super::{Response, Site};

/// Bounds of a door.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// The head of a request: request line and headers, in bytes.
    pub head: usize,
    /// The body of a request, in bytes.
    pub body: usize,
    /// How long a head, and then a body, may take to arrive.
    pub patience: Duration,
    /// How long requests in flight may take to finish after the door was told to close.
    pub drain: Duration,
}

impl Default for Limits {
    /// 4,096 connections, 32 KiB of head, 64 KiB of body, ten seconds of patience, five to drain.
    fn default() -> Self {
        Self {
            connections: 4_096,
            head: 32 * 1024,
            body: 64 * 1024,
            patience: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

/// How long a door waits after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket: bound early, so that a port that is taken stops the start, and served late.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    limits: Limits,
}

impl Door {
    /// Binds a socket.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn bind(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, limits })
    }

    /// The address that was bound; tells the port that was given for port 0.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` resolves, then stops accepting and lets requests in flight finish.
    pub async fn serve(self, site: Arc<dyn Site>, shutdown: impl Future<Output = ()> + Send) {
        let Self { listener, limits } = self;
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(limits.connections));
        let (closing, _) = watch::channel(false);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let permit = Arc::clone(&permits).acquire_owned();
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = async { (permit.await, listener.accept().await) } => accepted,
            };
            let (Ok(permit), Ok((stream, peer))) = accepted else {
                // Out of descriptors, or the peer is gone already. Let others finish before the next try.
                let _ = tokio::time::timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
                continue;
            };
            let site = Arc::clone(&site);
            let (watcher, mut closing) = (graceful.watcher(), closing.subscribe());
            tokio::spawn(async move {
                let greeted = tokio::select! {
                    greeted = tokio::time::timeout(limits.patience, greet(stream)) => greeted,
                    _ = closing.changed() => return, // nothing was asked yet
                };
                let Ok(Ok(greeting)) = greeted else { return };
                let outcome = match greeting.version {
                    Version::Http1 => watcher.watch(serve_http1(greeting, peer, site, limits)).await,
                    Version::Http2 => watcher.watch(serve_http2(greeting, peer, site, limits)).await,
                };
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(permit);
            });
        }
        drop(listener);
        closing.send_replace(true);
        if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still in flight when the drain time was over");
        }
    }
}

/// What the first bytes of a connection say.
enum Version {
    Http1,
    Http2,
}

/// The beginning of a connection, read so far, and the rest of it.
struct Greeting {
    version: Version,
    io: TokioIo<Join<Chain<Cursor<Vec<u8>>, OwnedReadHalf>, OwnedWriteHalf>>,
}

/// What a client that speaks HTTP/2 with prior knowledge sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear which version the client speaks.
///
/// Hyper can tell by itself, but waits for ever for a client that says nothing: whoever opens enough connections would
/// keep everybody else out. The caller sets a limit to this wait.
async fn greet(mut stream: TcpStream) -> io::Result<Greeting> {
    let _ = stream.set_nodelay(true); // small answers leave at once
    let mut first = [0; PREFACE.len()];
    let mut length = 0;
    let version = loop {
        match stream.read(&mut first[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
        match () {
            () if first[..length] != PREFACE[..length] => break Version::Http1,
            () if length == PREFACE.len() => break Version::Http2,
            () => {}
        }
    };
    let (reader, writer) = stream.into_split();
    let reader = Cursor::new(first[..length].to_vec()).chain(reader);
    Ok(Greeting { version, io: TokioIo::new(tokio::io::join(reader, writer)) })
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn serve_http1(
    greeting: Greeting,
    peer: SocketAddr,
    site: Arc<dyn Site>,
    limits: Limits,
) -> impl GracefulConnection<Error = Failure> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .max_buf_size(limits.head)
        .max_headers(100);
    builder.serve_connection(greeting.io, service(peer, site, limits)).into_owned()
}

fn serve_http2(
    greeting: Greeting,
    peer: SocketAddr,
    site: Arc<dyn Site>,
    limits: Limits,
) -> impl GracefulConnection<Error = Failure> {
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .keep_alive_interval(Some(limits.patience))
        .keep_alive_timeout(limits.patience);
    builder.serve_connection(greeting.io, service(peer, site, limits)).into_owned()
}

fn service(
    peer: SocketAddr,
    site: Arc<dyn Site>,
    limits: Limits,
) -> impl Service<hyper::Request<Incoming>, Response = Response, Error = Infallible, Future = Answering> {
    service_fn(move |request: hyper::Request<Incoming>| -> Answering {
        let site = Arc::clone(&site);
        Box::pin(async move { Ok(answer(site, request, peer, limits).await) })
    })
}

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// A task of its own, so that a defect of ours ends in a bare 500 and not in a broken connection for others.
async fn answer(site: Arc<dyn Site>, request: hyper::Request<Incoming>, peer: SocketAddr, limits: Limits) -> Response {
    let path = request.uri().path().to_owned();
    let task = {
        let (site, path) = (Arc::clone(&site), path.clone());
        tokio::spawn(async move {
            match request::receive(request, peer.ip(), limits).await {
                Ok(received) => site.answer(received).await,
                Err(refused) => site.refuse(&path, refused),
            }
        })
    };
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request met a defect of ours");
        site.refuse(&path, Refused::Defect)
    })
}
