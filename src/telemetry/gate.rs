//! What the gate counts. Every counter is found before the first question: to count then is an atomic addition.

use std::collections::HashMap;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Histogram;
use super::metrics::{Labels, label};
use crate::authz::{Decision, Denial};

/// From 50 microseconds, which is less than a signature takes, to a quarter of a second, at which proxies give up.
const SECONDS_OF_CHECKS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

/// Proofs have whole seconds, and pass for a minute by default.
const SECONDS_OF_PROOFS: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

/// What gates count, whatever they protect.
#[derive(Debug)]
pub(super) struct GateFamilies {
    checks: Family<Labels<3>, Counter>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    proof_age: Histogram,
}

/// What a gate counts.
#[derive(Debug)]
pub struct GateMetrics {
    /// By the audience of the resource.
    resources: HashMap<String, Decisions>,
    /// Questions that are about no resource.
    elsewhere: Decisions,
    allowed: Histogram,
    denied: Histogram,
    unavailable: Histogram,
    described: Histogram,
    proof_age: Histogram,
}

/// Decisions about one resource.
#[derive(Debug)]
struct Decisions {
    allowed: Counter,
    unavailable: Counter,
    described: Counter,
    /// By the name of the denial.
    denied: HashMap<&'static str, Counter>,
    /// The same for what would have been denied, or not been checked, were the rules enforced.
    observed: HashMap<&'static str, Counter>,
}

impl GateFamilies {
    /// Counts nothing yet.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let checks = Family::<Labels<3>, Counter>::default();
        let seconds = Family::<Labels<1>, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(SECONDS_OF_CHECKS)
        });
        let proof_age = Histogram::new(SECONDS_OF_PROOFS);
        registry.register(
            "tollgate_checks",
            "Decisions of the gate; `denial` as in `tollgate explain`, without `resource` if there is none for the request",
            checks.clone(),
        );
        registry.register_with_unit(
            "tollgate_check_duration",
            "From the head of a Check to its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register_with_unit(
            "tollgate_dpop_proof_age",
            "Age of proofs that were otherwise good, by our clock; those from the future count as 0",
            Unit::Seconds,
            proof_age.clone(),
        );
        let families = Self { checks, seconds, proof_age };
        drop(families.of(std::iter::empty())); // series exist from the start
        families
    }

    /// Counts decisions about these resources.
    pub(super) fn of<'a>(&self, resources: impl Iterator<Item = &'a str>) -> GateMetrics {
        let took = |outcome| self.seconds.get_or_create_owned(&[label("outcome", outcome)]);
        GateMetrics {
            resources: resources.map(|name| (name.to_owned(), Decisions::of(name, &self.checks))).collect(),
            elsewhere: Decisions::of("", &self.checks),
            allowed: took("allowed"),
            denied: took("denied"),
            unavailable: took("unavailable"),
            described: took("described"),
            proof_age: self.proof_age.clone(),
        }
    }
}

impl GateMetrics {
    /// Counts a decision.
    pub(crate) fn decided(&self, decision: &Decision, took: Duration) {
        let context = decision.context();
        let resource = context.resource().and_then(|name| self.resources.get(name)).unwrap_or(&self.elsewhere);
        let (counter, histogram) = match decision {
            Decision::Allow(permit) => match permit.would_be() {
                None => (Some(&resource.allowed), &self.allowed),
                Some(observed) => (resource.observed.get(observed.name()), &self.allowed),
            },
            Decision::Deny(denied) => (resource.denied.get(denied.denial().name()), &self.denied),
            Decision::Unavailable(_) => (Some(&resource.unavailable), &self.unavailable),
            Decision::Describe(_) => (Some(&resource.described), &self.described),
        };
        if let Some(counter) = counter {
            counter.inc();
        }
        histogram.observe(took);
        if let Some(age) = context.proof_age() {
            self.proof_age.observe(age);
        }
    }
}

impl Decisions {
    fn of(resource: &str, checks: &Family<Labels<3>, Counter>) -> Self {
        let counter = |outcome, denial| {
            let labels = [("resource", resource.to_owned().into()), label("outcome", outcome), label("denial", denial)];
            checks.get_or_create_owned(&labels)
        };
        let denials = || Denial::all().map(Denial::name);
        Self {
            allowed: counter("allowed", ""),
            unavailable: counter("unavailable", ""),
            described: counter("described", ""),
            denied: denials().map(|name| (name, counter("denied", name))).collect(),
            observed: denials().chain(["unavailable"]).map(|name| (name, counter("observed", name))).collect(),
        }
    }
}
