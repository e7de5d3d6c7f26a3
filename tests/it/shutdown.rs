//! How the program ends: in good order when it is told to, and with a message and a code when it cannot go on.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tollgate::web::{AdminSite, Door, Limits};

use crate::client::CLIENT_CREDENTIALS;
use crate::process::{Installation, eventually, program, run};
use crate::world::free_port;
use tollgate::clock::{Clock as _, SystemClock};

/// A token request whose body is announced but not sent yet, together with the body.
async fn request_in_flight(installation: &Installation) -> (TcpStream, String) {
    let backend = installation.client("backend");
    let (form, authorization, _) = backend.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS).into_parts();
    let address = installation.issuer.strip_prefix("http://").expect("plain http");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        authorization.expect("Basic credentials"),
        form.len()
    );
    stream.write_all(head.as_bytes()).await.expect("a peer");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.expect("an interim answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n"); // the request has been taken up
    (stream, form)
}

/// Waits until nobody accepts at an address any more.
async fn closed(address: &str) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    eventually("the end of the listener", refused).await;
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_is_in_flight() {
    for signal in ["TERM", "INT"] {
        let installation = Installation::new();
        let process = installation.start(&[]).await;
        assert!(installation.socket().exists());
        let (mut stream, body) = request_in_flight(&installation).await;
        process.signal(signal).await;
        closed(installation.issuer.strip_prefix("http://").expect("plain http")).await;
        stream.write_all(body.as_bytes()).await.expect("a peer");
        let mut answer = String::new();
        eventually("the answer", stream.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"access_token\""), "{answer}");
        let (status, said) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!installation.socket().exists(), "the socket file was left behind");
    }
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_it_alive() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    let (_stream, _) = request_in_flight(&installation).await;
    process.signal("TERM").await;
    let (status, said) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("requests were still in flight"), "{said}");
}

#[tokio::test]
async fn told_twice_it_does_not_wait_for_anybody() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    let (_stream, _) = request_in_flight(&installation).await;
    process.signal("TERM").await;
    closed(installation.issuer.strip_prefix("http://").expect("plain http")).await;
    let told = Instant::now();
    process.signal("INT").await;
    let (status, said) = process.ended().await;
    assert!(told.elapsed() < Duration::from_secs(4), "it waited for the drain: {said}");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("told to stop a second time"), "{said}");
}

/// Waits until somebody accepts at the address of an installation.
async fn listening(installation: &Installation) {
    let address = installation.issuer.strip_prefix("http://").expect("plain http").to_owned();
    let listens = async {
        while TcpStream::connect(&address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    eventually("the listener", listens).await;
}

#[tokio::test]
async fn it_may_open_as_many_files_as_the_system_allows_at_most() {
    let installation = Installation::new();
    let serve = installation.serve(&[]);
    let serve = serve.as_std();
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    let process = shell.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().expect("a shell");
    listening(&installation).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id().expect("it runs"))).expect("limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let [soft, hard] = files.split_whitespace().skip(3).take(2).collect::<Vec<_>>()[..] else { panic!("{files}") };
    assert_eq!(soft, hard, "{files}");
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let installation = Installation::new();
    let mut process = installation.serve(&["--log", "trace"]).spawn().expect("the program");
    listening(&installation).await;
    let backend = installation.client("backend");
    for _ in 0..600 {
        let request = backend.bearer_request(SystemClock.now(), &CLIENT_CREDENTIALS);
        eventually("an answer", request.send()).await.expect_tokens();
    }
    let id = process.id().expect("it runs").to_string();
    let told = tokio::process::Command::new("kill").args(["-TERM", &id]).status().await.expect("kill");
    assert!(told.success());
    let status = eventually("the end", process.wait()).await.expect("a status");
    assert_eq!(status.code(), Some(0));
    let mut log = Vec::new();
    process.stdout.take().expect("a pipe").read_to_end(&mut log).await.expect("what was written");
    // The pipe takes 64 KiB, but no part of lines that gathered and that it has no room for.
    assert!(log.len() >= 32 * 1024, "the pipe was never full: {} bytes", log.len());
}

#[tokio::test]
async fn nothing_is_answered_once_the_drain_time_is_over() {
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let door = Door::bind(([127, 0, 0, 1], 0).into(), limits).await.expect("a port");
    let address = door.address().expect("an address");
    let site = AdminSite {
        store: None,
        keys: None,
        guard: None,
        clock: Arc::new(SystemClock),
        takes_writes: Arc::default(),
        metrics: Arc::default(),
        standing: None,
        issuers: Arc::default(),
        ending: Arc::default(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        door.serve(Arc::new(site), stopped).await;
    });
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = "GET /livez HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("a peer");
    stream.read_exact(&mut [0; 25]).await.expect("an interim answer");
    stop.send(()).expect("it serves");
    eventually("the end of the door", served).await.expect("no panic");
    let mut answer = Vec::new();
    drop(eventually("the end of the connection", stream.read_to_end(&mut answer)).await); // reset or closed
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_right_is_exit_code_two() {
    let installation = Installation::new();
    let settings = [
        ("authorization_server.issuer=\"ftp://auth.example.com\"", "authorization_server.issuer"),
        ("authorization_server.login.local.users_file=\"missing.yaml\"", "users_file"),
    ];
    for (setting, named) in settings {
        let output = run(&mut installation.serve(&["--set", setting])).await;
        let report = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{report}");
        assert!(report.contains(named), "{report}");
    }
    let output = run(program().args(["serve", "--config", "/nowhere/tollgate.yaml"])).await;
    let report = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{report}");
    assert!(report.contains("/nowhere/tollgate.yaml"), "{report}");
}

#[tokio::test]
async fn what_is_in_the_way_of_a_start_is_exit_code_one_and_is_named() {
    let installation = Installation::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let _taken = TcpListener::bind(taken).expect("a port");
    let admin = format!("listen.admin.address=\"{taken}\"");
    let address = taken.to_string();
    let socket = installation.path("missing/authz.sock").display().to_string();
    let gate = format!("listen.ext_authz=[{{\"address\":\"unix:{socket}\"}}]");
    let directory = installation.path("missing").display().to_string();
    let store = format!("store={{\"sqlite\":{{\"path\":\"{directory}/tollgate.db\"}}}}");
    for (setting, named) in [(&admin, &address), (&gate, &socket), (&store, &directory)] {
        let output = run(&mut installation.serve(&["--set", setting])).await;
        let report = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{setting}: {report}");
        assert!(report.starts_with("tollgate: cannot ") && report.contains(named), "{setting}: {report}");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_database_does_not_start_and_harms_nobody() {
    let installation = Installation::new();
    let first = installation.start(&[]).await;
    let port = format!("listen.public.address=\"127.0.0.1:{}\"", free_port());
    let output = run(&mut installation.serve(&["--set", &port])).await;
    let report = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{report}");
    let database = installation.database().display().to_string();
    for part in ["tollgate: cannot open the store: another tollgate serves from", &database, "stop that one first"] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }
    assert!(UnixStream::connect(installation.socket()).await.is_ok(), "the gate of the first has lost its socket");

    // Commands work beside a server.
    let text = std::fs::read_to_string(installation.path("tollgate.yaml")).expect("a file");
    let text = text.replace("store: { memory: {} }", "store: { sqlite: { path: tollgate.db } }");
    std::fs::write(installation.path("keys.yaml"), text).expect("a file");
    let output = run(program().args(["keys", "list", "--config"]).arg(installation.path("keys.yaml"))).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("signing"), "{output:?}");

    // The lock ends with its process, however that ends.
    first.kill().await;
    let next = installation.start(&["--set", &port]).await;
    next.signal("TERM").await;
    assert_eq!(next.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn another_encryption_key_stops_the_start() {
    let installation = Installation::new();
    let process = installation.start(&[]).await;
    process.signal("TERM").await;
    assert_eq!(process.ended().await.0.code(), Some(0));
    std::fs::write(installation.path("kek"), "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\n").expect("a file");
    let output = run(&mut installation.serve(&[])).await;
    let report = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("encryption_key_file"), "{report}");
}
