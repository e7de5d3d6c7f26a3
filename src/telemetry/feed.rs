//! The events for auditors, as they happen, for those who watch.
//!
//! Invariant: who speaks waits for nobody. A watcher that is too slow is told how much it has missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::audit;

/// How many events wait for the slowest watcher. What it has not read by then is lost to it.
pub const FEED_LIMIT: usize = 1_024;

/// The events for auditors, for any number of watchers. A layer of the log, and the place to listen; clones are the same
/// feed.
#[derive(Clone)]
pub struct Feed(broadcast::Sender<Arc<Heard>>);

/// An event that was heard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    /// When it happened: who watches slowly hears of it later.
    pub at: Instant,
    /// Its name.
    pub event: String,
    /// `info` or `warn`.
    pub level: String,
    /// Its fields.
    pub fields: BTreeMap<String, String>,
    /// The sentence that people read.
    pub message: String,
}

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(FEED_LIMIT))
    }
}

impl Feed {
    /// What happens from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Heard>> {
        self.0.subscribe()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Feed {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        if about.target() != audit::TARGET || self.0.receiver_count() == 0 {
            return;
        }
        let mut read = Reading::default();
        event.record(&mut read);
        let Reading { mut fields } = read;
        let heard = Heard {
            at: Instant::now(),
            event: fields.remove("event").unwrap_or_default(),
            level: about.level().as_str().to_ascii_lowercase(),
            message: fields.remove("message").unwrap_or_default(),
            fields,
        };
        let _ = self.0.send(Arc::new(heard)); // the last watcher may have gone just now
    }
}

/// The fields of an event, as text.
#[derive(Default)]
struct Reading {
    fields: BTreeMap<String, String>,
}

impl Visit for Reading {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn events_are_heard_and_whoever_is_slow_is_told_what_it_missed() {
        let feed = Feed::default();
        let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(feed.clone()));
        let mut watcher = feed.watch();
        tracing::info!("not for auditors");
        tracing::warn!(target: audit::TARGET, event = "key.withdrawn", kid = "k", status = 1, "gone");
        let heard = watcher.try_recv().expect("an event");
        assert_eq!(
            (heard.event.as_str(), heard.level.as_str(), heard.message.as_str()),
            ("key.withdrawn", "warn", "gone")
        );
        assert_eq!(heard.fields["kid"], "k");
        assert_eq!(heard.fields["status"], "1");
        for _ in 0..FEED_LIMIT + 3 {
            tracing::info!(target: audit::TARGET, event = "token.issued", "a token");
        }
        assert_eq!(watcher.try_recv(), Err(TryRecvError::Lagged(3)));
        assert!(watcher.try_recv().is_ok(), "it goes on");
    }
}
