//! The story: a token that is bound to a key, and what it is worth to a thief. Every answer that is printed was received.

use reqwest::{Method, Url};
use secrecy::ExposeSecret as _;

use super::DevError;
use super::files::Plan;
use crate::cli::client::{
    Certificates, ClientError, Credential, DevSession, Identity, Reply, ServerMetadata, Talk, Target, Token,
    TokenClient, TokenGrant, Transport, challenge, new_key, prove, short,
};
use crate::cli::explain;
use crate::ident::Issuer;
use crate::jose::SigningKey;

mod device;
mod person;

/// The headers of an answer that the story is about.
const TELLING: [&str; 4] = ["content-type", "www-authenticate", "dpop-nonce", "retry-after"];

/// The headers that the API received, as far as the story is about them.
const IDENTITY: &str = "x-auth-";

/// Tells the story.
pub(super) async fn tell(plan: &Plan, session: &DevSession) -> Result<(), DevError> {
    let stage = Stage::new(plan, session)?;
    println!(
        "\nA token that is bound to a key, and what it is worth to a thief. Every answer below was received just now."
    );

    let key = new_key();
    let owner = short(key.public().thumbprint());
    let token = stage.get_token(&key, &owner).await?;

    step(2, "It reads the orders through Envoy. The API sees who calls, and neither the token nor the proof");
    let orders = stage.orders.clone();
    let proof = stage.prove(&key, &Method::GET, &token);
    let request = Sent { method: Method::GET, scheme: "DPoP", proof: Some((&proof, "a fresh one")) };
    stage.call("reading the orders", &orders, &token, &request, 200).await?;

    step(3, "Somebody who read that request sends it again, byte for byte");
    let request = Sent { method: Method::GET, scheme: "DPoP", proof: Some((&proof, "the same one again")) };
    stage.call("the replay", &orders, &token, &request, 401).await?;

    let thief = new_key();
    step(4, "A thief has the token, but not its key, and makes a proof with a key of their own");
    let stolen = stage.prove(&thief, &Method::GET, &token);
    let by = format!("by key {}", short(thief.public().thumbprint()));
    let request = Sent { method: Method::GET, scheme: "DPoP", proof: Some((&stolen, &by)) };
    stage.call("the stolen token", &orders, &token, &request, 401).await?;

    step(5, "The thief tries it as a bearer token, which is how stolen tokens are used everywhere else");
    let request = Sent { method: Method::GET, scheme: "Bearer", proof: None };
    stage.call("the stolen token as a bearer token", &orders, &token, &request, 401).await?;

    step(6, "The owner tries to change an order; the token was given for reading");
    let proof = stage.prove(&key, &Method::POST, &token);
    let request = Sent { method: Method::POST, scheme: "DPoP", proof: Some((&proof, "a fresh one")) };
    stage.call("the wrong scope", &orders, &token, &request, 403).await?;

    device::tell(&stage, &plan.password).await?;
    println!();
    Ok(())
}

fn step(number: u8, text: &str) {
    println!("\n{number}. {text}.\n");
}

/// How a token is presented.
struct Sent<'a> {
    method: Method,
    scheme: &'static str,
    proof: Option<(&'a str, &'a str)>,
}

/// Who plays, and where.
struct Stage {
    transport: Transport,
    issuer: Issuer,
    identity: Identity,
    resource: String,
    orders: Url,
}

impl Stage {
    fn new(plan: &Plan, session: &DevSession) -> Result<Self, ClientError> {
        let odd = || ClientError::Answer(session.issuer.clone(), "not a URL");
        Ok(Self {
            transport: Transport::new(Certificates::Check),
            issuer: session.issuer.parse().map_err(|_| odd())?,
            identity: Identity {
                client_id: session.service_client_id.clone(),
                credential: Credential::Secret(session.service_client_secret.as_str().into()),
            },
            resource: plan.resource(),
            orders: format!("{}/orders", plan.resource()).parse().map_err(|_| odd())?,
        })
    }

    /// The first step: the token.
    async fn get_token(&self, key: &SigningKey, owner: &str) -> Result<Token, DevError> {
        let client_id = &self.identity.client_id;
        step(
            1,
            &format!(
                "The client `{client_id}` gets a token. It proves that it has key {owner}, and the token is bound to that key"
            ),
        );
        let server = ServerMetadata::discover(&self.transport, &self.issuer).await?;
        let client = TokenClient {
            transport: &self.transport,
            server: &server,
            identity: &self.identity,
            scope: Some("orders:read"),
            resource: Some(&self.resource),
            talk: Talk::Quiet,
        };
        println!("   > POST {}", server.token_endpoint);
        println!("   > DPoP: (a proof by key {owner})");
        println!("   > grant_type=client_credentials&scope=orders:read&resource={}", self.resource);
        let reply = client.ask(&TokenGrant::ClientCredentials, key, None).await?;
        show(&reply);
        check("the token", &reply, 200)?;
        Ok(client.read(&reply)?)
    }

    fn prove(&self, key: &SigningKey, method: &Method, token: &Token) -> String {
        let token = Some(token.access.expose_secret());
        prove(key, &Target { method, url: &self.orders, token, nonce: None })
    }

    async fn call(
        &self,
        what: &'static str,
        url: &Url,
        token: &Token,
        sent: &Sent<'_>,
        expected: u16,
    ) -> Result<(), DevError> {
        let authorization = format!("{} {}", sent.scheme, token.access.expose_secret());
        let mut request = self.transport.request(sent.method.clone(), url).header("authorization", authorization);
        println!("   > {} {url}", sent.method);
        println!("   > Authorization: {} (the token)", sent.scheme);
        if let Some((proof, which)) = sent.proof {
            request = request.header("dpop", proof);
            println!("   > DPoP: (a proof, {which})");
        }
        let reply = Transport::fetch(request, url).await?;
        show(&reply);
        check(what, &reply, expected)
    }
}

fn check(what: &'static str, reply: &Reply, expected: u16) -> Result<(), DevError> {
    let got = reply.status.as_u16();
    if got == expected { Ok(()) } else { Err(DevError::Story { what, expected, got }) }
}

/// Prints an answer: its status, the headers and members that the story is about, and of a token only how long it is.
fn show(reply: &Reply) {
    println!("   < {}", reply.status);
    for name in TELLING {
        for value in reply.headers.get_all(name) {
            println!("   < {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    let Ok(mut body) = serde_json::from_slice::<serde_json::Value>(&reply.body) else { return };
    for secret in ["access_token", "refresh_token", "device_code"] {
        if let Some(secret) = body.get_mut(secret) {
            *secret = format!("({} characters)", secret.as_str().unwrap_or_default().len()).into();
        }
    }
    if let Some(headers) = body.get_mut("headers").and_then(serde_json::Value::as_object_mut) {
        headers.retain(|name, _| name.starts_with(IDENTITY) || name == "authorization" || name == "dpop");
    }
    println!("   < {body}");
    let name = challenge(&reply.headers).and_then(|(error, description)| explain::name_of(&error, &description));
    if let Some(name) = name {
        println!("     (tollgate explain {name})");
    }
}
