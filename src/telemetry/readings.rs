//! Metrics that are read when somebody asks for them.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads the series of a metric.
pub type Read = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// The labels of a series, and what it is at.
pub type Sample = (Vec<(&'static str, Cow<'static, str>)>, f64);

/// What is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// How much there is.
    Gauge,
    /// How often something has happened.
    Counter,
}

/// A metric that is read when somebody asks.
pub(super) struct Reading {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Option<Unit>,
    pub(super) read: Read,
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // As the registry does it for its own: a sentence.
        let help = format!("{}.", self.help);
        let kind = match self.kind {
            Kind::Gauge => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
        };
        let mut metric = encoder.encode_descriptor(self.name, &help, self.unit.as_ref(), kind)?;
        for (labels, value) in (self.read)() {
            let series = metric.encode_family(&labels)?;
            match self.kind {
                Kind::Gauge => ConstGauge::new(value).encode(series)?,
                Kind::Counter => ConstCounter::new(value).encode(series)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reading({})", self.name)
    }
}
