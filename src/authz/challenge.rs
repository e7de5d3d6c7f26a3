//! What a client is told: status, challenge (RFC 6750 §3, RFC 9449 §7.1), nonce and a short body.
//!
//! Invariant: only constant text, configured names and nonces of ours go out; nothing that a caller sent comes back.

use std::fmt::Write as _;
use std::str;

use super::credentials::Scheme;
use super::{ChallengeError, Denial, Denied, DpopRequirement, Headers, Outage, Requirements, Resource};
use crate::document::PublicDocument;
use crate::jose::{Algorithm, PROOF_ALGORITHMS};

/// Seconds after which a request that met an outage is worth a retry (RFC 9110 §10.2.3).
const RETRY_AFTER: &str = "1";

/// The answer to a request that does not pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header fields; `www-authenticate` occurs once for each scheme.
    pub headers: Vec<(&'static str, String)>,
    /// The body: JSON, or for gRPC callers a sentence in ASCII that becomes `grpc-message`.
    pub body: String,
}

impl Answer {
    /// A document for everybody; 304 without a body for those who have it (RFC 9110 §13.1.2), if the proxy lets us see that.
    pub(super) fn document(document: &PublicDocument, headers: &Headers<'_>) -> Self {
        let lines = headers.all("if-none-match").filter_map(|line| str::from_utf8(line).ok());
        let known = document.is_known(lines);
        let (status, body) = if known { (304, String::new()) } else { (200, document.body().to_owned()) };
        Self { status, headers: document.headers(known), body }
    }
}

/// What kind of client asks; it decides the form of an answer and never its meaning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// Whether it speaks gRPC.
    grpc: bool,
    /// Whether it is a script from another origin.
    cross_origin: bool,
}

impl Caller {
    /// Reads the caller's kind off a request.
    #[must_use]
    pub fn of(headers: &Headers<'_>) -> Self {
        let grpc = |value: &[u8]| value == b"application/grpc" || value.starts_with(b"application/grpc+");
        Self { grpc: headers.all("content-type").any(grpc), cross_origin: headers.contains("origin") }
    }
}

impl Denied {
    /// What the client is told.
    #[must_use]
    pub fn answer(&self, caller: Caller) -> Answer {
        let mut headers = self.challenges();
        if let Some(nonce) = &self.nonce {
            headers.push(("dpop-nonce", nonce.clone()));
        }
        headers.extend(self.context.cors());
        if caller.cross_origin {
            // A browser client cannot answer a challenge that it cannot read (RFC 9449 §7.1, §9).
            headers.push(("access-control-expose-headers", "WWW-Authenticate, DPoP-Nonce".to_owned()));
        }
        if let (true, Some(code)) = (caller.grpc, grpc_status(self.denial)) {
            headers.push(("grpc-status", code.to_string()));
        }
        let error = self.denial.error().map_or(self.denial.name(), ChallengeError::as_str);
        finish(self.denial.status(), headers, error, self.denial.description(), caller)
    }

    /// One line for each scheme that the resource takes.
    fn challenges(&self) -> Vec<(&'static str, String)> {
        let error = self.denial.error();
        let Some(resource) = self.context.resource.as_deref() else { return Vec::new() };
        if error.is_none() && self.denial != Denial::CredentialsMissing {
            return Vec::new();
        }
        let offered: &[Scheme] = match resource.settings.dpop {
            DpopRequirement::Required => &[Scheme::Dpop],
            DpopRequirement::OrCertificate | DpopRequirement::Allowed => &[Scheme::Dpop, Scheme::Bearer],
            DpopRequirement::Off => &[Scheme::Bearer],
        };
        // RFC 9449 §7.2: the error stands in the challenge of the scheme that was used, or in each if that is not clear.
        let used = self.context.scheme.filter(|scheme| offered.contains(scheme));
        let line = |scheme: Scheme| {
            let error = error.filter(|_| used.is_none_or(|used| used == scheme));
            ("www-authenticate", self.challenge(scheme, error, resource))
        };
        offered.iter().copied().map(line).collect()
    }

    /// One challenge: a scheme and its parameters (RFC 9110 §11.6.1).
    fn challenge(&self, scheme: Scheme, error: Option<ChallengeError>, resource: &Resource) -> String {
        let mut parameters = Vec::with_capacity(4);
        if let Some(error) = error {
            parameters.push(("error", error.as_str().to_owned()));
            parameters.push(("error_description", self.denial.description().to_owned()));
        }
        // What a rule asks for is told to who sent nothing or too little, not to who holds a token that is not theirs.
        let steps_up = matches!(self.denial, Denial::AuthenticationTooWeak | Denial::AuthenticationTooOld);
        if steps_up || matches!(self.denial, Denial::CredentialsMissing | Denial::ScopeInsufficient) {
            parameters.extend(self.context.wanted_scopes().map(|scopes| ("scope", scopes)));
        }
        if steps_up {
            // RFC 9470 §3: both, if both are wanted, so that one more sign-in is enough.
            parameters.extend(self.context.requirements().into_iter().flat_map(Requirements::step_up));
        }
        match scheme {
            Scheme::Dpop => parameters.push(("algs", algorithm_names())),
            // RFC 6750 §3 wants at least one parameter behind the scheme.
            Scheme::Bearer => parameters.push(("realm", resource.settings.origin.to_string())),
        }
        // RFC 9728 §5.1, of any scheme.
        parameters.extend(resource.metadata.as_ref().map(|metadata| ("resource_metadata", metadata.url().to_owned())));
        let name = match scheme {
            Scheme::Dpop => "DPoP",
            Scheme::Bearer => "Bearer",
        };
        let mut line = name.to_owned();
        for (index, (name, value)) in parameters.iter().enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            // Descriptions, scopes (RFC 6749 §3.3), configured `acr` values, hosts and algorithm names have no quotes and no backslashes.
            write!(line, "{separator}{name}=\"{value}\"").expect("a string takes any text");
        }
        line
    }
}

impl Outage {
    /// What the client is told: to come back, and not why.
    #[must_use]
    pub fn answer(&self, caller: Caller) -> Answer {
        let mut headers = vec![("retry-after", RETRY_AFTER.to_owned())];
        headers.extend(self.context.cors());
        finish(503, headers, "temporarily_unavailable", "the request cannot be checked at the moment", caller)
    }
}

/// The `algs` of a challenge (RFC 9449 §7.1).
fn algorithm_names() -> String {
    PROOF_ALGORITHMS.iter().copied().map(Algorithm::name).collect::<Vec<_>>().join(" ")
}

/// Adds what every answer has, and the body in the caller's form.
fn finish(
    status: u16,
    mut headers: Vec<(&'static str, String)>,
    error: &'static str,
    description: &'static str,
    caller: Caller,
) -> Answer {
    headers.push(("cache-control", "no-store".to_owned()));
    if caller.grpc {
        headers.push(("content-type", "text/plain".to_owned()));
        return Answer { status, headers, body: description.to_owned() };
    }
    headers.push(("content-type", "application/json".to_owned()));
    let body = format!("{{\"error\":\"{error}\",\"error_description\":\"{description}\"}}");
    Answer { status, headers, body }
}

/// The gRPC status where Envoy's translation of the HTTP status would mislead: it makes 400 an internal error of ours,
/// and knows no name for 414 and 431.
fn grpc_status(denial: Denial) -> Option<u8> {
    const INVALID_ARGUMENT: u8 = 3;
    const UNAUTHENTICATED: u8 = 16;
    match denial.status() {
        400 if denial.error().is_some() => Some(UNAUTHENTICATED),
        400 | 414 | 431 => Some(INVALID_ARGUMENT),
        _ => None,
    }
}
