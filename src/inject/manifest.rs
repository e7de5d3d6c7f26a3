//! Injection into a file: every pod and pod template in a YAML stream gets the sidecar, or loses it again.

use serde_json::Value;

use super::{Asked, PodFault, Skip, Template, patch, undo};

/// The longest file, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;

/// Where the workloads of Kubernetes have their pod template.
const TEMPLATES: [&str; 2] = ["/spec/template", "/spec/jobTemplate/spec/template"];

/// Why a file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestFault {
    /// It is too long.
    #[error("the file is longer than 4 MiB")]
    TooLong,
    /// It is not YAML.
    #[error("the file is not YAML")]
    Read(#[source] Box<serde_saphyr::Error>),
    /// The result cannot be written as YAML.
    #[error("the result cannot be written")]
    Write(#[source] Box<serde_saphyr::ser::Error>),
    /// A pod must not be run as it is.
    #[error("{0}: {1}")]
    Pod(String, #[source] PodFault),
}

/// A file whose pods have their sidecars, or have them no more.
#[derive(Debug)]
pub struct Changed {
    /// The file.
    pub text: String,
    /// Which pods are so now, as `Kind/name`.
    pub pods: Vec<String>,
    /// Which were left as they are, and why.
    pub skipped: Vec<(String, Skip)>,
}

/// Gives every pod and pod template of a YAML stream the sidecar, unless its label `tollgate.dev/inject` is `"false"`.
/// Comments and the order of keys are lost.
///
/// # Errors
/// [`ManifestFault`]; then nothing was changed.
pub fn inject_into_manifest(text: &str, template: &Template) -> Result<Changed, ManifestFault> {
    change(text, &|pod| {
        Ok(patch(pod, template, Asked::ByPod)?.map(|operations| {
            // The operations were made for just this pod.
            let _ = json_patch::patch(pod, &operations);
        }))
    })
}

/// Takes the sidecar out of every pod and pod template of a YAML stream that has one of an injector. Comments and the order of
/// keys are lost.
///
/// # Errors
/// [`ManifestFault`]; then nothing was changed.
pub fn take_out_of_manifest(text: &str) -> Result<Changed, ManifestFault> {
    change(text, &undo)
}

/// What is done to a pod, unless it is left as it is.
type Change<'a> = &'a dyn Fn(&mut Value) -> Result<Result<(), Skip>, PodFault>;

fn change(text: &str, one: Change<'_>) -> Result<Changed, ManifestFault> {
    if text.len() > LIMIT {
        return Err(ManifestFault::TooLong);
    }
    // Kubernetes reads YAML 1.1: `0444` is a mode, and `yes` is true.
    let options = serde_saphyr::options! { legacy_octal_numbers: true, strict_booleans: false };
    let mut documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| ManifestFault::Read(Box::new(error)))?;
    let mut changed = Changed { text: String::new(), pods: Vec::new(), skipped: Vec::new() };
    for document in &mut documents {
        change_object(document, one, &mut changed)?;
    }
    changed.text =
        serde_saphyr::to_string_multiple(&documents).map_err(|error| ManifestFault::Write(Box::new(error)))?;
    changed.text.push('\n');
    Ok(changed)
}

fn change_object(object: &mut Value, one: Change<'_>, changed: &mut Changed) -> Result<(), ManifestFault> {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if kind == "List" {
        for item in object["items"].as_array_mut().into_iter().flatten() {
            change_object(item, one, changed)?;
        }
        return Ok(());
    }
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or("?").to_owned();
    let called = format!("{kind}/{name}");
    let pod = if kind == "Pod" {
        Some(object)
    } else {
        let at =
            TEMPLATES.into_iter().find(|at| object.pointer(at).is_some_and(|pod| pod["spec"]["containers"].is_array()));
        at.and_then(|at| object.pointer_mut(at))
    };
    let Some(pod) = pod else { return Ok(()) };
    match one(pod).map_err(|fault| ManifestFault::Pod(called.clone(), fault))? {
        Ok(()) => changed.pods.push(called),
        Err(skip) => changed.skipped.push((called, skip)),
    }
    Ok(())
}
