//! HTTP/3 before the same gate, with the listener of `docs/tutorials/ingress.md` and somebody else's client.

use std::fs;
use std::path::Path;

use reqwest::Version;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::client::{Client, Credential};
use crate::envoy::{Envoy, before_api, with_certificate};
use crate::example::Example;
use crate::interop::{installed, repository};
use crate::mutual_tls::Authority;
use crate::process::run;
use crate::shapes::{API, Caller, ISSUER, Seen, certify, visitor};
use crate::upstream::{Upstream, field, fields};
use crate::world::SECRET;

/// Both programs, an API, and a service that gets its token over HTTP/2.
struct World {
    tollgate: Example,
    _envoy: Envoy,
    /// The UDP port of Envoy.
    port: u16,
    upstream: Upstream,
    billing: Caller,
}

impl World {
    async fn start() -> Self {
        let (authority, upstream) = (Authority::new(), Upstream::start().await);
        let tollgate = Example::start("all-in-one.yaml", &[]).await;
        let folder = tollgate.folder.path();
        certify(folder, &authority);
        fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
        let changes = [
            ("/run/tollgate/authz.sock", &*tollgate.socket.to_string_lossy()),
            ("port_value: 8080", &format!("port_value: {}", tollgate.public)),
        ];
        let configuration = before_api("ingress.yaml", upstream.port, folder, &changes);
        let (envoy, port) = Envoy::with_listener(listener_of_the_book(folder), &configuration).await;
        let billing = Client::new(ISSUER, "billing", Credential::Basic(SECRET.to_owned()));
        let billing = Caller::with_token(billing.connected_by(visitor(envoy.port, &authority, None))).await;
        Self { tollgate, _envoy: envoy, port, upstream, billing }
    }

    /// Asks for an order over one connection with each of these headers, those of a group at once.
    async fn get(&self, groups: &[Vec<Vec<(&str, &str)>>]) -> Vec<Vec<Seen>> {
        let requests = |group: &Vec<Vec<(&str, &str)>>| -> Vec<Value> {
            group.iter().map(|headers| json!({ "path": "/orders/7", "headers": headers })).collect()
        };
        let groups: Vec<_> = groups.iter().map(requests).collect();
        let folder = self.tollgate.folder.path();
        let (authority, requests) = (folder.join("ca.pem"), folder.join("requests.json"));
        fs::write(&requests, json!(groups).to_string()).expect("a file");
        let mut client = Command::new(installed(".tools/http3/bin/python"));
        client.arg(repository("tests/interop/http3.py")).args(["api.example.com", &self.port.to_string()]);
        let output = run(client.arg(authority).arg(requests).kill_on_drop(true)).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answers: Vec<Vec<Value>> = serde_json::from_slice(&output.stdout).expect("answers");
        answers.iter().map(|group| group.iter().map(seen).collect()).collect()
    }
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
    let world = World::start().await;
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
    let [head] = &world.upstream.take()[..] else { panic!("only the first may pass: {refused:?}") };
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
    let world = World::start().await;
    let (token, proof) = (world.billing.authorization(), world.billing.proof("GET", &format!("{API}/orders/7")));
    let group = vec![vec![("authorization", &*token), ("dpop", &*proof)]; 20];
    let answers = world.get(&[group]).await;
    let passed = answers[0].iter().filter(|seen| seen.status == 200).count();
    let replayed = answers[0].iter().filter(|seen| seen.refusal() == (401, Some("invalid_dpop_proof"))).count();
    assert_eq!((passed, replayed, world.upstream.take().len()), (1, 19, 1), "{answers:?}");
}
