//! A proxy in front that has signed people in, and says so in headers (`login: { header: … }`).
//!
//! Invariant: headers count only on connections from the networks that the operator names. A proxy that lets its callers
//! set these headers lets them be anybody: the operator has to see that it removes them.

use std::net::IpAddr;
use std::str::FromStr;

use super::{AssertionFault, Headers, Person, SignInProxy, Vouched};
use crate::clock::Timestamp;
use crate::jose::Members;

/// The longest name and the longest e-mail address, in bytes.
const TEXT_LIMIT: usize = 320;

/// A network: the addresses that begin with certain bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that names no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an IP address, or a network such as 10.0.0.0/8 or fd00::/8")]
pub struct NetworkFault;

/// Reads an address, or an address, a slash and how many of its bits count; the others must be zero, lest somebody
/// means another network than we read.
impl FromStr for Network {
    type Err = NetworkFault;

    fn from_str(text: &str) -> Result<Self, NetworkFault> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkFault)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = |bits: &&str| !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) => {
                let bits = Some(bits).filter(digits).and_then(|bits| bits.parse().ok());
                bits.filter(|bits| *bits <= most).ok_or(NetworkFault)?
            }
        };
        let network = Self { address, bits };
        let rest = number(address) & !network.mask();
        if rest == 0 { Ok(network) } else { Err(NetworkFault) }
    }
}

impl Network {
    /// Those of this machine.
    pub const LOOPBACK: [Self; 2] = [
        Self { address: IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 0)), bits: 8 },
        Self { address: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), bits: 128 },
    ];

    /// Whether an address is one of the network. An IPv4 address in an IPv6 one is an IPv4 address.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && number(address) & self.mask() == number(self.address)
    }

    /// Whether it holds every address there is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.bits == 0
    }

    /// The bits that count.
    fn mask(&self) -> u128 {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        u128::MAX.checked_shl(width - u32::from(self.bits)).unwrap_or(0) & (u128::MAX >> (128 - width))
    }
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// What the headers of the proxy are called, and from where they count.
#[derive(Clone, Debug)]
pub struct ProxyHeaders {
    /// Who it is.
    pub subject: String,
    /// What they are called.
    pub name: Option<String>,
    /// Their e-mail address.
    pub email: Option<String>,
    /// How well they were recognised.
    pub acr: Option<String>,
    /// When they signed in, in seconds since the epoch.
    pub auth_time: Option<String>,
    /// From where headers count.
    pub from: Vec<Network>,
}

impl SignInProxy for ProxyHeaders {
    fn vouched(&self, from: IpAddr, headers: &dyn Headers) -> Result<Option<Vouched>, AssertionFault> {
        if !self.from.iter().any(|network| network.holds(from)) {
            return Ok(None);
        }
        let optional = |name: &Option<String>| match name {
            Some(name) => one(headers, name),
            None => Ok(None),
        };
        let Some(subject) = one(headers, &self.subject)? else { return Ok(None) };
        let name = optional(&self.name)?.unwrap_or(subject);
        let auth_time = optional(&self.auth_time)?.map(seconds).transpose()?;
        Ok(Some(Vouched {
            person: Person {
                subject: subject.parse().map_err(|_| AssertionFault)?,
                name: short(name)?,
                email: optional(&self.email)?.map(short).transpose()?,
                claims: Members::new(),
            },
            auth_time,
            acr: optional(&self.acr)?.map(str::parse).transpose().map_err(|_| AssertionFault)?,
        }))
    }
}

/// The value of a header that may be there once, and is then not empty.
fn one<'a>(headers: &'a dyn Headers, name: &str) -> Result<Option<&'a str>, AssertionFault> {
    match headers.values(name).as_slice() {
        [] => Ok(None),
        [value] if !value.trim().is_empty() => Ok(Some(value.trim())),
        [_] | [_, _, ..] => Err(AssertionFault),
    }
}

fn short(text: &str) -> Result<String, AssertionFault> {
    if text.len() <= TEXT_LIMIT { Ok(text.to_owned()) } else { Err(AssertionFault) }
}

fn seconds(text: &str) -> Result<Timestamp, AssertionFault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).map(Timestamp::from_seconds).ok_or(AssertionFault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "::1", "127.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            let network: Network = network.parse().expect("a network");
            assert!(network.holds(inside.parse().expect("an address")), "{network:?} {inside}");
            assert!(!network.holds(outside.parse().expect("an address")), "{network:?} {outside}");
        }
        for text in
            ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "fd00::/129", "example.com"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkFault), "{text}");
        }
    }
}
