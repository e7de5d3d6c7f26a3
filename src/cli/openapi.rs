//! `tollgate openapi`: every HTTP endpoint, described for programs.

use std::process::ExitCode;

use clap::Args;

use crate::web;

/// For which server to print it.
#[derive(Debug, Args)]
#[command(after_help = "Example: tollgate openapi > openapi.json")]
pub(super) struct OpenApi {
    /// The issuer below which the endpoints are
    #[arg(long, value_name = "URL", default_value = "https://auth.example.com")]
    issuer: String,
}

impl OpenApi {
    /// Prints the document.
    pub(super) fn run(self) -> ExitCode {
        println!("{:#}", web::openapi(self.issuer.trim_end_matches('/')));
        ExitCode::SUCCESS
    }
}
