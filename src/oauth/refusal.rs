//! Why the authorization server refused: the one table from rule to wire.

use super::ErrorCode;
use crate::dpop::{ProofFault, Remedy};

/// Declares [`Refusal`] as a table: variant, name, error code, description, each rule with its section above it.
macro_rules! refusals {
    ($($(#[$doc:meta])+ $variant:ident $name:literal $code:ident $description:literal;)+) => {
        /// Why the authorization server refused: one variant a rule.
        ///
        /// Tests, logs and `tollgate explain` speak of refusals; clients see [`Refusal::code`] and
        /// [`Refusal::description`] only.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Refusal {
            $($(#[$doc])+ $variant,)+
            /// RFC 9449 §4.3: the proof itself is at fault.
            Proof(ProofFault),
        }

        impl Refusal {
            /// Every refusal but those of proofs, which [`ProofFault::ALL`] lists.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The `error` of the answer.
            #[must_use]
            pub const fn code(self) -> ErrorCode {
                match self {
                    $(Self::$variant => ErrorCode::$code,)+
                    Self::Proof(fault) => match fault.remedy() {
                        Remedy::AnotherProof => ErrorCode::InvalidDpopProof,
                        Remedy::FreshNonce => ErrorCode::UseDpopNonce,
                    },
                }
            }

            /// The name in logs, metrics and `tollgate explain`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Proof(fault) => fault.name(),
                }
            }

            /// The `error_description`: names the mistake, in the characters of RFC 6749 §5.2, and repeats nothing that
            /// was sent. What would only help a guesser (unknown, expired, used, another's) reads the same.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $description,)+
                    Self::Proof(fault) => fault.description(),
                }
            }
        }
    };
}

refusals! {
    /// RFC 6749 §3.2: the body of a request to this endpoint is `application/x-www-form-urlencoded`.
    ContentTypeWrong "content_type_wrong" InvalidRequest "Content-Type must be application/x-www-form-urlencoded in UTF-8";
    /// RFC 6749 Appendix B: the body is not a form in UTF-8.
    FormMalformed "form_malformed" InvalidRequest "the parameters are not well-formed UTF-8";
    /// More parameters, or longer ones, than we take.
    FormTooLarge "form_too_large" InvalidRequest "too many or too long parameters";
    /// RFC 6749 §3.1, §3.2: parameters "MUST NOT be included more than once".
    ParameterRepeated "parameter_repeated" InvalidRequest "a parameter occurs more than once";
    /// RFC 6749 §2.3.1: credentials "MUST NOT be included in the request URI".
    ParameterInQuery "parameter_in_query" InvalidRequest "parameters belong in the body, not in the query";
    /// RFC 6749 §4: `grant_type` is required.
    GrantTypeMissing "grant_type_missing" InvalidRequest "grant_type is missing";
    /// RFC 6749 §5.2; RFC 9700 §2.4 for `password`.
    GrantTypeUnsupported "grant_type_unsupported" UnsupportedGrantType "grant_type is not one of grant_types_supported";
    /// RFC 6749 §5.2: "not authorized to use this authorization grant type".
    GrantTypeNotAllowed "grant_type_not_allowed" UnauthorizedClient "this client is not registered for this grant type";

    /// RFC 6749 §2.3: no client is named, and none authenticates.
    ClientMissing "client_missing" InvalidClient "client authentication is missing";
    /// RFC 6749 §5.2: unknown client, wrong secret, wrong key: all alike.
    ClientAuthenticationFailed "client_authentication_failed" InvalidClient "client authentication failed";
    /// draft-ietf-oauth-client-id-metadata-document §4: what is at `client_id` is not the metadata of that client, or may not be.
    ClientDocumentUnfit "client_document_unfit" InvalidClient "client_id does not lead to client metadata that this server takes";
    /// RFC 6749 §2.3: "MUST NOT use more than one authentication method in each request".
    ClientAuthenticationRepeated "client_authentication_repeated" InvalidRequest "more than one client authentication method";
    /// RFC 7521 §4.2: `client_id` names another client than the credentials.
    ClientIdMismatch "client_id_mismatch" InvalidRequest "client_id does not match the client credentials";
    /// RFC 7591 §2: another method than the registered one. Reads like any failure, or it would tell which clients exist.
    ClientMethodMismatch "client_method_mismatch" InvalidClient "client authentication failed";
    /// RFC 8705 §2: the connection has no certificate, which is how the client is registered to authenticate.
    ClientCertificateMissing "client_certificate_missing" InvalidClient "client authentication failed";
    /// RFC 8705 §2.1: no authority that counts vouches for the certificate, or not any more.
    ClientCertificateUntrusted "client_certificate_untrusted" InvalidClient "client authentication failed";
    /// RFC 8705 §2.1.2, §2.2: the certificate is not that of the client.
    ClientCertificateWrong "client_certificate_wrong" InvalidClient "client authentication failed";
    /// RFC 6749 §2.3.1, RFC 7617 §2: the `Authorization` header is no `Basic` credentials.
    BasicMalformed "basic_malformed" InvalidClient "Authorization is not well-formed Basic credentials";
    /// RFC 7521 §4.2: the only type is that of RFC 7523 §2.2.
    AssertionTypeWrong "assertion_type_wrong" InvalidClient "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    /// RFC 7523 §3: not a signed JWT.
    AssertionMalformed "assertion_malformed" InvalidClient "client_assertion is not a well-formed signed JWT";
    /// RFC 7523 §3-9, RFC 8725 §3.1: algorithm, key or signature.
    AssertionSignatureWrong "assertion_signature_wrong" InvalidClient "client_assertion is not signed with a registered key and an accepted algorithm";
    /// RFC 7523 §3-1, §3-2: `iss` and `sub` are both the client.
    AssertionPartyWrong "assertion_party_wrong" InvalidClient "client_assertion iss and sub must both be the client_id";
    /// RFC 7523bis, FAPI 2.0 §5.3.2.1: `aud` is our issuer, as one string.
    AssertionAudienceWrong "assertion_audience_wrong" InvalidClient "client_assertion aud must be the issuer of this server, as a string";
    /// RFC 7523 §3-4, §3-5, §3-6: expired, not yet valid, or valid for longer than five minutes.
    AssertionTimeWrong "assertion_time_wrong" InvalidClient "client_assertion exp must be at most 5 minutes ahead, and nbf and iat not in the future";
    /// OpenID Connect Core §9: `jti` is required.
    AssertionJtiMissing "assertion_jti_missing" InvalidClient "client_assertion jti must be 1 to 256 characters";
    /// RFC 7523 §3-7: the assertion was used before.
    AssertionReplayed "assertion_replayed" InvalidClient "client_assertion was used before";

    /// RFC 6749 §4.1.3: `code` is required.
    CodeMissing "code_missing" InvalidRequest "code is missing";
    /// RFC 6749 §5.2: no such code, or its time is over.
    CodeUnknown "code_unknown" InvalidGrant "the authorization code is invalid, expired, used or for another client";
    /// RFC 6749 §5.2: the code was issued to another client.
    CodeClientMismatch "code_client_mismatch" InvalidGrant "the authorization code is invalid, expired, used or for another client";
    /// RFC 6749 §4.1.2: the code was used before; the grant it gave is ended.
    CodeReplayed "code_replayed" InvalidGrant "the authorization code is invalid, expired, used or for another client";
    /// RFC 6749 §4.1.3: `redirect_uri` is not that of the authorization request.
    RedirectUriMismatch "redirect_uri_mismatch" InvalidGrant "redirect_uri is not that of the authorization request";
    /// RFC 7636 §4.5: `code_verifier` is missing.
    VerifierMissing "verifier_missing" InvalidGrant "code_verifier is missing";
    /// RFC 7636 §4.6: the verifier does not hash to the challenge.
    VerifierMismatch "verifier_mismatch" InvalidGrant "code_verifier does not match the code_challenge";
    /// RFC 9449 §10: the proof's key is not the one that `dpop_jkt` bound the code to.
    CodeKeyMismatch "code_key_mismatch" InvalidGrant "the authorization code is bound to another DPoP key";

    /// RFC 6749 §6: `refresh_token` is required.
    RefreshTokenMissing "refresh_token_missing" InvalidRequest "refresh_token is missing";
    /// RFC 6749 §5.2: no such token, or none that we issued.
    RefreshTokenUnknown "refresh_token_unknown" InvalidGrant "the refresh token is invalid, expired, revoked or for another client";
    /// RFC 6749 §6: the token was issued to another client.
    RefreshTokenClientMismatch "refresh_token_client_mismatch" InvalidGrant "the refresh token is invalid, expired, revoked or for another client";
    /// RFC 6749 §5.2: the grant has ended or expired.
    GrantEnded "grant_ended" InvalidGrant "the refresh token is invalid, expired, revoked or for another client";
    /// RFC 9700 §4.14.2: an old token came after its successor was used; the grant is ended.
    RefreshTokenForked "refresh_token_forked" InvalidGrant "the refresh token is invalid, expired, revoked or for another client";
    /// The token was overtaken by two rotations while this request was under way; the grant lives.
    RefreshTokenOvertaken "refresh_token_overtaken" InvalidGrant "the refresh token is invalid, expired, revoked or for another client";
    /// RFC 9449 §5: the refresh token of a public client is bound to another key.
    RefreshTokenKeyMismatch "refresh_token_key_mismatch" InvalidGrant "the refresh token is bound to another key or certificate";
    /// RFC 8705 §3: the client or the grant is registered for tokens that are bound to a certificate, and there is none.
    CertificateMissing "certificate_missing" InvalidRequest "a client certificate is required for certificate-bound tokens";
    /// RFC 6749 §5.2: the person may no longer sign in.
    SubjectDisabled "subject_disabled" InvalidGrant "the refresh token is invalid, expired, revoked or for another client";

    /// RFC 8628 §3.4: `device_code` is required.
    DeviceCodeMissing "device_code_missing" InvalidRequest "device_code is missing";
    /// RFC 6749 §5.2: no such device code, or it was used.
    DeviceCodeUnknown "device_code_unknown" InvalidGrant "the device code is invalid, used or for another client";
    /// RFC 8628 §3.4: the device code was issued to another client.
    DeviceCodeClientMismatch "device_code_client_mismatch" InvalidGrant "the device code is invalid, used or for another client";
    /// RFC 9449 §10, for devices: the proof's key is not the one that the device authorization was bound to.
    DeviceCodeKeyMismatch "device_code_key_mismatch" InvalidGrant "the device code is bound to another DPoP key";
    /// RFC 8628 §3.5: the time of the device code is over.
    DeviceCodeExpired "device_code_expired" ExpiredToken "the device code has expired";
    /// RFC 8628 §3.5: nobody has decided yet.
    DecisionPending "decision_pending" AuthorizationPending "nobody has approved or declined yet";
    /// RFC 8628 §3.5: nobody has decided yet, and the device polled before its interval had passed.
    PolledTooSoon "polled_too_soon" SlowDown "the device polled too soon, the interval is now 5 seconds longer";
    /// RFC 8628 §3.5: the person declined.
    DeviceDeclined "device_declined" AccessDenied "the request was declined";
    /// RFC 8628 §3.5: the person who approved may no longer sign in.
    DeviceSubjectDisabled "device_subject_disabled" AccessDenied "the request was declined";

    /// RFC 6750 §3.1: "the request lacks any authentication information"; the challenge has no error.
    AccessTokenMissing "access_token_missing" InvalidToken "an access token is required";
    /// RFC 6750 §3.1: not one `Authorization` header with a scheme and a token.
    AccessTokenMalformed "access_token_malformed" InvalidRequest "Authorization is not one scheme and one token";
    /// RFC 6750 §3.1: expired, of another issuer, altered, or of somebody who may no longer sign in.
    AccessTokenInvalid "access_token_invalid" InvalidToken "the access token is expired, revoked or not one of this server";
    /// RFC 9449 §7.1, §7.2, RFC 8705 §3: presented under another scheme, or with another key or certificate, than it is bound to.
    AccessTokenBindingWrong "access_token_binding_wrong" InvalidToken "the access token is bound to another key, certificate or scheme";
    /// OpenID Connect Core §5.3: the token lacks the scope `openid`.
    AccessTokenScopeMissing "access_token_scope_missing" InsufficientScope "the access token lacks the scope openid";
    /// RFC 7009 §2.1, RFC 7662 §2.1: `token` is required.
    TokenMissing "token_missing" InvalidRequest "token is missing";
    /// RFC 7662 §2.1, §4: whoever introspects must authenticate.
    IntrospectionByPublicClient "introspection_by_public_client" InvalidClient "introspection is for clients that authenticate";
    /// RFC 9701 §5: whom a signed answer is for must be known; without credentials that is a 400.
    IntrospectionCallerMissing "introspection_caller_missing" InvalidRequest "signed introspection answers are for clients that authenticate";
    /// RFC 8693 §2.1: `subject_token` is required.
    SubjectTokenMissing "subject_token_missing" InvalidRequest "subject_token is missing";
    /// RFC 8693 §3: only access tokens of ours.
    SubjectTokenTypeUnsupported "subject_token_type_unsupported" InvalidRequest "subject_token_type must be urn:ietf:params:oauth:token-type:access_token";
    /// RFC 8693 §2.2.2: expired, of another issuer, altered, of somebody who may no longer sign in, or handed on too often.
    SubjectTokenInvalid "subject_token_invalid" InvalidRequest "subject_token is expired, revoked or not one of this server";
    /// RFC 8693 §2.2.2: the token is for a resource for which this client does not answer.
    SubjectTokenForOthers "subject_token_for_others" InvalidRequest "subject_token is for a resource that this client does not answer for";
    /// RFC 8693 §2.1: the client itself is the actor.
    ActorTokenUnsupported "actor_token_unsupported" InvalidRequest "actor_token is not supported, the client itself is the actor";
    /// RFC 8693 §2.1: only access tokens are given.
    RequestedTokenTypeUnsupported "requested_token_type_unsupported" InvalidRequest "requested_token_type must be urn:ietf:params:oauth:token-type:access_token";
    /// RFC 6749 §3.3: not in the grammar of scopes.
    ScopeMalformed "scope_malformed" InvalidScope "scope is not a list of scope tokens with single spaces between them";
    /// RFC 6749 §3.3, §6: unknown, not allowed to this client, or not in the grant.
    ScopeNotAllowed "scope_not_allowed" InvalidScope "a requested scope is unknown or not allowed here";
    /// RFC 8707 §2: unknown, malformed, several, or not in the grant.
    ResourceUnknown "resource_unknown" InvalidTarget "resource is not one that this server issues tokens for here";

    /// RFC 9396 §5: no array of objects with a `type`, or too much.
    DetailsMalformed "details_malformed" InvalidAuthorizationDetails "authorization_details is not a JSON array of objects with a type, or too long";
    /// RFC 9396 §5: a type that does not exist, is not allowed to this client, or not here.
    DetailTypeNotAllowed "detail_type_not_allowed" InvalidAuthorizationDetails "a type in authorization_details is unknown or not allowed here";
    /// RFC 9396 §5: a member or a value that the type has not, or a member that it must have.
    DetailNotAllowed "detail_not_allowed" InvalidAuthorizationDetails "authorization_details has a member or a value that its type does not allow, or lacks one";
    /// RFC 9396 §6: more than was granted.
    DetailsNotGranted "details_not_granted" InvalidAuthorizationDetails "authorization_details is not within what was granted";

    /// RFC 6749 §3.1.2.4: no client of that name; never redirected.
    AuthorizeClientUnknown "authorize_client_unknown" InvalidRequest "client_id is missing or not registered";
    /// RFC 6749 §3.1.2.4: `redirect_uri` is not registered; never redirected.
    RedirectUriUnregistered "redirect_uri_unregistered" InvalidRequest "redirect_uri is missing or not registered for this client";
    /// RFC 6749 §4.1.2.1: `response_type` is missing.
    ResponseTypeMissing "response_type_missing" InvalidRequest "response_type is missing";
    /// RFC 6749 §4.1.2.1: only `code`.
    ResponseTypeUnsupported "response_type_unsupported" UnsupportedResponseType "response_type must be code";
    /// OAuth 2.0 Multiple Response Types §2.1, JARM §2.3: only `query` and `query.jwt`.
    ResponseModeUnsupported "response_mode_unsupported" InvalidRequest "response_mode must be query, query.jwt or jwt";
    /// RFC 6749 §4.1.2.1: the client is not registered for the authorization code grant.
    AuthorizeNotAllowed "authorize_not_allowed" UnauthorizedClient "this client is not registered for the authorization code grant";
    /// RFC 7636 §4.4.1: "code challenge required".
    ChallengeMissing "challenge_missing" InvalidRequest "code_challenge is missing";
    /// RFC 7636 §4.3, §4.4.1: only S256, and an absent method means `plain`.
    ChallengeMethodUnsupported "challenge_method_unsupported" InvalidRequest "code_challenge_method must be S256";
    /// RFC 7636 §4.2: an S256 challenge is 43 characters of base64url.
    ChallengeMalformed "challenge_malformed" InvalidRequest "code_challenge must be 43 characters of base64url";
    /// RFC 9449 §10: `dpop_jkt` is 43 characters of base64url.
    JktMalformed "jkt_malformed" InvalidRequest "dpop_jkt must be 43 characters of base64url";
    /// RFC 9449 §10.1: `dpop_jkt` and the proof beside it name different keys.
    JktMismatch "jkt_mismatch" InvalidDpopProof "dpop_jkt is not the key of the DPoP proof";
    /// `state` longer than 2,048 bytes.
    StateTooLong "state_too_long" InvalidRequest "state is longer than 2048 bytes";
    /// `nonce` longer than 512 bytes.
    RequestNonceTooLong "request_nonce_too_long" InvalidRequest "nonce is longer than 512 bytes";
    /// RFC 9101 §7: a `request_uri` that would have to be fetched.
    RequestUriUnsupported "request_uri_unsupported" RequestUriNotSupported "request_uri must be one that this server gave out";
    /// RFC 9101 §5: `request` and `request_uri` at once; never redirected.
    RequestAmbiguous "request_ambiguous" InvalidRequest "request and request_uri must not be used together";
    /// RFC 9101 §10.5: the client is registered to sign its requests, and has not.
    RequestObjectRequired "request_object_required" InvalidRequest "this client must sign its authorization requests";
    /// RFC 9101 §6.1: not a signed JWT of this type, or a parameter in it is none; never redirected.
    RequestObjectMalformed "request_object_malformed" InvalidRequestObject "request is not a well-formed signed JWT of request parameters";
    /// RFC 9101 §6.2: algorithm, key or signature; never redirected.
    RequestObjectSignatureWrong "request_object_signature_wrong" InvalidRequestObject "request is not signed with a registered key and an accepted algorithm";
    /// RFC 9101 §4, §10.8: `iss` is not the client, or `sub` is; never redirected.
    RequestObjectPartyWrong "request_object_party_wrong" InvalidRequestObject "the request object iss must be the client_id and its sub must not";
    /// RFC 9101 §5: `client_id` in the object is not that beside it, or not that of the client that pushes; never redirected.
    RequestObjectClientMismatch "request_object_client_mismatch" InvalidRequestObject "client_id in the request object must be that of the client";
    /// RFC 9101 §4: `aud` does not name this server; never redirected.
    RequestObjectAudienceWrong "request_object_audience_wrong" InvalidRequestObject "the request object aud must be the issuer of this server";
    /// FAPI 2.0 Message Signing §5.3.1: `nbf` or `exp` is missing, not now, or more than an hour away; never redirected.
    RequestObjectTimeWrong "request_object_time_wrong" InvalidRequestObject "the request object must have nbf at most 60 minutes ago and exp at most 60 minutes after nbf";
    /// RFC 9101 §4: `request` or `request_uri` within a request object; never redirected.
    RequestObjectNested "request_object_nested" InvalidRequestObject "a request object must not contain request or request_uri";
    /// RFC 9126 §2.1: `request_uri` in a request that is pushed.
    RequestUriPushed "request_uri_pushed" InvalidRequest "request_uri must not be pushed";
    /// FAPI 2.0 §5.3.2.2-6: a pushed request without `redirect_uri`.
    RedirectUriMissing "redirect_uri_missing" InvalidRequest "redirect_uri is missing";
    /// RFC 9126 §4: the client must push its requests, and has not.
    PushedRequestRequired "pushed_request_required" InvalidRequest "this client must push its authorization requests";
    /// RFC 9126 §4: unknown, expired, answered, or another client's; never redirected.
    PushedRequestUnknown "pushed_request_unknown" InvalidRequestUri "request_uri is invalid, expired, used or for another client";
    /// OpenID Connect Core §3.1.2.1: a value of `prompt` that we do not know, or `none` among others.
    PromptUnsupported "prompt_unsupported" InvalidRequest "prompt must be none, or of login, consent and select_account";
    /// OpenID Connect Core §3.1.2.1: `acr_values` are names with single spaces between them, 512 bytes at most.
    AcrValuesMalformed "acr_values_malformed" InvalidRequest "acr_values must be at most 512 bytes of names with single spaces";
    /// OpenID Connect Core §3.1.2.1: `max_age` is a number of seconds.
    MaxAgeMalformed "max_age_malformed" InvalidRequest "max_age must be a whole number of seconds";
    /// OpenID Connect Core §5.5: not a JSON object of requests for claims, 8 KiB at most.
    ClaimsMalformed "claims_malformed" InvalidRequest "claims must be a JSON object of requests for claims, at most 8192 bytes";
    /// OpenID Connect Core §3.1.2.1, §5.5.1: whoever signed in is not whom `id_token_hint` or `claims` name.
    SubjectMismatch "subject_mismatch" LoginRequired "the person who signed in is not the one that was asked for";
    /// OpenID Connect Core §3.1.2.6: `prompt=none`, and nobody is signed in.
    LoginRequired "login_required" LoginRequired "nobody is signed in";
    /// OpenID Connect Core §3.1.2.6: `prompt=none`, and consent must be asked for.
    ConsentRequired "consent_required" ConsentRequired "consent must be asked for";
    /// OpenID Connect Core §3.1.2.1, §3.1.2.3: the person must sign in again, and whoever signs people in did not ask.
    ReauthenticationMissing "reauthentication_missing" LoginRequired "the person was not asked to sign in again";
    /// RFC 9470 §5: nobody was recognised as well as `acr_values` ask for.
    AcrUnmet "acr_unmet" UnmetAuthenticationRequirements "no sign-in meets acr_values";
    /// RFC 6749 §4.1.2.1: the person, or the upstream provider, declined there.
    UpstreamDeclined "upstream_declined" AccessDenied "the sign-in was declined";
    /// OpenID Connect Core §3.1.3.7: what the upstream provider answers does not hold; its fault is in the log.
    UpstreamUntrusted "upstream_untrusted" ServerError "the sign-in could not be verified";
    /// The person may not sign in.
    PersonDisabled "person_disabled" AccessDenied "this person may not sign in";
    /// The proxy that signs people in is not in front, or says nothing; never redirected.
    ProxyAbsent "proxy_absent" AccessDenied "the proxy that signs people in is not in front of this server";
    /// A header of that proxy is repeated, empty or malformed; never redirected.
    ProxyHeaderMalformed "proxy_header_malformed" InvalidRequest "the proxy that signs people in has sent a header that is repeated, empty or malformed";
    /// RFC 6749 §4.1.2.1: the person declined.
    ConsentDeclined "consent_declined" AccessDenied "the request was declined";
    /// OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2: `id_token_hint` is no ID token of ours, too old, or one for
    /// another client; redirected by the authorization endpoint only.
    IdTokenHintInvalid "id_token_hint_invalid" InvalidRequest "id_token_hint is not an ID token of this server for this client";
    /// RP-Initiated Logout §3: not registered for the client that an `id_token_hint` shows; never redirected.
    PostLogoutRedirectUriUnregistered "post_logout_redirect_uri_unregistered" InvalidRequest "post_logout_redirect_uri is not registered, or no id_token_hint shows for which client";
    /// RFC 6749 §10.12: the form was not posted from a page of ours in this browser; never redirected.
    CrossSiteForm "cross_site_form" InvalidRequest "this form was not sent from a page of this server in this browser";
    /// The form says neither that the person approves nor that they decline; never redirected.
    DecisionMissing "decision_missing" InvalidRequest "the form does not say what was decided";
    /// The form does not belong to a transaction of this browser, or its time is over; never redirected.
    TransactionUnknown "transaction_unknown" InvalidRequest "this page has expired or belongs to another browser";
    /// The transaction has been decided before; never redirected.
    TransactionSpent "transaction_spent" InvalidRequest "this request has been answered already";

    /// RFC 7591 §3, RFC 7592 §2: no initial access token, or no registration access token.
    RegistrationTokenMissing "registration_token_missing" InvalidToken "an access token is missing";
    /// RFC 7591 §3, RFC 7592 §2: another token than the initial one, or than that of the client; or there is no such client.
    RegistrationTokenInvalid "registration_token_invalid" InvalidToken "the access token is not good for this";
    /// RFC 7591 §3.1: the body is no JSON object of bounded size.
    RegistrationMalformed "registration_malformed" InvalidClientMetadata "the body must be a JSON object of at most 16 KiB, sent as application/json";
    /// RFC 7591 §2: a member has the wrong type or is too long.
    MetadataMalformed "metadata_malformed" InvalidClientMetadata "a member has the wrong type, is too long or cannot be read";
    /// RFC 7591 §2: a redirect URI is missing, or none that we take.
    MetadataRedirectUriWrong "metadata_redirect_uri_wrong" InvalidRedirectUri "redirect_uris must hold https, private-use or loopback URIs without fragment";
    /// RFC 7591 §2: an authentication method that is not offered, or a secret where there must be none.
    MetadataMethodWrong "metadata_method_wrong" InvalidClientMetadata "token_endpoint_auth_method is none that this client may use";
    /// RFC 7591 §2.1: grants that the client may not have, or that its response types contradict.
    MetadataGrantsWrong "metadata_grants_wrong" InvalidClientMetadata "grant_types and response_types are none that this client may use together";
    /// RFC 7591 §2: none of the scopes may be asked for.
    MetadataScopeWrong "metadata_scope_wrong" InvalidClientMetadata "scope holds nothing that this client may ask for";
    /// RFC 7591 §2: keys that are missing, of no use, private, in two places, or where nobody may ask for them.
    MetadataKeysWrong "metadata_keys_wrong" InvalidClientMetadata "give public keys of the right algorithm in jwks, or an https jwks_uri, and not both";
    /// RFC 7591 §2.3: nobody's software statements are trusted.
    SoftwareStatementUnapproved "software_statement_unapproved" UnapprovedSoftwareStatement "software statements are not approved here";
    /// RFC 7592 §2.2: an update of another client, with another secret, or of what only the server says.
    RegistrationUpdateWrong "registration_update_wrong" InvalidClientMetadata "an update must name its client_id and its own client_secret, and nothing that only the server says";

    /// RFC 9068 §5: an external login names a person as no person can be named, or as a client is; told to that login.
    SubjectUnusable "subject_unusable" InvalidRequest "subject must be 1 to 512 printable ASCII characters, and no client_id";
    /// OpenID Connect Core §2: an external login says that a person signed in at no time, or in the future; told to that login.
    AuthTimeWrong "auth_time_wrong" InvalidRequest "auth_time must be a time in seconds since 1970, and not in the future";
    /// OpenID Connect Core §3.1.2.1: the sign-in is older than `max_age` or `prompt` allow; told to an external login.
    SignInTooOld "sign_in_too_old" LoginRequired "the person must sign in again for this request";
    /// What an external login says about a person is malformed or too long; told to that login.
    PersonMalformed "person_malformed" InvalidRequest "acr, name, email or claims is malformed or too long";
}

impl Refusal {
    /// The refusals of registrations.
    pub const OF_REGISTRATIONS: [Self; 11] = [
        Self::RegistrationTokenMissing,
        Self::RegistrationTokenInvalid,
        Self::RegistrationMalformed,
        Self::MetadataMalformed,
        Self::MetadataRedirectUriWrong,
        Self::MetadataMethodWrong,
        Self::MetadataGrantsWrong,
        Self::MetadataScopeWrong,
        Self::MetadataKeysWrong,
        Self::SoftwareStatementUnapproved,
        Self::RegistrationUpdateWrong,
    ];

    /// The refusals of what an external login says about a person.
    pub const OF_EXTERNAL_LOGINS: [Self; 4] =
        [Self::SubjectUnusable, Self::AuthTimeWrong, Self::SignInTooOld, Self::PersonMalformed];
}

impl From<ProofFault> for Refusal {
    fn from(fault: ProofFault) -> Self {
        Self::Proof(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_name_and_a_text_of_the_wire() {
        let proofs = ProofFault::ALL.into_iter().map(Refusal::Proof);
        let mut names = HashSet::new();
        for refusal in Refusal::ALL.iter().copied().chain(proofs) {
            assert!(names.insert(refusal.name()), "{} twice", refusal.name());
            let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e); // RFC 6749 §5.2
            assert!(refusal.description().bytes().all(allowed), "{}", refusal.name());
        }
    }
}
