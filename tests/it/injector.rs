//! The admission webhook as a process, with what the chart gives it, called as the API server calls it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::envoy::eventually;
use crate::interop::repository;
use crate::manifests::{VERSIONS, helm, object, objects, strictly_valid, succeeded};
use crate::process::{Process, program, run};
use crate::redis::until;

/// What the API server calls the webhook.
const NAME: &str = "tollgate-injector.tollgate-system.svc";

/// A running webhook; its certificate is where the kubelet would put it.
struct Webhook {
    folder: TempDir,
    process: Process,
    port: u16,
}

impl Webhook {
    async fn start(certificate: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        publish(folder.path(), 1, certificate, key);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.path().join(name)).expect("a link");
        }
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut command = program();
        command.args(["inject", "--serve", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--image", "tollgate:1"]);
        command.args(["--certificate", &file("tls.crt"), "--private-key", &file("tls.key"), "--shutdown-delay", "3s"]);
        let process = Process::start(command).await;
        let said = process.announced("webhook");
        let port = said.rsplit_once(':').expect("an address").1.parse().expect("a port");
        Self { folder, process, port }
    }

    /// The API server, which trusts this bundle and nobody else.
    fn api_server(&self, bundle: &str) -> reqwest::Client {
        let bundle = reqwest::Certificate::from_pem(bundle.as_bytes()).expect("PEM");
        let here = ([127, 0, 0, 1], self.port).into();
        reqwest::Client::builder().tls_certs_only([bundle]).resolve(NAME, here).build().expect("a client")
    }

    /// Has a pod reviewed.
    async fn review(&self, api_server: &reqwest::Client, pod: &Value) -> Result<Value, reqwest::Error> {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "fromTheFuture": true,
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "namespace": "shop", "dryRun": true,
                "kind": { "group": "", "version": "v1", "kind": "Pod" }, "object": pod, "fromTheFuture": { "a": 1 },
            },
        });
        let url = format!("https://{NAME}:{}/inject", self.port);
        let answer = api_server.post(url).json(&review).send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        Ok(answer["response"].clone())
    }

    /// Has a pod reviewed that is admitted, and applies the patch.
    async fn admit(&self, api_server: &reqwest::Client, pod: &Value) -> Value {
        let response = self.review(api_server, pod).await.expect("an answer");
        assert_eq!(response["allowed"], true, "{response}");
        let patch = STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON patch");
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &patch).expect("a patch that fits");
        pod
    }

    /// Ends it as a person does, who waits for no API server.
    async fn end(self) {
        self.process.signal("INT").await;
        assert!(self.process.ended().await.0.success());
        drop(self.folder);
    }
}

/// Publishes a certificate as the kubelet does: a new directory, to which the link `..data` is moved in one step.
fn publish(folder: &Path, version: u8, certificate: &str, key: &str) {
    let directory = format!("..{version}");
    fs::create_dir(folder.join(&directory)).expect("a directory");
    fs::write(folder.join(&directory).join("tls.crt"), certificate).expect("a file");
    fs::write(folder.join(&directory).join("tls.key"), key).expect("a file");
    symlink(&directory, folder.join("..data_tmp")).expect("a link");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a link");
}

/// A certificate for the webhook, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn golden(name: &str) -> Value {
    let text = fs::read_to_string(repository("k8s/injection").join(name)).expect("a pod");
    objects(&text).remove(0)
}

#[tokio::test]
async fn the_api_server_trusts_the_certificate_that_the_chart_makes_and_gets_pods_that_kubernetes_takes() {
    let mut template = helm("4");
    template.args(["template", "tollgate", ".", "--namespace", "tollgate-system", "--values", "ci/one-values.yaml"]);
    let chart = objects(&succeeded(&run(&mut template).await));
    let decoded = |text: &Value| {
        let bytes = STANDARD.decode(text.as_str().expect("a text")).expect("base64");
        String::from_utf8(bytes).expect("PEM")
    };
    let secret = object(&chart, "Secret", "tollgate-injector-tls");
    let webhook = Webhook::start(&decoded(&secret["data"]["tls.crt"]), &decoded(&secret["data"]["tls.key"])).await;
    let configuration = object(&chart, "MutatingWebhookConfiguration", "tollgate-injector");
    let mut files = Vec::new();
    for one in configuration["webhooks"].as_array().expect("webhooks") {
        let client = &one["clientConfig"];
        assert_eq!(client["service"]["path"], "/inject");
        let service = format!("{}.{}.svc", client["service"]["name"], client["service"]["namespace"]).replace('"', "");
        assert_eq!(service, NAME);
        let api_server = webhook.api_server(&decoded(&client["caBundle"]));
        let mut expected = golden("pod.injected.yaml");
        expected["spec"]["initContainers"][0]["image"] = "tollgate:1".into();
        let pod = webhook.admit(&api_server, &golden("pod.yaml")).await;
        assert_eq!(pod, expected);
        let path = webhook.folder.path().join(one["name"].as_str().expect("a name"));
        fs::write(&path, pod.to_string()).expect("a file");
        files.extend(VERSIONS.map(|version| (version, path.clone())));
    }
    strictly_valid(&files).await;
    let (stranger, _) = certificate();
    let refused = webhook.review(&webhook.api_server(&stranger), &golden("pod.yaml")).await;
    assert!(refused.expect_err("another authority").is_connect());
    webhook.end().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let (first, key) = certificate();
    let webhook = Webhook::start(&first, &key).await;
    let before = webhook.api_server(&first);
    webhook.admit(&before, &golden("pod.yaml")).await;
    let (second, key) = certificate();
    publish(webhook.folder.path(), 2, &second, &key);
    webhook.process.signal("HUP").await;
    webhook.process.until_it_says("the webhook shows a new certificate").await;
    let after = webhook.api_server(&second);
    webhook.admit(&after, &golden("pod.yaml")).await;
    assert!(webhook.review(&webhook.api_server(&first), &golden("pod.yaml")).await.is_err(), "the old one is shown");
    // A key that is of another certificate: what is there stays.
    publish(webhook.folder.path(), 3, &first, &key);
    webhook.process.signal("HUP").await;
    webhook.process.until_it_says("the old one stays").await;
    let again = webhook.api_server(&second);
    eventually("an answer", async || webhook.review(&again, &golden("pod.yaml")).await.ok()).await;
    webhook.end().await;
}

#[tokio::test]
async fn hostile_pods_are_refused_and_huge_ones_are_patched() {
    let (certificate, key) = certificate();
    let webhook = Webhook::start(&certificate, &key).await;
    let api_server = webhook.api_server(&certificate);
    let pod = golden("pod.yaml");
    let with = |at: &str, value: Value| {
        let mut pod = pod.clone();
        *pod.pointer_mut(at).expect("a place") = value;
        pod
    };
    let mut misshapen = vec![
        with("/spec/volumes", json!({ "not": "a list" })),
        with("/spec/volumes", json!("text")),
        with("/spec/containers", json!({ "envoy": {} })),
        with("/spec/containers", json!("envoy")),
        with("/spec/containers/0/volumeMounts", json!("text")),
        with("/metadata/annotations", json!(["tollgate.dev/config"])),
        with("/metadata", json!("text")),
    ];
    let mut inits = pod.clone();
    inits["spec"]["initContainers"] = json!({});
    misshapen.push(inits);
    for (annotation, value) in [
        ("tollgate.dev/config", json!({ "a": 1 })),
        ("tollgate.dev/log-level", json!("info --set=listen.admin={}")),
        ("tollgate.dev/image", json!("a\nb")),
        ("tollgate.dev/envoy-container", json!("a/../b")),
        ("tollgate.dev/memory-limit", json!("-1")),
        ("tollgate.dev/a~1b/%s", json!("")),
        ("tollgate.dev/", json!("")),
    ] {
        let mut pod = pod.clone();
        pod["metadata"]["annotations"][annotation] = value;
        misshapen.push(pod);
    }
    let mut istio = pod.clone();
    istio["metadata"]["labels"]["istio.io/rev"] = "stable".into();
    for said in ["not JSON", "[]", "null"] {
        istio["metadata"]["annotations"]["sidecar.istio.io/userVolumeMount"] = said.into();
        misshapen.push(istio.clone());
    }
    for pod in misshapen {
        let said = webhook.review(&api_server, &pod).await.expect("an answer");
        assert_eq!(said["allowed"], false, "{pod}: {said}");
        assert_eq!(said["status"]["code"], 403);
        assert!(said.get("patch").is_none(), "{said}");
    }
    let container =
        |number: usize| json!({ "name": format!("c{number}"), "image": "i", "env": [{ "name": "A", "value": "b" }] });
    let mut huge = pod.clone();
    let many = huge["spec"]["containers"].as_array_mut().expect("a list");
    many.extend((0..20_000).map(container));
    let patched = webhook.admit(&api_server, &huge).await;
    assert_eq!(patched["spec"]["containers"].as_array().map(Vec::len), Some(20_002));
    assert_eq!(patched["spec"]["initContainers"][0]["name"], "tollgate");
    // Deeper than anybody nests: what cannot be read is no review, and the pod is not admitted.
    let mut deep = pod.clone();
    deep["spec"]["fromTheFuture"] = (0..500).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(
        webhook.review(&api_server, &deep).await.expect_err("too deep").status().map(|code| code.as_u16()),
        Some(400)
    );
    webhook.admit(&api_server, &pod).await;
    webhook.end().await;
}

#[tokio::test]
async fn told_to_stop_it_answers_until_the_api_server_has_heard_of_it() {
    let (certificate, key) = certificate();
    let webhook = Webhook::start(&certificate, &key).await;
    let pod = golden("pod.yaml");
    // Each review over a connection of its own, as an API server makes that has just learned of this replica.
    let review = async || webhook.admit(&webhook.api_server(&certificate), &pod).await;
    review().await;
    let told = Instant::now();
    webhook.process.signal("TERM").await;
    let probe = async |path: &str| {
        let answer = reqwest::get(format!("http://{}/{path}", webhook.process.admin)).await.expect("an answer");
        answer.status().as_u16()
    };
    until("readiness fails", || async { probe("readyz").await == 503 }).await;
    assert_eq!(probe("livez").await, 200);
    for _ in 0..10 {
        review().await;
    }
    let (status, said) = webhook.process.ended().await;
    assert!(told.elapsed() >= Duration::from_secs(3), "it did not wait");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("reviews are answered for 3 s more"), "{said}");
}

#[tokio::test]
async fn what_becomes_of_pods_is_counted() {
    let (certificate, key) = certificate();
    let webhook = Webhook::start(&certificate, &key).await;
    let counted = async || {
        let text = reqwest::get(format!("http://{}/metrics", webhook.process.admin)).await.expect("an answer");
        let text = text.text().await.expect("text");
        ["injected", "skipped", "refused"].map(|outcome| {
            let series = format!("tollgate_injections_total{{outcome=\"{outcome}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.unwrap_or_else(|| panic!("no {series}")).to_owned()
        })
    };
    assert_eq!(counted().await, ["0", "0", "0"]);
    let api_server = webhook.api_server(&certificate);
    let mut host = golden("pod.yaml");
    host["spec"]["hostNetwork"] = true.into();
    let refused = webhook.review(&api_server, &host).await.expect("an answer");
    assert_eq!(refused["allowed"], false);
    host["metadata"]["labels"] = json!({});
    webhook.review(&api_server, &host).await.expect("an answer");
    webhook.admit(&api_server, &golden("pod.yaml")).await;
    webhook.review(&api_server, &golden("pod.injected.yaml")).await.expect("an answer");
    assert_eq!(counted().await, ["2", "1", "1"]);
    webhook.end().await;
}

#[tokio::test]
async fn told_to_stop_twice_it_ends_at_once() {
    let (certificate, key) = certificate();
    let webhook = Webhook::start(&certificate, &key).await;
    webhook.process.signal("TERM").await;
    webhook.process.until_it_says("told to stop").await;
    webhook.process.signal("TERM").await;
    let (status, said) = webhook.process.ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("a second time"), "{said}");
}
