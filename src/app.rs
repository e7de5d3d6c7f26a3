//! The composition root: a [`Config`] becomes bound listeners, serves and drains. The only place that names concrete
//! stores, guards, clocks and providers.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authz::{OpaqueTokens, ResourceSettings, TokenIssuer};
use crate::cache::{
    ClientKeySets, DEFAULT_PROOF_KEYS, DEFAULT_TOKENS, KnownClientDocuments, KnownProofKeys, NoClientDocuments,
    NoKeySets, Tokens,
};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{self, Config};
use crate::courier::{Round, courier};
use crate::dpop::{Fence, NONCE_LIFE, ProofKeys};
use crate::entropy::{Entropy, SystemEntropy};
use crate::fetch::{Fetcher, FetcherFault, Reach};
use crate::grpc::{self, AdminService, CheckService, Standing};
use crate::ident::IssuerName;
use crate::identity::{LocalUsers, Login, Nobody, OidcProvider, People, RememberedPeople, UsersFault};
use crate::issuers::{self, IssuerKeys, IssuerSettings};
use crate::keys::{KeysError, SigningKeys, root_secrets};
use crate::oauth::{
    AuthorizationServer, Client, ClientDocuments, Dependencies, LogoutNotices, PublishedKeys, WorkloadIssuer,
};
use crate::replay::{LocalReplayGuard, RedisFault, RedisReplayGuard, ReplayGuard};
use crate::secret::seal::RootKey;
use crate::store::{
    BackupError, EndedBy, Endings, LastAlive, Limits, MemoryStore, OpenError, PostgresError, PostgresStore,
    RecordedTokens, SqliteStore, Store,
};
use crate::telemetry::{CountedGuard, Metrics};
use crate::token::{KeyLookup, Revocations, TOKEN_ALGORITHMS, TokenProfile};
use crate::unavailable::Unavailable;
use crate::web::{AdminSite, AuthorizationSite, Door, Proxies, Site, Tls, TlsFault};

mod gate;
mod gauges;
mod injector;
mod upkeep;
mod workloads;

use gate::Others;
pub use injector::{Injector, InjectorSettings};
use upkeep::Upkeep;

/// What tests put in the place of the world.
pub struct Seams {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of unpredictable bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Instead of the configured store.
    pub store: Option<Arc<dyn Store>>,
    /// Instead of the configured replay guard.
    pub guard: Option<Arc<dyn ReplayGuard>>,
    /// Instead of the configured login, and of where people are looked up.
    pub people: Option<(Login, Arc<dyn People>)>,
}

impl Default for Seams {
    /// The world as it is.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), store: None, guard: None, people: None }
    }
}

/// Why the program did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A listener could not be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// A gRPC listener could not be bound; the cause names it.
    #[error(transparent)]
    BindGrpc(io::Error),
    /// The certificate of the public listener cannot be used.
    #[error("cannot speak TLS")]
    Tls(#[from] TlsFault),
    /// The store could not be opened.
    #[error("cannot open the store")]
    Store(#[from] OpenError),
    /// The database could not be opened.
    #[error("cannot open the store")]
    Postgres(#[from] PostgresError),
    /// The store did not answer.
    #[error("the store does not answer")]
    StoreUnavailable(#[from] Unavailable),
    /// The signing keys cannot be used.
    #[error("cannot use the signing keys")]
    Keys(#[from] KeysError),
    /// The users file could not be read.
    #[error("cannot read the users file {path}")]
    Users {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The users file has mistakes.
    #[error("the users file {path} has mistakes")]
    UsersMistakes {
        /// The file.
        path: PathBuf,
        /// The mistakes, with their places.
        #[source]
        cause: UsersFault,
    },
    /// A person has the name of a client: one could be taken for the other (RFC 9068 §5).
    #[error("a person in the users file has the subject `{0}`, which is a client_id; change one of them")]
    SubjectIsClient(String),
    /// The replay guard cannot be used, whether its Redis answers or not.
    #[error("cannot use the replay guard")]
    Replay(#[from] RedisFault),
    /// Nobody can be asked over HTTPS.
    #[error("cannot ask other servers")]
    Fetcher(#[from] FetcherFault),
    /// A listener failed while it served.
    #[error("a listener failed")]
    Serve(#[source] io::Error),
}

/// A program whose listeners are bound and whose keys are read; it answers nobody yet.
pub struct App {
    public: Option<(Door, Arc<dyn Site>)>,
    admin: (Door, Arc<dyn Site>),
    gate: Option<(grpc::Door, CheckService)>,
    admin_api: Option<(grpc::Door, AdminService)>,
    /// The keys of other issuers, and the clock by which they are fresh.
    issuers: (Vec<Arc<IssuerKeys>>, Arc<dyn Clock>),
    upkeep: Option<Upkeep>,
    round: Option<Round>,
}

/// Where a program listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The authorization server.
    pub public: Option<SocketAddr>,
    /// Health.
    pub admin: SocketAddr,
    /// The TCP listeners of the gate.
    pub gate: Vec<SocketAddr>,
    /// The Unix sockets of the gate.
    pub sockets: Vec<PathBuf>,
    /// The Unix socket of our own API.
    pub admin_api: Option<PathBuf>,
}

/// What both sides of an installation share.
struct Shared {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    guard: Arc<dyn ReplayGuard>,
    fence: Fence,
    keys: Arc<SigningKeys>,
    endings: Arc<Endings>,
    proof_keys: Arc<dyn ProofKeys>,
    tokens: Arc<Tokens>,
    root: RootKey,
}

impl App {
    /// Opens the store, reads the keys and binds the listeners.
    ///
    /// # Errors
    /// [`AppError`] says what is in the way.
    pub async fn start(config: Config, mut seams: Seams) -> Result<Self, AppError> {
        let Config { listen, store, limits, replay, authorization_server, issuers, protected_resources } = config;
        let Some(server) = authorization_server else {
            return Self::start_gate(&listen, replay, (issuers, protected_resources), seams).await;
        };
        let asks = server.settings.mutual_tls;
        let tls = listen.public.tls.map(|files| Tls::new(files, asks)).transpose()?;
        let public = bind(listen.public.address).await?;
        let public = public.behind(Proxies {
            networks: listen.public.trusted_proxies.into(),
            tell_certificates: listen.public.forwarded_certificates,
        });
        let public = match &tls {
            Some(tls) => public.encrypted(tls.clone()),
            None => public,
        };
        let admin = bind(listen.admin).await?;
        // Before the sockets of the gate, which take the place of those of a server that runs: if that one has the store,
        // this one does not start and must not have harmed it.
        let store_name = store.name();
        let store = match seams.store.take() {
            Some(store) => store,
            None => open_store(store, limits, Purpose::Serve).await?,
        };
        let gate = match listen.ext_authz.as_slice() {
            _ if protected_resources.is_empty() => None, // nothing to be asked about
            [] => None,
            addresses => Some(grpc::Door::bind(addresses).await.map_err(AppError::BindGrpc)?),
        };
        let admin_api = match &listen.admin_api {
            Some(api) => Some(grpc::Door::bind_admin(&api.path, api.access).await.map_err(AppError::BindGrpc)?),
            None => None,
        };
        let standing = Standing {
            clock: Arc::clone(&seams.clock),
            began: seams.clock.now(),
            store: store_name,
            login: server.login.as_ref().map(config::Login::name),
            protected_resources: protected_resources.iter().map(|resource| resource.audience.to_string()).collect(),
        };
        let interval = server.signing.schedule.interval();
        let skew = server.settings.dpop.window.skew;
        let kept = limits.kept + skew;
        let state = State { store, replay, signing: server.signing, skew, kept };
        let people = match seams.people.take() {
            Some(people) => people,
            None => people(server.login, &server.settings, (&state.store, &seams.entropy), seams.clock.now()).await?,
        };
        let mut metrics = Metrics::new(protected_resources.iter().map(|resource| resource.audience.as_str()));
        let shared = state.open(&mut seams, &metrics).await?;
        gauges::of_process(&mut metrics, &shared.guard, &*shared.clock);
        gauges::of_keys(&mut metrics, &shared.keys, &shared.clock);
        let metrics = Arc::new(metrics);

        let takes_writes = Arc::new(AtomicBool::new(true)); // the start has written
        let admin_site: Arc<dyn Site> = Arc::new(AdminSite {
            store: Some(Arc::clone(&shared.store)),
            keys: Some(Arc::clone(&shared.keys)),
            guard: Some(Arc::clone(&shared.guard)),
            clock: Arc::clone(&shared.clock),
            takes_writes: Arc::clone(&takes_writes),
            metrics: Arc::clone(&metrics),
        });
        let upkeep = Upkeep {
            store: Arc::clone(&shared.store),
            keys: Arc::clone(&shared.keys),
            keys_every: interval,
            tokens: Arc::clone(&shared.tokens),
            endings: Arc::clone(&shared.endings),
            clock: Arc::clone(&shared.clock),
            takes_writes,
            tls,
        };
        let own = TokenIssuer {
            name: IssuerName::from(&server.settings.issuer),
            profile: TokenProfile::rfc9068(TOKEN_ALGORITHMS.to_vec(), server.settings.dpop.window.skew),
            keys: Arc::clone(&shared.keys) as Arc<dyn KeyLookup>,
            revocations: Some(Arc::clone(&shared.endings) as Arc<dyn Revocations>),
            opaque: OpaqueTokens::Handles(Arc::new(RecordedTokens(Arc::clone(&shared.store)))),
        };
        let mut others = Others::new(issuers, &shared.tokens, &seams.entropy)?;
        others.trusted.push(Arc::new(own));
        let nonce_life = server.settings.dpop.nonce_life;
        let gate = gate.map(|door| {
            let check = shared.gate().service(protected_resources, &others.trusted, nonce_life);
            (door, check.counted_by(Arc::clone(&metrics.gate)))
        });
        let (clock, keys) = (Arc::clone(&shared.clock), Arc::clone(&shared.keys));
        let (courier, round) = courier()?;
        let (workload_issuers, of_workloads) = workloads::workload_issuers(server.workload_issuers)?;
        others.keys.extend(of_workloads);
        let elsewhere = Elsewhere {
            published_keys: published_keys(&server.settings, server.client_documents)?,
            client_documents: client_documents(&server.settings, server.client_documents)?,
            workload_issuers,
            notices: Arc::new(courier),
        };
        let branding = server.branding;
        let dependencies = shared.dependencies(people, elsewhere, seams.entropy);
        let server = AuthorizationServer::new(server.settings, dependencies);
        let server = Arc::new(server);
        let admin_api = admin_api.map(|door| (door, AdminService::new(Arc::clone(&server), keys, standing)));
        let site = AuthorizationSite::new(server, Arc::clone(&clock), branding);
        let site: Arc<dyn Site> = Arc::new(site.counted_by(Arc::clone(&metrics.issuer)));
        let (public, admin) = (Some((public, site)), (admin, admin_site));
        let issuers = (others.keys, clock);
        Ok(Self { public, admin, gate, admin_api, issuers, upkeep: Some(upkeep), round: Some(round) })
    }

    /// A gate that issues nothing: it has no store, and what it must remember for seconds is in memory.
    async fn start_gate(
        listen: &config::Listen,
        replay: config::Replay,
        (issuers, resources): (Vec<IssuerSettings>, Vec<ResourceSettings>),
        mut seams: Seams,
    ) -> Result<Self, AppError> {
        let clock = seams.clock;
        let mut metrics = Metrics::new(resources.iter().map(|resource| resource.audience.as_str()));
        let guard = replay_guard(replay, seams.guard.take(), (&clock, &*seams.entropy)).await?;
        let guard: Arc<dyn ReplayGuard> = Arc::new(CountedGuard::new(guard, metrics.replay.clone()));
        gauges::of_process(&mut metrics, &guard, &*clock);
        let metrics = Arc::new(metrics);
        let site: Arc<dyn Site> = Arc::new(AdminSite {
            store: None,
            keys: None,
            guard: Some(Arc::clone(&guard)),
            clock: Arc::clone(&clock),
            takes_writes: Arc::new(AtomicBool::new(true)),
            metrics: Arc::clone(&metrics),
        });
        let admin = (bind(listen.admin).await?, site);
        let door = grpc::Door::bind(&listen.ext_authz).await.map_err(AppError::BindGrpc)?;
        let skew = resources.iter().map(|resource| resource.window.skew).max().unwrap_or_default();
        let tokens = Tokens::new(DEFAULT_TOKENS, Arc::clone(&clock)).counted_by(metrics.tokens.clone());
        let tokens = Arc::new(tokens);
        let others = Others::new(issuers, &tokens, &seams.entropy)?;
        let parts = gate::Parts {
            fence: if guard.is_shared() {
                Fence::shared(Arc::clone(&guard), skew)
            } else {
                Fence::without_store(clock.now(), skew)
            },
            guard,
            proof_keys: Arc::new(KnownProofKeys::new(DEFAULT_PROOF_KEYS)),
            tokens,
            root: RootKey::from_bytes(seams.entropy.draw()),
            clock: Arc::clone(&clock),
        };
        let service = parts.service(resources, &others.trusted, NONCE_LIFE);
        let service = service.counted_by(Arc::clone(&metrics.gate));
        let gate = Some((door, service));
        Ok(Self {
            public: None,
            admin,
            gate,
            admin_api: None,
            issuers: (others.keys, clock),
            upkeep: None,
            round: None,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            public: self.public.as_ref().map(|(door, _)| door.address()).transpose()?,
            admin: self.admin.0.address()?,
            gate: self.gate.as_ref().map(|(door, _)| door.tcp_addresses()).transpose()?.unwrap_or_default(),
            sockets: self.gate.as_ref().map(|(door, _)| door.sockets()).unwrap_or_default(),
            admin_api: self.admin_api.as_ref().and_then(|(door, _)| door.sockets().pop()),
        })
    }

    /// Serves until `shutdown` resolves, then drains: health says "not serving" first, then nothing new is accepted, then
    /// requests in flight finish, then the store is told that this life ended in good order.
    ///
    /// # Errors
    /// [`AppError::Serve`] when a listener failed; the others are drained all the same.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        let (stop, drained) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        if let Some((door, site)) = self.public {
            let stopped = told(&stop);
            tasks.spawn(async move {
                door.serve(site, stopped).await;
                Ok(())
            });
        }
        let (door, site) = self.admin;
        let admin_stopped = told(&stop);
        tasks.spawn(async move {
            door.serve(site, admin_stopped).await;
            Ok(())
        });
        if let Some((door, check)) = self.gate {
            let stopped = told(&stop);
            tasks.spawn(async move { door.serve(check, stopped).await });
        }
        if let Some((door, api)) = self.admin_api {
            let stopped = told(&stop);
            tasks.spawn(async move { door.serve_admin(api, stopped).await });
        }
        let mut behind = JoinSet::new(); // ends with this future, as everything does
        let mut fetching = JoinSet::new();
        let (issuers, clock) = self.issuers;
        if !issuers.is_empty() {
            fetching.spawn(issuers::look_after(issuers, clock)); // until the end: requests in flight need keys
        }
        if let Some(upkeep) = self.upkeep {
            behind.spawn(upkeep.run(told(&drained))); // its last note comes when nothing can be accepted any more
        }

        if let Some(round) = self.round {
            behind.spawn(round.run(told(&drained)));
        }

        let mut failed = tokio::select! {
            () = shutdown => None,
            Some(ended) = tasks.join_next() => Some(ended),
        };
        stop.send_replace(true);
        while let Some(ended) = tasks.join_next().await {
            failed = failed.or(Some(ended).filter(|ended| !matches!(ended, Ok(Ok(())))));
        }
        drained.send_replace(true);
        while behind.join_next().await.is_some() {}
        match failed {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(AppError::Serve(error)),
            Some(Err(error)) => Err(AppError::Serve(io::Error::other(error))),
        }
    }
}

/// Resolves when `signal` says so. If it never will, this life is being torn down, not stopped, and nothing may note that
/// it ended in good order.
fn told(signal: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut signal = signal.subscribe();
    async move {
        if signal.wait_for(|said| *said).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn bind(address: SocketAddr) -> Result<Door, AppError> {
    bind_within(address, crate::web::Limits::default()).await
}

async fn bind_within(address: SocketAddr, limits: crate::web::Limits) -> Result<Door, AppError> {
    let bound = Door::bind(address, limits).await;
    bound.map_err(|cause| AppError::Bind { address: address.to_string(), cause })
}

/// How people sign in, and where they are looked up; nobody, where nobody can sign in.
async fn people(
    login: Option<config::Login>,
    settings: &crate::oauth::Settings,
    (store, entropy): (&Arc<dyn Store>, &Arc<dyn Entropy>),
    now: Timestamp,
) -> Result<(Login, Arc<dyn People>), AppError> {
    let remembered = || Arc::new(RememberedPeople(Arc::clone(store)));
    match login {
        None => Ok((Login::Password(Arc::new(Nobody)), Arc::new(Nobody))),
        Some(config::Login::Local { users_file }) => {
            let users = Arc::new(local_users(users_file, settings)?);
            end_grants_of_disabled(&users, &**store, now).await?;
            Ok((Login::Password(Arc::clone(&users) as Arc<_>), users))
        }
        Some(config::Login::Oidc { settings, limits }) => {
            let fetcher = Fetcher::new(Reach::Anywhere, limits)?; // the operator has named the provider
            let provider = OidcProvider::new(settings, fetcher, Arc::clone(entropy));
            Ok((Login::Upstream(Arc::new(provider)), remembered()))
        }
        Some(config::Login::External) => Ok((Login::Elsewhere, remembered())),
        Some(config::Login::Header(headers)) => Ok((Login::Proxy(Arc::new(headers)), remembered())),
    }
}

/// Copies the database of an installation to the new file `to`; gives the size of the copy in bytes, or `None` if the
/// installation has no file of its own. Blocks while it does so.
///
/// # Errors
/// [`BackupError`] says what is in the way; then there is no copy.
pub fn back_up(store: &config::Store, to: &Path) -> Result<Option<u64>, BackupError> {
    match store {
        config::Store::Memory | config::Store::Postgres(_) => Ok(None),
        config::Store::Sqlite { path } => SqliteStore::back_up(path, to).map(Some),
    }
}

/// Ends what people have allowed whom the users file says to be disabled by now.
async fn end_grants_of_disabled(users: &LocalUsers, store: &dyn Store, now: Timestamp) -> Result<(), Unavailable> {
    for subject in users.disabled() {
        // To look costs much less than to write, and most of them have nothing left.
        if !store.grants_of(subject, now, 1).await?.is_empty() {
            let ended = store.end_grants_of(subject, EndedBy::UserDisabled, now).await?;
            tracing::info!(%subject, ended, "the grants of a person who is disabled have ended");
        }
    }
    Ok(())
}

/// The people of the users file, none of whom may have the name of a client.
fn local_users(path: PathBuf, settings: &crate::oauth::Settings) -> Result<LocalUsers, AppError> {
    let text = std::fs::read_to_string(&path).map_err(|cause| AppError::Users { path: path.clone(), cause })?;
    let users: LocalUsers = text.parse().map_err(|cause| AppError::UsersMistakes { path, cause })?;
    let is_client =
        |subject: &&crate::ident::Subject| settings.clients.iter().any(|client| client.id.as_str() == subject.as_str());
    let taken = users.subjects().find(is_client).map(ToString::to_string);
    taken.map_or_else(|| Ok(users), |name| Err(AppError::SubjectIsClient(name)))
}

/// Where the keys of clients are found that publish them.
fn published_keys(
    settings: &crate::oauth::Settings,
    documents: config::ClientDocuments,
) -> Result<Arc<dyn PublishedKeys>, AppError> {
    let strangers = settings.registration.is_some() || settings.client_id_documents.is_some();
    if strangers || settings.clients.iter().any(Client::publishes_keys) {
        Ok(Arc::new(ClientKeySets::new(documents.timeout)?))
    } else {
        Ok(Arc::new(NoKeySets))
    }
}

/// What has to do with servers of others.
struct Elsewhere {
    published_keys: Arc<dyn PublishedKeys>,
    client_documents: Arc<dyn ClientDocuments>,
    workload_issuers: Vec<WorkloadIssuer>,
    notices: Arc<dyn LogoutNotices>,
}

/// Where clients are found that say what they are in a document.
fn client_documents(
    settings: &crate::oauth::Settings,
    documents: config::ClientDocuments,
) -> Result<Arc<dyn ClientDocuments>, AppError> {
    match &settings.client_id_documents {
        Some(such) => Ok(Arc::new(KnownClientDocuments::new(such.policy.clone(), documents.timeout)?)),
        None => Ok(Arc::new(NoClientDocuments)),
    }
}

/// Where used proofs are remembered.
async fn replay_guard(
    replay: config::Replay,
    instead: Option<Arc<dyn ReplayGuard>>,
    (clock, entropy): (&Arc<dyn Clock>, &dyn Entropy),
) -> Result<Arc<dyn ReplayGuard>, AppError> {
    Ok(match (instead, replay) {
        (Some(guard), _) => guard,
        (None, config::Replay::Local { entries }) => Arc::new(LocalReplayGuard::new(entries)),
        (None, config::Replay::Redis(settings)) => {
            Arc::new(RedisReplayGuard::start(settings, Arc::clone(clock), entropy).await?)
        }
    })
}

/// What is needed to open the state of an installation.
struct State {
    store: Arc<dyn Store>,
    replay: config::Replay,
    signing: config::Signing,
    skew: std::time::Duration,
    /// How long access tokens may outlive what they belong to.
    kept: std::time::Duration,
}

impl State {
    async fn open(self, seams: &mut Seams, metrics: &Metrics) -> Result<Shared, AppError> {
        let (clock, entropy) = (Arc::clone(&seams.clock), &*seams.entropy);
        let now = clock.now();
        let store = self.store;
        let seen_until = store.last_alive().await?.map(|last| last.proofs_until(now, self.skew));
        let guard = replay_guard(self.replay, seams.guard.take(), (&clock, entropy)).await?;
        let guard: Arc<dyn ReplayGuard> = Arc::new(CountedGuard::new(guard, metrics.replay.clone()));
        let fence = if guard.is_shared() {
            Fence::shared(Arc::clone(&guard), self.skew)
        } else {
            Fence::after(seen_until, now)
        };
        store.note_alive(LastAlive { at: now, stopped: false }).await?;

        let kek = self.signing.encryption_key.unwrap_or_else(|| RootKey::from_bytes(entropy.draw()));
        let keys = Arc::new(SigningKeys::open(Arc::clone(&store), &kek, self.signing.schedule, now).await?);
        let root = root_secrets(&*store, &kek, entropy).await?;
        let proof_keys = Arc::new(KnownProofKeys::new(DEFAULT_PROOF_KEYS));
        let tokens = Tokens::new(DEFAULT_TOKENS, Arc::clone(&clock)).counted_by(metrics.tokens.clone());
        let tokens = Arc::new(tokens);
        let endings = Arc::new(Endings::new(self.kept));
        endings.read(&*store, now).await?;
        Ok(Shared { clock, store, guard, fence, keys, endings, proof_keys, tokens, root })
    }
}

/// The signing keys of an installation, for who looks after them while it runs or not; `None` if it issues nothing.
///
/// # Errors
/// [`AppError`] when the store or the keys cannot be used.
pub async fn signing_keys(config: Config, now: Timestamp) -> Result<Option<SigningKeys>, AppError> {
    let Some(server) = config.authorization_server else { return Ok(None) };
    let config::Signing { schedule, encryption_key } = server.signing;
    let store = open_store(config.store, config.limits, Purpose::Administer).await?;
    let kek = encryption_key.unwrap_or_else(|| RootKey::from_bytes((&SystemEntropy as &dyn Entropy).draw()));
    Ok(Some(SigningKeys::open(store, &kek, schedule, now).await?))
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// To serve from it, which one process does.
    Serve,
    /// To look after it, beside a process that serves from it or not.
    Administer,
}

async fn open_store(store: config::Store, limits: Limits, purpose: Purpose) -> Result<Arc<dyn Store>, AppError> {
    Ok(match (store, purpose) {
        (config::Store::Memory, _) => Arc::new(MemoryStore::new(limits)),
        (config::Store::Postgres(settings), _) => Arc::new(PostgresStore::open(&settings, limits).await?),
        (config::Store::Sqlite { path }, Purpose::Serve) => Arc::new(SqliteStore::open_to_serve(&path, limits)?),
        (config::Store::Sqlite { path }, Purpose::Administer) => Arc::new(SqliteStore::open(&path, limits)?),
    })
}

impl Shared {
    /// What the gate needs: nonces and spent proofs are those of this process.
    fn gate(&self) -> gate::Parts {
        gate::Parts {
            guard: Arc::clone(&self.guard),
            fence: self.fence.clone(),
            proof_keys: Arc::clone(&self.proof_keys),
            tokens: Arc::clone(&self.tokens),
            root: self.root.clone(),
            clock: Arc::clone(&self.clock),
        }
    }

    fn dependencies(
        self,
        (login, people): (Login, Arc<dyn People>),
        Elsewhere { published_keys, client_documents, workload_issuers, notices }: Elsewhere,
        entropy: Arc<dyn Entropy>,
    ) -> Dependencies {
        Dependencies {
            store: self.store,
            endings: self.endings,
            guard: self.guard,
            fence: self.fence,
            keys: self.keys,
            login,
            people,
            proof_keys: self.proof_keys,
            published_keys,
            client_documents,
            workload_issuers,
            notices,
            entropy,
            root: self.root,
        }
    }
}
