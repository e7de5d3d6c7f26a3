//! Every name as a page in Markdown, for people who read before something is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::rows::{self, Row};
use super::{Answer, answers};

/// What stands above the lists.
const INTRODUCTION: &str = "\
# Errors

Clients get an error code of an RFC. Which rule was broken stands under its name in Tollgate's log (`refusal`), in Envoy's
access log (`reason`) and in [metrics](metrics.md). `tollgate explain NAME` prints what is here about a name, and
`tollgate explain CODE` the names behind a code. This page is written by `tollgate explain --list --format markdown`.
";

/// The sections, each with its rows.
const SECTIONS: [(&str, &[Row]); 4] = [
    ("At the authorization server", rows::AT_THE_AUTHORIZATION_SERVER),
    ("DPoP proofs, at the authorization server and at the gate", rows::OF_PROOFS),
    ("At the gate", rows::AT_THE_GATE),
    ("At the admin API, for your own login", rows::AT_THE_ADMIN_API),
];

/// Writes the page: the codes, each with its names, then the names, each with cause, fix, rule and answers.
pub(super) fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## By error code\n\n| code | names |\n|---|---|\n");
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for answer in answers().filter(|answer| !answer.error.is_empty()) {
        let of_code = names.entry(answer.error).or_default();
        if !of_code.contains(&answer.name) {
            of_code.push(answer.name);
        }
    }
    for (code, names) in names {
        let links: Vec<_> = names.iter().map(|name| format!("[{name}](#{name})")).collect();
        let _ = writeln!(page, "| `{code}` | {} |", links.join(", "));
    }
    for (title, rows) in SECTIONS {
        let _ = write!(page, "\n## {title}\n");
        for row in rows {
            entry(&mut page, row);
        }
    }
    page
}

/// Writes what there is to say about one row.
fn entry(page: &mut String, row: &Row) {
    let of_row: Vec<_> = answers().filter(|answer| is_explained_by(*answer, row)).collect();
    let Some(first) = of_row.first() else { return };
    let Row { name, rule, cause, fix } = row;
    let _ = write!(page, "\n### {name}\n\n\"{}\" ({rule})\n\n- Cause: {cause}\n- Fix: {fix}\n", first.text);
    for answer in &of_row {
        let _ = writeln!(page, "- Answer: {}", answer.line());
    }
}

fn is_explained_by(answer: Answer, row: &Row) -> bool {
    answer.name == row.name
        && answer.door.row(answer.name).is_some_and(|own| own.cause == row.cause && own.fix == row.fix)
}
