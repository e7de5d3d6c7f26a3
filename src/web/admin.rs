//! Health for orchestrators, `/livez` and `/readyz`; metrics for Prometheus, `/metrics`; for people what is in force,
//! `/status`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::header::ACCEPT;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Received, Response, Site, respond};
use crate::clock::{Clock, Timestamp};
use crate::issuers::{IssuerKeys, LookedAfter};
use crate::keys::SigningKeys;
use crate::replay::ReplayGuard;
use crate::store::Store;
use crate::telemetry::{Facts, Metrics, MetricsFormat, Standing};

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
    /// Which configuration is in force, if there is one.
    pub standing: Option<Arc<Standing>>,
    /// The others whose keys this instance needs.
    pub issuers: LookedAfter,
    /// Whether this instance is about to end.
    pub ending: Arc<AtomicBool>,
}

impl AdminSite {
    /// What this instance needs to serve, each with whether it has it.
    async fn needs(&self) -> Vec<(String, bool)> {
        let mut needs = Vec::new();
        if let Some(store) = &self.store {
            let answers = self.takes_writes.load(Ordering::Relaxed) && store.last_alive().await.is_ok();
            needs.push(("store".to_owned(), answers));
        }
        if let Some(guard) = &self.guard {
            needs.push(("replay guard".to_owned(), guard.is_ready()));
        }
        needs.extend(self.own_needs());
        needs
    }

    /// Whether it has what no other instance can be without at the same moment: an outage of what all of them share must not take
    /// all of them away at once.
    #[must_use]
    pub fn is_ready_itself(&self) -> bool {
        self.own_needs().iter().all(|(_, there)| *there)
    }

    /// What this instance needs that others may well have.
    fn own_needs(&self) -> Vec<(String, bool)> {
        let mut needs = Vec::new();
        if let Some(keys) = &self.keys {
            let now = self.clock.now();
            needs.push(("signing keys".to_owned(), keys.signer(now).is_ok() && keys.are_fresh(now)));
        }
        // Known once is enough: what becomes of them later concerns their tokens, and not those of others.
        let known = |issuer: &Arc<IssuerKeys>| (format!("keys of {}", issuer.name()), issuer.fetched_at().is_some());
        needs.extend(self.issuers.get().iter().map(known));
        needs.push(("time to go on".to_owned(), !self.ending.load(Ordering::Relaxed)));
        needs
    }

    /// What is missing before this instance can serve; nothing, when it is ready.
    async fn missing(&self) -> Vec<String> {
        self.needs().await.into_iter().filter(|(_, there)| !there).map(|(need, _)| need).collect()
    }

    /// What this instance is, and which configuration it has in force.
    async fn status(&self) -> Value {
        let configuration = self.standing.as_ref().map(|standing| {
            let Facts { digest, since, refused } = standing.facts();
            let refused = refused.map(|(at, why)| json!({ "at": at.seconds(), "why": why }));
            let (since, reloads) = (since.seconds(), standing.reloads());
            json!({ "hash": digest, "in_force_since": since, "reloads": reloads, "refused": refused })
        });
        let issuer = |issuer: &Arc<IssuerKeys>| {
            let fetched_at = issuer.fetched_at().map(Timestamp::seconds);
            json!({ "issuer": issuer.name(), "fetched_at": fetched_at, "failing": issuer.is_failing() })
        };
        let issuers: Value = self.issuers.get().iter().map(issuer).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "now": self.clock.now().seconds(),
            "missing": self.missing().await,
            "configuration": configuration,
            "issuers": issuers,
        })
    }
}

/// Whether a query asks for everything, as that of Kubernetes' own components does.
fn is_verbose(query: &str) -> bool {
    query.split('&').any(|parameter| matches!(parameter, "verbose" | "verbose=" | "verbose=1" | "verbose=true"))
}

/// Whether a query leaves something out (`exclude=replay-guard`), as health of Kubernetes' own components does: what all replicas
/// share must not take all of them out of their Service at once.
fn excludes(query: &str, need: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "exclude" && value == need.replace(' ', "-"))
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
            ("/livez", Method::GET | Method::HEAD) => respond::health(&[], false),
            ("/readyz", Method::GET | Method::HEAD) => {
                let query = request.query.as_deref().unwrap_or_default();
                let mut needs = self.needs().await;
                needs.retain(|(need, _)| !excludes(query, need));
                respond::health(&needs, is_verbose(query))
            }
            ("/metrics", Method::GET | Method::HEAD) => {
                let format = format(&request.headers);
                respond::metrics(self.metrics.text(format), format)
            }
            ("/status", Method::GET | Method::HEAD) => respond::status(&self.status().await),
            ("/livez" | "/readyz" | "/metrics" | "/status", _) => respond::method_not_allowed("GET, HEAD"),
            _ => respond::not_found(),
        }
    }
}
