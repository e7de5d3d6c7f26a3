//! Connections over TLS on which both sides have shown certificates.
//!
//! Invariant: nothing that a caller sends is read before its certificate was found to be in order, vouched for, and that of
//! somebody who is named. Whoever has none is hung up on, and the log says why.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::server::Connected;

use super::unhurried;
use crate::certificate::{Authorities, CertificateSubject};
use crate::clock::Clock;
use crate::web::{Tls, presented};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many handshakes may be under way at once; whoever comes then is hung up on.
const HANDSHAKES: usize = 64;

/// Whom a port lets in.
pub struct Admission {
    /// What it encrypts with; must ask for certificates.
    pub tls: Tls,
    /// Who vouches for certificates.
    pub authorities: Authorities,
    /// Whom a certificate must name: one of these.
    pub clients: Vec<CertificateSubject>,
    /// By which certificates are valid.
    pub clock: Arc<dyn Clock>,
}

/// A port at which nobody is served yet.
pub(super) struct MutualListener {
    listener: TcpListener,
    admission: Arc<Admission>,
}

impl MutualListener {
    /// Binds it.
    pub(super) async fn bind(address: SocketAddr, admission: Admission) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, admission: Arc::new(admission) })
    }

    /// Those who are let in, as they come, until nobody takes them any more.
    pub(super) fn incoming(self) -> ReceiverStream<io::Result<Admitted>> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(self.admit(sender));
        ReceiverStream::new(receiver)
    }

    async fn admit(self, admitted: mpsc::Sender<io::Result<Admitted>>) {
        let mut incoming = std::pin::pin!(unhurried(TcpListenerStream::new(self.listener)));
        let room = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let stream = tokio::select! {
                () = admitted.closed() => return,
                accepted = incoming.next() => match accepted {
                    Some(Ok(stream)) => stream,
                    Some(Err(_)) => continue,
                    None => return,
                },
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!("too many callers of the admin API at once shake hands");
                continue;
            };
            let (admission, admitted) = (Arc::clone(&self.admission), admitted.clone());
            tokio::spawn(async move {
                let shaken = tokio::time::timeout(PATIENCE, admission.shake_hands(stream)).await;
                drop(place);
                match shaken.unwrap_or(Err("the handshake took too long")) {
                    Ok(caller) => drop(admitted.send(Ok(caller)).await), // nobody takes it: the door has closed
                    Err(reason) => tracing::warn!(reason, "a caller of the admin API was not let in: {reason}"),
                }
            });
        }
    }
}

impl Admission {
    async fn shake_hands(&self, stream: TcpStream) -> Result<Admitted, &'static str> {
        let _ = stream.set_nodelay(true); // slower without, that is all
        let stream = self.tls.accept(stream).await.map_err(|_| "the handshake failed")?;
        let certificate = presented(&stream).ok_or("no certificate was presented")?;
        if !self.authorities.vouch_for(&certificate, self.clock.now()) {
            return Err("no authority of `client_ca` vouches for the certificate now");
        }
        if !self.clients.iter().any(|client| certificate.names(client)) {
            return Err("the certificate names nobody in `clients`");
        }
        Ok(Admitted { stream, caller: Caller(certificate.thumbprint().to_string().into()) })
    }
}

/// The thumbprint of the certificate of whoever calls.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Arc<str>);

/// A connection of somebody who was let in.
pub(super) struct Admitted {
    stream: TlsStream<TcpStream>,
    caller: Caller,
}

impl Connected for Admitted {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
