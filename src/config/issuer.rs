//! Judges `issuers`, and which issuers resources name.

use std::sync::Arc;
use std::time::Duration;

use super::authorization_server::algorithm;
use super::check::Judge;
use super::credential::Credential;
use super::file::{File, IntrospectionFile, IssuerFile, OtherIssuer, ResourceFile, TokenClaimsFile, TokenTypeWord};
use super::given::Given;
use super::mistake::Mistake;
use super::named_file;
use crate::authz::AcceptedIssuer;
use crate::fetch::FetchLimits;
use crate::ident::{Audience, Issuer, IssuerName};
use crate::issuers::{ClientCredential, IntrospectionSettings, IssuerSettings, KeySource};
use crate::token::{ClaimNames, TOKEN_ALGORITHMS, TokenProfile, TokenTypes};

/// How long a request to an issuer may take at most.
const LONGEST_FETCH: Duration = Duration::from_secs(30);

/// How long the answers of an introspection endpoint count unless somebody says otherwise.
const ANSWERS_COUNT: Duration = Duration::from_secs(30);

/// How long a status list counts that cannot be fetched again, unless somebody says otherwise.
const LISTS_COUNT: Duration = Duration::from_mins(1);

/// How long they may be told to count.
const LONGEST_LISTS_COUNT: Duration = Duration::from_hours(1);

/// How long answers may be told to count.
const LONGEST_ANSWERS_COUNT: Duration = Duration::from_mins(5);

/// Judges all entries, and adds the issuers that are named by resources only. `own` is the issuer of the same file.
pub(super) fn all(
    judge: &mut Judge<'_>,
    file: &Given<File>,
    own: Option<&Issuer>,
    skew: Duration,
) -> Vec<IssuerSettings> {
    let named = names(file);
    let entries = file.value.issuers.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    let ids = entries.iter().filter_map(|one| one.value.issuer.as_ref());
    judge.once(ids.map(|id| (id.value.0.0.as_str(), &id.place)), "is the `issuer` of an earlier one");
    let mut all: Vec<_> = entries.iter().filter_map(|one| issuer(judge, one, (own, &named), skew)).collect();
    for name in named {
        if all.iter().all(|known| known.name != name) {
            let (keys, limits) = (KeySource::Discovery, FetchLimits::default());
            all.push(IssuerSettings {
                name,
                keys,
                profile: profile(skew),
                introspection: None,
                status_list_stale: LISTS_COUNT,
                authorities: Vec::new(),
                limits,
            });
        }
    }
    check_introspection(judge, file, &all);
    all
}

/// Reports resources at which a token that says nothing could be of several issuers: to ask them all would show each the tokens
/// of the others.
fn check_introspection(judge: &mut Judge<'_>, file: &Given<File>, issuers: &[IssuerSettings]) {
    let resources = file.value.protected_resources.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    let is_asked = |word: &&Given<String>| {
        issuers.iter().any(|issuer| issuer.introspection.is_some() && issuer.name.as_str() == word.value)
    };
    for list in resources.iter().filter_map(|resource| resource.value.authorization_servers.as_ref()) {
        if let Some(second) = list.value.iter().filter(is_asked).nth(1) {
            let mistake = Mistake::about(&second.place, "is the second one here that is asked about opaque tokens");
            judge.report(mistake.help("leave one of them: nothing in such a token says whose it is"));
        }
    }
}

/// What tokens look like unless somebody says otherwise.
fn profile(skew: Duration) -> TokenProfile {
    TokenProfile { claims: ClaimNames::lenient(), ..TokenProfile::rfc9068(TOKEN_ALGORITHMS.to_vec(), skew) }
}

/// The other issuers that resources name, each once. What is no issuer is reported where it stands.
fn names(file: &Given<File>) -> Vec<IssuerName> {
    let resources = file.value.protected_resources.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    let lists = resources.iter().filter_map(|resource| resource.value.authorization_servers.as_ref());
    let own = file.value.authorization_server.as_ref().and_then(|server| server.value.issuer.as_ref());
    let mut names: Vec<IssuerName> = Vec::new();
    for word in lists.flat_map(|list| &list.value).map(|given| given.value.as_str()) {
        if own.is_some_and(|own| own.value.0.as_str() == word) {
            continue;
        }
        if let Ok(OtherIssuer(name)) = word.parse()
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// Judges one entry. `None` only if there are mistakes.
fn issuer(
    judge: &mut Judge<'_>,
    given: &Given<IssuerFile>,
    (own, named): (Option<&Issuer>, &[IssuerName]),
    skew: Duration,
) -> Option<IssuerSettings> {
    let Given { value: file, place } = given;
    let name = judge.required(place, "issuer", file.issuer.as_ref());
    if let Some(name) = name {
        let OtherIssuer(issuer) = &name.value.0;
        if own.is_some_and(|own| own.as_str() == issuer.as_str()) {
            let mistake = Mistake::about(&name.place, "is the `authorization_server` of this file");
            judge.report(mistake.help("take it out: what it issues is known"));
        } else if !named.contains(issuer) {
            let mistake = Mistake::about(&name.place, "is named by no resource, so its tokens count nowhere");
            judge.report(mistake.help("name it in `authorization_servers` of a resource, byte for byte"));
        }
    }
    let algorithms = file.algorithms.as_ref().map(|given| {
        if given.value.is_empty() && given.place.gaps.is_empty() {
            judge.report(Mistake::about(&given.place, "is empty: no token would count"));
        }
        judge.once(given.value.iter().map(|one| (algorithm(one.value), &one.place)), "is given twice");
        given.value.iter().map(|one| algorithm(one.value)).collect()
    });
    let limits = FetchLimits::default();
    let profile = TokenProfile {
        algorithms: algorithms.unwrap_or_else(|| TOKEN_ALGORITHMS.to_vec()),
        types: match file.typ.as_ref().map(|given| given.value) {
            Some(TokenTypeWord::AccessToken) | None => TokenTypes::AccessToken,
            Some(TokenTypeWord::Jwt) => TokenTypes::Jwt,
        },
        claims: claims(judge, file.claims.as_ref()),
        requires_status: file.require_status.as_ref().is_some_and(|given| given.value),
        skew: judge.duration(file.clock_skew.as_ref(), skew, Some(Duration::from_mins(1))),
    };
    let introspection = match &file.introspection {
        Some(given) => Some(introspection(judge, given)?),
        None => None,
    };
    let authorities = match &file.ca_file {
        Some(given) => named_file::authority_text(judge, given),
        None => Some(Vec::new()),
    };
    let time = judge.duration(file.timeout.as_ref(), limits.time, Some(LONGEST_FETCH));
    Some(IssuerSettings {
        name: name?.value.0.0.clone(),
        keys: file.jwks_uri.as_ref().map_or(KeySource::Discovery, |url| KeySource::JwksUri(url.value.0.clone())),
        profile,
        introspection,
        status_list_stale: judge.duration(file.status_list_stale.as_ref(), LISTS_COUNT, Some(LONGEST_LISTS_COUNT)),
        authorities: authorities?,
        limits: FetchLimits { time, ..limits },
    })
}

/// Judges how an issuer is asked about tokens. `None` only if there are mistakes.
fn introspection(judge: &mut Judge<'_>, given: &Given<IntrospectionFile>) -> Option<Arc<IntrospectionSettings>> {
    let Given { value: file, place } = given;
    let endpoint = judge.required(place, "endpoint", file.endpoint.as_ref());
    let client_id = judge.required(place, "client_id", file.client_id.as_ref());
    let credential = Credential {
        method: file.token_endpoint_auth_method.as_ref(),
        secret: file.client_secret_file.as_ref(),
        key: file.client_key_file.as_ref(),
        algorithm: file.token_endpoint_auth_signing_alg.as_ref(),
        place,
    };
    let credential = match &file.client_assertion_file {
        Some(given) => {
            let Credential { method, secret, key, .. } = credential;
            let method = method.map(|given| &given.place);
            for other in [secret, key].into_iter().flatten().map(|given| &given.place).chain(method) {
                let mistake = Mistake::about(other, "stands beside `client_assertion_file`");
                judge.report(mistake.help("give only one of them"));
            }
            Some(ClientCredential::AssertionFile(judge.path(&given.value)))
        }
        None => credential.judge(judge, "an introspection endpoint"),
    };
    let ways = ["token_endpoint_auth_method", "client_secret_file", "client_key_file", "client_assertion_file"];
    let lost = ways.map(|name| place.lost(name));
    if matches!(credential, Some(ClientCredential::None)) && !lost.contains(&true) {
        // RFC 7662 §2.1: "the endpoint MUST also require some form of authorization".
        let mistake = Mistake::about(place, "says not how this server authenticates: nobody answers just anyone");
        judge.report(mistake.help("add `client_secret_file`, `client_key_file` or `client_assertion_file`"));
    }
    Some(Arc::new(IntrospectionSettings {
        kept: judge.duration(file.cache.as_ref(), ANSWERS_COUNT, Some(LONGEST_ANSWERS_COUNT)),
        endpoint: endpoint?.value.0.clone(),
        client_id: client_id?.value.0.clone(),
        credential: credential?,
    }))
}

fn claims(judge: &mut Judge<'_>, given: Option<&Given<TokenClaimsFile>>) -> ClaimNames {
    let default = ClaimNames::lenient();
    let Some(Given { value: TokenClaimsFile { subject, client_id, scope }, .. }) = given else { return default };
    let mut name = |given: &Option<Given<String>>| {
        let given = given.as_ref()?;
        judge.readable(given);
        Some(given.value.clone())
    };
    ClaimNames {
        subject: name(subject).unwrap_or(default.subject),
        client_id: name(client_id).map_or(default.client_id, |name| vec![name]),
        scope: name(scope).map_or(default.scope, |name| vec![name]),
        ..default
    }
}

/// Whose tokens count at a resource: `self`, or others by name. `resource` is what `aud` holds by default. Reports what is
/// wrong with the list.
pub(super) fn accepted(
    judge: &mut Judge<'_>,
    given: &Given<ResourceFile>,
    resource: Option<&Audience>,
    (own, has_own): (Option<&Issuer>, bool),
) -> Vec<AcceptedIssuer> {
    let Given { value: file, place } = given;
    let own = own.map(IssuerName::from);
    let explicit = file.authorization_servers.as_ref();
    let words: Vec<_> = match explicit {
        Some(list) => list.value.iter().map(|one| (one.value.as_str(), &one.place)).collect(),
        None => vec![("self", place)],
    };
    match explicit {
        Some(list) if list.value.is_empty() && list.place.gaps.is_empty() => {
            judge.report(Mistake::about(&list.place, "is empty: no token would count").help("say `[self]`"));
        }
        None if !has_own && !place.lost("authorization_servers") => {
            let mistake = "lacks `authorization_servers`, and this file has no `authorization_server`";
            let help = "name who issues its tokens: `authorization_servers: [\"https://login.example.com\"]`";
            judge.report(Mistake::about(place, mistake).help(help));
        }
        Some(_) | None => {}
    }
    let given_audiences = file.audiences.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    judge.once(given_audiences.iter().map(|one| (one.value.0.as_str(), &one.place)), "is given twice");
    let of_others: Vec<_> = match given_audiences {
        [] => resource.cloned().into_iter().collect(),
        given => given.iter().map(|one| one.value.0.clone()).collect(),
    };
    let mut accepted = Vec::new();
    for (word, place) in words {
        let is_own = word == "self" || own.as_ref().is_some_and(|own| own.as_str() == word);
        let name = match word.parse() {
            _ if is_own && (has_own || explicit.is_none()) => own.clone(),
            _ if is_own => {
                let mistake = Mistake::about(place, "is the `authorization_server` of this file, and there is none");
                judge.report(mistake.help("name the issuer, or configure `authorization_server`"));
                None
            }
            Ok(OtherIssuer(name)) => Some(name),
            Err(fault) => {
                judge.report(Mistake::about(place, format!("is neither `self` nor an issuer: that {fault}")));
                None
            }
        };
        let audiences = if is_own { resource.cloned().into_iter().collect() } else { of_others.clone() };
        accepted.extend(name.map(|name| (AcceptedIssuer { name, audiences }, place)));
    }
    judge.once(accepted.iter().map(|(one, place)| (one.name.as_str(), *place)), "is given twice");
    if let Some(audiences) = &file.audiences {
        let others = accepted.iter().any(|(one, _)| own.as_ref() != Some(&one.name));
        if audiences.value.is_empty() && audiences.place.gaps.is_empty() {
            judge.report(Mistake::about(&audiences.place, "is empty: no token would count").help("leave it out"));
        } else if !others && explicit.is_none_or(|list| list.place.gaps.is_empty()) {
            let mistake = Mistake::about(&audiences.place, "is for tokens of others, and none count here");
            judge.report(mistake.help("take it out: those of `self` have the `resource` in `aud`"));
        }
    }
    accepted.into_iter().map(|(one, _)| one).collect()
}
