//! The documents of the authorization server in this process, which the gate answers itself: clients find them where a proxy
//! has no route to that server.

use std::sync::Arc;

use super::{Answer, Request};
use crate::clock::Timestamp;
use crate::document::{PublicDocuments, preflight};
use crate::uri::Origin;

/// Where the documents of an authorization server are, and who has them.
#[derive(Clone)]
pub struct IssuerDocuments {
    /// The origin of its issuer. Only what is asked of that is answered, whichever resource the proxy's configuration names.
    pub origin: Origin,
    /// Who has them.
    pub documents: Arc<dyn PublicDocuments>,
}

impl IssuerDocuments {
    /// The answer to a request for one of the documents: what the authorization server itself would answer.
    pub(super) fn answer(&self, request: &Request<'_>, now: Timestamp) -> Option<Answer> {
        if !matches!(request.method, "GET" | "HEAD" | "OPTIONS") || !self.origin.is_named_by(request.host) {
            return None;
        }
        // As it came: a document has one path, and what is spelled otherwise is judged like anything else.
        let path = request.target.split('?').next().unwrap_or_default();
        let document = self.documents.document(path, now)?;
        if request.method == "OPTIONS" {
            let headers = preflight("GET").map(|(name, value)| (name, value.to_owned())).to_vec();
            return Some(Answer { status: 204, headers, body: String::new() });
        }
        Some(Answer::document(&document, &request.headers))
    }
}
