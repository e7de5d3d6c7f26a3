//! The Kustomize base in `k8s/base`, the overlay that shows how to use it, and those that have the objects of the chart.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::chart::render;
use crate::manifests::{VERSIONS, kustomize, object, objects, secrets, strictly_valid};
use crate::process::{program, run};

#[tokio::test]
async fn base_and_overlay_are_valid_for_kubernetes_and_their_configurations_for_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    secrets(folder.path());
    let mut files = Vec::new();
    for name in ["base", "overlays/example"] {
        let text = kustomize(&format!("k8s/{name}")).await;
        let path = folder.path().join(name.replace('/', "-"));
        fs::write(&path, &text).expect("a file");
        files.extend(VERSIONS.map(|version| (version, path.clone())));
        let objects = objects(&text);
        let map = objects.iter().find(|object| object["kind"] == "ConfigMap").expect("a configuration");
        // The deployment mounts this very map: its name has a hash.
        let mounted = &object(&objects, "Deployment", "tollgate")["spec"]["template"]["spec"]["volumes"][0];
        assert_eq!(mounted["configMap"]["name"], map["metadata"]["name"]);
        let configuration = map["data"]["tollgate.yaml"].as_str().expect("a text");
        let configuration = configuration.replace("/run/secrets/tollgate", &folder.path().display().to_string());
        let path = folder.path().join("tollgate.yaml");
        fs::write(&path, configuration).expect("a file");
        let said = run(program().arg("validate").arg(path)).await;
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
    }
    assert_eq!(strictly_valid(&files).await, "", "custom types");
    let overlay = objects(&kustomize("k8s/overlays/example").await);
    let deployment = object(&overlay, "Deployment", "tollgate");
    assert_eq!(deployment["metadata"]["namespace"], "identity");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "registry.example.com/tollgate:0.1.0");
}

#[tokio::test]
async fn the_other_overlays_have_the_objects_of_the_chart() {
    let from = concat!(
        r#"gate.networkPolicy.from=[{"namespaceSelector":"#,
        r#"{"matchLabels":{"kubernetes.io/metadata.name":"gateway-system"}}}]"#,
    );
    let of_a_secret = concat!(
        "injector.mode=webhook,injector.certificates.from=secret,injector.certificates.caBundle=LS0tLS1CRUdJTg==,",
        "injector.certificates.existingSecret=tollgate-injector-tls",
    );
    let overlays: [(&str, &[&str]); 4] = [
        ("gate", &["--values", "../mesh/gate/values.yaml", "--set-json", from]),
        ("webhook", &["--set", of_a_secret]),
        ("cert-manager", &["--values", "ci/cert-manager-values.yaml"]),
        ("policy", &["--set", "injector.mode=policy"]),
    ];
    for (name, values) in overlays {
        let overlay = kustomize(&format!("k8s/overlays/{name}")).await;
        let chart = render("4", "", &[values, &["--kube-version", "1.37"]].concat()).await.expect("manifests");
        let (overlay, chart) = (without_helm(&overlay), without_helm(&chart));
        assert!(overlay.keys().eq(chart.keys()), "{name}: run scripts/render-overlays");
        for (object, there) in &chart {
            assert_eq!(overlay[object], *there, "{name}, {object}: run scripts/render-overlays");
        }
    }
}

/// Objects by kind and name, without what only Helm or only Kustomize puts there: labels, checksums, hashes in names.
fn without_helm(text: &str) -> BTreeMap<String, Value> {
    let configuration = objects(text).into_iter().find(|object| object["kind"] == "ConfigMap");
    let text = match configuration.as_ref().and_then(|object| object["metadata"]["name"].as_str()) {
        Some(hashed) => text.replace(hashed, "tollgate-gate"),
        None => text.to_owned(),
    };
    let named = |mut object: Value| {
        strip(&mut object);
        if object["kind"] == "ConfigMap" {
            object["data"] = objects(object["data"]["tollgate.yaml"].as_str().expect("a text")).into();
            object["metadata"]["labels"] = Value::Null;
        }
        (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
    };
    objects(&text).into_iter().map(named).collect()
}

fn strip(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        for key in ["helm.sh/chart", "app.kubernetes.io/managed-by", "checksum/config"] {
            fields.remove(key);
        }
        fields.values_mut().for_each(strip);
        fields.retain(|key, inner| key != "annotations" || inner.as_object().is_some_and(|there| !there.is_empty()));
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(strip);
    }
}
