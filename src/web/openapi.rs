//! `GET /openapi.json`: every HTTP endpoint, described for programs (OpenAPI 3.1.1).

use std::time::Duration;

use serde_json::{Value, json};

/// The document as it was written.
const TEXT: &str = include_str!("../../docs/openapi.yaml");

/// How long the document may be kept: it changes with the version only.
pub(super) const KEEP_FOR: Duration = Duration::from_hours(1);

/// The document, as it holds at an issuer.
#[must_use]
pub fn openapi(issuer: &str) -> Value {
    let mut document: Value = serde_saphyr::from_str(TEXT).expect("the document is YAML, as a test says");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["servers"] = json!([{ "url": issuer, "description": "the issuer" }]);
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_its_issuer_and_version() {
        let document = openapi("https://auth.example.com/tenant");
        assert_eq!(document["openapi"], "3.1.1");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["servers"][0]["url"], "https://auth.example.com/tenant");
        assert_eq!(document["paths"]["/livez"]["servers"][0]["url"], "http://127.0.0.1:9090");
    }
}
