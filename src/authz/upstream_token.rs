//! Tokens of the gate's own for the service behind it: short-lived JWTs that say what the access token has said, and that
//! are worth nothing anywhere else.
//!
//! A service that verifies them need not trust the network between the gate and itself, and never sees a token that it
//! could use at other services.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};

use super::{Answer, Request};
use crate::clock::Timestamp;
use crate::document::PublicDocument;
use crate::ident::Audience;
use crate::jose::{Json, SigningKey};
use crate::secret::rotation::{Rotating, Term};
use crate::token::VerifiedToken;

/// Below the origin of a resource: the name of the gate there, and what its keys are found below.
const NAME: &str = "/.well-known/tollgate";

/// Where its keys are.
const KEYS: &str = "/.well-known/tollgate/jwks.json";

/// How long keys may be kept that the operator has named, or that are made for one life of a process.
const KEEP_KEYS_FOR: Duration = Duration::from_mins(5);

/// The `typ` of these tokens: nobody who looks at it takes them for access tokens (RFC 8725 §3.11).
const TYPE: &str = "upstream+jwt";

/// They live at least this long, even if the access token is about to end: they must arrive.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);

/// Claims of the access token that are handed on as they are.
const HANDED_ON: [&str; 9] =
    ["sub", "client_id", "scope", "authorization_details", "auth_time", "acr", "amr", "act", "sid"];

/// What the tokens for an upstream say and how long they count.
#[derive(Clone, Debug)]
pub struct UpstreamTokens {
    /// Their `aud`.
    pub audience: Audience,
    /// How long they count.
    pub lifetime: Duration,
    /// More claims of the access token that are handed on.
    pub claims: Vec<String>,
    /// What they are signed with. Without keys none is made.
    pub keys: Option<UpstreamKeys>,
}

/// What tokens for upstreams are signed with: one key at a time. Those that others sign with, or that sign at another time, are
/// published beside it.
#[derive(Clone, Debug)]
pub struct UpstreamKeys {
    /// The keys, each with its time.
    pub signers: Rotating<Arc<SigningKey>>,
    /// How long the set of them may be kept.
    pub keep_for: Duration,
}

impl UpstreamKeys {
    /// This one always signs, and the others never do.
    #[must_use]
    pub fn always(key: Arc<SigningKey>, others: Vec<Arc<SigningKey>>) -> Self {
        let signers = Rotating::from(Arc::clone(&key));
        signers.replace(others.into_iter().rev().chain([key]).map(Term::always).collect());
        Self { signers, keep_for: KEEP_KEYS_FOR }
    }

    /// The JWK Set (RFC 7517 §5, §8.5): that which signs comes first.
    fn published(&self, now: Timestamp) -> PublicDocument {
        let mut published: Vec<Json> = Vec::new();
        for key in self.signers.at(now).iter().map(|key| key.published_jwk()) {
            if !published.contains(&key) {
                published.push(key);
            }
        }
        PublicDocument::new(&json!({ "keys": published }), self.keep_for).of_type("application/jwk-set+json")
    }
}

/// Makes the tokens for one upstream.
#[derive(Debug)]
pub(super) struct UpstreamIssuer {
    settings: UpstreamTokens,
    keys: UpstreamKeys,
    name: String,
}

impl UpstreamIssuer {
    /// For the upstream of the resource at this origin.
    pub(super) fn new(settings: &UpstreamTokens, origin: &str) -> Option<Self> {
        let keys = settings.keys.clone()?;
        Some(Self { settings: settings.clone(), keys, name: format!("{origin}{NAME}") })
    }

    /// The token for the upstream; the one that was made for this access token before, until half of its life is over.
    pub(super) fn token(&self, token: &VerifiedToken, now: Timestamp) -> Arc<str> {
        token.told_upstream(now, || {
            let ends = (now + self.settings.lifetime).min(token.expires()).max(now + SHORTEST_LIFE);
            let text = self.keys.signers.at(now).newest().sign(TYPE, &self.claims(token, now, ends));
            (text.into(), (now + self.settings.lifetime / 2).min(ends))
        })
    }

    fn claims(&self, token: &VerifiedToken, now: Timestamp, ends: Timestamp) -> Json {
        let more = self.settings.claims.iter().map(String::as_str);
        let said = HANDED_ON.into_iter().chain(more).filter_map(|name| Some((name, token.claims().get(name)?)));
        let mut claims: Map<_, _> = said.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        for (name, value) in [
            ("iss", Json::from(self.name.as_str())),
            ("aud", self.settings.audience.as_str().into()),
            ("iat", now.seconds().into()),
            ("exp", ends.seconds().into()),
            // Two issuers may call people the same.
            ("sub_iss", token.issuer().into()),
        ] {
            claims.insert(name.to_owned(), value);
        }
        Json::Object(claims)
    }

    /// The keys that these tokens are verified with (RFC 7517 §5), if they are asked for.
    pub(super) fn keys(&self, request: &Request<'_>, path: &str, now: Timestamp) -> Option<Answer> {
        let asked = matches!(request.method, "GET" | "HEAD") && path == KEYS;
        asked.then(|| Answer::document(&self.keys.published(now), &request.headers))
    }
}
