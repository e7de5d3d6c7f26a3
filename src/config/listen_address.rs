//! Addresses of the HTTP doors; those of the gate are [`ListenAddress`](crate::grpc::ListenAddress).

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

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

/// A text that is no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an IP address, or a network such as 10.0.0.0/8 whose address is its first")]
pub(super) struct NetworkFault;

/// The network of a proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProxyNetwork(pub(super) IpNet);

impl FromStr for ProxyNetwork {
    type Err = NetworkFault;

    fn from_str(text: &str) -> Result<Self, NetworkFault> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let network: IpNet = text.parse().map_err(|_| NetworkFault)?;
        // Whoever writes 10.0.0.7/8 may have meant one machine, and would trust millions.
        if network.addr() == network.network() { Ok(Self(network)) } else { Err(NetworkFault) }
    }
}
