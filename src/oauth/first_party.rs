//! Our own pages as clients of the authorization endpoint: `/activate` and `/account` have people sign in there, as any
//! client would (RFC 6749 §4.1), with PKCE and a `state` that wait in a sealed cookie.
//!
//! Such a client gets its code without a consent page, since the code opens nothing: the token endpoint does not know
//! these clients. It tells who signed in, once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::authorize::SignedIn;
use super::client::{
    Client, ClientAuthentication, ClientOrigin, GrantType, OpenIdRules, Profile, RefreshTokenRotation, RequestRules,
};
use super::metadata::{ACCOUNT_CALLBACK, ACTIVATE_CALLBACK};
use super::pkce::{CodeChallenge, CodeVerifier};
use super::{Answer, AuthorizationServer, Browser, Cookie, Error, Parameters, Settings, View};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::scope::Scopes;
use crate::secret::rotation::{KeysNow, RotatingKey, RotatingSecret};
use crate::secret::{AuthorizationCode, BrowserToken, SessionToken, base64url, from_base64url, sha256};
use crate::store::CodeRecord;
use crate::token::AccessTokenFormat;

/// `client_id` of the pages at `/activate` at the authorization endpoint.
const ACTIVATION_CLIENT: &str = "tollgate-activation";

/// `client_id` of the pages at `/account` at the authorization endpoint.
const ACCOUNT_CLIENT: &str = "tollgate-account";

/// The `client_id` of every page of ours that has people sign in. No client may be registered under one.
pub const FIRST_PARTY_CLIENTS: [&str; 2] = [ACTIVATION_CLIENT, ACCOUNT_CLIENT];

/// What somebody is to sign in for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignInFor {
    /// A client, by its `client_name`.
    Client(String),
    /// To let a device in.
    Device,
    /// To see what they have allowed.
    Account,
}

/// What a page of ours does when somebody has signed in.
#[derive(Deserialize, Serialize)]
pub(super) enum Errand {
    /// Finds the device of this user code.
    Activate { user_code: String },
    /// Shows the account.
    Account,
}

impl Errand {
    const fn client_id(&self) -> &'static str {
        match self {
            Self::Activate { .. } => ACTIVATION_CLIENT,
            Self::Account => ACCOUNT_CLIENT,
        }
    }

    const fn callback(&self) -> &'static str {
        match self {
            Self::Activate { .. } => ACTIVATE_CALLBACK,
            Self::Account => ACCOUNT_CALLBACK,
        }
    }
}

/// An errand that waits for a sign-in. It is not stored but waits in a cookie, sealed for one browser.
#[derive(Deserialize, Serialize)]
struct Waiting {
    errand: Errand,
    /// What `state` holds.
    state: [u8; 32],
    /// What the PKCE verifier is the base64url of.
    verifier: [u8; 32],
    expires_at: i64,
}

/// Who came back from signing in, and to what.
pub(super) struct Returned {
    pub(super) errand: Errand,
    pub(super) signed_in: SignedIn,
    /// The secret of the session that begins with it, if the sign-in was not at our own endpoint.
    pub(super) begins: Option<SessionToken>,
}

impl Waiting {
    fn begin(errand: Errand, expires_at: Timestamp, entropy: &dyn Entropy) -> Self {
        Self { errand, state: entropy.draw(), verifier: entropy.draw(), expires_at: expires_at.millis() }
    }

    fn verifier(&self) -> CodeVerifier {
        base64url(&self.verifier).parse().expect("43 characters of base64url are a verifier")
    }
}

/// Our own pages, as clients.
pub(super) struct FirstParty {
    activation: Arc<Client>,
    account: Arc<Client>,
    /// What errands are sealed under, derived from the secrets that replicas share.
    errands: RotatingKey,
}

impl FirstParty {
    pub(super) fn new(settings: &Settings, secrets: &RotatingSecret) -> Self {
        let client = |id, callback| Arc::new(client(id, &settings.url(callback)));
        Self {
            activation: client(ACTIVATION_CLIENT, ACTIVATE_CALLBACK),
            account: client(ACCOUNT_CLIENT, ACCOUNT_CALLBACK),
            errands: secrets.derive("errands of our own pages"),
        }
    }

    /// The page of ours with this `client_id`.
    pub(super) fn client(&self, id: &str) -> Option<Arc<Client>> {
        match id {
            ACTIVATION_CLIENT => Some(Arc::clone(&self.activation)),
            ACCOUNT_CLIENT => Some(Arc::clone(&self.account)),
            _ => None,
        }
    }
}

impl SignInFor {
    /// What people sign in for at a client, which may be a page of ours.
    pub(super) fn client(client: &Client) -> Self {
        match client.id.as_str() {
            ACTIVATION_CLIENT => Self::Device,
            ACCOUNT_CLIENT => Self::Account,
            _ => Self::Client(client.name.clone()),
        }
    }
}

/// A page of ours as a client. It is not among the registered ones.
fn client(id: &str, callback: &str) -> Client {
    Client {
        id: id.parse().expect("a client_id is a name"),
        name: id.to_owned(),
        origin: ClientOrigin::Operator,
        authentication: ClientAuthentication::None,
        grant_types: vec![GrantType::AuthorizationCode],
        redirect_uris: vec![callback.parse().expect("an issuer and a path are a redirect URI")],
        post_logout_redirect_uris: Vec::new(),
        scopes: Scopes::default(),
        dpop_bound_access_tokens: false,
        certificate_bound_access_tokens: false,
        rotation: RefreshTokenRotation::Always,
        requests: RequestRules::default(),
        openid: OpenIdRules::default(),
        profile: Profile::Default,
        introspects: Vec::new(),
        access_token_format: AccessTokenFormat::Jwt,
        exchange: None,
    }
}

/// Seals a value for a browser.
pub(super) fn seal(value: &impl Serialize, key: &KeysNow, browser: &BrowserToken) -> String {
    let json = serde_json::to_vec(value).expect("strings and numbers are plain JSON");
    base64url(&key.seal(browser.digest().as_bytes(), &json))
}

/// Opens what [`seal`] made for this browser.
pub(super) fn open<T: for<'de> Deserialize<'de>>(text: &str, key: &KeysNow, browser: &BrowserToken) -> Option<T> {
    let json = key.open(browser.digest().as_bytes(), &from_base64url(text)?).ok()?;
    serde_json::from_slice(&json).ok()
}

impl AuthorizationServer {
    /// Sends a browser to the authorization endpoint (RFC 6749 §4.1.1, RFC 7636 §4.3), ours or that of somebody else, and
    /// remembers what for.
    pub(super) fn sign_in_first(
        &self,
        errand: Errand,
        wishes: &[(&str, &str)],
        token: &BrowserToken,
        now: Timestamp,
    ) -> Answer {
        let callback = self.settings.url(errand.callback());
        let client_id = errand.client_id();
        let waiting = Waiting::begin(errand, now + self.settings.lifetimes.transaction, &*self.entropy);
        let challenge = base64url(&sha256(base64url(&waiting.verifier).as_bytes()));
        let parameters = [
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", &callback),
            ("state", &base64url(&waiting.state)),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).extend_pairs(wishes).finish();
        let location = self.settings.authorization_request(&query);
        let sealed = seal(&waiting, &self.first_party.errands.at(now), token);
        Answer::new(View::SignInFirst { location }).with(Cookie::Errand(sealed))
    }

    /// Takes a browser back from the authorization endpoint: what it was sent away for, and who signed in. `None` if the
    /// sign-in was not finished, took too long or belongs to another browser.
    pub(super) async fn returned(
        &self,
        response: &Parameters,
        (token, browser): (&BrowserToken, Browser<'_>),
        now: Timestamp,
    ) -> Result<Option<Returned>, Error> {
        let waiting = browser.errand.and_then(|text| open(text, &self.first_party.errands.at(now), token));
        let Some(waiting) = waiting.filter(|waiting| self.is_answer_to(waiting, response, now)) else {
            return Ok(None);
        };
        let by = self.who_returned(&waiting, response, browser, now).await?;
        Ok(by.map(|(signed_in, begins)| Returned { errand: waiting.errand, signed_in, begins }))
    }

    /// Whether an authorization response answers the request that was made (RFC 6749 §10.12, RFC 9207 §2.4).
    fn is_answer_to(&self, waiting: &Waiting, response: &Parameters, now: Timestamp) -> bool {
        let state = response.get("state").unwrap_or_default();
        let same_state: bool = base64url(&waiting.state).as_bytes().ct_eq(state.as_bytes()).into();
        let ours = response.get("iss") == Some(self.settings.issuer.as_str());
        same_state && ours && now < Timestamp::from_millis(waiting.expires_at)
    }

    /// Who signed in, by the authorization code of the response, which is spent here; and, if it was at our own endpoint,
    /// still is in this browser.
    async fn who_returned(
        &self,
        waiting: &Waiting,
        response: &Parameters,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<Option<(SignedIn, Option<SessionToken>)>, Error> {
        let code = response.get("code").and_then(|code| code.parse::<AuthorizationCode>().ok());
        let Some(code) = code.map(|code| code.digest()) else { return Ok(None) };
        let Some(record) = self.store.code(code).await? else { return Ok(None) };
        let ours = record.client_id.as_str() == waiting.errand.client_id()
            && record.challenge.map(CodeChallenge::from_bytes).is_some_and(|it| it.is_met_by(&waiting.verifier()));
        if !ours || !self.store.take_code(code, now).await? {
            return Ok(None);
        }
        if self.settings.external_login.is_some() {
            return self.begin_session(record).await;
        }
        let signed_in = self.signed_in(browser, now).await?;
        let signed_in = signed_in.filter(|signed_in| signed_in.person.subject == record.subject);
        Ok(signed_in.map(|signed_in| (signed_in, None)))
    }

    /// A session, not recorded yet, for whom a code names, unless they may not sign in any more.
    async fn begin_session(&self, record: CodeRecord) -> Result<Option<(SignedIn, Option<SessionToken>)>, Error> {
        let Some(person) = self.check_person(&record.subject).await? else { return Ok(None) };
        let token = SessionToken::draw(&*self.entropy);
        let signed_in = SignedIn {
            session: token.digest(),
            id: None,
            person,
            auth_time: record.auth_time,
            is_dated: true,
            acr: record.acr,
        };
        Ok(Some((signed_in, Some(token))))
    }

    /// Records the session that begins with a sign-in elsewhere, for as long as a page may take, and gives the browser its
    /// cookie.
    pub(super) async fn keep_session(
        &self,
        answer: Answer,
        (signed_in, begins): (&SignedIn, Option<SessionToken>),
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let Some(token) = begins else { return Ok(answer) };
        self.record_session(signed_in, now + self.settings.lifetimes.transaction).await?;
        Ok(answer.with(Cookie::Session(token)))
    }
}
