//! Access tokens: the claims of RFC 9068, how a resource server verifies a JWT, and handles that stand for such claims.

mod authorization_details;
mod claims;
mod form;
mod keys;
mod lookup;
mod profile;
mod requested_claims;
mod revocation;
mod verify;

pub use authorization_details::{AuthorizationDetails, DetailsFault, LISTS};
pub use claims::{ACCESS_TOKEN_TYPE, AccessTokenClaims, Binding, Confirmation};
pub use form::{AccessTokenFormat, Form};
pub use keys::{KeyLookup, KeysFault};
pub use lookup::TokenLookup;
pub use profile::{ClaimNames, TOKEN_ALGORITHMS, TokenProfile, TokenTypes};
pub use requested_claims::{RequestedClaims, RequestedClaimsFault, Told};
pub use revocation::Revocations;
pub use verify::{
    TOKEN_LIMIT, TokenExpectation, TokenFault, VerifiedToken, VerifyError, claimed_issuer, judge, verify,
};
