//! What pods and injectors may ask for about the sidecar, and the way back.

use std::fs;

use serde_json::{Value, json};

use crate::interop::repository;
use crate::manifests::{VERSIONS, fed, objects, strictly_valid};
use crate::process::{program, run};

/// What `tollgate inject` makes of a pod.
async fn injected(pod: &Value, arguments: &[&str]) -> Value {
    let mut command = program();
    command.args(["inject", "--image", "ghcr.io/example/tollgate:0.1.0"]).args(arguments);
    objects(&fed(command, &pod.to_string()).await).remove(0)
}

/// What it says on standard error, without the lines that it is broken into.
fn unwrapped(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said).replace(['│', '╰', '─', '▶'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Why `tollgate inject` does not take a pod.
async fn refused(pod: &Value) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pod.yaml");
    fs::write(&path, pod.to_string()).expect("a file");
    let said = run(program().arg("inject").arg(&path)).await;
    assert_eq!(said.status.code(), Some(1));
    unwrapped(&said.stderr)
}

fn golden(name: &str) -> Value {
    objects(&fs::read_to_string(repository("k8s/injection").join(name)).expect("a pod")).remove(0)
}

fn annotated(annotations: &[(&str, &str)]) -> Value {
    let mut pod = golden("pod.yaml");
    for (name, value) in annotations {
        pod["metadata"]["annotations"][format!("tollgate.dev/{name}")] = (*value).into();
    }
    pod
}

fn sidecar(pod: &Value) -> &Value {
    &pod["spec"]["initContainers"][0]
}

/// The last one of a list.
fn last(list: &Value) -> &Value {
    list.as_array().and_then(|list| list.last()).expect("a list")
}

#[tokio::test]
async fn a_pod_may_have_a_token_for_an_audience_that_only_its_sidecar_has() {
    let pod = injected(&annotated(&[("token-audience", "https://auth.example.com")]), &[]).await;
    assert_eq!(
        *last(&pod["spec"]["volumes"]),
        json!({ "name": "tollgate-token", "projected": { "sources": [{ "serviceAccountToken": {
            "audience": "https://auth.example.com", "expirationSeconds": 3600, "path": "token",
        } }] } })
    );
    let mount = json!({ "name": "tollgate-token", "mountPath": "/run/secrets/tollgate-token", "readOnly": true });
    assert_eq!(*last(&sidecar(&pod)["volumeMounts"]), mount);
    for container in pod["spec"]["containers"].as_array().expect("containers") {
        assert!(!container.to_string().contains("tollgate-token"), "{container}");
    }
    assert_eq!(injected(&pod, &[]).await, pod, "a second review changes something");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pod.yaml");
    fs::write(&path, pod.to_string()).expect("a file");
    strictly_valid(&VERSIONS.map(|version| (version, path.clone()))).await;
    for audience in ["", "two words", &"a".repeat(513)] {
        assert!(refused(&annotated(&[("token-audience", audience)])).await.contains("the audience of a token"));
    }
}

#[tokio::test]
async fn a_pod_may_patch_its_sidecar_but_not_what_makes_it_a_guard() {
    let add = r#"[
        {"op":"add","path":"/env/-","value":{"name":"OTEL_EXPORTER_OTLP_ENDPOINT","value":"http://collector:4318"}},
        {"op":"add","path":"/volumeMounts/-","value":{"name":"authorities","mountPath":"/etc/authorities","readOnly":true}},
        {"op":"replace","path":"/imagePullPolicy","value":"Always"},
        {"op":"add","path":"/resources/limits/cpu","value":"2"}]"#;
    let pod = injected(&annotated(&[("patch", add)]), &[]).await;
    let patched = sidecar(&pod);
    assert_eq!(last(&patched["env"])["value"], "http://collector:4318");
    assert_eq!(last(&patched["volumeMounts"])["mountPath"], "/etc/authorities");
    assert_eq!((&patched["imagePullPolicy"], &patched["resources"]["limits"]["cpu"]), (&json!("Always"), &json!("2")));
    let plain = injected(&golden("pod.yaml"), &[]).await;
    for kept in ["name", "image", "args", "restartPolicy", "securityContext", "startupProbe"] {
        assert_eq!(patched[kept], sidecar(&plain)[kept], "{kept}");
    }
    assert_eq!(injected(&pod, &[]).await, pod, "a second review changes something");

    for patch in [
        r#"[{"op":"replace","path":"/args","value":["version"]}]"#,
        r#"[{"op":"add","path":"/command","value":["/bin/true"]}]"#,
        r#"[{"op":"add","path":"/args/-","value":"--set=protected_resources=[]"}]"#,
        r#"[{"op":"replace","path":"/securityContext/runAsNonRoot","value":false}]"#,
        r#"[{"op":"remove","path":"/restartPolicy"}]"#,
        r#"[{"op":"replace","path":"/image","value":"elsewhere"}]"#,
        r#"[{"op":"remove","path":"/volumeMounts/0"}]"#,
        r#"[{"op":"move","from":"/volumeMounts/3","path":"/volumeMounts/0"}]"#,
        r#"[{"op":"replace","path":"","value":1}]"#,
        r#"[{"op":"remove","path":"/nowhere"}]"#,
    ] {
        let said = refused(&annotated(&[("patch", patch)])).await;
        assert!(said.contains("does not fit the container, or changes what makes it a guard"), "{patch}: {said}");
    }
    let many = format!("[{}]", vec![r#"{"op":"test","path":"/name","value":"tollgate"}"#; 33].join(","));
    let long = format!(r#"[{{"op":"add","path":"/env/-","value":"{}"}}]"#, "a".repeat(8 << 10));
    for patch in ["", "{}", "[]", r#"[{"op":"spoil","path":"/env"}]"#, &many, &long] {
        let said = refused(&annotated(&[("patch", patch)])).await;
        assert!(said.contains("tollgate.dev/patch must be a JSON patch (RFC 6902)"), "{patch:.80}: {said}");
    }
}

#[tokio::test]
async fn an_injector_says_for_all_how_images_are_pulled_and_where_traces_go() {
    let pod = golden("pod.yaml");
    let arguments = ["--image-pull-policy", "Always", "--otlp-endpoint", "http://collector.observability:4318"];
    let made = injected(&pod, &arguments).await;
    assert_eq!(sidecar(&made)["imagePullPolicy"], "Always");
    let told = json!({ "name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability:4318/" });
    assert_eq!(*last(&sidecar(&made)["env"]), told);
    let said = run(program().args(["inject", "--image-pull-policy", "Sometimes", "/dev/null"])).await;
    assert_eq!(said.status.code(), Some(2));
}

#[tokio::test]
async fn what_was_injected_is_taken_out_again_and_nothing_else() {
    let back = async |pod: &Value| injected(pod, &["--uninject"]).await;
    let plain = golden("pod.yaml");
    assert_eq!(back(&golden("pod.injected.yaml")).await, plain);
    let wishes = annotated(&[("token-audience", "https://auth.example.com"), ("listen", "both")]);
    assert_eq!(back(&injected(&wishes, &[]).await).await, wishes);
    // What others have said and mounted stays; so does what was there without us.
    let mut busy = golden("pod.yaml");
    busy["metadata"]["labels"]["sidecar.istio.io/inject"] = "true".into();
    busy["metadata"]["annotations"]["sidecar.istio.io/userVolumeMount"] = r#"{"extra":{"mountPath":"/extra"}}"#.into();
    busy["spec"]["initContainers"] = json!([{ "name": "setup", "image": "s" }]);
    busy["spec"]["volumes"] = json!([{ "name": "extra", "emptyDir": {} }]);
    assert_eq!(back(&injected(&busy, &[]).await).await, busy);
    let mut told = golden("pod.yaml");
    told["metadata"]["labels"]["sidecar.istio.io/inject"] = "true".into();
    assert_eq!(back(&injected(&told, &[]).await).await, told);
    // A pod without a sidecar of ours is left alone, whatever its containers are called.
    let mut own = golden("pod.yaml");
    own["spec"]["initContainers"] = json!([{ "name": "tollgate", "image": "t" }]);
    assert_eq!(back(&own).await, own);
    let mut spoilt = golden("pod.injected.yaml");
    spoilt["metadata"]["annotations"]["tollgate.dev/status"] = "{}".into();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pod.yaml");
    fs::write(&path, spoilt.to_string()).expect("a file");
    let said = run(program().args(["inject", "--uninject"]).arg(&path)).await;
    assert_eq!(said.status.code(), Some(1));
    assert!(unwrapped(&said.stderr).contains("tollgate.dev/status"), "{said:?}");
}
