//! The documents against the code: what they say holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tollgate::{
    authz, cache, certificate, config, dpop, fetch, grpc, issuers, oauth, replay, store, telemetry, token, web,
};

const README: &str = include_str!("../../README.md");

/// The rows of the table below a heading, each a list of cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let section = README.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().expect("there is always a first part");
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

/// `Choice:` and `Deviation:` comments of a file, each with its first sentence.
fn marks(root: &Path, path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).expect("a source file");
    let lines: Vec<_> = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '#']).trim()).collect();
    let place = format!("`{}`", path.strip_prefix(root).expect("below the root").display());
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        for mark in ["Choice", "Deviation"] {
            let Some(rest) = line.strip_prefix(mark).and_then(|rest| rest.strip_prefix(": ")) else { continue };
            let following = lines[number + 1..].iter().take_while(|line| !line.is_empty());
            let comment: Vec<_> = std::iter::once(rest).chain(following.copied()).collect();
            let comment = comment.join(" ");
            let sentence = comment.split_inclusive(". ").next().unwrap_or_default().trim_end_matches(['.', ' ']);
            found.push(vec![mark.to_lowercase(), place.clone(), sentence.to_owned()]);
        }
    }
    found
}

fn sources(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            None if path.is_dir() => found.extend(sources(&path)),
            Some("rs" | "yaml") => found.push(path),
            None | Some(_) => {}
        }
    }
    found
}

#[test]
fn the_readme_lists_every_choice_and_deviation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "envoy"].iter().flat_map(|directory| sources(&root.join(directory)));
    let in_code: BTreeSet<_> = files.flat_map(|path| marks(root, &path)).collect();
    let in_readme: BTreeSet<_> = table("Choices").into_iter().collect();
    let row = |cells: &Vec<String>| format!("| {} |\n", cells.join(" | "));
    let missing: String = in_code.difference(&in_readme).map(row).collect();
    let stale: String = in_readme.difference(&in_code).map(row).collect();
    assert!(missing.is_empty() && stale.is_empty(), "README.md, Choices: add\n{missing}and take out\n{stale}");
}

#[test]
fn the_readme_names_the_limits_that_hold() {
    let (doors, kept, rates) = (web::Limits::default(), store::Limits::default(), oauth::RateLimits::default());
    let settable = |number: u64| format!("{}, settable", grouped(number));
    let expected = [
        ("configuration file", size(config::FILE_LIMIT)),
        ("head of a request to the authorization server", size(doors.head as u64)),
        ("body of a request to the authorization server", size(doors.body as u64)),
        ("connections to the authorization server at once", grouped(doors.connections as u64)),
        ("DPoP proof", size(dpop::PROOF_LIMIT as u64)),
        ("condition of a rule", size(authz::CONDITION_LIMIT as u64)),
        ("header of the gate's with one claim", size(authz::VALUE_LIMIT as u64)),
        ("header of the gate's with many claims", size(authz::CLAIMS_LIMIT as u64)),
        ("access token", size(token::TOKEN_LIMIT as u64)),
        ("certificate of a client", size(certificate::CERTIFICATE_LIMIT as u64)),
        ("key set that a client publishes", size(cache::ClientKeySets::SIZE as u64)),
        ("key sets of clients that are kept at hand", grouped(cache::ClientKeySets::CAPACITY)),
        ("document at the `client_id` of a client", size(oauth::DOCUMENT_LIMIT as u64)),
        ("documents of clients that are kept at hand", grouped(cache::KnownClientDocuments::CAPACITY)),
        ("remembered proofs", settable(replay::DEFAULT_ENTRIES as u64)),
        ("checks that wait to be written to a Redis", grouped(replay::REDIS_WAITING as u64)),
        ("log that waits for its reader", size(telemetry::WAITING_LIMIT as u64)),
        ("watchers of events", grouped(grpc::WATCHERS as u64)),
        ("events that wait for each of them", grouped(telemetry::FEED_LIMIT as u64)),
        ("live authorization codes", settable(kept.codes)),
        ("live grants", settable(kept.grants)),
        ("live grants of one person at one client", settable(kept.grants_per_person)),
        ("devices that wait for a person", settable(kept.devices)),
        ("pushed authorization requests", settable(kept.pushed_requests)),
        ("pushed authorization requests of one client that wait", settable(kept.pushed_requests_per_client)),
        ("clients that have registered themselves", settable(kept.clients)),
        ("live sessions", settable(kept.sessions)),
        ("key set, or metadata, of another issuer", size(fetch::FetchLimits::default().size as u64)),
        ("keys in a set", grouped(issuers::KEYS_LIMIT as u64)),
        ("requests at once that wait for newer keys of one issuer", grouped(issuers::WAITING_FOR_KEYS as u64)),
        ("answers that are kept of each introspection endpoint", grouped(issuers::ANSWERS_KEPT)),
        ("questions at once to each introspection endpoint", grouped(issuers::QUESTIONS as u64)),
        ("questions a second for nothing to each introspection endpoint", grouped(issuers::IN_VAIN.into())),
        ("looks a second for opaque access tokens that are none", grouped(issuers::IN_VAIN_STORE.into())),
        ("clients at which sessions have signed people in", settable(kept.session_clients)),
        ("grants that a page shows a person", grouped(oauth::GRANTS_SHOWN.into())),
        ("logo", size(web::Logo::LIMIT)),
        ("remembered people", settable(kept.people)),
        ("remembered client assertions", settable(kept.assertions)),
        ("revoked access tokens that have no grant", settable(kept.revocations)),
        ("opaque access tokens", settable(kept.access_tokens)),
        (
            "places in status lists, each free again when its token or grant is over",
            grouped(token::StatusIndex::COUNT.into()),
        ),
        ("status lists that are kept of each other issuer", grouped(issuers::LISTS_KEPT)),
        ("status list", size(token::STATUS_LIST_LIMITS.0 as u64)),
        ("status list, unpacked", size(token::STATUS_LIST_LIMITS.1 as u64)),
        ("requests at once that wait for a status list to change", grouped(store::NEWS_WAITERS as u64)),
        ("of these, requests from one address", settable(store::NEWS_WAITERS_PER_ADDRESS as u64)),
        ("requests a second of one client", settable(rates.client.into())),
        ("requests a second from one address", settable(rates.address.into())),
        ("wrong secrets a minute for one client from one address", settable(rates.wrong_secrets.into())),
    ];
    let expected: Vec<_> = expected.map(|(what, most)| vec![what.to_owned(), most]).into();
    assert_eq!(table("Limits"), expected);
}

#[test]
fn links_of_the_readme_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        let file = link.split_once('#').map_or(link, |(file, _)| file);
        assert!(root.join(file).is_file(), "{link}");
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1024 * 1024) => format!("{} MiB", bytes / 1024 / 1024),
        bytes if bytes.is_multiple_of(1024) => format!("{} KiB", bytes / 1024),
        bytes => format!("{bytes} bytes"),
    }
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
