//! Opaque tokens of another issuer, about which it is asked (RFC 7662).
//!
//! Answers are kept for a while, so an end of a token there is known here so much later, and no later. Who may cause how many
//! questions is for [`Questions`](super::Questions) to say.
//!
//! Invariant: an answer counts only if it is about an access token that is good, and what a JWT would have to say is in it;
//! whatever else comes, or nothing, is an outage and not an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::ClientCredential;
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::fetch::{FetchUrl, Fetched, Fetcher};
use crate::ident::{ClientId, IssuerName};
use crate::jose::{Json, Members, Thumbprint, object, optional_time};
use crate::token::{Said, TokenLookup, may_be_access_token};
use crate::unavailable::Unavailable;

/// How long nobody is asked after there was no answer: a dead endpoint is not to be waited for in every request.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers that may be about the token, which may be anything: no pause, or anybody could cause one.
const MAY_BE_ABOUT_THE_TOKEN: [u16; 5] = [400, 413, 414, 422, 431];

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
    /// Until when nobody is asked, in milliseconds since the epoch.
    paused_until: AtomicI64,
}

/// What came is not what RFC 7662 §2.2 calls an answer.
struct NoAnswer;

impl Introspection {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(
        issuer: IssuerName,
        settings: Arc<IntrospectionSettings>,
        fetcher: Fetcher,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { issuer, settings, fetcher, entropy, paused_until: AtomicI64::new(i64::MIN) }
    }

    /// Asks about a token (RFC 7662 §2.1).
    async fn ask(&self, token: &str, now: Timestamp) -> Result<Option<Said>, Unavailable> {
        let IntrospectionSettings { endpoint, client_id, credential, .. } = &*self.settings;
        let us = credential.authenticate(client_id, self.issuer.as_str(), &*self.entropy, now).await?;
        let mut form = vec![("token", token), ("token_type_hint", "access_token")];
        form.extend(us.parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let url = endpoint.as_str();
        match self.fetcher.post(endpoint, &form, us.authorization.as_deref()).await {
            Ok(Fetched { status: 200, body, .. }) => self.read(&body, now).map_err(|NoAnswer| {
                tracing::error!(url, "what the introspection endpoint says is no answer");
                Unavailable::Down
            }),
            Ok(Fetched { status, .. }) => {
                tracing::error!(url, status, "the introspection endpoint does not answer us");
                if !MAY_BE_ABOUT_THE_TOKEN.contains(&status) {
                    self.pause(now); // 401 is about our own credentials (RFC 7662 §2.3)
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

    /// Reads an answer (RFC 7662 §2.2), if it is one.
    fn read(&self, body: &[u8], now: Timestamp) -> Result<Option<Said>, NoAnswer> {
        let mut claims = object(body).map_err(|_| NoAnswer)?;
        let is_active = claims.remove("active").and_then(|active| active.as_bool()).ok_or(NoAnswer)?;
        if !is_active || !is_access_token(&claims) {
            return Ok(None);
        }
        let kept = now + self.settings.kept;
        let until = optional_time(&claims, "exp").map_err(|_| NoAnswer)?.map_or(kept, |expires| expires.min(kept));
        if until <= now {
            return Ok(None); // no answer counts for longer than its token (RFC 7662 §4), and this one is over
        }
        // What RFC 7662 leaves out and a JWT would say: the issuer speaks of its own tokens, and one that does not expire is
        // good for as long as this answer is.
        claims.entry("iss").or_insert_with(|| self.issuer.as_str().into());
        claims.entry("exp").or_insert_with(|| until.seconds().into());
        if let Some(client_id) = claims.get("client_id").cloned() {
            claims.entry("sub").or_insert(client_id); // RFC 9068 §2.2: without a person the client speaks for itself
        }
        Ok(Some(Said { claims, until: Some(until) }))
    }
}

/// Whether an active token is one to call with. Some servers introspect refresh tokens and ID tokens too, and a DPoP-bound
/// token whose key they do not tell could not be told from a stolen one.
fn is_access_token(answer: &Members) -> bool {
    let kind = answer.get("token_type").map_or(Some("Bearer"), Json::as_str).unwrap_or_default();
    let is_dpop = kind.eq_ignore_ascii_case("DPoP");
    let tells_key = answer.get("cnf").and_then(|cnf| cnf.get("jkt")).is_some();
    (is_dpop || kind.eq_ignore_ascii_case("Bearer")) && may_be_access_token(answer) && (tells_key || !is_dpop)
}

#[async_trait]
impl TokenLookup for Introspection {
    async fn look_up(&self, token: &str, _: Option<Thumbprint>, now: Timestamp) -> Result<Option<Said>, Unavailable> {
        if self.is_paused(now) { Err(Unavailable::Down) } else { self.ask(token, now).await }
    }

    fn is_paused(&self, now: Timestamp) -> bool {
        now.millis() < self.paused_until.load(Ordering::Relaxed)
    }
}
