//! Cookies (RFC 6265bis).

use http::HeaderValue;
use http::header::COOKIE;

use super::Received;
use crate::oauth::Cookie;

/// What cookies are called and how they are protected.
pub(super) struct Cookies {
    secure: bool,
}

const SESSION: &str = "tollgate_session";
const BROWSER: &str = "tollgate_browser";
const ERRAND: &str = "tollgate_errand";
const LANGUAGE: &str = "tollgate_language";

impl Cookies {
    /// Over https, cookies are for https only and no other host can have set them (RFC 6265bis §4.1.3.2); an http issuer,
    /// which is on loopback, can have neither.
    pub(super) fn new(secure: bool) -> Self {
        Self { secure }
    }

    pub(super) fn session<'a>(&self, request: &'a Received) -> Option<&'a str> {
        self.find(request, SESSION)
    }

    pub(super) fn browser<'a>(&self, request: &'a Received) -> Option<&'a str> {
        self.find(request, BROWSER)
    }

    pub(super) fn errand<'a>(&self, request: &'a Received) -> Option<&'a str> {
        self.find(request, ERRAND)
    }

    pub(super) fn language<'a>(&self, request: &'a Received) -> Option<&'a str> {
        self.find(request, LANGUAGE)
    }

    /// The value of `Set-Cookie`.
    pub(super) fn set(&self, cookie: &Cookie) -> HeaderValue {
        let (name, value, end) = match cookie {
            Cookie::Browser(token) => (BROWSER, token.reveal(), ""),
            Cookie::Session(token) => (SESSION, token.reveal(), ""),
            Cookie::SessionEnded => (SESSION, String::new(), "; Max-Age=0"),
            Cookie::Errand(sealed) => (ERRAND, sealed.clone(), ""),
            Cookie::ErrandEnded => (ERRAND, String::new(), "; Max-Age=0"),
        };
        self.line(name, &value, end)
    }

    /// The value of `Set-Cookie` that keeps a language.
    pub(super) fn set_language(&self, tag: &str) -> HeaderValue {
        self.line(LANGUAGE, tag, "")
    }

    fn line(&self, name: &str, value: &str, end: &str) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let line = format!("{}{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{end}", self.prefix());
        let mut line = HeaderValue::try_from(line).expect("base64url is a valid header value");
        line.set_sensitive(true);
        line
    }

    /// The value of a cookie that was sent once. Two of a name means that somebody else has set one.
    fn find<'a>(&self, request: &'a Received, name: &str) -> Option<&'a str> {
        let value = |pair: &'a str| pair.trim().strip_prefix(self.prefix())?.strip_prefix(name)?.strip_prefix('=');
        let mut values = request.header(COOKIE).flat_map(|line| line.split(';')).filter_map(value);
        values.next().filter(|_| values.next().is_none())
    }

    fn prefix(&self) -> &'static str {
        if self.secure { "__Host-" } else { "" }
    }
}
