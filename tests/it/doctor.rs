//! What operators have beside the server: the doctor, completions, the manual.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::Value;

use crate::envoy::Envoy;
use crate::process::{Installation, program, run};

/// What the doctor finds, as `outcome what`.
async fn found(installation: &Installation, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = program();
    command.args(["doctor", "--output", "json", "--config"]).arg(installation.path("tollgate.yaml"));
    command.arg("--set").arg(format!("store={{\"sqlite\":{{\"path\":\"{}\"}}}}", installation.database().display()));
    command
        .arg("--set")
        .arg(format!("listen.ext_authz=[{{\"address\":\"unix:{}\"}}]", installation.socket().display()));
    let Output { status, stdout, stderr } = run(command.args(arguments)).await;
    let found: Value =
        serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)));
    let one = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", text("outcome"), text("section"), text("what"))
    };
    (status.code(), found.as_array().expect("a list").iter().map(one).collect())
}

#[track_caller]
fn assert_found(found: &[String], expected: &str) {
    assert!(found.iter().any(|finding| finding.contains(expected)), "no `{expected}` in {found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_there_and_what_is_in_the_way() {
    let installation = Installation::new();
    let (code, before) = found(&installation, &[]).await;
    assert_eq!(code, Some(0), "{before:#?}");
    for expected in
        ["doubtful gate: nobody listens at unix:", "doubtful state: there is no ", "doubtful process: nobody"]
    {
        assert_found(&before, expected);
    }

    let process = installation.start(&[]).await;
    let envoy = Envoy::recommended(&installation.socket(), 9).await;
    let admin = format!("listen.admin.address=\"{}\"", process.admin);
    let (code, good) = found(&installation, &["--set", &admin, "--envoy", &envoy.admin_url()]).await;
    assert_eq!(code, Some(0), "{good:#?}");
    for expected in [
        "good configuration: ",
        "good gate: unix:",
        "is ready",
        "describes this server",
        "good state: can be opened, and a key signs",
        "good envoy: is live",
        "good envoy: ext_authz has `failure_mode_allow: false`",
        "good envoy: `merge_slashes` is on",
    ] {
        assert_found(&good, expected);
    }

    let users = installation.path("users.yaml");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o666)).expect("a file");
    let careless = Envoy::careless(&installation.socket(), 9).await;
    let foreign = "protected_resources.0.authorization_servers=[self, \"http://127.0.0.1:9\"]"; // nobody is there
    let arguments = ["--set", &admin, "--set", foreign, "--envoy", &careless.admin_url()];
    let (code, bad) = found(&installation, &arguments).await;
    assert_eq!(code, Some(1), "{bad:#?}");
    for expected in [
        "bad configuration: everybody may write ",
        "bad issuers: the keys of http://127.0.0.1:9 cannot be fetched",
        "bad envoy: ext_authz has `failure_mode_allow: true`",
    ] {
        assert_found(&bad, expected);
    }

    let (code, wrong) = found(&installation, &["--set", "replay.local.entries=0"]).await;
    assert_eq!(code, Some(2), "{wrong:#?}");
    assert_found(&wrong, "replay.local.entries");
}

#[tokio::test]
async fn the_doctor_speaks_to_people_too() {
    let installation = Installation::new();
    let output = run(program().args(["doctor", "--config"]).arg(installation.path("tollgate.yaml"))).await;
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.starts_with("configuration\n  √ "), "{said}");
    assert!(said.contains("\nstate\n  ‼ is in memory\n      grants and keys end with the process"), "{said}");
}

#[tokio::test]
async fn shells_and_manuals_know_every_verb() {
    let help = run(program().arg("--help")).await;
    let help = String::from_utf8(help.stdout).expect("text");
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let verbs: Vec<_> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.contains(&"doctor") && verbs.len() > 15, "{verbs:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(program().args(["completions", shell])).await;
        let script = String::from_utf8(script.stdout).expect("text");
        for verb in &verbs {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    let written = run(program().arg("man").arg(&pages)).await;
    assert!(written.status.success(), "{written:?}");
    assert!(pages.join("tollgate.1").is_file());
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        let page = fs::read_to_string(pages.join(format!("tollgate-{verb}.1"))).expect("a page");
        assert!(page.contains(".SH SYNOPSIS"), "{verb}: {page}");
    }
}
