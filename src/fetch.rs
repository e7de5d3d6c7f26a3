//! Documents on other people's servers, fetched within limits: key sets, discovery, tokens of an upstream provider.
//!
//! Invariant: a fetch goes to the URL that was asked for, over https (http on loopback), is never redirected, ends in
//! bounded time and takes bounded memory. What was resolved is what is connected to, so no second look-up of a name can
//! lead past the check of its addresses.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use reqwest::{Certificate, ClientBuilder, RequestBuilder, Response, Url};

mod kept;
mod reach;

pub use kept::{Getting, Got, Keeping, Kept};
pub use reach::Reach;
use reach::{AddressRefused, Resolver};

/// How much a fetch may cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FetchLimits {
    /// How long it may take, from the first packet to the last.
    pub time: Duration,
    /// The longest body, in bytes.
    pub size: usize,
}

impl Default for FetchLimits {
    /// Five seconds, 256 KiB.
    fn default() -> Self {
        Self { time: Duration::from_secs(5), size: 256 * 1024 }
    }
}

/// Why nothing was fetched. None of these tells what the other side said.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchFault {
    /// Not https (or http on loopback), or with userinfo or a fragment.
    #[error("must be an https URL (http on loopback only) without userinfo and fragment")]
    Url,
    /// The host is, or resolves to, an address that must not be asked.
    #[error("the host has no address that may be asked")]
    Address,
    /// No connection came about, or it broke off.
    #[error("no answer came")]
    NoAnswer,
    /// The time was over.
    #[error("the answer took too long")]
    TimedOut,
    /// The body is longer than allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// Any status but 200.
    #[error("the answer has status {0}")]
    Status(u16),
    /// The body is not what was asked for.
    #[error("the document is not what it should be")]
    Unfit,
}

/// The client could not be made: most likely there are no certificate authorities on this machine.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an HTTPS client; are there certificate authorities on this machine?")]
pub struct FetcherFault(#[source] reqwest::Error);

/// Whose certificates count where somebody is asked over https: by default those that this machine trusts.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Roots {
    /// Whether those that this machine trusts do not count.
    only: bool,
    /// Authorities, in PEM.
    authorities: Vec<u8>,
}

impl Roots {
    /// These authorities, in PEM, and nobody else.
    #[must_use]
    pub const fn only(authorities: Vec<u8>) -> Self {
        Self { only: true, authorities }
    }

    /// The same, and these authorities, in PEM.
    #[must_use]
    pub fn and(&self, authorities: &[u8]) -> Self {
        let mut more = self.clone();
        more.authorities.push(b'\n'); // files need not end with one
        more.authorities.extend_from_slice(authorities);
        more
    }

    /// Whether those that this machine trusts do not count.
    pub(crate) fn are_exclusive(&self) -> bool {
        self.only
    }

    /// The authorities, in PEM; perhaps none, if there are those that this machine trusts.
    pub(crate) fn authorities(&self) -> &[u8] {
        &self.authorities
    }

    fn of(&self, builder: ClientBuilder) -> Result<ClientBuilder, FetcherFault> {
        let authorities = Certificate::from_pem_bundle(&self.authorities).map_err(FetcherFault)?;
        Ok(if self.only { builder.tls_certs_only(authorities) } else { builder.tls_certs_merge(authorities) })
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.only { "Roots(..)" } else { "Roots(this machine, ..)" })
    }
}

/// A URL that may be fetched: https, or http on loopback; without userinfo and fragment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct FetchUrl(Url);

impl FromStr for FetchUrl {
    type Err = FetchFault;

    fn from_str(text: &str) -> Result<Self, FetchFault> {
        let url: Url = text.parse().map_err(|_| FetchFault::Url)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let secure = match url.scheme() {
            "https" => url.has_host(),
            "http" => reach::is_loopback(&url),
            _ => false,
        };
        if plain && secure { Ok(Self(url)) } else { Err(FetchFault::Url) }
    }
}

impl FetchUrl {
    /// The URL, as the browser is sent there.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Host and port, as names of limits.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority()
    }

    /// The URL with parameters behind those of its query.
    #[must_use]
    pub fn with_query(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }

    /// The host, in normal form.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The path, in normal form.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Whether it may be asked for, as far as that can be told without resolving its host.
    #[must_use]
    pub fn may_be_within(&self, reach: Reach) -> bool {
        reach.admits_host(&self.0)
    }

    /// Whether it names this machine: `localhost`, or an address of loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        reach::is_loopback(&self.0)
    }

    /// Whether it is plain http, which is on loopback only.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }
}

/// What was fetched, with status 200 or, for [`Fetcher::post`], any.
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1).
    pub max_age: Option<Duration>,
    /// By what name whoever was asked knows the document (`ETag`, RFC 9110 §8.8.3).
    pub tag: Option<String>,
    /// Whether whoever was asked lets others wait for the next document (`Preference-Applied`, RFC 7240 §3).
    pub waits: bool,
}

/// The longest name of a document that is kept, in bytes.
const TAG_LIMIT: usize = 256;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Fetches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    reach: Reach,
    limits: FetchLimits,
    /// Whether documents of other media types are refused.
    json_only: bool,
    /// What may come.
    accept: &'static str,
    /// What is shown to whoever is asked.
    token_file: Option<Arc<Path>>,
}

impl Fetcher {
    /// Makes a fetcher.
    ///
    /// # Errors
    /// [`FetcherFault`], also if the roots are no PEM.
    pub fn new(reach: Reach, limits: FetchLimits, roots: &Roots) -> Result<Self, FetcherFault> {
        let client = roots
            .of(reqwest::Client::builder())?
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy() // a proxy would resolve names by itself, past our check of addresses
            .referer(false)
            .timeout(limits.time)
            .dns_resolver(Arc::new(Resolver(reach)))
            .build()
            .map_err(FetcherFault)?;
        Ok(Self { client, reach, limits, json_only: false, accept: "application/json", token_file: None })
    }

    /// The same fetcher, for documents that say that they are JSON: `application/json` or `application/…+json`.
    #[must_use]
    pub fn for_json_only(self) -> Self {
        Self { json_only: true, ..self }
    }

    /// The same fetcher, for documents of that media type.
    #[must_use]
    pub fn accepting(self, media_type: &'static str) -> Self {
        Self { accept: media_type, ..self }
    }

    /// The same fetcher, which shows the access token in a file. It is read each time: platforms renew such files.
    #[must_use]
    pub fn showing(self, token_file: Option<PathBuf>) -> Self {
        Self { token_file: token_file.map(Into::into), ..self }
    }

    /// Fetches a JSON document; any status but 200 is a fault.
    ///
    /// # Errors
    /// [`FetchFault`].
    pub async fn get(&self, url: &FetchUrl) -> Result<Fetched, FetchFault> {
        let Some(token_file) = &self.token_file else {
            return self.send(url, self.client.get(url.0.clone())).await?.ok();
        };
        let token = tokio::fs::read_to_string(token_file).await.map_err(|_| FetchFault::NoAnswer)?;
        self.get_with(url, token.trim()).await
    }

    /// Fetches a document other than the one that is known by that tag; `None` if there was none for as long as `wait`, if
    /// whoever is asked lets others wait (RFC 7240 §4.3). Any status but 200 is a fault otherwise.
    ///
    /// # Errors
    /// [`FetchFault`].
    pub async fn get_other(
        &self,
        url: &FetchUrl,
        known: Option<&str>,
        wait: Duration,
    ) -> Result<Option<Fetched>, FetchFault> {
        let mut request = self.client.get(url.0.clone()).header(PREFER, format!("wait={}", wait.as_secs()));
        if let Some(tag) = known {
            request = request.header(IF_NONE_MATCH, tag).timeout(self.limits.time + wait);
        }
        let fetched = self.send(url, request).await?;
        if known.is_some() && fetched.status == 304 { Ok(None) } else { fetched.ok().map(Some) }
    }

    /// Fetches a JSON document with an access token (RFC 6750 §2.1); any status but 200 is a fault.
    ///
    /// # Errors
    /// [`FetchFault`].
    pub async fn get_with(&self, url: &FetchUrl, token: &str) -> Result<Fetched, FetchFault> {
        let request = self.client.get(url.0.clone()).header(AUTHORIZATION, secret(&format!("Bearer {token}"))?);
        self.send(url, request).await?.ok()
    }

    /// Posts a form, with an `Authorization` header if there is one, and takes an answer of any status.
    ///
    /// # Errors
    /// [`FetchFault`].
    pub async fn post(
        &self,
        url: &FetchUrl,
        form: &[(&str, &str)],
        authorization: Option<&str>,
    ) -> Result<Fetched, FetchFault> {
        let mut request = self.client.post(url.0.clone()).form(form);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, secret(authorization)?);
        }
        self.send(url, request).await
    }

    /// Sends a request and reads its answer whole, within the limits. The time of the client covers the body too.
    async fn send(&self, url: &FetchUrl, request: RequestBuilder) -> Result<Fetched, FetchFault> {
        if !self.reach.admits_host(&url.0) {
            return Err(FetchFault::Address);
        }
        let response = request.header(ACCEPT, self.accept).send().await.map_err(|error| fault(&error))?;
        let (status, max_age) = (response.status().as_u16(), max_age(response.headers()));
        let (tag, waits) = (tag(response.headers()), waits(response.headers()));
        if self.json_only && status == 200 && !is_json(response.headers()) {
            return Err(FetchFault::Unfit);
        }
        Ok(Fetched { status, body: self.read(response).await?, max_age, tag, waits })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, FetchFault> {
        if response.content_length().is_some_and(|length| length > self.limits.size as u64) {
            return Err(FetchFault::TooLarge);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
            if body.len() + chunk.len() > self.limits.size {
                return Err(FetchFault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl Fetched {
    /// Passes an answer with status 200 on.
    fn ok(self) -> Result<Self, FetchFault> {
        if self.status == 200 { Ok(self) } else { Err(FetchFault::Status(self.status)) }
    }
}

/// A header value that no log prints.
fn secret(value: &str) -> Result<HeaderValue, FetchFault> {
    let mut value = HeaderValue::try_from(value).map_err(|_| FetchFault::Unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

fn fault(error: &reqwest::Error) -> FetchFault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<AddressRefused>() {
            return FetchFault::Address;
        }
        cause = error.source();
    }
    if error.is_timeout() { FetchFault::TimedOut } else { FetchFault::NoAnswer }
}

/// Whether a document says that it is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = name.strip_prefix("application/").unwrap_or_default();
    subtype == "json" || subtype.ends_with("+json")
}

fn tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    (tag.len() <= TAG_LIMIT).then(|| tag.to_owned())
}

fn waits(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(PREFERENCE_APPLIED).into_iter().filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(',')).filter_map(|applied| applied.split('=').next());
    names.any(|name| name.trim().eq_ignore_ascii_case("wait"))
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

/// The port that a resolver's answers have: reqwest puts the one of the URL in its place.
const ANY_PORT: u16 = 0;

/// Resolves a name once.
async fn look_up(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, ANY_PORT)).await?.collect())
}
