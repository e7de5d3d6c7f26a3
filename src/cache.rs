//! Caches, in moka: verified tokens and the keys of proofs, at the gate; the documents and the key sets
//! that clients publish.
//!
//! Invariant: a cache costs time when it forgets and never correctness. Single use lives in a
//! [`ReplayGuard`](crate::replay::ReplayGuard), and decisions are not cached at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

mod client_documents;
mod client_keys;

pub use client_documents::{KnownClientDocuments, NoClientDocuments};
pub use client_keys::{ClientKeySets, NoKeySets};

use crate::authz::{TokenCache, TokenKey};
use crate::clock::Clock;
use crate::dpop::{ProofFault, ProofKey, ProofKeys, parse_key};
use crate::telemetry::CacheMetrics;
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
    verified: Cache<TokenKey, Kept>,
    /// How often everything was forgotten.
    generation: AtomicU64,
    /// How often they were found.
    metrics: CacheMetrics,
}

/// A token, and the generation in which its verification began.
#[derive(Clone)]
struct Kept(Arc<VerifiedToken>, u64);

impl Tokens {
    /// A cache of at most `entries` tokens; `clock` tells how long each has to live.
    #[must_use]
    pub fn new(entries: u64, clock: Arc<dyn Clock>) -> Self {
        let verified = Cache::builder().max_capacity(entries).expire_after(UntilExpired { clock }).build();
        Self { verified, generation: AtomicU64::new(0), metrics: CacheMetrics::default() }
    }

    /// The same cache, whose look-ups are counted.
    #[must_use]
    pub fn counted_by(self, metrics: CacheMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Forgets every token, as when a signing key is withdrawn; also those that are being verified at this moment.
    pub fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.verified.invalidate_all();
    }
}

impl TokenCache for Tokens {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn find(&self, key: &TokenKey) -> Option<Arc<VerifiedToken>> {
        let kept = self.verified.get(key).filter(|Kept(_, generation)| *generation == self.generation());
        let counter = if kept.is_some() { &self.metrics.hits } else { &self.metrics.misses };
        counter.inc();
        kept.map(|Kept(token, _)| token)
    }

    fn keep(&self, key: TokenKey, token: Arc<VerifiedToken>, generation: u64) {
        self.verified.insert(key, Kept(token, generation));
    }
}

/// Drops a token when it counts no longer; a rule judges the moment exactly, this only frees the memory.
struct UntilExpired {
    /// Tells how far off an `exp` is.
    clock: Arc<dyn Clock>,
}

impl Expiry<TokenKey, Kept> for UntilExpired {
    fn expire_after_create(&self, _: &TokenKey, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.0.counts_until().since(self.clock.now()))
    }

    fn expire_after_update(&self, key: &TokenKey, kept: &Kept, at: Instant, _: Option<Duration>) -> Option<Duration> {
        self.expire_after_create(key, kept, at) // it was asked about again
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::jose::{Algorithm, PublicKey, SigningKey};
    use crate::token::{KeyLookup, KeysFault, Renew, TokenExpectation, TokenProfile, verify};

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_760_000_000_000)
        }
    }

    struct Key(PublicKey);

    impl Renew for Key {}

    impl KeyLookup for Key {
        fn keys(&self, _: Option<&str>, _: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
            Ok(vec![self.0.clone()])
        }
    }

    #[test]
    fn what_was_verified_before_everything_was_forgotten_is_not_found_afterwards() {
        let key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let now = Noon.now();
        let claims = serde_json::json!({
            "iss": "https://auth.example", "sub": "ada", "aud": "https://api.example", "client_id": "tv", "jti": "1",
            "iat": now.seconds(), "exp": now.seconds() + 300,
        });
        let audience = "https://api.example".parse().expect("a name");
        let profile = TokenProfile::rfc9068(vec![Algorithm::Es256], Duration::ZERO);
        let audiences = std::slice::from_ref(&audience);
        let expected = TokenExpectation { issuer: "https://auth.example", audiences, profile: &profile };
        let tokens = Tokens::new(10, Arc::new(Noon));
        let lookup = Key(key.public().clone());
        let verified = || {
            let token = verify(&key.sign("at+jwt", &claims), &expected, &lookup, now);
            Arc::new(token.unwrap_or_else(|_| panic!("the token is good")))
        };

        let generation = tokens.generation();
        tokens.keep([1; 32], verified(), generation);
        assert!(tokens.find(&[1; 32]).is_some());
        let token = verified();
        tokens.forget_all();
        tokens.keep([2; 32], token, generation);
        assert!(tokens.find(&[1; 32]).is_none());
        assert!(tokens.find(&[2; 32]).is_none(), "it was kept a moment too late");
        tokens.keep([2; 32], verified(), tokens.generation());
        assert!(tokens.find(&[2; 32]).is_some());
    }
}
