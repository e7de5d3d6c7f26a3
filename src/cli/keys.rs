//! `tollgate keys`: the signing keys of an installation with their secrets, new ones ahead of time, and what they are encrypted
//! under.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use miette::Diagnostic;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Output, span, validate};
use crate::app::{self, AppError};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Store;
use crate::jose::SigningKey;
use crate::keys::{
    ImportFault, KeyState, KeysError, Rewrapped, SecretStanding, SecretState, SigningKeys, Withdrawal, importable,
};
use crate::store::KeyRecord;

/// What to do with the keys.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every key and where it stands: announced, signing or retired; and the secrets for nonces, forms and cookies
    List(Installation),
    /// Announce a new key now, with a new secret for nonces and forms; it signs once everybody has had time to fetch it
    Rotate {
        #[command(flatten)]
        installation: Installation,
        /// A key has leaked: the new one signs at once, and all others are withdrawn with the tokens they signed
        #[arg(long)]
        now: bool,
    },
    /// Announce a key that was made elsewhere; it signs once everybody has had time to fetch it
    #[command(after_help = IMPORT)]
    Import {
        #[command(flatten)]
        installation: Installation,
        /// A private key: PKCS #8 in PEM (`-----BEGIN PRIVATE KEY-----`), or a private JWK in JSON
        file: PathBuf,
    },
    /// Encrypt all keys in the store under `encryption_key_file`, where another key has taken its place
    #[command(after_help = REWRAP)]
    Rewrap(Installation),
    /// Withdraw one key with the tokens that it signed; another one must sign in its place
    Drop {
        #[command(flatten)]
        installation: Installation,
        /// Its kid
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

/// What becomes of a key that is imported.
const IMPORT: &str = "\
It must be of the kind that `signing.algorithm` asks for. It is announced for `signing.announce`, then signs in the
place of all others, as after `tollgate keys rotate`; a server may run meanwhile. Its name (kid) here is its thumbprint
(RFC 7638), whatever it was called elsewhere. Whoever else has a copy of it can make tokens of yours: prefer `rotate`
unless the key must come from elsewhere, and delete the file afterwards.

Example: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out next.pem && tollgate keys import next.pem";

/// How another key takes the place of `encryption_key_file`.
const REWRAP: &str = "\
To replace the key while processes serve:
  1. Make a new one: openssl rand -base64 32 > new-kek
  2. Several processes on one database only: add `decryption_key_files: [new-kek]`, and restart one after the other.
  3. Set `encryption_key_file: new-kek` and `decryption_key_files: [kek]`, and restart one after the other.
  4. tollgate keys rewrap
  5. Remove `decryption_key_files`, and restart one after the other. Keep the old file for as long as old backups.";

/// The longest file that is looked at for a key, in bytes.
const FILE_LIMIT: u64 = 64 * 1_024;

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
    /// A file cannot be read.
    #[error("{} cannot be read: {cause}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// A file holds no key that is taken.
    #[error("{} {fault}", file.display())]
    #[diagnostic(help("{}", fault.help()))]
    NoKey {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        fault: ImportFault,
    },
    /// The key is there.
    #[error("this key is here already; its kid is {0}")]
    #[diagnostic(help("`tollgate keys list` shows where it stands; one that was withdrawn is not taken again"))]
    Known(String),
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
            Action::Import { installation, file } => (installation, Some(Rotation::Import(file))),
            Action::Rewrap(installation) => (installation, Some(Rotation::Rewrap)),
            Action::Drop { installation, kid } => (installation, Some(Rotation::Drop(kid))),
        };
        let config = match validate::load(&installation.config, &[]) {
            Ok(config) => config,
            Err(mistakes) => return Ok(validate::refuse(&mistakes)),
        };
        let now = SystemClock.now();
        check_store(&config.store)?;
        let keys = app::signing_keys(config, now).await?.ok_or(KeysVerbError::NoServer)?;
        match &rotation {
            None => {}
            Some(Rotation::Rewrap) => say(keys.rewrap().await?),
            Some(Rotation::Import(file)) => {
                let key = read(file, &keys)?;
                let known = || KeysVerbError::Known(key.kid().to_owned());
                keys.import(&key, now).await?.ok_or_else(known)?;
            }
            Some(Rotation::Drop(kid)) => match keys.withdraw(kid, now).await? {
                Withdrawal::Withdrawn(_) => {}
                Withdrawal::Unknown => return Err(KeysVerbError::Unknown),
                Withdrawal::OnlySigner => return Err(KeysVerbError::OnlySigner),
            },
            Some(Rotation::AheadOfTime) => drop(keys.rotate(now).await?),
            Some(Rotation::Emergency) => drop(keys.rotate_now(now).await?),
        }
        match installation.output {
            Output::Text => {
                print!("{}\n{}", table(&keys.records(), now), table_of_secrets(&keys.secrets_standing(now), now));
            }
            Output::Json => println!("{:#}", document(&keys, now)),
        }
        advise(rotation.as_ref(), &keys, &installation.config, now);
        Ok(ExitCode::SUCCESS)
    }
}

/// What is done about the keys.
#[derive(Debug)]
enum Rotation {
    AheadOfTime,
    Emergency,
    Import(PathBuf),
    Rewrap,
    Drop(String),
}

fn check_store(store: &Store) -> Result<(), KeysVerbError> {
    match store {
        Store::Memory => Err(KeysVerbError::InMemory),
        Store::Sqlite { path } if !path.exists() => Err(KeysVerbError::NoStore(path.clone())),
        Store::Sqlite { .. } | Store::Postgres(_) => Ok(()),
    }
}

/// Reads a key of the kind that new ones are of.
fn read(file: &Path, keys: &SigningKeys) -> Result<SigningKey, KeysVerbError> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(file).and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text));
    read.map_err(|cause| KeysVerbError::Unreadable { file: file.to_owned(), cause })?;
    importable(&text, keys.signs_with()).map_err(|fault| KeysVerbError::NoKey { file: file.to_owned(), fault })
}

/// What an emergency costs, and what it does not do.
const WITHDRAWN: &str = "\
warning: the tokens signed before are withdrawn, and their clients must get new ones. So are the nonces and forms of
  before: clients are given new nonces, and who is in the middle of signing in must begin again. That is not instant: a
  running server, its gate included, trusts the old key for up to 30 s, and others do so for as long as they keep the key
  set, 5 minutes if they obey Cache-Control.
";

/// Says what was encrypted anew.
fn say(rewrapped: Rewrapped) {
    let Rewrapped { signing_keys, secrets, root_key } = rewrapped;
    let root = if root_key { "the root key" } else { "not the root key" };
    if rewrapped == Rewrapped::default() {
        eprintln!("every key is encrypted under `encryption_key_file` already");
    } else {
        eprintln!("encrypted anew: {signing_keys} signing keys, {secrets} secrets for nonces and forms, and {root}");
    }
}

/// Says what happens next, and the next command to type.
fn advise(rotation: Option<&Rotation>, keys: &SigningKeys, config: &Path, now: Timestamp) {
    let list = format!("next: tollgate keys list --config {}", config.display());
    let announced = || {
        let signs = keys.records().last().map(|newest| newest.sign_from.since(now)).unwrap_or_default();
        eprintln!("the new key is announced and signs in {}; a running server knows within 30 s", span(signs));
    };
    match rotation {
        None => eprintln!("next: tollgate keys rotate --config {}", config.display()),
        Some(Rotation::AheadOfTime) => {
            announced();
            eprintln!("{list}");
        }
        Some(Rotation::Import(file)) => {
            announced();
            eprintln!("whoever has {} can sign as you do: delete it, if this key has no other use", file.display());
            eprintln!("{list}");
        }
        Some(Rotation::Rewrap) => {
            eprintln!("next: remove `decryption_key_files`, and restart; keep the old file for as long as old backups");
        }
        Some(Rotation::Emergency | Rotation::Drop(_)) => {
            eprint!("{WITHDRAWN}");
            eprintln!("{list}");
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

/// The secrets, of which none is ever shown.
fn table_of_secrets(secrets: &[SecretStanding], now: Timestamp) -> String {
    let heading = format!("{:<44} {:<9} {:<10} next\n", "SECRET FOR NONCES, FORMS AND COOKIES", "AGE", "STATE");
    let rows = secrets.iter().map(|secret| {
        let name = format!("generation {}", secret.generation);
        let age = secret.drawn_at.map_or_else(|| "root key".to_owned(), |drawn_at| span(now.since(drawn_at)));
        let next = match secret.state {
            SecretState::Announced => format!("makes new ones in {}", span(secret.from.since(now))),
            SecretState::Making => "makes new ones until the next one does".to_owned(),
            SecretState::Opening => format!("opens what it has made for {} more", span(secret.until.since(now))),
        };
        format!("{name:<44} {age:<9} {:<10} {next}\n", secret.state.name())
    });
    heading + &rows.collect::<String>()
}

/// The keys and secrets for programs; times are seconds since the epoch.
fn document(keys: &SigningKeys, now: Timestamp) -> serde_json::Value {
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
    let secret = |secret: &SecretStanding| {
        json!({
            "generation": secret.generation,
            "state": secret.state.name(),
            "drawn_at": secret.drawn_at.map(Timestamp::seconds), // none of the root key
            "make_from": secret.from.seconds(),
            "count_until": secret.until.seconds(),
        })
    };
    json!({
        "keys": keys.records().iter().map(key).collect::<Vec<_>>(),
        "secrets": keys.secrets_standing(now).iter().map(secret).collect::<Vec<_>>(),
    })
}
