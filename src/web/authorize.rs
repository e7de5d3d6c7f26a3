//! `GET|POST /oauth/authorize` (RFC 6749 §3.1), and what it has in common with the pages behind it.

use http::Method;
use http::header::ORIGIN;

use super::pages::Language;
use super::{AuthorizationSite, Received, Response, respond};
use crate::audit;
use crate::oauth::metadata::ACCOUNT;
use crate::oauth::{Answer, Browser, CodeFault, Cookie, Error, Refusal, SignInFault, View};
use crate::telemetry::SignInOutcome;

pub(super) async fn authorize(site: &AuthorizationSite, request: &Received) -> Response {
    let parameters = match parameters(request) {
        Ok(parameters) => parameters,
        Err(refusal) => return answer(site, request, "authorize", Err(refusal.into())),
    };
    let browser = browser(site, request);
    answer(site, request, "authorize", site.server.authorize(&parameters, browser, site.clock.now()).await)
}

/// The query and, for POST, the form: a parameter in both occurs twice.
fn parameters(request: &Received) -> Result<String, Refusal> {
    let query = request.query.as_deref().unwrap_or_default();
    if request.method == Method::POST { Ok(format!("{query}&{}", request.form_text()?)) } else { Ok(query.to_owned()) }
}

/// The query of a request; empty if there is none.
pub(super) fn query(request: &Received) -> &str {
    request.query.as_deref().unwrap_or_default()
}

/// The language that a browser gets: what `ui_locales` wished, now or earlier in this browser, or else what the browser
/// itself wishes.
pub(super) fn language(site: &AuthorizationSite, request: &Received) -> Language {
    let earlier = || site.cookies.language(request).and_then(Language::of_tag);
    Language::of_ui_locales(request).or_else(earlier).or_else(|| Language::of_header(request)).unwrap_or_default()
}

/// What a browser presents besides the request itself.
pub(super) fn browser<'a>(site: &AuthorizationSite, request: &'a Received) -> Browser<'a> {
    Browser {
        session: site.cookies.session(request),
        token: site.cookies.browser(request),
        errand: site.cookies.errand(request),
        origin: request.header(ORIGIN).next(),
        fetch_site: request.header("sec-fetch-site").next(),
        address: request.address,
        peer: request.peer,
        headers: request,
    }
}

/// Turns an answer into a response, and writes the event.
pub(super) fn answer(
    site: &AuthorizationSite,
    request: &Received,
    endpoint: &'static str,
    answer: Result<Answer, Error>,
) -> Response {
    let language = language(site, request);
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            site.metrics.ended::<()>(endpoint, &Err(error));
            return refuse(site, language, endpoint, error);
        }
    };
    count(site, endpoint, &answer);
    let mut cookies: Vec<_> = answer.cookies.iter().map(|cookie| site.cookies.set(cookie)).collect();
    // The pages that follow do not carry the parameter.
    cookies.extend(Language::of_ui_locales(request).map(|language| site.cookies.set_language(language.tag())));
    let (outcome, response) = view(site, language, &answer.view);
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
        | View::DeviceDeclined
        | View::Account(_)
        | View::ToAccount => None,
    };
    let status = response.status().as_u16();
    let event = match (&answer.view, refusal) {
        (View::DeviceApproved, _) => Some(audit::DEVICE_APPROVED),
        (View::DeviceDeclined, _) => Some(audit::DEVICE_DECLINED),
        (_, Some(_)) => Some(audit::AUTHORIZATION_REFUSED),
        (_, None) => None,
    };
    if let Some(event) = event {
        tracing::info!(target: audit::TARGET, event, endpoint, outcome, refusal, status, "a browser was answered");
    } else {
        tracing::info!(endpoint, outcome, status, "a browser was answered");
    }
    respond::with_cookies(response, cookies)
}

/// Counts a request that was answered, and the sign-in that it was.
fn count(site: &AuthorizationSite, endpoint: &'static str, answer: &Answer) {
    let refusal = if let View::Redirect(redirect) = &answer.view { redirect.refusal() } else { None };
    match refusal {
        Some(refusal) => site.metrics.refused(endpoint, refusal),
        None => site.metrics.answered(endpoint),
    }
    let fault = if let View::SignIn(sign_in) = &answer.view { sign_in.fault } else { None };
    let signed_in = answer.cookies.iter().any(|cookie| matches!(cookie, Cookie::Session(_)));
    match fault {
        Some(SignInFault::Unknown) => site.metrics.sign_in(SignInOutcome::Failed),
        Some(SignInFault::Throttled { .. }) => site.metrics.sign_in(SignInOutcome::Throttled),
        None if signed_in => site.metrics.sign_in(SignInOutcome::SignedIn),
        None => {}
    }
}

/// What a browser is shown or where it is sent, and how the log calls that.
fn view(site: &AuthorizationSite, language: Language, view: &View) -> (&'static str, Response) {
    let pages = &site.pages;
    let (outcome, page) = match view {
        View::SignIn(sign_in) => ("sign_in", pages.sign_in(sign_in, language)),
        View::Consent(consent) => ("consent", pages.consent(consent, language)),
        View::SignOut { csrf_token, transaction } => {
            ("sign_out", pages.sign_out(csrf_token, transaction.as_deref(), language))
        }
        View::SignedOut => ("signed_out", pages.signed_out(language)),
        View::EnterCode(enter_code) => {
            let outcome = enter_code.fault.map_or("enter_code", CodeFault::name);
            (outcome, pages.enter_code(enter_code, language))
        }
        View::ConfirmDevice(confirm) => ("confirm_device", pages.confirm_device(confirm, language)),
        View::DeviceApproved => ("device_approved", pages.device_approved(language)),
        View::DeviceDeclined => ("device_declined", pages.device_declined(language)),
        View::Account(account) => ("account", pages.account(account, language)),
        View::SignInFirst { location } => return ("sign_in_first", respond::redirect(location, site.is_https())),
        View::ToAccount => {
            let location = site.server.settings().url(ACCOUNT);
            return ("signed_in", respond::redirect(&location, site.is_https()));
        }
        View::Redirect(redirect) => {
            let outcome = redirect.refusal().map_or("approved", |_| "refused");
            match redirect.form() {
                Some(fields) => (outcome, pages.form_post(redirect.location(), fields, language)),
                None => return (outcome, respond::redirect(redirect.location(), site.is_https())),
            }
        }
    };
    (outcome, respond::page(page, site.is_https()))
}

fn refuse(site: &AuthorizationSite, language: Language, endpoint: &'static str, error: Error) -> Response {
    let page = match error {
        Error::Refused(refusal) => {
            let page = site.pages.refusal(refusal, language);
            let (refusal, status) = (refusal.name(), page.status.as_u16());
            tracing::info!(
                target: audit::TARGET,
                event = audit::AUTHORIZATION_REFUSED,
                endpoint,
                outcome = "refused",
                refusal,
                status,
                "a browser was shown what is wrong"
            );
            page
        }
        // Browsers are not counted as clients are; whoever is, is told the same.
        Error::Throttled { .. } | Error::Unavailable(_) => {
            tracing::error!(endpoint, outcome = "unavailable", status = 503, "a browser could not be answered");
            site.pages.unavailable(language)
        }
    };
    respond::page(page, site.is_https())
}
