//! Names of parties. Equal by code point; never normalised (RFC 8414 §4, RFC 6749 Appendix A).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

mod resources;

pub use resources::Resources;

/// The longest name accepted, in bytes.
pub const NAME_LIMIT: usize = 512;

/// A text that cannot name a party.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameFault {
    /// The text is empty, longer than [`NAME_LIMIT`] or not printable ASCII.
    #[error("must be 1 to 512 printable ASCII characters")]
    Unprintable,
    /// An issuer must be an https URL (or http on loopback) without query and fragment (RFC 8414 §2).
    #[error("must be an https URL, or http on loopback, without query, fragment or trailing slash")]
    NotAnIssuer,
    /// The issuer of somebody else, which may end in a slash.
    #[error("must be an https URL, or http on loopback, without query and fragment")]
    NotAnIssuerName,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it goes over the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameFault;

            fn from_str(text: &str) -> Result<Self, NameFault> {
                printable(text)?;
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The identifier of a client (RFC 6749 §2.2): visible ASCII.
    ClientId, |_| Ok(())
}
name! {
    /// The identifier of a person, or of a client that acts for itself (RFC 9068 §2.2 `sub`).
    Subject, |_| Ok(())
}
name! {
    /// The identifier of an authorization server (RFC 8414 §2): a URL, byte for byte as configured.
    Issuer, issuer
}
name! {
    /// Whoever issues tokens, ourselves or somebody else: what `iss` holds. Unlike our own [`Issuer`] it may end in a slash, as
    /// the names of some do.
    IssuerName, issuer_name
}
name! {
    /// The identifier of a protected resource (RFC 8707 §2): what `aud` of an access token holds.
    Audience, |_| Ok(())
}

name! {
    /// An authentication context class (OpenID Connect Core §2 `acr`): how well a person was recognised.
    Acr, |_| Ok(())
}

fn printable(text: &str) -> Result<(), NameFault> {
    let fits = (1..=NAME_LIMIT).contains(&text.len());
    let visible = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    if fits && visible { Ok(()) } else { Err(NameFault::Unprintable) }
}

fn issuer(text: &str) -> Result<(), NameFault> {
    if is_issuer(text) && !text.ends_with('/') { Ok(()) } else { Err(NameFault::NotAnIssuer) }
}

fn issuer_name(text: &str) -> Result<(), NameFault> {
    if is_issuer(text) { Ok(()) } else { Err(NameFault::NotAnIssuerName) }
}

fn is_issuer(text: &str) -> bool {
    let secure = crate::uri::HttpUri::parse(text).is_ok_and(|url| url.is_https() || url.is_loopback());
    secure && !text.contains(['?', '#', ' '])
}

impl From<&Issuer> for IssuerName {
    fn from(issuer: &Issuer) -> Self {
        Self(Arc::clone(&issuer.0))
    }
}
