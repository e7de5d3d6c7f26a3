//! Client assertions: `private_key_jwt` (RFC 7523 §3, its update 7523bis, OpenID Connect Core §9).

use std::time::Duration;

use super::Refusal;
use crate::clock::Timestamp;
use crate::ident::Issuer;
use crate::jose::{ASSERTION_ALGORITHMS, Algorithm, Json, Jws, PublicKey, object};
use crate::replay::ReplayKey;
use crate::secret::sha256_parts;

/// The longest assertion accepted, in bytes.
const ASSERTION_LIMIT: usize = 8 * 1024;

/// How far ahead `exp` may lie: a cap, so that what must be remembered is bounded (RFC 7523 §3-4).
const LIFETIME_LIMIT: Duration = Duration::from_mins(5);

/// How far `iat` and `nbf` may lie ahead (FAPI 2.0 §5.3.2.1-13 wants 10 s accepted and more than 60 s refused).
const SKEW: Duration = Duration::from_secs(10);

/// The longest `jti` accepted, in bytes.
const JTI_LIMIT: usize = 256;

/// An assertion that was read; nothing of it is verified yet.
pub(super) struct Assertion<'a> {
    jws: Jws<'a>,
    client_id: String,
}

impl<'a> Assertion<'a> {
    /// Reads an assertion. Its `sub` says which client it speaks for.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let jws = Jws::parse(text, ASSERTION_LIMIT).map_err(|_| Refusal::AssertionMalformed)?;
        let client_id = jws.required_text("sub").map_err(|_| Refusal::AssertionPartyWrong)?.to_owned();
        Ok(Self { jws, client_id })
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whether the client has made it itself (RFC 7523 §3), and not somebody who vouches for it.
    pub(super) fn is_of_its_client(&self) -> bool {
        self.jws.required_text("iss").ok() == Some(self.client_id())
    }

    /// What was read.
    pub(super) fn jws(&self) -> &Jws<'a> {
        &self.jws
    }

    /// The key that it names.
    pub(super) fn kid(&self) -> Option<&str> {
        self.jws.header_text("kid").ok().flatten()
    }

    /// Everything that can be judged without knowing the client.
    pub(super) fn check_claims(&self, issuer: &Issuer, now: Timestamp) -> Result<(), Refusal> {
        self.check_type()?;
        if !self.is_of_its_client() {
            return Err(Refusal::AssertionPartyWrong);
        }
        // One string and no array, not even of one: whoever lets a server choose among audiences can be made to sign
        // for another one (draft-ietf-oauth-rfc7523bis, "audience injection").
        match self.jws.claims().get("aud") {
            Some(Json::String(aud)) if aud == issuer.as_str() => {}
            Some(_) | None => return Err(Refusal::AssertionAudienceWrong),
        }
        self.check_times(now)?;
        self.jti().map(drop)
    }

    /// Refuses the types of other tokens; `JWT` and no type at all are what older clients send (7523bis §4).
    fn check_type(&self) -> Result<(), Refusal> {
        let typ = self.jws.header_text("typ").map_err(|_| Refusal::AssertionMalformed)?;
        let known = typ
            .is_none_or(|typ| ["JWT", "client-authentication+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known)));
        if known { Ok(()) } else { Err(Refusal::AssertionMalformed) }
    }

    fn check_times(&self, now: Timestamp) -> Result<(), Refusal> {
        let wrong = |_| Refusal::AssertionTimeWrong;
        let expires = self.jws.time("exp").map_err(wrong)?.ok_or(Refusal::AssertionTimeWrong)?;
        if now >= expires || expires > now + LIFETIME_LIMIT + SKEW {
            return Err(Refusal::AssertionTimeWrong);
        }
        for claim in ["nbf", "iat"] {
            if self.jws.time(claim).map_err(wrong)?.is_some_and(|begins| begins > now + SKEW) {
                return Err(Refusal::AssertionTimeWrong);
            }
        }
        Ok(())
    }

    fn jti(&self) -> Result<&str, Refusal> {
        let jti = self.jws.required_text("jti").map_err(|_| Refusal::AssertionJtiMissing)?;
        if jti.len() <= JTI_LIMIT { Ok(jti) } else { Err(Refusal::AssertionJtiMissing) }
    }

    /// The signature, by one of the client's keys: that with the `kid` of the header, or any that fits if it has none.
    ///
    /// Where there is no such key a decoy is tried, so that it takes as long.
    pub(super) fn check_signature(
        &self,
        keys: &[PublicKey],
        (allowed, registered): (&[Algorithm], Option<Algorithm>),
        decoys: &Decoys,
    ) -> Result<(), Refusal> {
        let wrong = Refusal::AssertionSignatureWrong;
        let algorithm = self.jws.algorithm(ASSERTION_ALGORITHMS).ok_or(wrong)?;
        let may_sign = allowed.contains(&algorithm) && registered.is_none_or(|registered| registered == algorithm);
        let keys = if may_sign { keys } else { &[] };
        let kid = self.jws.header_text("kid").map_err(|_| wrong)?;
        let named = |key: &&PublicKey| kid.is_none() || key.kid().is_none() || key.kid() == kid;
        let mut candidates = keys.iter().filter(|key| key.fits(algorithm)).filter(named).peekable();
        if candidates.peek().is_none() {
            decoys.verify(&self.jws, algorithm);
        }
        if candidates.any(|key| self.jws.verify(algorithm, key).is_ok()) { Ok(()) } else { Err(wrong) }
    }

    /// What the store remembers: the `jti`, keyed with the client, so that no client can burn another's.
    pub(super) fn replay_key(&self) -> ReplayKey {
        let jti = self.jti().unwrap_or_default();
        ReplayKey::from_bytes(sha256_parts(&[b"client assertion", self.client_id.as_bytes(), jti.as_bytes()]))
    }

    /// Until when the store must remember it.
    pub(super) fn remembered_until(&self) -> Timestamp {
        self.jws.time("exp").ok().flatten().unwrap_or_default() + SKEW
    }
}

/// Keys that nobody has the private half of any more (RFC 7515 A.3, RFC 8037 A.2, RFC 7638 §3.1), one for each type: what
/// the assertion of an unknown client is verified with. Nothing passes because of them.
pub(super) struct Decoys(Vec<PublicKey>);

impl Decoys {
    pub(super) fn new() -> Self {
        const KEYS: [&str; 3] = [
            concat!(
                r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","#,
                r#""y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#
            ),
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            concat!(
                r#"{"kty":"RSA","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPF"#,
                "FxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FD",
                "W2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd",
                r#"2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}"#
            ),
        ];
        let key = |text: &str| {
            let members = object(text.as_bytes()).expect("the RFCs print JSON");
            PublicKey::from_jwk(&members).expect("the RFCs print good keys")
        };
        Self(KEYS.into_iter().map(key).collect())
    }

    /// Spends the time of a verification.
    fn verify(&self, jws: &Jws<'_>, algorithm: Algorithm) {
        if let Some(key) = self.0.iter().find(|key| key.fits(algorithm)) {
            let _ = std::hint::black_box(jws.verify(algorithm, key));
        }
    }
}
