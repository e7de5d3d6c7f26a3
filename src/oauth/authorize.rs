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
//! | 7 | known scopes of this client, known resources? | to the redirect URI |
//! | 8 | a `prompt`, `max_age` and `claims` that can be met, an `id_token_hint` of ours? | to the redirect URI |
//! | 9 | who is it? the sign-in page asks, or whoever the operator says (`sign_in.rs`, `session.rs`) | back to the sign-in page, or to the redirect URI |
//! | 10 | do they approve? the consent page asks, [`AuthorizationServer::decide`] hears | to the redirect URI |
//!
//! Which of the two ways a refusal goes is a type: it is an `Err` until there is a [`Destination`], which only step 3
//! makes, and an [`Answer`] to that destination from then on (RFC 6749 §4.1.2.1).
//!
//! What steps 1 to 8 have found travels with the pages as a sealed [`Transaction`], so a sign-in that is abandoned costs
//! no memory. A form is believed in what the person typed and pressed; all else comes from the transaction.
//!
//! Pages of our own ([`first_party`](super::first_party)) are clients of this endpoint too. They get their code without
//! step 10: it opens nothing, and they ask the person themselves.
//!
//! Invariant: consent is asked for every time, but where `prompt=none` forbids it and the person has given it to the same
//! client in the same session (`consent.rs`). A transaction gives one code at most, and none once it was declined. A pushed
//! request is one transaction, however often its page is loaded.
//!
//! Choice: a redirect URI is registered by the operator and therefore trusted, so errors are redirected to it at once
//! (RFC 9700 §4.11.2 leaves this to the server). One that a client has registered itself is not: before the person has done
//! something about it, errors are shown on a page.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::activation::{ConfirmDevice, EnterCode};
use super::authorization_details::DetailShown;
use super::client::{Client, ClientOrigin};
use super::clients::Asker;
use super::first_party::SignInFor;
use super::{AuthorizationServer, Error, Parameters, Refusal, Words};
use crate::audit;
use crate::clock::Timestamp;
use crate::ident::{Acr, Subject};
use crate::identity::{Headers, Login};
use crate::secret::{AuthorizationCode, BrowserToken, SessionToken};
use crate::store::{CodeRecord, Recorded, SessionId};

mod claims;
mod consent;
mod destination;
mod external;
mod form;
mod request;
mod response;
mod session;
mod sign_in;
mod submission;
mod transaction;

use destination::Destination;
pub use external::{Asking, Begun, DenyReason, ExternalApproval, ExternalEndpoint, ExternalEndpointFault, Hints};
pub(super) use form::FormKeys;
use request::{AuthorizationRequest, Prompt};
pub(super) use response::ResponseMode;
pub(super) use session::{SessionEnd, SignedIn};
use sign_in::WhoIsIt;
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
    /// The value of the cookie that holds what a page of ours has somebody sign in for.
    pub errand: Option<&'a str>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The `Sec-Fetch-Site` header.
    pub fetch_site: Option<&'a str>,
    /// The address of the browser.
    pub address: IpAddr,
    /// Who connected, whatever was forwarded: the proxy, if there is one.
    pub peer: IpAddr,
    /// All headers, for a proxy in front that signs people in.
    pub headers: &'a dyn Headers,
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
    /// Away from a page of ours, to the authorization endpoint.
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
    /// The page that shows what a person has allowed.
    Account(Account),
    /// Away to that page.
    ToAccount,
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
    /// Holds, sealed, what a page of ours has somebody sign in for.
    Errand(String),
    /// That is over.
    ErrandEnded,
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
    /// What they are to sign in for.
    pub sign_in_for: SignInFor,
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

impl SignInFault {
    /// The name in logs.
    const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Throttled { .. } => "throttled",
        }
    }
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
    pub permissions: Vec<Words>,
    /// Whether another person can be asked to sign in instead.
    pub can_switch: bool,
    /// What is asked for in detail.
    pub details: Vec<DetailShown>,
    /// The origin or the scheme to which the browser will go.
    pub destination: String,
    /// Who says all this of the client.
    pub origin: ClientOrigin,
    /// The host of the document in which it does, if that is where.
    pub client_host: Option<String>,
    /// Whether the browser will go to whatever listens on its own machine.
    pub stays_here: bool,
}

/// An authorization response (RFC 6749 §4.1.2, §4.1.2.1). It may hold a code and has no `Debug`.
pub struct Redirect {
    location: String,
    form: Option<Vec<(String, String)>>,
    refusal: Option<Refusal>,
}

impl Redirect {
    /// Back to a client that gets no answer with it.
    pub(super) fn to(location: String) -> Self {
        Self { location, form: None, refusal: None }
    }

    /// The redirect URI, with the parameters of the response unless a form holds them.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The fields of the form that the browser is to post there, if the client asked for one (OAuth 2.0 Form Post Response
    /// Mode §2).
    #[must_use]
    pub fn form(&self) -> Option<&[(String, String)]> {
        self.form.as_deref()
    }

    /// Why the request was refused, if it was.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }
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
    session: Option<SessionId>,
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
        let asker = Asker::at(browser.address, now);
        let (destination, mut request, submission) = match self.judged(parameters, asker).await? {
            Judged::Good(good) => *good,
            Judged::Refused(redirect) => return Ok(Answer::new(View::Redirect(redirect))),
        };
        let Submission { parameters, way, .. } = submission;
        let (signed_in, unmet) = match self.signed_in(browser, now).await {
            Ok(None) => (None, None),
            Ok(Some(signed_in)) => {
                let known_as = self.subject_at(&destination.client, &signed_in.person.subject);
                let fits = request.check_subject(&known_as);
                match fits.and_then(|()| request.check_sign_in(&signed_in, &self.login, now)) {
                    Ok(()) => (Some(signed_in), None),
                    Err(refusal) => (None, Some(refusal)),
                }
            }
            Err(Error::Refused(Refusal::PersonDisabled)) => {
                return self.answer_unasked(&destination, (Refusal::PersonDisabled, way), now).await;
            }
            Err(error) => return Err(error),
        };
        if request.prompt == Prompt::None {
            let refusal = match signed_in {
                Some(by) if self.has_consented(&by, &destination, &request, now).await? => {
                    let transaction = self.new_transaction(destination, (request, way), now);
                    return self.approve(&transaction, by, now).await;
                }
                Some(_) => Refusal::ConsentRequired,
                None => Refusal::LoginRequired,
            };
            return self.answer_unasked(&destination, (refusal, way), now).await;
        }
        if unmet == Some(Refusal::SubjectMismatch) && request.prompt == Prompt::AsNeeded {
            request.prompt = Prompt::SelectAccount; // or a provider would give us the same person again
        }

        let transaction = self.new_transaction(destination, (request, way), now);
        let (token, is_new) = match browser.token.and_then(|token| token.parse().ok()) {
            Some(token) => (token, false),
            None => (BrowserToken::draw(&*self.entropy), true),
        };
        let answer = if let Some(signed_in) = signed_in {
            self.go_on(transaction, signed_in, &token, now).await?
        } else {
            let hint = |name: &str| parameters.get(name).unwrap_or_default();
            let asking = WhoIsIt { username: hint("login_hint"), locales: hint("ui_locales"), fault: None, unmet };
            self.ask_who(transaction, asking, &token, now).await?
        };
        Ok(if is_new { answer.with(Cookie::Browser(token)) } else { answer })
    }

    /// Steps 1 to 8.
    async fn judged(&self, parameters: &str, asker: Asker) -> Result<Judged, Error> {
        let (parameters, repeated) = Parameters::parse_with_repeats(parameters)?;
        let submission = self.submission(parameters, repeated, asker).await?;
        let Submission { parameters, repeated, way } = &submission;
        let destination = self.destination(parameters, repeated, asker).await?;
        let allowed = self.check_way(*way, &destination.client);
        match allowed.and_then(|()| self.judge(parameters, repeated, &destination, asker.now)) {
            Ok(request) => Ok(Judged::Good(Box::new((destination, request, submission)))),
            // RFC 9700 §4.11.2: nobody is sent anywhere by a link alone, unless the operator knows the place.
            Err(refusal) if !destination.client.is_trusted() => Err(refusal.into()),
            Err(refusal) => Ok(Judged::Refused(self.refusal_redirect(&destination, refusal, asker.now)?)),
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

    /// Hears the consent page: `decision` of the form (`approve`, `deny` or `switch` to another account), and its hidden
    /// fields. It decides for the person to whom the page was shown, and for nobody who has signed in since.
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn decide(&self, form: &Parameters, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let token = self.check_form(form, browser, now)?;
        let mut transaction = self.transaction(form, (&token, browser.address), now).await?;
        let signed_in = self.signed_in(browser, now).await?;
        let signed_in = signed_in.filter(|signed_in| transaction.session == Some(signed_in.session));
        let signed_in = signed_in.ok_or(Refusal::TransactionUnknown)?;
        match form.get("decision") {
            Some("approve") => self.approve(&transaction, signed_in, now).await,
            Some("deny") => self.turn_down(&transaction, Refusal::ConsentDeclined, now).await,
            Some("switch") if self.can_switch() => {
                self.end_one_session(&signed_in.into(), SessionEnd::AccountSwitched, (browser, now)).await?;
                transaction.request.prompt = Prompt::SelectAccount;
                let answer = self.ask_who(transaction, WhoIsIt::default(), &token, now).await?;
                Ok(answer.with(Cookie::SessionEnded))
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
        let client = &transaction.destination.client;
        if let Err(refusal) = transaction.request.check_subject(&self.subject_at(client, &by.person.subject)) {
            return self.turn_down(&transaction, refusal, now).await;
        }
        if self.first_party.client(client.id.as_str()).is_some() {
            self.approve(&transaction, by, now).await
        } else {
            Ok(self.ask_consent(transaction, &by, token, now))
        }
    }

    async fn approve(&self, transaction: &Transaction, by: SignedIn, now: Timestamp) -> Result<Answer, Error> {
        self.note_consent(transaction, &by, now).await?;
        let by = Approval { subject: by.person.subject, auth_time: by.auth_time, acr: by.acr, session: by.id };
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
            challenge: request.challenge.map(|challenge| *challenge.as_bytes()),
            subject: by.subject,
            auth_time: by.auth_time,
            acr: by.acr,
            scopes: request.scopes.clone(),
            resource: request.resource.clone(),
            details: request.details.clone(),
            dpop_jkt: request.dpop_jkt,
            nonce: request.nonce.clone(),
            claims: request.claims.clone(),
            session: by.session,
            expires_at: now + self.settings.lifetimes.authorization_code,
            spent_for: None,
        };
        match self.store.record_code(&record).await? {
            Recorded::First => {
                tracing::info!(
                    target: audit::TARGET,
                    event = audit::AUTHORIZATION_GRANTED,
                    client.id = %record.client_id,
                    subject = %record.subject,
                    scope = %record.scopes,
                    resource = %record.resource,
                    "`{}` got a code", record.client_id
                );
                Ok(transaction.destination.approved(&code, &envelope))
            }
            Recorded::TransactionSpent => Err(Refusal::TransactionSpent.into()),
        }
    }

    /// Sends the client of a transaction away with a refusal, which is its answer.
    async fn turn_down(&self, transaction: &Transaction, refusal: Refusal, now: Timestamp) -> Result<Answer, Error> {
        Ok(Answer::new(View::Redirect(self.end_unapproved(transaction, refusal, now).await?)))
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
        if !destination.client.is_trusted() {
            return Err(refusal.into());
        }
        let answer = self.refuse(destination, refusal, now)?;
        if let Some(transaction) = way.pushed()
            && !self.store.answer_pushed_request(transaction).await?
        {
            return Err(Refusal::PushedRequestUnknown.into());
        }
        Ok(answer)
    }

    /// Whether people sign in on a page of ours, and not where browsers are sent.
    #[must_use]
    pub fn asks_for_passwords(&self) -> bool {
        matches!(self.login, Login::Password(_))
    }

    /// Whether another person can be asked to sign in: a proxy in front decides by itself who it is.
    pub(super) fn can_switch(&self) -> bool {
        !matches!(self.login, Login::Proxy(_))
    }

    /// The client of an authorization request: a registered one, or our own pages.
    async fn client_here(&self, id: &str, asker: Asker) -> Result<Option<Arc<Client>>, Error> {
        match self.first_party.client(id) {
            Some(client) => Ok(Some(client)),
            None => self.client(id, asker).await,
        }
    }

    /// Sends a refusal to the client (RFC 6749 §4.1.2.1).
    fn refuse(&self, destination: &Destination, refusal: Refusal, now: Timestamp) -> Result<Answer, Error> {
        Ok(Answer::new(View::Redirect(self.refusal_redirect(destination, refusal, now)?)))
    }

    fn refusal_redirect(&self, destination: &Destination, refusal: Refusal, now: Timestamp) -> Result<Redirect, Error> {
        Ok(destination.refused(refusal, &self.envelope(destination, now)?))
    }

    fn ask_consent(&self, mut transaction: Transaction, by: &SignedIn, token: &BrowserToken, now: Timestamp) -> Answer {
        transaction.session = Some(by.session);
        Answer::new(View::Consent(Consent {
            client_name: transaction.destination.client.name.clone(),
            person: by.person.name.clone(),
            permissions: self.in_words(&transaction.request.scopes_shown()),
            details: self.shown(&transaction.request.details),
            destination: transaction.destination.redirect_uri.destination(),
            can_switch: self.can_switch(),
            origin: transaction.destination.client.origin,
            client_host: transaction.destination.client.host(),
            stays_here: transaction.destination.redirect_uri.is_loopback(),
            form: self.form(&transaction, token, now),
        }))
    }
}
