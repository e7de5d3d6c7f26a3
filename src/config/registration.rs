//! Judges what clients may have that are not written down: `authorization_server.registration` and
//! `client_id_metadata_documents`.

use std::time::Duration;

use super::authorization_server::KnownScopes;
use super::check::Judge;
use super::file::{AuthorizationServerFile, GrantTypeWord, RegistrationFile};
use super::given::{Given, Parsed};
use super::mistake::{Mistake, Place};
use super::named_file;
use crate::fetch::{FetchUrl, Reach};
use crate::oauth::client::GrantType;
use crate::oauth::{ClientIdDocuments, ClientPolicy, Profile, Registration, RegistrationAccess};
use crate::scope::Scopes;

/// How long a client is kept that nobody has let in.
const UNUSED: Duration = Duration::from_hours(7 * 24);

/// The longest that may be set.
const UNUSED_LIMIT: Duration = Duration::from_hours(365 * 24);

/// What such clients must fit.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// The scopes that exist.
    pub(super) known: &'a KnownScopes,
    /// The rules of the server.
    pub(super) profile: Profile,
    /// Which addresses may be asked for what they keep elsewhere.
    pub(super) reach: Reach,
}

/// Judges `registration`. `None` if it is not there, or if there are mistakes.
pub(super) fn registration(
    judge: &mut Judge<'_>,
    server: &AuthorizationServerFile,
    bounds: Bounds<'_>,
) -> Option<Registration> {
    let given = server.registration.as_ref()?;
    let access = access(judge, given);
    let is_open = matches!(access, Some(RegistrationAccess::Open));
    let grant_types = grant_types(judge, given, is_open);
    let scopes = scopes(judge, (&given.place, given.value.scope.as_ref()), bounds.known);
    let unused = judge.duration(given.value.forget_unused.as_ref(), UNUSED, Some(UNUSED_LIMIT));
    let Bounds { profile, reach, .. } = bounds;
    let policy = ClientPolicy { grant_types, scopes: scopes?, profile, reach };
    Some(Registration { access: access?, policy, unused })
}

/// Judges `client_id_metadata_documents`. `None` if it is not there, or if there are mistakes.
pub(super) fn documents(
    judge: &mut Judge<'_>,
    server: &AuthorizationServerFile,
    bounds: Bounds<'_>,
) -> Option<ClientIdDocuments> {
    let given = server.client_id_metadata_documents.as_ref()?;
    let scopes = scopes(judge, (&given.place, given.value.scope.as_ref()), bounds.known);
    let hosts = given.value.hosts.as_ref().map(|hosts| {
        if hosts.value.is_empty() && hosts.place.gaps.is_empty() {
            let mistake = Mistake::about(&hosts.place, "is empty: there could be no such client");
            judge.report(mistake.help("name hosts, or leave it out for any"));
        }
        judge.once(hosts.value.iter().map(|host| (&host.value, &host.place)), "is given twice");
        for host in &hosts.value {
            let url: Option<FetchUrl> = format!("https://{}/", host.value).parse().ok();
            if url.is_none_or(|url| url.host() != host.value) {
                let mistake =
                    Mistake::about(&host.place, "must be the name of a host, in lower case and without a port");
                judge.report(mistake.help("such as `app.example.com`"));
            }
        }
        hosts.value.iter().map(|host| host.value.clone()).collect()
    });
    let Bounds { profile, reach, .. } = bounds;
    let grant_types = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
    Some(ClientIdDocuments { policy: ClientPolicy { grant_types, scopes: scopes?, profile, reach }, hosts })
}

/// Who may register clients: exactly one of the three settings says so.
fn access(judge: &mut Judge<'_>, given: &Given<RegistrationFile>) -> Option<RegistrationAccess> {
    let file = &given.value;
    let (path, hash, open) = (&file.initial_access_token_file, &file.initial_access_token_hash, &file.open);
    let open = open.as_ref().filter(|open| open.value);
    let places = [path.as_ref().map(|one| &one.place), hash.as_ref().map(|one| &one.place), open.map(|one| &one.place)];
    let mut places = places.into_iter().flatten();
    let lost =
        ["initial_access_token_file", "initial_access_token_hash", "open"].iter().any(|key| given.place.lost(key));
    match (places.next(), places.next()) {
        (Some(_), Some(second)) => {
            let mistake = Mistake::about(second, "is a second word about who may register clients");
            judge.report(mistake.help("give an initial access token, or say `open: true`"));
            None
        }
        (None, _) => {
            if !lost {
                let mistake = Mistake::about(&given.place, "does not say who may register clients");
                judge.report(mistake.help(
                    "add `initial_access_token_file` with the path of a file that holds a token, or say `open: true` for everybody",
                ));
            }
            None
        }
        (Some(_), None) => match (path, hash) {
            (Some(path), _) => named_file::client_secret(judge, path).map(RegistrationAccess::Token),
            (None, Some(hash)) => Some(RegistrationAccess::Token(hash.value.0.0.clone())),
            (None, None) => Some(RegistrationAccess::Open),
        },
    }
}

fn grant_types(judge: &mut Judge<'_>, registration: &Given<RegistrationFile>, is_open: bool) -> Vec<GrantType> {
    let Some(given) = &registration.value.grant_types else {
        return vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
    };
    if given.value.is_empty() && given.place.gaps.is_empty() {
        judge.report(Mistake::about(&given.place, "is empty: clients could do nothing"));
    }
    judge.once(given.value.iter().map(|word| (word.value.grant(), &word.place)), "is given twice");
    for word in &given.value {
        let grant = word.value.grant();
        let name = grant.name();
        match word.value {
            GrantTypeWord::TokenExchange => {
                let mistake = Mistake::about(&word.place, format!("cannot be `{name}`"));
                judge.report(mistake.help("who may act for others is written down, in `clients`"));
            }
            // Nobody would have looked at them: neither an operator nor, for the first, a person.
            GrantTypeWord::ClientCredentials | GrantTypeWord::DeviceCode if is_open => {
                let mistake = Mistake::about(&word.place, format!("cannot be `{name}` where everybody may register"));
                judge.report(mistake.help("take it out, or ask for an initial access token instead of `open: true`"));
            }
            GrantTypeWord::ClientCredentials
            | GrantTypeWord::DeviceCode
            | GrantTypeWord::AuthorizationCode
            | GrantTypeWord::RefreshToken => {}
        }
    }
    given.value.iter().map(|word| word.value.grant()).collect()
}

/// What clients may ask for. It must be said: a client of a stranger asks people for whatever it may.
fn scopes(
    judge: &mut Judge<'_>,
    (place, given): (&Place, Option<&Given<Parsed<Scopes>>>),
    known: &KnownScopes,
) -> Option<Scopes> {
    let scope = judge.required(place, "scope", given)?;
    known.check(judge, &scope.place, &scope.value.0);
    Some(scope.value.0.clone())
}
