//! The keys of clients that publish them (`jwks_uri`, RFC 7591 §2), and what they have signed.
//!
//! A client changes its keys by publishing another one under another `kid` (OpenID Connect Core §10.1.1), so a signature by
//! a key that is not at hand is a reason to look again, once and not often. What cannot be looked up is an outage, never a
//! wrong signature.
//!
//! Invariant: nothing is fetched for what could be refused without the keys.

use std::sync::Arc;

use async_trait::async_trait;

use super::client::{ClientKeys, KeysAt};
use super::{AuthorizationServer, Error, Refusal};
use crate::clock::Timestamp;
use crate::jose::PublicKey;
use crate::unavailable::Unavailable;

/// Knows the keys that clients publish.
#[async_trait]
pub trait PublishedKeys: Send + Sync {
    /// The keys of a client, which may be some minutes old.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody knows them.
    async fn keys(&self, at: &KeysAt, now: Timestamp) -> Result<Arc<Vec<PublicKey>>, Unavailable>;

    /// The keys of a client after those at hand were found to lack one: newer ones, if it was not asked just now.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody can tell which keys there are now.
    async fn newer_keys(&self, at: &KeysAt, now: Timestamp) -> Result<Arc<Vec<PublicKey>>, Unavailable>;
}

impl AuthorizationServer {
    /// Has `verify` try the keys of a client on something signed by the key `kid`, if it names one; those that are published,
    /// again after a change.
    ///
    /// # Errors
    /// The refusal of `verify`, or `Unavailable` if it cannot be known whether it is right.
    pub(super) async fn verify_with(
        &self,
        keys: &ClientKeys,
        kid: Option<&str>,
        now: Timestamp,
        verify: impl Fn(&[PublicKey]) -> Result<(), Refusal> + Send,
    ) -> Result<(), Error> {
        let at = match keys {
            ClientKeys::Registered(keys) => return Ok(verify(keys)?),
            ClientKeys::Published(at) => at,
        };
        let keys = self.published_keys.keys(at, now).await?;
        let is_at_hand = kid.is_some() && keys.iter().any(|key| key.kid() == kid);
        match verify(&keys) {
            Err(_) if !is_at_hand => Ok(verify(&self.published_keys.newer_keys(at, now).await?)?),
            verified => Ok(verified?),
        }
    }
}
