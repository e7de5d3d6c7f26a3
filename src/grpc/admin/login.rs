//! What an external login and a user directory call.

use tonic::{Request, Response, Status};

use super::v1::authorization_service_server::AuthorizationService;
use super::v1::begin_response::Outcome;
use super::v1::person_service_server::PersonService;
use super::v1::{
    self, ApproveRequest, ApproveResponse, BeginRequest, BeginResponse, DenyReason, DenyRequest, DenyResponse,
    DisableRequest, DisableResponse, EnableRequest, EnableResponse,
};
use super::{Api, caller, said, status};
use crate::oauth::{self, Begun, Error, ExternalApproval, Refusal};

#[tonic::async_trait]
impl AuthorizationService for Api {
    async fn begin(&self, call: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        let by = caller(&call);
        let outcome = match self.server.get().begin(&call.into_inner().parameters, self.clock.now()).await {
            Ok(Begun::Ask(asking)) => Outcome::Transaction((*asking).into()),
            Ok(Begun::Redirect(redirect)) => {
                let reason = redirect.refusal().map_or("", Refusal::name).to_owned();
                Outcome::Redirect(v1::Redirect { location: redirect.location().to_owned(), reason })
            }
            Err(Error::Refused(refusal)) => Outcome::Refusal(refusal.into()),
            Err(error @ (Error::Unavailable(_) | Error::Throttled { .. })) => {
                return Err(status(("begin", &by), error));
            }
        };
        let (name, refusal) = match &outcome {
            Outcome::Transaction(_) => ("begun", None),
            Outcome::Redirect(redirect) => ("refused", Some(redirect.reason.clone())),
            Outcome::Refusal(shown) => ("refused", Some(shown.reason.clone())),
        };
        said(("begin", &by), name, refusal.as_deref(), None);
        Ok(Response::new(BeginResponse { outcome: Some(outcome) }))
    }

    async fn approve(&self, call: Request<ApproveRequest>) -> Result<Response<ApproveResponse>, Status> {
        let by = caller(&call);
        let request = call.into_inner();
        let approval = ExternalApproval {
            handle: &request.transaction,
            subject: &request.subject,
            auth_time: request.auth_time,
            acr: request.acr.as_deref(),
            scope: request.scope.as_deref(),
            authorization_details: &request.authorization_details,
            name: request.name.as_deref(),
            email: request.email.as_deref(),
            claims: request.claims.as_deref(),
        };
        let approved = self.server.get().approve_external(approval, self.clock.now()).await;
        let redirect = approved.map_err(|error| status(("approve", &by), error))?;
        said(("approve", &by), "approved", None, Some(&request.subject));
        Ok(Response::new(ApproveResponse { redirect_to: redirect.location().to_owned() }))
    }

    async fn deny(&self, call: Request<DenyRequest>) -> Result<Response<DenyResponse>, Status> {
        let by = caller(&call);
        let request = call.into_inner();
        let why = match DenyReason::try_from(request.reason) {
            Ok(DenyReason::Unspecified | DenyReason::AccessDenied) => oauth::DenyReason::Declined,
            Ok(DenyReason::LoginRequired) => oauth::DenyReason::LoginRequired,
            Ok(DenyReason::ConsentRequired) => oauth::DenyReason::ConsentRequired,
            Err(_) => return Err(Status::invalid_argument("reason is unknown")),
        };
        let denied = self.server.get().deny_external(&request.transaction, why, self.clock.now()).await;
        let redirect = denied.map_err(|error| status(("deny", &by), error))?;
        let refusal = redirect.refusal().map(Refusal::name);
        said(("deny", &by), "denied", refusal, None);
        Ok(Response::new(DenyResponse { redirect_to: redirect.location().to_owned() }))
    }
}

#[tonic::async_trait]
impl PersonService for Api {
    async fn disable(&self, call: Request<DisableRequest>) -> Result<Response<DisableResponse>, Status> {
        let by = caller(&call);
        let subject = call.into_inner().subject;
        let disabled = self.server.get().disable_person(&subject, self.clock.now()).await;
        disabled.map_err(|error| status(("disable", &by), error))?;
        said(("disable", &by), "disabled", None, Some(&subject));
        Ok(Response::new(DisableResponse {}))
    }

    async fn enable(&self, call: Request<EnableRequest>) -> Result<Response<EnableResponse>, Status> {
        let by = caller(&call);
        let subject = call.into_inner().subject;
        self.server.get().enable_person(&subject).await.map_err(|error| status(("enable", &by), error))?;
        said(("enable", &by), "enabled", None, Some(&subject));
        Ok(Response::new(EnableResponse {}))
    }
}

impl From<oauth::Asking> for v1::Transaction {
    fn from(asking: oauth::Asking) -> Self {
        let scopes = asking.scopes.into_iter();
        Self {
            handle: asking.handle,
            expire_time: asking.expires_at.seconds(),
            client_id: asking.client_id,
            client_name: asking.client_name,
            redirect_host: asking.destination,
            scopes: scopes.map(|(scope, description)| v1::RequestedScope { scope, description }).collect(),
            resource: asking.resource,
            authorization_details: asking.authorization_details,
            details: asking.details.into_iter().map(|shown| requested_detail(shown, &asking.language)).collect(),
            needs_consent: asking.needs_consent,
            prompt: asking.hints.prompt,
            max_age: asking.max_age.map(u64::cast_signed),
            login_hint: asking.hints.login_hint,
            acr_values: asking.hints.acr_values,
            ui_locales: asking.hints.ui_locales,
        }
    }
}

/// What is asked for in detail, in a language.
fn requested_detail(shown: oauth::DetailShown, language: &str) -> v1::RequestedDetail {
    let members = shown.members.into_iter().map(|(name, value)| v1::DetailMember { name, value });
    v1::RequestedDetail { description: shown.description.said_in(language).to_owned(), members: members.collect() }
}

impl From<Refusal> for v1::Refusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            error: refusal.code().name().to_owned(),
            error_description: refusal.description().to_owned(),
            reason: refusal.name().to_owned(),
        }
    }
}
