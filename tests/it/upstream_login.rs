//! Sign-in at an upstream OpenID provider, honest, lying, slow or down.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::config::Login;
use tollgate::fetch::FetchLimits;
use tollgate::identity::{ClaimNames, OidcSettings};
use tollgate::issuers::ClientCredential;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::{Refusal, Settings};
use tollgate::secret::{base64url, sha256};

use crate::browser::{Browser, Page};
use crate::client::{CHALLENGE, claims, code_request, refresh_request};
use crate::provider::{CLIENT_ID, CLIENT_SECRET, Conduct, Provider, Script, Signature};
use crate::world::{TestClock, World};

/// A world whose people sign in at a provider.
struct Story {
    world: World,
    provider: Provider,
}

fn settings(provider: &Provider) -> OidcSettings {
    OidcSettings {
        issuer: provider.issuer.parse().expect("an issuer"),
        client_id: CLIENT_ID.parse().expect("a name"),
        client: ClientCredential::Basic(SecretString::from(CLIENT_SECRET)),
        scopes: "openid profile email".to_owned(),
        claims: ClaimNames::default(),
    }
}

/// Half a second is longer than anything on this machine takes, and short enough to wait for.
fn limits() -> FetchLimits {
    FetchLimits { time: Duration::from_millis(500), ..FetchLimits::default() }
}

impl Story {
    async fn begin() -> Self {
        Self::begin_with(|_| {}, |_| {}).await
    }

    async fn begin_with(upstream: impl FnOnce(&mut OidcSettings), change: impl FnOnce(&mut Settings)) -> Self {
        let provider = Provider::start(TestClock::default().now()).await;
        let mut settings = settings(&provider);
        upstream(&mut settings);
        let world = World::start_with_login(Login::Oidc { settings: settings.into(), limits: limits() }, change).await;
        Self { world, provider }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.world.issuer)
    }

    /// Sends a browser to the provider; gives what the authentication request says.
    async fn leave(&self, browser: &mut Browser, changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let page = browser.open(&request(changes)).await;
        let location = page.location();
        assert!(location.as_str().starts_with(&format!("{}/authorize?tenant=1&", self.provider.issuer)), "{page:?}");
        location.query_pairs().into_owned().collect()
    }

    /// Lets the provider vouch for the person, and sends the browser back.
    async fn come_back(&self, browser: &mut Browser, asked: &BTreeMap<String, String>) -> Page {
        self.provider.script().claims["nonce"] = asked["nonce"].clone().into();
        self.answer(browser, asked, &[("code", "a-code"), ("iss", &self.provider.issuer)]).await
    }

    /// Sends the browser back with these parameters.
    async fn answer(
        &self,
        browser: &mut Browser,
        asked: &BTreeMap<String, String>,
        parameters: &[(&str, &str)],
    ) -> Page {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters).append_pair("state", &asked["state"]);
        browser.open(&format!("/login/callback?{}", query.finish())).await
    }

    /// Signs in and approves; gives the code.
    async fn code(&self, browser: &mut Browser, changes: &[(&str, &str)]) -> String {
        let asked = self.leave(browser, changes).await;
        let consent = self.come_back(browser, &asked).await;
        assert!(consent.has("value=\"approve\""), "{consent:?}");
        browser.submit(&consent, &[("decision", "approve")]).await.code()
    }

    fn fault(&self) -> Option<String> {
        self.world.events.last("fault")
    }
}

/// The authorization request of a client of ours.
fn request(changes: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", "spa"),
        ("redirect_uri", "https://app.example/cb"),
        ("state", "of the client"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    parameters.extend(changes);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("/oauth/authorize?{query}")
}

#[tokio::test]
async fn a_person_signs_in_at_the_provider_and_consents_here() {
    let story = Story::begin().await;
    let mut browser = story.browser();
    let asked = story.leave(&mut browser, &[("login_hint", "ada"), ("ui_locales", "de")]).await;
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("scope", "openid profile email"),
        ("code_challenge_method", "S256"),
        ("login_hint", "ada"),
        ("ui_locales", "de"),
        ("redirect_uri", &format!("{}/login/callback", story.world.issuer)),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    let consent = story.come_back(&mut browser, &asked).await;
    assert!(consent.has("Single-page application") && consent.has("<strong>Ada</strong>"), "{consent:?}");

    // The code was redeemed as the provider demands it.
    let (head, body) =
        story.provider.script().requests.iter().find(|(head, _)| head.contains("/token")).cloned().expect("one");
    let form: BTreeMap<_, _> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!((form["grant_type"].as_str(), form["code"].as_str()), ("authorization_code", "a-code"));
    assert_eq!(base64url(&sha256(form["code_verifier"].as_bytes())), asked["code_challenge"]);
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT_ID}:s3cret%3A+with%2Bsigns"));
    assert!(head.contains(&format!("authorization: Basic {credentials}\r\n")), "{head}");

    let code = browser.submit(&consent, &[("decision", "approve")]).await.code();
    let spa = story.world.client("spa");
    let tokens = spa.request(story.world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["sub"], "ada-at-acme");

    // Signed in here now: another client asks for consent only, as each client does (RFC 9700 update §2.4).
    let again = browser.open(&request(&[("client_id", "legacy")])).await;
    assert!(again.has("value=\"approve\"") && again.has("Legacy"), "{again:?}");
}

#[tokio::test]
async fn who_is_disabled_here_gets_nothing_whatever_the_provider_says() {
    let story = Story::begin().await;
    let mut browser = story.browser();
    let code = story.code(&mut browser, &[]).await;
    let (spa, now) = (story.world.client("spa"), story.world.clock.now());
    let tokens = spa.request(now, &code_request(&code)).send().await.expect_tokens();
    let subject = "ada-at-acme".parse().expect("a subject");
    assert_eq!(story.world.store.disable_person(&subject, now).await, Ok(()));

    let refreshed = spa.request(now, &refresh_request(tokens.text("refresh_token"))).send().await;
    refreshed.expect(400, "invalid_grant");
    let asked = story.leave(&mut browser, &[]).await; // the session counts no more
    let back = story.come_back(&mut browser, &asked).await;
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(story.world.events.last("refusal").as_deref(), Some(Refusal::PersonDisabled.name()));
}

#[tokio::test]
async fn an_answer_counts_in_the_browser_that_was_sent_away_and_in_time() {
    let story = Story::begin().await;
    let (mut browser, mut other) = (story.browser(), story.browser());
    let asked = story.leave(&mut browser, &[]).await;
    story.leave(&mut other, &[]).await;
    let stolen = story.come_back(&mut other, &asked).await;
    assert_eq!((stolen.status, story.world.events.last("refusal").as_deref()), (400, Some("transaction_unknown")));
    let without = story.come_back(&mut story.browser(), &asked).await;
    assert_eq!(without.status, 400);

    // Two at once, in two tabs, do not disturb each other.
    let second = story.leave(&mut browser, &[("client_id", "legacy")]).await;
    assert!(story.come_back(&mut browser, &second).await.has("Legacy"));
    assert!(story.come_back(&mut browser, &asked).await.has("Single-page application"));

    story.world.clock.advance(Duration::from_mins(10));
    let late = story.come_back(&mut browser, &asked).await;
    assert_eq!((late.status, story.world.events.last("refusal").as_deref()), (400, Some("transaction_unknown")));
}

#[tokio::test]
async fn the_way_back_may_be_loaded_again() {
    let story = Story::begin().await;
    let mut browser = story.browser();
    let asked = story.leave(&mut browser, &[]).await;
    let consent = story.come_back(&mut browser, &asked).await;
    assert!(consent.has("value=\"approve\""), "{consent:?}");
    story.provider.script().refusal = Some((400, json!({ "error": "invalid_grant" }))); // as any provider answers to a code that was used
    let again = story.come_back(&mut browser, &asked).await;
    assert!(again.has("value=\"approve\""), "{again:?}");
    let mut elsewhere = story.browser();
    elsewhere.cookies.clone_from(&browser.cookies);
    elsewhere.cookies.retain(|name, _| !name.contains("session"));
    // One of the two pages is answered; the other one says so, and so does the way back from then on.
    browser.submit(&again, &[("decision", "approve")]).await.code();
    let spent = browser.submit(&consent, &[("decision", "approve")]).await;
    assert_eq!((spent.status, story.world.events.last("refusal").as_deref()), (400, Some("transaction_spent")));
    // Without the session that began with it, it is nobody.
    let page = story.come_back(&mut elsewhere, &asked).await;
    assert_eq!(page.status, 400, "{page:?}");
}

#[tokio::test]
async fn no_lie_of_a_provider_lets_anybody_in() {
    type Lie = (&'static str, fn(&mut Script));
    let lies: [Lie; 24] = [
        ("id_token_issuer", |script| script.claims["iss"] = "https://other.example".into()),
        ("id_token_issuer", |script| drop(script.claims.as_object_mut().expect("claims").remove("iss"))),
        ("id_token_audience", |script| script.claims["aud"] = "another-client".into()),
        ("id_token_audience", |script| script.claims["aud"] = json!([CLIENT_ID, "another-client"])),
        ("id_token_audience", |script| script.claims["aud"] = json!([])),
        ("id_token_authorized_party", |script| script.claims["azp"] = "another-client".into()),
        ("id_token_nonce", |script| script.claims["nonce"] = "of another request".into()),
        ("id_token_nonce", |script| drop(script.claims.as_object_mut().expect("claims").remove("nonce"))),
        ("id_token_time", |script| script.claims["exp"] = (script.claims["iat"].as_i64().expect("a time") - 31).into()),
        ("id_token_time", |script| drop(script.claims.as_object_mut().expect("claims").remove("exp"))),
        ("id_token_time", |script| script.claims["exp"] = "tomorrow".into()),
        ("id_token_time", |script| script.claims["iat"] = (script.claims["iat"].as_i64().expect("a time") + 31).into()),
        ("id_token_time", |script| {
            script.claims["iat"] = (script.claims["iat"].as_i64().expect("a time") - 601).into();
        }),
        ("id_token_time", |script| {
            script.claims["auth_time"] = (script.claims["iat"].as_i64().expect("a time") + 60).into();
        }),
        ("id_token_access_token_hash", |script| script.claims["at_hash"] = base64url(&[1; 16]).into()),
        ("id_token_signature", |script| script.signature = Signature::OfAnother),
        ("id_token_signature", |script| script.header["kid"] = "another".into()),
        ("id_token_algorithm", |script| script.signature = Signature::None),
        ("id_token_algorithm", |script| script.signature = Signature::Symmetric),
        ("id_token_malformed", |script| script.header["typ"] = "at+jwt".into()),
        ("id_token_malformed", |script| script.header["crit"] = json!(["exp"])),
        ("claims_unfit", |script| script.claims["sub"] = 7.into()),
        ("claims_unfit", |script| script.claims["sub"] = "web".into()), // a client of ours
        ("userinfo_wrong", |script| {
            script.claims.as_object_mut().expect("claims").remove("name");
            script.userinfo = json!({ "sub": "bob-at-acme", "name": "Bob" });
        }),
    ];
    let story = Story::begin().await;
    for (fault, lie) in lies {
        let truth = {
            let script = story.provider.script();
            (script.claims.clone(), script.header.clone(), script.userinfo.clone())
        };
        let mut browser = story.browser();
        let asked = story.leave(&mut browser, &[]).await;
        {
            let mut script = story.provider.script();
            script.claims["nonce"] = asked["nonce"].clone().into();
            lie(&mut script);
        }
        let back = story.answer(&mut browser, &asked, &[("code", "a-code"), ("iss", &story.provider.issuer)]).await;
        assert_eq!(story.fault().as_deref(), Some(fault));
        assert_eq!(back.parameter("error").as_deref(), Some("server_error"), "{fault}");
        assert_eq!(back.parameter("state").as_deref(), Some("of the client"));
        assert!(!browser.cookies.contains_key("tollgate_session"), "{fault}");
        let mut script = story.provider.script();
        (script.claims, script.header, script.userinfo) = truth;
        script.signature = Signature::Good;
    }
    let mut browser = story.browser();
    let asked = story.leave(&mut browser, &[]).await;
    assert!(story.come_back(&mut browser, &asked).await.has("value=\"approve\""), "the truth does");
}

#[tokio::test]
async fn an_error_of_the_provider_reaches_the_client_as_what_it_is() {
    let story = Story::begin().await;
    let issuer = story.provider.issuer.clone();
    for (error, told, refusal) in [
        ("access_denied", "access_denied", Refusal::UpstreamDeclined),
        ("login_required", "login_required", Refusal::ReauthenticationMissing),
        ("interaction_required", "login_required", Refusal::ReauthenticationMissing),
        ("unmet_authentication_requirements", "unmet_authentication_requirements", Refusal::AcrUnmet),
        ("invalid_request", "server_error", Refusal::UpstreamUntrusted),
        ("<script>", "server_error", Refusal::UpstreamUntrusted),
    ] {
        let mut browser = story.browser();
        let asked = story.leave(&mut browser, &[]).await;
        let back = story.answer(&mut browser, &asked, &[("error", error), ("iss", &issuer)]).await;
        assert_eq!(back.parameter("error").as_deref(), Some(told), "{error}");
        assert_eq!(story.world.events.last("refusal").as_deref(), Some(refusal.name()));
    }
    for parameters in [
        &[("code", "a-code")][..],                               // `iss` was promised
        &[("code", "a-code"), ("iss", "https://other.example")], // a mix-up (RFC 9207)
        &[("error", "access_denied"), ("iss", "https://other.example")],
    ] {
        let mut browser = story.browser();
        let asked = story.leave(&mut browser, &[]).await;
        let back = story.answer(&mut browser, &asked, parameters).await;
        assert_eq!(story.fault().as_deref(), Some("response_issuer_wrong"));
        assert_eq!(back.parameter("error").as_deref(), Some("server_error"));
    }
    let mut browser = story.browser();
    let asked = story.leave(&mut browser, &[]).await;
    let back = story.answer(&mut browser, &asked, &[("iss", &issuer)]).await;
    assert_eq!((back.status, story.fault().as_deref()), (303, Some("code_missing")));
    for (refusal, fault) in [
        ((400, json!({ "error": "invalid_grant", "error_description": "secret" })), "code_refused"),
        ((200, json!({ "access_token": "x" })), "token_response_malformed"),
        ((200, Value::Null), "token_response_malformed"),
    ] {
        story.provider.script().refusal = Some(refusal);
        let asked = story.leave(&mut browser, &[]).await;
        story.come_back(&mut browser, &asked).await;
        assert_eq!(story.fault().as_deref(), Some(fault));
    }
    for error in ["server_error", "temporarily_unavailable"] {
        let asked = story.leave(&mut browser, &[]).await;
        let page = story.answer(&mut browser, &asked, &[("error", error), ("iss", &issuer)]).await;
        assert_eq!((page.status, page.header("retry-after").is_empty()), (503, false), "{error}");
    }
}

#[tokio::test]
async fn signing_in_again_really_happens() {
    let story = Story::begin().await;
    let mut browser = story.browser();
    story.code(&mut browser, &[]).await;
    let session = browser.cookies["tollgate_session"].clone();
    let now = story.world.clock.now().seconds();

    // A provider that does not say when, or did not ask, has not done what was asked for.
    for (change, wished) in [(("prompt", "login"), "0"), (("max_age", "60"), "60")] {
        for auth_time in [None, Some(now - 3_600)] {
            let asked = story.leave(&mut browser, &[change]).await;
            assert_eq!(asked["max_age"], wished);
            assert_eq!(asked.get("prompt").map(String::as_str), (change.0 == "prompt").then_some("login"));
            story.provider.script().claims["auth_time"] = auth_time.map_or(Value::Null, Into::into);
            if auth_time.is_none() {
                story.provider.script().claims.as_object_mut().expect("claims").remove("auth_time");
            }
            let back = story.come_back(&mut browser, &asked).await;
            assert_eq!(back.parameter("error").as_deref(), Some("login_required"), "{change:?} {auth_time:?}");
        }
        let asked = story.leave(&mut browser, &[change]).await;
        story.provider.script().claims["auth_time"] = now.into();
        let consent = story.come_back(&mut browser, &asked).await;
        assert!(consent.has("value=\"approve\""), "{consent:?}");
    }
    assert_ne!(browser.cookies["tollgate_session"], session, "under a new name");

    let asked = story.leave(&mut browser, &[("prompt", "select_account")]).await;
    assert_eq!(asked["prompt"], "select_account");
    let consent = story.come_back(&mut browser, &asked).await;
    let other = browser.submit(&consent, &[("decision", "switch")]).await;
    assert_eq!(other.parameter("prompt").as_deref(), Some("select_account"));
    assert!(!browser.cookies.contains_key("tollgate_session"));
}

#[tokio::test]
async fn a_stronger_sign_in_is_asked_for_and_seen_to() {
    let story = Story::begin_with(
        |_| {},
        |settings| {
            for client in &mut settings.clients {
                client.scopes = "openid orders:read".parse().expect("scopes");
            }
        },
    )
    .await;
    let mut browser = story.browser();
    story.provider.script().claims["acr"] = "urn:password".into();
    story.code(&mut browser, &[]).await;

    let strong = [("acr_values", "urn:phr urn:mfa"), ("scope", "openid orders:read")];
    let asked = story.leave(&mut browser, &strong).await; // although somebody is signed in
    assert_eq!(asked["acr_values"], "urn:phr urn:mfa");
    let back = story.come_back(&mut browser, &asked).await;
    assert_eq!(back.parameter("error").as_deref(), Some("unmet_authentication_requirements"));

    story.provider.script().claims["acr"] = "urn:mfa".into();
    let code = story.code(&mut browser, &strong).await;
    let spa = story.world.client("spa");
    let tokens = spa.request(story.world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["acr"], "urn:mfa");
    assert_eq!(claims(tokens.text("id_token"))["acr"], "urn:mfa");
    assert!(browser.open(&request(&strong)).await.has("value=\"approve\""), "now that is enough");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_keeps_nobody_waiting() {
    for conduct in [Conduct::Silent, Conduct::Failing, Conduct::Redirecting, Conduct::Flooding] {
        let story = Story::begin().await;
        story.provider.script().conduct = conduct;
        let mut browser = story.browser();
        let page = browser.open(&request(&[])).await;
        assert_eq!((page.status, page.header("retry-after").is_empty()), (503, false), "{conduct:?}");

        // It is not asked again at once, but it is after a while.
        story.provider.script().conduct = Conduct::Proper;
        assert_eq!(browser.open(&request(&[])).await.status, 503);
        story.world.clock.advance(Duration::from_secs(10));
        let asked = story.leave(&mut browser, &[]).await;
        story.provider.script().conduct = conduct;
        let page = story.come_back(&mut browser, &asked).await;
        // A redirect is an answer, if not one to follow.
        assert_eq!(page.status, if conduct == Conduct::Redirecting { 303 } else { 503 }, "{conduct:?}");
        let none = browser.open(&request(&[("prompt", "none")])).await;
        assert_eq!(none.parameter("error").as_deref(), Some("login_required"), "which needs no provider");
    }
}

#[tokio::test]
async fn a_provider_that_claims_to_be_another_or_mixes_its_endpoints_is_not_used() {
    for change in [("issuer", "https://other.example"), ("token_endpoint", "http://192.0.2.1/token"), ("jwks_uri", "")]
    {
        let story = Story::begin().await;
        story.provider.script().metadata[change.0] = change.1.into();
        let mut browser = story.browser();
        assert_eq!(browser.open(&request(&[])).await.status, 503, "{change:?}");
    }
}

#[tokio::test]
async fn keys_of_the_provider_may_change() {
    let story = Story::begin().await;
    let mut browser = story.browser();
    story.code(&mut browser, &[]).await;
    story.world.clock.advance(Duration::from_mins(1));
    let next = SigningKey::generate(Algorithm::Es256).expect("a key");
    {
        let mut script = story.provider.script();
        script.published.push(next.published_jwk());
        script.header["kid"] = next.kid().into();
        script.key = next;
    }
    let mut other = story.browser();
    story.code(&mut other, &[]).await;
    let fetched =
        |story: &Story| story.provider.script().requests.iter().filter(|(head, _)| head.contains("/jwks")).count();
    assert_eq!(fetched(&story), 2, "once more, for the unknown `kid`");

    // Unknown ones do not make us ask again and again.
    story.provider.script().header["kid"] = "unknown".into();
    for _ in 0..3 {
        let mut browser = story.browser();
        let asked = story.leave(&mut browser, &[]).await;
        story.come_back(&mut browser, &asked).await;
        assert_eq!(story.fault().as_deref(), Some("id_token_signature"));
    }
    assert_eq!(fetched(&story), 2);
}

#[tokio::test]
async fn what_the_id_token_lacks_is_asked_at_userinfo() {
    let story = Story::begin_with(|settings| settings.claims.name = "nickname".to_owned(), |_| {}).await;
    story.provider.script().userinfo = json!({ "sub": "ada-at-acme", "nickname": "Countess", "email": "not@this.one" });
    let mut browser = story.browser();
    let asked = story.leave(&mut browser, &[]).await;
    let consent = story.come_back(&mut browser, &asked).await;
    assert!(consent.has("<strong>Countess</strong>"), "{consent:?}");
    let subject = "ada-at-acme".parse().expect("a subject");
    let person = story.world.store.person(&subject).await.expect("an answer").expect("somebody");
    assert_eq!(person.email.as_deref(), Some("ada@acme.example"), "the ID token counts first");
    assert_eq!(person.claims.get("department"), Some(&"ops".into()));
    assert!(!person.claims.contains_key("nonce") && !person.claims.contains_key("sub"));
}

#[tokio::test]
async fn an_email_address_names_a_person_only_if_it_is_theirs() {
    let story = Story::begin_with(|settings| settings.claims.subject = "email".to_owned(), |_| {}).await;
    let mut browser = story.browser();
    let asked = story.leave(&mut browser, &[]).await;
    let back = story.come_back(&mut browser, &asked).await;
    assert_eq!((back.status, story.fault().as_deref()), (303, Some("claims_unfit")));
    story.provider.script().claims["email_verified"] = true.into();
    story.code(&mut browser, &[]).await;
}

#[tokio::test]
async fn this_server_may_authenticate_by_key_or_in_the_body_or_not_at_all() {
    let key = SigningKey::generate(Algorithm::Es256).expect("a key");
    let public = key.public().clone();
    let ways: [ClientCredential; 3] = [
        ClientCredential::Key(Box::new(key)),
        ClientCredential::Post(SecretString::from(CLIENT_SECRET)),
        ClientCredential::None,
    ];
    for client in ways {
        let way = format!("{client:?}");
        let story = Story::begin_with(|settings| settings.client = client, |_| {}).await;
        story.code(&mut story.browser(), &[]).await;
        let (head, body) =
            story.provider.script().requests.iter().find(|(head, _)| head.contains("/token")).cloned().expect("one");
        assert!(!head.contains("authorization:"), "{way}");
        let form: BTreeMap<_, _> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        assert_eq!(form["client_id"], CLIENT_ID);
        assert_eq!(form.get("client_secret").map(String::as_str), way.starts_with("Post").then_some(CLIENT_SECRET));
        let Some(assertion) = form.get("client_assertion") else {
            assert!(!way.starts_with("Key"));
            continue;
        };
        let jws = tollgate::jose::Jws::parse(assertion, 8_192).expect("a JWT");
        assert_eq!(jws.verify(Algorithm::Es256, &public), Ok(()));
        assert_eq!(claims(assertion)["aud"], story.provider.issuer, "and no other audience");
    }
}

#[tokio::test]
async fn a_device_is_let_in_by_somebody_who_signs_in_at_the_provider() {
    let story = Story::begin().await;
    let (tv, now) = (story.world.client("tv"), story.world.clock.now());
    let started = tv.device_request(now, &[]).send().await.expect_tokens();
    let mut browser = story.browser();
    let page = browser.open(&format!("/activate?user_code={}", started.text("user_code"))).await;
    assert!(!page.header("content-security-policy").contains("form-action"), "or the browser would stay here");
    let page = browser.submit(&page, &[("user_code", started.text("user_code"))]).await;
    let page = browser.open(page.header("location").strip_prefix(&story.world.issuer).expect("ours")).await;
    let asked: BTreeMap<String, String> = page.location().query_pairs().into_owned().collect();
    let page = story.come_back(&mut browser, &asked).await;
    let page = browser.follow(page).await;
    assert!(page.has("<strong>Ada</strong>"), "{page:?}");
    assert_eq!(browser.submit(&page, &[("decision", "approve")]).await.status, 200);
    let poll = crate::client::poll_request(started.text("device_code"));
    let tokens = tv.request(story.world.clock.now(), &poll).send().await.expect_tokens();
    assert_eq!(claims(tokens.text("access_token"))["sub"], "ada-at-acme");
}

#[test]
fn every_refusal_of_a_sign_in_elsewhere_is_met_in_this_file_or_the_one_about_proxies() {
    let met = concat!(include_str!("upstream_login.rs"), include_str!("proxy_login.rs"));
    for refusal in crate::token_endpoint::OF_SIGN_INS_ELSEWHERE {
        let variant = format!("Refusal::{refusal:?}");
        assert!(met.contains(&variant) || met.contains(&format!("\"{}\"", refusal.name())), "{variant}");
    }
}
