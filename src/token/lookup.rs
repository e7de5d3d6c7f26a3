//! Tokens that say nothing by themselves: somebody else knows what they stand for.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::jose::Members;
use crate::unavailable::Unavailable;

/// Knows what the opaque tokens of an issuer stand for.
#[async_trait]
pub trait TokenLookup: Send + Sync {
    /// What a JWT in the place of this token would say; `None` if there is no such token, or not any more.
    ///
    /// # Errors
    /// [`Unavailable`] when nobody could be asked. It never guesses.
    async fn look_up(&self, token: &str, now: Timestamp) -> Result<Option<Members>, Unavailable>;
}
