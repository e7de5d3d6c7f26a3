//! Connections to gRPC listeners.

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Error, Uri};

use crate::grpc::ListenAddress;

/// Connects to a socket or a port.
///
/// # Errors
/// That of the operating system, or of HTTP/2.
pub(super) async fn connect(address: &ListenAddress) -> Result<Channel, Error> {
    match address {
        ListenAddress::Tcp(address) => Endpoint::from_shared(format!("http://{address}"))?.connect().await,
        ListenAddress::Unix(path) => {
            let path: PathBuf = path.clone();
            let connector = tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            Endpoint::from_static("http://gate").connect_with_connector(connector).await
        }
    }
}
