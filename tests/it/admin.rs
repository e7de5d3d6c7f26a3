//! Those who look after an installation: over its admin socket, and with `tollgate admin`.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::UnixListenerStream;
use tollgate::audit;
use tollgate::clock::Clock as _;
use tollgate::grpc::admin::v1::audit_service_client::AuditServiceClient;
use tollgate::grpc::admin::v1::client_service_client::ClientServiceClient;
use tollgate::grpc::admin::v1::device_service_client::DeviceServiceClient;
use tollgate::grpc::admin::v1::grant_service_client::GrantServiceClient;
use tollgate::grpc::admin::v1::grant_service_server::{GrantService, GrantServiceServer};
use tollgate::grpc::admin::v1::key_service_client::KeyServiceClient;
use tollgate::grpc::admin::v1::revoke_grants_request::Of;
use tollgate::grpc::admin::v1::session_service_client::SessionServiceClient;
use tollgate::grpc::admin::v1::status_service_client::StatusServiceClient;
use tollgate::grpc::admin::v1::watch_events_response::Told;
use tollgate::grpc::admin::v1::{
    self, ClientOrigin, DenyDeviceRequest, DropKeyRequest, EndSessionsRequest, GetClientRequest, GetGrantRequest,
    GetStatusRequest, KeyState, ListClientsRequest, ListDevicesRequest, ListGrantsRequest, ListGrantsResponse,
    ListKeysRequest, ListSessionsRequest, RevokeGrantRequest, RevokeGrantResponse, RevokeGrantsRequest,
    RevokeGrantsResponse, RotateKeysRequest, SenderConstraint, WatchEventsRequest,
};
use tollgate::store::{Grant, Limits, MemoryStore, Unavailable};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

use crate::browser::Browser;
use crate::client::{AUTHORIZATION_REQUEST, CLIENT_CREDENTIALS, claims, http, poll_request, refresh_request};
use crate::events::assert_shape;
use crate::introspect::adas_tokens;
use crate::process::{Installation, eventually, program, run};
use crate::registration;
use crate::store::{begin, grant};
use crate::tap::{Tap, TappedStore};
use crate::world::World;

/// A connection to the admin socket of a world.
fn channel(world: &World) -> Channel {
    let path = world.addresses.admin_api.as_ref().expect("a socket");
    Endpoint::try_from(format!("unix:{}", path.display())).expect("an address").connect_lazy()
}

#[track_caller]
fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.expect_err("an error").code()
}

fn query(client: &str) -> String {
    let parameters = AUTHORIZATION_REQUEST.iter().copied().chain([("client_id", client)]);
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

#[tokio::test]
async fn clients_are_listed_and_shown_without_their_secrets() {
    let world = World::start_with(registration::with_token).await;
    let registered = registration::register(&world, &registration::public()).await.expect(201, "").body;
    let registered = registered["client_id"].as_str().expect("a name");
    let mut clients = ClientServiceClient::new(channel(&world));
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListClientsRequest { page_size: 2, page_token };
        let page = clients.list_clients(request).await.expect("an answer").into_inner();
        assert!(page.clients.len() <= 2);
        names.extend(page.clients.into_iter().map(|client| (client.origin(), client.client_id)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let configured: Vec<_> = names.iter().filter(|(origin, _)| *origin == ClientOrigin::Configuration).collect();
    assert!(configured.len() > 3 && configured.is_sorted_by_key(|(_, name)| name), "{names:?}");
    assert_eq!(names.last(), Some(&(ClientOrigin::Registration, registered.to_owned())), "those come last");

    let get = |client_id: &str| GetClientRequest { client_id: client_id.to_owned() };
    let backend = clients.get_client(get("backend")).await.expect("an answer").into_inner();
    assert_eq!(backend.token_endpoint_auth_method, "client_secret_basic");
    let shown = clients.get_client(get(registered)).await.expect("an answer").into_inner();
    assert_eq!(shown.registered_time, Some(world.clock.now().seconds()));
    for unknown in ["nobody", "", "reg-x", "\n"] {
        assert_eq!(code(clients.get_client(get(unknown)).await), Code::NotFound);
    }
    let request = ListClientsRequest { page_size: 0, page_token: "web".to_owned() };
    assert_eq!(code(clients.list_clients(request).await), Code::InvalidArgument);
}

#[tokio::test]
async fn grants_are_listed_shown_and_ended_with_their_tokens() {
    let world = World::start().await;
    let (spa, web, backend) = (world.client("spa"), world.client("web"), world.client("backend"));
    let of_spa = [adas_tokens(&world, &spa).await, adas_tokens(&world, &spa).await];
    let of_web = adas_tokens(&world, &web).await;
    let mut grants = GrantServiceClient::new(channel(&world));
    let all = ListGrantsRequest { page_size: 2, ..ListGrantsRequest::default() };
    let first = grants.list_grants(all.clone()).await.expect("an answer").into_inner();
    let rest = ListGrantsRequest { page_token: first.next_page_token, ..all };
    let rest = grants.list_grants(rest).await.expect("an answer").into_inner();
    assert_eq!((first.grants.len(), rest.grants.len(), rest.next_page_token.as_str()), (2, 1, ""));
    let of = |subject: &str, client_id: &str| ListGrantsRequest {
        subject: subject.to_owned(),
        client_id: client_id.to_owned(),
        ..ListGrantsRequest::default()
    };
    for (subject, client_id, number) in [("ada", "", 3), ("ada", "spa", 2), ("", "web", 1), ("bob", "", 0)] {
        let listed = grants.list_grants(of(subject, client_id)).await.expect("an answer").into_inner().grants;
        assert_eq!(listed.len(), number, "{subject} {client_id}");
    }

    // A token names its grant; what is shown of it opens nothing.
    let id = claims(of_spa[0].text("access_token"))["grant_id"].as_str().expect("a name").to_owned();
    let grant = grants.get_grant(GetGrantRequest { id: id.clone() }).await.expect("an answer").into_inner();
    assert_eq!((grant.subject.as_str(), grant.client_id.as_str()), ("ada", "spa"));
    assert_eq!(grant.sender_constraint(), SenderConstraint::Dpop);
    assert_eq!(grant.end_time, None);
    let shown = format!("{grant:?}");
    assert!(!shown.contains(of_spa[0].text("refresh_token")), "{shown}");

    let revoke = RevokeGrantRequest { id: id.clone() };
    assert!(grants.revoke_grant(revoke.clone()).await.expect("an answer").into_inner().ended);
    assert!(!grants.revoke_grant(revoke).await.expect("an answer").into_inner().ended, "it was over before");
    let grant = grants.get_grant(GetGrantRequest { id }).await.expect("an answer").into_inner();
    assert_eq!(grant.ended_by, "administrator");
    let now = world.clock.now();
    let refresh = async |client: &crate::client::Client, tokens: &crate::client::Answer| {
        client.request(now, &refresh_request(tokens.text("refresh_token"))).send().await
    };
    refresh(&spa, &of_spa[0]).await.expect(400, "invalid_grant");
    refresh(&spa, &of_spa[1]).await.expect_tokens();
    assert_eq!(crate::introspect::told(&world, &backend, of_spa[0].text("access_token")).await["active"], false);

    let by_client = RevokeGrantsRequest { of: Some(Of::ClientId("spa".to_owned())), ..RevokeGrantsRequest::default() };
    assert_eq!(grants.revoke_grants(by_client).await.expect("an answer").into_inner().ended, 1);
    refresh(&spa, &of_spa[1]).await.expect(400, "invalid_grant");
    let by_person = RevokeGrantsRequest { of: Some(Of::Subject("ada".to_owned())), ..RevokeGrantsRequest::default() };
    assert_eq!(grants.revoke_grants(by_person).await.expect("an answer").into_inner().ended, 1);
    refresh(&web, &of_web).await.expect(400, "invalid_grant");

    for id in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA"] {
        let id = id.to_owned();
        assert_eq!(code(grants.get_grant(GetGrantRequest { id: id.clone() }).await), Code::NotFound);
        assert_eq!(code(grants.revoke_grant(RevokeGrantRequest { id }).await), Code::NotFound);
    }
    assert_eq!(code(grants.revoke_grants(RevokeGrantsRequest::default()).await), Code::InvalidArgument);
    let malformed = RevokeGrantsRequest { of: Some(Of::Subject(String::new())), ..RevokeGrantsRequest::default() };
    assert_eq!(code(grants.revoke_grants(malformed).await), Code::InvalidArgument);
}

#[tokio::test]
async fn sessions_end_one_by_one_or_all_at_once() {
    let world = World::start().await;
    let mut browsers = [Browser::new(&world.issuer), Browser::new(&world.issuer), Browser::new(&world.issuer)];
    for browser in &mut browsers {
        browser.approve(&format!("/oauth/authorize?{}", query("spa")), "ada", "ada").await;
        world.clock.advance(std::time::Duration::from_secs(1));
    }
    let mut sessions = SessionServiceClient::new(channel(&world));
    let list = ListSessionsRequest { subject: "ada".to_owned() };
    let listed = sessions.list_sessions(list.clone()).await.expect("an answer").into_inner().sessions;
    assert_eq!(listed.len(), 3);
    assert!(listed.is_sorted_by_key(|session| std::cmp::Reverse(session.auth_time)));
    let end = |subject: &str, id: &str| EndSessionsRequest { subject: subject.to_owned(), id: id.to_owned() };
    let newest = listed[0].id.clone();
    assert_eq!(code(sessions.end_sessions(end("bob", &newest)).await), Code::NotFound, "it is not his");
    sessions.end_sessions(end("ada", &newest)).await.expect("an answer");
    assert_eq!(code(sessions.end_sessions(end("ada", &newest)).await), Code::NotFound, "it is over");
    let asks = |page: &crate::browser::Page| page.has("name=\"password\"");
    let authorize = format!("/oauth/authorize?{}", query("spa"));
    let [first, _, last] = &mut browsers;
    let page = last.open(&authorize).await;
    assert!(asks(&last.follow(page).await), "somebody has to sign in again");
    let page = first.open(&authorize).await;
    assert!(!asks(&first.follow(page).await), "the others go on");
    sessions.end_sessions(end("ada", "")).await.expect("an answer");
    assert!(sessions.list_sessions(list).await.expect("an answer").into_inner().sessions.is_empty());
    assert_eq!(code(sessions.list_sessions(ListSessionsRequest::default()).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_device_that_waits_is_turned_away() {
    let world = World::start().await;
    let (tv, now) = (world.client("tv"), world.clock.now());
    let begun = tv.device_request(now, &[]).send().await.expect(200, "");
    let mut devices = DeviceServiceClient::new(channel(&world));
    let listed = devices.list_devices(ListDevicesRequest::default()).await.expect("an answer").into_inner();
    let [device] = listed.devices.as_slice() else { panic!("{listed:?}") };
    assert_eq!((device.client_id.as_str(), device.address.as_str()), ("tv", "127.0.0.1"));
    let deny = DenyDeviceRequest { id: device.id.clone() };
    devices.deny_device(deny.clone()).await.expect("an answer");
    assert_eq!(code(devices.deny_device(deny).await), Code::NotFound, "it waits no more");
    tv.request(now, &poll_request(begun.text("device_code"))).send().await.expect(400, "access_denied");
    let listed = devices.list_devices(ListDevicesRequest::default()).await.expect("an answer").into_inner();
    assert!(listed.devices.is_empty());
    assert_eq!(code(devices.deny_device(DenyDeviceRequest { id: "x".to_owned() }).await), Code::NotFound);
}

#[tokio::test]
async fn keys_are_rotated_and_dropped() {
    let world = World::start().await;
    let (backend, now) = (world.client("backend"), world.clock.now());
    let mut keys = KeyServiceClient::new(channel(&world));
    let tokens = backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let list = async || {
        let mut keys = KeyServiceClient::new(channel(&world));
        keys.list_keys(ListKeysRequest {}).await.expect("an answer").into_inner().keys
    };
    let first = list().await.remove(0).kid;
    assert_eq!(code(keys.drop_key(DropKeyRequest { kid: first.clone() }).await), Code::FailedPrecondition);
    assert_eq!(code(keys.drop_key(DropKeyRequest { kid: "x".to_owned() }).await), Code::NotFound);
    let announced = keys.rotate_keys(RotateKeysRequest { now: false }).await.expect("an answer").into_inner();
    let announced = announced.key.expect("a key");
    assert_eq!(announced.state(), KeyState::Announced);
    // One that is announced may go; another one is announced in its place, for nothing else would sign later.
    let dropped = keys.drop_key(DropKeyRequest { kid: announced.kid.clone() }).await.expect("an answer").into_inner();
    assert_eq!(dropped.key.expect("a key").state(), KeyState::Dropped);
    let states: Vec<_> = list().await.iter().map(tollgate::grpc::admin::v1::Key::state).collect();
    assert_eq!(states, [KeyState::Signing, KeyState::Dropped, KeyState::Announced]);
    let active =
        async || crate::introspect::told(&world, &backend, tokens.text("access_token")).await["active"].clone();
    assert_eq!(active().await, true);
    let fresh = keys.rotate_keys(RotateKeysRequest { now: true }).await.expect("an answer").into_inner();
    assert_eq!(fresh.key.expect("a key").state(), KeyState::Signing);
    assert_eq!(active().await, false, "it was signed by a key that is gone");
    backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
}

#[tokio::test]
async fn what_is_changed_is_an_event_with_who_did_it() {
    let world = World::start().await;
    let channel = channel(&world);
    let tokens = adas_tokens(&world, &world.client("spa")).await;
    let id = claims(tokens.text("access_token"))["grant_id"].as_str().expect("a name").to_owned();
    let mut grants = GrantServiceClient::new(channel.clone());
    grants.revoke_grant(RevokeGrantRequest { id }).await.expect("an answer");
    let all = RevokeGrantsRequest { of: Some(Of::Subject("ada".to_owned())), ..RevokeGrantsRequest::default() };
    grants.revoke_grants(all).await.expect("an answer");
    KeyServiceClient::new(channel).rotate_keys(RotateKeysRequest { now: false }).await.expect("an answer");
    assert_shape(&world, audit::ADMIN_ACTED);
    let events: Vec<_> =
        world.events.of(audit::TARGET).into_iter().filter(|event| event["event"] == "admin.acted").collect();
    let calls: Vec<_> = events.iter().map(|event| event["call"].as_str()).collect();
    assert_eq!(calls, ["revoke_grant", "revoke_grants", "rotate_keys"]);
    let us = format!("uid {}", rustix::process::getuid().as_raw());
    assert!(events.iter().all(|event| event["by"] == us), "{events:?}");
}

#[tokio::test]
async fn all_grants_of_a_person_end_page_by_page() {
    let world = World::start().await;
    let mut grants = GrantServiceClient::new(channel(&world));
    for client in ["spa", "web", "spa"] {
        adas_tokens(&world, &world.client(client)).await;
    }
    let page = |page_size, page_token: &str| RevokeGrantsRequest {
        of: Some(Of::Subject("ada".to_owned())),
        page_size,
        page_token: page_token.to_owned(),
    };
    let first = grants.revoke_grants(page(2, "")).await.expect("an answer").into_inner();
    assert_eq!(first.ended, 2);
    let last = grants.revoke_grants(page(2, &first.next_page_token)).await.expect("an answer").into_inner();
    assert_eq!((last.ended, last.next_page_token.as_str()), (1, ""));
    assert_eq!(grants.revoke_grants(page(2, "")).await.expect("an answer").into_inner().ended, 0);
    assert_eq!(code(grants.revoke_grants(page(2, "x")).await), Code::InvalidArgument);
    assert_eq!(
        code(grants.revoke_grants(RevokeGrantsRequest { of: None, ..page(2, "") }).await),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_command_line_ends_very_many_grants_in_steps_and_counts_all_of_them() {
    const MORE: u64 = 5_999;
    let installation = Installation::new();
    let store = installation.open_store(Limits::default()).await;
    let later = tollgate::clock::SystemClock.now() + Duration::from_hours(1);
    begin(&*store, &Grant { expires_at: later, idle_expires_at: later, ..grant(1) }).await;
    drop(store);
    let database = rusqlite::Connection::open(installation.database()).expect("the database");
    let columns = "SELECT group_concat(name) FROM pragma_table_info('grants') WHERE name <> 'handle'";
    let columns: String = database.query_one(columns, [], |row| row.get(0)).expect("names");
    let multiply = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MORE})
         INSERT INTO grants (handle, {columns}) SELECT randomblob(16), {columns} FROM (SELECT * FROM grants), numbers"
    );
    assert_eq!(database.execute(&multiply, []).expect("an insert") as u64, MORE);
    drop(database);

    let socket = format!("listen.admin.grpc=\"unix:{}\"", installation.path("admin.sock").display());
    let process = installation.start(&["--set", &socket]).await;
    let subject = grant(1).subject.to_string();
    let output = run(&mut admin(&installation, &["grants", "revoke", "--subject", &subject, "--output", "json"])).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("so far"), "that is for a terminal: {said}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(document, json!({ "ended": MORE + 1, "all": true }));
    let request = http().get(format!("http://{}/metrics", process.admin));
    let counted = request.send().await.expect("an answer").text().await.expect("text");
    let steps = "tollgate_store_call_duration_seconds_count{operation=\"end_some_grants\",outcome=\"answered\"} 13\n";
    assert!(counted.contains(steps), "500 in each, and once nothing: {counted}");
    process.kill().await;
}

/// An installation that has more grants to end after each step, for as long as a test says so.
struct Endless {
    asked: mpsc::Sender<RevokeGrantsRequest>,
    answers: Mutex<mpsc::Receiver<Result<RevokeGrantsResponse, Status>>>,
}

#[async_trait]
impl GrantService for Endless {
    async fn list_grants(&self, _: Request<ListGrantsRequest>) -> Result<Response<ListGrantsResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_grant(&self, _: Request<GetGrantRequest>) -> Result<Response<v1::Grant>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn revoke_grant(&self, _: Request<RevokeGrantRequest>) -> Result<Response<RevokeGrantResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn revoke_grants(
        &self,
        call: Request<RevokeGrantsRequest>,
    ) -> Result<Response<RevokeGrantsResponse>, Status> {
        self.asked.send(call.into_inner()).await.expect("the test listens");
        self.answers.lock().await.recv().await.expect("the test answers").map(Response::new)
    }
}

/// `tollgate admin grants revoke` at an [`Endless`] installation.
struct Revoking {
    child: Child,
    asked: mpsc::Receiver<RevokeGrantsRequest>,
    answers: mpsc::Sender<Result<RevokeGrantsResponse, Status>>,
    _folder: tempfile::TempDir,
    _server: tokio::task::JoinSet<()>,
}

impl Revoking {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let ((asked, asks), (answers, answered)) = (mpsc::channel(1), mpsc::channel(1));
        let service = GrantServiceServer::new(Endless { asked, answers: Mutex::new(answered) });
        let server = Server::builder().serve_with_incoming(service, UnixListenerStream::new(listener));
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async { server.await.expect("it serves") });
        let mut command = program();
        command.args(["admin", "grants", "revoke", "--client", "spa", "--output", "json", "--address"]);
        command.arg(format!("unix:{}", path.display()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().expect("the program");
        Self { child, asked: asks, answers, _folder: folder, _server: serving }
    }

    /// Waits for the next step, and gives where it begins.
    async fn step(&mut self) -> String {
        let asked = eventually("a step", self.asked.recv()).await.expect("a call");
        assert_eq!((asked.of, asked.page_size), (Some(Of::ClientId("spa".to_owned())), 5_000));
        asked.page_token
    }

    async fn answer(&self, answer: Result<(u64, &str), Status>) {
        let answer = answer.map(|(ended, next)| RevokeGrantsResponse { ended, next_page_token: next.to_owned() });
        self.answers.send(answer).await.expect("it is served");
    }

    /// Presses Ctrl-C.
    async fn interrupt(&self) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill").success());
    }

    /// What it says on standard error, up to a line that contains this.
    async fn says(&mut self, expected: &str) {
        let mut lines = BufReader::new(self.child.stderr.as_mut().expect("a pipe")).lines();
        while let Some(line) = eventually("a line", lines.next_line()).await.expect("text") {
            if line.contains(expected) {
                return;
            }
        }
        panic!("it has not said {expected:?}");
    }

    /// How it ends: not well; with one document, and asking for nothing more.
    async fn ends(mut self) -> (Value, String) {
        let output = eventually("its end", self.child.wait_with_output()).await.expect("an end");
        assert_eq!(output.status.code(), Some(1));
        assert!(self.asked.try_recv().is_err());
        let document = if output.stdout.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&output.stdout).expect("one document")
        };
        (document, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn who_ends_very_many_grants_may_stop_and_is_told_how_many_have_ended() {
    let mut revoking = Revoking::start();
    assert_eq!(revoking.step().await, "");
    revoking.answer(Ok((5_000, "x"))).await;
    assert_eq!(revoking.step().await, "x");
    revoking.interrupt().await;
    revoking.says("stopping when this step has ended").await;
    revoking.answer(Ok((17, "y"))).await;
    let (document, said) = revoking.ends().await;
    assert_eq!(document, json!({ "ended": 5_017, "all": false }));
    assert!(said.contains("stopped before all had ended") && said.contains("the same command"), "{said}");

    // Once more, and it does not wait for the answer.
    let mut revoking = Revoking::start();
    revoking.step().await;
    revoking.interrupt().await;
    revoking.says("once more to stop at once").await;
    revoking.interrupt().await;
    let (document, said) = revoking.ends().await;
    assert!(document.is_null() && said.contains("some of the last step may have ended"), "{said}");

    // The last step is the last, whoever presses what.
    let mut revoking = Revoking::start();
    revoking.step().await;
    revoking.answer(Ok((5_000, "x"))).await;
    revoking.step().await;
    revoking.answer(Err(Status::unavailable("the store does not answer"))).await;
    let (document, said) = revoking.ends().await;
    assert_eq!(document, json!({ "ended": 5_000, "all": false }));
    assert!(said.contains("the store does not answer"), "{said}");
}

/// A store that is down when it is told so.
struct Outage(std::sync::atomic::AtomicBool);

#[async_trait]
impl Tap for Outage {
    async fn before(&self, _: &'static str) -> Result<(), Unavailable> {
        if self.0.load(std::sync::atomic::Ordering::SeqCst) { Err(Unavailable::Down) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_an_outage_and_status_says_so() {
    let outage = Arc::new(Outage(std::sync::atomic::AtomicBool::new(false)));
    let inner = Arc::new(MemoryStore::new(Limits::default()));
    let store = Arc::new(TappedStore { inner, tap: Arc::clone(&outage) as Arc<dyn Tap> });
    let world = World::start_on(store, |_| {}).await;
    let channel = channel(&world);
    let mut status = StatusServiceClient::new(channel.clone());
    let standing = status.get_status(GetStatusRequest {}).await.expect("an answer").into_inner();
    assert!(standing.store_answers);
    assert_eq!(
        (standing.issuer.as_str(), standing.version.as_str()),
        (world.issuer.as_str(), env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(standing.start_time, world.clock.now().seconds());
    assert_eq!(standing.signing_key.expect("a key").state(), KeyState::Signing);
    outage.0.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(!status.get_status(GetStatusRequest {}).await.expect("an answer").into_inner().store_answers);
    let mut grants = GrantServiceClient::new(channel.clone());
    assert_eq!(code(grants.list_grants(ListGrantsRequest::default()).await), Code::Unavailable);
    let by_person = RevokeGrantsRequest { of: Some(Of::Subject("ada".to_owned())), ..RevokeGrantsRequest::default() };
    assert_eq!(code(grants.revoke_grants(by_person).await), Code::Unavailable);
    let mut keys = KeyServiceClient::new(channel.clone());
    assert_eq!(code(keys.rotate_keys(RotateKeysRequest { now: true }).await), Code::Unavailable);
    let mut devices = DeviceServiceClient::new(channel);
    assert_eq!(code(devices.list_devices(ListDevicesRequest::default()).await), Code::Unavailable);
}

#[tokio::test]
async fn who_does_not_sign_people_in_is_not_asked_to() {
    let world = World::start().await;
    let mut people = tollgate::grpc::admin::v1::person_service_client::PersonServiceClient::new(channel(&world));
    let disable = tollgate::grpc::admin::v1::DisableRequest { subject: "ada".to_owned() };
    assert_eq!(code(people.disable(Request::new(disable)).await), Code::Unimplemented);
}

#[tokio::test]
async fn who_watches_hears_what_happens_until_the_server_ends() {
    let world = World::start().await;
    let mut audit = AuditServiceClient::new(channel(&world));
    let wanted = WatchEventsRequest { events: vec!["token.issued".to_owned(), "admin.acted".to_owned()] };
    let mut told = audit.watch_events(wanted).await.expect("a stream").into_inner();
    let (backend, now) = (world.client("backend"), world.clock.now());
    backend.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let Some(Told::Event(event)) = told.message().await.expect("an answer").expect("an event").told else {
        panic!("it was not lost")
    };
    assert_eq!((event.event.as_str(), event.level.as_str()), ("token.issued", "info"));
    assert_eq!(event.fields["client.id"], "backend");
    let unknown = WatchEventsRequest { events: vec!["nothing".to_owned()] };
    assert_eq!(code(audit.watch_events(unknown).await), Code::InvalidArgument);
    // No more watch than may, and a place is free again when one goes.
    let mut others = Vec::new();
    for _ in 1..16 {
        others.push(audit.watch_events(WatchEventsRequest::default()).await.expect("a stream"));
    }
    assert_eq!(code(audit.watch_events(WatchEventsRequest::default()).await), Code::ResourceExhausted);
    drop(others);
    world.restart_with(crate::world::End::Stopped, |_| {}).await;
    while let Ok(Some(_)) = told.message().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_that_change_under_load_lose_no_request() {
    let installation = Installation::new();
    let signing = "authorization_server.signing={\"encryption_key_file\":\"kek\",\"announce\":\"1s\",\"sign\":\"2s\"}";
    let process = installation.start(&["--set", signing]).await;
    let seen = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, seen) = (installation.client("backend"), Arc::clone(&seen));
        clients.spawn(async move {
            // Until the third key signs: each of them was announced before.
            while seen.lock().expect("no test panics with the lock").len() < 3 {
                let now = tollgate::clock::SystemClock.now();
                let tokens = client.request(now, &CLIENT_CREDENTIALS).send().await.expect_tokens();
                let token = tokens.text("access_token");
                let told = client.about(crate::client::INTROSPECT, token, now).send().await.expect(200, "");
                assert_eq!(told.body["active"], true, "{told:?}");
                let header = token.split('.').next().and_then(tollgate::secret::from_base64url).expect("a header");
                let header: Value = serde_json::from_slice(&header).expect("JSON");
                let kid = header["kid"].as_str().expect("a kid").to_owned();
                seen.lock().expect("no test panics with the lock").insert(kid);
            }
        });
    }
    crate::process::eventually("the third key", clients.join_all()).await;
    process.kill().await;
}

/// `tollgate admin` with the socket of an installation.
fn admin(installation: &Installation, arguments: &[&str]) -> Command {
    let mut command = program();
    let address = format!("unix:{}", installation.path("admin.sock").display());
    command.arg("admin").args(arguments).args(["--address", &address]);
    command
}

#[tokio::test]
async fn the_command_line_shows_and_ends() {
    let installation = Installation::new();
    let socket = format!("listen.admin.grpc=\"unix:{}\"", installation.path("admin.sock").display());
    let unreachable = run(&mut admin(&installation, &["status"])).await;
    assert_eq!(unreachable.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unreachable.stderr).into_owned();
    assert!(said.contains("cannot reach the admin API") && said.contains("No such"), "{said}");

    let process = installation.start(&["--set", &socket]).await;
    let now = tollgate::clock::SystemClock.now();
    installation.client("tv").device_request(now, &[]).send().await.expect(200, "");
    let text = async |arguments: &[&str]| {
        let output = run(&mut admin(&installation, arguments)).await;
        let (out, said) =
            (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        out
    };
    let json = async |arguments: &[&str]| -> Value {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&text(&arguments).await).expect("JSON")
    };
    assert!(text(&["status"]).await.contains(&installation.issuer));
    assert_eq!(json(&["status"]).await["store"], "sqlite");
    assert!(text(&["clients", "list"]).await.contains("device_code"));
    assert_eq!(json(&["clients", "show", "tv"]).await["client_id"], "tv");
    assert_eq!(json(&["grants", "list", "--subject", "ada"]).await["grants"], Value::Array(Vec::new()));
    assert!(text(&["grants", "revoke", "--client", "spa"]).await.contains("0 ended"));
    assert_eq!(json(&["grants", "revoke", "--client", "spa"]).await, serde_json::json!({ "ended": 0, "all": true }));
    assert!(text(&["sessions", "list", "ada"]).await.starts_with("SESSION"));
    text(&["sessions", "end", "ada"]).await;
    let device = json(&["devices", "list"]).await["devices"][0]["id"].as_str().expect("a device").to_owned();
    assert!(text(&["devices", "deny", &device]).await.contains("turned away"));
    assert!(text(&["keys", "rotate"]).await.contains("announced"));
    let listed = json(&["keys", "list"]).await;
    let first = listed["keys"][0]["kid"].as_str().expect("a kid").to_owned();
    let states: Vec<_> =
        listed["secrets"].as_array().expect("secrets").iter().map(|each| each["state"].clone()).collect();
    assert_eq!(states, ["making", "announced"]);
    assert!(text(&["keys", "list"]).await.contains("generation 1"));

    let unknown = run(&mut admin(&installation, &["grants", "show", "-nothing"])).await;
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("there is no grant of that name") && said.contains("list"), "{said}");
    let refused = run(&mut admin(&installation, &["keys", "drop", &first])).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rotate the keys first"));
    for usage in [&["grants", "revoke"][..], &["grants", "revoke", "x", "--client", "y"], &["nothing"]] {
        assert_eq!(run(&mut admin(&installation, usage)).await.status.code(), Some(2), "{usage:?}");
    }
    let mut by_file = program();
    by_file.args(["admin", "status", "--config"]).arg(installation.path("tollgate.yaml"));
    let no_door = run(&mut by_file).await;
    assert_eq!(no_door.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&no_door.stderr).contains("opens no admin API"));
    process.kill().await;
}
