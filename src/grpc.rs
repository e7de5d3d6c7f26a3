//! The gRPC doors: that of the gate, with Unix and TCP listeners and `envoy.service.auth.v3.Authorization`, and that of our
//! own API, with one Unix listener and `tollgate.admin.v1`; `grpc.health.v1.Health` at both.
//!
//! Invariant: a socket file is put in place by renaming, so that a proxy never meets a name without a listener behind it,
//! and is removed at the end only if it still is ours.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
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

pub mod admin;
mod check;
mod mutual;
mod question;
mod samples;
mod socket;
mod span;
mod time;

pub use admin::{AdminService, Installation, WATCHERS};
pub use check::CheckService;
pub use mutual::Admission;
use mutual::MutualListener;
pub use socket::Access;
use socket::Socket;

use crate::clock::pause;

/// How many questions one connection may have open at once. More would only wait for a processor, past their deadline.
const STREAMS_PER_CONNECTION: u32 = 1_024;

/// What one question may have in flight before it is read, in bytes: more than any question that is judged.
const STREAM_WINDOW: u32 = 256 * 1_024;

/// The longest head of a gRPC call, in bytes.
const HEAD_LIMIT: u32 = 16 * 1_024;

/// What the paths of health checks begin with.
const HEALTH_PREFIX: &str = "/grpc.health.v1.Health/";

/// What health checks call the gate.
pub const GATE_SERVICE: &str = CheckService::NAME;

/// How many calls of our own API one connection may have open at once.
const ADMIN_STREAMS_PER_CONNECTION: u32 = 64;

/// How long a call of our own API may take.
const ADMIN_DEADLINE: Duration = Duration::from_secs(10);

/// How long calls in flight may take to end once the door closes, unless it is said otherwise.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How long a listener waits after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a door listens: `unix:/path/to/socket`, or `address:port`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenAddress {
    /// A Unix socket at this path.
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

/// Where a gate is asked, and by whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GateListener {
    /// The address.
    pub address: ListenAddress,
    /// Who may connect, if it is a Unix socket.
    pub access: Access,
}

/// The state that health checks see: that of the door as a whole, which is whether it answers, and of each service behind it,
/// which is whether this process is ready for it, too.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    services: &'static [&'static str],
    told: Arc<Mutex<Told>>,
}

/// What is known of a door.
#[derive(Debug)]
struct Told {
    answers: bool,
    ready: bool,
}

impl Health {
    async fn new(services: &'static [&'static str]) -> Self {
        let told = Told { answers: false, ready: true };
        let health = Self { reporter: HealthReporter::new(), services, told: Arc::new(Mutex::new(told)) };
        health.publish(&*health.told.lock().await).await;
        health
    }

    /// Tells health checks whether this process has what it needs to answer well. It has, unless it is said otherwise.
    pub async fn set_ready(&self, ready: bool) {
        let mut told = self.told.lock().await;
        if told.ready != ready {
            told.ready = ready;
            self.publish(&told).await;
        }
    }

    /// Tells health checks that nobody should ask any more, while whoever does is answered.
    pub async fn stop_serving(&self) {
        self.set_answers(false).await;
    }

    async fn set_answers(&self, answers: bool) {
        let mut told = self.told.lock().await;
        told.answers = answers;
        self.publish(&told).await;
    }

    async fn publish(&self, &Told { answers, ready }: &Told) {
        let status = |serving| if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status("", status(answers)).await;
        for service in self.services {
            self.reporter.set_service_status(*service, status(answers && ready)).await;
        }
    }

    /// Tells watchers that nothing is answered any more, and ends their streams: they would last as long as their
    /// connections, and hold up the end of the door.
    async fn end(mut self) {
        self.set_answers(false).await;
        for service in std::iter::once("").chain(self.services.iter().copied()) {
            self.reporter.clear_service_status(service).await;
        }
    }
}

/// Bound listeners that nobody serves yet: calls wait in their queues.
pub struct Door {
    /// Unix listeners.
    unix: Vec<Socket>,
    /// TCP listeners.
    tcp: Vec<TcpIncoming>,
    /// A TCP listener for those with certificates.
    mutual: Option<MutualListener>,
    /// What health checks are told.
    health: Health,
    /// How long calls in flight may take to end once it closes.
    drain: Duration,
}

impl Door {
    /// Binds every address of a gate, or none. Must be called inside a tokio runtime.
    ///
    /// A socket file that is already there is replaced: a new process takes over from an old one without a gap. Health is
    /// `NOT_SERVING` until [`Door::serve`].
    ///
    /// # Errors
    /// The error of the first address that cannot be bound, with the address in its text.
    pub async fn bind(listeners: &[GateListener]) -> io::Result<Self> {
        let mut door = Self::unbound(&[CheckService::NAME]).await;
        for listener in listeners {
            door.listen(listener).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {}: {error}", listener.address))
            })?;
        }
        Ok(door)
    }

    /// Binds the socket of our own API, in the same way.
    ///
    /// # Errors
    /// That of the operating system, with the path in its text.
    pub async fn bind_admin(path: &Path, access: Access) -> io::Result<Self> {
        let mut door = Self::unbound(admin::SERVICES).await;
        let socket = Socket::bind(path, access).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on unix:{}: {error}", path.display()))
        })?;
        door.unix.push(socket);
        Ok(door)
    }

    /// Binds a port of our own API, for those with certificates.
    ///
    /// # Errors
    /// That of the operating system, with the address in its text.
    pub async fn bind_admin_port(address: SocketAddr, admission: Admission) -> io::Result<Self> {
        let mut door = Self::unbound(admin::SERVICES).await;
        let listener = MutualListener::bind(address, admission).await;
        door.mutual = Some(
            listener.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?,
        );
        Ok(door)
    }

    async fn unbound(services: &'static [&'static str]) -> Self {
        let health = Health::new(services).await;
        Self { unix: Vec::new(), tcp: Vec::new(), mutual: None, health, drain: DRAIN_LIMIT }
    }

    /// The same door, whose calls in flight may take so long to end once it closes.
    #[must_use]
    pub fn draining_within(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Binds one more address.
    fn listen(&mut self, listener: &GateListener) -> io::Result<()> {
        match &listener.address {
            ListenAddress::Unix(path) => self.unix.push(Socket::bind(path, listener.access)?),
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

    /// A handle with which to tell health checks more while the door serves.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Answers questions of proxies until `shutdown` is over: then reports `NOT_SERVING`, lets calls in flight end for ten seconds at
    /// most unless it is said otherwise, and removes the socket files that still are its own.
    ///
    /// # Errors
    /// When a listener fails; the others are closed with it.
    pub async fn serve(self, check: CheckService, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        self.run("the gate", &gate_server(), check, shutdown).await
    }

    /// Answers calls of our own API, and ends in the same way.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_admin(self, api: AdminService, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let closing = api.closing();
        let shutdown = async move {
            shutdown.await;
            closing.send_replace(true); // those who watch would hold it up
        };
        self.run("the admin API", &admin_server(), api, shutdown).await
    }

    async fn run<S>(
        self,
        what: &'static str,
        server: &Server,
        service: S,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()>
    where
        S: Behind + Clone + Send + Sync + 'static,
    {
        let Self { unix, tcp, mutual, health, drain: limit } = self;
        let health_service = HealthServer::new(HealthService::from_health_reporter(health.reporter.clone()));
        let services = Services { service, health: health_service };
        let (stop, stopped) = watch::channel(());
        let mut servers = JoinSet::new();
        let mut sockets = Vec::new();
        for socket in unix {
            let (listener, file) = socket.into_parts();
            sockets.push(file);
            let incoming = unhurried(UnixListenerStream::new(listener));
            servers.spawn(server.clone().serve_with_incoming_shutdown(
                services.clone(),
                incoming,
                closed(stopped.clone()),
            ));
        }
        for incoming in tcp.into_iter().map(unhurried) {
            servers.spawn(server.clone().serve_with_incoming_shutdown(
                services.clone(),
                incoming,
                closed(stopped.clone()),
            ));
        }
        if let Some(mutual) = mutual {
            let incoming = mutual.incoming();
            servers.spawn(server.clone().serve_with_incoming_shutdown(
                services.clone(),
                incoming,
                closed(stopped.clone()),
            ));
        }
        health.set_answers(true).await;
        let failed = tokio::select! {
            () = shutdown => None,
            Some(ended) = servers.join_next() => Some(ended),
        };
        health.end().await;
        drop(stop);
        let drain = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, drain).await.is_err() {
            tracing::warn!("calls to {what} did not end within {limit:?} and were cut off");
        }
        drop(sockets);
        match failed {
            None => Ok(()),
            Some(Ok(Ok(()))) => Err(io::Error::other(format!("a listener of {what} closed"))),
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
            tracing::warn!(%error, "a gRPC door cannot accept connections");
        }
        failing = failed;
        async move {
            if failed {
                pause(ACCEPT_PAUSE).await;
            }
            accepted
        }
    })
}

/// A server for the questions of proxies, with our bounds.
fn gate_server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_max_header_list_size(HEAD_LIMIT)
}

/// A server for calls of our own API, with our bounds.
fn admin_server() -> Server {
    Server::builder()
        .max_concurrent_streams(ADMIN_STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_max_header_list_size(HEAD_LIMIT)
        .timeout(ADMIN_DEADLINE)
}

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Never>> + Send>>;

/// What stands behind a door.
trait Behind:
    tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Never, Future = Answering>
{
}

impl<S> Behind for S where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Never, Future = Answering>
{
}

/// The two services behind a door.
#[derive(Clone)]
struct Services<S> {
    /// What the door is for.
    service: S,
    /// Health checks.
    health: HealthServer<HealthService>,
}

impl<S: Behind> tower::Service<http::Request<Body>> for Services<S> {
    type Response = http::Response<Body>;
    type Error = Never;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: http::Request<Body>) -> Self::Future {
        if call.uri().path().starts_with(HEALTH_PREFIX) { self.health.call(call) } else { self.service.call(call) }
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
