//! `envoy/ingress.yaml` with `examples/all-in-one.yaml`: the edge, where TLS ends.

use std::sync::Arc;

use reqwest::Version;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{API, Caller, ISSUER, Seen, certify, visitor};
use crate::client::{Client, Credential};
use crate::envoy::Envoy;
use crate::example::Example;
use crate::mutual_tls::Authority;
use crate::upstream::{Upstream, field, fields};
use crate::world::SECRET;

/// Both programs, an API, and a service that calls it.
struct World {
    authority: Authority,
    _tollgate: Example,
    envoy: Envoy,
    upstream: Upstream,
    billing: Caller,
}

impl World {
    async fn start() -> Self {
        let authority = Authority::new();
        let tollgate = Example::start("all-in-one.yaml", &[]).await;
        certify(tollgate.folder.path(), &authority);
        let upstream = Upstream::start().await;
        let changes = [
            ("/run/tollgate/authz.sock", &*tollgate.socket.to_string_lossy()),
            ("port_value: 8080", &format!("port_value: {}", tollgate.public)),
        ];
        let envoy = Envoy::of_file("ingress.yaml", upstream.port, tollgate.folder.path(), &changes).await;
        let billing = Client::new(ISSUER, "billing", Credential::Basic(SECRET.to_owned()));
        let billing = billing.connected_by(visitor(envoy.port, &authority, None));
        let billing = Caller::with_token(billing).await;
        Self { authority, _tollgate: tollgate, envoy, upstream, billing }
    }

    /// Asks for an order with these headers.
    async fn get(&self, headers: &[(&str, &str)]) -> Seen {
        let request = self.billing.client.http.get(format!("{API}/orders/7"));
        Seen::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// The same with the token and a proof for this place.
    async fn signed_for(&self, url: &str) -> Seen {
        let proof = self.billing.proof("GET", url);
        self.get(&[("authorization", &self.billing.authorization()), ("dpop", &proof)]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_knows_the_names_only_and_a_thief_gets_nowhere() {
    let world = World::start().await;
    let billing = &world.billing;
    let metadata = billing.client.http.get(format!("{ISSUER}/.well-known/oauth-authorization-server"));
    let metadata = Seen::of(metadata).await;
    assert!(metadata.body.contains(&format!("\"issuer\":\"{ISSUER}\"")), "{metadata:?}");
    assert_eq!(metadata.headers["strict-transport-security"], "max-age=31536000");

    let proof = billing.proof("GET", &format!("{API}/orders/7"));
    let token = billing.authorization();
    let good = world.get(&[("authorization", &token), ("dpop", &proof)]).await;
    assert_eq!((good.status.as_u16(), good.version), (200, Version::HTTP_2), "{good:?}");
    assert_eq!(good.headers["strict-transport-security"], "max-age=31536000");
    let [head] = &world.upstream.take()[..] else { panic!("{good:?}") };
    assert_eq!((field(head, "x-auth-client"), field(head, "x-auth-scope")), (Some("billing"), Some("orders:read")));
    assert_eq!(field(head, "x-forwarded-proto"), Some("https"));
    assert_eq!((field(head, "authorization"), field(head, "dpop")), (None, None));

    let bearer = token.replace("DPoP", "Bearer");
    let stolen = billing.stolen("GET", &format!("{API}/orders/7"));
    for (headers, refusal) in [
        (vec![], None),
        (vec![("authorization", &*bearer)], Some("invalid_token")),
        (vec![("authorization", &token), ("dpop", &proof)], Some("invalid_dpop_proof")), // a second time
        (vec![("authorization", &token), ("dpop", &stolen)], Some("invalid_token")),
        (vec![("authorization", &token)], Some("invalid_dpop_proof")),
    ] {
        assert_eq!(world.get(&headers).await.refusal(), (401, refusal), "{headers:?}");
    }
    let write = billing.client.http.put(format!("{API}/orders/7")).header("authorization", &token);
    let write = write.header("dpop", billing.proof("PUT", &format!("{API}/orders/7")));
    assert_eq!(Seen::of(write).await.refusal(), (403, Some("insufficient_scope")));
    // The hosts are apart, though they share a certificate and perhaps a connection.
    let elsewhere = billing.client.http.get(format!("{ISSUER}/orders/7")).header("authorization", &token);
    assert_eq!(Seen::of(elsewhere.header("dpop", billing.proof("GET", &format!("{API}/orders/7")))).await.status, 404);
    assert!(world.upstream.take().is_empty(), "none of these may pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_are_for_the_public_name_whatever_a_request_claims() {
    let world = World::start().await;
    let port = world.envoy.port;
    for (url, expected) in [
        ("https://api.example.com:443/orders/7", 200), // the same place (RFC 3986 §6.2.3)
        ("https://API.example.com/orders/7", 200),
        ("http://api.example.com/orders/7", 401),
        ("https://auth.example.com/orders/7", 401),
        (&*format!("https://api.example.com:{port}/orders/7"), 401),
        (&*format!("http://127.0.0.1:{port}/orders/7"), 401),
        ("https://api.example.com/orders/8", 401),
    ] {
        let seen = world.signed_for(url).await;
        assert_eq!(seen.status.as_u16(), expected, "{url}: {seen:?}");
        assert_eq!(seen.refusal().1, (expected == 401).then_some("invalid_dpop_proof"), "{url}");
    }
    world.upstream.take();

    // A request that claims to be for another place is for this one all the same, and the API hears of no other.
    let claims = [
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "80"),
        ("forwarded", "proto=http;host=evil.example"),
        ("x-original-url", "/admin"),
        ("x-envoy-original-path", "/admin"),
        ("x-auth-client", "admin"),
        ("x-auth-team", "admins"),
    ];
    for (url, expected) in [(format!("{API}/orders/7"), 200), ("http://evil.example/orders/7".to_owned(), 401)] {
        let (token, proof) = (world.billing.authorization(), world.billing.proof("GET", &url));
        let headers: Vec<_> = [("authorization", &*token), ("dpop", &*proof)].into_iter().chain(claims).collect();
        assert_eq!(world.get(&headers).await.status.as_u16(), expected, "{url}");
    }
    let [head] = &world.upstream.take()[..] else { panic!("one request") };
    assert_eq!(fields(head, "x-forwarded-proto"), ["https"]);
    assert_eq!(fields(head, "x-auth-client"), ["billing"]);
    assert!(!head.contains("evil") && !head.contains("admin"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_reaches_nobody_and_its_scheme_is_never_believed() {
    let world = World::start().await;
    let proof = world.billing.proof("GET", &format!("{API}/orders/7"));
    let headers =
        format!("authorization: {}\r\ndpop: {proof}\r\nconnection: close\r\n\r\n", world.billing.authorization());
    let plain = format!("GET /orders/7 HTTP/1.1\r\nhost: api.example.com\r\n{headers}");
    let mut connection = TcpStream::connect(("127.0.0.1", world.envoy.port)).await.expect("a connection");
    connection.write_all(plain.as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert!(world.upstream.take().is_empty());

    // A target with a scheme of its own, over TLS.
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.certificate()).expect("an authority");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connection = TcpStream::connect(("127.0.0.1", world.envoy.port)).await.expect("a connection");
    let name = "api.example.com".try_into().expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut connection = connector.connect(name, connection).await.expect("TLS");
    let request = format!("GET http://api.example.com/orders/7 HTTP/1.1\r\nhost: api.example.com\r\n{headers}");
    connection.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "the proof was spent by nobody: {answer}");
    let [head] = &world.upstream.take()[..] else { panic!("one request") };
    assert_eq!(field(head, "x-forwarded-proto"), Some("https"));
}
