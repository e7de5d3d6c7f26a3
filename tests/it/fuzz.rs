//! Requests that nobody means to send: good ones with one thing wrong, at every endpoint, and what schemathesis makes of the
//! OpenAPI document. Whatever comes, no answer is a 5xx, and every answer is one that the document has.
//!
//! The cases are the same every time. `make fuzz` tries more of them, others each time (`TOLLGATE_FUZZ_CASES`,
//! `TOLLGATE_FUZZ_SEED`); those that once failed are kept in `fuzz.seeds` and tried first.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use tokio::process::Command;
use tollgate::clock::Clock as _;

use crate::browser::{Browser, Page};
use crate::client::{
    AUTHORIZATION_REQUEST, CLIENT_CREDENTIALS, Client, DEVICE_AUTHORIZATION, INTROSPECT, PAR, REVOKE, TokenCall,
    answer, code_request, http, poll_request, refresh_request,
};
use crate::interop::installed;
use crate::process::Installation;
use crate::world::{SECRET, World};

/// How many cases one world sees.
const CASES: u32 = 400;

/// A request in the making: names and values are encoded already.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    path: String,
    /// Whether the parameters are in a form, and not in the query.
    is_form: bool,
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
    headers: Vec<(&'static str, Vec<u8>)>,
}

impl Request {
    fn new(method: &'static str, path: &str, parameters: &str) -> Self {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        let parameters = parameters.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        let is_form = method == "POST";
        let headers = Vec::from_iter(is_form.then(|| ("content-type", b"application/x-www-form-urlencoded".to_vec())));
        Self { method, path: path.to_owned(), is_form, parameters, headers }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.as_bytes().to_vec()));
        self
    }

    /// A request of a client.
    fn of(path: &str, call: TokenCall<'_>) -> Self {
        let (form, authorization, proofs) = call.into_parts();
        let mut request = Self::new("POST", path, &form);
        request.headers.extend(authorization.map(|value| ("authorization", value.into_bytes())));
        request.headers.extend(proofs.into_iter().map(|proof| ("dpop", proof.into_bytes())));
        request
    }

    /// The form of a page, filled in.
    fn filled_in(browser: &Browser, page: &Page, fields: &[(&str, &str)]) -> Self {
        let (action, hidden) = page.form();
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(hidden).extend_pairs(fields).finish();
        let cookies: Vec<_> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self::new("POST", &action, &form).with("cookie", &cookies.join("; ")).with("origin", "null")
    }

    /// The parameters, as they go over the wire.
    fn encoded(&self) -> Vec<u8> {
        let pair = |(name, value): &(Vec<u8>, Vec<u8>)| [name, b"=".as_slice(), value].concat();
        self.parameters.iter().map(pair).collect::<Vec<_>>().join(&b'&')
    }

    fn build(&self, http: &reqwest::Client, server: &str) -> RequestBuilder {
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method");
        let query = if self.is_form { String::new() } else { format!("?{}", String::from_utf8_lossy(&self.encoded())) };
        let mut request = http.request(method, format!("{server}{}{query}", self.path));
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value).expect("no control characters");
            request = request.header(HeaderName::from_static(name), value);
        }
        if self.is_form { request.body(self.encoded()) } else { request }
    }
}

/// What goes wrong with a good request.
#[derive(Clone, Copy, Debug)]
enum Mistake {
    Nothing,
    Repeated,
    Missing,
    Empty,
    HugeValue,
    HugeName,
    HugeBody,
    ManyParameters,
    NotUtf8,
    RawByte,
    PercentGarbage,
    CutEscape,
    EncodedNul,
    RawNul,
    OtherCaseOfName,
    OtherCaseOfValue,
    Cut,
    Random,
    ValueOfAnother,
    Foreign,
    HeaderMissing,
    HeaderTwice,
    HeaderHuge,
    HeaderNotAscii,
    HeaderCut,
    HeaderRandom,
    OtherMethod,
    InTheOtherPlace,
}

const MISTAKES: [Mistake; 28] = [
    Mistake::Nothing,
    Mistake::Repeated,
    Mistake::Missing,
    Mistake::Empty,
    Mistake::HugeValue,
    Mistake::HugeName,
    Mistake::HugeBody,
    Mistake::ManyParameters,
    Mistake::NotUtf8,
    Mistake::RawByte,
    Mistake::PercentGarbage,
    Mistake::CutEscape,
    Mistake::EncodedNul,
    Mistake::RawNul,
    Mistake::OtherCaseOfName,
    Mistake::OtherCaseOfValue,
    Mistake::Cut,
    Mistake::Random,
    Mistake::ValueOfAnother,
    Mistake::Foreign,
    Mistake::HeaderMissing,
    Mistake::HeaderTwice,
    Mistake::HeaderHuge,
    Mistake::HeaderNotAscii,
    Mistake::HeaderCut,
    Mistake::HeaderRandom,
    Mistake::OtherMethod,
    Mistake::InTheOtherPlace,
];

/// Parameters that some endpoint knows and this one may not.
const FOREIGN: [(&str, &str); 12] = [
    ("request", "eyJhbGciOiJub25lIn0.e30."),
    ("request_uri", "https://evil.example/request"),
    ("authorization_details", "[{\"type\":1}]"),
    ("resource", "https://files.example.com"),
    ("audience", "https://api.example.com"),
    ("scope", "orders:read  orders:read"),
    ("client_secret", SECRET),
    ("client_assertion", "e30.e30.AA"),
    ("response_mode", "query.jwt"),
    ("prompt", "none"),
    ("max_age", "99999999999999999999"),
    ("ui_locales", "de en xx"),
];

fn other_case(bytes: &mut [u8]) {
    for byte in bytes {
        if byte.is_ascii_lowercase() {
            byte.make_ascii_uppercase();
        } else {
            byte.make_ascii_lowercase();
        }
    }
}

/// Makes a mistake, at a parameter or a header that `at` chooses.
fn spoil(request: &mut Request, mistake: Mistake, at: Index, text: &str) {
    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let visible = text.bytes().filter(|byte| (0x20..0x7f).contains(byte)).collect();
    let foreign = || {
        let (name, value) = FOREIGN[at.index(FOREIGN.len())];
        (name.into(), form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>().into())
    };
    if request.parameters.is_empty() {
        request.parameters.push((b"x".to_vec(), encoded.clone().into()));
    }
    if request.headers.is_empty() {
        request.headers.push(("authorization", b"Bearer x".to_vec()));
    }
    let (n, header) = (at.index(request.parameters.len()), at.index(request.headers.len()));
    let is_form = request.is_form;
    let (name, value) = &mut request.parameters[n];
    match mistake {
        Mistake::Nothing => {}
        Mistake::Repeated => {
            let pair = (name.clone(), value.clone());
            request.parameters.push(pair);
        }
        Mistake::Missing => drop(request.parameters.remove(n)),
        Mistake::Empty => value.clear(),
        Mistake::HugeValue => *value = vec![b'a'; 20 * 1024],
        Mistake::HugeName => *name = vec![b'a'; 200],
        Mistake::HugeBody => *value = vec![b'a'; if is_form { 70 * 1024 } else { 31 * 1024 }],
        Mistake::ManyParameters => {
            request.parameters.extend((0..100).map(|n| (format!("p{n}").into_bytes(), b"1".to_vec())));
        }
        Mistake::NotUtf8 => value.extend(b"%ff%c0%80"),
        Mistake::RawByte => value.extend(if is_form { b"\xff\xfe".as_slice() } else { b"%FF" }),
        Mistake::PercentGarbage => value.extend(b"%zz%%4"),
        Mistake::CutEscape => name.extend(b"%"),
        Mistake::EncodedNul => value.extend(b"%00"),
        Mistake::RawNul => value.extend(if is_form { b"\0".as_slice() } else { b"%00" }),
        Mistake::OtherCaseOfName => other_case(name),
        Mistake::OtherCaseOfValue => other_case(value),
        Mistake::Cut => value.truncate(value.len() / 2),
        Mistake::Random => *value = encoded.into_bytes(),
        Mistake::ValueOfAnother => {
            let other = request.parameters[(n + 1) % request.parameters.len()].1.clone();
            request.parameters[n].1 = other;
        }
        Mistake::Foreign => request.parameters.push(foreign()),
        Mistake::HeaderMissing => drop(request.headers.remove(header)),
        Mistake::HeaderTwice => {
            let twice = request.headers[header].clone();
            request.headers.push(twice);
        }
        Mistake::HeaderHuge => request.headers[header].1 = vec![b'a'; 20 * 1024],
        Mistake::HeaderNotAscii => request.headers[header].1.extend(b"\xff\xe9"),
        Mistake::HeaderCut => {
            let value = &mut request.headers[header].1;
            value.truncate(value.len() / 2);
        }
        Mistake::HeaderRandom => request.headers[header].1 = visible,
        Mistake::OtherMethod => request.method = ["GET", "POST", "PUT", "OPTIONS", "DELETE"][at.index(5)],
        Mistake::InTheOtherPlace => request.is_form = !is_form,
    }
}

/// How many good requests there are.
const STORIES: usize = 23;

/// Those that are refused even so: a poll before anybody decided, a token for something else, and what nobody asked for.
const REFUSED: [usize; 5] = [4, 9, 10, 18, 21];

/// Who asks; made once, since keys and connections take their time.
struct Cast {
    http: reqwest::Client,
    spa: Client,
    web: Client,
    tv: Client,
    backend: Client,
}

impl Cast {
    fn of(world: &World) -> Self {
        let http = http();
        let client = |id| world.client(id).connected_by(http.clone());
        Self {
            spa: client("spa"),
            web: client("web"),
            tv: client("tv"),
            backend: client("backend"),
            http: http.clone(),
        }
    }
}

/// A good request; those before it have been answered.
async fn story(world: &World, cast: &Cast, number: usize) -> Request {
    let now = world.clock.now();
    let Cast { http, spa, web, tv, backend } = cast;
    let token = "/oauth/token";
    let authorize = || {
        let request = AUTHORIZATION_REQUEST.iter().chain(&[("client_id", "spa")]);
        form_urlencoded::Serializer::new(String::new()).extend_pairs(request).finish()
    };
    let mut browser = Browser { http: http.clone(), ..Browser::new(&world.issuer) };
    match number {
        0 => Request::of(token, spa.request(now, &code_request(&world.code(spa).await))),
        1 => {
            let tokens = spa.request(now, &code_request(&world.code(spa).await)).send().await.expect_tokens();
            Request::of(token, spa.request(now, &refresh_request(tokens.text("refresh_token"))))
        }
        2 => Request::of(token, web.request(now, &CLIENT_CREDENTIALS).with("scope", "orders:read")),
        3 => Request::of(token, backend.request(now, &CLIENT_CREDENTIALS)),
        4 => {
            let begun = tv.device_request(now, &[]).send().await.expect(200, "");
            Request::of(token, tv.request(now, &poll_request(begun.text("device_code"))))
        }
        5 => Request::of(DEVICE_AUTHORIZATION, tv.device_request(now, &[("scope", "orders:read")])),
        6 => Request::of(PAR, web.push(now, &AUTHORIZATION_REQUEST).proof(&web.proof_at(PAR, now))),
        7 | 8 => {
            let tokens = backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
            let path = if number == 7 { INTROSPECT } else { REVOKE };
            Request::of(path, backend.about(path, tokens.text("access_token"), now))
        }
        9 | 10 => {
            let tokens = spa.request(now, &code_request(&world.code(spa).await)).send().await.expect_tokens();
            let (method, url) = (if number == 9 { "GET" } else { "POST" }, format!("{}/oauth/userinfo", world.issuer));
            let proof = spa.resource_proof(method, &url, tokens.text("access_token"), now);
            let request = Request::new(method, "/oauth/userinfo", "");
            request.with("authorization", &format!("DPoP {}", tokens.text("access_token"))).with("dpop", &proof)
        }
        11 => Request::new("GET", "/oauth/authorize", &authorize()),
        12 => Request::new("POST", "/oauth/authorize", &authorize()),
        13 => {
            let page = browser.open(&format!("/oauth/authorize?{}", authorize())).await;
            Request::filled_in(&browser, &page, &[("username", "ada"), ("password", "ada")])
        }
        14 => {
            let page = browser.open(&format!("/oauth/authorize?{}", authorize())).await;
            let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
            Request::filled_in(&browser, &page, &[("decision", "approve")])
        }
        15 => {
            let begun = tv.device_request(now, &[]).send().await.expect(200, "");
            let page = browser.open("/activate").await;
            Request::filled_in(&browser, &page, &[("user_code", begun.text("user_code"))])
        }
        16 => {
            let begun = tv.device_request(now, &[]).send().await.expect(200, "");
            let page = browser.open("/activate").await;
            let page = browser.submit(&page, &[("user_code", begun.text("user_code"))]).await;
            let page = browser.follow(page).await;
            let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
            let page = browser.follow(page).await;
            Request::filled_in(&browser, &page, &[("decision", "approve")])
        }
        17 => {
            let page = browser.open("/account").await;
            let page = browser.follow(page).await;
            let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
            let page = browser.follow(page).await;
            Request::filled_in(&browser, &page, &[("decision", "sign_out"), ("end_grants", "yes"), ("grant", "x")])
        }
        18 => {
            Request::new("GET", "/logout", "client_id=spa&state=x&post_logout_redirect_uri=https%3A%2F%2Fapp.example")
        }
        19 => {
            let page = browser.open("/logout").await;
            Request::filled_in(&browser, &page, &[])
        }
        20 => Request::new("GET", "/activate", "user_code=BCDF-GHJK").with("accept-language", "de, en;q=0.5"),
        21 => {
            let callbacks = ["/activate/callback", "/account/callback", "/login/callback"];
            let path = callbacks[usize::try_from(now.seconds() / 2 % 3).expect("a small number")];
            Request::new("GET", path, "code=tgc_x&state=x&iss=https%3A%2F%2Fauth.example.com")
        }
        _ => {
            let documents = ["/oauth/jwks", "/openapi.json", "/.well-known/openid-configuration"];
            let path = documents[usize::try_from(now.seconds() / 2 % 3).expect("a small number")];
            Request::new("GET", path, "").with("if-none-match", "\"x\"").with("accept", "application/json")
        }
    }
}

/// One world, and what comes to it.
fn fuzz(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::start());
    let cast = Cast::of(&world);
    let seeds = Box::new(FileFailurePersistence::Direct("tests/it/fuzz.seeds"));
    let config = ProptestConfig {
        cases: CASES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(seeds),
        ..ProptestConfig::default()
    };
    let mistakes = prop::sample::select(&MISTAKES[..]);
    proptest!(config, |(number in 0..STORIES, mistake in mistakes, at in any::<Index>(), text in ".{0,40}")| {
        // Limits are per second and per minute, and nobody waits here.
        world.clock.advance(Duration::from_secs(2));
        let answer = runtime.block_on(async {
            let mut request = story(&world, &cast, number).await;
            spoil(&mut request, mistake, at, &text);
            answer(request.build(&cast.http, &world.issuer)).await
        });
        let is_good = matches!(mistake, Mistake::Nothing) && !REFUSED.contains(&number);
        prop_assert!(answer.status < if is_good { 400 } else { 500 }, "{answer:?}");
    });
}

#[test]
fn a_good_request_with_one_mistake_gets_an_answer_that_is_described() {
    #[expect(clippy::disallowed_methods, reason = "`make fuzz` says how long")]
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let worlds = number("TOLLGATE_FUZZ_CASES").map_or(1, |cases| cases.div_ceil(CASES.into()));
    let seed = number("TOLLGATE_FUZZ_SEED").unwrap_or(1);
    for seed in seed..seed + worlds {
        println!("TOLLGATE_FUZZ_SEED={seed}");
        fuzz(seed);
    }
}

/// How long schemathesis may take.
const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn schemathesis_gets_answers_that_are_described_only() {
    let installation = Installation::new();
    // What is off by default, so that every path that is described is there.
    let registration = "authorization_server.registration={\"open\":true,\"scope\":\"orders:read\"}";
    let process = installation.start(&["--set", registration, "--set", "authorization_server.status_lists={}"]).await;
    let document = format!("{}/openapi.json", installation.issuer);
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    ];
    for (server, whose) in
        [(installation.issuer.clone(), "--exclude-tag"), (format!("http://{}", process.admin), "--include-tag")]
    {
        let mut command = Command::new(installed(".tools/openapi/bin/schemathesis"));
        command
            .args(["run", &document, "--url", &server, whose, "operators", "--auth", &format!("backend:{SECRET}")])
            .args(["--phases", "examples,coverage,fuzzing", "--checks", &checks.join(","), "--max-redirects", "0"])
            .args([
                "--generation-deterministic",
                "--max-examples",
                "8",
                "--no-shrink",
                "--no-color",
                "--warnings",
                "off",
            ])
            .current_dir(installation.folder.path())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("an end").expect("a program");
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}{complained}");
    }
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    assert!(!log.contains("panicked") && !log.contains("defect"), "{log}");
}
