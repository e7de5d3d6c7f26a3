//! TLS, headers, and what browsers and strangers get.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, RootCertStore};

use super::Suite;
use crate::certification::WAYS;

/// What a server at this address speaks of the versions and suites that we can.
async fn spoken(suite: &Suite, address: &str) -> BTreeSet<String> {
    let mut roots = RootCertStore::empty();
    roots.add(suite.authority.certificate()).expect("an authority");
    let provider = ClientConfig::builder().crypto_provider().clone();
    let mut spoken = BTreeSet::new();
    for offered in provider.cipher_suites.iter().copied() {
        let only = rustls::crypto::CryptoProvider { cipher_suites: vec![offered], ..(*provider).clone() };
        let version = if offered.tls13().is_some() { &TLS13 } else { &TLS12 };
        let config = ClientConfig::builder_with_provider(Arc::new(only)).with_protocol_versions(&[version]);
        let config = config.expect("a version").with_root_certificates(roots.clone()).with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let name = "localhost".try_into().expect("a name");
        if tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok() {
            spoken.insert(format!("{:?}", offered.suite()));
        }
    }
    spoken
}

/// The first message of a client that knows nothing newer than this version (RFC 5246 §7.4.1.2).
fn hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]); // random
    body.push(0); // no session
    // ECDHE with AES in CBC mode, for both kinds of certificates, and the renegotiation signal.
    body.extend([0, 10, 0xc0, 0x09, 0xc0, 0x13, 0xc0, 0x0a, 0xc0, 0x14, 0, 0xff]);
    body.extend([1, 0]); // no compression
    // Curves and point formats.
    body.extend([0, 14, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    let length = u16::try_from(body.len()).expect("a short message");
    let mut handshake = vec![1, 0];
    handshake.extend(length.to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(handshake.len()).expect("a short message").to_be_bytes());
    record.extend(handshake);
    record
}

/// The kind of record that a server answers that message with: 22 would be a handshake, 21 is an alert.
async fn answered(address: &str, minor: u8) -> Option<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&hello(minor)).await.expect("it is taken");
    let mut first = [0];
    (stream.read(&mut first).await.unwrap_or(0) == 1).then_some(first[0])
}

#[tokio::test]
async fn only_tls_1_3_and_the_suites_of_bcp_195_are_spoken_by_both() {
    let suite = Suite::with_api().await;
    // The keys of the servers are elliptic ones.
    let allowed = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ];
    let allowed: BTreeSet<_> = allowed.iter().map(|suite| format!("{suite:?}")).collect();
    for url in [&suite.issuer, &suite.accounts] {
        let address = url.trim_start_matches("https://").trim_end_matches("/accounts");
        assert_eq!(spoken(&suite, address).await, allowed, "{url}");
        for minor in [1, 2, 3] {
            // TLS 1.0, 1.1, and 1.2 with suites of old.
            assert_ne!(answered(address, minor).await, Some(22), "{url} 3.{minor}");
        }
    }
}

#[tokio::test]
async fn pages_are_for_browsers_and_closed_to_scripts_of_others() {
    let suite = Suite::start().await;
    let party = suite.party("one", WAYS[0]);
    let path = suite.pushed(&party, party.push(suite.now())).await;
    let url = format!("{}{path}", suite.issuer);
    let http = suite.browser().http;
    let page = http.get(&url).header("origin", "https://app.example").send().await.expect("an answer");
    let header = |name: &str| page.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(page.status(), 200);
    assert_eq!(header("access-control-allow-origin"), None);
    assert_eq!(header("x-frame-options").as_deref(), Some("DENY"));
    assert_eq!(header("referrer-policy").as_deref(), Some("no-referrer"));
    assert_eq!(header("cache-control").as_deref(), Some("no-store"));
    let seconds = header("strict-transport-security").expect("RFC 6797, for endpoints that browsers use");
    assert!(seconds.starts_with("max-age="), "{seconds}");
    let policy = header("content-security-policy").expect("a policy");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
    for cookie in page.headers().get_all("set-cookie") {
        let cookie = cookie.to_str().expect("text");
        assert!(cookie.starts_with("__Host-") && cookie.contains("Secure") && cookie.contains("HttpOnly"), "{cookie}");
    }
    let preflight = http.request(http::Method::OPTIONS, &url).header("origin", "https://app.example");
    let preflight = preflight.header("access-control-request-method", "GET").send().await.expect("an answer");
    assert!(preflight.headers().get("access-control-allow-origin").is_none());
}
