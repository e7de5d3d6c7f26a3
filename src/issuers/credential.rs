//! How this process authenticates where it is itself a client (RFC 6749 §2.3, RFC 7523 §2.2, OpenID Connect Core §9).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncReadExt as _;

use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::ident::ClientId;
use crate::jose::SigningKey;
use crate::secret::base64url;
use crate::unavailable::Unavailable;

/// How long an assertion of ours is good.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(1);

/// `client_assertion_type` of a JWT (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What this process authenticates with as a client of somebody else.
pub enum ClientCredential {
    /// Nothing: it says who it is, and no more.
    None,
    /// `client_secret_basic`.
    Basic(SecretString),
    /// `client_secret_post`.
    Post(SecretString),
    /// `private_key_jwt`.
    Key(Box<SigningKey>),
    /// An assertion that somebody else renews in a file.
    AssertionFile(PathBuf),
}

impl PartialEq for ClientCredential {
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &SecretString, two: &SecretString| {
            bool::from(one.expose_secret().as_bytes().ct_eq(two.expose_secret().as_bytes()))
        };
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Basic(one), Self::Basic(two)) | (Self::Post(one), Self::Post(two)) => same(one, two),
            (Self::Key(one), Self::Key(two)) => one.public().thumbprint() == two.public().thumbprint(),
            (Self::AssertionFile(one), Self::AssertionFile(two)) => one == two,
            (Self::None | Self::Basic(_) | Self::Post(_) | Self::Key(_) | Self::AssertionFile(_), _) => false,
        }
    }
}

impl fmt::Debug for ClientCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic(_) => "Basic(..)",
            Self::Post(_) => "Post(..)",
            Self::Key(_) => "Key(..)",
            Self::AssertionFile(_) => "AssertionFile(..)",
        })
    }
}

/// What authenticates one request.
pub struct Authenticating {
    /// To go into its form.
    pub parameters: Vec<(&'static str, String)>,
    /// Its `Authorization` header.
    pub authorization: Option<String>,
}

/// What a client assertion says (RFC 7523 §3). Its audience is the issuer alone: were it the endpoint that a document
/// names, whoever wrote that could have us sign in somewhere in its name.
#[derive(Serialize)]
struct AssertionClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: i64,
    exp: i64,
}

impl ClientCredential {
    /// Authenticates a request of `client_id` to `issuer`. An assertion is made anew for each: it may be used once.
    ///
    /// # Errors
    /// [`Unavailable`] if the file with the assertion cannot be read.
    pub async fn authenticate(
        &self,
        client_id: &ClientId,
        issuer: &str,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<Authenticating, Unavailable> {
        let client_id = client_id.as_str();
        let (mut parameters, mut authorization) = (Vec::new(), None);
        match self {
            Self::None => parameters.push(("client_id", client_id.to_owned())),
            Self::Basic(secret) => authorization = Some(basic(client_id, secret.expose_secret())),
            Self::Post(secret) => {
                parameters.push(("client_id", client_id.to_owned()));
                parameters.push(("client_secret", secret.expose_secret().to_owned()));
            }
            Self::Key(key) => {
                let claims = AssertionClaims {
                    iss: client_id,
                    sub: client_id,
                    aud: issuer,
                    jti: base64url(&entropy.draw::<16>()),
                    iat: now.seconds(),
                    exp: (now + ASSERTION_LIFETIME).seconds(),
                };
                parameters.push(("client_id", client_id.to_owned()));
                parameters.push(("client_assertion_type", JWT_BEARER.to_owned()));
                parameters.push(("client_assertion", SigningKey::sign(key, "JWT", &claims)));
            }
            Self::AssertionFile(path) => {
                let assertion = assertion_in(path).await?;
                parameters.push(("client_id", client_id.to_owned()));
                parameters.push(("client_assertion_type", JWT_BEARER.to_owned()));
                parameters.push(("client_assertion", assertion));
            }
        }
        Ok(Authenticating { parameters, authorization })
    }
}

/// The longest assertion, in bytes.
const ASSERTION_LIMIT: u64 = 16 * 1024;

/// What a file holds that somebody else renews.
async fn assertion_in(path: &Path) -> Result<String, Unavailable> {
    let read = async {
        let mut text = String::new();
        tokio::fs::File::open(path).await?.take(ASSERTION_LIMIT).read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text.trim().to_owned())
    };
    read.await.map_err(|error| {
        tracing::error!(path = %path.display(), %error, "the file with our assertion cannot be read: {error}");
        Unavailable::Down
    })
}

/// The header of `client_secret_basic`: both parts are form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret))))
}
