//! Tollgate in a process of its own, which can be killed and stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tollgate::clock::{Clock, SystemClock};

use crate::envoy::{eventually, exchange};
use crate::gate::{API, Holder};
use crate::world::free_port;

/// A running `tollgate serve`; it ends with the value.
pub struct Sidecar {
    pub socket: PathBuf,
    port: u16,
    folder: TempDir,
    process: Child,
}

impl Sidecar {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, admin) = (free_port(), free_port());
        let socket = folder.path().join("authz.sock");
        let configuration = include_str!("sidecar/tollgate.yaml")
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:9090", &format!("127.0.0.1:{admin}"))
            .replace("/run/tollgate/authz.sock", &socket.to_string_lossy());
        fs::write(folder.path().join("tollgate.yaml"), configuration).expect("a file");
        fs::write(folder.path().join("secret"), SECRET).expect("a file");
        let process = Self::spawn(folder.path());
        let mut sidecar = Self { socket, port, folder, process };
        sidecar.ready().await;
        sidecar
    }

    fn spawn(folder: &Path) -> Child {
        let output = fs::File::create(folder.join("tollgate.log")).expect("a file");
        let errors = output.try_clone().expect("the same file");
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["serve", "--config"])
            .arg(folder.join("tollgate.yaml"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .expect("tollgate starts")
    }

    async fn ready(&mut self) {
        let (port, log) = (self.port, self.folder.path().join("tollgate.log"));
        let process = &mut self.process;
        eventually("tollgate answers", async || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("tollgate ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            let request = format!("GET /oauth/jwks HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
            exchange(port, request.as_bytes()).await.ok().filter(|reply| reply.status == 200)
        })
        .await;
    }

    /// Ends it without a word of warning.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it was running");
    }

    /// Starts it again where it was.
    pub async fn restart(&mut self) {
        self.process = Self::spawn(self.folder.path());
        self.ready().await;
    }

    /// Stops all of its threads where they are.
    pub async fn stop(&self) {
        self.signal("STOP").await;
        let threads = format!("/proc/{}/task", self.process.id().expect("it is running"));
        eventually("every thread has stopped", async || {
            let mut states =
                fs::read_dir(&threads).ok()?.map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
            states.all(|state| state.is_some_and(|state| state.contains(") T "))).then_some(())
        })
        .await;
    }

    /// Lets it go on.
    pub async fn go_on(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let process = self.process.id().expect("it is running").to_string();
        let sent = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &process]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "the signal was not sent");
    }

    /// A token for the API, bound to the key of `client`.
    pub async fn token(&self, client: &Holder) -> String {
        let uri = format!("http://127.0.0.1:{}/oauth/token", self.port);
        let proof = client.proof("POST", &uri, "", SystemClock.now().seconds());
        let form = format!("grant_type=client_credentials&client_id=robot&client_secret={SECRET}");
        let request = format!(
            "POST /oauth/token HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ndpop: {proof}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            self.port,
            form.len()
        );
        let reply = exchange(self.port, request.as_bytes()).await.expect("an answer");
        let answer: Json = serde_json::from_str(&reply.body).expect("a JSON answer");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {reply:?}")).to_owned()
    }

    /// A good request for an order, ready for the wire.
    pub fn request(client: &Holder, token: &str) -> Vec<u8> {
        let proof = client.proof("GET", &format!("{API}/orders/7"), token, SystemClock.now().seconds());
        format!(
            "GET /orders/7 HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
        )
        .into_bytes()
    }
}

/// The secret of the client `robot`.
const SECRET: &str = "a-secret-of-the-tests-which-is-long-enough";
