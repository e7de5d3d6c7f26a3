//! What every replay guard must do, and what the local one promises besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Barrier;
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::entropy::SystemEntropy;
use tollgate::replay::{
    DEFAULT_ENTRIES, LocalReplayGuard, RedisReplayGuard, RedisSettings, ReplayGuard, ReplayKey, Seen,
};
use tollgate::secret::sha256;
use tollgate::store::Unavailable;

use crate::redis::{Cluster, Redis};

const CALLERS: usize = 64;

fn now() -> Timestamp {
    Timestamp::from_millis(1_760_000_000_500)
}

fn key(number: u64) -> ReplayKey {
    ReplayKey::from_bytes(sha256(&number.to_be_bytes()))
}

/// A guard, with what it needs to live.
struct Fixture {
    guard: Arc<dyn ReplayGuard>,
    _redis: Option<Redis>,
    _cluster: Option<Cluster>,
}

async fn local() -> Fixture {
    Fixture { guard: Arc::new(LocalReplayGuard::new(DEFAULT_ENTRIES)), _redis: None, _cluster: None }
}

async fn node() -> Fixture {
    let redis = Redis::start().await;
    Fixture { guard: shared(redis.settings()).await, _redis: Some(redis), _cluster: None }
}

async fn cluster() -> Fixture {
    let cluster = Cluster::start().await;
    Fixture { guard: shared(cluster.settings()).await, _redis: None, _cluster: Some(cluster) }
}

async fn shared(settings: RedisSettings) -> Arc<dyn ReplayGuard> {
    let guard = RedisReplayGuard::start(settings, Arc::new(SystemClock), &SystemEntropy).await;
    Arc::new(guard.expect("a guard"))
}

/// Runs each case over each guard. A case is given the maker of guards.
macro_rules! conformance {
    ($($case:ident)*) => {
        mod local_guard {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case(super::local).await;
            })*
        }

        mod redis_guard {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case(super::node).await;
            })*
        }

        mod redis_cluster_guard {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case(super::cluster).await;
            })*
        }
    };
}

conformance! {
    of_many_at_once_one_is_first
    keys_do_not_get_in_each_others_way
    a_key_is_remembered_until_it_expires_and_never_for_less
    the_ways_to_spend_agree
}

async fn of_many_at_once_one_is_first<F: Future<Output = Fixture>>(make: impl Fn() -> F) {
    let fixture = make().await;
    let guard = &fixture.guard;
    for round in 0..32 {
        let barrier = Arc::new(Barrier::new(CALLERS));
        let tasks: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (barrier, guard) = (Arc::clone(&barrier), Arc::clone(guard));
                tokio::spawn(async move {
                    barrier.wait().await;
                    guard.spend(key(round), now() + Duration::from_secs(70), now()).await
                })
            })
            .collect();
        let mut firsts = 0;
        for task in tasks {
            firsts += usize::from(task.await.expect("a task that does not panic") == Ok(Seen::First));
        }
        assert_eq!(firsts, 1);
    }
}

async fn keys_do_not_get_in_each_others_way<F: Future<Output = Fixture>>(make: impl Fn() -> F) {
    let fixture = make().await;
    let guard = &fixture.guard;
    for number in 0..1_000 {
        assert_eq!(guard.spend(key(number), now() + Duration::from_secs(70), now()).await, Ok(Seen::First));
    }
    for number in 0..1_000 {
        assert_eq!(guard.spend(key(number), now() + Duration::from_secs(70), now()).await, Ok(Seen::Replayed));
    }
}

async fn a_key_is_remembered_until_it_expires_and_never_for_less<F: Future<Output = Fixture>>(make: impl Fn() -> F) {
    let expires = now() + Duration::from_millis(69_999);
    let fixture = make().await;
    for (number, millis) in [(0, 0), (1, 1), (2, 69_998), (3, 69_999)] {
        let guard = &fixture.guard;
        assert_eq!(guard.spend(key(number), expires, now()).await, Ok(Seen::First));
        let later = now() + Duration::from_millis(millis);
        assert_eq!(guard.spend(key(number), expires, later).await, Ok(Seen::Replayed), "after {millis} ms");
    }
}

async fn the_ways_to_spend_agree<F: Future<Output = Fixture>>(make: impl Fn() -> F) {
    let fixture = make().await;
    let guard = &fixture.guard;
    let expires = now() + Duration::from_secs(70);
    let at_once = guard.spend_now(key(1), expires, now());
    let waited = guard.spend(key(1), expires, now()).await;
    match at_once {
        Some(first) => assert_eq!((first, waited), (Ok(Seen::First), Ok(Seen::Replayed))),
        None => assert_eq!(waited, Ok(Seen::First), "who cannot tell at once has not spent it"),
    }
    assert!(guard.spend_now(key(1), expires, now()).is_none_or(|again| again == Ok(Seen::Replayed)));
    assert_eq!(guard.spend(key(1), expires, now()).await, Ok(Seen::Replayed));
}

#[tokio::test]
async fn a_full_guard_forgets_nobody() {
    let guard = LocalReplayGuard::new(640);
    let expires = now() + Duration::from_secs(70);
    let spend = |number, now| guard.spend_now(key(number), expires, now).expect("the local guard does not wait");
    let answers: Vec<_> = (0..10_000).map(|number| spend(number, now())).collect();
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Seen::First) | Err(Unavailable::Full))));
    assert_eq!(guard.len(), 640);
    for (number, answer) in (0..).zip(answers) {
        let again = if answer == Ok(Seen::First) { Ok(Seen::Replayed) } else { Err(Unavailable::Full) };
        assert_eq!(spend(number, now()), again);
    }
}

/// A guard with room for 640 keys, and its monotonic clock, in seconds.
fn timed() -> (LocalReplayGuard, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::default());
    let seconds = Arc::clone(&clock);
    (LocalReplayGuard::timed_by(640, move || Duration::from_secs(seconds.load(Ordering::Relaxed))), clock)
}

#[tokio::test]
async fn what_expired_makes_room() {
    let (guard, clock) = timed();
    let mut later = now();
    for round in 0..10 {
        let admitted = (0..10_000).map(|number| {
            let expires = later + Duration::from_secs(70);
            guard.spend_now(key(round * 10_000 + number), expires, later).expect("the local guard does not wait")
        });
        assert_eq!(admitted.filter(|answer| *answer == Ok(Seen::First)).count(), 640);
        later = later + Duration::from_secs(73);
        clock.fetch_add(73, Ordering::Relaxed);
    }
    assert_eq!(guard.len(), 640);
    assert!(!guard.is_empty());
}

/// A wall clock that jumps an hour ahead and comes back neither forgets what lives nor keeps what is over.
#[tokio::test]
async fn a_clock_that_jumps_and_comes_back_changes_nothing() {
    let (guard, clock) = timed();
    let (lifetime, hour) = (Duration::from_secs(70), Duration::from_hours(1));
    let spend = |number, now| guard.spend_now(key(number), now + lifetime, now).expect("the local guard does not wait");
    assert_eq!(spend(0, now()), Ok(Seen::First));
    clock.fetch_add(1, Ordering::Relaxed);
    assert_eq!(spend(1, now() + hour), Ok(Seen::First));
    clock.fetch_add(1, Ordering::Relaxed);
    assert_eq!(spend(0, now() + Duration::from_secs(2)), Ok(Seen::Replayed), "it was forgotten by the jump");

    // What was spent before and after the jump goes in its time.
    let mut later = now();
    for round in 1..=10 {
        let spent = (0..10_000).filter(|number| spend(round * 10_000 + number, later) == Ok(Seen::First)).count();
        assert!(spent >= 600, "{spent} in round {round}: it does not get empty");
        later = later + Duration::from_secs(73);
        clock.fetch_add(73, Ordering::Relaxed);
    }
    // What was spent while the clock was ahead is kept until it gets there.
    assert_eq!(spend(1, now() + hour), Ok(Seen::Replayed));
}

/// Proofs that were spent before the clock was set back are good again when it gets there.
#[tokio::test]
async fn a_clock_that_is_set_back_brings_nothing_to_life() {
    let (guard, clock) = timed();
    let expires = now() + Duration::from_secs(70);
    let spend = |now| guard.spend_now(key(0), expires, now).expect("the local guard does not wait");
    assert_eq!(spend(now()), Ok(Seen::First));
    clock.fetch_add(600, Ordering::Relaxed);
    assert_eq!(spend(now().before(Duration::from_mins(10))), Ok(Seen::Replayed));
    clock.fetch_add(600, Ordering::Relaxed);
    assert_eq!(spend(now()), Ok(Seen::Replayed));
}
