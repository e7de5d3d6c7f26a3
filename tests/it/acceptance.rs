//! What certification suites expect of a FAPI 2.0 and OpenID Connect installation: a test for each thing on the list.
//!
//! The installation is `examples/fapi2.yaml` with keys of the tests, a clock that they set, TLS, and where an API is called
//! the real Envoy. The names of the tests are those of the suite's expectations; what the API side must refuse in full depth
//! is in `check.rs`, `envoy_proxy.rs` and `mutual_tls.rs`.

mod openid;
mod requests;
mod resource;
mod signing;
mod tokens;
mod transport;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tollgate::app::{App, Seams, Stop};
use tollgate::clock::{Clock, Timestamp};
use tollgate::config::Document;
use tollgate::jose::{Algorithm, SigningKey};

use crate::browser::{Browser, Page};
use crate::certification::{Material, Party, Way, browser, http};
use crate::client::{Answer, TokenCall, answer};
use crate::envoy::Envoy;
use crate::mutual_tls::{Authority, Credential, show_new_certificate};
use crate::upstream::Upstream;
use crate::world::{ENCRYPTION_KEY, Events, TestClock, TestPeople, free_port};

const SECOND: Duration = Duration::from_secs(1);

/// The installation, and the two parties that put it to the test.
struct Suite {
    issuer: String,
    /// Where the accounts are, behind Envoy if it runs.
    accounts: String,
    clock: Arc<TestClock>,
    authority: Authority,
    keys: [SigningKey; 2],
    certificates: [Credential; 2],
    _folder: TempDir,
    _envoy: Option<(Envoy, Upstream)>,
    _listening: tracing::subscriber::DefaultGuard,
    _stop: oneshot::Sender<()>,
}

impl Suite {
    /// The authorization server alone.
    async fn start() -> Self {
        Self::begin(false).await
    }

    /// With Envoy, and an API behind it.
    async fn with_api() -> Self {
        Self::begin(true).await
    }

    async fn begin(api: bool) -> Self {
        let (_, listening) = Events::listen();
        let folder = tempfile::tempdir().expect("a folder");
        let (issuer_port, api_port) = (free_port(), free_port());
        let authority = Authority::new();
        show_new_certificate(folder.path(), &authority);
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        fs::write(folder.path().join("kek"), ENCRYPTION_KEY).expect("a file");
        fs::write(folder.path().join("users.yaml"), "users: []").expect("a file");
        let keys = ["one", "two"].map(|_| SigningKey::generate(Algorithm::Es256).expect("a key"));
        let certificates = ["one", "two"].map(|name| authority.sign(&certificate_of(name)));

        let text = configuration(&keys, issuer_port, api_port, &folder.path().join("authz.sock").to_string_lossy());
        let document = Document::parse("fapi2.yaml", &text, folder.path());
        let config = document.and_then(Document::check).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_terminal()));
        let clock = Arc::new(TestClock::default());
        let seams = Seams {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            people: Some(TestPeople::seams()),
            ..Seams::default()
        };
        let app = App::start(config, seams).await.unwrap_or_else(|error| panic!("{error:?}"));
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(app.run(async {
            let _ = stopped.await;
            Stop::AtOnce
        }));
        let host = format!("localhost:{api_port}");
        let envoy = if api {
            let upstream = Upstream::start().await;
            Some((Envoy::with_tls(&host, upstream.port, folder.path()).await, upstream))
        } else {
            None
        };
        Self {
            issuer: format!("https://localhost:{issuer_port}"),
            accounts: format!("https://{host}/accounts"),
            clock,
            authority,
            keys,
            certificates,
            _folder: folder,
            _envoy: envoy,
            _listening: listening,
            _stop: stop,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `one` or `two` as it is registered in a way; each has a new DPoP key.
    fn party(&self, name: &str, way: Way) -> Party {
        let number = usize::from(name == "two");
        let certificate = &self.certificates[number];
        let material = Material {
            issuer: &self.issuer,
            trusted: &self.authority.pem(),
            name,
            key: &self.keys[number],
            certificate: &format!("{}\n{}", certificate.pem, certificate.key.serialize_pem()),
        };
        Party::new(&material, way)
    }

    /// The same party on connections without its certificate.
    fn bare(&self, party: Party) -> Party {
        let mut party = party;
        party.client.http = http(&self.authority.pem(), None);
        party
    }

    fn browser(&self) -> Browser {
        browser(&self.issuer, &self.authority.pem())
    }

    /// Pushes a request that must be good; gives the path that the browser opens.
    async fn pushed(&self, party: &Party, call: TokenCall<'_>) -> String {
        party.client.pushed_path(&call.send().await.expect(201, ""))
    }

    /// Pushes a request, and has ada sign in and approve.
    async fn approved(&self, party: &Party, call: TokenCall<'_>) -> Page {
        let path = self.pushed(party, call).await;
        self.browser().approve(&path, "ada", "ada").await
    }

    /// A code for a party.
    async fn code(&self, party: &Party) -> String {
        self.approved(party, party.push(self.now())).await.code()
    }

    /// Tokens for a party.
    async fn tokens(&self, party: &Party) -> Answer {
        let code = self.code(party).await;
        party.redeem(self.now(), &code).send().await.expect_tokens()
    }

    /// What the metadata say.
    async fn metadata(&self) -> Value {
        let url = format!("{}/.well-known/openid-configuration", self.issuer);
        answer(http(&self.authority.pem(), None).get(url)).await.body
    }
}

/// What the certificate of a party says.
fn certificate_of(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The example, with these keys and ports.
fn configuration(keys: &[SigningKey; 2], issuer: u16, api: u16, socket: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fapi2.yaml");
    let mut text = fs::read_to_string(path).expect("the example");
    let jwks = |kid: &str, key: &SigningKey| {
        let begin = text.find(&format!("{{ keys: [{{ kty: EC, crv: P-256, kid: {kid},")).expect("a key of the example");
        let line = text[begin..].lines().next().expect("a line").to_owned();
        (line, format!("{{ keys: [{}] }}", key.published_jwk()))
    };
    let changes = [
        jwks("one", &keys[0]),
        jwks("two", &keys[1]),
        ("127.0.0.1:9443".to_owned(), format!("127.0.0.1:{issuer}")),
        ("https://localhost:9443".to_owned(), format!("https://localhost:{issuer}")),
        ("https://localhost:10443".to_owned(), format!("https://localhost:{api}")),
        ("tls.pem".to_owned(), "server.pem".to_owned()),
        ("secrets/tls.key".to_owned(), "server.key".to_owned()),
        ("clients-ca.pem".to_owned(), "ca.pem".to_owned()),
        ("/run/tollgate/authz.sock".to_owned(), socket.to_owned()),
        ("{ sqlite: { path: /var/lib/tollgate/tollgate.db } }".to_owned(), "{ memory: {} }".to_owned()),
        ("secrets/kek".to_owned(), "kek".to_owned()),
        ("  ext_authz:\n".to_owned(), "  admin: { address: \"127.0.0.1:0\" }\n  ext_authz:\n".to_owned()),
    ];
    for (from, to) in changes {
        assert!(text.contains(&from), "the example does not say {from}");
        text = text.replace(&from, &to);
    }
    text
}

/// An answer that says no: one of these errors with one of these statuses, in a body that RFC 6749 §5.2 allows.
#[track_caller]
fn expect_refused(answer: &Answer, statuses: &[u16], errors: &[&str]) {
    assert!(statuses.contains(&answer.status) && errors.contains(&answer.error()), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    for member in ["error", "error_description", "error_uri"] {
        let text = answer.body[member].as_str().unwrap_or_default();
        assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'), "{text}");
    }
}

/// A page for a person, who is sent nowhere.
#[track_caller]
fn expect_error_page(page: &Page) {
    assert_eq!((page.status, page.header("location")), (400, ""), "{page:?}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{page:?}");
}

/// A redirect to the party with an error.
#[track_caller]
fn expect_error_redirect(page: &Page, party: &Party, error: &str) {
    assert!(page.header("location").starts_with(&party.redirect_uri), "{page:?}");
    assert_eq!(page.parameter("error").as_deref(), Some(error), "{page:?}");
    assert_eq!(page.parameter("iss").as_deref(), Some(party.client.issuer.as_str()), "{page:?}");
    assert_eq!(page.parameter("code"), None, "{page:?}");
}
