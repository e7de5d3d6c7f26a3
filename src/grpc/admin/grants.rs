//! Grants.

use tonic::{Request, Response, Status};

use super::v1::grant_service_server::GrantService;
use super::v1::revoke_grants_request::Of;
use super::v1::{
    self, GetGrantRequest, GrantOrigin, ListGrantsRequest, ListGrantsResponse, RevokeGrantRequest, RevokeGrantResponse,
    RevokeGrantsRequest, RevokeGrantsResponse, SenderConstraint,
};
use super::{Act, Api, acted, caller, page, seconds, unavailable};
use crate::ident::{ClientId, Subject};
use crate::secret::base64url;
use crate::store::{self, Grant, GrantHandle, GrantQuery, SomeEnded};

#[tonic::async_trait]
impl GrantService for Api {
    async fn list_grants(&self, call: Request<ListGrantsRequest>) -> Result<Response<ListGrantsResponse>, Status> {
        let ListGrantsRequest { subject, client_id, page_size, page_token } = call.into_inner();
        let query = GrantQuery {
            subject: if subject.is_empty() { None } else { Some(parsed_subject(&subject)?) },
            client_id: if client_id.is_empty() { None } else { Some(parsed_client(&client_id)?) },
            after: page::behind(&page_token)?.map(GrantHandle),
        };
        let size = page::size(page_size);
        let listed = self.server.get().list_grants(&query, self.clock.now(), size).await;
        let listed = listed.map_err(|_| unavailable("list_grants"))?;
        let next_page_token = page::next(&listed, size, |grant| page::named(&grant.handle.0));
        let grants = listed.iter().map(v1::Grant::from).collect();
        Ok(Response::new(ListGrantsResponse { grants, next_page_token }))
    }

    async fn get_grant(&self, call: Request<GetGrantRequest>) -> Result<Response<v1::Grant>, Status> {
        let handle = handle(&call.into_inner().id)?;
        let found = self.server.get().find_grant(handle).await.map_err(|_| unavailable("get_grant"))?;
        Ok(Response::new((&found.ok_or_else(unknown)?).into()))
    }

    async fn revoke_grant(&self, call: Request<RevokeGrantRequest>) -> Result<Response<RevokeGrantResponse>, Status> {
        let (by, now) = (caller(&call), self.clock.now());
        let handle = handle(&call.into_inner().id)?;
        let revoked = self.server.get().revoke_grant(handle, now).await.map_err(|_| unavailable("revoke_grant"))?;
        let grant = revoked.ok_or_else(unknown)?;
        let act = Act {
            subject: Some(grant.subject.as_str()),
            client_id: Some(grant.client_id.as_str()),
            grant: Some(handle),
            ..Act::default()
        };
        acted("revoke_grant", &by, &act);
        Ok(Response::new(RevokeGrantResponse { ended: grant.is_live(now) }))
    }

    async fn revoke_grants(
        &self,
        call: Request<RevokeGrantsRequest>,
    ) -> Result<Response<RevokeGrantsResponse>, Status> {
        let (by, now) = (caller(&call), self.clock.now());
        let RevokeGrantsRequest { of, page_size, page_token } = call.into_inner();
        let mut query = GrantQuery { after: page::behind(&page_token)?.map(GrantHandle), ..GrantQuery::default() };
        let server = self.server.get();
        let ended = match (&of, page_size) {
            (Some(Of::Subject(subject)), 0) => {
                server.revoke_grants_of_person(&parsed_subject(subject)?, now).await.map(all)
            }
            (Some(Of::ClientId(client)), 0) => {
                server.revoke_grants_of_client(&parsed_client(client)?, now).await.map(all)
            }
            (Some(of), page_size) => {
                match of {
                    Of::Subject(subject) => query.subject = Some(parsed_subject(subject)?),
                    Of::ClientId(client) => query.client_id = Some(parsed_client(client)?),
                }
                server.revoke_some_grants(query, page_size.min(REVOKED_AT_ONCE), now).await
            }
            (None, _) => return Err(Status::invalid_argument("name a subject or a client_id")),
        };
        let SomeEnded { ended, behind } = ended.map_err(|_| unavailable("revoke_grants"))?;
        let (subject, client_id) = match &of {
            Some(Of::Subject(subject)) => (Some(subject.as_str()), None),
            Some(Of::ClientId(client)) => (None, Some(client.as_str())),
            None => (None, None),
        };
        acted("revoke_grants", &by, &Act { subject, client_id, number: Some(ended), ..Act::default() });
        let next_page_token = behind.map(|last| page::named(&last.0)).unwrap_or_default();
        Ok(Response::new(RevokeGrantsResponse { ended, next_page_token }))
    }
}

/// How many grants one call ends at most that does not end all: it takes a second.
const REVOKED_AT_ONCE: u32 = 5_000;

fn all(ended: u64) -> SomeEnded {
    SomeEnded { ended, behind: None }
}

fn unknown() -> Status {
    Status::not_found("there is no grant of that name, or not any more")
}

fn handle(id: &str) -> Result<GrantHandle, Status> {
    page::name(id).map(GrantHandle).ok_or_else(unknown)
}

/// Whom a call is about.
pub(super) fn parsed_subject(text: &str) -> Result<Subject, Status> {
    text.parse().map_err(|_| Status::invalid_argument("subject is not one that a person can have"))
}

fn parsed_client(text: &str) -> Result<ClientId, Status> {
    text.parse().map_err(|_| Status::invalid_argument("client_id is not one that a client can have"))
}

impl From<&Grant> for v1::Grant {
    fn from(grant: &Grant) -> Self {
        let (origin, origin_address) = match grant.origin {
            store::GrantOrigin::Browser => (GrantOrigin::Browser, String::new()),
            store::GrantOrigin::Device { address } => (GrantOrigin::Device, address.to_canonical().to_string()),
            store::GrantOrigin::Unknown => (GrantOrigin::Unspecified, String::new()),
        };
        let (sender_constraint, bound_to) = match grant.sender_constraint {
            store::SenderConstraint::None => (SenderConstraint::Unspecified, String::new()),
            store::SenderConstraint::Dpop => (SenderConstraint::Dpop, String::new()),
            store::SenderConstraint::DpopKey(key) => (SenderConstraint::Dpop, key.to_string()),
            store::SenderConstraint::Certificate => (SenderConstraint::Certificate, String::new()),
            store::SenderConstraint::ThisCertificate(certificate) => {
                (SenderConstraint::Certificate, base64url(certificate.as_bytes()))
            }
        };
        Self {
            id: page::named(&grant.handle.0),
            client_id: grant.client_id.to_string(),
            subject: grant.subject.to_string(),
            scope: grant.scopes.to_string(),
            resource: grant.resource.to_string(),
            authorization_details: if grant.details.is_empty() { String::new() } else { grant.details.to_string() },
            origin: origin.into(),
            origin_address,
            auth_time: seconds(grant.auth_time),
            acr: grant.acr.as_ref().map(ToString::to_string).unwrap_or_default(),
            sender_constraint: sender_constraint.into(),
            bound_to,
            create_time: seconds(grant.created_at),
            use_time: seconds(grant.used_at),
            idle_expire_time: seconds(grant.idle_expires_at),
            expire_time: seconds(grant.expires_at),
            end_time: grant.ended.map(|(at, _)| seconds(at)),
            ended_by: grant.ended.map(|(_, why)| why.name().to_owned()).unwrap_or_default(),
        }
    }
}
