//! `tollgate explain`: what a name in a log, a metric or Envoy's metadata means.

use std::process::ExitCode;

use clap::Args;

/// What to explain.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The name, as it stands in a log line or in Envoy's dynamic metadata
    name: String,
}

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        let known = crate::oauth::Refusal::ALL.iter().copied().find(|refusal| refusal.name() == self.name);
        let Some(refusal) = known else {
            eprintln!("`{}` is not a name that tollgate uses", self.name);
            return ExitCode::from(2);
        };
        println!("{}\n  error   {}\n  text    {}", refusal.name(), refusal.code().name(), refusal.description());
        ExitCode::SUCCESS
    }
}
