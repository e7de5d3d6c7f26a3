//! Injection: what makes a Kubernetes pod one whose Envoy asks a Tollgate beside it.
//!
//! The sidecar is a native one (an init container with `restartPolicy: Always`, Kubernetes 1.29), first in the list: it
//! starts before everything else and is told to stop after it. Its socket is in a volume that the container of Envoy
//! mounts too, read-only, and no other one.
//!
//! Invariant: pods are JSON values, and nothing but what is described here is changed, so that fields of a newer
//! Kubernetes survive. A pod that was patched before gets only what it lacks; a pod that cannot be protected as it asks is
//! refused, never let through without a guard.

use json_patch::{AddOperation, PatchOperation, ReplaceOperation, jsonptr::PointerBuf};
use serde_json::{Value, json};

mod annotations;
mod manifest;
mod policy;
mod sidecar;
mod undo;

pub use annotations::{AnnotationFault, Listen, Wishes};
pub use manifest::{ManifestFault, inject_into_manifest, take_out_of_manifest};
pub use policy::policy;
pub use undo::undo;

/// The name of our container.
pub const CONTAINER: &str = "tollgate";

/// What an injector is told once, for every pod.
#[derive(Clone, Debug)]
pub struct Template {
    /// The image of the sidecar, unless a pod names another one.
    pub image: String,
    /// When nodes pull it: `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// Where the traces of every sidecar go (OTLP), if anywhere.
    pub otlp_endpoint: Option<String>,
}

impl Template {
    /// Sidecars with that image, and nothing special about them.
    #[must_use]
    pub fn of(image: impl Into<String>) -> Self {
        Self { image: image.into(), pull_policy: "IfNotPresent".to_owned(), otlp_endpoint: None }
    }
}

/// Why a pod stays as it is although nothing is wrong with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Skip {
    /// It says `tollgate.dev/inject: "false"`, or does not ask.
    NotAsked,
    /// It uses the network of its node, where the ports of two sidecars would clash, and only its namespace asks.
    HostNetwork,
    /// It runs on Windows, and only its namespace asks.
    Windows,
    /// It has no sidecar that was injected, so none is taken out.
    NotInjected,
}

impl Skip {
    /// The reason, for a warning.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotAsked => "the pod does not ask for it",
            Self::HostNetwork => "the pod uses the network of its node (hostNetwork)",
            Self::Windows => "the pod is for Windows",
            Self::NotInjected => "the pod has no sidecar that was injected",
        }
    }
}

/// Why a pod must not be admitted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PodFault {
    /// An annotation says what cannot be.
    #[error(transparent)]
    Annotation(#[from] AnnotationFault),
    /// It is no pod.
    #[error("the pod has no `{0}`, or it is not what it should be")]
    Malformed(&'static str),
    /// It has something else where a list or an object belongs.
    #[error("the pod cannot be changed at `{0}`: it is not what it should be")]
    Misshapen(String),
    /// It asks for the sidecar, and uses the network of its node.
    #[error(
        "a pod with hostNetwork cannot have the sidecar: its ports would clash with those of other pods on the node"
    )]
    HostNetwork,
    /// It asks for the sidecar, and is for Windows.
    #[error("a pod for Windows cannot have the sidecar: there is no image for it")]
    Windows,
    /// Nobody in it would ask the sidecar.
    #[error(
        "no container of the pod is an Envoy ({}): name it in the annotation tollgate.dev/envoy-container, or choose tollgate.dev/listen: loopback",
        ENVOYS.join(", ")
    )]
    NoEnvoy,
    /// The container that is named as Envoy is not there.
    #[error("the pod has no container `{0}`, which tollgate.dev/envoy-container names")]
    NoSuchContainer(String),
    /// What is said to Istio cannot be added to.
    #[error("the annotation sidecar.istio.io/userVolumeMount is not a JSON object")]
    IstioMounts,
    /// What it wants to be different about the container cannot be.
    #[error(
        "the annotation tollgate.dev/patch does not fit the container, or changes what makes it a guard: {}, and the mounts that are there",
        sidecar::KEPT.join(", ")
    )]
    Patch,
    /// What it says of its sidecar is not what an injector writes.
    #[error("the annotation tollgate.dev/status is not what an injector has written")]
    Status,
    /// A volume of ours has the name of another one.
    #[error("the pod has a volume `{0}` of its own; rename it")]
    VolumeTaken(&'static str),
}

/// The names that containers with Envoy have in the meshes that we know, and in plain pods.
pub const ENVOYS: [&str; 3] = ["envoy", "istio-proxy", "kuma-sidecar"];

/// Whether a pod asks for the sidecar. Its own label wins over that of its namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// By the label `tollgate.dev/inject: "true"`, or by somebody who hands the pod over himself.
    ByPod,
    /// By the label `tollgate.dev/injection: enabled` of the namespace.
    ByNamespace,
}

/// The changes that give a pod its sidecar; none if it has everything.
///
/// # Errors
/// `Ok(Err(..))` if it is to stay as it is, [`PodFault`] if it must not be admitted as it is.
pub fn patch(pod: &Value, template: &Template, asked: Asked) -> Result<Result<Vec<PatchOperation>, Skip>, PodFault> {
    let label = text(pod, "/metadata/labels/tollgate.dev~1inject");
    if label == Some("false") {
        return Ok(Err(Skip::NotAsked));
    }
    let by_pod = label == Some("true") || asked == Asked::ByPod;
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return if by_pod { Err(PodFault::HostNetwork) } else { Ok(Err(Skip::HostNetwork)) };
    }
    if text(pod, "/spec/os/name") == Some("windows")
        || text(pod, "/spec/nodeSelector/kubernetes.io~1os") == Some("windows")
    {
        return if by_pod { Err(PodFault::Windows) } else { Ok(Err(Skip::Windows)) };
    }
    if pod.pointer("/spec/containers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(PodFault::Malformed("spec.containers"));
    }
    let wishes = Wishes::read(pod.pointer("/metadata/annotations"))?;
    let mut changes = Changes { pod: pod.clone(), made: Vec::new() };
    inject(&mut changes, template, &wishes)?;
    Ok(Ok(changes.made))
}

/// A pod on its way, and what was done to it.
struct Changes {
    pod: Value,
    made: Vec<PatchOperation>,
}

impl Changes {
    /// Adds a value, or says that it has no place: a pod must not be admitted with half of a sidecar.
    fn add(&mut self, at: &str, value: Value) -> Result<(), PodFault> {
        let misshapen = || PodFault::Misshapen(at.to_owned());
        let path = PointerBuf::parse(at).map_err(|_| misshapen())?;
        let operation = match self.pod.pointer(at) {
            Some(_) if !at.ends_with("/0") => PatchOperation::Replace(ReplaceOperation { path, value }),
            Some(_) | None => PatchOperation::Add(AddOperation { path, value }),
        };
        json_patch::patch(&mut self.pod, std::slice::from_ref(&operation)).map_err(|_| misshapen())?;
        self.made.push(operation);
        Ok(())
    }

    /// Adds an empty list or object where there is none. What is there must be one: to an object, `/-` is a name.
    fn have(&mut self, at: &str, empty: Value) -> Result<(), PodFault> {
        match self.pod.pointer(at) {
            None | Some(Value::Null) => self.add(at, empty),
            Some(there) if there.is_array() == empty.is_array() && there.is_object() == empty.is_object() => Ok(()),
            Some(_) => Err(PodFault::Misshapen(at.to_owned())),
        }
    }

    /// The list at a place; an absent one is empty.
    fn list(&self, at: &str) -> &[Value] {
        self.pod.pointer(at).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

fn inject(changes: &mut Changes, template: &Template, wishes: &Wishes) -> Result<(), PodFault> {
    let envoys = if wishes.listen.has_socket() { envoys(changes, wishes)? } else { Vec::new() };
    let there = ["containers", "initContainers"]
        .iter()
        .any(|list| changes.list(&format!("/spec/{list}")).iter().any(|container| container["name"] == CONTAINER));
    if !there {
        changes.have("/spec/initContainers", json!([]))?;
    }
    let volumes = sidecar::volumes(wishes);
    if !there {
        changes.have("/spec/volumes", json!([]))?;
        for (name, volume) in &volumes {
            if changes.list("/spec/volumes").iter().any(|there| there["name"] == **name) {
                return Err(PodFault::VolumeTaken(name));
            }
            changes.add("/spec/volumes/-", volume.clone())?;
        }
        let container = sidecar::patched(sidecar::container(template, wishes), wishes).ok_or(PodFault::Patch)?;
        changes.add("/spec/initContainers/0", container)?;
    }
    // A list may have moved by our own container: look again.
    let envoys = if envoys.is_empty() { envoys } else { self::envoys(changes, wishes)? };
    let mut mounted = Vec::new();
    for at in envoys {
        mounted.push(text(&changes.pod, &format!("{at}/name")).unwrap_or_default().to_owned());
        mount(changes, &at)?;
    }
    if !there {
        have_annotations(changes)?;
        let names: Vec<_> = volumes.iter().map(|(name, _)| *name).collect();
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"), "container": CONTAINER, "volumes": names, "mounts": mounted,
        });
        changes.add("/metadata/annotations/tollgate.dev~1status", json!(status.to_string()))?;
    }
    if wishes.listen.has_socket() {
        tell_istio(changes)?;
    }
    Ok(())
}

/// The places of the containers that ask the sidecar; Istio's may be put in later, by its own webhook.
fn envoys(changes: &Changes, wishes: &Wishes) -> Result<Vec<String>, PodFault> {
    let mut found = Vec::new();
    for list in ["containers", "initContainers"] {
        for (number, container) in changes.list(&format!("/spec/{list}")).iter().enumerate() {
            let name = container["name"].as_str().unwrap_or_default();
            let is_envoy = wishes.envoy.as_ref().map_or_else(|| ENVOYS.contains(&name), |envoy| envoy == name);
            if is_envoy {
                found.push(format!("/spec/{list}/{number}"));
            }
        }
    }
    match &wishes.envoy {
        Some(envoy) if found.is_empty() => Err(PodFault::NoSuchContainer(envoy.clone())),
        None if found.is_empty() && !expects_istio(&changes.pod) => Err(PodFault::NoEnvoy),
        Some(_) | None => Ok(found),
    }
}

/// Whether Istio is going to put its proxy into this pod: it says so on the pod, or in a namespace that we cannot see, in
/// which case the pod must.
fn expects_istio(pod: &Value) -> bool {
    text(pod, "/metadata/labels/sidecar.istio.io~1inject") == Some("true")
        || pod.pointer("/metadata/labels/istio.io~1rev").is_some()
        || pod.pointer(ISTIO_MOUNTS).is_some()
}

/// Where Istio reads what else its proxy is to mount.
const ISTIO_MOUNTS: &str = "/metadata/annotations/sidecar.istio.io~1userVolumeMount";

/// Has Istio's proxy mount the socket, if that is put in after us. What else the annotation says stays.
fn tell_istio(changes: &mut Changes) -> Result<(), PodFault> {
    if !expects_istio(&changes.pod) {
        return Ok(());
    }
    let said = text(&changes.pod, ISTIO_MOUNTS).map(serde_json::from_str::<Value>);
    let mut mounts = said.transpose().map_err(|_| PodFault::IstioMounts)?.unwrap_or_else(|| json!({}));
    if !mounts.is_object() {
        return Err(PodFault::IstioMounts);
    }
    if mounts.get(sidecar::RUN).is_some() {
        return Ok(());
    }
    mounts[sidecar::RUN] = json!({ "mountPath": sidecar::RUN_PATH, "readOnly": true });
    have_annotations(changes)?;
    changes.add(ISTIO_MOUNTS, json!(mounts.to_string()))
}

/// A template of a workload need not have metadata.
fn have_annotations(changes: &mut Changes) -> Result<(), PodFault> {
    changes.have("/metadata", json!({}))?;
    changes.have("/metadata/annotations", json!({}))
}

/// Mounts the socket in a container: to connect needs no more than to read.
fn mount(changes: &mut Changes, container: &str) -> Result<(), PodFault> {
    let mounts = format!("{container}/volumeMounts");
    if changes.list(&mounts).iter().any(|mount| mount["mountPath"] == sidecar::RUN_PATH) {
        return Ok(());
    }
    changes.have(&mounts, json!([]))?;
    let mount = json!({ "name": sidecar::RUN, "mountPath": sidecar::RUN_PATH, "readOnly": true });
    changes.add(&format!("{mounts}/-"), mount)
}

fn text<'a>(value: &'a Value, at: &str) -> Option<&'a str> {
    value.pointer(at).and_then(Value::as_str)
}
