//! An authorization endpoint that exists already, and drives us through the admin door (`login: external`).
//!
//! | it calls | we do | a refusal goes |
//! |---|---|---|
//! | [`begin`](AuthorizationServer::begin) | steps 1 to 8 of our own endpoint, by the same code | as theirs |
//! | [`approve_external`](AuthorizationServer::approve_external) | check what it says of the person, remember them, issue the code | to the caller, and nothing is spent |
//! | [`deny_external`](AuthorizationServer::deny_external) | end the transaction | to the caller |
//!
//! The caller is trusted to know who the person is, and with nothing else: it cannot widen a request, use a transaction
//! twice, or make a sign-in younger than it is said to be.
//!
//! Invariant: what a handle stands for is sealed under a key that no browser's transaction is sealed under, so neither
//! opens as the other.

use std::str::FromStr;

use super::request::{AuthorizationRequest, Prompt};
use super::transaction::Transaction;
use super::{Approval, AuthorizationServer, Error, Judged, Redirect, Refusal};
use crate::clock::Timestamp;
use crate::ident::{Acr, Subject};
use crate::jose::{self, Members};
use crate::oauth::Parameters;
use crate::oauth::authorization_details::DetailShown;
use crate::oauth::clients::Asker;
use crate::scope::Scopes;
use crate::store::{EndedBy, PersonRecord};
use crate::token::AuthorizationDetails;
use crate::uri::HttpUri;

/// The longest address to which a browser is sent with its request.
const LOCATION_LIMIT: usize = 32 * 1_024;

/// The longest name or e-mail address of a person, in characters.
const TEXT_LIMIT: usize = 256;

/// The URL of an authorization endpoint that is not ours (RFC 6749 §3.1): https, or http on loopback; it may have a query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalEndpoint(String);

/// A text that is no such URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an https URL, or http on loopback, without a fragment, such as https://login.example.com/authorize")]
pub struct ExternalEndpointFault;

impl FromStr for ExternalEndpoint {
    type Err = ExternalEndpointFault;

    fn from_str(text: &str) -> Result<Self, ExternalEndpointFault> {
        let url = HttpUri::parse(text).map_err(|_| ExternalEndpointFault)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#');
        if plain && (url.is_https() || url.is_loopback()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ExternalEndpointFault)
        }
    }
}

impl ExternalEndpoint {
    /// The URL, byte for byte as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where a browser goes that came to our endpoint instead: here, with its request.
    pub(super) fn instead(&self, parameters: &str) -> Result<String, Refusal> {
        Parameters::parse_with_repeats(parameters)?;
        // Taken apart and joined again, since it becomes a header; what occurs twice stays twice, and is judged there.
        let pairs = form_urlencoded::parse(parameters.as_bytes());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let location = self.with_query(&query);
        if location.len() <= LOCATION_LIMIT { Ok(location) } else { Err(Refusal::FormTooLarge) }
    }

    /// The URL with a query behind its own (RFC 6749 §3.1: that one is retained).
    pub(in crate::oauth) fn with_query(&self, query: &str) -> String {
        let separator = if self.0.contains('?') { '&' } else { '?' };
        format!("{}{separator}{query}", self.0)
    }
}

/// What is to be done about an authorization request that an external endpoint received.
pub enum Begun {
    /// Sign the person in, and ask for consent.
    Ask(Box<Asking>),
    /// Send the browser to the client, with an error.
    Redirect(Redirect),
}

/// An authorization request that waits for a person at an external endpoint. Texts are as others supplied them.
pub struct Asking {
    /// What stands for it: sealed.
    pub handle: String,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// `client_id`.
    pub client_id: String,
    /// `client_name`.
    pub client_name: String,
    /// The origin or the scheme to which the browser will go.
    pub destination: String,
    /// What is asked for, and what it means in the operator's words.
    pub scopes: Vec<(String, String)>,
    /// The resources, with spaces between them.
    pub resource: String,
    /// What is asked for in detail, as a JSON array; empty if nothing is.
    pub authorization_details: String,
    /// The same for people.
    pub details: Vec<DetailShown>,
    /// The language that the person wishes for: a primary subtag (RFC 5646 §2.2.1), or nothing.
    pub language: String,
    /// Whether consent must be asked for: not for our own pages, which ask themselves.
    pub needs_consent: bool,
    /// The age that a sign-in may have, in seconds.
    pub max_age: Option<u64>,
    /// `prompt`, `login_hint`, `acr_values` and `ui_locales`.
    pub hints: Hints,
}

/// What a client says about how to ask (OpenID Connect Core §3.1.2.1), as it came.
#[derive(Default)]
pub struct Hints {
    /// `prompt`.
    pub prompt: Vec<String>,
    /// `login_hint`.
    pub login_hint: String,
    /// `acr_values`.
    pub acr_values: Vec<String>,
    /// `ui_locales`.
    pub ui_locales: Vec<String>,
}

impl Hints {
    fn of(parameters: &Parameters) -> Self {
        let list = |name| {
            let text: &str = parameters.get(name).unwrap_or_default();
            text.split(' ').filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        Self {
            prompt: list("prompt"),
            login_hint: parameters.get("login_hint").unwrap_or_default().to_owned(),
            acr_values: list("acr_values"),
            ui_locales: list("ui_locales"),
        }
    }
}

/// What an external endpoint says of the person who approved.
#[derive(Clone, Copy, Default)]
pub struct ExternalApproval<'a> {
    /// What stands for the transaction.
    pub handle: &'a str,
    /// Who it is.
    pub subject: &'a str,
    /// When they signed in, in seconds since the epoch.
    pub auth_time: i64,
    /// How well they were recognised.
    pub acr: Option<&'a str>,
    /// What they consented to; `None` for all that was asked for.
    pub scope: Option<&'a str>,
    /// What they consented to in detail: a JSON array; empty for nothing.
    pub authorization_details: &'a str,
    /// What they are called.
    pub name: Option<&'a str>,
    /// Their e-mail address.
    pub email: Option<&'a str>,
    /// What else is known about them: a JSON object.
    pub claims: Option<&'a str>,
}

/// Why nobody approved at an external endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DenyReason {
    /// The person declined.
    Declined,
    /// Nobody is signed in, and nobody may be asked.
    LoginRequired,
    /// Consent is missing, and nobody may be asked.
    ConsentRequired,
}

impl DenyReason {
    const fn refusal(self) -> Refusal {
        match self {
            Self::Declined => Refusal::ConsentDeclined,
            Self::LoginRequired => Refusal::LoginRequired,
            Self::ConsentRequired => Refusal::ConsentRequired,
        }
    }
}

impl AuthorizationServer {
    /// Judges an authorization request that an external endpoint received.
    ///
    /// # Errors
    /// A [`Refusal`] that must be shown and not be redirected, or `Unavailable`.
    pub async fn begin(&self, parameters: &str, now: Timestamp) -> Result<Begun, Error> {
        let (destination, request, submission) = match self.judged(parameters, Asker::unseen(now)).await? {
            Judged::Good(good) => *good,
            Judged::Refused(redirect) => return Ok(Begun::Redirect(redirect)),
        };
        let transaction = self.new_transaction(destination, (request, submission.way), now);
        let Transaction { destination, request, expires_at, .. } = &transaction;
        let mut hints = Hints::of(&submission.parameters);
        hints.acr_values = request.acr_values.iter().map(ToString::to_string).collect();
        let language = hints.ui_locales.first().and_then(|tag| tag.split('-').next()).unwrap_or_default();
        let language = language.to_ascii_lowercase();
        let words = self.in_words(&request.scopes);
        let words = words.iter().map(|words| words.said_in(&language).to_owned());
        Ok(Begun::Ask(Box::new(Asking {
            handle: transaction.seal(&self.forms.external_transactions().at(now), &[]),
            expires_at: *expires_at,
            client_id: destination.client.id.to_string(),
            client_name: destination.client.name.clone(),
            destination: destination.redirect_uri.destination(),
            scopes: request.scopes.iter().map(ToString::to_string).zip(words).collect(),
            resource: request.resource.to_string(),
            authorization_details: written(&request.details),
            details: self.shown(&request.details),
            language,
            needs_consent: self.first_party.client(destination.client.id.as_str()).is_none(),
            max_age: request.max_age.map(|age| age.as_secs()),
            hints,
        })))
    }

    /// Issues a code for a person whom an external endpoint has recognised.
    ///
    /// # Errors
    /// A [`Refusal`] of what is said of them, after which the same transaction may be approved in another way, or
    /// `Unavailable`.
    pub async fn approve_external(&self, said: ExternalApproval<'_>, now: Timestamp) -> Result<Redirect, Error> {
        let mut transaction = self.external_transaction(said.handle, now).await?;
        let person = self.said_person(&said, now)?;
        let acr: Option<Acr> = said.acr.map(str::parse).transpose().map_err(|_| Refusal::PersonMalformed)?;
        let auth_time = said_auth_time(&said, now)?;
        transaction.check_sign_in(auth_time)?;
        transaction.request.check_acr(acr.as_ref())?;
        transaction.request.check_subject(&self.subject_at(&transaction.destination.client, &person.subject))?;
        transaction.request.narrow(said.scope, said.authorization_details)?;
        if !self.store.remember_person(&person).await? {
            return Err(Refusal::PersonDisabled.into());
        }
        let by = Approval { subject: person.subject, auth_time, acr, session: None };
        self.issue_code(&transaction, by, now).await
    }

    /// Ends a transaction that nobody has approved at an external endpoint.
    ///
    /// # Errors
    /// A [`Refusal`] if it is none, or was answered before, or `Unavailable`.
    pub async fn deny_external(&self, handle: &str, why: DenyReason, now: Timestamp) -> Result<Redirect, Error> {
        let transaction = self.external_transaction(handle, now).await?;
        self.end_unapproved(&transaction, why.refusal(), now).await
    }

    /// Stops a person whom an external endpoint has signed in, or will, and ends all that they have allowed.
    ///
    /// # Errors
    /// [`Refusal::SubjectUnusable`], or `Unavailable`.
    pub async fn disable_person(&self, subject: &str, now: Timestamp) -> Result<(), Error> {
        let subject = self.said_subject(subject)?;
        self.store.disable_person(&subject, now).await?;
        self.tell_clients_of_grants(&subject, now).await?; // while it is known which they are
        self.end_grants_of(&subject, EndedBy::UserDisabled, now).await?;
        Ok(())
    }

    /// Lets a person in again.
    ///
    /// # Errors
    /// [`Refusal::SubjectUnusable`], or `Unavailable`.
    pub async fn enable_person(&self, subject: &str) -> Result<(), Error> {
        Ok(self.store.enable_person(&self.said_subject(subject)?).await?)
    }

    async fn external_transaction(&self, handle: &str, now: Timestamp) -> Result<Transaction, Error> {
        self.open_transaction(handle, (&self.forms.external_transactions().at(now), &[]), Asker::unseen(now)).await
    }

    /// A token's `sub` must not be a person's and a client's (RFC 9068 §5, RFC 9700 §4.15).
    fn said_subject(&self, subject: &str) -> Result<Subject, Refusal> {
        let subject: Subject = subject.parse().map_err(|_| Refusal::SubjectUnusable)?;
        if self.is_name_of_client(&subject) { Err(Refusal::SubjectUnusable) } else { Ok(subject) }
    }

    /// They are remembered as long as anything that begins with this approval may live: the code, or a device that is let
    /// in by it, and the grant that comes of either.
    fn said_person(&self, said: &ExternalApproval<'_>, now: Timestamp) -> Result<PersonRecord, Refusal> {
        let subject = self.said_subject(said.subject)?;
        let lifetimes = &self.settings.lifetimes;
        let begins = lifetimes.authorization_code + lifetimes.transaction + lifetimes.device_code;
        Ok(PersonRecord {
            name: said_text(said.name)?.unwrap_or_else(|| subject.to_string()),
            email: said_text(said.email)?,
            claims: said.claims.map_or_else(|| Ok(Members::new()), said_claims)?,
            subject,
            disabled: false,
            last_seen: now,
            needed_until: now + begins + lifetimes.refresh_token.max(lifetimes.access_token),
        })
    }
}

impl Transaction {
    /// Whether a sign-in is as young as the request demands. It is measured when the request came: who reads the consent
    /// page slowly need not sign in again.
    fn check_sign_in(&self, auth_time: Timestamp) -> Result<(), Refusal> {
        let begun_at = Timestamp::from_seconds(self.begun_at.seconds()); // as precise as `auth_time`
        let young_enough = match self.request.prompt {
            Prompt::SignIn => auth_time >= begun_at,
            Prompt::None | Prompt::SelectAccount | Prompt::AsNeeded => {
                self.request.max_age.is_none_or(|max_age| begun_at.since(auth_time) <= max_age)
            }
        };
        if young_enough { Ok(()) } else { Err(Refusal::SignInTooOld) }
    }
}

impl AuthorizationRequest {
    /// An essential `acr` that is not met is an error, and no weaker token (OpenID Connect Core §5.5.1.1).
    fn check_acr(&self, acr: Option<&Acr>) -> Result<(), Refusal> {
        let met = acr.is_some_and(|acr| self.acr_values.is_empty() || self.acr_values.contains(acr));
        if met || !self.acr_essential { Ok(()) } else { Err(Refusal::AcrUnmet) }
    }

    /// Leaves what the person consented to.
    fn narrow(&mut self, scope: Option<&str>, details: &str) -> Result<(), Refusal> {
        let scopes = match scope {
            None => self.scopes.clone(),
            Some("") => Scopes::default(),
            Some(scope) => scope.parse().map_err(|_| Refusal::ScopeMalformed)?,
        };
        let details = match details {
            "" => AuthorizationDetails::default(),
            details => details.parse().map_err(|_| Refusal::DetailsMalformed)?,
        };
        if !scopes.is_within(&self.scopes) {
            return Err(Refusal::ScopeNotAllowed);
        }
        if !details.is_within(&self.details) {
            return Err(Refusal::DetailsNotGranted);
        }
        self.scopes = scopes;
        self.details = details;
        Ok(())
    }
}

/// `authorization_details` as a JSON array.
fn written(details: &AuthorizationDetails) -> String {
    if details.is_empty() { String::new() } else { details.to_string() }
}

fn said_auth_time(said: &ExternalApproval<'_>, now: Timestamp) -> Result<Timestamp, Refusal> {
    let auth_time = Timestamp::from_seconds(said.auth_time);
    if said.auth_time > 0 && auth_time <= now { Ok(auth_time) } else { Err(Refusal::AuthTimeWrong) }
}

fn said_text(text: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let fits = (1..=TEXT_LIMIT).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(Some(text.to_owned())) } else { Err(Refusal::PersonMalformed) }
}

fn said_claims(text: &str) -> Result<Members, Refusal> {
    if text.len() > PersonRecord::CLAIMS_LIMIT {
        return Err(Refusal::PersonMalformed);
    }
    jose::object(text.as_bytes()).map_err(|_| Refusal::PersonMalformed)
}
