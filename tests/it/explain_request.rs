//! `tollgate explain --request`: what an operator is told about a request that nobody sends.

use std::fs;

use tempfile::TempDir;
use tollgate::clock::{Clock as _, SystemClock};

use crate::process::{program, run};

const CONFIGURATION: &str = r#"
listen: { ext_authz: [ { address: "127.0.0.1:0" } ] }
protected_resources:
  - resource: https://api.example.com
    authorization_servers: ["https://login.example.com"]
    cors_preflight: pass
    metadata: {}
    rules:
      - { path: /healthz, allow: anyone }
      - { path: "/orders/**", methods: [GET], scope: "orders:read", max_age: 5m, when: "claims.tenant == request.headers['x-tenant']" }
      - { path: "/orders/**", claims: { roles: [owner, admin] } }
  - resource: https://new.example.com
    authorization_servers: ["https://login.example.com"]
    enforcement: observe
    rules: [ { path: "/**", allow: authenticated } ]
  - resource: https://old.example.com
    authorization_servers: ["https://login.example.com", "https://old.example"]
    rules: [ { path: "/**", scope: "orders:read" } ]
issuers: [ { issuer: "https://old.example", typ: JWT, clock_skew: 1m, claims: { subject: uid } } ]
"#;

/// These claims with the time that it is, less half a minute.
fn timely(claims: &str) -> String {
    claims.replace("NOW-30", &(SystemClock.now().seconds() - 30).to_string())
}

/// What is printed about a request, and the exit code.
async fn explain(folder: &TempDir, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = program();
    command.args(["explain", "--config"]).arg(folder.path().join("tollgate.yaml")).args(arguments);
    let output = run(&mut command).await;
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (text, output.status.code())
}

#[tokio::test]
async fn an_operator_is_told_which_rule_decides_and_why() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tollgate.yaml"), CONFIGURATION).expect("a file");
    let order = "GET https://api.example.com/orders/7?x=1";
    let preflight = ["--header", "Origin: https://app.example.com", "--header", "Access-Control-Request-Method: GET"];
    for (arguments, said) in [
        (
            &["--request", "GET https://api.example.com/healthz"][..],
            &["rules[0]: path /healthz, allow anyone", "whoever sends it"][..],
        ),
        (
            &["--request", order],
            &[
                "path      /orders/7\n",
                "rules[1]: path /orders/**, methods GET",
                "scope orders:read",
                "max_age 300s",
                "when claims.tenant",
                "401 credentials_missing",
                r#"DPoP scope="orders:read""#,
                "--claims",
            ],
        ),
        (
            &["--request", order, "--claims", r#"{"scope":"orders:read"}"#],
            &["401 authentication_too_old", "insufficient_user_authentication", r#"max_age="300""#],
        ),
        (
            &["--request", order, "--claims", r#"{"scope":"profile"}"#],
            &["403 scope_insufficient", "tollgate explain scope_insufficient"],
        ),
        (
            &["--request", order, "--claims", r#"{"scope":"orders:read","auth_time":99999999999}"#],
            &["authentication_too_old"],
        ),
        (
            &["--request", "PUT https://api.example.com/orders/7", "--claims", r#"{"roles":["owner"]}"#],
            &["rules[2]", "claim roles = \"owner\", \"admin\"", "passes, if token and proof are good"],
        ),
        (
            &["--request", "PUT https://api.example.com/orders/7", "--claims", r#"{"roles":["guest"]}"#],
            &["403 claim_refused"],
        ),
        (&["--request", "GET https://api.example.com/public/..;/orders/7"], &["rule      none", "400 path_ambiguous"]),
        (&["--request", "GET https://api.example.com/admin"], &["rule      none", "403 no_rule"]),
        (&["--request", "GET https://other.example.com/"], &["resource  none", "403 host_unknown"]),
        (
            &["--request", "GET https://orders.internal/healthz", "--resource", "https://api.example.com"],
            &["rules[0]", "whoever sends it"],
        ),
        (
            &["--request", "GET https://api.example.com/.well-known/oauth-protected-resource"],
            &["200 from the gate itself"],
        ),
        (
            &[
                "--request",
                "OPTIONS https://api.example.com/orders/7",
                preflight[0],
                preflight[1],
                preflight[2],
                preflight[3],
            ],
            &["passes as a preflight"],
        ),
        (
            &["--request", "GET https://new.example.com/a"],
            &["(only observed)", "401 credentials_missing", "passes without an identity"],
        ),
    ] {
        let (text, code) = explain(&folder, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        for part in said {
            assert!(text.contains(part), "{arguments:?} does not say {part}:\n{text}");
        }
    }
    let old = "GET https://old.example.com/orders/7";
    let passes = "passes, if token and proof are good";
    for (claims, said) in [
        // As the gate reads tokens of that issuer: `uid` for the subject, `scp` as a list, clocks a minute apart.
        (r#"{"iss":"https://old.example","uid":"ada","azp":"app","scp":["orders:read"]}"#, passes),
        (r#"{"iss":"https://old.example","scp":["orders:write"]}"#, "403 scope_insufficient"),
        (r#"{"iss":"https://old.example","scp":["orders:read"],"exp":NOW-30}"#, passes),
        (r#"{"iss":"https://login.example.com","scope":"orders:read"}"#, passes),
        (r#"{"scope":"orders:read"}"#, passes),
        (r#"{"iss":"https://login.example.com","scp":["orders:read"]}"#, passes),
    ] {
        let (text, code) = explain(&folder, &["--request", old, "--claims", &timely(claims)]).await;
        assert!(code == Some(0) && text.contains(said), "{claims}: {text}");
    }
    for claims in [
        r#"{"iss":"https://login.example.com","scope":"orders:read","exp":NOW-30}"#,
        r#"{"iss":"https://evil.example","scope":"orders:read"}"#,
    ] {
        assert_eq!(explain(&folder, &["--request", old, "--claims", &timely(claims)]).await.1, Some(2), "{claims}");
    }
    let own = format!(
        "store: {{ memory: {{}} }}\nauthorization_server: {{ issuer: \"https://auth.example.com/a\", metadata_at_gate: true }}\n{CONFIGURATION}"
    );
    fs::write(folder.path().join("tollgate.yaml"), own).expect("a file");
    for (request, said) in [
        (
            "GET https://auth.example.com/.well-known/oauth-authorization-server/a",
            "for a document of the authorization server",
        ),
        ("GET https://auth.example.com/a/oauth/jwks", "for a document of the authorization server"),
        ("GET https://auth.example.com/a/oauth/token", "403 host_unknown"),
        ("GET https://api.example.com/a/oauth/jwks", "403 no_rule"),
    ] {
        let (text, code) = explain(&folder, &["--request", request]).await;
        assert!(code == Some(0) && text.contains(said), "{request}: {text}");
    }
    for arguments in [
        &["--request", "/orders"][..],
        &["--request", order, "--claims", "[]"],
        &["--request", order, "--header", "x-tenant"],
        &["--request", order, "--claims", r#"{"exp":1}"#],
        &["--request", order, "--list"],
    ] {
        assert_eq!(explain(&folder, arguments).await.1, Some(2), "{arguments:?}");
    }
}
