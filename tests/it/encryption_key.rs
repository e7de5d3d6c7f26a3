//! The program over keys that come from elsewhere, and over a new key in the place of the one that everything in the store
//! is encrypted under, while it serves.

use std::process::Output;

use tokio::process::Command;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::jose::{Algorithm, SigningKey};

use crate::client::CLIENT_CREDENTIALS;
use crate::cluster::SHARED;
use crate::process::{Installation, program, run};

/// What the new key file holds.
const NEXT: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\n";

async fn on_postgres() -> Installation {
    let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
    Installation::on_postgres(&shared.new_schema().await)
}

/// `tollgate keys` for an installation, whose file says where its store is.
fn keys(installation: &Installation, arguments: &[&str]) -> Command {
    let file = installation.path("keys.yaml");
    let text = std::fs::read_to_string(installation.path("tollgate.yaml")).expect("a file");
    let store = if installation.path("database.url").exists() {
        "store: { postgres: { url_file: database.url } }\nreplay: { local: { replicas: each_takes_a_proof_once } }"
    } else {
        "store: { sqlite: { path: tollgate.db } }"
    };
    std::fs::write(&file, text.replace("store: { memory: {} }", store)).expect("a file");
    let mut command = program();
    command.arg("keys").args(arguments).arg("--config").arg(file);
    command
}

/// Puts `signing` in the place of what the file says about it.
fn configure(installation: &Installation, signing: &str) {
    let file = installation.path("tollgate.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let line = |line: &str| {
        if line.trim_start().starts_with("signing:") { format!("  signing: {signing}\n") } else { format!("{line}\n") }
    };
    std::fs::write(&file, text.lines().map(line).collect::<String>()).expect("a file");
}

#[track_caller]
fn told(output: &Output, code: i32, text: &str) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let flat = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert!(flat.contains(text), "{text} is not in\n{said}");
    said
}

async fn a_new_encryption_key_takes_over(installation: Installation) {
    let client = installation.client("backend");
    let issued = async || {
        let answer = client.request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await;
        let answer = match answer.header("dpop-nonce").map(str::to_owned).filter(|_| answer.error() == "use_dpop_nonce")
        {
            None => answer,
            Some(nonce) => {
                let mut claims = client.proof_claims(SystemClock.now());
                claims["nonce"] = nonce.into();
                let proof = client.sign_proof(&claims);
                client.request(SystemClock.now(), &CLIENT_CREDENTIALS).proof(&proof).send().await
            }
        };
        answer.expect_tokens();
    };
    let process = installation.start(&[]).await;
    issued().await;
    std::fs::write(installation.path("next-kek"), NEXT).expect("a file");

    // The new key alone opens nothing, and says so.
    configure(&installation, "{ encryption_key_file: next-kek }");
    let refused = run(&mut keys(&installation, &["rewrap"])).await;
    told(&refused, 1, "put that key back, or name its file in `decryption_key_files`");

    // Beside the process that knows the old one only, everything is sealed anew, and that one goes on.
    configure(&installation, "{ encryption_key_file: next-kek, decryption_key_files: [kek] }");
    told(
        &run(&mut keys(&installation, &["rewrap"])).await,
        0,
        "encrypted anew: 1 signing keys, 1 secrets for nonces and forms, and the root key",
    );
    told(&run(&mut keys(&installation, &["rewrap"])).await, 0, "under `encryption_key_file` already");
    issued().await;
    process.signal("TERM").await;
    assert_eq!(process.ended().await.0.code(), Some(0));

    // From then on the old key opens nothing.
    configure(&installation, "{ encryption_key_file: next-kek }");
    let process = installation.start(&[]).await;
    issued().await;
    process.signal("TERM").await;
    assert_eq!(process.ended().await.0.code(), Some(0));
    configure(&installation, "{ encryption_key_file: kek }");
    let refused = run(&mut installation.serve(&[])).await;
    told(&refused, 1, "encryption_key_file");
}

#[tokio::test]
async fn a_new_encryption_key_takes_over_in_a_file() {
    a_new_encryption_key_takes_over(Installation::new()).await;
}

#[tokio::test]
async fn a_new_encryption_key_takes_over_in_a_database() {
    a_new_encryption_key_takes_over(on_postgres().await).await;
}

#[tokio::test]
async fn a_key_is_imported_while_a_server_runs_and_never_shown() {
    let installation = Installation::new();
    configure(&installation, "{ encryption_key_file: kek, announce: 1s, sign: 1h }");
    let process = installation.start(&[]).await;
    let client = installation.client("backend");
    let signed_by = async || {
        let tokens = client.request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
        let header = tokens.text("access_token").split('.').next().and_then(tollgate::secret::from_base64url);
        let header: serde_json::Value = serde_json::from_slice(&header.expect("a header")).expect("JSON");
        header["kid"].as_str().expect("a kid").to_owned()
    };
    let key = rcgen::KeyPair::generate().expect("a key");
    let private = key.serialize_pem();
    std::fs::write(installation.path("next.pem"), &private).expect("a file");
    std::fs::write(installation.path("public.pem"), key.public_key_pem()).expect("a file");
    let import = |name: &str| keys(&installation, &["import", installation.path(name).to_str().expect("UTF-8")]);

    told(&run(&mut import("public.pem")).await, 1, "no private key");
    told(&run(&mut import("missing.pem")).await, 1, "cannot be read");
    let said = told(&run(&mut import("next.pem")).await, 0, "the new key is announced and signs in 1 s");
    let again = told(&run(&mut import("next.pem")).await, 1, "this key is here already");
    let secret = private.lines().nth(1).expect("base64");
    assert!(!said.contains(secret) && !again.contains(secret));
    let der = key.serialize_der();
    let kid = SigningKey::from_pkcs8(Algorithm::Es256, &der).expect("a key").kid().to_owned();
    assert!(said.contains(&kid), "{said}");
    crate::redis::until("tokens are signed with the imported key", async || signed_by().await == kid).await;
    assert!(!process.has_said(secret));
    process.kill().await;
}
