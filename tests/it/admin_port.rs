//! The admin API at a port: for those with certificates, and nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Endpoint, Uri};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::mutual_tls::{Authority, Credential};
use crate::process::{Installation, Process, program, run};
use crate::world::free_port;

/// An installation whose admin API is at a port, and the authority of those who may call.
struct Port {
    installation: Installation,
    authority: Authority,
    address: String,
    process: Process,
}

/// A certificate for a host of this name, or for this machine.
fn named(dns: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        vec![SanType::DnsName(dns.try_into().expect("a name")), SanType::IpAddress([127, 0, 0, 1].into())];
    params
}

impl Port {
    async fn open() -> Self {
        let installation = Installation::new();
        let authority = Authority::new();
        let write = |name: &str, text: &str| std::fs::write(installation.path(name), text).expect("a file");
        let server = authority.sign(&named("tollgate.example.com"));
        write("admin.pem", &server.pem);
        write("admin.key", &server.key.serialize_pem());
        write("ca.pem", &authority.pem());
        let port = free_port();
        let grpc = format!("listen.admin.grpc=\"127.0.0.1:{port}\"");
        let tls = r#"listen.admin.grpc_tls={"certificate":"admin.pem","private_key":"admin.key","client_ca":"ca.pem","clients":["uri:spiffe://example.com/ops","dns:ops.example.com"]}"#;
        let process = installation.start(&["--set", &grpc, "--set", tls]).await;
        Self { installation, authority, address: format!("https://127.0.0.1:{port}"), process }
    }

    /// What `tollgate admin` says that shows a certificate, and its exit code.
    async fn call(&self, shown: &Credential, arguments: &[&str]) -> (Option<i32>, String) {
        std::fs::write(self.installation.path("ops.pem"), &shown.pem).expect("a file");
        std::fs::write(self.installation.path("ops.key"), shown.key.serialize_pem()).expect("a file");
        let mut command = program();
        command.arg("admin").args(arguments).args(["--address", &self.address]);
        for (option, name) in [("--cert", "ops.pem"), ("--key", "ops.key"), ("--ca", "ca.pem")] {
            command.arg(option).arg(self.installation.path(name));
        }
        let output = run(&mut command).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The services that reflection names to who shows this certificate, or none; `None` if it says nothing to them.
    async fn reflected(&self, shown: Option<&Credential>) -> Option<BTreeSet<String>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate()).expect("a certificate");
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(shown.pem.as_bytes()).collect();
                let key = PrivateKeyDer::try_from(shown.key.serialize_der()).expect("a key");
                config.with_client_auth_cert(chain.expect("a certificate"), key).expect("a pair")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (tls, to) = (TlsConnector::from(Arc::new(config)), self.address.replace("https://", ""));
        let connect = tower::service_fn(move |_: Uri| {
            let (tls, to) = (tls.clone(), to.clone());
            async move {
                let name = ServerName::try_from("127.0.0.1").expect("an address");
                tls.connect(name, TcpStream::connect(to).await?).await.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://admin").connect_with_connector(connect).await.ok()?;
        let list = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        let mut reflection = ServerReflectionClient::new(channel);
        let asked = reflection.server_reflection_info(tokio_stream::once(request)).await.ok()?;
        let answer = asked.into_inner().message().await.ok()??;
        let MessageResponse::ListServicesResponse(list) = answer.message_response? else { return None };
        Some(list.service.into_iter().map(|service| service.name).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_named_sees_and_acts_and_the_log_says_who_it_was() {
    let port = Port::open().await;
    let ops = port.authority.sign(&named("ops.example.com"));
    let (code, said) = port.call(&ops, &["status"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&port.installation.issuer), "{said}");
    let (code, said) = port.call(&ops, &["keys", "rotate"]).await;
    assert_eq!(code, Some(0), "{said}");
    port.process.until_it_says(&format!("\"by\":\"certificate {}\"", ops.thumbprint())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_is_let_in_and_the_log_says_why() {
    let port = Port::open().await;
    for (shown, reason) in [
        (Authority::new().sign(&named("ops.example.com")), "no authority of `client_ca` vouches"),
        (port.authority.sign(&named("other.example.com")), "the certificate names nobody in `clients`"),
    ] {
        let (code, said) = port.call(&shown, &["status"]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains(&port.installation.issuer), "{said}");
        port.process.until_it_says(reason).await;
    }
    let authority = reqwest::Certificate::from_pem(port.authority.pem().as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_only([authority]).http2_prior_knowledge();
    let client = client.build().expect("a client");
    let without = client.get(format!("{}/grpc.health.v1.Health/Check", port.address)).send().await;
    assert!(without.is_err(), "{without:?}");
    port.process.until_it_says("no certificate was presented").await;

    let mut command = program();
    let without = run(command.args(["admin", "status", "--address", &port.address])).await;
    assert_eq!(without.status.code(), Some(1));
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(said.contains("needs `--cert`, `--key` and `--ca`"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_says_what_there_is_to_call_to_who_is_named_only() {
    let port = Port::open().await;
    let sign = |name: &str| port.authority.sign(&named(name));
    let names = port.reflected(Some(&sign("ops.example.com"))).await.expect("an answer");
    for service in ["KeyService", "GrantService", "PersonService"] {
        assert!(names.contains(&format!("tollgate.admin.v1.{service}")), "{names:?}");
    }
    for shown in [None, Some(sign("other.example.com")), Some(Authority::new().sign(&named("ops.example.com")))] {
        assert_eq!(port.reflected(shown.as_ref()).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_does_not_open_without_certificates() {
    let installation = Installation::new();
    let output = run(&mut installation.serve(&["--set", "listen.admin.grpc=\"127.0.0.1:0\""])).await;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("lacks `grpc_tls`"), "{said}");
}
