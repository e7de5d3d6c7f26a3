//! The UserInfo endpoint (OpenID Connect Core §5.3): what a client may know about the person who signed in.
//!
//! It is a protected resource of our own: the token comes as at any other (RFC 6750 §2.1, RFC 9449 §7.1, RFC 8705 §3), or, if
//! it is a bearer token, in the form of a POST (RFC 6750 §2.2). What it may tell is decided by the token's scopes (§5.4) and
//! by the `claims` of the request that its grant began with (§5.5).
//!
//! Choice: an access token is for one resource, and UserInfo takes one for any resource of ours if its scopes hold `openid`.
//! A client that sends its tokens to resource servers which must not learn who somebody is asks for `openid` apart.

use serde_json::Value;

use super::clients::Asker;
use super::metadata::USERINFO;
use super::own_token::Origin;
use super::token::Occasion;
use super::{AuthorizationServer, Error, Refusal, id_token, standard_claims};
use crate::certificate::ClientCertificate;
use crate::clock::Timestamp;
use crate::dpop::{NonceText, ProofFault, VerifiedProof};
use crate::token::{Told, VerifiedToken};

/// A request to UserInfo, as the door hands it on.
pub struct UserInfoRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Every `Authorization` header.
    pub authorization: &'a [&'a str],
    /// `access_token` of its form.
    pub form_token: Option<&'a str>,
    /// Every `DPoP` header.
    pub proofs: &'a [&'a str],
    /// The certificate of the connection.
    pub certificate: Option<&'a ClientCertificate>,
}

/// The answer, and the nonce to send along (RFC 9449 §9).
pub struct UserInfoAnswer {
    /// What the client gets.
    pub result: Result<Value, Error>,
    /// `DPoP-Nonce`.
    pub nonce: Option<NonceText>,
}

/// A token that was presented rightly, and the proof beside it, which is not spent yet.
struct Access {
    token: VerifiedToken,
    proof: Option<VerifiedProof>,
}

impl AuthorizationServer {
    /// Answers a UserInfo request.
    pub async fn userinfo(&self, request: UserInfoRequest<'_>, now: Timestamp) -> UserInfoAnswer {
        let access = self.access(&request, now).await;
        let proof = access.as_ref().ok().and_then(|access| access.proof.as_ref());
        let offered = self.offer_nonce(proof, now);
        let result = match access {
            Ok(access) => self.tell(access, now).await,
            Err(error) => Err(error),
        };
        let nonce = self.demanded_nonce(&result, now).or(offered);
        UserInfoAnswer { result, nonce }
    }

    /// Verifies the token and how it is presented: under the scheme that its binding asks for (RFC 9449 §7.1, §7.2).
    async fn access(&self, request: &UserInfoRequest<'_>, now: Timestamp) -> Result<Access, Error> {
        let (text, is_dpop) = request.token()?;
        let token = self.verify_own_token(text, &self.settings.resources, now).await?;
        let token = token.map_err(|_| Refusal::AccessTokenInvalid)?;
        let target = self.userinfo_endpoint();
        let occasion = Occasion { method: request.method, target: &target, path: USERINFO, access_token: Some(text) };
        let proof = match (token.key(), is_dpop) {
            (None, false) => None,
            (Some(bound), true) => {
                let proof =
                    self.verify_proof(request.proofs, &occasion, now)?.ok_or(Refusal::Proof(ProofFault::Missing))?;
                if proof.key() != bound {
                    return Err(Refusal::AccessTokenBindingWrong.into());
                }
                Some(proof)
            }
            (Some(_), false) | (None, true) => return Err(Refusal::AccessTokenBindingWrong.into()),
        };
        let shown = request.certificate.map(ClientCertificate::thumbprint);
        if token.certificate().is_some_and(|bound| shown != Some(bound)) {
            return Err(Refusal::AccessTokenBindingWrong.into());
        }
        if !id_token::is_asked_for(token.scopes()) {
            return Err(Refusal::AccessTokenScopeMissing.into());
        }
        Ok(Access { token, proof })
    }

    /// Spends the proof and tells what the scopes of the token allow.
    async fn tell(&self, access: Access, now: Timestamp) -> Result<Value, Error> {
        let token = &access.token;
        let origin = self.origin(token).await?;
        // A client that speaks for itself is no person, and neither is somebody who may no longer sign in.
        let person = self.check_person(origin.subject(token)).await?.ok_or(Refusal::AccessTokenInvalid)?;
        if self.is_revoked(token, &origin).await? {
            return Err(Refusal::AccessTokenInvalid.into());
        }
        let client = self.client(token.client_id().as_str(), Asker::unseen(now)).await?;
        let client = client.ok_or(Refusal::AccessTokenInvalid)?;
        self.spend_proof(access.proof.as_ref(), now).await?;
        let asked = match &origin {
            Origin::Grant(grant) if grant.client_id == client.id => Some(grant.claims.told(Told::AtUserInfo)),
            Origin::Grant(_) | Origin::NoGrant | Origin::Forgotten => None,
        };
        let mut names: Vec<_> = standard_claims::of_scopes(token.scopes()).collect();
        names.extend(asked.into_iter().flatten());
        let mut claims = standard_claims::told(&person, names.into_iter(), &client);
        // As the ID token has it (§5.3.2).
        claims.insert("sub".to_owned(), token.subject().as_str().into());
        Ok(Value::Object(claims))
    }
}

impl<'a> UserInfoRequest<'a> {
    /// The token, and whether it comes as one that is bound to a key. One request has one token, in one place (RFC 6750 §2).
    fn token(&self) -> Result<(&'a str, bool), Refusal> {
        match (self.authorization, self.form_token) {
            ([], None) => Err(Refusal::AccessTokenMissing),
            ([], Some(token)) => Ok((token, false)),
            ([authorization], None) => {
                let (scheme, token) = authorization.split_once(' ').ok_or(Refusal::AccessTokenMalformed)?;
                let token = token.trim_start_matches(' ');
                match () {
                    () if scheme.eq_ignore_ascii_case("dpop") => Ok((token, true)),
                    () if scheme.eq_ignore_ascii_case("bearer") => Ok((token, false)),
                    () => Err(Refusal::AccessTokenMissing),
                }
            }
            ([_, ..], _) => Err(Refusal::AccessTokenMalformed),
        }
    }
}
