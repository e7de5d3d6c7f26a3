//! A site whose requests have spans.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;

use super::forwarded::Proxies;
use super::{Received, Refused, Response, Site};
use crate::telemetry::{CallerSpan, Traced, Traces};

/// What a path without an endpoint is called.
const NO_ROUTE: &str = "other";

/// A site whose requests have spans.
pub struct TracedSite {
    site: Arc<dyn Site>,
    traces: Arc<Traces>,
    proxies: Proxies,
}

impl TracedSite {
    /// The same site, with spans, in the traces of these proxies.
    #[must_use]
    pub fn new(site: Arc<dyn Site>, traces: Arc<Traces>, proxies: Proxies) -> Self {
        Self { site, traces, proxies }
    }

    /// Begins the span of a request, by the name that the semantic conventions of OpenTelemetry give it.
    fn begin(&self, request: &Received) -> Traced {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let caller =
            if self.proxies.trust(request.peer) { CallerSpan::trusted(header) } else { CallerSpan::of_anybody(header) };
        let (method, route) = (method(&request.method), self.site.route(&request.path).unwrap_or(NO_ROUTE));
        let mut span = self.traces.begin(format!("{method} {route}"), caller);
        span.says("http.request.method", Some(method));
        span.says("http.route", Some(route));
        span
    }
}

#[async_trait]
impl Site for TracedSite {
    async fn answer(&self, request: Received) -> Response {
        let mut span = self.begin(&request);
        let response = self.site.answer(request).await;
        let status = response.status();
        span.counts("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.failed("something that this server depends on does not answer");
        }
        response
    }

    fn refuse(&self, path: &str, refused: Refused) -> Response {
        self.site.refuse(path, refused)
    }

    fn route(&self, path: &str) -> Option<&'static str> {
        self.site.route(path)
    }
}

/// The name of a method. HTTP lets clients make up more of them.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
