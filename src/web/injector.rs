//! `POST /inject`: the mutating admission webhook (Kubernetes `admission.k8s.io/v1`).

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Received, Response, Site, respond};
use crate::inject::{self, Asked, Template};
use crate::telemetry::InjectionMetrics;

/// The version of the API that is spoken.
const API: &str = "admission.k8s.io/v1";

/// The longest warning that Kubernetes shows, in bytes.
const WARNING_LIMIT: usize = 256;

/// Answers the API server about pods.
pub struct InjectorSite {
    /// What every pod gets.
    pub template: Template,
    /// What becomes of pods.
    pub injections: InjectionMetrics,
}

#[async_trait]
impl Site for InjectorSite {
    async fn answer(&self, request: Received) -> Response {
        match (request.path.as_str(), request.method) {
            ("/inject", Method::POST) => match self.review(&request.body) {
                Some(review) => respond::admission(StatusCode::OK, &review),
                None => respond::admission(
                    StatusCode::BAD_REQUEST,
                    &json!({ "error": "this is no AdmissionReview of admission.k8s.io/v1 about a pod" }),
                ),
            },
            ("/inject", _) => respond::method_not_allowed("POST"),
            _ => respond::not_found(),
        }
    }
}

impl InjectorSite {
    /// Answers a review; `None` if it is none.
    fn review(&self, body: &[u8]) -> Option<Value> {
        let review: Value = serde_json::from_slice(body).ok()?;
        let request = review.get("request").filter(|_| review["apiVersion"] == API)?;
        let uid = request["uid"].as_str()?;
        let pod = request.get("object").filter(|_| request["kind"]["kind"] == "Pod")?;
        let reviewed = inject::patch(pod, &self.template, Asked::ByNamespace);
        let counter = match &reviewed {
            Ok(Ok(_)) => &self.injections.injected,
            Ok(Err(_)) => &self.injections.skipped,
            Err(_) => &self.injections.refused,
        };
        counter.inc();
        let mut response = match reviewed {
            Ok(Ok(patch)) if patch.is_empty() => json!({ "allowed": true }),
            Ok(Ok(patch)) => {
                let patch = serde_json::to_vec(&patch).ok()?;
                json!({ "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch) })
            }
            Ok(Err(skip)) => {
                json!({ "allowed": true, "warnings": [short(&format!("no tollgate sidecar: {}", skip.reason()))] })
            }
            Err(fault) => {
                let name = pod["metadata"]["name"].as_str().or_else(|| pod["metadata"]["generateName"].as_str());
                let namespace = request["namespace"].as_str();
                tracing::warn!(namespace, pod = name, %fault, "a pod was refused: {fault}");
                json!({ "allowed": false, "status": { "code": 403, "message": format!("tollgate: {fault}") } })
            }
        };
        response["uid"] = uid.into();
        Some(json!({ "apiVersion": API, "kind": "AdmissionReview", "response": response }))
    }
}

/// A warning that is shown whole. Ours are ASCII.
fn short(text: &str) -> &str {
    text.get(..WARNING_LIMIT).unwrap_or(text)
}
