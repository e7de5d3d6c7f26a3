//! The credentials of a request: the `Authorization` header (RFC 6750 §2.1, RFC 9449 §7.1) and the `DPoP` header.
//!
//! Tokens in a query, a form or a cookie are not looked at: whoever accepts those finds them in logs (RFC 9700 §4.3.2).

use std::str;

use super::{Denial, Headers, Single};
use crate::dpop::ProofFault;
use crate::token::TOKEN_LIMIT;

/// The longest `Authorization` value that is looked at: a token, its scheme and some spaces.
const CREDENTIALS_LIMIT: usize = TOKEN_LIMIT + 64;

/// The scheme under which a token was presented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `DPoP` (RFC 9449 §7.1).
    Dpop,
    /// `Bearer` (RFC 6750 §2.1).
    Bearer,
}

impl Scheme {
    /// The scheme of that name; case does not matter (RFC 9110 §11.1).
    fn named(name: &[u8]) -> Option<Self> {
        match () {
            () if name.eq_ignore_ascii_case(b"DPoP") => Some(Self::Dpop),
            () if name.eq_ignore_ascii_case(b"Bearer") => Some(Self::Bearer),
            () => None,
        }
    }
}

/// A token and its scheme, syntactically sound and not verified.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'a> {
    /// How it was presented.
    pub(super) scheme: Scheme,
    /// The token itself.
    pub(super) token: &'a str,
}

impl<'a> Credentials<'a> {
    /// Reads `Authorization: <scheme> <token68>`, with one space or more between them.
    ///
    /// Another scheme counts as none: its challenge names the schemes that we take (RFC 9449 §7.1).
    pub(super) fn read(headers: &Headers<'a>) -> Result<Self, Denial> {
        let value = match headers.single("authorization") {
            Single::Absent | Single::One(b"") => return Err(Denial::CredentialsMissing),
            Single::One(value) => value,
            Single::Several => return Err(Denial::CredentialsRepeated),
        };
        if value.len() > CREDENTIALS_LIMIT {
            return Err(Denial::CredentialsTooLong);
        }
        let scheme_end = value.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(value.len());
        let (name, rest) = value.split_at(scheme_end);
        let scheme = Scheme::named(name).ok_or(Denial::CredentialsMissing)?;
        let token = rest.strip_prefix(b" ").ok_or(Denial::CredentialsMalformed)?;
        let spaces = token.iter().take_while(|byte| **byte == b' ').count();
        let token = token68(&token[spaces..]).ok_or(Denial::CredentialsMalformed)?;
        Ok(Self { scheme, token })
    }
}

/// Reads the one `DPoP` header (RFC 9449 §4.3, check 1).
pub(super) fn proof<'a>(headers: &Headers<'a>) -> Result<&'a str, ProofFault> {
    match headers.single("dpop") {
        Single::Absent => Err(ProofFault::Missing),
        Single::One(value) => str::from_utf8(value).map_err(|_| ProofFault::Malformed),
        Single::Several => Err(ProofFault::Repeated),
    }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 9110 §11.2).
fn token68(value: &[u8]) -> Option<&str> {
    let end = value.iter().rposition(|byte| *byte != b'=')? + 1;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    value[..end].iter().all(allowed).then_some(())?;
    str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static [u8]]) -> Result<(Scheme, &'static str), Denial> {
        let headers: Headers<'static> = values.iter().map(|value| ("authorization", *value)).collect();
        Credentials::read(&headers).map(|credentials| (credentials.scheme, credentials.token))
    }

    #[test]
    fn one_scheme_and_one_token() {
        for (values, expected) in [
            (&[b"DPoP a.b-c_d~e+f/g==".as_slice()][..], Ok((Scheme::Dpop, "a.b-c_d~e+f/g=="))),
            (&[b"dpop   t"], Ok((Scheme::Dpop, "t"))),
            (&[b"bEARER t"], Ok((Scheme::Bearer, "t"))),
            (&[], Err(Denial::CredentialsMissing)),
            (&[b""], Err(Denial::CredentialsMissing)),
            (&[b"Basic dTpw"], Err(Denial::CredentialsMissing)),
            (&[b"DPoPt"], Err(Denial::CredentialsMissing)),
            (&[b"DPoP a", b"Bearer b"], Err(Denial::CredentialsRepeated)),
            (&[b"DPoP a,Bearer b"], Err(Denial::CredentialsRepeated)),
            (&[b"DPoP a,"], Err(Denial::CredentialsRepeated)),
            (&[b"DPoP"], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP "], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP\ta"], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP \ta"], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP a b"], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP a "], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP =a"], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP =="], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP \"a\""], Err(Denial::CredentialsMalformed)),
            (&[b"DPoP \xff"], Err(Denial::CredentialsMalformed)),
        ] {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }
}
