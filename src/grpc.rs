//! The gRPC door of the gate: Unix and TCP listeners, `envoy.service.auth.v3.Authorization` and `grpc.health.v1.Health`.
//!
//! Invariant: a socket file is put in place by renaming, so that a proxy never meets a name without a listener behind it,
//! and is removed at the end only if it still is ours.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::server::NamedService as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

mod check;
mod question;
mod socket;

pub use check::CheckService;
use socket::Socket;

/// How many questions one connection may have open at once. More would only wait for a processor, past their deadline.
const STREAMS_PER_CONNECTION: u32 = 1_024;

/// What one question may have in flight before it is read, in bytes: more than any question that is judged.
const STREAM_WINDOW: u32 = 256 * 1_024;

/// The longest head of a gRPC call, in bytes.
const HEAD_LIMIT: u32 = 16 * 1_024;

/// What the paths of health checks begin with.
const HEALTH_PREFIX: &str = "/grpc.health.v1.Health/";

/// How long calls in flight may take to end once the door closes.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How long a listener waits after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a door listens: `unix:/path/to/socket`, or `address:port`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenAddress {
    /// A Unix socket at this path, for owner and group (mode 0660).
    Unix(PathBuf),
    /// A TCP address. Whoever reaches it can ask, and spend proofs that he knows: loopback, or a network of one's own.
    Tcp(SocketAddr),
}

/// A text that is no listening address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be `unix:/path/of/socket`, or an IP address and a port such as 127.0.0.1:9191")]
pub struct ListenFault;

impl FromStr for ListenAddress {
    type Err = ListenFault;

    fn from_str(text: &str) -> Result<Self, ListenFault> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() && !path.ends_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(ListenFault),
            None => text.parse().map(Self::Tcp).map_err(|_| ListenFault),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// The state that health checks see: that of the door as a whole, and of the one service behind it.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    /// Tells health checks whether questions are answered.
    pub async fn set(&self, status: ServingStatus) {
        for service in ["", CheckService::NAME] {
            self.0.set_service_status(service, status).await;
        }
    }

    /// Tells watchers that nothing is answered any more, and ends their streams: they would last as long as their
    /// connections, and hold up the end of the door.
    async fn end(mut self) {
        self.set(ServingStatus::NotServing).await;
        for service in ["", CheckService::NAME] {
            self.0.clear_service_status(service).await;
        }
    }
}

/// Bound listeners that nobody serves yet: calls wait in their queues.
pub struct Door {
    /// Unix listeners.
    unix: Vec<Socket>,
    /// TCP listeners.
    tcp: Vec<TcpIncoming>,
    /// What health checks are told.
    health: Health,
}

impl Door {
    /// Binds every address, or none. Must be called inside a tokio runtime.
    ///
    /// A socket file that is already there is replaced: a new process takes over from an old one without a gap. Health is
    /// `NOT_SERVING` until [`Door::serve`].
    ///
    /// # Errors
    /// The error of the first address that cannot be bound, with the address in its text.
    pub async fn bind(addresses: &[ListenAddress]) -> io::Result<Self> {
        let mut door = Self { unix: Vec::new(), tcp: Vec::new(), health: Health(HealthReporter::new()) };
        for address in addresses {
            door.listen(address)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        }
        door.health.set(ServingStatus::NotServing).await;
        Ok(door)
    }

    /// Binds one more address.
    fn listen(&mut self, address: &ListenAddress) -> io::Result<()> {
        match address {
            ListenAddress::Unix(path) => self.unix.push(Socket::bind(path)?),
            ListenAddress::Tcp(address) => self.tcp.push(TcpIncoming::bind(*address)?.with_nodelay(Some(true))),
        }
        Ok(())
    }

    /// The TCP addresses that were bound, with their real ports.
    ///
    /// # Errors
    /// That of the operating system.
    pub fn tcp_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(TcpIncoming::local_addr).collect()
    }

    /// The Unix sockets that were bound.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        self.unix.iter().map(|socket| socket.path().to_owned()).collect()
    }

    /// A handle with which to report outages to health checks while the door serves.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Answers calls until `shutdown` is over: then reports `NOT_SERVING`, lets calls in flight end for ten seconds at
    /// most, and removes the socket files that still are its own.
    ///
    /// # Errors
    /// When a listener fails; the others are closed with it.
    pub async fn serve(self, check: CheckService, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { unix, tcp, health } = self;
        let health_service = HealthServer::new(HealthService::from_health_reporter(health.0.clone()));
        let services = Services { check, health: health_service };
        let (stop, stopped) = watch::channel(());
        let mut servers = JoinSet::new();
        let mut sockets = Vec::new();
        for socket in unix {
            let (listener, file) = socket.into_parts();
            sockets.push(file);
            let incoming = unhurried(UnixListenerStream::new(listener));
            servers.spawn(server().serve_with_incoming_shutdown(services.clone(), incoming, closed(stopped.clone())));
        }
        for incoming in tcp.into_iter().map(unhurried) {
            servers.spawn(server().serve_with_incoming_shutdown(services.clone(), incoming, closed(stopped.clone())));
        }
        health.set(ServingStatus::Serving).await;
        let failed = tokio::select! {
            () = shutdown => None,
            Some(ended) = servers.join_next() => Some(ended),
        };
        health.end().await;
        drop(stop);
        let drain = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, drain).await.is_err() {
            tracing::warn!("calls to the gate did not end within {DRAIN_LIMIT:?} and were cut off");
        }
        drop(sockets);
        match failed {
            None => Ok(()),
            Some(Ok(Ok(()))) => Err(io::Error::other("a listener of the gate closed")),
            Some(Ok(Err(error))) => Err(io::Error::other(error)),
            Some(Err(error)) => Err(io::Error::other(error)),
        }
    }
}

/// Connections as they arrive, with a pause after each that could not be accepted: while the process is out of descriptors
/// the kernel goes on to announce it, and to try at once would take a whole processor.
fn unhurried<T>(incoming: impl Stream<Item = io::Result<T>>) -> impl Stream<Item = io::Result<T>> {
    let mut failing = false;
    incoming.then(move |accepted| {
        let failed = accepted.is_err();
        if let Some(error) = accepted.as_ref().err().filter(|_| !failing) {
            tracing::warn!(%error, "the gate cannot accept connections");
        }
        failing = failed;
        async move {
            if failed {
                let _ = tokio::time::timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
            }
            accepted
        }
    })
}

/// A server with our bounds.
fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_max_header_list_size(HEAD_LIMIT)
}

/// The two services behind the door.
#[derive(Clone)]
struct Services {
    /// Questions of proxies.
    check: CheckService,
    /// Health checks.
    health: HealthServer<HealthService>,
}

impl tower::Service<http::Request<Body>> for Services {
    type Response = http::Response<Body>;
    type Error = Never;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Never>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: http::Request<Body>) -> Self::Future {
        if call.uri().path().starts_with(HEALTH_PREFIX) { self.health.call(call) } else { self.check.call(call) }
    }
}

/// Is over when the sender is gone.
async fn closed(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

/// The error of services that always have an answer.
type Never = Infallible;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_cannot_be_accepted_is_no_reason_to_hurry() {
        let accepted = [Ok(1), Err(io::Error::from(io::ErrorKind::Other)), Ok(2)];
        let mut incoming = std::pin::pin!(unhurried(tokio_stream::iter(accepted)));
        let began = Instant::now();
        assert!(matches!(incoming.next().await, Some(Ok(1))));
        assert!(matches!(incoming.next().await, Some(Err(_))));
        assert!(began.elapsed() >= ACCEPT_PAUSE);
        assert!(matches!(incoming.next().await, Some(Ok(2))));
    }

    #[test]
    fn addresses_are_sockets_or_ports() {
        for text in ["unix:/run/tollgate/authz.sock", "127.0.0.1:9191", "[::1]:0"] {
            assert_eq!(text.parse::<ListenAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "unix:", "unix:/run/", "localhost:1", "127.0.0.1", ":9191"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(ListenFault), "{text}");
        }
    }
}
