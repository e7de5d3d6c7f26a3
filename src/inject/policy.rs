//! Injection without a server: the same sidecar as a `MutatingAdmissionPolicy` (Kubernetes 1.36), which the API server
//! evaluates itself.
//!
//! The expressions (CEL, with the types of Kubernetes) are made from the container that every injector adds, so they cannot
//! say something else. A policy reads no annotations: what differs between namespaces is in a `ConfigMap` of the namespace,
//! `tollgate-injection`.

use serde_json::{Value, json};

use super::{CONTAINER, ENVOYS, ISTIO_MOUNTS, Template, Wishes, sidecar};

/// What the policy and its bindings are called.
const NAME: &str = "inject.tollgate.dev";

/// The `ConfigMap` in each namespace with `image`, `config` and `secret`.
const PARAMETERS: &str = "tollgate-injection";

/// What expressions of our own begin with, where a text stands in a value.
const PARAMETER: &str = "params.data.";

/// The policy and its bindings, as YAML.
///
/// # Errors
/// Those of the writer.
pub fn policy() -> Result<String, serde_saphyr::ser::Error> {
    let documents = [policy_object(), binding("namespaces"), binding("pods")];
    Ok(serde_saphyr::to_string_multiple(&documents)? + "\n")
}

fn policy_object() -> Value {
    let condition = |name: &str, expression: &str| json!({ "name": name, "expression": expression });
    let variable = |name: &str, expression: String| json!({ "name": name, "expression": expression });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": NAME },
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
            }] },
            // What cannot have the sidecar is skipped here, and refused by the policy that requires it if it asked itself.
            "matchConditions": [
                condition("not-host-network", "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"),
                condition("not-windows", NOT_WINDOWS),
            ],
            "variables": [
                variable("inits", "has(object.spec.initContainers) ? object.spec.initContainers : []".to_owned()),
                variable("there", format!(
                    "object.spec.containers.exists(c, c.name == '{CONTAINER}') || variables.inits.exists(c, c.name == '{CONTAINER}')"
                )),
                variable("istio", ISTIO_COMES.to_owned()),
            ],
            "mutations": [json_patch(&mounts()), json_patch(&ours()), json_patch(&istio())],
        },
    })
}

/// A pod that is not for Windows.
const NOT_WINDOWS: &str = "!(has(object.spec.os) && object.spec.os.name == 'windows') && \
    !(has(object.spec.nodeSelector) && 'kubernetes.io/os' in object.spec.nodeSelector && object.spec.nodeSelector['kubernetes.io/os'] == 'windows')";

/// A pod that says that Istio puts its proxy in.
const ISTIO_COMES: &str = "has(object.metadata.labels) && \
    ('istio.io/rev' in object.metadata.labels || \
    ('sidecar.istio.io/inject' in object.metadata.labels && object.metadata.labels['sidecar.istio.io/inject'] == 'true'))";

fn json_patch(expression: &str) -> Value {
    json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } })
}

/// The socket in every Envoy that lacks it, one that came after us included.
fn mounts() -> String {
    let names = ENVOYS.map(|name| format!("'{name}'")).join(", ");
    let mount = cel(&json!({ "name": sidecar::RUN, "mountPath": sidecar::RUN_PATH, "readOnly": true }));
    let lacks = format!(
        "c.name in [{names}] && !(has(c.volumeMounts) && c.volumeMounts.exists(m, m.mountPath == '{}'))",
        sidecar::RUN_PATH
    );
    // Names are unique in each list, so a name finds its place.
    let add = |list: &str, of: &str| {
        format!(
            "{of}.filter(c, {lacks}).map(c, JSONPatch{{op: 'add', \
             path: '/spec/{list}/' + string({of}.map(x, x.name).indexOf(c.name)) + (has(c.volumeMounts) ? '/volumeMounts/-' : '/volumeMounts'), \
             value: has(c.volumeMounts) ? dyn({mount}) : dyn([{mount}])}})"
        )
    };
    format!("{} + {}", add("containers", "object.spec.containers"), add("initContainers", "variables.inits"))
}

/// The volumes, and our container before every other.
fn ours() -> String {
    let wishes =
        Wishes { config: format!("{PARAMETER}config"), secret: format!("{PARAMETER}secret"), ..Wishes::default() };
    let template = Template::of(format!("{PARAMETER}image"));
    let add = |path: &str, value: &str| format!("JSONPatch{{op: 'add', path: '{path}', value: {value}}}");
    let mut operations: Vec<_> =
        sidecar::volumes(&wishes).iter().map(|(_, volume)| add("/spec/volumes/-", &cel(volume))).collect();
    operations.push(add("/spec/initContainers/0", &cel(&sidecar::container(&template, &wishes))));
    let have = |list: &str| format!("(has(object.spec.{list}) ? [] : [{}])", add(&format!("/spec/{list}"), "dyn([])"));
    format!("variables.there ? [] : {} + {} + [{}]", have("volumes"), have("initContainers"), operations.join(", "))
}

/// What Istio's proxy is to mount, if it comes after us. An annotation that is there stays: CEL cannot add to its JSON, and
/// the proxy gets the socket when the policy is evaluated again.
fn istio() -> String {
    let mounts = json!({ sidecar::RUN: { "mountPath": sidecar::RUN_PATH, "readOnly": true } }).to_string();
    let key = ISTIO_MOUNTS.rsplit_once("/annotations/").map_or("", |(_, key)| key);
    let plain = key.replace("~1", "/");
    format!(
        "!variables.istio ? [] : !has(object.metadata.annotations) ? \
         [JSONPatch{{op: 'add', path: '/metadata/annotations', value: {{'{plain}': dyn({mounts})}}}}] : \
         '{plain}' in object.metadata.annotations ? [] : \
         [JSONPatch{{op: 'add', path: '/metadata/annotations/{key}', value: dyn({mounts})}}]",
        mounts = cel(&json!(mounts)),
    )
}

fn binding(way: &str) -> Value {
    let in_namespace = way == "namespaces";
    let mut namespaces = vec![json!({
        "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kube-node-lease"],
    })];
    let pods = if in_namespace {
        namespaces.push(json!({ "key": "tollgate.dev/injection", "operator": "In", "values": ["enabled"] }));
        json!({ "key": "tollgate.dev/inject", "operator": "NotIn", "values": ["false"] })
    } else {
        json!({ "key": "tollgate.dev/inject", "operator": "In", "values": ["true"] })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": format!("{way}.{NAME}") },
        "spec": {
            "policyName": NAME,
            // Without a namespace: that of the pod.
            "paramRef": { "name": PARAMETERS, "parameterNotFoundAction": "Deny" },
            "matchResources": {
                "namespaceSelector": { "matchExpressions": namespaces },
                "objectSelector": { "matchExpressions": [pods] },
            },
        },
    })
}

/// A value as CEL. Members are of type `dyn`, since the members of a map or a list are of one type.
fn cel(value: &Value) -> String {
    let of_any = |value: &Value| format!("dyn({})", cel(value));
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.starts_with(PARAMETER) => text.clone(),
        Value::String(text) => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
        Value::Array(values) => format!("[{}]", values.iter().map(of_any).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("'{name}': {}", of_any(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
    }
}
