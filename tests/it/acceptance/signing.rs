//! Message signing: request objects, signed authorization responses, signed introspection.

use serde_json::{Value, json};
use tollgate::jose::{Algorithm, Jws, PublicKey, SigningKey, object};

use super::{Suite, expect_error_redirect, expect_refused};
use crate::browser::Page;
use crate::certification::{Party, SIGNED, copy};
use crate::client::{INTROSPECT, answer};

const MINUTE: i64 = 60;
const REFUSED: [&str; 3] = ["invalid_request", "invalid_request_object", "access_denied"];

/// The claims of a request object that nothing is wrong with.
fn claims(suite: &Suite, party: &Party) -> Value {
    let now = suite.now().seconds();
    let client = &party.client;
    let mut claims = json!({
        "iss": client.id, "aud": suite.issuer, "client_id": client.id, "jti": client.fresh(),
        "iat": now, "nbf": now, "exp": now + 5 * MINUTE,
    });
    for (name, value) in party.parameters() {
        claims[name] = value.into();
    }
    claims
}

/// Pushes an object that the party has signed after a change.
async fn push(suite: &Suite, party: &Party, change: impl FnOnce(&mut Value, i64)) -> crate::client::Answer {
    let mut claims = claims(suite, party);
    change(&mut claims, suite.now().seconds());
    let object = suite.keys[0].sign("oauth-authz-req+jwt", &claims);
    party.client.push(suite.now(), &[("request", &object)]).send().await
}

/// What a signed response says, if its signature is right.
async fn verified(suite: &Suite, jwt: &str) -> (Option<String>, Value) {
    let jwks = answer(suite.browser().http.get(format!("{}/oauth/jwks", suite.issuer))).await.body;
    let jws = Jws::parse(jwt, 16 * 1024).expect("a JWT");
    let kid = jws.header_text("kid").expect("text");
    let jwk = jwks["keys"].as_array().expect("keys").iter().find(|jwk| jwk["kid"].as_str() == kid).expect("the key");
    let key = PublicKey::from_jwk(&object(jwk.to_string().as_bytes()).expect("JSON")).expect("a key");
    assert_eq!(jws.verify(Algorithm::Es256, &key), Ok(()));
    let typ = jws.header_text("typ").expect("text").map(str::to_owned);
    (typ, Value::Object(jws.into_claims()))
}

#[tokio::test]
async fn an_unsigned_request_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    expect_refused(&party.push(suite.now()).send().await, &[400], &REFUSED);
}

#[tokio::test]
async fn a_signed_request_succeeds_for_both_parties() {
    let suite = Suite::with_api().await;
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        let party = suite.party(name, SIGNED);
        let object = suite.keys[number].sign("oauth-authz-req+jwt", &claims(&suite, &party));
        let page = suite.approved(&party, party.client.push(suite.now(), &[("request", &object)])).await;
        assert!(page.header("location").starts_with(&party.redirect_uri), "{page:?}");
        assert_eq!(page.parameter("state").as_deref(), Some("of the party"));
        let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
        let reached = party.fetch(suite.now(), &suite.accounts, tokens.text("access_token")).await;
        assert_eq!(reached.status, 200);
    }
}

#[tokio::test]
async fn what_stands_beside_an_object_is_not_used() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    let sign = |change: fn(&mut Value)| {
        let mut claims = claims(&suite, &party);
        change(&mut claims);
        suite.keys[0].sign("oauth-authz-req+jwt", &claims)
    };
    let without_state = sign(|claims| drop(claims.as_object_mut().expect("claims").remove("state")));
    let beside = [("request", without_state.as_str()), ("state", "beside"), ("nonce", "beside")];
    let path = suite.pushed(&party, party.client.push(suite.now(), &beside)).await;
    let page = suite.browser().approve(&format!("{path}&state=behind"), "ada", "ada").await;
    assert_eq!(page.parameter("state"), None);
    let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
    assert_eq!(crate::client::claims(tokens.text("id_token"))["nonce"], "of the party too");

    let object = sign(|_| {});
    let beside = [("request", object.as_str()), ("state", "beside"), ("redirect_uri", "https://evil.example")];
    let page = suite.approved(&party, party.client.push(suite.now(), &beside)).await;
    assert_eq!(page.parameter("state").as_deref(), Some("of the party"));
}

#[tokio::test]
async fn an_object_signed_in_another_way_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    let claims = claims(&suite, &party);
    let own = copy(&suite.keys[0]);
    let rsa = SigningKey::generate(Algorithm::Rs256).expect("a key");
    let unsigned = own.sign_with(&json!({ "alg": "none", "typ": "oauth-authz-req+jwt" }), &claims);
    let good = own.sign("oauth-authz-req+jwt", &claims);
    let (signed, signature) = good.rsplit_once('.').expect("a JWT");
    let turned: String = signature.chars().rev().collect();
    for object in [
        suite.keys[1].sign("oauth-authz-req+jwt", &claims),
        rsa.sign("oauth-authz-req+jwt", &claims),
        format!("{}.", unsigned.rsplit_once('.').expect("a JWT").0),
        unsigned,
        format!("{signed}.{turned}"),
        format!("{signed}."),
        own.sign_with(&json!({ "alg": "HS256", "kid": own.kid() }), &claims),
    ] {
        let answer = party.client.push(suite.now(), &[("request", &object)]).send().await;
        expect_refused(&answer, &[400], &REFUSED);
    }
}

#[tokio::test]
async fn the_audience_of_an_object_is_the_issuer_alone_or_among_others() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    let issuer = suite.issuer.clone();
    for good in [json!(issuer), json!([issuer]), json!(["https://other.example", issuer])] {
        push(&suite, &party, |claims, _| claims["aud"] = good).await.expect(201, "");
    }
    for wrong in [json!("https://other.example"), json!(format!("{issuer}/oauth/par")), json!([]), Value::Null] {
        expect_refused(&push(&suite, &party, |claims, _| claims["aud"] = wrong).await, &[400], &REFUSED);
    }
}

#[tokio::test]
async fn an_object_has_its_hour() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    let good: [fn(&mut Value, i64); 4] = [
        |claims, now| claims["nbf"] = (now + 8).into(),
        |claims, now| claims["nbf"] = (now - 54 * MINUTE).into(),
        |claims, now| claims["exp"] = (now + 59 * MINUTE).into(),
        |claims, _| drop(claims.as_object_mut().expect("claims").remove("iat")),
    ];
    for (number, change) in good.into_iter().enumerate() {
        assert_eq!(push(&suite, &party, change).await.status, 201, "{number}");
    }
    let wrong: [fn(&mut Value, i64); 7] = [
        |claims, _| drop(claims.as_object_mut().expect("claims").remove("exp")),
        |claims, _| drop(claims.as_object_mut().expect("claims").remove("nbf")),
        |claims, now| claims["exp"] = (now - 11).into(),
        |claims, now| claims["exp"] = (now + 70 * MINUTE).into(),
        |claims, now| {
            claims["nbf"] = (now - 70 * MINUTE).into();
            claims["exp"] = (now + MINUTE).into();
        },
        |claims, now| claims["nbf"] = (now + 61).into(),
        |claims, now| claims["nbf"] = (now - 60 * MINUTE - 1).into(),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let answer = push(&suite, &party, change).await;
        assert_ne!(answer.status, 201, "{number}");
        expect_refused(&answer, &[400], &REFUSED);
    }
}

#[tokio::test]
async fn an_object_asks_for_what_any_request_may_ask_for() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    let wrong: [fn(&mut Value); 7] = [
        |claims| drop(claims.as_object_mut().expect("claims").remove("redirect_uri")),
        |claims| claims["redirect_uri"] = "https://evil.example".into(),
        |claims| claims["request_uri"] = "urn:ietf:params:oauth:request_uri:x".into(),
        |claims| claims["request"] = "e30.e30.".into(),
        |claims| drop(claims.as_object_mut().expect("claims").remove("code_challenge")),
        |claims| claims["code_challenge_method"] = "plain".into(),
        |claims| claims["client_id"] = "two-signed".into(),
    ];
    for change in wrong {
        expect_refused(&push(&suite, &party, |claims, _| change(claims)).await, &[400], &REFUSED);
    }
    let answer = push(&suite, &party, |claims, _| claims["response_type"] = "code id_token".into()).await;
    expect_refused(&answer, &[400], &["unsupported_response_type", "invalid_request"]);
}

#[tokio::test]
async fn an_object_without_push_is_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    let object = suite.keys[0].sign("oauth-authz-req+jwt", &claims(&suite, &party));
    let query = [("client_id", party.client.id.as_str()), ("request", &object)];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let page = suite.browser().open(&format!("/oauth/authorize?{query}")).await;
    expect_error_redirect(&page, &party, "invalid_request");
}

/// The signed response of a page that leads back to the party.
async fn response(suite: &Suite, party: &Party, page: &Page) -> Value {
    let names: Vec<_> = page.location().query_pairs().map(|(name, _)| name.into_owned()).collect();
    let own = party.redirect_uri.matches('=').count();
    assert_eq!(names[own..], ["response"], "nothing beside it: neither `iss` nor `state`");
    let (typ, claims) = verified(suite, &page.parameter("response").expect("a response")).await;
    assert_ne!(typ.as_deref(), Some("at+jwt"));
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(suite.issuer), &json!(party.client.id)));
    let lasts = claims["exp"].as_i64().expect("a time") - suite.now().seconds();
    assert!((1..=600).contains(&lasts), "{claims}");
    claims
}

#[tokio::test]
async fn responses_are_signed_for_who_asks() {
    let suite = Suite::start().await;
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        let party = suite.party(name, SIGNED);
        for mode in ["jwt", "query.jwt"] {
            let path = async || {
                let mut claims = claims(&suite, &party);
                claims["response_mode"] = mode.into();
                let object = suite.keys[number].sign("oauth-authz-req+jwt", &claims);
                suite.pushed(&party, party.client.push(suite.now(), &[("request", &object)])).await
            };
            let page = suite.browser().approve(&path().await, "ada", "ada").await;
            let claims = response(&suite, &party, &page).await;
            assert_eq!(claims["state"], "of the party");
            party.redeem(suite.now(), claims["code"].as_str().expect("a code")).send().await.expect_tokens();

            let mut browser = suite.browser();
            let page = browser.open(&path().await).await;
            let page = browser.submit(&page, &[("username", "ada"), ("password", "ada")]).await;
            let page = browser.submit(&page, &[("decision", "deny")]).await;
            assert_eq!(response(&suite, &party, &page).await["error"], "access_denied");
        }
    }
}

#[tokio::test]
async fn introspection_is_signed_for_who_asks() {
    let suite = Suite::start().await;
    let party = suite.party("one", SIGNED);
    let object = suite.keys[0].sign("oauth-authz-req+jwt", &claims(&suite, &party));
    let page = suite.approved(&party, party.client.push(suite.now(), &[("request", &object)])).await;
    let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
    for (token, active) in [(tokens.text("access_token"), true), ("unknown", false)] {
        let request = party.client.about(INTROSPECT, token, suite.now()).into_request();
        let response = request.header("accept", "application/token-introspection+jwt").send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/token-introspection+jwt");
        let (typ, claims) = verified(&suite, &response.text().await.expect("a body")).await;
        assert_eq!(typ.as_deref(), Some("token-introspection+jwt"));
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(suite.issuer), &json!(party.client.id)));
        assert_eq!(claims["iat"], suite.now().seconds());
        assert_eq!(claims["token_introspection"]["active"], active);
        assert!(claims.get("exp").is_none() && claims.get("sub").is_none(), "RFC 9701 §5: none of an access token's");
    }
}
