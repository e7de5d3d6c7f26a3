//! Clients.

use tonic::{Request, Response, Status};

use super::v1::client_service_server::ClientService;
use super::v1::{self, ClientOrigin, GetClientRequest, ListClientsRequest, ListClientsResponse};
use super::{Api, page, seconds, unavailable};
use crate::oauth::{self, ClientCursor, ListedClient};

#[tonic::async_trait]
impl ClientService for Api {
    async fn list_clients(&self, call: Request<ListClientsRequest>) -> Result<Response<ListClientsResponse>, Status> {
        let ListClientsRequest { page_size, page_token } = call.into_inner();
        let behind: ClientCursor =
            page_token.parse().map_err(|_| Status::invalid_argument("page_token is not one that a list has given"))?;
        let size = page::size(page_size);
        let listed = self.server.get().list_clients(&behind, size).await.map_err(|_| unavailable("list_clients"))?;
        let next_page_token = page::next(&listed, size, ListedClient::cursor);
        let clients = listed.into_iter().map(v1::Client::from).collect();
        Ok(Response::new(ListClientsResponse { clients, next_page_token }))
    }

    async fn get_client(&self, call: Request<GetClientRequest>) -> Result<Response<v1::Client>, Status> {
        let unknown = || Status::not_found("there is no client of that name");
        let id = call.into_inner().client_id.parse().map_err(|_| unknown())?;
        let found = self.server.get().find_client(&id).await.map_err(|_| unavailable("get_client"))?;
        Ok(Response::new(found.ok_or_else(unknown)?.into()))
    }
}

impl From<ListedClient> for v1::Client {
    fn from(listed: ListedClient) -> Self {
        let origin = match listed.origin {
            oauth::client::ClientOrigin::Operator => ClientOrigin::Configuration,
            oauth::client::ClientOrigin::Registration => ClientOrigin::Registration,
            oauth::client::ClientOrigin::Document => ClientOrigin::Unspecified,
        };
        let bare = Self {
            client_id: listed.id.to_string(),
            origin: origin.into(),
            registered_time: listed.registered_at.map(seconds),
            ..Self::default()
        };
        let Some(client) = listed.client else { return Self { disallowed: true, ..bare } };
        Self {
            client_name: client.name.clone(),
            token_endpoint_auth_method: client.authentication.name().to_owned(),
            grant_types: client.grant_types.iter().map(|grant| grant.name().to_owned()).collect(),
            redirect_uris: client.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect(),
            scope: client.scopes.to_string(),
            dpop_bound_access_tokens: client.dpop_bound_access_tokens,
            tls_client_certificate_bound_access_tokens: client.certificate_bound_access_tokens,
            ..bare
        }
    }
}
