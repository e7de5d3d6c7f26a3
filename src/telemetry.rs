//! Logs: one event a request, JSON unless a person reads along. Metrics: counters, read at the admin listener.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

mod filter;
mod gate;
mod histogram;
mod issuer;
mod lines;
mod metrics;
mod readings;
mod replay;
mod standing;

pub use filter::{FilterFault, LogFilter};
pub use gate::GateMetrics;
pub use issuer::IssuerMetrics;
pub(crate) use issuer::SignInOutcome;
pub use lines::{Log, WAITING_LIMIT};
pub use metrics::{CacheMetrics, Metrics, MetricsFormat, ReplayMetrics};
pub use readings::{Read, Sample};
pub use replay::CountedGuard;
pub use standing::{Facts, Standing};

/// Sends events to standard output: lines for people on a terminal, JSON for machines elsewhere.
///
/// `filter` says which of them. Lines are written by a thread of their own. If nobody reads them, 4 MiB wait, and what comes then is dropped
/// and counted.
///
/// # Errors
/// When there is no thread to be had.
pub fn init(filter: &LogFilter) -> io::Result<Logging> {
    let gap = |lines| tracing::warn!(lines, "the log was read too slowly: {lines} lines were dropped since the start");
    let (writer, lines) = lines::start(io::stdout(), gap)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter.directives()).with_writer(writer);
    // A second subscriber in one process is refused; whoever was first keeps listening.
    let filter: Box<dyn Fn(EnvFilter) + Send + Sync> = if io::stdout().is_terminal() {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        Box::new(move |filter| drop(handle.reload(filter)))
    } else {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        Box::new(move |filter| drop(handle.reload(filter)))
    };
    Ok(Logging { _lines: lines, filter })
}

/// Keeps the log going, as [`Log`] does, and may change what is logged.
pub struct Logging {
    _lines: Log,
    filter: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

impl Logging {
    /// Logs by another filter, from now on.
    pub fn filter_by(&self, filter: &LogFilter) {
        (self.filter)(filter.directives());
    }
}
