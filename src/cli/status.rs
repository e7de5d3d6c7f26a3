//! `tollgate status`: what an instance is and has in force.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, Url};
use serde_json::Value;

use super::client::{Certificates, Transport};
use super::{Output, span};
use crate::clock::Timestamp;

/// How long an instance has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where to ask, and how to report.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The status page of the admin listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090/status")]
    url: Url,
    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Status {
    /// Prints what the instance says: exit code 0 if it is ready and has what its files say in force, else 1.
    pub(super) async fn run(self) -> ExitCode {
        let status = match self.fetch().await {
            Ok(status) => status,
            Err(why) => {
                eprintln!("no status: {why}");
                return ExitCode::FAILURE;
            }
        };
        match self.output {
            Output::Text => print!("{}", in_words(&status)),
            Output::Json => println!("{status:#}"),
        }
        let as_written = status["configuration"]["refused"].is_null();
        let ready = status["missing"].as_array().is_some_and(Vec::is_empty);
        if ready && as_written { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn fetch(&self) -> Result<Value, String> {
        let request = Transport::new(Certificates::Check).request(Method::GET, &self.url).timeout(PATIENCE);
        let reply = Transport::fetch(request, &self.url).await.map_err(|error| error.to_string())?;
        if !reply.status.is_success() {
            return Err(reply.status.to_string());
        }
        serde_json::from_slice(&reply.body).map_err(|_| "the answer is none".to_owned())
    }
}

/// A status for people: one line a fact.
fn in_words(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let ago = |at: &Value| {
        let [now, at] = [&status["now"], at].map(|time| time.as_i64().map(Timestamp::from_seconds));
        now.zip(at).map_or_else(|| "?".to_owned(), |(now, at)| format!("{} ago", span(now.since(at))))
    };
    let missing: Vec<_> = status["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let ready = if missing.is_empty() { "yes".to_owned() } else { format!("no: {}", missing.join(", ")) };
    let mut lines = vec![format!("version        {}", text(&status["version"])), format!("ready          {ready}")];
    let configuration = &status["configuration"];
    if configuration.is_object() {
        let (hash, since) = (text(&configuration["hash"]), ago(&configuration["in_force_since"]));
        let reloads = configuration["reloads"].as_u64().unwrap_or_default();
        lines.push(format!("configuration  {hash}, in force since {since}, {reloads} reloads"));
        let refused = &configuration["refused"];
        if refused.is_object() {
            lines.push(format!("refused        {}: {}", ago(&refused["at"]), text(&refused["why"])));
        }
    }
    for issuer in status["issuers"].as_array().into_iter().flatten() {
        let fetched = if issuer["fetched_at"].is_null() { "never".to_owned() } else { ago(&issuer["fetched_at"]) };
        let failing = if issuer["failing"] == true { ", and not since" } else { "" };
        lines.push(format!("keys of        {}: fetched {fetched}{failing}", text(&issuer["issuer"])));
    }
    lines.push(String::new()); // the last line ends, too
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit_and_never_guessed() {
        let now = 1_760_000_000_i64;
        for (at, said) in [
            (json!(now), "0 s ago"),
            (json!(now + 5), "0 s ago"),
            (json!(now - 119), "119 s ago"),
            (json!(now - 120), "2 min ago"),
            (json!(now - 7_199), "119 min ago"),
            (json!(now - 7_200), "2 h ago"),
            (json!(now - 172_799), "47 h ago"),
            (json!(now - 172_800), "2 days ago"),
            (json!(0), "20370 days ago"),
            (json!("yesterday"), "?"),
            (Value::Null, "?"),
        ] {
            let configuration = json!({ "hash": "ab", "in_force_since": at, "reloads": 2 });
            let words = in_words(&json!({ "now": now, "configuration": configuration, "missing": [] }));
            assert!(words.contains(&format!("in force since {said}, 2 reloads\n")), "{at}: {words}");
        }
        let old = json!({ "configuration": { "hash": "ab", "in_force_since": now, "reloads": 2 }, "missing": [] });
        assert!(in_words(&old).contains("in force since ?, "), "nobody knows what time it is there");
    }
}
