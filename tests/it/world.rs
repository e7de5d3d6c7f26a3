//! A whole server in this process, with a clock that tests set and every event in reach.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::clock::{Clock, Timestamp};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::jose::{Algorithm, SigningKey};
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// A clock that tests set. It begins in October 2025 and stands still.
pub struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_760_000_000_000))
    }
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).expect("a short time"), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Every event of a world: what `refusal`, `denial` and `outcome` fields said, and all of it as text.
#[derive(Clone, Default)]
pub struct Events {
    said: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    /// A subscriber that hears nothing. While there is only one, tracing judges a place that speaks for the first time by
    /// the thread that happens to be there; if that is another test's, the place stays silent for this one too.
    _second: Option<Dispatch>,
}

impl Events {
    /// The last value of a field.
    pub fn last(&self, field: &str) -> Option<String> {
        let events = self.said.lock().expect("no test panics with the lock");
        events.iter().rev().find_map(|event| event.get(field).cloned())
    }

    /// Everything that was said, one event a line.
    pub fn text(&self) -> String {
        let events = self.said.lock().expect("no test panics with the lock");
        events.iter().map(|event| format!("{event:?}\n")).collect()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Fields(BTreeMap<String, String>);
        impl Visit for Fields {
            fn record_str(&mut self, field: &Field, value: &str) {
                self.0.insert(field.name().to_owned(), value.to_owned());
            }

            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name().to_owned(), format!("{value:?}"));
            }
        }
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        self.said.lock().expect("no test panics with the lock").push(fields.0);
    }
}

impl Events {
    /// Listens to everything that this thread says from now on: to a whole world, in a runtime of one thread.
    pub fn listen() -> (Self, DefaultGuard) {
        let events = Self { _second: Some(Dispatch::new(tracing_subscriber::registry())), ..Self::default() };
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(events.clone()));
        (events, guard)
    }
}

/// A port of this machine that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
