//! `tollgate admin watch`: one line an event, until somebody ends it.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use clap::Args;
use serde_json::json;

use super::table::plain;
use super::{AdminError, Call, Output};
use crate::grpc::admin::v1::audit_service_client::AuditServiceClient;
use crate::grpc::admin::v1::watch_events_response::Told;
use crate::grpc::admin::v1::{AuditEvent, WatchEventsRequest};

/// What to watch.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Only these events, such as `token.issued`; all if none is named
    #[arg(value_name = "EVENT")]
    events: Vec<String>,
}

impl Watch {
    /// Prints events as they happen: text, or one JSON object a line.
    pub(super) async fn run(self, call: &Call) -> Result<(), AdminError> {
        let mut service = AuditServiceClient::new(call.channel.clone());
        let mut told = service.watch_events(WatchEventsRequest { events: self.events }).await?.into_inner();
        eprintln!("watching; what happened before is in the log");
        while let Some(response) = told.message().await? {
            let line = match (response.told, call.output) {
                (Some(Told::Event(event)), Output::Text) => text(&event),
                (Some(Told::Event(event)), Output::Json) => document(&event).to_string(),
                (Some(Told::Lost(lost)), Output::Text) => format!("({lost} events came too fast and are lost here)"),
                (Some(Told::Lost(lost)), Output::Json) => json!({ "lost": lost }).to_string(),
                (None, _) => continue,
            };
            if writeln!(io::stdout(), "{line}").is_err() {
                return Ok(()); // nobody reads any more
            }
        }
        eprintln!("the server has ended");
        Ok(())
    }
}

fn text(event: &AuditEvent) -> String {
    let fields: BTreeMap<_, _> = event.fields.iter().collect();
    let begin = format!("{} {}", event.level, event.event);
    plain(&fields.into_iter().fold(begin, |line, (name, value)| line + " " + name + "=" + value))
}

fn document(event: &AuditEvent) -> serde_json::Value {
    json!({
        "time_millis": event.time_millis,
        "event": event.event,
        "level": event.level,
        "fields": event.fields,
        "message": event.message,
    })
}
