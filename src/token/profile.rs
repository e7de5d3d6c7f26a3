//! What the access tokens of an issuer look like: RFC 9068, or what issuers wrote before it and some write still.

use std::str::FromStr;
use std::time::Duration;

use super::{ACCESS_TOKEN_TYPE, TokenFault};
use crate::ident::{ClientId, Subject};
use crate::jose::{Algorithm, Json, Jws, Members};
use crate::scope::{Scope, Scopes};

/// What access tokens may be signed with unless somebody says otherwise; which of them it is, the key decides.
pub const TOKEN_ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ed25519, Algorithm::Ps256, Algorithm::Rs256];

/// What the access tokens of an issuer look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenProfile {
    /// What they may be signed with; which of them it is, the key decides.
    pub algorithms: Vec<Algorithm>,
    /// Which `typ` they have.
    pub types: TokenTypes,
    /// Where it says what.
    pub claims: ClaimNames,
    /// Whether they must name a place in a status list (draft-ietf-oauth-status-list-20 §6.2).
    pub requires_status: bool,
    /// How far the clocks of issuer and gate may be apart.
    pub skew: Duration,
}

impl TokenProfile {
    /// Tokens as RFC 9068 wants them.
    #[must_use]
    pub fn rfc9068(algorithms: Vec<Algorithm>, skew: Duration) -> Self {
        let (types, claims) = (TokenTypes::AccessToken, ClaimNames::default());
        Self { algorithms, types, claims, requires_status: false, skew }
    }
}

/// Which `typ` the access tokens of an issuer have (RFC 7515 §4.1.9).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenTypes {
    /// `at+jwt` (RFC 9068 §2.1): nothing else can be taken for an access token.
    AccessToken,
    /// `at+jwt`, `JWT` or none, for issuers that do not know RFC 9068.
    Jwt,
}

/// Claims by which ID tokens and logout tokens are known, whose `typ` tells nothing either (OpenID Connect Core §3.1.3.6,
/// §3.3.2.11, Back-Channel Logout §2.4).
const OF_OTHER_KINDS: [&str; 4] = ["at_hash", "c_hash", "s_hash", "events"];

/// Whether claims say that they are those of an access token, or do not say what they are. Many servers write ID tokens and refresh
/// tokens as JWTs too, and tell them apart by a claim only.
#[must_use]
pub fn may_be_access_token(claims: &Members) -> bool {
    let is_one_of = |name: &str, known: &[&str]| match claims.get(name) {
        None => true,
        Some(value) => value.as_str().is_some_and(|value| known.iter().any(|known| known.eq_ignore_ascii_case(value))),
    };
    is_one_of("token_use", &["access_token", "access"]) // Ory Hydra, Amazon Cognito
        && is_one_of("typ", &["Bearer", "DPoP", ACCESS_TOKEN_TYPE]) // Keycloak: `Refresh`, `Offline`, `ID`
        && !OF_OTHER_KINDS.iter().any(|claim| claims.contains_key(*claim))
}

impl TokenTypes {
    /// Refuses a token of another type.
    pub(super) fn check(self, jws: &Jws<'_>) -> Result<(), TokenFault> {
        let typ = jws.header_text("typ").map_err(|_| TokenFault::TypeWrong)?.unwrap_or_default();
        let prefix = typ.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
        let short = prefix.map_or(typ, |_| &typ[12..]);
        let fits = match self {
            _ if short.eq_ignore_ascii_case(ACCESS_TOKEN_TYPE) => true,
            Self::AccessToken => false,
            Self::Jwt => (typ.is_empty() || typ.eq_ignore_ascii_case("JWT")) && may_be_access_token(jws.claims()),
        };
        if fits { Ok(()) } else { Err(TokenFault::TypeWrong) }
    }
}

/// Where a token says whom it speaks for, to whom it was issued, and what it allows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimNames {
    /// The claim that names whom it speaks for. It must be there.
    pub subject: String,
    /// The claims that may name the client; the first that is there counts, and one must be.
    pub client_id: Vec<String>,
    /// The claims that may hold the scopes; the first that is there counts. Without any there are no scopes.
    pub scope: Vec<String>,
    /// Whether scopes may also be a list of texts.
    pub scope_lists: bool,
}

impl Default for ClaimNames {
    /// RFC 9068 §2.2.
    fn default() -> Self {
        Self {
            subject: "sub".to_owned(),
            client_id: vec!["client_id".to_owned()],
            scope: vec!["scope".to_owned()],
            scope_lists: false,
        }
    }
}

impl ClaimNames {
    /// What many issuers write: the client as `client_id` or `azp`, scopes as `scope` or `scp`, a text or a list.
    #[must_use]
    pub fn lenient() -> Self {
        Self {
            subject: "sub".to_owned(),
            client_id: ["client_id", "azp"].map(str::to_owned).to_vec(),
            scope: ["scope", "scp"].map(str::to_owned).to_vec(),
            scope_lists: true,
        }
    }

    /// Reads the three, and puts them where RFC 9068 has them: upstreams are told the same, whoever has issued the token.
    pub(super) fn normalize(&self, claims: &mut Members) -> Result<(Subject, ClientId, Scopes), TokenFault> {
        let (subject_text, subject): (_, Subject) = named(claims, &self.subject)?.ok_or(TokenFault::ClaimMissing)?;
        let client_id = self.client_id.iter().find_map(|name| named(claims, name).transpose());
        let (client_text, client_id): (_, ClientId) = client_id.ok_or(TokenFault::ClaimMissing)??;
        let (scope_text, scopes) = self.scopes(claims)?;
        for (name, text) in [("sub", Some(subject_text)), ("client_id", Some(client_text)), ("scope", scope_text)] {
            match text {
                Some(text) => claims.insert(name.to_owned(), text.into()),
                None => claims.remove(name), // it was not what the scopes were read from
            };
        }
        Ok((subject, client_id, scopes))
    }

    /// The scopes, and as one text.
    fn scopes(&self, claims: &Members) -> Result<(Option<String>, Scopes), TokenFault> {
        let Some(claim) = self.scope.iter().find_map(|name| claims.get(name)) else {
            return Ok((None, Scopes::default()));
        };
        match claim {
            Json::String(text) => Ok((Some(text.clone()), parsed(text)?)),
            Json::Array(list) if self.scope_lists => {
                let scopes = list.iter().map(|scope| parsed::<Scope>(scope.as_str().ok_or(TokenFault::ClaimMissing)?));
                let scopes: Scopes = scopes.collect::<Result<_, _>>()?;
                Ok((Some(scopes.to_string()), scopes))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                Err(TokenFault::ClaimMissing)
            }
        }
    }
}

/// A claim that names somebody, if it is there. One of the wrong type is a fault, never an absence.
fn named<T: FromStr>(claims: &Members, name: &str) -> Result<Option<(String, T)>, TokenFault> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let text = claim.as_str().ok_or(TokenFault::ClaimMissing)?;
    Ok(Some((text.to_owned(), parsed(text)?)))
}

fn parsed<T: FromStr>(text: &str) -> Result<T, TokenFault> {
    text.parse().map_err(|_| TokenFault::ClaimMissing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn normalized(names: &ClaimNames, claims: &Json) -> Result<Json, TokenFault> {
        let mut claims = claims.as_object().expect("an object").clone();
        let (subject, client_id, scopes) = names.normalize(&mut claims)?;
        assert_eq!((subject.as_str(), client_id.as_str()), (&*text(&claims, "sub"), &*text(&claims, "client_id")));
        assert_eq!(text(&claims, "scope").parse(), Ok(scopes));
        Ok(Json::Object(claims))
    }

    fn text(claims: &Members, name: &str) -> String {
        claims.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    #[test]
    fn what_others_call_otherwise_is_found_and_put_in_its_place() {
        let lenient = ClaimNames::lenient();
        let own = ClaimNames::default();
        let okta = ClaimNames { client_id: vec!["cid".to_owned()], subject: "uid".to_owned(), ..ClaimNames::lenient() };
        for (names, claims, expected) in [
            (
                &own,
                json!({ "sub": "a", "client_id": "c", "scope": "y x" }),
                Ok(json!({ "sub": "a", "client_id": "c", "scope": "y x" })),
            ),
            (&own, json!({ "sub": "a", "azp": "c" }), Err(TokenFault::ClaimMissing)),
            (&own, json!({ "sub": "a", "client_id": "c", "scope": ["x"] }), Err(TokenFault::ClaimMissing)),
            (
                &lenient,
                json!({ "sub": "a", "azp": "c", "scp": ["y", "x"] }),
                Ok(json!({ "sub": "a", "azp": "c", "client_id": "c", "scp": ["y", "x"], "scope": "x y" })),
            ),
            (
                &lenient,
                json!({ "sub": "a", "azp": "z", "client_id": "c", "scope": "x", "scp": "y" }),
                Ok(json!({ "sub": "a", "azp": "z", "client_id": "c", "scope": "x", "scp": "y" })),
            ),
            (&lenient, json!({ "sub": "a", "client_id": 7, "azp": "c" }), Err(TokenFault::ClaimMissing)),
            (&lenient, json!({ "sub": "a", "client_id": "c", "scp": ["x y"] }), Err(TokenFault::ClaimMissing)),
            (&lenient, json!({ "sub": "a", "client_id": "c", "scp": [1] }), Err(TokenFault::ClaimMissing)),
            (&lenient, json!({ "sub": "a", "client_id": "" }), Err(TokenFault::ClaimMissing)),
            (
                &okta,
                json!({ "sub": "login", "uid": "a", "cid": "c", "client_id": "z" }),
                Ok(json!({ "sub": "a", "uid": "a", "cid": "c", "client_id": "c" })),
            ),
            (
                &ClaimNames { scope: vec!["scp".to_owned()], ..lenient.clone() },
                json!({ "sub": "a", "azp": "c", "scope": "admin" }),
                Ok(json!({ "sub": "a", "azp": "c", "client_id": "c" })),
            ),
        ] {
            assert_eq!(normalized(names, &claims), expected, "{claims}");
        }
    }
}
