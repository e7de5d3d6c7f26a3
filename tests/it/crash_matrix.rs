//! Crashes at any moment: clients and a person ask for codes, tokens, devices, pushed requests, revocations and new keys,
//! all at once, until the process, the database or the power is gone. Then the server starts on what is left, everybody
//! asks about all that they hold, and a reader who knows only promises (`history.rs`) looks for one that was broken.
//!
//! `make crash` goes on for longer, each time in another way (`TOLLGATE_CRASH_ROUNDS`, `TOLLGATE_CRASH_SEED`).

mod cast;
mod dice;
mod disk;
mod history;
mod life;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::interval;
use tokio_postgres::NoTls;

use crate::client::{answer, http, refresh_request};
use crate::cluster::Cluster;
use crate::process::{Installation, Process, eventually, program};
use crate::redis::until;
use cast::{Cast, Tally, count};
use dice::Dice;
use disk::{Disk, Honesty};
use history::{Call, History, Reply, State};
use life::{Life, Mortality};

/// How many rounds there are by default on each store.
const ROUNDS: usize = 20;

/// After so many rounds the next one begins with an empty store.
const ROUNDS_OF_A_STORE: usize = 20;

/// How many casts talk to the server at once.
const CASTS: usize = 5;

/// After how many messages a life ends at most.
const LONGEST_LIFE: usize = 200;

/// What a database server does before it recovers takes seconds, and only matters after the machine has failed.
const RECOVERS_FAST: &str = "recovery_init_sync_method = 'syncfs'";

/// What happens at the end of a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Crash {
    /// `kill -9`.
    Kill,
    /// The machine loses its power.
    PowerCut,
    /// The database ends its connections and stops, as on `pg_ctl stop --mode=immediate`.
    DatabaseStopped,
    /// Every process of the database is killed.
    DatabaseKilled,
    /// Both are killed.
    BothKilled,
}

impl Crash {
    const ON_A_FILE: [Self; 2] = [Self::Kill, Self::PowerCut];
    const ON_POSTGRES: [Self; 4] = [Self::Kill, Self::DatabaseStopped, Self::DatabaseKilled, Self::BothKilled];

    /// Whether our process ends.
    fn is_ours(self) -> bool {
        matches!(self, Self::Kill | Self::PowerCut | Self::BothKilled)
    }

    fn mortality(self) -> Mortality {
        match self {
            Self::Kill | Self::PowerCut => Mortality::Mortal,
            Self::DatabaseStopped | Self::DatabaseKilled | Self::BothKilled => Mortality::WithoutDatabase,
        }
    }
}

/// What the state of an installation rests on.
enum Ground {
    Disk(Disk),
    Cluster(Cluster),
}

/// An installation, who talks to it, and what has happened to its keys.
struct Story {
    dice: Dice,
    installation: Installation,
    ground: Ground,
    casts: Vec<Cast>,
    keys: History,
}

impl Story {
    fn on_a_file(seed: u64, honesty: Honesty) -> Self {
        let installation = Installation::new();
        let disk = Disk::new(installation.folder.path(), honesty);
        Self::new(seed, installation, Ground::Disk(disk))
    }

    async fn on_postgres(seed: u64) -> Self {
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(RECOVERS_FAST)).await.expect("a server");
        let installation = Installation::on_postgres(&cluster.new_schema().await);
        Self::new(seed, installation, Ground::Cluster(cluster))
    }

    fn new(seed: u64, installation: Installation, ground: Ground) -> Self {
        let mut dice = Dice::new(seed);
        let casts = (0..CASTS).map(|_| Cast::new(&installation, dice.fork())).collect();
        let keys = History::of("the signing keys", State::first_key());
        Self { dice, installation, ground, casts, keys }
    }

    /// Goes through so many rounds, or up to one after which somebody complains; gives the complaints.
    async fn play(mut self, rounds: usize, crashes: &[Crash]) -> Vec<String> {
        let mut process = self.start().await;
        for round in 0..rounds {
            let crash = crashes[self.dice.below(crashes.len())];
            process = self.crash(process, crash).await;
            let complaints = self.complaints(crash).await;
            if !complaints.is_empty() {
                return complaints
                    .into_iter()
                    .map(|complaint| format!("round {round}, {crash:?}: {complaint}"))
                    .collect();
            }
        }
        process.kill().await;
        self.check_the_file();
        self.check_the_tally(rounds);
        Vec::new()
    }

    /// Fails if there was too little to see: of each kind of thing there must have been some, and calls that nobody answered.
    fn check_the_tally(&self, rounds: usize) {
        let mut tally = Tally::new();
        count(&mut tally, &self.keys);
        for (what, (calls, unanswered)) in self.casts.iter().flat_map(Cast::tally) {
            let entry = tally.entry(what).or_default();
            *entry = (entry.0 + calls, entry.1 + unanswered);
        }
        println!("{rounds} rounds; calls, and those without an answer: {tally:?}");
        if rounds == ROUNDS_OF_A_STORE {
            assert_eq!(tally.len(), 7, "{tally:?}");
            assert!(tally.values().map(|(_, unanswered)| unanswered).sum::<usize>() >= rounds, "{tally:?}");
        }
    }

    /// Starts the server, and reads its keys.
    async fn start(&mut self) -> Process {
        let mut command = self.installation.serve_roomy();
        if let Ground::Disk(disk) = &self.ground {
            disk.watch(&mut command);
        }
        let process = Process::start(command).await;
        let set = answer(http().get(format!("{}/oauth/jwks", self.installation.issuer))).await.body;
        self.keys.note(vec![(Call::ReadKeys, Some(Reply::Keys(names(&set, |_| true))))]);
        process
    }

    /// A life up to its end, and what comes after it: the process that then serves.
    async fn crash(&mut self, process: Process, crash: Crash) -> Process {
        let life = Arc::new(Life::new(crash.mortality(), 1 + self.dice.below(LONGEST_LIFE)));
        let mut busy = JoinSet::new();
        for cast in self.casts.drain(..) {
            let life = Arc::clone(&life);
            busy.spawn(async move { Box::pin(cast.live(&life)).await });
        }
        let rotation = self.dice.percent(40).then(|| self.begin_rotation());
        eventually("the end of a life", life.is_due()).await;
        let survivor = self.end(process, crash, &life).await;
        if let Some((call, mut command)) = rotation {
            drop(command.start_kill()); // which may have ended
            let output = command.wait_with_output().await.expect("an output");
            let reply = output.status.success().then(|| {
                let keys: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                Reply::Keys(names(&keys, |key| key["state"] != "dropped"))
            });
            self.keys.note(vec![(call, reply)]);
        }
        self.casts = eventually("the end of all requests", busy.join_all()).await;
        self.come_up(survivor, crash).await
    }

    /// Announces a new key beside the server, or replaces all others by it.
    fn begin_rotation(&mut self) -> (Call, tokio::process::Child) {
        let mut command = program();
        command.args(["keys", "rotate", "--output", "json", "--config"]).arg(self.installation.with_its_store());
        let call = if self.dice.percent(30) { Call::Replace } else { Call::Rotate };
        if call == Call::Replace {
            command.arg("--now");
        }
        if let Ground::Disk(disk) = &self.ground {
            disk.watch(&mut command);
        }
        (call, command.stderr(Stdio::null()).spawn().expect("the program"))
    }

    /// Ends a life; gives the process, if it lives on.
    async fn end(&mut self, process: Process, crash: Crash, life: &Life) -> Option<Process> {
        let survivor = match (crash, &self.ground) {
            (Crash::Kill | Crash::PowerCut, _) => {
                process.kill().await;
                None
            }
            (Crash::DatabaseStopped, Ground::Cluster(cluster)) => {
                block_in_place(|| cluster.stop_at_once());
                Some(process)
            }
            (Crash::DatabaseKilled, Ground::Cluster(cluster)) => {
                block_in_place(|| cluster.kill(&cluster.processes()));
                Some(process)
            }
            (Crash::BothKilled, Ground::Cluster(cluster)) => {
                block_in_place(|| cluster.kill(&cluster.processes()));
                process.kill().await;
                None
            }
            (_, Ground::Disk(_)) => unreachable!("a file has no database server"),
        };
        life.ended();
        survivor
    }

    /// Brings everything up again.
    async fn come_up(&mut self, survivor: Option<Process>, crash: Crash) -> Process {
        match (&mut self.ground, crash) {
            (Ground::Disk(disk), Crash::PowerCut) => disk.cut(&mut self.dice),
            (Ground::Disk(_), _) => {}
            (Ground::Cluster(cluster), Crash::Kill) => until_nobody_is_connected(cluster).await,
            (Ground::Cluster(cluster), _) => block_in_place(|| cluster.recover()),
        }
        self.casts = self.casts.drain(..).map(Cast::reconnected).collect();
        match survivor {
            None => self.start().await,
            Some(process) => {
                self.until_it_answers().await;
                process
            }
        }
    }

    /// Waits until the server has found its database again.
    async fn until_it_answers(&self) {
        let (client, life) = (self.installation.client("spa"), Life::for_ever());
        let mut ticks = interval(Duration::from_millis(50));
        eventually("an answer that is no outage", async {
            // Nobody's token, which is looked up all the same.
            let token = format!("tgr_{}", "A".repeat(98));
            while life.ask(&client, &refresh_request(&token)).await.is_some_and(|answer| answer.status == 503) {
                ticks.tick().await;
            }
        })
        .await;
    }

    /// Has everybody ask about all that they hold; gives what was broken.
    async fn complaints(&mut self, crash: Crash) -> Vec<String> {
        let mut busy = JoinSet::new();
        for cast in self.casts.drain(..) {
            busy.spawn(async move { Box::pin(cast.ask_about_everything(&Life::for_ever())).await });
        }
        self.casts = eventually("all answers", busy.join_all()).await;
        if crash.is_ours() {
            for signer in self.casts.iter().flat_map(Cast::signers) {
                self.keys.note(vec![(Call::Sign, Some(Reply::Keys(BTreeSet::from([signer.clone()]))))]);
            }
        }
        let complaints = self.casts.iter().flat_map(Cast::complaints).chain(self.keys.check().err()).collect();
        self.casts.iter_mut().for_each(Cast::forget);
        complaints
    }

    /// Has SQLite look at all of its file.
    fn check_the_file(&self) {
        if let Ground::Disk(disk) = &self.ground {
            let connection = Connection::open(self.installation.database()).expect("a database");
            let verdict: String =
                connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("one");
            assert_eq!(verdict, "ok");
            assert!(disk.waits() > 0, "nobody has waited for the disk: the journal was not kept");
        }
    }
}

/// Waits until nobody is connected: what a process that is gone has sent may still be at work.
async fn until_nobody_is_connected(cluster: &Cluster) {
    const OTHERS: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let (client, connection) = tokio_postgres::connect(&cluster.url("public"), NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    until("the end of all connections", || async {
        client.query_one(OTHERS, &[]).await.expect("a count").get::<_, i64>(0) == 0
    })
    .await;
    drop(client);
    connection.await.expect("no panic").expect("a clean end");
}

/// The names of the keys of a set that count.
fn names(set: &Value, counts: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let keys = set["keys"].as_array().expect("a list").iter().filter(|key| counts(key));
    keys.map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

/// A number that the environment gives.
fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "`make crash` says how long")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Goes through all rounds, so many on a store.
async fn crash_again_and_again(story: impl AsyncFn(u64) -> Story, crashes: &[Crash]) {
    let rounds = number("TOLLGATE_CRASH_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).expect("64 bits"));
    let seeds = number("TOLLGATE_CRASH_SEED").unwrap_or(1)..;
    for (seed, done) in seeds.zip((0..rounds).step_by(ROUNDS_OF_A_STORE)) {
        let rounds = ROUNDS_OF_A_STORE.min(rounds - done);
        println!("TOLLGATE_CRASH_SEED={seed} TOLLGATE_CRASH_ROUNDS={rounds}");
        let complaints = story(seed).await.play(rounds, crashes).await;
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_or_without_power_it_keeps_its_promises_on_a_file() {
    let story = async |seed| Story::on_a_file(seed, Honesty::Honest);
    crash_again_and_again(story, &Crash::ON_A_FILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_or_without_its_database_it_keeps_its_promises_on_postgres() {
    crash_again_and_again(Story::on_postgres, &Crash::ON_POSTGRES).await;
}

/// The reader can complain: on a disk that says that it has written, and has not, promises break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_that_lies_broken_promises_are_noticed() {
    let complaints = Story::on_a_file(1, Honesty::Lying).play(ROUNDS, &[Crash::PowerCut]).await;
    assert!(!complaints.is_empty(), "what is lost is missed by nobody");
}

/// Nothing gets to the database in a way that the journal does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_of_the_disk_tells_everything() {
    let mut story = Story::on_a_file(1, Honesty::Honest);
    let process = story.start().await;
    let complaints = story.complaints(Crash::Kill).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let life = Life::new(Mortality::Immortal, 100);
    let cast = story.casts.pop().expect("a cast");
    let (cast, ()) = tokio::join!(Box::pin(cast.live(&life)), async {
        life.is_due().await;
        life.ended();
    });
    assert!(cast.complaints().is_empty());
    process.kill().await;
    let Ground::Disk(disk) = &story.ground else { unreachable!("it is on a file") };
    disk.assert_told_everything();
}
