//! The program with one of the configurations to start from, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Child;

use crate::envoy::{eventually, exchange};
use crate::interop::repository;
use crate::process::program;
use crate::world::{ENCRYPTION_KEY, SECRET, free_port};

/// A running process; it ends with the value.
pub struct Example {
    pub socket: PathBuf,
    /// Where its authorization server listens, if it has one.
    pub public: u16,
    pub folder: TempDir,
    admin: u16,
    process: Child,
}

impl Example {
    /// Starts it on ports and paths of its own, after more names in its configuration have been replaced.
    pub async fn start(example: &str, names: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (socket, public, admin) = (folder.path().join("authz.sock"), free_port(), free_port());
        let mut text = fs::read_to_string(repository("examples").join(example)).expect("an example");
        for (from, to) in [
            ("/run/tollgate/authz.sock", &*socket.to_string_lossy()),
            ("127.0.0.1:8080", &format!("127.0.0.1:{public}")),
            ("127.0.0.1:9090", &format!("127.0.0.1:{admin}")),
            ("/var/lib/tollgate/tollgate.db", "tollgate.db"),
        ] {
            text = text.replace(from, to);
        }
        for (from, to) in names {
            assert!(text.contains(from), "{example} does not say {from}");
            text = text.replace(from, to);
        }
        fs::create_dir(folder.path().join("secrets")).expect("a folder");
        fs::copy(repository("examples/users.yaml"), folder.path().join("users.yaml")).expect("a file");
        for (name, text) in [("tollgate.yaml", &*text), ("secrets/kek", ENCRYPTION_KEY), ("secrets/billing", SECRET)] {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let process = Self::spawn(folder.path());
        let mut started = Self { socket, public, folder, admin, process };
        started.is_there().await;
        started
    }

    fn spawn(folder: &Path) -> Child {
        let log = fs::File::create(folder.join("tollgate.log")).expect("a file");
        let mut command = program();
        command.arg("serve").arg("--config").arg(folder.join("tollgate.yaml"));
        command.stdout(log.try_clone().expect("the same file")).stderr(log).stdin(Stdio::null());
        command.spawn().expect("the program")
    }

    async fn is_there(&mut self) {
        let (admin, log) = (self.admin, self.folder.path().join("tollgate.log"));
        let process = &mut self.process;
        eventually("the process is there, whether its issuer is or not", async || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("it ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            let request = format!("GET /livez HTTP/1.1\r\nhost: 127.0.0.1:{admin}\r\nconnection: close\r\n\r\n");
            exchange(admin, request.as_bytes()).await.ok().filter(|reply| reply.status == 200)
        })
        .await;
    }

    /// Ends it without a word of warning.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it was running");
    }

    /// Ends it without a word of warning and starts it again.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.process = Self::spawn(self.folder.path());
        self.is_there().await;
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("tollgate.log")).unwrap_or_default()
    }
}
