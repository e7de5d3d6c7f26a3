//! Public keys as JWK (RFC 7517), validated so that one key has one form, and their thumbprints (RFC 7638).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::{Algorithm as LibraryAlgorithm, DecodingKey};

use super::json::{Members, optional_text};
use super::{Algorithm, SignatureFault};
use crate::jose::Json;
use crate::secret::{base64url, from_base64url, sha256};

/// Why a JWK is not a public key that we use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwkFault {
    /// RFC 9449 §4.3-7: a private member is present, whatever its value.
    #[error("holds a private or symmetric key")]
    Private,
    /// A key type or curve that none of our algorithms uses.
    #[error("is of an unsupported type or curve")]
    Unsupported,
    /// A member is missing, of the wrong type, not canonical, or out of range (RFC 7518 §6).
    #[error("is malformed")]
    Malformed,
    /// EC point not on the curve, Ed25519 point of small order or not canonical, RSA modulus outside 2048 to 8192 bits.
    #[error("is not a safe key")]
    Unsafe,
}

/// The RFC 7638 thumbprint of a public key, with SHA-256: what `jkt` holds.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
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
impl FromStr for Thumbprint {
    type Err = JwkFault;

    fn from_str(text: &str) -> Result<Self, JwkFault> {
        from_base64url(text).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(JwkFault::Malformed)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

/// A public key that passed every check, ready to verify.
#[derive(Clone)]
pub struct PublicKey {
    material: Material,
    thumbprint: Thumbprint,
    kid: Option<String>,
    algorithm: Option<String>,
}

/// EC and Ed25519 keys are kept parsed, since parsing costs a seventh of a verification; RSA goes through jsonwebtoken.
#[derive(Clone)]
enum Material {
    P256(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
    Rsa(DecodingKey),
}

impl PublicKey {
    /// Validates a JWK: type, lengths, canonical encoding, point on the curve, no private member, `use`, `key_ops`.
    ///
    /// Looks at the raw members, before a typed parse could drop what must not be there. Unknown members are ignored
    /// (RFC 7517 §4), `x5c`, `x5u` and the like are never fetched or read.
    ///
    /// # Errors
    /// [`JwkFault`].
    pub fn from_jwk(jwk: &Members) -> Result<Self, JwkFault> {
        const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
        if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return Err(JwkFault::Private);
        }
        check_purpose(jwk)?;
        let (material, canonical) = match required(jwk, "kty")? {
            "EC" => p256(jwk)?,
            "OKP" => ed25519(jwk)?,
            "RSA" => rsa(jwk)?,
            "oct" => return Err(JwkFault::Private),
            _ => return Err(JwkFault::Unsupported),
        };
        let kid = optional(jwk, "kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > 256) {
            return Err(JwkFault::Malformed);
        }
        let algorithm = optional(jwk, "alg")?.map(str::to_owned);
        Ok(Self { material, thumbprint: Thumbprint(sha256(canonical.as_bytes())), kid, algorithm })
    }

    /// The thumbprint of the key.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// The `kid` that came with the key.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the key may be used with `algorithm`: type and curve fit (RFC 7518 §3.1), and so does its own `alg`.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let type_fits = match (&self.material, algorithm) {
            (Material::P256(_), Algorithm::Es256)
            | (Material::Ed25519(_), Algorithm::EdDsa | Algorithm::Ed25519)
            | (Material::Rsa(_), Algorithm::Ps256 | Algorithm::Rs256) => true,
            (Material::P256(_) | Material::Ed25519(_) | Material::Rsa(_), _) => false,
        };
        type_fits && self.algorithm.as_deref().is_none_or(|name| name == algorithm.name())
    }

    /// Verifies a signature over `message`, in the form of RFC 7518 §3: for ECDSA r and s one after the other, 64 bytes.
    ///
    /// # Errors
    /// [`SignatureFault`].
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), SignatureFault> {
        if !self.fits(algorithm) {
            return Err(SignatureFault);
        }
        match (&self.material, algorithm) {
            (Material::P256(key) | Material::Ed25519(key), _) => {
                key.verify_sig(message, signature).map_err(|_| SignatureFault)
            }
            (Material::Rsa(key), Algorithm::Ps256) => verify_rsa(key, LibraryAlgorithm::PS256, message, signature),
            (Material::Rsa(key), Algorithm::Rs256) => verify_rsa(key, LibraryAlgorithm::RS256, message, signature),
            (Material::Rsa(_), Algorithm::Es256 | Algorithm::EdDsa | Algorithm::Ed25519) => Err(SignatureFault),
        }
    }
}

/// Keys are equal that verify the same signatures and go by the same name.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        (self.thumbprint, &self.kid, &self.algorithm) == (other.thumbprint, &other.kid, &other.algorithm)
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint)
    }
}

/// Reads a JWK set (RFC 7517 §5). Keys that we cannot use are skipped, as §5 asks; keys that hold a private member are
/// not: whoever published one must hear of it.
///
/// # Errors
/// [`JwkFault`] for a set that is no set, or one with a private key in it.
pub fn key_set(set: &Members) -> Result<Vec<PublicKey>, JwkFault> {
    let Some(Json::Array(keys)) = set.get("keys") else { return Err(JwkFault::Malformed) };
    let mut usable = Vec::new();
    for key in keys {
        let key = key.as_object().ok_or(JwkFault::Malformed)?;
        match PublicKey::from_jwk(key) {
            Ok(key) => usable.push(key),
            Err(JwkFault::Unsupported) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(usable)
}

fn verify_rsa(
    key: &DecodingKey,
    algorithm: LibraryAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureFault> {
    match jsonwebtoken::crypto::verify(&base64url(signature), message, key, algorithm) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(SignatureFault),
    }
}

/// RFC 7517 §4.2, §4.3: a key for something else than signatures is not ours to use.
fn check_purpose(jwk: &Members) -> Result<(), JwkFault> {
    if optional(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(JwkFault::Unsupported);
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Json::Array(operations)) => {
            let verifies = operations.iter().filter(|operation| operation.as_str() == Some("verify")).count();
            if verifies == 1 { Ok(()) } else { Err(JwkFault::Unsupported) }
        }
        Some(_) => Err(JwkFault::Malformed),
    }
}

/// RFC 7518 §6.2.1: coordinates of exactly 32 octets; the parser checks that the point is on the curve.
fn p256(jwk: &Members) -> Result<(Material, String), JwkFault> {
    if required(jwk, "crv")? != "P-256" {
        return Err(JwkFault::Unsupported);
    }
    let (x, y) = (required(jwk, "x")?, required(jwk, "y")?);
    let mut point = vec![4];
    for coordinate in [x, y] {
        point.extend(from_base64url(coordinate).filter(|bytes| bytes.len() == 32).ok_or(JwkFault::Malformed)?);
    }
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| JwkFault::Unsafe)?;
    Ok((Material::P256(key), format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)))
}

/// RFC 8037 §2: 32 octets.
fn ed25519(jwk: &Members) -> Result<(Material, String), JwkFault> {
    if required(jwk, "crv")? != "Ed25519" {
        return Err(JwkFault::Unsupported);
    }
    let x = required(jwk, "x")?;
    let point: [u8; 32] = from_base64url(x).and_then(|bytes| bytes.try_into().ok()).ok_or(JwkFault::Malformed)?;
    check_edwards_point(point)?;
    let key = ParsedPublicKey::new(&ED25519, point).map_err(|_| JwkFault::Unsafe)?;
    Ok((Material::Ed25519(key), format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

/// RFC 8032 §5.1.3: y below the prime; and none of the eight points of small order, under which one signature can
/// verify for many messages.
fn check_edwards_point(mut point: [u8; 32]) -> Result<(), JwkFault> {
    // The y-coordinates of those points, but for 0, 1 and the prime less 1, with the same sign bit for both signs of x.
    const ORDER_EIGHT: [&str; 2] =
        ["JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU", "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o"];
    point[31] &= 0x7f;
    let middle = &point[1..31];
    let small = matches!(point[0], 0 | 1) && middle.iter().all(|byte| *byte == 0) && point[31] == 0;
    let near_prime = point[0] >= 0xec && middle.iter().all(|byte| *byte == 0xff) && point[31] == 0x7f;
    let order_eight = ORDER_EIGHT.contains(&base64url(&point).as_str());
    if small || near_prime || order_eight { Err(JwkFault::Unsafe) } else { Ok(()) }
}

/// RFC 7518 §6.3.1: minimal big-endian integers; 2048 to 8192 bits; the exponent that everybody uses.
fn rsa(jwk: &Members) -> Result<(Material, String), JwkFault> {
    let (n, e) = (required(jwk, "n")?, required(jwk, "e")?);
    if n.len() > 8_192 / 6 + 1 {
        return Err(JwkFault::Unsafe);
    }
    let modulus = from_base64url(n).ok_or(JwkFault::Malformed)?;
    let first = *modulus.first().ok_or(JwkFault::Malformed)?;
    if first == 0 {
        return Err(JwkFault::Malformed);
    }
    let bits = modulus.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(8);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    if !(2_048..=8_192).contains(&bits) || !odd || e != "AQAB" {
        return Err(JwkFault::Unsafe);
    }
    let key = DecodingKey::from_rsa_raw_components(&modulus, &[1, 0, 1]);
    Ok((Material::Rsa(key), format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)))
}

fn optional<'a>(jwk: &'a Members, name: &str) -> Result<Option<&'a str>, JwkFault> {
    optional_text(jwk, name).map_err(|_| JwkFault::Malformed)
}

fn required<'a>(jwk: &'a Members, name: &str) -> Result<&'a str, JwkFault> {
    optional(jwk, name)?.ok_or(JwkFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::super::object;
    use super::*;

    fn key(jwk: &str) -> Result<PublicKey, JwkFault> {
        PublicKey::from_jwk(&object(jwk.as_bytes()).expect("a JSON object"))
    }

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        let rsa = concat!(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJ"#,
            "ECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqz",
            "s8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqb",
            r#"w0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#
        );
        let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let ec = r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#;
        for (jwk, thumbprint) in [
            (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (ed, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
            (ec, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        ] {
            assert_eq!(key(jwk).expect("a valid key").thumbprint().to_string(), thumbprint);
        }
    }

    #[test]
    fn unsafe_keys_are_refused() {
        let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
        let off_curve = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5aw";
        let identity = base64url(&{
            let mut point = [0; 32];
            point[0] = 1;
            point
        });
        for (jwk, fault) in [
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{off_curve}"}}"#), JwkFault::Unsafe),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","d":null}}"#), JwkFault::Private),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"BQ","y":"{y}"}}"#), JwkFault::Malformed),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}=","y":"{y}"}}"#), JwkFault::Malformed),
            (format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{y}"}}"#), JwkFault::Unsupported),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","use":"enc"}}"#), JwkFault::Unsupported),
            (r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), JwkFault::Private),
            (r#"{"kty":"oct"}"#.to_owned(), JwkFault::Private),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(), JwkFault::Unsafe),
            (format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#), JwkFault::Unsupported),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{identity}"}}"#), JwkFault::Unsafe),
        ] {
            assert_eq!(key(&jwk).err(), Some(fault), "{jwk}");
        }
    }
}
