//! Listening, limits and draining (RFC 9112, RFC 9113).

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

use super::forwarded::Proxies;
use super::request::{self, Peer, Refused, Wanted};
use super::stall::{Watched, Writes};
use super::tls::{self, Tls};
use super::{Response, Site, respond};
use crate::certificate::ClientCertificate;
use crate::clock::pause;

/// Bounds of a door.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// The head of a request: request line and headers, in bytes.
    pub head: usize,
    /// The body of a request, in bytes.
    pub body: usize,
    /// How long a head, and then a body, may take to arrive; and an answer, up to twice as long, to be read on.
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
    tls: Option<Tls>,
    proxies: Proxies,
}

impl Door {
    /// Binds a socket.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn bind(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, limits, tls: None, proxies: Proxies::default() })
    }

    /// The same door, encrypted.
    #[must_use]
    pub fn encrypted(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The same door, behind proxies that are trusted to tell who has asked.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// The address that was bound; tells the port that was given for port 0.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` resolves, then stops accepting and lets requests in flight finish, for as long as the limits
    /// say. Nothing is answered after that.
    pub async fn serve(self, site: Arc<dyn Site>, shutdown: impl Future<Output = ()> + Send) {
        let Self { listener, limits, tls, proxies } = self;
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(limits.connections));
        let mut shutdown = std::pin::pin!(shutdown);
        let open = watch::Sender::new(()); // dropped at the end, and no connection outlives it
        loop {
            let permit = Arc::clone(&permits).acquire_owned();
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = async { (permit.await, listener.accept().await) } => accepted,
            };
            let (Ok(permit), Ok((stream, peer))) = accepted else {
                // Out of descriptors, or the peer is gone already. Let others finish before the next try.
                pause(ACCEPT_PAUSE).await;
                continue;
            };
            let site = Arc::clone(&site);
            let (asked, writes) = (Arc::new(Notify::new()), Arc::new(Writes::default()));
            let _ = stream.set_nodelay(true); // cork nothing, wait for nobody: small answers leave at once
            let connection = {
                let (tls, watcher, writes) = (tls.clone(), graceful.watcher(), Arc::clone(&writes));
                let (asked, proxies) = (Arc::clone(&asked), proxies.clone());
                let served = Served { site, limits, peer: peer.ip(), proxies, certificate: None, asked };
                async move {
                    let Some(tls) = tls else {
                        return watcher.watch(served.connection(Watched::new(stream, writes))).await;
                    };
                    let stream = tls.accept(stream).await?;
                    let served = Served { certificate: tls::presented(&stream), ..served };
                    watcher.watch(served.connection(Watched::new(stream, writes))).await
                }
            };
            let mut open = open.subscribe();
            tokio::spawn(async move {
                tokio::select! {
                    ended = connection => if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    },
                    () = silence(&asked, limits.patience) => tracing::debug!("a connection asked nothing in time"),
                    () = writes.stall(limits.patience) => tracing::debug!("a connection did not read its answers"),
                    _ = open.changed() => tracing::debug!("a connection was cut off"),
                }
                drop(permit);
            });
        }
        drop(listener);
        if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still in flight when the drain time was over");
        }
    }
}

/// Resolves if the head of a first request has not arrived in time. Until it is clear which HTTP a connection speaks, and
/// on one that speaks HTTP/2 and asks nothing, no other limit holds.
async fn silence(asked: &Notify, patience: Duration) {
    if tokio::time::timeout(patience, asked.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// What a connection is served with.
struct Served {
    site: Arc<dyn Site>,
    limits: Limits,
    peer: IpAddr,
    proxies: Proxies,
    /// What the client presented in the handshake.
    certificate: Option<ClientCertificate>,
    asked: Arc<Notify>,
}

impl Served {
    /// One connection: HTTP/1.1 or HTTP/2, by ALPN or, unencrypted, with prior knowledge.
    fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self,
        stream: Watched<S>,
    ) -> impl GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> {
        let Self { site, limits, peer, proxies, certificate, asked } = self;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.patience)
            .max_buf_size(limits.head)
            .max_headers(100);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(20)
            .keep_alive_interval(Some(limits.patience))
            .keep_alive_timeout(limits.patience);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            asked.notify_one();
            let (site, client) =
                (Arc::clone(&site), Peer { address: peer, proxies: proxies.clone(), certificate: certificate.clone() });
            async move { Ok::<_, Infallible>(answer(site, request, client, limits).await) }
        });
        builder.serve_connection(TokioIo::new(stream), service).into_owned()
    }
}

/// A task of its own, so that a defect of ours ends in a bare 500 and not in a broken connection for others.
async fn answer(site: Arc<dyn Site>, request: hyper::Request<Incoming>, peer: Peer, limits: Limits) -> Response {
    let path = request.uri().path().to_owned();
    let stays_open = request.version() > Version::HTTP_11; // other requests share it
    let (_held, wanted) = Wanted::while_held();
    let task = {
        let (site, path) = (Arc::clone(&site), path.clone());
        tokio::spawn(async move {
            match request::receive(request, (peer, wanted), limits).await {
                Ok(received) => site.answer(received).await,
                Err(refused) if stays_open => site.refuse(&path, refused),
                Err(refused) => respond::last(site.refuse(&path, refused)),
            }
        })
    };
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request met a defect of ours");
        site.refuse(&path, Refused::Defect)
    })
}
