//! An authorizer that allows everything: what `Check` costs before anybody thinks.

use std::path::Path;

use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use envoy_types::pb::google::rpc;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::installation::{eventually, folder};
use crate::process::Process;

/// The hidden argument by which this program becomes the authorizer.
pub(crate) const VERB: &str = "always-allow";

struct AlwaysAllow;

#[tonic::async_trait]
impl Authorization for AlwaysAllow {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse { status: Some(rpc::Status::default()), ..CheckResponse::default() }))
    }
}

/// Serves on a Unix socket with the settings of Tollgate's door, until it is killed.
pub(crate) fn serve(socket: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).expect("a socket");
        let server = Server::builder()
            .max_concurrent_streams(1_024)
            .initial_stream_window_size(256 * 1_024)
            .http2_max_header_list_size(16 * 1_024);
        let incoming = UnixListenerStream::new(listener);
        server.serve_with_incoming(AuthorizationServer::new(AlwaysAllow), incoming).await.expect("it serves");
    });
}

/// The authorizer in a process of its own.
pub(crate) struct Authorizer {
    /// The process.
    pub(crate) process: Process,
    /// The folder with the socket `authz.sock`.
    pub(crate) folder: tempfile::TempDir,
}

impl Authorizer {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let folder = folder();
        let socket = folder.path().join("authz.sock");
        let program = std::env::current_exe().expect("this program has a path");
        let arguments = [VERB, &socket.to_string_lossy()];
        let process = Process::start(program, &arguments, &folder.path().join("always-allow.log"));
        eventually(async || tokio::net::UnixStream::connect(&socket).await.is_ok()).await;
        Self { process, folder }
    }
}
