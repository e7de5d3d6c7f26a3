//! Tokens that are over before their time.

use std::fmt;
use std::sync::Arc;

use super::{Renew, VerifiedToken};
use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

/// Why it is not known whether a token was revoked.
#[derive(Clone)]
pub enum RevocationsFault {
    /// There is nobody to ask, or what is known is too old.
    Unavailable(Unavailable),
    /// What is needed to tell is not at hand, and may be had: [`Renew::renew`], then ask again.
    Outdated(Arc<dyn Renew>),
}

impl fmt::Debug for RevocationsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(cause) => f.debug_tuple("Unavailable").field(cause).finish(),
            Self::Outdated(_) => f.write_str("Outdated(..)"),
        }
    }
}

impl From<Unavailable> for RevocationsFault {
    fn from(cause: Unavailable) -> Self {
        Self::Unavailable(cause)
    }
}

/// Knows which tokens were revoked. Never waits: what it knows is brought to it behind the scenes.
pub trait Revocations: Send + Sync {
    /// Whether a token was revoked, or what it belongs to has ended.
    ///
    /// # Errors
    /// [`RevocationsFault`] when that is not known, or was not for too long.
    fn is_revoked(&self, token: &VerifiedToken, now: Timestamp) -> Result<bool, RevocationsFault>;
}
