//! Sessions of browsers.

use tonic::{Request, Response, Status};

use super::grants::parsed_subject;
use super::v1::session_service_server::SessionService;
use super::v1::{self, EndSessionsRequest, EndSessionsResponse, ListSessionsRequest, ListSessionsResponse};
use super::{Act, Api, acted, caller, page, seconds, unavailable};
use crate::store::{SessionId, SessionRecord};

#[tonic::async_trait]
impl SessionService for Api {
    async fn list_sessions(
        &self,
        call: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let subject = parsed_subject(&call.into_inner().subject)?;
        let listed = self.server.get().list_sessions(&subject, self.clock.now()).await;
        let listed = listed.map_err(|_| unavailable("list_sessions"))?;
        Ok(Response::new(ListSessionsResponse { sessions: listed.iter().map(v1::Session::from).collect() }))
    }

    async fn end_sessions(&self, call: Request<EndSessionsRequest>) -> Result<Response<EndSessionsResponse>, Status> {
        let (by, now) = (caller(&call), self.clock.now());
        let EndSessionsRequest { subject, id } = call.into_inner();
        let person = parsed_subject(&subject)?;
        let number = if id.is_empty() {
            let ended = self.server.get().end_all_sessions(&person, now).await;
            ended.map_err(|_| unavailable("end_sessions"))?;
            None
        } else {
            let unknown = || Status::not_found("that person has no such session, or not any more");
            let id = page::name(&id).map(SessionId).ok_or_else(unknown)?;
            let ended = self.server.get().end_named_session(&person, id, now).await;
            ended.map_err(|_| unavailable("end_sessions"))?.then_some(()).ok_or_else(unknown)?;
            Some(1)
        };
        acted("end_sessions", &by, &Act { subject: Some(&subject), number, ..Act::default() });
        Ok(Response::new(EndSessionsResponse {}))
    }
}

impl From<&SessionRecord> for v1::Session {
    fn from(session: &SessionRecord) -> Self {
        Self {
            id: page::named(&session.id.0),
            subject: session.subject.to_string(),
            auth_time: seconds(session.auth_time),
            acr: session.acr.as_ref().map(ToString::to_string).unwrap_or_default(),
            idle_expire_time: seconds(session.idle_expires_at),
            expire_time: seconds(session.expires_at),
        }
    }
}
