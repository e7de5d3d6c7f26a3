//! What single values of the Helm chart change, and what they must not.

use std::fs;

use serde_json::{Value, json};

use crate::chart::render;
use crate::interop::repository;
use crate::manifests::{HELMS, VERSIONS, object, objects, secrets, strictly_valid};
use crate::process::{program, run};

/// The objects of a value set with more values, for the newest Kubernetes.
async fn with(values: &str, sets: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["--kube-version", "1.37"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    objects(&render("4", values, &arguments).await.expect("manifests"))
}

/// The one container of a workload.
fn container<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    &object(objects, kind, name)["spec"]["template"]["spec"]["containers"][0]
}

/// The ports of a Service, by name.
fn ports(service: &Value) -> Vec<&str> {
    let ports = service["spec"]["ports"].as_array().expect("ports");
    ports.iter().map(|port| port["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn the_level_of_the_log_is_that_of_the_configuration_unless_the_values_say_another() {
    for (values, kind, name, component) in [
        ("one-values.yaml", "StatefulSet", "tollgate", "issuer"),
        ("gate-values.yaml", "Deployment", "tollgate-gate", "gate"),
    ] {
        let usual = with(values, &[]).await;
        assert!(!container(&usual, kind, name)["args"].to_string().contains("--log"), "{values}");
        let set = with(values, &[&format!("{component}.logLevel=debug")]).await;
        assert!(container(&set, kind, name)["args"].to_string().contains("\"--log=debug\""), "{values}");
    }
}

#[tokio::test]
async fn a_balancer_of_the_issuer_leads_to_its_public_port_only() {
    let sets = ["issuer.service.type=LoadBalancer", "metrics.serviceMonitor.enabled=true"];
    let objects = with("one-values.yaml", &sets).await;
    let public = object(&objects, "Service", "tollgate");
    assert_eq!((&public["spec"]["type"], ports(public)), (&json!("LoadBalancer"), vec!["http"]));
    let internal = object(&objects, "Service", "tollgate-internal");
    assert_eq!((&internal["spec"]["type"], ports(internal)), (&json!("ClusterIP"), vec!["grpc-authz", "admin"]));
    assert_eq!(internal["spec"]["selector"], public["spec"]["selector"]);
    let services =
        objects.iter().filter(|object| object["kind"] == "Service" && object["spec"]["type"] == "LoadBalancer");
    assert_eq!(services.count(), 1);
    // Where nobody in the cluster asks, there is no such Service.
    let objects = with("replicas-values.yaml", &[]).await;
    assert!(!objects.iter().any(|object| object["metadata"]["name"] == "tollgate-internal"));
}

#[tokio::test]
async fn the_kubelet_waits_longer_than_the_configuration_says_that_a_process_takes_to_end() {
    let grace = |objects: &[Value], kind: &str| {
        object(objects, kind, "tollgate")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].clone()
    };
    assert_eq!(grace(&with("one-values.yaml", &[]).await, "StatefulSet"), 30, "5s, 20s and a little");
    for (delay, deadline, seconds) in [("1m", "20s", 85), ("0s", "10m", 605), ("1m30s", "1m", 155)] {
        let sets =
            [&format!("issuer.config.shutdown.delay={delay}"), &format!("issuer.config.shutdown.deadline={deadline}")];
        let objects = with("replicas-values.yaml", &sets.map(String::as_str)).await;
        assert_eq!(grace(&objects, "Deployment"), seconds, "{delay} and {deadline}");
    }
}

#[tokio::test]
async fn the_policy_that_injects_does_what_the_values_say() {
    for version in HELMS {
        let rendered = render(version, "policy-values.yaml", &["--kube-version", "1.37"]).await.expect("manifests");
        let objects = objects(&rendered);
        let policy = object(&objects, "MutatingAdmissionPolicy", "inject.tollgate.dev");
        assert_eq!(policy["spec"]["failurePolicy"], "Ignore");
        for way in ["namespaces", "pods"] {
            let binding = object(&objects, "MutatingAdmissionPolicyBinding", &format!("{way}.inject.tollgate.dev"));
            assert_eq!(
                binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0],
                json!({
                    "key": "kubernetes.io/metadata.name", "operator": "NotIn",
                    "values": ["kube-system", "kube-node-lease", "monitoring", "tollgate-system"],
                }),
                "Helm {version}, {way}"
            );
        }
        // What it does to pods is what the program prints.
        let printed = std::fs::read_to_string(crate::interop::repository("k8s/chart/files/injection-policy.yaml"));
        let printed = crate::manifests::objects(&printed.expect("the policy"));
        let printed = object(&printed, "MutatingAdmissionPolicy", "inject.tollgate.dev");
        for part in ["mutations", "variables", "matchConditions", "matchConstraints", "reinvocationPolicy"] {
            assert_eq!(policy["spec"][part], printed["spec"][part], "{part}");
        }
    }
    let old = ["--kube-version", "1.29", "--set", "injector.mode=webhook", "--set", "injector.failurePolicy=Ignore"];
    let refused = render("4", "", &old).await.expect_err("no policy refuses pods in 1.29");
    assert!(refused.contains("needs Kubernetes 1.30 or later"), "{refused}");
}

#[tokio::test]
async fn the_webhook_comes_after_those_of_meshes_whatever_the_release_is_called() {
    for name in ["", "guard", "auth"] {
        let objects = with("one-values.yaml", &[&format!("fullnameOverride={name}")]).await;
        let webhook = object(&objects, "MutatingWebhookConfiguration", "tollgate-injector");
        let called = webhook["metadata"]["name"].as_str().expect("a name");
        for mesh in [
            "consul-consul-connect-injector",
            "istio-sidecar-injector",
            "kuma-admission-mutating-webhook-configuration",
        ] {
            assert!(mesh < called, "{mesh}");
        }
    }
}

#[tokio::test]
async fn the_pod_of_helm_test_is_let_in_and_speaks_as_the_issuer_does() {
    let from = "issuer.networkPolicy.from[0].podSelector.matchLabels.app=ingress";
    let tls = ["issuer.config.listen.public.tls.certificate=c", "issuer.config.listen.public.tls.private_key=k"];
    let objects = with("replicas-values.yaml", &[from, tls[0], tls[1]]).await;
    let pod = object(&objects, "Pod", "tollgate-test");
    let policy = object(&objects, "NetworkPolicy", "tollgate");
    let peers = policy["spec"]["ingress"][0]["from"].as_array().expect("peers");
    assert_eq!(peers.len(), 2);
    let selector = peers[1]["podSelector"]["matchLabels"].as_object().expect("labels");
    for (label, value) in selector {
        assert_eq!(&pod["metadata"]["labels"][label], value);
    }
    assert_eq!(selector["app.kubernetes.io/component"], "test");
    let arguments = &pod["spec"]["containers"][0]["args"];
    assert_eq!(*arguments, json!(["healthcheck", "--insecure", "--url=https://tollgate:80/oauth/jwks"]));
    assert_eq!(object(&objects, "Service", "tollgate")["spec"]["ports"][0]["appProtocol"], "https");
    // Anybody may call: so may the test.
    let open = with("replicas-values.yaml", &[]).await;
    assert!(object(&open, "NetworkPolicy", "tollgate")["spec"]["ingress"][0]["from"].is_null());
}

#[tokio::test]
async fn a_check_of_health_may_leave_the_certificate_alone() {
    let said = run(program().args(["healthcheck", "--insecure", "--url=https://127.0.0.1:1/readyz"])).await;
    assert_eq!(said.status.code(), Some(1), "{}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn pods_stay_in_their_service_when_what_they_share_is_away_and_start_only_with_it() {
    let objects = with("replicas-values.yaml", &[]).await;
    let probes = container(&objects, "Deployment", "tollgate");
    assert_eq!(probes["startupProbe"]["httpGet"]["path"], "/readyz");
    let stays = "/readyz?exclude=store&exclude=replay-guard";
    assert_eq!(probes["readinessProbe"]["httpGet"]["path"], stays);
    let base = crate::manifests::objects(&crate::manifests::kustomize("k8s/base").await);
    let base = base.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
    assert_eq!(base["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"], stays);
}

#[tokio::test]
async fn what_the_injector_gives_every_sidecar_is_in_the_values() {
    let objects = with("everything-values.yaml", &[]).await;
    let injector = object(&objects, "Deployment", "guard-injector");
    let arguments = &injector["spec"]["template"]["spec"]["containers"][0]["args"];
    for argument in ["--image-pull-policy=Always", "--otlp-endpoint=http://collector.observability:4318"] {
        assert!(arguments.as_array().is_some_and(|list| list.contains(&json!(argument))), "{arguments}");
    }
}

#[tokio::test]
async fn jobs_are_called_what_the_alerts_look_for_whatever_the_release_is_called() {
    let rules = std::fs::read_to_string(crate::interop::repository("k8s/chart/observability/rules.yaml"));
    assert!(rules.expect("the rules").contains(r#"up{job=~".*tollgate.*"}"#));
    let component = |kind: &str| {
        json!([{
            "sourceLabels": [
                "__meta_kubernetes_namespace",
                format!("__meta_kubernetes_{kind}_label_app_kubernetes_io_component"),
            ],
            "separator": "/tollgate-",
            "targetLabel": "job",
        }])
    };
    let pods = with("gate-values.yaml", &["fullnameOverride=guard"]).await;
    let ours = &object(&pods, "PodMonitor", "guard")["spec"]["podMetricsEndpoints"][0];
    assert_eq!(ours["relabelings"], component("pod"));
    let sidecars = &object(&pods, "PodMonitor", "guard-sidecars")["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        sidecars["relabelings"],
        json!([{
            "sourceLabels": ["__meta_kubernetes_namespace"], "targetLabel": "job", "replacement": "$1/tollgate-sidecars",
        }])
    );
    let services = with("everything-values.yaml", &[]).await;
    let monitor = &object(&services, "ServiceMonitor", "guard")["spec"]["endpoints"][0];
    assert_eq!(monitor["relabelings"], component("service"));
    for name in ["guard-internal", "guard-gate"] {
        let service = object(&services, "Service", name);
        assert!(ports(service).contains(&"admin"), "{name}");
        assert!(service["metadata"]["labels"]["app.kubernetes.io/component"].is_string());
    }
}

#[test]
fn the_quick_start_makes_every_file_that_its_values_name() {
    let read = |path: &str| fs::read_to_string(repository("k8s/chart").join(path)).expect("a file");
    let (values, pages) = (read("ci/replicas-values.yaml"), [read("README.md"), read("../../docs/tutorials/helm.md")]);
    let named = values.split("/run/secrets/tollgate/").skip(1);
    let named: Vec<_> = named.filter_map(|rest| rest.split([' ', ',', '}', '\n']).next()).collect();
    assert_eq!(named, ["postgres-url", "redis-url", "users.yaml", "kek", "printer"]);
    for page in pages {
        assert!(page.contains("ci/replicas-values.yaml") && page.contains("--from-file=secrets\n"), "{page}");
        for file in &named {
            assert!(page.contains(&format!(" secrets/{file}\n")), "nothing makes {file}");
        }
    }
}

#[tokio::test]
async fn what_is_added_for_high_availability_fits_to_other_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    for (set, kind) in [("replicas-values.yaml", "issuer"), ("gate-values.yaml", "gate")] {
        for version in VERSIONS {
            let more = ["--values", "values-ha.yaml", "--set", "injector.mode=webhook", "--kube-version", version];
            let rendered = render("4", set, &more).await.expect("manifests");
            let path = folder.path().join(format!("{version}-{set}"));
            fs::write(&path, &rendered).expect("a file");
            files.push((version, path));
            let objects = objects(&rendered);
            let name = if kind == "issuer" { "tollgate" } else { "tollgate-gate" };
            assert_eq!(object(&objects, "HorizontalPodAutoscaler", name)["spec"]["minReplicas"], 3, "{set}");
            assert_eq!(object(&objects, "Deployment", "tollgate-injector")["spec"]["replicas"], 3, "{set}");
            for (name, component) in [(name, kind), ("tollgate-injector", "injector")] {
                let pod = &object(&objects, "Deployment", name)["spec"]["template"];
                let wishes = &pod["spec"]["affinity"]["podAntiAffinity"];
                let wish = &wishes["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
                let apart = &wish["labelSelector"];
                for (label, value) in apart["matchLabels"].as_object().expect("labels") {
                    assert_eq!(&pod["metadata"]["labels"][label], value, "{component}");
                }
                assert_eq!(apart["matchLabels"]["app.kubernetes.io/component"], component);
            }
        }
    }
    strictly_valid(&files).await;
}

#[tokio::test]
async fn the_gate_that_meshes_ask_has_a_configuration_that_the_program_accepts() {
    let folder = tempfile::tempdir().expect("a folder");
    secrets(folder.path());
    let values = ["--values", "../mesh/gate/values.yaml"];
    let nobody = render("4", "", &values).await.expect_err("nobody was let in");
    assert!(nobody.contains("gate.networkPolicy.from is empty"), "{nobody}");
    let from =
        r#"gate.networkPolicy.from=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"shop"}}}]"#;
    let rendered = render("4", "", &[&values[..], &["--set-json", from]].concat()).await.expect("manifests");
    let objects = objects(&rendered);
    let text = object(&objects, "ConfigMap", "tollgate-gate")["data"]["tollgate.yaml"].as_str().expect("a text");
    let path = folder.path().join("tollgate.yaml");
    let text = text.replace("/run/secrets/tollgate", &folder.path().display().to_string());
    fs::write(&path, text).expect("a file");
    let arguments = container(&objects, "Deployment", "tollgate-gate")["args"].as_array().expect("arguments");
    let set = arguments.iter().filter_map(Value::as_str).filter(|argument| argument.starts_with("--set="));
    let said = run(program().arg("validate").arg(path).args(set)).await;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}
