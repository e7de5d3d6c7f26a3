//! Which configuration is in force, and what became of the last one that was to be.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;

use crate::clock::Timestamp;

/// How many digits of a digest people are shown: enough to tell configurations apart.
const DIGITS: usize = 16;

/// Which configuration is in force, and what became of the last one that was to be.
#[derive(Debug)]
pub struct Standing {
    facts: Mutex<Facts>,
    applied: Counter,
    refused: Counter,
}

/// What is known about configurations.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The first digits of the SHA-256 of the one in force.
    pub digest: String,
    /// Since when it is.
    pub since: Timestamp,
    /// When another one was to be in force and is not, and why; over when one is.
    pub refused: Option<(Timestamp, String)>,
}

impl Standing {
    /// The first one, in force since the start; what becomes of others is counted.
    pub(super) fn new(digest: [u8; 32], start: Timestamp, (applied, refused): (Counter, Counter)) -> Self {
        let facts = Facts { digest: shown(digest), since: start, refused: None };
        Self { facts: Mutex::new(facts), applied, refused }
    }

    /// Another one is in force now.
    pub fn reloaded(&self, digest: [u8; 32], now: Timestamp) {
        self.applied.inc();
        *self.held() = Facts { digest: shown(digest), since: now, refused: None };
    }

    /// Another one was to be in force and is not.
    pub fn refused(&self, why: String, now: Timestamp) {
        self.refused.inc();
        self.held().refused = Some((now, why));
    }

    /// What is known now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.held().clone()
    }

    /// How many have come into force after the first.
    #[must_use]
    pub fn reloads(&self) -> u64 {
        self.applied.get()
    }

    /// No change is left half-made, so a poisoned lock is as good as a whole one.
    fn held(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(digest: [u8; 32]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().take(DIGITS).collect()
}
