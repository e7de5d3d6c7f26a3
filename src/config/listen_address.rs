//! Addresses to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a gRPC door listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressFault {
    /// Not `unix:` and a path, and not an IP address and a port.
    #[error("must be `unix:/path/of/socket`, or an IP address and a port such as 127.0.0.1:9191")]
    Listen,
    /// Not an IP address and a port.
    #[error("must be an IP address and a port, such as 127.0.0.1:8080")]
    Tcp,
}

impl FromStr for ListenAddress {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        match text.strip_prefix("unix:") {
            Some("") => Err(AddressFault::Listen),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressFault::Listen),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An IP address and a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpAddress(pub(super) SocketAddr);

impl FromStr for TcpAddress {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        text.parse().map(Self).map_err(|_| AddressFault::Tcp)
    }
}
