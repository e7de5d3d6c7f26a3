//! Judges what a client says about the people whom it signs in (OpenID Connect Dynamic Client Registration 1.0 §2).

use std::collections::BTreeSet;
use std::time::Duration;

use super::check::Judge;
use super::file::{AuthMethod, ClientFile, SubjectTypeWord};
use super::given::{Given, Parsed};
use super::mistake::Mistake;
use crate::fetch::Reach;
use crate::ident::Acr;
use crate::oauth::client::{BackchannelLogout, OpenIdRules, SubjectType};

/// Judges the rules.
pub(super) fn rules(judge: &mut Judge<'_>, client: &Given<ClientFile>, reach: Reach) -> OpenIdRules {
    let file = &client.value;
    let default_max_age = file.default_max_age.as_ref();
    let default_max_age = default_max_age.map(|given| judge.duration(Some(given), Duration::ZERO, None));
    OpenIdRules {
        default_max_age,
        default_acr_values: acr_values(judge, file.default_acr_values.as_ref()),
        subject_type: subject_type(judge, client),
        backchannel_logout: backchannel_logout(judge, client, reach),
        require_auth_time: file.require_auth_time.as_ref().is_some_and(|given| given.value),
    }
}

/// Where the client hears that a session is over.
fn backchannel_logout(judge: &mut Judge<'_>, client: &Given<ClientFile>, reach: Reach) -> Option<BackchannelLogout> {
    let (file, required) = (&client.value, client.value.backchannel_logout_session_required.as_ref());
    let Some(given) = &file.backchannel_logout_uri else {
        if let Some(given) = required.filter(|given| given.value && !client.place.lost("backchannel_logout_uri")) {
            let mistake = Mistake::about(&given.place, "has no use without `backchannel_logout_uri`");
            judge.report(mistake.help("add where the client hears that a session is over, or take this out"));
        }
        return None;
    };
    let url = given.value.0.clone();
    // As for `jwks_uri`.
    let reach = if url.is_loopback() { Reach::Anywhere } else { reach };
    Some(BackchannelLogout { url, reach, session_required: required.is_some_and(|given| given.value) })
}

/// What the client knows people as. The sector is that of one host: of the redirect URIs, unless it is given (OpenID Connect
/// Core §8.1).
///
/// Choice: `sector_identifier_uri` is not fetched, because it is the operator who says which client belongs to a sector.
fn subject_type(judge: &mut Judge<'_>, client: &Given<ClientFile>) -> SubjectType {
    let file = &client.value;
    let pairwise = file.subject_type.as_ref().filter(|given| given.value == SubjectTypeWord::Pairwise);
    let sector = file.sector_identifier_uri.as_ref();
    let Some(pairwise) = pairwise else {
        if let Some(given) = sector.filter(|_| !client.place.lost("subject_type")) {
            let mistake = Mistake::about(&given.place, "has no use without `subject_type: pairwise`");
            judge.report(mistake.help("take it out, or say `subject_type: pairwise`"));
        }
        return SubjectType::Public;
    };
    if let Some(given) = sector {
        let host = given.value.0.host().filter(|_| given.value.0.as_str().starts_with("https://"));
        if host.is_none() {
            judge.report(Mistake::about(&given.place, "is no https URL"));
        }
        return host.map_or(SubjectType::Public, |sector| SubjectType::Pairwise { sector });
    }
    let uris = file.redirect_uris.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    let hosts: BTreeSet<_> = uris.iter().map(|uri| uri.value.0.host()).collect();
    let mut hosts = hosts.into_iter();
    if let (Some(Some(sector)), None) = (hosts.next(), hosts.next()) {
        return SubjectType::Pairwise { sector };
    }
    if !client.place.lost("redirect_uris") && !client.place.lost("sector_identifier_uri") {
        let mistake =
            Mistake::about(&pairwise.place, "needs `sector_identifier_uri`: the redirect URIs have not one host");
        judge.report(mistake.help("add `sector_identifier_uri: https://app.example.com/`; its host is the sector"));
    }
    SubjectType::Public
}

/// A list of authentication context classes. They stand in one parameter, with spaces between them.
pub(super) fn acr_values(judge: &mut Judge<'_>, given: Option<&Given<Vec<Given<Parsed<Acr>>>>>) -> Vec<Acr> {
    let Some(given) = given else { return Vec::new() };
    for one in given.value.iter().filter(|one| one.value.0.as_str().contains(' ')) {
        judge.report(Mistake::about(&one.place, "has a space").help("give each of several classes an item of its own"));
    }
    judge.once(given.value.iter().map(|one| (&one.value.0, &one.place)), "is given twice");
    given.value.iter().map(|one| one.value.0.clone()).collect()
}

/// Whether the client may leave the PKCE challenge out.
pub(super) fn pkce_optional(judge: &mut Judge<'_>, client: &Given<ClientFile>, method: AuthMethod, fapi: bool) -> bool {
    let Some(given) = client.value.require_pkce.as_ref().filter(|given| !given.value) else { return false };
    if method == AuthMethod::None && !client.place.lost("token_endpoint_auth_method") {
        // RFC 9700 §2.1.1: "Public clients MUST use PKCE".
        let mistake = Mistake::about(&given.place, "cannot be `false` for a public client");
        judge.report(mistake.help("take it out, or let the client authenticate"));
    }
    if fapi {
        let mistake = Mistake::about(&given.place, "cannot be `false` under `profile: fapi2`");
        judge.report(mistake.help("take it out (FAPI 2.0 §5.3.2.2-5)"));
    }
    true
}
