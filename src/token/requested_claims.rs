//! What a client asks to be told about a person, claim by claim (OpenID Connect Core §5.5).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The longest text that is taken, in bytes; all that OpenID Connect Core §5.1 knows is less.
const TEXT_LIMIT: usize = 2 * 1024;

/// Where a claim is told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Told {
    /// In the ID token.
    InIdToken,
    /// At UserInfo.
    AtUserInfo,
}

impl Told {
    /// Both.
    pub const ALL: [Self; 2] = [Self::InIdToken, Self::AtUserInfo];

    /// The member of the `claims` parameter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InIdToken => "id_token",
            Self::AtUserInfo => "userinfo",
        }
    }
}

/// Names of claims, each with where it is told. Their text is one word a claim, such as `userinfo.email`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestedClaims(BTreeSet<(Told, String)>);

/// A text that is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not claims with where they are told")]
pub struct RequestedClaimsFault;

impl RequestedClaims {
    /// Asks for one more.
    pub fn ask(&mut self, told: Told, name: &str) {
        self.0.insert((told, name.to_owned()));
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of it is in `granted` too.
    #[must_use]
    pub fn is_within(&self, granted: &Self) -> bool {
        self.0.is_subset(&granted.0)
    }

    /// The names of what is told there.
    pub fn told(&self, there: Told) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(told, _)| *told == there).map(|(_, name)| name.as_str())
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, name)| name.as_str())
    }
}

impl fmt::Display for RequestedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (told, name)) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}.{name}", told.name())?;
        }
        Ok(())
    }
}

impl FromStr for RequestedClaims {
    type Err = RequestedClaimsFault;

    fn from_str(text: &str) -> Result<Self, RequestedClaimsFault> {
        if text.len() > TEXT_LIMIT {
            return Err(RequestedClaimsFault);
        }
        let claim = |word: &str| {
            let (told, name) = word.split_once('.')?;
            let told = Told::ALL.into_iter().find(|each| each.name() == told)?;
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            is_name.then(|| (told, name.to_owned()))
        };
        let words = text.split(' ').filter(|word| !word.is_empty());
        words.map(claim).collect::<Option<_>>().map(Self).ok_or(RequestedClaimsFault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let mut claims = RequestedClaims::default();
        assert_eq!(claims.to_string().parse(), Ok(claims.clone()));
        claims.ask(Told::AtUserInfo, "email");
        let fewer = claims.clone();
        claims.ask(Told::InIdToken, "phone_number");
        assert_eq!(claims.to_string(), "id_token.phone_number userinfo.email");
        assert_eq!(claims.to_string().parse(), Ok(claims.clone()));
        assert!(fewer.is_within(&claims) && !claims.is_within(&fewer));
        for wrong in ["email", "userinfo.", "elsewhere.email", "userinfo.<b>"] {
            assert_eq!(wrong.parse::<RequestedClaims>(), Err(RequestedClaimsFault), "{wrong}");
        }
    }
}
