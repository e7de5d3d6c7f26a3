//! What this process counts, as `GET /metrics` tells it: OpenMetrics 1.0, or the text format that came before.
//!
//! Invariant: a label is a name of ours, or that of a resource that the operator has written, and never what somebody has
//! sent; so the number of series has a bound, and nothing secret is in them. On the path of a `Check` nothing is locked and
//! nothing allocated. `docs/metrics.md` lists them all, and a test compares it.

use std::borrow::Cow;
use std::sync::Arc;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::gate::{GateFamilies, GateMetrics};
use super::issuer::IssuerMetrics;
use super::readings::{Kind, Read, Reading};
use super::standing::Standing;
use super::store::StoreMetrics;
use crate::clock::Timestamp;

/// Labels of a series; one without a value is as good as absent (OpenMetrics 1.0 §4.2).
pub(super) type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

/// A label whose value is a name of ours.
pub(super) const fn label(name: &'static str, value: &'static str) -> (&'static str, Cow<'static, str>) {
    (name, Cow::Borrowed(value))
}

/// How often tokens were found in the cache of the gate.
#[derive(Clone, Debug, Default)]
pub struct CacheMetrics {
    /// Found.
    pub(crate) hits: Counter,
    /// Not found, and verified anew.
    pub(crate) misses: Counter,
}

/// How spent proofs were judged.
#[derive(Clone, Debug, Default)]
pub struct ReplayMetrics {
    /// New.
    pub(crate) first: Counter,
    /// Used before.
    pub(crate) replayed: Counter,
    /// The guard could not tell.
    pub(crate) unavailable: Counter,
}

/// How pods were reviewed.
#[derive(Clone, Debug, Default)]
pub struct InjectionMetrics {
    /// They have their sidecar.
    pub(crate) injected: Counter,
    /// They were left as they are.
    pub(crate) skipped: Counter,
    /// They were refused.
    pub(crate) refused: Counter,
}

/// The format in which somebody reads metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricsFormat {
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Prometheus,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By the gate.
    gate: GateFamilies,
    /// By the authorization server.
    pub issuer: Arc<IssuerMetrics>,
    /// By the cache of verified tokens.
    pub tokens: CacheMetrics,
    /// By the guard of spent proofs.
    pub replay: ReplayMetrics,
    /// By the store.
    pub store: StoreMetrics,
    /// Reloads that were applied, and that were refused.
    reloads: (Counter, Counter),
}

impl Default for Metrics {
    /// New counters.
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// New counters.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("tollgate_build", "This program", version);
        let gate = GateFamilies::register(&mut registry);
        let issuer = Arc::new(IssuerMetrics::register(&mut registry));
        let family = |registry: &mut Registry, name, help| {
            let family = Family::<Labels<1>, Counter>::default();
            registry.register(name, help, family.clone());
            move |outcome| family.get_or_create_owned(&[label("outcome", outcome)])
        };
        let reloads = family(
            &mut registry,
            "tollgate_config_reloads",
            "Configurations that were to come into force after the first; `refused` leaves the one before in force",
        );
        let reloads = (reloads("applied"), reloads("refused"));
        let lookups = family(
            &mut registry,
            "tollgate_token_cache_lookups",
            "Tokens that the gate looked up among those it has verified",
        );
        let tokens = CacheMetrics { hits: lookups("hit"), misses: lookups("miss") };
        let spent = family(&mut registry, "tollgate_replay_checks", "Proofs whose single use was asked for");
        let replay =
            ReplayMetrics { first: spent("first"), replayed: spent("replayed"), unavailable: spent("unavailable") };
        let store = StoreMetrics::register(&mut registry);
        Self { registry, gate, issuer, tokens, replay, store, reloads }
    }

    /// What a gate counts that has these resources. What others have counted under the same names goes on.
    #[must_use]
    pub fn gate<'a>(&self, resources: impl Iterator<Item = &'a str>) -> GateMetrics {
        self.gate.of(resources)
    }

    /// What an injector counts.
    #[must_use]
    pub fn injections(&mut self) -> InjectionMetrics {
        let family = Family::<Labels<1>, Counter>::default();
        let help = "Pods that the injector was shown; who has the sidecar already is `injected`, too";
        self.registry.register("tollgate_injections", help, family.clone());
        let of = |outcome| family.get_or_create_owned(&[label("outcome", outcome)]);
        InjectionMetrics { injected: of("injected"), skipped: of("skipped"), refused: of("refused") }
    }

    /// Which configuration is in force: the first one, since the start.
    #[must_use]
    pub fn standing(&self, digest: [u8; 32], start: Timestamp) -> Standing {
        Standing::new(digest, start, self.reloads.clone())
    }

    /// Adds a gauge that is read when somebody asks.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, read: Read) {
        self.registry.register_collector(Box::new(Reading { name, help, kind: Kind::Gauge, unit: None, read }));
    }

    /// Adds a counter that is read when somebody asks.
    pub fn counter(&mut self, name: &'static str, help: &'static str, read: Read) {
        self.registry.register_collector(Box::new(Reading { name, help, kind: Kind::Counter, unit: None, read }));
    }

    /// The same in seconds, which are added to its name.
    pub fn gauge_in_seconds(&mut self, name: &'static str, help: &'static str, read: Read) {
        let unit = Some(Unit::Seconds);
        self.registry.register_collector(Box::new(Reading { name, help, kind: Kind::Gauge, unit, read }));
    }

    /// Everything, as it is now.
    #[must_use]
    pub fn text(&self, format: MetricsFormat) -> String {
        let mut text = String::new();
        let written = match format {
            MetricsFormat::OpenMetrics => text::encode(&mut text, &self.registry),
            MetricsFormat::Prometheus => prometheus_text::encode(&mut text, &self.registry),
        };
        written.expect("a string takes whatever is written");
        text
    }
}
