//! Injection: the file, the webhook as the API server calls it, and the sidecar as it is then started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::app::{Injector, InjectorSettings, Stop};
use tollgate::inject::Template;
use tollgate::web::TlsFiles;

use crate::process::{Installation, Process, program, run};

const IMAGE: &str = "ghcr.io/example/tollgate:0.1.0";

/// Reads YAML as Kubernetes does.
fn yaml(text: &str) -> Value {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, strict_booleans: false };
    serde_saphyr::from_str_with_options(text, options).expect("YAML")
}

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s/injection").join(name);
    yaml(&fs::read_to_string(path).expect("a file"))
}

/// Runs `tollgate inject` on a text; gives its exit code, what it printed, and what it told.
async fn inject(text: &str) -> (i32, String, String) {
    let mut command = program();
    command.args(["inject", "--image", IMAGE]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).await.expect("a reader");
    drop(input);
    let output = child.wait_with_output().await.expect("an end");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

async fn injected(object: &Value) -> Value {
    let (code, out, told) = inject(&object.to_string()).await;
    assert_eq!(code, 0, "{told}");
    yaml(&out)
}

/// The webhook, as a cluster runs it.
struct Webhook {
    folder: TempDir,
    url: String,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<JoinHandle<()>>,
}

impl Webhook {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("tls.crt"), key.cert.pem()).expect("a file");
        fs::write(path("tls.key"), key.signing_key.serialize_pem()).expect("a file");
        let injector = Injector::start(InjectorSettings {
            address: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            tls: TlsFiles { certificate: path("tls.crt"), private_key: path("tls.key") },
            template: Template::of(IMAGE),
            delay: Duration::from_secs(5),
        })
        .await
        .expect("a webhook");
        let (address, _) = injector.addresses().expect("addresses");
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(injector.run(async {
            drop(stopped.await);
            Stop::AtOnce
        }));
        // The API server trusts the bundle of the webhook's configuration, and nobody else.
        let bundle = reqwest::Certificate::from_pem(key.cert.pem().as_bytes()).expect("PEM");
        let http = reqwest::Client::builder().tls_certs_only([bundle]).build().expect("a client");
        let url = format!("https://localhost:{}/inject", address.port());
        Self { folder, url, http, stop: Some(stop), ended: Some(ended) }
    }

    /// Reviews a pod and gives the response.
    async fn review(&self, pod: &Value) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "namespace": "shop", "dryRun": false,
                "kind": { "group": "", "version": "v1", "kind": "Pod" }, "object": pod,
            },
        });
        let answer = self.http.post(&self.url).json(&review).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        answer["response"].clone()
    }

    /// Reviews a pod that is admitted, and applies the patch as the API server does.
    async fn admit(&self, pod: &Value) -> Value {
        let response = self.review(pod).await;
        assert_eq!(response["allowed"], true, "{response}");
        let mut pod = pod.clone();
        if let Some(patch) = response["patch"].as_str() {
            assert_eq!(response["patchType"], "JSONPatch");
            let patch = STANDARD.decode(patch).expect("base64");
            let patch: Patch = serde_json::from_slice(&patch).expect("a JSON patch");
            json_patch::patch(&mut pod, &patch).expect("a patch that fits");
        }
        pod
    }

    /// Reviews a pod that is refused; gives the reason.
    async fn refuse(&self, pod: &Value) -> String {
        let response = self.review(pod).await;
        assert_eq!(response["allowed"], false, "{response}");
        assert_eq!(response["status"]["code"], 403);
        response["status"]["message"].as_str().expect("a reason").to_owned()
    }

    async fn end(mut self) {
        drop(self.stop.take());
        self.ended.take().expect("a task").await.expect("no panic");
        assert!(self.folder.path().exists());
    }
}

/// A pod with these containers, that asks for the sidecar.
fn pod(containers: &[&str]) -> Value {
    let container = |name: &&str| json!({ "name": name, "image": format!("registry.example.com/{name}:1") });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "generateName": "orders-", "labels": { "tollgate.dev/inject": "true" } },
        "spec": { "containers": containers.iter().map(container).collect::<Vec<_>>() },
    })
}

fn annotated(mut pod: Value, name: &str, value: &str) -> Value {
    pod["metadata"]["annotations"][name] = value.into();
    pod
}

#[track_caller]
fn mounts_the_socket(container: &Value) {
    let mounts = container["volumeMounts"].as_array().unwrap_or_else(|| panic!("no mounts: {container}"));
    let ours = mounts.iter().filter(|mount| mount["mountPath"] == "/run/tollgate").collect::<Vec<_>>();
    assert_eq!(ours, [&json!({ "name": "tollgate-run", "mountPath": "/run/tollgate", "readOnly": true })]);
}

#[tokio::test]
async fn the_file_and_the_webhook_make_the_same_of_a_pod_and_nothing_of_it_twice() {
    let (before, after) = (file("pod.yaml"), file("pod.injected.yaml"));
    let webhook = Webhook::start().await;
    assert_eq!(injected(&before).await, after);
    assert_eq!(webhook.admit(&before).await, after);
    assert_eq!(injected(&after).await, after);
    let again = webhook.review(&after).await;
    assert!(again.get("patch").is_none(), "a second review patches: {again}");
    webhook.end().await;
}

#[tokio::test]
async fn every_kind_of_workload_has_its_pods_injected_and_nothing_else_is_touched() {
    let spec = "spec:\n      containers: [{ name: envoy, image: e }]\n      hostAliases: [{ ip: 10.0.0.1, hostnames: [yes] }]\n";
    let text = format!(
        "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: c }}\ndata: {{ mode: \"0444\" }}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: d }}\nspec:\n  template:\n    {spec}---\n\
         apiVersion: batch/v1\nkind: CronJob\nmetadata: {{ name: j }}\nspec:\n  jobTemplate:\n    spec:\n      template:\n        {}---\n\
         apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {{ name: p, labels: {{ tollgate.dev/inject: \"false\" }} }}\n  spec: {{ containers: [{{ name: a, image: b }}] }}\n",
        spec.replace("\n      ", "\n          ")
    );
    let (code, out, told) = inject(&text).await;
    assert_eq!(code, 0, "{told}");
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "Deployment/d: has the sidecar",
            "CronJob/j: has the sidecar",
            "Pod/p: left as it is: the pod does not ask for it"
        ]
    );
    let documents: Vec<Value> = serde_saphyr::from_multiple(&out).expect("YAML");
    assert_eq!(documents[0]["data"]["mode"], "0444");
    for pod in [&documents[1]["spec"]["template"], &documents[2]["spec"]["jobTemplate"]["spec"]["template"]] {
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "tollgate");
        mounts_the_socket(&pod["spec"]["containers"][0]);
    }
    assert!(documents[3]["items"][0]["spec"].get("initContainers").is_none());
    let (code, out, told) = inject("a: [").await;
    assert_eq!((code, out.as_str()), (1, ""), "{told}");
}

#[tokio::test]
async fn it_lives_with_istio_before_and_after() {
    let webhook = Webhook::start().await;
    // Istio was first, with an ordinary container.
    let there = webhook.admit(&pod(&["app", "istio-proxy"])).await;
    mounts_the_socket(&there["spec"]["containers"][1]);
    assert!(there["spec"]["containers"][0].get("volumeMounts").is_none(), "the application can reach the socket");
    // Istio was first, with a native sidecar: ours starts before it.
    let mut native = pod(&["app"]);
    native["spec"]["initContainers"] =
        json!([{ "name": "istio-init", "image": "i" }, { "name": "istio-proxy", "image": "p" }]);
    let native = webhook.admit(&native).await;
    let names: Vec<_> =
        native["spec"]["initContainers"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["tollgate", "istio-init", "istio-proxy"]);
    mounts_the_socket(&native["spec"]["initContainers"][2]);
    // Istio comes later: it is told what to mount, and what else it was told stays.
    let mut later = annotated(pod(&["app"]), "sidecar.istio.io/userVolumeMount", r#"{"extra":{"mountPath":"/extra"}}"#);
    later["metadata"]["labels"]["sidecar.istio.io/inject"] = "true".into();
    let mut later = webhook.admit(&later).await;
    let mounts = later["metadata"]["annotations"]["sidecar.istio.io/userVolumeMount"].as_str().expect("a text");
    let mounts: Value = serde_json::from_str(mounts).expect("JSON");
    assert_eq!(mounts["extra"]["mountPath"], "/extra");
    assert_eq!(mounts["tollgate-run"], json!({ "mountPath": "/run/tollgate", "readOnly": true }));
    // It has come, and put its proxy first: the second review adds what is missing and no more.
    let proxy = json!({ "name": "istio-proxy", "image": "p" });
    later["spec"]["initContainers"].as_array_mut().expect("a list").insert(0, proxy);
    let reviewed = webhook.admit(&later).await;
    mounts_the_socket(&reviewed["spec"]["initContainers"][0]);
    assert_eq!(reviewed["spec"]["initContainers"].as_array().map(Vec::len), Some(2));
    assert_eq!(reviewed["spec"]["volumes"], later["spec"]["volumes"]);
    webhook.end().await;
}

#[tokio::test]
async fn what_cannot_be_protected_is_refused_or_skipped_with_a_reason() {
    let webhook = Webhook::start().await;
    let mut host = pod(&["envoy"]);
    host["spec"]["hostNetwork"] = true.into();
    assert!(webhook.refuse(&host).await.contains("hostNetwork"));
    host["metadata"]["labels"] = json!({});
    let skipped = webhook.review(&host).await;
    assert_eq!(skipped["allowed"], true);
    assert!(skipped["warnings"][0].as_str().is_some_and(|text| text.contains("hostNetwork")), "{skipped}");
    let mut windows = pod(&["envoy"]);
    windows["spec"]["os"]["name"] = "windows".into();
    assert!(webhook.refuse(&windows).await.contains("Windows"));
    assert!(webhook.refuse(&pod(&["app"])).await.contains("tollgate.dev/envoy-container"));
    for (name, value, reason) in [
        ("tollgate.dev/confg", "orders", "there is no annotation tollgate.dev/confg"),
        ("tollgate.dev/listen", "everywhere", "socket, loopback or both"),
        ("tollgate.dev/admin-port", "80", "a port from 1024"),
        ("tollgate.dev/config", "../etc", "the name of an object"),
        ("tollgate.dev/image", "a b", "the name of an image"),
        ("tollgate.dev/memory-limit", "a lot", "an amount"),
        ("tollgate.dev/envoy-container", "nowhere", "no container `nowhere`"),
    ] {
        let said = webhook.refuse(&annotated(pod(&["envoy"]), name, value)).await;
        assert!(said.contains(reason), "{name}: {said}");
    }
    let mut taken = pod(&["envoy"]);
    taken["spec"]["volumes"] = json!([{ "name": "tollgate-run", "emptyDir": {} }]);
    assert!(webhook.refuse(&taken).await.contains("volume `tollgate-run`"));
    let mut empty = pod(&[]);
    assert!(webhook.refuse(&empty).await.contains("spec.containers"));
    empty["spec"] = Value::Null;
    assert!(webhook.refuse(&empty).await.contains("spec.containers"));
    let other = annotated(pod(&["app", "gatekeeper"]), "tollgate.dev/envoy-container", "gatekeeper");
    mounts_the_socket(&webhook.admit(&other).await["spec"]["containers"][1]);
    let loopback = annotated(pod(&["app"]), "tollgate.dev/listen", "loopback");
    let loopback = webhook.admit(&loopback).await;
    let arguments = loopback["spec"]["initContainers"][0]["args"].to_string();
    assert!(arguments.contains("127.0.0.1:9191") && !arguments.contains("authz.sock"), "{arguments}");
    webhook.end().await;
}

#[tokio::test]
async fn what_a_newer_kubernetes_says_survives_and_what_is_no_review_is_not_answered_as_one() {
    let webhook = Webhook::start().await;
    let mut future = pod(&["envoy"]);
    future["spec"]["containers"][0]["fromTheFuture"] = json!({ "deep": [1, 2.5, null, true] });
    future["spec"]["quantumSchedulingGates"] = json!(["open"]);
    let admitted = webhook.admit(&future).await;
    assert_eq!(admitted["spec"]["containers"][0]["fromTheFuture"], future["spec"]["containers"][0]["fromTheFuture"]);
    assert_eq!(admitted["spec"]["quantumSchedulingGates"], future["spec"]["quantumSchedulingGates"]);
    let mut large = pod(&["envoy"]);
    large["spec"]["containers"][0]["env"] = json!([{ "name": "A", "value": "a".repeat(3 << 20) }]);
    webhook.admit(&large).await;
    let post =
        |body: String| webhook.http.post(&webhook.url).header("content-type", "application/json").body(body).send();
    for body in ["", "null", "{}", "[", r#"{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"a"}}"#] {
        assert_eq!(post(body.to_owned()).await.expect("an answer").status(), 400, "{body}");
    }
    assert_eq!(post("a".repeat(5 << 20)).await.expect("an answer").status(), 413);
    assert_eq!(webhook.http.get(&webhook.url).send().await.expect("an answer").status(), 405);
    webhook.end().await;
}

#[tokio::test]
async fn the_sidecar_serves_as_it_is_started_and_its_probes_say_so() {
    let installation = Installation::new();
    let pod = file("pod.injected.yaml");
    let sidecar = &pod["spec"]["initContainers"][0];
    let socket = installation.path("run.sock");
    // As in the pod, but for the two paths, and the port, which is free there.
    let here = |text: &Value| {
        text.as_str()
            .expect("a text")
            .replace("/etc/tollgate/tollgate.yaml", &installation.path("tollgate.yaml").display().to_string())
            .replace("/run/tollgate/authz.sock", &socket.display().to_string())
            .replace("0.0.0.0:15909", "127.0.0.1:0")
    };
    let arguments = |list: &Value| list.as_array().expect("a list").iter().map(here).collect::<Vec<_>>();
    let probe = |name: &str| {
        let mut command = program();
        command.args(&arguments(&sidecar[name]["exec"]["command"])[1..]);
        command
    };
    assert_eq!(run(&mut probe("startupProbe")).await.status.code(), Some(1), "alive before it started");
    let mut command = program();
    command.args(arguments(&sidecar["args"]));
    let process = Process::start(command).await;
    for name in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let said = run(&mut probe(name)).await;
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
    }
    let mode = fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode, 0o666, "Envoy runs as another user");
    process.signal("TERM").await;
    assert!(process.ended().await.0.success());
    assert_eq!(run(&mut probe("livenessProbe")).await.status.code(), Some(1), "alive after its end");
}
