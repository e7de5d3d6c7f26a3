//! The only place that builds HTTP responses.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LOCATION, PRAGMA, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use super::branding::Logo;
use super::pages::Page;
use super::request::{Received, Refused};
use crate::document::{self, EXPOSED_HEADERS, PublicDocument};
use crate::jose::PROOF_ALGORITHMS;
use crate::oauth::{Error, ErrorCode, PublishedList, Refusal};
use crate::telemetry::MetricsFormat;
use crate::token::STATUS_LIST_MEDIA_TYPE;

/// A response with its whole body.
pub type Response = http::Response<Full<Bytes>>;

/// How long a client should wait before it tries again when something that we depend on is down, in seconds.
const RETRY_AFTER_SECONDS: &str = "2";

pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// A JSON document with a status.
fn json(status: StatusCode, document: &impl Serialize) -> Response {
    json_text(status, serde_json::to_vec(document).expect("our documents are plain JSON"))
}

/// A JSON document that is written out already.
fn json_text(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "application/json");
    set(&mut response, HeaderName::from_static("x-content-type-options"), "nosniff");
    response
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// RFC 6749 §5.1: whatever holds tokens or errors about them is not to be kept.
fn no_store(response: &mut Response) {
    set(response, CACHE_CONTROL, "no-store");
    set(response, PRAGMA, "no-cache");
}

/// Lets scripts of other origins read an answer that no cookie has a part in, and the nonce in it (RFC 9449 §8).
fn readable_across_origins(response: &mut Response) {
    set(response, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(response, ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
}

/// A public document that may be kept for a while; 304 if the caller has this very one (RFC 9110 §13.1.2).
pub(super) fn document(document: &PublicDocument, request: &Received) -> Response {
    let known = document.is_known(request.header(IF_NONE_MATCH));
    let mut response = Response::new(Full::default());
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Full::new(Bytes::copy_from_slice(document.body().as_bytes()));
    }
    for (name, value) in document.headers(known) {
        insert(&mut response, HeaderName::from_static(name), value);
    }
    response
}

/// A status list (draft-ietf-oauth-status-list-20 §8.1), which may be kept until there is a newer one; 304 if the caller has
/// it. `waited` is for how many seconds the caller was made to wait for it at most, if so (RFC 7240 §3, §4.3).
pub(super) fn status_list(list: PublishedList, waited: Option<u64>, request: &Received) -> Response {
    let PublishedList { text, tag, ttl } = list;
    let mut response = Response::new(Full::default());
    if is_known(&tag, request) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Full::new(Bytes::from(text));
        set(&mut response, CONTENT_TYPE, STATUS_LIST_MEDIA_TYPE);
        set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    }
    insert(&mut response, ETAG, format!("W/\"{tag}\""));
    readable_across_origins(&mut response);
    set(&mut response, VARY, "prefer");
    let mut scope = "public";
    if let Some(seconds) = waited {
        scope = "private"; // who waits at a cache hears from there what was, not what is
        insert(&mut response, HeaderName::from_static("preference-applied"), format!("wait={seconds}"));
    }
    insert(&mut response, CACHE_CONTROL, format!("{scope}, max-age={}", ttl.as_secs()));
    response
}

/// Whether the caller has what this tag names: with weak comparison (RFC 9110 §13.1.2).
pub(super) fn is_known(tag: &str, request: &Received) -> bool {
    document::is_known(tag, request.header(IF_NONE_MATCH))
}

/// Sets a header to what we have put together.
fn insert(response: &mut Response, name: HeaderName, value: String) {
    let value = HeaderValue::try_from(value).expect("base64url, digits and names are visible ASCII");
    response.headers_mut().insert(name, value);
}

/// The answer of a token endpoint (RFC 6749 §5.1), with a nonce if one is due.
pub(super) fn token(body: &impl Serialize, nonce: Option<&str>) -> Response {
    let mut response = json(StatusCode::OK, body);
    finish_token(&mut response, nonce);
    response
}

/// 201: what was pushed is recorded (RFC 9126 §2.2).
pub(super) fn created(body: &impl Serialize, nonce: Option<&str>) -> Response {
    let mut response = json(StatusCode::CREATED, body);
    finish_token(&mut response, nonce);
    response
}

/// An error of a token endpoint (RFC 6749 §5.2), with a nonce if one is due.
pub(super) fn token_error(error: Error, nonce: Option<&str>) -> Response {
    let mut response = match error {
        Error::Refused(refusal) => refusal_json(refusal),
        Error::Unavailable(_) => unavailable_json(),
        Error::Throttled { retry_after } => too_many_json(retry_after),
    };
    finish_token(&mut response, nonce);
    response
}

/// The answer of the revocation endpoint: nothing (RFC 7009 §2.2).
pub(super) fn revoked() -> Response {
    let mut response = Response::new(Full::default());
    finish_token(&mut response, None);
    response
}

/// The media type of a signed answer to an introspection request (RFC 9701 §4).
pub(super) const SIGNED_INTROSPECTION: &str = "application/token-introspection+jwt";

/// An answer to an introspection request (RFC 7662 §2.2). Not for scripts of other origins: only servers ask.
pub(super) fn introspection(document: &impl Serialize) -> Response {
    let mut response = json(StatusCode::OK, document);
    no_store(&mut response);
    response
}

/// The same, signed (RFC 9701 §5).
pub(super) fn signed_introspection(text: String) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    set(&mut response, CONTENT_TYPE, SIGNED_INTROSPECTION);
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    no_store(&mut response);
    response
}

/// An error of the introspection endpoint (RFC 7662 §2.3).
pub(super) fn introspection_error(error: Error) -> Response {
    let mut response = match error {
        Error::Refused(refusal) => refusal_json(refusal),
        Error::Unavailable(_) => unavailable_json(),
        Error::Throttled { retry_after } => too_many_json(retry_after),
    };
    no_store(&mut response);
    response
}

/// An error of an endpoint that takes access tokens, with a challenge for each scheme (RFC 6750 §3, RFC 9449 §7.1).
pub(super) fn challenge(error: Error, nonce: Option<&str>) -> Response {
    let mut response = token_error(error, nonce);
    let Error::Refused(refusal) = error else { return response };
    if let Refusal::Proof(_) = refusal {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let error = match refusal {
        Refusal::AccessTokenMissing => String::new(), // RFC 6750 §3.1: no error code then
        _ => format!(r#", error="{}", error_description="{}""#, refusal.code().name(), refusal.description()),
    };
    let algorithms = PROOF_ALGORITHMS.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" ");
    let challenges = [format!(r#"DPoP algs="{algorithms}"{error}"#), format!(r#"Bearer realm="userinfo"{error}"#)];
    response.headers_mut().remove(WWW_AUTHENTICATE);
    for challenge in challenges {
        let challenge = HeaderValue::try_from(challenge).expect("names and descriptions are visible ASCII");
        response.headers_mut().append(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What a client has registered (RFC 7591 §3.2.1, RFC 7592 §3).
pub(super) fn registration(status: u16, document: &impl Serialize) -> Response {
    let status = StatusCode::from_u16(status).expect("a registration is answered with 200 or 201");
    let mut response = json(status, document);
    finish_token(&mut response, None);
    response
}

/// 204: a client is no more (RFC 7592 §2.3).
pub(super) fn no_content() -> Response {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    finish_token(&mut response, None);
    response
}

/// An error of a registration endpoint (RFC 7591 §3.2.2), with a challenge if the token is at fault (RFC 6750 §3).
pub(super) fn registration_error(error: Error) -> Response {
    let mut response = token_error(error, None);
    let Error::Refused(refusal) = error else { return response };
    if refusal.code() == ErrorCode::InvalidToken {
        let error = match refusal {
            Refusal::RegistrationTokenMissing => String::new(), // RFC 6750 §3.1: no error code then
            _ => format!(r#", error="{}", error_description="{}""#, refusal.code().name(), refusal.description()),
        };
        let challenge = HeaderValue::try_from(format!(r#"Bearer realm="registration"{error}"#));
        let challenge = challenge.expect("names and descriptions are visible ASCII");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Whether a media type is that of JSON, whatever its parameters.
pub(super) fn is_json(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case("application/json")
}

/// 429 for a client (RFC 6585 §4), in the form of its other errors.
fn too_many_json(retry_after: Duration) -> Response {
    let body = json!({ "error": "slow_down", "error_description": "too many requests, wait as Retry-After says" });
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, &body);
    response.headers_mut().insert(RETRY_AFTER, whole_seconds(retry_after).into());
    response
}

/// A wait in whole seconds, never too short.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}

fn finish_token(response: &mut Response, nonce: Option<&str>) {
    no_store(response);
    readable_across_origins(response);
    if let Some(nonce) = nonce {
        let nonce = HeaderValue::try_from(nonce).expect("base64url is a valid header value");
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
}

fn refusal_json(refusal: Refusal) -> Response {
    let code = refusal.code();
    let status = StatusCode::from_u16(code.status()).expect("the table holds valid statuses");
    let body = json!({ "error": code.name(), "error_description": refusal.description() });
    let mut response = json(status, &body);
    if code == ErrorCode::InvalidClient {
        set(&mut response, WWW_AUTHENTICATE, "Basic realm=\"tollgate\""); // RFC 9110 §15.5.2 wants one on every 401
    }
    response
}

pub(super) fn unavailable_json() -> Response {
    let body = json!({
        "error": "temporarily_unavailable",
        "error_description": "something that this server depends on does not answer, try again shortly",
    });
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, &body);
    set(&mut response, RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}

/// A page for people: not kept, not framed, and no address that it links to learns where it was.
pub(super) fn page(page: Page, https: bool) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(page.html)));
    *response.status_mut() = page.status;
    set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
    set(&mut response, CONTENT_LANGUAGE, page.language.tag());
    set(&mut response, VARY, "accept-language, cookie");
    set(&mut response, X_FRAME_OPTIONS, "DENY");
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    let policy = HeaderValue::try_from(page.policy).expect("policies are visible ASCII");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    if let Some(seconds) = page.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    finish_for_browsers(&mut response, https);
    response
}

/// A page with `Allow` (RFC 9110 §15.5.6).
pub(super) fn page_with_allow(page: Page, allow: &'static str, https: bool) -> Response {
    let mut response = self::page(page, https);
    set(&mut response, ALLOW, allow);
    response
}

/// The operator's logo, for good: another one has another path. Whatever is in an SVG, nothing of it runs or loads, even if
/// somebody opens it as a document of its own.
pub(super) fn logo(logo: &Logo, https: bool) -> Response {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(logo.bytes())));
    set(&mut response, CONTENT_TYPE, logo.content_type());
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, X_FRAME_OPTIONS, "DENY");
    set(&mut response, CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox");
    finish_for_browsers(&mut response, https);
    response.headers_mut().remove(PRAGMA);
    set(&mut response, CACHE_CONTROL, "public, max-age=31536000, immutable");
    response
}

/// 303 (RFC 9700 §4.12): whatever the request was, the browser goes on with GET.
pub(super) fn redirect(location: &str, https: bool) -> Response {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let mut location = HeaderValue::try_from(location).expect("redirect URIs and form encoding are visible ASCII");
    location.set_sensitive(true);
    response.headers_mut().insert(LOCATION, location);
    finish_for_browsers(&mut response, https);
    response
}

fn finish_for_browsers(response: &mut Response, https: bool) {
    no_store(response);
    set(response, REFERRER_POLICY, "no-referrer"); // RFC 9700 §4.2.4
    if https {
        set(response, STRICT_TRANSPORT_SECURITY, "max-age=31536000"); // RFC 6797; a year
    }
}

/// Adds `Set-Cookie` lines.
pub(super) fn with_cookies(mut response: Response, cookies: Vec<HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// A plain error outside the protocol: RFC 9110 statuses.
fn plain(status: StatusCode, description: &'static str) -> Response {
    let mut response = json(status, &json!({ "error": "invalid_request", "error_description": description }));
    no_store(&mut response);
    response
}

/// 404.
pub(super) fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// 405 with `Allow` (RFC 9110 §15.5.6).
pub(super) fn method_not_allowed(allow: &'static str) -> Response {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this endpoint does not take this method");
    set(&mut response, ALLOW, allow);
    response
}

/// What the API of the demo received.
pub(crate) fn echo(document: &impl Serialize) -> Response {
    let mut response = json(StatusCode::OK, document);
    no_store(&mut response);
    response
}

/// A sentence for a person, at a place that has nothing else to show.
pub(crate) fn sentence(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    set(&mut response, HeaderName::from_static("x-content-type-options"), "nosniff");
    no_store(&mut response);
    response
}

/// The answer to a CORS preflight at an endpoint that scripts of any origin may use.
pub(super) fn preflight(allow: &'static str) -> Response {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in document::preflight(allow) {
        set(&mut response, HeaderName::from_static(name), value);
    }
    response
}

/// The last answer on its connection: where a request that was not read ends, nobody can tell (RFC 9112 §6.3).
pub(super) fn last(mut response: Response) -> Response {
    set(&mut response, CONNECTION, "close");
    response
}

/// A request that could not be read.
pub(super) fn refused(refused: Refused) -> Response {
    match refused {
        Refused::TooLarge | Refused::TooSlow | Refused::Broken => plain(refused.status(), refused.description()),
        Refused::Defect => {
            let mut response = json(refused.status(), &json!({ "error": "server_error" }));
            no_store(&mut response);
            response
        }
    }
}

/// What is counted, for Prometheus and whoever reads its formats.
pub(super) fn metrics(text: String, format: MetricsFormat) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let content_type = match format {
        MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        MetricsFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
    };
    set(&mut response, CONTENT_TYPE, content_type);
    set(&mut response, VARY, "accept");
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    no_store(&mut response);
    response
}

/// An answer to the API server of Kubernetes.
pub(super) fn admission(status: StatusCode, review: &serde_json::Value) -> Response {
    json(status, review)
}

/// What an instance is and has in force.
pub(super) fn status(shown: &serde_json::Value) -> Response {
    let mut response = json(StatusCode::OK, shown);
    no_store(&mut response);
    response
}

/// Health: 200, or 503 with what is missing; to who wants to know more, with everything that is needed.
pub(super) fn health(needs: &[(String, bool)], verbose: bool) -> Response {
    let missing: Vec<_> = needs.iter().filter(|(_, there)| !there).map(|(need, _)| need.as_str()).collect();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut health = json!({ "ready": missing.is_empty(), "missing": missing });
    if verbose {
        health["needs"] = needs.iter().map(|(need, there)| json!({ "name": need, "there": there })).collect();
    }
    let mut response = json(status, &health);
    no_store(&mut response);
    response
}
