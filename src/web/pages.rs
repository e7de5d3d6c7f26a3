//! The pages that people see: HTML without scripts, one stylesheet, everything that others supplied escaped.
//!
//! Invariant: a page loads nothing, runs nothing and can be framed by nobody; its policy says so to the browser.

use std::net::IpAddr;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use super::request::Refused;
use super::respond::whole_seconds;
use crate::oauth::{CodeFault, ConfirmDevice, Consent, DetailShown, EnterCode, Refusal, SignIn, SignInFault};
use crate::secret::sha256;

/// The stylesheet; it stands in the page, where its hash admits it.
const STYLE: &str = include_str!("../../templates/style.css");

/// How long people should wait when something that we depend on is down, in seconds.
const RETRY_AFTER: u64 = 2;

/// A page, ready to be sent.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) html: String,
    /// `Content-Security-Policy`.
    pub(super) policy: String,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    style: &'static str,
    base: &'a str,
    transaction: &'a str,
    csrf_token: &'a str,
    client_name: &'a str,
    username: &'a str,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    style: &'static str,
    base: &'a str,
    transaction: &'a str,
    csrf_token: &'a str,
    client_name: &'a str,
    person: &'a str,
    permissions: &'a [String],
    details: &'a [DetailShown],
    destination: &'a str,
}

#[derive(Template)]
#[template(path = "enter_code.html")]
struct EnterCodePage<'a> {
    style: &'static str,
    base: &'a str,
    csrf_token: &'a str,
    user_code: &'a str,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "confirm_device.html")]
struct ConfirmDevicePage<'a> {
    style: &'static str,
    base: &'a str,
    transaction: &'a str,
    csrf_token: &'a str,
    client_name: &'a str,
    person: &'a str,
    permissions: &'a [String],
    user_code: &'a str,
    age: String,
    address: IpAddr,
    is_nearby: bool,
}

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutPage<'a> {
    style: &'static str,
    base: &'a str,
    csrf_token: &'a str,
    transaction: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    style: &'static str,
    title: &'a str,
    text: &'a str,
    code: Option<&'a str>,
}

/// Where people sign in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// On these pages.
    Here,
    /// At the authorization endpoint of somebody else.
    Elsewhere,
}

/// Makes the pages of one issuer.
pub(super) struct Pages {
    /// The path of the issuer without a trailing slash.
    base: String,
    /// The policy of pages whose forms lead nowhere else.
    policy: String,
    /// The policy of the consent page.
    consent_policy: String,
}

impl Pages {
    pub(super) fn new(base: &str, people_sign_in: Place) -> Self {
        let style = STANDARD.encode(sha256(STYLE.as_bytes()));
        // No `form-action` on the consent page: browsers apply it to the redirect that answers a form, and to those that
        // follow, and where the client sends the browser then is nobody's business here.
        let consent_policy =
            format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'");
        // So it is with the form for user codes, if it leads to a sign-in elsewhere.
        let policy = match people_sign_in {
            Place::Here => format!("{consent_policy}; form-action 'self'"),
            Place::Elsewhere => consent_policy.clone(),
        };
        Self { base: base.to_owned(), policy, consent_policy }
    }

    /// 200; or 403 after a wrong name or password, 429 after too many.
    pub(super) fn sign_in(&self, sign_in: &SignIn) -> Page {
        let (status, fault, retry_after) = match sign_in.fault {
            None => (StatusCode::OK, None, None),
            Some(SignInFault::Unknown) => {
                (StatusCode::FORBIDDEN, Some("The username or the password is wrong.".to_owned()), None)
            }
            Some(SignInFault::Throttled { retry_after }) => {
                let seconds = whole_seconds(retry_after);
                let fault = format!("Too many attempts. Try again in {}.", many(seconds, "second"));
                (StatusCode::TOO_MANY_REQUESTS, Some(fault), Some(seconds))
            }
        };
        let page = SignInPage {
            style: STYLE,
            base: &self.base,
            transaction: &sign_in.form.transaction,
            csrf_token: &sign_in.form.csrf_token,
            client_name: &sign_in.client_name,
            username: &sign_in.username,
            fault,
        };
        Page { retry_after, ..self.page(status, &page) }
    }

    pub(super) fn consent(&self, consent: &Consent) -> Page {
        let page = ConsentPage {
            style: STYLE,
            base: &self.base,
            transaction: &consent.form.transaction,
            csrf_token: &consent.form.csrf_token,
            client_name: &consent.client_name,
            person: &consent.person,
            permissions: &consent.permissions,
            details: &consent.details,
            destination: &consent.destination,
        };
        Page { policy: self.consent_policy.clone(), ..self.page(StatusCode::OK, &page) }
    }

    /// 200; 400 after a wrong code, 429 after too many. Codes that are unknown, expired or used get the same page.
    pub(super) fn enter_code(&self, enter_code: &EnterCode) -> Page {
        let (status, fault, retry_after) = match enter_code.fault {
            None => (StatusCode::OK, None, None),
            Some(CodeFault::Malformed) => (
                StatusCode::BAD_REQUEST,
                Some("A code has eight letters. Compare it with your device.".to_owned()),
                None,
            ),
            Some(CodeFault::Unknown) => {
                let fault =
                    "This code is wrong or too old. Compare it with your device, or let the device show a new one.";
                (StatusCode::BAD_REQUEST, Some(fault.to_owned()), None)
            }
            Some(CodeFault::Throttled { retry_after }) => {
                let seconds = whole_seconds(retry_after);
                let fault = format!("Too many wrong codes. Try again in {}.", many(seconds.div_ceil(60), "minute"));
                (StatusCode::TOO_MANY_REQUESTS, Some(fault), Some(seconds))
            }
            Some(CodeFault::Interrupted) => {
                let fault = "Signing in was interrupted or took too long. Enter the code once more.";
                (StatusCode::BAD_REQUEST, Some(fault.to_owned()), None)
            }
        };
        let page = EnterCodePage {
            style: STYLE,
            base: &self.base,
            csrf_token: &enter_code.csrf_token,
            user_code: &enter_code.user_code,
            fault,
        };
        Page { retry_after, ..self.page(status, &page) }
    }

    pub(super) fn confirm_device(&self, confirm: &ConfirmDevice) -> Page {
        let age = match confirm.age.as_secs() {
            0..60 => "less than a minute ago".to_owned(),
            seconds => format!("{} ago", many(seconds / 60, "minute")),
        };
        let page = ConfirmDevicePage {
            style: STYLE,
            base: &self.base,
            transaction: &confirm.form.transaction,
            csrf_token: &confirm.form.csrf_token,
            client_name: &confirm.client_name,
            person: &confirm.person,
            permissions: &confirm.permissions,
            user_code: &confirm.user_code,
            age,
            address: confirm.address,
            is_nearby: confirm.is_nearby,
        };
        self.page(StatusCode::OK, &page)
    }

    pub(super) fn device_approved(&self) -> Page {
        let text = "Return to your device: it goes on by itself in a few seconds. You may close this window.";
        self.message(StatusCode::OK, "All set", text, None)
    }

    pub(super) fn device_declined(&self) -> Page {
        let text = "The device gets no access to your account. You may close this window.";
        self.message(StatusCode::OK, "Declined", text, None)
    }

    pub(super) fn sign_out(&self, csrf_token: &str, transaction: Option<&str>) -> Page {
        let page = self.page(StatusCode::OK, &SignOutPage { style: STYLE, base: &self.base, csrf_token, transaction });
        // As on the consent page: the form may be answered by a redirect to the client.
        let policy = if transaction.is_some() { self.consent_policy.clone() } else { page.policy };
        Page { policy, ..page }
    }

    pub(super) fn signed_out(&self) -> Page {
        self.message(StatusCode::OK, "You are signed out", "You may close this window.", None)
    }

    /// What is wrong with a request that must not be redirected: 400, or 403 for a form that came from elsewhere.
    pub(super) fn refusal(&self, refusal: Refusal) -> Page {
        let status = if refusal == Refusal::CrossSiteForm { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        let text = format!(
            "Go back to the application that you came from and start again. If that does not help, tell its makers: {}.",
            refusal.description()
        );
        self.message(status, "This request cannot go on", &text, Some(refusal.name()))
    }

    /// 413, 408, 400 or 500: the request could not be read.
    pub(super) fn refused(&self, refused: Refused) -> Page {
        let text = format!("Go back to the application that you came from and start again: {}.", refused.description());
        self.message(refused.status(), "This request cannot go on", &text, None)
    }

    /// 405: somebody opened the address of a form, or reloaded it in a way that posts nothing.
    pub(super) fn wrong_method(&self) -> Page {
        let text = "This address is not made for being opened like this. Go back to the application and start again.";
        self.message(StatusCode::METHOD_NOT_ALLOWED, "There is nothing to see here", text, Some("method_not_allowed"))
    }

    /// 503: something that we depend on is down.
    pub(super) fn unavailable(&self) -> Page {
        let text = "Something that this server depends on does not answer. Try again in a moment.";
        let page = self.message(StatusCode::SERVICE_UNAVAILABLE, "Try again shortly", text, Some("unavailable"));
        Page { retry_after: Some(RETRY_AFTER), ..page }
    }

    fn message(&self, status: StatusCode, title: &str, text: &str, code: Option<&str>) -> Page {
        self.page(status, &MessagePage { style: STYLE, title, text, code })
    }

    fn page(&self, status: StatusCode, template: &impl Template) -> Page {
        let html = template.render().expect("our templates write to memory only");
        Page { status, html, policy: self.policy.clone(), retry_after: None }
    }
}

/// A number of things, in words.
fn many(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
