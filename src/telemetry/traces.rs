//! Traces: a span for each question of a proxy and for each request to the authorization server, sent to a collector over OTLP.
//!
//! The variables of the OpenTelemetry specification (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …) say where to and
//! how many; without them there are no spans, and nothing is done for them.
//!
//! Invariant: a span holds names of ours, of the configuration and of issuers, never a path, a query, a subject or what opens
//! a door. Nobody who asks waits for a collector: spans are sent by a thread of its own, and what it cannot send is dropped. At
//! most 2,048 spans wait, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise.

mod caller;
mod collector;

pub(crate) use caller::CallerSpan;
pub use collector::Collector;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter as Otlp};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter};

use crate::fetch::Roots;

/// How long the end of the program waits for the last spans to be taken.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Makes spans.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// No collector can be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum TracesFault {
    /// The exporter does not take what the variables say.
    #[error("spans cannot be sent as the OTEL_* variables say")]
    Exporter(#[from] ExporterBuildError),
    /// A file is not there.
    #[error("cannot read `{0}`, which the OTEL_* variables name")]
    Unreadable(PathBuf, #[source] io::Error),
    /// A file is something else.
    #[error("`{0}`, which the OTEL_* variables name, is not in PEM")]
    NotPem(PathBuf),
    /// A certificate without its key, or the other way round.
    #[error(
        "`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `OTEL_EXPORTER_OTLP_CLIENT_KEY` must be set both or not at all"
    )]
    HalfAnIdentity,
    /// The certificates are none, or the key is not.
    #[error("cannot make an HTTPS client for spans")]
    Client(#[source] reqwest::Error),
}

impl Traces {
    /// Where the variables of the environment want spans to go: to the collector that they name, or to the usual one if they name
    /// the exporter `otlp`; nowhere, if something turns them off.
    #[must_use]
    pub fn wanted(variable: impl Fn(&str) -> Option<OsString>) -> Option<Collector> {
        let says = |name: &str| variable(name).filter(|value| !value.is_empty());
        let endpoint = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let off = says("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let named = match says("OTEL_TRACES_EXPORTER") {
            Some(exporter) => exporter == "otlp",
            None => endpoint.into_iter().any(|name| says(name).is_some()),
        };
        (named && !off).then(|| Collector::named(variable))
    }

    /// Sends spans where the variables of the environment say. Whose certificates count if they do not say that, `roots` do. To be
    /// called in a runtime of several threads.
    ///
    /// # Errors
    /// [`TracesFault`] if they cannot be right.
    pub fn to(collector: &Collector, roots: &Roots) -> Result<Self, TracesFault> {
        let exporter = Noticed { otlp: collector.exporter(roots)?, lost: AtomicBool::new(false) };
        let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        // A name that somebody else has chosen counts more than ours.
        let named = Resource::builder().build().get(&"service.name".into()).map(|name| name.to_string());
        let resource = match named {
            Some(name) if !name.starts_with("unknown_service") => resource,
            Some(_) | None => resource.with_service_name("tollgate"),
        };
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer("tollgate");
        Ok(Self { provider, tracer })
    }

    /// Begins a span in the trace of a caller whose word counts, or in a trace of its own, linked to that of anybody else.
    pub(crate) fn begin(&self, name: impl Into<Cow<'static, str>>, caller: CallerSpan) -> Traced {
        let span = self.tracer.span_builder(name).with_kind(SpanKind::Server);
        let nobody = Context::new();
        Traced(match caller {
            CallerSpan::None => self.tracer.build_with_context(span, &nobody),
            CallerSpan::Trusted(parent) => {
                self.tracer.build_with_context(span, &nobody.with_remote_span_context(parent))
            }
            CallerSpan::Other(other) => {
                let mut span = self.tracer.build_with_context(span, &nobody);
                span.add_link(other, Vec::new());
                span
            }
        })
    }

    /// Sends what waits; blocks while it does so.
    pub fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not taken: {error}");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces(..)")
    }
}

/// Sends spans, and says in the log when the collector goes away and when it is back: once each, not for every batch.
#[derive(Debug)]
struct Noticed {
    otlp: Otlp,
    lost: AtomicBool,
}

impl SpanExporter for Noticed {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.otlp.export(batch).await;
        match (&outcome, self.lost.swap(outcome.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(%error, "spans are dropped: the collector does not take them"),
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.otlp.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

/// A span that goes on; it ends with this value.
pub(crate) struct Traced(Span);

impl Traced {
    /// Says something, if there is something to say and somebody who will read it.
    pub(crate) fn says(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value.filter(|_| self.0.is_recording()) {
            self.0.set_attribute(KeyValue::new(name, value.to_owned()));
        }
    }

    /// Says a number.
    pub(crate) fn counts(&mut self, name: &'static str, value: u16) {
        self.0.set_attribute(KeyValue::new(name, i64::from(value)));
    }

    /// Something that this process depends on did not answer: the only thing that is an error here.
    pub(crate) fn failed(&mut self, why: &'static str) {
        self.0.set_status(Status::error(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sent_where_a_collector_is_named_and_nothing_turns_them_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variables, wanted) in [
            (&[][..], false),
            (&[endpoint], true),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")], true),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], true), // the default collector, at localhost
            (&[endpoint, ("OTEL_TRACES_EXPORTER", "otlp")], true),
            (&[endpoint, ("OTEL_TRACES_EXPORTER", "none")], false),
            (&[endpoint, ("OTEL_SDK_DISABLED", "True")], false),
            (&[endpoint, ("OTEL_SDK_DISABLED", "false")], true),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            assert_eq!(Traces::wanted(variable).is_some(), wanted, "{variables:?}");
        }
    }
}
