//! The shapes in `k8s/mesh`. No mesh is run here: objects are held against the types of their products where a package has them,
//! and `envoy_proxy.rs` has the real Envoy serve with the fragments that are Envoy's own.

use std::fs;

use serde_json::{Value, json};

use crate::interop::repository;
use crate::manifests::{VERSIONS, custom_types, helm, object, objects, strictly_valid, succeeded};
use crate::process::run;

/// The files, by name.
fn shapes() -> Vec<(String, String)> {
    let files = fs::read_dir(repository("k8s/mesh")).expect("shapes").map(|file| file.expect("a file").path());
    let yaml = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let name = |path: &std::path::Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    yaml.map(|path| (name(&path), fs::read_to_string(&path).expect("a file"))).collect()
}

#[tokio::test]
async fn every_shape_has_the_types_of_its_product() {
    let all: Vec<_> = shapes().iter().flat_map(|(_, text)| objects(text)).collect();
    let kinds: Vec<_> = all.iter().filter(|object| object["kind"].is_string()).cloned().collect();
    assert_eq!(
        custom_types(&kinds).await,
        [
            "consul.hashicorp.com/v1alpha1/ServiceDefaults",
            "gateway.envoyproxy.io/v1alpha1/Backend",
            "gateway.envoyproxy.io/v1alpha1/EnvoyProxy",
            "gateway.envoyproxy.io/v1alpha1/SecurityPolicy",
            "gateway.kgateway.dev/v1alpha1/GatewayExtension",
            "gateway.kgateway.dev/v1alpha1/TrafficPolicy",
            "gateway.networking.k8s.io/v1/HTTPRoute",
            "getambassador.io/v3alpha1/AuthService",
            "kuma.io/v1alpha1/MeshProxyPatch",
            "projectcontour.io/v1/HTTPProxy",
            "projectcontour.io/v1alpha1/ExtensionService",
        ],
        "no package has these"
    );
}

#[test]
fn every_shape_says_for_which_versions_it_is_and_what_was_not_run() {
    let readme = fs::read_to_string(repository("k8s/mesh/README.md")).expect("the readme");
    for (name, text) in shapes() {
        let head: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let head = head.join(" ").replace(" # ", " ");
        if name != "istio-mesh-config.yaml" {
            assert!(["For ", "Checked: ", "Not run: "].iter().all(|word| head.contains(word)), "{name}: {head}");
        }
        assert!(readme.contains(&format!("]({name})")), "the readme does not name {name}");
    }
}

#[tokio::test]
async fn the_shapes_ask_where_the_chart_and_the_injector_answer() {
    let mut template = helm("4");
    template.args(["template", "tollgate", ".", "--namespace", "tollgate-system", "--values", "ci/gate-values.yaml"]);
    let chart = objects(&succeeded(&run(&mut template).await));
    let service = object(&chart, "Service", "tollgate-gate");
    assert_eq!(service["spec"]["ports"][0]["port"], 9191);
    for (name, text) in shapes() {
        let mut asked = text.matches("tollgate-gate").count();
        if asked > 0 && name != "istio-mesh-config.yaml" && name != "istio-ambient.yaml" {
            let ways = ["name: tollgate-gate, namespace: tollgate-system", "tollgate-gate.tollgate-system:9191"];
            asked = ways.map(|way| text.matches(way).count()).iter().sum();
            assert!(asked > 0, "{name} names a Service of another namespace");
        }
    }
    let shape = |name: &str| shapes().into_iter().find(|(file, _)| file == name).expect("a shape").1;
    let provider = &objects(&shape("istio-mesh-config.yaml"))[0]["meshConfig"]["extensionProviders"];
    let sidecar = objects(&shape("istio-sidecar.yaml"));
    let policy = object(&sidecar, "AuthorizationPolicy", "tollgate");
    assert_eq!(policy["spec"]["provider"]["name"], provider[0]["name"]);
    assert_eq!(provider[0]["envoyExtAuthzGrpc"]["service"], sidecar[0]["spec"]["hosts"][0]);
    let ambient = objects(&shape("istio-ambient.yaml"));
    assert_eq!(object(&ambient, "AuthorizationPolicy", "tollgate")["spec"]["provider"]["name"], provider[1]["name"]);
    // Who calls a Service of the namespace goes through the waypoint, gateways included.
    let namespace = &object(&ambient, "Namespace", "shop")["metadata"]["labels"];
    let waypoint = &object(&ambient, "Gateway", "waypoint")["metadata"];
    assert_eq!(namespace["istio.io/use-waypoint"], waypoint["name"]);
    assert_eq!(waypoint["namespace"], "shop");
    assert_eq!(namespace["istio.io/ingress-use-waypoint"], "true");
    assert_eq!(namespace["istio.io/dataplane-mode"], "ambient");
    let injected = objects(&fs::read_to_string(repository("k8s/injection/pod.injected.yaml")).expect("a pod"));
    let arguments = injected[0]["spec"]["initContainers"][0]["args"].to_string();
    let socket = sidecar[0]["spec"]["endpoints"][0]["address"].as_str().expect("an address");
    assert!(arguments.contains(&socket.replace("unix://", "unix:")), "{socket}");
}

#[tokio::test]
async fn the_pods_of_envoy_gateway_get_the_container_that_the_injector_adds() {
    let text = fs::read_to_string(repository("k8s/mesh/envoy-gateway.yaml")).expect("a shape");
    let objects = crate::manifests::objects(&text);
    let proxy = object(&objects, "EnvoyProxy", "tollgate");
    // A Gateway names an EnvoyProxy of its own namespace only; a class names one of any.
    let class = object(&objects, "GatewayClass", "tollgate");
    let parameters = &class["spec"]["parametersRef"];
    for part in ["name", "namespace"] {
        assert_eq!(parameters[part], proxy["metadata"][part], "{part}");
    }
    assert_eq!(parameters["kind"], proxy["kind"]);
    let gateway = object(&objects, "Gateway", "public");
    assert_eq!(gateway["spec"]["gatewayClassName"], class["metadata"]["name"]);
    let route = object(&objects, "HTTPRoute", "orders");
    assert_eq!(route["spec"]["parentRefs"][0]["name"], gateway["metadata"]["name"]);
    let target = &object(&objects, "SecurityPolicy", "tollgate")["spec"]["targetRefs"][0];
    assert_eq!((&target["kind"], &target["name"]), (&route["kind"], &route["metadata"]["name"]));
    let patch = &proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"];
    let mut spec = patch["spec"]["template"]["spec"].clone();
    let injected = fs::read_to_string(repository("k8s/injection/pod.injected.yaml")).expect("a pod");
    let injected = crate::manifests::objects(&injected)[0]["spec"]["initContainers"][0].clone();
    for part in ["image", "restartPolicy", "args", "ports", "securityContext", "terminationMessagePolicy"] {
        assert_eq!(spec["initContainers"][0][part], injected[part], "{part}");
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(spec["initContainers"][0][probe]["exec"], injected[probe]["exec"], "{probe}");
    }
    // As the gateway's own pod has it.
    spec["containers"][0]["image"] = json!("docker.io/envoyproxy/envoy:distroless-v1.40.0");
    let pod: Value = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "envoy" }, "spec": spec });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pod.yaml");
    fs::write(&path, pod.to_string()).expect("a file");
    strictly_valid(&VERSIONS.map(|version| (version, path.clone()))).await;
}

#[test]
fn who_looks_into_a_pod_is_told_where_its_sidecar_listens() {
    let text = |path: &str| fs::read_to_string(repository(path)).expect("a file");
    let injected = objects(&text("k8s/injection/pod.injected.yaml"));
    let arguments = injected[0]["spec"]["initContainers"][0]["args"].as_array().expect("arguments");
    let listens =
        arguments.iter().filter_map(Value::as_str).filter_map(|argument| argument.strip_prefix("--set=listen."));
    let readme = text("k8s/README.md");
    for set in listens {
        assert!(readme.contains(&format!("--set 'listen.{set}'")), "{set}");
    }
    let admin = "http://127.0.0.1:15909/status";
    assert!(readme.contains(admin) && text("docs/tutorials/kubernetes.md").contains(admin));
}
