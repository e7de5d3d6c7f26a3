//! The token endpoint over HTTP, on SQLite, with everything durable that must be.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tollgate::secret::AuthorizationCode;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::floor::Floor;
use crate::http1::{Connection, keep_busy};
use crate::installation::{Installation, Setup, client_credentials, member, redemption, token_request};
use crate::report::{Budget, Report, Row};
use crate::rounds::{as_f64, median, median_by_round, take_turns, us_each};
use crate::{IN_FLIGHT, TURN};

const ROUNDS: usize = 5;

const REDEMPTION_ROUNDS: usize = 3;

/// Compares client credentials, with `private_key_jwt` and DPoP, with the two verifications and the signature they need.
pub(crate) fn measure_client_credentials(
    report: &mut Report,
    floor: &Floor,
    tollgate: &Installation,
    runtime: &Runtime,
) {
    let clients: Vec<_> = (0..IN_FLIGHT).map(|_| Client::new()).collect();
    let pkcs8 = tollgate.batch_key.to_pkcs8().expect("PKCS #8");
    let key = tollgate::jose::SigningKey::from_pkcs8(tollgate.batch_key.algorithm(), &pkcs8).expect("the key");
    let request: Arc<dyn Fn(usize) -> String + Send + Sync> = Arc::new(move |n| client_credentials(&key, &clients[n]));
    let mut rates = Vec::new();
    let [verified, signed, issued] = take_turns(
        ROUNDS,
        [&mut || floor.verification(), &mut || floor.signature(), &mut || {
            let before = tollgate.process.cpu();
            let (_, count) =
                runtime.block_on(async { keep_busy(tollgate.connections().await, TURN, Arc::clone(&request)).await });
            rates.push(as_f64(count) / TURN.as_secs_f64());
            us_each(tollgate.process.cpu().saturating_sub(before), count)
        }],
    );
    let least = |n: usize| 2.0 * verified[n] + signed[n];
    report.row(Row {
        name: "client_credentials: private_key_jwt, DPoP, CPU",
        measured: format!("{:.1} us", median(&issued)),
        floor: format!("{:.1} us", median_by_round(ROUNDS, least)),
        judged: median_by_round(ROUNDS, |n| issued[n] / least(n)),
        budget: Budget::AtMost(1.3),
    });
    report.note(&format!(
        "floor: 2 verifications of {:.1} us + 1 signature of {:.1} us; {:.0} tokens/s from {IN_FLIGHT} clients",
        median(&verified),
        median(&signed),
        median(&rates)
    ));
}

/// A public client that goes from one refresh token to the next.
pub(crate) struct Session {
    client: Client,
    connection: Connection,
    refresh_token: String,
}

impl Session {
    /// Goes to the next one.
    pub(crate) async fn refresh(&mut self) {
        let form = format!("grant_type=refresh_token&client_id=shop&refresh_token={}", self.refresh_token);
        let answer = self.connection.exchange(&token_request(&self.client, &form)).await.expect("an answer");
        let next = member(&answer.expect_ok(), "refresh_token");
        assert_ne!(next, self.refresh_token, "the token rotates");
        self.refresh_token = next;
    }
}

/// Measures refreshes with rotation, by public clients with a DPoP key each.
pub(crate) fn measure_refresh(report: &mut Report, tollgate: &mut Installation, runtime: &Runtime) {
    let (rates, cpu) = refreshes(tollgate, runtime);
    report.row(Row {
        name: "refresh: rotation, SQLite, DPoP, over HTTP",
        measured: format!("{:.0}/s", median(&rates)),
        floor: String::new(),
        judged: median(&rates),
        budget: Budget::AtLeast(5_000.0),
    });
    report.note(&format!(
        "{IN_FLIGHT} public clients; {:.1} us of CPU a refresh in Tollgate, the rest is the clients' signing",
        median(&cpu)
    ));
}

/// The same with the state in a PostgreSQL of this machine, which shares the processors.
pub(crate) fn measure_refresh_on_postgres(report: &mut Report, runtime: &Runtime) {
    let server = Cluster::start("");
    let setup = Setup { postgres: Some(&server.url("public")), ..Setup::default() };
    let mut tollgate = runtime.block_on(Installation::start_as(setup));
    let (rates, cpu) = refreshes(&mut tollgate, runtime);
    report.note(&format!(
        "refresh: rotation, PostgreSQL, DPoP, over HTTP: {:.0}/s, {:.1} us of CPU each in Tollgate",
        median(&rates),
        median(&cpu)
    ));
}

/// So many refreshes a second, and so much CPU for each, round by round.
fn refreshes(tollgate: &mut Installation, runtime: &Runtime) -> (Vec<f64>, Vec<f64>) {
    let sessions = Mutex::new(runtime.block_on(begin(tollgate, IN_FLIGHT)));
    let mut cpu = Vec::new();
    let [rates] = take_turns(
        ROUNDS,
        [&mut || {
            let before = tollgate.process.cpu();
            let mine = std::mem::take(&mut *sessions.lock().expect("nobody panics with it"));
            let (mine, count) = runtime.block_on(keep_refreshing(mine));
            *sessions.lock().expect("nobody panics with it") = mine;
            cpu.push(us_each(tollgate.process.cpu().saturating_sub(before), count));
            as_f64(count) / TURN.as_secs_f64()
        }],
    );
    (rates, cpu)
}

/// How many codes are redeemed in one turn.
const CODES: usize = 5_000;

/// Measures redemptions of codes, with PKCE and DPoP, by public clients.
pub(crate) fn measure_redemption(report: &mut Report, runtime: &Runtime) {
    let setup = Setup { codes: Some(CODES * REDEMPTION_ROUNDS), ..Setup::default() };
    let mut tollgate = runtime.block_on(Installation::start_as(setup));
    let mut cpu = Vec::new();
    let [rates] = take_turns(
        REDEMPTION_ROUNDS,
        [&mut || {
            let codes = tollgate.take_codes(CODES);
            let connections = runtime.block_on(tollgate.connections());
            let (before, began) = (tollgate.process.cpu(), Instant::now());
            runtime.block_on(redeem(connections, codes));
            let rate = as_f64(CODES) / began.elapsed().as_secs_f64();
            cpu.push(us_each(tollgate.process.cpu().saturating_sub(before), CODES));
            rate
        }],
    );
    report.row(Row {
        name: "redemption: code, SQLite, DPoP, over HTTP",
        measured: format!("{:.0}/s", median(&rates)),
        floor: String::new(),
        judged: median(&rates),
        budget: Budget::AtLeast(2_500.0),
    });
    report.note(&format!("{IN_FLIGHT} public clients; {:.1} us of CPU a redemption in Tollgate", median(&cpu)));
}

/// Redeems the codes over these connections, each by a client of its own.
async fn redeem(connections: Vec<Connection>, codes: Vec<AuthorizationCode>) {
    let mut tasks = JoinSet::new();
    let codes = Arc::new(Mutex::new(codes));
    for mut connection in connections {
        let codes = Arc::clone(&codes);
        tasks.spawn(async move {
            let client = Client::new();
            let next = || codes.lock().expect("nobody panics with it").pop();
            while let Some(code) = next() {
                connection.exchange(&redemption(&client, &code)).await.expect("an answer").expect_ok();
            }
        });
    }
    tasks.join_all().await;
}

/// Redeems a code for each of so many clients.
pub(crate) async fn begin(tollgate: &mut Installation, count: usize) -> Vec<Session> {
    let connections = tollgate.connections().await;
    let mut sessions = Vec::with_capacity(count);
    for (code, mut connection) in tollgate.take_codes(count).into_iter().zip(connections) {
        let client = Client::new();
        let answer = connection.exchange(&redemption(&client, &code)).await.expect("an answer");
        let refresh_token = member(&answer.expect_ok(), "refresh_token");
        sessions.push(Session { client, connection, refresh_token });
    }
    sessions
}

async fn keep_refreshing(sessions: Vec<Session>) -> (Vec<Session>, usize) {
    let end = Instant::now() + TURN;
    let mut tasks = JoinSet::new();
    for mut session in sessions {
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                session.refresh().await;
                count += 1;
            }
            (session, count)
        });
    }
    tasks.join_all().await.into_iter().fold((Vec::new(), 0), |(mut sessions, total), (session, count)| {
        sessions.push(session);
        (sessions, total + count)
    })
}
