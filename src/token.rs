//! JWT access tokens (RFC 9068): their claims, and how a resource server verifies them.

mod authorization_details;
mod claims;
mod requested_claims;
mod verify;

pub use authorization_details::{AuthorizationDetails, DetailsFault, LISTS};
pub use claims::{ACCESS_TOKEN_TYPE, AccessTokenClaims, Binding, Confirmation};
pub use requested_claims::{RequestedClaims, RequestedClaimsFault, Told};
pub use verify::{KeyLookup, TOKEN_LIMIT, TokenExpectation, TokenFault, VerifiedToken, VerifyError, verify};
