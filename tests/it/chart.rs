//! The Helm chart in `k8s/chart`, as Helm 3 and Helm 4 render it: what comes out is valid for Kubernetes, and the
//! configurations and arguments in it are valid for the program.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::interop::repository;
use crate::manifests::{HELMS, VERSIONS, custom_types, helm, object, objects, secrets, strictly_valid, succeeded};
use crate::process::{Process, program, run};

/// The value sets in `ci/`.
fn value_sets() -> Vec<String> {
    let files = fs::read_dir(repository("k8s/chart/ci")).expect("value sets");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The versions of Kubernetes that a value set is for.
fn versions(values: &str) -> &'static [&'static str] {
    if values == "policy-values.yaml" { &["1.36", "1.37"] } else { &VERSIONS }
}

/// Renders the chart with a value set and more arguments.
pub async fn render(version: &str, values: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = helm(version);
    command.args(["template", "tollgate", ".", "--namespace", "tollgate-system"]);
    if !values.is_empty() {
        command.arg("--values").arg(format!("ci/{values}"));
    }
    let output = run(command.args(arguments)).await;
    if output.status.success() {
        Ok(succeeded(&output))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn both_helms_render_what_the_strict_schemas_of_kubernetes_accept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    for version in HELMS {
        let mut lint = helm(version);
        lint.args(["lint", "--strict", "."]);
        succeeded(&run(&mut lint).await);
        for values in value_sets() {
            let mut lint = helm(version);
            lint.args(["lint", "--strict", ".", "--values"]).arg(format!("ci/{values}"));
            succeeded(&run(&mut lint).await);
            for &kubernetes in versions(&values) {
                let text = render(version, &values, &["--kube-version", kubernetes]).await.expect("manifests");
                let path = folder.path().join(format!("helm-{version}-{kubernetes}-{values}"));
                fs::write(&path, text).expect("a file");
                files.push((kubernetes, path));
            }
        }
    }
    assert_eq!(
        strictly_valid(&files).await,
        "cert-manager.io/v1/Certificate cert-manager.io/v1/Issuer monitoring.coreos.com/v1/PodMonitor \
         monitoring.coreos.com/v1/PrometheusRule monitoring.coreos.com/v1/ServiceMonitor"
    );
    let custom = ["gate", "cert-manager", "everything"].map(|set| {
        fs::read_to_string(folder.path().join(format!("helm-4-1.37-{set}-values.yaml"))).expect("manifests")
    });
    assert_eq!(custom_types(&objects(&custom.concat())).await, Vec::<String>::new(), "no package has these");
    let older = render("4", "one-values.yaml", &["--kube-version", "1.28"]).await.expect_err("too old");
    assert!(older.contains("kubeVersion: >=1.29.0-0"), "{older}");
    let older = render("4", "policy-values.yaml", &["--kube-version", "1.35"]).await.expect_err("too old");
    assert!(older.contains("needs Kubernetes 1.36 or later"), "{older}");
}

#[tokio::test]
async fn both_helms_render_the_same() {
    for values in value_sets().into_iter().filter(|values| values != "one-values.yaml") {
        let [three, four] = HELMS.map(|version| render(version, &values, &["--kube-version", "1.37"]));
        let (three, four) = (three.await.expect("manifests"), four.await.expect("manifests"));
        let sorted = |text: &str| {
            let mut objects: Vec<_> = objects(text).iter().map(Value::to_string).collect();
            objects.sort();
            objects
        };
        assert_eq!(sorted(&three), sorted(&four), "{values}");
    }
}

/// The configuration of a component with its secrets in a folder, and the settings that its container is started with.
fn started(objects: &[Value], name: &str, folder: &TempDir) -> (std::path::PathBuf, Vec<String>) {
    let path = folder.path().join(format!("{name}.yaml"));
    let text = object(objects, "ConfigMap", name)["data"]["tollgate.yaml"].as_str().expect("a text");
    let here = folder.path().display().to_string();
    let text = text
        .replace("/run/secrets/cluster", &here)
        .replace("/run/secrets/tollgate", &here)
        .replace("/var/lib/tollgate", &here);
    fs::write(&path, text).expect("a file");
    let workload = objects.iter().find(|object| {
        ["Deployment", "StatefulSet"].iter().any(|kind| object["kind"] == **kind) && object["metadata"]["name"] == name
    });
    let container = &workload.expect("a workload")["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().expect("arguments").iter().map(|argument| argument.as_str());
    (path, arguments.map(|argument| argument.expect("a text").to_owned()).collect())
}

#[tokio::test]
async fn every_configuration_in_it_is_one_that_the_program_accepts() {
    let folder = tempfile::tempdir().expect("a folder");
    secrets(folder.path());
    let mut seen = 0;
    for version in HELMS {
        for values in value_sets() {
            let objects = objects(&render(version, &values, &["--kube-version", "1.37"]).await.expect("manifests"));
            let configurations = objects
                .iter()
                .filter(|object| object["kind"] == "ConfigMap" && !object["data"]["tollgate.yaml"].is_null());
            for map in configurations {
                let name = map["metadata"]["name"].as_str().expect("a name");
                let (path, arguments) = started(&objects, name, &folder);
                let mut validate = program();
                validate.arg("validate").arg(path);
                validate.args(arguments.iter().filter(|argument| argument.starts_with("--set=")));
                let said = run(&mut validate).await;
                assert!(said.status.success(), "{values} {name}: {}", String::from_utf8_lossy(&said.stderr));
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 2 * 6, "issuers and gates of all value sets");
}

#[tokio::test]
async fn what_the_chart_starts_serves_and_is_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    secrets(folder.path());
    let objects = objects(&render("4", "one-values.yaml", &[]).await.expect("manifests"));
    let (path, arguments) = started(&objects, "tollgate", &folder);
    let mut command = program();
    for argument in arguments {
        let argument = argument.replace("/etc/tollgate/tollgate.yaml", &path.display().to_string());
        command.arg(
            ["8080", "9090", "9191"]
                .iter()
                .fold(argument, |argument, port| argument.replace(&format!("0.0.0.0:{port}"), "127.0.0.1:0")),
        );
    }
    let process = Process::start(command).await;
    let container = &object(&objects, "StatefulSet", "tollgate")["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        let answer = reqwest::get(format!("http://{}{path}", process.admin)).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{probe}");
    }
    // The Service is where the process is.
    let test = object(&objects, "Pod", "tollgate-test");
    let mut check = program();
    for argument in test["spec"]["containers"][0]["args"].as_array().expect("arguments") {
        let argument = argument.as_str().expect("a text");
        check.arg(argument.replace("http://tollgate:80/", &format!("http://{}/", process.announced("public"))));
    }
    succeeded(&run(&mut check).await);
    process.signal("TERM").await;
    assert!(process.ended().await.0.success());
}

#[tokio::test]
async fn values_that_nobody_knows_or_that_cannot_be_are_refused() {
    let cases = [
        ("replica=2", "replica"),
        ("issuer.copies=2", "copies"),
        ("issuer.replicas=0", "replicas"),
        ("issuer.replicas=two", "replicas"),
        ("issuer.service.type=ExternalName", "type"),
        ("issuer.persistence.size=1", "size"),
        ("image.digest=sha256:short", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("gate.service.port=0", "port"),
        ("gate.existingSecret=Not_a_name", "existingSecret"),
        ("injector.mode=sidecar", "mode"),
        ("injector.failurePolicy=Maybe", "failurePolicy"),
        ("injector.port=443", "port"),
        ("injector.timeoutSeconds=31", "timeoutSeconds"),
        ("injector.certificates.from=thin-air", "from"),
        ("injector.certificates.caBundle=-----BEGIN", "caBundle"),
        ("metrics.podMonitor.interval=often", "interval"),
        ("metrics.podMonitor.labels.release=1", "release"),
        ("metrics.prometheusRule.documents=docs", "documents"),
        ("metrics.dashboard.labels.grafana_dashboard=1", "grafana_dashboard"),
    ];
    for version in HELMS {
        for (set, named) in cases {
            let refused = render(version, "replicas-values.yaml", &["--set", set]).await;
            let Err(said) = refused else { panic!("Helm {version} takes {set}") };
            assert!(said.contains("values don't meet the specifications"), "{set}: {said}");
            assert!(said.contains(named), "{set}: {said}");
        }
    }
}

#[tokio::test]
async fn what_would_not_protect_is_refused_with_a_sentence() {
    let gateway = "gate.networkPolicy.from=null";
    let cases: [(&str, &[&str], &str); 21] = [
        ("", &[], "nothing is enabled"),
        ("", &["issuer.enabled=true"], "issuer.config is empty"),
        ("gate-values.yaml", &["issuer.enabled=true", "issuer.config.store.memory.a=b"], "no authorization_server"),
        ("one-values.yaml", &["issuer.replicas=2"], "several replicas need a database"),
        ("one-values.yaml", &["issuer.config.store=null", "issuer.replicas=2"], "several replicas need a database"),
        ("one-values.yaml", &["issuer.autoscaling.enabled=true"], "several replicas need a database"),
        (
            "one-values.yaml",
            &["issuer.autoscaling.enabled=true", "issuer.autoscaling.maxReplicas=1"],
            "one process serves",
        ),
        ("replicas-values.yaml", &["issuer.config.replay=null"], "a memory of used proofs that they share"),
        ("replicas-values.yaml", &["issuer.existingSecret="], "issuer.existingSecret names the Secret"),
        ("replicas-values.yaml", &["issuer.authz.enabled=true"], "no protected_resources to decide about"),
        ("one-values.yaml", &["issuer.authz.from=null"], "issuer.authz.from is empty"),
        ("gate-values.yaml", &[gateway], "gate.networkPolicy.from is empty"),
        ("gate-values.yaml", &["gate.config.replay=null"], "a memory of used proofs that they share"),
        (
            "gate-values.yaml",
            &["gate.config.protected_resources[0].nonce=required"],
            "nonces of a gate are those of one process",
        ),
        ("gate-values.yaml", &["gate.config.authorization_server.issuer=a"], "belongs under issuer.config"),
        (
            "one-values.yaml",
            &["injector.certificates.from=secret", "injector.certificates.existingSecret=a"],
            "caBundle is empty",
        ),
        ("everything-values.yaml", &["injector.failurePolicy=Ignore"], "nothing would refuse them"),
        ("policy-values.yaml", &["injector.otlpEndpoint=http://collector:4318"], "a policy knows no such value"),
        ("policy-values.yaml", &["injector.requireSidecar.enabled=false"], "nothing would refuse them"),
        ("gate-values.yaml", &["metrics.serviceMonitor.enabled=true"], "would have everything counted twice"),
        ("gate-values.yaml", &["gate.autoscaling.minReplicas=20"], "minReplicas is more than maxReplicas"),
    ];
    for version in HELMS {
        for (values, sets, sentence) in cases {
            let mut arguments: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
            arguments.extend(["--kube-version", "1.37"]);
            let Err(said) = render(version, values, &arguments).await else { panic!("Helm {version} takes {sets:?}") };
            assert!(said.contains(sentence), "{values} {sets:?}: {said}");
        }
    }
}

#[tokio::test]
async fn alerts_and_dashboard_are_those_of_the_files() {
    let read = |name: &str| fs::read_to_string(repository("k8s/chart/observability").join(name)).expect("a file");
    for version in HELMS {
        let rendered = render(version, "gate-values.yaml", &["--set", "metrics.prometheusRule.documents="]).await;
        let objects = objects(&rendered.expect("manifests"));
        let rule = object(&objects, "PrometheusRule", "tollgate");
        assert_eq!(rule["spec"], crate::manifests::objects(&read("rules.yaml"))[0], "Helm {version}");
        assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
        let dashboard = object(&objects, "ConfigMap", "tollgate-dashboard");
        assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
        let text = dashboard["data"]["tollgate.json"].as_str().expect("a text");
        let [given, written] =
            [text, &read("dashboard.json")].map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        assert_eq!(given, written, "Helm {version}");
        let linked = render(version, "gate-values.yaml", &[]).await.expect("manifests");
        assert!(linked.contains("runbook_url: https://docs.example.com/tollgate/metrics.md#tollgatedown"));
        assert!(!linked.contains("runbook_url: docs/"), "a link that leads nowhere");
    }
}

#[tokio::test]
async fn the_notes_name_the_next_command() {
    // Helm prints them at an installation, for which it wants a cluster: here they are a manifest.
    let folder = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp").arg("-r").arg(repository("k8s/chart")).arg(folder.path()).status();
    assert!(copied.expect("cp").success());
    let chart = folder.path().join("chart");
    let notes = fs::read_to_string(chart.join("templates/NOTES.txt")).expect("notes");
    let manifest = format!(
        "{{{{ define \"notes\" }}}}{notes}{{{{ end }}}}\nkind: Notes\ntext: |\n{{{{ include \"notes\" . | indent 2 }}}}\n"
    );
    fs::write(chart.join("templates/notes.yaml"), manifest).expect("a file");
    for version in HELMS {
        let mut template = helm(version);
        template.args(["template", "tollgate", "--namespace", "tollgate-system"]).arg(&chart);
        template.args(["--values", "ci/one-values.yaml", "--values", "ci/gate-values.yaml"]);
        let objects = objects(&succeeded(&run(&mut template).await));
        let notes = objects.iter().find(|object| object["kind"] == "Notes").expect("the notes");
        let notes = notes["text"].as_str().expect("a text");
        for command in [
            "kubectl -n tollgate-system get pods -l app.kubernetes.io/instance=tollgate",
            "curl https://auth.example.com/.well-known/oauth-authorization-server",
            "curl -i https://orders.example.com",
            "kubectl -n NAMESPACE patch deployment NAME --patch '{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"tollgate.dev/inject\":\"true\"}}}}}'",
            "Envoy asks tollgate-internal.tollgate-system:9191 over gRPC",
        ] {
            assert!(notes.contains(command), "{notes}");
        }
        assert!(!notes.contains("injection=enabled"), "a namespace has pods without an Envoy: {notes}");
    }
}
