//! What leaves the program, over a whole story: known headers only, errors that repeat nothing, and a log, at its most
//! talkative, without a secret.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde_json::json;
use tollgate::clock::{Clock as _, SystemClock};

use crate::browser::{Browser, Page};
use crate::client::{
    AUTHORIZATION_REQUEST, Answer, CHALLENGE, CLIENT_CREDENTIALS, Client, PAR, TokenCall, VERIFIER, answer,
    code_request, poll_request, refresh_request,
};
use crate::process::{Installation, PASSWORD};
use crate::proxy::Proxy;
use crate::world::{ENCRYPTION_KEY, SECRET};

/// Every header that the program may send.
const KNOWN_HEADERS: [&str; 24] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "etag",
    "connection",
    "content-language",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "dpop-nonce",
    "location",
    "pragma",
    "referrer-policy",
    "retry-after",
    "set-cookie",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
];

/// Fails for a header that nobody has thought about, and for one that must be there and is not (RFC 9110 §6.6.1).
#[track_caller]
fn check_headers(headers: &HeaderMap) {
    for name in headers.keys() {
        assert!(KNOWN_HEADERS.contains(&name.as_str()), "{headers:?}");
    }
    for name in ["date", "content-type"] {
        assert_eq!(headers.get_all(name).iter().count(), 1, "{headers:?}");
    }
}

/// Everything that opens a door, as the people of a story got or made it.
#[derive(Default)]
struct Secrets(BTreeSet<String>);

impl Secrets {
    fn add(&mut self, secret: &str) {
        assert!(secret.len() >= 16, "too short to be told from other text: {secret}");
        self.0.insert(secret.to_owned());
        // Neither a part of it.
        self.0.insert(secret[secret.len() - 16..].to_owned());
    }

    /// Sends a token request, whose secrets and those of its answer are remembered, and looks at the answer.
    async fn send(&mut self, call: TokenCall<'_>) -> Answer {
        for proof in &call.proofs {
            self.add(proof);
        }
        let answer = call.send().await;
        check_headers(&answer.headers);
        assert!(answer.status < 500, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        if answer.status < 400 {
            for token in ["access_token", "refresh_token"] {
                answer.body[token].as_str().into_iter().for_each(|token| self.add(token));
            }
        } else {
            check_error(&answer);
        }
        answer.header("dpop-nonce").into_iter().for_each(|nonce| self.add(nonce));
        answer
    }

    /// Looks at a page, and remembers what it gave to the browser.
    fn page(&mut self, page: Page, browser: &Browser) -> Page {
        check_headers(&page.headers);
        assert!(page.status < 500, "{page:?}");
        assert_eq!(page.header("cache-control"), "no-store");
        browser.cookies.values().for_each(|cookie| self.add(cookie));
        if page.has("name=\"transaction\"") {
            self.add(&page.field("transaction"));
            self.add(&page.field("csrf_token"));
        }
        page
    }
}

/// RFC 6749 §5.2: the characters of `error_description`, and nothing else in the body.
#[track_caller]
fn check_error(answer: &Answer) {
    let body = answer.body.as_object().unwrap_or_else(|| panic!("{answer:?}"));
    assert!(body.keys().all(|name| ["error", "error_description"].contains(&name.as_str())), "{answer:?}");
    let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(!answer.error().is_empty() && answer.error().bytes().all(allowed), "{answer:?}");
    assert!(answer.text("error_description").bytes().all(allowed), "{answer:?}");
}

/// Signs ada in and approves; gives the code.
async fn approve(installation: &Installation, secrets: &mut Secrets) -> String {
    let path = format!(
        "/oauth/authorize?response_type=code&client_id=spa&redirect_uri=https%3A%2F%2Fapp.example%2Fcb\
         &scope=orders%3Aread&state=a-state-that-is-nobodys-business&code_challenge_method=S256\
         &code_challenge={CHALLENGE}"
    );
    secrets.add("a-state-that-is-nobodys-business");
    let mut browser = Browser::new(&installation.issuer);
    let sign_in = browser.open(&path).await;
    let sign_in = secrets.page(sign_in, &browser);
    let mistyped = browser.submit(&sign_in, &[("username", "ada"), ("password", "not the right password")]).await;
    secrets.add("not the right password");
    let mistyped = secrets.page(mistyped, &browser);
    let consent = browser.submit(&mistyped, &[("username", "ada"), ("password", PASSWORD)]).await;
    let consent = secrets.page(consent, &browser);
    let forged = browser.submit(&consent, &[("decision", "approve"), ("csrf_token", "forged")]).await;
    assert_eq!(secrets.page(forged, &browser).status, 403);
    let back = browser.submit(&consent, &[("decision", "approve")]).await;
    assert!(back.headers.keys().all(|name| KNOWN_HEADERS.contains(&name.as_str())), "{back:?}");
    back.code()
}

/// A request that is pushed, good and bad, and the browser that comes with it.
async fn push(installation: &Installation, secrets: &mut Secrets) {
    let (web, now) = (installation.client("web"), SystemClock.now());
    let state = "another-state-that-is-nobodys-business";
    secrets.add(state);
    let call = || web.push(now, &AUTHORIZATION_REQUEST).with("state", state).proof(&web.proof_at(PAR, now));
    let pushed = secrets.send(call()).await.expect(201, "");
    let request_uri = pushed.text("request_uri");
    secrets.add(&request_uri[request_uri.len() - 43..]);
    secrets.send(call().with("request_uri", request_uri)).await.expect(400, "invalid_request");
    let object = web.sign_assertion(&web.assertion_claims(now));
    secrets.add(&object);
    secrets.send(call().with("request", &object)).await.expect(400, "invalid_request_object");
    let mut browser = Browser::new(&installation.issuer);
    let page = browser.open(&web.pushed_path(&pushed)).await;
    let page = secrets.page(page, &browser);
    let page = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
    let page = secrets.page(page, &browser);
    secrets.add(&browser.submit(&page, &[("decision", "approve")]).await.code());
    let page = browser.open(&web.pushed_path(&pushed)).await;
    assert_eq!(secrets.page(page, &browser).status, 400);
}

/// Redeems, refreshes, and makes the mistakes that clients make.
async fn get_tokens(client: &Client, code: &str, secrets: &mut Secrets) {
    let now = SystemClock.now();
    secrets.add(code);
    secrets.add(VERIFIER);
    let wrong = client.request(now, &code_request(code)).with("code_verifier", &"w".repeat(50));
    secrets.add(&"w".repeat(50));
    secrets.send(wrong).await.expect(400, "invalid_grant");
    let tokens = secrets.send(client.request(now, &code_request(code))).await.expect_tokens();
    let refresh = tokens.text("refresh_token").to_owned();
    secrets.send(client.request(now, &refresh_request(&refresh))).await.expect_tokens();
    secrets.send(client.bearer_request(now, &refresh_request(&refresh))).await.expect(400, "invalid_dpop_proof");
    let mut claims = client.proof_claims(now);
    claims["nonce"] = json!("a nonce that was made up");
    secrets.add("a nonce that was made up");
    let made_up = client.request(now, &refresh_request(&refresh)).proof(&client.sign_proof(&claims));
    secrets.send(made_up).await.expect(400, "use_dpop_nonce");
    secrets.send(client.request(now, &code_request(code))).await.expect(400, "invalid_grant");
}

/// Clients with credentials of their own, right and wrong.
async fn authenticate(installation: &Installation, secrets: &mut Secrets) {
    let now = SystemClock.now();
    secrets.add(SECRET);
    for id in ["web", "backend", "poster", "bound"] {
        let client = installation.client(id);
        secrets.send(client.request(now, &CLIENT_CREDENTIALS)).await.expect_tokens();
    }
    let web = installation.client("web");
    let assertion = web.sign_assertion(&web.assertion_claims(now));
    secrets.add(&assertion);
    secrets.send(web.request(now, &CLIENT_CREDENTIALS).assertion(&assertion)).await.expect_tokens();
    secrets.send(web.request(now, &CLIENT_CREDENTIALS).assertion(&assertion)).await.expect(401, "invalid_client");
    let wrong = "a-secret-that-is-wrong-but-maybe-right-elsewhere";
    secrets.add(wrong);
    let backend = installation.client("backend");
    secrets.send(backend.bare_request(&CLIENT_CREDENTIALS).basic("backend", wrong)).await.expect(401, "invalid_client");
    let query = backend.http.post(format!("{}?client_secret={wrong}", backend.token_url())).form(&CLIENT_CREDENTIALS);
    check_error(&answer(query).await.expect(400, "invalid_request"));
}

/// A device, and the person who lets it in.
async fn let_a_device_in(installation: &Installation, secrets: &mut Secrets) {
    let (tv, now) = (installation.client("tv"), SystemClock.now());
    let begun = secrets.send(tv.device_request(now, &[])).await.expect(200, "");
    let (device_code, user_code) = (begun.text("device_code").to_owned(), begun.text("user_code").to_owned());
    secrets.add(&device_code);
    secrets.0.insert(user_code.clone());
    secrets.send(tv.request(now, &poll_request(&device_code))).await.expect(400, "authorization_pending");
    secrets.send(tv.request(now, &poll_request(&device_code))).await.expect(400, "slow_down");
    let mut browser = Browser::new(&installation.issuer);
    let page = browser.open(&format!("/activate?user_code={user_code}")).await;
    let page = secrets.page(page, &browser);
    let away = browser.submit(&page, &[("user_code", &user_code)]).await;
    secrets.add(&browser.cookies["tollgate_errand"]);
    let page = browser.follow(away).await;
    let page = secrets.page(page, &browser);
    let back = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
    secrets.add(&back.code());
    let page = browser.follow(back).await;
    let page = secrets.page(page, &browser);
    let page = browser.submit(&page, &[("decision", "approve")]).await;
    assert!(secrets.page(page, &browser).has("All set"));
    secrets.send(tv.request(now, &poll_request(&device_code))).await.expect_tokens();
}

/// The gate, for the owner of a token and for a thief.
async fn pass_the_gate(installation: &Installation, client: &Client, token: &str, secrets: &mut Secrets) {
    let mut proxy = Proxy::over_socket(&installation.socket()).await;
    let url = "https://api.example.com/orders/7";
    let now = SystemClock.now();
    let (own, stolen) = (
        client.resource_proof("GET", url, token, now),
        installation.client("spa").resource_proof("GET", url, token, now),
    );
    secrets.add(&own);
    secrets.add(&stolen);
    let target = "/orders/7?key=a-query-that-is-nobodys-business";
    secrets.add("a-query-that-is-nobodys-business");
    for (token, proof, status) in [
        (Some(token), Some(own.as_str()), 200),
        (Some(token), Some(&own), 401),
        (Some(token), Some(&stolen), 401),
        (Some(token), None, 401),
        (None, None, 401),
    ] {
        let verdict = proxy.get(target, token, proof).await;
        assert_eq!(verdict.status, status, "{verdict:?}");
        for secret in &secrets.0 {
            let echoed =
                verdict.status != 200 && (verdict.body.contains(secret) || format!("{verdict:?}").contains(secret));
            assert!(!echoed, "{verdict:?}");
        }
    }
}

#[tokio::test]
async fn nothing_secret_is_in_the_log_and_nothing_unknown_in_an_answer() {
    let installation = Installation::new();
    let process = installation.start(&["--log", "trace"]).await;
    let mut secrets = Secrets::default();
    secrets.add(PASSWORD);
    secrets.add(ENCRYPTION_KEY.trim());
    let (spa, backend) = (installation.client("spa"), installation.client("backend"));
    let code = approve(&installation, &mut secrets).await;
    get_tokens(&spa, &code, &mut secrets).await;
    push(&installation, &mut secrets).await;
    authenticate(&installation, &mut secrets).await;
    let_a_device_in(&installation, &mut secrets).await;
    let own = secrets.send(backend.request(SystemClock.now(), &CLIENT_CREDENTIALS)).await.expect_tokens();
    pass_the_gate(&installation, &backend, own.text("access_token"), &mut secrets).await;
    for path in
        ["/.well-known/oauth-authorization-server", "/oauth/jwks", "/nowhere", "/oauth/token", "/oauth/authorize"]
    {
        let answer = answer(spa.http.get(format!("{}{path}", installation.issuer))).await;
        check_headers(&answer.headers);
        assert!(answer.status < 500, "{answer:?}");
    }
    let health = answer(spa.http.get(format!("http://{}/readyz", process.admin))).await;
    check_headers(&health.headers);
    assert_eq!(health.status, 200);

    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    assert!(log.contains("got a token") && log.lines().count() > 50, "the log is incomplete:\n{log}");
    for line in log.lines() {
        for secret in &secrets.0 {
            assert!(!line.contains(secret), "`{secret}` is in the log: {line}");
        }
    }
}
