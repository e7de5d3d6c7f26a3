//! Redis servers of a test's own: one node, or a cluster of three, on free ports and in temporary folders.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use redis::{Client, Cmd, FromRedisValue};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::interval;
use tollgate::replay::{DEFAULT_KEY_PREFIX, RedisSettings};

use crate::process::eventually;
use crate::world::free_port;

/// `REDIS_BIN`, or what is on the path.
fn program() -> PathBuf {
    let named = std::env::var_os("REDIS_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || {
        let names = ["redis-server", "valkey-server"];
        std::env::split_paths(&path)
            .flat_map(|folder| names.map(|name| folder.join(name)))
            .find(|program| program.is_file())
    };
    named.or_else(found).expect("a Redis: run scripts/install-redis, or set REDIS_BIN")
}

/// A running node; it ends with the value.
pub struct Redis {
    pub port: u16,
    pub folder: TempDir,
    arguments: Vec<String>,
    process: Child,
}

impl Redis {
    /// A node that keeps nothing on disk.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same, with more settings.
    pub async fn with(arguments: &[&str]) -> Self {
        let redis = Self::begin(arguments);
        redis.until_it_answers().await;
        redis
    }

    /// Starts it, and does not wait.
    pub fn begin(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<_> =
            arguments.iter().map(|argument| argument.replace("FOLDER", &folder.path().to_string_lossy())).collect();
        let port = free_port();
        let process = spawn(port, folder.path(), &arguments);
        Self { port, folder, arguments, process }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Settings of a guard that asks here.
    pub fn settings(&self) -> RedisSettings {
        settings(&[self.url()], false)
    }

    /// Has it do something.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_ask(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &[&str]) -> Result<T, redis::RedisError> {
        let client = Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cmd = Cmd::new();
        for word in command {
            cmd.arg(word);
        }
        cmd.query_async(&mut connection).await
    }

    async fn until_it_answers(&self) {
        until("Redis answers", || async { self.try_ask::<String>(&["PING"]).await.is_ok() }).await;
    }

    /// Stops it for a while: it holds its connections and answers nobody.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([name, &id]).status().await.expect("kill");
        assert!(sent.success());
    }

    /// Ends it from one moment to the next.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it runs");
    }

    /// Starts it again, at the same port.
    pub async fn revive(&mut self) {
        self.process = spawn(self.port, self.folder.path(), &self.arguments);
        self.until_it_answers().await;
    }
}

fn spawn(port: u16, folder: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new(program());
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("Redis starts")
}

/// Three nodes that share the slots; they end with the value.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub async fn start() -> Self {
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for (index, (first, last)) in slots.iter().enumerate() {
            let bus = free_port().to_string();
            let node =
                Redis::with(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"])
                    .await;
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
            nodes.push(node);
            buses.push(bus);
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]).await;
        }
        for node in &nodes {
            until("the cluster is complete", || async {
                let info = node.ask::<String>(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        Self { nodes }
    }

    pub fn settings(&self) -> RedisSettings {
        settings(&self.nodes.iter().map(Redis::url).collect::<Vec<_>>(), true)
    }
}

/// Settings that are patient: the machine of a test is busy.
fn settings(urls: &[String], cluster: bool) -> RedisSettings {
    RedisSettings {
        nodes: urls.iter().map(|url| url.parse().expect("a URL")).collect(),
        cluster,
        key_prefix: DEFAULT_KEY_PREFIX.to_owned(),
        authorities: None,
        answer_within: Duration::from_secs(2),
        connect_within: Duration::from_secs(5),
    }
}

/// Asks again and again until something holds.
#[track_caller]
pub fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) -> impl Future<Output = ()> {
    eventually(what, async move {
        let mut ticks = interval(Duration::from_millis(10));
        while !holds().await {
            ticks.tick().await;
        }
    })
}
