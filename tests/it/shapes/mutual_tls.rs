//! `envoy/mutual-tls.yaml` with `examples/mutual-tls.yaml`: tokens that are bound to certificates (RFC 8705).

use std::fs;

use serde_json::json;
use tollgate::clock::{Clock as _, SystemClock};

use super::{API, ISSUER, Seen, certify, confirmation, typed, visitor};
use crate::client::{Answer, CLIENT_CREDENTIALS, Client, Credential as Secret};
use crate::commands::of_shape;
use crate::envoy::Envoy;
use crate::example::Example;
use crate::mutual_tls::{Authority, Credential, named};
use crate::upstream::{Upstream, field};

/// Both programs, an API, and an authority for all certificates.
struct World {
    authority: Authority,
    _tollgate: Example,
    envoy: Envoy,
    upstream: Upstream,
}

impl World {
    async fn start() -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, authority.pem()).expect("a file");
        let tollgate = Example::start("mutual-tls.yaml", &[("clients-ca.pem", &ca.to_string_lossy())]).await;
        certify(folder.path(), &authority);
        let upstream = Upstream::start().await;
        let changes = [
            ("/run/tollgate/authz.sock", &*tollgate.socket.to_string_lossy()),
            ("port_value: 8080", &format!("port_value: {}", tollgate.public)),
        ];
        let envoy = Envoy::of_file("mutual-tls.yaml", upstream.port, folder.path(), &changes).await;
        Self { authority, _tollgate: tollgate, envoy, upstream }
    }

    /// Asks for a token, with a certificate or none, and perhaps with a claim to have one.
    async fn token(&self, shown: Option<&Credential>, claimed: Option<&str>) -> Answer {
        let client = Client::new(ISSUER, "billing", Secret::None);
        let client = client.connected_by(visitor(self.envoy.port, &self.authority, shown));
        let request = client.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).into_request();
        crate::client::answer(
            claimed.into_iter().fold(request, |request, claimed| request.header("x-forwarded-client-cert", claimed)),
        )
        .await
    }

    /// Calls the API with a token.
    async fn call(&self, token: &str, shown: Option<&Credential>) -> Seen {
        let http = visitor(self.envoy.port, &self.authority, shown);
        Seen::of(http.get(format!("{API}/orders/7")).bearer_auth(token)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_with_the_certificate_that_it_was_issued_for_and_no_other() {
    let world = World::start().await;
    let (billing, other) = (world.authority.sign(&named("billing")), world.authority.sign(&named("shipping")));
    let token = world.token(Some(&billing), None).await.expect_tokens().text("access_token").to_owned();
    assert_eq!(confirmation(&token), json!({ "x5t#S256": billing.thumbprint() }));
    // It is good for many requests on the right connections, unlike a proof.
    for _ in 0..2 {
        assert_eq!(world.call(&token, Some(&billing)).await.status, 200);
    }
    for head in world.upstream.take() {
        assert_eq!(field(&head, "x-auth-client"), Some("billing"));
        assert_eq!((field(&head, "authorization"), field(&head, "x-forwarded-client-cert")), (None, None), "{head}");
    }
    // A certificate of the same name and authority is another certificate.
    let renewed = world.authority.sign(&named("billing"));
    for shown in [None, Some(&other), Some(&renewed)] {
        assert_eq!(world.call(&token, shown).await.refusal(), (401, Some("invalid_token")));
    }
    let http = visitor(world.envoy.port, &world.authority, Some(&billing));
    let write = Seen::of(http.put(format!("{API}/orders/7")).bearer_auth(&token)).await;
    assert_eq!(write.refusal(), (403, Some("insufficient_scope")));
    let unauthenticated = Seen::of(http.get(format!("{API}/orders/7"))).await;
    assert_eq!(unauthenticated.refusal(), (401, None), "a certificate alone is no token");
    // An authority that nobody trusts does not get as far as a request.
    let stranger = Authority::new().sign(&named("billing"));
    let http = visitor(world.envoy.port, &world.authority, Some(&stranger));
    assert!(http.get(format!("{API}/orders/7")).bearer_auth(&token).send().await.is_err());
    assert!(world.upstream.take().is_empty(), "none of these may pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_what_it_shows_and_not_by_what_it_writes() {
    let world = World::start().await;
    let (billing, other) = (world.authority.sign(&named("billing")), world.authority.sign(&named("shipping")));
    let encoded: String = form_urlencoded::byte_serialize(billing.pem.as_bytes()).collect();
    let claimed = format!("Cert=\"{}\"", encoded.replace('+', "%20"));
    for shown in [None, Some(&other)] {
        for claimed in [None, Some(&*claimed)] {
            world.token(shown, claimed).await.expect(401, "invalid_client");
        }
    }
    let token = world.token(Some(&billing), Some("Cert=\"\"")).await.expect_tokens();
    assert_eq!(confirmation(token.text("access_token")), json!({ "x5t#S256": billing.thumbprint() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_get_what_it_says() {
    let world = World::start().await;
    let (billing, folder) = (world.authority.sign(&named("billing")), tempfile::tempdir().expect("a folder"));
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    write("billing.pem", &billing.pem);
    write("billing.key", &billing.key.serialize_pem());
    write("ca.pem", &world.authority.pem());
    let mut statuses = Vec::new();
    for commands in of_shape("tutorials/mutual-tls.md") {
        let said = typed(&commands, world.envoy.port, folder.path(), "").await;
        let lines = said.lines().filter(|line| line.starts_with("HTTP/"));
        statuses.extend(lines.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned));
    }
    assert_eq!(statuses, ["200", "401"]);
}
