//! Where an authorization response may go.

use std::sync::Arc;

use super::response::{Envelope, ResponseMode};
use super::{Client, Redirect};
use crate::oauth::clients::Asker;
use crate::oauth::{AuthorizationServer, Error, Parameters, Refusal};
use crate::secret::AuthorizationCode;
use crate::uri::RedirectUri;

/// A redirect URI that is registered for its client (RFC 6749 §3.1.2), the `state` to give back, and how.
///
/// Only [`AuthorizationServer::destination`] makes one.
pub(in crate::oauth) struct Destination {
    pub(in crate::oauth) client: Arc<Client>,
    pub(super) redirect_uri: RedirectUri,
    pub(super) state: Option<String>,
    pub(super) response_mode: ResponseMode,
}

impl AuthorizationServer {
    /// Finds out where answers to a request may go. What is in doubt here is never redirected (RFC 6749 §3.1.2.4).
    pub(in crate::oauth) async fn destination(
        &self,
        parameters: &Parameters,
        repeated: &[String],
        asker: Asker,
    ) -> Result<Destination, Error> {
        let once = |name: &str| parameters.get(name).filter(|_| !repeated.iter().any(|repeated| repeated == name));
        if repeated.iter().any(|name| name == "client_id" || name == "redirect_uri") {
            return Err(Refusal::ParameterRepeated.into());
        }
        let id = once("client_id").ok_or(Refusal::AuthorizeClientUnknown)?;
        let client = self.client_here(id, asker).await?.ok_or(Refusal::AuthorizeClientUnknown)?;
        let redirect_uri = match (once("redirect_uri"), client.redirect_uris.as_slice()) {
            (Some(requested), _) => requested.parse().ok().filter(|uri| client.may_redirect_to(uri)),
            (None, [only]) => Some(only.clone()), // RFC 6749 §3.1.2.3: required unless exactly one is registered
            (None, [] | [_, _, ..]) => None,
        };
        let redirect_uri = redirect_uri.ok_or(Refusal::RedirectUriUnregistered)?;
        // What is wrong with it is said in the ordinary way. A form can be posted to a website only, and an endpoint of
        // somebody else's is told where to send the browser, not what to show.
        let asked = once("response_mode").and_then(|_| ResponseMode::asked(parameters).ok());
        let takes_forms = redirect_uri.is_http() && self.settings.external_login.is_none();
        let response_mode = asked.filter(|mode| takes_forms || !mode.is_form()).unwrap_or_default();
        Ok(Destination { client, redirect_uri, state: once("state").map(str::to_owned), response_mode })
    }
}

impl Destination {
    /// A successful response (RFC 6749 §4.1.2).
    pub(super) fn approved(&self, code: &AuthorizationCode, envelope: &Envelope<'_>) -> Redirect {
        let code = code.reveal();
        self.respond(&[("code", &code)], envelope, None)
    }

    /// An error response (RFC 6749 §4.1.2.1).
    pub(super) fn refused(&self, refusal: Refusal, envelope: &Envelope<'_>) -> Redirect {
        let parameters = [("error", refusal.code().name()), ("error_description", refusal.description())];
        self.respond(&parameters, envelope, Some(refusal))
    }
}
