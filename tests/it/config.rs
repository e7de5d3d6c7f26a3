//! The configuration file: what is accepted, and what people are told about what is not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::config::{self, Config, Document, Mistakes};
use tollgate::fetch::Reach;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::client::ClientKeys;

/// A directory with the files that configurations name.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file is written");
    std::fs::create_dir(directory.path().join("secrets")).expect("a directory is made");
    write(
        "users.yaml",
        &std::fs::read_to_string(repository("examples/users.yaml")).expect("the users of the examples"),
    );
    write("secrets/kek", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n");
    write("secrets/next-kek", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\n");
    write("secrets/database", "postgresql://tollgate:a-password-that-nobody-reads@db1.example,db2.example/tollgate\n");
    write("secrets/billing", "0123456789abcdef0123456789abcdef0123456789abcdef\n");
    write("secrets/agent", "0123456789abcdef0123456789abcdef\n");
    write("secrets/printer", "fedcba9876543210fedcba9876543210\n");
    for application in ["first", "second", "third"] {
        write(&format!("secrets/{application}"), "00112233445566778899aabbccddeeff\n");
    }
    write("strangers.yaml", "users:\n  - { username: ada, password_hash: secret, subject: 1 }\n");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
    write("secrets/tls.key", &key.serialize_pem());
    write("secrets/upstream.key", &key.serialize_pem());
    write("secrets/upstream-next.key", &rcgen::KeyPair::generate().expect("a key").serialize_pem());
    write("tls.pem", &certificate);
    write("clients-ca.pem", &certificate);
    write("secrets/redis", "rediss://gate:s3cret@redis.example.com:6379/1\n");
    write("secrets/nodes", "redis://one.example.com\nredis://two.example.com\n");
    write("secrets/insecure", "rediss://redis.example.com/#insecure\n");
    write("secrets/socket", "unix:///run/redis.sock\n");
    write("empty", "\n");
    write("short", "too short\n");
    write("binary", "0123456789abcdef0123456789abcdef\u{1}");
    write("huge", &"x".repeat(5_000));
    write("vast", &"x".repeat(64 * 1024 + 1));
    write("logo.svg", &example("logo.svg"));
    directory
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn example(name: &str) -> String {
    std::fs::read_to_string(repository("examples").join(name)).expect("an example")
}

fn check(text: &str, overrides: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let directory = directory();
    let mut document = Document::parse("tollgate.yaml", text, directory.path())?;
    for (key, json) in overrides {
        document.set(key, json);
    }
    document.check()
}

/// The report of a text that is wrong, without the name of the temporary directory.
#[track_caller]
fn report(text: &str) -> String {
    match check(text, &[]) {
        Ok(_) => panic!("nothing is wrong with\n{text}"),
        Err(mistakes) => mistakes.to_text(),
    }
}

/// A small configuration in which nothing is wrong.
const BASE: &str = r#"
store: { memory: {} }
authorization_server:
  issuer: https://auth.example
  login: { local: { users_file: users.yaml } }
  scopes: { read: Read, write: Write }
  clients:
    - { client_id: public, token_endpoint_auth_method: none, redirect_uris: ["https://app.example/cb"], scope: read }
    - { client_id: secret, client_secret_file: secrets/billing, grant_types: [client_credentials] }
    - client_id: key
      token_endpoint_auth_method: private_key_jwt
      grant_types: [client_credentials]
      jwks: { keys: [ { kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo } ] }
protected_resources:
  - resource: https://api.example
    rules: [ { path: /a, scope: read } ]
"#;

/// A setting of the wrong form, a misspelled key, a number without a unit, a contradiction, an unknown scope.
const FIVE_MISTAKES: &str = "\
listen:
  public: { address: localhost:8080 }
store: { memory: {} }
authorization_server:
  isuer: https://auth.example
  tokens: { access_token: 5 }
  scopes: { read: Read }
  clients:
    - client_id: app
      token_endpoint_auth_method: none
      grant_types: [client_credentials]
      scope: read
protected_resources:
  - resource: https://api.example
    rules:
      - { path: /a, scope: raed }
";

#[test]
fn five_mistakes_are_reported_at_once_each_with_its_place() {
    insta::assert_snapshot!(report(FIVE_MISTAKES));
}

#[test]
fn what_is_not_yaml_is_reported_with_its_place() {
    insta::assert_snapshot!(report("listen: [ 1\nstore: { memory: {} }\n"));
}

#[test]
fn secrets_are_not_printed() {
    let secret = "hunter2-hunter2-hunter2-hunter2-hunter2";
    let text = BASE.replace("client_secret_file: secrets/billing", &format!("client_secret: {secret}"));
    let report = report(&text);
    assert!(report.contains("client_secret_file"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
    assert_eq!(report.matches('×').count(), 1, "{report}");
}

#[test]
fn secrets_are_not_printed_however_they_are_written() {
    let lines = [
        "client_secret: 'hunter2-hunter2'",
        "client_secret: |\n        hunter2\n        hunter2",
        "client_secret: >-\n        hunter2\n\n        hunter2",
        "client_secret: hunter2\n        hunter2",
        "client_secret: [hunter2, hunter2]",
        "client_secret:\n        - hunter2\n        - hunter2",
        "client_secret: { value: hunter2 }",
        "CLIENT_SECRET: hunter2",
        "api_key: hunter2",
        "client_secret_hash: hunter2",
        "client_secret_file: hunter2hunter2hunter2",
        "client_secret_file: hunter2+hunter2/hunter2=",
    ];
    let client = "{ client_id: secret, client_secret_file: secrets/billing, grant_types: [client_credentials] }";
    for line in lines {
        let block = format!("client_id: secret\n      {line}\n      grant_types: [client_credential]");
        let text = BASE.replace(client, &block);
        assert!(text.contains("hunter2"));
        let report = report(&text);
        assert!(!report.contains("hunter2"), "{line}\n{report}");
        assert!(report.contains("grant_types"), "{report}");
    }
    for (key, json) in [("authorization_server.clients.1.client_secret", "hunter2"), ("store.password", "[hunter2")] {
        let report = check(BASE, &[(key, json)]).expect_err("no such setting").to_text();
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn no_value_is_printed_of_what_is_not_yaml() {
    for text in [
        "client_secret: hunter2\nlisten: [ 1\nstore: {}\n",
        "client_secret: hunter2: hunter2\n",
        "client_secret: \"hunter2\n",
        "client_secret: @hunter2\n",
        "client_secret: [hunter2\nclient_secret: hunter2]\n",
        "key: |\n-----BEGIN PRIVATE KEY-----\nhunter2/hunter2+hunter2==\n-----END PRIVATE KEY-----\n",
        "a: *hunter2\n",
    ] {
        let report = report(text);
        assert!(report.contains("this is not YAML"), "{report}");
        assert!(!report.contains("hunter2"), "{text}\n{report}");
    }
}

/// Overrides for clients with certificates.
const MUTUAL_TLS: [(&str, &str); 2] = [
    ("listen.public.tls", "{ certificate: tls.pem, private_key: secrets/tls.key, client_ca: clients-ca.pem }"),
    ("authorization_server.clients.0.token_endpoint_auth_method", "tls_client_auth"),
];

/// An override for a client that exchanges tokens.
const EXCHANGE: (&str, &str) =
    ("authorization_server.clients.1.grant_types", "[\"urn:ietf:params:oauth:grant-type:token-exchange\"]");

/// Words without which no replica of several may remember proofs for itself.
const ONLY_ONE: (&str, &str) = ("replay", "{ local: { replicas: only_one } }");

/// An override for a store that outlives the process.
const KEK: (&str, &str) = ("authorization_server.signing", "{ encryption_key_file: secrets/kek }");

/// What is overridden in [`BASE`], the setting that is then at fault, and a part of what is said about it.
type Row = (&'static [(&'static str, &'static str)], &'static str, &'static str);

#[test]
fn every_rule_is_reported_once_and_where_it_was_broken() {
    #[rustfmt::skip]
    let rows: &[Row] = &[
        // The form of values.
        (&[("listen.public.address", "example.com:80")], "listen.public.address", "must be an IP address"),
        (&[("listen.ext_authz", "[{ address: nowhere }]")], "listen.ext_authz[0].address", "unix:/path"),
        (&[("listen.ext_authz", "[{}]")], "listen.ext_authz[0]", "lacks `address`"),
        (&[("listen.ext_authz", "[]")], "listen.ext_authz", "is empty"),
        (&[("listen.ext_authz", "[{ address: 1.2.3.4:5 }, { address: 1.2.3.4:5 }]")], "listen.ext_authz[1].address", "already"),
        (&[("authorization_server.metadata_at_gate", "true"), ("protected_resources", "[]")], "authorization_server.metadata_at_gate", "needs a gate"),
        (&[("listen.adimn", "{}")], "listen.adimn", "is unknown"),
        (&[("listen.admin.address", "127.0.0.1:8080")], "listen.admin.address", "`listen.public` is at 127.0.0.1:8080"),
        (&[("listen.admin.address", "0.0.0.0:8080")], "listen.admin.address", "is taken"),
        (&[("listen.public.address", "127.0.0.1:9090")], "listen.public.address", "`listen.admin` is at"),
        (&[("listen.ext_authz", "[{ address: 127.0.0.1:9090 }]")], "listen.ext_authz[0].address", "`listen.admin` is at"),
        (&[("listen.public.tls", "{ private_key: secrets/tls.key }")], "listen.public.tls", "lacks `certificate`"),
        (&[("listen.public.tls", "{ certificate: tls.pem, private_key: nothing }")], "listen.public.tls.private_key", "cannot be read"),
        (&[("listen.public.tls", "{ certificate: short, private_key: secrets/tls.key }")], "listen.public.tls.certificate", "no certificate"),
        (&[("listen.public.tls", "{ certificate: tls.pem, private_key: tls.pem }")], "listen.public.tls.private_key", "no private key"),
        (&[("listen.public.tls", "{ certificate: tls.pem, private_key: secrets/tls.key, client_ca: short }")], "listen.public.tls.client_ca", "holds no certificate of an authority"),
        (&[("store", "{ memory: {}, sqlite: {} }")], "store", "exactly one"),
        (&[("store", "{ postgres: {} }"), KEK], "store.postgres", "lacks `url_file`"),
        (&[("store", "{ postgres: { url_file: nothing } }"), KEK], "store.postgres.url_file", "cannot be read"),
        (&[("store", "{ postgres: { url_file: short } }"), KEK], "store.postgres.url_file", "is not a PostgreSQL connection URL"),
        (&[("store", "{ postgres: { url_file: secrets/database } }"), ONLY_ONE], "authorization_server", "lacks `encryption_key_file`"),
        (&[("store", "{ postgres: { url_file: secrets/database, connections: 0 } }"), KEK, ONLY_ONE], "store.postgres.connections", "from 1 to 500"),
        (&[("store", "{ postgres: { url_file: secrets/database, answer_within: 2m } }"), KEK, ONLY_ONE], "store.postgres.answer_within", "at most"),
        (&[("store", "{ postgres: { url_file: secrets/database, certificate_authorities: short } }"), KEK, ONLY_ONE], "store.postgres.certificate_authorities", "holds no certificate"),
        (&[("store", "{ postgres: { url_file: secrets/database, limits: { codes: 0 } } }"), KEK, ONLY_ONE], "store.postgres.limits.codes", "from 1"),
        (&[("store", "{ sqlite: {} }"), ("authorization_server.signing", "{ encryption_key_file: secrets/kek }")], "store.sqlite", "lacks `path`"),
        (&[("store", "{ memory: { limits: { codes: 0 } } }")], "store.memory.limits.codes", "from 1"),
        (&[("store", "{ postgres: { url_file: secrets/database } }"), KEK], "", "a proof would pass once at each"),
        (&[("store", "{ postgres: { url_file: secrets/database } }"), KEK, ("replay", "{ local: {} }")], "replay", "a proof would pass once at each"),
        (&[("replay", "{ local: { replicas: many } }")], "replay.local.replicas", "cannot be `many`"),
        (&[("replay", "{ local: { entries: 0 } }")], "replay.local.entries", "from 1"),
        (&[("replay", "{ local: { entries: 50000001 } }")], "replay.local.entries", "from 1"),
        (&[("replay", "{ local: { entries: many } }")], "replay.local.entries", "must be a whole number, not text"),
        (&[("replay", "{ redis: {} }")], "replay.redis", "lacks `url_file`"),
        (&[("replay", "{ redis: { url_file: nothing } }")], "replay.redis.url_file", "cannot be read"),
        (&[("replay", "{ redis: { url_file: empty } }")], "replay.redis.url_file", "without a URL"),
        (&[("replay", "{ redis: { url_file: short } }")], "replay.redis.url_file", "no URL such as"),
        (&[("replay", "{ redis: { url_file: secrets/nodes } }")], "replay.redis.url_file", "more than one URL"),
        (&[("replay", "{ redis: { url_file: secrets/insecure } }")], "replay.redis.url_file", "turns off"),
        (&[("replay", "{ redis: { url_file: secrets/socket, cluster: true } }")], "replay.redis.url_file", "socket of a cluster"),
        (&[("replay", "{ redis: { url_file: secrets/redis, cluster: true } }")], "replay.redis.url_file", "database of a cluster"),
        (&[("replay", "{ redis: { url_file: secrets/redis, key_prefix: \"a b\" } }")], "replay.redis.key_prefix", "must be 1 to 64"),
        (&[("replay", "{ redis: { url_file: secrets/redis, key_prefix: \"\" } }")], "replay.redis.key_prefix", "must be 1 to 64"),
        (&[("replay", "{ redis: { url_file: secrets/redis, answer_within: 5 } }")], "replay.redis.answer_within", "must be"),
        (&[("replay", "{ redis: { url_file: secrets/redis, connect_within: 1m } }")], "replay.redis.connect_within", "must be \"1ms\" to \"30s\""),
        (&[("replay", "{ redis: { url_file: secrets/redis, certificate_authorities: short } }")], "replay.redis.certificate_authorities", "holds no certificate"),
        // The authorization server.
        (&[("authorization_server.issuer", "null")], "authorization_server", "lacks `issuer`"),
        (&[("authorization_server.issuer", "http://auth.example")], "authorization_server.issuer", "https"),
        (&[("authorization_server.issuer", "https://auth.example/")], "authorization_server.issuer", "trailing slash"),
        (&[("authorization_server.issuer", "https://auth.example/?x")], "authorization_server.issuer", "query"),
        (&[("authorization_server.profile", "fapi3")], "authorization_server.profile", "cannot be `fapi3`"),
        (&[("authorization_server.login", "null")], "authorization_server", "lacks `login`"),
        (&[("authorization_server.login", "{ local: {} }")], "authorization_server.login.local", "lacks `users_file`"),
        (&[("authorization_server.login", "{ ldap: {} }")], "authorization_server.login.ldap", "is unknown"),
        (&[("authorization_server.login", "{ oidc: { client_id: x } }")], "authorization_server.login.oidc", "lacks `issuer`"),
        (&[("authorization_server.login", "{ oidc: { issuer: \"https://id.example\" } }")], "authorization_server.login.oidc", "lacks `client_id`"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"http://id.example\" } }")], "authorization_server.login.oidc.issuer", "must be an https URL"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example/?a\" } }")], "authorization_server.login.oidc.issuer", "must be an https URL"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://auth.example\" } }")], "authorization_server.login.oidc.issuer", "is this server itself"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", scopes: profile } }")], "authorization_server.login.oidc.scopes", "lacks `openid`"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", timeout: 31s } }")], "authorization_server.login.oidc.timeout", "at most \"30s\""),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", client_secret_file: nothing } }")], "authorization_server.login.oidc.client_secret_file", "cannot be read"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", client_key_file: short } }")], "authorization_server.login.oidc.client_key_file", "no PKCS #8 private key for ES256"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", token_endpoint_auth_method: private_key_jwt } }")], "authorization_server.login.oidc", "lacks `client_key_file`"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", token_endpoint_auth_method: none, client_secret_file: short } }")], "authorization_server.login.oidc.client_secret_file", "is of no use with `none`"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", token_endpoint_auth_method: tls_client_auth } }")], "authorization_server.login.oidc.token_endpoint_auth_method", "not supported at an upstream provider"),
        (&[("authorization_server.login", "{ oidc: { client_id: x, issuer: \"https://id.example\", claims: { name: \"\" } } }")], "authorization_server.login.oidc.claims.name", "must be 1 to 200"),
        (&[("authorization_server.login", "{ header: {} }")], "authorization_server.login.header", "lacks `subject`"),
        (&[("authorization_server.login", "{ header: { subject: cookie } }")], "authorization_server.login.header.subject", "must be the name of a header"),
        (&[("authorization_server.login", "{ header: { subject: x-user, name: X-User } }")], "authorization_server.login.header.name", "another setting too"),
        (&[("authorization_server.login", "{ header: { subject: x-user, from: [] } }")], "authorization_server.login.header.from", "is empty"),
        (&[("authorization_server.login", "{ header: { subject: x-user, from: [\"10.0.0.1/8\"] } }")], "authorization_server.login.header.from[0]", "must be an IP address, or a network"),
        (&[("authorization_server.login", "{ header: { subject: x-user, from: [\"0.0.0.0/0\"] } }")], "authorization_server.login.header.from[0]", "names every address"),
        (&[("authorization_server.tokens", "{ session: 1h, session_idle: 2h }")], "authorization_server.tokens.session_idle", "at most \"1h\""),
        (&[("authorization_server.login", "{ external: {} }"), ("listen.admin.grpc", "\"unix:a.sock\"")], "authorization_server.login.external", "lacks `authorization_endpoint`"),
        (&[("authorization_server.login", "{ external: { authorization_endpoint: \"https://login.example/a\" } }")], "authorization_server.login", "lacks the socket"),
        (&[("authorization_server.login", "{ external: { authorization_endpoint: \"http://login.example/a\" } }"), ("listen.admin.grpc", "\"unix:a.sock\"")], "authorization_server.login.external.authorization_endpoint", "must be an https URL"),
        (&[("authorization_server.login", "{ external: { authorization_endpoint: \"https://login.example/#a\" } }"), ("listen.admin.grpc", "\"unix:a.sock\"")], "authorization_server.login.external.authorization_endpoint", "without a fragment"),
        (&[("listen.admin.grpc", "127.0.0.1:9999")], "listen.admin.grpc", "lacks `grpc_tls`"),
        (&[("listen.admin.grpc", "127.0.0.1:9999"), ("listen.admin.grpc_tls", "{ certificate: tls.pem, private_key: secrets/tls.key, clients: [\"dns:ops\"] }")], "listen.admin.grpc_tls", "lacks `client_ca`"),
        (&[("listen.admin.grpc", "127.0.0.1:9999"), ("listen.admin.grpc_tls", "{ certificate: tls.pem, private_key: secrets/tls.key, client_ca: clients-ca.pem, clients: [] }")], "listen.admin.grpc_tls.clients", "names nobody"),
        (&[("listen.admin.grpc", "127.0.0.1:9999"), ("listen.admin.grpc_tls", "{ certificate: tls.pem, private_key: secrets/tls.key, client_ca: clients-ca.pem, clients: [ops] }")], "listen.admin.grpc_tls.clients[0]", "must be `dns:`"),
        (&[("listen.admin.grpc", "\"unix:a.sock\""), ("listen.admin.grpc_tls", "{}")], "listen.admin.grpc_tls", "which is not there"),
        (&[("listen.admin.grpc_access", "group")], "listen.admin.grpc_access", "a socket that is not there"),
        (&[("listen.admin.grpc", "\"unix:/run/tollgate/authz.sock\"")], "listen.admin.grpc", "`listen.ext_authz` is there"),
        (&[("authorization_server.login.local.users_file", "nobody.yaml")], "authorization_server.login.local.users_file", "cannot be read"),
        (&[("authorization_server.login.local.users_file", "strangers.yaml")], "authorization_server.login.local.users_file", "wrong at 2:"),
        (&[("authorization_server.clients.1.client_id", "0b6f")], "authorization_server.clients[1].client_id", "person in the users file"),
        (&[("authorization_server.login.local.users_file", "secrets")], "authorization_server.login.local.users_file", "no regular file"),
        (&[("authorization_server.tokens.access_token", "5")], "authorization_server.tokens.access_token", "must be a duration such as"),
        (&[("authorization_server.tokens.access_token", "5 minutes")], "authorization_server.tokens.access_token", "must be a duration"),
        (&[("authorization_server.tokens.access_token", "0s")], "authorization_server.tokens.access_token", "at least"),
        (&[("authorization_server.tokens.access_token", "25h")], "authorization_server.tokens.access_token", "at most"),
        (&[("authorization_server.tokens.authorization_code", "61s")], "authorization_server.tokens.authorization_code", "at most"),
        (&[("authorization_server.tokens", "{ refresh_token: 1h, refresh_token_idle: 2h }")], "authorization_server.tokens.refresh_token_idle", "at most \"1h\""),
        (&[("authorization_server.tokens.device_code", "16m")], "authorization_server.tokens.device_code", "at most \"15m\""),
        (&[("store", "{ sqlite: { path: x.db } }")], "authorization_server", "lacks `encryption_key_file`"),
        (&[("authorization_server.signing.encryption_key_file", "nothing")], "authorization_server.signing.encryption_key_file", "cannot be read"),
        (&[("authorization_server.signing.encryption_key_file", "short")], "authorization_server.signing.encryption_key_file", "32 bytes in base64"),
        (&[("nonce_keys_file", "secrets/kek")], "nonce_keys_file", "is for gates without `authorization_server`"),
        (&[("authorization_server.signing.encryption_key_file", "huge")], "authorization_server.signing.encryption_key_file", "larger than 4 KiB"),
        (&[KEK, ("authorization_server.signing.decryption_key_files", "[short]")], "authorization_server.signing.decryption_key_files[0]", "32 bytes in base64"),
        (&[("authorization_server.signing", "{ decryption_key_files: [secrets/kek] }")], "authorization_server.signing.decryption_key_files", "without `encryption_key_file`"),
        (&[("authorization_server.signing", "{ sign: 1d, announce: 2d }")], "authorization_server.signing.announce", "at most \"1d\""),
        (&[("authorization_server.signing.retain", "1m")], "authorization_server.signing.retain", "shorter than"),
        (&[("authorization_server.signing.algorithm", "HS256")], "authorization_server.signing.algorithm", "cannot be `HS256`"),
        (&[("authorization_server.dpop.nonce", "maybe")], "authorization_server.dpop.nonce", "cannot be `maybe`"),
        (&[("authorization_server.dpop.proof_lifetime", "6m")], "authorization_server.dpop.proof_lifetime", "at most"),
        (&[("authorization_server.dpop.clock_skew", "61s")], "authorization_server.dpop.clock_skew", "at most"),
        (&[("authorization_server.dpop.required", "yes")], "authorization_server.dpop.required", "must be true or false"),
        (&[("authorization_server.scopes", "{ read: Read, write: Write, \"a b\": Both }")], "authorization_server.scopes.\"a b\"", "a scope is"),
        (&[("authorization_server.scopes.read", "\"\"")], "authorization_server.scopes.read", "people are shown it"),
        (&[("authorization_server.scopes.read", "12")], "authorization_server.scopes.read", "must be text, or a map of texts by language, not a number"),
        (&[("authorization_server.scopes.read", "{}")], "authorization_server.scopes.read", "says nothing in any language"),
        (&[("authorization_server.scopes.read", "{ en: Read, de: \"\" }")], "authorization_server.scopes.read.de", "people are shown it"),
        (&[("authorization_server.scopes.read", "{ en: Read, english: Read }")], "authorization_server.scopes.read.english", "a language such as `en`"),
        (&[("authorization_server.scopes.read", "{ en: Read, de: [Lesen] }")], "authorization_server.scopes.read.de", "must be text, not a list"),
        (&[("authorization_server.branding.name", "\"\"")], "authorization_server.branding.name", "people are shown it"),
        (&[("authorization_server.branding.logo_file", "nothing")], "authorization_server.branding.logo_file", "cannot be read"),
        (&[("authorization_server.branding.logo_file", "users.yaml")], "authorization_server.branding.logo_file", "no PNG, SVG or WebP picture"),
        (&[("authorization_server.branding.logo_file", "vast")], "authorization_server.branding.logo_file", "larger than 64 KiB"),
        (&[("authorization_server.branding.accent_color", "{ light: red }")], "authorization_server.branding.accent_color.light", "must be a colour such as"),
        (&[("authorization_server.branding.accent_color", "{ light: \"#ffd400\" }")], "authorization_server.branding.accent_color.light", "its contrast to #ffffff is 1.4, not 4.5"),
        (&[("authorization_server.branding.accent_color", "{ dark: \"#1d4fd8\" }")], "authorization_server.branding.accent_color.dark", "its contrast to #1b2028 is"),
        (&[("authorization_server.clients.0.client_name", "\"two\\nlines\"")], "authorization_server.clients[0].client_name", "people are shown it"),
        (&[("protected_resources.0.upstream.header", "{}")], "protected_resources[0].upstream.header", "is unknown"),
        (&[("authorization_server.resources", "[not-a-uri]")], "authorization_server.resources[0]", "must begin with"),
        (&[("authorization_server.resources", "[\"https://r.example\", \"https://r.example\"]")], "authorization_server.resources[1]", "twice"),
        // Requests that are pushed or signed, and FAPI 2.0.
        (&[("authorization_server.tokens.pushed_request", "10m")], "authorization_server.tokens.pushed_request", "at most \"9m\""),
        (&[("store", "{ memory: { limits: { pushed_requests_per_client: 0 } } }")], "store.memory.limits.pushed_requests_per_client", "from 1"),
        (&[("authorization_server.clients.0.require_signed_request_object", "true")], "authorization_server.clients[0].require_signed_request_object", "needs `jwks`"),
        (&[("authorization_server.clients.0.request_object_signing_alg", "ES256")], "authorization_server.clients[0]", "needs `jwks`"),
        (&[("authorization_server.clients.2.request_object_signing_alg", "ES256")], "authorization_server.clients[2].request_object_signing_alg", "no key in `jwks` can sign"),
        (&[("authorization_server.clients.2.authorization_signed_response_alg", "PS256")], "authorization_server.clients[2].authorization_signed_response_alg", "is not `signing.algorithm`"),
        (&[("authorization_server.profile", "fapi2"), ("authorization_server.clients", "[{ client_id: public, token_endpoint_auth_method: none, redirect_uris: [\"https://a.example\"] }]")], "authorization_server.clients[0].token_endpoint_auth_method", "cannot be `none` under `profile: fapi2`"),
        (&[("authorization_server.clients.1.profile", "fapi2")], "authorization_server.clients[1].profile", "cannot be `client_secret_basic` under"),
        (&[("authorization_server.clients.2.profile", "fapi2"), ("authorization_server.signing", "{ algorithm: RS256 }")], "authorization_server.clients[2].profile", "does not go with"),
        (&[("authorization_server.clients.2.profile", "fapi2"), ("authorization_server.clients.2.refresh_token_rotation", "always")], "authorization_server.clients[2].refresh_token_rotation", "cannot be `always`"),
        (&[("authorization_server.clients.2.profile", "fapi2"), ("authorization_server.clients.2.dpop_bound_access_tokens", "false")], "authorization_server.clients[2].dpop_bound_access_tokens", "cannot be `false`"),
        (&[("authorization_server.profile", "fapi2"), ("authorization_server.clients", "[{ client_id: k, profile: default, token_endpoint_auth_method: private_key_jwt, grant_types: [client_credentials], jwks: { keys: [ { kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo } ] } }]")], "authorization_server.clients[0].profile", "is looser than"),
        (&[("authorization_server.authorization_details_types", "{ payment: {} }")], "authorization_server.authorization_details_types.payment", "lacks `description`"),
        (&[("authorization_server.authorization_details_types", "{ payment: { description: { en: \"\" } } }")], "authorization_server.authorization_details_types.payment.description.en", "people are shown it"),
        (&[("authorization_server.authorization_details_types", "{ payment: { description: Pay, fields: [actions] } }")], "authorization_server.authorization_details_types.payment.fields[0]", "a meaning of its own"),
        (&[("authorization_server.authorization_details_types", "{ payment: { description: Pay, required: [amount] } }")], "authorization_server.authorization_details_types.payment.required[0]", "not in `fields`"),
        (&[("authorization_server.clients.0.authorization_details_types", "[payment]")], "authorization_server.clients[0].authorization_details_types[0]", "which is not in `authorization_server.authorization_details_types`"),
        // Clients.
        (&[("authorization_server.clients.3", "{ client_id: public, token_endpoint_auth_method: none, redirect_uris: [\"https://a.example\"] }")], "authorization_server.clients[3].client_id", "earlier client"),
        (&[("authorization_server.clients.0.client_id", "null")], "authorization_server.clients[0]", "lacks `client_id`"),
        (&[("authorization_server.clients.0.client_id", "12")], "authorization_server.clients[0].client_id", "must be text, not a number"),
        (&[("authorization_server.clients.0.client_id", "é")], "authorization_server.clients[0].client_id", "printable ASCII"),
        (&[("authorization_server.clients.0.grant_types", "[client_credentials]")], "authorization_server.clients[0].grant_types[0]", "public client"),
        (&[("authorization_server.clients.0.grant_types", "[]")], "authorization_server.clients[0].grant_types", "is empty"),
        (&[("authorization_server.clients.0.grant_types", "[authorization_code, authorization_code]")], "authorization_server.clients[0].grant_types[1]", "twice"),
        (&[("authorization_server.clients.0.grant_types", "[refresh_token]")], "authorization_server.clients[0].grant_types", "no grant that gives"),
        (&[("authorization_server.clients.0.client_id", "tollgate-activation")], "authorization_server.clients[0].client_id", "pages of this server"),
        (&[("authorization_server.clients.0.client_id", "tollgate-account")], "authorization_server.clients[0].client_id", "pages of this server"),
        (&[("authorization_server.clients.0.grant_types", "[password]")], "authorization_server.clients[0].grant_types[0]", "cannot be `password`"),
        (&[("authorization_server.clients.0.redirect_uris", "null")], "authorization_server.clients[0]", "lacks `redirect_uris`"),
        (&[("authorization_server.clients.0.redirect_uris", "[\"http://app.example/cb\"]")], "authorization_server.clients[0].redirect_uris[0]", "loopback only"),
        (&[("authorization_server.clients.0.redirect_uris", "[\"https://app.example/cb#x\"]")], "authorization_server.clients[0].redirect_uris[0]", "fragment"),
        (&[("authorization_server.clients.0.redirect_uris", "[\"https://a.example\", \"https://a.example\"]")], "authorization_server.clients[0].redirect_uris[1]", "twice"),
        (&[("authorization_server.clients.0.scope", "read admin")], "authorization_server.clients[0].scope", "names `admin`"),
        (&[("authorization_server.clients.0.scope", "read  write")], "authorization_server.clients[0].scope", "single spaces"),
        (&[("authorization_server.clients.0.refresh_token_rotation", "never")], "authorization_server.clients[0].refresh_token_rotation", "public client"),
        (&[("authorization_server.clients.0.client_secret_file", "secrets/billing")], "authorization_server.clients[0].client_secret_file", "has no use"),
        (&[("authorization_server.clients.0.jwks", "{ keys: [] }")], "authorization_server.clients[0].jwks", "has no use"),
        (&[("authorization_server.clients.0.token_endpoint_auth_method", "magic")], "authorization_server.clients[0].token_endpoint_auth_method", "cannot be"),
        (&[("authorization_server.clients.0.tls_client_auth_san_dns", "a.example")], "authorization_server.clients[0].tls_client_auth_san_dns", "has no use"),
        (&[("authorization_server.clients.0.tls_client_certificate_bound_access_tokens", "true")], "authorization_server.clients[0].tls_client_certificate_bound_access_tokens", "`listen.public` has no `tls`"),
        (&[MUTUAL_TLS[0], ("authorization_server.clients.0.token_endpoint_auth_method", "tls_client_auth")], "authorization_server.clients[0]", "lacks the subject"),
        (&[MUTUAL_TLS[0], MUTUAL_TLS[1], ("authorization_server.clients.0.tls_client_auth_san_ip", "host")], "authorization_server.clients[0].tls_client_auth_san_ip", "IP address"),
        (&[MUTUAL_TLS[0], MUTUAL_TLS[1], ("authorization_server.clients.0.tls_client_auth_subject_dn", "host")], "authorization_server.clients[0].tls_client_auth_subject_dn", "RFC 4514"),
        (&[MUTUAL_TLS[0], MUTUAL_TLS[1], ("authorization_server.clients.0.tls_client_auth_san_dns", "a.example"), ("authorization_server.clients.0.tls_client_auth_san_ip", "::1")], "authorization_server.clients[0].tls_client_auth_san_ip", "beside another subject"),
        (&[("listen.public.tls", "{ certificate: tls.pem, private_key: secrets/tls.key }"), MUTUAL_TLS[1], ("authorization_server.clients.0.tls_client_auth_san_dns", "a.example")], "authorization_server.clients[0].token_endpoint_auth_method", "needs an authority"),
        (&[MUTUAL_TLS[0], ("authorization_server.clients.0.token_endpoint_auth_method", "self_signed_tls_client_auth")], "authorization_server.clients[0]", "lacks `jwks`"),
        (&[MUTUAL_TLS[0], ("authorization_server.clients.2.token_endpoint_auth_method", "self_signed_tls_client_auth"), ("authorization_server.clients.2.jwks.keys.0.x5c", "[abc]")], "authorization_server.clients[2].jwks.keys[0]", "`x5c`"),
        (&[("authorization_server.clients.1.client_secret_file", "null")], "authorization_server.clients[1]", "lacks a secret"),
        (&[("authorization_server.clients.1.client_secret_file", "short")], "authorization_server.clients[1].client_secret_file", "shorter than 32"),
        (&[("authorization_server.clients.1.client_secret_file", "binary")], "authorization_server.clients[1].client_secret_file", "printable ASCII"),
        (&[("authorization_server.clients.1.client_secret_hash", "sha256:UgQDic8LVLiPdux5jrcCKeNNUvM-9DY_qDG1JZJdnSA")], "authorization_server.clients[1].client_secret_hash", "stands beside"),
        (&[("authorization_server.clients.1.client_secret_hash", "md5:abc")], "authorization_server.clients[1].client_secret_hash", "sha256:"),
        (&[("authorization_server.clients.2.token_endpoint_auth_method", "null")], "authorization_server.clients[2].jwks", "has no use"),
        (&[("authorization_server.clients.2.jwks", "null")], "authorization_server.clients[2]", "lacks `jwks`"),
        (&[("authorization_server.clients.2.jwks", "{}")], "authorization_server.clients[2].jwks", "lacks `keys`"),
        (&[("authorization_server.clients.2.jwks", "{ keys: [] }")], "authorization_server.clients[2].jwks.keys", "is empty"),
        (&[("authorization_server.clients.2.jwks_uri", "https://key.example/keys")], "authorization_server.clients[2].jwks_uri", "stands beside `jwks`"),
        (&[("authorization_server.clients.0.jwks_uri", "https://key.example/keys")], "authorization_server.clients[0].jwks_uri", "has no use"),
        (&[("authorization_server.clients.2.jwks", "null"), ("authorization_server.clients.2.jwks_uri", "http://key.example/keys")], "authorization_server.clients[2].jwks_uri", "must be an https URL (http on loopback only)"),
        (&[("authorization_server.clients.2.jwks", "null"), ("authorization_server.clients.2.jwks_uri", "https://u:p@key.example/")], "authorization_server.clients[2].jwks_uri", "without userinfo"),
        (&[MUTUAL_TLS[0], ("authorization_server.clients.2.token_endpoint_auth_method", "self_signed_tls_client_auth"), ("authorization_server.clients.2.jwks_uri", "https://key.example/keys")], "authorization_server.clients[2].jwks_uri", "has no use"),
        (&[("authorization_server.registration", "{ scope: read }")], "authorization_server.registration", "does not say who may register"),
        (&[("authorization_server.registration", "{ scope: read, open: false }")], "authorization_server.registration", "does not say who may register"),
        (&[("authorization_server.registration", "{ open: true }")], "authorization_server.registration", "lacks `scope`"),
        (&[("authorization_server.registration", "{ open: true, scope: unheard }")], "authorization_server.registration.scope", "names `unheard`"),
        (&[("authorization_server.registration", "{ open: true, initial_access_token_file: secrets/billing, scope: read }")], "authorization_server.registration.open", "is a second word"),
        (&[("authorization_server.registration", "{ initial_access_token_file: short, scope: read }")], "authorization_server.registration.initial_access_token_file", "shorter than 32"),
        (&[("authorization_server.registration", "{ initial_access_token_hash: abc, scope: read }")], "authorization_server.registration.initial_access_token_hash", "must be `sha256:`"),
        (&[("authorization_server.registration", "{ open: true, scope: read, grant_types: [client_credentials] }")], "authorization_server.registration.grant_types[0]", "where everybody may register"),
        (&[("authorization_server.registration", "{ open: true, scope: read, grant_types: [] }")], "authorization_server.registration.grant_types", "is empty"),
        (&[("authorization_server.registration", "{ initial_access_token_file: secrets/billing, scope: read, grant_types: [\"urn:ietf:params:oauth:grant-type:token-exchange\"] }")], "authorization_server.registration.grant_types[0]", "cannot be"),
        (&[("authorization_server.registration", "{ open: true, scope: read, forget_unused: 366d }")], "authorization_server.registration.forget_unused", "at most"),
        (&[("authorization_server.login", "null"), ("authorization_server.clients", "[]"), ("authorization_server.registration", "{ open: true, scope: read }")], "authorization_server", "`registration` allows `authorization_code`"),
        (&[("authorization_server.client_id_metadata_documents", "{}")], "authorization_server.client_id_metadata_documents", "lacks `scope`"),
        (&[("authorization_server.client_id_metadata_documents", "{ scope: unheard }")], "authorization_server.client_id_metadata_documents.scope", "names `unheard`"),
        (&[("authorization_server.client_id_metadata_documents", "{ scope: read, hosts: [] }")], "authorization_server.client_id_metadata_documents.hosts", "is empty"),
        (&[("authorization_server.client_id_metadata_documents", "{ scope: read, hosts: [\"https://a.example\"] }")], "authorization_server.client_id_metadata_documents.hosts[0]", "must be the name of a host"),
        (&[("authorization_server.client_id_metadata_documents", "{ scope: read, hosts: [A.example] }")], "authorization_server.client_id_metadata_documents.hosts[0]", "must be the name of a host"),
        (&[("authorization_server.client_id_metadata_documents", "{ scope: read, hosts: [a.example, a.example] }")], "authorization_server.client_id_metadata_documents.hosts[1]", "twice"),
        (&[("authorization_server.login", "null"), ("authorization_server.clients", "[]"), ("authorization_server.client_id_metadata_documents", "{ scope: read }")], "authorization_server", "is for clients that sign people in"),
        (&[("store", "{ memory: { limits: { clients: 0 } } }")], "store.memory.limits.clients", "from 1"),
        (&[("authorization_server.client_documents.private_addresses", "maybe")], "authorization_server.client_documents.private_addresses", "cannot be `maybe`"),
        (&[("authorization_server.client_documents.timeout", "31s")], "authorization_server.client_documents.timeout", "at most \"30s\""),
        (&[("authorization_server.clients.2.jwks.keys.0.d", "abc")], "authorization_server.clients[2].jwks.keys[0]", "private"),
        (&[("authorization_server.clients.2.jwks.keys.0.crv", "X25519")], "authorization_server.clients[2].jwks.keys[0]", "unsupported"),
        (&[("authorization_server.clients.2.token_endpoint_auth_signing_alg", "RS256")], "authorization_server.clients[2].token_endpoint_auth_signing_alg", "no key"),
        (&[("authorization_server.clients.2.client_secret_file", "secrets/billing")], "authorization_server.clients[2].client_secret_file", "has no use"),
        (&[("authorization_server.clients.1.grant_types", "[\"urn:ietf:params:oauth:grant-type:token-exchange\"]")], "authorization_server.clients[1]", "lacks `token_exchange`"),
        (&[("authorization_server.clients.1.token_exchange", "{ from: [\"https://api.example\"], to: [\"https://api.example\"] }")], "authorization_server.clients[1].token_exchange", "has no use"),
        (&[EXCHANGE, ("authorization_server.clients.1.token_exchange", "{ from: [\"https://api.example\"] }")], "authorization_server.clients[1].token_exchange", "lacks `to`"),
        (&[EXCHANGE, ("authorization_server.clients.1.token_exchange", "{ from: [\"https://api.example\"], to: [] }")], "authorization_server.clients[1].token_exchange.to", "is empty"),
        (&[EXCHANGE, ("authorization_server.clients.1.token_exchange", "{ from: [\"https://api.example\"], to: [\"https://b.example\"] }")], "authorization_server.clients[1].token_exchange.to[0]", "no resource that tokens"),
        (&[("authorization_server.clients.0.grant_types", "[\"urn:ietf:params:oauth:grant-type:token-exchange\"]"), ("authorization_server.clients.0.token_exchange", "{ from: [\"https://api.example\"], to: [\"https://api.example\"] }")], "authorization_server.clients[0].grant_types[0]", "public client"),
        (&[("authorization_server.clients.1.introspects", "[]")], "authorization_server.clients[1].introspects", "is empty"),
        (&[("authorization_server.clients.1.introspects", "[\"https://b.example\"]")], "authorization_server.clients[1].introspects[0]", "no resource that tokens"),
        (&[("authorization_server.clients.1.introspects", "[\"https://api.example\", \"https://api.example\"]")], "authorization_server.clients[1].introspects[1]", "twice"),
        (&[("authorization_server.clients.0.introspects", "[\"https://api.example\"]")], "authorization_server.clients[0].introspects", "public client"),
        (&[("authorization_server.rate_limits", "{ client: 0 }")], "authorization_server.rate_limits.client", "from 1 to"),
        (&[("authorization_server.rate_limits", "{ wrong_secrets: 1000001 }")], "authorization_server.rate_limits.wrong_secrets", "from 1 to"),
        (&[("listen.public.trusted_proxies", "[\"10.0.0.7/8\"]")], "listen.public.trusted_proxies[0]", "whose address is its first"),
        (&[("listen.public.forwarded_certificates", "{}")], "listen.public.forwarded_certificates", "there are none"),
        (&[MUTUAL_TLS[0], ("listen.public.trusted_proxies", "[127.0.0.1]"), ("listen.public.forwarded_certificates", "{}")], "listen.public.forwarded_certificates", "beside `tls`"),
        (&[("listen.public.trusted_proxies", "[envoy]")], "listen.public.trusted_proxies[0]", "must be an IP address"),
        (&[("listen.public.trusted_proxies", "[\"10.0.0.7\", \"10.0.0.7/32\"]")], "listen.public.trusted_proxies[1]", "twice"),
        // Protected resources.
        (&[("authorization_server", "null")], "protected_resources[0]", "this file has no `authorization_server`"),
        (&[("authorization_server", "null"), ("protected_resources.0.authorization_servers", "[self]")], "protected_resources[0].authorization_servers[0]", "and there is none"),
        (&[("protected_resources.1", "{ resource: \"https://api.example\", rules: [{ path: /, allow: anyone }] }")], "protected_resources[1].resource", "earlier one"),
        (&[("protected_resources.1", "{ resource: \"https://api.example/\", rules: [{ path: /, allow: anyone }] }")], "protected_resources[1].resource", "has the host, port and path of `https://api.example`"),
        (&[("protected_resources.1", "{ resource: \"https://api.example/b\", rules: [{ path: /, allow: anyone }] }"), ("protected_resources.2", "{ resource: \"https://API.example:443/c/../%62/?x\", rules: [{ path: /, allow: anyone }] }")], "protected_resources[2].resource", "has the host, port and path of `https://api.example/b`"),
        (&[("protected_resources.1", "{ resource: \"https://api.example/b\", rules: [{ path: /, allow: anyone }] }"), ("protected_resources.2", "{ resource: \"https://api.example/shop/b\", stripped_prefix: /shop, rules: [{ path: /, allow: anyone }] }")], "protected_resources[2].resource", "has the host, port and path of `https://api.example/b`"),
        (&[("protected_resources.0.stripped_prefix", "/shop/")], "protected_resources[0].stripped_prefix", "without a slash at its end"),
        (&[("protected_resources.1", "{ resource: \"https://api.example/shops\", stripped_prefix: /shop, rules: [{ path: /, allow: anyone }] }")], "protected_resources[1].stripped_prefix", "is not in the path of `resource`"),
        (&[("protected_resources.0.upstream", "{ authorization: internal_jwt }"), ("protected_resources.1", "{ resource: \"https://api.example/b\", upstream: { authorization: internal_jwt }, rules: [{ path: /, allow: anyone }] }")], "protected_resources[1].upstream.authorization", "is `internal_jwt` at `https://api.example` too"),
        (&[("protected_resources.1", "{ resource: \"http://127.0.0.1/b\", rules: [{ path: /, allow: anyone }] }"), ("protected_resources.2", "{ resource: \"https://127.0.0.1\", rules: [{ path: /, allow: anyone }] }")], "protected_resources[2].resource", "has the host and port of"),
        (&[("protected_resources.0.resource", "null")], "protected_resources[0]", "lacks `resource`"),
        (&[("protected_resources.0.resource", "api.example")], "protected_resources[0].resource", "https://"),
        (&[("protected_resources.0.authorization_servers", "[\"http://login.example\"]")], "protected_resources[0].authorization_servers[0]", "neither `self` nor an issuer"),
        (&[("protected_resources.0.authorization_servers", "[self, \"https://auth.example\"]")], "protected_resources[0].authorization_servers[1]", "is given twice"),
        (&[("protected_resources.0.rules", "[{ path: /mcp, mcp: { method: tools/call }, allow: authenticated }]")], "protected_resources[0].rules[0].mcp", "needs a server that compares"),
        (&[("protected_resources.0.mcp", "{ server_checks_headers: false }"), ("protected_resources.0.rules", "[{ path: /mcp, mcp: { undeclared: true }, allow: authenticated }]")], "protected_resources[0].rules[0].mcp", "needs a server that compares"),
        (&[("protected_resources.0.mcp", "{ server_checks_headers: true }"), ("protected_resources.0.rules", "[{ path: /mcp, mcp: { name: a, undeclared: true }, allow: authenticated }]")], "protected_resources[0].rules[0].mcp", "which nobody says then"),
        (&[("protected_resources.0.mcp", "{ server_checks_headers: true }"), ("protected_resources.0.rules", "[{ path: /mcp, methods: [GET], mcp: { name: a }, allow: authenticated }]")], "protected_resources[0].rules[0].mcp", "without POST"),
        (&[("protected_resources.0.mcp", "{ server_checks_headers: true }"), ("protected_resources.0.rules", "[{ path: /mcp, mcp: { name: a*b }, allow: authenticated }]")], "protected_resources[0].rules[0].mcp.name", "must be a name"),
        (&[("protected_resources.0.mcp", "{ server_checks_headers: true }"), ("protected_resources.0.rules", "[{ path: /mcp, allow: authenticated }, { path: /mcp, mcp: { name: a }, allow: authenticated }]")], "protected_resources[0].rules[1]", "can never match"),
        (&[("protected_resources.0.audiences", "[orders]")], "protected_resources[0].audiences", "none count here"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("protected_resources.0.audiences", "[]")], "protected_resources[0].audiences", "is empty"),
        // Workloads.
        (&[("authorization_server.workload_issuers", "[{ kubernetes: {} }]")], "authorization_server.workload_issuers[0].kubernetes", "lacks `issuer`"),
        (&[("authorization_server.workload_issuers", "[{ kubernetes: { issuer: \"https://k.example\", token_file: t } }]")], "authorization_server.workload_issuers[0].kubernetes.token_file", "there is none"),
        (&[("authorization_server.workload_issuers", "[{ kubernetes: { issuer: \"https://k.example\", jwks_uri: \"https://k.example/k\", jwks_file: k } }]")], "authorization_server.workload_issuers[0].kubernetes.jwks_file", "beside `jwks_uri`"),
        (&[("authorization_server.workload_issuers", "[{ kubernetes: { issuer: \"https://k.example\", ca_file: nothing } }]")], "authorization_server.workload_issuers[0].kubernetes.ca_file", "cannot be read"),
        (&[("authorization_server.workload_issuers", "[{ kubernetes: { issuer: \"https://k.example\", algorithms: [] } }]")], "authorization_server.workload_issuers[0].kubernetes.algorithms", "is empty"),
        (&[("authorization_server.workload_issuers", "[{ kubernetes: { issuer: \"https://k.example\", max_lifetime: 25h } }]")], "authorization_server.workload_issuers[0].kubernetes.max_lifetime", "at most"),
        (&[("authorization_server.workload_issuers", "[{ kubernetes: { issuer: \"https://k.example\" } }, { kubernetes: { issuer: \"https://k.example\" } }]")], "authorization_server.workload_issuers[1]", "of an earlier one"),
        (&[("authorization_server.workload_issuers", "[{ spiffe: { trust_domain: example.org } }]")], "authorization_server.workload_issuers[0].spiffe", "lacks `bundle_uri`"),
        (&[("authorization_server.workload_issuers", "[{ spiffe: { trust_domain: Example, bundle_file: b } }]")], "authorization_server.workload_issuers[0].spiffe.trust_domain", "must be a trust domain"),
        (&[("authorization_server.workload_issuers", "[{ spiffe: { trust_domain: example.org, bundle_uri: \"https://s.example\", bundle_file: b } }]")], "authorization_server.workload_issuers[0].spiffe.bundle_file", "beside `bundle_uri`"),
        (&[("authorization_server.clients.1", "{ client_id: w, token_endpoint_auth_method: spiffe_jwt, grant_types: [client_credentials] }")], "authorization_server.clients[1]", "lacks `spiffe_id`"),
        (&[("authorization_server.clients.1", "{ client_id: w, token_endpoint_auth_method: spiffe_jwt, spiffe_id: \"spiffe://example.org/\", grant_types: [client_credentials] }")], "authorization_server.clients[1].spiffe_id", "must be a SPIFFE ID"),
        (&[("authorization_server.clients.1", "{ client_id: w, token_endpoint_auth_method: spiffe_jwt, spiffe_id: \"spiffe://example.org/a\", grant_types: [client_credentials] }")], "authorization_server.clients[1].spiffe_id", "is of a platform that is not in"),
        (&[("authorization_server.clients.1.spiffe_id", "\"spiffe://example.org/a\"")], "authorization_server.clients[1].spiffe_id", "has no use"),
        (&[("issuers", "[{ issuer: \"https://login.example\" }]")], "issuers[0].issuer", "is named by no resource"),
        (&[("issuers", "[{ issuer: \"https://auth.example\" }]")], "issuers[0].issuer", "is the `authorization_server` of this file"),
        (&[("issuers", "[{ jwks_uri: \"https://login.example/k\" }]")], "issuers[0]", "lacks `issuer`"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\" }, { issuer: \"https://login.example\" }]")], "issuers[1].issuer", "of an earlier one"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", jwks_uri: \"http://login.example/k\" }]")], "issuers[0].jwks_uri", "must be an https URL"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", algorithms: [] }]")], "issuers[0].algorithms", "is empty"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", algorithms: [HS256] }]")], "issuers[0].algorithms[0]", "cannot be `HS256`"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", typ: any }]")], "issuers[0].typ", "cannot be `any`"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", introspection: { client_id: gate, client_secret_file: secrets/billing } }]")], "issuers[0].introspection", "lacks `endpoint`"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", introspection: { endpoint: \"https://login.example/i\", client_id: gate } }]")], "issuers[0].introspection", "how this server authenticates"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", introspection: { endpoint: \"http://login.example/i\", client_id: gate, client_secret_file: secrets/billing } }]")], "issuers[0].introspection.endpoint", "must be an https URL"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", introspection: { endpoint: \"https://login.example/i\", client_id: gate, client_secret_file: secrets/billing, cache: 6m } }]")], "issuers[0].introspection.cache", "at most"),
        (&[("protected_resources.0.authorization_servers", "[\"https://a.example\", \"https://b.example\"]"), ("issuers", "[{ issuer: \"https://a.example\", introspection: { endpoint: \"https://a.example/i\", client_id: gate, client_secret_file: secrets/billing } }, { issuer: \"https://b.example\", introspection: { endpoint: \"https://b.example/i\", client_id: gate, client_secret_file: secrets/billing } }]")], "protected_resources[0].authorization_servers[1]", "is the second one here"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", introspection: { endpoint: \"https://login.example/i\", client_id: gate, client_secret_file: secrets/billing, client_assertion_file: token } }]")], "issuers[0].introspection.client_secret_file", "stands beside"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", introspection: { endpoint: \"https://login.example/i\", client_id: gate, token_endpoint_auth_method: private_key_jwt, client_assertion_file: token } }]")], "issuers[0].introspection.token_endpoint_auth_method", "stands beside"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", ca_file: nothing }]")], "issuers[0].ca_file", "cannot be read"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", ca_file: short }]")], "issuers[0].ca_file", "holds no certificate"),
        (&[("tls", "{ roots: short }")], "tls.roots", "holds no certificate"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", clock_skew: 61s }]")], "issuers[0].clock_skew", "at most"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", timeout: 31s }]")], "issuers[0].timeout", "at most"),
        (&[("protected_resources.0.authorization_servers", "[\"https://login.example\"]"), ("issuers", "[{ issuer: \"https://login.example\", claims: { client_id: \"\" } }]")], "issuers[0].claims.client_id", "must be 1 to 200"),
        (&[("protected_resources.0.authorization_servers", "[]")], "protected_resources[0].authorization_servers", "is empty"),
        (&[("protected_resources.0.dpop", "no")], "protected_resources[0].dpop", "cannot be `no`"),
        (&[("protected_resources.0.upstream.headers", "{ authorization: sub }")], "protected_resources[0].upstream.headers.authorization", "reserved"),
        (&[("protected_resources.0.upstream.headers", "{ x-user: sub, x-user: client_id }")], "protected_resources.0.upstream.headers.x-user", "is given twice"),
        (&[("protected_resources.0.upstream.headers", "{ X-User: sub }")], "protected_resources[0].upstream.headers.X-User", "lower-case"),
        (&[("protected_resources.0.rules", "null")], "protected_resources[0]", "lacks `rules`"),
        (&[("protected_resources.0.rules", "[]")], "protected_resources[0].rules", "is empty"),
        (&[("protected_resources.0.rules.0.path", "null")], "protected_resources[0].rules[0]", "lacks `path`"),
        (&[("protected_resources.0.rules.0.path", "a")], "protected_resources[0].rules[0].path", "must begin with /"),
        (&[("protected_resources.0.rules.0.methods", "[TRACE]")], "protected_resources[0].rules[0].methods[0]", "TRACE"),
        (&[("protected_resources.0.rules.0.methods", "[]")], "protected_resources[0].rules[0].methods", "is empty"),
        (&[("protected_resources.0.rules.0.scope", "null")], "protected_resources[0].rules[0]", "neither `scope` nor `allow`"),
        (&[("protected_resources.0.rules.0.scope", "\"\"")], "protected_resources[0].rules[0].scope", "is empty"),
        (&[("protected_resources.0.rules.0.scope", "admin")], "protected_resources[0].rules[0].scope", "names `admin`"),
        (&[("protected_resources.0.rules.1", "{ path: /a, methods: [GET], allow: anyone }")], "protected_resources[0].rules[1]", "can never match: `protected_resources[0].rules[0]` comes first"),
        (&[("protected_resources.0.rules", "[{ path: \"/a/**\", scope: read }, { path: /a/b, allow: anyone }]")], "protected_resources[0].rules[1]", "can never match: `protected_resources[0].rules[0]` comes first"),
        (&[("protected_resources.0.rules.0.allow", "anyone")], "protected_resources[0].rules[0].allow", "stands beside"),
        (&[("protected_resources.0.rules.0", "{ path: /a, acr: [a], allow: anyone }")], "protected_resources[0].rules[0].allow", "stands beside `acr`"),
        (&[("protected_resources.0.rules.0.any_scope", "[]")], "protected_resources[0].rules[0].any_scope", "is empty"),
        (&[("protected_resources.0.rules.0.any_scope", "[admin]")], "protected_resources[0].rules[0].any_scope[0]", "names `admin`"),
        (&[("protected_resources.0.rules.0.acr", "[]")], "protected_resources[0].rules[0].acr", "is empty"),
        (&[("protected_resources.0.rules.0.acr", "[a b]")], "protected_resources[0].rules[0].acr[0]", "no spaces"),
        (&[("protected_resources.0.rules.0.max_age", "0s")], "protected_resources[0].rules[0].max_age", "at least"),
        (&[("protected_resources.0.rules.0.claims", "{}")], "protected_resources[0].rules[0].claims", "is empty"),
        (&[("protected_resources.0.rules.0.claims", "{ a: { b: c } }")], "protected_resources[0].rules[0].claims.a", "must be text, a number"),
        (&[("protected_resources.0.rules.0.authorization_details", "[]")], "protected_resources[0].rules[0].authorization_details", "is empty"),
        (&[("protected_resources.0.rules.0.authorization_details", "[{}]")], "protected_resources[0].rules[0].authorization_details[0]", "lacks `type`"),
        (&[("protected_resources.0.rules.0.authorization_details", "[{ type: loan }]")], "protected_resources[0].rules[0].authorization_details[0].type", "is `loan`"),
        (&[("protected_resources.0.rules.0.when", "\"claims.a ==\"")], "protected_resources[0].rules[0].when", "is no CEL expression: line 1, column 12"),
        (&[("protected_resources.0.rules.0.when", "\"claim.a == 1\"")], "protected_resources[0].rules[0].when", "names `claim`"),
        (&[("protected_resources.0.rules.0", "{ path: /a, when: \"now > 1\", allow: anyone }")], "protected_resources[0].rules[0].allow", "stands beside `when`"),
        (&[("protected_resources.0.upstream", "{ internal_jwt: {} }")], "protected_resources[0].upstream.internal_jwt", "is for `authorization: internal_jwt` only"),
        (&[("protected_resources.0.upstream", "{ authorization: internal_jwt, internal_jwt: { lifetime: 2m } }")], "protected_resources[0].upstream.internal_jwt.lifetime", "at most \"1m\""),
        (&[("protected_resources.0.upstream", "{ authorization: internal_jwt, internal_jwt: { other_key_files: [] } }")], "protected_resources[0].upstream.internal_jwt.other_key_files", "without `key_file`"),
        (&[("protected_resources.0.cors_origins", "[\"https://App.example.com/\"]")], "protected_resources[0].cors_origins[0]", "is not as browsers send it"),
        (&[("protected_resources.0.cors_origins", "[\"*\"]")], "protected_resources[0].cors_origins[0]", "must begin with https://"),
        (&[("protected_resources.0.upstream", "{ authorization: internal_jwt, internal_jwt: { claims: [iss] } }")], "protected_resources[0].upstream.internal_jwt.claims[0]", "is `iss`"),
        (&[("protected_resources.0.upstream", "{ claims_header: { name: x-auth-subject } }")], "protected_resources[0].upstream.claims_header.name", "carries another claim"),
        (&[("protected_resources.0.upstream", "{ claims_header: { name: X-Auth } }")], "protected_resources[0].upstream.claims_header.name", "lower-case"),
        (&[("protected_resources.0.upstream", "{ claims_header: {} }")], "protected_resources[0].upstream.claims_header", "lacks `name`"),
        (&[("protected_resources.0.enforcement", "off")], "protected_resources[0].enforcement", "cannot be `off`"),
        // Overrides themselves.
        (&[("protected_resources.7.dpop", "off")], "protected_resources", "is no item of it"),
        (&[("authorization_server.issuer.x", "1")], "authorization_server.issuer", "has no settings below it"),
        (&[("store.memory", "{")], "", "this is not YAML"),
    ];
    check(BASE, &[]).unwrap_or_else(|mistakes| panic!("the base is right\n{}", mistakes.to_text()));
    let mut wrong = String::new();
    for (overrides, path, message) in rows {
        let Err(mistakes) = check(BASE, overrides) else {
            let _ = writeln!(wrong, "{overrides:?} was accepted");
            continue;
        };
        let found: Vec<_> = mistakes.iter().collect();
        if !matches!(found.as_slice(), [one] if one.path() == *path && one.message().contains(message)) {
            let _ = writeln!(wrong, "{overrides:?} should be `{message}` at `{path}`\n{}", mistakes.to_text());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_mistake_has_no_second_one_in_its_wake() {
    for (text, count) in [
        ("", 1),
        ("- a list\n", 1),
        ("just text", 1),
        ("authorization_sever: { isuer: x }\n", 1),
        ("store: { memory: {} }\nauthorization_server: { isuer: \"https://a.example\" }\n", 1),
        ("store: { memory: {} }\nauthorization_server: []\nprotected_resources: {}\n", 2),
        // The scopes are lost, so no scope is unknown; the login is lost, so none is lacking.
        (
            "store: { memory: {} }\nauthorization_server:\n  issuer: https://a.example\n  scopes: [read]\n  lgoin: {}\n  clients: \
          [{ client_id: a, token_endpoint_auth_method: none, redirect_uris: [\"https://a.example\"], scope: read }]\n",
            2,
        ),
        // Listed twice: the first counts.
        ("store: { memory: {} }\nauthorization_server: { issuer: \"https://a.example\", issuer: nonsense }\n", 1),
        (
            "store: { memory: {} }\nauthorization_server: { issuer: \"https://a.example\", clients: [{ client_id: a, \
          token_endpoint_auth_method: tls, redirect_uris: nowhere }] }\n",
            2,
        ),
    ] {
        let report = report(text);
        assert_eq!(report.matches('×').count(), count, "{text}\n{report}");
    }
}

#[test]
fn files_that_grow_when_they_are_read_are_refused() {
    let nested = format!("store: {}", "[".repeat(100_000));
    assert!(report(&nested).contains("this is not YAML"));
    let mut doubling = "a0: &a0 [x]\n".to_owned();
    for level in 1..30 {
        let _ = writeln!(doubling, "a{level}: &a{level} [*a{0}, *a{0}]", level - 1);
    }
    assert!(report(&doubling).contains("this is not YAML"));
}

#[test]
fn absent_settings_have_the_defaults_of_the_schema() {
    let schema = config::schema();
    let mut overrides = Vec::new();
    defaults(&schema, &schema, "", &mut overrides);
    // The store has no default of its own in `BASE`, two defaults depend on their neighbours, and there is one way to sign in
    // and one place for used proofs.
    let elsewhere = [".registration.", ".status_lists.", ".internal_jwt.", ".limits.", ".login.", "replay.redis."];
    // The first three are off.
    overrides.retain(|(key, _)| key != "store" && !elsewhere.iter().any(|part| key.contains(part)));
    let implicit = check(BASE, &[]).expect("the base is right");
    let overrides: Vec<_> = overrides.iter().map(|(key, json)| (key.as_str(), json.as_str())).collect();
    assert!(overrides.len() > 20, "{overrides:?}");
    let explicit = check(BASE, &overrides).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
    // That of the text is another one.
    let shown = |config: Config| format!("{:#?}", Config { digest: [0; 32], ..config }).replace('\\', "");
    assert_eq!(without_directory(&shown(implicit)), without_directory(&shown(explicit)));
}

/// Every default below a schema, as an override. Those of clients are left out: they depend on the client.
fn defaults(root: &Value, schema: &Value, path: &str, found: &mut Vec<(String, String)>) {
    let resolve = |schema: &Value| match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).cloned().unwrap_or_default(),
        None => schema.clone(),
    };
    let properties = |schema: &Value| schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let schema = resolve(schema);
    let choices = schema.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    // Of exclusive maps, those that `BASE` has or that are the only ones.
    let choices = choices.iter().flat_map(properties).filter(|(name, _)| name != "sqlite" && name != "memory");
    for (name, setting) in properties(&schema).into_iter().chain(choices) {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if let Some(default) = setting.get("default") {
            found.push((key, default.to_string()));
        } else if name == "protected_resources" {
            defaults(root, &setting["items"], "protected_resources.0", found);
        } else if name != "clients" {
            defaults(root, &setting, &key, found);
        }
    }
}

/// Temporary directories differ between two runs.
fn without_directory(shown: &str) -> String {
    let lines = shown.lines().map(|line| if line.contains("users.yaml") { "users.yaml" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_override_replaces_adds_and_appends() {
    let overrides = [
        ("listen.public.address", "\"127.0.0.1:0\""),
        ("authorization_server.tokens.access_token", "3s"),
        ("authorization_server.scopes.extra", "Extra"),
        ("protected_resources.0.rules.1", r#"{"path":"/b","scope":"extra"}"#),
    ];
    let config = check(BASE, &overrides).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
    assert_eq!(config.listen.public.address.port(), 0);
    let server = config.authorization_server.expect("there is one");
    assert_eq!(server.settings.lifetimes.access_token, Duration::from_secs(3));
    let scopes: Vec<_> = server.settings.scopes.keys().map(ToString::to_string).collect();
    assert_eq!(scopes, ["address", "email", "extra", "openid", "phone", "profile", "read", "write"]);
    assert_eq!(config.protected_resources[0].rules.len(), 2);
}

#[test]
fn every_example_is_right() {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(repository("examples")).expect("there are examples") {
        let path = entry.expect("a directory entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("users.yaml") {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let text = example(&name);
            assert!(text.starts_with("# yaml-language-server: $schema=./tollgate.schema.json\n"), "{name}");
            check(&text, &[]).unwrap_or_else(|mistakes| panic!("{name}\n{}", mistakes.to_text()));
            names.insert(name);
        }
    }
    let readme = example("README.md");
    assert!(names.len() >= 5 && names.iter().all(|name| readme.contains(name.as_str())), "{names:?}");
}

#[test]
fn a_redis_is_named_by_a_file_and_its_password_is_never_shown() {
    for redis in [
        "{ url_file: secrets/redis, certificate_authorities: tls.pem, answer_within: 50ms, connect_within: 3s }",
        "{ url_file: secrets/nodes, cluster: true, key_prefix: \"{edge}:\" }",
        "{ url_file: secrets/socket }",
    ] {
        let config = check(BASE, &[("replay", &format!("{{ redis: {redis} }}"))]);
        let config = config.unwrap_or_else(|mistakes| panic!("{}", mistakes.to_terminal()));
        let shown = format!("{:?}", config.replay);
        assert!(shown.contains("RedisUrl(") && !shown.contains("s3cret"), "{shown}");
    }
    let wrong = check(BASE, &[("replay", "{ redis: { url_file: secrets/redis, cluster: true } }")]);
    assert!(!wrong.expect_err("a mistake").to_terminal().contains("s3cret"));
}

#[test]
fn keys_of_nonces_are_shared_by_gates_that_know_of_each_others_proofs_or_say_that_they_do_not() {
    let gate = |more: &str| {
        let rules = "rules: [{ path: /, allow: anyone }]";
        let resource = "resource: \"https://api.example\", authorization_servers: [\"https://login.example\"]";
        format!("protected_resources: [{{ {resource}, {rules} }}]\n{more}\n")
    };
    for replay in ["redis: { url_file: secrets/redis }", "local: { replicas: each_takes_a_proof_once }"] {
        let with = |file: &str| gate(&format!("nonce_keys_file: {file}\nreplay: {{ {replay} }}"));
        let config = check(&with("secrets/kek"), &[]).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
        assert_eq!(config.nonce_keys.len(), 1);
        assert!(report(&with("short")).contains("1 to 4 lines of 32 bytes in base64"));
    }
    assert!(report(&gate("nonce_keys_file: secrets/kek")).contains("has gates take each other's nonces"));
}

#[test]
fn only_a_gate_without_a_store_is_told_that_it_alone_knows_its_keys() {
    let told = ("protected_resources.0.upstream", "{ authorization: internal_jwt }");
    let gate = "protected_resources: [{ resource: \"https://api.example\", authorization_servers: [\"https://login.example\"], \
                rules: [{ path: /, allow: anyone }] }]\n";
    for (text, notes) in [(BASE, 0), (gate, 1)] {
        let config = check(text, &[told]).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
        let found = config.notes();
        assert_eq!(found.len(), notes, "{found:?}");
        assert!(
            found.iter().all(|note| note.contains("`upstream.internal_jwt` of https://api.example has no `key_file`"))
        );
    }
}

#[test]
fn an_example_shows_every_setting() {
    fn names(schema: &Value, found: &mut BTreeSet<String>) {
        let members = schema.as_object().into_iter().flatten();
        for (name, value) in members {
            if name == "properties" {
                found.extend(value.as_object().into_iter().flatten().map(|(name, _)| name.clone()));
            }
            names(value, found);
        }
        schema.as_array().into_iter().flatten().for_each(|item| names(item, found));
    }
    let mut found = BTreeSet::new();
    names(&config::schema(), &mut found);
    let text = example("every-setting.yaml");
    let absent: Vec<_> = found.iter().filter(|name| !text.contains(&format!("{name}:"))).collect();
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn the_schema_and_the_reference_are_current() {
    let schema = format!("{:#}\n", config::schema());
    assert!(example("tollgate.schema.json") == schema, "run `tollgate schema > examples/tollgate.schema.json`");
    let reference = std::fs::read_to_string(repository("docs/configuration.md")).expect("the reference");
    let hint = "run `tollgate schema --format markdown > docs/configuration.md`";
    assert!(reference == config::markdown(), "{hint}");
}

#[test]
fn validate_exits_with_2_and_tells_where() {
    let directory = directory();
    let file = directory.path().join("tollgate.yaml");
    let run = |arguments: &[&str]| {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .arg("validate")
            .args(arguments)
            .current_dir(&directory)
            .env_remove("TOLLGATE_CONFIG")
            .output()
            .expect("tollgate runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (program.status.code(), text(program.stdout), text(program.stderr))
    };
    std::fs::write(&file, BASE).expect("a file is written");
    assert_eq!(run(&["--config", "tollgate.yaml"]), (Some(0), "ok: tollgate.yaml\n".to_owned(), String::new()));
    assert_eq!(run(&["tollgate.yaml"]).0, Some(0));

    let (code, stdout, stderr) = run(&["--set", "store.memory=[]", "--set", "listen.public.address=x"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("--set store.memory:1:1") && stderr.contains("2 mistakes in tollgate.yaml"), "{stderr}");

    std::fs::write(&file, BASE.replace("issuer:", "isuer:")).expect("a file is written");
    let (code, _, stderr) = run(&[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("tollgate.yaml:4:3") && stderr.contains("did you mean `issuer`?"), "{stderr}");

    let (code, stdout, _) = run(&["--output", "json"]);
    let mistakes: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &mistakes[0]["line"], &mistakes[0]["column"]), (Some(2), &4.into(), &3.into()));

    let (code, _, stderr) = run(&["--config", "nowhere.yaml"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("nowhere.yaml cannot be read"), "{stderr}");

    std::fs::write(&file, "#".repeat(1024 * 1024 + 1)).expect("a file is written");
    let (code, _, stderr) = run(&[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("larger than 1 MiB"), "{stderr}");
}

/// A place where an edit may happen: characters, not bytes, so that the text stays text.
fn edited(text: &str, at: usize, removed: usize, inserted: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let at = at % (letters.len() + 1);
    let end = (at + removed).min(letters.len());
    letters[..at].iter().copied().chain(inserted.chars()).chain(letters[end..].iter().copied()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edits_of_a_file_never_panic_and_every_report_can_be_printed(
        at in 0_usize..10_000,
        removed in 0_usize..40,
        inserted in r#"[a-z0-9:{}\[\],\n "'&*!|>#é-]{0,6}"#,
        again in 0_usize..10_000,
    ) {
        let text = edited(&example("every-setting.yaml"), at, removed, &inserted);
        let text = edited(&text, again, removed / 4, &inserted);
        if let Err(mistakes) = check(&text, &[]) {
            prop_assert!(mistakes.iter().count() > 0);
            prop_assert!(!mistakes.to_text().is_empty());
            prop_assert!(mistakes.to_json().is_array());
        }
    }
}

#[test]
fn what_follows_from_fapi_is_filled_in() {
    use tollgate::oauth::Profile;
    use tollgate::oauth::client::RefreshTokenRotation;
    let key = "jwks: { keys: [ { kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo } ] }";
    let client =
        format!("client_id: k, token_endpoint_auth_method: private_key_jwt, grant_types: [client_credentials], {key}");
    for (server, own, expected) in [
        ("default", "default", Profile::Default),
        ("fapi2", "fapi2", Profile::Fapi2),
        ("default", "fapi2", Profile::Fapi2),
    ] {
        let clients = format!("[{{ {client}, profile: {own} }}]");
        let overrides = [("authorization_server.profile", server), ("authorization_server.clients", &clients)];
        let config = check(BASE, &overrides).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
        let settings = config.authorization_server.expect("an authorization server").settings;
        let [client] = settings.clients.as_slice() else { panic!("one client") };
        let (bound, rotation) = match expected {
            Profile::Default => (false, RefreshTokenRotation::Always),
            Profile::Fapi2 => (true, RefreshTokenRotation::Never),
        };
        assert_eq!((client.profile, client.dpop_bound_access_tokens, client.rotation), (expected, bound, rotation));
    }
}

#[test]
fn nothing_is_signed_with_rs256_under_fapi() {
    let key = SigningKey::generate(Algorithm::Rs256).expect("a key").proof_jwk();
    for setting in ["token_endpoint_auth_signing_alg", "request_object_signing_alg"] {
        for (algorithm, allowed) in [("PS256", true), ("RS256", false)] {
            let client = json!([{
                "client_id": "k", "profile": "fapi2", "token_endpoint_auth_method": "private_key_jwt",
                "grant_types": ["client_credentials"], "jwks": { "keys": [key] }, (setting): algorithm,
            }]);
            let checked = check(BASE, &[("authorization_server.clients", &client.to_string())]);
            let report = checked.err().map(|mistakes| mistakes.to_text()).unwrap_or_default();
            assert_eq!(report.is_empty(), allowed, "{report}");
            assert!(allowed || report.contains(&format!("clients[0].{setting}` cannot be `RS256`")), "{report}");
        }
    }
}

#[test]
fn a_key_set_is_fetched_from_the_public_internet_unless_the_file_says_otherwise() {
    let reach = |url: &str, more: &[(&str, &str)]| {
        let url = [("authorization_server.clients.2.jwks", "null"), ("authorization_server.clients.2.jwks_uri", url)];
        let config = check(BASE, &[&url, more].concat()).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
        let server = config.authorization_server.expect("an authorization server");
        match server.settings.clients[2].request_object_keys() {
            Some(ClientKeys::Published(at)) => at.reach,
            keys => panic!("{keys:?}"),
        }
    };
    let allowed = [("authorization_server.client_documents.private_addresses", "allow")];
    assert_eq!(reach("https://key.example/keys", &[]), Reach::Public);
    assert_eq!(reach("https://10.0.0.1/keys", &[]), Reach::Public);
    assert_eq!(reach("https://key.example/keys", &allowed), Reach::Anywhere);
    for loopback in ["http://127.0.0.1:7/keys", "https://localhost/keys", "http://[::1]/keys"] {
        assert_eq!(reach(loopback, &[]), Reach::Anywhere, "{loopback}");
    }
}
