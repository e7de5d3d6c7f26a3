//! Several resources in one grant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Audience, NameFault};

/// The most that one grant is for.
const COUNT_LIMIT: usize = 16;

/// The resources that a grant is for (RFC 8707 §2): never none, and none twice. Their text has a space between two. An access
/// token is for one of them.
#[derive(Clone, Eq, PartialEq)]
pub struct Resources(Arc<str>);

impl Resources {
    /// These resources, in this order; `None` if they are none, too many, or one has a space.
    #[must_use]
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Audience>) -> Option<Self> {
        let mut distinct: Vec<&str> = Vec::new();
        for one in all {
            if !distinct.contains(&one.as_str()) {
                distinct.push(one.as_str());
            }
        }
        let fits = (1..=COUNT_LIMIT).contains(&distinct.len()) && !distinct.iter().any(|one| one.contains(' '));
        fits.then(|| Self(distinct.join(" ").into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Audience> {
        self.0.split(' ').filter_map(|one| one.parse().ok())
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, resource: &Audience) -> bool {
        self.0.split(' ').any(|one| one == resource.as_str())
    }

    /// Whether all of them are among `others`.
    #[must_use]
    pub fn is_within(&self, others: &Self) -> bool {
        self.iter().all(|one| others.contains(&one))
    }
}

impl FromStr for Resources {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        let all: Vec<Audience> = text.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        Self::of(&all).filter(|read| read.as_str() == text).ok_or(NameFault::Unprintable)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resources({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let audience = |text: &str| text.parse::<Audience>().expect("a resource");
        let (one, other) = (audience("https://one.example"), audience("https://other.example/x"));
        let both = Resources::of([&one, &other, &one]).expect("two");
        assert_eq!(both.as_str(), "https://one.example https://other.example/x");
        assert_eq!(both.as_str().parse(), Ok(both.clone()));
        assert!(both.contains(&other) && !both.contains(&audience("https://one")));
        assert!(Resources::of([&other]).is_some_and(|less| less.is_within(&both) && !both.is_within(&less)));
        for wrong in ["", " ", "https://one.example ", "a  b", "a a"] {
            assert!(wrong.parse::<Resources>().is_err(), "{wrong:?}");
        }
        assert_eq!(Resources::of([]), None);
    }
}
