//! OpenID Connect: ID tokens, UserInfo, discovery, and what a request may ask for.

use serde_json::{Value, json};
use tollgate::secret::{base64url, sha256};

use super::{SECOND, Suite, expect_error_redirect, expect_refused};
use crate::certification::{Party, WAYS};
use crate::client::{Answer, answer, claims, refresh_request};

/// Where UserInfo is.
fn userinfo(suite: &Suite) -> String {
    format!("{}/oauth/userinfo", suite.issuer)
}

/// What a party is told about the person.
async fn told(suite: &Suite, party: &Party, token: &str) -> Answer {
    party.fetch(suite.now(), &userinfo(suite), token).await
}

#[tokio::test]
async fn an_id_token_has_what_it_must_have_and_nothing_empty() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let signed_in = suite.now().seconds();
        let tokens = suite.tokens(&party).await;
        let token = claims(tokens.text("id_token"));
        assert_eq!((&token["iss"], &token["aud"]), (&json!(suite.issuer), &json!(party.client.id)));
        assert_eq!(token["nonce"], "of the party too");
        assert_eq!(token["auth_time"], signed_in);
        let at_hash = base64url(&sha256(tokens.text("access_token").as_bytes())[..16]);
        assert_eq!(token["at_hash"], at_hash);
        let (iat, exp) = (token["iat"].as_i64().expect("a time"), token["exp"].as_i64().expect("a time"));
        assert!(iat == signed_in && exp > iat, "{token}");
        let subject = token["sub"].as_str().expect("a subject");
        assert!(subject.is_ascii() && (1..=255).contains(&subject.len()));
        assert!(token.get("azp").is_none());
        let full = |value: &Value| !(value.is_null() || value == "" || value == &json!([]));
        assert!(token.as_object().expect("claims").values().all(full), "{token}");
    }
}

#[tokio::test]
async fn a_refresh_tells_of_the_same_sign_in() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let tokens = suite.tokens(&party).await;
    let first = claims(tokens.text("id_token"));
    suite.clock.advance(SECOND * 100);
    let refresh = refresh_request(tokens.text("refresh_token"));
    let second = party.token(suite.now(), &refresh).send().await.expect_tokens();
    let second = claims(second.text("id_token"));
    for name in ["iss", "sub", "aud", "auth_time"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert_eq!(second["iat"], suite.now().seconds());
    assert!(second.get("nonce").is_none());
}

#[tokio::test]
async fn without_the_scope_openid_there_is_no_id_token() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let page = suite.approved(&party, party.push(suite.now()).with("scope", "accounts")).await;
    let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
    assert!(tokens.body.get("id_token").is_none());
    let answer = told(&suite, &party, tokens.text("access_token")).await;
    assert_eq!((answer.status, answer.error()), (403, "insufficient_scope"));
}

#[tokio::test]
async fn userinfo_answers_both_methods_with_the_same_subject_and_what_the_scopes_allow() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let page = suite.approved(&party, party.push(suite.now()).with("scope", "openid profile email")).await;
        let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
        let token = tokens.text("access_token");
        let subject = claims(tokens.text("id_token"))["sub"].clone();
        let said = told(&suite, &party, token).await;
        assert_eq!(said.status, 200);
        assert_eq!(said.header("content-type"), Some("application/json"));
        assert_eq!((&said.body["sub"], &said.body["email"]), (&subject, &json!("ada@example.com")));
        assert!(said.body["name"].is_string());

        let url = userinfo(&suite);
        let request = party.client.http.post(&url);
        let request = if way.bound_to_certificate {
            request.bearer_auth(token)
        } else {
            let proof = party.client.resource_proof("POST", &url, token, suite.now());
            request.header("authorization", format!("DPoP {token}")).header("dpop", proof)
        };
        assert_eq!(answer(request).await.body, said.body);
    }
}

#[tokio::test]
async fn userinfo_wants_the_key_or_the_certificate() {
    let suite = Suite::start().await;
    for way in WAYS {
        let (party, thief) = (suite.party("one", way), suite.party("two", way));
        let tokens = suite.tokens(&party).await;
        let token = tokens.text("access_token");
        assert_eq!(told(&suite, &thief, token).await.status, 401);
        let bare = suite.browser().http.get(userinfo(&suite)).bearer_auth(token);
        assert_eq!(answer(bare).await.status, 401, "{way:?}");
        let refused = answer(suite.browser().http.get(userinfo(&suite))).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").is_some());
        assert_eq!(told(&suite, &party, token).await.status, 200);
    }
}

#[tokio::test]
async fn discovery_says_what_openid_providers_must_say() {
    let suite = Suite::start().await;
    let metadata = suite.metadata().await;
    let other = format!("{}/.well-known/oauth-authorization-server", suite.issuer);
    assert_eq!(answer(suite.browser().http.get(other)).await.body, metadata);
    for name in ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"] {
        assert!(metadata[name].as_str().is_some_and(|url| url.starts_with(&suite.issuer)), "{name}");
    }
    for name in [
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "scopes_supported",
    ] {
        assert!(metadata[name].as_array().is_some_and(|values| !values.is_empty()), "{name}");
    }
    assert_eq!(metadata["request_uri_parameter_supported"], false, "which is true unless it is said");
    for (name, value) in metadata.as_object().expect("members") {
        assert!(!value.is_null() && value != &json!([]), "{name}");
    }
}

#[tokio::test]
async fn prompt_none_asks_nobody() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let silent = async || suite.pushed(&party, party.push(suite.now()).with("prompt", "none")).await;
    let mut browser = suite.browser();
    expect_error_redirect(&browser.open(&silent().await).await, &party, "login_required");
    let path = suite.pushed(&party, party.push(suite.now())).await;
    browser.approve(&path, "ada", "ada").await.code();
    // Whoever has signed in and consented is not asked again; whoever has not consented is.
    let page = browser.open(&silent().await).await;
    let error = page.parameter("error");
    assert!(error.is_none() || error.as_deref() == Some("consent_required"), "{page:?}");
    let answer = party.push(suite.now()).with("prompt", "none login").send().await;
    expect_refused(&answer, &[400], &["invalid_request"]);
}

#[tokio::test]
async fn prompt_login_and_max_age_have_people_sign_in_again() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let mut browser = suite.browser();
    let path = suite.pushed(&party, party.push(suite.now())).await;
    browser.approve(&path, "ada", "ada").await.code();
    suite.clock.advance(SECOND * 30);
    for (name, value, again) in
        [("max_age", "1000", false), ("prompt", "login", true), ("max_age", "10", true), ("max_age", "0", true)]
    {
        let path = suite.pushed(&party, party.push(suite.now()).with(name, value)).await;
        let page = browser.open(&path).await;
        assert_eq!(page.has("name=\"password\""), again, "{name}={value}");
        let code = browser.approve(&path, "ada", "ada").await.code();
        let tokens = party.redeem(suite.now(), &code).send().await.expect_tokens();
        let auth_time = claims(tokens.text("id_token"))["auth_time"].as_i64().expect("a time");
        assert_eq!(auth_time == suite.now().seconds(), again, "{name}={value}");
        suite.clock.advance(SECOND * 30);
    }
}

#[tokio::test]
async fn what_a_request_may_say_and_we_do_not_know_is_ignored() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let call = party.push(suite.now()).with("display", "popup").with("ui_locales", "se").with("claims_locales", "se");
    let call = call.with("login_hint", "ada").with("acr_values", "1 2").with("extra", "foobar");
    let page = suite.approved(&party, call).await;
    let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
    assert!(claims(tokens.text("id_token"))["sub"].is_string());
}

#[tokio::test]
async fn an_access_token_of_a_code_used_twice_tells_nothing() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let code = suite.code(&party).await;
    let tokens = party.redeem(suite.now(), &code).send().await.expect_tokens();
    suite.clock.advance(SECOND * 30);
    expect_refused(&party.redeem(suite.now(), &code).send().await, &[400], &["invalid_grant"]);
    let answer = told(&suite, &party, tokens.text("access_token")).await;
    assert_eq!((answer.status, answer.error()), (401, "invalid_token"));
}
