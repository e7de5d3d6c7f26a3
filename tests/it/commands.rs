//! The commands in the book and in what is read beside it: what a page tells its reader to type runs here.
//!
//! A block of shell commands says behind `sh` how:
//!
//! | mark | what happens to the block |
//! |---|---|
//! | none | it runs, after the blocks of its page before it and in the same folder, which has `examples`, `envoy` and `k8s`; it must succeed, and print the answer that the page shows after it |
//! | `fails` | the same, but its last command must fail, as the page says |
//! | `served` | the same beside a server for machines and its API, in the folder from which that serves |
//! | `shape` | the same with the real Envoy and everything else of the page around it: `shapes/` does that |
//! | `starts` | each server in it is started, at addresses and with databases of the test, must serve, and is stopped in good order |
//! | `needs:…` | it cannot run here, for one of the reasons in [`NEEDS`]; each program in it reads its options, or what stands in for it looks whether what it is about is there |
//!
//! Hosts of the pages are those of a demo with the real Envoy, which wants nonces, and in which ada signs in wherever a command asks
//! her to. Of
//! programs, [`STAND_INS`] are the few that are not the real ones: clusters believe, and Envoy looks at its configuration only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use tollgate::jose::{Algorithm, SigningKey};

use crate::browser::Browser;
use crate::cluster;
use crate::envoy::{self, Envoy};
use crate::guides::{Demo, pages_and_beside};
use crate::interop::{installed, repository};
use crate::login_cli::decide;
use crate::machine::{Machine, between};
use crate::process::{Process, program, run};
use crate::redis::Redis;
use crate::upstream::Upstream;
use crate::world::{ENCRYPTION_KEY, free_port};

/// What blocks may need that a test does not have, and what it is.
const NEEDS: [(&str, &str); 7] = [
    ("a-build", "the program as it is released: minutes of building"),
    ("a-cluster", "a pod that runs"),
    ("a-network", "packages of registries, or files of GitHub, beyond what `make tools` installs"),
    ("a-release", "files of a release, and their signatures"),
    ("an-image", "compilers for musl, buildah or Docker, which the release workflow has"),
    (
        "other-programs",
        "a conformance suite or a login of one's own beside it; `external.rs` and `certification.rs` have those",
    ),
    ("root", "users, services and folders of the whole machine"),
];

/// How long the commands of a block may take: Go compiles its own libraries before the first program.
const PATIENCE: Duration = Duration::from_mins(5);

/// A block of shell commands in a page.
struct Block {
    place: String,
    /// The words behind `sh`.
    marks: String,
    commands: String,
    /// The answer of an HTTP server that the page shows after it.
    answer: Option<String>,
}

fn blocks(page: &Path, text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let inside: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let inside = inside.join("\n");
        if let Some(marks) = language.strip_prefix("sh") {
            let place = format!("{}:{}", page.display(), number + 1);
            found.push(Block { place, marks: marks.trim().to_owned(), commands: inside, answer: None });
        } else if inside.starts_with("HTTP/1.1 ")
            && let Some(block) = found.last_mut()
        {
            block.answer = Some(inside);
        }
    }
    found
}

/// What shells have instead of programs that need a cluster, or would never come back. `ConfigMaps` and Secrets are made without
/// being sent, a patched Deployment gets its sidecar, the chart is rendered, and what is to be applied must be there. Whatever
/// else is said to a cluster is believed, if the real program knows the options. Envoy reads its configuration.
const STAND_INS: &str = r#"
with_known_options() {
    local known=()
    local program=$1
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do known+=("$1"); shift; done
    "$program" "${known[@]}" --help > /dev/null
}
kubectl() {
    case " $* " in
        *" kustomize "*) "$KUBECTL" "$@"; return ;;
        *" create "*) "$KUBECTL" "$@" --dry-run=client --output=yaml; return ;;
    esac
    with_known_options "$KUBECTL" "$@" || return
    local patching=
    while [ $# -gt 0 ]; do
        case "$1" in
            -f) grep -c ^apiVersion: "$2" > /dev/null || return ;;
            -k) "$KUBECTL" kustomize "$2" > /dev/null || return ;;
            patch) patching=1 ;;
            --patch)
                [ -n "$patching" ] || return
                "$KUBECTL" patch --local --filename "$DEPLOYMENT" --patch "$2" --output yaml > patched.yaml || return
                grep -q 'tollgate.dev/inject: "true"' patched.yaml && tollgate inject patched.yaml > /dev/null || return ;;
        esac
        shift
    done
}
helm() {
    case "$* " in
        template*) "$HELM" "$@" ;;
        install*" k8s/chart "* | upgrade*" k8s/chart "*) shift; "$HELM" template "$@" > /dev/null ;;
        *) with_known_options "$HELM" "$@" ;;
    esac
}
envoy() { "$ENVOY" --mode validate --log-level error "$@"; }
"#;

/// The Deployment that the pages patch.
const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: orders }
spec:
  selector: { matchLabels: { app: orders } }
  template:
    metadata: { labels: { app: orders } }
    spec:
      containers: [{ name: envoy, image: envoy }, { name: orders, image: orders }]
";

/// What blocks have that cannot run: programs that read their options, or look whether what they are about is there.
const READERS: &str = r#"
tollgate() { "$TOLLGATE" "$@" --help > /dev/null; }
kubectl() { "$KUBECTL" "$@" --help > /dev/null; }
cargo() { "$CARGO" "$@" -h > /dev/null; }
make() { "$MAKE" --directory "$REPOSITORY" --dry-run "$@" > /dev/null; }
script() { [ -x "$REPOSITORY/$1" ]; }
scripts/install-envoy() { script scripts/install-envoy; }
scripts/build-static() { script scripts/build-static; }
scripts/build-image() { script scripts/build-image; }
docker() { [ "$1 $2 $3" = "buildx build --file" ] && [ -f "$REPOSITORY/$4" ]; }
systemctl() { [ -f "$REPOSITORY/packaging/${!#}.service" ]; }
cosign() { "$GREP" --quiet "cosign sign-blob --yes --bundle $3 ${!#}" "$REPOSITORY/.github/workflows/release.yml"; }
npm() { [ "$1" != install ] || "$GREP" --quiet "\"$2\":" "$REPOSITORY/tests/interop/package.json"; }
pip() { "$GREP" --quiet "^$2==" "$REPOSITORY/tests/interop/requirements.txt"; }
sudo() { "$@"; }
adduser() { :; }
curl() { :; }
install() { :; }
sha256sum() { :; }
timedatectl() { :; }
"#;

/// A server for services with its state in a file, as `examples/machine-to-machine.yaml` has it, with its API behind the real
/// Envoy, and the key of its client.
struct Machines {
    folder: tempfile::TempDir,
    process: Process,
    issuer: String,
    resource: String,
    envoy: Envoy,
    _upstream: Upstream,
}

impl Machines {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [port, guard] = [free_port(), free_port()];
        let (issuer, resource) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{guard}"));
        let key = SigningKey::generate(Algorithm::Es256).expect("a key");
        let public = key.published_jwk();
        let text = fs::read_to_string(repository("examples/machine-to-machine.yaml")).expect("an example");
        let member = |name: &str| public[name].as_str().expect("a coordinate").to_owned();
        let text = text.replace(between(&text, " x: ", "\n"), &member("x"));
        let text = text.replace(between(&text, " y: ", "\n"), &member("y"));
        let text = text.replace("https://auth.internal.example", &issuer);
        let text = text.replace("https://ledger.internal.example", &resource).replace("/var/lib/tollgate/", "");
        let listen = format!(
            "\nlisten:\n  public: {{ address: 127.0.0.1:{port} }}\n  admin: {{ address: 127.0.0.1:{} }}\n  \
             ext_authz: [{{ address: \"unix:authz.sock\" }}]\n",
            free_port()
        );
        fs::create_dir(folder.path().join("secrets")).expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write("secrets/kek", ENCRYPTION_KEY);
        write("payments.pem", &pem(&key));
        write("tollgate.yaml", &(text + &listen));
        let mut command = program();
        command.args(["serve", "--config", "tollgate.yaml"]).current_dir(&folder);
        let process = Process::start(command).await;
        let upstream = Upstream::start().await;
        let envoy = Envoy::for_resource(&resource, &folder.path().join("authz.sock"), upstream.port).await;
        Self { folder, process, issuer, resource, envoy, _upstream: upstream }
    }
}

/// A private key as files have it (RFC 7468 §10).
fn pem(key: &SigningKey) -> String {
    use base64::Engine as _;
    let der = base64::engine::general_purpose::STANDARD.encode(key.to_pkcs8().expect("PKCS #8"));
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}

/// Who reads the pages and types what they say: everything that is running around her.
struct Reader {
    machine: Machine,
    demo: Demo,
    machines: Machines,
    redis: Redis,
    /// What is on her path before what the machine has.
    path: String,
    deployment: PathBuf,
}

impl Reader {
    async fn start() -> Self {
        let machine = Machine::new();
        let demo = Demo::start(&machine, &["--nonce"]).await;
        let (machines, redis) = tokio::join!(Machines::start(), Redis::start());
        let bin = machine.path("bin");
        fs::create_dir(&bin).expect("a folder");
        // Addresses are read by ada, and opened by no browser.
        let opener = bin.join("xdg-open");
        fs::write(&opener, "#!/bin/sh\n").expect("a file");
        fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).expect("a file");
        let go = run(&mut Command::new(repository("scripts/install-go"))).await;
        let go = PathBuf::from(String::from_utf8(go.stdout).expect("a path").trim());
        let program = Path::new(env!("CARGO_BIN_EXE_tollgate"));
        let folders = [&bin, program.parent().expect("a folder"), go.parent().expect("a folder")];
        let folders = folders.map(|folder| folder.display().to_string());
        let python = installed(".tools/python/bin");
        let path = format!("{}:{}", folders.join(":"), python.display());
        let deployment = machine.write("orders.yaml", DEPLOYMENT);
        Self { machine, demo, machines, redis, path, deployment }
    }

    /// The folder of a page: a part of the repository, and what the reader is said to have beside it.
    fn folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["examples", "envoy", "k8s"] {
            copy(&repository(name), &folder.path().join(name));
        }
        let packages = installed("tests/interop/node_modules");
        std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).expect("a link");
        fs::copy(self.demo.folder.join("reports.secret"), folder.path().join("reports.secret")).expect("a file");
        let certificate = rcgen::generate_simple_self_signed(["tollgate".to_owned()]).expect("a certificate");
        fs::write(folder.path().join("tls.crt"), certificate.cert.pem()).expect("a file");
        fs::write(folder.path().join("tls.key"), certificate.signing_key.serialize_pem()).expect("a file");
        folder
    }

    /// Commands with the addresses of what is running in the place of those in the pages. What calls somebody has other names
    /// of hosts and clients, too: files are about those of the page.
    fn here(&self, commands: &str) -> String {
        let (demo, machines) = (&self.demo, &self.machines);
        let addresses = [
            ("http://127.0.0.1:10000", &*demo.resource),
            ("http://127.0.0.1:8080", &demo.issuer),
            ("http://127.0.0.1:9090", &format!("http://{}", machines.process.admin)),
            ("http://127.0.0.1:9901", &machines.envoy.admin_url()),
            ("/var/backups/", "./"),
        ];
        let names = [
            ("https://orders.example.com", &*demo.resource),
            ("https://api.example.com", &demo.resource),
            ("https://auth.example.com", &demo.issuer),
            ("https://auth.internal.example", &machines.issuer),
            ("https://ledger.internal.example", &machines.resource),
            ("--client-id billing", "--client-id reports"),
            ("secrets/billing", "reports.secret"),
            ("billing.secret", "reports.secret"),
        ];
        let replaced = |text: &str, with: &[(&str, &str)]| {
            with.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
        };
        let commands = commands.replace("\\\n", " ");
        let line = |line: &str| {
            let calls = ["curl ", "tollgate curl ", "tollgate login ", "tollgate logout "];
            let line = replaced(line, &addresses);
            if calls.iter().any(|call| line.starts_with(call)) { replaced(&line, &names) } else { line }
        };
        commands.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Runs commands as ada does: where they show an address at which to sign in, she does. Gives whether they succeeded, and
    /// what they printed.
    async fn types(&self, commands: &str, folder: &Path) -> (bool, String) {
        let mut shell = Command::new("bash");
        let before = format!("export PATH=\"{}:$PATH\"\n{STAND_INS}", self.path);
        shell.args(["-euo", "pipefail", "-c", &format!("{before}{commands}")]).current_dir(folder).kill_on_drop(true);
        shell.env("XDG_STATE_HOME", self.machine.home.path()).env_remove("TOLLGATE_CONFIG").env_remove("KUBECONFIG");
        shell.env("KUBECTL", installed(".tools/helm/4/kubectl")).env("HELM", installed(".tools/helm/4/helm"));
        shell.env("ENVOY", envoy::program()).env("DEPLOYMENT", &self.deployment).env("GOFLAGS", "-mod=readonly");
        shell.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().expect("bash");
        let (mut out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let mut printed = String::new();
        let ended = async {
            let (_, complained) = tokio::join!(out.read_to_string(&mut printed), self.reads(err));
            (child.wait().await.expect("an end"), complained)
        };
        let ended = timeout(PATIENCE, ended).await;
        let (status, complained) = ended.unwrap_or_else(|_| panic!("after {PATIENCE:?} this has no end:\n{commands}"));
        (status.success(), printed + &complained)
    }

    /// Reads what a command complains about, and signs in where it says so.
    async fn reads(&self, stream: tokio::process::ChildStderr) -> String {
        let (issuer, password) = (&self.demo.issuer, &self.demo.password);
        let (mut lines, mut said) = (BufReader::new(stream).lines(), String::new());
        while let Ok(Some(line)) = lines.next_line().await {
            let address = line.find(&**issuer).map(|at| line[at + issuer.len()..].trim().to_owned());
            said = said + &line + "\n";
            let Some(path) = address else { continue };
            if path.starts_with("/oauth/authorize?") {
                let mut ada = Browser::new(issuer);
                let back = ada.approve(&path, "ada", password).await.location();
                ada.http.get(back).send().await.expect("the command listens");
            } else if let Some(code) = path.strip_prefix("/activate?user_code=") {
                decide(issuer, code, password, "approve").await;
            }
        }
        said
    }

    /// Starts each server of a block at addresses of its own and with databases that are there, and stops them.
    async fn starts(&self, commands: &str, folder: &Path) {
        let secret = |name: &str, url: &str| {
            let path = folder.join("secrets").join(name);
            if path.exists() {
                fs::write(path, url).expect("a file");
            }
        };
        secret("redis", &self.redis.url());
        if folder.join("secrets/database").exists() {
            secret("database", &cluster::store(tollgate::store::Limits::default()).await.1);
        }
        let mut serving = Vec::new();
        for (number, line) in commands.lines().enumerate() {
            let words: Vec<_> = line.trim_end_matches(" &").split_whitespace().collect();
            assert_eq!(words[0], "tollgate", "{line}");
            let mut command = program();
            command.current_dir(folder);
            if words[1] == "serve" {
                command.args(&words[1..]);
                let file = fs::read_to_string(folder.join(words[3])).expect("a configuration");
                let mut set = vec![
                    "listen.admin.address=\"127.0.0.1:0\"".to_owned(),
                    format!("listen.ext_authz=[{{\"address\":\"unix:{number}.sock\"}}]"),
                ];
                if file.contains("\nauthorization_server:") {
                    set.push(format!("listen.public.address=\"127.0.0.1:{}\"", free_port()));
                }
                if file.contains("/var/lib/tollgate/tollgate.db") {
                    set.push("store.sqlite.path=\"tollgate.db\"".to_owned());
                }
                command.args(set.iter().flat_map(|set| ["--set", set]));
            } else {
                command.args(words[1..].iter().map(|word| if *word == "0.0.0.0:8443" { "127.0.0.1:0" } else { *word }));
                command.args(["--admin", "127.0.0.1:0"]);
            }
            serving.push(Process::start(command).await);
        }
        for process in serving {
            process.signal("INT").await;
            let (status, said) = process.ended().await;
            assert!(status.success(), "{commands}\n{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_the_pages_work() {
    let reader = Reader::start().await;
    let mut ran = 0;
    for (page, text) in pages_and_beside() {
        let blocks = blocks(&page, &text);
        let elsewhere = |block: &&Block| block.marks == "shape" || block.marks.starts_with("needs:");
        let here = blocks.iter().filter(|block| !elsewhere(block));
        let folder = reader.folder();
        for block in here {
            let Block { place, marks, commands, answer } = block;
            if marks == "starts" {
                reader.starts(commands, folder.path()).await;
            } else {
                assert!(["", "fails", "served"].contains(&&**marks), "{place}: {marks}");
                let folder = if marks == "served" { &reader.machines.folder } else { &folder };
                let commands = reader.here(commands);
                let (succeeded, said) = reader.types(&commands, folder.path()).await;
                assert_eq!(succeeded, marks != "fails", "{place}:\n{commands}\n{said}");
                if commands.contains("examples/clients/") {
                    let answered = said.contains("200 ") && said.contains("\"x-auth-client\":\"reports\"");
                    assert!(answered, "{place}:\n{said}");
                }
                for line in answer.iter().flat_map(|answer| answer.lines()) {
                    assert!(said.contains(line), "{place} says `{line}`, and there is\n{said}");
                }
            }
            ran += 1;
        }
        // What a page makes for Envoy is good, whether the page starts one or a pod does.
        if folder.path().join("envoy.yaml").is_file() {
            let (succeeded, said) = reader.types("envoy --config-path envoy.yaml", folder.path()).await;
            assert!(succeeded, "{}: {said}", page.display());
        }
    }
    assert!(ran > 100, "{ran}");
    reader.machines.process.kill().await;
    assert_eq!(reader.demo.process.stop("-INT").await, 0);
}

#[tokio::test]
async fn commands_that_cannot_run_here_are_such_as_their_programs_take() {
    let machine = Machine::new();
    let which = async |program: &str| {
        let found = run(Command::new("sh").args(["-c", &format!("command -v {program}")])).await;
        String::from_utf8(found.stdout).expect("a path").trim().to_owned()
    };
    let (make, grep) = (which("make").await, which("grep").await);
    let mut seen = std::collections::BTreeSet::new();
    for (page, text) in pages_and_beside() {
        for block in blocks(&page, &text) {
            let Some(need) = block.marks.strip_prefix("needs:") else { continue };
            assert!(NEEDS.iter().any(|(name, _)| *name == need), "{}: {need}", block.place);
            // Nothing is on the path: a program is one of the readers, or the test says which one is missing.
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", &format!("PATH=/nowhere\n{READERS}\n{}\nwait", block.commands)]);
            shell.current_dir(machine.home.path()).env("REPOSITORY", repository("")).kill_on_drop(true);
            shell.env("TOLLGATE", env!("CARGO_BIN_EXE_tollgate")).env("CARGO", env!("CARGO")).env("MAKE", &make);
            shell.env("KUBECTL", installed(".tools/helm/4/kubectl")).env("GREP", &grep).env_remove("MAKEFLAGS");
            let output = run(&mut shell).await;
            let complained = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:\n{}\n{complained}", block.place, block.commands);
            seen.insert(need.to_owned());
        }
    }
    let needs: Vec<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(needs, NEEDS.map(|(name, _)| name), "take out of `NEEDS` what nothing needs");
}

/// The blocks of a page that run where its shape is.
pub fn of_shape(page: &str) -> Vec<String> {
    let text = fs::read_to_string(repository("docs").join(page)).expect("a page");
    let found: Vec<_> = blocks(Path::new(page), &text).into_iter().filter(|block| block.marks == "shape").collect();
    assert!(!found.is_empty(), "{page}");
    found.into_iter().map(|block| block.commands).collect()
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
