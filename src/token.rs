//! Access tokens: the claims of RFC 9068, how a resource server verifies a JWT, and handles that stand for such claims.

mod authorization_details;
mod claims;
mod form;
mod keys;
mod lookup;
mod profile;
mod requested_claims;
mod revocation;
mod status_list;
mod verify;

pub use authorization_details::{AuthorizationDetails, DetailsFault, LISTS};
pub use claims::{ACCESS_TOKEN_TYPE, AccessTokenClaims, Binding, Confirmation};
pub use form::{AccessTokenFormat, Form};
pub use keys::{KeyLookup, KeysFault, Renew};
pub use lookup::{Said, TokenLookup};
pub use profile::{ClaimNames, TOKEN_ALGORITHMS, TokenProfile, TokenTypes, may_be_access_token};
pub use requested_claims::{RequestedClaims, RequestedClaimsFault, Told};
pub use revocation::{Revocations, RevocationsFault};
pub use status_list::{
    PackedList, STATUS_LIST_LENGTH, STATUS_LIST_LIMITS, STATUS_LIST_MEDIA_TYPE, STATUS_LIST_TYPE, STATUS_LISTS, Status,
    StatusIndex, StatusList, StatusListClaims, StatusListFault, StatusReference, StatusUnreadable,
};
pub use verify::{
    TOKEN_LIMIT, TokenExpectation, TokenFault, VerifiedToken, VerifyError, claimed_issuer, judge, verify,
};
