//! What the file may say about other issuers.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::SigningAlgorithm;
use crate::fetch::{FetchFault, FetchUrl};
use crate::ident::IssuerName;

/// An authorization server whose tokens count at protected resources, with what differs from the defaults. One without such
/// differences needs no entry: `authorization_servers` of a resource names it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IssuerFile {
    /// Its issuer identifier, byte for byte, with the slash at its end if it has one: https, or http on loopback.
    #[schemars(required)]
    pub(in crate::config) issuer: Option<Given<Parsed<OtherIssuer>>>,
    /// Where its keys are: an https URL, or http on loopback. Default: where its metadata says (RFC 8414, OpenID Connect
    /// Discovery).
    pub(in crate::config) jwks_uri: Option<Given<Parsed<FetchUrl>>>,
    /// What its tokens may be signed with.
    #[schemars(extend("default" = ["ES256", "EdDSA", "Ed25519", "PS256", "RS256"]))]
    pub(in crate::config) algorithms: Option<Given<Vec<Given<SigningAlgorithm>>>>,
    /// Which `typ` its access tokens have.
    #[schemars(extend("default" = "at+jwt"))]
    pub(in crate::config) typ: Option<Given<TokenTypeWord>>,
    /// How far its clock may be from ours; at most 1m. Default: what holds for proofs.
    pub(in crate::config) clock_skew: Option<Given<Lifetime>>,
    /// Which claims of its tokens say what. The service is told the same in any case, as `sub`, `client_id` and `scope`.
    pub(in crate::config) claims: Option<Given<TokenClaimsFile>>,
    /// How long a request to it may take; at most 30s. Nobody waits for more than two seconds.
    #[schemars(extend("default" = "5s"))]
    pub(in crate::config) timeout: Option<Given<Lifetime>>,
}

/// Which `typ` access tokens have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
pub(in crate::config) enum TokenTypeWord {
    /// `at+jwt` (RFC 9068).
    #[serde(rename = "at+jwt")]
    AccessToken,
    /// `at+jwt`, `JWT` or none. Anything else that the issuer signs for the same audience could then be taken for an access
    /// token: see to it that there is nothing.
    #[serde(rename = "JWT")]
    Jwt,
}

/// Which claims of a token say what.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenClaimsFile {
    /// Whom it speaks for.
    #[schemars(extend("default" = "sub"))]
    pub(in crate::config) subject: Option<Given<String>>,
    /// To whom it was issued. Default: `client_id`, or else `azp`.
    pub(in crate::config) client_id: Option<Given<String>>,
    /// What it allows: a text, or a list. Default: `scope`, or else `scp`.
    pub(in crate::config) scope: Option<Given<String>>,
}

/// The issuer identifier of somebody else, from where something can be fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::config) struct OtherIssuer(pub(in crate::config) IssuerName);

impl FromStr for OtherIssuer {
    type Err = FetchFault;

    fn from_str(text: &str) -> Result<Self, FetchFault> {
        let _url: FetchUrl = text.parse()?;
        text.parse().map(Self).map_err(|_| FetchFault::Url)
    }
}
