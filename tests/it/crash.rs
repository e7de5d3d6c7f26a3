//! `kill -9` in the middle of a thousand redemptions and refreshes: nothing is spent twice, nothing acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::entropy::{Entropy, SystemEntropy};
use tollgate::secret::RefreshToken;
use tollgate::store::{
    CodeRecord, Grant, GrantHandle, GrantOrigin, Limits, Redeemed, RefreshState, SenderConstraint, SqliteStore,
    Store as _,
};
use tollgate::token::{AuthorizationDetails, RequestedClaims};

use crate::client::{Client, code_request, refresh_request};
use crate::process::{Installation, eventually};
use crate::world::record_code;

/// So many codes, and so many grants to refresh.
const EACH: usize = 500;

/// All of them are of one person at one client, which is more than is usual.
const ROOM: [&str; 2] = ["--set", "store.sqlite.limits.grants_per_person=1000"];

/// Connections; each carries up to a hundred requests at once.
const CONNECTIONS: usize = 10;

/// What a client holds, and what it was given for it by the life that was killed.
struct Held {
    kind: Kind,
    value: String,
    given: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Code,
    RefreshToken,
}

impl Held {
    /// The request that redeems or refreshes.
    fn parameters(&self) -> Vec<(&'static str, &str)> {
        match self.kind {
            Kind::Code => code_request(&self.value).to_vec(),
            Kind::RefreshToken => refresh_request(&self.value).to_vec(),
        }
    }
}

/// Puts codes, and grants of the client's key, into the store of an installation before its first start.
async fn prepare(installation: &Installation, client: &Client) -> Vec<Held> {
    let limits = Limits { grants_per_person: 1_000, ..Limits::default() };
    let store = SqliteStore::open(&installation.database(), limits).expect("a store");
    let (store, key) = (Arc::new(store), client.key.public().thumbprint());
    let mut tasks = JoinSet::new();
    for _ in 0..EACH {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let code = record_code(&*store, SystemClock.now(), "spa", None).await;
            Held { kind: Kind::Code, value: code, given: None }
        });
    }
    for _ in 0..EACH {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let now = SystemClock.now();
            let code = record_code(&*store, now, "spa", None).await;
            let code = code.parse::<tollgate::secret::AuthorizationCode>().expect("a code").digest();
            let record = store.code(code).await.expect("a store").expect("the code");
            let (token, grant) = grant(&record, SenderConstraint::DpopKey(key));
            assert_eq!(store.redeem_code(code, &grant, now).await, Ok(Redeemed::First));
            Held { kind: Kind::RefreshToken, value: token.reveal(), given: None }
        });
    }
    tasks.join_all().await
}

pub fn grant(code: &CodeRecord, sender_constraint: SenderConstraint) -> (RefreshToken, Grant) {
    let entropy: &dyn Entropy = &SystemEntropy;
    let (handle, tag_key) = (entropy.draw(), entropy.draw());
    let token = RefreshToken::first(handle, &tag_key, entropy);
    let (now, hour) = (SystemClock.now(), Duration::from_hours(1));
    let grant = Grant {
        handle: GrantHandle(handle),
        client_id: code.client_id.clone(),
        subject: code.subject.clone(),
        scopes: code.scopes.clone(),
        resource: code.resource.clone(),
        details: AuthorizationDetails::default(),
        claims: RequestedClaims::default(),
        session: None,
        origin: GrantOrigin::Browser,
        auth_time: code.auth_time,
        acr: code.acr.clone(),
        sender_constraint,
        refresh: RefreshState { tag_key, current_n: 0, current_hash: token.hash(), previous: None },
        created_at: now,
        used_at: now,
        idle_expires_at: now + hour,
        expires_at: now + hour,
        ended: None,
    };
    (token, grant)
}

/// Connections that carry many requests at once.
fn connections() -> Vec<reqwest::Client> {
    let connection = || reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    (0..CONNECTIONS).map(|_| connection()).collect()
}

/// Sends a token request with a proof that was made for it; `None` if no whole answer came back.
async fn send(http: &reqwest::Client, client: &Client, held: &Held, proof: &str) -> Option<(u16, Value)> {
    let form = held.parameters().into_iter().chain([("client_id", "spa")]).collect::<Vec<_>>();
    let response = http.post(client.token_url()).header("dpop", proof).form(&form).send().await.ok()?;
    let status = response.status().as_u16();
    let body = response.bytes().await.ok()?;
    Some((status, serde_json::from_slice(&body).expect("JSON")))
}

/// Sends everything at once, and kills the process as soon as `enough` requests were answered.
async fn killed_in_the_middle(
    installation: &Installation,
    client: &Arc<Client>,
    all: Vec<Held>,
    enough: usize,
) -> Vec<Held> {
    let process = installation.start(&ROOM).await;
    let connections = connections();
    let (answered, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    for (number, mut held) in all.into_iter().enumerate() {
        let (client, http) = (Arc::clone(client), connections[number % CONNECTIONS].clone());
        let (answered, reached) = (Arc::clone(&answered), Arc::clone(&reached));
        let proof = client.proof(SystemClock.now());
        tasks.spawn(async move {
            if let Some((status, body)) = send(&http, &client, &held, &proof).await {
                assert_eq!(status, 200, "{body}");
                held.given = Some(body["refresh_token"].as_str().expect("a refresh token").to_owned());
                if answered.fetch_add(1, Ordering::SeqCst) + 1 == enough {
                    reached.notify_one();
                }
            }
            held
        });
    }
    eventually("enough answers", reached.notified()).await;
    process.kill().await;
    let all = eventually("the end of all requests", tasks.join_all()).await;
    let given = all.iter().filter(|held| held.given.is_some()).count();
    assert!((enough..all.len()).contains(&given), "{given} of {} were answered: that is not the middle", all.len());
    all
}

/// A client of the next life. Its proofs bear a nonce of that life, or the fence would keep them out for a while.
struct Successor {
    client: Arc<Client>,
    http: reqwest::Client,
    nonce: String,
}

impl Successor {
    async fn meet(client: Arc<Client>) -> Self {
        let http = connections().remove(0);
        let proof = client.proof(SystemClock.now());
        let request = http.post(client.token_url()).header("dpop", proof).form(&refresh_request("tgr_"));
        let response = request.send().await.expect("an answer");
        let nonce = response.headers().get("dpop-nonce").expect("a nonce of the new life");
        let nonce = nonce.to_str().expect("visible ASCII").to_owned();
        Self { client, http, nonce }
    }

    async fn send(&self, held: &Held) -> (u16, Value) {
        let mut claims = self.client.proof_claims(SystemClock.now());
        claims["nonce"] = self.nonce.as_str().into();
        send(&self.http, &self.client, held, &self.client.sign_proof(&claims)).await.expect("an answer")
    }

    /// Refreshes, which must succeed; gives the successor.
    async fn refresh(&self, token: &str) -> String {
        let held = Held { kind: Kind::RefreshToken, value: token.to_owned(), given: None };
        let (status, body) = self.send(&held).await;
        assert_eq!(status, 200, "{body}");
        body["refresh_token"].as_str().expect("a refresh token").to_owned()
    }

    /// A code that was answered is spent, and what it gave is good; one that was not may be redeemed once at most.
    async fn check_code(&self, held: &Held) {
        if let Some(token) = &held.given {
            self.refresh(token).await;
        }
        let mut redeemed = usize::from(held.given.is_some());
        for _ in 0..2 {
            let (status, body) = self.send(held).await;
            match status {
                200 => redeemed += 1,
                _ => assert_eq!((status, &body["error"]), (400, &"invalid_grant".into())),
            }
        }
        assert!(redeemed <= 1, "a code was redeemed {redeemed} times");
    }

    /// A refresh token still gives what it gave, and that is good; one that was not answered gives something.
    async fn check_refresh_token(&self, held: &Held) {
        let successor = self.refresh(&held.value).await;
        if let Some(given) = &held.given {
            assert_eq!(successor, *given);
        }
        self.refresh(&successor).await;
    }
}

async fn nothing_is_spent_twice_and_nothing_is_lost(enough: usize) {
    let installation = Installation::new();
    let client = Arc::new(installation.client("spa"));
    let all = prepare(&installation, &client).await;
    let all = killed_in_the_middle(&installation, &client, all, enough).await;

    let process = installation.start(&ROOM).await;
    let successor = Arc::new(Successor::meet(client).await);
    let mut checks = JoinSet::new();
    for held in all {
        let successor = Arc::clone(&successor);
        checks.spawn(async move {
            match held.kind {
                Kind::Code => successor.check_code(&held).await,
                Kind::RefreshToken => successor.check_refresh_token(&held).await,
            }
        });
    }
    eventually("the end of all checks", checks.join_all()).await;
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_early_it_spends_nothing_twice_and_loses_nothing() {
    nothing_is_spent_twice_and_nothing_is_lost(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_it_spends_nothing_twice_and_loses_nothing() {
    nothing_is_spent_twice_and_nothing_is_lost(450).await;
}
