//! `GET /.well-known/oauth-authorization-server` (RFC 8414) and `GET /oauth/jwks` (RFC 7517).

use super::{AuthorizationSite, Received, Response, respond};
use crate::oauth::discovery::Discovery;

pub(super) fn discovery(site: &AuthorizationSite, document: Discovery, request: &Received) -> Response {
    respond::document(&site.server.discovery(document, site.clock.now()), request)
}
