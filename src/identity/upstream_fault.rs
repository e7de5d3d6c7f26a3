//! Why the answer of an upstream provider does not count: one variant a rule.

/// Why the answer of an upstream provider does not count.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UpstreamFault {
    /// RFC 6749 §4.1.2.1 `access_denied`: the person, or the provider, declined.
    Declined,
    /// OpenID Connect Core §3.1.2.6: the provider would have had to ask the person, and did not.
    InteractionRequired,
    /// OpenID Connect Unmet Authentication Requirements: no sign-in there is as strong as was asked for.
    RequirementsUnmet,
    /// RFC 6749 §4.1.2.1: any other error; most likely this server is registered wrongly there.
    ErrorAnswered,
    /// RFC 9207 §2.4: `iss` is missing though it was promised, or is another provider's.
    ResponseIssuerWrong,
    /// RFC 6749 §4.1.2: there is neither a code nor an error.
    CodeMissing,
    /// RFC 6749 §5.2: the token endpoint refused the code.
    CodeRefused,
    /// OpenID Connect Core §3.1.3.3: the token response is not one, or has no ID token.
    TokenResponseMalformed,
    /// OpenID Connect Core §2: the ID token is no signed JWT.
    IdTokenMalformed,
    /// OpenID Connect Core §3.1.3.7-7: the algorithm is not one that we take; `none` and symmetric ones never are.
    IdTokenAlgorithm,
    /// OpenID Connect Core §3.1.3.7-6: no key of the provider verifies the signature.
    IdTokenSignature,
    /// OpenID Connect Core §3.1.3.7-2: `iss` is another provider.
    IdTokenIssuer,
    /// OpenID Connect Core §3.1.3.7-3: `aud` does not hold this client, or holds others too.
    IdTokenAudience,
    /// OpenID Connect Core §3.1.3.7-5: `azp` is another client.
    IdTokenAuthorizedParty,
    /// OpenID Connect Core §3.1.3.7-9, -10: `exp` is over, or `iat` or `nbf` lie ahead or far back.
    IdTokenTime,
    /// OpenID Connect Core §3.1.3.7-11: `nonce` is not that of the request.
    IdTokenNonce,
    /// OpenID Connect Core §3.1.3.8: `at_hash` is not that of the access token.
    IdTokenAccessTokenHash,
    /// OpenID Connect Core §5.3.4: UserInfo speaks of somebody else, or is no answer.
    UserInfoWrong,
    /// The claims do not name a person: the subject is missing, too long, or the name of a client.
    ClaimsUnfit,
}

impl UpstreamFault {
    /// The name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::InteractionRequired => "interaction_required",
            Self::RequirementsUnmet => "requirements_unmet",
            Self::ErrorAnswered => "error_answered",
            Self::ResponseIssuerWrong => "response_issuer_wrong",
            Self::CodeMissing => "code_missing",
            Self::CodeRefused => "code_refused",
            Self::TokenResponseMalformed => "token_response_malformed",
            Self::IdTokenMalformed => "id_token_malformed",
            Self::IdTokenAlgorithm => "id_token_algorithm",
            Self::IdTokenSignature => "id_token_signature",
            Self::IdTokenIssuer => "id_token_issuer",
            Self::IdTokenAudience => "id_token_audience",
            Self::IdTokenAuthorizedParty => "id_token_authorized_party",
            Self::IdTokenTime => "id_token_time",
            Self::IdTokenNonce => "id_token_nonce",
            Self::IdTokenAccessTokenHash => "id_token_access_token_hash",
            Self::UserInfoWrong => "userinfo_wrong",
            Self::ClaimsUnfit => "claims_unfit",
        }
    }
}

impl std::fmt::Display for UpstreamFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
