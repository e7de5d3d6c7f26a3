//! Authorization server metadata (RFC 8414 §2) and where things are.

use serde_json::{Value, json};

use super::authorize::ResponseMode;
use super::client::GrantType;
use super::{AuthorizationServer, Profile, Settings, id_token, standard_claims};
use crate::dpop::Htu;
use crate::jose::{Algorithm, PROOF_ALGORITHMS};
use crate::scope::Scope;
use crate::uri::HttpUri;

/// The path of the token endpoint, below the issuer.
pub const TOKEN: &str = "/oauth/token";
/// The path of the authorization endpoint, below the issuer.
pub const AUTHORIZE: &str = "/oauth/authorize";
/// The path of the UserInfo endpoint, below the issuer.
pub const USERINFO: &str = "/oauth/userinfo";
/// The path at which people sign out, below the issuer.
pub const LOGOUT: &str = "/logout";
/// The path of the device authorization endpoint, below the issuer.
pub const DEVICE_AUTHORIZATION: &str = "/oauth/device_authorization";
/// The path of the pushed authorization request endpoint, below the issuer.
pub const PUSHED_AUTHORIZATION_REQUEST: &str = "/oauth/par";
/// The path at which people enter user codes, below the issuer.
pub const ACTIVATE: &str = "/activate";
/// The path to which they come back from signing in, below the issuer.
pub const ACTIVATE_CALLBACK: &str = "/activate/callback";
/// The path at which people see what they have allowed, below the issuer.
pub const ACCOUNT: &str = "/account";
/// The path to which they come back from signing in, below the issuer.
pub const ACCOUNT_CALLBACK: &str = "/account/callback";
/// The path at which an upstream provider gives people back, below the issuer.
pub const LOGIN_CALLBACK: &str = "/login/callback";
/// The path of the revocation endpoint, below the issuer.
pub const REVOKE: &str = "/oauth/revoke";
/// The path of the introspection endpoint, below the issuer.
pub const INTROSPECT: &str = "/oauth/introspect";
/// The path of the registration endpoint, below the issuer.
pub const REGISTER: &str = "/oauth/register";
/// What the paths of registered clients begin with, below the issuer; their `client_id` follows.
pub const REGISTERED: &str = "/oauth/register/";
/// What the paths of status lists begin with, below the issuer; the number of the list follows.
pub const STATUS_LIST: &str = "/oauth/status/";
/// The path at which all status lists are named, below the issuer.
pub const STATUS_LIST_AGGREGATION: &str = "/oauth/status";
/// The path of the key set, below the issuer.
pub const JWKS: &str = "/oauth/jwks";

/// The languages of the pages, by their tags (OpenID Connect Discovery §3 `ui_locales_supported`).
pub const UI_LOCALES: [&str; 2] = ["en", "de"];

/// The endpoints that clients call directly, which may have an address of their own for certificates (RFC 8705 §5).
const ALIASED: [(&str, &str); 6] = [
    ("token_endpoint", TOKEN),
    ("revocation_endpoint", REVOKE),
    ("introspection_endpoint", INTROSPECT),
    ("device_authorization_endpoint", DEVICE_AUTHORIZATION),
    ("pushed_authorization_request_endpoint", PUSHED_AUTHORIZATION_REQUEST),
    ("userinfo_endpoint", USERINFO),
];

impl Settings {
    /// The URL of a path below the issuer.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// The path of the issuer, without a trailing slash; empty for most.
    #[must_use]
    pub fn base(&self) -> String {
        let issuer = HttpUri::parse(self.issuer.as_str()).expect("the issuer is an http(s) URL");
        issuer.path().trim_end_matches('/').to_owned()
    }

    /// The URL of a path below the issuer for clients with certificates, if that is another (RFC 8705 §5).
    pub(super) fn mtls_url(&self, path: &str) -> Option<String> {
        let origin = self.mtls_origin.as_ref()?;
        Some(format!("{origin}{}{path}", self.base()))
    }

    /// The URL of an authorization request with this query.
    pub(super) fn authorization_request(&self, query: &str) -> String {
        match &self.external_login {
            Some(endpoint) => endpoint.with_query(query),
            None => format!("{}?{query}", self.url(AUTHORIZE)),
        }
    }

    /// The URL of the authorization endpoint, ours or that of somebody else.
    #[must_use]
    pub fn authorization_endpoint(&self) -> String {
        self.external_login.as_ref().map_or_else(|| self.url(AUTHORIZE), |endpoint| endpoint.as_str().to_owned())
    }
}

impl AuthorizationServer {
    /// The metadata document (RFC 8414 §2); says exactly what holds.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let (settings, profile) = (&self.settings, self.settings.profile);
        let registers = settings.registration.as_ref().map(|registration| &registration.policy.scopes);
        let documented = settings.client_id_documents.as_ref().map(|documents| &documents.policy.scopes);
        let unwritten = registers.into_iter().chain(documented);
        let openid = self.clients.values().map(|client| &client.scopes).chain(unwritten).any(id_token::is_asked_for);
        let is_offered =
            |scope: &&Scope| openid || !id_token::OPENID_SCOPES.iter().any(|(name, ..)| scope.as_str() == *name);
        let scopes: Vec<_> = settings.scopes.keys().filter(is_offered).map(ToString::to_string).collect();
        let by_form = ResponseMode::BY_FORM.into_iter().filter(|_| settings.external_login.is_none());
        let response_modes: Vec<_> = ResponseMode::BY_ADDRESS.into_iter().chain(by_form).collect();
        let mut document = json!({
            "issuer": settings.issuer.as_str(),
            "authorization_endpoint": settings.authorization_endpoint(),
            "token_endpoint": settings.url(TOKEN),
            "device_authorization_endpoint": settings.url(DEVICE_AUTHORIZATION),
            "pushed_authorization_request_endpoint": settings.url(PUSHED_AUTHORIZATION_REQUEST),
            "require_pushed_authorization_requests": settings.require_pushed_requests || profile.is_fapi(),
            "jwks_uri": settings.url(JWKS),
            "response_types_supported": ["code"],
            "response_modes_supported": response_modes,
            "authorization_signing_alg_values_supported": [self.keys.signs_with().name()], // JARM §4
            "grant_types_supported": GrantType::ALL.map(GrantType::name),
            "revocation_endpoint": settings.url(REVOKE),
            "introspection_endpoint": settings.url(INTROSPECT),
            "introspection_signing_alg_values_supported": [self.keys.signs_with().name()],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "dpop_signing_alg_values_supported": names(PROOF_ALGORITHMS),
            "request_parameter_supported": true,
            "request_object_signing_alg_values_supported": names(profile.assertion_algorithms()),
            "request_uri_parameter_supported": false,
            "ui_locales_supported": UI_LOCALES,
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "display_values_supported": ["page"],
            "protected_resources": settings.resources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        if openid {
            // OpenID Connect Discovery §3.
            const OF_SIGN_INS: [&str; 10] =
                ["iss", "sub", "aud", "exp", "iat", "auth_time", "acr", "nonce", "at_hash", "sid"];
            let standard = standard_claims::BY_SCOPE.iter().flat_map(|(_, names)| names.iter().copied());
            let claims: Vec<_> = OF_SIGN_INS.into_iter().chain(standard).collect();
            document["userinfo_endpoint"] = settings.url(USERINFO).into();
            if settings.external_login.is_none() {
                document["end_session_endpoint"] = settings.url(LOGOUT).into(); // sessions are not ours to end
            }
            document["subject_types_supported"] = json!(["public", "pairwise"]);
            document["id_token_signing_alg_values_supported"] = json!([self.keys.signs_with().name()]);
            document["claim_types_supported"] = json!(["normal"]);
            document["claims_parameter_supported"] = true.into();
            document["backchannel_logout_supported"] = true.into();
            document["backchannel_logout_session_supported"] = settings.external_login.is_none().into();
            document["claims_supported"] = claims.into();
            if !settings.acr_values.is_empty() {
                let values: Vec<_> = settings.acr_values.iter().map(ToString::to_string).collect();
                document["acr_values_supported"] = values.into();
            }
        }
        if settings.client_id_documents.is_some() {
            document["client_id_metadata_document_supported"] = true.into();
        }
        if settings.status_lists.is_some() {
            // draft-ietf-oauth-status-list-20 §9.1
            document["status_list_aggregation_endpoint"] = settings.url(STATUS_LIST_AGGREGATION).into();
        }
        if settings.registration.is_some() {
            document["registration_endpoint"] = settings.url(REGISTER).into();
        }
        if settings.mutual_tls {
            document["tls_client_certificate_bound_access_tokens"] = true.into(); // RFC 8705 §3.3
            let aliased = ALIASED.into_iter().filter(|(name, _)| document.get(*name).is_some());
            let aliases = aliased.filter_map(|(name, path)| Some((name.to_owned(), settings.mtls_url(path)?.into())));
            let aliases: serde_json::Map<String, Value> = aliases.collect();
            if !aliases.is_empty() {
                document["mtls_endpoint_aliases"] = aliases.into();
            }
        }
        for (endpoint, public) in [("token", true), ("revocation", true), ("introspection", false)] {
            document[format!("{endpoint}_endpoint_auth_methods_supported")] = self.auth_methods(public).into();
            document[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")] =
                names(profile.assertion_algorithms()).into();
        }
        if !settings.details.is_empty() {
            document["authorization_details_types_supported"] = settings.details.keys().cloned().collect();
        }
        if !scopes.is_empty() {
            document["scopes_supported"] = scopes.into(); // RFC 8414 §3.2: no empty arrays
        }
        document
    }

    /// How clients authenticate at an endpoint that public ones may use too, or not.
    fn auth_methods(&self, public: bool) -> Vec<&'static str> {
        let mut methods = vec!["private_key_jwt"];
        match self.settings.profile {
            Profile::Default => methods.extend(["client_secret_basic", "client_secret_post"]),
            Profile::Fapi2 => {} // FAPI 2.0 §5.3.2.1-6
        }
        if public && !self.settings.profile.is_fapi() {
            methods.push("none");
        }
        if self.settings.mutual_tls {
            methods.extend(["tls_client_auth", "self_signed_tls_client_auth"]);
        }
        for method in self.workload_issuers.iter().map(|issuer| issuer.platform.method()) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods
    }

    /// What a proof at the token endpoint must be signed for.
    pub(super) fn token_endpoint(&self) -> Htu<'_> {
        Htu::parse(&self.token_url).expect("the issuer is an http(s) URL")
    }

    /// What a proof at the UserInfo endpoint must be signed for.
    pub(super) fn userinfo_endpoint(&self) -> Htu<'_> {
        Htu::parse(&self.userinfo_url).expect("the issuer is an http(s) URL")
    }

    /// What a proof at the device authorization endpoint must be signed for.
    pub(super) fn device_authorization_endpoint(&self) -> Htu<'_> {
        Htu::parse(&self.device_authorization_url).expect("the issuer is an http(s) URL")
    }

    /// What a proof at the pushed authorization request endpoint must be signed for.
    pub(super) fn pushed_request_endpoint(&self) -> Htu<'_> {
        Htu::parse(&self.pushed_request_url).expect("the issuer is an http(s) URL")
    }
}

fn names(algorithms: &[Algorithm]) -> Vec<&'static str> {
    algorithms.iter().map(|algorithm| algorithm.name()).collect()
}
