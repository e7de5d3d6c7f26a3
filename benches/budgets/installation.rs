//! A Tollgate as an operator runs it: the real program, a configuration file, SQLite on the disk.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::time::interval;
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{AuthorizationCode, from_base64url};
use tollgate::store::{CodeRecord, Limits, PostgresStore, Recorded, SqliteStore, Store, TransactionId};
use tollgate::token::{AuthorizationDetails, RequestedClaims};

use crate::IN_FLIGHT;
use crate::client::{Client, assertion};
use crate::cluster;
use crate::http1::Connection;
use crate::parallel::for_each;
use crate::process::Process;

/// The issuer in the configuration. Clients connect to the port on loopback; TLS ends elsewhere.
pub(crate) const ISSUER: &str = "https://auth.example.com";

/// The token endpoint as proofs name it.
pub(crate) const TOKEN_URL: &str = "https://auth.example.com/oauth/token";

/// The protected resource.
pub(crate) const API: &str = "https://api.example.com";

/// What requests for the resource ask for.
pub(crate) const ORDER: &str = "/orders/42";

/// A verifier of RFC 7636 §4.1, and its challenge.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const USERS: &str = include_str!("../../examples/users.yaml");

/// How long something that was started may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// How an installation differs from the plain one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup<'a> {
    /// The URL of a PostgreSQL database in the place of the file.
    pub(crate) postgres: Option<&'a str>,
    /// Settings as `--set` takes them.
    pub(crate) settings: &'a [String],
    /// What stands in the configuration, and what is to stand there.
    pub(crate) edit: (&'a str, &'a str),
    /// So many codes in the place of one for each client at once.
    pub(crate) codes: Option<usize>,
    /// So many codes whose time is over, for the sweeper.
    pub(crate) old_codes: usize,
}

/// A Tollgate that serves.
pub(crate) struct Installation {
    /// The process.
    pub(crate) process: Process,
    /// Where the gate answers.
    pub(crate) socket: PathBuf,
    /// Where the authorization server listens.
    pub(crate) public: SocketAddr,
    /// The key of the client `batch`.
    pub(crate) batch_key: SigningKey,
    /// A client with a token for the API that is bound to its key.
    pub(crate) caller: Arc<Client>,
    /// That token.
    pub(crate) token: String,
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Codes that somebody approved for the client `shop`.
    codes: Vec<AuthorizationCode>,
    /// Its files.
    _folder: TempDir,
}

impl Installation {
    /// Starts the plain one.
    pub(crate) async fn start() -> Self {
        Self::start_as(Setup::default()).await
    }

    /// Starts one that differs.
    pub(crate) async fn start_as(setup: Setup<'_>) -> Self {
        let folder = folder();
        let batch_key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let (public, admin) = (free_address(), free_address());
        let socket = folder.path().join("authz.sock");
        let config = write_configuration(folder.path(), public, admin, &batch_key);
        let mut text = fs::read_to_string(&config).expect("the file").replacen(setup.edit.0, setup.edit.1, 1);
        if let Some(url) = setup.postgres {
            fs::write(folder.path().join("database.url"), url).expect("a file");
            let file = format!("sqlite: {{ path: \"{}/tollgate.db\" }}", folder.path().display());
            assert!(text.contains(&file));
            text = text.replacen(&file, "postgres: { url_file: database.url }", 1);
            text.push_str("replay: { local: { replicas: only_one } }\n");
        }
        fs::write(&config, text).expect("a file");
        let store = open_store(folder.path(), setup.postgres).await;
        let (now, minutes) = (SystemClock.now(), Duration::from_mins(5));
        approve_codes(&store, setup.old_codes, now.before(Duration::from_hours(1))).await;
        let codes = approve_codes(&store, setup.codes.unwrap_or(IN_FLIGHT), now + minutes).await;
        drop(store);
        let process = serve(&config, setup.settings);
        ready(admin).await;

        let caller = Arc::new(Client::new());
        let mut connection = Connection::open(public).await.expect("a connection");
        // Who shares memory that is new asks for a nonce while there may be proofs of before, and these clients have none.
        let mut token = Vec::new();
        eventually(async || {
            let answer = connection.exchange(&client_credentials(&batch_key, &caller)).await.expect("an answer");
            token = answer.body;
            answer.status == 200
        })
        .await;
        let token = member(&token, "access_token");
        Self { process, socket, public, batch_key, caller, token, config, codes, _folder: folder }
    }

    /// Connections to the authorization server, one for each client at once.
    pub(crate) async fn connections(&self) -> Vec<Connection> {
        let mut connections = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            connections.push(Connection::open(self.public).await.expect("a connection"));
        }
        connections
    }

    /// The codes that nobody has redeemed yet, as many as asked for.
    pub(crate) fn take_codes(&mut self, count: usize) -> Vec<AuthorizationCode> {
        self.codes.split_off(self.codes.len() - count)
    }
}

/// The request by which `client` redeems a code.
pub(crate) fn redemption(client: &Client, code: &AuthorizationCode) -> String {
    let code = code.reveal();
    let form = format!(
        "grant_type=authorization_code&client_id=shop&code={code}&code_verifier={VERIFIER}\
         &redirect_uri=https%3A%2F%2Fshop.example.com%2Fcallback"
    );
    token_request(client, &form)
}

/// The empty folder of an installation, on the disk that the build is on.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// The program.
pub(crate) const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// Starts Tollgate with a configuration file, and settings beside it.
pub(crate) fn serve(config: &Path, settings: &[String]) -> Process {
    let log = config.with_extension("log");
    let mut arguments = vec!["serve".to_owned(), "--config".to_owned(), config.to_string_lossy().into_owned()];
    arguments.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]));
    Process::start(TOLLGATE, &arguments, &log)
}

/// Waits until the process behind this administration port is ready; once a millisecond is often enough.
pub(crate) async fn ready(admin: SocketAddr) {
    let ask = async || {
        let mut connection = Connection::open(admin).await?;
        connection.exchange("GET /readyz HTTP/1.1\r\nhost: admin\r\n\r\n").await
    };
    eventually(async || ask().await.is_ok_and(|answer| answer.status == 200)).await;
}

/// Waits until something is so.
pub(crate) async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    let mut ticks = interval(Duration::from_millis(1));
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "what was started does not answer");
        ticks.tick().await;
    }
}

/// A port of this machine that nobody listens on now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Writes the configuration, and what it names, into a folder; gives its path.
pub(crate) fn write_configuration(folder: &Path, public: SocketAddr, admin: SocketAddr, batch: &SigningKey) -> PathBuf {
    let jwk = batch.published_jwk();
    let text = format!(
        r#"
listen:
  public: {{ address: "{public}" }}
  ext_authz: [ {{ address: "unix:{folder}/authz.sock" }} ]
  admin: {{ address: "{admin}" }}
store: {{ sqlite: {{ path: "{folder}/tollgate.db" }} }}
authorization_server:
  issuer: {ISSUER}
  login: {{ local: {{ users_file: users.yaml }} }}
  signing: {{ encryption_key_file: kek }}
  tokens: {{ access_token: 30m }}
  rate_limits: {{ client: 1000000, address: 1000000 }}
  scopes: {{ "orders:read": Read your orders, "orders:write": Change your orders }}
  clients:
    - client_id: shop
      token_endpoint_auth_method: none
      grant_types: [authorization_code, refresh_token]
      redirect_uris: [https://shop.example.com/callback]
      scope: "orders:read orders:write"
      dpop_bound_access_tokens: true
    - client_id: batch
      token_endpoint_auth_method: private_key_jwt
      grant_types: [client_credentials]
      scope: "orders:read"
      jwks: {{ keys: [{jwk}] }}
      dpop_bound_access_tokens: true
protected_resources:
  - resource: {API}
    metadata: {{ resource_name: Orders }}
    rules:
      - {{ path: /healthz, methods: [GET], allow: anyone }}
      - {{ path: "/orders/**", methods: [GET], scope: "orders:read" }}
      - {{ path: "/orders/**", methods: [POST, PUT, DELETE], scope: "orders:write" }}
"#,
        folder = folder.display(),
    );
    let entropy: &dyn Entropy = &SystemEntropy;
    let kek = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, entropy.draw::<32>());
    fs::write(folder.join("kek"), kek).expect("a file");
    fs::write(folder.join("users.yaml"), USERS).expect("a file");
    let config = folder.join("tollgate.yaml");
    fs::write(&config, text).expect("a file");
    config
}

/// The store of an installation, before it starts.
async fn open_store(folder: &Path, postgres: Option<&str>) -> Arc<dyn Store> {
    match postgres {
        Some(url) => {
            let store = PostgresStore::open(&cluster::settings(url), Limits::default()).await;
            Arc::new(store.expect("a store"))
        }
        None => Arc::new(SqliteStore::open(&folder.join("tollgate.db"), Limits::default()).expect("a store")),
    }
}

/// Puts codes into the store as if the person of the examples had approved them.
async fn approve_codes(store: &Arc<dyn Store>, count: usize, expires_at: Timestamp) -> Vec<AuthorizationCode> {
    let entropy: &dyn Entropy = &SystemEntropy;
    let codes: Vec<_> = (0..count).map(|_| AuthorizationCode::draw(entropy)).collect();
    let records: Vec<_> = codes.iter().map(|code| code_record(code, expires_at)).collect();
    for_each(records, |record| {
        let store = Arc::clone(store);
        async move { assert_eq!(store.record_code(&record).await, Ok(Recorded::First)) }
    })
    .await;
    codes
}

/// A code of the client `shop`.
pub(crate) fn code_record(code: &AuthorizationCode, expires_at: Timestamp) -> CodeRecord {
    let entropy: &dyn Entropy = &SystemEntropy;
    let challenge = from_base64url(CHALLENGE).and_then(|bytes| bytes.try_into().ok()).expect("32 bytes");
    CodeRecord {
        digest: code.digest(),
        transaction: TransactionId(entropy.draw()),
        client_id: "shop".parse().expect("a name"),
        redirect_uri: "https://shop.example.com/callback".to_owned(),
        challenge: Some(challenge),
        subject: "0b6f".parse().expect("a name"),
        auth_time: SystemClock.now(),
        acr: None,
        scopes: "orders:read orders:write".parse().expect("scopes"),
        resource: API.parse().expect("a resource"),
        details: AuthorizationDetails::default(),
        dpop_jkt: None,
        nonce: None,
        claims: RequestedClaims::default(),
        session: None,
        expires_at,
        spent_for: None,
    }
}

/// A token request with a proof.
pub(crate) fn token_request(client: &Client, form: &str) -> String {
    let (proof, length) = (client.token_proof(), form.len());
    format!(
        "POST /oauth/token HTTP/1.1\r\nhost: auth.example.com\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         dpop: {proof}\r\ncontent-length: {length}\r\n\r\n{form}"
    )
}

/// A token request of `batch`, which authenticates with its key, for a token bound to that of `client`.
pub(crate) fn client_credentials(batch: &SigningKey, client: &Client) -> String {
    let assertion = assertion("batch", batch);
    let form = format!(
        "grant_type=client_credentials&client_assertion={assertion}\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    );
    token_request(client, &form)
}

/// A text member of a JSON body.
pub(crate) fn member(body: &[u8], name: &str) -> String {
    let body: Json = serde_json::from_slice(body).expect("JSON");
    body[name].as_str().expect("a text").to_owned()
}
