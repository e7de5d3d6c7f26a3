//! Judges how this process authenticates where it is a client itself.

use super::authorization_server::algorithm;
use super::check::Judge;
use super::file::{AuthMethod, SigningAlgorithm};
use super::given::Given;
use super::mistake::{Mistake, Place};
use super::named_file;
use crate::issuers::ClientCredential;

/// What the file says about it.
pub(super) struct Credential<'f> {
    /// `token_endpoint_auth_method`.
    pub(super) method: Option<&'f Given<AuthMethod>>,
    /// `client_secret_file`.
    pub(super) secret: Option<&'f Given<String>>,
    /// `client_key_file`.
    pub(super) key: Option<&'f Given<String>>,
    /// `token_endpoint_auth_signing_alg`.
    pub(super) algorithm: Option<&'f Given<SigningAlgorithm>>,
    /// Where all that stands.
    pub(super) place: &'f Place,
}

impl Credential<'_> {
    /// The credential for `whom`. `None` only if there are mistakes.
    pub(super) fn judge(&self, judge: &mut Judge<'_>, whom: &str) -> Option<ClientCredential> {
        let Self { secret, key, place, .. } = *self;
        let default = match (secret, key) {
            (_, Some(_)) => AuthMethod::PrivateKeyJwt,
            (Some(_), None) => AuthMethod::ClientSecretBasic,
            (None, None) => AuthMethod::None,
        };
        let method = self.method.map_or(default, |given| given.value);
        let (uses_secret, uses_key) = match method {
            AuthMethod::None => (false, false),
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => (true, false),
            AuthMethod::PrivateKeyJwt => (false, true),
            AuthMethod::TlsClientAuth
            | AuthMethod::SelfSignedTlsClientAuth
            | AuthMethod::SpiffeJwt
            | AuthMethod::Kubernetes => {
                let mistake = Mistake::about(&self.method?.place, format!("is not supported at {whom}"));
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
                    judge
                        .report(mistake.help("the provider has given it to you when you registered this server there"));
                }
                Some(_) | None => {}
            }
        }
        match method {
            AuthMethod::None => Some(ClientCredential::None),
            AuthMethod::ClientSecretPost => named_file::secret(judge, secret?).map(ClientCredential::Post),
            AuthMethod::PrivateKeyJwt => {
                let word = self.algorithm.map_or(SigningAlgorithm::Es256, |given| given.value);
                let key = named_file::signing_key(judge, key?, algorithm(word));
                key.map(|key| ClientCredential::Key(Box::new(key)))
            }
            AuthMethod::ClientSecretBasic
            | AuthMethod::TlsClientAuth
            | AuthMethod::SelfSignedTlsClientAuth
            | AuthMethod::SpiffeJwt
            | AuthMethod::Kubernetes => named_file::secret(judge, secret?).map(ClientCredential::Basic),
        }
    }
}
