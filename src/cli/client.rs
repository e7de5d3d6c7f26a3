//! An OAuth client with a DPoP key (RFC 9449), as `tollgate login`, `tollgate curl` and the story of
//! `tollgate dev` use it.
//!
//! Invariant: a token, a key or a secret leaves only in the request that it is for, or in a file that nobody else may
//! read; nothing here prints one.

use std::fmt;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::entropy::{Entropy, SystemEntropy};
use crate::jose::{Algorithm, SigningKey, Thumbprint};
use crate::secret::base64url;

mod device;
mod metadata;
mod party;
mod proof;
mod refresh;
mod sign_in;
mod talk;
mod token;
mod transport;
mod wallet;

pub(super) use device::{DeviceAuthorization, Waiting};
pub(super) use metadata::{ServerMetadata, is_secure};
pub(super) use party::{Party, PartyOptions};
pub(super) use proof::{Target, prove};
pub(super) use refresh::{Renewal, refreshed};
pub(super) use sign_in::{SignIn, sign_in};
pub(super) use talk::Talk;
pub(super) use token::{Binding, Token, TokenClient, TokenGrant, shown};
pub(super) use transport::{Certificates, Reply, Transport, challenge, nonce, unreachable};
pub(super) use wallet::{DevSession, Held, Login, Pocket, Wallet};

/// Why the client could not do its work.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum ClientError {
    /// A file that was named cannot be used.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no private key.
    #[error("{} holds no private key that signs", .0.display())]
    #[diagnostic(help(
        "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out client.pem; P-256, Ed25519 and \
         RSA keys in PKCS #8 PEM are read"
    ))]
    Key(PathBuf),
    /// A file holds no client secret.
    #[error("{} is empty", .0.display())]
    EmptySecret(PathBuf),
    /// The state directory cannot be used.
    #[error("cannot keep tokens under {}", path.display())]
    #[diagnostic(help("set XDG_STATE_HOME to a directory that only you may read"))]
    Wallet {
        /// Which directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error("cannot reach {0}")]
    Unreachable(String, #[source] reqwest::Error),
    /// The answer is not what the protocol says.
    #[error("{0} gave an answer that is not of the protocol: {1}")]
    Answer(String, &'static str),
    /// The metadata are those of another server (RFC 8414 §3.3).
    #[error("{0} says that its issuer is {1}")]
    #[diagnostic(help("give --issuer exactly as the server spells it; if you did, do not trust this server"))]
    IssuerMismatch(String, String),
    /// The server refused (RFC 6749 §5.2).
    #[error("{endpoint} refused: {error}{}", Description(description))]
    #[diagnostic(help("tollgate explain {}", super::explain::name_of(error, description).unwrap_or(error)))]
    Refused {
        /// Where.
        endpoint: String,
        /// The error code.
        error: String,
        /// The description; may be empty.
        description: String,
    },
    /// Another party answered the authorization request (RFC 9207 §2.4).
    #[error("the answer at the redirect URI is not from {0}")]
    #[diagnostic(help("start again; if it happens again, something on this machine interferes"))]
    MixUp(String),
    /// RFC 8628 §3.5 `access_denied`.
    #[error("the request was declined")]
    #[diagnostic(help("if that was a mistake, run the command again"))]
    Declined,
    /// RFC 8628 §3.5 `expired_token`, or the time ran out here.
    #[error("nobody approved before the code expired")]
    #[diagnostic(help("run the command again and enter the new code"))]
    CodeExpired,
    /// Another process has the token for too long.
    #[error("another process works on {} and does not finish", .0.display())]
    #[diagnostic(help("end it, or remove the file if there is none"))]
    Busy(PathBuf),
    /// Nobody answered the authorization request.
    #[error("nobody signed in within five minutes")]
    #[diagnostic(help("run the command again and open the address that it prints"))]
    NobodyCame,
    /// The loopback listener could not be opened.
    #[error("cannot listen on loopback for the answer")]
    Loopback(#[source] std::io::Error),
}

/// A description behind a colon, if there is one.
struct Description<'a>(&'a str);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// How a client shows who it is (RFC 6749 §2.3).
pub(super) enum Credential {
    /// A public client.
    None,
    /// `client_secret_basic`, or `client_secret_post` where the server takes nothing else.
    Secret(SecretString),
    /// `private_key_jwt`.
    Key(Box<SigningKey>),
}

impl Credential {
    /// Reads a client secret; one line break at the end is not part of it.
    pub(super) fn secret_file(path: &Path) -> Result<Self, ClientError> {
        let text = read(path)?;
        let text = String::from_utf8(text).map_err(|_| ClientError::EmptySecret(path.to_owned()))?;
        let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() { Err(ClientError::EmptySecret(path.to_owned())) } else { Ok(Self::Secret(secret.into())) }
    }

    /// Reads a private key: PKCS #8 in PEM.
    pub(super) fn key_file(path: &Path) -> Result<Self, ClientError> {
        let not_a_key = || ClientError::Key(path.to_owned());
        let der = PrivatePkcs8KeyDer::from_pem_slice(&read(path)?).map_err(|_| not_a_key())?;
        let key = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ps256]
            .into_iter()
            .find_map(|algorithm| SigningKey::from_pkcs8(algorithm, der.secret_pkcs8_der()).ok());
        key.map(|key| Self::Key(Box::new(key))).ok_or_else(not_a_key)
    }
}

/// Who the client is.
pub(super) struct Identity {
    /// `client_id`.
    pub(super) client_id: String,
    /// How it shows so.
    pub(super) credential: Credential,
}

/// How much is shown of a text that somebody else sent, in characters.
const LEGIBLE_LIMIT: usize = 200;

/// A text that somebody else sent, such that a terminal shows it as it is: the characters of RFC 6749 §5.2, and not many.
fn legible(text: &str) -> String {
    let shown = |c: char| if matches!(c, ' ' | '!' | '#'..='[' | ']'..='~') { c } else { '?' };
    text.chars().take(LEGIBLE_LIMIT).map(shown).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|source| ClientError::File { path: path.to_owned(), source })
}

/// A new key for proofs.
pub(super) fn new_key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).expect("aws-lc makes P-256 keys")
}

/// The time.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

/// Thirty-two random bytes in base64url: a verifier (RFC 7636 §4.1), a `state`, a `jti`.
pub(super) fn random() -> String {
    let entropy: &dyn Entropy = &SystemEntropy;
    base64url(&entropy.draw::<32>())
}

/// The first digits of a thumbprint, enough to tell two keys apart by eye.
pub(super) fn short(key: Thumbprint) -> String {
    let mut text = key.to_string();
    text.truncate(6);
    text.push_str("...");
    text
}
