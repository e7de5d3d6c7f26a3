//! How an authorization response travels (OAuth 2.0 Multiple Response Types §2.1, JARM §2).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::AuthorizationServer;
use super::destination::Destination;
use crate::clock::Timestamp;
use crate::ident::Issuer;
use crate::jose::SigningKey;
use crate::oauth::{Parameters, Refusal};
use crate::store::Unavailable;

/// How long a signed response is good: a browser brings it at once (JARM §2.1 recommends ten minutes at most).
const LIFETIME: Duration = Duration::from_mins(2);

/// `response_mode`: where the parameters of a response stand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::oauth) enum ResponseMode {
    /// `query`: in the query of the redirect URI.
    #[default]
    Query,
    /// `query.jwt`, or `jwt`, which is the same for codes: signed, in `response` of that query (JARM §2.3.1, §2.3.4).
    QueryJwt,
}

impl ResponseMode {
    /// The values of `response_mode`, the one for the answer to a mistake in it first.
    pub(in crate::oauth) const NAMES: [&'static str; 3] = ["query", "query.jwt", "jwt"];

    /// What a request asks for.
    pub(super) fn asked(parameters: &Parameters) -> Result<Self, Refusal> {
        match parameters.get("response_mode") {
            None | Some("query") => Ok(Self::Query),
            Some("query.jwt" | "jwt") => Ok(Self::QueryJwt),
            Some(_) => Err(Refusal::ResponseModeUnsupported),
        }
    }
}

/// What a response is put into.
pub(super) enum Envelope<'a> {
    /// None: it says who sends it (RFC 9207 §2).
    Open(&'a Issuer),
    /// A JWT for this client (JARM §2.1).
    Signed { issuer: &'a Issuer, signer: Arc<SigningKey>, expires_at: Timestamp },
}

impl AuthorizationServer {
    /// The envelope of a response that is sent now. Whoever asks for one before a code is recorded loses none to an outage.
    pub(super) fn envelope(&self, destination: &Destination, now: Timestamp) -> Result<Envelope<'_>, Unavailable> {
        let issuer = &self.settings.issuer;
        match destination.response_mode {
            ResponseMode::Query => Ok(Envelope::Open(issuer)),
            ResponseMode::QueryJwt => {
                Ok(Envelope::Signed { issuer, signer: self.keys.signer(now)?, expires_at: now + LIFETIME })
            }
        }
    }
}

impl Destination {
    /// The redirect URI with a response. `state` goes back as it came, whatever it is and however long: only the client
    /// knows what it means.
    pub(super) fn location(&self, parameters: &[(&str, &str)], envelope: &Envelope<'_>) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let all = parameters.iter().copied().chain(state);
        match envelope {
            Envelope::Open(issuer) => {
                self.redirect_uri.with_query(&all.chain([("iss", issuer.as_str())]).collect::<Vec<_>>())
            }
            Envelope::Signed { issuer, signer, expires_at } => {
                let parameters = all.map(|(name, value)| (name.to_owned(), Value::from(value)));
                let mut claims: Map<String, Value> = parameters.collect();
                claims.insert("iss".to_owned(), issuer.as_str().into());
                claims.insert("aud".to_owned(), self.client.id.as_str().into());
                claims.insert("exp".to_owned(), expires_at.seconds().into());
                self.redirect_uri.with_query(&[("response", &signer.sign("JWT", &claims))])
            }
        }
    }
}
