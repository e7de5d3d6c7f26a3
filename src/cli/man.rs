//! `tollgate man`: the manual, a page for each verb.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "Example: tollgate man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The directory for the pages; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    /// Writes `tollgate.1`, `tollgate-serve.1` and so on.
    pub(super) fn run(&self, command: Command) -> ExitCode {
        let written = fs::create_dir_all(&self.directory)
            .and_then(|()| clap_mangen::generate_to(command.disable_help_subcommand(true), &self.directory));
        match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::failed(&error),
        }
    }
}
