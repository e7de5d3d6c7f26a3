//! What a proxy tells of the certificate that a client has shown to it (RFC 8705 §6.5).
//!
//! Whose header counts is for the caller to know: a proxy that does not replace what came with the request passes on what
//! anybody has written.

use super::ClientCertificate;

/// The header in which Envoy tells of certificates, in lower case.
pub const FORWARDED_CERTIFICATE: &str = "x-forwarded-client-cert";

/// The certificate in the values of Envoy's `X-Forwarded-Client-Cert`, which must be about one client: the proxy has replaced
/// whatever came with the request. With several it is not clear whose is meant, and so nobody's.
pub fn forwarded_certificate<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<ClientCertificate> {
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut found = [None, None];
    for (name, value) in elements(std::str::from_utf8(value).ok()?)? {
        let place = match name {
            "Chain" => &mut found[0],
            "Cert" => &mut found[1],
            _ => continue,
        };
        if place.replace(value).is_some() {
            return None;
        }
    }
    let [chain, own] = found;
    ClientCertificate::from_percent_encoded(chain.or(own)?).ok()
}

/// Splits `Name=value;Name="value"`; `None` at a comma outside of quotes, behind which stands another client.
fn elements(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut elements = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find([';', ',']).unwrap_or(value.len())),
        };
        elements.push((name, value));
        rest = match behind.strip_prefix(';') {
            Some(more) => more,
            None if behind.is_empty() => behind,
            None => return None,
        };
    }
    Some(elements)
}
