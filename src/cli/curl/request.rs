//! The request, by curl's flags.

use std::path::{Path, PathBuf};

use clap::Args;
use miette::Diagnostic;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};

use crate::cli::client::{Certificates, Transport};
use crate::cli::quote;

/// Flags with the names and meanings they have in curl.
#[derive(Debug, Args)]
pub(super) struct RequestOptions {
    /// The method; GET, or POST when there are data
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header, `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Form data, or @FILE without its line breaks; several are joined by `&`
    #[arg(short = 'd', long = "data", value_name = "DATA", conflicts_with = "data_binary")]
    data: Vec<String>,
    /// Data as they are, or @FILE as it is
    #[arg(long, value_name = "DATA")]
    data_binary: Option<String>,
    /// Do not check the server's certificate
    #[arg(short = 'k', long)]
    insecure: bool,
}

/// Why the flags make no request.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(in crate::cli) enum RequestError {
    /// Not a method (RFC 9110 §9.1).
    #[error("`{0}` is no HTTP method")]
    Method(String),
    /// Not a header.
    #[error("`{0}` is no header")]
    #[diagnostic(help("write -H 'Name: value'"))]
    Header(String),
    /// A header that this verb makes itself.
    #[error("{0} is what this verb adds by itself")]
    #[diagnostic(help("leave the header out; use plain curl to send one of your own"))]
    Reserved(HeaderName),
    /// A file of data cannot be read.
    #[error("cannot read {}", path.display())]
    Data {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A request without its credentials.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    certificates: Certificates,
}

impl RequestOptions {
    /// Reads the flags and the files they name.
    pub(super) fn read(&self, url: &Url) -> Result<Request, RequestError> {
        let body = self.body()?;
        let method = match &self.method {
            Some(name) => Method::from_bytes(name.as_bytes()).map_err(|_| RequestError::Method(name.clone()))?,
            None if body.is_some() => Method::POST,
            None => Method::GET,
        };
        let mut headers = HeaderMap::new();
        for header in &self.headers {
            let (name, value) = parse_header(header)?;
            headers.append(name, value);
        }
        if body.is_some() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        Ok(Request { method, url: url.clone(), headers, body, certificates: self.certificates() })
    }

    /// Whether the server's certificate must be valid.
    pub(super) fn certificates(&self) -> Certificates {
        if self.insecure { Certificates::Ignore } else { Certificates::Check }
    }

    fn body(&self) -> Result<Option<Vec<u8>>, RequestError> {
        if let Some(data) = &self.data_binary {
            return data.strip_prefix('@').map_or_else(|| Ok(data.clone().into_bytes()), read).map(Some);
        }
        let parts: Result<Vec<_>, _> = self.data.iter().map(|data| form_part(data)).collect();
        let parts = parts?;
        Ok(if parts.is_empty() { None } else { Some(parts.join(&b'&')) })
    }
}

/// curl's `-d`: text, or a file without its line breaks.
fn form_part(data: &str) -> Result<Vec<u8>, RequestError> {
    let Some(path) = data.strip_prefix('@') else { return Ok(data.as_bytes().to_vec()) };
    let mut text = read(path)?;
    text.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    Ok(text)
}

fn read(path: &str) -> Result<Vec<u8>, RequestError> {
    std::fs::read(path).map_err(|source| RequestError::Data { path: Path::new(path).to_owned(), source })
}

fn parse_header(header: &str) -> Result<(HeaderName, HeaderValue), RequestError> {
    let malformed = || RequestError::Header(header.to_owned());
    let (name, value) = header.split_once(':').ok_or_else(malformed)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| malformed())?;
    if name == "authorization" || name == "dpop" {
        return Err(RequestError::Reserved(name));
    }
    let value = HeaderValue::from_str(value.trim()).map_err(|_| malformed())?;
    Ok((name, value))
}

impl Request {
    /// The same request without its body.
    pub(super) fn without_body(&self) -> Self {
        let Self { method, url, headers, body: _, certificates } = self;
        let mut headers = headers.clone();
        headers.remove(CONTENT_TYPE);
        Self { method: method.clone(), url: url.clone(), headers, body: None, certificates: *certificates }
    }

    /// The request with credentials.
    pub(super) fn build(&self, transport: &Transport, credentials: &[(&'static str, String)]) -> RequestBuilder {
        let mut request = transport.request(self.method.clone(), &self.url).headers(self.headers.clone());
        for (name, value) in credentials {
            request = request.header(*name, value);
        }
        match &self.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }

    /// The request as a command line for curl, quoted for a POSIX shell.
    pub(super) fn command_line(&self, credentials: &[(&'static str, String)]) -> String {
        let mut line = String::from("curl");
        if matches!(self.certificates, Certificates::Ignore) {
            line.push_str(" -k");
        }
        if self.method == Method::HEAD {
            line.push_str(" -I");
        } else {
            line.extend([" -X ", &quote(self.method.as_str())]);
        }
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
        let credentials = credentials.iter().map(|(name, value)| (*name, value.as_str().into()));
        for (name, value) in own.chain(credentials) {
            line.extend([" -H ", &quote(&format!("{name}: {value}"))]);
        }
        if let Some(body) = &self.body {
            line.extend([" --data-binary ", &quote(&String::from_utf8_lossy(body))]);
        }
        line.extend([" ", &quote(self.url.as_str())]);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_survives_the_shell() {
        let url = Url::parse("https://api.example/a?b=c&d='").expect("a URL");
        let options = RequestOptions {
            method: None,
            headers: vec!["X-Note: it's".to_owned()],
            data: vec!["a=1".to_owned(), "b=2".to_owned()],
            data_binary: None,
            insecure: true,
        };
        let request = options.read(&url).expect("a request");
        let line = request.command_line(&[("Authorization", "DPoP t".to_owned())]);
        assert_eq!(
            line,
            r"curl -k -X POST -H 'x-note: it'\''s' -H 'content-type: application/x-www-form-urlencoded' -H 'Authorization: DPoP t' --data-binary 'a=1&b=2' 'https://api.example/a?b=c&d=%27'"
        );
    }

    #[test]
    fn headers_of_our_own_are_refused() {
        assert!(matches!(parse_header("DPoP: x"), Err(RequestError::Reserved(_))));
        assert!(matches!(parse_header("no colon"), Err(RequestError::Header(_))));
        assert!(matches!(parse_header("a: b\nc"), Err(RequestError::Header(_))));
    }
}
