//! `POST /oauth/introspect` (RFC 7662, RFC 9701).

use http::header::ACCEPT;

use super::{AuthorizationSite, Received, Response, respond, token};
use crate::audit;
use crate::ident::ClientId;
use crate::oauth::{AnswerForm, Error, Introspection, IntrospectionAnswer, Refusal};

pub(super) async fn introspect(site: &AuthorizationSite, request: &Received) -> Response {
    let refused = |refusal: Refusal| IntrospectionAnswer { result: Err(refusal.into()), client: None };
    let answer = answer(site, request).await.unwrap_or_else(refused);
    log(&answer);
    site.metrics.ended("introspection", &answer.result);
    match answer.result {
        Ok(Introspection::Json(document)) => respond::introspection(&document),
        Ok(Introspection::SignedJwt(text)) => respond::signed_introspection(text),
        Err(error) => respond::introspection_error(error),
    }
}

async fn answer(site: &AuthorizationSite, request: &Received) -> Result<IntrospectionAnswer, Refusal> {
    let sent = token::read(request)?;
    Ok(site.server.introspect(sent.request(), form(request), site.clock.now()).await)
}

/// RFC 9701 §4: who wants a signed answer says so in `Accept`.
fn form(request: &Received) -> AnswerForm {
    let mut ranges = request.header(ACCEPT).flat_map(|value| value.split(','));
    let wanted = ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(respond::SIGNED_INTROSPECTION));
        let excluded = |part: &str| {
            let quality = part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("q"));
            quality.is_some_and(|(_, value)| value.trim_matches(['0', '.']).is_empty()) // RFC 9110 §12.4.2
        };
        named && !parts.any(excluded)
    });
    if wanted { AnswerForm::SignedJwt } else { AnswerForm::Json }
}

/// The one event of a request; resource servers ask so often that answers are told to who looks closely only.
fn log(answer: &IntrospectionAnswer) {
    let client = answer.client.as_ref().map_or("-", ClientId::as_str);
    let endpoint = "introspection";
    match &answer.result {
        Ok(_) => {
            tracing::debug!(
                endpoint,
                client.id = client,
                outcome = "told",
                status = 200,
                "`{client}` asked about a token"
            );
        }
        Err(Error::Refused(refusal)) => {
            let (refusal, status) = (refusal.name(), refusal.code().status());
            tracing::info!(
                target: audit::TARGET,
                event = audit::INTROSPECTION_REFUSED,
                endpoint,
                client.id = client,
                outcome = "refused",
                refusal,
                status,
                "an introspection by `{client}` was refused: {refusal}"
            );
        }
        Err(Error::Throttled { .. }) => token::log_throttled(endpoint, client),
        Err(Error::Unavailable(_)) => {
            tracing::error!(
                endpoint,
                client.id = client,
                outcome = "unavailable",
                status = 503,
                "an introspection by `{client}` could not be answered"
            );
        }
    }
}
