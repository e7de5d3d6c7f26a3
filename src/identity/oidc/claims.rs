//! From the claims of a provider to a person.

use super::id_token::IdToken;
use crate::identity::{Person, UpstreamFault, Vouched};
use crate::jose::{Json, Members};
use crate::store::PersonRecord;

/// The longest name and the longest e-mail address that are kept, in bytes.
const TEXT_LIMIT: usize = 320;

/// What an ID token says about itself and the sign-in, and not about the person. None of it is kept.
const OF_THE_TOKEN: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "nonce",
    "azp",
    "at_hash",
    "c_hash",
    "s_hash",
    "sid",
    "auth_time",
    "acr",
    "amr",
];

/// Where the claims about a person are.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimNames {
    /// The claim that names them for good. `sub` by default.
    pub subject: String,
    /// What they are called.
    pub name: String,
    /// Their e-mail address.
    pub email: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { subject: "sub".to_owned(), name: "name".to_owned(), email: "email".to_owned() }
    }
}

impl ClaimNames {
    /// Whether these claims are all there.
    pub(super) fn are_in(&self, claims: &Members) -> bool {
        [&self.subject, &self.name, &self.email].into_iter().all(|name| claims.contains_key(name))
    }

    /// The person of an ID token.
    pub(super) fn vouched(&self, id_token: IdToken) -> Result<Vouched, UpstreamFault> {
        let IdToken { mut claims, auth_time, .. } = id_token;
        let subject = text(&claims, &self.subject).ok_or(UpstreamFault::ClaimsUnfit)?;
        // Whoever may write any address into a profile of his own could be anybody by it.
        if self.subject == "email" && claims.get("email_verified") != Some(&Json::Bool(true)) {
            return Err(UpstreamFault::ClaimsUnfit);
        }
        let subject = subject.parse().map_err(|_| UpstreamFault::ClaimsUnfit)?;
        let email = text(&claims, &self.email).map(str::to_owned);
        let name = [&self.name, "preferred_username"].into_iter().find_map(|name| text(&claims, name));
        let name = name.or(email.as_deref()).map_or_else(|| format!("{subject}"), str::to_owned);
        let acr = text(&claims, "acr").and_then(|acr| acr.parse().ok());
        for name in OF_THE_TOKEN.iter().copied().chain([self.name.as_str(), &self.email]) {
            claims.remove(name);
        }
        let person = Person { subject, name, email, claims: bounded(claims) };
        Ok(Vouched { person, auth_time, acr })
    }
}

/// A claim that is a text of reasonable length.
fn text<'a>(claims: &'a Members, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str().filter(|text| (1..=TEXT_LIMIT).contains(&text.len()))
}

/// As many claims as may be kept; those that are too much are left out.
fn bounded(claims: Members) -> Members {
    let mut left = PersonRecord::CLAIMS_LIMIT - 2;
    let fits = |(name, value): &(String, Json)| {
        let size = name.len() + value.to_string().len() + 4;
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    };
    claims.into_iter().filter(fits).collect()
}
