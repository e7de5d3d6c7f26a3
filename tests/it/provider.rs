//! An upstream OpenID provider in this process, which says what the test has it say: the truth, or one lie.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollgate::clock::Timestamp;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{base64url, sha256};
use tollgate::token::STATUS_LIST_MEDIA_TYPE;

use crate::upstream::{field, read_head};

/// What this server is called at the provider, and the secret that it was given there.
pub const CLIENT_ID: &str = "tollgate-at-acme";
pub const CLIENT_SECRET: &str = "s3cret: with+signs";

/// The provider.
pub struct Provider {
    pub issuer: String,
    script: Arc<Mutex<Script>>,
}

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signature {
    /// By the key that is published.
    Good,
    /// By a key that is not, under the `kid` of the one that is.
    OfAnother,
    /// `alg: none`, with a signature of one byte.
    None,
    /// `alg: HS256`.
    Symmetric,
}

/// How requests are answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conduct {
    /// As they should be.
    Proper,
    /// Never.
    Silent,
    /// With 500.
    Failing,
    /// With a redirect to the same place.
    Redirecting,
    /// With a body that never ends.
    Flooding,
}

/// Everything that it says.
pub struct Script {
    pub conduct: Conduct,
    pub metadata: Value,
    pub key: SigningKey,
    pub published: Vec<Value>,
    pub signature: Signature,
    pub header: Value,
    pub claims: Value,
    pub userinfo: Value,
    /// The answer of the token endpoint instead of tokens.
    pub refusal: Option<(u16, Value)>,
    /// The answer of the introspection endpoint.
    pub introspection: (u16, Value),
    /// The status lists, by their paths.
    pub status_lists: BTreeMap<String, String>,
    /// The requests that have arrived: head and body.
    pub requests: Vec<(String, String)>,
}

pub const ACCESS_TOKEN: &str = "an-access-token-of-the-provider";

impl Provider {
    pub async fn start(now: Timestamp) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://127.0.0.1:{}", listener.local_addr().expect("an address").port());
        let key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let script = Script {
            conduct: Conduct::Proper,
            metadata: json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize?tenant=1"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "userinfo_endpoint": format!("{issuer}/userinfo"),
                "authorization_response_iss_parameter_supported": true,
            }),
            published: vec![key.published_jwk()],
            signature: Signature::Good,
            header: json!({ "alg": "ES256", "kid": key.kid() }),
            key,
            claims: json!({
                "iss": issuer,
                "sub": "ada-at-acme",
                "aud": CLIENT_ID,
                "exp": now.seconds() + 300,
                "iat": now.seconds(),
                "at_hash": base64url(&sha256(ACCESS_TOKEN.as_bytes())[..16]),
                "name": "Ada",
                "email": "ada@acme.example",
                "department": "ops",
            }),
            userinfo: json!({ "sub": "ada-at-acme" }),
            refusal: None,
            introspection: (200, json!({ "active": false })),
            status_lists: BTreeMap::new(),
            requests: Vec::new(),
        };
        let script = Arc::new(Mutex::new(script));
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&shared)));
            }
        });
        Self { issuer, script }
    }

    /// What it says from now on.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics with the lock")
    }
}

impl Script {
    fn id_token(&self) -> String {
        let encoded = |value: &Value| base64url(value.to_string().as_bytes());
        let unsigned = |alg: &str| {
            let header = json!({ "alg": alg, "kid": self.header["kid"] });
            format!("{}.{}.{}", encoded(&header), encoded(&self.claims), base64url(&[1]))
        };
        match self.signature {
            Signature::Good => self.key.sign_with(&self.header, &self.claims),
            Signature::OfAnother => {
                SigningKey::generate(Algorithm::Es256).expect("a key").sign_with(&self.header, &self.claims)
            }
            Signature::None => unsigned("none"),
            Signature::Symmetric => unsigned("HS256"),
        }
    }

    fn answer(&self, path: &str) -> (u16, Value) {
        match path {
            "/introspect" => self.introspection.clone(),
            "/.well-known/openid-configuration" => (200, self.metadata.clone()),
            "/jwks" => (200, json!({ "keys": self.published })),
            "/token" => self.refusal.clone().unwrap_or_else(|| {
                (200, json!({ "access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": self.id_token() }))
            }),
            "/userinfo" => (200, self.userinfo.clone()),
            _ => (404, Value::Null),
        }
    }
}

async fn serve(mut connection: TcpStream, script: Arc<Mutex<Script>>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut connection, &mut buffer).await? {
        let length = field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        while buffer.len() < length {
            if connection.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body: Vec<_> = buffer.drain(..length).collect();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (conduct, (status, answer), list) = {
            let mut script = script.lock().expect("no test panics with the lock");
            script.requests.push((head, String::from_utf8_lossy(&body).into_owned()));
            (script.conduct, script.answer(&path), script.status_lists.get(&path).cloned())
        };
        match conduct {
            Conduct::Proper => {
                let (status, media_type, body) = match list {
                    Some(list) => (200, STATUS_LIST_MEDIA_TYPE, list),
                    None => (status, "application/json", answer.to_string()),
                };
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n");
                connection.write_all(format!("{head}{body}").as_bytes()).await?;
            }
            Conduct::Silent => std::future::pending().await,
            Conduct::Failing => {
                connection.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Conduct::Redirecting => {
                let head = format!("HTTP/1.1 302 X\r\nlocation: {path}\r\ncontent-length: 0\r\n\r\n");
                connection.write_all(head.as_bytes()).await?;
            }
            Conduct::Flooding => {
                connection.write_all(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    connection.write_all(b"400\r\n").await?;
                    connection.write_all(&[b' '; 0x400]).await?;
                    connection.write_all(b"\r\n").await?;
                }
            }
        }
    }
    Ok(())
}
