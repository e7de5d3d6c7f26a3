//! Takes logout tokens to clients (OpenID Connect Back-Channel Logout 1.0 §2.5), behind the requests that made them.
//!
//! | what | how much |
//! |---|---|
//! | tokens that wait or are under way | 10,000; what comes more is dropped, with an event |
//! | sent at once | 32, of those 4 to one host |
//! | attempts | 4: at once, and 1, 5 and 20 seconds after one that failed |
//! | an attempt | 5 seconds |
//!
//! An answer of 2xx is the end, and so is one of 4xx but 408 and 429, since asking again would not change it.
//!
//! Invariant: everything waits in memory. A crash loses what was not delivered, and a stop in good order what is not delivered
//! within [`LAST_CHANCE`]; each token that is given up in good order is in the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::audit;
use crate::fetch::{FetchFault, FetchLimits, Fetcher, FetcherFault, Reach, Roots};
use crate::oauth::{LogoutNotice, LogoutNotices};

/// How many tokens wait to be looked at.
const QUEUE: usize = 1_000;

/// How many tokens wait for their turn or for another attempt besides.
const WAITING: usize = 9_000;

/// How many are sent at once, and how many of those to one host.
const AT_ONCE: usize = 32;
const TO_ONE_HOST: usize = 4;

/// How many hosts are remembered before those with nothing under way are forgotten.
const HOSTS: usize = 1_000;

/// The pauses before the attempts.
const PAUSES: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// How long one attempt may take, and how much of an answer is read.
const LIMITS: FetchLimits = FetchLimits { time: Duration::from_secs(5), size: 16 * 1_024 };

/// How long a stop waits for what is under way.
pub const LAST_CHANCE: Duration = Duration::from_secs(3);

/// Where tokens are handed in.
#[derive(Clone)]
pub struct Courier(mpsc::Sender<LogoutNotice>);

/// Takes them to their clients.
pub struct Round {
    queue: mpsc::Receiver<LogoutNotice>,
    carriers: Carriers,
    hosts: HashMap<String, Arc<Semaphore>>,
}

/// What a delivery needs.
#[derive(Clone)]
struct Carriers {
    /// Asks the public Internet only.
    public: Fetcher,
    /// Asks whom the operator has named.
    anywhere: Fetcher,
    all: Arc<Semaphore>,
}

/// A courier, and its round.
///
/// # Errors
/// [`FetcherFault`].
pub fn courier(roots: &Roots) -> Result<(Courier, Round), FetcherFault> {
    let (sender, queue) = mpsc::channel(QUEUE);
    let carriers = Carriers {
        public: Fetcher::new(Reach::Public, LIMITS, roots)?,
        anywhere: Fetcher::new(Reach::Anywhere, LIMITS, roots)?,
        all: Arc::new(Semaphore::new(AT_ONCE)),
    };
    Ok((Courier(sender), Round { queue, carriers, hosts: HashMap::new() }))
}

impl LogoutNotices for Courier {
    fn send(&self, notice: LogoutNotice) {
        if let Err(mpsc::error::TrySendError::Full(notice) | mpsc::error::TrySendError::Closed(notice)) =
            self.0.try_send(notice)
        {
            give_up(&notice, 0, "too many wait");
        }
    }
}

/// For a server none of whose clients is to be told.
pub struct NoCourier;

impl LogoutNotices for NoCourier {
    fn send(&self, notice: LogoutNotice) {
        give_up(&notice, 0, "there is nobody to take it");
    }
}

impl Round {
    /// Delivers until `stopped` resolves, and then what is under way, within [`LAST_CHANCE`].
    pub async fn run(mut self, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(notice) = self.queue.recv(), if under_way.len() < WAITING => self.take(notice, &mut under_way),
                Some(_) = under_way.join_next() => {}
            }
        }
        while let Ok(notice) = self.queue.try_recv() {
            self.take(notice, &mut under_way);
        }
        let rest = async { while under_way.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_CHANCE, rest).await.is_err() {
            tracing::warn!(lost = under_way.len(), "logout tokens were not delivered before the stop");
        }
    }

    fn take(&mut self, notice: LogoutNotice, under_way: &mut JoinSet<()>) {
        if self.hosts.len() >= HOSTS {
            self.hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let host = self.hosts.entry(notice.to.url.authority().to_owned());
        let host = Arc::clone(host.or_insert_with(|| Arc::new(Semaphore::new(TO_ONE_HOST))));
        under_way.spawn(deliver(notice, host, self.carriers.clone()));
    }
}

/// What came of an attempt.
enum Attempt {
    Delivered,
    Refused,
    Failed(&'static str),
}

async fn deliver(notice: LogoutNotice, host: Arc<Semaphore>, carriers: Carriers) {
    let mut attempts = 0;
    let mut last = "";
    for pause in PAUSES {
        wait(pause).await;
        attempts += 1;
        // Never closed; and whoever waits for a host keeps nobody else's place.
        let (Ok(_host), Ok(_all)) = (host.acquire().await, carriers.all.acquire().await) else { return };
        match attempt(&notice, &carriers).await {
            Attempt::Delivered => {
                let client = notice.client_id.as_str();
                tracing::info!(
                    target: audit::TARGET,
                    event = audit::LOGOUT_DELIVERED,
                    client.id = client,
                    attempts,
                    "`{client}` knows that a session is over"
                );
                return;
            }
            Attempt::Refused => return give_up(&notice, attempts, "the client refuses it"),
            Attempt::Failed(fault) => last = fault,
        }
    }
    give_up(&notice, attempts, last);
}

async fn attempt(notice: &LogoutNotice, carriers: &Carriers) -> Attempt {
    let fetcher = match notice.to.reach {
        Reach::Public => &carriers.public,
        Reach::Anywhere => &carriers.anywhere,
    };
    match fetcher.post(&notice.to.url, &[("logout_token", &notice.token)], None).await {
        Ok(answer) => match answer.status {
            200..=299 => Attempt::Delivered,
            408 | 429 | 500..=599 => Attempt::Failed("the client cannot take it now"),
            _ => Attempt::Refused,
        },
        Err(FetchFault::Address) => Attempt::Failed("`client_documents.private_addresses` keeps us from its address"),
        Err(_) => Attempt::Failed("the client cannot be reached"),
    }
}

fn give_up(notice: &LogoutNotice, attempts: u32, fault: &'static str) {
    let client = notice.client_id.as_str();
    tracing::warn!(
        target: audit::TARGET,
        event = audit::LOGOUT_UNDELIVERED,
        client.id = client,
        attempts,
        fault,
        "`{client}` was not told that a session is over: {fault}"
    );
}

/// Waits before another attempt.
async fn wait(pause: Duration) {
    if pause > Duration::ZERO {
        let mut ticks = tokio::time::interval(pause);
        ticks.tick().await; // the first comes at once
        ticks.tick().await;
    }
}
