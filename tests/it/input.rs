//! Bad input of every kind at every endpoint: a plain answer in the 4xx, never a 5xx, and nothing left behind.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::clock::Clock as _;
use tollgate::secret::base64url;
use tollgate::store::{Limits as StoreLimits, MemoryStore, Store, Unavailable};
use tollgate::web::{AdminSite, Door, Limits};

use crate::client::{CHALLENGE, CLIENT_CREDENTIALS, Client, VERIFIER, code_request};
use crate::tap::{Tap, TappedStore};
use crate::world::{SECRET, TestClock, World};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, byte for byte.
#[derive(Debug)]
struct Raw {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Raw {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// Asserts that this is an error in JSON, as programs expect it.
    #[track_caller]
    fn expect_json(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        check_json_error(&self);
        self
    }

    /// Asserts that this is a page, as people expect it, and leads nowhere.
    #[track_caller]
    fn expect_page(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        check_page(&self);
        self
    }
}

#[track_caller]
fn check_json_error(answer: &Raw) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    for member in ["error", "error_description"] {
        let text = body[member].as_str().unwrap_or_else(|| panic!("{answer:?}"));
        assert!(!text.is_empty() && text.bytes().all(allowed), "{answer:?}");
    }
}

#[track_caller]
fn check_page(answer: &Raw) {
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert!(answer.header("content-security-policy").is_some(), "{answer:?}");
    assert_eq!(answer.header("location"), None, "{answer:?}");
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control")), "{answer:?}");
}

/// Sends bytes over a connection of their own, and reads one answer; `None` if the connection is closed without one.
async fn exchange(address: impl tokio::net::ToSocketAddrs, request: &[u8]) -> Option<Raw> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let (mut reader, mut writer) = stream.split();
        let mut received = Vec::new();
        let (sent, answer) = tokio::join!(writer.write_all(request), read_answer(&mut reader, &mut received));
        drop(sent); // an early answer may close the connection before everything was sent
        answer
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("an answer or an end in time")
}

async fn read_answer(reader: &mut (impl tokio::io::AsyncRead + Unpin), received: &mut Vec<u8>) -> Option<Raw> {
    loop {
        if let Some(answer) = whole_answer(received) {
            return Some(answer);
        }
        match reader.read_buf(received).await {
            Ok(0) | Err(_) => return answer_in(received).map(|(answer, _)| answer), // one to HEAD ends with its head
            Ok(_) => {}
        }
    }
}

/// The answer, if all of it is there.
fn whole_answer(received: &[u8]) -> Option<Raw> {
    let (answer, length) = answer_in(received)?;
    (answer.body.len() >= length).then_some(answer)
}

/// The answer with as much of its body as is there, and how long that is to be; `None` before the end of the head.
fn answer_in(received: &[u8]) -> Option<(Raw, usize)> {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let answer = Raw { status, headers: lines.map(header).collect(), body: body.to_owned() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    Some((answer, length))
}

/// Notes every call that changes something.
#[derive(Default)]
struct Changes(Mutex<Vec<&'static str>>);

#[async_trait]
impl Tap for Changes {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        let harmless = ["code", "grant", "session", "signing_keys", "last_alive", "note_alive", "ended_since", "sweep"];
        if !harmless.contains(&call) {
            self.0.lock().expect("no test panics with the lock").push(call);
        }
        Ok(())
    }
}

/// A world that notes what is left behind in its store.
struct Watched {
    world: World,
    changes: Arc<Changes>,
}

impl Watched {
    async fn start() -> Self {
        let changes = Arc::new(Changes::default());
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new(StoreLimits::default()));
        let store = TappedStore { inner, tap: Arc::clone(&changes) as Arc<dyn Tap> };
        let world = World::start_on(Arc::new(store), |_| {}).await;
        changes.0.lock().expect("no test panics with the lock").clear(); // of the start
        Self { world, changes }
    }

    fn address(&self) -> &str {
        self.world.issuer.strip_prefix("http://").expect("plain http")
    }

    /// Sends a request line and headers, and a body whose length goes along.
    async fn send(&self, line: &str, headers: &[&str], body: &[u8]) -> Raw {
        self.try_send(line, headers, body).await.expect("an answer")
    }

    async fn try_send(&self, line: &str, headers: &[&str], body: &[u8]) -> Option<Raw> {
        let mut request = format!("{line} HTTP/1.1\r\nHost: {}\r\n", self.address());
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            write!(request, "Content-Length: {}\r\n", body.len()).expect("memory");
        }
        request.push_str("\r\n");
        exchange(self.address(), &[request.as_bytes(), body].concat()).await
    }

    /// Posts a form.
    async fn post(&self, path: &str, body: &[u8]) -> Raw {
        self.send(&format!("POST {path}"), &[FORM], body).await
    }

    #[track_caller]
    fn nothing_is_left_behind(&self) {
        assert_eq!(*self.changes.0.lock().expect("no test panics with the lock"), Vec::<&str>::new());
    }
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// Where people are, each with the methods that it takes.
const PAGES: [(&str, &str); 4] =
    [("/oauth/authorize", "GET, HEAD, POST"), ("/login", "POST"), ("/consent", "POST"), ("/logout", "GET, HEAD, POST")];

/// Where programs are, each with the methods that it takes.
const DOCUMENTS: [(&str, &str); 6] = [
    ("/oauth/token", "POST"),
    ("/oauth/par", "POST"),
    ("/oauth/revoke", "POST"),
    ("/oauth/introspect", "POST"),
    ("/oauth/jwks", "GET, HEAD"),
    ("/.well-known/oauth-authorization-server", "GET, HEAD"),
];

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let watched = Watched::start().await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "OPTIONS", "post", "x"];
    let takes = |allow: &str, method: &str| allow.split(", ").any(|allowed| allowed == method);
    for method in methods {
        for (path, allow) in PAGES.into_iter().filter(|(_, allow)| !takes(allow, method)) {
            let answer = watched.try_send(&format!("{method} {path}"), &["Connection: close"], b"").await;
            check_method(answer, method, allow, check_page);
        }
        for (path, allow) in DOCUMENTS.into_iter().filter(|(_, allow)| !takes(allow, method) && method != "OPTIONS") {
            let answer = watched.try_send(&format!("{method} {path}"), &["Connection: close"], b"").await;
            check_method(answer, method, allow, check_json_error);
        }
    }
    let admin = watched.world.addresses.admin;
    for path in ["/livez", "/readyz"] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        let answer = exchange(admin, request.as_bytes()).await.expect("an answer").expect_json(405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    // No header makes one method out of another (R8 of RFC 9110 §9: the method is that of the request line).
    let overridden = ["X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: POST"];
    watched.send("GET /oauth/token", &overridden, b"").await.expect_json(405);
    watched.nothing_is_left_behind();
}

#[track_caller]
fn check_method(answer: Option<Raw>, method: &str, allow: &str, check: impl Fn(&Raw)) {
    let mut answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method}: {answer:?}");
    if method == "HEAD" {
        assert_eq!(answer.body, "");
        return;
    }
    answer.body = answer.body.trim().to_owned();
    check(&answer);
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let watched = Watched::start().await;
    let form = b"grant_type=client_credentials&client_id=spa";
    let types = [
        "Content-Type: application/json",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-16",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8; charset=latin1",
        "Content-Type: application/x-www-form-urlencoded, application/json",
        "Content-Type: application/x-www-form-urlencodedx",
        "Content-Type:",
        "Content-Type: \u{fc}",
        "X-Nothing: here",
    ];
    for content_type in types {
        watched.send("POST /oauth/token", &[content_type], form).await.expect_json(400);
        for (path, _) in PAGES {
            watched.send(&format!("POST {path}"), &[content_type], form).await.expect_page(400);
        }
    }
    watched.send("POST /oauth/token", &[FORM, FORM], form).await.expect_json(400);
    let bodies: [&[u8]; 8] =
        [b"a=%ff", b"\xff=a", b"%", b"a=%zz&%", b"&&&=&=", b"{\"grant_type\":\"x\"}", b"a[b][c]=1", b"\0"];
    for body in bodies {
        let answer = watched.post("/oauth/token", body).await.expect_json(400);
        assert!(answer.body.contains("\"invalid_request\""), "{answer:?}");
        watched.post("/oauth/authorize", body).await.expect_page(400);
        for path in ["/login", "/consent", "/logout"] {
            let answer = watched.post(path, body).await;
            assert!([400, 403].contains(&answer.status), "{answer:?}");
            check_page(&answer);
        }
    }
    watched.nothing_is_left_behind();
}

#[tokio::test]
async fn what_is_too_large_is_refused_at_once() {
    let watched = Watched::start().await;
    let huge = format!("grant_type=client_credentials&scope={}", "x".repeat(1024 * 1024)).into_bytes();
    let many = (0..10_000).map(|n| format!("p{n}=")).collect::<Vec<_>>().join("&");
    let repeated = "scope=x&".repeat(5_000);
    let long_name = format!("{}=1", "n".repeat(1_000));
    for round in 0..5 {
        watched.post("/oauth/token", &huge).await.expect_json(413);
        let (path, _) = PAGES[round % PAGES.len()];
        watched.post(path, &huge).await.expect_page(413);
    }
    for body in [&many[..60_000], &repeated, &long_name] {
        watched.post("/oauth/token", body.as_bytes()).await.expect_json(400);
        watched.post("/oauth/authorize", body.as_bytes()).await.expect_page(400);
    }
    watched.post("/oauth/token", many.as_bytes()).await.expect_json(413);
    // A length that is only claimed, and one that is not told.
    let claim = ["Content-Length: 99999999999", FORM];
    watched.send("POST /oauth/token", &claim, b"").await.expect_json(413);
    let chunk = format!("{:x}\r\n{}\r\n", 65_537, "x".repeat(65_537));
    let chunked =
        format!("POST /oauth/token HTTP/1.1\r\nHost: x\r\n{FORM}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    exchange(watched.address(), chunked.as_bytes()).await.expect("an answer").expect_json(413);

    let long = "x".repeat(40_000);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /oauth/authorize?{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /oauth/jwks HTTP/1.1\r\nHost: x\r\nCookie: {long}\r\n\r\n"),
        format!("GET /oauth/jwks HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: x\r\n".repeat(200)),
        format!("{long} / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let answer = exchange(watched.address(), request.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, 431, "{answer:?}");
    }
    let short = "x".repeat(20_000);
    watched.send(&format!("GET /{short}"), &[], b"").await.expect_json(404);
    watched.send(&format!("GET /oauth/authorize?{short}"), &[], b"").await.expect_page(400);
    watched.nothing_is_left_behind();
}

#[tokio::test]
async fn broken_framing_is_refused_and_the_connection_closed() {
    let watched = Watched::start().await;
    let host = "Host: x\r\n";
    let post = |rest: &str| format!("POST /oauth/token HTTP/1.1\r\n{host}{FORM}\r\n{rest}");
    let get = |rest: &str| format!("GET /oauth/jwks HTTP/1.1\r\n{rest}\r\n");
    let requests = [
        post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        post("Content-Length: 3\r\nContent-Length: 4\r\n\r\na=b&"),
        post("Content-Length: 3, 3\r\n\r\na=b"),
        post("Content-Length: -1\r\n\r\n"),
        post("Content-Length: 1x\r\n\r\na"),
        post("Transfer-Encoding: gzip\r\n\r\na"),
        post("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n\r\n3\na=b\n0\n\n"),
        get("Host: x\r\nX-Folded: a\r\n b\r\n"),
        get("Host: x\r\nX Y: a\r\n"),
        get("Host: x\r\nX: a\0b\r\n"),
        get(""),
        get("Host: x\r\nHost: x\r\n"),
        get("Host: a b\r\n"),
        get("Host: u@x\r\n"),
        "GET  /oauth/jwks HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /oauth/jwks HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03 TLS is not spoken here\r\n\r\n".to_owned(),
    ];
    for request in requests {
        // A second request behind the first must not be answered.
        let request = format!("{request}GET /oauth/jwks HTTP/1.1\r\nHost: x\r\n\r\n");
        let read = async {
            let mut stream = TcpStream::connect(watched.address()).await.expect("a connection");
            stream.write_all(request.as_bytes()).await.expect("a peer");
            let mut all = Vec::new();
            drop(stream.read_to_end(&mut all).await); // what was not read may reset the connection
            String::from_utf8_lossy(&all).into_owned()
        };
        let answer =
            tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("not closed after {request}"));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{request}\n{answer}");
        assert!(!answer.contains("\"keys\""), "{request}\n{answer}");
    }
    watched.nothing_is_left_behind();
}

/// A door that has little patience, with nothing much behind it.
async fn impatient_door() -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
    let door = Door::bind(([127, 0, 0, 1], 0).into(), limits).await.expect("a port");
    let address = door.address().expect("an address");
    let site = AdminSite {
        store: None,
        keys: None,
        guard: None,
        clock: Arc::new(TestClock::default()),
        takes_writes: Arc::default(),
        metrics: Arc::default(),
        standing: None,
        issuers: Arc::default(),
        ending: Arc::default(),
    };
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        door.serve(Arc::new(site), stopped).await;
    });
    (address, stop, served)
}

#[tokio::test]
async fn whoever_asks_and_does_not_read_is_let_go() {
    let (address, _stop, _) = impatient_door().await;
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let requests = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let ask_on = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ask_on).await.expect("the connection to be closed");
}

#[tokio::test]
async fn whoever_is_slow_is_let_go() {
    let (address, stop, served) = impatient_door().await;
    let beginnings: [&[u8]; 7] = [
        b"",
        b"G",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", // answered, and then nothing more comes
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", // HTTP/2, and then no request
        b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\na",
    ];
    for beginning in beginnings {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(beginning).await.expect("a peer");
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "still open after {:?}", String::from_utf8_lossy(beginning));
        let answer = String::from_utf8_lossy(&answer);
        if beginning.ends_with(b"\r\n\r\na") {
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        }
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    stop.send(()).expect("it serves");
    tokio::time::timeout(PATIENCE, served).await.expect("an end in time").expect("no panic");
}

#[tokio::test]
async fn the_same_holds_over_http2_and_others_on_the_connection_go_on() {
    let watched = Watched::start().await;
    let http = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = |path: &str| format!("{}{path}", watched.world.issuer);
    let huge = "x".repeat(1024 * 1024);
    let keys = async || {
        let answer = http.get(url("/oauth/jwks")).send().await.expect("an answer");
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    };
    keys().await;
    let answer = http.post(url("/oauth/token")).form(&[("scope", &huge)]).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.version()), (413, reqwest::Version::HTTP_2));
    assert_eq!(answer.headers()["content-type"], "application/json");
    keys().await;
    let answer = http.delete(url("/oauth/token")).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"POST".parse().expect("a value")));
    let answer = http.get(url("/oauth/jwks")).header("x-long", "x".repeat(40_000)).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 431);
    keys().await;
    watched.nothing_is_left_behind();
}

/// Signs any text at all as a compact JWS with a client's DPoP key (ES256).
fn signed(client: &Client, header: &str, payload: &[u8]) -> String {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let private = client.key.to_pkcs8().expect("PKCS #8");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private).expect("a key");
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(payload));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
    format!("{message}.{}", base64url(signature.as_ref()))
}

#[tokio::test]
async fn proofs_are_read_strictly() {
    let watched = Watched::start().await;
    let world = &watched.world;
    let (backend, now) = (world.client("backend"), world.clock.now());
    let jwk = backend.key.proof_jwk().to_string();
    let header = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#);
    let url = backend.token_url();
    let payload = |jti: &str, iat: &str| format!(r#"{{"jti":"{jti}","htm":"POST","htu":"{url}","iat":{iat}}}"#);
    let iat = now.seconds().to_string();
    let send = async |proof: &str| backend.request(now, &CLIENT_CREDENTIALS).proof(proof).send().await;
    send(&signed(&backend, &header, payload("fine", &iat).as_bytes())).await.expect_tokens();
    send(&signed(&backend, &header, payload("fraction", &format!("{iat}.25")).as_bytes())).await.expect_tokens();

    let twice = payload("a", &iat).replace(r#""htm""#, r#""jti":"b","htm""#);
    let nested = payload("a", &iat).replace('}', &format!(r#","x":{}{}}}"#, "[".repeat(200), "]".repeat(200)));
    let payloads = [
        twice.as_str(),
        &nested,
        "[]",
        "null",
        "",
        "{",
        &format!("\u{feff}{}", payload("a", &iat)),
        &format!("{} x", payload("a", &iat)),
        &payload("a", "1e400"),
        &payload("a", "1e308"),
        &payload("a", "9223372036854775808"),
        &payload("a", "-1"),
        &payload("a", "null"),
        &payload("a", "[1]"),
        &payload("a", &format!("\"{iat}\"")),
        &payload("a", &iat).replace("\"POST\"", "true"),
        &payload("a", &iat).replace('}', r#","nonce":7}"#),
        &payload("a", &iat).replace('}', r#","exp":"soon"}"#),
        &payload("a", &iat).replace(&url, &format!("{url}\\u0000")),
        &payload("a", &iat).replace(&url, &format!("{url}/{}", "x".repeat(3_000))),
    ];
    for payload in payloads {
        let answer = send(&signed(&backend, &header, payload.as_bytes())).await;
        assert!(["invalid_dpop_proof", "use_dpop_nonce"].contains(&answer.error()), "{payload}: {answer:?}");
    }
    let not_utf8 = [payload("a", &iat).as_bytes(), b"\xff"].concat();
    send(&signed(&backend, &header, &not_utf8)).await.expect(400, "invalid_dpop_proof");

    let headers = [
        header.replace(r#""alg""#, r#""alg":"ES256","alg""#),
        header.replace(r#""jwk""#, r#""crit":[],"jwk""#),
        header.replace(r#""jwk""#, r#""b64":false,"crit":["b64"],"jwk""#),
        header.replace(r#""jwk""#, r#""jwk":{},"jwk""#),
        header.replace("dpop+jwt", "dpop+jwt\\u0000"),
        header.replace(r#""alg":"ES256""#, r#""alg":["ES256"]"#),
        header.replace(r#""y""#, r#""z""#),
        format!("{header}{{}}"),
    ];
    for header in headers {
        let proof = signed(&backend, &header, payload("a", &iat).as_bytes());
        send(&proof).await.expect(400, "invalid_dpop_proof");
    }

    let good = signed(&backend, &header, payload("b", &iat).as_bytes());
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    for proof in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload} .{signature}"),
        format!("{header}.{payload}.{}", &signature[1..]),
        format!("{header}.{payload}.{}", base64url(&[0; 64])),
        format!("{header}.{payload}.{}", base64url(&[0xff; 64])),
        format!("{header}.{payload}.{}", base64url(&[1; 63])),
        format!("{header}.{payload}.{}", base64url(&[1; 65])),
        format!("{header}.{payload}."),
        format!("..{signature}"),
        "..".to_owned(),
        format!("{{\"payload\":\"{payload}\",\"protected\":\"{header}\",\"signature\":\"{signature}\"}}"),
        good.replace('.', "%2E"),
    ] {
        send(&proof).await.expect(400, "invalid_dpop_proof");
    }
    send(&good).await.expect_tokens();
    watched.nothing_is_left_behind();
}

#[tokio::test]
async fn opaque_values_of_another_kind_are_unknown() {
    let watched = Watched::start().await;
    let (spa, now) = (watched.world.client("spa"), watched.world.clock.now());
    let code = watched.world.code(&spa).await;
    let tokens = spa.request(now, &code_request(&code)).send().await.expect_tokens();
    let (access, refresh) = (tokens.text("access_token"), tokens.text("refresh_token"));
    watched.changes.0.lock().expect("no test panics with the lock").clear();
    for value in
        [access, &code, &spa.proof(now), &refresh.to_uppercase(), &refresh.replace("tgr_", "tgc_"), "tgr_", " "]
    {
        let request = [("grant_type", "refresh_token"), ("refresh_token", value)];
        spa.request(now, &request).send().await.expect(400, "invalid_grant");
    }
    for value in [access, refresh, &code.to_uppercase(), &code.replace("tgc_", "tgr_"), "tgc_", "\u{0}"] {
        spa.request(now, &code_request(value)).send().await.expect(400, "invalid_grant");
    }
    watched.nothing_is_left_behind();
}

#[tokio::test]
async fn only_the_configuration_says_who_we_are() {
    let watched = Watched::start().await;
    let lies = [
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 8.8.8.8",
        "Forwarded: host=evil.example;proto=https",
        "X-Original-URL: /oauth/jwks",
        "X-Rewrite-URL: /oauth/jwks",
    ];
    let answer = watched.send("GET /.well-known/oauth-authorization-server", &lies, b"").await;
    let honest = watched.send("GET /.well-known/oauth-authorization-server", &[], b"").await;
    assert_eq!((answer.status, &answer.body), (200, &honest.body));
    let request = format!(
        "GET http://evil.example/.well-known/oauth-authorization-server HTTP/1.1\r\nHost: evil.example\r\n{}\r\n\r\n",
        lies.join("\r\n")
    );
    let answer = exchange(watched.address(), request.as_bytes()).await.expect("an answer");
    assert_eq!((answer.status, &answer.body), (200, &honest.body));
}

#[tokio::test]
async fn nothing_that_a_caller_sends_makes_us_open_a_connection() {
    let watched = Watched::start().await;
    let canary = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let bait = format!("http://{}/keys", canary.local_addr().expect("an address"));
    let (web, now) = (watched.world.client("web"), watched.world.clock.now());
    let header = serde_json::json!({
        "typ": "dpop+jwt", "alg": "ES256", "jwk": web.key.proof_jwk(), "jku": bait, "x5u": bait,
    });
    let proof = web.key.sign_with(&header, &web.proof_claims(now));
    let assertion = web.key.sign_with(
        &serde_json::json!({ "typ": "JWT", "alg": "ES256", "jku": bait, "x5u": bait }),
        &web.assertion_claims(now),
    );
    let answer = web.bare_request(&CLIENT_CREDENTIALS).proof(&proof).assertion(&assertion).send().await;
    answer.expect(401, "invalid_client");
    let encoded = form_urlencoded::byte_serialize(bait.as_bytes()).collect::<String>();
    let request = format!("GET /oauth/authorize?client_id=spa&redirect_uri={encoded}&request_uri={encoded}");
    watched.send(&request, &[], b"").await.expect_page(400);
    let redirect = "https%3A%2F%2Fapp.example%2Fcb";
    let request = format!("GET /oauth/authorize?client_id=spa&redirect_uri={redirect}&request_uri={encoded}");
    assert_eq!(watched.send(&request, &[], b"").await.status, 303);
    std::future::poll_fn(|context| {
        assert!(canary.poll_accept(context).is_pending(), "somebody has connected");
        std::task::Poll::Ready(())
    })
    .await;
    watched.nothing_is_left_behind();
}

/// The parameters that mean something anywhere, so that what is generated gets behind the first check.
const NAMES: [&str; 20] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "code",
    "code_verifier",
    "redirect_uri",
    "refresh_token",
    "scope",
    "resource",
    "response_type",
    "response_mode",
    "state",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "prompt",
    "max_age",
    "request",
];

/// Values that mean something somewhere.
const VALUES: [&str; 22] = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "spa",
    "web",
    "backend",
    "legacy",
    SECRET,
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "https://app.example/cb",
    "http://127.0.0.1:7/cb",
    "orders:read",
    "orders:read orders:write",
    "https://api.example.com",
    "code",
    "query",
    "S256",
    CHALLENGE,
    VERIFIER,
    "none",
    "login",
    "0",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => ".{0,40}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        1 => ".{0,60}",
        1 => "[A-Za-z0-9_.-]{0,200}",
        1 => "tg[cr]_[A-Za-z0-9_-]{43}",
        1 => "tgr_[A-Za-z0-9_-]{96}",
        1 => "e30\\.e30\\.[A-Za-z0-9_-]{0,86}",
    ]
}

/// A form, mostly well-formed.
fn form() -> impl Strategy<Value = Vec<u8>> {
    let pairs = prop::collection::vec((name(), value()), 0..12);
    let encoded = pairs
        .prop_map(|pairs| form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish().into_bytes());
    prop_oneof![9 => encoded, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// The value of a header: any visible text.
fn header_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,80}",
        "Basic [A-Za-z0-9+/]{0,40}={0,2}",
        "[A-Za-z0-9_-]{1,80}\\.[A-Za-z0-9_-]{1,80}\\.[A-Za-z0-9_-]{1,86}",
        Just("eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.AA".to_owned()),
    ]
}

#[test]
fn whatever_comes_to_the_token_endpoint_is_answered_with_a_plain_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let watched = runtime.block_on(Watched::start());
    let headers = || prop::option::weighted(0.3, header_value());
    proptest!(ProptestConfig::with_cases(400), |(form in form(), proof in headers(), authorization in headers())| {
        let proof = proof.map(|value| format!("DPoP: {value}"));
        let authorization = authorization.map(|value| format!("Authorization: {value}"));
        let headers: Vec<_> = [Some(FORM), proof.as_deref(), authorization.as_deref()].into_iter().flatten().collect();
        let answer = runtime.block_on(watched.send("POST /oauth/token", &headers, &form));
        if answer.status != 200 {
            prop_assert!([400, 401].contains(&answer.status), "{answer:?}");
            check_json_error(&answer);
            watched.nothing_is_left_behind();
        }
    });
}

#[test]
fn whatever_comes_to_the_authorization_endpoint_is_answered_with_a_page_or_a_redirect() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let watched = runtime.block_on(Watched::start());
    // Good enough to get behind the first checks, half of the time.
    let good = format!(
        "client_id=spa&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&response_type=code&code_challenge={CHALLENGE}\
         &code_challenge_method=S256&"
    );
    let path = prop::sample::select(PAGES.map(|(path, _)| path).to_vec());
    proptest!(ProptestConfig::with_cases(400), |(form in form(), good_first in any::<bool>(), path in path)| {
        let prefix = if good_first { good.as_bytes() } else { b"" };
        let form = [prefix, &form].concat();
        let answer = runtime.block_on(watched.post(path, &form));
        prop_assert!([200, 303, 400, 403].contains(&answer.status), "{answer:?}");
        if answer.status == 303 {
            let location = answer.header("location").unwrap_or_default();
            let known = location.starts_with("https://app.example/cb?") || location.starts_with("http://127.0.0.1:7/cb?");
            let sent_round = path == "/logout" && location.contains("/logout?");
            prop_assert!(known && location.contains("error=") || sent_round, "{answer:?}");
        } else {
            check_page(&answer);
        }
        watched.nothing_is_left_behind();
    });
}
