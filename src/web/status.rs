//! `GET /oauth/status/{list}` and `GET /oauth/status`: Token Status Lists (draft-ietf-oauth-status-list-20 §8, §9).

use std::time::Duration;

use super::{AuthorizationSite, Received, Response, respond};
use crate::oauth::Error;

/// How long the names of the lists may be kept.
const KEEP_NAMES_FOR: Duration = Duration::from_mins(5);

pub(super) fn list(site: &AuthorizationSite, request: &Received, number: &str) -> Response {
    match site.server.status_list(number, site.clock.now()) {
        Ok(Some((list, ttl))) => respond::status_list(list, ttl, request),
        Ok(None) => respond::not_found(),
        Err(Error::Unavailable(_) | Error::Refused(_) | Error::Throttled { .. }) => respond::unavailable_json(),
    }
}

pub(super) fn aggregation(site: &AuthorizationSite, request: &Received) -> Response {
    site.server
        .status_lists()
        .map_or_else(respond::not_found, |names| respond::document(&names, KEEP_NAMES_FOR, request))
}
