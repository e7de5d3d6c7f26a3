//! Workloads that authenticate with what their platform has made for them, so that they need no secret: projected
//! service-account tokens of Kubernetes, and JWT-SVIDs of SPIFFE (draft-ietf-oauth-spiffe-client-auth §3.2).
//!
//! | | Kubernetes | SPIFFE |
//! |---|---|---|
//! | `client_assertion_type` | `…:jwt-bearer` | `…:jwt-spiffe` |
//! | whose keys | those of the issuer in `iss` | those of the trust domain in `sub` |
//! | `sub` | `system:serviceaccount:NAMESPACE:NAME`, as `kubernetes.io` says too | a SPIFFE ID |
//! | `aud` | our issuer and nothing else | the same |
//!
//! Neither is an assertion of RFC 7523: the client has not made it, and its `jti`, if any, comes again with every use. It is as
//! good as a bearer token for as long as it lives. Clients that authenticate so get no token without a proof or a certificate
//! in the same request.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::Refusal;
use crate::clock::Timestamp;
use crate::ident::{Issuer, IssuerName};
use crate::jose::{Algorithm, Json, Jws, Members, PublicKey};
use crate::token::{KeyLookup, KeysFault};
use crate::unavailable::Unavailable;

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(10);

/// The longest SPIFFE ID, in bytes (SPIFFE ID §2.3).
const SPIFFE_ID_LIMIT: usize = 2_048;

/// What the `sub` of a service account begins with.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The platform that vouches for workloads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Platform {
    /// A Kubernetes cluster, by its issuer.
    Kubernetes(IssuerName),
    /// A SPIFFE trust domain.
    Spiffe(TrustDomain),
}

impl Platform {
    /// The method by which its workloads authenticate.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => KUBERNETES,
            Self::Spiffe(_) => SPIFFE_JWT,
        }
    }
}

/// `token_endpoint_auth_method` of clients that are service accounts. There is no registered name.
pub const KUBERNETES: &str = "urn:tollgate:client-auth:kubernetes-service-account";

/// `token_endpoint_auth_method` of clients that are SPIFFE workloads.
pub const SPIFFE_JWT: &str = "spiffe_jwt";

/// A platform whose word counts.
pub struct WorkloadIssuer {
    /// Which one.
    pub platform: Platform,
    /// What it signs with.
    pub keys: Arc<dyn KeyLookup>,
    /// What that may be.
    pub algorithms: Vec<Algorithm>,
    /// How long what it makes may be good, from `iat` to `exp`.
    pub longest: Duration,
}

/// Who a workload is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Workload {
    /// A service account.
    Kubernetes(ServiceAccount),
    /// A SPIFFE workload.
    Spiffe(SpiffeId),
}

impl Workload {
    /// The method by which it authenticates.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => KUBERNETES,
            Self::Spiffe(_) => SPIFFE_JWT,
        }
    }

    /// Whether `shown`, which its platform says, is this one.
    #[must_use]
    pub fn is(&self, shown: &Self) -> bool {
        match (self, shown) {
            (Self::Kubernetes(registered), Self::Kubernetes(shown)) => {
                (&registered.issuer, &registered.namespace, &registered.name)
                    == (&shown.issuer, &shown.namespace, &shown.name)
                    && (registered.uid.is_none() || registered.uid == shown.uid)
            }
            (Self::Spiffe(registered), Self::Spiffe(shown)) => registered == shown,
            (Self::Kubernetes(_), Self::Spiffe(_)) | (Self::Spiffe(_), Self::Kubernetes(_)) => false,
        }
    }
}

/// A service account of Kubernetes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceAccount {
    /// The issuer of its cluster.
    pub issuer: IssuerName,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `uid`, which is another one once it was deleted and made again.
    pub uid: Option<String>,
}

/// The name of a SPIFFE trust domain (SPIFFE ID §2.1): lower-case letters, digits, dots, dashes and underscores.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TrustDomain(String);

/// A text that is not what SPIFFE calls so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpiffeFault {
    /// No trust domain.
    #[error("must be a trust domain such as `example.org`: lower-case letters, digits, `.`, `-` and `_`")]
    TrustDomain,
    /// No SPIFFE ID of a workload.
    #[error("must be a SPIFFE ID such as `spiffe://example.org/ns/shop/sa/billing`")]
    Id,
}

impl FromStr for TrustDomain {
    type Err = SpiffeFault;

    fn from_str(text: &str) -> Result<Self, SpiffeFault> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.to_owned())) } else { Err(SpiffeFault::TrustDomain) }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID with a path; equal by code point, as its syntax leaves one spelling only.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SpiffeId {
    text: String,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeFault;

    fn from_str(text: &str) -> Result<Self, SpiffeFault> {
        let rest = text.strip_prefix("spiffe://").filter(|_| text.len() <= SPIFFE_ID_LIMIT).ok_or(SpiffeFault::Id)?;
        let (domain, path) = rest.split_once('/').ok_or(SpiffeFault::Id)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let fits = |segment: &str| !["", ".", ".."].contains(&segment) && segment.bytes().all(allowed);
        if !path.split('/').all(fits) {
            return Err(SpiffeFault::Id);
        }
        Ok(Self { text: text.to_owned(), trust_domain: domain.parse()? })
    }
}

impl WorkloadIssuer {
    /// The keys that may have signed something, newer ones if none of those at hand has this name.
    pub(super) async fn keys_for(&self, kid: Option<&str>, now: Timestamp) -> Result<Vec<PublicKey>, Unavailable> {
        match self.keys.keys(kid, now) {
            Ok(keys) => return Ok(keys),
            Err(KeysFault::Unavailable(cause)) => return Err(cause),
            Err(KeysFault::Outdated) => self.keys.renew(now).await,
        }
        self.keys.keys(kid, now).map_err(|fault| match fault {
            KeysFault::Unavailable(cause) => cause,
            KeysFault::Outdated => Unavailable::Down,
        })
    }

    /// Whether this platform is the one that a Kubernetes assertion names.
    pub(super) fn is_cluster(&self, iss: &str) -> bool {
        matches!(&self.platform, Platform::Kubernetes(issuer) if issuer.as_str() == iss)
    }

    /// Whether this platform is the one that a SPIFFE ID belongs to.
    pub(super) fn is_domain_of(&self, id: &SpiffeId) -> bool {
        matches!(&self.platform, Platform::Spiffe(domain) if domain == id.trust_domain())
    }

    /// Judges what a platform has made, and tells who shows it. Its signature is judged elsewhere.
    pub(super) fn judge(&self, jws: &Jws<'_>, issuer: &Issuer, now: Timestamp) -> Result<Workload, Refusal> {
        let typ = jws.header_text("typ").map_err(|_| Refusal::AssertionMalformed)?;
        if !typ.is_none_or(|typ| ["JWT", "JOSE"].contains(&typ)) {
            return Err(Refusal::AssertionMalformed);
        }
        if !is_sole_audience(jws.claims().get("aud"), issuer.as_str()) {
            return Err(Refusal::AssertionAudienceWrong);
        }
        self.check_times(jws, now)?;
        let sub = jws.required_text("sub").map_err(|_| Refusal::AssertionPartyWrong)?;
        match &self.platform {
            Platform::Kubernetes(issuer) => service_account(issuer, sub, jws.claims()).map(Workload::Kubernetes),
            Platform::Spiffe(_) => {
                let id: SpiffeId = sub.parse().map_err(|_| Refusal::AssertionPartyWrong)?;
                if self.is_domain_of(&id) { Ok(Workload::Spiffe(id)) } else { Err(Refusal::AssertionPartyWrong) }
            }
        }
    }

    /// What lives for long can be stolen for long. Kubernetes always says when it made a token, SPIFFE need not.
    fn check_times(&self, jws: &Jws<'_>, now: Timestamp) -> Result<(), Refusal> {
        let time = |name| jws.time(name).map_err(|_| Refusal::AssertionTimeWrong);
        let expires = time("exp")?.ok_or(Refusal::AssertionTimeWrong)?;
        let issued = match (time("iat")?, &self.platform) {
            (Some(issued), _) => issued,
            (None, Platform::Spiffe(_)) => now,
            (None, Platform::Kubernetes(_)) => return Err(Refusal::AssertionTimeWrong),
        };
        let begins = time("nbf")?.unwrap_or(issued);
        let early = issued > now + SKEW || begins > now + SKEW;
        let long = expires > issued + self.longest + SKEW || expires > now + self.longest + SKEW;
        if now >= expires || early || long { Err(Refusal::AssertionTimeWrong) } else { Ok(()) }
    }
}

/// Whether `aud` is this one and nothing else: a string, or an array of it. A token for the API server of the cluster, or for
/// anybody else, must not open anything here, nor one for us there.
fn is_sole_audience(aud: Option<&Json>, issuer: &str) -> bool {
    match aud {
        Some(Json::String(one)) => one == issuer,
        Some(Json::Array(many)) => matches!(many.as_slice(), [Json::String(one)] if one == issuer),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => false,
    }
}

/// The service account of a token. What `sub` says must be what `kubernetes.io` says.
fn service_account(issuer: &IssuerName, sub: &str, claims: &Members) -> Result<ServiceAccount, Refusal> {
    let wrong = Refusal::AssertionPartyWrong;
    let (namespace, name) = sub.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':')).ok_or(wrong)?;
    let details = claims.get("kubernetes.io").and_then(Json::as_object).ok_or(wrong)?;
    let account = details.get("serviceaccount").and_then(Json::as_object).ok_or(wrong)?;
    let text = |members: &Members, member: &str| members.get(member).and_then(Json::as_str).map(str::to_owned);
    let agrees =
        text(details, "namespace").as_deref() == Some(namespace) && text(account, "name").as_deref() == Some(name);
    if namespace.is_empty() || name.is_empty() || name.contains(':') || !agrees {
        return Err(wrong);
    }
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Ok(ServiceAccount { issuer: issuer.clone(), namespace, name, uid: text(account, "uid") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_have_one_spelling() {
        for good in ["spiffe://example.org/a", "spiffe://example.org/ns/shop/sa/A.b-c_9"] {
            assert_eq!(good.parse::<SpiffeId>().map(|id| id.trust_domain().to_string()), Ok("example.org".to_owned()));
        }
        let long = format!("spiffe://example.org/{}", "a".repeat(2_048));
        for bad in [
            "",
            "example.org/a",
            "https://example.org/a",
            "SPIFFE://example.org/a",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/./a",
            "spiffe://example.org/../a",
            "spiffe://example.org/a%41",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org:1/a",
            "spiffe://u@example.org/a",
            "spiffe://Example.org/a",
            "spiffe:///a",
            &long,
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
