//! `GET|POST /oauth/authorize` (RFC 6749 §3.1), and what it has in common with the pages behind it.

use http::Method;
use http::header::ORIGIN;

use super::{AuthorizationSite, Received, Response, respond};
use crate::oauth::{Answer, Browser, CodeFault, Error, Refusal, View};

pub(super) async fn authorize(site: &AuthorizationSite, request: &Received) -> Response {
    let parameters = match parameters(request) {
        Ok(parameters) => parameters,
        Err(refusal) => return answer(site, "authorize", Err(refusal.into())),
    };
    let browser = browser(site, request);
    answer(site, "authorize", site.server.authorize(&parameters, browser, site.clock.now()).await)
}

/// The query and, for POST, the form: a parameter in both occurs twice.
fn parameters(request: &Received) -> Result<String, Refusal> {
    let query = request.query.as_deref().unwrap_or_default();
    if request.method == Method::POST { Ok(format!("{query}&{}", request.form_text()?)) } else { Ok(query.to_owned()) }
}

/// What a browser presents besides the request itself.
pub(super) fn browser<'a>(site: &AuthorizationSite, request: &'a Received) -> Browser<'a> {
    Browser {
        session: site.cookies.session(request),
        token: site.cookies.browser(request),
        activation: site.cookies.activation(request),
        origin: request.header(ORIGIN).next(),
        fetch_site: request.header("sec-fetch-site").next(),
        address: request.address,
    }
}

/// Turns an answer into a response, and writes the event.
pub(super) fn answer(site: &AuthorizationSite, endpoint: &'static str, answer: Result<Answer, Error>) -> Response {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return refuse(site, endpoint, error),
    };
    let cookies: Vec<_> = answer.cookies.iter().map(|cookie| site.cookies.set(cookie)).collect();
    let (outcome, response) = match &answer.view {
        View::SignIn(sign_in) => ("sign_in", respond::page(site.pages.sign_in(sign_in), site.is_https())),
        View::Consent(consent) => ("consent", respond::page(site.pages.consent(consent), site.is_https())),
        View::SignOut { csrf_token, transaction } => {
            ("sign_out", respond::page(site.pages.sign_out(csrf_token, transaction.as_deref()), site.is_https()))
        }
        View::SignedOut => ("signed_out", respond::page(site.pages.signed_out(), site.is_https())),
        View::EnterCode(enter_code) => {
            let outcome = enter_code.fault.map_or("enter_code", CodeFault::name);
            (outcome, respond::page(site.pages.enter_code(enter_code), site.is_https()))
        }
        View::SignInFirst { location } => ("sign_in_first", respond::redirect(location, site.is_https())),
        View::ConfirmDevice(confirm) => {
            ("confirm_device", respond::page(site.pages.confirm_device(confirm), site.is_https()))
        }
        View::DeviceApproved => ("device_approved", respond::page(site.pages.device_approved(), site.is_https())),
        View::DeviceDeclined => ("device_declined", respond::page(site.pages.device_declined(), site.is_https())),
        View::Redirect(redirect) => {
            let outcome = redirect.refusal().map_or("approved", |_| "refused");
            (outcome, respond::redirect(redirect.location(), site.is_https()))
        }
    };
    let refusal = match &answer.view {
        View::Redirect(redirect) => redirect.refusal().map(Refusal::name),
        View::SignIn(_)
        | View::Consent(_)
        | View::SignOut { .. }
        | View::SignedOut
        | View::EnterCode(_)
        | View::SignInFirst { .. }
        | View::ConfirmDevice(_)
        | View::DeviceApproved
        | View::DeviceDeclined => None,
    };
    let status = response.status().as_u16();
    tracing::info!(endpoint, outcome, refusal, status, "a browser was answered");
    respond::with_cookies(response, cookies)
}

fn refuse(site: &AuthorizationSite, endpoint: &'static str, error: Error) -> Response {
    let page = match error {
        Error::Refused(refusal) => {
            let page = site.pages.refusal(refusal);
            let (refusal, status) = (refusal.name(), page.status.as_u16());
            tracing::info!(endpoint, outcome = "refused", refusal, status, "a browser was shown what is wrong");
            page
        }
        // Browsers are not counted as clients are; whoever is, is told the same.
        Error::Throttled { .. } | Error::Unavailable(_) => {
            tracing::error!(endpoint, outcome = "unavailable", status = 503, "a browser could not be answered");
            site.pages.unavailable()
        }
    };
    respond::page(page, site.is_https())
}
