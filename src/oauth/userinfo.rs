//! The UserInfo endpoint (OpenID Connect Core §5.3): what a client may know about the person who signed in.
//!
//! It is a protected resource of our own: the token comes as at any other (RFC 6750 §2.1, RFC 9449 §7.1, RFC 8705 §3), and
//! what it may tell is decided by the token's scopes (§5.4).
//!
//! Choice: an access token is for one resource, and UserInfo takes one for any resource of ours if its scopes hold `openid`.
//! A client that sends its tokens to resource servers which must not learn who somebody is asks for `openid` apart.

use serde_json::{Map, Value};

use super::token::Occasion;
use super::{AuthorizationServer, Error, Refusal, id_token};
use crate::certificate::ClientCertificate;
use crate::clock::Timestamp;
use crate::dpop::{NonceText, ProofFault, VerifiedProof};
use crate::identity::Person;
use crate::scope::Scopes;
use crate::token::VerifiedToken;

/// The claims of the scope `profile` (OpenID Connect Core §5.4) that the claims of a person may hold.
const PROFILE: [&str; 13] = [
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
];

/// A request to UserInfo, as the door hands it on.
pub struct UserInfoRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Every `Authorization` header.
    pub authorization: &'a [&'a str],
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
        let [authorization] = request.authorization else {
            return Err(match request.authorization {
                [] => Refusal::AccessTokenMissing.into(),
                [_, ..] => Refusal::AccessTokenMalformed.into(),
            });
        };
        let (scheme, text) = authorization.split_once(' ').ok_or(Refusal::AccessTokenMalformed)?;
        let text = text.trim_start_matches(' ');
        let is_dpop = match () {
            () if scheme.eq_ignore_ascii_case("dpop") => true,
            () if scheme.eq_ignore_ascii_case("bearer") => false,
            () => return Err(Refusal::AccessTokenMissing.into()),
        };
        let token = self.verify_own_token(text, &self.settings.resources, now).await?;
        let token = token.map_err(|_| Refusal::AccessTokenInvalid)?;
        let target = self.userinfo_endpoint();
        let occasion = Occasion { method: request.method, target: &target, access_token: Some(text) };
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
        // A client that speaks for itself is no person, and neither is somebody who may no longer sign in.
        let person = self.check_person(access.token.subject()).await?.ok_or(Refusal::AccessTokenInvalid)?;
        if self.is_revoked(&access.token).await? {
            return Err(Refusal::AccessTokenInvalid.into());
        }
        self.spend_proof(access.proof.as_ref(), now).await?;
        Ok(Value::Object(claims(person, access.token.scopes())))
    }
}

/// The claims about a person that scopes allow to tell (OpenID Connect Core §5.4). `sub` is always there (§5.3.2).
fn claims(person: Person, scopes: &Scopes) -> Map<String, Value> {
    let has = |name: &str| scopes.iter().any(|scope| scope.as_str() == name);
    let mut claims = Map::from_iter([("sub".to_owned(), person.subject.as_str().into())]);
    if has("profile") {
        claims.insert("name".to_owned(), person.name.into());
        let known = |name: &str| person.claims.get(name).map(|value| (name.to_owned(), value.clone()));
        claims.extend(PROFILE.into_iter().filter_map(known));
    }
    if let Some(email) = person.email.filter(|_| has("email")) {
        claims.insert("email".to_owned(), email.into());
        let verified = person.claims.get("email_verified").filter(|verified| verified.is_boolean());
        claims.extend(verified.map(|verified| ("email_verified".to_owned(), verified.clone())));
    }
    claims
}
