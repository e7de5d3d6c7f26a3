//! TLS of our own, and clients with certificates (RFC 8705): against the whole program, and through the real Envoy.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use reqwest::{Certificate, Identity};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tollgate::app::{App, Seams, Stop};
use tollgate::config::Document;
use tollgate::secret::{base64url, sha256};

use crate::client::{Answer, CLIENT_CREDENTIALS, claims, code_request, refresh_request};
use crate::envoy::Envoy;
use crate::token_endpoint::OF_CERTIFICATES;
use crate::upstream::Upstream;
use crate::world::{ENCRYPTION_KEY, Events, TestClock, free_port, record_code};

/// A certificate, its key, and those that vouch for it.
pub struct Credential {
    pub pem: String,
    der: Vec<u8>,
    pub key: KeyPair,
}

impl Credential {
    pub fn thumbprint(&self) -> String {
        base64url(&sha256(&self.der))
    }

    /// A JWK set with this certificate as the only `x5c`.
    fn x5c(&self) -> String {
        use base64::Engine as _;
        let der = base64::engine::general_purpose::STANDARD.encode(&self.der);
        let point = self.key.public_key_raw();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
        format!(r#"{{ keys: [{{ kty: EC, crv: P-256, x: "{x}", y: "{y}", x5c: ["{der}"] }}] }}"#)
    }

    /// A JWK set with the key alone.
    fn jwks(&self) -> String {
        let point = self.key.public_key_raw();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
        format!(r#"{{ keys: [{{ kty: EC, crv: P-256, x: "{x}", y: "{y}" }}] }}"#)
    }
}

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn certificate(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.0.der().clone()
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn sign(&self, params: &CertificateParams) -> Credential {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Credential { pem: certificate.pem(), der: certificate.der().to_vec(), key }
    }
}

/// For somebody of this name at Example.
pub fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn self_signed(name: &str) -> Credential {
    let key = KeyPair::generate().expect("a key");
    let certificate = named(name).self_signed(&key).expect("a certificate");
    Credential { pem: certificate.pem(), der: certificate.der().to_vec(), key }
}

/// A server that speaks TLS, an authority for it and for clients, and the certificates of those.
struct World {
    issuer: String,
    authority: Authority,
    billing: Credential,
    workload: Credential,
    shop: Credential,
    clock: Arc<TestClock>,
    store: Arc<tollgate::store::MemoryStore>,
    events: Events,
    folder: TempDir,
    _listening: tracing::subscriber::DefaultGuard,
    _stop: oneshot::Sender<()>,
}

impl World {
    async fn start() -> Self {
        Self::start_as(|text| text).await
    }

    /// A world whose configuration was changed.
    async fn start_as(change: impl FnOnce(String) -> String) -> Self {
        let (events, listening) = Events::listen();
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let issuer = format!("https://127.0.0.1:{}", free_port());
        show_new_certificate(folder.path(), &authority);
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        fs::write(folder.path().join("kek"), ENCRYPTION_KEY).expect("a file");
        fs::write(folder.path().join("users.yaml"), "users: []").expect("a file");

        let billing = authority.sign(&named("Billing"));
        let mut params = named("Anything");
        params.subject_alt_names = vec![SanType::URI("spiffe://example.org/worker".try_into().expect("a URI"))];
        let workload = authority.sign(&params);
        let shop = self_signed("Shop");
        let text = change(configuration(&issuer, folder.path(), &shop));
        let document = Document::parse("tls.yaml", &text, folder.path());
        let config = document.and_then(Document::check).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_terminal()));
        let (clock, store) =
            (Arc::new(TestClock::default()), Arc::new(tollgate::store::MemoryStore::new(config.limits)));
        let seams = Seams {
            clock: Arc::clone(&clock) as Arc<dyn tollgate::clock::Clock>,
            store: Some(Arc::clone(&store) as Arc<dyn tollgate::store::Store>),
            people: Some(crate::world::TestPeople::seams()),
            ..Seams::default()
        };
        let app = App::start(config, seams).await.unwrap_or_else(|error| panic!("{error:?}"));
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(app.run(async {
            let _ = stopped.await;
            Stop::AtOnce
        }));
        Self {
            issuer,
            authority,
            billing,
            workload,
            shop,
            clock,
            store,
            events,
            folder,
            _listening: listening,
            _stop: stop,
        }
    }

    /// Somebody who trusts the server's authority, and shows a certificate or none.
    fn http(&self, credential: Option<&Credential>) -> reqwest::Client {
        let authority = Certificate::from_pem(self.authority.pem().as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().tls_certs_only([authority]);
        match credential {
            Some(Credential { pem, key, .. }) => {
                let identity = format!("{pem}\n{}", key.serialize_pem());
                client.identity(Identity::from_pem(identity.as_bytes()).expect("an identity"))
            }
            None => client,
        }
        .build()
        .expect("a client")
    }

    async fn token(&self, id: &str, credential: Option<&Credential>, parameters: &[(&str, &str)]) -> Answer {
        let mut form = parameters.to_vec();
        form.push(("client_id", id));
        let url = format!("{}/oauth/token", self.issuer);
        let response = self.http(credential).post(url).form(&form).send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.json().await.expect("JSON") }
    }

    async fn own_token(&self, id: &str, credential: Option<&Credential>) -> Answer {
        self.token(id, credential, &CLIENT_CREDENTIALS).await
    }

    fn refusal(&self) -> Option<String> {
        self.events.last("refusal")
    }
}

pub fn show_new_certificate(folder: &Path, authority: &Authority) {
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        vec![SanType::IpAddress([127, 0, 0, 1].into()), SanType::DnsName("localhost".try_into().expect("a name"))];
    let server = authority.sign(&params);
    fs::write(folder.join("server.pem"), server.pem).expect("a file");
    fs::write(folder.join("server.key"), server.key.serialize_pem()).expect("a file");
}

fn configuration(issuer: &str, folder: &Path, shop: &Credential) -> String {
    let address = issuer.trim_start_matches("https://");
    let socket = folder.join("authz.sock");
    format!(
        r#"
listen:
  public:
    address: "{address}"
    tls: {{ certificate: server.pem, private_key: server.key, client_ca: ca.pem }}
  admin: {{ address: "127.0.0.1:0" }}
  ext_authz: [ {{ address: "unix:{socket}" }} ]
store: {{ memory: {{}} }}
authorization_server:
  issuer: "{issuer}"
  login: {{ local: {{ users_file: users.yaml }} }}
  signing: {{ encryption_key_file: kek }}
  scopes: {{ "orders:read": "Read your orders", "orders:write": "Change your orders" }}
  clients:
    - client_id: billing
      token_endpoint_auth_method: tls_client_auth
      tls_client_auth_subject_dn: "cn=billing,o=EXAMPLE"
      tls_client_certificate_bound_access_tokens: true
      grant_types: [client_credentials, authorization_code, refresh_token]
      redirect_uris: ["https://app.example/cb"]
      scope: "orders:read orders:write"
    - client_id: worker
      token_endpoint_auth_method: tls_client_auth
      tls_client_auth_san_uri: "spiffe://example.org/worker"
      grant_types: [client_credentials]
      scope: "orders:read"
    - client_id: shop
      token_endpoint_auth_method: self_signed_tls_client_auth
      jwks: {x5c}
      grant_types: [client_credentials]
      scope: "orders:read"
    - client_id: shop-by-key
      token_endpoint_auth_method: self_signed_tls_client_auth
      jwks: {jwks}
      grant_types: [client_credentials]
      scope: "orders:read"
    - client_id: kiosk
      token_endpoint_auth_method: none
      tls_client_certificate_bound_access_tokens: true
      grant_types: [authorization_code, refresh_token]
      redirect_uris: ["https://app.example/cb"]
      scope: "orders:read orders:write"
protected_resources:
  - resource: https://api.example.com
    dpop: or_certificate
    rules: [ {{ path: "/orders/**", scope: "orders:read" }} ]
"#,
        socket = socket.display(),
        x5c = shop.x5c(),
        jwks = shop.jwks(),
    )
}

#[tokio::test(flavor = "current_thread")]
async fn the_right_certificate_authenticates_and_no_other() {
    let world = World::start().await;
    let stranger = Authority::new().sign(&named("Billing"));
    let mut expired = named("Billing");
    expired.not_after = rcgen::date_time_ymd(2025, 1, 1);
    let expired = world.authority.sign(&expired);
    let longer = world.authority.sign(&named("Billing 2"));
    let other = self_signed("Shop");

    for (id, certificate) in
        [("billing", &world.billing), ("worker", &world.workload), ("shop", &world.shop), ("shop-by-key", &world.shop)]
    {
        world.own_token(id, Some(certificate)).await.expect_tokens();
    }
    let mut met = BTreeSet::new();
    for (id, certificate, refusal) in [
        ("billing", None, "client_certificate_missing"),
        ("billing", Some(&stranger), "client_certificate_untrusted"), // the right name, from another authority
        ("billing", Some(&expired), "client_certificate_untrusted"),
        ("billing", Some(&world.shop), "client_certificate_untrusted"),
        ("billing", Some(&longer), "client_certificate_wrong"),
        ("worker", Some(&world.billing), "client_certificate_wrong"),
        ("shop", Some(&other), "client_certificate_wrong"),
        ("shop-by-key", Some(&other), "client_certificate_wrong"),
        ("shop", None, "client_certificate_missing"),
        ("nobody", Some(&world.billing), "client_authentication_failed"),
    ] {
        let answer = world.own_token(id, certificate).await.expect(401, "invalid_client");
        assert_eq!(answer.text("error_description"), "client authentication failed", "{id}");
        assert_eq!(world.refusal().as_deref(), Some(refusal), "{id}");
        met.insert(refusal);
    }

    // RFC 8705 §3: a client that is registered for bound tokens gets no other.
    let code = record_code(&*world.store, world.now(), "kiosk", None).await;
    world.token("kiosk", None, &code_request(&code)).await.expect(400, "invalid_request");
    met.insert("certificate_missing");
    assert_eq!(world.refusal().as_deref(), Some("certificate_missing"));
    let missed: Vec<_> =
        OF_CERTIFICATES.iter().map(|refusal| refusal.name()).filter(|name| !met.contains(name)).collect();
    assert!(missed.is_empty(), "no request reaches {missed:?}");
}

impl World {
    fn now(&self) -> tollgate::clock::Timestamp {
        tollgate::clock::Clock::now(&*self.clock)
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_header_that_claims_a_certificate_is_no_certificate() {
    let world = World::start().await;
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    let encoded: String = form_urlencoded::byte_serialize(world.billing.pem.as_bytes()).collect();
    for (name, value) in [
        ("x-forwarded-client-cert", format!("Cert=\"{encoded}\"")),
        ("client-cert", format!(":{encoded}:")),
        ("x-ssl-cert", encoded.clone()),
    ] {
        let request = world.http(None).post(format!("{}/oauth/token", world.issuer)).form(&form).header(name, value);
        assert_eq!(request.send().await.expect("an answer").status(), 401, "{name}");
        assert_eq!(world.refusal().as_deref(), Some("client_certificate_missing"), "{name}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn behind_envoy_the_certificate_is_the_one_that_envoy_has_seen() {
    let port = free_port();
    let world = World::start_as(|text| {
        let listener = text.split("    address: ").nth(1).expect("a listener").split("  admin:").next().expect("its end");
        let plain = format!(
            "\"127.0.0.1:{port}\"\n    trusted_proxies: [127.0.0.1]\n    forwarded_certificates: {{ client_ca: ca.pem }}\n"
        );
        text.replace(listener, &plain)
    })
    .await;
    let envoy = Envoy::with_forwarded_certificates(port, world.folder.path()).await;
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    let claimed: String = form_urlencoded::byte_serialize(world.billing.pem.as_bytes()).collect();
    let claimed = format!("Cert=\"{}\"", claimed.replace('+', "%20"));
    let ask = async |port: u16, tls: bool, credential: Option<&Credential>, claim: bool| {
        let scheme = if tls { "https" } else { "http" };
        let request = world.http(credential).post(format!("{scheme}://127.0.0.1:{port}/oauth/token")).form(&form);
        let request = request.header("host", "auth.example.com");
        let request = if claim { request.header("x-forwarded-client-cert", &claimed) } else { request };
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (status, tokens) = ask(envoy.port, true, Some(&world.billing), false).await;
    assert_eq!(status, 200, "{tokens}");
    let bound = &claims(tokens["access_token"].as_str().expect("a token"))["cnf"]["x5t#S256"];
    assert_eq!(*bound, world.billing.thumbprint());
    // What somebody claims himself does not get past Envoy, with a certificate of his own or without.
    for (credential, refusal) in
        [(None, "client_certificate_missing"), (Some(&world.shop), "client_certificate_untrusted")]
    {
        assert_eq!(ask(envoy.port, true, credential, true).await.0, 401);
        assert_eq!(world.refusal().as_deref(), Some(refusal));
    }
    // Two clients in one header are nobody.
    let twice = format!("{claimed},{claimed}");
    let request = world.http(None).post(format!("http://127.0.0.1:{port}/oauth/token")).form(&form);
    assert_eq!(request.header("x-forwarded-client-cert", twice).send().await.expect("an answer").status(), 401);
    assert_eq!(ask(port, false, None, true).await.0, 200, "the proxy itself is believed");
}

#[tokio::test(flavor = "current_thread")]
async fn tokens_and_grants_are_bound_to_the_certificate() {
    let world = World::start().await;
    let tokens = world.own_token("billing", Some(&world.billing)).await.expect_tokens();
    assert_eq!(tokens.text("token_type"), "Bearer");
    assert_eq!(
        claims(tokens.text("access_token"))["cnf"],
        serde_json::json!({ "x5t#S256": world.billing.thumbprint() })
    );
    // A client that is not registered for it gets an unbound token, whatever it authenticates with.
    let tokens = world.own_token("worker", Some(&world.workload)).await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["cnf"], Value::Null);

    // RFC 8705 §4: the refresh token of a public client is bound to the certificate as well.
    let (first, second) = (self_signed("first"), self_signed("second"));
    let code = record_code(&*world.store, world.now(), "kiosk", None).await;
    let tokens = world.token("kiosk", Some(&first), &code_request(&code)).await.expect_tokens();
    let refresh = refresh_request(tokens.text("refresh_token"));
    world.token("kiosk", Some(&second), &refresh).await.expect(400, "invalid_grant");
    assert_eq!(world.refusal().as_deref(), Some("refresh_token_key_mismatch"));
    world.token("kiosk", None, &refresh).await.expect(400, "invalid_request");
    let tokens = world.token("kiosk", Some(&first), &refresh).await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["cnf"]["x5t#S256"], first.thumbprint());

    // That of a confidential client is bound to there being one: its certificate is renewed every now and then.
    let code = record_code(&*world.store, world.now(), "billing", None).await;
    let tokens = world.token("billing", Some(&world.billing), &code_request(&code)).await.expect_tokens();
    let renewed = world.authority.sign(&named("Billing"));
    let refresh = refresh_request(tokens.text("refresh_token"));
    let tokens = world.token("billing", Some(&renewed), &refresh).await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["cnf"]["x5t#S256"], renewed.thumbprint());
}

#[tokio::test(flavor = "current_thread")]
async fn the_metadata_says_what_certificates_are_good_for() {
    let world = World::start().await;
    let url = format!("{}/.well-known/oauth-authorization-server", world.issuer);
    let response = world.http(None).get(url).send().await.expect("an answer");
    assert_eq!(response.version(), http::Version::HTTP_2, "by ALPN");
    let document: Value = response.json().await.expect("JSON");
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
    let methods = document["token_endpoint_auth_methods_supported"].as_array().expect("methods");
    assert!(methods.contains(&"tls_client_auth".into()) && methods.contains(&"self_signed_tls_client_auth".into()));
}

#[tokio::test(flavor = "current_thread")]
async fn only_the_suites_of_bcp_195_are_spoken() {
    use rustls::version::{TLS12, TLS13};
    use rustls::{CipherSuite, ClientConfig, RootCertStore};
    let world = World::start().await;
    let address = world.issuer.trim_start_matches("https://").to_owned();
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.0.der().clone()).expect("an authority");
    let provider = ClientConfig::builder().crypto_provider().clone();
    let mut spoken = BTreeSet::new();
    for suite in provider.cipher_suites.iter().copied() {
        let only = rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..(*provider).clone() };
        let version = if suite.tls13().is_some() { &TLS13 } else { &TLS12 };
        let config = ClientConfig::builder_with_provider(Arc::new(only)).with_protocol_versions(&[version]);
        let config = config.expect("a version").with_root_certificates(roots.clone()).with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(&address).await.expect("a connection");
        let name = "127.0.0.1".try_into().expect("a name");
        if tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok() {
            spoken.insert(format!("{:?}", suite.suite()));
        }
    }
    // The server's key is an elliptic one.
    let allowed = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ];
    assert_eq!(spoken, allowed.iter().map(|suite| format!("{suite:?}")).collect());
}

#[tokio::test(flavor = "current_thread")]
async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, files) = (
        Authority::new(),
        tollgate::web::TlsFiles {
            certificate: folder.path().join("server.pem"),
            private_key: folder.path().join("server.key"),
        },
    );
    show_new_certificate(folder.path(), &authority);
    let tls = tollgate::web::Tls::new(files, false).expect("TLS");
    assert!(!tls.reload().expect("the same"));
    show_new_certificate(folder.path(), &authority);
    assert!(tls.reload().expect("another"));
    fs::write(folder.path().join("server.pem"), "-----BEGIN").expect("a file");
    assert!(tls.reload().is_err());
    show_new_certificate(folder.path(), &authority);
    fs::write(folder.path().join("server.key"), KeyPair::generate().expect("a key").serialize_pem()).expect("a file");
    assert!(tls.reload().is_err(), "the key of another certificate");
}

#[tokio::test(flavor = "current_thread")]
async fn through_envoy_a_bound_token_counts_on_a_connection_with_its_certificate_only() {
    let world = World::start().await;
    let upstream = Upstream::start().await;
    let folder = world.folder.path();
    let envoy = Envoy::with_client_certificates(&folder.join("authz.sock"), upstream.port, folder).await;
    let bound = world.own_token("billing", Some(&world.billing)).await.expect_tokens();
    let unbound = world.own_token("worker", Some(&world.workload)).await.expect_tokens();
    let call = async |token: &str, credential: Option<&Credential>| {
        let url = format!("https://127.0.0.1:{}/orders/7", envoy.port);
        let request = world.http(credential).get(url).header("host", "api.example.com").bearer_auth(token);
        let response = request.send().await.expect("an answer");
        let challenge = response.headers().get_all("www-authenticate").iter();
        let challenge = challenge.map(|value| value.to_str().expect("text").to_owned()).collect::<Vec<_>>().join(" | ");
        (response.status().as_u16(), challenge)
    };
    let bound = bound.text("access_token");
    assert_eq!(call(bound, Some(&world.billing)).await.0, 200);
    assert_eq!(upstream.take().len(), 1);
    for (token, credential, denial) in [
        (bound, Some(&world.shop), "certificate_mismatch"),
        (bound, None, "certificate_mismatch"),
        (unbound.text("access_token"), Some(&world.workload), "bearer_refused"),
    ] {
        let (status, challenge) = call(token, credential).await;
        assert_eq!(status, 401);
        assert!(challenge.contains(r#"Bearer error="invalid_token""#), "{challenge}");
        assert_eq!(world.events.last("denial").as_deref(), Some(denial));
    }
    assert!(upstream.take().is_empty(), "nothing arrived");
}

const SANITIZED: &str =
    "SANITIZE_SET\n                set_current_client_cert_details: { cert: true, subject: true, uri: true }";

#[tokio::test(flavor = "current_thread")]
async fn through_envoy_a_certificate_in_a_header_counts_where_the_operator_says_so() {
    let from_header = |text: String| {
        text.replace("dpop: or_certificate", "dpop: or_certificate\n    client_certificate: forwarded_header")
    };
    for (details, opted_in) in [(SANITIZED, true), (SANITIZED, false), ("ALWAYS_FORWARD_ONLY", true)] {
        let world = World::start_as(|text| if opted_in { from_header(text) } else { text }).await;
        let upstream = Upstream::start().await;
        let folder = world.folder.path();
        let socket = folder.join("authz.sock");
        let envoy = Envoy::with_certificates_in_a_header(details, &socket, upstream.port, folder).await;
        let bound = world.own_token("billing", Some(&world.billing)).await.expect_tokens();
        let token = bound.text("access_token");
        let call = async |credential: Option<&Credential>, headers: &[&str]| {
            let url = format!("https://127.0.0.1:{}/orders/7", envoy.port);
            let request = world.http(credential).get(url).header("host", "api.example.com").bearer_auth(token);
            let add =
                |request: reqwest::RequestBuilder, value: &&str| request.header("x-forwarded-client-cert", *value);
            let request = headers.iter().fold(request, add);
            request.send().await.expect("an answer").status().as_u16()
        };
        let refused = async |credential: Option<&Credential>, headers: &[&str]| {
            assert_eq!(call(credential, headers).await, 401, "{details}, {opted_in}: {headers:?}");
            assert_eq!(world.events.last("denial").as_deref(), Some("certificate_mismatch"));
        };
        let encoded =
            world.billing.pem.replace('\n', "%0A").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let claimed = format!("Cert=\"{}\"", encoded.replace(' ', "%20"));
        match (details, opted_in) {
            (SANITIZED, true) => {
                // What the caller says of himself is replaced.
                assert_eq!(call(Some(&world.billing), &[]).await, 200);
                assert_eq!(call(Some(&world.billing), &["Hash=0"]).await, 200);
                refused(Some(&world.shop), &[]).await;
                refused(Some(&world.shop), &[&claimed]).await;
                refused(None, &[&claimed]).await;
                assert_eq!(upstream.take().len(), 2);
            }
            (SANITIZED, false) => {
                refused(Some(&world.billing), &[]).await;
                refused(None, &[&claimed]).await;
            }
            // Here Envoy passes on what a proxy in front of it says.
            _ => {
                assert_eq!(call(None, &[&claimed]).await, 200);
                refused(None, &[&claimed, &claimed]).await;
                refused(None, &[&format!("{claimed},{claimed}")]).await;
                refused(None, &[&format!("{claimed};{claimed}")]).await;
                refused(None, &[&claimed.replace("Cert=", "Hash=")]).await;
            }
        }
    }
}
