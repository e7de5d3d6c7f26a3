//! The `tollgate` program: picks the verb, reads the environment, chooses the exit code.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use tollgate::cli::{Cli, Environment};
use tollgate::telemetry::Traces;

fn main() -> ExitCode {
    Cli::parse().run(&environment())
}

/// XDG Base Directory Specification: state that should outlive a restart, but is not worth a backup.
fn environment() -> Environment {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let program = env::args_os().next().unwrap_or_else(|| "tollgate".into()).to_string_lossy().into_owned();
    let colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()); // no-color.org
    let traces = Traces::wanted(|name| env::var_os(name));
    Environment { state_directory: state.unwrap_or_else(env::temp_dir).join("tollgate"), program, colours, traces }
}
