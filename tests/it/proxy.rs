//! A proxy that asks a gate over TCP or its socket, as Envoy does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

pub struct Proxy(AuthorizationClient<Channel>);

/// What the gate said.
#[derive(Debug)]
pub struct Verdict {
    /// 200 for an allow.
    pub status: i32,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Verdict {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Proxy {
    pub async fn over_tcp(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        Self(AuthorizationClient::new(endpoint.connect().await.expect("a connection")))
    }

    pub async fn over_socket(path: &Path) -> Self {
        let path = path.to_owned();
        let connect = move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        };
        let endpoint = Endpoint::from_static("http://gate");
        let channel = endpoint.connect_with_connector(tower::service_fn(connect)).await.expect("a connection");
        Self(AuthorizationClient::new(channel))
    }

    /// Asks whether `GET` of a path at `https://api.example.com` may pass.
    pub async fn get(&mut self, path: &str, token: Option<&str>, proof: Option<&str>) -> Verdict {
        let token = token.map(|token| ("authorization".to_owned(), format!("DPoP {token}")));
        let proof = proof.map(|proof| ("dpop".to_owned(), proof.to_owned()));
        let http = HttpRequest {
            method: "GET".to_owned(),
            host: "api.example.com".to_owned(),
            path: path.to_owned(),
            scheme: "https".to_owned(),
            headers: token.into_iter().chain(proof).collect::<HashMap<_, _>>(),
            ..HttpRequest::default()
        };
        let request = Some(Request { http: Some(http), time: None });
        let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
        let response = self.0.check(CheckRequest { attributes }).await.expect("never a gRPC error").into_inner();
        let code = response.status.expect("a status").code;
        let (status, headers, body) = match response.http_response.expect("an HTTP response") {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(code, 0);
                (200, ok.headers, String::new())
            }
            HttpResponse::DeniedResponse(denied) => {
                assert_ne!(code, 0, "a denial with code 0 is an allow");
                (denied.status.expect("a status").code, denied.headers, denied.body)
            }
            HttpResponse::ErrorResponse(_) => panic!("an error response would open the gate with failure_mode_allow"),
        };
        let headers = headers.into_iter().filter_map(|option| option.header).map(|header| (header.key, header.value));
        Verdict { status, headers: headers.collect(), body }
    }
}
