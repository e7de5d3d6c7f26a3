//! The real Envoy, and somebody who speaks HTTP/1.1 to it byte by byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use crate::upstream::{field, fields, read_head};

/// How long a process may take to start, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Envoy; it ends with the value.
pub struct Envoy {
    pub port: u16,
    admin: u16,
    folder: TempDir,
    _process: Child,
}

impl Envoy {
    /// The recommended configuration with other ports and this socket.
    pub async fn recommended(socket: &Path, upstream: u16) -> Self {
        Self::start(&recommended(socket, upstream)).await
    }

    /// The recommended configuration, which sends the gate these headers too.
    pub async fn sending(headers: &[&str], socket: &Path, upstream: u16) -> Self {
        let more: Vec<_> =
            headers.iter().map(|name| format!("- {{ exact: {name} }}\n                          ")).collect();
        let more = more.concat();
        let text = recommended(socket, upstream);
        Self::start(&replace(&text, "- { exact: x-request-id }", &format!("{more}- {{ exact: x-request-id }}"))).await
    }

    /// The recommended configuration for a gate behind a Service at this port, over TCP.
    pub async fn asking_service(port: u16, upstream: u16) -> Self {
        Self::start(&at_service(port, upstream)).await
    }

    /// The same, which waits so long for the gate.
    pub async fn waiting(wait: &str, port: u16, upstream: u16) -> Self {
        let text = replace(&at_service(port, upstream), " timeout: 2s", &format!(" timeout: {wait}"));
        Self::start(&replace(&text, "max_interval: 2s", &format!("max_interval: {wait}"))).await
    }

    /// The configuration for tokens of other issuers, on this port; or on any one, and for the host of the configuration.
    pub async fn for_other_issuer(socket: &Path, upstream: u16, port: u16) -> Self {
        let text = adapted("other-issuer.yaml", socket, upstream);
        if port == 0 {
            return Self::start(&text).await;
        }
        let text = replace(
            &text,
            "address: 127.0.0.1, port_value: 0 } }\n      per_connection",
            &format!("address: 127.0.0.1, port_value: {port} }} }}\n      per_connection"),
        );
        let resource = format!("http://127.0.0.1:{port}");
        let text = replace(&text, "https://api.example.com", &resource);
        let host = format!("domains: [\"127.0.0.1:{port}\"]");
        Self::start(&replace(&text, "domains: [\"api.example.com\", \"api.example.com:443\"]", &host)).await
    }

    /// The recommended configuration before an authorization server; there is neither a gate nor an API behind it.
    pub async fn before_issuer(issuer: u16) -> Self {
        let text = recommended(Path::new("/nowhere/authz.sock"), 9);
        Self::start(&replace(&text, "port_value: 8080", &format!("port_value: {issuer}"))).await
    }

    /// The recommended configuration with TLS, which asks clients for certificates and takes any: whether it is the right
    /// one, the gate knows. `folder` holds `server.pem` and `server.key`.
    pub async fn with_client_certificates(socket: &Path, upstream: u16, folder: &Path) -> Self {
        let tls = include_str!("envoy/client_certificates.yaml").replace("FOLDER", &folder.to_string_lossy());
        let tls = tls.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n");
        let text = recommended(socket, upstream);
        Self::start(&replace(&text, "        - filters:\n            - name: envoy.filters.network", &tls)).await
    }

    /// The same, but it does not say anything of its connections: it tells of certificates in the header as `details` says, and
    /// passes that on to the gate.
    pub async fn with_certificates_in_a_header(details: &str, socket: &Path, upstream: u16, folder: &Path) -> Self {
        let tls = include_str!("envoy/client_certificates.yaml").replace("FOLDER", &folder.to_string_lossy());
        let tls = tls.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n");
        let text = recommended(socket, upstream);
        let text = replace(&text, "        - filters:\n            - name: envoy.filters.network", &tls);
        let text = replace(&text, "include_peer_certificate: true", "include_peer_certificate: false");
        let told = format!("forward_client_cert_details: {details}");
        let text = replace(&text, "forward_client_cert_details: SANITIZE", &told);
        let header = "- { exact: x-forwarded-client-cert }\n                          - { exact: x-request-id }";
        Self::start(&replace(&text, "- { exact: x-request-id }", header)).await
    }

    /// The recommended configuration with TLS before an authorization server, which is told of the certificates of clients.
    pub async fn with_forwarded_certificates(issuer: u16, folder: &Path) -> Self {
        let tls = include_str!("envoy/client_certificates.yaml").replace("FOLDER", &folder.to_string_lossy());
        let tls = tls.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n");
        let text = recommended(Path::new("/nowhere/authz.sock"), 9);
        let text = replace(&text, "port_value: 8080", &format!("port_value: {issuer}"));
        let text = replace(&text, "        - filters:\n            - name: envoy.filters.network", &tls);
        let told = "forward_client_cert_details: SANITIZE_SET\n                \
                    set_current_client_cert_details: { cert: true, chain: true }";
        Self::start(&replace(&text, "forward_client_cert_details: SANITIZE", told)).await
    }

    /// The same for the resource and host of this name.
    pub async fn recommended_for(resource: &str, socket: &Path, upstream: u16) -> Self {
        let host = resource.trim_start_matches("https://");
        Self::start(&replace(&recommended(socket, upstream), "api.example.com", host)).await
    }

    /// The recommended configuration for the resource of this name, on its port, without TLS.
    pub async fn for_resource(resource: &str, socket: &Path, upstream: u16) -> Self {
        Self::start(&at(resource, socket, upstream)).await
    }

    /// The recommended configuration with its TLS uncommented, for the resource at this host and port. `folder` holds the
    /// socket of the gate, `server.pem`, `server.key` and `ca.pem`.
    pub async fn with_tls(host: &str, upstream: u16, folder: &Path) -> Self {
        let text = at(&format!("https://{host}"), &folder.join("authz.sock"), upstream);
        let (before, rest) = text.split_once("          # transport_socket:").expect("TLS in a comment");
        let (block, after) = rest.split_once("\n\n").expect("the end of the comment");
        let block = block.replace("\n          # ", "\n          ");
        let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let block = replace(&block, "/etc/envoy/tls.crt", &file("server.pem"));
        let block = replace(&block, "/etc/envoy/tls.key", &file("server.key"));
        let block = replace(&block, "/etc/envoy/clients-ca.crt", &file("ca.pem"));
        Self::start(&format!("{before}          transport_socket:{block}\n\n{after}")).await
    }

    /// The recommended configuration with the filter and the cluster of somebody else, who calls that `tollgate_authz` too.
    pub async fn with_fragments(filter: &Value, cluster: &Value, socket: &Path, upstream: u16) -> Self {
        let mut configuration: Value = serde_saphyr::from_str(&recommended(socket, upstream)).expect("YAML");
        let ours = |fragment: &Value| {
            let text = fragment.to_string().replace("/run/tollgate/authz.sock", &socket.to_string_lossy());
            let text = text.replace("\"0.25s\"", "\"2s\"");
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        let resources = &mut configuration["static_resources"];
        let listener = &mut resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        for there in listener["http_filters"].as_array_mut().expect("filters") {
            if there["name"] == filter["name"] {
                *there = ours(filter);
            }
        }
        for there in resources["clusters"].as_array_mut().expect("clusters") {
            if there["name"] == cluster["name"] {
                *there = ours(cluster);
            }
        }
        Self::start(&configuration.to_string()).await
    }

    /// The recommended configuration, which traces as said, and sends its spans to `collector`.
    pub async fn tracing(tracing: Value, collector: u16, socket: &Path, upstream: u16) -> Self {
        let mut configuration: Value = serde_saphyr::from_str(&recommended(socket, upstream)).expect("YAML");
        let resources = &mut configuration["static_resources"];
        resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["tracing"] = tracing;
        let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": collector } });
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
        let load = json!({ "cluster_name": "collector", "endpoints": endpoints });
        let cluster = json!({ "name": "collector", "type": "STATIC", "load_assignment": load });
        resources["clusters"].as_array_mut().expect("clusters").push(cluster);
        Self::start(&configuration.to_string()).await
    }

    /// The recommended configuration without the filter that answers scripts of other origins.
    pub async fn without_cors(socket: &Path, upstream: u16) -> Self {
        let mut configuration: Value = serde_saphyr::from_str(&recommended(socket, upstream)).expect("YAML");
        let listener =
            &mut configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        let filters = listener["http_filters"].as_array_mut().expect("filters");
        filters.retain(|filter| filter["name"] != "envoy.filters.http.cors");
        Self::start(&configuration.to_string()).await
    }

    /// A configuration of the repository before this API, with its certificate from this folder if it needs one, and with
    /// more in it replaced.
    pub async fn of_file(name: &str, upstream: u16, folder: &Path, changes: &[(&str, &str)]) -> Self {
        Self::start(&before_api(name, upstream, folder, changes)).await
    }

    /// This configuration with a second listener, which is the first one with these differences; gives its port too.
    pub async fn with_listener(listener: Value, configuration: &str) -> (Self, u16) {
        let mut configuration: Value = serde_saphyr::from_str(configuration).expect("YAML");
        let listeners = configuration["static_resources"]["listeners"].as_array_mut().expect("listeners");
        let (mut second, name) = (listeners[0].clone(), listener["name"].clone());
        amend(&mut second, listener);
        listeners.push(second);
        let envoy = Self::start(&configuration.to_string()).await;
        let port = envoy.port_of(name.as_str().expect("a name")).await;
        (envoy, port)
    }

    /// What somebody gets who sets nothing but what he must: no normalisation, no strict header names, headers as a map,
    /// any host, and open when the gate is away.
    pub async fn careless(socket: &Path, upstream: u16) -> Self {
        let careless = include_str!("envoy/careless.yaml");
        let careless = replace(careless, "/run/tollgate/authz.sock", &socket.to_string_lossy());
        Self::start(&replace(&careless, "port_value: 9000", &format!("port_value: {upstream}"))).await
    }

    async fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("envoy.yaml");
        fs::write(&path, configuration).expect("a file");
        let output = fs::File::create(folder.path().join("access.log")).expect("a file");
        let errors = fs::File::create(folder.path().join("envoy.log")).expect("a file");
        let mut process = Command::new(program())
            .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warn"])
            .args(["--file-flush-interval-msec", "10", "--admin-address-path"])
            .arg(folder.path().join("admin"))
            .arg("--config-path")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .expect("Envoy starts");
        let log = folder.path().join("envoy.log");
        let admin_file = folder.path().join("admin");
        let admin = eventually("Envoy tells its administration port", async || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("Envoy ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            let text = fs::read_to_string(&admin_file).ok()?;
            text.rsplit_once(':')?.1.trim().parse().ok()
        })
        .await;
        let mut envoy = Self { port: 0, admin, folder, _process: process };
        envoy.port = envoy.port_of("ingress").await;
        envoy
    }

    /// The port of the listener of this name, once it listens.
    async fn port_of(&self, listener: &str) -> u16 {
        let line = format!("{listener}::");
        eventually("Envoy listens", async || {
            let reply = self.ask_admin("/listeners").await?;
            let line = reply.body.lines().find(|found| found.starts_with(&line))?;
            line.rsplit_once(':')?.1.trim().parse().ok()
        })
        .await
    }

    /// Where its administration is.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    async fn ask_admin(&self, path: &str) -> Option<Reply> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        exchange(self.admin, request.as_bytes()).await.ok()
    }

    /// Sends bytes over a connection of their own, and reads one answer.
    pub async fn send(&self, request: &[u8]) -> Reply {
        exchange(self.port, request).await.unwrap_or_else(|error| {
            let log = fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default();
            panic!("no answer to {:?}: {error}\n{log}", String::from_utf8_lossy(request))
        })
    }

    /// The access log, once it holds so many lines.
    pub async fn access_log(&self, lines: usize) -> String {
        let path = self.folder.path().join("access.log");
        let log = async || fs::read_to_string(&path).ok().filter(|text| text.lines().count() >= lines);
        eventually("the access log is written", log).await
    }
}

fn recommended(socket: &Path, upstream: u16) -> String {
    adapted("envoy.yaml", socket, upstream)
}

/// The recommended configuration for a gate at this port.
fn at_service(port: u16, upstream: u16) -> String {
    let service = format!("socket_address: {{ address: 127.0.0.1, port_value: {port} }}");
    replace(&recommended(Path::new("SOCKET"), upstream), "pipe: { path: SOCKET }", &service)
}

fn adapted(name: &str, socket: &Path, upstream: u16) -> String {
    let text = on_free_ports(name);
    let text = replace(&text, "port_value: 9000", &format!("port_value: {upstream}"));
    replace(&text, "/run/tollgate/authz.sock", &socket.to_string_lossy())
}

/// A configuration of the repository before this API, with its certificate from this folder if it needs one, and with more in
/// it replaced.
pub fn before_api(name: &str, upstream: u16, folder: &Path, changes: &[(&str, &str)]) -> String {
    let text = replace(&on_free_ports(name), "port_value: 9000", &format!("port_value: {upstream}"));
    let text = with_certificate(&text, folder);
    changes.iter().fold(text, |text, (from, to)| replace(&text, from, to))
}

/// The same with the files of its certificates in this folder.
pub fn with_certificate(text: &str, folder: &Path) -> String {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let text = text.replace("/etc/envoy/tls.crt", &file("server.pem"));
    let text = text.replace("/etc/envoy/tls.key", &file("server.key"));
    text.replace("/etc/envoy/clients-ca.crt", &file("ca.pem"))
}

/// Puts these differences into a configuration, member by member and, in lists, item by item. A transport socket is replaced
/// as a whole.
fn amend(there: &mut Value, differences: Value) {
    match (there, differences) {
        (Value::Object(there), Value::Object(differences)) => {
            for (name, difference) in differences {
                if name == "transport_socket" {
                    there.insert(name, difference);
                } else {
                    amend(there.entry(name).or_insert(Value::Null), difference);
                }
            }
        }
        (Value::Array(there), Value::Array(differences)) => {
            for (there, difference) in there.iter_mut().zip(differences) {
                amend(there, difference);
            }
        }
        (there, difference) => *there = difference,
    }
}

/// A configuration of the repository with ports for itself, and patience.
fn on_free_ports(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy").join(name);
    let mut text = fs::read_to_string(path).expect("a configuration");
    let port = if text.contains("0.0.0.0, port_value: 443 ") { 443 } else { 10_000 };
    for (from, to) in [
        (&*format!("address: 0.0.0.0, port_value: {port}"), "address: 127.0.0.1, port_value: 0"),
        ("port_value: 9901", "port_value: 0"),
        // A machine that is busy with other tests is no outage.
        ("timeout: 0.25s", "timeout: 2s"),
        ("max_interval: 0.25s", "max_interval: 2s"),
    ] {
        text = replace(&text, from, to);
    }
    text
}

/// The recommended configuration for the resource of this name, on its port.
fn at(resource: &str, socket: &Path, upstream: u16) -> String {
    let authority = resource.split('/').nth(2).expect("an authority");
    let port = authority.rsplit(':').next().expect("a port");
    let text = recommended(socket, upstream);
    let (any, one) = ("port_value: 0 } }\n      ", format!("port_value: {port} }} }}\n      "));
    let text = replace(&text, any, &one);
    let text = replace(&text, "\"api.example.com\", \"api.example.com:443\"", &format!("\"{authority}\""));
    replace(&text, "https://api.example.com", resource)
}

#[track_caller]
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the configuration does not say {from}");
    text.replace(from, to)
}

/// `ENVOY_BIN`, or where `scripts/install-envoy` puts it, or what is on the path.
#[expect(clippy::disallowed_methods, reason = "a test is told by its environment where Envoy is")]
pub fn program() -> PathBuf {
    if let Ok(program) = std::env::var("ENVOY_BIN") {
        return program.into();
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/envoy/envoy/_bin/envoy");
    let found = std::env::var("PATH").unwrap_or_default();
    let found = found.split(':').map(|folder| Path::new(folder).join("envoy")).find(|path| path.is_file());
    match found {
        _ if installed.is_file() => installed,
        Some(found) => found,
        None => panic!("there is no Envoy: run scripts/install-envoy, or set ENVOY_BIN"),
    }
}

/// Tries again until there is something, every few milliseconds, until patience ends.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let what = what.to_owned();
    async move {
        let mut ticks = interval(Duration::from_millis(10));
        let trying = async {
            loop {
                ticks.tick().await;
                if let Some(found) = attempt().await {
                    return found;
                }
            }
        };
        timeout(PATIENCE, trying).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
    }
}

/// What an HTTP server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }
}

/// One request and one answer on a new connection.
pub async fn exchange(port: u16, request: &[u8]) -> std::io::Result<Reply> {
    let answer = async { Connection::open(port).await?.ask(request).await };
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// A connection for one request after the other.
pub struct Connection {
    stream: TcpStream,
    /// What was read and belongs to no answer yet.
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> std::io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(("127.0.0.1", port)).await?, buffer: Vec::new() })
    }

    /// Sends a request, and reads its answer.
    pub async fn ask(&mut self, request: &[u8]) -> std::io::Result<Reply> {
        self.stream.write_all(request).await?;
        let head = read_head(&mut self.stream, &mut self.buffer).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
        let length = match field(&head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
            _ if request.starts_with(b"HEAD ") || status == 304 => 0,
            Some(length) => {
                while self.buffer.len() < length {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
                length
            }
            // Without a length the body ends with the connection, which every such request asks to be closed.
            None => {
                self.stream.read_to_end(&mut self.buffer).await?;
                self.buffer.len()
            }
        };
        let body = self.buffer.drain(..length).collect::<Vec<_>>();
        Ok(Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
