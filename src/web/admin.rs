//! Health for orchestrators, `/livez` and `/readyz`; metrics for Prometheus, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::header::ACCEPT;
use http::{HeaderMap, Method};

use super::{Received, Response, Site, respond};
use crate::clock::Clock;
use crate::keys::SigningKeys;
use crate::replay::ReplayGuard;
use crate::store::Store;
use crate::telemetry::{Metrics, MetricsFormat};

/// What readiness depends on.
pub struct AdminSite {
    /// The store, if this instance issues.
    pub store: Option<Arc<dyn Store>>,
    /// The signing keys, if this instance issues.
    pub keys: Option<Arc<SigningKeys>>,
    /// The replay guard, if this instance takes proofs.
    pub guard: Option<Arc<dyn ReplayGuard>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether the store took the last write that somebody makes every few seconds: a full disk can still be read.
    pub takes_writes: Arc<AtomicBool>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl AdminSite {
    /// What is missing before this instance can serve; nothing, when it is ready.
    async fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if let Some(store) = &self.store
            && (!self.takes_writes.load(Ordering::Relaxed) || store.last_alive().await.is_err())
        {
            missing.push("store");
        }
        if let Some(keys) = &self.keys
            && keys.signer(self.clock.now()).is_err()
        {
            missing.push("signing keys");
        }
        if self.guard.as_ref().is_some_and(|guard| !guard.is_ready()) {
            missing.push("replay guard");
        }
        missing
    }
}

/// The format that the reader knows: OpenMetrics, if it says so.
fn format(headers: &HeaderMap) -> MetricsFormat {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let knows = accepted.flat_map(|value| value.split(',')).any(|range| {
        let name = range.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("application/openmetrics-text")
    });
    if knows { MetricsFormat::OpenMetrics } else { MetricsFormat::Prometheus }
}

#[async_trait]
impl Site for AdminSite {
    async fn answer(&self, request: Received) -> Response {
        match (request.path.as_str(), request.method) {
            ("/livez", Method::GET | Method::HEAD) => respond::health(&[]),
            ("/readyz", Method::GET | Method::HEAD) => respond::health(&self.missing().await),
            ("/metrics", Method::GET | Method::HEAD) => {
                let format = format(&request.headers);
                respond::metrics(self.metrics.text(format), format)
            }
            ("/livez" | "/readyz" | "/metrics", _) => respond::method_not_allowed("GET, HEAD"),
            _ => respond::not_found(),
        }
    }
}
