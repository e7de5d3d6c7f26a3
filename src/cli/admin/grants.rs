//! `tollgate admin grants`.

use std::io::{IsTerminal as _, Write as _, stderr};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::table::{facts, table};
use super::{AdminError, Call, Page, tell_of_more};
use crate::cli::quote;
use crate::cli::signals::Signals;
use crate::grpc::admin::v1::grant_service_client::GrantServiceClient;
use crate::grpc::admin::v1::revoke_grants_request::Of;
use crate::grpc::admin::v1::{
    GetGrantRequest, Grant, GrantOrigin, ListGrantsRequest, RevokeGrantRequest, RevokeGrantsRequest,
    RevokeGrantsResponse, SenderConstraint,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Grants {
    /// List those that live
    List {
        /// Only those of this person
        #[arg(long, value_name = "SUBJECT", default_value = "")]
        subject: String,
        /// Only those of this client
        #[arg(long, value_name = "CLIENT_ID", default_value = "")]
        client: String,
        #[command(flatten)]
        page: Page,
    },
    /// Show one of them, ended or not
    Show {
        /// Its name, `grant_id` of access tokens
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// End one, or all of a person or a client, with every token of them
    Revoke(Revoke),
}

/// What to end.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("of").required(true).args(["id", "subject", "client"]))]
pub(super) struct Revoke {
    /// The name of one grant
    #[arg(allow_hyphen_values = true)]
    id: Option<String>,
    /// All of this person
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// All of this client
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
}

impl Grants {
    /// Calls, and reports.
    pub(super) async fn run(self, call: &Call) -> Result<(), AdminError> {
        let mut service = GrantServiceClient::new(call.channel.clone());
        match self {
            Self::List { subject, client, page: Page { limit, page } } => {
                let request = ListGrantsRequest { subject, client_id: client, page_size: limit, page_token: page };
                let page = service.list_grants(request).await?.into_inner();
                let rows = || page.grants.iter().map(|grant| row(call, grant));
                let text = || table(["GRANT", "SUBJECT", "CLIENT", "BEGAN", "USED", "ENDS", "SCOPE"], rows());
                let json = || {
                    json!({ "grants": page.grants.iter().map(document).collect::<Vec<_>>(),
                                      "next_page_token": page.next_page_token })
                };
                call.report(text, json);
                tell_of_more(&page.next_page_token);
                if let Some(grant) = page.grants.first() {
                    eprintln!("next: tollgate admin grants show {}", quote(&grant.id));
                }
            }
            Self::Show { id } => {
                let grant = service.get_grant(GetGrantRequest { id }).await?.into_inner();
                call.report(|| description(call, &grant), || document(&grant));
                if grant.end_time.is_none() {
                    eprintln!("next: tollgate admin grants revoke {}", quote(&grant.id));
                }
            }
            Self::Revoke(revoke) => revoke.run(call, &mut service).await?,
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self, call: &Call, service: &mut GrantServiceClient<Channel>) -> Result<(), AdminError> {
        let of = match (self.id, self.subject, self.client) {
            (Some(id), ..) => {
                let ended = service.revoke_grant(RevokeGrantRequest { id: id.clone() }).await?.into_inner().ended;
                let text = || if ended { format!("{id}: ended\n") } else { format!("{id}: was over before\n") };
                call.report(text, || json!({ "ended": u64::from(ended) }));
                return Ok(());
            }
            (None, Some(subject), _) => Of::Subject(subject),
            (None, None, Some(client)) => Of::ClientId(client),
            (None, None, None) => return Err(AdminError::Refused("name a grant, a person or a client".to_owned())),
        };
        let mut so_far = SoFar::default();
        let went_on = so_far.go_on(service, &of).await;
        let ended = so_far.ended;
        if ended > 0 || went_on.is_ok() {
            call.report(|| format!("{ended} ended\n"), || json!({ "ended": ended, "all": went_on.is_ok() }));
        }
        went_on?;
        if let Of::Subject(subject) = of {
            eprintln!("they are still signed in where they are, and may grant anew");
            eprintln!("next: tollgate admin sessions end {}", quote(&subject));
        }
        Ok(())
    }
}

/// How many grants one call ends at most: a second's work, where a call has ten.
const STEP: u32 = 5_000;

/// The end of many grants, step by step. What has ended stays so, whatever stops this.
#[derive(Default)]
struct SoFar {
    ended: u64,
    /// Where the next step begins.
    next_page_token: String,
    /// Whether a terminal shows how many there were.
    shown: bool,
}

impl SoFar {
    /// Ends one page after the other until none is left, a step fails, or somebody says so.
    async fn go_on(&mut self, service: &mut GrantServiceClient<Channel>, of: &Of) -> Result<(), AdminError> {
        let mut signals = Signals::listen().map_err(AdminError::Signals)?;
        let mut stops = false;
        loop {
            let page_token = std::mem::take(&mut self.next_page_token);
            let request = RevokeGrantsRequest { of: Some(of.clone()), page_size: STEP, page_token };
            let step = service.revoke_grants(request);
            tokio::pin!(step);
            let answer = loop {
                tokio::select! {
                    biased;
                    _ = signals.next() => {
                        if stops {
                            return Err(AdminError::Stopped("some of the last step may have ended beside those"));
                        }
                        stops = true;
                        self.hide();
                        let _ = writeln!(stderr(), "stopping when this step has ended; once more to stop at once");
                    }
                    answer = &mut step => break answer,
                }
            };
            self.hide();
            let RevokeGrantsResponse { ended, next_page_token } = answer?.into_inner();
            self.ended += ended;
            if next_page_token.is_empty() {
                return Ok(());
            }
            if stops {
                return Err(AdminError::Stopped("the others go on"));
            }
            self.next_page_token = next_page_token;
            self.show();
        }
    }

    /// Shows on a terminal how far it has come.
    fn show(&mut self) {
        if stderr().is_terminal() {
            eprint!("\r{} ended so far", self.ended);
            self.shown = true;
        }
    }

    /// Takes that away again.
    fn hide(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}

fn origin(grant: &Grant) -> &'static str {
    match grant.origin() {
        GrantOrigin::Unspecified => "unknown",
        GrantOrigin::Browser => "browser",
        GrantOrigin::Device => "device",
    }
}

fn constraint(grant: &Grant) -> &'static str {
    match grant.sender_constraint() {
        SenderConstraint::Unspecified => "none",
        SenderConstraint::Dpop => "dpop",
        SenderConstraint::Certificate => "certificate",
    }
}

fn row(call: &Call, grant: &Grant) -> [String; 7] {
    [
        grant.id.clone(),
        grant.subject.clone(),
        grant.client_id.clone(),
        call.ago(grant.create_time),
        call.ago(grant.use_time),
        call.ahead(grant.idle_expire_time.min(grant.expire_time)),
        grant.scope.clone(),
    ]
}

fn description(call: &Call, grant: &Grant) -> String {
    let ended = grant.end_time.map(|at| format!("{}, by {}", call.ago(at), grant.ended_by)).unwrap_or_default();
    let ends = if ended.is_empty() { call.ahead(grant.expire_time) } else { String::new() };
    let idle = if ended.is_empty() { call.ahead(grant.idle_expire_time) } else { String::new() };
    facts([
        ("grant", grant.id.clone()),
        ("subject", grant.subject.clone()),
        ("client", grant.client_id.clone()),
        ("scope", grant.scope.clone()),
        ("resource", grant.resource.clone()),
        ("details", grant.authorization_details.clone()),
        ("began", format!("{}, {} {}", call.ago(grant.create_time), origin(grant), grant.origin_address)),
        ("signed in", call.ago(grant.auth_time)),
        ("acr", grant.acr.clone()),
        ("bound to", format!("{} {}", constraint(grant), grant.bound_to)),
        ("used", call.ago(grant.use_time)),
        ("ends unused", idle),
        ("ends", ends),
        ("ended", ended),
    ])
}

fn document(grant: &Grant) -> Value {
    json!({
        "id": grant.id,
        "client_id": grant.client_id,
        "subject": grant.subject,
        "scope": grant.scope,
        "resource": grant.resource,
        "authorization_details": serde_json::from_str::<Value>(&grant.authorization_details).unwrap_or_default(),
        "origin": origin(grant),
        "origin_address": grant.origin_address,
        "auth_time": grant.auth_time,
        "acr": grant.acr,
        "sender_constraint": constraint(grant),
        "bound_to": grant.bound_to,
        "create_time": grant.create_time,
        "use_time": grant.use_time,
        "idle_expire_time": grant.idle_expire_time,
        "expire_time": grant.expire_time,
        "end_time": grant.end_time,
        "ended_by": grant.ended_by,
    })
}
