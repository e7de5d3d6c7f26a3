//! What an authorization request asks for (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2, RFC 9449 §10).

use std::time::Duration;

use super::SignedIn;
use super::claims::{self, AskedAcr, AskedClaims};
use super::destination::Destination;
use super::response::ResponseMode;
use crate::clock::Timestamp;
use crate::ident::{Acr, Resources, Subject};
use crate::identity::Login;
use crate::jose::Thumbprint;
use crate::oauth::client::{Client, GrantType};
use crate::oauth::pkce::CodeChallenge;
use crate::oauth::{AuthorizationServer, Parameters, Refusal};
use crate::scope::Scopes;
use crate::token::{AuthorizationDetails, RequestedClaims};

/// The longest `state` that is taken, in bytes after decoding.
const STATE_LIMIT: usize = 2_048;

/// The longest `nonce` that is taken, in bytes after decoding.
const NONCE_LIMIT: usize = 512;

/// The longest `acr_values` that are taken, in bytes after decoding.
const ACR_VALUES_LIMIT: usize = 512;

/// How long ago a sign-in may have been that answers `prompt=login`.
const JUST_NOW: Duration = Duration::from_mins(1);

/// What is asked for, all of it judged.
pub(in crate::oauth) struct AuthorizationRequest {
    /// The PKCE challenge; `None` only for a client that may go without.
    pub(super) challenge: Option<CodeChallenge>,
    pub(super) dpop_jkt: Option<Thumbprint>,
    /// `nonce` (OpenID Connect Core §3.1.2.1).
    pub(super) nonce: Option<String>,
    pub(super) scopes: Scopes,
    pub(super) resource: Resources,
    /// What is asked for in detail (RFC 9396).
    pub(super) details: AuthorizationDetails,
    pub(super) prompt: Prompt,
    /// The age that a sign-in may have.
    pub(super) max_age: Option<Duration>,
    /// Whether it must be known when the person signed in.
    pub(super) dated: bool,
    /// How well the person is to be recognised: any of these. Empty if nothing is said.
    pub(super) acr_values: Vec<Acr>,
    /// Whether one who is recognised otherwise, or in a way that nobody knows, is refused (OpenID Connect Core §5.5.1.1).
    pub(super) acr_essential: bool,
    /// What the client is told about the person beside what the scopes say.
    pub(super) claims: RequestedClaims,
    /// Who it must be, as the client knows them.
    pub(super) wanted_subject: Option<String>,
}

/// What the person is to be asked (OpenID Connect Core §3.1.2.1 `prompt`). Consent is asked for in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Prompt {
    /// `none`: nothing.
    None,
    /// `login`: to sign in, even if somebody is signed in.
    SignIn,
    /// `select_account`: who it is to be, even if somebody is signed in.
    SelectAccount,
    /// `consent`, or nothing said: what is needed.
    AsNeeded,
}

impl AuthorizationServer {
    /// Judges everything about a request whose refusal may be redirected.
    pub(in crate::oauth) fn judge(
        &self,
        parameters: &Parameters,
        repeated: &[String],
        destination: &Destination,
        now: Timestamp,
    ) -> Result<AuthorizationRequest, Refusal> {
        if !repeated.is_empty() {
            return Err(Refusal::ParameterRepeated);
        }
        let client = &*destination.client;
        check_shape(parameters, destination)?;
        if !client.may_use(GrantType::AuthorizationCode) {
            return Err(Refusal::AuthorizeNotAllowed);
        }
        let max_age = max_age(parameters)?.or(client.openid.default_max_age);
        let prompt = match prompt(parameters)? {
            Prompt::AsNeeded if max_age == Some(Duration::ZERO) => Prompt::SignIn,
            prompt => prompt,
        };
        let AskedClaims { told: claims, acr, subject, auth_time } = claims::asked(parameters, client)?;
        let (acr_values, acr_essential) = match acr {
            Some(AskedAcr { values, is_essential }) => (values, is_essential),
            None => (acr_values(parameters)?.unwrap_or_else(|| client.openid.default_acr_values.clone()), false),
        };
        Ok(AuthorizationRequest {
            challenge: challenge(parameters, client)?,
            dpop_jkt: dpop_jkt(parameters)?,
            nonce: nonce(parameters)?,
            scopes: self.requested_scopes(parameters, client)?,
            resource: self.resources(parameters)?,
            details: self.requested_details(parameters, client)?,
            prompt,
            max_age,
            dated: auth_time || client.openid.require_auth_time,
            acr_values,
            acr_essential,
            claims,
            wanted_subject: self.wanted_subject(parameters, (client, subject), now)?,
        })
    }

    /// Who must sign in: whom an ID token of ours for this client names, or `claims`.
    fn wanted_subject(
        &self,
        parameters: &Parameters,
        (client, claimed): (&Client, Option<String>),
        now: Timestamp,
    ) -> Result<Option<String>, Refusal> {
        let Some(hint) = parameters.get("id_token_hint") else { return Ok(claimed) };
        let hint = self.verify_id_token_hint(hint, now).filter(|hint| hint.client_id == client.id.as_str());
        let hinted = hint.ok_or(Refusal::IdTokenHintInvalid)?.subject;
        match claimed {
            Some(claimed) if claimed != hinted => Err(Refusal::SubjectMismatch),
            Some(_) | None => Ok(Some(hinted)),
        }
    }

    /// What is asked for, or everything that the client is registered for (RFC 6749 §3.3: a default must be documented).
    pub(in crate::oauth) fn requested_scopes(
        &self,
        parameters: &Parameters,
        client: &Client,
    ) -> Result<Scopes, Refusal> {
        let Some(requested) = parameters.get("scope") else { return Ok(client.scopes.clone()) };
        let requested: Scopes = requested.parse().map_err(|_| Refusal::ScopeMalformed)?;
        let known = requested.iter().all(|scope| self.settings.scopes.contains_key(scope));
        if known && requested.is_within(&client.scopes) { Ok(requested) } else { Err(Refusal::ScopeNotAllowed) }
    }
}

impl AuthorizationRequest {
    /// Whether somebody who is signed in need not do so again: the refusal is what is lacking.
    pub(super) fn check_sign_in(&self, by: &SignedIn, login: &Login, now: Timestamp) -> Result<(), Refusal> {
        let recent = |age: Duration| by.is_dated && now.since(by.auth_time) <= age;
        let asked = match self.prompt {
            Prompt::None | Prompt::AsNeeded => true,
            // A proxy sees the request before we do, and may have asked on its way here.
            Prompt::SignIn => matches!(login, Login::Proxy(_)) && recent(JUST_NOW),
            Prompt::SelectAccount => false,
        };
        let max_age = if self.prompt == Prompt::SignIn { None } else { self.max_age };
        if !asked || !max_age.is_none_or(recent) || (self.dated && !by.is_dated) {
            return Err(Refusal::ReauthenticationMissing);
        }
        let recognised = match (&by.acr, login) {
            (Some(acr), _) => self.acr_values.is_empty() || self.acr_values.contains(acr),
            (None, Login::Upstream(_)) => self.acr_values.is_empty() && !self.acr_essential, // who can be asked
            // A voluntary claim (OpenID Connect Core §3.1.2.1): where nobody ever says how well, it says nothing.
            (None, Login::Password(_) | Login::Proxy(_) | Login::Elsewhere) => !self.acr_essential,
        };
        if recognised { Ok(()) } else { Err(Refusal::AcrUnmet) }
    }

    /// Whether somebody is whom the request names, if it names anybody. `known_as` is what the client knows them as.
    pub(super) fn check_subject(&self, known_as: &Subject) -> Result<(), Refusal> {
        let right = self.wanted_subject.as_ref().is_none_or(|wanted| wanted == known_as.as_str());
        if right { Ok(()) } else { Err(Refusal::SubjectMismatch) }
    }

    /// Since when a person must have signed in, if the request says so.
    pub(super) fn signed_in_since(&self, now: Timestamp) -> Option<Timestamp> {
        match self.prompt {
            Prompt::SignIn => Some(now),
            Prompt::None | Prompt::SelectAccount | Prompt::AsNeeded => self.max_age.map(|max_age| now.before(max_age)),
        }
    }
}

/// What kind of request it is, and of which bounded size.
fn check_shape(parameters: &Parameters, destination: &Destination) -> Result<(), Refusal> {
    // One that names a pushed request was resolved before; others would have to be fetched from where a stranger says.
    if parameters.get("request_uri").is_some() {
        return Err(Refusal::RequestUriUnsupported);
    }
    match parameters.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(Refusal::ResponseTypeUnsupported),
        None => return Err(Refusal::ResponseTypeMissing),
    }
    if ResponseMode::asked(parameters)? != destination.response_mode {
        return Err(Refusal::ResponseModeUnsupported);
    }
    if parameters.get("state").is_some_and(|state| state.len() > STATE_LIMIT) {
        return Err(Refusal::StateTooLong);
    }
    Ok(())
}

/// PKCE for every client (RFC 9700 §2.1.1), unless the operator lets one that authenticates go without; no method means
/// `plain` (RFC 7636 §4.3), which protects nobody.
fn challenge(parameters: &Parameters, client: &Client) -> Result<Option<CodeChallenge>, Refusal> {
    let Some(challenge) = parameters.get("code_challenge") else {
        return if client.requests.pkce_optional { Ok(None) } else { Err(Refusal::ChallengeMissing) };
    };
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(Refusal::ChallengeMethodUnsupported);
    }
    challenge.parse().map(Some).map_err(|_| Refusal::ChallengeMalformed)
}

fn dpop_jkt(parameters: &Parameters) -> Result<Option<Thumbprint>, Refusal> {
    parameters.get("dpop_jkt").map(str::parse).transpose().map_err(|_| Refusal::JktMalformed)
}

/// FAPI 2.0 §5.3.2.2-14 asks for 64 characters at least; whatever it is, it goes back as it came.
fn nonce(parameters: &Parameters) -> Result<Option<String>, Refusal> {
    let nonce = parameters.get("nonce");
    if nonce.is_some_and(|nonce| nonce.len() > NONCE_LIMIT) {
        return Err(Refusal::RequestNonceTooLong);
    }
    Ok(nonce.map(str::to_owned))
}

fn prompt(parameters: &Parameters) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::AsNeeded;
    let Some(values) = parameters.get("prompt") else { return Ok(prompt) };
    for value in values.split(' ') {
        match value {
            "none" if values == "none" => prompt = Prompt::None,
            "login" => prompt = Prompt::SignIn,
            "select_account" if prompt == Prompt::AsNeeded => prompt = Prompt::SelectAccount,
            "select_account" | "consent" => {}
            _ => return Err(Refusal::PromptUnsupported),
        }
    }
    Ok(prompt)
}

fn max_age(parameters: &Parameters) -> Result<Option<Duration>, Refusal> {
    let Some(text) = parameters.get("max_age") else { return Ok(None) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse::<u32>().ok().filter(|_| digits).ok_or(Refusal::MaxAgeMalformed)?;
    Ok(Some(Duration::from_secs(seconds.into())))
}

/// OpenID Connect Core §3.1.2.1 `acr_values`, in order of preference.
fn acr_values(parameters: &Parameters) -> Result<Option<Vec<Acr>>, Refusal> {
    let Some(values) = parameters.get("acr_values") else { return Ok(None) };
    if values.len() > ACR_VALUES_LIMIT {
        return Err(Refusal::AcrValuesMalformed);
    }
    values.split(' ').map(str::parse).collect::<Result<_, _>>().map(Some).map_err(|_| Refusal::AcrValuesMalformed)
}
