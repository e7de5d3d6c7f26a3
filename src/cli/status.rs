//! `tollgate status`: what an instance is and has in force.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, Url};
use serde_json::Value;

use super::client::{Certificates, Transport};

/// How long an instance has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where to ask.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The status page of the admin listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090/status")]
    url: Url,
}

impl Status {
    /// Prints what the instance says: exit code 0 if it is ready and has what its files say in force, else 1.
    pub(super) async fn run(self) -> ExitCode {
        let status = match self.fetch().await {
            Ok(status) => status,
            Err(why) => {
                eprintln!("no status: {why}");
                return ExitCode::FAILURE;
            }
        };
        println!("{status:#}");
        let as_written = status["configuration"]["refused"].is_null();
        let ready = status["missing"].as_array().is_some_and(Vec::is_empty);
        if ready && as_written { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn fetch(&self) -> Result<Value, String> {
        let request = Transport::new(Certificates::Check).request(Method::GET, &self.url).timeout(PATIENCE);
        let reply = Transport::fetch(request, &self.url).await.map_err(|error| error.to_string())?;
        if !reply.status.is_success() {
            return Err(reply.status.to_string());
        }
        serde_json::from_slice(&reply.body).map_err(|_| "the answer is none".to_owned())
    }
}
