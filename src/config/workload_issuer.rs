//! Judges `authorization_server.workload_issuers`, and which workloads clients are.

use std::time::Duration;

use super::authorization_server::algorithm;
use super::check::Judge;
use super::duration::Lifetime;
use super::file::{ClientFile, KubernetesFile, SigningAlgorithm, SpiffeFile, WorkloadIssuerFile};
use super::given::Given;
use super::mistake::{Mistake, Place};
use super::{WorkloadIssuer, named_file};
use crate::issuers::KeySource;
use crate::jose::Algorithm;
use crate::oauth::Client;
use crate::oauth::client::ClientAuthentication;
use crate::oauth::workload::{Platform, ServiceAccount, Workload};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Judges all platforms. Those with mistakes are left out.
pub(super) fn all(judge: &mut Judge<'_>, given: Option<&Given<Vec<Given<WorkloadIssuerFile>>>>) -> Vec<WorkloadIssuer> {
    let entries = given.map(|given| given.value.as_slice()).unwrap_or_default();
    let mut issuers: Vec<WorkloadIssuer> = Vec::new();
    for one in entries {
        let issuer = match &one.value {
            WorkloadIssuerFile::Kubernetes(given) => kubernetes(judge, given),
            WorkloadIssuerFile::Spiffe(given) => spiffe(judge, given),
        };
        let Some(issuer) = issuer else { continue };
        if issuers.iter().any(|known| known.platform == issuer.platform) {
            judge.report(Mistake::about(&one.place, "is about the platform of an earlier one"));
        }
        issuers.push(issuer);
    }
    issuers
}

fn kubernetes(judge: &mut Judge<'_>, given: &Given<KubernetesFile>) -> Option<WorkloadIssuer> {
    let Given { value: file, place } = given;
    let issuer = judge.required(place, "issuer", file.issuer.as_ref());
    if let (Some(_), Some(both)) = (&file.jwks_uri, &file.jwks_file) {
        judge.report(Mistake::about(&both.place, "stands beside `jwks_uri`").help("give only one of them"));
    }
    if let Some(token) = file.token_file.as_ref().filter(|_| file.jwks_uri.is_none() && !place.lost("jwks_uri")) {
        let mistake = Mistake::about(&token.place, "is shown at `jwks_uri`, and there is none");
        judge.report(mistake.help("add it: `jwks_uri: \"https://kubernetes.default.svc/openid/v1/jwks\"`"));
    }
    let keys = match (&file.jwks_uri, &file.jwks_file) {
        (Some(url), _) => KeySource::JwksUri(url.value.0.clone()),
        (None, Some(path)) => KeySource::File(judge.file(&path.value)),
        (None, None) => KeySource::Discovery,
    };
    let authorities = file.ca_file.as_ref().map(|given| named_file::authority_text(judge, given));
    Some(WorkloadIssuer {
        platform: Platform::Kubernetes(issuer?.value.0.0.clone()),
        keys,
        authorities: authorities.unwrap_or(Some(Vec::new()))?,
        token_file: file.token_file.as_ref().map(|given| judge.path(&given.value)),
        algorithms: algorithms(judge, file.algorithms.as_ref(), &[Algorithm::Rs256, Algorithm::Es256]),
        longest: longest(judge, file.max_lifetime.as_ref()),
    })
}

fn spiffe(judge: &mut Judge<'_>, given: &Given<SpiffeFile>) -> Option<WorkloadIssuer> {
    let Given { value: file, place } = given;
    let domain = judge.required(place, "trust_domain", file.trust_domain.as_ref());
    let keys = match (&file.bundle_uri, &file.bundle_file) {
        (Some(_), Some(both)) => {
            judge.report(Mistake::about(&both.place, "stands beside `bundle_uri`").help("give only one of them"));
            None
        }
        (Some(url), None) => Some(KeySource::JwksUri(url.value.0.clone())),
        (None, Some(path)) => Some(KeySource::File(judge.file(&path.value))),
        (None, None) => {
            if !place.lost("bundle_uri") && !place.lost("bundle_file") {
                judge.report(Mistake::about(place, "lacks `bundle_uri`, or `bundle_file`"));
            }
            None
        }
    };
    let authorities = file.ca_file.as_ref().map(|given| named_file::authority_text(judge, given));
    Some(WorkloadIssuer {
        platform: Platform::Spiffe(domain?.value.0.clone()),
        keys: keys?,
        authorities: authorities.unwrap_or(Some(Vec::new()))?,
        token_file: None,
        algorithms: algorithms(
            judge,
            file.algorithms.as_ref(),
            &[Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256],
        ),
        longest: longest(judge, file.max_lifetime.as_ref()),
    })
}

fn algorithms(
    judge: &mut Judge<'_>,
    given: Option<&Given<Vec<Given<SigningAlgorithm>>>>,
    default: &[Algorithm],
) -> Vec<Algorithm> {
    let Some(given) = given else { return default.to_vec() };
    if given.value.is_empty() && given.place.gaps.is_empty() {
        judge.report(Mistake::about(&given.place, "is empty: nobody could authenticate"));
    }
    judge.once(given.value.iter().map(|one| (algorithm(one.value), &one.place)), "is given twice");
    given.value.iter().map(|one| algorithm(one.value)).collect()
}

fn longest(judge: &mut Judge<'_>, given: Option<&Given<Lifetime>>) -> Duration {
    judge.duration(given, HOUR, Some(DAY))
}

/// The settings that say which workload a client is, with their names.
pub(super) fn settings(file: &ClientFile) -> [(&'static str, Option<&Place>); 2] {
    [
        ("service_account", file.service_account.as_ref().map(|given| &given.place)),
        ("spiffe_id", file.spiffe_id.as_ref().map(|given| &given.place)),
    ]
}

/// The service account that a client is. `None` only if there are mistakes.
pub(super) fn service_account(judge: &mut Judge<'_>, client: &Given<ClientFile>) -> Option<Workload> {
    let given = judge.required(&client.place, "service_account", client.value.service_account.as_ref())?;
    let Given { value: file, place } = given;
    let issuer = judge.required(place, "issuer", file.issuer.as_ref());
    let namespace = judge.required(place, "namespace", file.namespace.as_ref());
    let name = judge.required(place, "name", file.name.as_ref());
    for text in [namespace, name, file.uid.as_ref()].into_iter().flatten() {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if !(1..=253).contains(&text.value.len()) || !text.value.bytes().all(allowed) {
            judge.report(Mistake::about(&text.place, "must be 1 to 253 lower-case letters, digits, dashes and dots"));
        }
    }
    let text = |given: &Given<String>| given.value.clone();
    Some(Workload::Kubernetes(ServiceAccount {
        issuer: issuer?.value.0.0.clone(),
        namespace: text(namespace?),
        name: text(name?),
        uid: file.uid.as_ref().map(text),
    }))
}

/// The SPIFFE workload that a client is. `None` only if there are mistakes.
pub(super) fn spiffe_id(judge: &mut Judge<'_>, client: &Given<ClientFile>) -> Option<Workload> {
    let given = judge.required(&client.place, "spiffe_id", client.value.spiffe_id.as_ref())?;
    Some(Workload::Spiffe(given.value.0.clone()))
}

/// Reports clients whose platform is not there, and clients that are one and the same workload.
pub(super) fn check_clients(
    judge: &mut Judge<'_>,
    (clients, files): (&[Client], &[Given<ClientFile>]),
    issuers: &[WorkloadIssuer],
    complete: bool,
) {
    let mut seen: Vec<&Workload> = Vec::new();
    for client in clients {
        let ClientAuthentication::Workload(workload) = &client.authentication else { continue };
        let file = files.iter().find(|file| file.value.client_id.as_ref().is_some_and(|id| id.value.0 == client.id));
        let Some(place) = file.and_then(|file| settings(&file.value).into_iter().find_map(|(_, place)| place)) else {
            continue;
        };
        let is_known = issuers.iter().any(|issuer| match (&issuer.platform, workload) {
            (Platform::Kubernetes(cluster), Workload::Kubernetes(account)) => cluster == &account.issuer,
            (Platform::Spiffe(domain), Workload::Spiffe(id)) => domain == id.trust_domain(),
            (Platform::Kubernetes(_), Workload::Spiffe(_)) | (Platform::Spiffe(_), Workload::Kubernetes(_)) => false,
        });
        if !is_known && complete {
            let mistake =
                Mistake::about(place, "is of a platform that is not in `authorization_server.workload_issuers`");
            judge.report(mistake.help("add the cluster, or the trust domain, there"));
        }
        if seen.iter().any(|earlier| earlier.is(workload) || workload.is(earlier)) {
            judge.report(Mistake::about(place, "is the workload of an earlier client"));
        }
        seen.push(workload);
    }
}
