//! The forms of access tokens: a JWT says what it is good for, a handle of ours or the opaque token of somebody else says
//! nothing (RFC 6749 §1.4).

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

/// What a token is, by how it looks. None is ever taken for another: no JWT begins with the prefix of a handle, and what has
/// not three parts is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form<'a> {
    /// A JWT, perhaps.
    Jwt(&'a str),
    /// A handle, by what the store knows it by.
    Handle(Digest<AccessTokenKind>),
    /// Neither: if anybody knows what it stands for, it is somebody else.
    Opaque(&'a str),
}

impl<'a> Form<'a> {
    /// Tells the form of a token.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`] for what begins as a handle and is none.
    pub fn of(text: &'a str) -> Result<Self, TokenFault> {
        if !text.starts_with(AccessTokenKind::PREFIX) {
            let is_jwt = text.split('.').count() == 3; // RFC 7515 §7.1
            return Ok(if is_jwt { Self::Jwt(text) } else { Self::Opaque(text) });
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
        for text in ["a.b.c", "..", &format!("x.{handle}.x")] {
            assert_eq!(Form::of(text), Ok(Form::Jwt(text)));
        }
        for text in ["", "x", "a.b", "a.b.c.d", "TGA_", "tga", &handle[1..], &format!(" {handle}")] {
            assert_eq!(Form::of(text), Ok(Form::Opaque(text)));
        }
        for text in ["tga_", "tga_a.b.c", &handle[..46], &format!("{handle}A"), &format!("tga_{}", "B".repeat(43))] {
            assert_eq!(Form::of(text), Err(TokenFault::Malformed), "{text}");
        }
    }
}
