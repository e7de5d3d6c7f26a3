//! Who is behind a proxy (`X-Forwarded-For`, `X-Forwarded-Client-Cert`).
//!
//! Invariant: a header counts only from a proxy that the operator trusts. An address is for limits and for people to see, and
//! a certificate is one that the proxy has seen in a handshake. No URI is ever made of either.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::certificate::{ClientCertificate, FORWARDED_CERTIFICATE, forwarded_certificate};

/// The proxies whose word counts.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they are.
    pub networks: Arc<[IpNet]>,
    /// Whether they end TLS and tell of the certificates of clients.
    pub tell_certificates: bool,
}

impl Proxies {
    /// Whether whoever is connected is one of them.
    pub(super) fn trust(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// Whether whoever is connected is a proxy that tells of certificates. Its own certificate is then nobody's.
    pub(super) fn tell_of_certificates(&self, peer: IpAddr) -> bool {
        self.tell_certificates && self.trust(peer)
    }
}

/// The certificate of the client, as the proxy tells of it.
pub(super) fn certificate(headers: &HeaderMap) -> Option<ClientCertificate> {
    forwarded_certificate(headers.get_all(FORWARDED_CERTIFICATE).iter().map(HeaderValue::as_bytes))
}

/// The address that asks: that of the connection, or, behind trusted proxies, the rightmost one in `X-Forwarded-For` that is
/// none of theirs. What stands to the left of it anybody could have written.
pub(super) fn address<'a>(peer: IpAddr, forwarded: impl Iterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut nearest = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(nearest) {
        return nearest;
    }
    let lines: Vec<&str> = forwarded.collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
        if !is_trusted(nearest) {
            break;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_trusted_proxy_has_written_counts() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network")).into();
        for (peer, forwarded, expected) in [
            ("192.0.2.1", vec!["198.51.100.7"], "192.0.2.1"), // nobody that we trust
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", vec!["::ffff:198.51.100.7"], "198.51.100.7"),
            ("fd00::1", vec!["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", vec!["203.0.113.66, 198.51.100.7"], "198.51.100.7"), // the left one is the caller's own word
            ("10.0.0.1", vec!["203.0.113.66", "198.51.100.7,10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", vec!["198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", vec!["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec![""], "10.0.0.1"),
        ] {
            let found = address(peer.parse().expect("an address"), forwarded.iter().copied(), &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().expect("an address"), "{peer} {forwarded:?}");
        }
        let peer = "10.0.0.1".parse().expect("an address");
        assert_eq!(address(peer, ["198.51.100.7"].into_iter(), &[]), peer, "by default nobody is trusted");
    }
}
