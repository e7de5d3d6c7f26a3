//! The pages at which people let devices in (RFC 8628 §3.3).
//!
//! 1. `GET /activate` asks for the user code; a link may have filled it in.
//! 2. `POST /activate` sends the browser to the authorization endpoint, as any client would
//!    ([`first_party`](super::first_party)). The code waits in a sealed cookie meanwhile. Nothing is looked up before
//!    somebody has signed in, so strangers cannot guess.
//! 3. `GET /activate/callback` takes the authorization code back, which tells who signed in; then it looks the user code
//!    up, within limits (`guesses.rs`), claims the device for this browser, and asks.
//! 4. `POST /activate` hears the decision. The device gets its tokens when it polls next.
//!
//! Against a link that makes somebody let in the device of another (RFC 8628 §5.4, RFC 10027): nothing is granted by a
//! GET, and the last page shows which client asks, for what, when and from where, and the code to compare.
//!
//! With `login: external` the endpoint of step 2 is somebody else's, and there is no session of ours that could tell in step 3
//! who is signed in. It is the authorization code that tells: it answers the `state` and meets the PKCE verifier that are
//! sealed in this browser, so nobody else's sign-in can have been slipped in. A session of ours begins with it, and ends
//! with the decision, or when a page of ours would be too old.
//!
//! Invariant: only the browser in which a signed-in person entered the code decides, while that person is signed in there,
//! and the first decision counts. Unknown, expired, used and foreign codes cost the same work and get the same page.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::authorize::SignedIn;
use super::client::Client;
use super::first_party::{Errand, Returned, open, seal};
use super::{Answer, AuthorizationServer, Browser, Cookie, Error, Form, Parameters, Refusal, View, Words};
use crate::audit;
use crate::clock::Timestamp;
use crate::secret::{BrowserToken, DeviceCodeKind, Digest, SessionKind, UserCode};
use crate::store::{Decision, DeviceRecord};
use crate::throttle::{Counted, network};

mod guesses;

/// How much of a wrong code the page gives back, in characters.
const TYPED_SHOWN: usize = 32;

/// What the page that asks for the code shows. Texts are as others supplied them, not escaped yet.
pub struct EnterCode {
    /// `csrf_token` of its form.
    pub csrf_token: String,
    /// What the code field begins with.
    pub user_code: String,
    /// Why the page is shown again.
    pub fault: Option<CodeFault>,
}

/// Why a device was not found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CodeFault {
    /// What was typed cannot be a user code.
    Malformed,
    /// No device waits under this code, or not any more, or another browser was first.
    Unknown,
    /// Too many wrong codes; this one was not looked at.
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The sign-in was not finished, took too long or belongs to another browser.
    Interrupted,
}

impl CodeFault {
    /// The name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "user_code_malformed",
            Self::Unknown => "user_code_unknown",
            Self::Throttled { .. } => "user_code_throttled",
            Self::Interrupted => "sign_in_interrupted",
        }
    }
}

/// What the page that asks about a device shows. Texts are as others supplied them, not escaped yet.
pub struct ConfirmDevice {
    /// The hidden fields.
    pub form: Form,
    /// `client_name`.
    pub client_name: String,
    /// Who is signed in.
    pub person: String,
    /// Whether another person can be asked to sign in instead.
    pub can_switch: bool,
    /// What each scope means, in the operator's words.
    pub permissions: Vec<Words>,
    /// The code, to be compared.
    pub user_code: String,
    /// How long ago the device began.
    pub age: Duration,
    /// Where it began.
    pub address: IpAddr,
    /// Whether that is where this browser is, as far as addresses tell.
    pub is_nearby: bool,
}

/// A device that somebody is asked about. It travels in a hidden field, sealed for one browser.
#[derive(Deserialize, Serialize)]
struct Question {
    device: [u8; 32],
    user_code: String,
    /// The session of the person who is asked.
    session: [u8; 32],
    expires_at: i64,
}

impl AuthorizationServer {
    /// Asks for the user code: `query` may hold one (RFC 8628 §3.3.1 `verification_uri_complete`).
    ///
    /// # Errors
    /// A [`Refusal`] of the query.
    pub fn ask_user_code(&self, query: &str, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let query = Parameters::parse(query)?;
        let given = query.get("user_code").unwrap_or_default();
        let user_code = given.parse().map_or_else(|_| given.to_owned(), |code: UserCode| code.shown());
        Ok(self.enter_code((&user_code, None), browser, now))
    }

    /// Hears the forms of these pages: a code that was entered, or a decision on a device.
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn activate(&self, form: &Parameters, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let token = self.check_form(form, browser, now)?;
        if let Some(question) = form.get("transaction") {
            let question = open(question, &self.device_questions.at(now), &token);
            let question = question.filter(|question: &Question| now < Timestamp::from_millis(question.expires_at));
            let question = question.ok_or(Refusal::TransactionUnknown)?;
            return self.decide_device(&question, form.get("decision"), (&token, browser), now).await;
        }
        let typed = form.get("user_code").unwrap_or_default();
        match typed.parse::<UserCode>() {
            Ok(user_code) => {
                Ok(self.sign_in_first(Errand::Activate { user_code: user_code.shown() }, &[], &token, now))
            }
            Err(_) => Ok(self.enter_code((typed, Some(CodeFault::Malformed)), browser, now)),
        }
    }

    /// Takes a browser back from the authorization endpoint: `query` holds the response (RFC 6749 §4.1.2).
    ///
    /// # Errors
    /// A [`Refusal`] of the query, or `Unavailable`.
    pub async fn ask_about_device(&self, query: &str, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let query = Parameters::parse(query)?;
        let token = browser.token.and_then(|token| token.parse::<BrowserToken>().ok());
        let answer = match token {
            Some(token) => self.find_device(&query, (&token, browser), now).await?,
            None => Err(CodeFault::Interrupted),
        };
        let answer = answer.unwrap_or_else(|fault| self.enter_code(("", Some(fault)), browser, now));
        Ok(answer.with(Cookie::ErrandEnded))
    }

    /// The page that asks for the code.
    fn enter_code(
        &self,
        (user_code, fault): (&str, Option<CodeFault>),
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Answer {
        let known = browser.token.and_then(|token| token.parse().ok());
        let is_new = known.is_none();
        let token = known.unwrap_or_else(|| BrowserToken::draw(&*self.entropy));
        let user_code = user_code.chars().take(TYPED_SHOWN).collect();
        let csrf_token = self.forms.csrf_token(&token, now);
        let answer = Answer::new(View::EnterCode(EnterCode { csrf_token, user_code, fault }));
        if is_new { answer.with(Cookie::Browser(token)) } else { answer }
    }

    /// Finds the device whose code was entered before the sign-in, and asks about it.
    async fn find_device(
        &self,
        response: &Parameters,
        (token, browser): (&BrowserToken, Browser<'_>),
        now: Timestamp,
    ) -> Result<Result<Answer, CodeFault>, Error> {
        let returned = self.returned(response, (token, browser), now).await?;
        let Some(Returned { errand: Errand::Activate { user_code }, signed_in, begins }) = returned else {
            return Ok(Err(CodeFault::Interrupted));
        };
        let Ok(user_code) = user_code.parse::<UserCode>() else { return Ok(Err(CodeFault::Malformed)) };

        let (own, overall) = (guesses::own(token, &signed_in.person.subject, browser.address), guesses::overall());
        if let Counted::TooMany { retry_after } = self.tally.guesses.count_shared(&own, overall, now)? {
            tracing::warn!(
                target: audit::TARGET,
                event = audit::USER_CODE_THROTTLED,
                subject = %signed_in.person.subject,
                address = %browser.address,
                "too many wrong user codes"
            );
            return Ok(Err(CodeFault::Throttled { retry_after }));
        }
        let device = self.store.claim_device(user_code.digest(&self.user_codes), token.digest(), now).await?;
        let Some(device) = device else { return Ok(Err(CodeFault::Unknown)) };
        self.tally.guesses.take_back(&own);
        self.tally.guesses.take_back(&[overall]);
        let Some(client) = self.known_client(device.client_id.as_str()).await? else {
            return Ok(Err(CodeFault::Unknown)); // it may be gone since a restart
        };
        let answer = self.confirm_device((&device, &client), &user_code, &signed_in, (token, browser), now);
        Ok(Ok(self.keep_session(answer, (&signed_in, begins), now).await?))
    }

    /// The page that asks about a device.
    fn confirm_device(
        &self,
        (device, client): (&DeviceRecord, &Client),
        user_code: &UserCode,
        by: &SignedIn,
        (token, browser): (&BrowserToken, Browser<'_>),
        now: Timestamp,
    ) -> Answer {
        let question = Question {
            device: *device.digest.as_bytes(),
            user_code: user_code.shown(),
            session: *by.session.as_bytes(),
            expires_at: device.expires_at.millis(),
        };
        Answer::new(View::ConfirmDevice(ConfirmDevice {
            form: Form {
                transaction: seal(&question, &self.device_questions.at(now), token),
                csrf_token: self.forms.csrf_token(token, now),
            },
            client_name: client.name.clone(),
            person: by.person.name.clone(),
            can_switch: self.can_switch(),
            permissions: self.in_words(&device.scopes),
            user_code: question.user_code,
            age: now.since(device.created_at),
            address: device.address.to_canonical(),
            is_nearby: network(device.address) == network(browser.address),
        }))
    }

    /// Hears what was decided, or that it is somebody else who should decide.
    async fn decide_device(
        &self,
        question: &Question,
        decision: Option<&str>,
        (token, browser): (&BrowserToken, Browser<'_>),
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let session: Digest<SessionKind> = Digest::from_bytes(question.session);
        let signed_in = self.signed_in(browser, now).await?.filter(|signed_in| signed_in.session == session);
        let signed_in = signed_in.ok_or(Refusal::TransactionUnknown)?;
        let (decision, view) = match decision {
            Some("approve") => {
                let SignedIn { person, auth_time, acr, .. } = signed_in;
                (Decision::Approve { subject: person.subject, auth_time, acr }, View::DeviceApproved)
            }
            Some("deny") => (Decision::Decline, View::DeviceDeclined),
            Some("switch") if self.can_switch() => {
                self.store.end_session(session).await?;
                let errand = Errand::Activate { user_code: question.user_code.clone() };
                return Ok(self
                    .sign_in_first(errand, &[("prompt", "select_account")], token, now)
                    .with(Cookie::SessionEnded));
            }
            Some(_) | None => return Err(Refusal::DecisionMissing.into()),
        };
        let device: Digest<DeviceCodeKind> = Digest::from_bytes(question.device);
        if !self.store.decide_device(device, token.digest(), &decision, now).await? {
            return Err(Refusal::TransactionSpent.into());
        }
        if self.settings.external_login.is_none() {
            return Ok(Answer::new(view));
        }
        self.store.end_session(session).await?; // it was for this decision
        Ok(Answer::new(view).with(Cookie::SessionEnded))
    }
}
