//! Tokens that say nothing by themselves: what somebody else must be asked before they can be judged.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::TokenKey;
use crate::clock::Timestamp;
use crate::dpop::VerifiedProof;
use crate::token::{Said, TokenLookup};
use crate::unavailable::Unavailable;

/// A token of which somebody must be asked what it says. Nothing is known about it but its form.
#[must_use]
pub struct Unresolved {
    /// Who knows.
    pub(super) lookup: Arc<dyn TokenLookup>,
    /// The token.
    pub(super) token: Zeroizing<String>,
    /// The proof with which it came, if it came with one.
    pub(super) proven: Option<Box<Proven>>,
    /// What it is remembered by.
    pub(super) key: TokenKey,
}

impl Unresolved {
    /// Asks, and takes the answer along, to decide about the same request again.
    ///
    /// # Errors
    /// [`Unavailable`] when nobody could be asked.
    pub async fn resolve(self, now: Timestamp) -> Result<Resolved, Unavailable> {
        let prover = self.proven.as_ref().map(|proven| proven.proof.key());
        let answer = self.lookup.look_up(&self.token, prover, now).await?;
        Ok(Resolved { key: self.key, answer, proven: self.proven })
    }
}

impl fmt::Debug for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unresolved(..)")
    }
}

/// What was answered about the token of a request.
#[must_use]
pub struct Resolved {
    /// What the token is remembered by: the answer counts for no other.
    pub(super) key: TokenKey,
    /// What it says, if there is such a token.
    pub(super) answer: Option<Said>,
    /// The proof with which it came.
    pub(super) proven: Option<Box<Proven>>,
}

/// A proof that was verified before anybody was asked: it need not be verified again for the same request.
pub(super) struct Proven {
    /// What it was verified for, and its text: it counts for nothing else.
    pub(super) of: [u8; 32],
    /// The proof.
    pub(super) proof: VerifiedProof,
}
