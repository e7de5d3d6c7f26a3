//! The program itself, as people run it: its verbs, their output and their exit codes, and the demo with a real Envoy.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;
use tollgate::authz::Denial;
use tollgate::dpop::ProofFault;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::Refusal;

use crate::browser::Browser;
use crate::envoy::eventually;
use crate::machine::{Machine, PATIENCE, Running, Said, between, read_until};
use crate::upstream::read_head;
use crate::world::free_port;

#[tokio::test]
async fn explain_knows_every_name() {
    let machine = Machine::new();
    let list = machine.run(&["explain", "--list"]).await.expect(0, &[]);
    let refusals = Refusal::ALL.iter().map(|refusal| refusal.name()).chain(ProofFault::ALL.map(ProofFault::name));
    let denials = Denial::all().map(Denial::name);
    for name in refusals.chain(denials).chain(["allowed", "unavailable"]) {
        assert!(list.out.lines().any(|line| line.split(' ').next() == Some(name)), "{name} is not in the list");
    }
    let texts =
        ["DPoP proof was used before", "cause", "fix", "RFC 9449 §11.1", "401 invalid_dpop_proof from the gate"];
    machine.run(&["explain", "proof_replayed"]).await.expect(0, &texts);
    machine.run(&["explain", "allowed"]).await.expect(0, &["Nothing is wrong", "the gate let the request pass"]);
    machine.run(&["explain", "use_dpop_nonce"]).await.expect(0, &["proof_nonce_missing", "proof_nonce_stale"]);
    machine.run(&["explain", "key-mismatch"]).await.expect(2, &["did you mean `key_mismatch`?"]);
}

#[tokio::test]
async fn what_cannot_be_right_is_said_before_anything_is_sent() {
    let machine = Machine::new();
    let port = free_port().to_string();
    let here = format!("http://127.0.0.1:{port}/");
    machine.run(&["curl", &here]).await.expect(1, &["there is no `tollgate dev` behind it", "--issuer"]);
    machine.run(&["curl", "http://api.example.com/"]).await.expect(1, &["the token would travel in the clear"]);
    machine.run(&["curl", "--issuer", "http://127.0.0.1:1", &here]).await.expect(2, &["--client-id"]);
    machine.run(&["curl", "-H", "DPoP: x", &here]).await.expect(1, &["dpop is what this verb adds by itself"]);
    machine.run(&["dev", "--once"]).await.expect(2, &["--story"]);
    let missing = machine.path("none").display().to_string();
    machine
        .run(&["curl", "--issuer", "http://127.0.0.1:1", "--client-id", "a", "--key", &missing, &here])
        .await
        .expect(1, &["cannot read"]);
    machine
        .run(&["curl", "--issuer", "http://127.0.0.1:1", "--client-id", "a", &here])
        .await
        .expect(1, &["cannot reach"]);
    let url = format!("http://127.0.0.1:{port}/readyz");
    machine.run(&["healthcheck", "--url", &url]).await.expect(1, &["not ready"]);
}

#[tokio::test]
async fn no_proxy_is_asked_for_what_is_on_this_machine() {
    let machine = Machine::new();
    let here = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = |listener: &TcpListener| listener.local_addr().expect("an address");
    let url = format!("http://{}/readyz", address(&here));
    let mut command = machine.command(&["healthcheck", "--url", &url]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(name, format!("http://{}", address(&proxy)));
    }
    let answer = async {
        let (mut asked, _) = here.accept().await.expect("a connection");
        read_head(&mut asked, &mut Vec::new()).await.expect("a peer").expect("a request");
        asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("a peer");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = timeout(PATIENCE, command.output()) => {
            Said::of(&said.expect("an end in time").expect("the program starts")).expect(0, &[]);
        }
        () = answer => {}
        _ = proxy.accept() => panic!("the proxy was asked"),
    }
}

#[tokio::test]
async fn validate_reports_every_mistake_and_exits_with_2() {
    let machine = Machine::new();
    machine.run(&["validate", "examples/gate-and-issuer-dev.yaml"]).await.expect(0, &["ok: examples/gate-and-issuer"]);
    let file = machine.write("tollgate.yaml", "stores: { memory: {} }\nlisten: { admin: { address: nowhere } }\n");
    let said = machine.run(&["validate", "--config", &file.display().to_string()]).await;
    said.expect(2, &["stores", "tollgate.yaml:1:1", "nowhere", "tollgate.yaml:2:"]);
    machine.run(&["schema"]).await.expect(0, &["\"$schema\"", "authorization_server"]);
}

#[tokio::test]
async fn validate_says_which_headers_envoy_must_send() {
    let machine = Machine::new();
    let example = "examples/gate-and-issuer-dev.yaml";
    let rule = r#"protected_resources.0.rules.0={"path":"/admin","when":"!('x-admin' in request.headers)"}"#;
    let said = machine.run(&["validate", example, "--set", rule]).await;
    said.expect(
        0,
        &["ok: ", "note: `when` of the rule for `/admin`", "reads the header `x-admin`", "`allowed_headers`"],
    );
    let without = machine.run(&["validate", example]).await;
    assert!(without.err.is_empty(), "{}", without.err);
}

#[tokio::test]
async fn the_story_is_told_with_real_answers_and_leaves_nothing_behind() {
    let machine = Machine::new();
    let ports = ["--port", "0", "--envoy-port", "0", "--admin-port", "0"];
    let told = machine.run(&[&["dev", "--story", "--once"], ports.as_slice()].concat()).await;
    let told = told
        .expect(0, &["\"token_type\":\"DPoP\"", "\"x-auth-client\":\"reports\"", "tollgate explain proof_replayed"]);
    let statuses: Vec<_> =
        told.out.lines().filter_map(|line| line.trim().strip_prefix("< ")?.get(..3)?.parse::<u16>().ok()).collect();
    let of_the_device = [200, 400, 200, 200, 200, 200, 200, 200];
    assert_eq!(statuses, [&[200, 200, 401, 401, 401, 403], &of_the_device[..]].concat(), "{}", told.out);
    for text in ["authorization_pending", "All set", "\"x-auth-subject\":\"ada-0b6f\"", "\"x-auth-client\":\"tv\""] {
        assert!(told.out.contains(text), "no `{text}` in:\n{}", told.out);
    }
    let challenges = told.out.lines().filter(|line| line.contains("< www-authenticate: DPoP ")).count();
    assert_eq!(challenges, 4, "{}", told.out);
    let secrets = ["eyJ", "tgd_", "tgr_"];
    assert!(!secrets.iter().any(|secret| told.out.contains(secret)), "no token and no proof is printed:\n{}", told.out);
    assert_eq!(machine.left(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn curl_calls_the_demo_and_plays_the_thief() {
    let machine = Machine::new();
    let mut dev = Running::start(machine.command(&["dev", "--port", "0", "--envoy-port", "0", "--admin-port", "0"]));
    let said = dev.until("Ctrl-C").await;
    let guard = between(&said, "guard    ", " ");
    let orders = format!("{guard}/orders");
    let curl = async |arguments: &[&str]| machine.run(&[&["curl"], arguments, &[&orders]].concat()).await;

    let first = curl(&[]).await.expect(0, &["POST /oauth/token", "200 DPoP, 300 s", "\"x-auth-subject\":\"reports\""]);
    let key = between(&first.err, "key ", "\n").to_owned();
    curl(&["-H", "x-auth-subject: root"])
        .await
        .expect(0, &["from the last call", &key, "\"x-auth-subject\":\"reports\""]);
    curl(&["-i", "-X", "DELETE"])
        .await
        .expect(1, &["HTTP/1.1 403", "scope=\"orders:write\"", "explain scope_insufficient"]);
    curl(&["--steal"]).await.expect(1, &[&format!("the token of key {key}, a proof by key"), "explain key_mismatch"]);
    curl(&["--steal=bearer"]).await.expect(1, &["explain bound_token_as_bearer"]);
    curl(&["--replay"]).await.expect(1, &["< 200", "with the very same proof", "explain proof_replayed"]);
    let silent = curl(&["-s"]).await.expect(0, &["the_api_received"]);
    assert_eq!(silent.err, "");
    let fresh = curl(&["--fresh"]).await.expect(0, &["POST /oauth/token"]);
    assert!(!fresh.err.contains(&key), "a new token has a new key");
    let file = machine.path("body").display().to_string();
    let quiet = curl(&["-o", &file, "-d", "a=1", "-X", "GET"]).await.expect(0, &[]);
    assert_eq!(quiet.out, "");
    assert!(fs::read_to_string(&file).expect("the answer").contains("\"content-length\":\"3\""));

    let line = curl(&["--print-curl"]).await.expect(0, &["this line holds the token"]).out;
    let shell = async || Said::of(&Command::new("sh").args(["-c", &line]).output().await.expect("a shell"));
    shell().await.expect(0, &["\"x-auth-subject\":\"reports\""]);
    shell().await.expect(0, &["DPoP proof was used before"]);

    assert_eq!(dev.stop("-INT").await, 0);
    assert_eq!(machine.processes(), Vec::<String>::new());
    assert_eq!(machine.left(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn curl_signs_a_person_in_and_copes_with_nonces() {
    let machine = Machine::new();
    let ports = ["--port", "0", "--envoy-port", "0", "--admin-port", "0"];
    let mut dev = Running::start(machine.command(&[&["dev", "--nonce"], ports.as_slice()].concat()));
    let said = dev.until("Ctrl-C").await;
    let orders = format!("{}/orders", between(&said, "guard    ", " "));
    let password = between(&said, "password ", "\n");

    let mut command = machine.command(&["curl", "--login", "--no-browser", "-d", "item=1", &orders]);
    let mut curl = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(curl.stderr.take().expect("a pipe")).lines();
    let shown = read_until(&mut lines, "/oauth/authorize?").await;
    let issuer = between(&said, "issuer   ", " ");
    let path = between(&shown, issuer, "\n");
    let mut ada = Browser::new(issuer);
    let back = ada.approve(path, "ada", password).await.location();
    let strangers = back.as_str().replace("state=", "state=x");
    assert_eq!(ada.http.get(strangers).send().await.expect("an answer").status(), 404, "not our state");
    assert_eq!(ada.http.get(back).send().await.expect("an answer").status(), 200);
    let told = read_until(&mut lines, "< 200").await;
    for text in ["(after use_dpop_nonce)", "401 use_dpop_nonce -> again with the nonce"] {
        assert!(told.contains(text), "{told}");
    }
    let output = timeout(PATIENCE, curl.wait_with_output()).await.expect("an end in time").expect("an end");
    Said::of(&output).expect(0, &["\"x-auth-subject\":\"ada", "\"x-auth-client\":\"cli\""]);

    let again = machine.run(&["curl", "--login", &orders]).await.expect(0, &["from the last call"]);
    assert!(!again.err.contains("use_dpop_nonce"), "the nonce is kept: {}", again.err);
    let line = machine.run(&["curl", "--print-curl", &orders]).await.expect(0, &[]).out;
    let output = Command::new("sh").args(["-c", &line]).output().await.expect("a shell");
    Said::of(&output).expect(0, &["\"x-auth-subject\":\"reports\""]);
    assert_eq!(dev.stop("-HUP").await, 0, "a closed terminal ends it as Ctrl-C does");
    assert_eq!(machine.left(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn keys_are_listed_and_rotated_while_a_server_runs() {
    let machine = Machine::new();
    let (issuer, admin) = (free_port(), free_port());
    let client = SigningKey::generate(Algorithm::EdDsa).expect("a key");
    let config = machine.write("tollgate.yaml", &installation(issuer, admin, &client));
    machine.write("kek", &STANDARD.encode([7; 32]));
    let config = config.display().to_string();
    machine.run(&["keys", "list", "--config", &config]).await.expect(1, &["there is no store", "tollgate serve"]);

    let server = Running::start(machine.command(&["serve", "--config", &config]));
    let ready = format!("http://127.0.0.1:{admin}/readyz");
    let asked = async || (machine.run(&["healthcheck", "--url", &ready]).await.code == 0).then_some(());
    eventually("the server is ready", asked).await;
    let said = machine.run(&["keys", "list", "--config", &config]).await;
    said.expect(0, &["signing", "tollgate keys rotate --config", "generation 0", "makes new ones until"]);
    let said = machine.run(&["keys", "rotate", "--config", &config]).await;
    said.expect(0, &["announced", "signs in", "keys list", "generation 1", "makes new ones in"]);
    let said = machine.run(&["keys", "rotate", "--now", "--output", "json", "--config", &config]).await;
    let said = said.expect(0, &["warning: the tokens signed before are withdrawn"]);
    let document: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let states: Vec<_> = document["keys"].as_array().expect("keys").iter().map(|key| key["state"].clone()).collect();
    assert_eq!(states, ["dropped", "dropped", "signing"]);
    let [secret] = document["secrets"].as_array().expect("secrets").as_slice() else { panic!("{document}") };
    assert_eq!((&secret["generation"], &secret["state"]), (&2.into(), &"making".into()));
    let mut members: Vec<_> = secret.as_object().expect("an object").keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["count_until", "drawn_at", "generation", "make_from", "state"], "and no secret");
    assert_eq!(
        (&secret["drawn_at"], &secret["make_from"]),
        (&document["keys"][2]["published_at"], &document["keys"][2]["sign_from"])
    );

    let key = client_key(&machine, &client);
    let url = format!("http://127.0.0.1:{admin}/livez");
    let party = ["--issuer", &format!("http://127.0.0.1:{issuer}"), "--client-id", "batch", "--key", &key];
    machine.run(&[&["curl"], party.as_slice(), &[&url]].concat()).await.expect(0, &["POST /oauth/token", "< 200"]);
    let other = client_key(&machine, &SigningKey::generate(Algorithm::EdDsa).expect("a key"));
    let party = ["--fresh", "--issuer", party[1], "--client-id", "batch", "--key", &other];
    let said = machine.run(&[&["curl"], party.as_slice(), &[&url]].concat()).await;
    said.expect(1, &["invalid_client", "tollgate explain assertion_signature_wrong"]);
    assert_eq!(server.stop("-TERM").await, 0);
}

/// An installation whose state outlives it, with one client that has a key.
fn installation(issuer: u16, admin: u16, client: &SigningKey) -> String {
    let jwk = client.published_jwk();
    format!(
        "listen: {{ public: {{ address: 127.0.0.1:{issuer} }}, admin: {{ address: 127.0.0.1:{admin} }} }}
store: {{ sqlite: {{ path: tollgate.db }} }}
authorization_server:
  issuer: http://127.0.0.1:{issuer}
  signing: {{ encryption_key_file: kek }}
  clients:
    - client_id: batch
      grant_types: [client_credentials]
      token_endpoint_auth_method: private_key_jwt
      jwks: {{ keys: [{jwk}] }}
"
    )
}

/// A private key in PEM, as openssl writes it.
fn client_key(machine: &Machine, key: &SigningKey) -> String {
    let der = STANDARD.encode(&*key.to_pkcs8().expect("PKCS #8"));
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    machine.write(&format!("{}.pem", key.kid()), &pem).display().to_string()
}
