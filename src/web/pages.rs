//! The pages that people see: HTML that works without scripts, one stylesheet, everything that others supplied escaped.
//!
//! What they say is in `text.rs`, one file a language; what they look like in `templates/`, where no word stands.
//!
//! Invariant: a page runs nothing, but for one line that presses the button of a response that is posted; it loads nothing
//! but the operator's logo from this server, and can be framed by nobody; its policy says so to the browser.

use std::net::IpAddr;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use super::branding::{Branding, Colour, Logo};
use super::request::Refused;
use super::respond::whole_seconds;
use crate::oauth::client::ClientOrigin;
use crate::oauth::{
    Account, AccountNotice, AllowedClient, Began, CodeFault, ConfirmDevice, Consent, DetailShown, EnterCode, Refusal,
    SignIn, SignInFault, SignInFor, Words,
};
use crate::secret::sha256;

mod english;
mod german;
mod language;
mod text;
mod units;

pub(super) use language::Language;
use text::{
    AccountText, ConfirmDeviceText, ConsentText, EnterCodeText, FormPostText, MessageText, RefusedText, SignInText,
    SignOutText,
};

/// The stylesheet; it stands in the page, where its hash admits it.
const STYLE: &str = include_str!("../../templates/style.css");

/// Posts the response; it stands in the page, where its hash admits it. Who runs no scripts presses the button.
const POST: &str = "document.forms[0].submit()";

/// How long people should wait when something that we depend on is down, in seconds.
const RETRY_AFTER: u64 = 2;

/// A page, ready to be sent.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) html: String,
    pub(super) language: Language,
    /// `Content-Security-Policy`.
    pub(super) policy: String,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
}

/// What is the same on every page of an issuer.
struct Frame {
    /// The path of the issuer without a trailing slash.
    base: String,
    style: String,
    /// The name of the operator.
    name: Option<String>,
    /// The path of the logo.
    logo: Option<String>,
}

/// What is the same on every page in a language.
struct Head<'a> {
    frame: &'a Frame,
    language: &'static str,
    direction: &'static str,
    error: &'static str,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    head: Head<'a>,
    text: &'static SignInText,
    transaction: &'a str,
    csrf_token: &'a str,
    sign_in_for: &'a SignInFor,
    username: &'a str,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    head: Head<'a>,
    text: &'static ConsentText,
    transaction: &'a str,
    csrf_token: &'a str,
    client_name: &'a str,
    person: &'a str,
    can_switch: bool,
    /// Whether the client has registered itself.
    is_registered: bool,
    /// The host of the document in which it says what it is.
    client_host: Option<&'a str>,
    /// Whether nobody has checked it, and the browser goes to its own machine.
    stays_here: bool,
    permissions: Vec<&'a str>,
    details: Vec<DetailRow<'a>>,
    destination: &'a str,
}

#[derive(Template)]
#[template(path = "enter_code.html")]
struct EnterCodePage<'a> {
    head: Head<'a>,
    text: &'static EnterCodeText,
    csrf_token: &'a str,
    user_code: &'a str,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "confirm_device.html")]
struct ConfirmDevicePage<'a> {
    head: Head<'a>,
    text: &'static ConfirmDeviceText,
    consent: &'static ConsentText,
    transaction: &'a str,
    csrf_token: &'a str,
    client_name: &'a str,
    person: &'a str,
    can_switch: bool,
    permissions: Vec<&'a str>,
    /// Devices do not ask for details.
    details: Vec<DetailRow<'a>>,
    user_code: &'a str,
    age: String,
    address: IpAddr,
    is_nearby: bool,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    head: Head<'a>,
    text: &'static AccountText,
    consent: &'static ConsentText,
    transaction: &'a str,
    csrf_token: &'a str,
    person: &'a str,
    grants: Vec<GrantRow<'a>>,
    more: bool,
    notice: Option<&'a AccountNotice>,
}

/// A grant on the account page.
struct GrantRow<'a> {
    grant: &'a str,
    client_name: &'a str,
    began: Option<String>,
    allowed: String,
    used: String,
    permissions: Vec<&'a str>,
    details: Vec<DetailRow<'a>>,
}

/// What is asked for, or was granted, in detail.
struct DetailRow<'a> {
    description: &'a str,
    members: &'a [(String, String)],
}

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutPage<'a> {
    head: Head<'a>,
    text: &'static SignOutText,
    csrf_token: &'a str,
    transaction: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "form_post.html")]
struct FormPostPage<'a> {
    head: Head<'a>,
    text: &'static FormPostText,
    action: &'a str,
    fields: &'a [(String, String)],
    script: &'static str,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    head: Head<'a>,
    text: &'static MessageText,
    /// Whether it tells of a mistake.
    alert: bool,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage<'a> {
    head: Head<'a>,
    text: &'static RefusedText,
    /// In English, for developers.
    detail: &'static str,
    code: Option<&'static str>,
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
    frame: Frame,
    logo: Option<Logo>,
    /// The policy of pages whose forms lead nowhere else.
    policy: String,
    /// The policy of the consent page.
    consent_policy: String,
}

impl Pages {
    pub(super) fn new(base: &str, people_sign_in: Place, branding: Branding) -> Self {
        let style = format!("{STYLE}{}", colours(&branding));
        let hash = STANDARD.encode(sha256(style.as_bytes()));
        let images = if branding.logo.is_some() { "; img-src 'self'" } else { "" };
        // No `form-action` on the consent page: browsers apply it to the redirect that answers a form, and to those that
        // follow, and where the client sends the browser then is nobody's business here.
        let consent_policy =
            format!("default-src 'none'; style-src 'sha256-{hash}'{images}; base-uri 'none'; frame-ancestors 'none'");
        let Branding { name, logo, .. } = branding;
        let frame = Frame { base: base.to_owned(), style, name, logo: logo.as_ref().map(Logo::path) };
        // So it is with the form for user codes, if it leads to a sign-in elsewhere.
        let policy = match people_sign_in {
            Place::Here => format!("{consent_policy}; form-action 'self'"),
            Place::Elsewhere => consent_policy.clone(),
        };
        Self { frame, logo, policy, consent_policy }
    }

    /// The logo, if it is at this path below the issuer.
    pub(super) fn logo(&self, path: &str) -> Option<&Logo> {
        self.logo.as_ref().filter(|_| self.frame.logo.as_deref() == Some(path))
    }

    /// 200; or 403 after a wrong name or password, 429 after too many.
    pub(super) fn sign_in(&self, sign_in: &SignIn, language: Language) -> Page {
        let text = &language.text().sign_in;
        let (status, fault, retry_after) = match sign_in.fault {
            None => (StatusCode::OK, None, None),
            Some(SignInFault::Unknown) => (StatusCode::FORBIDDEN, Some(text.unknown.to_owned()), None),
            Some(SignInFault::Throttled { retry_after }) => {
                let fault = (text.throttled)(retry_after);
                (StatusCode::TOO_MANY_REQUESTS, Some(fault), Some(whole_seconds(retry_after)))
            }
        };
        let page = SignInPage {
            head: self.head(language),
            text,
            transaction: &sign_in.form.transaction,
            csrf_token: &sign_in.form.csrf_token,
            sign_in_for: &sign_in.sign_in_for,
            username: &sign_in.username,
            fault,
        };
        Page { retry_after, ..self.page(status, language, &page) }
    }

    pub(super) fn consent(&self, consent: &Consent, language: Language) -> Page {
        let page = ConsentPage {
            head: self.head(language),
            text: &language.text().consent,
            transaction: &consent.form.transaction,
            csrf_token: &consent.form.csrf_token,
            client_name: &consent.client_name,
            person: &consent.person,
            can_switch: consent.can_switch,
            is_registered: consent.origin == ClientOrigin::Registration,
            client_host: consent.client_host.as_deref(),
            stays_here: consent.stays_here && consent.origin != ClientOrigin::Operator,
            permissions: said_in(&consent.permissions, language),
            details: detail_rows(&consent.details, language),
            destination: &consent.destination,
        };
        Page { policy: self.consent_policy.clone(), ..self.page(StatusCode::OK, language, &page) }
    }

    /// 200; 400 after a wrong code, 429 after too many. Codes that are unknown, expired or used get the same page.
    pub(super) fn enter_code(&self, enter_code: &EnterCode, language: Language) -> Page {
        let text = &language.text().enter_code;
        let (status, fault, retry_after) = match enter_code.fault {
            None => (StatusCode::OK, None, None),
            Some(CodeFault::Malformed) => (StatusCode::BAD_REQUEST, Some(text.malformed.to_owned()), None),
            Some(CodeFault::Unknown) => (StatusCode::BAD_REQUEST, Some(text.unknown.to_owned()), None),
            Some(CodeFault::Throttled { retry_after }) => {
                let fault = (text.throttled)(retry_after);
                (StatusCode::TOO_MANY_REQUESTS, Some(fault), Some(whole_seconds(retry_after)))
            }
            Some(CodeFault::Interrupted) => (StatusCode::BAD_REQUEST, Some(text.interrupted.to_owned()), None),
        };
        let page = EnterCodePage {
            head: self.head(language),
            text,
            csrf_token: &enter_code.csrf_token,
            user_code: &enter_code.user_code,
            fault,
        };
        Page { retry_after, ..self.page(status, language, &page) }
    }

    pub(super) fn confirm_device(&self, confirm: &ConfirmDevice, language: Language) -> Page {
        let text = &language.text().confirm_device;
        let page = ConfirmDevicePage {
            head: self.head(language),
            text,
            consent: &language.text().consent,
            transaction: &confirm.form.transaction,
            csrf_token: &confirm.form.csrf_token,
            client_name: &confirm.client_name,
            person: &confirm.person,
            can_switch: confirm.can_switch,
            permissions: said_in(&confirm.permissions, language),
            details: Vec::new(),
            user_code: &confirm.user_code,
            age: (text.ago)(confirm.age),
            address: confirm.address,
            is_nearby: confirm.is_nearby,
        };
        self.page(StatusCode::OK, language, &page)
    }

    pub(super) fn device_approved(&self, language: Language) -> Page {
        self.message(StatusCode::OK, language, &language.text().device_approved)
    }

    pub(super) fn device_declined(&self, language: Language) -> Page {
        self.message(StatusCode::OK, language, &language.text().device_declined)
    }

    pub(super) fn account(&self, account: &Account, language: Language) -> Page {
        let text = &language.text().account;
        let page = AccountPage {
            head: self.head(language),
            text,
            consent: &language.text().consent,
            transaction: &account.form.transaction,
            csrf_token: &account.form.csrf_token,
            person: &account.person,
            grants: account.grants.iter().map(|grant| row(grant, text, language)).collect(),
            more: account.more,
            notice: account.notice.as_ref(),
        };
        self.page(StatusCode::OK, language, &page)
    }

    pub(super) fn sign_out(&self, csrf_token: &str, transaction: Option<&str>, language: Language) -> Page {
        let text = &language.text().sign_out;
        let page = SignOutPage { head: self.head(language), text, csrf_token, transaction };
        let page = self.page(StatusCode::OK, language, &page);
        // As on the consent page: the form may be answered by a redirect to the client.
        let policy = if transaction.is_some() { self.consent_policy.clone() } else { page.policy };
        Page { policy, ..page }
    }

    pub(super) fn signed_out(&self, language: Language) -> Page {
        self.message(StatusCode::OK, language, &language.text().signed_out)
    }

    /// The response to a client that has it posted (OAuth 2.0 Form Post Response Mode §2). As on the consent page there is no
    /// `form-action`: where the client sends the browser then is nobody's business here.
    pub(super) fn form_post(&self, action: &str, fields: &[(String, String)], language: Language) -> Page {
        let text = &language.text().form_post;
        let page = FormPostPage { head: self.head(language), text, action, fields, script: POST };
        let hash = STANDARD.encode(sha256(POST.as_bytes()));
        let policy = format!("{}; script-src 'sha256-{hash}'", self.consent_policy);
        Page { policy, ..self.page(StatusCode::OK, language, &page) }
    }

    /// What is wrong with a request that must not be redirected: 400, or 403 for a form that came from elsewhere and for
    /// people who may not come in.
    pub(super) fn refusal(&self, refusal: Refusal, language: Language) -> Page {
        let status = match refusal {
            Refusal::CrossSiteForm | Refusal::ProxyAbsent | Refusal::PersonDisabled => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        self.cannot_go_on(status, language, refusal.description(), Some(refusal.name()))
    }

    /// 413, 408, 400 or 500: the request could not be read, and neither could the language that was wished for.
    pub(super) fn refused(&self, refused: Refused) -> Page {
        self.cannot_go_on(refused.status(), Language::default(), refused.description(), None)
    }

    /// 405: somebody opened the address of a form, or reloaded it in a way that posts nothing.
    pub(super) fn wrong_method(&self, language: Language) -> Page {
        self.message(StatusCode::METHOD_NOT_ALLOWED, language, &language.text().wrong_method)
    }

    /// 503: something that we depend on is down.
    pub(super) fn unavailable(&self, language: Language) -> Page {
        let page = self.message(StatusCode::SERVICE_UNAVAILABLE, language, &language.text().unavailable);
        Page { retry_after: Some(RETRY_AFTER), ..page }
    }

    fn cannot_go_on(
        &self,
        status: StatusCode,
        language: Language,
        detail: &'static str,
        code: Option<&'static str>,
    ) -> Page {
        let text = &language.text().refused;
        self.page(status, language, &RefusedPage { head: self.head(language), text, detail, code })
    }

    fn message(&self, status: StatusCode, language: Language, text: &'static MessageText) -> Page {
        let alert = !status.is_success();
        self.page(status, language, &MessagePage { head: self.head(language), text, alert })
    }

    fn head(&self, language: Language) -> Head<'_> {
        let text = language.text();
        Head { frame: &self.frame, language: language.tag(), direction: text.direction, error: text.error }
    }

    fn page(&self, status: StatusCode, language: Language, template: &impl Template) -> Page {
        let html = template.render().expect("our templates write to memory only");
        Page { status, html, language, policy: self.policy.clone(), retry_after: None }
    }
}

/// What permissions mean, in the language of a page.
fn said_in(permissions: &[Words], language: Language) -> Vec<&str> {
    permissions.iter().map(|words| words.said_in(language.tag())).collect()
}

fn detail_rows(details: &[DetailShown], language: Language) -> Vec<DetailRow<'_>> {
    let rows = details
        .iter()
        .map(|detail| DetailRow { description: detail.description.said_in(language.tag()), members: &detail.members });
    rows.collect()
}

fn row<'a>(grant: &'a AllowedClient, text: &AccountText, language: Language) -> GrantRow<'a> {
    let began = match grant.began {
        Began::Browser => Some(text.in_browser.to_owned()),
        Began::Device { address } => Some((text.at_device)(address)),
        Began::Unknown => None,
    };
    GrantRow {
        grant: &grant.grant,
        client_name: &grant.client_name,
        began,
        allowed: (text.allowed)(grant.age),
        used: (text.used)(grant.unused_for),
        permissions: said_in(&grant.permissions, language),
        details: detail_rows(&grant.details, language),
    }
}

/// The colours that the stylesheet leaves to the operator.
fn colours(branding: &Branding) -> String {
    let root = |colour: Colour| format!(":root{{--main:{colour};--on-main:{}}}", colour.ink());
    format!("{}@media(prefers-color-scheme:dark){{{}}}", root(branding.light), root(branding.dark))
}
