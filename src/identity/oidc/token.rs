//! The token request to a provider (OpenID Connect Core §3.1.3).

use super::metadata::Metadata;
use super::{OidcProvider, unreachable};
use crate::clock::Timestamp;
use crate::identity::{UpstreamAnswer, UpstreamError, UpstreamFault};
use crate::jose::{Json, object};
use crate::unavailable::Unavailable;

/// The errors of RFC 6749 §5.2, which may stand in our log. What else a provider writes may not.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// What a code turned into.
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: String,
}

impl OidcProvider {
    /// Redeems a code (OpenID Connect Core §3.1.3.1).
    pub(super) async fn redeem(
        &self,
        metadata: &Metadata,
        code: &str,
        answer: &UpstreamAnswer<'_>,
        now: Timestamp,
    ) -> Result<Tokens, UpstreamError> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", answer.redirect_uri),
            ("code_verifier", answer.verifier),
        ];
        let settings = &self.settings;
        let us =
            settings.client.authenticate(&settings.client_id, settings.issuer.as_str(), &*self.entropy, now).await?;
        form.extend(us.parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let endpoint = &metadata.token_endpoint;
        let fetched = self.fetcher.post(endpoint, &form, us.authorization.as_deref()).await;
        let fetched = fetched.map_err(|fault| unreachable(endpoint, fault))?;
        match fetched.status {
            200 => read(&fetched.body),
            status @ (500.. | 429) => {
                tracing::error!(status, "the token endpoint of the upstream provider does not work");
                Err(Unavailable::Down.into())
            }
            status => {
                let error = error(&fetched.body);
                tracing::warn!(status, error, "the upstream provider refused a code");
                Err(UpstreamFault::CodeRefused.into())
            }
        }
    }
}

/// Reads a token response (OpenID Connect Core §3.1.3.3).
fn read(body: &[u8]) -> Result<Tokens, UpstreamError> {
    let response = object(body).map_err(|_| UpstreamFault::TokenResponseMalformed)?;
    let text = |name: &str| response.get(name).and_then(Json::as_str).map(str::to_owned);
    let tokens = text("id_token").zip(text("access_token"));
    let (id_token, access_token) = tokens.ok_or(UpstreamFault::TokenResponseMalformed)?;
    Ok(Tokens { id_token, access_token })
}

/// The `error` of an answer, if it is one that documents define.
fn error(body: &[u8]) -> Option<&'static str> {
    let answer = object(body).ok()?;
    let error = answer.get("error")?.as_str()?;
    ERRORS.into_iter().find(|known| *known == error)
}
