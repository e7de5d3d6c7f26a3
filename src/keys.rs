//! Signing keys and their life.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::jose::{PublicKey, SigningKey};
use crate::store::Unavailable;
use crate::token::KeyLookup;

/// The keys that sign access tokens.
pub struct SigningKeys {
    key: Arc<SigningKey>,
}

impl SigningKeys {
    /// A single key.
    #[must_use]
    pub fn single(key: SigningKey) -> Self {
        Self { key: Arc::new(key) }
    }

    /// The key that signs at `now`.
    ///
    /// # Errors
    /// [`Unavailable`] when none does.
    pub fn signer(&self, now: Timestamp) -> Result<Arc<SigningKey>, Unavailable> {
        let _ = now;
        Ok(Arc::clone(&self.key))
    }

    /// The key set at `now` (RFC 7517 §5).
    #[must_use]
    pub fn published(&self, now: Timestamp) -> Value {
        let _ = now;
        json!({ "keys": [self.key.published_jwk()] })
    }
}

impl KeyLookup for SigningKeys {
    fn keys(&self, kid: Option<&str>, _: Timestamp) -> Result<Vec<PublicKey>, Unavailable> {
        let known = kid.is_none_or(|kid| kid == self.key.kid());
        Ok(known.then(|| self.key.public().clone()).into_iter().collect())
    }
}
