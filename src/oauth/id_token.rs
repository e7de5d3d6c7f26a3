//! ID tokens (OpenID Connect Core §2): who signed in, told to the client.
//!
//! A grant with the scope `openid` gives one with every access token. It holds the sign-in, and of what else is known about
//! the person only what `claims` asked to have there (§5.5): what scopes ask for, the client gets at UserInfo (§5.4).

use std::time::Duration;

use serde::Serialize;

use super::client::SubjectType;
use super::grant::Authorization;
use super::{AuthorizationServer, Client, standard_claims};
use crate::clock::Timestamp;
use crate::ident::{Acr, ClientId, Subject};
use crate::identity::Person;
use crate::jose::{Jws, Members, PublicKey, SigningKey};
use crate::scope::Scopes;
use crate::secret::base64url;
use crate::store::SessionId;
use crate::token::{KeyLookup as _, RequestedClaims, TOKEN_LIMIT, Told};

/// The scope that asks for an ID token (OpenID Connect Core §3.1.2.1).
pub const OPENID: &str = "openid";

/// The scopes that OpenID Connect Core §5.4 defines and we know, each with words for the people who are asked to grant it.
/// In English, then in German.
pub const OPENID_SCOPES: [(&str, &str, &str); 5] = [
    (OPENID, "Know who you are", "Wissen, wer Sie sind"),
    ("profile", "Know your name", "Ihren Namen kennen"),
    ("email", "Know your e-mail address", "Ihre E-Mail-Adresse kennen"),
    ("address", "Know your postal address", "Ihre Anschrift kennen"),
    ("phone", "Know your phone number", "Ihre Telefonnummer kennen"),
];

/// How long after its end an ID token may come back as a hint: as long as anybody is likely to have one.
const HINT_LIFE: Duration = Duration::from_hours(90 * 24);

/// The `typ` of an ID token; no access token has it (RFC 8725 §3.11).
const ID_TOKEN_TYPE: &str = "JWT";

/// What an ID token says.
#[derive(Serialize)]
struct IdTokenClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    at_hash: String,
    /// OpenID Connect Back-Channel Logout 1.0 §2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// What `claims` asked to have here; never one of the above.
    #[serde(flatten)]
    told: &'a Members,
}

/// What a client is told in an ID token about a person, beside who it is: what was asked for claim by claim.
pub(super) fn told(person: &Person, claims: &RequestedClaims, client: &Client) -> Members {
    standard_claims::told(person, claims.told(Told::InIdToken), client)
}

/// Whether a grant is about who signed in, and not only about what may be done.
pub(super) fn is_asked_for(scopes: &Scopes) -> bool {
    scopes.iter().any(|scope| scope.as_str() == OPENID)
}

impl AuthorizationServer {
    /// Signs the ID token that goes with an access token, if one was asked for. A client that speaks for itself gets
    /// none, and neither does one that acts for somebody who has signed in elsewhere.
    pub(super) fn id_token(
        &self,
        (authorization, subject): (&Authorization, &Subject),
        access_token: &str,
        signer: &SigningKey,
        now: Timestamp,
    ) -> Option<String> {
        let for_itself = authorization.delegation.is_none();
        let auth_time = authorization.auth_time.filter(|_| for_itself && is_asked_for(&authorization.scopes))?;
        let claims = IdTokenClaims {
            iss: self.settings.issuer.as_str(),
            sub: subject.as_str(),
            aud: authorization.client_id.as_str(),
            exp: (now + self.settings.lifetimes.access_token).seconds(),
            iat: now.seconds(),
            auth_time: Some(auth_time.seconds()),
            acr: authorization.acr.as_ref().map(Acr::as_str),
            nonce: authorization.nonce.as_deref(),
            at_hash: signer.algorithm().left_half_of_hash(access_token),
            sid: authorization.session.map(|session| self.session_at(&authorization.client_id, session)),
            told: &authorization.told,
        };
        Some(signer.sign(ID_TOKEN_TYPE, &claims))
    }
}

impl AuthorizationServer {
    /// What a client knows a person as (OpenID Connect Core §8).
    pub(super) fn subject_at(&self, client: &Client, subject: &Subject) -> Subject {
        match &client.openid.subject_type {
            SubjectType::Public => subject.clone(),
            SubjectType::Pairwise { sector } => {
                let name = self.pairwise_subjects.mac(&[sector.as_bytes(), subject.as_str().as_bytes()]);
                base64url(&name).parse().expect("base64url is a name")
            }
        }
    }

    /// What a client knows whoever a token speaks for as: itself by its own name.
    pub(super) fn subject_of(&self, authorization: &Authorization, client: &Client) -> Subject {
        let is_client = self.is_name_of_client(&authorization.subject);
        if is_client { authorization.subject.clone() } else { self.subject_at(client, &authorization.subject) }
    }

    /// What a client knows a session as: the same for all its ID tokens, and different for every client, so that no two
    /// can compare whom they see.
    pub(super) fn session_at(&self, client: &ClientId, session: SessionId) -> String {
        base64url(&self.session_names.mac(&[&session.0, client.as_str().as_bytes()])[..16])
    }
}

/// Whom an ID token that we once issued was about, and for which client.
pub(super) struct IdTokenHint {
    /// The client in `aud`.
    pub(super) client_id: String,
    /// `sub`: the person, as that client knows them.
    pub(super) subject: String,
}

impl AuthorizationServer {
    /// Reads an ID token of ours that comes back as a hint; it may have expired, though not long ago (OpenID Connect Core
    /// §3.1.2.1, RP-Initiated Logout §2). `None` if it is not one of ours.
    pub(super) fn verify_id_token_hint(&self, text: &str, now: Timestamp) -> Option<IdTokenHint> {
        let jws = Jws::parse(text, TOKEN_LIMIT).ok()?;
        if jws.header_text("typ").ok()? != Some(ID_TOKEN_TYPE) {
            return None;
        }
        let algorithm = jws.algorithm(&self.keys.algorithms())?;
        let keys = self.keys.keys(jws.header_text("kid").ok()?, now).ok()?;
        let verified = |key: &&PublicKey| key.fits(algorithm) && jws.verify(algorithm, key).is_ok();
        keys.iter().find(verified)?;
        if jws.required_text("iss").ok()? != self.settings.issuer.as_str() {
            return None;
        }
        let expired = jws.time("exp").ok()??;
        let (client_id, subject) = (jws.required_text("aud").ok()?, jws.required_text("sub").ok()?);
        (now < expired + HINT_LIFE)
            .then(|| IdTokenHint { client_id: client_id.to_owned(), subject: subject.to_owned() })
    }
}
