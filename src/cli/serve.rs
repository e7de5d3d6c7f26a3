//! `tollgate serve`: runs what the configuration says until it is told to stop.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use super::descriptors;
use super::signals::{Signals, Told};
use super::source::Source;
use super::validate::{self, Override};
use crate::app::{App, AppError, Reloader, Seams, Stop};
use crate::config::Config;
use crate::telemetry::{self, Collector, LogFilter, Logging, Traces, TracesFault};

/// What to serve.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
    config: PathBuf,
    /// Override a setting, as in `--set 'authorization_server.tokens.access_token="1m"'`
    #[arg(long, value_name = "KEY=JSON", value_parser = Override::parse)]
    set: Vec<Override>,
    /// What to log, instead of what the file says: error, warn, info, debug, or directives such as `tollgate::web=debug`
    #[arg(long, value_name = "FILTER", env = "TOLLGATE_LOG")]
    log: Option<LogFilter>,
}

/// Why it did not start, or did not end in good order.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// The program did not start, or failed.
    #[error(transparent)]
    App(#[from] AppError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesFault),
    /// Nothing could tell it to stop.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// Somebody was in a hurry.
    #[error("told to stop a second time: what was in flight was cut off")]
    CutOff,
}

impl Serve {
    /// `traces` is where the environment wants spans to go, if anywhere.
    pub(super) fn run(self, traces: Option<&Collector>) -> ExitCode {
        let mut source = Source::new(self.config, self.set);
        let by_file = self.log.is_none();
        let config = match source.load() {
            Ok(config) => config,
            Err(mistakes) => return validate::refuse(&mistakes),
        };
        let seams = Seams::default();
        let log = match telemetry::init(self.log.as_ref().unwrap_or(&config.log), &seams.feed) {
            Ok(log) => log,
            Err(error) => return super::failed(&error),
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return super::failed(&error),
        };
        descriptors::raise_limit();
        let ended = runtime.block_on(serve((config, seams, traces), source, by_file.then_some(&log)));
        if matches!(ended, Err(ServeError::CutOff)) {
            runtime.shutdown_background();
        }
        drop(log); // the last lines come before the last word
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::failed(&error),
        }
    }
}

/// Serves until SIGTERM or SIGINT, then drains; at a second one drops everything. At SIGHUP, and when a file changes, it
/// goes on with what the files say then; `log` is there if they say what is logged.
async fn serve(
    (config, mut seams, traces): (Config, Seams, Option<&Collector>),
    mut source: Source,
    log: Option<&Logging>,
) -> Result<(), ServeError> {
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let traces = traces.map(|collector| Traces::to(collector, &config.roots)).transpose()?.map(Arc::new);
    seams.traces.clone_from(&traces);
    for note in config.notes() {
        tracing::warn!("{note}");
    }
    let app = App::start(config, seams).await?.announce()?;
    let reloader = app.reloader();
    let (stop, stopped) = oneshot::channel();
    let run = app.run(async { stopped.await.unwrap_or(Stop::AtOnce) });
    let told_twice = async {
        let told = told_to_stop(&mut signals, &mut source, (&reloader, log)).await;
        let _ = stop.send(told); // or it has ended by itself
        told_to_stop(&mut signals, &mut source, (&reloader, log)).await;
    };
    tokio::select! {
        ended = run => {
            if let Some(traces) = traces {
                let _ = tokio::task::spawn_blocking(move || traces.end()).await;
            }
            Ok(ended?)
        }
        () = told_twice => Err(ServeError::CutOff),
    }
}

/// Resolves at SIGTERM, which comes from who has others to tell as well, or SIGINT, at which a person waits; until then sees to
/// reloads.
async fn told_to_stop(
    signals: &mut Signals,
    source: &mut Source,
    (reloader, log): (&Reloader, Option<&Logging>),
) -> Stop {
    loop {
        let cause = tokio::select! {
            told = signals.next() => match told {
                Told::Terminate => return Stop::Announced,
                Told::Interrupt => return Stop::AtOnce,
                Told::Hangup => "SIGHUP",
            },
            () = source.changed() => "a file has changed",
        };
        source.reload(cause, reloader, log).await;
    }
}

impl App {
    /// Logs where this program listens.
    fn announce(self) -> Result<Self, AppError> {
        let addresses = self.addresses().map_err(AppError::Serve)?;
        let public = addresses.public.map(|address| address.to_string());
        let gate: Vec<_> = addresses.sockets.iter().map(|path| format!("unix:{}", path.display())).collect();
        let gate = gate.into_iter().chain(addresses.gate.iter().map(ToString::to_string)).collect::<Vec<_>>();
        for open in addresses.gate.iter().filter(|address| !address.ip().is_loopback()) {
            tracing::warn!(gate = %open, "whoever reaches the gate can use up proofs that he has seen; let only Envoy reach it");
        }
        let gate = Some(gate.join(", ")).filter(|gate| !gate.is_empty());
        tracing::info!(public, admin = %addresses.admin, gate, "tollgate serves");
        Ok(self)
    }
}
