//! Why the gate says no: the one table of reasons, and what each means on the wire.

use crate::dpop::{ProofFault, Remedy};
use crate::token::TokenFault;

/// Why a request was denied: one variant a rule.
///
/// Tests, logs, metrics, Envoy's metadata and `tollgate explain` speak of denials. Clients see the status, the
/// [`ChallengeError`] and the description.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Denial {
    /// The proxy's question has no HTTP request in it, or is no such question.
    CheckMalformed,
    /// The proxy's question is larger than any request that we judge.
    CheckTooLarge,
    /// The proxy's configuration names a resource that ours does not.
    ResourceUnknown,
    /// The host is none of a configured origin, or not one host (RFC 9110 §7.2, §7.4).
    HostUnknown,
    /// TRACE, CONNECT, or not a method at all (RFC 9110 §9.3.6, §9.3.8).
    MethodRefused,
    /// The target is longer than any that we judge (RFC 9110 §15.5.15).
    PathTooLong,
    /// The target has no path, or not a well-formed one (RFC 3986 §3.3).
    PathMalformed,
    /// Two parsers could read the path differently (RFC 3986 §6.2.2.3, §7.3).
    PathAmbiguous,
    /// `Connection` names headers that a later hop would drop, ours among them perhaps (RFC 9110 §7.6.1).
    ConnectionNamesHeaders,
    /// MCP 2026-07-28, "Standard Request Headers": a request does not say what it calls, or not in one way.
    McpCallMalformed,
    /// No rule of the resource is about this path and method, or about this call of an MCP server.
    NoRule,
    /// RFC 6750 §3.1: "the request lacks any authentication information"; the challenge has no error.
    CredentialsMissing,
    /// RFC 6750 §3.1, RFC 9449 §7.2: "more than one method for including an access token".
    CredentialsRepeated,
    /// RFC 9110 §11.4: not a scheme, spaces and one token.
    CredentialsMalformed,
    /// Longer than any token that we judge (RFC 6585 §5).
    CredentialsTooLong,
    /// RFC 9449 §7.2: a token that is bound to a key was presented as a bearer token.
    BoundTokenAsBearer,
    /// The resource takes tokens only that are bound to a key, and this one is not.
    BearerRefused,
    /// RFC 9449 §7.1: a token that is bound to no key was presented under the DPoP scheme.
    UnboundTokenAsDpop,
    /// RFC 9449 §7.1: the proof was made with another key than the token is bound to.
    KeyMismatch,
    /// RFC 8705 §3: the connection has not the certificate that the token is bound to.
    CertificateMismatch,
    /// RFC 6750 §3.1: the token does not allow what the rule asks for.
    ScopeInsufficient,
    /// RFC 9396 §9.1: `authorization_details` of the token do not hold what the rule asks for.
    DetailsInsufficient,
    /// A claim of the token does not say what the rule asks for.
    ClaimRefused,
    /// RFC 9470 §3: the person signed in in another way than the rule asks for.
    AuthenticationTooWeak,
    /// RFC 9470 §3: the person signed in longer ago than the rule allows.
    AuthenticationTooOld,
    /// The condition of the rule does not hold for this token and this request.
    ConditionFalse,
    /// The condition of the rule could not be evaluated, for it needs something that is not there.
    ConditionInconclusive,
    /// RFC 9068 §4: the token itself is at fault.
    Token(TokenFault),
    /// RFC 9449 §4.3: the proof itself is at fault.
    Proof(ProofFault),
}

/// The `error` of a challenge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChallengeError {
    /// RFC 6750 §3.1.
    InvalidRequest,
    /// RFC 6750 §3.1.
    InvalidToken,
    /// RFC 6750 §3.1.
    InsufficientScope,
    /// RFC 9470 §3.
    InsufficientUserAuthentication,
    /// RFC 9449 §7.1.
    InvalidDpopProof,
    /// RFC 9449 §9.
    UseDpopNonce,
}

impl ChallengeError {
    /// The code as it goes over the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }
}

impl Denial {
    /// The denials that embed nothing.
    const PLAIN: [Self; 27] = [
        Self::CheckMalformed,
        Self::CheckTooLarge,
        Self::ResourceUnknown,
        Self::HostUnknown,
        Self::MethodRefused,
        Self::PathTooLong,
        Self::PathMalformed,
        Self::PathAmbiguous,
        Self::ConnectionNamesHeaders,
        Self::McpCallMalformed,
        Self::NoRule,
        Self::CredentialsMissing,
        Self::CredentialsRepeated,
        Self::CredentialsMalformed,
        Self::CredentialsTooLong,
        Self::BoundTokenAsBearer,
        Self::BearerRefused,
        Self::UnboundTokenAsDpop,
        Self::KeyMismatch,
        Self::CertificateMismatch,
        Self::ScopeInsufficient,
        Self::DetailsInsufficient,
        Self::ClaimRefused,
        Self::AuthenticationTooWeak,
        Self::AuthenticationTooOld,
        Self::ConditionFalse,
        Self::ConditionInconclusive,
    ];

    /// Every denial.
    pub fn all() -> impl Iterator<Item = Self> {
        let tokens = TokenFault::ALL.into_iter().map(Self::Token);
        let proofs = ProofFault::ALL.into_iter().map(Self::Proof);
        Self::PLAIN.into_iter().chain(tokens).chain(proofs)
    }

    /// The name in logs, metrics, Envoy's metadata and `tollgate explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CheckMalformed => "check_malformed",
            Self::CheckTooLarge => "check_too_large",
            Self::ResourceUnknown => "resource_unknown",
            Self::HostUnknown => "host_unknown",
            Self::MethodRefused => "method_refused",
            Self::PathTooLong => "path_too_long",
            Self::PathMalformed => "path_malformed",
            Self::PathAmbiguous => "path_ambiguous",
            Self::ConnectionNamesHeaders => "connection_names_headers",
            Self::McpCallMalformed => "mcp_call_malformed",
            Self::NoRule => "no_rule",
            Self::CredentialsMissing => "credentials_missing",
            Self::CredentialsRepeated => "credentials_repeated",
            Self::CredentialsMalformed => "credentials_malformed",
            Self::CredentialsTooLong => "credentials_too_long",
            Self::BoundTokenAsBearer => "bound_token_as_bearer",
            Self::BearerRefused => "bearer_refused",
            Self::UnboundTokenAsDpop => "unbound_token_as_dpop",
            Self::KeyMismatch => "key_mismatch",
            Self::CertificateMismatch => "certificate_mismatch",
            Self::ScopeInsufficient => "scope_insufficient",
            Self::DetailsInsufficient => "authorization_details_insufficient",
            Self::ClaimRefused => "claim_refused",
            Self::AuthenticationTooWeak => "authentication_too_weak",
            Self::AuthenticationTooOld => "authentication_too_old",
            Self::ConditionFalse => "condition_false",
            Self::ConditionInconclusive => "condition_inconclusive",
            Self::Token(fault) => fault.name(),
            Self::Proof(fault) => fault.name(),
        }
    }

    /// The error of the challenge; `None` where there is nothing for a client to repair with another token or proof.
    #[must_use]
    pub const fn error(self) -> Option<ChallengeError> {
        match self {
            Self::CheckMalformed
            | Self::CheckTooLarge
            | Self::ResourceUnknown
            | Self::HostUnknown
            | Self::MethodRefused
            | Self::PathTooLong
            | Self::PathMalformed
            | Self::PathAmbiguous
            | Self::ConnectionNamesHeaders
            | Self::McpCallMalformed
            | Self::NoRule
            | Self::CredentialsMissing
            | Self::CredentialsTooLong
            | Self::ClaimRefused
            | Self::ConditionFalse
            | Self::ConditionInconclusive => None,
            Self::CredentialsRepeated | Self::CredentialsMalformed => Some(ChallengeError::InvalidRequest),
            Self::BoundTokenAsBearer
            | Self::BearerRefused
            | Self::UnboundTokenAsDpop
            | Self::KeyMismatch
            | Self::CertificateMismatch
            | Self::Token(_) => Some(ChallengeError::InvalidToken),
            Self::ScopeInsufficient | Self::DetailsInsufficient => Some(ChallengeError::InsufficientScope),
            Self::AuthenticationTooWeak | Self::AuthenticationTooOld => {
                Some(ChallengeError::InsufficientUserAuthentication)
            }
            Self::Proof(fault) => match fault.remedy() {
                Remedy::AnotherProof => Some(ChallengeError::InvalidDpopProof),
                Remedy::FreshNonce => Some(ChallengeError::UseDpopNonce),
            },
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::CheckMalformed
            | Self::PathMalformed
            | Self::PathAmbiguous
            | Self::ConnectionNamesHeaders
            | Self::McpCallMalformed
            | Self::CredentialsRepeated
            | Self::CredentialsMalformed => 400,
            Self::CredentialsMissing
            | Self::BoundTokenAsBearer
            | Self::BearerRefused
            | Self::UnboundTokenAsDpop
            | Self::KeyMismatch
            | Self::CertificateMismatch
            | Self::AuthenticationTooWeak
            | Self::AuthenticationTooOld
            | Self::Token(_)
            | Self::Proof(_) => 401,
            Self::ResourceUnknown
            | Self::HostUnknown
            | Self::MethodRefused
            | Self::NoRule
            | Self::ScopeInsufficient
            | Self::DetailsInsufficient
            | Self::ClaimRefused
            | Self::ConditionFalse
            | Self::ConditionInconclusive => 403,
            Self::PathTooLong => 414,
            Self::CheckTooLarge | Self::CredentialsTooLong => 431,
        }
    }

    /// The `error_description`: names the mistake in the characters of RFC 6749 §5.2, and repeats nothing that was sent.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::CheckMalformed => "the proxy sent no HTTP request to judge",
            Self::CheckTooLarge => "the request head is too large",
            Self::ResourceUnknown => "the proxy names a resource that is not configured",
            Self::HostUnknown => "the host is not that of a protected resource",
            Self::MethodRefused => "the method is not allowed",
            Self::PathTooLong => "the path is longer than 8 KiB",
            Self::PathMalformed => "the path is missing or malformed",
            Self::PathAmbiguous => "the path could be read in more than one way",
            Self::ConnectionNamesHeaders => "the Connection header names other headers",
            Self::McpCallMalformed => "the MCP headers do not say in one way what is called",
            Self::NoRule => "no rule allows this path and method",
            Self::CredentialsMissing => "an access token is required",
            Self::CredentialsRepeated => "more than one access token was sent",
            Self::CredentialsMalformed => "the Authorization header is not a scheme and one token",
            Self::CredentialsTooLong => "the Authorization header is longer than 16 KiB",
            Self::BoundTokenAsBearer => "the token is bound to a key and must be used with the DPoP scheme and a proof",
            Self::BearerRefused => "only tokens that are bound to a key are accepted here",
            Self::UnboundTokenAsDpop => "the token is not bound to a key",
            Self::KeyMismatch => "Invalid DPoP key binding",
            Self::CertificateMismatch => "the token is bound to another client certificate",
            Self::ScopeInsufficient => "the token lacks a scope that is required here",
            Self::DetailsInsufficient => "the authorization_details of the token do not allow this",
            Self::ClaimRefused => "the token is good, but not for this",
            Self::AuthenticationTooWeak => "a stronger authentication is required",
            Self::AuthenticationTooOld => "a more recent authentication is required",
            Self::ConditionFalse => "the token is good, but not for this request",
            Self::ConditionInconclusive => "the token says too little for this request",
            Self::Token(fault) => fault.description(),
            Self::Proof(fault) => fault.description(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_denial_has_a_name_and_a_text_of_its_own() {
        let names: HashSet<_> = Denial::all().map(Denial::name).collect();
        assert_eq!(names.len(), Denial::all().count());
        for denial in Denial::all() {
            let text = denial.description();
            let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(!text.is_empty() && text.bytes().all(allowed), "{denial:?}: {text}");
            let challenged = denial.error().is_some() || denial == Denial::CredentialsMissing;
            assert!(challenged || denial.status() != 401, "{denial:?} is 401 without a challenge");
        }
    }
}
