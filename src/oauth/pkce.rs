//! Proof Key for Code Exchange (RFC 7636), with `S256` only: whoever steals a code cannot redeem it.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::secret::{from_base64url, sha256};

/// A text that is no S256 challenge: not 43 characters of canonical base64url.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a challenge is 43 characters of base64url")]
pub struct ChallengeFault;

/// A text that is no verifier: not 43 to 128 of the unreserved characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a verifier is 43 to 128 letters, digits, -, ., _ or ~")]
pub struct VerifierFault;

/// An S256 `code_challenge`: the SHA-256 of a verifier (RFC 7636 §4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// A challenge that a store has kept.
    #[must_use]
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `verifier` is the one that this challenge was made from (RFC 7636 §4.6); in constant time.
    #[must_use]
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        self.0.ct_eq(&sha256(verifier.0.as_bytes())).into()
    }
}

impl FromStr for CodeChallenge {
    type Err = ChallengeFault;

    fn from_str(text: &str) -> Result<Self, ChallengeFault> {
        let hash = from_base64url(text).and_then(|bytes| bytes.try_into().ok()).ok_or(ChallengeFault)?;
        Ok(Self(hash))
    }
}

/// A `code_verifier` (RFC 7636 §4.1). It is hashed as the ASCII text that it is, never decoded.
pub struct CodeVerifier(Zeroizing<String>);

impl FromStr for CodeVerifier {
    type Err = VerifierFault;

    fn from_str(text: &str) -> Result<Self, VerifierFault> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if (43..=128).contains(&text.len()) && text.bytes().all(unreserved) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(VerifierFault)
        }
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeVerifier(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_appendix_b_holds() {
        let verifier: CodeVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".parse().expect("43 characters");
        let challenge: CodeChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".parse().expect("43 characters");
        assert!(challenge.is_met_by(&verifier));
        let other: CodeVerifier = "bEaL42izcC-o-xBk0K2vuJ6U-y1p9r_wW2dFWIWgjz-".parse().expect("43 characters");
        assert!(!challenge.is_met_by(&other));
    }

    #[test]
    fn lengths_and_alphabets_are_kept() {
        for bad in ["", &"a".repeat(42), &"a".repeat(129), &"a ".repeat(30), &"a+".repeat(30), &"é".repeat(30)] {
            assert!(bad.parse::<CodeVerifier>().is_err(), "{bad}");
        }
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        for bad in
            ["", &challenge[1..], &format!("{challenge}="), &challenge.replace('-', "+"), &challenge.replace('M', "N")]
        {
            assert!(bad.parse::<CodeChallenge>().is_err(), "{bad}");
        }
        for good in [43, 128] {
            assert!("~".repeat(good).parse::<CodeVerifier>().is_ok());
        }
    }
}
