//! A service that calls an API, with `reqwest`, `jsonwebtoken` and `aws-lc-rs`: `client_credentials`, a DPoP-bound token, nonces.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::{Client, Request, Response, StatusCode};
use serde_json::{Value, json};

/// What a client keeps: its key, and the newest nonce of each server.
pub struct Prover {
    http: Client,
    key: EncodingKey,
    public: Jwk,
    nonces: HashMap<String, String>,
}

impl Prover {
    /// Makes a key for the life of the process.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref());
        let public = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        let http = Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, key, public, nonces: HashMap::new() })
    }

    /// Sends a request with a proof, and once more if the answer brings a nonce.
    pub async fn send(&mut self, request: Request, token: Option<&str>) -> Result<Response, Box<dyn Error>> {
        let origin = request.url().origin().ascii_serialization();
        let again = request.try_clone();
        let response = self.send_once(request, token).await?;
        let nonce = response.headers().get("dpop-nonce").and_then(|nonce| nonce.to_str().ok()).map(str::to_owned);
        let Some(nonce) = nonce else { return Ok(response) };
        let known = self.nonces.insert(origin, nonce.clone());
        let refused = matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        match again {
            Some(request) if refused && known.as_ref() != Some(&nonce) => self.send_once(request, token).await,
            Some(_) | None => Ok(response),
        }
    }

    async fn send_once(&self, mut request: Request, token: Option<&str>) -> Result<Response, Box<dyn Error>> {
        let proof = self.proof(&request, token)?;
        request.headers_mut().insert("dpop", proof.parse()?);
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("DPoP {token}").parse()?);
        }
        Ok(self.http.execute(request).await?)
    }

    /// A proof for this request (RFC 9449 §4.2): a new one each time.
    fn proof(&self, request: &Request, token: Option<&str>) -> Result<String, Box<dyn Error>> {
        let mut url = request.url().clone();
        url.set_query(None);
        url.set_fragment(None);
        let mut identifier = [0; 16];
        rand::fill(&mut identifier)?;
        let mut claims = json!({
            "htm": request.method().as_str(),
            "htu": url.as_str(),
            "iat": get_current_timestamp(),
            "jti": URL_SAFE_NO_PAD.encode(identifier),
        });
        if let Some(token) = token {
            claims["ath"] = json!(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes())));
        }
        if let Some(nonce) = self.nonces.get(&url.origin().ascii_serialization()) {
            claims["nonce"] = json!(nonce);
        }
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("dpop+jwt".to_owned());
        header.jwk = Some(self.public.clone());
        Ok(encode(&header, &claims, &self.key)?)
    }
}

/// Gets a token and calls the API; gives the status and the body of its answer.
pub async fn orders(
    issuer: &str,
    (id, secret): (&str, &str),
    resource: &str,
) -> Result<(StatusCode, String), Box<dyn Error>> {
    let mut prover = Prover::new()?;
    let metadata = format!("{issuer}/.well-known/oauth-authorization-server");
    let metadata: Value = prover.http.get(metadata).send().await?.error_for_status()?.json().await?;
    let endpoint = metadata["token_endpoint"].as_str().ok_or("metadata without a token endpoint")?;

    let form = [("grant_type", "client_credentials"), ("resource", resource)];
    let request = prover.http.post(endpoint).basic_auth(id, Some(secret)).form(&form).build()?;
    let tokens: Value = prover.send(request, None).await?.error_for_status()?.json().await?;
    let token = tokens["access_token"].as_str().ok_or("an answer without a token")?;

    let request = prover.http.get(format!("{resource}/orders")).build()?;
    let answer = prover.send(request, Some(token)).await?;
    Ok((answer.status(), answer.text().await?))
}
