//! Asking who it is: the sign-in page, or the way to an upstream provider and back.
//!
//! 1. An authorization request that needs somebody to sign in sends the browser to the provider, with PKCE, a `nonce` and a
//!    `state`. Nothing is stored: the transaction and the secrets of the detour travel in `state`, sealed for this browser,
//!    so several can be on their way at once.
//! 2. `GET /login/callback`, which may be loaded again, opens it again, in this browser only (RFC 6749 §10.12), has the answer verified, and sees that
//!    what the client asked for was done: a provider that ignores `prompt`, `max_age` or `acr_values` gets nobody in.
//! 3. The person has a session here, and is asked for consent to this client by us, whatever was agreed to at the provider:
//!    it knows only one client, this server, and could not tell ours apart (draft-ietf-oauth-security-topics-update §2.4).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::{AuthorizationRequest, Prompt};
use super::transaction::{Sealed, Transaction};
use super::{Answer, Browser, Cookie, SignIn, SignInFault, View};
use crate::audit;
use crate::clock::Timestamp;
use crate::ident::Acr;
use crate::identity::{
    Attempt, Authentication, Login, Upstream, UpstreamAnswer, UpstreamError, UpstreamFault, UpstreamRequest, Vouched,
};
use crate::oauth::clients::Asker;
use crate::oauth::first_party::SignInFor;
use crate::oauth::metadata::LOGIN_CALLBACK;
use crate::oauth::{AuthorizationServer, Error, Parameters, Refusal};
use crate::secret::{BrowserToken, Kind as _, SessionKind, SessionToken, base64url, from_base64url, sha256};

/// How much of a name the sign-in page gives back, in characters.
const USERNAME_SHOWN: usize = 256;

/// The longest hint that is passed on, in bytes.
const HINT_LIMIT: usize = 512;

/// An age that hardly any sign-in has.
const LONG_AGO: Duration = Duration::from_hours(365 * 24);

/// How far the clocks of two servers may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(30);

/// Why and how somebody is asked who they are.
#[derive(Clone, Copy, Default)]
pub(super) struct WhoIsIt<'a> {
    /// What the name field begins with, or `login_hint`.
    pub(super) username: &'a str,
    /// `ui_locales`.
    pub(super) locales: &'a str,
    /// Why the sign-in page is shown again.
    pub(super) fault: Option<SignInFault>,
    /// Why somebody who is signed in must do so again.
    pub(super) unmet: Option<Refusal>,
}

/// A transaction that waits for an upstream provider. It travels in `state`, sealed for one browser.
#[derive(Deserialize, Serialize)]
struct Detour {
    transaction: Sealed,
    nonce: String,
    verifier: String,
    /// Since when the person must have signed in there, in milliseconds since the epoch, if that was asked.
    since: Option<i64>,
    /// Whether it must be said when.
    dated: bool,
    /// How well they must have been recognised, if that was asked: any of these.
    acr_values: Vec<String>,
    /// Whether it must be said how well.
    acr_essential: bool,
}

impl Detour {
    /// What the client asked for, and the provider was asked to see to.
    fn check(&self, vouched: &Vouched) -> Result<(), Refusal> {
        let since = self.since.map(Timestamp::from_millis);
        if self.dated && vouched.auth_time.is_none() {
            return Err(Refusal::ReauthenticationMissing);
        }
        if since.is_some_and(|since| vouched.auth_time.is_none_or(|at| at + CLOCKS_APART < since)) {
            return Err(Refusal::ReauthenticationMissing);
        }
        let wanted = |acr: &Acr| self.acr_values.iter().any(|wanted| wanted == acr.as_str());
        // RFC 9470 §5: a weaker sign-in than was asked for is an error, not a weaker token.
        let met = match &vouched.acr {
            Some(acr) => self.acr_values.is_empty() || wanted(acr),
            None => self.acr_values.is_empty() && !self.acr_essential,
        };
        if met { Ok(()) } else { Err(Refusal::AcrUnmet) }
    }
}

impl AuthorizationServer {
    /// Asks who it is, in the way that is configured.
    pub(super) async fn ask_who(
        &self,
        mut transaction: Transaction,
        asking: WhoIsIt<'_>,
        token: &BrowserToken,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        transaction.session = None;
        match &self.login {
            // How well somebody is recognised here, nobody says.
            Login::Password(_) if transaction.request.acr_essential => {
                self.turn_down(&transaction, Refusal::AcrUnmet, now).await
            }
            Login::Password(_) => Ok(Answer::new(View::SignIn(SignIn {
                sign_in_for: SignInFor::client(&transaction.destination.client),
                form: self.form(&transaction, token, now),
                username: asking.username.chars().take(USERNAME_SHOWN).collect(),
                fault: asking.fault,
            }))),
            Login::Upstream(provider) => self.send_upstream(&**provider, &transaction, asking, token, now).await,
            // A proxy that has not asked cannot be made to.
            Login::Proxy(_) => match asking.unmet {
                Some(refusal) => self.turn_down(&transaction, refusal, now).await,
                None => Err(Refusal::ProxyAbsent.into()),
            },
            Login::Elsewhere => Err(Refusal::TransactionUnknown.into()), // whose pages are not ours
        }
    }

    /// Hears the sign-in page: `username` and `password` of the form, and its hidden fields.
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn sign_in(&self, form: &Parameters, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let token = self.check_form(form, browser, now)?;
        let transaction = self.transaction(form, (&token, browser.address), now).await?;
        let Login::Password(passwords) = &self.login else { return Err(Refusal::TransactionUnknown.into()) };
        let username = form.get("username").unwrap_or_default();
        let password = form.get("password").unwrap_or_default();
        let attempt = Attempt { username, password, address: browser.address, now };
        let fault = match passwords.authenticate(attempt).await? {
            Authentication::Known(person) => {
                let vouched = Vouched { person, auth_time: Some(now), acr: None };
                let session = SessionToken::draw(&*self.entropy);
                let signed_in = self.open_session(vouched, &session, (browser, now)).await?;
                return Ok(self.go_on(transaction, signed_in, &token, now).await?.with(Cookie::Session(session)));
            }
            Authentication::Unknown => SignInFault::Unknown,
            Authentication::Throttled { retry_after } => SignInFault::Throttled { retry_after },
        };
        let name = fault.name();
        // Not who it was to be: people type passwords there, too.
        tracing::warn!(
            target: audit::TARGET,
            event = audit::SIGN_IN_REFUSED,
            address = %browser.address,
            fault = name,
            "somebody was not signed in: {name}"
        );
        let asking = WhoIsIt { username, fault: Some(fault), ..WhoIsIt::default() };
        self.ask_who(transaction, asking, &token, now).await
    }

    /// Takes a browser back from the upstream provider: `query` holds the response (OpenID Connect Core §3.1.2.5).
    ///
    /// # Errors
    /// A [`Refusal`] of what does not belong to this browser, or `Unavailable`.
    pub async fn return_from_upstream(
        &self,
        query: &str,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let Login::Upstream(provider) = &self.login else { return Err(Refusal::TransactionUnknown.into()) };
        let response = Parameters::parse(query)?;
        let token = browser.token.and_then(|token| token.parse::<BrowserToken>().ok());
        let token = token.ok_or(Refusal::TransactionUnknown)?;
        let detour = response.get("state").and_then(|state| self.open_detour(state, &token, now));
        let detour = detour.ok_or(Refusal::TransactionUnknown)?;
        let transaction = self.resume(&detour.transaction, Asker::at(browser.address, now)).await?;
        let session = self.session_of(&detour);
        if browser
            .session
            .is_some_and(|token| token.parse().is_ok_and(|known: SessionToken| known.digest() == session.digest()))
            && let Some(signed_in) = self.signed_in(browser, now).await?
        {
            return self.go_on(transaction, signed_in, &token, now).await; // somebody has loaded the page again
        }

        let answer = UpstreamAnswer {
            code: response.get("code"),
            error: response.get("error"),
            iss: response.get("iss"),
            redirect_uri: &self.settings.url(LOGIN_CALLBACK),
            nonce: &detour.nonce,
            verifier: &detour.verifier,
        };
        let vouched = match provider.vouched(&answer, now).await {
            Ok(vouched) => vouched,
            Err(UpstreamError::Unavailable(unavailable)) => return Err(unavailable.into()),
            Err(UpstreamError::Refused(fault)) => {
                tracing::warn!(fault = fault.name(), "the answer of the upstream provider does not count: {fault}");
                return self.turn_down(&transaction, refusal(fault), now).await;
            }
        };
        if let Err(refusal) = detour.check(&vouched) {
            return self.turn_down(&transaction, refusal, now).await;
        }
        if self.is_name_of_client(&vouched.person.subject) {
            let fault = UpstreamFault::ClaimsUnfit.name();
            tracing::warn!(fault, "the upstream provider vouches for somebody who has the name of a client");
            return self.turn_down(&transaction, Refusal::UpstreamUntrusted, now).await;
        }
        let Vouched { person, auth_time, acr } = vouched;
        let Some(person) = self.remember(person, now).await? else {
            return self.turn_down(&transaction, Refusal::PersonDisabled, now).await;
        };
        let signed_in = self.open_session(Vouched { person, auth_time, acr }, &session, (browser, now)).await?;
        Ok(self.go_on(transaction, signed_in, &token, now).await?.with(Cookie::Session(session)))
    }

    /// Sends a browser to the upstream provider.
    async fn send_upstream(
        &self,
        provider: &dyn Upstream,
        transaction: &Transaction,
        asking: WhoIsIt<'_>,
        token: &BrowserToken,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let request = &transaction.request;
        let detour = Detour {
            transaction: transaction.sealed(),
            nonce: base64url(&self.entropy.draw::<32>()),
            verifier: base64url(&self.entropy.draw::<32>()),
            since: request.signed_in_since(now).map(Timestamp::millis),
            dated: request.dated,
            acr_values: request.acr_values.iter().map(ToString::to_string).collect(),
            acr_essential: request.acr_essential,
        };
        let json = serde_json::to_vec(&detour).expect("strings and numbers are plain JSON");
        let state = base64url(&self.forms.detours().at(now).seal(token.digest().as_bytes(), &json));
        let request = UpstreamRequest {
            redirect_uri: &self.settings.url(LOGIN_CALLBACK),
            state: &state,
            nonce: &detour.nonce,
            challenge: &base64url(&sha256(detour.verifier.as_bytes())),
            wishes: &wishes(request, asking),
        };
        let location = provider.request(&request, now).await?;
        Ok(Answer::new(View::SignInFirst { location }))
    }

    /// The session that a detour leads to. Whoever comes back with it a second time is known by it, and the provider is not
    /// asked again, whose code is spent.
    fn session_of(&self, detour: &Detour) -> SessionToken {
        let secret =
            self.forms.detour_sessions().mac(&[b"session", detour.nonce.as_bytes(), detour.verifier.as_bytes()]);
        let text = format!("{}{}", SessionKind::PREFIX, base64url(&secret));
        text.parse().expect("a prefix and 32 bytes are a token")
    }

    fn open_detour(&self, state: &str, browser: &BrowserToken, now: Timestamp) -> Option<Detour> {
        let json = self.forms.detours().at(now).open(browser.digest().as_bytes(), &from_base64url(state)?).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

/// What the provider is asked for beside a sign-in (OpenID Connect Core §3.1.2.1). `max_age` makes it say when the person
/// signed in, which is how a sign-in that was not repeated is told from one that was.
fn wishes(request: &AuthorizationRequest, asking: WhoIsIt<'_>) -> Vec<(&'static str, String)> {
    let mut wishes = Vec::new();
    match request.prompt {
        Prompt::SignIn => wishes.push(("prompt", "login".to_owned())),
        Prompt::SelectAccount => wishes.push(("prompt", "select_account".to_owned())),
        Prompt::None | Prompt::AsNeeded => {}
    }
    match (request.prompt, request.max_age) {
        (Prompt::SignIn, None) => wishes.push(("max_age", "0".to_owned())),
        (_, Some(max_age)) => wishes.push(("max_age", max_age.as_secs().to_string())),
        (Prompt::None | Prompt::SelectAccount | Prompt::AsNeeded, None) if request.dated => {
            wishes.push(("max_age", LONG_AGO.as_secs().to_string())); // which makes it say when
        }
        (Prompt::None | Prompt::SelectAccount | Prompt::AsNeeded, None) => {}
    }
    if !request.acr_values.is_empty() {
        let values: Vec<_> = request.acr_values.iter().map(Acr::as_str).collect();
        wishes.push(("acr_values", values.join(" ")));
    }
    let hints = [("login_hint", asking.username), ("ui_locales", asking.locales)];
    let fits = |(_, hint): &(&'static str, &str)| (1..=HINT_LIMIT).contains(&hint.len());
    wishes.extend(hints.into_iter().filter(fits).map(|(name, hint)| (name, hint.to_owned())));
    wishes
}

/// What the client is told when nobody is vouched for.
const fn refusal(fault: UpstreamFault) -> Refusal {
    match fault {
        UpstreamFault::Declined => Refusal::UpstreamDeclined,
        UpstreamFault::InteractionRequired => Refusal::ReauthenticationMissing,
        UpstreamFault::RequirementsUnmet => Refusal::AcrUnmet,
        UpstreamFault::ErrorAnswered
        | UpstreamFault::ResponseIssuerWrong
        | UpstreamFault::CodeMissing
        | UpstreamFault::CodeRefused
        | UpstreamFault::TokenResponseMalformed
        | UpstreamFault::IdTokenMalformed
        | UpstreamFault::IdTokenAlgorithm
        | UpstreamFault::IdTokenSignature
        | UpstreamFault::IdTokenIssuer
        | UpstreamFault::IdTokenAudience
        | UpstreamFault::IdTokenAuthorizedParty
        | UpstreamFault::IdTokenTime
        | UpstreamFault::IdTokenNonce
        | UpstreamFault::IdTokenAccessTokenHash
        | UpstreamFault::UserInfoWrong
        | UpstreamFault::ClaimsUnfit => Refusal::UpstreamUntrusted,
    }
}
