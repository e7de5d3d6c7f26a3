//! `Enforcer::decide` in this process: everything but the socket.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate::authz::{
    AcceptedIssuer, Access, CertificateSource, DpopRequirement, Enforcement, Enforcer, Finding, GateNonce, Headers,
    IdentityHeader, OpaqueTokens, Preflight, Request, Requirements, ResourceSettings, Rule, TokenIssuer,
    UpstreamAuthorization, UpstreamView,
};
use tollgate::cache::{DEFAULT_PROOF_KEYS, DEFAULT_TOKENS, KnownProofKeys, Tokens};
use tollgate::clock::{Clock, SystemClock, Timestamp};
use tollgate::dpop::{Fence, Nonces, Window};
use tollgate::jose::{Algorithm, PublicKey, SigningKey};
use tollgate::secret::rotation::RotatingSecret;
use tollgate::secret::seal::RootKey;
use tollgate::store::Endings;
use tollgate::token::{KeyLookup, KeysFault, Renew, TOKEN_ALGORITHMS, TokenProfile};

use crate::client::Client;
use crate::floor::Floor;
use crate::installation::{API, ISSUER, ORDER};
use crate::report::{Budget, Report, Row};
use crate::rounds::{cpu_us_each, median, median_by_round, take_turns};

const ROUNDS: usize = 31;

/// What a rule may ask beside scopes.
const CONDITION: &str = "claims.client_id == 'batch' && request.method in ['GET', 'HEAD'] && now < claims.exp";

/// How many requests one turn decides, each with a proof of its own.
const REQUESTS: usize = 250;

/// Compares `decide`, with token and key of the proof in their caches, with one bare verification.
pub(crate) fn measure(report: &mut Report, floor: &Floor) {
    let issuer = SigningKey::generate(Algorithm::Es256).expect("a key");
    let (caller, now) = (Client::new(), SystemClock.now());
    let token = issuer.sign(
        "at+jwt",
        &json!({
            "iss": ISSUER, "sub": "batch", "aud": API, "client_id": "batch", "scope": "orders:read", "jti": "t1",
            "iat": now.seconds(), "exp": now.seconds() + 300,
            "cnf": { "jkt": caller.key().public().thumbprint().to_string() },
        }),
    );
    let authorization = format!("DPoP {token}");
    let uri = format!("{API}{ORDER}");
    let proofs: Vec<_> = (0..REQUESTS).map(|_| caller.proof("GET", &uri, &token)).collect();
    let requests: Vec<_> = proofs.iter().map(|proof| request(&authorization, proof)).collect();
    let (plain, conditional) = (enforcer(&issuer, None), enforcer(&issuer, Some(CONDITION)));
    let decide = |enforcer: &Enforcer| {
        cpu_us_each(REQUESTS, |n| match enforcer.decide(&requests[n], now) {
            Finding::Unspent(unspent) => drop(std::hint::black_box(unspent)),
            Finding::Unresolved(..) | Finding::KeysWanted(..) => panic!("a JWT and a key at hand need nobody else"),
            Finding::Settled(decision) => panic!("a good request was not let through: {}", decision.reason()),
        })
    };
    decide(&plain);
    decide(&conditional);
    let [verified, unparsed, decided, judged] = take_turns(
        ROUNDS,
        [&mut || floor.verification(), &mut || floor.unparsed_verification(), &mut || decide(&plain), &mut || {
            decide(&conditional)
        }],
    );
    report.row(Row {
        name: "decide: warm caches, a fresh ES256 proof each",
        measured: format!("{:.1} us", median(&decided)),
        floor: format!("{:.1} us", median(&verified)),
        judged: median_by_round(ROUNDS, |n| decided[n] / verified[n]),
        budget: Budget::AtMost(1.15),
    });
    report.row(Row {
        name: "decide: the same with a CEL condition",
        measured: format!("{:.1} us", median(&judged)),
        floor: format!("{:.1} us", median(&verified)),
        judged: median_by_round(ROUNDS, |n| judged[n] / verified[n]),
        budget: Budget::AtMost(1.5),
    });
    report
        .note(&format!("floor: one verification with a parsed key; {:.1} us if it must be parsed", median(&unparsed)));
}

fn request<'a>(authorization: &'a str, proof: &'a str) -> Request<'a> {
    let headers: Headers<'_> = [
        (":authority", "api.example.com"),
        (":method", "GET"),
        (":path", ORDER),
        (":scheme", "https"),
        ("authorization", authorization),
        ("x-envoy-external-address", "192.0.2.1"),
        ("x-request-id", "5a1f3e0c-7d0b-4c1d-9f37-0d6c1b8e2a54"),
        ("dpop", proof),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.as_bytes()))
    .collect();
    Request { resource: Some(API), method: "GET", host: "api.example.com", target: ORDER, headers, certificate: None }
}

/// The one key of the issuer.
struct Keys(PublicKey);

impl Renew for Keys {}

impl KeyLookup for Keys {
    fn keys(&self, _: Option<&str>, _: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
        Ok(vec![self.0.clone()])
    }
}

fn enforcer(issuer: &SigningKey, condition: Option<&str>) -> Enforcer {
    let rule = |path: &str, methods: &[&str], access| Rule {
        path: path.parse().expect("a pattern"),
        methods: methods.iter().map(|method| method.parse().expect("a method")).collect(),
        mcp: None,
        access,
    };
    let scope = |scope: &str| {
        let condition = condition.map(|text| text.parse().expect("a condition"));
        Access::Token(Requirements { condition, ..Requirements::scopes(scope.parse().expect("scopes")) })
    };
    let header = |(name, claim)| IdentityHeader::new(name, claim).expect("a header");
    let settings = ResourceSettings {
        audience: API.parse().expect("a name"),
        origin: API.parse().expect("an origin"),
        issuers: vec![AcceptedIssuer {
            name: ISSUER.parse().expect("an issuer"),
            audiences: vec![API.parse().expect("a name")],
        }],
        enforcement: Enforcement::Enforce,
        dpop: DpopRequirement::Required,
        certificates: CertificateSource::Connection,
        nonce: GateNonce::Off,
        window: Window { lifetime: Duration::from_mins(5), skew: Duration::from_secs(10) },
        upstream: UpstreamView {
            authorization: UpstreamAuthorization::Remove,
            headers: [("x-auth-subject", "sub"), ("x-auth-client", "client_id"), ("x-auth-scope", "scope")]
                .map(header)
                .to_vec(),
            claims: None,
            withheld: Vec::new(),
        },
        cors_origins: Vec::new(),
        preflight: Preflight::Judge,
        rules: vec![
            rule("/healthz", &["GET"], Access::Anyone),
            rule("/orders/**", &["GET"], scope("orders:read")),
            rule("/orders/**", &["POST", "PUT", "DELETE"], scope("orders:write")),
        ],
        metadata: None,
    };
    let secret = RotatingSecret::from(RootKey::from_bytes([7; 32]));
    let nonces = Nonces::new(secret.derive(API), Duration::from_mins(5));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let issuer = TokenIssuer {
        name: ISSUER.parse().expect("an issuer"),
        profile: TokenProfile::rfc9068(TOKEN_ALGORITHMS.to_vec(), Duration::from_secs(10)),
        keys: Arc::new(Keys(issuer.public().clone())),
        revocations: Some(Arc::new(Endings::new(Duration::from_mins(10)))),
        opaque: OpaqueTokens::None,
    };
    Enforcer::new(
        vec![(settings, nonces)],
        &[Arc::new(issuer)],
        Arc::new(Tokens::new(DEFAULT_TOKENS, clock)),
        Arc::new(KnownProofKeys::new(DEFAULT_PROOF_KEYS)),
        Fence::after(None, SystemClock.now()),
    )
}
