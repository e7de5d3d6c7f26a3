//! The two forms of our access tokens: a JWT says what it is good for, a handle says nothing (RFC 6749 §1.4).

use super::TokenFault;
use crate::secret::{AccessTokenKind, Digest, Kind, OpaqueAccessToken};

/// The form in which access tokens are issued.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AccessTokenFormat {
    /// A JWT (RFC 9068): a resource server needs nobody to judge it.
    #[default]
    Jwt,
    /// A handle: who holds it learns nothing from it, and a resource server asks what it means (RFC 7662).
    Opaque,
}

/// What a token is, by how it begins. Neither form is ever taken for the other: no JWT begins with the prefix of a handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form<'a> {
    /// A JWT, perhaps.
    Jwt(&'a str),
    /// A handle, by what the store knows it by.
    Handle(Digest<AccessTokenKind>),
}

impl<'a> Form<'a> {
    /// Tells the form of a token.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`] for what begins as a handle and is none.
    pub fn of(text: &'a str) -> Result<Self, TokenFault> {
        if !text.starts_with(AccessTokenKind::PREFIX) {
            return Ok(Self::Jwt(text));
        }
        let handle = text.parse::<OpaqueAccessToken>().map_err(|_| TokenFault::Malformed)?;
        Ok(Self::Handle(handle.digest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_decides() {
        let handle = format!("tga_{}", "A".repeat(43));
        assert!(matches!(Form::of(&handle), Ok(Form::Handle(_))));
        for text in ["", "x", "a.b.c", "TGA_", "tga", &handle[1..], &format!(" {handle}")] {
            assert_eq!(Form::of(text), Ok(Form::Jwt(text)));
        }
        for text in ["tga_", "tga_a.b.c", &handle[..46], &format!("{handle}A"), &format!("tga_{}", "B".repeat(43))] {
            assert_eq!(Form::of(text), Err(TokenFault::Malformed), "{text}");
        }
    }
}
