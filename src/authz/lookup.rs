//! Tokens that say nothing by themselves: what somebody else must be asked before they can be judged.

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::TokenKey;
use crate::clock::Timestamp;
use crate::ident::IssuerName;
use crate::jose::Members;
use crate::unavailable::Unavailable;

/// Knows what the handles of an issuer stand for.
#[async_trait]
pub trait TokenLookup: Send + Sync {
    /// What a JWT in the place of this token would say; `None` if there is no such token, or not any more.
    ///
    /// # Errors
    /// [`Unavailable`] when nobody could be asked. It never guesses.
    async fn look_up(&self, unresolved: &Unresolved, now: Timestamp) -> Result<Option<Members>, Unavailable>;
}

/// A token of which somebody must be asked what it says. Nothing is known about it but its form.
#[must_use]
pub struct Unresolved {
    /// Whose token it would be.
    pub(super) issuer: IssuerName,
    /// The token.
    pub(super) token: Zeroizing<String>,
    /// What it is remembered by.
    pub(super) key: TokenKey,
}

impl Unresolved {
    /// Whose token it would be.
    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }

    /// The token itself.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Takes an answer along, to decide about the same request again.
    pub fn resolve(self, answer: Option<Members>) -> Resolved {
        Resolved { key: self.key, answer }
    }
}

impl fmt::Debug for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unresolved({})", self.issuer)
    }
}

/// What was answered about the token of a request.
#[must_use]
pub struct Resolved {
    /// What the token is remembered by: the answer counts for no other.
    pub(super) key: TokenKey,
    /// What it says, if there is such a token.
    pub(super) answer: Option<Members>,
}
