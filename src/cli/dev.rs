//! `tollgate dev`: a whole installation on this machine, without a file, gone when it stops.

use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use miette::Diagnostic;
use tempfile::TempDir;
use tokio::sync::watch;

use super::Environment;
use super::client::{ClientError, DevSession, Wallet, random};
use super::descriptors;
use super::signals::Signals;
use crate::app::{App, AppError, Seams, Stop};
use crate::config::{Config, Mistakes};
use crate::identity::{PasswordFault, hash_password};
use crate::telemetry;
use crate::web::{Door, Limits};

mod envoy;
mod files;
mod story;
mod upstream;

use envoy::{Envoy, EnvoyError};
use files::Plan;

/// Where to listen, and what to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tollgate dev              then, in another terminal: tollgate curl http://127.0.0.1:10000/orders
  tollgate dev --story      shows a stolen token refused, with real requests")]
pub(super) struct Dev {
    /// Walk through the story with real requests, then stay up
    #[arg(long)]
    story: bool,
    /// End after the story
    #[arg(long, requires = "story")]
    once: bool,
    /// Require nonces of all proofs (RFC 9449 §8, §9): `tollgate curl` shows how clients cope
    #[arg(long, conflicts_with = "story")]
    nonce: bool,
    /// The port of the authorization server; 0 for a free one [default: 8080, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The port of Envoy [default: 10000, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    envoy_port: Option<u16>,
    /// The port of /livez and /readyz [default: 9090, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// The Envoy to start, instead of one under .tools/ or on PATH
    #[arg(long, value_name = "FILE", env = "ENVOY_BIN")]
    envoy: Option<PathBuf>,
    /// What to log: error, warn, info, debug, or directives such as `tollgate::web=debug`
    #[arg(long, value_name = "FILTER", env = "TOLLGATE_LOG", default_value = "warn")]
    log: String,
}

/// Why the installation did not come up, or what ended it.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum DevError {
    /// A port that was asked for is taken.
    #[error("port {0} is taken")]
    #[diagnostic(help("end what listens there, or choose another port; 0 takes a free one"))]
    Port(u16, #[source] io::Error),
    /// The temporary folder cannot be used.
    #[error("cannot write the files of the installation")]
    Folder(#[source] io::Error),
    /// There is nothing to log with.
    #[error("cannot start the log")]
    Log(#[source] io::Error),
    /// Nothing could tell it to stop.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// Somebody was in a hurry.
    #[error("told to stop a second time: what was in flight was cut off")]
    CutOff,
    /// The password could not be hashed.
    #[error("cannot hash the demo password")]
    Password(#[from] PasswordFault),
    /// The configuration that this verb wrote is not right.
    #[error("the configuration of the demo is not valid: {0}")]
    Configuration(#[from] Mistakes),
    /// Tollgate did not start, or ended.
    #[error(transparent)]
    App(#[from] AppError),
    /// Envoy did not start, or ended.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Envoy(#[from] EnvoyError),
    /// The story needs Envoy.
    #[error("the story needs Envoy, and there is none")]
    #[diagnostic(help("{}", envoy::HOW_TO_GET))]
    NoEnvoy,
    /// A request of the story, or the file for `tollgate curl`.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Client(#[from] ClientError),
    /// The story did not go as told.
    #[error("{what}: expected {expected}, and the answer was {got}")]
    #[diagnostic(help("this is a defect of ours, please report it"))]
    Story {
        /// Which step.
        what: &'static str,
        /// The status that it should have had.
        expected: u16,
        /// The status that it had.
        got: u16,
    },
}

impl Dev {
    /// Starts everything, tells what to try, and ends everything at Ctrl-C, at SIGTERM, and when the terminal is closed.
    pub(super) async fn run(self, environment: &Environment) -> Result<ExitCode, DevError> {
        let _log = telemetry::init(&self.log).map_err(DevError::Log)?;
        let mut signals = Signals::listen().map_err(DevError::Signals)?;
        descriptors::raise_limit();
        let folder = tempfile::Builder::new()
            .prefix("tollgate-dev-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(DevError::Folder)?;
        let limits = Limits { connections: 256, ..Limits::default() };
        let bound = Door::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), limits).await;
        let upstream = bound.map_err(|error| DevError::Port(0, error))?;
        let plan = self.plan(&folder, upstream.address().map_err(|error| DevError::Port(0, error))?.port())?;
        plan.write().map_err(DevError::Folder)?;
        let app = App::start(Config::load(&plan.configuration())?, Seams::default()).await?;

        let (stop, stopped) = watch::channel(false);
        let until = |mut stopped: watch::Receiver<bool>| async move { drop(stopped.wait_for(|stop| *stop).await) };
        let upstream = tokio::spawn(upstream.serve(Arc::new(upstream::Upstream), until(stopped.clone())));
        let stopped = until(stopped);
        let mut app = tokio::spawn(app.run(async {
            stopped.await;
            Stop::AtOnce
        }));
        let outcome = tokio::select! {
            biased; // Ctrl-C reaches Envoy too, whose end is then no failure
            _ = signals.next() => Ok(()),
            outcome = self.attend(&plan, environment) => outcome,
            ended = &mut app => return Err(ended_early(ended)),
        };
        stop.send_replace(true);
        let drained = async {
            drop(upstream.await);
            app.await.map_err(|error| AppError::Serve(io::Error::other(error)))?
        };
        tokio::select! {
            drained = drained => drained?,
            _ = signals.next() => return Err(DevError::CutOff),
        }
        outcome.map(|()| ExitCode::SUCCESS)
    }

    /// Chooses ports and secrets.
    fn plan(&self, folder: &TempDir, upstream: u16) -> Result<Plan, DevError> {
        let password = random()[..12].to_owned();
        Ok(Plan {
            folder: folder.path().to_owned(),
            issuer: choose(self.port, 8080)?,
            envoy: choose(self.envoy_port, 10_000)?,
            admin: choose(self.admin_port, 9090)?,
            envoy_admin: choose(Some(0), 0)?,
            upstream,
            nonce: self.nonce,
            password_hash: hash_password(&password)?,
            password,
            secret: random(),
        })
    }

    /// Runs Envoy beside the rest until something ends.
    async fn attend(&self, plan: &Plan, environment: &Environment) -> Result<(), DevError> {
        let wallet = Wallet::new(environment.state_directory.clone());
        let session = plan.session();
        let announced = Announced { wallet: &wallet, port: plan.envoy, session: &session };
        wallet.announce(plan.envoy, &session)?;
        let started = Envoy::start(self.envoy.as_deref(), plan).await?;
        let Some(mut envoy) = started else {
            if self.story {
                return Err(DevError::NoEnvoy);
            }
            tell(plan, None, &environment.program);
            return std::future::pending().await;
        };
        if self.story {
            story::tell(plan, &session).await?;
        }
        if !self.once {
            tell(plan, Some(&envoy), &environment.program);
            return Err(envoy.ended().await.into());
        }
        envoy.stop().await;
        drop(announced);
        Ok(())
    }
}

/// What `tollgate curl` knows of this installation, and the tokens it got here; they go away with it.
struct Announced<'a> {
    wallet: &'a Wallet,
    port: u16,
    session: &'a DevSession,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.wallet.forget(self.port, self.session);
    }
}

/// The port that was asked for, or the usual one, or a free one if that is taken.
fn choose(asked: Option<u16>, usual: u16) -> Result<u16, DevError> {
    let port = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
    let bound = match asked {
        Some(asked) => port(asked).map_err(|error| DevError::Port(asked, error)),
        None => port(usual).or_else(|_| port(0)).map_err(|error| DevError::Port(usual, error)),
    };
    bound.map(|address| address.port())
}

fn ended_early(ended: Result<Result<(), AppError>, tokio::task::JoinError>) -> DevError {
    let error = match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => AppError::Serve(io::Error::other("it ended by itself")),
        Err(error) => AppError::Serve(io::Error::other(error)),
    };
    error.into()
}

/// What is there, and the next commands to type.
fn tell(plan: &Plan, envoy: Option<&Envoy>, program: &str) {
    let Plan { issuer, envoy: guard, upstream, password, .. } = plan;
    println!("  issuer   http://127.0.0.1:{issuer}      ES256, key in memory, gone when this stops");
    println!("  guard    http://127.0.0.1:{guard} -> API at 127.0.0.1:{upstream}");
    if let Some(envoy) = envoy {
        println!("           by {}, its log is {}", envoy.program().display(), envoy.log().display());
    } else {
        println!("           there is no Envoy yet; start one with {}", plan.envoy_configuration().display());
        println!("           {}", envoy::HOW_TO_GET);
    }
    println!("  people   ada and bob, password {password}");
    println!("  files    {}", plan.configuration().display());
    println!("  try      {program} curl http://127.0.0.1:{guard}/orders");
    println!("           {program} curl --steal http://127.0.0.1:{guard}/orders");
    println!("           {program} curl --login http://127.0.0.1:{guard}/orders      as ada");
    println!("           {program} login      with a code, as a device does");
    println!("  Ctrl-C ends it all.");
}
