//! `tollgate doctor`: what stands in the way of an installation, and what to do about it.
//!
//! It looks at the configuration and its files, the state, the sockets, a process that serves, the servers of others, the
//! clock and Envoy, changes nothing, and goes on after a failure. Opening the state is what `tollgate keys list` does, too.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use reqwest::Url;
use serde_json::json;

use super::Output;
use super::validate::{self, Override};

mod around;
mod envoy;
mod here;

/// What to look at.
#[derive(Debug, Args)]
#[command(after_help = "Example: tollgate doctor --config tollgate.yaml --envoy http://127.0.0.1:9901")]
pub(super) struct Doctor {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
    config: PathBuf,
    /// Override a setting, as `serve` would
    #[arg(long, value_name = "KEY=JSON", value_parser = Override::parse)]
    set: Vec<Override>,
    /// The admin address of Envoy, whose filters are to be looked at
    #[arg(long, value_name = "URL")]
    envoy: Option<Url>,
    /// How to report; for programs that is a list of objects with `section`, `outcome`, `what` and `help`
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// As it should be.
    Good,
    /// It may be meant so.
    Doubtful,
    /// It does not work like this.
    Bad,
}

impl Outcome {
    const fn mark(self) -> &'static str {
        match self {
            Self::Good => "√",
            Self::Doubtful => "‼",
            Self::Bad => "×",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        }
    }
}

/// Everything that was found, in order.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    section: &'static str,
    outcome: Outcome,
    what: String,
    help: Option<String>,
}

impl Findings {
    fn good(&mut self, section: &'static str, what: impl Into<String>) {
        self.0.push(Finding { section, outcome: Outcome::Good, what: what.into(), help: None });
    }

    fn doubtful(&mut self, section: &'static str, what: impl Into<String>, help: impl Into<String>) {
        self.0.push(Finding { section, outcome: Outcome::Doubtful, what: what.into(), help: Some(help.into()) });
    }

    fn bad(&mut self, section: &'static str, what: impl Into<String>, help: impl Into<String>) {
        self.0.push(Finding { section, outcome: Outcome::Bad, what: what.into(), help: Some(help.into()) });
    }

    fn print(&self, output: Output) {
        match output {
            Output::Json => {
                let one = |Finding { section, outcome, what, help }: &Finding| json!({ "section": section, "outcome": outcome.name(), "what": what, "help": help });
                let all: serde_json::Value = self.0.iter().map(one).collect();
                println!("{all:#}");
            }
            Output::Text => {
                let mut current = "";
                for Finding { section, outcome, what, help } in &self.0 {
                    if *section != current {
                        println!("{section}");
                        current = section;
                    }
                    println!("  {} {what}", outcome.mark());
                    if let Some(help) = help {
                        println!("      {help}");
                    }
                }
            }
        }
    }

    /// 1 if something is bad.
    fn exit_code(&self) -> ExitCode {
        if self.0.iter().any(|finding| finding.outcome == Outcome::Bad) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

impl Doctor {
    /// Reports everything: exit code 0 if nothing is bad, 1 if something is, 2 if the configuration cannot be right.
    pub(super) async fn run(self) -> ExitCode {
        let mut findings = Findings::default();
        let (config, files) = validate::read(&self.config, &self.set);
        let config = match config {
            Ok(config) => config,
            Err(mistakes) => {
                for mistake in mistakes.places() {
                    findings.bad("configuration", mistake.to_string(), mistake.help.unwrap_or_default());
                }
                findings.print(self.output);
                return ExitCode::from(2);
            }
        };
        findings.good("configuration", format!("{} is right", self.config.display()));
        here::files(&mut findings, &self.config, &files);
        here::sockets(&mut findings, &config).await;
        around::instance(&mut findings, &config).await;
        around::issuers(&mut findings, &config).await;
        if let Some(envoy) = &self.envoy {
            envoy::look(&mut findings, envoy).await;
        }
        here::state(&mut findings, config).await;
        findings.print(self.output);
        findings.exit_code()
    }
}
