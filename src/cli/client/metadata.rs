//! Discovery (RFC 8414).

use reqwest::{Method, Url};
use serde::Deserialize;

use super::{ClientError, Transport, legible};
use crate::ident::Issuer;

/// What a client needs to know of an authorization server.
#[derive(Debug)]
pub(in crate::cli) struct ServerMetadata {
    /// `issuer`.
    pub(in crate::cli) issuer: String,
    /// `token_endpoint`.
    pub(in crate::cli) token_endpoint: Url,
    /// `authorization_endpoint`.
    pub(in crate::cli) authorization_endpoint: Option<Url>,
    /// `device_authorization_endpoint` (RFC 8628 §4).
    pub(in crate::cli) device_authorization_endpoint: Option<Url>,
    /// `revocation_endpoint`.
    pub(in crate::cli) revocation_endpoint: Option<Url>,
    /// `token_endpoint_auth_methods_supported`.
    pub(in crate::cli) token_endpoint_auth_methods_supported: Vec<String>,
    /// `authorization_response_iss_parameter_supported` (RFC 9207 §3).
    pub(in crate::cli) authorization_response_iss_parameter_supported: bool,
}

/// The metadata as they come.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: String,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default = "basic")]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What the absence of `token_endpoint_auth_methods_supported` means (RFC 8414 §2).
fn basic() -> Vec<String> {
    vec!["client_secret_basic".to_owned()]
}

impl ServerMetadata {
    /// Fetches the metadata of `issuer`: where RFC 8414 §3.1 puts them, else where OpenID Connect Discovery does.
    pub(in crate::cli) async fn discover(transport: &Transport, issuer: &Issuer) -> Result<Self, ClientError> {
        let mut last = None;
        for url in locations(issuer) {
            let reply = Transport::fetch(transport.request(Method::GET, &url), &url).await?;
            if reply.status.is_success() {
                return Self::check(&reply.body, issuer, &url);
            }
            last = Some(url);
        }
        let url = last.map_or_else(|| issuer.to_string(), |url| url.to_string());
        Err(ClientError::Answer(url, "no metadata there"))
    }

    fn check(body: &[u8], issuer: &Issuer, url: &Url) -> Result<Self, ClientError> {
        let wrong = |what| ClientError::Answer(url.to_string(), what);
        let document: Document = serde_json::from_slice(body).map_err(|_| wrong("not the metadata of RFC 8414"))?;
        // RFC 8414 §3.3: identical, or it is another server that wants our credentials.
        if document.issuer != issuer.as_str() {
            return Err(ClientError::IssuerMismatch(url.to_string(), legible(&document.issuer)));
        }
        let endpoint =
            |text: String| text.parse().ok().filter(is_secure).ok_or_else(|| wrong("an endpoint without TLS"));
        Ok(Self {
            issuer: document.issuer,
            token_endpoint: endpoint(document.token_endpoint)?,
            authorization_endpoint: document.authorization_endpoint.map(endpoint).transpose()?,
            device_authorization_endpoint: document.device_authorization_endpoint.map(endpoint).transpose()?,
            revocation_endpoint: document.revocation_endpoint.map(endpoint).transpose()?,
            token_endpoint_auth_methods_supported: document.token_endpoint_auth_methods_supported,
            authorization_response_iss_parameter_supported: document.authorization_response_iss_parameter_supported,
        })
    }
}

fn locations(issuer: &Issuer) -> Vec<Url> {
    let mut urls = Vec::new();
    if let Ok(mut url) = issuer.as_str().parse::<Url>() {
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        urls.push(url);
    }
    urls.extend(format!("{issuer}/.well-known/openid-configuration").parse::<Url>());
    urls
}

/// https, or http on loopback.
pub(in crate::cli) fn is_secure(url: &Url) -> bool {
    let loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_another_issuer_or_without_tls_are_refused() {
        let issuer: Issuer = "https://as.example/tenant".parse().expect("an issuer");
        let urls = locations(&issuer);
        assert_eq!(urls[0].as_str(), "https://as.example/.well-known/oauth-authorization-server/tenant");
        assert_eq!(urls[1].as_str(), "https://as.example/tenant/.well-known/openid-configuration");
        for (issuer_member, endpoint, accepted) in [
            ("https://as.example/tenant", "https://as.example/token", true),
            ("https://as.example/tenant/", "https://as.example/token", false),
            ("https://as.example/tenant", "http://as.example/token", false),
            ("https://as.example/tenant", "http://127.0.0.1:8080/token", true),
        ] {
            let body = format!(r#"{{"issuer":"{issuer_member}","token_endpoint":"{endpoint}"}}"#);
            assert_eq!(ServerMetadata::check(body.as_bytes(), &issuer, &urls[0]).is_ok(), accepted, "{body}");
        }
    }
}
