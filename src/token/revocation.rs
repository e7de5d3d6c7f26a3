//! Tokens that are over before their time.

use super::VerifiedToken;
use crate::clock::Timestamp;
use crate::unavailable::Unavailable;

/// Knows which tokens were revoked. Never waits: what it knows is brought to it behind the scenes.
pub trait Revocations: Send + Sync {
    /// Whether a token was revoked, or what it belongs to has ended.
    ///
    /// # Errors
    /// [`Unavailable`] when that is not known, or was not for too long.
    fn is_revoked(&self, token: &VerifiedToken, now: Timestamp) -> Result<bool, Unavailable>;
}
