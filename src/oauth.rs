//! The rules of the authorization server.
//!
//! Ruled by RFC 6749, RFC 7009, RFC 7591, RFC 7592, RFC 7636, RFC 7662, RFC 8414, RFC 8628, RFC 8693, RFC 8705, RFC 9068, RFC 9101, RFC 9126,
//! RFC 9207, RFC 9449, RFC 9700 and OpenID Connect Core. Methods of [`AuthorizationServer`]
//! are its endpoints.
//!
//! Invariant: knows no transport and no concrete store; a request that fails a check changes nothing; what costs the
//! caller something is spent last.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::Authorities;
use crate::dpop::{Fence, Nonces, ProofKeys, Window};
use crate::entropy::Entropy;
use crate::ident::{Acr, Audience, ClientId, Issuer, Resources, Subject};
use crate::identity::{Login, People, Person};
use crate::keys::SigningKeys;
use crate::replay::ReplayGuard;
use crate::scope::{Scope, Scopes};
use crate::secret::ClientSecretHash;
use crate::secret::rotation::RotatingKey;
use crate::secret::seal::RootKey;
use crate::store::{Endings, Store, Unavailable};
use crate::uri::Origin;

mod account;
mod activation;
mod administration;
mod authorization_details;
mod authorize;
mod backchannel_logout;
pub mod client;
mod client_assertion;
mod client_authentication;
mod client_document;
mod client_metadata;
mod clients;
mod device;
mod error;
mod first_party;
mod grant;
pub mod id_token;
mod introspect;
mod issue;
pub mod metadata;
mod own_token;
mod par;
pub mod params;
pub mod pkce;
mod published_keys;
mod rates;
mod refusal;
mod register;
mod request_object;
mod revoke;
mod sign_out;
mod standard_claims;
mod status;
mod token;
mod userinfo;
mod words;
pub mod workload;

pub use account::{Account, AccountNotice, AllowedClient, Began, GRANTS_SHOWN};
pub use activation::{CodeFault, ConfirmDevice, EnterCode};
pub use administration::{ClientCursor, ListedClient};
pub use authorization_details::{DetailShown, DetailType};
pub use authorize::{
    Answer, Asking, Begun, Browser, Consent, Cookie, DenyReason, ExternalApproval, ExternalEndpoint,
    ExternalEndpointFault, Form, Hints, Redirect, SignIn, SignInFault, View,
};
pub use backchannel_logout::{LogoutNotice, LogoutNotices};
pub use client::{Client, Profile};
pub use client_document::{ClientDocuments, ClientIdDocuments, DOCUMENT_LIMIT, client_in};
pub use client_metadata::ClientPolicy;
pub use device::{DeviceAnswer, DeviceAuthorizationResponse};
pub use error::{Error, ErrorCode};
pub use first_party::{FIRST_PARTY_CLIENTS, SignInFor};
pub use introspect::{AnswerForm, Introspection, IntrospectionAnswer};
pub use issue::{Issued, TokenResponse};
pub use par::{PushAnswer, PushedResponse};
pub use params::Parameters;
pub use published_keys::PublishedKeys;
pub use rates::{RateLimits, Tally};
pub use refusal::Refusal;
pub use register::{ClientInformation, Registration, RegistrationAccess, RegistrationRequest};
pub use revoke::{Revocation, RevocationAnswer};
pub use status::{PublishedList, StatusLists};
pub use token::{Asked, TokenAnswer, TokenRequest};
pub use userinfo::{UserInfoAnswer, UserInfoRequest};
pub use words::Words;
pub use workload::WorkloadIssuer;

/// Whether the authorization server gives nonces to proofs (RFC 9449 §8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NonceMode {
    /// Never.
    Off,
    /// A nonce is judged if it is there, and offered to whoever sends a proof.
    Optional,
    /// No proof passes without one.
    Required,
}

/// Settings about proofs.
#[derive(Clone, Copy, Debug)]
pub struct DpopSettings {
    /// Whether nonces are in force.
    pub nonce: NonceMode,
    /// How long a nonce is good.
    pub nonce_life: Duration,
    /// The age that a proof may have.
    pub window: Window,
    /// Whether every client must bring a proof, registered for it or not.
    pub required: bool,
}

/// How long things live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Access tokens.
    pub access_token: Duration,
    /// Grants, from approval, whatever is refreshed.
    pub refresh_token: Duration,
    /// Grants that nobody refreshes.
    pub refresh_token_idle: Duration,
    /// Authorization codes; 60 seconds at most (FAPI 2.0 §5.3.2.1-11).
    pub authorization_code: Duration,
    /// Device codes and user codes; 15 minutes at most.
    pub device_code: Duration,
    /// `request_uri` of pushed requests; less than 600 seconds (FAPI 2.0 §5.3.2.2-12).
    pub pushed_request: Duration,
    /// Sign-in and consent pages: from the authorization request to its answer.
    pub transaction: Duration,
    /// Browser sessions, used or not.
    pub session: Duration,
    /// Browser sessions that nobody uses.
    pub session_idle: Duration,
}

/// What an operator decides about the authorization server.
#[derive(Debug)]
pub struct Settings {
    /// `issuer` (RFC 8414 §2).
    pub issuer: Issuer,
    /// The registered clients.
    pub clients: Vec<Client>,
    /// The scopes that exist, each with words for the people who are asked to grant it.
    pub scopes: BTreeMap<Scope, Words>,
    /// The resources that tokens are issued for (RFC 8707); the first is the default. Never empty.
    pub resources: Vec<Audience>,
    /// Those of them for which access tokens are handles, whoever they are issued to.
    pub opaque_resources: Vec<Audience>,
    /// The types of `authorization_details` that exist (RFC 9396 §10), by name.
    pub details: BTreeMap<String, DetailType>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// About proofs.
    pub dpop: DpopSettings,
    /// `require_pushed_authorization_requests` (RFC 9126 §5), for every client.
    pub require_pushed_requests: bool,
    /// The rules that every client must keep.
    pub profile: Profile,
    /// How often clients may ask.
    pub rate_limits: RateLimits,
    /// What clients may be whose `client_id` is the URL of a document, if they may.
    pub client_id_documents: Option<ClientIdDocuments>,
    /// How others are told which access tokens were revoked, if they are.
    pub status_lists: Option<StatusLists>,
    /// How clients may register themselves, if they may.
    pub registration: Option<Registration>,
    /// The origin at which clients with certificates find the endpoints (RFC 8705 §5), if it is another.
    pub mtls_origin: Option<Origin>,
    /// Whether the doors hand on the certificates of clients (RFC 8705).
    pub mutual_tls: bool,
    /// `acr_values_supported` (OpenID Connect Discovery §3): how well people can be recognised where they sign in.
    pub acr_values: Vec<Acr>,
    /// The authorization endpoint of somebody else, if people sign in there.
    pub external_login: Option<ExternalEndpoint>,
    /// Who may vouch for the certificates of clients with `tls_client_auth`.
    pub client_authorities: Option<Authorities>,
}

/// What the authorization server works with.
pub struct Dependencies {
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// Where is noted what has ended, for a gate beside it.
    pub endings: Arc<Endings>,
    /// Where spent proofs are remembered.
    pub guard: Arc<dyn ReplayGuard>,
    /// What a restart must not let through again.
    pub fence: Fence,
    /// The signing keys.
    pub keys: Arc<SigningKeys>,
    /// How people sign in.
    pub login: Login,
    /// Where they are looked up.
    pub people: Arc<dyn People>,
    /// Where the keys of proofs may be found again.
    pub proof_keys: Arc<dyn ProofKeys>,
    /// Where the keys are that clients publish.
    pub published_keys: Arc<dyn PublishedKeys>,
    /// Where the documents are in which clients say what they are.
    pub client_documents: Arc<dyn ClientDocuments>,
    /// The platforms whose word counts about who a workload is.
    pub workload_issuers: Vec<WorkloadIssuer>,
    /// Who takes logout tokens to clients.
    pub notices: Arc<dyn LogoutNotices>,
    /// Where unpredictable bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// What was tried so far.
    pub tally: Arc<Tally>,
}

/// The authorization server: its methods are its endpoints.
pub struct AuthorizationServer {
    settings: Settings,
    clients: HashMap<ClientId, Arc<Client>>,
    /// Our own pages, as clients.
    first_party: first_party::FirstParty,
    store: Arc<dyn Store>,
    endings: Arc<Endings>,
    guard: Arc<dyn ReplayGuard>,
    fence: Fence,
    keys: Arc<SigningKeys>,
    login: Login,
    people: Arc<dyn People>,
    proof_keys: Arc<dyn ProofKeys>,
    published_keys: Arc<dyn PublishedKeys>,
    client_documents: Arc<dyn ClientDocuments>,
    workload_issuers: Vec<WorkloadIssuer>,
    notices: Arc<dyn LogoutNotices>,
    entropy: Arc<dyn Entropy>,
    nonces: Nonces,
    forms: authorize::FormKeys,
    /// What questions about devices are sealed under.
    device_questions: RotatingKey,
    /// What the forms of account pages are sealed under.
    account_pages: RotatingKey,
    /// The key of what clients know sessions as.
    session_names: RootKey,
    /// The key of what the clients of a sector know people as.
    pairwise_subjects: RootKey,
    /// The key of the hashes of user codes.
    user_codes: RootKey,
    /// Requests of clients.
    rates: rates::Rates,
    /// Everything else that is counted.
    tally: Arc<Tally>,
    token_url: String,
    device_authorization_url: String,
    pushed_request_url: String,
    userinfo_url: String,
    /// What the secret of an unknown client is compared with, so that it takes as long as that of a known one.
    decoy_secret: ClientSecretHash,
    decoy_keys: client_assertion::Decoys,
    /// Places in status lists that this process may hand out.
    places: status::Places,
}

impl AuthorizationServer {
    /// Puts the server together.
    #[must_use]
    pub fn new(mut settings: Settings, dependencies: Dependencies) -> Self {
        let clients = std::mem::take(&mut settings.clients);
        let Dependencies {
            store,
            endings,
            guard,
            fence,
            keys,
            login,
            people,
            proof_keys,
            published_keys,
            client_documents,
            workload_issuers,
            notices,
            entropy,
            tally,
        } = dependencies;
        let (root, secrets) = (keys.root(), keys.secrets());
        Self {
            clients: clients.into_iter().map(|client| (client.id.clone(), Arc::new(client))).collect(),
            nonces: Nonces::new(secrets.derive("nonces of the authorization server"), settings.dpop.nonce_life),
            forms: authorize::FormKeys::new(secrets, root),
            first_party: first_party::FirstParty::new(&settings, secrets),
            device_questions: secrets.derive("questions about devices"),
            account_pages: secrets.derive("account pages"),
            session_names: root.derive("names of sessions at clients"),
            pairwise_subjects: root.derive("pairwise subjects"),
            user_codes: root.derive("user codes"),
            rates: rates::Rates::new(settings.rate_limits, Arc::clone(&tally)),
            tally,
            token_url: settings.url(metadata::TOKEN),
            device_authorization_url: settings.url(metadata::DEVICE_AUTHORIZATION),
            pushed_request_url: settings.url(metadata::PUSHED_AUTHORIZATION_REQUEST),
            userinfo_url: settings.url(metadata::USERINFO),
            decoy_secret: ClientSecretHash::of("no client has this secret"),
            decoy_keys: client_assertion::Decoys::new(),
            places: status::Places::default(),
            settings,
            store,
            endings,
            guard,
            fence,
            keys,
            login,
            people,
            proof_keys,
            published_keys,
            client_documents,
            workload_issuers,
            notices,
            entropy,
        }
    }

    /// What the operator decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Looks a person up again: `None` if that person may no longer sign in.
    async fn check_person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable> {
        self.people.person(subject).await
    }

    /// What scopes mean to people, in the operator's words.
    fn in_words(&self, scopes: &Scopes) -> Vec<Words> {
        let unnamed = |scope: &Scope| Words::from(scope.as_str());
        let words = |scope| self.settings.scopes.get(scope).cloned().unwrap_or_else(|| unnamed(scope));
        scopes.iter().map(words).collect()
    }

    /// The resources of an authorization request, or the default one.
    fn resources(&self, parameters: &Parameters) -> Result<Resources, Refusal> {
        let known = |asked: &str| self.settings.resources.iter().find(|known| params::is_same(known.as_str(), asked));
        let asked = parameters.all("resource").map(|asked| known(asked).ok_or(Refusal::ResourceUnknown));
        let asked: Vec<_> = asked.collect::<Result<_, _>>()?;
        let default = self.settings.resources.first().filter(|_| asked.is_empty());
        Resources::of(asked.into_iter().chain(default)).ok_or(Refusal::ResourceUnknown)
    }

    /// The resource of a request, or the default one.
    fn resource(&self, parameters: &Parameters) -> Result<Audience, Refusal> {
        let known = &self.settings.resources;
        parameters.resource(known, known.first().ok_or(Refusal::ResourceUnknown)?)
    }
}
