//! Who people are: the seam to "your existing login" (`login:` in the configuration).
//!
//! Invariant: a provider that cannot tell says [`Unavailable`], never "wrong password" and never "may come in".

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ident::Subject;
use crate::jose::Members;
use crate::store::Unavailable;

mod attempts;
mod local;
mod vouched;

pub use local::{LocalUsers, PasswordFault, UsersFault, hash_password, users_file_subjects};
pub use vouched::VouchedPeople;

/// A person who may sign in.
#[derive(Clone, Eq, PartialEq)]
pub struct Person {
    /// `sub` of their tokens: stable, never given to anybody else.
    pub subject: Subject,
    /// What they are called on pages: a name, or else what they sign in with.
    pub name: String,
    /// Their e-mail address.
    pub email: Option<String>,
    /// What else is known about them, by the names of OpenID Connect Core §5.1 or others.
    pub claims: Members,
}

/// The subject only: names are nobody's business in a log.
impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Person({})", self.subject)
    }
}

/// What a person who wants to sign in has typed, and where from.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The name.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
    /// The address that the connection came from.
    pub address: IpAddr,
    /// The time of the request.
    pub now: Timestamp,
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt(..)")
    }
}

/// What became of an attempt to sign in.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Authentication {
    /// It is this person.
    Known(Person),
    /// Unknown name, wrong password or disabled: all alike, in answer and in time.
    Unknown,
    /// Too many attempts for this name or from this address; nothing was looked at.
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// Where people are known.
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// Checks a name and a password.
    async fn authenticate(&self, attempt: Attempt<'_>) -> Result<Authentication, Unavailable>;

    /// Looks a person up again, at every redemption too: `None` if there is no such person, or one who may not sign in now.
    async fn person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable>;
}

/// Nobody is known: for an installation in which no client lets people sign in.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

#[async_trait]
impl IdentityProvider for Nobody {
    async fn authenticate(&self, _: Attempt<'_>) -> Result<Authentication, Unavailable> {
        Ok(Authentication::Unknown)
    }

    async fn person(&self, _: &Subject) -> Result<Option<Person>, Unavailable> {
        Ok(None)
    }
}
