//! The composition root: a [`Config`] becomes bound listeners, serves and drains. The only place that names concrete
//! stores, guards, clocks and providers.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{self, Config};
use crate::courier::Round;
use crate::entropy::{Entropy, SystemEntropy};
use crate::fetch::FetcherFault;
use crate::grpc::{self, AdminService, Admission, CheckService};
use crate::identity::{Login, People, UsersFault};
use crate::issuers;
use crate::keys::{KeysError, SigningKeys};
use crate::replay::{RedisFault, ReplayGuard};
use crate::secret::seal::RootKey;
use crate::store::{
    BackupError, Endings, Limits, MemoryStore, OpenError, PostgresError, PostgresStore, SqliteStore, Store,
};
use crate::telemetry::{Feed, Traces};
use crate::unavailable::Unavailable;
use crate::web::{self, AdminSite, Door, Proxies, Site, Switched, Tls, TlsFault, TracedSite};

mod foundation;
mod gate;
mod gauges;
mod injector;
mod published;
mod reload;
mod serving;
mod sweeper;
mod upkeep;
mod workloads;

use foundation::{Foundation, Opening};
pub use injector::{Injector, InjectorCertificate, InjectorSettings};
use reload::{Fixed, Live};
pub use reload::{ReloadError, Reloader};
use serving::Changing;
use sweeper::Sweeper;
use upkeep::Upkeep;

/// How long the admin listener waits for its last answers to be read.
const LAST_PROBE: Duration = Duration::from_secs(1);

/// How often the health of the gate follows what this process has.
const READINESS_EVERY: Duration = Duration::from_secs(1);

/// The furthest that clocks of clients may be set to be ahead of ours, whatever comes to be configured.
const LARGEST_SKEW: Duration = Duration::from_mins(1);

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
    /// Where the events for auditors are heard.
    pub feed: Feed,
    /// Where spans go; nowhere, if it is absent.
    pub traces: Option<Arc<Traces>>,
}

impl Default for Seams {
    /// The world as it is.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            store: None,
            guard: None,
            people: None,
            feed: Feed::default(),
            traces: None,
        }
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
    /// The certificate of a listener cannot be used.
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
    admin: (Door, Arc<AdminSite>),
    gate: Option<(grpc::Door, CheckService)>,
    admin_api: Option<(grpc::Door, AdminService)>,
    reloader: Arc<Reloader>,
    shutdown: config::Shutdown,
    /// Whether this process is about to end.
    ending: Arc<AtomicBool>,
    upkeep: Option<Upkeep>,
    sweeper: Option<Sweeper>,
    /// What has ended, as far as the gate knows, and where that is read.
    endings: Option<(Arc<Endings>, Arc<dyn Store>)>,
    round: Option<Round>,
}

/// How a program is told to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Whoever sends requests has to learn of it first.
    Announced,
    /// Nobody sends requests any more, or somebody waits for the end.
    AtOnce,
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

impl App {
    /// Opens the store, reads the keys and binds the listeners.
    ///
    /// # Errors
    /// [`AppError`] says what is in the way.
    pub async fn start(config: Config, mut seams: Seams) -> Result<Self, AppError> {
        let fixed = Fixed::of(&config);
        let Config {
            listen,
            shutdown,
            store,
            limits,
            replay,
            nonce_keys,
            authorization_server,
            issuers,
            protected_resources,
            one_logged_in,
            roots,
            digest,
            ..
        } = config;
        let server = authorization_server.as_ref();
        let proxies = Proxies {
            networks: listen.public.trusted_proxies.clone().into(),
            tell_certificates: listen.public.forwarded_certificates,
        };
        let public = match server {
            Some(server) => {
                Some(public_door((listen.public, proxies.clone()), server.settings.mutual_tls, shutdown).await?)
            }
            None => None,
        };
        let (tls, public) = public.unzip();
        let tls = tls.flatten();
        let admin = bind_within(listen.admin, web::Limits { drain: LAST_PROBE, ..web::Limits::default() }).await?;
        // Before the sockets of the gate, which take the place of those of a server that runs: if that one has the store,
        // this one does not start and must not have harmed it.
        let store = match (server, seams.store.take()) {
            (None, _) => None,
            (Some(_), Some(store)) => Some(store),
            (Some(_), None) => Some(open_store(store, limits, Purpose::Serve).await?),
        };
        let gate = match listen.ext_authz.as_slice() {
            _ if protected_resources.is_empty() => None, // nothing to be asked about
            [] => None,
            addresses => {
                let door = grpc::Door::bind(addresses).await.map_err(AppError::BindGrpc)?;
                Some(door.draining_within(shutdown.deadline))
            }
        };
        // It has nothing to offer where nothing is issued.
        let admin_api = match &listen.admin_api {
            Some(api) if server.is_some() => Some(admin_door(api, &seams.clock, shutdown).await?),
            Some(_) | None => None,
        };
        let (admin_api, admin_tls) = admin_api.unzip();
        let store_name = fixed.store.name();
        let stale = fixed.store.revocations_stale();
        let signing = server.map(|server| server.signing.clone());
        let interval = signing.as_ref().map(|signing| signing.schedule.interval());
        let resources = protected_resources;
        let next = Changing { server: authorization_server, issuers, resources, one_logged_in, nonce_keys };
        let kept = limits.kept + LARGEST_SKEW;
        let opening = Opening { digest, store, signing, replay, skew: next.skew(), kept, stale, roots };
        let traces = seams.traces.clone();
        let (foundation, round) = Foundation::open(opening, seams).await?;
        let serving = foundation.serve(next, None)?;
        if let Some(state) = &foundation.state {
            serving.end_grants_of_disabled(state, foundation.clock.now()).await?;
        }

        let takes_writes = Arc::new(AtomicBool::new(true)); // the start has written
        let ending = Arc::new(AtomicBool::new(false));
        let admin_site = Arc::new(AdminSite {
            store: foundation.state.as_ref().map(|state| Arc::clone(&state.store)),
            keys: foundation.state.as_ref().map(|state| Arc::clone(&state.keys)),
            guard: Some(Arc::clone(&foundation.guard)),
            clock: Arc::clone(&foundation.clock),
            takes_writes: Arc::clone(&takes_writes),
            metrics: Arc::clone(&foundation.metrics),
            standing: Some(Arc::clone(&foundation.standing)),
            issuers: Arc::clone(&foundation.needed),
            ending: Arc::clone(&ending),
        });
        let upkeep = interval.zip(foundation.state.as_ref()).map(|(interval, state)| Upkeep {
            store: Arc::clone(&state.store),
            keys: Arc::clone(&state.keys),
            keys_every: interval,
            tokens: Arc::clone(&foundation.tokens),
            clock: Arc::clone(&foundation.clock),
            takes_writes,
            tls: tls.iter().cloned().chain(admin_tls.flatten()).collect(),
        });
        let sweeper = foundation
            .state
            .as_ref()
            .map(|state| Sweeper { store: Arc::clone(&state.store), clock: Arc::clone(&foundation.clock) });
        let endings = foundation.state.as_ref().map(|state| (Arc::clone(&state.endings), Arc::clone(&state.store)));
        let site = serving.site.clone().map(|site| Arc::new(Switched::new(site)));
        let gate = gate.zip(serving.check.clone());
        let admin_api = admin_api.zip(serving.api(&foundation, store_name));
        let live = Live {
            site: site.clone(),
            check: gate.as_ref().map(|(_, check)| check.clone()),
            api: admin_api.as_ref().map(|(_, api)| api.clone()),
            tls,
        };
        let site = site.map(|site| match traces {
            Some(traces) => Arc::new(TracedSite::new(site, traces, proxies)) as Arc<dyn Site>,
            None => site as Arc<dyn Site>,
        });
        let reloader = Arc::new(Reloader::new(foundation, (fixed, serving), live));
        Ok(Self {
            public: public.zip(site),
            admin: (admin, admin_site),
            gate,
            admin_api,
            reloader,
            shutdown,
            ending,
            upkeep,
            sweeper,
            endings,
            round,
        })
    }

    /// What puts another configuration in force while this one is served.
    #[must_use]
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
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

    /// Serves until `shutdown` resolves, then drains: health says "not serving" first, and if it is to be announced, all is
    /// served for a while longer; then nothing new is accepted, then requests in flight finish, then the store is told that
    /// this life ended in good order. The admin listener answers to the end.
    ///
    /// # Errors
    /// [`AppError::Serve`] when a listener failed; the others are drained all the same.
    pub async fn run(self, shutdown: impl Future<Output = Stop>) -> Result<(), AppError> {
        let (stop, drained) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        let mut behind = JoinSet::new(); // ends with this future, as everything does
        if let Some((door, site)) = self.public {
            let stopped = told(&stop);
            tasks.spawn(async move {
                door.serve(site, stopped).await;
                Ok(())
            });
        }
        let mut healths = Vec::new();
        if let Some((door, check)) = self.gate {
            let health = door.health();
            health.set_ready(self.admin.1.is_ready_itself()).await;
            behind.spawn(follow(Arc::clone(&self.admin.1), health.clone(), told(&drained)));
            healths.push(health);
            let stopped = told(&stop);
            tasks.spawn(async move { door.serve(check, stopped).await });
        }
        if let Some((door, api)) = self.admin_api {
            healths.push(door.health());
            let stopped = told(&stop);
            tasks.spawn(async move { door.serve_admin(api, stopped).await });
        }
        let ((door, site), probed) = (self.admin, told(&drained));
        behind.spawn(async move { door.serve(site, probed).await });
        let mut fetching = JoinSet::new();
        let (issuers, clock) = self.reloader.issuers();
        fetching.spawn(issuers::look_after(issuers, Arc::clone(&clock))); // until the end: requests in flight need keys
        let endings = self.endings.as_ref().map(|(endings, _)| Arc::clone(endings));
        if let Some((endings, store)) = self.endings {
            fetching.spawn(async move { endings.follow(&*store, &*clock).await });
        }
        if let Some(sweeper) = self.sweeper {
            behind.spawn(sweeper.run(told(&drained)));
        }
        if let Some(upkeep) = self.upkeep {
            behind.spawn(upkeep.run(told(&drained))); // its last note comes when nothing can be accepted any more
        }

        if let Some(round) = self.round {
            behind.spawn(round.run(told(&drained)));
        }

        let mut failed = tokio::select! {
            told = shutdown => {
                self.ending.store(true, Ordering::Relaxed);
                if told == Stop::Announced { announce(&healths, self.shutdown, &mut tasks).await } else { None }
            }
            Some(ended) = tasks.join_next() => Some(ended),
        };
        self.ending.store(true, Ordering::Relaxed);
        stop.send_replace(true);
        if let Some(endings) = endings {
            endings.let_go();
        }
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

/// How the service of a door has ended.
type Ended = Result<io::Result<()>, JoinError>;

/// Has health checks say that this process will end, and lets it serve on for the time that it takes others to hear of it;
/// less, if a door fails.
async fn announce(
    healths: &[grpc::Health],
    shutdown: config::Shutdown,
    doors: &mut JoinSet<io::Result<()>>,
) -> Option<Ended> {
    for health in healths {
        health.stop_serving().await;
    }
    let (delay, deadline) = (shutdown.delay.as_secs(), shutdown.deadline.as_secs());
    tracing::info!(delay, deadline, "told to stop: readiness fails, and requests are served for {delay} s more");
    tokio::time::timeout(shutdown.delay, doors.join_next()).await.unwrap_or_default()
}

/// Tells the health of the gate whether this process is ready, until `ended`.
async fn follow(site: Arc<AdminSite>, health: grpc::Health, ended: impl Future<Output = ()>) {
    let mut ticks = tokio::time::interval(READINESS_EVERY);
    let mut ended = std::pin::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            _ = ticks.tick() => health.set_ready(site.is_ready_itself()).await,
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

/// The door of the authorization server, and what it encrypts with.
async fn public_door(
    (listen, proxies): (config::PublicListener, Proxies),
    asks: bool,
    shutdown: config::Shutdown,
) -> Result<(Option<Tls>, Door), AppError> {
    let tls = listen.tls.map(|files| Tls::new(files, asks)).transpose()?;
    let limits = web::Limits { drain: shutdown.deadline, ..web::Limits::default() };
    let door = bind_within(listen.address, limits).await?.behind(proxies);
    Ok(match tls {
        Some(tls) => (Some(tls.clone()), door.encrypted(tls)),
        None => (None, door),
    })
}

/// The door of our own API, and what it encrypts with.
async fn admin_door(
    api: &config::AdminApi,
    clock: &Arc<dyn Clock>,
    shutdown: config::Shutdown,
) -> Result<(grpc::Door, Option<Tls>), AppError> {
    let (door, tls) = match api {
        config::AdminApi::Socket { path, access } => (grpc::Door::bind_admin(path, *access).await, None),
        config::AdminApi::Port { address, tls, authorities, clients } => {
            let tls = Tls::new(tls.clone(), true)?;
            let admission = Admission {
                tls: tls.clone(),
                authorities: authorities.clone(),
                clients: clients.clone(),
                clock: Arc::clone(clock),
            };
            (grpc::Door::bind_admin_port(*address, admission).await, Some(tls))
        }
    };
    Ok((door.map_err(AppError::BindGrpc)?.draining_within(shutdown.deadline), tls))
}

async fn bind_within(address: SocketAddr, limits: web::Limits) -> Result<Door, AppError> {
    let bound = Door::bind(address, limits).await;
    bound.map_err(|cause| AppError::Bind { address: address.to_string(), cause })
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

/// The signing keys of an installation, for who looks after them while it runs or not; `None` if it issues nothing.
///
/// # Errors
/// [`AppError`] when the store or the keys cannot be used.
pub async fn signing_keys(config: Config, now: Timestamp) -> Result<Option<SigningKeys>, AppError> {
    let Some(server) = config.authorization_server else { return Ok(None) };
    let config::Signing { schedule, encryption_key } = server.signing;
    let store = open_store(config.store, config.limits, Purpose::Administer).await?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let kek = encryption_key.unwrap_or_else(|| RootKey::from_bytes(entropy.draw()).into());
    Ok(Some(SigningKeys::open(store, kek, schedule, entropy, now).await?))
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
