//! A Tollgate as an operator runs it: the real program, a configuration file, SQLite on the disk.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::time::interval;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{AuthorizationCode, from_base64url};
use tollgate::store::{CodeRecord, Limits, Recorded, SqliteStore, Store as _, TransactionId};
use tollgate::token::{AuthorizationDetails, RequestedClaims};

use crate::IN_FLIGHT;
use crate::client::{Client, assertion};
use crate::http1::Connection;
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
    /// Codes that somebody approved for the client `shop`, one for each client at once.
    codes: Vec<AuthorizationCode>,
    /// Its files.
    _folder: TempDir,
}

impl Installation {
    /// Starts one, with codes for as many clients as come at once.
    pub(crate) async fn start() -> Self {
        let folder = folder();
        let batch_key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let (public, admin) = (free_address(), free_address());
        let socket = folder.path().join("authz.sock");
        let config = write_configuration(folder.path(), public, admin, &batch_key);
        let codes = approve_codes(&folder.path().join("tollgate.db")).await;
        let process = serve(&config);
        ready(admin).await;

        let caller = Arc::new(Client::new());
        let mut connection = Connection::open(public).await.expect("a connection");
        let token = connection.exchange(&client_credentials(&batch_key, &caller)).await.expect("an answer");
        let token = member(&token.expect_ok(), "access_token");
        Self { process, socket, public, batch_key, caller, token, codes, _folder: folder }
    }

    /// Connections to the authorization server, one for each client at once.
    pub(crate) async fn connections(&self) -> Vec<Connection> {
        let mut connections = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            connections.push(Connection::open(self.public).await.expect("a connection"));
        }
        connections
    }

    /// Requests that redeem the codes: for each a client, its request, and one client a code.
    pub(crate) fn redemptions(&self) -> Vec<(Client, String)> {
        let redemption = |code: &AuthorizationCode| {
            let client = Client::new();
            let code = code.reveal();
            let form = format!(
                "grant_type=authorization_code&client_id=shop&code={code}&code_verifier={VERIFIER}\
                 &redirect_uri=https%3A%2F%2Fshop.example.com%2Fcallback"
            );
            let request = token_request(&client, &form);
            (client, request)
        };
        self.codes.iter().map(redemption).collect()
    }
}

/// The empty folder of an installation, on the disk that the build is on.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// Starts Tollgate with a configuration file.
pub(crate) fn serve(config: &Path) -> Process {
    let log = config.with_extension("log");
    Process::start(env!("CARGO_BIN_EXE_tollgate"), &["serve", "--config", &config.to_string_lossy()], &log)
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

/// Puts codes into the store as if the person of the examples had approved them; that is before the server opens it.
async fn approve_codes(database: &Path) -> Vec<AuthorizationCode> {
    let (entropy, now): (&dyn Entropy, _) = (&SystemEntropy, SystemClock.now());
    let store = SqliteStore::open(database, Limits::default()).expect("a store");
    let challenge = from_base64url(CHALLENGE).and_then(|bytes| bytes.try_into().ok()).expect("32 bytes");
    let mut codes = Vec::with_capacity(IN_FLIGHT);
    for _ in 0..IN_FLIGHT {
        let code = AuthorizationCode::draw(entropy);
        let record = CodeRecord {
            digest: code.digest(),
            transaction: TransactionId(entropy.draw()),
            client_id: "shop".parse().expect("a name"),
            redirect_uri: "https://shop.example.com/callback".to_owned(),
            challenge: Some(challenge),
            subject: "0b6f".parse().expect("a name"),
            auth_time: now,
            acr: None,
            scopes: "orders:read orders:write".parse().expect("scopes"),
            resource: API.parse().expect("a resource"),
            details: AuthorizationDetails::default(),
            dpop_jkt: None,
            nonce: None,
            claims: RequestedClaims::default(),
            session: None,
            expires_at: now + Duration::from_mins(5),
            spent_for: None,
        };
        assert_eq!(store.record_code(&record).await, Ok(Recorded::First));
        codes.push(code);
    }
    codes
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
