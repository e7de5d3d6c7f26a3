//! `POST /oauth/revoke` (RFC 7009).

use super::{AuthorizationSite, Received, Response, respond, token};
use crate::ident::ClientId;
use crate::oauth::{Error, Refusal, Revocation, RevocationAnswer};

pub(super) async fn revoke(site: &AuthorizationSite, request: &Received) -> Response {
    let refused = |refusal: Refusal| RevocationAnswer { result: Err(refusal.into()), client: None };
    let answer = answer(site, request).await.unwrap_or_else(refused);
    log(&answer);
    match answer.result {
        Ok(_) => respond::revoked(), // RFC 7009 §2.2: whatever became of the token
        Err(error) => respond::token_error(error, None),
    }
}

async fn answer(site: &AuthorizationSite, request: &Received) -> Result<RevocationAnswer, Refusal> {
    let sent = token::read(request)?;
    Ok(site.server.revoke(sent.request(), site.clock.now()).await)
}

/// The one event of a request.
fn log(answer: &RevocationAnswer) {
    let client = answer.client.as_ref().map_or("-", ClientId::as_str);
    let endpoint = "revocation";
    let (outcome, status) = match &answer.result {
        Ok(Revocation::GrantEnded(grant)) => {
            tracing::info!(
                endpoint,
                client.id = client,
                ?grant,
                outcome = "grant_ended",
                status = 200,
                "`{client}` ended a grant"
            );
            return;
        }
        Ok(Revocation::Foreign) => {
            tracing::warn!(
                endpoint,
                client.id = client,
                outcome = "foreign",
                status = 200,
                "`{client}` tried to revoke a token of another client"
            );
            return;
        }
        Err(Error::Refused(refusal)) => {
            let (refusal, status) = (refusal.name(), refusal.code().status());
            tracing::info!(
                endpoint,
                client.id = client,
                outcome = "refused",
                refusal,
                status,
                "a revocation by `{client}` was refused: {refusal}"
            );
            return;
        }
        Err(Error::Throttled { .. }) => {
            tracing::warn!(
                endpoint,
                client.id = client,
                outcome = "throttled",
                status = 429,
                "a revocation was one too many"
            );
            return;
        }
        Err(Error::Unavailable(_)) => {
            tracing::error!(
                endpoint,
                client.id = client,
                outcome = "unavailable",
                status = 503,
                "a revocation by `{client}` could not be done"
            );
            return;
        }
        Ok(Revocation::TokenRevoked) => ("token_revoked", 200),
        Ok(Revocation::Unknown) => ("unknown", 200),
    };
    tracing::info!(endpoint, client.id = client, outcome, status, "`{client}` revoked a token: {outcome}");
}
