//! The sidecar: our container, and its volumes.

use serde_json::{Value, json};

use super::{CONTAINER, Template, Wishes};

/// The volume of the socket.
pub(super) const RUN: &str = "tollgate-run";

/// Where it is mounted.
pub(super) const RUN_PATH: &str = "/run/tollgate";

/// The socket.
const SOCKET: &str = "unix:/run/tollgate/authz.sock";

/// Where the token is, as `token`.
const TOKEN_PATH: &str = "/run/secrets/tollgate-token";

/// How long the token is good, in seconds; the kubelet renews it before.
const TOKEN_LIFETIME: u32 = 3600;

/// The members of the container that no patch changes.
pub(super) const KEPT: [&str; 7] =
    ["name", "image", "command", "args", "restartPolicy", "securityContext", "terminationMessagePolicy"];

/// The volumes, by name.
pub(super) fn volumes(wishes: &Wishes) -> Vec<(&'static str, Value)> {
    let memory = |size: &str| json!({ "medium": "Memory", "sizeLimit": size });
    let volume = |name: &'static str, kind: &str, what: Value| (name, json!({ "name": name, kind: what }));
    // Without an `fsGroup`, which is not ours to set, a mode of 0440 would keep our user out.
    let secret = json!({ "secretName": wishes.secret, "defaultMode": 0o444, "optional": true });
    let mut volumes = vec![
        volume(RUN, "emptyDir", memory("1Mi")),
        volume("tollgate-config", "configMap", json!({ "name": wishes.config })),
        volume("tollgate-secrets", "secret", secret),
        // Where the API token of the application would be put: we have no use for it.
        volume("tollgate-no-api", "emptyDir", memory("4Ki")),
    ];
    if let Some(audience) = &wishes.token_audience {
        let token = json!({ "audience": audience, "expirationSeconds": TOKEN_LIFETIME, "path": "token" });
        let sources = json!({ "sources": [{ "serviceAccountToken": token }] });
        volumes.push(volume("tollgate-token", "projected", sources));
    }
    volumes
}

/// The container. It passes the *restricted* Pod Security Standard, and has no CPU limit: a throttled guard looks like one
/// that is down.
pub(super) fn container(template: &Template, wishes: &Wishes) -> Value {
    let asked = if wishes.listen.has_socket() { SOCKET.to_owned() } else { loopback(wishes) };
    // `exec`, not HTTP or gRPC: meshes rewrite those, and strict mTLS breaks what is not rewritten.
    let probe = |live: bool, period: u32, failures: u32| {
        let mut command = vec!["/tollgate", "healthcheck"];
        command.extend(live.then_some("--live"));
        command.push(&asked);
        json!({ "exec": { "command": command }, "periodSeconds": period, "timeoutSeconds": 1, "failureThreshold": failures })
    };
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let mut container = json!({
        "name": CONTAINER,
        "image": wishes.image.as_ref().unwrap_or(&template.image),
        "imagePullPolicy": template.pull_policy,
        "restartPolicy": "Always",
        "args": arguments(wishes),
        "env": [
            { "name": "POD_NAME", "valueFrom": field("metadata.name") },
            { "name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace") },
            {
                "name": "OTEL_RESOURCE_ATTRIBUTES",
                "value": "k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE)",
            },
        ],
        "ports": [{ "name": "tollgate-admin", "containerPort": wishes.admin_port }],
        "startupProbe": probe(true, 1, 30),
        "readinessProbe": probe(false, 10, 2),
        "livenessProbe": probe(true, 30, 3),
        "resources": {
            "requests": { "cpu": wishes.cpu_request, "memory": wishes.memory_request },
            "limits": { "memory": wishes.memory_limit },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            { "name": RUN, "mountPath": RUN_PATH },
            { "name": "tollgate-config", "mountPath": "/etc/tollgate", "readOnly": true },
            { "name": "tollgate-secrets", "mountPath": "/run/secrets/tollgate", "readOnly": true },
            {
                "name": "tollgate-no-api",
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "readOnly": true,
            },
        ],
    });
    if let Some(endpoint) = &template.otlp_endpoint {
        push(&mut container["env"], json!({ "name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": endpoint }));
    }
    if wishes.token_audience.is_some() {
        let mount = json!({ "name": "tollgate-token", "mountPath": TOKEN_PATH, "readOnly": true });
        push(&mut container["volumeMounts"], mount);
    }
    container
}

fn push(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

/// The container as the pod wants it; `None` if it cannot be so, or would be no guard any more.
pub(super) fn patched(container: Value, wishes: &Wishes) -> Option<Value> {
    let Some(patch) = &wishes.patch else { return Some(container) };
    let mut patched = container.clone();
    json_patch::patch(&mut patched, patch).ok()?;
    let mounts = |container: &Value| container["volumeMounts"].as_array().cloned().unwrap_or_default();
    let same = patched.is_object()
        && KEPT.iter().all(|member| patched.get(member) == container.get(member))
        && mounts(&patched).starts_with(&mounts(&container));
    same.then_some(patched)
}

fn loopback(wishes: &Wishes) -> String {
    format!("127.0.0.1:{}", wishes.authz_port)
}

/// How the sidecar is started: where it listens is the injector's to say, everything else the file's.
fn arguments(wishes: &Wishes) -> Vec<String> {
    let mut listeners = Vec::new();
    if wishes.listen.has_socket() {
        // Whoever mounts the volume may connect: Envoy runs as a different user in every mesh.
        listeners.push(json!({ "address": SOCKET, "mode": "0666" }));
    }
    if wishes.listen.has_port() {
        listeners.push(json!({ "address": loopback(wishes) }));
    }
    let admin = json!({ "address": format!("0.0.0.0:{}", wishes.admin_port) });
    let mut arguments = vec![
        "serve".to_owned(),
        "--config=/etc/tollgate/tollgate.yaml".to_owned(),
        format!("--set=listen.ext_authz={}", json!(listeners)),
        format!("--set=listen.admin={admin}"),
        // It is told to stop after its proxy, when nobody asks any more.
        "--set=shutdown.delay=\"0s\"".to_owned(),
    ];
    arguments.extend(wishes.log_level.as_ref().map(|level| format!("--log={level}")));
    arguments
}
