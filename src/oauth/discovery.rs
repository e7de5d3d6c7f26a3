//! What clients find out before they ask for anything: metadata and keys, where they are, and for how long they may be kept.
//! The HTTP door hands them out, and so does the gate, if it is to.
//!
//! Documents: [RFC 8414](https://www.rfc-editor.org/rfc/rfc8414), OpenID Connect Discovery 1.0, RFC 7517.

use std::time::Duration;

use super::AuthorizationServer;
use super::metadata::JWKS;
use crate::clock::Timestamp;
use crate::document::{PublicDocument, PublicDocuments};

/// How long the metadata may be kept.
const KEEP_METADATA_FOR: Duration = Duration::from_mins(5);

/// One of the documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Discovery {
    /// The metadata (RFC 8414 §2).
    Metadata,
    /// The keys that tokens are verified with (RFC 7517 §5).
    KeySet,
}

impl Discovery {
    /// What is at a path; `base` is the path of the issuer without a trailing slash.
    ///
    /// RFC 8414 §3.1 puts the well-known part before the issuer's path, OpenID Connect Discovery §4 behind it, and clients
    /// try all three.
    #[must_use]
    pub fn at(base: &str, path: &str) -> Option<Self> {
        if path.strip_prefix("/.well-known/oauth-authorization-server") == Some(base)
            || path.strip_prefix("/.well-known/openid-configuration") == Some(base)
        {
            return Some(Self::Metadata);
        }
        match path.strip_prefix(base)? {
            "/.well-known/openid-configuration" => Some(Self::Metadata),
            JWKS => Some(Self::KeySet),
            _ => None,
        }
    }
}

impl AuthorizationServer {
    /// The path of the issuer, without a trailing slash; empty for most.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One of the documents, as it is now.
    #[must_use]
    pub fn discovery(&self, document: Discovery, now: Timestamp) -> PublicDocument {
        match document {
            Discovery::Metadata => PublicDocument::new(&self.metadata(), KEEP_METADATA_FOR),
            Discovery::KeySet => PublicDocument::new(&self.keys.published(now), self.keys.keep_for()),
        }
    }
}

impl PublicDocuments for AuthorizationServer {
    fn document(&self, path: &str, now: Timestamp) -> Option<PublicDocument> {
        Discovery::at(&self.base, path).map(|document| self.discovery(document, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_where_clients_look_and_nowhere_else() {
        let (metadata, keys) = (Some(Discovery::Metadata), Some(Discovery::KeySet));
        for (base, path, expected) in [
            ("", "/.well-known/oauth-authorization-server", metadata),
            ("", "/.well-known/openid-configuration", metadata),
            ("", "/oauth/jwks", keys),
            ("/a", "/.well-known/oauth-authorization-server/a", metadata),
            ("/a", "/.well-known/openid-configuration/a", metadata),
            ("/a", "/a/.well-known/openid-configuration", metadata),
            ("/a", "/a/oauth/jwks", keys),
            ("", "/.well-known/oauth-authorization-server/", None),
            ("", "/.well-known/oauth-authorization-server/a", None),
            ("", "/.well-known/oauth-protected-resource", None),
            ("", "/oauth/jwks/", None),
            ("", "/oauth/token", None),
            ("/a", "/.well-known/oauth-authorization-server", None),
            ("/a", "/a/.well-known/oauth-authorization-server", None),
            ("/a", "/.well-known/openid-configuration", None),
            ("/a", "/oauth/jwks", None),
            ("/a", "/ab/oauth/jwks", None),
        ] {
            assert_eq!(Discovery::at(base, path), expected, "{base} {path}");
        }
    }
}
