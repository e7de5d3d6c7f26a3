//! Tokens and keys between two calls: files that only their owner may read.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Binding, ClientError, Token, now};
use crate::clock::Timestamp;
use crate::jose::{Algorithm, SigningKey};
use crate::secret::{base64url, from_base64url, sha256_parts};

/// A token that ends sooner than this is not used any more.
const SPARE: Duration = Duration::from_secs(5);

/// How often a pocket that is locked is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// How long another process may work on a pocket: longer than two token requests that run into every timeout.
const LOCK_PATIENCE: Duration = Duration::from_secs(90);

/// The directory that holds the files.
pub(in crate::cli) struct Wallet {
    directory: PathBuf,
}

/// Whose token it is and what it is for: one file each.
pub(in crate::cli) struct Pocket<'a> {
    /// The issuer.
    pub(in crate::cli) issuer: &'a str,
    /// The client.
    pub(in crate::cli) client_id: &'a str,
    /// What it may do.
    pub(in crate::cli) scope: Option<&'a str>,
    /// What it is for.
    pub(in crate::cli) resource: Option<&'a str>,
    /// Which life of a `tollgate dev` issued it; empty for all others. Its keys die with it.
    pub(in crate::cli) session: &'a str,
}

/// A token with its key.
pub(in crate::cli) struct Held {
    /// The key that the token is bound to.
    pub(in crate::cli) key: SigningKey,
    /// The token.
    pub(in crate::cli) token: Token,
    /// The newest nonce of each origin (RFC 9449 §8.2).
    pub(in crate::cli) nonces: BTreeMap<String, String>,
}

impl Held {
    /// Whether the token will last for this call.
    pub(in crate::cli) fn is_fresh(&self) -> bool {
        now() + SPARE < self.token.expires
    }
}

/// What a file of the wallet holds.
#[derive(Deserialize, Serialize)]
struct File {
    key: Zeroizing<String>,
    access_token: Zeroizing<String>,
    dpop: bool,
    expires: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Zeroizing<String>>,
    #[serde(default)]
    nonces: BTreeMap<String, String>,
}

/// What a running `tollgate dev` leaves for `tollgate curl`, so that a URL is enough.
#[derive(Deserialize, Serialize)]
pub(in crate::cli) struct DevSession {
    /// Tells one life from another.
    pub(in crate::cli) session: String,
    /// The issuer.
    pub(in crate::cli) issuer: String,
    /// The protected resource, which is the origin of Envoy.
    pub(in crate::cli) resource: String,
    /// The client that acts for itself.
    pub(in crate::cli) service_client_id: String,
    /// Its secret.
    pub(in crate::cli) service_client_secret: Zeroizing<String>,
    /// The client that signs people in.
    pub(in crate::cli) people_client_id: String,
}

/// What `tollgate login` leaves for `tollgate curl`, so that a URL of the resource is enough: who signed in where. The
/// token is in its pocket.
#[derive(Deserialize, Serialize)]
pub(in crate::cli) struct Login {
    /// The issuer.
    pub(in crate::cli) issuer: String,
    /// The client.
    pub(in crate::cli) client_id: String,
    /// What it may do.
    pub(in crate::cli) scope: Option<String>,
    /// What it is for.
    pub(in crate::cli) resource: String,
    /// Which life of a `tollgate dev` it belongs to; empty for all others.
    pub(in crate::cli) session: String,
    /// Where the client's secret is, if it has one.
    pub(in crate::cli) client_secret_file: Option<PathBuf>,
    /// Where the client's private key is, if it has one.
    pub(in crate::cli) key_file: Option<PathBuf>,
}

/// While it lives, no other process touches the pocket.
pub(in crate::cli) struct Locked {
    _file: std::fs::File,
}

impl Wallet {
    /// Opens the wallet in `directory`, which is made on the first write.
    pub(in crate::cli) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What a pocket holds. A file that cannot be read as one is as good as none.
    pub(in crate::cli) fn load(&self, pocket: &Pocket<'_>) -> Option<Held> {
        let file: File = self.read(&name(pocket))?;
        let key = SigningKey::from_pkcs8(Algorithm::Es256, &Zeroizing::new(from_base64url(&file.key)?)).ok()?;
        let secret = |text: Zeroizing<String>| SecretString::from(text.as_str());
        let token = Token {
            access: secret(file.access_token),
            binding: if file.dpop { Binding::Dpop } else { Binding::Bearer },
            expires: Timestamp::from_seconds(file.expires),
            refresh: file.refresh_token.map(secret),
        };
        Some(Held { key, token, nonces: file.nonces })
    }

    /// Puts a token into its pocket.
    pub(in crate::cli) fn save(&self, pocket: &Pocket<'_>, held: &Held) -> Result<(), ClientError> {
        let key = held.key.to_pkcs8().expect("a key that signs can be written");
        let secret = |text: &SecretString| Zeroizing::new(text.expose_secret().to_owned());
        let file = File {
            key: Zeroizing::new(base64url(&key)),
            access_token: secret(&held.token.access),
            dpop: held.token.binding == Binding::Dpop,
            expires: held.token.expires.seconds(),
            refresh_token: held.token.refresh.as_ref().map(secret),
            nonces: held.nonces.clone(),
        };
        self.write(&name(pocket), &file)
    }

    /// Waits until no other process works on a pocket: a refresh token that two spent at once could end the grant.
    pub(in crate::cli) async fn lock(&self, pocket: &Pocket<'_>) -> Result<Locked, ClientError> {
        let path = self.directory.join(format!("{}.lock", name(pocket)));
        let failed = |source| ClientError::Wallet { path: path.clone(), source };
        make_private(&self.directory).map_err(failed)?;
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
        let mut attempts = tokio::time::interval(LOCK_INTERVAL);
        let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked { _file: file }),
                Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
                Err(std::fs::TryLockError::WouldBlock) if tokio::time::Instant::now() > deadline => {
                    return Err(ClientError::Busy(path));
                }
                Err(std::fs::TryLockError::WouldBlock) => drop(attempts.tick().await),
            }
        }
    }

    /// Keeps the nonces that a call has learned, unless the token has been replaced since.
    pub(in crate::cli) async fn save_nonces(&self, pocket: &Pocket<'_>, held: &Held) -> Result<(), ClientError> {
        let _locked = self.lock(pocket).await?;
        let same = |kept: &Held| kept.token.access.expose_secret() == held.token.access.expose_secret();
        match self.load(pocket).filter(same) {
            Some(kept) if kept.nonces != held.nonces => self.save(pocket, held),
            Some(_) | None => Ok(()),
        }
    }

    /// Throws away a token and its key, and what points to them.
    pub(in crate::cli) fn discard(&self, pocket: &Pocket<'_>) -> Result<(), ClientError> {
        let name = name(pocket);
        let mut names = vec![format!("{name}.lock"), name];
        names.extend(pocket.resource.map(|resource| login_name(resource, pocket.session)));
        for name in names {
            let path = self.directory.join(name);
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(ClientError::Wallet { path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Who signed in for the resource of this origin, in a life of `tollgate dev` or, if `session` is empty, anywhere else.
    pub(in crate::cli) fn login(&self, origin: &str, session: &str) -> Option<Login> {
        self.read(&login_name(origin, session))
    }

    /// Remembers who signed in.
    pub(in crate::cli) fn remember(&self, login: &Login) -> Result<(), ClientError> {
        self.write(&login_name(&login.resource, &login.session), login)
    }

    /// Every `tollgate dev` that runs.
    pub(in crate::cli) fn devs(&self) -> Vec<DevSession> {
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let ports = files.filter_map(|file| {
            file.file_name().to_str()?.strip_prefix("dev-")?.strip_suffix(".json")?.parse::<u16>().ok()
        });
        ports.filter_map(|port| self.dev(port)).collect()
    }

    /// The `tollgate dev` that guards `origin`, if one runs.
    pub(in crate::cli) fn dev(&self, port: u16) -> Option<DevSession> {
        self.read(&dev_name(port))
    }

    /// Leaves word of a `tollgate dev` whose Envoy listens on `port`.
    pub(in crate::cli) fn announce(&self, port: u16, session: &DevSession) -> Result<(), ClientError> {
        self.write(&dev_name(port), session)
    }

    /// Removes what [`announce`](Self::announce) left, and the tokens of that session. What cannot be removed is of no
    /// use to anybody: its keys are gone.
    pub(in crate::cli) fn forget(&self, port: u16, session: &DevSession) {
        if self.dev(port).is_some_and(|dev| dev.session == session.session) {
            drop(std::fs::remove_file(self.directory.join(dev_name(port))));
        }
        let prefix = prefix(&session.session);
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(&prefix)) {
            drop(std::fs::remove_file(file.path()));
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        let text = Zeroizing::new(std::fs::read(self.directory.join(name)).ok()?);
        serde_json::from_slice(&text).ok()
    }

    /// Writes a file whole or not at all, readable by its owner only.
    fn write(&self, name: &str, content: &impl Serialize) -> Result<(), ClientError> {
        let path = self.directory.join(name);
        let text = Zeroizing::new(serde_json::to_vec(content).expect("the file is plain JSON"));
        let written = make_private(&self.directory).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?; // mode 0600
            file.write_all(&text)?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(|source| ClientError::Wallet { path, source })
    }
}

/// Makes a directory that only its owner may enter; refuses one that others may.
fn make_private(directory: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mode = std::fs::metadata(directory)?.permissions().mode();
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

fn name(pocket: &Pocket<'_>) -> String {
    let parts =
        [pocket.issuer, pocket.client_id, pocket.scope.unwrap_or_default(), pocket.resource.unwrap_or_default()];
    let hash = sha256_parts(&parts.map(str::as_bytes));
    format!("{}{}.json", prefix(pocket.session), base64url(&hash[..12]))
}

/// How the files of a `tollgate dev` begin, or those of all others.
fn prefix(session: &str) -> String {
    if session.is_empty() { "token-".to_owned() } else { format!("dev-{session}-") }
}

/// One file for each origin: that is what a URL tells.
fn login_name(resource: &str, session: &str) -> String {
    let origin = resource.parse::<reqwest::Url>().map_or(resource.to_owned(), |url| url.origin().ascii_serialization());
    let prefix = if session.is_empty() { String::new() } else { prefix(session) };
    format!("{prefix}login-{}.json", base64url(&sha256_parts(&[origin.as_bytes()])[..12]))
}

fn dev_name(port: u16) -> String {
    format!("dev-{port}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_keeps_tokens_from_other_people() {
        let directory = tempfile::tempdir().expect("a directory");
        let wallet = Wallet::new(directory.path().join("a/tollgate"));
        let pocket = Pocket { issuer: "https://a", client_id: "c", scope: None, resource: None, session: "" };
        assert!(wallet.load(&pocket).is_none());
        let token = Token {
            access: "secret".into(),
            binding: Binding::Dpop,
            expires: now() + Duration::from_mins(1),
            refresh: None,
        };
        let held = Held { key: super::super::new_key(), token, nonces: BTreeMap::new() };
        wallet.save(&pocket, &held).expect("a file");
        let again = wallet.load(&pocket).expect("the token");
        assert_eq!(again.key.kid(), held.key.kid());
        assert!(again.is_fresh());
        assert!(wallet.load(&Pocket { scope: Some("x"), ..pocket }).is_none());
        let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&wallet.directory), 0o700);
        assert_eq!(mode(&wallet.directory.join(name(&pocket))), 0o600);
    }

    #[test]
    fn a_session_takes_its_tokens_along() {
        let directory = tempfile::tempdir().expect("a directory");
        let wallet = Wallet::new(directory.path().to_owned());
        let session = |session: &str| DevSession {
            session: session.to_owned(),
            issuer: String::new(),
            resource: String::new(),
            service_client_id: String::new(),
            service_client_secret: Zeroizing::default(),
            people_client_id: String::new(),
        };
        let (first, second) = (session("first"), session("second"));
        wallet.announce(1, &first).expect("a file");
        wallet.forget(1, &second);
        assert!(wallet.dev(1).is_some(), "it is somebody else's");
        std::fs::write(directory.path().join("dev-first-x.json"), "{}").expect("a file");
        std::fs::write(directory.path().join("token-x.json"), "{}").expect("a file");
        wallet.forget(1, &first);
        let left: Vec<_> = std::fs::read_dir(directory.path()).expect("a directory").flatten().collect();
        assert_eq!(left.len(), 1);
    }
}
