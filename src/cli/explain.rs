//! `tollgate explain`: what a name in a log, a metric or Envoy's metadata means, and what to do about it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tonic::Code;

use crate::authz::{ChallengeError, Denial};
use crate::dpop::ProofFault;
use crate::grpc::admin;
use crate::oauth::Refusal;

mod page;
mod request;
mod rows;

use request::OfRequest;
use rows::Row;

/// What to explain.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The name, as it stands in a log line, in Envoy's metadata or in what `tollgate curl` prints; or an error code
    #[arg(required_unless_present_any = ["list", "request"])]
    name: Option<String>,
    /// List every name with its answer
    #[arg(long, conflicts_with = "name")]
    list: bool,
    /// In which form to list them
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "list")]
    format: Format,
    #[command(flatten)]
    request: OfRequest,
}

/// The form of the list.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A line for each answer
    Text,
    /// A page with causes and fixes
    Markdown,
}

impl Explain {
    /// Prints the explanation, or names that are near. Exit code 2 for a name that nobody uses.
    pub(super) fn run(self) -> ExitCode {
        if let Some(code) = self.request.run() {
            return code;
        }
        let Some(name) = self.name else {
            if matches!(self.format, Format::Markdown) {
                print!("{}", page::markdown());
                return ExitCode::SUCCESS;
            }
            for answer in answers() {
                println!("{:<32} {:<20} {} {}", answer.name, answer.door.name(), answer.status, answer.error);
            }
            return ExitCode::SUCCESS;
        };
        let text = explanation(&name).or_else(|| list_of(&name));
        let Some(text) = text else {
            eprintln!("`{name}` is not a name that tollgate uses; `tollgate explain --list` prints all of them");
            let near: BTreeSet<_> = answers().map(|answer| answer.name).filter(|known| is_near(&name, known)).collect();
            for name in near {
                eprintln!("  did you mean `{name}`?");
            }
            return ExitCode::from(2);
        };
        print!("{text}");
        ExitCode::SUCCESS
    }
}

/// Who gives an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Door {
    AuthorizationServer,
    AdminApi,
    Gate,
}

impl Door {
    const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationServer => "authorization server",
            Self::AdminApi => "admin API",
            Self::Gate => "gate",
        }
    }

    /// The row that explains a name at this door.
    fn row(self, name: &str) -> Option<&'static Row> {
        let own = match self {
            Self::AuthorizationServer => rows::AT_THE_AUTHORIZATION_SERVER,
            Self::AdminApi => rows::AT_THE_ADMIN_API,
            Self::Gate => rows::AT_THE_GATE,
        };
        own.iter().chain(rows::OF_PROOFS).find(|row| row.name == name)
    }
}

/// What a door answers when a rule is broken.
#[derive(Clone, Copy, Debug)]
struct Answer {
    door: Door,
    name: &'static str,
    status: u16,
    error: &'static str,
    text: &'static str,
}

impl Answer {
    /// Status, error code and door.
    fn line(self) -> String {
        if self.name == "allowed" {
            return "that of the protected service: the gate let the request pass".to_owned();
        }
        let error = if self.error.is_empty() { "without an error code" } else { self.error };
        format!("{} {error} from the {}", self.status, self.door.name())
    }
}

/// Every answer of every door.
fn answers() -> impl Iterator<Item = Answer> {
    let proofs = ProofFault::ALL.into_iter().map(Refusal::Proof);
    let external = |refusal: &Refusal| Refusal::OF_EXTERNAL_LOGINS.contains(refusal);
    let refused = Refusal::ALL.iter().copied().filter(move |refusal| !external(refusal)).chain(proofs);
    let refused = refused.map(|refusal| Answer {
        door: Door::AuthorizationServer,
        name: refusal.name(),
        status: refusal.code().status(),
        error: refusal.code().name(),
        text: refusal.description(),
    });
    let of_external_logins = Refusal::OF_EXTERNAL_LOGINS.into_iter().map(|refusal| {
        let (status, error) = match admin::code(refusal) {
            Code::FailedPrecondition => (9, "FAILED_PRECONDITION"),
            _ => (3, "INVALID_ARGUMENT"),
        };
        Answer { door: Door::AdminApi, name: refusal.name(), status, error, text: refusal.description() }
    });
    let denied = Denial::all().map(|denial| Answer {
        door: Door::Gate,
        name: denial.name(),
        status: denial.status(),
        error: denial.error().map_or("", ChallengeError::as_str),
        text: denial.description(),
    });
    let unavailable = Answer {
        door: Door::Gate,
        name: "unavailable",
        status: 503,
        error: "temporarily_unavailable",
        text: "the request cannot be checked at the moment",
    };
    let allowed = Answer { door: Door::Gate, name: "allowed", status: 200, error: "", text: "every rule was kept" };
    refused.chain(of_external_logins).chain(denied).chain([unavailable, allowed])
}

/// The name behind a text that a server answered with, if only one has that text.
pub(super) fn name_of(error: &str, text: &str) -> Option<&'static str> {
    let mut names: Vec<_> =
        answers().filter(|answer| answer.error == error && answer.text == text).map(|answer| answer.name).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [name] => Some(name),
        [] | [_, _, ..] => None,
    }
}

/// Explains a name at each door that uses it.
fn explanation(name: &str) -> Option<String> {
    let mut paragraphs: Vec<(String, &Row)> = Vec::new();
    for answer in answers().filter(|answer| answer.name == name) {
        let row = answer.door.row(name)?;
        let line = format!("  answer  {}\n", answer.line());
        match paragraphs.last_mut() {
            Some((paragraph, before)) if std::ptr::eq(*before, row) => paragraph.push_str(&line),
            Some(_) | None => {
                let Row { rule, cause, fix, .. } = row;
                let text = answer.text;
                let head = format!("{name}: {text}\n\n  cause   {cause}\n  fix     {fix}\n  rule    {rule}\n");
                paragraphs.push((head + &line, row));
            }
        }
    }
    let paragraphs: Vec<_> = paragraphs.into_iter().map(|(paragraph, _)| paragraph).collect();
    if paragraphs.is_empty() { None } else { Some(paragraphs.join("\n")) }
}

/// Lists the names behind an error code.
fn list_of(error: &str) -> Option<String> {
    let lines: Vec<_> = answers()
        .filter(|answer| answer.error == error)
        .map(|answer| format!("  {:<32} {}\n", answer.name, answer.text))
        .collect();
    let heading = format!("`{error}` is answered for several reasons; the log and Envoy's metadata name the one:\n");
    if lines.is_empty() { None } else { Some(heading + &lines.concat()) }
}

/// Whether somebody who typed `typed` could have meant `name`: one holds the other, or they share most words.
fn is_near(typed: &str, name: &str) -> bool {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let shared = typed.split('_').filter(|word| name.split('_').any(|other| other == *word)).count();
    (typed.len() >= 4 && name.contains(&typed)) || typed.contains(name) || shared >= 2
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_explained() {
        for answer in answers() {
            assert!(answer.door.row(answer.name).is_some(), "`{}` has no row", answer.name);
            let text = explanation(answer.name).expect("a row");
            assert!(text.contains(answer.text) && text.contains(answer.error), "{text}");
        }
    }

    #[test]
    fn every_row_explains_a_name() {
        let names: HashSet<_> = answers().map(|answer| answer.name).collect();
        for row in rows::AT_THE_AUTHORIZATION_SERVER.iter().chain(rows::OF_PROOFS).chain(rows::AT_THE_GATE) {
            assert!(names.contains(row.name), "`{}` is no name", row.name);
            for text in [row.rule, row.cause, row.fix] {
                assert!(!text.is_empty() && !text.contains('\n'), "{}", row.name);
            }
        }
    }

    #[test]
    fn a_text_that_several_rules_share_names_none_of_them() {
        let replayed = ProofFault::Replayed;
        assert_eq!(name_of("invalid_dpop_proof", replayed.description()), Some(replayed.name()));
        assert_eq!(name_of("invalid_grant", Refusal::CodeReplayed.description()), None);
    }
}
