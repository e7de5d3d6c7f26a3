//! JWT access tokens (RFC 9068): their claims, and how a resource server verifies them.

mod claims;
mod verify;

pub use claims::{ACCESS_TOKEN_TYPE, AccessTokenClaims, Binding, Confirmation};
pub use verify::{KeyLookup, TOKEN_LIMIT, TokenExpectation, TokenFault, VerifiedToken, VerifyError, verify};
