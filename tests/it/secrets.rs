//! The secrets that nonces, forms and cookies are made under: they take turns with the signing keys. Nobody notices, unless it
//! is an emergency.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::secret::{base64url, sha256};

use crate::browser::Browser;
use crate::client::{AUTHORIZATION_REQUEST, Answer, CLIENT_CREDENTIALS, Client};
use crate::process::{Installation, PASSWORD, Process, eventually, program, run};
use crate::proxy::{Proxy, Verdict};
use crate::replicas::{Replicas, new_installation, rotate, signer};

/// A process whose next keys sign a second after they are announced, and whose gate asks for nonces.
struct Serving {
    installation: Installation,
    client: Client,
    gate: Proxy,
    _process: Process,
}

/// Has the next keys of an installation sign so long after they are announced, and its gate ask for nonces.
fn hasten(installation: &Installation, announce: &str) {
    let path = installation.path("tollgate.yaml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let changed =
        text.replace("encryption_key_file: kek", &format!("encryption_key_file: kek, announce: {announce}")).replace(
            "  - resource: https://api.example.com\n",
            "  - resource: https://api.example.com\n    nonce: required\n",
        );
    assert_eq!(changed.lines().count(), text.lines().count() + 1);
    std::fs::write(&path, changed).expect("a file");
}

/// What a client is answered whose proof has this nonce.
async fn with_nonce(client: &Client, nonce: &str) -> Answer {
    let mut claims = client.proof_claims(SystemClock.now());
    claims["nonce"] = nonce.into();
    client.request(SystemClock.now(), &CLIENT_CREDENTIALS).proof(&client.sign_proof(&claims)).send().await
}

/// A new nonce: whoever comes with something else is given one.
async fn nonce(client: &Client) -> String {
    let refused = with_nonce(client, "none").await.expect(400, "use_dpop_nonce");
    refused.header("dpop-nonce").expect("a nonce").to_owned()
}

/// What a gate says to a token whose proof has this nonce.
async fn shown(gate: &mut Proxy, client: &Client, token: &str, nonce: &str) -> Verdict {
    let ath = base64url(&sha256(token.as_bytes()));
    let (url, now) = ("https://api.example.com/orders/7", SystemClock.now().seconds());
    let claims = json!({ "jti": client.fresh(), "htm": "GET", "htu": url, "iat": now, "ath": ath, "nonce": nonce });
    gate.get("/orders/7", Some(token), Some(&client.sign_proof(&claims))).await
}

/// Waits until this key signs.
async fn until_signs(client: &Client, kid: &str) {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    eventually("a token by the next key", async {
        while signer(token(client).await.text("access_token")) != kid {
            ticks.tick().await;
        }
    })
    .await;
}

async fn token(client: &Client) -> Answer {
    let nonce = nonce(client).await;
    with_nonce(client, &nonce).await.expect_tokens()
}

/// Where a browser begins to sign in to `spa`.
fn sign_in_path() -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", "spa").extend_pairs(AUTHORIZATION_REQUEST);
    format!("/oauth/authorize?{}", query.finish())
}

impl Serving {
    async fn start() -> Self {
        let installation = Installation::new();
        hasten(&installation, "1s");
        let process = installation.start(&[]).await;
        let (client, gate) = (installation.client("backend"), Proxy::over_socket(&installation.socket()).await);
        Self { installation, client, gate, _process: process }
    }

    async fn rotate(&self, more: &[&str]) -> String {
        let (next, _) = rotate(&self.installation, more).await;
        until_signs(&self.client, &next).await;
        next
    }

    /// Nonces of both doors.
    async fn nonces(&mut self) -> [String; 2] {
        let token = token(&self.client).await;
        let refused = shown(&mut self.gate, &self.client, token.text("access_token"), "none").await;
        assert_eq!(refused.status, 401, "{refused:?}");
        [nonce(&self.client).await, refused.header("dpop-nonce").expect("a nonce").to_owned()]
    }

    /// Whether each of the doors takes its nonce; if not, it says so, and gives another one that it takes.
    async fn takes(&mut self, [of_server, of_gate]: &[String; 2]) -> [bool; 2] {
        let answer = with_nonce(&self.client, of_server).await;
        let by_server = answer.status == 200;
        if !by_server {
            let refused = answer.expect(400, "use_dpop_nonce");
            with_nonce(&self.client, refused.header("dpop-nonce").expect("a nonce")).await.expect_tokens();
        }
        let token = token(&self.client).await;
        let token = token.text("access_token");
        let verdict = shown(&mut self.gate, &self.client, token, of_gate).await;
        let by_gate = verdict.status == 200;
        if !by_gate {
            assert!(verdict.header("www-authenticate").is_some_and(|it| it.contains("use_dpop_nonce")), "{verdict:?}");
            let next = verdict.header("dpop-nonce").expect("a nonce");
            assert_eq!(shown(&mut self.gate, &self.client, token, next).await.status, 200);
        }
        [by_server, by_gate]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_count_as_long_as_the_key_of_their_time_is_published() {
    let mut serving = Serving::start().await;
    let first = signer(token(&serving.client).await.text("access_token"));
    let before = serving.nonces().await;
    serving.rotate(&[]).await;
    let after = serving.nonces().await;
    assert_eq!([serving.takes(&before).await, serving.takes(&after).await], [[true; 2]; 2]);

    // With one key its nonces go, and no others.
    let mut drop_first = program();
    drop_first.args(["keys", "drop", &first, "--config"]).arg(serving.installation.with_its_store());
    assert!(run(&mut drop_first).await.status.success());
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    eventually("the end of the first nonces", async {
        while serving.takes(&before).await != [false; 2] {
            ticks.tick().await;
        }
    })
    .await;
    assert_eq!(serving.takes(&after).await, [true; 2]);

    serving.rotate(&["--now"]).await;
    assert_eq!(serving.takes(&after).await, [false; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_middle_of_signing_in_notices_no_rotation_but_an_emergency() {
    let serving = Serving::start().await;
    let [mut app, mut account] = [(); 2].map(|()| Browser::new(&serving.installation.issuer));
    let sign_in = app.open(&sign_in_path()).await;
    let to_sign_in = account.open("/account").await;
    assert_eq!(to_sign_in.status, 303, "{to_sign_in:?}");

    serving.rotate(&[]).await;
    let ada = [("username", "ada"), ("password", PASSWORD)];
    let consent = app.submit(&sign_in, &ada).await;
    assert!(consent.has("value=\"approve\""), "{consent:?}");
    let page = account.follow(to_sign_in).await;
    let page = account.submit(&page, &ada).await;
    let page = account.follow(page).await;
    assert!(page.status == 200 && page.has("sign_out_everywhere"), "{page:?}");

    // In an emergency what was begun is over, and can be begun again.
    serving.rotate(&["--now"]).await;
    let refused = app.submit(&consent, &[("decision", "approve")]).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(account.submit(&page, &[("decision", "sign_out_everywhere")]).await.status, 403);
    let approved = app.approve(&sign_in_path(), "ada", PASSWORD).await;
    assert!(!approved.code().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_take_what_the_others_make_while_keys_change() {
    let installation = new_installation().await;
    hasten(&installation, "3s");
    tell_the_service(&installation);
    let replicas = Replicas::start_on(installation).await;
    let clients = replicas.client("backend");
    let mut gates = Vec::new();
    for port in &replicas.ports {
        gates.push(Proxy::over_socket(&replicas.installation.path(&format!("authz-{port}.sock"))).await);
    }
    let mut told_under = BTreeSet::new();
    let mut browser = Browser::new(&replicas.installation.issuer);
    let through = replicas.ports.iter().map(|port| {
        let balancer = reqwest::Proxy::all(format!("http://127.0.0.1:{port}")).expect("a URL");
        let client = reqwest::Client::builder().proxy(balancer).redirect(reqwest::redirect::Policy::none());
        client.build().expect("a client")
    });
    let through: Vec<_> = through.collect();
    let (next, _) = rotate(&replicas.installation, &[]).await;
    let mut signed = [0; 2];
    eventually("tokens by the next key at both", async {
        while signed[1] < 4 {
            for (giver, taker) in [(0, 1), (1, 0)] {
                let given = nonce(&clients[giver]).await;
                let answer = with_nonce(&clients[taker], &given).await.expect_tokens();
                signed[usize::from(signer(answer.text("access_token")) == next)] += 1;

                // What the service is told at one was signed with a key that it could have had from the other before.
                let known = upstream_keys(&mut gates[taker]).await;
                let told = told_upstream(&mut gates[giver], &clients[giver], answer.text("access_token"));
                let told = Box::pin(told).await;
                assert!(known.contains(&signer(&told)), "{} is not in {known:?}", signer(&told));
                told_under.insert(signer(&told));

                browser.cookies.clear();
                browser.http = through[giver].clone();
                let sign_in = browser.open(&sign_in_path()).await;
                browser.http = through[taker].clone();
                let consent = browser.submit(&sign_in, &[("username", "ada"), ("password", PASSWORD)]).await;
                browser.http = through[giver].clone();
                let approved = browser.submit(&consent, &[("decision", "approve")]).await;
                assert!(!approved.code().is_empty());
            }
        }
    })
    .await;
    assert!(signed[0] > 0, "the next key was announced first");
    assert_eq!(told_under.len(), 2, "{told_under:?}");
}

/// Has the service of an installation be told by tokens of the gate's own who calls.
fn tell_the_service(installation: &Installation) {
    let path = installation.path("tollgate.yaml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let resource = "  - resource: https://api.example.com\n";
    let told = format!("{resource}    upstream: {{ authorization: internal_jwt }}\n");
    assert!(text.contains(resource) && !text.contains("upstream:"));
    std::fs::write(&path, text.replace(resource, &told)).expect("a file");
}

/// The names of the keys that a gate publishes for its service.
async fn upstream_keys(gate: &mut Proxy) -> BTreeSet<String> {
    let answer = gate.get("/.well-known/tollgate/jwks.json", None, None).await;
    let set: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    let keys = set["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("a name").to_owned()).collect()
}

/// What the service behind a gate is told by a request with this token.
async fn told_upstream(gate: &mut Proxy, client: &Client, token: &str) -> String {
    let refused = shown(gate, client, token, "none").await;
    let nonce = refused.header("dpop-nonce").unwrap_or_else(|| panic!("{refused:?}"));
    let verdict = shown(gate, client, token, nonce).await;
    let told = verdict.header("authorization").and_then(|told| told.strip_prefix("Bearer "));
    told.unwrap_or_else(|| panic!("{verdict:?}")).to_owned()
}

/// A gate without a store, whose nonces are made under the keys in a file.
async fn gate_with(installation: &Installation, keys: &str) -> (Process, Proxy) {
    let socket = installation.path(&format!("{}.sock", crate::gate::fresh_id()));
    let file = installation.path(&format!("{}.yaml", crate::gate::fresh_id()));
    let text = format!(
        r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "unix:{}" }} ] }}
shutdown: {{ delay: 0s }}
replay: {{ local: {{ replicas: each_takes_a_proof_once }} }}
nonce_keys_file: {keys}
protected_resources:
  - resource: https://api.example.com
    authorization_servers: ["{}"]
    nonce: required
    rules: [ {{ path: "/orders/**", scope: "orders:read" }} ]
"#,
        socket.display(),
        installation.issuer,
    );
    std::fs::write(&file, text).expect("a file");
    let mut serve = program();
    serve.args(["serve", "--config"]).arg(file);
    (Process::start(serve).await, Proxy::over_socket(&socket).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_that_share_keys_take_the_nonces_of_the_others() {
    const OLD: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    const NEW: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
    let installation = Installation::new();
    let _issuer = installation.start(&[]).await;
    let client = installation.client("backend");
    let token = token(&client).await.text("access_token").to_owned();
    let write = |name: &str, lines: &[&str]| std::fs::write(installation.path(name), lines.join("\n")).expect("a file");
    write("shared-keys", &[OLD]);
    write("next-keys", &[NEW]);
    let (_one, mut one) = gate_with(&installation, "shared-keys").await;
    let (_other, mut other) = gate_with(&installation, "shared-keys").await;
    let (_next, mut next) = gate_with(&installation, "next-keys").await;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));

    // A gate gives nonces once it knows the issuer's keys.
    for gate in [&mut one, &mut other, &mut next] {
        eventually("the keys of the issuer are known", async {
            while shown(gate, &client, &token, "none").await.status != 401 {
                ticks.tick().await;
            }
        })
        .await;
    }
    let given = async |gate: &mut Proxy| {
        let refused = shown(gate, &client, &token, "none").await;
        refused.header("dpop-nonce").unwrap_or_else(|| panic!("{refused:?}")).to_owned()
    };
    let first = given(&mut one).await;
    assert_eq!(shown(&mut other, &client, &token, &first).await.status, 200);
    assert_eq!(shown(&mut next, &client, &token, &first).await.status, 401);

    // Another first line makes new nonces, and the old ones count until their line is gone.
    write("shared-keys", &[NEW, OLD]);
    eventually("nonces are made under the new key", async {
        loop {
            let nonce = given(&mut one).await;
            if shown(&mut next, &client, &token, &nonce).await.status == 200 {
                break;
            }
            ticks.tick().await;
        }
    })
    .await;
    assert_eq!(shown(&mut one, &client, &token, &first).await.status, 200);
    write("shared-keys", &[NEW]);
    eventually("the end of the old nonces", async {
        while shown(&mut one, &client, &token, &first).await.status == 200 {
            ticks.tick().await;
        }
    })
    .await;
}
