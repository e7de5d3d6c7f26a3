//! `GET /metrics`: what is counted while people, clients and proxies do what they do, and whether the documents, the
//! dashboard and the alerts speak of metrics that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::process::Command;
use tollgate::clock::{Clock as _, SystemClock};
use tollgate::store::{Limits, MemoryStore, Store, Unavailable};
use tollgate::telemetry::{CountedStore, Metrics, MetricsFormat};

use crate::browser::Browser;
use crate::check;
use crate::client::{AUTHORIZATION_REQUEST, CLIENT_CREDENTIALS, answer, code_request, http, refresh_request};
use crate::interop::{installed, repository};
use crate::manifests::succeeded;
use crate::process::{Installation, run};
use crate::proxy::Proxy;
use crate::tap::{Tap, TappedStore};
use crate::world::World;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the metrics of a world say.
async fn scrape(world: &World, accept: &str) -> (String, String) {
    let url = format!("http://{}/metrics", world.addresses.admin);
    let response = http().get(url).header("accept", accept).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"].to_str().expect("visible ASCII").to_owned();
    (content_type, response.text().await.expect("a body"))
}

/// Every sample by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        (series.to_owned(), value.parse().expect("a number"))
    };
    samples.map(sample).collect()
}

/// What a series has gained.
struct Gain(BTreeMap<String, f64>, BTreeMap<String, f64>);

impl Gain {
    #[track_caller]
    fn expect(&self, series: &str, by: f64) {
        let now = self.1.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.1));
        let gained = now - self.0.get(series).copied().unwrap_or_default();
        assert!((gained - by).abs() < f64::EPSILON, "{series} gained {gained}");
    }
}

#[tokio::test]
async fn what_happens_is_counted() {
    let world = World::start().await;
    let before = samples(&scrape(&world, OPENMETRICS).await.1);
    let now = world.clock.now();

    let (spa, backend) = (world.client("spa"), world.client("backend"));
    let code = world.code(&spa).await;
    let tokens = spa.request(now, &code_request(&code)).send().await.expect_tokens();
    spa.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();
    backend.bare_request(&CLIENT_CREDENTIALS).send().await.expect(401, "invalid_client");
    backend.about("/oauth/revoke", "x", now).send().await.expect(200, "");

    let request = AUTHORIZATION_REQUEST.iter().chain(&[("client_id", "spa")]);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(request).finish();
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&format!("/oauth/authorize?{query}")).await;
    let page = browser.submit(&page, &[("username", "ada"), ("password", "wrong")]).await;
    browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;

    let mut proxy = Proxy::over_tcp(world.addresses.gate[0]).await;
    let token = tokens.text("access_token");
    let url = "https://api.example.com/orders/7";
    let proof = spa.resource_proof("GET", url, token, now);
    for status in [200, 401] {
        assert_eq!(proxy.get("/orders/7", Some(token), Some(&proof)).await.status, status);
    }
    assert_eq!(proxy.get("/orders/7", None, None).await.status, 401);

    // The code comes again, which ends the grant, and the token with it.
    spa.request(now, &code_request(&code)).send().await.expect(400, "invalid_grant");

    let gain = Gain(before, samples(&scrape(&world, OPENMETRICS).await.1));
    let token_requests = |labels: &str| format!("tollgate_token_requests_total{{{labels}}}");
    gain.expect(&token_requests("grant=\"authorization_code\",outcome=\"answered\",error=\"\""), 1.0);
    gain.expect(&token_requests("grant=\"authorization_code\",outcome=\"refused\",error=\"invalid_grant\""), 1.0);
    gain.expect(&token_requests("grant=\"refresh_token\",outcome=\"answered\",error=\"\""), 1.0);
    gain.expect(&token_requests("grant=\"client_credentials\",outcome=\"refused\",error=\"invalid_client\""), 1.0);
    gain.expect("tollgate_token_request_duration_seconds_count", 4.0);
    gain.expect("tollgate_refreshes_total{outcome=\"rotated\"}", 1.0);
    gain.expect("tollgate_requests_total{endpoint=\"token\",outcome=\"answered\"}", 2.0);
    gain.expect("tollgate_requests_total{endpoint=\"revocation\",outcome=\"answered\"}", 1.0);
    gain.expect("tollgate_requests_total{endpoint=\"login\",outcome=\"answered\"}", 2.0);
    gain.expect("tollgate_refusals_total{endpoint=\"token\",refusal=\"code_replayed\"}", 1.0);
    gain.expect("tollgate_sign_ins_total{outcome=\"failed\"}", 1.0);
    gain.expect("tollgate_sign_ins_total{outcome=\"signed_in\"}", 1.0);
    let checks = |outcome, denial| {
        format!(
            "tollgate_checks_total{{resource=\"https://api.example.com\",outcome=\"{outcome}\",denial=\"{denial}\"}}"
        )
    };
    gain.expect(&checks("allowed", ""), 1.0);
    gain.expect(&checks("denied", "proof_replayed"), 1.0);
    gain.expect(&checks("denied", "credentials_missing"), 1.0);
    gain.expect("tollgate_check_duration_seconds_count{outcome=\"denied\"}", 2.0);
    gain.expect("tollgate_dpop_proof_age_seconds_count", 2.0);
    gain.expect("tollgate_dpop_proof_age_seconds_bucket{le=\"0.0\"}", 2.0);
    gain.expect("tollgate_token_cache_lookups_total{outcome=\"miss\"}", 1.0);
    gain.expect("tollgate_token_cache_lookups_total{outcome=\"hit\"}", 1.0);
    gain.expect("tollgate_replay_checks_total{outcome=\"replayed\"}", 1.0);
    gain.expect("tollgate_replay_entries", 4.0);
    let one = |series: &str| (gain.1[series] - 1.0).abs() < f64::EPSILON;
    assert!(one("tollgate_signing_keys{state=\"signing\"}"));
    assert!(one(&format!("tollgate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))));
    world.clock.advance(Duration::from_secs(100));
    Gain(gain.1, samples(&scrape(&world, OPENMETRICS).await.1)).expect("tollgate_secret_age_seconds", 100.0);
}

/// What becomes of calls of `rotate`; all others are left alone.
#[derive(Clone, Copy)]
enum Rotations {
    Go,
    Fail(Unavailable),
    Hang,
}

struct Turnstile(Mutex<Rotations>);

impl Turnstile {
    /// A store in memory behind a new one.
    fn before_a_store() -> (Arc<Self>, Arc<dyn Store>) {
        let turnstile = Arc::new(Self(Mutex::new(Rotations::Go)));
        let inner = Arc::new(MemoryStore::new(Limits::default()));
        let tap = Arc::clone(&turnstile) as Arc<dyn Tap>;
        (turnstile, Arc::new(TappedStore { inner, tap }))
    }

    fn set(&self, rotations: Rotations) {
        *self.0.lock().expect("no test panics with the lock") = rotations;
    }
}

#[async_trait]
impl Tap for Turnstile {
    async fn before(&self, call: &'static str) -> Result<(), Unavailable> {
        let rotations = *self.0.lock().expect("no test panics with the lock");
        match rotations {
            Rotations::Fail(fault) if call == "rotate" => Err(fault),
            Rotations::Hang => std::future::pending().await,
            Rotations::Go | Rotations::Fail(_) => Ok(()),
        }
    }
}

/// The number of calls of the store by verb and outcome.
fn calls(operation: &str, outcome: &str) -> String {
    format!("tollgate_store_call_duration_seconds_count{{operation=\"{operation}\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn calls_of_the_store_are_counted_by_what_was_asked_and_how_it_ended() {
    let (turnstile, store) = Turnstile::before_a_store();
    let world = World::start_on(store, |_| {}).await;
    let spa = world.client("spa");
    let before = samples(&scrape(&world, OPENMETRICS).await.1);
    assert!(before.contains_key(&calls("last_alive", "answered")), "{before:#?}");
    assert!(!before.keys().any(|series| series.contains("\"rotate\"")), "nobody has asked for it: {before:#?}");

    let code = world.code(&spa).await;
    let tokens = spa.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    let refresh = async || {
        let request = refresh_request(tokens.text("refresh_token"));
        spa.request(world.clock.now(), &request).send().await.status
    };
    for fault in [Unavailable::Down, Unavailable::Down, Unavailable::Full] {
        turnstile.set(Rotations::Fail(fault));
        assert_eq!(refresh().await, 503, "{fault:?}");
    }
    turnstile.set(Rotations::Go);
    assert_eq!(refresh().await, 200);

    let gain = Gain(before, samples(&scrape(&world, OPENMETRICS).await.1));
    gain.expect(&calls("redeem_code", "answered"), 1.0);
    gain.expect(&calls("rotate", "unavailable"), 2.0);
    gain.expect(&calls("rotate", "full"), 1.0);
    gain.expect(&calls("rotate", "answered"), 1.0);
    let all = "tollgate_store_call_duration_seconds_bucket{le=\"+Inf\",operation=\"rotate\",outcome=\"unavailable\"}";
    gain.expect(all, 2.0);
}

#[tokio::test]
async fn a_call_of_the_store_that_nobody_waits_for_is_counted_too() {
    let (turnstile, store) = Turnstile::before_a_store();
    turnstile.set(Rotations::Hang);
    let metrics = Metrics::new();
    let store = CountedStore::new(store, metrics.store.clone());
    let text = || metrics.text(MetricsFormat::OpenMetrics);
    assert!(!text().contains("tollgate_store_call"), "a gate without a store says nothing of one");
    assert!(tokio::time::timeout(Duration::ZERO, store.last_alive()).await.is_err(), "the store hangs");
    Gain(BTreeMap::new(), samples(&text())).expect(&calls("last_alive", "abandoned"), 1.0);
}

#[tokio::test]
async fn what_is_only_observed_is_counted_by_what_would_be() {
    let installation = Installation::new();
    let process = installation.start(&["--set", "protected_resources.0.enforcement=observe"]).await;
    let scrape = async || {
        let request = http().get(format!("http://{}/metrics", process.admin)).header("accept", OPENMETRICS);
        samples(&request.send().await.expect("an answer").text().await.expect("text"))
    };
    let checks = |resource, outcome, denial| {
        format!("tollgate_checks_total{{resource=\"{resource}\",outcome=\"{outcome}\",denial=\"{denial}\"}}")
    };
    let api = "https://api.example.com";
    let before = scrape().await;
    assert!(before.contains_key(&checks(api, "observed", "token_expired")), "each is 0 before it comes");

    let backend = installation.client("backend");
    let tokens = backend.request(SystemClock.now(), &CLIENT_CREDENTIALS).send().await.expect_tokens();
    let token = tokens.text("access_token");
    let proof = backend.resource_proof("GET", &format!("{api}/orders/7"), token, SystemClock.now());
    let (bound, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
    let good = [("authorization", bound.as_str()), ("dpop", proof.as_str())];
    let mut proxy = check::Proxy::over_socket(&installation.socket()).await;
    for (host, headers, status) in [
        ("api.example.com", good.as_slice(), 200),
        ("api.example.com", &good, 200), // the same proof
        ("api.example.com", &[("authorization", bearer.as_str())], 200),
        ("api.example.com", &[], 200),
        ("other.example.com", &[], 403),
    ] {
        assert_eq!(proxy.ask(host, "/orders/7", headers).await.status, status, "{host} {headers:?}");
    }

    let gain = Gain(before, scrape().await);
    gain.expect(&checks(api, "allowed", ""), 1.0);
    for would_be in ["proof_replayed", "bound_token_as_bearer", "credentials_missing"] {
        gain.expect(&checks(api, "observed", would_be), 1.0);
        gain.expect(&checks(api, "denied", would_be), 0.0);
    }
    gain.expect(&checks("", "denied", "host_unknown"), 1.0);
    gain.expect("tollgate_check_duration_seconds_count{outcome=\"allowed\"}", 4.0);
}

#[tokio::test]
async fn metrics_come_in_both_formats_and_other_peoples_parsers_read_them() {
    let world = World::start().await;
    for (accept, expected, parser) in [
        (OPENMETRICS, OPENMETRICS, "openmetrics"),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3", OPENMETRICS, "openmetrics"),
        ("*/*", PROMETHEUS, "prometheus"),
        ("text/plain;version=0.0.4", PROMETHEUS, "prometheus"),
    ] {
        let (content_type, text) = scrape(&world, accept).await;
        assert_eq!(content_type, expected, "{accept}");
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), &text).expect("a file");
        let mut command = Command::new(installed(".tools/python/bin/python"));
        let output = run(command.arg(repository("tests/interop/metrics.py")).arg(parser).arg(file.path())).await;
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("ok "), "{said}{complained}");
    }
    let post = http().post(format!("http://{}/metrics", world.addresses.admin));
    assert_eq!(answer(post).await.status, 405);
}

/// A family of metrics, as `docs/metrics.md` lists it.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Every family by the name that queries use.
async fn families() -> BTreeMap<String, Family> {
    let installation = Installation::new();
    let issuer = "protected_resources.0.authorization_servers=[self, \"http://127.0.0.1:9\"]"; // nobody is there
    let process = installation.start(&["--set", issuer]).await;
    let request = http().get(format!("http://{}/metrics", process.admin)).header("accept", OPENMETRICS);
    let text = request.send().await.expect("an answer").text().await.expect("text");
    // And what only the injector counts.
    let mut injector = Metrics::new();
    let _counters = injector.injections();
    let only = injector.text(MetricsFormat::OpenMetrics);
    let only: Vec<_> = only.lines().filter(|line| line.contains("tollgate_injections")).collect();
    let text = format!("{text}{}\n", only.join("\n"));
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => (*help).clone_into(&mut families.entry((*name).to_owned()).or_default().help),
            ["#", "TYPE", name, kind] => (*kind).clone_into(&mut families.entry((*name).to_owned()).or_default().kind),
            _ => {}
        }
    }
    for series in samples(&text).keys() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = families.iter_mut().filter(|(family, _)| name.starts_with(family.as_str()));
        let (_, family) = family.max_by_key(|(family, _)| family.len()).expect("a family");
        let names = labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
        family.labels.extend(names.filter(|name| name != "le"));
    }
    let queried = |(name, family): (String, Family)| match family.kind.as_str() {
        "counter" => (format!("{name}_total"), family),
        "info" => (format!("{name}_info"), family),
        _ => (name, family),
    };
    families.into_iter().map(queried).collect()
}

#[tokio::test]
async fn every_metric_is_listed_in_the_documents() {
    let families = families().await;
    let row = |(name, family): (&String, &Family)| {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let help = family.help.trim_end_matches('.');
        format!("| `{name}` | {} | {} | {help} |\n", family.kind, labels.join(", "))
    };
    let expected: String = families.iter().map(row).collect();
    let page = fs::read_to_string(repository("docs/metrics.md")).expect("a page");
    assert!(page.contains(&expected), "docs/metrics.md: the table must be\n{expected}");
    let listed = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, families.len(), "docs/metrics.md lists metrics that are none");
}

/// The names of our metrics in an expression, without the suffixes of histograms, and the labels beside each.
fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("tollgate_") {
        let rest = &expression[at..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let labels = rest[end..].strip_prefix('{').and_then(|labels| labels.split('}').next()).unwrap_or_default();
        let labels = labels.split(',').filter_map(|pair| pair.split(['=', '!']).next()).map(str::trim);
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| rest[..end].strip_suffix(suffix));
        found.push((name.unwrap_or(&rest[..end]).to_owned(), labels));
    }
    found
}

/// Every `expr` in a document.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn dashboard_and_alerts_speak_of_metrics_that_exist() {
    let families = families().await;
    let read = |path: &str| fs::read_to_string(repository(path)).expect("a file");
    let dashboard: Value = serde_json::from_str(&read("k8s/chart/observability/dashboard.json")).expect("JSON");
    let rules: Value = serde_saphyr::from_str(&read("k8s/chart/observability/rules.yaml")).expect("YAML");
    for (what, document) in [("dashboard.json", &dashboard), ("rules.yaml", &rules)] {
        let mut found = Vec::new();
        expressions(document, &mut found);
        assert!(found.len() > 5, "{what} has no expressions");
        for expression in found {
            for (name, labels) in named(&expression) {
                let family = families.get(&name).unwrap_or_else(|| panic!("{what}: there is no {name}: {expression}"));
                for label in labels.iter().filter(|label| !["job", "namespace", "instance"].contains(&label.as_str())) {
                    assert!(family.labels.contains(label), "{what}: {name} has no {label}: {expression}");
                }
            }
        }
    }
    let page = read("docs/metrics.md");
    for rule in
        rules["groups"].as_array().expect("groups").iter().filter_map(|group| group["rules"].as_array()).flatten()
    {
        let name = rule["alert"].as_str().expect("a name");
        assert!(rule["annotations"]["summary"].is_string(), "{name} has no summary");
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
        assert!(runbook.ends_with(&format!("docs/metrics.md#{}", name.to_lowercase())), "{name}: {runbook}");
        assert!(page.contains(&format!("\n### {name}\n")), "docs/metrics.md says nothing about {name}");
    }
}

#[tokio::test]
async fn prometheus_takes_the_alerts_and_each_fires_when_it_should() {
    let found = succeeded(&run(&mut Command::new(repository("scripts/install-promtool"))).await);
    let promtool = async |arguments: &[&str]| {
        let mut command = Command::new(found.trim());
        succeeded(&run(command.args(arguments).current_dir(repository("tests/interop"))).await)
    };
    let said = promtool(&["check", "rules", "--lint-fatal", "../../k8s/chart/observability/rules.yaml"]).await;
    assert!(said.contains("12 rules found"), "{said}");
    let said = promtool(&["test", "rules", "rules.test.yaml"]).await;
    assert!(said.contains("SUCCESS"), "{said}");
    let read = |path: &str| fs::read_to_string(repository(path)).expect("a file");
    let rules = read("k8s/chart/observability/rules.yaml");
    for name in rules.split("- alert: ").skip(1).filter_map(|rest| rest.lines().next()) {
        let fires = format!("alertname: {name}\n        exp_alerts:\n");
        assert!(read("tests/interop/rules.test.yaml").contains(&fires), "nothing makes {name} fire");
    }
}
