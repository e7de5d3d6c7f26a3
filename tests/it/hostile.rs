//! Hostile requests, byte by byte through the real Envoy, to a service that tells what has reached it: whatever passes must
//! be what the gate has decided about, however a service may read it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::envoy::{Envoy, exchange};
use crate::frames::{self, Came};
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

/// Where they stand in targets that come with a token and a proof for just that target.
const SIGNED_PLACES: [&str; 4] =
    ["/orders/{}/admin/x", "/orders{}admin/x", "/orders/a/{}/{}/admin/x", "/public/{}/orders/7"];

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

/// A request that is odd in one way.
struct Hostile {
    method: &'static str,
    target: String,
    line: &'static str,
    /// The target that its proof is for, if it comes with credentials.
    signed: Option<String>,
}

/// How it is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Over {
    Http1,
    Http2,
}

impl Hostile {
    fn anonymous(method: &'static str, target: &str) -> Self {
        Self { method, target: target.to_owned(), line: "", signed: None }
    }

    /// As it goes over the wire in HTTP/1.1.
    fn wire(&self, credentials: &[(&str, String)]) -> Vec<u8> {
        let Self { method, target, line, .. } = self;
        let mut wire = format!("{method} {target} HTTP/1.1\r\nhost: api.example.com\r\n");
        wire.extend(credentials.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        if !line.is_empty() {
            wire.push_str(line);
            wire.push_str("\r\n");
        }
        wire.push_str("\r\n");
        latin1(&wire)
    }

    /// The fields of it in HTTP/2; a name and a value go as they are, and a line that says more becomes several fields.
    fn fields(&self, credentials: &[(&'static str, String)]) -> Vec<(&str, Vec<u8>)> {
        let pseudo = [
            (":method", latin1(self.method)),
            (":scheme", b"http".to_vec()),
            (":authority", b"api.example.com".to_vec()),
            (":path", latin1(&self.target)),
        ];
        let credentials = credentials.iter().map(|(name, value)| (*name, latin1(value)));
        let lines = self.line.split("\r\n").filter_map(|line| line.split_once(':'));
        let lines = lines.map(|(name, value)| (name, latin1(value.trim_start())));
        pseudo.into_iter().chain(credentials).chain(lines).collect()
    }

    /// Sends it; whether it was answered with 200. Envoy may just close the connection.
    async fn send(&self, over: Over, port: u16, credentials: &[(&'static str, String)]) -> bool {
        match over {
            Over::Http1 => exchange(port, &self.wire(credentials)).await.is_ok_and(|reply| reply.status == 200),
            Over::Http2 => frames::send(port, &self.fields(credentials)).await == Came::Status(Some(200)),
        }
    }
}

/// In Latin-1, so that one character is one octet, be it no UTF-8.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
}

/// All of them.
fn corpus() -> Vec<Hostile> {
    let in_places = |places: &'static [&'static str]| {
        WAYS.iter().flat_map(move |way| places.iter().map(|place| place.replace("{}", way)))
    };
    let targets = in_places(&PLACES).chain(TARGETS.iter().map(|target| (*target).to_owned()));
    let targets = targets.map(|target| Hostile::anonymous("GET", &target));
    let methods = METHODS.iter().flat_map(|method| ["/public/a", "/admin/x"].map(|to| Hostile::anonymous(method, to)));
    let lines = LINES.iter().flat_map(|line| {
        [("/public/a", None), ("/orders/7", Some("/orders/7".to_owned()))].map(|(target, signed)| Hostile {
            line,
            signed,
            ..Hostile::anonymous("GET", target)
        })
    });
    // Signed as the client has it, and as Envoy or a service may come to have it.
    let signed = in_places(&SIGNED_PLACES).chain(TARGETS.iter().map(|target| target.replace("public", "orders")));
    let signed = signed.flat_map(|target| {
        [target.clone(), "/orders/7".to_owned()]
            .map(|signed| Hostile { signed: Some(signed), ..Hostile::anonymous("GET", &target) })
    });
    targets.chain(methods).chain(lines).chain(signed).collect()
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

/// How many of the corpus have reached the service, without credentials and with them.
#[derive(Default, Debug)]
struct Reached {
    anonymous: usize,
    signed: usize,
}

/// Sends the corpus through this Envoy; tells how many requests reached the service.
async fn send_all(story: &Story, envoy: &Envoy, upstream: &Upstream, over: Over) -> Reached {
    let (mut proxy, mut reached) = (story.proxy.clone(), Reached::default());
    let token = story.token(&json!({}));
    for hostile in corpus() {
        let credentials = hostile.signed.as_ref().map(|target| story.credentials(hostile.method, path(target), &token));
        let credentials = credentials.map(Vec::from).unwrap_or_default();
        let shown = format!("{over:?}: {}", String::from_utf8_lossy(&hostile.wire(&credentials)));
        let ok = hostile.send(over, envoy.port, &credentials).await;
        let arrived = upstream.take();
        assert!(arrived.len() <= 1, "one request became several: {shown}");
        let Some(head) = arrived.first() else {
            assert!(!ok, "nobody behind the gate has answered this, and yet: {shown}");
            continue;
        };
        let mut request_line = head.split("\r\n").next().unwrap_or_default().split(' ');
        let (method, target) = (request_line.next().unwrap_or_default(), request_line.next().unwrap_or_default());
        let is_in = |reading: &str, folder: &str| reading == folder || reading.starts_with(&format!("{folder}/"));
        // Whoever has shown a token may come out in either folder; the others in one.
        let decoded = percent_encoding::percent_decode_str(path(target)).decode_utf8_lossy();
        let identified = hostile.signed.is_some() && !is_in(&decoded, "/public");
        let folder = if identified { "/orders" } else { "/public" };
        if hostile.signed.is_some() {
            reached.signed += 1;
        } else {
            reached.anonymous += 1;
        }
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
        assert_eq!(identities, expected.into_iter().filter(|_| identified).collect(), "{shown}");
        assert!(fields(head, "authorization").is_empty() && fields(head, "dpop").is_empty(), "{head}");
        // The same decision about what has arrived.
        let hosts = fields(head, "host");
        let [host] = hosts[..] else { panic!("{head}") };
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let lines = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let again = if identified { story.credentials(method, path(target), &token).to_vec() } else { Vec::new() };
        let lines: Vec<_> = lines.chain(again.into_iter().map(|(name, value)| (name.to_owned(), value))).collect();
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let verdict = proxy.send(method, host, target, &lines).await;
        assert_eq!(verdict.reason(), "allowed", "{head}\nwas sent as {shown}");
    }
    reached
}

/// A target without its query.
fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// Sends everything in both versions of HTTP. Some requests are harmless, or so once Envoy has cleaned them up; else this would
/// show nothing.
async fn send_all_over_both(story: &Story, envoy: &Envoy, upstream: &Upstream) {
    let sent = corpus();
    let signed = sent.iter().filter(|hostile| hostile.signed.is_some()).count();
    assert!(sent.len() - signed >= 300 && signed >= 500, "{signed} of {}", sent.len());
    for over in [Over::Http1, Over::Http2] {
        let reached = send_all(story, envoy, upstream, over).await;
        println!("{over:?}: {reached:?} of {}", sent.len());
        assert!((20..(sent.len() - signed) / 2).contains(&reached.anonymous), "{over:?}: {reached:?}");
        assert!((20..signed / 2).contains(&reached.signed), "{over:?}: {reached:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_the_service_is_what_the_gate_has_decided_about() {
    let story = Story::start(RULES).await;
    let upstream = Upstream::start().await;
    let recommended = Envoy::recommended(&story.socket, upstream.port).await;
    send_all_over_both(&story, &recommended, &upstream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_help_of_envoy_neither() {
    let story = Story::start(RULES).await;
    let upstream = Upstream::start().await;
    let careless = Envoy::careless(&story.socket, upstream.port).await;
    send_all_over_both(&story, &careless, &upstream).await;
}
