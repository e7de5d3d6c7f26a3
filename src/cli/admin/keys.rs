//! `tollgate admin keys`: as `tollgate keys`, but of the process that runs, which then knows at once.

use clap::Subcommand;
use serde_json::{Value, json};

use super::table::table;
use super::{AdminError, Call};
use crate::grpc::admin::v1::key_service_client::KeyServiceClient;
use crate::grpc::admin::v1::{
    DropKeyRequest, Key, KeyState, ListKeysRequest, ListKeysResponse, RotateKeysRequest, Secret, SecretState,
};

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
        let ListKeysResponse { keys, secrets } = service.list_keys(ListKeysRequest {}).await?.into_inner();
        let text = || {
            let keys = table(["KID", "ALG", "STATE", "AGE", "NEXT"], keys.iter().map(|key| row(call, key)));
            let headings = ["SECRET FOR NONCES, FORMS AND COOKIES", "STATE", "AGE", "NEXT"];
            let secrets = table(headings, secrets.iter().map(|secret| row_of_secret(call, secret)));
            format!("{keys}\n{secrets}")
        };
        let json = || {
            json!({
                "keys": keys.iter().map(document).collect::<Vec<_>>(),
                "secrets": secrets.iter().map(document_of_secret).collect::<Vec<_>>(),
            })
        };
        call.report(text, json);
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

fn state_of_secret(secret: &Secret) -> &'static str {
    match secret.state() {
        SecretState::Unspecified => "unknown",
        SecretState::Announced => "announced",
        SecretState::Making => "making",
        SecretState::Opening => "opening",
    }
}

fn row_of_secret(call: &Call, secret: &Secret) -> [String; 4] {
    let next = match secret.state() {
        SecretState::Announced => format!("makes new ones {}", call.ahead(secret.make_time)),
        SecretState::Opening => format!("counts no longer {}", call.ahead(secret.drop_time)),
        SecretState::Unspecified | SecretState::Making => String::new(),
    };
    let age = secret.draw_time.map_or_else(|| "root key".to_owned(), |drawn| call.ago(drawn));
    [format!("generation {}", secret.generation), state_of_secret(secret).to_owned(), age, next]
}

/// A secret for programs, without the secret.
fn document_of_secret(secret: &Secret) -> Value {
    json!({
        "generation": secret.generation,
        "state": state_of_secret(secret),
        "draw_time": secret.draw_time,
        "make_time": secret.make_time,
        "drop_time": secret.drop_time,
    })
}
