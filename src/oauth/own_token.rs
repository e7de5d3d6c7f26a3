//! Access tokens that come back to who issued them: to UserInfo, token exchange, introspection and revocation.
//!
//! A token is a JWT, for which there is no row, or a handle, whose row says what a JWT would; from there on there is no
//! difference. It names the grant with which it ends (`grant_id`). One without a grant, or one that a
//! service got in exchange for that of somebody else, can be revoked by its own name; then there is a row until it expires.
//!
//! Invariant: nothing is written to judge a token.

use super::AuthorizationServer;
use crate::audit;
use crate::clock::Timestamp;
use crate::ident::{Audience, ClientId, Subject};
use crate::store::{EndedBy, Grant, GrantHandle, TokenName, Unavailable};
use crate::token::{self, Form, Renew, TokenExpectation, TokenFault, TokenProfile, VerifiedToken, VerifyError};

/// Where a token of ours comes from.
pub(super) enum Origin {
    /// From no grant: a client speaks for itself.
    NoGrant,
    /// From this grant.
    Grant(Box<Grant>),
    /// From a grant that is not kept any more: it ended a while ago.
    Forgotten,
}

impl Origin {
    /// Whom a token speaks for, whatever its client knows them as.
    pub(super) fn subject<'a>(&'a self, token: &'a VerifiedToken) -> &'a Subject {
        match self {
            Self::Grant(grant) => &grant.subject,
            Self::NoGrant | Self::Forgotten => token.subject(),
        }
    }
}

impl AuthorizationServer {
    /// Verifies a token of our own that is for one of these resources, whichever its form.
    pub(super) async fn verify_own_token(
        &self,
        text: &str,
        audiences: &[Audience],
        now: Timestamp,
    ) -> Result<Result<VerifiedToken, TokenFault>, Unavailable> {
        let profile = TokenProfile::rfc9068(self.keys.algorithms(), self.settings.dpop.window.skew);
        let expected = TokenExpectation { issuer: self.settings.issuer.as_str(), audiences, profile: &profile };
        let verified = match Form::of(text) {
            Ok(Form::Jwt(text)) => match token::verify(text, &expected, &*self.keys, now) {
                Err(VerifyError::KeysOutdated) => {
                    self.keys.renew(now).await;
                    token::verify(text, &expected, &*self.keys, now)
                }
                verified => verified,
            },
            Ok(Form::Handle(handle)) => {
                let said = self.store.access_token(handle).await?.and_then(|record| record.members());
                let token = said.ok_or(TokenFault::HandleUnknown).and_then(|said| token::judge(said, &expected, now));
                token.map_err(VerifyError::Refused)
            }
            Ok(Form::Opaque(_)) => Err(TokenFault::Malformed.into()),
            Err(fault) => Err(fault.into()),
        };
        match verified {
            Ok(token) => Ok(Ok(token)),
            Err(VerifyError::Refused(fault)) => {
                tracing::debug!(fault = fault.name(), "an access token of ours was refused here");
                Ok(Err(fault))
            }
            Err(VerifyError::Unavailable(unavailable)) => Err(unavailable),
            Err(VerifyError::KeysOutdated) => Err(Unavailable::Down),
        }
    }

    /// Where a token comes from.
    pub(super) async fn origin(&self, token: &VerifiedToken) -> Result<Origin, Unavailable> {
        let Some(handle) = GrantHandle::of(token) else { return Ok(Origin::NoGrant) };
        Ok(self.store.grant(handle).await?.map_or(Origin::Forgotten, |grant| Origin::Grant(Box::new(grant))))
    }

    /// Whether a token was revoked, or the grant with which it ends has ended.
    pub(super) async fn is_revoked(&self, token: &VerifiedToken, origin: &Origin) -> Result<bool, Unavailable> {
        match origin {
            Origin::Grant(grant) if grant.ended.is_some() => Ok(true),
            Origin::Grant(grant) if grant.client_id == *token.client_id() => Ok(false), // it is revoked with its grant
            Origin::Grant(_) | Origin::NoGrant => self.store.is_token_revoked(TokenName::of(token)).await,
            Origin::Forgotten => Ok(true),
        }
    }

    /// Whether a token was not revoked, and both who it was issued to and whom it speaks for are still there: a client, or
    /// a person who may sign in.
    pub(super) async fn is_good(&self, token: &VerifiedToken, origin: &Origin) -> Result<bool, Unavailable> {
        let subject = origin.subject(token);
        let is_client = self.known_client(subject.as_str()).await?.is_some();
        let has_subject = is_client || self.check_person(subject).await?.is_some();
        let revoked = self.is_revoked(token, origin).await?;
        Ok(has_subject && !revoked && self.is_client(token.client_id()).await?)
    }

    /// Ends a grant, and with it every token of it.
    pub(super) async fn end_grant(&self, grant: &Grant, why: EndedBy, now: Timestamp) -> Result<(), Unavailable> {
        self.store.end_grant(grant.handle, why, now).await?;
        self.endings.note_grant(grant.handle, now);
        let (client, by) = (grant.client_id.as_str(), why.name());
        tracing::info!(
            target: audit::TARGET,
            event = audit::GRANT_ENDED,
            client.id = client,
            subject = %grant.subject,
            grant.id = ?grant.handle,
            by,
            "a grant of `{client}` has ended: {by}"
        );
        Ok(())
    }
}

impl AuthorizationServer {
    /// Ends all live grants of a person, and gives how many.
    pub(super) async fn end_grants_of(
        &self,
        subject: &Subject,
        why: EndedBy,
        now: Timestamp,
    ) -> Result<u64, Unavailable> {
        let ended = self.store.end_grants_of(subject, why, now).await?;
        self.learn_endings(ended, now).await?;
        Ok(ended)
    }

    /// Removes a client that has registered itself and ends its live grants; gives how many, `None` if there is no such client.
    pub(super) async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<Option<u64>, Unavailable> {
        let ended = self.store.delete_client(id, now).await?;
        self.learn_endings(ended.unwrap_or_default(), now).await?;
        Ok(ended)
    }

    /// Reads which grants they are that have just ended, if there are any.
    pub(super) async fn learn_endings(&self, ended: u64, now: Timestamp) -> Result<(), Unavailable> {
        if ended > 0 { self.endings.read_since(&*self.store, now, now).await } else { Ok(()) }
    }

    /// Revokes an access token by its name.
    pub(super) async fn revoke_by_name(&self, token: &VerifiedToken, now: Timestamp) -> Result<(), Unavailable> {
        let (name, over) = (TokenName::of(token), token.expires() + self.settings.dpop.window.skew);
        self.store.revoke_token(name, over, now).await?;
        self.endings.note_token(name, over);
        Ok(())
    }
}

/// The event of a token or code that came from another client than it was issued to.
pub(super) fn log_foreign(client: &ClientId, what: &'static str, grant: Option<GrantHandle>) {
    tracing::warn!(
        target: audit::TARGET,
        event = audit::CREDENTIAL_FOREIGN,
        client.id = %client,
        what,
        grant.id = grant.map(tracing::field::debug),
        "`{client}` has presented the {what} of another client"
    );
}
