//! `tollgate healthcheck`: a probe for images without a shell.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, Url};

use super::client::{Certificates, Transport};

/// How long an instance has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where to ask.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// The readiness page of the admin listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090/readyz")]
    url: Url,
}

impl Healthcheck {
    /// Exit code 0 if the instance is ready, 1 if it is not or does not answer.
    pub(super) async fn run(self) -> ExitCode {
        let request = Transport::new(Certificates::Check).request(Method::GET, &self.url).timeout(PATIENCE);
        match Transport::fetch(request, &self.url).await {
            Ok(reply) if reply.status.is_success() => ExitCode::SUCCESS,
            Ok(reply) => {
                eprintln!("not ready: {} {}", reply.status, String::from_utf8_lossy(&reply.body).trim());
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("not ready: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
