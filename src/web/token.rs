//! `POST /oauth/token` (RFC 6749 §3.2).

use http::header::AUTHORIZATION;

use super::{AuthorizationSite, Received, Response, respond};
use crate::oauth::{Error, Refusal, TokenAnswer, TokenRequest};

pub(super) async fn token(site: &AuthorizationSite, request: &Received) -> Response {
    let answer =
        answer(site, request).await.unwrap_or_else(|refusal| TokenAnswer { result: Err(refusal.into()), nonce: None });
    let nonce = answer.nonce.as_deref();
    match answer.result {
        Ok(body) => {
            tracing::info!(endpoint = "token", outcome = body.outcome(), status = 200, "a token was issued");
            respond::token(&body, nonce)
        }
        Err(error) => {
            log(error);
            respond::token_error(error, nonce)
        }
    }
}

/// Reads the request; what is wrong with its form is refused before anything else is looked at.
async fn answer(site: &AuthorizationSite, request: &Received) -> Result<TokenAnswer, Refusal> {
    if request.query.as_deref().is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::ParameterInQuery);
    }
    let parameters = request.form()?;
    let proofs: Vec<_> = request.header("dpop").collect();
    let authorization: Vec<_> = request.header(AUTHORIZATION).collect();
    let authorization = match authorization.as_slice() {
        [] => None,
        [one] => Some(*one),
        [_, ..] => return Err(Refusal::ClientAuthenticationRepeated),
    };
    let request = TokenRequest { parameters: &parameters, authorization, proofs: &proofs };
    Ok(site.server.token(request, site.clock.now()).await)
}

fn log(error: Error) {
    match error {
        Error::Refused(refusal) => {
            let (refusal, status) = (refusal.name(), refusal.code().status());
            tracing::info!(endpoint = "token", outcome = "refused", refusal, status, "a token request was refused");
        }
        Error::Unavailable(_) => {
            tracing::error!(
                endpoint = "token",
                outcome = "unavailable",
                status = 503,
                "a token request could not be judged"
            );
        }
    }
}
