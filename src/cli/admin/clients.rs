//! `tollgate admin clients`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::table::{facts, table};
use super::{AdminError, Call, Page, tell_of_more};
use crate::cli::quote;
use crate::grpc::admin::v1::client_service_client::ClientServiceClient;
use crate::grpc::admin::v1::{Client, ClientOrigin, GetClientRequest, ListClientsRequest};

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// List them by name
    List(Page),
    /// Show one of them
    Show {
        /// Its `client_id`
        #[arg(allow_hyphen_values = true)]
        client_id: String,
    },
}

impl Clients {
    /// Calls, and reports.
    pub(super) async fn run(self, call: &Call) -> Result<(), AdminError> {
        let mut service = ClientServiceClient::new(call.channel.clone());
        match self {
            Self::List(Page { limit, page }) => {
                let request = ListClientsRequest { page_size: limit, page_token: page };
                let page = service.list_clients(request).await?.into_inner();
                let rows = || page.clients.iter().map(row);
                let text = || table(["CLIENT", "ORIGIN", "AUTHENTICATION", "GRANT TYPES", "NAME"], rows());
                let json = || {
                    json!({ "clients": page.clients.iter().map(document).collect::<Vec<_>>(),
                                      "next_page_token": page.next_page_token })
                };
                call.report(text, json);
                tell_of_more(&page.next_page_token);
            }
            Self::Show { client_id } => {
                let client = service.get_client(GetClientRequest { client_id }).await?.into_inner();
                call.report(|| description(call, &client), || document(&client));
                eprintln!("next: tollgate admin grants list --client {}", quote(&client.client_id));
            }
        }
        Ok(())
    }
}

fn origin(client: &Client) -> &'static str {
    match client.origin() {
        ClientOrigin::Unspecified => "unknown",
        ClientOrigin::Configuration => "configuration",
        ClientOrigin::Registration => "registration",
    }
}

fn row(client: &Client) -> [String; 5] {
    let disallowed = || "(no longer allowed)".to_owned();
    [
        client.client_id.clone(),
        origin(client).to_owned(),
        client.token_endpoint_auth_method.clone(),
        client.grant_types.iter().map(|name| short(name)).collect::<Vec<_>>().join(" "),
        if client.disallowed { disallowed() } else { client.client_name.clone() },
    ]
}

/// The name of a grant type without its namespace.
fn short(grant_type: &str) -> &str {
    grant_type.rsplit(':').next().unwrap_or(grant_type)
}

fn description(call: &Call, client: &Client) -> String {
    let yes = |holds: bool| if holds { "yes".to_owned() } else { String::new() };
    facts([
        ("client_id", client.client_id.clone()),
        ("client_name", client.client_name.clone()),
        ("origin", origin(client).to_owned()),
        ("registered", client.registered_time.map(|at| call.ago(at)).unwrap_or_default()),
        ("no longer allowed", yes(client.disallowed)),
        ("authentication", client.token_endpoint_auth_method.clone()),
        ("grant_types", client.grant_types.join(" ")),
        ("redirect_uris", client.redirect_uris.join(" ")),
        ("scope", client.scope.clone()),
        ("DPoP always", yes(client.dpop_bound_access_tokens)),
        ("certificate always", yes(client.tls_client_certificate_bound_access_tokens)),
    ])
}

fn document(client: &Client) -> Value {
    json!({
        "client_id": client.client_id,
        "client_name": client.client_name,
        "origin": origin(client),
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "grant_types": client.grant_types,
        "redirect_uris": client.redirect_uris,
        "scope": client.scope,
        "dpop_bound_access_tokens": client.dpop_bound_access_tokens,
        "tls_client_certificate_bound_access_tokens": client.tls_client_certificate_bound_access_tokens,
        "registered_time": client.registered_time,
        "disallowed": client.disallowed,
    })
}
