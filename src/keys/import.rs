//! Private keys that were made elsewhere: what is taken, and what is wrong with the rest.

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::jose::{Algorithm, Members, SigningKey, object};

/// What is wrong with a text that is to be a private key. Nothing of the text is in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ImportFault {
    /// Neither a PEM text nor a JSON object.
    #[error("holds neither a PEM text nor a JWK")]
    Unreadable,
    /// The public half alone.
    #[error("holds a public key or a certificate, but no private key")]
    Public,
    /// Encrypted under a password.
    #[error("holds a private key that is encrypted")]
    Encrypted,
    /// PEM of an older form: `EC PRIVATE KEY`, `RSA PRIVATE KEY`.
    #[error("holds a private key in an older form than PKCS #8")]
    NotPkcs8,
    /// A JWK Set.
    #[error("holds a set of keys")]
    Set,
    /// A key that is good, and that new keys here do not look like.
    #[error("holds a key for {found}, but new keys sign with {wanted}")]
    OtherAlgorithm {
        /// What it is good for.
        found: Algorithm,
        /// What new keys sign with.
        wanted: Algorithm,
    },
    /// Broken, weak, for another purpose, or of a kind that nobody here signs with.
    #[error("holds no private key that is good enough to sign with {0}")]
    Unfit(Algorithm),
}

impl ImportFault {
    /// What to do about it.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Unreadable => "give a file that begins with `-----BEGIN PRIVATE KEY-----`, or a private JWK in JSON",
            Self::Public => "give the private half: here it is to sign",
            Self::Encrypted => "decrypt it first: `openssl pkcs8 -in FILE -out OTHER_FILE`",
            Self::NotPkcs8 => "convert it first: `openssl pkcs8 -topk8 -nocrypt -in FILE -out OTHER_FILE`",
            Self::Set => "give one key of it, in a file of its own",
            Self::OtherAlgorithm { .. } => "change `signing.algorithm` first, or import another key",
            Self::Unfit(_) => {
                "keys are on P-256 for ES256, Ed25519 for EdDSA and Ed25519, or RSA with 2048 to 8192 bits for PS256 and RS256"
            }
        }
    }
}

/// Reads a private key that is to sign with `algorithm`: PKCS #8 in PEM (RFC 7468 §10), or a private JWK (RFC 7517).
///
/// # Errors
/// [`ImportFault`].
pub fn importable(text: &str, algorithm: Algorithm) -> Result<SigningKey, ImportFault> {
    let text = text.trim();
    if text.starts_with('{') {
        let jwk = object(text.as_bytes()).map_err(|_| ImportFault::Unreadable)?;
        return from_jwk(&jwk, algorithm);
    }
    match text.lines().find_map(|line| line.strip_prefix("-----BEGIN ")).map(|label| label.trim_end_matches('-')) {
        Some("PRIVATE KEY") => from_pem(text, algorithm),
        Some("ENCRYPTED PRIVATE KEY") => Err(ImportFault::Encrypted),
        Some(label) if label.ends_with("PRIVATE KEY") || label.ends_with("PARAMETERS") => Err(ImportFault::NotPkcs8),
        Some(label) if label.ends_with("PUBLIC KEY") || label.ends_with("CERTIFICATE") => Err(ImportFault::Public),
        Some(_) | None => Err(ImportFault::Unreadable),
    }
}

fn from_pem(text: &str, algorithm: Algorithm) -> Result<SigningKey, ImportFault> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| ImportFault::Unreadable)?;
    fitting(algorithm, |algorithm| SigningKey::from_pkcs8(algorithm, der.secret_pkcs8_der()).ok())
}

fn from_jwk(jwk: &Members, algorithm: Algorithm) -> Result<SigningKey, ImportFault> {
    if jwk.contains_key("keys") {
        return Err(ImportFault::Set);
    }
    let asymmetric = jwk.get("kty").is_some_and(|kty| kty == "EC" || kty == "OKP" || kty == "RSA");
    if asymmetric && !jwk.contains_key("d") {
        return Err(ImportFault::Public);
    }
    fitting(algorithm, |algorithm| SigningKey::from_jwk(algorithm, jwk).ok())
}

/// The key for `algorithm`; if it is for another one, that is said.
fn fitting(algorithm: Algorithm, read: impl Fn(Algorithm) -> Option<SigningKey>) -> Result<SigningKey, ImportFault> {
    const EACH_KIND: [Algorithm; 5] =
        [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ed25519, Algorithm::Ps256, Algorithm::Rs256];
    if let Some(key) = read(algorithm) {
        return Ok(key);
    }
    match EACH_KIND.into_iter().find(|other| read(*other).is_some()) {
        Some(found) => Err(ImportFault::OtherAlgorithm { found, wanted: algorithm }),
        None => Err(ImportFault::Unfit(algorithm)),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    /// The private JWK of RFC 7517 Appendix A.2.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","use":"enc"}"#;

    /// The private JWK of RFC 8037 Appendix A.1.
    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn fault(text: &str, algorithm: Algorithm) -> Option<ImportFault> {
        importable(text, algorithm).err()
    }

    #[test]
    fn a_private_jwk_is_taken_for_what_it_says_it_is_for() {
        let for_signatures = EC.replace("\"enc\"", "\"sig\"");
        let key = importable(&for_signatures, Algorithm::Es256).expect("a key");
        assert_eq!(key.kid(), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
        assert_eq!(fault(EC, Algorithm::Es256), Some(ImportFault::Unfit(Algorithm::Es256)));
        for (member, taken) in [
            (r#""alg":"ES256""#, true),
            (r#""alg":"ES384""#, false),
            (r#""key_ops":["sign"]"#, true),
            (r#""key_ops":["verify"]"#, false),
            (r#""kid":"as it was called elsewhere""#, true),
        ] {
            let jwk = for_signatures.replace(r#""use":"sig""#, member);
            assert_eq!(importable(&jwk, Algorithm::Es256).is_ok(), taken, "{member}");
        }
        let other_half = for_signatures.replace("870MB6", "870MB7");
        assert_eq!(fault(&other_half, Algorithm::Es256), Some(ImportFault::Unfit(Algorithm::Es256)));
        let key = importable(ED25519, Algorithm::EdDsa).expect("a key");
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let other = ImportFault::OtherAlgorithm { found: Algorithm::EdDsa, wanted: Algorithm::Es256 };
        assert_eq!(fault(ED25519, Algorithm::Es256), Some(other));
    }

    #[test]
    fn a_pem_text_is_taken_if_it_is_pkcs8_for_the_algorithm() {
        let pem = |algorithm| KeyPair::generate_for(algorithm).expect("a key").serialize_pem();
        assert!(importable(&pem(&PKCS_ECDSA_P256_SHA256), Algorithm::Es256).is_ok());
        assert!(importable(&pem(&PKCS_ED25519), Algorithm::Ed25519).is_ok());
        let other = ImportFault::OtherAlgorithm { found: Algorithm::Es256, wanted: Algorithm::Ps256 };
        assert_eq!(fault(&pem(&PKCS_ECDSA_P256_SHA256), Algorithm::Ps256), Some(other));
        let unfit = Some(ImportFault::Unfit(Algorithm::Es256));
        assert_eq!(fault(&pem(&PKCS_ECDSA_P384_SHA384), Algorithm::Es256), unfit);
        assert_eq!(fault("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", Algorithm::Es256), unfit);
    }

    #[test]
    fn what_is_no_private_key_is_named() {
        let public = KeyPair::generate().expect("a key").public_key_pem();
        for (text, expected) in [
            (public.as_str(), ImportFault::Public),
            ("-----BEGIN CERTIFICATE-----", ImportFault::Public),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#, ImportFault::Public),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----", ImportFault::Encrypted),
            ("-----BEGIN EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----", ImportFault::NotPkcs8),
            ("-----BEGIN RSA PRIVATE KEY-----", ImportFault::NotPkcs8),
            (r#"{"keys":[]}"#, ImportFault::Set),
            ("", ImportFault::Unreadable),
            ("{", ImportFault::Unreadable),
            (r#"{"kty":"oct","k":"AA"}"#, ImportFault::Unfit(Algorithm::Es256)),
        ] {
            assert_eq!(fault(text, Algorithm::Es256), Some(expected), "{text}");
            assert!(!expected.help().is_empty());
        }
    }
}
