//! The connection of a guard: made, looked at, given up and made again behind the checks, so that none waits for it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::connection::{Connection, Target};
use super::memory::{self, MemoryFault};
use crate::clock::{Clock, Timestamp};

/// How often the memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The first pause after an attempt to connect that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// No memory was found yet.
const NEVER: i64 = i64::MIN;

/// What checks need: a connection, if there is one.
pub(super) struct Link {
    /// With the number of its generation: who has met an error tells on which one.
    connection: RwLock<(Option<Connection>, u64)>,
    /// When the youngest memory that was found began, in milliseconds since the epoch.
    began: AtomicI64,
    /// Says that a check gave the connection up.
    given_up: Notify,
    /// How many attempts to connect are over.
    attempts: watch::Sender<u64>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            connection: RwLock::default(),
            began: AtomicI64::new(NEVER),
            given_up: Notify::new(),
            attempts: watch::Sender::new(0),
        }
    }
}

impl Link {
    /// The connection and its generation; `None` while there is none.
    pub(super) fn connection(&self) -> Option<(Connection, u64)> {
        let held = self.connection.read().unwrap_or_else(PoisonError::into_inner);
        held.0.clone().map(|connection| (connection, held.1))
    }

    /// When the memory began; `None` before one was found.
    pub(super) fn memory_began(&self) -> Option<Timestamp> {
        let began = self.began.load(Ordering::SeqCst);
        (began != NEVER).then(|| Timestamp::from_millis(began))
    }

    /// Stops using a connection, unless another one has taken its place: nobody else shall wait as long as its finder did.
    pub(super) fn give_up(&self, generation: u64, cause: &str) {
        let mut held = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if held.1 == generation && held.0.take().is_some() {
            tracing::warn!(cause, "the replay guard lost its Redis: what needs a proof is answered with 503");
            self.given_up.notify_one();
        }
    }

    /// Resolves when the first attempt to connect is over.
    pub(super) async fn first_attempt(&self) {
        let mut attempts = self.attempts.subscribe();
        let _ = attempts.wait_for(|attempts| *attempts > 0).await; // an error means that nobody will ever attempt it
    }

    fn publish(&self, connection: Connection) {
        let mut held = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        *held = (Some(connection), held.1 + 1);
    }

    fn generation(&self) -> u64 {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// Looks after a link.
pub(super) struct Keeper {
    link: Arc<Link>,
    target: Target,
    /// What the keys of memories begin with.
    memories: String,
    clock: Arc<dyn Clock>,
}

impl Keeper {
    pub(super) fn new(link: Arc<Link>, target: Target, memories: String, clock: Arc<dyn Clock>) -> Self {
        Self { link, target, memories, clock }
    }

    /// Connects again and again, for ever.
    pub(super) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new(); // a cause is logged once, not at every attempt
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!("the replay guard has a Redis that remembers");
                    self.link.attempts.send_modify(|attempts| *attempts += 1);
                    (pause, told) = (FIRST_PAUSE, String::new());
                    self.watch(connection).await;
                }
                Err(fault) => {
                    let cause = fault.to_string();
                    if cause != told {
                        tracing::error!(
                            cause,
                            "the replay guard has no Redis: what needs a proof is answered with 503"
                        );
                        told = cause;
                    }
                    self.link.attempts.send_modify(|attempts| *attempts += 1);
                    sleep_until(Instant::now() + pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Connects, and has the fence know of the memory before anybody uses it.
    async fn connect(&self) -> Result<Connection, MemoryFault> {
        let mut connection = self.target.connect().await?;
        self.look(&mut connection).await?;
        self.link.publish(connection.clone());
        Ok(connection)
    }

    /// Looks at the memory every second, until a check or a look fails.
    async fn watch(&self, mut connection: Connection) {
        let generation = self.link.generation();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.link.given_up.notified() => return,
                _ = looks.tick() => {}
            }
            if let Err(fault) = self.look(&mut connection).await {
                self.link.give_up(generation, &fault.to_string());
            }
        }
    }

    async fn look(&self, connection: &mut Connection) -> Result<(), MemoryFault> {
        let began = memory::look(connection, &self.memories, self.clock.now()).await?;
        let before = self.link.began.fetch_max(began.millis(), Ordering::SeqCst);
        if before != NEVER && before < began.millis() {
            tracing::warn!(
                "the Redis of the replay guard has forgotten: proofs that were made before need a nonce now"
            );
        }
        Ok(())
    }
}
