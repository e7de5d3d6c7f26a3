//! Tokens that say nothing by themselves: somebody else knows what they stand for.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::jose::{Members, Thumbprint};
use crate::unavailable::Unavailable;

/// What a token stands for, as somebody says who knows it.
#[derive(Clone, Debug)]
pub struct Said {
    /// What a JWT in its place would say.
    pub claims: Members,
    /// Until when that counts, if not for as long as the token lives.
    pub until: Option<Timestamp>,
}

/// Knows what the opaque tokens of an issuer stand for.
#[async_trait]
pub trait TokenLookup: Send + Sync {
    /// What this token stands for; `None` if there is no such token, or not any more. `prover` is the key whose holder has
    /// shown the token with a proof, if there was one: nothing else is known about who wants to know.
    ///
    /// # Errors
    /// [`Unavailable`] when nobody could be asked. It never guesses.
    async fn look_up(
        &self,
        token: &str,
        prover: Option<Thumbprint>,
        now: Timestamp,
    ) -> Result<Option<Said>, Unavailable>;

    /// Whether there is nobody to ask at this moment.
    fn is_paused(&self, _: Timestamp) -> bool {
        false
    }
}
