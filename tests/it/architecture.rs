//! The rules of the house (ARCHITECTURE.md), read from the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A source file and the code in it: comments and unit tests are left out.
struct Source {
    path: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match entry.extension() {
                _ if entry.is_dir() => folders.push(entry),
                Some(extension) if extension == "rs" => found.push(read(&root, &entry)),
                Some(_) | None => {}
            }
        }
    }
    assert!(found.len() > 30, "the source was not found");
    found
}

fn read(root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source file");
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let path = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
    Source { path, code }
}

impl Source {
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == format!("{place}.rs") || self.path.starts_with(&format!("{place}/")))
    }
}

/// Fails if a file in `places` (all files, if there are none) but not in `except` holds one of `words`.
#[track_caller]
fn forbid(words: &[&str], places: &[&str], except: &[&str], why: &str) {
    let mut checked = 0;
    for source in sources().iter().filter(|source| places.is_empty() || source.is_in(places)) {
        checked += 1;
        if source.is_in(except) {
            continue;
        }
        for word in words {
            assert!(!source.code.contains(word), "src/{} says `{word}`: {why}", source.path);
        }
    }
    assert!(checked > 0, "no file in {places:?}");
}

#[test]
fn the_two_kernels_do_not_know_each_other() {
    let why = "both know only dpop, token, jose, the leaves and traits";
    forbid(&["crate::authz", "authz::"], &["oauth"], &[], why);
    forbid(&["crate::oauth", "oauth::"], &["authz"], &[], why);
}

#[test]
fn rules_know_no_transport_and_no_driver() {
    let drivers =
        ["hyper", "tonic", "prost", "envoy_types", "moka", "rusqlite", "redis", "reqwest", "tokio::", "http::"];
    forbid(&drivers, &["oauth", "authz", "dpop", "token"], &[], "the rules outlive the transport");
}

/// The modules of the crate that code names, by full path or in a group: `crate::a::B`, `crate::{a, b::{C, D}}`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut named = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            named.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let end = group.find(|letter| {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            depth < 0
        });
        let mut item = String::new();
        for letter in group[..end.expect("a group ends")].chars().chain([',']) {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if letter == ',' && depth <= -1 {
                named.insert(name(item.trim()));
                item.clear();
            } else {
                item.push(letter);
            }
        }
    }
    named.remove("");
    named
}

#[test]
fn modules_are_found_however_they_are_named() {
    let found = |code: &str| named_modules(code).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("use crate::store;"), "store");
    assert_eq!(found("use crate::store::{Grant, self};"), "store");
    assert_eq!(found("pub(crate) fn x(y: &crate::web::Site) {}"), "web");
    assert_eq!(found("use crate::{\n    app,\n    web::{Door, Site},\n    uri::Origin as O,\n};"), "app uri web");
    assert_eq!(found("use crate::webbing::X;"), "webbing");
    assert_eq!(found("let crate_path = 1;"), "");
}

#[test]
fn arrows_point_down() {
    let layers: &[(&str, &[&str])] = &[
        (
            "leaf",
            &[
                "audit",
                "clock",
                "current",
                "document",
                "entropy",
                "ident",
                "scope",
                "secret",
                "throttle",
                "unavailable",
                "uri",
            ],
        ),
        ("jose", &["jose"]),
        ("certificates", &["certificate"]),
        ("replay and fetching", &["replay", "fetch"]),
        ("proofs and tokens", &["dpop", "token"]),
        ("state", &["store"]),
        ("keys and people", &["keys", "issuers", "identity", "inject"]),
        ("kernels", &["oauth", "authz"]),
        ("doors", &["web", "grpc", "cache", "courier", "telemetry"]),
        ("configuration", &["config"]),
        ("root", &["app"]),
        ("verbs", &["cli"]),
    ];
    let height = |module: &str| layers.iter().position(|(_, modules)| modules.contains(&module));
    for source in sources().iter().filter(|source| !source.is_in(&["main", "lib"])) {
        let module = source.path.split(['/', '.']).next().unwrap_or_default();
        let own = height(module).unwrap_or_else(|| panic!("src/{} is in no layer", source.path));
        for named in named_modules(&source.code) {
            let other = height(&named).unwrap_or_else(|| panic!("src/{} names crate::{named}", source.path));
            assert!(other <= own, "src/{} names crate::{named}: arrows point down", source.path);
        }
    }
}

#[test]
fn only_the_composition_root_names_concrete_parts() {
    let parts = [
        "MemoryStore",
        "SqliteStore",
        "LocalReplayGuard",
        "SystemClock",
        "SystemEntropy",
        "LocalUsers",
        "VouchedPeople",
    ];
    let homes = ["app", "store", "replay", "clock", "entropy", "identity", "cli"];
    forbid(&parts, &[], &homes, "one place to swap them");
    forbid(&["MemoryStore", "SqliteStore", "LocalReplayGuard"], &["cli"], &["cli/keys"], "a verb asks app");
}

#[test]
fn responses_are_built_in_one_place() {
    forbid(&["Response::new", "Response::builder"], &["web"], &["web/respond"], "headers have one place");
    let answers = ["CheckResponse {", "CheckResponse::", "DeniedHttpResponse", "OkHttpResponse"];
    forbid(&answers, &[], &["grpc/check"], "an empty CheckResponse is an allow");
}

#[test]
fn signatures_are_made_and_verified_in_one_place() {
    let libraries = ["jsonwebtoken::", "aws_lc_rs::"];
    forbid(&libraries, &[], &["jose", "entropy", "secret/seal"], "jose is strict before it verifies");
}

#[test]
fn nothing_is_global_and_the_environment_is_read_at_the_edge() {
    let globals = ["OnceLock", "LazyLock", "thread_local!", "static mut", "lazy_static"];
    forbid(&globals, &[], &[], "two servers live in one test process");
    forbid(&["env::var"], &[], &["main", "config", "cli"], "the environment is read at the edge");
}

#[test]
fn time_comes_from_the_clock() {
    forbid(&["SystemTime::now", "UNIX_EPOCH", "thread::sleep", "time::sleep"], &[], &["clock"], "tests set the clock");
}

#[test]
fn the_maps_to_the_wire_have_no_wildcard() {
    forbid(
        &["_ =>"],
        &["oauth/refusal", "oauth/error", "dpop/fault", "authz/denial"],
        &[],
        "a new rule needs a meaning",
    );
}

#[test]
fn names_say_what_is_in_the_file() {
    let vague =
        ["utils", "util", "helpers", "helper", "common", "types", "models", "handlers", "manager", "service", "mod"];
    for source in sources() {
        let name = source.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
        assert!(!vague.contains(&name), "src/{}", source.path);
    }
}
