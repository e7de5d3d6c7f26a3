//! Issuers whose certificates only somebody of their own vouches for, at a gate in a process of its own.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::envoy::eventually;
use crate::process::{Process, program};
use crate::world::free_port;

/// An authorization server with TLS, in a folder with its certificate as `ca.crt`.
struct Acme {
    folder: TempDir,
    issuer: String,
    _process: Process,
}

fn serve(folder: &Path, name: &str, text: &str) -> tokio::process::Command {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file");
    let mut command = program();
    command.arg("serve").arg("--config").arg(path);
    command
}

impl Acme {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        fs::write(folder.path().join("ca.crt"), made.cert.pem()).expect("a file");
        fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).expect("a file");
        let address = format!("127.0.0.1:{}", free_port());
        let issuer = format!("https://{address}");
        let text = format!(
            r#"
listen:
  public: {{ address: "{address}", tls: {{ certificate: ca.crt, private_key: tls.key }} }}
  admin: {{ address: "127.0.0.1:0" }}
store: {{ memory: {{}} }}
authorization_server: {{ issuer: "{issuer}", scopes: {{ "orders:read": Read }}, resources: [https://api.example.com] }}
"#
        );
        let process = Process::start(serve(folder.path(), "issuer.yaml", &text)).await;
        Self { folder, issuer, _process: process }
    }

    /// A gate that takes its tokens, with more in its configuration.
    async fn gate(&self, more: &str) -> Process {
        let text = format!(
            r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
protected_resources:
  - resource: https://api.example.com
    authorization_servers: ["{}"]
    rules: [ {{ path: /orders, scope: "orders:read" }} ]
{more}
"#,
            self.issuer
        );
        Process::start(serve(self.folder.path(), "gate.yaml", &text)).await
    }
}

/// What a gate knows of its one issuer.
async fn knows(gate: &Process) -> (bool, bool) {
    let status = gate.status().await;
    let issuer = &status["issuers"][0];
    (issuer["fetched_at"].is_number(), issuer["failing"] == true)
}

#[tokio::test]
async fn a_gate_takes_the_word_of_an_authority_that_its_configuration_names() {
    let acme = Acme::start().await;
    // Nobody that this machine trusts has signed its certificate.
    let gate = acme.gate("").await;
    eventually("the issuer cannot be asked", async || (knows(&gate).await == (false, true)).then_some(())).await;
    gate.kill().await;
    let of_the_issuer = format!("issuers: [ {{ issuer: \"{}\", ca_file: ca.crt }} ]", acme.issuer);
    for more in ["tls: { roots: ca.crt }", &of_the_issuer] {
        let gate = acme.gate(more).await;
        eventually("its keys are known", async || (knows(&gate).await == (true, false)).then_some(())).await;
        gate.kill().await;
    }
}
