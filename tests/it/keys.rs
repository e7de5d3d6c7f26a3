//! The life of signing keys, over both stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Barrier;
use tollgate::clock::Timestamp;
use tollgate::entropy::SystemEntropy;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::keys::{KeySchedule, KeyState, KeysError, Rewrapped, SigningKeys};
use tollgate::secret::seal::{KeyRing, RootKey};
use tollgate::store::{KeyRecord, Limits, MemoryStore, SqliteStore, Store, Unavailable};
use tollgate::token::{KeyLookup as _, KeysFault, Renew as _};

use crate::tap::{Tap, TappedStore};

const HOUR: Duration = Duration::from_hours(1);

const SCHEDULE: KeySchedule = KeySchedule {
    algorithm: Algorithm::Es256,
    announce: Duration::from_hours(14),
    sign: Duration::from_hours(90),
    retain: Duration::from_hours(14),
};

fn hour(hour: u32) -> Timestamp {
    Timestamp::from_seconds(1_760_000_000) + HOUR * hour
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Limits::default()))
}

fn kek() -> KeyRing {
    RootKey::from_bytes([1; 32]).into()
}

async fn open(store: &Arc<dyn Store>, now: Timestamp) -> SigningKeys {
    SigningKeys::open(Arc::clone(store), kek(), SCHEDULE, Arc::new(SystemEntropy), now).await.expect("keys")
}

fn signer(keys: &SigningKeys, now: Timestamp) -> String {
    keys.signer(now).expect("a key signs").kid().to_owned()
}

/// The `kid` of each published key.
fn published(keys: &SigningKeys, now: Timestamp) -> Vec<String> {
    let set = keys.published(now);
    let kid = |key: &Value| key["kid"].as_str().expect("a kid").to_owned();
    set["keys"].as_array().expect("a list").iter().map(kid).collect()
}

fn states(keys: &SigningKeys, now: Timestamp) -> Vec<KeyState> {
    keys.records().iter().map(|record: &KeyRecord| record.state(now)).collect()
}

#[tokio::test]
async fn the_first_key_signs_at_once_and_outlives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let sqlite = || SqliteStore::open(&directory.path().join("tollgate.db"), Limits::default()).expect("a store");
    let store: Arc<dyn Store> = Arc::new(sqlite());
    let keys = open(&store, hour(0)).await;
    let first = signer(&keys, hour(0));
    assert_eq!(published(&keys, hour(0)), [first.as_str()]);
    drop((keys, store));

    let store: Arc<dyn Store> = Arc::new(sqlite());
    let keys = open(&store, hour(1)).await;
    assert_eq!(signer(&keys, hour(1)), first);
    assert_eq!(published(&keys, hour(1)), [first]);
}

#[tokio::test]
async fn a_published_key_says_what_it_is_for_and_nothing_private() {
    let keys = open(&memory(), hour(0)).await;
    let set = keys.published(hour(0));
    let key = set["keys"][0].as_object().expect("a key");
    let mut members: Vec<_> = key.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!((key["alg"].as_str(), key["use"].as_str()), (Some("ES256"), Some("sig")));
}

#[tokio::test]
async fn keys_follow_each_other_without_a_gap() {
    let store = memory();
    let keys = open(&store, hour(0)).await;
    let mut known = vec![signer(&keys, hour(0))];
    for now in (0..1_000).map(hour) {
        keys.maintain(now).await.expect("the store answers");
        let signer = signer(&keys, now);
        assert!(known.contains(&signer), "it was published before it signed");
        known = published(&keys, now);
        assert!(known.contains(&signer));
        assert!(known.len() <= 3, "{known:?}");
    }
    assert!(keys.records().len() > 10);
    store.sweep(hour(1_000), 100).await.expect("an answer");
    keys.maintain(hour(1_000)).await.expect("the store answers");
    assert!(keys.records().len() <= 3);
}

#[tokio::test]
async fn a_rotation_announces_before_it_signs() {
    let keys = open(&memory(), hour(0)).await;
    let old = signer(&keys, hour(0));
    let new = keys.rotate(hour(10)).await.expect("the store answers").kid;
    assert_eq!(published(&keys, hour(10)), [old.as_str(), &new]);
    assert_eq!(signer(&keys, hour(23)), old);
    assert_eq!(signer(&keys, hour(24)), new);
    assert_eq!(published(&keys, hour(37)), [old.as_str(), &new], "for the tokens that it signed");
    assert_eq!(published(&keys, hour(38)), [new]);
}

#[tokio::test]
async fn a_key_from_elsewhere_is_announced_before_it_signs_and_is_taken_once() {
    let store = memory();
    let keys = open(&store, hour(0)).await;
    let old = signer(&keys, hour(0));
    let made = SigningKey::generate(Algorithm::Es256).expect("a key");
    let record = keys.import(&made, hour(10)).await.expect("the store answers").expect("a new key");
    assert_eq!(record.kid, made.kid());
    assert_eq!(published(&keys, hour(10)), [old.as_str(), made.kid()]);
    assert_eq!(signer(&keys, hour(23)), old);
    assert_eq!(signer(&keys, hour(24)), made.kid());
    assert_eq!(signer(&open(&store, hour(24)).await, hour(24)), made.kid(), "another process signs with it too");
    assert_eq!(keys.import(&made, hour(11)).await, Ok(None));
    keys.rotate_now(hour(12)).await.expect("the store answers");
    assert_eq!(keys.import(&made, hour(13)).await, Ok(None), "nor is it taken after it was withdrawn");
}

#[tokio::test]
async fn another_encryption_key_takes_the_place_of_the_first() {
    let store = memory();
    let [old, new] = [1, 2].map(|byte| RootKey::from_bytes([byte; 32]));
    let reopen = async |kek: KeyRing, now| {
        SigningKeys::open(Arc::clone(&store), kek, SCHEDULE, Arc::new(SystemEntropy), now)
            .await
            .map_err(|error| error.to_string())
    };
    let running = reopen(old.clone().into(), hour(0)).await.expect("keys");
    running.rotate(hour(1)).await.expect("the store answers");
    let kids = || running.records().into_iter().map(|record| record.kid).collect::<Vec<_>>();
    let before = kids();

    let refused = reopen(new.clone().into(), hour(2)).await.err().expect("nothing opens");
    assert!(refused.contains("decryption_key_files"), "{refused}");
    let both = reopen(KeyRing::new(new.clone(), vec![old.clone()]), hour(2)).await.expect("keys");
    both.rotate(hour(2)).await.expect("the store answers");
    assert!(reopen(new.clone().into(), hour(2)).await.is_err(), "not all are sealed under it yet");
    assert_eq!(both.rewrap().await, Ok(Rewrapped { signing_keys: 2, secrets: 2, root_key: true }));
    assert_eq!(both.rewrap().await, Ok(Rewrapped::default()));

    let after = reopen(new.into(), hour(3)).await.expect("keys");
    assert_eq!(after.root().expose(), running.root().expose());
    assert!(reopen(old.into(), hour(3)).await.is_err());
    let knows_no_new_seal = running.maintain(hour(3)).await;
    assert!(matches!(knows_no_new_seal, Err(KeysError::WrongEncryptionKey(_))), "it was sealed under the new key");
    assert_eq!((kids(), signer(&running, hour(3))), (before, signer(&after, hour(3))), "but it goes on as it was");
}

#[tokio::test]
async fn secrets_take_turns_as_keys_do() {
    let store = memory();
    let keys = open(&store, hour(0)).await;
    let forms = keys.secrets().derive("forms");
    let opens = |sealed: &[u8], now| forms.at(now).open(b"", sealed).is_ok();
    let old = forms.at(hour(0)).seal(b"", b"old");
    keys.rotate(hour(10)).await.expect("the store answers");
    assert_eq!(forms.at(hour(23)).newest(), forms.at(hour(0)).newest(), "until the next key signs");
    assert_ne!(forms.at(hour(24)).newest(), forms.at(hour(23)).newest());
    assert_eq!([opens(&old, hour(37)), opens(&old, hour(38))], [true, false], "for as long as its key is published");

    // A replica whose clock is ahead makes things under the next one already.
    let other = open(&store, hour(24)).await.secrets().derive("forms");
    assert!(opens(&other.at(hour(24)).seal(b"", b"new"), hour(23)));
    assert!(other.at(hour(24)).open(b"", &old).is_ok());

    let new = forms.at(hour(24)).seal(b"", b"new");
    keys.rotate_now(hour(25)).await.expect("the store answers");
    assert_eq!([opens(&old, hour(25)), opens(&new, hour(25))], [false, false], "in an emergency at once");
    assert!(opens(&forms.at(hour(25)).seal(b"", b"text"), hour(25)));
}

#[tokio::test]
async fn what_tokens_for_upstreams_are_signed_with_is_known_before_it_signs_and_the_same_everywhere() {
    let store = memory();
    let keys = open(&store, hour(0)).await;
    let kids =
        |keys: &SigningKeys, now| keys.upstream().at(now).iter().map(|key| key.kid().to_owned()).collect::<Vec<_>>();
    let first = kids(&keys, hour(0));
    assert_eq!(first.len(), 1);
    assert_ne!(first, published(&keys, hour(0)), "it signs no access tokens");
    keys.rotate(hour(10)).await.expect("the store answers");
    let announced = kids(&keys, hour(10));
    assert_eq!((announced.len(), &announced[..1]), (2, &first[..]), "that which signs comes first");
    assert_eq!(kids(&keys, hour(23)), announced);
    let swapped: Vec<_> = announced.iter().rev().cloned().collect();
    assert_eq!([kids(&keys, hour(24)), kids(&keys, hour(37))], [swapped.clone(), swapped]);
    assert_eq!(kids(&keys, hour(38)), announced[1..]);

    // Another process, and the same one in another life.
    assert_eq!(kids(&open(&store, hour(10)).await, hour(10)), announced);

    keys.rotate_now(hour(25)).await.expect("the store answers");
    let fresh = kids(&keys, hour(25));
    assert!(fresh.len() == 1 && !announced.contains(&fresh[0]), "in an emergency the others are gone at once");
}

#[tokio::test]
async fn beside_a_key_of_an_earlier_version_the_secret_is_the_root_key() {
    let (store, upgraded) = (memory(), memory());
    let record = open(&store, hour(0)).await.records().remove(0);
    let root = store.root_key(b"").await.expect("an answer");
    assert_eq!(upgraded.root_key(&root).await, Ok(root));
    assert_eq!(upgraded.add_signing_key(&KeyRecord { secret: None, ..record.clone() }, &[]).await, Ok(true));
    let keys = open(&upgraded, hour(1)).await;
    let (root, forms) = (keys.root().derive("forms"), keys.secrets().derive("forms"));
    assert_eq!(forms.at(hour(1)).newest(), &root);
    keys.rotate(hour(1)).await.expect("the store answers");
    assert!(forms.at(hour(15)).open(b"", &root.seal(b"", b"text")).is_ok());
    keys.rotate_now(hour(15)).await.expect("the store answers");
    assert!(forms.at(hour(15)).open(b"", &root.seal(b"", b"text")).is_err());

    // What is sealed anew is counted by itself.
    let next = KeyRing::new(RootKey::from_bytes([2; 32]), vec![RootKey::from_bytes([1; 32])]);
    let keys = SigningKeys::open(upgraded, next, SCHEDULE, Arc::new(SystemEntropy), hour(16)).await.expect("keys");
    let rewrapped = Rewrapped { signing_keys: 3, secrets: 2, root_key: true };
    assert_eq!(keys.rewrap().await, Ok(rewrapped));
    assert_eq!(keys.rewrap().await, Ok(Rewrapped::default()));
}

#[tokio::test]
async fn a_secret_opens_beside_its_own_key_only() {
    let (store, swapped) = (memory(), memory());
    let keys = open(&store, hour(0)).await;
    keys.rotate(hour(1)).await.expect("the store answers");
    let [first, second] = keys.records().try_into().expect("two keys");
    let root = store.root_key(b"").await.expect("an answer");
    assert_eq!(swapped.root_key(&root).await, Ok(root));
    assert_eq!(swapped.add_signing_key(&KeyRecord { secret: second.secret, ..first }, &[]).await, Ok(true));
    let opened = SigningKeys::open(swapped, kek(), SCHEDULE, Arc::new(SystemEntropy), hour(1)).await;
    assert!(matches!(opened.err(), Some(KeysError::WrongEncryptionKey(_))));
}

/// How often the keys were read, and whether that fails.
#[derive(Default)]
struct Readings {
    number: AtomicU32,
    fail: AtomicBool,
}

#[async_trait]
impl Tap for Readings {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        if call == "signing_keys" {
            self.number.fetch_add(1, Ordering::Relaxed);
        }
        if self.fail.load(Ordering::Relaxed) { Err(Unavailable::Down) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_key_that_another_replica_made_in_an_emergency_is_read_when_a_token_names_it() {
    let (store, readings) = (memory(), Arc::new(Readings::default()));
    let tapped: Arc<dyn Store> = Arc::new(TappedStore { inner: Arc::clone(&store), tap: readings.clone() });
    let (here, there) = (open(&tapped, hour(0)).await, open(&store, hour(0)).await);
    let later = |millis| hour(1) + Duration::from_millis(millis);
    here.maintain(hour(1)).await.expect("the store answers");
    let new = there.rotate_now(hour(1)).await.expect("the store answers").kid;

    // Not more than once a second, whoever makes names up, and however many wait at once.
    let known = |kid: &str, now| here.keys(Some(kid), now).map(|keys| keys.len());
    assert_eq!(known(&new, later(999)), Ok(0), "it was read just now");
    assert_eq!(known(&new, later(1000)), Err(KeysFault::Outdated));
    let before = readings.number.load(Ordering::Relaxed);
    tokio::join!(here.renew(later(1000)), here.renew(later(1000)));
    assert_eq!(readings.number.load(Ordering::Relaxed), before + 1);
    assert_eq!(known(&new, later(1000)), Ok(1));
    assert_eq!(known("made up", later(1000)), Ok(0));

    // While nobody can tell whether there is such a key, nothing is refused for the lack of it.
    readings.fail.store(true, Ordering::Relaxed);
    assert_eq!(known("made up", later(2000)), Err(KeysFault::Outdated));
    here.renew(later(2000)).await;
    assert_eq!(known("made up", later(2000)), Err(KeysFault::Unavailable(Unavailable::Down)));
    assert!(here.are_fresh(hour(8)), "for half of the time for which a key is announced");
    assert!(!here.are_fresh(hour(8) + Duration::from_secs(2)));
}

#[tokio::test]
async fn an_emergency_ends_the_others_now() {
    let keys = open(&memory(), hour(0)).await;
    let announced = keys.rotate(hour(10)).await.expect("the store answers").kid;
    let new = keys.rotate_now(hour(11)).await.expect("the store answers").kid;
    assert_ne!(new, announced);
    assert_eq!(signer(&keys, hour(11)), new);
    assert_eq!(published(&keys, hour(11)), [new.as_str()]);
    assert_eq!(states(&keys, hour(11)), [KeyState::Dropped, KeyState::Dropped, KeyState::Signing]);
    for now in [hour(11), hour(24), hour(60)] {
        keys.maintain(now).await.expect("the store answers");
        assert_eq!(signer(&keys, now), new);
    }
}

#[tokio::test]
async fn another_process_that_rotates_is_followed() {
    let store = memory();
    let (server, command) = (open(&store, hour(0)).await, open(&store, hour(1)).await);
    let new = command.rotate(hour(2)).await.expect("the store answers").kid;
    server.maintain(hour(3)).await.expect("the store answers");
    assert!(published(&server, hour(3)).contains(&new));
    assert_eq!(signer(&server, hour(16)), new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_at_once_agree_on_one_key() {
    let store = memory();
    let barrier = Arc::new(Barrier::new(16));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                signer(&open(&store, hour(0)).await, hour(0))
            })
        })
        .collect();
    let mut signers = Vec::new();
    for task in tasks {
        signers.push(task.await.expect("a task that does not panic"));
    }
    signers.dedup();
    assert_eq!(signers.len(), 1);
    assert_eq!(store.signing_keys().await.expect("an answer").len(), 1);
}

#[tokio::test]
async fn another_algorithm_is_announced_like_any_other_key() {
    let store = memory();
    let old = signer(&open(&store, hour(0)).await, hour(0));
    let schedule = KeySchedule { algorithm: Algorithm::EdDsa, ..SCHEDULE };
    let reopen = async |now| {
        SigningKeys::open(Arc::clone(&store), kek(), schedule, Arc::new(SystemEntropy), now).await.expect("keys")
    };
    let keys = reopen(hour(1)).await;
    assert_eq!(signer(&keys, hour(1)), old);
    assert_eq!(keys.algorithms(), [Algorithm::EdDsa, Algorithm::Es256]);
    let keys = reopen(hour(2)).await;
    assert_eq!(keys.records().len(), 2, "once is enough");
    assert_eq!(keys.signer(hour(15)).expect("a key signs").algorithm(), Algorithm::EdDsa);
}

#[tokio::test]
async fn the_wrong_encryption_key_stops_the_start() {
    let store = memory();
    let keys = open(&store, hour(0)).await;
    let wrong = KeyRing::from(RootKey::from_bytes([2; 32]));
    for now in [hour(0), hour(10_000)] {
        let opened = SigningKeys::open(Arc::clone(&store), wrong.clone(), SCHEDULE, Arc::new(SystemEntropy), now).await;
        assert!(matches!(opened.err(), Some(KeysError::WrongEncryptionKey(_))));
    }
    assert_eq!(store.signing_keys().await.expect("an answer"), keys.records(), "no second identity");
}

#[tokio::test]
async fn the_root_key_is_made_once() {
    let store = memory();
    let root = async |store: &Arc<dyn Store>| *open(store, hour(0)).await.root().expose();
    assert_eq!(root(&store).await, root(&store).await);
    assert_ne!(root(&store).await, root(&memory()).await);
}

#[tokio::test]
async fn nothing_signs_after_the_last_key_retired() {
    let keys = open(&memory(), hour(0)).await;
    assert!(keys.signer(hour(89)).is_ok());
    assert!(keys.signer(hour(90)).is_err());
    keys.maintain(hour(95)).await.expect("the store answers");
    assert!(keys.signer(hour(95)).is_ok());
}

#[tokio::test]
async fn the_gate_finds_published_keys_by_name() {
    let keys = open(&memory(), hour(0)).await;
    let old = signer(&keys, hour(0));
    let new = keys.rotate(hour(1)).await.expect("the store answers").kid;
    let found = |kid: Option<&str>, now| keys.keys(kid, now).map(|keys| keys.len());
    for kid in [old.as_str(), &new] {
        assert_eq!(found(Some(kid), hour(1)), Ok(1));
    }
    assert_eq!(found(None, hour(1)), Ok(2));
    assert_eq!(found(Some("other"), hour(0)), Ok(0));
    assert_eq!(found(Some("other"), hour(1)), Err(KeysFault::Outdated), "another replica may have made it since");
    assert_eq!(found(Some(&new), hour(40)), Ok(1));
    assert_eq!(found(Some(&old), hour(40)), Err(KeysFault::Outdated));
}
