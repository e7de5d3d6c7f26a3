//! Making proofs (RFC 9449 §4.2).

use reqwest::{Method, Url};
use serde_json::json;

use super::{now, random};
use crate::jose::SigningKey;
use crate::secret::{base64url, sha256};

/// What a proof is for.
pub(in crate::cli) struct Target<'a> {
    /// The method of the request.
    pub(in crate::cli) method: &'a Method,
    /// The URL of the request.
    pub(in crate::cli) url: &'a Url,
    /// The access token that goes with it.
    pub(in crate::cli) token: Option<&'a str>,
    /// The nonce that the server gave.
    pub(in crate::cli) nonce: Option<&'a str>,
}

/// Makes a fresh proof.
pub(in crate::cli) fn prove(key: &SigningKey, target: &Target<'_>) -> String {
    let mut htu = target.url.clone();
    htu.set_query(None);
    htu.set_fragment(None);
    let mut claims = json!({
        "jti": random(),
        "htm": target.method.as_str(),
        "htu": htu.as_str(),
        "iat": now().seconds(),
    });
    if let Some(token) = target.token {
        claims["ath"] = base64url(&sha256(token.as_bytes())).into();
    }
    if let Some(nonce) = target.nonce {
        claims["nonce"] = nonce.into();
    }
    let header = json!({ "typ": "dpop+jwt", "alg": key.algorithm().name(), "jwk": key.proof_jwk() });
    key.sign_with(&header, &claims)
}
