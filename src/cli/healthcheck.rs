//! `tollgate healthcheck`: a probe for images without a shell.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, Url};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::channel::connect;
use super::client::{Certificates, Transport};
use crate::grpc::{GATE_SERVICE, ListenAddress};

/// How long an instance has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where to ask.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// The listener of the gate, `unix:/path/of/socket` or an address and a port: asked over gRPC
    #[arg(value_name = "ADDRESS", conflicts_with = "url")]
    address: Option<ListenAddress>,
    /// Whether it runs, not whether it can decide yet
    #[arg(long, requires = "address")]
    live: bool,
    /// The readiness page of the admin listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090/readyz")]
    url: Url,
    /// Do not check the server's certificate: whether it answers is asked, and nothing is told
    #[arg(long, conflicts_with = "address")]
    insecure: bool,
}

impl Healthcheck {
    /// Exit code 0 if the instance is ready, 1 if it is not or does not answer.
    pub(super) async fn run(self) -> ExitCode {
        let asked = async {
            if let Some(address) = &self.address {
                return ask(address, self.live).await;
            }
            fetch(&self.url, if self.insecure { Certificates::Ignore } else { Certificates::Check }).await
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        match answer.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("not ready: {why}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Asks the admin listener.
async fn fetch(url: &Url, certificates: Certificates) -> Result<(), String> {
    let request = Transport::new(certificates).request(Method::GET, url).timeout(PATIENCE);
    match Transport::fetch(request, url).await {
        Ok(reply) if reply.status.is_success() => Ok(()),
        Ok(reply) => Err(format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body).trim())),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks `grpc.health.v1.Health` of the gate: about the gate, or, to know whether it runs, about nothing in particular, which
/// any answer settles.
pub(super) async fn ask(address: &ListenAddress, live: bool) -> Result<(), String> {
    let channel = connect(address).await.map_err(|error| format!("cannot connect to {address}: {error}"))?;
    let service = if live { String::new() } else { GATE_SERVICE.to_owned() };
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service }).await;
    let status = answer.map_err(|status| status.message().to_owned())?.into_inner().status();
    if live || status == ServingStatus::Serving { Ok(()) } else { Err(status.as_str_name().to_owned()) }
}
