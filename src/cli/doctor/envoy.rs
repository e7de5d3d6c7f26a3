//! What Envoy says about its filters (its admin interface, `/ready` and `/config_dump`).

use reqwest::Url;
use serde_json::Value;

use super::Findings;
use super::around::get;

const SECTION: &str = "envoy";

/// How the type of the external authorization filter ends.
const EXT_AUTHZ: &str = "extensions.filters.http.ext_authz.v3.ExtAuthz";

/// How the type of the connection manager ends.
const MANAGER: &str = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Looks at an Envoy.
pub(super) async fn look(findings: &mut Findings, admin: &Url) {
    let at = |path: &str| admin.join(path);
    let (Ok(ready), Ok(dump)) = (at("/ready"), at("/config_dump")) else {
        findings.bad(SECTION, format!("{admin} is no address"), "give one such as http://127.0.0.1:9901");
        return;
    };
    match get(&ready).await {
        Ok(reply) if reply.status.is_success() => findings.good(SECTION, "is live"),
        Ok(reply) => findings.bad(SECTION, format!("is not live: {}", reply.status), "see its log"),
        Err(why) => {
            findings.bad(SECTION, format!("does not answer: {why}"), "give the address of its `admin`");
            return;
        }
    }
    let dump = match get(&dump).await {
        Ok(reply) => serde_json::from_slice::<Value>(&reply.body).unwrap_or_default(),
        Err(why) => {
            findings.doubtful(SECTION, format!("its configuration cannot be read: {why}"), "look at it by hand");
            return;
        }
    };
    judge(findings, &dump);
}

/// Judges a configuration dump.
fn judge(findings: &mut Findings, dump: &Value) {
    let (mut filters, mut managers) = (Vec::new(), Vec::new());
    find(dump, EXT_AUTHZ, &mut filters);
    find(dump, MANAGER, &mut managers);
    if filters.is_empty() {
        findings.bad(SECTION, "has no ext_authz filter", "take the one of envoy/envoy.yaml");
        return;
    }
    // Each with what must be there, and why.
    let wanted = [
        ("failure_mode_allow", Value::Bool(false), "it would let requests pass while the gate is away"),
        ("encode_raw_headers", Value::Bool(true), "a header that comes twice is joined, and refused"),
        ("validate_mutations", Value::Bool(true), "what the gate changes is not checked"),
        ("include_peer_certificate", Value::Bool(true), "tokens that are bound to certificates are refused"),
    ];
    for filter in filters {
        for (setting, value, otherwise) in &wanted {
            let is = filter.get(*setting).cloned().unwrap_or(Value::Bool(false));
            let what = format!("ext_authz has `{setting}: {is}`");
            match *setting {
                _ if is == *value => findings.good(SECTION, what),
                "failure_mode_allow" => findings.bad(SECTION, what, format!("set it to {value}: {otherwise}")),
                _ => findings.doubtful(SECTION, what, format!("set it to {value}: {otherwise}")),
            }
        }
        if filter["transport_api_version"] != "V3" {
            findings.bad(SECTION, "ext_authz does not speak V3", "set `transport_api_version: V3`");
        }
    }
    for manager in managers.iter().filter(|manager| is_guarded(manager)) {
        for setting in ["normalize_path", "merge_slashes"] {
            // An unset `normalize_path` follows Envoy's runtime, which is on since 1.13.
            let unset = if setting == "normalize_path" { Value::Bool(true) } else { Value::Bool(false) };
            if manager.get(setting).map_or(&unset, |value| value) == &Value::Bool(true) {
                findings.good(SECTION, format!("`{setting}` is on"));
            } else {
                let help = "set it to true: the gate and the API should see the same path";
                findings.doubtful(SECTION, format!("`{setting}` is off"), help);
            }
        }
    }
}

/// Whether a connection manager asks a gate.
fn is_guarded(manager: &Value) -> bool {
    let mut filters = Vec::new();
    find(manager, EXT_AUTHZ, &mut filters);
    !filters.is_empty()
}

/// Collects every object of a type.
fn find<'a>(value: &'a Value, kind: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            if members.get("@type").and_then(Value::as_str).is_some_and(|name| name.ends_with(kind)) {
                found.push(value);
            }
            members.values().for_each(|member| find(member, kind, found));
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, kind, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
