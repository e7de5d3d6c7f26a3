//! Reload without a restart: the whole file or nothing of it, and no request that sees half of each.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tollgate::clock::{Clock as _, SystemClock};

use crate::client::{CLIENT_CREDENTIALS, Client};
use crate::envoy::{Envoy, exchange};
use crate::process::{Installation, Process, program, run};
use crate::redis::until;
use crate::upstream::Upstream;
use crate::world::configuration_text;

impl Installation {
    /// Its file, with a change.
    fn changed(&self, from: &str, to: &str) -> String {
        let text = configuration_text(&self.issuer, &self.web_key());
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    }

    /// Writes its file with a change.
    fn rewrite(&self, from: &str, to: &str) {
        fs::write(self.path("tollgate.yaml"), self.changed(from, to)).expect("a file");
    }

    /// Writes its file with another lifetime of access tokens.
    fn live_for(&self, seconds: u64) {
        self.rewrite("login: {", &lifetime(seconds));
    }

    /// How long access tokens last, as the server says.
    async fn lifetime(&self) -> Option<u64> {
        let answer = self.client("backend").request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await;
        answer.body["expires_in"].as_u64()
    }

    async fn until_tokens_live_for(&self, seconds: u64) {
        until(&format!("tokens live for {seconds} s"), || async { self.lifetime().await == Some(seconds) }).await;
    }
}

/// What stands for `login: {` in a file with this lifetime of access tokens.
fn lifetime(seconds: u64) -> String {
    format!("tokens: {{ access_token: {seconds}s }}\n  login: {{")
}

/// A sample of a metric, by the beginning of its line.
async fn metric(process: &Process, series: &str) -> Option<String> {
    let answer = reqwest::get(format!("http://{}/metrics", process.admin)).await.expect("an answer");
    let text = answer.text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ').map(|(_, value)| value.to_owned())
}

#[tokio::test]
async fn a_file_that_changes_is_in_force_without_a_signal() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    installation.until_tokens_live_for(300).await;
    let first = process.status().await["configuration"].clone();
    for seconds in [7, 8] {
        installation.live_for(seconds);
        installation.until_tokens_live_for(seconds).await;
    }
    let last = process.status().await["configuration"].clone();
    assert_eq!((&last["reloads"], &last["refused"]), (&json!(2), &Value::Null));
    assert_ne!(first["hash"], last["hash"]);
    let named = format!("tollgate_config_hash{{hash={}}}", last["hash"]);
    assert_eq!(metric(&process, &named).await.as_deref(), Some("1.0"));
    assert_eq!(metric(&process, "tollgate_config_reloads_total{outcome=\"applied\"}").await.as_deref(), Some("2"));
    assert_eq!(metric(&process, "tollgate_config_last_reload_successful").await.as_deref(), Some("1.0"));
}

#[tokio::test]
async fn at_a_bad_file_the_old_configuration_stays_and_the_log_has_every_mistake() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    let was = process.status().await["configuration"]["hash"].clone();
    installation.rewrite("login: {", "tokens: { access_token: 0s, acces_token: 7s }\n  login: {");
    process.signal("HUP").await;
    for said in ["tollgate.yaml:7: `authorization_server.tokens.access_token`", "did you mean `access_token`?"] {
        process.until_it_says(said).await;
    }
    process.until_it_says("2 mistakes in ").await;
    process.until_it_says("the configuration before it stays in force").await;
    assert_eq!(installation.lifetime().await, Some(300));
    let status = process.status().await["configuration"].clone();
    assert_eq!(status["hash"], was);
    assert!(status["refused"]["why"].as_str().is_some_and(|why| why.starts_with("2 mistakes in ")), "{status}");
    assert_eq!(metric(&process, "tollgate_config_last_reload_successful").await.as_deref(), Some("0.0"));
    let shown = run(program().args(["status", "--url", &format!("http://{}/status", process.admin)])).await;
    let said = String::from_utf8(shown.stdout).expect("text");
    assert!(!shown.status.success() && said.contains("refused"), "{said}");

    installation.live_for(9);
    process.signal("HUP").await;
    installation.until_tokens_live_for(9).await;
    assert_eq!(process.status().await["configuration"]["refused"], Value::Null);
    let shown = run(program().args(["status", "--url", &format!("http://{}/status", process.admin)])).await;
    assert!(shown.status.success(), "{shown:?}");
}

#[tokio::test]
async fn what_is_logged_changes_with_the_file() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    let said = |text: &'static str| process.until_it_says(text);
    installation.live_for(7);
    said("the configuration was reloaded").await;
    let quiet = installation.changed("store:", "log: { filter: \"debug\" }\nstore:");
    fs::write(installation.path("tollgate.yaml"), quiet).expect("a file");
    let debugs = || async {
        let mut stream = tokio::net::TcpStream::connect(&process.admin).await.expect("a listener");
        stream.write_all(b"this is no request\r\n\r\n").await.expect("a peer"); // a connection that ends early
        process.has_said("\"level\":\"DEBUG\"")
    };
    until("a debug line is logged", debugs).await;
    installation.rewrite("store:", "log: { filter: \"tollgate=loud\" }\nstore:");
    said("`log.filter` must be error").await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_nothing_else_is_taken() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    for (from, to, named) in [
        (
            "admin: { address: \"127.0.0.1:0\" }",
            "admin: { address: \"127.0.0.1:1\" }",
            "`listen.admin` needs a restart",
        ),
        ("signing: {", "signing: { sign: 60d,", "`authorization_server.signing` needs a restart"),
        ("protected_resources:", "replay: { local: { entries: 7 } }\nprotected_resources:", "`replay` needs a restart"),
        ("login: {", "tokens: { access_token: 1h }\n  login: {", "`authorization_server.tokens` needs a restart"),
    ] {
        // A change that could be taken comes with each.
        let text = installation.changed(from, to).replace("scopes: {", "scopes: { extra: Extra,");
        fs::write(installation.path("tollgate.yaml"), text).expect("a file");
        process.until_it_says(named).await;
    }
    let backend = installation.client("backend");
    let metadata = format!("{}/.well-known/oauth-authorization-server", installation.issuer);
    let metadata = reqwest::get(metadata).await.expect("an answer").text().await.expect("text");
    assert!(!metadata.contains("extra"), "{metadata}");
    backend.request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    installation.live_for(7);
    installation.until_tokens_live_for(7).await;
}

#[tokio::test]
async fn a_config_map_that_is_swapped_is_in_force() {
    let installation = Installation::new();
    let folder = installation.folder.path();
    let publish = |name: &str, text: &str| {
        let version = folder.join(name);
        fs::create_dir(&version).expect("a folder");
        fs::write(version.join("tollgate.yaml"), text).expect("a file");
        // As the kubelet does it: a new link takes the place of the old one in one step, and the old folder goes.
        let old = fs::canonicalize(folder.join("..data"));
        symlink(name, folder.join("..data_tmp")).expect("a link");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a swap");
        if let Ok(old) = old {
            fs::remove_dir_all(old).expect("it was there");
        }
    };
    publish("..2026_1", &installation.changed("login: {", "login: {"));
    fs::remove_file(installation.path("tollgate.yaml")).expect("it was there");
    symlink(Path::new("..data").join("tollgate.yaml"), installation.path("tollgate.yaml")).expect("a link");
    let _process = installation.start(&[]).await;
    installation.until_tokens_live_for(300).await;
    for (name, seconds) in [("..2026_2", 11), ("..2026_3", 12)] {
        publish(name, &installation.changed("login: {", &lifetime(seconds)));
        installation.until_tokens_live_for(seconds).await;
    }
}

#[tokio::test]
async fn the_files_that_it_names_are_part_of_it() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    let reloads = || async { process.status().await["configuration"]["reloads"].as_u64().unwrap_or_default() };
    let users = fs::read_to_string(installation.path("users.yaml")).expect("a file");
    fs::write(installation.path("users.yaml"), format!("{users}- {{ username: bob }}\n")).expect("a file");
    process.until_it_says("1 mistake in ").await;
    assert_eq!(reloads().await, 0);
    fs::write(installation.path("users.yaml"), users.replace("name: Ada", "name: Ada L., disabled: true"))
        .expect("a file");
    until("the users file is in force", || async { reloads().await == 1 }).await;

    // One that is named only now, and comes later, is waited for as well.
    installation.rewrite("users_file: users.yaml", "users_file: people.yaml");
    process.until_it_says("people.yaml").await;
    fs::write(installation.path("people.yaml"), &users).expect("a file");
    until("the new users file is in force", || async { reloads().await == 2 }).await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_broken_one_is_not() {
    let installation = Installation::new();
    let certificate = || {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("one");
        (cert.pem(), signing_key.serialize_pem())
    };
    let write = |certificate: &str, key: &str| {
        fs::write(installation.path("server.pem"), certificate).expect("a file");
        fs::write(installation.path("server.key"), key).expect("a file");
    };
    let (first, key) = certificate();
    write(&first, &key);
    let address = installation.issuer.strip_prefix("http://").expect("plain http").to_owned();
    let tls = "listen.public.tls={certificate: server.pem, private_key: server.key}";
    let process = installation.start(&["--set", tls]).await;
    let shows = |pem: String| {
        let url = format!("https://{address}/oauth/jwks");
        async move {
            let root = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate");
            let client = reqwest::Client::builder().tls_certs_only([root]).build().expect("a client");
            client.get(url).send().await.is_ok()
        }
    };
    assert!(shows(first.clone()).await);
    write("no certificate", &key);
    process.until_it_says("listen.public.tls.certificate").await;
    assert!(shows(first.clone()).await);
    let (second, key) = certificate();
    write(&second, &key);
    until("the new certificate is shown", || shows(second.clone())).await;
    assert!(!shows(first).await);
}

/// Somebody who goes on asking Envoy for three paths until told to stop, each time with a new proof: for one that is always
/// allowed, one that never is, and one about which the configurations differ.
struct Asking {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Asking {
    fn start(client: &Arc<Client>, token: &Arc<str>, (port, resource): (u16, &Arc<str>)) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let caller = |_| {
            let (client, token, resource) = (Arc::clone(client), Arc::clone(token), Arc::clone(resource));
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    for (path, allowed) in [("/always/1", &[200][..]), ("/never/1", &[403]), ("/orders/1", &[200, 403])]
                    {
                        let status = ask(&client, &token, (port, &resource), path).await;
                        assert!(allowed.contains(&status), "{path}: {status}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let callers = (0..4).map(caller).collect();
        Self { stop, answered, callers }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.expect("every answer was right");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

/// Asks Envoy with a token and a new proof.
async fn ask(client: &Client, token: &str, (port, resource): (u16, &str), path: &str) -> u16 {
    let proof = client.resource_proof("GET", &format!("{resource}{path}"), token, SystemClock.now());
    let host = resource.trim_start_matches("https://");
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n");
    exchange(port, request.as_bytes()).await.expect("an answer").status
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_every_request_is_answered_and_by_one_configuration() {
    let installation = Installation::new();
    let rules = "rules: [ { path: \"/orders/**\", scope: \"orders:read\" } ]";
    let with = |scope: &str| {
        format!(
            "rules: [ {{ path: \"/orders/**\", scope: \"{scope}\" }}, {{ path: \"/always/**\", scope: \"orders:read\" }}, \
             {{ path: \"/never/**\", scope: admin }} ]"
        )
    };
    installation.rewrite(rules, &with("orders:read"));
    let process = installation.start(&[]).await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::recommended(&installation.socket(), upstream.port).await;
    let client = Arc::new(installation.client("bound"));
    let resource: Arc<str> = "https://api.example.com".into();
    let request = [CLIENT_CREDENTIALS[0], ("resource", &*resource), ("scope", "orders:read")];
    let answer = client.request(SystemClock.now(), &request).send().await.expect_tokens();
    let token: Arc<str> = answer.text("access_token").into();
    let asking = Asking::start(&client, &token, (envoy.port, &resource));
    for round in 1..=6_u64 {
        let (scope, status) = if round % 2 == 1 { ("admin", 403) } else { ("orders:read", 200) };
        installation.rewrite(rules, &with(scope));
        process.signal("HUP").await;
        let at_least = || async { process.status().await["configuration"]["reloads"].as_u64() >= Some(round) };
        until("the file is in force", at_least).await;
        // What is asked from now on is answered by the new configuration.
        assert_eq!(ask(&client, &token, (envoy.port, &resource), "/orders/1").await, status, "round {round}");
    }
    let answered = asking.end().await;
    assert!(answered > 30, "{answered}");
    process.signal("TERM").await;
    let (status, said) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
}
