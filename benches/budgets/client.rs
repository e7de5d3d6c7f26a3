//! Clients: they sign a fresh proof for every request, as real ones must.

use serde_json::{Value as Json, json};
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{base64url, sha256};

use crate::installation::{ISSUER, TOKEN_URL};

/// A client with a DPoP key of its own.
pub(crate) struct Client {
    key: SigningKey,
    header: Json,
}

impl Client {
    /// A client with a new key.
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": key.proof_jwk() });
        Self { key, header }
    }

    /// Its key.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// A proof for a request with a token (RFC 9449 §4.2).
    pub(crate) fn proof(&self, method: &str, uri: &str, token: &str) -> String {
        let ath = base64url(&sha256(token.as_bytes()));
        let claims = json!({ "jti": fresh_id(), "htm": method, "htu": uri, "iat": now(), "ath": ath });
        self.key.sign_with(&self.header, &claims)
    }

    /// A proof for a token request.
    pub(crate) fn token_proof(&self) -> String {
        let claims = json!({ "jti": fresh_id(), "htm": "POST", "htu": TOKEN_URL, "iat": now() });
        self.key.sign_with(&self.header, &claims)
    }
}

/// A client assertion (RFC 7523 §3).
pub(crate) fn assertion(client_id: &str, key: &SigningKey) -> String {
    let now = now();
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": ISSUER, "jti": fresh_id(), "iat": now, "exp": now + 60,
    });
    key.sign("client-authentication+jwt", &claims)
}

fn now() -> i64 {
    SystemClock.now().seconds()
}

/// A name that nobody used before.
fn fresh_id() -> String {
    let entropy: &dyn Entropy = &SystemEntropy;
    base64url(&entropy.draw::<16>())
}
