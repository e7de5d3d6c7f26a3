//! The OpenAPI document (`docs/openapi.yaml`) against the program: the same endpoints, methods, parameters and error codes,
//! and every answer that any test gets from an endpoint is one that the document has.
//!
//! Whoever adds an endpoint, a parameter or an error code is told here what to write into the document.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;
use tollgate::dpop::ProofFault;
use tollgate::oauth::Refusal;

use crate::client::{answer, http};
use crate::guides::pages_and_beside;
use crate::interop::{installed, repository};
use crate::machine::Machine;
use crate::process::run;
use crate::world::World;
use crate::{registration, status};

/// Where the document is.
const PLACE: &str = "docs/openapi.yaml";

/// The document, as it holds at an issuer that nobody is.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| tollgate::web::openapi("https://auth.example.com"));

/// Arms of the router that match more than one path, and what the document calls them.
const PATTERNS: [(&str, &str); 3] = [
    ("path", "/logo/{file}"),
    ("path if self.tells_status() && path.starts_with(STATUS_LIST)", "/oauth/status/{list}"),
    ("path if self.registers() && path.starts_with(REGISTERED)", "/oauth/register/{client_id}"),
];

/// What the router answers before it looks at its table: metadata may be before the path of the issuer, or behind it; and keys,
/// which the gate may answer for as well.
const BEFORE_THE_TABLE: [&str; 3] =
    ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/oauth/jwks"];

/// Error codes of the wire that are no refusal: too many requests, an outage, and a defect.
const NOT_REFUSALS: [&str; 3] = ["slow_down", "temporarily_unavailable", "server_error"];

/// The operations whose parameters a source file reads.
const READERS: [(&str, &[&str]); 21] = [
    (
        "oauth/client_authentication.rs",
        &["token", "pushedAuthorizationRequest", "deviceAuthorization", "introspect", "revoke"],
    ),
    ("oauth/token.rs", &["token"]),
    ("oauth/grant/", &["token"]),
    ("oauth/params.rs", &["token", "pushedAuthorizationRequest", "deviceAuthorization", "authorize", "postAuthorize"]),
    (
        "oauth/authorization_details.rs",
        &["token", "pushedAuthorizationRequest", "deviceAuthorization", "authorize", "postAuthorize"],
    ),
    ("oauth/par.rs", &["pushedAuthorizationRequest"]),
    ("oauth/device.rs", &["deviceAuthorization"]),
    ("oauth/introspect.rs", &["introspect"]),
    ("oauth/revoke.rs", &["revoke"]),
    ("oauth/authorize.rs", &["authorize", "postAuthorize", "pushedAuthorizationRequest", "consent"]),
    (
        "oauth/authorize/request.rs",
        &["authorize", "postAuthorize", "pushedAuthorizationRequest", "deviceAuthorization"],
    ),
    ("oauth/authorize/claims.rs", &["authorize", "postAuthorize", "pushedAuthorizationRequest"]),
    ("oauth/authorize/response.rs", &["authorize", "postAuthorize", "pushedAuthorizationRequest"]),
    ("oauth/authorize/external.rs", &["authorize", "postAuthorize", "pushedAuthorizationRequest"]),
    ("oauth/authorize/submission.rs", &["authorize", "postAuthorize", "pushedAuthorizationRequest"]),
    ("oauth/authorize/destination.rs", &["authorize", "postAuthorize", "pushedAuthorizationRequest"]),
    ("oauth/authorize/form.rs", PAGE_FORMS),
    ("oauth/authorize/transaction.rs", PAGE_FORMS),
    ("oauth/authorize/sign_in.rs", &["login", "loginCallback"]),
    ("oauth/first_party.rs", &["activateCallback", "accountCallback"]),
    ("oauth/activation.rs", &["activate", "postActivate"]),
];

/// The same, for pages that have a file of their own.
const PAGE_READERS: [(&str, &[&str]); 2] =
    [("oauth/account.rs", &["postAccount"]), ("oauth/sign_out.rs", &["logout", "postLogout"])];

/// The forms of our own pages.
const PAGE_FORMS: &[&str] = &["login", "consent", "postActivate", "postAccount", "postLogout"];

/// Parameters that the doors read, that nobody needs, or that callbacks get whoever reads them.
const READ_ELSEWHERE: [&str; 7] =
    ["ui_locales", "token_type_hint", "error", "redirect_uri", "access_token", "verbose", "exclude"];

/// Fails unless the document has an answer like this one. Endpoints that are none of ours pass.
#[track_caller]
pub fn check_answer(method: &Method, path: &str, status: u16, content_type: Option<&str>, body: &str) {
    let path = path.split('?').next().unwrap_or_default();
    if status == 404 {
        return; // with other settings it is there
    }
    let Some(item) = DOCUMENT["paths"].get(path) else { return };
    let name = method.as_str().to_ascii_lowercase();
    let operation = match name.as_str() {
        "head" => item.get("head").or_else(|| item.get("get")),
        name => item.get(name),
    };
    let Some(operation) = operation else {
        let expected = [405, 400, 408, 413].contains(&status) || (name == "options" && status == 204);
        assert!(expected, "{method} {path} answers {status}: add the operation to {PLACE}");
        return;
    };
    if status == 405 && name == "head" {
        return;
    }
    let what = format!("{method} {path} answers {status}");
    let response = operation["responses"].get(status.to_string());
    let response = resolved(response.unwrap_or_else(|| panic!("{what}, {body}: add the status to {PLACE}")));
    let Some(content) = response.get("content") else {
        assert!(body.is_empty(), "{what} with a body: add its `content` to {PLACE}");
        return;
    };
    if name == "head" {
        return;
    }
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    let media = content.get(essence).unwrap_or_else(|| panic!("{what} with `{essence}`: add the type to {PLACE}"));
    if essence == "application/json" {
        let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {error}"));
        check_shape(&media["schema"], &body, &what);
    }
}

/// Fails if a value is of another type than a schema says, lacks a member, has an unknown one or is not among the listed
/// ones. Patterns and numbers are judged by validators of others.
#[track_caller]
fn check_shape(schema: &Value, value: &Value, what: &str) {
    let schema = resolved(schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check_shape(part, value, what);
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => true,
    };
    assert!(fits, "{what}: {value} is not as {PLACE} says: {schema}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{what} with {value}: add it to the `enum` in {PLACE}: {schema}");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        assert!(value.get(name).is_some(), "{what} without `{name}`, which {PLACE} says is required: {value}");
    }
    for item in value.as_array().into_iter().flatten() {
        check_shape(&schema["items"], item, what);
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => check_shape(schema, member, what),
            None => assert!(schema["additionalProperties"] != false, "{what} with `{name}`: add it to {PLACE}"),
        }
    }
}

/// What a reference leads to.
fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let target = reference.strip_prefix('#').and_then(|pointer| DOCUMENT.pointer(pointer));
            resolved(target.unwrap_or_else(|| panic!("{reference} leads nowhere")))
        }
        None => value,
    }
}

/// Every operation of the document with its path and method.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths").iter();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object().expect("a path item").iter().filter(|(name, _)| *name != "servers");
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn source(path: &str) -> String {
    fs::read_to_string(repository("src").join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Source files in a folder of `src`, by their path there, without their unit tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(repository("src").join(folder)).expect("a folder").flatten() {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(sources(&path));
        } else {
            let text = source(&path);
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            found.push((path, code.to_owned()));
        }
    }
    found
}

/// The value of a constant that is a string.
fn constant(name: &str, within: &str) -> Option<String> {
    let declared = format!("const {name}: &str = \"");
    Some(within.split_once(&declared)?.1.split('"').next()?.to_owned())
}

/// The paths in the table of the router.
fn routed() -> BTreeSet<String> {
    let everything: String = [sources("web"), sources("oauth")].concat().into_iter().map(|(_, text)| text).collect();
    let router = source("web/router.rs");
    let table = router.split_once("match path {").expect("the table of the router").1;
    let table = table.split("\n        }\n").next().expect("the table ends");
    let arm =
        |line: &&str| line.starts_with("            ") && !line.starts_with("             ") && line.contains("=>");
    let mut found = BTreeSet::new();
    for line in table.lines().filter(arm) {
        let pattern = line.split("=>").next().unwrap_or_default().trim();
        if let Some((_, path)) = PATTERNS.iter().find(|(known, _)| *known == pattern) {
            found.insert((*path).to_owned());
            continue;
        }
        for name in pattern.split(" if ").next().unwrap_or_default().split(" | ") {
            let path = constant(name, &everything);
            let path = path.unwrap_or_else(|| {
                panic!("src/web/router.rs matches `{pattern}`: say in PATTERNS, in tests/it/openapi.rs, how {PLACE} calls it")
            });
            found.insert(path);
        }
    }
    assert!(found.len() > 10, "the table of the router was not understood: {found:?}");
    found
}

#[test]
fn the_document_has_every_endpoint_and_no_other() {
    let admin = source("web/admin.rs");
    let admin = admin.split('"').filter(|text| text.starts_with('/') && !text.contains(['\n', ' ', '`']));
    let before = BEFORE_THE_TABLE.map(str::to_owned);
    let routed: BTreeSet<_> = routed().into_iter().chain(before).chain(admin.map(str::to_owned)).collect();
    let described: BTreeSet<_> = operations().map(|(path, ..)| path.to_owned()).collect();
    let missing: Vec<_> = routed.difference(&described).collect();
    let stale: Vec<_> = described.difference(&routed).collect();
    assert!(missing.is_empty(), "{PLACE}: add a path item for {missing:?}, with every method, parameter and answer");
    assert!(stale.is_empty(), "{PLACE}: take out {stale:?}, which nothing answers");
}

#[tokio::test]
async fn every_endpoint_takes_the_described_methods_and_no_other() {
    let world = World::start_with(|settings| {
        registration::with_token(settings);
        status::with_lists(settings);
    })
    .await;
    let mut methods = BTreeMap::<_, BTreeSet<_>>::new();
    for (path, method, _) in operations().filter(|(path, ..)| !path.contains('{')) {
        methods.entry(path).or_default().insert(method.to_ascii_uppercase());
    }
    for (path, described) in methods {
        let is_for_operators = DOCUMENT["paths"][path].get("servers").is_some();
        let server = if is_for_operators { format!("http://{}", world.addresses.admin) } else { world.issuer.clone() };
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let request = http().request(method.parse().expect("a method"), format!("{server}{path}"));
            let response = request.send().await.expect("an answer");
            let status = response.status().as_u16();
            assert_ne!(status, 404, "{path}");
            let is_described = described.contains(method);
            assert_eq!(status != 405, is_described, "{method} {path} answers {status}, {PLACE} has {described:?}");
            if status == 405 {
                let allow = response.headers()["allow"].to_str().expect("visible ASCII").split(", ");
                let allow: BTreeSet<_> = allow.filter(|name| *name != "HEAD").map(str::to_owned).collect();
                assert_eq!(allow, described, "{path}");
            }
        }
    }
}

#[test]
fn every_error_code_is_described() {
    let codes = Refusal::ALL.iter().copied().chain(ProofFault::ALL.map(Refusal::Proof));
    let codes: BTreeSet<_> = codes.map(|refusal| refusal.code().name()).collect();
    let mut described = BTreeSet::new();
    collect_errors(&DOCUMENT, &mut described);
    let missing: Vec<_> = codes.iter().filter(|code| !described.contains(**code)).collect();
    assert!(missing.is_empty(), "{PLACE}: add {missing:?} to the `enum` of the answers, or redirects, that have them");
    let known = |code: &&&str| codes.contains(**code) || NOT_REFUSALS.contains(*code);
    let stale: Vec<_> = described.iter().filter(|code| !known(code)).collect();
    assert!(stale.is_empty(), "{PLACE}: take out {stale:?}, which no rule has");
}

/// The listed values of every member `error`.
fn collect_errors(value: &'static Value, found: &mut BTreeSet<&'static str>) {
    let error = resolved(&value["properties"]["error"]);
    found.extend(error["enum"].as_array().into_iter().flatten().filter_map(Value::as_str));
    match value {
        Value::Object(members) => members.values().for_each(|member| collect_errors(member, found)),
        Value::Array(items) => items.iter().for_each(|item| collect_errors(item, found)),
        _ => {}
    }
}

/// The names of the parameters of an operation, in the query or in the form.
fn parameters(operation: &'static Value) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten().map(resolved) {
        let schema = resolved(&parameter["schema"]);
        match (parameter["in"].as_str(), schema["type"].as_str()) {
            (Some("query"), Some("object")) => collect_members(schema, &mut found),
            (Some("query"), _) => found.extend(parameter["name"].as_str()),
            _ => {}
        }
    }
    let form = &operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
    collect_members(resolved(form), &mut found);
    found
}

fn collect_members(schema: &'static Value, found: &mut BTreeSet<&'static str>) {
    found.extend(schema["properties"].as_object().into_iter().flat_map(|members| members.keys().map(String::as_str)));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect_members(resolved(part), found);
    }
}

/// The names of the parameters that code asks for.
fn asked_for(code: &str) -> BTreeSet<String> {
    let code: String = code.lines().map(str::trim).collect();
    let mut found = BTreeSet::new();
    for receiver in ["parameters", "form", "query", "response", "sent"] {
        for method in ["get", "all"] {
            for rest in code.split(&format!("{receiver}.{method}(")).skip(1) {
                let argument = rest.split(')').next().unwrap_or_default();
                found.extend(match argument.strip_prefix('"') {
                    Some(text) => Some(text.trim_end_matches('"').to_owned()),
                    None => constant(argument, &code),
                });
            }
        }
    }
    // `oauth/params.rs` asks itself, and hints are read by closures.
    for asks in ["self.all(\"", "hint(\""] {
        found.extend(code.split(asks).skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())));
    }
    found
}

#[test]
fn every_parameter_is_described() {
    let by_id: BTreeMap<_, _> =
        operations().map(|(_, _, operation)| (operation["operationId"].as_str().expect("an id"), operation)).collect();
    let readers: Vec<_> = READERS.iter().chain(&PAGE_READERS).collect();
    let mut read: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, code) in sources("oauth") {
        let names = asked_for(&code);
        if names.is_empty() {
            continue;
        }
        let reader = readers.iter().find(|(prefix, _)| path.starts_with(prefix));
        let (_, ids) = reader.unwrap_or_else(|| {
            panic!("src/{path} reads {names:?}: say in READERS, in tests/it/openapi.rs, for which operations")
        });
        for name in &names {
            let described = ids.iter().any(|id| parameters(by_id[id]).contains(name.as_str()));
            assert!(described, "src/{path} reads `{name}`: add it to one of {ids:?} in {PLACE}");
        }
        for id in *ids {
            read.entry(id).or_default().extend(names.iter().cloned());
        }
    }
    for (id, operation) in by_id {
        let known =
            |name: &&str| read.get(id).is_some_and(|read| read.contains(*name)) || READ_ELSEWHERE.contains(name);
        let stale: Vec<_> = parameters(operation).into_iter().filter(|name| !known(name)).collect();
        assert!(stale.is_empty(), "{PLACE}: nothing reads {stale:?} of {id}");
    }
}

#[tokio::test]
async fn the_document_is_served_and_printed() {
    let world = World::start().await;
    let served = answer(http().get(format!("{}/openapi.json", world.issuer))).await;
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")));
    assert_eq!(served.body, tollgate::web::openapi(&world.issuer));
    let known = served.header("etag").expect("a tag").to_owned();
    let again = answer(http().get(format!("{}/openapi.json", world.issuer)).header("if-none-match", known)).await;
    assert_eq!(again.status, 304);
    let machine = Machine::new();
    let printed = machine.run(&["openapi", "--issuer", &world.issuer]).await.expect(0, &[]);
    assert_eq!(serde_json::from_str::<Value>(&printed.out).expect("JSON"), served.body);
}

#[tokio::test]
async fn the_document_and_its_examples_are_valid() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), DOCUMENT.to_string()).expect("a file");
    let mut command = Command::new(installed(".tools/openapi/bin/python"));
    let output = run(command.arg(repository("tests/interop/openapi.py")).arg(file.path())).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("ok "), "{said}{complained}");
}

#[test]
fn endpoints_that_pages_name_are_in_the_document() {
    /// What others answer: Envoy's administration, and the webhook of the injector.
    const OTHERS: [&str; 2] = ["/drain_listeners", "/inject"];
    /// What stands before a path of the authorization server, or of the admin listener.
    const BEFORE: [&str; 6] = [
        "https://auth.example.com",
        "https://auth.internal.example",
        "http://127.0.0.1:9090",
        "http://127.0.0.1:15909",
        "`GET ",
        "`POST ",
    ];
    let text = fs::read_to_string(repository(PLACE)).expect("the document");
    let document: Value = serde_saphyr::from_str(&text).expect("YAML");
    let paths: Vec<_> = document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    let is_known = |path: &str| {
        paths.iter().chain(&OTHERS).any(|known| {
            let (known, path): (Vec<_>, Vec<_>) = (known.split('/').collect(), path.split('/').collect());
            let same = known.iter().zip(&path).all(|(known, part)| known == part || known.starts_with('{'));
            known.len() == path.len() && same
        })
    };
    let mut seen = 0;
    for (page, text) in pages_and_beside() {
        let places = BEFORE.iter().flat_map(|before| text.split(before).skip(1)).filter(|rest| rest.starts_with('/'));
        for rest in places {
            let path = rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || "/_-.{}".contains(*letter));
            let path: String = path.collect();
            assert!(is_known(path.trim_end_matches('.')), "{}: {path}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
