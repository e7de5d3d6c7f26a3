//! Client authentication (RFC 6749 §2.3), the same at every endpoint that asks for it.
//!
//! Invariant: an [`AuthenticatedClient`] is made here only. An unknown client and a wrong credential share error, text
//! and work, so that nobody learns which clients exist.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::ClientAuthentication;
use super::client_assertion::{self, Assertion};
use super::clients::Asker;
use super::params::{self, Parameters};
use super::workload::{SpiffeId, WorkloadIssuer};
use super::{AuthorizationServer, Client, Error, Refusal};
use crate::certificate::ClientCertificate;
use crate::clock::Timestamp;
use crate::jose::{ASSERTION_ALGORITHMS, PublicKey};
use crate::replay::Seen;
use crate::secret::ClientSecretHash;

/// The parameters with which clients authenticate: they are of no other use.
pub(super) const CREDENTIALS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// That of JWT-SVIDs (draft-ietf-oauth-spiffe-client-auth §3.2).
const SPIFFE_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// A client that has shown who it is, or a public one that has said so (RFC 6749 §2.1).
#[must_use]
pub struct AuthenticatedClient(Arc<Client>);

impl Deref for AuthenticatedClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

/// What a request presents: the `Authorization` header and the parameters of its body.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The value of the `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The parameters.
    pub parameters: &'a Parameters,
    /// The certificate of its connection (RFC 8705 §2).
    pub certificate: Option<&'a ClientCertificate>,
    /// The address that it came from.
    pub address: IpAddr,
}

/// The one method that a request uses (RFC 6749 §2.3).
enum Presented<'a> {
    None { id: &'a str },
    Basic { id: String, secret: String },
    Post { id: &'a str, secret: &'a str },
    Assertion(Box<Assertion<'a>>),
    Workload { assertion: Box<Assertion<'a>>, id: Option<&'a str>, spiffe: bool },
}

impl AuthorizationServer {
    /// Authenticates the client of a request, unless it, or its address, asks too often; as its last act it spends the
    /// assertion, if there is one.
    ///
    /// # Errors
    /// A [`Refusal`] of client authentication, `Throttled` or `Unavailable`.
    pub async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        now: Timestamp,
    ) -> Result<AuthenticatedClient, Error> {
        self.rates.count_address(credentials.address, now)?;
        let client = match presented(credentials)? {
            Presented::None { id } => self.identify(id, credentials, now).await?,
            Presented::Basic { id, secret } => {
                self.check_secret((&id, &secret), (credentials.address, now), |method| match method {
                    ClientAuthentication::SecretBasic(hash) => Some(hash),
                    ClientAuthentication::None
                    | ClientAuthentication::SecretPost(_)
                    | ClientAuthentication::PrivateKeyJwt { .. }
                    | ClientAuthentication::TlsClientAuth(_)
                    | ClientAuthentication::SelfSignedTlsClientAuth(_)
                    | ClientAuthentication::Workload(_) => None,
                })
                .await?
            }
            Presented::Post { id, secret } => {
                self.check_secret((id, secret), (credentials.address, now), |method| match method {
                    ClientAuthentication::SecretPost(hash) => Some(hash),
                    ClientAuthentication::None
                    | ClientAuthentication::SecretBasic(_)
                    | ClientAuthentication::PrivateKeyJwt { .. }
                    | ClientAuthentication::TlsClientAuth(_)
                    | ClientAuthentication::SelfSignedTlsClientAuth(_)
                    | ClientAuthentication::Workload(_) => None,
                })
                .await?
            }
            Presented::Assertion(assertion) => {
                self.check_assertion(&assertion, Asker::at(credentials.address, now)).await?
            }
            Presented::Workload { assertion, id, spiffe } => self.check_workload(&assertion, (id, spiffe), now).await?,
        };
        Ok(client)
    }

    /// A request that names its client and shows nothing but, perhaps, the certificate of its connection.
    async fn identify(
        &self,
        id: &str,
        Credentials { certificate, address, .. }: Credentials<'_>,
        now: Timestamp,
    ) -> Result<AuthenticatedClient, Error> {
        let client = self.client(id, Asker::at(address, now)).await?.ok_or(Refusal::ClientAuthenticationFailed)?;
        match &client.authentication {
            ClientAuthentication::None => {}
            ClientAuthentication::TlsClientAuth(subject) => {
                let certificate = certificate.ok_or(Refusal::ClientCertificateMissing)?;
                let trusted = self.settings.client_authorities.as_ref();
                if !trusted.is_some_and(|authorities| authorities.vouch_for(certificate, now)) {
                    return Err(Refusal::ClientCertificateUntrusted.into());
                }
                if !certificate.names(subject) {
                    return Err(Refusal::ClientCertificateWrong.into());
                }
            }
            ClientAuthentication::SelfSignedTlsClientAuth(registered) => {
                let certificate = certificate.ok_or(Refusal::ClientCertificateMissing)?;
                if !registered.hold(certificate) {
                    return Err(Refusal::ClientCertificateWrong.into());
                }
            }
            ClientAuthentication::SecretBasic(_)
            | ClientAuthentication::SecretPost(_)
            | ClientAuthentication::PrivateKeyJwt { .. }
            | ClientAuthentication::Workload(_) => return Err(Refusal::ClientMethodMismatch.into()),
        }
        self.rates.count_client(&client.id, now)?;
        Ok(AuthenticatedClient(client))
    }

    async fn check_secret(
        &self,
        (id, secret): (&str, &str),
        (address, now): (IpAddr, Timestamp),
        registered: impl Fn(&ClientAuthentication) -> Option<&ClientSecretHash>,
    ) -> Result<AuthenticatedClient, Error> {
        self.rates.count_secret(id, address, now)?;
        let client = self.client(id, Asker::at(address, now)).await?;
        let hash = client.as_deref().and_then(|client| registered(&client.authentication));
        let matches = hash.unwrap_or(&self.decoy_secret).matches(secret);
        match client {
            Some(client) if hash.is_some() && matches => {
                self.rates.take_back(id, address);
                self.rates.count_client(&client.id, now)?;
                Ok(AuthenticatedClient(client))
            }
            Some(_) if hash.is_none() => Err(Refusal::ClientMethodMismatch.into()),
            Some(_) | None => Err(Refusal::ClientAuthenticationFailed.into()),
        }
    }

    async fn check_assertion(&self, assertion: &Assertion<'_>, asker: Asker) -> Result<AuthenticatedClient, Error> {
        let now = asker.now;
        assertion.check_claims(&self.settings.issuer, now)?;
        let client = self.client(assertion.client_id(), asker).await?;
        let registered = client.as_deref().and_then(|client| match &client.authentication {
            ClientAuthentication::PrivateKeyJwt { keys, algorithm } => Some((keys, *algorithm)),
            ClientAuthentication::None
            | ClientAuthentication::SecretBasic(_)
            | ClientAuthentication::SecretPost(_)
            | ClientAuthentication::TlsClientAuth(_)
            | ClientAuthentication::SelfSignedTlsClientAuth(_)
            | ClientAuthentication::Workload(_) => None,
        });
        let algorithm = registered.and_then(|(_, algorithm)| algorithm);
        let allowed = client.as_ref().map_or(ASSERTION_ALGORITHMS, |client| client.profile.assertion_algorithms());
        let verify = |keys: &[PublicKey]| assertion.check_signature(keys, (allowed, algorithm), &self.decoy_keys);
        match registered {
            Some((keys, _)) => self.verify_with(keys, assertion.kid(), now, verify).await?,
            None => verify(&[])?,
        }
        let is_registered = registered.is_some();
        let client = client.filter(|_| is_registered).ok_or(Refusal::AssertionSignatureWrong)?;
        self.rates.count_client(&client.id, now)?; // before the assertion is spent: it may come again
        match self.store.spend_assertion(assertion.replay_key(), assertion.remembered_until(), now).await? {
            Seen::First => Ok(AuthenticatedClient(client)),
            Seen::Replayed => Err(Refusal::AssertionReplayed.into()),
        }
    }
}

impl AuthorizationServer {
    /// Authenticates a workload by what its platform has made for it. Nothing is spent: it comes again with every request.
    async fn check_workload(
        &self,
        assertion: &Assertion<'_>,
        (id, spiffe): (Option<&str>, bool),
        now: Timestamp,
    ) -> Result<AuthenticatedClient, Error> {
        let jws = assertion.jws();
        let (iss, subject) = (jws.text("iss").ok().flatten(), assertion.client_id().parse::<SpiffeId>().ok());
        let vouches = |issuer: &&WorkloadIssuer| match &subject {
            Some(subject) if spiffe => issuer.is_domain_of(subject),
            Some(_) | None => !spiffe && iss.is_some_and(|iss| issuer.is_cluster(iss)),
        };
        let issuer = self.workload_issuers.iter().find(vouches).ok_or(Refusal::AssertionPartyWrong)?;
        let shown = issuer.judge(jws, &self.settings.issuer, now)?;
        let keys = issuer.keys_for(assertion.kid(), now).await?;
        assertion.check_signature(&keys, (&issuer.algorithms, None), &self.decoy_keys)?;
        let is_shown = |client: &&Arc<Client>| match &client.authentication {
            ClientAuthentication::Workload(registered) => registered.is(&shown),
            ClientAuthentication::None
            | ClientAuthentication::SecretBasic(_)
            | ClientAuthentication::SecretPost(_)
            | ClientAuthentication::PrivateKeyJwt { .. }
            | ClientAuthentication::TlsClientAuth(_)
            | ClientAuthentication::SelfSignedTlsClientAuth(_) => false,
        };
        let client = self.clients.values().find(is_shown).ok_or(Refusal::ClientAuthenticationFailed)?;
        if id.is_some_and(|id| id != client.id.as_str()) {
            return Err(Refusal::ClientIdMismatch.into());
        }
        self.rates.count_client(&client.id, now)?;
        Ok(AuthenticatedClient(Arc::clone(client)))
    }
}

/// Finds the one method in use. A `client_id` parameter beside another method must name the same client.
fn presented(credentials: Credentials<'_>) -> Result<Presented<'_>, Refusal> {
    let Credentials { authorization, parameters, .. } = credentials;
    let (id, secret) = (parameters.get("client_id"), parameters.get("client_secret"));
    let (assertion, assertion_type) = (parameters.get("client_assertion"), parameters.get("client_assertion_type"));
    let methods = [authorization.is_some(), secret.is_some(), assertion.is_some() || assertion_type.is_some()];
    if methods.into_iter().filter(|present| *present).count() > 1 {
        return Err(Refusal::ClientAuthenticationRepeated);
    }
    let same = |named: &str| match id {
        Some(id) if id != named => Err(Refusal::ClientIdMismatch),
        Some(_) | None => Ok(()),
    };
    if let Some(authorization) = authorization {
        let (id, secret) = basic(authorization).ok_or(Refusal::BasicMalformed)?;
        same(&id)?;
        return Ok(Presented::Basic { id, secret });
    }
    if let Some(assertion) = assertion {
        let spiffe = match assertion_type {
            Some(ASSERTION_TYPE) => false,
            Some(SPIFFE_ASSERTION_TYPE) => true,
            Some(_) | None => return Err(Refusal::AssertionTypeWrong),
        };
        let assertion = Box::new(client_assertion::Assertion::parse(assertion)?);
        if spiffe || !assertion.is_of_its_client() {
            return Ok(Presented::Workload { assertion, id, spiffe });
        }
        same(assertion.client_id())?;
        return Ok(Presented::Assertion(assertion));
    }
    if assertion_type.is_some() {
        return Err(Refusal::AssertionMalformed);
    }
    let id = id.ok_or(Refusal::ClientMissing)?;
    Ok(secret.map_or(Presented::None { id }, |secret| Presented::Post { id, secret }))
}

/// RFC 6749 §2.3.1: Base64 of form-encoded id, a colon and form-encoded secret.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim_start_matches(' ')).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((params::decode(id).ok()?, params::decode(secret).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_encoded_inside() {
        let vector = "Basic bXkrY2xpZW50JTNBMTpzM2MlMkJyJTI1dCUyRiVDMyVBOSs=";
        assert_eq!(basic(vector), Some(("my client:1".to_owned(), "s3c+r%t/é ".to_owned())));
        let rfc = "basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3";
        assert_eq!(basic(rfc), Some(("s6BhdRkqt3".to_owned(), "7Fjfp0ZBr1KtDRbnfVdmIw".to_owned())));
        for bad in ["Basic", "Basic !", "Bearer abc", "Basic /w==", "Basic YQ=="] {
            assert_eq!(basic(bad), None, "{bad}");
        }
    }
}
