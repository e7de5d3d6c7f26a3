//! Other people's clients, unchanged, against the program (`tests/interop/README.md`).

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::browser::Browser;
use crate::chromium::chromium;
use crate::envoy::Envoy;
use crate::machine::{Machine, Running, between};
use crate::process::{Installation, PASSWORD, Process, eventually, run};
use crate::upstream::Upstream;
use crate::world::{SECRET, World, free_port};
use oauth2::basic::BasicClient;
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, DeviceAuthorizationUrl, HttpRequest, HttpResponse,
    PkceCodeChallenge, RedirectUrl, RefreshToken, Scope, StandardDeviceAuthorizationResponse, TokenResponse as _,
    TokenUrl,
};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Fails, with what to do, if a tool is not installed.
#[track_caller]
pub fn installed(path: &str) -> PathBuf {
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
async fn satisfies(client: Command) {
    satisfies_with(client, &[]).await;
}

/// The same with more settings.
async fn satisfies_with(client: Command, settings: &[&str]) {
    satisfies_at(&Installation::new(), client, settings).await;
}

/// The same with an installation that was made ready for them.
async fn satisfies_at(installation: &Installation, mut client: Command, settings: &[&str]) {
    std::fs::write(installation.path("client.jwk"), private_jwk(installation).to_string()).expect("a file");
    let dpop = "authorization_server.dpop={\"nonce\":\"required\",\"required\":true}";
    let redirect_uri = format!("http://127.0.0.1:{}/cb", free_port());
    let scope = "authorization_server.clients.1.scope=\"openid profile email orders:read orders:write\"";
    let redirect_uris = format!("authorization_server.clients.1.redirect_uris=[\"{redirect_uri}\"]"); // of `web`
    let settings = [dpop, scope, &redirect_uris].into_iter().chain(settings.iter().copied());
    let arguments: Vec<_> = settings.flat_map(|setting| ["--set", setting]).collect();
    let process = installation.start(&arguments).await;
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
    succeeds(client, process).await;
}

/// Runs somebody's client to its end, and then ends the program beside it.
async fn succeeds(mut client: Command, process: Process) {
    let output = run(&mut client).await;
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}\nthe program said:\n{log}");
    assert!(said.lines().any(|line| line.starts_with("ok ")), "{said}{complained}");
    println!("{said}");
}

/// Starts the demo, with the real Envoy before its API, and runs somebody's client as a device of it.
async fn lets_in(mut device: Command) {
    let machine = Machine::new();
    let ports = ["--port", "0", "--envoy-port", "0", "--admin-port", "0"];
    let mut dev = Running::start(machine.command(&[&["dev", "--nonce"], ports.as_slice()].concat()));
    let said = dev.until("Ctrl-C").await;
    device
        .current_dir(repository("tests/interop"))
        .env("ISSUER", between(&said, "issuer   ", " "))
        .env("CLIENT_ID", "cli")
        .env("REDIRECT_URI", "none")
        .env("USERNAME", "ada")
        .env("PASSWORD", between(&said, "password ", "\n"))
        .env("SCOPE", "orders:read")
        .env("RESOURCE", between(&said, "guard    ", " "))
        .kill_on_drop(true);
    let output = run(&mut device).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.lines().any(|line| line.starts_with("ok ")), "{said}{complained}");
    assert_eq!(dev.stop("-INT").await, 0);
}

pub fn node(script: &str) -> Command {
    installed("tests/interop/node_modules/.package-lock.json");
    let mut command = Command::new("node");
    command.arg(script);
    command
}

pub fn python(script: &str) -> Command {
    let mut command = Command::new(installed(".tools/python/bin/python"));
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
async fn openid_client_signs_and_pushes_its_requests() {
    let settings = ["profile=\"fapi2\"", "require_signed_request_object=true"];
    let settings = settings.map(|setting| format!("authorization_server.clients.1.{setting}"));
    satisfies_with(node("fapi.mjs"), &settings.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn openid_client_introspects_and_revokes() {
    satisfies(node("introspection.mjs")).await;
}

#[tokio::test]
async fn oauth4webapi_accepts_our_tokens_as_a_resource_server() {
    satisfies(node("resource-server.mjs")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth4webapi_finds_everything_at_the_gate_where_envoy_knows_the_token_endpoint_only() {
    let (installation, upstream, public) = (Installation::new(), Upstream::start().await, free_port());
    let (socket, port) = (installation.socket().display().to_string(), installation.issuer.rsplit(':').next());
    let port = port.expect("a port");
    let token_endpoint = r#"                        - match: { path: "/oauth/token" }
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
                          route: { cluster: tollgate_public }
                        # What is public is a rule"#;
    let changes = [
        ("/run/tollgate/authz.sock", &*socket),
        ("port_value: 0 } }\n      ", &format!("port_value: {port} }} }}\n      ")),
        ("\"api.example.com\", \"api.example.com:443\"", &format!("\"127.0.0.1:{port}\"")),
        ("port_value: 8080", &format!("port_value: {public}")),
        ("                        # What is public is a rule", token_endpoint),
    ];
    let _envoy = Envoy::of_file("envoy.yaml", upstream.port, installation.folder.path(), &changes).await;
    let address = format!("listen.public.address=\"127.0.0.1:{public}\"");
    let settings = ["authorization_server.metadata_at_gate=true", &address];
    satisfies_at(&installation, node("resource-server.mjs"), &settings).await;
    assert!(upstream.take().is_empty(), "the API was reached");
}

#[tokio::test]
async fn openid_client_is_let_in_as_a_device_and_calls_the_api() {
    lets_in(node("device.mjs")).await;
}

#[tokio::test]
async fn requests_oauth2client_is_let_in_as_a_device_and_calls_the_api() {
    lets_in(python("device.py")).await;
}

/// Sends what the crate `oauth2` wants sent.
async fn send(request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let (parts, body) = request.into_parts();
    let request = crate::client::http().request(parts.method, parts.uri.to_string()).headers(parts.headers);
    let response = request.body(body).send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut answer = HttpResponse::new(response.bytes().await?.to_vec());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

#[tokio::test]
async fn the_crate_oauth2_redeems_a_code_and_refreshes() {
    let world = World::start().await;
    let endpoint = |path: &str| format!("{}/oauth/{path}", world.issuer);
    let client = BasicClient::new(ClientId::new("backend".to_owned()))
        .set_client_secret(ClientSecret::new(SECRET.to_owned()))
        .set_auth_uri(AuthUrl::new(endpoint("authorize")).expect("a URL"))
        .set_token_uri(TokenUrl::new(endpoint("token")).expect("a URL"))
        .set_redirect_uri(RedirectUrl::new("https://app.example/cb".to_owned()).expect("a URL"));
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let scope = Scope::new("orders:read".to_owned());
    let request = client.authorize_url(CsrfToken::new_random).add_scope(scope).set_pkce_challenge(challenge);
    let (url, state) = request.url();
    let path = url.as_str().strip_prefix(&world.issuer).expect("our endpoint");
    let back = Browser::new(&world.issuer).approve(path, "ada", "ada").await;
    assert_eq!(back.parameter("state").as_ref(), Some(state.secret()));
    let code = AuthorizationCode::new(back.code());
    let tokens = client.exchange_code(code).set_pkce_verifier(verifier).request_async(&send).await.expect("tokens");
    assert!(tokens.expires_in().is_some());
    let refresh = RefreshToken::new(tokens.refresh_token().expect("a refresh token").secret().clone());
    let refreshed = client.exchange_refresh_token(&refresh).request_async(&send).await.expect("tokens");
    assert_ne!(refreshed.access_token().secret(), tokens.access_token().secret());
}

#[tokio::test]
async fn the_crate_openidconnect_signs_a_person_in() {
    let installation = Installation::new();
    let scope = "authorization_server.clients.2.scope=\"openid profile email orders:read\""; // of `backend`
    let process = installation.start(&["--set", scope]).await;
    let mut client = Command::new(installed(".tools/openidconnect/debug/openidconnect-client"));
    client
        .env("ISSUER", &installation.issuer)
        .env("CLIENT_ID", "backend")
        .env("CLIENT_SECRET", SECRET)
        .env("REDIRECT_URI", "https://app.example/cb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut client = client.spawn().expect("the client");
    let mut lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    let mut said = Vec::new();
    while let Some(line) = eventually("a line", lines.next_line()).await.expect("text") {
        if let Some(url) = line.strip_prefix("open ") {
            let path = url.strip_prefix(&installation.issuer).expect("our endpoint");
            let code = Browser::new(&installation.issuer).approve(path, "ada", PASSWORD).await.code();
            let mut input = client.stdin.take().expect("a pipe");
            input.write_all(format!("{code}\n").as_bytes()).await.expect("the client reads");
        }
        said.push(line);
    }
    assert!(eventually("its end", client.wait()).await.expect("a status").success(), "{said:?}");
    process.signal("TERM").await;
    process.ended().await;
    assert_eq!(said.iter().filter(|line| line.starts_with("ok ")).count(), 4, "{said:?}");
}

#[tokio::test]
async fn the_crate_oauth2_is_let_in_as_a_device() {
    let world = World::start().await;
    let endpoint = |path: &str| format!("{}/oauth/{path}", world.issuer);
    let client = BasicClient::new(ClientId::new("tv".to_owned()))
        .set_token_uri(TokenUrl::new(endpoint("token")).expect("a URL"))
        .set_device_authorization_url(DeviceAuthorizationUrl::new(endpoint("device_authorization")).expect("a URL"));
    let codes = client.exchange_device_code().add_scope(Scope::new("orders:read".to_owned())).request_async(&send);
    let codes: StandardDeviceAuthorizationResponse = codes.await.expect("codes");
    // The device sleeps between its polls, and the time of the world goes on; after the third, ada has approved.
    let polls = std::cell::Cell::new(0);
    let sleep = async |pause| {
        world.clock.advance(pause);
        polls.set(polls.get() + 1);
        if polls.get() == 3 {
            world.let_in(codes.device_code().secret(), "ada").await;
        }
    };
    let tokens = client.exchange_device_access_token(&codes).request_async(&send, sleep, None).await.expect("tokens");
    assert_eq!(crate::client::claims(tokens.access_token().secret())["sub"], "ada");
    assert_eq!(polls.get(), 3);
}

#[tokio::test]
async fn requests_oauth2client_gets_a_token() {
    satisfies(python("requests-oauth2client.py")).await;
}

#[tokio::test]
async fn a_person_signs_in_with_chromium_by_keyboard_and_without_scripts() {
    let mut command = node("chromium.mjs");
    command.env("CHROMIUM_BIN", chromium().await);
    satisfies(command).await;
}

#[tokio::test]
async fn a_person_signs_in_at_oidc_provider_with_chromium() {
    let output = run(&mut Command::new(repository("scripts/install-chromium"))).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8(output.stdout).expect("UTF-8");
    let upstream = format!("http://127.0.0.1:{}", free_port());
    let (client_id, secret) = ("tollgate", "a secret: with + and % in it, 32 characters");
    let installation = Installation::new();
    std::fs::write(installation.path("upstream-secret"), secret).expect("a file");
    let login =
        json!({ "oidc": { "issuer": upstream, "client_id": client_id, "client_secret_file": "upstream-secret" } });
    let mut command = node("upstream-provider.mjs");
    command
        .env("CHROMIUM_BIN", path.trim())
        .env("UPSTREAM_ISSUER", &upstream)
        .env("UPSTREAM_CLIENT_ID", client_id)
        .env("UPSTREAM_CLIENT_SECRET", secret);
    satisfies_at(&installation, command, &[&format!("authorization_server.login={login}")]).await;
}

/// Starts `server-everything`, which knows nothing of tokens, and runs somebody's MCP client before it.
async fn reaches_an_mcp_server(client: Command) {
    let mut everything = node("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    everything.arg("streamableHttp");
    let resource = json!({ "rules": [{ "path": "/mcp", "scope": "orders:read" }] });
    reaches_this_mcp_server(client, everything, resource).await;
}

/// Starts an MCP server, Envoy and the program before it, and runs somebody's MCP client.
async fn reaches_this_mcp_server(mut client: Command, mut served: Command, mut settings: Value) {
    let (port, server) = (free_port(), free_port());
    let served = served.env("PORT", server.to_string()).current_dir(repository("tests/interop"));
    let served = served.stdout(Stdio::null()).stderr(Stdio::null());
    let _served = served.kill_on_drop(true).spawn().expect("Node.js");
    let connects = async || TcpStream::connect(("127.0.0.1", server)).await.ok();
    crate::envoy::eventually("the MCP server listens", connects).await;

    let installation = Installation::new();
    let resource = format!("http://127.0.0.1:{port}/mcp");
    settings["resource"] = resource.as_str().into();
    settings["dpop"] = "allowed".into();
    settings["nonce"] = "required".into();
    settings["metadata"] = json!({ "resource_name": "Tools" });
    let process = installation.start(&["--set", &format!("protected_resources=[{settings}]")]).await;
    let envoy = Envoy::for_resource(&resource, &installation.socket(), server).await;
    client
        .current_dir(repository("tests/interop"))
        .env("ISSUER", &installation.issuer)
        .env("CLIENT_ID", "spa")
        .env("REDIRECT_URI", format!("http://127.0.0.1:{}/cb", free_port()))
        .env("USERNAME", "ada")
        .env("PASSWORD", PASSWORD)
        .env("SCOPE", "orders:read")
        .env("RESOURCE", &resource)
        .kill_on_drop(true);
    succeeds(client, process).await;
    drop(envoy);
}

#[tokio::test]
async fn the_mcp_client_finds_its_way_from_the_first_401() {
    reaches_an_mcp_server(node("mcp.mjs")).await;
}

#[tokio::test]
async fn the_mcp_client_gets_a_wider_token_for_a_tool_that_asks_for_more() {
    let settings = json!({
        "mcp": { "server_checks_headers": true },
        "rules": [
            { "path": "/mcp", "mcp": { "method": "tools/call", "name": "delete_*" }, "scope": "orders:read orders:write" },
            { "path": "/mcp", "scope": "orders:read" },
        ],
    });
    reaches_this_mcp_server(node("mcp-step-up.mjs"), node("mcp-server.mjs"), settings).await;
}

#[tokio::test]
async fn the_mcp_client_for_python_finds_its_way_with_bearer_tokens() {
    reaches_an_mcp_server(python("mcp_client.py")).await;
}

#[tokio::test]
async fn authlib_is_a_client_with_bearer_tokens() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    let mut client = python("authlib_client.py");
    client
        .current_dir(repository("tests/interop"))
        .env("ISSUER", &installation.issuer)
        .env("CLIENT_ID", "backend")
        .env("CLIENT_SECRET", SECRET)
        .env("REDIRECT_URI", "https://app.example/cb")
        .env("USERNAME", "ada")
        .env("PASSWORD", PASSWORD)
        .env("SCOPE", "orders:read orders:write")
        .env("RESOURCE", "https://api.example.com")
        .kill_on_drop(true);
    succeeds(client, process).await;
}
