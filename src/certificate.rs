//! Certificates that clients present (RFC 8705): who they name, and what tokens are bound to.
//!
//! Whoever presents one has proven to the TLS endpoint that he holds its key; that is the door's word. Nothing else about a
//! certificate is true before it was asked here.
//!
//! Invariant: subjects are compared as parsed values, never as text with other text in it (RFC 8705 §2.1).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, BmpString, UintRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::RdnSequence;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::clock::Timestamp;
use crate::jose::{Json, Members, PublicKey, Thumbprint};
use crate::secret::{base64url, from_base64url, sha256};

mod forwarded;

pub use forwarded::{FORWARDED_CERTIFICATE, forwarded_certificate};

/// The largest certificate that is looked at, in bytes.
pub const CERTIFICATE_LIMIT: usize = 16 * 1024;

/// The longest percent-encoded PEM text that is looked at, in bytes: three times four thirds of a certificate.
const ENCODED_LIMIT: usize = 4 * CERTIFICATE_LIMIT;

/// How many certificates of a chain are looked at.
const CHAIN_LIMIT: usize = 10;

/// A text or bytes that are no certificate, or one that is too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not an X.509 certificate of at most 16 KiB")]
pub struct CertificateFault;

/// The SHA-256 of a certificate: what `x5t#S256` holds (RFC 8705 §3.1).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct CertificateThumbprint([u8; 32]);

impl CertificateThumbprint {
    /// The thumbprint of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// The thumbprint of the certificate in a percent-encoded PEM text, as Envoy describes the client of a connection.
    #[must_use]
    pub fn of_percent_encoded(text: &str) -> Option<Self> {
        ClientCertificate::from_percent_encoded(text).ok().map(|certificate| certificate.thumbprint())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A thumbprint that was stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Reads 43 characters of canonical base64url.
impl FromStr for CertificateThumbprint {
    type Err = CertificateFault;

    fn from_str(text: &str) -> Result<Self, CertificateFault> {
        from_base64url(text).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(CertificateFault)
    }
}

impl fmt::Display for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl fmt::Debug for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateThumbprint({self})")
    }
}

/// The certificate of a client, and those that lead from it to an authority.
#[derive(Clone)]
pub struct ClientCertificate {
    chain: Arc<[CertificateDer<'static>]>,
    thumbprint: CertificateThumbprint,
}

impl ClientCertificate {
    /// The certificate that a TLS client presented, its own first.
    ///
    /// # Errors
    /// [`CertificateFault`] if there is none, or the first is too large.
    pub fn presented(chain: &[CertificateDer<'_>]) -> Result<Self, CertificateFault> {
        let own = chain.first().filter(|own| own.len() <= CERTIFICATE_LIMIT).ok_or(CertificateFault)?;
        let thumbprint = CertificateThumbprint::of(own);
        let chain = chain.iter().take(CHAIN_LIMIT).map(|one| one.clone().into_owned()).collect();
        Ok(Self { chain, thumbprint })
    }

    /// A certificate on its own.
    ///
    /// # Errors
    /// [`CertificateFault`] if it is none, or too large.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateFault> {
        Certificate::from_der(der).map_err(|_| CertificateFault)?;
        Self::presented(&[der.into()])
    }

    /// The first certificate of a PEM text, and those behind it.
    ///
    /// # Errors
    /// [`CertificateFault`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateFault> {
        let chain = CertificateDer::pem_slice_iter(text.as_bytes()).take(CHAIN_LIMIT);
        Self::presented(&chain.collect::<Result<Vec<_>, _>>().map_err(|_| CertificateFault)?)
    }

    /// The first certificate of a percent-encoded PEM text, and those behind it, as Envoy tells of them.
    ///
    /// # Errors
    /// [`CertificateFault`].
    pub fn from_percent_encoded(text: &str) -> Result<Self, CertificateFault> {
        if text.len() > ENCODED_LIMIT {
            return Err(CertificateFault);
        }
        let pem = percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| CertificateFault)?;
        Self::from_pem(&pem)
    }

    /// What tokens are bound to.
    #[must_use]
    pub fn thumbprint(&self) -> CertificateThumbprint {
        self.thumbprint
    }

    /// Whether the certificate names this subject (RFC 8705 §2.1.2).
    #[must_use]
    pub fn names(&self, subject: &CertificateSubject) -> bool {
        let Some(certificate) = self.parsed() else { return false };
        let named = match subject {
            CertificateSubject::Dn(dn) => return DistinguishedName::of(certificate.tbs_certificate().subject()) == *dn,
            CertificateSubject::Dns(_)
            | CertificateSubject::Uri(_)
            | CertificateSubject::Ip(_)
            | CertificateSubject::Email(_) => {
                certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten()
            }
        };
        named.is_some_and(|(_, SubjectAltName(names))| names.iter().any(|name| subject.is(name)))
    }

    /// The thumbprint of its public key as a JWK, if that is a key of a kind that we use.
    #[must_use]
    pub fn key(&self) -> Option<Thumbprint> {
        let certificate = self.parsed()?;
        let jwk = jwk(certificate.tbs_certificate().subject_public_key_info())?;
        PublicKey::from_jwk(&jwk).ok().map(|key| key.thumbprint())
    }

    fn parsed(&self) -> Option<Certificate> {
        self.chain.first().and_then(|own| Certificate::from_der(own).ok())
    }
}

/// The thumbprint only: subjects are nobody's business in a log.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", self.thumbprint)
    }
}

/// The public key of a certificate as a JWK (RFC 7518 §6, RFC 8037 §2).
fn jwk(key: &SubjectPublicKeyInfoOwned) -> Option<Members> {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
    let bytes = key.subject_public_key.as_bytes()?;
    let members = match key.algorithm.oid {
        EC => {
            let (x, y) = bytes.strip_prefix(&[4]).filter(|point| point.len() == 64)?.split_at(32);
            vec![("kty", "EC".to_owned()), ("crv", "P-256".to_owned()), ("x", base64url(x)), ("y", base64url(y))]
        }
        ED25519 => vec![("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", base64url(bytes))],
        RSA => {
            // RFC 8017 Appendix A.1.1.
            let mut reader = SliceReader::new(bytes).ok()?;
            let (n, e) = reader
                .sequence(|sequence| Ok::<_, x509_cert::der::Error>((sequence.decode()?, sequence.decode()?)))
                .map(|(n, e): (UintRef<'_>, UintRef<'_>)| (base64url(n.as_bytes()), base64url(e.as_bytes())))
                .ok()?;
            vec![("kty", "RSA".to_owned()), ("n", n), ("e", e)]
        }
        _ => return None,
    };
    Some(members.into_iter().map(|(name, value)| (name.to_owned(), Json::String(value))).collect())
}

/// Whom the certificate of a client must name (RFC 8705 §2.1.2): exactly one of these is registered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateSubject {
    /// `tls_client_auth_subject_dn`.
    Dn(DistinguishedName),
    /// `tls_client_auth_san_dns`.
    Dns(String),
    /// `tls_client_auth_san_uri`.
    Uri(String),
    /// `tls_client_auth_san_ip`.
    Ip(IpAddr),
    /// `tls_client_auth_san_email`.
    Email(String),
}

/// A text that is no subject of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "must be `dns:`, `uri:`, `email:`, `ip:` or `dn:` and a name, such as `dns:ops.example.com` or `dn:CN=ops,O=Example`"
)]
pub struct CertificateSubjectFault;

/// Reads the kind of a name, a colon, and the name.
impl FromStr for CertificateSubject {
    type Err = CertificateSubjectFault;

    fn from_str(text: &str) -> Result<Self, CertificateSubjectFault> {
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or(CertificateSubjectFault)?;
        match kind {
            "dns" => Ok(Self::Dns(name.to_owned())),
            "uri" => Ok(Self::Uri(name.to_owned())),
            "email" => Ok(Self::Email(name.to_owned())),
            "ip" => name.parse().map(Self::Ip).map_err(|_| CertificateSubjectFault),
            "dn" => name.parse().map(Self::Dn).map_err(|_| CertificateSubjectFault),
            _ => Err(CertificateSubjectFault),
        }
    }
}

impl CertificateSubject {
    fn is(&self, name: &GeneralName) -> bool {
        match (self, name) {
            (Self::Dns(dns), GeneralName::DnsName(name)) => name.as_str().eq_ignore_ascii_case(dns),
            (Self::Uri(uri), GeneralName::UniformResourceIdentifier(name)) => name.as_str() == uri,
            (Self::Ip(IpAddr::V4(ip)), GeneralName::IpAddress(name)) => name.as_bytes() == ip.octets(),
            (Self::Ip(IpAddr::V6(ip)), GeneralName::IpAddress(name)) => name.as_bytes() == ip.octets(),
            (Self::Email(email), GeneralName::Rfc822Name(name)) => is_same_mailbox(email, name.as_str()),
            (Self::Dn(_) | Self::Dns(_) | Self::Uri(_) | Self::Ip(_) | Self::Email(_), _) => false,
        }
    }
}

/// RFC 5280 §7.5: the local part as it is, the host in any case.
fn is_same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, host)), Some((other_local, other_host))) => {
            local == other_local && host.eq_ignore_ascii_case(other_host)
        }
        (None, _) | (_, None) => false,
    }
}

/// A distinguished name, in a form in which equal names are equal (RFC 5280 §7.1): the order of its parts counts, that
/// within a part does not, nor do case and the width of spaces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DistinguishedName(Vec<BTreeSet<(ObjectIdentifier, Vec<u8>)>>);

impl DistinguishedName {
    fn of(name: &x509_cert::name::Name) -> Self {
        let part = |part: &x509_cert::name::RelativeDistinguishedName| {
            part.iter().map(|attribute| (attribute.oid, comparable(&attribute.value))).collect()
        };
        Self(name.iter_rdn().map(part).collect())
    }
}

/// Reads the string form of RFC 4514, such as `CN=service,O=Example,C=DE`.
impl FromStr for DistinguishedName {
    type Err = DistinguishedNameFault;

    fn from_str(text: &str) -> Result<Self, DistinguishedNameFault> {
        let name: RdnSequence = text.parse().map_err(|_| DistinguishedNameFault)?;
        if name.is_empty() {
            return Err(DistinguishedNameFault);
        }
        let part = |part: &x509_cert::name::RelativeDistinguishedName| {
            part.iter().map(|attribute| (attribute.oid, comparable(&attribute.value))).collect()
        };
        Ok(Self(name.iter().map(part).collect()))
    }
}

/// A text that is no distinguished name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a distinguished name in the form of RFC 4514, such as `CN=service,O=Example,C=DE`")]
pub struct DistinguishedNameFault;

/// The value of an attribute in a form to compare: texts by their letters, all else by its bytes.
fn comparable(value: &Any) -> Vec<u8> {
    let text = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => String::from_utf8(value.value().to_vec()).ok(),
        Tag::BmpString => value.decode_as::<BmpString>().ok().map(|text| text.to_string()),
        _ => None,
    };
    match text {
        Some(text) => text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().into_bytes(),
        None => value.to_der().unwrap_or_default(),
    }
}

/// The authorities whose word about a certificate counts.
#[derive(Clone)]
pub struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
    /// That of the text that they were read from.
    digest: [u8; 32],
}

impl Authorities {
    /// The certificates of a PEM text.
    ///
    /// # Errors
    /// [`AuthoritiesFault`] if there is none, or one cannot be used.
    pub fn from_pem(text: &str) -> Result<Self, AuthoritiesFault> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(text.as_bytes()) {
            roots.add(root.map_err(|_| AuthoritiesFault)?).map_err(|_| AuthoritiesFault)?;
        }
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
        let verifier = verifier.map_err(|_| AuthoritiesFault)?;
        Ok(Self { verifier, digest: sha256(text.as_bytes()) })
    }

    /// Whether a chain leads from the certificate to one of them, and all of it holds now.
    #[must_use]
    pub fn vouch_for(&self, certificate: &ClientCertificate, now: Timestamp) -> bool {
        let Some((own, others)) = certificate.chain.split_first() else { return false };
        let seconds = u64::try_from(now.seconds()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        self.verifier.verify_client_cert(own, others, now).is_ok()
    }
}

/// Those are equal that were read from the same text.
impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities(..)")
    }
}

/// A file that holds no authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("holds no certificate of an authority in PEM, or a broken one")]
pub struct AuthoritiesFault;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType};

    use super::*;

    fn certificate(names: &[(DnType, &str)], others: Vec<SanType>) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = others;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        ClientCertificate::presented(&[certificate.der().clone()]).expect("a certificate")
    }

    #[test]
    fn a_distinguished_name_is_compared_by_its_parts_and_not_as_text() {
        let names =
            [(DnType::CountryName, "DE"), (DnType::OrganizationName, "Example  Ltd"), (DnType::CommonName, "Billing")];
        let billing = certificate(&names, Vec::new());
        for (text, same) in [
            ("CN=Billing,O=Example Ltd,C=DE", true),
            ("CN=billing,O=EXAMPLE ltd,C=de", true),
            ("cn=Billing,o=Example  Ltd,c=DE", true),
            ("C=DE,O=Example Ltd,CN=Billing", false), // another order is another name
            ("CN=Billing,O=Example Ltd", false),
            ("CN=Billing\\,O=Example Ltd,C=DE", false),
            ("CN=Billing2,O=Example Ltd,C=DE", false),
        ] {
            let dn = text.parse().expect("a distinguished name");
            assert_eq!(billing.names(&CertificateSubject::Dn(dn)), same, "{text}");
        }
        for text in ["", "Billing", "CN"] {
            assert_eq!(text.parse::<DistinguishedName>(), Err(DistinguishedNameFault), "{text}");
        }
    }

    #[test]
    fn alternative_names_are_compared_whole_and_by_kind() {
        let dns = |name: &str| SanType::DnsName(name.try_into().expect("a name"));
        let uri = SanType::URI("spiffe://example.org/billing".try_into().expect("a URI"));
        let names = vec![dns("billing.example"), uri, SanType::IpAddress([192, 0, 2, 7].into())];
        let billing = certificate(&[(DnType::CommonName, "other.example")], names);
        for (subject, named) in [
            (CertificateSubject::Dns("Billing.example".to_owned()), true),
            (CertificateSubject::Dns("other.example".to_owned()), false), // in the common name only
            (CertificateSubject::Dns("example".to_owned()), false),
            (CertificateSubject::Dns("192.0.2.7".to_owned()), false),
            (CertificateSubject::Uri("spiffe://example.org/billing".to_owned()), true),
            (CertificateSubject::Uri("spiffe://example.org/Billing".to_owned()), false),
            (CertificateSubject::Ip([192, 0, 2, 7].into()), true),
            (CertificateSubject::Ip([192, 0, 2, 8].into()), false),
            (CertificateSubject::Email("ada@billing.example".to_owned()), false),
        ] {
            assert_eq!(billing.names(&subject), named, "{subject:?}");
        }
    }

    #[test]
    fn the_key_of_a_certificate_is_the_key_of_its_jwk() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
            let certificate = ClientCertificate::presented(&[certificate.der().clone()]).expect("a certificate");
            let raw = key.public_key_raw();
            let jwk = if raw.len() == 32 {
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, base64url(raw))
            } else {
                let (x, y) = (base64url(&raw[1..33]), base64url(&raw[33..]));
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
            };
            let jwk = crate::jose::object(jwk.as_bytes()).expect("a JSON object");
            let expected = PublicKey::from_jwk(&jwk).expect("a key").thumbprint();
            assert_eq!(certificate.key(), Some(expected));
        }
    }
}
