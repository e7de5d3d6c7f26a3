//! The token endpoint: codes, refresh tokens, client authentication, and what binds tokens.

use serde_json::{Value, json};
use tollgate::jose::{Algorithm, SigningKey};

use super::{SECOND, Suite, expect_refused};
use crate::certification::{WAYS, Way, copy};
use crate::client::{CLIENT_CREDENTIALS, Credential, PAR, answer, claims, refresh_request};

const WITHOUT_KEY: [&str; 3] = ["invalid_request", "invalid_grant", "invalid_dpop_proof"];

fn with_keys() -> impl Iterator<Item = Way> {
    WAYS.into_iter().filter(|way| !way.bound_to_certificate)
}

fn with_assertions() -> impl Iterator<Item = Way> {
    WAYS.into_iter().filter(|way| !way.by_certificate)
}

#[tokio::test]
async fn tokens_are_bound_to_the_key_or_to_the_certificate() {
    let suite = Suite::start().await;
    for way in WAYS {
        for (number, name) in ["one", "two"].into_iter().enumerate() {
            let party = suite.party(name, way);
            let tokens = suite.tokens(&party).await;
            let said = claims(tokens.text("access_token"));
            let (kind, cnf) = if way.bound_to_certificate {
                ("Bearer", json!({ "x5t#S256": suite.certificates[number].thumbprint() }))
            } else {
                ("DPoP", json!({ "jkt": party.client.key.public().thumbprint().to_string() }))
            };
            assert_eq!((tokens.text("token_type"), &said["cnf"]), (kind, &cnf), "{way:?}");
            assert_eq!(said["client_id"], party.client.id);
            assert_eq!(said["aud"], suite.accounts.trim_end_matches("/accounts"));
            let lasts = tokens.body["expires_in"].as_u64().expect("a number");
            assert!(lasts <= 600 && tokens.header("cache-control") == Some("no-store"), "{tokens:?}");
        }
    }
}

#[tokio::test]
async fn a_code_that_was_used_is_refused_and_what_it_gave_is_over() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let code = suite.code(&party).await;
        let tokens = party.redeem(suite.now(), &code).send().await.expect_tokens();
        suite.clock.advance(SECOND);
        expect_refused(&party.redeem(suite.now(), &code).send().await, &[400], &["invalid_grant"]);
        let refresh = refresh_request(tokens.text("refresh_token"));
        expect_refused(&party.token(suite.now(), &refresh).send().await, &[400], &["invalid_grant"]);
        let userinfo = format!("{}/oauth/userinfo", suite.issuer);
        let answer = party.fetch(suite.now(), &userinfo, tokens.text("access_token")).await;
        assert_eq!((answer.status, answer.error()), (401, "invalid_token"));
    }
}

#[tokio::test]
async fn a_code_lasts_for_less_than_a_minute() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let code = suite.code(&party).await;
        suite.clock.advance(SECOND * 55);
        party.redeem(suite.now(), &code).send().await.expect_tokens();
        let code = suite.code(&party).await;
        suite.clock.advance(SECOND * 61);
        expect_refused(&party.redeem(suite.now(), &code).send().await, &[400], &["invalid_grant"]);
    }
}

#[tokio::test]
async fn without_a_proof_or_a_certificate_there_are_no_tokens() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let code = suite.code(&party).await;
        let answer = if way.bound_to_certificate {
            suite.bare(suite.party("one", way)).redeem(suite.now(), &code).send().await
        } else {
            party.redeem(suite.now(), &code).without_proof().send().await
        };
        if way.by_certificate && way.bound_to_certificate {
            expect_refused(&answer, &[400, 401], &["invalid_request", "invalid_grant", "invalid_client"]);
        } else {
            expect_refused(&answer, &[400], &WITHOUT_KEY);
        }
        party.redeem(suite.now(), &code).send().await.expect_tokens();
    }
}

#[tokio::test]
async fn the_code_of_another_client_is_refused_and_stays_good() {
    let suite = Suite::start().await;
    for way in WAYS {
        let (party, other) = (suite.party("one", way), suite.party("two", way));
        let code = suite.code(&party).await;
        let mut stolen = other.redeem(suite.now(), &code);
        stolen = stolen.with("redirect_uri", &party.redirect_uri);
        expect_refused(&stolen.send().await, &[400], &["invalid_grant"]);
        party.redeem(suite.now(), &code).send().await.expect_tokens();
    }
}

#[tokio::test]
async fn a_missing_or_wrong_verifier_is_refused() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let code = suite.code(&party).await;
        let redeem = || party.redeem(suite.now(), &code);
        expect_refused(&redeem().without("code_verifier").send().await, &[400], &["invalid_grant"]);
        let wrong = redeem().with("code_verifier", &"w".repeat(43));
        expect_refused(&wrong.send().await, &[400], &["invalid_grant"]);
        let elsewhere = redeem().with("redirect_uri", "https://evil.example/callback");
        expect_refused(&elsewhere.send().await, &[400], &["invalid_grant", "invalid_request"]);
    }
}

/// Proofs with these changes, at the token endpoint and at the pushed authorization endpoint.
async fn prove(suite: &Suite, way: Way, change: impl Fn(&mut Value, i64)) -> [crate::client::Answer; 2] {
    let party = suite.party("one", way);
    let now = suite.now();
    let mut at_token = party.client.proof_claims(now);
    change(&mut at_token, now.seconds());
    let mut at_par = party.client.proof_claims(now);
    at_par["htu"] = format!("{}{PAR}", suite.issuer).into();
    change(&mut at_par, now.seconds());
    let pushed = party.push(now).proof(&party.client.sign_proof(&at_par)).send().await;
    let code = suite.code(&party).await;
    let redeemed = party.redeem(now, &code).proof(&party.client.sign_proof(&at_token)).send().await;
    [pushed, redeemed]
}

#[tokio::test]
async fn a_proof_made_ten_seconds_before_or_after_our_time_is_good() {
    let suite = Suite::start().await;
    for way in with_keys() {
        for seconds in [-10, 10] {
            let answers = prove(&suite, way, |claims, now| claims["iat"] = (now + seconds).into()).await;
            assert_eq!(answers.map(|answer| answer.status), [201, 200], "{seconds}");
        }
        for seconds in [-3_600, 61, 3_600] {
            for answer in prove(&suite, way, |claims, now| claims["iat"] = (now + seconds).into()).await {
                expect_refused(&answer, &[400], &["invalid_dpop_proof"]);
            }
        }
    }
}

#[tokio::test]
async fn a_nonce_makes_up_for_a_slow_clock_but_not_for_one_a_minute_ahead() {
    let suite = Suite::start().await;
    for way in with_keys() {
        let party = suite.party("one", way);
        let pushed = party.push(suite.now()).proof(&party.client.proof_at(PAR, suite.now())).send().await;
        let nonce = pushed.header("dpop-nonce").expect("a nonce").to_owned();
        for (seconds, statuses) in [(-3_600, [201, 200]), (60, [201, 200]), (61, [400, 400])] {
            let answers = prove(&suite, way, |claims, now| {
                claims["iat"] = (now + seconds).into();
                claims["nonce"] = nonce.as_str().into();
            });
            assert_eq!(answers.await.map(|answer| answer.status), statuses, "{seconds}");
        }
    }
}

#[tokio::test]
async fn the_times_of_a_proof_count() {
    let suite = Suite::start().await;
    for way in with_keys() {
        let good = prove(&suite, way, |claims, now| {
            claims["nbf"] = now.into();
            claims["exp"] = (now + 300).into();
        });
        assert_eq!(good.await.map(|answer| answer.status), [201, 200]);
        for answer in prove(&suite, way, |claims, now| claims["exp"] = (now - 60).into()).await {
            expect_refused(&answer, &[400], &["invalid_dpop_proof"]);
        }
        for answer in prove(&suite, way, |claims, now| claims["nbf"] = (now + 120).into()).await {
            expect_refused(&answer, &[400], &["invalid_dpop_proof"]);
        }
    }
}

#[tokio::test]
async fn the_target_of_a_proof_may_have_a_query_a_fragment_and_other_spellings() {
    let suite = Suite::start().await;
    let changed = |claims: &mut Value, from: &str, to: &str| {
        let htu = claims["htu"].as_str().expect("text").replace(from, to);
        claims["htu"] = htu.into();
    };
    for way in with_keys() {
        for tail in ["?a=b", "#c", "?a=b#c"] {
            let answers = prove(&suite, way, |claims, _| {
                let htu = format!("{}{tail}", claims["htu"].as_str().expect("text"));
                claims["htu"] = htu.into();
            });
            assert_eq!(answers.await.map(|answer| answer.status), [201, 200], "{tail}");
        }
        let answers = prove(&suite, way, |claims, _| changed(claims, "https://localhost", "HTTPS://LOCALHOST")).await;
        assert_eq!(answers.map(|answer| answer.status), [201, 200]);
        for (from, to) in
            [("https://", "http://"), ("localhost", "evil.example"), ("/oauth/", "/"), ("/oauth", "//oauth")]
        {
            for answer in prove(&suite, way, |claims, _| changed(claims, from, to)).await {
                expect_refused(&answer, &[400], &["invalid_dpop_proof"]);
            }
        }
    }
}

#[tokio::test]
async fn a_proof_is_good_once() {
    let suite = Suite::start().await;
    for way in with_keys() {
        let party = suite.party("one", way);
        let proof = party.client.proof(suite.now());
        let own = || party.token(suite.now(), &CLIENT_CREDENTIALS).with("scope", "accounts").proof(&proof);
        own().send().await.expect_tokens();
        expect_refused(&own().send().await, &[400], &["invalid_dpop_proof"]);
    }
}

/// Authenticates at both endpoints with an assertion that was changed.
async fn assert_with(suite: &Suite, way: Way, change: impl Fn(&mut Value, i64)) -> [crate::client::Answer; 2] {
    let party = suite.party("one", way);
    let now = suite.now();
    let assertion = || {
        let mut claims = party.client.assertion_claims(now);
        change(&mut claims, now.seconds());
        party.client.sign_assertion(&claims)
    };
    let own = party.token(now, &CLIENT_CREDENTIALS).with("scope", "accounts");
    [party.push(now).assertion(&assertion()).send().await, own.assertion(&assertion()).send().await]
}

#[tokio::test]
async fn the_audience_of_an_assertion_is_the_issuer_and_nothing_else() {
    let suite = Suite::start().await;
    let issuer = suite.issuer.clone();
    let wrong = [
        json!([issuer]),
        json!([issuer, "https://other.example"]),
        json!(format!("{issuer}/oauth/token")),
        json!(format!("{issuer}/oauth/par")),
        json!(format!("{issuer}/")),
        json!("https://other.example"),
        Value::Null,
    ];
    for way in with_assertions() {
        let good = assert_with(&suite, way, |claims, _| claims["aud"] = issuer.as_str().into()).await;
        assert_eq!(good.map(|answer| answer.status), [201, 200]);
        for audience in &wrong {
            for answer in assert_with(&suite, way, |claims, _| claims["aud"] = audience.clone()).await {
                expect_refused(&answer, &[400, 401], &["invalid_request", "invalid_client"]);
            }
        }
    }
}

#[tokio::test]
async fn an_assertion_has_its_time() {
    let suite = Suite::start().await;
    let good: [fn(&mut Value, i64); 3] = [
        |claims, now| claims["nbf"] = (now + 8).into(),
        |claims, now| claims["iat"] = (now + 10).into(),
        |claims, now| claims["nbf"] = now.into(),
    ];
    let wrong: [fn(&mut Value, i64); 5] = [
        |claims, now| claims["exp"] = (now - 300).into(),
        |claims, now| claims["exp"] = (now + 10 * 365 * 86_400).into(),
        |claims, now| claims["nbf"] = (now + 61).into(),
        |claims, now| claims["iat"] = (now + 61).into(),
        |claims, _| drop(claims.as_object_mut().expect("claims").remove("exp")),
    ];
    for way in with_assertions() {
        for change in good {
            assert_eq!(assert_with(&suite, way, change).await.map(|answer| answer.status), [201, 200]);
        }
        for (number, change) in wrong.into_iter().enumerate() {
            for answer in assert_with(&suite, way, change).await {
                assert_ne!(answer.status, 200, "{number}");
                expect_refused(&answer, &[400, 401], &["invalid_request", "invalid_client"]);
            }
        }
    }
}

#[tokio::test]
async fn an_assertion_names_its_client_and_counts_once() {
    let suite = Suite::start().await;
    let wrong: [fn(&mut Value, i64); 5] = [
        |claims, _| drop(claims.as_object_mut().expect("claims").remove("sub")),
        |claims, _| drop(claims.as_object_mut().expect("claims").remove("iss")),
        |claims, _| drop(claims.as_object_mut().expect("claims").remove("jti")),
        |claims, _| claims["sub"] = "two-jwt-dpop".into(),
        |claims, _| claims["iss"] = "two-jwt-dpop".into(),
    ];
    for way in with_assertions() {
        for change in wrong {
            for answer in assert_with(&suite, way, change).await {
                expect_refused(&answer, &[400, 401], &["invalid_request", "invalid_client"]);
            }
        }
        let party = suite.party("one", way);
        let assertion = party.client.sign_assertion(&party.client.assertion_claims(suite.now()));
        party.push(suite.now()).assertion(&assertion).send().await.expect(201, "");
        let again = party.token(suite.now(), &CLIENT_CREDENTIALS).assertion(&assertion).send().await;
        expect_refused(&again, &[401], &["invalid_client"]);
    }
}

#[tokio::test]
async fn an_assertion_is_signed_by_the_key_of_its_client() {
    let suite = Suite::start().await;
    let stranger = SigningKey::generate(Algorithm::Es256).expect("a key");
    let rsa = SigningKey::generate(Algorithm::Rs256).expect("a key");
    for way in with_assertions() {
        let party = suite.party("one", way);
        let now = suite.now();
        let claims = || party.client.assertion_claims(now);
        let own = copy(&suite.keys[0]);
        let unsigned = json!({ "alg": "none", "typ": "JWT" });
        let mut good = own.sign("JWT", &claims());
        let flipped = if good.pop() == Some('A') { 'Q' } else { 'A' };
        good.push(flipped);
        for assertion in [
            stranger.sign("JWT", &claims()),
            copy(&suite.keys[1]).sign("JWT", &claims()),
            rsa.sign("JWT", &claims()),
            own.sign_with(&unsigned, &claims()),
            own.sign_with(&unsigned, &claims())
                .rsplit_once('.')
                .map(|(signed, _)| format!("{signed}."))
                .expect("a JWT"),
            own.sign_with(&json!({ "alg": "HS256", "typ": "JWT", "kid": own.kid() }), &claims()),
            own.sign_with(&json!({ "alg": "RS256", "typ": "JWT", "kid": own.kid() }), &claims()),
            good,
        ] {
            let answer = party.push(now).assertion(&assertion).send().await;
            expect_refused(&answer, &[400, 401], &["invalid_request", "invalid_client"]);
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_client_authenticates_nobody() {
    let suite = Suite::start().await;
    for way in WAYS.into_iter().filter(|way| way.by_certificate) {
        let mut party = suite.party("one", way);
        party.client.http = suite.party("two", way).client.http;
        expect_refused(&party.push(suite.now()).send().await, &[401], &["invalid_client"]);
        let own = party.token(suite.now(), &CLIENT_CREDENTIALS).with("scope", "accounts");
        expect_refused(&own.send().await, &[401], &["invalid_client"]);
    }
}

#[tokio::test]
async fn a_refresh_token_stays_good_also_half_a_minute_after_it_was_used() {
    let suite = Suite::start().await;
    for way in WAYS {
        let party = suite.party("one", way);
        let tokens = suite.tokens(&party).await;
        let first = tokens.text("refresh_token").to_owned();
        for _ in 0..3 {
            let tokens = party.token(suite.now(), &refresh_request(&first)).send().await.expect_tokens();
            // FAPI 2.0 §5.3.2.1-9: it does not rotate.
            assert_eq!(tokens.text("refresh_token"), first);
            assert_eq!(tokens.text("scope"), "accounts openid");
            suite.clock.advance(SECOND * 30);
        }
    }
}

#[tokio::test]
async fn a_refresh_needs_the_client_and_what_binds_tokens() {
    let suite = Suite::start().await;
    for way in WAYS {
        let (party, other) = (suite.party("one", way), suite.party("two", way));
        let tokens = suite.tokens(&party).await;
        let refresh = refresh_request(tokens.text("refresh_token"));
        expect_refused(&other.token(suite.now(), &refresh).send().await, &[400], &["invalid_grant"]);
        if way.bound_to_certificate {
            let bare = suite.bare(suite.party("one", way));
            let answer = bare.token(suite.now(), &refresh).send().await;
            expect_refused(&answer, &[400, 401], &["invalid_request", "invalid_grant", "invalid_client"]);
        } else {
            expect_refused(&party.token(suite.now(), &refresh).without_proof().send().await, &[400], &WITHOUT_KEY);
        }
        if !way.by_certificate {
            let call = party.token(suite.now(), &refresh);
            let unknown = call.without("client_assertion").without("client_assertion_type");
            expect_refused(&unknown.send().await, &[400, 401], &["invalid_client", "invalid_request"]);
        }
        // A confidential client may have a new key meanwhile (RFC 9449 §5).
        let renewed = suite.party("one", way);
        renewed.token(suite.now(), &refresh).send().await.expect_tokens();
    }
}

#[tokio::test]
async fn other_grants_and_other_ways_to_authenticate_are_refused() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let password = [("grant_type", "password"), ("username", "ada"), ("password", "ada")];
    let answer = party.token(suite.now(), &password).send().await;
    expect_refused(&answer, &[400], &["unsupported_grant_type"]);
    let call = || {
        let call = party.token(suite.now(), &CLIENT_CREDENTIALS);
        call.without("client_assertion").without("client_assertion_type")
    };
    for call in [
        call().basic(&party.client.id, "secret"),
        call().with("client_id", &party.client.id).with("client_secret", "secret"),
        call().with("client_id", &party.client.id),
        call(),
    ] {
        expect_refused(&call.send().await, &[401, 400], &["invalid_client"]);
    }
    let mut nobody = suite.party("one", WAYS[0]);
    nobody.client.id = "nobody".to_owned();
    nobody.client.credential = Credential::Key(Box::new(copy(&suite.keys[0])));
    let answer = nobody.token(suite.now(), &CLIENT_CREDENTIALS).send().await;
    expect_refused(&answer, &[401], &["invalid_client"]);
    let jwks = answer_of(&suite, "/oauth/jwks").await;
    let keys = jwks["keys"].as_array().expect("keys");
    let kids: std::collections::BTreeSet<_> = keys.iter().map(|key| key["kid"].as_str()).collect();
    assert_eq!(kids.len(), keys.len(), "each `kid` once");
    for key in keys {
        let members = key.as_object().expect("a key");
        assert!(["d", "p", "q", "dp", "dq", "qi", "k", "x5u"].iter().all(|name| !members.contains_key(*name)), "{key}");
    }
}

async fn answer_of(suite: &Suite, path: &str) -> Value {
    answer(suite.browser().http.get(format!("{}{path}", suite.issuer))).await.body
}
