//! Judges what a client says about the people whom it signs in (OpenID Connect Dynamic Client Registration 1.0 §2).

use std::time::Duration;

use super::check::Judge;
use super::file::{AuthMethod, ClientFile};
use super::given::{Given, Parsed};
use super::mistake::Mistake;
use crate::ident::Acr;
use crate::oauth::client::OpenIdRules;

/// Judges the rules.
pub(super) fn rules(judge: &mut Judge<'_>, client: &Given<ClientFile>) -> OpenIdRules {
    let file = &client.value;
    let default_max_age = file.default_max_age.as_ref();
    let default_max_age = default_max_age.map(|given| judge.duration(Some(given), Duration::ZERO, None));
    OpenIdRules {
        default_max_age,
        default_acr_values: acr_values(judge, file.default_acr_values.as_ref()),
        require_auth_time: file.require_auth_time.as_ref().is_some_and(|given| given.value),
    }
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
