//! The files of the installation: what an operator would write, so that they can be read and copied.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::cli::client::{DevSession, random};

/// The recommended configuration of Envoy: the demo changes ports, paths and names only.
const ENVOY: &str = include_str!("../../../envoy/envoy.yaml");

/// The client that acts for itself.
const SERVICE: &str = "reports";

/// The client that signs people in.
const PEOPLE: &str = "cli";

/// The device that has no keyboard.
pub(super) const DEVICE: &str = "tv";

/// The person who lets it in.
pub(super) const PERSON: &str = "ada";

/// Ports, paths and secrets.
pub(super) struct Plan {
    /// Where the files are.
    pub(super) folder: PathBuf,
    /// The port of the authorization server.
    pub(super) issuer: u16,
    /// The port of Envoy.
    pub(super) envoy: u16,
    /// The port of health.
    pub(super) admin: u16,
    /// The port of Envoy's administration.
    pub(super) envoy_admin: u16,
    /// The port of the API.
    pub(super) upstream: u16,
    /// Whether nonces are required of proofs.
    pub(super) nonce: bool,
    /// The password of ada and bob.
    pub(super) password: String,
    /// Its hash.
    pub(super) password_hash: String,
    /// The secret of the client that acts for itself.
    pub(super) secret: String,
}

impl Plan {
    /// Tollgate's configuration file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.folder.join("tollgate.yaml")
    }

    /// Envoy's configuration file.
    pub(super) fn envoy_configuration(&self) -> PathBuf {
        self.folder.join("envoy.yaml")
    }

    /// The origin of Envoy, which is what tokens are for.
    pub(super) fn resource(&self) -> String {
        format!("http://127.0.0.1:{}", self.envoy)
    }

    /// What `tollgate curl` is told.
    pub(super) fn session(&self) -> DevSession {
        DevSession {
            session: random(),
            issuer: format!("http://127.0.0.1:{}", self.issuer),
            resource: self.resource(),
            service_client_id: SERVICE.to_owned(),
            service_client_secret: Zeroizing::new(self.secret.clone()),
            people_client_id: PEOPLE.to_owned(),
        }
    }

    /// Writes every file.
    pub(super) fn write(&self) -> io::Result<()> {
        write_private(&self.folder.join("reports.secret"), &self.secret)?;
        write_private(&self.folder.join("users.yaml"), &self.users())?;
        write_private(&self.configuration(), &self.tollgate())?;
        fs::write(self.envoy_configuration(), self.envoy_text())
    }

    fn users(&self) -> String {
        let hash = &self.password_hash;
        format!(
            r#"users:
  - {{ username: {PERSON}, name: Ada, subject: ada-0b6f, password_hash: "{hash}" }}
  - {{ username: bob, name: Bob, subject: bob-7d21, password_hash: "{hash}" }}
"#
        )
    }

    fn tollgate(&self) -> String {
        let Self { issuer, admin, .. } = self;
        let resource = self.resource();
        let (server_nonce, gate_nonce) = if self.nonce { ("required", "required") } else { ("optional", "off") };
        format!(
            r#"listen:
  public: {{ address: 127.0.0.1:{issuer} }}
  ext_authz: [{{ address: "unix:authz.sock" }}]
  admin: {{ address: 127.0.0.1:{admin} }}
store: {{ memory: {{}} }}
authorization_server:
  issuer: http://127.0.0.1:{issuer}
  login: {{ local: {{ users_file: users.yaml }} }}
  dpop: {{ nonce: {server_nonce} }}
  scopes: {{ "orders:read": Read your orders, "orders:write": Change your orders }}
  clients:
    - client_id: {SERVICE}
      client_name: The nightly reports
      grant_types: [client_credentials]
      client_secret_file: reports.secret
      scope: "orders:read"
      dpop_bound_access_tokens: true
    - client_id: {PEOPLE}
      client_name: The command line
      token_endpoint_auth_method: none
      grant_types: [authorization_code, refresh_token, "urn:ietf:params:oauth:grant-type:device_code"]
      redirect_uris: [http://127.0.0.1/callback]
      scope: "orders:read orders:write"
      dpop_bound_access_tokens: true
    - client_id: {DEVICE}
      client_name: Living-room TV
      token_endpoint_auth_method: none
      grant_types: ["urn:ietf:params:oauth:grant-type:device_code", refresh_token]
      scope: "orders:read"
      dpop_bound_access_tokens: true
protected_resources:
  - resource: {resource}
    nonce: {gate_nonce}
    upstream: {{ headers: {{ x-auth-subject: sub, x-auth-client: client_id, x-auth-scope: scope }} }}
    rules:
      - {{ path: /healthz, methods: [GET], allow: anyone }}
      - {{ path: "/orders/**", methods: [GET], scope: "orders:read" }}
      - {{ path: "/orders/**", methods: [POST, PUT, DELETE], scope: "orders:write" }}
"#
        )
    }

    fn envoy_text(&self) -> String {
        let host = format!("127.0.0.1:{}", self.envoy);
        let changes = [
            ("address: 0.0.0.0, port_value: 10000", format!("address: 127.0.0.1, port_value: {}", self.envoy)),
            ("port_value: 9901", format!("port_value: {}", self.envoy_admin)),
            ("port_value: 9000", format!("port_value: {}", self.upstream)),
            ("port_value: 8080", format!("port_value: {}", self.issuer)),
            ("/run/tollgate/authz.sock", self.folder.join("authz.sock").display().to_string()),
            ("https://api.example.com", self.resource()),
            (r#""api.example.com", "api.example.com:443""#, format!("\"{host}\"")),
            ("scheme_to_overwrite: https", "scheme_to_overwrite: http".to_owned()),
        ];
        changes.into_iter().fold(ENVOY.to_owned(), |text, (from, to)| text.replace(from, &to))
    }
}

/// A file that only its owner may read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_recommended_configuration_is_left_to_clash() {
        let plan = Plan {
            folder: PathBuf::from("/tmp/x"),
            issuer: 1,
            envoy: 2,
            admin: 3,
            envoy_admin: 4,
            upstream: 5,
            nonce: false,
            password: String::new(),
            password_hash: String::new(),
            secret: String::new(),
        };
        let text = plan.envoy_text();
        let live: String = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        for old in
            ["0.0.0.0", "10000", "9901", "9000", "8080", "/run/tollgate", "//api.example.com", "\"api.example.com"]
        {
            assert!(!live.contains(old), "{old} is still there");
        }
    }
}
