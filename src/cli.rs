//! The command line: one file a verb. Exit codes: 0 done, 1 something failed while running, 2 a configuration or usage
//! that cannot be right.

use std::error::Error;
use std::iter;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use miette::{Diagnostic, Report};

use crate::telemetry::Collector;

mod admin;
mod backup;
mod channel;
mod client;
mod completions;
mod curl;
mod descriptors;
mod dev;
mod doctor;
mod explain;
mod hash_password;
mod healthcheck;
mod inject;
mod keys;
mod login;
mod logout;
mod man;
mod openapi;
mod schema;
mod serve;
mod signals;
mod source;
mod status;
mod validate;
mod watch;

/// OAuth 2.0 tokens bound to the client's key, issued and enforced: an authorization server and an Envoy gate in one.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What the verbs take from the process environment, which `main` alone reads.
#[derive(Debug)]
pub struct Environment {
    /// Where tokens are kept between two calls: `$XDG_STATE_HOME/tollgate`.
    pub state_directory: PathBuf,
    /// How this program was called, so that the commands it suggests can be typed as they are.
    pub program: String,
    /// Whether colours are welcome (`NO_COLOR` is not set).
    pub colours: bool,
    /// Where its variables want spans to go, if anywhere (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    pub traces: Option<Collector>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a whole installation on this machine, without a file
    Dev(dev::Dev),
    /// Serve what the configuration says
    Serve(serve::Serve),
    /// Check a configuration and report every mistake in it
    Validate(validate::Validate),
    /// Print the JSON schema of the configuration
    Schema(schema::Schema),
    /// Print the OpenAPI document of the HTTP endpoints
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    /// Show the signing keys, or bring a new one
    Keys(keys::Keys),
    /// See and end what a running installation has given: grants, sessions, devices, keys
    Admin(admin::Admin),
    /// Put the sidecar into the pods of a Kubernetes manifest, or serve the webhook that does
    Inject(inject::Inject),
    /// Copy the database of an installation, while it runs
    Backup(backup::Backup),
    /// Sign in with a code on another device, or in a browser, and keep the token
    Login(login::Login),
    /// End what `login` began, and forget the token and its key
    Logout(logout::Logout),
    /// Call an API with a token and a proof, tell what happens, and play the thief
    Curl(Box<curl::Curl>),
    /// Tell what a refusal means, why it happens and what to do
    Explain(explain::Explain),
    /// Hash a password for the users file
    HashPassword(hash_password::HashPassword),
    /// Ask an instance whether it is ready
    Healthcheck(healthcheck::Healthcheck),
    /// Ask an instance what it is and what it has in force
    Status(status::Status),
    /// Find out what stands in the way of an installation, and what to do about it
    Doctor(doctor::Doctor),
    /// Print what a shell completes
    Completions(completions::Completions),
    /// Write the manual pages
    Man(man::Man),
}

impl Cli {
    /// Runs the verb.
    pub fn run(self, environment: &Environment) -> ExitCode {
        match self.verb {
            Verb::Dev(verb) => wait_for(async { verb.run(environment).await.unwrap_or_else(report) }),
            Verb::Serve(verb) => verb.run(environment.traces.as_ref()),
            Verb::Validate(verb) => verb.run(),
            Verb::Schema(verb) => verb.run(),
            Verb::OpenApi(verb) => verb.run(),
            Verb::Keys(verb) => wait_for(async { verb.run().await.unwrap_or_else(report) }),
            Verb::Admin(verb) => wait_for(async { verb.run().await.unwrap_or_else(report) }),
            Verb::Inject(verb) => wait_for(async { verb.run().await.unwrap_or_else(report) }),
            Verb::Backup(verb) => verb.run().unwrap_or_else(report),
            Verb::Login(verb) => wait_for(async { verb.run(environment).await.unwrap_or_else(report) }),
            Verb::Logout(verb) => wait_for(async { verb.run(environment).await.unwrap_or_else(report) }),
            Verb::Curl(verb) => wait_for(async { verb.run(environment).await.unwrap_or_else(report) }),
            Verb::Explain(verb) => verb.run(),
            Verb::HashPassword(verb) => verb.run(),
            Verb::Healthcheck(verb) => wait_for(verb.run()),
            Verb::Status(verb) => wait_for(verb.run()),
            Verb::Doctor(verb) => wait_for(verb.run()),
            Verb::Completions(verb) => verb.run(Self::command()),
            Verb::Man(verb) => verb.run(Self::command()),
        }
    }
}

/// Runs a verb that waits for others.
fn wait_for(verb: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(verb),
        Err(error) => failed(&error),
    }
}

/// Tells on standard error what failed, why, and what helps.
fn report(error: impl Diagnostic + Send + Sync + 'static) -> ExitCode {
    eprintln!("{:?}", Report::new(error));
    ExitCode::FAILURE
}

/// Reports what failed, with its causes, and gives the exit code for it.
fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("tollgate: {}", in_full(error));
    ExitCode::FAILURE
}

/// An error with its causes.
fn in_full(error: &dyn Error) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What is behind an error, the nearest cause first.
fn causes<'a>(error: &'a dyn Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(error.source(), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}

/// How to report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// A time span in its largest unit.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A word of a command line, quoted for a POSIX shell if it must be.
fn quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':');
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
