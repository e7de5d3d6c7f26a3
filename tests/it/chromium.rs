//! Every page for people in Chromium, judged by axe-core (`tests/interop/pages.mjs`).

use std::path::PathBuf;

use tokio::process::Command;

use crate::interop::{node, repository};
use crate::process::{Installation, PASSWORD, run};

/// The path of Chromium.
pub async fn chromium() -> PathBuf {
    let output = run(&mut Command::new(repository("scripts/install-chromium"))).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().into()
}

/// Runs the script against one issuer with a brand, and one whose pages expire at once; it must see `steps` things.
async fn visit(locales: &[&str], steps: usize) {
    let (installation, hasty) = (Installation::new(), Installation::new());
    std::fs::copy(repository("examples/logo.svg"), installation.path("logo.svg")).expect("a logo");
    let branding = "authorization_server.branding={\"name\":\"Example Orders\",\"logo_file\":\"logo.svg\"}";
    let words = "authorization_server.scopes={\"orders:read\":{\"en\":\"Read your orders\",\"de\":\"Ihre Bestellungen lesen\"},\
                 \"orders:write\":{\"en\":\"Change your orders\",\"de\":\"Ihre Bestellungen ändern\"},admin: Everything}";
    let process = installation.start(&["--set", branding, "--set", words]).await;
    let hasty_process = hasty.start(&["--set", "authorization_server.tokens.transaction=1s"]).await;
    let mut script = node("pages.mjs");
    script
        .args(locales)
        .current_dir(repository("tests/interop"))
        .env("CHROMIUM_BIN", chromium().await)
        .env("ISSUER", &installation.issuer)
        .env("HASTY_ISSUER", &hasty.issuer)
        .env("USERNAME", "ada")
        .env("PASSWORD", PASSWORD)
        .kill_on_drop(true);
    let output = run(&mut script).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut logs = String::new();
    for process in [process, hasty_process] {
        process.signal("TERM").await;
        logs += &process.ended().await.1;
    }
    assert!(output.status.success(), "{said}{complained}\nthe program said:\n{logs}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), steps, "{said}{complained}");
    println!("{said}");
}

#[tokio::test]
async fn people_let_devices_in_and_turn_them_away() {
    visit(&[], 5).await;
}

#[tokio::test]
async fn every_page_is_for_everybody_in_english() {
    visit(&["en-US"], 1).await;
}

#[tokio::test]
async fn every_page_is_for_everybody_in_german() {
    visit(&["de-DE"], 1).await;
}
