//! Logs: one event a request, JSON unless a person reads along. Metrics: counters, read at the admin listener.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

mod gate;
mod histogram;
mod issuer;
mod lines;
mod metrics;
mod readings;
mod replay;
mod standing;

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
/// `filter` is a directive of tracing's `EnvFilter`, such as `info` or `tollgate=debug`; one that cannot be read counts as
/// `info`. Lines are written by a thread of their own. If nobody reads them, 4 MiB wait, and what comes then is dropped
/// and counted.
///
/// # Errors
/// When there is no thread to be had.
pub fn init(filter: &str) -> io::Result<Log> {
    // Migrations tell of themselves line by line, with the paths of the machine that built them.
    let filter = EnvFilter::try_new(format!("refinery_core=warn,{filter}"));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("refinery_core=warn,info"));
    let gap = |lines| tracing::warn!(lines, "the log was read too slowly: {lines} lines were dropped since the start");
    let (lines, log) = lines::start(io::stdout(), gap)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // A second subscriber in one process is refused; whoever was first keeps listening.
    let _ = if io::stdout().is_terminal() { builder.try_init() } else { builder.json().flatten_event(true).try_init() };
    Ok(log)
}
