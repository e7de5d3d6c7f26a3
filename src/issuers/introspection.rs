//! Opaque tokens of another issuer, about which it is asked (RFC 7662).
//!
//! Answers are kept for a while, so an end of a token there is known here so much later, and no later.
//!
//! Invariant: an answer counts only if it is about an access token that is good, and what a JWT would have to say is in it;
//! whatever else comes, or nothing, is an outage and not an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use tokio::sync::{OnceCell, Semaphore};

use super::ClientCredential;
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::fetch::{FetchUrl, Fetched, Fetcher};
use crate::ident::{ClientId, IssuerName};
use crate::jose::{Json, Members, object, optional_time};
use crate::secret::sha256;
use crate::token::TokenLookup;
use crate::unavailable::Unavailable;

/// How many answers are kept for each issuer.
pub const ANSWERS_KEPT: u64 = 50_000;

/// How many questions one issuer is asked at once: others wait for their turn, as long as there is somebody to wait for them.
pub const QUESTIONS: usize = 64;

/// How long it is believed that a token is not good, if good ones are believed as long: a token that was not will not be.
const REFUSALS_KEPT: Duration = Duration::from_secs(10);

/// How long nobody is asked after there was no answer: a dead endpoint is not to be waited for in every request.
const PAUSE: Duration = Duration::from_secs(1);

/// What an operator decides about introspection at an issuer.
#[derive(Debug, PartialEq)]
pub struct IntrospectionSettings {
    /// Where to ask.
    pub endpoint: FetchUrl,
    /// What this process is called there.
    pub client_id: ClientId,
    /// How it authenticates there.
    pub credential: ClientCredential,
    /// How long an answer counts; less, if the token expires before.
    pub kept: Duration,
}

/// Asks an issuer what its opaque tokens stand for.
pub struct Introspection {
    issuer: IssuerName,
    settings: Arc<IntrospectionSettings>,
    fetcher: Fetcher,
    entropy: Arc<dyn Entropy>,
    /// By the SHA-256 of the token; whoever comes first asks.
    known: Cache<[u8; 32], Arc<OnceCell<Known>>>,
    turns: Semaphore,
    /// Until when nobody is asked, in milliseconds since the epoch.
    paused_until: AtomicI64,
}

/// What was answered about a token.
struct Known {
    /// What it says, if it is good.
    said: Option<Members>,
    /// How long that counts.
    until: Timestamp,
}

impl Introspection {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(
        issuer: IssuerName,
        settings: Arc<IntrospectionSettings>,
        fetcher: Fetcher,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let known = Cache::builder().max_capacity(ANSWERS_KEPT).time_to_live(settings.kept.max(REFUSALS_KEPT)).build();
        let turns = Semaphore::new(QUESTIONS);
        Self { issuer, settings, fetcher, entropy, known, turns, paused_until: AtomicI64::new(i64::MIN) }
    }

    /// Asks about a token (RFC 7662 §2.1).
    async fn ask(&self, token: &str, now: Timestamp) -> Result<Known, Unavailable> {
        let _turn = self.turns.acquire().await.map_err(|_| Unavailable::Down)?;
        if now.millis() < self.paused_until.load(Ordering::Relaxed) {
            return Err(Unavailable::Down);
        }
        let IntrospectionSettings { endpoint, client_id, credential, .. } = &*self.settings;
        let us = credential.authenticate(client_id, self.issuer.as_str(), &*self.entropy, now).await?;
        let mut form = vec![("token", token), ("token_type_hint", "access_token")];
        form.extend(us.parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let url = endpoint.as_str();
        match self.fetcher.post(endpoint, &form, us.authorization.as_deref()).await {
            Ok(Fetched { status: 200, body, .. }) => self.read(&body, now).ok_or_else(|| {
                tracing::error!(url, "what the introspection endpoint says is no answer");
                Unavailable::Down
            }),
            Ok(Fetched { status, .. }) => {
                tracing::error!(url, status, "the introspection endpoint does not answer us");
                if status != 400 {
                    self.pause(now); // 401 is about our own credentials (RFC 7662 §2.3); 400 may be about this token
                }
                Err(Unavailable::Down)
            }
            Err(fault) => {
                tracing::error!(url, %fault, "the introspection endpoint could not be asked: {fault}");
                self.pause(now);
                Err(Unavailable::Down)
            }
        }
    }

    /// Asks nobody for a moment.
    fn pause(&self, now: Timestamp) {
        self.paused_until.store((now + PAUSE).millis(), Ordering::Relaxed);
    }

    /// Reads an answer (RFC 7662 §2.2); `None` if it is none.
    fn read(&self, body: &[u8], now: Timestamp) -> Option<Known> {
        let mut answer = object(body).ok()?;
        let is_active = answer.remove("active")?.as_bool()?;
        let kept = self.settings.kept;
        if !is_active || !is_access_token(&answer) {
            return Some(Known { said: None, until: now + kept.min(REFUSALS_KEPT) });
        }
        let until = optional_time(&answer, "exp").ok()?.map_or(now + kept, |expires| expires.min(now + kept));
        // What RFC 7662 leaves out and a JWT would say: the issuer speaks of its own tokens, and one that does not expire is
        // good for as long as this answer is.
        answer.entry("iss").or_insert_with(|| self.issuer.as_str().into());
        answer.entry("exp").or_insert_with(|| until.seconds().into());
        if let Some(client_id) = answer.get("client_id").cloned() {
            answer.entry("sub").or_insert(client_id); // RFC 9068 §2.2: without a person the client speaks for itself
        }
        Some(Known { said: Some(answer), until })
    }
}

/// Whether an active token is one to call with. Some servers introspect refresh tokens and ID tokens too, and a DPoP-bound
/// token whose key they do not tell could not be told from a stolen one.
fn is_access_token(answer: &Members) -> bool {
    let is_one_of = |name: &str, known: &[&str]| match answer.get(name) {
        None => true,
        Some(value) => value.as_str().is_some_and(|value| known.iter().any(|known| known.eq_ignore_ascii_case(value))),
    };
    let is_dpop = answer.get("token_type").and_then(Json::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("dpop"));
    let tells_key = answer.get("cnf").and_then(|cnf| cnf.get("jkt")).is_some();
    is_one_of("token_type", &["Bearer", "DPoP"])
        && is_one_of("token_use", &["access_token", "access"]) // Ory Hydra, Amazon Cognito
        && is_one_of("typ", &["Bearer", "DPoP", "at+jwt"]) // Keycloak: `Refresh`, `Offline`, `ID`
        && (tells_key || !is_dpop)
}

#[async_trait]
impl TokenLookup for Introspection {
    async fn look_up(&self, token: &str, now: Timestamp) -> Result<Option<Members>, Unavailable> {
        let key = sha256(token.as_bytes());
        let cell = || self.known.get_with(key, Arc::default);
        let mut known = cell();
        if known.get().is_some_and(|known| now >= known.until) {
            self.known.invalidate(&key);
            known = cell();
        }
        let known = known.get_or_try_init(|| self.ask(token, now)).await?;
        Ok(known.said.clone())
    }
}
