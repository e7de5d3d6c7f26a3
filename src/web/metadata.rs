//! `GET /.well-known/oauth-authorization-server` (RFC 8414) and `GET /oauth/jwks` (RFC 7517).

use std::time::Duration;

use super::{AuthorizationSite, Received, Response, respond};

/// How long the metadata may be kept.
const KEEP_METADATA_FOR: Duration = Duration::from_mins(5);

pub(super) fn metadata(site: &AuthorizationSite, request: &Received) -> Response {
    respond::document(&site.server.metadata(), KEEP_METADATA_FOR, request)
}

pub(super) fn key_set(site: &AuthorizationSite, request: &Received) -> Response {
    respond::document(&site.server.key_set(site.clock.now()), site.server.keep_key_set_for(), request)
}
