//! User codes: what a person reads from one screen and types into another (RFC 8628 §6.1).

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::seal::RootKey;
use super::{Digest, UserCodeKind};
use crate::entropy::Entropy;

/// The base-20 alphabet of RFC 8628 §6.1: no vowels, so no words; no digits, so nothing looks like anything else.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Eight letters are 34.6 bits (RFC 8628 §5.1): enough where guesses are few, which `oauth/activation/guesses.rs` sees to.
const LENGTH: usize = 8;

/// The longest text that is looked at, in bytes.
const TYPED_LIMIT: usize = 64;

/// A text that is not eight letters of the alphabet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a user code has eight letters")]
pub struct UserCodeFault;

/// Eight letters of the base-20 alphabet.
#[derive(Clone, Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct UserCode([u8; LENGTH]);

impl UserCode {
    /// Draws a code. Bytes that would make some letters likelier than others are drawn again, not reduced.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        const FAIR: u8 = 240; // the largest multiple of 20 that a byte can hold
        let mut letters = [0; LENGTH];
        for letter in &mut letters {
            *letter = loop {
                let [byte] = entropy.draw();
                if byte < FAIR {
                    break ALPHABET[usize::from(byte) % ALPHABET.len()];
                }
            };
        }
        Self(letters)
    }

    /// The code as devices and pages show it: `WDJB-MJHT`.
    #[must_use]
    pub fn shown(&self) -> String {
        let (left, right) = self.0.split_at(LENGTH / 2);
        [left, b"-", right].concat().into_iter().map(char::from).collect()
    }

    /// What stores know it by. It is short enough to be found from a plain hash, so the hash is keyed.
    #[must_use]
    pub fn digest(&self, key: &RootKey) -> Digest<UserCodeKind> {
        Digest::from_bytes(key.mac(&[&self.0]))
    }
}

/// Reads what a person typed: upper or lower case, with whatever else between the letters (RFC 8628 §6.1).
impl FromStr for UserCode {
    type Err = UserCodeFault;

    fn from_str(text: &str) -> Result<Self, UserCodeFault> {
        if text.len() > TYPED_LIMIT {
            return Err(UserCodeFault);
        }
        let letters = text.bytes().map(|byte| byte.to_ascii_uppercase()).filter(|byte| ALPHABET.contains(byte));
        letters.collect::<Vec<_>>().try_into().map(Self).map_err(|_| UserCodeFault)
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// Counts bytes up, so that each is drawn equally often.
    #[derive(Default)]
    struct Counting(AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        let code: UserCode = "WDJB-MJHT".parse().expect("the example of RFC 8628 §3.2");
        for typed in ["wdjbmjht", " wdjb mjht ", "W.D.J.B—m/j/h/t", "0wdjb1mjht", "wDjB\u{a0}MjHt"] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed}");
        }
        for wrong in ["", "WDJB-MJH", "WDJB-MJHTT", "AEIOUY12", "ＷＤＪＢＭＪＨＴ", &"WDJB".repeat(20)] {
            assert_eq!(wrong.parse::<UserCode>(), Err(UserCodeFault), "{wrong}");
        }
        assert_eq!(code.shown(), "WDJB-MJHT");
        assert_eq!(format!("{code:?}"), "UserCode(..)");
    }

    #[test]
    fn every_letter_is_as_likely_as_any_other() {
        let entropy = Counting::default();
        let mut counts = [0; 20];
        for _ in 0..30 * 20 {
            for letter in UserCode::draw(&entropy).0 {
                counts[ALPHABET.iter().position(|each| *each == letter).expect("a letter of the alphabet")] += 1;
            }
        }
        assert_eq!(counts, [240; 20]);
    }

    #[test]
    fn the_hash_of_a_code_depends_on_the_key() {
        let code: UserCode = "WDJB-MJHT".parse().expect("a code");
        let (one, other) = (RootKey::from_bytes([1; 32]), RootKey::from_bytes([2; 32]));
        assert!(code.digest(&one) == code.digest(&one) && code.digest(&one) != code.digest(&other));
    }
}
