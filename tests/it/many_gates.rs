//! What a fleet of gates costs its issuers, measured: real issuers on one PostgreSQL, over TLS, and many gates in this
//! process, each of which does on the wire what a gate does, and nothing else. `make fleet` prints what docs/scaling.md
//! says; without it there are fifty (`TOLLGATE_FLEET_GATES` says how many).

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval_at, timeout};
use tollgate::clock::{Clock as _, SystemClock, pause};
use tollgate::store::NEWS_WAITERS;

use crate::client::{CLIENT_CREDENTIALS, Client, REVOKE, claims};
use crate::cluster::SHARED;
use crate::mutual_tls::{Authority, show_new_certificate};
use crate::process::{Installation, Process, eventually};
use crate::world::free_port;

/// How many gates wait at a process of an issuer here, at most: a little fewer than may.
const GATES_EACH: usize = 2_000;

/// How often a gate fetches the key set.
const KEYS_EVERY: Duration = Duration::from_mins(5);

/// How old a list becomes at a gate that may not wait for the next one: the default of `ttl`.
const TTL: Duration = Duration::from_secs(10);

/// How soon most gates must hear of a revocation, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(5);

/// How long thousands of gates may take for what takes fifty a moment: who has failed four times waits for sixteen seconds.
const LONG: Duration = Duration::from_mins(3);

/// How many gates there are, and how long nothing happens while it is measured what that costs.
fn size() -> (usize, Duration) {
    #[expect(clippy::disallowed_methods, reason = "`make fleet` says how many")]
    let asked = std::env::var("TOLLGATE_FLEET_GATES").ok();
    asked.map_or((50, Duration::from_secs(2)), |text| (text.parse().expect("a number"), Duration::from_secs(30)))
}

/// Processes of one issuer.
struct Issuers {
    installation: Installation,
    authority: Authority,
    ports: Vec<u16>,
    lists: String,
    processes: Vec<Process>,
}

impl Issuers {
    /// So many, at each of which so many requests from one address may wait.
    async fn start(number: usize, waiting_per_address: usize) -> Self {
        let shared = tokio::task::spawn_blocking(|| &*SHARED).await.expect("a server");
        let installation = Installation::on_postgres(&shared.new_schema().await);
        let authority = Authority::new();
        show_new_certificate(installation.folder.path(), &authority);
        let ports = (0..number).map(|_| free_port()).collect();
        // Lists would change by their age alone, twice in their lifetime.
        let lists = format!(r#"{{"lifetime":"24h","waiting_per_address":{waiting_per_address}}}"#);
        let mut issuers = Self { installation, authority, ports, lists, processes: Vec::new() };
        issuers.start_all().await;
        issuers
    }

    async fn start_all(&mut self) {
        for port in self.ports.clone() {
            let socket = self.installation.path(&format!("{port}.sock"));
            let settings = [
                format!("listen.public.address=\"127.0.0.1:{port}\""),
                "listen.public.tls={\"certificate\":\"server.pem\",\"private_key\":\"server.key\"}".to_owned(),
                format!("listen.ext_authz=[{{\"address\":\"unix:{}\"}}]", socket.display()),
                format!("authorization_server.status_lists={}", self.lists),
            ];
            let arguments: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
            self.processes.push(self.installation.start(&arguments).await);
        }
    }

    /// Ends all of them from one moment to the next.
    async fn kill_all(&mut self) {
        for process in self.processes.drain(..) {
            process.kill().await;
        }
    }

    fn origin(&self, number: usize) -> String {
        format!("https://127.0.0.1:{}", self.ports[number])
    }

    /// A client that asks the first of them, and a token of it that may be revoked.
    async fn client_and_token(&self) -> (Client, String) {
        let http = connect(Ipv4Addr::LOCALHOST.into(), &self.trusted());
        let mut client = self.installation.client("backend").connected_by(http);
        client.issuer = self.origin(0);
        let own = client.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
        let token = own.text("access_token").to_owned();
        let list = claims(&token)["status"]["status_list"]["uri"].as_str().expect("a URL").to_owned();
        assert!(list.ends_with("/oauth/status/0"), "all gates have that list: {list}");
        (client, token)
    }

    fn trusted(&self) -> reqwest::Certificate {
        reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).expect("a certificate")
    }

    fn cpu(&self) -> Duration {
        self.processes.iter().map(Process::cpu).sum()
    }

    fn cpu_since(&self, earlier: Duration) -> Duration {
        self.cpu().saturating_sub(earlier)
    }

    fn resident_kib(&self) -> usize {
        self.processes.iter().map(Process::resident_kib).sum()
    }
}

/// Connections of somebody at this address, as a gate has them.
fn connect(address: IpAddr, trusted: &reqwest::Certificate) -> reqwest::Client {
    let client = reqwest::Client::builder().tls_certs_only([trusted.clone()]).local_address(address).no_proxy();
    client.timeout(Duration::from_secs(5)).build().expect("a client")
}

/// How a gate stands with its issuer.
#[derive(Clone, Copy)]
enum Standing {
    /// It has no answer.
    Away = 0,
    /// It fetches the list by its `ttl`.
    Fetches = 1,
    /// It waits for news.
    Waits = 2,
}

/// A gate has got another list than the one that it had.
struct Told {
    issuer: usize,
    waited: bool,
    at: Instant,
}

/// A gate.
struct Gate {
    issuer: usize,
    origin: String,
    address: IpAddr,
    trusted: reqwest::Certificate,
    /// How many gates stand how.
    standings: watch::Sender<[usize; 3]>,
    told: mpsc::UnboundedSender<Told>,
}

impl Gate {
    /// Lives: fetches keys at once and then every so often, at other moments than others, and keeps the list.
    async fn live(self, first: Duration) {
        tokio::join!(self.keep_keys(first), self.keep_list());
    }

    async fn keep_keys(&self, first: Duration) {
        let mut due = interval_at(tokio::time::Instant::now() + first, KEYS_EVERY);
        loop {
            let connection = connect(self.address, &self.trusted);
            for document in ["/.well-known/oauth-authorization-server", "/oauth/jwks"] {
                if let Ok(answer) = connection.get(format!("{}{document}", self.origin)).send().await {
                    let _ = answer.bytes().await;
                }
            }
            drop(connection); // nobody keeps one for minutes, and this process may not open as many files
            due.tick().await;
        }
    }

    /// What `issuers/status_lists/waiting.rs` does.
    async fn keep_list(&self) {
        let connection = connect(self.address, &self.trusted);
        let (mut standing, mut may_wait, mut tag, mut failures) = (Standing::Away, false, None::<String>, 0);
        loop {
            let asked = Instant::now();
            let known = tag.as_deref().filter(|_| may_wait);
            let pause_for = if let Ok(answer) = self.ask(&connection, (known, failures)).await {
                let waited = may_wait && failures == 0;
                may_wait = answer.headers().contains_key("preference-applied");
                self.stands(&mut standing, if may_wait { Standing::Waits } else { Standing::Fetches });
                failures = 0;
                let header = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
                let _ = answer.bytes().await;
                let is_news = tag.is_some() && header != tag;
                if is_news {
                    let _ = self.told.send(Told { issuer: self.issuer, waited, at: Instant::now() });
                }
                tag = header;
                match (may_wait, is_news) {
                    (false, _) => TTL,
                    (true, true) => Duration::from_millis(250),
                    (true, false) => Duration::from_secs(1).saturating_sub(asked.elapsed()),
                }
            } else {
                self.stands(&mut standing, Standing::Away);
                failures += 1;
                Duration::from_secs(1 << (failures - 1).min(6))
            };
            pause(pause_for).await;
        }
    }

    /// Waits for five eighths of the `ttl`; after a failure for a second, so that the answer tells when it was over.
    async fn ask(
        &self,
        connection: &reqwest::Client,
        (known, failures): (Option<&str>, u32),
    ) -> reqwest::Result<reqwest::Response> {
        let wait = if failures == 0 { 6 } else { 1 };
        let request =
            connection.get(format!("{}/oauth/status/0", self.origin)).header("prefer", format!("wait={wait}"));
        let request = match known {
            Some(tag) => request.header("if-none-match", tag).timeout(Duration::from_secs(5 + wait)),
            None => request,
        };
        request.send().await?.error_for_status()
    }

    fn stands(&self, before: &mut Standing, now: Standing) {
        self.standings.send_modify(|standings| {
            standings[*before as usize] -= 1;
            standings[now as usize] += 1;
        });
        *before = now;
    }
}

/// Many gates, each the same number of times at each of the issuers.
struct Fleet {
    number: usize,
    standings: watch::Receiver<[usize; 3]>,
    told: mpsc::UnboundedReceiver<Told>,
    gates: JoinSet<()>,
}

impl Fleet {
    /// Starts them, a few at a time, and waits until all have the list.
    async fn start(issuers: &Issuers, number: usize, address: impl Fn(usize) -> IpAddr) -> Self {
        let (standings, stand) = watch::channel([number, 0, 0]);
        let (told, hear) = mpsc::unbounded_channel();
        let mut fleet = Self { number, standings: stand, told: hear, gates: JoinSet::new() };
        for n in 0..number {
            let issuer = n % issuers.ports.len();
            let (origin, trusted) = (issuers.origin(issuer), issuers.trusted());
            let gate =
                Gate { issuer, origin, address: address(n), trusted, standings: standings.clone(), told: told.clone() };
            fleet.gates.spawn(gate.live(KEYS_EVERY.mul_f64(as_f64(n + 1) / as_f64(number))));
            let most_away = number - (n + 1) + 100;
            fleet.until("the list at most gates", |standings| standings[Standing::Away as usize] <= most_away).await;
        }
        fleet.until("the list at all gates", |standings| standings[Standing::Away as usize] == 0).await;
        fleet
    }

    async fn until(&mut self, what: &str, holds: impl FnMut(&[usize; 3]) -> bool) {
        let held = timeout(LONG, self.standings.wait_for(holds)).await.is_ok_and(|held| held.is_ok());
        assert!(held, "{what}: gates stand {:?} after {LONG:?}", *self.standings.borrow());
    }

    fn standing(&self, standing: Standing) -> usize {
        self.standings.borrow()[standing as usize]
    }

    /// Has a token revoked at the first issuer, and waits until all gates know; gives after what time each knew, of those
    /// that belong to a group.
    async fn hears_of_revocation<const N: usize>(
        &mut self,
        issuers: &Issuers,
        groups: [fn(&Told) -> bool; N],
    ) -> [Vec<Duration>; N] {
        let (client, token) = issuers.client_and_token().await;
        while self.told.try_recv().is_ok() {}
        client.about(REVOKE, &token, SystemClock.now()).without_proof().send().await.expect(200, "");
        let revoked = Instant::now();
        let mut told = Vec::new();
        while told.len() < self.number {
            told.push(eventually("news at all gates", self.told.recv()).await.expect("gates"));
        }
        groups.map(|belongs| {
            let group = told.iter().filter(|told| belongs(told));
            group.map(|told| told.at.saturating_duration_since(revoked)).collect()
        })
    }
}

fn as_f64(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("few"))
}

/// So much time for each of so many, in microseconds.
fn us_each(time: Duration, number: usize) -> f64 {
    time.as_secs_f64() * 1e6 / as_f64(number)
}

/// When half knew, and when all did.
fn half_and_all(what: &str, mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    let (half, all) = (took[took.len() / 2], took[took.len() - 1]);
    println!("  {what}: half after {} ms, all {} after {} ms", half.as_millis(), took.len(), all.as_millis());
    half
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_waits_hears_of_a_revocation_and_comes_back() {
    let (number, quiet) = size();
    let mut issuers = Issuers::start(number.div_ceil(GATES_EACH).max(2), 256).await;
    let (before, cpu) = (issuers.resident_kib(), issuers.cpu());
    let octet = |n: usize| u8::try_from(n).expect("few");
    let own = |n: usize| Ipv4Addr::new(127, 1, octet(n / 250), octet(n % 250 + 1)).into();
    let mut fleet = Fleet::start(&issuers, number, own).await;
    let began = us_each(issuers.cpu_since(cpu), number);
    println!(
        "{number} gates at {} issuers: {began:.0} us of a processor each to begin, with two handshakes",
        issuers.ports.len()
    );
    fleet.until("everybody waits", |standings| standings[Standing::Waits as usize] == number).await;

    let cpu = issuers.cpu();
    pause(quiet).await;
    let (used, resident) = (issuers.cpu_since(cpu), issuers.resident_kib());
    let share = used.as_secs_f64() / quiet.as_secs_f64() * 100.0;
    let each = as_f64(resident.saturating_sub(before)) / as_f64(number);
    println!(
        "  nothing happens: {share:.1} % of a processor in all issuers, and {each:.1} KiB more there for each gate"
    );

    for _ in 0..3 {
        let cpu = issuers.cpu();
        let groups: [fn(&Told) -> bool; 2] = [|told| told.issuer == 0, |told| told.issuer != 0];
        let [here, elsewhere] = fleet.hears_of_revocation(&issuers, groups).await;
        println!("  revoked: {:.0} us of a processor each", us_each(issuers.cpu_since(cpu), number));
        assert!(half_and_all("where it was", here) < SOON);
        assert!(half_and_all("elsewhere", elsewhere) < SOON);
    }

    issuers.kill_all().await;
    fleet.until("everybody is away", |standings| standings[Standing::Away as usize] == number).await;
    issuers.start_all().await;
    let (began, cpu) = (Instant::now(), issuers.cpu());
    fleet.until("everybody is back", |standings| standings[Standing::Waits as usize] == number).await;
    let took = began.elapsed().saturating_sub(Duration::from_secs(1)); // for which the first answer was waited
    let each = us_each(issuers.cpu_since(cpu), number);
    let rate = as_f64(number) / took.as_secs_f64().max(0.001);
    println!(
        "  all issuers restarted: all are back after {took:.1?}, {rate:.0} a second; {each:.0} us of a processor each"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_for_which_there_is_no_place_go_by_the_ttl() {
    let number = size().0.div_ceil(4).max(50);
    let places = (number * 3 / 5).min(NEWS_WAITERS);
    let issuers = Issuers::start(1, places).await;
    let mut fleet = Fleet::start(&issuers, number, |_| Ipv4Addr::LOCALHOST.into()).await;
    // Who has the list is offered a place, and finds it taken when it asks for news.
    let few = (number - places) / 2;
    fleet.until("some find no place", |standings| standings[Standing::Fetches as usize] >= few).await;
    println!("{number} gates at one issuer with {places} places: {} wait", fleet.standing(Standing::Waits));
    let groups: [fn(&Told) -> bool; 2] = [|told| told.waited, |told| !told.waited];
    let [waited, fetched] = fleet.hears_of_revocation(&issuers, groups).await;
    assert!(fetched.len() >= few && waited.len() >= places / 2, "{} and {}", fetched.len(), waited.len());
    assert!(half_and_all("who waits", waited) < SOON);
    half_and_all("who does not", fetched.clone());
    assert!(fetched.iter().all(|took| *took < TTL + SOON));
}
