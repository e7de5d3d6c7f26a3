//! Which endpoint answers: paths and methods of the authorization server, all below its issuer.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use tokio::sync::OnceCell;

use super::cookie::Cookies;
use super::pages::{Pages, Place};
use super::{
    Branding, Received, Refused, Response, Site, account, activate, authorize, consent, device_authorization,
    introspect, login, logout, metadata, openapi, par, register, respond, revoke, status, token, userinfo,
};
use crate::clock::Clock;
use crate::document::PublicDocument;
use crate::oauth::AuthorizationServer;
use crate::oauth::discovery::Discovery;
use crate::oauth::metadata::{
    ACCOUNT, ACCOUNT_CALLBACK, ACTIVATE, ACTIVATE_CALLBACK, AUTHORIZE, DEVICE_AUTHORIZATION, INTROSPECT, JWKS,
    LOGIN_CALLBACK, LOGOUT, PUSHED_AUTHORIZATION_REQUEST, REGISTER, REGISTERED, REVOKE, STATUS_LIST,
    STATUS_LIST_AGGREGATION, TOKEN, USERINFO,
};
use crate::telemetry::IssuerMetrics;
use crate::uri::HttpUri;

const LOGIN: &str = "/login";
const CONSENT: &str = "/consent";
const OPENAPI: &str = "/openapi.json";

/// What the metadata is called in traces, wherever it is looked for.
const METADATA: &str = "/.well-known";

/// The endpoints, which are called by their paths in traces.
const ROUTES: [&str; 19] = [
    ACCOUNT,
    ACCOUNT_CALLBACK,
    ACTIVATE,
    ACTIVATE_CALLBACK,
    AUTHORIZE,
    CONSENT,
    DEVICE_AUTHORIZATION,
    INTROSPECT,
    JWKS,
    LOGIN,
    LOGIN_CALLBACK,
    LOGOUT,
    OPENAPI,
    PUSHED_AUTHORIZATION_REQUEST,
    REGISTER,
    REVOKE,
    STATUS_LIST_AGGREGATION,
    TOKEN,
    USERINFO,
];

/// The endpoints with something behind them, and what they are called.
const BRANCHES: [(&str, &str); 2] =
    [(REGISTERED, "/oauth/register/{client_id}"), (STATUS_LIST, "/oauth/status/{list}")];

/// The authorization server behind its door.
pub struct AuthorizationSite {
    pub(super) server: Arc<AuthorizationServer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pages: Pages,
    pub(super) cookies: Cookies,
    /// The path of the issuer without a trailing slash; empty for most.
    base: String,
    https: bool,
    /// Where requests are counted.
    pub(super) metrics: Arc<IssuerMetrics>,
    /// What is described for programs, once somebody has asked.
    description: OnceCell<PublicDocument>,
}

impl AuthorizationSite {
    /// Puts the site together.
    #[must_use]
    pub fn new(server: Arc<AuthorizationServer>, clock: Arc<dyn Clock>, branding: Branding) -> Self {
        let base = server.base().to_owned();
        let issuer = HttpUri::parse(server.settings().issuer.as_str()).expect("the issuer is an http(s) URL");
        let https = issuer.is_https();
        let people_sign_in = if server.asks_for_passwords() { Place::Here } else { Place::Elsewhere };
        Self {
            pages: Pages::new(&base, people_sign_in, branding),
            server,
            clock,
            cookies: Cookies::new(https),
            base,
            https,
            metrics: Arc::default(),
            description: OnceCell::new(),
        }
    }

    /// The same site, whose requests are counted.
    #[must_use]
    pub fn counted_by(self, metrics: Arc<IssuerMetrics>) -> Self {
        Self { metrics, ..self }
    }

    /// 405, for people.
    fn wrong_method(&self, request: &Received, allow: &'static str) -> Response {
        let page = self.pages.wrong_method(authorize::language(self, request));
        respond::page_with_allow(page, allow, self.https)
    }

    /// Whether clients may register themselves.
    fn registers(&self) -> bool {
        self.server.settings().registration.is_some()
    }

    /// Whether others are told which access tokens were revoked.
    fn tells_status(&self) -> bool {
        self.server.settings().status_lists.is_some()
    }

    /// Whether people reach the server over https.
    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    /// Whether people are at a path, who want a page.
    fn is_page(&self, path: &str) -> bool {
        let pages =
            [AUTHORIZE, ACTIVATE, ACTIVATE_CALLBACK, ACCOUNT, ACCOUNT_CALLBACK, LOGIN, LOGIN_CALLBACK, CONSENT, LOGOUT];
        path.strip_prefix(self.base.as_str()).is_some_and(|path| pages.contains(&path))
    }
}

#[async_trait]
impl Site for AuthorizationSite {
    async fn answer(&self, request: Received) -> Response {
        if let Some(document) = Discovery::at(&self.base, &request.path) {
            return get(&request, || metadata::discovery(self, document, &request));
        }
        let Some(path) = request.path.strip_prefix(self.base.as_str()) else { return respond::not_found() };
        match path {
            TOKEN => match request.method {
                Method::POST => token::token(self, &request).await,
                Method::OPTIONS => respond::preflight("POST"),
                _ => respond::method_not_allowed("POST"),
            },
            DEVICE_AUTHORIZATION => match request.method {
                Method::POST => device_authorization::device_authorization(self, &request).await,
                Method::OPTIONS => respond::preflight("POST"),
                _ => respond::method_not_allowed("POST"),
            },
            PUSHED_AUTHORIZATION_REQUEST => match request.method {
                Method::POST => par::par(self, &request).await,
                Method::OPTIONS => respond::preflight("POST"),
                _ => respond::method_not_allowed("POST"),
            },
            REVOKE => match request.method {
                Method::POST => revoke::revoke(self, &request).await,
                Method::OPTIONS => respond::preflight("POST"),
                _ => respond::method_not_allowed("POST"),
            },
            INTROSPECT => match request.method {
                Method::POST => introspect::introspect(self, &request).await, // no preflight: it is for servers
                _ => respond::method_not_allowed("POST"),
            },
            AUTHORIZE => match request.method {
                Method::GET | Method::HEAD | Method::POST => authorize::authorize(self, &request).await,
                _ => self.wrong_method(&request, "GET, HEAD, POST"),
            },
            ACTIVATE => match request.method {
                Method::GET | Method::HEAD | Method::POST => activate::activate(self, &request).await,
                _ => self.wrong_method(&request, "GET, HEAD, POST"),
            },
            ACTIVATE_CALLBACK => match request.method {
                Method::GET => activate::callback(self, &request).await, // no HEAD: it spends the code
                _ => self.wrong_method(&request, "GET"),
            },
            ACCOUNT => match request.method {
                Method::GET | Method::HEAD | Method::POST => account::account(self, &request).await,
                _ => self.wrong_method(&request, "GET, HEAD, POST"),
            },
            ACCOUNT_CALLBACK => match request.method {
                Method::GET => account::callback(self, &request).await, // no HEAD: it spends the code
                _ => self.wrong_method(&request, "GET"),
            },
            LOGIN | CONSENT | LOGOUT if self.server.settings().external_login.is_some() => respond::not_found(),
            LOGIN => match request.method {
                Method::POST => login::login(self, &request).await,
                _ => self.wrong_method(&request, "POST"),
            },
            LOGIN_CALLBACK => match request.method {
                Method::GET => login::callback(self, &request).await, // no HEAD: it spends the code
                _ => self.wrong_method(&request, "GET"),
            },
            CONSENT => match request.method {
                Method::POST => consent::consent(self, &request).await,
                _ => self.wrong_method(&request, "POST"),
            },
            LOGOUT => match request.method {
                Method::GET | Method::HEAD | Method::POST => logout::logout(self, &request).await,
                _ => self.wrong_method(&request, "GET, HEAD, POST"),
            },
            USERINFO => match request.method {
                Method::GET | Method::POST => userinfo::userinfo(self, &request).await,
                Method::OPTIONS => respond::preflight("GET, POST"),
                _ => respond::method_not_allowed("GET, POST"),
            },
            OPENAPI => {
                let issuer = self.server.settings().issuer.as_str();
                let describe = async || PublicDocument::new(&openapi::openapi(issuer), openapi::KEEP_FOR);
                let description = self.description.get_or_init(describe).await;
                get(&request, || respond::document(description, &request))
            }
            STATUS_LIST_AGGREGATION if self.tells_status() => get(&request, || status::aggregation(self, &request)),
            path if self.tells_status() && path.starts_with(STATUS_LIST) => match request.method {
                Method::GET | Method::HEAD => status::list(self, &request, &path[STATUS_LIST.len()..]).await,
                Method::OPTIONS => respond::preflight("GET"),
                _ => respond::method_not_allowed("GET, HEAD"),
            },
            REGISTER if self.registers() => match request.method {
                Method::POST => register::register(self, &request).await,
                Method::OPTIONS => respond::preflight("POST"),
                _ => respond::method_not_allowed("POST"),
            },
            path if self.registers() && path.starts_with(REGISTERED) => match request.method {
                Method::GET | Method::PUT | Method::DELETE => {
                    register::manage(self, &request, &path[REGISTERED.len()..]).await
                }
                Method::OPTIONS => respond::preflight("GET, PUT, DELETE"),
                _ => respond::method_not_allowed("GET, PUT, DELETE"),
            },
            path => match self.pages.logo(path) {
                Some(logo) => get(&request, || respond::logo(logo, self.https)),
                None => respond::not_found(),
            },
        }
    }

    fn refuse(&self, path: &str, refused: Refused) -> Response {
        if self.is_page(path) {
            respond::page(self.pages.refused(refused), self.https)
        } else {
            respond::refused(refused)
        }
    }

    fn route(&self, path: &str) -> Option<&'static str> {
        if Discovery::at(&self.base, path) == Some(Discovery::Metadata) {
            return Some(METADATA);
        }
        let path = path.strip_prefix(self.base.as_str())?;
        let named = ROUTES.into_iter().find(|route| *route == path);
        named.or_else(|| BRANCHES.into_iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, route)| route))
    }
}

/// A public document: GET and HEAD, and a preflight for scripts.
fn get(request: &Received, document: impl FnOnce() -> Response) -> Response {
    match request.method {
        Method::GET | Method::HEAD => document(),
        Method::OPTIONS => respond::preflight("GET"),
        _ => respond::method_not_allowed("GET, HEAD"),
    }
}
