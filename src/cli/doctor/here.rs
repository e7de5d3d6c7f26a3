//! What is on this machine: files, sockets, state.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Findings;
use crate::app;
use crate::cli::{healthcheck, in_full};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Store};
use crate::grpc::ListenAddress;
use crate::keys::KeyState;

/// Whether others may change what decides.
pub(super) fn files(findings: &mut Findings, config: &Path, named: &[PathBuf]) {
    let open = |path: &&PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0);
    let config = config.to_owned();
    let changeable: Vec<_> = std::iter::once(&config).chain(named).filter(open).collect();
    for path in &changeable {
        let path = path.display();
        findings.bad("configuration", format!("everybody may write {path}"), format!("chmod o-w {path}"));
    }
    if changeable.is_empty() {
        findings.good("configuration", "nobody else may write it, or a file that it names");
    }
}

/// Where a file is. The parent of a bare name is an empty path, which is nowhere.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether Envoy finds somebody where it asks.
pub(super) async fn sockets(findings: &mut Findings, config: &Config) {
    const SECTION: &str = "gate";
    if config.protected_resources.is_empty() {
        return;
    }
    for listener in &config.listen.ext_authz {
        let address = &listener.address;
        if let ListenAddress::Unix(path) = address {
            let directory = directory_of(path);
            if !directory.is_dir() {
                let what = format!("there is no directory for {address}");
                findings.bad(SECTION, what, format!("make {} for the user of Tollgate", directory.display()));
                continue;
            }
            if !path.exists() {
                findings.doubtful(SECTION, format!("nobody listens at {address}"), "start `tollgate serve`");
                continue;
            }
        }
        match healthcheck::ask(address, false).await {
            Ok(()) => findings.good(SECTION, format!("{address} serves")),
            Err(why) => {
                let help = match address {
                    ListenAddress::Unix(_) => "start `tollgate serve`; Envoy's user needs the group of the socket",
                    ListenAddress::Tcp(_) => "start `tollgate serve`",
                };
                findings.doubtful(SECTION, format!("{address} does not serve: {why}"), help);
            }
        }
    }
}

/// Whether the state can be used, and keys sign.
pub(super) async fn state(findings: &mut Findings, config: Config) {
    const SECTION: &str = "state";
    if config.authorization_server.is_none() {
        return;
    }
    match &config.store {
        Store::Memory => {
            findings.doubtful(SECTION, "is in memory", "grants and keys end with the process: configure `store`");
            return;
        }
        Store::Sqlite { path } if !path.exists() => {
            let directory = directory_of(path);
            if directory.is_dir() {
                findings.doubtful(SECTION, format!("there is no {} yet", path.display()), "the first start makes it");
            } else {
                let what = format!("there is no directory {}", directory.display());
                findings.bad(SECTION, what, "make it for the user of Tollgate");
            }
            return;
        }
        Store::Sqlite { .. } | Store::Postgres(_) => {}
    }
    let now = SystemClock.now();
    match app::signing_keys(config, now).await {
        Ok(Some(keys)) => {
            let signs = keys.records().into_iter().any(|record| record.state(now) == KeyState::Signing);
            if signs {
                findings.good(SECTION, "can be opened, and a key signs");
            } else {
                findings.doubtful(SECTION, "no key signs", "a start makes one, as does `tollgate keys rotate`");
            }
        }
        Ok(None) => {}
        Err(error) => findings.bad(SECTION, in_full(&error), "see docs/operations.md"),
    }
}
