//! The metadata and the keys of our own authorization server, which its gate answers for: through the real Envoy, which has no
//! route to that server.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::envoy::{Connection, Envoy, Reply, exchange};
use crate::process::{Installation, Process, program, run};
use crate::upstream::Upstream;
use crate::world::free_port;

const ISSUER: &str = "https://auth.example.com";

/// The host of the issuer as `envoy/envoy.yaml` has it, and in its place one that leads nowhere.
const TO_ISSUER: &str = "disabled: true
                      routes:
                        - match: { prefix: \"/\" }
                          route: { cluster: tollgate_public, timeout: 15s }
";
const NOWHERE: &str = "disabled: false
                      routes: [{ match: { prefix: \"/\" }, direct_response: { status: 404 } }]
";

/// The program, and an Envoy that asks it about every host, and has a route to the API and to nothing else.
struct Story {
    installation: Installation,
    process: Process,
    /// Where the authorization server listens.
    public: u16,
    envoy: Envoy,
    upstream: Upstream,
}

impl Story {
    /// With an issuer of this path.
    async fn start(path: &str, settings: &[&str]) -> Self {
        let (installation, upstream, public) = (Installation::new(), Upstream::start().await, free_port());
        let socket = installation.socket().display().to_string();
        let changes = [("/run/tollgate/authz.sock", &*socket), (TO_ISSUER, NOWHERE)];
        let envoy = Envoy::of_file("envoy.yaml", upstream.port, installation.folder.path(), &changes).await;
        let admin = format!("listen.admin.grpc=\"unix:{}\"", installation.path("admin.sock").display());
        let own = [
            format!("authorization_server.issuer=\"{ISSUER}{path}\""),
            format!("listen.public.address=\"127.0.0.1:{public}\""),
            admin,
        ];
        let arguments: Vec<_> = own.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        let arguments: Vec<_> = arguments.into_iter().flat_map(|setting| ["--set", setting]).collect();
        let process = installation.start(&arguments).await;
        Self { installation, process, public, envoy, upstream }
    }

    /// The same request to Envoy, and to the authorization server itself.
    async fn both(&self, wire: &str) -> [Reply; 2] {
        let direct = exchange(self.public, wire.as_bytes()).await.expect("an answer");
        [self.envoy.send(wire.as_bytes()).await, direct]
    }

    async fn get(&self, path: &str) -> Reply {
        self.envoy.send(request("GET", path, "auth.example.com", "").as_bytes()).await
    }

    async fn admin(&self, arguments: &[&str]) {
        let address = format!("unix:{}", self.installation.path("admin.sock").display());
        let output = run(program().arg("admin").args(arguments).args(["--address", &address])).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    async fn end(self) {
        assert!(self.upstream.take().is_empty(), "the API was reached");
        self.process.signal("TERM").await;
        self.process.ended().await;
    }
}

fn request(method: &str, path: &str, host: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n")
}

/// What an answer says, but for what proxies and servers say of themselves.
fn said(reply: &Reply) -> (u16, BTreeSet<String>, String) {
    let own = ["server", "date", "connection", "content-length", "x-envoy-upstream-service-time"];
    let lines = reply.head.lines().skip(1).map(str::to_ascii_lowercase).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !own.iter().any(|name| line.starts_with(&format!("{name}:"))));
    (reply.status, lines.collect(), reply.body.clone())
}

fn places(base: &str) -> [String; 4] {
    [
        format!("/.well-known/oauth-authorization-server{base}"),
        format!("/.well-known/openid-configuration{base}"),
        format!("{base}/.well-known/openid-configuration"),
        format!("{base}/oauth/jwks"),
    ]
}

const AT_GATE: &str = "authorization_server.metadata_at_gate=true";

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_says_what_the_authorization_server_says() {
    for base in ["", "/tenant"] {
        let story = Story::start(base, &[AT_GATE]).await;
        for path in places(base) {
            for target in [path.clone(), format!("{path}?x=/../admin")] {
                for method in ["GET", "HEAD", "OPTIONS"] {
                    for origin in ["", "origin: https://elsewhere.example\r\n"] {
                        let wire = request(method, &target, "auth.example.com", origin);
                        let [by_gate, by_server] = story.both(&wire).await;
                        assert_eq!(said(&by_gate), said(&by_server), "{wire}");
                        assert_eq!(by_gate.status, if method == "OPTIONS" { 204 } else { 200 });
                        assert_eq!(by_gate.body.is_empty(), method != "GET");
                    }
                }
            }
        }
        let document: Value = serde_json::from_str(&story.get(&places(base)[0]).await.body).expect("JSON");
        assert_eq!(document["issuer"], format!("{ISSUER}{base}"));
        assert_eq!(document["jwks_uri"], format!("{ISSUER}{base}/oauth/jwks"));
        let log = story.envoy.access_log(1).await;
        assert!(log.contains(r#""reason":"described""#) && log.contains("ext_authz_denied"), "{log}");
        story.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_there_as_soon_as_they_are_announced_and_gone_with_those_that_leaked() {
    let story = Story::start("", &[AT_GATE]).await;
    let kids = async || -> Vec<String> {
        let [by_gate, by_server] = story.both(&request("GET", "/oauth/jwks", "auth.example.com", "")).await;
        assert_eq!(said(&by_gate), said(&by_server));
        let set: Value = serde_json::from_str(&by_gate.body).expect("JSON");
        set["keys"].as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
    };
    let first = kids().await;
    story.admin(&["keys", "rotate"]).await;
    let announced = kids().await;
    assert_eq!((first.len(), announced.len()), (1, 2));
    assert_eq!(announced[0], first[0]);
    story.admin(&["keys", "rotate", "--now"]).await;
    let fresh = kids().await;
    assert!(fresh.len() == 1 && !announced.contains(&fresh[0]), "{fresh:?}");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_answered_and_nothing_where_it_was_not_asked_for() {
    let story = Story::start("/tenant", &[AT_GATE]).await;
    let [metadata, openid, appended, keys] = places("/tenant");
    for (method, path, host) in [
        ("POST", &*metadata, "auth.example.com"),
        ("POST", &keys, "auth.example.com"),
        ("GET", "/.well-known/oauth-authorization-server", "auth.example.com"),
        ("GET", "/.well-known/openid-configuration", "auth.example.com"),
        ("GET", "/oauth/jwks", "auth.example.com"),
        ("GET", "/tenant/.well-known/oauth-authorization-server", "auth.example.com"),
        ("GET", "/tenant/oauth/jwks/", "auth.example.com"),
        ("GET", "/tenant/oauth/token", "auth.example.com"),
        ("GET", "/tenant/openapi.json", "auth.example.com"),
        ("GET", "/tenant/oauth/jwks;x", "auth.example.com"),
        ("GET", "/", "auth.example.com"),
        ("GET", &metadata, "api.example.com"),
        ("GET", &openid, "api.example.com"),
        ("GET", &appended, "api.example.com"),
        ("GET", &keys, "api.example.com"),
    ] {
        let reply = story.envoy.send(request(method, path, host, "content-length: 0\r\n").as_bytes()).await;
        let denied = if host == "auth.example.com" { "host_unknown" } else { "no_rule" };
        assert!(reply.body.contains(denied), "{method} {host}{path}: {reply:?}");
        assert_eq!(reply.status, 403, "{method} {host}{path}: {reply:?}");
    }
    story.end().await;

    let silent = Story::start("", &[]).await;
    for path in places("") {
        let reply = silent.get(&path).await;
        assert!(reply.body.contains("host_unknown"), "{path}: {reply:?}");
    }
    silent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_says_of_its_resource_changes_nothing_and_documents_come_first() {
    // The host of the issuer is that of the API too, whose rules let anybody do anything, or which has no such name.
    let rules = "protected_resources.0.rules=[{\"path\":\"/**\",\"allow\":\"anyone\"}]";
    let issuer = "authorization_server.issuer=\"https://api.example.com\"";
    let elsewhere = "protected_resources.0.resource=\"https://other.example.com\"";
    for more in [&[rules][..], &[elsewhere], &["protected_resources.0.enforcement=\"observe\""]] {
        let story = Story::start("", &[&[AT_GATE, issuer], more].concat()).await;
        for path in places("") {
            let [by_gate, by_server] = story.both(&request("GET", &path, "api.example.com:443", "")).await;
            assert_eq!(said(&by_gate), said(&by_server), "{path}");
        }
        story.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_document_of_the_gate_is_told_that_there_is_no_other() {
    let told = "protected_resources.0.upstream.authorization=\"internal_jwt\"";
    let story = Story::start("", &[AT_GATE, told, "protected_resources.0.metadata={}"]).await;
    let mut connection = Connection::open(story.envoy.port).await.expect("a connection");
    let mut ask = async |method: &str, host: &str, path: &str, known: &[&str]| {
        let mut wire = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        wire.extend(known.iter().map(|line| format!("if-none-match: {line}\r\n")));
        wire.push_str("\r\n");
        // One connection for all of them: an answer that ends elsewhere than its head says would be in the way of the next one.
        connection.ask(wire.as_bytes()).await.expect("an answer")
    };
    let [metadata, openid, _, keys] = places("");
    for (host, path, kind) in [
        ("auth.example.com", &*metadata, "application/json"),
        ("auth.example.com", &openid, "application/json"),
        ("auth.example.com", &keys, "application/json"),
        ("api.example.com", "/.well-known/oauth-protected-resource", "application/json"),
        ("api.example.com", "/.well-known/tollgate/jwks.json", "application/jwk-set+json"),
    ] {
        let first = ask("GET", host, path, &[]).await;
        assert_eq!((first.status, first.header("content-type")), (200, Some(kind)), "{path}: {first:?}");
        let tag = first.header("etag").unwrap_or_else(|| panic!("{path}: {first:?}")).to_owned();
        assert!(first.header("cache-control").is_some_and(|said| said.starts_with("public, max-age=")), "{first:?}");
        let (weak, list) = (format!("W/{tag}"), format!("\"a,b\", {tag}"));
        for (known, status) in [
            (&[&*tag][..], 304),
            (&[&weak], 304),
            (&[&list], 304),
            (&["\"other\"", &tag], 304),
            (&["*"], 304),
            (&["\"other\""], 200),
            (&[tag.trim_matches('"')], 200),
        ] {
            for method in ["GET", "HEAD"] {
                let reply = ask(method, host, path, known).await;
                assert_eq!(reply.status, status, "{method} {path} {known:?}: {reply:?}");
                for name in ["etag", "cache-control", "access-control-allow-origin"] {
                    assert_eq!(reply.headers(name), first.headers(name), "{method} {path}: {reply:?}");
                }
                assert!(reply.header("date").is_some());
                let body = if (method, status) == ("GET", 200) { &*first.body } else { "" };
                assert_eq!(reply.body, body, "{method} {path} {known:?}");
                let kind = Some(kind).filter(|_| status == 200);
                assert_eq!(reply.header("content-type"), kind, "{method} {path} {known:?}: {reply:?}");
                if method == "HEAD" && status == 200 {
                    assert_eq!(reply.headers("content-length"), first.headers("content-length"));
                }
            }
        }
        if host == "auth.example.com" {
            let [by_gate, by_server] =
                story.both(&request("GET", path, host, &format!("if-none-match: {tag}\r\n"))).await;
            assert_eq!((by_gate.status, said(&by_gate)), (304, said(&by_server)), "{path}");
        }
    }

    // Other keys are another document.
    for (host, path) in [("auth.example.com", &*keys), ("api.example.com", "/.well-known/tollgate/jwks.json")] {
        let before = ask("GET", host, path, &[]).await;
        story.admin(&["keys", "rotate"]).await;
        let tag = before.header("etag").expect("a tag").to_owned();
        let after = ask("GET", host, path, &[&tag]).await;
        assert_eq!(after.status, 200, "{after:?}");
        assert_ne!((after.header("etag"), &after.body), (Some(&*tag), &before.body));
    }
    story.end().await;
}
