//! People whom somebody else vouches for: they sign in elsewhere, and are known here by what was said of them.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Attempt, Authentication, IdentityProvider, Person};
use crate::ident::Subject;
use crate::store::{Store, Unavailable};

/// The people that a store remembers; those who are disabled may not sign in.
pub struct VouchedPeople(Arc<dyn Store>);

impl VouchedPeople {
    /// The people of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

#[async_trait]
impl IdentityProvider for VouchedPeople {
    /// Nobody has a password here.
    async fn authenticate(&self, _: Attempt<'_>) -> Result<Authentication, Unavailable> {
        Ok(Authentication::Unknown)
    }

    async fn person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable> {
        let record = self.0.person(subject).await?.filter(|record| !record.disabled);
        Ok(record.map(|record| Person {
            subject: record.subject,
            name: record.name,
            email: record.email,
            claims: record.claims,
        }))
    }
}
