//! Events for auditors, as they happen.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::v1::audit_service_server::AuditService;
use super::v1::watch_events_response::Told;
use super::v1::{AuditEvent, WatchEventsRequest, WatchEventsResponse};
use super::{Act, Api, acted, caller};
use crate::audit;
use crate::clock::{Clock, Timestamp};
use crate::telemetry::Heard;

/// How many watch at once.
pub const WATCHERS: usize = 16;

/// How many events are on their way to one watcher, beside those that wait in the feed.
const ON_THE_WAY: usize = 16;

#[tonic::async_trait]
impl AuditService for Api {
    type WatchEventsStream = ReceiverStream<Result<WatchEventsResponse, Status>>;

    async fn watch_events(
        &self,
        call: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let by = caller(&call);
        let wanted: HashSet<String> = call.into_inner().events.into_iter().collect();
        if wanted.iter().any(|event| !audit::ALL.contains(&event.as_str())) {
            return Err(Status::invalid_argument("events names one that there is not"));
        }
        let place = Arc::clone(&self.watchers).try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("as many watch as may"))?;
        acted("watch_events", &by, &Act::default());
        let (told, answer) = mpsc::channel(ON_THE_WAY);
        let watching = Watching {
            heard: self.installation.feed.watch(),
            wanted,
            told,
            closing: self.closing.subscribe(),
            clock: Arc::clone(&self.clock),
            _place: place,
        };
        tokio::spawn(watching.run());
        Ok(Response::new(ReceiverStream::new(answer)))
    }
}

/// Somebody who watches.
struct Watching {
    heard: Receiver<Arc<Heard>>,
    /// Only these; all if it is empty.
    wanted: HashSet<String>,
    told: mpsc::Sender<Result<WatchEventsResponse, Status>>,
    /// Whether the server ends.
    closing: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// Tells what happens until the watcher goes or the server ends.
    async fn run(mut self) {
        loop {
            let heard = tokio::select! {
                heard = self.heard.recv() => heard,
                _ = self.closing.wait_for(|closing| *closing) => return,
                () = self.told.closed() => return,
            };
            let told = match heard {
                Ok(heard) if self.wanted.is_empty() || self.wanted.contains(&heard.event) => {
                    Told::Event(event(&heard, self.clock.now()))
                }
                Ok(_) => continue,
                Err(RecvError::Lagged(lost)) => Told::Lost(lost),
                Err(RecvError::Closed) => return,
            };
            let response = WatchEventsResponse { told: Some(told) };
            tokio::select! {
                sent = self.told.send(Ok(response)) => if sent.is_err() { return },
                _ = self.closing.wait_for(|closing| *closing) => return,
            }
        }
    }
}

/// An event that was heard, with the time at which it happened.
fn event(heard: &Heard, now: Timestamp) -> AuditEvent {
    AuditEvent {
        time_millis: now.before(heard.at.elapsed()).millis(),
        event: heard.event.clone(),
        level: heard.level.clone(),
        fields: heard.fields.clone().into_iter().collect(),
        message: heard.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn an_event_has_the_time_at_which_it_happened() {
        let heard = Heard {
            at: Instant::now().checked_sub(Duration::from_mins(1)).expect("it runs for longer"),
            event: "key.withdrawn".into(),
            level: "warn".into(),
            fields: std::collections::BTreeMap::new(),
            message: "gone".into(),
        };
        let now = Timestamp::from_seconds(1_760_000_000);
        let time = Timestamp::from_millis(event(&heard, now).time_millis);
        assert!(time <= now.before(Duration::from_mins(1)) && time > now.before(Duration::from_mins(2)), "{time}");
    }
}
