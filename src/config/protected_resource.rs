//! Judges `protected_resources`.

use super::authorization_server::{KnownScopes, dpop};
use super::check::Judge;
use super::detail_types::{self, KnownTypes};
use super::file::{
    CertificateSourceWord, DpopWord, EnforcementWord, File, GateNonceWord, MetadataFile, PreflightWord, ResourceFile,
    ResourceUri,
};
use super::given::{Given, Parsed};
use super::issuer;
use super::mistake::Mistake;
use super::rule::{self, Known};
use super::upstream;
use crate::authz::{
    AcceptedIssuer, CertificateSource, DpopRequirement, Enforcement, GateNonce, Preflight, ResourceMetadata,
    ResourceSettings,
};
use crate::dpop::Window;
use crate::ident::{Audience, Issuer};
use crate::token::AccessTokenFormat;
use crate::uri::{HttpUri, Origin};

/// Judges all resources. Those with mistakes are left out.
pub(super) fn all(judge: &mut Judge<'_>, file: &Given<File>, own: &Own) -> Vec<ResourceSettings> {
    let Some(given) = &file.value.protected_resources else { return Vec::new() };
    let resources: Vec<_> = given.value.iter().filter_map(|one| one.value.resource.as_ref()).collect();
    let audiences = resources.iter().map(|one| (&one.value.0.audience, &one.place));
    judge.once(audiences, "is the `resource` of an earlier one");
    check_origins(judge, &resources);
    given.value.iter().filter_map(|one| resource(judge, one, own)).collect()
}

/// The resources for which access tokens are handles.
pub(super) fn opaque(file: &Given<File>) -> Vec<Audience> {
    let files = file.value.protected_resources.iter().flat_map(|given| &given.value).map(|one| &one.value);
    let opaque = files.filter(|one| {
        one.access_token_format.as_ref().is_some_and(|given| given.value.format() == AccessTokenFormat::Opaque)
    });
    opaque.filter_map(|one| one.resource.as_ref()).map(|given| given.value.0.audience.clone()).collect()
}

/// Reports resources that requests could not be told apart by: one `Host` would name both, and the rules of the first one
/// would count for both.
fn check_origins(judge: &mut Judge<'_>, resources: &[&Given<Parsed<ResourceUri>>]) {
    for (index, one) in resources.iter().enumerate() {
        let uri = &one.value.0;
        let clashes = |earlier: &&&Given<Parsed<ResourceUri>>| {
            let earlier = &earlier.value.0;
            earlier.audience != uri.audience && share_a_host(&earlier.origin, &uri.origin)
        };
        if let Some(earlier) = resources[..index].iter().find(clashes) {
            let earlier = &earlier.value.0.audience;
            let mistake = Mistake::about(&one.place, format!("has the host and port of `{earlier}`"));
            judge.report(mistake.help(
                "requests find their resource by host: give it a host of its own, or put its rules under the other one",
            ));
        }
    }
}

/// Whether one `Host` could name both: the same port, or no port at all.
fn share_a_host(one: &Origin, other: &Origin) -> bool {
    let names = |named: &Origin, origin: &Origin| {
        let text = named.to_string();
        text.split_once("://").is_some_and(|(_, authority)| origin.is_named_by(authority))
    };
    names(one, other) || names(other, one)
}

/// What a resource takes from the authorization server of the same file.
pub(super) struct Own {
    /// Whether there is one.
    present: bool,
    pub(super) issuer: Option<Issuer>,
    scopes: Option<KnownScopes>,
    types: Option<KnownTypes>,
    /// The age at which proofs are accepted; the same without an authorization server.
    pub(super) window: Window,
}

impl Own {
    pub(super) fn of(file: &Given<File>) -> Self {
        let given = file.value.authorization_server.as_ref();
        let server = given.map(|given| &given.value);
        let issuer = server.and_then(|server| server.issuer.as_ref()).map(|issuer| issuer.value.0.clone());
        // Mistakes in here are reported where the authorization server is judged.
        let dpop = dpop(&mut Judge::aside(&mut Vec::new()), server.and_then(|server| server.dpop.as_ref()));
        let present = given.is_some() || file.place.lost("authorization_server");
        let types = given.map(|given| detail_types::known(&mut Judge::aside(&mut Vec::new()), given));
        Self { present, issuer, scopes: given.map(KnownScopes::of), types, window: dpop.window }
    }
}

/// Judges one resource. `None` only if there are mistakes.
fn resource(judge: &mut Judge<'_>, given: &Given<ResourceFile>, own: &Own) -> Option<ResourceSettings> {
    let Given { value: file, place } = given;
    let resource = judge.required(place, "resource", file.resource.as_ref()).map(|given| given.value.0.clone());
    let audience = resource.as_ref().map(|resource| &resource.audience);
    let issuers = issuer::accepted(judge, given, audience, (own.issuer.as_ref(), own.present));
    let upstream = upstream::view(judge, file.upstream.as_ref(), audience, issuers.len());
    let metadata = file.metadata.as_ref().map(|given| metadata(judge, given, resource.as_ref()));
    // Others may know scopes that this file does not.
    let ours = |one: &AcceptedIssuer| own.issuer.as_ref().is_some_and(|own| own.as_str() == one.name.as_str());
    let all_ours = issuers.iter().all(ours);
    let known = own.scopes.as_ref().filter(|_| all_ours);
    let rules = rule::all(judge, given, &Known { scopes: known, types: own.types.as_ref().filter(|_| all_ours) });
    let cors_origins = cors_origins(judge, file);
    let resource = resource?;
    Some(ResourceSettings {
        audience: resource.audience,
        origin: resource.origin,
        issuers,
        enforcement: match file.enforcement.as_ref().map(|given| given.value) {
            Some(EnforcementWord::Enforce) | None => Enforcement::Enforce,
            Some(EnforcementWord::Observe) => Enforcement::Observe,
        },
        dpop: match file.dpop.as_ref().map(|given| given.value) {
            Some(DpopWord::Required) | None => DpopRequirement::Required,
            Some(DpopWord::OrCertificate) => DpopRequirement::OrCertificate,
            Some(DpopWord::Allowed) => DpopRequirement::Allowed,
            Some(DpopWord::Off) => DpopRequirement::Off,
        },
        certificates: match file.client_certificate.as_ref().map(|given| given.value) {
            Some(CertificateSourceWord::Connection) | None => CertificateSource::Connection,
            Some(CertificateSourceWord::ForwardedHeader) => CertificateSource::Header,
        },
        nonce: match file.nonce.as_ref().map(|given| given.value) {
            Some(GateNonceWord::Off) | None => GateNonce::Off,
            Some(GateNonceWord::Required) => GateNonce::Required,
        },
        window: own.window,
        upstream,
        preflight: match file.cors_preflight.as_ref().map(|given| given.value) {
            Some(PreflightWord::Judge) | None => Preflight::Judge,
            Some(PreflightWord::Pass) => Preflight::Pass,
        },
        cors_origins,
        rules,
        metadata,
    })
}

/// Judges the origins of scripts, which are compared with what browsers send (Fetch, "serializing a request origin").
fn cors_origins(judge: &mut Judge<'_>, file: &ResourceFile) -> Vec<Origin> {
    let mut origins = Vec::new();
    for given in file.cors_origins.iter().flat_map(|given| &given.value) {
        match given.value.parse::<Origin>() {
            Ok(origin) if origin.to_string() == given.value => origins.push(origin),
            Ok(origin) => {
                let mistake = Mistake::about(&given.place, "is not as browsers send it");
                judge.report(mistake.help(format!("`{origin}` is")));
            }
            Err(fault) => judge.report(Mistake::about(&given.place, fault)),
        }
    }
    origins
}

/// Judges what clients are told about a resource.
fn metadata(judge: &mut Judge<'_>, given: &Given<MetadataFile>, resource: Option<&ResourceUri>) -> ResourceMetadata {
    let Given { value: file, place } = given;
    if resource.is_some_and(|resource| resource.audience.as_str().contains('?')) {
        let mistake = Mistake::about(place, "cannot be about a `resource` with a query: no path leads to it");
        judge.report(mistake.help("name the resource without a query, or leave this out"));
    }
    if let Some(name) = &file.resource_name {
        judge.readable(name);
    }
    for uri in [&file.resource_documentation, &file.resource_policy_uri, &file.resource_tos_uri].into_iter().flatten() {
        if let Err(fault) = HttpUri::parse(&uri.value) {
            judge.report(Mistake::about(&uri.place, fault));
        }
    }
    let text = |given: &Option<Given<String>>| given.as_ref().map(|given| given.value.clone());
    ResourceMetadata {
        resource_name: text(&file.resource_name),
        resource_documentation: text(&file.resource_documentation),
        resource_policy_uri: text(&file.resource_policy_uri),
        resource_tos_uri: text(&file.resource_tos_uri),
    }
}
