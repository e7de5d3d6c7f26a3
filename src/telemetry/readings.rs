//! Gauges that are read when somebody asks for the metrics.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads the series of a metric: each with a label, if there is more than one.
pub type Read = Box<dyn Fn() -> Vec<(Option<(&'static str, Cow<'static, str>)>, f64)> + Send + Sync>;

/// A gauge that is read when somebody asks.
pub(super) struct Reading {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) read: Read,
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // As the registry does it for its own: a sentence.
        let help = format!("{}.", self.help);
        let mut metric = encoder.encode_descriptor(self.name, &help, self.unit.as_ref(), MetricType::Gauge)?;
        for (label, value) in (self.read)() {
            let labels: Vec<(&str, Cow<'_, str>)> = label.into_iter().collect();
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reading({})", self.name)
    }
}
