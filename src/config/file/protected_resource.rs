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
use crate::authz::{CallMethod, Condition, Method, NamePattern, PathPattern, PathPrefix};
use crate::ident::{Acr, Audience};
use crate::jose::Json;
use crate::scope::Scopes;
use crate::uri::{HttpUri, Origin, UriFault, resource_indicator};

/// A resource that the gate protects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ResourceFile {
    /// The identifier: an absolute http(s) URI without a fragment. It is the audience of tokens, and scheme, host and
    /// port are what clients reach the resource under: the `htu` of proofs must begin with them. Requests find their
    /// resource by host and port. Where several resources have the same, each has the path of its identifier and what is
    /// below it, by whole segments, and the longest path that fits decides; a request that fits none is denied. Where Envoy's
    /// configuration names the resource of a route, that one is taken whatever the path.
    #[schemars(required)]
    pub(in crate::config) resource: Option<Given<Parsed<ResourceUri>>>,
    /// What a gateway in front of Envoy takes off the path, such as `/shop`. The gate puts it back before the path that it sees
    /// and compares `htu` with that: clients sign what they ask for. `resource` is what clients see, such as
    /// `https://api.example.com/shop`; `rules` are about the path that Envoy sees. No header has a part in it,
    /// `X-Forwarded-Prefix` is not read: it is the gateway who is trusted. It must be the only one who reaches Envoy, and take
    /// off this prefix and no other, for whatever comes counts as asked for below it. A request for `/shop` must come as `/`,
    /// and counts as signed for `/shop/`. What begins with `/.well-known/` it must pass on as it is. Default: nothing is
    /// taken off.
    pub(in crate::config) stripped_prefix: Option<Given<Parsed<PathPrefix>>>,
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
    /// Where the certificate of a client is found that a token is bound to (RFC 8705).
    #[schemars(extend("default" = "connection"))]
    pub(in crate::config) client_certificate: Option<Given<CertificateSourceWord>>,
    /// Whether what the rules deny is kept out. Let a new resource be observed first, until `tollgate_checks_total` with
    /// `outcome="observed"` stands still: meanwhile everything passes, the log and Envoy's metadata (`would_be`) say what
    /// would not, and such requests have no identity headers. Where the service still checks callers itself,
    /// `upstream.authorization: keep` leaves it what it needs.
    #[schemars(extend("default" = "enforce"))]
    pub(in crate::config) enforcement: Option<Given<EnforcementWord>>,
    /// Whether proofs must carry a nonce of the gate (RFC 9449 §9).
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) nonce: Option<Given<GateNonceWord>>,
    /// The form of the access tokens that this server issues for the resource.
    #[schemars(extend("default" = "jwt"))]
    pub(in crate::config) access_token_format: Option<Given<AccessTokenFormatWord>>,
    /// What the protected service gets to see.
    pub(in crate::config) upstream: Option<Given<UpstreamFile>>,
    /// Metadata for clients (RFC 9728). With this section, which may be empty, the gate itself answers at
    /// `/.well-known/oauth-protected-resource` and the path of `resource`, to anybody, and challenges say so: clients find the authorization server,
    /// the scopes of `rules` and the binding of tokens there. Default: no metadata.
    pub(in crate::config) metadata: Option<Given<MetadataFile>>,
    /// What there is to know about the MCP server, if it is one. Needed for rules with `mcp`.
    pub(in crate::config) mcp: Option<Given<McpFile>>,
    /// What becomes of the preflight requests of browsers (CORS), where no filter of Envoy answers them.
    #[schemars(extend("default" = "judge"))]
    pub(in crate::config) cors_preflight: Option<Given<PreflightWord>>,
    /// Origins of scripts that may read what the gate itself answers, such as `https://app.example.com`, where no filter of Envoy says
    /// so: its refusals and outages get `Access-Control-Allow-Origin`, and a nonce that comes with a good answer is exposed. What else
    /// scripts may read of good answers, the service says. Default: none.
    pub(in crate::config) cors_origins: Option<Given<Vec<Given<String>>>>,
    /// Who may do what. The first rule that matches decides; a request that none matches is denied. A rule whose requests
    /// all go to an earlier one is a mistake.
    #[schemars(required)]
    pub(in crate::config) rules: Option<Given<Vec<Given<RuleFile>>>>,
}

/// What there is to know about an MCP server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct McpFile {
    /// Whether the server refuses requests whose body calls something else than `Mcp-Method` and `Mcp-Name` say, as revision
    /// 2026-07-28 of MCP has it. The gate does not see bodies: with a server that does not, whoever may call one tool could call
    /// each. Rules with `mcp` need `true`.
    #[schemars(extend("default" = false))]
    pub(in crate::config) server_checks_headers: Option<Given<bool>>,
}

/// Which calls of an MCP server a rule is about: those that are all that is said here. They are POST requests. Where such
/// rules are about a path, those without `mcp` do not count for what is posted there by clients of older revisions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CallFile {
    /// The method, such as `tools/call`. Default: any.
    pub(in crate::config) method: Option<Given<Parsed<CallMethod>>>,
    /// The name of the tool or prompt, the URI of the resource, or the beginning of one and `*`. Default: any, and none.
    pub(in crate::config) name: Option<Given<Parsed<NamePattern>>>,
    /// Whether it is about the clients of revisions before 2026-07-28 instead, whose requests do not say what they call: whatever
    /// they call. They may need each scope that any of its tools needs.
    #[schemars(extend("default" = false))]
    pub(in crate::config) undeclared: Option<Given<bool>>,
}

/// What becomes of the preflight requests of browsers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum PreflightWord {
    /// `rules` decide, as about any request.
    Judge,
    /// The service answers them. Only `OPTIONS` with `Origin` and `Access-Control-Request-Method` and without credentials is
    /// one, and only for a request that a rule is about.
    Pass,
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
    /// hand on: see `client_certificate`.
    OrCertificate,
    /// DPoP-bound tokens with a proof, and plain bearer tokens. A stolen bearer token works for the thief.
    Allowed,
    /// Plain bearer tokens only.
    Off,
}

/// Where the certificate of a client is found.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum CertificateSourceWord {
    /// In what Envoy says of its own connection: `include_peer_certificate`.
    Connection,
    /// In `X-Forwarded-Client-Cert`, where Envoy cannot say it (Envoy Gateway, Istio) or TLS ends in front of it. The proxy that
    /// ends TLS must replace what its callers send, `forward_client_cert_details: SANITIZE_SET` with
    /// `set_current_client_cert_details: { cert: true }`, nobody may get to the service around it, and `allowed_headers` of the
    /// `ext_authz` filter must have the header: with any other setting whoever has stolen a token can show the certificate too, for
    /// it is no secret. What tells of several clients, or came twice, counts as none.
    ForwardedHeader,
}

/// Whether what the rules deny is kept out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum EnforcementWord {
    /// It is.
    Enforce,
    /// Everything passes, and what would not is told.
    Observe,
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
    /// is always removed, and so is what it sent under the names of the default and `x-auth-issuer`.
    /// Where the tokens of several issuers count, the default has
    /// `"x-auth-issuer": "iss"` too: two may call people the same.
    #[schemars(extend("default" = { "x-auth-subject": "sub", "x-auth-client": "client_id", "x-auth-scope": "scope" }))]
    pub(in crate::config) headers: Option<Given<BTreeMap<String, Given<String>>>>,
    /// One more such header, which holds many claims as a JSON object in ASCII, at most 8 KiB; it is left out if there would be
    /// more. Default: none.
    pub(in crate::config) claims_header: Option<Given<ClaimsHeaderFile>>,
    /// What `authorization: internal_jwt` puts there.
    pub(in crate::config) internal_jwt: Option<Given<InternalJwtFile>>,
}

/// A header that holds many claims.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClaimsHeaderFile {
    /// Its name, in lower case.
    #[schemars(required)]
    pub(in crate::config) name: Option<Given<String>>,
    /// Which claims, where the token has them. Default: all.
    pub(in crate::config) claims: Option<Given<Vec<Given<String>>>>,
}

/// A token of the gate's own for the service. Its `iss` is the origin of the resource and `/.well-known/tollgate`; the keys to
/// verify it with are there under `/jwks.json`, which the gate itself answers. Its `typ` is `upstream+jwt`. It says what the
/// access token says with `sub`, `client_id`, `scope`, `authorization_details`, `auth_time`, `acr`, `amr`, `act` and `sid`, and
/// with `sub_iss` who has issued that.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct InternalJwtFile {
    /// Its `aud`. Default: `resource`.
    pub(in crate::config) audience: Option<Given<Parsed<Audience>>>,
    /// How long it counts, a minute at most; no longer than the access token, but five seconds at least.
    #[schemars(extend("default" = "60s"))]
    pub(in crate::config) lifetime: Option<Given<Lifetime>>,
    /// More claims of the access token that it repeats. Default: none.
    pub(in crate::config) claims: Option<Given<Vec<Given<String>>>>,
    /// A file with the private key (P-256, PKCS #8 in PEM) that it is signed with. Default: beside an `authorization_server`, keys
    /// that take turns with its signing keys and come from its store, so that all its processes have the same; else a key that each
    /// process makes when it starts. Without that store, a service behind several processes needs one here, and so does one that
    /// keeps the keys while a process starts again: they may be kept for five minutes. So does a service both behind processes
    /// with that store and behind others.
    pub(in crate::config) key_file: Option<Given<String>>,
    /// Files with keys of the same kind that are published beside that of `key_file`, and sign nothing. To change the key, name the
    /// next one here in each process, exchange the two five minutes later, and leave the old one out after five more. Default: none.
    pub(in crate::config) other_key_files: Option<Given<Vec<Given<String>>>>,
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
    /// It is replaced by a bearer token of the gate's own, for this service alone: see `internal_jwt`.
    InternalJwt,
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
    /// The calls, where an MCP server is protected. Default: see there.
    pub(in crate::config) mcp: Option<Given<CallFile>>,
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
    /// What else must hold, in the Common Expression Language: `claims.department == 'ops'`. There are `claims`; `request` with
    /// `method`, `host` (in normal form, without the port), `path` (in normal form), `query` and `headers`; and `now`, in seconds
    /// since 1970. What cannot be evaluated is not met: ask `has(claims.department)` for a claim that may be missing.
    /// Headers are named one by one and in lower case, `request.headers['x-tenant']`. Envoy sends only those that are in
    /// `allowed_headers` of its `ext_authz` filter: any other is never there, whatever the client sends, and
    /// `!('x-tenant' in request.headers)` would hold for everybody. One that came several times, or with a comma, is not
    /// met either. Credentials, `forwarded`, `x-forwarded-*`, `x-original-*`, `x-envoy-*` and overrides of the method are not there.
    /// At most 1024 bytes, with the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`, none within another or over
    /// what `map` has made, and without `matches`; loops take 20000 steps at most, and sums lead to 1 MiB of text at most.
    pub(in crate::config) when: Option<Given<Parsed<Condition>>>,
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
    pub(in crate::config) origin: Origin,
    /// Its path and all below.
    pub(in crate::config) paths: PathPrefix,
}

impl FromStr for ResourceUri {
    type Err = UriFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = HttpUri::parse(text)?;
        let (origin, paths) = (uri.origin(), PathPrefix::of(uri.path()));
        Ok(Self { audience: resource_indicator(text)?, origin, paths })
    }
}
