//! What stands behind each name: the rule, what usually breaks it, and what to do.
//!
//! Status, error code and text on the wire are not repeated here: they come from the tables that the doors use.

/// The explanation of one name.
pub(super) struct Row {
    /// The name in logs, metrics and Envoy's metadata.
    pub(super) name: &'static str,
    /// Where the rule stands.
    pub(super) rule: &'static str,
    /// What usually breaks it.
    pub(super) cause: &'static str,
    /// What to do about it.
    pub(super) fix: &'static str,
}

const fn row(name: &'static str, rule: &'static str, cause: &'static str, fix: &'static str) -> Row {
    Row { name, rule, cause, fix }
}

/// Refusals of the authorization server.
pub(super) const AT_THE_AUTHORIZATION_SERVER: &[Row] = &[
    row(
        "content_type_wrong",
        "RFC 6749 §3.2",
        "The client posts JSON or multipart data, or names another charset.",
        "Send the parameters as `Content-Type: application/x-www-form-urlencoded`.",
    ),
    row(
        "form_malformed",
        "RFC 6749 Appendix B",
        "A value is not UTF-8 after decoding, or a `%` is not followed by two hexadecimal digits.",
        "Let the HTTP library encode the form; do not join parameters by hand.",
    ),
    row(
        "form_too_large",
        "a limit of this server",
        "More parameters, or longer ones, than any request of the protocol has.",
        "Look for a parameter that was sent many times, or a token in the wrong place.",
    ),
    row(
        "parameter_repeated",
        "RFC 6749 §3.1, §3.2",
        "A parameter was added twice, often once by the application and once by its library.",
        "Send each parameter once; several scopes are one `scope` with spaces.",
    ),
    row(
        "parameter_in_query",
        "RFC 6749 §2.3.1, §3.2",
        "The token request was sent with its parameters in the URL, where logs keep them.",
        "Put every parameter into the body of the POST, and change the secret that stood in the URL.",
    ),
    row(
        "grant_type_missing",
        "RFC 6749 §4",
        "The form has no `grant_type`, or the body was not sent.",
        "Add `grant_type`, for example `client_credentials`.",
    ),
    row(
        "grant_type_unsupported",
        "RFC 6749 §5.2, RFC 9700 §2.4",
        "A grant that this server does not have; `password` is never supported.",
        "Use one of `grant_types_supported` in the metadata.",
    ),
    row(
        "grant_type_not_allowed",
        "RFC 6749 §5.2",
        "The client is registered, but without this grant type.",
        "Add the grant type to `grant_types` of the client, if it should have it.",
    ),
    row(
        "client_missing",
        "RFC 6749 §2.3, §3.2.1",
        "The request names no client: no `Authorization` header, no assertion, no `client_id`.",
        "Authenticate the client, or send `client_id` if it is public.",
    ),
    row(
        "client_authentication_failed",
        "RFC 6749 §5.2",
        "No client of this name, or the secret is wrong; the answer does not tell which.",
        "Compare `client_id` and secret with the configuration. In Basic both are form-encoded first.",
    ),
    row(
        "client_authentication_repeated",
        "RFC 6749 §2.3",
        "The request has a Basic header and also a `client_secret` or an assertion.",
        "Keep the one method that is registered for the client.",
    ),
    row(
        "client_id_mismatch",
        "RFC 7521 §4.2",
        "`client_id` in the form is another client than the one that authenticates.",
        "Leave `client_id` out of the form, or make it the same.",
    ),
    row(
        "client_method_mismatch",
        "RFC 7591 §2",
        "The client authenticates by another method than its `token_endpoint_auth_method`.",
        "Change the client's method, or the registration. The log tells the two methods apart, the answer does not.",
    ),
    row(
        "basic_malformed",
        "RFC 6749 §2.3.1, RFC 7617 §2",
        "The header is not `Basic` and the base64 of `client_id:client_secret`.",
        "Form-encode both parts, join them by a colon, then encode them in base64 on one line.",
    ),
    row(
        "assertion_type_wrong",
        "RFC 7521 §4.2, RFC 7523 §2.2",
        "`client_assertion_type` is missing or belongs to SAML.",
        "Send `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.",
    ),
    row(
        "assertion_malformed",
        "RFC 7523 §3",
        "The assertion is not three parts of base64url, or its `typ` is that of another token.",
        "Send a compact JWS with `typ` `JWT` or `client-authentication+jwt`.",
    ),
    row(
        "assertion_signature_wrong",
        "RFC 7523 §3-9, RFC 8725 §3.1",
        "Signed with a key that is not registered, or an algorithm that is not accepted.",
        "Put the public key into `jwks` of the client; use ES256, PS256, EdDSA or RS256.",
    ),
    row(
        "assertion_party_wrong",
        "RFC 7523 §3-1, §3-2",
        "`iss` or `sub` of the assertion is not the client.",
        "Set both to the `client_id`.",
    ),
    row(
        "assertion_audience_wrong",
        "draft-ietf-oauth-rfc7523bis, FAPI 2.0 §5.3.2.1",
        "`aud` is the token endpoint, or an array; older libraries send both.",
        "Set `aud` to the issuer of this server, as a string and nothing else.",
    ),
    row(
        "assertion_time_wrong",
        "RFC 7523 §3-4, §3-5, §3-6",
        "`exp` has passed or is more than five minutes ahead, or the client's clock is wrong.",
        "Make an assertion for each request with `exp` a minute ahead, and check the clock.",
    ),
    row(
        "assertion_jti_missing",
        "OpenID Connect Core §9",
        "The assertion has no `jti`, or one of more than 256 characters.",
        "Add a random `jti`; it is what makes the assertion good for one use.",
    ),
    row(
        "assertion_replayed",
        "RFC 7523 §3-7",
        "The same assertion was sent twice: by a retry, or by somebody who read it.",
        "Sign a new assertion for every request, retries too.",
    ),
    row("code_missing", "RFC 6749 §4.1.3", "The form has no `code`.", "Send the code that came to the redirect URI."),
    row(
        "code_unknown",
        "RFC 6749 §5.2",
        "The code is older than a minute, or was never issued here.",
        "Redeem the code at once; start again if the person took too long.",
    ),
    row(
        "code_client_mismatch",
        "RFC 6749 §5.2",
        "The code was issued to another client.",
        "Redeem a code with the client that asked for it. If nobody mixed them up, somebody stole one.",
    ),
    row(
        "code_replayed",
        "RFC 6749 §4.1.2",
        "The code came a second time: the callback was loaded again, or two parties have it. The grant is ended.",
        "Redeem a code once. If your client does, look into where the code could have leaked.",
    ),
    row(
        "redirect_uri_mismatch",
        "RFC 6749 §4.1.3",
        "`redirect_uri` differs from the one in the authorization request, often by its port or a slash.",
        "Send the very same text in both requests.",
    ),
    row(
        "verifier_missing",
        "RFC 7636 §4.5",
        "The client forgot the PKCE verifier, or lost it between the two requests.",
        "Keep `code_verifier` until the code is redeemed and send it along.",
    ),
    row(
        "verifier_mismatch",
        "RFC 7636 §4.6",
        "The verifier belongs to another attempt, or the challenge was hashed wrongly.",
        "challenge = base64url(SHA-256(verifier)) without padding, over the text of the verifier.",
    ),
    row(
        "code_key_mismatch",
        "RFC 9449 §10",
        "`dpop_jkt` bound the code to one key, and the proof was made by another, or there is none.",
        "Prove with the key whose thumbprint was sent as `dpop_jkt`.",
    ),
    row(
        "refresh_token_missing",
        "RFC 6749 §6",
        "The form has no `refresh_token`.",
        "Send the newest refresh token that the client received.",
    ),
    row(
        "refresh_token_unknown",
        "RFC 6749 §5.2",
        "The text is no refresh token of this server, or its grant was swept away long ago.",
        "Send the person through the authorization request again.",
    ),
    row(
        "refresh_token_client_mismatch",
        "RFC 6749 §6",
        "The token was issued to another client.",
        "Refresh with the client that received it. If nobody mixed them up, somebody stole one.",
    ),
    row(
        "grant_ended",
        "RFC 6749 §5.2",
        "The grant expired, was revoked, or was ended by a replay.",
        "Send the person through the authorization request again.",
    ),
    row(
        "refresh_token_forked",
        "RFC 9700 §4.14.2",
        "An old token came after its successor had been used: two parties hold the family. The grant is ended.",
        "Sign in again, and find out how the token was copied: a restored backup is one way.",
    ),
    row(
        "refresh_token_overtaken",
        "RFC 9700 §4.14.2",
        "Other refreshes of the same client overtook this one while it was under way. The grant lives.",
        "Use the newest token that the client received; refresh in one place of the client.",
    ),
    row(
        "refresh_token_key_mismatch",
        "RFC 9449 §5",
        "The client is public and the proof was made by another key than the first one.",
        "Keep the DPoP key as long as the refresh token; a lost key means a new sign-in.",
    ),
    row(
        "subject_disabled",
        "RFC 6749 §5.2",
        "The person was disabled or removed after signing in.",
        "Enable the person again, or leave it: that is what disabling is for.",
    ),
    row(
        "scope_malformed",
        "RFC 6749 §3.3",
        "Scopes are separated by commas or by two spaces, or hold quotes.",
        "Separate scopes by single spaces.",
    ),
    row(
        "scope_not_allowed",
        "RFC 6749 §3.3, §6",
        "The scope does not exist, is not registered for this client, or was not granted before.",
        "Compare with `scopes_supported`, and with `scope` of the client.",
    ),
    row(
        "resource_unknown",
        "RFC 8707 §2",
        "`resource` is not one of `protected_resources`, came several times, or was not granted.",
        "Send one of `protected_resources` in the metadata, byte for byte.",
    ),
    row(
        "authorize_client_unknown",
        "RFC 6749 §3.1.2.4",
        "No client of this name is registered. The browser is not sent on: nobody knows to whom.",
        "Register the client, or correct `client_id`.",
    ),
    row(
        "redirect_uri_unregistered",
        "RFC 6749 §3.1.2.4, RFC 9700 §2.1",
        "The redirect URI differs from every registered one. The browser is not sent on.",
        "Register the exact text; only the port of a loopback address may differ.",
    ),
    row(
        "response_type_missing",
        "RFC 6749 §4.1.2.1",
        "The authorization request has no `response_type`.",
        "Send `response_type=code`.",
    ),
    row(
        "response_type_unsupported",
        "RFC 6749 §4.1.2.1, RFC 9700 §2.1.2",
        "The client asks for the implicit or a hybrid flow.",
        "Send `response_type=code` with PKCE.",
    ),
    row(
        "response_mode_unsupported",
        "OAuth 2.0 Multiple Response Types §2.1",
        "The client asks for `fragment` or `form_post`.",
        "Leave `response_mode` out, or send `query`.",
    ),
    row(
        "authorize_not_allowed",
        "RFC 6749 §4.1.2.1",
        "The client is not registered for the authorization code grant.",
        "Add `authorization_code` to `grant_types` of the client, if people should sign in with it.",
    ),
    row(
        "challenge_missing",
        "RFC 7636 §4.4.1",
        "The client does not do PKCE.",
        "Switch PKCE on in the client: it is required from everybody.",
    ),
    row(
        "challenge_method_unsupported",
        "RFC 7636 §4.3",
        "The method is `plain`, or missing, which means `plain`.",
        "Send `code_challenge_method=S256`.",
    ),
    row(
        "challenge_malformed",
        "RFC 7636 §4.2",
        "The challenge is padded, in plain base64 or in hexadecimal digits.",
        "challenge = base64url(SHA-256(verifier)) without padding: 43 characters.",
    ),
    row(
        "jkt_malformed",
        "RFC 9449 §10",
        "`dpop_jkt` is not the SHA-256 thumbprint of a key.",
        "Compute the thumbprint of RFC 7638 in base64url: 43 characters.",
    ),
    row(
        "state_too_long",
        "a limit of this server",
        "The client keeps its whole state in `state`.",
        "Keep it in the client, and send a random value that points to it.",
    ),
    row(
        "request_unsupported",
        "RFC 9101 §6.1",
        "The client sends a request object.",
        "Send the parameters in the query, as `request_parameter_supported` says.",
    ),
    row(
        "request_uri_unsupported",
        "RFC 9101 §6.1",
        "The client sends `request_uri`.",
        "Send the parameters in the query, as `request_uri_parameter_supported` says.",
    ),
    row(
        "prompt_unsupported",
        "OpenID Connect Core §3.1.2.1",
        "`prompt` has a value that is not known here, or `none` together with others.",
        "Send `none`, `login` or `consent`, or leave it out.",
    ),
    row(
        "max_age_malformed",
        "OpenID Connect Core §3.1.2.1",
        "`max_age` is not a number of seconds.",
        "Send a whole number of seconds, or leave it out.",
    ),
    row(
        "login_required",
        "OpenID Connect Core §3.1.2.6",
        "`prompt=none`, and nobody is signed in.",
        "Start again without `prompt=none`, so that the person can sign in.",
    ),
    row(
        "consent_required",
        "OpenID Connect Core §3.1.2.6",
        "`prompt=none`, but consent is asked for every time.",
        "Start again without `prompt=none`, so that the person can answer.",
    ),
    row(
        "consent_declined",
        "RFC 6749 §4.1.2.1",
        "The person said no.",
        "Tell the person what does not work without it, and do not ask again by yourself.",
    ),
    row(
        "cross_site_form",
        "RFC 6749 §10.12",
        "The form was posted by a page of somebody else, or cookies are off.",
        "Go back to the application and start again. If it comes often, look who posts there.",
    ),
    row(
        "decision_missing",
        "a rule of this server",
        "The form was sent without `decision`: by a script, not by one of its two buttons.",
        "Send `decision=approve` or `decision=deny`, as the buttons do.",
    ),
    row(
        "transaction_unknown",
        "a rule of this server",
        "The page was open for too long, cookies are off, or the form came from another browser.",
        "Go back to the application and start again.",
    ),
    row(
        "transaction_spent",
        "a rule of this server",
        "The form was sent twice: by a double click, or by going back.",
        "Go back to the application; start again if it has nothing.",
    ),
];

/// Faults of proofs, at both doors.
pub(super) const OF_PROOFS: &[Row] = &[
    row(
        "proof_missing",
        "RFC 9449 §5, §7.1",
        "The client, the resource or the token asks for a proof, and there is no `DPoP` header.",
        "Send a `DPoP` header with a new proof on every request.",
    ),
    row(
        "proof_repeated",
        "RFC 9449 §4.3-1",
        "Two `DPoP` headers: a retry that added instead of replacing, or a proxy that joined them.",
        "Replace the header when a request is sent again.",
    ),
    row(
        "proof_too_long",
        "a limit of this server",
        "The proof is longer than 8 KiB, often because of a certificate chain in its header.",
        "Send `typ`, `alg` and `jwk` in the header, and nothing else.",
    ),
    row(
        "proof_malformed",
        "RFC 9449 §4.3-2",
        "Not three parts of base64url without padding, a member twice, or a `crit` header.",
        "Make the proof with a JOSE library; compare with RFC 9449 §4.2.",
    ),
    row(
        "proof_claim_missing",
        "RFC 9449 §4.3-3",
        "`jti`, `htm`, `htu`, `iat` or, with a token, `ath` is missing or of the wrong type.",
        "Set all of them; `iat` is a number of seconds, not a string and not milliseconds.",
    ),
    row("proof_type_wrong", "RFC 9449 §4.3-4", "The library wrote `typ` `JWT`.", "Set `typ` to `dpop+jwt`."),
    row(
        "proof_algorithm_refused",
        "RFC 9449 §4.3-5",
        "`alg` is `none`, an HMAC, RS256, or one that is not supported here.",
        "Use ES256, or another of `algs` in the challenge.",
    ),
    row(
        "proof_signature_wrong",
        "RFC 9449 §4.3-6",
        "`jwk` is not the key that signed, or an ECDSA signature is DER instead of r and s.",
        "Sign with the private half of `jwk`; for ES256 the signature has 64 bytes.",
    ),
    row(
        "proof_key_refused",
        "RFC 9449 §4.3-7",
        "`jwk` is missing, holds the private key, or is of a kind that is not supported or not safe.",
        "Put the public key there, and only it. If the private key was sent, throw it away.",
    ),
    row(
        "proof_method_mismatch",
        "RFC 9449 §4.3-8",
        "`htm` is another method, or in lower case; or a proof was reused for another request.",
        "Set `htm` to the method of this very request, in capital letters.",
    ),
    row(
        "proof_target_mismatch",
        "RFC 9449 §4.3-9",
        "`htu` is not the public URL of this request: another host, port or path, http for https, a slash more. \
         Often the configured `resource` or `issuer` is not the URL that clients use.",
        "Sign the URL as the client calls it, without query; set `resource` and `issuer` to that origin.",
    ),
    row(
        "proof_nonce_missing",
        "RFC 9449 §8, §9",
        "This server asks for a nonce, and the client has none yet: that is how it begins.",
        "Repeat with the nonce of the `DPoP-Nonce` header in a new proof; client libraries do so.",
    ),
    row(
        "proof_nonce_stale",
        "RFC 9449 §8, §9",
        "The nonce is too old, or from the other door: authorization server and gate have their own.",
        "Repeat with the nonce of the `DPoP-Nonce` header; keep one nonce for each origin.",
    ),
    row(
        "proof_stale",
        "RFC 9449 §11.1",
        "The proof was made too long ago: kept for later, or the client's clock is behind.",
        "Make the proof when the request is sent. For clients without a good clock, require nonces.",
    ),
    row(
        "proof_early",
        "RFC 9449 §11.1",
        "`iat` lies in the future: the client's clock is ahead.",
        "Set the clock. For clients without a good clock, require nonces.",
    ),
    row(
        "proof_token_hash_mismatch",
        "RFC 9449 §4.3-12",
        "`ath` belongs to another token, often the one before the last refresh.",
        "ath = base64url(SHA-256(access token)) without padding, of the token in this request.",
    ),
    row(
        "proof_replayed",
        "RFC 9449 §11.1",
        "The same proof came twice: a retry that did not make a new one, or somebody who read it.",
        "Make a new proof for every request, retries too; see that no proxy repeats requests.",
    ),
    row(
        "proof_before_restart",
        "RFC 9449 §11.1",
        "This server restarted a moment ago and cannot tell whether the proof was used before.",
        "Repeat with the nonce of the `DPoP-Nonce` header; client libraries do so.",
    ),
];

/// Denials of the gate.
pub(super) const AT_THE_GATE: &[Row] = &[
    row(
        "check_malformed",
        "envoy.service.auth.v3.CheckRequest",
        "What asked is not Envoy's HTTP filter, or it sent no HTTP attributes.",
        "Point `envoy.filters.http.ext_authz` at this listener, with `transport_api_version: V3`.",
    ),
    row(
        "check_too_large",
        "a limit of this gate",
        "The head of the request is larger than any that is judged, cookies perhaps.",
        "Forward only the headers that are needed: `allowed_headers` of the filter.",
    ),
    row(
        "resource_unknown",
        "a rule of this gate",
        "`context_extensions: { resource: ... }` in Envoy's route is none of `protected_resources`.",
        "Make both the same text, byte for byte.",
    ),
    row(
        "host_unknown",
        "RFC 9110 §7.2",
        "The client used a host that is not the origin of a protected resource: an address, another port, a new name.",
        "Set `resource` to the URL that clients use, or name the resource in Envoy's route.",
    ),
    row("method_refused", "RFC 9110 §9.3.6, §9.3.8", "TRACE and CONNECT never pass.", "Use another method."),
    row("path_too_long", "RFC 9110 §15.5.15", "The path is longer than 8 KiB.", "Put what is so long into the body."),
    row(
        "path_malformed",
        "RFC 3986 §3.3",
        "The path does not begin with a slash, or a `%` is not followed by two hexadecimal digits.",
        "Encode the path with a URL library.",
    ),
    row(
        "path_ambiguous",
        "RFC 3986 §6.2.2.3, §7.3",
        "The path holds an encoded slash, a backslash, dot segments or the like, which the API may read differently.",
        "Ask for the path as it is. Somebody who tries this is looking for a way around a rule.",
    ),
    row(
        "connection_names_headers",
        "RFC 9110 §7.6.1",
        "`Connection` names other headers, so that the next hop would drop them: those with the identity, perhaps.",
        "Let the client send `Connection: close`, `keep-alive` or nothing.",
    ),
    row(
        "no_rule",
        "a rule of this gate: what no rule allows is denied",
        "No entry of `rules` is about this path and method.",
        "Add a rule for it to the resource, if it should be reachable.",
    ),
    row(
        "credentials_missing",
        "RFC 6750 §3, RFC 9449 §7.1",
        "There is no `Authorization` header.",
        "Send `Authorization: DPoP` with the token, and a proof in `DPoP`.",
    ),
    row(
        "credentials_repeated",
        "RFC 6750 §3.1",
        "Two `Authorization` headers, or two values in one.",
        "Send one token.",
    ),
    row(
        "credentials_malformed",
        "RFC 9110 §11.4",
        "`Authorization` is not a scheme, a space and one token.",
        "Send `Authorization: DPoP` and the token as it was issued.",
    ),
    row(
        "credentials_too_long",
        "RFC 6585 §5",
        "`Authorization` is longer than 16 KiB.",
        "Ask the issuer for fewer claims in the token.",
    ),
    row(
        "bound_token_as_bearer",
        "RFC 9449 §7.2",
        "The token is bound to a key and came as a bearer token: from an old client, or from a thief.",
        "Send it as `Authorization: DPoP`, with a proof by its key.",
    ),
    row(
        "bearer_refused",
        "a rule of this gate: `dpop: required`",
        "The token is bound to no key, and the resource takes only tokens that are.",
        "Set `dpop_bound_access_tokens` for the client, or `dpop: allowed` for the resource.",
    ),
    row(
        "unbound_token_as_dpop",
        "RFC 9449 §7.1",
        "The token has no `cnf.jkt`: the client sent no proof when it asked for the token.",
        "Send a proof to the token endpoint too.",
    ),
    row(
        "key_mismatch",
        "RFC 9449 §4.3-12",
        "The proof was made by another key than the token is bound to: the key was replaced, or the token was stolen.",
        "Prove with the key that was used at the token endpoint. If no client of yours replaces keys, look for the leak.",
    ),
    row(
        "scope_insufficient",
        "RFC 6750 §3.1",
        "The token is good, but lacks a scope that the rule asks for.",
        "Ask for a token with the scopes in the challenge; the client must be registered for them.",
    ),
    row(
        "token_malformed",
        "RFC 9068 §4, RFC 7515 §7.1",
        "The token is no JWT: cut off, encoded twice, or an opaque token.",
        "Send the access token as it was issued, not an ID token and not a refresh token.",
    ),
    row(
        "token_type_wrong",
        "RFC 9068 §4",
        "The JWT is something else: an ID token, an assertion, or an access token of an older kind.",
        "Send an access token whose `typ` is `at+jwt`.",
    ),
    row(
        "token_algorithm_refused",
        "RFC 8725 §3.1",
        "The token is signed with an HMAC, or not at all.",
        "Let the issuer sign with ES256, EdDSA, PS256 or RS256. Somebody who sends `none` is trying things.",
    ),
    row(
        "token_key_unknown",
        "RFC 9068 §4",
        "No current key of the issuer has this `kid`: the token is from before a restart, a rotation, or another issuer.",
        "Get a new token.",
    ),
    row(
        "token_signature_wrong",
        "RFC 9068 §4",
        "The token was changed on its way, or forged.",
        "Get a new token. If that does not help, look for what changes it.",
    ),
    row(
        "token_claim_missing",
        "RFC 9068 §2.2",
        "The token lacks `iss`, `sub`, `aud`, `client_id` or `exp`, or one of them has the wrong type.",
        "Let the issuer write access tokens as RFC 9068 says.",
    ),
    row(
        "token_issuer_wrong",
        "RFC 9068 §4",
        "`iss` is not the issuer that the resource takes tokens from.",
        "Get the token from the issuer in `authorization_servers` of the resource.",
    ),
    row(
        "token_audience_wrong",
        "RFC 9068 §4, RFC 8707",
        "`aud` is another resource.",
        "Ask for a token with `resource` set to this one.",
    ),
    row("token_expired", "RFC 9068 §4", "`exp` has passed.", "Refresh, or get a new token."),
    row(
        "token_early",
        "RFC 7519 §4.1.5",
        "`nbf` or `iat` lies in the future: a clock is wrong.",
        "Set the clocks of the issuer and of this machine.",
    ),
    row(
        "token_confirmation_unknown",
        "RFC 7800 §3.1",
        "The token is bound in a way that this gate does not check, by a certificate perhaps.",
        "Let the issuer bind it with DPoP.",
    ),
    row(
        "unavailable",
        "a rule of this gate: what cannot be checked does not pass",
        "The guard against replays is full or does not answer, or there are no signing keys yet.",
        "Look at /readyz and the log of this gate. Nothing is wrong with the request; it may be sent again.",
    ),
];
