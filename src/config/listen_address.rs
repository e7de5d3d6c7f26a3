//! Addresses of the HTTP doors; those of the gate are [`ListenAddress`](crate::grpc::ListenAddress).

use std::net::SocketAddr;
use std::str::FromStr;

/// A text that is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an IP address and a port, such as 127.0.0.1:8080")]
pub(super) struct AddressFault;

/// An IP address and a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpAddress(pub(super) SocketAddr);

impl FromStr for TcpAddress {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        text.parse().map(Self).map_err(|_| AddressFault)
    }
}
