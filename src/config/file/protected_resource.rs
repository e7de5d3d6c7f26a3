//! What the file may say about what the gate protects.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::super::duration::Lifetime;
use super::super::given::{Given, Parsed};
use super::client::AccessTokenFormatWord;
use crate::authz::{Method, PathPattern};
use crate::ident::{Acr, Audience};
use crate::jose::Json;
use crate::scope::Scopes;

/// A resource that the gate protects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ResourceFile {
    /// The identifier: an absolute http(s) URI without a fragment. It is the audience of tokens, and scheme, host and
    /// port are what clients reach the resource under: the `htu` of proofs must begin with them. Requests find their
    /// resource by host and port, so no two resources may have the same.
    #[schemars(required)]
    pub(in crate::config) resource: Option<Given<Parsed<ResourceUri>>>,
    /// Whose tokens count: `self`, which is the `authorization_server` of this file, or the issuer identifiers of others. What
    /// there is to say about one of those stands under `issuers`. Required if there is no `authorization_server`.
    #[schemars(extend("default" = ["self"]))]
    pub(in crate::config) authorization_servers: Option<Given<Vec<Given<String>>>>,
    /// What tokens of others may have in `aud`, one of them at least. Those of `self` always have `resource` there.
    /// Default: `resource`.
    pub(in crate::config) audiences: Option<Given<Vec<Given<Parsed<Audience>>>>>,
    /// Whether tokens must be bound to a key.
    #[schemars(extend("default" = "required"))]
    pub(in crate::config) dpop: Option<Given<DpopWord>>,
    /// Whether proofs must carry a nonce of the gate (RFC 9449 §9).
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) nonce: Option<Given<GateNonceWord>>,
    /// The form of the access tokens that this server issues for the resource.
    #[schemars(extend("default" = "jwt"))]
    pub(in crate::config) access_token_format: Option<Given<AccessTokenFormatWord>>,
    /// What the protected service gets to see.
    pub(in crate::config) upstream: Option<Given<UpstreamFile>>,
    /// Metadata for clients (RFC 9728). With this section, which may be empty, the gate itself answers at
    /// `/.well-known/oauth-protected-resource`, to anybody, and challenges say so: clients find the authorization server,
    /// the scopes of `rules` and the binding of tokens there. Default: no metadata.
    pub(in crate::config) metadata: Option<Given<MetadataFile>>,
    /// Who may do what. The first rule that matches decides; a request that none matches is denied. A rule whose requests
    /// all go to an earlier one is a mistake.
    #[schemars(required)]
    pub(in crate::config) rules: Option<Given<Vec<Given<RuleFile>>>>,
}

/// What people are told about a resource (RFC 9728 §2).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are those of RFC 9728")]
pub(in crate::config) struct MetadataFile {
    /// Its name: 1 to 200 characters. Default: none.
    pub(in crate::config) resource_name: Option<Given<String>>,
    /// The URL of its documentation for developers. Default: none.
    pub(in crate::config) resource_documentation: Option<Given<String>>,
    /// The URL of what clients may do with its data. Default: none.
    pub(in crate::config) resource_policy_uri: Option<Given<String>>,
    /// The URL of its terms of service. Default: none.
    pub(in crate::config) resource_tos_uri: Option<Given<String>>,
}

/// Whether tokens must be bound to a key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum DpopWord {
    /// Only DPoP-bound tokens, with a proof.
    Required,
    /// DPoP-bound tokens with a proof, and tokens that are bound to the client's certificate (RFC 8705), which Envoy must
    /// hand on: `include_peer_certificate`.
    OrCertificate,
    /// DPoP-bound tokens with a proof, and plain bearer tokens. A stolen bearer token works for the thief.
    Allowed,
    /// Plain bearer tokens only.
    Off,
}

/// Whether proofs must carry a nonce of the gate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum GateNonceWord {
    /// No.
    Off,
    /// Yes: proofs made ahead of time are worthless.
    Required,
}

/// What the protected service gets to see.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct UpstreamFile {
    /// What becomes of the `Authorization` header. `DPoP` is always removed.
    #[schemars(extend("default" = "remove"))]
    pub(in crate::config) authorization: Option<Given<UpstreamAuthorizationWord>>,
    /// Headers that tell the service who is asking, each with the claim it holds. What the caller sent under these names
    /// is always removed.
    /// Where the tokens of several issuers count, the default has
    /// `"x-auth-issuer": "iss"` too: two may call people the same.
    #[schemars(extend("default" = { "x-auth-subject": "sub", "x-auth-client": "client_id", "x-auth-scope": "scope" }))]
    pub(in crate::config) headers: Option<Given<BTreeMap<String, Given<String>>>>,
}

/// What becomes of the `Authorization` header.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum UpstreamAuthorizationWord {
    /// It is removed.
    Remove,
    /// The token is passed on as a plain bearer token.
    Bearer,
    /// It is passed on as it came.
    Keep,
}

/// Who may send a kind of request. Beside `path` and `methods`, either `allow`, or what is asked of tokens, or
/// `allow: authenticated` with it; a token must meet all that is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RuleFile {
    /// The path: `/a` itself, `/a/*` one segment more, `/a/**` it and everything below.
    #[schemars(required)]
    pub(in crate::config) path: Option<Given<Parsed<PathPattern>>>,
    /// The methods. Default: all. `TRACE` and `CONNECT` are always refused.
    pub(in crate::config) methods: Option<Given<Vec<Given<Parsed<Method>>>>>,
    /// The scopes that a token must have, separated by spaces; all of them.
    pub(in crate::config) scope: Option<Given<Parsed<Scopes>>>,
    /// Scopes of which one is enough. Each item may be several scopes, separated by spaces, all of which it takes then.
    /// Challenges and metadata name the first item only: clients ask for all that they are told.
    pub(in crate::config) any_scope: Option<Given<Vec<Given<Parsed<Scopes>>>>>,
    /// What must be among the `authorization_details` of a token (RFC 9396): all of these.
    pub(in crate::config) authorization_details: Option<Given<Vec<Given<DetailFile>>>>,
    /// Claims that a token must have, each with the value, or with a list of values of which one is enough. A claim that is
    /// a list itself must hold one of them. Texts, numbers and truth values are compared as they are.
    pub(in crate::config) claims: Option<Given<BTreeMap<String, Given<ClaimValues>>>>,
    /// How people must have signed in: one of these `acr` values, the best first. A client whose user has not is told to
    /// have him sign in so (RFC 9470).
    pub(in crate::config) acr: Option<Given<Vec<Given<Parsed<Acr>>>>>,
    /// How long ago people may have signed in. A client whose user has not is told to have him sign in again (RFC 9470).
    /// Renewing a token is no sign-in.
    pub(in crate::config) max_age: Option<Given<Lifetime>>,
    /// Who may come without a particular scope.
    pub(in crate::config) allow: Option<Given<AllowWord>>,
}

/// What must be among the `authorization_details` of a token.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DetailFile {
    /// Its `type`.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub(in crate::config) detail_type: Option<Given<String>>,
    /// What its `actions` must hold, all of it. Default: nothing.
    pub(in crate::config) actions: Option<Given<Vec<Given<String>>>>,
}

/// Values of a claim, of which one is enough.
#[derive(Clone, Debug)]
pub(in crate::config) struct ClaimValues(pub(in crate::config) Vec<Json>);

impl<'de> Deserialize<'de> for ClaimValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = match Json::deserialize(deserializer)? {
            Json::Array(values) => values,
            value => vec![value],
        };
        let plain = |value: &Json| matches!(value, Json::String(_) | Json::Number(_) | Json::Bool(_));
        if values.is_empty() || !values.iter().all(plain) {
            return Err(D::Error::custom("must be text, a number, true or false, or a list of them"));
        }
        Ok(Self(values))
    }
}

impl JsonSchema for ClaimValues {
    fn schema_name() -> Cow<'static, str> {
        "ClaimValues".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let plain = ["string", "number", "boolean"];
        schemars::json_schema!({ "anyOf": [
            { "type": plain }, { "type": "array", "minItems": 1, "items": { "type": plain } },
        ] })
    }
}

/// Who may come without a particular scope.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AllowWord {
    /// Anybody, without a token.
    Anyone,
    /// Whoever has a valid token for this resource.
    Authenticated,
}

/// A resource identifier, which is an audience and has an origin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::config) struct ResourceUri {
    /// What `aud` holds.
    pub(in crate::config) audience: Audience,
    /// Where it is reached.
    pub(in crate::config) origin: crate::uri::Origin,
}

impl FromStr for ResourceUri {
    type Err = crate::uri::UriFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { audience: crate::uri::resource_indicator(text)?, origin: text.parse()? })
    }
}
