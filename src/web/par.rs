//! `POST /oauth/par` (RFC 9126 §2).

use super::{AuthorizationSite, Received, Response, respond, token};
use crate::audit;
use crate::ident::ClientId;
use crate::oauth::{Error, PushAnswer, Refusal};

pub(super) async fn par(site: &AuthorizationSite, request: &Received) -> Response {
    let refused = |refusal: Refusal| PushAnswer { result: Err(refusal.into()), nonce: None, client: None };
    let answer = answer(site, request).await.unwrap_or_else(refused);
    log(&answer);
    site.metrics.ended("par", &answer.result);
    let nonce = answer.nonce.as_deref();
    match answer.result {
        Ok(body) => respond::created(&body, nonce),
        Err(error) => respond::token_error(error, nonce),
    }
}

async fn answer(site: &AuthorizationSite, request: &Received) -> Result<PushAnswer, Refusal> {
    let sent = token::read(request)?;
    Ok(site.server.push(sent.request(), site.clock.now()).await)
}

/// The one event of a request.
fn log(answer: &PushAnswer) {
    let client = answer.client.as_ref().map_or("-", ClientId::as_str);
    let endpoint = "par";
    let (outcome, refusal, status) = match &answer.result {
        Ok(_) => ("pushed", None, 201),
        Err(Error::Refused(refusal)) => ("refused", Some(refusal.name()), refusal.code().status()),
        Err(Error::Throttled { .. }) => return token::log_throttled(endpoint, client),
        Err(Error::Unavailable(_)) => ("unavailable", None, 503),
    };
    if status == 503 {
        tracing::error!(endpoint, client.id = client, outcome, status, "a request of `{client}` could not be pushed");
    } else {
        let event = if refusal.is_none() { audit::REQUEST_PUSHED } else { audit::REQUEST_REFUSED };
        tracing::info!(
            target: audit::TARGET,
            event,
            endpoint,
            client.id = client,
            outcome,
            refusal,
            status,
            "`{client}` pushed a request"
        );
    }
}
