//! `tollgate.admin.v1`: what those call who look after the installation, and an external login and a user directory.
//!
//! Invariant: no rule is decided here. A refusal becomes a status with its name in a `google.rpc.ErrorInfo`, an outage
//! becomes `UNAVAILABLE`, and neither becomes the other. No answer holds what opens a door, but for the redirects of an
//! external login, which hold codes.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use tracing::{error, info};

use super::mutual::Caller;
use super::{Answering, Never};
use crate::audit;
use crate::clock::{Clock, Timestamp};
use crate::current::Current;
use crate::keys::SigningKeys;
use crate::oauth::{AuthorizationServer, Error, Refusal};
use crate::store::GrantHandle;

mod clients;
mod devices;
mod grants;
mod keys;
mod login;
mod page;
mod sessions;
mod status;
pub mod v1;
mod watch;

pub use status::Installation;
use v1::audit_service_server::AuditServiceServer;
use v1::authorization_service_server::AuthorizationServiceServer;
use v1::client_service_server::ClientServiceServer;
use v1::device_service_server::DeviceServiceServer;
use v1::grant_service_server::GrantServiceServer;
use v1::key_service_server::KeyServiceServer;
use v1::person_service_server::PersonServiceServer;
use v1::session_service_server::SessionServiceServer;
use v1::status_service_server::StatusServiceServer;
pub use watch::WATCHERS;

/// The largest message that is read, in bytes: twice the longest authorization request, which a form can be.
const MESSAGE_LIMIT: usize = 128 * 1_024;

/// The names of the services, as health checks may ask for them.
pub(super) const SERVICES: &[&str] = &[
    AuditServiceServer::<Api>::NAME,
    AuthorizationServiceServer::<Api>::NAME,
    ClientServiceServer::<Api>::NAME,
    DeviceServiceServer::<Api>::NAME,
    GrantServiceServer::<Api>::NAME,
    KeyServiceServer::<Api>::NAME,
    PersonServiceServer::<Api>::NAME,
    SessionServiceServer::<Api>::NAME,
    StatusServiceServer::<Api>::NAME,
];

/// What reflection is called.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// The domain of the names of rules (`google.rpc.ErrorInfo`).
const DOMAIN: &str = "tollgate";

/// Whether the server ends.
type Closing = tokio::sync::watch::Sender<bool>;

/// A service behind the door, whatever its type.
type Boxed = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Never>;

/// Answers `tollgate.admin.v1` calls, and says what there is to call (`grpc.reflection.v1`).
#[derive(Clone)]
pub struct AdminService {
    /// What calls are answered with; each keeps what was there when it came.
    server: Arc<Current<AuthorizationServer>>,
    services: Arc<HashMap<&'static str, Boxed>>,
    /// Told when the server ends: those who watch would hold it up.
    closing: Arc<Closing>,
}

impl AdminService {
    /// The services in front of an authorization server. Those of an external login are there if its people sign in so.
    #[must_use]
    pub fn new(server: Arc<AuthorizationServer>, keys: Arc<SigningKeys>, installation: Installation) -> Self {
        let signs_in_elsewhere = server.settings().external_login.is_some();
        let server = Arc::new(Current::new(server));
        let clock = Arc::clone(&installation.clock);
        let closing = Arc::new(Closing::new(false));
        let api = Api {
            server: Arc::clone(&server),
            keys,
            clock,
            installation: Arc::new(installation),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            closing: Arc::clone(&closing),
        };
        let mut services = HashMap::new();
        macro_rules! serve {
            ($($server:ident)+) => {
                $(let service = $server::new(api.clone()).max_decoding_message_size(MESSAGE_LIMIT);
                services.insert($server::<Api>::NAME, BoxCloneSyncService::new(service));)+
            };
        }
        serve!(AuditServiceServer ClientServiceServer DeviceServiceServer GrantServiceServer KeyServiceServer);
        serve!(SessionServiceServer StatusServiceServer);
        if signs_in_elsewhere {
            serve!(AuthorizationServiceServer PersonServiceServer);
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .build_v1()
            .expect("the descriptors were compiled with this program");
        let reflection = reflection.max_decoding_message_size(MESSAGE_LIMIT);
        services.insert(REFLECTION, BoxCloneSyncService::new(reflection));
        Self { server, services: Arc::new(services), closing }
    }

    /// Tells when the server ends.
    pub(super) fn closing(&self) -> Arc<Closing> {
        Arc::clone(&self.closing)
    }

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
        match call.uri().path().split('/').nth(1).and_then(|name| self.services.get(name)) {
            Some(service) => Box::pin(service.clone().oneshot(call)),
            None => Box::pin(async { Ok(Status::new(Code::Unimplemented, "no such method").into_http()) }),
        }
    }
}

/// What it takes to answer.
#[derive(Clone)]
pub(super) struct Api {
    /// Holds the rules.
    server: Arc<Current<AuthorizationServer>>,
    /// The signing keys.
    keys: Arc<SigningKeys>,
    /// Read once a call.
    clock: Arc<dyn Clock>,
    /// What runs.
    installation: Arc<Installation>,
    /// Room for those who watch.
    watchers: Arc<Semaphore>,
    /// Told when the server ends.
    closing: Arc<Closing>,
}

/// Who calls, as far as the connection tells: the user of a process on this machine, or who holds the key of a certificate.
fn caller<T>(call: &Request<T>) -> String {
    if let Some(Caller(thumbprint)) = call.extensions().get::<Caller>() {
        return format!("certificate {thumbprint}");
    }
    let peer = call.extensions().get::<UdsConnectInfo>().and_then(|peer| peer.peer_cred);
    peer.map_or_else(|| "unknown".to_owned(), |peer| format!("uid {}", peer.uid()))
}

/// What somebody has changed, for auditors.
#[derive(Default)]
struct Act<'a> {
    subject: Option<&'a str>,
    client_id: Option<&'a str>,
    grant: Option<GrantHandle>,
    kid: Option<&'a str>,
    number: Option<u64>,
}

/// The event of a call that has changed something.
fn acted(call: &'static str, by: &str, act: &Act<'_>) {
    info!(
        target: audit::TARGET,
        event = audit::ADMIN_ACTED,
        call,
        by,
        subject = act.subject,
        client.id = act.client_id,
        grant.id = act.grant.map(tracing::field::debug),
        kid = act.kid,
        number = act.number,
        "{by} has called `{call}`"
    );
}

/// What a call fails with when something that it depends on does not answer.
fn unavailable(call: &'static str) -> Status {
    error!(call, outcome = "unavailable", "a call of the admin API could not be answered");
    Status::unavailable("something that this server depends on does not answer, try again shortly")
}

/// A time in seconds, as messages have it.
fn seconds(at: Timestamp) -> i64 {
    at.seconds()
}

/// The event of a call of an external login or a user directory.
fn said((call, by): (&'static str, &str), outcome: &'static str, refusal: Option<&str>, subject: Option<&str>) {
    let event = audit::ADMIN_CALLED;
    info!(target: audit::TARGET, event, call, by, outcome, refusal, subject, "`{call}` was answered: {outcome}");
}

/// What a call fails with; writes the event.
fn status((call, by): (&'static str, &str), error: Error) -> Status {
    match error {
        Error::Refused(refusal) => {
            let name = refusal.name();
            said((call, by), "refused", Some(name), None);
            let details = ErrorDetails::with_error_info(name.to_ascii_uppercase(), DOMAIN, HashMap::new());
            Status::with_error_details(code(refusal), format!("{name}: {}", refusal.description()), details)
        }
        Error::Throttled { .. } => Status::resource_exhausted("too many requests, try again later"),
        Error::Unavailable(_) => unavailable(call),
    }
}

/// Whether it is the call that is at fault, or what it is about.
pub(crate) fn code(refusal: Refusal) -> Code {
    let precondition =
        [Refusal::TransactionUnknown, Refusal::TransactionSpent, Refusal::SignInTooOld, Refusal::PersonDisabled];
    if precondition.contains(&refusal) { Code::FailedPrecondition } else { Code::InvalidArgument }
}
