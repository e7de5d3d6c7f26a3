//! Logs: one event a request, JSON unless a person reads along.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sends events to standard output: lines for people on a terminal, JSON for machines elsewhere.
///
/// `filter` is a directive of tracing's `EnvFilter`, such as `info` or `tollgate=debug`; one that cannot be read counts as
/// `info`.
pub fn init(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // A second subscriber in one process is refused; whoever was first keeps listening.
    let _ = if std::io::stdout().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
