//! `GET /oauth/status/{list}` and `GET /oauth/status`: Token Status Lists (draft-ietf-oauth-status-list-20 §8, §9).
//!
//! Whoever has a list (`If-None-Match`) and is willing to wait (`Prefer: wait`, RFC 7240 §4.3) is answered when there is
//! another one, or with 304 when the time is over. `Preference-Applied` says that it works so; without it, as where too many
//! wait from the same address, somebody who asks again at once is answered at once.

use std::time::Duration;

use http::Method;
use http::header::{HeaderName, IF_NONE_MATCH};
use tokio::time::timeout;

use super::{AuthorizationSite, Received, Response, respond};
use crate::document::PublicDocument;
use crate::oauth::Error;

/// How long the names of the lists may be kept.
const KEEP_NAMES_FOR: Duration = Duration::from_mins(5);

/// How long anybody may wait for another list, in seconds: proxies give up on answers that take longer.
const LONGEST_WAIT: u64 = 30;

const PREFER: HeaderName = HeaderName::from_static("prefer");

pub(super) async fn list(site: &AuthorizationSite, request: &Received, number: &str) -> Response {
    let wanted = preferred_wait(request).filter(|_| request.method == Method::GET);
    let waiter = wanted.and_then(|seconds| Some((seconds, site.server.status_list_waiter(request.address)?)));
    let Some((seconds, _waiter)) = waiter else { return answer(site, request, (number, None)) };
    if request.headers.contains_key(IF_NONE_MATCH) {
        let has = |tag: &str| respond::is_known(tag, request);
        let news = site.server.status_list_news(number, has, &*site.clock);
        // When the time is over, it is as if nobody had waited. Who has gone leaves his place to others.
        tokio::select! {
            heard = timeout(Duration::from_secs(seconds), news) => if let Ok(Err(_)) = heard {
                return respond::unavailable_json();
            },
            () = request.wanted.ends() => {}
        }
    }
    answer(site, request, (number, Some(seconds)))
}

/// The list as it is now, for somebody who was made to wait for so many seconds at most.
fn answer(site: &AuthorizationSite, request: &Received, (number, waited): (&str, Option<u64>)) -> Response {
    match site.server.status_list(number, site.clock.now()) {
        Ok(Some(list)) => respond::status_list(list, waited, request),
        Ok(None) => respond::not_found(),
        Err(Error::Unavailable(_) | Error::Refused(_) | Error::Throttled { .. }) => respond::unavailable_json(),
    }
}

/// How many seconds somebody is willing to wait (RFC 7240 §4.3), as far as anybody may. What cannot be read is no preference
/// (§2); of several, the first counts.
fn preferred_wait(request: &Received) -> Option<u64> {
    let preferences = request.header(PREFER).flat_map(|line| line.split(','));
    let waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())
    });
    waits.take(1).flatten().filter(|seconds| *seconds > 0).map(|seconds: u64| seconds.min(LONGEST_WAIT)).next()
}

pub(super) fn aggregation(site: &AuthorizationSite, request: &Received) -> Response {
    site.server.status_lists().map_or_else(respond::not_found, |names| {
        respond::document(&PublicDocument::new(&names, KEEP_NAMES_FOR), request)
    })
}
