//! Authorization requests: what is pushed, and what the browser brings.

use serde_json::json;

use super::{SECOND, Suite, expect_error_page, expect_error_redirect, expect_refused};
use crate::browser::Browser;
use crate::certification::WAYS;
use crate::client::{PAR, answer, claims};

#[tokio::test]
async fn the_discovery_document_contains_and_restricts_what_the_profile_says() {
    let suite = Suite::start().await;
    let metadata = suite.metadata().await;
    let issuer = &suite.issuer;
    let strong = json!(["ES256", "PS256", "EdDSA", "Ed25519"]);
    for (name, expected) in [
        ("issuer", json!(issuer)),
        ("authorization_endpoint", json!(format!("{issuer}/oauth/authorize"))),
        ("token_endpoint", json!(format!("{issuer}/oauth/token"))),
        ("pushed_authorization_request_endpoint", json!(format!("{issuer}/oauth/par"))),
        ("userinfo_endpoint", json!(format!("{issuer}/oauth/userinfo"))),
        ("jwks_uri", json!(format!("{issuer}/oauth/jwks"))),
        ("require_pushed_authorization_requests", json!(true)),
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("tls_client_certificate_bound_access_tokens", json!(true)),
        ("dpop_signing_alg_values_supported", strong.clone()),
        ("token_endpoint_auth_signing_alg_values_supported", strong.clone()),
        ("request_object_signing_alg_values_supported", strong),
        ("id_token_signing_alg_values_supported", json!(["ES256"])),
        ("authorization_signing_alg_values_supported", json!(["ES256"])),
        ("introspection_signing_alg_values_supported", json!(["ES256"])),
        (
            "token_endpoint_auth_methods_supported",
            json!(["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"]),
        ),
    ] {
        assert_eq!(metadata[name], expected, "{name}");
    }
    let lists = |name: &str, value: &str| metadata[name].as_array().expect("a list").contains(&value.into());
    assert!(["openid", "accounts"].iter().all(|scope| lists("scopes_supported", scope)));
    assert!(["authorization_code", "refresh_token"].iter().all(|grant| lists("grant_types_supported", grant)));
    assert!(["implicit", "password"].iter().all(|grant| !lists("grant_types_supported", grant)));
    assert!(["query", "jwt", "query.jwt"].iter().all(|mode| lists("response_modes_supported", mode)));
    assert!(lists("prompt_values_supported", "none") && !lists("response_modes_supported", "fragment"));
}

#[tokio::test]
async fn a_request_reduced_to_client_id_and_request_uri_succeeds_and_says_who_answers() {
    let suite = Suite::start().await;
    for way in WAYS {
        for name in ["one", "two"] {
            let party = suite.party(name, way);
            let pushed = party.push(suite.now()).send().await.expect(201, "");
            let lasts = pushed.body["expires_in"].as_u64().expect("a number");
            assert!((5..600).contains(&lasts), "{pushed:?}");
            assert_eq!(pushed.header("cache-control"), Some("no-store"));
            let page = suite.browser().approve(&party.client.pushed_path(&pushed), "ada", "ada").await;
            assert_eq!(page.status, 303, "neither 307 nor 302");
            assert!(page.header("location").starts_with(&party.redirect_uri), "{page:?}");
            assert_eq!(page.parameter("state").as_deref(), Some("of the party"));
            assert_eq!(page.parameter("iss").as_deref(), Some(suite.issuer.as_str()));
            let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
            assert_eq!(tokens.text("scope"), "accounts openid");
        }
    }
}

#[tokio::test]
async fn the_order_of_scopes_does_not_matter() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let page = suite.approved(&party, party.push(suite.now()).with("scope", "accounts openid")).await;
    let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
    assert!(tokens.body["id_token"].is_string());
    assert_eq!(tokens.text("scope"), "accounts openid");
}

#[tokio::test]
async fn without_state_there_is_none_in_the_answer_and_without_nonce_none_in_the_id_token() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let page = suite.approved(&party, party.push(suite.now()).without("state").without("nonce")).await;
    assert!(!page.header("location").contains("state"), "{page:?}");
    let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
    assert!(claims(tokens.text("id_token")).get("nonce").is_none());
}

#[tokio::test]
async fn a_nonce_of_64_characters_comes_back_and_one_of_384_too_or_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    for length in [64, 384] {
        let nonce = "n".repeat(length);
        let answer = party.push(suite.now()).with("nonce", &nonce).send().await;
        if length > 64 && answer.status == 400 {
            expect_refused(&answer, &[400], &["invalid_request"]);
            continue;
        }
        let path = party.client.pushed_path(&answer.expect(201, ""));
        let code = suite.browser().approve(&path, "ada", "ada").await.code();
        let tokens = party.redeem(suite.now(), &code).send().await.expect_tokens();
        assert_eq!(claims(tokens.text("id_token"))["nonce"], nonce.as_str());
    }
}

#[tokio::test]
async fn a_very_long_state_comes_back_as_it_was() {
    let suite = Suite::start().await;
    let party = suite.party("two", WAYS[0]);
    let state = "s&= +%".repeat(250);
    let page = suite.approved(&party, party.push(suite.now()).with("state", &state)).await;
    assert_eq!(page.parameter("state").as_deref(), Some(state.as_str()));
    assert!(!page.code().is_empty());
}

#[tokio::test]
async fn a_request_without_a_challenge_or_with_a_plain_one_is_refused() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let push = || party.push(suite.now());
        for call in [
            push().without("code_challenge"),
            push().without("code_challenge").without("code_challenge_method"),
            push().with("code_challenge_method", "plain"),
            push().without("code_challenge_method"),
        ] {
            expect_refused(&call.send().await, &[400], &["invalid_request"]);
        }
    }
}

#[tokio::test]
async fn a_request_that_was_not_pushed_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let id = [("client_id", party.client.id.as_str())];
    let parameters = party.parameters();
    let query = parameters.iter().chain(&id);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let page = suite.browser().open(&format!("/oauth/authorize?{query}")).await;
    expect_error_redirect(&page, &party, "invalid_request");
    let mut fields = parameters.to_vec();
    fields.extend(id);
    expect_error_redirect(&suite.browser().post("/oauth/authorize", &fields).await, &party, "invalid_request");
}

#[tokio::test]
async fn the_wrong_method_at_the_pushed_authorization_endpoint_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let request = party.client.http.request(method.parse().expect("a method"), format!("{}{PAR}", suite.issuer));
        assert_eq!(answer(request).await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn a_request_uri_in_a_pushed_request_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let pushed = party.push(suite.now()).send().await.expect(201, "");
    for reference in [pushed.text("request_uri"), "https://evil.example/request"] {
        let answer = party.push(suite.now()).with("request_uri", reference).send().await;
        expect_refused(&answer, &[400], &["invalid_request"]);
        let bare = party.client.push(suite.now(), &[("request_uri", reference)]).send().await;
        expect_refused(&bare, &[400], &["invalid_request"]);
    }
}

#[tokio::test]
async fn an_unregistered_redirect_uri_or_none_is_refused() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let push = || party.push(suite.now());
        let longer = format!("{}/more", party.redirect_uri);
        let other = suite.party("two", way).redirect_uri;
        for call in [
            push().with("redirect_uri", "https://evil.example/callback"),
            push().with("redirect_uri", &longer),
            push().with("redirect_uri", &other),
            push().without("redirect_uri"),
        ] {
            expect_refused(&call.send().await, &[400], &["invalid_request"]);
        }
    }
}

#[tokio::test]
async fn other_response_types_are_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    for kind in ["token", "id_token", "code id_token", "code token", "none"] {
        let answer = party.push(suite.now()).with("response_type", kind).send().await;
        expect_refused(&answer, &[400], &["unsupported_response_type", "invalid_request"]);
    }
}

#[tokio::test]
async fn an_expired_request_uri_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let pushed = party.push(suite.now()).send().await.expect(201, "");
    let lasts = u32::try_from(pushed.body["expires_in"].as_u64().expect("a number")).expect("a short time");
    suite.clock.advance(SECOND * lasts);
    expect_error_page(&suite.browser().open(&party.client.pushed_path(&pushed)).await);
}

#[tokio::test]
async fn a_request_uri_is_refused_after_completion_and_with_another_client() {
    let suite = Suite::start().await;
    for way in WAYS {
        let (party, other) = (suite.party("one", way), suite.party("two", way));
        let pushed = party.push(suite.now()).send().await.expect(201, "");
        expect_error_page(&suite.browser().open(&other.client.pushed_path(&pushed)).await);
        let path = party.client.pushed_path(&pushed);
        let mut browser = suite.browser();
        assert!(!browser.approve(&path, "ada", "ada").await.code().is_empty());
        expect_error_page(&browser.open(&path).await);
        expect_error_page(&suite.browser().open(&path).await);
    }
}

#[tokio::test]
async fn a_request_uri_may_be_loaded_again_before_somebody_has_signed_in() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let path = suite.pushed(&party, party.push(suite.now())).await;
    // A preview of a link, and a person who reloads the page.
    assert!(suite.browser().open(&path).await.has("name=\"password\""));
    let mut browser = suite.browser();
    for _ in 0..2 {
        assert!(browser.open(&path).await.has("name=\"password\""));
    }
    assert!(!browser.approve(&path, "ada", "ada").await.code().is_empty());
}

#[tokio::test]
async fn a_person_who_declines_is_reported_as_access_denied() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("two", way);
        let path = suite.pushed(&party, party.push(suite.now())).await;
        let mut browser: Browser = suite.browser();
        let page = browser.open(&path).await;
        let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
        let back = browser.submit(&page, &[("decision", "deny")]).await;
        expect_error_redirect(&back, &party, "access_denied");
        assert_eq!(back.parameter("state").as_deref(), Some("of the party"));
    }
}

#[tokio::test]
async fn a_thumbprint_or_a_proof_binds_the_code_to_the_key() {
    let suite = Suite::start().await;
    for way in WAYS.into_iter().filter(|way| !way.bound_to_certificate) {
        let (party, thief) = (suite.party("one", way), suite.party("one", way));
        let jkt = party.client.key.public().thumbprint().to_string();
        let proof = || party.client.proof_at(PAR, suite.now());
        let push = || party.push(suite.now());
        for call in
            [push().with("dpop_jkt", &jkt), push().proof(&proof()), push().with("dpop_jkt", &jkt).proof(&proof())]
        {
            let code = suite.approved(&party, call).await.code();
            let stolen = thief.redeem(suite.now(), &code).send().await;
            expect_refused(&stolen, &[400], &["invalid_request", "invalid_grant", "invalid_dpop_proof"]);
            let bare = party.redeem(suite.now(), &code).without_proof().send().await;
            expect_refused(&bare, &[400], &["invalid_request", "invalid_grant", "invalid_dpop_proof"]);
            let tokens = party.redeem(suite.now(), &code).send().await.expect_tokens();
            assert_eq!(claims(tokens.text("access_token"))["cnf"]["jkt"], jkt);
        }
        let two_keys = push().with("dpop_jkt", &jkt).proof(&thief.client.proof_at(PAR, suite.now()));
        expect_refused(&two_keys.send().await, &[400], &["invalid_request", "invalid_dpop_proof"]);
        for wrong in ["x", &jkt[1..], &format!("{jkt}="), &"=".repeat(43)] {
            let answer = push().with("dpop_jkt", wrong).send().await;
            expect_refused(&answer, &[400], &["invalid_request"]);
        }
    }
}

#[tokio::test]
async fn only_a_client_that_authenticates_pushes() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let call = party.push(suite.now()).without("client_assertion").without("client_assertion_type");
        let answer = if way.by_certificate {
            let bare = suite.bare(suite.party("one", way));
            bare.push(suite.now()).send().await
        } else {
            call.send().await
        };
        expect_refused(&answer, &[401, 400], &["invalid_client", "invalid_request"]);
    }
}
