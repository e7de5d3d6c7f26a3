//! A process that serves, and the servers of others.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::DATE;
use reqwest::{Method, Url};
use serde_json::Value;

use super::Findings;
use crate::cli::client::{Certificates, Reply, Transport};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::fetch::{Fetcher, Reach};
use crate::issuers::{IssuerKeys, KeyForm};
use crate::token::Renew as _;

/// How long somebody has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far clocks may be apart before proofs fail: as far as they may be ahead by default.
const SKEW: Duration = Duration::from_secs(10);

/// Asks for a document.
pub(super) async fn get(url: &Url) -> Result<Reply, String> {
    let request = Transport::new(Certificates::Check).request(Method::GET, url).timeout(PATIENCE);
    Transport::fetch(request, url).await.map_err(|error| error.to_string())
}

/// What the process says that serves from this configuration.
pub(super) async fn instance(findings: &mut Findings, config: &Config) {
    const SECTION: &str = "process";
    let mut address = config.listen.admin;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let Ok(url) = Url::parse(&format!("http://{address}/status")) else { return };
    let status = match get(&url).await {
        Ok(reply) => serde_json::from_slice::<Value>(&reply.body).unwrap_or_default(),
        Err(why) => {
            findings.doubtful(SECTION, format!("nobody answers at {address}: {why}"), "start `tollgate serve`");
            return;
        }
    };
    let missing: Vec<_> = status["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if missing.is_empty() && status["version"].is_string() {
        findings.good(SECTION, format!("{address} is ready"));
    } else {
        let help = format!("see http://{address}/readyz?verbose, and the log");
        findings.bad(SECTION, format!("{address} is not ready: {}", missing.join(", ")), help);
    }
    if let Some(why) = status["configuration"]["refused"]["why"].as_str() {
        let help = "the one before is in force; correct the file, or restart for what needs it";
        findings.bad(SECTION, format!("its configuration was refused: {why}"), help);
    }
}

/// Whether the servers of others answer, and ours where clients look for it; and what their clocks say.
pub(super) async fn issuers(findings: &mut Findings, config: &Config) {
    const SECTION: &str = "issuers";
    let now = SystemClock.now();
    for issuer in &config.issuers {
        let name = &issuer.name;
        let fetcher = match Fetcher::new(Reach::Anywhere, issuer.limits, &config.roots.and(&issuer.authorities)) {
            Ok(fetcher) => fetcher,
            Err(error) => {
                findings.bad(SECTION, error.to_string(), "install the certificates of authorities (ca-certificates)");
                return;
            }
        };
        let keys = Arc::new(IssuerKeys::new(name.as_str(), (&issuer.keys, KeyForm::Jwks), &fetcher, Arc::new(|| {})));
        keys.renew(now).await;
        if keys.fetched_at().is_some() {
            findings.good(SECTION, format!("the keys of {name} can be fetched"));
        } else {
            let help = "its metadata must name it byte for byte; see the log of `tollgate serve` for what went wrong";
            findings.bad(SECTION, format!("the keys of {name} cannot be fetched"), help);
        }
        if let Ok(url) = Url::parse(name.as_str()) {
            clock(findings, &url).await;
        }
    }
    let Some(server) = &config.authorization_server else { return };
    let name = server.settings.issuer.as_str();
    let Ok(mut url) = Url::parse(name) else { return };
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("/.well-known/oauth-authorization-server{path}")); // RFC 8414 §3.1
    match get(&url).await {
        Ok(reply) if reply.status.is_success() => {
            let says = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
            if says["issuer"] == name {
                findings.good(SECTION, format!("{url} describes this server"));
            } else {
                findings.bad(SECTION, format!("{url} describes another server"), "see what the proxy sends there");
            }
        }
        Ok(reply) => {
            let what = format!("{url} is answered with {}", reply.status);
            findings.bad(SECTION, what, "have the proxy send it to `listen.public`");
        }
        Err(why) => {
            let help = "clients must reach it at this address; from here it may be meant so";
            findings.doubtful(SECTION, format!("{url} does not answer: {why}"), help);
        }
    }
}

/// Whether our clock agrees with that of a server.
async fn clock(findings: &mut Findings, url: &Url) {
    let Ok(reply) = get(url).await else { return };
    let now = SystemClock.now();
    let date = reply.headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(date_of);
    let Some(theirs) = date else { return };
    let apart = now.since(theirs).max(theirs.since(now));
    let host = url.host_str().unwrap_or_default();
    if apart <= SKEW {
        findings.good("clock", format!("agrees with {host}"));
    } else {
        let what = format!("is {} s from that of {host}", apart.as_secs());
        findings.bad("clock", what, "have this machine follow NTP: proofs are judged by its clock");
    }
}

/// A date as HTTP has it (RFC 9110 §5.6.7), in the form that it is sent in: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date_of(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text).ok()?;
    (httpdate::fmt_http_date(date) == text).then(|| date.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Wed, 25 Nov 2026 21:00:00 GMT", 1_795_640_400),
        ] {
            assert_eq!(date_of(text), Some(Timestamp::from_seconds(seconds)), "{text}");
        }
        for text in ["", "yesterday", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(date_of(text), None, "{text}");
        }
    }
}
