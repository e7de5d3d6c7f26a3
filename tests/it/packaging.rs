//! What a release is made of: Debian package, chart, the recipe of the image, the workflow, and one version in all of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::interop::repository;
use crate::manifests::{helm, succeeded};
use crate::process::{program, run};

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A small program that does what the large one does, since packing is about neither.
fn small_program(folder: &Path) -> PathBuf {
    let path = folder.join("program");
    fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_tollgate"))).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a mode");
    path
}

#[tokio::test]
async fn the_archive_has_what_it_should_and_is_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = small_program(folder.path());
    let mut archives = Vec::new();
    for name in ["one", "two"] {
        let into = folder.path().join(name);
        fs::create_dir(&into).expect("a folder");
        let mut pack = Command::new(repository("scripts/package-archive"));
        pack.arg(&small).args(["1.2.3", "x86_64-unknown-linux-musl"]).arg(&into).env("SOURCE_DATE_EPOCH", "1700000000");
        archives.push(succeeded(&run(&mut pack).await).trim().to_owned());
    }
    assert!(fs::read(&archives[0]).expect("an archive") == fs::read(&archives[1]).expect("an archive"));
    let files = succeeded(&run(Command::new("tar").arg("tzf").arg(&archives[0])).await);
    for file in [
        "tollgate",
        "LICENSE",
        "CHANGELOG.md",
        "completions/tollgate.bash",
        "completions/tollgate.zsh",
        "man/tollgate.1",
    ] {
        let path = format!("tollgate-1.2.3-x86_64-unknown-linux-musl/{file}");
        assert!(files.lines().any(|line| line == path), "{path}:\n{files}");
    }
}

#[tokio::test]
async fn the_chart_of_a_release_has_its_version_and_pulls_its_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let pack = async |version: &str| {
        let mut pack = Command::new(repository("scripts/package-chart"));
        run(pack.args([version, "ghcr.io/owner/tollgate"]).arg(folder.path())).await
    };
    let version = env!("CARGO_PKG_VERSION");
    let packed = succeeded(&pack(version).await).trim().to_owned();
    assert_eq!(Path::new(&packed), folder.path().join(format!("tollgate-{version}.tgz")));
    let mut render = helm("4");
    render.args(["template", "tollgate", &packed, "--values"]).arg(repository("k8s/chart/ci/one-values.yaml"));
    let rendered = succeeded(&run(&mut render).await);
    assert!(rendered.contains(&format!("ghcr.io/owner/tollgate:{version}")), "{rendered}");
    assert!(!rendered.contains("ghcr.io/example"), "{rendered}");
    assert!(!pack("999.0.0").await.status.success(), "a chart of another version");
}

#[tokio::test]
async fn the_notes_of_a_release_are_what_the_changelog_says_about_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let changelog = folder.path().join("CHANGELOG.md");
    let text = "# Changelog\n\n## 1.2.3 (2026-11-26)\n\n- New.\n\n## 1.2.2\n\n- Old.\n\n## 1.2.1\n";
    fs::write(&changelog, text).expect("a file");
    let notes = async |version: &str| {
        run(Command::new(repository("scripts/release-notes")).arg(version).env("CHANGELOG", &changelog)).await
    };
    assert_eq!(succeeded(&notes("1.2.3").await).trim(), "- New.");
    assert_eq!(succeeded(&notes("1.2.2").await).trim(), "- Old.");
    for missing in ["1.2", "1.2.1", "2"] {
        assert!(!notes(missing).await.status.success(), "{missing}");
    }
    for name in ["package-deb", "package-archive", "package-chart", "release-notes"] {
        assert!(
            read(".github/workflows/release.yml").contains(&format!("scripts/{name} ")),
            "{name} is not what makes a release"
        );
    }
}

#[tokio::test]
async fn the_debian_package_has_what_it_should_and_is_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = small_program(folder.path());
    let mut packages = Vec::new();
    for name in ["one", "two"] {
        let into = folder.path().join(name);
        fs::create_dir(&into).expect("a folder");
        let mut pack = Command::new(repository("scripts/package-deb"));
        pack.arg(&small).args(["1.2.3", "arm64"]).arg(&into).env("SOURCE_DATE_EPOCH", "1700000000");
        let path = succeeded(&run(&mut pack).await).trim().to_owned();
        assert_eq!(Path::new(&path), into.join("tollgate_1.2.3_arm64.deb"));
        packages.push(path);
    }
    assert!(fs::read(&packages[0]).expect("a package") == fs::read(&packages[1]).expect("a package"));
    let ask = async |what: &str| succeeded(&run(Command::new("dpkg-deb").arg(what).arg(&packages[0])).await);
    let files = ask("--contents").await;
    for (mode, file) in [
        ("-rwxr-xr-x root/root", "./usr/bin/tollgate"),
        ("-rw-r--r-- root/root", "./usr/lib/systemd/system/tollgate.service"),
        ("-rw-r--r-- root/root", "./usr/lib/sysusers.d/tollgate.conf"),
        ("-rw-r----- root/root", "./etc/tollgate/tollgate.yaml"),
        ("-rw-r--r-- root/root", "./usr/share/doc/tollgate/copyright"),
        ("-rw-r--r-- root/root", "./usr/share/bash-completion/completions/tollgate"),
        ("-rw-r--r-- root/root", "./usr/share/man/man1/tollgate-serve.1.gz"),
    ] {
        assert!(files.lines().any(|line| line.starts_with(mode) && line.ends_with(file)), "{file}:\n{files}");
    }
    let control = ask("--info").await;
    assert!(control.contains("Version: 1.2.3") && control.contains("Architecture: arm64"), "{control}");
    for step in ["postinst", "prerm", "postrm"] {
        assert!(control.lines().any(|line| line.contains(&format!("*  {step} "))), "{step}:\n{control}");
    }
}

/// Runs a step of the package as dpkg does.
async fn step(name: &str, arguments: &[&str]) -> String {
    let mut sh = Command::new("/bin/sh");
    // No programs: whatever the step would do here, it cannot.
    sh.arg("-e").arg(repository(&format!("packaging/{name}"))).args(arguments).env("PATH", "/nonexistent");
    succeeded(&run(&mut sh).await)
}

#[tokio::test]
async fn an_upgrade_of_the_package_neither_stops_the_service_nor_removes_anything() {
    for (name, arguments) in [
        ("prerm", ["upgrade", "1.2.4"]),
        ("prerm", ["failed-upgrade", "1.2.2"]),
        ("postrm", ["upgrade", "1.2.4"]),
        ("postrm", ["abort-upgrade", "1.2.4"]),
        ("postinst", ["abort-upgrade", "1.2.4"]),
    ] {
        assert_eq!(step(name, &arguments).await, "", "{name} {arguments:?}");
    }
}

#[tokio::test]
async fn the_configuration_in_the_package_is_one_that_the_program_accepts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.yaml");
    fs::write(&path, read("packaging/tollgate.yaml")).expect("a file");
    fs::write(folder.path().join("kek"), crate::world::ENCRYPTION_KEY).expect("a file");
    let said = run(program().arg("validate").arg(&path)).await;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    // The directories that it names are those that systemd makes.
    let (unit, configuration) = (read("packaging/tollgate.service"), read("packaging/tollgate.yaml"));
    for (setting, place) in [("RuntimeDirectory", "/run/"), ("StateDirectory", "/var/lib/")] {
        assert!(unit.contains(&format!("\n{setting}=tollgate\n")));
        assert!(configuration.contains(&format!("{place}tollgate/")), "{place}");
    }
}

#[test]
fn one_version_is_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("k8s/chart/Chart.yaml");
    for field in ["version", "appVersion"] {
        assert!(chart.contains(&format!("\n{field}: {version}\n")), "{field}: {chart}");
    }
    for (path, text) in [
        ("k8s/base/kustomization.yaml", format!("newTag: {version}\n")),
        ("k8s/overlays/example/kustomization.yaml", format!("newTag: {version}\n")),
        ("k8s/injection/pod.injected.yaml", format!("ghcr.io/example/tollgate:{version}\n")),
        ("k8s/mesh/envoy-gateway.yaml", format!("ghcr.io/example/tollgate:{version}\n")),
    ] {
        assert!(read(path).contains(&text), "{path} does not say {text}");
    }
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).expect("a channel").trim_end_matches(".0");
    assert!(
        read("Containerfile").contains(&format!("/rust:{channel}-bookworm")),
        "the image is built with another Rust"
    );
}

#[test]
fn what_the_workflows_use_is_pinned_and_may_do_little() {
    let workflows: Vec<_> = fs::read_dir(repository(".github/workflows")).expect("a folder").collect();
    assert!(workflows.len() >= 4, "{workflows:?}");
    for workflow in workflows {
        let path = workflow.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a workflow");
        let name = path.display();
        assert!(text.contains("\npermissions: {}\n"), "{name}");
        for action in text.split("uses: ").skip(1) {
            let pin = action.split('@').nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
            let pinned = pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(pinned, "{name}: {}", action.lines().next().unwrap_or_default());
        }
        let checkouts = text.matches("uses: actions/checkout@").count();
        assert_eq!(text.matches("persist-credentials: false").count(), checkouts, "{name}");
    }
}

#[test]
fn both_images_start_the_same_program_in_the_same_way_and_one_recipe_builds_it() {
    let last = |path: &str| {
        let text = read(path);
        let stage = text.split("\nFROM scratch\n").nth(1).expect("a stage of its own").to_owned();
        stage
            .lines()
            .filter(|line| ["USER", "ENTR", "CMD "].iter().any(|word| line.starts_with(word)))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(last("Containerfile"), last("packaging/Containerfile.release"));
    let recipe = "scripts/build-static \"$machine\"";
    let container = read("Containerfile");
    assert!(container.contains(recipe), "the image is built in another way");
    assert!(container.contains("\nARG TARGETARCH\n"), "a default hides for which machine BuildKit builds");
    assert!(!read(".github/workflows/release.yml").contains("cargo build"), "a release is built in another way");
}
