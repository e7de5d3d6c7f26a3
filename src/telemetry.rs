//! Logs: one event a request, JSON unless a person reads along. Metrics: counters, read at the admin listener. Traces: spans,
//! sent to a collector.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::audit;

mod feed;
mod filter;
mod gate;
mod histogram;
mod issuer;
mod lines;
mod metrics;
mod readings;
mod replay;
mod standing;
mod store;
mod traces;

pub use feed::{FEED_LIMIT, Feed, Heard};
pub use filter::{FilterFault, LogFilter};
pub use gate::GateMetrics;
pub use issuer::IssuerMetrics;
pub(crate) use issuer::SignInOutcome;
pub use lines::{Log, WAITING_LIMIT};
pub use metrics::{CacheMetrics, InjectionMetrics, Metrics, MetricsFormat, ReplayMetrics};
pub use readings::{Read, Sample};
pub use replay::CountedGuard;
pub use standing::{Facts, Standing};
pub use store::{CountedStore, StoreMetrics};
pub(crate) use traces::{CallerSpan, Traced};
pub use traces::{Collector, Traces, TracesFault};

/// Sends events to standard output: lines for people on a terminal, JSON for machines elsewhere.
///
/// `filter` says which of them. Lines are written by a thread of their own. If nobody reads them, 4 MiB wait, and what comes then is dropped
/// and counted.
///
/// # Errors
/// When there is no thread to be had.
pub fn init(filter: &LogFilter, feed: &Feed) -> io::Result<Logging> {
    let gap = |lines| tracing::warn!(lines, "the log was read too slowly: {lines} lines were dropped since the start");
    let (writer, lines) = lines::start(io::stdout(), gap)?;
    let (filter, handle) = reload::Layer::new(filter.directives());
    let filtered: Box<dyn Layer<Registry> + Send + Sync> = if io::stdout().is_terminal() {
        fmt::layer().with_writer(writer).with_filter(filter).boxed()
    } else {
        fmt::layer().json().flatten_event(true).with_writer(writer).with_filter(filter).boxed()
    };
    // Whoever watches hears the events for auditors, whatever the log leaves out.
    let feed = feed.clone().with_filter(Targets::new().with_target(audit::TARGET, LevelFilter::INFO));
    // A second subscriber in one process is refused; whoever was first keeps listening.
    let _ = tracing_subscriber::registry().with(filtered).with(feed).try_init();
    Ok(Logging { _lines: lines, filter: handle })
}

/// Keeps the log going, as [`Log`] does, and may change what is logged.
pub struct Logging {
    _lines: Log,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Logs by another filter, from now on.
    pub fn filter_by(&self, filter: &LogFilter) {
        // It fails only if nothing is logged any more.
        let _ = self.filter.reload(filter.directives());
    }
}
