//! Judges how the authorization requests of a client must come.

use super::authorization_server::algorithm;
use super::check::Judge;
use super::client::{Surroundings, client_keys};
use super::file::{AuthMethod, ClientFile};
use super::given::Given;
use super::mistake::{Mistake, Place};
use super::{client_openid, detail_types};
use crate::jose::Algorithm;
use crate::oauth::client::{ClientAuthentication, ClientKeys, Profile, RequestRules};

/// Whether the client has something to say about request objects, which is what keys are for if it does not authenticate
/// with them.
pub(super) fn signs_requests(file: &ClientFile) -> bool {
    file.require_signed_request_object.as_ref().is_some_and(|given| given.value)
        || file.request_object_signing_alg.is_some()
}

/// Judges the rules. `authentication` is `None` if there are mistakes in it.
pub(super) fn rules(
    judge: &mut Judge<'_>,
    client: &Given<ClientFile>,
    (method, authentication, profile): (AuthMethod, Option<&ClientAuthentication>, Profile),
    around: &Surroundings<'_>,
) -> RequestRules {
    let file = &client.value;
    let are_own = method != AuthMethod::PrivateKeyJwt && signs_requests(file);
    let object_keys = if are_own { client_keys(judge, file, around.reach) } else { None };
    let rules = RequestRules {
        pushed_only: file.require_pushed_authorization_requests.as_ref().is_some_and(|given| given.value),
        signed_only: file.require_signed_request_object.as_ref().is_some_and(|given| given.value),
        object_algorithm: file.request_object_signing_alg.as_ref().map(|given| algorithm(given.value)),
        detail_types: detail_types::of_client(judge, file, around.details),
        object_keys,
        pkce_optional: client_openid::pkce_optional(judge, client, method, profile.is_fapi()),
    };
    let keys = match authentication {
        Some(ClientAuthentication::PrivateKeyJwt { keys, .. }) => Some(keys),
        Some(_) => rules.object_keys.as_ref(),
        None => None,
    };
    if authentication.is_some() {
        check_keys(judge, client, &rules, keys);
    }
    check_response_algorithm(judge, file, around.signing);
    rules
}

/// Reports a client whose request objects nobody could verify.
fn check_keys(judge: &mut Judge<'_>, client: &Given<ClientFile>, rules: &RequestRules, keys: Option<&ClientKeys>) {
    let Given { value: file, place } = client;
    let named = |given: Option<&Place>| given.unwrap_or(place).clone();
    let given = file.jwks.is_some() || file.jwks_uri.is_some() || place.lost("jwks") || place.lost("jwks_uri");
    if keys.is_none() && signs_requests(file) && !given {
        let about = named(file.require_signed_request_object.as_ref().map(|given| &given.place));
        let mistake = Mistake::about(&about, "needs `jwks`: request objects are signed");
        judge.report(mistake.help(
            "add the client's public keys: `jwks: { keys: [ { kty: EC, ... } ] }`, or `jwks_uri` where it publishes them",
        ));
    }
    if let (Some(algorithm), Some(ClientKeys::Registered(keys))) = (rules.object_algorithm, keys)
        && !keys.iter().any(|key| key.fits(algorithm))
    {
        let about = named(file.request_object_signing_alg.as_ref().map(|given| &given.place));
        let name = Algorithm::name(algorithm);
        judge.report(
            Mistake::about(&about, format!("is `{name}`, which no key in `jwks` can sign"))
                .help("choose an algorithm that fits one of the keys, or add such a key"),
        );
    }
}

/// There is one signing key at a time, so there is one algorithm for everybody.
fn check_response_algorithm(judge: &mut Judge<'_>, file: &ClientFile, signing: Algorithm) {
    let given = file.authorization_signed_response_alg.as_ref();
    if let Some(given) = given.filter(|given| algorithm(given.value) != signing) {
        let mistake = Mistake::about(&given.place, format!("is not `signing.algorithm`, which is `{signing}`"));
        judge.report(mistake.help("all responses are signed with that one: give it here, or change it there"));
    }
}
