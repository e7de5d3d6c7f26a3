//! `POST /oauth/device_authorization` (RFC 8628 §3.1).

use super::{AuthorizationSite, Received, Response, respond, token};
use crate::audit;
use crate::ident::ClientId;
use crate::oauth::{DeviceAnswer, Error, Refusal};

pub(super) async fn device_authorization(site: &AuthorizationSite, request: &Received) -> Response {
    let refused = |refusal: Refusal| DeviceAnswer { result: Err(refusal.into()), nonce: None, client: None };
    let answer = answer(site, request).await.unwrap_or_else(refused);
    log(&answer);
    site.metrics.ended("device_authorization", &answer.result);
    let nonce = answer.nonce.as_deref();
    match answer.result {
        Ok(body) => respond::token(&body, nonce),
        Err(error) => respond::token_error(error, nonce),
    }
}

async fn answer(site: &AuthorizationSite, request: &Received) -> Result<DeviceAnswer, Refusal> {
    let sent = token::read(request)?;
    Ok(site.server.authorize_device(sent.request(), request.address, site.clock.now()).await)
}

/// The one event of a request.
fn log(answer: &DeviceAnswer) {
    let client = answer.client.as_ref().map_or("-", ClientId::as_str);
    let endpoint = "device_authorization";
    let (outcome, refusal, status) = match &answer.result {
        Ok(_) => ("begun", None, 200),
        Err(Error::Refused(refusal)) => ("refused", Some(refusal.name()), refusal.code().status()),
        Err(Error::Throttled { .. }) => return token::log_throttled(endpoint, client),
        Err(Error::Unavailable(_)) => ("unavailable", None, 503),
    };
    if status == 503 {
        tracing::error!(endpoint, client.id = client, outcome, status, "a device of `{client}` could not begin");
    } else {
        let event = if refusal.is_none() { audit::DEVICE_BEGUN } else { audit::DEVICE_REFUSED };
        tracing::info!(
            target: audit::TARGET,
            event,
            endpoint,
            client.id = client,
            outcome,
            refusal,
            status,
            "a device of `{client}` asked to begin"
        );
    }
}
