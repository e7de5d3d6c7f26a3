//! The shapes in which Envoy and Tollgate stand before an API: each file of `envoy/` with the file of `examples/` that goes
//! beside it, run by the real programs, which get ports and paths of their own and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Identity, StatusCode, Version};
use serde_json::Value;
use tokio::process::Command;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::jose::{Algorithm, SigningKey};

use crate::client::{CLIENT_CREDENTIALS, Client};
use crate::gate::proof_claims;
use crate::interop::repository;
use crate::manifests::succeeded;
use crate::mutual_tls::{Authority, Credential, named};
use crate::process::run;

mod grpc;
mod ingress;
mod mcp;
mod mutual_tls;
mod redis;

/// The host of the API, as every configuration has it.
pub const API: &str = "https://api.example.com";

/// The authorization server, where it is behind the same Envoy.
pub const ISSUER: &str = "https://auth.example.com";

const HOSTS: [&str; 3] = ["api.example.com", "auth.example.com", "tools.example.com"];

/// A certificate for all hosts, in files as Envoy reads them.
pub fn certify(folder: &Path, authority: &Authority) {
    let hosts = HOSTS.map(str::to_owned);
    let mut server = rcgen::CertificateParams::new(hosts).expect("names");
    // OpenSSL takes a certificate that has the name of its authority for signed by itself.
    server.distinguished_name = named("api.example.com").distinguished_name;
    let server = authority.sign(&server);
    fs::write(folder.join("server.pem"), &server.pem).expect("a file");
    fs::write(folder.join("server.key"), server.key.serialize_pem()).expect("a file");
}

/// Somebody for whom all hosts are where Envoy is, and who shows a certificate or none.
pub fn visitor(envoy: u16, authority: &Authority, shown: Option<&Credential>) -> reqwest::Client {
    let there = SocketAddr::from(([127, 0, 0, 1], envoy));
    let trusted = Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_only([trusted]);
    let client = HOSTS.into_iter().fold(client, |client, host| client.resolve(host, there));
    match shown {
        Some(shown) => {
            let identity = format!("{}\n{}", shown.pem, shown.key.serialize_pem());
            client.identity(Identity::from_pem(identity.as_bytes()).expect("an identity"))
        }
        None => client,
    }
    .build()
    .expect("a client")
}

/// A client with a token that is bound to its key, and the nonce that it was told.
pub struct Caller {
    pub client: Client,
    pub token: String,
    pub nonce: Option<String>,
}

impl Caller {
    /// Gets a token for itself.
    pub async fn with_token(client: Client) -> Self {
        Self::with(client, &CLIENT_CREDENTIALS).await
    }

    /// Gets the token that it asks for so.
    pub async fn with(client: Client, parameters: &[(&str, &str)]) -> Self {
        let answer = client.request(SystemClock.now(), parameters).send().await.expect_tokens();
        let token = answer.text("access_token").to_owned();
        Self { client, token, nonce: None }
    }

    pub fn authorization(&self) -> String {
        format!("DPoP {}", self.token)
    }

    /// A proof for a request, made now.
    pub fn proof(&self, method: &str, url: &str) -> String {
        self.proof_by(&self.client.key, method, url)
    }

    /// The same as somebody with another key would make it.
    pub fn stolen(&self, method: &str, url: &str) -> String {
        self.proof_by(&SigningKey::generate(Algorithm::Es256).expect("a key"), method, url)
    }

    fn proof_by(&self, key: &SigningKey, method: &str, url: &str) -> String {
        let mut claims = proof_claims(method, url, &self.token, SystemClock.now().seconds());
        if let Some(nonce) = &self.nonce {
            claims["nonce"] = nonce.as_str().into();
        }
        let header = serde_json::json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": key.proof_jwk() });
        key.sign_with(&header, &claims)
    }
}

/// What the commands of a page print where all hosts are at this Envoy, and its authority is in `ca.pem` of the folder.
async fn typed(commands: &str, envoy: u16, folder: &Path, token: &str) -> String {
    let curl = format!(
        "curl() {{ command curl --silent --show-error --cacert ca.pem --connect-to ::127.0.0.1:{envoy} \"$@\"; }}\n"
    );
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &(curl + commands)]).current_dir(folder).env("TOKEN", token);
    succeeded(&run(&mut shell).await)
}

/// What came back.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, version, headers) = (response.status(), response.version(), response.headers().clone());
        Self { status, version, headers, body: response.text().await.expect("a body") }
    }

    /// The error in its challenges, and the status.
    pub fn refusal(&self) -> (u16, Option<&str>) {
        let mut lines = self.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
        let error = lines.find_map(|line| line.split("error=\"").nth(1)?.split('"').next());
        (self.status.as_u16(), error)
    }
}

/// The thumbprint that a token is bound to, of a key or a certificate.
pub fn confirmation(token: &str) -> Value {
    crate::client::claims(token)["cnf"].clone()
}

/// The protections of the recommended configuration are in every other one, whatever else it is for.
#[test]
fn every_shape_has_the_protections_of_the_recommended_one() {
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(repository("envoy").join(name)).expect("a configuration");
        serde_saphyr::from_str(&text).expect("YAML")
    };
    let manager = |file: &Value| {
        let listener = &file["static_resources"]["listeners"][0]["filter_chains"][0];
        listener["filters"][0]["typed_config"].clone()
    };
    let filter = |manager: &Value| {
        let filters = manager["http_filters"].as_array().expect("filters");
        let (last, before) = filters.split_last().expect("a router");
        assert_eq!(last["name"], "envoy.filters.http.router");
        let gate = before.last().expect("the gate is the last one before the router");
        assert_eq!(gate["name"], "envoy.filters.http.ext_authz");
        gate["typed_config"].clone()
    };
    // What a shape is for may differ, and nothing else.
    let differs: &[(&str, &[&str])] = &[
        ("envoy.yaml", &[]),
        ("grpc.yaml", &[]),
        ("ingress.yaml", &[]),
        ("mcp.yaml", &[]),
        ("mutual-tls.yaml", &["forward_client_cert_details", "set_current_client_cert_details"]),
        ("other-issuer.yaml", &[]),
        ("redis.yaml", &[]),
    ];
    let (recommended, names) = (read("envoy.yaml"), differs.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut there: Vec<_> =
        fs::read_dir(repository("envoy")).expect("a folder").flatten().map(|file| file.file_name()).collect();
    there.sort_unstable();
    assert_eq!(there, names);
    for (name, differs) in differs {
        let shape = read(name);
        assert_eq!(filter(&manager(&shape)), filter(&manager(&recommended)), "{name}: ext_authz");
        let settings = |file: &Value| {
            let mut settings = manager(file);
            let members = settings.as_object_mut().expect("settings");
            members.retain(|member, _| {
                !["http_filters", "route_config"].contains(&member.as_str()) && !differs.contains(&member.as_str())
            });
            settings
        };
        assert_eq!(settings(&shape), settings(&recommended), "{name}: the connection manager");
        assert_eq!(shape["overload_manager"], recommended["overload_manager"], "{name}: overload_manager");
        let hosts = manager(&shape)["route_config"]["virtual_hosts"].clone();
        for host in hosts.as_array().expect("virtual hosts") {
            let domains = host["domains"].to_string();
            assert!(!domains.contains('*'), "{name}: {domains}");
            let gate = &host["typed_per_filter_config"]["envoy.filters.http.ext_authz"];
            let issuer = host["name"] == "authorization_server";
            assert_eq!(gate["disabled"] == true, issuer, "{name}: {domains}");
            let first = host["routes"][0].to_string();
            assert!(issuer || first.contains("%3[bB]"), "{name}: path parameters pass {first}");
        }
    }
}
