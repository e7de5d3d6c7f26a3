//! `tollgate admin sessions`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::table::table;
use super::{AdminError, Call};
use crate::cli::quote;
use crate::grpc::admin::v1::session_service_client::SessionServiceClient;
use crate::grpc::admin::v1::{EndSessionsRequest, ListSessionsRequest, Session};

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// List those of a person
    List {
        /// The person
        subject: String,
    },
    /// End one of a person, or all, and tell their clients
    End {
        /// The person
        subject: String,
        /// The name of the session; all if it is left out
        #[arg(allow_hyphen_values = true)]
        id: Option<String>,
    },
}

impl Sessions {
    /// Calls, and reports.
    pub(super) async fn run(self, call: &Call) -> Result<(), AdminError> {
        let mut service = SessionServiceClient::new(call.channel.clone());
        match self {
            Self::List { subject } => {
                let request = ListSessionsRequest { subject: subject.clone() };
                let sessions = service.list_sessions(request).await?.into_inner().sessions;
                let rows = || sessions.iter().map(|session| row(call, session));
                let text = || table(["SESSION", "SIGNED IN", "ENDS UNUSED", "ENDS", "ACR"], rows());
                call.report(text, || json!({ "sessions": sessions.iter().map(document).collect::<Vec<_>>() }));
                if !sessions.is_empty() {
                    eprintln!("next: tollgate admin sessions end {}", quote(&subject));
                }
            }
            Self::End { subject, id } => {
                let request = EndSessionsRequest { subject: subject.clone(), id: id.unwrap_or_default() };
                service.end_sessions(request).await?;
                call.report(|| "ended\n".to_owned(), || json!({ "ended": true }));
                eprintln!("what applications were granted goes on");
                eprintln!("next: tollgate admin grants list --subject {}", quote(&subject));
            }
        }
        Ok(())
    }
}

fn row(call: &Call, session: &Session) -> [String; 5] {
    [
        session.id.clone(),
        call.ago(session.auth_time),
        call.ahead(session.idle_expire_time),
        call.ahead(session.expire_time),
        session.acr.clone(),
    ]
}

fn document(session: &Session) -> Value {
    json!({
        "id": session.id,
        "subject": session.subject,
        "auth_time": session.auth_time,
        "acr": session.acr,
        "idle_expire_time": session.idle_expire_time,
        "expire_time": session.expire_time,
    })
}
