//! What a disk does to an installation on SQLite, and what is there to go back to: a full disk, a damaged file, a backup
//! that is made while tokens are issued.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::process::Command;
use tollgate::clock::{Clock as _, SystemClock};

use crate::browser::Browser;
use crate::client::{Answer, CHALLENGE, Client, answer, code_request, http, refresh_request};
use crate::process::{Installation, PASSWORD, Process, eventually, program, run};

/// Client credentials with an assertion, whose `jti` must get to the disk.
const WRITES: [(&str, &str); 1] = [("grant_type", "client_credentials")];

/// Signs ada in and gives the refresh token of the client.
async fn signed_in(installation: &Installation, client: &Client) -> String {
    let path = format!(
        "/oauth/authorize?response_type=code&client_id={}&redirect_uri=https%3A%2F%2Fapp.example%2Fcb\
         &scope=orders%3Aread&code_challenge_method=S256&code_challenge={CHALLENGE}",
        client.id
    );
    let code = Browser::new(&installation.issuer).approve(&path, "ada", PASSWORD).await.code();
    let tokens = client.request(SystemClock.now(), &code_request(&code)).send().await.expect_tokens();
    tokens.text("refresh_token").to_owned()
}

async fn refresh(client: &Client, token: &str) -> Answer {
    client.request(SystemClock.now(), &refresh_request(token)).send().await
}

/// Refreshes after a restart: the first proof may be one that the earlier life could have seen, and is told a nonce.
async fn refresh_after_restart(client: &Client, token: &str) -> Answer {
    let refused = refresh(client, token).await;
    let Some(nonce) = refused.header("dpop-nonce") else { return refused };
    let mut claims = client.proof_claims(SystemClock.now());
    claims["nonce"] = nonce.into();
    client.request(SystemClock.now(), &refresh_request(token)).proof(&client.sign_proof(&claims)).send().await
}

async fn back_up(installation: &Installation, to: &Path) -> std::process::Output {
    let mut command = program();
    command.arg("backup").arg("--config").arg(installation.path("on-disk.yaml")).arg("--to").arg(to);
    run(&mut command).await
}

/// The configuration of the installation with its store in a file, for verbs that take no `--set`.
fn on_disk(installation: &Installation) {
    let text = fs::read_to_string(installation.path("tollgate.yaml")).expect("a file");
    let sqlite = format!("store: {{ sqlite: {{ path: \"{}\" }} }}", installation.database().display());
    assert!(text.contains("store: { memory: {} }"));
    fs::write(installation.path("on-disk.yaml"), text.replace("store: { memory: {} }", &sqlite)).expect("a file");
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_while_tokens_are_issued_and_can_be_gone_back_to() {
    let installation = Installation::new();
    on_disk(&installation);
    let (copy, early) = (installation.path("copy.db"), installation.path("early.db"));
    let nothing = back_up(&installation, &early).await;
    assert_eq!(nothing.status.code(), Some(1), "{}", said(&nothing));
    assert!(said(&nothing).contains("there is no database at"), "{}", said(&nothing));

    let process = installation.start(&[]).await;
    let (spa, web) = (installation.client("spa"), installation.client("web"));
    let before = signed_in(&installation, &spa).await;
    let copied = AtomicBool::new(false);
    let busy = async {
        let mut answered = 0;
        while answered < 20 || !copied.load(Ordering::SeqCst) {
            web.request(SystemClock.now(), &WRITES).send().await.expect(200, "");
            answered += 1;
        }
    };
    let copy_it = async {
        let output = back_up(&installation, &copy).await;
        copied.store(true, Ordering::SeqCst);
        output
    };
    let ((), output) = tokio::join!(busy, copy_it);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("checked") && said(&output).contains("next: cp "), "{}", said(&output));
    let mode = fs::metadata(&copy).expect("a copy").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "others may read the copy");

    let bytes = fs::read(&copy).expect("a copy");
    let again = back_up(&installation, &copy).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    assert_eq!(fs::read(&copy).expect("a copy"), bytes, "a copy was overwritten");
    let left: Vec<_> = fs::read_dir(installation.folder.path()).expect("a folder").flatten().collect();
    assert!(!left.iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp")), "{left:?}");

    // What came after the copy is gone with the disk; what came before is as it was.
    let after = signed_in(&installation, &spa).await;
    process.kill().await;
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{ending}", installation.database().display()));
    }
    fs::copy(&copy, installation.database()).expect("a copy");
    let process = installation.start(&[]).await;
    refresh_after_restart(&spa, &before).await.expect_tokens();
    refresh_after_restart(&spa, &after).await.expect(400, "invalid_grant");
    process.kill().await;
}

/// Limits how long a file of a running process may get, as a full disk does.
async fn limit_files(process: &Process, limit: &str) {
    let process = process.id().to_string();
    let set = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={limit}:unlimited")]).status().await;
    assert!(set.expect("prlimit, of util-linux").success());
}

async fn ready(process: &Process) -> u16 {
    answer(http().get(format!("http://{}/readyz", process.admin))).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_outage_until_there_is_room_again() {
    let installation = Installation::new();
    let serve = installation.serve(&[]);
    let mut command = Command::new("env"); // a write beyond the limit is to fail like one to a full disk, not to kill
    command.arg("--ignore-signal=XFSZ").arg(serve.as_std().get_program()).args(serve.as_std().get_args());
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(std::process::Stdio::null()).kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let process = Process::start(command).await;
    let (spa, web) = (installation.client("spa"), installation.client("web"));
    let token = signed_in(&installation, &spa).await;

    limit_files(&process, "4096").await;
    web.request(SystemClock.now(), &WRITES).send().await.expect(503, "temporarily_unavailable");
    refresh(&spa, &token).await.expect(503, "temporarily_unavailable");
    // What needs no room goes on.
    let keys = answer(http().get(format!("{}/oauth/jwks", installation.issuer))).await;
    assert_eq!(keys.status, 200);
    let note = async {
        while ready(&process).await != 503 {
            tokio::task::yield_now().await;
        }
    };
    eventually("the end of readiness", note).await;

    limit_files(&process, "unlimited").await;
    web.request(SystemClock.now(), &WRITES).send().await.expect(200, "");
    refresh(&spa, &token).await.expect_tokens();
    let back = async {
        while ready(&process).await != 200 {
            tokio::task::yield_now().await;
        }
    };
    eventually("readiness", back).await;
    process.signal("TERM").await;
    let (status, log) = process.ended().await;
    assert!(status.success());
    assert!(log.contains("the store did not"), "an operator reads nothing of it:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_noticed_by_the_start_and_by_a_backup() {
    let installation = Installation::new();
    on_disk(&installation);
    let process = installation.start(&[]).await;
    signed_in(&installation, &installation.client("spa")).await;
    process.signal("TERM").await;
    assert!(process.ended().await.0.success());

    let mut bytes = fs::read(installation.database()).expect("the database");
    bytes[4096..].fill(0xa5); // the first page tells what file it is
    fs::write(installation.database(), &bytes).expect("the database");
    let output = run(&mut installation.serve(&[])).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("malformed"), "{}", said(&output));
    assert!(said(&output).contains("restore a backup"), "{}", said(&output));
    let copy = installation.path("copy.db");
    let output = back_up(&installation, &copy).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("malformed"), "{}", said(&output));
    assert!(!copy.exists(), "there is a copy of a damaged file");

    fs::write(installation.path("notes.txt"), "somebody else's file, which is longer than a header of SQLite would be")
        .expect("a file");
    let text = fs::read_to_string(installation.path("on-disk.yaml")).expect("a file");
    fs::write(installation.path("on-disk.yaml"), text.replace("tollgate.db", "notes.txt")).expect("a file");
    let output = back_up(&installation, &copy).await;
    assert!(said(&output).contains("is not a database of tollgate"), "{}", said(&output));
}

/// Somebody else, with a tool, holds the lock that writers need for longer than they wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_another_program_holds_is_an_outage_until_it_lets_go() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    let (spa, web) = (installation.client("spa"), installation.client("web"));
    let token = signed_in(&installation, &spa).await;

    let other = rusqlite::Connection::open(installation.database()).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let (first, second) = tokio::join!(web.request(SystemClock.now(), &WRITES).send(), refresh(&spa, &token));
    first.expect(503, "temporarily_unavailable");
    second.expect(503, "temporarily_unavailable");
    process.until_it_says("the store did not commit").await;
    assert!(process.has_said("database is locked"));
    // What writes nothing goes on.
    let service = installation.client("backend");
    service.bearer_request(SystemClock.now(), &WRITES).send().await.expect_tokens();

    other.execute_batch("ROLLBACK").expect("the lock");
    web.request(SystemClock.now(), &WRITES).send().await.expect(200, "");
    refresh(&spa, &token).await.expect_tokens();
    process.kill().await;
}

/// Pages that nobody has read yet go bad while the process serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_damaged_while_it_is_served_is_an_outage_of_what_needs_it() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    process.signal("TERM").await;
    assert!(process.ended().await.0.success()); // everything is in the file, and nothing in the log beside it
    let process = installation.start(&[]).await;
    let web = installation.client("web");

    let pages: Vec<u64> = {
        let database = rusqlite::Connection::open(installation.database()).expect("the database");
        let roots = "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'assertions' AND rootpage > 0";
        let mut roots = database.prepare(roots).expect("a statement");
        let pages = roots.query_map([], |row| row.get::<_, i64>(0)).expect("pages");
        pages.map(|page| u64::try_from(page.expect("a page")).expect("a number")).collect()
    };
    let file = fs::OpenOptions::new().write(true).open(installation.database()).expect("the database");
    for page in pages {
        file.write_all_at(&[0xa5; 4096], (page - 1) * 4096).expect("a page");
    }
    let ask = async |client: &Client| client.bearer_request(SystemClock.now(), &WRITES).send().await;
    ask(&web).await.expect(503, "temporarily_unavailable");
    process.until_it_says("database disk image is malformed").await;
    // Nobody is let in by mistake, and what does not need those pages goes on.
    ask(&web).await.expect(503, "temporarily_unavailable");
    ask(&installation.client("backend")).await.expect_tokens();
    process.kill().await;
}
