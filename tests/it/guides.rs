//! The book and what is read beside it: pages, the commands in them, and the client programs that they show, which all run here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::interop::{installed, repository};
use crate::machine::{Machine, Running, between};
use crate::process::{Process, program, run};
use crate::world::{ENCRYPTION_KEY, free_port};

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
const BESIDE: [&str; 5] =
    ["../README.md", "../examples/README.md", "../k8s/README.md", "../k8s/chart/README.md", "../k8s/mesh/README.md"];

/// The pages of the book and what is read beside it.
fn pages_and_beside() -> BTreeMap<PathBuf, String> {
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

#[tokio::test]
async fn the_list_of_errors_is_current() {
    let machine = Machine::new();
    let said = machine.run(&["explain", "--list", "--format", "markdown"]).await.expect(0, &[]);
    let page = fs::read_to_string(repository("docs/errors.md")).expect("the page");
    assert!(page == said.out, "run `tollgate explain --list --format markdown > docs/errors.md`");
}

/// A block of shell commands in a page.
struct Block {
    place: String,
    /// The words behind `sh`: none, `fails`, `served` if the server must run, or what is needed that a test does not have.
    marks: String,
    commands: String,
}

fn blocks(page: &Path, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(marks) = line.strip_prefix("```sh") else { continue };
        let commands = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let commands = commands.collect::<Vec<_>>().join("\n");
        found.push(Block { place: format!("{}:{}", page.display(), number + 1), marks: marks.trim().into(), commands });
    }
    found
}

/// The demo, with the real Envoy before its API.
struct Demo {
    process: Running,
    issuer: String,
    resource: String,
    password: String,
    folder: PathBuf,
}

impl Demo {
    async fn start(machine: &Machine, arguments: &[&str]) -> Self {
        let ports = ["--port", "0", "--envoy-port", "0", "--admin-port", "0"];
        let mut process = Running::start(machine.command(&[&["dev"], arguments, &ports].concat()));
        let said = process.until("Ctrl-C").await;
        let told = |before, after| between(&said, before, after).to_owned();
        let folder = PathBuf::from(told("files    ", "\n")).parent().expect("a folder").to_owned();
        let (issuer, resource) = (told("issuer   ", " "), told("guard    ", " "));
        Self { process, issuer, resource, password: told("password ", "\n"), folder }
    }
}

/// A server for services with its state in a file, as [`examples/machine-to-machine.yaml`] has it.
async fn served(folder: &Path) -> Process {
    let port = free_port();
    let text = fs::read_to_string(repository("examples/machine-to-machine.yaml")).expect("an example");
    let text = text.replace("https://auth.internal.example", &format!("http://127.0.0.1:{port}"));
    let text = text.replace("/var/lib/tollgate/", "");
    let listen = format!(
        "\nlisten:\n  public: {{ address: 127.0.0.1:{port} }}\n  admin: {{ address: 127.0.0.1:0 }}\n  \
         ext_authz: [{{ address: \"unix:authz.sock\" }}]\n"
    );
    fs::create_dir(folder.join("secrets")).expect("a folder");
    fs::write(folder.join("secrets/kek"), ENCRYPTION_KEY).expect("a file");
    fs::write(folder.join("tollgate.yaml"), text + &listen).expect("a file");
    let mut command = program();
    command.args(["serve", "--config", "tollgate.yaml"]).current_dir(folder);
    Process::start(command).await
}

/// What shells have instead of a cluster. `ConfigMaps` and Secrets are made without being sent, the chart is rendered, and what is
/// to be applied must be there; whatever else is said to a cluster is believed.
const CLUSTER: &str = r#"
kubectl() {
    case " $* " in
        *" kustomize "*) "$KUBECTL" "$@"; return ;;
        *" create "*) "$KUBECTL" "$@" --dry-run=client --output=yaml; return ;;
    esac
    while [ $# -gt 0 ]; do
        case "$1" in
            -f) grep -c ^apiVersion: "$2" > /dev/null || return 1 ;;
            -k) "$KUBECTL" kustomize "$2" > /dev/null || return 1 ;;
        esac
        shift
    done
}
helm() {
    case "$* " in
        template*) "$HELM" "$@" ;;
        install*" k8s/chart "* | upgrade*" k8s/chart "*) shift; "$HELM" template "$@" > /dev/null ;;
    esac
}
"#;

/// Commands of the pages run in a folder with the examples in it and the program on the path, those of one page after the
/// other, while a demo runs at another port than the usual one.
#[tokio::test]
async fn the_commands_in_the_pages_work() {
    let machine = Machine::new();
    let demo = Demo::start(&machine, &[]).await;
    let program = Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().expect("a folder").display().to_string();
    let with_program = format!("export PATH=\"{program}:$PATH\"\n");
    let before = format!("{with_program}{CLUSTER}");
    let (kubectl, helm) = (installed(".tools/helm/4/kubectl"), installed(".tools/helm/4/helm"));
    let running = tempfile::tempdir().expect("a folder");
    let server = served(running.path()).await;
    let mut ran = 0;
    for (page, text) in pages_and_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&repository("examples"), &folder.path().join("examples"));
        copy(&repository("envoy"), &folder.path().join("envoy"));
        copy(&repository("k8s"), &folder.path().join("k8s"));
        for block in blocks(&page, &text) {
            if block.marks.starts_with("needs") {
                continue;
            }
            assert!(["", "fails", "served"].contains(&&*block.marks), "{}: {}", block.place, block.marks);
            let folder = if block.marks == "served" { &running } else { &folder };
            let commands = block.commands.replace("http://127.0.0.1:10000", &demo.resource);
            let commands = commands.replace("http://127.0.0.1:9090", &format!("http://{}", server.admin));
            let commands = commands.replace("/var/backups/", "./");
            let mut shell = Command::new("bash");
            shell
                .args(["-euo", "pipefail", "-c", &format!("{before}{commands}")])
                .current_dir(folder)
                .kill_on_drop(true);
            shell.env("XDG_STATE_HOME", machine.home.path()).env_remove("TOLLGATE_CONFIG");
            shell.env("KUBECTL", &kubectl).env("HELM", &helm).env_remove("KUBECONFIG");
            let output = run(&mut shell).await;
            let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let wanted = block.marks != "fails";
            assert_eq!(output.status.success(), wanted, "{}:\n{commands}\n{said}{complained}", block.place);
            ran += 1;
        }
    }
    assert!(ran > 50, "{ran}");
    server.kill().await;
    assert_eq!(demo.process.stop("-INT").await, 0);
}

#[tokio::test]
async fn commands_that_cannot_run_here_have_options_that_there_are() {
    let machine = Machine::new();
    let mut seen = 0;
    for (page, text) in pages_and_beside() {
        for block in blocks(&page, &text).iter().filter(|block| block.marks.starts_with("needs")) {
            let joined = block.commands.replace("\\\n", " ");
            for command in joined.split(['\n', '|', ';', '#']) {
                let Some(arguments) = command.trim().strip_prefix("tollgate ") else { continue };
                let subcommand = arguments.split_whitespace().next().expect("a command");
                let help = machine.run(&[subcommand, "--help"]).await.expect(0, &[]);
                let known: Vec<_> = help.out.split(|letter: char| !letter.is_alphanumeric() && letter != '-').collect();
                let given = arguments.split_whitespace().filter(|word| word.starts_with("--"));
                for option in given.filter_map(|word| word.split('=').next()) {
                    assert!(known.contains(&option), "{}: {subcommand} {option}", block.place);
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

/// Copies what is in a folder, but for what package managers and people put there.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_file() {
            fs::copy(&path, to.join(name)).expect("a file");
        } else if name != "node_modules" && name != "secrets" {
            copy(&path, &to.join(name));
        }
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

#[tokio::test]
async fn the_clients_of_the_guides_call_the_api() {
    let machine = Machine::new();
    let demo = Demo::start(&machine, &["--nonce"]).await;

    let (_folder, service) = beside_packages("service.mjs");
    let mut node = Command::new("node");
    node.arg(service);
    let said = satisfied(node, &demo, "reports").await;
    assert!(said.starts_with("200 ") && said.contains("\"x-auth-client\":\"reports\""), "{said}");

    let mut python = Command::new(installed(".tools/python/bin/python"));
    python.arg(repository("examples/clients/service.py"));
    let said = satisfied(python, &demo, "reports").await;
    assert!(said.starts_with("200 ") && said.contains("\"x-auth-client\":\"reports\""), "{said}");

    let go = run(&mut Command::new(repository("scripts/install-go"))).await;
    let go = String::from_utf8(go.stdout).expect("a path");
    let mut go = Command::new(go.trim());
    go.args(["run", "."]).current_dir(repository("examples/clients/go")).env("GOFLAGS", "-mod=readonly");
    let said = satisfied(go, &demo, "reports").await;
    assert!(said.starts_with("200 ") && said.contains("\"x-auth-client\":\"reports\""), "{said}");

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
