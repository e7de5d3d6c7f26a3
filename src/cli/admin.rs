//! `tollgate admin`: what a running installation has given and to whom, and the end of it, through its own API.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use miette::Diagnostic;
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

use self::mutual::{HttpsAddress, Mutual, MutualFault};
use super::channel::connect;
use super::{Output, causes, span, validate};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::AdminApi;
use crate::grpc::ListenAddress;

mod clients;
mod devices;
mod grants;
mod keys;
mod mutual;
mod sessions;
mod status;
mod table;
mod watch;

/// How long an installation has to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to see or to end.
#[derive(Debug, Args)]
#[command(after_help = "Example: tollgate admin grants list --subject ada")]
pub(super) struct Admin {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    part: Part,
}

/// Where the installation is, and how to report.
#[derive(Debug, Args)]
struct Reach {
    /// The configuration file, of which `listen.admin.grpc` counts
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml", global = true)]
    config: PathBuf,
    /// Where to call, instead of what the configuration says: `unix:/path/of/socket`, or `https://host:port`
    #[arg(long, value_name = "ADDRESS", global = true)]
    address: Option<Address>,
    /// For https: a file with the certificate to show, and those that lead from it to an authority, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    cert: Option<PathBuf>,
    /// For https: a file with the private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    key: Option<PathBuf>,
    /// For https: a file with the certificates of the authorities that vouch for the installation, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// What runs, and with which configuration
    Status,
    /// The clients of the configuration, and those that have registered themselves
    #[command(subcommand)]
    Clients(clients::Clients),
    /// What people have granted clients
    #[command(subcommand)]
    Grants(grants::Grants),
    /// The keys that tokens are signed with
    #[command(subcommand)]
    Keys(keys::Keys),
    /// The browsers in which people are signed in
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Devices that wait for a person
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Follow the events for auditors as they happen
    Watch(watch::Watch),
}

/// Why nothing was done, or seen.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum AdminError {
    /// There is nowhere to call.
    #[error("this configuration opens no admin API")]
    #[diagnostic(help(
        "set `listen: {{ admin: {{ grpc: \"unix:/run/tollgate/admin.sock\" }} }}` and restart tollgate"
    ))]
    NoDoor,
    /// The configuration does not say what a caller shows.
    #[error("this configuration opens the admin API at a port, for those with certificates")]
    #[diagnostic(help("tollgate admin --address https://HOST:PORT --cert FILE --key FILE --ca FILE"))]
    NeedsCertificate,
    /// Nothing was given to show.
    #[error("an https address needs `--cert`, `--key` and `--ca`")]
    NoCertificate,
    /// What is to be shown cannot be used.
    #[error(transparent)]
    Certificate(#[from] MutualFault),
    /// Nobody answers there.
    #[error("cannot reach the admin API at {address}: {cause}")]
    #[diagnostic(help("{}", address.help()))]
    Unreachable {
        /// Where.
        address: Address,
        /// The cause.
        cause: String,
    },
    /// There is no such thing.
    #[error("{0}")]
    #[diagnostic(help("`list` shows what there is; what has ended or expired is forgotten after a while"))]
    NotFound(String),
    /// It cannot be done as things are.
    #[error("{0}")]
    Refused(String),
    /// This process does not know the call.
    #[error("the process at that address does not offer this call")]
    #[diagnostic(help("it may be an older version, or no authorization server"))]
    Unknown,
    /// Somebody has stopped it.
    #[error("stopped before all had ended: {0}")]
    #[diagnostic(help("the same command goes on with those that are left: what has ended stays so"))]
    Stopped(&'static str),
    /// Nobody could stop it.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A dependency of the installation is away.
    #[error("{0}")]
    #[diagnostic(help("its log says which part does not answer; nothing is known to have happened"))]
    Unavailable(String),
}

impl From<Status> for AdminError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound(message),
            Code::Unimplemented => Self::Unknown,
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => Self::Unavailable(message),
            _ => Self::Refused(message),
        }
    }
}

/// What the verbs work with.
struct Call {
    channel: Channel,
    output: Output,
    now: Timestamp,
}

impl Admin {
    /// Calls, and reports.
    pub(super) async fn run(self) -> Result<ExitCode, AdminError> {
        let address = match self.reach.address {
            Some(address) => address,
            None => match validate::load(&self.reach.config, &[]) {
                Ok(config) => match config.listen.admin_api.ok_or(AdminError::NoDoor)? {
                    AdminApi::Socket { path, .. } => Address::Socket(path),
                    AdminApi::Port { .. } => return Err(AdminError::NeedsCertificate),
                },
                Err(mistakes) => return Ok(validate::refuse(&mistakes)),
            },
        };
        let shown = self.reach.cert.zip(self.reach.key).zip(self.reach.ca);
        let shown = shown.map(|((certificate, key), authorities)| Mutual { certificate, key, authorities });
        let channel = reach(&address, shown.as_ref()).await?;
        let call = Call { channel, output: self.reach.output, now: SystemClock.now() };
        match self.part {
            Part::Status => status::show(&call).await?,
            Part::Clients(part) => part.run(&call).await?,
            Part::Grants(part) => part.run(&call).await?,
            Part::Keys(part) => part.run(&call).await?,
            Part::Sessions(part) => part.run(&call).await?,
            Part::Devices(part) => part.run(&call).await?,
            Part::Watch(part) => part.run(&call).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where an installation is called.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Socket(PathBuf),
    Https(HttpsAddress),
}

impl Address {
    const fn help(&self) -> &'static str {
        match self {
            Self::Socket(_) => {
                "tollgate must be running, and only its own user may open the socket unless `grpc_access` says otherwise"
            }
            Self::Https(_) => {
                "tollgate must be running; if it hangs up, its log says what it has against the certificate"
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        match text.parse() {
            Ok(ListenAddress::Unix(path)) => Ok(Self::Socket(path)),
            Ok(ListenAddress::Tcp(_)) | Err(_) => text.parse().map(Self::Https),
        }
    }
}

/// A text that is no address of an installation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be `unix:/path/of/socket` or `https://host:port`")]
pub(in crate::cli) struct AddressFault;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Https(address) => address.fmt(f),
        }
    }
}

async fn reach(address: &Address, shown: Option<&Mutual>) -> Result<Channel, AdminError> {
    let unreachable = |cause| AdminError::Unreachable { address: address.clone(), cause };
    let connection = async {
        match address {
            Address::Socket(path) => Ok(connect(&ListenAddress::Unix(path.clone())).await),
            Address::Https(https) => {
                let shown = shown.ok_or(AdminError::NoCertificate)?;
                Ok::<_, AdminError>(shown.connect(https)?.await)
            }
        }
    };
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(Ok(channel))) => Ok(channel),
        Ok(Ok(Err(error))) => Err(unreachable(root_cause(&error))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What is at the bottom of an error of the transport, whose own words say nothing.
fn root_cause(error: &dyn std::error::Error) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

impl Call {
    /// Prints facts: a table for people, or JSON for programs.
    fn report(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        match self.output {
            Output::Text => print!("{}", text()),
            Output::Json => println!("{:#}", json()),
        }
    }

    /// How long ago a time in seconds is, in its largest unit.
    fn ago(&self, seconds: i64) -> String {
        format!("{} ago", span(self.now.since(Timestamp::from_seconds(seconds))))
    }

    /// How far ahead it is.
    fn ahead(&self, seconds: i64) -> String {
        format!("in {}", span(Timestamp::from_seconds(seconds).since(self.now)))
    }
}

/// Which page of a list.
#[derive(Debug, Args)]
struct Page {
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
    /// What the page before has said
    #[arg(long, value_name = "PAGE", default_value = "", allow_hyphen_values = true)]
    page: String,
}

/// Says on standard error how to see what did not fit on the page.
fn tell_of_more(next_page_token: &str) {
    if !next_page_token.is_empty() {
        eprintln!("there is more\nnext: the same with --page {}", super::quote(next_page_token));
    }
}
