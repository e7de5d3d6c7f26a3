//! The token endpoint through its door: rule by request, to status, error and refusal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::clock::Clock as _;
use tollgate::dpop::ProofFault;
use tollgate::jose::{Algorithm, SigningKey};
use tollgate::oauth::Refusal;
use tollgate::oauth::client::GrantType;
use tollgate::scope::Scope;
use tollgate::secret::AuthorizationCode;
use tollgate::store::{Decision, Limits, MemoryStore, Store};

use crate::client::{
    Answer, CLIENT_CREDENTIALS, Client, TokenCall, claims, code_request, poll_request, refresh_request,
};
use crate::world::{SECRET, World};

/// Sends requests and remembers which rules they met.
struct Table<'w> {
    world: &'w World,
    reached: BTreeSet<String>,
}

impl Table<'_> {
    async fn row(&mut self, call: TokenCall<'_>, status: u16, error: &str, refusal: Refusal) -> Answer {
        let answer = call.send().await.expect(status, error);
        assert_eq!(self.world.events.last("refusal").as_deref(), Some(refusal.name()), "{answer:?}");
        assert_eq!(answer.text("error_description"), refusal.description());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        self.reached.insert(refusal.name().to_owned());
        answer
    }

    async fn raw(&mut self, request: reqwest::RequestBuilder, status: u16, error: &str, refusal: Refusal) {
        crate::client::answer(request).await.expect(status, error);
        assert_eq!(self.world.events.last("refusal").as_deref(), Some(refusal.name()));
        self.reached.insert(refusal.name().to_owned());
    }
}

/// Refusals about the certificates of clients.
pub const OF_CERTIFICATES: [Refusal; 4] = [
    Refusal::ClientCertificateMissing,
    Refusal::ClientCertificateUntrusted,
    Refusal::ClientCertificateWrong,
    Refusal::CertificateMissing,
];

/// Refusals of token exchange.
pub const OF_TOKEN_EXCHANGE: [Refusal; 6] = [
    Refusal::SubjectTokenMissing,
    Refusal::SubjectTokenTypeUnsupported,
    Refusal::SubjectTokenInvalid,
    Refusal::SubjectTokenForOthers,
    Refusal::ActorTokenUnsupported,
    Refusal::RequestedTokenTypeUnsupported,
];

/// Refusals of introspection and revocation.
pub const OF_INTROSPECTION_AND_REVOCATION: [Refusal; 3] =
    [Refusal::TokenMissing, Refusal::IntrospectionByPublicClient, Refusal::IntrospectionCallerMissing];

/// Refusals of UserInfo.
pub const OF_USERINFO: [Refusal; 5] = [
    Refusal::AccessTokenMissing,
    Refusal::AccessTokenMalformed,
    Refusal::AccessTokenInvalid,
    Refusal::AccessTokenBindingWrong,
    Refusal::AccessTokenScopeMissing,
];

/// The refusals that only the authorization endpoint has: `authorize.rs` reaches each of them.
pub const OF_THE_AUTHORIZATION_ENDPOINT: [Refusal; 25] = [
    Refusal::AuthorizeClientUnknown,
    Refusal::RedirectUriUnregistered,
    Refusal::ResponseTypeMissing,
    Refusal::ResponseTypeUnsupported,
    Refusal::ResponseModeUnsupported,
    Refusal::AuthorizeNotAllowed,
    Refusal::ChallengeMissing,
    Refusal::ChallengeMethodUnsupported,
    Refusal::ChallengeMalformed,
    Refusal::JktMalformed,
    Refusal::StateTooLong,
    Refusal::RequestNonceTooLong,
    Refusal::IdTokenHintInvalid,
    Refusal::PostLogoutRedirectUriUnregistered,
    Refusal::RequestUriUnsupported,
    Refusal::PromptUnsupported,
    Refusal::MaxAgeMalformed,
    Refusal::AcrValuesMalformed,
    Refusal::LoginRequired,
    Refusal::ConsentRequired,
    Refusal::ConsentDeclined,
    Refusal::CrossSiteForm,
    Refusal::DecisionMissing,
    Refusal::TransactionUnknown,
    Refusal::TransactionSpent,
];

/// The refusals of sign-ins that others vouch for: `upstream_login.rs` and `proxy_login.rs` reach each of them.
pub const OF_SIGN_INS_ELSEWHERE: [Refusal; 7] = [
    Refusal::ReauthenticationMissing,
    Refusal::AcrUnmet,
    Refusal::UpstreamDeclined,
    Refusal::UpstreamUntrusted,
    Refusal::PersonDisabled,
    Refusal::ProxyAbsent,
    Refusal::ProxyHeaderMalformed,
];

/// The refusals of what an OpenID Connect request asks for: `openid_requests.rs` reaches each of them.
pub const OF_OPENID_REQUESTS: [Refusal; 2] = [Refusal::ClaimsMalformed, Refusal::SubjectMismatch];

/// The refusals of rich authorization requests: `authorization_details.rs` reaches each of them.
pub const OF_AUTHORIZATION_DETAILS: [Refusal; 4] =
    [Refusal::DetailsMalformed, Refusal::DetailTypeNotAllowed, Refusal::DetailNotAllowed, Refusal::DetailsNotGranted];

/// The refusals of requests that are pushed or signed: `par.rs` and `request_object.rs` reach each of them.
pub const OF_PUSHED_AND_SIGNED_REQUESTS: [Refusal; 13] = [
    Refusal::RequestAmbiguous,
    Refusal::RequestObjectRequired,
    Refusal::RequestObjectMalformed,
    Refusal::RequestObjectSignatureWrong,
    Refusal::RequestObjectPartyWrong,
    Refusal::RequestObjectClientMismatch,
    Refusal::RequestObjectAudienceWrong,
    Refusal::RequestObjectTimeWrong,
    Refusal::RequestObjectNested,
    Refusal::RequestUriPushed,
    Refusal::RedirectUriMissing,
    Refusal::PushedRequestRequired,
    Refusal::PushedRequestUnknown,
];

/// The refusals of the token endpoint: all others.
fn of_the_token_endpoint() -> BTreeSet<String> {
    let proofs = ProofFault::ALL.into_iter().filter(|fault| {
        // `ath` is for resources, and what a restart forgets is in `restart.rs`.
        !matches!(fault, ProofFault::TokenHashMismatch | ProofFault::BeforeRestart)
    });
    let ours = Refusal::ALL.iter().copied().filter(|refusal| !OF_THE_AUTHORIZATION_ENDPOINT.contains(refusal));
    let ours = ours.filter(|refusal| !OF_SIGN_INS_ELSEWHERE.contains(refusal));
    let ours = ours.filter(|refusal| !OF_PUSHED_AND_SIGNED_REQUESTS.contains(refusal));
    let ours = ours.filter(|refusal| !OF_AUTHORIZATION_DETAILS.contains(refusal));
    // Overtaken needs two rotations between a read and a write: `concurrency.rs` and the state machine's own tests. That
    // `dpop_jkt` contradicts a proof is a matter of the device authorization endpoint: `device.rs`. Certificates need TLS:
    // `mutual_tls.rs`.
    // That a `client_id` leads to no document is in `client_document.rs`.
    let elsewhere = [Refusal::RefreshTokenOvertaken, Refusal::JktMismatch, Refusal::ClientDocumentUnfit];
    let ours = ours.filter(|refusal| !elsewhere.contains(refusal) && !OF_CERTIFICATES.contains(refusal));
    let ours = ours.filter(|refusal| !Refusal::OF_EXTERNAL_LOGINS.contains(refusal)); // `external.rs`
    let ours = ours.filter(|refusal| !Refusal::OF_REGISTRATIONS.contains(refusal)); // `registration.rs`
    let ours = ours.filter(|refusal| !OF_USERINFO.contains(refusal)); // `openid.rs`
    let ours = ours.filter(|refusal| !OF_INTROSPECTION_AND_REVOCATION.contains(refusal)); // `introspect.rs`, `revoke.rs`
    let ours = ours.filter(|refusal| !OF_TOKEN_EXCHANGE.contains(refusal)); // `token_exchange.rs`
    let ours = ours.filter(|refusal| !OF_OPENID_REQUESTS.contains(refusal)); // `openid_requests.rs`
    ours.chain(proofs.map(Refusal::Proof)).map(|refusal| refusal.name().to_owned()).collect()
}

#[tokio::test]
async fn every_rule_has_a_request_that_breaks_it() {
    let world = World::start().await;
    let mut table = Table { world: &world, reached: BTreeSet::new() };
    requests(&mut table).await;
    authentication(&mut table).await;
    assertions(&mut table).await;
    proofs(&mut table).await;
    codes(&mut table).await;
    refresh_tokens(&mut table).await;
    device_codes(&mut table).await;
    let missed: Vec<_> = of_the_token_endpoint().difference(&table.reached).cloned().collect();
    assert!(missed.is_empty(), "no row reaches {missed:?}");
}

async fn requests(table: &mut Table<'_>) {
    let world = table.world;
    let (backend, spa, now) = (world.client("backend"), world.client("spa"), world.clock.now());
    let call = || backend.request(now, &CLIENT_CREDENTIALS);
    let post = || backend.http.post(backend.token_url());
    let form = "application/x-www-form-urlencoded";

    table.raw(post().json(&json!({})), 400, "invalid_request", Refusal::ContentTypeWrong).await;
    table.raw(post().body("grant_type=x"), 400, "invalid_request", Refusal::ContentTypeWrong).await;
    let latin = post().header("content-type", "application/x-www-form-urlencoded; charset=iso-8859-1").body("a=b");
    table.raw(latin, 400, "invalid_request", Refusal::ContentTypeWrong).await;
    let broken = post().header("content-type", form).body("grant_type=%ff");
    table.raw(broken, 400, "invalid_request", Refusal::FormMalformed).await;
    let long = "x".repeat(20_000);
    table.row(call().with("scope", &long), 400, "invalid_request", Refusal::FormTooLarge).await;
    table.row(call().and("grant_type", ""), 400, "invalid_request", Refusal::ParameterRepeated).await;
    let query = backend.http.post(format!("{}?client_id=x", backend.token_url())).form(&CLIENT_CREDENTIALS);
    table.raw(query, 400, "invalid_request", Refusal::ParameterInQuery).await;

    table.row(call().without("grant_type"), 400, "invalid_request", Refusal::GrantTypeMissing).await;
    table.row(call().with("grant_type", ""), 400, "invalid_request", Refusal::GrantTypeMissing).await;
    for unsupported in ["password", "implicit", "Client_Credentials", "urn:x"] {
        let call = call().with("grant_type", unsupported);
        table.row(call, 400, "unsupported_grant_type", Refusal::GrantTypeUnsupported).await;
    }
    let call_of_spa = spa.request(now, &CLIENT_CREDENTIALS);
    table.row(call_of_spa, 400, "unauthorized_client", Refusal::GrantTypeNotAllowed).await;

    for malformed in ["orders:read  orders:write", " orders:read", "orders\"read"] {
        table.row(call().with("scope", malformed), 400, "invalid_scope", Refusal::ScopeMalformed).await;
    }
    for foreign in ["admin", "orders:read admin", "orders:delete"] {
        table.row(call().with("scope", foreign), 400, "invalid_scope", Refusal::ScopeNotAllowed).await;
    }
    for foreign in ["https://evil.example", "/relative", "https://api.example.com#f", "https://api.example.com/v1"] {
        table.row(call().with("resource", foreign), 400, "invalid_target", Refusal::ResourceUnknown).await;
    }
    let two = call().and("resource", "https://api.example.com").and("resource", "https://files.example.com");
    table.row(two, 400, "invalid_target", Refusal::ResourceUnknown).await;
}

async fn authentication(table: &mut Table<'_>) {
    let world = table.world;
    let (backend, poster, spa, now) =
        (world.client("backend"), world.client("poster"), world.client("spa"), world.clock.now());
    let bare = || backend.bare_request(&CLIENT_CREDENTIALS);
    let failed = Refusal::ClientAuthenticationFailed;

    table.row(bare(), 401, "invalid_client", Refusal::ClientMissing).await;
    table.row(bare().basic("backend", "wrong"), 401, "invalid_client", failed).await;
    table.row(bare().basic("nobody", "wrong"), 401, "invalid_client", failed).await;
    table.row(bare().with("client_id", "nobody"), 401, "invalid_client", failed).await;
    let wrong = bare().with("client_id", "poster").with("client_secret", "wrong");
    table.row(wrong, 401, "invalid_client", failed).await;
    for malformed in ["Basic !", "Basic", "Bearer abc", "Basic YQ=="] {
        table.row(bare().authorization(malformed), 401, "invalid_client", Refusal::BasicMalformed).await;
    }
    let mismatch = Refusal::ClientMethodMismatch;
    table.row(bare().with("client_id", "backend"), 401, "invalid_client", mismatch).await;
    table.row(bare().basic("spa", "x"), 401, "invalid_client", mismatch).await;
    let posted = bare().with("client_id", "backend").with("client_secret", SECRET);
    table.row(posted, 401, "invalid_client", mismatch).await;
    table.row(bare().basic("poster", SECRET), 401, "invalid_client", mismatch).await;

    let repeated = Refusal::ClientAuthenticationRepeated;
    let both = poster.request(now, &CLIENT_CREDENTIALS).basic("poster", SECRET);
    table.row(both, 400, "invalid_request", repeated).await;
    let decoy = backend.request(now, &CLIENT_CREDENTIALS).assertion("e30.e30.AA");
    table.row(decoy, 400, "invalid_request", repeated).await;
    let twice = backend.request(now, &CLIENT_CREDENTIALS).basic("backend", "x");
    table.row(twice, 400, "invalid_request", repeated).await;
    let other = backend.request(now, &CLIENT_CREDENTIALS).with("client_id", "poster");
    table.row(other, 400, "invalid_request", Refusal::ClientIdMismatch).await;
    let code = spa.request(now, &[("grant_type", "authorization_code")]);
    table.row(code, 400, "invalid_request", Refusal::CodeMissing).await;
}

async fn assertions(table: &mut Table<'_>) {
    let world = table.world;
    let (web, now) = (world.client("web"), world.clock.now());
    let good = || web.assertion_claims(now);
    let call = |assertion: &str| web.bare_request(&CLIENT_CREDENTIALS).proof(&web.proof(now)).assertion(assertion);
    let changed = |member: &str, value: Value| {
        let mut claims = good();
        claims[member] = value;
        call(&web.sign_assertion(&claims))
    };
    let without = |member: &str| {
        let mut claims = good();
        claims.as_object_mut().expect("an object").remove(member);
        call(&web.sign_assertion(&claims))
    };
    let seconds = now.seconds();

    let untyped = call(&web.sign_assertion(&good())).without("client_assertion_type");
    table.row(untyped, 401, "invalid_client", Refusal::AssertionTypeWrong).await;
    let only_type = web.bare_request(&CLIENT_CREDENTIALS).with("client_assertion_type", "x");
    table.row(only_type, 401, "invalid_client", Refusal::AssertionMalformed).await;
    let typ = |typ: &str| {
        let header = json!({ "typ": typ, "alg": "ES256" });
        let crate::client::Credential::Key(key) = &web.credential else { unreachable!("web has a key") };
        call(&key.sign_with(&header, &good()))
    };
    for wrong in ["at+jwt", "dpop+jwt", "oauth-authz-req+jwt", "logout+jwt"] {
        table.row(typ(wrong), 401, "invalid_client", Refusal::AssertionMalformed).await;
    }
    let whole = web.sign_assertion(&good());
    for malformed in ["", "a.b.c", "a.b", &format!("{whole}.x"), &whole[1..], &format!("{whole}=")] {
        table.row(call(malformed), 401, "invalid_client", Refusal::AssertionMalformed).await;
    }
    for (member, value) in [("iss", json!("other")), ("iss", json!(1)), ("sub", json!(["web"]))] {
        table.row(changed(member, value), 401, "invalid_client", Refusal::AssertionPartyWrong).await;
    }
    table.row(without("sub"), 401, "invalid_client", Refusal::AssertionPartyWrong).await;
    let issuer = web.issuer.as_str();
    let audiences =
        [json!([issuer]), json!([issuer, "x"]), json!(web.token_url()), json!(format!("{issuer}/")), json!(1)];
    for audience in audiences {
        table.row(changed("aud", audience), 401, "invalid_client", Refusal::AssertionAudienceWrong).await;
    }
    table.row(without("aud"), 401, "invalid_client", Refusal::AssertionAudienceWrong).await;
    let times = [
        ("exp", json!(seconds - 1)),
        ("exp", json!(seconds + 3_600)),
        ("exp", json!("soon")),
        ("exp", json!(null)),
        ("nbf", json!(seconds + 61)),
        ("iat", json!(seconds + 61)),
        ("iat", json!("1")),
    ];
    for (member, value) in times {
        table.row(changed(member, value), 401, "invalid_client", Refusal::AssertionTimeWrong).await;
    }
    table.row(without("exp"), 401, "invalid_client", Refusal::AssertionTimeWrong).await;
    for jti in [json!(""), json!(7), json!("x".repeat(257))] {
        table.row(changed("jti", jti), 401, "invalid_client", Refusal::AssertionJtiMissing).await;
    }
    table.row(without("jti"), 401, "invalid_client", Refusal::AssertionJtiMissing).await;

    let stranger = SigningKey::generate(Algorithm::Es256).expect("a key");
    let wrong = Refusal::AssertionSignatureWrong;
    table.row(call(&stranger.sign("JWT", &good())), 401, "invalid_client", wrong).await;
    let mut unknown = good();
    (unknown["iss"], unknown["sub"]) = (json!("nobody"), json!("nobody"));
    table.row(call(&stranger.sign("JWT", &unknown)), 401, "invalid_client", wrong).await;
    (unknown["iss"], unknown["sub"]) = (json!("backend"), json!("backend"));
    table.row(call(&stranger.sign("JWT", &unknown)), 401, "invalid_client", wrong).await;
    let none = web.sign_assertion(&good()).split('.').nth(1).map(|claims| format!("eyJhbGciOiJub25lIn0.{claims}.AA"));
    table.row(call(&none.expect("three parts")), 401, "invalid_client", wrong).await;

    let once = web.sign_assertion(&good());
    call(&once).send().await.expect_tokens();
    table.row(call(&once), 401, "invalid_client", Refusal::AssertionReplayed).await;
    for typ_accepted in ["JWT", "client-authentication+jwt"] {
        typ(typ_accepted).send().await.expect_tokens();
    }
    changed("nbf", json!(seconds + 8)).send().await.expect_tokens();
}

async fn proofs(table: &mut Table<'_>) {
    let world = table.world;
    let (backend, now) = (world.client("backend"), world.clock.now());
    let seconds = now.seconds();
    let call = |proof: &str| backend.request(now, &CLIENT_CREDENTIALS).proof(proof);
    let changed = |member: &str, value: Value| {
        let mut claims = backend.proof_claims(now);
        claims[member] = value;
        call(&backend.sign_proof(&claims))
    };
    let header = |member: &str, value: Value| {
        let mut header = backend.proof_header();
        header[member] = value;
        call(&backend.key.sign_with(&header, &backend.proof_claims(now)))
    };
    let bound = world.client("bound");
    let proofless = bound.bearer_request(now, &CLIENT_CREDENTIALS);
    let dpop = "invalid_dpop_proof";
    let refused = Refusal::Proof;

    table.row(proofless, 400, dpop, refused(ProofFault::Missing)).await;
    let two = call(&backend.proof(now)).and_proof(&backend.proof(now));
    table.row(two, 400, dpop, refused(ProofFault::Repeated)).await;
    let joined = format!("{},{}", backend.proof(now), backend.proof(now));
    table.row(call(&joined), 400, dpop, refused(ProofFault::Repeated)).await;
    table.row(call(&"x".repeat(9_000)), 400, dpop, refused(ProofFault::TooLong)).await;
    let good = backend.proof(now);
    for malformed in ["", "x", "a.b.c", &good[1..], &format!("{good}="), &format!("{good}.x"), &format!("\"{good}\"")] {
        table.row(call(malformed), 400, dpop, refused(ProofFault::Malformed)).await;
    }
    table.row(header("crit", json!(["exp"])), 400, dpop, refused(ProofFault::Malformed)).await;
    table.row(header("b64", json!(false)), 400, dpop, refused(ProofFault::Malformed)).await;
    let lacking = [
        ("jti", json!("")),
        ("jti", json!(1)),
        ("jti", json!("x".repeat(257))),
        ("htm", json!(null)),
        ("htu", json!(["x"])),
        ("iat", json!("1")),
        ("iat", json!(-1)),
    ];
    for (member, value) in lacking {
        table.row(changed(member, value), 400, dpop, refused(ProofFault::ClaimMissing)).await;
    }
    for member in ["jti", "htm", "htu", "iat"] {
        let mut claims = backend.proof_claims(now);
        claims.as_object_mut().expect("an object").remove(member);
        let call = call(&backend.sign_proof(&claims));
        table.row(call, 400, dpop, refused(ProofFault::ClaimMissing)).await;
    }
    for typ in ["JWT", "at+jwt", "DPOP+JWT", "application/dpop+jwt"] {
        table.row(header("typ", json!(typ)), 400, dpop, refused(ProofFault::TypeWrong)).await;
    }
    for alg in ["none", "HS256", "RS256", "es256", "ES256K"] {
        table.row(header("alg", json!(alg)), 400, dpop, refused(ProofFault::AlgorithmRefused)).await;
    }
    let other = SigningKey::generate(Algorithm::Es256).expect("a key");
    table.row(header("jwk", other.proof_jwk()), 400, dpop, refused(ProofFault::SignatureWrong)).await;
    let mut private = backend.key.proof_jwk();
    private["d"] = json!(null);
    for jwk in [private, json!({ "kty": "oct", "k": "AAAA" }), json!("x"), json!(null)] {
        table.row(header("jwk", jwk), 400, dpop, refused(ProofFault::KeyRefused)).await;
    }
    table.row(header("alg", json!("PS256")), 400, dpop, refused(ProofFault::KeyRefused)).await;
    for method in ["GET", "post"] {
        table.row(changed("htm", json!(method)), 400, dpop, refused(ProofFault::MethodMismatch)).await;
    }
    let url = backend.token_url();
    let authority = url.strip_prefix("http://").expect("plain http on loopback");
    for target in [
        "https://evil.example/oauth/token".to_owned(),
        "/oauth/token".to_owned(),
        format!("{url}/"),
        format!("http://u@{authority}"),
        format!("https://{authority}"),
    ] {
        table.row(changed("htu", json!(target)), 400, dpop, refused(ProofFault::TargetMismatch)).await;
    }
    let fresh = "use_dpop_nonce";
    let answer = table.row(changed("nonce", json!("x")), 400, fresh, refused(ProofFault::NonceStale)).await;
    let nonce = answer.header("dpop-nonce").expect("a nonce").to_owned();
    changed("nonce", json!(nonce)).send().await.expect_tokens();
    // Where nonces exist, a wrong clock is answered with one: it cures the client (RFC 9449 §11.1).
    for late in [seconds - 61, seconds - 3_600, seconds + 11, seconds + 3_600] {
        table.row(changed("iat", json!(late)), 400, fresh, refused(ProofFault::NonceMissing)).await;
    }
    for near in [json!(seconds - 10), json!(seconds + 10), json!(seconds - 60)] {
        changed("iat", near).send().await.expect_tokens();
    }
    for (member, value) in [("exp", seconds - 11), ("nbf", seconds + 11)] {
        table.row(changed(member, json!(value)), 400, dpop, refused(ProofFault::OutsideOwnLimits)).await;
    }
    let once = backend.proof(now);
    call(&once).send().await.expect_tokens();
    table.row(call(&once), 400, dpop, refused(ProofFault::Replayed)).await;

    let plain = World::start_with(|settings| settings.dpop.nonce = tollgate::oauth::NonceMode::Off).await;
    let (backend, events) = (plain.client("backend"), &plain.events);
    for (iat, fault) in [(seconds - 61, ProofFault::Stale), (seconds + 11, ProofFault::Early)] {
        let mut claims = backend.proof_claims(now);
        claims["iat"] = json!(iat);
        let call = backend.request(now, &CLIENT_CREDENTIALS).proof(&backend.sign_proof(&claims));
        let answer = call.send().await.expect(400, dpop);
        assert_eq!(answer.header("dpop-nonce"), None);
        assert_eq!(events.last("refusal").as_deref(), Some(fault.name()));
        table.reached.insert(fault.name().to_owned());
    }
}

#[tokio::test]
async fn under_fapi_a_wrong_clock_is_refused_and_not_offered_a_way_around() {
    let world = World::start_with(|settings| settings.profile = tollgate::oauth::Profile::Fapi2).await;
    let (backend, now) = (world.client("backend"), world.clock.now());
    for (shift, fault) in [(-61, ProofFault::Stale), (11, ProofFault::Early)] {
        let mut claims = backend.proof_claims(now);
        claims["iat"] = json!(now.seconds() + shift);
        let call = backend.request(now, &CLIENT_CREDENTIALS).proof(&backend.sign_proof(&claims));
        let answer = call.send().await.expect(400, "invalid_dpop_proof");
        assert_eq!(answer.header("dpop-nonce"), None);
        assert_eq!(world.events.last("refusal").as_deref(), Some(fault.name()));
    }
}

async fn codes(table: &mut Table<'_>) {
    let world = table.world;
    let (spa, web, now) = (world.client("spa"), world.client("web"), world.clock.now());
    let code = world.code(&spa).await;
    let call = || spa.request(now, &code_request(&code));
    let grant = "invalid_grant";

    for unknown in ["x", "tgc_AAAA", &code[..code.len() - 1], &format!("{code}A")] {
        table.row(call().with("code", unknown), 400, grant, Refusal::CodeUnknown).await;
    }
    let foreign = web.request(now, &code_request(&code));
    table.row(foreign, 400, grant, Refusal::CodeClientMismatch).await;
    let elsewhere = call().with("redirect_uri", "https://app.example/cb/");
    table.row(elsewhere, 400, grant, Refusal::RedirectUriMismatch).await;
    for missing in [call().without("code_verifier"), call().with("code_verifier", "")] {
        table.row(missing, 400, grant, Refusal::VerifierMissing).await;
    }
    for wrong in [crate::client::CHALLENGE, "short", &"x".repeat(129)] {
        table.row(call().with("code_verifier", wrong), 400, grant, Refusal::VerifierMismatch).await;
    }
    let other = world.client("spa");
    let bound = world.code_bound_to(&spa, &other.key).await;
    let by_another_key = spa.request(now, &code_request(&bound));
    table.row(by_another_key, 400, grant, Refusal::CodeKeyMismatch).await;
    other.request(now, &code_request(&bound)).send().await.expect_tokens();

    // None of the refusals above has cost anything.
    let tokens = call().send().await.expect_tokens();
    assert_eq!(tokens.text("token_type"), "DPoP");
    assert_eq!(claims(tokens.text("access_token"))["cnf"]["jkt"], spa.key.kid());
    // Somebody who has the code but not the verifier or the key ends nothing.
    call().with("code_verifier", crate::client::CHALLENGE).send().await.expect(400, grant);
    call().proof(&world.client("spa").proof(now)).send().await.expect(400, grant);
    spa.bearer_request(now, &code_request(&code)).send().await.expect(400, grant);
    let refresh = refresh_request(tokens.text("refresh_token")).map(|(name, value)| (name, value.to_owned()));
    let refresh: Vec<_> = refresh.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let tokens = spa.request(now, &refresh).send().await.expect_tokens();
    table.row(call(), 400, grant, Refusal::CodeReplayed).await;
    let ended = spa.request(now, &refresh_request(tokens.text("refresh_token")));
    table.row(ended, 400, grant, Refusal::GrantEnded).await;

    let late = world.code(&spa).await;
    world.clock.advance(Duration::from_secs(61));
    let now = world.clock.now();
    table.row(spa.request(now, &code_request(&late)), 400, grant, Refusal::CodeUnknown).await;
}

async fn tokens_of(world: &World, client: &Client) -> Answer {
    let code = world.code(client).await;
    client.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens()
}

async fn refresh_tokens(table: &mut Table<'_>) {
    let world = table.world;
    let (spa, web, now) = (world.client("spa"), world.client("web"), world.clock.now());
    let grant = "invalid_grant";
    let tokens = tokens_of(world, &spa).await;
    let first = tokens.text("refresh_token");
    let call = |token: &str| spa.request(now, &refresh_request(token));

    table.row(call(""), 400, "invalid_request", Refusal::RefreshTokenMissing).await;
    let tampered = format!("{}{}", &first[..first.len() - 1], if first.ends_with('A') { 'B' } else { 'A' });
    for unknown in ["x", "tgr_AAAA", &tampered, &first[..first.len() - 1], &format!("{first}A")] {
        table.row(call(unknown), 400, grant, Refusal::RefreshTokenUnknown).await;
    }
    let foreign = web.request(now, &refresh_request(first));
    table.row(foreign, 400, grant, Refusal::RefreshTokenClientMismatch).await;
    let thief = world.client("spa");
    let stolen = thief.request(now, &refresh_request(first));
    table.row(stolen, 400, grant, Refusal::RefreshTokenKeyMismatch).await;
    let unproven = spa.bearer_request(now, &refresh_request(first));
    table.row(unproven, 400, "invalid_dpop_proof", Refusal::Proof(ProofFault::Missing)).await;
    let wider = call(first).with("scope", "orders:read orders:write admin");
    table.row(wider, 400, "invalid_scope", Refusal::ScopeNotAllowed).await;
    let elsewhere = call(first).with("resource", "https://files.example.com");
    table.row(elsewhere, 400, "invalid_target", Refusal::ResourceUnknown).await;

    // None of the refusals above has cost anything: the token rotates, and repeats until its successor is used.
    let narrowed = call(first).with("scope", "orders:read").send().await.expect_tokens();
    assert_eq!(narrowed.text("scope"), "orders:read");
    let second = narrowed.text("refresh_token").to_owned();
    let again = call(first).send().await.expect_tokens();
    assert_eq!(again.text("refresh_token"), second);
    assert_eq!(again.text("scope"), "orders:read orders:write");
    let third = call(&second).send().await.expect_tokens().text("refresh_token").to_owned();
    table.row(call(first), 400, grant, Refusal::RefreshTokenForked).await;
    for ended in [&second, &third] {
        table.row(call(ended), 400, grant, Refusal::GrantEnded).await;
    }

    let tokens = tokens_of(world, &spa).await;
    world.disable("ada");
    table.row(call(tokens.text("refresh_token")), 400, grant, Refusal::SubjectDisabled).await;
    world.enable("ada");
    // A grant that ended for a disabled person does not come back with the person.
    table.row(call(tokens.text("refresh_token")), 400, grant, Refusal::GrantEnded).await;
}

async fn device_codes(table: &mut Table<'_>) {
    let world = table.world;
    let (tv, web, now) = (world.client("tv"), world.client("web"), world.clock.now());
    let begin = async || tv.device_request(now, &[]).send().await.expect(200, "").text("device_code").to_owned();
    let code = begin().await;
    let call = || tv.request(now, &poll_request(&code));
    let grant = "invalid_grant";

    table.row(call().without("device_code"), 400, "invalid_request", Refusal::DeviceCodeMissing).await;
    for unknown in ["x", "tgd_AAAA", &code[..code.len() - 1], &format!("{code}A")] {
        table.row(call().with("device_code", unknown), 400, grant, Refusal::DeviceCodeUnknown).await;
    }
    let foreign = web.request(now, &poll_request(&code));
    table.row(foreign, 400, grant, Refusal::DeviceCodeClientMismatch).await;
    let other = world.client("tv");
    let bound = tv.device_request(now, &[("dpop_jkt", other.key.kid())]).send().await;
    let by_another_key = call().with("device_code", bound.text("device_code"));
    table.row(by_another_key, 400, grant, Refusal::DeviceCodeKeyMismatch).await;
    let unproven = tv.bearer_request(now, &poll_request(bound.text("device_code")));
    table.row(unproven, 400, "invalid_dpop_proof", Refusal::Proof(ProofFault::Missing)).await;

    // None of the refusals above has counted as a poll.
    table.row(call(), 400, "authorization_pending", Refusal::DecisionPending).await;
    table.row(call(), 400, "slow_down", Refusal::PolledTooSoon).await;
    world.decide(&code, &Decision::Decline).await;
    for _ in 0..2 {
        table.row(call(), 400, "access_denied", Refusal::DeviceDeclined).await;
    }

    let approved = begin().await;
    world.let_in(&approved, "ada").await;
    let call = || tv.request(now, &poll_request(&approved));
    world.disable("ada");
    table.row(call(), 400, "access_denied", Refusal::DeviceSubjectDisabled).await;
    world.enable("ada");
    table.row(call().with("scope", "orders:read admin"), 400, "invalid_scope", Refusal::ScopeNotAllowed).await;
    let elsewhere = call().with("resource", "https://files.example.com");
    table.row(elsewhere, 400, "invalid_target", Refusal::ResourceUnknown).await;
    call().send().await.expect_tokens();
    table.row(call(), 400, grant, Refusal::DeviceCodeUnknown).await;

    let late = begin().await;
    world.let_in(&late, "ada").await;
    world.clock.advance(Duration::from_mins(10));
    let call = tv.request(world.clock.now(), &poll_request(&late));
    table.row(call, 400, "expired_token", Refusal::DeviceCodeExpired).await;
}

#[tokio::test]
async fn what_the_operator_has_withdrawn_is_issued_no_more() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
    let world = World::start_on(Arc::clone(&store), |_| {}).await;
    let spa = world.client("spa");
    let refresh_token = tokens_of(&world, &spa).await.text("refresh_token").to_owned();
    let refreshed = |issuer: &World, minutes: u64| {
        let mut client = issuer.client("spa");
        client.key = SigningKey::from_pkcs8(Algorithm::Es256, &spa.key.to_pkcs8().unwrap()).unwrap();
        issuer.clock.advance(Duration::from_mins(minutes)); // past the fence of the restart
        (client, issuer.clock.now())
    };

    let write: Scope = "orders:write".parse().unwrap();
    let fewer = World::start_on(Arc::clone(&store), |settings| {
        settings.scopes.remove(&write);
    });
    let fewer = fewer.await;
    let (client, now) = refreshed(&fewer, 1);
    let tokens = client.request(now, &refresh_request(&refresh_token)).send().await.expect_tokens();
    assert_eq!(tokens.text("scope"), "orders:read");
    let wider = client.request(now, &refresh_request(&refresh_token)).with("scope", "orders:read orders:write");
    wider.send().await.expect(400, "invalid_scope");

    let elsewhere = World::start_on(store, |settings| settings.resources = vec!["https://x.example".parse().unwrap()]);
    let elsewhere = elsewhere.await;
    let (client, now) = refreshed(&elsewhere, 5);
    client.request(now, &refresh_request(&refresh_token)).send().await.expect(400, "invalid_target");
}

#[tokio::test]
async fn a_grant_ends_when_nobody_refreshes_and_at_last_for_good() {
    let world = World::start().await;
    let day = Duration::from_hours(24);
    for (id, rotates) in [("spa", true), ("backend", false)] {
        let client = world.client(id);
        let refresh = async |token: &str| client.request(world.clock.now(), &refresh_request(token)).send().await;
        let mut token = tokens_of(&world, &client).await.text("refresh_token").to_owned();
        // Fourteen days without a refresh are too many, thirty days in all too.
        for days in [13, 13, 3] {
            world.clock.advance(day * days);
            let answer = refresh(&token).await.expect_tokens();
            assert_eq!(answer.text("refresh_token") != token, rotates);
            answer.text("refresh_token").clone_into(&mut token);
        }
        world.clock.advance(day);
        refresh(&token).await.expect(400, "invalid_grant");
        assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::GrantEnded.name()));

        let token = tokens_of(&world, &client).await.text("refresh_token").to_owned();
        world.clock.advance(day * 14);
        refresh(&token).await.expect(400, "invalid_grant");
        assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::GrantEnded.name()));
    }
}

#[tokio::test]
async fn the_first_proof_binds_what_began_without_one() {
    let world = World::start().await;
    let (first_key, other_key) = (world.client("legacy"), world.client("legacy"));
    let now = world.clock.now();
    // In the ordinary course, and when an answer was lost: then the token before is presented once more.
    for lost in [false, true] {
        let code = world.code(&first_key).await;
        let tokens = first_key.bearer_request(now, &code_request(&code)).send().await.expect_tokens();
        assert_eq!(tokens.text("token_type"), "Bearer");
        let unbound = tokens.text("refresh_token");
        if lost {
            let tokens = first_key.bearer_request(now, &refresh_request(unbound)).send().await.expect_tokens();
            assert_eq!(tokens.text("token_type"), "Bearer");
        }
        let tokens = first_key.request(now, &refresh_request(unbound)).send().await.expect_tokens();
        assert_eq!(tokens.text("token_type"), "DPoP");
        assert_eq!(claims(tokens.text("access_token"))["cnf"]["jkt"], first_key.key.kid());
        assert_eq!(world.events.last("outcome").as_deref(), Some(if lost { "repeated" } else { "rotated" }));

        let bound = refresh_request(tokens.text("refresh_token"));
        for token in [&refresh_request(unbound), &bound] {
            first_key.bearer_request(now, token).send().await.expect(400, "invalid_dpop_proof");
            other_key.request(now, token).send().await.expect(400, "invalid_grant");
            assert_eq!(world.events.last("refusal").as_deref(), Some(Refusal::RefreshTokenKeyMismatch.name()));
        }
        let tokens = first_key.request(now, &bound).send().await.expect_tokens();
        assert_eq!(tokens.text("token_type"), "DPoP");
    }
}

#[tokio::test]
async fn a_proof_binds_the_grant_of_a_confidential_client_to_proofs_by_any_key() {
    let world = World::start().await;
    let (web, now) = (world.client("web"), world.clock.now());
    let code = world.code(&web).await;
    let tokens = web.bearer_request(now, &code_request(&code)).send().await.expect_tokens();
    let tokens = web.request(now, &refresh_request(tokens.text("refresh_token"))).send().await.expect_tokens();
    let bound = refresh_request(tokens.text("refresh_token"));
    web.bearer_request(now, &bound).send().await.expect(400, "invalid_dpop_proof");
    let tokens = world.client("web").request(now, &bound).send().await.expect_tokens();
    assert_eq!(tokens.text("token_type"), "DPoP");
}

#[tokio::test]
async fn a_grant_lasts_no_longer_than_what_can_be_had_from_it() {
    let world = World::start_with(|settings| {
        for client in settings.clients.iter_mut().filter(|client| client.id.as_str() == "legacy") {
            client.grant_types = vec![GrantType::AuthorizationCode];
        }
    })
    .await;
    let now = world.clock.now();
    for (id, lasts) in [("legacy", Duration::from_mins(5)), ("spa", Duration::from_hours(24 * 30))] {
        let client = world.client(id);
        let code = world.code(&client).await;
        let tokens = client.request(now, &code_request(&code)).send().await.expect_tokens();
        assert_eq!(tokens.body["refresh_token"].is_string(), id == "spa");
        let code: AuthorizationCode = code.parse().expect("a code");
        let code = world.store.code(code.digest()).await.expect("a store").expect("it is kept");
        let grant = world.store.grant(code.spent_for.expect("it is spent")).await.expect("a store").expect("a grant");
        assert_eq!(grant.expires_at, now + lasts, "{id}");
        assert!(grant.idle_expires_at <= grant.expires_at);
    }
}
