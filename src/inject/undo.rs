//! The way back: a pod without the sidecar that an injector has put into it.

use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, RemoveOperation};
use serde_json::{Map, Value};

use super::{ISTIO_MOUNTS, PodFault, Skip, text};

/// Where an injector has written what it did.
const STATUS: &str = "/metadata/annotations/tollgate.dev~1status";

/// Takes the sidecar out of a pod, with its volumes and all that mounts them, as the annotation `tollgate.dev/status` tells of
/// them. Labels and annotations that ask for a sidecar stay.
///
/// # Errors
/// `Ok(Err(..))` if nothing was injected, [`PodFault`] if that annotation is not what an injector writes.
pub fn undo(pod: &mut Value) -> Result<Result<(), Skip>, PodFault> {
    let Some(status) = text(pod, STATUS) else { return Ok(Err(Skip::NotInjected)) };
    let status: Map<String, Value> = serde_json::from_str(status).map_err(|_| PodFault::Status)?;
    let sidecar = status.get("container").and_then(Value::as_str).ok_or(PodFault::Status)?.to_owned();
    let volumes = status.get("volumes").and_then(Value::as_array).ok_or(PodFault::Status)?;
    let ours = |name: &Value| volumes.contains(name);
    for list in ["containers", "initContainers"] {
        let at = format!("/spec/{list}");
        keep(pod, &at, |container| container["name"] != *sidecar);
        let count = pod.pointer(&at).and_then(Value::as_array).map_or(0, Vec::len);
        for number in 0..count {
            keep(pod, &format!("{at}/{number}/volumeMounts"), |mount| !ours(&mount["name"]));
        }
    }
    keep(pod, "/spec/volumes", |volume| !ours(&volume["name"]));
    untell_istio(pod, ours);
    if let Some(annotations) = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("tollgate.dev/status");
    }
    drop_if_empty(pod, "/metadata/annotations");
    Ok(Ok(()))
}

/// Keeps some of a list, and no empty one.
fn keep(pod: &mut Value, at: &str, wanted: impl Fn(&Value) -> bool) {
    let Some(list) = pod.pointer_mut(at).and_then(Value::as_array_mut) else { return };
    let before = list.len();
    list.retain(wanted);
    if list.len() < before {
        drop_if_empty(pod, at);
    }
}

/// Takes our mount out of what Istio's proxy is to mount.
fn untell_istio(pod: &mut Value, ours: impl Fn(&Value) -> bool) {
    let said = text(pod, ISTIO_MOUNTS).and_then(|said| serde_json::from_str::<Map<String, Value>>(said).ok());
    let Some(mut mounts) = said else { return };
    mounts.retain(|name, _| !ours(&name.as_str().into()));
    let Some(annotation) = pod.pointer_mut(ISTIO_MOUNTS) else { return };
    *annotation = if mounts.is_empty() { Value::Null } else { Value::Object(mounts).to_string().into() };
    drop_if_empty(pod, ISTIO_MOUNTS);
}

/// Removes a list, an object or a value in which nothing is.
fn drop_if_empty(pod: &mut Value, at: &str) {
    let nothing = pod.pointer(at).is_some_and(|value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    });
    if let Ok(path) = PointerBuf::parse(at)
        && nothing
    {
        // It is there.
        let _ = json_patch::patch(pod, &[PatchOperation::Remove(RemoveOperation { path })]);
    }
}
