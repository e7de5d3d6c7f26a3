//! Metadata of protected resources (RFC 9728), which the gate itself answers.

use serde_json::{Value, json};

use crate::check::{Ask, Proxy, Verdict};
use crate::gate::{Gate, Holder, ISSUER, TOOLS};

const ROOT: &str = "/.well-known/oauth-protected-resource";

/// Sends a request without a token to the resource that has metadata.
async fn ask(gate: &Gate, proxy: &mut Proxy, method: &str, target: &str) -> Verdict {
    let holder = Holder::new("mcp");
    let mut ask = Ask::good(gate, &holder);
    (ask.host, ask.method, ask.target) = ("tools.example.com".to_owned(), method.to_owned(), target.to_owned());
    (ask.authorization, ask.proofs) = (Some(Vec::new()), Some(Vec::new()));
    proxy.check(ask.raw(gate, &holder)).await
}

#[tokio::test]
async fn the_gate_tells_anybody_what_a_resource_wants() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    for target in [ROOT.to_owned(), format!("{ROOT}/mcp"), format!("{ROOT}/mcp?x=/../admin")] {
        for method in ["GET", "HEAD"] {
            let verdict = ask(&gate, &mut proxy, method, &target).await;
            assert_eq!((verdict.status, verdict.reason()), (200, "described"), "{method} {target}");
            assert_eq!(verdict.header("content-type"), Some("application/json"));
            assert_eq!(verdict.header("access-control-allow-origin"), Some("*"));
            let document: Value = serde_json::from_str(&verdict.body).expect("JSON");
            let expected = json!({
                "resource": TOOLS, "authorization_servers": [ISSUER], "scopes_supported": ["tools:admin", "tools:use"],
                "bearer_methods_supported": ["header"],
                "dpop_signing_alg_values_supported": ["ES256", "PS256", "EdDSA", "Ed25519"],
                "resource_name": "Tools", "resource_documentation": "https://tools.example.com/developers",
            });
            assert_eq!(document, expected);
        }
        let preflight = ask(&gate, &mut proxy, "OPTIONS", &target).await;
        assert_eq!((preflight.status, preflight.body.as_str()), (200, ""));
        assert_eq!(preflight.header("access-control-allow-headers"), Some("*"));
    }
}

#[tokio::test]
async fn nothing_else_is_answered_without_a_token() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    for (method, target) in [
        ("POST", ROOT.to_owned()),
        ("GET", format!("{ROOT}/")),
        ("GET", format!("{ROOT}/mcp/")),
        ("GET", format!("{ROOT}/other")),
        ("GET", format!("/mcp{ROOT}")),
        ("GET", "/.well-known/oauth-authorization-server".to_owned()),
        ("GET", ROOT.to_uppercase()),
    ] {
        let verdict = ask(&gate, &mut proxy, method, &target).await;
        assert!([401, 403].contains(&verdict.status), "{method} {target}: {verdict:?}");
    }
    // A resource that says nothing of metadata has none.
    let holder = Holder::new("tv");
    let mut ask = Ask::good(&gate, &holder);
    ask.target = ROOT.to_owned();
    assert_eq!(proxy.check(ask.raw(&gate, &holder)).await.reason(), "no_rule");
}

#[tokio::test]
async fn challenges_say_where_the_metadata_are() {
    let gate = Gate::start().await;
    let mut proxy = Proxy::to(&gate).await;
    let verdict = ask(&gate, &mut proxy, "POST", "/mcp").await;
    let place = r#"resource_metadata="https://tools.example.com/.well-known/oauth-protected-resource/mcp""#;
    let [dpop, bearer] = verdict.challenges()[..] else { panic!("{verdict:?}") };
    assert!(dpop.starts_with("DPoP ") && bearer.starts_with("Bearer "), "{verdict:?}");
    for challenge in [dpop, bearer] {
        assert!(challenge.contains(place) && challenge.contains(r#"scope="tools:use""#), "{challenge}");
        assert!(!challenge.contains("error"), "{challenge}");
    }
}
