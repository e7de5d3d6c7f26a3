//! The program as operators run it: a process with a configuration file, a store on disk and a log.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use argon2::{Argon2, Params, PasswordHasher as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::store::{Limits, PostgresStore, SqliteStore, Store};

use crate::client::{Client, Credential};
use crate::cluster::settings;
use crate::world::{ENCRYPTION_KEY, SECRET, configuration_text, free_port};

/// How long another process may take for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The password of ada.
pub const PASSWORD: &str = "correct horse battery staple";

/// Waits for something that another process does, and fails if it takes too long.
#[track_caller]
pub fn eventually<T>(what: &str, happens: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let happened = tokio::time::timeout(PATIENCE, happens).await;
        happened.unwrap_or_else(|_| panic!("{place}: {what} did not happen within {PATIENCE:?}"))
    }
}

/// A folder with everything that the program needs: the configuration of [`World`](crate::world::World), its store in a
/// file, and ada in the users file.
pub struct Installation {
    pub folder: TempDir,
    pub issuer: String,
    web_key: SigningKey,
    /// The connection URL of its database, if it is not a file.
    postgres: Option<String>,
}

impl Installation {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let issuer = format!("http://127.0.0.1:{}", free_port());
        let web_key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        write("tollgate.yaml", &configuration_text(&issuer, &web_key));
        write("kek", ENCRYPTION_KEY);
        write("users.yaml", &users());
        Self { folder, issuer, web_key, postgres: None }
    }

    /// The same with its state in a PostgreSQL database.
    pub fn on_postgres(url: &str) -> Self {
        let installation = Self::new();
        std::fs::write(installation.path("database.url"), url).expect("a file");
        Self { postgres: Some(url.to_owned()), ..installation }
    }

    /// Its store, for who works beside it.
    pub async fn open_store(&self, limits: Limits) -> Arc<dyn Store> {
        match &self.postgres {
            Some(url) => Arc::new(PostgresStore::open(&settings(url), limits).await.expect("a store")),
            None => Arc::new(SqliteStore::open(&self.database(), limits).expect("a store")),
        }
    }

    /// The setting of its store with one more member, in JSON.
    fn store(&self, member: &str) -> String {
        match &self.postgres {
            Some(_) => format!("store={{\"postgres\":{{\"url_file\":\"database.url\"{member}}}}}"),
            None => format!("store={{\"sqlite\":{{\"path\":\"{}\"{member}}}}}", self.database().display()),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.path("tollgate.db")
    }

    /// The socket of the gate.
    pub fn socket(&self) -> PathBuf {
        self.path("authz.sock")
    }

    /// A client as in [`World::client`](crate::world::World::client).
    pub fn client(&self, id: &str) -> Client {
        let credential = match id {
            "web" => Credential::Key(Box::new(self.web_key())),
            "backend" | "bound" => Credential::Basic(SECRET.to_owned()),
            "poster" => Credential::Post(SECRET.to_owned()),
            _ => Credential::None,
        };
        Client::new(&self.issuer, id, credential)
    }

    /// Two clients with the same key, whose requests all go to one of these ports each, as a load balancer may send them.
    pub fn client_at_each(&self, id: &str, ports: [u16; 2]) -> [Client; 2] {
        let [first, second] = ports.map(|port| {
            let balancer = reqwest::Proxy::all(format!("http://127.0.0.1:{port}")).expect("a URL");
            reqwest::Client::builder().proxy(balancer).build().expect("a client")
        });
        let first = self.client(id).connected_by(first);
        let second = first.twin(second);
        [first, second]
    }

    /// The registered key of the client `web`.
    pub fn web_key(&self) -> SigningKey {
        let private = self.web_key.to_pkcs8().expect("PKCS #8");
        SigningKey::from_pkcs8(Algorithm::Es256, &private).expect("the key")
    }

    /// The command that serves.
    pub fn serve(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("serve").arg("--config").arg(self.path("tollgate.yaml"));
        command.arg("--set").arg(self.store(""));
        if self.postgres.is_some() {
            command.arg("--set").arg("replay.local.replicas=\"each_takes_a_proof_once\"");
        }
        command.arg("--set").arg(format!("listen.ext_authz=[{{\"address\":\"unix:{}\"}}]", self.socket().display()));
        command.args(arguments);
        command
    }

    /// The command that serves with room for very many grants of one person at one client.
    pub fn serve_roomy(&self) -> Command {
        self.serve(&["--set", &self.store(",\"limits\":{\"grants_per_person\":2000}")])
    }

    /// Starts that, and waits until it serves.
    pub async fn start_roomy(&self) -> Process {
        Process::start(self.serve_roomy()).await
    }

    /// Writes the configuration with its store in it, for verbs that take no `--set`; gives its path.
    pub fn with_its_store(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.path("tollgate.yaml")).expect("a file");
        assert!(text.contains("store: { memory: {} }"));
        let store = match &self.postgres {
            Some(_) => {
                "store: { postgres: { url_file: database.url } }\nreplay: { local: { replicas: each_takes_a_proof_once } }"
                    .to_owned()
            }
            None => format!("store: {{ sqlite: {{ path: \"{}\" }} }}", self.database().display()),
        };
        let path = self.path("with-its-store.yaml");
        std::fs::write(&path, text.replace("store: { memory: {} }", &store)).expect("a file");
        path
    }

    /// Starts the program and waits until it serves.
    pub async fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.serve(arguments)).await
    }
}

/// The program, without a verb yet and without an environment of ours.
pub fn program() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_tollgate")));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn run(command: &mut Command) -> Output {
    eventually("the end of a program", command.output()).await.expect("a program")
}

fn users() -> String {
    let cheap = Params::new(8, 1, 1, None).expect("parameters");
    let cheap = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
    let hash = cheap.hash_password(PASSWORD.as_bytes()).expect("a hash");
    format!(
        "users:\n- {{ username: ada, password_hash: \"{hash}\", subject: ada, name: Ada, email: ada@example.com }}\n"
    )
}

/// A process that serves, and everything that it said.
pub struct Process {
    child: Child,
    /// Where health is.
    pub admin: String,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a command and waits until it serves.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program");
        let said = Arc::new(Mutex::new(String::new()));
        let (announce, mut announced) = watch::channel(None);
        let announce = Arc::new(announce);
        let output = child.stdout.take().expect("a pipe");
        let errors = child.stderr.take().expect("a pipe");
        let readers = vec![
            tokio::spawn(listen(output, Arc::clone(&said), Arc::clone(&announce))),
            tokio::spawn(listen(errors, Arc::clone(&said), announce)),
        ];
        let serves =
            eventually("the announcement", announced.wait_for(Option::is_some)).await.map(|admin| admin.clone());
        let Ok(Some(admin)) = serves else {
            panic!("the program ended:\n{}", said.lock().expect("no test panics with the lock"))
        };
        Self { child, admin, said, readers }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The processor time that its threads have used.
    pub fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("it runs");
        let used = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        });
        used.sum()
    }

    /// What it has resident, in KiB.
    pub fn resident_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends a signal by its name.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await.expect("kill");
        assert!(sent.success());
    }

    /// A field of the announcement that it serves.
    pub fn announced(&self, field: &str) -> String {
        let said = self.said.lock().expect("no test panics with the lock").clone();
        let events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let event = events.into_iter().find(|event| event["message"] == "tollgate serves").expect("the announcement");
        event[field].as_str().expect("a text").to_owned()
    }

    /// Waits until its log holds `text`.
    pub async fn until_it_says(&self, text: &str) {
        crate::redis::until(&format!("the log says `{text}`"), || async { self.has_said(text) }).await;
    }

    /// Whether its log holds `text`.
    pub fn has_said(&self, text: &str) -> bool {
        self.said.lock().expect("no test panics with the lock").contains(text)
    }

    /// What its admin listener says about it.
    pub async fn status(&self) -> Value {
        let answer = reqwest::get(format!("http://{}/status", self.admin)).await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// Ends it from one moment to the next.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// Waits for its end; gives its status, and what it said.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = eventually("the end of the program", self.child.wait()).await.expect("a status");
        for reader in self.readers {
            reader.await.expect("no panic");
        }
        let said = self.said.lock().expect("no test panics with the lock").clone();
        (status, said)
    }
}

/// Keeps what a stream says, and tells where health is once that is announced.
async fn listen(
    stream: impl AsyncRead + Unpin,
    said: Arc<Mutex<String>>,
    announce: Arc<watch::Sender<Option<String>>>,
) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["message"] == "tollgate serves" {
            announce.send_replace(event["admin"].as_str().map(str::to_owned));
        }
        let mut said = said.lock().expect("no test panics with the lock");
        said.push_str(&line);
        said.push('\n');
    }
}
