//! `tollgate.admin.v1`: what an external login and a user directory call, over a Unix socket.
//!
//! Invariant: no rule is decided here. A refusal becomes a status with its name in a `google.rpc.ErrorInfo`, an outage
//! becomes `UNAVAILABLE`, and neither becomes the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::server::NamedService as _;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use tracing::{error, info};

use super::{Answering, Never};
use crate::audit;
use crate::clock::Clock;
use crate::current::Current;
use crate::oauth::{self, AuthorizationServer, Begun, Error, ExternalApproval, Refusal};

pub mod v1;

use v1::authorization_service_server::{AuthorizationService, AuthorizationServiceServer};
use v1::begin_response::Outcome;
use v1::person_service_server::{PersonService, PersonServiceServer};
use v1::{
    ApproveRequest, ApproveResponse, BeginRequest, BeginResponse, DenyReason, DenyRequest, DenyResponse,
    DisableRequest, DisableResponse, EnableRequest, EnableResponse,
};

/// The largest message that is read, in bytes: twice the longest authorization request, which a form can be.
const MESSAGE_LIMIT: usize = 128 * 1_024;

/// The names of the services, as health checks may ask for them.
pub(super) const SERVICES: &[&str] = &[AuthorizationServiceServer::<Api>::NAME, PersonServiceServer::<Api>::NAME];

/// The domain of the names of rules (`google.rpc.ErrorInfo`).
const DOMAIN: &str = "tollgate";

/// A service behind the door, whatever its type.
type Boxed = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Never>;

/// Answers `tollgate.admin.v1` calls, and says what there is to call (`grpc.reflection.v1`).
#[derive(Clone)]
pub struct AdminService {
    /// What calls are answered with; each keeps what was there when it came.
    server: Arc<Current<AuthorizationServer>>,
    authorization: AuthorizationServiceServer<Api>,
    person: PersonServiceServer<Api>,
    reflection: Boxed,
}

impl AdminService {
    /// The services in front of an authorization server whose people sign in elsewhere.
    #[must_use]
    pub fn new(server: Arc<AuthorizationServer>, clock: Arc<dyn Clock>) -> Self {
        let server = Arc::new(Current::new(server));
        let api = Api { server: Arc::clone(&server), clock };
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .build_v1()
            .expect("the descriptors were compiled with this program");
        Self {
            server,
            authorization: AuthorizationServiceServer::new(api.clone()).max_decoding_message_size(MESSAGE_LIMIT),
            person: PersonServiceServer::new(api).max_decoding_message_size(MESSAGE_LIMIT),
            reflection: BoxCloneSyncService::new(reflection.max_decoding_message_size(MESSAGE_LIMIT)),
        }
    }
}

impl AdminService {
    /// Has `next` answer, from the next call on; for all clones.
    pub fn replace(&self, next: Arc<AuthorizationServer>) {
        self.server.replace(next);
    }
}

impl tower::Service<http::Request<Body>> for AdminService {
    type Response = http::Response<Body>;
    type Error = Never;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: http::Request<Body>) -> Self::Future {
        match call.uri().path().split('/').nth(1) {
            Some(AuthorizationServiceServer::<Api>::NAME) => self.authorization.call(call),
            Some(PersonServiceServer::<Api>::NAME) => self.person.call(call),
            Some("grpc.reflection.v1.ServerReflection") => Box::pin(self.reflection.clone().oneshot(call)),
            Some(_) | None => Box::pin(async { Ok(Status::new(Code::Unimplemented, "no such method").into_http()) }),
        }
    }
}

/// What it takes to answer.
#[derive(Clone)]
pub(super) struct Api {
    /// Holds the rules.
    server: Arc<Current<AuthorizationServer>>,
    /// Read once a call.
    clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl AuthorizationService for Api {
    async fn begin(&self, call: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        let outcome = match self.server.get().begin(&call.into_inner().parameters, self.clock.now()).await {
            Ok(Begun::Ask(asking)) => Outcome::Transaction((*asking).into()),
            Ok(Begun::Redirect(redirect)) => {
                let reason = redirect.refusal().map_or("", Refusal::name).to_owned();
                Outcome::Redirect(v1::Redirect { location: redirect.location().to_owned(), reason })
            }
            Err(Error::Refused(refusal)) => Outcome::Refusal(refusal.into()),
            Err(error @ (Error::Unavailable(_) | Error::Throttled { .. })) => return Err(status("begin", error)),
        };
        let (name, refusal) = match &outcome {
            Outcome::Transaction(_) => ("begun", None),
            Outcome::Redirect(redirect) => ("refused", Some(redirect.reason.clone())),
            Outcome::Refusal(shown) => ("refused", Some(shown.reason.clone())),
        };
        said("begin", name, refusal.as_deref(), None);
        Ok(Response::new(BeginResponse { outcome: Some(outcome) }))
    }

    async fn approve(&self, call: Request<ApproveRequest>) -> Result<Response<ApproveResponse>, Status> {
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
        let redirect = approved.map_err(|error| status("approve", error))?;
        said("approve", "approved", None, Some(&request.subject));
        Ok(Response::new(ApproveResponse { redirect_to: redirect.location().to_owned() }))
    }

    async fn deny(&self, call: Request<DenyRequest>) -> Result<Response<DenyResponse>, Status> {
        let request = call.into_inner();
        let why = match DenyReason::try_from(request.reason) {
            Ok(DenyReason::Unspecified | DenyReason::AccessDenied) => oauth::DenyReason::Declined,
            Ok(DenyReason::LoginRequired) => oauth::DenyReason::LoginRequired,
            Ok(DenyReason::ConsentRequired) => oauth::DenyReason::ConsentRequired,
            Err(_) => return Err(Status::invalid_argument("reason is unknown")),
        };
        let denied = self.server.get().deny_external(&request.transaction, why, self.clock.now()).await;
        let redirect = denied.map_err(|error| status("deny", error))?;
        let refusal = redirect.refusal().map(Refusal::name);
        said("deny", "denied", refusal, None);
        Ok(Response::new(DenyResponse { redirect_to: redirect.location().to_owned() }))
    }
}

#[tonic::async_trait]
impl PersonService for Api {
    async fn disable(&self, call: Request<DisableRequest>) -> Result<Response<DisableResponse>, Status> {
        let subject = call.into_inner().subject;
        let disabled = self.server.get().disable_person(&subject, self.clock.now()).await;
        disabled.map_err(|error| status("disable", error))?;
        said("disable", "disabled", None, Some(&subject));
        Ok(Response::new(DisableResponse {}))
    }

    async fn enable(&self, call: Request<EnableRequest>) -> Result<Response<EnableResponse>, Status> {
        let subject = call.into_inner().subject;
        self.server.get().enable_person(&subject).await.map_err(|error| status("enable", error))?;
        said("enable", "enabled", None, Some(&subject));
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

/// The event of a call.
fn said(call: &'static str, outcome: &'static str, refusal: Option<&str>, subject: Option<&str>) {
    let event = audit::ADMIN_CALLED;
    info!(target: audit::TARGET, event, call, outcome, refusal, subject, "`{call}` was answered: {outcome}");
}

/// What a call fails with; writes the event.
fn status(call: &'static str, error: Error) -> Status {
    match error {
        Error::Refused(refusal) => {
            let name = refusal.name();
            said(call, "refused", Some(name), None);
            let details = ErrorDetails::with_error_info(name.to_ascii_uppercase(), DOMAIN, HashMap::new());
            Status::with_error_details(code(refusal), format!("{name}: {}", refusal.description()), details)
        }
        Error::Throttled { .. } => Status::resource_exhausted("too many requests, try again later"),
        Error::Unavailable(_) => {
            error!(call, outcome = "unavailable", "an external login could not be answered");
            Status::unavailable("something that this server depends on does not answer, try again shortly")
        }
    }
}

/// Whether it is the call that is at fault, or what it is about.
pub(crate) fn code(refusal: Refusal) -> Code {
    let precondition =
        [Refusal::TransactionUnknown, Refusal::TransactionSpent, Refusal::SignInTooOld, Refusal::PersonDisabled];
    if precondition.contains(&refusal) { Code::FailedPrecondition } else { Code::InvalidArgument }
}
