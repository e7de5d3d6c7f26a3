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
use tokio::process::{Child, Command};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::interval;
use tokio_postgres::NoTls;

use crate::client::{answer, http, refresh_request};
use crate::cluster::Cluster;
use crate::process::{Installation, Process, eventually, program};
use crate::redis::until;
use cast::{Cast, Tally, count};
use dice::Dice;
use disk::{Disk, Honesty, Tenant};
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

/// How much a server notes in a checkpoint at most, in bytes.
const LONGEST_CHECKPOINT: usize = 512 * 1024;

/// A server that does often what others do now and then: it writes its pages before a checkpoint, and uses the files of its
/// log again. It acknowledges what is not on its disk to who does not ask for more. Before it recovers it waits
/// for all its files at once rather than for each.
const BUSY: &str = "shared_buffers = '2MB'\nbgwriter_delay = '10ms'\nmin_wal_size = '8MB'\nmax_wal_size = '8MB'\n\
    synchronous_commit = off\nrecovery_init_sync_method = 'syncfs'";

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
    /// The machine of the database loses its power.
    DatabaseWithoutPower,
    /// Both lose it.
    BothWithoutPower,
}

impl Crash {
    const ON_A_FILE: [Self; 2] = [Self::Kill, Self::PowerCut];
    const ON_POSTGRES: [Self; 6] = [
        Self::Kill,
        Self::DatabaseStopped,
        Self::DatabaseKilled,
        Self::BothKilled,
        Self::DatabaseWithoutPower,
        Self::BothWithoutPower,
    ];

    /// Whether our process ends.
    fn is_ours(self) -> bool {
        match self {
            Self::Kill | Self::PowerCut | Self::BothKilled | Self::BothWithoutPower => true,
            Self::DatabaseStopped | Self::DatabaseKilled | Self::DatabaseWithoutPower => false,
        }
    }

    /// Whether what nobody has waited for may be lost.
    fn cuts_power(self) -> bool {
        match self {
            Self::PowerCut | Self::DatabaseWithoutPower | Self::BothWithoutPower => true,
            Self::Kill | Self::DatabaseStopped | Self::DatabaseKilled | Self::BothKilled => false,
        }
    }

    fn mortality(self) -> Mortality {
        match self {
            Self::Kill | Self::PowerCut => Mortality::Mortal,
            Self::DatabaseStopped
            | Self::DatabaseKilled
            | Self::BothKilled
            | Self::DatabaseWithoutPower
            | Self::BothWithoutPower => Mortality::WithoutDatabase,
        }
    }
}

/// An installation, what its state rests on, who talks to it, and what has happened to its keys.
struct Story {
    dice: Dice,
    installation: Installation,
    disk: Disk,
    /// The server whose disk that is; without one, it is that of the process itself.
    cluster: Option<Cluster>,
    casts: Vec<Cast>,
    keys: History,
}

impl Story {
    fn on_a_file(seed: u64, honesty: Honesty) -> Self {
        let installation = Installation::new();
        let folder = installation.folder.path();
        let disk = Disk::new(Tenant::Sqlite, folder, &folder.join("journal"), honesty);
        Self::new(seed, installation, disk, None)
    }

    fn on_postgres(seed: u64, honesty: Honesty) -> Self {
        let (cluster, disk) = block_in_place(|| {
            Cluster::start_watched(BUSY, |data, journal| {
                let disk = Disk::new(Tenant::Postgres, data, journal, honesty);
                (disk.environment(), disk)
            })
        });
        let installation = Installation::on_postgres(&cluster.url("public"));
        Self::new(seed, installation, disk, Some(cluster))
    }

    fn new(seed: u64, installation: Installation, disk: Disk, cluster: Option<Cluster>) -> Self {
        let mut dice = Dice::new(seed);
        let casts = (0..CASTS).map(|_| Cast::new(&installation, dice.fork())).collect();
        let keys = History::of("the signing keys", State::first_key());
        Self { dice, installation, disk, cluster, casts, keys }
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
        block_in_place(|| self.check_what_is_stored());
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
        self.watch(&mut command);
        let process = Process::start(command).await;
        let set = answer(http().get(format!("{}/oauth/jwks", self.installation.issuer))).await.body;
        self.keys.note(vec![(Call::ReadKeys, Some(Reply::Keys(names(&set, |_| true))))]);
        process
    }

    /// Has our program note what it writes, if the database is its own file.
    fn watch(&self, command: &mut Command) {
        if self.cluster.is_none() {
            command.envs(self.disk.environment());
        }
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
        let in_a_checkpoint = self.dice.percent(50).then(|| self.dice.below(LONGEST_CHECKPOINT));
        eventually("the end of a life", life.is_due()).await;
        if let (Some(cluster), Some(far)) = (&self.cluster, in_a_checkpoint) {
            eventually("a checkpoint", self.begin_checkpoint(cluster, far)).await;
        }
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
    fn begin_rotation(&mut self) -> (Call, Child) {
        let mut command = program();
        command.args(["keys", "rotate", "--output", "json", "--config"]).arg(self.installation.with_its_store());
        let call = if self.dice.percent(30) { Call::Replace } else { Call::Rotate };
        if call == Call::Replace {
            command.arg("--now");
        }
        self.watch(&mut command);
        (call, command.stderr(Stdio::null()).spawn().expect("the program"))
    }

    /// Has the server begin a new file of its log and write what it has put off, until it has noted so many bytes or is done.
    async fn begin_checkpoint(&self, cluster: &Cluster, far: usize) {
        cluster.tell("public", "SELECT pg_switch_wal()").await;
        let enough = self.disk.noted() + u64::try_from(far).expect("64 bits");
        let mut ticks = interval(Duration::from_millis(1));
        tokio::select! {
            () = cluster.tell("public", "CHECKPOINT") => {}
            () = async { while self.disk.noted() < enough { ticks.tick().await; } } => {}
        }
    }

    /// Ends a life; gives the process, if it lives on.
    async fn end(&mut self, process: Process, crash: Crash, life: &Life) -> Option<Process> {
        if let Some(cluster) = &self.cluster {
            block_in_place(|| match crash {
                Crash::Kill | Crash::PowerCut => {}
                Crash::DatabaseStopped => cluster.stop_at_once(),
                Crash::DatabaseKilled | Crash::BothKilled | Crash::DatabaseWithoutPower | Crash::BothWithoutPower => {
                    cluster.kill_all();
                }
            });
        }
        let survivor = if crash.is_ours() {
            process.kill().await;
            None
        } else {
            Some(process)
        };
        life.ended();
        survivor
    }

    /// Brings everything up again.
    async fn come_up(&mut self, survivor: Option<Process>, crash: Crash) -> Process {
        if crash.cuts_power() {
            let mut dice = self.dice.fork();
            block_in_place(|| self.disk.cut(&mut dice));
        }
        match &self.cluster {
            None if crash == Crash::Kill => self.disk.catch_up(),
            None => {}
            Some(cluster) if crash == Crash::Kill => until_nobody_is_connected(cluster).await,
            Some(cluster) => block_in_place(|| {
                if !crash.cuts_power() {
                    // A server that has failed waits for all its files before it recovers.
                    self.disk.is_waited_for();
                }
                cluster.recover();
            }),
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

    /// Has the database look at all that it has stored.
    fn check_what_is_stored(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.check();
        } else {
            let connection = Connection::open(self.installation.database()).expect("a database");
            let verdict: String =
                connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("one");
            assert_eq!(verdict, "ok");
        }
        assert!(self.disk.waits() > 0, "nobody has waited for the disk: the journal was not kept");
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
    let story = async |seed| Story::on_postgres(seed, Honesty::Honest);
    crash_again_and_again(story, &Crash::ON_POSTGRES).await;
}

/// The reader can complain: on a disk that says that it has written, and has not, promises break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_that_lies_broken_promises_are_noticed() {
    let complaints = Story::on_a_file(1, Honesty::Lying).play(ROUNDS, &[Crash::PowerCut]).await;
    assert!(!complaints.is_empty(), "what is lost is missed by nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_of_postgres_that_lies_broken_promises_are_noticed() {
    let complaints = Story::on_postgres(1, Honesty::Lying).play(ROUNDS, &[Crash::BothWithoutPower]).await;
    assert!(!complaints.is_empty(), "what is lost is missed by nobody");
}

/// Nothing gets to the database in a way that the journal does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_of_the_disk_tells_everything() {
    let story = busy_life(Story::on_a_file(1, Honesty::Honest)).await;
    story.disk.assert_told_everything();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_of_the_disk_of_postgres_tells_everything() {
    let story = busy_life(Story::on_postgres(1, Honesty::Honest)).await;
    block_in_place(|| story.cluster.as_ref().expect("a server").stop());
    story.disk.assert_told_everything();
}

/// A life that nothing happens to until the process is killed.
async fn busy_life(mut story: Story) -> Story {
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
    story
}
