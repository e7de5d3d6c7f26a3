//! The target URI of a proof (RFC 9449 §4.2 `htu`).

use std::fmt;

use crate::uri::{HttpUri, Origin, UriFault};

/// A target URI in normal form, without query and fragment (RFC 9449 §4.3-9, RFC 3986 §6.2.2 and §6.2.3).
///
/// Both sides of the comparison are made in this way: what the client signed, and what we expect from the configured
/// origin and the path of the request. Nothing a client sends in `Host` or `X-Forwarded-*` has a part in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Htu<'a>(HttpUri<'a>);

impl<'a> Htu<'a> {
    /// Reads the `htu` of a proof.
    ///
    /// # Errors
    /// [`UriFault`] when it is no absolute http(s) URI.
    pub fn parse(text: &'a str) -> Result<Self, UriFault> {
        HttpUri::parse(text).map(Self)
    }

    /// What a request with this path at this origin must have been signed for. The query of `path` is ignored.
    ///
    /// # Errors
    /// [`UriFault::Path`].
    pub fn at(origin: &'a Origin, path: &'a str) -> Result<Self, UriFault> {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        HttpUri::at(origin, &path[..end]).map(Self)
    }

    /// The path in normal form.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path()
    }
}

impl fmt::Display for Htu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
