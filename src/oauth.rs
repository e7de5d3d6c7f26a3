//! The rules of the authorization server.
//!
//! Ruled by RFC 6749, RFC 7636, RFC 8414, RFC 9068, RFC 9207, RFC 9449 and RFC 9700. Methods of [`AuthorizationServer`]
//! are its endpoints.
//!
//! Invariant: knows no transport and no concrete store; a request that fails a check changes nothing; what costs the
//! caller something is spent last.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dpop::Window;
use crate::ident::{Audience, Issuer};
use crate::scope::Scope;

pub mod client;
mod error;
mod refusal;

pub use client::Client;
pub use error::{Error, ErrorCode};
pub use refusal::Refusal;

/// Whether the authorization server gives nonces to proofs (RFC 9449 §8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NonceMode {
    /// Never.
    Off,
    /// A nonce is judged if it is there, and offered to whoever sends a proof.
    Optional,
    /// No proof passes without one.
    Required,
}

/// Settings about proofs.
#[derive(Clone, Copy, Debug)]
pub struct DpopSettings {
    /// Whether nonces are in force.
    pub nonce: NonceMode,
    /// How long a nonce is good.
    pub nonce_life: Duration,
    /// The age that a proof may have.
    pub window: Window,
    /// Whether every client must bring a proof, registered for it or not.
    pub required: bool,
}

/// How long things live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Access tokens.
    pub access_token: Duration,
    /// Grants, from approval, whatever is refreshed.
    pub refresh_token: Duration,
    /// Grants that nobody refreshes.
    pub refresh_token_idle: Duration,
    /// Authorization codes; 60 seconds at most (FAPI 2.0 §5.3.2.1-11).
    pub authorization_code: Duration,
    /// Sign-in and consent pages: from the authorization request to its answer.
    pub transaction: Duration,
    /// Browser sessions.
    pub session: Duration,
}

/// What an operator decides about the authorization server.
#[derive(Debug)]
pub struct Settings {
    /// `issuer` (RFC 8414 §2).
    pub issuer: Issuer,
    /// The registered clients.
    pub clients: Vec<Client>,
    /// The scopes that exist, each with words for the people who are asked to grant it.
    pub scopes: BTreeMap<Scope, String>,
    /// The resources that tokens are issued for (RFC 8707); the first is the default. Never empty.
    pub resources: Vec<Audience>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// About proofs.
    pub dpop: DpopSettings,
}
