//! Envoy as a child of this process.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use miette::Diagnostic;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::files::Plan;

/// How to come by an Envoy.
pub(super) const HOW_TO_GET: &str =
    "scripts/install-envoy in the source tree prints the path of one: give it with --envoy or in ENVOY_BIN";

/// Where `scripts/install-envoy` puts it.
const INSTALLED: &str = ".tools/envoy/envoy/_bin/envoy";

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often to look whether it listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why there is no Envoy.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(in crate::cli) enum EnvoyError {
    /// The program that was named cannot be run.
    #[error("cannot start {}", program.display())]
    #[diagnostic(help("{HOW_TO_GET}"))]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended.
    #[error("Envoy ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// How.
        status: String,
        /// What it said last.
        log: String,
    },
    /// It does not listen.
    #[error("Envoy did not listen within 30 seconds")]
    Silent,
}

/// A running Envoy. It is killed when this value goes away.
pub(super) struct Envoy {
    program: PathBuf,
    process: Child,
    log: PathBuf,
}

impl Envoy {
    /// Starts the Envoy that was named, or one that is at hand; `None` if there is none. Comes back once it listens.
    pub(super) async fn start(named: Option<&Path>, plan: &Plan) -> Result<Option<Self>, EnvoyError> {
        let log = plan.folder.join("envoy.log");
        let programs = match named {
            Some(named) => vec![named.to_owned()],
            None => vec![PathBuf::from(INSTALLED), PathBuf::from("envoy")],
        };
        for program in programs {
            let spawned = spawn(&program, plan, &log);
            match spawned {
                Ok(process) => {
                    let mut envoy = Self { program, process, log };
                    envoy.listens(plan.envoy).await?;
                    return Ok(Some(envoy));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
                Err(source) => return Err(EnvoyError::Start { program, source }),
            }
        }
        Ok(None)
    }

    /// The program that runs.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Its log, and its access log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    async fn listens(&mut self, port: u16) -> Result<(), EnvoyError> {
        let mut looks = interval(LOOK_EVERY);
        let listening = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                looks.tick().await;
            }
        };
        tokio::select! {
            listening = timeout(PATIENCE, listening) => listening.map_err(|_| EnvoyError::Silent),
            status = self.process.wait() => Err(ended(status, &self.log)),
        }
    }

    /// Resolves when Envoy ends by itself.
    pub(super) async fn ended(&mut self) -> EnvoyError {
        let status = self.process.wait().await;
        ended(status, &self.log)
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn stop(mut self) {
        drop(self.process.kill().await); // it may have ended by itself
    }
}

fn spawn(program: &Path, plan: &Plan, log: &Path) -> io::Result<Child> {
    let log = File::create(log)?;
    Command::new(program)
        .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warn", "--config-path"])
        .arg(plan.envoy_configuration())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

fn ended(status: io::Result<ExitStatus>, log: &Path) -> EnvoyError {
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    EnvoyError::Ended { status, log: lines[lines.len().saturating_sub(10)..].join("\n") }
}
