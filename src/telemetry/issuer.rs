//! What the authorization server counts, at its doors.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Histogram;
use super::metrics::{Labels, label};
use crate::oauth::client::GrantType;
use crate::oauth::{Error, ErrorCode, Refusal};

/// From a millisecond to ten seconds.
const SECONDS: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The endpoints, as the log calls them.
const ENDPOINTS: [&str; 15] = [
    "token",
    "device_authorization",
    "par",
    "introspection",
    "revocation",
    "userinfo",
    "authorize",
    "login",
    "login_callback",
    "consent",
    "logout",
    "activate",
    "activate_callback",
    "account",
    "account_callback",
];

/// What becomes of a request.
const OUTCOMES: [&str; 4] = ["answered", "refused", "throttled", "unavailable"];

/// The error codes that refusals of token requests have, so that each is 0 before it comes.
const TOKEN_ERRORS: [ErrorCode; 14] = [
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidClient,
    ErrorCode::InvalidGrant,
    ErrorCode::UnauthorizedClient,
    ErrorCode::UnsupportedGrantType,
    ErrorCode::InvalidScope,
    ErrorCode::InvalidTarget,
    ErrorCode::InvalidAuthorizationDetails,
    ErrorCode::InvalidDpopProof,
    ErrorCode::UseDpopNonce,
    ErrorCode::AuthorizationPending,
    ErrorCode::SlowDown,
    ErrorCode::AccessDenied,
    ErrorCode::ExpiredToken,
];

/// What becomes of a refresh token.
const REFRESHED: [&str; 5] = ["rotated", "stable", "repeated", "replaced", "forked"];

/// What becomes of a sign-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignInOutcome {
    /// A session was opened.
    SignedIn,
    /// Nobody has this name and this password.
    Failed,
    /// There were too many of those.
    Throttled,
}

/// What the authorization server counts.
#[derive(Debug)]
pub struct IssuerMetrics {
    /// By endpoint and outcome.
    requests: Family<Labels<2>, Counter>,
    /// By endpoint and rule.
    refusals: Family<Labels<2>, Counter>,
    /// By grant type, outcome and error code.
    tokens: Family<Labels<3>, Counter>,
    token_duration: Histogram,
    refreshes: Family<Labels<1>, Counter>,
    sign_ins: [Counter; 3],
}

impl Default for IssuerMetrics {
    /// Counters that nobody reads.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl IssuerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (requests, refusals) = (Family::<Labels<2>, Counter>::default(), Family::<Labels<2>, Counter>::default());
        let (tokens, refreshes) = (Family::<Labels<3>, Counter>::default(), Family::<Labels<1>, Counter>::default());
        let (sign_ins, token_duration) = (Family::<Labels<1>, Counter>::default(), Histogram::new(SECONDS));
        registry.register(
            "tollgate_requests",
            "Requests to the endpoints of the authorization server; `answered` may be a page that asks again",
            requests.clone(),
        );
        registry.register(
            "tollgate_refusals",
            "Requests that broke a rule; `refusal` as in `tollgate explain`",
            refusals.clone(),
        );
        registry.register(
            "tollgate_token_requests",
            "Token requests; without `grant` if it is none that we know, `error` as the client is told",
            tokens.clone(),
        );
        registry.register_with_unit(
            "tollgate_token_request_duration",
            "From a whole token request to its answer",
            Unit::Seconds,
            token_duration.clone(),
        );
        registry.register(
            "tollgate_refreshes",
            "What became of refresh tokens: `repeated` is a lost answer, `forked` ends the grant since somebody has a copy",
            refreshes.clone(),
        );
        registry.register(
            "tollgate_sign_ins",
            "Sign-ins of people; those that fail or are throttled with a password only",
            sign_ins.clone(),
        );
        for endpoint in ENDPOINTS {
            for outcome in OUTCOMES {
                let _ = requests.get_or_create_owned(&[label("endpoint", endpoint), label("outcome", outcome)]);
            }
        }
        let _ = refusals
            .get_or_create_owned(&[label("endpoint", "token"), label("refusal", Refusal::RefreshTokenForked.name())]);
        for grant in GrantType::ALL.map(GrantType::name) {
            let answered = OUTCOMES.iter().filter(|outcome| **outcome != "refused").map(|outcome| (*outcome, ""));
            for (outcome, error) in answered.chain(TOKEN_ERRORS.map(|code| ("refused", code.name()))) {
                let _ = tokens.get_or_create_owned(&token_labels(grant, outcome, error));
            }
        }
        for outcome in REFRESHED {
            let _ = refreshes.get_or_create_owned(&[label("outcome", outcome)]);
        }
        let sign_ins = ["signed_in", "failed", "throttled"]
            .map(|outcome| sign_ins.get_or_create_owned(&[label("outcome", outcome)]));
        Self { requests, refusals, tokens, token_duration, refreshes, sign_ins }
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, endpoint: &'static str) {
        self.request(endpoint, "answered");
    }

    /// Counts a request that a rule refused.
    pub(crate) fn refused(&self, endpoint: &'static str, refusal: Refusal) {
        self.request(endpoint, "refused");
        self.refusals.get_or_create(&[label("endpoint", endpoint), label("refusal", refusal.name())]).inc();
    }

    /// Counts a request by its result.
    pub(crate) fn ended<T>(&self, endpoint: &'static str, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.answered(endpoint),
            Err(Error::Refused(refusal)) => self.refused(endpoint, *refusal),
            Err(Error::Throttled { .. }) => self.request(endpoint, "throttled"),
            Err(Error::Unavailable(_)) => self.request(endpoint, "unavailable"),
        }
    }

    fn request(&self, endpoint: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&[label("endpoint", endpoint), label("outcome", outcome)]).inc();
    }

    /// Counts a token request; `issued` says how its tokens came about.
    pub(crate) fn token(&self, grant: Option<GrantType>, result: Result<&'static str, Error>, took: Duration) {
        self.ended("token", &result);
        self.token_duration.observe(took);
        let name = grant.map_or("", GrantType::name);
        let (outcome, error) = match result {
            Ok(_) => ("answered", ""),
            Err(Error::Refused(refusal)) => ("refused", refusal.code().name()),
            Err(Error::Throttled { .. }) => ("throttled", ""),
            Err(Error::Unavailable(_)) => ("unavailable", ""),
        };
        self.tokens.get_or_create(&token_labels(name, outcome, error)).inc();
        let refreshed = match result {
            Ok(issued) if grant == Some(GrantType::RefreshToken) => issued,
            Err(Error::Refused(Refusal::RefreshTokenForked)) => "forked",
            Ok(_) | Err(_) => return,
        };
        self.refreshes.get_or_create(&[label("outcome", refreshed)]).inc();
    }

    /// Counts a sign-in.
    pub(crate) fn sign_in(&self, outcome: SignInOutcome) {
        self.sign_ins[outcome as usize].inc();
    }
}

fn token_labels(grant: &'static str, outcome: &'static str, error: &'static str) -> Labels<3> {
    [label("grant", grant), label("outcome", outcome), label("error", error)]
}
