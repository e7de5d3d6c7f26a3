//! `envoy/mcp.yaml` with `examples/mcp.yaml`: a server made with the official library, whose tools have scopes of their own.

use std::process::Stdio;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Child;
use tollgate::clock::{Clock as _, SystemClock};

use super::{Caller, ISSUER, Seen, certify, typed, visitor};
use crate::client::{CLIENT_CREDENTIALS, Client, Credential};
use crate::commands::of_shape;
use crate::envoy::{Envoy, eventually};
use crate::example::Example;
use crate::interop::{node, repository};
use crate::mutual_tls::Authority;
use crate::world::{SECRET, free_port};

const TOOLS: &str = "https://tools.example.com/mcp";

/// Both programs, a server, and two agents: one that may use tools, and one that may delete, too.
struct World {
    tollgate: Example,
    envoy: Envoy,
    authority: Authority,
    _server: Child,
    reader: Caller,
    keeper: Caller,
}

impl World {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same after more in the example has been replaced.
    async fn with(names: &[(&str, &str)]) -> Self {
        let (authority, port) = (Authority::new(), free_port());
        let mut server = node("mcp-server.mjs");
        server.current_dir(repository("tests/interop")).env("PORT", port.to_string()).kill_on_drop(true);
        let server = server.stdout(Stdio::null()).spawn().expect("Node.js");
        eventually("the server listens", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        let tollgate = Example::start("mcp.yaml", names).await;
        certify(tollgate.folder.path(), &authority);
        let changes = [
            ("/run/tollgate/authz.sock", &*tollgate.socket.to_string_lossy()),
            ("port_value: 8080", &format!("port_value: {}", tollgate.public)),
        ];
        let envoy = Envoy::of_file("mcp.yaml", port, tollgate.folder.path(), &changes).await;
        let agent = async |scope| {
            let client = Client::new(ISSUER, "agent", Credential::Basic(SECRET.to_owned()));
            let client = client.connected_by(visitor(envoy.port, &authority, None));
            Caller::with(client, &[("grant_type", "client_credentials"), ("scope", scope)]).await
        };
        let (reader, keeper) = (agent("tools:call").await, agent("tools:call tools:delete").await);
        Self { tollgate, envoy, authority, _server: server, reader, keeper }
    }
}

/// A request that declares this call, and calls that tool.
fn call(caller: &Caller, headers: &[(&str, &str)], tool: &str) -> RequestBuilder {
    let modern = headers.contains(&("mcp-protocol-version", "2026-07-28"));
    let mut params = json!({ "name": tool, "arguments": { "order": "7" } });
    if modern {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let request = caller.client.http.post(TOOLS).header("accept", "application/json, text/event-stream");
    let request = request.header("content-type", "application/json").body(body.to_string());
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

/// The same with the token and a new proof.
async fn send(caller: &Caller, headers: &[(&str, &str)], tool: &str) -> Seen {
    let request = call(caller, headers, tool).header("authorization", caller.authorization());
    Seen::of(request.header("dpop", caller.proof("POST", TOOLS))).await
}

const REVISION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const CALL: (&str, &str) = ("mcp-method", "tools/call");
const GET: [(&str, &str); 3] = [REVISION, CALL, ("mcp-name", "get_order")];
const DELETE: [(&str, &str); 3] = [REVISION, CALL, ("mcp-name", "delete_order")];

fn challenge(seen: &Seen) -> &str {
    let lines = seen.headers.get_all("www-authenticate").iter();
    lines.filter_map(|line| line.to_str().ok()).find(|line| line.starts_with("DPoP")).expect("a challenge")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_its_way_and_a_thief_gets_nowhere() {
    let World { reader, .. } = &World::start().await;
    let first = Seen::of(call(reader, &GET, "get_order")).await;
    assert_eq!(first.refusal(), (401, None));
    let place = "https://tools.example.com/.well-known/oauth-protected-resource/mcp";
    assert!(challenge(&first).contains(&format!("resource_metadata=\"{place}\"")), "{first:?}");
    assert!(challenge(&first).contains("scope=\"tools:call\""), "{first:?}");
    let metadata = Seen::of(reader.client.http.get(place)).await;
    let metadata: Value = serde_json::from_str(&metadata.body).expect("JSON");
    assert_eq!((&metadata["resource"], &metadata["authorization_servers"]), (&json!(TOOLS), &json!([ISSUER])));

    let token = reader.authorization();
    let proof = reader.proof("POST", TOOLS);
    let with = |token: &str, proof: &str| {
        Seen::of(call(reader, &GET, "get_order").header("authorization", token).header("dpop", proof))
    };
    let good = with(&token, &proof).await;
    assert_eq!(good.status, 200, "{good:?}");
    assert!(good.body.contains("get_order 7 agent - -"), "it sees who calls, and no token: {good:?}");
    assert_eq!(with(&token, &proof).await.refusal(), (401, Some("invalid_dpop_proof")), "a second time");
    assert_eq!(with(&token, &reader.stolen("POST", TOOLS)).await.refusal(), (401, Some("invalid_token")));
    let bearer = token.replace("DPoP", "Bearer");
    assert_eq!(with(&bearer, &reader.proof("POST", TOOLS)).await.refusal(), (401, Some("invalid_token")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_asks_for_the_scopes_of_its_rule_however_it_is_called() {
    let World { reader, keeper, .. } = &World::start().await;
    assert!(send(keeper, &DELETE, "delete_order").await.body.contains("delete_order 7 agent"));
    let denied = send(reader, &DELETE, "delete_order").await;
    assert_eq!(denied.refusal(), (403, Some("insufficient_scope")));
    assert!(challenge(&denied).contains("scope=\"tools:call tools:delete\""), "all that it takes: {denied:?}");
    let encoded = [REVISION, CALL, ("mcp-name", "=?base64?ZGVsZXRlX29yZGVy?=")];
    assert_eq!(send(reader, &encoded, "delete_order").await.refusal(), (403, Some("insufficient_scope")));
    assert_eq!(send(keeper, &encoded, "delete_order").await.status, 200);

    // The header names what the reader may call, and the body what it may not: the server sees both.
    let lied = send(reader, &GET, "delete_order").await;
    assert_eq!(lied.status, 400);
    assert!(lied.body.contains("-32020"), "{lied:?}");
    // An older revision says nothing, and servers believe the body.
    for headers in [&[][..], &[("mcp-protocol-version", "2025-11-25"), CALL, ("mcp-name", "get_order")]] {
        assert_eq!(send(reader, headers, "delete_order").await.refusal(), (403, Some("insufficient_scope")));
        assert_eq!(send(keeper, headers, "delete_order").await.status, 200, "{headers:?}");
    }
    for headers in [
        &[REVISION, CALL][..],
        &[REVISION, ("mcp-name", "get_order")],
        &[REVISION, CALL, ("mcp-name", "get_order"), ("mcp-name", "delete_order")],
        &[REVISION, ("mcp-protocol-version", "2025-11-25"), CALL, ("mcp-name", "get_order")],
    ] {
        let denied = send(reader, headers, "delete_order").await;
        assert_eq!(denied.status, 400, "{headers:?}");
        assert!(denied.body.contains("MCP headers"), "the gate says so: {denied:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_of_the_page_tells_whether_a_server_compares_headers_and_body() {
    // The bearer tokens of MCP hosts of today.
    let world = &World::with(&[("      dpop_bound_access_tokens: true\n", "")]).await;
    let folder = world.tollgate.folder.path();
    std::fs::write(folder.join("ca.pem"), world.authority.pem()).expect("a file");
    let agent = Client::new(ISSUER, "agent", Credential::Basic(SECRET.to_owned()));
    let agent = agent.connected_by(visitor(world.envoy.port, &world.authority, None));
    let token = agent.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    for commands in of_shape("tutorials/mcp.md") {
        let said = typed(&commands, world.envoy.port, folder, token.text("access_token")).await;
        assert!(said.contains("-32020"), "{said}");
    }
}
