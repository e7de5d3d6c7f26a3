//! Other people's clients, unchanged, against the program (`tests/interop/README.md`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::chromium::chromium;
use crate::process::{Installation, PASSWORD, run};
use crate::world::free_port;

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Fails, with what to do, if a tool is not installed.
#[track_caller]
fn installed(path: &str) -> PathBuf {
    let path = repository(path);
    assert!(path.exists(), "{} is missing: run `make tools`", path.display());
    path
}

/// The private key of the client, as other people's libraries read it (RFC 7518 §6.2.2).
fn private_jwk(installation: &Installation) -> Value {
    /// What stands before the private value in an EC private key (RFC 5915 §3): version 1, and 32 bytes to come.
    const BEFORE: [u8; 5] = [2, 1, 1, 4, 32];
    let key = installation.web_key();
    let der = key.to_pkcs8().expect("PKCS #8");
    let at = der.windows(BEFORE.len()).position(|window| window == BEFORE).expect("an EC private key") + BEFORE.len();
    let mut jwk = key.published_jwk();
    jwk["d"] = json!(tollgate::secret::base64url(&der[at..at + 32]));
    jwk
}

/// Starts the program, which demands nonces, and runs somebody's client against it.
async fn satisfies(mut client: Command) {
    let installation = Installation::new();
    std::fs::write(installation.path("client.jwk"), private_jwk(&installation).to_string()).expect("a file");
    let dpop = "authorization_server.dpop={\"nonce\":\"required\",\"required\":true}";
    let redirect_uri = format!("http://127.0.0.1:{}/cb", free_port());
    let scope = "authorization_server.clients.1.scope=\"openid profile email orders:read orders:write\"";
    let redirect_uris = format!("authorization_server.clients.1.redirect_uris=[\"{redirect_uri}\"]"); // of `web`
    let process = installation.start(&["--set", dpop, "--set", scope, "--set", &redirect_uris]).await;
    client
        .current_dir(repository("tests/interop"))
        .env("ISSUER", &installation.issuer)
        .env("CLIENT_ID", "web")
        .env("CLIENT_KEY", installation.path("client.jwk"))
        .env("REDIRECT_URI", redirect_uri)
        .env("USERNAME", "ada")
        .env("PASSWORD", PASSWORD)
        .env("SCOPE", "orders:read orders:write")
        .env("RESOURCE", "https://api.example.com")
        .kill_on_drop(true);
    let output = run(&mut client).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    assert!(output.status.success(), "{said}{complained}\nthe program said:\n{log}");
    assert!(said.lines().any(|line| line.starts_with("ok ")), "{said}{complained}");
    println!("{said}");
}

pub fn node(script: &str) -> Command {
    installed("tests/interop/node_modules/.package-lock.json");
    let mut command = Command::new("node");
    command.arg(script);
    command
}

#[tokio::test]
async fn openid_client_completes_every_flow() {
    satisfies(node("openid-client.mjs")).await;
}

#[tokio::test]
async fn openid_client_learns_who_signed_in() {
    satisfies(node("openid-connect.mjs")).await;
}

#[tokio::test]
async fn oauth4webapi_accepts_our_tokens_as_a_resource_server() {
    satisfies(node("resource-server.mjs")).await;
}

#[tokio::test]
async fn requests_oauth2client_gets_a_token() {
    let mut command = Command::new(installed(".tools/python/bin/python"));
    command.arg("requests-oauth2client.py");
    satisfies(command).await;
}

#[tokio::test]
async fn a_person_signs_in_with_chromium_by_keyboard_and_without_scripts() {
    let mut command = node("chromium.mjs");
    command.env("CHROMIUM_BIN", chromium().await);
    satisfies(command).await;
}
