//! Questions about opaque tokens, asked on behalf of callers of whom nothing is known.
//!
//! Anybody can make up tokens, and keys to prove that he holds them. What that can cause is bounded: how many questions are
//! asked at once, how many in vain, and what is remembered of them. A question is in vain until its answer is that the
//! token is good, so good tokens alone are asked about as fast as there are answers.
//!
//! | who has the token | questions at once | in vain |
//! |---|---|---|
//! | the holder of a key to which a good one was bound in the last hour | all turns | [`OF_KNOWN_KEYS`], for each key |
//! | everybody else together | three of four turns | [`QuestionLimits::in_vain`] |
//!
//! Who comes after that is told that we cannot tell, and nobody is asked. So strangers who make up tokens can keep others
//! from having new ones looked up, but not those whose keys are known, and no token that is known already.
//!
//! Invariant: only what its issuer calls good takes the place of something else that is remembered. What was refused is
//! remembered elsewhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::clock::Timestamp;
use crate::current::Current;
use crate::ident::IssuerName;
use crate::jose::{Json, Thumbprint};
use crate::secret::sha256;
use crate::throttle::{Bucket, Counted, Limit, Throttle};
use crate::token::{Said, TokenLookup};
use crate::unavailable::Unavailable;

/// How many answers that a token is good are kept.
pub const ANSWERS_KEPT: u64 = 50_000;

/// How many questions are asked at once: others wait for their turn, as long as there is somebody to wait for them.
pub const QUESTIONS: usize = 64;

/// How many of them may be asked for strangers.
const QUESTIONS_OF_STRANGERS: usize = QUESTIONS / 4 * 3;

/// How many answers that a token is not good are kept; the bound on questions in vain lets fewer come together.
const REFUSALS: u64 = 20_000;

/// How long it is believed that a token is not good: one that was not will not be.
const REFUSALS_KEPT: Duration = Duration::from_secs(10);

/// How many keys are known to which a good token was bound, and for how long after it was asked about.
const KEYS_KNOWN: (u64, Duration) = (50_000, Duration::from_hours(1));

/// How many questions in vain the holder of one known key may cause: 20, and five a second.
const OF_KNOWN_KEYS: Limit = Limit { burst: 20, interval: Duration::from_millis(200) };

/// Those who are asked, by the issuer whose tokens it is about; they may become others.
pub type Asked = Arc<Current<Vec<(IssuerName, Arc<Questions>)>>>;

/// How many questions a second strangers may cause in vain at another server; twice as many may come at once.
pub const IN_VAIN: u32 = 50;

/// The same at our own store.
pub const IN_VAIN_STORE: u32 = 500;

/// What strangers may cause.
#[derive(Clone, Copy)]
pub struct QuestionLimits {
    /// How many questions in vain all of them together may cause.
    in_vain: Limit,
    /// How long an answer is kept at most.
    kept: Duration,
}

impl QuestionLimits {
    /// Where every question goes to another server.
    #[must_use]
    pub fn elsewhere(kept: Duration) -> Self {
        Self { in_vain: per_second(IN_VAIN), kept }
    }

    /// Where each is a look into our own store. What it says counts for as long as the token.
    #[must_use]
    pub fn of_store() -> Self {
        Self { in_vain: per_second(IN_VAIN_STORE), kept: Duration::ZERO }
    }
}

/// So many a second, and two seconds' worth at once.
fn per_second(number: u32) -> Limit {
    Limit { burst: 2 * number, interval: Duration::from_secs(1) / number }
}

/// What a token is remembered by.
type Key = [u8; 32];

/// What is being asked, for as long as somebody waits for it.
type Asking = Mutex<HashMap<(Key, Caller), Weak<OnceCell<Option<Said>>>>>;

/// Asks on behalf of strangers what tokens stand for.
pub struct Questions {
    lookup: Arc<dyn TokenLookup>,
    limits: QuestionLimits,
    /// Good tokens, by SHA-256.
    good: Cache<Key, Arc<Said>>,
    /// Until when tokens are refused.
    refused: Cache<Key, Timestamp>,
    /// Keys that good tokens were bound to.
    known_keys: Cache<Thumbprint, ()>,
    /// By token and caller: a question of a stranger holds up nobody else.
    asking: Asking,
    turns: Semaphore,
    turns_of_strangers: Semaphore,
    throttle: Throttle,
    counts: Counts,
}

/// On whose behalf a question is asked.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Caller {
    /// The holder of a key to which a good token was bound.
    Known(Thumbprint),
    /// Anybody.
    Stranger,
}

/// Somebody must be asked.
struct Forgotten;

/// What became of questions, since the start.
#[derive(Default)]
struct Counts {
    good: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    remembered: AtomicU64,
    paused: AtomicU64,
    too_many: AtomicU64,
    waiting: AtomicUsize,
}

impl Questions {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(lookup: Arc<dyn TokenLookup>, limits: QuestionLimits) -> Self {
        Self {
            lookup,
            limits,
            good: Cache::builder().max_capacity(ANSWERS_KEPT).time_to_live(limits.kept).build(),
            refused: Cache::builder().max_capacity(REFUSALS).time_to_live(REFUSALS_KEPT).build(),
            known_keys: Cache::builder().max_capacity(KEYS_KNOWN.0).time_to_live(KEYS_KNOWN.1).build(),
            asking: Mutex::default(),
            turns: Semaphore::new(QUESTIONS),
            turns_of_strangers: Semaphore::new(QUESTIONS_OF_STRANGERS),
            throttle: Throttle::default(),
            counts: Counts::default(),
        }
    }

    /// How many there were, by what became of them.
    pub fn counts(&self) -> [(&'static str, u64); 6] {
        let Counts { good, refused, failed, remembered, paused, too_many, .. } = &self.counts;
        let all = [
            ("good", good),
            ("refused", refused),
            ("failed", failed),
            ("remembered", remembered),
            ("paused", paused),
            ("too_many", too_many),
        ];
        all.map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// What is known without asking.
    fn remembered(&self, key: &Key, now: Timestamp) -> Result<Option<Said>, Forgotten> {
        let counts = |said: &Arc<Said>| said.until.is_some_and(|until| now < until);
        if let Some(said) = self.good.get(key).filter(counts) {
            return Ok(Some(Said::clone(&said)));
        }
        self.refused.get(key).filter(|until| now < *until).map(|_| None).ok_or(Forgotten)
    }

    fn caller(&self, prover: Option<Thumbprint>) -> Caller {
        prover.filter(|key| self.known_keys.contains_key(key)).map_or(Caller::Stranger, Caller::Known)
    }

    /// Waits for a turn; the turns of strangers are among all turns.
    async fn turn(&self, caller: Caller) -> Result<(SemaphorePermit<'_>, Option<SemaphorePermit<'_>>), Unavailable> {
        let _waiting = Waiting::begin(&self.counts.waiting);
        let strangers = match caller {
            Caller::Known(_) => None,
            Caller::Stranger => Some(self.turns_of_strangers.acquire().await.map_err(|_| Unavailable::Down)?),
        };
        Ok((self.turns.acquire().await.map_err(|_| Unavailable::Down)?, strangers))
    }

    /// Counts a question as one in vain. Who has caused too many himself is one of many.
    fn count(&self, caller: Caller, now: Timestamp) -> Result<Bucket, Unavailable> {
        let own = match caller {
            Caller::Known(key) => Some(Bucket::of(&[b"key", key.as_bytes()], OF_KNOWN_KEYS)),
            Caller::Stranger => None,
        };
        for bucket in own.into_iter().chain([Bucket::of(&[b"strangers"], self.limits.in_vain)]) {
            if self.throttle.count(&[bucket], now)? == Counted::Free {
                return Ok(bucket);
            }
        }
        self.counts.too_many.fetch_add(1, Ordering::Relaxed);
        Err(Unavailable::Full)
    }

    /// Asks, when it is its turn. A question that is given up on the way counts as one in vain: it was asked.
    async fn ask(&self, token: &str, key: Key, caller: Caller, now: Timestamp) -> Result<Option<Said>, Unavailable> {
        let _turn = self.turn(caller).await?;
        if self.lookup.is_paused(now) {
            self.counts.paused.fetch_add(1, Ordering::Relaxed);
            return Err(Unavailable::Down);
        }
        let bucket = self.count(caller, now)?;
        let answer = self.lookup.look_up(token, None, now).await;
        let counter = match &answer {
            Ok(Some(said)) => {
                self.throttle.take_back(&[bucket]);
                if said.until.is_some() {
                    self.good.insert(key, Arc::new(said.clone()));
                }
                &self.counts.good
            }
            Ok(None) => {
                self.refused.insert(key, now + REFUSALS_KEPT);
                &self.counts.refused
            }
            Err(_) => &self.counts.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

#[async_trait]
impl TokenLookup for Questions {
    async fn look_up(
        &self,
        token: &str,
        prover: Option<Thumbprint>,
        now: Timestamp,
    ) -> Result<Option<Said>, Unavailable> {
        let key = sha256(token.as_bytes());
        if let Ok(answer) = self.remembered(&key, now) {
            self.counts.remembered.fetch_add(1, Ordering::Relaxed);
            return Ok(answer);
        }
        let caller = self.caller(prover);
        let shared = Shared::join(&self.asking, (key, caller));
        let answer = shared.cell.get_or_try_init(|| self.ask(token, key, caller, now)).await?.clone();
        // The proof was verified: who has a good token that is bound to its key is a client of the issuer.
        if let Some(prover) = prover.filter(|prover| answer.as_ref().is_some_and(|said| is_bound_to(said, *prover))) {
            self.known_keys.insert(prover, ());
        }
        Ok(answer)
    }
}

/// Whether a token is bound to this key.
fn is_bound_to(said: &Said, key: Thumbprint) -> bool {
    let bound = said.claims.get("cnf").and_then(|cnf| cnf.get("jkt")).and_then(Json::as_str);
    bound.and_then(|text| text.parse().ok()) == Some(key)
}

/// A question that several wait for. It is forgotten with the last of them.
struct Shared<'a> {
    asking: &'a Asking,
    key: (Key, Caller),
    cell: Arc<OnceCell<Option<Said>>>,
}

impl<'a> Shared<'a> {
    /// The question that is being asked, or a new one.
    fn join(asking: &'a Asking, key: (Key, Caller)) -> Self {
        let mut all = asking.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = all.get(&key).and_then(Weak::upgrade).unwrap_or_default();
        all.insert(key, Arc::downgrade(&cell));
        Self { asking, key, cell }
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let mut all = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.cell) == 1 {
            all.remove(&self.key);
        }
    }
}

/// Somebody who waits, and is counted as long as he does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::task::JoinSet;

    use super::*;

    /// Calls tokens good that begin with `good`, bound to the key of somebody; says nothing about those that begin with `slow`.
    #[derive(Default)]
    struct Issuer {
        asked: Mutex<Vec<String>>,
    }

    fn key(seed: char) -> Thumbprint {
        let digits: String = std::iter::repeat_n(seed, 42).chain(['A']).collect();
        digits.parse().expect("a thumbprint")
    }

    #[async_trait]
    impl TokenLookup for Issuer {
        async fn look_up(
            &self,
            token: &str,
            _: Option<Thumbprint>,
            now: Timestamp,
        ) -> Result<Option<Said>, Unavailable> {
            self.asked.lock().expect("the list").push(token.to_owned());
            if token.starts_with("slow") {
                std::future::pending::<()>().await;
            }
            let claims = json!({ "cnf": { "jkt": key('o').to_string() } });
            let claims = claims.as_object().expect("an object").clone();
            Ok(token.starts_with("good").then(|| Said { claims, until: Some(now + Duration::from_secs(30)) }))
        }
    }

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    async fn is_good(questions: &Questions, token: &str, prover: Option<Thumbprint>) -> Result<bool, Unavailable> {
        Ok(questions.look_up(token, prover, NOW).await?.is_some())
    }

    #[tokio::test]
    async fn strangers_who_wait_hold_up_no_known_key() {
        let questions = Arc::new(Questions::new(Arc::new(Issuer::default()), QuestionLimits::elsewhere(REFUSALS_KEPT)));
        assert_eq!(is_good(&questions, "good", Some(key('s'))).await, Ok(true), "somebody has seen it");
        assert_eq!(is_good(&questions, "good too", Some(key('o'))).await, Ok(true));
        let mut strangers = JoinSet::new();
        for number in 0..100 {
            let questions = Arc::clone(&questions);
            strangers.spawn(async move { is_good(&questions, &format!("slow {number}"), Some(key('s'))).await });
        }
        // Whoever has seen a token before its owner shows it is a stranger too.
        let thief = Arc::clone(&questions);
        strangers.spawn(async move { is_good(&thief, "good and stolen", Some(key('s'))).await });
        while questions.waiting() < 101 - QUESTIONS_OF_STRANGERS {
            tokio::task::yield_now().await;
        }
        for token in ["good and stolen", "good and new"] {
            assert_eq!(is_good(&questions, token, Some(key('o'))).await, Ok(true), "{token}");
        }
        strangers.shutdown().await;
        assert_eq!(questions.waiting(), 0);
        assert!(questions.asking.lock().expect("the map").is_empty());
    }

    #[tokio::test]
    async fn questions_in_vain_are_bounded_for_all_strangers_and_for_each_known_key() {
        let issuer = Arc::new(Issuer::default());
        let lookup = Arc::clone(&issuer) as Arc<dyn TokenLookup>;
        let questions = Questions::new(lookup, QuestionLimits::elsewhere(REFUSALS_KEPT));
        for number in 0..500 {
            assert_eq!(is_good(&questions, &format!("good {number}"), None).await, Ok(true), "none of them is in vain");
        }
        assert_eq!(is_good(&questions, "good", Some(key('o'))).await, Ok(true));
        for number in 0..100 {
            assert_eq!(is_good(&questions, &format!("bad {number}"), None).await, Ok(false));
        }
        let asked = || issuer.asked.lock().expect("the list").len();
        let before = asked();
        assert_eq!(is_good(&questions, "good and unknown", None).await, Err(Unavailable::Full));
        assert_eq!(is_good(&questions, "bad 1", None).await, Ok(false), "what was refused is remembered");
        assert_eq!(is_good(&questions, "good 1", None).await, Ok(true), "what was good, too");
        assert_eq!(asked(), before);
        for number in 0..20 {
            assert_eq!(is_good(&questions, &format!("bad of his {number}"), Some(key('o'))).await, Ok(false));
        }
        assert_eq!(is_good(&questions, "one more", Some(key('o'))).await, Err(Unavailable::Full));
        assert_eq!(asked(), before + 20);
        let later = NOW + Duration::from_millis(20);
        assert!(questions.look_up("good and unknown", None, later).await.is_ok(), "one more each 20 milliseconds");
    }
}
