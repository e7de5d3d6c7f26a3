//! Demonstrating Proof of Possession (RFC 9449): what the authorization server and the gate share.
//!
//! Invariant: [`VerifiedProof`] is made by [`verify`] only, after every check of §4.3 that needs no memory. What is left
//! is to spend it at a [`ReplayGuard`](crate::replay::ReplayGuard), last of all.

mod fault;
mod fence;
mod htu;
mod nonce;
mod proof;

pub use fault::{ProofFault, Remedy};
pub use fence::Fence;
pub use htu::Htu;
pub use nonce::{NONCE_LIFE, NonceText, Nonces};
pub use proof::{Expected, NonceRule, PROOF_LIMIT, ProofKey, ProofKeys, VerifiedProof, Window, parse_key, verify};
