//! `POST /oauth/register` (RFC 7591 §3) and `GET|PUT|DELETE /oauth/register/{client_id}` (RFC 7592 §2).

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use super::{AuthorizationSite, Received, Response, respond};
use crate::audit;
use crate::oauth::{ClientInformation, Error, RegistrationRequest};

const ENDPOINT: &str = "registration";

/// What was asked, and for the log, what became of it.
struct Done {
    event: &'static str,
    outcome: &'static str,
    status: u16,
}

/// Registers a client.
pub(super) async fn register(site: &AuthorizationSite, request: &Received) -> Response {
    let authorization: Vec<_> = request.header(AUTHORIZATION).collect();
    let answer = site.server.register(&asked(request, &authorization), site.clock.now()).await;
    let done = Done { event: audit::CLIENT_REGISTERED, outcome: "registered", status: 201 };
    told(request, answer, &done)
}

/// Tells, changes or ends the registration of a client.
pub(super) async fn manage(site: &AuthorizationSite, request: &Received, id: &str) -> Response {
    let authorization: Vec<_> = request.header(AUTHORIZATION).collect();
    let (asked, now) = (asked(request, &authorization), site.clock.now());
    match request.method {
        Method::DELETE => match site.server.delete_registration(id, &asked, now).await {
            Ok(ended) => {
                let (event, address) = (audit::CLIENT_DELETED, request.address);
                tracing::info!(
                    target: audit::TARGET,
                    event,
                    endpoint = ENDPOINT,
                    client.id = id,
                    %address,
                    grants = ended,
                    outcome = "deleted",
                    status = 204,
                    "`{id}` has unregistered itself"
                );
                respond::no_content()
            }
            Err(error) => refused(request, error),
        },
        Method::PUT => {
            let answer = site.server.update_registration(id, &asked, now).await;
            told(request, answer, &Done { event: audit::CLIENT_UPDATED, outcome: "updated", status: 200 })
        }
        _ => match site.server.read_registration(id, &asked, now).await {
            Ok(information) => {
                tracing::info!(
                    endpoint = ENDPOINT,
                    client.id = id,
                    outcome = "told",
                    status = 200,
                    "`{id}` was told of itself"
                );
                respond::registration(200, information.document())
            }
            Err(error) => refused(request, error),
        },
    }
}

fn asked<'a>(request: &'a Received, authorization: &'a [&'a str]) -> RegistrationRequest<'a> {
    let mut types = request.header(CONTENT_TYPE);
    let is_json = types.next().is_some_and(respond::is_json) && types.next().is_none();
    RegistrationRequest { authorization, json: is_json.then_some(&*request.body), address: request.address }
}

/// Tells a client what it has registered, with the event of it.
fn told(request: &Received, answer: Result<ClientInformation, Error>, done: &Done) -> Response {
    let information = match answer {
        Ok(information) => information,
        Err(error) => return refused(request, error),
    };
    let Done { event, outcome, status } = *done;
    let (client, address) = (&information.client, request.address);
    let method = information.document().get("token_endpoint_auth_method").and_then(|method| method.as_str());
    tracing::info!(
        target: audit::TARGET,
        event,
        endpoint = ENDPOINT,
        client.id = %client,
        method,
        %address,
        outcome,
        status,
        "`{client}` has {outcome} itself"
    );
    respond::registration(status, information.document())
}

/// The event of a refusal, and its answer.
fn refused(request: &Received, error: Error) -> Response {
    let address = request.address;
    match error {
        Error::Refused(refusal) => {
            let (refusal, status) = (refusal.name(), refusal.code().status());
            tracing::info!(
                target: audit::TARGET,
                event = audit::REGISTRATION_REFUSED,
                endpoint = ENDPOINT,
                %address,
                outcome = "refused",
                refusal,
                status,
                "a registration was refused: {refusal}"
            );
        }
        Error::Throttled { .. } => super::token::log_throttled(ENDPOINT, "-"),
        Error::Unavailable(_) => {
            tracing::error!(
                endpoint = ENDPOINT,
                outcome = "unavailable",
                status = 503,
                "a registration could not be done"
            );
        }
    }
    respond::registration_error(error)
}
