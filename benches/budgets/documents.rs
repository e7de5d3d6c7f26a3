//! What a gate of another process fetches from the authorization server: keys and status lists.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::TURN;
use crate::http1::keep_busy;
use crate::installation::{Installation, Setup};
use crate::report::Report;
use crate::rounds::{median, take_turns, us_each};

const ROUNDS: usize = 3;

/// Measures the CPU time for one document of each kind, over connections that stay.
pub(crate) fn measure(report: &Report, runtime: &Runtime) {
    let settings = ["authorization_server.status_lists={}".to_owned()];
    let tollgate = runtime.block_on(Installation::start_as(Setup { settings: &settings, ..Setup::default() }));
    let turn = |path: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nhost: auth.example.com\r\n\r\n");
        let request: Arc<dyn Fn(usize) -> String + Send + Sync> = Arc::new(move |_| text.clone());
        let before = tollgate.process.cpu();
        let (_, count) = runtime.block_on(async { keep_busy(tollgate.connections().await, TURN, request).await });
        us_each(tollgate.process.cpu().saturating_sub(before), count)
    };
    let [keys, list] = take_turns(ROUNDS, [&mut || turn("/oauth/jwks"), &mut || turn("/oauth/status/0")]);
    report.note(&format!(
        "documents: {:.1} us of CPU for the key set, {:.1} us for a status list",
        median(&keys),
        median(&list)
    ));
}
