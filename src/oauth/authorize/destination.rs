//! Where an authorization response may go.

use std::sync::Arc;

use super::Client;
use crate::ident::Issuer;
use crate::oauth::{AuthorizationServer, Parameters, Refusal};
use crate::secret::AuthorizationCode;
use crate::uri::RedirectUri;

/// A redirect URI that is registered for its client (RFC 6749 §3.1.2), and the `state` to give back.
///
/// Only [`AuthorizationServer::destination`] makes one.
pub(super) struct Destination {
    pub(super) client: Arc<Client>,
    pub(super) redirect_uri: RedirectUri,
    pub(super) state: Option<String>,
}

impl AuthorizationServer {
    /// Finds out where answers to a request may go. What is in doubt here is never redirected (RFC 6749 §3.1.2.4).
    pub(super) fn destination(&self, parameters: &Parameters, repeated: &[String]) -> Result<Destination, Refusal> {
        let once = |name: &str| parameters.get(name).filter(|_| !repeated.iter().any(|repeated| repeated == name));
        if repeated.iter().any(|name| name == "client_id" || name == "redirect_uri") {
            return Err(Refusal::ParameterRepeated);
        }
        let client = once("client_id").and_then(|id| self.client_here(id)).ok_or(Refusal::AuthorizeClientUnknown)?;
        let redirect_uri = match (once("redirect_uri"), client.redirect_uris.as_slice()) {
            (Some(requested), _) => requested.parse().ok().filter(|uri| client.may_redirect_to(uri)),
            (None, [only]) => Some(only.clone()), // RFC 6749 §3.1.2.3: required unless exactly one is registered
            (None, [] | [_, _, ..]) => None,
        };
        let redirect_uri = redirect_uri.ok_or(Refusal::RedirectUriUnregistered)?;
        Ok(Destination { client, redirect_uri, state: once("state").map(str::to_owned) })
    }
}

impl Destination {
    /// A successful response (RFC 6749 §4.1.2, RFC 9207 §2).
    pub(super) fn approved(&self, code: &AuthorizationCode, issuer: &Issuer) -> String {
        let code = code.reveal();
        self.location(&[("code", &code)], issuer)
    }

    /// An error response (RFC 6749 §4.1.2.1, RFC 9207 §2).
    pub(super) fn refused(&self, refusal: Refusal, issuer: &Issuer) -> String {
        self.location(&[("error", refusal.code().name()), ("error_description", refusal.description())], issuer)
    }

    /// `state` goes back as it came, whatever it is and however long: only the client knows what it means.
    fn location(&self, parameters: &[(&str, &str)], issuer: &Issuer) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let all: Vec<_> = parameters.iter().copied().chain(state).chain([("iss", issuer.as_str())]).collect();
        self.redirect_uri.with_query(&all)
    }
}
