//! The span of a question.

use tonic::metadata::MetadataMap;

use crate::authz::{Decision, Request};
use crate::telemetry::{CallerSpan, Traced, Traces};

/// The method, as it is called on the wire.
const METHOD: &str = "envoy.service.auth.v3.Authorization/Check";

/// Begins the span of a question, as a child of the proxy's own: that is what the metadata of its call names. The headers of the
/// request say what its client likes.
pub(super) fn begin(traces: &Traces, metadata: &MetadataMap, request: Option<&Request<'_>>) -> Traced {
    let of_proxy = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
    let of_client = |name: &str| std::str::from_utf8(request?.headers.all(name).next()?).ok();
    let caller = match CallerSpan::trusted(of_proxy) {
        CallerSpan::None => CallerSpan::of_anybody(of_client),
        caller => caller,
    };
    traces.begin(METHOD, caller)
}

/// Says what was decided; the span ends with that. A denial is no error.
pub(super) fn end(mut span: Traced, decision: &Decision) {
    let context = decision.context();
    let outcome = match decision {
        Decision::Allow(_) => "allowed",
        Decision::Deny(_) => "denied",
        Decision::Describe(_) => "described",
        Decision::Unavailable(_) => "unavailable",
    };
    for (name, value) in [
        ("rpc.system", Some("grpc")),
        ("tollgate.outcome", Some(outcome)),
        ("tollgate.reason", Some(decision.reason())),
        ("tollgate.resource", context.resource()),
        ("tollgate.rule", context.rule()),
        ("tollgate.client_id", context.client_id()),
    ] {
        span.says(name, value);
    }
    if let Decision::Unavailable(_) = decision {
        span.failed("the request could not be checked");
    }
}
