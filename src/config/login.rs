//! Judges `authorization_server.login`: how people sign in.

use std::sync::Arc;
use std::time::Duration;

use super::Login;
use super::check::Judge;
use super::credential::Credential;
use super::file::{AuthorizationServerFile, ClaimNamesFile, HeaderLoginFile, HeaderWord, LoginFile, OidcLoginFile};
use super::given::{Given, Parsed};
use super::mistake::Mistake;
use super::named_file;
use crate::fetch::FetchLimits;
use crate::identity::{ClaimNames, Network, OidcSettings, ProxyHeaders, UsersFault, users_file_subjects};

/// Judges everything about how people sign in. `None` only if there are mistakes.
pub(super) fn judge(judge: &mut Judge<'_>, file: &LoginFile, server: &Given<AuthorizationServerFile>) -> Option<Login> {
    match file {
        LoginFile::Local(given) => {
            let users_file = judge.required(&given.place, "users_file", given.value.users_file.as_ref())?;
            check_users(judge, users_file, server);
            Some(Login::Local { users_file: judge.file(&users_file.value) })
        }
        LoginFile::Oidc(given) => oidc(judge, given, server),
        LoginFile::Header(given) => header(judge, given).map(Login::Header),
        LoginFile::External(given) => {
            let endpoint = given.value.authorization_endpoint.as_ref();
            judge.required(&given.place, "authorization_endpoint", endpoint).map(|_| Login::External)
        }
    }
}

fn oidc(judge: &mut Judge<'_>, given: &Given<OidcLoginFile>, server: &Given<AuthorizationServerFile>) -> Option<Login> {
    let Given { value: file, place } = given;
    let issuer = judge.required(place, "issuer", file.issuer.as_ref());
    let own = server.value.issuer.as_ref().map(|issuer| issuer.value.0.as_str());
    if let Some(itself) = issuer.filter(|issuer| own == Some(issuer.value.0.as_str())) {
        let mistake = Mistake::about(&itself.place, "is this server itself");
        judge.report(mistake.help("name the provider at which people sign in, or use `login: { local: … }`"));
    }
    let client_id = judge.required(place, "client_id", file.client_id.as_ref());
    let client = Credential {
        method: file.token_endpoint_auth_method.as_ref(),
        secret: file.client_secret_file.as_ref(),
        key: file.client_key_file.as_ref(),
        algorithm: file.token_endpoint_auth_signing_alg.as_ref(),
        place,
    };
    let client = client.judge(judge, "an upstream provider");
    if let Some(scopes) =
        file.scopes.as_ref().filter(|scopes| !scopes.value.0.iter().any(|scope| scope.as_str() == "openid"))
    {
        let mistake = Mistake::about(&scopes.place, "lacks `openid`: the provider would not say who signed in");
        judge.report(mistake.help("add it, as in `scopes: \"openid profile email\"`"));
    }
    let scopes =
        file.scopes.as_ref().map_or_else(|| "openid profile email".to_owned(), |scopes| scopes.value.0.to_string());
    let limits = FetchLimits::default();
    let time = judge.duration(file.timeout.as_ref(), limits.time, Some(Duration::from_secs(30)));
    let settings = OidcSettings {
        claims: claims(judge, file.claims.as_ref()),
        issuer: issuer?.value.0.clone(),
        client_id: client_id?.value.0.clone(),
        client: client?,
        scopes,
    };
    let settings = Arc::new(settings);
    Some(Login::Oidc { settings, limits: FetchLimits { time, ..limits } })
}

fn claims(judge: &mut Judge<'_>, given: Option<&Given<ClaimNamesFile>>) -> ClaimNames {
    let (absent, default) = (ClaimNamesFile::default(), ClaimNames::default());
    let file = given.map_or(&absent, |given| &given.value);
    let mut name = |given: &Option<Given<String>>, default: String| {
        let Some(given) = given else { return default };
        judge.readable(given);
        given.value.clone()
    };
    ClaimNames {
        subject: name(&file.subject, default.subject),
        name: name(&file.name, default.name),
        email: name(&file.email, default.email),
    }
}

fn header(judge: &mut Judge<'_>, given: &Given<HeaderLoginFile>) -> Option<ProxyHeaders> {
    let Given { value: file, place } = given;
    let HeaderLoginFile { subject, name, email, acr, auth_time, from } = file;
    let all = [subject, name, email, acr, auth_time];
    judge.once(
        all.into_iter().flatten().map(|header| (&header.value.0, &header.place)),
        "is the header of another setting too",
    );
    let word = |given: &Option<Given<Parsed<HeaderWord>>>| given.as_ref().map(|given| given.value.0.0.clone());
    Some(ProxyHeaders {
        subject: word(&judge.required(place, "subject", subject.as_ref()).cloned())?,
        name: word(name),
        email: word(email),
        acr: word(acr),
        auth_time: word(auth_time),
        from: networks(judge, from.as_ref()),
    })
}

/// From where headers count. Everywhere is nowhere: anybody could be anybody.
fn networks(judge: &mut Judge<'_>, given: Option<&Given<Vec<Given<Parsed<Network>>>>>) -> Vec<Network> {
    let Some(given) = given else { return Network::LOOPBACK.to_vec() };
    if given.value.is_empty() && given.place.gaps.is_empty() {
        let mistake = Mistake::about(&given.place, "is empty: nobody could sign in");
        judge.report(mistake.help("name the address of the proxy, or leave it out for a proxy on this machine"));
    }
    for network in given.value.iter().filter(|network| network.value.0.is_everything()) {
        let mistake = Mistake::about(&network.place, "names every address: anybody could be anybody");
        judge.report(mistake.help("name the address of the proxy, or its network"));
    }
    given.value.iter().map(|network| network.value.0).collect()
}

/// Reports what is wrong in the users file, and clients with the name of a person: a token's `sub` must not be both
/// (RFC 9068 §5, RFC 9700 §4.15).
fn check_users(judge: &mut Judge<'_>, given: &Given<String>, server: &Given<AuthorizationServerFile>) {
    let Some(text) = named_file::users(judge, given) else { return };
    let subjects = match users_file_subjects(&text) {
        Ok(subjects) => subjects,
        Err(UsersFault(mistakes)) => {
            for fault in mistakes {
                let predicate =
                    format!("names a file that is wrong at {}:{}: {}", fault.line, fault.column, fault.message);
                judge.report(Mistake::about(&given.place, predicate));
            }
            return;
        }
    };
    let clients = server.value.clients.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    for id in clients.iter().filter_map(|client| client.value.client_id.as_ref()) {
        if subjects.iter().any(|subject| subject.as_str() == id.value.0.as_str()) {
            let mistake = Mistake::about(&id.place, "is the `subject` of a person in the users file");
            judge.report(mistake.help("change one of the two: one could be taken for the other"));
        }
    }
}
