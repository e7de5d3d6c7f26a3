//! The revocation endpoint (RFC 7009), in this order:
//!
//! 1. limits, content type, repeated parameters (the door and [`Parameters`](super::Parameters)), and that there is a token;
//! 2. client authentication, as at the token endpoint, which spends an assertion;
//! 3. whose token it is;
//! 4. the end of its grant, which serialises with refreshes of it.
//!
//! | the token is | then |
//! |---|---|
//! | a refresh token of this client, whichever of its grant | the grant ends, and with it every token of it (§2.1) |
//! | an access token of a grant of this client | the same |
//! | an access token of this client without such a grant | it alone ends |
//! | of another client | nothing, and a security event |
//! | anything else | nothing (§2.2) |
//!
//! All of them are answered alike. `token_type_hint` is ignored, which §2.1 allows: what a token is shows in its form. So is a
//! proof.
//!
//! Choice: revoking one access token ends its grant (RFC 7009 §2.1 allows it). There is no row for a JWT, and a client that
//! gives one up has no use for the others.
//!
//! Deviation: a token of another client is answered with 200 and stays as it is (RFC 7009 §2.1 wants an error, which would
//! say that there is such a token).

use super::{AuthorizationServer, Error, Refusal, TokenRequest, own_token};
use crate::audit;
use crate::clock::Timestamp;
use crate::ident::ClientId;
use crate::secret::RefreshToken;
use crate::store::{EndedBy, Grant, GrantHandle};

/// What became of a token that was to be revoked. The caller is not told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Revocation {
    /// The grant that it belongs to has ended, now or before.
    GrantEnded,
    /// It alone has ended.
    TokenRevoked,
    /// It belongs to another client.
    Foreign,
    /// There is no such token, or not any more.
    Unknown,
}

/// The answer, and who asked.
pub struct RevocationAnswer {
    /// What became of the token.
    pub result: Result<Revocation, Error>,
    /// The client, once it is authenticated; for the event.
    pub client: Option<ClientId>,
}

impl AuthorizationServer {
    /// Answers a revocation request.
    pub async fn revoke(&self, request: TokenRequest<'_>, now: Timestamp) -> RevocationAnswer {
        let mut client = None;
        let result = self.revoke_for(&request, now, &mut client).await;
        RevocationAnswer { result, client }
    }

    async fn revoke_for(
        &self,
        request: &TokenRequest<'_>,
        now: Timestamp,
        authenticated: &mut Option<ClientId>,
    ) -> Result<Revocation, Error> {
        let token = request.parameters.get("token").ok_or(Refusal::TokenMissing)?;
        let client = self.authenticate(request.credentials(), now).await?;
        let client = &*authenticated.insert(client.id.clone());
        match token.parse() {
            Ok(token) => self.revoke_refresh_token(&token, client, now).await,
            Err(_) => self.revoke_access_token(token, client, now).await,
        }
    }

    async fn revoke_refresh_token(
        &self,
        token: &RefreshToken,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Revocation, Error> {
        let handle = GrantHandle(token.handle());
        match self.store.grant(handle).await? {
            Some(grant) if !token.is_genuine(&grant.refresh.tag_key) => Ok(Revocation::Unknown),
            Some(grant) if grant.client_id != *client => {
                own_token::log_foreign(client, "refresh token", Some(handle));
                Ok(Revocation::Foreign)
            }
            Some(grant) => self.end(&grant, now).await,
            None => Ok(Revocation::Unknown),
        }
    }

    async fn revoke_access_token(&self, text: &str, client: &ClientId, now: Timestamp) -> Result<Revocation, Error> {
        let Ok(token) = self.verify_own_token(text, &self.settings.resources, now).await? else {
            return Ok(Revocation::Unknown);
        };
        if token.client_id() != client {
            own_token::log_foreign(client, "access token", GrantHandle::of(&token));
            return Ok(Revocation::Foreign);
        }
        if let Some(handle) = GrantHandle::of(&token) {
            match self.store.grant(handle).await? {
                Some(grant) if grant.client_id == *client => return self.end(&grant, now).await,
                Some(_) => {} // got in exchange for the token of another client, whose grant is not ours to end
                None => return Ok(Revocation::Unknown),
            }
        }
        self.revoke_by_name(&token, now).await?;
        tracing::info!(
            target: audit::TARGET,
            event = audit::TOKEN_REVOKED,
            client.id = %client,
            subject = %token.subject(),
            token.id = token.claims().get("jti").and_then(crate::jose::Json::as_str),
            "`{client}` has revoked an access token"
        );
        Ok(Revocation::TokenRevoked)
    }

    async fn end(&self, grant: &Grant, now: Timestamp) -> Result<Revocation, Error> {
        if grant.ended.is_none() {
            self.end_grant(grant, EndedBy::Revoked, now).await?;
        }
        Ok(Revocation::GrantEnded)
    }
}
