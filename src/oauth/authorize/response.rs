//! How an authorization response travels (OAuth 2.0 Multiple Response Types §2.1, OAuth 2.0 Form Post Response Mode §2, JARM
//! §2).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::destination::Destination;
use super::{AuthorizationServer, Redirect};
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
    /// `form_post`: in a form that the browser posts to the redirect URI.
    FormPost,
    /// `form_post.jwt`: signed, in `response` of that form (JARM §2.3.3).
    FormPostJwt,
}

impl ResponseMode {
    /// The values of `response_mode` that lead to an address.
    pub(in crate::oauth) const BY_ADDRESS: [&'static str; 3] = ["query", "query.jwt", "jwt"];

    /// Those that lead to a form.
    pub(in crate::oauth) const BY_FORM: [&'static str; 2] = ["form_post", "form_post.jwt"];

    /// What a request asks for.
    pub(super) fn asked(parameters: &Parameters) -> Result<Self, Refusal> {
        match parameters.get("response_mode") {
            None => Ok(Self::default()),
            Some("jwt") => Ok(Self::QueryJwt),
            Some(name) => Self::named(name).ok_or(Refusal::ResponseModeUnsupported),
        }
    }

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::QueryJwt => "query.jwt",
            Self::FormPost => "form_post",
            Self::FormPostJwt => "form_post.jwt",
        }
    }

    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Query, Self::QueryJwt, Self::FormPost, Self::FormPostJwt].into_iter().find(|mode| mode.name() == name)
    }

    /// Whether the response is a form.
    pub(in crate::oauth) const fn is_form(self) -> bool {
        match self {
            Self::Query | Self::QueryJwt => false,
            Self::FormPost | Self::FormPostJwt => true,
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
            ResponseMode::Query | ResponseMode::FormPost => Ok(Envelope::Open(issuer)),
            ResponseMode::QueryJwt | ResponseMode::FormPostJwt => {
                Ok(Envelope::Signed { issuer, signer: self.keys.signer(now)?, expires_at: now + LIFETIME })
            }
        }
    }
}

impl Destination {
    /// The way back with a response. `state` goes back as it came, whatever it is and however long: only the client knows
    /// what it means.
    pub(super) fn respond(
        &self,
        parameters: &[(&str, &str)],
        envelope: &Envelope<'_>,
        refusal: Option<Refusal>,
    ) -> Redirect {
        let state = self.state.as_deref().map(|state| ("state", state));
        let all = parameters.iter().copied().chain(state);
        match envelope {
            Envelope::Open(issuer) => self.deliver(&all.chain([("iss", issuer.as_str())]).collect::<Vec<_>>(), refusal),
            Envelope::Signed { issuer, signer, expires_at } => {
                let parameters = all.map(|(name, value)| (name.to_owned(), Value::from(value)));
                let mut claims: Map<String, Value> = parameters.collect();
                claims.insert("iss".to_owned(), issuer.as_str().into());
                claims.insert("aud".to_owned(), self.client.id.as_str().into());
                claims.insert("exp".to_owned(), expires_at.seconds().into());
                self.deliver(&[("response", &signer.sign("JWT", &claims))], refusal)
            }
        }
    }

    fn deliver(&self, parameters: &[(&str, &str)], refusal: Option<Refusal>) -> Redirect {
        if !self.response_mode.is_form() {
            return Redirect { location: self.redirect_uri.with_query(parameters), form: None, refusal };
        }
        let fields = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Redirect { location: self.redirect_uri.as_str().to_owned(), form: Some(fields), refusal }
    }
}
