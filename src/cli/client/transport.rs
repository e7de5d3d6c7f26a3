//! HTTP as a client: with deadlines and limits, and without following anybody anywhere.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::ClientError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest document read whole: metadata, token responses.
const DOCUMENT_LIMIT: usize = 256 * 1024;

/// Sends requests. Redirects are not followed: a token is for the one place it was sent to.
#[derive(Clone)]
pub(in crate::cli) struct Transport {
    /// By way of the proxy of the environment, if there is one.
    usual: reqwest::Client,
    /// By no proxy: it would look for loopback on its own machine, and see the tokens that are meant for this one.
    direct: reqwest::Client,
}

/// Whether a server's certificate must be valid.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Certificates {
    /// It must.
    Check,
    /// Anything goes: for experiments.
    Ignore,
}

impl Transport {
    /// Makes a transport. Loopback is reached directly, whatever proxy is set.
    pub(in crate::cli) fn new(certificates: Certificates) -> Self {
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
                .tls_danger_accept_invalid_certs(matches!(certificates, Certificates::Ignore))
        };
        let build =
            |builder: reqwest::ClientBuilder| builder.build().expect("the options of the client agree with each other");
        Self { usual: build(builder()), direct: build(builder().no_proxy()) }
    }

    /// Begins a request.
    pub(in crate::cli) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let client = if is_loopback(url) { &self.direct } else { &self.usual };
        client.request(method, url.clone())
    }

    /// Sends a request and reads its answer whole.
    pub(in crate::cli) async fn fetch(request: RequestBuilder, url: &Url) -> Result<Reply, ClientError> {
        let response = request.send().await.map_err(|error| unreachable(url, error))?;
        Reply::read(response, url).await
    }
}

/// Whether a URL leads to this machine (RFC 6761 §6.3 for names).
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// No answer came from `url`.
pub(in crate::cli) fn unreachable(url: &Url, error: reqwest::Error) -> ClientError {
    ClientError::Unreachable(url.origin().ascii_serialization(), error.without_url())
}

/// An answer that was read whole.
pub(in crate::cli) struct Reply {
    /// The status.
    pub(in crate::cli) status: StatusCode,
    /// The headers.
    pub(in crate::cli) headers: HeaderMap,
    /// The body.
    pub(in crate::cli) body: Vec<u8>,
}

impl Reply {
    async fn read(mut response: Response, url: &Url) -> Result<Self, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, error))? {
            if body.len() + chunk.len() > DOCUMENT_LIMIT {
                return Err(ClientError::Answer(url.to_string(), "longer than 256 KiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status: response.status(), headers: response.headers().clone(), body })
    }

    /// The nonce for the next proof (RFC 9449 §8.2).
    pub(in crate::cli) fn nonce(&self) -> Option<String> {
        nonce(&self.headers)
    }
}

/// The nonce for the next proof (RFC 9449 §8.2).
pub(in crate::cli) fn nonce(headers: &HeaderMap) -> Option<String> {
    headers.get("dpop-nonce")?.to_str().ok().filter(|nonce| !nonce.is_empty()).map(str::to_owned)
}

/// `error` and `error_description` of the first challenge that has an error (RFC 6750 §3, RFC 9449 §7.1).
pub(in crate::cli) fn challenge(headers: &HeaderMap) -> Option<(String, String)> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let error = parameter(value, "error")?;
        Some((error, parameter(value, "error_description").unwrap_or_default()))
    })
}

/// A quoted parameter of a challenge (RFC 9110 §11.2).
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    while let Some(at) = rest.find('=') {
        let (key, value) = rest.split_at(at);
        let key = key.rsplit([' ', ',']).next().unwrap_or_default();
        let value = value[1..].strip_prefix('"')?;
        let end = value.find('"')?;
        if key.eq_ignore_ascii_case(name) {
            return Some(value[..end].to_owned());
        }
        rest = &value[end + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        for (url, expected) in [
            ("http://127.0.0.1:9090/readyz", true),
            ("http://127.8.9.10/", true),
            ("http://[::1]:8080/", true),
            ("https://LOCALHOST/", true),
            ("http://app.localhost/", true),
            ("http://127.0.0.1.example.com/", false),
            ("http://notlocalhost/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().expect("a URL")), expected, "{url}");
        }
    }

    #[test]
    fn challenges_are_read_by_parameter() {
        let value = r#"DPoP realm="a, error=b", error_description="text = more", error="invalid_token", algs="ES256""#;
        assert_eq!(parameter(value, "error").as_deref(), Some("invalid_token"));
        assert_eq!(parameter(value, "error_description").as_deref(), Some("text = more"));
        assert_eq!(parameter(value, "scope"), None);
        assert_eq!(parameter("DPoP error=\"", "error"), None);
        assert_eq!(parameter("DPoP", "error"), None);
    }
}
