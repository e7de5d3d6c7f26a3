//! A request, read whole and within limits.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{AsHeaderName, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::Limits;
use crate::oauth::{Parameters, Refusal};

/// Why a request was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The body is longer than the door allows: 413.
    TooLarge,
    /// The body did not arrive in time: 408.
    TooSlow,
    /// The body broke off or was framed wrongly: 400.
    Broken,
    /// We have a defect: 500.
    Defect,
}

impl Refused {
    /// The status (RFC 9110 §15.5, §15.6) and what it is for.
    pub(super) const fn status(self) -> (StatusCode, &'static str) {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off"),
            Self::Defect => (StatusCode::INTERNAL_SERVER_ERROR, "this server has a defect"),
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
}

pub(super) async fn receive(
    request: hyper::Request<Incoming>,
    peer: IpAddr,
    limits: Limits,
) -> Result<Received, Refused> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, limits.body).collect();
    let body = tokio::time::timeout(limits.patience, body).await.map_err(|_| Refused::TooSlow)?;
    let body = body.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() { Refused::TooLarge } else { Refused::Broken }
    })?;
    Ok(Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body: body.to_bytes(),
        peer,
    })
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

/// `application/x-www-form-urlencoded`, with `charset=utf-8` or no parameter.
fn is_form(content_type: &str) -> bool {
    let (essence, parameter) = content_type.split_once(';').unwrap_or((content_type, ""));
    let parameter = parameter.trim().to_ascii_lowercase();
    let utf8 = matches!(parameter.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") && utf8
}
