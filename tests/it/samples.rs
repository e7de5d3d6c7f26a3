//! One in so many requests that pass is in the log at `info`, so that it shows what good traffic looks like.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tollgate::app::{App, Seams};
use tollgate::clock::Clock;
use tollgate::config::{Config, Document, Mistakes};

use crate::check::{Ask, Proxy};
use crate::gate::{Gate, Holder};
use crate::provider::Provider;
use crate::world::{Events, TestClock};

/// What was said about requests that passed.
fn passed(events: &Events) -> Vec<BTreeMap<String, String>> {
    let said = events.of("tollgate::grpc::check").into_iter();
    said.filter(|event| event["message"] == "request allowed").collect()
}

/// At which levels that was.
fn levels(events: &Events) -> Vec<String> {
    passed(events).into_iter().map(|event| event["level"].clone()).collect()
}

#[tokio::test]
async fn a_sample_says_what_every_request_that_passes_says_and_denials_do_not_count() {
    let (events, _listening) = Events::listen();
    let gate = Gate::start().await;
    gate.service.replace(&gate.service.clone().sampled(NonZeroU32::new(3)));
    let mut proxy = Proxy::to(&gate).await;
    let ada = Holder::new("tv");
    for _ in 0..7 {
        assert_eq!(proxy.check(Ask::good(&gate, &ada).raw(&gate, &ada)).await.reason(), "allowed");
        assert_eq!(proxy.ask("api.example.com", "/orders/7", &[]).await.status, 401);
    }
    assert_eq!(levels(&events), ["info", "debug", "debug", "info", "debug", "debug", "info"]);
    let (sample, other) = (&passed(&events)[0], &passed(&events)[1]);
    assert!(sample.keys().eq(other.keys()), "{sample:?} {other:?}");
    for field in ["rpc", "outcome", "resource", "rule", "client.id"] {
        assert_eq!(sample[field], other[field]);
    }
    assert_eq!((&*sample["outcome"], &*sample["client.id"]), ("allowed", "tv"));
}

/// A gate to what is for anyone, which logs so.
fn configuration(issuer: &str, log: &str) -> Result<Config, Mistakes> {
    let text = format!(
        r#"
listen: {{ admin: {{ address: "127.0.0.1:0" }}, ext_authz: [ {{ address: "127.0.0.1:0" }} ] }}
log: {log}
issuers: [ {{ issuer: "{issuer}" }} ]
protected_resources:
  - resource: https://api.example.com
    authorization_servers: ["{issuer}"]
    rules: [ {{ path: /public/**, allow: anyone }} ]
"#
    );
    Document::parse("tollgate.yaml", &text, Path::new(".")).and_then(Document::check)
}

#[tokio::test]
async fn the_number_is_in_force_with_the_file_that_says_it() {
    let (events, _listening) = Events::listen();
    let clock = Arc::new(TestClock::default());
    let acme = Provider::start(clock.now()).await;
    let config =
        |log: &str| configuration(&acme.issuer, log).unwrap_or_else(|mistakes| panic!("{}", mistakes.to_text()));
    let seams = Seams { clock: clock.clone(), ..Seams::default() };
    let app = App::start(config("{ allowed: 2 }"), seams).await.expect("a start");
    let (gate, reloader) = (app.addresses().expect("addresses").gate[0], app.reloader());
    let mut life = JoinSet::new();
    life.spawn(async move { app.run(std::future::pending()).await.expect("it serves") });
    let mut proxy = Proxy::at(gate).await;
    for (log, expected) in [
        (None, ["info", "debug", "info"]),
        (Some("{ filter: info }"), ["debug", "debug", "debug"]),
        (Some("{ allowed: 1 }"), ["info", "info", "info"]),
        (Some("{ allowed: 1000000 }"), ["info", "debug", "debug"]),
    ] {
        if let Some(log) = log {
            reloader.reload(config(log)).await.expect("it is put in force");
        }
        let before = passed(&events).len();
        for _ in 0..3 {
            assert_eq!(proxy.ask("api.example.com", "/public/prices", &[]).await.status, 200);
        }
        assert_eq!(levels(&events)[before..], expected, "{log:?}");
    }
}

#[test]
fn none_in_all_and_fewer_than_one_in_a_million_are_mistakes() {
    for number in ["0", "1000001"] {
        let mistakes =
            configuration("https://login.example.com", &format!("{{ allowed: {number} }}")).expect_err(number);
        let said = mistakes.to_text();
        assert!(said.contains("`log.allowed` must be from 1 to 1000000"), "{said}");
    }
}
