//! What is logged.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// What is logged: a level, or directives such as `info,tollgate::web=debug`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

/// A text that is no filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be error, warn, info, debug or trace, or directives such as `info,tollgate::web=debug`")]
pub struct FilterFault;

impl Default for LogFilter {
    /// `info`.
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = FilterFault;

    fn from_str(text: &str) -> Result<Self, FilterFault> {
        let known = EnvFilter::try_new(text).is_ok() && !text.trim().is_empty();
        if known { Ok(Self(text.to_owned())) } else { Err(FilterFault) }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogFilter {
    /// For the subscriber. Migrations tell of themselves line by line, with the paths of the machine that built them.
    pub(super) fn directives(&self) -> EnvFilter {
        EnvFilter::new(format!("refinery_core=warn,{}", self.0))
    }
}
