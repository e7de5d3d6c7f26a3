//! Hostile requests, byte by byte through the real Envoy, to a service that tells what has reached it: whatever passes must
//! be what the gate has decided about, however a service may read it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::envoy::{Envoy, exchange};
use crate::gate_rules::Story;
use crate::upstream::{Upstream, fields};

const RULES: &str = r#"
    rules:
      - { path: "/public/**", allow: anyone }
      - { path: "/orders/**", methods: [GET], scope: "orders:read" }
      - { path: "/admin/**", scope: admin }
"#;

/// Ways out of one folder and into another, for whoever decodes, merges, cuts or resolves more than was judged.
const WAYS: [&str; 62] = [
    "..",
    ".",
    "%2e%2e",
    "%2E%2E",
    ".%2e",
    "%2e.",
    "..;",
    "..;x=1",
    ".;",
    ";",
    ";x",
    "%2e%2e;",
    "%2e%2e%3b",
    "..%3b",
    "..%3bx=1",
    ";/..",
    "x;/..",
    "%3b/..",
    "..%2f",
    "%2f..",
    "..%2F..%2F",
    "%2f",
    "%2F",
    "%5c",
    "%5C",
    "..%5c",
    "\\",
    "..\\",
    "\\..",
    "\\..\\",
    "..%255c",
    "%252e%252e",
    "..%252f",
    "%25%32%65%25%32%65",
    "%c0%ae%c0%ae",
    "%c0%af",
    "..%c0%af",
    "%e0%80%ae%e0%80%ae",
    "%u002e%u002e",
    "..%00",
    "%00",
    "%00/..",
    "..%0d%0a",
    "%0a",
    "..%09",
    "%20..",
    "..%20",
    "...",
    "....",
    "/",
    "//",
    "/./",
    "/../",
    "//..",
    "..//",
    "..;/..;",
    "*",
    "%2a",
    "~",
    "..?",
    "..#",
    "%23/..",
];

/// Where each of these ways stands.
const PLACES: [&str; 4] = ["/public/{}/admin/x", "/public{}admin/x", "/{}/admin/x", "/public/a/{}/{}/admin/x"];

/// Whole targets that are odd in another way.
const TARGETS: [&str; 34] = [
    "/Public/a",
    "/PUBLIC/../admin/x",
    "/public/a?/../../admin",
    "/public/a?x=/admin/x",
    "/public/a%3f/../admin",
    "/public/a%23/../admin/x",
    "/public/%zz",
    "/public/%",
    "/public/%4",
    "/public/a%7c",
    "/public/a|b",
    "/public/<>",
    "/public/\"a\"",
    "/public/{a}",
    "/public/^`",
    "/public/a[b]",
    "/public/caf%c3%a9",
    "/public/caf%C3%A9",
    "/public/%61dmin",
    "/%70ublic/a",
    "/%61dmin/x",
    "/adm%69n/x",
    "/public/a b",
    "/public/a\tb",
    "/public/\u{e9}",
    "public/a",
    "*",
    "",
    "http://api.example.com/admin/x",
    "http://api.example.com/public/../admin/x",
    "http://evil.example.com/public/a",
    "http://api.example.com@evil/public/a",
    "https://api.example.com/public/a",
    "//api.example.com/admin/x",
];

/// Methods, some of which are none.
const METHODS: [&str; 14] = [
    "GET", "get", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "G\u{c9}T",
    "GET/", "X-GET",
];

/// Lines that somebody adds who wants to be taken for somebody else, or his request for another.
const LINES: [&str; 47] = [
    "x-auth-subject: evil",
    "X-Auth-Subject: evil",
    "X-AUTH-SUBJECT: evil",
    "x_auth_subject: evil",
    "X_Auth_Subject: evil",
    "x-auth_subject: evil",
    "x_auth-subject: evil",
    "x-auth-subject : evil",
    "x-auth-subject:evil",
    "x-auth-subject:\tevil",
    "x-auth-subject: a\r\nx-auth-subject: evil",
    "x-auth-subject:\r\n evil",
    "x-auth-scope: admin evil",
    "x-auth-client: evil",
    "x-auth-issuer: evil",
    "x_auth_issuer: evil",
    "X-Auth_Issuer: evil",
    "x-auth-subject: \u{e9}evil",
    "x-auth-subject: evil\u{0}",
    "x-auth-subject\u{0}: evil",
    "x-auth-subject: ",
    "connection: x-auth-subject",
    "connection: close, x-auth-subject",
    "connection: authorization, dpop",
    "connection: keep-alive\r\nx-auth-subject: evil",
    "connection: upgrade, x-auth-subject\r\nupgrade: websocket",
    "connection: upgrade\r\nupgrade: h2c",
    "host: api.example.com",
    "host: evil.example.com",
    "x-forwarded-host: evil.example.com",
    "x-forwarded-proto: https",
    "x-forwarded-prefix: /admin",
    "x-original-url: /admin/x",
    "x-rewrite-url: /admin/x",
    "x-envoy-original-path: /admin/x",
    "x-envoy-original-host: evil",
    "forwarded: host=evil.example.com",
    "x-http-method-override: DELETE",
    "authorization: Bearer evil",
    "authorization: DPoP evil",
    "authorization: Basic ZXZpbDo=",
    "authorization: Bearer a, Bearer b",
    "dpop: evil",
    "dpop: evil\r\ndpop: evil2",
    "te: trailers",
    "content-length: 0",
    "cookie: session=evil",
];

/// A request as it goes over the wire, and the method, target and further lines that it is made of.
struct Hostile {
    method: &'static str,
    target: String,
    line: &'static str,
}

impl Hostile {
    fn wire(&self, credentials: &[(&str, String)]) -> Vec<u8> {
        let Self { method, target, line } = self;
        let mut wire = format!("{method} {target} HTTP/1.1\r\nhost: api.example.com\r\n");
        wire.extend(credentials.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        if !line.is_empty() {
            wire.push_str(line);
            wire.push_str("\r\n");
        }
        wire.push_str("\r\n");
        // Latin-1, so that one character is one octet, be it no UTF-8.
        wire.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
    }
}

/// All of them.
fn corpus() -> Vec<Hostile> {
    let ways = WAYS.iter().flat_map(|way| PLACES.iter().map(|place| place.replace("{}", way)));
    let targets = ways.chain(TARGETS.iter().map(|target| (*target).to_owned()));
    let targets = targets.map(|target| Hostile { method: "GET", target, line: "" });
    let methods = METHODS.iter().flat_map(|method| {
        ["/public/a", "/admin/x"].map(|target| Hostile { method, target: target.to_owned(), line: "" })
    });
    let lines = LINES.iter().flat_map(|line| {
        ["/public/a", "/orders/7"].map(|target| Hostile { method: "GET", target: target.to_owned(), line })
    });
    targets.chain(methods).chain(lines).collect()
}

/// What services may make of a path: they decode it once or twice, cut parameters, take backslashes for slashes, merge
/// slashes, and resolve dots after any of that.
fn readings(path: &str) -> BTreeSet<String> {
    let steps: [fn(&str) -> String; 4] = [
        |path| percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned(),
        |path| path.replace('\\', "/"),
        |path| {
            path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
        },
        |path| {
            let mut kept: Vec<&str> = Vec::new();
            for segment in path.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
                if segment == ".." {
                    kept.pop();
                } else {
                    kept.push(segment);
                }
            }
            format!("/{}", kept.join("/"))
        },
    ];
    let mut found = BTreeSet::from([path.split(['?', '#']).next().unwrap_or_default().to_owned()]);
    for _ in 0..4 {
        let next: Vec<_> = found.iter().flat_map(|path| steps.map(|step| step(path))).collect();
        found.extend(next);
    }
    found
}

/// Sends the corpus through this Envoy; tells how many requests reached the service.
async fn send_all(story: &Story, envoy: &Envoy, upstream: &Upstream) -> usize {
    let (mut proxy, mut reached) = (story.proxy.clone(), 0);
    let token = story.token(&json!({}));
    for hostile in corpus() {
        let signed = hostile.target == "/orders/7";
        let proof = || story.credentials(hostile.method, "/orders/7", &token).to_vec();
        let credentials = if signed { proof() } else { Vec::new() };
        let wire = hostile.wire(&credentials);
        let shown = String::from_utf8_lossy(&wire).into_owned();
        // Envoy may just close the connection.
        let status = exchange(envoy.port, &wire).await.map_or(0, |reply| reply.status);
        let arrived = upstream.take();
        assert!(arrived.len() <= 1, "one request became several: {shown}");
        let Some(head) = arrived.first() else {
            assert!(status != 200, "nobody behind the gate has answered this, and yet: {shown}");
            continue;
        };
        reached += 1;
        let mut request_line = head.split("\r\n").next().unwrap_or_default().split(' ');
        let (method, target) = (request_line.next().unwrap_or_default(), request_line.next().unwrap_or_default());
        let folder = if signed { "/orders" } else { "/public" };
        let is_in = |reading: &str, folder: &str| reading == folder || reading.starts_with(&format!("{folder}/"));
        for reading in readings(target) {
            // Where escapes are left as they are, the name of the folder may be one that there is not.
            let nowhere =
                reading.contains('%') && !["/admin", "/orders", "/public"].iter().any(|one| is_in(&reading, one));
            assert!(nowhere || is_in(&reading, folder), "{target} may be read as {reading}: {shown}");
        }
        // Who it is said to be, is who has shown a token; in no other spelling.
        let identities =
            head.split("\r\n").filter(|line| line.to_ascii_lowercase().replace('_', "-").starts_with("x-auth-"));
        let identities: BTreeSet<_> = identities.collect();
        let expected = ["x-auth-client: app", "x-auth-scope: orders:read", "x-auth-subject: ada"];
        assert_eq!(identities, expected.into_iter().filter(|_| signed).collect(), "{shown}");
        assert!(fields(head, "authorization").is_empty() && fields(head, "dpop").is_empty(), "{head}");
        // The same decision about what has arrived.
        let hosts = fields(head, "host");
        let [host] = hosts[..] else { panic!("{head}") };
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let lines = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let again = if signed { proof() } else { Vec::new() };
        let lines: Vec<_> = lines.chain(again.into_iter().map(|(name, value)| (name.to_owned(), value))).collect();
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let verdict = proxy.send(method, host, target, &lines).await;
        assert_eq!(verdict.reason(), "allowed", "{head}\nwas sent as {shown}");
    }
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_the_service_is_what_the_gate_has_decided_about() {
    assert!(corpus().len() >= 300, "{}", corpus().len());
    let story = Story::start(RULES).await;
    let upstream = Upstream::start().await;
    let recommended = Envoy::recommended(&story.socket, upstream.port).await;
    let reached = send_all(&story, &recommended, &upstream).await;
    // Some are harmless, or so once Envoy has cleaned them up; else this test would show nothing.
    assert!((20..corpus().len() / 2).contains(&reached), "{reached} of {}", corpus().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_help_of_envoy_neither() {
    let story = Story::start(RULES).await;
    let upstream = Upstream::start().await;
    let careless = Envoy::careless(&story.socket, upstream.port).await;
    let reached = send_all(&story, &careless, &upstream).await;
    assert!((20..corpus().len() / 2).contains(&reached), "{reached} of {}", corpus().len());
}
