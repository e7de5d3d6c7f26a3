//! Tools for Kubernetes manifests: Helm, Kustomize, and the strict schemas of Kubernetes. None of them needs a cluster.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::interop::{installed, repository};
use crate::process::run;

/// The oldest version of Kubernetes that we are for, one in the middle, and the newest that has schemas.
pub const VERSIONS: [&str; 3] = ["1.29", "1.33", "1.37"];

/// The versions of Helm.
pub const HELMS: [&str; 2] = ["3", "4"];

/// Helm of a version, in the folder of the chart.
pub fn helm(version: &str) -> Command {
    let mut command = Command::new(installed(&format!(".tools/helm/{version}/helm")));
    // Nothing of whoever runs the tests: no cluster, no plugins, no repositories.
    command.env_clear().env("HOME", "/nonexistent").current_dir(repository("k8s/chart")).kill_on_drop(true);
    command
}

/// Renders a folder of Kustomize.
pub async fn kustomize(folder: &str) -> String {
    let mut command = Command::new(installed(".tools/helm/4/kubectl"));
    command.env_clear().env("HOME", "/nonexistent").arg("kustomize").arg(repository(folder)).kill_on_drop(true);
    succeeded(&run(&mut command).await)
}

/// What a program printed that did its work.
#[track_caller]
pub fn succeeded(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// Holds files against the schemas of a version each, and gives the custom types in them, which have none.
pub async fn strictly_valid(files: &[(&str, PathBuf)]) -> String {
    let mut command = Command::new(installed(".tools/kubernetes/bin/python"));
    command.arg(repository("tests/interop/manifests.py")).kill_on_drop(true);
    command.args(files.iter().map(|(version, path)| format!("{version}={}", path.display())));
    let said = succeeded(&run(&mut command).await);
    assert!(said.starts_with("ok ") && !said.starts_with("ok 0 "), "{said}");
    said.split("custom: ").nth(1).unwrap_or_default().trim().to_owned()
}

/// Holds objects of custom types against the types of their projects, and gives those that no package has.
pub async fn custom_types(objects: &[Value]) -> Vec<String> {
    let custom = |object: &&Value| {
        let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
        group.is_some_and(|group| {
            group == "gateway.networking.k8s.io" || (group.contains('.') && !group.ends_with(".k8s.io"))
        })
    };
    let custom: Vec<_> = objects.iter().filter(custom).collect();
    installed("tests/interop/node_modules/@kubernetes-models");
    let mut command = Command::new("node");
    command.arg("custom-types.mjs").current_dir(repository("tests/interop")).kill_on_drop(true);
    let said = fed(command, &serde_json::to_string(&custom).expect("JSON")).await;
    serde_json::from_str(&said).expect("a list")
}

/// What a program prints that is given a text.
pub async fn fed(mut command: Command, text: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program");
    let mut input = child.stdin.take().expect("a pipe");
    let write = async {
        input.write_all(text.as_bytes()).await.expect("a reader");
        drop(input);
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    succeeded(&output.expect("an end"))
}

/// The objects of a stream, as Kubernetes reads them.
pub fn objects(text: &str) -> Vec<Value> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, strict_booleans: false };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).expect("YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The one object of a kind and name.
#[track_caller]
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// A folder with every file that the configurations of our manifests name in `/run/secrets/tollgate`.
pub fn secrets(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    write("kek", crate::world::ENCRYPTION_KEY);
    write("postgres-url", "postgresql://tollgate:a-password-that-nobody-reads@db.example.com/tollgate\n");
    write("redis-url", "rediss://tollgate:a-password-that-nobody-reads@redis.example.com\n");
    let authority = rcgen::generate_simple_self_signed(["kubernetes.default.svc".to_owned()]).expect("a certificate");
    write("ca.crt", &authority.cert.pem());
    write("printer", crate::world::SECRET);
    write("reports", crate::world::SECRET);
    let users = std::fs::read_to_string(repository("examples/users.yaml")).expect("the users of the examples");
    write("users.yaml", &users);
}
