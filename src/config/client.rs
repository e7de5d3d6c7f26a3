//! Judges `authorization_server.clients`.

use super::authorization_server::{KnownScopes, algorithm};
use super::check::Judge;
use super::client_certificate::{self, Certificates};
use super::detail_types::KnownTypes;
use super::file::{AuthMethod, ClientFile, KeySetFile, ResourceUri, RotationWord};
use super::given::{Given, Parsed};
use super::mistake::{Mistake, Place};
use super::{client_openid, client_requests, fapi, named_file, workload_issuer};
use crate::fetch::Reach;
use crate::ident::Audience;
use crate::jose::{Algorithm, PublicKey};
use crate::oauth::client::{
    ClientAuthentication, ClientKeys, ClientOrigin, ExchangePolicy, GrantType, KeysAt, RefreshTokenRotation,
};
use crate::oauth::{Client, FIRST_PARTY_CLIENTS, Profile};
use crate::scope::Scopes;
use crate::secret::ClientSecretHash;

/// What clients must fit.
pub(super) struct Surroundings<'a> {
    /// The scopes that exist.
    pub(super) known: &'a KnownScopes,
    /// The types of `authorization_details` that exist.
    pub(super) details: &'a KnownTypes,
    /// Whether clients can show certificates.
    pub(super) certificates: Certificates,
    /// Which addresses may be asked for the keys of clients.
    pub(super) reach: Reach,
    /// The rules of the server.
    pub(super) profile: Profile,
    /// What the server signs with.
    pub(super) signing: Algorithm,
}

/// Judges all clients. Those with mistakes are left out.
pub(super) fn all(
    judge: &mut Judge<'_>,
    given: &Given<Vec<Given<ClientFile>>>,
    around: &Surroundings<'_>,
) -> Vec<Client> {
    let ids = given.value.iter().filter_map(|one| one.value.client_id.as_ref());
    judge.once(ids.map(|id| (&id.value.0, &id.place)), "is the `client_id` of an earlier client");
    given.value.iter().filter_map(|one| client(judge, one, around)).collect()
}

/// Judges one client. `None` only if there are mistakes.
fn client(judge: &mut Judge<'_>, given: &Given<ClientFile>, around: &Surroundings<'_>) -> Option<Client> {
    let Given { value: file, place } = given;
    let Surroundings { known, certificates, .. } = around;
    let id = judge.required(place, "client_id", file.client_id.as_ref());
    if let Some(id) = id.filter(|id| FIRST_PARTY_CLIENTS.contains(&id.value.0.as_str())) {
        judge.report(
            Mistake::about(&id.place, "is the name of pages of this server, such as `/activate`")
                .help("choose another name"),
        );
    }
    let id = id.map(|id| id.value.0.clone());
    // RFC 7591 §2: the defaults of both are these.
    let method = file.token_endpoint_auth_method.as_ref().map_or(AuthMethod::ClientSecretBasic, |given| given.value);
    let grant_types = grant_types(judge, given, method);
    check_redirect_uris(judge, given, &grant_types);
    let profile = fapi::of_client(judge, given, method, around);
    let rotation = rotation(judge, given, method, profile);
    let introspects = introspects(judge, given, method);
    let exchange = exchange(judge, given, &grant_types);
    if let Some(name) = &file.client_name {
        judge.readable(name);
    }
    let scopes = file.scope.as_ref().map(|scope| {
        known.check(judge, &scope.place, &scope.value.0);
        scope.value.0.clone()
    });
    // A method that was taken out for a mistake says nothing about what must or must not stand beside it.
    let undecided = place.lost("token_endpoint_auth_method");
    let authentication = if undecided { None } else { authentication(judge, given, method, around.reach) };
    let bound = file.tls_client_certificate_bound_access_tokens.as_ref().filter(|given| given.value);
    match (method, file.token_endpoint_auth_method.as_ref(), bound) {
        (AuthMethod::TlsClientAuth, Some(given), _) => {
            certificates.check_shown(judge, &given.place);
            certificates.check_vouched(judge, &given.place);
        }
        (AuthMethod::SelfSignedTlsClientAuth, Some(given), _) => certificates.check_shown(judge, &given.place),
        (_, _, Some(bound)) => certificates.check_shown(judge, &bound.place),
        (_, _, None) => {}
    }
    let requests = client_requests::rules(judge, given, (method, authentication.as_ref(), profile), around);
    let openid = client_openid::rules(judge, given, around.reach);
    let id = id?;
    let name = file.client_name.as_ref().map_or_else(|| id.as_str().to_owned(), |name| name.value.clone());
    let redirect_uris = file.redirect_uris.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    let after_sign_out =
        file.post_logout_redirect_uris.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    judge.once(after_sign_out.iter().map(|uri| (uri.value.0.as_str(), &uri.place)), "is given twice");
    Some(Client {
        name,
        origin: ClientOrigin::Operator,
        authentication: authentication?,
        grant_types,
        redirect_uris: redirect_uris.iter().map(|uri| uri.value.0.clone()).collect(),
        post_logout_redirect_uris: after_sign_out.iter().map(|uri| uri.value.0.clone()).collect(),
        scopes: scopes.unwrap_or_else(Scopes::default),
        certificate_bound_access_tokens: bound.is_some(),
        // What a platform has made is as good as a bearer token: it opens nothing alone.
        dpop_bound_access_tokens: file.dpop_bound_access_tokens.as_ref().is_some_and(|given| given.value)
            || (matches!(method, AuthMethod::SpiffeJwt | AuthMethod::Kubernetes) && bound.is_none())
            || (profile.is_fapi() && bound.is_none()),
        rotation,
        introspects,
        profile,
        requests,
        openid,
        access_token_format: file.access_token_format.as_ref().map(|given| given.value.format()).unwrap_or_default(),
        exchange,
        id,
    })
}

fn grant_types(judge: &mut Judge<'_>, client: &Given<ClientFile>, method: AuthMethod) -> Vec<GrantType> {
    let Some(given) = &client.value.grant_types else { return vec![GrantType::AuthorizationCode] };
    if given.value.is_empty() && given.place.gaps.is_empty() && client.value.introspects.is_none() {
        judge.report(Mistake::about(&given.place, "is empty: the client could do nothing"));
    }
    let mut grants = Vec::new();
    for word in &given.value {
        let grant = word.value.grant();
        if grant.needs_authentication() && method == AuthMethod::None {
            // RFC 6749 §4.4: "MUST only be used by confidential clients"; and whoever acts for others must be known.
            let mistake = Mistake::about(&word.place, format!("cannot be `{}` for a public client", grant.name()));
            judge.report(mistake.help("choose another `token_endpoint_auth_method` than `none`, or another grant"));
        }
        grants.push((grant, &word.place));
    }
    judge.once(grants.iter().copied(), "is given twice");
    let grants: Vec<_> = grants.into_iter().map(|(grant, _)| grant).collect();
    let complete = given.place.gaps.is_empty();
    let asks_a_person = grants.iter().any(|grant| grant.asks_a_person());
    if complete && grants.contains(&GrantType::RefreshToken) && !asks_a_person {
        let mistake = Mistake::about(&given.place, "has `refresh_token`, but no grant that gives refresh tokens");
        judge.report(mistake.help("add `authorization_code`, or take `refresh_token` out"));
    }
    grants
}

/// The resources about whose tokens the client may ask.
fn introspects(judge: &mut Judge<'_>, client: &Given<ClientFile>, method: AuthMethod) -> Vec<Audience> {
    let Some(given) = &client.value.introspects else { return Vec::new() };
    if given.value.is_empty() && given.place.gaps.is_empty() {
        judge.report(Mistake::about(&given.place, "is empty"));
    }
    if method == AuthMethod::None && !client.place.lost("token_endpoint_auth_method") {
        // RFC 7662 §2.1: or anybody could try tokens out.
        let mistake = Mistake::about(&given.place, "has no use for a public client, which may not introspect");
        judge.report(mistake.help("choose another `token_endpoint_auth_method` than `none`"));
    }
    judge.once(given.value.iter().map(|one| (&one.value.0.audience, &one.place)), "is given twice");
    given.value.iter().map(|one| one.value.0.audience.clone()).collect()
}

/// On whose behalf the client may act. The two settings go together: neither means anything alone.
fn exchange(judge: &mut Judge<'_>, client: &Given<ClientFile>, grants: &[GrantType]) -> Option<ExchangePolicy> {
    let asked = grants.contains(&GrantType::TokenExchange);
    let Some(given) = &client.value.token_exchange else {
        if asked && !client.place.lost("token_exchange") {
            let message = format!("lacks `token_exchange`, which `{}` needs", GrantType::TokenExchange.name());
            let help = "say whose tokens it exchanges and where it calls: `token_exchange: { from: [...], to: [...] }`";
            judge.report(Mistake::about(&client.place, message).help(help));
        }
        return None;
    };
    if !asked && !client.place.lost("grant_types") {
        let mistake = Mistake::about(&given.place, "has no use: the client may not exchange tokens");
        judge.report(mistake.help(format!("add `{}` to `grant_types`", GrantType::TokenExchange.name())));
    }
    let from = judge.required(&given.place, "from", given.value.from.as_ref());
    let to = judge.required(&given.place, "to", given.value.to.as_ref());
    let mut audiences = |given: &Given<Vec<Given<Parsed<ResourceUri>>>>| {
        if given.value.is_empty() && given.place.gaps.is_empty() {
            judge.report(Mistake::about(&given.place, "is empty"));
        }
        judge.once(given.value.iter().map(|one| (&one.value.0.audience, &one.place)), "is given twice");
        given.value.iter().map(|one| one.value.0.audience.clone()).collect()
    };
    let (from, to) = (from.map(&mut audiences), to.map(&mut audiences));
    Some(ExchangePolicy { from: from?, to: to? })
}

/// Reports resources in `token_exchange` and `introspects` for which no tokens are issued.
pub(super) fn check_resources(judge: &mut Judge<'_>, clients: &[Given<ClientFile>], resources: &[Audience]) {
    let exchanges = clients.iter().filter_map(|client| client.value.token_exchange.as_ref());
    let lists = exchanges.flat_map(|given| [given.value.from.as_ref(), given.value.to.as_ref()]);
    let lists = lists.chain(clients.iter().map(|client| client.value.introspects.as_ref())).flatten();
    for one in lists.flat_map(|list| &list.value).filter(|one| !resources.contains(&one.value.0.audience)) {
        let mistake = Mistake::about(&one.place, "is no resource that tokens are issued for");
        judge.report(mistake.help("add it to `protected_resources`, or to `authorization_server.resources`"));
    }
}

/// RFC 7591 §2: clients of redirect-based flows "MUST register their redirection URI values".
fn check_redirect_uris(judge: &mut Judge<'_>, client: &Given<ClientFile>, grants: &[GrantType]) {
    let given = client.value.redirect_uris.as_ref();
    let none = given.is_none_or(|given| given.value.is_empty() && given.place.gaps.is_empty());
    let lost = client.place.lost("redirect_uris") || client.place.lost("grant_types");
    if none && !lost && grants.contains(&GrantType::AuthorizationCode) {
        let defaulted = client.value.grant_types.is_none();
        let mistake = Mistake::about(&client.place, "lacks `redirect_uris`, which `authorization_code` needs");
        judge.report(if defaulted {
            mistake.help("`grant_types` is `[authorization_code]` unless it is given; say `[client_credentials]` if that is meant")
        } else {
            mistake.help("add the exact URIs to which answers may go: `redirect_uris: [https://app.example/callback]`")
        });
    }
    let uris = given.map(|given| given.value.as_slice()).unwrap_or_default();
    judge.once(uris.iter().map(|uri| (uri.value.0.as_str(), &uri.place)), "is given twice");
}

fn rotation(
    judge: &mut Judge<'_>,
    client: &Given<ClientFile>,
    method: AuthMethod,
    profile: Profile,
) -> RefreshTokenRotation {
    let Some(given) = &client.value.refresh_token_rotation else {
        return if profile.is_fapi() { RefreshTokenRotation::Never } else { RefreshTokenRotation::Always };
    };
    match given.value {
        RotationWord::Always => RefreshTokenRotation::Always,
        RotationWord::Never => {
            if method == AuthMethod::None && !client.place.lost("token_endpoint_auth_method") {
                // RFC 9700 §2.2.2: refresh tokens of public clients "MUST be sender-constrained or use refresh token
                // rotation"; rotation also finds a thief who has the key.
                let mistake = Mistake::about(&given.place, "cannot be `never` for a public client");
                judge.report(mistake.help("use `always`, or let the client authenticate"));
            }
            RefreshTokenRotation::Never
        }
    }
}

fn authentication(
    judge: &mut Judge<'_>,
    client: &Given<ClientFile>,
    method: AuthMethod,
    reach: Reach,
) -> Option<ClientAuthentication> {
    let file = &client.value;
    let secret = [
        ("client_secret_file", file.client_secret_file.as_ref().map(|given| &given.place)),
        ("client_secret_hash", file.client_secret_hash.as_ref().map(|given| &given.place)),
    ];
    let key = [
        ("jwks", file.jwks.as_ref().filter(|_| !client_requests::signs_requests(file)).map(|given| &given.place)),
        (
            "jwks_uri",
            file.jwks_uri.as_ref().filter(|_| !client_requests::signs_requests(file)).map(|given| &given.place),
        ),
        ("token_endpoint_auth_signing_alg", file.token_endpoint_auth_signing_alg.as_ref().map(|given| &given.place)),
    ];
    let subject = client_certificate::settings(file);
    if !matches!(method, AuthMethod::SpiffeJwt | AuthMethod::Kubernetes)
        && !refuse(judge, client, method, &workload_issuer::settings(file))
    {
        return None;
    }
    let no_subject = matches!(method, AuthMethod::TlsClientAuth) || refuse(judge, client, method, &subject);
    match method {
        AuthMethod::None => {
            let clean = refuse(judge, client, method, &secret) & refuse(judge, client, method, &key) & no_subject;
            clean.then_some(ClientAuthentication::None)
        }
        AuthMethod::ClientSecretBasic => {
            let clean = refuse(judge, client, method, &key);
            // Whoever gives keys and no method has forgotten the method, not the secret.
            let forgotten = !clean && file.token_endpoint_auth_method.is_none();
            let secret = if forgotten { None } else { self::secret(judge, client, method) };
            secret.map(ClientAuthentication::SecretBasic).filter(|_| clean)
        }
        AuthMethod::ClientSecretPost => {
            let clean = refuse(judge, client, method, &key);
            self::secret(judge, client, method).map(ClientAuthentication::SecretPost).filter(|_| clean)
        }
        AuthMethod::PrivateKeyJwt => {
            let clean = refuse(judge, client, method, &secret);
            keys(judge, client, reach).filter(|_| clean)
        }
        AuthMethod::TlsClientAuth => {
            let clean = refuse(judge, client, method, &secret) & refuse(judge, client, method, &key);
            let subject = client_certificate::subject(judge, client);
            subject.map(ClientAuthentication::TlsClientAuth).filter(|_| clean)
        }
        AuthMethod::SelfSignedTlsClientAuth => {
            let elsewhere = [("jwks_uri", file.jwks_uri.as_ref().map(|given| &given.place))];
            let clean = refuse(judge, client, method, &secret) & refuse(judge, client, method, &elsewhere);
            let jwks = judge.required(&client.place, "jwks", file.jwks.as_ref())?;
            let keys = judge.required(&jwks.place, "keys", jwks.value.keys.as_ref())?;
            let registered = client_certificate::registered(judge, &keys.value);
            registered.map(ClientAuthentication::SelfSignedTlsClientAuth).filter(|_| clean)
        }
        AuthMethod::SpiffeJwt | AuthMethod::Kubernetes => {
            let clean = refuse(judge, client, method, &secret) & refuse(judge, client, method, &key);
            let [account, id] = workload_issuer::settings(file);
            let (workload, other) = if method == AuthMethod::Kubernetes {
                (workload_issuer::service_account(judge, client), id)
            } else {
                (workload_issuer::spiffe_id(judge, client), account)
            };
            let clean = refuse(judge, client, method, &[other]) & clean;
            workload.map(ClientAuthentication::Workload).filter(|_| clean)
        }
    }
}

/// Reports credentials that the method has no use for: the operator means another method.
fn refuse(
    judge: &mut Judge<'_>,
    client: &Given<ClientFile>,
    method: AuthMethod,
    settings: &[(&str, Option<&Place>)],
) -> bool {
    let mut clean = true;
    for (_, place) in settings {
        let Some(place) = place else { continue };
        clean = false;
        let method = method.name();
        let mistake = Mistake::about(place, format!("has no use with `token_endpoint_auth_method: {method}`"));
        judge.report(match client.value.token_endpoint_auth_method {
            Some(_) => mistake.help("take it out, or choose the method that it belongs to"),
            None => mistake.help("that is the method unless another is given; say which is meant"),
        });
    }
    clean
}

fn secret(judge: &mut Judge<'_>, client: &Given<ClientFile>, method: AuthMethod) -> Option<ClientSecretHash> {
    let Given { value: file, place } = client;
    match (&file.client_secret_file, &file.client_secret_hash) {
        (Some(path), None) => named_file::client_secret(judge, path),
        (None, Some(hash)) => Some(hash.value.0.0.clone()),
        (Some(_), Some(hash)) => {
            judge.report(
                Mistake::about(&hash.place, "stands beside `client_secret_file`").help("give only one of them"),
            );
            None
        }
        (None, None) if place.lost("client_secret_file") || place.lost("client_secret_hash") => None,
        // The secret stood in the file itself, which was reported.
        (None, None) if place.lost("client_secret") => None,
        (None, None) => {
            let mistake = Mistake::about(place, format!("lacks a secret, which `{}` needs", method.name()));
            judge.report(match file.token_endpoint_auth_method {
                Some(_) => mistake.help("add `client_secret_file` with the path of a file that holds it"),
                None => mistake.help(
                    "`token_endpoint_auth_method` is `client_secret_basic` unless it is given; add \
                     `client_secret_file`, or say `none` for a public client",
                ),
            });
            None
        }
    }
}

fn keys(judge: &mut Judge<'_>, client: &Given<ClientFile>, reach: Reach) -> Option<ClientAuthentication> {
    let Given { value: file, place } = client;
    let algorithm = file.token_endpoint_auth_signing_alg.as_ref().map(|given| algorithm(given.value));
    if file.jwks.is_none() && file.jwks_uri.is_none() {
        if !place.lost("jwks") && !place.lost("jwks_uri") {
            let mistake = Mistake::about(place, "lacks `jwks`, which `private_key_jwt` needs");
            judge.report(mistake.help(
                "add the client's public keys: `jwks: { keys: [ { kty: EC, ... } ] }`, or `jwks_uri` where it publishes them",
            ));
        }
        return None;
    }
    let keys = client_keys(judge, file, reach)?;
    if let (Some(algorithm), ClientKeys::Registered(keys)) = (algorithm, &keys)
        && !keys.iter().any(|key| key.fits(algorithm))
    {
        let named = file.token_endpoint_auth_signing_alg.as_ref().map_or(place, |given| &given.place);
        judge.report(Mistake::about(
            named,
            format!("is `{}`, which no key in `jwks` can sign", Algorithm::name(algorithm)),
        ));
        return None;
    }
    Some(ClientAuthentication::PrivateKeyJwt { keys, algorithm })
}

/// The keys of a client, here or elsewhere. `None` if there are none, or mistakes in them.
pub(super) fn client_keys(judge: &mut Judge<'_>, file: &ClientFile, reach: Reach) -> Option<ClientKeys> {
    let published = file.jwks_uri.as_ref().map(|given| {
        let url = given.value.0.clone();
        // Whoever writes loopback here means this machine; what another name leads to, a resolver decides.
        let reach = if url.is_loopback() { Reach::Anywhere } else { reach };
        (ClientKeys::Published(KeysAt { url, reach }), &given.place)
    });
    match (&file.jwks, published) {
        (Some(_), Some((_, place))) => {
            let mistake = Mistake::about(place, "stands beside `jwks`"); // RFC 7591 §2
            judge.report(mistake.help("give only one of them"));
            None
        }
        (Some(given), None) => key_set(judge, given).map(ClientKeys::Registered),
        (None, Some((published, _))) => Some(published),
        (None, None) => None,
    }
}

fn key_set(judge: &mut Judge<'_>, given: &Given<KeySetFile>) -> Option<Vec<PublicKey>> {
    let keys = judge.required(&given.place, "keys", given.value.keys.as_ref())?;
    if keys.value.is_empty() && keys.place.gaps.is_empty() {
        judge.report(Mistake::about(&keys.place, "is empty"));
    }
    let mut usable = Vec::new();
    for jwk in &keys.value {
        match PublicKey::from_jwk(&jwk.value) {
            Ok(key) => usable.push(key),
            Err(fault) => judge.report(Mistake::about(&jwk.place, fault)),
        }
    }
    let complete = usable.len() == keys.value.len() && !usable.is_empty();
    complete.then_some(usable)
}
