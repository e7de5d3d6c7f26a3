//! The command line: one file a verb. Exit codes: 0 done, 1 something failed while running, 2 a configuration or usage
//! that cannot be right.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod explain;
mod hash_password;
mod schema;
mod serve;
mod validate;

/// OAuth 2.0 tokens bound to the client's key, issued and enforced: an authorization server and an Envoy gate in one.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve what the configuration says
    Serve(serve::Serve),
    /// Check a configuration and report every mistake in it
    Validate(validate::Validate),
    /// Print the JSON schema of the configuration
    Schema(schema::Schema),
    /// Tell what a refusal means, why it happens and what to do
    Explain(explain::Explain),
    /// Hash a password for the users file
    HashPassword(hash_password::HashPassword),
}

impl Cli {
    /// Runs the verb.
    pub fn run(self) -> ExitCode {
        match self.verb {
            Verb::Serve(verb) => verb.run(),
            Verb::Validate(verb) => verb.run(),
            Verb::Schema(verb) => verb.run(),
            Verb::Explain(verb) => verb.run(),
            Verb::HashPassword(verb) => verb.run(),
        }
    }
}

/// Reports what failed, with its causes, and gives the exit code for it.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprint!("tollgate: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
