//! Injection without a server: the policies, evaluated as the API server does as far as an evaluator of CEL can.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::interop::{installed, repository};
use crate::manifests::{fed, helm, objects, strictly_valid, succeeded};
use crate::process::{program, run};

/// What becomes of pods: each one, or a text that says why it is refused or skipped.
async fn reviewed(policies: &Path, pods: &[Value]) -> Vec<Value> {
    let mut command = Command::new(installed(".tools/kubernetes/bin/python"));
    command.arg(repository("tests/interop/admission.py")).arg(policies).kill_on_drop(true);
    serde_json::from_str(&fed(command, &json!(pods).to_string()).await).expect("JSON")
}

/// The policy that injects, as the chart has it.
fn injects() -> std::path::PathBuf {
    repository("k8s/chart/files/injection-policy.yaml")
}

/// What the file injector makes of a pod with the configuration that the policy is given, less what only it writes.
async fn by_file(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["annotations"]["tollgate.dev/config"] = json!("orders-gate");
    let mut command = program();
    command.args(["inject", "--image", "ghcr.io/example/tollgate:0.1.0"]);
    let mut pod = objects(&fed(command, &pod.to_string()).await).remove(0);
    let annotations = pod["metadata"]["annotations"].as_object_mut().expect("annotations");
    annotations.remove("tollgate.dev/status");
    annotations.remove("tollgate.dev/config");
    pod
}

/// A pod with these containers and init containers, that asks for the sidecar.
fn pod(containers: &[&str], inits: &[&str]) -> Value {
    let list = |names: &[&str]| names.iter().map(|name| json!({ "name": name, "image": "i" })).collect::<Vec<_>>();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "generateName": "orders-", "labels": { "tollgate.dev/inject": "true" }, "annotations": { "a": "b" } },
        "spec": { "containers": list(containers) },
    });
    if !inits.is_empty() {
        pod["spec"]["initContainers"] = list(inits).into();
    }
    pod
}

/// A pod that says that Istio is going to put its proxy in.
fn before_istio() -> Value {
    let mut pod = pod(&["app"], &[]);
    pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "true".into();
    pod
}

#[tokio::test]
async fn the_chart_has_the_policy_that_the_program_prints_and_kubernetes_takes_it() {
    let printed = succeeded(&run(program().args(["inject", "--print-policy"])).await);
    let hint = "run `tollgate inject --print-policy > k8s/chart/files/injection-policy.yaml`";
    assert!(printed == fs::read_to_string(injects()).expect("the policy"), "{hint}");
    strictly_valid(&["1.36", "1.37"].map(|version| (version, injects()))).await;
}

#[tokio::test]
async fn the_policy_makes_of_a_pod_what_the_other_injectors_make_of_it() {
    let mut with_mounts = pod(&["envoy", "app"], &[]);
    with_mounts["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "envoy", "mountPath": "/etc/envoy" }]);
    with_mounts["spec"]["volumes"] = json!([{ "name": "envoy", "emptyDir": {} }]);
    with_mounts["spec"]["fromTheFuture"] = json!({ "deep": [1, true] });
    let pods = [
        with_mounts,
        pod(&["app", "istio-proxy"], &["istio-init"]),
        pod(&["app"], &["istio-init", "kuma-sidecar"]),
        before_istio(),
    ];
    let made = reviewed(&injects(), &pods).await;
    for (pod, made) in pods.iter().zip(&made) {
        assert_eq!(made, &by_file(pod).await);
    }
    assert_eq!(reviewed(&injects(), &made).await, made, "a second evaluation changes something");
}

#[tokio::test]
async fn the_policy_gives_a_proxy_that_comes_later_the_socket_and_leaves_what_was_said_to_istio() {
    let mut told = before_istio();
    let said = json!(r#"{"extra":{"mountPath":"/extra"}}"#);
    told["metadata"]["annotations"]["sidecar.istio.io/userVolumeMount"] = said.clone();
    let mut later = reviewed(&injects(), &[told]).await.remove(0);
    assert_eq!(later["metadata"]["annotations"]["sidecar.istio.io/userVolumeMount"], said);
    let proxy = json!({ "name": "istio-proxy", "image": "p" });
    later["spec"]["initContainers"].as_array_mut().expect("a list").insert(0, proxy);
    let made = reviewed(&injects(), std::slice::from_ref(&later)).await.remove(0);
    later["spec"]["initContainers"][0]["volumeMounts"] =
        json!([{ "name": "tollgate-run", "mountPath": "/run/tollgate", "readOnly": true }]);
    assert_eq!(made, later);
    let mut host = pod(&["envoy"], &[]);
    host["spec"]["hostNetwork"] = true.into();
    let mut windows = pod(&["envoy"], &[]);
    windows["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "windows" });
    assert_eq!(reviewed(&injects(), &[host, windows]).await, ["skipped: not-host-network", "skipped: not-windows"]);
}

#[tokio::test]
async fn the_last_word_refuses_pods_that_nothing_protects() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policies.yaml");
    let render = async |mode: &str| {
        let mut template = helm("4");
        template.args([
            "template",
            "tollgate",
            ".",
            "--kube-version",
            "1.37",
            "--set",
            &format!("injector.mode={mode}"),
        ]);
        template.args(["--show-only", "templates/injector/require-sidecar.yaml"]).stdin(Stdio::null());
        fs::write(&path, succeeded(&run(&mut template).await)).expect("a file");
    };
    render("webhook").await;
    let injected = by_file(&pod(&["envoy"], &[])).await;
    let mut ordinary = injected.clone();
    ordinary["spec"]["initContainers"][0].as_object_mut().expect("a container").remove("restartPolicy");
    let mut nobody = injected.clone();
    nobody["spec"]["containers"][0].as_object_mut().expect("a container").remove("volumeMounts");
    let mut loopback = pod(&["app"], &[]);
    loopback["metadata"]["annotations"]["tollgate.dev/listen"] = "loopback".into();
    let loopback = by_file(&loopback).await;
    let mut host = pod(&["envoy"], &[]);
    host["spec"]["hostNetwork"] = true.into();
    let mut host_by_namespace = host.clone();
    host_by_namespace["metadata"]["labels"] = json!({});
    let pods = [injected.clone(), loopback, pod(&["envoy"], &[]), ordinary, nobody, host, host_by_namespace];
    let said = reviewed(&path, &pods).await;
    assert_eq!(said[..2], pods[..2]);
    let has_none = "refused: this pod must have the tollgate sidecar and has none: is the injector running, and was the pod \
                    made after the label was set?";
    let nobody_asks = "refused: no container of this pod can ask the tollgate sidecar: which one is its Envoy?";
    let skipped = "skipped: can-have-it-or-asked-itself";
    assert_eq!(said[2..], [has_none, has_none, nobody_asks, has_none, skipped]);
    // The policy that injects reads no annotations, and they may have been meant to protect.
    render("policy").await;
    let mut annotated = injected.clone();
    annotated["metadata"]["annotations"]["tollgate.dev/config"] = "other".into();
    let said = reviewed(&path, &[injected.clone(), annotated]).await;
    assert_eq!(said[0], injected);
    assert!(said[1].as_str().is_some_and(|text| text.contains("reads no annotations")), "{}", said[1]);
}
