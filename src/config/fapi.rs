//! Judges what FAPI 2.0 asks of a client, and fills in what follows from it (§5.3.2.1, §5.4.1).

use super::check::Judge;
use super::client::Surroundings;
use super::file::{AuthMethod, ClientFile, Profile as ProfileWord, RotationWord, SigningAlgorithm};
use super::given::Given;
use super::mistake::{Mistake, Place};
use crate::jose::Algorithm;
use crate::oauth::Profile;

/// A profile as the rules know it.
pub(super) const fn profile(word: ProfileWord) -> Profile {
    match word {
        ProfileWord::Default => Profile::Default,
        ProfileWord::Fapi2 => Profile::Fapi2,
    }
}

/// The profile of a client: its own, or that of the server.
pub(super) fn of_client(
    judge: &mut Judge<'_>,
    client: &Given<ClientFile>,
    method: AuthMethod,
    around: &Surroundings<'_>,
) -> Profile {
    let given = client.value.profile.as_ref();
    let chosen = given.map_or(around.profile, |given| profile(given.value));
    if let Some(given) = given.filter(|_| around.profile.is_fapi() && !chosen.is_fapi()) {
        let mistake = Mistake::about(&given.place, "is looser than `authorization_server.profile`");
        judge.report(mistake.help("set `profile: fapi2` at those clients that keep it, and not at the server"));
    }
    if chosen.is_fapi() {
        let about = given.map_or(&client.place, |given| &given.place);
        check(judge, client, method, (about, around.signing));
    }
    chosen
}

fn check(judge: &mut Judge<'_>, client: &Given<ClientFile>, method: AuthMethod, (about, signing): (&Place, Algorithm)) {
    let file = &client.value;
    let authenticates = match method {
        AuthMethod::None
        | AuthMethod::ClientSecretBasic
        | AuthMethod::ClientSecretPost
        | AuthMethod::SpiffeJwt
        | AuthMethod::Kubernetes => false,
        AuthMethod::PrivateKeyJwt | AuthMethod::TlsClientAuth | AuthMethod::SelfSignedTlsClientAuth => true,
    };
    if !authenticates && !client.place.lost("token_endpoint_auth_method") {
        let place = file.token_endpoint_auth_method.as_ref().map_or(about, |given| &given.place);
        let mistake = Mistake::about(place, format!("cannot be `{}` under `profile: fapi2`", method.name()));
        judge.report(mistake.help("use `private_key_jwt`, `tls_client_auth` or `self_signed_tls_client_auth`"));
    }
    for given in [&file.token_endpoint_auth_signing_alg, &file.request_object_signing_alg].into_iter().flatten() {
        if given.value == SigningAlgorithm::Rs256 {
            let mistake = Mistake::about(&given.place, "cannot be `RS256` under `profile: fapi2`");
            judge.report(mistake.help("use `PS256`, which the same key can sign"));
        }
    }
    if signing == Algorithm::Rs256 {
        let mistake = Mistake::about(about, "does not go with `signing.algorithm: RS256`");
        judge.report(mistake.help("sign with `ES256`, `EdDSA`, `Ed25519` or `PS256`"));
    }
    let rotation = file.refresh_token_rotation.as_ref();
    if let Some(given) = rotation.filter(|given| given.value == RotationWord::Always) {
        let mistake = Mistake::about(&given.place, "cannot be `always` under `profile: fapi2`");
        judge.report(mistake.help("take it out: there it is `never` (FAPI 2.0 §5.3.2.1)"));
    }
    let bound = file.tls_client_certificate_bound_access_tokens.as_ref().is_some_and(|given| given.value);
    let unbound = file.dpop_bound_access_tokens.as_ref().filter(|given| !given.value && !bound);
    if let Some(given) = unbound {
        let mistake = Mistake::about(&given.place, "cannot be `false` under `profile: fapi2`");
        judge.report(mistake.help("take it out, or bind tokens with `tls_client_certificate_bound_access_tokens`"));
    }
}
