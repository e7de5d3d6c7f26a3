//! The certificate that the chart makes, over an upgrade: Helm looks it up at an API server, which the test plays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::documents::{Documents, Reply};
use crate::manifests::{HELMS, helm, object, objects, succeeded};
use crate::process::run;

/// Where Helm looks.
const SECRET: &str = "/api/v1/namespaces/tollgate-system/secrets/tollgate-injector-tls";

/// A cluster that knows the kinds of some objects, and has none of them.
struct Cluster {
    server: Documents,
    folder: TempDir,
}

impl Cluster {
    async fn of(kinds: &[Value]) -> Self {
        let server = Documents::start().await;
        let put = |path: &str, answer: &Value| {
            server.put(path, Reply::json(answer));
            server.put(&format!("{path}?timeout=32s"), Reply::json(answer));
        };
        put("/version", &json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.0" }));
        put("/api", &json!({ "kind": "APIVersions", "versions": ["v1"] }));
        let mut resources = BTreeMap::<&str, BTreeSet<&str>>::new();
        for object in kinds {
            let named = |member: &str| object[member].as_str().expect("a text");
            resources.entry(named("apiVersion")).or_default().insert(named("kind"));
        }
        let mut groups = Vec::new();
        for (version, kinds) in resources {
            let resource = |kind: &&str| {
                let lower = kind.to_lowercase();
                let plural = match lower.strip_suffix('y') {
                    Some(stem) => format!("{stem}ies"),
                    None => format!("{lower}s"),
                };
                json!({ "name": plural, "kind": kind, "namespaced": true, "verbs": ["get", "create"] })
            };
            let resources: Vec<_> = kinds.iter().map(resource).collect();
            let list = json!({ "kind": "APIResourceList", "groupVersion": version, "resources": resources });
            let Some((group, number)) = version.split_once('/') else {
                put("/api/v1", &list);
                continue;
            };
            put(&format!("/apis/{version}"), &list);
            let known = json!({ "groupVersion": version, "version": number });
            groups.push(json!({ "name": group, "versions": [known], "preferredVersion": known }));
        }
        put("/apis", &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }));
        let folder = tempfile::tempdir().expect("a folder");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": server.origin } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "users": [{ "name": "it", "user": {} }],
        });
        fs::write(folder.path().join("config"), config.to_string()).expect("a file");
        Self { server, folder }
    }

    /// What Helm would send it, after it has looked up what is there.
    async fn would_get(&self, version: &str, arguments: &[&str]) -> Vec<Value> {
        let mut command = helm(version);
        command.arg("--kubeconfig").arg(self.folder.path().join("config"));
        command.args(["template", "tollgate", ".", "--namespace", "tollgate-system", "--values", "ci/one-values.yaml"]);
        command.args(["--dry-run=server", "--disable-openapi-validation"]).args(arguments);
        objects(&succeeded(&run(&mut command).await))
    }
}

/// What the API server would trust the webhook by.
fn trusted(objects: &[Value]) -> BTreeSet<&str> {
    let configuration = object(objects, "MutatingWebhookConfiguration", "tollgate-injector");
    let webhooks = configuration["webhooks"].as_array().expect("webhooks");
    webhooks.iter().map(|webhook| webhook["clientConfig"]["caBundle"].as_str().expect("a bundle")).collect()
}

#[tokio::test]
async fn the_certificate_of_the_injector_is_made_once_and_kept_over_upgrades() {
    let mut template = helm("4");
    template.args(["template", "tollgate", ".", "--values", "ci/one-values.yaml"]);
    let kinds = objects(&succeeded(&run(&mut template).await));
    for version in HELMS {
        let cluster = Cluster::of(&kinds).await;
        let installed = cluster.would_get(version, &[]).await;
        assert!(cluster.server.asked(SECRET) > 0, "Helm {version} has not looked");
        let made = object(&installed, "Secret", "tollgate-injector-tls");
        assert_eq!(trusted(&installed), BTreeSet::from([made["data"]["ca.crt"].as_str().expect("an authority")]));
        // It was not written: another installation would have another one.
        let other = cluster.would_get(version, &[]).await;
        assert_ne!(object(&other, "Secret", "tollgate-injector-tls")["data"], made["data"], "Helm {version}");

        cluster.server.put(SECRET, Reply::json(made));
        let upgraded = cluster.would_get(version, &["--is-upgrade", "--set", "injector.replicas=3"]).await;
        assert_eq!(object(&upgraded, "Secret", "tollgate-injector-tls")["data"], made["data"], "Helm {version}");
        assert_eq!(trusted(&upgraded), trusted(&installed), "Helm {version}");
    }
}
