//! A request, read whole and within limits.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AsHeaderName, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::watch;

use super::forwarded::Proxies;
use super::{Limits, forwarded};
use crate::certificate::ClientCertificate;
use crate::identity::Headers;
use crate::oauth::{Parameters, Refusal};

/// Why a request was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The body is longer than the door allows: 413.
    TooLarge,
    /// The body did not arrive in time: 408.
    TooSlow,
    /// The body broke off, or the request was framed wrongly: 400.
    Broken,
    /// We have a defect: 500.
    Defect,
}

impl Refused {
    /// The status of the answer.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What is said about it, in the characters of RFC 6749 §5.2.
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::TooLarge => "the body is too large",
            Self::TooSlow => "the body did not arrive in time",
            Self::Broken => "the request is not well-formed HTTP",
            Self::Defect => "this server has a defect",
        }
    }
}

/// A request whose head and body were read.
pub struct Received {
    /// The method.
    pub method: Method,
    /// The path, as it came.
    pub path: String,
    /// The query, as it came.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who connected. Behind a proxy, the proxy.
    pub peer: IpAddr,
    /// Who asks, as far as trusted proxies tell; for limits, and for people to see.
    pub address: IpAddr,
    /// The certificate that the client has presented.
    pub certificate: Option<ClientCertificate>,
    /// Whether somebody wants the answer still.
    pub wanted: Wanted,
}

/// Whether somebody wants an answer still: what was begun for a request goes on when its connection has ended, but for what
/// only waits.
#[derive(Clone)]
pub struct Wanted(watch::Receiver<()>);

impl Wanted {
    /// An answer that is wanted for as long as the first of them lives.
    pub(super) fn while_held() -> (watch::Sender<()>, Self) {
        let (held, wanted) = watch::channel(());
        (held, Self(wanted))
    }

    /// Resolves when nobody wants it any more.
    pub(super) async fn ends(&self) {
        let mut held = self.0.clone();
        while held.changed().await.is_ok() {}
    }
}

/// The other end of a connection.
pub(super) struct Peer {
    /// Its address.
    pub(super) address: IpAddr,
    /// Whose word about who is behind them counts.
    pub(super) proxies: Proxies,
    /// The certificate that it has presented in the handshake.
    pub(super) certificate: Option<ClientCertificate>,
}

pub(super) async fn receive(
    request: hyper::Request<Incoming>,
    (peer, wanted): (Peer, Wanted),
    limits: Limits,
) -> Result<Received, Refused> {
    let (head, body) = request.into_parts();
    check_framing(&head)?;
    let body = read(body, head.headers.contains_key(EXPECT), limits).await?;
    let forwarded = head.headers.get_all("x-forwarded-for").into_iter();
    let forwarded = forwarded.map(|value| value.to_str().unwrap_or_default());
    let address = forwarded::address(peer.address, forwarded, &peer.proxies.networks);
    let certificate = if peer.proxies.tell_of_certificates(peer.address) {
        forwarded::certificate(&head.headers)
    } else {
        peer.certificate
    };
    Ok(Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body,
        peer: peer.address,
        address,
        certificate,
        wanted,
    })
}

/// What the HTTP library leaves to us: one `Host` that names one (RFC 9112 §3.2), and one way to tell the length of a body,
/// since two are an attempt to make two parsers disagree (RFC 9112 §6.1, §6.3).
fn check_framing(head: &Parts) -> Result<(), Refused> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let names_one =
        |host: &HeaderValue| !host.as_bytes().contains(&b'@') && Authority::try_from(host.as_bytes()).is_ok();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => names_one(host),
        (None, _) => head.version != Version::HTTP_11, // HTTP/1.0 knows none, and HTTP/2 has `:authority`
        (Some(_), Some(_)) => false,
    };
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let length = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => chunked(coding) && !head.headers.contains_key(CONTENT_LENGTH),
        (Some(_), Some(_)) => false,
    };
    if host && length { Ok(()) } else { Err(Refused::Broken) }
}

/// Reads a body within limits. A client that waits to be told to go on is not told so if its body is too large.
async fn read(mut body: Incoming, waits: bool, limits: Limits) -> Result<Bytes, Refused> {
    let announced = body.size_hint().lower();
    let collected = if announced > limits.body as u64 {
        Err(Refused::TooLarge)
    } else {
        let collected = Limited::new(&mut body, limits.body).collect();
        let collected = tokio::time::timeout(limits.patience, collected).await.map_err(|_| Refused::TooSlow)?;
        collected.map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() { Refused::TooLarge } else { Refused::Broken }
        })
    };
    if matches!(collected, Err(Refused::TooLarge)) && !waits && announced <= DISCARD_LIMIT as u64 {
        discard(body).await;
    }
    Ok(collected?.to_bytes())
}

/// How much of a body that is too large is read and dropped, in bytes, and for how long at most.
const DISCARD_LIMIT: usize = 2 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Reads on for a while. A connection that is closed while its peer is sending is reset, and the peer, if it sends in one
/// go, never sees the answer (RFC 9112 §9.6).
async fn discard(mut body: Incoming) {
    let rest = async {
        let mut left = DISCARD_LIMIT;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await; // who is slower than that has had a chance
}

impl Received {
    /// Every value of a header; one that is not visible ASCII reads as empty, which nothing takes for valid.
    pub(crate) fn header<'a>(&'a self, name: impl AsHeaderName + 'a) -> impl Iterator<Item = &'a str> {
        self.headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default())
    }

    /// The parameters of a form body (RFC 6749 Appendix B).
    ///
    /// # Errors
    /// [`Refusal::ContentTypeWrong`], and those of [`Parameters::parse`].
    pub(crate) fn form(&self) -> Result<Parameters, Refusal> {
        Parameters::parse(self.form_text()?)
    }

    /// The text of a form body.
    ///
    /// # Errors
    /// [`Refusal::ContentTypeWrong`], [`Refusal::FormMalformed`].
    pub(crate) fn form_text(&self) -> Result<&str, Refusal> {
        let mut types = self.header(CONTENT_TYPE);
        let only = types.next().filter(|_| types.next().is_none()).unwrap_or_default();
        if !is_form(only) {
            return Err(Refusal::ContentTypeWrong);
        }
        std::str::from_utf8(&self.body).map_err(|_| Refusal::FormMalformed)
    }
}

impl Headers for Received {
    fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default()).collect()
    }
}

/// `application/x-www-form-urlencoded`, with `charset=utf-8` or no parameter.
fn is_form(content_type: &str) -> bool {
    let (essence, parameter) = content_type.split_once(';').unwrap_or((content_type, ""));
    let parameter = parameter.trim().to_ascii_lowercase();
    let utf8 = matches!(parameter.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") && utf8
}
