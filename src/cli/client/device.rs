//! The device authorization grant (RFC 8628), as the device: shows a code, and asks until a person has decided.
//!
//! Invariant: what a server says is bounded and legible before anybody sees it or waits for it.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::token::{refusal, wants_nonce};
use super::{ClientError, Reply, Token, TokenClient, TokenGrant, is_secure, shown};
use crate::jose::SigningKey;

/// The time between two polls when the server names none (RFC 8628 §3.2).
const UNSAID_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two polls, whatever the server says.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What `slow_down` adds to the interval (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The longest pause after trouble with the network, but for what the server or its interval wants.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long a person has at most, whatever the server says.
const LONGEST_LIFE: Duration = Duration::from_hours(1);

/// How often the time that is left is told.
const TICK: Duration = Duration::from_secs(1);

/// The longest device code, in bytes: it goes into every poll.
const DEVICE_CODE_LIMIT: usize = 8 * 1024;

/// The longest user code, in bytes: people type it.
const USER_CODE_LIMIT: usize = 64;

/// The longest address, in bytes: people type it, or photograph it.
const ADDRESS_LIMIT: usize = 512;

/// What a device shows while it waits (RFC 8628 §3.2).
pub(in crate::cli) struct DeviceAuthorization {
    device_code: SecretString,
    /// The code that the person compares or types: visible ASCII.
    pub(in crate::cli) user_code: String,
    /// Where the person types it.
    pub(in crate::cli) verification_uri: Url,
    /// The same address with the code in it.
    pub(in crate::cli) verification_uri_complete: Option<Url>,
    /// How long the codes live.
    pub(in crate::cli) life: Duration,
    ends: Instant,
    interval: Duration,
}

/// What there is to tell while a device waits.
pub(in crate::cli) enum Waiting<'a> {
    /// So much time is left; once a second.
    Left(Duration),
    /// The server wanted longer pauses; from now on they are of this length.
    SlowedDown(Duration),
    /// An attempt failed for a reason that may pass; the next one comes after this time.
    Trouble(&'a ClientError, Duration),
}

/// The response as it comes.
#[derive(Deserialize)]
struct Document {
    device_code: SecretString,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

impl DeviceAuthorization {
    /// Asks for codes. They are good with `key` only, where the server knows `dpop_jkt` at this endpoint.
    pub(in crate::cli) async fn begin(client: &TokenClient<'_>, key: &SigningKey) -> Result<Self, ClientError> {
        let (endpoint, reply) = (endpoint(client)?, Self::ask(client, key).await?);
        client.talk.sent("device", &shown(&Method::POST, endpoint), reply.status.as_str());
        if !reply.status.is_success() {
            return Err(refusal(endpoint, &reply));
        }
        Self::read(&reply.body).map_err(|what| ClientError::Answer(endpoint.to_string(), what))
    }

    /// Sends one device authorization request.
    pub(in crate::cli) async fn ask(client: &TokenClient<'_>, key: &SigningKey) -> Result<Reply, ClientError> {
        let thumbprint = key.public().thumbprint().to_string();
        let mut form = vec![("dpop_jkt", thumbprint.as_str())];
        form.extend(client.scope.map(|scope| ("scope", scope)));
        form.extend(client.resource.map(|resource| ("resource", resource)));
        client.post(endpoint(client)?, form).await
    }

    /// Reads a response; says what is wrong with one that is not believed.
    pub(in crate::cli) fn read(body: &[u8]) -> Result<Self, &'static str> {
        let document: Document =
            serde_json::from_slice(body).map_err(|_| "not a device authorization response of RFC 8628")?;
        let length = document.device_code.expose_secret().len();
        if length == 0 || length > DEVICE_CODE_LIMIT {
            return Err("a device code that is empty or longer than 8 KiB");
        }
        let user_code = document.user_code;
        let legible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if user_code.is_empty() || user_code.len() > USER_CODE_LIMIT || !user_code.bytes().all(legible) {
            return Err("a user code that nobody could type");
        }
        let life = Duration::from_secs(document.expires_in).min(LONGEST_LIFE);
        let interval = document.interval.map_or(UNSAID_INTERVAL, Duration::from_secs).max(SHORTEST_INTERVAL);
        if interval >= life {
            return Err("codes that expire before it may be asked about them");
        }
        Ok(Self {
            device_code: document.device_code,
            user_code,
            verification_uri: address(&document.verification_uri)?,
            verification_uri_complete: document.verification_uri_complete.as_deref().map(address).transpose()?,
            life,
            ends: Instant::now() + life,
            interval,
        })
    }

    /// Polls until there is a token, a refusal, or no time left (RFC 8628 §3.4, §3.5); tells `watch` what happens.
    pub(in crate::cli) async fn token(
        &self,
        client: &TokenClient<'_>,
        key: &SigningKey,
        watch: &mut dyn FnMut(Waiting<'_>),
    ) -> Result<Token, ClientError> {
        let mut pace = Pace { interval: self.interval, failures: 0 };
        let mut nonce = None;
        let mut next = Instant::now() + pace.pause();
        loop {
            let now = Instant::now();
            if now >= self.ends {
                return Err(ClientError::CodeExpired);
            }
            watch(Waiting::Left(self.ends - now));
            sleep_until(next.min(now + TICK).min(self.ends)).await;
            if Instant::now() < next {
                continue;
            }
            let answer = tokio::time::timeout_at(self.ends, self.poll(client, key, &mut nonce)).await;
            match answer.map_err(|_| ClientError::CodeExpired)? {
                Poll::Token(token) => return Ok(token),
                Poll::Refused(error) => return Err(error),
                Poll::Pending => pace.answered(),
                Poll::SlowDown => {
                    pace.slow_down();
                    watch(Waiting::SlowedDown(pace.interval));
                }
                Poll::Trouble(error, wanted) => {
                    pace.failed();
                    next = Instant::now() + pace.pause().max(wanted.min(self.life));
                    watch(Waiting::Trouble(&error, next - Instant::now()));
                    continue;
                }
            }
            next = Instant::now() + pace.pause();
        }
    }

    /// What a poll asks with.
    pub(in crate::cli) fn grant(&self) -> TokenGrant<'_> {
        TokenGrant::DeviceCode(&self.device_code)
    }

    /// Asks once; a second time if the server wants a nonce that we did not have (RFC 9449 §8).
    async fn poll(&self, client: &TokenClient<'_>, key: &SigningKey, nonce: &mut Option<String>) -> Poll {
        let grant = self.grant();
        for _ in 0..2 {
            let reply = match client.ask(&grant, key, nonce.as_deref()).await {
                Ok(reply) => reply,
                Err(error @ ClientError::Unreachable(..)) => return Poll::Trouble(error, Duration::ZERO),
                Err(error) => return Poll::Refused(error),
            };
            *nonce = reply.nonce().or(nonce.take());
            if !wants_nonce(&reply) {
                return Poll::read(client, &reply);
            }
        }
        Poll::Pending
    }
}

fn endpoint<'a>(client: &TokenClient<'a>) -> Result<&'a Url, ClientError> {
    let server = client.server;
    let missing = || ClientError::Answer(server.issuer.clone(), "no device_authorization_endpoint in its metadata");
    server.device_authorization_endpoint.as_ref().ok_or_else(missing)
}

/// An address that a person can be shown and a browser can be given: TLS or loopback, and nobody's name before the host.
fn address(text: &str) -> Result<Url, &'static str> {
    let legible = text.len() <= ADDRESS_LIMIT && text.bytes().all(|byte| byte.is_ascii_graphic());
    let url = text.parse::<Url>().ok().filter(|_| legible).ok_or("an address that is none")?;
    if !is_secure(&url) || !url.username().is_empty() || url.password().is_some() {
        return Err("an address without TLS, or with a name before its host");
    }
    Ok(url)
}

/// What a poll brought (RFC 8628 §3.5).
enum Poll {
    Token(Token),
    Pending,
    SlowDown,
    Refused(ClientError),
    /// Nobody answered, or a server that asks for patience; with how much of it.
    Trouble(ClientError, Duration),
}

impl Poll {
    fn read(client: &TokenClient<'_>, reply: &Reply) -> Self {
        if reply.status.is_success() {
            return client.read(reply).map_or_else(Self::Refused, Self::Token);
        }
        let refused = refusal(&client.server.token_endpoint, reply);
        if reply.status.is_server_error() || reply.status.as_u16() == 429 {
            return Self::Trouble(refused, patience(reply));
        }
        match &refused {
            ClientError::Refused { error, .. } => match error.as_str() {
                "authorization_pending" => Self::Pending,
                "slow_down" => Self::SlowDown,
                "access_denied" => Self::Refused(ClientError::Declined),
                "expired_token" => Self::Refused(ClientError::CodeExpired),
                _ => Self::Refused(refused),
            },
            _ => Self::Refused(refused),
        }
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); dates are not understood.
fn patience(reply: &Reply) -> Duration {
    let seconds = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// How long to wait before the next poll (RFC 8628 §3.5).
struct Pace {
    interval: Duration,
    failures: u32,
}

impl Pace {
    /// The interval; twice as long after every failure in a row, as the RFC recommends after connection timeouts.
    fn pause(&self) -> Duration {
        let backoff = self.interval.saturating_mul(1 << self.failures.min(16));
        backoff.min(LONGEST_PAUSE).max(self.interval)
    }

    /// "MUST be increased by 5 seconds for this and all subsequent requests".
    fn slow_down(&mut self) {
        self.answered();
        self.interval = self.interval.saturating_add(SLOW_DOWN);
    }

    fn answered(&mut self) {
        self.failures = 0;
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_become_rarer_and_never_more_frequent() {
        let seconds = Duration::from_secs;
        let mut pace = Pace { interval: seconds(5), failures: 0 };
        assert_eq!(pace.pause(), seconds(5));
        pace.slow_down();
        assert_eq!(pace.pause(), seconds(10));
        for expected in [20, 40, 60, 60] {
            pace.failed();
            assert_eq!(pace.pause(), seconds(expected));
        }
        pace.answered();
        assert_eq!(pace.pause(), seconds(10), "slow_down is for good");
        let slow = Pace { interval: seconds(90), failures: 9 };
        assert_eq!(slow.pause(), seconds(90));
    }

    #[test]
    fn what_a_server_says_is_bounded_and_legible() {
        let read = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut document = serde_json::json!({
                "device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": "https://as.example/activate",
                "verification_uri_complete": "https://as.example/activate?user_code=WDJB-MJHT", "expires_in": 600,
            });
            change(&mut document);
            DeviceAuthorization::read(document.to_string().as_bytes())
        };
        assert_eq!(read(&|_| {}).map(|read| (read.life.as_secs(), read.interval.as_secs())), Ok((600, 5)));
        let eager = read(&|document| document["interval"] = 0.into());
        assert_eq!(eager.map(|read| read.interval.as_secs()), Ok(1));
        let eternal = read(&|document| document["expires_in"] = 1_000_000_000.into());
        assert_eq!(eternal.map(|read| read.life.as_secs()), Ok(3600));
        let long = "x".repeat(DEVICE_CODE_LIMIT + 1);
        for (name, value) in [
            ("interval", serde_json::json!(1_000_000_000)),
            ("interval", (-1).into()),
            ("expires_in", 0.into()),
            ("device_code", "".into()),
            ("device_code", long.as_str().into()),
            ("user_code", "".into()),
            ("user_code", "AB\u{1b}[2J".into()),
            ("user_code", "AB\u{202e}CD".into()),
            ("user_code", "B".repeat(65).into()),
            ("verification_uri", "http://as.example/activate".into()),
            ("verification_uri", "javascript:alert(1)".into()),
            ("verification_uri", "/activate".into()),
            ("verification_uri", "https://as.example/\u{1b}]0;title\u{7}".into()),
            ("verification_uri", "https://as.example/\n\nSend your password".into()),
            ("verification_uri", "https://bank.example@evil.example/".into()),
            ("verification_uri_complete", format!("https://as.example/{long}").into()),
            ("verification_uri_complete", "file:///etc/passwd".into()),
        ] {
            assert!(read(&|document| document[name] = value.clone()).is_err(), "{name}: {value}");
        }
    }
}
