//! JWS compact serialisation (RFC 7515 §7.1) of JWTs (RFC 7519).

use super::json::{JsonFault, Members, object, optional_text, optional_time, required_text};
use super::{Algorithm, PublicKey};
use crate::clock::Timestamp;
use crate::secret::from_base64url;

/// Why a text is not a JWT that we look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwsFault {
    /// Longer than the place allows.
    #[error("too long")]
    TooLong,
    /// Not three non-empty parts of canonical base64url, or header and payload are no JSON objects.
    #[error("not a compact JWS of two JSON objects and a signature")]
    Malformed,
    /// RFC 7515 §4.1.11, RFC 7797 §6: an extension that we must understand and do not.
    #[error("uses a critical extension")]
    Critical,
}

/// The signature is not one of this key over this text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureFault;

/// A JWT that was read, and of which nothing is verified yet.
#[derive(Debug)]
pub struct Jws<'a> {
    header: Members,
    claims: Members,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Reads a compact JWS of at most `limit` bytes.
    ///
    /// # Errors
    /// [`JwsFault`]; nothing is decoded before the length was judged.
    pub fn parse(text: &'a str, limit: usize) -> Result<Self, JwsFault> {
        let mut jws = Self::parse_claims(text, limit)?;
        let encoded_header = text.split('.').next().unwrap_or_default();
        jws.header = Self::header_of(encoded_header)?;
        Ok(jws)
    }

    /// Reads all but the header, for callers that have read it with [`Jws::header_of`]: it is left empty.
    ///
    /// # Errors
    /// [`JwsFault`].
    pub fn parse_claims(text: &'a str, limit: usize) -> Result<Self, JwsFault> {
        if text.len() > limit {
            return Err(JwsFault::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsFault::Malformed)?;
        let (header, claims) = signing_input.split_once('.').ok_or(JwsFault::Malformed)?;
        if header.is_empty() || claims.is_empty() || signature.is_empty() || claims.contains('.') {
            return Err(JwsFault::Malformed);
        }
        let signature = from_base64url(signature).ok_or(JwsFault::Malformed)?;
        Ok(Self { header: Members::new(), claims: part(claims)?, signing_input, signature })
    }

    /// Reads an encoded header, the first part of a compact JWS.
    ///
    /// # Errors
    /// [`JwsFault::Malformed`], [`JwsFault::Critical`].
    pub fn header_of(encoded: &str) -> Result<Members, JwsFault> {
        let header = part(encoded)?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(JwsFault::Critical);
        }
        Ok(header)
    }

    /// The protected header.
    #[must_use]
    pub fn header(&self) -> &Members {
        &self.header
    }

    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &Members {
        &self.claims
    }

    /// The claims, out of the shell.
    #[must_use]
    pub fn into_claims(self) -> Members {
        self.claims
    }

    /// A header member that must be a string if it is there.
    ///
    /// # Errors
    /// [`JsonFault::WrongType`].
    pub fn header_text(&self, name: &str) -> Result<Option<&str>, JsonFault> {
        optional_text(&self.header, name)
    }

    /// A claim that must be a string if it is there.
    ///
    /// # Errors
    /// [`JsonFault::WrongType`].
    pub fn text(&self, name: &str) -> Result<Option<&str>, JsonFault> {
        optional_text(&self.claims, name)
    }

    /// A claim that must be there and be a non-empty string.
    ///
    /// # Errors
    /// [`JsonFault::Missing`], [`JsonFault::WrongType`].
    pub fn required_text(&self, name: &str) -> Result<&str, JsonFault> {
        required_text(&self.claims, name)
    }

    /// A `NumericDate` claim, if it is there.
    ///
    /// # Errors
    /// [`JsonFault::WrongType`], also for numbers outside 0 to 2^53.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, JsonFault> {
        optional_time(&self.claims, name)
    }

    /// The algorithm that the header names, if it is one of `allowed`.
    #[must_use]
    pub fn algorithm(&self, allowed: &[Algorithm]) -> Option<Algorithm> {
        let name = self.header_text("alg").ok().flatten()?;
        Algorithm::among(allowed, name)
    }

    /// Verifies the signature with `key`.
    ///
    /// # Errors
    /// [`SignatureFault`], also when the key is not one for this algorithm.
    pub fn verify(&self, algorithm: Algorithm, key: &PublicKey) -> Result<(), SignatureFault> {
        key.verify(algorithm, self.signing_input.as_bytes(), &self.signature)
    }
}

fn part(encoded: &str) -> Result<Members, JwsFault> {
    let bytes = from_base64url(encoded).ok_or(JwsFault::Malformed)?;
    object(&bytes).map_err(|_| JwsFault::Malformed)
}
