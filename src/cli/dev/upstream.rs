//! The API of the demo: answers every request with what it received.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;

use crate::web::{Received, Response, Site, respond};

/// An API that knows nothing of tokens.
pub(super) struct Upstream;

#[async_trait]
impl Site for Upstream {
    async fn answer(&self, request: Received) -> Response {
        let mut headers: BTreeMap<&str, String> = BTreeMap::new();
        for (name, value) in &request.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str())
                .and_modify(|all| all.extend([", ", &*value]))
                .or_insert_with(|| value.to_string());
        }
        let target = format!("{} {}", request.method, request.path);
        respond::echo(&json!({ "the_api_received": target, "headers": headers }))
    }
}
