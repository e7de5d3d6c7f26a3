//! The Kustomize base in `k8s/base` and the overlay that shows how to use it.

use std::fs;

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
