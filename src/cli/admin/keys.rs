//! `tollgate admin keys`: as `tollgate keys`, but of the process that runs, which then knows at once.

use clap::Subcommand;
use serde_json::{Value, json};

use super::table::table;
use super::{AdminError, Call};
use crate::grpc::admin::v1::key_service_client::KeyServiceClient;
use crate::grpc::admin::v1::{DropKeyRequest, Key, KeyState, ListKeysRequest, RotateKeysRequest};

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List them, the oldest first
    List,
    /// Announce a new key now; it signs once everybody has had time to fetch it
    Rotate {
        /// A key has leaked: the new one signs at once, and all others are withdrawn with the tokens they signed
        #[arg(long)]
        now: bool,
    },
    /// Withdraw one key, with the tokens that it signed
    Drop {
        /// Its kid
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

/// What an emergency costs, and what it does not do.
const WITHDRAWN: &str = "\
warning: the tokens that the withdrawn keys signed are refused here from now on, and their clients must get new ones.
  Other replicas trust those keys for up to 30 s, and other gates for as long as they keep the key set, 5 minutes if
  they obey Cache-Control.
";

impl Keys {
    /// Calls, and reports the keys as they then are.
    pub(super) async fn run(self, call: &Call) -> Result<(), AdminError> {
        let mut service = KeyServiceClient::new(call.channel.clone());
        let next = match self {
            Self::List => "rotate",
            Self::Rotate { now } => {
                service.rotate_keys(RotateKeysRequest { now }).await?;
                if now {
                    eprint!("{WITHDRAWN}");
                }
                "list"
            }
            Self::Drop { kid } => {
                service.drop_key(DropKeyRequest { kid }).await?;
                eprint!("{WITHDRAWN}");
                "list"
            }
        };
        let keys = service.list_keys(ListKeysRequest {}).await?.into_inner().keys;
        let rows = || keys.iter().map(|key| row(call, key));
        let text = || table(["KID", "ALG", "STATE", "AGE", "NEXT"], rows());
        call.report(text, || json!({ "keys": keys.iter().map(document).collect::<Vec<_>>() }));
        eprintln!("next: tollgate admin keys {next}");
        Ok(())
    }
}

fn state(key: &Key) -> &'static str {
    match key.state() {
        KeyState::Unspecified => "unknown",
        KeyState::Announced => "announced",
        KeyState::Signing => "signing",
        KeyState::Retired => "retired",
        KeyState::Dropped => "dropped",
    }
}

fn row(call: &Call, key: &Key) -> [String; 5] {
    let next = match key.state() {
        KeyState::Announced => format!("signs {}", call.ahead(key.sign_time)),
        KeyState::Signing => format!("retires {}", call.ahead(key.retire_time)),
        KeyState::Retired => format!("leaves the key set {}", call.ahead(key.drop_time)),
        KeyState::Unspecified | KeyState::Dropped => String::new(),
    };
    [key.kid.clone(), key.alg.clone(), state(key).to_owned(), call.ago(key.publish_time), next]
}

/// A key for programs.
pub(super) fn document(key: &Key) -> Value {
    json!({
        "kid": key.kid,
        "alg": key.alg,
        "state": state(key),
        "publish_time": key.publish_time,
        "sign_time": key.sign_time,
        "retire_time": key.retire_time,
        "drop_time": key.drop_time,
    })
}
