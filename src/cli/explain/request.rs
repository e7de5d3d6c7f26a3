//! `tollgate explain --request`: which rule decides about a request, and why.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::super::validate::{load, refuse};
use crate::authz::{self, Headers, IssuerDocuments, Outcome, Request, ResourceSettings, Trial};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::AuthorizationServer;
use crate::document::{PublicDocument, PublicDocuments};
use crate::jose::{Members, object};
use crate::oauth::discovery::Discovery;

/// The request to explain.
#[derive(Debug, Args)]
pub(super) struct OfRequest {
    /// Tell which rule decides about a request such as `GET https://api.example.com/orders/7`, and why
    #[arg(long, value_name = "METHOD URL", requires = "config", conflicts_with_all = ["name", "list"])]
    request: Option<String>,
    /// The configuration whose rules decide
    #[arg(long, value_name = "FILE", requires = "request")]
    config: Option<PathBuf>,
    /// A header of the request, as "Name: value"; may be given several times
    #[arg(long, value_name = "HEADER", requires = "request")]
    header: Vec<String>,
    /// What the access token says, as JSON; without it, the request has no token
    #[arg(long, value_name = "JSON", requires = "request")]
    claims: Option<String>,
    /// The resource that Envoy's configuration names for the route
    #[arg(long, value_name = "URI", requires = "request")]
    resource: Option<String>,
}

impl OfRequest {
    /// Prints what the rules say, if a request was given. Exit code 2 for what is no request, or no configuration.
    pub(super) fn run(&self) -> Option<ExitCode> {
        let (request, config) = self.request.as_ref().zip(self.config.as_ref())?;
        let config = match load(config, &[]) {
            Ok(config) => config,
            Err(mistakes) => return Some(refuse(&mistakes)),
        };
        let documents = config.authorization_server.as_ref().and_then(documents);
        let profiles = config.token_profiles();
        Some(match self.attempt(request, &profiles, (config.protected_resources, documents)) {
            Ok(trial) => {
                print!("{request}\n\n{}", told(&trial, self.claims.is_some()));
                ExitCode::SUCCESS
            }
            Err(reason) => {
                eprintln!("tollgate: {reason}");
                ExitCode::from(2)
            }
        })
    }

    fn attempt(
        &self,
        request: &str,
        profiles: &authz::Profiles,
        gate: (Vec<ResourceSettings>, Option<IssuerDocuments>),
    ) -> Result<Trial, String> {
        let (method, host, target) = parts(request).ok_or("a request is a method and an absolute URL")?;
        let headers = self.header.iter().map(|header| header.split_once(':').ok_or("a header is `Name: value`"));
        let headers: Vec<_> = headers.collect::<Result<_, _>>()?;
        let headers: Headers<'_> = headers.iter().map(|(name, value)| (*name, value.trim().as_bytes())).collect();
        let claims = self.claims.as_ref().map(|text| object(text.as_bytes()));
        let claims: Option<Members> = claims.transpose().map_err(|_| "the claims are no JSON object")?;
        let resource = self.resource.as_deref();
        let request = Request { resource, method, host, target, headers, certificate: None };
        authz::attempt(gate, &request, (claims.as_ref(), profiles), SystemClock.now())
            .map_err(|fault| format!("no good token says these claims: {}", fault.description()))
    }
}

/// The documents of an authorization server that the gate answers for, as far as nothing runs: with nothing in them.
fn documents(server: &AuthorizationServer) -> Option<IssuerDocuments> {
    let origin = server.metadata_at_gate.clone()?;
    Some(IssuerDocuments { origin, documents: Arc::new(Blank { base: server.settings.base() }) })
}

/// Documents with nothing in them, where those of an issuer are.
struct Blank {
    base: String,
}

impl PublicDocuments for Blank {
    fn document(&self, path: &str, _: Timestamp) -> Option<PublicDocument> {
        Discovery::at(&self.base, path).map(|_| PublicDocument::new(&(), Duration::ZERO))
    }
}

/// Method, host and target; the target as it stands there.
fn parts(request: &str) -> Option<(&str, &str, &str)> {
    let (method, url) = request.split_once(' ')?;
    let (_, rest) = url.trim().split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    Some((method, host, if target.is_empty() { "/" } else { target }))
}

/// A trial in words.
fn told(trial: &Trial, with_token: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<10}{value}").expect("a string takes any text");
    };
    let enforced = if trial.observed { " (only observed)" } else { "" };
    match &trial.resource {
        Some(resource) => line("resource", &format!("{resource}{enforced}")),
        None => line("resource", "none"),
    }
    if let Some(path) = &trial.path {
        line("path", path);
    }
    match &trial.rule {
        Some((place, rule)) => line("rule", &format!("rules[{place}]: {rule}")),
        None => line("rule", "none"),
    }
    for ask in &trial.asks {
        line("asks", ask);
    }
    match &trial.outcome {
        Outcome::Anyone => line("answer", "passes, whoever sends it"),
        Outcome::Preflight => line("answer", "passes as a preflight request, without an identity"),
        Outcome::Described if trial.resource.is_none() => {
            line("answer", "from the gate itself: it is for a document of the authorization server");
        }
        Outcome::Described => line("answer", "200 from the gate itself: it is for a document of the gate"),
        Outcome::Passes => line("answer", "passes, if token and proof are good"),
        Outcome::Denied(denial, answer) => {
            line("answer", &format!("{} {}: {}", answer.status, denial.name(), denial.description()));
            for (_, challenge) in answer.headers.iter().filter(|(name, _)| *name == "www-authenticate") {
                line("challenge", challenge);
            }
            if trial.observed {
                line("but", "it passes without an identity: the resource is only observed");
            }
            if !with_token && !trial.asks.is_empty() {
                line("next", "give --claims '{...}' to see what becomes of it with a token");
            }
            line("more", &format!("tollgate explain {}", denial.name()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_method_and_an_absolute_url() {
        for (text, expected) in [
            ("GET https://a.example/b/../c?d=e", Some(("GET", "a.example", "/b/../c?d=e"))),
            ("POST http://a.example:8080", Some(("POST", "a.example:8080", "/"))),
            ("GET https://a.example?x", Some(("GET", "a.example", "?x"))),
            ("https://a.example/", None),
            ("GET /orders", None),
            ("", None),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }
}
