//! `tollgate schema`: the JSON schema of the configuration, and the reference that is made from it.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::config;

/// What to print.
#[derive(Debug, Args)]
#[command(after_help = "Example: tollgate schema > tollgate.schema.json")]
pub(super) struct Schema {
    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

/// The form of the schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A JSON schema, for editors.
    Json,
    /// A page for people.
    Markdown,
}

impl Schema {
    /// Prints the schema.
    pub(super) fn run(self) -> ExitCode {
        match self.format {
            Format::Json => println!("{:#}", config::schema()),
            Format::Markdown => print!("{}", config::markdown()),
        }
        ExitCode::SUCCESS
    }
}
