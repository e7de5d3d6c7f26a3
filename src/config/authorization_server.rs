//! Judges `authorization_server`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::Judge;
use super::client_certificate::Certificates;
use super::file::{
    AuthorizationServerFile, ClientDocumentsFile, DpopFile, File, LoginFile, PrivateAddresses, RateLimitsFile,
    ServerNonce, SigningAlgorithm, SigningFile, StatusListsFile, TokensFile,
};
use super::given::Given;
use super::mistake::{Mistake, Place};
use super::words::{self, WordsFile};
use super::{
    AuthorizationServer, ClientDocuments, Login, Signing, Store, branding, client, client_openid, detail_types, fapi,
    login, named_file, registration, workload_issuer,
};
use crate::authz::ResourceSettings;
use crate::dpop::{NONCE_LIFE, Window};
use crate::fetch::{FetchLimits, Reach};
use crate::ident::{Audience, Issuer};
use crate::jose::Algorithm;
use crate::keys::KeySchedule;
use crate::oauth::id_token::OPENID_SCOPES;
use crate::oauth::{
    self, Client, ClientIdDocuments, DpopSettings, ExternalEndpoint, Lifetimes, NonceMode, RateLimits, Registration,
    Settings, StatusLists, Words,
};
use crate::scope::{Scope, Scopes};
use crate::secret::seal::KeyRing;
use crate::store::{NEWS_WAITERS, NEWS_WAITERS_PER_ADDRESS};
use crate::uri::{HttpUri, Origin};

/// The highest rate that may be set: a million a second.
const FASTEST: u32 = 1_000_000;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The longest life of a `request_uri` (FAPI 2.0 §5.3.2.2-12: less than ten minutes).
const PUSHED_REQUEST: Duration = Duration::from_mins(9);

/// Judges everything about the authorization server. `None` only if there are mistakes.
pub(super) fn judge(
    judge: &mut Judge<'_>,
    given: &Given<AuthorizationServerFile>,
    store: Option<&Store>,
    protected: &[ResourceSettings],
    certificates: Certificates,
) -> Option<AuthorizationServer> {
    let place = &given.place;
    let file = &given.value;
    let profile = file.profile.as_ref().map_or(oauth::Profile::Default, |given| fapi::profile(given.value));
    let issuer = judge.required(place, "issuer", file.issuer.as_ref()).map(|issuer| issuer.value.0.clone());
    let lifetimes = lifetimes(judge, file.tokens.as_ref());
    let signing = signing(judge, given, store, lifetimes.access_token);
    let dpop = dpop(judge, file.dpop.as_ref());
    let known = KnownScopes::of(given);
    check_scope_words(judge, file);
    let details = detail_types::known(judge, given);
    let client_documents = client_documents(judge, file.client_documents.as_ref());
    let around = client::Surroundings {
        known: &known,
        reach: client_documents.reach,
        details: &details,
        certificates,
        profile,
        signing: signing_algorithm(file),
    };
    let clients = file.clients.as_ref().map(|clients| client::all(judge, clients, &around)).unwrap_or_default();
    let workload_issuers = workload_issuer::all(judge, file.workload_issuers.as_ref());
    let client_files = file.clients.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    let complete = !place.lost("workload_issuers")
        && file.workload_issuers.as_ref().is_none_or(|given| given.value.len() == workload_issuers.len());
    workload_issuer::check_clients(judge, (&clients, client_files), &workload_issuers, complete);
    let bounds = registration::Bounds { known: &known, profile, reach: client_documents.reach };
    let registration = registration::registration(judge, file, bounds);
    let client_id_documents = registration::documents(judge, file, bounds);
    let unwritten = (registration.as_ref(), client_id_documents.as_ref());
    let login = sign_in(judge, given, &clients, unwritten);
    let branding = branding::judge(judge, file.branding.as_ref());
    let issuer = issuer?;
    let resources = resources(judge, file, protected, &issuer);
    if !place.lost("resources") {
        client::check_resources(judge, client_files, &resources);
    }
    let at_gate = file.metadata_at_gate.as_ref().is_some_and(|given| given.value);
    let metadata_at_gate = issuer.as_str().parse().ok().filter(|_| at_gate);
    let settings = Settings {
        issuer,
        clients,
        scopes: known.words,
        resources,
        lifetimes,
        dpop,
        opaque_resources: Vec::new(),
        details: details.types,
        require_pushed_requests: file.require_pushed_authorization_requests.as_ref().is_some_and(|given| given.value),
        profile,
        rate_limits: rate_limits(judge, file.rate_limits.as_ref()),
        registration,
        status_lists: file.status_lists.as_ref().map(|given| status_lists(judge, &given.value)),
        client_id_documents,
        mtls_origin: mtls_origin(judge, file, certificates),
        mutual_tls: false,
        acr_values: client_openid::acr_values(judge, file.acr_values_supported.as_ref()),
        external_login: file.login.as_ref().and_then(|given| external_endpoint(&given.value)),
        client_authorities: None,
    };
    let signing = signing?;
    Some(AuthorizationServer {
        settings,
        login,
        signing,
        branding,
        client_documents,
        workload_issuers,
        metadata_at_gate,
    })
}

/// Reports metadata that a gate is to answer where there is none.
pub(super) fn check_gate(judge: &mut Judge<'_>, given: &Given<AuthorizationServerFile>, file: &Given<File>) {
    let protected = file.value.protected_resources.as_ref().is_some_and(|given| !given.value.is_empty());
    if let Some(at_gate) = given.value.metadata_at_gate.as_ref().filter(|at_gate| at_gate.value)
        && !protected
        && !file.place.lost("protected_resources")
    {
        let mistake = Mistake::about(&at_gate.place, "needs a gate, and there is none without `protected_resources`");
        judge.report(mistake.help("take it out: clients find the metadata at this server itself"));
    }
}

/// Where clients with certificates go.
fn mtls_origin(judge: &mut Judge<'_>, file: &AuthorizationServerFile, certificates: Certificates) -> Option<Origin> {
    let given = file.mtls_origin.as_ref()?;
    certificates.check_shown(judge, &given.place);
    let uri = HttpUri::parse(&given.value).ok().filter(|uri| uri.is_https() || uri.is_loopback());
    let origin = uri.map(|uri| uri.origin()).filter(|origin| origin.to_string() == given.value);
    if origin.is_none() {
        let mistake = Mistake::about(&given.place, "must be an https origin, or http on loopback, without a path");
        judge.report(mistake.help("write it as in `https://mtls.auth.example.com`"));
    }
    origin
}

/// The scopes that exist.
pub(super) struct KnownScopes {
    /// Each with words for people.
    words: BTreeMap<Scope, Words>,
    /// Whether some were taken out because of a mistake, so that no scope can be called unknown.
    incomplete: bool,
}

impl KnownScopes {
    /// The scopes that an authorization server knows.
    pub(super) fn of(server: &Given<AuthorizationServerFile>) -> Self {
        let Some(given) = &server.value.scopes else {
            return Self { words: openid_scopes().collect(), incomplete: server.place.lost("scopes") };
        };
        let words = |scope: &Scope, words: &WordsFile| words.words().unwrap_or_else(|| scope.as_str().into());
        let words = given.value.iter().map(|(scope, given)| (scope.0.clone(), words(&scope.0, &given.value)));
        Self { words: openid_scopes().chain(words).collect(), incomplete: !given.place.gaps.is_empty() }
    }

    /// Reports scopes that do not exist.
    pub(super) fn check(&self, judge: &mut Judge<'_>, place: &Place, scopes: &Scopes) {
        let unknown = |scope: &&Scope| !self.incomplete && !self.words.contains_key(*scope);
        for scope in scopes.iter().filter(unknown) {
            let mistake =
                Mistake::about(place, format!("names `{scope}`, which is not in `authorization_server.scopes`"));
            judge.report(mistake.help(format!("add it there: `scopes: {{ \"{scope}\": \"What it allows\" }}`")));
        }
    }
}

/// The scopes of OpenID Connect, which need not be written down; the file may give them other words.
fn openid_scopes() -> impl Iterator<Item = (Scope, Words)> {
    OPENID_SCOPES.iter().filter_map(|(scope, english, german)| {
        let words = Words::in_languages([("en", *english), ("de", *german)])?;
        Some((scope.parse().ok()?, words))
    })
}

/// People read these words before they agree.
fn check_scope_words(judge: &mut Judge<'_>, file: &AuthorizationServerFile) {
    let scopes = file.scopes.iter().flat_map(|given| &given.value);
    for (_, given) in scopes {
        words::check(judge, given);
    }
}

fn lifetimes(judge: &mut Judge<'_>, given: Option<&Given<TokensFile>>) -> Lifetimes {
    let absent = TokensFile::default();
    let file = given.map_or(&absent, |given| &given.value);
    let refresh_token = judge.duration(file.refresh_token.as_ref(), 30 * DAY, None);
    let idle_default = refresh_token.min(14 * DAY);
    let session = judge.duration(file.session.as_ref(), 8 * HOUR, None);
    Lifetimes {
        access_token: judge.duration(file.access_token.as_ref(), 5 * MINUTE, Some(DAY)),
        refresh_token,
        refresh_token_idle: judge.duration(file.refresh_token_idle.as_ref(), idle_default, Some(refresh_token)),
        authorization_code: judge.duration(file.authorization_code.as_ref(), MINUTE, Some(MINUTE)),
        device_code: judge.duration(file.device_code.as_ref(), 10 * MINUTE, Some(15 * MINUTE)),
        pushed_request: judge.duration(file.pushed_request.as_ref(), Duration::from_secs(90), Some(PUSHED_REQUEST)),
        transaction: judge.duration(file.transaction.as_ref(), 10 * MINUTE, Some(HOUR)),
        session,
        session_idle: judge.duration(file.session_idle.as_ref(), session.min(2 * HOUR), Some(session)),
    }
}

/// The settings of `dpop`, which count here and at the gate.
pub(super) fn dpop(judge: &mut Judge<'_>, given: Option<&Given<DpopFile>>) -> DpopSettings {
    let absent = DpopFile::default();
    let file = given.map_or(&absent, |given| &given.value);
    let nonce = match file.nonce.as_ref().map(|nonce| nonce.value) {
        Some(ServerNonce::Off) => NonceMode::Off,
        Some(ServerNonce::Optional) | None => NonceMode::Optional,
        Some(ServerNonce::Required) => NonceMode::Required,
    };
    DpopSettings {
        nonce,
        nonce_life: judge.duration(file.nonce_lifetime.as_ref(), NONCE_LIFE, Some(DAY)),
        window: Window {
            lifetime: judge.duration(file.proof_lifetime.as_ref(), MINUTE, Some(5 * MINUTE)),
            skew: judge.duration(file.clock_skew.as_ref(), Duration::from_secs(10), Some(MINUTE)),
        },
        required: file.required.as_ref().is_some_and(|required| required.value),
    }
}

fn client_documents(judge: &mut Judge<'_>, given: Option<&Given<ClientDocumentsFile>>) -> ClientDocuments {
    let absent = ClientDocumentsFile::default();
    let file = given.map_or(&absent, |given| &given.value);
    let reach = match file.private_addresses.as_ref().map(|given| given.value) {
        Some(PrivateAddresses::Allow) => Reach::Anywhere,
        Some(PrivateAddresses::Refuse) | None => Reach::Public,
    };
    let timeout = judge.duration(file.timeout.as_ref(), FetchLimits::default().time, Some(Duration::from_secs(30)));
    ClientDocuments { reach, timeout }
}

fn status_lists(judge: &mut Judge<'_>, file: &StatusListsFile) -> StatusLists {
    let ttl = judge.duration(file.ttl.as_ref(), Duration::from_secs(10), Some(15 * MINUTE));
    if let Some(given) = file.ttl.as_ref().filter(|_| ttl < Duration::from_secs(1)) {
        judge.report(Mistake::about(&given.place, "is shorter than a second"));
    }
    let life = judge.duration(file.lifetime.as_ref(), ttl.max(5 * MINUTE), Some(DAY));
    if let Some(given) = file.lifetime.as_ref().filter(|_| life < ttl) {
        judge.report(Mistake::about(&given.place, "is shorter than `ttl`: gates would be without a list in between"));
    }
    let waiting = file.waiting_per_address.as_ref().map(|given| {
        let number = usize::try_from(given.value).unwrap_or(usize::MAX);
        if !(1..=NEWS_WAITERS).contains(&number) {
            judge.report(Mistake::about(&given.place, format!("must be from 1 to {NEWS_WAITERS}")));
        }
        number
    });
    StatusLists { ttl, life, waiting_per_address: waiting.unwrap_or(NEWS_WAITERS_PER_ADDRESS) }
}

fn rate_limits(judge: &mut Judge<'_>, given: Option<&Given<RateLimitsFile>>) -> RateLimits {
    let default = RateLimits::default();
    let Some(Given { value: RateLimitsFile { client, address, wrong_secrets }, .. }) = given else { return default };
    let mut rate = |given: &Option<Given<u32>>, default| {
        let Some(given) = given else { return default };
        if !(1..=FASTEST).contains(&given.value) {
            judge.report(Mistake::about(&given.place, format!("must be from 1 to {FASTEST}")));
        }
        given.value.clamp(1, FASTEST)
    };
    RateLimits {
        client: rate(client, default.client),
        address: rate(address, default.address),
        wrong_secrets: rate(wrong_secrets, default.wrong_secrets),
    }
}

/// A JOSE name as the algorithm.
pub(super) const fn algorithm(word: SigningAlgorithm) -> Algorithm {
    match word {
        SigningAlgorithm::Es256 => Algorithm::Es256,
        SigningAlgorithm::EdDsa => Algorithm::EdDsa,
        SigningAlgorithm::Ed25519 => Algorithm::Ed25519,
        SigningAlgorithm::Ps256 => Algorithm::Ps256,
        SigningAlgorithm::Rs256 => Algorithm::Rs256,
    }
}

/// What new keys sign with.
fn signing_algorithm(file: &AuthorizationServerFile) -> Algorithm {
    let given = file.signing.as_ref().and_then(|given| given.value.algorithm.as_ref());
    algorithm(given.map_or(SigningAlgorithm::Es256, |given| given.value))
}

fn signing(
    judge: &mut Judge<'_>,
    server: &Given<AuthorizationServerFile>,
    store: Option<&Store>,
    access_token: Duration,
) -> Option<Signing> {
    let absent = SigningFile::default();
    let given = server.value.signing.as_ref();
    let file = given.map_or(&absent, |given| &given.value);
    let sign = judge.duration(file.sign.as_ref(), 90 * DAY, None);
    let announce = judge.duration(file.announce.as_ref(), sign.min(14 * DAY), Some(sign));
    let retain = judge.duration(file.retain.as_ref(), access_token.max(14 * DAY), None);
    if let Some(given) = file.retain.as_ref().filter(|_| retain < access_token) {
        let mistake = Mistake::about(&given.place, "is shorter than `tokens.access_token`");
        judge.report(mistake.help("tokens must not outlive the key that verifies them"));
    }
    let earlier = file.decryption_key_files.as_ref();
    let encryption_key = match &file.encryption_key_file {
        Some(path) => Some(key_ring(judge, path, earlier.map(|given| given.value.as_slice()).unwrap_or_default())?),
        None => None,
    };
    if let Some(given) = earlier.filter(|given| encryption_key.is_none() && !given.value.is_empty()) {
        judge.report(Mistake::about(
            &given.place,
            "is there without `encryption_key_file`, whose place it is to prepare",
        ));
    }
    let (place, lost) = match given {
        Some(given) => (&given.place, given.place.lost("encryption_key_file")),
        None => (&server.place, server.place.lost("signing")),
    };
    if encryption_key.is_none() && !lost && matches!(store, Some(Store::Sqlite { .. } | Store::Postgres(_))) {
        let mistake =
            Mistake::about(place, "lacks `encryption_key_file`: the store would hold signing keys in the clear");
        let help = "make a key with `openssl rand -base64 32 > kek`, and set `signing: { encryption_key_file: kek }`";
        judge.report(mistake.help(help));
    }
    let algorithm = signing_algorithm(&server.value);
    Some(Signing { schedule: KeySchedule { algorithm, announce, sign, retain }, encryption_key })
}

/// What private keys are sealed under, and what opens them besides. `None` only if there are mistakes.
fn key_ring(judge: &mut Judge<'_>, newest: &Given<String>, earlier: &[Given<String>]) -> Option<KeyRing> {
    let newest = named_file::key(judge, newest);
    let earlier: Vec<_> = earlier.iter().map(|path| named_file::key(judge, path)).collect();
    Some(KeyRing::new(newest?, earlier.into_iter().collect::<Option<_>>()?))
}

fn sign_in(
    judge: &mut Judge<'_>,
    server: &Given<AuthorizationServerFile>,
    clients: &[Client],
    (registration, documents): (Option<&Registration>, Option<&ClientIdDocuments>),
) -> Option<Login> {
    let Some(given) = &server.value.login else {
        let asks = clients.iter().find_map(|client| {
            let grant = client.grant_types.iter().find(|grant| grant.asks_a_person())?;
            Some(format!("client `{}` uses `{}`", client.id, grant.name()))
        });
        let registered = registration.and_then(|registration| {
            let grant = registration.policy.grant_types.iter().find(|grant| grant.asks_a_person())?;
            Some(format!("`registration` allows `{}`", grant.name()))
        });
        let documented =
            documents.map(|_| "`client_id_metadata_documents` is for clients that sign people in".to_owned());
        if let Some(why) = asks.or(registered).or(documented).filter(|_| !server.place.lost("login")) {
            let message = format!("lacks `login`: {why}");
            let help = "say how people sign in: `login: { local: { users_file: users.yaml } }`";
            judge.report(Mistake::about(&server.place, message).help(help));
        }
        return None;
    };
    login::judge(judge, &given.value, server)
}

/// The authorization endpoint of an external login.
fn external_endpoint(login: &LoginFile) -> Option<ExternalEndpoint> {
    match login {
        LoginFile::External(given) => given.value.authorization_endpoint.as_ref().map(|given| given.value.0.clone()),
        LoginFile::Local(_) | LoginFile::Oidc(_) | LoginFile::Header(_) => None,
    }
}

/// The resources that tokens are issued for: those that the gate protects, then those that others protect.
///
/// Choice: RFC 9068 §3 wants a default audience for requests that name none; with no resource at all that is the issuer.
fn resources(
    judge: &mut Judge<'_>,
    file: &AuthorizationServerFile,
    protected: &[ResourceSettings],
    issuer: &Issuer,
) -> Vec<Audience> {
    let others = file.resources.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    judge.once(others.iter().map(|one| (&one.value.0.audience, &one.place)), "is given twice");
    let ours = |one: &&ResourceSettings| one.issuers.iter().any(|accepted| accepted.name.as_str() == issuer.as_str());
    let mut resources: Vec<Audience> = protected.iter().filter(ours).map(|one| one.audience.clone()).collect();
    for other in others {
        if !resources.contains(&other.value.0.audience) {
            resources.push(other.value.0.audience.clone());
        }
    }
    if resources.is_empty() {
        resources.extend(issuer.as_str().parse::<Audience>());
    }
    resources
}
