//! `tollgate keys`: the signing keys of an installation, and a new one ahead of time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use miette::Diagnostic;
use serde_json::json;

use super::{Output, span, validate};
use crate::app::{self, AppError};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::{Config, Store};
use crate::keys::{KeyState, KeysError, SigningKeys, Withdrawal};
use crate::store::KeyRecord;

/// What to do with the keys.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every key and where it stands: announced, signing or retired
    List(Installation),
    /// Announce a new key now; it signs once everybody has had time to fetch it
    Rotate {
        #[command(flatten)]
        installation: Installation,
        /// A key has leaked: the new one signs at once, and all others are withdrawn with the tokens they signed
        #[arg(long)]
        now: bool,
    },
    /// Withdraw one key with the tokens that it signed; another one must sign in its place
    Drop {
        #[command(flatten)]
        installation: Installation,
        /// Its kid
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

/// Which installation, and how to report.
#[derive(Debug, Args)]
struct Installation {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
    config: PathBuf,
    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum KeysVerbError {
    /// The keys are out of reach.
    #[error("this installation keeps its keys in the memory of the running process")]
    #[diagnostic(help("configure `store: {{ sqlite: {{ path: ... }} }}` to have keys that outlive a restart"))]
    InMemory,
    /// This installation issues no tokens.
    #[error("this installation has no authorization server, so it has no signing keys")]
    NoServer,
    /// There is no store yet.
    #[error("there is no store at {} yet", .0.display())]
    #[diagnostic(help("the first `tollgate serve` makes it, with its first key"))]
    NoStore(PathBuf),
    /// There is no such key.
    #[error("there is no key of that name in the key set")]
    #[diagnostic(help("`tollgate keys list` shows those that there are"))]
    Unknown,
    /// Nothing would sign any more.
    #[error("no other key signs now")]
    #[diagnostic(help("`tollgate keys rotate --now` has a new one sign at once, and withdraws all others"))]
    OnlySigner,
    /// The store or the keys cannot be used.
    #[error(transparent)]
    App(#[from] AppError),
    /// The new key could not be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Keys {
    /// Does it, and reports the keys as they then are.
    pub(super) async fn run(self) -> Result<ExitCode, KeysVerbError> {
        let (installation, rotation) = match self.action {
            Action::List(installation) => (installation, None),
            Action::Rotate { installation, now: false } => (installation, Some(Rotation::AheadOfTime)),
            Action::Rotate { installation, now: true } => (installation, Some(Rotation::Emergency)),
            Action::Drop { installation, kid } => (installation, Some(Rotation::Drop(kid))),
        };
        let config = match validate::load(&installation.config, &[]) {
            Ok(config) => config,
            Err(mistakes) => return Ok(validate::refuse(&mistakes)),
        };
        let now = SystemClock.now();
        let keys = open(config, now).await?;
        match &rotation {
            None => {}
            Some(Rotation::Drop(kid)) => match keys.withdraw(kid, now).await? {
                Withdrawal::Withdrawn(_) => {}
                Withdrawal::Unknown => return Err(KeysVerbError::Unknown),
                Withdrawal::OnlySigner => return Err(KeysVerbError::OnlySigner),
            },
            Some(Rotation::AheadOfTime) => drop(keys.rotate(now).await?),
            Some(Rotation::Emergency) => drop(keys.rotate_now(now).await?),
        }
        match installation.output {
            Output::Text => print!("{}", table(&keys.records(), now)),
            Output::Json => println!("{:#}", document(&keys.records(), now)),
        }
        advise(rotation.as_ref(), &keys, &installation.config, now);
        Ok(ExitCode::SUCCESS)
    }
}

/// How a new key takes over.
#[derive(Debug)]
enum Rotation {
    AheadOfTime,
    Emergency,
    Drop(String),
}

async fn open(config: Config, now: Timestamp) -> Result<SigningKeys, KeysVerbError> {
    match &config.store {
        Store::Memory => return Err(KeysVerbError::InMemory),
        Store::Sqlite { path } if !path.exists() => return Err(KeysVerbError::NoStore(path.clone())),
        Store::Sqlite { .. } | Store::Postgres(_) => {}
    }
    app::signing_keys(config, now).await?.ok_or(KeysVerbError::NoServer)
}

/// What an emergency costs, and what it does not do.
const WITHDRAWN: &str = "\
warning: the tokens signed before are withdrawn, and their clients must get new ones. That is not instant: a running
  server, its gate included, trusts the old key for up to 30 s, and others do so for as long as they keep the key set,
  5 minutes if they obey Cache-Control.
";

/// Says what happens next, and the next command to type.
fn advise(rotation: Option<&Rotation>, keys: &SigningKeys, config: &Path, now: Timestamp) {
    let config = config.display();
    match rotation {
        None => eprintln!("next: tollgate keys rotate --config {config}"),
        Some(Rotation::AheadOfTime) => {
            let signs = keys.records().last().map(|newest| newest.sign_from.since(now)).unwrap_or_default();
            eprintln!("the new key is announced and signs in {}; a running server knows within 30 s", span(signs));
            eprintln!("next: tollgate keys list --config {config}");
        }
        Some(Rotation::Emergency | Rotation::Drop(_)) => {
            eprint!("{WITHDRAWN}");
            eprintln!("next: tollgate keys list --config {config}");
        }
    }
}

const fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Announced => "announced",
        KeyState::Signing => "signing",
        KeyState::Retired => "retired",
        KeyState::Dropped => "dropped",
    }
}

fn table(records: &[KeyRecord], now: Timestamp) -> String {
    let heading = format!("{:<44} {:<9} {:<10} next\n", "KID", "ALG", "STATE");
    let rows = records.iter().filter(|record| record.state(now) != KeyState::Dropped).map(|record| {
        let state = record.state(now);
        let next = match state {
            KeyState::Announced => format!("signs in {}", span(record.sign_from.since(now))),
            KeyState::Signing => format!("retires in {}", span(record.retire_at.since(now))),
            KeyState::Retired => format!("leaves the key set in {}", span(record.drop_at.since(now))),
            KeyState::Dropped => String::new(),
        };
        format!("{:<44} {:<9} {:<10} {next}\n", record.kid, record.algorithm.name(), state_name(state))
    });
    heading + &rows.collect::<String>()
}

/// The keys for programs; times are seconds since the epoch.
fn document(records: &[KeyRecord], now: Timestamp) -> serde_json::Value {
    let key = |record: &KeyRecord| {
        json!({
            "kid": record.kid,
            "alg": record.algorithm.name(),
            "state": state_name(record.state(now)),
            "published_at": record.published_at.seconds(),
            "sign_from": record.sign_from.seconds(),
            "retire_at": record.retire_at.seconds(),
            "drop_at": record.drop_at.seconds(),
        })
    };
    json!({ "keys": records.iter().map(key).collect::<Vec<_>>() })
}
