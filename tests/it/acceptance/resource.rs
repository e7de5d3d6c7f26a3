//! The protected resource, behind the real Envoy.

use serde_json::{Value, json};
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::secret::{base64url, sha256};

use super::{SECOND, Suite};
use crate::certification::{Party, WAYS};
use crate::client::{Answer, CLIENT_CREDENTIALS, answer, refresh_request};

/// A token, and whoever may use it.
struct Holder {
    suite: Suite,
    party: Party,
    token: String,
}

impl Holder {
    /// A party with a DPoP-bound token.
    async fn with_key() -> Self {
        let suite = Suite::with_api().await;
        let party = suite.party("one", WAYS[0]);
        let token = suite.tokens(&party).await.text("access_token").to_owned();
        Self { suite, party, token }
    }

    /// What a good proof says now.
    fn claims(&self) -> Value {
        json!({
            "jti": self.party.client.fresh(), "htm": "GET", "htu": self.suite.accounts,
            "iat": self.suite.now().seconds(), "ath": base64url(&sha256(self.token.as_bytes())),
        })
    }

    fn header(&self) -> Value {
        self.party.client.proof_header()
    }

    /// Calls with this scheme and these proofs.
    async fn call(&self, scheme: &str, proofs: &[&str]) -> Answer {
        let request = self.party.client.http.get(&self.suite.accounts);
        let request = request.header("authorization", format!("{scheme} {}", self.token));
        answer(proofs.iter().fold(request, |request, proof| request.header("DPOP", *proof))).await
    }

    /// The same with a proof whose header and claims were changed.
    async fn prove(&self, change: impl FnOnce(&mut Value, &mut Value)) -> Answer {
        let (mut header, mut claims) = (self.header(), self.claims());
        change(&mut header, &mut claims);
        self.call("DPoP", &[&self.party.client.key.sign_with(&header, &claims)]).await
    }
}

#[track_caller]
fn expect_challenge(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    let named = challenges.iter().any(|one| one.to_str().expect("text").contains(&format!("error=\"{error}\"")));
    assert!(named, "{challenges:?}");
}

#[tokio::test]
async fn every_way_reaches_the_api_and_nobody_else_does() {
    let suite = Suite::with_api().await;
    for way in WAYS {
        let (party, thief) = (suite.party("one", way), suite.party("two", way));
        let tokens = suite.tokens(&party).await;
        let token = tokens.text("access_token");
        assert_eq!(party.fetch(suite.now(), &suite.accounts, token).await.status, 200, "{way:?}");
        expect_challenge(&thief.fetch(suite.now(), &suite.accounts, token).await, "invalid_token");
        let (refresh, now) = (refresh_request(tokens.text("refresh_token")), suite.now());
        let refreshed = party.token(now, &refresh).send().await.expect_tokens();
        assert_eq!(party.fetch(now, &suite.accounts, refreshed.text("access_token")).await.status, 200, "{way:?}");
        let own = party.token(now, &CLIENT_CREDENTIALS).with("scope", "accounts").send().await.expect_tokens();
        assert_eq!(party.fetch(now, &suite.accounts, own.text("access_token")).await.status, 200, "{way:?}");
        if way.bound_to_certificate {
            let bare = suite.bare(suite.party("one", way));
            expect_challenge(&bare.fetch(now, &suite.accounts, token).await, "invalid_token");
        }
        suite.clock.advance(SECOND * 311);
        expect_challenge(&party.fetch(suite.now(), &suite.accounts, token).await, "invalid_token");
        let bare = answer(party.client.http.get(&suite.accounts)).await;
        let challenge = bare.header("www-authenticate").expect("a challenge").to_owned();
        assert!(bare.status == 401 && challenge.starts_with("DPoP ") && !challenge.contains("error"), "{challenge}");
    }
}

#[tokio::test]
async fn a_token_counts_in_the_authorization_header_only() {
    let holder = Holder::with_key().await;
    let (http, url, token) = (&holder.party.client.http, &holder.suite.accounts, &holder.token);
    let proof = || holder.party.client.key.sign_with(&holder.header(), &holder.claims());
    for request in [
        http.get(format!("{url}?access_token={token}")).header("dpop", proof()),
        http.post(url).form(&[("access_token", token)]).header("dpop", proof()),
        http.get(url).header("cookie", format!("access_token={token}")).header("dpop", proof()),
    ] {
        assert_eq!(answer(request).await.status, 401);
    }
}

#[tokio::test]
async fn a_good_proof_in_any_allowed_form_passes() {
    let holder = Holder::with_key().await;
    for scheme in ["DPoP", "dpop", "DPOP", "dPoP"] {
        let proof = holder.party.client.key.sign_with(&holder.header(), &holder.claims());
        assert_eq!(holder.call(scheme, &[&proof]).await.status, 200, "{scheme}");
    }
    let url = holder.suite.accounts.clone();
    for htu in [
        format!("{url}?a=b"),
        format!("{url}#c"),
        url.replace("https://localhost", "HTTPS://LOCALHOST"),
        url.replace("/accounts", "/%61ccounts"),
        url.replace("/accounts", "/x/../accounts"),
    ] {
        assert_eq!(holder.prove(|_, claims| claims["htu"] = htu.as_str().into()).await.status, 200, "{htu}");
    }
    for seconds in [-10, 10] {
        let now = holder.suite.now().seconds();
        assert_eq!(holder.prove(|_, claims| claims["iat"] = (now + seconds).into()).await.status, 200, "{seconds}");
    }
    let now = holder.suite.now().seconds();
    let dated = holder.prove(|_, claims| {
        claims["nbf"] = now.into();
        claims["exp"] = (now + 300).into();
    });
    assert_eq!(dated.await.status, 200);
    let extra = holder.prove(|header, claims| {
        header["extra"] = "x".into();
        header["kid"] = "y".into();
        claims["extra"] = json!({ "a": [1] });
    });
    assert_eq!(extra.await.status, 200);
}

#[tokio::test]
async fn a_proof_that_lacks_something_is_refused() {
    let holder = Holder::with_key().await;
    expect_challenge(&holder.call("DPoP", &[]).await, "invalid_dpop_proof");
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        let answer = holder.prove(|_, claims| drop(claims.as_object_mut().expect("claims").remove(name))).await;
        expect_challenge(&answer, "invalid_dpop_proof");
    }
    for name in ["typ", "alg", "jwk"] {
        let answer = holder.prove(|header, _| drop(header.as_object_mut().expect("a header").remove(name))).await;
        expect_challenge(&answer, "invalid_dpop_proof");
    }
}

#[tokio::test]
async fn a_proof_that_says_something_wrong_is_refused() {
    let holder = Holder::with_key().await;
    let now = holder.suite.now().seconds();
    let url = holder.suite.accounts.clone();
    let wrong: Vec<(&str, Value)> = vec![
        ("htm", "POST".into()),
        ("htm", "get".into()),
        ("htu", "https://other.example/accounts".into()),
        ("htu", format!("{url}/").into()),
        ("htu", format!("{url}/1").into()),
        ("htu", url.replace("https", "http").into()),
        ("iat", (now - 3_600).into()),
        ("iat", (now + 3_600).into()),
        ("iat", now.to_string().into()),
        ("exp", (now - 60).into()),
        ("nbf", (now + 120).into()),
        ("ath", base64url(&sha256(b"another token")).into()),
        ("ath", "".into()),
        ("jti", "".into()),
    ];
    for (name, value) in wrong {
        let answer = holder.prove(|_, claims| claims[name] = value.clone()).await;
        assert_eq!(answer.status, 401, "{name} {value}");
        expect_challenge(&answer, "invalid_dpop_proof");
    }
    let private = "x".repeat(43);
    let wrong: Vec<(&str, Value)> = vec![
        ("typ", "JWT".into()),
        ("typ", "at+jwt".into()),
        ("alg", "none".into()),
        ("alg", "RS256".into()),
        ("alg", "HS256".into()),
        ("crit", json!(["exp"])),
    ];
    for (name, value) in wrong {
        let answer = holder.prove(|header, _| header[name] = value.clone()).await;
        expect_challenge(&answer, "invalid_dpop_proof");
    }
    let answer = holder.prove(|header, _| header["jwk"]["d"] = private.as_str().into()).await;
    expect_challenge(&answer, "invalid_dpop_proof");
}

#[tokio::test]
async fn a_proof_of_another_key_or_with_another_signature_is_refused() {
    let holder = Holder::with_key().await;
    let thief = SigningKey::generate(Algorithm::Es256).expect("a key");
    let rsa = SigningKey::generate(Algorithm::Rs256).expect("a key");
    let with = |key: &SigningKey| {
        let header = json!({ "typ": "dpop+jwt", "alg": key.algorithm().name(), "jwk": key.proof_jwk() });
        key.sign_with(&header, &holder.claims())
    };
    expect_challenge(&holder.call("DPoP", &[&with(&thief)]).await, "invalid_token");
    expect_challenge(&holder.call("DPoP", &[&with(&rsa)]).await, "invalid_dpop_proof");
    // Signed by the thief, in the name of the right key.
    let forged = thief.sign_with(&holder.header(), &holder.claims());
    expect_challenge(&holder.call("DPoP", &[&forged]).await, "invalid_dpop_proof");
    let good = with(&holder.party.client.key);
    let (signed, _) = good.rsplit_once('.').expect("a JWT");
    for broken in [format!("{signed}."), signed.to_owned(), "not a JWT".to_owned(), format!("{good}=")] {
        expect_challenge(&holder.call("DPoP", &[&broken]).await, "invalid_dpop_proof");
    }
    assert_eq!(holder.call("DPoP", &[&good]).await.status, 200, "none of these has spent it");
}

#[tokio::test]
async fn a_proof_counts_once_and_one_at_a_time() {
    let holder = Holder::with_key().await;
    let proof = || holder.party.client.key.sign_with(&holder.header(), &holder.claims());
    let (first, second) = (proof(), proof());
    expect_challenge(&holder.call("DPoP", &[&first, &second]).await, "invalid_dpop_proof");
    assert_eq!(holder.call("DPoP", &[&first]).await.status, 200);
    expect_challenge(&holder.call("DPoP", &[&first]).await, "invalid_dpop_proof");
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token() {
    let holder = Holder::with_key().await;
    let proof = || holder.party.client.key.sign_with(&holder.header(), &holder.claims());
    expect_challenge(&holder.call("Bearer", &[]).await, "invalid_token");
    let both = holder.call("Bearer", &[&proof()]).await;
    assert!([400, 401].contains(&both.status), "{both:?}");
}

#[tokio::test]
async fn other_tokens_are_no_access_tokens() {
    let suite = Suite::with_api().await;
    let party = suite.party("one", WAYS[0]);
    let tokens = suite.tokens(&party).await;
    let assertion = party.client.sign_assertion(&party.client.assertion_claims(suite.now()));
    for other in [tokens.text("id_token"), tokens.text("refresh_token"), &assertion] {
        assert_eq!(party.fetch(suite.now(), &suite.accounts, other).await.status, 401);
    }
    // A grant without the scope that the API wants.
    let page = suite.approved(&party, party.push(suite.now()).with("scope", "openid")).await;
    let tokens = party.redeem(suite.now(), &page.code()).send().await.expect_tokens();
    let answer = party.fetch(suite.now(), &suite.accounts, tokens.text("access_token")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("www-authenticate").expect("a challenge").contains("insufficient_scope"));
}
