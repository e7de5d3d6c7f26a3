//! The authorization endpoint (RFC 6749 §3.1, §4.1.1) and the pages behind it: sign-in and consent.
//!
//! | step | asks | a refusal goes |
//! |---|---|---|
//! | 1 | is it a form of bounded size? if it was pushed or signed: by this client, and may it be used? | to a page |
//! | 2 | is `client_id` there once, and registered? | to a page |
//! | 3 | is `redirect_uri` there once, and registered for it? | to a page |
//! | 4 | may this client send a request in this way (`submission.rs`)? does nothing else occur twice? | to the redirect URI |
//! | 5 | `response_type=code`, a known `response_mode`, a client of this grant, a bounded `state`? | to the redirect URI |
//! | 6 | PKCE with S256, a well-formed `dpop_jkt`? | to the redirect URI |
//! | 7 | known scopes of this client, one known resource? | to the redirect URI |
//! | 8 | a `prompt` and `max_age` that can be met? | to the redirect URI |
//! | 9 | who is it? the sign-in page asks, [`AuthorizationServer::sign_in`] hears | back to the sign-in page |
//! | 10 | do they approve? the consent page asks, [`AuthorizationServer::decide`] hears | to the redirect URI |
//!
//! Which of the two ways a refusal goes is a type: it is an `Err` until there is a [`Destination`], which only step 3
//! makes, and an [`Answer`] to that destination from then on (RFC 6749 §4.1.2.1).
//!
//! What steps 1 to 8 have found travels with the pages as a sealed [`Transaction`], so a sign-in that is abandoned costs
//! no memory. A form is believed in what the person typed and pressed; all else comes from the transaction.
//!
//! The pages for devices ([`activation`](super::activation)) are a client of this endpoint too. They get their code without
//! step 10: it opens nothing, and they ask the person themselves.
//!
//! Invariant: consent is asked for every time, and a transaction gives one code at most. A pushed request is one transaction,
//! however often its page is loaded.
//!
//! Choice: a redirect URI is registered by the operator and therefore trusted, so errors are redirected to it at once
//! (RFC 9700 §4.11.2 leaves this to the server). Whoever opens registration to strangers must show a page first.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::activation::{ConfirmDevice, EnterCode};
use super::authorization_details::DetailShown;
use super::client::Client;
use super::{ACTIVATION_CLIENT, AuthorizationServer, Error, Parameters, Refusal};
use crate::clock::Timestamp;
use crate::ident::{Acr, Subject};
use crate::identity::{Attempt, Authentication, Person};
use crate::secret::{AuthorizationCode, BrowserToken, Digest, SessionKind, SessionToken};
use crate::store::{CodeRecord, Recorded, SessionRecord};

mod destination;
mod external;
mod form;
mod request;
mod response;
mod submission;
mod transaction;

use destination::Destination;
pub use external::{Asking, Begun, DenyReason, ExternalApproval, ExternalEndpoint, ExternalEndpointFault, Hints};
pub(super) use form::FormKeys;
use request::{AuthorizationRequest, Prompt};
pub(super) use response::ResponseMode;
use submission::Submission;
pub(super) use submission::Way;
use transaction::Transaction;

/// What a browser presents besides the request itself.
#[derive(Clone, Copy)]
pub struct Browser<'a> {
    /// The value of its session cookie.
    pub session: Option<&'a str>,
    /// The value of the cookie that ties forms to it.
    pub token: Option<&'a str>,
    /// The value of the cookie that holds a user code while its person signs in.
    pub activation: Option<&'a str>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The `Sec-Fetch-Site` header.
    pub fetch_site: Option<&'a str>,
    /// The address that the connection came from.
    pub address: IpAddr,
}

/// An answer to a browser.
#[must_use]
pub struct Answer {
    /// What it is to show, or where it is to go.
    pub view: View,
    /// The cookies that it is to keep or to forget.
    pub cookies: Vec<Cookie>,
}

/// What a browser is to show, or where it is to go.
pub enum View {
    /// The sign-in page.
    SignIn(SignIn),
    /// The consent page.
    Consent(Consent),
    /// The page that asks whether to sign out.
    SignOut {
        /// `csrf_token` of its form.
        csrf_token: String,
        /// `transaction` of its form, sealed: where the browser goes afterwards, if not to another page.
        transaction: Option<String>,
    },
    /// The page that says so.
    SignedOut,
    /// The page that asks for a user code.
    EnterCode(EnterCode),
    /// Away from that page, to the authorization endpoint.
    SignInFirst {
        /// The authorization request.
        location: String,
    },
    /// The page that asks about a device.
    ConfirmDevice(ConfirmDevice),
    /// The page that says that the device will get its tokens.
    DeviceApproved,
    /// The page that says that it will not.
    DeviceDeclined,
    /// Back to the client.
    Redirect(Redirect),
}

/// A cookie that a browser is to keep or to forget.
pub enum Cookie {
    /// Ties forms to this browser.
    Browser(BrowserToken),
    /// Holds the session of this browser.
    Session(SessionToken),
    /// There is no session any more.
    SessionEnded,
    /// Holds a user code, sealed, while its person signs in.
    Activation(String),
    /// That is over.
    ActivationEnded,
}

/// The hidden fields of a form.
pub struct Form {
    /// `transaction`: sealed.
    pub transaction: String,
    /// `csrf_token`.
    pub csrf_token: String,
}

/// What the sign-in page shows. Texts are as others supplied them, not escaped yet.
pub struct SignIn {
    /// The hidden fields.
    pub form: Form,
    /// `client_name`.
    pub client_name: String,
    /// What the name field begins with.
    pub username: String,
    /// Why the page is shown again.
    pub fault: Option<SignInFault>,
}

/// Why somebody is not signed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignInFault {
    /// The name or the password is wrong, or they may not sign in.
    Unknown,
    /// There were too many attempts.
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// What the consent page shows. Texts are as others supplied them, not escaped yet.
pub struct Consent {
    /// The hidden fields.
    pub form: Form,
    /// `client_name`.
    pub client_name: String,
    /// Who is signed in.
    pub person: String,
    /// What each scope means, in the operator's words.
    pub permissions: Vec<String>,
    /// What is asked for in detail.
    pub details: Vec<DetailShown>,
    /// The origin or the scheme to which the browser will go.
    pub destination: String,
}

/// An authorization response (RFC 6749 §4.1.2, §4.1.2.1). It may hold a code and has no `Debug`.
pub struct Redirect {
    location: String,
    refusal: Option<Refusal>,
}

impl Redirect {
    /// Back to a client that gets no answer with it.
    pub(super) fn to(location: String) -> Self {
        Self { location, refusal: None }
    }

    /// The redirect URI with the parameters of the response.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Why the request was refused, if it was.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
}

/// A person whose session is open.
pub(super) struct SignedIn {
    pub(super) session: Digest<SessionKind>,
    pub(super) person: Person,
    pub(super) auth_time: Timestamp,
    pub(super) acr: Option<Acr>,
}

/// What steps 1 to 8 have found.
enum Judged {
    /// A request whose person may be asked.
    Good(Box<(Destination, AuthorizationRequest, Submission)>),
    /// The client is told what is wrong with its request.
    Refused(Redirect),
}

/// Who approved, and how they were recognised.
struct Approval {
    subject: Subject,
    auth_time: Timestamp,
    acr: Option<Acr>,
}

impl Answer {
    pub(super) fn new(view: View) -> Self {
        Self { view, cookies: Vec::new() }
    }

    pub(super) fn with(mut self, cookie: Cookie) -> Self {
        self.cookies.push(cookie);
        self
    }
}

impl AuthorizationServer {
    /// Answers an authorization request: `parameters` is its query, or its form body, or both joined by `&`.
    ///
    /// # Errors
    /// A [`Refusal`] that must not be redirected, or `Unavailable`.
    pub async fn authorize(&self, parameters: &str, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        if let Some(endpoint) = &self.settings.external_login {
            let location = endpoint.instead(parameters)?;
            return Ok(Answer::new(View::SignInFirst { location }));
        }
        let (destination, request, submission) = match self.judged(parameters, now).await? {
            Judged::Good(good) => *good,
            Judged::Refused(redirect) => return Ok(Answer::new(View::Redirect(redirect))),
        };
        let Submission { parameters, way, .. } = submission;
        let signed_in = self.signed_in(browser, now).await?;
        let signed_in = signed_in.filter(|signed_in| request.accepts(signed_in.auth_time, now));
        if request.prompt == Prompt::None {
            let refusal = if signed_in.is_some() { Refusal::ConsentRequired } else { Refusal::LoginRequired };
            return self.answer_unasked(&destination, (refusal, way), now).await;
        }

        let transaction = self.new_transaction(destination, (request, way), now);
        let (token, is_new) = match browser.token.and_then(|token| token.parse().ok()) {
            Some(token) => (token, false),
            None => (BrowserToken::draw(&*self.entropy), true),
        };
        let answer = if let Some(signed_in) = signed_in {
            self.go_on(transaction, signed_in, &token, now).await?
        } else {
            self.ask_who(transaction, parameters.get("login_hint").unwrap_or_default(), None, &token)
        };
        Ok(if is_new { answer.with(Cookie::Browser(token)) } else { answer })
    }

    /// Steps 1 to 8.
    async fn judged(&self, parameters: &str, now: Timestamp) -> Result<Judged, Error> {
        let (parameters, repeated) = Parameters::parse_with_repeats(parameters)?;
        let submission = self.submission(parameters, repeated, now).await?;
        let Submission { parameters, repeated, way } = &submission;
        let destination = self.destination(parameters, repeated)?;
        let allowed = self.check_way(*way, &destination.client);
        match allowed.and_then(|()| self.judge(parameters, repeated, &destination.client)) {
            Ok(request) => Ok(Judged::Good(Box::new((destination, request, submission)))),
            Err(refusal) => Ok(Judged::Refused(self.refusal_redirect(&destination, refusal, now)?)),
        }
    }

    fn new_transaction(
        &self,
        destination: Destination,
        (request, way): (AuthorizationRequest, Way),
        now: Timestamp,
    ) -> Transaction {
        let times = (now, now + self.settings.lifetimes.transaction);
        Transaction::begin(destination, (request, way), times, &*self.entropy)
    }

    /// Hears the sign-in page: `username` and `password` of the form, and its hidden fields.
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn sign_in(&self, form: &Parameters, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let token = self.check_form(form, browser)?;
        let transaction = self.transaction(form, &token, now)?;
        let username = form.get("username").unwrap_or_default();
        let password = form.get("password").unwrap_or_default();
        let attempt = Attempt { username, password, address: browser.address, now };
        let fault = match self.people.authenticate(attempt).await? {
            Authentication::Known(person) => {
                let (session, signed_in) = self.open_session(person, browser, now).await?;
                return Ok(self.go_on(transaction, signed_in, &token, now).await?.with(Cookie::Session(session)));
            }
            Authentication::Unknown => SignInFault::Unknown,
            Authentication::Throttled { retry_after } => SignInFault::Throttled { retry_after },
        };
        Ok(self.ask_who(transaction, username, Some(fault), &token))
    }

    /// Hears the consent page: `decision` of the form (`approve`, `deny` or `switch` to another account), and its hidden
    /// fields. It decides for the person to whom the page was shown, and for nobody who has signed in since.
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn decide(&self, form: &Parameters, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let token = self.check_form(form, browser)?;
        let transaction = self.transaction(form, &token, now)?;
        let signed_in = self.signed_in(browser, now).await?;
        let signed_in = signed_in.filter(|signed_in| transaction.session == Some(signed_in.session));
        let signed_in = signed_in.ok_or(Refusal::TransactionUnknown)?;
        match form.get("decision") {
            Some("approve") => self.approve(&transaction, signed_in, now).await,
            Some("deny") => {
                let redirect = self.end_unapproved(&transaction, Refusal::ConsentDeclined, now).await?;
                Ok(Answer::new(View::Redirect(redirect)))
            }
            Some("switch") => {
                self.store.end_session(signed_in.session).await?;
                Ok(self.ask_who(transaction, "", None, &token).with(Cookie::SessionEnded))
            }
            Some(_) | None => Err(Refusal::DecisionMissing.into()),
        }
    }

    /// Goes on with somebody who has signed in: to the consent page, or at once back to our own pages, which learn nothing
    /// but who it is and ask for consent themselves.
    async fn go_on(
        &self,
        transaction: Transaction,
        by: SignedIn,
        token: &BrowserToken,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        if transaction.destination.client.id == self.activation_client.id {
            self.approve(&transaction, by, now).await
        } else {
            Ok(self.ask_consent(transaction, &by, token))
        }
    }

    async fn approve(&self, transaction: &Transaction, by: SignedIn, now: Timestamp) -> Result<Answer, Error> {
        let by = Approval { subject: by.person.subject, auth_time: by.auth_time, acr: by.acr };
        Ok(Answer::new(View::Redirect(self.issue_code(transaction, by, now).await?)))
    }

    /// Turns an approved transaction into a code (RFC 6749 §4.1.2).
    async fn issue_code(&self, transaction: &Transaction, by: Approval, now: Timestamp) -> Result<Redirect, Error> {
        let envelope = self.envelope(&transaction.destination, now)?;
        let code = AuthorizationCode::draw(&*self.entropy);
        let request = &transaction.request;
        let record = CodeRecord {
            digest: code.digest(),
            transaction: transaction.id,
            client_id: transaction.destination.client.id.clone(),
            redirect_uri: transaction.destination.redirect_uri.as_str().to_owned(),
            challenge: *request.challenge.as_bytes(),
            subject: by.subject,
            auth_time: by.auth_time,
            acr: by.acr,
            scopes: request.scopes.clone(),
            resource: request.resource.clone(),
            details: request.details.clone(),
            dpop_jkt: request.dpop_jkt,
            nonce: request.nonce.clone(),
            expires_at: now + self.settings.lifetimes.authorization_code,
            spent_for: None,
        };
        match self.store.record_code(&record).await? {
            Recorded::First => {
                let location = transaction.destination.approved(&code, &envelope);
                Ok(Redirect { location, refusal: None })
            }
            Recorded::TransactionSpent => Err(Refusal::TransactionSpent.into()),
        }
    }

    /// Ends a transaction that nobody has approved, and sends the client away.
    async fn end_unapproved(
        &self,
        transaction: &Transaction,
        refusal: Refusal,
        now: Timestamp,
    ) -> Result<Redirect, Error> {
        let redirect = self.refusal_redirect(&transaction.destination, refusal, now)?;
        match self.store.end_transaction(transaction.id, transaction.expires_at).await? {
            Recorded::First => Ok(redirect),
            Recorded::TransactionSpent => Err(Refusal::TransactionSpent.into()),
        }
    }

    /// Sends the client away who wanted nobody to be asked.
    async fn answer_unasked(
        &self,
        destination: &Destination,
        (refusal, way): (Refusal, Way),
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let answer = self.refuse(destination, refusal, now)?;
        if let Some(transaction) = way.pushed()
            && !self.store.answer_pushed_request(transaction).await?
        {
            return Err(Refusal::PushedRequestUnknown.into());
        }
        Ok(answer)
    }

    /// The client of an authorization request: a registered one, or our own pages.
    fn client_here(&self, id: &str) -> Option<Arc<Client>> {
        if id == ACTIVATION_CLIENT { Some(Arc::clone(&self.activation_client)) } else { self.client(id) }
    }

    /// Sends a refusal to the client (RFC 6749 §4.1.2.1).
    fn refuse(&self, destination: &Destination, refusal: Refusal, now: Timestamp) -> Result<Answer, Error> {
        Ok(Answer::new(View::Redirect(self.refusal_redirect(destination, refusal, now)?)))
    }

    fn refusal_redirect(&self, destination: &Destination, refusal: Refusal, now: Timestamp) -> Result<Redirect, Error> {
        let location = destination.refused(refusal, &self.envelope(destination, now)?);
        Ok(Redirect { location, refusal: Some(refusal) })
    }

    fn ask_who(
        &self,
        mut transaction: Transaction,
        username: &str,
        fault: Option<SignInFault>,
        token: &BrowserToken,
    ) -> Answer {
        transaction.session = None;
        Answer::new(View::SignIn(SignIn {
            client_name: transaction.destination.client.name.clone(),
            form: self.form(&transaction, token),
            username: username.chars().take(USERNAME_SHOWN).collect(),
            fault,
        }))
    }

    fn ask_consent(&self, mut transaction: Transaction, by: &SignedIn, token: &BrowserToken) -> Answer {
        transaction.session = Some(by.session);
        Answer::new(View::Consent(Consent {
            client_name: transaction.destination.client.name.clone(),
            person: by.person.name.clone(),
            permissions: self.in_words(&transaction.request.scopes),
            details: self.shown(&transaction.request.details),
            destination: transaction.destination.redirect_uri.destination(),
            form: self.form(&transaction, token),
        }))
    }

    /// Who is signed in with this browser and may still be.
    pub(super) async fn signed_in(&self, browser: Browser<'_>, now: Timestamp) -> Result<Option<SignedIn>, Error> {
        let Some(token) = browser.session.and_then(|token| token.parse::<SessionToken>().ok()) else {
            return Ok(None);
        };
        let session = token.digest();
        let Some(record) = self.store.session(session, now).await? else { return Ok(None) };
        let person = self.check_person(&record.subject).await?;
        Ok(person.map(|person| SignedIn { session, person, auth_time: record.auth_time, acr: record.acr }))
    }

    /// Opens a session under a new name, so that nobody knows it who knew the old one, and ends the old one.
    async fn open_session(
        &self,
        person: Person,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<(SessionToken, SignedIn), Error> {
        let token = SessionToken::draw(&*self.entropy);
        let signed_in = SignedIn { session: token.digest(), person, auth_time: now, acr: None };
        self.record_session(&signed_in, now + self.settings.lifetimes.session).await?;
        self.end_session(browser).await?;
        Ok((token, signed_in))
    }

    pub(super) async fn record_session(&self, signed_in: &SignedIn, expires_at: Timestamp) -> Result<(), Error> {
        let SignedIn { session, person, auth_time, acr } = signed_in;
        let record = SessionRecord {
            digest: *session,
            subject: person.subject.clone(),
            auth_time: *auth_time,
            acr: acr.clone(),
            idle_expires_at: expires_at,
            expires_at,
        };
        Ok(self.store.open_session(&record).await?)
    }

    pub(super) async fn end_session(&self, browser: Browser<'_>) -> Result<(), Error> {
        if let Some(token) = browser.session.and_then(|token| token.parse::<SessionToken>().ok()) {
            self.store.end_session(token.digest()).await?;
        }
        Ok(())
    }
}

/// How much of a name the sign-in page gives back, in characters.
const USERNAME_SHOWN: usize = 256;
