//! Private keys that sign JWTs.

use std::fmt;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding,
};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::json::{Members, required_text};
use super::{Algorithm, Json, PublicKey};
use crate::secret::seal::RootKey;
use crate::secret::{base64url, from_base64url};

/// A private key could not be read or made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a private key for this algorithm")]
pub struct SigningKeyFault;

/// A private key, its algorithm and its `kid`, which is the thumbprint of its public half.
pub struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    public: PublicKey,
    kid: String,
}

/// The header of what a key signs under its `kid`.
#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: &'a str,
    kid: &'a str,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    /// Makes a new key; RSA keys have 2048 bits, which RFC 7518 §3.3 asks for at least.
    ///
    /// # Errors
    /// [`SigningKeyFault`] if the library cannot make one.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningKeyFault> {
        let pair = match algorithm {
            Algorithm::Es256 => Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(fault)?),
            Algorithm::EdDsa | Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(fault)?),
            Algorithm::Ps256 | Algorithm::Rs256 => {
                Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).map_err(fault)?))
            }
        };
        Self::new(pair, algorithm)
    }

    /// The P-256 key of a secret, which must be for this use alone: the same for whoever knows that.
    ///
    /// Derived are candidates until one is in range, as FIPS 186-5 §A.2.2 draws them: of 2^32 first ones one is not.
    ///
    /// # Errors
    /// [`SigningKeyFault`] if the library takes none of them.
    pub fn derived(secret: &RootKey) -> Result<Self, SigningKeyFault> {
        let mut candidates = (0..=u8::MAX).map(|number| Zeroizing::new(secret.mac(&[b"P-256", &[number]])));
        let taken = candidates
            .find_map(|scalar| Some((PrivateKey::from_private_key(&ECDH_P256, scalar.as_slice()).ok()?, scalar)));
        let (key, scalar) = taken.ok_or(SigningKeyFault)?;
        let point = key.compute_public_key().map_err(fault)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            scalar.as_slice(),
            point.as_ref(),
        );
        Self::new(Pair::P256(pair.map_err(fault)?), Algorithm::Es256)
    }

    /// Reads a PKCS #8 key (RFC 5208).
    ///
    /// # Errors
    /// [`SigningKeyFault`].
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, SigningKeyFault> {
        let pair = match algorithm {
            Algorithm::Es256 => {
                Pair::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(fault)?)
            }
            Algorithm::EdDsa | Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der).map_err(fault)?),
            Algorithm::Ps256 | Algorithm::Rs256 => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(fault)?)),
        };
        Self::new(pair, algorithm)
    }

    /// Reads a private JWK (RFC 7517, RFC 7518 §6, RFC 8037 §2), whose public half must be there and must be its own. `alg`, `use`
    /// and `key_ops`, if they are there, must allow it to sign with `algorithm`. Its `kid` does not count.
    ///
    /// # Errors
    /// [`SigningKeyFault`].
    pub fn from_jwk(algorithm: Algorithm, jwk: &Members) -> Result<Self, SigningKeyFault> {
        if !may_sign(jwk, algorithm) {
            return Err(SigningKeyFault);
        }
        let member = |name| bytes(jwk, name);
        let is = |kty: &str, crv: Option<&str>| {
            let found = |name| jwk.get(name).and_then(Json::as_str);
            found("kty") == Some(kty) && crv.is_none_or(|crv| found("crv") == Some(crv))
        };
        let pair = match algorithm {
            Algorithm::Es256 if is("EC", Some("P-256")) => {
                let (d, [x, y]) = (sized(&member("d")?)?, [sized(&member("x")?)?, sized(&member("y")?)?]);
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let key = EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    d.as_slice(),
                    &point,
                );
                Pair::P256(key.map_err(fault)?)
            }
            Algorithm::EdDsa | Algorithm::Ed25519 if is("OKP", Some("Ed25519")) => {
                let key = Ed25519KeyPair::from_seed_and_public_key(&member("d")?, &member("x")?);
                Pair::Ed25519(key.map_err(fault)?)
            }
            Algorithm::Ps256 | Algorithm::Rs256 if is("RSA", None) && !jwk.contains_key("oth") => {
                let components = KeyPairComponents {
                    public_key: PublicKeyComponents { n: member("n")?, e: member("e")? },
                    d: member("d")?,
                    p: member("p")?,
                    q: member("q")?,
                    dP: member("dp")?,
                    dQ: member("dq")?,
                    qInv: member("qi")?,
                };
                Pair::Rsa(Box::new(RsaKeyPair::from_components(&components).map_err(fault)?))
            }
            _ => return Err(SigningKeyFault),
        };
        Self::new(pair, algorithm)
    }

    fn new(pair: Pair, algorithm: Algorithm) -> Result<Self, SigningKeyFault> {
        let jwk = public_jwk(&pair);
        let public = jwk.as_object().and_then(|jwk| PublicKey::from_jwk(jwk).ok()).ok_or(SigningKeyFault)?;
        let kid = public.thumbprint().to_string();
        Ok(Self { pair, algorithm, public, kid })
    }

    /// The private key as PKCS #8, to be sealed and stored.
    ///
    /// # Errors
    /// [`SigningKeyFault`] if the library cannot write it.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningKeyFault> {
        let der = match &self.pair {
            Pair::P256(pair) => pair.to_pkcs8v1().map_err(fault)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8().map_err(fault)?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(fault)?;
                der.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(der))
    }

    /// The algorithm it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid` in the header of what it signs.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public half as it stands in a published key set: with `kid`, `alg` and `use` (RFC 7517 §4).
    #[must_use]
    pub fn published_jwk(&self) -> Json {
        let mut jwk = self.proof_jwk();
        jwk["kid"] = self.kid.clone().into();
        jwk["alg"] = self.algorithm.name().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public half as it stands in the header of a DPoP proof (RFC 9449 §4.2).
    #[must_use]
    pub fn proof_jwk(&self) -> Json {
        public_jwk(&self.pair)
    }

    /// Signs `claims` as a compact JWS whose header has `typ`, `alg` and `kid`.
    #[must_use]
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> String {
        self.sign_with(&Header { typ, alg: self.algorithm.name(), kid: &self.kid }, claims)
    }

    /// Signs `claims` under a header of the caller's making, which must name this key's algorithm.
    #[must_use]
    pub fn sign_with(&self, header: &impl Serialize, claims: &impl Serialize) -> String {
        let header = serde_json::to_vec(header).expect("headers are plain JSON");
        let claims = serde_json::to_vec(claims).expect("claims are plain JSON");
        let mut jws = format!("{}.{}", base64url(&header), base64url(&claims));
        let signature = self.signature(jws.as_bytes());
        jws.push('.');
        jws.push_str(&base64url(&signature));
        jws
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) => pair.sign(&random, message).expect("a P-256 key signs any text").as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let padding: &dyn RsaEncoding =
                    if self.algorithm == Algorithm::Rs256 { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).expect("an RSA key signs any text");
                signature
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm, self.kid)
    }
}

fn public_jwk(pair: &Pair) -> Json {
    match pair {
        Pair::P256(pair) => {
            let point = pair.public_key().as_ref();
            json!({ "kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..65]) })
        }
        Pair::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref()) }),
        Pair::Rsa(pair) => {
            let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            json!({ "kty": "RSA", "n": base64url(&n), "e": base64url(&e) })
        }
    }
}

/// Whether a JWK says that it is for signatures by this algorithm, or does not say (RFC 7517 §4.2 to §4.4).
fn may_sign(jwk: &Members, algorithm: Algorithm) -> bool {
    let is = |name, expected: &str| jwk.get(name).is_none_or(|found| found == expected);
    let operations = jwk.get("key_ops").map(|operations| operations.as_array().map(Vec::as_slice).unwrap_or_default());
    is("alg", algorithm.name())
        && is("use", "sig")
        && operations.is_none_or(|operations| operations.iter().any(|operation| operation == "sign"))
}

/// The bytes of a member in base64url.
fn bytes(jwk: &Members, name: &str) -> Result<Zeroizing<Vec<u8>>, SigningKeyFault> {
    let text = required_text(jwk, name).map_err(fault)?;
    from_base64url(text).map(Zeroizing::new).ok_or(SigningKeyFault)
}

/// Exactly 32 bytes (RFC 7518 §6.2.1.2, §6.2.2.1).
fn sized(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, SigningKeyFault> {
    bytes.try_into().map(Zeroizing::new).map_err(fault)
}

fn fault<E>(_: E) -> SigningKeyFault {
    SigningKeyFault
}

#[cfg(test)]
mod tests {
    use super::super::Jws;
    use super::*;

    #[test]
    fn a_secret_has_one_key_and_another_secret_another() {
        let [one, again, other] = [7, 7, 8].map(|byte| {
            let key = SigningKey::derived(&RootKey::from_bytes([byte; 32])).expect("a key");
            assert_eq!(key.algorithm(), Algorithm::Es256);
            let text = key.sign("JWT", &json!({}));
            assert_eq!(Jws::parse(&text, 4_096).expect("a JWS").verify(Algorithm::Es256, key.public()), Ok(()));
            key.kid().to_owned()
        });
        assert_eq!(one, again);
        assert_ne!(one, other);
        // Every version derives the same, or replicas that are updated one after the other would differ.
        assert_eq!(one, "VtKOzlKj_cEuCs4tX5zt4lto2A3DMRSS1RyWI3616vQ");
    }

    #[test]
    fn what_a_key_signs_its_public_half_verifies() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ed25519, Algorithm::Ps256, Algorithm::Rs256] {
            let key = SigningKey::generate(algorithm).expect("a key");
            let stored = key.to_pkcs8().expect("PKCS #8");
            let key = SigningKey::from_pkcs8(algorithm, &stored).expect("the same key");
            let text = key.sign("JWT", &json!({ "sub": "ada" }));
            let jws = Jws::parse(&text, 4_096).expect("a JWS");
            assert_eq!(jws.algorithm(&[algorithm]), Some(algorithm));
            assert_eq!(jws.verify(algorithm, key.public()), Ok(()));
            let other = SigningKey::generate(algorithm).expect("another key");
            assert!(jws.verify(algorithm, other.public()).is_err());
        }
    }
}
