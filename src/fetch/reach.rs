//! Which addresses may be asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::look_up;

/// Which addresses may be asked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reach {
    /// Every one: the operator has named the host.
    Anywhere,
    /// Those of the public Internet only: somebody else has named the host, and would have us ask our own network (server-side
    /// request forgery).
    Public,
}

impl Reach {
    /// Whether an address may be asked.
    fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public => is_public(address),
        }
    }

    /// Whether the host of a URL may be asked, as far as that can be told without resolving it: nobody resolves literals.
    pub(super) fn admits_host(self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => self.admits(address),
            Err(_) => self == Self::Anywhere || url.scheme() == "https",
        }
    }
}

/// Whether a URL leads to this machine: `localhost`, or an address of loopback.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == LOCALHOST || address.is_ok_and(|address| address.is_loopback())
}

/// RFC 6761 §6.3: it is always this machine, whatever a resolver says.
const LOCALHOST: &str = "localhost";

/// A name has no address that may be asked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no address of this name may be asked")]
pub(super) struct AddressRefused;

/// Resolves names, and gives only the addresses that may be asked. The connection is made to one of these.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Reach);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let admitted = |address: &SocketAddr| {
                reach.admits(address.ip()) && (name.as_str() != LOCALHOST || address.ip().is_loopback())
            };
            let addresses: Vec<_> = look_up(name.as_str()).await?.into_iter().filter(admitted).collect();
            if addresses.is_empty() {
                return Err(AddressRefused.into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is one of the public Internet: none that IANA's registries of special-purpose addresses (RFC 6890)
/// call not globally reachable, and no multicast.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    );
    !special
}

/// Global unicast is `2000::/3`; within it are documentation, benchmarks and ways back into IPv4.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    match address.segments() {
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002 | 0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("172.32.0.1", true),
            ("2606:4700::1111", true),
            ("::ffff:1.1.1.1", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("127.8.8.8", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().expect("an address")), public, "{address}");
        }
    }

    #[test]
    fn a_literal_is_judged_before_anything_is_sent() {
        let admits = |reach: Reach, url: &str| reach.admits_host(&url.parse().expect("a URL"));
        for url in
            ["https://10.0.0.1/", "https://[::1]/", "https://0x7f.1/", "https://2130706433/", "http://localhost/"]
        {
            assert!(!admits(Reach::Public, url), "{url}");
            assert!(admits(Reach::Anywhere, url), "{url}");
        }
        assert!(admits(Reach::Public, "https://keys.example/"));
    }
}
