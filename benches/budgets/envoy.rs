//! Through Envoy: `envoy/envoy.yaml` with one worker, in front of a route that answers by itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::always_allow::Authorizer;
use crate::floor::Floor;
use crate::http1::{Connection, keep_busy};
use crate::installation::{API, ISSUER, Installation, ORDER, eventually, folder, free_address};
use crate::process::Process;
use crate::report::{Budget, Report, Row};
use crate::rounds::{as_f64, median, median_by_round, take_turns, us_each};
use crate::{IN_FLIGHT, TURN};

const ROUNDS: usize = 5;

const CONFIGURATION: &str = include_str!("../../envoy/envoy.yaml");

const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// What decides about requests.
enum Gate<'a> {
    /// Nobody.
    Absent,
    /// The authorizer at this socket.
    At(&'a Path),
    /// Envoy itself, without a cache: the keys.
    JwtAuthn(String),
}

/// An Envoy that serves.
struct Envoy {
    process: Process,
    _folder: TempDir,
    address: SocketAddr,
}

/// Compares the full check with what an always-allow authorizer and one verification predict, and with Envoy's own filter.
pub(crate) fn measure(report: &mut Report, floor: &Floor, tollgate: &Installation, runtime: &Runtime, program: &Path) {
    let allow = runtime.block_on(Authorizer::start());
    let allow_socket = allow.folder.path().join("authz.sock");
    let jwks = runtime.block_on(key_set(tollgate.public));
    let gates = [Gate::Absent, Gate::At(&allow_socket), Gate::JwtAuthn(jwks), Gate::At(&tollgate.socket)];
    let [open, allowing, native, checked] = gates.map(|gate| runtime.block_on(Envoy::start(program, &gate)));

    let request: Arc<dyn Fn(usize) -> String + Send + Sync> = {
        let (caller, token) = (Arc::clone(&tollgate.caller), tollgate.token.clone());
        Arc::new(move |_| {
            let proof = caller.proof("GET", &format!("{API}{ORDER}"), &token);
            format!(
                "GET {ORDER} HTTP/1.1\r\nhost: api.example.com\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\n"
            )
        })
    };
    let load = |envoy: &Envoy| {
        runtime.block_on(async { keep_busy(envoy.connections().await, TURN, Arc::clone(&request)).await.1 })
    };
    let rate = |count: usize| as_f64(count) / TURN.as_secs_f64();
    let (mut in_envoy, mut in_tollgate) = (Vec::new(), Vec::new());
    let mut check = || {
        let before = (checked.process.cpu(), tollgate.process.cpu());
        let count = load(&checked);
        in_envoy.push(us_each(checked.process.cpu().saturating_sub(before.0), count));
        in_tollgate.push(us_each(tollgate.process.cpu().saturating_sub(before.1), count));
        rate(count)
    };
    let [open, allowing, native, verified, checked] = take_turns(
        ROUNDS,
        [
            &mut || rate(load(&open)),
            &mut || rate(load(&allowing)),
            &mut || rate(load(&native)),
            &mut || floor.verification(),
            &mut check,
        ],
    );
    let predicted = |n: usize| 1e6 / (1e6 / allowing[n] + verified[n]);
    let per_second = |rate: f64| format!("{rate:.0}/s");
    report.row(Row {
        name: "envoy: full check, one worker",
        measured: per_second(median(&checked)),
        floor: per_second(median_by_round(ROUNDS, predicted)),
        judged: median_by_round(ROUNDS, |n| checked[n] / predicted(n)),
        budget: Budget::AtLeast(0.9),
    });
    report.note(&format!(
        "floor: predicted from always-allow, {:.0}/s, and one verification; {:.0} us of CPU a request in Envoy, {:.0} us in Tollgate",
        median(&allowing),
        median(&in_envoy),
        median(&in_tollgate)
    ));
    report.row(Row {
        name: "envoy: the same beside jwt_authn, uncached",
        measured: per_second(median(&checked)),
        floor: per_second(median(&native)),
        judged: median_by_round(ROUNDS, |n| checked[n] / native[n]),
        budget: Budget::AtLeast(1.0),
    });
    report.note(&format!("without any gate {:.0}/s", median(&open)));
}

/// The key set of the authorization server.
async fn key_set(public: SocketAddr) -> String {
    let mut connection = Connection::open(public).await.expect("a connection");
    let answer = connection.exchange("GET /oauth/jwks HTTP/1.1\r\nhost: auth.example.com\r\n\r\n").await;
    String::from_utf8(answer.expect("an answer").expect_ok()).expect("JSON is UTF-8")
}

impl Envoy {
    async fn start(program: &Path, gate: &Gate<'_>) -> Self {
        let (folder, address, admin) = (folder(), free_address(), free_address());
        let config = folder.path().join("envoy.json");
        fs::write(&config, configuration(gate, address, admin).to_string()).expect("a file");
        let config = config.to_string_lossy();
        let arguments = ["-c", &config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
        // The access log is written as the configuration says, and is not kept: thousands of lines a second.
        let process = Process::start(program, &arguments, Path::new("/dev/null"));
        eventually(async || Connection::open(address).await.is_ok()).await;
        Self { process, _folder: folder, address }
    }

    async fn connections(&self) -> Vec<Connection> {
        let mut connections = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            connections.push(Connection::open(self.address).await.expect("a connection"));
        }
        connections
    }
}

/// The recommended configuration with ports and paths of this run, the gate in question, and an answer in the place of the
/// API: the upstream is nobody's to measure.
fn configuration(gate: &Gate<'_>, address: SocketAddr, admin: SocketAddr) -> Json {
    let mut config: Json = serde_saphyr::from_str(CONFIGURATION).expect("YAML");
    let part = |config: &mut Json, pointer: &str, value: Json| {
        *config.pointer_mut(pointer).unwrap_or_else(|| panic!("envoy.yaml has {pointer}")) = value;
    };
    part(&mut config, "/admin/address/socket_address/port_value", admin.port().into());
    part(&mut config, "/static_resources/listeners/0/address/socket_address/port_value", address.port().into());
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = config.pointer_mut(manager).expect("envoy.yaml has a connection manager");
    let hosts = manager.pointer_mut("/route_config/virtual_hosts/0").expect("it has a host");
    let routes = hosts["routes"].as_array_mut().expect("it has routes");
    *routes.last_mut().expect("it has a last route") =
        json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "{}" } } });
    let filters = manager["http_filters"].as_array_mut().expect("it has filters");
    let place = filters.iter().position(|filter| filter["name"] == EXT_AUTHZ).expect("it has the gate");
    match gate {
        Gate::Absent => drop(filters.remove(place)),
        Gate::JwtAuthn(jwks) => filters[place] = jwt_authn(jwks),
        Gate::At(socket) => {
            let clusters = config["static_resources"]["clusters"].as_array_mut().expect("it has clusters");
            let cluster = clusters.iter_mut().find(|cluster| cluster["name"] == "tollgate_authz").expect("it is there");
            let pipe = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path";
            part(cluster, pipe, socket.to_string_lossy().into());
        }
    }
    config
}

/// Envoy's own filter for the same tokens in the same header; it knows nothing of proofs.
fn jwt_authn(jwks: &str) -> Json {
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": { "tollgate": {
                "issuer": ISSUER,
                "audiences": [API],
                "local_jwks": { "inline_string": jwks },
                "from_headers": [{ "name": "authorization", "value_prefix": "DPoP " }],
                "forward": true,
            } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "tollgate" } }],
        },
    })
}
