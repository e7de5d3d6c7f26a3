//! What is over is swept as fast as it comes, and nothing else waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tollgate::clock::Clock as _;
use tollgate::replay::{ReplayKey, Seen};
use tollgate::store::{Limits, MemoryStore, Store, Unavailable};

use crate::redis::until;
use crate::tap::{Tap, TappedStore};
use crate::world::{TestClock, World};

/// Counts batches of the sweeper and notes of life; each batch may take for ever.
#[derive(Default)]
struct Watch {
    hangs: bool,
    batches: AtomicUsize,
    notes: AtomicUsize,
}

#[async_trait]
impl Tap for Watch {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        match call {
            "sweep" if self.hangs => std::future::pending().await,
            "note_alive" => drop(self.notes.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
        Ok(())
    }

    async fn after(&self, call: &'static str) -> Result<(), Unavailable> {
        if call == "sweep" {
            self.batches.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

async fn world(store: MemoryStore, watch: &Arc<Watch>) -> World {
    let tap = Arc::clone(watch) as Arc<dyn Tap>;
    World::start_on(Arc::new(TappedStore { inner: Arc::new(store), tap }), |_| {}).await
}

/// A client that spends 2,000 assertions a second must not fill the store for all: in a round of the sweeper, thousands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_round_removes_all_that_is_due() {
    const DUE: u64 = 30_000;
    let store = MemoryStore::new(Limits::default());
    let now = TestClock::default().now();
    for number in 0..DUE {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let before = now.before(Duration::from_mins(2));
        assert_eq!(store.spend_assertion(ReplayKey::from_bytes(key), before, before).await, Ok(Seen::First));
    }
    let watch = Arc::default();
    let world = world(store, &watch).await;
    until("a batch", || async { watch.batches.load(Ordering::SeqCst) > 0 }).await;
    let began = Instant::now();
    until("the end of the backlog", || async { watch.batches.load(Ordering::SeqCst) > 60 }).await;
    assert!(began.elapsed() < Duration::from_secs(10), "that took more than one round: {:?}", began.elapsed());
    drop(world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_takes_long_keeps_no_note_of_life_waiting() {
    let watch = Arc::new(Watch { hangs: true, ..Watch::default() });
    let world = world(MemoryStore::new(Limits::default()), &watch).await;
    let before = watch.notes.load(Ordering::SeqCst);
    until("two more notes of life", || async { watch.notes.load(Ordering::SeqCst) >= before + 2 }).await;
    assert_eq!(watch.batches.load(Ordering::SeqCst), 0);
    drop(world);
}
