//! Caches of the gate, in moka: verified tokens, and the keys of proofs.
//!
//! Invariant: a cache costs time when it forgets and never correctness. Single use lives in a
//! [`ReplayGuard`](crate::replay::ReplayGuard), and decisions are not cached at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::authz::{TokenCache, TokenKey};
use crate::clock::Clock;
use crate::dpop::{ProofFault, ProofKey, ProofKeys, parse_key};
use crate::token::VerifiedToken;

/// How many verified tokens are kept by default; a token with common claims takes about 2 KiB.
pub const DEFAULT_TOKENS: u64 = 50_000;

/// How many keys of proofs are kept by default; one takes about 1 KiB.
pub const DEFAULT_PROOF_KEYS: u64 = 50_000;

/// How long a key is kept that no proof comes with.
const PROOF_KEY_IDLE: Duration = Duration::from_mins(10);

/// The longest encoded header that is remembered, in bytes: room for an RSA key of 4096 bits. Anybody can send long ones.
const HEADER_LIMIT: usize = 1_024;

/// Verified tokens by the digest of their text, until they expire.
pub struct Tokens {
    /// By digest.
    tokens: Cache<TokenKey, Arc<VerifiedToken>>,
}

impl Tokens {
    /// A cache of at most `entries` tokens; `clock` tells how long each has to live.
    #[must_use]
    pub fn new(entries: u64, clock: Arc<dyn Clock>) -> Self {
        Self { tokens: Cache::builder().max_capacity(entries).expire_after(UntilExpired { clock }).build() }
    }

    /// Forgets every token, as when a signing key is withdrawn.
    pub fn forget_all(&self) {
        self.tokens.invalidate_all();
    }
}

impl TokenCache for Tokens {
    fn find(&self, key: &TokenKey) -> Option<Arc<VerifiedToken>> {
        self.tokens.get(key)
    }

    fn keep(&self, key: TokenKey, token: Arc<VerifiedToken>) {
        self.tokens.insert(key, token);
    }
}

/// Drops a token at its `exp`; a rule judges the moment exactly, this only frees the memory.
struct UntilExpired {
    /// Tells how far off an `exp` is.
    clock: Arc<dyn Clock>,
}

impl Expiry<TokenKey, Arc<VerifiedToken>> for UntilExpired {
    fn expire_after_create(&self, _: &TokenKey, token: &Arc<VerifiedToken>, _: Instant) -> Option<Duration> {
        Some(token.expires().since(self.clock.now()))
    }
}

/// Keys of proofs by the encoded header in which they came.
pub struct KnownProofKeys {
    /// By encoded header.
    keys: Cache<Box<str>, Arc<ProofKey>>,
}

impl KnownProofKeys {
    /// A cache of at most `entries` keys.
    #[must_use]
    pub fn new(entries: u64) -> Self {
        Self { keys: Cache::builder().max_capacity(entries).time_to_idle(PROOF_KEY_IDLE).build() }
    }
}

impl ProofKeys for KnownProofKeys {
    fn key(&self, encoded_header: &str) -> Result<Arc<ProofKey>, ProofFault> {
        if let Some(key) = self.keys.get(encoded_header) {
            return Ok(key);
        }
        let key = Arc::new(parse_key(encoded_header)?);
        if encoded_header.len() <= HEADER_LIMIT {
            self.keys.insert(encoded_header.into(), Arc::clone(&key));
        }
        Ok(key)
    }
}
