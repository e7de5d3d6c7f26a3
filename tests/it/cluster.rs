//! PostgreSQL servers of our own: each in a temporary folder, and gone with the test, however that ends.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::NoTls;
use tollgate::store::{PostgresSettings, PostgresStore};

use crate::world::free_port;

/// Runs the server until nobody holds the other end of the pipe, however that comes; then nothing is left of it. Each line
/// that comes through the pipe starts it again after it has failed.
const KEEPER: &str = r#"
trap '' INT
serve() {
    "$2/postgres" -D "$1/data" >>"$1/log" 2>&1 &
    echo $! >"$1/pid"
}
serve "$1" "$2"
while read -r _; do
    wait $!
    serve "$1" "$2"
done
kill -QUIT $! 2>/dev/null
wait $!
rm -rf "$1"
"#;

/// A PostgreSQL server.
pub struct Cluster {
    /// With its data, its socket, its log and the number of its process; removed by the keeper.
    folder: PathBuf,
    pub port: u16,
    keeper: Child,
}

impl Cluster {
    /// A new server with one more setting a line.
    pub fn start(settings: &str) -> Self {
        Self::start_in(own_folder(), settings)
    }

    /// A new server that is watched from its first start: `watch` gets the folder of its data and a path for a journal, and
    /// gives its environment and who watches. Its log has small segments, so that some are used again, and its pages have
    /// checksums, so that torn ones are noticed.
    pub fn start_watched<const N: usize, W>(
        settings: &str,
        watch: impl FnOnce(&Path, &Path) -> ([(&'static str, PathBuf); N], W),
    ) -> (Self, W) {
        let folder = own_folder();
        init(&folder, &["--wal-segsize=1", "--data-checksums"]);
        let (environment, watcher) = watch(&folder.join("data"), &folder.join("journal"));
        (Self::serve(folder, settings, &environment), watcher)
    }

    fn start_in(folder: PathBuf, settings: &str) -> Self {
        init(&folder, &[]);
        Self::serve(folder, settings, &[])
    }

    /// Starts what is in a folder.
    fn serve(folder: PathBuf, settings: &str, environment: &[(&str, PathBuf)]) -> Self {
        let port = free_port();
        let socket = folder.display();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{socket}'\n\
             max_connections = 300\nshared_buffers = '32MB'\n{settings}\n"
        );
        fs::write(folder.join("data/postgresql.auto.conf"), settings).expect("a file");
        let keeper = keep(&folder, environment);
        let cluster = Self { folder, port, keeper };
        cluster.wait_until_it_serves();
        cluster
    }

    /// A new server that speaks TLS over TCP and nothing else, with this certificate and key.
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let folder = own_folder();
        for (name, text) in [
            ("tls.pem", certificate),
            ("tls.key", key),
            ("hba", "hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n"),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
            give_to_server(&path);
        }
        let path = folder.display();
        let settings = format!(
            "ssl = on\nssl_cert_file = '{path}/tls.pem'\nssl_key_file = '{path}/tls.key'\nhba_file = '{path}/hba'"
        );
        Self::start_in(folder, &settings)
    }

    /// A server that follows another one.
    pub fn standby_of(primary: &Self) -> Self {
        let folder = own_folder();
        let data = folder.join("data");
        let port = primary.port.to_string();
        let mut backup = as_server(&program("pg_basebackup"));
        backup.args(["--host=127.0.0.1", "--username=postgres", "--checkpoint=fast", "--no-sync", "--port", &port]);
        backup.arg("--pgdata").arg(&data).succeed();
        fs::write(data.join("standby.signal"), "").expect("a file");
        Self::serve(folder, &format!("primary_conninfo = 'host=127.0.0.1 port={port} user=postgres'"), &[])
    }

    /// The numbers of the processes of the server.
    pub fn processes(&self) -> Vec<String> {
        let server = fs::read_to_string(self.folder.join("pid")).expect("a number");
        let server = server.trim();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", server]).output().expect("ps");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        std::iter::once(server).chain(children.split_whitespace()).map(str::to_owned).collect()
    }

    /// Ends those processes from one moment to the next, as a power cut does.
    pub fn kill(&self, processes: &[String]) {
        let killed = Command::new("kill").arg("-KILL").args(processes).status();
        assert!(killed.is_ok(), "the server on port {} lives, or what is left of it", self.port);
    }

    /// Ends all its processes from one moment to the next, also those that begin meanwhile, and waits until none is left
    /// that may write.
    pub fn kill_all(&self) {
        let server = Frozen(self.processes().into_iter().take(1).collect());
        server.send("-STOP"); // so that it begins no other
        let mut processes = self.processes();
        processes.reverse(); // who hears that it is gone would go in order
        self.kill(&processes);
        let is_over = |process: &String| {
            let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            status.rsplit_once(") ").is_none_or(|(_, status)| status.starts_with(['Z', 'X']))
        };
        let are_over = (0..6000).any(|_| {
            processes.iter().all(is_over) || {
                thread::park_timeout(Duration::from_millis(5));
                false
            }
        });
        assert!(are_over, "the server on port {} lives", self.port);
    }

    /// Stops the server as its manual wants it.
    pub fn stop(&self) {
        as_server(&program("pg_ctl")).args(["stop", "--mode=fast", "--pgdata"]).arg(self.folder.join("data")).succeed();
    }

    /// Has the server look at all its tables and indexes.
    pub fn check(&self) {
        let mut check = as_server(&program("pg_amcheck"));
        check.args(["--install-missing", "--heapallindexed", "--username=postgres", "--host"]).arg(&self.folder);
        check.args(["--port", &self.port.to_string(), "postgres"]).succeed();
    }

    /// Stops the server for as long as the value lives: it holds its connections, new ones are taken on its behalf, and it
    /// answers on none.
    pub fn freeze(&self) -> Frozen {
        let frozen = Frozen(self.processes());
        frozen.send("-STOP");
        frozen
    }

    /// Ends the server in the middle of everything: its own processes do so when they hear of it, and repair nothing.
    pub fn stop_at_once(&self) {
        as_server(&program("pg_ctl"))
            .args(["stop", "--mode=immediate", "--pgdata"])
            .arg(self.folder.join("data"))
            .succeed();
    }

    /// Starts a server that has failed, and waits until it has recovered.
    pub fn recover(&self) {
        self.keeper.stdin.as_ref().expect("a pipe").write_all(b"again\n").expect("a keeper");
        self.wait_until_it_serves();
    }

    /// Makes a standby the primary, and waits until it is.
    pub fn promote(&self) {
        as_server(&program("pg_ctl")).args(["promote", "--wait", "--pgdata"]).arg(self.folder.join("data")).succeed();
    }

    fn wait_until_it_serves(&self) {
        let mut ready = Command::new(program("pg_isready"));
        ready.args(["--quiet", "--timeout=1", "--host"]).arg(&self.folder).args(["--port", &self.port.to_string()]);
        let serves = (0..600).any(|_| {
            ready.status().expect("pg_isready").success() || {
                thread::park_timeout(Duration::from_millis(50));
                false
            }
        });
        assert!(serves, "no PostgreSQL:\n{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    /// The connection URL of a schema of the database `postgres`.
    pub fn url(&self, schema: &str) -> String {
        let (folder, port) = (self.folder.display(), self.port);
        format!("host={folder} port={port} user=postgres dbname=postgres options='-c search_path={schema}'")
    }

    /// Makes a new schema, and gives its connection URL.
    pub async fn new_schema(&self) -> String {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let schema = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        self.tell("public", &format!("CREATE SCHEMA {schema}")).await;
        self.url(&schema)
    }

    /// Runs statements.
    pub async fn tell(&self, schema: &str, statements: &str) {
        execute(&self.url(schema), statements).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

/// The processes of a server that are stopped, until this is gone.
pub struct Frozen(Vec<String>);

impl Frozen {
    fn send(&self, signal: &str) {
        drop(Command::new("kill").arg(signal).args(&self.0).status());
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.send("-CONT");
    }
}

/// Runs statements at a connection URL.
pub async fn execute(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    client.batch_execute(statements).await.expect("statements that are right");
    drop(client);
    connection.await.expect("no panic").expect("a clean end");
}

/// The settings of a store at a connection URL.
pub fn settings(url: &str) -> PostgresSettings {
    PostgresSettings {
        url: url.parse().expect("a URL"),
        authorities: None,
        connections: PostgresSettings::CONNECTIONS,
        connect_within: PostgresSettings::CONNECT_WITHIN,
        answer_within: PostgresSettings::ANSWER_WITHIN,
        revocations_stale: PostgresSettings::REVOCATIONS_STALE,
    }
}

/// A server that many tests share.
pub static SHARED: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(""));

/// A store in a schema of its own on the shared server, and its connection URL.
pub async fn store(limits: tollgate::store::Limits) -> (PostgresStore, String) {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    let url = shared.new_schema().await;
    (PostgresStore::open(&settings(&url), limits).await.expect("a store"), url)
}

/// Makes the data of a server.
fn init(folder: &Path, options: &[&str]) {
    as_server(&program("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
        .args(options)
        .arg("--pgdata")
        .arg(folder.join("data"))
        .succeed();
}

/// Starts the keeper of a folder.
fn keep(folder: &Path, environment: &[(&str, PathBuf)]) -> Child {
    let mut command = as_server(Path::new("sh"));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.args(["-c", KEEPER, "keeper"]).arg(folder).arg(bin());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a keeper")
}

/// A folder that belongs to the user whom servers run as.
fn own_folder() -> PathBuf {
    let folder = TempDir::new().expect("a folder").keep();
    give_to_server(&folder);
    folder
}

/// Makes it the property of that user.
fn give_to_server(path: &Path) {
    if let Some(user) = user() {
        let id = |flag| {
            let output = Command::new("id").args([flag, user]).output().expect("id");
            String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().expect("a number")
        };
        chown(path, Some(id("-u")), Some(id("-g"))).expect("root may");
    }
}

/// Whom servers run as if we are root, who may not run any.
fn user() -> Option<&'static str> {
    let id = |arguments: &[&str]| Command::new("id").args(arguments).output().expect("id");
    let root = id(&["-u"]).stdout.trim_ascii() == b"0";
    root.then(|| if id(&["postgres"]).status.success() { "postgres" } else { "nobody" })
}

/// A command that runs as that user.
fn as_server(program: &Path) -> Command {
    let Some(user) = user() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups"]).arg(program).current_dir("/");
    command
}

trait Succeed {
    /// Runs to the end, which must be a good one.
    fn succeed(&mut self);
}

impl Succeed for Command {
    fn succeed(&mut self) {
        let output = self.output().expect("a program");
        assert!(output.status.success(), "{self:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn program(name: &str) -> PathBuf {
    bin().join(name)
}

/// `POSTGRES_BIN`, or where Debian keeps the newest.
fn bin() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where a tool is")]
    if let Ok(bin) = std::env::var("POSTGRES_BIN") {
        return bin.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    newest.expect("there is no PostgreSQL: run scripts/install-postgres, or set POSTGRES_BIN")
}
