//! `tollgate serve`: runs what the configuration says until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::validate::{self, Override};
use crate::app::{App, AppError, Seams};
use crate::telemetry;

/// What to serve.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
    config: PathBuf,
    /// Override a setting, as in `--set 'authorization_server.tokens.access_token="1m"'`
    #[arg(long, value_name = "KEY=JSON", value_parser = Override::parse)]
    set: Vec<Override>,
    /// What to log: error, warn, info, debug, or directives such as `tollgate::web=debug`
    #[arg(long, value_name = "FILTER", env = "TOLLGATE_LOG", default_value = "info")]
    log: String,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let config = match validate::load(&self.config, &self.set) {
            Ok(config) => config,
            Err(mistakes) => return validate::refuse(&mistakes),
        };
        telemetry::init(&self.log);
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return super::failed(&error),
        };
        match runtime
            .block_on(async { App::start(config, Seams::default()).await?.announce()?.run(told_to_stop()).await })
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::failed(&error),
        }
    }
}

impl App {
    /// Logs where this program listens.
    fn announce(self) -> Result<Self, AppError> {
        let addresses = self.addresses().map_err(AppError::Serve)?;
        tracing::info!(public = ?addresses.public, admin = %addresses.admin, gate = ?addresses.gate, "tollgate serves");
        Ok(self)
    }
}

/// Resolves at SIGTERM or SIGINT.
pub(super) async fn told_to_stop() {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match signals {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}
