//! `POST /oauth/revoke` (RFC 7009).

use super::{AuthorizationSite, Received, Response, respond, token};
use crate::audit;
use crate::ident::ClientId;
use crate::oauth::{Error, Refusal, Revocation, RevocationAnswer};

pub(super) async fn revoke(site: &AuthorizationSite, request: &Received) -> Response {
    let refused = |refusal: Refusal| RevocationAnswer { result: Err(refusal.into()), client: None };
    let answer = answer(site, request).await.unwrap_or_else(refused);
    log(&answer);
    site.metrics.ended("revocation", &answer.result);
    match answer.result {
        Ok(_) => respond::revoked(), // RFC 7009 §2.2: whatever became of the token
        Err(error) => respond::token_error(error, None),
    }
}

async fn answer(site: &AuthorizationSite, request: &Received) -> Result<RevocationAnswer, Refusal> {
    let sent = token::read(request)?;
    Ok(site.server.revoke(sent.request(), site.clock.now()).await)
}

/// The event of a request; what it ended has one of its own.
fn log(answer: &RevocationAnswer) {
    let client = answer.client.as_ref().map_or("-", ClientId::as_str);
    let endpoint = "revocation";
    let outcome = match &answer.result {
        Ok(Revocation::GrantEnded) => "grant_ended",
        Ok(Revocation::TokenRevoked) => "token_revoked",
        Ok(Revocation::Foreign) => "foreign",
        Ok(Revocation::Unknown) => "unknown",
        Err(Error::Refused(refusal)) => {
            let (refusal, status) = (refusal.name(), refusal.code().status());
            return tracing::info!(
                target: audit::TARGET,
                event = audit::REVOCATION_REFUSED,
                endpoint,
                client.id = client,
                outcome = "refused",
                refusal,
                status,
                "a revocation by `{client}` was refused: {refusal}"
            );
        }
        Err(Error::Throttled { .. }) => return token::log_throttled(endpoint, client),
        Err(Error::Unavailable(_)) => {
            let outcome = "unavailable";
            return tracing::error!(
                endpoint,
                client.id = client,
                outcome,
                status = 503,
                "a revocation by `{client}` could not be done"
            );
        }
    };
    tracing::info!(
        endpoint,
        client.id = client,
        outcome,
        status = 200,
        "`{client}` asked to revoke a token: {outcome}"
    );
}
