//! An upstream OpenID provider at which people sign in (`login: { oidc: … }`): authorization code flow with PKCE, `state`,
//! `nonce` and `iss`, as a client of it.
//!
//! Ruled by OpenID Connect Core §3.1, OpenID Connect Discovery, RFC 7636, RFC 9207.
//!
//! Invariant: nothing that the provider says counts before it is verified here, and whether it can be reached decides
//! nothing but whether people can sign in now: this server starts, and its tokens are good, without it.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Upstream, UpstreamAnswer, UpstreamError, UpstreamFault, UpstreamRequest, Vouched};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::fetch::{FetchFault, FetchUrl, Fetcher, Kept};
use crate::ident::ClientId;
use crate::issuers::{ClientCredential, key_set};
use crate::jose::{Json, PublicKey, object};
use crate::unavailable::Unavailable;

mod claims;
mod id_token;
mod metadata;
mod token;

pub use claims::ClaimNames;
use id_token::{Expected, IdToken};
use metadata::Metadata;

/// Where discovery finds a provider, below its issuer (OpenID Connect Discovery §4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// The issuer identifier of an upstream provider: an https URL, or http on loopback, without query and fragment. Unlike
/// our own it may end in a slash, as some do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamIssuer(String);

impl FromStr for UpstreamIssuer {
    type Err = FetchFault;

    fn from_str(text: &str) -> Result<Self, FetchFault> {
        let _url: FetchUrl = text.parse()?;
        if text.contains(['?', '#']) { Err(FetchFault::Url) } else { Ok(Self(text.to_owned())) }
    }
}

impl UpstreamIssuer {
    /// The issuer, byte for byte as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn discovery(&self) -> FetchUrl {
        let url = format!("{}{WELL_KNOWN}", self.0.strip_suffix('/').unwrap_or(&self.0));
        url.parse().expect("a URL with a longer path is a URL")
    }
}

/// What an operator decides about an upstream provider.
#[derive(Debug, PartialEq)]
pub struct OidcSettings {
    /// Who it is.
    pub issuer: UpstreamIssuer,
    /// What this server is called there.
    pub client_id: ClientId,
    /// How this server authenticates there.
    pub client: ClientCredential,
    /// What is asked for; `openid` among it.
    pub scopes: String,
    /// Where the claims about a person are.
    pub claims: ClaimNames,
}

/// An upstream OpenID provider.
pub struct OidcProvider {
    settings: Arc<OidcSettings>,
    fetcher: Fetcher,
    entropy: Arc<dyn Entropy>,
    metadata: Arc<Kept<Metadata>>,
    keys: Mutex<Option<Arc<Kept<Vec<PublicKey>>>>>,
}

impl OidcProvider {
    /// A provider of which nothing is known yet but what the operator says.
    #[must_use]
    pub fn new(settings: Arc<OidcSettings>, fetcher: Fetcher, entropy: Arc<dyn Entropy>) -> Self {
        let issuer = settings.issuer.clone();
        let parse = move |body: &[u8]| Metadata::parse(body, &issuer);
        let metadata = Kept::new(&settings.issuer.discovery(), fetcher.clone(), parse);
        Self { settings, fetcher, entropy, metadata, keys: Mutex::default() }
    }

    /// The key set that the metadata names.
    fn keys(&self, metadata: &Metadata) -> Arc<Kept<Vec<PublicKey>>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keys.as_ref().filter(|known| known.name() == metadata.jwks_uri.as_str()) {
            return Arc::clone(known);
        }
        let kept = Kept::new(&metadata.jwks_uri, self.fetcher.clone(), key_set);
        Arc::clone(keys.insert(kept))
    }

    /// Verifies an ID token with the keys at hand, or else, if none is the one it names, with newer ones.
    async fn verify(&self, metadata: &Metadata, text: &str, expected: &Expected<'_>) -> Result<IdToken, UpstreamError> {
        let (kept, now) = (self.keys(metadata), expected.now);
        let keys = kept.get(now).await?;
        match id_token::verify(text, &keys, expected) {
            Err(UpstreamFault::IdTokenSignature) => {
                let newer = kept.get_newer(now).await?;
                Ok(id_token::verify(text, &newer, expected)?)
            }
            verified => Ok(verified?),
        }
    }

    /// What UserInfo adds to an ID token that lacks something (OpenID Connect Core §5.3). It must speak of the same person:
    /// whoever could swap the access token could otherwise give somebody the name of another.
    async fn complete(
        &self,
        id_token: &mut IdToken,
        metadata: &Metadata,
        access_token: &str,
    ) -> Result<(), UpstreamError> {
        let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(()) };
        if self.settings.claims.are_in(&id_token.claims) {
            return Ok(());
        }
        let fetched = match self.fetcher.get_with(endpoint, access_token).await {
            Ok(fetched) => fetched,
            Err(FetchFault::Status(400..=499) | FetchFault::Unfit) => return Err(UpstreamFault::UserInfoWrong.into()),
            Err(fault) => return Err(unreachable(endpoint, fault).into()),
        };
        let told = object(&fetched.body).map_err(|_| UpstreamFault::UserInfoWrong)?;
        if told.get("sub").and_then(Json::as_str) != Some(&id_token.subject) {
            return Err(UpstreamFault::UserInfoWrong.into());
        }
        for (name, value) in told {
            id_token.claims.entry(name).or_insert(value);
        }
        Ok(())
    }
}

#[async_trait]
impl Upstream for OidcProvider {
    async fn request(&self, request: &UpstreamRequest<'_>, now: Timestamp) -> Result<String, Unavailable> {
        let metadata = self.metadata.get(now).await?;
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", self.settings.client_id.as_str()),
            ("redirect_uri", request.redirect_uri),
            ("scope", &self.settings.scopes),
            ("state", request.state),
            ("nonce", request.nonce),
            ("code_challenge", request.challenge),
            ("code_challenge_method", "S256"),
        ];
        parameters.extend(request.wishes.iter().map(|(name, value)| (*name, value.as_str())));
        Ok(metadata.authorization_endpoint.with_query(&parameters))
    }

    async fn vouched(&self, answer: &UpstreamAnswer<'_>, now: Timestamp) -> Result<Vouched, UpstreamError> {
        let metadata = self.metadata.get(now).await?;
        // First of all: who answers? An error of somebody else's is not the provider's word either (RFC 9207 §2.4).
        metadata.check_response_issuer(answer.iss, &self.settings.issuer)?;
        if let Some(error) = answer.error {
            return Err(error_answered(error));
        }
        let code = answer.code.ok_or(UpstreamFault::CodeMissing)?;
        let tokens = self.redeem(&metadata, code, answer, now).await?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: answer.nonce,
            access_token: &tokens.access_token,
            now,
        };
        let mut id_token = self.verify(&metadata, &tokens.id_token, &expected).await?;
        self.complete(&mut id_token, &metadata, &tokens.access_token).await?;
        Ok(self.settings.claims.vouched(id_token)?)
    }
}

/// What an error response means (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
fn error_answered(error: &str) -> UpstreamError {
    match error {
        "access_denied" => UpstreamFault::Declined.into(),
        "login_required" | "interaction_required" | "account_selection_required" | "consent_required" => {
            UpstreamFault::InteractionRequired.into()
        }
        "unmet_authentication_requirements" => UpstreamFault::RequirementsUnmet.into(),
        "server_error" | "temporarily_unavailable" => Unavailable::Down.into(),
        _ => UpstreamFault::ErrorAnswered.into(),
    }
}

/// Logs why an endpoint of the provider could not be asked; whoever waits learns only that it does not answer.
fn unreachable(endpoint: &FetchUrl, fault: FetchFault) -> Unavailable {
    tracing::error!(url = endpoint.as_str(), %fault, "the upstream provider could not be asked: {fault}");
    Unavailable::Down
}
