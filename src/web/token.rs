//! `POST /oauth/token` (RFC 6749 §3.2), and how the requests of clients are read.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;

use super::{AuthorizationSite, Received, Response, respond};
use crate::audit;
use crate::certificate::ClientCertificate;
use crate::ident::ClientId;
use crate::oauth::client::GrantType;
use crate::oauth::{Asked, Error, Issued, Parameters, Refusal, TokenAnswer, TokenRequest};

pub(super) async fn token(site: &AuthorizationSite, request: &Received) -> Response {
    let began = Instant::now();
    let answer = answer(site, request).await.unwrap_or_else(|refusal| TokenAnswer {
        result: Err(refusal.into()),
        nonce: None,
        asked: Asked::default(),
    });
    let took = began.elapsed();
    log(&answer, took);
    let outcome = answer.result.as_ref().map(|body| body.issued().outcome).map_err(|error| *error);
    site.metrics.token(answer.asked.grant_type, outcome, took);
    let nonce = answer.nonce.as_deref();
    match answer.result {
        Ok(body) => respond::token(&body, nonce),
        Err(error) => respond::token_error(error, nonce),
    }
}

async fn answer(site: &AuthorizationSite, request: &Received) -> Result<TokenAnswer, Refusal> {
    let sent = read(request)?;
    Ok(site.server.token(sent.request(), site.clock.now()).await)
}

/// What a client has sent.
pub(super) struct Sent<'a> {
    parameters: Parameters,
    authorization: Option<&'a str>,
    proofs: Vec<&'a str>,
    certificate: Option<&'a ClientCertificate>,
    address: IpAddr,
}

impl Sent<'_> {
    /// The request, as the rules take it.
    pub(super) fn request(&self) -> TokenRequest<'_> {
        let Self { parameters, authorization, proofs, certificate, address } = self;
        let (authorization, certificate, address) = (*authorization, *certificate, *address);
        TokenRequest { parameters, authorization, proofs, certificate, address }
    }
}

/// Reads the request; what is wrong with its form is refused before anything else is looked at.
pub(super) fn read(request: &Received) -> Result<Sent<'_>, Refusal> {
    if request.query.as_deref().is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::ParameterInQuery);
    }
    let parameters = request.form()?;
    let proofs = request.header("dpop").collect();
    let authorization: Vec<_> = request.header(AUTHORIZATION).collect();
    let authorization = match authorization.as_slice() {
        [] => None,
        [one] => Some(*one),
        [_, ..] => return Err(Refusal::ClientAuthenticationRepeated),
    };
    Ok(Sent { parameters, authorization, proofs, certificate: request.certificate.as_ref(), address: request.address })
}

/// The one event of a token request.
fn log(answer: &TokenAnswer, took: Duration) {
    let client = answer.asked.client.as_ref().map_or("-", ClientId::as_str);
    let grant = answer.asked.grant_type.map_or("-", GrantType::name);
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match &answer.result {
        Ok(body) => {
            let Issued { outcome, subject, grant: grant_id, token_id } = body.issued();
            tracing::info!(
                target: audit::TARGET,
                event = audit::TOKEN_ISSUED,
                endpoint = "token",
                client.id = client,
                %subject,
                grant,
                grant.id = grant_id.map(tracing::field::debug),
                token.id = token_id,
                outcome,
                status = 200,
                duration_us,
                "`{client}` got a token"
            );
        }
        Err(Error::Refused(refusal)) => {
            let (name, status) = (refusal.name(), refusal.code().status());
            tracing::info!(
                target: audit::TARGET,
                event = audit::TOKEN_REFUSED,
                endpoint = "token",
                client.id = client,
                grant,
                outcome = "refused",
                refusal = name,
                status,
                duration_us,
                "a token request of `{client}` was refused: {name}"
            );
        }
        Err(Error::Throttled { .. }) => {
            log_throttled("token", client);
        }
        Err(Error::Unavailable(_)) => {
            tracing::error!(
                endpoint = "token",
                client.id = client,
                grant,
                outcome = "unavailable",
                status = 503,
                duration_us,
                "a token request of `{client}` could not be judged"
            );
        }
    }
}

/// The event of a request that was one too many.
pub(super) fn log_throttled(endpoint: &'static str, client: &str) {
    tracing::warn!(
        target: audit::TARGET,
        event = audit::CLIENT_THROTTLED,
        endpoint,
        client.id = client,
        outcome = "throttled",
        status = 429,
        "a request of `{client}` was one too many"
    );
}
