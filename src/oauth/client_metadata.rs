//! What a client says of itself (RFC 7591 §2), when it registers or in a document at its `client_id`, judged.
//!
//! | what it says | then |
//! |---|---|
//! | something that nobody here has a use for, `client_uri` and `logo_uri` among it | it is ignored, as §2 asks, and not fetched |
//! | scopes and grants that it may not have | they are left out, as §2 allows, and the answer says what is left |
//! | something of the wrong form, or that contradicts itself | it is refused, and nothing is registered |
//!
//! What an operator writes down is judged in `config::client`, which has places to point at and advice to give; the rules
//! are the same, and what they rest on (grants, redirect URIs, keys, profiles) is asked of the same types.
//!
//! Invariant: no operator has seen any of it. Names are shown as unverified, redirect URIs are not trusted, and secrets are
//! ours to make.

use serde_json::json;

use super::Refusal;
use super::client::{
    Client, ClientAuthentication, ClientKeys, ClientOrigin, GrantType, KeysAt, OpenIdRules, Profile,
    RefreshTokenRotation, RequestRules,
};
use crate::fetch::{FetchUrl, Reach};
use crate::ident::ClientId;
use crate::jose::{Algorithm, Json, Members, PublicKey};
use crate::scope::Scopes;
use crate::secret::ClientSecretHash;
use crate::token::AccessTokenFormat;
use crate::uri::RedirectUri;

/// The most redirect URIs of a client, and the most keys.
const LIST_LIMIT: usize = 20;

/// The longest name of a client, in characters: people are shown it.
const NAME_LIMIT: usize = 200;

/// What clients may have that no operator has written down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientPolicy {
    /// The grants that they may use.
    pub grant_types: Vec<GrantType>,
    /// The scopes that they may ask for.
    pub scopes: Scopes,
    /// The rules that they must keep: those of the server.
    pub profile: Profile,
    /// Which addresses may be asked for what they keep elsewhere.
    pub reach: Reach,
}

/// Where metadata comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// From a registration: the client gets a secret if it asks for one.
    Registration,
    /// From a document that anybody may read: there are no secrets in it.
    Document,
}

/// How the client authenticates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    None,
    SecretBasic,
    SecretPost,
    PrivateKeyJwt,
}

impl Method {
    const ALL: [Self; 4] = [Self::None, Self::SecretBasic, Self::SecretPost, Self::PrivateKeyJwt];

    /// The value of `token_endpoint_auth_method`.
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SecretBasic => "client_secret_basic",
            Self::SecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// Whether it needs a secret.
    pub(super) const fn has_secret(self) -> bool {
        match self {
            Self::SecretBasic | Self::SecretPost => true,
            Self::None | Self::PrivateKeyJwt => false,
        }
    }
}

/// The metadata of a client, judged.
#[derive(Debug)]
pub(super) struct ClientMetadata {
    name: Option<String>,
    pub(super) method: Method,
    algorithm: Option<Algorithm>,
    grant_types: Vec<GrantType>,
    redirect_uris: Vec<RedirectUri>,
    post_logout_redirect_uris: Vec<RedirectUri>,
    scopes: Scopes,
    keys: Option<ClientKeys>,
    /// `jwks` as it was given: the answer repeats it.
    jwks: Option<Json>,
    dpop_bound: bool,
    pushed_only: bool,
    signed_only: bool,
    object_algorithm: Option<Algorithm>,
    profile: Profile,
}

impl ClientMetadata {
    /// Judges metadata.
    ///
    /// # Errors
    /// A [`Refusal`] of registrations.
    pub(super) fn judge(members: &Members, policy: &ClientPolicy, source: Source) -> Result<Self, Refusal> {
        if present(members, "software_statement").is_some() {
            return Err(Refusal::SoftwareStatementUnapproved); // nobody's are trusted here
        }
        let method = method(members, policy.profile, source)?;
        let grant_types = grant_types(members, policy, method)?;
        let redirects = grant_types.contains(&GrantType::AuthorizationCode);
        let uris = redirect_uris(members, "redirect_uris")?;
        if redirects && uris.is_empty() {
            return Err(Refusal::MetadataRedirectUriWrong); // §2: such clients "MUST register" them
        }
        let algorithm = algorithm(members, "token_endpoint_auth_signing_alg", policy.profile)?;
        let object_algorithm = self::algorithm(members, "request_object_signing_alg", policy.profile)?;
        let signed_only = flag(members, "require_signed_request_object")?;
        let keys = keys(members, policy.reach)?;
        let needs_keys = method == Method::PrivateKeyJwt || signed_only || object_algorithm.is_some();
        if needs_keys && keys.is_none() {
            return Err(Refusal::MetadataKeysWrong);
        }
        if let Some(ClientKeys::Registered(keys)) = &keys {
            let signs = |algorithm: Algorithm| keys.iter().any(|key| key.fits(algorithm));
            if ![algorithm, object_algorithm].into_iter().flatten().all(signs) {
                return Err(Refusal::MetadataKeysWrong);
            }
        }
        Ok(Self {
            name: name(members)?,
            method,
            algorithm,
            grant_types,
            redirect_uris: uris,
            post_logout_redirect_uris: redirect_uris(members, "post_logout_redirect_uris")?,
            scopes: scopes(members, policy)?,
            keys,
            jwks: present(members, "jwks").cloned(),
            dpop_bound: flag(members, "dpop_bound_access_tokens")? || policy.profile.is_fapi(),
            pushed_only: flag(members, "require_pushed_authorization_requests")?,
            signed_only,
            object_algorithm,
            profile: policy.profile,
        })
    }

    /// Everything that is registered (RFC 7591 §3.2.1), as it can be judged again.
    pub(super) fn to_members(&self) -> Members {
        let uris = |uris: &[RedirectUri]| uris.iter().map(|uri| Json::from(uri.as_str())).collect::<Json>();
        let mut members = Members::new();
        let mut put = |name: &str, value: Json| members.insert(name.to_owned(), value);
        put("token_endpoint_auth_method", self.method.name().into());
        put("grant_types", self.grant_types.iter().map(|grant| grant.name()).collect());
        let code = self.grant_types.contains(&GrantType::AuthorizationCode);
        put("response_types", if code { json!(["code"]) } else { json!([]) });
        put("redirect_uris", uris(&self.redirect_uris));
        put("scope", self.scopes.to_string().into());
        put("dpop_bound_access_tokens", self.dpop_bound.into());
        if let Some(name) = &self.name {
            put("client_name", name.as_str().into());
        }
        if !self.post_logout_redirect_uris.is_empty() {
            put("post_logout_redirect_uris", uris(&self.post_logout_redirect_uris));
        }
        if self.pushed_only {
            put("require_pushed_authorization_requests", true.into());
        }
        if self.signed_only {
            put("require_signed_request_object", true.into());
        }
        for (name, algorithm) in
            [("token_endpoint_auth_signing_alg", self.algorithm), ("request_object_signing_alg", self.object_algorithm)]
        {
            if let Some(algorithm) = algorithm {
                put(name, algorithm.name().into());
            }
        }
        match (&self.keys, &self.jwks) {
            (Some(ClientKeys::Published(at)), _) => {
                put("jwks_uri", at.url.as_str().into());
            }
            (Some(ClientKeys::Registered(_)), Some(jwks)) => {
                put("jwks", jwks.clone());
            }
            (Some(ClientKeys::Registered(_)) | None, _) => {}
        }
        members
    }

    /// Whether the client acts for people only: each of its grants begins with one who lets it in.
    pub(super) fn is_for_people(&self) -> bool {
        !self.grant_types.iter().any(|grant| grant.needs_authentication())
    }

    /// The client; `None` if it lacks the secret that it should have.
    pub(super) fn into_client(
        self,
        id: ClientId,
        secret: Option<ClientSecretHash>,
        origin: ClientOrigin,
    ) -> Option<Client> {
        let is_by_key = self.method == Method::PrivateKeyJwt;
        let (own, others) = if is_by_key { (self.keys, None) } else { (None, self.keys) };
        let authentication = match self.method {
            Method::None => ClientAuthentication::None,
            Method::SecretBasic => ClientAuthentication::SecretBasic(secret?),
            Method::SecretPost => ClientAuthentication::SecretPost(secret?),
            Method::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt { keys: own?, algorithm: self.algorithm },
        };
        let rotation = if self.profile.is_fapi() { RefreshTokenRotation::Never } else { RefreshTokenRotation::Always };
        Some(Client {
            name: self.name.unwrap_or_else(|| id.as_str().to_owned()),
            id,
            origin,
            authentication,
            grant_types: self.grant_types,
            redirect_uris: self.redirect_uris,
            post_logout_redirect_uris: self.post_logout_redirect_uris,
            scopes: self.scopes,
            dpop_bound_access_tokens: self.dpop_bound,
            certificate_bound_access_tokens: false,
            access_token_format: AccessTokenFormat::default(),
            rotation,
            requests: RequestRules {
                pushed_only: self.pushed_only,
                signed_only: self.signed_only,
                object_algorithm: self.object_algorithm,
                detail_types: Vec::new(),
                object_keys: others,
                pkce_optional: false,
            },
            openid: OpenIdRules::default(),
            profile: self.profile,
            introspects: Vec::new(),
            exchange: None,
        })
    }
}

/// A member that says something: `null` is as good as none (RFC 7592 §2.2).
fn present<'a>(members: &'a Members, name: &str) -> Option<&'a Json> {
    members.get(name).filter(|value| !value.is_null())
}

/// A member that is text.
pub(super) fn text<'a>(members: &'a Members, name: &str) -> Result<Option<&'a str>, Refusal> {
    present(members, name).map(|value| value.as_str().ok_or(Refusal::MetadataMalformed)).transpose()
}

/// A member that is true or false; false if it is not there.
fn flag(members: &Members, name: &str) -> Result<bool, Refusal> {
    present(members, name).map_or(Ok(false), |value| value.as_bool().ok_or(Refusal::MetadataMalformed))
}

/// A member that is a list of texts.
fn texts<'a>(members: &'a Members, name: &str) -> Result<Option<Vec<&'a str>>, Refusal> {
    let Some(value) = present(members, name) else { return Ok(None) };
    let items = value.as_array().filter(|items| items.len() <= LIST_LIMIT).ok_or(Refusal::MetadataMalformed)?;
    let items: Option<Vec<_>> = items.iter().map(Json::as_str).collect();
    items.map(Some).ok_or(Refusal::MetadataMalformed)
}

/// `token_endpoint_auth_method`. RFC 7591 §2: `client_secret_basic` if there is none; a document says `none` then, since it
/// can hold no secret (draft-ietf-oauth-client-id-metadata-document-02).
fn method(members: &Members, profile: Profile, source: Source) -> Result<Method, Refusal> {
    let default = match source {
        Source::Registration => Method::SecretBasic,
        Source::Document => Method::None,
    };
    let method = match text(members, "token_endpoint_auth_method")? {
        Some(name) => Method::ALL.into_iter().find(|method| method.name() == name),
        None => Some(default),
    };
    let offered = |method: &Method| match (profile, source) {
        (Profile::Fapi2, _) => *method == Method::PrivateKeyJwt, // FAPI 2.0 §5.3.2.1-6
        (Profile::Default, Source::Registration) => true,
        (Profile::Default, Source::Document) => !method.has_secret(),
    };
    let secret = present(members, "client_secret").or_else(|| present(members, "client_secret_expires_at"));
    if source == Source::Document && secret.is_some() {
        return Err(Refusal::MetadataMethodWrong);
    }
    method.filter(offered).ok_or(Refusal::MetadataMethodWrong)
}

/// `grant_types` and `response_types`, which must say the same (RFC 7591 §2.1).
fn grant_types(members: &Members, policy: &ClientPolicy, method: Method) -> Result<Vec<GrantType>, Refusal> {
    let wrong = Refusal::MetadataGrantsWrong;
    let asked = texts(members, "grant_types")?.unwrap_or_else(|| vec![GrantType::AuthorizationCode.name()]);
    let mut grants: Vec<_> = asked.iter().filter_map(|name| GrantType::named(name)).collect();
    grants.sort_unstable();
    grants.dedup();
    let may_use = |grant: &GrantType| {
        policy.grant_types.contains(grant) && (method != Method::None || !grant.needs_authentication())
    };
    grants.retain(may_use);
    if !grants.iter().any(|grant| grant.asks_a_person()) {
        grants.retain(|grant| *grant != GrantType::RefreshToken);
    }
    if grants.is_empty() {
        return Err(wrong);
    }
    let code = GrantType::AuthorizationCode;
    let asks_for_code = asked.contains(&code.name());
    let responses = match texts(members, "response_types")? {
        Some(types) => types.contains(&"code"),
        None => asks_for_code,
    };
    if responses == asks_for_code && asks_for_code == grants.contains(&code) { Ok(grants) } else { Err(wrong) }
}

/// A list of redirect URIs, each as strict as in the configuration.
fn redirect_uris(members: &Members, name: &str) -> Result<Vec<RedirectUri>, Refusal> {
    let wrong = Refusal::MetadataRedirectUriWrong;
    let uris = texts(members, name).map_err(|_| wrong)?.unwrap_or_default();
    uris.into_iter().map(|uri| uri.parse().map_err(|_| wrong)).collect()
}

/// `scope`: what is asked for and may be had; everything that may be had, if nothing is asked for.
fn scopes(members: &Members, policy: &ClientPolicy) -> Result<Scopes, Refusal> {
    let Some(asked) = text(members, "scope")?.filter(|asked| !asked.is_empty()) else {
        return Ok(policy.scopes.clone());
    };
    let asked: Scopes = asked.parse().map_err(|_| Refusal::MetadataScopeWrong)?;
    let granted: Scopes = asked.iter().filter(|scope| policy.scopes.contains(scope)).cloned().collect();
    if granted.is_empty() && !policy.scopes.is_empty() { Err(Refusal::MetadataScopeWrong) } else { Ok(granted) }
}

/// `client_name`.
fn name(members: &Members) -> Result<Option<String>, Refusal> {
    let Some(name) = text(members, "client_name")? else { return Ok(None) };
    let readable = (1..=NAME_LIMIT).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if readable { Ok(Some(name.to_owned())) } else { Err(Refusal::MetadataMalformed) }
}

/// An algorithm that the profile allows.
fn algorithm(members: &Members, name: &str, profile: Profile) -> Result<Option<Algorithm>, Refusal> {
    let Some(text) = text(members, name)? else { return Ok(None) };
    let known = Algorithm::among(profile.assertion_algorithms(), text);
    known.map(Some).ok_or(Refusal::MetadataKeysWrong)
}

/// `jwks` or `jwks_uri`, not both (RFC 7591 §2).
fn keys(members: &Members, reach: Reach) -> Result<Option<ClientKeys>, Refusal> {
    let wrong = Refusal::MetadataKeysWrong;
    match (present(members, "jwks"), present(members, "jwks_uri")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(wrong),
        (Some(jwks), None) => {
            let keys = jwks.as_object().and_then(|jwks| jwks.get("keys")).and_then(Json::as_array).ok_or(wrong)?;
            if !(1..=LIST_LIMIT).contains(&keys.len()) {
                return Err(wrong);
            }
            let key = |key: &Json| PublicKey::from_jwk(key.as_object().ok_or(wrong)?).map_err(|_| wrong);
            keys.iter().map(key).collect::<Result<Vec<_>, _>>().map(|keys| Some(ClientKeys::Registered(keys)))
        }
        (None, Some(uri)) => {
            let url: FetchUrl = uri.as_str().and_then(|uri| uri.parse().ok()).ok_or(wrong)?;
            if !url.may_be_within(reach) {
                return Err(wrong);
            }
            Ok(Some(ClientKeys::Published(KeysAt { url, reach })))
        }
    }
}
