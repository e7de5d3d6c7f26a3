//! An authorization endpoint that exists already, as it drives us through the admin door: `login: external`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Barrier;
use tollgate::audit;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::fetch::{FetchUrl, Reach};
use tollgate::grpc::admin::v1::authorization_service_client::AuthorizationServiceClient;
use tollgate::grpc::admin::v1::begin_response::Outcome;
use tollgate::grpc::admin::v1::person_service_client::PersonServiceClient;
use tollgate::grpc::admin::v1::{
    ApproveRequest, BeginRequest, DenyReason, DenyRequest, DisableRequest, EnableRequest, Transaction,
};
use tollgate::oauth::client::BackchannelLogout;
use tollgate::oauth::{DenyReason as Why, Refusal, Settings};
use tollgate::store::{Limits, MemoryStore, Store, Unavailable};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

use crate::authorization_details;
use crate::browser::{Browser, Page};
use crate::client::{AUTHORIZATION_REQUEST, claims, code_request, poll_request, refresh_request};
use crate::documents::{Documents, Reply};
use crate::events::assert_shape;
use crate::process::{Installation, Process, eventually};
use crate::tap::{Tap, TappedStore};
use crate::world::{World, free_port};

const SECOND: Duration = Duration::from_secs(1);

/// Where people sign in.
const LOGIN: &str = "https://login.example/authorize?tenant=1";

fn elsewhere(settings: &mut Settings) {
    settings.external_login = Some(LOGIN.parse().expect("a URL"));
}

async fn world() -> World {
    World::start_with(elsewhere).await
}

/// The program behind [`LOGIN`].
struct Login {
    channel: Channel,
}

impl Login {
    fn of(world: &World) -> Self {
        let path = world.addresses.admin_api.as_ref().expect("a socket");
        let endpoint = Endpoint::try_from(format!("unix:{}", path.display())).expect("an address");
        Self { channel: endpoint.connect_lazy() }
    }

    async fn begin_raw(&self, parameters: &str) -> Result<Outcome, Status> {
        let request = BeginRequest { parameters: parameters.to_owned() };
        let answer = AuthorizationServiceClient::new(self.channel.clone()).begin(request).await?;
        Ok(answer.into_inner().outcome.expect("an outcome"))
    }

    #[track_caller]
    fn transaction(outcome: Outcome) -> Transaction {
        match outcome {
            Outcome::Transaction(transaction) => transaction,
            Outcome::Redirect(other) => panic!("{other:?}"),
            Outcome::Refusal(other) => panic!("{other:?}"),
        }
    }

    /// Begins a request of `spa`, with other parameters or more of them.
    async fn begin(&self, more: &[(&str, &str)]) -> Transaction {
        Self::transaction(self.begin_raw(&query(more)).await.expect("an answer"))
    }

    async fn approve(&self, request: ApproveRequest) -> Result<Url, Status> {
        let answer = AuthorizationServiceClient::new(self.channel.clone()).approve(request).await?;
        Ok(answer.into_inner().redirect_to.parse().expect("a URL"))
    }

    async fn deny(&self, handle: &str, reason: DenyReason) -> Result<Url, Status> {
        let request = DenyRequest { transaction: handle.to_owned(), reason: reason.into() };
        let answer = AuthorizationServiceClient::new(self.channel.clone()).deny(request).await?;
        Ok(answer.into_inner().redirect_to.parse().expect("a URL"))
    }

    fn people(&self) -> PersonServiceClient<Channel> {
        PersonServiceClient::new(self.channel.clone())
    }
}

/// An authorization request of `spa`.
fn query(more: &[(&str, &str)]) -> String {
    let good = AUTHORIZATION_REQUEST.iter().chain([&("client_id", "spa")]);
    let kept = good.filter(|(name, _)| !more.iter().any(|(replaced, _)| replaced == name));
    let sent = more.iter().filter(|(_, value)| !value.is_empty());
    form_urlencoded::Serializer::new(String::new()).extend_pairs(kept.chain(sent)).finish()
}

/// Ada, who signed in a second ago.
fn ada(world: &World, handle: &str) -> ApproveRequest {
    ApproveRequest {
        transaction: handle.to_owned(),
        subject: "ada".to_owned(),
        auth_time: world.clock.now().seconds() - 1,
        name: Some("Ada L.".to_owned()),
        email: Some("ada@example.com".to_owned()),
        claims: Some(r#"{"given_name":"Ada","email_verified":true}"#.to_owned()),
        ..ApproveRequest::default()
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(each, _)| each == name).map(|(_, value)| value.into_owned())
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, refusal: Refusal) {
    let status = answer.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().starts_with(&format!("{}: ", refusal.name())), "{status:?}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.reason, info.domain), (refusal.name().to_ascii_uppercase(), "tollgate".to_owned()));
}

#[tokio::test]
async fn a_request_is_explained_to_the_login_and_its_code_becomes_tokens() {
    let world = world().await;
    let login = Login::of(&world);
    let more = [
        ("scope", "orders:write orders:read"),
        ("prompt", "login consent"),
        ("max_age", "600"),
        ("login_hint", "<ada>"),
        ("acr_values", "gold silver"),
        ("ui_locales", "de en"),
        ("resource", "https://api.example.com"),
    ];
    let transaction = login.begin(&more).await;
    assert_eq!(transaction.client_id, "spa");
    assert_eq!(transaction.client_name, "Single-page application");
    assert_eq!(transaction.redirect_host, "https://app.example");
    let scopes: Vec<_> = transaction.scopes.iter().map(|one| (one.scope.as_str(), one.description.as_str())).collect();
    assert_eq!(scopes, [("orders:read", "Read your orders"), ("orders:write", "Change your orders")]);
    assert_eq!(transaction.resource, "https://api.example.com");
    assert!(transaction.needs_consent);
    assert_eq!(transaction.prompt, ["login", "consent"]);
    assert_eq!(transaction.max_age, Some(600));
    assert_eq!(transaction.login_hint, "<ada>");
    assert_eq!(transaction.acr_values, ["gold", "silver"]);
    assert_eq!(transaction.ui_locales, ["de", "en"]);
    assert_eq!(transaction.expire_time, world.clock.now().seconds() + 600);

    world.clock.advance(SECOND * 5);
    let approval = ApproveRequest {
        acr: Some("gold".to_owned()),
        scope: Some("orders:write".to_owned()),
        ..ada(&world, &transaction.handle)
    };
    let back = login.approve(approval).await.expect("a redirect");
    assert!(back.as_str().starts_with("https://app.example/cb?code="), "{back}");
    assert_eq!(parameter(&back, "state").as_deref(), Some("s&t=a te"));
    assert_eq!(parameter(&back, "iss").as_deref(), Some(world.issuer.as_str()));
    let code = parameter(&back, "code").expect("a code");
    let client = world.client("spa");
    let tokens = client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    let said = claims(tokens.text("access_token"));
    assert_eq!(said["sub"], "ada");
    assert_eq!(said["scope"], "orders:write");
    assert_eq!(said["auth_time"], world.clock.now().seconds() - 1);
    assert_eq!(said["acr"], "gold");
    client.request(world.clock.now(), &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();

    let log = world.events.text();
    for secret in [&transaction.handle, &code] {
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }
}

#[tokio::test]
async fn what_is_asked_in_detail_is_granted_only_if_the_login_says_so() {
    let world = World::start_with(|settings| {
        elsewhere(settings);
        authorization_details::configure(settings);
    })
    .await;
    let (login, client) = (Login::of(&world), world.client("spa"));
    let asked = r#"[{"type":"payment","actions":["initiate","status"],"amount":1}]"#;
    let begin = async || login.begin(&[("authorization_details", asked)]).await;
    let transaction = begin().await;
    assert_eq!(transaction.details.len(), 1);
    assert_eq!(transaction.details[0].description, "Make a <payment>");
    assert!(transaction.details[0].members.iter().any(|member| (&*member.name, &*member.value) == ("amount", "1")));
    let with = |handle: &str, details: &str| ApproveRequest {
        authorization_details: details.to_owned(),
        ..ada(&world, handle)
    };
    let more = r#"[{"type":"payment","amount":2}]"#;
    for (details, refusal) in [("x", Refusal::DetailsMalformed), (more, Refusal::DetailsNotGranted)] {
        let answer = login.approve(with(&transaction.handle, details)).await;
        assert_refused(answer, Code::InvalidArgument, refusal);
    }
    let granted = async |handle: &str, details: &str| {
        let back = login.approve(with(handle, details)).await.expect("a redirect");
        let code = parameter(&back, "code").expect("a code");
        let tokens = client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
        claims(tokens.text("access_token")).get("authorization_details").cloned()
    };
    assert_eq!(granted(&transaction.handle, "").await, None, "who does not know of details grants none");
    let transaction = begin().await;
    let details = granted(&transaction.handle, &transaction.authorization_details).await.expect("details");
    assert_eq!(details[0]["amount"], 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_goes_where_our_own_endpoint_sends_it() {
    let world = world().await;
    let login = Login::of(&world);
    for (more, refusal) in [
        ([("client_id", "nobody")], Refusal::AuthorizeClientUnknown),
        ([("redirect_uri", "https://evil.example/")], Refusal::RedirectUriUnregistered),
        ([("request", "x")], Refusal::RequestObjectMalformed),
        ([("request_uri", "urn:ietf:params:oauth:request_uri:x")], Refusal::PushedRequestUnknown),
    ] {
        let Ok(Outcome::Refusal(shown)) = login.begin_raw(&query(&more)).await else { panic!("{refusal:?}") };
        assert_eq!((shown.reason.as_str(), shown.error.as_str()), (refusal.name(), refusal.code().name()));
        assert_eq!(shown.error_description, refusal.description());
    }
    for (more, refusal) in [
        ([("response_type", "token")], Refusal::ResponseTypeUnsupported),
        ([("code_challenge", "")], Refusal::ChallengeMissing),
        ([("scope", "admin")], Refusal::ScopeNotAllowed),
        ([("prompt", "none login")], Refusal::PromptUnsupported),
    ] {
        let Ok(Outcome::Redirect(sent)) = login.begin_raw(&query(&more)).await else { panic!("{refusal:?}") };
        assert_eq!(sent.reason, refusal.name());
        let location: Url = sent.location.parse().expect("a URL");
        assert_eq!(parameter(&location, "error").as_deref(), Some(refusal.code().name()));
        assert_eq!(parameter(&location, "iss").as_deref(), Some(world.issuer.as_str()));
    }
    let Ok(Outcome::Refusal(_)) = login.begin_raw("client_id=%ff").await else { panic!("not UTF-8") };
    let huge = login.begin_raw(&"x".repeat(200_000)).await.expect_err("too large");
    assert_eq!(huge.code(), Code::OutOfRange, "{huge:?}");
}

#[tokio::test]
async fn what_is_said_of_a_person_must_be_right() {
    let world = world().await;
    let login = Login::of(&world);
    let handle = login.begin(&[]).await.handle;
    let now = world.clock.now().seconds();
    let good = || ada(&world, &handle);
    let text = |text: &str| Some(text.to_owned());
    let mut reached = BTreeSet::new();
    let subject = |subject: &str| ApproveRequest { subject: subject.to_owned(), ..good() };
    let long = "x".repeat(257);
    let rows = [
        (subject(""), Refusal::SubjectUnusable),
        (subject("ad\u{e4}"), Refusal::SubjectUnusable),
        (subject(&"x".repeat(513)), Refusal::SubjectUnusable),
        (subject("backend"), Refusal::SubjectUnusable),
        (subject("tollgate-activation"), Refusal::SubjectUnusable),
        (ApproveRequest { auth_time: 0, ..good() }, Refusal::AuthTimeWrong),
        (ApproveRequest { auth_time: now + 1, ..good() }, Refusal::AuthTimeWrong),
        (ApproveRequest { auth_time: now * 1_000, ..good() }, Refusal::AuthTimeWrong),
        (ApproveRequest { auth_time: i64::MIN, ..good() }, Refusal::AuthTimeWrong),
        (ApproveRequest { acr: text(""), ..good() }, Refusal::PersonMalformed),
        (ApproveRequest { name: text("a\nb"), ..good() }, Refusal::PersonMalformed),
        (ApproveRequest { email: text(&long), ..good() }, Refusal::PersonMalformed),
        (ApproveRequest { claims: text("[1]"), ..good() }, Refusal::PersonMalformed),
        (
            ApproveRequest { claims: text(&format!("{{\"a\":\"{}\"}}", "x".repeat(8_192))), ..good() },
            Refusal::PersonMalformed,
        ),
        (ApproveRequest { scope: text("orders:read  orders:write"), ..good() }, Refusal::ScopeMalformed),
        (ApproveRequest { scope: text("orders:read orders:write"), ..good() }, Refusal::ScopeNotAllowed),
    ];
    for (request, refusal) in rows {
        assert_refused(login.approve(request).await, Code::InvalidArgument, refusal);
        reached.insert(refusal.name());
    }
    login.people().disable(DisableRequest { subject: "ada".to_owned() }).await.expect("an answer");
    assert_refused(login.approve(good()).await, Code::FailedPrecondition, Refusal::PersonDisabled);
    login.people().enable(EnableRequest { subject: "ada".to_owned() }).await.expect("an answer");
    let unusable = login.people().disable(DisableRequest { subject: "backend".to_owned() }).await;
    assert_refused(unusable, Code::InvalidArgument, Refusal::SubjectUnusable);
    let unusable = login.people().enable(EnableRequest { subject: String::new() }).await;
    assert_refused(unusable, Code::InvalidArgument, Refusal::SubjectUnusable);
    let young = login.begin(&[("max_age", "60")]).await.handle;
    let old = ApproveRequest { auth_time: now - 61, ..ada(&world, &young) };
    assert_refused(login.approve(old).await, Code::FailedPrecondition, Refusal::SignInTooOld);
    reached.extend([Refusal::PersonDisabled.name(), Refusal::SignInTooOld.name()]);
    for refusal in Refusal::OF_EXTERNAL_LOGINS {
        assert!(reached.contains(refusal.name()), "no row reaches {refusal:?}");
    }

    // None of it has spent the transaction.
    let back = login.approve(good()).await.expect("a redirect");
    assert!(parameter(&back, "code").is_some());
}

#[tokio::test]
async fn a_sign_in_is_as_young_as_the_client_demands() {
    let world = world().await;
    let login = Login::of(&world);
    let now = world.clock.now().seconds();
    for (parameter, age, passes) in [
        (("max_age", "60"), 60, true),
        (("max_age", "60"), 61, false),
        (("max_age", "0"), 0, true),
        (("max_age", "0"), 1, false),
        (("prompt", "login"), 0, true),
        (("prompt", "login"), 1, false),
        (("prompt", "consent"), 100_000, true),
        (("prompt", "none"), 100_000, true),
    ] {
        let handle = login.begin(&[parameter]).await.handle;
        let answer = login.approve(ApproveRequest { auth_time: now - age, ..ada(&world, &handle) }).await;
        if passes {
            answer.unwrap_or_else(|status| panic!("{parameter:?} {age}: {status:?}"));
        } else {
            assert_refused(answer, Code::FailedPrecondition, Refusal::SignInTooOld);
        }
    }
    // Who reads the consent page slowly need not sign in again.
    let handle = login.begin(&[("max_age", "60")]).await.handle;
    world.clock.advance(SECOND * 300);
    login.approve(ApproveRequest { auth_time: now - 60, ..ada(&world, &handle) }).await.expect("a redirect");
}

#[tokio::test]
async fn a_transaction_is_answered_once_and_in_time() {
    let world = world().await;
    let login = Login::of(&world);
    let spent = |answer| assert_refused(answer, Code::FailedPrecondition, Refusal::TransactionSpent);
    let unknown = |answer| assert_refused(answer, Code::FailedPrecondition, Refusal::TransactionUnknown);

    let approved = login.begin(&[]).await.handle;
    login.approve(ada(&world, &approved)).await.expect("a redirect");
    spent(login.approve(ada(&world, &approved)).await);
    spent(login.deny(&approved, DenyReason::Unspecified).await);

    for (reason, why) in [
        (DenyReason::Unspecified, Why::Declined),
        (DenyReason::AccessDenied, Why::Declined),
        (DenyReason::LoginRequired, Why::LoginRequired),
        (DenyReason::ConsentRequired, Why::ConsentRequired),
    ] {
        let handle = login.begin(&[]).await.handle;
        let back = login.deny(&handle, reason).await.expect("a redirect");
        let error = match why {
            Why::Declined => "access_denied",
            Why::LoginRequired => "login_required",
            Why::ConsentRequired => "consent_required",
        };
        assert_eq!(parameter(&back, "error").as_deref(), Some(error));
        assert_eq!(parameter(&back, "state").as_deref(), Some("s&t=a te"));
        assert_eq!(parameter(&back, "code"), None);
        spent(login.approve(ada(&world, &handle)).await);
        spent(login.deny(&handle, reason).await);
    }

    let mut altered = login.begin(&[]).await.handle;
    let last = if altered.ends_with('A') { "B" } else { "A" };
    altered.replace_range(altered.len() - 1.., last);
    for garbage in ["", "x", "\u{fc}", altered.as_str(), &"A".repeat(10_000)] {
        unknown(login.approve(ada(&world, garbage)).await);
        unknown(login.deny(garbage, DenyReason::Unspecified).await);
    }
    let late = login.begin(&[]).await.handle;
    world.clock.advance(SECOND * 599);
    let just_in_time = login.begin(&[]).await.handle;
    world.clock.advance(SECOND);
    unknown(login.approve(ada(&world, &late)).await);
    unknown(login.deny(&late, DenyReason::Unspecified).await);
    world.clock.advance(SECOND * 598);
    login.approve(ada(&world, &just_in_time)).await.expect("a redirect");
}

#[tokio::test]
async fn of_many_answers_at_once_one_counts() {
    let world = world().await;
    let login = Arc::new(Login::of(&world));
    let handle = login.begin(&[]).await.handle;
    let barrier = Arc::new(Barrier::new(20));
    let answers: Vec<_> = (0..20)
        .map(|number| {
            let (login, barrier, request) = (Arc::clone(&login), Arc::clone(&barrier), ada(&world, &handle));
            tokio::spawn(async move {
                barrier.wait().await;
                if number % 2 == 0 {
                    login.approve(request).await.is_ok()
                } else {
                    login.deny(&request.transaction, DenyReason::Unspecified).await.is_ok()
                }
            })
        })
        .collect();
    let mut counted = 0;
    for answer in answers {
        counted += u32::from(answer.await.expect("no panic"));
    }
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn a_transaction_of_a_browser_is_none_of_a_login() {
    // A handle outlives a restart; a form of our own pages, made by the same installation before, is no handle.
    let world = World::start().await;
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&format!("/oauth/authorize?{}", query(&[]))).await;
    let sealed = page.field("transaction");
    let world = world.restart_with(crate::world::End::Stopped, elsewhere).await;
    let login = Login::of(&world);
    let answer = login.approve(ada(&world, &sealed)).await;
    assert_refused(answer, Code::FailedPrecondition, Refusal::TransactionUnknown);
    let handle = login.begin(&[]).await.handle;
    let world = world.restart_with(crate::world::End::Killed, elsewhere).await;
    Login::of(&world).approve(ada(&world, &handle)).await.expect("a redirect");
}

#[tokio::test]
async fn browsers_that_come_to_our_endpoint_are_sent_on_and_our_pages_for_signing_in_are_gone() {
    let world = world().await;
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&format!("/oauth/authorize?{}&x=1&x=2", query(&[]))).await;
    assert_eq!(page.header("location"), format!("{LOGIN}&{}&x=1&x=2", query(&[])));
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let page = browser.post("/oauth/authorize?a=b", &[("c", "d e")]).await;
    assert_eq!(page.header("location"), format!("{LOGIN}&a=b&c=d+e"));
    assert_eq!(browser.open("/oauth/authorize?a=%ff").await.status, 400);
    let long = "x".repeat(16_384);
    let too_long = browser.post("/oauth/authorize", &[("a", &long), ("b", &long)]).await;
    assert_eq!(too_long.status, 400, "{too_long:?}");
    for path in ["/login", "/consent", "/logout"] {
        assert_eq!(browser.post(path, &[]).await.status, 404, "{path}");
        assert_eq!(browser.open(path).await.status, 404, "{path}");
    }
    let metadata = browser.open("/.well-known/openid-configuration").await;
    let metadata: serde_json::Value = serde_json::from_str(&metadata.html).expect("JSON");
    assert_eq!(metadata["authorization_endpoint"], LOGIN);
    assert_eq!(metadata["issuer"], world.issuer);
    assert_eq!(metadata.get("end_session_endpoint"), None);
}

#[tokio::test]
async fn the_clients_of_a_person_who_is_stopped_hear_of_it() {
    let documents = Documents::start().await;
    documents.put("/spa", Reply::status(200));
    let url: FetchUrl = documents.url("/spa").parse().expect("a URL");
    let world = World::start_with(|settings| {
        elsewhere(settings);
        for client in &mut settings.clients {
            let to = BackchannelLogout { url: url.clone(), reach: Reach::Anywhere, session_required: false };
            client.openid.backchannel_logout = Some(to).filter(|_| client.id.as_str() == "spa");
        }
    })
    .await;
    let login = Login::of(&world);
    let transaction = login.begin(&[]).await;
    let back = login.approve(ada(&world, &transaction.handle)).await.expect("a redirect");
    let (spa, code) = (world.client("spa"), parameter(&back, "code").expect("a code"));
    spa.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    login.people().disable(DisableRequest { subject: "ada".to_owned() }).await.expect("an answer");
    eventually("a logout token", async {
        while documents.shelf().posted.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (_, body) = documents.shelf().posted[0].clone();
    let said = claims(body.strip_prefix("logout_token=").expect("a logout token"));
    assert_eq!((said["sub"].as_str(), &said["sid"]), (Some("ada"), &serde_json::Value::Null));
    login.people().disable(DisableRequest { subject: "backend".to_owned() }).await.expect_err("no person");
    assert_shape(&world, audit::ADMIN_CALLED);
}

#[tokio::test]
async fn a_person_who_is_stopped_gets_no_tokens() {
    let world = world().await;
    let login = Login::of(&world);
    let client = world.client("spa");
    let code = async || {
        let handle = login.begin(&[]).await.handle;
        let back = login.approve(ada(&world, &handle)).await.expect("a redirect");
        parameter(&back, "code").expect("a code")
    };
    let tokens = client.request(world.clock.now(), &code_request(&code().await)).send().await.expect_tokens();
    let unredeemed = code().await;
    login.people().disable(DisableRequest { subject: "ada".to_owned() }).await.expect("an answer");
    login.people().disable(DisableRequest { subject: "ada".to_owned() }).await.expect("the same again");
    client.request(world.clock.now(), &code_request(&unredeemed)).send().await.expect(400, "invalid_grant");
    let refresh = refresh_request(tokens.text("refresh_token"));
    client.request(world.clock.now(), &refresh).send().await.expect(400, "invalid_grant");
    login.people().enable(EnableRequest { subject: "ada".to_owned() }).await.expect("an answer");
    client.request(world.clock.now(), &refresh).send().await.expect(400, "invalid_grant");
    client.request(world.clock.now(), &code_request(&code().await)).send().await.expect_tokens();
}

/// A browser at the page that asks about a device, after a sign-in elsewhere.
async fn at_the_device(world: &World, login: &Login, browser: &mut Browser, user_code: &str) -> Page {
    let back = signed_in_elsewhere(world, login, browser, user_code).await;
    browser.open(back.strip_prefix(&world.issuer).expect("our callback")).await
}

/// Enters a code and signs ada in elsewhere; gives where the browser goes then.
async fn signed_in_elsewhere(world: &World, login: &Login, browser: &mut Browser, user_code: &str) -> String {
    let page = browser.open("/activate").await;
    assert!(!page.header("content-security-policy").contains("form-action"), "the form leads elsewhere");
    let page = browser.submit(&page, &[("user_code", user_code)]).await;
    let request = page.header("location").strip_prefix(&format!("{LOGIN}&")).expect("the login").to_owned();
    let transaction = Login::transaction(login.begin_raw(&request).await.expect("an answer"));
    assert_eq!(transaction.client_id, "tollgate-activation");
    assert!(!transaction.needs_consent);
    login.approve(ada(world, &transaction.handle)).await.expect("a redirect").to_string()
}

#[tokio::test]
async fn a_device_is_let_in_by_who_signed_in_elsewhere() {
    let world = world().await;
    let login = Login::of(&world);
    let tv = world.client("tv");
    let device = tv.device_request(world.clock.now(), &[]).send().await.expect(200, "");
    let user_code = device.text("user_code");
    let mut browser = Browser::new(&world.issuer);
    let page = at_the_device(&world, &login, &mut browser, user_code).await;
    assert!(page.has("Ada L.") && page.has(user_code), "{page:?}");
    assert!(browser.cookies.contains_key("tollgate_session"));

    // Neither another browser nor this one without the session of its sign-in decides.
    let mut other = Browser::new(&world.issuer);
    other.open("/activate").await;
    assert_eq!(other.submit(&page, &[("decision", "approve")]).await.status, 403);
    let mut without = browser.clone();
    without.cookies.remove("tollgate_session");
    assert_eq!(without.submit(&page, &[("decision", "approve")]).await.status, 400);

    let page = browser.submit(&page, &[("decision", "approve")]).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(!browser.cookies.contains_key("tollgate_session"), "the session was for this decision");
    world.clock.advance(SECOND * 5);
    let tokens = tv.request(world.clock.now(), &poll_request(device.text("device_code"))).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["sub"], "ada");
}

#[tokio::test]
async fn a_sign_in_of_somebody_else_opens_no_activation() {
    let world = world().await;
    let login = Login::of(&world);
    let tv = world.client("tv");
    let device = tv.device_request(world.clock.now(), &[]).send().await.expect(200, "");
    let user_code = device.text("user_code");
    let interrupted = |page: Page| {
        assert_eq!(page.status, 400, "{page:?}");
        assert_eq!(world.events.last("outcome").as_deref(), Some("sign_in_interrupted"));
    };
    // A response to the request of another browser, in which another state and verifier are sealed.
    let (mut eve, mut ada) = (Browser::new(&world.issuer), Browser::new(&world.issuer));
    let of_eve = signed_in_elsewhere(&world, &login, &mut eve, user_code).await;
    let of_ada = signed_in_elsewhere(&world, &login, &mut ada, user_code).await;
    let path = |url: &str| url.strip_prefix(&world.issuer).expect("our callback").to_owned();
    interrupted(ada.open(&path(&of_eve)).await);
    // Her own state, and the code of the other.
    let code = parameter(&of_eve.parse().expect("a URL"), "code").expect("a code");
    let of_ada_again = signed_in_elsewhere(&world, &login, &mut ada, user_code).await;
    let mut mixed: Url = of_ada_again.parse().expect("a URL");
    let state = parameter(&mixed, "state").expect("a state");
    mixed.set_query(None);
    mixed.query_pairs_mut().extend_pairs([("code", code.as_str()), ("state", &state), ("iss", &world.issuer)]);
    interrupted(ada.open(&path(mixed.as_str())).await);
    // What was undone by then.
    interrupted(ada.open(&path(&of_ada)).await);
    // Somebody who was stopped meanwhile.
    let back = signed_in_elsewhere(&world, &login, &mut ada, user_code).await;
    login.people().disable(DisableRequest { subject: "ada".to_owned() }).await.expect("an answer");
    interrupted(ada.open(&path(&back)).await);
    login.people().enable(EnableRequest { subject: "ada".to_owned() }).await.expect("an answer");
    // The page that asks goes out of date with its session.
    let page = at_the_device(&world, &login, &mut ada, user_code).await;
    world.clock.advance(SECOND * 600);
    assert_eq!(ada.submit(&page, &[("decision", "approve")]).await.status, 400);
}

#[tokio::test]
async fn another_account_means_signing_in_again() {
    let world = world().await;
    let login = Login::of(&world);
    let device = world.client("tv").device_request(world.clock.now(), &[]).send().await.expect(200, "");
    let mut browser = Browser::new(&world.issuer);
    let page = at_the_device(&world, &login, &mut browser, device.text("user_code")).await;
    let page = browser.submit(&page, &[("decision", "switch")]).await;
    assert_eq!(page.parameter("prompt").as_deref(), Some("select_account"));
    let request = page.header("location").strip_prefix(&format!("{LOGIN}&")).expect("the login").to_owned();
    let transaction = Login::transaction(login.begin_raw(&request).await.expect("an answer"));
    assert_eq!(transaction.prompt, ["select_account"]);
    assert!(page.header("location").starts_with(LOGIN));
    assert!(!browser.cookies.contains_key("tollgate_session"));
}

/// Fails every call of the store, once it is told to.
#[derive(Default)]
struct Outage(AtomicBool);

#[async_trait]
impl Tap for Outage {
    async fn before(&self, _: &'static str) -> Result<(), Unavailable> {
        if self.0.load(Ordering::SeqCst) { Err(Unavailable::Down) } else { Ok(()) }
    }
}

#[tokio::test]
async fn an_outage_is_unavailable_and_costs_nothing() {
    let outage = Arc::new(Outage::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
    let store = Arc::new(TappedStore { inner: store, tap: Arc::clone(&outage) as Arc<dyn Tap> });
    let world = World::start_on(store, elsewhere).await;
    let login = Login::of(&world);
    let handle = login.begin(&[]).await.handle;
    let pushed = world.client("spa").push(world.clock.now(), &AUTHORIZATION_REQUEST).send().await.expect(201, "");
    let by_reference = format!("client_id=spa&request_uri={}", pushed.text("request_uri"));
    outage.0.store(true, Ordering::SeqCst);
    let subject = || "ada".to_owned();
    let down = |code: Option<Code>| assert_eq!(code, Some(Code::Unavailable));
    down(login.begin_raw(&by_reference).await.err().map(|status| status.code()));
    down(login.approve(ada(&world, &handle)).await.err().map(|status| status.code()));
    down(login.deny(&handle, DenyReason::Unspecified).await.err().map(|status| status.code()));
    down(login.people().disable(DisableRequest { subject: subject() }).await.err().map(|status| status.code()));
    down(login.people().enable(EnableRequest { subject: subject() }).await.err().map(|status| status.code()));
    outage.0.store(false, Ordering::SeqCst);
    login.approve(ada(&world, &handle)).await.expect("a redirect");
    // A pushed request is answered once, however often it is begun.
    let transactions = [login.begin_raw(&by_reference).await, login.begin_raw(&by_reference).await];
    let [first, second] = transactions.map(|outcome| Login::transaction(outcome.expect("an answer")).handle);
    login.deny(&first, DenyReason::Unspecified).await.expect("a redirect");
    let again = login.approve(ada(&world, &second)).await;
    assert_refused(again, Code::FailedPrecondition, Refusal::TransactionSpent);
    let Ok(Outcome::Refusal(used)) = login.begin_raw(&by_reference).await else { panic!("it was used") };
    assert_eq!(used.reason, Refusal::PushedRequestUnknown.name());
}

#[tokio::test]
async fn the_socket_is_its_owners_and_says_what_there_is_to_call() {
    let world = world().await;
    let path = world.addresses.admin_api.clone().expect("a socket");
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let login = Login::of(&world);
    for service in ["", "tollgate.admin.v1.AuthorizationService", "tollgate.admin.v1.PersonService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(login.channel.clone()).check(request).await.expect("an answer").into_inner();
        assert_eq!(answer.status, ServingStatus::Serving as i32, "{service}");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(login.channel.clone());
    let asked = reflection.server_reflection_info(tokio_stream::once(request)).await.expect("a stream");
    let answer = asked.into_inner().message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: BTreeSet<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["tollgate.admin.v1.AuthorizationService", "tollgate.admin.v1.PersonService"] {
        assert!(names.contains(name), "{names:?}");
    }
    drop((reflection, login));
    world.restart_with(crate::world::End::Stopped, |_| {}).await;
    assert!(!path.exists(), "the socket was left behind");
}

/// The example of such an endpoint, as a process.
struct Example {
    _child: Child,
    origin: String,
}

impl Example {
    async fn start(installation: &Installation) -> (Self, Process) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = repository.join("examples/external-login/node_modules/.package-lock.json");
        assert!(modules.exists(), "{} is missing: run `make tools`", modules.display());
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let socket = format!("unix:{}", installation.path("admin.sock").display());
        let login = format!("{{\"external\":{{\"authorization_endpoint\":\"{origin}/authorize\"}}}}");
        let login = format!("authorization_server.login={login}");
        let admin = format!("listen.admin.grpc=\"{socket}\"");
        let process = installation.start(&["--set", &login, "--set", &admin]).await;
        let mut child = Command::new("node")
            .arg(repository.join("examples/external-login/login.mjs"))
            .env("ADMIN_SOCKET", &socket)
            .env("PORT", port.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = eventually("the example", said.next_line()).await.expect("a line");
        assert_eq!(ready, Some(format!("ready: {origin}/authorize")));
        (Self { _child: child, origin }, process)
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.origin)
    }

    /// Where an address of this endpoint leads.
    #[track_caller]
    fn path(&self, page: &Page) -> String {
        page.header("location").strip_prefix(&self.origin).unwrap_or_else(|| panic!("{page:?}")).to_owned()
    }
}

#[tokio::test]
async fn the_example_signs_people_and_devices_in() {
    let installation = Installation::new();
    let (example, process) = Example::start(&installation).await;
    let (mut ours, mut theirs) = (Browser::new(&installation.issuer), example.browser());

    // From our endpoint to the example, and to a token at ours.
    let page = ours.open(&format!("/oauth/authorize?{}", query(&[("login_hint", "<b>")]))).await;
    let page = theirs.open(&example.path(&page)).await;
    assert!(page.has("Single-page application"), "{page:?}");
    assert_eq!(page.field("username"), "<b>");
    let page = theirs.submit(&page, &[("username", "ada"), ("password", "bob")]).await;
    assert_eq!(page.status, 403);
    let mut stranger = example.browser();
    assert_eq!(stranger.submit(&page, &[("username", "ada"), ("password", "ada")]).await.status, 403);
    let page = theirs.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
    assert!(page.has("Read your orders") && page.has("https://app.example"), "{page:?}");
    let back = theirs.submit(&page, &[("decision", "approve")]).await;
    let code = back.code();
    let client = installation.client("spa");
    let tokens = client.request(SystemClock.now(), &code_request(&code)).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["sub"], "u-1");
    assert_eq!(theirs.submit(&page, &[("decision", "approve")]).await.status, 403, "once");

    // Signed in already: declined, nobody to be asked, and again for who must sign in.
    let path = |more: &[(&str, &str)]| format!("/authorize?{}", query(more));
    let page = theirs.open(&path(&[])).await;
    let back = theirs.submit(&page, &[("decision", "deny")]).await;
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
    let back = theirs.open(&path(&[("prompt", "none")])).await;
    assert_eq!(back.parameter("error").as_deref(), Some("consent_required"));
    let back = example.browser().open(&path(&[("prompt", "none")])).await;
    assert_eq!(back.parameter("error").as_deref(), Some("login_required"));
    assert!(theirs.open(&path(&[("prompt", "login")])).await.has("name=\"password\""));
    assert_eq!(theirs.open(&path(&[("client_id", "nobody")])).await.status, 400);
    assert_eq!(theirs.open(&path(&[("scope", "admin")])).await.parameter("error").as_deref(), Some("invalid_scope"));

    // A device: from our page to the example and back.
    let tv = installation.client("tv");
    let device = tv.device_request(SystemClock.now(), &[]).send().await.expect(200, "");
    let page = ours.open("/activate").await;
    let page = ours.submit(&page, &[("user_code", device.text("user_code"))]).await;
    let page = theirs.open(&example.path(&page)).await;
    let callback = page.header("location").strip_prefix(&installation.issuer).expect("our callback").to_owned();
    let page = ours.open(&callback).await;
    assert!(page.has("Ada Lovelace") && page.has(device.text("user_code")), "{page:?}");
    let page = ours.submit(&page, &[("decision", "approve")]).await;
    assert_eq!(page.status, 200, "{page:?}");
    let call = tv.request(SystemClock.now(), &poll_request(device.text("device_code")));
    assert_eq!(claims(call.send().await.expect_tokens().text("access_token"))["sub"], "u-1");

    // Without Tollgate the example says so.
    process.signal("TERM").await;
    process.ended().await;
    assert_eq!(theirs.open(&path(&[])).await.status, 503);
}
