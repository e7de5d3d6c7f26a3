//! JWT access tokens (RFC 9068): their claims, and how a resource server verifies them.

mod authorization_details;
mod claims;
mod keys;
mod profile;
mod verify;

pub use authorization_details::{AuthorizationDetails, DetailsFault, LISTS};
pub use claims::{ACCESS_TOKEN_TYPE, AccessTokenClaims, Binding, Confirmation};
pub use keys::{KeyLookup, KeysFault};
pub use profile::{ClaimNames, TOKEN_ALGORITHMS, TokenProfile, TokenTypes};
pub use verify::{TOKEN_LIMIT, TokenExpectation, TokenFault, VerifiedToken, VerifyError, claimed_issuer, verify};
