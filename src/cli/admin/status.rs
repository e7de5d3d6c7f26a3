//! `tollgate admin status`.

use serde_json::json;

use super::table::facts;
use super::{AdminError, Call, keys};
use crate::grpc::admin::v1::GetStatusRequest;
use crate::grpc::admin::v1::status_service_client::StatusServiceClient;

/// Shows what runs.
pub(super) async fn show(call: &Call) -> Result<(), AdminError> {
    let mut service = StatusServiceClient::new(call.channel.clone());
    let status = service.get_status(GetStatusRequest {}).await?.into_inner();
    let text = || {
        let signing = status.signing_key.as_ref();
        let signing = signing.map_or_else(|| "none".to_owned(), |key| format!("{}, {}", key.kid, key.alg));
        let store = if status.store_answers { "answers" } else { "does not answer" };
        let login = if status.login.is_empty() { "nobody signs in" } else { &status.login };
        let refused = status.refused_configuration_time.map(|at| call.ago(at));
        let refused =
            refused.map(|when| format!("{when}: {}", status.refused_configuration_reason)).unwrap_or_default();
        facts([
            ("version", status.version.clone()),
            ("started", call.ago(status.start_time)),
            ("issuer", status.issuer.clone()),
            ("store", format!("{}, {store}", status.store)),
            ("login", login.to_owned()),
            ("clients", format!("{} configured", status.configured_clients)),
            ("resources", status.resources.join(", ")),
            ("configuration", format!("{}, {}", status.configuration_digest, call.ago(status.configuration_time))),
            ("refused", refused),
            ("signing key", signing),
        ])
    };
    let json = || {
        json!({
            "version": status.version,
            "start_time": status.start_time,
            "issuer": status.issuer,
            "store": status.store,
            "store_answers": status.store_answers,
            "login": status.login,
            "configured_clients": status.configured_clients,
            "resources": status.resources,
            "configuration_digest": status.configuration_digest,
            "configuration_time": status.configuration_time,
            "refused_configuration_time": status.refused_configuration_time,
            "refused_configuration_reason": status.refused_configuration_reason,
            "signing_key": status.signing_key.as_ref().map(keys::document),
        })
    };
    call.report(text, json);
    if !status.store_answers {
        eprintln!("next: read the log of tollgate; docs/operations.md says what helps");
    }
    Ok(())
}
