//! The `tollgate` program: picks the verb, chooses the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tollgate::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
