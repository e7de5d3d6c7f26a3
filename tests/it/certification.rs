//! What somebody has who puts `examples/fapi2.yaml` to the test: its clients, in every way in which they are registered.

use reqwest::{Certificate, Identity};
use tollgate::clock::Timestamp;
use tollgate::jose::{Algorithm, SigningKey};

use crate::browser::Browser;
use crate::client::{Answer, CHALLENGE, Client, Credential, TokenCall, VERIFIER, answer};

/// A way in which the parties are registered: how they authenticate, and what their tokens are bound to.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub name: &'static str,
    pub by_certificate: bool,
    pub bound_to_certificate: bool,
}

/// All of them.
pub const WAYS: [Way; 4] = [
    Way { name: "jwt-dpop", by_certificate: false, bound_to_certificate: false },
    Way { name: "jwt-mtls", by_certificate: false, bound_to_certificate: true },
    Way { name: "mtls-dpop", by_certificate: true, bound_to_certificate: false },
    Way { name: "mtls-mtls", by_certificate: true, bound_to_certificate: true },
];

/// Those whose requests are signed.
pub const SIGNED: Way = Way { name: "signed", by_certificate: false, bound_to_certificate: false };

/// A party, as it is registered in one way.
pub struct Party {
    /// Authenticates in its way; its connections show its certificate if the way says so.
    pub client: Client,
    pub way: Way,
    pub redirect_uri: String,
}

/// What a party is made from.
pub struct Material<'a> {
    pub issuer: &'a str,
    /// The authority that vouches for the servers.
    pub trusted: &'a str,
    /// `one` or `two`.
    pub name: &'a str,
    pub key: &'a SigningKey,
    /// A certificate and its key, in PEM.
    pub certificate: &'a str,
}

/// Somebody who trusts this authority, and shows this certificate or none.
pub fn http(trusted: &str, certificate: Option<&str>) -> reqwest::Client {
    let authority = Certificate::from_pem(trusted.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).tls_certs_only([authority]);
    match certificate {
        Some(pem) => client.identity(Identity::from_pem(pem.as_bytes()).expect("an identity")),
        None => client,
    }
    .build()
    .expect("a client")
}

impl Party {
    pub fn new(material: &Material<'_>, way: Way) -> Self {
        let credential = if way.by_certificate {
            Credential::None // the connection says who it is
        } else {
            Credential::Key(Box::new(copy(material.key)))
        };
        let mut client = Client::new(material.issuer, &format!("{}-{}", material.name, way.name), credential);
        let certified = way.by_certificate || way.bound_to_certificate;
        client.http = http(material.trusted, certified.then_some(material.certificate));
        let query = if material.name == "two" { "?dummy1=lorem&dummy2=ipsum" } else { "" };
        let redirect_uri = format!("https://localhost.emobix.co.uk:8443/test/a/tollgate/callback{query}");
        Self { client, way, redirect_uri }
    }

    /// The parameters of an authorization request that nothing is wrong with.
    pub fn parameters(&self) -> [(&str, &str); 7] {
        [
            ("response_type", "code"),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid accounts"),
            ("state", "of the party"),
            ("nonce", "of the party too"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]
    }

    /// A good request, to be pushed.
    pub fn push(&self, now: Timestamp) -> TokenCall<'_> {
        self.client.push(now, &self.parameters())
    }

    /// A request at the token endpoint, with what binds the tokens.
    pub fn token(&self, now: Timestamp, parameters: &[(&str, &str)]) -> TokenCall<'_> {
        if self.way.bound_to_certificate {
            self.client.bearer_request(now, parameters)
        } else {
            self.client.request(now, parameters)
        }
    }

    /// The request that redeems a code.
    pub fn redeem(&self, now: Timestamp, code: &str) -> TokenCall<'_> {
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", VERIFIER),
        ];
        self.token(now, &parameters)
    }

    /// Calls an API with a token, in the way that it is bound.
    pub fn call(&self, now: Timestamp, url: &str, token: &str) -> reqwest::RequestBuilder {
        let request = self.client.http.get(url);
        if self.way.bound_to_certificate {
            return request.bearer_auth(token);
        }
        let proof = self.client.resource_proof("GET", url, token, now);
        request.header("authorization", format!("DPoP {token}")).header("dpop", proof)
    }

    /// The same, and what came back.
    pub async fn fetch(&self, now: Timestamp, url: &str, token: &str) -> Answer {
        answer(self.call(now, url, token)).await
    }
}

/// A person's browser, which trusts the authority and has no certificate.
pub fn browser(issuer: &str, trusted: &str) -> Browser {
    Browser { http: http(trusted, None), ..Browser::new(issuer) }
}

/// The same key once more.
pub fn copy(key: &SigningKey) -> SigningKey {
    let private = key.to_pkcs8().expect("PKCS #8");
    SigningKey::from_pkcs8(key.algorithm(), &private).expect("the key")
}

/// The key of a private EC JWK (RFC 7518 §6.2.2), which goes into a PKCS #8 structure as RFC 5915 §3 has it.
pub fn private_key(jwk: &serde_json::Value) -> SigningKey {
    const BEFORE_PRIVATE: [u8; 36] = [
        0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
        0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20,
    ];
    const BEFORE_POINT: [u8; 6] = [0xa1, 0x44, 3, 0x42, 0, 4];
    let member = |name: &str| {
        tollgate::secret::from_base64url(jwk[name].as_str().unwrap_or_else(|| panic!("no {name} in a JWK")))
            .expect("base64url")
    };
    let der = [&BEFORE_PRIVATE, member("d").as_slice(), &BEFORE_POINT, &member("x"), &member("y")].concat();
    SigningKey::from_pkcs8(Algorithm::Es256, &der).expect("a key")
}
