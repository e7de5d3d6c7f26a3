//! Issuing: an [`Authorization`] becomes an access token (RFC 9068) and a token response (RFC 6749 §5.1).

use serde::Serialize;

use super::AuthorizationServer;
use super::grant::Authorization;
use super::grant::token_exchange::ACCESS_TOKEN;
use crate::clock::Timestamp;
use crate::ident::Acr;
use crate::ident::Subject;
use crate::jose::SigningKey;
use crate::secret::base64url;
use crate::store::GrantHandle;
use crate::token::{ACCESS_TOKEN_TYPE, AccessTokenClaims, AuthorizationDetails, Binding};

/// The body of a successful answer (RFC 6749 §5.1).
#[derive(Serialize)]
pub struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    scope: String,
    /// RFC 9396 §7: as granted.
    #[serde(skip_serializing_if = "AuthorizationDetails::is_empty")]
    authorization_details: AuthorizationDetails,
    /// RFC 8693 §2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    #[serde(skip)]
    issued: Issued,
}

/// What was issued, for the event.
#[derive(Debug)]
pub struct Issued {
    /// How it came about: `issued`, `exchanged`, or what became of a refresh token: `stable`, `rotated`, `repeated`, `replaced`.
    pub outcome: &'static str,
    /// Whom the access token speaks for.
    pub subject: Subject,
    /// The grant with which it ends.
    pub grant: Option<GrantHandle>,
    /// Its `jti`.
    pub token_id: String,
}

impl TokenResponse {
    /// What was issued, for the event.
    #[must_use]
    pub fn issued(&self) -> &Issued {
        &self.issued
    }
}

impl AuthorizationServer {
    /// Signs the access token. Writes nothing: what was granted is on disk already.
    pub(super) fn issue(&self, authorization: &Authorization, signer: &SigningKey, now: Timestamp) -> TokenResponse {
        let delegation = authorization.delegation.as_ref();
        let longest = now + self.settings.lifetimes.access_token;
        let expires = delegation.map_or(longest, |delegation| delegation.until.min(longest));
        let claims = AccessTokenClaims {
            iss: self.settings.issuer.as_str(),
            sub: authorization.subject.as_str(),
            aud: authorization.resource.as_str(),
            client_id: authorization.client_id.as_str(),
            scope: authorization.scopes.to_string(),
            authorization_details: authorization.details.at(authorization.resource.as_str()),
            iat: now.seconds(),
            exp: expires.seconds(),
            jti: base64url(&self.entropy.draw::<16>()),
            grant_id: authorization.grant.map(|grant| base64url(&grant.0)),
            auth_time: authorization.auth_time.map(Timestamp::seconds),
            acr: authorization.acr.as_ref().map(Acr::as_str),
            act: delegation.map(|delegation| &delegation.act),
            cnf: authorization.binding.map(Into::into),
        };
        let access_token = signer.sign(ACCESS_TOKEN_TYPE, &claims);
        TokenResponse {
            id_token: self.id_token(authorization, &access_token, signer, now),
            access_token,
            // RFC 8705 §3: a token that is bound to a certificate is a bearer token in name.
            token_type: match authorization.binding {
                Some(Binding::Key(_)) => "DPoP",
                Some(Binding::Certificate(_)) | None => "Bearer",
            },
            expires_in: expires.since(now).as_secs(),
            issued_token_type: delegation.map(|_| ACCESS_TOKEN),
            refresh_token: authorization.refresh_token.as_ref().map(crate::secret::RefreshToken::reveal),
            scope: claims.scope,
            authorization_details: authorization.details.clone(),
            issued: Issued {
                outcome: authorization.outcome,
                subject: authorization.subject.clone(),
                grant: authorization.grant,
                token_id: claims.jti,
            },
        }
    }
}
