//! Judges what a client is registered with to authenticate by certificate (RFC 8705 §2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::check::Judge;
use super::file::ClientFile;
use super::given::Given;
use super::mistake::{Mistake, Place};
use crate::certificate::{CertificateSubject, CertificateThumbprint, ClientCertificate};
use crate::jose::{Json, Members, PublicKey};
use crate::oauth::client::RegisteredCertificates;

/// Whether clients can show certificates, and whether an authority can vouch for them, as far as the file says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certificates {
    /// The public listener asks for them.
    pub(super) can_be_shown: bool,
    /// There is a `client_ca`.
    pub(super) can_be_vouched_for: bool,
}

impl Certificates {
    /// Reports a client that needs a certificate where nobody would ask for it.
    pub(super) fn check_shown(self, judge: &mut Judge<'_>, place: &Place) {
        if !self.can_be_shown {
            let mistake = Mistake::about(place, "needs certificates of clients, but `listen.public` has no `tls`");
            judge.report(mistake.help("add `tls: { certificate: cert.pem, private_key: key.pem }` there"));
        }
    }

    /// Reports a client for whose certificate nobody would vouch.
    pub(super) fn check_vouched(self, judge: &mut Judge<'_>, place: &Place) {
        if self.can_be_shown && !self.can_be_vouched_for {
            let mistake = Mistake::about(place, "needs an authority that vouches for the certificate");
            judge.report(mistake.help("add `client_ca` with its certificate to `listen.public.tls`"));
        }
    }
}

/// The one subject that is registered (RFC 8705 §2.1.2: "exactly one").
pub(super) fn subject(judge: &mut Judge<'_>, client: &Given<ClientFile>) -> Option<CertificateSubject> {
    let file = &client.value;
    let mut subjects = [
        file.tls_client_auth_subject_dn.as_ref().map(|dn| (&dn.place, CertificateSubject::Dn(dn.value.0.clone()))),
        file.tls_client_auth_san_dns.as_ref().map(|dns| (&dns.place, CertificateSubject::Dns(dns.value.clone()))),
        file.tls_client_auth_san_uri.as_ref().map(|uri| (&uri.place, CertificateSubject::Uri(uri.value.clone()))),
        file.tls_client_auth_san_ip.as_ref().map(|ip| (&ip.place, CertificateSubject::Ip(ip.value.0))),
        file.tls_client_auth_san_email
            .as_ref()
            .map(|mail| (&mail.place, CertificateSubject::Email(mail.value.clone()))),
    ]
    .into_iter()
    .flatten();
    let Some((_, subject)) = subjects.next() else {
        if !settings(file).iter().any(|(name, _)| client.place.lost(name)) {
            let mistake = Mistake::about(&client.place, "lacks the subject of its certificate");
            judge.report(
                mistake
                    .help("add one of `tls_client_auth_subject_dn`, `_san_dns`, `_san_uri`, `_san_ip`, `_san_email`"),
            );
        }
        return None;
    };
    let mut only = true;
    for (place, _) in subjects {
        only = false;
        judge.report(Mistake::about(place, "stands beside another subject").help("RFC 8705 §2.1.2 allows one only"));
    }
    only.then_some(subject)
}

/// The settings that name a subject, and where they are given.
pub(super) fn settings(file: &ClientFile) -> [(&'static str, Option<&Place>); 5] {
    [
        ("tls_client_auth_subject_dn", file.tls_client_auth_subject_dn.as_ref().map(|given| &given.place)),
        ("tls_client_auth_san_dns", file.tls_client_auth_san_dns.as_ref().map(|given| &given.place)),
        ("tls_client_auth_san_uri", file.tls_client_auth_san_uri.as_ref().map(|given| &given.place)),
        ("tls_client_auth_san_ip", file.tls_client_auth_san_ip.as_ref().map(|given| &given.place)),
        ("tls_client_auth_san_email", file.tls_client_auth_san_email.as_ref().map(|given| &given.place)),
    ]
}

/// The certificates in a key set: the first of each `x5c`, and the keys without one (RFC 8705 §2.2.2).
pub(super) fn registered(judge: &mut Judge<'_>, keys: &[Given<Members>]) -> Option<RegisteredCertificates> {
    let mut registered = RegisteredCertificates { certificates: Vec::new(), keys: Vec::new() };
    let mut clean = !keys.is_empty();
    for jwk in keys {
        match (first_certificate(&jwk.value), PublicKey::from_jwk(&jwk.value)) {
            (Some(Ok(certificate)), _) => registered.certificates.push(certificate),
            (None, Ok(key)) => registered.keys.push(key.thumbprint()),
            (Some(Err(())), _) => {
                clean = false;
                judge.report(Mistake::about(&jwk.place, "has an `x5c` that does not begin with a certificate"));
            }
            (None, Err(fault)) => {
                clean = false;
                judge.report(Mistake::about(&jwk.place, fault));
            }
        }
    }
    clean.then_some(registered)
}

/// The first of `x5c` (RFC 7517 §4.7): DER in base64, not base64url.
fn first_certificate(jwk: &Members) -> Option<Result<CertificateThumbprint, ()>> {
    let chain = jwk.get("x5c")?;
    let first = chain.as_array().and_then(|chain| chain.first()).and_then(Json::as_str);
    let der = first.and_then(|first| STANDARD.decode(first).ok());
    let certificate = der.and_then(|der| ClientCertificate::from_der(&der).ok());
    Some(certificate.map(|certificate| certificate.thumbprint()).ok_or(()))
}
