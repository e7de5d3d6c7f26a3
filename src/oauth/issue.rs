//! Issuing: an [`Authorization`] becomes an access token and a token response (RFC 6749 §5.1).
//!
//! An access token is a JWT (RFC 9068); or a handle, where the client or the resource is registered so. Then what the JWT
//! would say is recorded under the hash of the handle.

use serde::Serialize;

use super::AuthorizationServer;
use super::client_authentication::AuthenticatedClient;
use super::grant::token_exchange::ACCESS_TOKEN;
use super::grant::{Authorization, Exchange};
use crate::clock::Timestamp;
use crate::ident::{Acr, Audience, Subject};
use crate::jose::SigningKey;
use crate::secret::{OpaqueAccessToken, base64url};
use crate::store::{AccessTokenRecord, GrantHandle, Unavailable};
use crate::token::{ACCESS_TOKEN_TYPE, AccessTokenClaims, AccessTokenFormat, AuthorizationDetails, Binding};

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
    /// Fails if an access token for this client would have to be recorded, or to have a place in a status list, and there is
    /// no room: before anything is spent.
    pub(super) async fn check_room(&self, client: &AuthenticatedClient, now: Timestamp) -> Result<(), Unavailable> {
        self.lease_places(now).await?;
        match client.access_token_format {
            AccessTokenFormat::Jwt if self.settings.opaque_resources.is_empty() => Ok(()),
            AccessTokenFormat::Jwt | AccessTokenFormat::Opaque => self.store.check_room_for_access_token().await,
        }
    }

    /// Signs or records the access token. Nothing else is written: what was granted is on disk already.
    pub(super) async fn issue(
        &self,
        authorization: &Authorization,
        exchange: &Exchange<'_>,
        signer: &SigningKey,
    ) -> Result<TokenResponse, Unavailable> {
        let now = exchange.now;
        let delegation = authorization.delegation.as_ref();
        let longest = now + self.settings.lifetimes.access_token;
        let expires = delegation.map_or(longest, |delegation| delegation.until.min(longest));
        let subject = self.subject_of(authorization, exchange.client);
        let format = self.format(exchange.client, &authorization.resource);
        let status = match format {
            AccessTokenFormat::Jwt => self.status(authorization, now).await?,
            AccessTokenFormat::Opaque => None, // whoever asks about it is told
        };
        let claims = AccessTokenClaims {
            iss: self.settings.issuer.as_str(),
            sub: subject.as_str(),
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
            status,
            cnf: authorization.binding.map(Into::into),
        };
        let access_token = match format {
            AccessTokenFormat::Jwt => signer.sign(ACCESS_TOKEN_TYPE, &claims),
            AccessTokenFormat::Opaque => self.record(&claims, expires).await?,
        };
        Ok(TokenResponse {
            id_token: self.id_token((authorization, &subject), &access_token, signer, now),
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
        })
    }

    /// The form of the access tokens that this client gets for this resource.
    fn format(&self, client: &AuthenticatedClient, resource: &Audience) -> AccessTokenFormat {
        if self.settings.opaque_resources.contains(resource) {
            AccessTokenFormat::Opaque
        } else {
            client.access_token_format
        }
    }

    /// Draws a handle, and records what it stands for.
    async fn record(&self, claims: &AccessTokenClaims<'_>, expires: Timestamp) -> Result<String, Unavailable> {
        let handle = OpaqueAccessToken::draw(&*self.entropy);
        let record = AccessTokenRecord {
            digest: handle.digest(),
            claims: serde_json::to_string(claims).expect("claims are plain JSON"),
            expires_at: expires + self.settings.dpop.window.skew,
        };
        self.store.record_access_token(&record).await?;
        Ok(handle.reveal())
    }
}
