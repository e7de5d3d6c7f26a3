//! HTTP/3 before the same gate, with the listener of `docs/tutorials/ingress.md` and somebody else's client.

use std::fs;
use std::path::Path;

use reqwest::Version;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::process::Command;
use tollgate::clock::{Clock as _, SystemClock};

use crate::client::{CLIENT_CREDENTIALS, Client, Credential};
use crate::envoy::{Envoy, before_api, with_certificate};
use crate::envoy_proxy::Shop;
use crate::example::Example;
use crate::interop::{installed, repository};
use crate::mutual_tls::{Authority, Credential as Shown, named};
use crate::process::run;
use crate::shapes::{API, Caller, ISSUER, Seen, certify, confirmation, visitor};
use crate::upstream::{Upstream, field, fields};
use crate::world::SECRET;

/// What the book says beside HTTP/3: the other listener tells of it.
const ALT_SVC: (&str, &str) = (
    "response_headers_to_add:\n",
    "response_headers_to_add:
                        - header: { key: alt-svc, value: 'h3=\":443\"; ma=86400' }
                          append_action: OVERWRITE_IF_EXISTS_OR_ADD
",
);

/// Both programs before an API, and a service that gets its token over HTTP/2.
struct World {
    authority: Authority,
    tollgate: Example,
    envoy: Envoy,
    /// The UDP port of Envoy.
    port: u16,
    billing: Caller,
}

impl World {
    async fn before(upstream: u16, names: &[(&str, &str)]) -> Self {
        let (authority, tollgate) = (Authority::new(), Example::start("all-in-one.yaml", names).await);
        let folder = tollgate.folder.path();
        certify(folder, &authority);
        fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
        let changes = [
            ("/run/tollgate/authz.sock", &*tollgate.socket.to_string_lossy()),
            ("port_value: 8080", &format!("port_value: {}", tollgate.public)),
            ALT_SVC,
        ];
        let configuration = before_api("ingress.yaml", upstream, folder, &changes);
        let (envoy, port) = Envoy::with_listener(listener_of_the_book(folder), &configuration).await;
        let billing = Client::new(ISSUER, "billing", Credential::Basic(SECRET.to_owned()));
        let billing = Caller::with_token(billing.connected_by(visitor(envoy.port, &authority, None))).await;
        Self { authority, tollgate, envoy, port, billing }
    }

    /// Asks for an order over one connection with each of these headers, those of a group at once.
    async fn get(&self, groups: &[Vec<Vec<(&str, &str)>>]) -> Vec<Vec<Seen>> {
        let request = |headers: &Vec<(&str, &str)>| json!({ "path": "/orders/7", "headers": headers });
        let groups: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(request).collect()).collect();
        send(self.port, self.tollgate.folder.path(), &json!(groups), None).await
    }
}

/// Sends groups of requests over one connection to this port, by somebody who shows a certificate or none. The folder has
/// the authority.
async fn send(port: u16, folder: &Path, groups: &Value, shown: Option<&Shown>) -> Vec<Vec<Seen>> {
    let requests = folder.join("requests.json");
    fs::write(&requests, groups.to_string()).expect("a file");
    let mut client = Command::new(installed(".tools/http3/bin/python"));
    client.arg(repository("tests/interop/http3.py")).args(["api.example.com", &port.to_string()]);
    client.arg(folder.join("ca.pem")).arg(requests);
    if let Some(shown) = shown {
        let (certificate, key) = (folder.join("shown.pem"), folder.join("shown.key"));
        fs::write(&certificate, &shown.pem).expect("a file");
        fs::write(&key, shown.key.serialize_pem()).expect("a file");
        client.args([certificate, key]);
    }
    let output = run(client.kill_on_drop(true)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Vec<Value>> = serde_json::from_slice(&output.stdout).expect("answers");
    answers.iter().map(|group| group.iter().map(seen).collect()).collect()
}

/// The listener for HTTP/3 as the book has it, on any port.
fn listener_of_the_book(folder: &Path) -> Value {
    let book = fs::read_to_string(repository("docs/tutorials/ingress.md")).expect("the book");
    let (_, listener) = book.split_once("```yaml\nname: ingress_http3\n").expect("the listener");
    let listener = with_certificate(listener.split("```").next().expect("its end"), folder);
    let listener = listener.replace("address: 0.0.0.0, port_value: 443", "address: 127.0.0.1, port_value: 0");
    serde_saphyr::from_str(&format!("name: ingress_http3\n{listener}")).expect("YAML")
}

/// An answer as the client tells it.
fn seen(answer: &Value) -> Seen {
    let lines: Vec<(String, String)> = serde_json::from_value(answer["headers"].clone()).expect("headers");
    let (pseudo, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|(name, _)| name.starts_with(':'));
    let [(_, status)] = &pseudo[..] else { panic!("{pseudo:?}") };
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = name.parse::<reqwest::header::HeaderName>().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    let body = answer["body"].as_str().expect("a body").to_owned();
    Seen { status: status.parse().expect("a status"), version: Version::HTTP_3, headers, body }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_request_passes_over_quic_and_a_thief_gets_nowhere() {
    let upstream = Upstream::start().await;
    let world = World::before(upstream.port, &[]).await;
    let (billing, url) = (&world.billing, format!("{API}/orders/7"));
    let (token, proof, stolen) = (billing.authorization(), billing.proof("GET", &url), billing.stolen("GET", &url));
    let elsewhere = billing.proof("GET", "https://auth.example.com/orders/7");
    let bearer = token.replace("DPoP", "Bearer");
    let credentials = |proof| vec![("authorization", &*token), ("dpop", proof)];
    let two = [billing.proof("GET", &url), billing.proof("GET", &url)];
    let claims = [("x-auth-client", "admin"), ("x-auth-team", "admins"), ("x-forwarded-proto", "http")];
    let good: Vec<_> = credentials(&*proof).into_iter().chain(claims).collect();
    let both: Vec<_> = credentials(&*two[0]).into_iter().chain([("dpop", &*two[1])]).collect();
    let answers = world
        .get(&[
            vec![good],
            vec![
                vec![],
                vec![("authorization", &*bearer)],
                credentials(&*proof), // a second time
                credentials(&*stolen),
                credentials(&*elsewhere),
                vec![("authorization", &*token)],
                both,
                vec![("x-auth-client", "admin")],
            ],
        ])
        .await;

    let [passed, refused] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(passed[0].status, 200, "{passed:?}");
    let [head] = &upstream.take()[..] else { panic!("only the first may pass: {refused:?}") };
    assert_eq!((fields(head, "x-auth-client"), field(head, "x-auth-scope")), (vec!["billing"], Some("orders:read")));
    assert_eq!(fields(head, "x-forwarded-proto"), ["https"]);
    assert_eq!((field(head, "authorization"), field(head, "dpop")), (None, None));
    assert!(!head.contains("admin"), "{head}");

    let refusals: Vec<_> = refused.iter().map(Seen::refusal).collect();
    let (unnamed, token, proof) = ((401, None), (401, Some("invalid_token")), (401, Some("invalid_dpop_proof")));
    assert_eq!(refusals, [unnamed, token, proof, token, proof, proof, proof, unnamed], "{refused:?}");
    let challenge = refused[0].headers["www-authenticate"].to_str().expect("text");
    assert!(challenge.starts_with("DPoP ") && challenge.contains("algs=\""), "{challenge}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proof_on_many_streams_at_once_is_good_for_one() {
    let upstream = Upstream::start().await;
    let world = World::before(upstream.port, &[]).await;
    let (token, proof) = (world.billing.authorization(), world.billing.proof("GET", &format!("{API}/orders/7")));
    let group = vec![vec![("authorization", &*token), ("dpop", &*proof)]; 20];
    let answers = world.get(&[group]).await;
    let passed = answers[0].iter().filter(|seen| seen.status == 200).count();
    let replayed = answers[0].iter().filter(|seen| seen.refusal() == (401, Some("invalid_dpop_proof"))).count();
    assert_eq!((passed, replayed, upstream.take().len()), (1, 19, 1), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_listener_tells_of_it_whatever_becomes_of_a_request() {
    let upstream = Upstream::start().await;
    let world = World::before(upstream.port, &[]).await;
    let (url, http) = (format!("{API}/orders/7"), visitor(world.envoy.port, &world.authority, None));
    let denied = Seen::of(http.get(&url)).await;
    let proof = world.billing.proof("GET", &url);
    let passed = http.get(&url).header("authorization", world.billing.authorization()).header("dpop", proof);
    let passed = Seen::of(passed).await;
    assert_eq!((denied.status.as_u16(), passed.status.as_u16()), (401, 200));
    for seen in [denied, passed] {
        assert_eq!(seen.headers["alt-svc"], "h3=\":443\"; ma=86400");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_over_quic_passes_and_is_denied_in_its_own_terms() {
    let shop = Shop::start().await;
    // Calls are POST requests, and billing may read.
    let rule = ("methods: [POST, PUT, DELETE], scope: \"orders:write\"", "methods: [POST], scope: \"orders:read\"");
    let world = World::before(shop.port, &[rule]).await;
    let (token, proof) = (world.billing.authorization(), world.billing.proof("POST", &format!("{API}/orders/List")));
    let call = |more: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], more].concat();
        json!({ "method": "POST", "path": "/orders/List", "body": "0000000000", "headers": headers })
    };
    let good = call(&[("authorization", &token), ("dpop", &proof)]);
    let groups = json!([[good], [good, call(&[])]]);
    let answers = send(world.port, world.tollgate.folder.path(), &groups, None).await;
    let [passed, denied] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((passed[0].status.as_u16(), &passed[0].headers["grpc-status"]), (200, &HeaderValue::from_static("0")));
    let [seen] = &shop.take()[..] else { panic!("only one call may pass: {answers:?}") };
    assert_eq!(seen["x-auth-client"], "billing");
    for (denied, error) in denied.iter().zip([Some("invalid_dpop_proof"), None]) {
        assert_eq!(denied.refusal(), (200, error), "{denied:?}");
        assert_eq!(denied.headers["grpc-status"], "16", "{denied:?}");
        assert!(denied.headers.contains_key("grpc-message"), "{denied:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_shown_over_quic_is_what_a_token_is_bound_to() {
    let (authority, upstream, own) =
        (Authority::new(), Upstream::start().await, tempfile::tempdir().expect("a folder"));
    let (folder, ca) = (own.path(), own.path().join("ca.pem").to_string_lossy().into_owned());
    certify(folder, &authority);
    fs::write(&ca, authority.pem()).expect("a file");
    let tollgate = Example::start("mutual-tls.yaml", &[("clients-ca.pem", &ca)]).await;
    let changes = [
        ("/run/tollgate/authz.sock", &*tollgate.socket.to_string_lossy()),
        ("port_value: 8080", &format!("port_value: {}", tollgate.public)),
    ];
    let configuration = before_api("mutual-tls.yaml", upstream.port, folder, &changes);
    let mut listener = listener_of_the_book(folder);
    let tls = &mut listener["filter_chains"][0]["transport_socket"]["typed_config"]["downstream_tls_context"];
    tls["require_client_certificate"] = false.into();
    tls["common_tls_context"]["validation_context"] = json!({ "trusted_ca": { "filename": ca } });
    let (envoy, port) = Envoy::with_listener(listener, &configuration).await;

    let [billing, other] = ["billing", "billing"].map(|name| authority.sign(&named(name)));
    let client = Client::new(ISSUER, "billing", Credential::None);
    let client = client.connected_by(visitor(envoy.port, &authority, Some(&billing)));
    let tokens = client.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let token = tokens.text("access_token");
    assert_eq!(confirmation(token), json!({ "x5t#S256": billing.thumbprint() }));
    let request = json!({ "path": "/orders/7", "headers": [["authorization", format!("Bearer {token}")]] });
    let groups = json!([[request], [request]]);
    let refusals = async |shown| -> Vec<_> {
        let answers = send(port, folder, &groups, shown).await;
        answers.iter().flatten().map(|seen| seen.status.as_u16()).collect()
    };
    assert_eq!(refusals(Some(&billing)).await, [200, 200]);
    let heads = upstream.take();
    assert_eq!(heads.len(), 2);
    assert!(heads.iter().all(|head| field(head, "x-auth-client") == Some("billing")), "{heads:?}");
    for shown in [Some(&other), None] {
        assert_eq!(refusals(shown).await, [401, 401]);
        assert!(upstream.take().is_empty(), "none of these may pass");
    }
}
