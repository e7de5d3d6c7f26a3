//! `GET /.well-known/oauth-authorization-server` (RFC 8414) and `GET /oauth/jwks` (RFC 7517).

use super::{AuthorizationSite, Response, respond};

/// How long the metadata may be kept, in seconds.
const METADATA_MAX_AGE: u32 = 300;

/// How long the key set may be kept, in seconds. A key is announced for far longer than this before it signs.
const KEY_SET_MAX_AGE: u32 = 300;

pub(super) fn metadata(site: &AuthorizationSite) -> Response {
    respond::document(&site.server.metadata(), METADATA_MAX_AGE)
}

pub(super) fn key_set(site: &AuthorizationSite) -> Response {
    respond::document(&site.server.key_set(site.clock.now()), KEY_SET_MAX_AGE)
}
