//! `tollgate login` and `tollgate logout`, as a person at a terminal and a browser sees them: against our server, and
//! against servers that are slow, out of order, or lie.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use tollgate::clock::{Clock as _, SystemClock};

use crate::browser::{Browser, Page};
use crate::machine::{Machine, PATIENCE, Running, Said, between, read_until};
use crate::upstream::{field, read_head};
use crate::world::World;

/// What `tollgate login` without a terminal says, and its end.
struct Login {
    process: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Login {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        Self { process, lines, said: String::new() }
    }

    async fn until(&mut self, text: &str) -> &str {
        let more = read_until(&mut self.lines, text).await;
        self.said.push_str(&more);
        &self.said
    }

    /// The code that it shows.
    async fn user_code(&mut self) -> String {
        between(self.until("waiting for approval").await, "code     ", "\n").to_owned()
    }

    async fn end(mut self) -> Said {
        while let Some(line) = timeout(PATIENCE, self.lines.next_line()).await.expect("an end in time").expect("text") {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        let output = timeout(PATIENCE, self.process.wait_with_output()).await.expect("an end in time");
        let Output { status, stdout, .. } = output.expect("an end");
        let out = String::from_utf8(stdout).expect("UTF-8");
        Said { code: status.code().expect("an exit code"), out, err: self.said }
    }
}

/// A world at the present time, which is what the proofs of the program name.
async fn world() -> World {
    let world = World::start().await;
    world.clock.advance(SystemClock.now().since(world.clock.now()));
    world
}

/// Enters a code as ada and decides.
pub async fn decide(issuer: &str, user_code: &str, password: &str, decision: &str) -> Page {
    let mut browser = Browser::new(issuer);
    let page = browser.open("/activate").await;
    let page = browser.submit(&page, &[("user_code", user_code)]).await;
    let page = browser.follow(page).await;
    let page = browser.submit(&page, &[("username", "ada"), ("password", password)]).await;
    let page = browser.follow(page).await;
    browser.submit(&page, &[("decision", decision)]).await
}

/// The files that `tollgate login` has left, with what they hold.
fn kept(machine: &Machine) -> Vec<(String, String)> {
    let files = fs::read_dir(machine.path("tollgate")).into_iter().flatten().flatten();
    files
        .map(|file| {
            let name = file.file_name().into_string().expect("UTF-8");
            (name, fs::read_to_string(file.path()).expect("a file"))
        })
        .collect()
}

/// The one file with a token in it.
fn token_file(machine: &Machine) -> Value {
    let files = kept(machine);
    let file = files.iter().find(|(name, _)| name.starts_with("token-") && !name.contains(".lock"));
    serde_json::from_str(&file.unwrap_or_else(|| panic!("no token in {files:?}")).1).expect("JSON")
}

#[tokio::test]
async fn a_person_lets_the_command_line_in() {
    let (world, machine) = (world().await, Machine::new());
    let party = ["--issuer", &world.issuer, "--client-id", "tv", "--resource", "https://api.example.com"];
    let mut login = Login::start(machine.command(&[&["login", "--scope", "orders:read"], &party[..]].concat()));
    let user_code = login.user_code().await;
    let address = format!("{}/activate", world.issuer);
    assert!(login.said.contains(&format!("open     {address}\n")), "{}", login.said);
    assert!(login.said.contains(&format!("or open  {address}?user_code={user_code}\n")), "{}", login.said);
    let page = decide(&world.issuer, &user_code, "ada", "approve").await;
    assert!(page.has("All set"), "{page:?}");
    let said = login.end().await.expect(0, &["signed in at", "DPoP, ", "renewed by itself"]);
    assert!(said.out.contains(" curl https://api.example.com/\n"), "{}", said.out);
    assert!(said.out.contains(" logout --resource https://api.example.com\n"), "{}", said.out);

    let file = token_file(&machine);
    for secret in ["key", "access_token", "refresh_token"] {
        let secret = file[secret].as_str().expect("a secret");
        assert!(!said.err.contains(secret) && !said.out.contains(secret), "a secret was printed");
    }
    assert!(!format!("{}{}", said.err, said.out).contains("tgd_"), "the device code was printed");
    assert!(!said.err.contains(['█', '\x1b']), "neither a QR code nor colours without a terminal: {}", said.err);
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&machine.path("tollgate")), 0o700);
    for (name, _) in kept(&machine) {
        assert_eq!(mode(&machine.path("tollgate").join(&name)), 0o600, "{name}");
    }

    // Signing in again keeps the key, to which the rest may be bound.
    let mut again = Login::start(machine.command(&[&["login", "--scope", "orders:read"], &party[..]].concat()));
    let user_code = again.user_code().await;
    decide(&world.issuer, &user_code, "ada", "approve").await;
    again.end().await.expect(0, &[]);
    let second = token_file(&machine);
    assert_eq!(second["key"], file["key"]);
    assert_ne!(second["access_token"], file["access_token"]);
}

#[tokio::test]
async fn a_person_declines_or_the_client_may_not() {
    let (world, machine) = (world().await, Machine::new());
    let mut login = Login::start(machine.command(&["login", "--issuer", &world.issuer, "--client-id", "tv"]));
    let user_code = login.user_code().await;
    decide(&world.issuer, &user_code, "ada", "deny").await;
    login.end().await.expect(1, &["the request was declined", "run the command again"]);
    let refused = machine.run(&["login", "--issuer", &world.issuer, "--client-id", "spa"]).await;
    refused.expect(1, &["unauthorized_client", "tollgate explain grant_type_not_allowed"]);
    let files = kept(&machine);
    assert!(files.is_empty(), "{files:?}");
    machine.run(&["login"]).await.expect(1, &["no --issuer was given", "tollgate dev"]);
    machine.run(&["login", "--no-browser"]).await.expect(2, &["--browser"]);
    machine.run(&["logout", "--resource", "https://api.example.com"]).await.expect(1, &["nobody is signed in"]);
}

#[tokio::test]
async fn a_device_token_calls_the_api_through_envoy_and_is_renewed_by_one_process_at_a_time() {
    let machine = Machine::new();
    let ports = ["--port", "0", "--envoy-port", "0", "--admin-port", "0"];
    let mut dev = Running::start(machine.command(&[&["dev", "--nonce"], ports.as_slice()].concat()));
    let said = dev.until("Ctrl-C").await;
    let (issuer, guard) = (between(&said, "issuer   ", " "), between(&said, "guard    ", " "));
    let orders = format!("{guard}/orders");

    let mut login = Login::start(machine.command(&["login"]));
    let user_code = login.user_code().await;
    decide(issuer, &user_code, between(&said, "password ", "\n"), "approve").await;
    login.end().await.expect(0, &["signed in at", &format!("curl {orders}")]);

    let call = machine.run(&["curl", &orders]).await;
    call.expect(0, &["from the last call", "\"x-auth-subject\":\"ada", "\"x-auth-client\":\"cli\""]);
    machine.run(&["curl", "--steal", &orders]).await.expect(1, &["tollgate explain key_mismatch"]);

    // Eight find that it has expired; one of them renews it, and the others take what that one got.
    let name = kept(&machine).into_iter().find(|(_, text)| text.contains("refresh_token")).expect("a token").0;
    let path = machine.path("tollgate").join(name);
    let mut file: Value = serde_json::from_str(&fs::read_to_string(&path).expect("a file")).expect("JSON");
    file["expires"] = 0.into();
    fs::write(&path, file.to_string()).expect("a file");
    let calls: Vec<_> =
        (0..8).map(|_| machine.command(&["curl", "-d", "a=1", &orders]).output()).map(tokio::spawn).collect();
    let mut renewals = 0;
    for call in calls {
        let said = Said::of(&call.await.expect("no panic").expect("the program starts"));
        let said = said.expect(0, &["\"x-auth-subject\":\"ada"]);
        renewals += usize::from(said.err.contains("POST /oauth/token"));
    }
    assert_eq!(renewals, 1);
    machine.run(&["curl", "--fresh", &orders]).await.expect(0, &["POST /oauth/token", "\"x-auth-subject\":\"ada"]);

    // Who signs out has signed out at the server too, whatever somebody has copied before.
    let copies = kept(&machine);
    let resource = ["logout", "--resource", guard];
    machine.run(&resource).await.expect(0, &["POST /oauth/revoke", "token and key are removed", "ended the grant"]);
    assert!(!path.exists());
    for (name, text) in copies {
        fs::write(machine.path("tollgate").join(name), text).expect("a file");
    }
    machine.run(&["curl", "--fresh", &orders]).await.expect(1, &["the sign-in of `tollgate login` has ended"]);
    machine.run(&["logout"]).await.expect(0, &["token and key are removed"]);
    machine.run(&["curl", &orders]).await.expect(0, &["\"x-auth-subject\":\"reports\""]);
    assert_eq!(dev.stop("-INT").await, 0);
    assert_eq!(machine.left(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_browser_signs_in_on_loopback() {
    let (world, machine) = (world().await, Machine::new());
    // A machine that has a browser: it notes what it is asked to open.
    let opener = machine.write("xdg-open", "#!/bin/sh\nprintf %s \"$1\" >\"$0.asked\"\n");
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o700)).expect("a program");
    let arguments = ["login", "--browser", "--redirect-path", "/cb", "--issuer", &world.issuer, "--client-id", "spa"];
    let mut command = machine.command(&arguments);
    command.env("PATH", format!("{}:/usr/bin:/bin", machine.home.path().display()));
    let mut login = Login::start(command);
    let said = login.until("xdg-open was asked").await;
    let url = between(said, "sign in:\n\n  ", "\n").to_owned();
    let asked = async || fs::read_to_string(machine.path("xdg-open.asked")).ok().filter(|asked| !asked.is_empty());
    assert_eq!(crate::envoy::eventually("the browser is asked", asked).await, url);
    let path = url.strip_prefix(&world.issuer).expect("our server");
    let back = Browser::new(&world.issuer).approve(path, "ada", "ada").await.location();
    let http = crate::client::http();
    let wrong_path = back.as_str().replace("/cb?", "/other?");
    assert_eq!(http.get(wrong_path).send().await.expect("an answer").status(), 404);
    let page = http.get(back).send().await.expect("an answer");
    assert!(page.text().await.expect("a page").contains("close this page"));
    let said = login.end().await.expect(0, &["signed in at", "curl --issuer"]);
    assert!(said.out.contains(&format!("logout --issuer {} --client-id spa\n", world.issuer)), "{}", said.out);

    // Without one, the address is enough; and what another party answers is not believed (RFC 9207 §2.4).
    let printed = [&arguments[..], &["--no-browser"]].concat();
    for (change, expected) in [
        (("iss=", "iss=https://evil.example/"), "the answer at the redirect URI is not from"),
        (("code=", "error=access_denied&error_description=%1B%5B2J&not_code="), "refused: access_denied: ?[2J"),
    ] {
        let mut login = Login::start(machine.command(&printed));
        let said = login.until("/oauth/authorize?").await;
        let path = said.rsplit_once(&world.issuer).expect("our server").1.trim().to_owned();
        let back = Browser::new(&world.issuer).approve(&path, "ada", "ada").await.location();
        let lie = back.as_str().replacen(change.0, change.1, 1);
        assert_eq!(http.get(lie).send().await.expect("an answer").status(), 200);
        login.end().await.expect(1, &[expected]);
    }
}

#[tokio::test]
async fn a_terminal_shows_a_qr_code_and_is_left_clean() {
    let (world, machine) = (world().await, Machine::new());
    let arguments = ["login", "--issuer", &world.issuer, "--client-id", "tv"];
    for (colours, columns) in [(true, 100), (false, 100), (true, 30)] {
        let mut command = machine.command(&arguments);
        if colours {
            command.env_remove("NO_COLOR");
        }
        let mut terminal = Terminal::start(command, columns);
        terminal.until("left").await;
        let shown = terminal.shown.clone();
        assert_eq!(shown.contains("\x1b[30;107m"), columns > 30 && colours, "{shown}");
        assert_eq!(shown.contains('▄'), columns > 30, "{shown}");
        assert!(shown.contains("code     ") && shown.contains("waiting for approval, "), "{shown}");
        let (code, rest) = terminal.interrupt().await;
        assert_eq!(code, 130);
        let (before, after) = rest.rsplit_once("\x1b[2K").unwrap_or_else(|| panic!("the line remains: {rest:?}"));
        assert!(!before.contains("\x1b[?25l") && after.contains("nobody was signed in"), "{rest:?}");
    }
    let files = kept(&machine);
    assert!(files.is_empty(), "{files:?}");
}

/// A terminal that the program writes to.
struct Terminal {
    process: Child,
    screen: tokio::fs::File,
    shown: String,
}

impl Terminal {
    fn start(mut command: Command, columns: u16) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&screen).expect("a terminal");
        unlockpt(&screen).expect("a terminal");
        let name = ptsname(&screen, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let line = fs::File::options().read(true).write(true).open(name).expect("a terminal");
        let size = rustix::termios::Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&line, size).expect("a terminal");
        command.env("TERM", "xterm").stdout(line.try_clone().expect("a terminal")).stderr(line);
        let process = command.spawn().expect("the program starts");
        Self { process, screen: fs::File::from(screen).into(), shown: String::new() }
    }

    /// Reads on; `false` when nobody writes any more.
    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = timeout(PATIENCE, self.screen.read(&mut bytes)).await.expect("output in time").unwrap_or(0);
        self.shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }

    async fn until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert!(self.read().await, "it ended after:\n{}", self.shown);
        }
    }

    /// Does what Ctrl-C does; gives the exit code and everything that was shown since.
    async fn interrupt(mut self) -> (i32, String) {
        let before = self.shown.len();
        let id = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill starts").success());
        let ended = timeout(PATIENCE, self.process.wait()).await.expect("an end in time").expect("an end");
        while !self.shown[before..].contains("signed in") && self.read().await {}
        (ended.code().expect("an exit code"), self.shown[before..].to_owned())
    }
}

/// What a server does.
#[derive(Clone)]
enum Scripted {
    /// It answers with a status, headers, and a body.
    Answer(u16, &'static str, String),
    HangUp,
}

use Scripted::{Answer, HangUp};

/// A server that says what it is told to say, and notes what it was asked.
struct Server {
    issuer: String,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Server {
    /// Answers polls, and other requests than for metadata and codes, with the next of `answers`; with the last one for
    /// ever.
    async fn start(codes: impl Fn(&str) -> Value, answers: Vec<Scripted>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let metadata = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "device_authorization_endpoint": format!("{issuer}/codes"),
            "revocation_endpoint": format!("{issuer}/revoke"),
        });
        let codes = codes(&issuer);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut answers = answers.into_iter().peekable();
            while let Ok((connection, _)) = listener.accept().await {
                let Ok((mut connection, head, body)) = read(connection).await else { continue };
                let answer = if head.starts_with("GET /.well-known/oauth-authorization-server ") {
                    Answer(200, "", metadata.to_string())
                } else if head.starts_with("POST /codes ") {
                    notes.lock().expect("no test panics with the lock").push((Instant::now(), body));
                    Answer(200, "", codes.to_string())
                } else {
                    notes.lock().expect("no test panics with the lock").push((Instant::now(), head + &body));
                    let next = answers.next().expect("an answer");
                    if answers.peek().is_none() {
                        answers = vec![next.clone()].into_iter().peekable();
                    }
                    next
                };
                if let Answer(status, headers, body) = answer {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n"
                    );
                    drop(connection.write_all((head + &body).as_bytes()).await);
                }
            }
        });
        Self { issuer, asked }
    }

    fn login(&self, machine: &Machine) -> Command {
        machine.command(&["login", "--issuer", &self.issuer, "--client-id", "tv"])
    }

    /// What it was asked, and the time since the question before.
    fn asked(&self) -> Vec<(Duration, String)> {
        let asked = self.asked.lock().expect("no test panics with the lock");
        let mut last = asked.first().expect("a request").0;
        let since = |(at, text): &(Instant, String)| (*at - std::mem::replace(&mut last, *at), text.clone());
        asked.iter().map(since).collect()
    }
}

async fn read(mut connection: TcpStream) -> std::io::Result<(TcpStream, String, String)> {
    let mut buffer = Vec::new();
    let head = read_head(&mut connection, &mut buffer).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        if connection.read_buf(&mut buffer).await? == 0 {
            break;
        }
    }
    Ok((connection, head, String::from_utf8_lossy(&buffer).into_owned()))
}

/// Codes that are good for a minute and may be asked about every second.
fn quick(issuer: &str) -> Value {
    json!({
        "device_code": "the-device-code", "user_code": "WDJB-MJHT", "verification_uri": format!("{issuer}/activate"),
        "expires_in": 60, "interval": 1,
    })
}

fn error(error: &str) -> Scripted {
    Answer(400, "", json!({ "error": error }).to_string())
}

fn tokens() -> Scripted {
    let tokens =
        json!({ "access_token": "a-token", "token_type": "DPoP", "expires_in": 300, "refresh_token": "b-token" });
    Answer(200, "", tokens.to_string())
}

#[tokio::test]
async fn a_server_that_is_slow_or_out_of_order_is_asked_less_often() {
    let machine = Machine::new();
    let nonce = Answer(400, "dpop-nonce: n1\r\n", json!({ "error": "use_dpop_nonce" }).to_string());
    let unavailable = Answer(503, "retry-after: 3\r\n", json!({ "error": "temporarily_unavailable" }).to_string());
    let script = vec![nonce, error("authorization_pending"), unavailable, HangUp, error("slow_down"), tokens()];
    let server = Server::start(quick, script).await;
    let said = Login::start(server.login(&machine)).end().await;
    let said = said.expect(0, &["temporarily_unavailable", "cannot reach", "every 6 s", "signed in at"]);
    assert!(!said.err.contains("a-token") && !said.out.contains("b-token"), "a token was printed");

    let asked = server.asked();
    let pauses: Vec<_> = asked.iter().map(|(since, _)| since.as_secs_f32()).collect();
    // The codes; a second later a poll, again with the nonce; then the interval, `Retry-After`, twice the interval after
    // the second failure in a row, and twice that; and five seconds more once it was too fast.
    let shortest = [0.0, 1.0, 0.0, 1.0, 3.0, 4.0, 6.0];
    assert!(pauses.len() == 7 && pauses.iter().zip(shortest).all(|(pause, least)| pause + 0.2 > least), "{pauses:?}");
    assert!(asked[0].1.contains("dpop_jkt=") && asked[0].1.contains("client_id=tv"), "{}", asked[0].1);
    let proofs: Vec<_> = asked[1..].iter().map(|(_, text)| field(text, "dpop").expect("a proof")).collect();
    assert!(proofs.iter().enumerate().all(|(at, proof)| !proofs[..at].contains(proof)), "a proof was used twice");
    assert!(asked[1].1.contains("device_code=the-device-code"));

    let signed_out = machine.run(&["logout", "--issuer", &server.issuer, "--client-id", "tv"]).await;
    signed_out.expect(0, &["POST /revoke", "token and key are removed", "the server has ended the grant"]);
    let revocation = &server.asked().last().expect("a request").1.clone();
    assert!(revocation.contains("token=b-token&token_type_hint=refresh_token&client_id=tv"), "{revocation}");
    assert!(kept(&machine).is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_be_told_keeps_nobody_signed_in() {
    let machine = Machine::new();
    let server = Server::start(quick, vec![tokens(), Answer(500, "", String::new())]).await;
    Login::start(server.login(&machine)).end().await.expect(0, &[]);
    let arguments = ["--issuer", &server.issuer, "--client-id", "tv"];
    let said = machine.run(&[&["logout"], &arguments[..]].concat()).await;
    said.expect(1, &["token and key are removed here, but the server could not be told"]);
    assert!(kept(&machine).is_empty());
    machine.run(&[&["logout"], &arguments[..]].concat()).await.expect(1, &["nobody is signed in"]);
}

#[tokio::test]
async fn a_confidential_client_is_known_again_and_a_grant_that_has_ended_is_said() {
    let machine = Machine::new();
    let secret = machine.write("secret", "s3cret\n").display().to_string();
    let works = || Answer(200, "", "it works".to_owned());
    let script = vec![tokens(), works(), tokens(), works(), works(), error("invalid_grant")];
    let server = Server::start(quick, script).await;
    let mut command = server.login(&machine);
    command.args(["--client-secret-file", &secret, "--scope", "a b", "--resource", &server.issuer]);
    Login::start(command).end().await.expect(0, &[&format!("logout --resource {}", server.issuer)]);

    let url = format!("{}/api", server.issuer);
    machine.run(&["curl", &url]).await.expect(0, &["from the last call", "it works"]);
    machine.run(&["curl", "--fresh", &url]).await.expect(0, &["POST /token", "it works"]);
    machine.run(&["curl", "--scope", "a b", &url]).await.expect(0, &["from the last call", "it works"]);
    machine.run(&["curl", "--scope", "c", &url]).await.expect(1, &["nobody has signed in for"]);
    let ended = machine.run(&["curl", "--fresh", &url]).await;
    ended.expect(1, &["the sign-in of `tollgate login` has ended"]);
    let asked = server.asked();
    let refresh = &asked[3].1;
    assert!(refresh.contains("grant_type=refresh_token&refresh_token=b-token"), "{refresh}");
    assert_eq!(field(refresh, "authorization"), Some("Basic dHY6czNjcmV0"), "tv:s3cret");
}

#[tokio::test]
async fn what_ends_the_waiting_is_said_and_nothing_is_kept() {
    let machine = Machine::new();
    let hostile = json!({ "error": "invalid_grant", "error_description": "\u{1b}[2J\u{202e}x".repeat(500) });
    let bearer_of_bad_news = json!({ "access_token": "a\u{1b}[2Jb", "token_type": "Bearer" });
    for (answer, expected) in [
        (error("access_denied"), "the request was declined"),
        (error("expired_token"), "nobody approved before the code expired"),
        (error("invalid_client"), "refused: invalid_client"),
        (Answer(400, "", hostile.to_string()), "invalid_grant: ?[2J?x?[2J?x"),
        (Answer(200, "", "<html>".to_owned()), "not a token response"),
        (Answer(200, "", bearer_of_bad_news.to_string()), "an access token that is none"),
        (Answer(302, "location: http://127.0.0.1:1/\r\n", String::new()), "neither what was asked for nor an error"),
        (Answer(200, "", "x".repeat(1 << 20)), "longer than 256 KiB"),
    ] {
        let server = Server::start(quick, vec![answer]).await;
        let said = Login::start(server.login(&machine)).end().await.expect(1, &[expected]);
        assert!(!said.err.contains(['\x1b', '\u{202e}']) && said.err.len() < 2_000, "{}", said.err);
        assert!(kept(&machine).is_empty());
    }
    // Nobody decides.
    let short = |issuer: &str| {
        let mut codes = quick(issuer);
        codes["expires_in"] = 3.into();
        codes
    };
    let server = Server::start(short, vec![error("authorization_pending")]).await;
    let said = Login::start(server.login(&machine)).end().await;
    said.expect(1, &["the code is good for 0:03", "nobody approved before the code expired", "enter the new code"]);
    assert!((2..=3).contains(&server.asked().len()), "two polls fit, on a machine with time");
}

#[tokio::test]
async fn a_server_that_lies_is_not_believed() {
    let machine = Machine::new();
    let with = |member: &'static str, value: Value| {
        move |issuer: &str| {
            let mut codes = quick(issuer);
            codes[member] = value.clone();
            codes
        }
    };
    for (member, value, expected) in [
        ("verification_uri", json!("http://as.example/activate"), "an address without TLS"),
        ("verification_uri", json!("javascript:alert(1)"), "an address without TLS"),
        ("verification_uri", json!("https://as.example/\u{1b}[2J"), "an address that is none"),
        ("verification_uri_complete", json!("https://bank.example@evil.example/"), "with a name before its host"),
        ("user_code", json!("\u{1b}]0;x\u{7}"), "a user code that nobody could type"),
        ("interval", json!(1_000_000_000), "codes that expire before it may be asked about them"),
        ("expires_in", json!(0), "codes that expire before it may be asked about them"),
        ("device_code", json!("x".repeat(1 << 20)), "longer than 256 KiB"),
    ] {
        let server = Server::start(with(member, value), vec![HangUp]).await;
        let said = Login::start(server.login(&machine)).end().await.expect(1, &["/codes", expected]);
        assert!(!said.err.contains('\x1b'), "{}", said.err);
        assert_eq!(server.asked().len(), 1, "it was not polled");
    }
    // An issuer that is another one's, and endpoints without TLS.
    for (issuer, endpoint, expected) in [
        ("https://bank.example/\u{1b}[2J", "https://as.example/token", "its issuer is https://bank.example/?[2J"),
        ("", "http://as.example/token", "an endpoint without TLS"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = format!("http://{}", listener.local_addr().expect("an address"));
        let claimed = if issuer.is_empty() { &own } else { issuer };
        let body = json!({ "issuer": claimed, "token_endpoint": endpoint }).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            let (connection, _) = listener.accept().await?;
            let (mut connection, ..) = read(connection).await?;
            connection.write_all(answer.as_bytes()).await
        });
        let said = machine.run(&["login", "--issuer", &own, "--client-id", "tv"]).await.expect(1, &[expected]);
        assert!(!said.err.contains('\x1b'), "{}", said.err);
    }
}
