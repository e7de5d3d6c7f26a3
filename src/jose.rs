//! JSON Object Signing and Encryption, as strictly as we take it: JWS compact serialisation (RFC 7515), public keys
//! (RFC 7517, RFC 7518, RFC 8037), thumbprints (RFC 7638).
//!
//! Invariant: this folder is the only caller of jsonwebtoken and of the signature functions of aws-lc-rs. Neither is
//! asked to judge times, headers or claims: they verify and make signatures, we read strictly before.

mod algorithm;
mod json;
mod jwk;
mod jws;
mod signing_key;

pub use algorithm::{ASSERTION_ALGORITHMS, Algorithm, PROOF_ALGORITHMS};
pub use json::{Json, JsonFault, Members, array, object, optional_text, optional_time, required_text};
pub use jwk::{JwkFault, PublicKey, Thumbprint, key_set};
pub use jws::{Jws, JwsFault, SignatureFault};
pub use signing_key::{SigningKey, SigningKeyFault};
