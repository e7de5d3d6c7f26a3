//! What every replay guard must do, and what the local one promises besides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tollgate::clock::Timestamp;
use tollgate::replay::{DEFAULT_ENTRIES, LocalReplayGuard, ReplayGuard, ReplayKey, Seen};
use tollgate::secret::sha256;
use tollgate::store::Unavailable;

const CALLERS: usize = 64;

fn now() -> Timestamp {
    Timestamp::from_millis(1_760_000_000_500)
}

fn key(number: u64) -> ReplayKey {
    ReplayKey::from_bytes(sha256(&number.to_be_bytes()))
}

fn guard() -> Arc<dyn ReplayGuard> {
    Arc::new(LocalReplayGuard::new(DEFAULT_ENTRIES))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_is_first() {
    let guard = guard();
    for round in 0..32 {
        let barrier = Arc::new(Barrier::new(CALLERS));
        let tasks: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (barrier, guard) = (Arc::clone(&barrier), Arc::clone(&guard));
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

#[tokio::test]
async fn keys_do_not_get_in_each_others_way() {
    let guard = guard();
    for number in 0..1_000 {
        assert_eq!(guard.spend(key(number), now() + Duration::from_secs(70), now()).await, Ok(Seen::First));
    }
    for number in 0..1_000 {
        assert_eq!(guard.spend(key(number), now() + Duration::from_secs(70), now()).await, Ok(Seen::Replayed));
    }
}

#[tokio::test]
async fn a_key_is_remembered_until_it_expires_and_never_for_less() {
    let expires = now() + Duration::from_millis(69_999);
    for millis in [0, 1, 69_998, 69_999] {
        let guard = guard();
        assert_eq!(guard.spend(key(1), expires, now()).await, Ok(Seen::First));
        let later = now() + Duration::from_millis(millis);
        assert_eq!(guard.spend(key(1), expires, later).await, Ok(Seen::Replayed), "after {millis} ms");
    }
}

#[tokio::test]
async fn the_ways_to_spend_agree() {
    let guard = guard();
    let expires = now() + Duration::from_secs(1);
    assert_eq!(guard.spend_now(key(1), expires, now()), Some(Ok(Seen::First)));
    assert_eq!(guard.spend(key(1), expires, now()).await, Ok(Seen::Replayed));
    assert_eq!(guard.spend_now(key(1), expires, now()), Some(Ok(Seen::Replayed)));
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

#[tokio::test]
async fn what_expired_makes_room() {
    let guard = LocalReplayGuard::new(640);
    let mut later = now();
    for round in 0..10 {
        let admitted = (0..10_000).map(|number| {
            let expires = later + Duration::from_secs(70);
            guard.spend_now(key(round * 10_000 + number), expires, later).expect("the local guard does not wait")
        });
        assert_eq!(admitted.filter(|answer| *answer == Ok(Seen::First)).count(), 640);
        later = later + Duration::from_secs(72);
    }
    assert_eq!(guard.len(), 640);
    assert!(!guard.is_empty());
}
