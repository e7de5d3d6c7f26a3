//! Secrets that take turns: what nonces, forms and cookies are made under, and what tokens for upstreams are signed with.
//!
//! One makes what is new. It and the others open what was made before, or is made by a replica whose clock is ahead, until
//! their time is over. Who reads sees the secrets of one moment, as a whole, and waits for nobody.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::seal::{RootKey, Unsealable};
use crate::clock::Timestamp;
use crate::current::Current;

/// One secret, or a key that is derived from it, and its time.
#[derive(Clone, Debug)]
pub struct Term<K = RootKey> {
    /// The secret.
    pub key: K,
    /// From when on it makes what is new, until a later one does.
    pub from: Timestamp,
    /// Until when what it has made counts.
    pub until: Timestamp,
}

impl<K> Term<K> {
    /// A secret without an end. Of several, the last one makes what is new.
    #[must_use]
    pub fn always(key: K) -> Self {
        Self { key, from: Timestamp::default(), until: Timestamp::MAX }
    }
}

/// The secrets of an installation, earlier ones first. Its clones are one and the same.
#[derive(Clone)]
pub struct RotatingSecret(Arc<Mutex<Terms>>);

struct Terms {
    now: Arc<[Term]>,
    /// What was derived, and for what: derived anew when the secrets are others.
    derived: Vec<(String, Weak<Current<[Term]>>)>,
}

/// Keys that take turns, for one use. Its clones are one and the same.
#[derive(Clone)]
pub struct Rotating<K>(Arc<Current<[Term<K>]>>);

/// What is derived from a [`RotatingSecret`] for one use.
pub type RotatingKey = Rotating<RootKey>;

/// The keys of one moment, for one use.
pub struct KeysNow<K = RootKey> {
    terms: Arc<[Term<K>]>,
    now: Timestamp,
}

impl RotatingSecret {
    /// Puts other secrets in force, wherever keys were derived from these. None at all change nothing.
    pub fn replace(&self, next: Vec<Term>) {
        if next.is_empty() {
            return;
        }
        let mut terms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        terms.now = next.into();
        let now = Arc::clone(&terms.now);
        terms.derived.retain(|(purpose, key)| {
            let used = key.upgrade();
            used.inspect(|key| key.replace(derived(&now, purpose))).is_some()
        });
    }

    /// The key for one use, as [`RootKey::derive`] gives it.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> RotatingKey {
        let mut terms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Arc::new(Current::new(derived(&terms.now, purpose)));
        terms.derived.retain(|(_, key)| key.strong_count() > 0);
        terms.derived.push((purpose.to_owned(), Arc::downgrade(&key)));
        Rotating(key)
    }
}

/// One that is always in force.
impl From<RootKey> for RotatingSecret {
    fn from(key: RootKey) -> Self {
        Self(Arc::new(Mutex::new(Terms { now: [Term::always(key)].into(), derived: Vec::new() })))
    }
}

fn derived(terms: &[Term], purpose: &str) -> Arc<[Term]> {
    terms.iter().map(|term| Term { key: term.key.derive(purpose), ..*term }).collect()
}

impl<K> Rotating<K> {
    /// The keys at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> KeysNow<K> {
        KeysNow { terms: self.0.get(), now }
    }

    /// Puts other keys in force, earlier ones first. None at all change nothing.
    pub fn replace(&self, next: Vec<Term<K>>) {
        if !next.is_empty() {
            self.0.replace(next.into());
        }
    }
}

/// One that is always in force.
impl<K> From<K> for Rotating<K> {
    fn from(key: K) -> Self {
        Self(Arc::new(Current::new([Term::always(key)].into())))
    }
}

impl<K> KeysNow<K> {
    /// Every key that counts, the one that makes what is new first.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        let begun = self.terms.iter().rev().filter(|term| term.from <= self.now);
        let others = self.terms.iter().filter(|term| self.now < term.from);
        begun.chain(others).filter(|term| self.now < term.until).map(|term| &term.key)
    }

    /// The key that makes what is new. If the time of every one is over, what it makes counts nowhere.
    #[must_use]
    pub fn newest(&self) -> &K {
        self.iter().next().unwrap_or_else(|| &self.terms.last().expect("there is always a secret").key)
    }
}

impl KeysNow {
    /// Encrypts as [`RootKey::seal`] does, under the newest key.
    #[must_use]
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.newest().seal(context, plaintext)
    }

    /// Decrypts what [`RootKey::seal`] made under any of the keys.
    ///
    /// # Errors
    /// [`Unsealable`] when it was made under none of them, or changed since.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        self.iter().find_map(|key| key.open(context, sealed).ok()).ok_or(Unsealable)
    }
}

impl fmt::Debug for RotatingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotatingSecret(..)")
    }
}

impl<K> fmt::Debug for Rotating<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotating(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// The first secret has been in force since 0, the second is from 10 on, and the first counts until 20.
    fn two() -> Vec<Term> {
        let term = |byte, from, until| Term { key: RootKey::from_bytes([byte; 32]), from: at(from), until: at(until) };
        vec![term(1, 0, 20), term(2, 10, 40)]
    }

    fn forms(byte: u8) -> RootKey {
        RootKey::from_bytes([byte; 32]).derive("forms")
    }

    #[test]
    fn the_next_one_opens_before_it_seals_and_the_last_one_after_it_did() {
        let secret = RotatingSecret::from(RootKey::from_bytes([9; 32]));
        let key = secret.derive("forms");
        secret.replace(two());
        for (now, seals, opens) in [(5, 1, [true, true]), (10, 2, [true, true]), (20, 2, [false, true])] {
            let keys = key.at(at(now));
            assert_eq!(keys.newest(), &forms(seals), "at {now}");
            let opened = [1, 2].map(|byte| keys.open(b"", &forms(byte).seal(b"", b"text")).is_ok());
            assert_eq!(opened, opens, "at {now}");
            assert!(forms(seals).open(b"", &keys.seal(b"", b"text")).is_ok(), "at {now}");
        }
    }

    #[test]
    fn what_the_last_one_makes_after_its_time_counts_nowhere() {
        let secret = RotatingSecret::from(RootKey::from_bytes([9; 32]));
        secret.replace(two());
        let keys = secret.derive("forms").at(at(40));
        assert_eq!(keys.open(b"", &keys.seal(b"", b"text")), Err(Unsealable));
    }

    #[test]
    fn whoever_has_derived_a_key_follows() {
        let secret = RotatingSecret::from(RootKey::from_bytes([9; 32]));
        let [before, gone] = [secret.derive("forms"), secret.derive("nonces")];
        drop(gone);
        let sealed = before.at(at(5)).seal(b"", b"text");
        secret.replace(two());
        assert_eq!(before.at(at(5)).open(b"", &sealed), Err(Unsealable));
        assert_eq!(before.at(at(5)).newest(), secret.derive("forms").at(at(5)).newest());
        secret.replace(Vec::new());
        assert_eq!(before.at(at(5)).newest(), &forms(1));
    }
}
