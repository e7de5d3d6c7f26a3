//! Who people are: whatever already signs them in.

use async_trait::async_trait;

use crate::ident::Subject;
use crate::store::Unavailable;

/// Somebody who may sign in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Person {
    /// The stable identifier of the person.
    pub subject: Subject,
    /// What the person is called on pages.
    pub name: String,
}

/// Where people come from.
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// Looks a person up again, at every redemption: `None` if there is no such person, or one that may not sign in now.
    async fn person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable>;
}
