//! Waiting for news of a list at an issuer that lets others wait (RFC 7240 §4.3).
//!
//! | the issuer | then |
//! |---|---|
//! | tells of another list | that one counts, and a quarter of a second later it is asked again |
//! | says that there is none, as late as it was asked to | the list is as fresh as if it had just been fetched, and it is asked again |
//! | says so sooner | the same, but it is not asked more often than once a second |
//! | lets nobody wait any longer | the list is fetched by its `ttl` |
//! | does not answer | it is asked again a second later, and after twice as long each time, up to a minute |

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::{Copied, List, TTL};
use crate::clock::{self, Clock, Timestamp};

/// How long anybody is asked to wait at most: proxies give up on answers that take longer.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(12);

/// How soon after news it is asked for more.
const AFTER_NEWS: Duration = Duration::from_millis(250);

/// How often it is asked for news where there is none.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The longest pause after an issuer did not answer.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How the waiting for news of one list goes on.
#[derive(Default)]
pub(super) struct Waiting {
    /// Whether somebody does.
    begun: bool,
    /// How often in a row the issuer did not answer.
    failures: u32,
    /// When it may be asked again.
    resumes: Timestamp,
}

impl List {
    /// Whether it has to be waited for news of this list from now on; then somebody does.
    pub(super) fn begins_to_wait(&self, now: Timestamp) -> bool {
        if self.known(now).is_none() {
            return false;
        }
        let mut waiting = self.waiting();
        let begins = !waiting.begun && now >= waiting.resumes;
        waiting.begun |= begins;
        begins
    }

    /// The list at hand, if it is possible to wait for another one, and for how long: so that it is not fetched meanwhile.
    fn known(&self, now: Timestamp) -> Option<(Arc<Copied>, Duration)> {
        let copied = self.kept.at_hand(now).filter(|copied| copied.waits && copied.tag.is_some())?;
        let wait = copied.list.ttl().unwrap_or(TTL) * 5 / 8;
        Some((copied, wait.clamp(Duration::from_secs(1), LONGEST_WAIT)))
    }

    /// Nobody waits any longer, for now.
    fn ends_to_wait(&self, failed: bool, now: Timestamp) {
        let mut waiting = self.waiting();
        waiting.begun = false;
        waiting.failures = if failed { waiting.failures.saturating_add(1) } else { 0 };
        if failed {
            let pause = Duration::from_secs(1 << (waiting.failures - 1).min(6)).min(LONGEST_PAUSE);
            waiting.resumes = now + pause;
        }
    }

    /// No change is left half-made, so a poisoned lock is as good as a whole one.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for news of a list again and again, for as long as somebody keeps it and its issuer lets us.
pub(super) async fn wait(list: Weak<List>, clock: Arc<dyn Clock>) {
    loop {
        let Some(this) = list.upgrade() else { return };
        let Some((known, wait)) = this.known(clock.now()) else { return this.ends_to_wait(false, clock.now()) };
        let origin = Arc::clone(&this.origin);
        drop(this); // nobody may name it any more, while we wait
        let asked = Instant::now();
        let answer = match origin.ask(known.tag.as_deref(), wait).await {
            Ok(Some(fetched)) => origin.take(fetched, clock.now()).await.map(Some),
            Ok(None) => Ok(None),
            Err(fault) => Err(fault),
        };
        let Some(this) = list.upgrade() else { return };
        let now = clock.now();
        let pause = match answer {
            Ok(Some(got)) => {
                this.kept.replace(got, now);
                AFTER_NEWS
            }
            Ok(None) => {
                this.kept.confirm(&known, now);
                AT_MOST_EVERY.saturating_sub(asked.elapsed())
            }
            Err(fault) => {
                tracing::debug!(url = origin.url.as_str(), %fault, "nobody tells whether a status list has changed: {fault}");
                return this.ends_to_wait(true, now);
            }
        };
        this.waiting().failures = 0;
        drop(this);
        clock::pause(pause).await;
    }
}
