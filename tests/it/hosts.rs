//! Several resources at one host, of which the path chooses one; and a gateway in front of Envoy that takes a prefix off.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tollgate::clock::Clock as _;

use crate::check::{Proxy, Verdict};
use crate::envoy::{Envoy, eventually};
use crate::gate::Holder;
use crate::other_issuers::serve;
use crate::provider::Provider;
use crate::upstream::{Upstream, fields};
use crate::world::TestClock;

const A: &str = "https://api.example.com/a/mcp";
const B: &str = "https://api.example.com/b/mcp";
const ADMIN: &str = "https://api.example.com/b/mcp/admin";
const SHOP: &str = "https://shop.example.com/shop";
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A gate before several servers of one host, the issuer of its tokens, and somebody who holds a key.
struct Story {
    acme: Provider,
    clock: Arc<TestClock>,
    ada: Holder,
    proxy: Proxy,
    socket: PathBuf,
    folder: TempDir,
    _gate: JoinSet<()>,
}

impl Story {
    async fn start() -> Self {
        let clock = Arc::new(TestClock::default());
        let acme = Provider::start(clock.now()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("authz.sock");
        let issuer = &acme.issuer;
        let text = format!(
            r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }}, {{ address: "unix:{}" }} ] }}
protected_resources:
  - resource: {A}
    authorization_servers: ["{issuer}"]
    metadata: {{ resource_name: A }}
    rules: [ {{ path: "/**", scope: "a:use" }} ]
  - resource: {ADMIN}
    authorization_servers: ["{issuer}"]
    rules: [ {{ path: "/**", scope: "b:admin" }} ]
  - resource: {B}
    authorization_servers: ["{issuer}"]
    upstream: {{ authorization: internal_jwt }}
    metadata: {{ resource_name: B }}
    rules: [ {{ path: "/**", scope: "b:use" }} ]
  - resource: {SHOP}
    stripped_prefix: /shop
    authorization_servers: ["{issuer}"]
    metadata: {{}}
    rules: [ {{ path: /orders/*, scope: "b:use" }}, {{ path: /, scope: "b:use" }} ]
"#,
            socket.display()
        );
        let (gate, proxy) = serve(&text, &clock).await;
        let fetched = || acme.script().requests.iter().any(|(head, _)| head.starts_with("GET /jwks "));
        eventually("the keys are fetched", async || fetched().then_some(())).await;
        clock.advance(Duration::from_mins(1)); // the fence is behind us
        Self { acme, clock, ada: Holder::new("app"), proxy, socket, folder, _gate: gate }
    }

    /// The two headers of a request for this URL with a token for that resource.
    fn credentials(&self, resource: &str, url: &str) -> [(&'static str, String); 2] {
        let now = self.clock.now().seconds();
        let token = json!({
            "iss": self.acme.issuer, "sub": "ada", "aud": resource, "client_id": "app", "scope": "a:use b:use b:admin",
            "jti": "1", "iat": now, "exp": now + 3_600, "cnf": { "jkt": self.ada.thumbprint() },
        });
        let token = self.acme.script().key.sign("at+jwt", &token);
        let proof = self.ada.proof("GET", url, &token, now);
        [("authorization", format!("DPoP {token}")), ("dpop", proof)]
    }

    /// Asks the gate about a request as Envoy sees it, with a token for that resource and a proof for that URL.
    async fn get(&mut self, (host, path): (&str, &str), resource: &str, url: &str) -> Verdict {
        let credentials = self.credentials(resource, url);
        let headers = credentials.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.proxy.ask(host, path, &headers).await
    }
}

#[tokio::test]
async fn the_host_and_the_longest_path_choose_the_resource() {
    let mut story = Story::start().await;
    for (path, resource, reason) in [
        ("/a/mcp", A, "allowed"),
        ("/a/mcp/", A, "allowed"),
        ("/a/mcp/x/y?z=/b/mcp", A, "allowed"),
        ("/%61/mcp", A, "allowed"),
        ("/b/mcp/x", B, "allowed"),
        ("/b/mcp/administration", B, "allowed"),
        ("/b/mcp/admin/x", ADMIN, "allowed"),
        ("/a/mcp", B, "token_audience_wrong"),
        ("/b/mcp", A, "token_audience_wrong"),
        ("/b/mcp/%61dmin", B, "token_audience_wrong"),
        ("/b/mcp/admin", B, "token_audience_wrong"),
        ("/a/mcpx", A, "no_rule"),
        ("/a", A, "no_rule"),
        ("/A/mcp", A, "no_rule"),
        ("/", A, "no_rule"),
        ("/c/../a/mcp", A, "path_ambiguous"),
        ("/a/mcp/..%2f..%2fb/mcp", A, "path_ambiguous"),
        ("/a/mcp;/x", A, "path_ambiguous"),
        ("/a//mcp", A, "path_ambiguous"),
    ] {
        let path_signed = path.split('?').next().unwrap_or_default();
        let url = format!("https://api.example.com{path_signed}");
        let verdict = story.get(("api.example.com", path), resource, &url).await;
        assert_eq!(verdict.reason(), reason, "{path} for {resource}: {verdict:?}");
    }
    let verdict = story.get(("other.example.com", "/a/mcp"), A, A).await;
    assert_eq!(verdict.reason(), "host_unknown");
}

#[tokio::test]
async fn each_has_its_documents_at_its_own_path() {
    let mut story = Story::start().await;
    let host = "api.example.com";
    for (path, resource) in [("/a/mcp", A), ("/b/mcp", B)] {
        let verdict = story.proxy.ask(host, &format!("{WELL_KNOWN}{path}"), &[]).await;
        assert_eq!((verdict.status, verdict.reason()), (200, "described"), "{verdict:?}");
        let document: Value = serde_json::from_str(&verdict.body).expect("JSON");
        assert_eq!(document["resource"], resource);
        let refused = story.proxy.ask(host, path, &[]).await;
        let [challenge] = refused.challenges()[..] else { panic!("{refused:?}") };
        assert!(challenge.contains(&format!("resource_metadata=\"https://{host}{WELL_KNOWN}{path}\"")), "{challenge}");
    }
    // None of them is the one for the whole host, and one says nothing of metadata.
    for path in [WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}/b/mcp/admin"), format!("{WELL_KNOWN}/a")] {
        assert_eq!(story.proxy.ask(host, &path, &[]).await.reason(), "no_rule", "{path}");
    }
    let keys = story.proxy.ask(host, "/.well-known/tollgate/jwks.json", &[]).await;
    assert_eq!((keys.status, keys.reason()), (200, "described"));
}

#[tokio::test]
async fn clients_sign_what_they_ask_for_and_not_what_a_gateway_makes_of_it() {
    let mut story = Story::start().await;
    for (path, signed, reason) in [
        ("/orders/7", "/shop/orders/7", "allowed"),
        ("/orders/7?x=1", "/shop/orders/7", "allowed"),
        ("/", "/shop/", "allowed"),
        ("/orders/7", "/orders/7", "proof_target_mismatch"),
        ("/orders/7", "/shop/shop/orders/7", "proof_target_mismatch"),
        ("/orders/7", "/SHOP/orders/7", "proof_target_mismatch"),
        ("/shop/orders/7", "/shop/orders/7", "no_rule"),
    ] {
        let url = format!("https://shop.example.com{signed}");
        let verdict = story.get(("shop.example.com", path), SHOP, &url).await;
        assert_eq!(verdict.reason(), reason, "{path} signed as {signed}: {verdict:?}");
    }
    // What a request says of a prefix is not believed.
    let credentials = story.credentials(SHOP, "https://shop.example.com/other/orders/7");
    let mut headers = credentials.each_ref().map(|(name, value)| (*name, value.as_str())).to_vec();
    headers.push(("x-forwarded-prefix", "/other"));
    assert_eq!(story.proxy.ask("shop.example.com", "/orders/7", &headers).await.reason(), "proof_target_mismatch");
    // The gateway passes on what is well-known.
    let verdict = story.proxy.ask("shop.example.com", &format!("{WELL_KNOWN}/shop"), &[]).await;
    let document: Value = serde_json::from_str(&verdict.body).expect("JSON");
    assert_eq!(document["resource"], SHOP);
}

/// A request for a path of that host, as it goes over the wire.
fn wire(host: &str, path: &str, headers: &[(&str, String)]) -> Vec<u8> {
    let mut wire = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n");
    wire.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    wire.push_str("\r\n");
    wire.into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_envoy_two_servers_share_a_host_and_what_a_route_names_wins() {
    let story = Story::start().await;
    let upstream = Upstream::start().await;
    let socket = story.socket.to_string_lossy().into_owned();
    let named = r#"context_extensions: { resource: "https://api.example.com" }"#;
    // Whatever is below /b belongs to the second one, says its route; of all else the path decides.
    let route = format!(
        r#"- match: {{ prefix: "/b" }}
                          route: {{ cluster: api, timeout: 15s }}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {{ context_extensions: {{ resource: "{B}" }} }}
                        - match: {{ prefix: "/", grpc: {{}} }}"#
    );
    let changes = [
        ("/run/tollgate/authz.sock", &*socket),
        (named, "context_extensions: {}"),
        (r#"- match: { prefix: "/", grpc: {} }"#, &*route),
    ];
    let envoy = Envoy::of_file("envoy.yaml", upstream.port, story.folder.path(), &changes).await;
    for (path, resource, status) in [
        ("/a/mcp/x", A, 200),
        ("/b/mcp/x", B, 200),
        ("/b/elsewhere", B, 200),
        ("/b/mcp/admin", B, 200),
        ("/a/mcp/x", B, 401),
        ("/b/mcp/x", A, 401),
        ("/c", A, 403),
    ] {
        let credentials = story.credentials(resource, &format!("https://api.example.com{path}"));
        let reply = envoy.send(&wire("api.example.com", path, &credentials)).await;
        assert_eq!(reply.status, status, "{path} for {resource}: {reply:?}");
        let seen = upstream.take();
        assert_eq!(seen.len(), usize::from(status == 200), "{path} for {resource}");
        assert!(seen.iter().all(|head| fields(head, "x-auth-subject") == ["ada"]), "{seen:?}");
    }
    for (path, resource) in [("/a/mcp", A), ("/b/mcp", B)] {
        let reply = envoy.send(&wire("api.example.com", &format!("{WELL_KNOWN}{path}"), &[])).await;
        let document: Value = serde_json::from_str(&reply.body).expect("JSON");
        assert_eq!((reply.status, &document["resource"]), (200, &json!(resource)));
    }
    upstream.take();
}
