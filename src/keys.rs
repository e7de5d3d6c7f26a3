//! The keys that sign access tokens, and their life: announced, signing, retired, dropped.
//!
//! A key is published before it signs, so that every cache downstream knows it by then, and stays published until the
//! last token that it signed has expired. Its state follows from timestamps in its record: every replica computes the
//! same one, and nothing has to happen on time but that the next key is announced.
//!
//! Beside each key there is a secret, with the same life: nonces, forms and cookies are made under the one whose key signs,
//! and count while that key is published. So does the key that is derived from it, with which a gate beside us signs what it
//! tells upstreams.
//!
//! Invariant: private keys rest sealed under the key-encryption key. If that is the wrong one, nothing starts; it never
//! creates a second identity.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{Mutex, Notify};
use zeroize::Zeroizing;

use crate::audit;
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::jose::{Algorithm, Json, PublicKey, SigningKey};
use crate::secret::rotation::{Rotating, RotatingSecret};
use crate::secret::seal::{KeyRing, RootKey};
use crate::store::{KeyRecord, Store, Unavailable};
use crate::token::{KeyLookup, KeysFault, Renew};

mod import;
mod rewrap;
mod root;
mod schedule;
mod secrets;

pub use import::{ImportFault, importable};
pub use rewrap::Rewrapped;
pub use schedule::{KeySchedule, KeyState};
use schedule::{Succeeded, Succession};
pub use secrets::{SecretStanding, SecretState};

/// How often another replica may be faster in adding a key before we give up.
const ATTEMPTS: u32 = 3;

/// How often the store is asked at most because a token names a key that is not known.
const RENEWAL_COOL_DOWN: Duration = Duration::from_secs(1);

/// What the keys are derived for that private keys are sealed under.
const SIGNING_KEYS: &str = "signing keys";

/// Why the signing keys or the root key cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeysError {
    /// The store does not answer.
    #[error("the store of the signing keys does not answer")]
    Unavailable(#[from] Unavailable),
    /// What is in the store was sealed under another key-encryption key.
    #[error(
        "{0} in the store was encrypted under another key than the one in `encryption_key_file`; put that key back, or \
         name its file in `decryption_key_files`"
    )]
    WrongEncryptionKey(String),
    /// A key opened, but is not what its record says.
    #[error("the signing key `{0}` in the store is damaged")]
    Damaged(String),
    /// The cryptographic library cannot make or write a key.
    #[error("a signing key could not be made")]
    NotMade,
}

/// The signing keys of this installation: held in memory, kept in the store.
pub struct SigningKeys {
    store: Arc<dyn Store>,
    /// What everything is sealed under.
    kek: KeyRing,
    /// What private keys are sealed under: derived from that.
    sealing: KeyRing,
    /// What the secrets beside them are sealed under: derived from that, too.
    sealing_secrets: KeyRing,
    root: RootKey,
    secrets: RotatingSecret,
    upstream: Rotating<Arc<SigningKey>>,
    /// Where new secrets come from.
    entropy: Arc<dyn Entropy>,
    schedule: KeySchedule,
    ring: RwLock<Arc<[Held]>>,
    /// Held by whoever takes over what the store holds, so that the later reading is the one that stays.
    rereading: Mutex<()>,
    /// When the keys were read last, in milliseconds.
    read_at: AtomicI64,
    /// When somebody last wanted to read them.
    tried_at: AtomicI64,
    /// Told when the ring is another one than before.
    changed: Notify,
}

/// What became of a key that was to be withdrawn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Withdrawal {
    /// It has left the set; so it is recorded now.
    Withdrawn(KeyRecord),
    /// There is no such key in the set.
    Unknown,
    /// No other key signs now.
    OnlySigner,
}

/// A key with its record and its secret.
#[derive(Clone)]
struct Held {
    record: KeyRecord,
    key: Arc<SigningKey>,
    secret: RootKey,
}

impl SigningKeys {
    /// Reads the keys from the store. Creates the root key and the first signing key, which signs at once, and announces one of
    /// the algorithm of `schedule` if the newest is of another.
    ///
    /// # Errors
    /// [`KeysError`]; [`KeysError::WrongEncryptionKey`] if one was sealed under a key that is not in `kek`.
    pub async fn open(
        store: Arc<dyn Store>,
        kek: KeyRing,
        schedule: KeySchedule,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self, KeysError> {
        let root = root::read(&*store, &kek, &*entropy).await?;
        let upstream = Arc::new(secrets::upstream_key(&root)?);
        let keys = Self {
            store,
            sealing: kek.derive(SIGNING_KEYS),
            sealing_secrets: kek.derive(secrets::SECRETS),
            kek,
            secrets: RotatingSecret::from(root.clone()), // until the keys are read
            upstream: upstream.into(),                   // likewise
            root,
            entropy,
            schedule,
            ring: RwLock::new(Arc::new([])),
            rereading: Mutex::new(()),
            read_at: AtomicI64::new(now.millis()),
            tried_at: AtomicI64::new(now.millis()),
            changed: Notify::new(),
        };
        keys.maintain(now).await?;
        let newest = keys.ring().last().map(|held| held.record.algorithm);
        if newest.is_some_and(|algorithm| algorithm != schedule.algorithm) {
            keys.rotate(now).await?;
        }
        Ok(keys)
    }

    /// The key that signs.
    ///
    /// # Errors
    /// [`Unavailable::Down`] if none does: the last one has retired, and [`maintain`](Self::maintain) could not add one.
    pub fn signer(&self, now: Timestamp) -> Result<Arc<SigningKey>, Unavailable> {
        let ring = self.ring();
        let signing = ring.iter().rev().find(|held| held.record.state(now) == KeyState::Signing);
        signing.map(|held| Arc::clone(&held.key)).ok_or(Unavailable::Down)
    }

    /// The root key of this installation, from which everything is derived that must stay the same: what clients know people
    /// and sessions as, and the hashes of user codes.
    #[must_use]
    pub fn root(&self) -> &RootKey {
        &self.root
    }

    /// The secrets of this installation, from which keys for nonces, forms and cookies are derived. They take turns as the
    /// signing keys do.
    #[must_use]
    pub fn secrets(&self) -> &RotatingSecret {
        &self.secrets
    }

    /// What a gate beside us signs its tokens for upstreams with, at every replica the same: keys that take turns as the secrets
    /// do from which they are derived, each known before it signs.
    #[must_use]
    pub fn upstream(&self) -> &Rotating<Arc<SigningKey>> {
        &self.upstream
    }

    /// What new keys sign with.
    #[must_use]
    pub fn signs_with(&self) -> Algorithm {
        self.schedule.algorithm
    }

    /// The JWK Set that is published (RFC 7517 §5): announced, signing and retired keys.
    #[must_use]
    pub fn published(&self, now: Timestamp) -> Json {
        let keys: Vec<_> =
            self.ring().iter().filter(|held| held.is_published(now)).map(|held| held.key.published_jwk()).collect();
        json!({ "keys": keys })
    }

    /// How long the published set may be kept: five minutes at most, and no longer than half of the time for which a key
    /// is announced, so that nobody who obeys meets a signature by a key that he has not seen.
    #[must_use]
    pub fn keep_for(&self) -> Duration {
        (self.schedule.announce / 2).min(Duration::from_mins(5))
    }

    /// What tokens may be signed with: the algorithms of all keys, newest first.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for held in self.ring().iter().rev() {
            if !algorithms.contains(&held.record.algorithm) {
                algorithms.push(held.record.algorithm);
            }
        }
        algorithms
    }

    /// The records of all keys, by generation; for reports.
    #[must_use]
    pub fn records(&self) -> Vec<KeyRecord> {
        self.ring().iter().map(|held| held.record.clone()).collect()
    }

    /// Where the secrets stand under which nonces, forms and cookies are made, the first ones first; for reports.
    #[must_use]
    pub fn secrets_standing(&self, now: Timestamp) -> Vec<SecretStanding> {
        SecretStanding::of(&self.records(), now)
    }

    /// Reads the keys again, so that what another replica or `tollgate keys rotate` added is known here, and announces
    /// the next one when it is time. To be called every [`KeySchedule::interval`].
    ///
    /// # Errors
    /// [`KeysError`]; the keys stay as they were known.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), KeysError> {
        let records = {
            let _turn = self.rereading.lock().await;
            self.refresh(now).await?
        };
        if self.schedule.succeed(&records, Succession::Due, now).is_some() {
            self.add(Succession::Due, now).await?;
        }
        Ok(())
    }

    /// Whether the keys were read lately enough for every key that signs anywhere to be among them: half of the time for which
    /// one is announced.
    #[must_use]
    pub fn are_fresh(&self, now: Timestamp) -> bool {
        now <= Timestamp::from_millis(self.read_at.load(Ordering::Relaxed)) + self.schedule.announce / 2
    }

    /// Announces a new key now. It signs once it was announced for [`KeySchedule::announce`], and the others do so no
    /// longer.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn rotate(&self, now: Timestamp) -> Result<KeyRecord, KeysError> {
        self.add(Succession::Asked, now).await
    }

    /// For emergencies: a new key signs now, and the others leave the set now. Every token that they signed dies, at each
    /// gate as soon as it has read the set again.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn rotate_now(&self, now: Timestamp) -> Result<KeyRecord, KeysError> {
        self.add(Succession::Emergency, now).await
    }

    /// Withdraws one key: it leaves the set now, and every token that it signed dies, at each gate as soon as it has read the
    /// set again.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn withdraw(&self, kid: &str, now: Timestamp) -> Result<Withdrawal, KeysError> {
        for _ in 0..ATTEMPTS {
            let records = self.reread().await?;
            let Some(key) = records.iter().find(|key| key.kid == kid && key.state(now) != KeyState::Dropped) else {
                return Ok(Withdrawal::Unknown);
            };
            let signs = |other: &&KeyRecord| other.kid != kid && other.state(now) == KeyState::Signing;
            if key.state(now) == KeyState::Signing && !records.iter().any(|other| signs(&other)) {
                return Ok(Withdrawal::OnlySigner);
            }
            let next = key.withdrawn(now);
            if self.store.reschedule_signing_key(key, &next).await? {
                self.maintain(now).await?; // the next one may have to be announced anew
                return Ok(Withdrawal::Withdrawn(next));
            }
        }
        Err(Unavailable::Down.into())
    }

    /// Waits until other keys are held, or the same with another schedule, than when this was last waited for.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Announces a key that was made elsewhere, as [`rotate`](Self::rotate) does one of ours; `None` if it is here already.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn import(&self, key: &SigningKey, now: Timestamp) -> Result<Option<KeyRecord>, KeysError> {
        if self.reread().await?.iter().any(|record| record.kid == key.kid()) {
            return Ok(None);
        }
        self.put(key, Succession::Asked, now).await.map(Some)
    }

    /// Makes a key and adds it to the store; gives the newest one, which in the case of [`Succession::Due`] another
    /// replica may have made.
    async fn add(&self, succession: Succession, now: Timestamp) -> Result<KeyRecord, KeysError> {
        let key = generate(self.schedule.algorithm).await?;
        self.put(&key, succession, now).await
    }

    async fn put(&self, key: &SigningKey, succession: Succession, now: Timestamp) -> Result<KeyRecord, KeysError> {
        let private = key.to_pkcs8().map_err(|_| KeysError::NotMade)?;
        let sealed = self.sealing.seal(key.kid().as_bytes(), &private);
        let secret = secrets::draw(key.kid(), &self.sealing_secrets, &*self.entropy);
        for _ in 0..ATTEMPTS {
            let records = self.reread().await?;
            let newest = records.last();
            let Some(Succeeded { sign_from, rescheduled }) = self.schedule.succeed(&records, succession, now) else {
                return newest.cloned().ok_or(KeysError::Unavailable(Unavailable::Down));
            };
            let generation = newest.map_or(0, |newest| newest.generation + 1);
            let record = self.schedule.record(generation, (key, sealed.clone(), secret.clone()), now, sign_from);
            if self.store.add_signing_key(&record, &rescheduled).await? {
                self.reread().await?;
                return Ok(record);
            }
        }
        Err(Unavailable::Down.into())
    }

    async fn reread(&self) -> Result<Vec<KeyRecord>, KeysError> {
        let _turn = self.rereading.lock().await;
        self.take_over().await
    }

    /// [`take_over`](Self::take_over), and notes when.
    async fn refresh(&self, now: Timestamp) -> Result<Vec<KeyRecord>, KeysError> {
        self.tried_at.store(now.millis(), Ordering::Relaxed);
        let records = self.take_over().await?;
        self.read_at.store(now.millis(), Ordering::Relaxed);
        Ok(records)
    }

    /// Takes over what the store holds, or nothing of it if a part of it cannot be used. To be called in one's turn.
    async fn take_over(&self) -> Result<Vec<KeyRecord>, KeysError> {
        let records = self.store.signing_keys().await?;
        let known = self.ring();
        let ring: Result<Arc<[Held]>, _> = records.iter().map(|record| self.hold(record, &known)).collect();
        let ring = ring?;
        for Held { record, .. } in
            ring.iter().filter(|held| !known.iter().any(|other| other.record.kid == held.record.kid))
        {
            tracing::info!(
                target: audit::TARGET,
                event = audit::KEY_LEARNED,
                kid = record.kid,
                alg = record.algorithm.name(),
                sign_from = record.sign_from.seconds(),
                retire_at = record.retire_at.seconds(),
                "the signing key `{}` is known", record.kid
            );
        }
        let same = ring.iter().map(|held| &held.record).eq(known.iter().map(|held| &held.record));
        if !same {
            self.upstream.replace(ring.iter().map(Held::upstream_term).collect::<Result<_, _>>()?);
            self.secrets.replace(ring.iter().map(Held::term).collect());
        }
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        if !same {
            self.changed.notify_one();
        }
        Ok(records)
    }

    /// A record with its key: one that is known already, else unsealed.
    fn hold(&self, record: &KeyRecord, known: &[Held]) -> Result<Held, KeysError> {
        if let Some(held) = known.iter().find(|held| held.record.kid == record.kid) {
            let (key, secret) = (Arc::clone(&held.key), held.secret.clone());
            return Ok(Held { record: record.clone(), key, secret });
        }
        let private = self.sealing.open(record.kid.as_bytes(), &record.sealed);
        let private =
            private.map_err(|_| KeysError::WrongEncryptionKey(format!("the signing key `{}`", record.kid)))?;
        let key = SigningKey::from_pkcs8(record.algorithm, &Zeroizing::new(private)).ok();
        let key = key.filter(|key| key.kid() == record.kid).ok_or_else(|| KeysError::Damaged(record.kid.clone()))?;
        let secret = secrets::open(record, &self.sealing_secrets, &self.root)?;
        Ok(Held { record: record.clone(), key: Arc::new(key), secret })
    }

    fn ring(&self) -> Arc<[Held]> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn is_published(&self, now: Timestamp) -> bool {
        now >= self.record.published_at && self.record.state(now) != KeyState::Dropped
    }
}

impl SigningKeys {
    fn may_be_renewed(&self, now: Timestamp) -> bool {
        now >= Timestamp::from_millis(self.tried_at.load(Ordering::Relaxed)) + RENEWAL_COOL_DOWN
    }

    fn is_failing(&self) -> bool {
        self.tried_at.load(Ordering::Relaxed) > self.read_at.load(Ordering::Relaxed)
    }
}

/// Another replica may have made a key that signs at once.
#[async_trait]
impl Renew for SigningKeys {
    async fn renew(&self, now: Timestamp) {
        let _turn = self.rereading.lock().await;
        if !self.may_be_renewed(now) {
            return; // whoever had the turn before has done it
        }
        if let Err(error) = self.refresh(now).await {
            tracing::error!(%error, "the signing keys could not be read again; they stay as they were");
        }
    }
}

/// Our own gate asks here, without a detour over HTTP.
impl KeyLookup for SigningKeys {
    fn keys(&self, kid: Option<&str>, now: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
        let ring = self.ring();
        let published = ring.iter().filter(|held| held.is_published(now));
        let named = published.filter(|held| kid.is_none_or(|kid| held.record.kid == kid));
        let named: Vec<_> = named.map(|held| held.key.public().clone()).collect();
        match () {
            () if !named.is_empty() => Ok(named),
            () if self.may_be_renewed(now) => Err(KeysFault::Outdated),
            // It may be one of those that could not be read.
            () if self.is_failing() => Err(Unavailable::Down.into()),
            () => Ok(named),
        }
    }
}

/// Makes a key off the threads that serve requests: an RSA key takes a good part of a second.
async fn generate(algorithm: Algorithm) -> Result<SigningKey, KeysError> {
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await;
    made.ok().and_then(Result::ok).ok_or(KeysError::NotMade)
}
