//! `GET|POST /oauth/userinfo` (OpenID Connect Core §5.3).

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use super::{AuthorizationSite, Received, Response, respond};
use crate::audit;
use crate::oauth::{Error, Parameters, Refusal, UserInfoAnswer, UserInfoRequest};

pub(super) async fn userinfo(site: &AuthorizationSite, request: &Received) -> Response {
    let authorization: Vec<_> = request.header(AUTHORIZATION).collect();
    let proofs: Vec<_> = request.header("dpop").collect();
    let form = match form(request) {
        Ok(form) => form,
        Err(refusal) => return answer(site, &UserInfoAnswer { result: Err(refusal.into()), nonce: None }),
    };
    let asked = UserInfoRequest {
        method: if request.method == Method::POST { "POST" } else { "GET" },
        authorization: &authorization,
        form_token: form.get("access_token"),
        proofs: &proofs,
        certificate: request.certificate.as_ref(),
    };
    answer(site, &site.server.userinfo(asked, site.clock.now()).await)
}

/// The parameters of the form that a POST may have as its body (RFC 6750 §2.2); none of any other request.
fn form(request: &Received) -> Result<Parameters, Refusal> {
    if request.method == Method::POST
        && request.header(CONTENT_TYPE).any(|it| !it.is_empty())
        && !request.body.is_empty()
    {
        request.form()
    } else {
        Ok(Parameters::default())
    }
}

/// Turns an answer into a response, and writes the event.
fn answer(site: &AuthorizationSite, answer: &UserInfoAnswer) -> Response {
    site.metrics.ended("userinfo", &answer.result);
    let nonce = answer.nonce.as_deref();
    let response = match &answer.result {
        Ok(claims) => respond::token(claims, nonce),
        Err(error) => respond::challenge(*error, nonce),
    };
    let (outcome, refusal) = match &answer.result {
        Ok(_) => ("told", None),
        Err(Error::Refused(refusal)) => ("refused", Some(refusal.name())),
        Err(Error::Throttled { .. }) => ("throttled", None),
        Err(Error::Unavailable(_)) => ("unavailable", None),
    };
    let (endpoint, status) = ("userinfo", response.status().as_u16());
    if let Some(refusal) = refusal {
        let event = audit::USERINFO_REFUSED;
        tracing::info!(target: audit::TARGET, event, endpoint, outcome, refusal, status, "UserInfo was refused: {refusal}");
    } else {
        tracing::info!(endpoint, outcome, status, "UserInfo was asked");
    }
    response
}
