//! What a provider says of itself (OpenID Connect Discovery §3, RFC 8414 §2).

use super::UpstreamIssuer;
use crate::fetch::FetchUrl;
use crate::identity::UpstreamFault;
use crate::jose::{Json, Members, object};

/// The part of a provider's metadata that we need.
pub(super) struct Metadata {
    pub(super) authorization_endpoint: FetchUrl,
    pub(super) token_endpoint: FetchUrl,
    pub(super) jwks_uri: FetchUrl,
    pub(super) userinfo_endpoint: Option<FetchUrl>,
    /// Whether every authorization response has `iss` (RFC 9207 §3).
    promises_issuer: bool,
}

impl Metadata {
    /// Reads a document whose `issuer` is the configured one, byte for byte (OpenID Connect Discovery §4.3): another
    /// provider's document would send people, codes and our credentials to that one.
    pub(super) fn parse(body: &[u8], issuer: &UpstreamIssuer) -> Option<Self> {
        let document = object(body).ok()?;
        if document.get("issuer")?.as_str()? != issuer.as_str() {
            return None;
        }
        let plain = issuer.as_str().starts_with("http://");
        let endpoint = |name| endpoint(&document, name, plain);
        Some(Self {
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            userinfo_endpoint: match document.get("userinfo_endpoint") {
                Some(_) => Some(endpoint("userinfo_endpoint")?),
                None => None,
            },
            promises_issuer: document.get("authorization_response_iss_parameter_supported") == Some(&Json::Bool(true)),
        })
    }

    /// RFC 9207 §2.4: the `iss` of a response is the issuer; it may be absent only if it was not promised.
    pub(super) fn check_response_issuer(
        &self,
        iss: Option<&str>,
        issuer: &UpstreamIssuer,
    ) -> Result<(), UpstreamFault> {
        let ours = match iss {
            Some(iss) => iss == issuer.as_str(),
            None => !self.promises_issuer,
        };
        if ours { Ok(()) } else { Err(UpstreamFault::ResponseIssuerWrong) }
    }
}

/// An endpoint. One of an https issuer is https too.
fn endpoint(document: &Members, name: &str, plain: bool) -> Option<FetchUrl> {
    let url: FetchUrl = document.get(name)?.as_str()?.parse().ok()?;
    Some(url).filter(|url| plain || !url.is_plain())
}
