//! The pages at which people let devices in (RFC 8628 §3.3).
//!
//! 1. `GET /activate` asks for the user code; a link may have filled it in.
//! 2. `POST /activate` sends the browser to the authorization endpoint, as any client would: with PKCE and a `state`. Both
//!    wait in a sealed cookie, together with the code. Nothing is looked up before somebody has signed in, so strangers
//!    cannot guess.
//! 3. `GET /activate/callback` takes the authorization code back, which tells who signed in; then it looks the user code
//!    up, within limits (`guesses.rs`), claims the device for this browser, and asks.
//! 4. `POST /activate` hears the decision. The device gets its tokens when it polls next.
//!
//! Against a link that makes somebody let in the device of another (RFC 8628 §5.4, RFC 10027): nothing is granted by a
//! GET, and the last page shows which client asks, for what, when and from where, and the code to compare.
//!
//! Invariant: only the browser in which a signed-in person entered the code decides, while that person is signed in there,
//! and the first decision counts. Unknown, expired, used and foreign codes cost the same work and get the same page.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::authorize::SignedIn;
use super::client::{Client, ClientAuthentication, GrantType, Profile, RefreshTokenRotation, RequestRules};
use super::metadata::{ACTIVATE_CALLBACK, AUTHORIZE};
use super::pkce::{CodeChallenge, CodeVerifier};
use super::{Answer, AuthorizationServer, Browser, Cookie, Error, Form, Parameters, Refusal, Settings, View};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::scope::Scopes;
use crate::secret::seal::RootKey;
use crate::secret::{
    AuthorizationCode, BrowserToken, DeviceCodeKind, Digest, SessionKind, UserCode, base64url, from_base64url, sha256,
};
use crate::store::{Decision, DeviceRecord};
use crate::throttle::{Counted, network};

mod guesses;

/// `client_id` of these pages at the authorization endpoint. No client may be registered under this name.
pub const ACTIVATION_CLIENT: &str = "tollgate-activation";

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
    /// What each scope means, in the operator's words.
    pub permissions: Vec<String>,
    /// The code, to be compared.
    pub user_code: String,
    /// How long ago the device began.
    pub age: Duration,
    /// Where it began.
    pub address: IpAddr,
    /// Whether that is where this browser is, as far as addresses tell.
    pub is_nearby: bool,
}

/// A code that was entered, while its person signs in. It is not stored but waits in a cookie, sealed for one browser.
#[derive(Deserialize, Serialize)]
struct Activation {
    user_code: String,
    /// What `state` holds.
    state: [u8; 32],
    /// What the PKCE verifier is the base64url of.
    verifier: [u8; 32],
    expires_at: i64,
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

/// The keys of these pages, derived from the root that replicas share.
pub(super) struct ActivationKeys {
    activations: RootKey,
    questions: RootKey,
}

impl ActivationKeys {
    pub(super) fn new(root: &RootKey) -> Self {
        Self { activations: root.derive("activations"), questions: root.derive("questions about devices") }
    }
}

/// These pages, as a client of the authorization endpoint. It is not among the registered clients: the token endpoint does
/// not know it, so its codes open nothing but these pages.
pub(super) fn client(settings: &Settings) -> Client {
    let callback = settings.url(ACTIVATE_CALLBACK);
    Client {
        id: ACTIVATION_CLIENT.parse().expect("a client_id is a name"),
        name: "your device".to_owned(),
        authentication: ClientAuthentication::None,
        grant_types: vec![GrantType::AuthorizationCode],
        redirect_uris: vec![callback.parse().expect("an issuer and a path are a redirect URI")],
        post_logout_redirect_uris: Vec::new(),
        scopes: Scopes::default(),
        dpop_bound_access_tokens: false,
        certificate_bound_access_tokens: false,
        rotation: RefreshTokenRotation::Always,
        requests: RequestRules::default(),
        profile: Profile::Default,
        introspects: Vec::new(),
        exchange: None,
    }
}

impl Activation {
    fn begin(user_code: &UserCode, expires_at: Timestamp, entropy: &dyn Entropy) -> Self {
        let (state, verifier) = (entropy.draw(), entropy.draw());
        Self { user_code: user_code.shown(), state, verifier, expires_at: expires_at.millis() }
    }

    fn verifier(&self) -> CodeVerifier {
        base64url(&self.verifier).parse().expect("43 characters of base64url are a verifier")
    }
}

/// Seals a value for a browser.
fn seal(value: &impl Serialize, key: &RootKey, browser: &BrowserToken) -> String {
    let json = serde_json::to_vec(value).expect("strings and numbers are plain JSON");
    base64url(&key.seal(browser.digest().as_bytes(), &json))
}

/// Opens what [`seal`] made for this browser.
fn open<T: for<'de> Deserialize<'de>>(text: &str, key: &RootKey, browser: &BrowserToken) -> Option<T> {
    let json = key.open(browser.digest().as_bytes(), &from_base64url(text)?).ok()?;
    serde_json::from_slice(&json).ok()
}

impl AuthorizationServer {
    /// Asks for the user code: `query` may hold one (RFC 8628 §3.3.1 `verification_uri_complete`).
    ///
    /// # Errors
    /// A [`Refusal`] of the query.
    pub fn ask_user_code(&self, query: &str, browser: Browser<'_>) -> Result<Answer, Error> {
        let query = Parameters::parse(query)?;
        let given = query.get("user_code").unwrap_or_default();
        let user_code = given.parse().map_or_else(|_| given.to_owned(), |code: UserCode| code.shown());
        Ok(self.enter_code(&user_code, None, browser))
    }

    /// Hears the forms of these pages: a code that was entered, or a decision on a device.
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn activate(&self, form: &Parameters, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let token = self.check_form(form, browser)?;
        if let Some(question) = form.get("transaction") {
            let question = open(question, &self.activation_keys.questions, &token);
            let question = question.filter(|question: &Question| now < Timestamp::from_millis(question.expires_at));
            let question = question.ok_or(Refusal::TransactionUnknown)?;
            return self.decide_device(&question, form.get("decision"), (&token, browser), now).await;
        }
        let typed = form.get("user_code").unwrap_or_default();
        match typed.parse() {
            Ok(user_code) => Ok(self.sign_in_first(&user_code, &token, now)),
            Err(_) => Ok(self.enter_code(typed, Some(CodeFault::Malformed), browser)),
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
        let answer = answer.unwrap_or_else(|fault| self.enter_code("", Some(fault), browser));
        Ok(answer.with(Cookie::ActivationEnded))
    }

    /// The page that asks for the code.
    fn enter_code(&self, user_code: &str, fault: Option<CodeFault>, browser: Browser<'_>) -> Answer {
        let known = browser.token.and_then(|token| token.parse().ok());
        let is_new = known.is_none();
        let token = known.unwrap_or_else(|| BrowserToken::draw(&*self.entropy));
        let user_code = user_code.chars().take(TYPED_SHOWN).collect();
        let csrf_token = self.forms.csrf_token(&token);
        let answer = Answer::new(View::EnterCode(EnterCode { csrf_token, user_code, fault }));
        if is_new { answer.with(Cookie::Browser(token)) } else { answer }
    }

    /// Sends a browser to the authorization endpoint (RFC 6749 §4.1.1, RFC 7636 §4.3).
    fn sign_in_first(&self, user_code: &UserCode, token: &BrowserToken, now: Timestamp) -> Answer {
        let activation = Activation::begin(user_code, now + self.settings.lifetimes.transaction, &*self.entropy);
        let challenge = base64url(&sha256(base64url(&activation.verifier).as_bytes()));
        let callback = self.settings.url(ACTIVATE_CALLBACK);
        let parameters = [
            ("response_type", "code"),
            ("client_id", ACTIVATION_CLIENT),
            ("redirect_uri", &callback),
            ("state", &base64url(&activation.state)),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let location = format!("{}?{query}", self.settings.url(AUTHORIZE));
        let sealed = seal(&activation, &self.activation_keys.activations, token);
        Answer::new(View::SignInFirst { location }).with(Cookie::Activation(sealed))
    }

    /// Finds the device whose code was entered before the sign-in, and asks about it.
    async fn find_device(
        &self,
        response: &Parameters,
        (token, browser): (&BrowserToken, Browser<'_>),
        now: Timestamp,
    ) -> Result<Result<Answer, CodeFault>, Error> {
        let activation = browser.activation.and_then(|text| open(text, &self.activation_keys.activations, token));
        let Some(activation) = activation.filter(|activation| self.is_answer_to(activation, response, now)) else {
            return Ok(Err(CodeFault::Interrupted));
        };
        let Some(signed_in) = self.who_returned(&activation, response, browser, now).await? else {
            return Ok(Err(CodeFault::Interrupted));
        };
        let Ok(user_code) = activation.user_code.parse::<UserCode>() else { return Ok(Err(CodeFault::Malformed)) };

        let (own, overall) = (guesses::own(token, &signed_in.person.subject, browser.address), guesses::overall());
        if let Counted::TooMany { retry_after } = self.guesses.count_shared(&own, overall, now)? {
            tracing::warn!(subject = %signed_in.person.subject, "too many wrong user codes");
            return Ok(Err(CodeFault::Throttled { retry_after }));
        }
        let device = self.store.claim_device(user_code.digest(&self.user_codes), token.digest(), now).await?;
        let Some(device) = device else { return Ok(Err(CodeFault::Unknown)) };
        self.guesses.take_back(&own);
        self.guesses.take_back(&[overall]);
        Ok(self.confirm_device(&device, &user_code, &signed_in, (token, browser), now))
    }

    /// Whether an authorization response answers the request of this activation (RFC 6749 §10.12, RFC 9207 §2.4).
    fn is_answer_to(&self, activation: &Activation, response: &Parameters, now: Timestamp) -> bool {
        let state = response.get("state").unwrap_or_default();
        let same_state: bool = base64url(&activation.state).as_bytes().ct_eq(state.as_bytes()).into();
        let ours = response.get("iss") == Some(self.settings.issuer.as_str());
        same_state && ours && now < Timestamp::from_millis(activation.expires_at)
    }

    /// Who signed in, by the authorization code of the response, which is spent here; and still is in this browser.
    async fn who_returned(
        &self,
        activation: &Activation,
        response: &Parameters,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<Option<SignedIn>, Error> {
        let code = response.get("code").and_then(|code| code.parse::<AuthorizationCode>().ok());
        let Some(code) = code.map(|code| code.digest()) else { return Ok(None) };
        let Some(record) = self.store.code(code).await? else { return Ok(None) };
        let ours = record.client_id == self.activation_client.id
            && CodeChallenge::from_bytes(record.challenge).is_met_by(&activation.verifier());
        if !ours || !self.store.take_code(code, now).await? {
            return Ok(None);
        }
        let signed_in = self.signed_in(browser, now).await?;
        Ok(signed_in.filter(|signed_in| signed_in.person.subject == record.subject))
    }

    /// The page that asks about a device.
    fn confirm_device(
        &self,
        device: &DeviceRecord,
        user_code: &UserCode,
        by: &SignedIn,
        (token, browser): (&BrowserToken, Browser<'_>),
        now: Timestamp,
    ) -> Result<Answer, CodeFault> {
        let client = self.client(device.client_id.as_str()).ok_or(CodeFault::Unknown)?; // it may be gone since a restart
        let question = Question {
            device: *device.digest.as_bytes(),
            user_code: user_code.shown(),
            session: *by.session.as_bytes(),
            expires_at: device.expires_at.millis(),
        };
        Ok(Answer::new(View::ConfirmDevice(ConfirmDevice {
            form: Form {
                transaction: seal(&question, &self.activation_keys.questions, token),
                csrf_token: self.forms.csrf_token(token),
            },
            client_name: client.name.clone(),
            person: by.person.name.clone(),
            permissions: self.in_words(&device.scopes),
            user_code: question.user_code,
            age: now.since(device.created_at),
            address: device.address.to_canonical(),
            is_nearby: network(device.address) == network(browser.address),
        })))
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
            Some("switch") => {
                let user_code = question.user_code.parse().map_err(|_| Refusal::TransactionUnknown)?;
                self.store.end_session(session).await?;
                return Ok(self.sign_in_first(&user_code, token, now).with(Cookie::SessionEnded));
            }
            Some(_) | None => return Err(Refusal::DecisionMissing.into()),
        };
        let device: Digest<DeviceCodeKind> = Digest::from_bytes(question.device);
        if self.store.decide_device(device, token.digest(), &decision, now).await? {
            Ok(Answer::new(view))
        } else {
            Err(Refusal::TransactionSpent.into())
        }
    }
}
