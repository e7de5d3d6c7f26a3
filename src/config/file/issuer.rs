//! What the file may say about other issuers.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::{AuthMethod, SigningAlgorithm};
use crate::fetch::{FetchFault, FetchUrl};
use crate::ident::{ClientId, IssuerName};

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
    /// A file with the authorities that have signed the certificates of its servers, in PEM, beside those that count anyway.
    pub(in crate::config) ca_file: Option<Given<String>>,
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
    /// How it is asked about tokens that are no JWTs (RFC 7662). Without it such tokens do not count. A resource may accept one
    /// issuer with it.
    pub(in crate::config) introspection: Option<Given<IntrospectionFile>>,
    /// Whether its JWTs must name a place in a status list, by which it revokes them. Those that do not are refused then, and
    /// count until they expire otherwise.
    #[schemars(extend("default" = false))]
    pub(in crate::config) require_status: Option<Given<bool>>,
    /// How long a status list of it counts that cannot be fetched again; at most 1h. Then the tokens that name the list are
    /// answered with 503.
    #[schemars(extend("default" = "1m"))]
    pub(in crate::config) status_list_stale: Option<Given<Lifetime>>,
    /// How long a request to it may take; at most 30s. A check waits for two seconds at most, whatever it must learn from others.
    #[schemars(extend("default" = "5s"))]
    pub(in crate::config) timeout: Option<Given<Lifetime>>,
}

/// How an issuer is asked about tokens. It must say `aud`, and `cnf` if a token is bound.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IntrospectionFile {
    /// Its introspection endpoint: an https URL, or http on loopback.
    #[schemars(required)]
    pub(in crate::config) endpoint: Option<Given<Parsed<FetchUrl>>>,
    /// What this server is called there.
    #[schemars(required)]
    pub(in crate::config) client_id: Option<Given<Parsed<ClientId>>>,
    /// How this server authenticates there: `client_secret_basic`, `client_secret_post` or `private_key_jwt`. Default: as the
    /// files below allow.
    pub(in crate::config) token_endpoint_auth_method: Option<Given<AuthMethod>>,
    /// A file with the secret, for `client_secret_basic` (the default with it) and `client_secret_post`.
    pub(in crate::config) client_secret_file: Option<Given<String>>,
    /// A file with the private key, in PEM (PKCS #8), for `private_key_jwt`. The `kid` of its assertions is the thumbprint of
    /// the key (RFC 7638).
    pub(in crate::config) client_key_file: Option<Given<String>>,
    /// A file with an assertion (RFC 7523 §2.2) that somebody else signs and renews, such as the projected token of a service
    /// account, instead of the files above. It is read for each request.
    pub(in crate::config) client_assertion_file: Option<Given<String>>,
    /// What `client_key_file` signs with.
    #[schemars(extend("default" = "ES256"))]
    pub(in crate::config) token_endpoint_auth_signing_alg: Option<Given<SigningAlgorithm>>,
    /// How long an answer counts, and so how much later it is known here that a token was revoked; at most 5m.
    #[schemars(extend("default" = "30s"))]
    pub(in crate::config) cache: Option<Given<Lifetime>>,
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
