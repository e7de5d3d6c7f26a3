//! `tollgate validate`: whether a configuration is right, and everything that is wrong with it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Output;
use crate::config::{Config, Document, Mistakes};

/// What to validate.
#[derive(Debug, Args)]
#[command(after_help = "Example: tollgate validate tollgate.yaml")]
pub(super) struct Validate {
    /// The configuration file
    file: Option<PathBuf>,
    /// The same, as the other verbs take it
    #[arg(
        long,
        env = "TOLLGATE_CONFIG",
        value_name = "FILE",
        default_value = "tollgate.yaml",
        conflicts_with = "file"
    )]
    config: PathBuf,
    /// Override a setting, as `serve` would: a path, `=`, and the value in JSON or YAML
    #[arg(long, value_name = "KEY=JSON", value_parser = Override::parse)]
    set: Vec<Override>,
    /// How to report; for programs that is the list of mistakes, on standard output
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Validate {
    /// Prints `ok: FILE`, and what else must be so; or every mistake.
    pub(super) fn run(self) -> ExitCode {
        let file = self.file.unwrap_or(self.config);
        match (load(&file, &self.set), self.output) {
            (Ok(config), Output::Text) => {
                println!("ok: {}", file.display());
                for note in config.notes() {
                    eprintln!("note: {note}");
                }
            }
            (Ok(_), Output::Json) => println!("[]"),
            (Err(mistakes), Output::Text) => return refuse(&mistakes),
            (Err(mistakes), Output::Json) => {
                println!("{:#}", mistakes.to_json());
                return ExitCode::from(2);
            }
        }
        ExitCode::SUCCESS
    }
}

/// One `--set KEY=JSON`.
#[derive(Clone, Debug)]
pub(super) struct Override {
    key: String,
    json: String,
}

impl Override {
    /// Splits at the first equals sign.
    ///
    /// # Errors
    /// A sentence for the usage message.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (key, json) = text.split_once('=').ok_or("must be KEY=JSON")?;
        let key = key.trim();
        if key.split('.').any(str::is_empty) {
            Err("KEY must be a path such as listen.public.address")
        } else {
            Ok(Self { key: key.to_owned(), json: json.to_owned() })
        }
    }
}

/// Reads and judges a file with its overrides.
///
/// # Errors
/// All [`Mistakes`] at once.
pub(super) fn load(file: &Path, overrides: &[Override]) -> Result<Config, Mistakes> {
    read(file, overrides).0
}

/// The same, and the files that it names, whether it is right or not.
pub(super) fn read(file: &Path, overrides: &[Override]) -> (Result<Config, Mistakes>, Vec<PathBuf>) {
    let mut document = match Document::read(file) {
        Ok(document) => document,
        Err(mistakes) => return (Err(mistakes), Vec::new()),
    };
    for Override { key, json } in overrides {
        document.set(key, json);
    }
    document.judge()
}

/// Reports mistakes; the exit code says that the configuration is at fault.
pub(super) fn refuse(mistakes: &Mistakes) -> ExitCode {
    eprint!("{}", mistakes.to_terminal());
    ExitCode::from(2)
}
