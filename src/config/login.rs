//! Judges `authorization_server.login`: how people sign in.

use std::time::Duration;

use super::Login;
use super::authorization_server::algorithm;
use super::check::Judge;
use super::file::{
    AuthMethod, AuthorizationServerFile, ClaimNamesFile, HeaderLoginFile, HeaderWord, LoginFile, OidcLoginFile,
    SigningAlgorithm,
};
use super::given::{Given, Parsed};
use super::mistake::{Mistake, Place};
use super::named_file;
use crate::fetch::FetchLimits;
use crate::identity::{ClaimNames, Network, OidcClient, OidcSettings, ProxyHeaders, UsersFault, users_file_subjects};

/// Judges everything about how people sign in. `None` only if there are mistakes.
pub(super) fn judge(judge: &mut Judge<'_>, file: &LoginFile, server: &Given<AuthorizationServerFile>) -> Option<Login> {
    match file {
        LoginFile::Local(given) => {
            let users_file = judge.required(&given.place, "users_file", given.value.users_file.as_ref())?;
            check_users(judge, users_file, server);
            Some(Login::Local { users_file: judge.path(&users_file.value) })
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
    let client = client(judge, file, place);
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
    Some(Login::Oidc { settings, limits: FetchLimits { time, ..limits } })
}

/// How this server authenticates at the provider. `None` only if there are mistakes.
fn client(judge: &mut Judge<'_>, file: &OidcLoginFile, place: &Place) -> Option<OidcClient> {
    let (secret, key) = (file.client_secret_file.as_ref(), file.client_key_file.as_ref());
    let default = match (secret, key) {
        (_, Some(_)) => AuthMethod::PrivateKeyJwt,
        (Some(_), None) => AuthMethod::ClientSecretBasic,
        (None, None) => AuthMethod::None,
    };
    let method = file.token_endpoint_auth_method.as_ref().map_or(default, |given| given.value);
    let (uses_secret, uses_key) = match method {
        AuthMethod::None => (false, false),
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => (true, false),
        AuthMethod::PrivateKeyJwt => (false, true),
        AuthMethod::TlsClientAuth
        | AuthMethod::SelfSignedTlsClientAuth
        | AuthMethod::SpiffeJwt
        | AuthMethod::Kubernetes => {
            let given = file.token_endpoint_auth_method.as_ref()?;
            let mistake = Mistake::about(&given.place, "is not supported at an upstream provider");
            judge.report(mistake.help("use `private_key_jwt`"));
            return None;
        }
    };
    for (name, given, used) in [("client_secret_file", secret, uses_secret), ("client_key_file", key, uses_key)] {
        match given {
            Some(given) if !used => {
                let mistake = Mistake::about(&given.place, format!("is of no use with `{}`", method.name()));
                judge.report(mistake.help("take it out, or change `token_endpoint_auth_method`"));
            }
            None if used && !place.lost(name) => {
                let mistake = Mistake::about(place, format!("lacks `{name}`, which `{}` needs", method.name()));
                judge.report(mistake.help("the provider has given it to you when you registered this server there"));
            }
            Some(_) | None => {}
        }
    }
    match method {
        AuthMethod::None => Some(OidcClient::None),
        AuthMethod::ClientSecretPost => named_file::secret(judge, secret?).map(OidcClient::Post),
        AuthMethod::PrivateKeyJwt => {
            let word =
                file.token_endpoint_auth_signing_alg.as_ref().map_or(SigningAlgorithm::Es256, |given| given.value);
            named_file::signing_key(judge, key?, algorithm(word)).map(|key| OidcClient::Key(Box::new(key)))
        }
        AuthMethod::ClientSecretBasic
        | AuthMethod::TlsClientAuth
        | AuthMethod::SelfSignedTlsClientAuth
        | AuthMethod::SpiffeJwt
        | AuthMethod::Kubernetes => named_file::secret(judge, secret?).map(OidcClient::Basic),
    }
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
