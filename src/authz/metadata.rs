//! Metadata of protected resources (RFC 9728): what a client must know before it has a token. The gate itself answers with
//! it, so no proxy and no service need a route for it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::challenge::Answer;
use super::{Access, Context, DpopRequirement, Request, Requirements, ResourceSettings};
use crate::document::PublicDocument;
use crate::jose::{Algorithm, PROOF_ALGORITHMS};
use crate::scope::Scopes;
use crate::uri::HttpUri;

/// What is put between the host and the path of a resource (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// How long a document may be kept: it changes with the configuration only.
const KEEP_FOR: Duration = Duration::from_mins(5);

/// What an operator says to people about a resource (RFC 9728 §2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResourceMetadata {
    /// Its name.
    pub resource_name: Option<String>,
    /// Where developers read about it.
    pub resource_documentation: Option<String>,
    /// Where it is said what clients may do with its data.
    pub resource_policy_uri: Option<String>,
    /// Where its terms of service are.
    pub resource_tos_uri: Option<String>,
}

/// The document of a resource, and where it is.
pub(super) struct PreparedMetadata {
    /// Where it is, in whole; without characters that a challenge would have to escape.
    url: String,
    /// Where it is, below the origin.
    path: String,
    /// The document.
    document: PublicDocument,
}

impl PreparedMetadata {
    /// What the settings say in the words of RFC 9728, if they say that anything is to be said.
    pub(super) fn new(settings: &ResourceSettings) -> Option<Self> {
        let described = settings.metadata.as_ref()?;
        // RFC 9728 §3: the slash of an empty path is left out.
        let resource = HttpUri::parse(settings.audience.as_str()).ok()?;
        let path = format!("{WELL_KNOWN}{}", resource.path().trim_end_matches('/'));
        let url = format!("{}{path}", settings.origin);
        Some(Self { url, path, document: PublicDocument::new(&document(settings, described), KEEP_FOR) })
    }

    /// Where the document is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether a request is for the document: under the resource's own path (RFC 9728 §3.1), or, if no other resource is
    /// there, where clients look that know the host only.
    pub(super) fn is_asked_for(&self, method: &str, path: &str, alone: bool) -> bool {
        matches!(method, "GET" | "HEAD" | "OPTIONS") && (path == self.path || alone && path == WELL_KNOWN)
    }

    /// The answer to such a request; scripts from anywhere may read it, for it is no secret.
    pub(super) fn answer(&self, request: &Request<'_>) -> Answer {
        if request.method == "OPTIONS" {
            let headers = [
                ("access-control-allow-origin", "*"),
                ("access-control-allow-methods", "GET, HEAD"),
                ("access-control-allow-headers", "*"),
            ];
            let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
            return Answer { status: 200, headers, body: String::new() };
        }
        Answer::document(&self.document, &request.headers)
    }
}

/// The document (RFC 9728 §2, §3.2); what has no value is left out.
fn document(settings: &ResourceSettings, described: &ResourceMetadata) -> Value {
    let mut members = Map::new();
    members.insert("resource".to_owned(), settings.audience.as_str().into());
    let issuers = settings.issuers.iter().map(|issuer| issuer.name.as_str());
    members.insert("authorization_servers".to_owned(), issuers.collect());
    let scopes = scopes(settings);
    if !scopes.is_empty() {
        members.insert("scopes_supported".to_owned(), scopes.iter().map(ToString::to_string).collect());
    }
    let types = detail_types(settings);
    if !types.is_empty() {
        members.insert("authorization_details_types_supported".to_owned(), types.into_iter().collect());
    }
    members.insert("bearer_methods_supported".to_owned(), json!(["header"]));
    if settings.dpop != DpopRequirement::Off {
        let algorithms: Value = PROOF_ALGORITHMS.iter().copied().map(Algorithm::name).collect();
        members.insert("dpop_signing_alg_values_supported".to_owned(), algorithms);
    }
    match settings.dpop {
        DpopRequirement::Required => members.insert("dpop_bound_access_tokens_required".to_owned(), true.into()),
        DpopRequirement::OrCertificate => {
            members.insert("tls_client_certificate_bound_access_tokens".to_owned(), true.into())
        }
        DpopRequirement::Allowed | DpopRequirement::Off => None,
    };
    for (name, value) in [
        ("resource_name", &described.resource_name),
        ("resource_documentation", &described.resource_documentation),
        ("resource_policy_uri", &described.resource_policy_uri),
        ("resource_tos_uri", &described.resource_tos_uri),
    ] {
        members.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
    }
    Value::Object(members)
}

/// What the rules ask for. Clients ask for all of it, so it is no more than that.
fn scopes(settings: &ResourceSettings) -> Scopes {
    wanted(settings).flat_map(|wanted| wanted.wanted_scopes().iter().cloned().collect::<Vec<_>>()).collect()
}

/// The types of `authorization_details` that the rules ask for (RFC 9396 §10).
fn detail_types(settings: &ResourceSettings) -> BTreeSet<&str> {
    wanted(settings).flat_map(|wanted| &wanted.details).map(|detail| detail.detail_type.as_str()).collect()
}

/// What the rules ask of tokens.
fn wanted(settings: &ResourceSettings) -> impl Iterator<Item = &Requirements> {
    settings.rules.iter().filter_map(|rule| match &rule.access {
        Access::Token(requirements) => Some(requirements),
        Access::Anyone => None,
    })
}

/// A request for the metadata of a resource, and the answer to it.
#[must_use]
#[derive(Debug)]
pub struct Described {
    /// What is known about the request.
    pub(super) context: Context,
    /// The answer.
    pub(super) answer: Answer,
}

impl Described {
    /// What the client is told.
    #[must_use]
    pub fn answer(&self) -> &Answer {
        &self.answer
    }
}
