//! A gate in this process, on a socket of its own, and people who hold tokens and keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::authz::{
    AcceptedIssuer, Access, CertificateSource, DpopRequirement, Enforcement, Enforcer, GateNonce, IdentityHeader,
    OpaqueTokens, PathPrefix, Preflight, Requirements, ResourceMetadata, ResourceSettings, Rule, TokenIssuer,
    UpstreamAuthorization, UpstreamView,
};
use tollgate::cache::{KnownProofKeys, Tokens};
use tollgate::clock::{Clock, Timestamp, pause};
use tollgate::dpop::{Fence, Nonces, Window};
use tollgate::grpc::{CheckService, Door, GateListener, ListenAddress};
use tollgate::jose::{Algorithm, PublicKey, SigningKey, Thumbprint};
use tollgate::replay::{LocalReplayGuard, ReplayGuard, ReplayKey, Seen};
use tollgate::secret::rotation::RotatingSecret;
use tollgate::secret::seal::RootKey;
use tollgate::secret::{base64url, sha256};
use tollgate::token::{
    KeyLookup, KeysFault, Renew, Revocations, RevocationsFault, Said, TOKEN_ALGORITHMS, TokenLookup, TokenProfile,
    VerifiedToken,
};
use tollgate::unavailable::Unavailable;

use crate::world::TestClock;

pub const ISSUER: &str = "https://auth.example.com";
pub const API: &str = "https://api.example.com";
/// Takes bound and unbound tokens, hands the token on, and leaves no rule but one.
pub const MIXED: &str = "https://mixed.example.com";
/// Demands nonces.
pub const FRESH: &str = "https://fresh.example.com";
/// Takes unbound tokens only.
pub const BEARER: &str = "https://bearer.example.com";
/// Has a path, and says what it is.
pub const TOOLS: &str = "https://tools.example.com/mcp";

/// How long the nonces of the tests live.
pub const NONCE_LIFE: Duration = Duration::from_mins(5);

/// Keys of one issuer; none at all when there is an outage.
pub struct Keys(pub Vec<PublicKey>);

impl Renew for Keys {}

impl KeyLookup for Keys {
    fn keys(&self, kid: Option<&str>, _: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
        if self.0.is_empty() {
            return Err(Unavailable::Down.into());
        }
        Ok(self.0.iter().filter(|key| kid.is_none() || key.kid() == kid).cloned().collect())
    }
}

/// How long a slow issuer takes for an answer.
pub const SLOWNESS: Duration = Duration::from_millis(1_200);

/// Something of a slow issuer's, which is there once somebody has waited for it.
#[derive(Default)]
struct Slow(AtomicBool);

#[async_trait]
impl Renew for Slow {
    async fn renew(&self, _: Timestamp) {
        pause(SLOWNESS).await;
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The keys of a slow issuer.
struct SlowKeys(Keys, Slow);

#[async_trait]
impl Renew for SlowKeys {
    async fn renew(&self, now: Timestamp) {
        self.1.renew(now).await;
    }
}

impl KeyLookup for SlowKeys {
    fn keys(&self, kid: Option<&str>, now: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
        if self.1.0.load(Ordering::SeqCst) { self.0.keys(kid, now) } else { Err(KeysFault::Outdated) }
    }
}

/// Its status list, in which nothing stands.
struct SlowList(Arc<Slow>);

impl Revocations for SlowList {
    fn is_revoked(&self, _: &VerifiedToken, _: Timestamp) -> Result<bool, RevocationsFault> {
        if self.0.0.load(Ordering::SeqCst) { Ok(false) } else { Err(RevocationsFault::Outdated(self.0.clone())) }
    }
}

/// A guard that never answers.
struct DeadGuard;

#[async_trait]
impl ReplayGuard for DeadGuard {
    async fn spend(&self, _: ReplayKey, _: Timestamp, _: Timestamp) -> Result<Seen, Unavailable> {
        Err(Unavailable::Down)
    }
}

/// Where nobody knows any handle, or cannot say.
struct NoHandles(Result<(), Unavailable>);

#[async_trait]
impl TokenLookup for NoHandles {
    async fn look_up(&self, _: &str, _: Option<Thumbprint>, _: Timestamp) -> Result<Option<Said>, Unavailable> {
        self.0.map(|()| None)
    }
}

/// What can be wrong with a gate from the start.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Trouble {
    Nothing,
    NoKeys,
    NoGuard,
    /// Nobody says what handles stand for.
    NoLookup,
    /// Its keys and its status list must be waited for, each for [`SLOWNESS`].
    SlowIssuer,
    /// It has restarted a moment ago, and an earlier life may have seen every proof made up to now.
    JustRestarted,
}

/// A gate that answers on a socket until it is dropped.
pub struct Gate {
    pub clock: Arc<TestClock>,
    pub issuer: SigningKey,
    pub guard: Arc<LocalReplayGuard>,
    pub socket: PathBuf,
    pub tcp: SocketAddr,
    pub service: CheckService,
    folder: Arc<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Gate {
    pub async fn start() -> Self {
        Self::with(Trouble::Nothing).await
    }

    pub async fn with(trouble: Trouble) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("authz.sock");
        Self::at(trouble, &socket, Arc::new(folder)).await
    }

    /// A gate on this socket in this folder, whoever is there already.
    pub async fn at(trouble: Trouble, socket: &Path, folder: Arc<TempDir>) -> Self {
        let clock = Arc::new(TestClock::default());
        let issuer = SigningKey::generate(Algorithm::Es256).expect("a key");
        let jwk = issuer.published_jwk();
        let public = PublicKey::from_jwk(jwk.as_object().expect("an object")).expect("a public key");
        let keys = if trouble == Trouble::NoKeys { Vec::new() } else { vec![public] };
        let restarted = clock.now();
        let seen_until = (trouble == Trouble::JustRestarted).then(|| restarted + Duration::from_secs(15));
        let lookup = NoHandles(if trouble == Trouble::NoLookup { Err(Unavailable::Down) } else { Ok(()) });
        let slow = trouble == Trouble::SlowIssuer;
        let keys: Arc<dyn KeyLookup> =
            if slow { Arc::new(SlowKeys(Keys(keys), Slow::default())) } else { Arc::new(Keys(keys)) };
        let list = || Arc::new(SlowList(Arc::default())) as Arc<dyn Revocations>;
        let own = TokenIssuer {
            opaque: OpaqueTokens::Handles(Arc::new(lookup)),
            revocations: slow.then(list),
            ..own_issuer(keys)
        };
        let enforcer = Enforcer::new(
            resources(),
            &[Arc::new(own)],
            Arc::new(Tokens::new(1_000, clock.clone())),
            Arc::new(KnownProofKeys::new(1_000)),
            Fence::after(seen_until, restarted),
        );
        let guard = Arc::new(LocalReplayGuard::new(100_000));
        let asked: Arc<dyn ReplayGuard> = if trouble == Trouble::NoGuard { Arc::new(DeadGuard) } else { guard.clone() };
        let service = CheckService::new(enforcer, asked, clock.clone());
        let loopback = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let door = Door::bind(
            &[ListenAddress::Unix(socket.to_owned()), loopback]
                .map(|address| GateListener { address, access: tollgate::grpc::Access::Group }),
        )
        .await
        .expect("two listeners");
        let tcp = door.tcp_addresses().expect("an address")[0];
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(door.serve(service.clone(), async {
            let _ = stopped.await;
        }));
        Self { clock, issuer, guard, socket: socket.to_owned(), tcp, service, folder, stop: Some(stop), served }
    }

    /// Ends it in good order; the folder of its socket remains for a look.
    pub async fn stop(mut self) -> Arc<TempDir> {
        drop(self.stop.take());
        self.served.await.expect("no panic").expect("a clean end");
        self.folder
    }

    /// The folder of its socket, for a successor.
    pub fn share_folder(&self) -> Arc<TempDir> {
        self.folder.clone()
    }

    /// The time of the gate, in seconds.
    pub fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// What a token of ours for the API says, bound to the key of `holder`.
    pub fn token_claims(&self, holder: &Holder) -> Json {
        let now = self.now();
        json!({
            "iss": ISSUER, "sub": "ada", "aud": API, "client_id": holder.name, "scope": "orders:read", "jti": "t1",
            "iat": now, "exp": now + 300, "cnf": { "jkt": holder.thumbprint() },
        })
    }

    /// A token of ours, bound to the key of `holder`, with these scopes.
    pub fn token(&self, holder: &Holder, scope: &str) -> String {
        let mut claims = self.token_claims(holder);
        claims["scope"] = scope.into();
        self.issuer.sign("at+jwt", &claims)
    }
}

/// Somebody with a key.
pub struct Holder {
    pub name: String,
    pub key: SigningKey,
}

impl Holder {
    /// A client of this name with a new key.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), key: SigningKey::generate(Algorithm::Es256).expect("a key") }
    }

    pub fn thumbprint(&self) -> String {
        self.key.public().thumbprint().to_string()
    }

    pub fn proof_header(&self) -> Json {
        json!({ "typ": "dpop+jwt", "alg": self.key.algorithm().name(), "jwk": self.key.proof_jwk() })
    }

    /// A proof for one request, made at `now`; its `jti` is new each time.
    pub fn proof(&self, method: &str, uri: &str, token: &str, now: i64) -> String {
        self.key.sign_with(&self.proof_header(), &proof_claims(method, uri, token, now))
    }
}

/// What a proof says.
pub fn proof_claims(method: &str, uri: &str, token: &str, now: i64) -> Json {
    json!({ "jti": fresh_id(), "htm": method, "htu": uri, "iat": now, "ath": base64url(&sha256(token.as_bytes())) })
}

/// A name that nobody used before.
pub fn fresh_id() -> String {
    use tollgate::entropy::{Entropy, SystemEntropy};
    let entropy: &dyn Entropy = &SystemEntropy;
    base64url(&entropy.draw::<16>())
}

/// The issuer of all tokens.
pub fn own_issuer(keys: Arc<dyn KeyLookup>) -> TokenIssuer {
    let profile = TokenProfile::rfc9068(TOKEN_ALGORITHMS.to_vec(), Duration::from_secs(10));
    TokenIssuer {
        name: ISSUER.parse().expect("an issuer"),
        profile,
        keys,
        revocations: None,
        opaque: OpaqueTokens::None,
    }
}

/// The resources of the gate, each with its nonces.
pub fn resources() -> Vec<(ResourceSettings, Nonces)> {
    let root = RotatingSecret::from(RootKey::from_bytes([7; 32]));
    let nonces = |resource: &str| Nonces::new(root.derive(resource), NONCE_LIFE);
    let settings = |resource: &str, dpop, nonce, authorization, rules| ResourceSettings {
        audience: resource.parse().expect("a name"),
        origin: resource.parse().expect("an origin"),
        paths: PathPrefix::default(),
        stripped: PathPrefix::default(),
        issuers: vec![AcceptedIssuer {
            name: ISSUER.parse().expect("an issuer"),
            audiences: vec![resource.parse().expect("a name")],
        }],
        enforcement: Enforcement::Enforce,
        dpop,
        certificates: CertificateSource::Connection,
        nonce,
        window: Window { lifetime: Duration::from_mins(1), skew: Duration::from_secs(10) },
        upstream: UpstreamView { authorization, headers: identity_headers(), claims: None, withheld: Vec::new() },
        cors_origins: Vec::new(),
        preflight: Preflight::Judge,
        rules,
        metadata: (resource == TOOLS).then(|| ResourceMetadata {
            resource_name: Some("Tools".to_owned()),
            resource_documentation: Some("https://tools.example.com/developers".to_owned()),
            ..ResourceMetadata::default()
        }),
    };
    let api = settings(API, DpopRequirement::Required, GateNonce::Off, UpstreamAuthorization::Remove, api_rules());
    let orders = || vec![rule("/orders/**", &[], Some("orders:read"))];
    let mixed = settings(MIXED, DpopRequirement::Allowed, GateNonce::Off, UpstreamAuthorization::Bearer, orders());
    let fresh = settings(FRESH, DpopRequirement::Required, GateNonce::Required, UpstreamAuthorization::Keep, orders());
    let bearer = settings(BEARER, DpopRequirement::Off, GateNonce::Off, UpstreamAuthorization::Remove, orders());
    let tools = vec![rule("/mcp", &["POST"], Some("tools:use")), rule("/mcp/**", &[], Some("tools:use tools:admin"))];
    let tools = settings(TOOLS, DpopRequirement::Allowed, GateNonce::Off, UpstreamAuthorization::Remove, tools);
    let bearer = (bearer, nonces(BEARER));
    vec![(api, nonces(API)), (mixed, nonces(MIXED)), (fresh, nonces(FRESH)), bearer, (tools, nonces(TOOLS))]
}

fn identity_headers() -> Vec<IdentityHeader> {
    [("x-auth-subject", "sub"), ("x-auth-client", "client_id"), ("x-auth-scope", "scope"), ("x-auth-team", "team")]
        .map(|(name, claim)| IdentityHeader::new(name, claim).expect("a header"))
        .to_vec()
}

fn api_rules() -> Vec<Rule> {
    vec![
        rule("/healthz", &["GET"], None),
        rule("/orders/**", &["GET", "HEAD"], Some("orders:read")),
        rule("/orders/**", &["POST"], Some("orders:write")),
        rule("/shop.Orders/*", &["POST"], Some("orders:read")),
        rule("/me", &[], Some("")),
        rule("/public/**", &[], None),
    ]
}

fn rule(path: &str, methods: &[&str], scope: Option<&str>) -> Rule {
    let access = match scope {
        Some(scope) => Access::Token(Requirements::scopes(scope.parse().expect("scopes"))),
        None => Access::Anyone,
    };
    let methods = methods.iter().map(|method| method.parse().expect("a method")).collect();
    Rule { path: path.parse().expect("a pattern"), methods, mcp: None, access }
}
