//! The book and what is read beside it: pages, and the client programs that they show, which all run here. Commands are in
//! `commands.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::interop::{installed, repository};
use crate::machine::{Machine, Running, between};
use crate::manifests::fed;
use crate::process::run;
use crate::world::free_port;

#[path = "../../examples/clients/service.rs"]
mod rust_client;

/// The Markdown files of the book, with their paths below `docs/`.
fn pages() -> BTreeMap<PathBuf, String> {
    fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).expect("a page");
                found.insert(path.strip_prefix(repository("docs")).expect("below docs").to_owned(), text);
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&repository("docs"), &mut found);
    found
}

/// What there is to read beside the book, with paths from `docs/`.
const BESIDE: [&str; 7] = [
    "../README.md",
    "../examples/README.md",
    "../examples/certification/README.md",
    "../examples/external-login/README.md",
    "../k8s/README.md",
    "../k8s/chart/README.md",
    "../k8s/mesh/README.md",
];

/// The pages of the book and what is read beside it.
pub fn pages_and_beside() -> BTreeMap<PathBuf, String> {
    let read = |path: &&str| fs::read_to_string(repository("docs").join(path)).expect("a page");
    let beside = BESIDE.iter().map(|path| (PathBuf::from(path), read(path)));
    pages().into_iter().chain(beside).collect()
}

#[test]
fn the_summary_names_every_page_once() {
    let mut pages = pages();
    let summary = pages.remove(Path::new("SUMMARY.md")).expect("a summary");
    let mut named: Vec<_> = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    named.sort_unstable();
    let there: Vec<_> = pages.keys().map(|path| path.to_str().expect("UTF-8")).collect();
    assert_eq!(named, there);
}

#[test]
fn links_between_pages_and_to_files_lead_somewhere() {
    for (page, text) in pages_and_beside() {
        let folder = repository("docs").join(&page);
        let folder = folder.parent().expect("a folder");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let includes = text.split("{{#include ").skip(1).filter_map(|rest| rest.split(['}', ':']).next());
        for link in links.filter(|link| !link.starts_with("http")).chain(includes) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { repository("docs").join(&page) } else { folder.join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(target).expect("a page");
                assert!(anchors(&text).contains(&anchor.to_owned()), "{}: {link}", page.display());
            }
        }
    }
}

/// The names by which the headings of a page can be linked to, as mdBook and GitHub make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let name = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().chars();
        let kept = kept.filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(name).collect()
}

/// What is written into pages as YAML and not included from a file, by its place.
fn fragments() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (page, text) in pages_and_beside() {
        for (number, rest) in text.split("\n```yaml\n").skip(1).enumerate() {
            let fragment = rest.split("\n```").next().expect("there is always a first part");
            if !fragment.contains("{{#include") {
                let place = format!("{}, YAML {}", page.display(), number + 1);
                // `off` is a word, as in the configuration.
                let options = serde_saphyr::options! { strict_booleans: true };
                let value = serde_saphyr::from_str_with_options(fragment, options);
                let value = value.unwrap_or_else(|error| panic!("{place}: {error}"));
                found.insert(place, value);
            }
        }
    }
    found
}

#[tokio::test]
async fn parts_of_configurations_in_pages_fit_the_schema() {
    /// How parts of other configurations begin: of Prometheus, of Envoy, of a Deployment.
    const OTHERS: [&str; 4] = ["scrape_configs", "tracing", "name", "spec"];
    let mut fragments = fragments();
    fragments.retain(|_, fragment| !OTHERS.iter().any(|other| fragment.get(other).is_some()));
    for fragment in fragments.values_mut() {
        // A list of clients may stand alone.
        if fragment.is_array() {
            *fragment = json!({ "authorization_server": { "clients": fragment.take() } });
        }
    }
    assert!(fragments.len() > 8, "{fragments:?}");
    let mut command = Command::new(installed(".tools/openapi/bin/python"));
    command.arg(repository("tests/interop/fragments.py")).arg(repository("examples/tollgate.schema.json"));
    let said = fed(command, &json!(fragments).to_string()).await;
    assert!(said.starts_with("ok "), "{said}");
}

#[tokio::test]
async fn the_list_of_errors_is_current() {
    let machine = Machine::new();
    let said = machine.run(&["explain", "--list", "--format", "markdown"]).await.expect(0, &[]);
    let page = fs::read_to_string(repository("docs/errors.md")).expect("the page");
    assert!(page == said.out, "run `tollgate explain --list --format markdown > docs/errors.md`");
}

/// The demo, with the real Envoy before its API.
pub struct Demo {
    pub process: Running,
    pub issuer: String,
    pub resource: String,
    pub password: String,
    pub folder: PathBuf,
}

impl Demo {
    pub async fn start(machine: &Machine, arguments: &[&str]) -> Self {
        let ports = ["--port", "0", "--envoy-port", "0", "--admin-port", "0"];
        let mut process = Running::start(machine.command(&[&["dev"], arguments, &ports].concat()));
        let said = process.until("Ctrl-C").await;
        let told = |before, after| between(&said, before, after).to_owned();
        let folder = PathBuf::from(told("files    ", "\n")).parent().expect("a folder").to_owned();
        let (issuer, resource) = (told("issuer   ", " "), told("guard    ", " "));
        Self { process, issuer, resource, password: told("password ", "\n"), folder }
    }
}

/// Runs a program of `examples/clients` at the demo, which wants nonces.
async fn satisfied(mut command: Command, demo: &Demo, client_id: &str) -> String {
    let secret = fs::read_to_string(demo.folder.join("reports.secret")).expect("a secret");
    command.env("ISSUER", &demo.issuer).env("RESOURCE", &demo.resource).env("CLIENT_ID", client_id);
    command.env("CLIENT_SECRET", secret).env("USERNAME", "ada").env("PASSWORD", &demo.password);
    command.env("SCOPE", "orders:read").kill_on_drop(true);
    let output = run(&mut command).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    said.into_owned()
}

/// A folder with a program of `examples/clients` and the packages that the other clients of the tests use.
fn beside_packages(program: &str) -> (tempfile::TempDir, PathBuf) {
    installed("tests/interop/node_modules/.package-lock.json");
    let folder = tempfile::tempdir().expect("a folder");
    let packages = repository("tests/interop/node_modules");
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).expect("a link");
    let path = folder.path().join(program);
    fs::copy(repository("examples/clients").join(program), &path).expect("a program");
    (folder, path)
}

/// Those that no command of a page starts; `commands.rs` has the others.
#[tokio::test]
async fn the_clients_of_the_guides_call_the_api() {
    let machine = Machine::new();
    let demo = Demo::start(&machine, &["--nonce"]).await;

    let secret = fs::read_to_string(demo.folder.join("reports.secret")).expect("a secret");
    let called = rust_client::orders(&demo.issuer, ("reports", &secret), &demo.resource).await;
    let (status, said) = called.expect("an answer");
    assert!(status == 200 && said.contains("\"x-auth-client\":\"reports\""), "{status} {said}");

    let (_folder, application) = beside_packages("spa.mjs");
    let mut node = Command::new("node");
    let redirect_uri = format!("http://127.0.0.1:{}/callback", free_port());
    node.arg("spa.mjs").current_dir(repository("tests/interop"));
    node.env("APPLICATION", application).env("REDIRECT_URI", redirect_uri);
    let said = satisfied(node, &demo, "cli").await;
    assert!(said.contains("ok  and after a refresh"), "{said}");
    assert_eq!(demo.process.stop("-INT").await, 0);
}
